/**
 * What is free in an engine, in the terms of the page map, so that one set of counters serves captures
 * and engines alike.
 */

import { listFirst, listNext } from '../base/list.ts'
import { type CpuId, cpuIdOf, pfnOf, type ZoneId, zoneIdOf } from '../base/units.ts'
import { buddyOrder, isBuddy, type Mm, NR_PCP_LISTS } from '../mm/page.ts'
import { pcpOrderOf } from '../mm/pcp.ts'
import { OWNER_FREE, OWNER_PCP } from './classify.ts'

/** By pfn: OWNER_FREE in a free block, OWNER_PCP on a per-cpu list, 0 anything else. */
export function freeMap(mm: Mm): Uint8Array {
  const map = new Uint8Array(mm.pfnCount)
  for (let at = 0; at < mm.pfnCount; ) {
    const pfn = pfnOf(at)
    if (!isBuddy(mm.mapcount[pfn])) {
      at++
      continue
    }
    const end = at + (1 << buddyOrder(mm.mapcount[pfn]))
    map.fill(OWNER_FREE, at, end)
    at = end
  }
  forEachCpuOfZone(mm, (zone, cpu) => {
    const pcp = mm.pcpOf(zone, cpu)
    for (let list = 0; list < NR_PCP_LISTS; list++) {
      const head = mm.pcpList(pcp, list)
      for (let page = listFirst(mm.links, head); page !== head; page = listNext(mm.links, page)) {
        map.fill(OWNER_PCP, page, page + (1 << pcpOrderOf(list)))
      }
    }
  })
  return map
}

/** Calls `visit` for every zone and cpu: each has one per-cpu page set. */
export function forEachCpuOfZone(mm: Mm, visit: (zone: ZoneId, cpu: CpuId) => void): void {
  for (let zone = 0; zone < mm.zones; zone++) {
    for (let cpu = 0; cpu < mm.cpus; cpu++) visit(zoneIdOf(zone), cpuIdOf(cpu))
  }
}
