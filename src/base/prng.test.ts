/** The generator's sequence is fixed for all time, and even enough for what it is used for. */

import { expect, test } from 'vitest'
import { AssertionError } from './assert.ts'
import { Prng } from './prng.ts'

const first = (seed: number, count: number): number[] => {
  const prng = new Prng(seed)
  return Array.from({ length: count }, () => prng.next())
}

test('a seed names a sequence, the same on every machine', () => {
  expect(first(1, 4)).toEqual([2442144158, 3238099751, 3819917871, 2104621829])
  expect(first(1, 100)).toEqual(first(1, 100))
})

test('close seeds give unrelated sequences', () => {
  const seeds = Array.from({ length: 1000 }, (_, seed) => first(seed, 1)[0])
  expect(new Set(seeds).size).toBe(1000)
  // Half of the bits differ between neighbours, give or take.
  const differing = seeds.slice(1).map((value, i) => countBits(value ^ seeds[i]))
  const mean = differing.reduce((sum, bits) => sum + bits, 0) / differing.length
  expect(mean).toBeGreaterThan(15)
  expect(mean).toBeLessThan(17)
})

function countBits(value: number): number {
  let bits = 0
  for (let rest = value; rest !== 0; rest &= rest - 1) bits++
  return bits
}

test('below() hits every number about equally often, and nothing else', () => {
  const prng = new Prng(7)
  const hits = new Int32Array(10)
  for (let i = 0; i < 100_000; i++) hits[prng.below(10)]++
  // 10,000 each; the standard deviation is 95.
  for (const count of hits) expect(Math.abs(count - 10_000)).toBeLessThan(500)
  expect(prng.below(1)).toBe(0)
  expect(prng.below(2 ** 32)).toBeLessThan(2 ** 32)
})

test.each([0, -1, 2 ** 32 + 1])('below(%s) has no meaning', (bound) => {
  expect(() => new Prng(1).below(bound)).toThrow(AssertionError)
})
