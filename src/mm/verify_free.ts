/**
 * What holds of free memory: free areas, per-cpu lists, reserves and marks. Sentences of verify.ts.
 *
 * @ours
 */

import { cellsOf, pcpIdOf, pfnOf, type ZoneId, zoneIdOf } from '../base/units.ts'
import {
  MAX_PAGE_ORDER,
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_TYPES,
  NR_PAGE_ORDERS,
  PGTY_buddy,
  pageblock_nr_pages,
  pageblockOf,
} from './limits.ts'
import { buddyOrder, buddyValue, isBuddy, type Mm } from './page.ts'
import { firstFinding, forPcpLists, freeBlockHeads, listLength, walk, wrong } from './verify_lists.ts'

const freeLists = (mm: Mm): number => mm.zones * NR_PAGE_ORDERS * MIGRATE_TYPES

const freeListOf = (index: number): { zone: number; order: number; mt: number } => ({
  zone: Math.floor(index / (NR_PAGE_ORDERS * MIGRATE_TYPES)),
  order: Math.floor(index / MIGRATE_TYPES) % NR_PAGE_ORDERS,
  mt: index % MIGRATE_TYPES,
})

// Free blocks.

/** The mapcount of a free block's head is its type and its order, and nothing else. */
export function aFreeBlockIsItsTypeAndItsOrder(mm: Mm): string | undefined {
  const { mapcount } = mm
  for (const pfn of freeBlockHeads(mm)) {
    const order = buddyOrder(mapcount[pfn])
    if (order > MAX_PAGE_ORDER || mapcount[pfn] !== buddyValue(order))
      return wrong(pfn, 'its order is impossible')
  }
  return undefined
}

/** A page has type buddy if and only if it is on the free list of its zone, its order and its pageblock's type. */
export function everyFreeBlockIsOnItsFreeList(mm: Mm): string | undefined {
  const listed = new Uint8Array(mm.pfnCount)
  const broken = firstFinding(freeLists(mm), (index) => {
    const { zone, order, mt } = freeListOf(index)
    return walk(mm, mm.freeList(zone, order, mt), (node) => {
      const pfn = pfnOf(node)
      listed[node] = 1
      if (!isBuddy(mm.mapcount[pfn])) return wrong(node, 'it is on a free list and not free')
      if (buddyOrder(mm.mapcount[pfn]) !== order)
        return wrong(node, 'it is on the free list of another order')
      if (mm.zoneOf(pfn) !== zone) return wrong(node, 'it is on a free list of another zone')
      return mm.migratetypeOf(pfn) === mt
        ? undefined
        : wrong(node, 'it is on the free list of another migratetype')
    })
  })
  if (broken !== undefined) return broken
  const lost = freeBlockHeads(mm).find((pfn) => listed[pfn] === 0)
  return lost === undefined ? undefined : wrong(lost, 'it is free and on no free list')
}

/** A free block begins at a multiple of its size and lies within its zone; its pageblocks have one type. */
export function everyFreeBlockIsAligned(mm: Mm): string | undefined {
  const { mapcount } = mm
  for (const pfn of freeBlockHeads(mm)) {
    const pages = 1 << buddyOrder(mapcount[pfn])
    const zone = mm.zoneOf(pfn)
    if (pfn % pages !== 0) return wrong(pfn, 'it is not a multiple of its size')
    if (pfn < mm.zoneStart[zone] || pfn + pages > mm.zoneEnd[zone])
      return wrong(pfn, 'it reaches beyond its zone')
    if (mm.migratetypeOf(pfnOf(pfn + pages - 1)) !== mm.migratetypeOf(pfn))
      return wrong(pfn, 'its pageblocks differ in type')
  }
  return undefined
}

/** No free block lies in another. */
export function freeBlocksShareNoPage(mm: Mm): string | undefined {
  const { mapcount } = mm
  let end = 0
  for (const pfn of freeBlockHeads(mm)) {
    if (pfn < end) return wrong(pfn, 'it heads a free block and lies in another')
    end = pfn + (1 << buddyOrder(mapcount[pfn]))
  }
  return undefined
}

/**
 * No free block has a free buddy that it may merge with. Two whole pageblocks may: one that was reserved for
 * HIGHATOMIC changes its list as it is when it is given back (unreserve_highatomic_pageblock()).
 */
export function buddiesAreMerged(mm: Mm): string | undefined {
  const { mapcount } = mm
  for (const pfn of freeBlockHeads(mm)) {
    const pages = 1 << buddyOrder(mapcount[pfn])
    if (pages >= pageblock_nr_pages) continue
    const buddy = pfnOf(pfn ^ pages)
    if (mapcount[buddy] === mapcount[pfn]) return wrong(pfn, 'it and its buddy are both free')
  }
  return undefined
}

// Counts.

/** Pages on the free lists of one zone and type. */
function freePagesOfType(mm: Mm, zone: number, mt: number): number {
  let pages = 0
  for (let order = 0; order < NR_PAGE_ORDERS; order++)
    pages += listLength(mm, mm.freeList(zone, order, mt)) << order
  return pages
}

const miscounted = (
  mm: Mm,
  zone: ZoneId,
  what: string,
  counted: number,
  found: number,
): string | undefined =>
  counted === found
    ? undefined
    : wrong(mm.zoneStart[zone], `its zone counts ${counted} ${what}, and has ${found}`)

/** `nrFree` is the number of pages on the free lists of the zone, those of isolated pageblocks left out. */
export function nrFreeCountsTheFreeLists(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    let pages = 0
    for (let mt = 0; mt < MIGRATE_TYPES; mt++) {
      if (mt !== MIGRATE_ISOLATE) pages += freePagesOfType(mm, i, mt)
    }
    return miscounted(mm, zoneIdOf(i), 'free pages', mm.nrFree[zoneIdOf(i)], pages)
  })
}

/** `nrFreeCma` is the number of pages on the CMA lists of the zone. */
export function nrFreeCmaCountsTheCmaLists(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    return miscounted(mm, zone, 'free CMA pages', mm.nrFreeCma[zone], freePagesOfType(mm, i, MIGRATE_CMA))
  })
}

/** `nrFreeHighatomic` is the number of pages on the HIGHATOMIC lists of the zone. */
export function nrFreeHighatomicCountsTheHighatomicLists(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    const found = freePagesOfType(mm, i, MIGRATE_HIGHATOMIC)
    return miscounted(mm, zone, 'free HIGHATOMIC pages', mm.nrFreeHighatomic[zone], found)
  })
}

/** `nrFreeBlocks` is the length of each free list. */
export function nrFreeBlocksCountTheFreeLists(mm: Mm): string | undefined {
  return firstFinding(freeLists(mm), (index) => {
    const { zone, order, mt } = freeListOf(index)
    const length = listLength(mm, mm.freeList(zone, order, mt))
    const counted = mm.nrFreeBlocks[index]
    if (length === counted) return undefined
    return miscounted(mm, zoneIdOf(zone), `blocks of order ${order} and type ${mt}`, counted, length)
  })
}

// The reserve, and marks.

/** `nrReservedHighatomic` is the size of the HIGHATOMIC pageblocks of the zone. */
export function nrReservedHighatomicCountsThePageblocks(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    let pages = 0
    const start = mm.zoneStart[zone] - (mm.zoneStart[zone] % pageblock_nr_pages)
    for (let block = start; block < mm.zoneEnd[zone]; block += pageblock_nr_pages) {
      if (mm.migratetypeOf(pfnOf(block)) === MIGRATE_HIGHATOMIC) pages += pageblock_nr_pages
    }
    return miscounted(mm, zone, 'reserved pages', mm.nrReservedHighatomic[zone], pages)
  })
}

/** The HIGHATOMIC reserve is a hundredth of the zone at most, rounded up to pageblocks; the last block may be of two. */
export function theHighatomicReserveIsBounded(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    const share = Math.floor(mm.zoneManaged[zone] / 100)
    const blocks = share < pageblock_nr_pages ? 0 : Math.ceil(share / pageblock_nr_pages) + 1
    return mm.nrReservedHighatomic[zone] <= blocks * pageblock_nr_pages
      ? undefined
      : wrong(mm.zoneStart[zone], `its zone reserves ${mm.nrReservedHighatomic[zone]} pages for HIGHATOMIC`)
  })
}

/** The marks of a zone rise from min to high, and none is negative. */
export function watermarksRise(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    const rise =
      mm.wmarkMin[zone] >= 0 &&
      mm.wmarkMin[zone] <= mm.wmarkLow[zone] &&
      mm.wmarkLow[zone] <= mm.wmarkHigh[zone]
    return rise ? undefined : wrong(mm.zoneStart[zone], 'the watermarks of its zone do not rise')
  })
}

/** Marks are boosted no further than the factor allows, or by one pageblock; those of small zones never. */
export function theBoostIsBounded(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    const boost = mm.wmarkBoost[zone]
    const share = Math.floor((mm.wmarkHigh[zone] * mm.sysctl.watermark_boost_factor) / 10_000)
    const most = mm.zoneManaged[zone] < 4 * pageblock_nr_pages ? 0 : Math.max(share, pageblock_nr_pages)
    return boost >= 0 && boost <= most
      ? undefined
      : wrong(mm.zoneStart[zone], `the watermarks of its zone are boosted by ${boost} pages`)
  })
}

// Per-cpu lists.

// 0: nowhere.
const IN_BUDDY = 1
const ON_PCP = 2

/** The pages of free blocks, marked. */
function pagesOfFreeBlocks(mm: Mm): Uint8Array {
  const place = new Uint8Array(mm.pfnCount)
  for (const pfn of freeBlockHeads(mm)) place.fill(IN_BUDDY, pfn, pfn + (1 << buddyOrder(mm.mapcount[pfn])))
  return place
}

/** Where each free page is: in a free block, or on a per-cpu list. */
function placesOfFreePages(mm: Mm): Uint8Array {
  const place = pagesOfFreeBlocks(mm)
  forPcpLists(mm, (head, order) =>
    walk(mm, head, (node) => {
      place.fill(ON_PCP, node, node + (1 << order))
      return undefined
    }),
  )
  return place
}

/** A free page has no reference, no flag, no mapping and nobody who maps it. */
export function freePagesAreUnreferenced(mm: Mm): string | undefined {
  const place = placesOfFreePages(mm)
  const refcount = cellsOf(mm.refcount)
  const flags = cellsOf(mm.flags)
  const mapping = cellsOf(mm.mapping)
  const rmap = cellsOf(mm.rmap)
  const mapcount = cellsOf(mm.mapcount)
  const buddy = PGTY_buddy
  for (let i = 0; i < place.length; i++) {
    if (place[i] === 0) continue
    if (refcount[i] !== 0) return wrong(i, 'it is free and referenced')
    if (flags[i] !== 0) return wrong(i, 'it is free and has flags')
    if (mapping[i] !== 0 || rmap[i] !== 0) return wrong(i, 'it is free and mapped or cached')
    if (mapcount[i] !== 0 && mapcount[i] >>> 24 !== buddy) return wrong(i, 'it is free and has a page type')
  }
  return undefined
}

/** What is on a per-cpu list is of the set's zone, aligned to the list's order, and in no free block. */
export function perCpuBlocksSuitTheirLists(mm: Mm): string | undefined {
  const place = pagesOfFreeBlocks(mm)
  return forPcpLists(mm, (head, order, _, pcp) =>
    walk(mm, head, (node) => {
      const pages = 1 << order
      if (pageblockOf(pfnOf(node)) >= mm.pageblock.length) return wrong(node, 'it does not exist')
      if (mm.zoneOf(pfnOf(node)) !== Math.floor(pcp / mm.cpus))
        return wrong(node, 'it is on a per-cpu list of another zone')
      if (node % pages !== 0)
        return wrong(node, 'it is on the per-cpu list of an order that it is not aligned to')
      return place.subarray(node, node + pages).includes(IN_BUDDY)
        ? wrong(node, 'it is on a per-cpu list and in a free block')
        : undefined
    }),
  )
}

/** `pcpCount` is the number of pages on the lists of the set. */
export function pcpCountsMatchTheirLists(mm: Mm): string | undefined {
  const pages = new Int32Array(mm.zones * mm.cpus)
  forPcpLists(mm, (head, order, _, pcp) => {
    pages[pcp] += listLength(mm, head) << order
    return undefined
  })
  return firstFinding(pages.length, (pcp) => {
    const counted = mm.pcpCount[pcpIdOf(pcp)]
    const zone = zoneIdOf(Math.floor(pcp / mm.cpus))
    return counted === pages[pcp]
      ? undefined
      : wrong(
          mm.zoneStart[zone],
          `a per-cpu set of its zone counts ${counted} pages, its lists ${pages[pcp]}`,
        )
  })
}

/** What a set tunes stays within what it is tuned by: its marks, and powers of two up to 5. */
export function perCpuTuningIsBounded(mm: Mm): string | undefined {
  return firstFinding(mm.zones * mm.cpus, (i) => {
    const pcp = pcpIdOf(i)
    const set = `per-cpu set ${i}`
    if (mm.pcpHigh[pcp] < 0 || mm.pcpHigh[pcp] > mm.pcpHighMax[pcp])
      return `${set} has a high mark of ${mm.pcpHigh[pcp]}`
    if (mm.pcpBatch[pcp] < 1) return `${set} has a batch of ${mm.pcpBatch[pcp]}`
    if (mm.pcpAllocFactor[pcp] < 0 || mm.pcpAllocFactor[pcp] > 5)
      return `${set} refills 2^${mm.pcpAllocFactor[pcp]} batches`
    if (mm.pcpFreeFactor[pcp] < 0) return `${set} drains 2^${mm.pcpFreeFactor[pcp]} batches`
    // The last free that is counted may be of a whole pageblock.
    const most = (mm.pcpBatch[pcp] << 5) + pageblock_nr_pages
    return mm.pcpFreeCount[pcp] >= 0 && mm.pcpFreeCount[pcp] < most
      ? undefined
      : `${set} counts ${mm.pcpFreeCount[pcp]} pages freed in a row`
  })
}

/** No compaction waits for a block, and none has one that it did not take. */
export function captureSlotsAreEmpty(mm: Mm): string | undefined {
  return firstFinding(mm.zones * mm.cpus, (i) => {
    const pcp = pcpIdOf(i)
    if (mm.pcpCapturePage[pcp] !== 0) return wrong(mm.pcpCapturePage[pcp], 'it was captured and not taken')
    return mm.pcpCaptureOrder[pcp] === 0
      ? undefined
      : `per-cpu set ${i} waits for a block of order ${mm.pcpCaptureOrder[pcp]}`
  })
}

// What compaction remembers of a zone.

/**
 * Where the scanners go on lies in their zone, or in the pageblock beside it, where a scan of the zone's last one leaves it:
 * then they begin anew (C-9).
 */
export function cachedPositionsLieNoFurtherThanAPageblock(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    const start = mm.zoneStart[zone] - (mm.zoneStart[zone] % pageblock_nr_pages)
    const end = Math.ceil(mm.zoneEnd[zone] / pageblock_nr_pages) * pageblock_nr_pages
    const positions = [mm.cachedMigratePfnAsync[zone], mm.cachedMigratePfnSync[zone], mm.cachedFreePfn[zone]]
    const stray = positions.find((pfn) => pfn < start - pageblock_nr_pages || pfn > end + pageblock_nr_pages)
    return stray === undefined ? undefined : wrong(stray, 'a scanner of a zone elsewhere goes on there')
  })
}

/** No more than 64 requests are passed over after a failed compaction, and none is counted beyond those (C-10). */
export function deferralIsBounded(mm: Mm): string | undefined {
  return firstFinding(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    const shift = mm.compactDeferShift[zone]
    const considered = mm.compactConsidered[zone]
    return shift >= 0 && shift <= 6 && considered >= 0 && considered <= 1 << shift
      ? undefined
      : wrong(mm.zoneStart[zone], `its zone has passed over ${considered} requests of 2^${shift}`)
  })
}
