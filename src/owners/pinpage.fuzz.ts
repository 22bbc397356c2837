/**
 * Pin page control against a naive table of pins, operation by operation: pins of three subsystems, alone and in groups,
 * set, cleared while isolated or not, written to, migrated in all modes with too few targets, with pages that are locked
 * or used by a device, compacted; subsystems that come and go. Every sentence of verify.ts after every operation.
 *
 * The table: testing/pin_harness.ts.
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import { testHistories } from '../testing/histories.ts'
import { PinHarness, pinOps } from '../testing/pin_harness.ts'

const unit = fc.constantFrom('........', 'U.U.U.U.', 'UUUU....', '....MM..', 'UUUUUUUU', '..F.z...')
const pictures = fc.array(unit, { minLength: 3, maxLength: 24 }).map((units) => units.join(''))
const options = fc.record({
  nested: fc.constantFrom('refuse' as const, 'agree' as const),
  ranges: fc.constantFrom(4, 12, 40),
})

testHistories({
  machines: fc.tuple(pictures, options),
  ops: pinOps(),
  begin: ([picture, how]) => new PinHarness(picture, how),
  operations: [4000, 1_000_000],
  // What is rarer (a pin that cannot be taken back for want of a node) is seen in long runs.
  expectSeen: (kinds) =>
    expect(kinds).toEqual(
      expect.arrayContaining([
        'all migrated',
        'cleared',
        'group moved',
        'nested',
        'not all migrated',
        'not nested',
        'not pinned',
        'not unregistered',
        'one moved',
        'pinned',
        'unregistered',
      ]),
    ),
})
