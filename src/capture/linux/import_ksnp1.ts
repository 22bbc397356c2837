/**
 * KSNP1 folders: snapshots `S.kpageflags.ksnp.gz`, … with texts `S.zoneinfo.txt`, … where S is `before` or `after`.
 *
 * A KSNP1 file is gzip of: "KSNP1\0\0\0", u32 pages, u32 dictionary words, u32 planes, u32 0, the u64 words, then a
 * plane of low index bytes and, if planes is 2, one of high index bytes. That is a column already.
 *
 * Recorded truth, where somebody had access to kernel memory:
 *   - `S.truth-pageblocks.bin.gz`  a byte a pageblock: bits 0-2 migratetype, bit 3 skip hint, bit 4 isolate; 255 absent
 *   - `S.truth-pages.bin.gz`       three planes of a byte a page: kind, aux, refcount
 */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { bad, ok, type Result } from '../../base/result.ts'
import {
  type Capture,
  type Column,
  type ColumnName,
  entriesOfScope,
  TEXT_NAMES,
  type TextName,
  type TruthColumnName,
} from '../format/capture.ts'
import { columnOfBytes, DICTIONARY_WORDS_MAX } from '../format/column.ts'
import { addTruth, chooseLabel, type ImportOptions } from './import_options.ts'
import { pageblockColumn } from './migratetype.ts'
import { provenanceOf } from './provenance.ts'
import { readGzipFile, readWholeFile, textOf } from './raw_file.ts'

const FLAGS_FILE = /^(.+)\.kpageflags\.ksnp\.gz$/
const MAGIC = 'KSNP1\0\0\0'
const HEADER_BYTES = 24
const COPY_AGAIN = 'copy the file again'

/** Bit of a raw pageblock byte: isolated. */
const RAW_ISOLATE = 16

// Kinds of a page in truth-pages.
const KIND_UNINITIALISED = 0
const KIND_NO_REFERENCE = 3
const KIND_NO_SECTION = 5
/** aux of a page that is neither mapped nor typed. */
const AUX_UNTYPED = 0xff
/** `truth.refcount` of a page whose count is not known. */
const REFCOUNT_UNKNOWN = 255

/** Labels of the KSNP1 snapshots in `dir`: empty if it is no such folder. */
export const ksnp1Labels = (dir: string): string[] =>
  readdirSync(dir)
    .flatMap((file) => FLAGS_FILE.exec(file)?.[1] ?? [])
    .sort()

/** The snapshot of a KSNP1 folder that `options` name. */
export function importKsnp1(dir: string, options: ImportOptions): Result<Capture> {
  const label = chooseLabel(dir, ksnp1Labels(dir), options.label)
  if (!label.ok) return label
  const pathOf = (what: string): string => join(dir, `${label.value}.${what}`)

  const columns = new Map<ColumnName, Column>()
  const sources = [
    ['flags', 'kpageflags'],
    ['mapcount', 'kpagecount'],
    ['cgroup', 'kpagecgroup'],
  ] as const
  let pfnCount = 0
  for (const [name, file] of sources) {
    const path = pathOf(`${file}.ksnp.gz`)
    if (name !== 'flags' && !existsSync(path)) continue
    const column = readKsnp1Column(path)
    if (!column.ok) return column
    if (name === 'flags') pfnCount = column.value.index.length
    else if (column.value.index.length !== pfnCount) {
      const what = `${column.value.index.length} pages, where kpageflags has ${pfnCount}`
      return bad(path, 'byte 8', what, 'take both from the same snapshot')
    }
    columns.set(name, column.value)
  }

  const texts = new Map<TextName, string>()
  for (const name of TEXT_NAMES) {
    const path = pathOf(`${name}.txt`)
    if (!existsSync(path)) continue
    const bytes = readWholeFile(path)
    if (!bytes.ok) return bytes
    texts.set(name, textOf(bytes.value))
  }

  const wrong = addTruth(
    dir,
    columns,
    options.truth,
    truthReaders(pathOf, pfnCount, texts.get('pagetypeinfo')),
  )
  if (wrong) return { ok: false, error: wrong }
  return ok({
    provenance: provenanceOf('ksnp1', dir, label.value, options),
    pfnCount,
    texts,
    columns,
  })
}

/** The column in a KSNP1 file. */
function readKsnp1Column(path: string): Result<Column> {
  const file = readGzipFile(path)
  if (!file.ok) return file
  const bytes = file.value
  if (bytes.length < HEADER_BYTES || !MAGIC.split('').every((c, at) => bytes[at] === c.charCodeAt(0))) {
    return bad(path, 'byte 0', 'this is not a KSNP1 file', 'check the path')
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const pages = view.getUint32(8, true)
  const words = view.getUint32(12, true)
  const planes = view.getUint32(16, true)
  if (pages === 0 || words === 0 || words > DICTIONARY_WORDS_MAX || (planes !== 1 && planes !== 2)) {
    return bad(path, 'byte 8', `${pages} pages, ${words} words and ${planes} planes cannot be`, COPY_AGAIN)
  }
  const start = HEADER_BYTES + 8 * words
  const expected = start + planes * pages
  if (bytes.length !== expected) {
    return bad(
      path,
      `byte ${bytes.length}`,
      `the file has ${bytes.length} bytes, its header promises ${expected}`,
      COPY_AGAIN,
    )
  }
  const dictionaryLow = new Uint32Array(words)
  const dictionaryHigh = new Uint32Array(words)
  for (let at = 0; at < words; at++) {
    dictionaryLow[at] = view.getUint32(HEADER_BYTES + 8 * at, true)
    dictionaryHigh[at] = view.getUint32(HEADER_BYTES + 8 * at + 4, true)
  }
  const low = bytes.subarray(start, start + pages)
  const index =
    planes === 1 ? low : Uint16Array.from(low, (byte, at) => byte | (bytes[start + pages + at] << 8))
  const beyond = index.findIndex((entry) => entry >= words)
  if (beyond >= 0) {
    return bad(
      path,
      `byte ${start + beyond}`,
      `page ${beyond} is index ${index[beyond]} of ${words} words`,
      COPY_AGAIN,
    )
  }
  return ok({ scope: 'pfn', dictionaryLow, dictionaryHigh, index })
}

function truthReaders(
  pathOf: (what: string) => string,
  pfnCount: number,
  pagetypeinfo: string | undefined,
): ReadonlyMap<TruthColumnName, () => Result<Column>> {
  const readers = new Map<TruthColumnName, () => Result<Column>>()
  const blocksPath = pathOf('truth-pageblocks.bin.gz')
  const pagesPath = pathOf('truth-pages.bin.gz')
  if (existsSync(blocksPath)) {
    readers.set('truth.pageblock', () => {
      const raw = readSized(blocksPath, entriesOfScope('pageblock', pfnCount))
      return raw.ok ? pageblockColumn(blocksPath, raw.value, pagetypeinfo, RAW_ISOLATE) : raw
    })
  }
  if (existsSync(pagesPath)) {
    readers.set('truth.refcount', () => fromPlanes(pagesPath, pfnCount, knownRefcount))
    readers.set('truth.pcp', () => fromPlanes(pagesPath, pfnCount, isOnPcp))
  }
  return readers
}

/** A column of what `f` says of kind, aux and refcount of each page. */
function fromPlanes(
  path: string,
  pfnCount: number,
  f: (kind: number, aux: number, refcount: number) => number,
): Result<Column> {
  const raw = readSized(path, 3 * pfnCount)
  if (!raw.ok) return raw
  const planes = raw.value
  const values = new Uint8Array(pfnCount)
  for (let pfn = 0; pfn < pfnCount; pfn++) {
    values[pfn] = f(planes[pfn], planes[pfnCount + pfn], planes[2 * pfnCount + pfn])
  }
  return ok(columnOfBytes('pfn', values))
}

const knownRefcount = (kind: number, _aux: number, refcount: number): number =>
  kind === KIND_UNINITIALISED || kind === KIND_NO_SECTION ? REFCOUNT_UNKNOWN : refcount

const isOnPcp = (kind: number, aux: number): number =>
  kind === KIND_NO_REFERENCE && aux === AUX_UNTYPED ? 1 : 0

function readSized(path: string, expected: number): Result<Uint8Array> {
  const file = readGzipFile(path)
  if (!file.ok) return file
  return file.value.length === expected
    ? file
    : bad(
        path,
        `byte ${file.value.length}`,
        `the file has ${file.value.length} bytes, not ${expected}`,
        'take it from the same snapshot',
      )
}
