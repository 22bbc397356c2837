/**
 * Migration against a naive model of what users see, operation by operation: random sets of pages of all kinds, all
 * modes, with too few targets, with targets that are too small, with pages that somebody else has locked or holds; and
 * in between, users that map, unmap, write, drop and free. Every sentence of verify.ts after every operation.
 *
 * The model: testing/migration_harness.ts.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MigrationHarness, type MigrationOp, migrationOps } from '../testing/migration_harness.ts'
import { type KernelRules, RULES_6_1, RULES_6_18 } from './rules.ts'

const OPS_PER_RUN = 300 // at most; half of that on average
const long = process.env['DROVER_FUZZ'] === '1'

const unit = fc.constantFrom(
  'M=======',
  'F=======',
  'M===F===',
  'M===....',
  'F=F=M=U=',
  '....U===',
  'MMMFFMMF',
  'zzzz....',
  'zMMzUMMF',
  'DWDSSSMM',
  'PMPMEMEM',
  'UUUUUUUU',
  '........',
  '.M.F.U.M',
)
const pictures = fc.array(unit, { minLength: 4, maxLength: 64 }).map((units) => units.join(''))
const ops = fc.array(migrationOps(), { minLength: 1, maxLength: OPS_PER_RUN, size: 'max' })
const options = fc.record({ rules: fc.constantFrom(RULES_6_18, RULES_6_1), high: fc.constantFrom(0, 16) })

function play(
  picture: string,
  how: { rules: KernelRules; high: number },
  history: readonly MigrationOp[],
): MigrationHarness {
  const harness = new MigrationHarness(picture, how)
  for (const op of history) harness.run(op)
  return harness
}

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
    expect([...seen].sort()).toEqual(['failed', 'moved', 'no memory', 'split'])
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
