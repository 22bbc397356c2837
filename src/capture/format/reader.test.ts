/**
 * The format, written and read: round trips, and every way of damaging a small file that can be enumerated.
 *
 * Files that no writer writes are forged: a header of any JSON with right CRCs around any bytes.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { describeInputError, type Result } from '../../base/result.ts'
import {
  type Capture,
  COLUMN_NAMES,
  type Column,
  type ColumnName,
  entriesOfScope,
  scopeOfColumn,
  TEXT_NAMES,
  type TextName,
} from './capture.ts'
import { ColumnBuilder } from './column.ts'
import { crc32 } from './crc32.ts'
import { END_MARKER, FORMAT_VERSION, MAGIC } from './layout.ts'
import { CaptureReader, readCapture } from './reader.ts'
import { writeCapture } from './writer.ts'

/** The decompressed bytes of a capture file. */
function bytesOf(capture: Capture): Uint8Array {
  const chunks: Uint8Array[] = []
  const written = writeCapture(capture, (chunk) => chunks.push(chunk))
  if (!written.ok) throw new Error(describeInputError(written.error))
  return concat(chunks)
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}

function columnOf(name: ColumnName, words: readonly (readonly [low: number, high: number])[]): Column {
  const builder = new ColumnBuilder(scopeOfColumn(name), words.length, name)
  for (const [low, high] of words) builder.add(low, high)
  const column = builder.finish()
  if (!column.ok) throw new Error(describeInputError(column.error))
  return column.value
}

const PAGES = 24

/** A file of about a kilobyte with every kind of section in it. */
const SAMPLE: Capture = {
  provenance: { tool: 'drover test', source: 'proc', label: 'before', name: 'Größe' },
  pfnCount: PAGES,
  texts: new Map([
    ['buddyinfo', 'Node 0, zone DMA 1 0 0\n'],
    ['zoneinfo', 'Node 0, zone DMA\n'],
  ]),
  columns: new Map([
    [
      'flags',
      columnOf(
        'flags',
        Array.from({ length: PAGES }, (_, pfn) => [pfn % 3 ? 0x400 : 0x5828, pfn % 3 ? 0 : 4]),
      ),
    ],
    [
      'mapcount',
      columnOf(
        'mapcount',
        Array.from({ length: PAGES }, (_, pfn) => [pfn % 3 ? 0 : 1, 0]),
      ),
    ],
    ['truth.pageblock', columnOf('truth.pageblock', [[9, 0]])],
  ]),
}
const SAMPLE_BYTES = bytesOf(SAMPLE)

function sameColumn(a: Column | undefined, b: Column | undefined): boolean {
  if (!a || !b) return a === b
  const same = (x: ArrayLike<number>, y: ArrayLike<number>): boolean =>
    x.length === y.length && Array.prototype.every.call(x, (value, at) => value === y[at])
  return (
    a.scope === b.scope &&
    a.index.BYTES_PER_ELEMENT === b.index.BYTES_PER_ELEMENT &&
    same(a.index, b.index) &&
    same(a.dictionaryLow, b.dictionaryLow) &&
    same(a.dictionaryHigh, b.dictionaryHigh)
  )
}

const sameCapture = (a: Capture, b: Capture): boolean =>
  a.pfnCount === b.pfnCount &&
  JSON.stringify(a.provenance) === JSON.stringify(b.provenance) &&
  TEXT_NAMES.every((name) => a.texts.get(name) === b.texts.get(name)) &&
  COLUMN_NAMES.every((name) => sameColumn(a.columns.get(name), b.columns.get(name)))

/** What a damaged file may give: an error that says everything, or what was written. */
function expectErrorOrSample(result: Result<Capture>, damage: string): 'error' | 'same' {
  if (result.ok) {
    if (!sameCapture(result.value, SAMPLE)) throw new Error(`${damage}: a wrong capture, silently`)
    return 'same'
  }
  const { where, at, what, todo } = result.error
  if (!where || !at || !what || !todo) throw new Error(`${damage}: an error that does not say everything`)
  return 'error'
}

const errorOf = (result: Result<unknown>): string =>
  result.ok ? 'no error' : describeInputError(result.error)

describe('round trip', () => {
  test('the sample comes back', () => {
    const read = readCapture(SAMPLE_BYTES)
    expect(read.ok && sameCapture(read.value, SAMPLE)).toBe(true)
  })

  const word = fc.oneof(
    fc.constantFrom<[number, number]>([0, 0], [0x400, 0], [0x5828, 4], [0x80, 0]),
    fc.tuple(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff)),
  )
  // Flag words must be ones that can be: tails of words without the bits that exclude each other.
  const flagWord = word.map(([low, high]): [number, number] => [(low & ~0x18400) >>> 0, high])
  const capture = fc.integer({ min: 1, max: 1500 }).chain((pfnCount) => {
    const columnsOf = (name: ColumnName) => {
      const entries = entriesOfScope(scopeOfColumn(name), pfnCount)
      const pool = fc.array(name === 'flags' ? flagWord : word, { minLength: 1, maxLength: 400 })
      const column = fc
        .tuple(pool, fc.nat(2 ** 31 - 1))
        // A cheap scatter over the pool: a page each through fast-check would take minutes.
        .map(([words, seed]) =>
          columnOf(
            name,
            Array.from(
              { length: entries },
              (_, at) => words[Math.imul(at + seed, 0x9e3779b1) % words.length] ?? words[0],
            ),
          ),
        )
      return name === 'flags' ? column : fc.option(column, { nil: undefined })
    }
    const textsOf = (name: TextName) => {
      const text = fc.string({ unit: 'grapheme', maxLength: 50 })
      return name === 'zoneinfo' ? text : fc.option(text, { nil: undefined })
    }
    return fc.record({
      pfnCount: fc.constant(pfnCount),
      provenance: fc.record(
        { tool: fc.string(), source: fc.string({ unit: 'binary' }), label: fc.string(), kernel: fc.string() },
        { requiredKeys: ['tool', 'source'] },
      ),
      columns: fc
        .tuple(...COLUMN_NAMES.map((name) => columnsOf(name).map((column) => [name, column] as const)))
        .map(
          (pairs) => new Map(pairs.flatMap(([name, column]) => (column ? [[name, column] as const] : []))),
        ),
      texts: fc
        .tuple(...TEXT_NAMES.map((name) => textsOf(name).map((text) => [name, text] as const)))
        .map(
          (pairs) =>
            new Map(pairs.flatMap(([name, text]) => (text === undefined ? [] : [[name, text] as const]))),
        ),
    })
  })

  test('any capture comes back, through chunks of any size', () => {
    fc.assert(
      fc.property(
        capture,
        fc.array(fc.integer({ min: 0, max: 700 }), { minLength: 1 }),
        (original, sizes) => {
          const bytes = bytesOf(original)
          const reader = new CaptureReader()
          let at = 0
          for (let step = 0; at < bytes.length; step++) {
            // The last size that has a byte in it goes on for ever.
            const size = Math.max(sizes[step % sizes.length], step >= sizes.length ? 100 : 0)
            expect(reader.push(bytes.subarray(at, at + size)).ok).toBe(true)
            at += size
          }
          const read = reader.end()
          expect(read.ok && sameCapture(read.value, original)).toBe(true)
          expect(bytesOf(original)).toEqual(bytes)
        },
      ),
      { numRuns: 150 },
    )
  })
})

describe('damage', () => {
  test('every bit flipped: an error', () => {
    for (let at = 0; at < SAMPLE_BYTES.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = SAMPLE_BYTES.slice()
        damaged[at] ^= 1 << bit
        const outcome = expectErrorOrSample(readCapture(damaged), `bit ${bit} of byte ${at}`)
        expect(outcome).toBe('error')
      }
    }
  })

  test('every truncation: an error that says where', () => {
    for (let length = 0; length < SAMPLE_BYTES.length; length++) {
      const result = readCapture(SAMPLE_BYTES.slice(0, length))
      expect(errorOf(result)).toContain(`byte ${length}: the file is truncated`)
    }
  })

  test('every byte taken out, and one put in anywhere: an error', () => {
    for (let at = 0; at <= SAMPLE_BYTES.length; at++) {
      const before = SAMPLE_BYTES.slice(0, at)
      expect(
        expectErrorOrSample(
          readCapture(concat([before, Uint8Array.of(0x55), SAMPLE_BYTES.slice(at)])),
          `+${at}`,
        ),
      ).toBe('error')
      if (at === SAMPLE_BYTES.length) break
      expect(expectErrorOrSample(readCapture(concat([before, SAMPLE_BYTES.slice(at + 1)])), `-${at}`)).toBe(
        'error',
      )
    }
  })

  test('an error stays', () => {
    const reader = new CaptureReader()
    const first = reader.push(Uint8Array.of(1))
    expect(first.ok).toBe(false)
    expect(reader.push(SAMPLE_BYTES)).toBe(first)
    expect(reader.end()).toBe(first)
  })

  test('a foreign file is told at its first byte', () => {
    const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47)
    expect(errorOf(readCapture(png))).toContain('prefix: byte 0: this is not a drover capture')
  })

  test('bytes after the end', () => {
    const longer = concat([SAMPLE_BYTES, Uint8Array.of(0)])
    expect(errorOf(readCapture(longer))).toContain('bytes follow the end marker')
  })
})

// Headers that no writer writes.

interface Forged {
  readonly version?: number
  readonly pfnCount?: unknown
  readonly sections?: readonly unknown[]
  readonly bodies?: readonly Uint8Array[]
  readonly json?: string
}

function forge({
  version = FORMAT_VERSION,
  pfnCount = 4,
  sections = [],
  bodies = [],
  json,
}: Forged): Uint8Array {
  const text = json ?? JSON.stringify({ provenance: { tool: 't', source: 's' }, pfnCount, sections })
  const header = new TextEncoder().encode(text)
  const prefix = new Uint8Array(20)
  prefix.set(MAGIC)
  const view = new DataView(prefix.buffer)
  view.setUint32(8, version, true)
  view.setUint32(12, header.length, true)
  view.setUint32(16, crc32(header, 0), true)
  return concat([prefix, header, ...bodies, END_MARKER])
}

const hex = (value: number): string => `0x${value.toString(16)}`
const FLAGS_BODY = Uint8Array.of(0, 1, 1, 0)
const FLAGS = {
  kind: 'column',
  name: 'flags',
  scope: 'pfn',
  width: 1,
  bytes: 4,
  crc32: hex(crc32(FLAGS_BODY, 0)),
  dictionary: ['0x0', '0x400'],
}
const ZONEINFO_BODY = new TextEncoder().encode('zones')
const ZONEINFO = { kind: 'text', name: 'zoneinfo', bytes: 5, crc32: hex(crc32(ZONEINFO_BODY, 0)) }

describe('forged headers', () => {
  test('a sound one is read', () => {
    const read = readCapture(forge({ sections: [FLAGS, ZONEINFO], bodies: [FLAGS_BODY, ZONEINFO_BODY] }))
    expect(read.ok && read.value.columns.get('flags')?.index).toEqual(FLAGS_BODY)
    expect(read.ok && read.value.texts.get('zoneinfo')).toBe('zones')
  })

  test.each<[string, Forged, string]>([
    [
      'newer',
      { version: 2 },
      'prefix: byte 8: written by a newer drover, format 2; this one reads up to 1; upgrade drover',
    ],
    ['version 0', { version: 0 }, 'there is no format 0'],
    ['not JSON', { json: 'x' }, 'header: byte 20: the header is malformed: it is not a JSON object'],
    ['an array', { json: '[]' }, 'it is not a JSON object'],
    ['empty', { json: '' }, 'a header of 0 bytes cannot be'],
    ['no provenance', { json: '{"pfnCount":4,"sections":[]}' }, 'malformed: provenance'],
    ['pfnCount a text', { pfnCount: '4' }, 'malformed: pfnCount'],
    ['no pages', { pfnCount: 0 }, 'header: pfnCount: 0 pages cannot be'],
    ['half a page', { pfnCount: 1.5 }, '1.5 pages cannot be'],
    ['a section that is null', { sections: [null] }, 'malformed: section 0'],
    ['a crc that is no word', { sections: [{ ...FLAGS, crc32: 'x' }] }, 'malformed: section 0'],
    ['a word that is none', { sections: [{ ...FLAGS, dictionary: ['0x0', 1024] }] }, 'malformed: section 0'],
    ['width 3', { sections: [{ ...FLAGS, width: 3 }] }, 'malformed: section 0'],
    ['negative length', { sections: [{ ...FLAGS, bytes: -4 }] }, 'malformed: section 0'],
    ['no flags', { sections: [ZONEINFO] }, 'flags: header: the capture has no flags'],
    ['no zoneinfo', { sections: [FLAGS] }, 'zoneinfo: header: the capture has no zoneinfo'],
    ['flags twice', { sections: [FLAGS, FLAGS, ZONEINFO] }, 'flags: header: the section occurs twice'],
    [
      'lengths that disagree',
      { sections: [{ ...FLAGS, bytes: 5 }, ZONEINFO] },
      'flags: header: 5 bytes are not 4 entries of 1 bytes for 4 pages',
    ],
    [
      'pages that disagree',
      { pfnCount: 5, sections: [FLAGS, ZONEINFO] },
      'flags: header: 4 bytes are not 5 entries of 1 bytes for 5 pages',
    ],
    ['no words', { sections: [{ ...FLAGS, dictionary: [] }, ZONEINFO] }, '0 dictionary words'],
    [
      'more words than a byte addresses',
      { sections: [{ ...FLAGS, dictionary: Array.from({ length: 257 }, () => '0x0') }, ZONEINFO] },
      '257 dictionary words do not go with 1 index bytes',
    ],
    [
      'flags by pageblock',
      { sections: [{ ...FLAGS, scope: 'pageblock', bytes: 1 }, ZONEINFO] },
      'the column is one a pageblock, and must not be',
    ],
    [
      'free and on the LRU',
      { sections: [{ ...FLAGS, dictionary: ['0x0', '0x420'] }, ZONEINFO] },
      'flags: dictionary word 1: a flag word that cannot be: 0x420 (LRU|BUDDY): BUDDY and LRU: free and in use',
    ],
    [
      'head and tail',
      { sections: [{ ...FLAGS, dictionary: ['0x18000', '0x0'] }, ZONEINFO] },
      'a flag word that cannot be: 0x18000 (COMPOUND_HEAD|COMPOUND_TAIL)',
    ],
    [
      'an index beyond the dictionary',
      {
        sections: [ZONEINFO, { ...FLAGS, crc32: hex(crc32(Uint8Array.of(0, 1, 2, 0), 0)) }],
        bodies: [ZONEINFO_BODY, Uint8Array.of(0, 1, 2, 0)],
      },
      'entry 2 is index 2, and the dictionary has 2 words',
    ],
    [
      'a text that is not UTF-8',
      {
        sections: [FLAGS, { ...ZONEINFO, bytes: 1, crc32: hex(crc32(Uint8Array.of(0xff), 0)) }],
        bodies: [FLAGS_BODY, Uint8Array.of(0xff)],
      },
      'zoneinfo: byte',
    ],
  ])('%s', (_what, forged, message) => {
    expect(errorOf(readCapture(forge(forged)))).toContain(message)
  })

  test('a section that this version does not know is skipped, but not unchecked', () => {
    const extra = { kind: 'text', name: 'slabinfo', bytes: 5, crc32: ZONEINFO.crc32 }
    const sections = [extra, FLAGS, ZONEINFO]
    const reader = new CaptureReader()
    reader.push(forge({ sections, bodies: [ZONEINFO_BODY, FLAGS_BODY, ZONEINFO_BODY] }))
    expect(reader.end().ok).toBe(true)
    expect(reader.ignored).toEqual(['slabinfo'])
    const damaged = forge({ sections, bodies: [Uint8Array.of(1, 2, 3, 4, 5), FLAGS_BODY, ZONEINFO_BODY] })
    expect(errorOf(readCapture(damaged))).toContain('slabinfo: bytes')
  })

  test('a header that promises gigabytes costs nothing until they come', () => {
    const huge = forge({ pfnCount: 2 ** 32, sections: [{ ...FLAGS, bytes: 2 ** 32 }, ZONEINFO] })
    expect(errorOf(readCapture(huge))).toContain('the file is truncated')
  })
})

describe('the writer', () => {
  const withFlags = (flags: Column): Capture => ({ ...SAMPLE, columns: new Map([['flags', flags]]) })
  const flags = SAMPLE.columns.get('flags')
  if (!flags) throw new Error('the sample has flags')

  test.each<[string, Capture, string]>([
    ['no flags', { ...SAMPLE, columns: new Map() }, 'the capture has no flags'],
    ['no zoneinfo', { ...SAMPLE, texts: new Map() }, 'the capture has no zoneinfo'],
    [
      'a column too short',
      withFlags({ ...flags, index: flags.index.slice(1) }),
      '23 bytes are not 24 entries',
    ],
    [
      'an index beyond',
      withFlags({ ...flags, dictionaryLow: Uint32Array.of(0) }),
      'entry 1: the index is beyond',
    ],
    [
      'a word that cannot be',
      withFlags({ ...flags, dictionaryLow: Uint32Array.of(0, 0x480) }),
      'BUDDY and SLAB',
    ],
  ])('refuses, and emits nothing: %s', (_what, capture, message) => {
    let chunks = 0
    const written = writeCapture(capture, () => chunks++)
    expect(errorOf(written)).toContain(message)
    expect(chunks).toBe(0)
  })
})
