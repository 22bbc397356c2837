/** Symmetry: copies and declared permutations leave out states, no ends; a declaration that is none is refused. */

import { describe, expect, test } from 'vitest'
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

test('a declaration is not looked at when symmetry is off', () => {
  expect(explored(systemOf([0, 1], left, right), false).verdict).toBe('pass')
})
