/**
 * Batches of reclaim: folios are taken off the old end of an LRU list, 32 pages at a time, and what is not reclaimed
 * goes back to the young end of the list that its flags name.
 *
 *   shrinkInactiveList   takes from an inactive list, reclaims what it can (shrink_folio.ts)
 *   shrinkActiveList     takes from an active list, and puts it on the inactive one: it gets a second look there
 *
 * Rules:
 *   - a batch is isolated under one (U); what is done to its folios is done without it;
 *   - the lists of the task are empty before and after.
 *
 * Not here: too many isolated pages (nobody reclaims at the same time), waiting for writeback, executable mappings,
 * which the kernel leaves on the active list.
 *
 * @kernel mm/vmscan.c isolate_lru_folios(), shrink_inactive_list(), shrink_active_list(), move_folios_to_lru(),
 *         mm/swap.c lru_note_cost() v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAdd, listDel, listEmpty, listLast, listSplice } from '../base/list.ts'
import { type ListNode, type Nid, type Pfn, pfnOf } from '../base/units.ts'
import { tryGetPage } from './gup.ts'
import { PG_active, PG_lru, PG_mlocked, PG_unevictable, PG_workingset, SWAP_CLUSTER_MAX } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { folioAddLru, lruDelLocked, nodeLruPages } from './lru.ts'
import { folioPages, LRU_INACTIVE_FILE, LRU_UNEVICTABLE, type Mm } from './page.ts'
import { freeFolio, putPage } from './page_alloc.ts'
import type { ScanControl } from './scan_control.ts'
import { FOLIO_RECLAIMED, shrinkFolio } from './shrink_folio.ts'
import {
  countVmEvents,
  PGDEACTIVATE,
  PGREFILL,
  PGSCAN_ANON,
  PGSCAN_DIRECT,
  PGSCAN_KSWAPD,
  PGSCAN_SKIP,
  PGSTEAL_ANON,
  PGSTEAL_DIRECT,
  PGSTEAL_KSWAPD,
} from './vmstat.ts'

/** The lists of a task that reclaims. Those of compaction and migration come before them. */
const LIST_TAKEN = 18
const LIST_KEPT = 19
const LIST_SKIPPED = 20

/** Folios of zones that will not do that are passed over at most, in one batch. */
const SWAP_CLUSTER_MAX_SKIPPED = SWAP_CLUSTER_MAX << 10

/** True for the two lists of file pages. */
export const isFileList = (lru: number): boolean => lru >= LRU_INACTIVE_FILE

/** What a batch took off its list, in pages. */
interface Taken {
  readonly pages: number
  /** Looked at, those that were passed over included. */
  readonly scanned: number
}

/**
 * Takes folios of about `nrToScan` pages from the old end of an LRU list to LIST_TAKEN, oldest last. Folios of zones
 * above the request's go to the young end, out of the way.
 *
 * @locks  takes and drops (U)
 * @kernel mm/vmscan.c isolate_lru_folios() v6.18
 */
function isolateLruFolios(
  cpu: Cpu,
  mm: Mm,
  nid: Nid,
  lru: number,
  nrToScan: number,
  reclaimIdx: number,
): Taken {
  const { links } = mm
  const src = mm.lruList(nid, lru)
  const dst = mm.taskList(cpu.id, LIST_TAKEN)
  const skipped = mm.taskList(cpu.id, LIST_SKIPPED)
  assert(listEmpty(links, dst) && listEmpty(links, skipped), 'reclaim: the task has no reclaim under way')
  let pages = 0
  let scanned = 0
  let scan = 0
  let nrSkipped = 0
  cpu.lock(mm.lruLock, nid, SPIN_LOCKED)
  // Each round takes a folio off the list, or has looked at one more page of those that it may look at.
  while (scan < nrToScan && !listEmpty(links, src)) {
    const pfn = pfnOf(listLast(links, src))
    const zone = mm.zoneOf(pfn)
    const nr = folioPages(cpu.load(mm.flags, pfn))
    scanned += nr
    if (nrSkipped < SWAP_CLUSTER_MAX_SKIPPED && mm.zoneIdx[zone] > reclaimIdx) {
      moveToFront(mm, pfn, skipped)
      countVmEvents(mm, PGSCAN_SKIP + mm.zoneIdx[zone], nr)
      nrSkipped++
      continue
    }
    scan += nr
    if (!takeFolio(cpu, mm, pfn)) {
      moveToFront(mm, pfn, src)
      continue
    }
    lruDelLocked(mm, pfn, zone, lru)
    listAdd(links, pfn, dst)
    pages += nr
  }
  listSplice(links, skipped, src)
  cpu.unlock(mm.lruLock, nid, SPIN_LOCKED)
  cpu.add(isFileList(lru) ? mm.nrIsolatedFile : mm.nrIsolatedAnon, nid, pages)
  return { pages, scanned }
}

function moveToFront(mm: Mm, pfn: Pfn, head: ListNode): void {
  listDel(mm.links, pfn)
  listAdd(mm.links, pfn, head)
}

/** A reference on a folio, and PG_lru from it. False: it is being freed, or somebody else isolates it. */
function takeFolio(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (!tryGetPage(cpu, mm, pfn)) return false
  if (cpu.testClear(mm.flags, pfn, PG_lru)) return true
  cpu.add(mm.refcount, pfn, -1) // never the last one: the other isolator, who waits for (U), has one
  return false
}

/** The oldest folio of a task's list, off that list. */
function takeOldest(mm: Mm, list: ListNode): Pfn {
  const pfn = pfnOf(listLast(mm.links, list))
  listDel(mm.links, pfn)
  return pfn
}

/** Puts what is on a task's list back on the LRU, oldest first. Gives the pages. @kernel move_folios_to_lru() */
function moveFoliosToLru(cpu: Cpu, mm: Mm, list: ListNode): number {
  let pages = 0
  while (!listEmpty(mm.links, list)) {
    const pfn = takeOldest(mm, list)
    const flags = cpu.load(mm.flags, pfn)
    if ((flags & PG_mlocked) === 0) pages += folioPages(flags)
    else cpu.testSet(mm.flags, pfn, PG_unevictable)
    folioAddLru(cpu, mm, pfn)
    putPage(cpu, mm, pfn)
  }
  return pages
}

/**
 * Reclaims from the old end of an inactive list. Gives the pages that are free now.
 *
 * @kernel mm/vmscan.c shrink_inactive_list() v6.18
 */
export function shrinkInactiveList(
  cpu: Cpu,
  mm: Mm,
  nid: Nid,
  lru: number,
  nrToScan: number,
  sc: ScanControl,
): number {
  const { pages, scanned } = isolateLruFolios(cpu, mm, nid, lru, nrToScan, sc.reclaimIdx)
  const file = isFileList(lru) ? 1 : 0
  countVmEvents(mm, sc.kswapd ? PGSCAN_KSWAPD : PGSCAN_DIRECT, scanned)
  countVmEvents(mm, PGSCAN_ANON + file, scanned)
  if (pages === 0) return 0
  const written = sc.nrPageout
  const reclaimed = shrinkTaken(cpu, mm, sc)
  cpu.add(file === 1 ? mm.nrIsolatedFile : mm.nrIsolatedAnon, nid, -pages)
  countVmEvents(mm, sc.kswapd ? PGSTEAL_KSWAPD : PGSTEAL_DIRECT, reclaimed)
  countVmEvents(mm, PGSTEAL_ANON + file, reclaimed)
  lruNoteCost(cpu, mm, nid, file === 1, sc.nrPageout - written, scanned - reclaimed)
  return reclaimed
}

/** Reclaims what it can of LIST_TAKEN, and puts the rest back. Gives the pages that are free now. */
function shrinkTaken(cpu: Cpu, mm: Mm, sc: ScanControl): number {
  const taken = mm.taskList(cpu.id, LIST_TAKEN)
  const kept = mm.taskList(cpu.id, LIST_KEPT)
  let reclaimed = 0
  // Each round takes a folio off; a large one that is split leaves pieces of one page, which are not split again.
  while (!listEmpty(mm.links, taken)) {
    const pfn = takeOldest(mm, taken)
    if (shrinkFolio(cpu, mm, pfn, sc, taken) === FOLIO_RECLAIMED) {
      reclaimed += folioPages(cpu.load(mm.flags, pfn))
      freeFolio(cpu, mm, pfn)
    } else listAdd(mm.links, pfn, kept)
  }
  moveFoliosToLru(cpu, mm, kept)
  return reclaimed
}

/**
 * Moves folios from the old end of an active list to the inactive one.
 *
 * @kernel mm/vmscan.c shrink_active_list() v6.18
 */
export function shrinkActiveList(
  cpu: Cpu,
  mm: Mm,
  nid: Nid,
  lru: number,
  nrToScan: number,
  sc: ScanControl,
): void {
  const { pages, scanned } = isolateLruFolios(cpu, mm, nid, lru, nrToScan, sc.reclaimIdx)
  countVmEvents(mm, PGREFILL, scanned)
  const taken = mm.taskList(cpu.id, LIST_TAKEN)
  const inactive = mm.taskList(cpu.id, LIST_KEPT)
  while (!listEmpty(mm.links, taken)) {
    const pfn = takeOldest(mm, taken)
    cpu.testClear(mm.flags, pfn, PG_active)
    cpu.testSet(mm.flags, pfn, PG_workingset)
    listAdd(mm.links, pfn, inactive)
  }
  countVmEvents(mm, PGDEACTIVATE, moveFoliosToLru(cpu, mm, inactive))
  cpu.add(isFileList(lru) ? mm.nrIsolatedFile : mm.nrIsolatedAnon, nid, -pages)
}

/**
 * Remembers what reclaim of one kind has cost: pages written, and pages looked at in vain. What is long ago counts
 * less.
 *
 * @locks  takes and drops (U)
 * @kernel mm/swap.c lru_note_cost() v6.18, of one node without cgroups
 */
function lruNoteCost(cpu: Cpu, mm: Mm, nid: Nid, file: boolean, written: number, rotated: number): void {
  const cost = written * SWAP_CLUSTER_MAX + rotated
  if (cost === 0) return
  let all = 0
  for (let lru = 0; lru < LRU_UNEVICTABLE; lru++) all += nodeLruPages(mm, nid, lru)
  cpu.lock(mm.lruLock, nid, SPIN_LOCKED)
  cpu.add(file ? mm.fileCost : mm.anonCost, nid, cost)
  const fileCost = cpu.load(mm.fileCost, nid)
  const anonCost = cpu.load(mm.anonCost, nid)
  if (fileCost + anonCost > Math.floor(all / 4)) {
    cpu.store(mm.fileCost, nid, fileCost >> 1)
    cpu.store(mm.anonCost, nid, anonCost >> 1)
  }
  cpu.unlock(mm.lruLock, nid, SPIN_LOCKED)
}
