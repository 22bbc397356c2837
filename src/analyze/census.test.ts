/** Pages by zone, pageblock and owner of small maps. */

import { expect, test } from 'vitest'
import { nidOf } from '../base/units.ts'
import { takeCensus } from './census.ts'
import { OWNER_ANON, OWNER_FREE, OWNER_HUGE_FOLIO, OWNER_PCP, OWNER_SLAB } from './classify.ts'
import type { PageMap } from './page_map.ts'

/** Four pageblocks: free, all movable, a huge page, slab. Types movable, movable, movable, unmovable. */
function fourBlocks(): PageMap {
  const owner = new Uint8Array(2048)
  owner.fill(OWNER_FREE, 0, 500).fill(OWNER_PCP, 500, 512)
  owner.fill(OWNER_FREE, 512, 600).fill(OWNER_ANON, 600, 1024)
  owner.fill(OWNER_HUGE_FOLIO, 1024, 1536)
  owner.fill(OWNER_ANON, 1536, 2047).fill(OWNER_SLAB, 2047)
  const pages = 2048
  return {
    pfnCount: pages,
    zones: [
      {
        node: nidOf(0),
        name: 'Normal',
        start: 0,
        end: pages,
        present: pages,
        managed: pages,
        pcpPages: 12,
        zsmallocPages: 0,
      },
    ],
    owner,
    order: new Uint8Array(pages),
    types: { type: Uint8Array.of(1, 1, 1, 0), inferred: false },
    words: { owner: new Uint8Array(0), attributes: new Uint16Array(0) },
    traits: { zsmalloc: 'none', ksmBit: true, balloonMoves: false },
    inferred: {
      pageblockTypes: false,
      pcpPages: 0,
      pcpPagesStated: 12,
      untypedPages: 0,
      zsmallocPages: 0,
      holePages: 0,
      uninitialisedPages: 0,
      pinsVisible: true,
      pinsOutstanding: undefined,
    },
  }
}

test('pages by owner, pageblocks by type and by what is in them', () => {
  const census = takeCensus(fourBlocks())
  expect(census.contents).toEqual({ free: 1, movable: 1, inUseHuge: 1, hostage: 1 })
  expect(census.blocksByType.slice(0, 2)).toEqual([1, 3])
  expect(census.pagesByOwner[OWNER_ANON]).toBe(424 + 511)
  expect(census.zones[0].pagesByType[1][OWNER_ANON]).toBe(424)
  expect(census.zones[0].pagesByType[0][OWNER_SLAB]).toBe(1)
})

test('free blocks, and with the per-cpu pages drained', () => {
  const [zone] = takeCensus(fourBlocks()).zones
  // 500 pages from 0: 256, 128, 64, 32, 16, 4; then 88 from 512: 64, 16, 8.
  expect(zone.freeBlocksByOrder).toEqual([0, 0, 1, 1, 2, 1, 2, 1, 1, 0, 0])
  expect(zone.freeBlocksDrained).toEqual([0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0])
})
