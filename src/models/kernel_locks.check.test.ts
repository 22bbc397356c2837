/**
 * The kernel's locks (base/locks.ts) under the checker: each keeps what it promises in every interleaving, and each
 * has a usual mistake in its use, which is found.
 */

import { expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import {
  finishWait,
  mutexLock,
  mutexTrylock,
  mutexUnlock,
  prepareToWait,
  readSeqbegin,
  readSeqretry,
  sleep,
  spinLock,
  spinUnlock,
  wakeUp,
  writeSeqcountBegin,
  writeSeqcountEnd,
} from '../base/locks.ts'
import { type OwnerColumn, ownerCellOf } from '../base/units.ts'
import { check } from '../check/check.ts'
import type { System, Task } from '../check/system.ts'

interface Cells {
  readonly lock: OwnerColumn
  readonly seq: OwnerColumn
  readonly data: OwnerColumn
  readonly queue: OwnerColumn
}

const A = ownerCellOf(0)
const B = ownerCellOf(1)

const systemOf = (tasks: Task<Cells>[], more: Partial<System<Cells>> = {}): System<Cells> => ({
  name: 'locks',
  state: {
    lock: new Int32Array(1),
    seq: new Int32Array(1),
    data: new Int32Array(2),
    queue: new Int32Array(1),
  },
  tasks,
  ...more,
})

const increment = (cpu: Cpu, { data }: Cells): void => cpu.store(data, A, cpu.load(data, A) + 1)
const allCounted = (of: number): Partial<System<Cells>> => ({
  atEnd: [{ name: 'counted', says: 'no increment is lost', holds: ({ data }) => data[A] === of }],
})

test.each([
  ['a spinlock', spinLock, spinUnlock],
  ['a mutex', mutexLock, mutexUnlock],
] as const)('%s lets one in at a time', (_, lock, unlock) => {
  const run = (cpu: Cpu, cells: Cells): void => {
    lock(cpu, cells.lock, A)
    increment(cpu, cells)
    unlock(cpu, cells.lock, A)
  }
  expect(check(systemOf([{ name: 'task', copies: 3, run }], allCounted(3))).verdict).toBe('pass')
  const without = systemOf([{ name: 'task', copies: 3, run: increment }], allCounted(3))
  expect(check(without).counterexample?.violation.name).toBe('counted')
})

test('who does not get a mutex by trying goes without', () => {
  const run = (cpu: Cpu, cells: Cells): number => {
    if (!mutexTrylock(cpu, cells.lock, A)) return 0
    increment(cpu, cells)
    mutexUnlock(cpu, cells.lock, A)
    return 1
  }
  const report = check(systemOf([{ name: 'task', copies: 2, run }]))
  expect(report.verdict).toBe('pass')
  expect([...report.ends].toSorted()).toEqual(['data[0]=1 | 0 1', 'data[0]=2 | 1 1'])
})

const write = (cpu: Cpu, { seq, data }: Cells): void => {
  writeSeqcountBegin(cpu, seq, A)
  cpu.store(data, A, 1)
  cpu.store(data, B, 1)
  writeSeqcountEnd(cpu, seq, A)
}
const same = { name: 'same', says: 'a reader sees both halves of one write', holds: () => true }

test('readers of a sequence count see both halves of one write', () => {
  const read = (cpu: Cpu, { seq, data }: Cells): number => {
    for (;;) {
      cpu.at('read')
      const before = readSeqbegin(cpu, seq, A)
      const a = cpu.load(data, A)
      const b = cpu.load(data, B)
      if (!readSeqretry(cpu, seq, A, before)) return a === b ? 1 : 0
    }
  }
  const blind = (cpu: Cpu, { data }: Cells): number => (cpu.load(data, A) === cpu.load(data, B) ? 1 : 0)
  const holds: Partial<System<Cells>> = {
    atEnd: [{ ...same, holds: (_, where) => where.results('reader').every((result) => result === 1) }],
  }
  const writer = { name: 'writer', run: write }
  expect(check(systemOf([writer, { name: 'reader', copies: 2, run: read }], holds)).verdict).toBe('pass')
  expect(
    check(systemOf([writer, { name: 'reader', run: blind }], holds)).counterexample?.violation.name,
  ).toBe('same')
})

test('a wait queue loses no wake-up, unless the waiter looks before he is on it', () => {
  const ME = 1
  const ready = (cpu: Cpu, { data }: Cells): boolean => cpu.load(data, A) !== 0
  const waker = {
    name: 'waker',
    run: (cpu: Cpu, { data, queue }: Cells) => {
      cpu.store(data, A, 1)
      wakeUp(cpu, queue, A)
    },
  }
  const properly = (cpu: Cpu, cells: Cells): void => {
    prepareToWait(cpu, cells.queue, A, ME)
    if (!ready(cpu, cells)) sleep(cpu, cells.queue, A, ME)
    finishWait(cpu, cells.queue, A, ME)
  }
  const late = (cpu: Cpu, cells: Cells): void => {
    if (ready(cpu, cells)) return
    prepareToWait(cpu, cells.queue, A, ME)
    sleep(cpu, cells.queue, A, ME)
    finishWait(cpu, cells.queue, A, ME)
  }
  expect(check(systemOf([waker, { name: 'waiter', run: properly }])).verdict).toBe('pass')
  const report = check(systemOf([waker, { name: 'waiter', run: late }]))
  expect(report.counterexample?.violation.kind).toBe('deadlock')
  expect(report.counterexample?.steps.map(({ text }) => text)).toEqual([
    'load data[0] = 0',
    'store data[0] = 1',
    'testClear queue[0] -1: no',
    'testSet queue[0] 1: no',
  ])
})
