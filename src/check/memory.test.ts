/** Cells and the view: one cell however it is reached, and nothing is touched unless something runs. */

import { expect, test } from 'vitest'
import { type Access, type Cell, Memory } from './memory.ts'

class Counted {
  readonly count = new Int32Array(2)
  readonly name = 'counted'
  get first(): number {
    return this.count[0]
  }
}

/** Answers every read with the number of the cell plus 100, and remembers the writes. */
class Noting implements Access {
  readonly writes: (readonly [Cell, number])[] = []
  read(cell: Cell): number {
    return cell + 100
  }
  write(cell: Cell, value: number): void {
    this.writes.push([cell, value])
  }
}

test('two views of one memory have the same cells, two memories have not', () => {
  const buffer = new ArrayBuffer(16)
  const all = new Int32Array(buffer)
  const half = new Int32Array(buffer, 8, 2)
  const other = new Int32Array(4)
  const memory = new Memory({ all, half, other })
  const cell = memory.cellOf(all, 2)
  expect(memory.cellOf(half, 0)).toBe(cell)
  expect(memory.cellOf(other, 2)).not.toBe(cell)
  expect([memory.find('all', 2), memory.find('half', 0)]).toEqual([cell, cell])
  expect([memory.nameOf(cell), memory.cells.length]).toEqual(['all[2]', 2])
})

test('a column is the same by way of the state and by way of the view', () => {
  const state = { x: new Int32Array([7, 8]) }
  const memory = new Memory(state)
  const cell = memory.cellOf(state.x, 1)
  expect(memory.cellOf(memory.view.x, 1)).toBe(cell)
  expect(memory.cells[cell]).toEqual({ column: 'x', index: 1, initial: 8 })
})

test('the state may be nested, have classes, and refer to itself', () => {
  const inner = new Counted()
  const state: { inner: Counted; again: Counted; self: object; limit: number } = {
    inner,
    again: inner,
    self: {},
    limit: 5,
  }
  state.self = state
  const memory = new Memory(state)
  const { view } = memory
  expect([view.limit, view.inner.name, view.inner instanceof Counted]).toEqual([5, 'counted', true])
  expect(view.again).toBe(view.inner)
  expect(view.self).toBe(view)
  memory.access = new Noting()
  expect(view.inner.first).toBe(memory.cellOf(inner.count, 0) + 100)
})

test('reads and writes of the view go to whatever runs, and the state stays as it is', () => {
  const state = { x: new Int32Array(3) }
  const memory = new Memory(state)
  const access = new Noting()
  memory.access = access
  const { x } = memory.view
  x[2] = 2 ** 32 + 9
  x[2] += 1
  const cell = memory.cellOf(state.x, 2)
  expect(access.writes).toEqual([
    [cell, 9],
    [cell, cell + 101],
  ])
  expect([...state.x]).toEqual([0, 0, 0])
})

test('a column of the view knows its length and its indices, nothing else', () => {
  const memory = new Memory({ x: new Int32Array(3) })
  memory.access = new Noting()
  const { x } = memory.view
  expect([x.length, x[3], x[-1]]).toEqual([3, undefined, undefined])
  expect(() => {
    x[3] = 1
  }).toThrow('a cell is written by its index')
})

test('nothing runs, so nothing touches a cell', () => {
  const memory = new Memory({ x: new Int32Array(3) })
  expect(() => memory.view.x[0]).toThrow('used by what the checker runs only')
  expect(() => {
    memory.view.x[0] = 1
  }).toThrow('used by what the checker runs only')
})

test('cells are cells of the state, and indices those of their column', () => {
  const memory = new Memory({ x: new Int32Array(3) })
  expect(() => memory.cellOf(new Int32Array(3), 0)).toThrow('belong to the state')
  expect(() => memory.cellOf(memory.view.x, 3)).toThrow('the index is one of the column')
  expect([memory.find('x', 3), memory.find('y', 0)]).toEqual([-1, -1])
})
