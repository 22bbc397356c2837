/**
 * Plain folders: files of /proc as they were copied, `kpageflags`, `kpagecount`, `kpagecgroup` (u64 little-endian a page)
 * beside `zoneinfo`, `buddyinfo`, … Several snapshots of one machine lie side by side as `before.kpageflags`, ….
 * Every file may be gzipped (`.gz`); a text may be called `zoneinfo.txt`.
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { bad, ok, type Result } from '../../base/result.ts'
import { type Capture, type Column, type ColumnName, TEXT_NAMES, type TextName } from '../format/capture.ts'
import { ColumnBuilder } from '../format/column.ts'
import { addTruth, chooseLabel, type ImportOptions } from './import_options.ts'
import { provenanceOf } from './provenance.ts'
import { readPlainOrGzip, textOf } from './raw_file.ts'

const FLAGS_FILE = /^(?:(.+)\.)?kpageflags(?:\.gz)?$/
/** Label of a snapshot whose files have no prefix. Not recorded. */
const NO_LABEL = ''
const WORD_BYTES = 8
/** Pages that go into a column at a time. */
const CHUNK_PAGES = 1 << 16

/** Labels of the plain snapshots in `dir`, '' for one without: empty if it is no such folder. */
export const procLabels = (dir: string): string[] =>
  [
    ...new Set(
      readdirSync(dir).flatMap((file) =>
        FLAGS_FILE.test(file) ? [FLAGS_FILE.exec(file)?.[1] ?? NO_LABEL] : [],
      ),
    ),
  ].sort()

/** The snapshot of a plain folder that `options` name. */
export function importProc(dir: string, options: ImportOptions): Result<Capture> {
  const labels = procLabels(dir)
  // Without a prefix the folder does not know which side it is: whoever imports it says so.
  const unlabelled = labels.length === 1 && labels[0] === NO_LABEL
  const label = unlabelled ? ok(NO_LABEL) : chooseLabel(dir, labels, options.label)
  if (!label.ok) return label
  const pathOf = (what: string): string =>
    join(dir, label.value === NO_LABEL ? what : `${label.value}.${what}`)

  const columns = new Map<ColumnName, Column>()
  const sources = [
    ['flags', 'kpageflags'],
    ['mapcount', 'kpagecount'],
    ['cgroup', 'kpagecgroup'],
  ] as const
  let pfnCount = 0
  for (const [name, file] of sources) {
    const path = pathOf(file)
    const bytes = readPlainOrGzip(path)
    if (!bytes) continue
    if (!bytes.ok) return bytes
    // A kernel without memory cgroups has no such file, and a shell's redirection leaves an empty one.
    if (name === 'cgroup' && bytes.value.length === 0) continue
    const column = columnOfWords(path, bytes.value)
    if (!column.ok) return column
    if (name === 'flags') pfnCount = column.value.index.length
    else if (column.value.index.length !== pfnCount) {
      const what = `${column.value.index.length} pages, where kpageflags has ${pfnCount}`
      return bad(path, `byte ${bytes.value.length}`, what, 'copy both files again, whole and in one go')
    }
    columns.set(name, column.value)
  }

  const texts = new Map<TextName, string>()
  for (const name of TEXT_NAMES) {
    const bytes = readPlainOrGzip(pathOf(name)) ?? readPlainOrGzip(pathOf(`${name}.txt`))
    if (!bytes) continue
    if (!bytes.ok) return bytes
    texts.set(name, textOf(bytes.value))
  }

  const wrong = addTruth(dir, columns, options.truth, new Map())
  if (wrong) return { ok: false, error: wrong }
  const recorded = label.value === NO_LABEL ? options.label : label.value
  return ok({
    provenance: provenanceOf('proc', dir, recorded, options),
    pfnCount,
    texts,
    columns,
  })
}

/** The column of a file of u64 words. */
function columnOfWords(path: string, bytes: Uint8Array): Result<Column> {
  if (bytes.length === 0)
    return bad(path, 'byte 0', 'the file is empty', 'copy it as root: others read nothing')
  if (bytes.length % WORD_BYTES !== 0) {
    return bad(
      path,
      `byte ${bytes.length}`,
      'truncated: the file is not whole 64-bit words',
      'copy the file again',
    )
  }
  const pages = bytes.length / WORD_BYTES
  const builder = new ColumnBuilder('pfn', pages, path)
  const pairs = new Uint32Array(2 * CHUNK_PAGES)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let page = 0; page < pages; page += CHUNK_PAGES) {
    const words = 2 * Math.min(CHUNK_PAGES, pages - page)
    for (let word = 0; word < words; word++) pairs[word] = view.getUint32(page * WORD_BYTES + 4 * word, true)
    builder.addPairs(pairs.subarray(0, words))
  }
  return builder.finish()
}
