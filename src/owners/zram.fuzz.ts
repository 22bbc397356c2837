/**
 * zram against a map from sector to bytes: a million operations with contents in a long run (testing/zram_harness.ts).
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import { testHistories } from '../testing/histories.ts'
import { ZramHarness, zramOps } from '../testing/zram_harness.ts'

const roomy = fc.constantFrom(
  '........',
  '........',
  '.U.U.U.U',
  'M.M.M.M.',
  'UUUUUUUU',
  '..M..U..',
  'M===M===',
)
const full = fc.constantFrom('UUUUUUUU', 'UUUUUUUU', 'UUUU.UUU', 'U.MUU.MU', 'MUM.UUUU')
/** Two pageblocks, with free pages in both: in the second one compaction looks for targets. */
const pictures = fc
  .tuple(
    fc.array(roomy, { minLength: 1, maxLength: 60, size: 'max' }),
    fc.array(full, { minLength: 40, maxLength: 128 }),
  )
  .chain(([some, others]) =>
    fc.shuffledSubarray([...some, ...others], { minLength: some.length + others.length }),
  )
  .map((units) => units.join('').slice(0, 1024))

/** What happens in any thousand histories. */
const KINDS = [
  'compressed',
  'freed',
  'freed by the worker',
  'huge',
  'mapped',
  'moved',
  'no memory',
  'objects moved, pages freed',
  'put back',
  'same',
  'some moved, some not',
  'zone compacted',
]

testHistories({
  machines: fc.record({
    picture: pictures,
    chainSize: fc.constantFrom(4, 8),
    movable: fc.boolean(),
  }),
  ops: zramOps,
  begin: (machine) => new ZramHarness(machine),
  expectSeen: (kinds) => expect(kinds).toEqual(expect.arrayContaining(KINDS)),
  operations: [12_000, 1_000_000],
})
