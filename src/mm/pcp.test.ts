/**
 * Per-cpu lists, by the rules of two kernels. Counts are worked out from nr_pcp_free(), nr_pcp_high() and nr_pcp_alloc().
 */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { cpuIdOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { moveFreepagesBlockLocked } from './free_area.ts'
import { type KernelRules, type Mm, type PcpSpec, RULES_6_1, RULES_6_18 } from './index.ts'
import {
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
} from './limits.ts'
import { buddyOrder, NR_PCP_LISTS } from './page.ts'
import { allocFromZone, putPage } from './page_alloc.ts'
import { drainAllPages, drainPagesZone, isPcpOrder, pcpIndexOf, pcpOrderOf, pcpTypeOf } from './pcp.ts'
import { verify } from './verify.ts'
import { freeBlockHeads } from './verify_lists.ts'

const zone = zoneIdOf(0)
const START = 1024

const machine = (picture: string, more: Parameters<typeof machineOf>[1] = {}): TestMachine =>
  machineOf(picture, { start: START, ...more })

/** Free blocks of the machine as `pfn:order`, places relative to the zone. */
const freeBlocks = (mm: Mm): string[] =>
  freeBlockHeads(mm).map((pfn) => `${pfn - START}:${buddyOrder(mm.mapcount[pfn])}`)

/** Nodes of a list, first to last, relative to the zone. */
function listed(mm: Mm, head: number): number[] {
  const nodes: number[] = []
  for (let node = mm.links[2 * head]; node !== head; node = mm.links[2 * node]) nodes.push(node - START)
  return nodes
}

// [M] settled: order_to_pindex() and NR_PCP_LISTS of v6.1 to v6.18: three lists for each order up to
// PAGE_ALLOC_COSTLY_ORDER, and for order 9 two (one before v6.10), movable and not. On the 6.18 machine of the reference
// captures 84,908 pages lay on them before a compaction, and were missing from buddyinfo and nr_free_pages. alloc_contig
// and offlining drain them or switch them off (__alloc_contig_migrate_range, zone_pcp_disable); compaction drains its own
// cpu's when it leaves an aligned block of the order that it wants (compact_zone).
test('B-7 per-cpu lists keep orders 0 to 3 and 9 by migratetype; what is on them is not free until they are drained', () => {
  const orders = Array.from({ length: 11 }, (_, order) => order)
  expect(orders.filter(isPcpOrder)).toEqual([0, 1, 2, 3, 9])
  const types = [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE]
  const lists = [0, 1, 2, 3, 9].map((order) => types.map((mt) => pcpIndexOf(order, mt)))
  expect(lists).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [6, 7, 8],
    [9, 10, 11],
    [12, 13, 12],
  ])
  expect([NR_PCP_LISTS, MIGRATE_PCPTYPES]).toEqual([14, 3])
  expect([0, 3, 11, 12, 13].map(pcpOrderOf)).toEqual([0, 1, 3, 9, 9])
  expect([MIGRATE_HIGHATOMIC, MIGRATE_CMA].map(pcpTypeOf)).toEqual([MIGRATE_MOVABLE, MIGRATE_MOVABLE])

  const keeping = { high: 4000, highMin: 4000, highMax: 4000, batch: 4 }
  const { mm } = machine(`${'U'.padEnd(512, '=')}${'UUUUUUUU'.padEnd(512, '.')}`, { cpus: 2, pcp: keeping })
  const [first, second] = [cpuIdOf(0), cpuIdOf(1)]
  const counted = mm.nrFree[zone]
  putPage(new FastCpu(undefined, first), mm, pfnOf(START))
  for (let i = 0; i < 8; i++) putPage(new FastCpu(undefined, second), mm, pfnOf(START + 512 + i))
  expect([mm.pcpCount[mm.pcpOf(zone, first)], mm.pcpCount[mm.pcpOf(zone, second)]]).toEqual([512, 8])
  expect(mm.nrFree[zone]).toBe(counted)
  expect(freeBlocks(mm)[0]).toBe('520:3')
  verify(mm)
  // Each drain is of one cpu. Only with both is the block of two pageblocks whole.
  drainPagesZone(new FastCpu(undefined, second), mm, zone, second)
  expect([freeBlocks(mm), mm.nrFree[zone]]).toEqual([['512:9'], 512])
  drainAllPages(new FastCpu(), mm)
  expect([freeBlocks(mm), mm.nrFree[zone]]).toEqual([['0:10'], 1024])
  verify(mm)
})

describe('per-cpu lists', () => {
  const pages = 512
  const inUse = (rules: KernelRules, pcp: PcpSpec, letters = 'U'.repeat(pages)): TestMachine =>
    machine(letters, { rules, pcp, contents: false })

  /** Pages left on the lists after each of `count` frees. */
  function afterFrees({ mm }: TestMachine, count: number, from = 0): number[] {
    const cpu = new FastCpu()
    const pcp = mm.pcpOf(zone, cpu.id)
    return Array.from({ length: count }, (_, i) => {
      // Every other page, so that nothing merges.
      putPage(cpu, mm, pfnOf(START + 2 * (from + i)))
      return mm.pcpCount[pcp]
    })
  }

  const rises = (counts: readonly number[]): number[] =>
    counts.flatMap((count, i) => (i > 0 && count < counts[i - 1] ? [counts[i - 1] + 1 - count] : []))

  test('with a fixed high mark, each drain in a row is twice the one before, and leaves a batch', () => {
    const fixed = { high: 32, highMin: 32, highMax: 32, batch: 4 }
    expect(rises(afterFrees(inUse(RULES_6_1, fixed), 150))).toEqual([4, 8, 16, 28, 28, 28, 28])
  })

  test('an allocation in between halves what the next drain takes', () => {
    const old = inUse(RULES_6_1, { high: 32, highMin: 32, highMax: 32, batch: 4 })
    const cpu = new FastCpu()
    expect(rises(afterFrees(old, 45))).toEqual([4, 8, 16])
    const pcp = old.mm.pcpOf(zone, cpu.id)
    expect(old.mm.pcpFreeFactor[pcp]).toBe(3)
    expect(allocFromZone(cpu, old.mm, zone, 0, MIGRATE_MOVABLE)).toBe(START + 2 * 44)
    expect(old.mm.pcpFreeFactor[pcp]).toBe(1)
    expect(rises(afterFrees(old, 40, 45))[0]).toBe(8)
    verify(old.mm)
  })

  test('with a tuned high mark, a drain takes as much as was freed in a row, and the mark follows', () => {
    const tuned = inUse(RULES_6_18, { high: 8, highMin: 8, highMax: 64, batch: 4 })
    const pcp = tuned.mm.pcpOf(zone, cpuIdOf(0))
    expect(rises(afterFrees(tuned, 8))).toEqual([4])
    expect(tuned.mm.pcpHigh[pcp]).toBe(12) // 8 freed in a row, and a batch
    afterFrees(tuned, 200, 8)
    expect(tuned.mm.pcpHigh[pcp]).toBe(64)
    expect(tuned.mm.pcpFreeCount[pcp]).toBe(4 << 5) // as far as it counts
    verify(tuned.mm)
  })

  test('with equal marks nothing is tuned', () => {
    const { mm } = inUse(RULES_6_18, { high: 8, highMin: 8, highMax: 8, batch: 4 })
    const cpu = new FastCpu()
    for (let i = 0; i < 100; i++) putPage(cpu, mm, pfnOf(START + 2 * i))
    expect(mm.pcpHigh[mm.pcpOf(zone, cpu.id)]).toBe(8)
  })

  test('blocks of orders 1 to 3, freed in a row, empty the set', () => {
    const pairs = 'U='.repeat(256)
    const old = inUse(RULES_6_1, { high: 64, highMin: 64, highMax: 64, batch: 4 }, pairs)
    const cpu = new FastCpu()
    const pcp = old.mm.pcpOf(zone, cpu.id)
    const free = (mm: Mm, i: number): number => {
      putPage(cpu, mm, pfnOf(START + 4 * i))
      return mm.pcpCount[pcp]
    }
    expect([0, 1, 2].map((i) => free(old.mm, i))).toEqual([2, 4, 6])
    old.mm.pcpFreeFactor[pcp] = 1
    expect(free(old.mm, 3)).toBe(0)

    const now = inUse(RULES_6_18, { high: 64, highMin: 8, highMax: 64, batch: 4 }, pairs)
    // After a batch and half the lowest mark: 4 + 4 pages freed before.
    expect([0, 1, 2, 3, 4].map((i) => free(now.mm, i))).toEqual([2, 4, 6, 8, 0])
    verify(now.mm)
  })

  test('freed pages are found last in, first out, and drained oldest first, beginning with the list that overflowed', () => {
    const { mm } = inUse(RULES_6_1, { high: 4, highMin: 4, highMax: 4, batch: 2 })
    const cpu = new FastCpu()
    const pcp = mm.pcpOf(zone, cpu.id)
    for (const place of [0, 2, 4]) putPage(cpu, mm, pfnOf(START + place))
    const list = mm.pcpList(pcp, MIGRATE_MOVABLE)
    expect(listed(mm, list)).toEqual([4, 2, 0])
    putPage(cpu, mm, pfnOf(START + 6))
    expect(listed(mm, list)).toEqual([6, 4])
    expect(freeBlocks(mm)).toEqual(['0:0', '2:0'])
    drainPagesZone(cpu, mm, zone, cpu.id)
    expect(listed(mm, mm.freeList(0, 0, MIGRATE_MOVABLE))).toEqual([6, 4, 2, 0])
    expect(allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE) - START).toBe(6)
    verify(mm)
  })

  test('a page of an isolated pageblock goes past them, one of a CMA or reserved pageblock counts as movable', () => {
    const { mm } = inUse(RULES_6_18, { high: 64, highMin: 64, highMax: 64, batch: 4 })
    const cpu = new FastCpu()
    const pcp = mm.pcpOf(zone, cpu.id)
    moveFreepagesBlockLocked(mm, START, MIGRATE_ISOLATE)
    putPage(cpu, mm, pfnOf(START))
    expect([mm.pcpCount[pcp], freeBlocks(mm)]).toEqual([0, ['0:0']])
    moveFreepagesBlockLocked(mm, START, MIGRATE_CMA)
    putPage(cpu, mm, pfnOf(START + 2))
    expect(listed(mm, mm.pcpList(pcp, MIGRATE_MOVABLE))).toEqual([2])
    drainPagesZone(cpu, mm, zone, cpu.id)
    expect(listed(mm, mm.freeList(0, 0, MIGRATE_CMA))).toEqual([2, 0])
    verify(mm)
  })

  test('orders 4 to 8 and 10 have none, order 9 has', () => {
    const { mm } = machine(`${'U'.padEnd(1024, '=')}${'U'.padEnd(512, '=')}${'U'.padEnd(16, '=')}`, {
      blocks: 4,
      pcp: { high: 4000, highMin: 4000, highMax: 4000, batch: 4 },
    })
    const cpu = new FastCpu()
    const pcp = mm.pcpOf(zone, cpu.id)
    putPage(cpu, mm, pfnOf(START))
    putPage(cpu, mm, pfnOf(START + 1536))
    expect(mm.pcpCount[pcp]).toBe(0)
    putPage(cpu, mm, pfnOf(START + 1024))
    expect(mm.pcpCount[pcp]).toBe(512)
    verify(mm)
  })

  test('a zone without sets keeps nothing back', () => {
    const { mm } = inUse(RULES_6_18, { high: 0, highMin: 0, highMax: 0, batch: 1 })
    const cpu = new FastCpu()
    putPage(cpu, mm, pfnOf(START))
    expect([mm.pcpCount[mm.pcpOf(zone, cpu.id)], freeBlocks(mm)]).toEqual([0, ['0:0']])
  })

  test('an empty list is filled with a batch; by 6.18, with twice as many each time', () => {
    const refills = (rules: KernelRules): number[] => {
      const { mm } = machine('', {
        blocks: 1,
        rest: '.',
        rules,
        pcp: { high: 64, highMin: 64, highMax: 64, batch: 4 },
      })
      const cpu = new FastCpu()
      const seen: number[] = []
      for (let i = 0; i < 60; i++) {
        const free = mm.nrFree[zone]
        allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE)
        if (mm.nrFree[zone] < free) seen.push(free - mm.nrFree[zone])
      }
      verify(mm)
      return seen.slice(0, 4)
    }
    expect(refills(RULES_6_1)).toEqual([4, 4, 4, 4])
    expect(refills(RULES_6_18)).toEqual([4, 8, 16, 32])
  })
})
