/**
 * /proc/zoneinfo and /proc/vmstat of an engine, in the words and the order of its kernel version.
 *
 * The kernel has counters that the engine has no notion of: slab caches by kind, kernel stacks, refaults, what was
 * allocated since the machine came up. What they are is asked of `others`; without it they are 0. For a machine that
 * was loaded from a capture it is the capture's own text that knows.
 *
 *   zoneinfoText(mm)                                         // a machine of ours
 *   vmstatText(mm, { others: (name) => before.get(name) ?? 0 })  // events go on from where the kernel's stood
 *
 * Rules:
 *   - what the engine keeps is never asked of `others`, but for events, to which its own are added;
 *   - nothing runs meanwhile, and nothing here changes the machine.
 *
 * @kernel mm/vmstat.c zoneinfo_show_print(), vmstat_show() v6.1, v6.12, v6.18; spec I-2, I-3
 */

import { cpuIdOf, type Nid, type ZoneId, zoneIdOf } from '../base/units.ts'
import { ZONE_MOVABLE, ZONE_NAMES } from './limits.ts'
import type { Mm } from './page.ts'
import {
  cmaPages,
  countPages,
  nodeEvents,
  nodeStats,
  type PageCounts,
  statThreshold,
  zoneStats,
} from './proc_counters.ts'
import { PROC_CONFIG, type ProcConfig, type StatTable, statNames, zoneKinds } from './proc_names.ts'
import { nodesWithMemory, zonesOfNode } from './proc_text.ts'
import { vmEvents } from './vmstat.ts'
import { highWmarkPages, lowmemReserve, lowWmarkPages, minWmarkPages } from './watermark.ts'

export interface ProcOptions {
  /** What the kernel was built with. Default: PROC_CONFIG. */
  readonly config?: Partial<ProcConfig>
  /**
   * Value of a counter that the engine does not keep; what an event counter stood at when the machine was made.
   * `zoneIdx` is the kind of zone (ZONE_*) of a zone's counter, -1 for a node's; `nid` is -1 for the machine's.
   */
  readonly others?: (name: string, nid: number, zoneIdx: number) => number
}

const noOthers = (): number => 0

/** /proc/zoneinfo. */
export function zoneinfoText(mm: Mm, { config, others = noOthers }: ProcOptions = {}): string {
  const built = { ...PROC_CONFIG, ...config }
  const counts = countPages(mm)
  return nodesWithMemory(mm)
    .map((nid) => {
      const zones = zonesOfNode(mm, nid)
      return zoneKinds(built)
        .map((idx) => {
          const heading = `Node ${nid}, zone ${ZONE_NAMES[idx].padStart(8)}`
          const zone = zones.find((candidate) => mm.zoneIdx[candidate] === idx)
          if (zone === undefined) return `${heading}${emptyZone(mm, idx, built)}\n`
          const stats = new Stats(mm, built, others)
          const perNode = zone === zones[0] ? stats.ofNode(nid, countsOf(zones, counts)) : ''
          return `${heading}${perNode}${sizes(mm, zone, built)}${stats.ofZone(zone, counts[zone])}${pagesets(mm, zone)}\n`
        })
        .join('')
    })
    .join('')
}

const countsOf = (zones: readonly ZoneId[], counts: readonly PageCounts[]): PageCounts[] =>
  zones.map((zone) => counts[zone])

/** Lines of counters. */
class Stats {
  private readonly mm: Mm
  private readonly config: ProcConfig
  private readonly others: (name: string, nid: number, zoneIdx: number) => number

  constructor(mm: Mm, config: ProcConfig, others: (name: string, nid: number, zoneIdx: number) => number) {
    this.mm = mm
    this.config = config
    this.others = others
  }

  ofNode(nid: Nid, counts: readonly PageCounts[]): string {
    const kept = nodeStats(this.mm, nid, counts)
    for (const [name, n] of nodeEvents(this.mm, nid)) kept.set(name, n + this.others(name, nid, -1))
    return `\n  per-node stats${this.lines('node', kept, nid, -1)}`
  }

  ofZone(zone: ZoneId, counts: PageCounts): string {
    const [nid, idx] = [this.mm.zoneNode[zone], this.mm.zoneIdx[zone]]
    const kept = zoneStats(this.mm, zone, counts)
    return this.lines('zone', kept, nid, idx) + this.lines('numa', NONE_KEPT, nid, idx)
  }

  private lines(table: StatTable, kept: ReadonlyMap<string, number>, nid: number, idx: number): string {
    return statNames(table, this.mm.rules, this.config)
      .map((name) => `\n      ${name.padEnd(12)} ${kept.get(name) ?? this.others(name, nid, idx)}`)
      .join('')
  }
}

const NONE_KEPT: ReadonlyMap<string, number> = new Map()

/** Lines from `pages free` to `protection`. */
function sizeLines(pages: readonly (readonly [name: string, pages: number])[], reserve: string): string {
  const lines = pages.map(([name, n]) => `\n        ${name.padEnd(8)} ${n}`)
  return `${lines.join('').replace(/^\n {8}/, '\n  pages ')}\n        protection: (${reserve})`
}

function sizes(mm: Mm, zone: ZoneId, config: ProcConfig): string {
  const [low, high] = [lowWmarkPages(mm, zone), highWmarkPages(mm, zone)]
  return sizeLines(
    [
      ['free', mm.nrFree[zone]],
      ['boost', mm.wmarkBoost[zone]],
      ['min', minWmarkPages(mm, zone)],
      ['low', low],
      ['high', high],
      ...promo(mm, high + (high - low)),
      ['spanned', mm.zoneEnd[zone] - mm.zoneStart[zone]],
      ['present', mm.zonePresent[zone]],
      ['managed', mm.zoneManaged[zone]],
      ['cma', cmaPages(mm, zone)],
    ],
    zoneKinds(config)
      .map((idx) => lowmemReserve(mm, zone, idx))
      .join(', '),
  )
}

/** The mark up to which promotion from slower memory makes room: one step above high. Printed from 6.12 on. */
const promo = (mm: Mm, pages: number): [string, number][] =>
  mm.rules.name === '6.1' ? [] : [['promo', pages]]

/** A kind of zone of which the node has no memory. Movable zones have a least watermark from 6.12 on, memory or not. */
function emptyZone(mm: Mm, idx: number, config: ProcConfig): string {
  const mark = idx === ZONE_MOVABLE && mm.rules.name !== '6.1' ? 32 : 0
  return sizeLines(
    [
      ['free', 0],
      ['boost', 0],
      ['min', mark],
      ['low', mark],
      ['high', mark],
      ...promo(mm, mark),
      ['spanned', 0],
      ['present', 0],
      ['managed', 0],
      ['cma', 0],
    ],
    zoneKinds(config)
      .map(() => 0)
      .join(', '),
  )
}

/** Per-cpu sets of a zone, and what follows them. */
function pagesets(mm: Mm, zone: ZoneId): string {
  // From 6.18 on with the bounds of `high`, and in one column.
  const bounded = mm.rules.name === '6.18'
  const sets = Array.from({ length: mm.cpus }, (_, cpu) => {
    const pcp = mm.pcpOf(zone, cpuIdOf(cpu))
    const fields: (readonly [name: string, pages: number])[] = [
      ['count', mm.pcpCount[pcp]],
      ['high', mm.pcpHigh[pcp]],
      ['batch', mm.pcpBatch[pcp]],
    ]
    if (bounded) fields.push(['high_min', mm.pcpHighMin[pcp]], ['high_max', mm.pcpHighMax[pcp]])
    const lines = fields.map(
      ([name, pages]) => `\n              ${`${name}:`.padEnd(bounded ? 10 : 7)}${pages}`,
    )
    return `\n    cpu: ${cpu}${lines.join('')}\n  vm stats threshold: ${statThreshold(mm, zone)}`
  })
  return `\n  pagesets${sets.join('')}\n  node_unreclaimable:  0\n  start_pfn:           ${mm.zoneStart[zone]}`
}

/** /proc/vmstat. */
export function vmstatText(mm: Mm, { config, others = noOthers }: ProcOptions = {}): string {
  const built = { ...PROC_CONFIG, ...config }
  const kept = machineStats(mm)
  const events = new Map(Object.entries(vmEvents(mm)))
  for (const nid of nodesWithMemory(mm)) {
    for (const [name, n] of nodeEvents(mm, nid)) events.set(name, (events.get(name) ?? 0) + n)
  }
  const value = (name: string): number => {
    return kept.get(name) ?? (events.get(name) ?? 0) + others(name, -1, -1)
  }
  const tables: StatTable[] = ['zone', 'numa', 'node', 'system', 'event']
  const lines = tables.flatMap((table) =>
    statNames(table, mm.rules, built).map((name) => `${name} ${value(name)}\n`),
  )
  return `${lines.join('')}nr_unstable 0\n`
}

/** What the engine keeps, summed over zones and nodes. */
function machineStats(mm: Mm): Map<string, number> {
  const counts = countPages(mm)
  const total = new Map<string, number>()
  const add = (stats: ReadonlyMap<string, number>): void => {
    for (const [name, n] of stats) total.set(name, (total.get(name) ?? 0) + n)
  }
  counts.forEach((zone, i) => add(zoneStats(mm, zoneIdOf(i), zone)))
  for (const nid of nodesWithMemory(mm)) add(nodeStats(mm, nid, countsOf(zonesOfNode(mm, nid), counts)))
  return total
}
