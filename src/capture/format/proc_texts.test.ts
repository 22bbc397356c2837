/** The parsers of /proc texts against texts of real kernels (testdata/proc) and against damaged ones. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { describeInputError, type Result } from '../../base/result.ts'
import { freePagesOf, parseBuddyinfo } from './buddyinfo.ts'
import { parsePagetypeinfo } from './pagetypeinfo.ts'
import { parseVmstat } from './vmstat.ts'
import { parseZoneinfo } from './zoneinfo.ts'

const KERNELS = ['6.1-two-nodes', '6.1-cma-page-owner', '6.12-two-nodes', '6.18-one-node']

const textOf = (kernel: string, name: string): string =>
  readFileSync(new URL(`../../../testdata/proc/${kernel}/${name}.txt`, import.meta.url), 'utf8')

function valueOf<T>(result: Result<T>): T {
  if (result.ok) return result.value
  throw new Error(describeInputError(result.error))
}

const errorOf = (result: Result<unknown>): string =>
  result.ok ? 'no error' : describeInputError(result.error)

describe('zoneinfo', () => {
  test('6.18: zones, watermarks and per-cpu sets as printed', () => {
    const { zones } = valueOf(parseZoneinfo(textOf('6.18-one-node', 'zoneinfo')))
    expect(zones.map(({ name, startPfn, spanned, managed }) => [name, startPfn, spanned, managed])).toEqual([
      ['DMA', 1, 4095, 3840],
      ['DMA32', 4096, 1_044_480, 772_918],
      ['Normal', 1_048_576, 5_505_024, 5_394_266],
      ['Movable', 0, 0, 0],
      ['Device', 0, 0, 0],
    ])
    const normal = zones[2]
    expect(normal).toMatchObject({ node: 0, free: 1_613_839, min: 14_769, low: 20_163, high: 25_557 })
    expect(normal.pagesets).toEqual([
      { cpu: 0, count: 38_087, high: 45_727, batch: 63, highMin: 10_081, highMax: 337_141 },
      { cpu: 1, count: 28_687, high: 28_962, batch: 63, highMin: 10_081, highMax: 337_141 },
    ])
    expect(normal.protection).toEqual([0, 0, 0, 0, 0])
    expect(zones[0].protection).toEqual([0, 3019, 24_090, 24_090, 24_090])
    expect(zones.map(({ boost }) => boost)).toEqual([0, 0, 0, 0, 0])
    expect(normal.stats.get('nr_mlock')).toBe(3858)
    expect(normal.stats.get('nr_zspages')).toBe(0)
  })

  test('6.18: counters of a node are not those of its first zone', () => {
    const { zones, nodes } = valueOf(parseZoneinfo(textOf('6.18-one-node', 'zoneinfo')))
    expect(nodes).toHaveLength(1)
    expect(nodes[0].stats.get('nr_foll_pin_acquired')).toBe(684_508)
    expect(nodes[0].stats.get('nr_foll_pin_released')).toBe(684_508)
    expect(nodes[0].stats.get('nr_balloon_pages')).toBe(0)
    expect(nodes[0].stats.has('nr_free_pages')).toBe(false)
    expect(zones[0].stats.has('nr_anon_pages')).toBe(false)
  })

  test('6.1: two nodes, no high_min', () => {
    const { zones, nodes } = valueOf(parseZoneinfo(textOf('6.1-two-nodes', 'zoneinfo')))
    const populated = zones.filter((zone) => zone.present > 0)
    expect(populated.map(({ node, name, startPfn }) => [node, name, startPfn])).toEqual([
      [0, 'DMA', 1],
      [0, 'DMA32', 0x1000],
      [1, 'DMA32', 0x20000],
    ])
    expect(nodes.map(({ node }) => node)).toEqual([0, 1])
    expect(populated[1].pagesets).toHaveLength(2)
    expect(populated[1].pagesets[0].highMin).toBeUndefined()
  })

  test.each(KERNELS)('%s: a zone holds what it spans', (kernel) => {
    for (const zone of valueOf(parseZoneinfo(textOf(kernel, 'zoneinfo'))).zones) {
      expect(zone.free).toBeLessThanOrEqual(zone.managed)
      expect(zone.managed).toBeLessThanOrEqual(zone.present)
      expect(zone.present).toBeLessThanOrEqual(zone.spanned)
      expect(zone.pagesets.length > 0).toBe(zone.present > 0)
    }
  })

  test.each([
    ['', 'line 1: no zone'],
    ['kernel panic\n', 'line 1: a line before the first zone'],
    [
      'Node 0, zone DMA\n  pages free 1\n',
      'line 1: node 0, zone DMA has no valid min, low, high, spanned, present, managed',
    ],
  ])('%o is refused', (text, error) => {
    expect(errorOf(parseZoneinfo(text))).toContain(`zoneinfo: ${error}`)
  })

  test('a text that stops in the middle of a zone is refused', () => {
    const text = textOf('6.18-one-node', 'zoneinfo')
    const cut = text.slice(0, text.indexOf('start_pfn:           4096'))
    expect(errorOf(parseZoneinfo(cut))).toContain('node 0, zone DMA32 has no valid start_pfn')
  })

  test('a zone that occurs twice is refused', () => {
    const text = textOf('6.18-one-node', 'zoneinfo')
    expect(errorOf(parseZoneinfo(text + text))).toContain('node 0, zone DMA occurs twice')
  })
})

describe('buddyinfo', () => {
  test('6.18: as printed', () => {
    const zones = valueOf(parseBuddyinfo(textOf('6.18-one-node', 'buddyinfo')))
    expect(zones[2]).toEqual({
      node: 0,
      name: 'Normal',
      freeBlocksByOrder: [173043, 84315, 14268, 4666, 951, 272, 137, 86, 46, 2, 1095],
    })
    expect(freePagesOf(zones[0])).toBe(256 + 512 + 3 * 1024)
  })

  test.each(KERNELS)('%s: every line has 11 orders', (kernel) => {
    for (const zone of valueOf(parseBuddyinfo(textOf(kernel, 'buddyinfo')))) {
      expect(zone.freeBlocksByOrder).toHaveLength(11)
    }
  })

  test.each([
    ['', 'line 1: no zone'],
    [
      'Node 0, zone DMA 1 2\nNode 0, zone DMA32 1\n',
      'line 2: 1 orders, where the first zone has another number',
    ],
    ['Node 0, zone DMA 1\nNode 0, zone DMA 1\n', 'line 2: node 0, zone DMA occurs twice'],
    ['Node 0, zone DMA -1\n', 'line 1: not a line of buddyinfo'],
  ])('%o is refused', (text, error) => {
    expect(errorOf(parseBuddyinfo(text))).toContain(`buddyinfo: ${error}`)
  })
})

describe('pagetypeinfo', () => {
  test('6.18: counts that the kernel cut off are marked', () => {
    const info = valueOf(parsePagetypeinfo(textOf('6.18-one-node', 'pagetypeinfo')))
    const movable = info.free.find(({ zone, type }) => zone === 'Normal' && type === 'Movable')
    expect(movable?.freeBlocksByOrder.slice(0, 2)).toEqual([100_000, 84_225])
    expect(movable?.cappedOrders).toEqual([0])
    expect(info).toMatchObject({ pageblockOrder: 9, pagesPerBlock: 512 })
    const normal = info.blocks.find(({ zone }) => zone === 'Normal')
    expect([...(normal?.blocks ?? [])]).toEqual([
      ['Unmovable', 165],
      ['Movable', 10098],
      ['Reclaimable', 489],
      ['HighAtomic', 0],
      ['Isolate', 0],
    ])
  })

  test('with CMA, isolate has the number 5; without, 4', () => {
    const numberOfIsolate = (kernel: string): number =>
      valueOf(parsePagetypeinfo(textOf(kernel, 'pagetypeinfo'))).types.indexOf('Isolate')
    expect(KERNELS.map(numberOfIsolate)).toEqual([4, 5, 4, 4])
  })

  test('page_owner: mixed blocks are not block counts, and both nodes are there', () => {
    const info = valueOf(parsePagetypeinfo(textOf('6.1-cma-page-owner', 'pagetypeinfo')))
    expect(info.blocks.map(({ node, zone }) => [node, zone])).toEqual([
      [0, 'DMA32'],
      [1, 'DMA32'],
    ])
    expect(info.blocks[1].blocks.get('CMA')).toBe(32)
  })

  test.each(KERNELS)('%s: free counts add up to buddyinfo where none was cut off', (kernel) => {
    const info = valueOf(parsePagetypeinfo(textOf(kernel, 'pagetypeinfo')))
    const buddy = valueOf(parseBuddyinfo(textOf(kernel, 'buddyinfo')))
    for (const zone of buddy) {
      const lists = info.free.filter((list) => list.node === zone.node && list.zone === zone.name)
      const sum = lists.reduce((blocks, list) => blocks + list.freeBlocksByOrder[10], 0)
      expect(Math.abs(sum - zone.freeBlocksByOrder[10])).toBeLessThanOrEqual(2)
    }
  })

  test.each([
    ['', 'line 1: no page block order'],
    ['Page block order: 9\nPages per block:  512\n', 'line 1: no number of blocks by type'],
    ['Page block order: 9\nnonsense\n', 'line 2: not a line of free counts'],
  ])('%o is refused', (text, error) => {
    expect(errorOf(parsePagetypeinfo(text))).toContain(`pagetypeinfo: ${error}`)
  })
})

describe('vmstat', () => {
  test.each(KERNELS)('%s: every line is a counter', (kernel) => {
    const text = textOf(kernel, 'vmstat')
    const counters = valueOf(parseVmstat(text))
    expect(counters.size).toBe(text.trim().split('\n').length)
    expect(counters.has('pgmigrate_success')).toBe(true)
  })

  test('anything else is refused', () => {
    expect(errorOf(parseVmstat('nr_free_pages 1\nnr_free_pages\n'))).toContain(
      'vmstat: line 2: not a counter',
    )
  })
})
