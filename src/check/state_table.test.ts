/**
 * The table against a map: every state once, by its number, in the order of discovery, at any size.
 */

import { expect, test } from 'vitest'
import { Prng } from '../base/prng.ts'
import { StateTable } from './state_table.ts'

/** States of `width` words with few values, so that many come more than once; some differ in the top bits only. */
function drawn(prng: Prng, width: number): Int32Array {
  return Int32Array.from({ length: width }, () => prng.below(60) << (prng.below(2) * 26))
}

/** The reference: numbers by the state's text. */
class Naive {
  readonly numbers = new Map<string, number>()

  /** Its number, or -1 - number if it was known. */
  add(words: Int32Array): number {
    const known = this.numbers.get(words.join())
    if (known !== undefined) return -1 - known
    this.numbers.set(words.join(), this.numbers.size)
    return this.numbers.size - 1
  }
}

test.each([1, 2, 5, 20])('states of %i words get the numbers that a map gives them', (width) => {
  const prng = new Prng(width)
  const table = new StateTable(width)
  const naive = new Naive()
  for (let i = 0; i < 20_000; i++) {
    const words = drawn(prng, width)
    table.reserve(1)
    expect(table.add(words, table.hashOf(words), i, i & 7)).toBe(naive.add(words))
  }
  expect(table.count).toBe(naive.numbers.size)
  for (const [text, number] of naive.numbers) {
    expect(table.find(Int32Array.from(text.split(','), Number))).toBe(number)
  }
  expect(table.find(new Int32Array(width).fill(-1))).toBe(-1)
})

test('states that wait are added in their order, with where they were found', () => {
  const prng = new Prng(7)
  const table = new StateTable(3)
  const naive = new Naive()
  const origins: [parent: number, via: number][] = []
  for (let i = 0; i < 30_000; i++) {
    const words = drawn(prng, 3)
    if (naive.add(words) >= 0) origins.push([i, i % 24])
    table.wait(words, i, i % 24)
    if (table.isBatchFull || prng.below(50) === 0) table.addWaiting()
  }
  table.addWaiting()
  expect(table.count).toBe(naive.numbers.size)
  const words = new Int32Array(3)
  for (const [text, number] of naive.numbers) {
    table.copy(number, words)
    expect(words.join()).toBe(text)
    expect([table.parents[number], table.via[number]]).toEqual(origins[number])
  }
})

test('equal hashes are told apart by the states', () => {
  const table = new StateTable(2)
  const numbers = [1, 2, 3, 2, 1].map((value) => table.add(Int32Array.of(value, 0), 77, -1, 0))
  expect(numbers).toEqual([0, 1, 2, -2, -1])
})
