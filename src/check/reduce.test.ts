/**
 * Persistent sets: what they may not leave out.
 *
 * The random systems (random_systems.test.ts) are too small for what is seen in a rare state only, so that the first
 * look misses it: here the rare state is three short pulses that are up together.
 */

import { describe, expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { check, DEFAULTS } from './check.ts'
import { hasCycle } from './reduce.ts'
import type { System, Task, Where } from './system.ts'

interface Shared {
  readonly x: Int32Array
  readonly own: Int32Array
}

const STEPS = 24

/** Sets its cell to 2 and back to 0, after `before` steps of its own. */
const pulse = (cell: number, before: number): Task<Shared> => ({
  name: `pulse ${cell}`,
  run: (cpu, { x, own }) => {
    for (let i = 0; i < before; i++) cpu.load(own, cell)
    cpu.store(x, cell, 2)
    cpu.store(x, cell, 0)
    for (let i = before; i < STEPS; i++) cpu.load(own, cell)
  },
})
const blink: Task<Shared> = {
  name: 'blink',
  run: (cpu, { x }) => {
    cpu.store(x, 3, 1)
    cpu.store(x, 3, 0)
  },
}
const allUp = ({ x }: Shared): boolean => x[0] === 2 && x[1] === 2 && x[2] === 2
const pulses = (...more: readonly Task<Shared>[]): System<Shared> => ({
  name: 'pulses',
  state: { x: new Int32Array(4), own: new Int32Array(4) },
  tasks: [pulse(0, 0), pulse(1, STEPS / 2), pulse(2, STEPS), blink, ...more],
})
const lookLocked = (s: Shared): number => (allUp(s) && s.x[3] === 1 ? 1 : 0)
const markLocked = (s: Shared): number => {
  if (allUp(s)) s.x[3] = 5
  return 0
}

describe.each([1, 2, 3])('seed %i: what is read or written in a rare state only', (seed) => {
  const verdicts = (system: System): string[] =>
    [false, true].map(
      (persistentSets) => check(system, { ...DEFAULTS, liveness: false, seed, persistentSets }).verdict,
    )

  test('by an invariant', () => {
    const invariant = {
      name: 'dark',
      says: 'dark when all are up',
      holds: (s: Shared) => !allUp(s) || s.x[3] === 0,
    }
    expect(verdicts({ ...pulses(), invariants: [invariant] })).toEqual(['violated', 'violated'])
  })

  test('by a section that reads it', () => {
    const run = (cpu: Cpu, s: Shared): number => cpu.atomically(s.own, 3, 1, lookLocked, s, 0, 0, 0)
    const atEnd = {
      name: 'unseen',
      says: 'nobody looks then',
      holds: (_: Shared, where: Where) => where.results('looker')[0] !== 1,
    }
    expect(verdicts({ ...pulses({ name: 'looker', run }), atEnd: [atEnd] })).toEqual(['violated', 'violated'])
  })

  test('by a section that writes it', () => {
    const run = (cpu: Cpu, s: Shared): number => cpu.atomically(s.own, 3, 1, markLocked, s, 0, 0, 0)
    const reader: Task<Shared> = { name: 'reader', run: (cpu, { x }) => cpu.load(x, 3) }
    const atEnd = {
      name: 'unmarked',
      says: 'nobody reads the mark',
      holds: (_: Shared, where: Where) => where.results('reader')[0] !== 5,
    }
    expect(verdicts({ ...pulses({ name: 'marker', run }, reader), atEnd: [atEnd] })).toEqual([
      'violated',
      'violated',
    ])
  })
})

test('a task that goes round for ever does not keep the others from being looked at', () => {
  const system: System<Shared> = {
    name: 'for ever',
    state: { x: new Int32Array(2), own: new Int32Array(1) },
    tasks: [
      {
        name: 'round',
        run: (cpu, { own }) => {
          for (;;) {
            cpu.at('round')
            cpu.load(own, 0)
          }
        },
      },
      {
        name: 'wrong',
        run: (cpu, { x }) => {
          cpu.load(x, 1)
          cpu.decAndTest(x, 0)
        },
      },
    ],
  }
  const { verdict, counterexample } = check(system, { ...DEFAULTS, liveness: false })
  expect([verdict, counterexample?.schedule]).toEqual(['violated', [1, 1]])
})

test('cycles of a graph', () => {
  expect(hasCycle([[1], [2], []])).toBe(false)
  expect(hasCycle([[1, 2], [2], []])).toBe(false)
  expect(hasCycle([[1], [2], [1]])).toBe(true)
  expect(hasCycle([[0]])).toBe(true)
  expect(hasCycle([])).toBe(false)
})
