/**
 * Splitting a large folio into single pages, so that its pieces can move where the whole cannot.
 *
 * Needs the folio to itself: every reference accounted for. Buffers that are dirty or under writeback
 * cannot be dropped, so such a file folio refuses; a compaction that needed it split gives up its zone.
 *
 * Not here: splits to an order other than 0. A cached folio of 2^n pages owns as many consecutive slots,
 * of which only the first is filled while it is whole.
 *
 * @kernel mm/huge_memory.c split_huge_page_to_list_to_order() v6.18
 */

import type { Cpu } from '../base/cpu.ts'
import { listAddTail } from '../base/list.ts'
import { type ListNode, type Pfn, pfnOf, slotOf } from '../base/units.ts'
import {
  COMPOUND_MASK,
  COMPOUND_ORDER_SHIFT,
  EAGAIN,
  EBUSY,
  PAGE_MAPPING_ANON,
  PG_dirty,
  PG_locked,
  PG_lru,
  PG_private,
  PG_writeback,
} from './limits.ts'
import type { MigrateResult } from './movable_ops.ts'
import { AS_LOCKED, folioMapping, folioPages, type Mm } from './page.ts'
import { removeMigrationPtes, tryToMigrate } from './rmap.ts'

/** What the pieces do not take over from the whole: its shape, its buffers. */
const HEAD_ONLY = COMPOUND_MASK | (-1 << COMPOUND_ORDER_SHIFT) | PG_private | PG_lru

/**
 * Splits an isolated large folio. Its tails go to the end of `pieces`, each isolated with one reference
 * as the whole was; the head stays where it is.
 *
 * @locks   needs (L); takes and drops (L) of the tails, (R), (I)
 * @errors  -EBUSY: dirty buffers or writeback; -EAGAIN: an extra reference, or mapped again. The folio is
 *          as before, but for clean buffers, which are gone.
 * @kernel  mm/huge_memory.c split_folio_to_list() v6.18
 */
export function splitFolioToList(cpu: Cpu, mm: Mm, folio: Pfn, pieces: ListNode): MigrateResult {
  const flags = cpu.load(mm.flags, folio)
  const pages = folioPages(flags)
  const isAnon = (cpu.load(mm.mapping, folio) & PAGE_MAPPING_ANON) !== 0
  if ((flags & PG_writeback) !== 0) return -EBUSY
  if (!isAnon && (flags & PG_private) !== 0) {
    if ((flags & PG_dirty) !== 0) return -EBUSY
    cpu.testClear(mm.flags, folio, PG_private) // clean buffers can be dropped
    cpu.add(mm.refcount, folio, -1)
  }
  const mapping = cpu.load(mm.mapping, folio)
  const cache = folioMapping(flags, mapping)
  const cached = cache !== 0
  tryToMigrate(cpu, mm, folio, pages)
  if (cached) cpu.lock(mm.mappingFlags, cache, AS_LOCKED)
  // The isolation's reference and the cache's, but none of a mapping: none may be left.
  if (!cpu.cas(mm.refcount, folio, cached ? 1 + pages : 1, 0)) {
    if (cached) cpu.unlock(mm.mappingFlags, cache, AS_LOCKED)
    removeMigrationPtes(cpu, mm, folio, folio, pages)
    return -EAGAIN
  }
  const slot = cpu.load(mm.private, folio)
  const inherited = cpu.load(mm.flags, folio) & ~HEAD_ONLY
  const references = cached ? 2 : 1 // the isolation's, and the cache's one for this page
  for (let tail = folio + 1; tail < folio + pages; tail++) {
    const piece = pfnOf(tail)
    cpu.store(mm.flags, piece, inherited)
    cpu.store(mm.mapping, piece, mapping)
    cpu.store(mm.private, piece, cached ? slot + tail - folio : 0)
    if (cached) cpu.store(mm.cache, slotOf(slot + tail - folio), piece)
    cpu.store(mm.refcount, piece, references)
    listAddTail(mm.links, piece, pieces)
  }
  cpu.store(mm.flags, folio, inherited)
  cpu.store(mm.refcount, folio, references)
  if (cached) cpu.unlock(mm.mappingFlags, cache, AS_LOCKED)
  for (let i = 0; i < pages; i++) {
    const piece = pfnOf(folio + i)
    removeMigrationPtes(cpu, mm, piece, piece, 1)
    // Locked like the whole was, so that accessors wait until the piece is mapped again.
    if (i > 0) cpu.unlock(mm.flags, piece, PG_locked)
  }
  return 0
}
