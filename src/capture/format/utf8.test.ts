/** UTF-8 against the host's TextEncoder and TextDecoder. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeUtf8, encodeUtf8 } from './utf8.ts'

test('encodes as TextEncoder does, lone surrogates included', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.array(fc.integer({ min: 0, max: 0xffff })),
      (text, units) => {
        const raw = String.fromCharCode(...units)
        expect(encodeUtf8(text)).toEqual(new TextEncoder().encode(text))
        expect(encodeUtf8(raw)).toEqual(new TextEncoder().encode(raw))
      },
    ),
  )
})

test('decodes what TextDecoder decodes, and refuses what it refuses', () => {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  // Random bytes are hardly ever UTF-8: bytes near the borders of its rules are.
  const border = fc.constantFrom(
    0x41,
    0x7f,
    0x80,
    0xbf,
    0xc1,
    0xc2,
    0xdf,
    0xe0,
    0x9f,
    0xa0,
    0xed,
    0xef,
    0xf0,
    0x8f,
    0x90,
    0xf4,
    0xf5,
    0xff,
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(border, fc.nat(255)), { maxLength: 8 }), (values) => {
      const bytes = Uint8Array.from(values)
      let expected: string | undefined
      try {
        expected = strict.decode(bytes)
      } catch {
        expected = undefined
      }
      expect(decodeUtf8(bytes)).toBe(expected)
    }),
    { numRuns: 3000 },
  )
})

test('a text longer than one piece comes back', () => {
  const text = 'Größe 🐑 '.repeat(5000)
  expect(decodeUtf8(encodeUtf8(text)) === text).toBe(true)
})
