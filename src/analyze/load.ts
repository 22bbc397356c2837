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

import { assert } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { listAddTail } from '../base/list.ts'
import { bad, ok, type Result } from '../base/result.ts'
import {
  type Cells,
  cellsOf,
  mappingIdOf,
  type Pfn,
  pageblockAt,
  pcpIdOf,
  pfnOf,
  slotOf,
  vpnOf,
} from '../base/units.ts'
import {
  type Capture,
  type Column,
  PAGEBLOCK_ABSENT,
  PAGES_PER_PAGEBLOCK,
} from '../capture/format/capture.ts'
import { mapDictionary, sumOfWords } from '../capture/format/column.ts'
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
  MOVABLE_LRU_OWNERS,
  OWNER_BALLOON,
  OWNER_COUNT,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_HUGE_FOLIO,
  OWNER_HUGETLB,
  OWNER_OFFLINE,
  OWNER_PCP,
  OWNER_PGTABLE,
  OWNER_PINNED,
  OWNER_SLAB,
  OWNER_UNINITIALISED,
  OWNER_ZSMALLOC,
} from './classify.ts'
import { ORDER_TAIL, type PageMap } from './page_map.ts'

export interface LoadOptions {
  /** Behave as this kernel. Default: the one that the capture names. */
  readonly rules?: KernelRules
}

/** The rules by which the machine behaves once loaded. */
export const rulesOf = (capture: Capture, options: LoadOptions): KernelRules =>
  options.rules ?? rulesForRelease(capture.provenance.kernel)

/** A set of owner classes in one word, so that the loop that asks every page needs no table. */
const bitsOf = (owners: readonly number[]): number => owners.reduce((bits, owner) => bits | (1 << owner), 0)
assert(OWNER_COUNT <= 32, 'load: an owner class is a bit of a word')

const LRU_BITS = bitsOf([...MOVABLE_LRU_OWNERS, OWNER_PINNED, OWNER_HUGE_FOLIO])
const isOnLru = (owner: number): boolean => ((LRU_BITS >>> owner) & 1) !== 0

/** Neither on the LRU, nor in a free block, nor in use for good: loadRare(). */
const RARE_BITS = bitsOf([OWNER_HOLE, OWNER_UNINITIALISED, OWNER_PCP, OWNER_ZSMALLOC, OWNER_BALLOON])
const isRare = (owner: number): boolean => ((RARE_BITS >>> owner) & 1) !== 0

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

/** What a flags word of an LRU folio means to the engine: `FACTS` cells a word. */
const FACTS = 4
/** PG_* bits. */
const FACT_FLAGS = 0
const FACT_MAPPING = 1
/** LRU list. */
const FACT_LIST = 2
/** References of a single page without its mappings: 0 not cached, 1 cached, 2 cached with buffers. */
const FACT_REFERENCES = 3

/** Everything that the pass over the pages reads, looked up once a word. */
interface Source {
  readonly map: PageMap
  readonly flagIndex: Uint8Array | Uint16Array
  /** `facts[word * FACTS + FACT_*]` */
  readonly facts: Int32Array
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
  return {
    map,
    flagIndex: flags.index,
    facts: factsOf(flags),
    countIndex: count?.index ?? new Uint8Array(capture.pfnCount),
    countOfWord:
      count === undefined ? new Int32Array(1) : mapDictionary(count, (low, high) => (high === 0 ? low : 0)),
    refIndex: refs?.index,
    refOfWord: refs === undefined ? new Int32Array(1) : mapDictionary(refs, (low) => low),
  }
}

function factsOf({ dictionaryLow, dictionaryHigh }: Column): Int32Array {
  const facts = new Int32Array(FACTS * dictionaryLow.length)
  for (let word = 0; word < dictionaryLow.length; word++) {
    const flags = engineFlags(dictionaryLow[word], dictionaryHigh[word])
    const isAnon = ((dictionaryLow[word] >>> KPF_ANON) & 1) === 1
    const at = FACTS * word
    facts[at + FACT_FLAGS] = flags | PG_lru
    facts[at + FACT_MAPPING] = isAnon ? ANON_MAPPING : FILE_MAPPING
    facts[at + FACT_LIST] = folioLruList(flags)
    if (isAnon) facts[at + FACT_REFERENCES] = (flags & PG_swapcache) === 0 ? 0 : 1
    else facts[at + FACT_REFERENCES] = (flags & PG_private) === 0 ? 1 : 2
  }
  return facts
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
  loadPages(mm, source, zones)
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
    rules: rulesOf(capture, options),
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
  const { map, facts, countOfWord } = source
  const isCached = (word: number): boolean => facts[FACTS * word + FACT_REFERENCES] !== 0
  const lruPages = (wanted: (word: number) => boolean): number =>
    sumOfWords(
      flags,
      Int32Array.from(map.words.owner, (owner, word) => (isOnLru(owner) && wanted(word) ? 1 : 0)),
    )
  // An uncached page has a pte even where the capture counts none: see LruLoader.
  const counted = mapcount === undefined ? 0 : sumOfWords(mapcount, countOfWord)
  return { slots: lruPages(isCached), ptes: counted + lruPages((word) => !isCached(word)) }
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

/** The one pass: every page of every zone, by its owner. A pageblock a call, where V8 takes up the compiled function. */
function loadPages(mm: Mm, source: Source, zones: readonly ZoneinfoZone[]): void {
  const lru = new LruLoader(mm, source)
  const type = typesOfOwners()
  source.map.zones.forEach((zone, i) => {
    const pass: Pass = { mm, map: source.map, type, lru, pcp: new PcpLoader(mm, i, zones[i]) }
    for (let at = zone.start; at < zone.end; ) {
      const end = Math.min(at - (at % pageblock_nr_pages) + pageblock_nr_pages, zone.end)
      at = loadBlock(pass, at, end)
    }
  })
}

/** The pass over one zone. */
interface Pass {
  readonly mm: Mm
  readonly map: PageMap
  /** typesOfOwners() */
  readonly type: Int32Array
  readonly lru: LruLoader
  readonly pcp: PcpLoader
}

/** Loads what begins in [start, end). Gives where the last of it ends. */
function loadBlock({ mm, map, type, lru, pcp }: Pass, start: number, end: number): number {
  const { owner, order } = map
  let at = start
  while (at < end) {
    const who = owner[at]
    if (isOnLru(who)) at = lru.load(at, end)
    else if (who === OWNER_FREE) {
      addFreeBlock(mm, pfnOf(at), order[at])
      at += 1 << order[at]
    } else if (isRare(who)) loadRare(mm, pcp, pfnOf(at++), who)
    else at += loadInUse(mm, pfnOf(at), type[who], order[at])
  }
  return at
}

/** A page of a kind that is rare: in a function of its own, or the loop would be compiled anew when the first one comes. */
function loadRare(mm: Mm, pcp: PcpLoader, pfn: Pfn, owner: number): void {
  if (owner === OWNER_PCP) pcp.load(pfn)
  else if (owner === OWNER_ZSMALLOC) loadPoolPage(mm, pfn, ZSMALLOC_POOL, PGTY_zsmalloc)
  else if (owner === OWNER_BALLOON) loadPoolPage(mm, pfn, BALLOON_POOL, PGTY_offline)
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

/**
 * Loads LRU folios in order of address: flags, mapping, references, ptes, cache slots, LRU lists.
 *
 * An anonymous folio outside the swap cache is mapped, or it would have been freed. Where the capture counts no
 * mapping it was read before the page was mapped (kpagecount is read before kpageflags): it gets one.
 *
 * Single pages, which are nearly all, are written through one view of the arena, each column from where it begins: in
 * every turn of a loop V8 checks each typed array anew (measured on 6.5 M pages: 60 ms with an array a column, so 44).
 */
class LruLoader {
  private readonly mm: Mm
  private readonly source: Source
  private readonly cells: Int32Array
  private readonly at: ColumnStarts
  private nextVpn = 1
  private nextSlot = 1

  constructor(mm: Mm, source: Source) {
    this.mm = mm
    this.source = source
    this.cells = new Int32Array(mm.arena.buffer)
    this.at = columnStarts(mm)
  }

  /** Loads LRU folios from `start` up to the first page that is none, or `end`. Gives where it stopped. */
  load(start: number, end: number): number {
    const { owner, order } = this.source.map
    let at = this.loadSingles(start, end)
    while (at < end && isOnLru(owner[at])) {
      at += this.loadLarge(pfnOf(at), order[at])
      at = this.loadSingles(at, end)
    }
    return at
  }

  /** The same for folios of one page. It says again what loadLarge() and listAddTail() do: a call would look up their arrays. */
  private loadSingles(start: number, end: number): number {
    const { cells } = this
    const { flags, refcount, mapcount, mapping, slots, rmap, links, pte, pteNext, cache, nrLru } = this.at
    const { flagIndex, facts, countIndex, countOfWord } = this.source
    const { owner, order } = this.source.map
    const firstList = nodeOf(this.mm, pfnOf(start)) * NR_LRU_LISTS
    const firstHead = this.at.lruHeads + firstList
    let { nextVpn, nextSlot } = this
    let at = start
    for (; at < end && isOnLru(owner[at]) && isSingle(order[at]); at++) {
      const word = FACTS * flagIndex[at]
      cells[flags + at] = facts[word + FACT_FLAGS]
      cells[mapping + at] = facts[word + FACT_MAPPING]
      let references = facts[word + FACT_REFERENCES]
      if (references !== 0) {
        cells[slots + at] = nextSlot
        cells[cache + nextSlot++] = at
      }
      const count = countOfWord[countIndex[at]] || (references === 0 ? 1 : 0) // see above
      if (count !== 0) {
        references += count
        // As mapPage().
        cells[mapcount + at] = count
        let first = 0
        for (let i = 0; i < count; i++) {
          cells[pte + nextVpn] = presentPte(pfnOf(at))
          cells[pteNext + nextVpn] = first
          first = nextVpn++
        }
        cells[rmap + at] = first
      }
      if (owner[at] === OWNER_PINNED) references = this.pinnedReferences(at, references)
      cells[refcount + at] = references
      // As listAddTail().
      const list = facts[word + FACT_LIST]
      const head = links + 2 * (firstHead + list)
      const last = cells[head + 1]
      cells[links + 2 * at] = firstHead + list
      cells[links + 2 * at + 1] = last
      cells[links + 2 * last] = at
      cells[head + 1] = at
      cells[nrLru + firstList + list]++
    }
    this.nextVpn = nextVpn
    this.nextSlot = nextSlot
    return at
  }

  /** A folio of several pages. Gives how many. */
  private loadLarge(pfn: Pfn, order: number): number {
    const { flagIndex, facts, countIndex, countOfWord } = this.source
    const { flags, refcount, mapping, cache } = this.mm
    const word = FACTS * flagIndex[pfn]
    const pages = 1 << order
    let references = facts[word + FACT_REFERENCES]
    if (references !== 0) {
      this.mm.private[pfn] = this.nextSlot
      cache[slotOf(this.nextSlot)] = pfn
      this.nextSlot += pages
      references += pages - 1
    }
    for (let page = pfn; page < pfn + pages; page = pfnOf(page + 1)) {
      const count = countOfWord[countIndex[page]]
      if (count === 0) continue
      references += count
      this.mapPage(page, count)
    }
    if (references === 0) {
      references = 1 // as of a single page
      this.mapPage(pfn, 1)
    }
    if (this.source.map.owner[pfn] === OWNER_PINNED) references = this.pinnedReferences(pfn, references)
    flags[pfn] = facts[word + FACT_FLAGS] | PG_head | (order << COMPOUND_ORDER_SHIFT)
    mapping[pfn] = facts[word + FACT_MAPPING]
    refcount[pfn] = references
    this.loadTails(pfn, pages)
    const list = nodeOf(this.mm, pfn) * NR_LRU_LISTS + facts[word + FACT_LIST]
    listAddTail(this.mm.links, pfn, this.at.lruHeads + list)
    this.mm.nrLru[list] += pages
    return pages
  }

  private loadTails(pfn: number, pages: number): void {
    const { cells } = this
    const { flags, slots } = this.at
    for (let tail = pfn + 1; tail < pfn + pages; tail++) {
      cells[flags + tail] = COMPOUND_TAIL
      cells[slots + tail] = pfn
    }
  }

  /** Each mapping gets a pte of its own: which one it is in the machine, the capture does not show. */
  private mapPage(page: Pfn, count: number): void {
    const { mapcount, rmap, pte, pteNext } = this.mm
    mapcount[page] = count
    // Not from rmap[page], which is 0: reading a cell of the fresh arena first would cost two page faults, not one.
    let first = 0
    for (let i = 0; i < count; i++) {
      const vpn = vpnOf(this.nextVpn++)
      pte[vpn] = presentPte(page)
      pteNext[vpn] = first
      first = vpn
    }
    rmap[page] = first
  }

  private pinnedReferences(at: number, accounted: number): number {
    const { refIndex, refOfWord } = this.source
    return Math.max(accounted + 1, refIndex === undefined ? 0 : refOfWord[refIndex[at]])
  }
}

/** First cell in the arena of each column that LRU folios have a part in. */
interface ColumnStarts {
  readonly flags: number
  readonly refcount: number
  readonly mapcount: number
  readonly mapping: number
  /** `private`: the first cache slot of a head, the head of a tail. */
  readonly slots: number
  readonly rmap: number
  readonly links: number
  readonly pte: number
  readonly pteNext: number
  readonly cache: number
  readonly nrLru: number
  /** Not a cell: the first head of an LRU list. Heads are in the order of `nrLru`. */
  readonly lruHeads: number
}

function columnStarts(mm: Mm): ColumnStarts {
  return {
    flags: startOf(mm.flags),
    refcount: startOf(mm.refcount),
    mapcount: startOf(mm.mapcount),
    mapping: startOf(mm.mapping),
    slots: startOf(mm.private),
    rmap: startOf(mm.rmap),
    links: startOf(mm.links),
    pte: startOf(mm.pte),
    pteNext: startOf(mm.pteNext),
    cache: startOf(mm.cache),
    nrLru: startOf(mm.nrLru),
    lruHeads: mm.lruList(0, 0),
  }
}

const startOf = <I extends number>(column: Cells<I>): number =>
  cellsOf(column).byteOffset / Int32Array.BYTES_PER_ELEMENT

/** A tail without its head was torn off while the flags were read: it is a page of its own. */
const isSingle = (order: number): boolean => order === 0 || order === ORDER_TAIL

/** Per-cpu free pages of one zone: on the lists of the cpus, as many on each as zoneinfo says, by address. */
class PcpLoader {
  private readonly mm: Mm
  private readonly zone: number
  private readonly counts: readonly number[]
  private cpu = 0
  private onThisCpu = 0

  constructor(mm: Mm, zone: number, { pagesets }: ZoneinfoZone) {
    this.mm = mm
    this.zone = zone
    this.counts = pagesets.map((set) => set.count)
  }

  /** Loads the next page by address. */
  load(pfn: Pfn): void {
    while (this.cpu < this.counts.length - 1 && this.onThisCpu >= this.counts[this.cpu]) {
      this.cpu++
      this.onThisCpu = 0
    }
    addPcpPage(this.mm, pcpIdOf(this.zone * this.mm.cpus + this.cpu), pfn)
    this.onThisCpu++
  }
}

/** A cpu for which waiting lets I/O that was under way when the memory was captured complete. */
export const captureCpu = (): FastCpu =>
  new FastCpu((cells, index, bits) => {
    cells[index] &= ~bits
  })
