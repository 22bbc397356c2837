/**
 * MMPG1 folders: a QEMU scenario with snapshots `pages-L.bin.gz`, free lists `free-L.bin.gz` and all texts in
 * `text.json.gz`, where L is any label.
 *
 * `pages-L.bin.gz` is gzip of "MMPG1\n", u32 header length, a JSON header, and columns at 10 + length + offset: flags
 * (index into the header's flagValues), mapcount, refcount, order, mapping, block.
 * `free-L.bin.gz` is gzip of u32 words: buddy lists {0x5a464c31, node, zone, order, migratetype, n, pfn * n}, then per-cpu
 * lists {0x5a504331, node, zone, cpu, list, n, pfn * n}.
 *
 * Everything but flags and mapcount is truth: it was read by a kernel module.
 */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { bad, ok, type Result } from '../../base/result.ts'
import {
  type Capture,
  type Column,
  type ColumnName,
  entriesOfScope,
  PAGEBLOCK_ABSENT,
  TEXT_NAMES,
  type TextName,
  type TruthColumnName,
} from '../format/capture.ts'
import { ColumnBuilder, columnOfBytes, wordOfHex } from '../format/column.ts'
import { addTruth, chooseLabel, type ImportOptions } from './import_options.ts'
import { fieldOf, isRecord, parseJson } from './json_value.ts'
import { pageblockColumn } from './migratetype.ts'
import { provenanceOf } from './provenance.ts'
import { readGzipFile, textOf } from './raw_file.ts'

const PAGES_FILE = /^pages-(.+)\.bin\.gz$/
const MAGIC = 'MMPG1\n'
const PREFIX_BYTES = 10
const COPY_AGAIN = 'copy the file again'

// Tags of the lists in free-L.bin.gz.
const BUDDY_LIST = 0x5a464c31
const PCP_LIST = 0x5a504331
const LIST_HEADER_WORDS = 6
const LIST_WORD = 4
const COUNT_WORD = 5
const PCP_TYPES = 3
const PAGE_ALLOC_COSTLY_ORDER = 3
const PAGEBLOCK_ORDER = 9

const REFCOUNT_MAX = 254
const REFCOUNT_UNKNOWN = 255

/** Labels of the MMPG1 snapshots in `dir`: empty if it is no such folder. */
export const mmpg1Labels = (dir: string): string[] =>
  readdirSync(dir)
    .flatMap((file) => PAGES_FILE.exec(file)?.[1] ?? [])
    .sort()

/** The snapshot of an MMPG1 folder that `options` name. */
export function importMmpg1(dir: string, options: ImportOptions): Result<Capture> {
  const label = chooseLabel(dir, mmpg1Labels(dir), options.label)
  if (!label.ok) return label
  const path = join(dir, `pages-${label.value}.bin.gz`)
  const file = readPagesFile(path)
  if (!file.ok) return file
  const texts = readTexts(join(dir, 'text.json.gz'), label.value)
  if (!texts.ok) return texts

  const pages = file.value
  const columns = new Map<ColumnName, Column>()
  const flags = flagsColumn(pages)
  if (!flags.ok) return flags
  columns.set('flags', flags.value)
  if (pages.columns.has('mapcount')) {
    const mapcount = mapcountColumn(pages)
    if (!mapcount.ok) return mapcount
    columns.set('mapcount', mapcount.value)
  }
  const freePath = join(dir, `free-${label.value}.bin.gz`)
  const readers = truthReaders(pages, freePath, texts.value.get('pagetypeinfo'))
  const wrong = addTruth(dir, columns, options.truth, readers)
  if (wrong) return { ok: false, error: wrong }

  return ok({
    provenance: provenanceOf('mmpg1', dir, label.value, options),
    pfnCount: pages.pfnCount,
    texts: texts.value,
    columns,
  })
}

/** A pages file, taken apart but not interpreted. */
interface PagesFile {
  readonly path: string
  readonly pfnCount: number
  readonly flagValues: readonly unknown[]
  readonly columns: ReadonlyMap<string, RawColumn>
}

interface RawColumn {
  readonly type: 'u8' | 'u16' | 'i32'
  /** Offset in the decompressed file. */
  readonly start: number
  readonly bytes: Uint8Array
}

const TYPE_BYTES = { u8: 1, u16: 2, i32: 4 } as const

function readPagesFile(path: string): Result<PagesFile> {
  const file = readGzipFile(path)
  if (!file.ok) return file
  const bytes = file.value
  if (bytes.length < PREFIX_BYTES || !MAGIC.split('').every((c, at) => bytes[at] === c.charCodeAt(0))) {
    return bad(path, 'byte 0', 'this is not an MMPG1 file', 'check the path')
  }
  const headerBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(6, true)
  const base = PREFIX_BYTES + headerBytes
  if (base > bytes.length) {
    return bad(
      path,
      `byte ${bytes.length}`,
      `truncated in its header, which ends at byte ${base}`,
      COPY_AGAIN,
    )
  }
  const header = parseJson(textOf(bytes.subarray(PREFIX_BYTES, base)))
  const pfnCount = fieldOf(header, 'pages')
  const flagValues = fieldOf(header, 'flagValues')
  const rawColumns = fieldOf(header, 'columns')
  if (
    typeof pfnCount !== 'number' ||
    !Number.isInteger(pfnCount) ||
    pfnCount < 1 ||
    !Array.isArray(flagValues) ||
    !Array.isArray(rawColumns)
  ) {
    return bad(path, `byte ${PREFIX_BYTES}`, 'the header is malformed', COPY_AGAIN)
  }
  const columns = new Map<string, RawColumn>()
  for (const raw of rawColumns) {
    const name = fieldOf(raw, 'name')
    const type = fieldOf(raw, 'type')
    const offset = fieldOf(raw, 'offset')
    const length = fieldOf(raw, 'bytes')
    const known = type === 'u8' || type === 'u16' || type === 'i32'
    if (typeof name !== 'string' || !known || !isSize(offset) || !isSize(length)) {
      return bad(
        path,
        `byte ${PREFIX_BYTES}`,
        `column ${columns.size} of the header is malformed`,
        COPY_AGAIN,
      )
    }
    const start = base + offset
    // The block column may stop at the last zone's end, before the last page that kpageflags has.
    const entries = name === 'block' ? length : pfnCount
    if (length !== entries * TYPE_BYTES[type] || entries > pfnCount) {
      return bad(
        path,
        `byte ${PREFIX_BYTES}`,
        `column ${name} has ${length} bytes for ${pfnCount} pages`,
        COPY_AGAIN,
      )
    }
    if (start + length > bytes.length) {
      return bad(
        path,
        `byte ${bytes.length}`,
        `truncated in column ${name}, which ends at byte ${start + length}`,
        COPY_AGAIN,
      )
    }
    columns.set(name, { type, start, bytes: bytes.subarray(start, start + length) })
  }
  return ok({ path, pfnCount, flagValues, columns })
}

function flagsColumn(pages: PagesFile): Result<Column> {
  const raw = pages.columns.get('flags')
  if (!raw || raw.type === 'i32')
    return bad(pages.path, `byte ${PREFIX_BYTES}`, 'there is no flags column', COPY_AGAIN)
  const words = pages.flagValues.map((value) => (typeof value === 'string' ? wordOfHex(value) : undefined))
  const dictionaryLow = Uint32Array.from(words, (word) => word?.low ?? 0)
  const dictionaryHigh = Uint32Array.from(words, (word) => word?.high ?? 0)
  const malformed = words.indexOf(undefined)
  if (malformed >= 0)
    return bad(pages.path, `byte ${PREFIX_BYTES}`, `flag value ${malformed} is not 0x…`, COPY_AGAIN)
  const index = raw.type === 'u8' ? raw.bytes : u16Of(raw.bytes)
  const beyond = index.findIndex((entry) => entry >= words.length)
  if (beyond >= 0) {
    const at = raw.start + beyond * TYPE_BYTES[raw.type]
    return bad(
      pages.path,
      `byte ${at}`,
      `page ${beyond} is index ${index[beyond]} of ${words.length} flag values`,
      COPY_AGAIN,
    )
  }
  return ok({ scope: 'pfn', dictionaryLow, dictionaryHigh, index })
}

function mapcountColumn(pages: PagesFile): Result<Column> {
  const builder = new ColumnBuilder('pfn', pages.pfnCount, pages.path)
  forEachValue(pages, 'mapcount', (value) => builder.add(value >>> 0, value < 0 ? 0xffffffff : 0))
  return builder.finish()
}

function truthReaders(
  pages: PagesFile,
  freePath: string,
  pagetypeinfo: string | undefined,
): ReadonlyMap<TruthColumnName, () => Result<Column>> {
  const readers = new Map<TruthColumnName, () => Result<Column>>()
  const mapping = pages.columns.get('mapping')
  const block = pages.columns.get('block')
  if (pages.columns.has('refcount')) readers.set('truth.refcount', () => ok(refcountColumn(pages)))
  if (existsSync(freePath)) readers.set('truth.pcp', () => pcpColumn(freePath, pages.pfnCount))
  if (mapping) readers.set('truth.mapping', () => ok(columnOfBytes('pfn', mapping.bytes)))
  if (block) {
    const blocks = new Uint8Array(entriesOfScope('pageblock', pages.pfnCount)).fill(PAGEBLOCK_ABSENT)
    readers.set('truth.pageblock', () => {
      if (block.bytes.length > blocks.length) {
        return bad(
          pages.path,
          `byte ${block.start}`,
          `${block.bytes.length} pageblocks for ${pages.pfnCount} pages`,
          COPY_AGAIN,
        )
      }
      blocks.set(block.bytes)
      return pageblockColumn(pages.path, blocks, pagetypeinfo, 0)
    })
  }
  return readers
}

function refcountColumn(pages: PagesFile): Column {
  const clamped = new Uint8Array(pages.pfnCount)
  forEachValue(pages, 'refcount', (count, pfn) => {
    clamped[pfn] = count < 0 ? REFCOUNT_UNKNOWN : Math.min(count, REFCOUNT_MAX)
  })
  return columnOfBytes('pfn', clamped)
}

/**
 * Order of the blocks on per-cpu list number `list`: one list a migratetype for each order up to
 * PAGE_ALLOC_COSTLY_ORDER, then those of transparent huge pages.
 *
 * @kernel mm/page_alloc.c pindex_to_order() v6.1
 */
const orderOfPcpList = (list: number): number =>
  list < PCP_TYPES * (PAGE_ALLOC_COSTLY_ORDER + 1) ? Math.floor(list / PCP_TYPES) : PAGEBLOCK_ORDER

/** 1 for every page of a block on a per-cpu list. */
function pcpColumn(path: string, pfnCount: number): Result<Column> {
  const file = readGzipFile(path)
  if (!file.ok) return file
  const { buffer, byteOffset, length } = file.value
  if (length % 4 !== 0)
    return bad(path, `byte ${length}`, 'truncated: the file is not whole 32-bit words', COPY_AGAIN)
  const view = new DataView(buffer, byteOffset, length)
  const onPcp = new Uint8Array(pfnCount)
  for (let at = 0; at < length; ) {
    const tag = view.getUint32(at, true)
    if (tag !== BUDDY_LIST && tag !== PCP_LIST) {
      return bad(path, `byte ${at}`, `no free list begins with 0x${tag.toString(16)}`, COPY_AGAIN)
    }
    // A list cut off in its own header ends beyond the file whatever it says.
    const listed = at + 4 * LIST_HEADER_WORDS <= length ? view.getUint32(at + 4 * COUNT_WORD, true) : 0
    const end = at + 4 * (LIST_HEADER_WORDS + listed)
    if (end > length)
      return bad(path, `byte ${length}`, `truncated: the list at byte ${at} ends at ${end}`, COPY_AGAIN)
    if (tag === PCP_LIST) {
      const pages = 1 << orderOfPcpList(view.getUint32(at + 4 * LIST_WORD, true))
      const beyond = markBlocks(view, at + 4 * LIST_HEADER_WORDS, end, pages, onPcp)
      if (beyond >= 0) return bad(path, `byte ${beyond}`, `a block beyond the ${pfnCount} pages`, COPY_AGAIN)
    }
    at = end
  }
  return ok(columnOfBytes('pfn', onPcp))
}

/** Marks `pages` pages from every pfn in the bytes from `start` to `end`. Gives where a block is that does not fit, or -1. */
function markBlocks(view: DataView, start: number, end: number, pages: number, marks: Uint8Array): number {
  for (let entry = start; entry < end; entry += 4) {
    const pfn = view.getUint32(entry, true)
    if (pfn + pages > marks.length) return entry
    marks.fill(1, pfn, pfn + pages)
  }
  return -1
}

function readTexts(path: string, label: string): Result<ReadonlyMap<TextName, string>> {
  const file = readGzipFile(path)
  if (!file.ok) return file
  const json = parseJson(textOf(file.value))
  const snapshot = fieldOf(json, `snap/${label}`)
  if (!isRecord(snapshot)) {
    return bad(path, `snap/${label}`, 'there are no texts of this snapshot', 'choose another one with --side')
  }
  const texts = new Map<TextName, string>()
  for (const name of TEXT_NAMES) {
    const text = snapshot[name]
    if (typeof text === 'string') texts.set(name, text)
  }
  return ok(texts)
}

const isSize = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/** Calls `visit` for each value of an i32 column. */
function forEachValue(pages: PagesFile, name: string, visit: (value: number, pfn: number) => void): void {
  const raw = pages.columns.get(name)
  if (!raw) return
  const view = new DataView(raw.bytes.buffer, raw.bytes.byteOffset, raw.bytes.length)
  const size = TYPE_BYTES[raw.type]
  for (let pfn = 0; pfn < pages.pfnCount; pfn++) {
    const at = pfn * size
    visit(size === 4 ? view.getInt32(at, true) : size === 2 ? view.getUint16(at, true) : raw.bytes[at], pfn)
  }
}

function u16Of(bytes: Uint8Array): Uint16Array {
  const words = new Uint16Array(bytes.length / 2)
  for (let at = 0; at < words.length; at++) words[at] = bytes[2 * at] | (bytes[2 * at + 1] << 8)
  return words
}
