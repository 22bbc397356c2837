/**
 * Transparent huge pages: which orders a region may have, what an allocation of them may do, and their counts.
 *
 * What a fault may do for a huge page that is not free, by `defrag`:
 *   | defrag        | region asked (MADV_HUGEPAGE)        | region did not ask               |
 *   |---------------|-------------------------------------|----------------------------------|
 *   | always        | reclaim and compact                 | the same, giving up early        |
 *   | defer         | wake kswapd, which wakes kcompactd  | the same                         |
 *   | defer+madvise | reclaim and compact                 | wake kswapd                      |
 *   | madvise       | reclaim and compact                 | nothing                          |
 *   | never         | nothing                             | nothing                          |
 *
 * Not here: the fault (memory.ts), khugepaged (khugepaged.ts), huge pages of files, the huge zero page. Regions are
 * only as much of a vma as these rules need.
 *
 * @kernel mm/huge_memory.c vma_thp_gfp_mask(), include/linux/huge_mm.h thp_vma_allowable_orders() v6.18; spec R-3
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { pcpIdOf, type Vpn, zoneIdOf } from '../base/units.ts'
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_KSWAPD_RECLAIM,
  __GFP_NORETRY,
  __GFP_THISNODE,
  GFP_TRANSHUGE,
  GFP_TRANSHUGE_LIGHT,
  type Gfp,
} from './gfp.ts'
import { MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, pageblock_order } from './limits.ts'
import type { Mm } from './page.ts'
import { pcpIndexOf } from './pcp.ts'
import { allocPages } from './slowpath.ts'
import { HPAGE_PMD_ORDER } from './thp_settings.ts'
import { freePagesInBlocks } from './vmstat.ts'

/** A stretch of anonymous memory of one process. */
export interface AnonRegion {
  /** First vpn, not 0. Huge pages begin at multiples of their size. */
  readonly start: Vpn
  /** First vpn behind it. */
  readonly end: Vpn
  /** What the process said of it: MADV_HUGEPAGE, MADV_NOHUGEPAGE. Default: nothing. */
  readonly advice?: 'hugepage' | 'nohugepage'
}

/** Orders that anonymous folios can have, as a set of bits; order 1 has no place for what large folios keep. */
const THP_ORDERS_ALL_ANON = ((1 << (HPAGE_PMD_ORDER + 1)) - 1) & ~3

/**
 * Orders that the region may have by the settings, as a set of bits (1 << order).
 *
 * @kernel include/linux/huge_mm.h thp_vma_allowable_orders(), mm/huge_memory.c __thp_vma_allowable_orders() v6.18
 */
export function thpVmaAllowableOrders({ thp }: Mm, { advice }: AnonRegion): number {
  if (advice === 'nohugepage') return 0
  const asked = advice === 'hugepage'
  const allows = (enabled: string): boolean => enabled === 'always' || (asked && enabled === 'madvise')
  let orders = 0
  thp.orders.forEach((enabled, order) => {
    if (allows(enabled === 'inherit' ? thp.enabled : enabled)) orders |= 1 << order
  })
  return orders & THP_ORDERS_ALL_ANON
}

/** First vpn of the aligned range of that order that holds `vpn`; -1 if the region does not hold all of it. */
export function suitableStart(vma: AnonRegion, vpn: Vpn, order: number): number {
  const first = (vpn >>> order) << order
  return first >= vma.start && first + (1 << order) <= vma.end ? first : -1
}

/**
 * What an allocation of a large folio for the region says of itself.
 *
 * @kernel mm/huge_memory.c vma_thp_gfp_mask() v6.18
 */
export function vmaThpGfpMask({ thp }: Mm, { advice }: AnonRegion): Gfp {
  const asked = advice === 'hugepage'
  switch (thp.defrag) {
    case 'always':
      return GFP_TRANSHUGE | (asked ? 0 : __GFP_NORETRY)
    case 'defer':
      return GFP_TRANSHUGE_LIGHT | __GFP_KSWAPD_RECLAIM
    case 'defer+madvise':
      return GFP_TRANSHUGE_LIGHT | (asked ? __GFP_DIRECT_RECLAIM : __GFP_KSWAPD_RECLAIM)
    case 'madvise':
      return GFP_TRANSHUGE_LIGHT | (asked ? __GFP_DIRECT_RECLAIM : 0)
    case 'never':
      return GFP_TRANSHUGE_LIGHT
  }
}

/**
 * Allocates a folio for a process that runs on node `nid` and has no memory policy. A huge page is first tried on that
 * node only, compacting but not reclaiming much; who may reclaim tries again, on all nodes.
 *
 * @locks   as allocPages()
 * @errors  -1: there is none
 * @kernel  mm/mempolicy.c alloc_pages_mpol() v6.18
 */
export function allocPagesMpol(cpu: Cpu, mm: Mm, gfp: Gfp, order: number, nid: number): number {
  if (order === HPAGE_PMD_ORDER) {
    const pfn = allocPages(cpu, mm, gfp | __GFP_THISNODE | __GFP_NORETRY, order, nid)
    if (pfn >= 0 || (gfp & __GFP_DIRECT_RECLAIM) === 0) return pfn
  }
  return allocPages(cpu, mm, gfp, order, nid)
}

// Counts.

/** Counters of `hugepages-<size>kB/stats`. */
export const MTHP_STAT_ANON_FAULT_ALLOC = 0
export const MTHP_STAT_ANON_FAULT_FALLBACK = 1
const MTHP_STATS = 2

/** Adds 1 to a counter of an order. @kernel include/linux/huge_mm.h count_mthp_stat() v6.18 */
export function countMthpStat(mm: Mm, order: number, stat: number): void {
  mm.mthpStats[order * MTHP_STATS + stat]++
}

/** Value of a counter of an order. */
export const mthpStat = (mm: Mm, order: number, stat: number): number =>
  mm.mthpStats[order * MTHP_STATS + stat]

/**
 * Huge pages that can be had without moving anything: one a free block of order 9, two a block of order 10, and those
 * that wait on per-cpu lists. On real kernels the blocks alone are exact to 1, as long as the watermarks allow them all.
 *
 * @ours
 */
export function hugePagesObtainable(mm: Mm): number {
  let pages = 0
  for (let zone = 0; zone < mm.zones; zone++) {
    pages += freePagesInBlocks(mm, zoneIdOf(zone), HPAGE_PMD_ORDER) >>> HPAGE_PMD_ORDER
  }
  for (let pcp = 0; pcp < mm.zones * mm.cpus; pcp++) {
    for (const mt of [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE]) {
      const head = mm.pcpList(pcpIdOf(pcp), pcpIndexOf(HPAGE_PMD_ORDER, mt))
      for (let node = mm.links[2 * head]; node !== head; node = mm.links[2 * node]) pages++
    }
  }
  return pages
}

assert(HPAGE_PMD_ORDER === pageblock_order, 'thp: a huge page is a pageblock')
