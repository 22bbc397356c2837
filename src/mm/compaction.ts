/**
 * Compaction: two scanners walk a zone towards each other. The migrate scanner isolates movable pages
 * from its start up, the free scanner isolates free pages from its end down, and the former move into
 * the latter, until the scanners meet.
 *
 * A pass over a zone (docs/protocol/compaction.md tells it with the same numbers):
 *   new CompactControl(…)                (1) begins at the ends of the zone, or where the last pass stopped
 *   scannersMet(cc)                      (2) then it is over: complete, or partial_skipped
 *   isolateMigratepages(cc)              (3) the next pageblock that may be a source
 *     isolateMigratepagesBlock(cc)       (4) 32 pages of it in its first step, the rest in its second
 *   migratePages(cc.migratepages, cc)    (5) asks compactionAlloc for targets
 *     isolateFreepages(cc)               (6)   only when there are none left
 *   putbackMovablePages(cc.migratepages) (7) what could not move; without a target: contended, and over (C-14)
 *   releaseFreepages(cc)                 (8) targets left over
 *
 * Rules:
 *   - no page owner is named: what a page is, its provider knows (movable_ops.ts);
 *   - a `CompactControl` is the local state of one task; its lists are that task's.
 *
 * Not here yet: the finish test and suitability for a request of an order (C-11, C-13), deferral,
 * kcompactd, proactive compaction, the fast search of both scanners, the rescan of a block in which an
 * asynchronous migration failed (C-15). `compactNode` is what compact_memory does.
 *
 * @kernel mm/compaction.c v6.18; spec C-1..C-9, C-14, C-16
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAdd, listAddTail, listDel, listEmpty, listFirst } from '../base/list.ts'
import {
  type ListNode,
  type Nid,
  type Pageblock,
  type Pfn,
  pfnOf,
  type ZoneColumn,
  type ZoneId,
  zoneIdOf,
} from '../base/units.ts'
import {
  COMPACT_CLUSTER_MAX,
  ENOMEM,
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  type IsolateMode,
  MAX_PAGE_ORDER,
  MIGRATE_ASYNC,
  MIGRATE_CMA,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  type MigrateMode,
  MR_COMPACTION,
  NR_PAGE_ORDERS,
  PAGE_ALLOC_COSTLY_ORDER,
  PG_head,
  PG_lru,
  pageblock_nr_pages,
  pageblock_order,
  pageblockEnd,
  pageblockOf,
  pageblockStart,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import {
  type MigrateStats,
  type MigrationTarget,
  migratePages,
  newMigrateStats,
  putbackMovablePages,
} from './migrate.ts'
import {
  ISOLATED,
  ISOLATION_REASONS,
  type Isolation,
  isolateMovablePage,
  putbackMovablePage,
  REFUSED_HUGE,
} from './movable_ops.ts'
import { compoundOrder, folioHead, type Mm, PB_ABSENT, PB_MIGRATETYPE, PB_migrate_skip } from './page.ts'
import { freeFrozenPages, isBuddy, isolateFreePageLocked, prepCompoundPage } from './page_alloc.ts'
import { COMPACTFREE_SCANNED, COMPACTISOLATED, COMPACTMIGRATE_SCANNED, countVmEvents } from './vmstat.ts'

/** How the compaction of a zone ends, in the kernel's order (C-20). */
export const COMPACT_CONTINUE = 4
export const COMPACT_COMPLETE = 5
export const COMPACT_PARTIAL_SKIPPED = 6
export const COMPACT_CONTENDED = 7
export type CompactResult = 4 | 5 | 6 | 7
export const COMPACT_RESULT_NAMES = [
  'not_suitable_zone',
  'skipped',
  'deferred',
  'no_suitable_page',
  'continue',
  'complete',
  'partial_skipped',
  'contended',
  'success',
] as const

/** What a compaction wants, and how far it may go. */
export interface CompactRequest {
  readonly zone: ZoneId
  /** Order of the block that is wanted; -1: compact the whole zone. */
  readonly order: number
  readonly mode: MigrateMode
  /** On behalf of an allocation, by the task that allocates. */
  readonly direct?: boolean
  /** Start at the ends of the zone, not where the last pass stopped. */
  readonly wholeZone?: boolean
  readonly ignoreSkipHint?: boolean
  readonly ignoreBlockSuitable?: boolean
  /** Migratetype of the request; decides the source blocks of asynchronous direct compaction (C-6). */
  readonly migratetype?: number
  readonly trace?: CompactTrace | undefined
}

/**
 * Who is told of every block scan, as by the kernel's tracepoints. The compaction does not depend on it.
 *
 * @kernel include/trace/events/compaction.h mm_compaction_isolate_template v6.18
 */
export interface CompactTrace {
  /** Of pages `from` to `to` (exclusive), `scanned` were looked at and `taken` isolated. */
  isolateMigratepages(from: Pfn, to: Pfn, scanned: number, taken: number): void
  isolateFreepages(from: Pfn, to: Pfn, scanned: number, taken: number): void
}

/** The lists of a task that compacts: 0 the isolated pages, 1.. the free pages by order. */
const LIST_MIGRATEPAGES = 0
const LIST_FREEPAGES = 1

/** State of one compaction: what `struct compact_control` is. */
export class CompactControl implements MigrationTarget {
  readonly mm: Mm
  readonly zone: ZoneId
  readonly order: number
  readonly mode: MigrateMode
  readonly direct: boolean
  /** The task frees memory to get memory: it must not wait for page locks (PF_MEMALLOC; M-6). */
  readonly memalloc: boolean
  readonly ignoreSkipHint: boolean
  readonly ignoreBlockSuitable: boolean
  readonly migratetype: number
  readonly migratepages: ListNode
  readonly freepages: readonly ListNode[]
  readonly trace: CompactTrace | undefined

  /** It began where the zone's first source is: when the scanners meet, everything has been scanned. */
  wholeZone: boolean
  migratePfn: Pfn
  freePfn: Pfn
  nrMigratepages = 0
  nrFreepages = 0
  /** Take the rest of the pageblock in one step. */
  finishPageblock = false
  migrateScanned = 0
  freeScanned = 0
  readonly stats: MigrateStats = newMigrateStats()
  /** Pages that isolation refused, by reason. */
  readonly refused = new Int32Array(ISOLATION_REASONS.length)

  constructor(cpu: Cpu, mm: Mm, request: CompactRequest) {
    this.mm = mm
    this.zone = request.zone
    this.order = request.order
    this.mode = request.mode
    this.direct = request.direct ?? false
    this.memalloc = this.direct
    this.wholeZone = request.wholeZone ?? false
    this.ignoreSkipHint = request.ignoreSkipHint ?? false
    this.ignoreBlockSuitable = request.ignoreBlockSuitable ?? false
    this.migratetype = request.migratetype ?? MIGRATE_MOVABLE
    this.trace = request.trace
    this.migratepages = mm.taskList(cpu.id, LIST_MIGRATEPAGES)
    this.freepages = Array.from({ length: NR_PAGE_ORDERS }, (_, order) =>
      mm.taskList(cpu.id, LIST_FREEPAGES + order),
    )
    this.migratePfn = pfnOf(cpu.load(mm.zoneStart, this.zone))
    this.freePfn = pageblockStart(cpu.load(mm.zoneEnd, this.zone) - 1)
    if (!this.wholeZone) this.startAtCachedPositions(cpu)
  }

  /** Goes on where the last pass stopped, unless that is outside the zone (C-9). */
  private startAtCachedPositions(cpu: Cpu): void {
    const { mm, zone } = this
    const start = cpu.load(mm.zoneStart, zone)
    const end = cpu.load(mm.zoneEnd, zone)
    const free = cpu.load(mm.cachedFreePfn, zone)
    const migrate = cpu.load(cachedMigratePfn(mm, this.mode), zone)
    if (free >= start && free < end) this.freePfn = pfnOf(free)
    else cpu.store(mm.cachedFreePfn, zone, this.freePfn)
    if (migrate >= start && migrate < end) this.migratePfn = pfnOf(migrate)
    else setCachedMigratePfns(cpu, mm, zone, this.migratePfn)
    if (this.migratePfn <= cpu.load(mm.compactInitMigratePfn, zone)) this.wholeZone = true
  }

  getNewFolio(cpu: Cpu, _mm: Mm, _src: Pfn, order: number): number {
    return compactionAlloc(cpu, this, order)
  }

  putNewFolio(cpu: Cpu, _mm: Mm, dst: Pfn): void {
    compactionFree(cpu, this, dst)
  }
}

/** Column of the cached position of the migrate scanner for a mode: the asynchronous one has its own. */
const cachedMigratePfn = (mm: Mm, mode: MigrateMode): ZoneColumn =>
  mode === MIGRATE_ASYNC ? mm.cachedMigratePfnAsync : mm.cachedMigratePfnSync

/** Lets the migrate scanner begin at `pfn`, in every mode. */
function setCachedMigratePfns(cpu: Cpu, mm: Mm, zone: ZoneId, pfn: number): void {
  cpu.store(mm.cachedMigratePfnAsync, zone, pfn)
  cpu.store(mm.cachedMigratePfnSync, zone, pfn)
}

/** True if the scanners are in the same pageblock, or have crossed (C-1). */
export const scannersMet = (cc: CompactControl): boolean =>
  pageblockOf(cc.freePfn) <= pageblockOf(cc.migratePfn)

/**
 * Compacts one zone until the scanners meet or the pass must be given up.
 *
 * @locks  takes and drops (Z), (U), (L) as its parts do
 * @sleeps as far as the mode allows
 * @kernel mm/compaction.c compact_zone() v6.18
 */
export function compactZone(cpu: Cpu, cc: CompactControl): CompactResult {
  const { mm, zone } = cc
  assert(cc.order === -1, 'compact_zone: only whole zones yet')
  const zoneStart = cpu.load(mm.zoneStart, zone)
  let lastMigratedPfn = pfnOf(0)
  let result: CompactResult = COMPACT_CONTINUE
  // Blocks without candidates are without them in every mode: until one has some, both positions move (C-9).
  let movesBoth =
    cc.mode === MIGRATE_ASYNC &&
    cpu.load(mm.cachedMigratePfnAsync, zone) === cpu.load(mm.cachedMigratePfnSync, zone)
  // Each round moves the migrate scanner up or is the only one that finishes its pageblock.
  for (;;) {
    if (scannersMet(cc)) {
      result = finishZone(cpu, cc)
      break
    }
    const began = cc.migratePfn
    // A pageblock that was left half-way is finished in one step the second time.
    cc.finishPageblock = pageblockOf(lastMigratedPfn) === pageblockOf(began)
    if (!isolateMigratepages(cpu, cc)) {
      if (movesBoth) cpu.store(mm.cachedMigratePfnSync, zone, cpu.load(mm.cachedMigratePfnAsync, zone))
      continue
    }
    movesBoth = false
    lastMigratedPfn = mm.rules.lastBlockIsWhereRoundEnded
      ? pfnOf(Math.max(zoneStart, pageblockStart(cc.migratePfn - 1)))
      : began
    const rc = migratePages(cpu, mm, cc.migratepages, cc, cc.mode, MR_COMPACTION, cc.stats)
    cc.nrMigratepages = 0
    if (rc === 0) continue
    putbackMovablePages(cpu, mm, cc.migratepages)
    if (rc === -ENOMEM && !scannersMet(cc)) {
      result = COMPACT_CONTENDED
      break
    }
  }
  releaseFreepages(cpu, cc)
  countVmEvents(mm, COMPACTMIGRATE_SCANNED, cc.migrateScanned)
  countVmEvents(mm, COMPACTFREE_SCANNED, cc.freeScanned)
  return result
}

/** The scanners met: the next pass starts anew (C-9). */
function finishZone(cpu: Cpu, cc: CompactControl): CompactResult {
  const { mm, zone } = cc
  setCachedMigratePfns(cpu, mm, zone, cpu.load(mm.zoneStart, zone))
  cpu.store(mm.cachedFreePfn, zone, pageblockStart(cpu.load(mm.zoneEnd, zone) - 1))
  // Blocks that were passed over may have become movable since: forget the hints when there is time (C-8).
  if (cc.direct) cpu.store(mm.compactBlockskipFlush, zone, 1)
  return cc.wholeZone ? COMPACT_COMPLETE : COMPACT_PARTIAL_SKIPPED
}

// The migrate scanner.

/**
 * Isolates pages of the next pageblock that has memory, up to the free scanner. True: there is something
 * to migrate.
 *
 * @kernel mm/compaction.c isolate_migratepages() v6.18
 */
export function isolateMigratepages(cpu: Cpu, cc: CompactControl): boolean {
  const { mm } = cc
  const mode: IsolateMode = ISOLATE_UNEVICTABLE | (cc.mode === MIGRATE_SYNC ? 0 : ISOLATE_ASYNC_MIGRATE)
  let low = cc.migratePfn
  let end = pageblockEnd(low)
  const zoneStart = cpu.load(mm.zoneStart, cc.zone)
  for (; end <= cc.freePfn; low = end, end = pfnOf(end + pageblock_nr_pages)) {
    cc.migratePfn = low
    const block = pageblockOf(low)
    const bits = cpu.load(mm.pageblock, block)
    if ((bits & PB_ABSENT) !== 0) continue
    // The hint is looked at where a block begins: half-way through it, it is this pass that set it.
    const atStart = low === pageblockStart(low) || low === zoneStart
    if (atStart && !cc.ignoreSkipHint && (bits & PB_migrate_skip) !== 0) continue
    if (!isSuitableSource(cpu, cc, pfnOf(Math.max(pageblockStart(low), zoneStart)), bits)) {
      updateCachedMigrate(cpu, cc, end)
      continue
    }
    isolateMigratepagesBlock(cpu, cc, low, end, mode)
    return cc.nrMigratepages > 0
  }
  cc.migratePfn = low
  return false
}

/**
 * Asynchronous direct compaction takes pages from blocks of the request's own kind, the others from any
 * (C-6). A block that starts with a compound page as large as itself has nothing to take.
 *
 * @kernel mm/compaction.c suitable_migration_source() v6.18
 */
function isSuitableSource(cpu: Cpu, cc: CompactControl, first: Pfn, bits: number): boolean {
  if (isHugeForever(cpu, cc.mm, first)) return false
  if (cc.mode !== MIGRATE_ASYNC || !cc.direct) return true
  const mt = bits & PB_MIGRATETYPE
  return cc.migratetype === MIGRATE_MOVABLE ? isMovableType(mt) : mt === cc.migratetype
}

/** True if a compound page at least as large as a pageblock covers the page: there is nothing to take until it is freed. */
const isHugeForever = (cpu: Cpu, mm: Mm, pfn: Pfn): boolean =>
  compoundOrder(cpu.load(mm.flags, folioHead(cpu, mm, pfn))) >= pageblock_order

const isMovableType = (mt: number): boolean => mt === MIGRATE_MOVABLE || mt === MIGRATE_CMA

/**
 * Isolates movable pages from `from` to `end` (exclusive, in one pageblock) onto cc.migratepages, the
 * last one first, and moves cc.migratePfn past what it looked at. Stops after COMPACT_CLUSTER_MAX pages
 * unless the pageblock is to be finished.
 *
 * In asynchronous direct compaction one page that cannot move spoils its whole aligned block of the
 * requested order: what was taken there is put back and the scan goes on behind it (C-5).
 *
 * Whoever isolates the first LRU page of a pageblock that he scans from its start takes its skip hint, so
 * that no other compaction scans it too; a block that had nothing to take gets it at the end (C-8).
 *
 * @kernel mm/compaction.c isolate_migratepages_block() v6.18
 */
export function isolateMigratepagesBlock(
  cpu: Cpu,
  cc: CompactControl,
  from: Pfn,
  end: Pfn,
  mode: IsolateMode,
): void {
  const { mm } = cc
  const countSkipped = mm.rules.scannedCountsSkipped
  const skipOnFailure = cc.direct && cc.mode === MIGRATE_ASYNC && cc.order > 0
  let nextSkip = skipOnFailure ? alignedEnd(from, cc.order) : 0
  const marksBlock = scansFromStart(cpu, cc, from)
  let marked = false
  let scanned = 0
  let isolated = 0
  let low: number = from
  for (; low < end; low++) {
    if (skipOnFailure && low >= nextSkip) {
      if (isolated > 0) break
      nextSkip = alignedEnd(low, cc.order)
    }
    scanned++
    const pfn = pfnOf(low)
    if (isBuddy(cpu.load(mm.mapcount, pfn))) {
      const rest = (1 << Math.min(cpu.load(mm.private, pfn), MAX_PAGE_ORDER)) - 1
      low += rest
      if (countSkipped) scanned += rest
      continue
    }
    const order = compoundOrder(cpu.load(mm.flags, pfn))
    const rest = (1 << order) - 1
    const answer = order > 0 && isTooLarge(cc, order) ? REFUSED_HUGE : isolateMovablePage(cpu, mm, pfn, mode)
    if (marksBlock && !marked && answer === ISOLATED && cpu.load(mm.mapcount, pfn) >= 0) {
      marked = true
      if (!takeSkipHint(cpu, cc, pfn) && !cc.finishPageblock) {
        putbackMovablePage(cpu, mm, pfn) // another compaction has this block
        low = end
        break
      }
    }
    if (answer === ISOLATED) {
      listAdd(mm.links, pfn, cc.migratepages)
      isolated += rest + 1
      cc.nrMigratepages += rest + 1
      scanned += rest
      low += rest
      if (cc.nrMigratepages >= COMPACT_CLUSTER_MAX && !cc.finishPageblock) {
        low++
        break
      }
      continue
    }
    cc.refused[answer] += refusedPages(answer, rest)
    if (answer === REFUSED_HUGE) {
      low += rest
      if (countSkipped) scanned += rest
    }
    if (!skipOnFailure) continue
    if (isolated > 0) {
      putbackMovablePages(cpu, mm, cc.migratepages)
      cc.nrMigratepages = 0
      isolated = 0
    }
    if (low < nextSkip) {
      low = nextSkip - 1
      nextSkip += 1 << cc.order
    }
  }
  const stop = pfnOf(Math.min(low, end))
  if (stop === end && (isolated === 0 || cc.finishPageblock)) {
    if (marksBlock && !marked) cpu.testSet(mm.pageblock, pageblockOf(from), PB_migrate_skip)
    updateCachedMigrate(cpu, cc, stop)
  }
  cc.trace?.isolateMigratepages(from, stop, scanned, isolated)
  cc.migrateScanned += scanned
  countVmEvents(mm, COMPACTISOLATED, isolated)
  cc.migratePfn = stop
}

const refusedPages = (answer: Isolation, rest: number): number => (answer === REFUSED_HUGE ? rest + 1 : 1)

/** First pfn after the aligned block of that order that holds `pfn`. */
const alignedEnd = (pfn: number, order: number): number => ((pfn >> order) + 1) << order

/** Folios that compaction passes over: what is as large as what it wants, or as a pageblock (C-3). */
function isTooLarge(cc: CompactControl, order: number): boolean {
  if (!cc.mm.rules.largeFoliosMigrate) return true
  return order >= pageblock_order || (cc.order !== -1 && order >= cc.order)
}

/** True if a scan from here may set the skip hint of its pageblock: it sees all of it. */
function scansFromStart(cpu: Cpu, cc: CompactControl, from: Pfn): boolean {
  if (from === pageblockStart(from)) return true
  return cc.mm.rules.lastBlockIsWhereRoundEnded && from === cpu.load(cc.mm.zoneStart, cc.zone)
}

/**
 * Takes the skip hint of the pageblock whose first LRU page `pfn` is. False: somebody has it.
 *
 * @kernel mm/compaction.c test_and_set_skip() v6.18
 */
function takeSkipHint(cpu: Cpu, cc: CompactControl, pfn: Pfn): boolean {
  if (cc.ignoreSkipHint) return true
  if (!cc.mm.rules.skipHintByAnyPage && pfn !== pageblockStart(pfn)) return true
  return !cpu.testSet(cc.mm.pageblock, pageblockOf(pfn), PB_migrate_skip)
}

/**
 * Moves the cached positions of the migrate scanner forward, never back (C-9): to the block after the one
 * that `pfn` is in. For a scan that reached the end of its block, that leaves a block out.
 *
 * @kernel mm/compaction.c update_cached_migrate() v6.18
 */
function updateCachedMigrate(cpu: Cpu, cc: CompactControl, pfn: Pfn): void {
  const { mm, zone } = cc
  const next = pageblockEnd(pfn)
  if (next > cpu.load(mm.cachedMigratePfnAsync, zone)) cpu.store(mm.cachedMigratePfnAsync, zone, next)
  if (cc.mode === MIGRATE_ASYNC) return
  if (next > cpu.load(mm.cachedMigratePfnSync, zone)) cpu.store(mm.cachedMigratePfnSync, zone, next)
}

// The free scanner.

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
 * A block that was scanned to its end has nothing left for the next pass (C-8, C-9).
 *
 * @kernel mm/compaction.c update_pageblock_skip() v6.18
 */
function setFreeSkipHint(cpu: Cpu, cc: CompactControl, block: Pageblock): void {
  const { mm, zone } = cc
  cpu.testSet(mm.pageblock, block, PB_migrate_skip)
  const before = (block - 1) * pageblock_nr_pages
  if (before < cpu.load(mm.cachedFreePfn, zone)) cpu.store(mm.cachedFreePfn, zone, before)
}

/**
 * A block may receive pages if it is movable, and is not a free block as large as what is wanted, which
 * is left whole (C-7).
 *
 * @kernel mm/compaction.c suitable_migration_target() v6.18
 */
function isSuitableTarget(cpu: Cpu, cc: CompactControl, start: Pfn, bits: number): boolean {
  const wanted = cc.mm.rules.targetsBelowRequest && cc.order > 0 ? cc.order : pageblock_order
  if (isBuddy(cpu.load(cc.mm.mapcount, start)) && cpu.load(cc.mm.private, start) >= wanted) return false
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
    const order = mm.private[pfn]
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
  cc.trace?.isolateFreepages(pfnOf(from), stop, scanned, isolated)
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
function releaseFreepages(cpu: Cpu, cc: CompactControl): void {
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

/**
 * Forgets skip hints of a zone if a direct compaction has asked for it, from both ends towards the middle,
 * and lets the scanners begin at the first source and the last target found (C-8).
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
export function compactNode(cpu: Cpu, mm: Mm, nid: Nid, trace?: CompactTrace): ZoneCompaction[] {
  const done: ZoneCompaction[] = []
  for (let i = 0; i < mm.zones; i++) {
    const zone = zoneIdOf(i)
    if (cpu.load(mm.zoneNode, zone) !== nid) continue
    const cc = new CompactControl(cpu, mm, {
      zone,
      order: -1,
      mode: MIGRATE_SYNC,
      wholeZone: true,
      ignoreSkipHint: true,
      trace,
    })
    done.push({ zone, result: compactZone(cpu, cc), cc })
  }
  return done
}
