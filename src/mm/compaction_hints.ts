/**
 * What compactions leave for the next ones: a skip hint a pageblock, and positions of the scanners a zone.
 *
 * A pageblock is hinted (`PB_migrate_skip`) when a scanner has been through it and there was nothing to take, or when
 * a scanner begins with it, so that no other begins too. Hints are not locked, and forgotten as a whole: when a direct
 * compaction has met its end and kswapd sleeps again, or when compaction starts anew after its longest deferral.
 *
 * Rules:
 *   - positions move on, never back, except to free blocks that were not used (C-16) and at a new start.
 *
 * @kernel mm/compaction.c v6.18; spec C-8, C-9
 */

import type { Cpu } from '../base/cpu.ts'
import { type Pageblock, type Pfn, pfnOf, type ZoneColumn, type ZoneId } from '../base/units.ts'
import type { CompactControl } from './compact_control.ts'
import {
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  type MigrateMode,
  PAGE_ALLOC_COSTLY_ORDER,
  PG_lru,
  pageblock_nr_pages,
  pageblock_order,
  pageblockEnd,
  pageblockOf,
  pageblockStart,
} from './limits.ts'
import {
  compoundOrder,
  folioHead,
  isBuddy,
  type Mm,
  PB_ABSENT,
  PB_MIGRATETYPE,
  PB_migrate_skip,
} from './page.ts'

// Positions.

/** Column of the cached position of the migrate scanner for a mode: the asynchronous one has its own. */
const cachedMigratePfn = (mm: Mm, mode: MigrateMode): ZoneColumn =>
  mode === MIGRATE_ASYNC ? mm.cachedMigratePfnAsync : mm.cachedMigratePfnSync

/** Lets the migrate scanner begin at `pfn`, in every mode. */
function setCachedMigratePfns(cpu: Cpu, mm: Mm, zone: ZoneId, pfn: number): void {
  cpu.store(mm.cachedMigratePfnAsync, zone, pfn)
  cpu.store(mm.cachedMigratePfnSync, zone, pfn)
}

/** Goes on where the last pass stopped, unless that is outside the zone (C-9). */
export function startAtCachedPositions(cpu: Cpu, cc: CompactControl): void {
  const { mm, zone } = cc
  const start = cpu.load(mm.zoneStart, zone)
  const end = cpu.load(mm.zoneEnd, zone)
  const free = cpu.load(mm.cachedFreePfn, zone)
  const migrate = cpu.load(cachedMigratePfn(mm, cc.mode), zone)
  if (free >= start && free < end) cc.freePfn = pfnOf(free)
  else cpu.store(mm.cachedFreePfn, zone, cc.freePfn)
  if (migrate >= start && migrate < end) cc.migratePfn = pfnOf(migrate)
  else setCachedMigratePfns(cpu, mm, zone, cc.migratePfn)
  if (cc.migratePfn <= cpu.load(mm.compactInitMigratePfn, zone)) cc.wholeZone = true
}

/** The scanners met: the next pass starts anew. @kernel reset_cached_positions() */
export function resetCachedPositions(cpu: Cpu, mm: Mm, zone: ZoneId): void {
  setCachedMigratePfns(cpu, mm, zone, cpu.load(mm.zoneStart, zone))
  cpu.store(mm.cachedFreePfn, zone, pageblockStart(cpu.load(mm.zoneEnd, zone) - 1))
}

/**
 * Moves the cached positions of the migrate scanner forward, never back (C-9): to the block after the one
 * that `pfn` is in. For a scan that reached the end of its block, that leaves a block out.
 *
 * @kernel mm/compaction.c update_cached_migrate() v6.18
 */
export function updateCachedMigrate(cpu: Cpu, cc: CompactControl, pfn: Pfn): void {
  const { mm, zone } = cc
  const next = pageblockEnd(pfn)
  if (next > cpu.load(mm.cachedMigratePfnAsync, zone)) cpu.store(mm.cachedMigratePfnAsync, zone, next)
  if (cc.mode === MIGRATE_ASYNC) return
  if (next > cpu.load(mm.cachedMigratePfnSync, zone)) cpu.store(mm.cachedMigratePfnSync, zone, next)
}

// Hints.

/**
 * Takes the skip hint of the pageblock whose first LRU page `pfn` is. False: somebody has it.
 *
 * @kernel mm/compaction.c test_and_set_skip() v6.18
 */
export function takeSkipHint(cpu: Cpu, cc: CompactControl, pfn: Pfn): boolean {
  if (cc.ignoreSkipHint) return true
  if (!cc.mm.rules.skipHintByAnyPage && pfn !== pageblockStart(pfn)) return true
  return !cpu.testSet(cc.mm.pageblock, pageblockOf(pfn), PB_migrate_skip)
}

/**
 * A target block that was scanned to its end has nothing left for the next pass.
 *
 * @kernel mm/compaction.c update_pageblock_skip() v6.18
 */
export function setFreeSkipHint(cpu: Cpu, cc: CompactControl, block: Pageblock): void {
  const { mm, zone } = cc
  cpu.testSet(mm.pageblock, block, PB_migrate_skip)
  const before = (block - 1) * pageblock_nr_pages
  if (before < cpu.load(mm.cachedFreePfn, zone)) cpu.store(mm.cachedFreePfn, zone, before)
}

/**
 * Forgets skip hints of a zone if a direct compaction has asked for it, from both ends towards the middle, and lets
 * the scanners begin at the first source and the last target found (C-8).
 *
 * Only blocks lose their hint in which a sample of every 8th page shows something to take. The target
 * position is the last page of its block, so the first scan of that block sees this page only: that is
 * what the kernel does.
 *
 * @kernel mm/compaction.c __reset_isolation_suitable() v6.18
 */
export function resetIsolationSuitable(cpu: Cpu, mm: Mm, zone: ZoneId): void {
  if (cpu.load(mm.compactBlockskipFlush, zone) === 0) return
  cpu.store(mm.compactBlockskipFlush, zone, 0)
  let migrate = cpu.load(mm.zoneStart, zone)
  let free = cpu.load(mm.zoneEnd, zone) - 1
  let firstSource = free
  let lastTarget = migrate
  let sourceFound = false
  let targetFound = false
  for (; migrate < free; migrate += pageblock_nr_pages, free -= pageblock_nr_pages) {
    if (resetSkipHint(cpu, mm, pfnOf(migrate), true, sourceFound) && migrate < firstSource) {
      sourceFound = true
      firstSource = migrate
      cpu.store(mm.compactInitMigratePfn, zone, migrate)
      setCachedMigratePfns(cpu, mm, zone, migrate)
    }
    if (resetSkipHint(cpu, mm, pfnOf(free), targetFound, true) && free > lastTarget) {
      targetFound = true
      lastTarget = free
      cpu.store(mm.cachedFreePfn, zone, free)
      cpu.store(mm.compactInitFreePfn, zone, free)
    }
  }
  if (firstSource >= lastTarget) {
    setCachedMigratePfns(cpu, mm, zone, migrate)
    cpu.store(mm.cachedFreePfn, zone, free)
  }
}

/** A sample of a pageblock looks at one page in this many. */
const SAMPLE_STRIDE = 1 << PAGE_ALLOC_COSTLY_ORDER

/**
 * Clears the skip hint of the pageblock of `pfn` if a sample of it shows an LRU page and it is checked as a
 * source, or a free block and it is checked as a target. True: it is one.
 *
 * @kernel mm/compaction.c __reset_isolation_pfn() v6.18
 */
function resetSkipHint(cpu: Cpu, mm: Mm, pfn: Pfn, source: boolean, target: boolean): boolean {
  const zone = mm.zoneOf(pfn)
  const block = pageblockOf(pfn)
  const bits = cpu.load(mm.pageblock, block)
  if ((bits & PB_ABSENT) !== 0 || isHugeForever(cpu, mm, pfn)) return false
  if (source && target && (bits & PB_migrate_skip) === 0) return true
  if (!source && (bits & PB_MIGRATETYPE) !== MIGRATE_MOVABLE) return false
  const first = Math.max(pageblockStart(pfn), cpu.load(mm.zoneStart, zone))
  const end = Math.min(pageblockEnd(pfn), cpu.load(mm.zoneEnd, zone))
  for (let at = first; at < end; at += SAMPLE_STRIDE) {
    const page = pfnOf(at)
    const isSource = source && (cpu.load(mm.flags, folioHead(cpu, mm, page)) & PG_lru) !== 0
    if (!isSource && !(target && isBuddy(cpu.load(mm.mapcount, page)))) continue
    cpu.testClear(mm.pageblock, block, PB_migrate_skip)
    return true
  }
  return false
}

/** True if a compound page at least as large as a pageblock covers the page: there is nothing to take until it is freed. */
export const isHugeForever = (cpu: Cpu, mm: Mm, pfn: Pfn): boolean =>
  compoundOrder(cpu.load(mm.flags, folioHead(cpu, mm, pfn))) >= pageblock_order
