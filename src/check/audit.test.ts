/** The lock audit: each finding has a task that shows it, and a twin that does the same rightly and passes. */

import { describe, expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { FINDINGS, type FindingName } from './audit.ts'
import { check } from './check.ts'
import type { LockClass, LockRules, System, Task } from './system.ts'

interface Shared {
  readonly page: Int32Array
  readonly spin: Int32Array
  readonly data: Int32Array
  readonly owned: Int32Array
  readonly refcount: Int32Array
}

const PAGE: LockClass = { name: 'page lock', sleeps: true }
const SPIN: LockClass = { name: 'spinlock', sleeps: false }

/** A sleeping lock, a spinlock that may be taken under it, data under the spinlock, and a page under its lock. */
const RULES: LockRules = {
  classOf: (column) => (column === 'page' ? PAGE : SPIN),
  mayNest: (outer, inner) => outer === PAGE && inner === SPIN,
  guardOf: (column, index) => {
    if (column === 'data') return { anyOf: [['spin', 0, 1]] }
    return column === 'owned' ? { anyOf: [['page', 0, 1]], unlessZero: ['refcount', index] } : undefined
  },
}

type Run = (cpu: Cpu, s: Shared) => unknown
const systemOf = (
  run: Run,
  others: readonly Task<Shared>[] = [],
  locks: LockRules = RULES,
): System<Shared> => ({
  name: 'audit',
  state: {
    page: new Int32Array(1),
    spin: new Int32Array(2),
    data: new Int32Array(1),
    owned: new Int32Array(2),
    refcount: new Int32Array([1, 0]),
  },
  tasks: [{ name: 'task', run }, ...others],
  locks,
})

function under(cpu: Cpu, lock: Int32Array, inside: () => void): void {
  cpu.lock(lock, 0, 1)
  inside()
  cpu.unlock(lock, 0, 1)
}
const nothingLocked = (): number => 0
const writeLocked = (s: Shared): number => {
  s.data[0] = 1
  return 0
}

const CASES: readonly (readonly [FindingName, what: string, wrong: Run, right: Run])[] = [
  [
    'unlocked-access',
    'a store without the lock',
    (cpu, s) => cpu.store(s.data, 0, 1),
    (cpu, s) => under(cpu, s.spin, () => cpu.store(s.data, 0, 1)),
  ],
  [
    'unlocked-access',
    'an add under another lock',
    (cpu, s) => under(cpu, s.page, () => cpu.add(s.data, 0, 1)),
    (cpu, s) => under(cpu, s.spin, () => cpu.add(s.data, 0, 1)),
  ],
  [
    'unlocked-access',
    'a section under another lock',
    (cpu, s) => cpu.atomically(s.spin, 1, 1, writeLocked, s, 0, 0, 0),
    (cpu, s) => cpu.atomically(s.spin, 0, 1, writeLocked, s, 0, 0, 0),
  ],
  [
    'unlocked-access',
    'a store to what others can reach',
    (cpu, s) => cpu.store(s.owned, 0, 1),
    (cpu, s) => cpu.store(s.owned, 1, 1), // refcount[1] is 0
  ],
  [
    'unlocked-access',
    'a write without cpu',
    (cpu, s) => {
      s.owned[0] = 1
      cpu.load(s.owned, 0)
    },
    (cpu, s) => under(cpu, s.page, () => cpu.store(s.owned, 0, 1)),
  ],
  [
    'lock-order',
    'a spinlock under another one',
    (cpu, s) => {
      cpu.lock(s.spin, 1, 1)
      under(cpu, s.spin, () => cpu.load(s.data, 0))
      cpu.unlock(s.spin, 1, 1)
    },
    (cpu, s) => under(cpu, s.page, () => under(cpu, s.spin, () => cpu.load(s.data, 0))),
  ],
  [
    'lock-order',
    'a section under a lock that may not be taken there',
    (cpu, s) => under(cpu, s.spin, () => cpu.atomically(s.spin, 1, 1, nothingLocked, s, 0, 0, 0)),
    (cpu, s) => under(cpu, s.page, () => cpu.atomically(s.spin, 1, 1, nothingLocked, s, 0, 0, 0)),
  ],
  [
    'sleep-in-atomic',
    'waiting for a bit under the spinlock',
    (cpu, s) => under(cpu, s.spin, () => cpu.waitClear(s.page, 0, 2)),
    (cpu, s) => under(cpu, s.page, () => cpu.waitClear(s.page, 0, 2)),
  ],
  [
    'recursive-lock',
    'locking again',
    (cpu, s) => under(cpu, s.page, () => under(cpu, s.page, () => cpu.load(s.data, 0))),
    (cpu, s) => {
      under(cpu, s.page, () => cpu.load(s.data, 0))
      under(cpu, s.page, () => cpu.load(s.data, 0))
    },
  ],
  [
    'recursive-lock',
    'a section under the lock that is held',
    (cpu, s) => under(cpu, s.spin, () => cpu.atomically(s.spin, 0, 1, nothingLocked, s, 0, 0, 0)),
    (cpu, s) => under(cpu, s.spin, () => cpu.atomically(s.spin, 0, 0, writeLocked, s, 0, 0, 0)),
  ],
  [
    'recursive-lock',
    'waiting for the bit that one has set as a lock',
    (cpu, s) => under(cpu, s.page, () => cpu.waitClear(s.page, 0, 1)),
    (cpu, s) => {
      if (cpu.tryLock(s.page, 0, 1)) cpu.unlock(s.page, 0, 1)
    },
  ],
  [
    'unlock-by-non-holder',
    'releasing what was not taken',
    (cpu, s) => {
      cpu.tryLock(s.page, 0, 1)
      cpu.unlock(s.page, 0, 1)
    },
    (cpu, s) => {
      if (cpu.tryLock(s.page, 0, 1)) cpu.unlock(s.page, 0, 1)
    },
  ],
  [
    'lock-left-held',
    'returning with a lock',
    (cpu, s) => cpu.lock(s.page, 0, 1),
    (cpu, s) => under(cpu, s.page, () => cpu.load(s.data, 0)),
  ],
]

/** Somebody else who takes and releases the page lock. */
const other: Task<Shared> = {
  name: 'other',
  run: (cpu, s) => under(cpu, s.page, () => cpu.load(s.refcount, 0)),
}

test('every finding has a case', () => {
  expect(new Set(CASES.map(([name]) => name))).toEqual(new Set(Object.keys(FINDINGS)))
})

describe.each(CASES)('%s: %s', (name, _, wrong, right) => {
  test('is found', () => {
    const { verdict, counterexample } = check(systemOf(wrong, [other]))
    expect([verdict, counterexample?.violation.kind, counterexample?.violation.name]).toEqual([
      'violated',
      'audit',
      name,
    ])
  })

  test('is not found where it is done rightly', () => {
    const { verdict, counterexample } = check(systemOf(right, [other]))
    expect([verdict, counterexample?.violation]).toEqual(['pass', undefined])
  })
})

test.each([true, false])(
  'waiting for a sleeping lock under a spinlock is that, whether the order allows it (%s) or not',
  (allowed) => {
    const wrong: Run = (cpu, s) => under(cpu, s.spin, () => under(cpu, s.page, () => cpu.load(s.data, 0)))
    const { counterexample } = check(systemOf(wrong, [], { ...RULES, mayNest: () => allowed }))
    expect(counterexample?.violation.name).toBe('sleep-in-atomic')
  },
)

test('a lock that is kept on one way round a loop only is left held', () => {
  const run: Run = (cpu, s) => {
    for (let i = 0; i < 2; i++) {
      cpu.at('again', i)
      if (!cpu.tryLock(s.page, 0, 1)) continue
      if (cpu.load(s.refcount, 1) === 1) return // still holding
      cpu.unlock(s.page, 0, 1)
    }
  }
  const writer: Task<Shared> = { name: 'writer', run: (cpu, s) => cpu.store(s.refcount, 1, 1) }
  expect(check(systemOf(run, [writer])).counterexample?.violation.name).toBe('lock-left-held')
})

test('which locks are held is part of where a task is: two ways to the same place are told apart', () => {
  const run: Run = (cpu, s) => {
    cpu.at('before')
    const mine = cpu.load(s.refcount, 1) === 1 && cpu.tryLock(s.page, 0, 1) ? 1 : 0
    cpu.at('between', mine)
    cpu.load(s.data, 0)
    cpu.at('after')
    cpu.load(s.data, 0)
  }
  const writer: Task<Shared> = { name: 'writer', run: (cpu, s) => cpu.store(s.refcount, 1, 1) }
  expect(check(systemOf(run, [writer])).counterexample?.violation.name).toBe('lock-left-held')
})
