/** The page map of small captures, and what it concludes about real ones. */

import { describe, expect, test } from 'vitest'
import { describeInputError } from '../base/result.ts'
import { parseBuddyinfo } from '../capture/format/buddyinfo.ts'
import type { Capture, TextName } from '../capture/format/capture.ts'
import { captureOf, type Sketch } from '../testing/capture.ts'
import { importReference, referenceIsAbsent, valueOf } from '../testing/reference.ts'
import { takeCensus } from './census.ts'
import {
  OWNER_ANON,
  OWNER_BALLOON,
  OWNER_CLASSES,
  OWNER_HOLE,
  OWNER_HUGE_FOLIO,
  OWNER_KERNEL,
  OWNER_OFFLINE,
  OWNER_PCP,
  OWNER_PINNED,
  OWNER_SLAB,
  OWNER_UNINITIALISED,
  OWNER_UNTYPED,
  OWNER_ZSMALLOC,
  OWNER_ZSMALLOC_FIXED,
} from './classify.ts'
import { churn, countFreeBlocks } from './free_blocks.ts'
import { buildPageMap, ORDER_TAIL, type PageMap, type PageMapOptions } from './page_map.ts'

const mapOf = (sketch: Sketch, options?: PageMapOptions): PageMap =>
  valueOf(buildPageMap(captureOf(sketch), options))

describe('pages without flags', () => {
  const columns = { flags: '0x80*100 0x0*412 0x28*500 0x0*12', 'truth.pageblock': '0x0 0x1' } as const

  test('in a movable block: per-cpu free; in another: unknown', () => {
    const { owner, inferred } = mapOf({ columns })
    expect(owner[100]).toBe(OWNER_UNTYPED)
    expect(owner[1012]).toBe(OWNER_PCP)
    expect(inferred).toMatchObject({ pcpPages: 12, untypedPages: 412, pageblockTypes: false })
  })

  test('charged: the kernel’s in an unmovable block, freed since in a movable one', () => {
    const { owner } = mapOf({ columns: { ...columns, cgroup: '0x7*1024' } })
    expect(owner[100]).toBe(OWNER_KERNEL)
    expect(owner[1012]).toBe(OWNER_PCP)
  })

  test('recorded per-cpu pages are taken over', () => {
    const { owner, inferred } = mapOf({
      columns: { ...columns, 'truth.pcp': '0x0*100 0x1*12 0x0*900 0x1*12' },
    })
    expect(owner[111]).toBe(OWNER_PCP)
    expect(inferred).toMatchObject({ pcpPages: 0, untypedPages: 400 })
  })

  test('a whole movable block: per-cpu free only if zoneinfo counts as many (else a CMA allocation)', () => {
    const whole = { flags: '0x0*512 0x28*512', 'truth.pageblock': '0x4 0x1' } as const
    expect(mapOf({ columns: whole, pcp: 511 }).owner[0]).toBe(OWNER_UNTYPED)
    expect(mapOf({ columns: whole, pcp: 512 }).owner[0]).toBe(OWNER_PCP)
  })

  test('types are inferred without truth', () => {
    const { types, owner } = mapOf({ columns: { flags: columns.flags }, blocks: [1, 1] })
    expect(types).toEqual({ type: Uint8Array.of(0, 1), inferred: true })
    expect([owner[100], owner[1012]]).toEqual([OWNER_UNTYPED, OWNER_PCP])
  })

  test('whole sections: as many as zoneinfo says are absent are holes, longest run first', () => {
    const section = 32768
    const { owner, inferred } = mapOf({
      columns: { flags: `0x400*${section} 0x0*${2 * section} 0x400*${section} 0x0*${section}` },
      present: 3 * section,
    })
    expect([owner[section], owner[4 * section]]).toEqual([OWNER_HOLE, OWNER_UNINITIALISED])
    expect(inferred).toMatchObject({ holePages: 2 * section, uninitialisedPages: section })
  })
})

describe('zsmalloc', () => {
  test('6.1: the mapcount tells it from a page that the kernel maps', () => {
    const { owner, traits } = mapOf({
      columns: {
        flags: '0x800000800 0x800*2 0x0*509',
        mapcount: '0x1 0x401 0x2 0x0*509',
        'truth.pageblock': '0x1',
      },
      zspages: 2,
    })
    expect(traits.zsmalloc).toBe('mapcount')
    expect(Array.from(owner.subarray(0, 3))).toEqual([OWNER_ZSMALLOC, OWNER_ZSMALLOC, OWNER_KERNEL])
  })

  test('6.12: unmarked pages are where first pages are, as many as nr_zspages leaves', () => {
    const { owner, inferred } = mapOf({
      columns: { flags: '0x0*511 0x28 0x800000000*3 0x0*4 0x28*505', 'truth.pageblock': '0x1 0x1' },
      zspages: 6,
    })
    expect(owner[0]).toBe(OWNER_PCP)
    expect(Array.from(owner.subarray(512, 519))).toEqual([
      ...new Array<number>(6).fill(OWNER_ZSMALLOC),
      OWNER_PCP,
    ])
    expect(inferred.zsmallocPages).toBe(3)
  })

  test('recorded page->mapping: no movable_ops, not movable', () => {
    const columns = {
      flags: '0x800000800 0x800 0x800000 0x800000',
      'truth.mapping': '0x6 0x4 0x6 0x4',
    } as const
    const sketch = captureOf({ columns, zspages: 2 })
    const texts = new Map([...sketch.texts, ['vmstat', 'balloon_inflate 2\nballoon_migrate 0\n'] as const])
    const { owner } = valueOf(buildPageMap({ ...sketch, texts }))
    expect(Array.from(owner)).toEqual([OWNER_ZSMALLOC, OWNER_ZSMALLOC_FIXED, OWNER_BALLOON, OWNER_OFFLINE])
  })
})

describe('pins', () => {
  const columns = {
    flags: '0x400005828*5 0x5828',
    mapcount: '0x1 0x2 0x1 0x0 0x1 0x1',
    'truth.refcount': '0x1 0x2 0x2 0x1 0xff 0x2',
  } as const

  test('more references than mappings; a mapcount of 0 was read too early; 255 is unknown', () => {
    const { owner } = mapOf({ columns })
    expect(Array.from(owner)).toEqual([
      OWNER_ANON,
      OWNER_ANON,
      OWNER_PINNED,
      OWNER_ANON,
      OWNER_ANON,
      OWNER_PINNED,
    ])
  })

  test('the swap cache holds a reference', () => {
    const { owner } = mapOf({
      columns: { flags: '0x7828*2', mapcount: '0x1*2', 'truth.refcount': '0x2 0x3' },
    })
    expect(Array.from(owner)).toEqual([OWNER_ANON, OWNER_PINNED])
  })
})

test('orders of free blocks and compound pages; a folio of order 9 is a huge page in use', () => {
  const { order, owner } = mapOf({
    columns: { flags: '0x400*3 0x80 0x8080 0x10080 0x40d828 0x415828 0x0*504 0x40d828 0x415828*511' },
  })
  expect(Array.from(order.subarray(0, 8))).toEqual([1, ORDER_TAIL, 0, 0, 1, ORDER_TAIL, 1, ORDER_TAIL])
  expect([order[512], order[513], owner[512], owner[1023]]).toEqual([
    9,
    ORDER_TAIL,
    OWNER_HUGE_FOLIO,
    OWNER_HUGE_FOLIO,
  ])
  expect([owner[4], owner[6]]).toEqual([OWNER_SLAB, OWNER_ANON])
})

test('a capture without zoneinfo is refused with a reason', () => {
  const capture = { ...captureOf({ columns: { flags: '0x400' } }), texts: new Map<TextName, string>() }
  const built = buildPageMap(capture)
  expect(built.ok ? '' : describeInputError(built.error)).toContain('zoneinfo')
})

const absent = referenceIsAbsent()

/** Pages that the map takes for per-cpu free without truth.pcp, against it. */
function scorePcp(capture: Capture): { right: number; wrong: number; missed: number } {
  const { owner } = valueOf(buildPageMap(capture, { ignorePcp: true, ignoreTypes: true, ignorePins: true }))
  const truth = capture.columns.get('truth.pcp')
  if (!truth) throw new Error('no truth.pcp')
  let right = 0
  let wrong = 0
  let missed = 0
  for (let pfn = 0; pfn < owner.length; pfn++) {
    const isPcp = truth.dictionaryLow[truth.index[pfn]] === 1
    if (owner[pfn] !== OWNER_PCP) missed += isPcp ? 1 : 0
    else if (isPcp) right++
    else wrong++
  }
  return { right, wrong, missed }
}

describe.skipIf(absent)('real captures', () => {
  // `wrong` on the host is churn, as far as can be told: when the truth was read, later, those pages were mapped or in the buddy allocator.
  test.each([
    ['host-6.18/anon50', 'before', { right: 63946, wrong: 6470, missed: 6049 }],
    ['host-6.18/mixed45', 'before', { right: 47616, wrong: 3752, missed: 2743 }],
    ['qemu/a3-anon-random', 'before', { right: 16293, wrong: 0, missed: 481 }],
    ['qemu/b0-zram-movable', 'before', { right: 15408, wrong: 0, missed: 484 }],
  ])('per-cpu pages inferred: %s %s', (dir, label, score) => {
    expect(scorePcp(importReference(dir, label))).toEqual(score)
  })

  test.each([
    ['qemu/a3-anon-random', 'before'],
    ['qemu/b0-zram-movable', 'after'],
    ['qemu/h0-k612-anon-odd-free', 'before'],
    ['qemu/g0-cma', 'before'],
  ])('free blocks equal buddyinfo, order by order: %s %s', (dir, label) => {
    const capture = importReference(dir, label)
    const { owner, zones } = valueOf(buildPageMap(capture))
    for (const listed of valueOf(parseBuddyinfo(capture.texts.get('buddyinfo') ?? ''))) {
      const zone = zones.find(({ node, name }) => node === listed.node && name === listed.name)
      if (!zone) throw new Error(listed.name)
      const differences = churn(countFreeBlocks(owner, zone.start, zone.end), listed.freeBlocksByOrder)
      expect(differences).toEqual(new Array(11).fill(0))
    }
  })

  test('mixed45: the pages that the workload pinned are found, all 26,245 of them', () => {
    const { pagesByOwner } = takeCensus(valueOf(buildPageMap(importReference('host-6.18/mixed45', 'before'))))
    expect(pagesByOwner[OWNER_PINNED]).toBe(26245)
  })

  test('b1: zsmalloc pages without movable_ops are not movable', () => {
    const { pagesByOwner } = takeCensus(
      valueOf(buildPageMap(importReference('qemu/b1-zram-unmovable', 'before'))),
    )
    expect([pagesByOwner[OWNER_ZSMALLOC], pagesByOwner[OWNER_ZSMALLOC_FIXED]]).toEqual([0, 64409])
  })

  test('every page of a zone is counted once', () => {
    const map = valueOf(buildPageMap(importReference('host-6.18/anon50', 'before')))
    const { zones } = takeCensus(map)
    for (const { zone, pagesByOwner } of zones) {
      expect(pagesByOwner.reduce((sum, pages) => sum + pages, 0)).toBe(zone.end - zone.start)
    }
    expect(OWNER_CLASSES.length).toBe(zones[0].pagesByOwner.length)
  })
})
