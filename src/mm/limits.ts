/**
 * Numbers and bits of the machine, under the kernel's names. Relations between them are asserted when
 * this module loads.
 *
 * @kernel include/linux/mmzone.h, page-flags.h, migrate_mode.h, uapi/asm-generic/errno-base.h v6.18
 */

import { assert } from '../base/assert.ts'
import { type Pageblock, type Pfn, pageblockAt, pfnOf } from '../base/units.ts'

/** Largest order of a free block (inclusive). 2^10 pages = 4 MiB. */
export const MAX_PAGE_ORDER = 10
export const NR_PAGE_ORDERS = 11
/** A pageblock is the unit of mobility grouping: 512 pages = 2 MiB, one huge page. */
export const pageblock_order = 9
export const pageblock_nr_pages = 512
/** Orders above this are expected to fail at times; per-cpu lists keep orders up to it. */
export const PAGE_ALLOC_COSTLY_ORDER = 3
/** Pages that a scanner takes in one go. */
export const COMPACT_CLUSTER_MAX = 32
/** Pages that reclaim takes in one go. */
export const SWAP_CLUSTER_MAX = 32

// Migratetypes (B-2). The first three have per-cpu lists.
export const MIGRATE_UNMOVABLE = 0
export const MIGRATE_MOVABLE = 1
export const MIGRATE_RECLAIMABLE = 2
export const MIGRATE_PCPTYPES = 3
export const MIGRATE_HIGHATOMIC = 3
export const MIGRATE_CMA = 4
export const MIGRATE_ISOLATE = 5
export const MIGRATE_TYPES = 6
export const MIGRATETYPE_NAMES = [
  'Unmovable',
  'Movable',
  'Reclaimable',
  'HighAtomic',
  'CMA',
  'Isolate',
] as const

// Kinds of zones, in the order in which a node has them. A request names the highest one that will do.
export const ZONE_DMA = 0
export const ZONE_DMA32 = 1
export const ZONE_NORMAL = 2
export const ZONE_MOVABLE = 3
export const ZONE_DEVICE = 4
export const MAX_NR_ZONES = 5
export const ZONE_NAMES = ['DMA', 'DMA32', 'Normal', 'Movable', 'Device'] as const

/** Bit of `zoneFlags`: a fallback has raised the watermarks, and kswapd is to be woken for it. */
export const ZONE_BOOSTED_WATERMARK = 1

// Page flags: the kernel's names at bits of our own choice, one word a page.
export const PG_locked = 1 << 0
export const PG_writeback = 1 << 1
export const PG_referenced = 1 << 2
export const PG_uptodate = 1 << 3
export const PG_dirty = 1 << 4
export const PG_lru = 1 << 5
export const PG_head = 1 << 6
export const PG_waiters = 1 << 7
export const PG_active = 1 << 8
export const PG_workingset = 1 << 9
export const PG_owner_priv_1 = 1 << 10
export const PG_owner_2 = 1 << 11
export const PG_arch_1 = 1 << 12
export const PG_reserved = 1 << 13
export const PG_private = 1 << 14
export const PG_private_2 = 1 << 15
export const PG_reclaim = 1 << 16
export const PG_swapbacked = 1 << 17
export const PG_unevictable = 1 << 18
export const PG_mlocked = 1 << 19
export const PG_hwpoison = 1 << 20

// Aliases: the same bit means another thing for another kind of page (S1-4, section 1.1.e).
export const PG_swapcache = PG_owner_priv_1
export const PG_movable_ops = PG_uptodate
export const PG_movable_ops_isolated = PG_reclaim
export const PG_anon_exclusive = PG_owner_2

/** Ours: the page is part of a compound page, not its head; `private` holds the head. (The kernel: bit 0 of compound_head.) */
export const COMPOUND_TAIL = 1 << 22
/** Ours: bits 28..31 of a head's flags hold the order of its compound page. (The kernel: in its first tail page.) */
export const COMPOUND_ORDER_SHIFT = 28
export const COMPOUND_MASK = PG_head | COMPOUND_TAIL

/** Flags that a page may not carry into the free lists. */
export const PAGE_FLAGS_CHECK_AT_FREE = PG_locked | PG_lru | PG_writeback | PG_unevictable

// Page types: the top byte of `mapcount` when it is negative; a typed page cannot be mapped.
export const PGTY_buddy = 0xf0
export const PGTY_offline = 0xf1
export const PGTY_table = 0xf2
export const PGTY_guard = 0xf3
export const PGTY_hugetlb = 0xf4
export const PGTY_slab = 0xf5
export const PGTY_zsmalloc = 0xf6
/** Ours: pages of pin page control (owners/pinpage.ts), which no kernel has. The kernel's types end at 0xf8. */
export const PINPAGE_TYPE = 0xfe
/** Value of `mapcount` for a page of that type. */
export const pageTypeValue = (pgty: number): number => pgty << 24

// Low bits of `mapping`.
export const PAGE_MAPPING_ANON = 1
/**
 * A page of a driver's address space, which has movable operations. (The kernel: from v4.8 until v6.17 made it a page
 * type; a page with a type cannot be mapped.)
 */
export const PAGE_MAPPING_MOVABLE = 2
export const PAGE_MAPPING_KSM = 3
export const PAGE_MAPPING_FLAGS = 3

/** References that one FOLL_PIN takes on a small folio. */
export const GUP_PIN_COUNTING_BIAS = 1024

// How far a migration may go (M-2).
export const MIGRATE_ASYNC = 0
export const MIGRATE_SYNC_LIGHT = 1
export const MIGRATE_SYNC = 2
export type MigrateMode = typeof MIGRATE_ASYNC | typeof MIGRATE_SYNC_LIGHT | typeof MIGRATE_SYNC

// Why pages are migrated (M-2), in the order of the kernel's enum.
export const MIGRATE_REASONS = [
  'compaction',
  'memory_failure',
  'memory_hotplug',
  'syscall_or_cpuset',
  'mempolicy_mbind',
  'numa_misplaced',
  'contig_range',
  'longterm_pin',
  'demotion',
  'damon',
] as const
export const MR_COMPACTION = 0
export const MR_MEMORY_FAILURE = 1
export const MR_MEMORY_HOTPLUG = 2
export const MR_SYSCALL = 3
export const MR_MEMPOLICY_MBIND = 4
export const MR_NUMA_MISPLACED = 5
export const MR_CONTIG_RANGE = 6
export const MR_LONGTERM_PIN = 7
export const MR_DEMOTION = 8
export type MigrateReason = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8

// Isolation modes.
export const ISOLATE_UNMAPPED = 2
export const ISOLATE_ASYNC_MIGRATE = 4
export const ISOLATE_UNEVICTABLE = 8
export type IsolateMode = number

// Outcomes of a protocol: small integers with errno names, negative as in the kernel.
export const ENOENT = 2
export const EIO = 5
export const EAGAIN = 11
export const ENOMEM = 12
export const EFAULT = 14
export const EBUSY = 16
export const EEXIST = 17
export const EINVAL = 22
export const ENOSPC = 28
export const ENOSYS = 38
export const EOPNOTSUPP = 95

/** Retries of migrate_pages (M-3): in all, of the first asynchronous phase, of the synchronous one. */
export const NR_MAX_MIGRATE_PAGES_RETRY = 10
export const NR_MAX_MIGRATE_ASYNC_RETRY = 3
export const NR_MAX_MIGRATE_SYNC_RETRY = NR_MAX_MIGRATE_PAGES_RETRY - NR_MAX_MIGRATE_ASYNC_RETRY
/** Base pages of one batch (M-4). */
export const NR_MAX_BATCHED_MIGRATION = 512

/** The pageblock that holds `pfn`. */
export const pageblockOf = (pfn: Pfn): Pageblock => pageblockAt(pfn >>> pageblock_order)
/** First pfn of the pageblock that holds `pfn`. */
export const pageblockStart = (pfn: number): Pfn => pfnOf(pfn - (pfn % pageblock_nr_pages))
/** First pfn after the pageblock that holds `pfn`. */
export const pageblockEnd = (pfn: number): Pfn => pfnOf(pageblockStart(pfn) + pageblock_nr_pages)

assert(1 << pageblock_order === pageblock_nr_pages, 'limits: a pageblock is a power of two of pages')
assert(pageblock_order <= MAX_PAGE_ORDER, 'limits: a pageblock fits in the largest free block')
assert(NR_PAGE_ORDERS === MAX_PAGE_ORDER + 1, 'limits: orders count from 0')
assert(MIGRATE_PCPTYPES <= MIGRATE_TYPES, 'limits: per-cpu migratetypes are a prefix of all')
assert(PG_hwpoison < COMPOUND_TAIL, 'limits: our bits lie above the kernel flags')
