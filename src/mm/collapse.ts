/**
 * Collapse: what many ptes map becomes one folio, or everything is as before.
 *
 * A pte of the range is in one of these states, and the collapse remembers which page it mapped:
 *   (1) empty, and stays so until (3)
 *   (2) taken: a migration entry in place of the page, which is locked, isolated, and ours to copy
 *   (3) present: maps its page of the new folio
 *
 * A typical sequence is:
 *   isolateRange(cpu, cc, first)        // (R): present ptes become (2); undone if one of them will not
 *   referencesAreExpected(cpu, cc)      // nobody else has a reference, so nobody writes to the pages by another way
 *   copyRange(cpu, cc, folio)
 *   commitRange(cpu, cc, first, folio)  // (R): if every pte still is as it was left, all are (3)
 *   releasePages(cpu, cc)               // the old pages are unlocked and put back; the last reference frees them
 * and where one of the three in the middle says no:
 *   restoreRange(cpu, cc, first)        // (R): present again what still is (2)
 *   releasePages(cpu, cc)
 *
 * The kernel takes the whole page table out of reach at once and lets accessors wait for the lock of the address
 * space. Here there is one table: a migration entry in each pte stands for both, and accessors wait for the page lock
 * of the page it names, as they do for a migration.
 *
 * Rules:
 *   - references are compared after the ptes are taken: a pin that was faster is seen, and a later one finds no pte;
 *   - what is taken and no longer there when the range is committed was unmapped meanwhile: it stays unmapped;
 *   - who else maps an old page (fork) keeps it.
 *
 * Not here: which ranges are collapsed, and the new folio (khugepaged.ts).
 *
 * @kernel mm/khugepaged.c __collapse_huge_page_isolate(), __collapse_huge_page_copy(), collapse_huge_page() v6.18
 */

import type { Cpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, slotOf, type Vpn, vpnOf } from '../base/units.ts'
import { deleteFromSwapCache } from './filemap.ts'
import { ISOLATE_UNEVICTABLE, PG_locked, PG_swapcache } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { folioExpectedRefCount } from './lru_ops.ts'
import { initAnonFolioLocked } from './memory.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage, REFUSED_PINNED } from './movable_ops.ts'
import { folioHead, folioPages, isAnonMapping, type Mm } from './page.ts'
import {
  fillPtes,
  folioMapcount,
  isPresentPte,
  migrationPte,
  presentPte,
  ptePfn,
  RMAP,
  unchain,
} from './rmap.ts'
import { folioFreeSwap, isSwapSlot } from './swap.ts'
import {
  countVmEvents,
  THP_SCAN_EXCEED_NONE_PTE,
  THP_SCAN_EXCEED_SHARED_PTE,
  THP_SCAN_EXCEED_SWAP_PTE,
} from './vmstat.ts'

// How a scan or a collapse ended. @kernel mm/khugepaged.c enum scan_result
export const SCAN_SUCCEED = 0
export const SCAN_FAIL = 1
/** The range is one huge page already. */
export const SCAN_PMD_MAPPED = 2
export const SCAN_EXCEED_NONE_PTE = 3
export const SCAN_EXCEED_SWAP_PTE = 4
export const SCAN_EXCEED_SHARED_PTE = 5
export const SCAN_PTE_NON_PRESENT = 6
/** Too few pages are there for what must be brought back. */
export const SCAN_LACK_REFERENCED_PAGE = 7
/** Somebody else has a reference. */
export const SCAN_PAGE_COUNT = 8
export const SCAN_PAGE_LRU = 9
export const SCAN_PAGE_LOCK = 10
export const SCAN_PAGE_ANON = 11
/** The region is not for huge pages, or does not hold all of the range. */
export const SCAN_VMA_CHECK = 12
/** Somebody isolated the page first. */
export const SCAN_DEL_PAGE_LRU = 13
export const SCAN_ALLOC_HUGE_PAGE_FAIL = 14
export type ScanResult = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14

/** The local state of one collapse of a range of 2^order ptes. */
export class CollapseControl {
  readonly mm: Mm
  /** The page that each pte of the range mapped; 0: none. */
  readonly taken: Int32Array
  /** Folios that are isolated and locked: the first `nrFolios`. */
  private readonly folios: Int32Array
  private nrFolios = 0

  constructor(mm: Mm, order: number) {
    this.mm = mm
    this.taken = new Int32Array(1 << order)
    this.folios = new Int32Array(1 << order)
  }

  addFolio(folio: Pfn): void {
    this.folios[this.nrFolios++] = folio
  }

  hasFolio(folio: Pfn): boolean {
    return this.folios.subarray(0, this.nrFolios).includes(folio)
  }

  folioAt(i: number): Pfn {
    return pfnOf(this.folios[i])
  }

  get folioCount(): number {
    return this.nrFolios
  }

  forgetFolios(): void {
    this.nrFolios = 0
  }
}

/** What a range has that speaks against collapsing it. */
export class RangeCounts {
  none = 0
  swap = 0
  shared = 0

  /**
   * Counts a pte, and a folio if it is present. Not SCAN_SUCCEED: it is one too many.
   *
   * @kernel mm/khugepaged.c hpage_collapse_scan_pmd() v6.18
   */
  add(mm: Mm, pte: number, sharedFolio: boolean): ScanResult {
    if (pte === 0 && ++this.none > mm.thp.max_ptes_none) {
      countVmEvents(mm, THP_SCAN_EXCEED_NONE_PTE, 1)
      return SCAN_EXCEED_NONE_PTE
    }
    if (pte !== 0 && !isPresentPte(pte) && ++this.swap > mm.thp.max_ptes_swap) {
      countVmEvents(mm, THP_SCAN_EXCEED_SWAP_PTE, 1)
      return SCAN_EXCEED_SWAP_PTE
    }
    if (sharedFolio && ++this.shared > mm.thp.max_ptes_shared) {
      countVmEvents(mm, THP_SCAN_EXCEED_SHARED_PTE, 1)
      return SCAN_EXCEED_SHARED_PTE
    }
    return SCAN_SUCCEED
  }
}

/** True if some page of the folio is mapped more than once. @kernel folio_maybe_mapped_shared(), from the counts */
export function isMappedShared(cpu: Cpu, mm: Mm, folio: Pfn): boolean {
  const flags = cpu.load(mm.flags, folio)
  return folioMapcount(cpu, mm, folio, flags) > folioPages(flags)
}

/**
 * Takes every page that the range maps: locked, isolated, and a migration entry in its pte.
 *
 * @locks   takes (L) of the pages if they are free, kept on success; takes and drops (R), under it (U)
 * @errors  not SCAN_SUCCEED: why not; all is as before
 * @kernel  mm/khugepaged.c __collapse_huge_page_isolate() v6.18
 */
export function isolateRange(cpu: Cpu, cc: CollapseControl, first: Vpn): ScanResult {
  const { mm, taken } = cc
  const counts = new RangeCounts()
  let result: ScanResult = SCAN_SUCCEED
  taken.fill(0)
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  for (let i = 0; i < taken.length && result === SCAN_SUCCEED; i++) {
    const vpn = vpnOf(first + i)
    const pte = cpu.load(mm.pte, vpn)
    if (pte !== 0 && !isPresentPte(pte)) result = SCAN_PTE_NON_PRESENT
    else if (pte === 0) result = counts.add(mm, pte, false)
    else {
      result = takePage(cpu, cc, counts, ptePfn(pte))
      if (result !== SCAN_SUCCEED) break
      taken[i] = ptePfn(pte)
      cpu.store(mm.pte, vpn, migrationPte(ptePfn(pte)))
      cpu.add(mm.mapcount, ptePfn(pte), -1)
      cpu.add(mm.refcount, folioHead(cpu, mm, ptePfn(pte)), -1) // never the last one: the isolation's is there
    }
  }
  if (result !== SCAN_SUCCEED) restorePtes(cpu, cc, first)
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  if (result !== SCAN_SUCCEED) releasePages(cpu, cc)
  return result
}

/** Isolates and locks the folio of a page, unless it is ours already. @locks needs (R), so the page stays mapped */
function takePage(cpu: Cpu, cc: CollapseControl, counts: RangeCounts, page: Pfn): ScanResult {
  const { mm } = cc
  const folio = folioHead(cpu, mm, page)
  if (!isAnonMapping(cpu.load(mm.mapping, folio))) return SCAN_PAGE_ANON
  const counted = counts.add(mm, presentPte(page), isMappedShared(cpu, mm, folio))
  if (counted !== SCAN_SUCCEED) return counted
  if (folioPages(cpu.load(mm.flags, folio)) > 1 && cc.hasFolio(folio)) return SCAN_SUCCEED
  const answer = isolateMovablePage(cpu, mm, folio, ISOLATE_UNEVICTABLE)
  if (answer !== ISOLATED) return answer === REFUSED_PINNED ? SCAN_PAGE_COUNT : SCAN_DEL_PAGE_LRU
  if (!cpu.tryLock(mm.flags, folio, PG_locked)) {
    putbackMovablePage(cpu, mm, folio)
    return SCAN_PAGE_LOCK
  }
  cc.addFolio(folio)
  return SCAN_SUCCEED
}

/**
 * True if nobody but mappings, the swap cache and this collapse has a reference on the pages that are taken.
 *
 * @kernel mm/khugepaged.c is_refcount_suitable() v6.18
 */
export function referencesAreExpected(cpu: Cpu, cc: CollapseControl): boolean {
  const { mm } = cc
  for (let i = 0; i < cc.folioCount; i++) {
    const folio = cc.folioAt(i)
    if (cpu.load(mm.refcount, folio) !== 1 + folioExpectedRefCount(cpu, mm, folio)) return false
  }
  return true
}

/**
 * Fills the new folio: copies what is taken, zero for the rest. The caller has the only reference.
 *
 * @locks  takes and drops (L) of the folio; needs (L) of the pages
 * @kernel mm/khugepaged.c __collapse_huge_page_copy() v6.18
 */
export function copyRange(cpu: Cpu, { mm, taken }: CollapseControl, folio: Pfn): void {
  cpu.lock(mm.flags, folio, PG_locked)
  initAnonFolioLocked(cpu, mm, folio)
  for (let i = 0; mm.hasContents && i < taken.length; i++) {
    const from = pfnOf(taken[i])
    cpu.store(mm.content, pfnOf(folio + i), from === 0 ? 0 : cpu.load(mm.content, from))
  }
  cpu.unlock(mm.flags, folio, PG_locked)
}

/**
 * Maps the new folio in the whole range. The caller's reference becomes that of the first pte. False: a pte is not as
 * it was left; nothing has changed.
 *
 * @locks  takes and drops (R), under it (U); needs (L) of the pages
 * @kernel mm/khugepaged.c collapse_huge_page() v6.18
 */
export function commitRange(cpu: Cpu, { mm, taken }: CollapseControl, first: Vpn, folio: Pfn): boolean {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  let same = true
  for (let i = 0; i < taken.length && same; i++) {
    same = cpu.load(mm.pte, vpnOf(first + i)) === (taken[i] === 0 ? 0 : migrationPte(pfnOf(taken[i])))
  }
  if (same) {
    for (let i = 0; i < taken.length; i++) {
      if (taken[i] !== 0) unchain(cpu, mm, pfnOf(taken[i]), vpnOf(first + i))
    }
    fillPtes(cpu, mm, first, folio, taken.length)
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  return same
}

/** Maps again what is taken and still there. Pairs with isolateRange(). @locks takes and drops (R) */
export function restoreRange(cpu: Cpu, cc: CollapseControl, first: Vpn): void {
  const { mm } = cc
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  restorePtes(cpu, cc, first)
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
}

/** @locks needs (R) */
function restorePtes(cpu: Cpu, { mm, taken }: CollapseControl, first: Vpn): void {
  for (let i = 0; i < taken.length; i++) {
    const page = pfnOf(taken[i])
    const vpn = vpnOf(first + i)
    if (page === 0 || cpu.load(mm.pte, vpn) !== migrationPte(page)) continue
    cpu.add(mm.refcount, folioHead(cpu, mm, page), 1)
    cpu.add(mm.mapcount, page, 1)
    cpu.store(mm.pte, vpn, presentPte(page))
  }
}

/**
 * Lets go of the folios that isolateRange() has taken: unlocked, back on the LRU, without its reference. What nobody
 * maps any more is free then.
 *
 * @locks  drops (L) of the folios; takes and drops (I), (U), (C), (Z)
 * @kernel mm/khugepaged.c release_pte_folio(), mm/swap_state.c free_swap_cache() v6.18
 */
export function releasePages(cpu: Cpu, cc: CollapseControl): void {
  const { mm } = cc
  for (let i = 0; i < cc.folioCount; i++) {
    const folio = cc.folioAt(i)
    const flags = cpu.load(mm.flags, folio)
    const unused = (flags & PG_swapcache) !== 0 && folioMapcount(cpu, mm, folio, flags) === 0
    if (unused) leaveSwapCache(cpu, mm, folio)
    cpu.unlock(mm.flags, folio, PG_locked)
    putbackMovablePage(cpu, mm, folio)
  }
  cc.forgetFolios()
}

/** A page that nobody maps any more needs no slot, unless ptes elsewhere look for it there. @locks needs (L) */
function leaveSwapCache(cpu: Cpu, mm: Mm, folio: Pfn): void {
  if (isSwapSlot(mm, slotOf(cpu.load(mm.private, folio)))) folioFreeSwap(cpu, mm, folio)
  else deleteFromSwapCache(cpu, mm, folio)
}

/**
 * All of it: takes the range into a new folio, of which the caller has the only reference; on success that is a pte's.
 *
 * @locks   takes and drops (R), (L), (I), (U), (C), (Z), function by function as they say
 * @errors  not SCAN_SUCCEED: why not; the range is as before, the folio still the caller's
 */
export function collapseInto(cpu: Cpu, cc: CollapseControl, first: Vpn, folio: Pfn): ScanResult {
  const isolated = isolateRange(cpu, cc, first)
  if (isolated !== SCAN_SUCCEED) return isolated
  let result: ScanResult = SCAN_PAGE_COUNT
  if (referencesAreExpected(cpu, cc)) {
    copyRange(cpu, cc, folio)
    result = commitRange(cpu, cc, first, folio) ? SCAN_SUCCEED : SCAN_FAIL
  }
  if (result !== SCAN_SUCCEED) restoreRange(cpu, cc, first)
  releasePages(cpu, cc)
  return result
}
