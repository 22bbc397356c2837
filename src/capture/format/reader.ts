/**
 * Reader: the bytes of a capture file, after gunzip, as a capture. A push parser.
 *
 * Bytes come in chunks of any size; each is checked as it passes and the first thing wrong ends it.
 * Whatever is pushed, the answer is a capture that equals what was written, or an error with section, byte offset
 * in the decompressed stream, what is wrong and what to do: never an exception, never a capture that is
 * silently another one. CRCs cover the header and every section; magic, version and end marker are compared.
 *
 * A typical sequence is:
 *   const reader = new CaptureReader()
 *   for (const chunk of chunks) reader.push(chunk)   // may stop at the first error
 *   const capture = reader.end()                     // or the first error
 *
 * Rules:
 *   - Chunks are given away: a section that lies in one chunk is a view of it, not a copy.
 *   - No memory is allocated on the word of a header: only for bytes that came.
 */

import { assert } from '../../base/assert.ts'
import { bad, ok, type Result } from '../../base/result.ts'
import type { Capture, Column, ColumnName, TextName } from './capture.ts'
import { entryBeyondDictionary } from './column.ts'
import { type Crc32, crc32 as crc32InScript } from './crc32.ts'
import {
  type ColumnSection,
  decodeHeader,
  END_MARKER,
  type FileHeader,
  FORMAT_VERSION,
  HEADER_BYTES_MAX,
  isColumnName,
  isTextName,
  MAGIC,
  PREFIX_BYTES,
  type Section,
} from './layout.ts'
import { decodeUtf8 } from './utf8.ts'

const COPY_AGAIN = 'copy the file again, or make it again from the raw files'

/** Where in the file the next byte belongs. `section` counts from 0; the last one's number is followed by `end`. */
type Place = 'prefix' | 'header' | 'section' | 'end' | 'done'

export class CaptureReader {
  readonly #crc32: Crc32
  /** Sections that were skipped because this version does not know their names. */
  readonly ignored: string[] = []

  #place: Place = 'prefix'
  /** Bytes that the current part has in all, and those of it that came. */
  #wanted = PREFIX_BYTES
  #parts: Uint8Array[] = []
  #got = 0
  /** CRC of what came of the current part. */
  #crc = 0
  /** Offset of the current part in the decompressed stream. */
  #start = 0

  #headerCrc = 0
  #header: FileHeader | undefined
  #sectionNumber = 0
  readonly #texts = new Map<TextName, string>()
  readonly #columns = new Map<ColumnName, Column>()
  #failed: Result<never> | undefined

  /** `crc32` is node:zlib's where there is one; without it the script's own. */
  constructor(crc32: Crc32 = crc32InScript) {
    this.#crc32 = crc32
  }

  /** Takes the next bytes. After an error every further call returns that error. */
  push(chunk: Uint8Array): Result<undefined> {
    let rest = chunk
    while (!this.#failed && rest.length > 0) {
      if (this.#isDone()) {
        return this.#fail(bad('end', `byte ${this.#start}`, 'bytes follow the end marker', COPY_AGAIN))
      }
      if (this.#place === 'prefix' && !this.#looksLikeOurs(rest)) break
      const taken = rest.subarray(0, this.#wanted - this.#got)
      rest = rest.subarray(taken.length)
      this.#parts.push(taken)
      this.#got += taken.length
      if (this.#place === 'header' || this.#place === 'section') this.#crc = this.#crc32(taken, this.#crc)
      // Decreases: a part that is complete makes way for the next; empty ones are passed over.
      while (!this.#failed && this.#got === this.#wanted && !this.#isDone()) this.#complete()
    }
    return this.#failed ?? ok(undefined)
  }

  /** The capture, when every byte was pushed; or what was wrong, or that something is missing. */
  end(): Result<Capture> {
    if (this.#failed) return this.#failed
    if (this.#place !== 'done') {
      return this.#fail(
        bad(
          this.#partName(),
          `byte ${this.#start + this.#got}`,
          `the file is truncated: ${this.#wanted - this.#got} more bytes of this part were expected`,
          COPY_AGAIN,
        ),
      )
    }
    assert(this.#header !== undefined, 'a file that came to its end has a header')
    const { provenance, pfnCount } = this.#header
    return ok({ provenance, pfnCount, texts: this.#texts, columns: this.#columns })
  }

  #isDone(): boolean {
    return this.#place === 'done'
  }

  #fail(error: Result<never>): Result<never> {
    this.#failed = error
    this.#parts = []
    return error
  }

  /** Says at the first byte that differs, not after waiting for twenty, that a file is something else. */
  #looksLikeOurs(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length && this.#got + at < MAGIC.length; at++) {
      if (bytes[at] === MAGIC[this.#got + at]) continue
      this.#fail(
        bad(
          'prefix',
          `byte ${this.#got + at}`,
          'this is not a drover capture',
          'make one with `drover capture`, or `drover import DIR` from raw /proc files',
        ),
      )
      return false
    }
    return true
  }

  /** All bytes of the current part are there: takes them in and turns to the next part. */
  #complete(): void {
    const bytes = joined(this.#parts, this.#wanted)
    const wrong = this.#takeIn(bytes)
    if (wrong) {
      this.#fail(wrong)
      return
    }
    this.#start += this.#wanted
    this.#parts = []
    this.#got = 0
    this.#crc = 0
    this.#turnToNext(bytes)
  }

  #takeIn(bytes: Uint8Array): Result<never> | undefined {
    switch (this.#place) {
      case 'prefix':
        return this.#takePrefix(bytes)
      case 'header':
        return this.#takeHeader(bytes)
      case 'section':
        return this.#takeSection(bytes)
      case 'end':
        return bytes.every((byte, at) => byte === END_MARKER[at])
          ? undefined
          : bad('end', `byte ${this.#start}`, 'the end marker is wrong: the file is corrupt', COPY_AGAIN)
      case 'done':
        return undefined
    }
  }

  #turnToNext(bytes: Uint8Array): void {
    if (this.#place === 'prefix') {
      this.#place = 'header'
      this.#wanted = u32At(bytes, 12)
      return
    }
    if (this.#place === 'end') {
      this.#place = 'done'
      return
    }
    if (this.#place === 'section') this.#sectionNumber++
    const section = this.#header?.sections[this.#sectionNumber]
    this.#place = section ? 'section' : 'end'
    this.#wanted = section ? section.bytes : END_MARKER.length
  }

  #takePrefix(prefix: Uint8Array): Result<never> | undefined {
    const version = u32At(prefix, 8)
    const headerBytes = u32At(prefix, 12)
    this.#headerCrc = u32At(prefix, 16)
    if (version > FORMAT_VERSION) {
      return bad(
        'prefix',
        'byte 8',
        `written by a newer drover, format ${version}; this one reads up to ${FORMAT_VERSION}`,
        'upgrade drover',
      )
    }
    if (version === 0) return bad('prefix', 'byte 8', 'there is no format 0: the file is corrupt', COPY_AGAIN)
    if (headerBytes === 0 || headerBytes > HEADER_BYTES_MAX) {
      return bad(
        'prefix',
        'byte 12',
        `a header of ${headerBytes} bytes cannot be: the file is corrupt`,
        COPY_AGAIN,
      )
    }
    return undefined
  }

  #takeHeader(bytes: Uint8Array): Result<never> | undefined {
    if (this.#crc !== this.#headerCrc) return this.#corrupt('header')
    const header = decodeHeader(bytes)
    if (!header.ok) return header
    this.#header = header.value
    return undefined
  }

  #takeSection(bytes: Uint8Array): Result<never> | undefined {
    const section = this.#section()
    if (this.#crc !== section.crc32) return this.#corrupt(section.name)
    if (section.kind === 'text' && isTextName(section.name)) return this.#takeText(section.name, bytes)
    if (section.kind === 'column' && isColumnName(section.name))
      return this.#takeColumn(section, section.name, bytes)
    this.ignored.push(section.name)
    return undefined
  }

  #takeText(name: TextName, bytes: Uint8Array): Result<never> | undefined {
    const text = decodeUtf8(bytes)
    if (text === undefined) return bad(name, `byte ${this.#start}`, 'the text is not UTF-8', COPY_AGAIN)
    this.#texts.set(name, text)
    return undefined
  }

  #takeColumn(section: ColumnSection, name: ColumnName, bytes: Uint8Array): Result<never> | undefined {
    const { scope, dictionaryLow, dictionaryHigh, width } = section
    const index = width === 1 ? bytes : interleaved(bytes)
    const beyond = entryBeyondDictionary(index, dictionaryLow.length)
    if (beyond >= 0) {
      return bad(
        name,
        `byte ${this.#start + beyond}`,
        `entry ${beyond} is index ${index[beyond]}, and the dictionary has ${dictionaryLow.length} words`,
        'the file was not written by a sound drover; make it again from the raw files',
      )
    }
    this.#columns.set(name, { scope, dictionaryLow, dictionaryHigh, index })
    return undefined
  }

  #corrupt(name: string): Result<never> {
    const stated = this.#place === 'header' ? this.#headerCrc : this.#section().crc32
    return bad(
      name,
      `bytes ${this.#start} to ${this.#start + this.#wanted - 1}`,
      `corrupt: CRC-32 is ${hex8(this.#crc)}, and ${hex8(stated)} was written`,
      COPY_AGAIN,
    )
  }

  #section(): Section {
    const section = this.#header?.sections[this.#sectionNumber]
    assert(section !== undefined, 'a section is only read after the header that lists it')
    return section
  }

  #partName(): string {
    return this.#place === 'section' ? this.#section().name : this.#place
  }
}

/** Reads a whole decompressed capture at once. `bytes` is given away. */
export function readCapture(bytes: Uint8Array, crc32?: Crc32): Result<Capture> {
  const reader = new CaptureReader(crc32)
  reader.push(bytes)
  return reader.end()
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Entries of two bytes from the plane of low bytes and the plane of high bytes. */
function interleaved(planes: Uint8Array): Uint16Array {
  const entries = planes.length / 2
  const index = new Uint16Array(entries)
  for (let at = 0; at < entries; at++) index[at] = planes[at] | (planes[entries + at] << 8)
  return index
}

const u32At = (bytes: Uint8Array, at: number): number =>
  (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0

const hex8 = (crc: number): string => `0x${crc.toString(16).padStart(8, '0')}`
