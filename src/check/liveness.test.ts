/** Going on for ever: what is a livelock, what is only waiting for its turn, and what is a deadlock. */

import { expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { check, DEFAULTS } from './check.ts'
import { discover } from './discover.ts'
import { Learned } from './learned.ts'
import type { Lasso } from './liveness.ts'
import { Run } from './run.ts'
import type { System, Task } from './system.ts'

interface Shared {
  readonly a: Int32Array
  readonly b: Int32Array
  readonly stop: Int32Array
}

const systemOf = (...tasks: readonly Task<Shared>[]): System<Shared> => ({
  name: 'liveness',
  state: { a: new Int32Array(1), b: new Int32Array(1), stop: new Int32Array(1) },
  tasks,
})

/** Takes the cycle once more: it must come back to where it began, and leave nobody out who could always go on. */
function expectFairCycle(system: System, { prefix, cycle }: Lasso): void {
  const learned = new Learned(system)
  discover(learned, 1)
  const run = new Run(learned)
  const always = new Set(learned.instances.map((_, i) => i))
  const take = (instance: number): void => {
    expect(run.isEnabled(instance)).toBe(true)
    expect(run.step(instance)).toBe(undefined)
  }
  prefix.forEach(take)
  const begun = run.key()
  for (const instance of cycle) {
    for (const i of always) if (!run.isEnabled(i)) always.delete(i)
    take(instance)
  }
  expect(cycle.length).toBeGreaterThan(0)
  expect(run.key()).toBe(begun)
  expect([...always].filter((instance) => !cycle.includes(instance))).toEqual([])
}

/** Takes the first lock, then the second one if that is free; gives the first one back and tries again if not. */
const bothLocks =
  (first: 'a' | 'b', second: 'a' | 'b') =>
  (cpu: Cpu, s: Shared): void => {
    for (;;) {
      cpu.at('retry')
      cpu.lock(s[first], 0, 1)
      if (cpu.tryLock(s[second], 0, 1)) break
      cpu.unlock(s[first], 0, 1)
    }
    cpu.unlock(s[second], 0, 1)
    cpu.unlock(s[first], 0, 1)
  }

test('two tasks that give way to each other can do so for ever', () => {
  const system = systemOf({ name: 'ab', run: bothLocks('a', 'b') }, { name: 'ba', run: bothLocks('b', 'a') })
  const report = check(system)
  expect([report.verdict, report.counterexample?.violation.kind]).toEqual(['violated', 'livelock'])
  const { lasso } = report
  if (lasso === undefined) throw new Error('a livelock has a lasso')
  expect(new Set(lasso.cycle)).toEqual(new Set([0, 1]))
  expectFairCycle(system, lasso)
  expect(report.counterexample?.schedule).toEqual([...lasso.prefix, ...lasso.cycle])
  const unasked = check(system, { ...DEFAULTS, liveness: false })
  expect([unasked.verdict, unasked.notChecked]).toEqual(['pass', ['liveness, as asked']])
})

const untilStopped = (cpu: Cpu, { stop }: Shared): void => {
  do cpu.at('wait')
  while (cpu.load(stop, 0) === 0)
}
const stopper = (cpu: Cpu, { stop }: Shared): void => cpu.store(stop, 0, 1)

test('waiting for a task that will come is no livelock', () => {
  const report = check(
    systemOf({ name: 'waiter', copies: 2, run: untilStopped }, { name: 'stopper', run: stopper }),
  )
  expect([report.verdict, report.lasso]).toEqual(['pass', undefined])
  expect([...report.ends]).toEqual(['stop[0]=1 | -1 -1 -1'])
})

test('waiting for what nobody does is one', () => {
  const system = systemOf({ name: 'waiter', run: untilStopped })
  const { verdict, lasso } = check(system)
  expect([verdict, lasso]).toEqual(['violated', { prefix: [], cycle: [0] }])
})

test('a task that gives the others no chance is one: they can go on now and then only', () => {
  // The waiter is enabled whenever `a` is clear, but never for good.
  const blinker = (cpu: Cpu, s: Shared): void => {
    for (;;) {
      cpu.at('blink')
      if (cpu.load(s.stop, 0) === 1) return
      cpu.store(s.a, 0, 1)
      cpu.store(s.a, 0, 0)
    }
  }
  const waiter = (cpu: Cpu, s: Shared): void => {
    cpu.waitClear(s.a, 0, 1)
    cpu.store(s.stop, 0, 1)
  }
  const system = systemOf({ name: 'blinker', run: blinker }, { name: 'waiter', run: waiter })
  const { lasso } = check(system)
  if (lasso === undefined) throw new Error('the blinker can go on for ever')
  expectFairCycle(system, lasso)
})

test('the cycle that is shown is itself fair', () => {
  // The waiter is only ever stopped while the blinker blinks, which it does while the switch is on: a cycle
  // without blinking would leave out a waiter that could go on all the time.
  const blinker = (cpu: Cpu, s: Shared): void => {
    for (;;) {
      cpu.at('blink')
      if (cpu.load(s.stop, 0) === 1) return
      if (cpu.load(s.b, 0) === 0) continue
      cpu.store(s.a, 0, 1)
      cpu.store(s.a, 0, 0)
    }
  }
  const turner = (cpu: Cpu, s: Shared): void => {
    for (;;) {
      cpu.at('turn')
      if (cpu.load(s.stop, 0) === 1) return
      cpu.store(s.b, 0, 1)
      cpu.store(s.b, 0, 0)
    }
  }
  const waiter = (cpu: Cpu, s: Shared): void => {
    cpu.waitClear(s.a, 0, 1)
    cpu.store(s.stop, 0, 1)
  }
  const system = systemOf(
    { name: 'blinker', run: blinker },
    { name: 'turner', run: turner },
    { name: 'waiter', run: waiter },
  )
  const { lasso } = check(system)
  if (lasso === undefined) throw new Error('the blinker can go on for ever')
  expectFairCycle(system, lasso)
})

test('two tasks that wait for each other are a deadlock, with the shortest way there', () => {
  const patient =
    (first: 'a' | 'b', second: 'a' | 'b') =>
    (cpu: Cpu, s: Shared): void => {
      cpu.lock(s[first], 0, 1)
      cpu.lock(s[second], 0, 1)
      cpu.unlock(s[second], 0, 1)
      cpu.unlock(s[first], 0, 1)
    }
  const report = check(
    systemOf({ name: 'ab', run: patient('a', 'b') }, { name: 'ba', run: patient('b', 'a') }),
  )
  expect([
    report.verdict,
    report.counterexample?.violation.name,
    report.counterexample?.schedule.length,
  ]).toEqual(['violated', 'deadlock', 2])
})

test('a waiter that nobody wakes is a deadlock', () => {
  const system = systemOf({
    name: 'waiter',
    run: (cpu, { a }) => {
      cpu.testSet(a, 0, 1)
      cpu.waitClear(a, 0, 1)
    },
  })
  const { counterexample } = check(system)
  expect(counterexample?.violation.says).toBe('waiter waits for a[0], and nobody will ever end it')
})
