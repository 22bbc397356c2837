/**
 * The hugetlb pool: nodes in turn, what is left when one has no more, how it shrinks, surplus pages; and the gfp flags
 * that a real kernel printed for it.
 */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOfNodes } from '../testing/nodes.ts'
import { gfpText } from './gfp_text.ts'
import { getHugePage, htlbGfpMask, setNrHugepages } from './hugetlb.ts'
import { freeHugePages, nrHugePages, surplusHugePages } from './hugetlb_pool.ts'
import { compactNode, type Mm, RULES_6_1 } from './index.ts'
import { PG_head, PG_lru, PGTY_hugetlb } from './limits.ts'
import { compoundOrder, pageType } from './page.ts'
import { putPage } from './page_alloc.ts'
import { verify } from './verify.ts'
import { vmEvent } from './vmstat.ts'

const cpu = new FastCpu()

const perNode = ({ nodes, nrHugePages: nr }: Mm): number[] =>
  Array.from({ length: nodes }, (_, nid) => nr[nidOf(nid)])

/** Pool of each node, free and surplus pages of all. */
const pool = (mm: Mm): object => ({ nr: perNode(mm), free: freeHugePages(mm), surplus: surplusHugePages(mm) })

const listed = (mm: Mm, nid: number): number[] => {
  const head = mm.hugetlbList(nidOf(nid))
  const pages: number[] = []
  for (let at = mm.links[2 * head]; at !== head; at = mm.links[2 * at]) pages.push(at)
  return pages
}

describe('growing', () => {
  test('nodes get pages in turn, and the turn goes on with the next write: 40 on two nodes are 20 + 20, as in a5', () => {
    const mm = machineOfNodes([30, 30])
    expect(setNrHugepages(cpu, mm, 3)).toBe(3)
    expect(perNode(mm)).toEqual([2, 1])
    expect(setNrHugepages(cpu, mm, 4)).toBe(4)
    expect(perNode(mm)).toEqual([2, 2])
    expect(setNrHugepages(cpu, mm, 40)).toBe(40)
    expect(perNode(mm)).toEqual([20, 20])
    expect(vmEvent(mm, 'htlb_buddy_alloc_success')).toBe(40)
    expect(vmEvent(mm, 'htlb_buddy_alloc_fail')).toBe(0)
    expect(vmEvent(mm, 'pgalloc_normal')).toBe(40 * 512)
    verify(mm)
  })

  test('a page of the pool is a head of its type, free without a reference, on no LRU list', () => {
    const mm = machineOfNodes([4])
    setNrHugepages(cpu, mm, 1)
    const [pfn] = listed(mm, 0).map(pfnOf)
    expect([pageType(mm.mapcount[pfn]), mm.refcount[pfn], compoundOrder(mm.flags[pfn])]).toEqual([
      PGTY_hugetlb,
      0,
      9,
    ])
    expect(mm.flags[pfn] & (PG_head | PG_lru)).toBe(PG_head)
  })

  test('where one node has no more, the other gives the rest; what nobody has is left out', () => {
    const mm = machineOfNodes([2, 8])
    // 2 + 2 in turn, then 6 times: node 0 fails, node 1 gives one; then both fail.
    expect(setNrHugepages(cpu, mm, 100)).toBe(10)
    expect(pool(mm)).toEqual({ nr: [2, 8], free: 10, surplus: 0 })
    expect(vmEvent(mm, 'htlb_buddy_alloc_success')).toBe(10)
    expect(vmEvent(mm, 'htlb_buddy_alloc_fail')).toBe(6 + 2)
    expect([mm.nrFree[zoneIdOf(0)], mm.nrFree[zoneIdOf(1)]]).toEqual([0, 0])
    verify(mm)
  })

  test('a write to one node leaves the others as they are', () => {
    const mm = machineOfNodes([8, 8])
    setNrHugepages(cpu, mm, 4)
    expect(setNrHugepages(cpu, mm, 5, 1)).toBe(7)
    expect(perNode(mm)).toEqual([2, 5])
    expect(setNrHugepages(cpu, mm, 1, 1)).toBe(3)
    expect(perNode(mm)).toEqual([2, 1])
    verify(mm)
  })

  test('a node without memory has no turn', () => {
    const mm = machineOfNodes([6, 6])
    mm.zonePresent[zoneIdOf(0)] = 0
    setNrHugepages(cpu, mm, 3)
    expect(perNode(mm)).toEqual([0, 3])
  })

  test('the first page is the first to be given out; before v6.7 the last one was', () => {
    const first = (mm: Mm): number[] => {
      setNrHugepages(cpu, mm, 3)
      return listed(mm, 0)
    }
    expect(first(machineOfNodes([3], { rules: RULES_6_1 }))).toEqual(first(machineOfNodes([3])).toReversed())
  })

  test('the flags are those that 6.1.192 printed (a5), and after a failure on a node it is not tried hard there', () => {
    const a5 = 'GFP_HIGHUSER_MOVABLE|__GFP_NOWARN|__GFP_RETRY_MAYFAIL|__GFP_COMP|__GFP_THISNODE'
    expect(gfpText(htlbGfpMask(true), RULES_6_1)).toBe(a5)
    expect(gfpText(htlbGfpMask(false), RULES_6_1)).toBe(a5.replace('|__GFP_RETRY_MAYFAIL', ''))
  })
})

describe('shrinking', () => {
  test('free pages go back, nodes in turn', () => {
    const mm = machineOfNodes([8, 8])
    setNrHugepages(cpu, mm, 8)
    expect(setNrHugepages(cpu, mm, 3)).toBe(3)
    // 4 + 4 less five: node 0, 1, 0, 1, 0.
    expect(perNode(mm)).toEqual([1, 2])
    expect(mm.nrFree[zoneIdOf(0)] + mm.nrFree[zoneIdOf(1)]).toBe(13 * 512)
    expect(setNrHugepages(cpu, mm, 0)).toBe(0)
    expect(mm.nrFree[zoneIdOf(0)] + mm.nrFree[zoneIdOf(1)]).toBe(16 * 512)
    verify(mm)
  })

  test('pages in use become surplus, and are freed when they are put', () => {
    const mm = machineOfNodes([8])
    setNrHugepages(cpu, mm, 4)
    const used = [getHugePage(cpu, mm, 0), getHugePage(cpu, mm, 0)].map(pfnOf)
    expect(setNrHugepages(cpu, mm, 1)).toBe(1)
    expect(pool(mm)).toEqual({ nr: [2], free: 0, surplus: 1 })
    verify(mm)
    putPage(cpu, mm, used[0])
    expect(pool(mm)).toEqual({ nr: [1], free: 0, surplus: 0 })
    expect(mm.nrFree[zoneIdOf(0)]).toBe(7 * 512)
    putPage(cpu, mm, used[1])
    expect(pool(mm)).toEqual({ nr: [1], free: 1, surplus: 0 })
    expect(mm.nrFree[zoneIdOf(0)]).toBe(7 * 512)
    verify(mm)
  })

  test('a pool that grows again first keeps what was surplus', () => {
    const mm = machineOfNodes([8])
    setNrHugepages(cpu, mm, 3)
    const used = pfnOf(getHugePage(cpu, mm, 0))
    setNrHugepages(cpu, mm, 0)
    expect(pool(mm)).toEqual({ nr: [1], free: 0, surplus: 1 })
    expect(setNrHugepages(cpu, mm, 1)).toBe(1)
    expect(pool(mm)).toEqual({ nr: [1], free: 0, surplus: 0 })
    expect(vmEvent(mm, 'htlb_buddy_alloc_success')).toBe(3)
    putPage(cpu, mm, used)
    expect(pool(mm)).toEqual({ nr: [1], free: 1, surplus: 0 })
  })
})

describe('giving out', () => {
  test('of the own node, then of the next one, then none', () => {
    const mm = machineOfNodes([4, 4])
    setNrHugepages(cpu, mm, 3)
    const nodeOfPage = (pfn: number): number => (pfn < 0 ? -1 : mm.zoneNode[mm.zoneOf(pfnOf(pfn))])
    const given = [1, 1, 1, 1].map((nid) => getHugePage(cpu, mm, nid))
    expect(given.map(nodeOfPage)).toEqual([1, 0, 0, -1])
    expect(mm.refcount[pfnOf(given[0])]).toBe(1)
    expect(pool(mm)).toEqual({ nr: [2, 1], free: 0, surplus: 0 })
    verify(mm)
    for (const pfn of given.slice(0, 3)) putPage(cpu, mm, pfnOf(pfn))
    expect(freeHugePages(mm)).toBe(3)
    verify(mm)
  })

  test('compaction passes over the pool', () => {
    const mm = machineOfNodes([8])
    setNrHugepages(cpu, mm, 4)
    const before = listed(mm, 0)
    compactNode(cpu, mm, nidOf(0))
    expect(listed(mm, 0)).toEqual(before)
    expect(vmEvent(mm, 'pgmigrate_success')).toBe(0)
    verify(mm)
  })
})

describe('what cannot be', () => {
  const mm = machineOfNodes([2])
  test.each([
    ['hugetlb: the number of pages is a count', () => setNrHugepages(cpu, mm, -1)],
    ['hugetlb: the number of pages is a count', () => setNrHugepages(cpu, mm, 1.5)],
    ['hugetlb: the node exists', () => setNrHugepages(cpu, mm, 1, 1)],
    ['hugetlb: the node exists', () => getHugePage(cpu, mm, 1)],
  ])('%s', (message, act) => {
    expect(act).toThrow(message)
    expect(nrHugePages(mm)).toBe(0)
  })

  test('a page of the pool that is put twice', () => {
    const own = machineOfNodes([2])
    setNrHugepages(cpu, own, 1)
    const pfn = pfnOf(getHugePage(cpu, own, 0))
    putPage(cpu, own, pfn)
    expect(() => putPage(cpu, own, pfn)).toThrow('put: the page has no reference')
  })
})
