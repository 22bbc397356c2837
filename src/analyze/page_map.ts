/**
 * Page map: who owns every page of a captured machine, two bytes a page.
 *
 * Built in passes, each over what the one before left open:
 *
 *   1. words      owner by flags word: one table lookup a page
 *   2. holes      pages that have no memory, or no initialised struct page; their flags read 0
 *   3. pins       truth.refcount, if the capture has it: more references than mappings
 *   4. orders     free blocks, and compound pages by their heads; a folio of pageblock order is a huge page in use
 *   5. types      migratetype of each pageblock: recorded, or inferred (pageblock_types.ts)
 *   6. untyped    pages whose flags are 0 and could be anything: per-cpu free, zsmalloc, or the kernel's
 *
 * Pass 6 rests on one observation: *in a movable pageblock, the kernel's own pages show flags*. It holds for every page of
 * the QEMU snapshots (three kernels, truth read at the same moment) but for CMA. On the host the truth was read later, and
 * the 7 to 19 % of pages that it does not confirm are by then mapped or in the buddy allocator: churn, as far as can be told.
 * A page without flags is on a per-cpu free list, or (6.12 only) belongs to zsmalloc, or is part of a contiguous allocation
 * from CMA. The last fill whole pageblocks, as else only order-9 entries
 * of per-cpu lists do; whole pageblocks are therefore believed only up to what zoneinfo says is on per-cpu lists. Single
 * pages are believed without that bound, because zoneinfo is read at another moment (12 % fewer in one snapshot).
 * kpagecgroup and kpagecount do not contradict: they are read before kpageflags, and a page that they show as charged or
 * mapped, with flags 0 in a movable block, was freed in between (one in five of the per-cpu pages seen). In an
 * unmovable block the same signs do mean an allocated kernel page.
 *
 * Rules:
 *   - what is concluded, not read, is counted in `inferred`, so that whoever prints a figure can say so.
 *
 * Not here: the engine's state (load.ts); who blocks what (blockers.ts).
 */

import { CHUNK, endOfRun, FIRST_BYTE, quadsOf } from '../base/bytes.ts'
import { ok, type Result } from '../base/result.ts'
import type { Nid } from '../base/units.ts'
import {
  type Capture,
  type Column,
  PAGEBLOCK_ABSENT,
  PAGES_PER_PAGEBLOCK,
} from '../capture/format/capture.ts'
import { countWords, mapDictionary } from '../capture/format/column.ts'
import { KPF_ANON, KPF_KSM, KPF_LRU, KPF_SLAB, lowMask } from '../capture/format/kpageflags.ts'
import { parsePagetypeinfo } from '../capture/format/pagetypeinfo.ts'
import { parseVmstat } from '../capture/format/vmstat.ts'
import { parseZoneinfo, type Zoneinfo } from '../capture/format/zoneinfo.ts'
import {
  ATTR_AMBIGUOUS,
  ATTR_ANON,
  ATTR_HEAD,
  ATTR_LRU,
  ATTR_SWAPCACHE,
  ATTR_TAIL,
  classifyWords,
  isZsmallocWord,
  type MachineTraits,
  OWNER_BALLOON,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_HUGE_FOLIO,
  OWNER_KERNEL,
  OWNER_OFFLINE,
  OWNER_PCP,
  OWNER_PINNED,
  OWNER_UNINITIALISED,
  OWNER_UNTYPED,
  OWNER_ZSMALLOC,
  OWNER_ZSMALLOC_FIXED,
  type WordClasses,
  type ZsmallocForm,
} from './classify.ts'
import { orderAt } from './free_blocks.ts'
import {
  type BlockCensus,
  CENSUS_STRIDE,
  countBlocks,
  inferTypes,
  isMovableType,
  type PageblockTypes,
  recordedTypes,
  typeCountsOfZone,
} from './pageblock_types.ts'

/** One zone with memory. Pages; [start, end) may contain holes. */
export interface ZoneSpan {
  readonly node: Nid
  readonly name: string
  readonly start: number
  readonly end: number
  readonly present: number
  readonly managed: number
  /** Sum of the per-cpu lists, as zoneinfo gives it. */
  readonly pcpPages: number
  readonly zsmallocPages: number
}

/** How many pages of the map rest on a conclusion. */
export interface Inferred {
  /** Pageblock types were concluded from content. */
  readonly pageblockTypes: boolean
  /** Pages taken for per-cpu free without truth.pcp, and what zoneinfo says there were. Read at different moments. */
  readonly pcpPages: number
  readonly pcpPagesStated: number
  /** Pages with flags 0 that remain unknown: the kernel's, or per-cpu free. */
  readonly untypedPages: number
  /** Pages taken for zsmalloc's though nothing marks them (kernel 6.12). */
  readonly zsmallocPages: number
  /** Pages of holes found by zoneinfo, and of sections whose struct pages are not initialised. */
  readonly holePages: number
  readonly uninitialisedPages: number
  /** Without truth.refcount no pin is visible: pinned pages count as movable. */
  readonly pinsVisible: boolean
  /** Pins taken minus released, of all nodes, if this kernel counts them. Not the same as pinned pages. */
  readonly pinsOutstanding: number | undefined
}

export interface PageMap {
  readonly pfnCount: number
  readonly zones: readonly ZoneSpan[]
  /** OWNER_* by pfn. */
  readonly owner: Uint8Array
  /** Order of the free block or compound page that begins here; 0 a single page; ORDER_TAIL any other page of one. */
  readonly order: Uint8Array
  readonly types: PageblockTypes
  /** Class and attributes of each flags word: `words.attributes[flags.index[pfn]]`. */
  readonly words: WordClasses
  readonly traits: MachineTraits
  readonly inferred: Inferred
}

export const ORDER_TAIL = 255

/** What a capture lacks on purpose, to measure what can be concluded without it. */
export interface PageMapOptions {
  /** Do as if these columns had not been recorded. */
  readonly ignoreTypes?: boolean
  readonly ignorePcp?: boolean
  readonly ignorePins?: boolean
}

/** The page map of a capture. @errors zoneinfo or pagetypeinfo is not what it should be */
export function buildPageMap(capture: Capture, options: PageMapOptions = {}): Result<PageMap> {
  const zoneinfo = parseZoneinfo(capture.texts.get('zoneinfo') ?? '')
  if (!zoneinfo.ok) return zoneinfo
  const pagetypeText = capture.texts.get('pagetypeinfo')
  const pagetypeinfo = pagetypeText === undefined ? undefined : parsePagetypeinfo(pagetypeText)
  if (pagetypeinfo && !pagetypeinfo.ok) return pagetypeinfo
  const flags = capture.columns.get('flags')
  if (!flags) return { ok: false, error: noFlags }

  const zones = zoneSpans(zoneinfo.value, capture.pfnCount)
  const traits = machineTraits(capture, flags, zones)
  const words = classifyWords(flags, traits)
  const { owner, order } = readPages(flags, words, zones)
  const signs = signsOf(capture)
  const recorded = options.ignoreTypes ? undefined : capture.columns.get('truth.pageblock')
  const holes = markHoles(owner, zones, recorded, words.owner.includes(OWNER_HOLE))

  const refcount = options.ignorePins ? undefined : capture.columns.get('truth.refcount')
  if (refcount) markPinned(owner, flags, words, signs, refcount)

  const typeCounts = zones.map((zone) => typeCountsOfZone(pagetypeinfo?.value, zone))
  const census = countBlocks(owner)
  const types = recorded ? recordedTypes(recorded) : inferTypes(owner, census, typeCounts)

  const mapping = capture.columns.get('truth.mapping')
  if (mapping) markByMapping(owner, mapping, traits)
  const pcp = options.ignorePcp ? undefined : capture.columns.get('truth.pcp')
  if (pcp) markRecordedPcp(owner, pcp)
  const untyped = zones.map((zone) => settleZone({ owner, census, flags, words, signs, types, traits }, zone))

  const total = (pick: (zone: Untyped) => number): number =>
    untyped.reduce((sum, zone) => sum + pick(zone), 0)
  return ok({
    pfnCount: capture.pfnCount,
    zones,
    owner,
    order,
    types,
    words,
    traits,
    inferred: {
      pageblockTypes: types.inferred,
      pcpPages: total((zone) => zone.pcp),
      pcpPagesStated: zones.reduce((sum, zone) => sum + zone.pcpPages, 0),
      untypedPages: total((zone) => zone.left),
      zsmallocPages: total((zone) => zone.zsmalloc),
      ...holes,
      pinsVisible: refcount !== undefined,
      pinsOutstanding: pinsOutstanding(zoneinfo.value),
    },
  })
}

const noFlags = {
  where: 'capture',
  at: 'columns',
  what: 'the capture has no page flags',
  todo: 'capture again as root: /proc/kpageflags must be readable',
}

/** Zones that have memory, by address. */
function zoneSpans(zoneinfo: Zoneinfo, pfnCount: number): ZoneSpan[] {
  const spans = zoneinfo.zones
    .filter((zone) => zone.spanned > 0)
    .map((zone) => ({
      node: zone.node,
      name: zone.name,
      start: Math.min(zone.startPfn, pfnCount),
      end: Math.min(zone.startPfn + zone.spanned, pfnCount),
      present: zone.present,
      managed: zone.managed,
      pcpPages: zone.pagesets.reduce((sum, set) => sum + set.count, 0),
      zsmallocPages: zone.stats.get('nr_zspages') ?? 0,
    }))
  return spans.sort((a, b) => a.start - b.start)
}

function pinsOutstanding(zoneinfo: Zoneinfo): number | undefined {
  let pins: number | undefined
  for (const { stats } of zoneinfo.nodes) {
    const acquired = stats.get('nr_foll_pin_acquired')
    const released = stats.get('nr_foll_pin_released')
    if (acquired !== undefined && released !== undefined) pins = (pins ?? 0) + acquired - released
  }
  return pins
}

/** What must be known of the machine before its words are read: concluded from which words there are. */
function machineTraits(capture: Capture, flags: Column, zones: readonly ZoneSpan[]): MachineTraits {
  const vmstat = parseVmstat(capture.texts.get('vmstat') ?? '')
  const counters = vmstat.ok ? vmstat.value : new Map<string, number>()
  const inflated = (counters.get('balloon_inflate') ?? 0) - (counters.get('balloon_deflate') ?? 0)
  return {
    zsmalloc: zones.some((zone) => zone.zsmallocPages > 0) ? zsmallocForm(flags) : 'none',
    ksmBit: !everyAnonReadsKsm(flags),
    // The counter exists only with CONFIG_BALLOON_COMPACTION (until 6.17: CONFIG_MIGRATION), without which no balloon page moves.
    balloonMoves:
      counters.has('balloon_migrate') && (inflated > 0 || (counters.get('nr_balloon_pages') ?? 0) > 0),
  }
}

function everyAnonReadsKsm(flags: Column): boolean {
  const anonOnLru = lowMask(KPF_ANON, KPF_LRU)
  const words = Array.from(flags.dictionaryLow).filter(
    (low) => (low & anonOnLru) === anonOnLru && (low & lowMask(KPF_SLAB)) === 0,
  )
  return words.length > 0 && words.every((low) => (low & lowMask(KPF_KSM)) !== 0)
}

/** First pages of zspages have PG_private in all kernels: the form in which such pages are most frequent. */
function zsmallocForm(flags: Column): ZsmallocForm {
  const forms = ['uptodate', 'mapcount', 'bare'] as const
  const pages = new Float64Array(forms.length)
  const formOfWord = mapDictionary(flags, (low, high) =>
    high === 0 ? -1 : forms.findIndex((form) => isZsmallocWord(low, high, form)),
  )
  countWords(flags).forEach((count, word) => {
    if (formOfWord[word] >= 0) pages[formOfWord[word]] += count
  })
  let best = -1
  for (let form = 0; form < forms.length; form++) if (pages[form] > (best < 0 ? 0 : pages[best])) best = form
  return best < 0 ? 'none' : forms[best]
}

/** What the first pass makes of the flags: owners by word, orders of free blocks and compound pages. */
interface PagesRead {
  readonly owner: Uint8Array
  readonly order: Uint8Array
}

/** What a page with a word is in the first pass; kept in `order` until the orders are known. */
const SINGLE = 0
const IN_FREE_RUN = 1
const COMPOUND_HEAD = 2
const COMPOUND_TAIL = ORDER_TAIL

/**
 * Passes 1 and 4: an owner for each page by its word; where a free block or a compound page begins, its order. Pages
 * outside of every zone keep owner 0, a hole.
 */
function readPages(flags: Column, words: WordClasses, zones: readonly ZoneSpan[]): PagesRead {
  const owner = new Uint8Array(flags.index.length)
  const order = new Uint8Array(flags.index.length)
  const read: Reading = {
    index: flags.index,
    owner,
    order,
    ownerQuads: quadsOf(owner),
    orderQuads: quadsOf(order),
    kindAndOwner: Int32Array.from(words.owner, (who, word) =>
      packed(who, kindOf(who, words.attributes[word])),
    ),
    isLruWord: words.attributes.map((attributes) => attributes & ATTR_LRU),
  }
  for (const zone of zones) {
    for (let start = zone.start; start < zone.end; ) {
      const end = Math.min(start - (start % CHUNK) + CHUNK, zone.end)
      const firstQuad = Math.min((start + 3) & ~3, end)
      const lastQuad = Math.max(end & ~3, firstQuad)
      readSingly(read, start, firstQuad)
      readQuads(read, firstQuad >> 2, lastQuad >> 2)
      readSingly(read, lastQuad, end)
      markOrders(read, start, end)
      start = end
    }
  }
  return { owner, order }
}

/** What the first pass works on. `quads` are the same bytes, four at a time. */
interface Reading {
  readonly index: Column['index']
  readonly owner: Uint8Array
  readonly order: Uint8Array
  readonly ownerQuads: Int32Array
  readonly orderQuads: Int32Array
  /** By flags word: owner in bits 0-7, kind in bits 16-23, see packed(). */
  readonly kindAndOwner: Int32Array
  readonly isLruWord: Uint16Array
}

function kindOf(owner: number, attributes: number): number {
  if (owner === OWNER_FREE) return IN_FREE_RUN
  if ((attributes & ATTR_HEAD) !== 0) return COMPOUND_HEAD
  return (attributes & ATTR_TAIL) === 0 ? SINGLE : COMPOUND_TAIL
}

/** Two bytes with room for a neighbour's: `packed(a) | (packed(b) << 8)` holds two owners and two kinds, each as a pair. */
const packed = (owner: number, kind: number): number => owner | (kind << 16)

function readSingly({ owner, order, index, kindAndOwner }: Reading, start: number, end: number): void {
  for (let pfn = start; pfn < end; pfn++) {
    owner[pfn] = kindAndOwner[index[pfn]]
    order[pfn] = kindAndOwner[index[pfn]] >>> 16
  }
}

/** Four pages a turn: V8 checks every array anew in each turn of a loop, which costs more than the bytes. */
function readQuads({ ownerQuads, orderQuads, index, kindAndOwner }: Reading, from: number, to: number): void {
  for (let quad = from; quad < to; quad++) {
    const at = 4 * quad
    const low = kindAndOwner[index[at ^ FIRST_BYTE]] | (kindAndOwner[index[(at + 1) ^ FIRST_BYTE]] << 8)
    const high =
      kindAndOwner[index[(at + 2) ^ FIRST_BYTE]] | (kindAndOwner[index[(at + 3) ^ FIRST_BYTE]] << 8)
    ownerQuads[quad] = (low & 0xffff) | (high << 16)
    orderQuads[quad] = (low >>> 16) | (high & 0xffff0000)
  }
}

/**
 * Replaces kinds by orders. A free run is cut as in free_blocks.ts. A compound page is a head and the tails behind it; a
 * folio of pageblock order or more is a huge page in use, and compaction passes it over. A count of pages that is no
 * power of two is a compound page that was torn apart, or made, while its flags were read; it gets the order that fits.
 */
function markOrders(
  { owner, order, orderQuads, index, isLruWord }: Reading,
  start: number,
  end: number,
): void {
  for (let pfn = start; pfn < end; ) {
    const kind = order[pfn]
    const next = endOfRun(order, orderQuads, kind === COMPOUND_HEAD ? COMPOUND_TAIL : kind, pfn + 1, end)
    if (kind === IN_FREE_RUN) markFreeRun(order, pfn, next)
    else if (kind === COMPOUND_HEAD) {
      const compoundOrder = 31 - Math.clz32(next - pfn)
      order[pfn] = compoundOrder
      if (1 << compoundOrder !== next - pfn) order.fill(0, pfn + (1 << compoundOrder), next)
      if (next - pfn >= PAGES_PER_PAGEBLOCK && isLruWord[index[pfn]] !== 0)
        owner.fill(OWNER_HUGE_FOLIO, pfn, next)
    } else if (kind === COMPOUND_TAIL && !(pfn === start && pfn > 0 && order[pfn - 1] === ORDER_TAIL)) {
      order.fill(0, pfn, next) // Torn off; not of a head in the chunk before (a hugetlb page of 1 GiB).
    }
    pfn = next
  }
}

/** Orders of the free blocks of a run. */
function markFreeRun(order: Uint8Array, start: number, end: number): void {
  if (end - start > 1) order.fill(ORDER_TAIL, start, end)
  for (let pfn = start; pfn < end; ) {
    const blockOrder = orderAt(pfn, end - pfn)
    order[pfn] = blockOrder
    pfn += 1 << blockOrder
  }
}

/** Mapcount and cgroup of each page, as far as the capture has them (a slim one does not). */
interface Signs {
  /** Mapcount by index word; -1: not recorded. */
  readonly mapcount: (pfn: number) => number
  readonly isCharged: (pfn: number) => boolean
}

function signsOf(capture: Capture): Signs {
  const mapcount = capture.columns.get('mapcount')
  const cgroup = capture.columns.get('cgroup')
  const countOfWord =
    mapcount && mapDictionary(mapcount, (low, high) => (high === 0 && low < 2 ** 31 ? low : 2 ** 31 - 1))
  const chargedOfWord = cgroup && mapDictionary(cgroup, (low, high) => (low === 0 && high === 0 ? 0 : 1))
  return {
    mapcount: (pfn) => (mapcount && countOfWord ? countOfWord[mapcount.index[pfn]] : -1),
    isCharged: (pfn) => (cgroup && chargedOfWord ? chargedOfWord[cgroup.index[pfn]] === 1 : false),
  }
}

/** Pages of one memory section (sparsemem, x86): memory is absent, or its struct pages uninitialised, by whole sections. */
const SECTION_PAGES = 1 << 15

/**
 * Takes pages whose flags read 0 because there is nothing: in pageblocks that do not exist, and in sections that zoneinfo's `present` leaves no pages for. Further sections without a single flag are initialised later
 * (deferred_init); zoneinfo counts their pages as free already.
 */
function markHoles(
  owner: Uint8Array,
  zones: readonly ZoneSpan[],
  recorded: Column | undefined,
  isShown: boolean,
): { holePages: number; uninitialisedPages: number } {
  if (recorded) {
    for (let block = 0; block < recorded.index.length; block++) {
      if (recorded.dictionaryLow[recorded.index[block]] !== PAGEBLOCK_ABSENT) continue
      const start = block * PAGES_PER_PAGEBLOCK
      replaceUntyped(owner, start, Math.min(start + PAGES_PER_PAGEBLOCK, owner.length), OWNER_HOLE)
    }
  }
  let holePages = 0
  let uninitialisedPages = 0
  for (const zone of zones) {
    const known = recorded || isShown ? countOwner(owner, zone.start, zone.end, OWNER_HOLE) : 0
    let missing = zone.end - zone.start - zone.present - known
    for (const run of emptySections(owner, zone)) {
      const pages = run.end - run.start
      const isHole = pages <= missing
      if (isHole) missing -= pages
      owner.fill(isHole ? OWNER_HOLE : OWNER_UNINITIALISED, run.start, run.end)
      if (isHole) holePages += pages
      else uninitialisedPages += pages
    }
  }
  return { holePages, uninitialisedPages }
}

/** Runs of whole sections without a flag on any page, longest first. */
function emptySections(owner: Uint8Array, zone: ZoneSpan): { start: number; end: number }[] {
  const runs: { start: number; end: number }[] = []
  const first = Math.ceil(zone.start / SECTION_PAGES) * SECTION_PAGES
  for (let start = first; start + SECTION_PAGES <= zone.end; start += SECTION_PAGES) {
    const end = start + SECTION_PAGES
    if (!isAll(owner, start, end, OWNER_UNTYPED)) continue
    const last = runs.at(-1)
    if (last?.end === start) last.end = end
    else runs.push({ start, end })
  }
  return runs.sort((a, b) => b.end - b.start - (a.end - a.start) || a.start - b.start)
}

function isAll(owner: Uint8Array, start: number, end: number, wanted: number): boolean {
  return owner[start] === wanted && endOfRun(owner, quadsOf(owner), wanted, start, end) === end
}

function countOwner(owner: Uint8Array, start: number, end: number, wanted: number): number {
  let pages = 0
  for (let pfn = start; pfn < end; pfn++) if (owner[pfn] === wanted) pages++
  return pages
}

function replaceUntyped(owner: Uint8Array, start: number, end: number, by: number): void {
  for (let pfn = start; pfn < end; pfn++) if (owner[pfn] === OWNER_UNTYPED) owner[pfn] = by
}

/** A refcount of 255 is not known (ksnp1: negative). */
const REFCOUNT_UNKNOWN = 255

/**
 * Pins: anonymous single pages on the LRU with more references than the mappings (and the swap cache) account for.
 * That is the test by which isolate_migratepages_block() skips them. A mapcount of 0 on a page that kpageflags shows as
 * anonymous was read before the page was mapped: it is at least 1.
 */
function markPinned(
  owner: Uint8Array,
  flags: Column,
  words: WordClasses,
  signs: Signs,
  refcount: Column,
): void {
  const isCandidate = words.attributes.map((attributes) =>
    (attributes & (ATTR_LRU | ATTR_ANON | ATTR_HEAD | ATTR_TAIL)) === (ATTR_LRU | ATTR_ANON) ? 1 : 0,
  )
  const referencesOfWord = refcount.dictionaryLow
  for (let pfn = 0; pfn < owner.length; pfn++) {
    const word = flags.index[pfn]
    if (isCandidate[word] === 0) continue
    const references = referencesOfWord[refcount.index[pfn]]
    if (references < 2 || references === REFCOUNT_UNKNOWN) continue
    const inSwapCache = words.attributes[word] & ATTR_SWAPCACHE ? 1 : 0
    if (references > Math.max(1, signs.mapcount(pfn)) + inSwapCache) owner[pfn] = OWNER_PINNED
  }
}

/** PAGE_MAPPING_MOVABLE in the low two bits of page->mapping, until v6.16; it is gone with the form `uptodate`. */
const PAGE_MAPPING_MOVABLE = 2
const PAGE_MAPPING_FLAGS = 3

/** Settles by page->mapping, if the capture recorded it, which pages have movable_ops. */
function markByMapping(owner: Uint8Array, mapping: Column, traits: MachineTraits): void {
  if (traits.zsmalloc === 'uptodate') return
  const isMovable = mapDictionary(mapping, (low) =>
    low !== 255 && (low & PAGE_MAPPING_FLAGS) === PAGE_MAPPING_MOVABLE ? 1 : 0,
  )
  for (let pfn = 0; pfn < owner.length; pfn++) {
    const movable = isMovable[mapping.index[pfn]] === 1
    if (movable && owner[pfn] === OWNER_UNTYPED) owner[pfn] = OWNER_ZSMALLOC
    else if (!movable && owner[pfn] === OWNER_ZSMALLOC) owner[pfn] = OWNER_ZSMALLOC_FIXED
    else if (!movable && owner[pfn] === OWNER_BALLOON) owner[pfn] = OWNER_OFFLINE
  }
}

function markRecordedPcp(owner: Uint8Array, pcp: Column): void {
  const isPcp = mapDictionary(pcp, (low) => (low === 1 ? 1 : 0))
  for (let pfn = 0; pfn < owner.length; pfn++) {
    if (isPcp[pcp.index[pfn]] === 1 && owner[pfn] === OWNER_UNTYPED) owner[pfn] = OWNER_PCP
  }
}

interface Draft {
  readonly owner: Uint8Array
  /** Of an earlier state of `owner`: since then no page has become untyped. */
  readonly census: BlockCensus
  readonly flags: Column
  readonly words: WordClasses
  readonly signs: Signs
  readonly types: PageblockTypes
  readonly traits: MachineTraits
}

/** Pages of one zone that were settled by conclusion. */
interface Untyped {
  readonly pcp: number
  readonly zsmalloc: number
  readonly left: number
}

function settleZone(draft: Draft, zone: ZoneSpan): Untyped {
  const zsmalloc = draft.traits.zsmalloc === 'bare' ? settleBareZsmalloc(draft, zone) : 0
  if (draft.traits.zsmalloc === 'mapcount') settleMapcountZsmalloc(draft, zone)
  const beyond = blocksBeyondPcp(draft, zone)
  let pcp = 0
  let left = 0
  forEachUntypedBlock(draft, zone, (block, start, end) => {
    if (isMovableType(draft.types.type[block]) && !beyond.has(block))
      pcp += settlePcp(draft.owner, start, end)
    else left += settleKernel(draft, start, end)
  })
  return { pcp, zsmalloc, left }
}

/** Calls `visit` for the part within the zone of each pageblock that has untyped pages. */
function forEachUntypedBlock(
  { census }: Draft,
  zone: ZoneSpan,
  visit: (block: number, start: number, end: number) => void,
): void {
  const last = Math.ceil(zone.end / PAGES_PER_PAGEBLOCK)
  for (let block = Math.floor(zone.start / PAGES_PER_PAGEBLOCK); block < last; block++) {
    if (census[block * CENSUS_STRIDE + OWNER_UNTYPED] === 0) continue
    const start = block * PAGES_PER_PAGEBLOCK
    visit(block, Math.max(start, zone.start), Math.min(start + PAGES_PER_PAGEBLOCK, zone.end))
  }
}

/** Untyped pages in a movable pageblock are on per-cpu lists. Gives how many. */
function settlePcp(owner: Uint8Array, start: number, end: number): number {
  let pcp = 0
  for (let pfn = start; pfn < end; pfn++) {
    if (owner[pfn] !== OWNER_UNTYPED) continue
    owner[pfn] = OWNER_PCP
    pcp++
  }
  return pcp
}

/** Untyped pages in another one are the kernel's where something says so. Gives the number of those left. */
function settleKernel({ owner, signs }: Draft, start: number, end: number): number {
  let left = 0
  for (let pfn = start; pfn < end; pfn++) {
    if (owner[pfn] !== OWNER_UNTYPED) continue
    if (signs.isCharged(pfn) || signs.mapcount(pfn) > 0) owner[pfn] = OWNER_KERNEL
    else left++
  }
  return left
}

/** Form `mapcount`: a page of this look with few mappings is one that the kernel maps to user space (an io_uring ring). */
function settleMapcountZsmalloc({ owner, flags, words, signs }: Draft, zone: ZoneSpan): void {
  for (let pfn = zone.start; pfn < zone.end; pfn++) {
    if (owner[pfn] !== OWNER_ZSMALLOC || (words.attributes[flags.index[pfn]] & ATTR_AMBIGUOUS) === 0) continue
    if (isMappedByFew(signs.mapcount(pfn))) owner[pfn] = OWNER_KERNEL
  }
}

/** Movable pageblocks without a flag on any page, if they are more than zoneinfo's per-cpu count has room for. */
function blocksBeyondPcp(draft: Draft, zone: ZoneSpan): ReadonlySet<number> {
  const { owner, types } = draft
  const whole: number[] = []
  forEachUntypedBlock(draft, zone, (block, start, end) => {
    if (end - start < PAGES_PER_PAGEBLOCK || !isMovableType(types.type[block])) return
    if (isAll(owner, start, end, OWNER_UNTYPED)) whole.push(block)
  })
  const room = Math.floor(zone.pcpPages / PAGES_PER_PAGEBLOCK)
  return new Set(whole.length <= room ? [] : whole)
}

/** zsmalloc's mapcount is the offset of an object in the page, plus 1: never this small, save for first pages. */
const isMappedByFew = (mapcount: number): boolean => mapcount >= 0 && mapcount <= 16

/**
 * Form `bare`: only the first page of each zspage is marked, the others read 0 like per-cpu free pages. zsmalloc fills
 * pageblocks (it allocates in bulk, and per-cpu pages come from elsewhere), so the unmarked pages are where the first
 * pages are: pageblocks by their number of first pages, until zoneinfo's nr_zspages is used up.
 */
function settleBareZsmalloc(draft: Draft, zone: ZoneSpan): number {
  const { owner, types } = draft
  const blocks: { start: number; firsts: number }[] = []
  let marked = 0
  for (let start = zone.start; start < zone.end; ) {
    const block = Math.floor(start / PAGES_PER_PAGEBLOCK)
    const end = Math.min((block + 1) * PAGES_PER_PAGEBLOCK, zone.end)
    const firsts = countOwner(owner, start, end, OWNER_ZSMALLOC)
    marked += firsts
    if (firsts > 0 && isMovableType(types.type[block])) blocks.push({ start, firsts })
    start = end
  }
  blocks.sort((a, b) => b.firsts - a.firsts || a.start - b.start)
  let left = zone.zsmallocPages - marked
  const wanted = left
  for (const { start } of blocks) {
    const end = Math.min((Math.floor(start / PAGES_PER_PAGEBLOCK) + 1) * PAGES_PER_PAGEBLOCK, zone.end)
    for (let pfn = start; pfn < end && left > 0; pfn++) {
      if (owner[pfn] !== OWNER_UNTYPED) continue
      owner[pfn] = OWNER_ZSMALLOC
      left--
    }
  }
  return wanted - left
}
