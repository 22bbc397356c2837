/**
 * Compaction against a naive model of what users see, operation by operation: passes of all orders, modes and kinds,
 * allocations that reclaim and compact, kswapd and kcompactd; and in between, migrations of random sets of pages, and users
 * that map, unmap, write, drop and free. Every sentence of verify.ts after every operation.
 *
 * The model: testing/migration_harness.ts.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { zoneIdOf } from '../base/units.ts'
import {
  compactionOps,
  type HarnessOptions,
  MigrationHarness,
  type MigrationOp,
} from '../testing/migration_harness.ts'
import { GFP_HIGHUSER_MOVABLE } from './gfp.ts'
import { RULES_6_1, RULES_6_18 } from './rules.ts'

const OPS_PER_RUN = 300 // at most; half of that on average
const long = process.env['DROVER_FUZZ'] === '1'

const unit = fc.constantFrom(
  'M=======',
  'F=======',
  'M===....',
  'F=F=M=U=',
  'MMMFFMMF',
  'M.M.M.M.',
  'zzzz....',
  'zMMzUMMF',
  'DWDSSSMM',
  'PM.MEMEM',
  'UUUUUUUU',
  '........',
  '.M.F.U.M',
)
const pictures = fc.array(unit, { minLength: 8, maxLength: 128 }).map((units) => units.join(''))
const options: fc.Arbitrary<HarnessOptions> = fc.record({
  rules: fc.constantFrom(RULES_6_18, RULES_6_1),
  high: fc.constantFrom(0, 16),
  blocks: fc.constantFrom(2, 3),
  watermarks: fc.constantFrom(0, 16),
  defragMode: fc.boolean(),
})
const ops = fc.array(compactionOps(), { minLength: 1, maxLength: OPS_PER_RUN, size: 'max' })

function play(picture: string, how: HarnessOptions, history: readonly MigrationOp[]): MigrationHarness {
  const harness = new MigrationHarness(picture, how)
  for (const op of history) harness.run(op)
  return harness
}

/** What happens in any thousand histories. */
const KINDS = ['complete', 'partial_skipped', 'skipped', 'success', 'reclaimed', 'refused', 'served', 'woken']

// A quarter each, so that a long run is four tests.
describe.each([1, 2, 3, 4])('histories, part %i', (part) => {
  test('users see what they saw, and no page is lost', { timeout: 3_600_000 }, () => {
    const wanted = (long ? 10_000_000 : 100_000) / 4
    let done = 0
    const seen = new Set<string>()
    const property = fc.property(pictures, options, ops, (picture, how, history) => {
      for (const kind of play(picture, how, history).seen) seen.add(kind)
      done += history.length
    })
    fc.assert(property, { numRuns: Math.ceil((2.3 * wanted) / OPS_PER_RUN), seed: part })
    expect(done).toBeGreaterThan(wanted)
    expect([...seen]).toEqual(expect.arrayContaining(KINDS))
  })
})

test('the same seed gives the same arena, to the bit, and another seed another', () => {
  const hashes = (seed: number): number[] =>
    fc
      .sample(fc.tuple(pictures, options, ops), { seed, numRuns: 3 })
      .map(([picture, how, history]) => play(picture, how, history).mm.arena.hash())
  expect(hashes(1)).toEqual(hashes(1))
  expect(new Set([...hashes(1), ...hashes(2)]).size).toBe(6)
})

test('what was found: a pass that has scanned the first pageblock leaves its position before it', () => {
  const picture =
    'M=======.M.F.U.MM=======........zzzz....M=======M===....M=======M.M.M.M.M=======M=======........'
  const how = { rules: RULES_6_18, high: 0, blocks: 3, watermarks: 0, defragMode: false }
  const harness = play(picture, how, [
    { op: 'request', order: 5, gfp: GFP_HIGHUSER_MOVABLE },
    { op: 'request', order: 4, gfp: GFP_HIGHUSER_MOVABLE },
    { op: 'map', which: 0 },
  ])
  expect(harness.mm.cachedFreePfn[zoneIdOf(0)]).toBe(0) // the zone begins at 512
})
