/**
 * Users of a cached file page: a reader that looks it up, truncation, and reclaim.
 *
 * Each says where it is, so that properties can ask:
 *   | place                                       | it has                                            |
 *   |---------------------------------------------|---------------------------------------------------|
 *   | `found`, `reading`, `waiting`, `truncating` | a reference on the page that it found in the slot |
 *   | `isolated`                                  | the page, taken off its LRU list (reclaim)        |
 *
 * @ours
 */

import type { Cpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, type Slot } from '../base/units.ts'
import { filemapGetFolio, filemapRemoveFolio } from '../mm/filemap.ts'
import { GFP_KERNEL } from '../mm/gfp.ts'
import { tryGetPage } from '../mm/gup.ts'
import { PG_locked, PG_uptodate, ZONE_NORMAL } from '../mm/limits.ts'
import { folioAddLru, folioIsolateLru } from '../mm/lru.ts'
import type { Mm } from '../mm/page.ts'
import { freeFolio, putPage } from '../mm/page_alloc.ts'
import { ScanControl } from '../mm/scan_control.ts'
import { FOLIO_RECLAIMED, shrinkFolio } from '../mm/shrink_folio.ts'

/**
 * Reads what a slot of a file holds; waits while the page that it finds there is being filled. -1: nothing there.
 *
 * @sleeps until whoever fills the page unlocks it
 * @kernel mm/filemap.c filemap_read() v6.18
 */
export function readSlot(cpu: Cpu, mm: Mm, slot: Slot): number {
  const found = filemapGetFolio(cpu, mm, slot)
  if (found < 0) return -1
  const pfn = pfnOf(found)
  cpu.at('found', pfn)
  const filled = (cpu.load(mm.flags, pfn) & PG_uptodate) !== 0
  cpu.at(filled ? 'reading' : 'waiting', pfn)
  if (!filled) cpu.waitClear(mm.flags, pfn, PG_locked)
  const value = cpu.load(mm.content, pfn)
  cpu.at('read', pfn, value)
  putPage(cpu, mm, pfn)
  return value
}

// How a truncation ended.
/** The page is out of the cache; free as soon as nobody else has it. */
export const TRUNCATED = 0
/** The slot was empty, or the page was moved or taken meanwhile. */
export const NOT_THERE = 1

/**
 * Truncates one slot. Starts again where the page was moved meanwhile: afterwards the slot is empty.
 *
 * @locks  takes and drops (L), then (I)
 * @sleeps for (L)
 * @kernel mm/truncate.c truncate_inode_pages_range() v6.18
 */
export function truncateSlot(cpu: Cpu, mm: Mm, slot: Slot): number {
  for (;;) {
    // Each round either ends or has seen the page leave the slot.
    const found = filemapGetFolio(cpu, mm, slot)
    if (found < 0) return NOT_THERE
    const pfn = pfnOf(found)
    cpu.at('truncating', pfn)
    const removed = filemapRemoveFolio(cpu, mm, pfn)
    cpu.at(removed ? 'truncated' : 'not truncated', pfn, slot)
    putPage(cpu, mm, pfn)
    if (removed) return TRUNCATED
  }
}

/** The list for pieces of a large folio: small ones have none. */
const PIECES = 0

// How a reclaim ended.
/** The page is free. */
export const RECLAIMED = 0
/** Isolated, and on an LRU list again: in use, locked or dirty. */
export const KEPT = 1
/** Not isolated: nothing has changed. */
export const NOT_ISOLATED = 2

/**
 * Reclaims one page: off its LRU list, out of its page tables and its cache if nobody else uses it, free. It is
 * mm/shrink_list.ts with a batch of one page.
 *
 * @locks  takes and drops (U), trylocks (L), then (R), (I)
 * @kernel mm/vmscan.c isolate_lru_folios(), shrink_folio_list() v6.18
 */
export function reclaimPage(cpu: Cpu, mm: Mm, pfn: Pfn): number {
  if (!tryGetPage(cpu, mm, pfn)) return NOT_ISOLATED
  const isolated = folioIsolateLru(cpu, mm, pfn)
  cpu.at(isolated ? 'isolated' : 'not isolated', pfn)
  if (!isolated) {
    putPage(cpu, mm, pfn)
    return NOT_ISOLATED
  }
  const sc = new ScanControl({ gfp: GFP_KERNEL, order: 0, reclaimIdx: ZONE_NORMAL, kswapd: false })
  const removed = shrinkFolio(cpu, mm, pfn, sc, mm.taskList(cpu.id, PIECES)) === FOLIO_RECLAIMED
  cpu.at(removed ? 'freeing' : 'keeping', pfn)
  if (removed) {
    freeFolio(cpu, mm, pfn)
    return RECLAIMED
  }
  folioAddLru(cpu, mm, pfn)
  putPage(cpu, mm, pfn)
  return KEPT
}
