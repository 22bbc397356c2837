/**
 * The free scanner: walks a zone downwards and isolates free pages as targets; it keeps them by order until they are
 * asked for.
 *
 * Compaction for a block of some order first takes targets from the free lists, of the upper part of the zone (the fast
 * search); a walk is what is left if that finds nothing.
 *
 * @kernel mm/compaction.c v6.18; spec C-7, C-16
 */

import type { Cpu } from '../base/cpu.ts'
import {
  listAdd,
  listAddTail,
  listDel,
  listEmpty,
  listFirst,
  listLast,
  listPrev,
  listRotateFirst,
} from '../base/list.ts'
import { listNodeOf, type Pfn, pfnOf } from '../base/units.ts'
import { type CompactControl, freelistScanLimit, isMovableType } from './compact_control.ts'
import { setFreeSkipHint } from './compaction_hints.ts'
import { hasAnyFreeBlock, isolateFreePageLocked } from './free_area.ts'
import {
  COMPACT_CLUSTER_MAX,
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  NR_PAGE_ORDERS,
  PG_head,
  pageblock_nr_pages,
  pageblock_order,
  pageblockEnd,
  pageblockOf,
  pageblockStart,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import type { MigrationTarget } from './migrate.ts'
import {
  buddyOrder,
  compoundOrder,
  isBuddy,
  type Mm,
  PB_ABSENT,
  PB_MIGRATETYPE,
  PB_migrate_skip,
} from './page.ts'
import { freeFrozenPages, prepCompoundPage } from './page_alloc.ts'
import { COMPACTISOLATED, countVmEvents } from './vmstat.ts'

/**
 * Isolates free pages until there are as many as pages to migrate, or the scanners meet.
 *
 * A block that yields nothing doubles the stride, up to 32, for the blocks after it in this call; one
 * that yields something sets it back to 1. With free pages only at odd pfns the scanner passes them all
 * by: that is what the kernel does.
 *
 * @kernel mm/compaction.c isolate_freepages() v6.18
 */
export function isolateFreepages(cpu: Cpu, cc: CompactControl): void {
  const { mm } = cc
  fastIsolateFreepages(cpu, cc)
  if (cc.nrFreepages > 0) return // what is kept may be too small for a large folio: then it is split
  const zoneEnd = cpu.load(mm.zoneEnd, cc.zone)
  const low = pageblockEnd(cc.migratePfn)
  let from = cc.freePfn
  let start = pageblockStart(from)
  let end = pfnOf(Math.min(start + pageblock_nr_pages, zoneEnd))
  let stride = cc.mode === MIGRATE_ASYNC ? COMPACT_CLUSTER_MAX : 1
  for (; start >= low; end = start, start = pfnOf(start - pageblock_nr_pages), from = start) {
    const block = pageblockOf(start)
    const bits = cpu.load(mm.pageblock, block)
    if ((bits & PB_ABSENT) !== 0 || !isSuitableTarget(cpu, cc, start, bits)) continue
    if (!cc.ignoreSkipHint && (bits & PB_migrate_skip) !== 0) continue
    const before = cc.nrFreepages
    const { zone } = cc
    const stop = pfnOf(
      cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, isolateFreepagesBlockLocked, cc, from, end, stride),
    )
    from = stop
    if (stop === end) setFreeSkipHint(cpu, cc, block)
    if (cc.nrFreepages >= cc.nrMigratepages) {
      if (stop >= end) from = pfnOf(start - pageblock_nr_pages)
      break
    }
    if (stop < end) break
    stride = cc.nrFreepages > before ? 1 : Math.min(COMPACT_CLUSTER_MAX, stride << 1)
  }
  cc.freePfn = from
}

/**
 * A block may receive pages if it is movable, and is not a free block as large as what is wanted, which
 * is left whole (C-7).
 *
 * @kernel mm/compaction.c suitable_migration_target() v6.18
 */
function isSuitableTarget(cpu: Cpu, cc: CompactControl, start: Pfn, bits: number): boolean {
  const wanted = cc.mm.rules.targetsBelowRequest && cc.order > 0 ? cc.order : pageblock_order
  const head = cpu.load(cc.mm.mapcount, start)
  if (isBuddy(head) && buddyOrder(head) >= wanted) return false
  return cc.ignoreBlockSuitable || isMovableType(bits & PB_MIGRATETYPE)
}

/**
 * Isolates the free pages of one block onto cc.freepages; looks at every `stride`-th page. Gives the pfn
 * where it stopped: `end`, or earlier when there is enough or the zone is at its min watermark.
 *
 * @locks  needs (Z)
 * @kernel mm/compaction.c isolate_freepages_block() v6.18
 */
function isolateFreepagesBlockLocked(cc: CompactControl, from: number, end: number, stride: number): number {
  const { mm } = cc
  const { mapcount, flags: flagsOf } = mm // looked up once: this loop sees every page
  const countSkipped = mm.rules.scannedCountsSkipped
  let scanned = 0
  let isolated = 0
  let at = from
  for (; at < end; at += stride) {
    scanned++
    const pfn = pfnOf(at)
    if (!isBuddy(mapcount[pfn])) {
      const flags = flagsOf[pfn]
      const rest = (flags & PG_head) === 0 ? 0 : (1 << compoundOrder(flags)) - 1
      if (rest > 0 && at + rest < end) {
        at += rest
        scanned += countSkipped ? rest : 0
      }
      continue
    }
    const order = buddyOrder(mapcount[pfn])
    const got = isolateFreePageLocked(mm, pfn, order)
    if (got === 0) break
    scanned += got - 1
    isolated += got
    cc.nrFreepages += got
    keepFreepages(cc, pfn, order)
    if (cc.nrMigratepages <= cc.nrFreepages) {
      at += got
      break
    }
    at += got - 1
  }
  const stop = pfnOf(Math.min(at, end))
  mm.trace?.mmCompactionIsolateFreepages(pfnOf(from), stop, scanned, isolated)
  cc.freeScanned += scanned
  countVmEvents(mm, COMPACTISOLATED, isolated)
  return stop
}

/** Keeps an isolated free block for compactionAlloc(), in the order in which the kernel's version takes them. */
function keepFreepages(cc: CompactControl, pfn: number, order: number): void {
  const { links, rules } = cc.mm
  if (rules.freepagesByOrder) {
    listAddTail(links, pfn, cc.freepages[order])
    return
  }
  for (let page = pfn; page < pfn + (1 << order); page++) listAdd(links, page, cc.freepages[0])
}

/** Where compaction's pages go: to what the free scanner has isolated. */
export class CompactionTarget implements MigrationTarget {
  /** A direct compaction frees memory to get memory: it must not wait for page locks (PF_MEMALLOC; M-6). */
  readonly memalloc: boolean
  private readonly cc: CompactControl

  constructor(cc: CompactControl) {
    this.cc = cc
    this.memalloc = cc.direct
  }

  getNewFolio(cpu: Cpu, _mm: Mm, _src: Pfn, order: number): number {
    return compactionAlloc(cpu, this.cc, order)
  }

  putNewFolio(cpu: Cpu, _mm: Mm, dst: Pfn): void {
    compactionFree(cpu, this.cc, dst)
  }
}

/**
 * A target of that order from the isolated free pages, splitting a larger one if need be. -1: there is
 * none, not even after the free scanner went on.
 *
 * @kernel mm/compaction.c compaction_alloc() v6.18
 */
export function compactionAlloc(cpu: Cpu, cc: CompactControl, order: number): number {
  const { mm } = cc
  let found = smallestKept(cc, order)
  if (found === NR_PAGE_ORDERS) {
    isolateFreepages(cpu, cc)
    found = smallestKept(cc, order)
    if (found === NR_PAGE_ORDERS) return -1
  }
  const pfn = pfnOf(listFirst(mm.links, cc.freepages[found]))
  listDel(mm.links, pfn)
  for (let half = found - 1; half >= order; half--) listAdd(mm.links, pfn + (1 << half), cc.freepages[half])
  prepCompoundPage(cpu, mm, pfn, order)
  cpu.store(mm.refcount, pfn, 1)
  cc.nrFreepages -= 1 << order
  if (mm.rules.freepagesNeededShrinks) cc.nrMigratepages -= 1 << order
  return pfn
}

/** Smallest order >= `order` with a kept free block; NR_PAGE_ORDERS if there is none. */
function smallestKept(cc: CompactControl, order: number): number {
  let at = order
  while (at < NR_PAGE_ORDERS && listEmpty(cc.mm.links, cc.freepages[at])) at++
  return at
}

/**
 * Takes back a target that was not used. Pairs with compactionAlloc().
 *
 * @kernel mm/compaction.c compaction_free() v6.18
 */
export function compactionFree(cpu: Cpu, cc: CompactControl, dst: Pfn): void {
  const { mm } = cc
  const order = compoundOrder(cpu.load(mm.flags, dst))
  if (cpu.decAndTest(mm.refcount, dst)) {
    for (let page = dst; page < dst + (1 << order); page = pfnOf(page + 1)) {
      cpu.store(mm.flags, page, 0)
      cpu.store(mm.private, page, 0)
    }
    listAdd(mm.links, dst, cc.freepages[order])
    cc.nrFreepages += 1 << order
  }
  if (mm.rules.freepagesNeededShrinks) cc.nrMigratepages += 1 << order
}

/**
 * Gives isolated free pages that were not needed back to the allocator, and lets the free scanner start
 * from there next time: back, never forward (C-16).
 *
 * @kernel mm/compaction.c release_free_list() v6.18
 */
export function releaseFreepages(cpu: Cpu, cc: CompactControl): void {
  const { mm } = cc
  let highest = 0
  cc.freepages.forEach((list, order) => {
    while (!listEmpty(mm.links, list)) {
      const pfn = pfnOf(listFirst(mm.links, list))
      listDel(mm.links, pfn)
      highest = Math.max(highest, pfn)
      freeFrozenPages(cpu, mm, pfn, order)
    }
  })
  cc.nrFreepages = 0
  if (highest === 0) return
  const start = pageblockStart(highest)
  if (start > cpu.load(mm.cachedFreePfn, cc.zone)) cpu.store(mm.cachedFreePfn, cc.zone, start)
}

// The fast search.

/** One fast search for targets. */
interface TargetSearch {
  readonly cc: CompactControl
  /** At or above: wanted. */
  readonly low: number
  /** At or above: will do. */
  readonly min: number
  /** Entries of one list that may be looked at. */
  limit: number
  looked: number
  taken: number
  /** Start of the highest pageblock with a free block that was looked at. */
  highest: number
}

/**
 * Takes free blocks from the movable free lists, below the order that is wanted: from the top quarter of what is left
 * between the scanners, or its top half if there is none. Begins with the order at which the last one was found.
 *
 * If the scan has only begun and nothing is found, the free scanner starts at the highest free block that was seen.
 *
 * @locks  takes and drops (Z)
 * @kernel mm/compaction.c fast_isolate_freepages() v6.18
 */
function fastIsolateFreepages(cpu: Cpu, cc: CompactControl): void {
  const { mm, zone } = cc
  if (cc.order <= 0) return
  const atStart = cc.freePfn >= cpu.load(mm.compactInitFreePfn, zone)
  const distance = cc.freePfn - cc.migratePfn
  const search: TargetSearch = {
    cc,
    low: pageblockStart(cc.freePfn - (distance >> 2)),
    min: pageblockStart(cc.freePfn - (distance >> 1)),
    limit: atStart ? pageblock_nr_pages >> 1 : Math.max(1, freelistScanLimit(cc) >> 1),
    looked: 0,
    taken: 0,
    highest: 0,
  }
  let found = -1
  cc.searchOrder = Math.min(cc.order - 1, cc.searchOrder)
  // Each round looks at another order below the one that is wanted, at most once each.
  for (let order = cc.searchOrder; found < 0 && order >= 0; ) {
    if (hasAnyFreeBlock(mm, zone, order)) {
      found = cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, takeTargetLocked, search, order, 0, 0)
      if (cc.nrFreepages >= cc.nrMigratepages) break
      if (found === NOT_ISOLATED) order = cc.searchOrder + 1
    }
    order = nextSearchOrder(cc, order)
  }
  mm.trace?.mmCompactionFastIsolateFreepages(pfnOf(search.min), cc.freePfn, search.looked, search.taken)
  if (found < 0) {
    cc.fastSearchFail++
    if (atStart) found = startAtHighest(cc, search)
  }
  if (search.highest > 0 && search.highest >= cpu.load(mm.cachedFreePfn, zone)) {
    cpu.store(mm.cachedFreePfn, zone, search.highest - pageblock_nr_pages)
  }
  cc.freeScanned += search.looked
  if (found >= 0) fastIsolateAround(cpu, cc, pfnOf(found))
}

const NONE_FOUND = -1
const NOT_ISOLATED = -2

/**
 * Looks through the list of one order from its end, and takes the first block at or above `low`, else the highest at or
 * above `min`. The next search goes on where this one stopped.
 *
 * @locks  needs (Z)
 * @errors NONE_FOUND; NOT_ISOLATED: the zone is at its min mark
 */
function takeTargetLocked(search: TargetSearch, order: number): number {
  const { cc } = search
  const { mm } = cc
  const head = mm.freeList(cc.zone, order, MIGRATE_MOVABLE)
  let best = NONE_FOUND
  let seen = 0
  let block = listLast(mm.links, head)
  for (; block !== head; block = listPrev(mm.links, block)) {
    seen++
    search.looked++
    if (block >= search.highest) search.highest = Math.max(pageblockStart(block), mm.zoneStart[cc.zone])
    if (block >= search.low) {
      cc.fastSearchFail = 0
      cc.searchOrder = order
      best = block
      break
    }
    if (block >= search.min && block > best) {
      best = block
      search.limit >>= 1 // one that will do is there: look less far for a better one
    }
    if (seen >= search.limit) break
  }
  const stop = best >= 0 ? listNodeOf(best) : block
  if (stop !== head) listRotateFirst(mm.links, stop, head)
  const short = seen >= search.limit
  if (best >= 0) {
    const got = isolateFreePageLocked(mm, best, order)
    if (got === 0) return NOT_ISOLATED
    search.looked += got - 1
    search.taken += got
    cc.nrFreepages += got
    keepFreepages(cc, best, order)
    countVmEvents(mm, COMPACTISOLATED, got)
  }
  if (short) search.limit = Math.max(1, search.limit >> 1)
  return best
}

/** The orders below the one that is wanted, downwards and round; -1 after one round. @kernel next_search_order() */
function nextSearchOrder(cc: CompactControl, order: number): number {
  const next = order - 1 < 0 ? cc.order - 1 : order - 1
  if (next !== cc.searchOrder) return next
  cc.searchOrder = cc.searchOrder - 1 < 0 ? cc.order - 1 : cc.searchOrder - 1
  return -1
}

/** Where a scan that has only begun starts if the lists had nothing high enough. Gives a page to look around, or -1. */
function startAtHighest(cc: CompactControl, search: TargetSearch): number {
  if (search.highest >= search.min) {
    cc.freePfn = pfnOf(search.highest)
    return search.highest
  }
  if (!cc.direct) return NONE_FOUND
  cc.freePfn = pfnOf(search.min)
  return search.min
}

/**
 * Isolates what else is free in the pageblock of a target, unless there is enough, or the scan is to be short.
 *
 * @kernel mm/compaction.c fast_isolate_around() v6.18
 */
function fastIsolateAround(cpu: Cpu, cc: CompactControl, pfn: Pfn): void {
  const { mm, zone } = cc
  if (cc.nrFreepages >= cc.nrMigratepages || (cc.direct && cc.mode === MIGRATE_ASYNC)) return
  const block = pageblockOf(pfn)
  if ((cpu.load(mm.pageblock, block) & PB_ABSENT) !== 0) return
  const start = Math.max(pageblockStart(pfn), cpu.load(mm.zoneStart, zone))
  const end = Math.min(pageblockEnd(pfn), cpu.load(mm.zoneEnd, zone))
  const stop = cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, isolateFreepagesBlockLocked, cc, start, end, 1)
  if (stop === end) cpu.testSet(mm.pageblock, block, PB_migrate_skip)
}
