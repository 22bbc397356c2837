/** Every example runs, and gives what it promises. */

import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { movedByZone } from './compact_a_capture.ts'

test('compact_a_capture: the 1,594 pages of a1 that the kernel moved', () => {
  const capture = fileURLToPath(new URL('../testdata/qemu/a1.before.drover', import.meta.url))
  expect(movedByZone(capture)).toEqual(
    new Map([
      ['0 DMA', 898],
      ['0 DMA32', 160],
      ['1 DMA32', 536],
    ]),
  )
})
