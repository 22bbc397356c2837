/** FastCpu: each step does what its name says, and a wait that nobody ends is a bug. */

import { expect, test } from 'vitest'
import { AssertionError } from './assert.ts'
import { FastCpu } from './cpu.ts'
import { cpuIdOf, pfnOf } from './units.ts'

const at = pfnOf(1)
const LOCK = 4

test('reads, writes and additions', () => {
  const cpu = new FastCpu()
  const cells = new Int32Array(2)
  cpu.store(cells, at, 5)
  expect(cpu.load(cells, at)).toBe(5)
  cpu.add(cells, at, -7)
  expect(cells[1]).toBe(-2)
  cells[1] = 0x7fffffff
  cpu.add(cells, at, 1)
  expect(cells[1]).toBe(-0x80000000)
})

test('dropping a reference tells whether it was the last; one too many is a bug', () => {
  const cpu = new FastCpu()
  const cells = new Int32Array([0, 2])
  expect([cpu.decAndTest(cells, at), cpu.decAndTest(cells, at), cells[1]]).toEqual([false, true, 0])
  expect(() => cpu.decAndTest(cells, at)).toThrow('put: the page has no reference')
})

test('a reference is only added to what has one', () => {
  const cpu = new FastCpu()
  const cells = new Int32Array([0, 1])
  expect([cpu.addUnlessZero(cells, pfnOf(0)), cpu.addUnlessZero(cells, at)]).toEqual([false, true])
  expect([...cells]).toEqual([0, 2])
})

test('compare and swap', () => {
  const cpu = new FastCpu()
  const cells = new Int32Array([0, 3])
  expect([cpu.cas(cells, at, 2, 9), cells[1]]).toEqual([false, 3])
  expect([cpu.cas(cells, at, 3, 9), cells[1]]).toEqual([true, 9])
})

test('setting and clearing tells whether any of the bits was set', () => {
  const cpu = new FastCpu()
  const cells = new Int32Array([0, 0b0010])
  expect([cpu.testSet(cells, at, 0b0101), cells[1]]).toEqual([false, 0b0111])
  expect([cpu.testSet(cells, at, 0b1001), cells[1]]).toEqual([true, 0b1111])
  expect([cpu.testClear(cells, at, 0b0110), cells[1]]).toEqual([true, 0b1001])
  expect([cpu.testClear(cells, at, 0b0110), cells[1]]).toEqual([false, 0b1001])
})

test('a lock leaves the other bits of its cell alone', () => {
  const cpu = new FastCpu()
  const cells = new Int32Array([0, 0b1001])
  expect([cpu.tryLock(cells, at, LOCK), cells[1]]).toEqual([true, 0b1101])
  expect([cpu.tryLock(cells, at, LOCK), cells[1]]).toEqual([false, 0b1101])
  cpu.unlock(cells, at, LOCK)
  cpu.lock(cells, at, LOCK)
  expect(cells[1]).toBe(0b1101)
})

test('releasing what is not held is a bug', () => {
  expect(() => new FastCpu().unlock(new Int32Array(2), at, LOCK)).toThrow('unlock: the lock is not held')
})

test('a section runs under its lock and gives its result', () => {
  const cells = new Int32Array(2)
  const section = (state: Int32Array, a: number, b: number, c: number): number =>
    state[1] * 1000 + a * 100 + b * 10 + c
  expect(new FastCpu().atomically(cells, at, LOCK, section, cells, 1, 2, 3)).toBe(LOCK * 1000 + 123)
  expect(cells[1]).toBe(0)
})

const waits: readonly [string, (cpu: FastCpu, cells: Int32Array) => void, after: number][] = [
  ['lock', (cpu, cells) => cpu.lock(cells, at, LOCK), LOCK],
  ['waitClear', (cpu, cells) => cpu.waitClear(cells, at, LOCK), 0],
  ['atomically', (cpu, cells) => cpu.atomically(cells, at, LOCK, () => 0, cells, 0, 0, 0), 0],
]

test.each(waits)('%s: a task that waits for what nobody will release is a bug', (_, wait) => {
  const cells = new Int32Array([0, LOCK])
  expect(() => wait(new FastCpu(), cells)).toThrow(AssertionError)
  expect(() => wait(new FastCpu(), cells)).toThrow('deadlock')
  expect(() => wait(new FastCpu(), new Int32Array(2))).not.toThrow()
})

test.each(waits)('%s: what lets time pass may release it', (_, wait, after) => {
  const cells = new Int32Array([0, LOCK])
  const asked: unknown[] = []
  const cpu = new FastCpu((array, index, bits) => {
    asked.push([index, bits])
    array[index] &= ~bits
  })
  wait(cpu, cells)
  expect([asked, cells[1]]).toEqual([[[1, LOCK]], after])
})

test('a cpu has a name: its per-cpu lists', () => {
  expect(new FastCpu().id).toBe(0)
  expect(new FastCpu(() => undefined, cpuIdOf(3)).id).toBe(3)
  expect(new FastCpu().at()).toBeUndefined()
})
