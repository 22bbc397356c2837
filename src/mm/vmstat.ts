/**
 * Event counters, under the names of /proc/vmstat, and the measures of fragmentation.
 *
 * Events are per-cpu in the kernel: no decision depends on them, so they are counted without a `Cpu` step.
 *
 * Not here: the texts of /proc (proc_text.ts).
 *
 * @kernel mm/vmstat.c, include/linux/vm_event_item.h v6.18
 */

import { assert } from '../base/assert.ts'
import type { ZoneId } from '../base/units.ts'
import { MAX_NR_ZONES, MIGRATE_TYPES, NR_PAGE_ORDERS } from './limits.ts'
import { EVENT_CELLS, type Mm } from './page.ts'

/** Names of the counters, in the order of /proc/vmstat; their places are the constants below. */
export const VM_EVENT_NAMES = [
  'pswpin',
  'pswpout',
  'pgalloc_dma',
  'pgalloc_dma32',
  'pgalloc_normal',
  'pgalloc_movable',
  'pgalloc_device',
  'allocstall_dma',
  'allocstall_dma32',
  'allocstall_normal',
  'allocstall_movable',
  'allocstall_device',
  'pgskip_dma',
  'pgskip_dma32',
  'pgskip_normal',
  'pgskip_movable',
  'pgskip_device',
  'pgfree',
  'pgactivate',
  'pgdeactivate',
  'pgmajfault',
  'pgrefill',
  'pgsteal_kswapd',
  'pgsteal_direct',
  'pgscan_kswapd',
  'pgscan_direct',
  'pgscan_anon',
  'pgscan_file',
  'pgsteal_anon',
  'pgsteal_file',
  'kswapd_low_wmark_hit_quickly',
  'kswapd_high_wmark_hit_quickly',
  'pageoutrun',
  'pgmigrate_success',
  'pgmigrate_fail',
  'thp_migration_success',
  'thp_migration_fail',
  'thp_migration_split',
  'compact_migrate_scanned',
  'compact_free_scanned',
  'compact_isolated',
  'compact_stall',
  'compact_fail',
  'compact_success',
  'compact_daemon_wake',
  'compact_daemon_migrate_scanned',
  'compact_daemon_free_scanned',
  'htlb_buddy_alloc_success',
  'htlb_buddy_alloc_fail',
  'thp_fault_alloc',
  'thp_fault_fallback',
  'thp_collapse_alloc',
  'thp_collapse_alloc_failed',
  'thp_scan_exceed_none_pte',
  'thp_scan_exceed_swap_pte',
  'thp_scan_exceed_share_pte',
  'balloon_inflate',
  'balloon_deflate',
  'balloon_migrate',
] as const

export type VmEventName = (typeof VM_EVENT_NAMES)[number]

const eventOf = (name: VmEventName): number => VM_EVENT_NAMES.indexOf(name)

export const PSWPIN = eventOf('pswpin')
export const PSWPOUT = eventOf('pswpout')
/** The first of one counter a kind of zone: add ZONE_*. */
export const PGALLOC = eventOf('pgalloc_dma')
export const ALLOCSTALL = eventOf('allocstall_dma')
export const PGSCAN_SKIP = eventOf('pgskip_dma')
export const PGFREE = eventOf('pgfree')
export const PGACTIVATE = eventOf('pgactivate')
export const PGDEACTIVATE = eventOf('pgdeactivate')
export const PGMAJFAULT = eventOf('pgmajfault')
export const PGREFILL = eventOf('pgrefill')
export const PGSTEAL_KSWAPD = eventOf('pgsteal_kswapd')
export const PGSTEAL_DIRECT = eventOf('pgsteal_direct')
export const PGSCAN_KSWAPD = eventOf('pgscan_kswapd')
export const PGSCAN_DIRECT = eventOf('pgscan_direct')
/** Of anonymous pages; add 1 for those of files. */
export const PGSCAN_ANON = eventOf('pgscan_anon')
export const PGSTEAL_ANON = eventOf('pgsteal_anon')
export const KSWAPD_HIGH_WMARK_HIT_QUICKLY = eventOf('kswapd_high_wmark_hit_quickly')
export const PAGEOUTRUN = eventOf('pageoutrun')
export const PGMIGRATE_SUCCESS = eventOf('pgmigrate_success')
export const PGMIGRATE_FAIL = eventOf('pgmigrate_fail')
export const THP_MIGRATION_SUCCESS = eventOf('thp_migration_success')
export const THP_MIGRATION_FAIL = eventOf('thp_migration_fail')
export const THP_MIGRATION_SPLIT = eventOf('thp_migration_split')
export const COMPACTMIGRATE_SCANNED = eventOf('compact_migrate_scanned')
export const COMPACTFREE_SCANNED = eventOf('compact_free_scanned')
export const COMPACTISOLATED = eventOf('compact_isolated')
export const COMPACTSTALL = eventOf('compact_stall')
export const COMPACTFAIL = eventOf('compact_fail')
export const COMPACTSUCCESS = eventOf('compact_success')
export const KCOMPACTD_WAKE = eventOf('compact_daemon_wake')
export const KCOMPACTD_MIGRATE_SCANNED = eventOf('compact_daemon_migrate_scanned')
export const KCOMPACTD_FREE_SCANNED = eventOf('compact_daemon_free_scanned')
export const HTLB_BUDDY_PGALLOC = eventOf('htlb_buddy_alloc_success')
export const HTLB_BUDDY_PGALLOC_FAIL = eventOf('htlb_buddy_alloc_fail')
export const THP_FAULT_ALLOC = eventOf('thp_fault_alloc')
export const THP_FAULT_FALLBACK = eventOf('thp_fault_fallback')
export const THP_COLLAPSE_ALLOC = eventOf('thp_collapse_alloc')
export const THP_COLLAPSE_ALLOC_FAILED = eventOf('thp_collapse_alloc_failed')
export const THP_SCAN_EXCEED_NONE_PTE = eventOf('thp_scan_exceed_none_pte')
export const THP_SCAN_EXCEED_SWAP_PTE = eventOf('thp_scan_exceed_swap_pte')
export const THP_SCAN_EXCEED_SHARED_PTE = eventOf('thp_scan_exceed_share_pte')
export const BALLOON_INFLATE = eventOf('balloon_inflate')
export const BALLOON_DEFLATE = eventOf('balloon_deflate')
export const BALLOON_MIGRATE = eventOf('balloon_migrate')

assert(VM_EVENT_NAMES.length <= EVENT_CELLS, 'vmstat: every event has a cell')
assert(ALLOCSTALL - PGALLOC === MAX_NR_ZONES, 'vmstat: one counter a kind of zone')

/** Adds `n` to an event counter. */
export function countVmEvents(mm: Mm, event: number, n: number): void {
  mm.events[event] += n
}

/** Value of one counter. */
export const vmEvent = ({ events }: Mm, name: VmEventName): number => events[eventOf(name)]

/** All counters by name. */
export function vmEvents({ events }: Mm): Readonly<Partial<Record<VmEventName, number>>> {
  const byName: Partial<Record<VmEventName, number>> = {}
  VM_EVENT_NAMES.forEach((name, event) => {
    byName[name] = events[event]
  })
  return byName
}

// Fragmentation.

/** Free blocks of a zone. */
interface FreeBlockCounts {
  readonly freePages: number
  readonly freeBlocks: number
  /** How many of the wanted order they hold. */
  readonly suitable: number
}

/** @kernel fill_contig_page_info() */
function countFreeBlocks(mm: Mm, zone: ZoneId, suitableOrder: number): FreeBlockCounts {
  let freePages = 0
  let freeBlocks = 0
  let suitable = 0
  for (let order = 0; order < NR_PAGE_ORDERS; order++) {
    let blocks = 0
    for (let mt = 0; mt < MIGRATE_TYPES; mt++)
      blocks += mm.nrFreeBlocks[(zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt]
    freeBlocks += blocks
    freePages += blocks << order
    if (order >= suitableOrder) suitable += blocks << (order - suitableOrder)
  }
  return { freePages, freeBlocks, suitable }
}

/** Index of a zone in which an allocation of that order would succeed. */
export const WOULD_SUCCEED = -1000

/**
 * Why an allocation of that order would fail in the zone, in thousandths: towards 0 for want of memory, towards 1000
 * because of fragmentation. WOULD_SUCCEED: it would not fail (C-12).
 *
 * @kernel mm/vmstat.c fragmentation_index() v6.18
 */
export function fragmentationIndex(mm: Mm, zone: ZoneId, order: number): number {
  const { freePages, freeBlocks, suitable } = countFreeBlocks(mm, zone, order)
  return fragmentationIndexOf(freePages, freeBlocks, suitable, order)
}

/** The index from counts: free pages, free blocks, and how many blocks of that order they hold. */
export function fragmentationIndexOf(
  freePages: number,
  freeBlocks: number,
  suitable: number,
  order: number,
): number {
  if (freeBlocks === 0) return 0
  if (suitable > 0) return WOULD_SUCCEED
  return 1000 - Math.floor((1000 + Math.floor((freePages * 1000) / (1 << order))) / freeBlocks)
}

/**
 * Share of the zone's free memory that an allocation of that order cannot use, in thousandths.
 *
 * @kernel mm/vmstat.c unusable_free_index() v6.18
 */
export function unusableFreeIndex(mm: Mm, zone: ZoneId, order: number): number {
  const { freePages, suitable } = countFreeBlocks(mm, zone, order)
  return freePages === 0 ? 1000 : Math.floor(((freePages - (suitable << order)) * 1000) / freePages)
}

/**
 * The same in percent: what proactive compaction goes by.
 *
 * @kernel mm/vmstat.c extfrag_for_order() v6.18
 */
export function extfragForOrder(mm: Mm, zone: ZoneId, order: number): number {
  const { freePages, suitable } = countFreeBlocks(mm, zone, order)
  return freePages === 0 ? 0 : Math.floor(((freePages - (suitable << order)) * 100) / freePages)
}

/**
 * Free pages of the zone in blocks of at least a pageblock (nr_free_pages_blocks).
 *
 * @kernel mm/page_alloc.c NR_FREE_PAGES_BLOCKS v6.18
 */
export function freePagesInBlocks(mm: Mm, zone: ZoneId, pageblockOrder: number): number {
  return countFreeBlocks(mm, zone, pageblockOrder).suitable << pageblockOrder
}
