/**
 * Settings of transparent huge pages, as they stand in /sys/kernel/mm/transparent_hugepage.
 *
 * Not here: what follows from them (thp.ts, khugepaged.ts).
 *
 * @kernel Documentation/admin-guide/mm/transhuge.rst, mm/huge_memory.c, mm/khugepaged.c v6.18
 */

import { NR_PAGE_ORDERS, pageblock_order } from './limits.ts'

/** Order of a huge page that one entry of the page middle directory maps. */
export const HPAGE_PMD_ORDER = pageblock_order
export const HPAGE_PMD_NR = 1 << HPAGE_PMD_ORDER

/** Which regions get huge pages: all, those that asked for them (MADV_HUGEPAGE), none. */
export type ThpEnabled = 'always' | 'madvise' | 'never'
/** The same for one size; `inherit`: as `enabled` says. */
export type ThpOrderEnabled = ThpEnabled | 'inherit'
/** What a fault may do for a huge page when none is free. */
export type ThpDefrag = 'always' | 'defer' | 'defer+madvise' | 'madvise' | 'never'

/** Read by the engine, changed between its operations only. */
export interface TransparentHugepage {
  enabled: ThpEnabled
  defrag: ThpDefrag
  /** `hugepages-<size>kB/enabled`, by order; orders 0 and 1 mean nothing. */
  orders: readonly ThpOrderEnabled[]
  /** khugepaged may reclaim and compact for a huge page. */
  khugepagedDefrag: boolean
  /** Empty ptes in a range that khugepaged still collapses. */
  max_ptes_none: number
  /** Ptes that are not present there. */
  max_ptes_swap: number
  /** Ptes whose page somebody else maps too. */
  max_ptes_shared: number
}

export const THP_DEFAULTS: TransparentHugepage = {
  enabled: 'always',
  defrag: 'madvise',
  orders: Array.from({ length: NR_PAGE_ORDERS }, (_, order) =>
    order === HPAGE_PMD_ORDER ? 'inherit' : 'never',
  ),
  khugepagedDefrag: true,
  max_ptes_none: HPAGE_PMD_NR - 1,
  max_ptes_swap: HPAGE_PMD_NR / 8,
  max_ptes_shared: HPAGE_PMD_NR / 2,
}
