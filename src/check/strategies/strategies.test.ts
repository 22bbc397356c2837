/** The strategies that follow one schedule at a time, on small systems with known answers. */

import { expect, test } from 'vitest'
import type { Cpu } from '../../base/cpu.ts'
import { type OwnerColumn, ownerCellOf } from '../../base/units.ts'
import { check, DEFAULTS } from '../check.ts'
import { explain } from '../counterexample.ts'
import { Learned } from '../learned.ts'
import type { System } from '../system.ts'
import { CONTEXT_BOUND, contextBound } from './context_bound.ts'
import { DPOR, dpor } from './dpor.ts'
import { PCT, pct } from './pct.ts'
import { RANDOM } from './random.ts'

interface Cells {
  readonly n: OwnerColumn
  readonly lock: OwnerColumn
}

const A = ownerCellOf(0)
const budget = { schedules: 20_000, stepsMax: 1000, seed: 1 }

const cells = (): Cells => ({ n: new Int32Array(3), lock: new Int32Array(2) })

/** Two tasks that each read and write a counter; `locked` makes that right. */
const counter = (locked: boolean): System<Cells> => ({
  name: 'counter',
  state: cells(),
  tasks: ['one', 'two'].map((name) => ({
    name,
    run: (cpu: Cpu, { n, lock }: Cells): void => {
      if (locked) cpu.lock(lock, A, 1)
      cpu.store(n, A, cpu.load(n, A) + 1)
      if (locked) cpu.unlock(lock, A, 1)
    },
  })),
  atEnd: [{ name: 'sum', says: 'two increments give two', holds: ({ n }) => n[A] === 2 }],
})

/**
 * A bug that a random walk hardly meets: the writer has to stop right after its first of many steps, and the reader has
 * to run through all of its own then. One preemption, so PCT of depth 2 finds it with probability of about 1 / (2 * 60).
 */
const narrow = (): System<Cells> => ({
  name: 'narrow',
  state: cells(),
  tasks: [
    {
      name: 'writer',
      run: (cpu, { n }) => {
        cpu.store(n, A, 1)
        cpu.store(n, A, 2)
        for (let i = 0; i < 30; i++) cpu.load(n, ownerCellOf(1))
      },
    },
    {
      name: 'reader',
      run: (cpu, { n }) => {
        let seen = 0
        for (let i = 0; i < 25; i++) if (cpu.load(n, A) === 1) seen++
        cpu.store(n, ownerCellOf(2), seen)
      },
    },
  ],
  atEnd: [{ name: 'rare', says: 'never 25 times', holds: ({ n }) => n[ownerCellOf(2)] < 25 }],
})

test.each([CONTEXT_BOUND, PCT, RANDOM, DPOR])(
  '$name finds the lost update, and nothing where there is none',
  (strategy) => {
    const learned = new Learned(counter(false))
    const { found } = strategy.search(learned, budget)
    expect(found?.violation.name).toBe('sum')
    expect(explain(learned, found?.schedule ?? []).violation?.name).toBe('sum')
    expect(strategy.search(new Learned(counter(true)), { ...budget, schedules: 500 }).found).toBe(undefined)
  },
)

test('what PCT and context bounding find at once, a random walk misses in 20,000 schedules', () => {
  const byPct = pct(new Learned(narrow()), budget, 2)
  expect(byPct.found?.violation.name).toBe('rare')
  expect(byPct.schedules).toBeLessThan(2000)
  expect(contextBound(new Learned(narrow()), budget, 1).found?.violation.name).toBe('rare')
  expect(RANDOM.search(new Learned(narrow()), budget).found).toBe(undefined)
})

test('a bound of preemptions is kept: the lost update needs one', () => {
  const none = contextBound(new Learned(counter(false)), budget, 0)
  expect([none.found, none.schedules]).toEqual([undefined, 2])
  const { found } = contextBound(new Learned(counter(false)), budget, 1)
  // One task is interrupted between its two steps, by the other one wholly.
  expect(found?.schedule).toHaveLength(4)
  expect(found?.schedule.filter((who, i, all) => i > 0 && who !== all[i - 1])).toHaveLength(2)
})

/**
 * Two tasks of a load and a store of the same cell: 4! / (2! 2!) = 6 schedules. Equivalent are those that differ in the
 * order of the two loads only: L1 L2 S1 S2 and L2 L1 S1 S2; L1 L2 S2 S1 and L2 L1 S2 S1. So there are 4 classes.
 */
test('DPOR follows one schedule of every class: 4 of the 6 of two loads and two stores', () => {
  const free: System<Cells> = { ...counter(false), atEnd: [] }
  expect(dpor(new Learned(free), budget, () => {}).schedules).toBe(4)
})

test('DPOR: tasks that share nothing have one class', () => {
  const apart: System<Cells> = {
    ...counter(false),
    atEnd: [],
    tasks: [0, 1, 2].map((i) => ({
      name: `task ${i}`,
      run: (cpu, { n }) => {
        for (let round = 0; round < 4; round++) cpu.add(n, ownerCellOf(i), 1)
      },
    })),
  }
  expect(dpor(new Learned(apart), budget, () => {}).schedules).toBe(1)
})

test('DPOR finds a deadlock of two locks taken in opposite order', () => {
  const [X, Y] = [ownerCellOf(0), ownerCellOf(1)]
  const crossing =
    (first: typeof X, second: typeof X) =>
    (cpu: Cpu, { lock }: Cells) => {
      cpu.lock(lock, first, 1)
      cpu.lock(lock, second, 1)
      cpu.unlock(lock, second, 1)
      cpu.unlock(lock, first, 1)
    }
  const system: System<Cells> = {
    name: 'crossing',
    state: cells(),
    tasks: [
      { name: 'one', run: crossing(X, Y) },
      { name: 'two', run: crossing(Y, X) },
    ],
  }
  expect(dpor(new Learned(system), budget, () => {}).found?.violation.kind).toBe('deadlock')
})

test('DPOR reaches the ends that the exhaustive search reaches', () => {
  for (const movers of [1, 2]) {
    const run = (cpu: Cpu, { n, lock }: Cells): number => {
      if (cpu.load(n, A) === 0) return 0
      cpu.add(n, A, 1)
      cpu.lock(lock, A, 1)
      const work = cpu.load(n, ownerCellOf(1))
      cpu.store(n, ownerCellOf(1), work + 1)
      cpu.unlock(lock, A, 1)
      cpu.add(n, A, -1)
      return 1
    }
    const owner = (cpu: Cpu, { n, lock }: Cells): void => {
      cpu.lock(lock, A, 1)
      cpu.unlock(lock, A, 1)
      cpu.add(n, A, -1)
    }
    const state = cells()
    state.n[A] = 1
    const system: System<Cells> = {
      name: 'movers',
      state,
      tasks: [
        ...Array.from({ length: movers }, (_, i) => ({ name: `mover ${i}`, run })),
        { name: 'owner', run: owner },
      ],
    }
    const ends = new Set<string>()
    const tried = dpor(new Learned(system), budget, (at) => {
      const results = at.nodes.map((node) => node.ending?.result ?? -1)
      const changed = [...at.changed()].map(([cell, value]) => `${at.learned.memory.nameOf(cell)}=${value}`)
      ends.add(`${changed.toSorted().join(' ')} | ${results.join(' ')}`)
    })
    expect(tried.found).toBe(undefined)
    const all = check(system, { ...DEFAULTS, persistentSets: false, symmetry: false }).ends
    expect([...ends].toSorted()).toEqual([...all].toSorted())
  }
})

test.each([CONTEXT_BOUND, PCT, RANDOM, DPOR])(
  '$name sees what is wrong before the first step',
  (strategy) => {
    const broken: System<Cells> = {
      ...counter(true),
      invariants: [
        { name: 'begun', says: 'something has happened', holds: ({ lock }) => lock[ownerCellOf(1)] !== 0 },
      ],
    }
    const { found } = strategy.search(new Learned(broken), budget)
    expect([found?.violation.name, found?.schedule]).toEqual(['begun', []])
    const state = { ...cells(), lock: Int32Array.from([1, 0]) }
    const stuck = strategy.search(new Learned({ ...counter(true), state }), budget)
    expect([stuck.found?.violation.kind, stuck.found?.schedule]).toEqual(['deadlock', []])
  },
)

test('DPOR refuses interrupts', () => {
  const [one, two] = counter(false).tasks
  const system = { ...counter(false), tasks: [one, { ...two, interrupts: one.name }] }
  expect(() => dpor(new Learned(system), budget, () => {})).toThrow(
    'has interrupts, which dpor knows nothing of',
  )
})
