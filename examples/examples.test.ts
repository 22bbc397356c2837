/** Every example runs, and gives what it promises. */

import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { FOLL_LONGTERM, FOLL_PIN } from '../src/mm/gup_longterm.ts'
import { movedByZone } from './compact_a_capture.ts'
import { freeHugePages } from './which_pin_helps.ts'

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

test('which_pin_helps: a ring moves if it can be asked, a device’s page if it left Movable before it was pinned', () => {
  expect(freeHugePages('not', FOLL_PIN)).toEqual([0, 0])
  expect(freeHugePages('alone', FOLL_PIN)).toEqual([3, 0])
  expect(freeHugePages('group', FOLL_PIN)).toEqual([1, 0])
  expect(freeHugePages('not', FOLL_PIN | FOLL_LONGTERM)).toEqual([0, 4])
})
