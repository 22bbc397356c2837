/**
 * Machines of several nodes, all of whose memory is free or in use for good: for tests of who gets huge pages where.
 *
 * @ours
 */

import { orderAt } from '../analyze/free_blocks.ts'
import { FastCpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, type Vpn, vpnOf, zoneIdOf } from '../base/units.ts'
import { addFreeBlock } from '../mm/free_area.ts'
import { createMachine, type MachineSpec } from '../mm/index.ts'
import { MIGRATE_UNMOVABLE, pageblock_nr_pages } from '../mm/limits.ts'
import type { Mm, PcpSpec } from '../mm/page.ts'
import { allocFromZone } from '../mm/page_alloc.ts'
import type { AnonRegion } from '../mm/thp.ts'

const STRAIGHT_TO_BUDDY: PcpSpec = { high: 0, highMin: 0, highMax: 0, batch: 1 }

/** A machine with one Normal zone a node, of so many pageblocks; all of it is free. No watermarks. */
export function machineOfNodes(
  blocks: readonly number[],
  more: Partial<Omit<MachineSpec, 'pfnCount' | 'zones'>> = {},
): Mm {
  // Pageblock 0 stays empty: pfn 0 in the page cache looks like an empty slot.
  let start = pageblock_nr_pages
  const zones = blocks.map((count, node) => {
    const pages = count * pageblock_nr_pages
    const startPfn = start
    start += pages
    return {
      node,
      name: 'Normal',
      startPfn,
      spanned: pages,
      present: pages,
      managed: pages,
      min: 0,
      low: 0,
      high: 0,
      pcp: Array.from({ length: more.cpus ?? 1 }, () => STRAIGHT_TO_BUDDY),
    }
  })
  const mm = createMachine({ pfnCount: start, zones, ptes: 8192, slots: 64, contents: true, ...more })
  for (const { startPfn, spanned } of zones) {
    let pfn = startPfn
    while (pfn < startPfn + spanned) {
      const order = orderAt(pfn, startPfn + spanned - pfn)
      addFreeBlock(mm, pfnOf(pfn), order)
      pfn += 1 << order
    }
  }
  return mm
}

/** Takes so many huge pages of a node for good: nothing can be compacted or reclaimed there. */
export function occupy(mm: Mm, node: number, hugePages: number): Pfn[] {
  const cpu = new FastCpu()
  return Array.from({ length: hugePages }, () =>
    pfnOf(allocFromZone(cpu, mm, zoneIdOf(node), 9, MIGRATE_UNMOVABLE)),
  )
}

/** A region of so many huge pages that begins at a multiple of one. */
export function regionOf(hugePages: number, advice?: AnonRegion['advice']): AnonRegion {
  const start = vpnOf(pageblock_nr_pages)
  const end = vpnOf(start + hugePages * pageblock_nr_pages)
  return advice === undefined ? { start, end } : { start, end, advice }
}

/** The vpn so many pages into a region. */
export const vpnIn = ({ start }: AnonRegion, pages: number): Vpn => vpnOf(start + pages)
