/** Every example runs, and gives what it promises. */

import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { movedByZone } from './compact_a_capture.ts'

test('compact_a_capture: the odd pages of a1 that the kernel moved on node 0', () => {
  const capture = fileURLToPath(new URL('../testdata/qemu/a1.before.drover', import.meta.url))
  expect(movedByZone(capture)).toEqual(
    new Map([
      ['DMA', 898],
      ['DMA32', 160],
    ]),
  )
})
