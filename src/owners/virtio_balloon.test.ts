/** The balloon's interface against its header, and against what a host and a guest said of a real one. */

import { expect, test } from 'vitest'
import {
  balloonFeatures,
  numPagesFor,
  pfnMessages,
  towardsTarget,
  VIRTIO_BALLOON_FEATURES,
} from './virtio_balloon.ts'

const MiB = 2 ** 20

/**
 * What QEMU and Linux 6.1 said of a guest of 1024 MiB (captures c0 and c4): the host's wish, the guest's
 * balloon_inflate of /proc/vmstat, and `actual` of the first BALLOON_CHANGE event, in bytes that are left.
 */
const SEEN = [
  { wanted: 700 * MiB, balloonInflate: 82_944, firstActual: 1_072_693_248 },
  { wanted: 600 * MiB, balloonInflate: 108_544, firstActual: 1_072_693_248 },
]

/**
 * [M] settled: feature bits by include/uapi/linux/virtio_balloon.h (6.18 has these six); frames of 4 KiB and messages of
 * 256 by what the host was told: it learns of the first MiB, 256 frames, before it learns of more.
 */
test('I-6 features by bit; frames of 4 KiB, at most 256 a message, and `actual` after each', () => {
  expect(VIRTIO_BALLOON_FEATURES.map((name, bit) => `${bit} ${name}`)).toEqual([
    '0 MUST_TELL_HOST',
    '1 STATS_VQ',
    '2 DEFLATE_ON_OOM',
    '3 FREE_PAGE_HINT',
    '4 PAGE_POISON',
    '5 REPORTING',
  ])
  // free-page-reporting=on, deflate-on-oom=on; bit 32 and above (VERSION_1) is another word.
  expect(balloonFeatures(0b100_110)).toEqual(['STATS_VQ', 'DEFLATE_ON_OOM', 'REPORTING'])
  for (const { wanted, balloonInflate, firstActual } of SEEN) {
    const numPages = numPagesFor(1024 * MiB, wanted)
    expect(towardsTarget({ numPages, actual: 0 })).toBe(balloonInflate)
    const messages = pfnMessages(Array.from({ length: numPages }, (_, i) => 0x20000 - i))
    expect(1024 * MiB - 4096 * messages[0].length).toBe(firstActual)
    expect(messages.reduce((sum, message) => sum + message.length, 0)).toBe(balloonInflate)
    expect(messages.slice(0, -1).every((message) => message.length === 256)).toBe(true)
  }
  expect(towardsTarget({ numPages: 0, actual: 82_944 })).toBe(-82_944)
})

test('a page of 64 KiB is 16 frames, and is not cut by the end of a message', () => {
  const messages = pfnMessages([3, 9, ...Array.from({ length: 15 }, (_, i) => 100 + i)], 16)
  expect(messages.map((message) => message.length)).toEqual([256, 16])
  expect(Array.from(messages[0].slice(0, 17))).toEqual([...Array.from({ length: 16 }, (_, i) => 48 + i), 144])
  expect([...messages[1]]).toEqual(Array.from({ length: 16 }, (_, i) => 114 * 16 + i))
  expect(pfnMessages([])).toEqual([])
})
