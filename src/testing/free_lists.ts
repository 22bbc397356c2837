/**
 * The order of free lists and per-cpu lists as a kernel was seen to have it: what a capture does not show.
 *
 * The file is a stream of little-endian u32, one record a list, head first:
 *   'ZFL1', node, kind of zone, order, migratetype, n, n pfns      a free list
 *   'PZC1', node, kind of zone, cpu, index, n, n pfns              a per-cpu list
 *
 * @ours
 */

import { isListed, listAddTail, listDel } from '../base/list.ts'
import { cpuIdOf, pcpIdOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { buddyOrder, isBuddy, type Mm } from '../mm/page.ts'
import { pcpOrderOf } from '../mm/pcp.ts'

const FREE_LIST = 0x5a464c31
const PCP_LIST = 0x5a504331
const HEADER = 6

/** Puts the free pages of a loaded machine in the recorded order. Gives how many blocks that is. Throws if one is not free there. */
export function orderFreeLists(mm: Mm, file: Buffer): number {
  const cells = Array.from({ length: file.length / 4 }, (_, i) => file.readUInt32LE(4 * i))
  const sets = Array.from({ length: mm.zones * mm.cpus }, (_, set) => pcpIdOf(set))
  const onPcpLists = (): number => sets.reduce((sum, set) => sum + mm.pcpCount[set], 0)
  const expected = onPcpLists()
  for (const set of sets) mm.pcpCount[set] = 0
  let blocks = 0
  for (let at = 0; at < cells.length; ) {
    const [what, node, kind, a, b, n] = cells.slice(at, at + HEADER)
    const pfns = cells.slice(at + HEADER, at + HEADER + n)
    const zone = mm.zoneSpecs.findIndex((spec, i) => spec.node === node && mm.zoneIdx[zoneIdOf(i)] === kind)
    if (what === FREE_LIST) orderFreeList(mm, zone, a, b, pfns)
    else if (what === PCP_LIST) orderPcpList(mm, zone, a, b, pfns)
    else throw new Error(`free lists: no record at cell ${at}`)
    blocks += n
    at += HEADER + n
  }
  if (onPcpLists() !== expected) throw new Error(`free lists: ${expected} per-cpu pages, not ${onPcpLists()}`)
  return blocks
}

function orderFreeList(mm: Mm, zone: number, order: number, mt: number, pfns: readonly number[]): void {
  for (const at of pfns) {
    const pfn = pfnOf(at)
    const { [pfn]: mapcount } = mm.mapcount
    if (!isBuddy(mapcount) || buddyOrder(mapcount) !== order || mm.migratetypeOf(pfn) !== mt)
      throw new Error(`free lists: ${at} heads no free block of order ${order} and type ${mt}`)
    listDel(mm.links, pfn)
    listAddTail(mm.links, pfn, mm.freeList(zone, order, mt))
  }
}

/** A capture says which pages are on per-cpu lists, not on whose, nor in blocks of which order. */
function orderPcpList(mm: Mm, zone: number, cpu: number, index: number, pfns: readonly number[]): void {
  const pages = 1 << pcpOrderOf(index)
  for (const first of pfns) {
    for (let page = first; page < first + pages; page++) {
      if (!isListed(mm.links, page)) throw new Error(`free lists: ${page} is on no per-cpu list`)
      listDel(mm.links, page)
    }
    const pcp = mm.pcpOf(zone, cpuIdOf(cpu))
    listAddTail(mm.links, first, mm.pcpList(pcp, index))
    mm.pcpCount[pcp] += pages
  }
}
