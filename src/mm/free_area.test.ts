/**
 * Rows B-1 and B-2: the sizes and kinds of free blocks, as real kernels print them (testdata/proc), and where merging
 * ends. Random histories: page_alloc.test.ts, page_alloc.fuzz.ts.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { buddyOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOf } from '../testing/machine.ts'
import { listenTo } from '../testing/trace_listener.ts'
import { moveFreepagesBlockLocked } from './free_area.ts'
import { createMachine, type Mm } from './index.ts'
import {
  MAX_PAGE_ORDER,
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  MIGRATE_RECLAIMABLE,
  MIGRATE_TYPES,
  MIGRATE_UNMOVABLE,
  MIGRATETYPE_NAMES,
  NR_PAGE_ORDERS,
  pageblock_nr_pages,
  pageblock_order,
} from './limits.ts'
import { buddyOrder } from './page.ts'
import { putPage } from './page_alloc.ts'
import { drainPagesZone } from './pcp.ts'
import { verify } from './verify.ts'
import { freeBlockHeads } from './verify_lists.ts'

const cpu = new FastCpu()
const proc = (file: string): string =>
  readFileSync(new URL(`../../testdata/proc/${file}.txt`, import.meta.url), 'utf8')

/** Free blocks as `pfn:order`. */
const blocks = (mm: Mm): string[] => freeBlockHeads(mm).map((pfn) => `${pfn}:${buddyOrder(mm.mapcount[pfn])}`)

/** Two zones in use that meet at pfn 1536, where blocks of order 9 would be buddies. */
function twoZones(): Mm {
  const size = { present: 512, managed: 512, min: 0, low: 0, high: 0 }
  const zones = [
    { node: 0, name: 'DMA32', startPfn: 1024, spanned: 512, ...size },
    { node: 0, name: 'Normal', startPfn: 1536, spanned: 512, ...size },
  ]
  const mm = createMachine({ pfnCount: 2048, zones })
  for (let pfn = 1024; pfn < 2048; pfn++) mm.refcount[pfnOf(pfn)] = 1
  return mm
}

// [M] settled: pagetypeinfo of 6.1, 6.12 and 6.18 says "Page block order: 9" and "Pages per block:  512", buddyinfo has a
// column for each order 0 to 10. mm/internal.h, find_buddy_page_pfn(): the buddy is of the same zone and the same order;
// __free_one_page(): above a pageblock, types other than the first three merge with their own type only.
test('B-1 buddies of orders 0 to 9 merge; not above order 10, across zones, or across the border of an isolated pageblock', () => {
  for (const machine of ['6.1-two-nodes', '6.12-two-nodes', '6.18-one-node']) {
    expect(proc(`${machine}/pagetypeinfo`)).toContain(`Page block order: ${pageblock_order}\n`)
    expect(proc(`${machine}/pagetypeinfo`)).toContain(`Pages per block:  ${pageblock_nr_pages}\n`)
    const columns = proc(`${machine}/buddyinfo`).split('\n')[0].trim().split(/\s+/).slice(4)
    expect(columns.length).toBe(NR_PAGE_ORDERS)
  }
  expect([0, 3, 9].map((order) => buddyOf(pfnOf(512), order))).toEqual([513, 520, 0])

  // The last page of four pageblocks is freed: two blocks of order 10, which are buddies of order 10.
  const { mm } = machineOf(`${'.'.repeat(2047)}U`, { start: 2048 })
  expect(blocks(mm).length).toBe(1 + 10)
  putPage(cpu, mm, pfnOf(2048 + 2047))
  expect(blocks(mm)).toEqual([`2048:${MAX_PAGE_ORDER}`, `3072:${MAX_PAGE_ORDER}`])

  const border = twoZones()
  for (let pfn = 1024; pfn < 2048; pfn++) putPage(cpu, border, pfnOf(pfn))
  expect(blocks(border)).toEqual(['1024:9', '1536:9'])
  verify(border)

  const isolated = machineOf(`${'.'.repeat(512)}U${'.'.repeat(511)}`, { start: 1024 }).mm
  moveFreepagesBlockLocked(isolated, 1024, MIGRATE_ISOLATE)
  putPage(cpu, isolated, pfnOf(1536))
  expect(blocks(isolated)).toEqual(['1024:9', '1536:9'])
  moveFreepagesBlockLocked(isolated, 1536, MIGRATE_ISOLATE)
  expect(blocks(isolated)).toEqual(['1024:10'])
  verify(isolated)
})

// [M] settled: pagetypeinfo of a 6.1 kernel with CMA prints the types in this order; the first three have per-cpu lists
// (enum migratetype). Kernels without CMA print five. Truth files of the reference captures store the numbers.
// v6.18 keeps "isolated" in a bit of its own beside the type (since v6.17), and prints it as the last type.
test('B-2 migratetypes: unmovable 0, movable 1, reclaimable 2, highatomic 3, CMA 4, isolate 5', () => {
  const header = /Number of blocks type(.*)/.exec(proc('6.1-cma-page-owner/pagetypeinfo'))?.[1]
  expect(header?.trim().split(/\s+/)).toEqual([...MIGRATETYPE_NAMES])
  expect([MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE]).toEqual([0, 1, 2])
  expect([MIGRATE_HIGHATOMIC, MIGRATE_PCPTYPES, MIGRATE_CMA, MIGRATE_ISOLATE, MIGRATE_TYPES]).toEqual([
    3, 3, 4, 5, 6,
  ])
  // A machine begins with movable pageblocks.
  expect(machineOf('U').mm.migratetypeOf(pfnOf(512))).toBe(MIGRATE_MOVABLE)
})

test('a pageblock of which the zone has a part keeps its type', () => {
  const size = { present: 700, managed: 700, min: 0, low: 0, high: 0 }
  const mm = createMachine({
    pfnCount: 2048,
    zones: [{ node: 0, name: 'Normal', startPfn: 600, spanned: 700, ...size }],
  })
  expect([512, 1024].map((pfn) => moveFreepagesBlockLocked(mm, pfn, MIGRATE_UNMOVABLE))).toEqual([-1, -1])
  expect(mm.migratetypeOf(pfnOf(600))).toBe(MIGRATE_MOVABLE)
})

// Since v6.15 (compaction_capture()).
test('a captured block of another type than the request is told as a fallback, one of its own type is not', () => {
  const told = (mt: number, wanted: number): number[][] => {
    const { mm } = machineOf('.U', { pcp: { high: 8, highMin: 8, highMax: 8, batch: 4 } })
    moveFreepagesBlockLocked(mm, 512, mt)
    const events: number[][] = []
    mm.trace = listenTo({
      mmPageAllocExtfrag: (pfn, order, fallbackOrder, type, from) => {
        events.push([pfn, order, fallbackOrder, type, from])
      },
    })
    const pcp = mm.pcpOf(0, cpu.id)
    mm.pcpCaptureOrder[pcp] = 1
    mm.pcpCaptureType[pcp] = wanted
    putPage(cpu, mm, pfnOf(513))
    drainPagesZone(cpu, mm, zoneIdOf(0), cpu.id)
    expect(mm.pcpCapturePage[pcp]).toBe(512)
    return events
  }
  expect(told(MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE)).toEqual([
    [512, 1, 1, MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE],
  ])
  expect(told(MIGRATE_MOVABLE, MIGRATE_MOVABLE)).toEqual([])
})
