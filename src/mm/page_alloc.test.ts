/**
 * The buddy allocator against a model that only knows which pages are free; the per-cpu lists by the rules
 * of two kernels; migratetypes, watermarks, order of lists.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { cpuIdOf, type Pfn, pageblockAt, pfnOf, vpnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { type KernelRules, type Mm, type PcpSpec, RULES_6_1, RULES_6_18 } from './index.ts'
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
import { PB_migrate_skip } from './page.ts'
import {
  addFreeBlock,
  allocPages,
  drainPagesZone,
  freeFrozenPages,
  isBuddy,
  isolateFreePageLocked,
  putPage,
  setPageblockMigratetypeLocked,
} from './page_alloc.ts'
import { zapPte } from './rmap.ts'
import { verify } from './verify.ts'

const zone = zoneIdOf(0)
const START = 1024
const long = process.env['DROVER_FUZZ'] === '1'

const machine = (picture: string, more: Parameters<typeof machineOf>[1] = {}): TestMachine =>
  machineOf(picture, { start: START, ...more })

/** Free blocks of the machine as `pfn:order`, places relative to the zone. */
function freeBlocks(mm: Mm): string[] {
  const found: string[] = []
  for (let pfn = pfnOf(0); pfn < mm.pfnCount; pfn = pfnOf(pfn + 1)) {
    if (isBuddy(mm.mapcount[pfn])) found.push(`${pfn - START}:${mm.private[pfn]}`)
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
          const got = allocPages(cpu, mm, zone, order, MIGRATE_MOVABLE)
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
    const property = fc.property(changes, (history) => {
      const { mm } = machine('', { blocks: 4, rest: '.' })
      const cpu = new FastCpu()
      const held: Pfn[] = []
      history.forEach(({ block, mt, order }, step) => {
        const at = pfnOf(START + block * pageblock_nr_pages)
        if (step % 3 === 0) setPageblockMigratetypeLocked(mm, at, mt)
        if (step % 3 === 0) expect(mm.migratetypeOf(at)).toBe(mt)
        const pfn = allocPages(cpu, mm, zone, order, mt)
        if (pfn >= 0) held.push(pfnOf(pfn))
        const last = held.at(step % 2 === 0 ? 0 : -1)
        if (step % 3 === 2 && last !== undefined) putPage(cpu, mm, held.splice(held.indexOf(last), 1)[0])
        verify(mm)
      })
      for (const pfn of held) putPage(cpu, mm, pfn)
      verify(mm)
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
    expect(allocPages(cpu, mm, zone, 1, MIGRATE_MOVABLE) - START).toBe(10)
    expect(allocPages(cpu, mm, zone, 2, MIGRATE_MOVABLE) - START).toBe(0)
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
    setPageblockMigratetypeLocked(mm, START + 512, MIGRATE_UNMOVABLE)
    expect(setPageblockMigratetypeLocked(mm, START + 3, MIGRATE_UNMOVABLE)).toBe(2)
    expect([mt(0), mt(1)]).toEqual([MIGRATE_UNMOVABLE, MIGRATE_UNMOVABLE])
    expect(listed(mm, mm.freeList(0, 0, MIGRATE_UNMOVABLE))).toEqual([515, 0, 2])
    expect(listed(mm, mm.freeList(0, 0, MIGRATE_MOVABLE))).toEqual([])
    mm.pageblock[pageblockAt(START / 512)] |= PB_migrate_skip
    setPageblockMigratetypeLocked(mm, START, MIGRATE_MOVABLE)
    expect(mm.pageblock[pageblockAt(START / 512)] & PB_migrate_skip).toBe(PB_migrate_skip)
    verify(mm)
  })

  test('free pages of an isolated pageblock count for nobody, stay apart, and come back', () => {
    const { mm } = machine('', { blocks: 2, rest: '.' })
    expect(freeBlocks(mm)).toEqual(['0:10'])
    setPageblockMigratetypeLocked(mm, START + 512, MIGRATE_ISOLATE)
    expect(freeBlocks(mm)).toEqual(['0:9', '512:9'])
    expect(mm.nrFree[zone]).toBe(512)
    verify(mm)
    setPageblockMigratetypeLocked(mm, START + 512, MIGRATE_MOVABLE)
    expect([freeBlocks(mm), mm.nrFree[zone]]).toEqual([['0:10'], 1024])
    verify(mm)
  })

  test('a free block of two pageblocks takes the new type as a whole', () => {
    const { mm } = machine('', { blocks: 2, rest: '.' })
    setPageblockMigratetypeLocked(mm, START + 512, MIGRATE_UNMOVABLE)
    expect(freeBlocks(mm)).toEqual(['0:10'])
    expect(mm.migratetypeOf(pfnOf(START))).toBe(MIGRATE_UNMOVABLE)
    verify(mm)
  })

  test('pageblocks of different types merge when free, isolated, CMA and reserved ones do not', () => {
    const merges = (mt: number): boolean => {
      const { mm } = machine(`${'U'.padEnd(512, '=')}${'U'.padEnd(512, '=')}`)
      setPageblockMigratetypeLocked(mm, START, mt)
      const cpu = new FastCpu()
      putPage(cpu, mm, pfnOf(START))
      putPage(cpu, mm, pfnOf(START + 512))
      verify(mm)
      return freeBlocks(mm).length === 1
    }
    expect([MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE].map(merges)).toEqual([true, true, true])
    expect([MIGRATE_HIGHATOMIC, MIGRATE_CMA, MIGRATE_ISOLATE].map(merges)).toEqual([false, false, false])
  })

  test('a folio of two pageblocks of which one is isolated is freed to both', () => {
    const { mm } = machine('U'.padEnd(1024, '='))
    setPageblockMigratetypeLocked(mm, START + 512, MIGRATE_ISOLATE)
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
      setPageblockMigratetypeLocked(mm, START, mt)
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

  test('blocks of an isolated pageblock are taken whatever the mark', () => {
    const { mm } = machine('....', { watermarks: 100 })
    setPageblockMigratetypeLocked(mm, START, MIGRATE_ISOLATE)
    expect(isolateFreePageLocked(mm, START, 2)).toBe(4)
  })

  test('an allocation may take the zone down to the min mark', () => {
    const { mm } = machine('....U', { watermarks: 2 })
    const cpu = new FastCpu()
    expect(allocPages(cpu, mm, zone, 2, MIGRATE_MOVABLE)).toBe(-1)
    expect(allocPages(cpu, mm, zone, 0, MIGRATE_MOVABLE)).toBe(START)
    expect(allocPages(cpu, mm, zone, 0, MIGRATE_MOVABLE)).toBe(START + 1)
    expect(allocPages(cpu, mm, zone, 0, MIGRATE_MOVABLE)).toBe(-1)
    verify(mm)
  })
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
    expect(allocPages(cpu, old.mm, zone, 0, MIGRATE_MOVABLE)).toBe(START + 2 * 44)
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
    expect(allocPages(cpu, mm, zone, 0, MIGRATE_MOVABLE) - START).toBe(6)
    verify(mm)
  })

  test('a page of an isolated pageblock goes past them, one of a CMA or reserved pageblock counts as movable', () => {
    const { mm } = inUse(RULES_6_18, { high: 64, highMin: 64, highMax: 64, batch: 4 })
    const cpu = new FastCpu()
    const pcp = mm.pcpOf(zone, cpu.id)
    setPageblockMigratetypeLocked(mm, START, MIGRATE_ISOLATE)
    putPage(cpu, mm, pfnOf(START))
    expect([mm.pcpCount[pcp], freeBlocks(mm)]).toEqual([0, ['0:0']])
    setPageblockMigratetypeLocked(mm, START, MIGRATE_CMA)
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
        allocPages(cpu, mm, zone, 0, MIGRATE_MOVABLE)
        if (mm.nrFree[zone] < free) seen.push(free - mm.nrFree[zone])
      }
      verify(mm)
      return seen.slice(0, 4)
    }
    expect(refills(RULES_6_1)).toEqual([4, 4, 4, 4])
    expect(refills(RULES_6_18)).toEqual([4, 8, 16, 32])
  })
})

test('blocks that a capture shows merged have one type', () => {
  const { mm } = machine('U', { blocks: 4 })
  setPageblockMigratetypeLocked(mm, START + 512, MIGRATE_UNMOVABLE)
  for (let pfn = START; pfn < START + 1024; pfn++) mm.refcount[pfnOf(pfn)] = 0
  addFreeBlock(mm, pfnOf(START), 10)
  expect(mm.migratetypeOf(pfnOf(START + 512))).toBe(MIGRATE_MOVABLE)
  verify(mm)
})
