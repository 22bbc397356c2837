/**
 * The buddy allocator against a model that only knows which pages are free; migratetypes, watermarks, order of lists.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { type Pfn, pageblockAt, pfnOf, vpnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { addFreeBlock, isolateFreePageLocked, moveFreepagesBlockLocked } from './free_area.ts'
import { type Mm, RULES_6_1, RULES_6_18 } from './index.ts'
import {
  MAX_PAGE_ORDER,
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  PGTY_slab,
  pageblock_nr_pages,
  pageTypeValue,
} from './limits.ts'
import { buddyOrder, isBuddy, PB_migrate_skip } from './page.ts'
import { allocFromZone, freeFrozenPages, putPage } from './page_alloc.ts'
import { zapPte } from './rmap.ts'
import { verify } from './verify.ts'
import { nrReservedHighatomicCountsThePageblocks } from './verify_free.ts'

const zone = zoneIdOf(0)
const START = 1024
const long = process.env['DROVER_FUZZ'] === '1'

const machine = (picture: string, more: Parameters<typeof machineOf>[1] = {}): TestMachine =>
  machineOf(picture, { start: START, ...more })

/** Free blocks of the machine as `pfn:order`, places relative to the zone. */
function freeBlocks(mm: Mm): string[] {
  const found: string[] = []
  for (let pfn = pfnOf(0); pfn < mm.pfnCount; pfn = pfnOf(pfn + 1)) {
    if (isBuddy(mm.mapcount[pfn])) found.push(`${pfn - START}:${buddyOrder(mm.mapcount[pfn])}`)
  }
  return found
}

/** The free blocks that follow from which pages are free: of each free page, the largest aligned block that is. */
function expectedBlocks(isFree: Uint8Array): string[] {
  const found: string[] = []
  const wholeBlock = (at: number, order: number): boolean =>
    at % (1 << order) === 0 &&
    at + (1 << order) <= isFree.length &&
    isFree.subarray(at, at + (1 << order)).every((free) => free === 1)
  for (let at = 0; at < isFree.length; ) {
    if (isFree[at] === 0) {
      at++
      continue
    }
    let order = MAX_PAGE_ORDER
    while (!wholeBlock(at, order)) order--
    found.push(`${at}:${order}`)
    at += 1 << order
  }
  return found
}

/** Nodes of a list, first to last, relative to the zone. */
function listed(mm: Mm, head: number): number[] {
  const nodes: number[] = []
  for (let node = mm.links[2 * head]; node !== head; node = mm.links[2 * node]) nodes.push(node - START)
  return nodes
}

describe('buddies', () => {
  const steps = fc.array(
    fc.record({ free: fc.boolean(), order: fc.integer({ min: 0, max: MAX_PAGE_ORDER }), which: fc.nat() }),
    { maxLength: 60 },
  )

  test('what is free follows from which pages are, after any allocations and frees', () => {
    const property = fc.property(steps, fc.constantFrom(RULES_6_1, RULES_6_18), (history, rules) => {
      const { mm } = machine('', { blocks: 5, rest: '.', rules })
      const cpu = new FastCpu()
      const isFree = new Uint8Array(5 * pageblock_nr_pages).fill(1)
      const held: { pfn: Pfn; order: number }[] = []
      for (const { free, order, which } of history) {
        if (free && held.length > 0) {
          const [block] = held.splice(which % held.length, 1)
          putPage(cpu, mm, block.pfn)
          isFree.fill(1, block.pfn - START, block.pfn - START + (1 << block.order))
        } else {
          const got = allocFromZone(cpu, mm, zone, order, MIGRATE_MOVABLE)
          const possible = expectedBlocks(isFree).some((block) => Number(block.split(':')[1]) >= order)
          expect(got >= 0).toBe(possible)
          if (got < 0) continue
          const taken = isFree.subarray(got - START, got - START + (1 << order))
          expect(taken.every((cell) => cell === 1)).toBe(true)
          taken.fill(0)
          held.push({ pfn: pfnOf(got), order })
        }
        expect(freeBlocks(mm)).toEqual(expectedBlocks(isFree))
        verify(mm)
      }
    })
    fc.assert(property, { numRuns: long ? 5000 : 60 })
  })

  test('pageblocks of all types, and types that change, keep every block on the list of its type', () => {
    const types = [
      MIGRATE_UNMOVABLE,
      MIGRATE_MOVABLE,
      MIGRATE_RECLAIMABLE,
      MIGRATE_HIGHATOMIC,
      MIGRATE_CMA,
      MIGRATE_ISOLATE,
    ]
    const changes = fc.array(
      fc.record({
        block: fc.nat(3),
        mt: fc.constantFrom(...types),
        order: fc.integer({ min: 0, max: MAX_PAGE_ORDER }),
      }),
      { maxLength: 40 },
    )
    const unreserved = [nrReservedHighatomicCountsThePageblocks] // here any pageblock may be HIGHATOMIC
    const property = fc.property(changes, (history) => {
      const { mm } = machine('', { blocks: 4, rest: '.' })
      const cpu = new FastCpu()
      const held: Pfn[] = []
      history.forEach(({ block, mt, order }, step) => {
        const at = pfnOf(START + block * pageblock_nr_pages)
        if (step % 3 === 0) moveFreepagesBlockLocked(mm, at, mt)
        if (step % 3 === 0) expect(mm.migratetypeOf(at)).toBe(mt)
        const pfn = allocFromZone(cpu, mm, zone, order, mt)
        if (pfn >= 0) held.push(pfnOf(pfn))
        const last = held.at(step % 2 === 0 ? 0 : -1)
        if (step % 3 === 2 && last !== undefined) putPage(cpu, mm, held.splice(held.indexOf(last), 1)[0])
        verify(mm, unreserved)
      })
      for (const pfn of held) putPage(cpu, mm, pfn)
      verify(mm, unreserved)
    })
    fc.assert(property, { numRuns: long ? 5000 : 100 })
  })

  test('the last freed block is the first to be taken, unless its next buddy is free: then it goes last', () => {
    const { mm } = machine(`${'U'.repeat(8)} U. .. U U U U`)
    const cpu = new FastCpu()
    const list = mm.freeList(0, 0, MIGRATE_MOVABLE)
    expect(listed(mm, list)).toEqual([9])
    putPage(cpu, mm, pfnOf(START + 12))
    putPage(cpu, mm, pfnOf(START + 2))
    expect(listed(mm, list)).toEqual([2, 12, 9])
    // 8 and 9 merge to a block whose buddy, 10 and 11, is free: all four are one block now.
    putPage(cpu, mm, pfnOf(START + 8))
    expect(freeBlocks(mm)).toContain('8:2')
    // 14 would merge with 15 to the buddy of 12 and 13, if 13 and 15 were free: it is not likely.
    putPage(cpu, mm, pfnOf(START + 14))
    expect(listed(mm, list)).toEqual([14, 2, 12])
    const tail = machine(`UU.. U.UU ....`)
    const first = tail.mm.freeList(0, 0, MIGRATE_MOVABLE)
    putPage(cpu, tail.mm, pfnOf(START))
    expect(listed(tail.mm, first)).toEqual([5, 0])
  })

  test('an allocation takes the smallest block that will do, and its first part', () => {
    const { mm } = machine(`........ U... UUUU ${'.'.repeat(16)}`.replace(/ /g, ''))
    const cpu = new FastCpu()
    expect(allocFromZone(cpu, mm, zone, 1, MIGRATE_MOVABLE) - START).toBe(10)
    expect(allocFromZone(cpu, mm, zone, 2, MIGRATE_MOVABLE) - START).toBe(0)
    expect(freeBlocks(mm)).toEqual(['4:2', '9:0', '16:4'])
  })

  test('what a page was is forgotten when it is freed, tails included', () => {
    const { mm } = machine('U=======', { contents: false })
    for (let place = 0; place < 8; place++) mm.mapcount[pfnOf(START + place)] = pageTypeValue(PGTY_slab)
    putPage(new FastCpu(), mm, pfnOf(START))
    expect(freeBlocks(mm)).toEqual(['0:3'])
    verify(mm)
  })

  test('an unevictable page can be freed', () => {
    const { mm } = machine('EEEE')
    zapPte(new FastCpu(), mm, vpnOf(2))
    expect(freeBlocks(mm)).toEqual(['1:0'])
    verify(mm)
  })
})

describe('migratetypes', () => {
  test('a pageblock that changes its type takes its free blocks along, to the end of the lists', () => {
    const { mm } = machine(`${'.U.U'.padEnd(515, 'U')}.U`)
    const mt = (block: number): number => mm.migratetypeOf(pfnOf(START + block * pageblock_nr_pages))
    moveFreepagesBlockLocked(mm, START + 512, MIGRATE_UNMOVABLE)
    expect(moveFreepagesBlockLocked(mm, START + 3, MIGRATE_UNMOVABLE)).toBe(2)
    expect([mt(0), mt(1)]).toEqual([MIGRATE_UNMOVABLE, MIGRATE_UNMOVABLE])
    expect(listed(mm, mm.freeList(0, 0, MIGRATE_UNMOVABLE))).toEqual([515, 0, 2])
    expect(listed(mm, mm.freeList(0, 0, MIGRATE_MOVABLE))).toEqual([])
    mm.pageblock[pageblockAt(START / 512)] |= PB_migrate_skip
    moveFreepagesBlockLocked(mm, START, MIGRATE_MOVABLE)
    expect(mm.pageblock[pageblockAt(START / 512)] & PB_migrate_skip).toBe(PB_migrate_skip)
    verify(mm)
  })

  test('free pages of an isolated pageblock count for nobody, stay apart, and come back', () => {
    const { mm } = machine('', { blocks: 2, rest: '.' })
    expect(freeBlocks(mm)).toEqual(['0:10'])
    moveFreepagesBlockLocked(mm, START + 512, MIGRATE_ISOLATE)
    expect(freeBlocks(mm)).toEqual(['0:9', '512:9'])
    expect(mm.nrFree[zone]).toBe(512)
    verify(mm)
    moveFreepagesBlockLocked(mm, START + 512, MIGRATE_MOVABLE)
    expect([freeBlocks(mm), mm.nrFree[zone]]).toEqual([['0:10'], 1024])
    verify(mm)
  })

  test('a free block of two pageblocks takes the new type as a whole', () => {
    const { mm } = machine('', { blocks: 2, rest: '.' })
    moveFreepagesBlockLocked(mm, START + 512, MIGRATE_UNMOVABLE)
    expect(freeBlocks(mm)).toEqual(['0:10'])
    expect(mm.migratetypeOf(pfnOf(START))).toBe(MIGRATE_UNMOVABLE)
    verify(mm)
  })

  test('pageblocks of different types merge when free, isolated, CMA and reserved ones do not', () => {
    const merges = (mt: number): boolean => {
      const { mm } = machine(`${'U'.padEnd(512, '=')}${'U'.padEnd(512, '=')}`)
      moveFreepagesBlockLocked(mm, START, mt)
      const cpu = new FastCpu()
      putPage(cpu, mm, pfnOf(START))
      putPage(cpu, mm, pfnOf(START + 512))
      verify(mm, [nrReservedHighatomicCountsThePageblocks])
      return freeBlocks(mm).length === 1
    }
    expect([MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE].map(merges)).toEqual([true, true, true])
    expect([MIGRATE_HIGHATOMIC, MIGRATE_CMA, MIGRATE_ISOLATE].map(merges)).toEqual([false, false, false])
  })

  test('a folio of two pageblocks of which one is isolated is freed to both', () => {
    const { mm } = machine('U'.padEnd(1024, '='))
    moveFreepagesBlockLocked(mm, START + 512, MIGRATE_ISOLATE)
    putPage(new FastCpu(), mm, pfnOf(START))
    expect(freeBlocks(mm)).toEqual(['0:9', '512:9'])
    expect(mm.nrFree[zone]).toBe(512)
    verify(mm)
  })

  test('taking half a pageblock makes it movable, unless it must keep its type', () => {
    for (const [mt, after] of [
      [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE],
      [MIGRATE_CMA, MIGRATE_CMA],
    ] as const) {
      const { mm } = machine(`${'.'.repeat(256)}..UU`)
      moveFreepagesBlockLocked(mm, START, mt)
      expect(isolateFreePageLocked(mm, START, 8)).toBe(256)
      expect(mm.migratetypeOf(pfnOf(START))).toBe(after)
      freeFrozenPages(new FastCpu(), mm, pfnOf(START), 8)
      verify(mm)
    }
  })
})

describe('watermarks', () => {
  test('a free block is not isolated if that would leave no more than the min mark', () => {
    const { mm } = machine('........UU..', { watermarks: 2 })
    expect(mm.nrFree[zone]).toBe(10)
    expect(isolateFreePageLocked(mm, START, 3)).toBe(0)
    expect(freeBlocks(mm)).toEqual(['0:3', '10:1'])
    mm.wmarkMin[zone] = 1
    expect(isolateFreePageLocked(mm, START, 3)).toBe(8)
    expect(mm.nrFree[zone]).toBe(2)
  })

  test('what is free in HIGHATOMIC pageblocks does not count for that mark, what is free in CMA ones does', () => {
    const taken = (mt: number): number => {
      const { mm } = machine(`${'.'.repeat(8).padEnd(512, 'U')}........`, { watermarks: 8 })
      moveFreepagesBlockLocked(mm, START + 512, mt)
      return isolateFreePageLocked(mm, START, 2)
    }
    // 16 pages are free, 8 of them in a block of that type; 8 + 4 must stay.
    expect(taken(MIGRATE_MOVABLE)).toBe(4)
    expect(taken(MIGRATE_CMA)).toBe(4)
    expect(taken(MIGRATE_HIGHATOMIC)).toBe(0)
  })

  test('blocks of an isolated pageblock are taken whatever the mark', () => {
    const { mm } = machine('....', { watermarks: 100 })
    moveFreepagesBlockLocked(mm, START, MIGRATE_ISOLATE)
    expect(isolateFreePageLocked(mm, START, 2)).toBe(4)
  })

  test('an allocation may take the zone down to the min mark', () => {
    const { mm } = machine('....U', { watermarks: 2 })
    const cpu = new FastCpu()
    expect(allocFromZone(cpu, mm, zone, 2, MIGRATE_MOVABLE)).toBe(-1)
    expect(allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE)).toBe(START)
    expect(allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE)).toBe(START + 1)
    expect(allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE)).toBe(-1)
    verify(mm)
  })
})

test('blocks that a capture shows merged have one type', () => {
  const { mm } = machine('U', { blocks: 4 })
  moveFreepagesBlockLocked(mm, START + 512, MIGRATE_UNMOVABLE)
  for (let pfn = START; pfn < START + 1024; pfn++) mm.refcount[pfnOf(pfn)] = 0
  addFreeBlock(mm, pfnOf(START), 10)
  expect(mm.migratetypeOf(pfnOf(START + 512))).toBe(MIGRATE_MOVABLE)
  verify(mm)
})
