/**
 * Lines of ftrace, printed again from their fields: what real kernels wrote must come out to the byte.
 *
 * A line is parsed into a call of the tracepoint's method, and the recorder prints the call. What cannot be equal is
 * named where it is compared: addresses of struct pages, which the kernel hashes, and the bits of ptes that are not
 * those of a written page.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { hashCells } from '../base/hash.ts'
import { cpuIdOf, nidOf, pfnOf, vpnOf, zoneIdOf } from '../base/units.ts'
import { machineOf } from '../testing/machine.ts'
import { referenceCapture } from '../testing/reference.ts'
import { COMPACT_RESULT_NAMES } from './compact_result.ts'
import { compactNode } from './compaction.ts'
import * as gfpFlags from './gfp.ts'
import { gfpText } from './gfp_text.ts'
import { createMachine, FastCpu, type Mm, RULES_6_1, RULES_6_12, RULES_6_18, type ZoneSpec } from './index.ts'
import { MIGRATE_REASONS, type MigrateMode, type MigrateReason, ZONE_NAMES } from './limits.ts'
import { allocFromZone, putPage } from './page_alloc.ts'
import type { Tracepoints } from './trace.ts'
import { type FtraceContext, FtraceText, ftraceHeader } from './trace_text.ts'

// Reading lines back.

const LINE =
  /^ *(?<comm>\S+)-(?<pid>\d+) +\[(?<cpu>\d+)\] (?<flags>\S{5}) +(?<time>\d+\.\d+): (?<event>\w+): (?<fields>.*)$/

/** `name=value` of an event's fields, in any order, and the two of `range=(a ~ b)`. */
class Fields {
  private readonly text: string
  private readonly named: ReadonlyMap<string, string>

  constructor(text: string) {
    this.text = text
    this.named = new Map([...text.matchAll(/(\w+)=([^ ,(]+)/g)].map(([, name, value]) => [name, value]))
  }

  word(name: string): string {
    const value = this.named.get(name)
    if (value === undefined) throw new Error(`no ${name} in ${this.text}`)
    return value
  }

  has(name: string): boolean {
    return this.named.has(name)
  }

  number(name: string): number {
    return Number(this.word(name))
  }

  /** One of the two ends of `range=(0x1 ~ 0x200)`. */
  range(end: 0 | 1): number {
    const match = /range=\((\w+) ~ (\w+)\)/.exec(this.text)
    if (match === null) throw new Error(`no range in ${this.text}`)
    return Number(match[1 + end])
  }

  /** Place of the word in a list. */
  of(name: string, words: readonly string[]): number {
    const at = words.indexOf(this.word(name))
    if (at < 0) throw new Error(`${name} in ${this.text}`)
    return at
  }
}

function gfpOf(text: string): number {
  let gfp = 0
  for (const name of text.split('|')) {
    const flags: unknown = new Map<string, unknown>(Object.entries(gfpFlags)).get(name)
    if (typeof flags !== 'number') throw new Error(name)
    gfp |= flags
  }
  return gfp
}

const MODES = ['MIGRATE_ASYNC', 'MIGRATE_SYNC_LIGHT', 'MIGRATE_SYNC']
const modeOf = (fields: Fields): MigrateMode =>
  [0, 1, 2].find((mode): mode is MigrateMode => mode === fields.of('mode', MODES)) ?? 0
const REASONS: readonly MigrateReason[] = [0, 1, 2, 3, 4, 5, 6, 7, 8]
const reasonOf = (fields: Fields): MigrateReason => REASONS[fields.of('reason', MIGRATE_REASONS)]

const pfnAt = (fields: Fields) => pfnOf(fields.number('pfn'))
const resultOf = (fields: Fields, name: string): number => fields.of(name, COMPACT_RESULT_NAMES)
const zoneIdxOf = (fields: Fields): number => fields.of('classzone_idx', ZONE_NAMES)

const zoneOf = (mm: Mm, fields: Fields) => {
  const [node, idx] = [fields.number('node'), fields.of('zone', ZONE_NAMES)]
  return zoneIdOf(mm.zoneSpecs.findIndex((spec) => spec.node === node && spec.name === ZONE_NAMES[idx]))
}

const isolateArgs = (fields: Fields) =>
  [
    pfnOf(fields.range(0)),
    pfnOf(fields.range(1)),
    fields.number('nr_scanned'),
    fields.number('nr_taken'),
  ] as const

const positionsOf = (fields: Fields) => ({
  zoneStart: fields.number('zone_start'),
  migratePfn: fields.number('migrate_pfn'),
  freePfn: fields.number('free_pfn'),
  zoneEnd: fields.number('zone_end'),
  sync: fields.word('mode') === 'sync',
})

const deferralOf = (mm: Mm, fields: Fields) => ({
  zone: zoneOf(mm, fields),
  order: fields.number('order'),
  orderFailed: fields.number('order_failed'),
  considered: fields.number('consider'),
  deferShift: Math.log2(fields.number('limit')),
})

/** Calls what the event tells of. */
type Tell = (trace: Tracepoints, fields: Fields, mm: Mm) => void

/** Every event that the captures have. */
const TELL: Readonly<Record<string, Tell>> = {
  mm_compaction_isolate_migratepages: (t, f) => t.mmCompactionIsolateMigratepages(...isolateArgs(f)),
  mm_compaction_isolate_freepages: (t, f) => t.mmCompactionIsolateFreepages(...isolateArgs(f)),
  mm_compaction_migratepages: (t, f) =>
    t.mmCompactionMigratepages(f.number('nr_migrated'), f.number('nr_failed')),
  mm_compaction_begin: (t, f) => t.mmCompactionBegin(positionsOf(f)),
  mm_compaction_end: (t, f) => t.mmCompactionEnd(positionsOf(f), resultOf(f, 'status')),
  mm_compaction_try_to_compact_pages: (t, f) =>
    t.mmCompactionTryToCompactPages(f.number('order'), gfpOf(f.word('gfp_mask')), f.number('priority')),
  mm_compaction_finished: (t, f, mm) =>
    t.mmCompactionFinished(zoneOf(mm, f), f.number('order'), resultOf(f, 'ret')),
  mm_compaction_suitable: (t, f, mm) =>
    t.mmCompactionSuitable(zoneOf(mm, f), f.number('order'), resultOf(f, 'ret')),
  mm_compaction_deferred: (t, f, mm) => t.mmCompactionDeferred(deferralOf(mm, f)),
  mm_compaction_defer_compaction: (t, f, mm) => t.mmCompactionDeferCompaction(deferralOf(mm, f)),
  mm_compaction_defer_reset: (t, f, mm) => t.mmCompactionDeferReset(deferralOf(mm, f)),
  mm_compaction_kcompactd_sleep: (t, f) => t.mmCompactionKcompactdSleep(nidOf(f.number('nid'))),
  mm_compaction_wakeup_kcompactd: (t, f) =>
    t.mmCompactionWakeupKcompactd(nidOf(f.number('nid')), f.number('order'), zoneIdxOf(f)),
  mm_compaction_kcompactd_wake: (t, f) =>
    t.mmCompactionKcompactdWake(nidOf(f.number('nid')), f.number('order'), zoneIdxOf(f)),
  mm_migrate_pages_start: (t, f) => t.mmMigratePagesStart(modeOf(f), reasonOf(f)),
  mm_migrate_pages: (t, f) =>
    t.mmMigratePages(
      {
        pagesSucceeded: f.number('nr_succeeded'),
        pagesFailed: f.number('nr_failed'),
        thpSucceeded: f.number('nr_thp_succeeded'),
        thpFailed: f.number('nr_thp_failed'),
        thpSplit: f.number('nr_thp_split'),
        foliosSplit: f.has('nr_split') ? f.number('nr_split') : 0,
      },
      modeOf(f),
      reasonOf(f),
    ),
  set_migration_pte: (t, f) =>
    t.setMigrationPte(vpnAt(f), pfnOf(pfnOfMigrationPte(f.word('pte'))), f.number('order')),
  remove_migration_pte: (t, f) =>
    t.removeMigrationPte(vpnAt(f), pfnOf(pfnOfPresentPte(f.word('pte'))), f.number('order')),
  mm_page_alloc_extfrag: (t, f) =>
    t.mmPageAllocExtfrag(
      pfnAt(f),
      f.number('alloc_order'),
      f.number('fallback_order'),
      f.number('alloc_migratetype'),
      f.number('fallback_migratetype'),
      f.word('change_ownership') === '1',
    ),
}

const vpnAt = (fields: Fields) => vpnOf(Number(`0x${fields.word('addr')}`) / 4096)
const pfnOfPresentPte = (pte: string): number => Number((BigInt(`0x${pte}`) >> 12n) & 0xffffffffffn)
/** The offset of a swap pte is stored inverted, in bits 9 to 58; the pfn is its lower 34. */
const pfnOfMigrationPte = (pte: string): number => Number((~BigInt(`0x${pte}`) >> 9n) & ((1n << 34n) - 1n))

// Printing them again.

const emptyZone = (node: number, name: string, startPfn: number): ZoneSpec => ({
  node,
  name,
  startPfn,
  spanned: 512,
  present: 512,
  managed: 512,
  min: 0,
  low: 0,
  high: 0,
})

/** A machine with the zones of the captured one. Where they lie makes no difference here. */
const machineLike = (rules: Mm['rules']): Mm =>
  createMachine({
    pfnCount: 4096,
    rules,
    zones: [
      emptyZone(0, 'DMA', 0),
      emptyZone(0, 'DMA32', 512),
      emptyZone(0, 'Normal', 1024),
      emptyZone(1, 'DMA32', 1536),
      emptyZone(1, 'Normal', 2048),
    ],
  })

/** The line as we print it, or undefined if it is no event of ours (cma, page_ref, …). */
function printedAgain(mm: Mm, line: string): string | undefined {
  const groups = LINE.exec(line)?.groups
  if (groups === undefined) throw new Error(`no event: ${line}`)
  const tell = TELL[groups['event']]
  if (tell === undefined) return undefined
  const context: FtraceContext = {
    comm: groups['comm'],
    pid: Number(groups['pid']),
    cpu: Number(groups['cpu']),
    flags: groups['flags'],
    microseconds: Number(groups['time'].replace('.', '')),
  }
  const lines: string[] = []
  tell(
    new FtraceText(
      mm,
      (text) => lines.push(text),
      () => context,
    ),
    new Fields(groups['fields']),
    mm,
  )
  expect(lines).toHaveLength(1)
  return lines[0]
}

/**
 * Takes out of both lines what cannot be equal: `page=` is a hash in the kernel's line, an address in ours; and ptes of
 * pages that are not mapped writable differ in the type (28 or 29 where a writable one has 30) or in the bits 0x67.
 */
function comparable(line: string): string {
  return line
    .replace(/page=[0-9a-f]{16} /, 'page= ')
    .replace(/(set_migration_pte: .*pte=)[0-9a-f]{7}/, '$1')
    .replace(/(remove_migration_pte: .*pte=[0-9a-f]+)[0-9a-f]{2} /, '$1 ')
}

const KERNELS = [
  ['6.1', RULES_6_1],
  ['6.12', RULES_6_12],
  ['6.18', RULES_6_18],
] as const

const testdata = (name: string): string =>
  readFileSync(new URL(`../../testdata/ftrace/${name}.txt`, import.meta.url), 'utf8')

/**
 * [M] settled: names, fields and layout of I-4 are those of the kernels' own lines. Two findings beyond the row:
 * mm_migrate_pages has nr_split from 6.8 on only, and set_migration_pte tells more than address, pte and order: the
 * kernel's 6.1 pte has young and dirty above the pfn. mm_page_free_batched is the one event of the row that is not
 * here: the engine has no batched free.
 */
test('I-4 every form of line that real kernels wrote, printed again to the byte', () => {
  let exact = 0
  let masked = 0
  const seen = new Set<string>()
  for (const [name, rules] of KERNELS) {
    const mm = machineLike(rules)
    for (const line of testdata(name).trimEnd().split('\n')) {
      const ours = printedAgain(mm, line)
      expect(comparable(ours ?? '')).toBe(comparable(line))
      if (ours === line) exact++
      else masked++
      seen.add(/: (\w+): /.exec(line)?.[1] ?? '')
    }
  }
  // 11 extfrag, with a hashed address, and 10 ptes of pages that are mapped read-only.
  expect({ exact, masked }).toEqual({ exact: 155, masked: 21 })
  expect([...seen].sort()).toEqual(Object.keys(TELL).sort())
})

const TRACES = referenceCapture('qemu')

test.skipIf(TRACES === undefined)('every line of the reference traces, printed again', () => {
  let compared = 0
  for (const folder of readdirSync(TRACES ?? '')) {
    // Files are not scenarios, and a function graph (e0) has no events.
    if (folder.includes('.') || folder.startsWith('e0')) continue
    const traces = readdirSync(join(TRACES ?? '', folder)).filter((name) => /^trace-.*\.txt\.gz$/.test(name))
    const mm = machineLike(folder.startsWith('h') ? RULES_6_12 : RULES_6_1)
    for (const name of traces) {
      const text = gunzipSync(readFileSync(join(TRACES ?? '', folder, name))).toString()
      const lines = text.trimEnd().split('\n')
      const events = lines.filter((line) => !line.startsWith('#'))
      // Probes on the moves themselves were counted, and are kept elsewhere.
      const [, entries, cpus] = /written: (\d+)\/\d+ +#P:(\d+)/.exec(text) ?? []
      expect(text.startsWith(ftraceHeader(Number(entries), Number(cpus)))).toBe(true)
      for (const line of events) {
        const ours = printedAgain(mm, line)
        if (ours === undefined) continue
        if (comparable(ours) !== comparable(line)) expect(ours).toBe(line)
        compared++
      }
    }
  }
  expect(compared).toBe(97_502)
})

describe('events that no capture has: fields as the print formats of v6.18 have them', () => {
  const page = pfnOf(0x4e00)
  const cases: readonly (readonly [tell: (trace: Tracepoints) => void, line: string])[] = [
    [
      (t) => t.mmPageAlloc(page, 9, gfpFlags.GFP_TRANSHUGE, 1),
      'mm_page_alloc: page=ffffea0000138000 pfn=0x4e00 order=9 migratetype=1 gfp_flags=GFP_TRANSHUGE',
    ],
    [
      (t) => t.mmPageAlloc(-1, 10, gfpFlags.GFP_KERNEL, 0),
      'mm_page_alloc: page=0000000000000000 pfn=0x0 order=10 migratetype=0 gfp_flags=GFP_KERNEL',
    ],
    [
      (t) => t.mmPageAllocZoneLocked(page, 0, 1, true),
      'mm_page_alloc_zone_locked: page=ffffea0000138000 pfn=0x4e00 order=0 migratetype=1 percpu_refill=1',
    ],
    [(t) => t.mmPageFree(page, 0), 'mm_page_free: page=ffffea0000138000 pfn=0x4e00 order=0'],
    [
      (t) => t.mmPagePcpuDrain(page, 0, 2, cpuIdOf(0)),
      'mm_page_pcpu_drain: page=ffffea0000138000 pfn=0x4e00 order=0 migratetype=2',
    ],
    [
      (t) => t.mmCompactionFastIsolateFreepages(pfnOf(0x100), pfnOf(0x200), 7, 3),
      'mm_compaction_fast_isolate_freepages: range=(0x100 ~ 0x200) nr_scanned=7 nr_taken=3',
    ],
    [(t) => t.mmVmscanKswapdWake(nidOf(1), 9), 'mm_vmscan_kswapd_wake: nid=1 order=9'],
    [(t) => t.mmVmscanKswapdSleep(nidOf(1)), 'mm_vmscan_kswapd_sleep: nid=1'],
    [
      (t) =>
        t.mmVmscanDirectReclaimBegin(4, gfpFlags.GFP_HIGHUSER | gfpFlags.__GFP_NOWARN | gfpFlags.__GFP_COMP),
      'mm_vmscan_direct_reclaim_begin: order=4 gfp_flags=GFP_HIGHUSER|__GFP_NOWARN|__GFP_COMP',
    ],
    [(t) => t.mmVmscanDirectReclaimEnd(17), 'mm_vmscan_direct_reclaim_end: nr_reclaimed=17'],
  ]
  test.each(cases.map(([tell, line]) => ({ tell, line })))('$line', ({ tell, line }) => {
    const lines: string[] = []
    tell(new FtraceText(machineLike(RULES_6_18), (text) => lines.push(text)))
    expect(lines).toEqual([`          drover-1       [000] .....     0.000000: ${line}`])
  })

  test('6.1 has no event for what fast isolation takes', () => {
    const lines: string[] = []
    const trace = new FtraceText(machineLike(RULES_6_1), (text) => lines.push(text))
    trace.mmCompactionFastIsolateFreepages(pfnOf(0x100), pfnOf(0x200), 7, 3)
    expect(lines).toEqual([])
  })
})

test('names of gfp flags: composites first, what is left flag by flag, in the order of the version', () => {
  const { GFP_HIGHUSER_MOVABLE, __GFP_COMP, __GFP_THISNODE, __GFP_NOWARN, __GFP_MOVABLE, __GFP_HIGH } =
    gfpFlags
  const hugetlb = GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_THISNODE | __GFP_NOWARN
  for (const [, rules] of KERNELS) {
    expect(gfpText(hugetlb, rules)).toBe('GFP_HIGHUSER_MOVABLE|__GFP_NOWARN|__GFP_COMP|__GFP_THISNODE')
    expect(gfpText(0, rules)).toBe('none')
    expect(gfpText(gfpFlags.GFP_ATOMIC, rules)).toBe('GFP_ATOMIC')
  }
  const odd = __GFP_MOVABLE | __GFP_HIGH | __GFP_NOWARN
  expect(gfpText(odd, RULES_6_12)).toBe('__GFP_HIGH|__GFP_NOWARN|__GFP_MOVABLE')
  expect(gfpText(odd, RULES_6_18)).toBe('__GFP_MOVABLE|__GFP_HIGH|__GFP_NOWARN')
  expect(gfpText(gfpFlags.__GFP_KSWAPD_RECLAIM, RULES_6_1)).toBe('GFP_NOWAIT')
  expect(gfpText(gfpFlags.__GFP_KSWAPD_RECLAIM, RULES_6_18)).toBe('__GFP_KSWAPD_RECLAIM')
})

describe('the engine, traced', () => {
  /** Allocates and frees, and compacts. */
  function run(mm: Mm): void {
    const cpu = new FastCpu()
    const zone = zoneIdOf(0)
    const pages = Array.from({ length: 40 }, (_, i) => allocFromZone(cpu, mm, zone, i % 3, i % 2))
    for (const pfn of pages) if (pfn >= 0) putPage(cpu, mm, pfnOf(pfn))
    compactNode(cpu, mm, nidOf(0))
  }
  const picture = `|${'M.'.repeat(128)}${'.'.repeat(256)}|`.repeat(2)

  test('ends as it does untraced', () => {
    const [plain, traced] = [machineOf(picture).mm, machineOf(picture).mm]
    const lines: string[] = []
    traced.trace = new FtraceText(traced, (line) => lines.push(line))
    run(plain)
    run(traced)
    expect(lines.length).toBeGreaterThan(0)
    expect(hashCells(new Int32Array(traced.arena.buffer))).toBe(hashCells(new Int32Array(plain.arena.buffer)))
  })

  test('tells one line an allocation and one a free, and nothing once it is off', () => {
    const { mm } = machineOf(picture)
    const lines: string[] = []
    mm.trace = new FtraceText(mm, (line) => lines.push(line))
    const pfn = allocFromZone(new FastCpu(), mm, zoneIdOf(0), 4, 1)
    putPage(new FastCpu(), mm, pfnOf(pfn))
    mm.trace = undefined
    run(mm)
    const page = `page=ffffea${(pfn * 64).toString(16).padStart(10, '0')} pfn=0x${pfn.toString(16)}`
    const who = '          drover-1       [000] .....     0.000000'
    expect(lines).toEqual([
      `${who}: mm_page_alloc_zone_locked: ${page} order=4 migratetype=1 percpu_refill=0`,
      `${who}: mm_page_free: ${page} order=4`,
    ])
  })
})
