/**
 * The allocator against a naive model of it, operation by operation: random allocations by order, gfp, node and right,
 * frees, drains, isolated pageblocks and other changes of type, the HIGHATOMIC reserve, targets of compaction, captures;
 * on two cpus, with and without per-cpu lists. Every sentence of verify.ts after every operation.
 *
 * The model and what it leaves out: testing/allocator_model.ts.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AllocatorHarness } from '../testing/allocator_harness.ts'
import {
  type AllocatorOp,
  allocatorOps,
  type HarnessOptions,
  LAYOUTS,
  type Layout,
} from '../testing/allocator_ops.ts'
import { RULES_6_1, RULES_6_18 } from './rules.ts'

const OPS_PER_RUN = 300 // at most; half of that on average
const long = process.env['DROVER_FUZZ'] === '1'

const layouts = fc.constantFrom(...LAYOUTS)
const options: fc.Arbitrary<HarnessOptions> = fc.record({
  pcp: fc.boolean(),
  defragMode: fc.boolean(),
  rules: fc.constantFrom(RULES_6_18, RULES_6_1),
})
const ops = fc.array(allocatorOps(), { minLength: 1, maxLength: OPS_PER_RUN, size: 'max' })

function play(layout: Layout, how: HarnessOptions, history: readonly AllocatorOp[]): AllocatorHarness {
  const harness = new AllocatorHarness(layout, how)
  for (const op of history) harness.run(op)
  return harness
}

/** What happens in any thousand histories. */
const KINDS = [
  ...['all', 'atomic', 'min', 'normal', 'oom'].flatMap((right) => [
    `alloc ${right} fails`,
    `alloc ${right} succeeds`,
  ]),
  'capture',
  'claim',
  'reserve',
  'steal',
  'takeFree',
  'takeFree refused',
  'unreserve',
  'unreserve a whole pageblock',
]

// A quarter each, so that a long run is four tests.
describe.each([1, 2, 3, 4])('histories, part %i', (part) => {
  test('engine and model agree after every operation', { timeout: 3_600_000 }, () => {
    const wanted = (long ? 10_000_000 : 100_000) / 4
    let done = 0
    const seen = new Set<string>()
    const property = fc.property(layouts, options, ops, (layout, how, history) => {
      for (const kind of play(layout, how, history).seen) seen.add(kind)
      done += history.length
    })
    fc.assert(property, { numRuns: Math.ceil((2.3 * wanted) / OPS_PER_RUN), seed: part })
    expect(done).toBeGreaterThan(wanted)
    expect([...seen].sort()).toEqual(KINDS)
  })
})

test('the same seed gives the same arena, to the bit, and another seed another', () => {
  const hashes = (seed: number): number[] =>
    fc
      .sample(fc.tuple(layouts, options, ops), { seed, numRuns: 3 })
      .map(([layout, how, history]) => play(layout, how, history).mm.arena.hash())
  expect(hashes(1)).toEqual(hashes(1))
  expect(new Set([...hashes(1), ...hashes(2)]).size).toBe(6)
})
