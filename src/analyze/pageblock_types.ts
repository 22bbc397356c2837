/**
 * Pageblock types: the migratetype of each pageblock, read or inferred.
 *
 * /proc tells how many pageblocks of each type a zone has (pagetypeinfo), not which. What lies in a block says it well:
 * the kernel puts slab pages, page tables and its own pages in unmovable and reclaimable blocks and steals a block rather than
 * mixing. So blocks are ranked by evidence and cut at the count that pagetypeinfo gives. From strong to weak:
 *
 *   1. a slab page or a page table; more of them, and fewer LRU pages beside them, is better
 *   2. nothing but kernel pages without a type (stacks, vmalloc, percpu): no LRU page, no free page
 *   3. the memory map, if the count has room for all of it
 *   4. mostly block device buffers, which are allocated without __GFP_MOVABLE, and no other LRU page
 *   5. what the free lists say: pagetypeinfo counts free blocks by type too, so a block that contains a free block of
 *      an order of which most are on unmovable lists is probably unmovable
 *   6. pages of drivers (balloon, zsmalloc) and no LRU page
 *
 * Reserved boot memory says nothing: its blocks were never allocated from, and keep the type they began with, movable.
 *
 * Compaction only asks "movable or not". Which of the others are reclaimable is a second cut: slab alone, no page
 * tables and no untyped pages.
 *
 * Tiers and their order were chosen on the captures that the tests score, so the scores are not those of an unseen machine.
 *
 * Rules:
 *   - CMA, highatomic and isolated blocks are not inferred; CMA counts as movable, as it does for compaction.
 *
 * @kernel include/linux/mmzone.h enum migratetype v6.18; evidence: captures/, scores in pageblock_types.test.ts
 */

import { CHUNK, quadsOf } from '../base/bytes.ts'
import {
  type Column,
  PAGEBLOCK_ABSENT,
  PAGEBLOCK_CMA,
  PAGEBLOCK_HIGHATOMIC,
  PAGEBLOCK_ISOLATE,
  PAGEBLOCK_MOVABLE,
  PAGEBLOCK_RECLAIMABLE,
  PAGEBLOCK_TYPE_MASK,
  PAGEBLOCK_UNMOVABLE,
  PAGES_PER_PAGEBLOCK,
} from '../capture/format/capture.ts'
import type { Pagetypeinfo } from '../capture/format/pagetypeinfo.ts'
import {
  MOVABLE_LRU_OWNERS,
  OWNER_BALLOON,
  OWNER_BUFFER,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_KERNEL,
  OWNER_MEMMAP,
  OWNER_OFFLINE,
  OWNER_PGTABLE,
  OWNER_RESERVED,
  OWNER_SLAB,
  OWNER_UNTYPED,
  OWNER_ZSMALLOC,
  OWNER_ZSMALLOC_FIXED,
} from './classify.ts'
import { MAX_ORDER, ORDERS, orderAt } from './free_blocks.ts'

/** Pages of each owner in each pageblock: `census[block * CENSUS_STRIDE + owner]`. */
export type BlockCensus = Uint16Array
export const CENSUS_STRIDE = 32

/** Order of a pageblock. */
export const PAGEBLOCK_ORDER = 31 - Math.clz32(PAGES_PER_PAGEBLOCK)

/** Counts owners by pageblock. `owner` begins its buffer. */
export function countBlocks(owner: Uint8Array): BlockCensus {
  const census = new Uint16Array(Math.ceil(owner.length / PAGES_PER_PAGEBLOCK) * CENSUS_STRIDE)
  const quads = quadsOf(owner)
  const whole = owner.length - (owner.length % PAGES_PER_PAGEBLOCK)
  for (let start = 0; start < whole; start += CHUNK)
    countChunk(census, quads, start, Math.min(start + CHUNK, whole))
  const last = (whole / PAGES_PER_PAGEBLOCK) * CENSUS_STRIDE
  for (let pfn = whole; pfn < owner.length; pfn++) census[last + owner[pfn]]++
  return census
}

/** Counts whole pageblocks. */
function countChunk(census: BlockCensus, quads: Int32Array, start: number, end: number): void {
  let quad = start / 4
  for (let block = start / PAGES_PER_PAGEBLOCK; block < end / PAGES_PER_PAGEBLOCK; block++) {
    const at = block * CENSUS_STRIDE
    const last = quad + PAGES_PER_PAGEBLOCK / 4
    const first = quads[quad]
    const run = quad
    while (quad < last && quads[quad] === first) quad++
    countQuad(census, at, first, quad - run)
    for (; quad < last; quad++) countQuad(census, at, quads[quad], 1)
  }
}

/** Neighbours mostly have one owner: adding to the cell just written would wait for that write. */
function countQuad(census: BlockCensus, at: number, four: number, times: number): void {
  const first = four & 0xff
  if (four === Math.imul(first, 0x01010101)) census[at + first] += 4 * times
  else {
    census[at + first] += times
    census[at + ((four >>> 8) & 0xff)] += times
    census[at + ((four >>> 16) & 0xff)] += times
    census[at + (four >>> 24)] += times
  }
}

/** What pagetypeinfo says of one zone. */
export interface ZoneTypeCounts {
  readonly start: number
  readonly end: number
  /** Pageblocks by PAGEBLOCK_*; undefined: not known. */
  readonly blocks: readonly number[] | undefined
  /** Free blocks by PAGEBLOCK_*, then by order. */
  readonly free: readonly (readonly number[])[]
}

/** Names of pagetypeinfo by PAGEBLOCK_*. The kernel's own numbers depend on whether it has CMA. */
const TYPE_NAMES: readonly string[] = (() => {
  const names: string[] = []
  names[PAGEBLOCK_UNMOVABLE] = 'Unmovable'
  names[PAGEBLOCK_MOVABLE] = 'Movable'
  names[PAGEBLOCK_RECLAIMABLE] = 'Reclaimable'
  names[PAGEBLOCK_HIGHATOMIC] = 'HighAtomic'
  names[PAGEBLOCK_CMA] = 'CMA'
  names[PAGEBLOCK_ISOLATE] = 'Isolate'
  return names
})()

/** Name of a pageblock type for people, as pagetypeinfo prints it. */
export const nameOfType = (type: number): string => TYPE_NAMES[type] ?? 'absent'

/** The counts of one zone, which spans [start, end). */
export function typeCountsOfZone(
  pagetypeinfo: Pagetypeinfo | undefined,
  zone: { readonly node: number; readonly name: string; readonly start: number; readonly end: number },
): ZoneTypeCounts {
  const isZone = (entry: { readonly node: number; readonly zone: string }): boolean =>
    entry.node === zone.node && entry.zone === zone.name
  const blocks = pagetypeinfo?.blocks.find(isZone)?.blocks
  const free = pagetypeinfo?.free.filter(isZone) ?? []
  return {
    start: zone.start,
    end: zone.end,
    blocks: blocks && TYPE_NAMES.map((name) => blocks.get(name) ?? 0),
    free: TYPE_NAMES.map((name) => free.find(({ type }) => type === name)?.freeBlocksByOrder ?? []),
  }
}

export interface PageblockTypes {
  /** PAGEBLOCK_* by pageblock number; PAGEBLOCK_ABSENT where there is no memory. */
  readonly type: Uint8Array
  /** True: concluded from content. False: read from kernel memory. */
  readonly inferred: boolean
}

/** The types that a capture recorded. */
export function recordedTypes(column: Column): PageblockTypes {
  const typeOfWord = column.dictionaryLow.map((word) =>
    word === PAGEBLOCK_ABSENT ? PAGEBLOCK_ABSENT : word & PAGEBLOCK_TYPE_MASK,
  )
  const type = new Uint8Array(column.index.length)
  for (let block = 0; block < type.length; block++) type[block] = typeOfWord[column.index[block]]
  return { type, inferred: false }
}

/**
 * Types concluded from content and pagetypeinfo. A zone without counts (pagetypeinfo was not readable) is cut
 * at the strong evidence alone.
 */
export function inferTypes(
  owner: Uint8Array,
  census: BlockCensus,
  zones: readonly ZoneTypeCounts[],
): PageblockTypes {
  const type = new Uint8Array(census.length / CENSUS_STRIDE).fill(PAGEBLOCK_ABSENT)
  for (const zone of zones) inferZone(type, owner, census, zone)
  return { type, inferred: true }
}

interface Ranked {
  readonly block: number
  readonly score: number
}

function inferZone(type: Uint8Array, owner: Uint8Array, census: BlockCensus, zone: ZoneTypeCounts): void {
  const ranked: Ranked[] = []
  const { blocks } = zone
  const leastScore = blocks ? 0 : SCORE_TYPED
  const listed = unmovablePerMille(zone)
  const last = Math.ceil(zone.end / PAGES_PER_PAGEBLOCK)
  for (let block = Math.floor(zone.start / PAGES_PER_PAGEBLOCK); block < last; block++) {
    if (census[block * CENSUS_STRIDE + OWNER_HOLE] === PAGES_PER_PAGEBLOCK) continue
    type[block] = PAGEBLOCK_MOVABLE
    const score = unmovableScore(block, owner, census, zone, listed)
    if (score >= leastScore) ranked.push({ block, score })
  }
  const unmovable = blocks ? sum(blocks) - blocks[PAGEBLOCK_MOVABLE] - blocks[PAGEBLOCK_CMA] : ranked.length
  const wanted = withoutMemmap(ranked, unmovable)
  wanted.sort((a, b) => b.score - a.score || a.block - b.block)
  const taken = wanted.slice(0, unmovable)

  // The second cut: the most slab-like of them are reclaimable.
  const reclaimable = blocks ? blocks[PAGEBLOCK_RECLAIMABLE] : 0
  const bySlab = taken.map(({ block }) => ({ block, score: reclaimableScore(block, census) }))
  bySlab.sort((a, b) => b.score - a.score || a.block - b.block)
  bySlab.forEach(({ block }, rank) => {
    type[block] = rank < reclaimable ? PAGEBLOCK_RECLAIMABLE : PAGEBLOCK_UNMOVABLE
  })
}

/**
 * The memory map's pageblocks are of one type: unmovable where they were allocated (a node's own memmap), movable where the boot
 * allocator took them. They are unmovable only if the count has room for all.
 */
function withoutMemmap(ranked: readonly Ranked[], unmovable: number): Ranked[] {
  const better = ranked.filter(({ score }) => score > SCORE_MEMMAP).length
  const memmap = ranked.filter(({ score }) => score === SCORE_MEMMAP).length
  return ranked.filter(({ score }) => score !== SCORE_MEMMAP || better + memmap <= unmovable)
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0)

// Tiers of evidence, further apart than what is added within one (pages of a block, a per mille).
const SCORE_TYPED = 50_000
const SCORE_UNTYPED = 40_000
const SCORE_MEMMAP = 30_000
const SCORE_BUFFERS = 20_000
const SCORE_FREE_LISTS = 10_000
const SCORE_DRIVER = 5_000

function unmovableScore(
  block: number,
  owner: Uint8Array,
  census: BlockCensus,
  zone: ZoneTypeCounts,
  perMille: readonly number[],
): number {
  const at = block * CENSUS_STRIDE
  const typed = census[at + OWNER_SLAB] + census[at + OWNER_PGTABLE]
  const untyped = census[at + OWNER_UNTYPED] + census[at + OWNER_KERNEL]
  const buffers = census[at + OWNER_BUFFER]
  const driver = driverPages(census, at)
  const lru = lruPages(census, at) - buffers
  if (typed > 0) return SCORE_TYPED + PAGES_PER_PAGEBLOCK + typed + untyped - lru
  if (isMemmap(block, census)) return SCORE_MEMMAP
  if (untyped === PAGES_PER_PAGEBLOCK) return SCORE_UNTYPED
  if (lru > 0 && lru >= untyped) return -lru
  if (buffers * 2 > PAGES_PER_PAGEBLOCK) return SCORE_BUFFERS + buffers
  const largest = largestFreeOrder(block, owner, census, zone.end)
  const listed = largest < 0 ? 0 : perMille[largest]
  if (listed >= 500) return SCORE_FREE_LISTS + listed
  if (driver > 0 && lru === 0) return SCORE_DRIVER + driver
  const free = census[at + OWNER_FREE]
  // Free, and the free lists say that no block of that order is on another list than the movable one.
  if (free > 0 && listed === 0 && untyped === 0) return -1
  // Reserved boot memory: the highest first, because memblock allocates from the top.
  if (census[at + OWNER_RESERVED] === PAGES_PER_PAGEBLOCK) return block / 2 ** 32
  return listed + untyped - lru
}

/** Part of the memory map: nothing but its pages, or nothing but reserved pages next to such a block (hot-plugged memory's). */
function isMemmap(block: number, census: BlockCensus): boolean {
  if (isWholly(OWNER_MEMMAP, block, census)) return true
  return (
    isWholly(OWNER_RESERVED, block, census) &&
    (isNextToMemmap(block, 1, census) || isNextToMemmap(block, -1, census))
  )
}

/** The first block after it, or before it, that is not reserved is the memory map's. */
function isNextToMemmap(block: number, step: number, census: BlockCensus): boolean {
  let other = block
  while (isWholly(OWNER_RESERVED, other, census)) other += step
  return isWholly(OWNER_MEMMAP, other, census)
}

/** All pages of the block have this owner. False for a block that is not there. */
const isWholly = (owner: number, block: number, census: BlockCensus): boolean =>
  census[block * CENSUS_STRIDE + owner] === PAGES_PER_PAGEBLOCK

/** Pages of drivers: movable if registered so, and then in movable blocks; if not, in unmovable ones. The flags do not tell. */
function driverPages(census: BlockCensus, at: number): number {
  return (
    census[at + OWNER_ZSMALLOC] +
    census[at + OWNER_ZSMALLOC_FIXED] +
    census[at + OWNER_BALLOON] +
    census[at + OWNER_OFFLINE]
  )
}

function lruPages(census: BlockCensus, at: number): number {
  let pages = 0
  for (const owner of MOVABLE_LRU_OWNERS) pages += census[at + owner]
  return pages
}

/** Per mille of the free blocks of each order that are on unmovable or reclaimable lists. */
function unmovablePerMille({ free }: ZoneTypeCounts): number[] {
  return Array.from({ length: ORDERS }, (_, order) => {
    const movable = free[PAGEBLOCK_MOVABLE]?.[order] ?? 0
    const unmovable = (free[PAGEBLOCK_UNMOVABLE]?.[order] ?? 0) + (free[PAGEBLOCK_RECLAIMABLE]?.[order] ?? 0)
    return unmovable === 0 ? 0 : Math.floor((unmovable * 1000) / (unmovable + movable))
  })
}

/** Order of the largest free block that reaches into this pageblock, or -1. */
function largestFreeOrder(block: number, owner: Uint8Array, census: BlockCensus, zoneEnd: number): number {
  const start = block * PAGES_PER_PAGEBLOCK
  const end = Math.min(start + PAGES_PER_PAGEBLOCK, zoneEnd)
  const free = census[block * CENSUS_STRIDE + OWNER_FREE]
  if (free === 0) return -1
  if (free === PAGES_PER_PAGEBLOCK && end - start === free) return orderOfWholeFreeBlock(block, census)
  let largest = -1
  let pfn = start
  while (pfn < end) {
    if (owner[pfn] !== OWNER_FREE) {
      pfn++
      continue
    }
    const from = pfn
    while (pfn < end && owner[pfn] === OWNER_FREE) pfn++
    for (let at = from; at < pfn; ) {
      const order = orderAt(at, pfn - at)
      if (order > largest) largest = order
      at += 1 << order
    }
  }
  return largest
}

/** Order of the free block that a wholly free pageblock is, or is half of. */
function orderOfWholeFreeBlock(block: number, census: BlockCensus): number {
  let order = PAGEBLOCK_ORDER
  for (; order < MAX_ORDER; order++) {
    const blocks = 2 ** (order + 1 - PAGEBLOCK_ORDER)
    const first = block - (block % blocks)
    for (let other = first; other < first + blocks; other++)
      if (census[other * CENSUS_STRIDE + OWNER_FREE] !== PAGES_PER_PAGEBLOCK) return order
  }
  return order
}

function reclaimableScore(block: number, census: BlockCensus): number {
  const at = block * CENSUS_STRIDE
  const slab = census[at + OWNER_SLAB]
  const untyped = census[at + OWNER_UNTYPED] + census[at + OWNER_KERNEL] + census[at + OWNER_BUFFER]
  return slab - 4 * census[at + OWNER_PGTABLE] - 4 * untyped
}

/** How an inference compares with recorded types. */
export interface TypeScore {
  /** Pageblocks that exist in both. */
  readonly blocks: number
  /** The same answer to "is it movable (or CMA)?", which is what compaction asks. */
  readonly right: number
  readonly wrong: number
  /** Movable by inference, not in truth; and the reverse. */
  readonly wrongMovable: number
  readonly wrongUnmovable: number
  /** The same type, reclaimable and unmovable told apart. */
  readonly exact: number
}

/** Scores inferred types against recorded ones. */
export function scoreTypes(inferred: Uint8Array, truth: Uint8Array): TypeScore {
  let blocks = 0
  let wrongMovable = 0
  let wrongUnmovable = 0
  let exact = 0
  for (let block = 0; block < Math.min(inferred.length, truth.length); block++) {
    if (truth[block] === PAGEBLOCK_ABSENT || inferred[block] === PAGEBLOCK_ABSENT) continue
    blocks++
    if (inferred[block] === truth[block]) exact++
    const saysMovable = isMovableType(inferred[block])
    if (saysMovable === isMovableType(truth[block])) continue
    if (saysMovable) wrongMovable++
    else wrongUnmovable++
  }
  const wrong = wrongMovable + wrongUnmovable
  return { blocks, right: blocks - wrong, wrong, wrongMovable, wrongUnmovable, exact }
}

/** True if compaction takes free pages from a pageblock of this type. */
export const isMovableType = (type: number): boolean => type === PAGEBLOCK_MOVABLE || type === PAGEBLOCK_CMA
