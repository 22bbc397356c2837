/**
 * Column: one attribute of every page, as small indexes into the few words that occur.
 *
 * A 64-bit word is a pair of unsigned 32-bit halves throughout: a BigInt a page would cost more than
 * all the rest of reading a capture. A machine shows under 200 distinct flag words and a few dozen
 * mapcounts, so an index is one byte nearly always; the 257th word widens it to two.
 *
 * Rules:
 *   - The dictionary of a column built here is in order of first use and has no duplicates, so equal
 *     content gives equal columns. A column read from a file need not have either property.
 */

import { assert } from '../../base/assert.ts'
import { bad, ok, type Result } from '../../base/result.ts'
import type { Column, ColumnScope } from './capture.ts'

/** A 64-bit word. Both halves unsigned. */
export interface Word {
  readonly low: number
  readonly high: number
}

/** Distinct words that a column can hold: what two bytes of index address. */
export const DICTIONARY_WORDS_MAX = 65_536

/** Collects the words of a column, one page after the other, with no allocation a page. */
export class ColumnBuilder {
  readonly #scope: ColumnScope
  readonly #name: string
  #index: Uint8Array | Uint16Array
  #filled = 0
  #low = new Uint32Array(256)
  #high = new Uint32Array(256)
  #words = 0
  /** Open addressing: index of the word + 1, 0 is empty. At most half full. */
  #slots = new Int32Array(1024)
  #overflow = false

  /** For `entries` words of the attribute `name` (which only errors mention). */
  constructor(scope: ColumnScope, entries: number, name: string) {
    this.#scope = scope
    this.#name = name
    this.#index = new Uint8Array(entries)
  }

  /** Appends words: `pairs` is low half, high half, low half, … as a little-endian u64 file is. */
  addPairs(pairs: Uint32Array): void {
    assert((pairs.length & 1) === 0, 'a word has two halves')
    for (let at = 0; at < pairs.length; at += 2) this.add(pairs[at], pairs[at + 1])
  }

  /** Appends one word. Halves are unsigned. */
  add(low: number, high: number): void {
    assert(this.#filled < this.#index.length, 'a column takes no more entries than it was made for')
    const last = this.#filled === 0 ? -1 : this.#index[this.#filled - 1]
    // Neighbours are equal more often than not.
    const found =
      last >= 0 && this.#low[last] === low && this.#high[last] === high ? last : this.#indexOf(low, high)
    this.#index[this.#filled++] = found
  }

  /**
   * The column, when as many words were added as were promised.
   *
   * @errors  more distinct words than an index addresses: this is no such attribute
   */
  finish(): Result<Column> {
    assert(this.#filled === this.#index.length, 'a column is finished when every entry was added')
    if (this.#overflow) {
      return bad(
        this.#name,
        `entry ${this.#filled}`,
        `more than ${DICTIONARY_WORDS_MAX} distinct words`,
        'check that this is the file it should be; no machine has that many',
      )
    }
    return ok({
      scope: this.#scope,
      dictionaryLow: this.#low.slice(0, this.#words),
      dictionaryHigh: this.#high.slice(0, this.#words),
      index: this.#index,
    })
  }

  #indexOf(low: number, high: number): number {
    const mask = this.#slots.length - 1
    let slot = hashOf(low, high) & mask
    // Ends: the table is at most half full, so an empty slot comes.
    for (; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const candidate = this.#slots[slot] - 1
      if (this.#low[candidate] === low && this.#high[candidate] === high) return candidate
    }
    if (this.#words === DICTIONARY_WORDS_MAX) {
      this.#overflow = true
      return 0
    }
    if (this.#words === 256) this.#index = Uint16Array.from(this.#index)
    if (this.#words === this.#low.length) this.#growDictionary()
    const added = this.#words++
    this.#low[added] = low
    this.#high[added] = high
    this.#slots[slot] = added + 1
    if (this.#words * 2 > this.#slots.length) this.#rehash()
    return added
  }

  #growDictionary(): void {
    const low = new Uint32Array(this.#low.length * 2)
    const high = new Uint32Array(this.#high.length * 2)
    low.set(this.#low)
    high.set(this.#high)
    this.#low = low
    this.#high = high
  }

  #rehash(): void {
    this.#slots = new Int32Array(this.#slots.length * 2)
    const mask = this.#slots.length - 1
    for (let word = 0; word < this.#words; word++) {
      let slot = hashOf(this.#low[word], this.#high[word]) & mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = word + 1
    }
  }
}

function hashOf(low: number, high: number): number {
  const mixed = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1)
  return mixed ^ (mixed >>> 15)
}

/** A column of the bytes themselves: entry i is the word `bytes[i]`. */
export function columnOfBytes(scope: ColumnScope, bytes: Uint8Array): Column {
  const indexOfByte = new Int16Array(256).fill(-1)
  const dictionary: number[] = []
  const index = new Uint8Array(bytes.length)
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (indexOfByte[byte] < 0) indexOfByte[byte] = dictionary.push(byte) - 1
    index[at] = indexOfByte[byte]
  }
  return {
    scope,
    dictionaryLow: Uint32Array.from(dictionary),
    dictionaryHigh: new Uint32Array(dictionary.length),
    index,
  }
}

/**
 * A number for each word of the dictionary: `table[column.index[pfn]]` is then `f` of that page's word.
 * This is how a loader asks a question of every page: once a word, not once a page.
 */
export function mapDictionary(column: Column, f: (low: number, high: number) => number): Int32Array {
  const table = new Int32Array(column.dictionaryLow.length)
  for (let at = 0; at < table.length; at++) table[at] = f(column.dictionaryLow[at], column.dictionaryHigh[at])
  return table
}

/** Entries that one call counts: see CHUNK in base/bytes.ts. */
const CHUNK = 1 << 12

/** Number of entries by word: how a sum over all entries is computed from the words. */
export function countWords({ index, dictionaryLow }: Column): Int32Array {
  const words = dictionaryLow.length
  // Neighbours are often equal: adding to the cell just written would wait for that write, so each of four has a table.
  const counts = new Int32Array(4 * words)
  const whole = index.length - (index.length % CHUNK)
  for (let start = 0; start < whole; start += CHUNK) countChunk(counts, words, index, start)
  for (let at = whole; at < index.length; at++) counts[index[at]]++
  for (let at = words; at < 4 * words; at++) counts[at % words] += counts[at]
  return counts.slice(0, words)
}

function countChunk(counts: Int32Array, words: number, index: Column['index'], start: number): void {
  for (let at = start; at < start + CHUNK; at += 4) {
    counts[index[at]]++
    counts[words + index[at + 1]]++
    counts[2 * words + index[at + 2]]++
    counts[3 * words + index[at + 3]]++
  }
}

/** The column with every word replaced by `f` of it. Words that become equal become one. */
export function mapColumn(column: Column, f: (low: number, high: number) => Word): Column {
  const words = column.dictionaryLow.length
  const builder = new ColumnBuilder(column.scope, words, 'dictionary')
  for (let at = 0; at < words; at++) {
    const word = f(column.dictionaryLow[at], column.dictionaryHigh[at])
    builder.add(word.low, word.high)
  }
  const mapped = builder.finish()
  assert(mapped.ok, 'a mapped dictionary has no more words than the dictionary')
  const { dictionaryLow, dictionaryHigh, index: translation } = mapped.value
  const index =
    dictionaryLow.length <= 256 ? new Uint8Array(column.index.length) : new Uint16Array(column.index.length)
  for (let at = 0; at < index.length; at++) index[at] = translation[column.index[at]]
  return { scope: column.scope, dictionaryLow, dictionaryHigh, index }
}

/** Position of the first entry that a dictionary of `words` words does not have, or -1. */
export function entryBeyondDictionary(index: Uint8Array | Uint16Array, words: number): number {
  if (words >= 2 ** (8 * index.BYTES_PER_ELEMENT)) return -1
  const sound = index instanceof Uint8Array ? everyByteBelow(index, words) : everyEntryBelow(index, words)
  return sound ? -1 : index.findIndex((entry) => entry >= words)
}

function everyEntryBelow(entries: Uint8Array | Uint16Array, limit: number): boolean {
  let highest = 0
  for (let at = 0; at < entries.length; at++) if (entries[at] > highest) highest = entries[at]
  return highest < limit
}

/** The same for bytes, four at a time: this and the CRC are all that reading costs beyond gunzip. */
function everyByteBelow(bytes: Uint8Array, limit: number): boolean {
  if (bytes.length < 8) return everyEntryBelow(bytes, limit)
  const unaligned = -bytes.byteOffset & 3
  const quads = new Int32Array(bytes.buffer, bytes.byteOffset + unaligned, (bytes.length - unaligned) >> 2)
  // Seven bits of a byte plus this carry into its top bit exactly if they reach `limit` (or `limit` - 128).
  const carry = Math.imul((limit > 128 ? 256 : 128) - limit, 0x01010101)
  let reached = 0
  if (limit > 128) {
    for (let at = 0; at < quads.length; at++) reached |= ((quads[at] & 0x7f7f7f7f) + carry) & quads[at]
  } else {
    for (let at = 0; at < quads.length; at++) reached |= ((quads[at] & 0x7f7f7f7f) + carry) | quads[at]
  }
  return (
    (reached & 0x80808080) === 0 &&
    everyEntryBelow(bytes.subarray(0, unaligned), limit) &&
    everyEntryBelow(bytes.subarray(unaligned + 4 * quads.length), limit)
  )
}

/** The word as files and JSON show it: `0x…`, lower case, no leading zeros. */
export const wordToHex = (low: number, high: number): string =>
  high === 0 ? `0x${low.toString(16)}` : `0x${high.toString(16)}${low.toString(16).padStart(8, '0')}`

/** The word that `0x…` shows, or `undefined` if it is not one. */
export function wordOfHex(text: string): Word | undefined {
  if (!/^0x[0-9a-f]{1,16}$/.test(text)) return undefined
  const digits = text.slice(2)
  const highDigits = digits.slice(0, -8)
  return {
    low: Number.parseInt(digits.slice(-8), 16),
    high: highDigits === '' ? 0 : Number.parseInt(highDigits, 16),
  }
}
