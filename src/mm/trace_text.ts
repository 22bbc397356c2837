/**
 * The engine's tracepoints as ftrace prints them: one line an event, in the words of the machine's kernel version.
 *
 *            mmlab-111     [000] d..3.    11.165786: mm_page_alloc_extfrag: page=… pfn=0x4e00 …
 *   task and pid, cpu, state of the cpu, time: event: its fields
 *
 * A typical sequence is:
 *   const lines: string[] = []
 *   mm.trace = new FtraceText(mm, (line) => lines.push(line), () => ({ ...FTRACE_TASK, microseconds: now++ }))
 *   compactNode(cpu, mm, nid)
 *   mm.trace = undefined
 *   text = ftraceHeader(lines.length, mm.cpus) + lines.map((line) => `${line}\n`).join('')
 *
 * What the kernel tells and the engine has not:
 *   - who runs, where and when: asked of `context` at every event;
 *   - the address of a struct page: as on x86-64 without randomisation and with no_hash_pointers;
 *   - the bits of a pte: as of a private page that was written to. A migration entry says no more than its pfn.
 *
 * What differs by version: `nr_split` of mm_migrate_pages came after 6.1, and so did fast_isolate_freepages (v6.5),
 * of which a 6.1 machine says nothing. `mm_page_free_batched` is missing: the engine frees page by page.
 *
 * Rules:
 *   - it reads zones of the machine and changes nothing.
 *
 * @kernel include/trace/events/compaction.h, migrate.h, kmem.h, vmscan.h; kernel/trace/trace_output.c v6.1, v6.12, v6.18; spec I-4
 */

import type { CpuId, Nid, Pfn, Vpn, ZoneId } from '../base/units.ts'
import { COMPACT_RESULT_NAMES } from './compact_result.ts'
import type { Gfp } from './gfp.ts'
import { gfpText } from './gfp_text.ts'
import {
  MIGRATE_REASONS,
  type MigrateMode,
  type MigrateReason,
  pageblock_order,
  ZONE_NAMES,
} from './limits.ts'
import type { Mm } from './page.ts'
import type { Deferral, MigratePagesCounts, ScannerPositions, Tracepoints } from './trace.ts'

/** Who runs, where and when. */
export interface FtraceContext {
  /** Name of the task; ftrace cuts it at 15 characters. */
  readonly comm: string
  readonly pid: number
  readonly cpu: number
  /** irqs-off, need-resched, hardirq or softirq, preempt-depth, migrate-disable: five characters, `.` for nothing. */
  readonly flags: string
  /** Time, in microseconds since the machine came up. */
  readonly microseconds: number
}

/** A task of cpu 0 at time 0, with nothing to say about its cpu. */
export const FTRACE_TASK: FtraceContext = { comm: 'drover', pid: 1, cpu: 0, flags: '.....', microseconds: 0 }

const MIGRATE_MODES = ['MIGRATE_ASYNC', 'MIGRATE_SYNC_LIGHT', 'MIGRATE_SYNC']

/** First struct page, and bytes of one: x86-64 with four-level page tables and nokaslr. */
const VMEMMAP = 'ffffea'
const STRUCT_PAGE_BYTES = 64
/** Type of a swap entry that stands for a migration of a writable page, where no memory is a device's own. */
const SWP_MIGRATION_WRITE = 30
/** Accessed and dirty, of a swap entry: above the bits of the pfn. In the upper half of a pte. */
const SWP_MIG_YOUNG_DIRTY = 0x1800

export class FtraceText implements Tracepoints {
  private readonly mm: Mm
  private readonly emit: (line: string) => void
  private readonly context: () => FtraceContext

  /** `emit` gets each line, without its end; `context` is asked once an event. */
  constructor(mm: Mm, emit: (line: string) => void, context: () => FtraceContext = () => FTRACE_TASK) {
    this.mm = mm
    this.emit = emit
    this.context = context
  }

  private event(name: string, fields: string): void {
    this.emit(`${contextText(this.context())}: ${name}: ${fields}`)
  }

  // compaction

  mmCompactionIsolateMigratepages(from: Pfn, to: Pfn, scanned: number, taken: number): void {
    this.event('mm_compaction_isolate_migratepages', isolateText(from, to, scanned, taken))
  }

  mmCompactionIsolateFreepages(from: Pfn, to: Pfn, scanned: number, taken: number): void {
    this.event('mm_compaction_isolate_freepages', isolateText(from, to, scanned, taken))
  }

  mmCompactionFastIsolateFreepages(from: Pfn, to: Pfn, scanned: number, taken: number): void {
    if (this.mm.rules.name === '6.1') return
    this.event('mm_compaction_fast_isolate_freepages', isolateText(from, to, scanned, taken))
  }

  mmCompactionMigratepages(migrated: number, failed: number): void {
    this.event('mm_compaction_migratepages', `nr_migrated=${migrated} nr_failed=${failed}`)
  }

  mmCompactionBegin(at: ScannerPositions): void {
    this.event('mm_compaction_begin', positionsText(at))
  }

  mmCompactionEnd(at: ScannerPositions, result: number): void {
    this.event('mm_compaction_end', `${positionsText(at)} status=${COMPACT_RESULT_NAMES[result]}`)
  }

  mmCompactionTryToCompactPages(order: number, gfp: Gfp, priority: number): void {
    const flags = gfpText(gfp, this.mm.rules)
    this.event('mm_compaction_try_to_compact_pages', `order=${order} gfp_mask=${flags} priority=${priority}`)
  }

  mmCompactionFinished(zone: ZoneId, order: number, result: number): void {
    this.event('mm_compaction_finished', this.suitableText(zone, order, result))
  }

  mmCompactionSuitable(zone: ZoneId, order: number, result: number): void {
    this.event('mm_compaction_suitable', this.suitableText(zone, order, result))
  }

  private suitableText(zone: ZoneId, order: number, result: number): string {
    return `${this.zoneText(zone)} order=${order} ret=${COMPACT_RESULT_NAMES[result]}`
  }

  private zoneText(zone: ZoneId): string {
    return `node=${this.mm.zoneNode[zone]} zone=${kindText(this.mm.zoneIdx[zone])}`
  }

  mmCompactionDeferred(deferral: Deferral): void {
    this.event('mm_compaction_deferred', this.deferText(deferral))
  }

  mmCompactionDeferCompaction(deferral: Deferral): void {
    this.event('mm_compaction_defer_compaction', this.deferText(deferral))
  }

  mmCompactionDeferReset(deferral: Deferral): void {
    this.event('mm_compaction_defer_reset', this.deferText(deferral))
  }

  private deferText({ zone, order, orderFailed, considered, deferShift }: Deferral): string {
    return `${this.zoneText(zone)} order=${order} order_failed=${orderFailed} consider=${considered} limit=${2 ** deferShift}`
  }

  mmCompactionKcompactdSleep(nid: Nid): void {
    this.event('mm_compaction_kcompactd_sleep', `nid=${nid}`)
  }

  mmCompactionWakeupKcompactd(nid: Nid, order: number, highestZoneidx: number): void {
    this.event('mm_compaction_wakeup_kcompactd', wakeText(nid, order, highestZoneidx))
  }

  mmCompactionKcompactdWake(nid: Nid, order: number, highestZoneidx: number): void {
    this.event('mm_compaction_kcompactd_wake', wakeText(nid, order, highestZoneidx))
  }

  // migrate

  mmMigratePagesStart(mode: MigrateMode, reason: MigrateReason): void {
    this.event('mm_migrate_pages_start', `mode=${MIGRATE_MODES[mode]} reason=${MIGRATE_REASONS[reason]}`)
  }

  mmMigratePages(counts: MigratePagesCounts, mode: MigrateMode, reason: MigrateReason): void {
    const split = this.mm.rules.name === '6.1' ? '' : ` nr_split=${counts.foliosSplit}`
    this.event(
      'mm_migrate_pages',
      `nr_succeeded=${counts.pagesSucceeded} nr_failed=${counts.pagesFailed}` +
        ` nr_thp_succeeded=${counts.thpSucceeded} nr_thp_failed=${counts.thpFailed}` +
        ` nr_thp_split=${counts.thpSplit}${split}` +
        ` mode=${MIGRATE_MODES[mode]} reason=${MIGRATE_REASONS[reason]}`,
    )
  }

  setMigrationPte(vpn: Vpn, pfn: Pfn, order: number): void {
    this.event('set_migration_pte', `addr=${addressOf(vpn)}, pte=${migrationPte(pfn)} order=${order}`)
  }

  removeMigrationPte(vpn: Vpn, pfn: Pfn, order: number): void {
    this.event('remove_migration_pte', `addr=${addressOf(vpn)}, pte=${mappedPte(pfn)} order=${order}`)
  }

  // kmem

  mmPageAlloc(pfn: number, order: number, gfp: Gfp, migratetype: number): void {
    const flags = gfpText(gfp, this.mm.rules)
    this.event(
      'mm_page_alloc',
      `${pageText(pfn)} order=${order} migratetype=${migratetype} gfp_flags=${flags}`,
    )
  }

  mmPageAllocZoneLocked(pfn: Pfn, order: number, migratetype: number, percpuRefill: boolean): void {
    this.event(
      'mm_page_alloc_zone_locked',
      `${pageText(pfn)} order=${order} migratetype=${migratetype} percpu_refill=${Number(percpuRefill)}`,
    )
  }

  mmPageAllocExtfrag(
    pfn: Pfn,
    allocOrder: number,
    fallbackOrder: number,
    allocMigratetype: number,
    fallbackMigratetype: number,
    changeOwnership: boolean,
  ): void {
    this.event(
      'mm_page_alloc_extfrag',
      `${pageText(pfn)} alloc_order=${allocOrder} fallback_order=${fallbackOrder} pageblock_order=${pageblock_order}` +
        ` alloc_migratetype=${allocMigratetype} fallback_migratetype=${fallbackMigratetype}` +
        ` fragmenting=${Number(fallbackOrder < pageblock_order)} change_ownership=${Number(changeOwnership)}`,
    )
  }

  mmPageFree(pfn: Pfn, order: number): void {
    this.event('mm_page_free', `${pageText(pfn)} order=${order}`)
  }

  mmPagePcpuDrain(pfn: Pfn, order: number, migratetype: number, _cpu: CpuId): void {
    this.event('mm_page_pcpu_drain', `${pageText(pfn)} order=${order} migratetype=${migratetype}`)
  }

  // vmscan

  mmVmscanKswapdWake(nid: Nid, order: number): void {
    this.event('mm_vmscan_kswapd_wake', `nid=${nid} order=${order}`)
  }

  mmVmscanKswapdSleep(nid: Nid): void {
    this.event('mm_vmscan_kswapd_sleep', `nid=${nid}`)
  }

  mmVmscanDirectReclaimBegin(order: number, gfp: Gfp): void {
    this.event('mm_vmscan_direct_reclaim_begin', `order=${order} gfp_flags=${gfpText(gfp, this.mm.rules)}`)
  }

  mmVmscanDirectReclaimEnd(pagesReclaimed: number): void {
    this.event('mm_vmscan_direct_reclaim_end', `nr_reclaimed=${pagesReclaimed}`)
  }
}

/** The lines above the events. `entries`: how many there are, of which none was lost. */
export function ftraceHeader(entries: number, cpus: number): string {
  return [
    '# tracer: nop',
    '#',
    `# entries-in-buffer/entries-written: ${entries}/${entries}   #P:${cpus}`,
    '#',
    '#                                _-----=> irqs-off/BH-disabled',
    '#                               / _----=> need-resched',
    '#                              | / _---=> hardirq/softirq',
    '#                              || / _--=> preempt-depth',
    '#                              ||| / _-=> migrate-disable',
    '#                              |||| /     delay',
    '#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION',
    '#              | |         |   |||||     |         |',
    '',
  ].join('\n')
}

/** `           mmlab-111     [000] .....    11.165786`. @kernel trace_print_context(), trace_print_lat_fmt() */
function contextText({ comm, pid, cpu, flags, microseconds }: FtraceContext): string {
  const task = `${comm.slice(0, 15).padStart(16)}-${String(pid).padEnd(7)}`
  const seconds = String(Math.floor(microseconds / 1_000_000)).padStart(5)
  const fraction = String(microseconds % 1_000_000).padStart(6, '0')
  return `${task} [${String(cpu).padStart(3, '0')}] ${flags} ${seconds}.${fraction}`
}

const hex = (n: number): string => `0x${n.toString(16)}`

const isolateText = (from: Pfn, to: Pfn, scanned: number, taken: number): string =>
  `range=(${hex(from)} ~ ${hex(to)}) nr_scanned=${scanned} nr_taken=${taken}`

const positionsText = ({ zoneStart, migratePfn, freePfn, zoneEnd, sync }: ScannerPositions): string =>
  `zone_start=${hex(zoneStart)} migrate_pfn=${hex(migratePfn)} free_pfn=${hex(freePfn)} ` +
  `zone_end=${hex(zoneEnd)}, mode=${sync ? 'sync' : 'async'}`

/** Name of a kind of zone, in its column. */
const kindText = (zoneIdx: number): string => ZONE_NAMES[zoneIdx].padEnd(8)

const wakeText = (nid: Nid, order: number, highestZoneidx: number): string =>
  `nid=${nid} order=${order} classzone_idx=${kindText(highestZoneidx)}`

/** `page=… pfn=…`; -1 is no page. */
function pageText(pfn: number): string {
  if (pfn < 0) return `page=${'0'.repeat(16)} pfn=0x0`
  return `page=${VMEMMAP}${(pfn * STRUCT_PAGE_BYTES).toString(16).padStart(10, '0')} pfn=${hex(pfn)}`
}

const addressOf = (vpn: Vpn): string => (vpn * 4096).toString(16)

/** A word as ftrace prints it, of two halves. */
const word = (high: number, low: number): string =>
  `${(high >>> 0).toString(16)}${(low >>> 0).toString(16).padStart(8, '0')}`

/** A swap pte has the type in bits 59 to 63, and what it points to, inverted, in bits 9 to 58. @kernel arch/x86/include/asm/pgtable_64.h */
function migrationPte(pfn: Pfn): string {
  const upper = 0x7ffffff & ~((pfn >>> 23) | SWP_MIG_YOUNG_DIRTY)
  return word((SWP_MIGRATION_WRITE << 27) | upper, ~pfn << 9)
}

/** Present, writable, of user space, accessed, dirty, not executable. */
const mappedPte = (pfn: Pfn): string => word(0x80000000 | (pfn >>> 20), (pfn << 12) | 0x67)
