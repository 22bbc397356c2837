/** Sections: run once for each combination of values that they read, and the same as under FastCpu. */

import { expect, test } from 'vitest'
import { assert } from '../base/assert.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { check, DEFAULTS } from './check.ts'
import { Memory } from './memory.ts'
import { SectionTree } from './section.ts'

interface Shared {
  readonly x: Int32Array
  readonly lock: Int32Array
}

/** The tree of a section over `x`, the values that it will find there, and how often its code has run. */
function sectionOf(section: (x: Int32Array) => number) {
  const state = { x: new Int32Array(4) }
  const memory = new Memory(state)
  const counted = { runs: 0 }
  const tree = new SectionTree(memory, 'section', () => {
    counted.runs++
    return section(memory.view.x)
  })
  const cellAt = (i: number): number => memory.cellOf(state.x, i)
  const evaluate = (...values: number[]) => {
    const { result, writes, failed } = tree.evaluate((cell) => values[memory.cells[cell].index])
    const named = writes.map(([cell, value]) => [memory.nameOf(cell), value])
    return { result, writes: Object.fromEntries(named), failed }
  }
  return { tree, counted, cellAt, evaluate }
}

test('the code runs once for each path: cells that it does not read do not matter', () => {
  const { tree, counted, cellAt, evaluate } = sectionOf((x) => (x[0] === 1 ? x[1] : -1))
  expect(evaluate(1, 5, 0, 0).result).toBe(5)
  expect(evaluate(1, 5, 9, 9).result).toBe(5)
  expect(counted.runs).toBe(1)
  expect(evaluate(1, 6, 0, 0).result).toBe(6)
  expect(evaluate(0, 6, 0, 0).result).toBe(-1)
  expect(evaluate(0, 7, 0, 0).result).toBe(-1)
  expect(counted.runs).toBe(3)
  expect([...tree.reads]).toEqual([cellAt(0), cellAt(1)])
})

test('it reads what it has written, and only changes are writes', () => {
  const { tree, cellAt, evaluate } = sectionOf((x) => {
    x[0] += 1
    x[0] -= 1 // as it was
    x[1] = 3 // not read before: a write, whatever was there
    x[2] = x[1] + 1
    return x[2]
  })
  expect(evaluate(7, 3, 0, 0)).toEqual({ result: 4, writes: { 'x[1]': 3, 'x[2]': 4 }, failed: undefined })
  expect([...tree.reads]).toEqual([cellAt(0)])
  expect([...tree.writes]).toEqual([cellAt(1), cellAt(2)])
})

test('what it breaks is told, and what it wrote before is not', () => {
  const { evaluate } = sectionOf((x) => {
    x[1] = 1
    assert(x[0] === 0, 'the first one is zero')
    return 0
  })
  expect(evaluate(1, 0, 0, 0)).toEqual({ result: 0, writes: {}, failed: 'the first one is zero' })
  expect(evaluate(0, 0, 0, 0).failed).toBe(undefined)
})

test('an error of any kind is told', () => {
  const { evaluate } = sectionOf(() => {
    throw new RangeError('too far')
  })
  expect(evaluate(0, 0, 0, 0).failed).toBe('threw RangeError: too far')
})

test('a section without reads is one path', () => {
  const { counted, evaluate } = sectionOf(() => 2.9)
  expect([evaluate(0, 0, 0, 0).result, evaluate(1, 1, 1, 1).result, counted.runs]).toEqual([2, 2, 1])
})

test('a section sees its lock taken, and leaves it free, as under FastCpu', () => {
  const run = (cpu: Cpu, s: Shared): number => cpu.atomically(s.lock, 0, 2, lockWord, s, 0, 0, 0)
  const state: Shared = { x: new Int32Array(1), lock: new Int32Array([4]) }
  expect(run(new FastCpu(), state)).toBe(6)
  expect([...state.lock]).toEqual([4])
  const report = check({ name: 'lock word', state, tasks: [{ name: 'one', run }] }, DEFAULTS)
  expect([...report.ends]).toEqual([' | 6'])
})

const lockWord = (s: Shared): number => s.lock[0]
