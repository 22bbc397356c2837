/** General pin information: what S3-9 asks of it, and the interval tree against a naive table. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { pfnOf } from '../base/units.ts'
import { EAGAIN, EEXIST, EINVAL, ENOMEM } from '../mm/limits.ts'
import type { Mm } from '../mm/page.ts'
import { machineOf } from '../testing/machine.ts'
import { POOL_CELLS } from './page_pool.ts'
import { createPinInfo, type PinInfo, type PinInfoSize, pinInfoCells, pinRanges } from './pin_info.ts'

const cpu = new FastCpu()

function infoOf(size: PinInfoSize): { mm: Mm; info: PinInfo } {
  const { mm } = machineOf('|U|', { ownerCells: pinInfoCells(size) })
  const info = createPinInfo(mm, POOL_CELLS, size)
  expect(info.create(cpu, mm)).toBe(0)
  return { mm, info }
}

test('S3-9 add: 0, -ENOMEM or that it is there; del: 0, or -EINVAL when absent, and its node is free; find', () => {
  const { mm, info } = infoOf({ ranges: 2, groups: 0 })
  const add = (pfn: number): number => info.addPage(cpu, mm, pfnOf(pfn), 0, 0)
  const del = (pfn: number): number => info.delPage(cpu, mm, pfnOf(pfn))
  for (let round = 0; round < 100; round++) {
    expect([add(10), add(10), add(20), add(30)]).toEqual([0, -EEXIST, 0, -ENOMEM])
    expect([info.findPage(cpu, mm, pfnOf(20)), info.findPage(cpu, mm, pfnOf(30))]).toEqual([true, false])
    expect([del(30), del(10), del(10), del(20)]).toEqual([-EINVAL, 0, -EINVAL, 0])
  }
  expect(pinRanges(mm, POOL_CELLS, 0, 1000)).toEqual([])
})

test('a run of pages whose numbers go on is one node, of its group; a hole makes two', () => {
  const { mm, info } = infoOf({ ranges: 4, groups: 2 })
  const ranges = (): string[] =>
    pinRanges(mm, POOL_CELLS, 0, 1000).map(
      ({ start, end, group, data }) => `${start}-${end} of ${group}: ${data}`,
    )
  for (const pfn of [12, 10, 11, 13]) info.addPage(cpu, mm, pfnOf(pfn), 1, pfn)
  expect(ranges()).toEqual(['10-14 of 1: 10'])
  info.addPage(cpu, mm, pfnOf(14), 2, 14)
  info.addPage(cpu, mm, pfnOf(15), 2, 99)
  expect(ranges()).toEqual(['10-14 of 1: 10', '14-15 of 2: 14', '15-16 of 2: 99'])
  expect(info.delPage(cpu, mm, pfnOf(12))).toBe(0)
  expect(ranges()).toEqual(['10-12 of 1: 10', '13-14 of 1: 13', '14-15 of 2: 14', '15-16 of 2: 99'])
  expect(info.delPage(cpu, mm, pfnOf(15))).toBe(0)
  expect(info.addPage(cpu, mm, pfnOf(12), 1, 12)).toBe(0)
  expect(ranges()).toEqual(['10-14 of 1: 10', '14-15 of 2: 14'])
})

test('a move has its nodes reserved: what joins meanwhile cannot take them', () => {
  const { mm, info } = infoOf({ ranges: 3, groups: 1 })
  for (const pfn of [10, 11, 12]) info.addPage(cpu, mm, pfnOf(pfn), 1, pfn)
  const reserved = info.beginMove(cpu, mm, pfnOf(11))
  expect(reserved).toBe(2)
  expect(info.beginMove(cpu, mm, pfnOf(12))).toBe(-EAGAIN)
  expect(info.addPage(cpu, mm, pfnOf(13), 1, 13)).toBe(-EAGAIN)
  expect(info.addPage(cpu, mm, pfnOf(50), 0, 0)).toBe(-ENOMEM)
  for (const [src, dst] of [
    [11, 30],
    [12, 40],
    [10, 20],
  ]) {
    info.movePage(cpu, mm, pfnOf(dst), pfnOf(src))
  }
  info.endMove(cpu, mm, pfnOf(20), reserved)
  expect(pinRanges(mm, POOL_CELLS, 0, 1000).map(({ start, data }) => [start, data])).toEqual([
    [20, 10],
    [30, 11],
    [40, 12],
  ])
  expect(info.addPage(cpu, mm, pfnOf(13), 1, 13)).toBe(-ENOMEM)
  expect(info.addPage(cpu, mm, pfnOf(41), 1, 13)).toBe(0)
})

type Op =
  | { readonly op: 'add'; readonly pfn: number; readonly group: number; readonly data: number }
  | { readonly op: 'del'; readonly pfn: number }
  | { readonly op: 'move'; readonly which: number; readonly to: readonly number[] }

const pfns = fc.integer({ min: 1, max: 40 })
const ops = fc.oneof(
  fc.record({
    op: fc.constant('add' as const),
    pfn: pfns,
    group: fc.nat(2),
    data: fc.integer({ min: 0, max: 45 }),
  }),
  // As a ring does it: page n has number n.
  pfns.chain((pfn) => fc.constant({ op: 'add' as const, pfn, group: 1, data: pfn })),
  fc.record({ op: fc.constant('del' as const), pfn: pfns }),
  fc.record({
    op: fc.constant('move' as const),
    which: fc.nat(100),
    to: fc.uniqueArray(fc.integer({ min: 41, max: 80 }), { minLength: 12, maxLength: 12 }),
  }),
)

test('pages, groups and data are those of a naive table, after every operation', () => {
  fc.assert(
    fc.property(
      fc.array(ops, { maxLength: 80, size: 'max' }),
      fc.integer({ min: 1, max: 12 }),
      (history, ranges) => {
        const { mm, info } = infoOf({ ranges, groups: 2 })
        const table = new Map<number, { group: number; data: number }>()
        for (const op of history) {
          apply(mm, info, table, op)
          const seen = new Map<number, { group: number; data: number }>()
          for (const range of pinRanges(mm, POOL_CELLS, 0, 1000)) {
            for (let pfn = range.start; pfn < range.end; pfn = pfnOf(pfn + 1))
              seen.set(pfn, { group: range.group, data: range.data + pfn - range.start })
          }
          expect([...seen].sort(([a], [b]) => a - b)).toEqual([...table].sort(([a], [b]) => a - b))
          for (const pfn of table.keys()) expect(circle(mm, info, pfn)).toEqual(groupIn(table, pfn))
        }
      },
    ),
    { numRuns: 200 },
  )
})

const groupIn = (table: Map<number, { group: number }>, pfn: number): number[] => {
  const group = table.get(pfn)?.group ?? 0
  return group === 0
    ? [pfn]
    : [...table]
        .filter(([, at]) => at.group === group)
        .map(([at]) => at)
        .sort((a, b) => a - b)
}

function circle(mm: Mm, info: PinInfo, pfn: number): number[] {
  const pages = [pfn]
  for (let at = info.nextOfGroup(cpu, mm, pfnOf(pfn)); at !== pfn; at = info.nextOfGroup(cpu, mm, at)) {
    pages.push(at)
    expect(pages.length).toBeLessThan(100)
  }
  return pages.sort((a, b) => a - b)
}

function apply(mm: Mm, info: PinInfo, table: Map<number, { group: number; data: number }>, op: Op): void {
  if (op.op === 'add') {
    const rc = info.addPage(cpu, mm, pfnOf(op.pfn), op.group, op.data)
    expect(rc === -EEXIST).toBe(table.has(op.pfn))
    expect([0, -EEXIST, -ENOMEM]).toContain(rc)
    if (rc === 0) table.set(op.pfn, { group: op.group, data: op.data })
  } else if (op.op === 'del') {
    const rc = info.delPage(cpu, mm, pfnOf(op.pfn))
    expect(rc === -EINVAL).toBe(!table.has(op.pfn))
    expect([0, -EINVAL, -ENOMEM]).toContain(rc)
    if (rc === 0) table.delete(op.pfn)
  } else if (table.size > 0) {
    move(mm, info, table, [...table.keys()][op.which % table.size], op.to)
  }
}

/** Moves a page's group to pages that are free, in the order in which a mover finds it. */
function move(
  mm: Mm,
  info: PinInfo,
  table: Map<number, { group: number; data: number }>,
  first: number,
  to: readonly number[],
): void {
  const targets = to.filter((pfn) => !table.has(pfn))
  const pages = [first]
  for (let at = info.nextOfGroup(cpu, mm, pfnOf(first)); at !== first; at = info.nextOfGroup(cpu, mm, at)) {
    pages.push(at)
  }
  if (pages.length > targets.length) return
  const reserved = info.beginMove(cpu, mm, pfnOf(first))
  if (reserved < 0) {
    expect(reserved).toBe(-ENOMEM)
    return
  }
  pages.forEach((src, i) => {
    const was = table.get(src) ?? { group: 0, data: 0 }
    expect(info.dataOf(cpu, mm, pfnOf(src))).toBe(was.data)
    info.movePage(cpu, mm, pfnOf(targets[i]), pfnOf(src))
    table.delete(src)
    table.set(targets[i], was)
  })
  info.endMove(cpu, mm, pfnOf(targets[0]), reserved)
}
