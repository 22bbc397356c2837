/**
 * The page allocator, naively: which pages are free, in maps, without lists, counters and columns.
 *
 * A machine's allocator is told to the model event by event (its tracepoints): a block leaves the free areas, goes to
 * a per-cpu list, comes back. The model knows what each event does to the set of free blocks, and for which reason it
 * may happen at all: whose pageblock is used, how large a block is cut, which pageblocks change their type. What the
 * model ends with, the machine must have.
 *
 * Not modelled: in which order blocks of one order and type are taken, how many pages a per-cpu list refills or
 * drains, the watermarks.
 *
 * @ours
 */

import { assert } from '../base/assert.ts'
import {
  MAX_PAGE_ORDER,
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
} from '../mm/limits.ts'

const PAGEBLOCK_ORDER = 9
const PAGEBLOCK = 512

/** What a request may do beyond its own pageblocks. */
export interface Rights {
  readonly cma: boolean
  /** No pageblock may be mixed. */
  readonly nofragment: boolean
  /** HIGHATOMIC pageblocks first. */
  readonly highatomic: boolean
  /** HIGHATOMIC pageblocks when there is nothing else. */
  readonly lastResort: boolean
}

/** A fallback, as mm_page_alloc_extfrag tells it. */
export interface Extfrag {
  readonly order: number
  readonly fallbackOrder: number
  readonly mt: number
  readonly fallbackType: number
  readonly claimed: boolean
}

/** A compaction that waits for a block. */
export interface Capture {
  readonly order: number
  readonly mt: number
  /** The block that it got; 0: none yet. */
  page: number
}

export interface ModelZone {
  readonly start: number
  readonly end: number
}

/** Types that an allocation may fall back to, in order: spec B-3. */
const FALLBACKS: readonly (readonly number[])[] = [
  [2, 1],
  [2, 0],
  [0, 1],
]

export class AllocatorModel {
  /** Order of each block in the free areas, by its first page. */
  readonly free = new Map<number, number>()
  /** Order and cpu of each block on a per-cpu list. */
  readonly perCpu = new Map<number, { order: number; cpu: number }>()
  /** Order of each block in use. */
  readonly held = new Map<number, number>()
  /** Blocks in use that are on the LRU. */
  readonly movable = new Set<number>()
  /** Migratetype of each pageblock. */
  readonly type: number[]
  /** HIGHATOMIC pages that each zone reserves. */
  readonly reserved: number[]
  /** True once a bulk has stolen: it does not try to claim any more. */
  stole = false
  private readonly zones: readonly ModelZone[]

  /** Nothing is free, all pageblocks are movable. */
  constructor(zones: readonly ModelZone[], pages: number) {
    this.zones = zones
    this.type = Array.from({ length: pages / PAGEBLOCK }, () => MIGRATE_MOVABLE)
    this.reserved = zones.map(() => 0)
  }

  zoneOf(pfn: number): number {
    return this.zones.findIndex(({ end }) => pfn < end)
  }

  typeOf(pfn: number): number {
    return this.type[pfn >> PAGEBLOCK_ORDER]
  }

  /** True if the whole pageblock of the page lies in its zone. */
  isWhole(pfn: number): boolean {
    const { start, end } = this.zones[this.zoneOf(pfn)]
    const first = pfn - (pfn % PAGEBLOCK)
    return first >= start && first + PAGEBLOCK <= end
  }

  /** Free blocks of a zone with their types, in no order. */
  blocks(zone: number): { pfn: number; order: number; mt: number }[] {
    const found = []
    for (const [pfn, order] of this.free)
      if (this.zoneOf(pfn) === zone) found.push({ pfn, order, mt: this.typeOf(pfn) })
    return found
  }

  /** Free pages of a zone, of some types. */
  freePages(zone: number, counts: (mt: number) => boolean): number {
    let pages = 0
    for (const { order, mt } of this.blocks(zone)) if (counts(mt)) pages += 2 ** order
    return pages
  }

  // What happens to blocks.

  /** Frees a block to the free areas: it merges as far as it can. Pageblocks that merge take the type of the freed one. */
  put(block: number, blockOrder: number, capture?: Capture): void {
    const mt = this.typeOf(block)
    let pfn = block
    let order = blockOrder
    while (order < MAX_PAGE_ORDER) {
      if (capture !== undefined && this.captures(capture, order, mt)) {
        capture.page = pfn
        return
      }
      const buddy = pfn ^ (2 ** order)
      if (this.free.get(buddy) !== order) break
      if (order >= PAGEBLOCK_ORDER) {
        if (this.zoneOf(buddy) !== this.zoneOf(pfn)) break
        const other = this.typeOf(buddy)
        if (other !== mt && (mt >= MIGRATE_HIGHATOMIC || other >= MIGRATE_HIGHATOMIC)) break
        this.setTypes(buddy, order, mt)
      }
      this.free.delete(buddy)
      pfn = Math.min(pfn, buddy)
      order++
    }
    this.free.set(pfn, order)
  }

  private captures(capture: Capture, order: number, mt: number): boolean {
    if (capture.page !== 0 || capture.order !== order) return false
    if (mt === MIGRATE_CMA || mt === MIGRATE_ISOLATE) return false
    return order >= PAGEBLOCK_ORDER || mt !== MIGRATE_MOVABLE || capture.mt === MIGRATE_MOVABLE
  }

  /** Frees a block in pieces of a pageblock at most. */
  putLarge(block: number, order: number): void {
    if (order <= PAGEBLOCK_ORDER) this.put(block, order)
    else for (let p = block; p < block + 2 ** order; p += PAGEBLOCK) this.put(p, PAGEBLOCK_ORDER)
  }

  /** Cuts a block from the beginning of a free one. */
  cut(pfn: number, order: number): void {
    const whole = this.free.get(pfn)
    assert(whole !== undefined && whole >= order, 'model: what is allocated was free')
    this.free.delete(pfn)
    for (let half = order; half < whole; half++) this.free.set(pfn + 2 ** half, half)
  }

  private setTypes(pfn: number, order: number, mt: number): void {
    const first = pfn >> PAGEBLOCK_ORDER
    for (let block = first; block < first + Math.max(2 ** (order - PAGEBLOCK_ORDER), 1); block++)
      this.type[block] = mt
  }

  /** Gives a pageblock another type. A free block that covers it is freed anew, that pageblock last. */
  setType(pfn: number, mt: number): void {
    const start = pfn - (pfn % PAGEBLOCK)
    const pair = start - (start % (2 * PAGEBLOCK))
    const other = start ^ PAGEBLOCK
    const isPair = this.free.get(pair) === MAX_PAGE_ORDER
    const isWhole = isPair || this.free.get(start) === PAGEBLOCK_ORDER
    if (isPair) this.free.delete(pair)
    this.free.delete(isWhole ? start : -1)
    this.setTypes(start, PAGEBLOCK_ORDER, mt)
    if (isPair) this.put(other, PAGEBLOCK_ORDER)
    if (isWhole) this.put(start, PAGEBLOCK_ORDER)
  }

  // Whose blocks a request may have.

  /** Order of the smallest free block of that type that holds 2^order pages, or -1. */
  private smallest(zone: number, mt: number, order: number): number {
    const orders = this.blocks(zone).filter((block) => block.mt === mt && block.order >= order)
    return orders.length === 0 ? -1 : Math.min(...orders.map((block) => block.order))
  }

  /** Takes a block from the free areas, as a request of that kind may: asserts that it may. */
  take(pfn: number, order: number, mt: number, rights: Rights, fallback: Extfrag | undefined): void {
    const zone = this.zoneOf(pfn)
    if (fallback === undefined) {
      const [wanted, type] = this.wantedWithoutFallback(zone, order, mt, rights)
      assert(wanted >= 0, 'model: there was something to allocate')
      assert(this.typeOf(pfn) === type, 'model: the block is of the type that comes first')
      assert(this.free.get(pfn) === wanted, 'model: the smallest block is cut')
      if (type === MIGRATE_HIGHATOMIC && !rights.highatomic && !rights.nofragment)
        this.assertNothingToSteal(zone, order, mt)
    } else {
      assert(this.smallest(zone, mt, order) < 0, 'model: nobody falls back who has blocks of his own')
      assert(!rights.cma || this.smallest(zone, MIGRATE_CMA, order) < 0, 'model: CMA comes before a fallback')
      assert(fallback.order === order && fallback.mt === mt, 'model: the event tells the request')
      if (fallback.claimed) this.claim(pfn, order, mt, rights, fallback)
      else this.steal(pfn, order, mt, rights, fallback)
    }
    this.cut(pfn, order)
  }

  /** Order and type of the block that a request without fallback is cut from; -1: there is none. */
  private wantedWithoutFallback(zone: number, order: number, mt: number, rights: Rights): [number, number] {
    const types: number[] = []
    if (rights.highatomic) types.push(MIGRATE_HIGHATOMIC)
    const cma = this.freePages(zone, (type) => type === MIGRATE_CMA)
    const all = this.freePages(zone, (type) => type !== MIGRATE_ISOLATE)
    if (rights.cma && cma > Math.floor(all / 2)) types.push(MIGRATE_CMA)
    types.push(mt)
    if (rights.cma) types.push(MIGRATE_CMA)
    if (rights.lastResort) types.push(MIGRATE_HIGHATOMIC)
    for (const type of types) {
      const found = this.smallest(zone, type, order)
      if (found >= 0) return [found, type]
    }
    return [-1, -1]
  }

  /** The first type to fall back to that has blocks of that order, with these blocks. */
  private candidates(zone: number, mt: number, order: number): { type: number; pfns: number[] } {
    const blocks = this.blocks(zone).filter((block) => block.order === order)
    const type = FALLBACKS[mt].find((fallback) => blocks.some((block) => block.mt === fallback)) ?? -1
    return { type, pfns: blocks.filter((block) => block.mt === type).map((block) => block.pfn) }
  }

  /** True if a request of that type may make the pageblock of a free block of that order its own. */
  private isClaimable(pfn: number, order: number, mt: number): boolean {
    if (order >= PAGEBLOCK_ORDER) return true
    if (mt === MIGRATE_MOVABLE && order < Math.floor(PAGEBLOCK_ORDER / 2)) return false
    if (!this.isWhole(pfn)) return false
    const start = pfn - (pfn % PAGEBLOCK)
    const inBlock = (map: Iterable<[number, number]>): number =>
      [...map].reduce((sum, [head, size]) => sum + overlap(head, 2 ** size, start), 0)
    const free = inBlock(this.free)
    const movable = inBlock([...this.held].filter(([head]) => this.movable.has(head)))
    if (mt === MIGRATE_MOVABLE) return free + movable >= PAGEBLOCK / 2
    const alike = this.typeOf(pfn) === MIGRATE_MOVABLE ? PAGEBLOCK - free - movable : 0
    return free + alike >= PAGEBLOCK / 2
  }

  private claim(pfn: number, order: number, mt: number, rights: Rights, event: Extfrag): void {
    const zone = this.zoneOf(pfn)
    const least = rights.nofragment ? Math.max(order, PAGEBLOCK_ORDER) : order
    assert(event.fallbackOrder >= least, 'model: without mixing, whole pageblocks only')
    const { type, pfns } = this.candidates(zone, mt, event.fallbackOrder)
    const block = pfns.find((candidate) => overlap(candidate, 2 ** event.fallbackOrder, pfn, 1) > 0)
    const inSamePageblock = pfns.find((candidate) => candidate >> PAGEBLOCK_ORDER === pfn >> PAGEBLOCK_ORDER)
    const claimed = event.fallbackOrder >= PAGEBLOCK_ORDER ? block : inSamePageblock
    assert(type === event.fallbackType, 'model: the first type of the list that has such a block')
    assert(claimed !== undefined, 'model: the claimed block was free')
    assert(this.isClaimable(claimed, event.fallbackOrder, mt), 'model: what is claimed is claimable')
    this.assertNothingToClaim(zone, mt, event.fallbackOrder + 1)
    this.setTypes(claimed, event.fallbackOrder, mt)
    if (event.fallbackOrder < PAGEBLOCK_ORDER) {
      assert(
        this.free.get(pfn) === this.smallest(zone, mt, order),
        'model: the smallest of the claimed blocks',
      )
    }
  }

  private steal(pfn: number, order: number, mt: number, rights: Rights, event: Extfrag): void {
    const zone = this.zoneOf(pfn)
    assert(!rights.nofragment, 'model: nothing is stolen where nothing may be mixed')
    if (!this.stole) this.assertNothingToClaim(zone, mt, order)
    for (let smaller = order; smaller < event.fallbackOrder; smaller++)
      assert(this.candidates(zone, mt, smaller).type < 0, 'model: the smallest block is stolen')
    const { type, pfns } = this.candidates(zone, mt, event.fallbackOrder)
    assert(type === event.fallbackType, 'model: the first type of the list that has such a block')
    assert(pfns.includes(pfn), 'model: the stolen block was free')
    this.stole = true
  }

  /** At each order from `least` on only one block is tried: it may be any that cannot be claimed. */
  private assertNothingToClaim(zone: number, mt: number, least: number): void {
    for (let order = MAX_PAGE_ORDER; order >= least; order--) {
      const { pfns } = this.candidates(zone, mt, order)
      const all = pfns.length > 0 && pfns.every((pfn) => this.isClaimable(pfn, order, mt))
      assert(!all, 'model: the largest block that can be claimed is claimed')
    }
  }

  private assertNothingToSteal(zone: number, least: number, mt: number): void {
    for (let order = least; order <= MAX_PAGE_ORDER; order++)
      assert(this.candidates(zone, mt, order).type < 0, 'model: the reserve is the last resort')
  }

  // The reserve.

  /** A request with a right to HIGHATOMIC got a block: its pageblock is reserved, up to a hundredth of the zone. */
  reserve(pfn: number, order: number, managed: number): void {
    const zone = this.zoneOf(pfn)
    const share = Math.floor(managed / 100)
    const most = share < PAGEBLOCK ? 0 : Math.ceil(share / PAGEBLOCK) * PAGEBLOCK
    if (this.reserved[zone] >= most || this.typeOf(pfn) >= MIGRATE_HIGHATOMIC) return
    if (order < PAGEBLOCK_ORDER && !this.isWhole(pfn)) return
    this.setTypes(pfn, order, MIGRATE_HIGHATOMIC)
    this.reserved[zone] += Math.max(2 ** order, PAGEBLOCK)
  }

  /** A reserved pageblock was given back; `isBack` says which. Gives its free pages, 0 if there was none to give. */
  unreserve(zone: number, mt: number, force: boolean, isBack: (pfn: number) => boolean): number {
    if (!force && this.reserved[zone] <= PAGEBLOCK) return 0
    const order = this.smallest(zone, MIGRATE_HIGHATOMIC, 0)
    if (order < 0) return 0
    const block = this.blocks(zone).find(
      (candidate) =>
        candidate.order === order && candidate.mt === MIGRATE_HIGHATOMIC && isBack(candidate.pfn),
    )
    assert(block !== undefined, 'model: a pageblock with one of the smallest blocks is given back')
    this.reserved[zone] -= Math.max(2 ** order, PAGEBLOCK)
    const pages = order >= PAGEBLOCK_ORDER ? 2 ** order : this.freeInPageblock(block.pfn)
    this.setTypes(block.pfn, order, mt)
    return pages
  }

  private freeInPageblock(pfn: number): number {
    const start = pfn - (pfn % PAGEBLOCK)
    let pages = 0
    for (const [head, order] of this.free) pages += overlap(head, 2 ** order, start)
    return pages
  }
}

/** Pages that [from, from + pages) shares with [start, start + length). */
function overlap(from: number, pages: number, start: number, length = PAGEBLOCK): number {
  return Math.max(Math.min(from + pages, start + length) - Math.max(from, start), 0)
}
