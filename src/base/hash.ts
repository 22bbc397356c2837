/**
 * State hash: 32 bits over cells, the same on every machine. Not for hostile input.
 *
 * @paper Austin Appleby, MurmurHash3 (x86_32), public domain: its mixing steps
 */

/** Hash of an array of 32-bit cells. */
export function hashCells(cells: Int32Array): number {
  let h = 0
  for (let i = 0; i < cells.length; i++) {
    let k = Math.imul(cells[i], 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    h ^= Math.imul(k, 0x1b873593)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  h ^= cells.length
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
