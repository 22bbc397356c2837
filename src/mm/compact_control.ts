/**
 * The state of one compaction of a zone: what is wanted, where the two scanners are, and what they hold.
 *
 * A `CompactControl` is the local state of one task; its lists are that task's.
 *
 * @kernel mm/internal.h struct compact_control, include/linux/compaction.h v6.18; spec C-17, C-20
 */

import type { Cpu } from '../base/cpu.ts'
import { type ListNode, type Pfn, pfnOf, type ZoneId } from '../base/units.ts'
import { type Gfp, gfpMigratetype } from './gfp.ts'
import {
  COMPACT_CLUSTER_MAX,
  MIGRATE_ASYNC,
  MIGRATE_CMA,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC_LIGHT,
  type MigrateMode,
  NR_PAGE_ORDERS,
  pageblockOf,
  pageblockStart,
  ZONE_MOVABLE,
} from './limits.ts'
import { type MigrateStats, newMigrateStats } from './migrate.ts'
import { ISOLATION_REASONS } from './movable_ops.ts'
import type { Mm } from './page.ts'

/** How hard a direct compaction tries: the lower the harder (C-17). */
export const COMPACT_PRIO_SYNC_FULL = 0
export const COMPACT_PRIO_SYNC_LIGHT = 1
export const COMPACT_PRIO_ASYNC = 2
export type CompactPriority = 0 | 1 | 2

/** Order of a request for the whole zone. */
export const WHOLE_ZONE = -1

/** What a compaction wants, and how far it may go. */
export interface CompactRequest {
  readonly zone: ZoneId
  /** Order of the block that is wanted; WHOLE_ZONE: none in particular. */
  readonly order: number
  readonly mode: MigrateMode
  /** On behalf of an allocation, by the task that allocates. */
  readonly direct?: boolean
  /** Takes the first block that is freed with the wanted order for itself (C-18). */
  readonly captures?: boolean
  /** In the background, because memory is fragmented: until the zone's score is low (C-19). */
  readonly proactive?: boolean
  /** Start at the ends of the zone, not where the last pass stopped. */
  readonly wholeZone?: boolean
  readonly ignoreSkipHint?: boolean
  readonly ignoreBlockSuitable?: boolean
  /** Of the request; decides the migratetype. Default: that of movable pages. */
  readonly gfp?: Gfp
  readonly allocFlags?: number
  readonly highestZoneidx?: number
}

/** The lists of a task that compacts: 0 the isolated pages, 1.. the free pages by order. */
const LIST_MIGRATEPAGES = 0
const LIST_FREEPAGES = 1

/** State of one compaction. Scanners begin where compactZone() puts them. */
export class CompactControl {
  readonly mm: Mm
  readonly zone: ZoneId
  readonly order: number
  readonly mode: MigrateMode
  readonly direct: boolean
  readonly captures: boolean
  readonly proactive: boolean
  readonly ignoreSkipHint: boolean
  readonly ignoreBlockSuitable: boolean
  readonly migratetype: number
  readonly allocFlags: number
  readonly highestZoneidx: number
  readonly migratepages: ListNode
  readonly freepages: readonly ListNode[]

  /** It began where the zone's first source is: when the scanners meet, everything has been scanned. */
  wholeZone: boolean
  migratePfn: Pfn
  freePfn: Pfn
  nrMigratepages = 0
  nrFreepages = 0
  /** Take the rest of the pageblock in one step. */
  finishPageblock = false
  /** Start of the last pageblock that something moved out of; 0: none since the per-cpu lists were drained. */
  lastMigratedPfn = 0
  /** Nothing was found yet, and the asynchronous position moves the other one too. */
  movesBothPositions = false
  /** Lowest free block that the fast search has found; 0: none yet, NO_FAST_START: it has been used. */
  fastStartPfn = 0
  /** Fast searches in a row that found nothing: the next ones are shorter. */
  fastSearchFail = 0
  /** Order at which the fast search for targets goes on. */
  searchOrder: number
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
    this.captures = request.captures ?? false
    this.proactive = request.proactive ?? false
    this.wholeZone = request.wholeZone ?? false
    this.ignoreSkipHint = request.ignoreSkipHint ?? false
    this.ignoreBlockSuitable = request.ignoreBlockSuitable ?? false
    this.migratetype = request.gfp === undefined ? MIGRATE_MOVABLE : gfpMigratetype(request.gfp)
    this.allocFlags = request.allocFlags ?? 0
    this.highestZoneidx = request.highestZoneidx ?? ZONE_MOVABLE
    this.searchOrder = this.order
    this.migratepages = mm.taskList(cpu.id, LIST_MIGRATEPAGES)
    this.freepages = Array.from({ length: NR_PAGE_ORDERS }, (_, order) =>
      mm.taskList(cpu.id, LIST_FREEPAGES + order),
    )
    this.migratePfn = pfnOf(cpu.load(mm.zoneStart, this.zone))
    this.freePfn = pageblockStart(cpu.load(mm.zoneEnd, this.zone) - 1)
  }
}

/** `fastStartPfn` once the scan has been sent back to it. */
export const NO_FAST_START = -1

/** True if the scanners are in the same pageblock, or have crossed (C-1). */
export const scannersMet = (cc: CompactControl): boolean =>
  pageblockOf(cc.freePfn) <= pageblockOf(cc.migratePfn)

/** Entries of free lists that a fast search looks at: half as many after each search that found nothing. */
export const freelistScanLimit = (cc: CompactControl): number =>
  (COMPACT_CLUSTER_MAX >> Math.min(15, cc.fastSearchFail)) + 1

/** Mode of a direct compaction of that priority. */
export const modeOfPriority = (priority: CompactPriority): MigrateMode =>
  priority === COMPACT_PRIO_ASYNC ? MIGRATE_ASYNC : MIGRATE_SYNC_LIGHT

/** True for types of pageblocks whose pages are meant to move. */
export const isMovableType = (mt: number): boolean => mt === MIGRATE_MOVABLE || mt === MIGRATE_CMA
