/**
 * Tracepoints of the engine: one method a tracepoint, under the kernel's names, with the kernel's fields.
 *
 * Who wants to know what the engine does sets `mm.trace`. Where nobody does, a tracepoint costs one look at a field;
 * none lies in a scanner's loop over pages. Nothing depends on a trace: with it and without it, the machine ends the same.
 *
 * A typical sequence is:
 *   mm.trace = new FtraceText(mm, emit)   // trace_text.ts: lines as the kernel prints them
 *   compactNode(cpu, mm, nid)
 *   mm.trace = undefined
 *
 * Rules:
 *   - a tracepoint is told after what it tells has happened, at the place where the kernel has it;
 *   - a method may not touch the machine.
 *
 * @kernel include/trace/events/compaction.h, migrate.h, kmem.h, vmscan.h v6.18; spec I-4
 */

import type { CpuId, Nid, Pfn, Vpn, ZoneId } from '../base/units.ts'
import type { Gfp } from './gfp.ts'
import type { MigrateMode, MigrateReason } from './limits.ts'

/** What migrate_pages did, as its tracepoint tells it: in base pages, and folios where the name says so. */
export interface MigratePagesCounts {
  readonly pagesSucceeded: number
  readonly pagesFailed: number
  readonly thpSucceeded: number
  readonly thpFailed: number
  readonly thpSplit: number
  readonly foliosSplit: number
}

/** Where the scanners of a zone's compaction are. */
export interface ScannerPositions {
  readonly zoneStart: number
  readonly migratePfn: number
  readonly freePfn: number
  readonly zoneEnd: number
  readonly sync: boolean
}

/** How far compaction is deferred in a zone. */
export interface Deferral {
  readonly zone: ZoneId
  readonly order: number
  readonly orderFailed: number
  readonly considered: number
  readonly deferShift: number
}

export interface Tracepoints {
  // compaction. `result` is a COMPACT_* value.
  mmCompactionIsolateMigratepages(from: Pfn, to: Pfn, scanned: number, taken: number): void
  mmCompactionIsolateFreepages(from: Pfn, to: Pfn, scanned: number, taken: number): void
  mmCompactionFastIsolateFreepages(from: Pfn, to: Pfn, scanned: number, taken: number): void
  mmCompactionMigratepages(migrated: number, failed: number): void
  mmCompactionBegin(at: ScannerPositions): void
  mmCompactionEnd(at: ScannerPositions, result: number): void
  mmCompactionTryToCompactPages(order: number, gfp: Gfp, priority: number): void
  mmCompactionFinished(zone: ZoneId, order: number, result: number): void
  mmCompactionSuitable(zone: ZoneId, order: number, result: number): void
  mmCompactionDeferred(deferral: Deferral): void
  mmCompactionDeferCompaction(deferral: Deferral): void
  mmCompactionDeferReset(deferral: Deferral): void
  mmCompactionKcompactdSleep(nid: Nid): void
  mmCompactionWakeupKcompactd(nid: Nid, order: number, highestZoneidx: number): void
  mmCompactionKcompactdWake(nid: Nid, order: number, highestZoneidx: number): void

  // migrate
  mmMigratePagesStart(mode: MigrateMode, reason: MigrateReason): void
  mmMigratePages(counts: MigratePagesCounts, mode: MigrateMode, reason: MigrateReason): void
  /** `pages`: of the folio; ftrace prints log2 of it. */
  setMigrationPte(vpn: Vpn, pfn: Pfn, pages: number): void
  removeMigrationPte(vpn: Vpn, pfn: Pfn, pages: number): void

  // kmem
  mmPageAlloc(pfn: number, order: number, gfp: Gfp, migratetype: number): void
  mmPageAllocZoneLocked(pfn: Pfn, order: number, migratetype: number, percpuRefill: boolean): void
  mmPageAllocExtfrag(
    pfn: Pfn,
    allocOrder: number,
    fallbackOrder: number,
    allocMigratetype: number,
    fallbackMigratetype: number,
    changeOwnership: boolean,
  ): void
  mmPageFree(pfn: Pfn, order: number): void
  mmPagePcpuDrain(pfn: Pfn, order: number, migratetype: number, cpu: CpuId): void

  // vmscan
  mmVmscanKswapdWake(nid: Nid, order: number): void
  mmVmscanKswapdSleep(nid: Nid): void
  mmVmscanDirectReclaimBegin(order: number, gfp: Gfp): void
  mmVmscanDirectReclaimEnd(pagesReclaimed: number): void
}

const unheard = (): void => undefined

/** Hears nothing; spread it under the tracepoints that you want to hear. */
export const SILENT: Tracepoints = {
  mmCompactionIsolateMigratepages: unheard,
  mmCompactionIsolateFreepages: unheard,
  mmCompactionFastIsolateFreepages: unheard,
  mmCompactionMigratepages: unheard,
  mmCompactionBegin: unheard,
  mmCompactionEnd: unheard,
  mmCompactionTryToCompactPages: unheard,
  mmCompactionFinished: unheard,
  mmCompactionSuitable: unheard,
  mmCompactionDeferred: unheard,
  mmCompactionDeferCompaction: unheard,
  mmCompactionDeferReset: unheard,
  mmCompactionKcompactdSleep: unheard,
  mmCompactionWakeupKcompactd: unheard,
  mmCompactionKcompactdWake: unheard,
  mmMigratePagesStart: unheard,
  mmMigratePages: unheard,
  setMigrationPte: unheard,
  removeMigrationPte: unheard,
  mmPageAlloc: unheard,
  mmPageAllocZoneLocked: unheard,
  mmPageAllocExtfrag: unheard,
  mmPageFree: unheard,
  mmPagePcpuDrain: unheard,
  mmVmscanKswapdWake: unheard,
  mmVmscanKswapdSleep: unheard,
  mmVmscanDirectReclaimBegin: unheard,
  mmVmscanDirectReclaimEnd: unheard,
}
