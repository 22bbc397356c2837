/** Deferral, suitability and the score: golden values from the kernel's rules. */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOf } from '../testing/machine.ts'
import {
  COMPACT_CONTINUE,
  COMPACT_NOT_SUITABLE_ZONE,
  COMPACT_SKIPPED,
  COMPACT_SUCCESS,
} from './compact_result.ts'
import {
  compactionDeferReset,
  compactionDeferred,
  compactionRestarting,
  compactionSuitAllocationOrder,
  compactionSuitable,
  deferCompaction,
  fragmentationScoreHigh,
  fragmentationScoreLow,
  fragmentationScoreNode,
} from './compaction_gate.ts'
import { addFreeBlock, moveFreepagesBlockLocked } from './free_area.ts'
import { ALLOC_CMA, ALLOC_WMARK_MIN } from './gfp.ts'
import { createMachine } from './index.ts'
import { MIGRATE_CMA, ZONE_MOVABLE } from './limits.ts'
import { type Mm, SYSCTL_DEFAULTS } from './page.ts'
import { type Deferral, SILENT } from './trace.ts'
import { extfragForOrder, fragmentationIndex } from './vmstat.ts'

const zone = zoneIdOf(0)
const cpu = new FastCpu()

describe('C-10', () => {
  /** Requests of that order that are let pass before one is not. */
  const letPass = (mm: Mm, order: number): number => {
    let passed = 0
    while (compactionDeferred(cpu, mm, zone, order)) passed++
    return passed
  }

  const machineAfterFailure = (): Mm => {
    const { mm } = machineOf('.')
    deferCompaction(cpu, mm, zone, 9)
    return mm
  }

  test('C-10 after each failure twice as many requests pass, 64 at most; success resets', () => {
    const { mm } = machineOf('.')
    expect(letPass(mm, 9)).toBe(0)
    const passed: number[] = []
    for (let failure = 0; failure < 8; failure++) {
      deferCompaction(cpu, mm, zone, 9)
      passed.push(letPass(mm, 9))
    }
    // The request that is not let pass counts too: every 2nd, 4th … 64th compacts.
    expect(passed).toEqual([1, 3, 7, 15, 31, 63, 63, 63])

    // A machine on which no compaction has succeeded yet defers every order: the least that failed starts at 0.
    expect(compactionDeferred(cpu, machineAfterFailure(), zone, 1)).toBe(true)

    // Then smaller orders than the one that failed are never deferred, larger ones are.
    compactionDeferReset(cpu, mm, zone, 8, false)
    deferCompaction(cpu, mm, zone, 9)
    expect(compactionDeferred(cpu, mm, zone, 8)).toBe(false)
    expect(compactionDeferred(cpu, mm, zone, 10)).toBe(true)

    // A block may be there now: that order is tried again, the larger one still waits.
    compactionDeferReset(cpu, mm, zone, 9, false)
    expect(mm.compactOrderFailed[zone]).toBe(10)
    expect(compactionDeferred(cpu, mm, zone, 9)).toBe(false)
    expect(compactionDeferred(cpu, mm, zone, 10)).toBe(true)
    expect(mm.compactDeferShift[zone]).toBe(6)

    // The allocation has its block: nothing is deferred any more.
    compactionDeferReset(cpu, mm, zone, 9, true)
    expect([mm.compactDeferShift[zone], mm.compactConsidered[zone]]).toEqual([0, 0])
    expect(compactionDeferred(cpu, mm, zone, 10)).toBe(false)

    // A failure at a smaller order is the one that counts.
    deferCompaction(cpu, mm, zone, 4)
    expect(mm.compactOrderFailed[zone]).toBe(4)
  })

  test('the first compaction after the longest deferral starts anew', () => {
    const { mm } = machineOf('.')
    compactionDeferReset(cpu, mm, zone, 8, false)
    expect(compactionRestarting(cpu, mm, zone, 9)).toBe(false)
    for (let failure = 0; failure < 6; failure++) deferCompaction(cpu, mm, zone, 9)
    expect(compactionRestarting(cpu, mm, zone, 9)).toBe(false)
    expect(letPass(mm, 9)).toBe(63)
    expect(compactionRestarting(cpu, mm, zone, 9)).toBe(true)
    expect(compactionRestarting(cpu, mm, zone, 8)).toBe(false)
  })

  test('tracepoints tell the counts as they are afterwards', () => {
    const { mm } = machineOf('.')
    const told: unknown[] = []
    const tell =
      (what: string) =>
      ({ order, orderFailed, considered, deferShift }: Deferral) =>
        told.push([what, order, orderFailed, considered, deferShift])
    mm.trace = {
      ...SILENT,
      mmCompactionDeferCompaction: tell('defer_compaction'),
      mmCompactionDeferred: tell('deferred'),
      mmCompactionDeferReset: tell('defer_reset'),
    }
    mm.compactOrderFailed[zone] = 9
    deferCompaction(cpu, mm, zone, 9)
    compactionDeferred(cpu, mm, zone, 9)
    compactionDeferReset(cpu, mm, zone, 9, true)
    expect(told).toEqual([
      ['defer_compaction', 9, 9, 0, 1],
      ['deferred', 9, 9, 1, 1],
      ['defer_reset', 9, 10, 0, 0],
    ])
  })
})

describe('C-11', () => {
  /** A zone of 4 pageblocks with `free` single free pages, none beside another. */
  function scattered(free: number): Mm {
    const { mm } = machineOf('. U '.repeat(free), { blocks: 4 })
    mm.wmarkMin[zone] = 100
    mm.wmarkLow[zone] = 120
    mm.wmarkHigh[zone] = 140
    return mm
  }

  const verdict = (mm: Mm, order: number): number => {
    const told: number[] = []
    mm.trace = { ...SILENT, mmCompactionSuitable: (_zone, _order, result) => told.push(result) }
    const suitable = compactionSuitable(mm, zone, order, mm.wmarkMin[zone], ZONE_MOVABLE)
    expect([told.length, suitable]).toEqual([1, told[0] === COMPACT_CONTINUE])
    return told[0]
  }

  test('C-11 room for targets above min, for costly orders above low; then their index must say fragmentation', () => {
    // Order 3: 100 + (2 << 3) must stay free.
    expect(verdict(scattered(116), 3)).toBe(COMPACT_SKIPPED)
    expect(verdict(scattered(117), 3)).toBe(COMPACT_CONTINUE)
    // Order 4 is costly: 120 + (2 << 4).
    expect(verdict(scattered(152), 4)).toBe(COMPACT_SKIPPED)
    expect(verdict(scattered(153), 4)).toBe(COMPACT_CONTINUE)

    // Free memory in few large pieces: not fragmented, just short. Index of 160 pages in 20 blocks for order 5:
    // 1000 - (1000 + 160 * 1000 / 32) / 20 = 700; for order 4: 1000 - (1000 + 10000) / 20 = 450, at most 500.
    const { mm } = machineOf('........UUUUUUUU'.repeat(25), { blocks: 4 })
    expect(fragmentationIndex(mm, zone, 5)).toBe(1000 - Math.floor((1000 + (200 * 1000) / 32) / 25))
    expect(fragmentationIndex(mm, zone, 4)).toBe(460)
    expect(verdict(mm, 4)).toBe(COMPACT_NOT_SUITABLE_ZONE)
    expect(verdict(mm, 5)).toBe(COMPACT_CONTINUE)
    mm.sysctl.extfrag_threshold = 459
    expect(verdict(mm, 4)).toBe(COMPACT_CONTINUE)
    // Below the costly orders nobody asks the index.
    const small = machineOf('..UU'.repeat(10)).mm
    expect(fragmentationIndex(small, zone, 2)).toBe(1000 - Math.floor((1000 + 5000) / 10))
    small.sysctl.extfrag_threshold = 1000
    expect(verdict(small, 2)).toBe(COMPACT_CONTINUE)
  })

  test('what would be served needs no compaction; without CMA for the request, its free pages do not count', () => {
    const order = 4
    const of = {
      order,
      highestZoneidx: ZONE_MOVABLE,
      allocFlags: ALLOC_WMARK_MIN,
      async: true,
      kcompactd: false,
    }
    const mm = scattered(300)
    expect(compactionSuitAllocationOrder(mm, zone, of)).toBe(COMPACT_CONTINUE)
    const whole = machineOf('.'.repeat(512), { blocks: 4 }).mm
    expect(compactionSuitAllocationOrder(whole, zone, of)).toBe(COMPACT_SUCCESS)

    // 256 of the 300 free pages lie in a CMA pageblock: an asynchronous request for others would find no targets.
    moveFreepagesBlockLocked(mm, 512, MIGRATE_CMA)
    expect(mm.nrFreeCma[zone]).toBe(256)
    expect(compactionSuitAllocationOrder(mm, zone, of)).toBe(COMPACT_SKIPPED)
    expect(compactionSuitAllocationOrder(mm, zone, { ...of, async: false })).toBe(COMPACT_CONTINUE)
    expect(compactionSuitAllocationOrder(mm, zone, { ...of, allocFlags: ALLOC_CMA })).toBe(COMPACT_CONTINUE)
  })

  test('with defrag_mode kcompactd counts free pages in whole pageblocks only', () => {
    const of = {
      order: 0,
      highestZoneidx: ZONE_MOVABLE,
      allocFlags: ALLOC_WMARK_MIN,
      async: false,
      kcompactd: true,
    }
    const mm = scattered(300)
    expect(compactionSuitAllocationOrder(mm, zone, of)).toBe(COMPACT_SUCCESS)
    mm.sysctl.defrag_mode = 1
    expect(compactionSuitAllocationOrder(mm, zone, of)).toBe(COMPACT_CONTINUE)
    expect(compactionSuitAllocationOrder(mm, zone, { ...of, kcompactd: false })).toBe(COMPACT_SUCCESS)
  })
})

test('the score of a node is that of its zones by their size; the marks follow from the proactiveness', () => {
  // Zone 0: 1 of 4 blocks wholly free, 512 pages scattered in another: 50 %. Zone 1: all of 12 blocks free: 0 %.
  const spec = { node: 0, min: 0, low: 0, high: 0 }
  const size = (blocks: number) => ({ spanned: blocks * 512, present: blocks * 512, managed: blocks * 512 })
  const mm = createMachine({
    pfnCount: 16 * 512,
    zones: [
      { ...spec, ...size(4), name: 'DMA32', startPfn: 0 },
      { ...spec, ...size(12), name: 'Normal', startPfn: 4 * 512 },
    ],
  })
  addFreeBlock(mm, pfnOf(512), 9)
  for (let page = 1024; page < 2048; page += 2) addFreeBlock(mm, pfnOf(page), 0)
  for (let page = 2048; page < 16 * 512; page += 512) addFreeBlock(mm, pfnOf(page), 9)
  expect([extfragForOrder(mm, zoneIdOf(0), 9), extfragForOrder(mm, zoneIdOf(1), 9)]).toEqual([50, 0])
  // 2048 * 50 / (8192 + 1), cut off.
  expect(fragmentationScoreNode(mm, nidOf(0))).toBe(12)

  expect(SYSCTL_DEFAULTS.compaction_proactiveness).toBe(20)
  const marks = [0, 20, 50, 95, 100].map((proactiveness) => {
    mm.sysctl.compaction_proactiveness = proactiveness
    return [fragmentationScoreLow(mm), fragmentationScoreHigh(mm)]
  })
  expect(marks).toEqual([
    [100, 100],
    [80, 90],
    [50, 60],
    [5, 15],
    [5, 15],
  ])
})
