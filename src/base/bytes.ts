/**
 * Bytes four at a time: words at any place, and searching. The maps of a machine are bytes by page, and most pages are
 * not what is looked for.
 */

/** Bytes, and the same bytes as words at any place. Made once a buffer. */
export interface Bytes {
  readonly bytes: Uint8Array
  readonly view: DataView
}

export const bytesOf = (bytes: Uint8Array): Bytes => ({
  bytes,
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
})

export const newBytes = (length: number): Bytes => bytesOf(new Uint8Array(length))

/**
 * Entries that one call of a loop over a whole machine works on. V8 takes up a function's compiled form when it is called;
 * a loop that runs long is compiled too, but thrown away at its end, and again the next time. So long loops are two: an
 * outer one of few turns, and a function for one chunk. A multiple of a pageblock and of the largest free block.
 */
export const CHUNK = 4096

/** Calls `visit` with the position of every byte equal to `value` in [from, to), in order. `bytes` begins its buffer. */
export function forEachByte(
  bytes: Uint8Array,
  value: number,
  from: number,
  to: number,
  visit: (at: number) => void,
): void {
  const quads = quadsOf(bytes)
  const start = Math.min((from + 3) & ~3, to)
  const end = Math.max(Math.min(to, 4 * quads.length) & ~3, start)
  visitSingly(bytes, value, from, start, visit)
  for (let at = start; at < end; at += CHUNK) {
    visitChunk(bytes, quads, value, at, Math.min(at + CHUNK, end), visit)
  }
  visitSingly(bytes, value, end, to, visit)
}

function visitSingly(
  bytes: Uint8Array,
  value: number,
  from: number,
  to: number,
  visit: (at: number) => void,
): void {
  for (let at = from; at < to; at++) if (bytes[at] === value) visit(at)
}

/** The same where [from, to) is whole quads: most do not hold the byte. */
function visitChunk(
  bytes: Uint8Array,
  quads: Int32Array,
  value: number,
  from: number,
  to: number,
  visit: (at: number) => void,
): void {
  const pattern = Math.imul(value, 0x01010101)
  for (let quad = from >> 2; quad < to >> 2; quad++) {
    // A byte of `x` is 0 where the value is; subtracting 1 from each byte then sets a top bit that was clear.
    const x = quads[quad] ^ pattern
    if (((x - 0x01010101) & ~x & 0x80808080) === 0) continue
    for (let at = 4 * quad; at < 4 * quad + 4; at++) if (bytes[at] === value) visit(at)
  }
}

/** The bytes four at a time, but for the last three at most. `bytes` begins its buffer. */
export const quadsOf = (bytes: Uint8Array): Int32Array =>
  new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)

/** `position ^ FIRST_BYTE` is the byte of a quad that is `position` bytes up from its lowest: where bytes run the other way, the last one. */
export const FIRST_BYTE = new Uint8Array(Int32Array.of(1).buffer)[0] === 1 ? 0 : 3

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
