/**
 * Compaction row by row of the specification, on drawn machines; and random machines, compacted.
 *
 * A picture has one `|…|` a pageblock. What a pageblock's picture leaves out is in use and immovable.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { cpuIdOf, nidOf, type Pfn, pageblockAt, pfnOf, slotOf, vpnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, RecordingCpu, type TestMachine, type TestMachineOptions } from '../testing/machine.ts'
import { CompactControl, type CompactRequest, scannersMet } from './compact_control.ts'
import {
  COMPACT_COMPLETE,
  COMPACT_CONTENDED,
  COMPACT_PARTIAL_SKIPPED,
  COMPACT_RESULT_NAMES,
} from './compact_result.ts'
import { compactZone } from './compaction.ts'
import { resetIsolationSuitable, startAtCachedPositions } from './compaction_hints.ts'
import { moveFreepagesBlockLocked } from './free_area.ts'
import { compactionAlloc, isolateFreepages } from './free_scanner.ts'
import { __GFP_MOVABLE, __GFP_RECLAIMABLE, GFP_KERNEL } from './gfp.ts'
import { compactNode, RULES_6_1, RULES_6_18 } from './index.ts'
import {
  COMPACT_CLUSTER_MAX,
  COMPOUND_TAIL,
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  MIGRATE_ASYNC,
  MIGRATE_CMA,
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  MIGRATE_UNMOVABLE,
  PG_dirty,
  PG_private,
  pageblock_nr_pages,
  pageblockOf,
} from './limits.ts'
import { isolateMigratepages, isolateMigratepagesBlock } from './migrate_scanner.ts'
import {
  REFUSED_DIRTY,
  REFUSED_HUGE,
  REFUSED_MAPPING,
  REFUSED_PINNED,
  REFUSED_UNMOVABLE,
  REFUSED_WRITEBACK,
} from './movable_ops.ts'
import { AS_INACCESSIBLE, folioPages, type Mm, NO_MIGRATE_FOLIO, PB_migrate_skip } from './page.ts'
import { ptePfn } from './rmap.ts'
import { SILENT } from './trace.ts'
import { verify } from './verify.ts'
import { vmEvents } from './vmstat.ts'

const zone = zoneIdOf(0)
/** Zones of drawn machines begin at this pfn. */
const START = pageblock_nr_pages

const blocksOf = (picture: string): string[] =>
  [...picture.matchAll(/\|([^|]*)\|/g)].map(([, cells]) => cells.replace(/\s/g, ''))

/** A machine with one pageblock a `|…|`. */
function draw(picture: string, options: TestMachineOptions = {}): TestMachine {
  const cells = blocksOf(picture).map((block) => block.padEnd(pageblock_nr_pages, 'U'))
  return machineOf(cells.join(''), options)
}

/** What has become of the pages that `picture` shows. */
function drawn(machine: TestMachine, picture: string): string {
  const cells = machine.picture()
  return blocksOf(picture)
    .map((block, i) => cells.slice(i * pageblock_nr_pages, i * pageblock_nr_pages + block.length))
    .map((block) => `|${block}|`)
    .join(' ')
}

const tidy = (picture: string): string =>
  blocksOf(picture)
    .map((block) => `|${block}|`)
    .join(' ')

/** Lets I/O complete when somebody waits for it. */
const patientCpu = (): FastCpu =>
  new FastCpu((cells, index, bits) => {
    cells[index] &= ~bits
  })

const wholeZone: CompactRequest = {
  zone,
  order: -1,
  mode: MIGRATE_SYNC,
  wholeZone: true,
  ignoreSkipHint: true,
}
const asyncDirect = (order: number): CompactRequest => ({ zone, order, mode: MIGRATE_ASYNC, direct: true })

/** Compacts the `before` of a story and compares with its `after`, and with what it says of counts and results. */
function check(
  story: string,
  request: CompactRequest = wholeZone,
  options: TestMachineOptions = {},
): CompactControl {
  const before = /before(.*)/.exec(story)?.[1] ?? ''
  const after = /after(.*)/.exec(story)?.[1] ?? ''
  const machine = draw(before, options)
  const cpu = patientCpu()
  const cc = new CompactControl(cpu, machine.mm, request)
  const result = compactZone(cpu, cc)
  verify(machine.mm)
  expect(drawn(machine, before)).toBe(tidy(after))
  const said = [...story.matchAll(/(\w+)=(\w+)/g)].map(([, name, value]) => [name, value])
  const seen: Record<string, unknown> = {
    migrated: `${cc.stats.pagesSucceeded}`,
    failed: `${cc.stats.pagesFailed}`,
    result: COMPACT_RESULT_NAMES[result],
  }
  expect(said.map(([name]) => [name, seen[name]])).toEqual(said)
  return cc
}

/** The scans of a machine as text: `migrate 0~512 scanned=512 taken=3`, places relative to the zone. */
function scansOf(mm: Mm): string[] {
  const lines: string[] = []
  const line = (what: string) => (from: Pfn, to: Pfn, scanned: number, taken: number) => {
    lines.push(`${what} ${from - START}~${to - START} scanned=${scanned} taken=${taken}`)
  }
  mm.trace = {
    ...SILENT,
    mmCompactionIsolateMigratepages: line('migrate'),
    mmCompactionIsolateFreepages: line('free'),
  }
  return lines
}

const hints = (mm: Mm): string =>
  Array.from({ length: mm.pageblock.length - 1 }, (_, i) =>
    (mm.pageblock[pageblockAt(i + 1)] & PB_migrate_skip) === 0 ? '-' : 's',
  ).join('')

const setType = (machine: TestMachine, block: number, mt: number): void => {
  moveFreepagesBlockLocked(machine.mm, START + block * pageblock_nr_pages, mt)
}

const positions = (mm: Mm): { async: number; sync: number; free: number } => ({
  async: mm.cachedMigratePfnAsync[zone] - START,
  sync: mm.cachedMigratePfnSync[zone] - START,
  free: mm.cachedFreePfn[zone] - START,
})

const blockPages = (n: number): number => n * pageblock_nr_pages

test('C-1 two scanners, from the start up and from the end down, until they are in one pageblock', () => {
  check(`
    before  |M . M .|
    after   |M . M .|  migrated=0 result=complete
  `)
  check(`
    before  |M M . .| |. . . .| |U . U .|
    after   |. . . .| |. . . .| |U M U M|  migrated=2 result=complete
  `)
  // Block 1 is the migrate scanner's when block 2 is full: its last page finds no target, and that is the end.
  const cc = check(`
    before  |M M U M| |M . . M| |. . . .|
    after   |. . U .| |M . . .| |M M M M|  migrated=4 failed=1 result=complete
  `)
  expect(scannersMet(cc)).toBe(true)
  expect(cc.freePfn).toBeGreaterThan(cc.migratePfn)
  expect(pageblockOf(cc.freePfn)).toBe(pageblockOf(cc.migratePfn))
})

test('C-2 at most 32 pages a round, within one pageblock; the second round finishes the block', () => {
  const machine = draw(`|${'M'.repeat(40)}| |${'M'.repeat(20)}| |.| |${'.'.repeat(64)}|`)
  const lines = scansOf(machine.mm)
  const cc = new CompactControl(new FastCpu(), machine.mm, wholeZone)
  compactZone(new FastCpu(), cc)
  expect(lines).toEqual([
    'migrate 0~32 scanned=32 taken=32',
    'free 1536~1600 scanned=64 taken=64',
    'migrate 32~512 scanned=480 taken=8',
    'migrate 512~1024 scanned=512 taken=20',
    'migrate 1024~1536 scanned=512 taken=0',
  ])
  expect(cc.stats.pagesSucceeded).toBe(60)
  expect(COMPACT_CLUSTER_MAX).toBe(32)
  verify(machine.mm)
})

/** Scans the first pageblock as a source. Gives what became of it and the control of the scan. */
function scan(
  machine: TestMachine,
  request: CompactRequest,
  shown: number,
): { after: string; cc: CompactControl } {
  const cpu = new FastCpu()
  const cc = new CompactControl(cpu, machine.mm, request)
  const end = pfnOf(START + pageblock_nr_pages)
  const async = request.mode === MIGRATE_SYNC ? 0 : ISOLATE_ASYNC_MIGRATE
  isolateMigratepagesBlock(cpu, cc, pfnOf(START), end, ISOLATE_UNEVICTABLE | async)
  return { after: machine.picture(shown), cc }
}

test('C-3 jumps over free blocks, takes folios and driver pages, refuses all else', () => {
  const before = '|. . . . M z U M F = = = U = M =|'
  const large = scan(draw(before), wholeZone, 16)
  expect(large.after).toBe('....iiUii===U=i=')
  expect([large.cc.nrMigratepages, large.cc.migrateScanned]).toEqual([9, 512])
  expect(large.cc.refused[REFUSED_UNMOVABLE]).toBe(3 + 496)

  // Until v6.8 a compound page of any order was jumped over, and until v6.4 what was jumped over did not count.
  const small = scan(draw(before, { rules: RULES_6_1 }), wholeZone, 16)
  expect(small.after).toBe('....iiUiF===U=M=')
  expect([small.cc.nrMigratepages, small.cc.migrateScanned]).toEqual([3, 512 - 3 - 3 - 1 - 1])
  expect(small.cc.refused[REFUSED_HUGE]).toBe(4 + 2 + 2)

  // For a request of order 2 there is no point in moving a folio of order 2.
  const request = { zone, order: 2, mode: MIGRATE_SYNC } as const
  expect(scan(draw(before), request, 16).after).toBe('....iiUiF===U=i=')
})

describe('C-4', () => {
  const rows = [
    ['a mapped page', 'M', MIGRATE_ASYNC, 'i', undefined],
    ['a pinned page', 'P', MIGRATE_SYNC, 'P', REFUSED_PINNED],
    ['an unevictable page', 'E', MIGRATE_ASYNC, 'i', undefined],
    ['a page under writeback, asynchronously', 'W', MIGRATE_ASYNC, 'W', REFUSED_WRITEBACK],
    ['a page under writeback, light', 'W', MIGRATE_SYNC_LIGHT, 'W', REFUSED_WRITEBACK],
    ['a page under writeback, synchronously', 'W', MIGRATE_SYNC, 'i', undefined],
    ['a dirty page whose mapping migrates', 'D', MIGRATE_ASYNC, 'i', undefined],
  ] as const

  test('C-4 which LRU pages are left alone, and why', () => {
    for (const [what, letter, mode, after, refusal] of rows) {
      const { cc, after: seen } = scan(draw(`|${letter}|`), { zone, order: -1, mode }, 1)
      expect([what, seen]).toEqual([what, after])
      if (refusal !== undefined) expect([what, cc.refused[refusal]]).toEqual([what, 1])
    }
  })

  test('a dirty page whose mapping cannot migrate is left alone unless the mode may write it', () => {
    for (const [mode, after] of [
      [MIGRATE_ASYNC, 'D'],
      [MIGRATE_SYNC, 'i'],
    ] as const) {
      const machine = draw('|D|')
      machine.mm.mappingFlags[machine.file] = NO_MIGRATE_FOLIO
      const { cc, after: seen } = scan(machine, { zone, order: -1, mode }, 1)
      expect(seen).toBe(after)
      expect(cc.refused[REFUSED_DIRTY]).toBe(mode === MIGRATE_ASYNC ? 1 : 0)
    }
  })

  test('a dirty page of an inaccessible mapping is left alone', () => {
    const machine = draw('|D|')
    machine.mm.mappingFlags[machine.file] = AS_INACCESSIBLE
    const { cc, after } = scan(machine, { zone, order: -1, mode: MIGRATE_ASYNC }, 1)
    expect([after, cc.refused[REFUSED_MAPPING]]).toEqual(['D', 1])
  })
})

test('C-5 one page that cannot move gives up its whole aligned block, and the next one is migrated', () => {
  const machine = draw('|M M U M M M M M  M M M M M M M M  M M M M M M M M|')
  const { cc, after } = scan(machine, asyncDirect(3), 24)
  expect(after).toBe('MMUMMMMMiiiiiiiiMMMMMMMM')
  expect([cc.nrMigratepages, cc.migratePfn - START, cc.migrateScanned]).toEqual([8, 16, 3 + 8])
  // The two pages before the obstacle are back where they were: on the LRU, referenced as before.
  expect(machine.mm.refcount[machine.pfn(0)]).toBe(1)
  // Light and kcompactd's asynchronous compaction take what they can.
  expect(scan(draw('|M M U M|'), { ...asyncDirect(2), mode: MIGRATE_SYNC_LIGHT }, 4).after).toBe('iiUi')
  expect(scan(draw('|M M U M|'), { ...asyncDirect(2), direct: false }, 4).after).toBe('iiUi')
})

test('C-6 asynchronous direct compaction takes from pageblocks of its own kind, the others from any', () => {
  const types = [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_CMA]
  const sources = (request: CompactRequest): number[] => {
    const machine = draw('|M M| |M M| |M M| |M M| |U| |U|')
    types.forEach((mt, block) => setType(machine, block, mt))
    const cpu = new FastCpu()
    const cc = new CompactControl(cpu, machine.mm, request)
    while (!scannersMet(cc)) isolateMigratepages(cpu, cc)
    const seen = machine.picture()
    return types.filter((_, block) => seen[blockPages(block)] === 'i')
  }
  expect(sources(asyncDirect(1))).toEqual([MIGRATE_MOVABLE, MIGRATE_CMA])
  expect(sources({ ...asyncDirect(1), gfp: GFP_KERNEL })).toEqual([MIGRATE_UNMOVABLE])
  expect(sources({ ...asyncDirect(1), gfp: GFP_KERNEL | __GFP_RECLAIMABLE })).toEqual([MIGRATE_RECLAIMABLE])
  expect(sources({ ...asyncDirect(1), mode: MIGRATE_SYNC_LIGHT })).toEqual(types)
  expect(sources({ ...asyncDirect(1), direct: false })).toEqual(types)

  // A pageblock under a compound page of its size or more is never looked into, from its second half either.
  const huge = machineOf(`${'U'.padEnd(1024, '=')}${'M'.padEnd(512, '=')}M`, { blocks: 5, start: 1024 })
  const lines = scansOf(huge.mm)
  const cc = new CompactControl(new FastCpu(), huge.mm, wholeZone)
  expect(isolateMigratepages(new FastCpu(), cc)).toBe(true)
  expect(lines).toEqual([expect.stringContaining('taken=1')])
  expect(huge.picture().at(blockPages(3))).toBe('i')
})

/** Pageblocks (of `|M|` and what follows) from which the free scanner takes pages. */
function targets(
  picture: string,
  request: Partial<CompactRequest>,
  options: TestMachineOptions = {},
  types: readonly number[] = [],
): number[] {
  const machine = draw(`|M| |U| ${picture}`, options)
  types.forEach((mt, block) => setType(machine, 2 + block, mt))
  const taken: number[] = []
  machine.mm.trace = {
    ...SILENT,
    mmCompactionIsolateFreepages: (from) => taken.push((from - START) / pageblock_nr_pages),
  }
  const cc = new CompactControl(new FastCpu(), machine.mm, { ...wholeZone, ...request })
  cc.nrMigratepages = 10_000
  cc.migratePfn = pfnOf(START + blockPages(1))
  isolateFreepages(new FastCpu(), cc)
  return taken.toSorted((a, b) => a - b)
}

test('C-7 targets are movable pageblocks that are not one large free block', () => {
  const types = [MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, MIGRATE_CMA, MIGRATE_RECLAIMABLE]
  const scattered = '|U . U| |U . U| |U . U| |U . U|'
  expect(targets(scattered, {}, {}, types)).toEqual([2, 4])
  expect(targets(scattered, { ignoreBlockSuitable: true }, {}, types)).toEqual([2, 3, 4, 5])

  const whole = '.'.repeat(512)
  expect(targets(`|${whole}| |U .|`, {})).toEqual([3])
  expect(targets(`|${whole}| |U .|`, { ignoreBlockSuitable: true })).toEqual([3])
  // A request of order 3 leaves a block alone that begins with a free block of order 3; before v6.9 only of order 9.
  const free8 = '|. . . . . . . . U U|'
  expect(targets(free8, { order: 3 })).toEqual([])
  expect(targets(free8, { order: 3 }, { rules: RULES_6_1 })).toEqual([2])
})

describe('C-8', () => {
  /** Scans all sources with hints. */
  const scanAll = (machine: TestMachine, request: Partial<CompactRequest>): string[] => {
    const lines = scansOf(machine.mm)
    const cpu = new FastCpu()
    const cc = new CompactControl(cpu, machine.mm, { zone, order: -1, mode: MIGRATE_SYNC, ...request })
    if (!cc.wholeZone) startAtCachedPositions(cpu, cc)
    while (!scannersMet(cc)) isolateMigratepages(cpu, cc)
    return lines
  }

  test('C-8 the hint: set when a block was scanned in vain or somebody took it, honoured, ignored, forgotten', () => {
    // Block 0 has nothing, block 1 a folio (whose isolation takes the hint), block 2 a driver page (which does not).
    const machine = draw('|U| |U M| |U z| |U| |U|')
    expect(scanAll(machine, {})).toEqual([
      'migrate 0~512 scanned=512 taken=0',
      'migrate 512~1024 scanned=512 taken=1',
      'migrate 1024~1536 scanned=512 taken=1',
      'migrate 1536~2048 scanned=512 taken=0',
    ])
    expect(hints(machine.mm)).toBe('ss-s-')
    machine.mm.cachedMigratePfnSync[zone] = START
    expect(scanAll(machine, {})).toEqual(['migrate 1024~1536 scanned=512 taken=0'])
    expect(scanAll(machine, { wholeZone: true, ignoreSkipHint: true })).toHaveLength(4)
  })

  test('who ignores hints sets them still, but takes none with a page', () => {
    const machine = draw('|U| |U M| |U z| |U| |U|')
    scanAll(machine, { ignoreSkipHint: true })
    expect(hints(machine.mm)).toBe('s--s-')
  })

  test('until v6.4 only the first page of a block took the hint', () => {
    const machine = draw('|M| |U M| |U|', { rules: RULES_6_1 })
    scanAll(machine, {})
    expect(hints(machine.mm)).toBe('s--')
    const now = draw('|M| |U M| |U|')
    scanAll(now, {})
    expect(hints(now.mm)).toBe('ss-')
  })

  test('a block whose hint another compaction took between the look and the first page is left to it', () => {
    const machine = draw('|U M M| |U| |U|')
    const { mm } = machine
    const cpu = new RecordingCpu(mm)
    const cc = new CompactControl(cpu, mm, { zone, order: -1, mode: MIGRATE_SYNC })
    cpu.before(
      (op, column) => op === 'testSet' && column === 'pageblock',
      () => (mm.pageblock[pageblockAt(1)] |= PB_migrate_skip),
    )
    expect(isolateMigratepages(cpu, cc)).toBe(false)
    expect([machine.picture(3), cc.migratePfn - START]).toEqual(['UMM', 512])
    verify(mm)
  })

  test('the free scanner marks a block that it has seen to its end', () => {
    const machine = draw('|U| |U| |U| |U . U| |U|')
    const cc = new CompactControl(new FastCpu(), machine.mm, { zone, order: -1, mode: MIGRATE_SYNC })
    cc.nrMigratepages = 100
    isolateFreepages(new FastCpu(), cc)
    expect(hints(machine.mm)).toBe('-ssss')
    expect(positions(machine.mm).free).toBe(0)
  })

  test('hints are forgotten when a direct compaction has asked for it, where a sample shows something to take', () => {
    // Samples are pages 0, 8, 16, … of a block: the LRU page of block 1 and the free page of block 4 are missed.
    const machine = draw('|U| |U M| |U U U U U U U U M| |U| |U .| |U U U U U U U U .| |U|')
    const { mm } = machine
    for (let block = 1; block < mm.pageblock.length; block++)
      mm.pageblock[pageblockAt(block)] |= PB_migrate_skip
    resetIsolationSuitable(new FastCpu(), mm, zone)
    expect(hints(mm)).toBe('sssssss')

    mm.compactBlockskipFlush[zone] = 1
    resetIsolationSuitable(new FastCpu(), mm, zone)
    expect(hints(mm)).toBe('ss-ss-s')
    expect(positions(mm)).toEqual({ async: blockPages(2), sync: blockPages(2), free: blockPages(6) - 1 })
    expect(mm.compactInitMigratePfn[zone]).toBe(START + blockPages(2))
    expect(mm.compactBlockskipFlush[zone]).toBe(0)
  })

  test('with nothing to take, the positions meet in the middle', () => {
    const { mm } = draw('|U| |U| |U| |U|')
    mm.compactBlockskipFlush[zone] = 1
    resetIsolationSuitable(new FastCpu(), mm, zone)
    expect(positions(mm)).toEqual({ async: blockPages(2), sync: blockPages(2), free: blockPages(2) - 1 })
  })

  test('only a direct compaction asks for it', () => {
    const { mm } = draw('|U| |U| |U|')
    compactZone(new FastCpu(), new CompactControl(new FastCpu(), mm, wholeZone))
    expect(mm.compactBlockskipFlush[zone]).toBe(0)
    compactZone(new FastCpu(), new CompactControl(new FastCpu(), mm, { ...wholeZone, direct: true }))
    expect(mm.compactBlockskipFlush[zone]).toBe(1)
  })
})

describe('C-9', () => {
  const request: CompactRequest = { zone, order: -1, mode: MIGRATE_SYNC }

  test('C-9 positions go on from the last pass, and say whether all was seen when the scanners meet', () => {
    const { mm } = draw('|U| |U| |M| |U| |U| |U|')
    const cpu = new FastCpu()
    const goOn = (): CompactControl => {
      const control = new CompactControl(cpu, mm, request)
      startAtCachedPositions(cpu, control)
      return control
    }
    const cc = goOn()
    expect([cc.migratePfn - START, cc.freePfn - START]).toEqual([0, blockPages(5)])
    isolateMigratepages(cpu, cc)
    // After the end of block 0 block 1 would come. The kernel writes down the one after it.
    expect(positions(mm)).toEqual({ async: blockPages(2), sync: blockPages(2), free: blockPages(5) })
    expect(goOn().migratePfn).toBe(START + blockPages(2))
    expect(new CompactControl(cpu, mm, wholeZone).migratePfn).toBe(START)
    // Not from the first source on, as far as anybody knows: what was seen is a part.
    expect(compactZone(cpu, new CompactControl(cpu, mm, request))).toBe(COMPACT_PARTIAL_SKIPPED)
    expect(positions(mm)).toEqual({ async: 0, sync: 0, free: blockPages(5) })
    mm.compactInitMigratePfn[zone] = START
    expect(compactZone(cpu, new CompactControl(cpu, mm, request))).toBe(COMPACT_COMPLETE)
  })

  test('an asynchronous pass moves its own position, and both until it finds something to take', () => {
    const { mm } = draw('|U| |U| |M .| |U| |U| |U| |U| |. . . U|')
    const cpu = new FastCpu()
    const seen: unknown[] = []
    mm.trace = { ...SILENT, mmCompactionIsolateMigratepages: () => seen.push(positions(mm)) }
    compactZone(cpu, new CompactControl(cpu, mm, { ...request, mode: MIGRATE_ASYNC }))
    expect(seen.slice(0, 4)).toMatchObject([
      { async: blockPages(2), sync: 0 },
      { async: blockPages(3), sync: blockPages(2) },
      { async: blockPages(3), sync: blockPages(3) },
      { async: blockPages(5), sync: blockPages(3) },
    ])
  })

  test('positions outside of the zone are as none', () => {
    const { mm } = draw('|U| |U| |U|')
    mm.cachedFreePfn[zone] = 0
    mm.cachedMigratePfnSync[zone] = 5 * START
    const cc = new CompactControl(new FastCpu(), mm, request)
    startAtCachedPositions(new FastCpu(), cc)
    expect([cc.migratePfn - START, cc.freePfn - START]).toEqual([0, blockPages(2)])
    expect(positions(mm)).toEqual({ async: 0, sync: 0, free: blockPages(2) })
  })
})

/** A folio with dirty buffers cannot be split, and there are single targets only. */
function withoutTarget(): TestMachine {
  const machine = draw('|F = = = = = = = M| |.| |U| |U| |U . U . U . U . U . U . U . U . U . U . U|')
  machine.mm.flags[machine.pfn(0)] |= PG_private | PG_dirty
  machine.mm.refcount[machine.pfn(0)]++
  return machine
}

test('C-14 no target for a folio that cannot be split: the pass is given up before the scanners met', () => {
  const { mm } = withoutTarget()
  const cpu = new FastCpu()
  const cc = new CompactControl(cpu, mm, wholeZone)
  expect(compactZone(cpu, cc)).toBe(COMPACT_CONTENDED)
  expect(scannersMet(cc)).toBe(false)
  expect(cc.stats).toMatchObject({ pagesFailed: 8 })
  verify(mm)
})

test('C-16 free pages left over are returned, and the free scanner goes back for them, never forward', () => {
  for (const [before, after] of [
    [0, blockPages(4)],
    [blockPages(4) + 4, blockPages(4) + 4],
  ] as const) {
    const { mm } = withoutTarget()
    const cpu = new FastCpu()
    const free = mm.nrFree[zone]
    mm.cachedFreePfn[zone] = START + before
    const cc = new CompactControl(cpu, mm, wholeZone)
    compactZone(cpu, cc)
    expect(cc.nrFreepages).toBe(0)
    expect(mm.nrFree[zone]).toBe(free)
    expect(positions(mm).free).toBe(after)
    verify(mm)
  }
})

test('a free scanner that finds nothing takes longer strides, up to 32 pages', () => {
  // Page 3 of a block is not seen by strides of 2, 4, …; the last block, scanned with stride 1, has none.
  const machine = draw(`|M M M| |U| ${'|U U U .| '.repeat(8)} |U|`)
  const lines = scansOf(machine.mm)
  const cc = new CompactControl(new FastCpu(), machine.mm, wholeZone)
  cc.nrMigratepages = 3
  isolateFreepages(new FastCpu(), cc)
  expect(lines.map((line) => /scanned.*/.exec(line)?.[0])).toEqual(
    [512, 256, 128, 64, 32, 16, 16, 16, 16, 16].map((scanned) => `scanned=${scanned} taken=0`),
  )
})

test('targets are taken lowest first, large ones split; before v6.9 single pages, last one first', () => {
  for (const [rules, expected] of [
    [RULES_6_18, [0, 1, 2, 3]],
    [RULES_6_1, [3, 2, 1, 0]],
  ] as const) {
    const machine = draw('|M| |U| |. . . . U .|', { rules })
    const cpu = new FastCpu()
    const cc = new CompactControl(cpu, machine.mm, wholeZone)
    cc.nrMigratepages = 4
    const got = Array.from({ length: 4 }, () => compactionAlloc(cpu, cc, 0) - START - blockPages(2))
    expect(got).toEqual(expected)
  }
})

describe('random machines', () => {
  const unit = fc.constantFrom(
    '........',
    'UUUUUUUU',
    'M=======',
    'F=======',
    'M===F===',
    'M===....',
    'F=F=M=U=',
    '....U===', // whole
    'MM.M.M..',
    'M.......',
    '.......M',
    'zzzz....',
    'z.Mz.UM.',
    'F.F.F.F.',
    'DWBS....',
    'BBDDWW.S', // movable
    'PMPMEMEM',
    'P...P...',
    'U.U.U.U.',
    '.M.M.M.M',
    'M.M.M.M.',
    ',,M.,M..', // obstacles, every other page
  )
  const block = fc.record({
    cells: fc.array(unit, { maxLength: 64 }),
    rest: fc.constantFrom('U', '.', 'M', '.U', 'M.', 'M..U'),
    mt: fc.constantFrom(
      MIGRATE_MOVABLE,
      MIGRATE_MOVABLE,
      MIGRATE_UNMOVABLE,
      MIGRATE_RECLAIMABLE,
      MIGRATE_CMA,
    ),
  })
  const machines = fc.record({
    blocks: fc.array(block, { minLength: 2, maxLength: 5 }),
    rules: fc.constantFrom(RULES_6_1, RULES_6_18),
    high: fc.constantFrom(0, 16),
    watermarks: fc.constantFrom(0, 20),
  })
  const requests = fc.record({
    mode: fc.constantFrom(MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC),
    direct: fc.boolean(),
    wholeZone: fc.boolean(),
    ignoreSkipHint: fc.boolean(),
    ignoreBlockSuitable: fc.boolean(),
  })

  /** Everything that users can tell: contents by virtual page, by cache slot, and of the driver's pages in order of value. */
  function contentsOf({ mm }: TestMachine): Int32Array {
    const { length: ptes } = mm.pte
    const { length: slots } = mm.cache
    const all = new Int32Array(ptes + slots + mm.pfnCount)
    for (let i = 1; i < ptes; i++) {
      const pte = mm.pte[vpnOf(i)]
      if (pte !== 0) all[i] = mm.content[ptePfn(pte)]
    }
    // A folio that was split has a slot filled for each of its pages; they were its own before.
    for (let slot = 1; slot < slots; slot++) {
      const pfn = pfnOf(mm.cache[slotOf(slot)])
      if (pfn === 0) continue
      for (let i = 0; i < folioPages(mm.flags[pfn]); i++) all[ptes + slot + i] = mm.content[pfnOf(pfn + i)]
    }
    const drivers = all.subarray(ptes + slots)
    const list = mm.ownerList(0)
    let count = 0
    for (let node = mm.links[2 * list]; node !== list; node = mm.links[2 * node]) {
      drivers[count++] = mm.content[pfnOf(node)]
    }
    drivers.sort()
    return all
  }

  /** Pages that somebody has: referenced, or tails of what is. */
  function pagesInUse({ mm }: TestMachine): number {
    let pages = 0
    for (let pfn = pfnOf(0); pfn < mm.pfnCount; pfn = pfnOf(pfn + 1)) {
      if (mm.refcount[pfn] > 0 || (mm.flags[pfn] & COMPOUND_TAIL) !== 0) pages++
    }
    return pages
  }

  const runs = process.env['DROVER_FUZZ'] === '1' ? 50_000 : 1000

  test('compaction moves pages and loses, doubles or changes none', () => {
    const property = fc.property(
      machines,
      fc.array(requests, { minLength: 1, maxLength: 3 }),
      (shape, passes) => {
        const picture = shape.blocks
          .map(({ cells, rest }) => cells.join('').padEnd(pageblock_nr_pages, rest))
          .join('')
        const pcp = { high: shape.high, highMin: shape.high, highMax: 2 * shape.high, batch: 4 }
        const machine = machineOf(picture, { ...shape, pcp, blocks: shape.blocks.length })
        const { mm } = machine
        shape.blocks.forEach(({ mt }, i) => setType(machine, i, mt))
        verify(mm)
        const contents = contentsOf(machine)
        const inUse = pagesInUse(machine)
        for (const request of passes) {
          const cpu = patientCpu()
          const result = compactZone(cpu, new CompactControl(cpu, mm, { zone, order: -1, ...request }))
          verify(mm)
          expect([COMPACT_COMPLETE, COMPACT_PARTIAL_SKIPPED, COMPACT_CONTENDED]).toContain(result)
        }
        expect(contentsOf(machine).findIndex((value, i) => value !== contents[i])).toBe(-1)
        expect(pagesInUse(machine)).toBe(inUse)
      },
    )
    fc.assert(property, { numRuns: runs })
  })

  test('the same history gives the same state, to the bit', () => {
    const run = (): number => {
      const machine = draw('|M M . z F . M M| |. . . .| |. U . . . M . .| |. . . . . . . .|', { cpus: 2 })
      const before = machine.mm.arena.snapshot()
      compactNode(new FastCpu(), machine.mm, nidOf(0))
      const after = machine.mm.arena.hash()
      const moved = machine.mm.arena.diff(before).map(({ column }) => column)
      expect(moved).toContain('pte')
      machine.mm.arena.restore(before)
      expect(machine.mm.arena.diff(before)).toEqual([])
      compactNode(new FastCpu(), machine.mm, nidOf(0))
      expect(machine.mm.arena.hash()).toBe(after)
      return after
    }
    expect(run()).toBe(run())
  })
})

test('compaction counts what it did under the names of /proc/vmstat', () => {
  const { mm } = draw('|M M . .| |. . . .| |U . U .|')
  compactNode(new FastCpu(() => undefined, cpuIdOf(0)), mm, nidOf(0))
  expect(vmEvents(mm)).toMatchObject({ pgmigrate_success: 2, pgmigrate_fail: 0, compact_isolated: 4 })
  expect(vmEvents(mm).compact_free_scanned).toBe(4)
})
