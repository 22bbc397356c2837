/**
 * Whose pageblocks an allocation uses when its own have nothing: rows B-3 to B-6.
 *
 * Pageblocks are drawn. What kernels did is taken from mm_page_alloc_extfrag events in the reference captures: kernels
 * 6.1 and 6.12, 325 events of 21 kinds. Not every rule of 6.18 shows in them: since v6.15 a request tries to claim
 * blocks of all orders before it steals one.
 */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine, type TestMachineOptions } from '../testing/machine.ts'
import { listenTo } from '../testing/trace_listener.ts'
import {
  FALLBACKS,
  findSuitableFallback,
  NO_FALLBACK,
  RMQUEUE_NORMAL,
  reserveHighatomicLocked,
  rmqueueBuddyLocked,
  rmqueueModeLocked,
  TOO_SMALL_TO_CLAIM,
  unreserveHighatomicLocked,
} from './fallback.ts'
import { addFreeBlock, moveFreepagesBlockLocked } from './free_area.ts'
import {
  ALLOC_CMA,
  ALLOC_HIGHATOMIC,
  ALLOC_KSWAPD,
  ALLOC_NOFRAGMENT,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_WMARK_MIN,
  GFP_ATOMIC,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
} from './gfp.ts'
import { createMachine, type Mm } from './index.ts'
import {
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  ZONE_BOOSTED_WATERMARK,
} from './limits.ts'
import { buddyOrder } from './page.ts'
import {
  allocFlagsNofragment,
  getPageFromFreelist,
  prepareAllocPages,
  prepNewPage,
  putPage,
} from './page_alloc.ts'
import { allocPages } from './slowpath.ts'
import { verify } from './verify.ts'
import { freeBlockHeads } from './verify_lists.ts'

const U = MIGRATE_UNMOVABLE
const M = MIGRATE_MOVABLE
const R = MIGRATE_RECLAIMABLE
const zone = zoneIdOf(0)
const START = 1024

/** An mm_page_alloc_extfrag event. */
interface Event {
  readonly allocOrder: number
  readonly fallbackOrder: number
  readonly mt: number
  readonly from: number
  readonly claimed: boolean
}

interface Drawn extends TestMachine {
  readonly events: Event[]
}

/** A machine whose pageblocks are of these types. */
function machine(
  types: readonly number[],
  blocks: readonly string[],
  options: TestMachineOptions = {},
): Drawn {
  const drawn = machineOf(blocks.map((block) => block.padEnd(512, 'U')).join(''), {
    start: START,
    contents: false,
    ...options,
  })
  types.forEach((mt, i) => moveFreepagesBlockLocked(drawn.mm, START + 512 * i, mt))
  const events: Event[] = []
  drawn.mm.trace = listenTo({
    mmPageAllocExtfrag: (_, allocOrder, fallbackOrder, mt, from, claimed) => {
      events.push({ allocOrder, fallbackOrder, mt, from, claimed })
    },
  })
  return Object.assign(drawn, { events })
}

const take = (mm: Mm, order: number, mt: number, flags = 0): number =>
  rmqueueModeLocked(mm, 0, order, mt, flags, { mode: RMQUEUE_NORMAL })

/** Number of the pageblock from which a request is served, until there is nothing: -1. */
function sources(mm: Mm, order: number, mt: number, flags = 0): number[] {
  const found: number[] = []
  for (;;) {
    const pfn = take(mm, order, mt, flags)
    found.push(pfn < 0 ? -1 : Math.floor((pfn - START) / 512))
    if (pfn < 0) return found
  }
}

/** `count` free blocks of that order, each beside pages of the letter; the rest of the pageblock is of the letter too. */
const half = (order: number, count: number, letter = 'U'): string =>
  `${'.'.repeat(1 << order)}${letter.repeat(1 << order)}`.repeat(count).padEnd(512, letter)

const ALL_TYPES = [U, M, R, MIGRATE_HIGHATOMIC, MIGRATE_CMA, MIGRATE_ISOLATE]
const quarter = '.'.repeat(128) // one block of order 7, too little to claim a pageblock for

// [M] settled: the events have every pair of the first three types that their workloads could show (unmovable from
// reclaimable and movable, reclaimable from unmovable and movable, movable from reclaimable and unmovable), and none from
// another type. The order within a row is that of fallbacks[][] in mm/page_alloc.c, v6.1 to v6.18.
test('B-3 each type falls back to the other two of the first three, in its order; CMA, HIGHATOMIC and ISOLATE are never stolen', () => {
  expect(FALLBACKS).toEqual([[R, M], [R, U], [U, M], [], [], []])
  // One block of order 7 in a pageblock of each type, and a request that falls back as far as it can.
  const draw = (): Mm =>
    machine(
      ALL_TYPES,
      ALL_TYPES.map(() => quarter),
    ).mm
  expect(sources(draw(), 7, U)).toEqual([U, R, M, -1])
  expect(sources(draw(), 7, M)).toEqual([M, R, U, -1])
  expect(sources(draw(), 7, R)).toEqual([R, U, M, -1])
  for (const mt of [MIGRATE_HIGHATOMIC, MIGRATE_CMA, MIGRATE_ISOLATE])
    expect(sources(draw(), 7, mt)).toEqual([mt, -1])
  // Movable requests may lie in CMA: after their own blocks, before a fallback.
  expect(sources(draw(), 7, M, ALLOC_CMA)).toEqual([M, MIGRATE_CMA, R, U, -1])
  // First, while more than half of what is free is CMA: 3 blocks of 5, 2 of 4; then 1 of 3 and their own come first.
  const cma = machine(
    [M, M, MIGRATE_CMA, MIGRATE_CMA, MIGRATE_CMA],
    [quarter, quarter, quarter, quarter, quarter],
  ).mm
  expect(
    sources(cma, 7, M, ALLOC_CMA).map((block) =>
      block < 0 ? -1 : cma.migratetypeOf(pfnOf(START + 512 * block)),
    ),
  ).toEqual([MIGRATE_CMA, M, MIGRATE_CMA, M, MIGRATE_CMA, -1])
})

/** Every kind of event that the captures have: allocOrder, fallbackOrder, type, from which, whether the pageblock changed hands. */
const RECORDED: readonly (readonly [number, number, number, number, boolean])[] = [
  [0, 10, U, M, true],
  [0, 10, U, R, true],
  [0, 9, U, M, true],
  [0, 9, U, R, true],
  [0, 8, U, M, true],
  [0, 8, U, R, true],
  [0, 6, U, M, true],
  [0, 5, U, M, false],
  [0, 4, U, M, true],
  [0, 3, U, M, true],
  [0, 3, U, M, false],
  [0, 3, U, R, true],
  [1, 10, R, M, true],
  [1, 9, R, M, true],
  [1, 9, R, U, true],
  [1, 8, R, M, true],
  [1, 8, R, U, true],
  [1, 4, R, U, false],
  [1, 3, R, U, false],
  [9, 9, M, R, true],
  [9, 9, M, U, true],
]

/** A machine in which such an event must come: one block to fall back to, and beside it what lets it be claimed or not. */
function setting([, fallbackOrder, , from, claimed]: (typeof RECORDED)[number]): Drawn {
  if (fallbackOrder >= 9) return machine([from, from], ['.'.repeat(1 << fallbackOrder)], { blocks: 2 })
  // In use beside it: movable pages are alike to no request of these, others of a movable pageblock are.
  if (from === M) return machine([from], [half(fallbackOrder, 1, claimed ? 'U' : 'M')])
  return machine([from], [half(fallbackOrder, claimed ? 256 >> fallbackOrder : 1)])
}

// [M] settled: "order >= half" is half of the pageblock's order, 4, and not half of its pages: kernels claimed for blocks
// of orders 3 and 4 (unmovable), and a pageblock changes hands if half of its 512 pages are free or of the kind.
test('B-4 a fallback takes the largest block, and claims its pageblock when half of it is free or alike', () => {
  for (const recorded of RECORDED) {
    const [allocOrder, fallbackOrder, mt, from, claimed] = recorded
    const { mm, events } = setting(recorded)
    const pfn = take(mm, allocOrder, mt)
    expect(pfn).toBeGreaterThanOrEqual(START)
    expect(events).toEqual([{ allocOrder, fallbackOrder, mt, from, claimed }])
    expect(mm.migratetypeOf(pfnOf(pfn))).toBe(claimed ? mt : from)
    prepNewPage(new FastCpu(), mm, pfnOf(pfn), allocOrder)
    verify(mm)
  }
  // The largest block is claimed, the smallest is stolen.
  const blocks = [half(3, 1, 'M'), half(7, 1, 'M')]
  expect(sources(machine([M, M], [half(3, 1), half(7, 1)]).mm, 3, U)[0]).toBe(1)
  expect(sources(machine([M, M], blocks).mm, 3, U)[0]).toBe(0)
  // A driver's pages that can move are movable as those on the LRU are.
  expect(sources(machine([M, M], [half(3, 1, 'z'), half(7, 1, 'z')]).mm, 3, U)[0]).toBe(0)
  // A movable request claims from order 4 on: below, it leaves the pageblock what it is even if all of it is free.
  const claims = (order: number): boolean => {
    const { mm } = machine([U], [half(order, 256 >> order)])
    return mm.migratetypeOf(pfnOf(take(mm, 0, M))) === M
  }
  expect([2, 3, 4, 5].map(claims)).toEqual([false, false, true, true])
  // A whole free block of two pageblocks becomes one of the request's type, all of it.
  const { mm } = machine([M, M], ['.'.repeat(1024)], { blocks: 2 })
  take(mm, 0, U)
  expect([mm.migratetypeOf(pfnOf(START)), mm.migratetypeOf(pfnOf(START + 512))]).toEqual([U, U])
})

/** Zones of 1024 pages from pfn 1024 on, all free and movable, `used` pages of each in use from the beginning. */
function zones(...specs: readonly (readonly [node: number, name: string, used: number])[]): Mm {
  const size = { spanned: 1024, present: 1024, managed: 1024, min: 0, low: 0, high: 0 }
  const mm = createMachine({
    pfnCount: 1024 * (specs.length + 1),
    zones: specs.map(([node, name], i) => ({ node, name, startPfn: 1024 * (i + 1), ...size })),
  })
  specs.forEach(([, , used], i) => {
    const start = 1024 * (i + 1)
    for (let pfn = start; pfn < start + used; pfn++) mm.refcount[pfnOf(pfn)] = 1
    let at = start + used
    while (at < start + 1024) {
      const order = Math.min(Math.log2(at & -at), 10)
      addFreeBlock(mm, pfnOf(at), order)
      at += 1 << order
    }
  })
  return mm
}

const zoneIndexOf = (pfn: number): number => Math.floor(pfn / 1024) - 1

// [M] settled: alloc_flags_nofragment() of v6.18. Without defrag_mode it asks only for a request whose first zone is
// NORMAL, and only where there is a lower zone to turn to, or one node; then DMA32 is used up rather than a pageblock of
// NORMAL mixed. defrag_mode (v6.15) asks always, and does not take it back when all zones would have to mix.
test('B-5 ALLOC_NOFRAGMENT tries other zones of the node before it mixes pageblocks, and defrag_mode keeps it', () => {
  const nofragment = (mm: Mm, nid: number): boolean =>
    (allocFlagsNofragment(mm, prepareAllocPages(mm, GFP_KERNEL, 0, nid)) & ALLOC_NOFRAGMENT) !== 0
  const small = zones([0, 'DMA32', 0])
  expect(nofragment(small, 0)).toBe(false)
  expect(nofragment(zones([0, 'Normal', 0]), 0)).toBe(true)
  const numa = zones([0, 'DMA32', 0], [0, 'Normal', 0], [1, 'Normal', 0])
  expect([nofragment(numa, 0), nofragment(numa, 1)]).toEqual([true, false])
  small.sysctl.defrag_mode = 1
  expect(nofragment(small, 0)).toBe(true)

  // NORMAL has half a movable pageblock left, DMA32 a whole one: that is claimed.
  const roomy = zones([0, 'DMA32', 512], [0, 'Normal', 768])
  expect(zoneIndexOf(allocPages(new FastCpu(), roomy, GFP_KERNEL, 0, 0))).toBe(0)
  // Neither has a whole one: NORMAL is mixed, as the nearest.
  const tight = zones([0, 'DMA32', 768], [0, 'Normal', 768])
  expect(zoneIndexOf(allocPages(new FastCpu(), tight, GFP_KERNEL, 0, 0))).toBe(1)
  // Nor does it go to another node for that.
  const far = zones([0, 'DMA32', 768], [0, 'Normal', 768], [1, 'Normal', 0])
  expect(zoneIndexOf(allocPages(new FastCpu(), far, GFP_KERNEL, 0, 0))).toBe(1)
  // With defrag_mode the first attempt fails rather than mix, and movable pages still find their own.
  const strict = zones([0, 'DMA32', 768], [0, 'Normal', 768])
  strict.sysctl.defrag_mode = 1
  const attempt = (gfp: number): number => {
    const ac = prepareAllocPages(strict, gfp, 0, 0)
    return getPageFromFreelist(new FastCpu(), strict, ac, ALLOC_WMARK_MIN | allocFlagsNofragment(strict, ac))
  }
  expect(attempt(GFP_KERNEL)).toBe(-1)
  expect(zoneIndexOf(attempt(GFP_HIGHUSER_MOVABLE))).toBe(1)
})

test('the node that is not left to avoid mixing is that of the first zone, not the one that was asked for', () => {
  // Node 1 has memory for movable pages only, so that a request of the kernel goes to node 0 from there too.
  const mm = zones([0, 'DMA32', 512], [0, 'Normal', 768], [1, 'Movable', 0])
  expect(zoneIndexOf(allocPages(new FastCpu(), mm, GFP_KERNEL, 0, 1))).toBe(0)
})

const big = (managed: number, blocks: number): Drawn => {
  const drawn = machine([], [], { blocks })
  drawn.mm.zoneManaged[zone] = managed // as if the zone were that large
  return drawn
}

const page = (block: number, at = 0): Pfn => pfnOf(START + 512 * block + at)

// [M] settled: reserve_highatomic_pageblock() of v6.18: one hundredth of the managed pages, rounded up to whole pageblocks,
// and nothing where that is less than one (since v6.7; before, one pageblock at least). The zone Normal of the 6.18
// machine manages 3,342,336 pages: 33,423, or 66 pageblocks. Its zone DMA, 3840 pages, reserves none.
test('B-6 up to a hundredth of a zone is reserved for those who cannot wait, in whole pageblocks', () => {
  const reservable = (managed: number): number => {
    const { mm } = big(managed, 70)
    for (let block = 0; block < 70; block++) reserveHighatomicLocked(mm, page(block), 1)
    verify(mm)
    return mm.nrReservedHighatomic[zone] / 512
  }
  expect([3840, 51_199, 51_200, 51_300, 3_342_336].map(reservable)).toEqual([0, 0, 1, 2, 66])
})

describe('the HIGHATOMIC reserve', () => {
  test('grows by the pageblock of a block that ALLOC_HIGHATOMIC got, and only then', () => {
    const reserved = (order: number, flags: number): number => {
      const { mm } = machine([], ['.'.repeat(512)], { blocks: 2 })
      mm.zoneManaged[zone] = 60_000
      const ac = prepareAllocPages(mm, GFP_ATOMIC, order, 0)
      expect(getPageFromFreelist(new FastCpu(), mm, ac, ALLOC_WMARK_MIN | flags)).toBe(START)
      verify(mm)
      return mm.nrReservedHighatomic[zone]
    }
    expect(reserved(1, ALLOC_HIGHATOMIC)).toBe(512)
    expect(reserved(9, ALLOC_HIGHATOMIC)).toBe(512)
    expect(reserved(0, ALLOC_HIGHATOMIC)).toBe(0)
    expect(reserved(1, ALLOC_NON_BLOCK)).toBe(0)
  })

  test('is used first with ALLOC_HIGHATOMIC, and last by others who cannot wait', () => {
    const from = (flags: number): number[] => {
      const { mm } = machine([MIGRATE_HIGHATOMIC, U], [half(4, 1), half(4, 1)])
      return [0, 1].map(() => {
        const pfn = rmqueueBuddyLocked(mm, 0, (4 << 3) | U, flags)
        return pfn < 0 ? -1 : mm.migratetypeOf(pfnOf(pfn))
      })
    }
    expect(from(0)).toEqual([U, -1])
    expect(from(ALLOC_HIGHATOMIC)).toEqual([MIGRATE_HIGHATOMIC, U])
    expect(from(ALLOC_NON_BLOCK)).toEqual([U, MIGRATE_HIGHATOMIC])
    expect(from(ALLOC_OOM)).toEqual([U, MIGRATE_HIGHATOMIC])
  })

  test('takes no pageblock of CMA, an isolated one, or one of which the zone has a part', () => {
    const { mm } = big(60_000, 3)
    moveFreepagesBlockLocked(mm, page(0), MIGRATE_CMA)
    moveFreepagesBlockLocked(mm, page(1), MIGRATE_ISOLATE)
    mm.zoneEnd[zone] -= 1
    for (const block of [0, 1, 2]) reserveHighatomicLocked(mm, page(block), 1)
    expect(mm.nrReservedHighatomic[zone]).toBe(0)
  })

  test('gives back the pageblock with the smallest free block, keeps the last one unless forced, and counts', () => {
    const { mm } = machine([], [half(4, 2), half(2, 3), ''])
    mm.zoneManaged[zone] = 120_000 // three pageblocks
    for (const block of [0, 1, 2]) reserveHighatomicLocked(mm, page(block, 511), 1)
    expect([mm.nrReservedHighatomic[zone], mm.nrFreeHighatomic[zone]]).toEqual([1536, 32 + 12])
    expect(unreserveHighatomicLocked(mm, 0, U, 0)).toBe(12)
    expect(mm.migratetypeOf(page(1))).toBe(U)
    expect(unreserveHighatomicLocked(mm, 0, R, 0)).toBe(32)
    expect(mm.migratetypeOf(page(0))).toBe(R)
    expect(unreserveHighatomicLocked(mm, 0, U, 0)).toBe(0) // the last one stays
    expect(unreserveHighatomicLocked(mm, 0, U, 1)).toBe(0) // and nothing is free in it
    expect([mm.nrReservedHighatomic[zone], mm.nrFreeHighatomic[zone]]).toEqual([512, 0])
    verify(mm)
  })

  // unreserve_highatomic_pageblock() moves such a block from list to list as it is.
  test('a whole free pageblock comes back unmerged', () => {
    const { mm } = machine([], ['.'.repeat(511), '.'.repeat(512)])
    mm.zoneManaged[zone] = 120_000 // two pageblocks and a bit
    reserveHighatomicLocked(mm, page(0, 511), 1)
    putPage(new FastCpu(), mm, page(0, 511))
    const heads = (): string[] =>
      freeBlockHeads(mm).map((pfn) => `${pfn - START}:${buddyOrder(mm.mapcount[pfn])}`)
    expect(heads()).toEqual(['0:9', '512:9'])
    expect(unreserveHighatomicLocked(mm, 0, M, 1)).toBe(512)
    expect(heads()).toEqual(['0:9', '512:9'])
    expect([mm.migratetypeOf(page(0)), mm.nrReservedHighatomic[zone], mm.nrFreeHighatomic[zone]]).toEqual([
      M,
      0,
      0,
    ])
    verify(mm)
  })
})

describe('claims', () => {
  test('what is on the LRU, folios and all, is alike to a movable request and to no other', () => {
    // 8 pages are free. A movable request needs 248 that can move, an unmovable one 248 that cannot.
    const claimed = (mt: number, from: number, movable: number): boolean => {
      const { mm } = machine([from], [`........${'M==='.repeat(movable / 4)}`])
      return mm.migratetypeOf(pfnOf(take(mm, 0, mt))) === mt
    }
    expect([claimed(U, M, 256), claimed(U, M, 260)]).toEqual([true, false])
    expect([claimed(R, M, 256), claimed(R, M, 260)]).toEqual([true, false])
    // Nothing in use is alike between reclaimable and unmovable.
    expect([claimed(U, R, 0), claimed(R, U, 0)]).toEqual([false, false])
    const movable = (pages: number): boolean => {
      const { mm } = machine([U], [`${'.'.repeat(16)}${'M'.repeat(pages)}`])
      return mm.migratetypeOf(pfnOf(take(mm, 0, M))) === M
    }
    expect([movable(239), movable(240)]).toEqual([false, true])
  })

  test('of a pageblock of which the zone has a part fail, but a steal takes its block', () => {
    const { mm, events } = machine([M], ['.'.repeat(256)])
    mm.zoneEnd[zone] -= 1
    expect(take(mm, 0, U)).toBe(START)
    expect(events).toEqual([{ allocOrder: 0, fallbackOrder: 8, mt: U, from: M, claimed: false }])
  })

  test('raise the watermarks, unless the whole pageblock was free, and tell kswapd if the request may', () => {
    const boost = (block: string, flags: number): [number, number] => {
      const { mm } = machine([M], [block])
      mm.zoneManaged[zone] = 4096
      mm.wmarkHigh[zone] = 100
      take(mm, 0, U, flags)
      return [mm.wmarkBoost[zone], mm.zoneFlags[zone] & ZONE_BOOSTED_WATERMARK]
    }
    expect(boost('.'.repeat(512), ALLOC_KSWAPD)).toEqual([0, 0])
    expect(boost('.'.repeat(256), ALLOC_KSWAPD)).toEqual([512, ZONE_BOOSTED_WATERMARK])
    expect(boost('.'.repeat(256), 0)).toEqual([512, 0])
  })

  test('with ALLOC_NOFRAGMENT only whole pageblocks are claimed, and nothing is stolen', () => {
    expect(take(machine([M], ['.'.repeat(256)]).mm, 0, U, ALLOC_NOFRAGMENT)).toBe(-1)
    expect(take(machine([M], ['.'.repeat(512)]).mm, 0, U, ALLOC_NOFRAGMENT)).toBe(START)
  })

  test('a suitable fallback of an order is the first type with a block of it; a small one is none to claim', () => {
    const { mm } = machine([M, U], [half(3, 1), half(5, 1)])
    expect(findSuitableFallback(mm, 0, 3, R, true)).toBe(M)
    expect(findSuitableFallback(mm, 0, 5, R, true)).toBe(U)
    expect(findSuitableFallback(mm, 0, 4, R, true)).toBe(NO_FALLBACK)
    expect(findSuitableFallback(mm, 0, 3, M, true)).toBe(TOO_SMALL_TO_CLAIM)
    expect(findSuitableFallback(mm, 0, 3, M, false)).toBe(NO_FALLBACK)
    expect(findSuitableFallback(mm, 0, 5, M, true)).toBe(U)
  })
})
