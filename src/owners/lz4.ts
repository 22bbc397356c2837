/**
 * LZ4 blocks: what zram stores of a page.
 *
 * A block is a row of sequences: a token, literals, and a match, which is "the same bytes as `offset` back, so many of
 * them". The token's high half is the number of literals and its low half the length of the match less 4; 15 in either
 * says that bytes follow which are added, up to the first that is not 255. The last sequence has literals only.
 *
 * The compressor is the greedy one of LZ4's fast mode with acceleration 1: a table of where four bytes were seen last,
 * by their hash; after 64 misses the search goes two bytes at a time, then three. It answers the same questions in the
 * same order as the reference, so its output is the reference's, byte for byte.
 *
 * The decompressor trusts nothing: a block that would read before its output or beyond its input, or write beyond the
 * output, is CORRUPT. What stands in the output then is worth nothing.
 *
 * Rules:
 *   - buffers and the table belong to the caller. They are scratch, not state: nothing is kept from call to call;
 *   - an input has at most 65,535 bytes, so that a position fits into a table entry.
 *
 * @paper the LZ4 block format (github.com/lz4/lz4, doc/lz4_Block_format.md); the reference is liblz4 1.9.4
 */

import { assert } from '../base/assert.ts'
import type { Bytes } from '../base/bytes.ts'

/** What decompressing a block gives that is none. */
export const LZ4_CORRUPT = -1

/** Entries of the compressor's table. */
export const LZ4_TABLE_ENTRIES = 1 << 13
const HASH_SHIFT = 32 - 13
const HASH_PRIME = 2654435761 | 0

const MATCH_MIN = 4
/** The last bytes of a block are literals. */
const LAST_LITERALS = 5
/** No match begins in the last bytes. */
const MATCH_MARGIN = 12
/** Misses before the search takes longer steps: 2 to the power of it. */
const SKIP_TRIGGER = 6
const LENGTH_IN_TOKEN = 15
/** Bytes that are copied at once where so many or fewer are wanted. */
const WIDE = 16
/** From here on a copy is worth a call. */
const LONG = 96

/** The most that a block of so many bytes can become. */
export const lz4Bound = (length: number): number => length + Math.floor(length / 255) + 16

/**
 * Compresses the whole of `src` to the start of `dst`, which has lz4Bound() bytes. Gives how many it wrote.
 */
export function lz4Compress(src: Bytes, dst: Bytes, table: Uint16Array): number {
  const { bytes, view } = src
  const end = bytes.length
  assert(end <= 0xffff, 'lz4: a position fits into a table entry')
  assert(dst.bytes.length >= lz4Bound(end), 'lz4: the output has room for the worst case')
  assert(table.length === LZ4_TABLE_ENTRIES, 'lz4: the table has its size')
  if (end <= MATCH_MARGIN) return putLastLiterals(src, dst, 0, 0)
  table.fill(0) // an entry that was never set names position 0, which is as good as any
  const matchStartEnd = end - MATCH_MARGIN + 1
  const matchEnd = end - LAST_LITERALS
  let anchor = 0
  let out = 0
  let at = 1
  let word = view.getInt32(at, true)
  let hash = Math.imul(word, HASH_PRIME) >>> HASH_SHIFT
  table[Math.imul(view.getInt32(0, true), HASH_PRIME) >>> HASH_SHIFT] = 0
  // Each round ends with the last literals, or moves the anchor on.
  for (;;) {
    // Find a match.
    let next = at
    let step = 1
    let tries = 1 << SKIP_TRIGGER
    let match = 0
    let nextWord = word
    do {
      word = nextWord
      at = next
      next += step
      step = tries++ >> SKIP_TRIGGER
      if (next > matchStartEnd) return putLastLiterals(src, dst, anchor, out)
      match = table[hash]
      table[hash] = at
      nextWord = view.getInt32(next, true)
      hash = Math.imul(nextWord, HASH_PRIME) >>> HASH_SHIFT
    } while (view.getInt32(match, true) !== word)
    // It may begin earlier.
    while (at > anchor && match > 0 && bytes[at - 1] === bytes[match - 1]) {
      at--
      match--
    }
    let token = out
    out = putLiterals(src, dst, anchor, at, out)
    // Matches that follow each other without literals.
    for (;;) {
      const length = matchLength(view, at + MATCH_MIN, match + MATCH_MIN, matchEnd)
      out = putMatch(dst.bytes, token, out, at - match, length)
      at += length + MATCH_MIN
      anchor = at
      if (at >= matchStartEnd) return putLastLiterals(src, dst, anchor, out)
      table[Math.imul(view.getInt32(at - 2, true), HASH_PRIME) >>> HASH_SHIFT] = at - 2
      word = view.getInt32(at, true)
      const here = Math.imul(word, HASH_PRIME) >>> HASH_SHIFT
      match = table[here]
      table[here] = at
      if (view.getInt32(match, true) !== word) break
      token = out++
      dst.bytes[token] = 0
    }
    at++
    word = view.getInt32(at, true)
    hash = Math.imul(word, HASH_PRIME) >>> HASH_SHIFT
  }
}

/** How many bytes are the same at both places, before `end`. */
function matchLength(view: DataView, from: number, back: number, end: number): number {
  let at = from
  let match = back
  while (at + 4 <= end) {
    const differs = view.getInt32(at, true) ^ view.getInt32(match, true)
    if (differs !== 0) return at - from + ((31 - Math.clz32(differs & -differs)) >> 3)
    at += 4
    match += 4
  }
  while (at < end && view.getUint8(at) === view.getUint8(match)) {
    at++
    match++
  }
  return at - from
}

/** A token with its literals. Gives where the output goes on. */
function putLiterals(src: Bytes, dst: Bytes, from: number, to: number, at: number): number {
  const out = dst.bytes
  const length = to - from
  let next = at + 1
  if (length < LENGTH_IN_TOKEN) {
    out[at] = length << 4
    if (from + WIDE <= src.bytes.length && next + WIDE <= out.length) {
      dst.view.setInt32(next, src.view.getInt32(from, true), true)
      dst.view.setInt32(next + 4, src.view.getInt32(from + 4, true), true)
      if (length > 8) {
        dst.view.setInt32(next + 8, src.view.getInt32(from + 8, true), true)
        dst.view.setInt32(next + 12, src.view.getInt32(from + 12, true), true)
      }
      return next + length
    }
  } else {
    out[at] = LENGTH_IN_TOKEN << 4
    next = putLength(out, next, length - LENGTH_IN_TOKEN)
  }
  copyBytes(src, from, dst, next, length)
  return next + length
}

/** The bytes of a length that did not fit into the token. */
function putLength(out: Uint8Array, at: number, length: number): number {
  let left = length
  let next = at
  while (left >= 255) {
    out[next++] = 255
    left -= 255
  }
  out[next++] = left
  return next
}

/** Offset and length of a match; its token is there already. `length` is less the 4 that every match has. */
function putMatch(out: Uint8Array, token: number, at: number, offset: number, length: number): number {
  out[at] = offset & 255
  out[at + 1] = offset >> 8
  if (length < LENGTH_IN_TOKEN) {
    out[token] |= length
    return at + 2
  }
  out[token] |= LENGTH_IN_TOKEN
  return putLength(out, at + 2, length - LENGTH_IN_TOKEN)
}

const putLastLiterals = (src: Bytes, dst: Bytes, anchor: number, out: number): number =>
  putLiterals(src, dst, anchor, src.bytes.length, out)

/**
 * Decompresses the block of `length` bytes at `at` of `src` to the start of `dst`. Gives how many bytes it was. What
 * stands behind them in `dst` may change too.
 *
 * @errors LZ4_CORRUPT: it is no block, or would not fit into `dst`
 */
export function lz4Decompress(src: Bytes, at: number, length: number, dst: Bytes): number {
  const from = src.bytes
  const fromView = src.view
  const toView = dst.view
  const end = at + length
  const room = dst.bytes.length
  if (at < 0 || length <= 0 || end > from.length) return LZ4_CORRUPT
  let next = at
  let out = 0
  // Each round takes at least the token.
  while (next < end) {
    const token = from[next++]
    let literals = token >> 4
    // Most literals are few: 16 bytes are copied, whatever their number, where that leads out of neither buffer.
    if (literals < LENGTH_IN_TOKEN && next + WIDE <= end && out + WIDE <= room) {
      toView.setInt32(out, fromView.getInt32(next, true), true)
      toView.setInt32(out + 4, fromView.getInt32(next + 4, true), true)
      if (literals > 8) {
        toView.setInt32(out + 8, fromView.getInt32(next + 8, true), true)
        toView.setInt32(out + 12, fromView.getInt32(next + 12, true), true)
      }
    } else {
      if (literals === LENGTH_IN_TOKEN) {
        let more = 255
        while (more === 255) {
          if (next >= end) return LZ4_CORRUPT
          more = from[next++]
          literals += more
        }
      }
      if (literals > end - next || literals > room - out) return LZ4_CORRUPT
      copyBytes(src, next, dst, out, literals)
    }
    next += literals
    out += literals
    if (next === end) return (token & LENGTH_IN_TOKEN) === 0 ? out : LZ4_CORRUPT
    if (next + 2 > end) return LZ4_CORRUPT
    const offset = from[next] | (from[next + 1] << 8)
    next += 2
    if (offset === 0 || offset > out) return LZ4_CORRUPT
    let match = (token & LENGTH_IN_TOKEN) + MATCH_MIN
    if (match === LENGTH_IN_TOKEN + MATCH_MIN) {
      let more = 255
      while (more === 255) {
        if (next >= end) return LZ4_CORRUPT
        more = from[next++]
        match += more
      }
    }
    if (match > room - out) return LZ4_CORRUPT
    if (offset >= 4 && match <= WIDE && out + WIDE <= room) {
      // Word after word, so that what was just written is what is read where they overlap.
      toView.setInt32(out, toView.getInt32(out - offset, true), true)
      toView.setInt32(out + 4, toView.getInt32(out - offset + 4, true), true)
      if (match > 8) {
        toView.setInt32(out + 8, toView.getInt32(out - offset + 8, true), true)
        toView.setInt32(out + 12, toView.getInt32(out - offset + 12, true), true)
      }
    } else {
      copyMatch(dst, out, offset, match)
    }
    out += match
  }
  return LZ4_CORRUPT // a block ends with literals
}

/** Copies bytes from one buffer to another. */
function copyBytes(src: Bytes, from: number, dst: Bytes, to: number, length: number): void {
  if (length >= LONG) {
    dst.bytes.set(src.bytes.subarray(from, from + length), to)
    return
  }
  let i = 0
  for (; i + 4 <= length; i += 4) dst.view.setInt32(to + i, src.view.getInt32(from + i, true), true)
  for (; i < length; i++) dst.bytes[to + i] = src.bytes[from + i]
}

/** Repeats what stands `offset` back. The two may overlap: then a pattern of `offset` bytes is repeated. */
function copyMatch(dst: Bytes, at: number, offset: number, length: number): void {
  const { bytes, view } = dst
  const end = at + length
  let to = at
  if (offset === 1 && length >= LONG) {
    bytes.fill(bytes[at - 1], at, end)
    return
  }
  if (offset >= length && length >= LONG) {
    bytes.copyWithin(at, at - offset, end - offset)
    return
  }
  if (offset >= 4) {
    for (; to + 4 <= end; to += 4) view.setInt32(to, view.getInt32(to - offset, true), true)
  } else if (length >= LONG) {
    // A pattern of 2 or 3 bytes is one of 4 or 6: after two turns words can be copied.
    const pattern = offset * (offset === 3 ? 2 : 4 / offset)
    for (; to < at + pattern; to++) bytes[to] = bytes[to - offset]
    for (; to + 4 <= end; to += 4) view.setInt32(to, view.getInt32(to - pattern, true), true)
  }
  for (; to < end; to++) bytes[to] = bytes[to - offset]
}
