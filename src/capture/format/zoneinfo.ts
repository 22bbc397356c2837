/**
 * /proc/zoneinfo: zones with watermarks, sizes and per-cpu lists, and the counters of zones and nodes.
 *
 * The text has three kinds of line: `name number` (counters and watermarks), `name: number` (fields of the zone or
 * of the per-cpu set above), and headings. A zone without memory prints its watermarks and stops; the counters
 * of a node stand in its first zone. What is optional differs between kernels and is optional here:
 * 6.18 prints high_min and high_max of each per-cpu set, 6.1 does not.
 *
 * Rules:
 *   - A line that is not understood is passed over: new kernels add lines. A field that is needed and not there is
 *     an error with the zone's line.
 *
 * @kernel mm/vmstat.c zoneinfo_show_print() v6.18
 */

import { bad, ok, type Result } from '../../base/result.ts'
import { type Nid, nidOf, type Pfn, pfnOf } from '../../base/units.ts'

/** Per-cpu list of one zone. Pages. */
export interface Pageset {
  readonly cpu: number
  /** Free pages on the list. They are neither BUDDY nor in buddyinfo. */
  readonly count: number
  readonly high: number
  readonly batch: number
  /** Bounds of `high`, from 6.7 on. */
  readonly highMin?: number
  readonly highMax?: number
}

export interface ZoneinfoZone {
  readonly node: Nid
  readonly name: string
  /** Pages on the free lists, per-cpu lists not included. */
  readonly free: number
  /** Watermarks, pages. */
  readonly min: number
  readonly low: number
  readonly high: number
  /** How much of the watermarks is a boost that fades. 0 where the kernel prints none. */
  readonly boost: number
  /** Pages that requests for each kind of zone must leave, in the order of the node's zones. */
  readonly protection: readonly number[]
  /** Pages from the first to the last, holes included. 0 for a zone without memory. */
  readonly spanned: number
  readonly present: number
  readonly managed: number
  /** First page. 0 if the zone has none. */
  readonly startPfn: Pfn
  readonly pagesets: readonly Pageset[]
  /** Counters by the kernel's names: `nr_zspages`, `nr_free_cma`, `nr_mlock`, … as far as this kernel has them. */
  readonly stats: ReadonlyMap<string, number>
}

export interface ZoneinfoNode {
  readonly node: Nid
  /** Counters by the kernel's names: `nr_foll_pin_acquired`, `nr_balloon_pages`, … as far as this kernel has them. */
  readonly stats: ReadonlyMap<string, number>
}

export interface Zoneinfo {
  /** In the order of the text: by node, then by zone type. Zones without memory are included. */
  readonly zones: readonly ZoneinfoZone[]
  readonly nodes: readonly ZoneinfoNode[]
}

const ZONE_HEADING = /^Node +(\d+), zone +(\S+)\s*$/
const COUNTER = /^\s+(?:pages )?([a-z0-9_]+)\s+(-?\d+)\s*$/
const PROTECTION = /^\s+protection: \((\d+(?:, \d+)*)\)$/
const FIELD = /^\s+([a-z0-9_]+):\s+(-?\d+)\s*$/

/** The lines of one zone, as they come. */
interface ZoneDraft {
  readonly line: number
  readonly node: Nid
  readonly name: string
  readonly counters: Map<string, number>
  readonly nodeStats: Map<string, number>
  readonly fields: Map<string, number>
  readonly pagesets: Map<string, number>[]
  protection: readonly number[]
}

/** Zones and nodes of a /proc/zoneinfo text. */
export function parseZoneinfo(text: string): Result<Zoneinfo> {
  const drafts: ZoneDraft[] = []
  let inNodeStats = false
  for (const [at, line] of text.split('\n').entries()) {
    const heading = ZONE_HEADING.exec(line)
    if (heading) {
      inNodeStats = false
      drafts.push({
        line: at + 1,
        node: nidOf(Number(heading[1])),
        name: heading[2],
        counters: new Map(),
        nodeStats: new Map(),
        fields: new Map(),
        pagesets: [],
        protection: [],
      })
      continue
    }
    const draft = drafts.at(-1)
    if (!draft) {
      if (line.trim() === '') continue
      return notZoneinfo(at + 1, 'a line before the first zone')
    }
    if (line.trim() === 'per-node stats') inNodeStats = true
    else if (line.startsWith('  pages free')) inNodeStats = false
    takeLine(draft, line, inNodeStats)
  }
  if (drafts.length === 0) return notZoneinfo(1, 'no zone')
  return assemble(drafts)
}

function takeLine(draft: ZoneDraft, line: string, inNodeStats: boolean): void {
  const counter = COUNTER.exec(line)
  if (counter) {
    const table = inNodeStats ? draft.nodeStats : draft.counters
    table.set(counter[1], Number(counter[2]))
    return
  }
  const protection = PROTECTION.exec(line)
  if (protection) draft.protection = protection[1].split(', ').map(Number)
  const field = FIELD.exec(line)
  if (!field) return
  const [, name, value] = field
  if (name === 'cpu') draft.pagesets.push(new Map())
  const pageset = draft.pagesets.at(-1)
  // Fields of the zone follow its per-cpu sets without a heading of their own.
  const ofZone = name === 'node_unreclaimable' || name === 'start_pfn' || !pageset
  const table = ofZone ? draft.fields : pageset
  table.set(name, Number(value))
}

function assemble(drafts: readonly ZoneDraft[]): Result<Zoneinfo> {
  const zones: ZoneinfoZone[] = []
  const nodes: ZoneinfoNode[] = []
  for (const draft of drafts) {
    if (zones.some((zone) => zone.node === draft.node && zone.name === draft.name)) {
      return notZoneinfo(draft.line, `node ${draft.node}, zone ${draft.name} occurs twice`)
    }
    const zone = zoneOf(draft)
    if (!zone.ok) return zone
    zones.push(zone.value)
    if (draft.nodeStats.size > 0) nodes.push({ node: draft.node, stats: draft.nodeStats })
  }
  return ok({ zones, nodes })
}

function zoneOf(draft: ZoneDraft): Result<ZoneinfoZone> {
  const { counters, fields, node, name } = draft
  const missing: string[] = []
  const need = (table: ReadonlyMap<string, number>, key: string): number => {
    const value = table.get(key)
    if (value === undefined || value < 0) missing.push(key)
    return value ?? 0
  }
  const sizes = {
    free: need(counters, 'free'),
    min: need(counters, 'min'),
    low: need(counters, 'low'),
    high: need(counters, 'high'),
    spanned: need(counters, 'spanned'),
    present: need(counters, 'present'),
    managed: need(counters, 'managed'),
  }
  const startPfn = sizes.present > 0 ? need(fields, 'start_pfn') : (fields.get('start_pfn') ?? 0)
  const pagesets = draft.pagesets.map((set): Pageset => {
    const highMin = set.get('high_min')
    const highMax = set.get('high_max')
    return {
      cpu: need(set, 'cpu'),
      count: need(set, 'count'),
      high: need(set, 'high'),
      batch: need(set, 'batch'),
      ...(highMin !== undefined && { highMin }),
      ...(highMax !== undefined && { highMax }),
    }
  })
  if (missing.length > 0) {
    return notZoneinfo(draft.line, `node ${node}, zone ${name} has no valid ${missing.join(', ')}`)
  }
  return ok({
    node,
    name,
    ...sizes,
    boost: counters.get('boost') ?? 0,
    protection: draft.protection,
    startPfn: pfnOf(startPfn),
    pagesets,
    stats: counters,
  })
}

const notZoneinfo = (line: number, what: string): Result<never> =>
  bad(
    'zoneinfo',
    `line ${line}`,
    what,
    'capture again: this is not a whole /proc/zoneinfo of a kernel from 4.14 on',
  )
