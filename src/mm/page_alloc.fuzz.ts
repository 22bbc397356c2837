/**
 * The allocator against a naive model of it, operation by operation: random allocations by order, gfp, node and right,
 * frees, drains, isolated pageblocks and other changes of type, the HIGHATOMIC reserve, targets of compaction, captures;
 * on two cpus, with and without per-cpu lists. Every sentence of verify.ts after every operation.
 *
 * The model and what it leaves out: testing/allocator_model.ts.
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import { AllocatorHarness } from '../testing/allocator_harness.ts'
import { allocatorOps, type HarnessOptions, LAYOUTS } from '../testing/allocator_ops.ts'
import { testHistories } from '../testing/histories.ts'
import { RULES_6_1, RULES_6_18 } from './rules.ts'

const layouts = fc.constantFrom(...LAYOUTS)
const options: fc.Arbitrary<HarnessOptions> = fc.record({
  pcp: fc.boolean(),
  defragMode: fc.boolean(),
  rules: fc.constantFrom(RULES_6_18, RULES_6_1),
})
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

testHistories({
  machines: fc.tuple(layouts, options),
  ops: allocatorOps(),
  begin: ([layout, how]) => new AllocatorHarness(layout, how),
  expectSeen: (kinds) => expect(kinds).toEqual(KINDS),
})
