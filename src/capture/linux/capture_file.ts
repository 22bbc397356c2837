/**
 * Capture files on disk: gzip around the format, and files that appear whole or not at all.
 *
 * Reading is synchronous and in one piece: gunzip of a 24 GiB machine's capture takes longer than all the rest,
 * and a command has nothing to do meanwhile. Columns of the result are views of the one decompressed buffer.
 *
 * Not here: the format itself (../format/reader.ts, ../format/writer.ts).
 */

import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { constants, gunzipSync, gzipSync } from 'node:zlib'
import { bad, ok, type Result } from '../../base/result.ts'
import type { Capture } from '../format/capture.ts'
import { CaptureReader, readCapture } from '../format/reader.ts'
import { writeCapture } from '../format/writer.ts'
import { nativeCrc32 } from './native_crc32.ts'
import { describeCause, gunzip, plain, readWholeFile } from './raw_file.ts'

/** gzip level 1 (fast) to 9 (small). */
export type GzipLevel = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9

/** The capture in the file at `path`. Every error names the file. */
export function readCaptureFile(path: string): Result<Capture> {
  const file = readWholeFile(path)
  if (!file.ok) return file
  return prefixed(path, decodeCaptureFile(file.value))
}

/** The capture in the bytes of a capture file. */
export function decodeCaptureFile(compressed: Uint8Array): Result<Capture> {
  if (compressed.length === 0) return bad('gzip', 'byte 0', 'the file is empty', 'copy it again')
  if (compressed[0] !== 0x1f || compressed[1] !== 0x8b) {
    return bad(
      'gzip',
      'byte 0',
      'this is not a drover capture: it is not gzip',
      'make one of raw /proc files with `drover import DIR -o FILE`',
    )
  }
  let bytes: Uint8Array
  try {
    bytes = gunzip(compressed)
  } catch (cause) {
    return diagnoseGzip(compressed, cause)
  }
  return readCapture(bytes, nativeCrc32)
}

/**
 * What gunzip could still get out of a damaged file tells where it is damaged: the reader's own error if it has
 * one that is more telling than that bytes are missing, which after a failed gunzip they are anyway.
 */
function diagnoseGzip(compressed: Uint8Array, cause: unknown): Result<never> {
  const reader = new CaptureReader(nativeCrc32)
  let got = 0
  try {
    const whole = plain(gunzipSync(compressed, { finishFlush: constants.Z_SYNC_FLUSH }))
    got = whole.length
    reader.push(whole)
    const read = reader.end()
    if (!read.ok) return read
  } catch {
    // Not even a part can be decompressed: the cause of the first attempt is all there is to say.
  }
  const where = got > 0 ? `byte ${got} of the decompressed stream` : 'compressed stream'
  return bad(
    'gzip',
    where,
    `the file is corrupt or truncated: ${describeCause(cause)}`,
    'copy the file again',
  )
}

/** The bytes of a capture file. */
export function encodeCaptureFile(capture: Capture, level: GzipLevel): Result<Uint8Array> {
  const chunks: Uint8Array[] = []
  const written = writeCapture(capture, (chunk) => chunks.push(chunk), nativeCrc32)
  return written.ok ? ok(plain(gzipSync(Buffer.concat(chunks), { level }))) : written
}

/**
 * Writes `capture` to `path` and gives the number of bytes. The file appears whole: it is written beside its place
 * as `path + '.tmp'`, synced and renamed.
 *
 * @errors  the capture is one that could not be read back, or the file cannot be written. `path` is as it was.
 */
export function writeCaptureFile(path: string, capture: Capture, level: GzipLevel = 6): Result<number> {
  const encoded = encodeCaptureFile(capture, level)
  if (!encoded.ok) return prefixed(path, encoded)
  const temporary = `${path}.tmp`
  try {
    const file = openSync(temporary, 'w')
    try {
      writeFileSync(file, encoded.value)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(temporary, path)
  } catch (cause) {
    rmSync(temporary, { force: true })
    return bad(path, 'writing', describeCause(cause), 'choose another place with -o, or free space there')
  }
  return ok(encoded.value.length)
}

function prefixed<T>(path: string, result: Result<T>): Result<T> {
  if (result.ok) return result
  return { ok: false, error: { ...result.error, where: `${path}: ${result.error.where}` } }
}
