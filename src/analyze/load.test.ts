/** From a sketched capture to an engine: every owner in its place, and nothing that verify() minds. */

import { describe, expect, test } from 'vitest'
import { cpuIdOf, nidOf, pfnOf, type Vpn, vpnOf, zoneIdOf } from '../base/units.ts'
import { compactNode, type Mm } from '../mm/index.ts'
import { COMPOUND_TAIL, PG_dirty, PG_head, PG_lru, PGTY_slab, PGTY_zsmalloc } from '../mm/limits.ts'
import { buddyOrder, compoundOrder, MAPPING_FIRST_FILE, pageType } from '../mm/page.ts'
import { verify } from '../mm/verify.ts'
import { captureOf, type Sketch } from '../testing/capture.ts'
import { valueOf } from '../testing/reference.ts'
import { captureCpu, loadMachine } from './load.ts'
import { buildPageMap } from './page_map.ts'
import { predictCompaction } from './predict.ts'

// Words of /proc/kpageflags as 6.18 shows them.
const FREE = '0x400'
const ANON = '0x5828' // UPTODATE LRU MMAP ANON SWAPBACKED
const FILE = '0x28' // UPTODATE LRU
const SLAB = '0x80'
const ZSMALLOC = '0x8'
/**
 * What follows 64 pages to move: a free pageblock, so that the scanners do not meet at once, and one that is not wholly
 * free, so that it is a target.
 */
const TARGETS = `${FREE}*448 ${FREE}*512 ${FREE}*300 ${SLAB} ${FREE}*211`
const MOVABLE_BLOCKS = '0x1 0x1 0x1'

const machineOf = (sketch: Sketch): Mm => {
  const capture = captureOf(sketch)
  return valueOf(loadMachine(capture, valueOf(buildPageMap(capture))))
}

/** One movable pageblock that begins with these words; the rest is slab. */
const block = (flags: string, words: number, more: Sketch['columns'] = {}): Sketch => ({
  columns: { flags: `${flags} ${SLAB}*${512 - words}`, 'truth.pageblock': '0x1', ...more },
})

describe('what becomes of a page', () => {
  test('free pages form blocks, slab stays', () => {
    const mm = machineOf(block(`${FREE}*6`, 6))
    expect([mm.mapcount[pfnOf(0)], mm.mapcount[pfnOf(4)]].map(buddyOrder)).toEqual([2, 1])
    expect(mm.nrFree[zoneIdOf(0)]).toBe(6)
    expect(pageType(mm.mapcount[pfnOf(6)])).toBe(PGTY_slab)
    verify(mm)
  })

  test('an anonymous page has a pte for each mapping, and as many references', () => {
    const mm = machineOf(block(ANON, 1, { mapcount: '0x3 0x0*511' }))
    const pfn = pfnOf(0)
    expect([mm.mapcount[pfn], mm.refcount[pfn], mm.flags[pfn] & PG_lru]).toEqual([3, 3, PG_lru])
    const chain: Vpn[] = []
    for (let vpn = vpnOf(mm.rmap[pfn]); vpn !== 0; vpn = vpnOf(mm.pteNext[vpn])) chain.push(vpn)
    expect(chain).toHaveLength(3)
    verify(mm)
  })

  test('an anonymous page that kpagecount, read earlier, shows as unmapped is mapped once, not pinned', () => {
    const mm = machineOf(block(`${ANON} ${FREE}*511`, 512, { mapcount: '0x0*512' }))
    expect([mm.mapcount[pfnOf(0)], mm.refcount[pfnOf(0)]]).toEqual([1, 1])
    verify(mm)
    const whole = machineOf({
      columns: { flags: `${ANON}*64 ${TARGETS}`, mapcount: '0x0*1536', 'truth.pageblock': MOVABLE_BLOCKS },
    })
    const [{ cc }] = compactNode(captureCpu(), whole, nidOf(0))
    expect(cc.stats.pagesSucceeded).toBe(64)
    verify(whole)
  })

  test('a cached page has a slot, and the cache a reference; dirty stays dirty', () => {
    const mm = machineOf(block('0x38', 1))
    const pfn = pfnOf(0)
    expect([mm.refcount[pfn], mm.mapping[pfn] >> 2, mm.flags[pfn] & PG_dirty]).toEqual([
      1,
      MAPPING_FIRST_FILE,
      PG_dirty,
    ])
    verify(mm)
  })

  test('a large folio is a head and its tails; a tail torn off its head is a page of its own', () => {
    const head = '0x408028'
    const tail = '0x410028'
    const mm = machineOf(block(`${head} ${tail}*3 ${FILE} ${tail}`, 6))
    expect([compoundOrder(mm.flags[pfnOf(0)]), mm.flags[pfnOf(3)], mm.private[pfnOf(3)]]).toEqual([
      2,
      COMPOUND_TAIL,
      0,
    ])
    expect(mm.flags[pfnOf(5)] & (PG_head | COMPOUND_TAIL)).toBe(0)
    expect(mm.refcount[pfnOf(0)]).toBe(4)
    verify(mm)
  })

  test('zsmalloc pages are a driver’s, and move', () => {
    const mm = machineOf({
      columns: { flags: `0x800000008 ${ZSMALLOC}*63 ${TARGETS}`, 'truth.pageblock': MOVABLE_BLOCKS },
      zspages: 64,
    })
    expect(pageType(mm.mapcount[pfnOf(0)])).toBe(PGTY_zsmalloc)
    const [{ cc }] = compactNode(captureCpu(), mm, nidOf(0))
    expect(cc.stats.pagesSucceeded).toBe(64)
    verify(mm)
  })

  test('per-cpu pages are on the list of their cpu, not in the free blocks', () => {
    const mm = machineOf({ ...block(`${FREE}*2 0x0*3`, 5), pcp: 3 })
    expect(mm.pcpCount[mm.pcpOf(0, cpuIdOf(0))]).toBe(3)
    expect(mm.nrFree[zoneIdOf(0)]).toBe(2)
    verify(mm)
  })
})

test('bad zoneinfo is refused with a reason, and a capture without flags too', () => {
  const capture = captureOf(block(FREE, 1))
  const map = valueOf(buildPageMap(capture))
  const texts = new Map([['zoneinfo', 'hello\n'] as const])
  expect(loadMachine({ ...capture, texts }, map)).toMatchObject({ ok: false })
  expect(loadMachine({ ...capture, columns: new Map() }, map)).toMatchObject({
    ok: false,
    error: { what: 'no page flags' },
  })
})

describe('pins that the kernel counts and the capture does not show', () => {
  // 64 single pages to move, every other one pinned as far as is known.
  const sketch = (pins: number): Sketch => ({
    columns: {
      flags: `${ANON}*64 ${TARGETS}`,
      mapcount: '0x1*64 0x0*1472',
      'truth.pageblock': MOVABLE_BLOCKS,
    },
    nodeStats: `      nr_foll_pin_acquired ${100 + pins}\n      nr_foll_pin_released 100\n`,
  })
  const moved = (pins: number): { moved: number; low: number; high: number; assumed: string } => {
    const capture = captureOf(sketch(pins))
    const { outcome, pagesMigrated, assumed } = valueOf(
      predictCompaction(capture, valueOf(buildPageMap(capture))),
    )
    return { moved: outcome.zones[0].pagesMigrated, ...pagesMigrated, assumed }
  }

  test('are spread over single anonymous pages; that there are none is the other assumption', () => {
    expect(moved(32)).toEqual({
      moved: 32,
      low: 32,
      high: 64,
      assumed: '32 pages that the kernel counts as pinned are spread over anonymous memory',
    })
    expect(moved(0)).toEqual({ moved: 64, low: 64, high: 64, assumed: '' })
  })
})
