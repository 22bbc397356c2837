/**
 * CRC-32 as gzip, zlib and PNG have it: reflected, polynomial 0xedb88320.
 *
 * Sixteen bytes a step over sixteen tables (slicing-by-16), about 1 GB/s in V8. Node's own is faster
 * still: readers and writers take the function as a parameter, and capture/linux passes zlib's.
 *
 * @paper Kounavis and Berry, A Systematic Approach to Building High Performance Software-based CRC Generators, ISCC 2005
 */

/** Continues a CRC (`seed`, 0 to begin) over `data`. The same contract as node:zlib's crc32(). */
export type Crc32 = (data: Uint8Array, seed: number) => number

const POLYNOMIAL = 0xedb88320
const SLICES = 16

/** Table k, at 256 * k: what a byte contributes when k more bytes follow it. */
const TABLES = makeTables()

function makeTables(): Uint32Array {
  const tables = new Uint32Array(256 * SLICES)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    tables[byte] = crc
  }
  for (let at = 256; at < tables.length; at++) {
    const shorter = tables[at - 256]
    tables[at] = tables[shorter & 0xff] ^ (shorter >>> 8)
  }
  return tables
}

/** CRC-32 of `data`, continued from `seed`. */
export const crc32: Crc32 = (data, seed) => {
  const t = TABLES
  let crc = ~seed
  let at = 0
  for (const end = data.length - SLICES; at <= end; at += SLICES) {
    crc =
      t[0xf00 + (data[at] ^ (crc & 0xff))] ^
      t[0xe00 + (data[at + 1] ^ ((crc >>> 8) & 0xff))] ^
      t[0xd00 + (data[at + 2] ^ ((crc >>> 16) & 0xff))] ^
      t[0xc00 + (data[at + 3] ^ (crc >>> 24))] ^
      t[0xb00 + data[at + 4]] ^
      t[0xa00 + data[at + 5]] ^
      t[0x900 + data[at + 6]] ^
      t[0x800 + data[at + 7]] ^
      t[0x700 + data[at + 8]] ^
      t[0x600 + data[at + 9]] ^
      t[0x500 + data[at + 10]] ^
      t[0x400 + data[at + 11]] ^
      t[0x300 + data[at + 12]] ^
      t[0x200 + data[at + 13]] ^
      t[0x100 + data[at + 14]] ^
      t[data[at + 15]]
  }
  for (; at < data.length; at++) crc = t[(crc ^ data[at]) & 0xff] ^ (crc >>> 8)
  return ~crc >>> 0
}
