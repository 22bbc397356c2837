/** The historical page marks as truth tables: S0-1..S0-7, S1-1..S1-7. */

import { expect, test } from 'vitest'
import { AssertionError } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { machineOf } from '../testing/machine.ts'
import { COMPACT_RESULT_NAMES } from './compact_result.ts'
import { PG_private, PG_private_2 } from './limits.ts'
import { putbackMovablePages } from './migrate.ts'
import { isolateMovablePage, REFUSED_UNMOVABLE } from './movable_ops.ts'
import { Mm } from './page.ts'
import {
  __ClearPageBalloon,
  __ClearPageMobile,
  __ClearPageMovable,
  __SetPageBalloon,
  __SetPageMobile,
  __SetPageMovable,
  COMPACT_DEFERRED,
  isBalloonIsolated2015,
  KPF_NAMES_BY_PROFILE,
  kpfBit,
  type MarkedPage,
  markBits2015,
  mobile_page,
  PAGE_BALLOON_MAPCOUNT_VALUE,
  PAGE_MOBILE_MAPCOUNT_VALUE,
  PAGE_MOVABLE_MAPCOUNT_VALUE,
  PageBalloon2015,
  PageBalloon2016,
  PageIsolated,
  PageMobile,
  PageMovable,
  PG_isolated,
  PG_movable,
  UNMARKED,
} from './page_marks.ts'

const withCount = (mapcount: number, flags = 0): MarkedPage => ({ mapcount, flags, hasMapping: true })
const last = (states: readonly MarkedPage[]): MarkedPage => states[states.length - 1]

test('S0-1 mapcount -255 is mobile, -256 the balloon, -1 and a mapped page neither', () => {
  const table = [-1, -255, -256, 0, 3].map((count) => [
    count,
    PageMobile(withCount(count)),
    PageBalloon2015(withCount(count)),
  ])
  expect(table).toEqual([
    [-1, false, false],
    [-255, true, false],
    [-256, false, true],
    [0, false, false],
    [3, false, false],
  ])
})

test('S0-2 setting the mark asserts that there was none, clearing it that there was one', () => {
  const mobile = __SetPageMobile(UNMARKED)
  expect(mobile.mapcount).toBe(-255)
  expect(__ClearPageMobile(mobile)).toEqual(UNMARKED)
  for (const count of [-256, -255, 0, 1])
    expect(() => __SetPageMobile(withCount(count))).toThrow(AssertionError)
  for (const count of [-256, -1, 0, 1])
    expect(() => __ClearPageMobile(withCount(count))).toThrow(AssertionError)
})

test('S0-3 mobile needs a mapping and a mark; the lockless guess is checked again under the lock', () => {
  for (const [count, marked] of [
    [-1, false],
    [-255, true],
    [-256, true],
  ] as const) {
    expect(mobile_page(withCount(count), true)).toBe(marked)
    expect(mobile_page({ ...withCount(count), hasMapping: false }, true)).toBe(false)
  }
  // The engine's guess goes stale: the pool lets go of the page after the guess, before the lock.
  const machine = machineOf('|z|')
  const { mm } = machine
  const pfn = machine.pfn(0)
  mm.refcount[pfn]++ // keeps the page alive
  const cpu = machine.recordingCpu()
  cpu.before(
    (op) => op === 'tryLock',
    () => machine.release(pfn),
  )
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(REFUSED_UNMOVABLE)
  expect(mm.refcount[pfn]).toBe(1)
})

test('S0-5 kpageflags bit 25 shows the mark in 2015 and means idle today, 23 was the balloon', () => {
  expect(kpfBit('2015', 'MOBILE')).toBe(25)
  expect(['THP', 'BALLOON', 'ZERO_PAGE'].map((name) => kpfBit('2015', name))).toEqual([22, 23, 24])
  expect(['THP', 'OFFLINE', 'ZERO_PAGE', 'IDLE', 'PGTABLE'].map((name) => kpfBit('modern', name))).toEqual([
    22, 23, 24, 25, 26,
  ])
  expect(kpfBit('modern', 'MOBILE')).toBe(-1)
  expect(KPF_NAMES_BY_PROFILE['2015'].slice(0, 23)).toEqual(KPF_NAMES_BY_PROFILE.modern.slice(0, 23))
  expect([-1, -255, -256, 0].map((count) => markBits2015(withCount(count)))).toEqual([0, 1 << 25, 1 << 23, 0])
})

test('S0-6 a deferred compaction had result code 0 then, and does not today', () => {
  expect(COMPACT_DEFERRED['2015']).toBe(0)
  expect(COMPACT_RESULT_NAMES[COMPACT_DEFERRED.modern]).toBe('deferred')
  expect(COMPACT_RESULT_NAMES[0]).toBe('not_suitable_zone')
})

test('S0-7 without compaction nothing is mobile, nothing is isolated, and putback does nothing', () => {
  for (const count of [-1, -255, -256]) expect(mobile_page(withCount(count), false)).toBe(false)
  // In the engine that is a machine on which nobody has registered operations.
  const machine = machineOf('|M z|')
  const bare = new Mm({ pfnCount: machine.mm.pfnCount, zones: machine.mm.zoneSpecs, ownerCells: 3 })
  const cpu = new FastCpu()
  for (const place of [0, 1]) {
    const pfn = machine.pfn(place)
    bare.flags[pfn] = machine.mm.flags[pfn]
    bare.mapcount[pfn] = machine.mm.mapcount[pfn]
    bare.refcount[pfn] = 1
    const before = bare.arena.snapshot()
    expect(isolateMovablePage(cpu, bare, pfn, 0)).toBe(REFUSED_UNMOVABLE)
    expect(bare.arena.diff(before)).toEqual([])
    putbackMovablePages(cpu, bare, bare.taskList(cpu.id, 0)) // so there is nothing to put back
    expect(bare.arena.diff(before)).toEqual([])
  }
})

test('S1-1 the movable mapcount moves from -255 to -256, and the balloon value is the same value', () => {
  expect(PAGE_MOVABLE_MAPCOUNT_VALUE).toBe(PAGE_MOBILE_MAPCOUNT_VALUE - 1)
  expect(PAGE_MOVABLE_MAPCOUNT_VALUE).toBe(-256)
  expect(PAGE_BALLOON_MAPCOUNT_VALUE).toBe(PAGE_MOVABLE_MAPCOUNT_VALUE)
})

test('S1-2 movable is PG_movable and -256; a balloon page alone is not', () => {
  expect(PageMovable(withCount(-256, PG_movable))).toBe(true)
  expect(PageMovable(withCount(-256))).toBe(false)
  expect(PageMovable(withCount(-255, PG_movable))).toBe(false)
  expect(PageMovable(withCount(-256, PG_private_2))).toBe(false) // a balloon page alone is not movable
})

test('S1-3 set: bit, then count; clear: count, then bit; a reader never sees half a mark as movable', () => {
  expect(__SetPageMovable(UNMARKED)).toEqual([
    { ...UNMARKED, flags: PG_movable },
    { ...UNMARKED, flags: PG_movable, mapcount: -256 },
  ])
  expect(__ClearPageMovable(withCount(-256, PG_movable)).map((page) => [page.mapcount, page.flags])).toEqual([
    [-1, PG_movable],
    [-1, 0],
  ])
  expect(__SetPageMovable(UNMARKED).map(PageMovable)).toEqual([false, true])
  expect(__ClearPageMovable(withCount(-256, PG_movable)).map(PageMovable)).toEqual([false, false])
  expect(() => __SetPageMovable(withCount(7))).not.toThrow() // no assertion
})

test('S1-4 isolated is PG_isolated, whatever else the page is', () => {
  expect(PageIsolated(withCount(-1, PG_isolated))).toBe(true)
  expect(PageIsolated(withCount(7, PG_isolated | PG_movable))).toBe(true)
  expect(PageIsolated(withCount(-256, PG_movable))).toBe(false)
})

test('S1-7 PG_private said that a balloon page was not isolated; in 2016 it says nothing', () => {
  for (const more of [0, PG_private]) {
    expect(PageIsolated(withCount(-256, PG_movable | more))).toBe(false)
    expect(PageIsolated(withCount(-256, PG_movable | PG_isolated | more))).toBe(true)
  }
  expect(isBalloonIsolated2015(withCount(-256, PG_private))).toBe(false)
  expect(isBalloonIsolated2015(withCount(-256))).toBe(true)
  expect(isBalloonIsolated2015(withCount(-1))).toBe(false)
})

test('S1-5 a balloon page has PG_private_2, and only by that is it told from another movable page', () => {
  const page = last(__SetPageBalloon(UNMARKED, true))
  expect(PageBalloon2016(page)).toBe(true)
  expect(PageBalloon2016(withCount(-256, PG_movable))).toBe(false) // another driver's page
  expect(PageBalloon2016(withCount(-1, PG_private_2))).toBe(false)
})

test('S1-6 set and cleared by who finds it unmarked and marked; with the option off it is not movable', () => {
  for (const option of [true, false]) {
    const page = last(__SetPageBalloon(UNMARKED, option))
    expect(PageBalloon2016(page)).toBe(true)
    expect(PageMovable(page)).toBe(option)
    expect((page.flags & PG_movable) !== 0).toBe(option)
    expect(last(__ClearPageBalloon(page, option))).toEqual(UNMARKED)
    expect(() => __SetPageBalloon(page, option)).toThrow(AssertionError)
    expect(() => __ClearPageBalloon(UNMARKED, option)).toThrow(AssertionError)
  }
})
