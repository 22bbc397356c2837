/** What `check` makes of what the search has found: which rule is told, and by which schedule. */

import { expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { check, DEFAULTS } from './check.ts'
import type { System } from './system.ts'

interface Cells {
  readonly n: Int32Array
}

const bothLocked = ({ n }: Cells): number => {
  n[0] = 1
  n[1] = 1
  return 0
}

test('a lasting condition of the end is told where it ceases to hold, also where another one does too', () => {
  const lasting = (name: string, cell: number): NonNullable<System<Cells>['atEnd']>[number] => ({
    name,
    says: `cell ${cell} stays 0`,
    lasting: true,
    holds: ({ n }) => n[cell] === 0,
  })
  const system: System<Cells> = {
    name: 'lasting',
    state: { n: new Int32Array(4) },
    tasks: [
      {
        name: 't',
        run: (cpu, state) => {
          const long = cpu.load(state.n, 2) === 1
          if (long) cpu.atomically(state.n, 3, 0, bothLocked, state, 0, 0, 0)
          for (let i = 0; i < (long ? 10 : 4); i++) cpu.load(state.n, 3)
          if (!long) cpu.store(state.n, 0, 1)
        },
      },
      { name: 'u', run: (cpu, { n }) => cpu.store(n, 2, 1) },
    ],
    atEnd: [lasting('B', 1), lasting('A', 0)],
  }
  const report = check(system)
  // u, then the load and the section of t: both conditions are broken, long before the end.
  expect([report.verdict, report.counterexample?.schedule]).toEqual(['violated', [1, 0, 0]])
})

test('a cell that only an impossible history writes may be read without cpu', () => {
  const system: System<Cells> = {
    name: 'impossible',
    state: { n: new Int32Array(4) },
    tasks: [
      {
        name: 'writer',
        run: (cpu, { n }) => {
          cpu.store(n, 1, 1)
          cpu.store(n, 1, 0)
          cpu.store(n, 0, 1)
        },
      },
      {
        // Both are never 1: the second one is 0 again before the first one is set.
        name: 'reader',
        run: (cpu, { n }) => {
          const first = cpu.load(n, 0)
          const second = cpu.load(n, 1)
          if (first === 1 && second === 1) cpu.store(n, 2, 1)
        },
      },
      { name: 'looker', run: (cpu, { n }) => cpu.store(n, 3, n[2]) },
    ],
  }
  expect(check(system).verdict).toBe('pass')
})

test('columns with the same name in two objects are told apart', () => {
  const state = { a: { n: new Int32Array(1) }, b: { n: new Int32Array(1) } }
  const system = (which: 'a' | 'b'): System<typeof state> => ({
    name: 'names',
    state,
    tasks: [{ name: 't', run: (cpu: Cpu, all) => cpu.store(all[which].n, 0, 1) }],
  })
  expect([...check(system('a')).ends, ...check(system('b')).ends]).toEqual(['n[0]=1 | -1', 'b.n[0]=1 | -1'])
})

test('a run that is cut short proves nothing', () => {
  const run = (cpu: Cpu, { n }: Cells): void => {
    for (let i = 0; i < 4; i++) cpu.add(n, 0, 1)
  }
  const system: System<Cells> = {
    name: 'cut',
    state: { n: new Int32Array(1) },
    tasks: [{ name: 't', copies: 3, run }],
  }
  const report = check(system, { ...DEFAULTS, symmetry: false, persistentSets: false, statesMax: 50 })
  expect(report.verdict).toBe('incomplete')
  expect(report.notChecked[0]).toMatch(/^what comes after \d+ states, at which it was stopped$/)
})
