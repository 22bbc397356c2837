/**
 * Faults in anonymous memory: the first access to a page gets it, with as many neighbours as the settings allow.
 *
 * A fault, told once:
 *   (1) a huge page, if the region may have one and nothing of its range is mapped
 *   (2) else the largest allowed order whose range is empty, and the next smaller one where there is no such folio
 *   (3) else a single page
 * The folio is filled and put on the LRU before any pte leads to it.
 *
 * Not here: faults of present ptes (copy on write), of swapped pages, of files; the zero page; memory policies. A
 * region has no page tables of its own here: "no page table yet", which is what the kernel asks before it tries a huge
 * page, is "every pte of the range is empty".
 *
 * @kernel mm/memory.c do_anonymous_page(), alloc_anon_folio(), mm/huge_memory.c do_huge_pmd_anonymous_page() v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, type Vpn, vpnOf } from '../base/units.ts'
import { GFP_HIGHUSER_MOVABLE, type Gfp } from './gfp.ts'
import { PG_locked, PG_swapbacked, PG_uptodate } from './limits.ts'
import { ANON_MAPPING, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { mapNewFolio, ptesAreEmpty } from './rmap.ts'
import {
  type AnonRegion,
  allocPagesMpol,
  countMthpStat,
  MTHP_STAT_ANON_FAULT_ALLOC,
  MTHP_STAT_ANON_FAULT_FALLBACK,
  suitableStart,
  thpVmaAllowableOrders,
  vmaThpGfpMask,
} from './thp.ts'
import { HPAGE_PMD_ORDER } from './thp_settings.ts'
import { countVmEvents, THP_FAULT_ALLOC, THP_FAULT_FALLBACK } from './vmstat.ts'

// What a fault answers besides the order of the folio that it has mapped.
/** There is no memory, not even a page. */
export const FAULT_OOM = -1
/** Somebody else has mapped something there meanwhile: the access finds it, or faults again. */
export const FAULT_RACED = -2

/**
 * Maps a new folio at `vpn`, whose pte is empty, for a process that runs on node `nid`. Gives the order of the folio.
 *
 * @locks   what allocating does; takes and drops (R), (U)
 * @sleeps  if the allocation may reclaim
 * @errors  FAULT_OOM, FAULT_RACED: nothing has changed
 * @kernel  mm/memory.c __handle_mm_fault() v6.18, for anonymous memory
 */
export function faultAnon(cpu: Cpu, mm: Mm, vpn: Vpn, nid: number, vma: AnonRegion): number {
  assert(vma.start > 0 && vma.end <= mm.pte.length, 'fault: the region lies within the page tables')
  assert(vpn >= vma.start && vpn < vma.end, 'fault: the access lies within the region')
  const orders = thpVmaAllowableOrders(mm, vma)
  const gfp = vmaThpGfpMask(mm, vma)
  if ((orders & PMD) !== 0) {
    const first = suitableStart(vma, vpn, HPAGE_PMD_ORDER)
    if (first >= 0 && ptesAreEmpty(cpu, mm, vpnOf(first), 1 << HPAGE_PMD_ORDER)) {
      const mapped = faultOrder(cpu, mm, vpnOf(first), nid, gfp, HPAGE_PMD_ORDER)
      if (mapped !== FAULT_OOM) return mapped
    }
  }
  let order = largestEmptyOrder(cpu, mm, vpn, vma, orders & ~PMD)
  for (; order > 0; order = nextOrder(orders & ~PMD, order)) {
    const first = vpnOf((vpn >>> order) << order)
    const mapped = faultOrder(cpu, mm, first, nid, gfp, order)
    if (mapped !== FAULT_OOM) return mapped
  }
  return faultOrder(cpu, mm, vpn, nid, GFP_HIGHUSER_MOVABLE, 0)
}

const PMD = 1 << HPAGE_PMD_ORDER

/** The largest order of the set that is smaller; 0 if there is none. */
const nextOrder = (orders: number, order: number): number => {
  const smaller = orders & ((1 << order) - 1)
  return smaller === 0 ? 0 : 31 - Math.clz32(smaller)
}

/**
 * The largest order of the set whose range lies in the region and is empty; 0 if there is none. The ranges of smaller
 * ones lie in it, so they are empty too.
 */
function largestEmptyOrder(cpu: Cpu, mm: Mm, vpn: Vpn, vma: AnonRegion, orders: number): number {
  for (let order = nextOrder(orders, HPAGE_PMD_ORDER); order > 0; order = nextOrder(orders, order)) {
    const first = suitableStart(vma, vpn, order)
    if (first >= 0 && ptesAreEmpty(cpu, mm, vpnOf(first), 1 << order)) return order
  }
  return 0
}

/** One try: a folio of that order at `first`. @errors FAULT_OOM: there is none. FAULT_RACED */
function faultOrder(cpu: Cpu, mm: Mm, first: Vpn, nid: number, gfp: Gfp, order: number): number {
  const got = allocPagesMpol(cpu, mm, gfp, order, nid)
  if (got < 0) {
    countFallback(mm, order)
    return FAULT_OOM
  }
  const folio = pfnOf(got)
  cpu.lock(mm.flags, folio, PG_locked)
  initAnonFolioLocked(cpu, mm, folio)
  zeroFolioLocked(cpu, mm, folio, 1 << order)
  cpu.unlock(mm.flags, folio, PG_locked)
  if (!mapNewFolio(cpu, mm, first, folio, 1 << order)) {
    putPage(cpu, mm, folio)
    return FAULT_RACED
  }
  if (order === HPAGE_PMD_ORDER) countVmEvents(mm, THP_FAULT_ALLOC, 1)
  if (order > 0) countMthpStat(mm, order, MTHP_STAT_ANON_FAULT_ALLOC)
  return order
}

function countFallback(mm: Mm, order: number): void {
  if (order === HPAGE_PMD_ORDER) countVmEvents(mm, THP_FAULT_FALLBACK, 1)
  if (order > 0) countMthpStat(mm, order, MTHP_STAT_ANON_FAULT_FALLBACK)
}

/**
 * Makes a folio that nobody else can reach an anonymous one.
 *
 * @locks  needs (L)
 * @kernel mm/rmap.c folio_add_new_anon_rmap() v6.18
 */
export function initAnonFolioLocked(cpu: Cpu, mm: Mm, folio: Pfn): void {
  cpu.store(mm.mapping, folio, ANON_MAPPING)
  cpu.testSet(mm.flags, folio, PG_uptodate | PG_swapbacked)
}

function zeroFolioLocked(cpu: Cpu, mm: Mm, folio: Pfn, pages: number): void {
  if (!mm.hasContents) return
  for (let page = folio; page < folio + pages; page = pfnOf(page + 1)) cpu.store(mm.content, page, 0)
}
