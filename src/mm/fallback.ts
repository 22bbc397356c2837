/**
 * Whose pageblocks an allocation may use when those of its own migratetype have nothing: fallback, claim, steal, and
 * the reserve of HIGHATOMIC blocks.
 *
 * An allocation falls back in this order, each step more harmful than the one before:
 *   (1) its own free lists
 *   (2) CMA, for movable pages
 *   (3) claim: the largest block of another type whose pageblock can become its own
 *   (4) steal: the smallest block of another type, leaving the pageblock what it is. Now it is mixed.
 * With ALLOC_NOFRAGMENT only whole pageblocks are claimed, and nothing is stolen.
 *
 * Rules:
 *   - everything here runs as a section under (Z);
 *   - a pageblock changes its type as a whole, with all its free blocks.
 *
 * Not here: kernels before v6.15 tried to steal where this claims first, in one function; a block that could not be
 * claimed went to the list of another type than its pageblock's.
 *
 * @kernel mm/page_alloc.c v6.18; spec B-3, B-4, B-5, B-6
 */

import { listFirst } from '../base/list.ts'
import { type Pfn, pfnOf, type ZoneId, zoneIdOf } from '../base/units.ts'
import {
  accountFreeLocked,
  addToFreeListLocked,
  changePageblockRangeLocked,
  delFromFreeListLocked,
  expandLocked,
  freeBlocksIndex,
  hasFreeBlock,
  isMergeable,
  moveFreepagesBlockLocked,
  pageDelAndExpandLocked,
  rmqueueSmallestLocked,
  zoneSpansBlock,
} from './free_area.ts'
import {
  ALLOC_CMA,
  ALLOC_HIGHATOMIC,
  ALLOC_KSWAPD,
  ALLOC_NOFRAGMENT,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
} from './gfp.ts'
import {
  COMPOUND_TAIL,
  MAX_PAGE_ORDER,
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  NR_PAGE_ORDERS,
  PG_lru,
  pageblock_nr_pages,
  pageblock_order,
  pageblockStart,
  ZONE_BOOSTED_WATERMARK,
} from './limits.ts'
import { buddyOrder, driverOpsIndex, isBuddy, type Mm } from './page.ts'
import { boostWatermarkLocked } from './watermark.ts'

/** Whose free blocks a type may use, in order (B-3). */
export const FALLBACKS: readonly (readonly number[])[] = [
  [MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE], // UNMOVABLE
  [MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE], // MOVABLE
  [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE], // RECLAIMABLE
  [], // HIGHATOMIC, CMA and ISOLATE use their own only
  [],
  [],
]

// What findSuitableFallback() answers besides a migratetype.
export const NO_FALLBACK = -1
/** Blocks of this order are too small to claim their pageblocks, and smaller ones are too. */
export const TOO_SMALL_TO_CLAIM = -2

/** Where rmqueue() last found something: the search goes on there, as long as (Z) is held. */
export interface RmqueueMode {
  mode: typeof RMQUEUE_NORMAL | typeof RMQUEUE_CMA | typeof RMQUEUE_CLAIM | typeof RMQUEUE_STEAL
}
export const RMQUEUE_NORMAL = 0
const RMQUEUE_CMA = 1
const RMQUEUE_CLAIM = 2
const RMQUEUE_STEAL = 3

/**
 * A type whose free blocks of that order an allocation of type `mt` may use. `claimable`: only if their pageblock may
 * become its own.
 *
 * @errors NO_FALLBACK, TOO_SMALL_TO_CLAIM
 * @kernel mm/page_alloc.c find_suitable_fallback() v6.18
 */
export function findSuitableFallback(
  mm: Mm,
  zone: number,
  order: number,
  mt: number,
  claimable: boolean,
): number {
  if (claimable && !shouldTryClaimBlock(order, mt)) return TOO_SMALL_TO_CLAIM
  for (const fallback of FALLBACKS[mt]) if (hasFreeBlock(mm, zone, order, fallback)) return fallback
  return NO_FALLBACK
}

/**
 * A large block promises more free pages beside it. Unmovable and reclaimable pages in a movable pageblock would
 * spoil it for good, so they try to claim whatever the order.
 */
function shouldTryClaimBlock(order: number, mt: number): boolean {
  return order >= Math.floor(pageblock_order / 2) || mt === MIGRATE_RECLAIMABLE || mt === MIGRATE_UNMOVABLE
}

/**
 * Takes a block for an allocation, (1) to (4).
 *
 * @locks   needs (Z)
 * @errors  -1: there is none that it may use
 * @kernel  mm/page_alloc.c __rmqueue() v6.18
 */
export function rmqueueModeLocked(
  mm: Mm,
  zoneIndex: number,
  order: number,
  mt: number,
  allocFlags: number,
  at: RmqueueMode,
): number {
  const zone = zoneIdOf(zoneIndex)
  const cma = (allocFlags & ALLOC_CMA) !== 0
  if (cma && mm.nrFreeCma[zone] > mm.nrFree[zone] >> 1) {
    // Most of what is free is CMA: use it while there is something else left for those who cannot.
    const pfn = rmqueueSmallestLocked(mm, zone, order, MIGRATE_CMA)
    if (pfn >= 0) return pfn
  }
  if (at.mode <= RMQUEUE_NORMAL) {
    const pfn = rmqueueSmallestLocked(mm, zone, order, mt)
    if (pfn >= 0) return pfn
  }
  if (at.mode <= RMQUEUE_CMA && cma) {
    const pfn = rmqueueSmallestLocked(mm, zone, order, MIGRATE_CMA)
    if (pfn >= 0) {
      at.mode = RMQUEUE_CMA
      return pfn
    }
  }
  if (at.mode <= RMQUEUE_CLAIM) {
    const pfn = rmqueueClaimLocked(mm, zone, order, mt, allocFlags)
    if (pfn >= 0) {
      at.mode = RMQUEUE_NORMAL // its own lists have something again
      return pfn
    }
  }
  if ((allocFlags & ALLOC_NOFRAGMENT) !== 0) return -1
  const pfn = rmqueueStealLocked(mm, zone, order, mt)
  if (pfn >= 0) at.mode = RMQUEUE_STEAL
  return pfn
}

/**
 * (3): from the largest blocks of other types down. With ALLOC_NOFRAGMENT whole pageblocks only.
 *
 * @locks   needs (Z)
 * @errors  -1: no pageblock can be claimed
 * @kernel  mm/page_alloc.c __rmqueue_claim() v6.18
 */
function rmqueueClaimLocked(mm: Mm, zone: ZoneId, order: number, mt: number, allocFlags: number): number {
  const least = (allocFlags & ALLOC_NOFRAGMENT) === 0 ? order : Math.max(order, pageblock_order)
  for (let current = MAX_PAGE_ORDER; current >= least; current--) {
    const fallback = findSuitableFallback(mm, zone, current, mt, true)
    if (fallback === NO_FALLBACK) continue
    if (fallback === TOO_SMALL_TO_CLAIM) break
    const block = pfnOf(listFirst(mm.links, mm.freeList(zone, current, fallback)))
    const pfn = tryToClaimBlockLocked(mm, zone, block, current, order, mt, fallback, allocFlags)
    if (pfn >= 0) {
      mm.trace?.mmPageAllocExtfrag(pfnOf(pfn), order, current, mt, fallback, true)
      return pfn
    }
  }
  return -1
}

/**
 * (4): the smallest block of another type. Its pageblock stays what it is.
 *
 * @locks   needs (Z)
 * @errors  -1: nothing is free that may be used
 * @kernel  mm/page_alloc.c __rmqueue_steal() v6.18
 */
function rmqueueStealLocked(mm: Mm, zone: ZoneId, order: number, mt: number): number {
  for (let current = order; current < NR_PAGE_ORDERS; current++) {
    const fallback = findSuitableFallback(mm, zone, current, mt, false)
    if (fallback < 0) continue
    const pfn = pfnOf(listFirst(mm.links, mm.freeList(zone, current, fallback)))
    pageDelAndExpandLocked(mm, pfn, zone, current, order, fallback)
    mm.trace?.mmPageAllocExtfrag(pfn, order, current, mt, fallback, false)
    return pfn
  }
  return -1
}

/**
 * Makes the pageblock of a free block one of type `mt` if at least half of it is free or of that kind, and takes
 * 2^order pages of it. A whole free pageblock is taken as it is.
 *
 * @locks   needs (Z)
 * @errors  -1: it keeps its type. The zone's marks may have been raised.
 * @kernel  mm/page_alloc.c try_to_claim_block() v6.18
 */
function tryToClaimBlockLocked(
  mm: Mm,
  zone: ZoneId,
  block: Pfn,
  blockOrder: number,
  order: number,
  mt: number,
  blockType: number,
  allocFlags: number,
): number {
  if (blockOrder >= pageblock_order) {
    delFromFreeListLocked(mm, block, zone, blockOrder, blockType)
    accountFreeLocked(mm, zone, blockType, -(1 << blockOrder))
    changePageblockRangeLocked(mm, block, blockOrder, mt)
    expandLocked(mm, block, freeBlocksIndex(zone, 0, mt), blockOrder, order)
    accountFreeLocked(mm, zone, mt, (1 << blockOrder) - (1 << order))
    return block
  }
  if (boostWatermarkLocked(mm, zone) && (allocFlags & ALLOC_KSWAPD) !== 0) {
    mm.zoneFlags[zone] |= ZONE_BOOSTED_WATERMARK
  }
  if (!zoneSpansBlock(mm, zone, block)) return -1
  const start = pageblockStart(block)
  let free = 0
  let movable = 0
  for (let p = start; p < start + pageblock_nr_pages; ) {
    if (isBuddy(mm.mapcount[p])) {
      const pages = 1 << buddyOrder(mm.mapcount[p])
      free += pages
      p = pfnOf(p + pages)
      continue
    }
    if (isMovablePage(mm, p)) movable++
    p = pfnOf(p + 1)
  }
  if (free + alikePages(mt, blockType, free, movable) < pageblock_nr_pages / 2) return -1
  moveFreepagesBlockLocked(mm, start, mt)
  return rmqueueSmallestLocked(mm, zone, order, mt)
}

/** Pages in use of a pageblock that suit a request of type `mt`, as far as one can see. */
function alikePages(mt: number, blockType: number, free: number, movable: number): number {
  if (mt === MIGRATE_MOVABLE) return movable
  // Unmovable and reclaimable pages look alike: what is in a movable pageblock and is not movable is one of them.
  return blockType === MIGRATE_MOVABLE ? pageblock_nr_pages - (free + movable) : 0
}

/** On the LRU, with its folio, or a driver's that can move. */
function isMovablePage(mm: Mm, pfn: Pfn): boolean {
  const flags = mm.flags[pfn]
  const head = (flags & COMPOUND_TAIL) === 0 ? pfn : pfnOf(mm.private[pfn])
  if ((mm.flags[head] & PG_lru) !== 0) return true
  const index = driverOpsIndex(mm.mapcount[head], mm.flags[head], mm.mapping[head])
  return index >= 0 && mm.movableOps[index] !== undefined
}

// The reserve for those who cannot wait.

/**
 * Takes a block of any kind that the flags allow: what an allocation past the per-cpu lists does.
 *
 * @locks   needs (Z)
 * @errors  -1: there is none
 * @kernel  mm/page_alloc.c rmqueue_buddy() v6.18
 */
export function rmqueueBuddyLocked(mm: Mm, zone: number, orderAndType: number, allocFlags: number): number {
  const order = orderAndType >> 3
  const mt = orderAndType & 7
  if ((allocFlags & ALLOC_HIGHATOMIC) !== 0) {
    const pfn = rmqueueSmallestLocked(mm, zone, order, MIGRATE_HIGHATOMIC)
    if (pfn >= 0) return pfn
  }
  const pfn = rmqueueModeLocked(mm, zone, order, mt, allocFlags, { mode: RMQUEUE_NORMAL })
  if (pfn >= 0 || (allocFlags & (ALLOC_OOM | ALLOC_NON_BLOCK)) === 0) return pfn
  return rmqueueSmallestLocked(mm, zone, order, MIGRATE_HIGHATOMIC)
}

/**
 * Reserves the pageblock that a request with ALLOC_HIGHATOMIC got its pages from for others like it, up to a
 * hundredth of the zone (B-6).
 *
 * @locks  needs (Z)
 * @kernel mm/page_alloc.c reserve_highatomic_pageblock() v6.18
 */
export function reserveHighatomicLocked(mm: Mm, page: number, order: number): number {
  const pfn = pfnOf(page)
  const zone = mm.zoneOf(pfn)
  const share = Math.floor(mm.zoneManaged[zone] / 100)
  if (share < pageblock_nr_pages) return 0
  const most = Math.ceil(share / pageblock_nr_pages) * pageblock_nr_pages
  if (mm.nrReservedHighatomic[zone] >= most || !isMergeable(mm.migratetypeOf(pfn))) return 0
  if (order < pageblock_order) {
    if (moveFreepagesBlockLocked(mm, pfn, MIGRATE_HIGHATOMIC) < 0) return 0
    mm.nrReservedHighatomic[zone] += pageblock_nr_pages
  } else {
    changePageblockRangeLocked(mm, pfn, order, MIGRATE_HIGHATOMIC)
    mm.nrReservedHighatomic[zone] += 1 << order
  }
  return 0
}

/**
 * Gives one HIGHATOMIC pageblock with something free in it to those who ask for type `mt`. Unless forced, one stays.
 * Gives the free pages that it brought, 0: there is none. Pairs with reserveHighatomicLocked().
 *
 * @locks  needs (Z)
 * @kernel mm/page_alloc.c unreserve_highatomic_pageblock() v6.18
 */
export function unreserveHighatomicLocked(mm: Mm, zoneIndex: number, mt: number, force: number): number {
  const zone = zoneIdOf(zoneIndex)
  if (force === 0 && mm.nrReservedHighatomic[zone] <= pageblock_nr_pages) return 0
  for (let order = 0; order < NR_PAGE_ORDERS; order++) {
    if (!hasFreeBlock(mm, zone, order, MIGRATE_HIGHATOMIC)) continue
    const block = pfnOf(listFirst(mm.links, mm.freeList(zone, order, MIGRATE_HIGHATOMIC)))
    const size = Math.max(pageblock_nr_pages, 1 << order)
    mm.nrReservedHighatomic[zone] -= Math.min(size, mm.nrReservedHighatomic[zone])
    if (order < pageblock_order) return moveFreepagesBlockLocked(mm, block, mt)
    delFromFreeListLocked(mm, block, zone, order, MIGRATE_HIGHATOMIC)
    accountFreeLocked(mm, zone, MIGRATE_HIGHATOMIC, -size)
    changePageblockRangeLocked(mm, block, order, mt)
    addToFreeListLocked(mm, block, zone, order, mt, true)
    accountFreeLocked(mm, zone, mt, size)
    return size
  }
  return 0
}
