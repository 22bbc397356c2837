/**
 * What things cost in simulated time, in nanoseconds: one table, each line with where its figure is from.
 *
 * Most of it follows from the engine's own counters: what an operation has made them count is what it has done. A few
 * things are not counted there and are charged by whoever does them.
 *
 * Rules:
 *   - a figure is of a machine of about 2024, one core, and good to a factor of two; ratios of simulated times are what
 *     to look at. A scenario may say otherwise (`costs:`).
 *
 * @ours
 */

import { VM_EVENT_NAMES, type VmEventName } from '../mm/vmstat.ts'

/** One line of the table. */
export interface Cost {
  readonly ns: number
  readonly source: string
}

const FIT = 'fit over 49 compactions of a 6.18 machine: 2.27 us a page, 8.7 ns and 17.5 ns a page scanned'
const ASSUMED = 'assumed'

/** Of one count of an event. */
export const EVENT_COSTS: Readonly<Partial<Record<VmEventName, Cost>>> = {
  pgmigrate_success: { ns: 2270, source: FIT },
  pgmigrate_fail: { ns: 1000, source: `${ASSUMED}: most fail before they copy` },
  compact_migrate_scanned: { ns: 8.7, source: FIT },
  compact_free_scanned: { ns: 17.5, source: FIT },
  pgscan_direct: { ns: 150, source: ASSUMED },
  pgscan_kswapd: { ns: 150, source: ASSUMED },
  pgsteal_direct: { ns: 250, source: ASSUMED },
  pgsteal_kswapd: { ns: 250, source: ASSUMED },
  pswpout: { ns: 20_000, source: `${ASSUMED}: a page to an SSD, many at a time` },
  pswpin: { ns: 80_000, source: `${ASSUMED}: a page from an SSD, which somebody waits for` },
}

/** Of what the counters do not show. */
export const WORK_COSTS = {
  alloc: { ns: 60, source: `${ASSUMED}: from a per-cpu list` },
  free: { ns: 50, source: ASSUMED },
  zero: { ns: 100, source: `${ASSUMED}: 4 KiB at 40 GB/s` },
  fault: { ns: 500, source: `${ASSUMED}: entry, page table, exit` },
  copy: { ns: 150, source: `${ASSUMED}: 4 KiB` },
  fileRead: { ns: 2000, source: `${ASSUMED}: 4 KiB at 2 GB/s` },
  fileWrite: { ns: 2000, source: `${ASSUMED}: 4 KiB at 2 GB/s` },
  compress: { ns: 4000, source: `${ASSUMED}: LZ4, 4 KiB at 1 GB/s` },
  decompress: { ns: 1300, source: `${ASSUMED}: LZ4, 4 KiB at 3 GB/s` },
  hostMessage: { ns: 20_000, source: `${ASSUMED}: a kick of a queue and its answer, 256 pages` },
} as const satisfies Readonly<Record<string, Cost>>

export type Work = keyof typeof WORK_COSTS

/** The table with what a scenario says of it. */
export class Costs {
  /** By event number; only those that cost anything. */
  private readonly events: readonly (readonly [event: number, ns: number])[]
  private readonly work: Readonly<Record<Work, number>>

  constructor(changed: Readonly<Record<string, number>> = {}) {
    this.events = VM_EVENT_NAMES.flatMap((name, event) => {
      const ns = changed[name] ?? EVENT_COSTS[name]?.ns ?? 0
      return ns === 0 ? [] : [[event, ns] as const]
    })
    const of = (name: Work): number => changed[name] ?? WORK_COSTS[name].ns
    this.work = {
      alloc: of('alloc'),
      free: of('free'),
      zero: of('zero'),
      fault: of('fault'),
      copy: of('copy'),
      fileRead: of('fileRead'),
      fileWrite: of('fileWrite'),
      compress: of('compress'),
      decompress: of('decompress'),
      hostMessage: of('hostMessage'),
    }
  }

  /** Nanoseconds of `times` pieces of work. */
  of(work: Work, times: number): number {
    return this.work[work] * times
  }

  /** Nanoseconds that all events so far have cost. */
  total(events: Int32Array): number {
    let ns = 0
    for (const [event, each] of this.events) ns += events[event] * each
    return ns
  }
}

/** Names that a scenario may give another cost to. */
export const COST_NAMES: readonly string[] = [...VM_EVENT_NAMES, ...Object.keys(WORK_COSTS)]
