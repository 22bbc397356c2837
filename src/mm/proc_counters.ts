/**
 * Values of the kernel's counters, counted from a machine's pages: what the kernel keeps as it goes.
 *
 * One look at every page. What the engine has no notion of (slab caches by kind, kernel stacks, refaults) is not
 * here, and what prints it says so (proc_text.ts).
 *
 * Rules:
 *   - nothing runs meanwhile, and nothing here changes the machine;
 *   - counts are exact, where the kernel's lag behind by what its cpus have not handed in yet.
 *
 * @kernel mm/vmstat.c, include/linux/mmzone.h enum zone_stat_item, node_stat_item v6.18
 */

import { type Nid, type Pfn, pageblockAt, pfnOf, type ZoneId, zoneIdOf } from '../base/units.ts'
import {
  COMPOUND_TAIL,
  MIGRATE_CMA,
  MIGRATE_TYPES,
  PG_dirty,
  PG_mlocked,
  PG_swapbacked,
  PG_swapcache,
  PG_writeback,
  PGTY_offline,
  PGTY_table,
  PGTY_zsmalloc,
  pageblock_nr_pages,
  pageblock_order,
} from './limits.ts'
import { nodeLruPages, zoneLruPages } from './lru.ts'
import {
  compoundOrder,
  folioMapping,
  folioPages,
  isAnonMapping,
  type Mm,
  PB_ABSENT,
  PB_MIGRATETYPE,
  pageType,
} from './page.ts'
import { freePagesInBlocks } from './vmstat.ts'

/** Counters of one zone, or of all zones of a node: pages unless the name says otherwise. */
export interface PageCounts {
  mlocked: number
  anonMapped: number
  fileMapped: number
  cached: number
  swapcached: number
  shmem: number
  dirty: number
  writeback: number
  /** Whole folios of at least a pageblock. */
  anonHuge: number
  pageTables: number
  zspages: number
  balloon: number
}

const noCounts = (): PageCounts => ({
  mlocked: 0,
  anonMapped: 0,
  fileMapped: 0,
  cached: 0,
  swapcached: 0,
  shmem: 0,
  dirty: 0,
  writeback: 0,
  anonHuge: 0,
  pageTables: 0,
  zspages: 0,
  balloon: 0,
})

/** Counts the pages of each zone. Time is linear in the machine's pages. */
export function countPages(mm: Mm): PageCounts[] {
  return Array.from({ length: mm.zones }, (_, i) => {
    const zone = zoneIdOf(i)
    const counts = noCounts()
    for (let pfn: number = mm.zoneStart[zone]; pfn < mm.zoneEnd[zone]; pfn++) {
      const page = pfnOf(pfn)
      if (mm.mapcount[page] < 0) countTyped(counts, mm.mapcount[page])
      else if (mm.refcount[page] > 0) countFolio(mm, counts, page)
    }
    return counts
  })
}

function countTyped(counts: PageCounts, mapcount: number): void {
  const type = pageType(mapcount)
  if (type === PGTY_table) counts.pageTables++
  else if (type === PGTY_zsmalloc) counts.zspages++
  else if (type === PGTY_offline) counts.balloon++
}

/** Counts a folio by its head: pages of one share its flags, and each has mappings of its own. */
function countFolio(mm: Mm, counts: PageCounts, head: Pfn): void {
  const flags = mm.flags[head]
  const mapping = mm.mapping[head]
  if ((flags & COMPOUND_TAIL) !== 0) return
  const pages = folioPages(flags)
  if ((flags & PG_mlocked) !== 0) counts.mlocked += pages
  if ((flags & PG_writeback) !== 0) counts.writeback += pages
  if (folioMapping(flags, mapping) !== 0) counts.cached += pages
  if (mapping === 0) return
  const mapped = countMapped(mm, head, pages)
  if (isAnonMapping(mapping)) {
    counts.anonMapped += mapped
    if ((flags & PG_swapcache) !== 0) counts.swapcached += pages
    if (mapped > 0 && compoundOrder(flags) >= pageblock_order) counts.anonHuge++
    return
  }
  counts.fileMapped += mapped
  if ((flags & PG_swapbacked) !== 0) counts.shmem += pages
  else if ((flags & PG_dirty) !== 0) counts.dirty += pages
}

function countMapped(mm: Mm, head: Pfn, pages: number): number {
  let mapped = 0
  for (let page = head; page < head + pages; page = pfnOf(page + 1)) if (mm.mapcount[page] > 0) mapped++
  return mapped
}

/** Counters of a zone, by the kernel's names. */
export function zoneStats(mm: Mm, zone: ZoneId, counts: PageCounts): Map<string, number> {
  return new Map([
    ['nr_free_pages', mm.nrFree[zone]],
    ['nr_free_pages_blocks', freePagesInBlocks(mm, zone, pageblock_order)],
    ...LRU_NAMES.map((name, lru) => [`nr_zone_${name}`, zoneLruPages(mm, zone, lru)] as const),
    ['nr_zone_write_pending', counts.dirty + counts.writeback],
    ['nr_mlock', counts.mlocked],
    ['nr_zspages', counts.zspages],
    ['nr_free_cma', mm.nrFreeCma[zone]],
  ])
}

const LRU_NAMES = ['inactive_anon', 'active_anon', 'inactive_file', 'active_file', 'unevictable']

/** Counters of a node, by the kernel's names: `counts` of its zones. */
export function nodeStats(mm: Mm, nid: Nid, counts: readonly PageCounts[]): Map<string, number> {
  const sum = (of: (zone: PageCounts) => number): number =>
    counts.reduce((total, zone) => total + of(zone), 0)
  return new Map([
    ...LRU_NAMES.map((name, lru) => [`nr_${name}`, nodeLruPages(mm, nid, lru)] as const),
    ['nr_isolated_anon', mm.nrIsolatedAnon[nid]],
    ['nr_isolated_file', mm.nrIsolatedFile[nid]],
    ['nr_anon_pages', sum((zone) => zone.anonMapped)],
    ['nr_mapped', sum((zone) => zone.fileMapped)],
    ['nr_file_pages', sum((zone) => zone.cached)],
    ['nr_dirty', sum((zone) => zone.dirty)],
    ['nr_writeback', sum((zone) => zone.writeback)],
    ['nr_shmem', sum((zone) => zone.shmem)],
    ['nr_anon_transparent_hugepages', sum((zone) => zone.anonHuge)],
    ['nr_page_table_pages', sum((zone) => zone.pageTables)],
    ['nr_swapcached', sum((zone) => zone.swapcached)],
    ['nr_balloon_pages', sum((zone) => zone.balloon)],
  ])
}

/** Counters of a node that go on from where the kernel's stood, by the kernel's names. */
export function nodeEvents(mm: Mm, nid: Nid): Map<string, number> {
  return new Map([
    ['nr_foll_pin_acquired', mm.nrFollPinAcquired[nid]],
    ['nr_foll_pin_released', mm.nrFollPinReleased[nid]],
  ])
}

/** Pageblocks of a zone by migratetype. One that the zone only begins or ends in counts. */
export function pageblocksByType(mm: Mm, zone: ZoneId): number[] {
  const blocks = new Array<number>(MIGRATE_TYPES).fill(0)
  for (let pfn: number = mm.zoneStart[zone]; pfn < mm.zoneEnd[zone]; pfn += pageblock_nr_pages) {
    const bits = mm.pageblock[pageblockAt(pfn >>> pageblock_order)]
    if ((bits & PB_ABSENT) === 0) blocks[bits & PB_MIGRATETYPE]++
  }
  return blocks
}

/** Pages in CMA pageblocks of a zone. @kernel zone_cma_pages() */
export const cmaPages = (mm: Mm, zone: ZoneId): number =>
  pageblocksByType(mm, zone)[MIGRATE_CMA] * pageblock_nr_pages

/**
 * How far a cpu's part of a zone's counters may be off before it hands it in, in pages.
 *
 * @kernel mm/vmstat.c calculate_normal_threshold() v6.18
 */
export function statThreshold(mm: Mm, zone: ZoneId): number {
  const chunks = mm.zoneManaged[zone] >>> (27 - PAGE_SHIFT)
  return Math.min(125, 2 * fls(mm.cpus) * (1 + fls(chunks)))
}

const PAGE_SHIFT = 12

/** Number of the highest bit that is set, from 1; 0 of 0. */
const fls = (n: number): number => 32 - Math.clz32(n)
