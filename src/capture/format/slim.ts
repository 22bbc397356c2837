/**
 * Slim: a capture reduced to what a comparison needs, so that it is small enough to ship.
 *
 * A capture taken after a compaction is compared with a prediction page by page: is the page free, and whose is
 * it if not. What the page is doing at the moment (referenced, active, dirty, idle) does not matter, and the
 * fewer distinct words there are, the better the index compresses.
 *
 * Rules:
 *   - A slim word is a word that the kernel could have reported: bits are taken away, none is invented.
 *   - What is gone is gone: a slim capture is for the right-hand side of a comparison, not for a prediction.
 */

import type { Capture, Column, ColumnName } from './capture.ts'
import { mapColumn } from './column.ts'
import {
  highMask,
  KPF_ANON,
  KPF_BUDDY,
  KPF_COMPOUND_HEAD,
  KPF_COMPOUND_TAIL,
  KPF_HUGE,
  KPF_HWPOISON,
  KPF_KSM,
  KPF_LRU,
  KPF_MLOCKED,
  KPF_MMAP,
  KPF_NOPAGE,
  KPF_OFFLINE,
  KPF_PGTABLE,
  KPF_PRIVATE,
  KPF_RESERVED,
  KPF_SLAB,
  KPF_SWAPBACKED,
  KPF_UNEVICTABLE,
  KPF_UPTODATE,
  KPF_ZERO_PAGE,
  lowMask,
} from './kpageflags.ts'

/** `cgroup`: which group is charged becomes whether one is. `all`: flags keep the owner only, mapcount goes as well. */
export type SlimMode = 'none' | 'cgroup' | 'all'

/** What the owner of a page is told by, the kernel's page types apart. */
const OWNER_BITS = [
  KPF_LRU,
  KPF_UPTODATE,
  KPF_MMAP,
  KPF_ANON,
  KPF_SWAPBACKED,
  KPF_COMPOUND_HEAD,
  KPF_COMPOUND_TAIL,
  KPF_HUGE,
  KPF_UNEVICTABLE,
  KPF_HWPOISON,
  KPF_NOPAGE,
  KPF_KSM,
  KPF_OFFLINE,
  KPF_ZERO_PAGE,
  KPF_RESERVED,
  KPF_MLOCKED,
  KPF_PRIVATE,
]
/** Page types: on such a page all other bits say nothing of the owner, and some are bogus. */
const TYPE_MASKS = [lowMask(KPF_BUDDY), lowMask(KPF_SLAB), lowMask(KPF_PGTABLE)]
const OWNER_LOW = lowMask(...OWNER_BITS)
const OWNER_HIGH = highMask(...OWNER_BITS)

/** The capture as `mode` leaves it. */
export function slimCapture(capture: Capture, mode: SlimMode): Capture {
  if (mode === 'none') return capture
  const columns = new Map<ColumnName, Column>()
  for (const [name, column] of capture.columns) {
    if (name === 'cgroup') columns.set(name, mapColumn(column, slimCgroup))
    else if (mode === 'cgroup') columns.set(name, column)
    else if (name === 'flags') columns.set(name, mapColumn(column, slimFlags))
    else if (name !== 'mapcount') columns.set(name, column)
  }
  return { ...capture, columns }
}

/** The bits of a flags word that tell the page's owner. */
export function slimFlags(low: number, high: number): { low: number; high: number } {
  for (const type of TYPE_MASKS) if (low & type) return { low: type, high: 0 }
  return { low: (low & OWNER_LOW) >>> 0, high: (high & OWNER_HIGH) >>> 0 }
}

const slimCgroup = (low: number, high: number): { low: number; high: number } => ({
  low: low === 0 && high === 0 ? 0 : 1,
  high: 0,
})
