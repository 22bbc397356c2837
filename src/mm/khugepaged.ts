/**
 * khugepaged: makes huge pages of what is mapped in small ones.
 *
 * A range, told once:
 *   (1) look, without a lock: is it worth it, and of which node are most of its pages
 *   (2) allocate the huge page first, holding nothing: this may compact and take long
 *   (3) wait for what is on its way back to the range
 *   (4) take the small pages, copy, map the huge page in their place (collapse.ts), or undo all of it
 *
 * What a failure leaves behind: everything as before, and the huge page freed.
 *
 * Not here: the thread's own rhythm (how many pages it looks at before it sleeps, how long it sleeps after an
 * allocation failed), ranges of files, MADV_COLLAPSE, other sizes than the huge page. Ptes have no accessed and no
 * write bit here: all are taken as young and writable.
 *
 * @kernel mm/khugepaged.c v6.18; spec R-3
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, type Vpn, vpnOf } from '../base/units.ts'
import {
  CollapseControl,
  collapseInto,
  isMappedShared,
  RangeCounts,
  SCAN_ALLOC_HUGE_PAGE_FAIL,
  SCAN_FAIL,
  SCAN_LACK_REFERENCED_PAGE,
  SCAN_PAGE_ANON,
  SCAN_PAGE_COUNT,
  SCAN_PAGE_LOCK,
  SCAN_PAGE_LRU,
  SCAN_PMD_MAPPED,
  SCAN_SUCCEED,
  SCAN_VMA_CHECK,
  type ScanResult,
} from './collapse.ts'
import { __GFP_THISNODE, GFP_HIGHUSER_MOVABLE, GFP_TRANSHUGE, GFP_TRANSHUGE_LIGHT } from './gfp.ts'
import { PG_locked, PG_lru } from './limits.ts'
import { nodeOf } from './lru.ts'
import { folioExpectedRefCount } from './lru_ops.ts'
import { compoundOrder, folioHead, isAnonMapping, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { accessPage, isMigrationPte, isPresentPte, isSwapPte, ptePfn } from './rmap.ts'
import { allocPages } from './slowpath.ts'
import { doSwapPage, type FaultPages } from './swapin.ts'
import { type AnonRegion, suitableStart, thpVmaAllowableOrders } from './thp.ts'
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from './thp_settings.ts'
import { countVmEvents, THP_COLLAPSE_ALLOC, THP_COLLAPSE_ALLOC_FAILED } from './vmstat.ts'

/** What a look at a range has found. */
interface RangeScan {
  readonly result: ScanResult
  /** Pages of the range by node. */
  readonly nodeLoad: readonly number[]
}

/**
 * Goes over a region once and collapses what it can. Gives how many huge pages it made.
 *
 * @locks   as collapseHugePage()
 * @sleeps  as collapseHugePage()
 * @kernel  mm/khugepaged.c khugepaged_scan_mm_slot() v6.18
 */
export function khugepagedScanRegion(cpu: Cpu, mm: Mm, vma: AnonRegion): number {
  assert(vma.start > 0 && vma.end <= mm.pte.length, 'khugepaged: the region lies within the page tables')
  let collapsed = 0
  const first = Math.ceil(vma.start / HPAGE_PMD_NR) * HPAGE_PMD_NR
  for (let vpn = first; vpn + HPAGE_PMD_NR <= vma.end; vpn += HPAGE_PMD_NR) {
    if (hpageCollapseScanPmd(cpu, mm, vpnOf(vpn), vma) === SCAN_SUCCEED) collapsed++
  }
  return collapsed
}

/**
 * Collapses the range of a huge page that begins at `first`, if it is worth it, on the node of most of its pages.
 *
 * @locks   as collapseHugePage()
 * @errors  not SCAN_SUCCEED: why not; all is as before
 * @kernel  mm/khugepaged.c hpage_collapse_scan_pmd() v6.18
 */
export function hpageCollapseScanPmd(cpu: Cpu, mm: Mm, first: Vpn, vma: AnonRegion): ScanResult {
  assert(first % HPAGE_PMD_NR === 0, 'khugepaged: the range begins at a multiple of a huge page')
  const allowed = thpVmaAllowableOrders(mm, vma) & (1 << HPAGE_PMD_ORDER)
  if (allowed === 0 || suitableStart(vma, first, HPAGE_PMD_ORDER) < 0) return SCAN_VMA_CHECK
  const { result, nodeLoad } = scanRange(cpu, mm, first)
  if (result !== SCAN_SUCCEED) return result
  const most = Math.max(...nodeLoad)
  const nodes = nodeLoad.flatMap((load, nid) => (load === most ? [nid] : []))
  return collapseHugePage(cpu, mm, first, nodes)
}

/** A guess without a lock. What it finds may be otherwise when the pages are taken, and is looked at again then. */
function scanRange(cpu: Cpu, mm: Mm, first: Vpn): RangeScan {
  const counts = new RangeCounts()
  const nodeLoad = Array.from({ length: mm.nodes }, () => 0)
  for (let vpn = first; vpn < first + HPAGE_PMD_NR; vpn = vpnOf(vpn + 1)) {
    const pte = cpu.load(mm.pte, vpn)
    const present = isPresentPte(pte)
    const folio = present ? folioHead(cpu, mm, ptePfn(pte)) : pfnOf(0)
    const unfit = present ? unfitFolio(cpu, mm, folio) : SCAN_SUCCEED
    const counted = counts.add(mm, pte, present && isMappedShared(cpu, mm, folio))
    const result = counted === SCAN_SUCCEED ? unfit : counted
    if (result !== SCAN_SUCCEED) return { result, nodeLoad }
    if (present) nodeLoad[nodeOf(mm, folio)]++
  }
  const present = HPAGE_PMD_NR - counts.none - counts.swap
  const lacking = present === 0 || (counts.swap > 0 && present < HPAGE_PMD_NR / 2)
  return { result: lacking ? SCAN_LACK_REFERENCED_PAGE : SCAN_SUCCEED, nodeLoad }
}

/** Why a folio cannot be collapsed, as far as a look shows. */
function unfitFolio(cpu: Cpu, mm: Mm, folio: Pfn): ScanResult {
  const flags = cpu.load(mm.flags, folio)
  if (compoundOrder(flags) >= HPAGE_PMD_ORDER) return SCAN_PMD_MAPPED
  if (!isAnonMapping(cpu.load(mm.mapping, folio))) return SCAN_PAGE_ANON
  if ((flags & PG_lru) === 0) return SCAN_PAGE_LRU
  if ((flags & PG_locked) !== 0) return SCAN_PAGE_LOCK
  return cpu.load(mm.refcount, folio) === folioExpectedRefCount(cpu, mm, folio)
    ? SCAN_SUCCEED
    : SCAN_PAGE_COUNT
}

/**
 * Replaces what the range that begins at `first` maps by one huge page of one of `nodes`, the first that has one.
 *
 * @locks   what allocating does; takes and drops (R), (L), (I), (U)
 * @sleeps  in the allocation, and for migrations under way in the range
 * @errors  not SCAN_SUCCEED: why not; all is as before
 * @kernel  mm/khugepaged.c collapse_huge_page(), alloc_charge_folio() v6.18
 */
export function collapseHugePage(cpu: Cpu, mm: Mm, first: Vpn, nodes: readonly number[]): ScanResult {
  const got = allocHugePage(cpu, mm, nodes)
  countVmEvents(mm, got < 0 ? THP_COLLAPSE_ALLOC_FAILED : THP_COLLAPSE_ALLOC, 1)
  if (got < 0) return SCAN_ALLOC_HUGE_PAGE_FAIL
  if (!makePresent(cpu, mm, first, nodes[0])) {
    putPage(cpu, mm, pfnOf(got))
    return SCAN_FAIL
  }
  const cc = new CollapseControl(mm, HPAGE_PMD_ORDER)
  const result = collapseInto(cpu, cc, first, pfnOf(got))
  if (result !== SCAN_SUCCEED) putPage(cpu, mm, pfnOf(got))
  return result
}

/**
 * Waits for pages of the range that migrate, and swaps in those that are swapped out. False: there is no page for one.
 *
 * @kernel mm/khugepaged.c __collapse_huge_page_swapin() v6.18
 */
function makePresent(cpu: Cpu, mm: Mm, first: Vpn, nid: number): boolean {
  const pages: FaultPages = { getNewPage: () => allocPages(cpu, mm, GFP_HIGHUSER_MOVABLE, 0, nid) }
  for (let vpn = first; vpn < first + HPAGE_PMD_NR; vpn = vpnOf(vpn + 1)) {
    const pte = cpu.load(mm.pte, vpn)
    if (isMigrationPte(pte)) accessPage(cpu, mm, vpn)
    else if (isSwapPte(pte) && doSwapPage(cpu, mm, vpn, pages, false) !== 0) return false
  }
  return true
}

function allocHugePage(cpu: Cpu, mm: Mm, nodes: readonly number[]): number {
  const gfp = mm.thp.khugepagedDefrag ? GFP_TRANSHUGE : GFP_TRANSHUGE_LIGHT
  for (const nid of nodes) {
    const pfn = allocPages(cpu, mm, gfp | __GFP_THISNODE, HPAGE_PMD_ORDER, nid)
    if (pfn >= 0) return pfn
  }
  return -1
}
