/** Interrupts: they stop the task of their cpu from their first step to their last, and a lock can keep them out. */

import { expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { check, DEFAULTS, type Report } from './check.ts'
import type { LockRules, Task } from './system.ts'

interface Shared {
  readonly lock: Int32Array
  readonly x: Int32Array
}

const rules = (irqSafe: boolean): LockRules => ({
  classOf: () => ({ name: 'spinlock', sleeps: false, irqSafe }),
  mayNest: () => true,
  guardOf: () => undefined,
})

const checked = (irqSafe: boolean, ...tasks: readonly Task<Shared>[]): Report =>
  check(
    { name: 'irq', state: { lock: new Int32Array(1), x: new Int32Array(1) }, tasks, locks: rules(irqSafe) },
    DEFAULTS,
  )

const locked = (cpu: Cpu, { lock, x }: Shared): void => {
  cpu.lock(lock, 0, 1)
  cpu.add(x, 0, 1)
  cpu.unlock(lock, 0, 1)
}
const handlerThatLooksFirst = (cpu: Cpu, s: Shared): void => {
  cpu.load(s.x, 0)
  locked(cpu, s)
}
const spinningHandler = (cpu: Cpu, { lock }: Shared): void => {
  do cpu.at('spin')
  while (!cpu.tryLock(lock, 0, 1))
  cpu.unlock(lock, 0, 1)
}

const handlers: readonly (readonly [name: string, run: Task<Shared>['run'], kind: string])[] = [
  ['looks before it locks', handlerThatLooksFirst, 'deadlock'],
  ['locks at once', locked, 'deadlock'],
  ['spins', spinningHandler, 'livelock'],
]

test.each(handlers)('a handler that %s waits for ever for the plain spinlock of its cpu', (_, run, kind) => {
  const host = { name: 'host', run: locked }
  const report = checked(false, host, { name: 'handler', interrupts: 'host', run })
  expect([report.verdict, report.counterexample?.violation.kind]).toEqual(['violated', kind])
})

test.each(handlers)('a handler that %s is kept out by an irq-safe one', (_, run) => {
  const report = checked(true, { name: 'host', run: locked }, { name: 'handler', interrupts: 'host', run })
  expect([report.verdict, report.counterexample?.violation]).toEqual(['pass', undefined])
})

test.each(handlers)('a task of another cpu that %s only waits for its turn', (_, run) => {
  const report = checked(false, { name: 'one', run: locked }, { name: 'other', run })
  expect(report.verdict).toBe('pass')
})

const blinks = (cpu: Cpu, { x }: Shared): void => {
  cpu.store(x, 0, 1)
  cpu.store(x, 0, 0)
}
const looks = (cpu: Cpu, { x }: Shared): number => cpu.load(x, 0)

test('the task that is interrupted never sees the interrupt half done; one of another cpu does', () => {
  const looker = { name: 'looker', run: looks }
  const interrupted = checked(false, looker, { name: 'handler', interrupts: 'looker', run: blinks })
  expect([...interrupted.ends]).toEqual([' | 0 -1'])
  const beside = checked(false, looker, { name: 'other', run: blinks })
  expect(new Set(beside.ends)).toEqual(new Set([' | 0 -1', ' | 1 -1']))
})

test('an interrupt may come between any two steps of its task', () => {
  const looksTwice = (cpu: Cpu, { x }: Shared): number => cpu.load(x, 0) * 10 + cpu.load(x, 0)
  const report = checked(
    false,
    { name: 'looker', run: looksTwice },
    { name: 'handler', interrupts: 'looker', run: (cpu, { x }) => cpu.store(x, 0, 1) },
  )
  expect(new Set(report.ends)).toEqual(new Set(['x[0]=1 | 0 -1', 'x[0]=1 | 1 -1', 'x[0]=1 | 11 -1']))
})
