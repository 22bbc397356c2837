/**
 * UTF-8, because TextEncoder and TextDecoder belong to hosts and this folder runs anywhere.
 *
 * Decoding is strict: what is not UTF-8 is an answer (`undefined`), never a replacement character,
 * so that a damaged text cannot pass for a whole one.
 */

/** Bytes of `text`. Lone surrogates become U+FFFD, as in every encoder. */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(text.length * 3)
  let to = 0
  for (let at = 0; at < text.length; at++) {
    let point = text.codePointAt(at) ?? 0xfffd
    if (point > 0xffff) at++
    else if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd
    if (point < 0x80) {
      out[to++] = point
      continue
    }
    const continuations = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3
    // Lead byte 110xxxxx, 1110xxxx or 11110xxx; then six bits a byte.
    out[to++] = ((0xff00 >> (continuations + 1)) & 0xff) | (point >> (6 * continuations))
    for (let left = continuations - 1; left >= 0; left--) out[to++] = 0x80 | ((point >> (6 * left)) & 0x3f)
  }
  return out.slice(0, to)
}

const PIECE = 8192

/** The text of `bytes`, or `undefined` if they are not well-formed UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  let text = ''
  let points: number[] = []
  for (let at = 0; at < bytes.length; ) {
    const continuations = continuationsOf(bytes[at])
    const point = continuations === 0 ? bytes[at] : pointAt(bytes, at, continuations)
    if (point < 0) return undefined
    points.push(point)
    at += 1 + Math.max(continuations, 0)
    if (points.length === PIECE) {
      text += String.fromCodePoint(...points)
      points = []
    }
  }
  return text + String.fromCodePoint(...points)
}

/** How many bytes follow `lead`; -1 if no character begins with it. */
function continuationsOf(lead: number): number {
  if (lead < 0x80) return 0
  if (lead < 0xc2 || lead >= 0xf5) return -1
  return lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3
}

/** Least code point that needs so many continuation bytes: shorter ones must not use them. */
const LEAST_POINT = [0, 0x80, 0x800, 0x10000]

/** The code point of the bytes from `at`, or -1. */
function pointAt(bytes: Uint8Array, at: number, continuations: number): number {
  if (continuations < 0 || at + continuations >= bytes.length) return -1
  let point = bytes[at] & (0x3f >> continuations)
  for (let next = at + 1; next <= at + continuations; next++) {
    if ((bytes[next] & 0xc0) !== 0x80) return -1
    point = (point << 6) | (bytes[next] & 0x3f)
  }
  const isSurrogate = point >= 0xd800 && point <= 0xdfff
  return point < LEAST_POINT[continuations] || point > 0x10ffff || isSurrogate ? -1 : point
}
