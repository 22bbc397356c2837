/** Quantities and how they are spread. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type * as z from 'zod'
import { Prng } from '../base/prng.ts'
import { draw, duration, largest, pages, rate, size, spread } from './quantities.ts'

const read = <T>(schema: z.ZodType<T>, value: unknown): T | string => {
  const parsed = schema.safeParse(value)
  return parsed.success ? parsed.data : parsed.error.issues[0].message
}

test('sizes, times and rates in their units', () => {
  expect(['4KiB', '1.5 GiB', '2M', 4096, '0'].map((text) => read(size, text))).toEqual([
    4096,
    1.5 * 2 ** 30,
    2 ** 21,
    4096,
    0,
  ])
  expect(['500us', '20ms', '1.5s', '2min'].map((text) => read(duration, text))).toEqual([
    5e5, 2e7, 1.5e9, 1.2e11,
  ])
  expect(read(rate, '200/s')).toBe(200)
  expect(read(pages, '5KiB')).toBe(2)
})

test('anything else is refused with what was meant', () => {
  expect(read(size, '12 apples')).toBe('"12 apples" is not a size, as 4KiB, 128MiB, 1GiB')
  expect(read(size, '-1')).toMatch('is not a size')
  expect(read(duration, 5)).toMatch('5 is not a time')
  expect(read(duration, '5')).toMatch('is not a time')
  expect(read(rate, '5s')).toMatch('is not a rate')
  expect(spread(size).safeParse({ uniform: ['2KiB', '1KiB'] }).success).toBe(false)
  expect(spread(size).safeParse({ choice: [] }).success).toBe(false)
})

test('draws lie within, and have the mean that was asked for', () => {
  const mean = (of: Parameters<typeof draw>[1], times = 40_000): number => {
    const prng = new Prng(7)
    let sum = 0
    for (let i = 0; i < times; i++) sum += draw(prng, of)
    return sum / times
  }
  expect(mean(17)).toBe(17)
  expect(mean({ uniform: [10, 20] })).toBeCloseTo(15, 0)
  expect(mean({ exponential: 1e6 }) / 1e6).toBeCloseTo(1, 1)
  expect(
    mean({
      choice: [
        [1, 3],
        [5, 1],
      ],
    }),
  ).toBeCloseTo(2, 1) // 1 three times as often as 5
})

test('an exponential draw exceeds t of its mean with probability e^-t', () => {
  const prng = new Prng(3)
  const draws = Array.from({ length: 50_000 }, () => draw(prng, { exponential: 1e9 }) / 1e9)
  for (const [t, share] of [
    [0.5, 0.6065],
    [1, 0.3679],
    [2, 0.1353],
    [4, 0.0183],
  ]) {
    expect(Math.abs(draws.filter((value) => value > t).length / draws.length - share)).toBeLessThan(0.01)
  }
})

test('no draw is above the largest', () => {
  const bounds = fc.tuple(fc.nat(1e9), fc.nat(1e9)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
  fc.assert(
    fc.property(bounds, fc.nat(), ([from, to], seed) => {
      const of = { uniform: [from, to] as const }
      const value = draw(new Prng(seed), of)
      expect(value).toBeGreaterThanOrEqual(from)
      expect(value).toBeLessThanOrEqual(largest(of))
    }),
  )
  expect(
    largest({
      choice: [
        [3, 1],
        [9, 1],
      ],
    }),
  ).toBe(9)
})
