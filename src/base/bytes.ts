/**
 * Searching bytes four at a time: the maps of a machine are bytes by page, and most pages are not what is looked for.
 */

/** Quads that one call looks at: a call is where V8 takes up the compiled function. */
const CHUNK = 512

/** Calls `visit` with the position of every byte equal to `value` in [from, to), in order. `bytes` begins its buffer. */
export function forEachByte(
  bytes: Uint8Array,
  value: number,
  from: number,
  to: number,
  visit: (at: number) => void,
): void {
  const quads = quadsOf(bytes)
  const last = Math.min((to + 3) >> 2, quads.length)
  for (
    let quad = nextQuad(quads, value, from >> 2, last);
    quad < last;
    quad = nextQuad(quads, value, quad + 1, last)
  ) {
    for (let at = quad * 4; at < quad * 4 + 4; at++)
      if (bytes[at] === value && at >= from && at < to) visit(at)
  }
  for (let at = Math.max(from, quads.length * 4); at < to; at++) if (bytes[at] === value) visit(at)
}

/** The next quad that holds the byte, or `last`. */
function nextQuad(quads: Int32Array, value: number, from: number, last: number): number {
  let quad = from
  while (quad < last) {
    const end = Math.min(quad + CHUNK, last)
    quad = quadIn(quads, Math.imul(value, 0x01010101), quad, end)
    if (quad < end) return quad
  }
  return last
}

function quadIn(quads: Int32Array, pattern: number, from: number, end: number): number {
  for (let quad = from; quad < end; quad++) {
    // A byte of `x` is 0 where the value is; subtracting 1 from each byte then sets a top bit that was clear.
    const x = quads[quad] ^ pattern
    if (((x - 0x01010101) & ~x & 0x80808080) !== 0) return quad
  }
  return end
}

/** The bytes four at a time, but for the last three at most. `bytes` begins its buffer. */
export const quadsOf = (bytes: Uint8Array): Int32Array =>
  new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)

/** Four bytes as a quad, the first one first. */
export const bytesOf = (a: number, b: number, c: number, d: number): number =>
  IS_LITTLE_ENDIAN ? a | (b << 8) | (c << 16) | (d << 24) : d | (c << 8) | (b << 16) | (a << 24)

const IS_LITTLE_ENDIAN = new Uint8Array(Int32Array.of(1).buffer)[0] === 1

/** The first position in [from, to) whose byte is not `value`, or `to`. `quads` are those of `bytes`. */
export function endOfRun(
  bytes: Uint8Array,
  quads: Int32Array,
  value: number,
  from: number,
  to: number,
): number {
  const pattern = Math.imul(value, 0x01010101)
  let at = from
  while (at < to && bytes[at] === value) {
    at++
    while ((at & 3) === 0 && at + 4 <= to && quads[at >> 2] === pattern) at += 4
  }
  return at
}
