/**
 * Layout of a capture file: what writer and reader agree on. docs/formats/capture.md tells it byte by byte.
 *
 * The file is one gzip stream. Inside:
 *
 *   prefix    8 bytes magic, u32 version, u32 header length, u32 CRC-32 of the header (little-endian)
 *   header    JSON (ASCII): provenance, page count, and the sections in order with length and CRC-32
 *   sections  the bytes of each, nothing between them
 *   end       8 bytes, so that a file that lacks its last sections cannot look whole
 *
 * A column's section is its index: the low byte of every entry, then, if the width is 2, the high byte
 * of every entry. Two planes compress better than pairs and have no byte order.
 *
 * Rules:
 *   - `checkHeader` is the one place that says what a header may state. The writer runs it on what it is
 *     about to write and the reader on what it has read.
 *   - A reader skips a section whose name it does not know. What changes the meaning of a known section
 *     needs a new version.
 */

import { bad, type InputError, ok, type Result } from '../../base/result.ts'
import {
  type Capture,
  COLUMN_NAMES,
  type Column,
  type ColumnName,
  type ColumnScope,
  entriesOfScope,
  type Provenance,
  scopeOfColumn,
  TEXT_NAMES,
  type TextName,
} from './capture.ts'
import { DICTIONARY_WORDS_MAX, wordOfHex, wordToHex } from './column.ts'
import { describeFlags, impossibleFlags } from './kpageflags.ts'
import { decodeUtf8 } from './utf8.ts'

/** "DROVER", then ^Z and a line feed, which text-mode transfers destroy. */
export const MAGIC = Uint8Array.of(0x44, 0x52, 0x4f, 0x56, 0x45, 0x52, 0x1a, 0x0a)
/** "DROVEND\n". */
export const END_MARKER = Uint8Array.of(0x44, 0x52, 0x4f, 0x56, 0x45, 0x4e, 0x44, 0x0a)
/** Version that is written, and the newest that is read. */
export const FORMAT_VERSION = 1
/** Magic, version, header length, CRC of the header. */
export const PREFIX_BYTES = 20
/** A header is some 10 KB. More than this is no header. */
export const HEADER_BYTES_MAX = 1 << 26
/** 16 TiB of pages: more is a lie. */
export const PFN_COUNT_MAX = 2 ** 32

export interface TextSection {
  readonly kind: 'text'
  readonly name: string
  readonly bytes: number
  readonly crc32: number
}

export interface ColumnSection {
  readonly kind: 'column'
  readonly name: string
  readonly bytes: number
  readonly crc32: number
  readonly scope: ColumnScope
  /** Bytes of an index entry. */
  readonly width: 1 | 2
  readonly dictionaryLow: Uint32Array
  readonly dictionaryHigh: Uint32Array
}

export type Section = TextSection | ColumnSection

export interface FileHeader {
  readonly provenance: Provenance
  readonly pfnCount: number
  readonly sections: readonly Section[]
}

export const isTextName = (name: string): name is TextName => TEXT_NAMES.some((known) => known === name)
export const isColumnName = (name: string): name is ColumnName => COLUMN_NAMES.some((known) => known === name)

const REPORT_OR_REMAKE = 'the file was not written by a sound drover; make it again from the raw files'

/**
 * What a header must state, beyond being one: columns that fit the page count, words that a kernel
 * can report, and the parts without which a capture says nothing.
 */
export function checkHeader(header: FileHeader): InputError | undefined {
  const { pfnCount, sections } = header
  if (!Number.isInteger(pfnCount) || pfnCount < 1 || pfnCount > PFN_COUNT_MAX) {
    return problem('header', 'pfnCount', `${pfnCount} pages cannot be`, REPORT_OR_REMAKE)
  }
  const seen = new Set<string>()
  for (const section of sections) {
    const key = `${section.kind} ${section.name}`
    if (seen.has(key)) return problem(section.name, 'header', 'the section occurs twice', REPORT_OR_REMAKE)
    seen.add(key)
    const wrong = section.kind === 'column' ? checkColumnSection(section, pfnCount) : undefined
    if (wrong) return wrong
  }
  if (!seen.has('column flags')) {
    return problem('flags', 'header', 'the capture has no flags', 'capture again, with /proc/kpageflags')
  }
  if (!seen.has('text zoneinfo')) {
    return problem('zoneinfo', 'header', 'the capture has no zoneinfo', 'capture again, with /proc/zoneinfo')
  }
  return undefined
}

/** The same of a capture in memory, plus where in it: what an importer asks before it hands one out. */
export function checkCapture(capture: Capture): InputError | undefined {
  const flags = capture.columns.get('flags')
  const impossible = flags ? checkFlagWords(flags.dictionaryLow, flags.dictionaryHigh, flags) : undefined
  if (impossible) return impossible
  const sections: Section[] = []
  for (const name of capture.texts.keys()) sections.push({ kind: 'text', name, bytes: 0, crc32: 0 })
  for (const [name, { scope, index, dictionaryLow, dictionaryHigh }] of capture.columns) {
    const width = index instanceof Uint8Array ? 1 : 2
    const bytes = index.length * width
    sections.push({ kind: 'column', name, bytes, crc32: 0, scope, width, dictionaryLow, dictionaryHigh })
  }
  return checkHeader({ provenance: capture.provenance, pfnCount: capture.pfnCount, sections })
}

function checkColumnSection(section: ColumnSection, pfnCount: number): InputError | undefined {
  const { name, width, bytes, dictionaryLow, dictionaryHigh, scope } = section
  const words = dictionaryLow.length
  if (words === 0 || words > DICTIONARY_WORDS_MAX || (width === 1 && words > 256)) {
    return problem(
      name,
      'header',
      `${words} dictionary words do not go with ${width} index bytes`,
      REPORT_OR_REMAKE,
    )
  }
  const entries = entriesOfScope(scope, pfnCount)
  if (bytes !== entries * width) {
    return problem(
      name,
      'header',
      `${bytes} bytes are not ${entries} entries of ${width} bytes for ${pfnCount} pages`,
      REPORT_OR_REMAKE,
    )
  }
  if (isColumnName(name) && scopeOfColumn(name) !== scope) {
    return problem(name, 'header', `the column is one a ${scope}, and must not be`, REPORT_OR_REMAKE)
  }
  return name === 'flags' ? checkFlagWords(dictionaryLow, dictionaryHigh) : undefined
}

function checkFlagWords(low: Uint32Array, high: Uint32Array, column?: Column): InputError | undefined {
  for (let at = 0; at < low.length; at++) {
    const reason = impossibleFlags(low[at])
    if (reason !== undefined) {
      const pfn = column?.index.indexOf(at) ?? -1
      return problem(
        'flags',
        pfn < 0 ? `dictionary word ${at}` : `pfn ${pfn}`,
        `a flag word that cannot be: ${wordToHex(low[at], high[at])} (${describeFlags(low[at], high[at])}): ${reason}`,
        'capture again; if it comes back, this kernel is not one that drover knows',
      )
    }
  }
  return undefined
}

/** The JSON of a header, ASCII. The inverse of `decodeHeader`. */
export function encodeHeader(header: FileHeader): string {
  const sections = header.sections.map((section) => {
    const { kind, name, bytes } = section
    const crc = wordToHex(section.crc32, 0)
    if (section.kind === 'text') return { kind, name, bytes, crc32: crc }
    const dictionary = Array.from(section.dictionaryLow, (low, at) =>
      wordToHex(low, section.dictionaryHigh[at]),
    )
    return { kind, name, scope: section.scope, width: section.width, bytes, crc32: crc, dictionary }
  })
  const json = JSON.stringify({ provenance: header.provenance, pfnCount: header.pfnCount, sections })
  return json.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** The header that `bytes` hold, structure and content checked. */
export function decodeHeader(bytes: Uint8Array): Result<FileHeader> {
  const text = decodeUtf8(bytes)
  const json = text === undefined ? undefined : parseJson(text)
  if (!isRecord(json)) return malformed('it is not a JSON object')
  const provenance = decodeProvenance(json['provenance'])
  if (!provenance) return malformed('provenance')
  const { pfnCount } = json
  if (typeof pfnCount !== 'number') return malformed('pfnCount')
  if (!Array.isArray(json['sections'])) return malformed('sections')
  const sections: Section[] = []
  for (const raw of json['sections']) {
    const section = decodeSection(raw)
    if (!section) return malformed(`section ${sections.length}`)
    sections.push(section)
  }
  const header = { provenance, pfnCount, sections }
  const wrong = checkHeader(header)
  return wrong ? { ok: false, error: wrong } : ok(header)
}

function decodeSection(raw: unknown): Section | undefined {
  if (!isRecord(raw)) return undefined
  const { kind, name, bytes, scope, width, dictionary } = raw
  const crc = typeof raw['crc32'] === 'string' ? wordOfHex(raw['crc32']) : undefined
  if (typeof name !== 'string' || typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 0)
    return undefined
  if (!crc || crc.high !== 0) return undefined
  if (kind === 'text') return { kind, name, bytes, crc32: crc.low }
  if (kind !== 'column' || !Array.isArray(dictionary)) return undefined
  if ((scope !== 'pfn' && scope !== 'pageblock') || (width !== 1 && width !== 2)) return undefined
  const dictionaryLow = new Uint32Array(dictionary.length)
  const dictionaryHigh = new Uint32Array(dictionary.length)
  for (const [at, item] of dictionary.entries()) {
    const word = typeof item === 'string' ? wordOfHex(item) : undefined
    if (!word) return undefined
    dictionaryLow[at] = word.low
    dictionaryHigh[at] = word.high
  }
  return { kind, name, bytes, crc32: crc.low, scope, width, dictionaryLow, dictionaryHigh }
}

function decodeProvenance(raw: unknown): Provenance | undefined {
  if (!isRecord(raw)) return undefined
  const { tool, source, label, kernel, name } = raw
  if (typeof tool !== 'string' || typeof source !== 'string') return undefined
  return {
    tool,
    source,
    ...(typeof label === 'string' && { label }),
    ...(typeof kernel === 'string' && { kernel }),
    ...(typeof name === 'string' && { name }),
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const problem = (where: string, at: string, what: string, todo: string): InputError => ({
  where,
  at,
  what,
  todo,
})

const malformed = (what: string): Result<never> =>
  bad('header', `byte ${PREFIX_BYTES}`, `the header is malformed: ${what}`, REPORT_OR_REMAKE)
