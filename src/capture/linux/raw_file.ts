/**
 * Raw files of an import: whole files, gunzipped if need be, with errors that a person can act on.
 */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { bad, ok, type Result } from '../../base/result.ts'

/** A deflate stream is at most this much larger when decompressed. */
const DEFLATE_RATIO_MAX = 1032

/** The bytes of the file at `path`. */
export function readWholeFile(path: string): Result<Uint8Array> {
  try {
    const status = statSync(path)
    if (status.isCharacterDevice() || status.isBlockDevice()) {
      return bad(path, 'opening', 'it is a device', 'name a file')
    }
    return ok(plain(readFileSync(path)))
  } catch (cause) {
    return bad(path, 'opening', describeCause(cause), 'check the path and its permissions')
  }
}

/** The decompressed bytes of the gzip file at `path`. */
export function readGzipFile(path: string): Result<Uint8Array> {
  const file = readWholeFile(path)
  if (!file.ok) return file
  try {
    return ok(gunzip(file.value))
  } catch (cause) {
    return bad(
      path,
      'gzip',
      `the file is corrupt or truncated: ${describeCause(cause)}`,
      'copy the file again',
    )
  }
}

/** The bytes of `path`, or the decompressed bytes of `path + '.gz'`, whichever exists; `undefined` if neither does. */
export function readPlainOrGzip(path: string): Result<Uint8Array> | undefined {
  if (existsSync(path)) return readWholeFile(path)
  if (existsSync(`${path}.gz`)) return readGzipFile(`${path}.gz`)
  return undefined
}

/** UTF-8 text. What is not UTF-8 becomes U+FFFD: /proc texts are ASCII. */
export const textOf = (bytes: Uint8Array): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)

/** The decompressed bytes. Throws zlib's errors. */
export const gunzip = (compressed: Uint8Array): Uint8Array =>
  plain(gunzipSync(compressed, { chunkSize: gunzippedSize(compressed) }))

/** The bytes of a Buffer as what they are to everybody else: slice() of a Buffer does not copy. */
export const plain = (buffer: Buffer): Uint8Array =>
  new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)

/**
 * Size that gzip's trailer states, as one output chunk for gunzip: saves a copy of the result. Bounded by what
 * deflate can do, because the trailer may be damaged.
 */
function gunzippedSize(compressed: Uint8Array): number {
  const stated =
    compressed.length < 18
      ? 0
      : new DataView(compressed.buffer, compressed.byteOffset).getUint32(compressed.length - 4, true)
  const bound = compressed.length * DEFLATE_RATIO_MAX
  return Math.max(1024, Math.min(stated, bound, 2 ** 31 - 1) + 1)
}

/** What went wrong, without the name of the failing function. */
export const describeCause = (cause: unknown): string =>
  cause instanceof Error ? cause.message : String(cause)
