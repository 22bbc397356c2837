/**
 * What the kernel prints of its free memory, printed of an engine's: /proc/buddyinfo, /proc/pagetypeinfo, and
 * extfrag_index and unusable_index of debugfs.
 *
 * All of it follows from the engine's state, but for what the kernel was built with (ProcConfig): to the byte, a
 * machine that was loaded from a capture prints what the captured kernel printed.
 *
 * Rules:
 *   - nothing runs meanwhile, and nothing here changes the machine;
 *   - nodes by number, in each its zones by kind; zones and nodes without memory are passed over.
 *
 * Not here: /proc/zoneinfo and /proc/vmstat (proc_zoneinfo.ts), /proc/kpageflags (analyze/proc_page.ts). "Number of
 * mixed blocks" of pagetypeinfo, which the kernel adds with page_owner=on: it asks who allocated each page.
 *
 * @kernel mm/vmstat.c frag_show(), pagetypeinfo_show(), extfrag_show(), unusable_show() v6.1, v6.12, v6.18; spec I-2, I-5
 */

import { type Nid, nidOf, type ZoneId, zoneIdOf } from '../base/units.ts'
import { freeBlocksIndex } from './free_area.ts'
import {
  MIGRATE_CMA,
  MIGRATE_TYPES,
  MIGRATETYPE_NAMES,
  NR_PAGE_ORDERS,
  pageblock_nr_pages,
  pageblock_order,
  ZONE_NAMES,
} from './limits.ts'
import type { Mm } from './page.ts'
import { pageblocksByType } from './proc_counters.ts'
import { PROC_CONFIG, type ProcConfig } from './proc_names.ts'
import { fragmentationIndex, unusableFreeIndex } from './vmstat.ts'

/** The kernel stops counting a free list there, and says that there are more. */
const PAGETYPEINFO_MOST = 100_000

const ORDERS = Array.from({ length: NR_PAGE_ORDERS }, (_, order) => order)

/** Nodes that have memory, by number. */
export const nodesWithMemory = (mm: Mm): Nid[] =>
  [...new Set(mm.zoneSpecs.map(({ node }) => node))].sort((a, b) => a - b).map(nidOf)

/** Zones of a node that have memory, by kind. */
export const zonesOfNode = (mm: Mm, nid: Nid): ZoneId[] =>
  mm.zoneSpecs
    .map((_, i) => zoneIdOf(i))
    .filter((zone) => mm.zoneNode[zone] === nid && mm.zonePresent[zone] > 0)
    .sort((a, b) => mm.zoneIdx[a] - mm.zoneIdx[b])

const allZones = (mm: Mm): ZoneId[] => nodesWithMemory(mm).flatMap((nid) => zonesOfNode(mm, nid))

const left = (value: string | number, width: number): string => String(value).padEnd(width)
const right = (value: string | number, width: number): string => String(value).padStart(width)

/** `Node 0, zone   Normal `: how most lines begin. */
const zoneHeading = (mm: Mm, zone: ZoneId): string =>
  `Node ${mm.zoneNode[zone]}, zone ${right(ZONE_NAMES[mm.zoneIdx[zone]], 8)} `

/** /proc/buddyinfo. */
export const buddyinfoText = (mm: Mm): string =>
  allZones(mm)
    .map((zone) => {
      const counts = ORDERS.map((order) => `${right(freeBlocks(mm, zone, order), 6)} `)
      return `${zoneHeading(mm, zone)}${counts.join('')}\n`
    })
    .join('')

function freeBlocks(mm: Mm, zone: ZoneId, order: number): number {
  let blocks = 0
  for (let mt = 0; mt < MIGRATE_TYPES; mt++) blocks += mm.nrFreeBlocks[freeBlocksIndex(zone, order, mt)]
  return blocks
}

/** /proc/pagetypeinfo, as root reads it. The CMA type is there if the kernel was built with it. */
export function pagetypeinfoText(mm: Mm, config: Partial<ProcConfig> = {}): string {
  const { cma } = { ...PROC_CONFIG, ...config }
  const types = MIGRATETYPE_NAMES.map((name, mt) => ({ name, mt })).filter(
    ({ mt }) => cma || mt !== MIGRATE_CMA,
  )
  return nodesWithMemory(mm)
    .map((nid) => {
      const zones = zonesOfNode(mm, nid)
      const free = zones.flatMap((zone) => types.map((type) => freeByTypeLine(mm, zone, type)))
      return [
        `Page block order: ${pageblock_order}\nPages per block:  ${pageblock_nr_pages}\n\n`,
        `${left('Free pages count per migrate type at order', 43)} ${ORDERS.map((order) => `${right(order, 6)} `).join('')}\n`,
        ...free,
        `\n${left('Number of blocks type', 23)}${types.map(({ name }) => `${right(name, 12)} `).join('')}\n`,
        ...zones.map((zone) => {
          const blocks = pageblocksByType(mm, zone)
          return `${zoneHeading(mm, zone)}${types.map(({ mt }) => `${right(blocks[mt], 12)} `).join('')}\n`
        }),
      ].join('')
    })
    .join('')
}

interface TypeOfLine {
  readonly name: string
  readonly mt: number
}

function freeByTypeLine(mm: Mm, zone: ZoneId, { name, mt }: TypeOfLine): string {
  const counts = ORDERS.map((order) => {
    const blocks = mm.nrFreeBlocks[freeBlocksIndex(zone, order, mt)]
    return blocks < PAGETYPEINFO_MOST ? `${right(blocks, 6)} ` : `>${PAGETYPEINFO_MOST} `
  })
  const node = right(mm.zoneNode[zone], 4)
  const kind = right(ZONE_NAMES[mm.zoneIdx[zone]], 8)
  return `Node ${node}, zone ${kind}, type ${right(name, 12)} ${counts.join('')}\n`
}

/** /sys/kernel/debug/extfrag/extfrag_index: why an allocation of each order would fail; -1.000: it would not. */
export const extfragIndexText = (mm: Mm): string =>
  indexText(mm, fragmentationIndex, (index) => right(thousandths(index), 6))

/** /sys/kernel/debug/extfrag/unusable_index: the share of free memory that each order cannot use. */
export const unusableIndexText = (mm: Mm): string => indexText(mm, unusableFreeIndex, thousandths)

function indexText(
  mm: Mm,
  index: (mm: Mm, zone: ZoneId, order: number) => number,
  print: (value: number) => string,
): string {
  const line = (zone: ZoneId): string =>
    `${zoneHeading(mm, zone)}${ORDERS.map((order) => `${print(index(mm, zone, order))} `).join('')}\n`
  return allZones(mm).map(line).join('')
}

/** `-1.000`, `0.995`. The only negative index is a whole. */
const thousandths = (n: number): string =>
  `${Math.trunc(n / 1000)}.${String(Math.abs(n % 1000)).padStart(3, '0')}`
