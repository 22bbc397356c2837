/** Compaction for a request: when it ends, how hard it tries, what it keeps. Row by row, on drawn machines. */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { pageblockAt, pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import {
  COMPACT_PRIO_ASYNC,
  COMPACT_PRIO_SYNC_FULL,
  COMPACT_PRIO_SYNC_LIGHT,
  CompactControl,
  type CompactPriority,
  type CompactRequest,
  modeOfPriority,
} from './compact_control.ts'
import {
  COMPACT_COMPLETE,
  COMPACT_CONTENDED,
  COMPACT_DEFERRED,
  COMPACT_PARTIAL_SKIPPED,
  COMPACT_RESULT_NAMES,
  COMPACT_SKIPPED,
  COMPACT_SUCCESS,
  type CompactResult,
} from './compact_result.ts'
import { compactZone, sysctlCompactMemory, tryToCompactPages } from './compaction.ts'
import { deferCompaction } from './compaction_gate.ts'
import { addFreeBlock, moveFreepagesBlockLocked } from './free_area.ts'
import { __GFP_IO, ALLOC_CMA, ALLOC_WMARK_MIN, GFP_HIGHUSER_MOVABLE, GFP_KERNEL, type Gfp } from './gfp.ts'
import { createMachine, RULES_6_1 } from './index.ts'
import {
  EINVAL,
  MIGRATE_ASYNC,
  MIGRATE_CMA,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  MIGRATE_UNMOVABLE,
  pageblock_nr_pages,
} from './limits.ts'
import { type Mm, PB_migrate_skip } from './page.ts'
import { prepareAllocPages } from './page_alloc.ts'
import { SILENT } from './trace.ts'
import { verify } from './verify.ts'

const zone = zoneIdOf(0)
const START = pageblock_nr_pages
const cpu = new FastCpu()

const draw = (blocks: readonly string[], options = {}): TestMachine =>
  machineOf(blocks.map((block) => block.padEnd(pageblock_nr_pages, 'U')).join(''), options)

const lightDirect = (order: number, gfp: Gfp = GFP_HIGHUSER_MOVABLE): CompactRequest => ({
  zone,
  order,
  gfp,
  mode: MIGRATE_SYNC_LIGHT,
  direct: true,
  allocFlags: ALLOC_CMA,
})

/** Free pages with one in use between any two. */
const SCATTERED = '.U'.repeat(200)

/** Compacts for a request and says what came of it, and which of the pages `M` are left where they were, by block. */
function compactFor(
  machine: TestMachine,
  request: CompactRequest,
): { result: CompactResult; left: number[] } {
  const result = compactZone(cpu, new CompactControl(cpu, machine.mm, request))
  verify(machine.mm)
  const blocks = machine.pages / pageblock_nr_pages
  const cells = machine.picture(machine.pages)
  const left = Array.from(
    { length: blocks },
    (_, i) => cells.slice(i * pageblock_nr_pages, (i + 1) * pageblock_nr_pages).split('M').length - 1,
  )
  return { result, left }
}

describe('C-13', () => {
  test('C-13 ends with success at the end of a pageblock, when a block that may be used is free', () => {
    // Four pages would do for order 2; the whole pageblock is finished first, the next one is left alone.
    const machine = draw(['MMMMUUUUMMMM', 'MMMM', '', SCATTERED])
    expect(compactFor(machine, lightDirect(2))).toEqual({ result: COMPACT_SUCCESS, left: [0, 4, 0, 8] })
    expect(machine.picture(12)).toBe('....UUUU....')
    // Nothing as large can come about: to the end.
    const small = draw(['MMUUUUUUMMUU', 'MM', '', SCATTERED])
    expect(compactFor(small, lightDirect(2))).toEqual({ result: COMPACT_PARTIAL_SKIPPED, left: [0, 0, 0, 6] })
  })

  /** Vacates a block of that order in a pageblock of that type: is that what the request wanted? */
  function isEnough(order: number, mt: number, gfp: Gfp): boolean {
    const machine = draw(['M'.repeat(1 << order), 'M', '', SCATTERED])
    moveFreepagesBlockLocked(machine.mm, START, mt)
    const { result, left } = compactFor(machine, lightDirect(order, gfp))
    expect(left[0]).toBe(0)
    expect(left[1]).toBe(result === COMPACT_SUCCESS ? 1 : 0)
    return result === COMPACT_SUCCESS
  }

  test('of the request’s own type, in CMA for movable pages, or in a pageblock that can be claimed', () => {
    const verdicts = (order: number, gfp: Gfp): boolean[] =>
      [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_CMA].map((mt) => isEnough(order, mt, gfp))
    expect(verdicts(2, GFP_HIGHUSER_MOVABLE)).toEqual([false, true, true])
    // Half of a pageblock's order is large enough to claim the pageblock for movable pages.
    expect(verdicts(3, GFP_HIGHUSER_MOVABLE)).toEqual([false, true, true])
    expect(verdicts(4, GFP_HIGHUSER_MOVABLE)).toEqual([true, true, true])
    // Unmovable pages claim whatever the order, and never use CMA.
    expect(verdicts(2, GFP_KERNEL)).toEqual([true, true, false])
  })
})

describe('C-15', () => {
  /** What was scanned, and when it was asked whether to go on, in a machine whose third page fails to move. */
  function scans(request: CompactRequest, options = {}): { told: string[]; hinted: boolean } {
    const machine = draw([`MMF${'M'.repeat(60)}`, '', SCATTERED], options)
    machine.mm.refcount[machine.pfn(2)]++ // seen only when its references are to be frozen
    const told: string[] = []
    machine.mm.trace = {
      ...SILENT,
      mmCompactionIsolateMigratepages: (from, to) => told.push(`${from - START}~${to - START}`),
      mmCompactionFinished: () => told.push('?'),
    }
    compactZone(cpu, new CompactControl(cpu, machine.mm, request))
    return { told: told.slice(0, 4), hinted: (machine.mm.pageblock[pageblockAt(1)] & PB_migrate_skip) !== 0 }
  }

  test('C-15 if a page fails to move, its pageblock is finished at once and hinted; a synchronous pass goes on', () => {
    const request: CompactRequest = lightDirect(5)
    expect(scans(request)).toEqual({ told: ['?', '0~32', '32~512', '?'], hinted: true })
    expect(scans({ ...request, mode: MIGRATE_SYNC }).told).toEqual(['?', '0~32', '?', '32~512'])
    expect(scans({ ...request, ignoreSkipHint: true }).told).toEqual(['?', '0~32', '?', '32~512'])
    // Until v6.3 an asynchronous direct compaction went on behind the aligned block of the wanted order instead.
    const async: CompactRequest = { ...request, mode: MIGRATE_ASYNC }
    expect(scans(async, { rules: RULES_6_1 }).told).toEqual(['?', '0~32', '?', '32~512'])
    expect(scans({ ...async, order: 6 }, { rules: RULES_6_1 }).told).toEqual(['?', '0~32', '?', '64~512'])
  })
})

/** What a request asks for at a priority: told by its trace. */
function tryAt(machine: TestMachine, priority: CompactPriority, gfp: Gfp = GFP_HIGHUSER_MOVABLE, order = 2) {
  const { mm } = machine
  const ac = prepareAllocPages(mm, gfp, order, 0)
  const captured = { pfn: -1 }
  const modes = new Set<number>()
  let begins = -1
  mm.trace = {
    ...SILENT,
    mmMigratePagesStart: (mode) => modes.add(mode),
    mmCompactionBegin: ({ migratePfn }) => (begins = migratePfn),
  }
  const result = tryToCompactPages(cpu, mm, ac, ALLOC_WMARK_MIN | ALLOC_CMA, priority, captured)
  mm.trace = undefined
  return { result, captured: captured.pfn, modes: [...modes], begins }
}

describe('C-17', () => {
  test('C-17 priorities: asynchronous, light, and light from the zone’s start whatever the hints say', () => {
    const priorities = [COMPACT_PRIO_ASYNC, COMPACT_PRIO_SYNC_LIGHT, COMPACT_PRIO_SYNC_FULL] as const
    expect(priorities.map((priority) => modeOfPriority(priority))).toEqual([
      MIGRATE_ASYNC,
      MIGRATE_SYNC_LIGHT,
      MIGRATE_SYNC_LIGHT, // never MIGRATE_SYNC: it would wait for I/O
    ])
    const hinted = (): TestMachine => {
      const machine = draw(['MMUMMM', 'MMUMMM', '', SCATTERED])
      const { mm } = machine
      for (const block of [1, 2]) mm.pageblock[pageblockAt(block)] |= PB_migrate_skip
      mm.cachedMigratePfnAsync[zone] = START + pageblock_nr_pages
      mm.cachedMigratePfnSync[zone] = START + pageblock_nr_pages
      return machine
    }
    expect(tryAt(hinted(), COMPACT_PRIO_ASYNC)).toMatchObject({
      result: COMPACT_PARTIAL_SKIPPED,
      begins: START + pageblock_nr_pages,
      modes: [],
    })
    expect(tryAt(hinted(), COMPACT_PRIO_SYNC_LIGHT)).toMatchObject({
      result: COMPACT_PARTIAL_SKIPPED,
      modes: [],
    })
    const hardest = draw(['MMUUMMUU', 'MMUU', '', SCATTERED])
    for (const block of [1, 2]) hardest.mm.pageblock[pageblockAt(block)] |= PB_migrate_skip
    expect(tryAt(hardest, COMPACT_PRIO_SYNC_FULL)).toEqual({
      result: COMPACT_COMPLETE,
      begins: START,
      modes: [MIGRATE_SYNC_LIGHT],
      captured: -1,
    })
    expect(hardest.picture(12)).toBe('..UU..UUUUUU')
  })

  test('compact_memory takes 1 and nothing else, and compacts every node synchronously', () => {
    const machine = draw(['MM', '', SCATTERED])
    const modes = new Set<number>()
    machine.mm.trace = { ...SILENT, mmMigratePagesStart: (mode) => modes.add(mode) }
    for (const value of [0, 2, -1]) expect(sysctlCompactMemory(cpu, machine.mm, value)).toBe(-EINVAL)
    expect([...modes]).toEqual([])
    expect(sysctlCompactMemory(cpu, machine.mm, 1)).toBe(0)
    expect([...modes]).toEqual([MIGRATE_SYNC])
    expect(machine.picture(2)).toBe('..')
  })
})

describe('C-18', () => {
  test('C-18 a request that may not start I/O is skipped; a block of its order is captured as it is freed', () => {
    const machine = draw(['MMMMUUUUMMMM', 'MMMM', '', SCATTERED])
    expect(tryAt(machine, COMPACT_PRIO_SYNC_LIGHT, GFP_HIGHUSER_MOVABLE & ~__GFP_IO)).toMatchObject({
      result: COMPACT_SKIPPED,
      begins: -1,
    })
    const { mm } = machine
    const free = mm.nrFree[zone]
    const { result, captured } = tryAt(machine, COMPACT_PRIO_SYNC_LIGHT)
    expect(result).toBe(COMPACT_SUCCESS)
    // What was isolated last moves first: the last four pages, of which the last one vacated makes the block.
    expect(captured).toBe(START + 8)
    expect(mm.nrFree[zone]).toBe(free - 4)
    expect([mm.mapcount[machine.pfn(8)], mm.refcount[machine.pfn(8)]]).toEqual([0, 0])
    // The pages that were isolated with them moved too; the next pageblock was left alone.
    expect(machine.picture(8)).toBe('....UUUU')
    expect(machine.picture(516).slice(512)).toBe('MMMM')
  })

  test('below a pageblock a request for other pages does not get a block in a movable pageblock', () => {
    const machine = draw(['MMMMUUUUMMMM', '', SCATTERED])
    const { result, captured } = tryAt(machine, COMPACT_PRIO_SYNC_LIGHT, GFP_KERNEL)
    expect([result, captured]).toEqual([COMPACT_SUCCESS, -1]) // free for it to claim, not captured
  })

  test('nobody else’s compaction captures: the slot is empty before and after', () => {
    const machine = draw(['MMMM', '', SCATTERED])
    const pcp = machine.mm.pcpOf(zone, cpu.id)
    compactZone(cpu, new CompactControl(cpu, machine.mm, lightDirect(2)))
    expect([machine.mm.pcpCaptureOrder[pcp], machine.mm.pcpCapturePage[pcp]]).toEqual([0, 0])
    expect(machine.picture(4)).toBe('....')
  })
})

describe('C-20', () => {
  /** Two zones of one node: Normal is asked first, then DMA32. */
  function twoZones(normalFree: number, dma32Free: number): Mm {
    const size = { spanned: 1024, present: 1024, managed: 1024, min: 0, low: 0, high: 0, node: 0 }
    const mm = createMachine({
      pfnCount: 3072,
      zones: [
        { ...size, name: 'DMA32', startPfn: 1024 },
        { ...size, name: 'Normal', startPfn: 2048 },
      ],
    })
    const scatter = (start: number, pages: number): void => {
      for (let i = 0; i < pages; i++) addFreeBlock(mm, pfnOf(start + 2 * i), 0)
    }
    scatter(1024, dma32Free)
    scatter(2048, normalFree)
    return mm
  }
  const resultOf = (mm: Mm, priority: CompactPriority = COMPACT_PRIO_SYNC_LIGHT): string => {
    const ac = prepareAllocPages(mm, GFP_HIGHUSER_MOVABLE, 2, 0)
    expect(ac.zonelist).toEqual([1, 0])
    return COMPACT_RESULT_NAMES[tryToCompactPages(cpu, mm, ac, ALLOC_WMARK_MIN, priority, { pfn: -1 })]
  }

  test('C-20 the result of several zones is the greatest in the kernel’s order', () => {
    expect(COMPACT_RESULT_NAMES.map((name, value) => `${name} ${value}`)).toEqual([
      'not_suitable_zone 0',
      'skipped 1',
      'deferred 2',
      'no_suitable_page 3',
      'continue 4',
      'complete 5',
      'partial_skipped 6',
      'contended 7',
      'success 8',
    ])
    expect(COMPACT_CONTENDED).toBeGreaterThan(COMPACT_PARTIAL_SKIPPED)
    expect(resultOf(twoZones(2, 2))).toBe('skipped')
    expect(resultOf(twoZones(100, 2))).toBe('partial_skipped')
    expect(resultOf(twoZones(2, 100))).toBe('partial_skipped')

    const deferred = twoZones(2, 2)
    deferCompaction(cpu, deferred, zoneIdOf(1), 2)
    expect(resultOf(deferred)).toBe('deferred')
    expect(COMPACT_DEFERRED).toBeGreaterThan(COMPACT_SKIPPED)
    // At the highest priority nothing is deferred.
    expect(resultOf(deferred, COMPACT_PRIO_SYNC_FULL)).toBe('skipped')

    // A pass in vain defers its zone, unless it was asynchronous.
    for (const [priority, shift] of [
      [COMPACT_PRIO_ASYNC, 0],
      [COMPACT_PRIO_SYNC_LIGHT, 1],
    ] as const) {
      const mm = twoZones(100, 2)
      resultOf(mm, priority)
      expect([mm.compactDeferShift[zoneIdOf(1)], mm.compactDeferShift[zoneIdOf(0)]]).toEqual([shift, 0])
    }
  })

  test('after a success no further zone is looked at', () => {
    const mm = twoZones(100, 100)
    addFreeBlock(mm, pfnOf(2048 + 512), 2)
    let passes = 0
    mm.trace = { ...SILENT, mmCompactionBegin: () => passes++ }
    expect(resultOf(mm)).toBe('success')
    expect(passes).toBe(0)
    expect(mm.compactOrderFailed[zoneIdOf(1)]).toBe(3)
  })
})
