/**
 * What an allocation says of itself: gfp flags, and the flags that the allocator makes of them.
 *
 * GFP flags say where the memory may lie (zone), what it is for (mobility) and what may be done to get it (wait,
 * reclaim, give up early). ALLOC flags say how far down the watermarks one attempt may go.
 *
 * Bits are our own; names and meanings are the kernel's. Flags that change nothing here (`__GFP_ZERO`, tags, page
 * poisoning) do not exist.
 *
 * @kernel include/linux/gfp_types.h, include/linux/gfp.h, mm/internal.h v6.18
 */

import { assert } from '../base/assert.ts'
import {
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  ZONE_DMA,
  ZONE_DMA32,
  ZONE_MOVABLE,
  ZONE_NORMAL,
} from './limits.ts'

export type Gfp = number

export const __GFP_DMA = 1 << 0
export const __GFP_HIGHMEM = 1 << 1
export const __GFP_DMA32 = 1 << 2
/** The page can move or be reclaimed: it is grouped with its like (B-8). */
export const __GFP_MOVABLE = 1 << 3
export const __GFP_RECLAIMABLE = 1 << 4
/** May use part of the reserves: somebody cannot wait. */
export const __GFP_HIGH = 1 << 5
export const __GFP_IO = 1 << 6
export const __GFP_FS = 1 << 7
export const __GFP_DIRECT_RECLAIM = 1 << 8
export const __GFP_KSWAPD_RECLAIM = 1 << 9
export const __GFP_NOWARN = 1 << 10
/** Tries harder, and may still fail. */
export const __GFP_RETRY_MAYFAIL = 1 << 11
export const __GFP_NOFAIL = 1 << 12
/** Fails early. */
export const __GFP_NORETRY = 1 << 13
export const __GFP_MEMALLOC = 1 << 14
/** Makes a compound page; the engine always does. */
export const __GFP_COMP = 1 << 15
export const __GFP_NOMEMALLOC = 1 << 16
export const __GFP_HARDWALL = 1 << 17
/** From this node or not at all. */
export const __GFP_THISNODE = 1 << 18
export const __GFP_RECLAIM = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM

export const GFP_ATOMIC = __GFP_HIGH | __GFP_KSWAPD_RECLAIM
export const GFP_KERNEL = __GFP_RECLAIM | __GFP_IO | __GFP_FS
export const GFP_NOWAIT = __GFP_KSWAPD_RECLAIM | __GFP_NOWARN
export const GFP_NOIO = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM
export const GFP_NOFS = __GFP_RECLAIM | __GFP_IO
export const GFP_USER = GFP_KERNEL | __GFP_HARDWALL
export const GFP_HIGHUSER = GFP_USER | __GFP_HIGHMEM
export const GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | __GFP_MOVABLE
/** A huge page if one is free. */
export const GFP_TRANSHUGE_LIGHT =
  (GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOMEMALLOC | __GFP_NOWARN) & ~__GFP_RECLAIM
/** A huge page, with compaction. */
export const GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM

/** Highest kind of zone that a request may use: ZONE_*. Throws AssertionError on two kinds at once. @kernel gfp_zone() */
export function gfpZone(gfp: Gfp): number {
  const kinds = gfp & (__GFP_DMA | __GFP_DMA32 | __GFP_HIGHMEM)
  assert((kinds & (kinds - 1)) === 0, 'gfp: one kind of zone at most')
  if (kinds === __GFP_DMA) return ZONE_DMA
  if (kinds === __GFP_DMA32) return ZONE_DMA32
  return kinds === __GFP_HIGHMEM && (gfp & __GFP_MOVABLE) !== 0 ? ZONE_MOVABLE : ZONE_NORMAL
}

/** Migratetype of a request. Throws AssertionError if it is movable and reclaimable. @kernel gfp_migratetype() */
export function gfpMigratetype(gfp: Gfp): number {
  assert((gfp & __GFP_MOVABLE) === 0 || (gfp & __GFP_RECLAIMABLE) === 0, 'gfp: movable or reclaimable')
  if ((gfp & __GFP_MOVABLE) !== 0) return MIGRATE_MOVABLE
  return (gfp & __GFP_RECLAIMABLE) === 0 ? MIGRATE_UNMOVABLE : MIGRATE_RECLAIMABLE
}

/** True if the request may start I/O, which compaction may need (C-18). @kernel gfp_compaction_allowed() */
export const gfpCompactionAllowed = (gfp: Gfp): boolean => (gfp & __GFP_IO) !== 0

// How far down an attempt may go. The first two bits choose the watermark.

export const ALLOC_WMARK_MIN = 0
export const ALLOC_WMARK_LOW = 1
export const ALLOC_WMARK_HIGH = 2
export const ALLOC_WMARK_MASK = 3
export const ALLOC_NO_WATERMARKS = 4
export const ALLOC_OOM = 8
/** The request cannot wait. */
export const ALLOC_NON_BLOCK = 0x10
/** Half of the min reserve. */
export const ALLOC_MIN_RESERVE = 0x20
export const ALLOC_CPUSET = 0x40
/** CMA pageblocks will do. */
export const ALLOC_CMA = 0x80
/** Mixes no pageblocks. */
export const ALLOC_NOFRAGMENT = 0x100
/** HIGHATOMIC pageblocks will do. */
export const ALLOC_HIGHATOMIC = 0x200
/** Wakes kswapd. */
export const ALLOC_KSWAPD = 0x800
export const ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM
