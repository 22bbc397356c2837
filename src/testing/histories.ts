/**
 * Random histories: the same engine and model, begun from random machines, through random operations.
 *
 * The harness compares the two after every operation. Here is how many histories there are, what makes them
 * repeatable, and that they are worth something: together they have seen everything that can happen.
 *
 * 100,000 operations, or with DROVER_FUZZ=1 (npm run fuzz) ten million; another number of them where a test says so.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Mm } from '../mm/page.ts'

const OPS_PER_RUN = 300 // at most; half of that on average
const LONG = process.env['DROVER_FUZZ'] === '1'
// Few histories may be shorter than they are on average.
const SPARE_RUNS = 15
// So that a long run is several tests.
const PARTS = [1, 2, 3, 4]

/** An engine and its model. */
export interface Harness<Op> {
  readonly mm: Mm
  /** The kinds of outcome that there have been. */
  readonly seen: Iterable<string>
  /** Does the operation on both; throws where they differ. */
  run(op: Op): void
}

export interface Histories<Machine, Op> {
  readonly machines: fc.Arbitrary<Machine>
  readonly ops: fc.Arbitrary<Op>
  readonly begin: (machine: Machine) => Harness<Op>
  /** Operations in all: usually, and with DROVER_FUZZ=1. */
  readonly operations?: readonly [usual: number, long: number]
  /** Holds what was seen in a quarter of the operations to what must be. */
  readonly expectSeen: (kinds: string[]) => void
}

/** The harness, after a history. */
export function play<Op>(harness: Harness<Op>, history: readonly Op[]): Harness<Op> {
  for (const op of history) harness.run(op)
  return harness
}

/** Tests of random histories. */
export function testHistories<Machine, Op>(histories: Histories<Machine, Op>): void {
  const { machines, begin, expectSeen, operations = [100_000, 10_000_000] } = histories
  const ops = fc.array(histories.ops, { minLength: 1, maxLength: OPS_PER_RUN, size: 'max' })

  describe.each(PARTS)('histories, part %i', (part) => {
    test('engine and model agree after every operation', { timeout: 3_600_000 }, () => {
      const wanted = operations[LONG ? 1 : 0] / PARTS.length
      let done = 0
      const seen = new Set<string>()
      const property = fc.property(machines, ops, (machine, history) => {
        for (const kind of play(begin(machine), history).seen) seen.add(kind)
        done += history.length
      })
      fc.assert(property, { numRuns: Math.ceil((2.3 * wanted) / OPS_PER_RUN) + SPARE_RUNS, seed: part })
      expect(done).toBeGreaterThan(wanted)
      expectSeen([...seen].sort())
    })
  })

  test('the same seed gives the same arena, to the bit, and another seed another', () => {
    const hashes = (seed: number): number[] =>
      fc
        .sample(fc.tuple(machines, ops), { seed, numRuns: 3 })
        .map(([machine, history]) => play(begin(machine), history).mm.arena.hash())
    expect(hashes(1)).toEqual(hashes(1))
    expect(new Set([...hashes(1), ...hashes(2)]).size).toBe(6)
  })
}
