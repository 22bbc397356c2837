/** CRC-32 against published values. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { crc32 } from './crc32.ts'

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0))

test.each([
  ['', 0],
  ['a', 0xe8b7be43],
  ['123456789', 0xcbf43926],
  ['The quick brown fox jumps over the lazy dog', 0x414fa339],
])('CRC-32 of %o is the published one', (text, crc) => {
  expect(crc32(bytes(text), 0)).toBe(crc)
})

test('a CRC continues over pieces of any length', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (data, cut) => {
      expect(crc32(data.subarray(cut), crc32(data.subarray(0, cut), 0))).toBe(crc32(data, 0))
    }),
  )
})
