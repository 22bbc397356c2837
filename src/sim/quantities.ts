/**
 * Quantities as people write them in a scenario: `128MiB`, `500ms`, `2000/s`, and how they are spread.
 *
 * A quantity is a number, or a distribution from which one is drawn each time:
 *   4MiB                                    always that
 *   { uniform: [1MiB, 8MiB] }               each whole number from the first to the last equally likely
 *   { exponential: 2s }                     by its mean
 *   { choice: [[4KiB, 3], [64KiB, 1]] }     values with their weights
 *
 * Rules:
 *   - sizes are bytes, durations nanoseconds, rates a second;
 *   - only integer arithmetic and comparisons decide: the same numbers on every machine.
 *
 * @ours
 */

import * as z from 'zod'
import type { Prng } from '../base/prng.ts'

const SIZES: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 2 ** 10,
  KiB: 2 ** 10,
  M: 2 ** 20,
  MiB: 2 ** 20,
  G: 2 ** 30,
  GiB: 2 ** 30,
  T: 2 ** 40,
  TiB: 2 ** 40,
}
const DURATIONS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  ms: 1e6,
  s: 1e9,
  min: 60e9,
  h: 3600e9,
}
const RATES: Readonly<Record<string, number>> = { '/s': 1, '/ms': 1e3, '/min': 1 / 60 }

/** Nanoseconds of a second. */
export const SECOND = 1e9
/** Bytes of a page. */
export const PAGE_SIZE = 4096

/** The number that a text says with one of these units; NaN if it says none. */
function parse(text: string, units: Readonly<Record<string, number>>): number {
  const found = /^(\d+(?:\.\d+)?) ?([A-Za-z/]*)$/.exec(text.trim())
  if (found === null || !(found[2] in units)) return Number.NaN
  return Number(found[1]) * units[found[2]]
}

const quantity = (units: Readonly<Record<string, number>>, what: string, plain: boolean): z.ZodType<number> =>
  z
    .union([z.string(), z.number()], { error: what })
    .transform((value, context) => {
      const number =
        typeof value === 'string' ? parse(value, units) : plain || value === 0 ? value : Number.NaN
      if (Number.isFinite(number) && number >= 0) return number
      context.addIssue({ code: 'custom', message: `${JSON.stringify(value)} is not ${what}` })
      return z.NEVER
    })
    .meta({ description: what })

/** Bytes. */
export const size = quantity(SIZES, 'a size, as 4KiB, 128MiB, 1GiB', true)
/** Nanoseconds. */
export const duration = quantity(DURATIONS, 'a time, as 500us, 20ms, 30s, 5min', false)
/** A second. */
export const rate = quantity(RATES, 'a rate, as 200/s', false)
/** Whole pages, as a size. */
export const pages = size.transform((bytes) => Math.ceil(bytes / PAGE_SIZE))
export const count = z.int().min(0)
/** From 0 to 1. */
export const share = z.number().min(0).max(1)

/** How a quantity is spread. */
export type Distribution =
  | number
  | { readonly uniform: readonly [number, number] }
  | { readonly exponential: number }
  | { readonly choice: readonly (readonly [number, number])[] }

/** A quantity of that kind, or how it is spread. */
export const spread = (of: z.ZodType<number>): z.ZodType<Distribution> =>
  z.union([
    of,
    z.strictObject({
      uniform: z.tuple([of, of]).refine(([from, to]) => from <= to, 'the first is not above the last'),
    }),
    z.strictObject({ exponential: of }),
    z.strictObject({ choice: z.array(z.tuple([of, z.int().min(1)])).min(1) }),
  ])

/** One value of a distribution, a whole number. */
export function draw(prng: Prng, of: Distribution): number {
  if (typeof of === 'number') return Math.round(of)
  if ('uniform' in of) return Math.floor(of.uniform[0]) + below(prng, of.uniform[1] - of.uniform[0] + 1)
  if ('exponential' in of) return Math.round(of.exponential * exponential(prng))
  let left = prng.below(of.choice.reduce((sum, [, weight]) => sum + weight, 0))
  for (const [value, weight] of of.choice) {
    if (left < weight) return Math.round(value)
    left -= weight
  }
  return 0
}

/** The largest value that a distribution can give; of an exponential one, what only one in 10^6 exceeds. */
export function largest(of: Distribution): number {
  if (typeof of === 'number') return Math.round(of)
  if ('uniform' in of) return Math.floor(of.uniform[1])
  if ('exponential' in of) return Math.round(14 * of.exponential)
  return of.choice.reduce((most, [value]) => Math.max(most, Math.round(value)), 0)
}

const TWO_32 = 0x1_0000_0000

/** As Prng.below(), for bounds up to 2^53. */
function below(prng: Prng, bound: number): number {
  const whole = Math.floor(bound)
  return whole <= TWO_32 ? prng.below(whole) : Math.floor((prng.next() / TWO_32) * whole)
}

/**
 * A draw from the exponential distribution of mean 1, by comparisons only: Math.log() differs between engines.
 *
 * Uniform numbers are drawn as long as they fall. If the run is of odd length, its first one is the fraction;
 * otherwise the whole part is one more, and it begins again.
 *
 * @paper von Neumann, Various techniques used in connection with random digits, 1951
 */
function exponential(prng: Prng): number {
  for (let whole = 0; ; whole++) {
    // Each round ends it with probability 1 - 1/e.
    const first = prng.next()
    let last = first
    let length = 1
    for (let next = prng.next(); next < last; next = prng.next()) {
      last = next
      length++
    }
    if (length % 2 === 1) return whole + first / TWO_32
  }
}
