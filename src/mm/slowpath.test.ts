/** The slow path: what is tried, in which order, and when it is given up. Told by the tracepoints of each try. */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine, type TestMachineOptions } from '../testing/machine.ts'
import { deferCompaction } from './compaction_gate.ts'
import { reserveHighatomicLocked } from './fallback.ts'
import { moveFreepagesBlockLocked } from './free_area.ts'
import {
  __GFP_DMA,
  __GFP_DMA32,
  __GFP_HIGH,
  __GFP_KSWAPD_RECLAIM,
  __GFP_MEMALLOC,
  __GFP_MOVABLE,
  __GFP_NORETRY,
  __GFP_RECLAIMABLE,
  __GFP_RETRY_MAYFAIL,
  GFP_ATOMIC,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_NOWAIT,
  GFP_TRANSHUGE,
  type Gfp,
} from './gfp.ts'
import { MIGRATE_HIGHATOMIC, MIGRATE_UNMOVABLE, pageblock_nr_pages } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import type { Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { allocPages } from './slowpath.ts'
import { SILENT } from './trace.ts'
import { verify } from './verify.ts'
import { vmEvents } from './vmstat.ts'

const zone = zoneIdOf(0)
const node = nidOf(0)
const cpu = new FastCpu()
const SCATTERED = '.U'.repeat(250)

const draw = (blocks: readonly string[], options: TestMachineOptions = {}): TestMachine =>
  machineOf(blocks.map((block) => block.padEnd(pageblock_nr_pages, 'U')).join(''), options)

/** What an allocation tried: `compact 2` with its priority, `reclaim`; and what it got. */
function tries(mm: Mm, gfp: Gfp, order: number): { got: boolean; tried: string[] } {
  const tried: string[] = []
  mm.trace = {
    ...SILENT,
    mmCompactionTryToCompactPages: (_order, _gfp, priority) => tried.push(`compact ${priority}`),
    mmVmscanDirectReclaimBegin: () => tried.push('reclaim'),
  }
  const got = allocPages(cpu, mm, gfp, order, 0) >= 0
  mm.trace = undefined
  verify(mm)
  return { got, tried }
}

/** Free memory enough, in single pages; nothing moves and nothing can be reclaimed. */
const hopeless = (options: TestMachineOptions = {}): Mm => draw([SCATTERED, SCATTERED], options).mm
/** The same with `pages` of clean file cache, on the LRU, none beside another. */
const withCache = (pages: number, options: TestMachineOptions = {}): Mm =>
  draw(['FU'.repeat(pages), SCATTERED, SCATTERED], options).mm

describe('C-21', () => {
  test('C-21 costly or immovable: compaction first; then reclaim and compaction in turns, as long as either may help', () => {
    // Movable and not costly: reclaim first, then light compaction, and harder if reclaim brought something.
    expect(tries(hopeless(), GFP_HIGHUSER_MOVABLE, 2)).toEqual({
      got: false,
      tried: ['reclaim', 'compact 1'],
    })
    // Pages that cannot move: asynchronous compaction first, out of pageblocks of their own type.
    expect(tries(hopeless(), GFP_KERNEL, 2)).toEqual({
      got: false,
      tried: ['compact 2', 'reclaim', 'compact 1'],
    })
    // Costly: the same; without retry it is over after one round.
    expect(tries(hopeless(), GFP_HIGHUSER_MOVABLE, 4)).toEqual({
      got: false,
      tried: ['compact 2', 'reclaim', 'compact 1'],
    })
    // A huge page at a fault stays asynchronous.
    expect(tries(hopeless(), GFP_TRANSHUGE | __GFP_NORETRY, 4)).toEqual({
      got: false,
      tried: ['compact 2', 'reclaim', 'compact 2'],
    })
  })

  test('if reclaim made progress, compaction tries harder; for costly orders not to the utmost', () => {
    expect(tries(withCache(200), GFP_HIGHUSER_MOVABLE, 3)).toEqual({
      got: false,
      tried: ['reclaim', 'compact 1', 'reclaim', 'compact 0'],
    })
    expect(tries(withCache(200), GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL, 4)).toEqual({
      got: false,
      tried: ['compact 2', 'reclaim', 'compact 1'],
    })
  })

  test('while the free block may not be used: 16 rounds for reclaim, 4 for compaction of a costly order, then it is', () => {
    // With defrag_mode a movable request may not have the block of 16 pages in an unmovable pageblock: compaction says
    // each time that there is one.
    const { mm } = draw(['.'.repeat(16), SCATTERED, SCATTERED])
    moveFreepagesBlockLocked(mm, mm.zoneStart[zone], MIGRATE_UNMOVABLE)
    mm.sysctl.defrag_mode = 1
    const { got, tried } = tries(mm, GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL, 4)
    expect(tried.slice(0, 3)).toEqual(['compact 2', 'reclaim', 'compact 1'])
    expect(tried.filter((what) => what === 'compact 1')).toHaveLength(16 + 4 + 1)
    expect(tried).not.toContain('compact 0')
    expect(got).toBe(true)
    // Without defrag_mode it is mixed at once.
    const mixed = draw(['.'.repeat(16), SCATTERED, SCATTERED]).mm
    moveFreepagesBlockLocked(mixed, mixed.zoneStart[zone], MIGRATE_UNMOVABLE)
    expect(tries(mixed, GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL, 4)).toEqual({ got: true, tried: [] })
  })

  test('a huge page at a fault is given up where compaction was skipped or is deferred', () => {
    const short = draw(['.U'.repeat(20)]).mm
    expect(tries(short, GFP_TRANSHUGE | __GFP_NORETRY, 9)).toEqual({ got: false, tried: ['compact 2'] })
    const deferred = hopeless()
    deferCompaction(cpu, deferred, zone, 4)
    expect(tries(deferred, GFP_TRANSHUGE | __GFP_NORETRY, 4)).toEqual({ got: false, tried: ['compact 2'] })
    expect(vmEvents(deferred).compact_stall).toBe(1) // deferred counts as a stall, skipped does not
    expect(vmEvents(short).compact_stall).toBe(0)
  })

  test('who may not wait tries the free lists and nothing else', () => {
    for (const gfp of [GFP_NOWAIT, GFP_ATOMIC]) {
      const mm = hopeless()
      expect(tries(mm, gfp, 2)).toEqual({ got: false, tried: [] })
      expect(mm.kswapdRunning[node]).toBe(1)
    }
  })
})

describe('what comes of it', () => {
  test('an asynchronous compaction makes the block, and nothing is reclaimed', () => {
    const machine = draw(['M'.repeat(16), '', SCATTERED])
    expect(tries(machine.mm, GFP_HIGHUSER_MOVABLE, 4)).toEqual({ got: true, tried: ['compact 2'] })
    expect(vmEvents(machine.mm)).toMatchObject({
      compact_stall: 1,
      compact_success: 1,
      compact_fail: 0,
      pgsteal_direct: 0,
    })
    // It was captured: the allocation has the very block.
    expect(machine.picture(16)).toBe('U'.padEnd(16, '='))
    expect(machine.mm.compactOrderFailed[zone]).toBe(5)
  })

  test('a success forgets the deferral, and that the hints were to be forgotten', () => {
    const { mm } = draw(['M'.repeat(16), '', SCATTERED])
    for (let failure = 0; failure < 3; failure++) deferCompaction(cpu, mm, zone, 4)
    mm.compactConsidered[zone] = 7
    mm.compactBlockskipFlush[zone] = 1
    expect(tries(mm, GFP_HIGHUSER_MOVABLE, 4).got).toBe(true)
    expect([mm.compactDeferShift[zone], mm.compactConsidered[zone], mm.compactBlockskipFlush[zone]]).toEqual([
      0, 0, 0,
    ])
  })

  test('a failure counts as one', () => {
    const mm = hopeless()
    tries(mm, GFP_HIGHUSER_MOVABLE, 2)
    expect(vmEvents(mm)).toMatchObject({ compact_stall: 1, compact_success: 0, compact_fail: 1 })
  })

  test('reclaim makes room for single pages', () => {
    const mm = withCache(200, { watermarks: 480 })
    const before = vmEvents(mm).pgsteal_direct ?? 0
    let pages = 0
    while (pages < 150 && allocPages(cpu, mm, GFP_HIGHUSER_MOVABLE, 0, 0) >= 0) pages++
    expect(pages).toBe(150)
    expect(vmEvents(mm).pgsteal_direct ?? 0).toBeGreaterThan(before)
    verify(mm)
  })

  test('urgent requests go below the min mark, those who reclaim to the bottom', () => {
    const left = (gfp: Gfp): number => {
      const mm = draw(['.'.repeat(100)], { watermarks: 40 }).mm
      while (allocPages(cpu, mm, gfp, 0, 0) >= 0);
      return mm.nrFree[zone]
    }
    expect(left(GFP_HIGHUSER_MOVABLE)).toBe(40)
    expect(left(GFP_NOWAIT)).toBe(40)
    expect(left(GFP_KERNEL | __GFP_HIGH)).toBe(20) // half of it
    expect(left(GFP_ATOMIC)).toBe(15) // and a quarter of the rest less
    expect(left(__GFP_KSWAPD_RECLAIM | __GFP_MEMALLOC)).toBe(0)
  })

  test('the last HIGHATOMIC pageblock is given up before a request fails', () => {
    const { mm } = draw([...Array.from({ length: 110 }, () => ''), '.'.repeat(512)])
    const reserved = mm.zoneEnd[zone] - pageblock_nr_pages
    reserveHighatomicLocked(mm, reserved, 0)
    expect(mm.migratetypeOf(pfnOf(reserved))).toBe(MIGRATE_HIGHATOMIC)
    expect(allocPages(cpu, mm, GFP_KERNEL, 0, 0)).toBeGreaterThanOrEqual(0)
    expect(mm.nrReservedHighatomic[zone]).toBe(0)
    verify(mm)
  })
})

describe('what cannot be is refused, and nothing changes', () => {
  test.each([
    ['alloc: the order is from 0 to 10', (mm: Mm) => allocPages(cpu, mm, GFP_KERNEL, 11, 0)],
    ['alloc: the order is from 0 to 10', (mm: Mm) => allocPages(cpu, mm, GFP_KERNEL, -1, 0)],
    ['alloc: the node exists', (mm: Mm) => allocPages(cpu, mm, GFP_KERNEL, 0, 1)],
    [
      'gfp: one kind of zone at most',
      (mm: Mm) => allocPages(cpu, mm, GFP_KERNEL | __GFP_DMA | __GFP_DMA32, 0, 0),
    ],
    ['gfp: movable or reclaimable', (mm: Mm) => allocPages(cpu, mm, __GFP_MOVABLE | __GFP_RECLAIMABLE, 0, 0)],
    ['put: the page has no reference', (mm: Mm) => putPage(cpu, mm, pfnOf(mm.zoneStart[zone]))], // it is free
  ])('%s', (message, attempt) => {
    const { mm } = draw(['.'.repeat(512)])
    const before = mm.arena.hash()
    expect(() => attempt(mm)).toThrow(message)
    if (!message.startsWith('put')) expect(mm.arena.hash()).toBe(before)
  })

  test('a page that is put twice', () => {
    const { mm } = draw(['.'.repeat(512)])
    const pfn = pfnOf(allocPages(cpu, mm, GFP_KERNEL, 0, 0))
    putPage(cpu, mm, pfn)
    expect(() => putPage(cpu, mm, pfn)).toThrow('put: the page has no reference')
  })

  test('a lock that is not held', () => {
    const { mm } = draw(['.'.repeat(512)])
    expect(() => cpu.unlock(mm.zoneLock, zone, SPIN_LOCKED)).toThrow('unlock: the lock is not held')
  })
})
