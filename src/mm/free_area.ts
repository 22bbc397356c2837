/**
 * The buddy allocator's free areas: free blocks of 2^order pages in LIFO lists by zone, order and migratetype.
 *
 * A free block is on the list of its pageblock's migratetype; its head has page type buddy, and its order below the
 * type, in one cell. Buddies merge as soon as both are free, so the lists follow from which pages are free, up to
 * their order.
 *
 *   freeOnePageLocked(mm, pfn, order, pcp)     merges with its buddies; the other way round:
 *   rmqueueSmallestLocked(mm, zone, order, mt) splits the smallest block that will do
 *
 * Rules:
 *   - everything here runs as a section under (Z), or is part of one, and touches columns directly;
 *   - whoever frees has cleared the pages' state; whoever takes gets pages with none.
 *
 * Not here: which migratetype is taken from when the wanted one has nothing (fallback.ts), how much of a zone must
 * stay free (watermark.ts), per-cpu lists (pcp.ts).
 *
 * @kernel mm/page_alloc.c v6.18
 */

import { listAdd, listAddTail, listDel, listFirst } from '../base/list.ts'
import {
  buddyOf,
  type PcpId,
  type Pfn,
  pageblockAt,
  pcpIdOf,
  pfnOf,
  type ZoneId,
  zoneIdOf,
} from '../base/units.ts'
import {
  MAX_PAGE_ORDER,
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_TYPES,
  NR_PAGE_ORDERS,
  pageblock_nr_pages,
  pageblock_order,
  pageblockOf,
  pageblockStart,
} from './limits.ts'
import { buddyOrder, buddyValue, isBuddy, type Mm, PB_MIGRATETYPE, pageblockZone } from './page.ts'

/** `pcp` of a free that no compaction may capture. */
export const NO_CAPTURE = -1

/** True for types whose free blocks may merge with each other across pageblocks. */
export const isMergeable = (mt: number): boolean => mt < MIGRATE_HIGHATOMIC

/** Index in `nrFreeBlocks`, and of the list that is counted there. The next order's is MIGRATE_TYPES further on. */
export const freeBlocksIndex = (zone: number, order: number, mt: number): number =>
  (zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt

// Lists and counts.

/**
 * Adds to the free pages of a zone. Those of isolated pageblocks do not count: nobody may have them.
 *
 * @locks  needs (Z)
 * @kernel mm/page_alloc.c account_freepages() v6.18
 */
export function accountFreeLocked(mm: Mm, zone: ZoneId, mt: number, pages: number): void {
  if (mt !== MIGRATE_ISOLATE) mm.nrFree[zone] += pages
  if (mt >= MIGRATE_HIGHATOMIC) accountReservedLocked(mm, zone, mt, pages)
}

/** What is counted apart as well: free pages that not everybody may have. */
function accountReservedLocked(mm: Mm, zone: ZoneId, mt: number, pages: number): void {
  if (mt === MIGRATE_CMA) mm.nrFreeCma[zone] += pages
  else if (mt === MIGRATE_HIGHATOMIC) mm.nrFreeHighatomic[zone] += pages
}

/** Puts a block on a free list as it is, first or last. @locks needs (Z) */
export function addToFreeListLocked(
  mm: Mm,
  pfn: Pfn,
  zone: number,
  order: number,
  mt: number,
  tail: boolean,
): void {
  enlistAtLocked(mm, pfn, freeBlocksIndex(zone, order, mt), order, tail)
}

/** Takes a block off its free list. @locks needs (Z) */
export function delFromFreeListLocked(mm: Mm, pfn: Pfn, zone: number, order: number, mt: number): void {
  delistAtLocked(mm, pfn, freeBlocksIndex(zone, order, mt))
}

/** The same with the list's index, for loops over orders. */
function enlistAtLocked(mm: Mm, pfn: Pfn, list: number, order: number, tail: boolean): void {
  const head = mm.freeListAt(list)
  if (tail) listAddTail(mm.links, pfn, head)
  else listAdd(mm.links, pfn, head)
  mm.mapcount[pfn] = buddyValue(order)
  mm.nrFreeBlocks[list]++
}

function delistAtLocked(mm: Mm, pfn: Pfn, list: number): void {
  listDel(mm.links, pfn)
  mm.mapcount[pfn] = 0
  mm.nrFreeBlocks[list]--
}

/** True if there is a free block of that order and type. */
export const hasFreeBlock = (mm: Mm, zone: number, order: number, mt: number): boolean =>
  mm.nrFreeBlocks[freeBlocksIndex(zone, order, mt)] > 0

/** True if there is a free block of that order, of whatever type. */
export function hasAnyFreeBlock(mm: Mm, zone: number, order: number): boolean {
  for (let mt = 0; mt < MIGRATE_TYPES; mt++) if (hasFreeBlock(mm, zone, order, mt)) return true
  return false
}

// Freeing.

/** The buddy of the block if it is free in the same zone with the same order, else -1. */
function freeBuddyLocked(mm: Mm, pfn: number, zone: ZoneId, order: number): number {
  const buddy = pfnOf(pfn ^ (1 << order))
  if (order >= pageblock_order && (buddy >= mm.pfnCount || mm.zoneOf(buddy) !== zone)) return -1
  return mm.mapcount[buddy] === buddyValue(order) ? buddy : -1
}

/**
 * Puts a block on the free lists, merging it with its buddies. The pages are in no list and unreferenced. If the
 * compaction that runs on the cpu of `pcp` waits for a block of that order, it gets it instead (C-18). Gives the
 * first page of what became of it.
 *
 * @locks   needs (Z)
 * @kernel  mm/page_alloc.c __free_one_page() v6.18; spec B-1
 */
export function freeOnePageLocked(mm: Mm, block: number, blockOrder: number, pcp: number): number {
  const bits = mm.pageblock[pageblockOf(pfnOf(block))]
  const zone = pageblockZone(bits)
  const mt = bits & PB_MIGRATETYPE
  const captureOrder = pcp === NO_CAPTURE ? -1 : captureOrderLocked(mm, pcpIdOf(pcp), mt)
  const lists = freeBlocksIndex(zone, 0, mt)
  accountFreeLocked(mm, zone, mt, 1 << blockOrder)
  let pfn = block | 0
  let order = blockOrder | 0
  // Within a pageblock buddies are in one zone and of one type. No call that V8 does not inline may be in here.
  while (order < pageblock_order && order !== captureOrder) {
    const buddy = pfnOf(pfn ^ (1 << order))
    if (mm.mapcount[buddy] !== buddyValue(order)) break
    delistAtLocked(mm, buddy, lists + order * MIGRATE_TYPES)
    pfn &= buddy
    order++
  }
  if (order >= pageblock_order || order === captureOrder) {
    return freeLargeBlockLocked(mm, pfn, order, zone, mt, captureOrder, pcp)
  }
  // A block whose next buddy is nearly free goes last: left alone, it will merge.
  const tail = freeBuddyLocked(mm, pfn & ~(1 << order), zone, order + 1) >= 0
  enlistAtLocked(mm, pfnOf(pfn), lists + order * MIGRATE_TYPES, order, tail)
  return pfn
}

/** What freeOnePageLocked() does with a block of a pageblock or more, and with one that is captured. */
function freeLargeBlockLocked(
  mm: Mm,
  block: number,
  blockOrder: number,
  zone: ZoneId,
  mt: number,
  captureOrder: number,
  pcp: number,
): number {
  let pfn = block
  let order = blockOrder
  while (order < MAX_PAGE_ORDER && order !== captureOrder) {
    const buddy = freeBuddyLocked(mm, pfn, zone, order)
    if (buddy < 0) break
    const buddyMt = mm.migratetypeOf(pfnOf(buddy))
    if (buddyMt !== mt) {
      if (!isMergeable(mt) || !isMergeable(buddyMt)) break
      // The merged block is on one list, so both pageblocks take one type.
      changePageblockRangeLocked(mm, pfnOf(buddy), order, mt)
    }
    delFromFreeListLocked(mm, pfnOf(buddy), zone, order, buddyMt)
    pfn &= buddy
    order++
  }
  if (order === captureOrder) {
    mm.pcpCapturePage[pcpIdOf(pcp)] = pfn
    mm.pcpCaptureOrder[pcpIdOf(pcp)] = 0
    const wanted = mm.pcpCaptureType[pcpIdOf(pcp)]
    if (wanted !== mt) mm.trace?.mmPageAllocExtfrag(pfnOf(pfn), order, order, wanted, mt, false)
    accountFreeLocked(mm, zone, mt, -(1 << order))
    return pfn
  }
  addToFreeListLocked(mm, pfnOf(pfn), zone, order, mt, false)
  return pfn
}

/**
 * Order of the block that the compaction on the cpu of `pcp` waits for, if it may have one from a pageblock of type
 * `mt`; else -1. What is smaller than a pageblock stays in a movable one, so that no other kind of page gets there.
 *
 * @kernel mm/page_alloc.c compaction_capture() v6.18
 */
function captureOrderLocked(mm: Mm, pcp: PcpId, mt: number): number {
  const order = mm.pcpCaptureOrder[pcp]
  if (order === 0 || order >= MAX_PAGE_ORDER) return -1
  if (mt === MIGRATE_CMA || mt === MIGRATE_ISOLATE) return -1
  const fits = order >= pageblock_order || mt !== MIGRATE_MOVABLE
  return fits || mm.pcpCaptureType[pcp] === MIGRATE_MOVABLE ? order : -1
}

/**
 * Frees a block pageblock by pageblock if it is larger than one: their types may keep them from merging.
 *
 * @locks   needs (Z)
 * @kernel  mm/page_alloc.c split_large_buddy() v6.18
 */
export function freeBlockLocked(mm: Mm, block: number, order: number, pcp: number): number {
  if (order <= pageblock_order) return freeOnePageLocked(mm, block, order, pcp)
  for (let at = block; at < block + (1 << order); at += pageblock_nr_pages) {
    freeOnePageLocked(mm, at, pageblock_order, pcp)
  }
  return block
}

// Taking.

/**
 * Takes the first of the smallest blocks that hold 2^order pages of that type, and puts the rest back.
 *
 * @locks   needs (Z)
 * @errors  -1: no such block
 * @kernel  mm/page_alloc.c __rmqueue_smallest() v6.18
 */
export function rmqueueSmallestLocked(mm: Mm, zoneIndex: number, order: number, mt: number): number {
  const lists = freeBlocksIndex(zoneIndex, 0, mt)
  for (let current = order; current < NR_PAGE_ORDERS; current++) {
    const head = mm.freeListAt(lists + current * MIGRATE_TYPES)
    const first = listFirst(mm.links, head)
    if (first === head) continue
    // pageDelAndExpandLocked(), which V8 would not inline a level deeper
    accountFreeLocked(mm, zoneIdOf(zoneIndex), mt, -(1 << order))
    delistAtLocked(mm, pfnOf(first), lists + current * MIGRATE_TYPES)
    expandLocked(mm, pfnOf(first), lists, current, order)
    return first
  }
  return -1
}

/**
 * Takes a block of order `high` off its list and keeps its first 2^low pages; the rest goes back.
 *
 * @locks  needs (Z)
 * @kernel mm/page_alloc.c page_del_and_expand() v6.18
 */
export function pageDelAndExpandLocked(
  mm: Mm,
  pfn: Pfn,
  zone: ZoneId,
  high: number,
  low: number,
  mt: number,
): void {
  const lists = freeBlocksIndex(zone, 0, mt)
  accountFreeLocked(mm, zone, mt, -(1 << low))
  delistAtLocked(mm, pfn, lists + high * MIGRATE_TYPES)
  expandLocked(mm, pfn, lists, high, low)
}

/**
 * Puts all but the first 2^low pages of a block of order `high`, which is on no list, on the free lists. Not counted.
 * `lists` is the index of the list of order 0.
 *
 * @locks  needs (Z)
 * @kernel mm/page_alloc.c expand() v6.18
 */
export function expandLocked(mm: Mm, pfn: Pfn, lists: number, high: number, low: number): void {
  for (let half = high - 1; half >= low; half--) {
    enlistAtLocked(mm, pfnOf(pfn + (1 << half)), lists + half * MIGRATE_TYPES, half, false)
  }
}

/**
 * Takes a given free block off the lists, for compaction or contiguous allocation.
 *
 * @locks   needs (Z)
 * @errors  0: it would take the zone below its min watermark. Nothing changed.
 * @kernel  mm/page_alloc.c __isolate_free_page() v6.18
 */
export function isolateFreePageLocked(mm: Mm, block: number, order: number): number {
  const pfn = pfnOf(block)
  const zone = mm.zoneOf(pfn)
  const mt = mm.migratetypeOf(pfn)
  // What is free for those who cannot wait does not count; CMA does.
  const free = mm.nrFree[zone] - mm.nrFreeHighatomic[zone]
  if (mt !== MIGRATE_ISOLATE && free <= mm.wmarkMin[zone] + (1 << order)) return 0
  delFromFreeListLocked(mm, pfn, zone, order, mt)
  accountFreeLocked(mm, zone, mt, -(1 << order))
  if (order >= pageblock_order - 1 && isMergeable(mt) && mt !== MIGRATE_MOVABLE) {
    // More than half of the pageblock is about to be movable.
    for (let p = block; p < block + (1 << order); p += pageblock_nr_pages) {
      moveFreepagesBlockLocked(mm, p, MIGRATE_MOVABLE)
    }
  }
  return 1 << order
}

// Pageblock types.

/** Gives the pageblocks of a block of that order a migratetype; below a pageblock, the one. @kernel change_pageblock_range() */
export function changePageblockRangeLocked(mm: Mm, pfn: Pfn, order: number, mt: number): void {
  const first = pfn >>> pageblock_order
  const blocks = order > pageblock_order ? 1 << (order - pageblock_order) : 1
  for (let i = first; i < first + blocks; i++) {
    const block = pageblockAt(i)
    mm.pageblock[block] = (mm.pageblock[block] & ~PB_MIGRATETYPE) | mt
  }
}

/**
 * Gives the pageblock of `pfn` another migratetype and moves its free blocks to the end of the lists of
 * that type. Gives the number of free pages moved.
 *
 * A free block as large as the pageblock or larger is taken off, cut at pageblocks, and freed anew: it merges
 * with its buddy as far as the types allow, and then both take the new type.
 *
 * @locks   needs (Z)
 * @errors  -1: a part of the pageblock lies outside of the zone. Nothing changed.
 * @kernel  mm/page_alloc.c move_freepages_block(), move_freepages_block_isolate() v6.18
 */
export function moveFreepagesBlockLocked(mm: Mm, pfn: number, mt: number): number {
  const start = pfnOf(pfn - (pfn % pageblock_nr_pages))
  const zone = mm.zoneOf(start)
  if (!zoneSpansBlock(mm, zone, start)) return -1
  const before = mm.migratetypeOf(start)
  const large = largeFreeBlockLocked(mm, start)
  if (large >= 0) {
    const order = buddyOrder(mm.mapcount[pfnOf(large)])
    delFromFreeListLocked(mm, pfnOf(large), zone, order, before)
    accountFreeLocked(mm, zone, before, -(1 << order))
    changePageblockRangeLocked(mm, start, pageblock_order, mt)
    if (order > pageblock_order) {
      freeOnePageLocked(mm, buddyOf(start, pageblock_order), pageblock_order, NO_CAPTURE)
    }
    freeOnePageLocked(mm, start, pageblock_order, NO_CAPTURE)
    return pageblock_nr_pages
  }
  let moved = 0
  for (let p = start; p < start + pageblock_nr_pages; ) {
    if (!isBuddy(mm.mapcount[p])) {
      p = pfnOf(p + 1)
      continue
    }
    const order = buddyOrder(mm.mapcount[p])
    delFromFreeListLocked(mm, p, zone, order, before)
    addToFreeListLocked(mm, p, zone, order, mt, true)
    moved += 1 << order
    p = pfnOf(p + (1 << order))
  }
  accountFreeLocked(mm, zone, before, -moved)
  accountFreeLocked(mm, zone, mt, moved)
  changePageblockRangeLocked(mm, start, pageblock_order, mt)
  return moved
}

/** True if the whole pageblock lies in the zone. */
export function zoneSpansBlock(mm: Mm, zone: ZoneId, pfn: Pfn): boolean {
  const start = pageblockStart(pfn)
  return start >= mm.zoneStart[zone] && start + pageblock_nr_pages <= mm.zoneEnd[zone]
}

/** Head of the free block that covers the whole pageblock, or -1. @locks needs (Z) */
function largeFreeBlockLocked(mm: Mm, start: Pfn): number {
  for (let order = pageblock_order; order <= MAX_PAGE_ORDER; order++) {
    const head = pfnOf(start & ~((1 << order) - 1))
    if (mm.mapcount[head] === buddyValue(order)) return head
  }
  return -1
}

// Building a machine: for loaders, before anything runs on it.

/** Puts a free block last on its free list, as it is: its buddies are not looked at. */
export function addFreeBlock(mm: Mm, pfn: Pfn, order: number): void {
  const zone = mm.zoneOf(pfn)
  const mt = mm.migratetypeOf(pfn)
  addToFreeListLocked(mm, pfn, zone, order, mt, true)
  accountFreeLocked(mm, zone, mt, 1 << order)
  // A block is on one list: where two pageblocks of different types had merged (before v6.10), both take one.
  if (order > pageblock_order) changePageblockRangeLocked(mm, pfn, order, mt)
}
