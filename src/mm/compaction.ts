/**
 * Compaction: two scanners walk a zone towards each other. The migrate scanner isolates movable pages
 * from its start up, the free scanner isolates free pages from its end down, and the former move into
 * the latter, until a block as wanted is free, or the scanners meet.
 *
 * A pass over a zone (docs/protocol/compaction.md tells it with the same numbers):
 *   compactZone(cpu, cc)
 *     compactionSuitAllocationOrder(…)     (1) would it help? for a request of an order only
 *     startAtCachedPositions(cc)           (2) at the ends of the zone, or where the last pass stopped
 *     compactFinished(cc)                  (3) is what was wanted there? have the scanners met?
 *     isolateMigratepages(cc)              (4) 32 pages of the next source block, or the rest of it
 *     migratePages(cc.migratepages, …)     (5) asks compactionAlloc for targets
 *       isolateFreepages(cc)               (6)   only when there are none left
 *     putbackMovablePages(cc.migratepages) (7) what could not move; without a target: contended, and over (C-14)
 *     drainBehind(cc)                      (8) what was vacated merges, and may be captured
 *     releaseFreepages(cc)                 (9) targets left over
 *
 * Who compacts: an allocation (tryToCompactPages), kcompactd (kcompactd.ts), and whoever writes to compact_memory
 * (compactNode).
 *
 * Rules:
 *   - a `CompactControl` is for one pass over one zone.
 *
 * Not here: the scanners (migrate_scanner.ts, free_scanner.ts), what they leave for the next pass
 * (compaction_hints.ts), suitability, deferral and the score (compaction_gate.ts).
 *
 * @kernel mm/compaction.c v6.18; spec C-1, C-9, C-13 to C-18, C-20
 */

import type { Cpu } from '../base/cpu.ts'
import { type Nid, nidOf, type Pfn, pfnOf, type ZoneId } from '../base/units.ts'
import {
  COMPACT_PRIO_ASYNC,
  COMPACT_PRIO_SYNC_FULL,
  CompactControl,
  type CompactPriority,
  modeOfPriority,
  scannersMet,
  WHOLE_ZONE,
} from './compact_control.ts'
import {
  COMPACT_COMPLETE,
  COMPACT_CONTENDED,
  COMPACT_CONTINUE,
  COMPACT_DEFERRED,
  COMPACT_NO_SUITABLE_PAGE,
  COMPACT_PARTIAL_SKIPPED,
  COMPACT_SKIPPED,
  COMPACT_SUCCESS,
  type CompactResult,
} from './compact_result.ts'
import {
  compactionDeferReset,
  compactionDeferred,
  compactionRestarting,
  compactionSuitAllocationOrder,
  deferCompaction,
  fragmentationScoreLow,
  fragmentationScoreZone,
} from './compaction_gate.ts'
import { resetCachedPositions, resetIsolationSuitable, startAtCachedPositions } from './compaction_hints.ts'
import { findSuitableFallback } from './fallback.ts'
import { hasFreeBlock } from './free_area.ts'
import { CompactionTarget, releaseFreepages } from './free_scanner.ts'
import { gfpCompactionAllowed } from './gfp.ts'
import {
  EINVAL,
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_CMA,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  MR_COMPACTION,
  NR_PAGE_ORDERS,
  pageblock_nr_pages,
  pageblock_order,
  pageblockOf,
  pageblockStart,
} from './limits.ts'
import { migratePages, putbackMovablePages } from './migrate.ts'
import { isolateMigratepages } from './migrate_scanner.ts'
import { type Mm, zonesOfNode } from './page.ts'
import type { AllocContext } from './page_alloc.ts'
import { drainPagesZone } from './pcp.ts'
import type { ScannerPositions } from './trace.ts'
import { COMPACTFREE_SCANNED, COMPACTMIGRATE_SCANNED, countVmEvents, freePagesInBlocks } from './vmstat.ts'
import { highWmarkPages, zoneWatermarkOk } from './watermark.ts'

/**
 * Compacts one zone until what is wanted is there, the scanners meet, or the pass must be given up.
 *
 * @locks  takes and drops (Z), (U), (L) as its parts do
 * @sleeps as far as the mode allows
 * @kernel mm/compaction.c compact_zone() v6.18
 */
export function compactZone(cpu: Cpu, cc: CompactControl): CompactResult {
  const { mm, zone } = cc
  if (cc.order !== WHOLE_ZONE) {
    const suitable = compactionSuitAllocationOrder(mm, zone, {
      order: cc.order,
      highestZoneidx: cc.highestZoneidx,
      allocFlags: cc.allocFlags,
      async: cc.mode === MIGRATE_ASYNC,
      kcompactd: !cc.direct,
    })
    if (suitable !== COMPACT_CONTINUE) return suitable
  }
  if (compactionRestarting(cpu, mm, zone, cc.order)) resetIsolationSuitable(cpu, mm, zone)
  if (!cc.wholeZone) startAtCachedPositions(cpu, cc)
  // Blocks without candidates are without them in every mode: until one has some, both positions move (C-9).
  cc.movesBothPositions =
    cc.mode === MIGRATE_ASYNC &&
    cpu.load(mm.cachedMigratePfnAsync, zone) === cpu.load(mm.cachedMigratePfnSync, zone)
  const target = new CompactionTarget(cc)
  mm.trace?.mmCompactionBegin(positionsOf(cc))
  let result = compactFinished(cpu, cc)
  // Each round moves the migrate scanner up or is the only one that finishes its pageblock.
  while (result === COMPACT_CONTINUE) {
    const began = cc.migratePfn
    // A pageblock that was left half-way is finished in one step the second time.
    cc.finishPageblock = pageblockOf(pfnOf(cc.lastMigratedPfn)) === pageblockOf(began)
    const round = isolateAndMigrate(cpu, cc, target, began)
    if (round === NO_TARGETS) {
      result = COMPACT_CONTENDED
      break
    }
    const drainsFirst = mm.rules.drainsBeforeCaptureCheck
    let captured = !drainsFirst && round === MIGRATED && hasCaptured(cpu, cc)
    if (!captured) drainBehind(cpu, cc)
    if (drainsFirst) captured = hasCaptured(cpu, cc)
    result = captured ? COMPACT_SUCCESS : compactFinished(cpu, cc)
  }
  releaseFreepages(cpu, cc)
  countVmEvents(mm, COMPACTMIGRATE_SCANNED, cc.migrateScanned)
  countVmEvents(mm, COMPACTFREE_SCANNED, cc.freeScanned)
  mm.trace?.mmCompactionEnd(positionsOf(cc), result)
  return result
}

// How a round ended.
const MIGRATED = 0
const NOTHING_ISOLATED = 1
/** The free scanner found nothing for them, and the scanners have not met. */
const NO_TARGETS = 2
type Round = typeof MIGRATED | typeof NOTHING_ISOLATED | typeof NO_TARGETS

/**
 * (4) to (7), for one block of pages. If some fail to move, the rest of their pageblock follows at once, so that it
 * gets its skip hint and no fast search comes back to it (C-15).
 */
function isolateAndMigrate(cpu: Cpu, cc: CompactControl, target: CompactionTarget, began: Pfn): Round {
  const { mm, zone } = cc
  for (;;) {
    // Twice at most: the second time finishes the pageblock.
    if (!isolateMigratepages(cpu, cc)) {
      if (cc.movesBothPositions) {
        cpu.store(mm.cachedMigratePfnSync, zone, cpu.load(mm.cachedMigratePfnAsync, zone))
      }
      return NOTHING_ISOLATED
    }
    cc.movesBothPositions = false
    cc.lastMigratedPfn = mm.rules.lastBlockIsWhereRoundEnded
      ? Math.max(cpu.load(mm.zoneStart, zone), pageblockStart(cc.migratePfn - 1))
      : began
    const isolated = cc.nrMigratepages
    const before = cc.stats.pagesSucceeded
    const rc = migratePages(cpu, mm, cc.migratepages, target, cc.mode, MR_COMPACTION, cc.stats)
    const succeeded = cc.stats.pagesSucceeded - before
    mm.trace?.mmCompactionMigratepages(succeeded, isolated - succeeded)
    cc.nrMigratepages = 0
    if (rc === 0) return MIGRATED
    putbackMovablePages(cpu, mm, cc.migratepages)
    if (rc === -ENOMEM && !scannersMet(cc)) return NO_TARGETS
    if (mm.rules.failureLeavesAlignedBlock) {
      if (cc.direct && cc.mode === MIGRATE_ASYNC && cc.order > 0) leaveAlignedBlock(cc)
      return MIGRATED
    }
    const again = cc.migratePfn % pageblock_nr_pages !== 0 && !cc.ignoreSkipHint && !cc.finishPageblock
    if (!again || cc.mode === MIGRATE_SYNC) return MIGRATED
    cc.finishPageblock = true
    if (cc.order === pageblock_order) cc.lastMigratedPfn = 0 // it will not be free: draining would not help
  }
}

/** Goes on behind the aligned block of the wanted order in which something has failed: it will not be free. */
function leaveAlignedBlock(cc: CompactControl): void {
  cc.migratePfn = pfnOf((((cc.migratePfn - 1) >> cc.order) + 1) << cc.order)
  cc.lastMigratedPfn = 0
}

/**
 * (8): the scanner has left the aligned block of the wanted order out of which something moved. What this cpu freed
 * there goes to the free lists, merges, and can be seen or captured.
 */
function drainBehind(cpu: Cpu, cc: CompactControl): void {
  if (cc.order <= 0 || cc.lastMigratedPfn === 0) return
  if (cc.lastMigratedPfn >= (cc.migratePfn >> cc.order) << cc.order) return
  drainPagesZone(cpu, cc.mm, cc.zone, cpu.id)
  cc.lastMigratedPfn = 0
}

const positionsOf = (cc: CompactControl): ScannerPositions => ({
  zoneStart: cc.mm.zoneStart[cc.zone],
  migratePfn: cc.migratePfn,
  freePfn: cc.freePfn,
  zoneEnd: cc.mm.zoneEnd[cc.zone],
  sync: cc.mode !== MIGRATE_ASYNC,
})

// (3): when it is over.

/** @kernel mm/compaction.c compact_finished() v6.18 */
function compactFinished(cpu: Cpu, cc: CompactControl): CompactResult {
  const result = scannersMet(cc) ? finishZone(cpu, cc) : isWantedThere(cpu, cc)
  cc.mm.trace?.mmCompactionFinished(cc.zone, cc.order, result)
  return result === COMPACT_NO_SUITABLE_PAGE ? COMPACT_CONTINUE : result
}

/** The scanners met: the next pass starts anew (C-9). */
function finishZone(cpu: Cpu, cc: CompactControl): CompactResult {
  resetCachedPositions(cpu, cc.mm, cc.zone)
  // Blocks that were passed over may have become movable since: forget the hints when there is time (C-8).
  if (cc.direct) cpu.store(cc.mm.compactBlockskipFlush, cc.zone, 1)
  return cc.wholeZone ? COMPACT_COMPLETE : COMPACT_PARTIAL_SKIPPED
}

/**
 * Whether what the compaction is for has been reached (C-13). For an order that is looked at between pageblocks only:
 * the whole block is worth more than its first part.
 *
 * @kernel mm/compaction.c __compact_finished() v6.18
 */
function isWantedThere(cpu: Cpu, cc: CompactControl): CompactResult {
  const { mm, zone } = cc
  if (cc.proactive) {
    if (cpu.load(mm.kswapdRunning, nidOf(mm.zoneNode[zone])) !== 0) return COMPACT_PARTIAL_SKIPPED
    return fragmentationScoreZone(mm, zone) > fragmentationScoreLow(mm) ? COMPACT_CONTINUE : COMPACT_SUCCESS
  }
  if (cc.order === WHOLE_ZONE || cc.migratePfn % pageblock_nr_pages !== 0) return COMPACT_CONTINUE
  if (mm.sysctl.defrag_mode !== 0 && !cc.direct) {
    const inBlocks = freePagesInBlocks(mm, zone, pageblock_order)
    const mark = highWmarkPages(mm, zone)
    const enough = zoneWatermarkOk(mm, zone, cc.order, mark, cc.highestZoneidx, cc.allocFlags, inBlocks)
    return enough ? COMPACT_SUCCESS : COMPACT_CONTINUE
  }
  for (let order = cc.order; order < NR_PAGE_ORDERS; order++) {
    if (hasFreeBlock(mm, zone, order, cc.migratetype)) return COMPACT_SUCCESS
    if (cc.migratetype === MIGRATE_MOVABLE && hasFreeBlock(mm, zone, order, MIGRATE_CMA))
      return COMPACT_SUCCESS
    if (findSuitableFallback(mm, zone, order, cc.migratetype, true) >= 0) return COMPACT_SUCCESS
  }
  return COMPACT_NO_SUITABLE_PAGE
}

// Direct compaction.

/** Where a captured block is left: its first pfn, or -1. */
export interface Captured {
  pfn: number
}

/**
 * Compacts the zones of a request, nearest first, until one has a block for it. Gives the greatest result of all.
 *
 * @errors COMPACT_SKIPPED: the request may not start I/O, which migration may need (C-18)
 * @kernel mm/compaction.c try_to_compact_pages() v6.18
 */
export function tryToCompactPages(
  cpu: Cpu,
  mm: Mm,
  ac: AllocContext,
  allocFlags: number,
  priority: CompactPriority,
  captured: Captured,
): CompactResult {
  const { gfp, order } = ac
  let most: CompactResult = COMPACT_SKIPPED
  if (!gfpCompactionAllowed(gfp)) return most
  mm.trace?.mmCompactionTryToCompactPages(order, gfp, priority)
  for (const zone of ac.zonelist) {
    if (priority > COMPACT_PRIO_SYNC_FULL && compactionDeferred(cpu, mm, zone, order)) {
      most = greater(COMPACT_DEFERRED, most)
      continue
    }
    const result = compactZoneOrder(cpu, mm, zone, ac, allocFlags, priority, captured)
    most = greater(result, most)
    if (result === COMPACT_SUCCESS) {
      compactionDeferReset(cpu, mm, zone, order, false)
      break
    }
    const passed = result === COMPACT_COMPLETE || result === COMPACT_PARTIAL_SKIPPED
    if (passed && priority !== COMPACT_PRIO_ASYNC) deferCompaction(cpu, mm, zone, order)
  }
  return most
}

const greater = (a: CompactResult, b: CompactResult): CompactResult => (a > b ? a : b)

/** Compacts one zone for a request, and keeps the first block of its order that is freed meanwhile. @kernel compact_zone_order() */
function compactZoneOrder(
  cpu: Cpu,
  mm: Mm,
  zone: ZoneId,
  { gfp, order, highestZoneidx, migratetype }: AllocContext,
  allocFlags: number,
  priority: CompactPriority,
  captured: Captured,
): CompactResult {
  const hardest = priority === COMPACT_PRIO_SYNC_FULL
  const cc = new CompactControl(cpu, mm, {
    zone,
    order,
    gfp,
    allocFlags,
    highestZoneidx,
    mode: modeOfPriority(priority),
    direct: true,
    captures: true,
    wholeZone: hardest,
    ignoreSkipHint: hardest,
    ignoreBlockSuitable: hardest,
  })
  const pcp = mm.pcpOf(zone, cpu.id)
  cpu.store(mm.pcpCaptureType, pcp, migratetype)
  cpu.store(mm.pcpCapturePage, pcp, 0)
  cpu.store(mm.pcpCaptureOrder, pcp, order)
  const result = compactZone(cpu, cc)
  cpu.store(mm.pcpCaptureOrder, pcp, 0)
  const pfn = cpu.load(mm.pcpCapturePage, pcp)
  cpu.store(mm.pcpCapturePage, pcp, 0)
  if (pfn === 0) return result
  captured.pfn = pfn
  return COMPACT_SUCCESS
}

/** True if this pass has captured the block that it is for. */
const hasCaptured = (cpu: Cpu, { mm, zone, captures }: CompactControl): boolean =>
  captures && cpu.load(mm.pcpCapturePage, mm.pcpOf(zone, cpu.id)) !== 0

// Compaction without a request.

/** What the compaction of one zone did. */
export interface ZoneCompaction {
  readonly zone: ZoneId
  readonly result: CompactResult
  readonly cc: CompactControl
}

/**
 * Compacts every zone of a node, wholly and synchronously, whatever the hints say: what writing to
 * compact_memory does (C-17).
 *
 * @kernel mm/compaction.c compact_node() v6.18
 */
export function compactNode(cpu: Cpu, mm: Mm, nid: Nid): ZoneCompaction[] {
  return zonesOfNode(mm, nid).map((zone) => {
    const cc = new CompactControl(cpu, mm, {
      zone,
      order: WHOLE_ZONE,
      mode: MIGRATE_SYNC,
      wholeZone: true,
      ignoreSkipHint: true,
    })
    return { zone, result: compactZone(cpu, cc), cc }
  })
}

/**
 * Writing a value to /proc/sys/vm/compact_memory: every node is compacted, one after the other.
 *
 * @errors -EINVAL: the value is not 1. Nothing happens.
 * @kernel mm/compaction.c sysctl_compaction_handler() v6.18
 */
export function sysctlCompactMemory(cpu: Cpu, mm: Mm, value: number): number {
  if (value !== 1) return -EINVAL
  for (let nid = 0; nid < mm.nodes; nid++) compactNode(cpu, mm, nidOf(nid))
  return 0
}
