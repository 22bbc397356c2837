/** Steps as data: `apply` does to a value what FastCpu does to a cell, for every kind and all values. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import {
  ADD,
  ADD_UNLESS_ZERO,
  apply,
  CAS,
  DEC_AND_TEST,
  isBlocked,
  isWrite,
  LOAD,
  LOCK,
  mayBlock,
  newEffect,
  type Op,
  type OpKind,
  opText,
  SECTION,
  STORE,
  TEST_CLEAR,
  TEST_SET,
  TRY_LOCK,
  UNLOCK,
  WAIT_CLEAR,
} from './op.ts'

type Call = (cpu: Cpu, cells: Int32Array, x: number, y: number) => number | boolean | void
const CALLS: readonly (readonly [name: string, kind: OpKind, call: Call])[] = [
  ['load', LOAD, (cpu, cells) => cpu.load(cells, 0)],
  ['store', STORE, (cpu, cells, x) => cpu.store(cells, 0, x)],
  ['add', ADD, (cpu, cells, x) => cpu.add(cells, 0, x)],
  ['decAndTest', DEC_AND_TEST, (cpu, cells) => cpu.decAndTest(cells, 0)],
  ['addUnlessZero', ADD_UNLESS_ZERO, (cpu, cells) => cpu.addUnlessZero(cells, 0)],
  ['cas', CAS, (cpu, cells, x, y) => cpu.cas(cells, 0, x, y)],
  ['testSet', TEST_SET, (cpu, cells, x) => cpu.testSet(cells, 0, x)],
  ['testClear', TEST_CLEAR, (cpu, cells, x) => cpu.testClear(cells, 0, x)],
  ['tryLock', TRY_LOCK, (cpu, cells, x) => cpu.tryLock(cells, 0, x)],
  ['lock', LOCK, (cpu, cells, x) => cpu.lock(cells, 0, x)],
  ['unlock', UNLOCK, (cpu, cells, x) => cpu.unlock(cells, 0, x)],
  ['waitClear', WAIT_CLEAR, (cpu, cells, x) => cpu.waitClear(cells, 0, x)],
]

const opOf = (kind: OpKind, x = 0, y = 0): Op => ({ id: 0, kind, cell: 0, x, y })

/** What FastCpu makes of it: the new value and the answer, or what it says is wrong. */
function takenFast(call: Call, value: number, x: number, y: number): string {
  const cells = new Int32Array([value])
  try {
    const answer = Number(call(new FastCpu(), cells, x, y) ?? 0)
    return `${cells[0]}, answers ${answer}`
  } catch (error) {
    const says = error instanceof Error ? error.message : ''
    return says.startsWith('deadlock') ? 'blocked' : says
  }
}

function applied(op: Op, value: number): string {
  if (isBlocked(op, value)) return 'blocked'
  const effect = newEffect()
  apply(op, value, effect)
  return effect.failed ?? `${effect.value}, answers ${effect.result}`
}

const small = fc.integer({ min: -4, max: 4 })
const any = fc.oneof(small, fc.constantFrom(0x7fffffff, -0x80000000, -1), fc.integer())

test.each(CALLS)('%s does what FastCpu does', (_, kind, call) => {
  fc.assert(
    fc.property(any, any, any, (value, x, y) => {
      expect(applied(opOf(kind, x, y), value)).toBe(takenFast(call, value, x, y))
    }),
    { numRuns: 400, seed: 5 },
  )
})

test('a lock of two bits is not taken, and not changed, while one of them is set', () => {
  expect(applied(opOf(TRY_LOCK, 3), 1)).toBe('1, answers 0')
  expect(applied(opOf(TRY_LOCK, 3), 4)).toBe('7, answers 1')
})

test('what may wait, and what may write', () => {
  const kinds = [...CALLS.map(([, kind]) => kind), SECTION] as const
  expect(kinds.filter(mayBlock)).toEqual([LOCK, WAIT_CLEAR, SECTION])
  expect(kinds.filter((kind) => !isWrite(kind))).toEqual([LOAD, WAIT_CLEAR, SECTION])
  expect([isBlocked(opOf(LOCK, 6), 2), isBlocked(opOf(LOCK, 6), 1)]).toEqual([true, false])
  expect([isBlocked(opOf(TRY_LOCK, 6), 2), isBlocked(opOf(SECTION, 0), 7)]).toEqual([false, false])
})

test('steps in words', () => {
  const texts = [
    opText(opOf(LOAD), 'x[1]', 7),
    opText(opOf(STORE, 5), 'x[1]', 0),
    opText(opOf(ADD, -1), 'x[1]', 0),
    opText(opOf(CAS, 1, 2), 'x[1]', 1),
    opText(opOf(DEC_AND_TEST), 'x[1]', 0),
    opText(opOf(LOAD), 'x[1]'),
  ]
  expect(texts).toEqual([
    'load x[1] = 7',
    'store x[1] = 5',
    'add x[1] -1',
    'cas x[1] 1 -> 2: yes',
    'decAndTest x[1]: no',
    'load x[1]',
  ])
})
