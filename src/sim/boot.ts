/**
 * A machine as it is after boot: zones, watermarks and per-cpu lists by the kernel's formulas, and all memory free.
 *
 *   mm = boot(machineSpec(machine, needs))
 *
 * Memory begins at 16 MiB (what lies below is nobody's concern here). Up to 4 GiB it is zone DMA32, above Normal, as on
 * x86-64; `movable` of each node is its ZONE_MOVABLE.
 *
 * Not here: memory that the kernel's image and page structures take (`reserved` of a scenario).
 *
 * @kernel mm/page_alloc.c __setup_per_zone_wmarks(), zone_batchsize(), zone_highsize(), calculate_min_free_kbytes() v6.18
 */

import { assert } from '../base/assert.ts'
import { pfnOf, zoneIdOf } from '../base/units.ts'
import { addFreeBlock } from '../mm/free_area.ts'
import {
  createMachine,
  type KernelRules,
  MAX_PAGE_ORDER,
  type MachineSpec,
  type Mm,
  type PcpSpec,
  pageblock_nr_pages,
  type Sysctl,
  type TransparentHugepage,
  type ZoneSpec,
} from '../mm/index.ts'

/** A machine by what a scenario says of it, in pages. */
export interface BootSpec {
  readonly cpus: number
  readonly nodes: readonly { readonly pages: number; readonly movable: number }[]
  readonly swapSlots: number
  /** Default: by the kernel's formula. */
  readonly minFreeKbytes?: number | undefined
  readonly rules: KernelRules
  readonly sysctl: Partial<Sysctl>
  readonly thp: Partial<TransparentHugepage>
}

/** What the workload and the owners of a scenario use of a machine's tables. */
export interface Needs {
  readonly ptes?: number
  readonly slots?: number
  readonly mappings?: number
  readonly ownerCells?: number
  readonly ownerLists?: number
  /** Contents: a cell a page, or all 4096 bytes. */
  readonly contents?: boolean
}

const FIRST_PFN = 4096
const DMA32_END = 1 << 20

/** The machine's tables. Zones follow each other; a node's memory lies together. */
export function machineSpec(machine: BootSpec, needs: Needs): MachineSpec {
  const bare = zonesOf(machine)
  const cpus = Math.max(1, Math.ceil(machine.cpus / machine.nodes.length))
  const settings = zoneSettings(bare, cpus, machine.minFreeKbytes)
  const zones = bare.map(
    (zone, i): ZoneSpec => ({
      ...zone,
      ...settings[i].marks,
      pcp: Array.from({ length: machine.cpus }, () => settings[i].pcp),
    }),
  )
  const end = Math.max(...bare.map(({ startPfn, spanned }) => startPfn + spanned))
  return {
    pfnCount: end,
    zones,
    cpus: machine.cpus,
    swapSlots: machine.swapSlots,
    rules: machine.rules,
    sysctl: machine.sysctl,
    thp: machine.thp,
    ptes: needs.ptes ?? 0,
    slots: needs.slots ?? 0,
    mappings: (needs.mappings ?? 0) + 1,
    ownerCells: needs.ownerCells ?? 0,
    contents: needs.contents ?? false,
  }
}

type BareZone = Pick<ZoneSpec, 'node' | 'name' | 'startPfn' | 'spanned' | 'present' | 'managed'>

/** Watermarks of a zone, in pages, and its per-cpu sets. */
export interface ZoneSettings {
  readonly marks: { readonly min: number; readonly low: number; readonly high: number }
  readonly pcp: PcpSpec
}

/** What the kernel sets for these zones, `cpus` cpus to each. */
export function zoneSettings(
  zones: readonly Pick<ZoneSpec, 'name' | 'managed'>[],
  cpus: number,
  minFreeKbytes?: number,
): ZoneSettings[] {
  // ZONE_MOVABLE holds nothing that the kernel itself needs.
  const lowmem = zones.reduce((sum, { name, managed }) => sum + (name === 'Movable' ? 0 : managed), 0)
  const pagesMin = (minFreeKbytes ?? usualMinFreeKbytes(lowmem, zones.length)) / 4
  return zones.map(({ name, managed }) => {
    const share = Math.floor((pagesMin * managed) / lowmem)
    const min = name === 'Movable' ? Math.min(Math.max(managed >> 10, 32), 128) : share
    const step = Math.max(share >> 2, Math.floor(managed / 1000)) // watermark_scale_factor 10
    const marks = { min, low: min + step, high: min + 2 * step }
    return { marks, pcp: perCpuSet(managed, marks.low, cpus) }
  })
}

function zonesOf({ nodes }: BootSpec): (BareZone & { min: 0; low: 0; high: 0 })[] {
  let at = FIRST_PFN
  const zones: (BareZone & { min: 0; low: 0; high: 0 })[] = []
  const add = (node: number, name: string, pages: number): void => {
    if (pages <= 0) return
    assert(pages % pageblock_nr_pages === 0, 'boot: zones are whole pageblocks')
    const size = { startPfn: at, spanned: pages, present: pages, managed: pages }
    zones.push({ node, name, ...size, min: 0, low: 0, high: 0 })
    at += pages
  }
  nodes.forEach(({ pages, movable }, node) => {
    const kernel = pages - movable
    const below = Math.max(0, Math.min(kernel, DMA32_END - at))
    add(node, 'DMA32', below)
    add(node, 'Normal', kernel - below)
    add(node, 'Movable', movable)
  })
  return zones
}

/** min_free_kbytes, as khugepaged raises it where huge pages are on. */
function usualMinFreeKbytes(lowmem: number, zones: number): number {
  const plain = Math.min(Math.max(Math.floor(Math.sqrt(lowmem * 4 * 16)), 128), 262_144)
  const forHugePages = pageblock_nr_pages * zones * (2 + 9) // 2 pageblocks, and one for each pair of 3 types
  const atMost = Math.floor((lowmem - (plain / 4) * 1.5) / 20) // what lies above the high mark, 5 % of it
  return Math.max(plain, 4 * Math.min(forHugePages, atMost))
}

function perCpuSet(managed: number, low: number, cpus: number): PcpSpec {
  const most = Math.min(managed >> 12, 64)
  const wanted = most + (most >> 1)
  const batch = most <= 1 ? 1 : (1 << (31 - Math.clz32(wanted))) - 1
  const highMin = Math.max(Math.floor(low / cpus), batch << 2)
  const highMax = Math.max(Math.floor(managed / 8 / cpus), batch << 2)
  return { high: highMin, highMin, highMax, batch }
}

/** The machine with all of its memory free, in the largest blocks, lowest first on each list. */
export function boot(spec: MachineSpec): Mm {
  const mm = createMachine(spec)
  for (let zone = 0; zone < mm.zones; zone++) {
    const start = mm.zoneStart[zoneIdOf(zone)]
    const blocks: { pfn: number; order: number }[] = []
    for (let pfn = start; pfn < mm.zoneEnd[zoneIdOf(zone)]; ) {
      let order = MAX_PAGE_ORDER
      while (pfn % (1 << order) !== 0 || pfn + (1 << order) > mm.zoneEnd[zoneIdOf(zone)]) order--
      blocks.push({ pfn, order })
      pfn += 1 << order
    }
    for (const { pfn, order } of blocks) addFreeBlock(mm, pfnOf(pfn), order)
  }
  return mm
}
