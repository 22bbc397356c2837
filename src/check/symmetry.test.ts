/** Symmetry: copies and declared permutations leave out states, no ends; a declaration that is none is refused. */

import { describe, expect, test } from 'vitest'
import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { check, DEFAULTS, type Report } from './check.ts'
import type { Symmetry, System, Task } from './system.ts'

interface Shared {
  readonly x: Int32Array
  readonly shared: Int32Array
}

const swap: Symmetry = {
  name: 'swap',
  cell: (column, index) => (column === 'x' ? 1 - index : index),
  tasks: { left: 'right', right: 'left' },
}
const systemOf = (first: readonly number[], ...tasks: readonly Task<Shared>[]): System<Shared> => ({
  name: 'symmetry',
  state: { x: Int32Array.from(first), shared: new Int32Array(1) },
  tasks,
  symmetries: [swap],
})
const explored = (system: System, symmetry: boolean): Report =>
  check(system, { ...DEFAULTS, persistentSets: false, liveness: false, symmetry })

/** Takes its cell if nobody was quicker. */
const taker =
  (cell: number) =>
  (cpu: Cpu, { x, shared }: Shared): void => {
    if (cpu.cas(shared, 0, 0, 1)) cpu.store(x, cell, 1)
  }
const left: Task<Shared> = { name: 'left', run: taker(0) }
const right: Task<Shared> = { name: 'right', run: taker(1) }

test('one of two states that are mirror images is kept, both ends are told', () => {
  // Places (before, won, lost, done): (0,0); one won; won and lost; done; done and lost. All but the first have an
  // image: 1 + 2 * 4 = 9.
  const all = explored(systemOf([0, 0], left, right), false)
  const half = explored(systemOf([0, 0], left, right), true)
  expect([all.verdict, all.states, half.verdict, half.states]).toEqual(['pass', 9, 'pass', 5])
  const ends = new Set(['shared[0]=1 x[0]=1 | -1 -1', 'shared[0]=1 x[1]=1 | -1 -1'])
  expect([all.ends, half.ends]).toEqual([ends, ends])
})

describe('a declaration that is none is refused', () => {
  test('if partners take different steps', () => {
    const other: Task<Shared> = { name: 'right', run: (cpu, { x }) => cpu.add(x, 1, 1) }
    expect(() => explored(systemOf([0, 0], left, other), true)).toThrow('they take different steps')
  })

  test('if a third task tells the two apart', () => {
    const partial: Task<Shared> = { name: 'partial', run: (cpu, { x }) => cpu.store(x, 0, 2) }
    expect(() => explored(systemOf([0, 0], left, right, partial), true)).toThrow('they take different steps')
  })

  test('if there is no such partner, or one of more copies', () => {
    const two: Task<Shared> = { ...right, copies: 2 }
    expect(() => explored(systemOf([0, 0], left), true)).toThrow('a partner right that is not like it')
    expect(() => explored(systemOf([0, 0], left, two), true)).toThrow('a partner right that is not like it')
  })
})

/** Pages on a list are never alike in the beginning: one is first. Verdicts hold all the same, ends up to the exchange. */
test('the two may begin unlike: the ends are told up to the exchange', () => {
  const plain = explored(systemOf([0, 1], left, right), false)
  const reduced = explored(systemOf([0, 1], left, right), true)
  expect(reduced.verdict).toBe(plain.verdict)
  for (const end of plain.ends) expect(reduced.ends.has(end)).toBe(true)
})

describe('what is declared alike and is not', () => {
  interface Cells {
    readonly x: Int32Array
    readonly c: Int32Array
  }
  const mirror: Symmetry = { name: 'mirror', cell: (_, index) => 1 - index, tasks: { t0: 't1', t1: 't0' } }
  const pair = (
    run: (cpu: Cpu, cells: Cells, i: number) => unknown,
    more: Partial<System<Cells>> = {},
  ): System<Cells> => ({
    name: 'pair',
    state: { x: new Int32Array(2), c: Int32Array.from([1, 0]) },
    tasks: [0, 1].map((i) => ({ name: `t${i}`, run: (cpu, cells) => run(cpu, cells, i) })),
    symmetries: [mirror],
    ...more,
  })

  test('cells that never change and differ', () => {
    const system = pair((cpu, { x, c }, i) => cpu.store(x, i, cpu.load(c, i)))
    expect(() => check(system)).toThrow('never change and are not alike')
  })

  test('ends: one of the two returns something else, or breaks an assertion', () => {
    const returns = pair((cpu, { x }, i) => {
      cpu.store(x, 1 - i, 1)
      const v = cpu.load(x, i)
      return i === 0 ? 0 : v
    })
    expect(() => check(returns)).toThrow('they take different steps')
    const asserts = pair((cpu, { x }, i) => {
      cpu.store(x, i, 1)
      assert(i === 0, 'the second one fails')
    })
    expect(() => check(asserts)).toThrow('they take different steps')
  })

  test('a map of values with which the steps do not go together', () => {
    const other = (value: number): number => (value === 1 ? 2 : value === 2 ? 1 : value)
    const system = pair(
      (cpu, { x }, i) => {
        cpu.store(x, 0, i + 1)
        cpu.testSet(x, 0, 1)
      },
      {
        symmetries: [
          { ...mirror, cell: (_, index) => index, value: (_column, _index, value) => other(value) },
        ],
      },
    )
    expect(() => check(system)).toThrow('they take different steps')
  })

  test('tasks that do not change places, cells that become one, and interrupts of one only', () => {
    const run = (cpu: Cpu, { x }: Cells, i: number): void => cpu.store(x, i, 1)
    const half = pair(run, { symmetries: [{ ...mirror, tasks: { t0: 't1' } }] })
    expect(() => check(half)).toThrow('gives two tasks the same partner')
    const one = pair(run, { symmetries: [{ ...mirror, cell: () => 0 }] })
    expect(() => check(one)).toThrow('a symmetry makes two cells one')
    const nowhere = pair(run, { symmetries: [{ ...mirror, cell: (_, index) => index + 7 }] })
    expect(() => check(nowhere)).toThrow('names no cell for')
    const tasks = [...pair(run).tasks, { name: 'irq', interrupts: 't0', run: () => 0 }]
    expect(() => check({ ...pair(run), tasks })).toThrow('does not take along which task irq interrupts')
  })
})

test('a declaration is not looked at when symmetry is off', () => {
  expect(explored(systemOf([0, 1], left, right), false).verdict).toBe('pass')
})
