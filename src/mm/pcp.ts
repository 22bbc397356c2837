/**
 * Per-cpu lists: pages of small orders, and of order 9, wait here between being freed and being allocated again.
 *
 * What is on them is neither buddy nor counted as free: what compaction vacates is found here first, not in
 * buddyinfo. Each cpu has one set a zone: a list for each order 0..3 and each of three migratetypes, and two for
 * order 9.
 *
 * Rules:
 *   - a set is used by its own cpu only, under (C); sections here run under (C), those that reach the free lists
 *     under (Z);
 *   - pages leave oldest first, in bulk, when the set is over its high mark.
 *
 * Not here: what reclaim does to the high mark, and the variant of draining for large caches
 * (PCPF_FREE_HIGH_BATCH), which a capture does not show.
 *
 * @kernel mm/page_alloc.c v6.18; spec B-7
 */

import type { Cpu } from '../base/cpu.ts'
import { listAdd, listAddTail, listDel, listEmpty, listFirst, listLast } from '../base/list.ts'
import {
  type CpuId,
  cpuIdOf,
  type PcpId,
  type Pfn,
  pcpIdOf,
  pfnOf,
  type ZoneId,
  zoneIdOf,
} from '../base/units.ts'
import { RMQUEUE_NORMAL, type RmqueueMode, rmqueueModeLocked } from './fallback.ts'
import { freeOnePageLocked } from './free_area.ts'
import { MIGRATE_MOVABLE, MIGRATE_PCPTYPES, PAGE_ALLOC_COSTLY_ORDER, pageblock_order } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { type Mm, NR_PCP_LISTS } from './page.ts'

/** Sets scale their batch by at most this power of two. */
const PCP_BATCH_SCALE_MAX = 5

// What kind of list.

/** True for orders that have a per-cpu list. */
export const isPcpOrder = (order: number): boolean =>
  order <= PAGE_ALLOC_COSTLY_ORDER || order === pageblock_order

/** Index of the list that keeps blocks of that order and type. */
export const pcpIndexOf = (order: number, mt: number): number =>
  order <= PAGE_ALLOC_COSTLY_ORDER
    ? order * MIGRATE_PCPTYPES + mt
    : (PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES + (mt === MIGRATE_MOVABLE ? 1 : 0)

/** Order of the blocks that a per-cpu list keeps. */
export const pcpOrderOf = (index: number): number =>
  index < (PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES ? (index / MIGRATE_PCPTYPES) | 0 : pageblock_order

/** Migratetype under which a page of that type is kept per cpu: CMA and HIGHATOMIC go with MOVABLE. */
export const pcpTypeOf = (mt: number): number => (mt < MIGRATE_PCPTYPES ? mt : MIGRATE_MOVABLE)

/**
 * How many pages of the set are over its high mark after a free of that order, and should go to the
 * buddy lists now. The longer pages are freed without an allocation in between, the more at a time.
 *
 * @locks   needs (C)
 * @kernel  mm/page_alloc.c free_frozen_page_commit(), nr_pcp_high(), nr_pcp_free() v6.18; nr_pcp_free() v6.1
 */
function pagesOverHighLocked(mm: Mm, pcp: PcpId, order: number): number {
  const highOrder = order > 0 && order <= PAGE_ALLOC_COSTLY_ORDER
  return mm.rules.pcpHighAutoTuned ? autoTunedOver(mm, pcp, order, highOrder) : fixedOver(mm, pcp, highOrder)
}

/** With a fixed high mark. Blocks of orders 1 to 3 empty the set once frees are in a row. */
function fixedOver(mm: Mm, pcp: PcpId, highOrder: boolean): number {
  if (highOrder && mm.pcpFreeFactor[pcp] > 0) return mm.pcpCount[pcp]
  const high = mm.pcpHigh[pcp]
  const batch = mm.pcpBatch[pcp]
  if (mm.pcpCount[pcp] < high) return 0
  if (high < batch) return 1
  const scaled = batch << mm.pcpFreeFactor[pcp]
  if (scaled < high - batch) mm.pcpFreeFactor[pcp]++
  return clamp(scaled, batch, high - batch)
}

/** With a high mark that follows how much is freed in a row. */
function autoTunedOver(mm: Mm, pcp: PcpId, order: number, highOrder: boolean): number {
  const batch = mm.pcpBatch[pcp]
  const most = batch << PCP_BATCH_SCALE_MAX
  const highMin = mm.pcpHighMin[pcp]
  const highMax = mm.pcpHighMax[pcp]
  const drainAll =
    highOrder && mm.pcpPrevHighOrder[pcp] === 1 && mm.pcpFreeCount[pcp] >= batch + Math.floor(highMin / 2)
  mm.pcpPrevHighOrder[pcp] = highOrder ? 1 : 0
  if (mm.pcpFreeCount[pcp] < most) mm.pcpFreeCount[pcp] += 1 << order
  const high = clamp(mm.pcpHigh[pcp], highMin, highMax)
  mm.pcpHigh[pcp] = high
  if (drainAll) {
    mm.pcpHigh[pcp] = Math.max(high - most, highMin)
    return Math.min(mm.pcpCount[pcp], most)
  }
  if (mm.pcpCount[pcp] < high) return 0
  const needed = mm.pcpFreeCount[pcp] + batch
  if (high > 0 && highMin !== highMax && high < needed) mm.pcpHigh[pcp] = clamp(needed, highMin, highMax)
  return high < batch ? 1 : clamp(mm.pcpFreeCount[pcp], batch, high - batch)
}

const clamp = (n: number, least: number, most: number): number => Math.min(Math.max(n, least), most)

/** Adds a free block to its per-cpu list, first. @locks needs (C). Gives the pages that should leave the set now. */
export function pcpAddLocked(mm: Mm, pcpIndex: number, pfn: number, order: number): number {
  const pcp = pcpIdOf(pcpIndex)
  const list = pcpIndexOf(order, pcpTypeOf(mm.migratetypeOf(pfnOf(pfn))))
  mm.pcpAllocFactor[pcp] >>= 1
  listAdd(mm.links, pfn, mm.pcpList(pcp, list))
  mm.pcpCount[pcp] += 1 << order
  return pagesOverHighLocked(mm, pcp, order)
}

/** Takes the first block of a per-cpu list; -1 if it is empty. @locks needs (C) */
export function pcpTakeLocked(mm: Mm, pcpIndex: number, list: number): number {
  const pcp = pcpIdOf(pcpIndex)
  const head = mm.pcpList(pcp, list)
  if (listEmpty(mm.links, head)) return -1
  const pfn = listFirst(mm.links, head)
  listDel(mm.links, pfn)
  mm.pcpCount[pcp] -= 1 << pcpOrderOf(list)
  mm.pcpFreeCount[pcp] >>= 1
  mm.pcpFreeFactor[pcp] >>= 1
  return pfn
}

/**
 * Moves about `count` pages of a set to the free lists, oldest first, list by list from `firstList` on.
 *
 * @locks   needs (Z) of the set's zone; runs on the set's cpu, so nothing else touches its lists
 * @kernel  mm/page_alloc.c free_pcppages_bulk() v6.18
 */
export function freePcppagesBulkLocked(mm: Mm, pcpIndex: number, count: number, firstList: number): number {
  const pcp = pcpIdOf(pcpIndex)
  let left = Math.min(count, mm.pcpCount[pcp])
  let list = firstList
  let seenEmpty = 0
  while (left > 0 && seenEmpty < NR_PCP_LISTS) {
    const head = mm.pcpList(pcp, list)
    if (listEmpty(mm.links, head)) seenEmpty++
    else seenEmpty = 0
    const order = pcpOrderOf(list)
    while (left > 0 && !listEmpty(mm.links, head)) {
      const pfn = listLast(mm.links, head)
      listDel(mm.links, pfn)
      left -= 1 << order
      mm.pcpCount[pcp] -= 1 << order
      mm.trace?.mmPagePcpuDrain(pfnOf(pfn), order, mm.migratetypeOf(pfnOf(pfn)), cpuIdOf(pcp % mm.cpus))
      freeOnePageLocked(mm, pfn, order, pcp)
    }
    list = (list + 1) % NR_PCP_LISTS
  }
  return 0
}

/**
 * Gives all pages of a cpu's set in a zone back to the free lists. Runs on that cpu.
 *
 * @locks   takes and drops (Z)
 * @kernel  mm/page_alloc.c drain_pages_zone() v6.18
 */
export function drainPagesZone(cpu: Cpu, mm: Mm, zone: ZoneId, of: CpuId): void {
  const pcp = mm.pcpOf(zone, of)
  const count = cpu.load(mm.pcpCount, pcp)
  cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, freePcppagesBulkLocked, mm, pcp, count, 0)
}

/** Gives the per-cpu pages of every zone and cpu back to the free lists. @kernel mm/page_alloc.c drain_all_pages() v6.18 */
export function drainAllPages(cpu: Cpu, mm: Mm): void {
  for (let zone = 0; zone < mm.zones; zone++)
    for (let of = 0; of < mm.cpus; of++) drainPagesZone(cpu, mm, zoneIdOf(zone), cpuIdOf(of))
}

// Refilling.

/**
 * Refills a per-cpu list with a batch of blocks, from the pageblocks that an allocation of that kind may use. Gives how
 * many it got.
 *
 * @locks  needs (Z); runs on the set's cpu
 * @kernel mm/page_alloc.c rmqueue_bulk() v6.18
 */
export function rmqueueBulkLocked(
  mm: Mm,
  pcpIndex: number,
  orderAndType: number,
  allocFlags: number,
): number {
  const pcp = pcpIdOf(pcpIndex)
  const zone = Math.floor(pcpIndex / mm.cpus)
  const order = orderAndType >> 3
  const mt = orderAndType & 7
  const at: RmqueueMode = { mode: RMQUEUE_NORMAL }
  const list = mm.pcpList(pcp, pcpIndexOf(order, mt))
  const pages = mm.rules.pcpHighAutoTuned ? pagesToRefillLocked(mm, pcp, order) : mm.pcpBatch[pcp]
  const blocks = pages > 1 ? Math.max(pages >> order, 2) : 1
  let got = 0
  while (got < blocks) {
    const pfn = rmqueueModeLocked(mm, zone, order, mt, allocFlags, at)
    if (pfn < 0) break
    mm.trace?.mmPageAllocZoneLocked(pfnOf(pfn), order, mt, true)
    listAddTail(mm.links, pfn, list)
    mm.pcpCount[pcp] += 1 << order
    got++
  }
  return got
}

/**
 * How many pages an empty list takes from the free lists: twice as many each time that nothing is freed in
 * between, as far as the high mark allows, which rises with it.
 *
 * @locks   needs (C)
 * @kernel  mm/page_alloc.c nr_pcp_alloc() v6.18
 */
function pagesToRefillLocked(mm: Mm, pcp: PcpId, order: number): number {
  const base = mm.pcpBatch[pcp]
  let high = clamp(mm.pcpHigh[pcp], mm.pcpHighMin[pcp], mm.pcpHighMax[pcp])
  if (high < base) return 1
  let batch = order > 0 ? base : base << mm.pcpAllocFactor[pcp]
  if (mm.pcpHighMin[pcp] !== mm.pcpHighMax[pcp]) high = Math.min(high + batch, mm.pcpHighMax[pcp])
  mm.pcpHigh[pcp] = high
  if (order > 0) return batch
  const most = Math.max(high - mm.pcpCount[pcp] - base, base)
  if (batch <= most && mm.pcpAllocFactor[pcp] < PCP_BATCH_SCALE_MAX) mm.pcpAllocFactor[pcp]++
  batch = Math.min(batch, most)
  return batch
}

// Building a machine: for loaders, before anything runs on it.

/** Puts a free page first on a per-cpu list. */
export function addPcpPage(mm: Mm, pcp: PcpId, pfn: Pfn): void {
  listAdd(mm.links, pfn, mm.pcpList(pcp, pcpIndexOf(0, pcpTypeOf(mm.migratetypeOf(pfn)))))
  mm.pcpCount[pcp]++
}
