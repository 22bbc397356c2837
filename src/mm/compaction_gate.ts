/**
 * Whether to compact a zone at all, and when to stop: suitability for a request, deferral after failures, and the
 * score of fragmentation that background compaction goes by.
 *
 * A compaction that could not help costs time and moves pages for nothing. So a zone must have room for targets, its
 * trouble must be fragmentation and not want of memory, and after a failure the next 1, 2, 4 … 64 requests of that
 * order or above are let pass.
 *
 * Rules:
 *   - everything here is a guess from counters that nobody locks.
 *
 * @kernel mm/compaction.c v6.18; spec C-10, C-11, C-19
 */

import type { Cpu } from '../base/cpu.ts'
import type { Nid, ZoneId } from '../base/units.ts'
import {
  COMPACT_CONTINUE,
  COMPACT_NOT_SUITABLE_ZONE,
  COMPACT_SKIPPED,
  COMPACT_SUCCESS,
  type CompactResult,
} from './compact_result.ts'
import { ALLOC_CMA } from './gfp.ts'
import { PAGE_ALLOC_COSTLY_ORDER, pageblock_order } from './limits.ts'
import { type Mm, zonesOfNode } from './page.ts'
import type { Deferral } from './trace.ts'
import { extfragForOrder, fragmentationIndex, freePagesInBlocks } from './vmstat.ts'
import { lowWmarkPages, minWmarkPages, wmarkPages, zoneWatermarkOk } from './watermark.ts'

// Suitability.

/** Free pages that compaction for a block of that order needs besides, for targets. @kernel compact_gap() */
export const compactGap = (order: number): number => 2 << order

/** Who compacts: it decides what counts as free, and whether memory outside CMA must suffice. */
export interface SuitabilityOf {
  readonly order: number
  readonly highestZoneidx: number
  readonly allocFlags: number
  readonly async: boolean
  readonly kcompactd: boolean
}

/**
 * What is to be done for a request in a zone: nothing (COMPACT_SUCCESS, it would be served), nothing (COMPACT_SKIPPED,
 * it would not help), or compaction (COMPACT_CONTINUE).
 *
 * @kernel mm/compaction.c compaction_suit_allocation_order() v6.18
 */
export function compactionSuitAllocationOrder(mm: Mm, zone: ZoneId, of: SuitabilityOf): CompactResult {
  const { order, highestZoneidx, allocFlags } = of
  const free = mm.nrFree[zone]
  const mark = wmarkPages(mm, zone, allocFlags)
  // With defrag_mode the background keeps whole pageblocks free, not pages.
  const counted =
    of.kcompactd && mm.sysctl.defrag_mode !== 0 ? freePagesInBlocks(mm, zone, pageblock_order) : free
  if (zoneWatermarkOk(mm, zone, order, mark, highestZoneidx, allocFlags, counted)) return COMPACT_SUCCESS
  if (order > PAGE_ALLOC_COSTLY_ORDER && of.async && (allocFlags & ALLOC_CMA) === 0) {
    // Its pages may not go to CMA: what is free there must not make it try.
    const least = lowWmarkPages(mm, zone) + compactGap(order)
    if (!zoneWatermarkOk(mm, zone, 0, least, highestZoneidx, 0, free)) return COMPACT_SKIPPED
  }
  return compactionSuitable(mm, zone, order, mark, highestZoneidx) ? COMPACT_CONTINUE : COMPACT_SKIPPED
}

/**
 * True if there is room for targets and, for a costly order, memory is fragmented and not short (C-11).
 *
 * @kernel mm/compaction.c compaction_suitable() v6.18
 */
export function compactionSuitable(
  mm: Mm,
  zone: ZoneId,
  order: number,
  mark: number,
  highestZoneidx: number,
): boolean {
  let result: CompactResult = COMPACT_CONTINUE
  if (!hasRoomForTargets(mm, zone, order, mark, highestZoneidx, mm.nrFree[zone])) {
    result = COMPACT_SKIPPED
  } else if (order > PAGE_ALLOC_COSTLY_ORDER) {
    const index = fragmentationIndex(mm, zone, order)
    if (index >= 0 && index <= mm.sysctl.extfrag_threshold) result = COMPACT_NOT_SUITABLE_ZONE
  }
  mm.trace?.mmCompactionSuitable(zone, order, result)
  return result === COMPACT_CONTINUE
}

/** @kernel mm/compaction.c __compaction_suitable() v6.18 */
export function hasRoomForTargets(
  mm: Mm,
  zone: ZoneId,
  order: number,
  mark: number,
  highestZoneidx: number,
  freePages: number,
): boolean {
  const costly = order > PAGE_ALLOC_COSTLY_ORDER ? lowWmarkPages(mm, zone) - minWmarkPages(mm, zone) : 0
  const least = mark + compactGap(order) + costly
  return zoneWatermarkOk(mm, zone, 0, least, highestZoneidx, ALLOC_CMA, freePages)
}

// Deferral.

/** Log2 of the most requests that are let pass after a failure. */
export const COMPACT_MAX_DEFER_SHIFT = 6

/** A compaction that should have worked did not: lets twice as many requests pass as last time. @kernel defer_compaction() */
export function deferCompaction(cpu: Cpu, mm: Mm, zone: ZoneId, order: number): void {
  cpu.store(mm.compactConsidered, zone, 0)
  const shift = cpu.load(mm.compactDeferShift, zone) + 1
  cpu.store(mm.compactDeferShift, zone, Math.min(shift, COMPACT_MAX_DEFER_SHIFT))
  if (order < cpu.load(mm.compactOrderFailed, zone)) cpu.store(mm.compactOrderFailed, zone, order)
  mm.trace?.mmCompactionDeferCompaction(deferralOf(mm, zone, order))
}

/** True if this request is let pass. Counts it. @kernel compaction_deferred() */
export function compactionDeferred(cpu: Cpu, mm: Mm, zone: ZoneId, order: number): boolean {
  const limit = 1 << cpu.load(mm.compactDeferShift, zone)
  if (order < cpu.load(mm.compactOrderFailed, zone)) return false
  const considered = cpu.load(mm.compactConsidered, zone) + 1
  cpu.store(mm.compactConsidered, zone, Math.min(considered, limit))
  if (considered >= limit) return false
  mm.trace?.mmCompactionDeferred(deferralOf(mm, zone, order))
  return true
}

/**
 * A compaction has worked: larger orders are tried again, and if the allocation has succeeded, all are.
 *
 * @kernel mm/compaction.c compaction_defer_reset() v6.18
 */
export function compactionDeferReset(
  cpu: Cpu,
  mm: Mm,
  zone: ZoneId,
  order: number,
  allocSuccess: boolean,
): void {
  if (allocSuccess) {
    cpu.store(mm.compactConsidered, zone, 0)
    cpu.store(mm.compactDeferShift, zone, 0)
  }
  if (order >= cpu.load(mm.compactOrderFailed, zone)) cpu.store(mm.compactOrderFailed, zone, order + 1)
  mm.trace?.mmCompactionDeferReset(deferralOf(mm, zone, order))
}

/** True for the first compaction after the longest deferral: what earlier ones have learnt is old. @kernel compaction_restarting() */
export function compactionRestarting(cpu: Cpu, mm: Mm, zone: ZoneId, order: number): boolean {
  if (order < cpu.load(mm.compactOrderFailed, zone)) return false
  const shift = cpu.load(mm.compactDeferShift, zone)
  return shift === COMPACT_MAX_DEFER_SHIFT && cpu.load(mm.compactConsidered, zone) >= 1 << shift
}

const deferralOf = (mm: Mm, zone: ZoneId, order: number): Deferral => ({
  zone,
  order,
  orderFailed: mm.compactOrderFailed[zone],
  considered: mm.compactConsidered[zone],
  deferShift: mm.compactDeferShift[zone],
})

// The score.

/** How fragmented a zone is, 0 to 100: the share of its free memory that is in no huge page. @kernel fragmentation_score_zone() */
export const fragmentationScoreZone = (mm: Mm, zone: ZoneId): number =>
  extfragForOrder(mm, zone, pageblock_order)

/** The score of a node: those of its zones, weighted by their size. @kernel fragmentation_score_node() */
export function fragmentationScoreNode(mm: Mm, nid: Nid): number {
  const zones = zonesOfNode(mm, nid)
  const present = zones.reduce((sum, zone) => sum + mm.zonePresent[zone], 0)
  return zones.reduce(
    (sum, zone) =>
      sum + Math.floor((mm.zonePresent[zone] * fragmentationScoreZone(mm, zone)) / (present + 1)),
    0,
  )
}

/** Score at which proactive compaction stops. @kernel fragmentation_score_wmark(true) */
export const fragmentationScoreLow = (mm: Mm): number => Math.max(100 - mm.sysctl.compaction_proactiveness, 5)
/** Score above which it begins. @kernel fragmentation_score_wmark(false) */
export const fragmentationScoreHigh = (mm: Mm): number => Math.min(fragmentationScoreLow(mm) + 10, 100)
