/**
 * The buddy allocator: free blocks of 2^order pages in LIFO lists by zone, order and migratetype, and
 * the per-cpu lists in front of them.
 *
 * A free block is on the list of its pageblock's migratetype; its head carries page type buddy and the
 * order. Buddies merge as soon as both are free, so the lists follow from which pages are free. Pages of
 * small orders are freed to a per-cpu list first, where they are neither buddy nor counted as free: what
 * compaction vacates is found there, not in buddyinfo.
 *
 * A typical sequence is:
 *   pfn = allocPages(cpu, mm, zone, order, mt)   // refcount 1; compound if order > 0
 *   putPage(cpu, mm, pfn)                        // the last reference frees it
 *
 * Rules:
 *   - functions ending in `Locked` run as one section under (Z) and touch columns directly;
 *   - a page is freed by whoever drops its last reference, never directly.
 *
 * Not here yet: fallback between migratetypes (B-3, B-4), zonelists and the slow path: an allocation
 * takes from one zone and one migratetype or fails. Nor what reclaim does to the per-cpu high mark, the
 * reserve of HIGHATOMIC pageblocks in the watermarks, and the large-cache variant of draining
 * (PCPF_FREE_HIGH_BATCH), which a capture does not show.
 *
 * @kernel mm/page_alloc.c v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAdd, listAddTail, listDel, listEmpty, listFirst, listLast } from '../base/list.ts'
import {
  buddyOf,
  type CpuId,
  type PcpId,
  type Pfn,
  pageblockAt,
  pcpIdOf,
  pfnOf,
  type ZoneId,
  zoneIdOf,
} from '../base/units.ts'
import {
  COMPOUND_MASK,
  COMPOUND_ORDER_SHIFT,
  COMPOUND_TAIL,
  MAX_PAGE_ORDER,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  MIGRATE_TYPES,
  NR_PAGE_ORDERS,
  PAGE_ALLOC_COSTLY_ORDER,
  PAGE_FLAGS_CHECK_AT_FREE,
  PG_head,
  PGTY_buddy,
  pageblock_nr_pages,
  pageblock_order,
  pageTypeValue,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { folioDelLru } from './lru.ts'
import { compoundOrder, type Mm, NR_PCP_LISTS, PB_MIGRATETYPE } from './page.ts'
import { countVmEvents, PGALLOC, PGFREE } from './vmstat.ts'

const BUDDY = pageTypeValue(PGTY_buddy)
/** Per-cpu sets scale their batch by at most this power of two. */
const PCP_BATCH_SCALE_MAX = 5

/** True if the page heads a free block. */
export const isBuddy = (mapcount: number): boolean => mapcount === BUDDY

// Free lists, under (Z).

/** Adds to the free pages of a zone. Those of isolated pageblocks do not count: nobody may have them. */
function accountFreeLocked(mm: Mm, zone: ZoneId, mt: number, pages: number): void {
  if (mt !== MIGRATE_ISOLATE) mm.nrFree[zone] += pages
}

function addToFreeListLocked(mm: Mm, pfn: Pfn, zone: number, order: number, mt: number, tail: boolean): void {
  const head = mm.freeList(zone, order, mt)
  if (tail) listAddTail(mm.links, pfn, head)
  else listAdd(mm.links, pfn, head)
  mm.mapcount[pfn] = BUDDY
  mm.private[pfn] = order
  mm.nrFreeBlocks[(zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt]++
}

function delFromFreeListLocked(mm: Mm, pfn: Pfn, zone: number, order: number, mt: number): void {
  listDel(mm.links, pfn)
  mm.mapcount[pfn] = 0
  mm.private[pfn] = 0
  mm.nrFreeBlocks[(zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt]--
}

/** The buddy of the block if it is free in the same zone with the same order, else -1. */
function freeBuddyLocked(mm: Mm, pfn: number, zone: ZoneId, order: number): number {
  const buddy = pfnOf(pfn ^ (1 << order))
  if (buddy >= mm.pfnCount || mm.mapcount[buddy] !== BUDDY || mm.private[buddy] !== order) return -1
  return order < pageblock_order || mm.zoneOf(buddy) === zone ? buddy : -1
}

/** Free blocks of these types may merge with each other across pageblocks. */
const isMergeable = (mt: number): boolean => mt < MIGRATE_HIGHATOMIC

/**
 * Puts a block on the free lists, merging it with its buddies. The pages are in no list and unreferenced.
 *
 * @locks   needs (Z)
 * @kernel  mm/page_alloc.c __free_one_page() v6.18; spec B-1
 */
export function freeOnePageLocked(mm: Mm, block: number, blockOrder: number): number {
  const zone = mm.zoneOf(pfnOf(block))
  const mt = mm.migratetypeOf(pfnOf(block))
  let pfn = block
  let order = blockOrder
  while (order < MAX_PAGE_ORDER) {
    const buddy = freeBuddyLocked(mm, pfn, zone, order)
    if (buddy < 0) break
    const buddyMt = order < pageblock_order ? mt : mm.migratetypeOf(pfnOf(buddy))
    if (buddyMt !== mt) {
      if (!isMergeable(mt) || !isMergeable(buddyMt)) break
      // The merged block is on one list, so both pageblocks take one type.
      setMigratetypeLocked(mm, pfnOf(buddy), mt, 1 << (order - pageblock_order))
    }
    delFromFreeListLocked(mm, pfnOf(buddy), zone, order, buddyMt)
    pfn &= buddy
    order++
  }
  // A block whose next buddy is nearly free goes last: left alone, it will merge.
  const tail = order < MAX_PAGE_ORDER - 1 && freeBuddyLocked(mm, pfn & ~(1 << order), zone, order + 1) >= 0
  addToFreeListLocked(mm, pfnOf(pfn), zone, order, mt, tail)
  accountFreeLocked(mm, zone, mt, 1 << blockOrder)
  return pfn
}

/**
 * Frees a block pageblock by pageblock if it is larger than one: their types may keep them from merging.
 *
 * @locks   needs (Z)
 * @kernel  mm/page_alloc.c split_large_buddy() v6.18
 */
function freeBlockLocked(mm: Mm, block: number, order: number): number {
  if (order <= pageblock_order) return freeOnePageLocked(mm, block, order)
  for (let at = block; at < block + (1 << order); at += pageblock_nr_pages) {
    freeOnePageLocked(mm, at, pageblock_order)
  }
  return block
}

function setMigratetypeLocked(mm: Mm, pfn: Pfn, mt: number, blocks: number): void {
  const first = pfn >>> pageblock_order
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
 * @kernel  mm/page_alloc.c move_freepages_block(), move_freepages_block_isolate() v6.18
 */
export function setPageblockMigratetypeLocked(mm: Mm, pfn: number, mt: number): number {
  const start = pfnOf(pfn - (pfn % pageblock_nr_pages))
  const zone = mm.zoneOf(start)
  const before = mm.migratetypeOf(start)
  const large = largeFreeBlockLocked(mm, start)
  if (large >= 0) {
    const order = mm.private[pfnOf(large)]
    delFromFreeListLocked(mm, pfnOf(large), zone, order, before)
    accountFreeLocked(mm, zone, before, -(1 << order))
    setMigratetypeLocked(mm, start, mt, 1)
    if (order > pageblock_order) freeOnePageLocked(mm, buddyOf(start, pageblock_order), pageblock_order)
    freeOnePageLocked(mm, start, pageblock_order)
    return pageblock_nr_pages
  }
  let moved = 0
  for (let p = start; p < start + pageblock_nr_pages; ) {
    if (mm.mapcount[p] !== BUDDY) {
      p = pfnOf(p + 1)
      continue
    }
    const order = mm.private[p]
    delFromFreeListLocked(mm, p, zone, order, before)
    addToFreeListLocked(mm, p, zone, order, mt, true)
    moved += 1 << order
    p = pfnOf(p + (1 << order))
  }
  accountFreeLocked(mm, zone, before, -moved)
  accountFreeLocked(mm, zone, mt, moved)
  setMigratetypeLocked(mm, start, mt, 1)
  return moved
}

/** Head of the free block that covers the whole pageblock, or -1. @locks needs (Z) */
function largeFreeBlockLocked(mm: Mm, start: Pfn): number {
  for (let order = pageblock_order; order <= MAX_PAGE_ORDER; order++) {
    const head = pfnOf(start & ~((1 << order) - 1))
    if (mm.mapcount[head] === BUDDY && mm.private[head] === order) return head
  }
  return -1
}

/**
 * Takes the first of the smallest blocks that hold 2^order pages of that type, and puts the rest back.
 *
 * @locks   needs (Z)
 * @errors  -1: no such block
 * @kernel  mm/page_alloc.c __rmqueue_smallest(), expand() v6.18
 */
export function rmqueueSmallestLocked(mm: Mm, zoneIndex: number, order: number, mt: number): number {
  const zone = zoneIdOf(zoneIndex)
  for (let current = order; current < NR_PAGE_ORDERS; current++) {
    const head = mm.freeList(zone, current, mt)
    if (listEmpty(mm.links, head)) continue
    const pfn = pfnOf(listFirst(mm.links, head))
    delFromFreeListLocked(mm, pfn, zone, current, mt)
    for (let half = current - 1; half >= order; half--) {
      addToFreeListLocked(mm, pfnOf(pfn + (1 << half)), zone, half, mt, false)
    }
    accountFreeLocked(mm, zone, mt, -(1 << order))
    return pfn
  }
  return -1
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
  if (mt !== MIGRATE_ISOLATE && mm.nrFree[zone] <= mm.wmarkMin[zone] + (1 << order)) return 0
  delFromFreeListLocked(mm, pfn, zone, order, mt)
  accountFreeLocked(mm, zone, mt, -(1 << order))
  if (order >= pageblock_order - 1 && isMergeable(mt) && mt !== MIGRATE_MOVABLE) {
    // More than half of the pageblock is about to be movable.
    for (let p = block; p < block + (1 << order); p += pageblock_nr_pages) {
      setPageblockMigratetypeLocked(mm, p, MIGRATE_MOVABLE)
    }
  }
  return 1 << order
}

// Per-cpu lists.

const isPcpOrder = (order: number): boolean => order <= PAGE_ALLOC_COSTLY_ORDER || order === pageblock_order

/** Index of the list that keeps blocks of that order and type. */
const pcpIndexOf = (order: number, mt: number): number =>
  order <= PAGE_ALLOC_COSTLY_ORDER
    ? order * MIGRATE_PCPTYPES + mt
    : (PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES + (mt === MIGRATE_MOVABLE ? 1 : 0)

/** Order of the blocks that a per-cpu list keeps. */
export const pcpOrderOf = (index: number): number =>
  index < (PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES
    ? Math.floor(index / MIGRATE_PCPTYPES)
    : pageblock_order

/** Migratetype under which a page of that type is kept per cpu: CMA and HIGHATOMIC go with MOVABLE. */
const pcpTypeOf = (mt: number): number => (mt < MIGRATE_PCPTYPES ? mt : MIGRATE_MOVABLE)

/**
 * How many pages of the set are over its high mark after a free of that order, and should go to the
 * buddy lists now. The longer pages are freed without an allocation in between, the more at a time.
 *
 * @locks   needs (C)
 * @kernel  mm/page_alloc.c free_frozen_page_commit(), nr_pcp_high(), nr_pcp_free() v6.18; nr_pcp_free() v6.1
 */
function pagesOverHighLocked(mm: Mm, pcp: PcpId, order: number): number {
  const highOrder = order > 0 && order <= PAGE_ALLOC_COSTLY_ORDER
  return mm.rules.pcpHighAutoTuned ? autoTunedOver(mm, pcp, order, highOrder) : fixedOver(mm, pcp, highOrder)
}

/** With a fixed high mark. Blocks of orders 1 to 3 empty the set once frees are in a row. */
function fixedOver(mm: Mm, pcp: PcpId, highOrder: boolean): number {
  if (highOrder && mm.pcpFreeFactor[pcp] > 0) return mm.pcpCount[pcp]
  const high = mm.pcpHigh[pcp]
  const batch = mm.pcpBatch[pcp]
  if (mm.pcpCount[pcp] < high) return 0
  if (high < batch) return 1
  const scaled = batch << mm.pcpFreeFactor[pcp]
  if (scaled < high - batch) mm.pcpFreeFactor[pcp]++
  return clamp(scaled, batch, high - batch)
}

/** With a high mark that follows how much is freed in a row. */
function autoTunedOver(mm: Mm, pcp: PcpId, order: number, highOrder: boolean): number {
  const batch = mm.pcpBatch[pcp]
  const most = batch << PCP_BATCH_SCALE_MAX
  const highMin = mm.pcpHighMin[pcp]
  const highMax = mm.pcpHighMax[pcp]
  const drainAll =
    highOrder && mm.pcpPrevHighOrder[pcp] === 1 && mm.pcpFreeCount[pcp] >= batch + Math.floor(highMin / 2)
  mm.pcpPrevHighOrder[pcp] = highOrder ? 1 : 0
  if (mm.pcpFreeCount[pcp] < most) mm.pcpFreeCount[pcp] += 1 << order
  const high = clamp(mm.pcpHigh[pcp], highMin, highMax)
  mm.pcpHigh[pcp] = high
  if (drainAll) {
    mm.pcpHigh[pcp] = Math.max(high - most, highMin)
    return Math.min(mm.pcpCount[pcp], most)
  }
  if (mm.pcpCount[pcp] < high) return 0
  const needed = mm.pcpFreeCount[pcp] + batch
  if (high > 0 && highMin !== highMax && high < needed) mm.pcpHigh[pcp] = clamp(needed, highMin, highMax)
  return high < batch ? 1 : clamp(mm.pcpFreeCount[pcp], batch, high - batch)
}

const clamp = (n: number, least: number, most: number): number => Math.min(Math.max(n, least), most)

/** Adds a free block to its per-cpu list, first. @locks needs (C). Gives the pages that should leave the set now. */
function pcpAddLocked(mm: Mm, pcpIndex: number, pfn: number, order: number): number {
  const pcp = pcpIdOf(pcpIndex)
  const list = pcpIndexOf(order, pcpTypeOf(mm.migratetypeOf(pfnOf(pfn))))
  mm.pcpAllocFactor[pcp] >>= 1
  listAdd(mm.links, pfn, mm.pcpList(pcp, list))
  mm.pcpCount[pcp] += 1 << order
  return pagesOverHighLocked(mm, pcp, order)
}

/** Takes the first block of a per-cpu list; -1 if it is empty. @locks needs (C) */
function pcpTakeLocked(mm: Mm, pcpIndex: number, list: number): number {
  const pcp = pcpIdOf(pcpIndex)
  const head = mm.pcpList(pcp, list)
  if (listEmpty(mm.links, head)) return -1
  const pfn = listFirst(mm.links, head)
  listDel(mm.links, pfn)
  mm.pcpCount[pcp] -= 1 << pcpOrderOf(list)
  mm.pcpFreeCount[pcp] >>= 1
  mm.pcpFreeFactor[pcp] >>= 1
  return pfn
}

/**
 * Moves about `count` pages of a set to the free lists, oldest first, list by list from `firstList` on.
 *
 * @locks   needs (Z) of the set's zone; runs on the set's cpu, so nothing else touches its lists
 * @kernel  mm/page_alloc.c free_pcppages_bulk() v6.18
 */
function freePcppagesBulkLocked(mm: Mm, pcpIndex: number, count: number, firstList: number): number {
  const pcp = pcpIdOf(pcpIndex)
  let left = Math.min(count, mm.pcpCount[pcp])
  let list = firstList
  let seenEmpty = 0
  while (left > 0 && seenEmpty < NR_PCP_LISTS) {
    const head = mm.pcpList(pcp, list)
    if (listEmpty(mm.links, head)) seenEmpty++
    else seenEmpty = 0
    const order = pcpOrderOf(list)
    while (left > 0 && !listEmpty(mm.links, head)) {
      const pfn = listLast(mm.links, head)
      listDel(mm.links, pfn)
      left -= 1 << order
      mm.pcpCount[pcp] -= 1 << order
      freeOnePageLocked(mm, pfn, order)
    }
    list = (list + 1) % NR_PCP_LISTS
  }
  return 0
}

/**
 * Gives all pages of a cpu's set in a zone back to the free lists. Runs on that cpu.
 *
 * @locks   takes and drops (Z)
 * @kernel  mm/page_alloc.c drain_pages_zone() v6.18
 */
export function drainPagesZone(cpu: Cpu, mm: Mm, zone: ZoneId, of: CpuId): void {
  const pcp = mm.pcpOf(zone, of)
  const count = cpu.load(mm.pcpCount, pcp)
  cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, freePcppagesBulkLocked, mm, pcp, count, 0)
}

// Building a machine: for loaders, before anything runs on it.

/** Puts a free block last on its free list, as it is: its buddies are not looked at. */
export function addFreeBlock(mm: Mm, pfn: Pfn, order: number): void {
  const zone = mm.zoneOf(pfn)
  const mt = mm.migratetypeOf(pfn)
  addToFreeListLocked(mm, pfn, zone, order, mt, true)
  accountFreeLocked(mm, zone, mt, 1 << order)
  // A block is on one list: where two pageblocks of different types had merged (before v6.10), both take one.
  if (order > pageblock_order) setMigratetypeLocked(mm, pfn, mt, 1 << (order - pageblock_order))
}

/** Puts a free page first on a per-cpu list. */
export function addPcpPage(mm: Mm, pcp: PcpId, pfn: Pfn): void {
  listAdd(mm.links, pfn, mm.pcpList(pcp, pcpIndexOf(0, pcpTypeOf(mm.migratetypeOf(pfn)))))
  mm.pcpCount[pcp]++
}

// Freeing and allocating.

/**
 * Frees a block whose last reference is gone: to the per-cpu list if its order has one and its pageblock
 * is not isolated, else to the free lists.
 *
 * @locks   takes and drops (C), then (Z) when the set is over its high mark
 * @kernel  mm/page_alloc.c free_frozen_pages() v6.18
 */
export function freeFrozenPages(cpu: Cpu, mm: Mm, pfn: Pfn, order: number): void {
  clearPageState(cpu, mm, pfn, order)
  countVmEvents(mm, PGFREE, 1 << order)
  const zone = mm.zoneOf(pfn)
  const mt = mm.migratetypeOf(pfn)
  if (!isPcpOrder(order) || mt === MIGRATE_ISOLATE) {
    cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, freeBlockLocked, mm, pfn, order, 0)
    return
  }
  const pcp = mm.pcpOf(zone, cpu.id)
  const over = cpu.atomically(mm.pcpLock, pcp, SPIN_LOCKED, pcpAddLocked, mm, pcp, pfn, order)
  if (over === 0) return
  const list = pcpIndexOf(order, pcpTypeOf(mt))
  cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, freePcppagesBulkLocked, mm, pcp, over, list)
}

/** Forgets what the page was. Nobody can reach it: its reference count is 0. */
function clearPageState(cpu: Cpu, mm: Mm, pfn: Pfn, order: number): void {
  const flags = cpu.load(mm.flags, pfn)
  assert((flags & PAGE_FLAGS_CHECK_AT_FREE) === 0, 'free: the page is locked, on the LRU, or under writeback')
  assert(cpu.load(mm.mapcount, pfn) <= 0, 'free: the page is mapped')
  cpu.store(mm.flags, pfn, 0)
  cpu.store(mm.mapping, pfn, 0)
  cpu.store(mm.private, pfn, 0)
  cpu.store(mm.mapcount, pfn, 0)
  for (let tail = pfn + 1; tail < pfn + (1 << order); tail++) {
    const page = pfnOf(tail)
    assert(cpu.load(mm.mapcount, page) <= 0, 'free: a tail is mapped')
    cpu.store(mm.flags, page, 0)
    cpu.store(mm.private, page, 0)
    cpu.store(mm.mapping, page, 0)
    cpu.store(mm.mapcount, page, 0)
  }
}

/**
 * Drops a reference; the last one frees the page (and takes it off the LRU if it is there). `pfn` is a
 * head or a single page.
 *
 * @locks   takes and drops (U), (C), (Z) when it frees
 * @kernel  include/linux/mm.h folio_put(), mm/swap.c __folio_put() v6.18
 */
export function putPage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  if (cpu.decAndTest(mm.refcount, pfn)) freeFolio(cpu, mm, pfn)
}

/** Frees a folio whose reference count has reached 0. */
export function freeFolio(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  folioDelLru(cpu, mm, pfn)
  freeFrozenPages(cpu, mm, pfn, compoundOrder(cpu.load(mm.flags, pfn)))
}

/** Makes 2^order pages one compound page. The caller owns them. */
export function prepCompoundPage(cpu: Cpu, mm: Mm, pfn: Pfn, order: number): void {
  if (order === 0) return
  const flags = cpu.load(mm.flags, pfn) & ~COMPOUND_MASK
  cpu.store(mm.flags, pfn, flags | PG_head | (order << COMPOUND_ORDER_SHIFT))
  for (let tail = pfn + 1; tail < pfn + (1 << order); tail++) {
    cpu.store(mm.flags, pfnOf(tail), COMPOUND_TAIL)
    cpu.store(mm.private, pfnOf(tail), pfn)
  }
}

/**
 * Allocates 2^order pages of one zone and migratetype: one reference, compound if order > 0.
 *
 * @locks   takes and drops (C), (Z)
 * @errors  -1: no free block of that type is large enough, or the zone is at its min watermark
 * @kernel  mm/page_alloc.c rmqueue(), rmqueue_pcplist() v6.18
 */
export function allocPages(cpu: Cpu, mm: Mm, zone: ZoneId, order: number, mt: number): number {
  const taken = takeFree(cpu, mm, zone, order, mt)
  if (taken < 0) return -1
  const pfn = pfnOf(taken)
  countVmEvents(mm, PGALLOC, 1 << order)
  prepCompoundPage(cpu, mm, pfn, order)
  cpu.store(mm.refcount, pfn, 1)
  return pfn
}

function takeFree(cpu: Cpu, mm: Mm, zone: ZoneId, order: number, mt: number): number {
  if (cpu.load(mm.nrFree, zone) - (1 << order) < cpu.load(mm.wmarkMin, zone)) return -1
  if (!isPcpOrder(order) || mt >= MIGRATE_PCPTYPES) {
    return cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, rmqueueSmallestLocked, mm, zone, order, mt)
  }
  const pcp = mm.pcpOf(zone, cpu.id)
  const list = pcpIndexOf(order, mt)
  const kept = cpu.atomically(mm.pcpLock, pcp, SPIN_LOCKED, pcpTakeLocked, mm, pcp, list, 0)
  if (kept >= 0) return kept
  cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, rmqueueBulkLocked, mm, pcp, order, mt)
  return cpu.atomically(mm.pcpLock, pcp, SPIN_LOCKED, pcpTakeLocked, mm, pcp, list, 0)
}

/** Refills a per-cpu list with a batch of blocks. @locks needs (Z); runs on the set's cpu. @kernel rmqueue_bulk() v6.18 */
function rmqueueBulkLocked(mm: Mm, pcpIndex: number, order: number, mt: number): number {
  const pcp = pcpIdOf(pcpIndex)
  const zone = Math.floor(pcpIndex / mm.cpus)
  const list = mm.pcpList(pcp, pcpIndexOf(order, mt))
  const pages = mm.rules.pcpHighAutoTuned ? pagesToRefillLocked(mm, pcp, order) : mm.pcpBatch[pcp]
  const blocks = pages > 1 ? Math.max(pages >> order, 2) : 1
  let got = 0
  while (got < blocks) {
    const pfn = rmqueueSmallestLocked(mm, zone, order, mt)
    if (pfn < 0) break
    listAddTail(mm.links, pfn, list)
    mm.pcpCount[pcp] += 1 << order
    got++
  }
  return got
}

/**
 * How many pages an empty list takes from the free lists: twice as many each time that nothing is freed in
 * between, as far as the high mark allows, which rises with it.
 *
 * @locks   needs (C)
 * @kernel  mm/page_alloc.c nr_pcp_alloc() v6.18
 */
function pagesToRefillLocked(mm: Mm, pcp: PcpId, order: number): number {
  const base = mm.pcpBatch[pcp]
  let high = clamp(mm.pcpHigh[pcp], mm.pcpHighMin[pcp], mm.pcpHighMax[pcp])
  if (high < base) return 1
  let batch = order > 0 ? base : base << mm.pcpAllocFactor[pcp]
  if (mm.pcpHighMin[pcp] !== mm.pcpHighMax[pcp]) high = Math.min(high + batch, mm.pcpHighMax[pcp])
  mm.pcpHigh[pcp] = high
  if (order > 0) return batch
  const most = Math.max(high - mm.pcpCount[pcp] - base, base)
  if (batch <= most && mm.pcpAllocFactor[pcp] < PCP_BATCH_SCALE_MAX) mm.pcpAllocFactor[pcp]++
  batch = Math.min(batch, most)
  return batch
}
