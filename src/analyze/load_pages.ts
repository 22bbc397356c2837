/**
 * The one pass over the pages of a captured machine: each page's cells, by its owner.
 *
 * Most pages are written by one loop that neither calls a function nor holds another loop: only then does V8 look its
 * arrays up once and not in every turn. Branches that are seldom taken write and do not branch, because V8 throws a compiled
 * loop away when it meets a statement that it had not seen run. Measured on 6.5 M pages against a function a kind of page:
 * 6 % less of a first load, the same again. What needs a call the loop notes down for afterwards.
 *
 * An anonymous folio outside the swap cache is mapped, or it would have been freed. Where the capture counts no
 * mapping it was read before the page was mapped (kpagecount is read before kpageflags): it gets one.
 *
 * Not here: what a flags word means to the engine, how large the machine is (load.ts).
 */

import { CHUNK, forEachByte } from '../base/bytes.ts'
import { cellsOf, type Pfn, pcpIdOf, pfnOf, vpnOf, type ZoneId, zoneIdOf } from '../base/units.ts'
import type { ZoneinfoZone } from '../capture/format/zoneinfo.ts'
import { accountFreeLocked, changePageblockRangeLocked, freeBlocksIndex } from '../mm/free_area.ts'
import { addHugePageInUse, HUGETLB_PAGE_ORDER } from '../mm/hugetlb_pool.ts'
import {
  COMPOUND_ORDER_SHIFT,
  COMPOUND_TAIL,
  MAX_PAGE_ORDER,
  MIGRATE_TYPES,
  PG_head,
  PG_movable_ops,
  PGTY_hugetlb,
  PGTY_offline,
  PGTY_slab,
  PGTY_table,
  PGTY_zsmalloc,
  pageblock_order,
  pageTypeValue,
} from '../mm/limits.ts'
import { buddyValue, compoundOrder, type Mm, NR_LRU_LISTS, PB_MIGRATETYPE } from '../mm/page.ts'
import { addPcpPage } from '../mm/pcp.ts'
import { presentPte } from '../mm/rmap.ts'
import { addPoolPage } from '../owners/page_pool.ts'
import {
  OWNER_BALLOON,
  OWNER_COUNT,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_HUGETLB,
  OWNER_OFFLINE,
  OWNER_PCP,
  OWNER_PGTABLE,
  OWNER_PINNED,
  OWNER_SLAB,
  OWNER_UNINITIALISED,
  OWNER_ZSMALLOC,
} from './classify.ts'
import {
  bitsOf,
  FACT_FLAGS,
  FACT_LIST,
  FACT_MAPPING,
  FACT_REFERENCES,
  FACTS,
  isOnLru,
  LRU_BITS,
  type Source,
} from './load_words.ts'
import { ORDER_TAIL } from './page_map.ts'

/** Pools of the pages that drivers can move (loadMachine() makes them). */
export const ZSMALLOC_POOL = 0
export const BALLOON_POOL = 1

/** Loads every page of every zone. `zones` are those of the page map. */
export function loadPages(mm: Mm, source: Source, zones: readonly ZoneinfoZone[]): void {
  const loader = new PageLoader(mm, source)
  source.map.zones.forEach(({ start, end }, i) => {
    const pcp = new PcpLoader(mm, i, zones[i])
    loader.beginZone(i)
    for (let at = start; at < end; ) {
      const next = Math.min(at - (at % CHUNK) + CHUNK, end)
      loader.load(at, next)
      loader.mapShared()
      loader.takeLater((pfn) => loadLater(mm, source.map.owner[pfn], pcp, pfn))
      at = next
    }
    countFreePages(mm, zoneIdOf(i))
  })
  if (source.map.inferred.pinsVisible) loadPins(mm, source)
}

const ABSENT_BITS = bitsOf([OWNER_HOLE, OWNER_UNINITIALISED])
const isAbsent = (owner: number): boolean => ((ABSENT_BITS >>> owner) & 1) !== 0

/** In use, neither on the LRU nor a driver's that can move it. */
const IN_USE_BITS = ~(ABSENT_BITS | LRU_BITS | bitsOf([OWNER_FREE, OWNER_PCP, OWNER_ZSMALLOC, OWNER_BALLOON]))
const isInUse = (owner: number): boolean => ((IN_USE_BITS >>> owner) & 1) !== 0

/** `mapcount` of pages in use, by owner: those that have a page type. */
const MAPCOUNT_IN_USE = (() => {
  const mapcount = new Int32Array(OWNER_COUNT)
  mapcount[OWNER_SLAB] = pageTypeValue(PGTY_slab)
  mapcount[OWNER_PGTABLE] = pageTypeValue(PGTY_table)
  mapcount[OWNER_HUGETLB] = pageTypeValue(PGTY_hugetlb)
  mapcount[OWNER_OFFLINE] = pageTypeValue(PGTY_offline)
  return mapcount
})()

/** Flags of a folio's head by its `order` in the page map. A tail torn off its head is a page of its own. */
const HEAD_FLAGS = Int32Array.from({ length: ORDER_TAIL + 1 }, (_, order) =>
  order === 0 || order === ORDER_TAIL ? 0 : PG_head | (order << COMPOUND_ORDER_SHIFT),
)

/** Writes the cells of pages by address, a chunk a call. */
class PageLoader {
  private readonly mm: Mm
  private readonly source: Source
  private readonly columns: Columns
  // Of this zone: its first list of each kind, and that list's count.
  private lruHead = 0
  private firstLru = 0
  private freeHead = 0
  private firstFree = 0
  private nextVpn = 1
  private nextSlot = 1
  /** Pages of this chunk with several ptes: the loop leaves room for them before the last. */
  private readonly shared = new Int32Array(CHUNK + 1)
  private sharedPages = 0
  /** Pages of this chunk that loadLater() is for. */
  private readonly later = new Int32Array(CHUNK + 1)
  private laterPages = 0

  constructor(mm: Mm, source: Source) {
    this.mm = mm
    this.source = source
    this.columns = columnsOf(mm)
  }

  beginZone(zone: number): void {
    const node = this.mm.zoneNode[zoneIdOf(zone)]
    this.lruHead = this.mm.lruList(node, 0)
    this.firstLru = zone * NR_LRU_LISTS
    this.freeHead = this.mm.freeList(zone, 0, 0)
    this.firstFree = freeBlocksIndex(zone, 0, 0)
  }

  /**
   * Loads what begins in [start, end), which no folio and no free block crosses. It says again what listAddTail(),
   * addFreeBlock() and mapPage() do.
   */
  load(start: number, end: number): void {
    const { shared, later } = this
    const { flags, refcount, mapcount, mapping, slots, rmap, links, pte, cache, pageblock } = this.columns
    const { nrLru, nrFreeBlocks } = this.columns
    const { flagIndex, facts, countIndex, countOfWord } = this.source
    const { owner, order } = this.source.map
    const { firstLru, lruHead, firstFree, freeHead } = this
    let { nextVpn, nextSlot } = this
    let sharedPages = 0
    let laterPages = 0
    let head = 0
    let tailsEnd = start
    let isFolio = false
    for (let at = start; at < end; at++) {
      const who = owner[at]
      if (at < tailsEnd) {
        flags[at] = COMPOUND_TAIL
        slots[at] = head
        if (!isFolio) {
          mapcount[at] = mapcount[head]
          continue
        }
      } else if (isOnLru(who)) {
        const headFlags = HEAD_FLAGS[order[at]]
        const pages = 1 << (headFlags >>> COMPOUND_ORDER_SHIFT)
        const word = FACTS * flagIndex[at]
        const cached = facts[word + FACT_REFERENCES]
        flags[at] = facts[word + FACT_FLAGS] | headFlags
        mapping[at] = facts[word + FACT_MAPPING]
        if (cached !== 0) {
          slots[at] = nextSlot
          cache[nextSlot] = at
          nextSlot += pages
          refcount[at] = cached + pages - 1
        }
        const list = facts[word + FACT_LIST]
        const tail = 2 * (lruHead + list) + 1
        const last = links[tail]
        links[2 * at] = lruHead + list
        links[2 * at + 1] = last
        links[2 * last] = at
        links[tail] = at
        nrLru[firstLru + list] += pages
        isFolio = true
        head = at
        tailsEnd = at + pages
      } else if (who === OWNER_FREE) {
        const list = order[at] * MIGRATE_TYPES + (pageblock[at >>> pageblock_order] & PB_MIGRATETYPE)
        const tail = 2 * (freeHead + list) + 1
        const last = links[tail]
        links[2 * at] = freeHead + list
        links[2 * at + 1] = last
        links[2 * last] = at
        links[tail] = at
        mapcount[at] = buddyValue(order[at])
        nrFreeBlocks[firstFree + list]++
        later[laterPages] = at
        laterPages += order[at] > pageblock_order ? 1 : 0
        at += (1 << order[at]) - 1
        continue
      } else if (isInUse(who)) {
        const headFlags = order[at] > MAX_PAGE_ORDER ? 0 : HEAD_FLAGS[order[at]]
        refcount[at] = 1
        mapcount[at] = MAPCOUNT_IN_USE[who]
        flags[at] = headFlags
        later[laterPages] = at
        laterPages += who === OWNER_HUGETLB ? 1 : 0
        isFolio = false
        head = at
        tailsEnd = at + (1 << (headFlags >>> COMPOUND_ORDER_SHIFT))
        continue
      } else {
        later[laterPages] = at
        laterPages += isAbsent(who) ? 0 : 1
        continue
      }
      // A page of an LRU folio, its head or not.
      let count = countOfWord[countIndex[at]]
      let page = at
      if (count === 0) {
        if (at + 1 < tailsEnd || refcount[head] !== 0) continue
        // The last page of a folio that nothing holds.
        count = 1
        page = head
      }
      shared[sharedPages] = page
      sharedPages += count > 1 ? 1 : 0
      mapcount[page] = count
      refcount[head] += count
      pte[nextVpn] = presentPte(pfnOf(page))
      nextVpn += count
      rmap[page] = nextVpn - 1
    }
    this.nextVpn = nextVpn
    this.nextSlot = nextSlot
    this.sharedPages = sharedPages
    this.laterPages = laterPages
  }

  /** The further ptes of pages that have several: each mapping has one of its own; which, the capture does not show. */
  mapShared(): void {
    const { mapcount, rmap, pte, pteNext } = this.mm
    for (let i = 0; i < this.sharedPages; i++) {
      const pfn = pfnOf(this.shared[i])
      const last = rmap[pfn]
      for (let vpn = last - mapcount[pfn] + 2; vpn <= last; vpn++) {
        pte[vpnOf(vpn)] = presentPte(pfn)
        pteNext[vpnOf(vpn)] = vpn - 1
      }
    }
  }

  takeLater(take: (pfn: Pfn) => void): void {
    for (let i = 0; i < this.laterPages; i++) take(pfnOf(this.later[i]))
  }
}

/** What the loop left. */
function loadLater(mm: Mm, owner: number, pcp: PcpLoader, pfn: Pfn): void {
  if (owner === OWNER_PCP) pcp.load(pfn)
  else if (owner === OWNER_ZSMALLOC) loadPoolPage(mm, pfn, ZSMALLOC_POOL, PGTY_zsmalloc)
  else if (owner === OWNER_BALLOON) loadPoolPage(mm, pfn, BALLOON_POOL, PGTY_offline)
  else if (owner === OWNER_HUGETLB) {
    if (compoundOrder(mm.flags[pfn]) === HUGETLB_PAGE_ORDER) addHugePageInUse(mm, pfn)
  }
  // A free block is on one list: where two pageblocks of different types had merged (before v6.10), both take one.
  else changePageblockRangeLocked(mm, pfn, MAX_PAGE_ORDER, mm.migratetypeOf(pfn))
}

/** A page that its driver can move. */
function loadPoolPage(mm: Mm, pfn: Pfn, pool: number, pgty: number): void {
  mm.refcount[pfn] = 1
  mm.mapcount[pfn] = pageTypeValue(pgty)
  mm.flags[pfn] = PG_movable_ops
  addPoolPage(mm, pool, pfn)
}

/** Counts the free pages of a zone, whose blocks are on their lists. */
function countFreePages(mm: Mm, zone: ZoneId): void {
  for (let order = 0; order <= MAX_PAGE_ORDER; order++) {
    for (let mt = 0; mt < MIGRATE_TYPES; mt++)
      accountFreeLocked(mm, zone, mt, mm.nrFreeBlocks[freeBlocksIndex(zone, order, mt)] << order)
  }
}

/** Pinned pages have a reference more than is accounted for, or as many as were recorded. */
function loadPins(mm: Mm, { map, refIndex, refOfWord }: Source): void {
  for (const { start, end } of map.zones) {
    forEachByte(map.owner, OWNER_PINNED, start, end, (at) => {
      const pfn = pfnOf(at)
      mm.refcount[pfn] = Math.max(mm.refcount[pfn] + 1, refIndex === undefined ? 0 : refOfWord[refIndex[at]])
    })
  }
}

/** The columns that the loop writes, as plain arrays: it counts in numbers. */
type Columns = ReturnType<typeof columnsOf>

const columnsOf = (mm: Mm) => ({
  flags: cellsOf(mm.flags),
  refcount: cellsOf(mm.refcount),
  mapcount: cellsOf(mm.mapcount),
  mapping: cellsOf(mm.mapping),
  /** The first cache slot of a head, the head of a tail. */
  slots: cellsOf(mm.private),
  rmap: cellsOf(mm.rmap),
  links: mm.links,
  pte: cellsOf(mm.pte),
  cache: cellsOf(mm.cache),
  pageblock: cellsOf(mm.pageblock),
  nrLru: mm.nrLru,
  nrFreeBlocks: mm.nrFreeBlocks,
})

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
