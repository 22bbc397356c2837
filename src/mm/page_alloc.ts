/**
 * The page allocator: pages go out by zone and migratetype, and come back when their last reference is dropped.
 *
 * A typical sequence is:
 *   pfn = getPageFromFreelist(cpu, mm, ac, allocFlags)   // refcount 1; compound if order > 0
 *   putPage(cpu, mm, pfn)                                // the last reference frees it
 *
 * One attempt goes through the zones of the request's zonelist, nearest first, and takes from the first that stays
 * above the watermark: from the cpu's list if there is one for the order, else from the free areas.
 *
 * Rules:
 *   - a page is freed by whoever drops its last reference, never directly.
 *
 * Not here: what happens when an attempt fails (slowpath.ts), whose pageblocks are used (fallback.ts), the free areas
 * themselves (free_area.ts) and the per-cpu lists (pcp.ts). There are no cpusets, no dirty limits of nodes, and no
 * reclaim of one node before another is used (zone_reclaim_mode is 0).
 *
 * @kernel mm/page_alloc.c v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type PcpId, type Pfn, pfnOf, type ZoneId } from '../base/units.ts'
import { reserveHighatomicLocked, rmqueueBuddyLocked } from './fallback.ts'
import { freeBlockLocked } from './free_area.ts'
import {
  __GFP_KSWAPD_RECLAIM,
  __GFP_THISNODE,
  ALLOC_CMA,
  ALLOC_HIGHATOMIC,
  ALLOC_KSWAPD,
  ALLOC_NO_WATERMARKS,
  ALLOC_NOFRAGMENT,
  type Gfp,
  gfpMigratetype,
  gfpZone,
} from './gfp.ts'
import { freeHugeFolio, HUGETLB, HUGETLB_PAGE_ORDER } from './hugetlb_pool.ts'
import {
  COMPOUND_MASK,
  COMPOUND_ORDER_SHIFT,
  COMPOUND_TAIL,
  MAX_PAGE_ORDER,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  PAGE_FLAGS_CHECK_AT_FREE,
  PG_head,
  ZONE_BOOSTED_WATERMARK,
  ZONE_DMA32,
  ZONE_NORMAL,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { folioDelLru } from './lru.ts'
import { compoundOrder, type Mm } from './page.ts'
import {
  freePcppagesBulkLocked,
  isPcpOrder,
  pcpAddLocked,
  pcpIndexOf,
  pcpTakeLocked,
  pcpTypeOf,
  rmqueueBulkLocked,
} from './pcp.ts'
import { countVmEvents, PGALLOC, PGFREE } from './vmstat.ts'
import { wakeupKswapd } from './wakeup.ts'
import { wmarkPages, zoneWatermarkFast } from './watermark.ts'

// Freeing.

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
  mm.trace?.mmPageFree(pfn, order)
  const zone = mm.zoneOf(pfn)
  const mt = mm.migratetypeOf(pfn)
  if (!isPcpOrder(order) || mt === MIGRATE_ISOLATE) {
    cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, freeBlockLocked, mm, pfn, order, mm.pcpOf(zone, cpu.id))
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
 * @locks   takes and drops (U), (H), (C), (Z) when it frees
 * @kernel  include/linux/mm.h folio_put(), mm/swap.c __folio_put() v6.18
 */
export function putPage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  if (cpu.decAndTest(mm.refcount, pfn)) freeFolio(cpu, mm, pfn)
}

/** Frees a folio whose reference count has reached 0. A page of the hugetlb pool goes back to it. */
export function freeFolio(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  folioDelLru(cpu, mm, pfn)
  const order = compoundOrder(cpu.load(mm.flags, pfn))
  const ofPool = order === HUGETLB_PAGE_ORDER && cpu.load(mm.mapcount, pfn) === HUGETLB
  if (ofPool && freeHugeFolio(cpu, mm, pfn)) return
  freeFrozenPages(cpu, mm, pfn, order)
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
 * Makes a compound page that nobody else can reach 2^order single ones, each with a reference: for owners that want
 * memory in one piece and let each page move by itself.
 *
 * @kernel mm/page_alloc.c split_page() v6.18
 */
export function splitPage(cpu: Cpu, mm: Mm, pfn: Pfn, order: number): void {
  if (order === 0) return
  cpu.store(mm.flags, pfn, 0)
  for (let tail = pfn + 1; tail < pfn + (1 << order); tail++) {
    cpu.store(mm.flags, pfnOf(tail), 0)
    cpu.store(mm.private, pfnOf(tail), 0)
    cpu.store(mm.refcount, pfnOf(tail), 1)
  }
}

// Allocating.

/** What stays the same during one allocation. */
export interface AllocContext {
  readonly gfp: Gfp
  readonly order: number
  readonly nid: number
  readonly migratetype: number
  /** Highest kind of zone that will do. */
  readonly highestZoneidx: number
  /** Zones that will do, nearest first. */
  readonly zonelist: readonly ZoneId[]
}

/**
 * What a request means on this machine: its zones, and the kind of pageblock.
 *
 * @kernel mm/page_alloc.c prepare_alloc_pages() v6.18
 */
export function prepareAllocPages(mm: Mm, gfp: Gfp, order: number, nid: number): AllocContext {
  assert(order >= 0 && order <= MAX_PAGE_ORDER, 'alloc: the order is from 0 to 10')
  assert(nid >= 0 && nid < mm.nodes, 'alloc: the node exists')
  const highestZoneidx = gfpZone(gfp)
  const onlyThisNode = (gfp & __GFP_THISNODE) !== 0
  return {
    gfp,
    order,
    nid,
    migratetype: gfpMigratetype(gfp),
    highestZoneidx,
    zonelist: mm.zonelist(nid, highestZoneidx, onlyThisNode),
  }
}

/** ALLOC flags that follow from the migratetype: movable pages may lie in CMA. @kernel gfp_to_alloc_flags_cma() */
export const allocFlagsCma = (mt: number): number => (mt === MIGRATE_MOVABLE ? ALLOC_CMA : 0)

/**
 * ALLOC flags of a first attempt: where another zone is left to try, rather that than to mix pageblocks (B-5).
 *
 * @kernel mm/page_alloc.c alloc_flags_nofragment() v6.18
 */
export function allocFlagsNofragment(mm: Mm, ac: AllocContext): number {
  const kswapd = (ac.gfp & __GFP_KSWAPD_RECLAIM) === 0 ? 0 : ALLOC_KSWAPD
  if (mm.sysctl.defrag_mode !== 0) return kswapd | ALLOC_NOFRAGMENT
  if (ac.zonelist.length === 0) return kswapd
  const [preferred] = ac.zonelist
  if (mm.zoneIdx[preferred] !== ZONE_NORMAL) return kswapd
  const hasDma32 = mm.zonelist(mm.zoneNode[preferred], ZONE_DMA32, true).length > 0
  return mm.nodes > 1 && !hasDma32 ? kswapd : kswapd | ALLOC_NOFRAGMENT
}

/**
 * One attempt: a block from the first zone that stays above the watermark of `allocFlags`. One reference; compound if
 * its order is above 0.
 *
 * @locks   takes and drops (C), (Z)
 * @errors  -1: no zone has one to spare
 * @kernel  mm/page_alloc.c get_page_from_freelist() v6.18
 */
export function getPageFromFreelist(cpu: Cpu, mm: Mm, ac: AllocContext, allocFlags: number): number {
  const found = tryZones(cpu, mm, ac, allocFlags)
  if (found >= 0 || (allocFlags & ALLOC_NOFRAGMENT) === 0 || mm.sysctl.defrag_mode !== 0) return found
  // Every zone would mix pageblocks: then be it so.
  return tryZones(cpu, mm, ac, allocFlags & ~ALLOC_NOFRAGMENT)
}

function tryZones(cpu: Cpu, mm: Mm, ac: AllocContext, flags: number): number {
  const { order, zonelist, highestZoneidx, migratetype } = ac
  for (const zone of zonelist) {
    const remote = mm.zoneNode[zone] !== mm.zoneNode[zonelist[0]]
    if (remote && (flags & ALLOC_NOFRAGMENT) !== 0 && mm.sysctl.defrag_mode === 0) {
      return -1 // a mixed pageblock here is better than memory of another node
    }
    const mark = wmarkPages(mm, zone, flags)
    const free = cpu.load(mm.nrFree, zone)
    const unchecked = (flags & ALLOC_NO_WATERMARKS) !== 0
    if (!unchecked && !zoneWatermarkFast(mm, zone, order, mark, highestZoneidx, flags, free)) continue
    const taken = rmqueue(cpu, mm, zone, order, migratetype, flags)
    if (taken < 0) continue
    const pfn = pfnOf(taken)
    prepNewPage(cpu, mm, pfn, order)
    if (order > 0 && (flags & ALLOC_HIGHATOMIC) !== 0) {
      cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, reserveHighatomicLocked, mm, pfn, order, 0)
    }
    return pfn
  }
  return -1
}

/**
 * A block of one zone: from the cpu's list, or from the free areas. No reference yet.
 *
 * @locks   takes and drops (C), (Z)
 * @errors  -1: the zone has none that may be used
 * @kernel  mm/page_alloc.c rmqueue() v6.18
 */
function rmqueue(cpu: Cpu, mm: Mm, zone: ZoneId, order: number, mt: number, allocFlags: number): number {
  const hasList = isPcpOrder(order) && mt < MIGRATE_PCPTYPES
  let pfn = hasList ? rmqueuePcplist(cpu, mm, zone, order, mt, allocFlags) : -1
  if (pfn < 0) pfn = rmqueueBuddy(cpu, mm, zone, order, mt, allocFlags)
  if (pfn >= 0) countVmEvents(mm, PGALLOC + mm.zoneIdx[zone], 1 << order)
  if ((allocFlags & ALLOC_KSWAPD) !== 0 && cpu.testClear(mm.zoneFlags, zone, ZONE_BOOSTED_WATERMARK)) {
    wakeupKswapd(cpu, mm, zone, 0, 0, mm.zoneIdx[zone])
  }
  return pfn
}

/**
 * A block of the cpu's list, which is refilled when it is empty.
 *
 * @locks   takes and drops (C), (Z)
 * @errors  -1: the list stayed empty
 * @kernel  mm/page_alloc.c rmqueue_pcplist() v6.18
 */
function rmqueuePcplist(
  cpu: Cpu,
  mm: Mm,
  zone: ZoneId,
  order: number,
  mt: number,
  allocFlags: number,
): number {
  const pcp = mm.pcpOf(zone, cpu.id)
  const list = pcpIndexOf(order, mt)
  const pfn = cpu.atomically(mm.pcpLock, pcp, SPIN_LOCKED, pcpTakeLocked, mm, pcp, list, 0)
  return pfn >= 0 ? pfn : refilledPcplist(cpu, mm, zone, pcp, order, mt, allocFlags)
}

/** Once in a batch: what it costs is not in the way of the others. */
function refilledPcplist(
  cpu: Cpu,
  mm: Mm,
  zone: ZoneId,
  pcp: PcpId,
  order: number,
  mt: number,
  allocFlags: number,
): number {
  const orderAndType = (order << 3) | mt
  cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, rmqueueBulkLocked, mm, pcp, orderAndType, allocFlags)
  return cpu.atomically(mm.pcpLock, pcp, SPIN_LOCKED, pcpTakeLocked, mm, pcp, pcpIndexOf(order, mt), 0)
}

/** A block of the free areas. @locks takes and drops (Z). @kernel mm/page_alloc.c rmqueue_buddy() v6.18 */
function rmqueueBuddy(cpu: Cpu, mm: Mm, zone: ZoneId, order: number, mt: number, allocFlags: number): number {
  const orderAndType = (order << 3) | mt
  const pfn = cpu.atomically(
    mm.zoneLock,
    zone,
    SPIN_LOCKED,
    rmqueueBuddyLocked,
    mm,
    zone,
    orderAndType,
    allocFlags,
  )
  if (pfn >= 0) mm.trace?.mmPageAllocZoneLocked(pfnOf(pfn), order, mt, false)
  return pfn
}

/** One reference, and compound if it has more than one page. */
export function prepNewPage(cpu: Cpu, mm: Mm, pfn: Pfn, order: number): void {
  prepCompoundPage(cpu, mm, pfn, order)
  cpu.store(mm.refcount, pfn, 1)
}

/**
 * Allocates 2^order pages of one zone and migratetype, with fallback if that type has none, down to the min mark:
 * what a driver of a test machine does. One reference, compound if order > 0.
 *
 * @locks   takes and drops (C), (Z)
 * @errors  -1: nothing in the zone is large enough, or it would go below its min mark
 * @ours
 */
export function allocFromZone(cpu: Cpu, mm: Mm, zone: ZoneId, order: number, mt: number): number {
  if (cpu.load(mm.nrFree, zone) - (1 << order) < cpu.load(mm.wmarkMin, zone)) return -1
  const taken = rmqueue(cpu, mm, zone, order, mt, allocFlagsCma(mt))
  if (taken < 0) return -1
  prepNewPage(cpu, mm, pfnOf(taken), order)
  return taken
}
