/**
 * The LRU lists: five a node, by kind (anonymous, file) and activity, and one for unevictable folios. Pages on them
 * are counted by zone, because a request may be content with some zones of a node only.
 *
 * PG_lru says that the folio is on its list. Whoever clears it (one step, one winner) takes the folio
 * off and owns its list links until he puts it back: that is how reclaim, migration and freeing exclude
 * each other, without the page lock (S0-20, S0-23).
 *
 * Not here: aging and the per-cpu batches in front of the lists; a folio is on its list as soon as it is
 * added. What a capture shows in a batch is loaded as if the batch had been drained, which compaction
 * does first.
 *
 * @kernel mm/swap.c, mm/vmscan.c, include/linux/mm_inline.h v6.18
 */

import type { Cpu } from '../base/cpu.ts'
import { listAdd, listDel } from '../base/list.ts'
import { type NodeColumn, nidOf, type Pfn, pfnOf, type ZoneId, zoneIdOf } from '../base/units.ts'
import { PG_active, PG_lru, PG_swapbacked, PG_unevictable } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import {
  folioPages,
  LRU_ACTIVE_ANON,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  LRU_UNEVICTABLE,
  type Mm,
  NR_LRU_LISTS,
  zonesOfNode,
} from './page.ts'

/** True for folios on the file lists: what is not backed by swap. */
export const isFileLru = (flags: number): boolean => (flags & PG_swapbacked) === 0

/** The list that a folio with these flags belongs on. */
export function folioLruList(flags: number): number {
  if ((flags & PG_unevictable) !== 0) return LRU_UNEVICTABLE
  const active = (flags & PG_active) !== 0
  if (isFileLru(flags)) return active ? LRU_ACTIVE_FILE : LRU_INACTIVE_FILE
  return active ? LRU_ACTIVE_ANON : LRU_INACTIVE_ANON
}

/** Node of the page. */
export const nodeOf = (mm: Mm, pfn: Pfn): number => mm.zoneNode[mm.zoneOf(pfn)]

/** Index of the count of pages of a zone on a list of its node. */
const countOf = (zone: ZoneId, lru: number): number => zone * NR_LRU_LISTS + lru

/** Pages on an LRU list that lie in one zone. Not locked: it may be out of date. @kernel NR_ZONE_LRU_BASE */
export const zoneLruPages = (mm: Mm, zone: ZoneId, lru: number): number => mm.nrLru[countOf(zone, lru)]

/** Pages on an LRU list of a node, in its zones up to a kind of zone. @kernel mm/vmscan.c lruvec_lru_size() v6.18 */
export const nodeLruPages = (mm: Mm, nid: number, lru: number, highestZoneidx?: number): number =>
  zonesOfNode(mm, nid, highestZoneidx).reduce((sum, zone) => sum + zoneLruPages(mm, zone, lru), 0)

function lruAddLocked(mm: Mm, page: number, head: number, count: number): number {
  const pfn = pfnOf(page)
  listAdd(mm.links, pfn, head)
  mm.nrLru[count] += folioPages(mm.flags[pfn])
  return 0
}

/** Takes a folio off the list of `lru`, and out of its count. @locks needs (U); the caller has cleared PG_lru */
export function lruDelLocked(mm: Mm, page: number, zone: number, lru: number): number {
  const pfn = pfnOf(page)
  listDel(mm.links, pfn)
  mm.nrLru[countOf(zoneIdOf(zone), lru)] -= folioPages(mm.flags[pfn])
  return 0
}

/**
 * Puts a folio on the LRU list that its flags name. The caller owns its links.
 *
 * @locks   takes and drops (U)
 * @kernel  mm/swap.c folio_add_lru() v6.18, without the batch
 */
export function folioAddLru(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  const zone = mm.zoneOf(pfn)
  const nid = nidOf(mm.zoneNode[zone])
  const lru = folioLruList(cpu.load(mm.flags, pfn))
  const head = mm.lruList(nid, lru)
  cpu.atomically(mm.lruLock, nid, SPIN_LOCKED, lruAddLocked, mm, pfn, head, countOf(zone, lru))
  cpu.testSet(mm.flags, pfn, PG_lru)
}

/**
 * Takes a folio off its LRU list, if it is on one. True: the caller owns its links now. The caller holds a
 * reference.
 *
 * @locks   takes and drops (U)
 * @kernel  mm/vmscan.c folio_isolate_lru() v6.18
 */
export function folioIsolateLru(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if ((cpu.load(mm.flags, pfn) & PG_lru) === 0) return false
  if (!cpu.testClear(mm.flags, pfn, PG_lru)) return false // another isolator, reclaim or a free won
  const zone = mm.zoneOf(pfn)
  const lru = folioLruList(cpu.load(mm.flags, pfn))
  cpu.atomically(mm.lruLock, nidOf(mm.zoneNode[zone]), SPIN_LOCKED, lruDelLocked, mm, pfn, zone, lru)
  return true
}

/**
 * Takes a folio that is being freed off its LRU list, if it is on one. It is unevictable no more.
 *
 * @locks   takes and drops (U); the folio has no reference, so nobody isolates it meanwhile
 * @kernel  mm/swap.c __page_cache_release() v6.18
 */
export function folioDelLru(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  if (folioIsolateLru(cpu, mm, pfn)) cpu.testClear(mm.flags, pfn, PG_active | PG_unevictable)
}

/** The counter of isolated pages that a folio with these flags counts in. */
export const isolatedCounter = (mm: Mm, flags: number): NodeColumn =>
  isFileLru(flags) ? mm.nrIsolatedFile : mm.nrIsolatedAnon
