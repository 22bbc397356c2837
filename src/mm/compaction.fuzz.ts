/**
 * Compaction against a naive model of what users see, operation by operation: passes of all orders, modes and kinds,
 * allocations that reclaim and compact, kswapd and kcompactd; and in between, migrations of random sets of pages, and users
 * that map, unmap, write, drop and free. Every sentence of verify.ts after every operation.
 *
 * The model: testing/migration_harness.ts.
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { zoneIdOf } from '../base/units.ts'
import { play, testHistories } from '../testing/histories.ts'
import { compactionOps, type HarnessOptions, MigrationHarness } from '../testing/migration_harness.ts'
import { GFP_HIGHUSER_MOVABLE } from './gfp.ts'
import { RULES_6_1, RULES_6_18 } from './rules.ts'

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
/** What happens in any thousand histories. */
const KINDS = ['complete', 'partial_skipped', 'skipped', 'success', 'reclaimed', 'refused', 'served', 'woken']

testHistories({
  machines: fc.tuple(pictures, options),
  ops: compactionOps(),
  begin: ([picture, how]) => new MigrationHarness(picture, how),
  expectSeen: (kinds) => expect(kinds).toEqual(expect.arrayContaining(KINDS)),
})

test('what was found: a pass that has scanned the first pageblock leaves its position before it', () => {
  const picture =
    'M=======.M.F.U.MM=======........zzzz....M=======M===....M=======M.M.M.M.M=======M=======........'
  const how = { rules: RULES_6_18, high: 0, blocks: 3, watermarks: 0, defragMode: false }
  const harness = play(new MigrationHarness(picture, how), [
    { op: 'request', order: 5, gfp: GFP_HIGHUSER_MOVABLE },
    { op: 'request', order: 4, gfp: GFP_HIGHUSER_MOVABLE },
    { op: 'map', which: 0 },
  ])
  expect(harness.mm.cachedFreePfn[zoneIdOf(0)]).toBe(0) // the zone begins at 512
})
