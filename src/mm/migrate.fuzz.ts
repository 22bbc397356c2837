/**
 * Migration against a naive model of what users see, operation by operation: random sets of pages of all kinds, all
 * modes, with too few targets, with targets that are too small, with pages that somebody else has locked or holds; and
 * in between, users that map, unmap, write, drop and free. Every sentence of verify.ts after every operation.
 *
 * The model: testing/migration_harness.ts.
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import { testHistories } from '../testing/histories.ts'
import { MigrationHarness, migrationOps } from '../testing/migration_harness.ts'
import { RULES_6_1, RULES_6_18 } from './rules.ts'

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
const options = fc.record({ rules: fc.constantFrom(RULES_6_18, RULES_6_1), high: fc.constantFrom(0, 16) })

testHistories({
  machines: fc.tuple(pictures, options),
  ops: migrationOps(),
  begin: ([picture, how]) => new MigrationHarness(picture, how),
  expectSeen: (kinds) => expect(kinds).toEqual(['failed', 'moved', 'no memory', 'split']),
})
