/**
 * The migrate scanner: walks a zone upwards, pageblock by pageblock, and isolates what can move.
 *
 * Compaction for a block of a large order first looks at the free lists for a pageblock that is partly free already:
 * fewer pages need to move before it is free (the fast search).
 *
 * Rules:
 *   - no page owner is named: what a page is, its provider knows (movable_ops.ts).
 *
 * @kernel mm/compaction.c v6.18; spec C-2 to C-6
 */

import type { Cpu } from '../base/cpu.ts'
import { listAdd, listFirst, listNext, listRotateLast } from '../base/list.ts'
import { type Pfn, pfnOf } from '../base/units.ts'
import {
  type CompactControl,
  freelistScanLimit,
  isMovableType,
  NO_FAST_START,
  WHOLE_ZONE,
} from './compact_control.ts'
import { isHugeForever, takeSkipHint, updateCachedMigrate } from './compaction_hints.ts'
import { hasAnyFreeBlock } from './free_area.ts'
import {
  COMPACT_CLUSTER_MAX,
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  type IsolateMode,
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  PAGE_ALLOC_COSTLY_ORDER,
  pageblock_nr_pages,
  pageblock_order,
  pageblockEnd,
  pageblockOf,
  pageblockStart,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { putbackMovablePages } from './migrate.ts'
import {
  ISOLATED,
  type Isolation,
  isDriverPage,
  isolateMovablePage,
  putbackMovablePage,
  REFUSED_HUGE,
} from './movable_ops.ts'
import { buddyOrder, compoundOrder, isBuddy, PB_ABSENT, PB_MIGRATETYPE, PB_migrate_skip } from './page.ts'
import { COMPACTISOLATED, countVmEvents } from './vmstat.ts'

/**
 * Isolates pages of the next pageblock that is a source, up to the free scanner. True: there is something
 * to migrate. The next block may be one that a fast search has chosen.
 *
 * @kernel mm/compaction.c isolate_migratepages() v6.18
 */
export function isolateMigratepages(cpu: Cpu, cc: CompactControl): boolean {
  const { mm } = cc
  const unevictable = mm.sysctl.compact_unevictable_allowed === 0 ? 0 : ISOLATE_UNEVICTABLE
  const mode: IsolateMode = unevictable | (cc.mode === MIGRATE_SYNC ? 0 : ISOLATE_ASYNC_MIGRATE)
  let low = fastFindMigrateblock(cpu, cc)
  // A block that was just chosen has no hint that matters.
  let chosen = low !== cc.migratePfn && cc.fastSearchFail === 0
  let end = pageblockEnd(low)
  const zoneStart = cpu.load(mm.zoneStart, cc.zone)
  while (end <= cc.freePfn) {
    const block = pageblockOf(low)
    const bits = cpu.load(mm.pageblock, block)
    // The hint is looked at where a block begins: half-way through it, it is this pass that set it.
    const atStart = low === pageblockStart(low) || low === zoneStart
    const hinted = atStart && !chosen && !cc.ignoreSkipHint && (bits & PB_migrate_skip) !== 0
    if ((bits & PB_ABSENT) === 0 && !hinted) {
      if (isSuitableSource(cpu, cc, pfnOf(Math.max(pageblockStart(low), zoneStart)), bits)) {
        isolateMigratepagesBlock(cpu, cc, low, end, mode)
        return cc.nrMigratepages > 0
      }
      updateCachedMigrate(cpu, cc, end)
    }
    chosen = false
    cc.migratePfn = end
    low = end
    end = pfnOf(end + pageblock_nr_pages)
  }
  return cc.nrMigratepages > 0
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
  if (
    marksBlock &&
    !cc.ignoreSkipHint &&
    (cpu.load(mm.pageblock, pageblockOf(from)) & PB_migrate_skip) !== 0
  ) {
    scanned = 1 // the fast search has taken the hint, or another compaction: the block is left alone
    low = end
  }
  for (; low < end; low++) {
    if (skipOnFailure && low >= nextSkip) {
      if (isolated > 0) break
      nextSkip = alignedEnd(low, cc.order)
    }
    scanned++
    const pfn = pfnOf(low)
    const head = cpu.load(mm.mapcount, pfn)
    if (isBuddy(head)) {
      const rest = (1 << buddyOrder(head)) - 1
      low += rest
      if (countSkipped) scanned += rest
      continue
    }
    const order = compoundOrder(cpu.load(mm.flags, pfn))
    const rest = (1 << order) - 1
    const answer = order > 0 && isTooLarge(cc, order) ? REFUSED_HUGE : isolateMovablePage(cpu, mm, pfn, mode)
    if (marksBlock && !marked && answer === ISOLATED && !isDriverPage(cpu, mm, pfn)) {
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
  mm.trace?.mmCompactionIsolateMigratepages(from, stop, scanned, isolated)
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
  return order >= pageblock_order || (cc.order !== WHOLE_ZONE && order >= cc.order)
}

/** True if a scan from here may set the skip hint of its pageblock: it sees all of it. */
function scansFromStart(cpu: Cpu, cc: CompactControl, from: Pfn): boolean {
  if (from === pageblockStart(from)) return true
  return cc.mm.rules.lastBlockIsWhereRoundEnded && from === cpu.load(cc.mm.zoneStart, cc.zone)
}

// The fast search.

/**
 * A pageblock for the scanner to go on with: one below the middle of what is left that is partly free and was not
 * scanned lately, from the movable free lists, largest blocks first. Where the scanner is if there is none, if it is in
 * the middle of a pageblock, or if the request is small or not for movable pages.
 *
 * @locks  takes and drops (Z)
 * @kernel mm/compaction.c fast_find_migrateblock() v6.18
 */
function fastFindMigrateblock(cpu: Cpu, cc: CompactControl): Pfn {
  const { mm, zone } = cc
  const zoneStart = cpu.load(mm.zoneStart, zone)
  const from = cc.migratePfn
  if (cc.ignoreSkipHint || cc.finishPageblock) return from
  if (from !== zoneStart && from !== pageblockStart(from)) return from
  if (cc.order <= PAGE_ALLOC_COSTLY_ORDER || (cc.direct && cc.migratetype !== MIGRATE_MOVABLE)) return from
  // In the first half at the start, in the first eighth later: a source should not lie where targets were.
  const distance = (cc.freePfn - from) >> (from === zoneStart ? 1 : 3)
  const high = pageblockStart(from + distance)
  const search = { cc, looked: 0, limit: freelistScanLimit(cc) }
  let found = -1
  for (let order = cc.order - 1; order >= PAGE_ALLOC_COSTLY_ORDER && found < 0; order--) {
    if (search.looked >= search.limit) break
    if (!hasAnyFreeBlock(mm, zone, order)) continue
    found = cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, findFreeBelowLocked, search, order, high, 0)
  }
  cc.migrateScanned += search.looked
  if (found < 0) {
    cc.fastSearchFail++
    return reinitMigratePfn(cc)
  }
  cc.fastSearchFail = 0
  if (cc.fastStartPfn !== NO_FAST_START) {
    cc.fastStartPfn = cc.fastStartPfn === 0 ? found : Math.min(cc.fastStartPfn, found)
  }
  if (mm.rules.fastSearchTakesHint) cpu.testSet(mm.pageblock, pageblockOf(pfnOf(found)), PB_migrate_skip)
  return pfnOf(Math.max(pageblockStart(found), zoneStart))
}

/** One fast search for a source: how many entries of free lists it has looked at, and may. */
interface SourceSearch {
  readonly cc: CompactControl
  readonly limit: number
  looked: number
}

/**
 * First free block below `high` on the movable list of that order whose pageblock has no skip hint. The list goes on
 * behind it, or behind what was looked at, so that the next search begins there.
 *
 * @locks  needs (Z)
 * @errors -1: none among those that may be looked at
 */
function findFreeBelowLocked(search: SourceSearch, order: number, high: number): number {
  const { cc } = search
  const { mm } = cc
  const head = mm.freeList(cc.zone, order, MIGRATE_MOVABLE)
  for (let block = listFirst(mm.links, head); block !== head; block = listNext(mm.links, block)) {
    if (search.looked++ >= search.limit) {
      listRotateLast(mm.links, block, head)
      break
    }
    if (block >= high || (mm.pageblock[pageblockOf(pfnOf(block))] & PB_migrate_skip) !== 0) continue
    listRotateLast(mm.links, block, head)
    return block
  }
  return -1
}

/** Sends the scan back to the lowest free block that fast searches found, once. @kernel reinit_migrate_pfn() */
function reinitMigratePfn(cc: CompactControl): Pfn {
  if (cc.fastStartPfn > 0) {
    cc.migratePfn = pfnOf(cc.fastStartPfn)
    cc.fastStartPfn = NO_FAST_START
  }
  return cc.migratePfn
}
