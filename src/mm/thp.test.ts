/**
 * What the settings of transparent huge pages mean: gfp flags by `defrag`, orders by `enabled`; and how many huge pages
 * free blocks give, beside what real kernels got.
 */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { pcpIdOf, pfnOf, vpnOf, zoneIdOf } from '../base/units.ts'
import { machineOfNodes, occupy, regionOf } from '../testing/nodes.ts'
import { addFreeBlock } from './free_area.ts'
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_IO,
  __GFP_KSWAPD_RECLAIM,
  __GFP_NORETRY,
  __GFP_THISNODE,
  GFP_TRANSHUGE,
} from './gfp.ts'
import { gfpText } from './gfp_text.ts'
import { createMachine, RULES_6_1, RULES_6_18 } from './index.ts'
import { putPage } from './page_alloc.ts'
import { allocPages } from './slowpath.ts'
import {
  type AnonRegion,
  allocPagesMpol,
  hugePagesObtainable,
  suitableStart,
  thpVmaAllowableOrders,
  vmaThpGfpMask,
} from './thp.ts'
import type { ThpDefrag, ThpEnabled, ThpOrderEnabled } from './thp_settings.ts'

const cpu = new FastCpu()
const ask = regionOf(1, 'hugepage')
const silent = regionOf(1)

describe('defrag', () => {
  const TABLE: readonly (readonly [ThpDefrag, asked: string, silent: string])[] = [
    ['always', 'GFP_TRANSHUGE', 'GFP_TRANSHUGE|__GFP_NORETRY'],
    ['defer', 'GFP_TRANSHUGE_LIGHT|__GFP_KSWAPD_RECLAIM', 'GFP_TRANSHUGE_LIGHT|__GFP_KSWAPD_RECLAIM'],
    ['defer+madvise', 'GFP_TRANSHUGE', 'GFP_TRANSHUGE_LIGHT|__GFP_KSWAPD_RECLAIM'],
    ['madvise', 'GFP_TRANSHUGE', 'GFP_TRANSHUGE_LIGHT'],
    ['never', 'GFP_TRANSHUGE_LIGHT', 'GFP_TRANSHUGE_LIGHT'],
  ]

  test.each(TABLE)('%s: %s where it was asked for, else %s', (defrag, asked, notAsked) => {
    const mm = machineOfNodes([1], { thp: { defrag } })
    expect([
      gfpText(vmaThpGfpMask(mm, ask), RULES_6_18),
      gfpText(vmaThpGfpMask(mm, silent), RULES_6_18),
    ]).toEqual([asked, notAsked])
  })

  test('a huge page may not use reserves or write pages out to wait for; it may start I/O', () => {
    expect(gfpText(GFP_TRANSHUGE, RULES_6_1)).toBe('GFP_TRANSHUGE')
    expect([GFP_TRANSHUGE & __GFP_IO, GFP_TRANSHUGE & __GFP_DIRECT_RECLAIM]).not.toContain(0)
    expect(GFP_TRANSHUGE & __GFP_KSWAPD_RECLAIM).toBe(0)
  })

  test('the first try of a fault with defrag=always has the flags that 6.1.192 printed (a5)', () => {
    const mm = machineOfNodes([1], { thp: { defrag: 'always' } })
    expect(gfpText(vmaThpGfpMask(mm, silent) | __GFP_THISNODE | __GFP_NORETRY, RULES_6_1)).toBe(
      'GFP_TRANSHUGE|__GFP_NORETRY|__GFP_THISNODE',
    )
  })
})

describe('enabled', () => {
  const orders = (
    region: AnonRegion,
    enabled: ThpEnabled,
    bySize: Readonly<Record<number, ThpOrderEnabled>>,
  ): number[] => {
    const settings = Array.from({ length: 11 }, (_, order) => bySize[order] ?? 'never')
    const found = thpVmaAllowableOrders(machineOfNodes([1], { thp: { enabled, orders: settings } }), region)
    return Array.from({ length: 11 }, (_, order) => order).filter((order) => (found & (1 << order)) !== 0)
  }
  const bySize = { 2: 'always', 4: 'madvise', 8: 'inherit', 9: 'inherit' } as const

  test.each<[ThpEnabled, AnonRegion, number[]]>([
    ['always', silent, [2, 8, 9]],
    ['always', ask, [2, 4, 8, 9]],
    ['madvise', silent, [2]],
    ['madvise', ask, [2, 4, 8, 9]],
    ['never', silent, [2]],
    ['never', ask, [2, 4]],
  ])('%s, %o: %o', (enabled, region, expected) => {
    expect(orders(region, enabled, bySize)).toEqual(expected)
  })

  test('a region that refuses gets none; orders 0, 1 and 10 are nobody’s', () => {
    const all = Object.fromEntries(Array.from({ length: 11 }, (_, order) => [order, 'always'] as const))
    expect(orders(regionOf(1, 'nohugepage'), 'always', all)).toEqual([])
    expect(orders(silent, 'always', all)).toEqual([2, 3, 4, 5, 6, 7, 8, 9])
  })

  test('by default the huge page only, wherever it is', () => {
    expect(thpVmaAllowableOrders(machineOfNodes([1]), silent)).toBe(1 << 9)
  })

  test('a range lies wholly in the region, or is none', () => {
    const region = { start: vpnOf(520), end: vpnOf(1040) }
    expect([520, 527, 528, 1023, 1024, 1039].map((vpn) => suitableStart(region, vpnOf(vpn), 4))).toEqual([
      -1, -1, 528, 1008, 1024, 1024,
    ])
    expect(suitableStart(region, vpnOf(600), 9)).toBe(-1)
  })
})

describe('where a huge page comes from', () => {
  const nodeOf = (mm: ReturnType<typeof machineOfNodes>, pfn: number): number =>
    pfn < 0 ? -1 : mm.zoneNode[mm.zoneOf(pfnOf(pfn))]

  test('only from the own node, unless the request may reclaim', () => {
    const light = machineOfNodes([2, 2], { thp: { defrag: 'never' } })
    occupy(light, 0, 2)
    expect(nodeOf(light, allocPagesMpol(cpu, light, vmaThpGfpMask(light, ask), 9, 0))).toBe(-1)
    const hard = machineOfNodes([2, 2], { thp: { defrag: 'madvise' } })
    occupy(hard, 0, 2)
    expect(nodeOf(hard, allocPagesMpol(cpu, hard, vmaThpGfpMask(hard, ask), 9, 0))).toBe(1)
  })

  test('smaller folios come from wherever there is memory', () => {
    const mm = machineOfNodes([2, 2], { thp: { defrag: 'never' } })
    occupy(mm, 0, 2)
    expect(nodeOf(mm, allocPagesMpol(cpu, mm, vmaThpGfpMask(mm, silent), 4, 0))).toBe(1)
  })
})

describe('what is obtainable', () => {
  /** A machine whose free memory is so many blocks of each order from 0 to 10. */
  function machineOfBlocks(counts: readonly number[]): ReturnType<typeof createMachine> {
    const pages = counts.reduce((sum, count, order) => sum + count * 2 ** (order + 1), 0)
    const pfnCount = Math.ceil(pages / 1024) * 1024 + 1024
    const zone = { node: 0, name: 'Normal', startPfn: 0, spanned: pfnCount, present: pages, managed: pages }
    const mm = createMachine({ pfnCount, zones: [{ ...zone, min: 0, low: 0, high: 0 }] })
    let pfn = 0
    for (let order = 10; order >= 0; order--) {
      for (let i = 0; i < counts[order]; i++) {
        addFreeBlock(mm, pfnOf(pfn), order)
        pfn += 2 << order // its buddy is in use
      }
    }
    return mm
  }

  test('THP on 6.18 after a compaction: 221 + 2 * 213 = 647, and 646 of 1024 faults got one', () => {
    const counts = [0, 0, 0, 0, 0, 0, 0, 0, 0, 221, 213]
    expect(hugePagesObtainable(machineOfBlocks(counts))).toBe(647)
  })

  test('the hugetlb pool on 6.1 (a5, both nodes): 31; 40 requests compacted 10 times', () => {
    const counts = [41562, 11572, 1153, 15, 4, 2, 4, 4, 5, 5, 13]
    expect(hugePagesObtainable(machineOfBlocks(counts))).toBe(31)
  })

  test('blocks that wait on a per-cpu list are obtainable too', () => {
    const mm = machineOfNodes([6])
    const set = pcpIdOf(0)
    mm.pcpHigh[set] = mm.pcpHighMin[set] = mm.pcpHighMax[set] = 2048
    const pages = [1, 2, 3].map(() => pfnOf(allocPages(cpu, mm, GFP_TRANSHUGE, 9, 0)))
    expect(hugePagesObtainable(mm)).toBe(3)
    for (const pfn of pages) putPage(cpu, mm, pfn)
    expect([mm.pcpCount[set], mm.nrFree[zoneIdOf(0)]]).toEqual([3 * 512, 3 * 512])
    expect(hugePagesObtainable(mm)).toBe(6)
  })
})
