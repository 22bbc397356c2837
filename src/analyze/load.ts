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

import { forEachByte } from '../base/bytes.ts'
import { FastCpu } from '../base/cpu.ts'
import { bad, ok, type Result } from '../base/result.ts'
import { mappingIdOf, type Pfn, pageblockAt, pcpIdOf, pfnOf, slotOf, vpnOf } from '../base/units.ts'
import {
  type Capture,
  type Column,
  PAGEBLOCK_ABSENT,
  PAGES_PER_PAGEBLOCK,
} from '../capture/format/capture.ts'
import { countWords, mapDictionary } from '../capture/format/column.ts'
import {
  KPF_ACTIVE,
  KPF_ANON,
  KPF_DIRTY,
  KPF_LOCKED,
  KPF_MLOCKED,
  KPF_PRIVATE,
  KPF_REFERENCED,
  KPF_SWAPBACKED,
  KPF_SWAPCACHE,
  KPF_UNEVICTABLE,
  KPF_UPTODATE,
  KPF_WRITEBACK,
} from '../capture/format/kpageflags.ts'
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
  COMPOUND_ORDER_SHIFT,
  COMPOUND_TAIL,
  MAX_PAGE_ORDER,
  PG_active,
  PG_dirty,
  PG_head,
  PG_locked,
  PG_lru,
  PG_mlocked,
  PG_movable_ops,
  PG_private,
  PG_referenced,
  PG_swapbacked,
  PG_swapcache,
  PG_unevictable,
  PG_uptodate,
  PG_writeback,
  PGTY_hugetlb,
  PGTY_offline,
  PGTY_slab,
  PGTY_table,
  PGTY_zsmalloc,
  pageblock_nr_pages,
  pageTypeValue,
} from '../mm/limits.ts'
import { folioLruList, nodeOf } from '../mm/lru.ts'
import {
  ANON_MAPPING,
  fileMapping,
  MAPPING_FIRST_FILE,
  NR_LRU_LISTS,
  PB_ABSENT,
  PB_MIGRATETYPE,
} from '../mm/page.ts'
import { addFreeBlock, addPcpPage } from '../mm/page_alloc.ts'
import { presentPte } from '../mm/rmap.ts'
import { addPoolPage, createPool, POOL_CELLS } from '../owners/page_pool.ts'
import {
  OWNER_ANON,
  OWNER_ANON_BATCH,
  OWNER_ANON_MLOCKED,
  OWNER_BALLOON,
  OWNER_BUFFER,
  OWNER_COUNT,
  OWNER_FILE,
  OWNER_FILE_BATCH,
  OWNER_FILE_DIRTY,
  OWNER_FILE_FOLIO,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_HUGE_FOLIO,
  OWNER_HUGETLB,
  OWNER_KSM,
  OWNER_OFFLINE,
  OWNER_PCP,
  OWNER_PGTABLE,
  OWNER_PINNED,
  OWNER_SHMEM,
  OWNER_SLAB,
  OWNER_UNINITIALISED,
  OWNER_ZSMALLOC,
} from './classify.ts'
import { ORDER_TAIL, type PageMap } from './page_map.ts'

export interface LoadOptions {
  /** Behave as this kernel. Default: the one that the capture names. */
  readonly rules?: KernelRules
}

/** What becomes of a page, by owner class. */
const AS_NOTHING = 0
const AS_FREE = 1
const AS_PCP = 2
const AS_LRU = 3
const AS_ZSMALLOC = 4
const AS_BALLOON = 5
const AS_IN_USE = 6

const LRU_OWNERS = [
  OWNER_ANON,
  OWNER_ANON_MLOCKED,
  OWNER_ANON_BATCH,
  OWNER_PINNED,
  OWNER_KSM,
  OWNER_SHMEM,
  OWNER_FILE,
  OWNER_FILE_DIRTY,
  OWNER_FILE_FOLIO,
  OWNER_FILE_BATCH,
  OWNER_BUFFER,
  OWNER_HUGE_FOLIO,
]

function fates(): Uint8Array {
  const fate = new Uint8Array(OWNER_COUNT).fill(AS_IN_USE)
  fate[OWNER_HOLE] = AS_NOTHING
  fate[OWNER_UNINITIALISED] = AS_NOTHING
  fate[OWNER_FREE] = AS_FREE
  fate[OWNER_PCP] = AS_PCP
  fate[OWNER_ZSMALLOC] = AS_ZSMALLOC
  fate[OWNER_BALLOON] = AS_BALLOON
  for (const owner of LRU_OWNERS) fate[owner] = AS_LRU
  return fate
}

/** Value of `mapcount` for pages in use that have a page type. */
function typesOfOwners(): Int32Array {
  const type = new Int32Array(OWNER_COUNT)
  type[OWNER_SLAB] = pageTypeValue(PGTY_slab)
  type[OWNER_PGTABLE] = pageTypeValue(PGTY_table)
  type[OWNER_HUGETLB] = pageTypeValue(PGTY_hugetlb)
  type[OWNER_OFFLINE] = pageTypeValue(PGTY_offline)
  return type
}

/** Bits of /proc/kpageflags that the engine has too. */
const SAME_FLAGS: readonly (readonly [kpf: number, flag: number])[] = [
  [KPF_LOCKED, PG_locked],
  [KPF_REFERENCED, PG_referenced],
  [KPF_UPTODATE, PG_uptodate],
  [KPF_DIRTY, PG_dirty],
  [KPF_ACTIVE, PG_active],
  [KPF_WRITEBACK, PG_writeback],
  [KPF_SWAPCACHE, PG_swapcache],
  [KPF_SWAPBACKED, PG_swapbacked],
  [KPF_UNEVICTABLE, PG_unevictable],
  [KPF_MLOCKED, PG_mlocked],
  [KPF_PRIVATE, PG_private],
]

function engineFlags(low: number, high: number): number {
  let flags = 0
  for (const [kpf, flag] of SAME_FLAGS) {
    const set = kpf < 32 ? (low >>> kpf) & 1 : (high >>> (kpf - 32)) & 1
    if (set === 1) flags |= flag
  }
  return flags
}

/** What a flags word of an LRU folio means to the engine. */
const IS_ANON = 1
const IS_CACHED = 2
const HAS_BUFFERS = 4

/** Everything that the pass over the pages reads, looked up once a word. */
interface Source {
  readonly map: PageMap
  readonly flagIndex: Uint8Array | Uint16Array
  /** By flags word: PG_* bits; the LRU list of a folio with them; IS_* bits. */
  readonly flagsOfWord: Int32Array
  readonly lruOfWord: Int32Array
  readonly traitsOfWord: Int32Array
  /** Mapcounts by pfn as words, and by word. A capture without them maps nothing. */
  readonly countIndex: Uint8Array | Uint16Array
  readonly countOfWord: Int32Array
  /** Recorded references, if the capture has them. */
  readonly refIndex: Uint8Array | Uint16Array | undefined
  readonly refOfWord: Int32Array
}

function sourceOf(map: PageMap, flags: Column, capture: Capture): Source {
  const count = capture.columns.get('mapcount')
  const refs = capture.columns.get('truth.refcount')
  const flagsOfWord = mapDictionary(flags, engineFlags)
  return {
    map,
    flagIndex: flags.index,
    flagsOfWord,
    lruOfWord: flagsOfWord.map(folioLruList),
    traitsOfWord: mapDictionary(flags, (low, high) => {
      const isAnon = ((low >>> KPF_ANON) & 1) === 1
      const bits = engineFlags(low, high)
      if (isAnon) return (bits & PG_swapcache) === 0 ? IS_ANON : IS_ANON | IS_CACHED
      return (bits & PG_private) === 0 ? IS_CACHED : IS_CACHED | HAS_BUFFERS
    }),
    countIndex: count?.index ?? new Uint8Array(capture.pfnCount),
    countOfWord:
      count === undefined ? new Int32Array(1) : mapDictionary(count, (low, high) => (high === 0 ? low : 0)),
    refIndex: refs?.index,
    refOfWord: refs === undefined ? new Int32Array(1) : mapDictionary(refs, (low) => low),
  }
}

/**
 * An engine in the state of the captured machine, by the rules of its kernel.
 *
 * @errors  zoneinfo does not describe a machine
 */
export function loadMachine(capture: Capture, map: PageMap, options: LoadOptions = {}): Result<Mm> {
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
  const mm = createMachine({ ...machineSpec(capture, zones, options), ...tables })
  createPool(mm, PGTY_zsmalloc, 'zsmalloc', ZSMALLOC_POOL)
  createPool(mm, PGTY_offline, 'balloon', BALLOON_POOL)
  loadPageblocks(mm, map)
  loadPages(mm, source)
  loadPcp(mm, source.map, zones)
  return ok(mm)
}

const ZSMALLOC_POOL = 0
const BALLOON_POOL = 1

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

function machineSpec(capture: Capture, zones: readonly ZoneinfoZone[], options: LoadOptions): MachineSpec {
  const pfnCount = Math.ceil(capture.pfnCount / pageblock_nr_pages) * pageblock_nr_pages
  const cpus = Math.max(1, ...zones.map((zone) => zone.pagesets.length))
  return {
    pfnCount,
    cpus,
    mappings: 4,
    ownerCells: 2 * POOL_CELLS,
    rules: options.rules ?? rulesForRelease(capture.provenance.kernel),
    zones: zones.map((zone) => ({
      node: zone.node,
      name: zone.name,
      startPfn: zone.startPfn,
      spanned: Math.min(zone.spanned, capture.pfnCount - zone.startPfn),
      present: Math.min(zone.present, capture.pfnCount - zone.startPfn),
      managed: Math.min(zone.managed, zone.present, capture.pfnCount - zone.startPfn),
      min: zone.min,
      low: zone.low,
      high: zone.high,
      pcp: Array.from({ length: cpus }, (_, cpu) => pcpSpec(zone, cpu)),
    })),
  }
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
  source: Source,
  flags: Column,
  mapcount: Column | undefined,
): { ptes: number; slots: number } {
  const { map, traitsOfWord, countOfWord } = source
  const fate = fates()
  const slots = countWords(flags).reduce((sum, pages, word) => {
    const isCached = (traitsOfWord[word] & IS_CACHED) !== 0 && fate[map.words.owner[word]] === AS_LRU
    return isCached ? sum + pages : sum
  }, 0)
  const ptes =
    mapcount === undefined
      ? 0
      : countWords(mapcount).reduce((sum, pages, word) => sum + pages * countOfWord[word], 0)
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
    }
  }
}

/** The one pass: every page of every zone, by its owner. */
function loadPages(mm: Mm, source: Source): void {
  const lru = new LruLoader(mm, source)
  const { owner, order, zones } = source.map
  const fate = fates()
  const type = typesOfOwners()
  for (const zone of zones) {
    for (let at = zone.start; at < zone.end; ) {
      const who = owner[at]
      switch (fate[who]) {
        case AS_LRU:
          at = lru.loadRun(at, zone.end, fate)
          break
        case AS_FREE:
          addFreeBlock(mm, pfnOf(at), order[at])
          at += 1 << order[at]
          break
        case AS_IN_USE:
          at += loadInUse(mm, pfnOf(at), type[who], order[at])
          break
        case AS_ZSMALLOC:
          loadPoolPage(mm, pfnOf(at++), ZSMALLOC_POOL, PGTY_zsmalloc)
          break
        case AS_BALLOON:
          loadPoolPage(mm, pfnOf(at++), BALLOON_POOL, PGTY_offline)
          break
        default:
          at++ // a hole, or per-cpu free: loadPcp()
      }
    }
  }
  lru.finish()
}

/** A page that its driver can move. */
function loadPoolPage(mm: Mm, pfn: Pfn, pool: number, pgty: number): void {
  mm.refcount[pfn] = 1
  mm.mapcount[pfn] = pageTypeValue(pgty)
  mm.flags[pfn] = PG_movable_ops
  addPoolPage(mm, pool, pfn)
}

/** A page, or a compound page, that cannot move. Gives its number of pages: scanners pass over it in one step. */
function loadInUse(mm: Mm, pfn: Pfn, type: number, order: number): number {
  const pages = order > MAX_PAGE_ORDER ? 1 : 1 << order
  mm.refcount[pfn] = 1
  if (type !== 0) mm.mapcount[pfn] = type
  if (pages === 1) return 1
  mm.flags[pfn] = PG_head | (order << COMPOUND_ORDER_SHIFT)
  for (let tail = pfn + 1; tail < pfn + pages; tail++) {
    mm.flags[pfnOf(tail)] = COMPOUND_TAIL
    mm.private[pfnOf(tail)] = pfn
    mm.mapcount[pfnOf(tail)] = type
  }
  return pages
}

/** Files of the capture are one address space: which file a page belongs to is not shown. */
const FILE_MAPPING = fileMapping(mappingIdOf(MAPPING_FIRST_FILE))

/** Loads LRU folios in order of address: flags, mapping, references, ptes, cache slots, LRU lists. */
class LruLoader {
  private readonly mm: Mm
  private readonly source: Source
  private nextVpn = 1
  private nextSlot = 1
  /** Last folio of each LRU list so far, by node and list; the list's head before the first. */
  private readonly last: Int32Array

  constructor(mm: Mm, source: Source) {
    this.mm = mm
    this.source = source
    this.last = new Int32Array(mm.nodes * NR_LRU_LISTS)
    for (let i = 0; i < this.last.length; i++) this.last[i] = this.headOf(i)
  }

  /** Loads LRU folios from `start` up to the first page that is none, or `end`. Gives where it stopped. */
  loadRun(start: number, end: number, fate: Uint8Array): number {
    const { mm, source, last } = this
    const { owner, order } = source.map
    const { flagIndex, flagsOfWord, lruOfWord, traitsOfWord, countIndex, countOfWord } = source
    const { flags, refcount, mapcount, mapping, rmap, links, pte, pteNext, cache, nrLru } = mm
    const firstList = nodeOf(mm, pfnOf(start)) * NR_LRU_LISTS
    let { nextVpn, nextSlot } = this
    let at = start
    for (; at < end && fate[owner[at]] === AS_LRU; at++) {
      const pfn = pfnOf(at)
      const word = flagIndex[at]
      const traits = traitsOfWord[word]
      // A tail without its head was torn off while the flags were read: it is a page of its own.
      const pages = order[at] === ORDER_TAIL ? 1 : 1 << order[at]
      let pageFlags = flagsOfWord[word] | PG_lru
      let references = 0
      if ((traits & IS_CACHED) !== 0) {
        mm.private[pfn] = nextSlot
        cache[slotOf(nextSlot)] = pfn
        nextSlot += pages
        references = (traits & HAS_BUFFERS) === 0 ? pages : pages + 1
      }
      mapping[pfn] = (traits & IS_ANON) === 0 ? FILE_MAPPING : ANON_MAPPING
      for (let page = pfn; page < at + pages; page = pfnOf(page + 1)) {
        const count = countOfWord[countIndex[page]]
        if (count === 0) continue
        // Each mapping gets a pte of its own: which one it is in the machine, the capture does not show.
        mapcount[page] = count
        references += count
        for (let i = 0; i < count; i++) {
          const vpn = vpnOf(nextVpn++)
          pte[vpn] = presentPte(page)
          pteNext[vpn] = rmap[page]
          rmap[page] = vpn
        }
      }
      if (pages > 1) {
        pageFlags |= PG_head | (order[at] << COMPOUND_ORDER_SHIFT)
        for (let tail = pfnOf(at + 1); tail < at + pages; tail = pfnOf(tail + 1)) {
          flags[tail] = COMPOUND_TAIL
          mm.private[tail] = pfn
        }
      }
      if (owner[at] === OWNER_PINNED) references = this.pinnedReferences(pfn, references)
      flags[pfn] = pageFlags
      refcount[pfn] = references === 0 ? 1 : references // unmapped and uncached: who holds it is not shown
      const list = firstList + lruOfWord[word]
      const prev = last[list]
      links[2 * at + 1] = prev
      links[2 * prev] = at
      last[list] = at
      nrLru[list] += pages
      at += pages - 1
    }
    this.nextVpn = nextVpn
    this.nextSlot = nextSlot
    return at
  }

  private pinnedReferences(pfn: Pfn, accounted: number): number {
    const { refIndex, refOfWord } = this.source
    return Math.max(accounted + 1, refIndex === undefined ? 0 : refOfWord[refIndex[pfn]])
  }

  /** Closes the lists. */
  finish(): void {
    for (let list = 0; list < this.last.length; list++) {
      const head = this.headOf(list)
      this.mm.links[2 * this.last[list]] = head
      this.mm.links[2 * head + 1] = this.last[list]
    }
  }

  private headOf(list: number): number {
    return this.mm.lruList(Math.floor(list / NR_LRU_LISTS), list % NR_LRU_LISTS)
  }
}

/** Per-cpu free pages: on the lists of the cpus, as many on each as zoneinfo says, by address. */
function loadPcp(mm: Mm, { owner }: PageMap, zones: readonly ZoneinfoZone[]): void {
  zones.forEach((zone, i) => {
    const counts = zone.pagesets.map((set) => set.count)
    const end = Math.min(zone.startPfn + zone.spanned, owner.length)
    let cpu = 0
    let onThisCpu = 0
    forEachByte(owner, OWNER_PCP, zone.startPfn, end, (at) => {
      while (cpu < counts.length - 1 && onThisCpu >= counts[cpu]) {
        cpu++
        onThisCpu = 0
      }
      addPcpPage(mm, pcpIdOf(i * mm.cpus + cpu), pfnOf(at))
      onThisCpu++
    })
  })
}

/** A cpu for which waiting lets I/O that was under way when the memory was captured complete. */
export const captureCpu = (): FastCpu =>
  new FastCpu((cells, index, bits) => {
    cells[index] &= ~bits
  })
