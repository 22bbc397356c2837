/** The point of no return, in examples whose continuations can be told by hand. */

import { expect, test } from 'vitest'
import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { check, DEFAULTS, type Report } from './check.ts'
import type { Property, Task } from './system.ts'

interface Shared {
  readonly x: Int32Array
}

const xIs = (value: number): Property<Shared> => ({
  name: 'x',
  says: `x is ${value}`,
  holds: ({ x }) => x[0] === value,
})

/** Length of the counterexample, and the point of no return. */
function pointOf(
  tasks: readonly Task<Shared>[],
  rules: { invariants?: Property<Shared>[]; atEnd?: Property<Shared>[] } = {},
): (number | undefined)[] {
  const report: Report = check(
    { name: 'doom', state: { x: new Int32Array(2) }, tasks, ...rules },
    { ...DEFAULTS, liveness: false },
  )
  expect(report.verdict).toBe('violated')
  return [report.counterexample?.schedule.length, report.pointOfNoReturn]
}

test('an update is lost when the second task has read, two steps before it is seen', () => {
  const inc = (cpu: Cpu, { x }: Shared): void => cpu.store(x, 0, cpu.load(x, 0) + 1)
  expect(pointOf([{ name: 'inc', copies: 2, run: inc }], { atEnd: [xIs(2)] })).toEqual([4, 2])
})

test('what every schedule breaks is lost from the beginning', () => {
  const run = (cpu: Cpu, { x }: Shared): void => {
    cpu.load(x, 1)
    cpu.store(x, 0, 1)
  }
  expect(pointOf([{ name: 'one', run }], { invariants: [xIs(0)] })).toEqual([2, 0])
})

test('a reader that may come later is lost with its own step only', () => {
  const writer = (cpu: Cpu, { x }: Shared): void => {
    cpu.store(x, 0, 1)
    cpu.store(x, 0, 0)
  }
  const reader = (cpu: Cpu, { x }: Shared): void => assert(cpu.load(x, 0) === 0, 'reader: nothing to see')
  expect(
    pointOf([
      { name: 'writer', run: writer },
      { name: 'reader', run: reader },
    ]),
  ).toEqual([2, 2])
})

test('a deadlock is certain when both have their first lock', () => {
  const locker =
    (first: number, second: number) =>
    (cpu: Cpu, { x }: Shared): void => {
      cpu.lock(x, first, 1)
      cpu.lock(x, second, 1)
      cpu.unlock(x, second, 1)
      cpu.unlock(x, first, 1)
    }
  expect(
    pointOf([
      { name: 'ab', run: locker(0, 1) },
      { name: 'ba', run: locker(1, 0) },
    ]),
  ).toEqual([2, 2])
})

test('one step decides, and much follows before anybody sees it', () => {
  // Whoever is first takes the mark; if that is the slow one, the end is wrong whatever happens then.
  const slow = (cpu: Cpu, { x }: Shared): void => {
    if (cpu.testSet(x, 0, 1)) return
    for (let i = 0; i < 5; i++) cpu.load(x, 1)
    cpu.testSet(x, 0, 2)
  }
  const quick = (cpu: Cpu, { x }: Shared): void => {
    cpu.testSet(x, 0, 1)
  }
  const tasks = [
    { name: 'slow', run: slow },
    { name: 'quick', run: quick },
  ]
  expect(pointOf(tasks, { atEnd: [xIs(1)] })).toEqual([8, 1])
})
