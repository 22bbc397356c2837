/** Counterexamples for people: no task too many, no switch too many, drawn as lanes. */

import { expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { type OwnerColumn, ownerCellOf } from '../base/units.ts'
import { check, DEFAULTS } from './check.ts'
import { drawLanes } from './lanes.ts'
import { Learned } from './learned.ts'
import { shrinkTasks } from './shrink.ts'
import { lineText, sourceLines } from './source_line.ts'
import { straightened } from './straighten.ts'
import type { System } from './system.ts'

interface Cells {
  readonly n: OwnerColumn
}

const A = ownerCellOf(0)
const B = ownerCellOf(1)

const increment = (cpu: Cpu, { n }: Cells): void => cpu.store(n, A, cpu.load(n, A) + 1)

/** Four increments that are lost, beside a task that has nothing to do with it. */
const lost = (copies: number): System<Cells> => ({
  name: 'lost',
  state: { n: new Int32Array(2) },
  tasks: [
    { name: 'inc', copies, run: increment },
    { name: 'bystander', run: (cpu, { n }) => cpu.store(n, B, 1) },
  ],
  invariants: [
    {
      name: 'no-loss',
      says: 'after two tasks have ended the count is two at least',
      holds: ({ n }, where) => where.results('inc').length < 2 || n[A] >= 2,
    },
  ],
})

test('tasks that are not needed are left out, and the schedule is as short as before', () => {
  const system = lost(3)
  const report = check(system)
  expect(report.counterexample?.schedule).toHaveLength(4)
  const shrunk = shrinkTasks(system, report, DEFAULTS)
  expect(shrunk.without.toSorted()).toEqual(['bystander', 'inc 3'])
  expect(shrunk.report.counterexample?.schedule).toHaveLength(4)
  expect(shrunk.report.shortest).toBe(true)
})

test('a schedule has no switch that it does not need', () => {
  const learned = new Learned(lost(2))
  const turns = straightened(learned, [0, 1, 0, 1], 'no-loss')
  expect(turns.filter((who, i) => i > 0 && who !== turns[i - 1])).toHaveLength(2)
})

test('lanes: one an actor, locks as marks, changes and the point of no return', () => {
  const system: System<Cells> = {
    name: 'locked',
    state: { n: new Int32Array(2) },
    tasks: [
      {
        name: 'holder',
        run: (cpu, { n }) => {
          cpu.lock(n, B, 1)
          cpu.add(n, A, 2)
          cpu.unlock(n, B, 1)
        },
      },
      { name: 'reader', run: (cpu, { n }) => (cpu.load(n, A) === 2 && cpu.load(n, B) === 1 ? 1 : 0) },
    ],
    atEnd: [
      {
        name: 'unseen',
        says: 'nobody looks meanwhile',
        holds: (_, where) => where.results('reader')[0] === 0,
      },
    ],
  }
  const report = check(system)
  const lines = drawLanes(system, { ...report, counterexample: withoutStacks(report.counterexample) }).split(
    '\n',
  )
  expect(lines).toEqual([
    'step  holder         reader                    changed      at',
    '   1  lock n[1] 1 #  |                         n[1] 0 -> 1',
    '   2  add n[0] +2 #  |                         n[0] 0 -> 2',
    '   3  | #            load n[0] = 2',
    '      -- point of no return: after the next step no continuation ends well --',
    '   4  | #            load n[1] = 1, returns 1',
    '   5  unlock n[1] 1  |                         n[1] 1 -> 0',
    '',
    'unseen: nobody looks meanwhile',
    '',
  ])
})

function withoutStacks<T extends { readonly steps: readonly object[] } | undefined>(counterexample: T): T {
  if (counterexample === undefined) return counterexample
  return { ...counterexample, steps: counterexample.steps.map((step) => ({ ...step, stack: [] })) }
}

test('a step names its line in the source, not the checker’s', () => {
  const stack = [
    '    at LearnCpu.load (/x/src/check/learn.ts:120:5)',
    '    at migrateFolioMove (/x/src/mm/migrate.ts:210:17)',
    '    at Object.run (file:///x/src/models/a.ts:60:9)',
  ]
  expect(sourceLines(stack)).toEqual([
    { name: 'migrateFolioMove', file: 'src/mm/migrate.ts', line: 210 },
    { name: 'Object.run', file: 'src/models/a.ts', line: 60 },
  ])
  expect(lineText(stack)).toBe('migrate.ts:210')
  expect(lineText(['    at <anonymous>'])).toBe('')
})
