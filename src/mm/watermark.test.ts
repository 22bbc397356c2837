/**
 * Watermarks. Expected values are worked out in the comments from the rules of __zone_watermark_ok(),
 * zone_watermark_fast() and boost_watermark() of v6.18, and real marks are those of a 6.18 machine's zoneinfo.
 */

import { describe, expect, test } from 'vitest'
import { zoneIdOf } from '../base/units.ts'
import { accountFreeLocked, freeBlocksIndex } from './free_area.ts'
import {
  ALLOC_CMA,
  ALLOC_HIGHATOMIC,
  ALLOC_MIN_RESERVE,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_WMARK_HIGH,
  ALLOC_WMARK_LOW,
  ALLOC_WMARK_MIN,
} from './gfp.ts'
import { createMachine, type Mm } from './index.ts'
import { MIGRATE_CMA, MIGRATE_HIGHATOMIC, MIGRATE_MOVABLE, ZONE_DMA32, ZONE_NORMAL } from './limits.ts'
import type { Sysctl } from './page.ts'
import { boostWatermarkLocked, wmarkPages, zoneWatermarkFast, zoneWatermarkOk } from './watermark.ts'

const zone = zoneIdOf(0)

/** A zone that says it has so many pages: marks depend on counts alone. */
function zoneOf(managed: number, sysctl: Partial<Sysctl> = {}): Mm {
  const size = { spanned: 512, present: 512, managed: 512 }
  const marks = { min: 100, low: 125, high: 150 }
  const mm = createMachine({
    pfnCount: 512,
    zones: [{ node: 0, name: 'DMA32', startPfn: 0, ...size, ...marks, protection: [0, 0, 40, 50, 50] }],
    sysctl,
  })
  mm.zoneManaged[zone] = managed
  return mm
}

/** Counts free blocks as if they were there. */
function addFree(mm: Mm, order: number, mt: number, blocks = 1): void {
  mm.nrFreeBlocks[freeBlocksIndex(0, order, mt)] += blocks
  accountFreeLocked(mm, zone, mt, blocks << order)
}

const ok = (mm: Mm, order: number, flags: number, mark = 100, idx = ZONE_DMA32): boolean =>
  zoneWatermarkOk(mm, zone, order, mark, idx, flags, mm.nrFree[zone])
const fast = (mm: Mm, order: number, flags: number): boolean =>
  zoneWatermarkFast(mm, zone, order, wmarkPages(mm, zone, flags), ZONE_DMA32, flags, mm.nrFree[zone])

describe('marks', () => {
  test('the flags name one of three, and all are raised by the boost', () => {
    const mm = zoneOf(8192)
    const marks = (): number[] =>
      [ALLOC_WMARK_MIN, ALLOC_WMARK_LOW, ALLOC_WMARK_HIGH].map((flags) => wmarkPages(mm, zone, flags))
    expect(marks()).toEqual([100, 125, 150])
    mm.wmarkBoost[zone] = 512
    expect(marks()).toEqual([612, 637, 662])
  })

  test('more than the mark must be free, not as much', () => {
    const mm = zoneOf(8192)
    addFree(mm, 0, MIGRATE_MOVABLE, 100)
    expect(ok(mm, 0, 0)).toBe(false)
    addFree(mm, 0, MIGRATE_MOVABLE)
    expect(ok(mm, 0, 0)).toBe(true)
  })

  test('a request for a higher kind of zone leaves the lower one its protection', () => {
    const mm = zoneOf(8192)
    addFree(mm, 0, MIGRATE_MOVABLE, 140)
    expect(ok(mm, 0, 0, 100, ZONE_NORMAL)).toBe(false)
    addFree(mm, 0, MIGRATE_MOVABLE)
    expect(ok(mm, 0, 0, 100, ZONE_NORMAL)).toBe(true)
  })
})

describe('requests above order 0', () => {
  test('count all but one page of their block as gone, and need a block', () => {
    const mm = zoneOf(8192)
    addFree(mm, 0, MIGRATE_MOVABLE, 200)
    expect(ok(mm, 3, 0)).toBe(false) // 200 - 7 are enough, and no block of 8 is there
    addFree(mm, 3, MIGRATE_MOVABLE)
    expect(ok(mm, 3, 0)).toBe(true)
    expect(ok(mm, 4, 0)).toBe(false)
    expect(ok(mm, 3, 0, 201)).toBe(false) // 208 - 7 are no more than 201
    expect(ok(mm, 3, 0, 200)).toBe(true)
  })

  test('a block of a larger order will do', () => {
    const mm = zoneOf(8192)
    addFree(mm, 9, MIGRATE_MOVABLE)
    expect([ok(mm, 9, 0), ok(mm, 10, 0)]).toEqual([false, false]) // 512 - 511 = 1
    expect(ok(mm, 8, 0)).toBe(true) // 512 - 255 = 257
  })

  test('CMA blocks are for those who may use them, HIGHATOMIC ones for those who have a right to the reserve', () => {
    const cma = zoneOf(8192)
    addFree(cma, 0, MIGRATE_MOVABLE, 500)
    addFree(cma, 3, MIGRATE_CMA)
    expect([ok(cma, 3, 0), ok(cma, 3, ALLOC_CMA)]).toEqual([false, true])
    const reserve = zoneOf(8192)
    addFree(reserve, 0, MIGRATE_MOVABLE, 500)
    addFree(reserve, 3, MIGRATE_HIGHATOMIC)
    const rights = [0, ALLOC_MIN_RESERVE, ALLOC_NON_BLOCK, ALLOC_HIGHATOMIC, ALLOC_OOM]
    expect(rights.map((flags) => ok(reserve, 3, flags))).toEqual([false, false, false, true, true])
  })
})

describe('what does not count as free', () => {
  test('CMA pages for those who may not use them', () => {
    const mm = zoneOf(8192)
    addFree(mm, 0, MIGRATE_MOVABLE, 100)
    addFree(mm, 0, MIGRATE_CMA, 50)
    expect([ok(mm, 0, 0), ok(mm, 0, ALLOC_CMA)]).toEqual([false, true])
    expect([fast(mm, 0, 0), fast(mm, 0, ALLOC_CMA)]).toEqual([false, true])
  })

  // Since v6.12 the free pages of the reserve are counted; before, all of its pages, free or not.
  test('free HIGHATOMIC pages for those without a right to reserves, and only the free ones', () => {
    const mm = zoneOf(8192)
    mm.nrReservedHighatomic[zone] = 512
    addFree(mm, 0, MIGRATE_MOVABLE, 101)
    expect(ok(mm, 0, 0)).toBe(true)
    addFree(mm, 0, MIGRATE_HIGHATOMIC, 30)
    expect([ok(mm, 0, 0), ok(mm, 0, 0, 101), ok(mm, 0, ALLOC_OOM, 101)]).toEqual([true, false, true])
  })
})

describe('reserves', () => {
  // Of a mark of 100: half for __GFP_HIGH, a quarter of that less for those who cannot wait besides, half for OOM victims.
  test.each([
    ['no right', 0, 100],
    ['ALLOC_NON_BLOCK alone', ALLOC_NON_BLOCK, 100],
    ['ALLOC_MIN_RESERVE', ALLOC_MIN_RESERVE, 50],
    ['GFP_ATOMIC', ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK, 38],
    ['ALLOC_OOM', ALLOC_OOM, 50],
    ['GFP_ATOMIC of an OOM victim', ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK | ALLOC_OOM, 19],
  ])('%s goes down to its share of the mark', (_, flags, lowest) => {
    const mm = zoneOf(8192)
    addFree(mm, 0, MIGRATE_MOVABLE, lowest)
    expect(ok(mm, 0, flags)).toBe(false)
    addFree(mm, 0, MIGRATE_MOVABLE)
    expect(ok(mm, 0, flags)).toBe(true)
  })

  test('at order 0 a request with __GFP_HIGH does not heed the boost, once it is down to min', () => {
    const mm = zoneOf(8192)
    mm.wmarkBoost[zone] = 512
    addFree(mm, 1, MIGRATE_MOVABLE, 30) // 60 pages: above half of 100, below half of 612
    expect(fast(mm, 0, ALLOC_WMARK_MIN | ALLOC_MIN_RESERVE)).toBe(true)
    expect(fast(mm, 0, ALLOC_WMARK_LOW | ALLOC_MIN_RESERVE)).toBe(false)
    expect(fast(mm, 0, ALLOC_WMARK_MIN)).toBe(false)
    expect(fast(mm, 1, ALLOC_WMARK_MIN | ALLOC_MIN_RESERVE)).toBe(false)
  })
})

describe('the boost', () => {
  test('is a pageblock at a time, up to the factor: 150 % of the high mark', () => {
    const mm = zoneOf(8192)
    mm.wmarkHigh[zone] = 1000
    const steps = Array.from({ length: 4 }, () => [boostWatermarkLocked(mm, zone), mm.wmarkBoost[zone]])
    expect(steps).toEqual([
      [true, 512],
      [true, 1024],
      [true, 1500],
      [true, 1500],
    ])
  })

  test('is one pageblock where the factor allows less, and none at factor 0 or for a share of no page', () => {
    const small = zoneOf(8192) // 150 % of 150 are 225
    expect([boostWatermarkLocked(small, zone), small.wmarkBoost[zone]]).toEqual([true, 512])
    expect([boostWatermarkLocked(small, zone), small.wmarkBoost[zone]]).toEqual([true, 512])
    const off = zoneOf(8192, { watermark_boost_factor: 0 })
    expect([boostWatermarkLocked(off, zone), off.wmarkBoost[zone]]).toEqual([false, 0])
    const none = zoneOf(8192, { watermark_boost_factor: 60 }) // 0.6 % of 150 are 0
    expect([boostWatermarkLocked(none, zone), none.wmarkBoost[zone]]).toEqual([false, 0])
  })

  test('is not for zones of less than four pageblocks', () => {
    expect(boostWatermarkLocked(zoneOf(2047), zone)).toBe(false)
    expect(boostWatermarkLocked(zoneOf(2048), zone)).toBe(true)
  })
})
