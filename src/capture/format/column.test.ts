/** Columns: building, mapping, and the check of an index against its dictionary. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ColumnBuilder,
  columnOfBytes,
  countWords,
  DICTIONARY_WORDS_MAX,
  entryBeyondDictionary,
  mapColumn,
  mapDictionary,
  wordOfHex,
  wordToHex,
} from './column.ts'

/** The column of words `low` with high halves 0. */
function columnOf(low: readonly number[]) {
  const builder = new ColumnBuilder('pfn', low.length, 'test')
  for (const word of low) builder.add(word, 0)
  return builder.finish()
}

describe('ColumnBuilder', () => {
  test('the dictionary is in order of first use, and the high half counts', () => {
    const builder = new ColumnBuilder('pfn', 4, 'flags')
    builder.addPairs(Uint32Array.of(7, 0, 7, 1, 7, 0, 0xffff_ffff, 0xffff_ffff))
    const column = builder.finish()
    expect(column).toEqual({
      ok: true,
      value: {
        scope: 'pfn',
        dictionaryLow: Uint32Array.of(7, 7, 0xffff_ffff),
        dictionaryHigh: Uint32Array.of(0, 1, 0xffff_ffff),
        index: Uint8Array.of(0, 1, 0, 2),
      },
    })
  })

  test('256 words fit in one byte, 257 do not', () => {
    const words = Array.from({ length: 256 }, (_, at) => at * 3)
    const narrow = columnOf(words)
    const wide = columnOf([...words, 1, 765])
    expect(narrow.ok && narrow.value.index).toBeInstanceOf(Uint8Array)
    expect(wide.ok && wide.value.index).toBeInstanceOf(Uint16Array)
    expect(wide.ok && [wide.value.index[255], wide.value.index[256], wide.value.index[257]]).toEqual([
      255, 256, 255,
    ])
  })

  test('what no index addresses is bad input', () => {
    const words = Array.from({ length: DICTIONARY_WORDS_MAX }, (_, at) => at)
    expect(columnOf(words).ok).toBe(true)
    const column = columnOf([...words, DICTIONARY_WORDS_MAX])
    expect(column.ok || column.error.what).toBe('more than 65536 distinct words')
  })

  test('a column that is not full is a bug of ours', () => {
    expect(() => new ColumnBuilder('pfn', 1, 'test').finish()).toThrow('every entry')
  })
})

test('columnOfBytes has the bytes as words', () => {
  const column = columnOfBytes('pageblock', Uint8Array.of(9, 9, 255, 0, 9))
  expect(column.dictionaryLow).toEqual(Uint32Array.of(9, 255, 0))
  expect(column.index).toEqual(Uint8Array.of(0, 0, 1, 2, 0))
})

describe('entryBeyondDictionary', () => {
  const bytes = fc.uint8Array({ maxLength: 24 })
  const words = fc.oneof(fc.constantFrom(1, 127, 128, 129, 255, 256), fc.integer({ min: 1, max: 256 }))

  test('bytes: the first entry beyond, wherever it is and however aligned', () => {
    fc.assert(
      fc.property(bytes, fc.nat(3), words, (entries, offset, limit) => {
        const index = new Uint8Array(new ArrayBuffer(offset + entries.length), offset)
        index.set(entries)
        expect(entryBeyondDictionary(index, limit)).toBe(entries.findIndex((entry) => entry >= limit))
      }),
      { numRuns: 2000 },
    )
  })

  test('bytes: each value at each limit', () => {
    for (let limit = 1; limit <= 256; limit++) {
      const beyond = Array.from({ length: 256 }, (_, value) =>
        entryBeyondDictionary(new Uint8Array(9).fill(value), limit),
      )
      expect(beyond.indexOf(0)).toBe(limit === 256 ? -1 : limit)
      expect(beyond.lastIndexOf(-1)).toBe(limit - 1)
    }
  })

  test('two bytes', () => {
    expect(entryBeyondDictionary(Uint16Array.of(299, 300), 300)).toBe(1)
    expect(entryBeyondDictionary(Uint16Array.of(299, 298), 300)).toBe(-1)
  })
})

test('mapDictionary answers once a word', () => {
  const column = columnOfBytes('pfn', Uint8Array.of(4, 5, 4))
  expect(mapDictionary(column, (low) => low & 1)).toEqual(Int32Array.of(0, 1))
})

test('countWords counts the entries of each word, in whole chunks and behind them', () => {
  const bytes = Uint8Array.from({ length: 2 * 4096 + 3 }, (_, at) => at % 5)
  expect(countWords(columnOfBytes('pfn', bytes))).toEqual(Int32Array.of(1639, 1639, 1639, 1639, 1639))
  expect(countWords(columnOfBytes('pfn', Uint8Array.of(7, 9, 9)))).toEqual(Int32Array.of(1, 2))
})

test('mapColumn merges words that become equal', () => {
  const wide = columnOf(Array.from({ length: 300 }, (_, at) => at))
  if (!wide.ok) throw new Error('300 words fit')
  const parity = mapColumn(wide.value, (low) => ({ low: low & 1, high: 0 }))
  expect(parity.dictionaryLow).toEqual(Uint32Array.of(0, 1))
  expect(parity.index).toBeInstanceOf(Uint8Array)
  expect(parity.index[299]).toBe(1)
})

test.each([
  ['0x0', 0, 0],
  ['0x400', 0x400, 0],
  ['0x400005828', 0x5828, 4],
  ['0xffffffffffffffff', 0xffff_ffff, 0xffff_ffff],
  ['0x100000000', 0, 1],
])('%s is a word and back', (text, low, high) => {
  expect(wordOfHex(text)).toEqual({ low, high })
  expect(wordToHex(low, high)).toBe(text)
})

test.each(['', '0x', '400', '0X1', '0x1_0', '0x11111111111111111', '-0x1', '0xg', ' 0x1'])(
  '%s is no word',
  (text) => {
    expect(wordOfHex(text)).toBeUndefined()
  },
)
