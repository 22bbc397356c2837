/**
 * khugepaged: what it collapses and where to, why it does not, and that a collapse that fails leaves all as it was.
 */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { mappingIdOf, nidOf, type Pfn, pfnOf, slotOf, type Vpn, vpnOf, zoneIdOf } from '../base/units.ts'
import { RecordingCpu } from '../testing/machine.ts'
import { machineOfNodes, occupy, regionOf, vpnIn } from '../testing/nodes.ts'
import {
  SCAN_ALLOC_HUGE_PAGE_FAIL,
  SCAN_DEL_PAGE_LRU,
  SCAN_EXCEED_NONE_PTE,
  SCAN_EXCEED_SHARED_PTE,
  SCAN_EXCEED_SWAP_PTE,
  SCAN_FAIL,
  SCAN_LACK_REFERENCED_PAGE,
  SCAN_PAGE_ANON,
  SCAN_PAGE_COUNT,
  SCAN_PAGE_LOCK,
  SCAN_PAGE_LRU,
  SCAN_PMD_MAPPED,
  SCAN_PTE_NON_PRESENT,
  SCAN_SUCCEED,
  SCAN_VMA_CHECK,
} from './collapse.ts'
import { addToSwapCache } from './filemap.ts'
import { GFP_KERNEL } from './gfp.ts'
import { getUserPage, pinUserPage, putUserPage } from './gup.ts'
import { type Mm, PG_locked, PG_swapcache, ZONE_MOVABLE } from './index.ts'
import { collapseHugePage, hpageCollapseScanPmd, khugepagedScanRegion } from './khugepaged.ts'
import { folioIsolateLru } from './lru.ts'
import { faultAnon } from './memory.ts'
import { compoundOrder, fileMapping, LRU_INACTIVE_ANON, MAPPING_FIRST_FILE } from './page.ts'
import { isSwapPte, mapPage, migrationPte, presentPte, ptePfn, zapPte } from './rmap.ts'
import { ScanControl } from './scan_control.ts'
import { shrinkInactiveList } from './shrink_list.ts'
import type { AnonRegion } from './thp.ts'
import { THP_DEFAULTS, type TransparentHugepage } from './thp_settings.ts'
import { verify } from './verify.ts'
import { vmEvent } from './vmstat.ts'

const cpu = new FastCpu()
const region = regionOf(1)
const RANGE = region.start

/** A machine whose region has these pages, single ones, of the node of each; contents 1000 + their place. */
function machineWith(
  places: readonly number[],
  { blocks = [8], nid = () => 0, thp = {}, swapSlots = 0 }: Machine = {},
): Mm {
  const mm = machineOfNodes(blocks, { thp: { ...thp, enabled: 'never' }, swapSlots })
  for (const place of places) {
    faultAnon(cpu, mm, vpnIn(region, place), nid(place), region)
    mm.content[pageAt(mm, place)] = 1000 + place
  }
  mm.thp.enabled = thp.enabled ?? THP_DEFAULTS.enabled
  return mm
}

interface Machine {
  readonly blocks?: readonly number[]
  readonly swapSlots?: number
  readonly nid?: (place: number) => number
  readonly thp?: Partial<TransparentHugepage>
}

const ALL = Array.from({ length: 512 }, (_, place) => place)
const pageAt = (mm: Mm, place: number): Pfn => ptePfn(mm.pte[vpnIn(region, place)])
const contents = (mm: Mm): number[] => ALL.map((place) => mm.content[pageAt(mm, place)])
const collapse = (mm: Mm, vma: AnonRegion = region): number => hpageCollapseScanPmd(cpu, mm, RANGE, vma)
const outside = (offset: number): Vpn => vpnOf(region.end + offset)

/** Everything but the counters, which tell of failures, and the order of lists. */
function stateOf(mm: Mm): object {
  const { pte, rmap, refcount, mapcount, flags, mapping, nrFree, nrLru, nrIsolatedAnon } = mm
  const copies = [pte, rmap, refcount, mapcount, flags, mapping, nrFree, nrLru, nrIsolatedAnon].map(
    (column) => Array.from({ length: column.length }, (_, i) => Reflect.get(column, i)),
  )
  return { columns: copies, contents: contents(mm) }
}

describe('a collapse', () => {
  test('512 single pages become one huge page with the same contents; they are free', () => {
    const mm = machineWith(ALL)
    const old = ALL.map((place) => pageAt(mm, place))
    expect(collapse(mm)).toBe(SCAN_SUCCEED)
    const head = pageAt(mm, 0)
    expect(ALL.every((place) => pageAt(mm, place) === head + place)).toBe(true)
    expect(contents(mm)).toEqual(ALL.map((place) => 1000 + place))
    expect([compoundOrder(mm.flags[head]), mm.refcount[head], mm.nrLru[LRU_INACTIVE_ANON]]).toEqual([
      9, 512, 512,
    ])
    expect(old.every((pfn) => mm.refcount[pfn] === 0)).toBe(true)
    expect(mm.nrFree[zoneIdOf(0)]).toBe(7 * 512)
    expect([vmEvent(mm, 'thp_collapse_alloc'), vmEvent(mm, 'thp_collapse_alloc_failed')]).toEqual([1, 0])
    verify(mm)
  })

  test('one page is enough by default, and what was empty is zero', () => {
    const mm = machineWith([77])
    for (let pfn = 1024; pfn < 4096; pfn++) if (mm.refcount[pfnOf(pfn)] === 0) mm.content[pfnOf(pfn)] = 5
    expect(collapse(mm)).toBe(SCAN_SUCCEED)
    expect(contents(mm)).toEqual(ALL.map((place) => (place === 77 ? 1077 : 0)))
    verify(mm)
  })

  test('pages of larger folios are taken as they are', () => {
    const mm = machineWith([0, 1, 2])
    mm.thp.orders = THP_DEFAULTS.orders.map((enabled, order) => (order === 4 ? 'always' : enabled))
    expect(faultAnon(cpu, mm, vpnIn(region, 100), 0, region)).toBe(4)
    for (let place = 96; place < 112; place++) mm.content[pageAt(mm, place)] = place
    zapPte(cpu, mm, vpnIn(region, 111))
    expect(collapse(mm)).toBe(SCAN_SUCCEED)
    expect(contents(mm).slice(94, 114)).toEqual([0, 0, ...ALL.slice(96, 111), 0, 0, 0])
    expect(mm.nrFree[zoneIdOf(0)]).toBe(7 * 512)
    verify(mm)
  })

  test('a page in the swap cache leaves it', () => {
    const mm = machineWith(ALL)
    const page = pageAt(mm, 3)
    mm.flags[page] |= PG_locked
    addToSwapCache(cpu, mm, page, slotOf(5))
    mm.flags[page] &= ~PG_locked
    expect(collapse(mm)).toBe(SCAN_SUCCEED)
    expect([mm.cache[slotOf(5)], mm.refcount[page], mm.flags[page] & PG_swapcache]).toEqual([0, 0, 0])
    verify(mm)
  })

  test('pages that are swapped out are read back first, up to as many as the settings allow', () => {
    const mm = machineWith(ALL, { swapSlots: 64 })
    const sc = new ScanControl({ gfp: GFP_KERNEL, order: 0, reclaimIdx: ZONE_MOVABLE, kswapd: false })
    shrinkInactiveList(cpu, mm, nidOf(0), LRU_INACTIVE_ANON, 32, sc)
    const away = ALL.filter((place) => isSwapPte(mm.pte[vpnIn(region, place)]))
    expect(away).toHaveLength(32)
    verify(mm)

    mm.thp.max_ptes_swap = 31
    expect(collapse(mm)).toBe(SCAN_EXCEED_SWAP_PTE)
    expect(ALL.filter((place) => isSwapPte(mm.pte[vpnIn(region, place)]))).toEqual(away)
    mm.thp.max_ptes_swap = 32
    expect(collapse(mm)).toBe(SCAN_SUCCEED)
    expect(contents(mm)).toEqual(ALL.map((place) => 1000 + place))
    expect([vmEvent(mm, 'pswpout'), vmEvent(mm, 'pswpin'), mm.swapFree[nidOf(0)]]).toEqual([32, 32, 64])
    verify(mm)
  })

  test('a page that another process maps stays with it', () => {
    const mm = machineWith(ALL)
    const page = pageAt(mm, 9)
    mapPage(cpu, mm, outside(0), page)
    expect(collapse(mm)).toBe(SCAN_SUCCEED)
    expect([mm.pte[outside(0)], mm.refcount[page], mm.mapcount[page]]).toEqual([presentPte(page), 1, 1])
    expect(mm.content[pageAt(mm, 9)]).toBe(1009)
    expect(mm.nrLru[LRU_INACTIVE_ANON]).toBe(513)
    verify(mm)
  })

  test('it goes to the node of most pages, and to no other', () => {
    const nid = (place: number): number => (place < 200 ? 0 : 1)
    const mm = machineWith(ALL, { blocks: [8, 8], nid })
    expect(collapse(mm)).toBe(SCAN_SUCCEED)
    expect(mm.zoneNode[mm.zoneOf(pageAt(mm, 0))]).toBe(1)
    const full = machineWith(ALL, { blocks: [8, 8], nid, thp: { khugepagedDefrag: false } })
    occupy(full, 1, 7)
    expect(collapse(full)).toBe(SCAN_ALLOC_HUGE_PAGE_FAIL)
    verify(full)
  })

  test('a whole region, range by range, as far as ranges lie in it', () => {
    const mm = machineOfNodes([16], { thp: { enabled: 'never' } })
    const all = { start: vpnOf(300), end: vpnOf(2900) }
    for (const vpn of [300, 511, 512, 1030, 1600, 2100, 2800]) faultAnon(cpu, mm, vpnOf(vpn), 0, all)
    mm.thp.enabled = 'always'
    expect(khugepagedScanRegion(cpu, mm, all)).toBe(4) // 512, 1024, 1536, 2048
    expect(khugepagedScanRegion(cpu, mm, all)).toBe(0)
    verify(mm)
  })
})

describe('why not', () => {
  test.each<[string, number, number, Partial<TransparentHugepage>]>([
    ['more empty ptes than max_ptes_none', SCAN_EXCEED_NONE_PTE, 500, { max_ptes_none: 11 }],
    ['as many as that', SCAN_SUCCEED, 500, { max_ptes_none: 12 }],
    ['nothing at all', SCAN_EXCEED_NONE_PTE, 0, {}],
    ['no huge pages by the settings', SCAN_VMA_CHECK, 512, { enabled: 'never' }],
    ['nobody asked', SCAN_VMA_CHECK, 512, { enabled: 'madvise' }],
  ])('%s: %i', (_, result, pages, thp) => {
    const mm = machineWith(ALL.slice(0, pages), { thp })
    const before = stateOf(mm)
    expect(collapse(mm)).toBe(result)
    if (result !== SCAN_SUCCEED) expect(stateOf(mm)).toEqual(before)
    expect(vmEvent(mm, 'thp_scan_exceed_none_pte')).toBe(result === SCAN_EXCEED_NONE_PTE ? 1 : 0)
    verify(mm)
  })

  test('pages that others map too: 256 are allowed, 257 are not', () => {
    for (const shared of [256, 257]) {
      const mm = machineWith(ALL)
      for (let i = 0; i < shared; i++) mapPage(cpu, mm, outside(i), pageAt(mm, i))
      expect(collapse(mm)).toBe(shared === 256 ? SCAN_SUCCEED : SCAN_EXCEED_SHARED_PTE)
      expect(vmEvent(mm, 'thp_scan_exceed_share_pte')).toBe(shared - 256)
      verify(mm)
    }
  })

  test.each<[string, number, (mm: Mm, page: Pfn) => void, (mm: Mm, page: Pfn) => void]>([
    [
      'a reference',
      SCAN_PAGE_COUNT,
      (mm, page) => getUserPage(cpu, mm, page),
      (mm, page) => putUserPage(cpu, mm, page),
    ],
    ['a pin', SCAN_PAGE_COUNT, (mm, page) => pinUserPage(cpu, mm, page), () => undefined],
    ['a lock', SCAN_PAGE_LOCK, (mm, page) => (mm.flags[page] |= PG_locked), () => undefined],
    ['off the LRU', SCAN_PAGE_LRU, (mm, page) => folioIsolateLru(cpu, mm, page), () => undefined],
    [
      'of a file',
      SCAN_PAGE_ANON,
      (mm, page) => (mm.mapping[page] = fileMapping(mappingIdOf(MAPPING_FIRST_FILE))),
      () => undefined,
    ],
  ])('a page with %s is seen before anything is allocated', (_, result, hold, release) => {
    const mm = machineWith(ALL)
    hold(mm, pageAt(mm, 300))
    const before = stateOf(mm)
    expect(collapse(mm)).toBe(result)
    expect(stateOf(mm)).toEqual(before)
    expect(vmEvent(mm, 'thp_collapse_alloc')).toBe(0)
    release(mm, pageAt(mm, 300))
  })

  test('migrations under way: up to max_ptes_swap of them, and half of the pages must be there', () => {
    const swapped = (mm: Mm, count: number): void => {
      for (let i = 0; i < count; i++) mm.pte[vpnIn(region, i)] = migrationPte(pageAt(mm, i))
    }
    const many = machineWith(ALL)
    swapped(many, 65)
    expect(collapse(many)).toBe(SCAN_EXCEED_SWAP_PTE)
    expect(vmEvent(many, 'thp_scan_exceed_swap_pte')).toBe(1)
    const few = machineWith(ALL.slice(0, 256))
    swapped(few, 1)
    expect(collapse(few)).toBe(SCAN_LACK_REFERENCED_PAGE)
  })

  test('a huge page already', () => {
    const mm = machineOfNodes([4])
    faultAnon(cpu, mm, RANGE, 0, region)
    expect(collapse(mm)).toBe(SCAN_PMD_MAPPED)
  })

  test('no huge page to be had', () => {
    const mm = machineWith(ALL, { thp: { khugepagedDefrag: false } })
    occupy(mm, 0, 7)
    const before = stateOf(mm)
    expect(collapse(mm)).toBe(SCAN_ALLOC_HUGE_PAGE_FAIL)
    expect(stateOf(mm)).toEqual(before)
    expect([vmEvent(mm, 'thp_collapse_alloc'), vmEvent(mm, 'thp_collapse_alloc_failed')]).toEqual([0, 1])
    verify(mm)
  })
})

describe('what changes after the look', () => {
  /** Collapses while another task runs before the n-th time that the rmap lock is taken: 0 take, 1 map, 2 undo. */
  function collapseAround(mm: Mm, lock: number, task: () => void): number {
    const recording = new RecordingCpu(mm)
    let left = lock
    recording.before((op, column) => op === 'lock' && column === 'rmapLock' && left-- === 0, task)
    const result = collapseHugePage(recording, mm, RANGE, [0])
    expect(recording.pending).toBe(false)
    return result
  }

  test.each<[string, number, (mm: Mm) => () => void]>([
    [
      'a page was locked',
      SCAN_PAGE_LOCK,
      (mm) => {
        mm.flags[pageAt(mm, 40)] |= PG_locked
        return () => {
          mm.flags[pageAt(mm, 40)] &= ~PG_locked
        }
      },
    ],
    [
      'somebody got a reference',
      SCAN_PAGE_COUNT,
      (mm) => {
        getUserPage(cpu, mm, pageAt(mm, 40))
        return () => putUserPage(cpu, mm, pageAt(mm, 40))
      },
    ],
    [
      'a page is isolated',
      SCAN_DEL_PAGE_LRU,
      (mm) => {
        folioIsolateLru(cpu, mm, pageAt(mm, 40))
        return () => undefined
      },
    ],
    [
      'a page migrates',
      SCAN_PTE_NON_PRESENT,
      (mm) => {
        const page = pageAt(mm, 40)
        mm.pte[vpnIn(region, 40)] = migrationPte(page)
        return () => {
          mm.pte[vpnIn(region, 40)] = presentPte(page)
        }
      },
    ],
  ])('%s: undone', (_, result, change) => {
    const mm = machineWith(ALL)
    const before = contents(mm)
    let undo = (): void => undefined
    expect(
      collapseAround(mm, 0, () => {
        undo = change(mm)
      }),
    ).toBe(result)
    undo()
    expect(contents(mm)).toEqual(before)
    expect([mm.nrFree[zoneIdOf(0)], mm.nrIsolatedAnon[nidOf(0)]]).toEqual([7 * 512, 0])
    if (result !== SCAN_DEL_PAGE_LRU) verify(mm)
  })

  test('a pin that comes between the taking of a pte and the comparison is seen', () => {
    const mm = machineWith(ALL)
    const recording = new RecordingCpu(mm)
    const page = pageAt(mm, 3)
    const before = contents(mm)
    // GUP-fast has read the pte and takes its reference now; it will look at the pte again, and find another one.
    recording.before(
      (op, column) => op === 'unlock' && column === 'rmapLock',
      () => mm.refcount[page]++,
    )
    expect(collapseHugePage(recording, mm, RANGE, [0])).toBe(SCAN_PAGE_COUNT)
    expect(mm.refcount[page]).toBe(2)
    mm.refcount[page]--
    expect(contents(mm)).toEqual(before)
    verify(mm)
  })

  test('a page that is unmapped meanwhile stays unmapped and is freed; the rest is as before', () => {
    const mm = machineWith(ALL)
    const gone = pageAt(mm, 8)
    expect(collapseAround(mm, 1, () => zapPte(cpu, mm, vpnIn(region, 8)))).toBe(SCAN_FAIL)
    expect([mm.pte[vpnIn(region, 8)], mm.refcount[gone]]).toEqual([0, 0])
    expect(contents(mm).filter((value, place) => value !== 1000 + place).length).toBe(1)
    expect(mm.nrFree[zoneIdOf(0)]).toBe(7 * 512 + 1)
    verify(mm)
  })

  test('a page that is mapped meanwhile where there was none is kept', () => {
    const mm = machineWith(ALL.slice(0, 511))
    mm.thp.enabled = 'never'
    expect(
      collapseAround(mm, 1, () => expect(faultAnon(cpu, mm, vpnIn(region, 511), 0, region)).toBe(0)),
    ).toBe(SCAN_FAIL)
    expect(ALL.every((place) => mm.pte[vpnIn(region, place)] === presentPte(pageAt(mm, place)))).toBe(true)
    verify(mm)
  })
})

test('a range must begin at a multiple of a huge page', () => {
  const mm = machineWith([0])
  expect(() => hpageCollapseScanPmd(cpu, mm, vpnIn(region, 1), region)).toThrow(
    'khugepaged: the range begins at a multiple of a huge page',
  )
})
