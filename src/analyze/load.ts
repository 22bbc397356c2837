/**
 * Loader: a captured machine becomes an engine on which the real algorithms run.
 *
 * The page map says who owns each page; here every owner becomes engine state: free blocks on their
 * lists, per-cpu pages on theirs, LRU folios with mappings, cache slots and ptes, driver pages in a
 * pool, everything else in use and immovable. One pass over the pages, table lookups by flags word.
 *
 * What a capture does not show and the engine needs is concluded:
 *   - references: as many as mappings, cache and buffers account for, plus one where the map says pinned;
 *   - which pte maps a page: one pte of its own for each mapping;
 *   - the order of lists: by address; which cpu a per-cpu page is on: by zoneinfo's counts;
 *   - folios in per-cpu LRU batches: on the LRU, as after lru_add_drain_all().
 *
 * Not here: who owns a page and what type a pageblock is (page_map.ts).
 */

import { FastCpu } from '../base/cpu.ts'
import { bad, ok, type Result } from '../base/result.ts'
import { type CpuId, cpuIdOf, pageblockAt, pfnOf, zoneIdOf } from '../base/units.ts'
import {
  type Capture,
  type Column,
  PAGEBLOCK_ABSENT,
  PAGES_PER_PAGEBLOCK,
} from '../capture/format/capture.ts'
import { countWords } from '../capture/format/column.ts'
import { parseZoneinfo, type ZoneinfoZone } from '../capture/format/zoneinfo.ts'
import {
  createMachine,
  type KernelRules,
  type MachineSpec,
  type Mm,
  type PcpSpec,
  rulesForRelease,
} from '../mm/index.ts'
import {
  MIGRATE_HIGHATOMIC,
  PGTY_offline,
  PGTY_zsmalloc,
  pageblock_nr_pages,
  ZONE_NAMES,
} from '../mm/limits.ts'
import { PB_ABSENT, PB_MIGRATETYPE } from '../mm/page.ts'
import { createPool, POOL_CELLS } from '../owners/page_pool.ts'
import { OWNER_HOLE, OWNER_UNINITIALISED } from './classify.ts'
import { BALLOON_POOL, loadPages, ZSMALLOC_POOL } from './load_pages.ts'
import { FACT_REFERENCES, FACTS, isOnLru, type Source, sourceOf } from './load_words.ts'
import type { PageMap } from './page_map.ts'

export interface LoadOptions {
  /** Behave as this kernel. Default: the one that the capture names. */
  readonly rules?: KernelRules
  /** Cells of owners that the caller adds, after those of the pools. Default: none. */
  readonly ownerCells?: number
}

/** Cells of owners that a loaded machine has: those of its pools. Their lists are as many as there are pools. */
export const LOADED_CELLS = 2 * POOL_CELLS

/** The rules by which the machine behaves once loaded. */
export const rulesOf = (capture: Capture, options: LoadOptions): KernelRules =>
  options.rules ?? rulesForRelease(capture.provenance.kernel)

/**
 * An engine in the state of the captured machine, by the rules of its kernel.
 *
 * @errors  zoneinfo does not describe a machine
 */
export function loadMachine(capture: Capture, map: PageMap, options: LoadOptions = {}): Result<Mm> {
  const prepared = prepareMachine(capture, map, options)
  if (!prepared.ok) return prepared
  const { mm, source, zones } = prepared.value
  loadPages(mm, source, zones)
  return ok(mm)
}

/** A machine laid out for a capture, its pageblocks typed and no page loaded, and what loadPages() takes besides. */
export interface Prepared {
  readonly mm: Mm
  readonly source: Source
  readonly zones: readonly ZoneinfoZone[]
}

export function prepareMachine(capture: Capture, map: PageMap, options: LoadOptions): Result<Prepared> {
  const zoneinfo = parseZoneinfo(capture.texts.get('zoneinfo') ?? '')
  if (!zoneinfo.ok) return zoneinfo
  const flags = capture.columns.get('flags')
  if (flags === undefined) return bad('capture', 'columns', 'no page flags', 'capture again as root')
  const source = sourceOf(map, flags, capture)
  const zones = zoneinfo.value.zones.filter((zone) => zone.spanned > 0)
  zones.sort((a, b) => a.startPfn - b.startPfn)
  const problem = zoneProblem(zones, capture.pfnCount)
  if (problem !== undefined) return problem
  const tables = countForTables(source, flags, capture.columns.get('mapcount'))
  const mm = createMachine({ ...machineSpec(capture, zones, zoneinfo.value.zones, options), ...tables })
  zones.forEach((zone, i) => {
    mm.wmarkBoost[zoneIdOf(i)] = zone.boost
  })
  createPool(mm, PGTY_zsmalloc, 'zsmalloc', ZSMALLOC_POOL)
  createPool(mm, PGTY_offline, 'balloon', BALLOON_POOL)
  loadPageblocks(mm, map)
  return ok({ mm, source, zones })
}

/** The engine keeps one zone a pageblock. */
function zoneProblem(zones: readonly ZoneinfoZone[], pfnCount: number): Result<never> | undefined {
  let end = 0
  for (const zone of zones) {
    if (zone.startPfn - (zone.startPfn % pageblock_nr_pages) < end || zone.startPfn >= pfnCount) {
      return bad(
        'zoneinfo',
        `zone ${zone.name} of node ${zone.node}`,
        'it overlaps the zone before it, shares a pageblock with it, or lies outside of the capture',
        'capture the machine again',
      )
    }
    end = zone.startPfn + zone.spanned
  }
  return zones.length > 0 ? undefined : bad('zoneinfo', 'line 1', 'no zone has memory', 'capture again')
}

/** `all`: zones without memory too, in the order of zoneinfo. */
function machineSpec(
  capture: Capture,
  zones: readonly ZoneinfoZone[],
  all: readonly ZoneinfoZone[],
  options: LoadOptions,
): MachineSpec {
  const pfnCount = Math.ceil(capture.pfnCount / pageblock_nr_pages) * pageblock_nr_pages
  const cpus = Math.max(1, ...zones.map((zone) => zone.pagesets.length))
  return {
    pfnCount,
    cpus,
    mappings: 4,
    ownerCells: LOADED_CELLS + (options.ownerCells ?? 0),
    rules: rulesOf(capture, options),
    zones: zones.map((zone) => ({
      node: zone.node,
      name: zone.name,
      startPfn: zone.startPfn,
      spanned: Math.min(zone.spanned, capture.pfnCount - zone.startPfn),
      present: Math.min(zone.present, capture.pfnCount - zone.startPfn),
      managed: Math.min(zone.managed, zone.present, capture.pfnCount - zone.startPfn),
      // The kernel prints its watermarks with the boost.
      min: zone.min - zone.boost,
      low: zone.low - zone.boost,
      high: zone.high - zone.boost,
      protection: protectionByKind(zone, all),
      pcp: Array.from({ length: cpus }, (_, cpu) => pcpSpec(zone, cpu)),
    })),
  }
}

/** Pages that requests for a kind of zone (ZONE_*) must leave: which kinds a kernel has, its zones of the node show. */
function protectionByKind(zone: ZoneinfoZone, all: readonly ZoneinfoZone[]): number[] {
  const kinds = all.filter(({ node }) => node === zone.node).map(({ name }) => name)
  return ZONE_NAMES.map((name) => zone.protection[kinds.indexOf(name)] ?? 0)
}

function pcpSpec(zone: ZoneinfoZone, cpu: number): PcpSpec {
  const set = zone.pagesets.find((pageset) => pageset.cpu === cpu)
  if (set === undefined) return { high: 0, highMin: 0, highMax: 0, batch: 1 }
  return {
    high: set.high,
    highMin: set.highMin ?? set.high,
    highMax: set.highMax ?? set.high,
    batch: set.batch,
  }
}

/** Ptes and cache slots that the pages of the capture need at most. */
function countForTables(
  { map, facts, countOfWord }: Source,
  flags: Column,
  mapcount: Column | undefined,
): { ptes: number; slots: number } {
  let ptes = 0
  let slots = 0
  countWords(flags).forEach((pages, word) => {
    if (!isOnLru(map.words.owner[word])) return
    if (facts[FACTS * word + FACT_REFERENCES] !== 0) slots += pages
    else ptes += pages // even where the capture counts none: see LruLoader
  })
  if (mapcount !== undefined) {
    countWords(mapcount).forEach((pages, word) => {
      ptes += pages * countOfWord[word]
    })
  }
  return { ptes, slots }
}

function loadPageblocks(mm: Mm, map: PageMap): void {
  const { owner, types } = map
  const isAbsent = (pfn: number): boolean =>
    pfn >= owner.length || owner[pfn] === OWNER_HOLE || owner[pfn] === OWNER_UNINITIALISED
  for (let block = 0; block < mm.pfnCount / pageblock_nr_pages; block++) {
    const at = pageblockAt(block)
    if ((mm.pageblock[at] & PB_ABSENT) !== 0) continue
    const type = types.type[block]
    const last = block * PAGES_PER_PAGEBLOCK + PAGES_PER_PAGEBLOCK - 1
    if (type === PAGEBLOCK_ABSENT || (isAbsent(last) && isAbsent(last - PAGES_PER_PAGEBLOCK / 2))) {
      mm.pageblock[at] |= PB_ABSENT
    } else {
      mm.pageblock[at] = (mm.pageblock[at] & ~PB_MIGRATETYPE) | type
      const zone = mm.zoneOf(pfnOf(block * pageblock_nr_pages))
      if (type === MIGRATE_HIGHATOMIC) mm.nrReservedHighatomic[zone] += pageblock_nr_pages
    }
  }
}

/** A cpu for which waiting lets I/O that was under way when the memory was captured complete. */
export const captureCpu = (id: CpuId = cpuIdOf(0)): FastCpu =>
  new FastCpu((cells, index, bits) => {
    cells[index] &= ~bits
  }, id)
