/** LZ4 blocks: vectors written by hand from the format, sizes of the reference, round trips, and blocks that are none. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Bytes, bytesOf, newBytes } from '../base/bytes.ts'
import { Prng } from '../base/prng.ts'
import { LZ4_CORRUPT, LZ4_TABLE_ENTRIES, lz4Bound, lz4Compress, lz4Decompress } from './lz4.ts'

const table = new Uint16Array(LZ4_TABLE_ENTRIES)

function compress(input: Uint8Array): Uint8Array {
  const out = newBytes(lz4Bound(input.length))
  const size = lz4Compress(bytesOf(input), out, table)
  return out.bytes.slice(0, size)
}

/** What a block becomes in a buffer of `room` bytes. Around block and buffer lie bytes that nobody may touch. */
function decompress(block: Uint8Array, room: number): Uint8Array | undefined {
  const around = new Uint8Array(block.length + 64).fill(0x5a)
  around.set(block, 32)
  const to = new Uint8Array(room + 64).fill(0xa5)
  const dst: Bytes = bytesOf(to.subarray(32, 32 + room))
  const got = lz4Decompress(bytesOf(around), 32, block.length, dst)
  expect(to.subarray(0, 32).every((byte) => byte === 0xa5)).toBe(true)
  expect(to.subarray(32 + room).every((byte) => byte === 0xa5)).toBe(true)
  return got === LZ4_CORRUPT ? undefined : dst.bytes.slice(0, got)
}

const ascii = (text: string): number[] => [...new TextEncoder().encode(text)]

// Token: literals << 4 | match - 4. Offset: low byte first.
const VECTORS: readonly (readonly [what: string, block: readonly number[], text: string])[] = [
  ['nothing', [0x00], ''],
  ['literals only', [0x50, ...ascii('hello')], 'hello'],
  ['15 literals: a length byte of 0', [0xf0, 0, ...ascii('fifteen letters')], 'fifteen letters'],
  ['270 literals: 255 and 0', [0xf0, 255, 0, ...ascii('x'.repeat(270))], 'x'.repeat(270)],
  [
    'a match of 4 at 3 back, which overlaps itself',
    [0x30, ...ascii('abc'), 3, 0, 0x50, ...ascii('hello')],
    'abcabcahello',
  ],
  [
    'a match of 19: a length byte of 0',
    [0x1f, ...ascii('a'), 1, 0, 0, 0x10, ...ascii('b')],
    `${'a'.repeat(20)}b`,
  ],
  [
    'a match of 19 + 255 + 1',
    [0x1f, ...ascii('a'), 1, 0, 255, 1, 0x10, ...ascii('b')],
    `${'a'.repeat(276)}b`,
  ],
  [
    'two matches without literals between them',
    [0x40, ...ascii('abcd'), 4, 0, 0x00, 2, 0, 0x10, ...ascii('!')],
    'abcdabcdcdcd!',
  ],
]

describe('vectors from the format', () => {
  test.each(VECTORS)('%s', (_, block, text) => {
    const found = decompress(Uint8Array.from(block), 1000)
    expect(new TextDecoder().decode(found)).toBe(text)
  })

  test('what the compressor makes of a repetition: literals, one match, the last five bytes as literals', () => {
    const text = ascii('0123456789abcdef0123456789abcdef0123456789')
    // 42 bytes: 16 literals, a match of 21 (17 beyond the 4) at 16 back, and 5 literals.
    expect([...compress(Uint8Array.from(text))]).toEqual([
      0xff,
      1,
      ...ascii('0123456789abcdef'),
      16,
      0,
      2,
      0x50,
      ...ascii('56789'),
    ])
  })

  test('up to 12 bytes there is nothing but literals', () => {
    expect([...compress(new Uint8Array(12))]).toEqual([0xc0, ...new Uint8Array(12)])
    expect([...compress(new Uint8Array(13))]).toEqual([0x13, 0, 1, 0, 0x50, 0, 0, 0, 0, 0])
  })
})

const NO_BLOCKS: readonly (readonly [what: string, block: readonly number[]])[] = [
  ['no byte', []],
  ['literals beyond the end', [0x50, ...ascii('hell')]],
  ['a length that does not end', [0xf0, 255]],
  ['half an offset', [0x10, 97, 1]],
  ['offset 0', [0x10, 97, 0, 0, 0x10, 97]],
  ['a match before the beginning', [0x10, 97, 2, 0, 0x10, 97]],
  ['a match length that does not end', [0x1f, 97, 1, 0, 255]],
  ['a match at the end', [0x10, 97, 1, 0]],
  ['a match length in the last token', [0x14, 97]],
]

test.each(NO_BLOCKS)('no block: %s', (_, block) => {
  expect(decompress(Uint8Array.from(block), 100)).toBe(undefined)
})

test('a block that does not fit is refused, and writes nothing beyond', () => {
  const block = compress(new Uint8Array(4096))
  expect(decompress(block, 4096)).toHaveLength(4096)
  for (const room of [0, 1, 4, 100, 4090, 4095]) expect(decompress(block, room)).toBe(undefined)
})

/** Pages of several kinds, the same in every run. */
function pagesOfKinds(): Uint8Array[] {
  const prng = new Prng(42)
  const words = Array.from({ length: 64 }, () => prng.below(2 ** 32))
  return Array.from({ length: 256 }, (_, kind) => {
    const page = new Uint8Array(4096)
    const view = new DataView(page.buffer)
    for (let at = 0; at < 4096; at += 4) {
      const share = prng.below(256)
      const word = share < kind ? prng.below(2 ** 32) : words[prng.below(1 + (kind % 64))]
      view.setUint32(at, word, true)
    }
    return page
  })
}

/** Of the blocks of pagesOfKinds(), as liblz4 1.9.4 makes them (LZ4_compress_default): bytes, and hash * 31 + byte of each. */
const LIBLZ4 = { bytes: 915_478, hash: 1_636_559_830 }

test('byte for byte what liblz4 1.9.4 makes of the same pages', () => {
  let bytes = 0
  let hash = 0
  for (const page of pagesOfKinds()) {
    const block = compress(page)
    bytes += block.length
    for (const byte of block) hash = (Math.imul(hash, 31) + byte) >>> 0
  }
  expect({ bytes, hash }).toEqual(LIBLZ4)
})

const inputs = fc.oneof(
  fc.uint8Array({ maxLength: 5000 }),
  // Few different bytes, in pieces that come back.
  fc
    .array(
      fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40, max: 3 }), fc.integer({ min: 1, max: 60 })),
      {
        maxLength: 30,
      },
    )
    .map((pieces) =>
      Uint8Array.from(
        pieces.flatMap(([piece, times]) => Array.from({ length: times }, () => [...piece]).flat()),
      ),
    ),
)

test('what is decompressed is what was compressed', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const block = compress(input)
      expect(block.length).toBeLessThanOrEqual(lz4Bound(input.length))
      expect(decompress(block, input.length)).toEqual(input)
    }),
    { numRuns: process.env['DROVER_FUZZ'] === '1' ? 20_000 : 300 },
  )
})

test('a damaged block is refused, or gives other bytes; nothing outside is read or written', () => {
  const damage = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }))
  fc.assert(
    fc.property(inputs, fc.array(damage, { minLength: 1, maxLength: 5 }), fc.nat(), (input, damages, cut) => {
      const block = compress(input)
      for (const [at, bits] of damages) block[at % block.length] ^= bits
      decompress(block.slice(0, 1 + (cut % block.length)), input.length)
      decompress(block, input.length)
    }),
    { numRuns: process.env['DROVER_FUZZ'] === '1' ? 20_000 : 300 },
  )
})
