/** The interval tree against a naive list of ranges, and its balance. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  endOf,
  firstMeetingLocked,
  freeNodesLocked,
  initTreeLocked,
  insertRangeLocked,
  intervalTreeCells,
  nextMeetingLocked,
  payloadOf,
  removeRangeLocked,
  resizeRangeLocked,
  setPayload,
  startOf,
  treeDepthLocked,
} from './interval_tree.ts'

const AT = 5
const treeOf = (capacity: number): { cells: Int32Array; tree: number } => {
  const cells = new Int32Array(AT + intervalTreeCells(capacity) + 1).fill(-7)
  initTreeLocked(cells, AT, capacity)
  return { cells, tree: AT }
}

function meeting(cells: Int32Array, tree: number, from: number, to: number): [number, number][] {
  const found: [number, number][] = []
  let node = firstMeetingLocked(cells, tree, from, to)
  while (node !== 0) {
    found.push([startOf(cells, tree, node), endOf(cells, tree, node)])
    node = nextMeetingLocked(cells, tree, node, from, to)
  }
  return found
}

const byStart = (a: readonly [number, number], b: readonly [number, number]): number =>
  a[0] - b[0] || a[1] - b[1]

test('what meets a range, in the order of starts: as a naive list has it, after every insertion and removal', () => {
  const op = fc.record({
    insert: fc.boolean(),
    start: fc.nat(40),
    length: fc.integer({ min: 1, max: 12 }),
    which: fc.nat(),
  })
  fc.assert(
    fc.property(fc.array(op, { maxLength: 60, size: 'max' }), (ops) => {
      const { cells, tree } = treeOf(16)
      const naive: { node: number; start: number; end: number }[] = []
      for (const { insert, start, length, which } of ops) {
        if (insert) {
          const node = insertRangeLocked(cells, tree, start, start + length)
          expect(node !== 0).toBe(naive.length < 16)
          if (node !== 0) naive.push({ node, start, end: start + length })
        } else if (naive.length > 0) {
          const [{ node }] = naive.splice(which % naive.length, 1)
          removeRangeLocked(cells, tree, node)
        }
        expect(freeNodesLocked(cells, tree)).toBe(16 - naive.length)
        for (const [from, to] of [
          [0, 60],
          [start, start + 1],
          [start + length, start + length + 3],
        ] as const) {
          const expected = naive
            .filter((range) => range.start < to && range.end > from)
            .map((range): [number, number] => [range.start, range.end])
          const found = meeting(cells, tree, from, to)
          expect(found.map(([first]) => first)).toEqual(found.map(([first]) => first).sort((a, b) => a - b))
          expect(found.sort(byStart)).toEqual(expected.sort(byStart))
        }
      }
      expect([cells[AT - 1], cells.at(-1)]).toEqual([-7, -7]) // its neighbours
    }),
  )
})

test('a range changes its ends in its place, and keeps its payload', () => {
  const { cells, tree } = treeOf(3)
  const [low, high] = [insertRangeLocked(cells, tree, 10, 14), insertRangeLocked(cells, tree, 20, 22)]
  setPayload(cells, tree, low, 1, 99)
  resizeRangeLocked(cells, tree, low, 8, 20)
  expect(meeting(cells, tree, 19, 21)).toEqual([
    [8, 20],
    [20, 22],
  ])
  expect(payloadOf(cells, tree, low, 1)).toBe(99)
  removeRangeLocked(cells, tree, high)
  expect(meeting(cells, tree, 20, 30)).toEqual([])
})

test('the order of insertion does not make it deep: 4,096 ascending ranges in fewer than 40 levels', () => {
  const { cells, tree } = treeOf(4096)
  for (let i = 0; i < 4096; i++) expect(insertRangeLocked(cells, tree, 3 * i, 3 * i + 2)).not.toBe(0)
  expect(treeDepthLocked(cells, tree)).toBeLessThan(40)
  expect(insertRangeLocked(cells, tree, 0, 1)).toBe(0)
  expect(meeting(cells, tree, 300, 307)).toEqual([
    [300, 302],
    [303, 305],
    [306, 308],
  ])
})
