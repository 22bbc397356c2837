/**
 * Faults in anonymous memory: which order they map, where, what they count, and what is left when they fail.
 */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { pfnOf, vpnOf, zoneIdOf } from '../base/units.ts'
import { RecordingCpu } from '../testing/machine.ts'
import { machineOfNodes, occupy, regionOf, vpnIn } from '../testing/nodes.ts'
import { COMPOUND_TAIL, type Mm, PG_lru } from './index.ts'
import { FAULT_RACED, faultAnon } from './memory.ts'
import { compoundOrder, LRU_INACTIVE_ANON } from './page.ts'
import { putPage } from './page_alloc.ts'
import { mapNewFolio, ptePfn, zapPte } from './rmap.ts'
import { allocPages } from './slowpath.ts'
import {
  type AnonRegion,
  MTHP_STAT_ANON_FAULT_ALLOC,
  MTHP_STAT_ANON_FAULT_FALLBACK,
  mthpStat,
} from './thp.ts'
import { THP_DEFAULTS, type ThpOrderEnabled } from './thp_settings.ts'
import { verify } from './verify.ts'
import { vmEvent } from './vmstat.ts'

const cpu = new FastCpu()

/** Settings by size; the others never. */
const sizes = (bySize: Readonly<Record<number, ThpOrderEnabled>>): readonly ThpOrderEnabled[] =>
  Array.from({ length: 11 }, (_, order) => bySize[order] ?? 'never')

const mapped = (mm: Mm, region: AnonRegion): number => {
  let ptes = 0
  for (let vpn = region.start; vpn < region.end; vpn = vpnOf(vpn + 1)) if (mm.pte[vpn] !== 0) ptes++
  return ptes
}

const faults = (mm: Mm): [number, number] => [
  vmEvent(mm, 'thp_fault_alloc'),
  vmEvent(mm, 'thp_fault_fallback'),
]
const stats = (mm: Mm, order: number): [number, number] => [
  mthpStat(mm, order, MTHP_STAT_ANON_FAULT_ALLOC),
  mthpStat(mm, order, MTHP_STAT_ANON_FAULT_FALLBACK),
]

/** Every page of the region is touched, first to last. Gives the orders that the faults mapped. */
function touch(mm: Mm, region: AnonRegion, nid = 0): number[] {
  const orders: number[] = []
  for (let vpn = region.start; vpn < region.end; vpn = vpnOf(vpn + 1)) {
    if (mm.pte[vpn] === 0) orders.push(faultAnon(cpu, mm, vpn, nid, region))
  }
  return orders
}

describe('huge pages', () => {
  test('one fault maps the whole range, wherever in it the access was', () => {
    const mm = machineOfNodes([4])
    const region = regionOf(2)
    expect(faultAnon(cpu, mm, vpnIn(region, 700), 0, region)).toBe(9)
    expect(mapped(mm, region)).toBe(512)
    const head = ptePfn(mm.pte[vpnIn(region, 512)])
    expect(ptePfn(mm.pte[vpnIn(region, 1023)])).toBe(head + 511)
    expect([compoundOrder(mm.flags[head]), mm.refcount[head], mm.mapcount[head]]).toEqual([9, 512, 1])
    expect([mm.flags[head] & PG_lru, mm.flags[pfnOf(head + 1)]]).toEqual([PG_lru, COMPOUND_TAIL])
    expect(mm.nrLru[LRU_INACTIVE_ANON]).toBe(512)
    expect([faults(mm), stats(mm, 9)]).toEqual([
      [1, 0],
      [1, 0],
    ])
    verify(mm)
  })

  test('unmapped page by page, it is free again', () => {
    const mm = machineOfNodes([4])
    const region = regionOf(1)
    touch(mm, region)
    for (let i = 0; i < 512; i++) zapPte(cpu, mm, vpnIn(region, i))
    expect(mm.nrFree[zoneIdOf(0)]).toBe(4 * 512)
    verify(mm)
  })

  test('where none is free, the range gets single pages and counts one fallback: 8 ranges, 8 fallbacks, 4096 pages, as in a5', () => {
    const mm = machineOfNodes([11], { thp: { defrag: 'never' } })
    // A page in use in each of nine pageblocks, and the others in use: none is whole.
    for (const pfn of occupy(mm, 0, 11).slice(0, 9)) splitInUse(mm, pfn)
    const region = regionOf(8)
    const orders = touch(mm, region)
    expect([orders.length, new Set(orders)]).toEqual([4096, new Set([0])])
    expect([faults(mm), stats(mm, 9)]).toEqual([
      [0, 8],
      [0, 8],
    ])
    verify(mm)
  })

  test('a range with something mapped in it is not tried, and neither is one that leaves the region', () => {
    const mm = machineOfNodes([6])
    const region = regionOf(2)
    mm.thp.enabled = 'never'
    expect(faultAnon(cpu, mm, vpnIn(region, 5), 0, region)).toBe(0)
    mm.thp.enabled = 'always'
    expect(faultAnon(cpu, mm, vpnIn(region, 6), 0, region)).toBe(0)
    const short = { start: region.start, end: vpnOf(region.end - 1) }
    expect(faultAnon(cpu, mm, vpnIn(region, 600), 0, short)).toBe(0)
    expect(faults(mm)).toEqual([0, 0])
    verify(mm)
  })

  test('enabled=madvise: only where it was asked for', () => {
    const mm = machineOfNodes([6], { thp: { enabled: 'madvise' } })
    expect(faultAnon(cpu, mm, vpnIn(regionOf(1), 0), 0, regionOf(1))).toBe(0)
    const asked = { start: vpnOf(1024), end: vpnOf(1536), advice: 'hugepage' } as const
    expect(faultAnon(cpu, mm, asked.start, 0, asked)).toBe(9)
  })

  test('from the node of the process', () => {
    const mm = machineOfNodes([3, 3])
    faultAnon(cpu, mm, regionOf(1).start, 1, regionOf(1))
    expect(mm.zoneNode[mm.zoneOf(ptePfn(mm.pte[regionOf(1).start]))]).toBe(1)
    expect(mm.nrLru[5 + LRU_INACTIVE_ANON]).toBe(512)
  })

  test('a new page is zero', () => {
    const mm = machineOfNodes([3])
    for (let pfn = 512; pfn < 2048; pfn++) mm.content[pfnOf(pfn)] = 7
    touch(mm, regionOf(1))
    const head = ptePfn(mm.pte[regionOf(1).start])
    expect([0, 1, 511].map((i) => mm.content[pfnOf(head + i)])).toEqual([0, 0, 0])
  })
})

/** Frees all of an unmovable huge page but its first page. */
function splitInUse(mm: Mm, pfn: number): void {
  mm.flags[pfnOf(pfn)] = 0
  for (let tail = pfn + 1; tail < pfn + 512; tail++) {
    mm.flags[pfnOf(tail)] = 0
    mm.private[pfnOf(tail)] = 0
    mm.refcount[pfnOf(tail)] = 1
  }
  for (let tail = pfn + 1; tail < pfn + 512; tail++) putPage(cpu, mm, pfnOf(tail))
}

describe('smaller folios', () => {
  test('the largest order that is allowed and whose range is empty', () => {
    const mm = machineOfNodes([6], { thp: { orders: sizes({ 2: 'always', 4: 'always', 6: 'always' }) } })
    const region = regionOf(1)
    expect(faultAnon(cpu, mm, vpnIn(region, 100), 0, region)).toBe(6) // 64..127
    zapPte(cpu, mm, vpnIn(region, 127))
    expect(faultAnon(cpu, mm, vpnIn(region, 127), 0, region)).toBe(0) // 126 is mapped
    expect(faultAnon(cpu, mm, vpnIn(region, 0), 0, region)).toBe(6)
    for (let i = 16; i < 64; i++) zapPte(cpu, mm, vpnIn(region, i))
    expect(faultAnon(cpu, mm, vpnIn(region, 20), 0, region)).toBe(4) // 16..31: 0..15 are mapped
    for (let i = 0; i < 4; i++) zapPte(cpu, mm, vpnIn(region, i))
    expect(faultAnon(cpu, mm, vpnIn(region, 3), 0, region)).toBe(2)
    expect([stats(mm, 6), stats(mm, 4), stats(mm, 2), stats(mm, 9)]).toEqual([
      [2, 0],
      [1, 0],
      [1, 0],
      [0, 0],
    ])
    verify(mm)
  })

  test('every order that was tried in vain counts a fallback, then comes a single page', () => {
    const all = sizes({ 2: 'always', 3: 'always', 9: 'always' })
    const mm = machineOfNodes([4], { thp: { orders: all, defrag: 'never' } })
    const region = regionOf(1)
    // Only single pages are free: every other page of the one pageblock that is left.
    const blocks = occupy(mm, 0, 4)
    everyOtherPage(mm, blocks[0])
    expect(faultAnon(cpu, mm, vpnIn(region, 8), 0, region)).toBe(0)
    expect([faults(mm), stats(mm, 9), stats(mm, 3), stats(mm, 2)]).toEqual([
      [0, 1],
      [0, 1],
      [0, 1],
      [0, 1],
    ])
    expect(mapped(mm, region)).toBe(1)
    verify(mm)
  })

  test('the next smaller one where the largest is not to be had', () => {
    const mm = machineOfNodes([4], {
      thp: { orders: sizes({ 2: 'always', 9: 'inherit' }), defrag: 'never' },
    })
    const blocks = occupy(mm, 0, 4)
    for (const pfn of blocks.slice(0, 2)) splitInUse(mm, pfn)
    expect(faultAnon(cpu, mm, vpnIn(regionOf(1), 8), 0, regionOf(1))).toBe(2)
    expect([faults(mm), stats(mm, 2)]).toEqual([
      [0, 1],
      [1, 0],
    ])
    verify(mm)
  })
})

/** Frees every second page of an unmovable huge page. */
function everyOtherPage(mm: Mm, pfn: number): void {
  for (let page = pfn; page < pfn + 512; page++) {
    mm.flags[pfnOf(page)] = 0
    mm.private[pfnOf(page)] = 0
    mm.refcount[pfnOf(page)] = 1
  }
  for (let page = pfn; page < pfn + 512; page += 2) putPage(cpu, mm, pfnOf(page))
}

describe('a race', () => {
  test('who comes second gives its folio back, and finds what is there', () => {
    const mm = machineOfNodes([4])
    const region = regionOf(1)
    const free = mm.nrFree[zoneIdOf(0)]
    // Another thread maps a page of the range while this one allocates.
    const other = pfnOf(allocPages(cpu, mm, 0, 0, 0))
    const racing = new RecordingCpu(mm)
    racing.before(
      (op, column) => op === 'lock' && column === 'rmapLock',
      () => mapNewFolio(cpu, mm, vpnIn(region, 9), other, 1),
    )
    expect(faultAnon(racing, mm, vpnIn(region, 4), 0, region)).toBe(FAULT_RACED)
    expect(mapped(mm, region)).toBe(1)
    expect(mm.nrFree[zoneIdOf(0)]).toBe(free - 1)
    expect(faults(mm)).toEqual([0, 0])
    verify(mm)
  })
})

describe('what cannot be', () => {
  const mm = machineOfNodes([1])
  test.each([
    ['fault: the access lies within the region', vpnOf(100), regionOf(1)],
    ['fault: the region lies within the page tables', vpnOf(512), { start: vpnOf(512), end: vpnOf(99999) }],
    ['fault: the region lies within the page tables', vpnOf(1), { start: vpnOf(0), end: vpnOf(512) }],
  ])('%s', (message, vpn, region) => {
    expect(() => faultAnon(cpu, mm, vpn, 0, region)).toThrow(message)
  })
})

test('settings that are not given are the kernel’s', () => {
  expect(machineOfNodes([1], { thp: { enabled: 'never' } }).thp).toEqual({
    ...THP_DEFAULTS,
    enabled: 'never',
  })
})
