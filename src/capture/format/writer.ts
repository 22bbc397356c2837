/**
 * Writer: a capture as the bytes of a capture file, before gzip.
 *
 * Emits chunks in order to a sink, so that a capture of any size goes out without a second copy of it. Equal
 * captures give equal bytes: sections come in the order of COLUMN_NAMES and TEXT_NAMES, texts first.
 *
 * Not here: gzip, files, and the rename that makes a file appear whole (linux/capture_file.ts).
 */

import { bad, ok, type Result } from '../../base/result.ts'
import { type Capture, COLUMN_NAMES, type Column, TEXT_NAMES } from './capture.ts'
import { entryBeyondDictionary } from './column.ts'
import { type Crc32, crc32 as crc32InScript } from './crc32.ts'
import {
  checkHeader,
  END_MARKER,
  encodeHeader,
  FORMAT_VERSION,
  MAGIC,
  PREFIX_BYTES,
  type Section,
} from './layout.ts'
import { encodeUtf8 } from './utf8.ts'

/**
 * Emits `capture` chunk by chunk. Chunks may be views of its columns: the sink must not change them.
 *
 * @errors  the capture is one that the reader would refuse. Nothing was emitted.
 */
export function writeCapture(
  capture: Capture,
  sink: (chunk: Uint8Array) => void,
  crc32: Crc32 = crc32InScript,
): Result<undefined> {
  const sections: Section[] = []
  const bodies: Uint8Array[] = []
  const crcOf = (planes: readonly Uint8Array[]): number => planes.reduce((crc, plane) => crc32(plane, crc), 0)

  for (const name of TEXT_NAMES) {
    const text = capture.texts.get(name)
    if (text === undefined) continue
    const body = encodeUtf8(text)
    sections.push({ kind: 'text', name, bytes: body.length, crc32: crcOf([body]) })
    bodies.push(body)
  }
  for (const name of COLUMN_NAMES) {
    const column = capture.columns.get(name)
    if (column === undefined) continue
    const beyond = entryBeyondDictionary(column.index, column.dictionaryLow.length)
    if (beyond >= 0)
      return bad(
        name,
        `entry ${beyond}`,
        'the index is beyond the dictionary',
        'report this: a bug of the importer',
      )
    const planes = planesOf(column)
    const { scope, dictionaryLow, dictionaryHigh } = column
    const width = planes.length === 2 ? 2 : 1
    const bytes = column.index.length * width
    sections.push({
      kind: 'column',
      name,
      scope,
      width,
      bytes,
      crc32: crcOf(planes),
      dictionaryLow,
      dictionaryHigh,
    })
    bodies.push(...planes)
  }

  const header = { provenance: capture.provenance, pfnCount: capture.pfnCount, sections }
  const wrong = checkHeader(header)
  if (wrong) return { ok: false, error: wrong }

  const json = encodeUtf8(encodeHeader(header))
  const prefix = new Uint8Array(PREFIX_BYTES)
  prefix.set(MAGIC)
  const view = new DataView(prefix.buffer)
  view.setUint32(8, FORMAT_VERSION, true)
  view.setUint32(12, json.length, true)
  view.setUint32(16, crc32(json, 0), true)
  sink(prefix)
  sink(json)
  for (const body of bodies) sink(body)
  sink(END_MARKER)
  return ok(undefined)
}

/** Low bytes of every entry, then high bytes if entries have them. */
function planesOf(column: Column): readonly Uint8Array[] {
  const { index } = column
  if (index instanceof Uint8Array) return [index]
  const low = new Uint8Array(index.length)
  const high = new Uint8Array(index.length)
  for (let at = 0; at < index.length; at++) {
    low[at] = index[at]
    high[at] = index[at] >>> 8
  }
  return [low, high]
}
