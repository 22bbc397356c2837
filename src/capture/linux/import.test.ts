/**
 * Importers: synthetic folders of each kind, damaged in every part, and the real captures where they are.
 *
 * The real captures are not part of the repository; where they are absent those tests say so and are skipped.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { describeInputError, type Result } from '../../base/result.ts'
import { parseBuddyinfo } from '../format/buddyinfo.ts'
import type { Capture, ColumnName } from '../format/capture.ts'
import { mapDictionary } from '../format/column.ts'
import { checkConsistency } from '../format/consistency.ts'
import { KPF_BUDDY, lowMask } from '../format/kpageflags.ts'
import { parseZoneinfo, type ZoneinfoZone } from '../format/zoneinfo.ts'
import { readCaptureFile, writeCaptureFile } from './capture_file.ts'
import { importDirectory } from './import_dir.ts'
import { mmpg1Labels } from './import_mmpg1.ts'
import type { ImportOptions } from './import_options.ts'

const ROOT = mkdtempSync(join(tmpdir(), 'drover-import-'))
afterAll(() => rmSync(ROOT, { recursive: true }))

const OPTIONS: ImportOptions = { truth: 'none', slim: 'none', tool: 'drover test' }

/** A folder of these files. Names that end in .gz are gzipped. */
let folders = 0
function folderOf(files: Readonly<Record<string, Uint8Array | string>>): string {
  const dir = join(ROOT, `folder${folders++}`)
  mkdirSync(dir)
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(dir, name), name.endsWith('.gz') ? gzipSync(content) : content)
  }
  return dir
}

function valueOf<T>(result: Result<T>): T {
  if (result.ok) return result.value
  throw new Error(describeInputError(result.error))
}

const errorOf = (result: Result<unknown>): string =>
  result.ok ? 'no error' : describeInputError(result.error)

/** The low halves of a column's words, page by page. */
function lowWords(capture: Capture, name: ColumnName): number[] {
  const column = capture.columns.get(name)
  return column ? Array.from(column.index, (entry) => column.dictionaryLow[entry]) : []
}

const u64 = (...words: readonly bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(words).buffer)
const u32 = (...words: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(words).buffer)
const concat = (...parts: readonly Uint8Array[]): Uint8Array => Buffer.concat(parts)
const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1')

const PAGETYPEINFO = (types: string): string =>
  `Page block order: 9\nPages per block:  512\n\nNumber of blocks type ${types}\nNode 0, zone DMA ${types.replaceAll(/\w+/g, '1')}\n`

describe('plain folders', () => {
  const files = {
    kpageflags: u64(0x400n, 0x4_0000_5828n, 0n, 0x400n),
    kpagecount: u64(0n, 1n, 0n, 0n),
    'kpagecgroup.gz': u64(0n, 4711n, 1n, 0n),
    'zoneinfo.txt': 'zones',
    buddyinfo: 'blocks',
  }

  test('words, texts, gzip and .txt', () => {
    const capture = valueOf(
      importDirectory(folderOf(files), { ...OPTIONS, label: 'before', kernel: '6.18.0' }),
    )
    expect(capture.pfnCount).toBe(4)
    expect(lowWords(capture, 'flags')).toEqual([0x400, 0x5828, 0, 0x400])
    expect(capture.columns.get('flags')?.dictionaryHigh).toEqual(Uint32Array.of(0, 4, 0))
    expect(lowWords(capture, 'cgroup')).toEqual([0, 4711, 1, 0])
    expect([...capture.texts]).toEqual([
      ['buddyinfo', 'blocks'],
      ['zoneinfo', 'zones'],
    ])
    expect(capture.provenance).toEqual({
      tool: 'drover test',
      source: 'proc',
      label: 'before',
      kernel: '6.18.0',
    })
  })

  test('two snapshots side by side', () => {
    const dir = folderOf({
      'before.kpageflags': u64(0n),
      'before.zoneinfo': 'a',
      'after.kpageflags': u64(0x400n),
      'after.zoneinfo': 'b',
    })
    expect(errorOf(importDirectory(dir, OPTIONS))).toContain(
      'there are several: after, before; choose one with --side',
    )
    expect(errorOf(importDirectory(dir, { ...OPTIONS, label: 'later' }))).toContain(
      "there is no 'later', only after, before",
    )
    const after = valueOf(importDirectory(dir, { ...OPTIONS, label: 'after' }))
    expect(lowWords(after, 'flags')).toEqual([0x400])
    expect(after.texts.get('zoneinfo')).toBe('b')
  })

  test('slim', () => {
    const dir = folderOf({ ...files, kpageflags: u64(0x408n, 0x4_0000_587cn, 0n, 0x1080n) })
    const cgroup = valueOf(importDirectory(dir, { ...OPTIONS, slim: 'cgroup' }))
    expect(lowWords(cgroup, 'cgroup')).toEqual([0, 1, 1, 0])
    expect(lowWords(cgroup, 'flags')).toEqual([0x408, 0x587c, 0, 0x1080])
    const all = valueOf(importDirectory(dir, { ...OPTIONS, slim: 'all' }))
    expect(lowWords(all, 'flags')).toEqual([0x400, 0x5828, 0, 0x80])
    expect([...all.columns.keys()]).toEqual(['flags', 'cgroup'])
  })

  test.each<[string, Readonly<Record<string, Uint8Array | string>>, string]>([
    ['nothing', {}, 'there is no snapshot in this folder'],
    ['no zoneinfo', { kpageflags: u64(0n) }, 'zoneinfo: header: the capture has no zoneinfo'],
    ['empty', { ...files, kpageflags: '' }, 'kpageflags: byte 0: the file is empty'],
    ['half a word', { ...files, kpageflags: new Uint8Array(12) }, 'kpageflags: byte 12: truncated'],
    [
      'too few counts',
      { ...files, kpagecount: u64(0n) },
      'kpagecount: byte 8: 1 pages, where kpageflags has 4',
    ],
    [
      'a word that cannot be',
      { ...files, kpageflags: u64(0n, 0n, 0x420n, 0n) },
      'flags: pfn 2: a flag word that cannot be',
    ],
    [
      'empty under gzip',
      { kpageflags: u64(0n), zoneinfo: 'z', 'kpagecount.gz': '' },
      'kpagecount: byte 0: the file is empty',
    ],
  ])('%s', (_what, content, message) => {
    expect(errorOf(importDirectory(folderOf(content), OPTIONS))).toContain(message)
  })

  test('damaged gzip', () => {
    const dir = folderOf(files)
    writeFileSync(join(dir, 'kpagecgroup.gz'), gzipSync(u64(0n)).subarray(0, 15))
    expect(errorOf(importDirectory(dir, OPTIONS))).toContain(
      'kpagecgroup.gz: gzip: the file is corrupt or truncated',
    )
  })

  test('no truth to be had', () => {
    const wanted = importDirectory(folderOf(files), { ...OPTIONS, truth: ['truth.pcp'] })
    expect(errorOf(wanted)).toContain('truth.pcp: this was not recorded; what was: nothing')
    expect(errorOf(importDirectory(folderOf(files), { ...OPTIONS, truth: 'all' }))).toContain(
      'no truth was recorded',
    )
  })

  test('no folder', () => {
    expect(errorOf(importDirectory(join(ROOT, 'absent'), OPTIONS))).toContain('ENOENT')
    const dir = folderOf(files)
    expect(errorOf(importDirectory(join(dir, 'buddyinfo'), OPTIONS))).toContain('this is not a folder')
  })
})

describe('KSNP1 folders', () => {
  const ksnp = (dictionary: readonly bigint[], planes: readonly (readonly number[])[]): Uint8Array =>
    concat(
      ascii('KSNP1\0\0\0'),
      u32(planes[0].length, dictionary.length, planes.length, 0),
      u64(...dictionary),
      ...planes.map((plane) => Uint8Array.from(plane)),
    )
  const files = {
    'before.kpageflags.ksnp.gz': ksnp([0n, 0x400n, 0x1_0000_0000n], [[0, 1, 2, 0, 1]]),
    'before.kpagecount.ksnp.gz': ksnp([0n, 7n], [[0, 0, 1, 0, 0]]),
    'before.zoneinfo.txt': 'zones',
    'before.pagetypeinfo.txt': PAGETYPEINFO('Unmovable Movable Reclaimable HighAtomic Isolate'),
    'before.truth-pageblocks.bin.gz': Uint8Array.of(1 + 8),
    // Kinds: uninitialised, buddy, per-cpu (untyped), frozen slab, allocated. Then aux, then refcount.
    'before.truth-pages.bin.gz': Uint8Array.of(0, 1, 3, 3, 4, 0, 0, 0xff, 0xf5, 1, 0, 0, 0, 0, 2),
    'run.json': '{"name":"an experiment"}',
  }

  test('columns and texts', () => {
    const capture = valueOf(importDirectory(folderOf(files), OPTIONS))
    expect(lowWords(capture, 'flags')).toEqual([0, 0x400, 0, 0, 0x400])
    expect(capture.columns.get('flags')?.dictionaryHigh).toEqual(Uint32Array.of(0, 0, 1))
    expect(lowWords(capture, 'mapcount')).toEqual([0, 0, 7, 0, 0])
    expect(capture.provenance).toEqual({
      tool: 'drover test',
      source: 'ksnp1',
      label: 'before',
      name: 'an experiment',
    })
  })

  test('truth', () => {
    const capture = valueOf(importDirectory(folderOf(files), { ...OPTIONS, truth: 'all' }))
    expect(lowWords(capture, 'truth.pcp')).toEqual([0, 0, 1, 0, 0])
    expect(lowWords(capture, 'truth.refcount')).toEqual([255, 0, 0, 0, 2])
    expect(lowWords(capture, 'truth.pageblock')).toEqual([9])
    const one = valueOf(importDirectory(folderOf(files), { ...OPTIONS, truth: ['truth.pcp'] }))
    expect([...one.columns.keys()]).toEqual(['flags', 'mapcount', 'truth.pcp'])
  })

  test('bit 4 of a pageblock is isolate, whatever its type', () => {
    const dir = folderOf({ ...files, 'before.truth-pageblocks.bin.gz': Uint8Array.of(1 + 16) })
    expect(
      lowWords(valueOf(importDirectory(dir, { ...OPTIONS, truth: ['truth.pageblock'] })), 'truth.pageblock'),
    ).toEqual([5])
  })

  test('two planes', () => {
    const words = Array.from({ length: 300 }, (_, at) => BigInt(at) << 32n)
    const two = ksnp(words, [
      [0, 1, 43, 0, 0],
      [0, 0, 1, 0, 0],
    ])
    const dir = folderOf({ ...files, 'before.kpageflags.ksnp.gz': two })
    const flags = valueOf(importDirectory(dir, OPTIONS)).columns.get('flags')
    expect(flags?.index).toEqual(Uint16Array.of(0, 1, 299, 0, 0))
  })

  const flagsFile = 'before.kpageflags.ksnp.gz'
  test.each<[string, Readonly<Record<string, Uint8Array | string>>, string]>([
    ['foreign', { [flagsFile]: ascii('KSNP2\0\0\0'.repeat(9)) }, 'byte 0: this is not a KSNP1 file'],
    ['too short', { [flagsFile]: ascii('KSNP1') }, 'byte 0: this is not a KSNP1 file'],
    [
      'truncated',
      { [flagsFile]: ksnp([0n], [[0, 0, 0]]).slice(0, -1) },
      'byte 34: the file has 34 bytes, its header promises 35',
    ],
    ['no words', { [flagsFile]: ksnp([], [[0]]) }, '1 pages, 0 words and 1 planes cannot be'],
    ['index beyond', { [flagsFile]: ksnp([0n, 1n], [[0, 1, 2]]) }, 'byte 42: page 2 is index 2 of 2 words'],
    [
      'counts of another',
      { 'before.kpagecount.ksnp.gz': ksnp([0n], [[0]]) },
      '1 pages, where kpageflags has 5',
    ],
    [
      'truth of another',
      { 'before.truth-pages.bin.gz': new Uint8Array(14) },
      'byte 14: the file has 14 bytes, not 15',
    ],
    [
      'no such type',
      { 'before.truth-pageblocks.bin.gz': Uint8Array.of(5) },
      'pageblock 0 is 5, no migratetype of this kernel',
    ],
    [
      'a bit nobody knows',
      { 'before.truth-pageblocks.bin.gz': Uint8Array.of(0x21) },
      'pageblock 0 is 33, no migratetype',
    ],
  ])('%s', (_what, instead, message) => {
    const dir = folderOf({ ...files, ...instead })
    expect(errorOf(importDirectory(dir, { ...OPTIONS, truth: 'all' }))).toContain(message)
  })

  test('pageblocks without pagetypeinfo mean nothing', () => {
    const { 'before.pagetypeinfo.txt': _, ...without } = files
    expect(errorOf(importDirectory(folderOf(without), { ...OPTIONS, truth: 'all' }))).toContain(
      'without pagetypeinfo',
    )
  })
})

describe('MMPG1 folders', () => {
  const PAGES = 520
  const BLOCKS = 2
  const bytes = (length: number, set: Readonly<Record<number, number>>): Uint8Array =>
    Uint8Array.from({ length }, (_, at) => set[at] ?? 0)
  const i32 = (set: Readonly<Record<number, number>>): Uint8Array =>
    new Uint8Array(Int32Array.from({ length: PAGES }, (_, pfn) => set[pfn] ?? 0).buffer)

  function pagesFile(
    change: (header: { pages: number; columns: { bytes: number }[] }) => void = () => {},
  ): Uint8Array {
    const content = {
      flags: ['u8', bytes(PAGES, { 1: 1 })],
      mapcount: ['i32', i32({ 1: 3 })],
      refcount: ['i32', i32({ 1: 1000, 2: -1, 3: 2 })],
      mapping: ['u8', bytes(PAGES, { 1: 5, 2: 255 })],
      block: ['u8', Uint8Array.of(1, 4 + 8)],
    } as const
    let offset = 0
    const columns = Object.entries(content).map(([name, [type, data]]) => {
      const column = { name, type, offset, bytes: data.length }
      offset += data.length
      return column
    })
    const header = { pages: PAGES, flagValues: ['0x0', '0x400005828'], columns }
    change(header)
    const json = ascii(JSON.stringify(header))
    return concat(ascii('MMPG1\n'), u32(json.length), json, ...Object.values(content).map(([, data]) => data))
  }

  const BUDDY = 0x5a464c31
  const PCP = 0x5a504331
  const texts = (types: string): string =>
    JSON.stringify({
      'snap/after-gup': { zoneinfo: 'zones', pagetypeinfo: PAGETYPEINFO(types), mmsnap_zones: 'ignored' },
    })
  const files = {
    'pages-after-gup.bin.gz': pagesFile(),
    // A buddy block, an order-0 list, and a list of order 1 (three migratetypes a list).
    'free-after-gup.bin.gz': u32(BUDDY, 0, 1, 3, 1, 1, 64, PCP, 0, 1, 0, 1, 2, 7, 9, PCP, 0, 1, 0, 4, 1, 20),
    'text.json.gz': texts('Unmovable Movable Reclaimable HighAtomic Isolate'),
    'run.json': '{"scenario":"a6-pinned","linux_version":"6.1.0-56-amd64 (debian) #1 SMP"}',
  }

  test('columns, texts and provenance', () => {
    const capture = valueOf(importDirectory(folderOf(files), OPTIONS))
    expect([...capture.columns.keys()]).toEqual(['flags', 'mapcount'])
    expect(capture.columns.get('flags')?.dictionaryHigh).toEqual(Uint32Array.of(0, 4))
    expect(lowWords(capture, 'mapcount').slice(0, 3)).toEqual([0, 3, 0])
    expect([...capture.texts.keys()]).toEqual(['pagetypeinfo', 'zoneinfo'])
    expect(capture.provenance).toEqual({
      tool: 'drover test',
      source: 'mmpg1',
      label: 'after-gup',
      kernel: '6.1.0-56-amd64',
      name: 'a6-pinned',
    })
  })

  test('truth: counts are clamped, lists have orders, types are translated', () => {
    const capture = valueOf(importDirectory(folderOf(files), { ...OPTIONS, truth: 'all' }))
    expect(lowWords(capture, 'truth.refcount').slice(0, 4)).toEqual([0, 254, 255, 2])
    expect(lowWords(capture, 'truth.mapping').slice(0, 3)).toEqual([0, 5, 255])
    const onPcp = lowWords(capture, 'truth.pcp').flatMap((value, pfn) => (value === 1 ? [pfn] : []))
    expect(onPcp).toEqual([7, 9, 20, 21])
    // 4 is ISOLATE on a kernel without CMA; 12 is that with the skip hint.
    expect(lowWords(capture, 'truth.pageblock')).toEqual([1, 5 + 8])
  })

  test('with CMA the same byte is CMA', () => {
    const cma = texts('Unmovable Movable Reclaimable HighAtomic CMA Isolate')
    const dir = folderOf({ ...files, 'text.json.gz': cma })
    const capture = valueOf(importDirectory(dir, { ...OPTIONS, truth: ['truth.pageblock'] }))
    expect(lowWords(capture, 'truth.pageblock')).toEqual([1, 4 + 8])
  })

  const pages = 'pages-after-gup.bin.gz'
  const free = 'free-after-gup.bin.gz'
  test.each<[string, Readonly<Record<string, Uint8Array | string>>, string]>([
    ['foreign', { [pages]: 'MMPG2\nxxxxxxx' }, 'byte 0: this is not an MMPG1 file'],
    ['a header cut off', { [pages]: pagesFile().slice(0, 50) }, 'byte 50: truncated in its header'],
    [
      'a header that is none',
      { [pages]: concat(ascii('MMPG1\n'), u32(2), ascii('{}')) },
      'the header is malformed',
    ],
    ['a column cut off', { [pages]: pagesFile().slice(0, -1) }, 'truncated in column block'],
    [
      'a column too short',
      { [pages]: pagesFile((header) => (header.columns[0].bytes = 3)) },
      'column flags has 3 bytes for 520',
    ],
    ['no pages', { [pages]: pagesFile((header) => (header.pages = 0)) }, 'the header is malformed'],
    ['a list of another kind', { [free]: u32(1, 2, 3, 4, 5, 0) }, 'byte 0: no free list begins with 0x1'],
    [
      'a list cut off',
      { [free]: u32(PCP, 0, 0, 0, 0, 2, 1) },
      'byte 28: truncated: the list at byte 0 ends at 32',
    ],
    ['a list cut off in its header', { [free]: u32(PCP, 0) }, 'byte 8: truncated'],
    [
      'a list of no words',
      { [free]: new Uint8Array(7) },
      'byte 7: truncated: the file is not whole 32-bit words',
    ],
    ['a block beyond', { [free]: u32(PCP, 0, 0, 0, 0, 1, 520) }, 'byte 24: a block beyond the 520 pages'],
    [
      'texts of others',
      { 'text.json.gz': '{"snap/before":{}}' },
      'snap/after-gup: there are no texts of this snapshot',
    ],
    [
      'texts that are no JSON',
      { 'text.json.gz': '{' },
      'snap/after-gup: there are no texts of this snapshot',
    ],
  ])('%s', (_what, instead, message) => {
    const dir = folderOf({ ...files, ...instead })
    expect(errorOf(importDirectory(dir, { ...OPTIONS, truth: 'all' }))).toContain(message)
  })

  test('blocks beyond the column are absent', () => {
    const short = pagesFile((header) => (header.columns[4].bytes = BLOCKS - 1))
    const capture = valueOf(
      importDirectory(folderOf({ ...files, [pages]: short }), { ...OPTIONS, truth: ['truth.pageblock'] }),
    )
    expect(lowWords(capture, 'truth.pageblock')).toEqual([1, 255])
  })
})

// Real captures.

const SHARED = fileURLToPath(new URL('../../../../shared/captures/', import.meta.url))
const HOST = join(SHARED, 'host-6.18')
const QEMU = join(SHARED, 'qemu')
const absent = !existsSync(HOST) || !existsSync(QEMU)
if (absent) console.info(`skipped: the real captures are not at ${SHARED}`)

/** Free blocks by order of a zone: from each run of BUDDY pages the largest aligned block, again and again. */
function freeBlocksByOrder(capture: Capture, zone: ZoneinfoZone): number[] {
  const flags = capture.columns.get('flags')
  if (!flags) throw new Error('a capture has flags')
  const free = mapDictionary(flags, (low) => low & lowMask(KPF_BUDDY))
  const isFree = (pfn: number): boolean => free[flags.index[pfn]] !== 0
  const counts = Array.from({ length: 11 }, () => 0)
  const end = zone.startPfn + zone.spanned
  for (let pfn: number = zone.startPfn; pfn < end; ) {
    let runEnd = pfn
    while (runEnd < end && isFree(runEnd)) runEnd++
    while (pfn < runEnd) {
      let order = 10
      while (pfn % (1 << order) !== 0 || pfn + (1 << order) > runEnd) order--
      counts[order]++
      pfn += 1 << order
    }
    pfn++
  }
  return counts
}

/** What the flags of a zone say, and what buddyinfo says. */
function bothBuddies(capture: Capture, node: number, name: string): [readonly number[], readonly number[]] {
  const zone = valueOf(parseZoneinfo(capture.texts.get('zoneinfo') ?? '')).zones.find(
    (z) => z.node === node && z.name === name,
  )
  const buddy = valueOf(parseBuddyinfo(capture.texts.get('buddyinfo') ?? '')).find(
    (z) => z.node === node && z.name === name,
  )
  if (!zone || !buddy) throw new Error(`no zone ${name} on node ${node}`)
  return [freeBlocksByOrder(capture, zone), buddy.freeBlocksByOrder]
}

const countOf = (capture: Capture, name: ColumnName, word: number): number =>
  lowWords(capture, name).filter((value) => value === word).length

const pcpPagesOfZoneinfo = (capture: Capture): number =>
  valueOf(parseZoneinfo(capture.texts.get('zoneinfo') ?? ''))
    .zones.flatMap((zone) => zone.pagesets)
    .reduce((pages, { count }) => pages + count, 0)

describe('real captures', () => {
  test.skipIf(absent)('6.18: the free blocks of the flags are those of buddyinfo', () => {
    const capture = valueOf(
      importDirectory(join(HOST, 'anon50'), { ...OPTIONS, label: 'before', truth: 'all' }),
    )
    for (const zone of ['DMA', 'DMA32']) {
      const [ours, kernels] = bothBuddies(capture, 0, zone)
      expect(ours).toEqual(kernels)
    }
    const [ours, kernels] = bothBuddies(capture, 0, 'Normal')
    expect(ours.slice(4)).toEqual(kernels.slice(4))
    expect(checkConsistency(capture)).toEqual([])
    // Read at another moment than zoneinfo: churn.
    expect(Math.abs(countOf(capture, 'truth.pcp', 1) / pcpPagesOfZoneinfo(capture) - 1)).toBeLessThan(0.1)
    // host-6.18 README: pagetypeinfo counts 165 + 1 unmovable blocks, truth has 4 + 162.
    const unmovable = countOf(capture, 'truth.pageblock', 0) + countOf(capture, 'truth.pageblock', 8)
    expect(unmovable).toBe(166)
  })

  test.skipIf(absent)('6.18: a file of it reads back equal, quickly', () => {
    const capture = valueOf(
      importDirectory(join(HOST, 'anon50'), { ...OPTIONS, label: 'after', truth: ['truth.pcp'] }),
    )
    const path = join(ROOT, 'anon50.drover')
    valueOf(writeCaptureFile(path, capture, 1))
    const begin = performance.now()
    const read = valueOf(readCaptureFile(path))
    // Takes 30 ms; the bound is for a machine that does ten other things.
    expect(performance.now() - begin).toBeLessThan(1000)
    expect([...read.columns.keys()]).toEqual([...capture.columns.keys()])
    for (const [name, column] of capture.columns) {
      const index = read.columns.get(name)?.index ?? new Uint8Array()
      expect(Buffer.from(index).equals(Buffer.from(column.index))).toBe(true)
    }
    for (const [name, text] of capture.texts) expect(read.texts.get(name)).toBe(text)
  })

  test.skipIf(absent)(
    '6.1 and 6.12: every snapshot imports, is consistent, and has the per-cpu pages of zoneinfo',
    () => {
      const churn: string[] = []
      let snapshots = 0
      for (const scenario of [
        'a3-anon-random',
        'b1-zram-unmovable',
        'c0-balloon-movable',
        'f0-offline',
        'f2-virtio-mem',
        'h0-k612-anon-odd-free',
      ]) {
        const dir = join(QEMU, scenario)
        for (const label of mmpg1Labels(dir)) {
          const capture = valueOf(importDirectory(dir, { ...OPTIONS, label, truth: 'all' }))
          expect(checkConsistency(capture)).toEqual([])
          snapshots++
          const difference = countOf(capture, 'truth.pcp', 1) - pcpPagesOfZoneinfo(capture)
          if (difference !== 0) churn.push(`${scenario} ${label}: ${difference}`)
        }
      }
      expect(snapshots).toBe(13)
      expect(churn).toEqual([
        'c0-balloon-movable before: 2',
        'f0-offline after7: -8',
        'f0-offline before: 8',
        'h0-k612-anon-odd-free after: 992',
        'h0-k612-anon-odd-free before: 1',
      ])
    },
  )

  test.skipIf(absent)('6.1: the free blocks of both nodes are those of buddyinfo', () => {
    const capture = valueOf(importDirectory(join(QEMU, 'a3-anon-random'), { ...OPTIONS, label: 'before' }))
    for (const node of [0, 1]) {
      const [ours, kernels] = bothBuddies(capture, node, 'DMA32')
      expect(ours).toEqual(kernels)
    }
  })

  test.skipIf(absent)('CMA: pageblocks agree with pagetypeinfo', () => {
    const capture = valueOf(
      importDirectory(join(QEMU, 'g0-cma'), { ...OPTIONS, label: 'before', truth: ['truth.pageblock'] }),
    )
    expect(countOf(capture, 'truth.pageblock', 4) + countOf(capture, 'truth.pageblock', 12)).toBe(32)
  })
})
