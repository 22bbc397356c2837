/**
 * Watermarks: how much of a zone must stay free for whom.
 *
 * Three marks, min < low < high. An allocation begins at low; below it, kswapd is woken; the slow path goes down to
 * min, and those who cannot wait to a part of min. All three are raised for a while (boosted) when a fallback has
 * mixed pageblocks, so that kswapd makes room.
 *
 * Rules:
 *   - what is counted may be out of date: a check is made without a lock, and the free lists have the last word.
 *
 * @kernel mm/page_alloc.c v6.18
 */

import type { ZoneId } from '../base/units.ts'
import { hasFreeBlock } from './free_area.ts'
import {
  ALLOC_CMA,
  ALLOC_HIGHATOMIC,
  ALLOC_MIN_RESERVE,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_RESERVES,
  ALLOC_WMARK_LOW,
  ALLOC_WMARK_MASK,
  ALLOC_WMARK_MIN,
} from './gfp.ts'
import {
  MAX_NR_ZONES,
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_PCPTYPES,
  NR_PAGE_ORDERS,
  pageblock_nr_pages,
  pageblock_order,
} from './limits.ts'
import { type Mm, zonesOfNode } from './page.ts'
import { freePagesInBlocks } from './vmstat.ts'

export const minWmarkPages = (mm: Mm, zone: ZoneId): number => mm.wmarkMin[zone] + mm.wmarkBoost[zone]
export const lowWmarkPages = (mm: Mm, zone: ZoneId): number => mm.wmarkLow[zone] + mm.wmarkBoost[zone]
export const highWmarkPages = (mm: Mm, zone: ZoneId): number => mm.wmarkHigh[zone] + mm.wmarkBoost[zone]

/** The mark that ALLOC flags name, in pages. @kernel wmark_pages() */
export function wmarkPages(mm: Mm, zone: ZoneId, allocFlags: number): number {
  const which = allocFlags & ALLOC_WMARK_MASK
  if (which === ALLOC_WMARK_MIN) return minWmarkPages(mm, zone)
  return which === ALLOC_WMARK_LOW ? lowWmarkPages(mm, zone) : highWmarkPages(mm, zone)
}

/** Pages that requests for `highestZoneidx` must leave in the zone. */
export const lowmemReserve = (mm: Mm, zone: ZoneId, highestZoneidx: number): number =>
  mm.lowmemReserve[zone * MAX_NR_ZONES + highestZoneidx]

/** Free pages that this request may not have: reserves, CMA, and what a block of its order cannot be cut from. */
function unusableFree(mm: Mm, zone: ZoneId, order: number, allocFlags: number): number {
  let unusable = (1 << order) - 1
  if ((allocFlags & ALLOC_RESERVES) === 0) unusable += mm.nrFreeHighatomic[zone]
  if ((allocFlags & ALLOC_CMA) === 0) unusable += mm.nrFreeCma[zone]
  return unusable
}

/**
 * True if an allocation leaves the zone above `mark`, and, above order 0, a block for it is there.
 *
 * @kernel mm/page_alloc.c __zone_watermark_ok() v6.18
 */
export function zoneWatermarkOk(
  mm: Mm,
  zone: ZoneId,
  order: number,
  mark: number,
  highestZoneidx: number,
  allocFlags: number,
  freePages: number,
): boolean {
  const left = freePages - unusableFree(mm, zone, order, allocFlags)
  if (left <= lowestMark(mark, allocFlags) + lowmemReserve(mm, zone, highestZoneidx)) return false
  return order === 0 || hasBlockFor(mm, zone, order, allocFlags)
}

/** How far below the mark those may go who have a right to the reserves. */
function lowestMark(mark: number, allocFlags: number): number {
  if ((allocFlags & ALLOC_RESERVES) === 0) return mark
  let min = mark
  if ((allocFlags & ALLOC_MIN_RESERVE) !== 0) {
    min -= Math.floor(min / 2)
    if ((allocFlags & ALLOC_NON_BLOCK) !== 0) min -= Math.floor(min / 4)
  }
  if ((allocFlags & ALLOC_OOM) !== 0) min -= Math.floor(min / 2)
  return min
}

function hasBlockFor(mm: Mm, zone: ZoneId, order: number, allocFlags: number): boolean {
  for (let current = order; current < NR_PAGE_ORDERS; current++) {
    for (let mt = 0; mt < MIGRATE_PCPTYPES; mt++) if (hasFreeBlock(mm, zone, current, mt)) return true
    if ((allocFlags & ALLOC_CMA) !== 0 && hasFreeBlock(mm, zone, current, MIGRATE_CMA)) return true
    if (
      (allocFlags & (ALLOC_HIGHATOMIC | ALLOC_OOM)) !== 0 &&
      hasFreeBlock(mm, zone, current, MIGRATE_HIGHATOMIC)
    )
      return true
  }
  return false
}

/**
 * The same for an attempt to allocate: order 0 without looking at blocks, and for those with a right to the min
 * reserve without the boost.
 *
 * @kernel mm/page_alloc.c zone_watermark_fast() v6.18
 */
export function zoneWatermarkFast(
  mm: Mm,
  zone: ZoneId,
  order: number,
  mark: number,
  highestZoneidx: number,
  allocFlags: number,
  freePages: number,
): boolean {
  if (order === 0) {
    const usable = freePages - Math.min(freePages, unusableFree(mm, zone, 0, allocFlags))
    if (usable > mark + lowmemReserve(mm, zone, highestZoneidx)) return true
  }
  if (zoneWatermarkOk(mm, zone, order, mark, highestZoneidx, allocFlags, freePages)) return true
  const ignoresBoost =
    order === 0 &&
    (allocFlags & ALLOC_MIN_RESERVE) !== 0 &&
    (allocFlags & ALLOC_WMARK_MASK) === ALLOC_WMARK_MIN &&
    mm.wmarkBoost[zone] > 0
  return (
    ignoresBoost && zoneWatermarkOk(mm, zone, order, mm.wmarkMin[zone], highestZoneidx, allocFlags, freePages)
  )
}

/**
 * Raises the zone's marks by a pageblock, as far as the boost factor allows. False: not in this zone.
 *
 * @locks  needs (Z)
 * @kernel mm/page_alloc.c boost_watermark() v6.18
 */
export function boostWatermarkLocked(mm: Mm, zone: ZoneId): boolean {
  const factor = mm.sysctl.watermark_boost_factor
  // A small zone would be out of memory at once.
  if (factor === 0 || pageblock_nr_pages * 4 > mm.zoneManaged[zone]) return false
  const most = Math.floor((mm.wmarkHigh[zone] * factor) / 10_000)
  if (most === 0) return false
  mm.wmarkBoost[zone] = Math.min(mm.wmarkBoost[zone] + pageblock_nr_pages, Math.max(pageblock_nr_pages, most))
  return true
}

/**
 * True if one zone of the node, up to that kind, is above its high mark and has a block of that order: then kswapd
 * has nothing to do. With defrag_mode only whole free pageblocks count.
 *
 * @kernel mm/vmscan.c pgdat_balanced() v6.18
 */
export function nodeBalanced(mm: Mm, nid: number, order: number, highestZoneidx: number): boolean {
  const zones = zonesOfNode(mm, nid, highestZoneidx).filter((zone) => mm.zoneManaged[zone] > 0)
  const inBlocks = mm.sysctl.defrag_mode !== 0 && order > 0
  return (
    zones.length === 0 ||
    zones.some((zone) => {
      const free = inBlocks ? freePagesInBlocks(mm, zone, pageblock_order) : mm.nrFree[zone]
      return zoneWatermarkOk(mm, zone, order, highWmarkPages(mm, zone), highestZoneidx, 0, free)
    })
  )
}

/** True if marks of the node are raised: kswapd has fragmentation to make good. @kernel pgdat_watermark_boosted() */
export const nodeBoosted = (mm: Mm, nid: number, highestZoneidx: number): boolean =>
  zonesOfNode(mm, nid, highestZoneidx).some((zone) => mm.wmarkBoost[zone] > 0)
