/**
 * Census: pages of a page map by zone, pageblock type and owner; pageblocks by what is in them.
 */

import { PAGES_PER_PAGEBLOCK } from '../capture/format/capture.ts'
import { OWNER_CLASSES, OWNER_COUNT, OWNER_FREE } from './classify.ts'
import { countFreeBlocks, countFreeBlocksDrained } from './free_blocks.ts'
import type { PageMap, ZoneSpan } from './page_map.ts'
import { CENSUS_STRIDE, countBlocks } from './pageblock_types.ts'

/** Number of PAGEBLOCK_* types. */
const TYPES = 6

/**
 * Pageblocks by the worst page in them.
 *
 * - `free`: nothing in use, per-cpu lists included
 * - `inUseHuge`: nothing but a huge page in use
 * - `movable`: everything in use can move
 * - `hostage`: at least one page that cannot, or of which it is not known
 */
export interface BlockContents {
  free: number
  inUseHuge: number
  movable: number
  hostage: number
}

export interface ZoneCensus {
  readonly zone: ZoneSpan
  /** Pages by owner class. */
  readonly pagesByOwner: readonly number[]
  /** Buddy blocks, and what they would be with the per-cpu lists drained. */
  readonly freeBlocksByOrder: readonly number[]
  readonly freeBlocksDrained: readonly number[]
  /** Pageblocks by PAGEBLOCK_* type. */
  readonly blocksByType: readonly number[]
  /** Pages by PAGEBLOCK_* type, then by owner class. */
  readonly pagesByType: readonly (readonly number[])[]
  readonly contents: Readonly<BlockContents>
}

export interface Census {
  readonly zones: readonly ZoneCensus[]
  /** All zones. */
  readonly pagesByOwner: readonly number[]
  readonly blocksByType: readonly number[]
  readonly contents: Readonly<BlockContents>
}

/** Counts everything in a page map. A pageblock that two zones share counts in the first. */
export function takeCensus(map: PageMap): Census {
  const blocks = countBlocks(map.owner)
  let counted = 0
  const zones = map.zones.map((zone) => {
    const first = Math.max(counted, Math.floor(zone.start / PAGES_PER_PAGEBLOCK))
    const last = Math.max(first, Math.ceil(zone.end / PAGES_PER_PAGEBLOCK))
    counted = last
    return censusOfZone(map, zone, blocks, first, last)
  })
  const add = (pick: (zone: ZoneCensus) => readonly number[], length: number): number[] =>
    Array.from({ length }, (_, i) => zones.reduce((sum, zone) => sum + pick(zone)[i], 0))
  const contents = emptyContents()
  for (const zone of zones) {
    contents.free += zone.contents.free
    contents.inUseHuge += zone.contents.inUseHuge
    contents.movable += zone.contents.movable
    contents.hostage += zone.contents.hostage
  }
  return {
    zones,
    pagesByOwner: add((zone) => zone.pagesByOwner, OWNER_COUNT),
    blocksByType: add((zone) => zone.blocksByType, TYPES),
    contents,
  }
}

const emptyContents = (): BlockContents => ({ free: 0, inUseHuge: 0, movable: 0, hostage: 0 })

function censusOfZone(
  map: PageMap,
  zone: ZoneSpan,
  blocks: Uint16Array,
  first: number,
  last: number,
): ZoneCensus {
  const { owner, types } = map
  const pagesByOwner = new Array<number>(OWNER_COUNT).fill(0)
  for (let pfn = zone.start; pfn < zone.end; pfn++) pagesByOwner[owner[pfn]]++
  const blocksByType = new Array<number>(TYPES).fill(0)
  const pagesByType = Array.from({ length: TYPES }, () => new Array<number>(OWNER_COUNT).fill(0))
  const contents = emptyContents()
  for (let block = first; block < last; block++) {
    const type = types.type[block]
    if (type >= TYPES) continue
    blocksByType[type]++
    const census = blocks.subarray(block * CENSUS_STRIDE, block * CENSUS_STRIDE + OWNER_COUNT)
    for (let o = 0; o < OWNER_COUNT; o++) pagesByType[type][o] += census[o]
    contents[contentOf(census)]++
  }
  return {
    zone,
    pagesByOwner,
    freeBlocksByOrder: countFreeBlocks(owner, zone.start, zone.end),
    freeBlocksDrained: countFreeBlocksDrained(owner, zone.start, zone.end),
    blocksByType,
    pagesByType,
    contents,
  }
}

function contentOf(census: Uint16Array): keyof BlockContents {
  let huge = 0
  let free = 0
  let movable = 0
  let rest = 0
  for (let owner = 0; owner < census.length; owner++) {
    const { movability } = OWNER_CLASSES[owner]
    if (movability === 'free') free += census[owner]
    else if (movability === 'in_use_huge') huge += census[owner]
    else if (movability === 'movable' || movability === 'movable_if_unpinned') movable += census[owner]
    else if (movability !== 'absent') rest += census[owner]
  }
  if (rest > 0) return 'hostage'
  if (huge > 0 && free + movable === 0) return 'inUseHuge'
  return movable === 0 && huge === 0 ? 'free' : 'movable'
}

/** Pages in buddy blocks. */
export const freePages = (zone: ZoneCensus): number => zone.pagesByOwner[OWNER_FREE]
