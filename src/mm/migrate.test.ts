/** Page migration, row by row: M-1..M-14, and what the framework promises of mapped pages (S0-20). */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { listEmpty, listFirst, listNext } from '../base/list.ts'
import { type ListNode, nidOf, type Pfn, pfnOf, slotOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { deleteFromSwapCache, filemapGetFolio, filemapRemoveFolio } from './filemap.ts'
import { getUserPage, putUserPage } from './gup.ts'
import {
  EAGAIN,
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_REASONS,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  type MigrateMode,
  type MigrateReason,
  MR_COMPACTION,
  MR_CONTIG_RANGE,
  MR_DEMOTION,
  MR_LONGTERM_PIN,
  MR_MEMORY_FAILURE,
  MR_MEMORY_HOTPLUG,
  MR_MEMPOLICY_MBIND,
  MR_NUMA_MISPLACED,
  MR_SYSCALL,
  NR_MAX_BATCHED_MIGRATION,
  PAGE_MAPPING_KSM,
  PG_anon_exclusive,
  PG_dirty,
  PG_head,
  PG_locked,
  PG_lru,
  PG_movable_ops,
  PG_private,
  PG_referenced,
  PG_swapcache,
  PG_uptodate,
  PGTY_guard,
  pageTypeValue,
} from './limits.ts'
import { folioExpectedRefCount } from './lru_ops.ts'
import {
  type MigrationTarget,
  migrateFolioMove,
  migrateFolioUndo,
  migrateFolioUnmap,
  migratePages,
  newMigrateStats,
  putbackMovablePages,
  UNMAPPED,
  WAIT_LOCK,
  WAIT_WRITEBACK,
} from './migrate.ts'
import { ISOLATED, setMovableOps } from './movable_ops.ts'
import { ANON_MAPPING, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { accessPage, folioMapcount, PTE_MIGRATION, PTE_PRESENT, ptePfn, zapPte } from './rmap.ts'
import { RULES_6_1, RULES_6_18 } from './rules.ts'
import { vmEvents } from './vmstat.ts'

const cpu = new FastCpu()
const MODES = { ASYNC: MIGRATE_ASYNC, SYNC_LIGHT: MIGRATE_SYNC_LIGHT, SYNC: MIGRATE_SYNC } as const
const THP = `M${'='.repeat(511)}`
const HUGE_FREE = '.'.repeat(512)

interface Request {
  readonly mode?: MigrateMode
  readonly target?: MigrationTarget
  readonly reason?: MigrateReason
  readonly by?: FastCpu
}

/** Migrates a list; the result and what was counted. */
function migrate(machine: TestMachine, list: ListNode, request: Request = {}) {
  const { mode = MIGRATE_SYNC, target = machine.target(), reason = MR_COMPACTION, by = cpu } = request
  const total = newMigrateStats()
  const rc = migratePages(by, machine.mm, list, target, mode, reason, total)
  return { rc, ...total }
}

/** A target that counts how often it is asked, by source. */
function counting(
  machine: TestMachine,
  also: Partial<MigrationTarget> & { limit?: number; refuses?: (order: number) => boolean } = {},
) {
  const inner = machine.target(also.limit)
  const asked: number[] = []
  const target: MigrationTarget = {
    memalloc: also.memalloc ?? false,
    getNewFolio(by, mm, src, order) {
      asked.push(src)
      if (also.refuses?.(order) === true) return -1
      return also.getNewFolio?.(by, mm, src, order) ?? inner.getNewFolio(by, mm, src, order)
    },
    putNewFolio: putPage,
  }
  return { target, asked, of: (pfn: Pfn): number => asked.filter((src) => src === pfn).length }
}

function listed(mm: Mm, list: ListNode): number[] {
  const found: number[] = []
  for (let node = listFirst(mm.links, list); node !== list; node = listNext(mm.links, node)) found.push(node)
  return found
}

/** A page whose provider always answers `answer`, and takes note of the modes it is asked in. */
function stubborn(machine: TestMachine, pfn: Pfn, answer: number): MigrateMode[] {
  const { mm } = machine
  const modes: MigrateMode[] = []
  setMovableOps(mm, PGTY_guard, {
    name: 'stubborn',
    isolatePage: () => ISOLATED,
    migratePage(_cpu, _mm, _dst, _src, mode) {
      modes.push(mode)
      return answer
    },
    putbackPage() {},
  })
  mm.mapcount[pfn] = pageTypeValue(PGTY_guard)
  mm.flags[pfn] |= PG_movable_ops
  return modes
}

/** What the steps of a migration mean, in the words of the kernel's documentation. `src`, `dst` stand for pfns. */
const MEANING: readonly (readonly [RegExp, string])[] = [
  [/^tryLock flags\[src\]/, 'lock old'],
  [/^tryLock flags\[dst\]/, 'lock new'],
  [/^cas pte/, 'migration entry'],
  [/^lock mappingFlags/, 'lock i_pages'],
  [/^load refcount\[src\]/, 'check references'],
  [/^cas refcount\[src\] \d+ 0/, 'freeze'],
  [/^store mapping\[dst\]/, 'prepare new'],
  [/^store cache\[\d+\] dst/, 'swap slot'],
  [/^store refcount\[src\]/, 'unfreeze'],
  [/^unlock mappingFlags/, 'unlock i_pages'],
  [/^store content\[dst\]/, 'copy contents'],
  [/^testClear flags\[src\]/, 'clear old flags'],
  [/^testSet flags\[dst\] 0x\w{1,}$/, 'flags of new'],
  [/^section lruLock\[0\] lruAdd/, 'new on LRU'],
  [/^store pte/, 'restore pte'],
  [/^unlock flags\[dst\]/, 'unlock new'],
  [/^unlock flags\[src\]/, 'unlock old'],
]

/** Migrates the machine's first page and gives the meaningful steps between locking and unlocking it. */
function stepsOfMigration(letter: string, maps: number, rules = RULES_6_18): string[] {
  const machine = machineOf(`|${letter} . . .|`, { rules })
  const { mm } = machine
  const src = machine.pfn(0)
  for (let i = 0; i < maps; i++) machine.map(src)
  const list = machine.isolate(src)
  const inner = machine.target()
  let dst = -1
  const target: MigrationTarget = {
    ...inner,
    getNewFolio: (...args) => (dst = inner.getNewFolio(...args)),
  }
  const steps = machine.recordingCpu()
  expect(migratePages(steps, mm, list, target, MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats())).toBe(0)
  expect(machine.picture(1)).toBe('.')
  const texts = steps.texts().map((text) =>
    text
      .replaceAll(`[${src}]`, '[src]')
      .replaceAll(`[${dst}]`, '[dst]')
      .replace(new RegExp(` ${dst}$`), ' dst'),
  )
  const from = texts.indexOf('tryLock flags[src] 0x1')
  const to = texts.indexOf('unlock flags[src] 0x1')
  return texts
    .slice(from, to + 1)
    .flatMap((text) => MEANING.find(([pattern]) => pattern.test(text))?.[1] ?? [])
    .filter((meaning, i, all) => meaning !== all[i - 1])
}

test('M-1 the steps of migrating a mapped page, in their order', () => {
  const head = ['lock old', 'lock new', 'migration entry']
  const copy = ['copy contents']
  const tail = ['clear old flags', 'flags of new', 'new on LRU', 'flags of new', 'restore pte']
  const unlock = ['unlock new', 'unlock old']
  const swap = [
    'lock i_pages',
    'freeze',
    'prepare new',
    'flags of new',
    'swap slot',
    'unfreeze',
    'unlock i_pages',
  ]
  // The documented order, which was the code's until v6.11: freeze, swap, copy.
  expect(stepsOfMigration('F', 2, RULES_6_1)).toEqual([...head, ...swap, ...copy, ...tail, ...unlock])
  expect(stepsOfMigration('M', 0, RULES_6_1)).toEqual([
    ...head,
    'check references',
    'prepare new',
    ...copy,
    ...tail,
    ...unlock,
  ])
  // Since then: copy, and only then freeze and swap.
  const early = ['check references', ...copy]
  expect(stepsOfMigration('F', 2)).toEqual([...head, ...early, ...swap, ...tail, ...unlock])
  expect(stepsOfMigration('M', 0)).toEqual([
    ...head,
    ...early,
    'check references',
    'prepare new',
    ...tail,
    ...unlock,
  ])

  // It stops where a mapping is left after the ptes were replaced: all is put back, and tried again.
  const machine = machineOf('|M . . .|')
  const { mm } = machine
  const src = machine.pfn(0)
  const vpn = machine.vpnOf(src)
  const counts = (): number[] => [mm.refcount[src], mm.mapcount[src]]
  const steps = machine.recordingCpu()
  steps.before(
    (op, column) => op === 'lock' && column === 'rmapLock',
    () => {
      mm.refcount[src]++ // another task is half-way through mapping it: its pte is not there yet
      mm.mapcount[src]++
    },
  )
  let tries = 0
  const { target } = counting(machine, {
    getNewFolio(by, _mm, folio, order) {
      if (++tries === 2) {
        expect([counts(), mm.pte[vpn], mm.flags[src] & PG_locked]).toEqual([
          [3, 2],
          (src << 2) | PTE_PRESENT,
          0,
        ])
        mm.refcount[src]--
        mm.mapcount[src]--
      }
      return machine.target().getNewFolio(by, mm, folio, order)
    },
  })
  const list = machine.isolate(src)
  expect(migratePages(steps, mm, list, target, MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats())).toBe(0)
  expect([tries, machine.picture(1)]).toEqual([2, '.'])
})

/** What a migration of a page with an obstacle waited for, how often it was tried, and its result. */
function withObstacle(
  obstacle: 'lock' | 'read' | 'writeback',
  mode: MigrateMode,
  also: { memalloc?: boolean; rules?: typeof RULES_6_18 } = {},
): string {
  const machine = machineOf(obstacle === 'writeback' ? '|W . . .|' : '|F . . .|', {
    rules: also.rules ?? RULES_6_18,
  })
  const { mm } = machine
  const pfn = machine.pfn(0)
  const list = machine.isolate(pfn)
  if (obstacle !== 'writeback') mm.flags[pfn] |= PG_locked
  if (obstacle === 'read') mm.flags[pfn] &= ~PG_uptodate
  let waited = 0
  const by = new FastCpu((cells, index, bits) => {
    waited++
    cells[index] &= ~bits
  })
  const { target, asked } = counting(machine, { memalloc: also.memalloc ?? false })
  const { rc } = migrate(machine, list, { mode, target, by })
  return `${waited === 0 ? 'no wait' : 'waits'}, ${asked.length} tries, ${rc === 0 ? 'moved' : 'failed'}`
}

test('M-2 what each mode may wait for, and the reasons for a migration', () => {
  const waits = (mode: MigrateMode): string[] =>
    (['lock', 'read', 'writeback'] as const).filter((obstacle) =>
      withObstacle(obstacle, mode).startsWith('waits'),
    )
  expect(waits(MIGRATE_ASYNC)).toEqual([])
  expect(waits(MIGRATE_SYNC_LIGHT)).toEqual(['lock'])
  expect(waits(MIGRATE_SYNC)).toEqual(['lock', 'read', 'writeback'])
  const reasons = {
    MR_COMPACTION,
    MR_MEMORY_FAILURE,
    MR_MEMORY_HOTPLUG,
    MR_SYSCALL,
    MR_MEMPOLICY_MBIND,
    MR_NUMA_MISPLACED,
    MR_CONTIG_RANGE,
    MR_LONGTERM_PIN,
    MR_DEMOTION,
  }
  expect(Object.values(reasons).map((reason) => MIGRATE_REASONS[reason])).toEqual(
    'compaction memory_failure memory_hotplug syscall_or_cpuset mempolicy_mbind numa_misplaced contig_range longterm_pin demotion'.split(
      ' ',
    ),
  )
})

test('M-3 passes: 3 batched and asynchronous, then 7 alone; 10 in asynchronous mode, 10 before v6.3', () => {
  const modesOf = (mode: MigrateMode, rules = RULES_6_18): MigrateMode[] => {
    const machine = machineOf('|U . .|', { rules })
    const modes = stubborn(machine, machine.pfn(0), -EAGAIN)
    const list = machine.isolate(machine.pfn(0))
    expect(migrate(machine, list, { mode }).rc).toBe(1)
    return modes
  }
  const times = (n: number, mode: MigrateMode): MigrateMode[] => new Array<MigrateMode>(n).fill(mode)
  expect(modesOf(MIGRATE_ASYNC)).toEqual(times(10, MIGRATE_ASYNC))
  for (const mode of [MIGRATE_SYNC_LIGHT, MIGRATE_SYNC] as const) {
    expect(modesOf(mode)).toEqual([...times(3, MIGRATE_ASYNC), ...times(7, mode)])
    expect(modesOf(mode, RULES_6_1)).toEqual(times(10, mode))
  }
  expect(modesOf(MIGRATE_ASYNC, RULES_6_1)).toEqual(times(10, MIGRATE_ASYNC))
})

test('M-4 batches of 512 pages: unmap all, then move all; outside of asynchronous mode one at a time', () => {
  expect(NR_MAX_BATCHED_MIGRATION).toBe(512)
  /** Pages that are locked each time a destination is asked for. */
  const lockedWhenAsked = (pages: number, mode: MigrateMode, rules = RULES_6_18): number[] => {
    const machine = machineOf('F'.repeat(pages), { blocks: 4, rest: '.', rules, contents: false })
    const { mm } = machine
    const all = Array.from({ length: pages }, (_, i) => machine.pfn(i))
    const list = machine.isolate(...all)
    const counts: number[] = []
    const { target } = counting(machine, {
      getNewFolio(by, _mm, src, order) {
        counts.push(all.filter((pfn) => (mm.flags[pfn] & PG_locked) !== 0).length)
        return machine.target().getNewFolio(by, mm, src, order)
      },
    })
    expect(migrate(machine, list, { mode, target }).rc).toBe(0)
    return counts
  }
  const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
  expect(lockedWhenAsked(600, MIGRATE_ASYNC)).toEqual([...upTo(512), ...upTo(88)])
  expect(lockedWhenAsked(5, MIGRATE_SYNC, RULES_6_1)).toEqual([0, 0, 0, 0, 0])

  // A large folio counts with all its pages: 508 + 4 fill a batch, 510 + 4 overfill it, the next one is on its own.
  const machine = machineOf(`${'F'.repeat(510)}UU F=== F`, { blocks: 4, rest: '.', contents: false })
  const heads = [...upTo(510), 512, 516].map((place) => machine.pfn(place))
  const seen: number[] = []
  const { target } = counting(machine, {
    getNewFolio(by, mm, src, order) {
      seen.push(heads.filter((pfn) => (mm.flags[pfn] & PG_locked) !== 0).length)
      return machine.target().getNewFolio(by, mm, src, order)
    },
  })
  expect(migrate(machine, machine.isolate(...heads), { mode: MIGRATE_ASYNC, target }).rc).toBe(0)
  expect(seen).toEqual([...upTo(511), 0])

  // What failed in the asynchronous phase is tried alone: nothing else is locked then.
  const alone = machineOf('|F F F . . . . .|')
  const three = [0, 1, 2].map((place) => alone.pfn(place))
  for (const pfn of three) alone.mm.refcount[pfn]++
  const locked: number[] = []
  const asking = counting(alone, {
    getNewFolio(by, mm, src, order) {
      locked.push(three.filter((pfn) => (mm.flags[pfn] & PG_locked) !== 0).length)
      return alone.target().getNewFolio(by, mm, src, order)
    },
  })
  expect(migrate(alone, alone.isolate(...three), { mode: MIGRATE_SYNC, target: asking.target }).rc).toBe(3)
  expect(locked).toEqual([0, 1, 2, 0, 0, 0])
})

test('M-5 what each result of the unmap loop does with the page', () => {
  // Places: 0 freed by its owner meanwhile, 1 locked, 2 under writeback, 3 nothing wrong.
  const machine = machineOf('|z F W F . . . . .|')
  const { mm } = machine
  const [freed, locked, writeback, fine] = [0, 1, 2, 3].map((place) => machine.pfn(place))
  const list = machine.isolate(freed, locked, writeback, fine)
  machine.release(freed)
  mm.flags[locked] |= PG_locked
  const { target, of } = counting(machine)
  const result = migrate(machine, list, { mode: MIGRATE_ASYNC, target })
  expect(result).toMatchObject({ rc: 2, pagesSucceeded: 2, pagesFailed: 2 })
  expect([freed, locked, writeback, fine].map(of)).toEqual([0, 10, 1, 1]) // no destination, retried, permanent, moved
  expect(listed(mm, list)).toEqual([writeback, locked])
  expect(machine.freePages).toBe(6)

  // No destination: the rest is not tried, what is unmapped already still moves.
  const short = machineOf('|F F F . . . .|')
  const pages = [0, 1, 2].map((place) => short.pfn(place))
  const few = counting(short, { limit: 1 })
  const stopped = migrate(short, short.isolate(...pages), { mode: MIGRATE_ASYNC, target: few.target })
  expect(stopped).toMatchObject({ rc: -ENOMEM, pagesSucceeded: 1, pagesFailed: 1 })
  expect(pages.map(few.of)).toEqual([1, 1, 0])
  expect(short.picture(3)).toBe('.ii')

  // Pages that were to be retried in that pass have failed with it.
  const both = machineOf('|F F F . . . .|')
  const [first, second, third] = [0, 1, 2].map((place) => both.pfn(place))
  both.mm.flags[first] |= PG_locked
  const one = counting(both, { limit: 1 })
  expect(
    migrate(both, both.isolate(first, second, third), { mode: MIGRATE_ASYNC, target: one.target }),
  ).toMatchObject({
    rc: -ENOMEM,
    pagesFailed: 2,
  })

  // A large folio is split instead, unless it is misplaced only.
  for (const [reason, rc, picture] of [
    [MR_COMPACTION, 0, '....'],
    [MR_NUMA_MISPLACED, -ENOMEM, 'i==='],
  ] as const) {
    const large = machineOf('|M=== . . . . . . . .|')
    const refusing = counting(large, { refuses: (order) => order > 0 })
    expect(
      migrate(large, large.isolate(large.pfn(0)), { mode: MIGRATE_ASYNC, reason, target: refusing.target })
        .rc,
    ).toBe(rc)
    expect(large.picture(4)).toBe(picture)
  }
  // For a longterm pin a split that found a reference too many is tried again.
  const pinned = machineOf('|M=== . . . .|')
  getUserPage(cpu, pinned.mm, pinned.pfn(0))
  const refusing = counting(pinned, { refuses: () => true })
  const list4 = pinned.mm.taskList(cpu.id, 0)
  pinned.mm.refcount[pinned.pfn(0)]--
  pinned.isolate(pinned.pfn(0))
  pinned.mm.refcount[pinned.pfn(0)]++
  expect(
    migrate(pinned, list4, { mode: MIGRATE_ASYNC, reason: MR_LONGTERM_PIN, target: refusing.target }),
  ).toMatchObject({
    rc: 1,
    pagesFailed: 4,
  })
  expect(refusing.asked).toHaveLength(10)
})

test('M-6 who waits for the page lock, and who tries again', () => {
  const { ASYNC, SYNC_LIGHT, SYNC } = MODES
  const memalloc = true
  expect([
    ['ASYNC', withObstacle('lock', ASYNC)],
    ['ASYNC, being read', withObstacle('read', ASYNC)],
    ['LIGHT', withObstacle('lock', SYNC_LIGHT)],
    ['LIGHT, being read', withObstacle('read', SYNC_LIGHT)],
    ['SYNC', withObstacle('lock', SYNC)],
    ['SYNC, being read', withObstacle('read', SYNC)],
    ['LIGHT, frees memory', withObstacle('lock', SYNC_LIGHT, { memalloc })],
    ['SYNC, frees memory', withObstacle('lock', SYNC, { memalloc })],
    ['LIGHT, 6.1', withObstacle('lock', SYNC_LIGHT, { rules: RULES_6_1 })],
    ['SYNC, being read, 6.1', withObstacle('read', SYNC, { rules: RULES_6_1 })],
    ['LIGHT, being read, 6.1', withObstacle('read', SYNC_LIGHT, { rules: RULES_6_1 })],
    ['SYNC, frees memory, 6.1', withObstacle('lock', SYNC, { memalloc, rules: RULES_6_1 })],
  ]).toEqual([
    ['ASYNC', 'no wait, 10 tries, failed'],
    ['ASYNC, being read', 'no wait, 10 tries, failed'],
    ['LIGHT', 'waits, 4 tries, moved'],
    ['LIGHT, being read', 'no wait, 10 tries, failed'],
    ['SYNC', 'waits, 4 tries, moved'],
    ['SYNC, being read', 'waits, 4 tries, moved'],
    ['LIGHT, frees memory', 'no wait, 10 tries, failed'],
    ['SYNC, frees memory', 'no wait, 10 tries, failed'],
    ['LIGHT, 6.1', 'waits, 4 tries, moved'],
    ['SYNC, being read, 6.1', 'waits, 4 tries, moved'],
    ['LIGHT, being read, 6.1', 'no wait, 10 tries, failed'],
    ['SYNC, frees memory, 6.1', 'no wait, 10 tries, failed'],
  ])
})

test('M-7 writeback: only synchronous mode waits, the others fail for good', () => {
  const { ASYNC, SYNC_LIGHT, SYNC } = MODES
  expect([
    ['ASYNC', withObstacle('writeback', ASYNC)],
    ['LIGHT', withObstacle('writeback', SYNC_LIGHT)],
    ['SYNC', withObstacle('writeback', SYNC)],
    ['SYNC, frees memory', withObstacle('writeback', SYNC, { memalloc: true })],
    ['ASYNC, 6.1', withObstacle('writeback', ASYNC, { rules: RULES_6_1 })],
    ['LIGHT, 6.1', withObstacle('writeback', SYNC_LIGHT, { rules: RULES_6_1 })],
    ['SYNC, 6.1', withObstacle('writeback', SYNC, { rules: RULES_6_1 })],
  ]).toEqual([
    ['ASYNC', 'no wait, 1 tries, failed'],
    ['LIGHT', 'no wait, 2 tries, failed'], // once in each phase
    ['SYNC', 'waits, 2 tries, moved'],
    ['SYNC, frees memory', 'waits, 2 tries, moved'],
    ['ASYNC, 6.1', 'no wait, 1 tries, failed'],
    ['LIGHT, 6.1', 'no wait, 1 tries, failed'],
    ['SYNC, 6.1', 'waits, 4 tries, moved'],
  ])
})

test('M-8 references expected at the freeze: mappings, one a page of the cache, one for buffers', () => {
  const expectedOf = (letter: string, maps: number, more = 0): number => {
    const machine = machineOf(`|${letter}|`)
    const pfn = machine.pfn(0)
    machine.mm.flags[pfn] |= more
    for (let i = 0; i < maps; i++) machine.map(pfnOf(pfn + (i % letter.length)))
    return folioExpectedRefCount(cpu, machine.mm, pfn)
  }
  const table: [string, number, number][] = [
    // letter, more mappings, expected. Anonymous ones are mapped once a page already.
    ['M', 0, 1],
    ['M', 2, 3],
    ['M===', 0, 4],
    ['M===', 2, 6],
    ['S', 0, 2],
    ['S===', 0, 8],
    ['F', 0, 1],
    ['F', 3, 4],
    ['F===', 0, 4],
    ['F===', 5, 9],
    ['B', 0, 2],
    ['B', 1, 3],
    ['B===', 0, 5],
  ]
  expect(table.map(([letter, maps]) => [letter, maps, expectedOf(letter, maps)])).toEqual(table)
  expect(expectedOf('M', 0, PG_private)).toBe(1) // of an anonymous folio, `private` is not buffers

  // One reference more: -EAGAIN, all as before. None more: it moves, and both counts are exact.
  for (const letter of ['M', 'S', 'F', 'B', 'M===', 'S===', 'F===', 'B===']) {
    for (const extra of [1, 0]) {
      const pages = letter.length
      const machine = machineOf(`|${letter}${'.'.repeat(pages)} ........ ........|`)
      const { mm } = machine
      const pfn = machine.pfn(0)
      const references = mm.refcount[pfn]
      const list = machine.isolate(pfn)
      mm.refcount[pfn] += extra
      const before = mm.arena.snapshot()
      const { rc } = migrate(machine, list, { mode: MIGRATE_ASYNC })
      expect([letter, extra, rc]).toEqual([letter, extra, extra])
      if (extra === 1) {
        const same = [
          'flags',
          'refcount',
          'mapcount',
          'mapping',
          'private',
          'pte',
          'cache',
          'rmap',
          'content',
        ]
        const differing = mm.arena.diff(before).map(({ column }) => column)
        expect(differing.filter((column) => same.includes(column))).toEqual([])
        continue
      }
      const dst = machine.find(letter[0])
      expect(mm.refcount[dst]).toBe(references)
      expect(folioExpectedRefCount(cpu, mm, dst)).toBe(references)
      expect(machine.picture(pages)).toBe('.'.repeat(pages))
      if (letter[0] !== 'M') expect(mm.cache[slotOf(mm.private[dst])]).toBe(dst)
    }
  }
})

test('M-9 driver pages are locked, not unmapped, and not counted as isolated', () => {
  const machine = machineOf('|z M F . . . . .|')
  const { mm } = machine
  const node = nidOf(0)
  const isolated = (): number[] => [mm.nrIsolatedAnon[node], mm.nrIsolatedFile[node]]
  const [driver, anon, file] = [0, 1, 2].map((place) => machine.pfn(place))
  const list = machine.isolate(driver)
  expect([isolated(), machine.poolPages()]).toEqual([[0, 0], { listed: 0, isolated: 1 }])
  machine.isolate(anon, file)
  expect(isolated()).toEqual([1, 1])
  const steps = machine.recordingCpu()
  expect(
    migratePages(steps, mm, list, machine.target(), MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats()),
  ).toBe(0)
  expect([isolated(), machine.poolPages()]).toEqual([[0, 0], { listed: 1, isolated: 0 }])
  const dst = machine.find('z')
  expect([mm.refcount[driver], mm.refcount[dst], mm.content[dst]]).toEqual([0, 1, 1000])
  expect(mm.flags[dst] & PG_locked).toBe(0)
  const first = steps.texts().slice(
    0,
    steps.texts().findIndex((text) => text.includes('enlist')),
  )
  expect(first.filter((text) => text.startsWith('cas pte') && text.includes(String(driver << 2)))).toEqual([])

  // What a driver keeps in PG_private is not buffers of a truncated page.
  const marked = machineOf('|z . . .|')
  const pfn = marked.pfn(0)
  marked.mm.flags[pfn] |= PG_private
  expect(migrate(marked, marked.isolate(pfn), { mode: MIGRATE_ASYNC })).toMatchObject({
    rc: 0,
    pagesSucceeded: 1,
  })
  expect(marked.mm.refcount[marked.find('z')]).toBe(1)
})

test('M-10 a move that is to be tried again stays locked and unmapped; the last undo puts the source back', () => {
  // Without the early look at the references, so that every attempt reaches the freeze.
  const rules = { ...RULES_6_18, copiesBeforeFreeze: false }
  const run = (releaseBefore: number) => {
    const machine = machineOf('|F . . .|', { rules })
    const { mm } = machine
    const src = machine.pfn(0)
    const vpn = machine.map(src)
    mm.refcount[src]++
    const list = machine.isolate(src)
    const before = mm.arena.snapshot()
    const steps = machine.recordingCpu()
    const states: string[] = []
    const look = (): void => {
      const locked = machine.places(4).filter((pfn) => (mm.flags[pfn] & PG_locked) !== 0)
      states.push(`${locked.length} locked, ${(mm.pte[vpn] & PTE_MIGRATION) !== 0 ? 'unmapped' : 'mapped'}`)
      if (states.length === releaseBefore) mm.refcount[src]--
      steps.before(
        (op, column, index) =>
          op === 'cas' && column === 'refcount' && index === src && attempts() === states.length,
        look,
      )
    }
    const attempts = (): number =>
      steps.texts('cas').filter((text) => text.startsWith(`cas refcount[${src}]`)).length
    steps.before((op, column, index) => op === 'cas' && column === 'refcount' && index === src, look)
    const rc = migratePages(
      steps,
      mm,
      list,
      machine.target(),
      MIGRATE_ASYNC,
      MR_COMPACTION,
      newMigrateStats(),
    )
    return { machine, src, vpn, list, before, states, rc }
  }
  const failed = run(99)
  expect(failed.states).toEqual(new Array(10).fill('2 locked, unmapped'))
  expect(failed.rc).toBe(1)
  expect(failed.machine.mm.pte[failed.vpn]).toBe((failed.src << 2) | PTE_PRESENT)
  expect(listed(failed.machine.mm, failed.list)).toEqual([failed.src])
  expect(failed.machine.freePages).toBe(3)
  const { mm } = failed.machine
  expect([mm.refcount[failed.src], mm.flags[failed.src] & PG_locked]).toEqual([4, 0]) // cache, pte, extra, isolation

  const moved = run(3)
  expect(moved.states).toHaveLength(3)
  expect(moved.rc).toBe(0)
  expect(ptePfn(moved.machine.mm.pte[moved.vpn])).not.toBe(moved.src)

  // It comes back behind what failed for good, and before what was never unmapped: the order of the next try.
  const three = machineOf('|F F W . . . .|')
  const [left, locked, writeback] = three.places(3)
  const list = three.isolate(left, locked, writeback)
  three.mm.refcount[left]++
  three.mm.flags[locked] |= PG_locked
  expect(migrate(three, list, { mode: MIGRATE_ASYNC }).rc).toBe(3)
  expect(listed(three.mm, list)).toEqual([writeback, left, locked])
})

test('M-11 the result is the number of folios not migrated, or an errno; 0 if the list is empty', () => {
  const machine = machineOf('|F F W . . . .|')
  const list = machine.isolate(machine.pfn(0), machine.pfn(2), machine.pfn(1))
  expect(migrate(machine, list, { mode: MIGRATE_ASYNC }).rc).toBe(1)
  expect(listed(machine.mm, list)).toEqual([machine.pfn(2)])
  putbackMovablePages(cpu, machine.mm, list)
  expect(machine.picture(3)).toBe('..W')

  expect(migrate(machine, list).rc).toBe(0) // nothing to do

  // Split, and all its pieces moved: nothing is left, so 0. With another failure it counts too.
  for (const [picture, places, rc] of [
    ['|M=== U U U W . . . . . . . .|', [0], 0],
    ['|M=== U U U W . . . . . . . .|', [0, 7], 2],
  ] as const) {
    const split = machineOf(picture)
    const { target } = counting(split, { refuses: (order) => order > 0 })
    const from = split.isolate(...places.map((place) => split.pfn(place)))
    const result = migrate(split, from, { mode: MIGRATE_ASYNC, target })
    expect([result.rc, result.foliosSplit, result.pagesSucceeded]).toEqual([rc, 1, 4])
    expect(listed(split.mm, from)).toEqual(places.length === 1 ? [] : [split.pfn(7)])
  }

  const none = machineOf('|F F . .|')
  const full = none.isolate(none.pfn(0), none.pfn(1))
  expect(migrate(none, full, { target: none.target(0) }).rc).toBe(-ENOMEM)
  expect(listed(none.mm, full)).toEqual([none.pfn(0), none.pfn(1)])
})

test('M-12 the pieces of a split folio get one asynchronous pass, and count as one failure', () => {
  for (const mode of Object.values(MODES)) {
    const machine = machineOf('|M=== U U U U . . . . . . . .|')
    const { mm } = machine
    const stuck = machine.pfn(1)
    let pieceTries = 0
    const { target } = counting(machine, {
      refuses: (order) => order > 0,
      getNewFolio(by, _mm, src, order) {
        if (src === stuck) {
          pieceTries++
          mm.flags[stuck] |= PG_locked // somebody works on this piece; nobody waits for him
        }
        return machine.target().getNewFolio(by, mm, src, order)
      },
    })
    const list = machine.isolate(machine.pfn(0))
    const result = migrate(machine, list, { mode, target })
    expect(pieceTries).toBe(1)
    expect(result).toMatchObject({ rc: 1, foliosSplit: 1, pagesSucceeded: 3, pagesFailed: 1 })
    expect(listed(mm, list)).toEqual([stuck])
    mm.flags[stuck] &= ~PG_locked
    putbackMovablePages(cpu, mm, list)
    expect(machine.picture(4)).toBe('.M..')
    expect([mm.refcount[stuck], accessPage(cpu, mm, machine.vpnOf(stuck))]).toEqual([1, stuck])
  }
})

test('M-13 counters: in base pages, and in huge pages; a split one failed and was split', () => {
  const counters = (
    mode: MigrateMode,
    refuses: boolean,
    extra: number,
    reason: MigrateReason = MR_COMPACTION,
  ) => {
    const machine = machineOf(`${THP}${HUGE_FREE}`, { blocks: 3, rest: '.', contents: false })
    const list = machine.isolate(machine.pfn(0))
    machine.mm.refcount[machine.pfn(0)] += extra
    const { target } = counting(machine, { refuses: (order) => refuses && order > 0 })
    const { rc } = migrate(machine, list, { mode, target, reason })
    const events = vmEvents(machine.mm)
    return [
      rc,
      events.pgmigrate_success,
      events.pgmigrate_fail,
      events.thp_migration_success,
      events.thp_migration_fail,
      events.thp_migration_split,
    ]
  }
  for (const mode of Object.values(MODES)) {
    //                                          rc, pages: moved, failed, huge: moved, failed, split
    expect(counters(mode, false, 0)).toEqual([0, 512, 0, 1, 0, 0])
    expect(counters(mode, true, 0)).toEqual([0, 512, 0, 0, 1, 1])
    expect(counters(mode, false, 1)).toEqual([1, 0, 512, 0, 1, 0])
    expect(counters(mode, true, 1)).toEqual([-ENOMEM, 0, 512, 0, 1, 0])
    expect(counters(mode, true, 0, MR_NUMA_MISPLACED)).toEqual([-ENOMEM, 0, 512, 0, 1, 0])
  }
})

test('M-14 an access to a page that moves waits, looks again, and finds the contents at the new place', () => {
  for (const ends of ['moved', 'undone'] as const) {
    const machine = machineOf('|M . .|')
    const { mm } = machine
    const src = machine.pfn(0)
    const vpn = machine.vpnOf(src)
    const target = machine.target()
    expect(accessPage(cpu, mm, vpn)).toBe(src) // before
    expect(mm.content[src]).toBe(1000)
    machine.isolate(src)
    const dst = pfnOf(target.getNewFolio(cpu, mm, src, 0))
    expect(migrateFolioUnmap(cpu, mm, src, dst, MIGRATE_ASYNC, 0)).toBe(UNMAPPED)
    let waits = 0
    const accessor = machine.recordingCpu((_cells, index, bits) => {
      waits++
      expect([index, bits]).toEqual([src, PG_locked])
      expect(mm.pte[vpn] & PTE_MIGRATION).not.toBe(0)
      if (ends === 'moved') migrateFolioMove(cpu, mm, src, dst, MIGRATE_ASYNC)
      else migrateFolioUndo(cpu, mm, src, dst)
    })
    const found = pfnOf(accessPage(accessor, mm, vpn))
    expect(waits).toBe(1)
    expect(found).toBe(ends === 'moved' ? dst : src)
    expect(mm.content[found]).toBe(1000)
    expect(accessor.texts('load').filter((text) => text === `load pte[${vpn}]`)).toHaveLength(2)
  }
  // A pte that was emptied while its page moved stays empty.
  const machine = machineOf('|M . .|')
  const { mm } = machine
  const vpn = machine.vpnOf(machine.pfn(0))
  const list = machine.isolate(machine.pfn(0))
  const steps = machine.recordingCpu()
  steps.before(
    (op, column) => op === 'store' && column === 'content',
    () => zapPte(cpu, mm, vpn),
  )
  expect(
    migratePages(steps, mm, list, machine.target(), MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats()),
  ).toBe(0)
  expect(accessPage(cpu, mm, vpn)).toBe(-1)
  expect(machine.picture()).toBe('...')
})

test('S0-20 a mapped page leaves the LRU, is unmapped and waited for; put back, it is mapped and on the LRU', () => {
  const machine = machineOf('|M . .|')
  const { mm } = machine
  const src = machine.pfn(0)
  const vpns = [machine.vpnOf(src), machine.map(src)]
  const before = mm.arena.snapshot()
  const ptes = (): number[] => vpns.map((vpn) => mm.pte[vpn] & 3)
  const list = machine.isolate(src)
  expect([mm.flags[src] & PG_lru, ptes()]).toEqual([0, [PTE_PRESENT, PTE_PRESENT]])
  const dst = pfnOf(machine.target().getNewFolio(cpu, mm, src, 0))
  expect(migrateFolioUnmap(cpu, mm, src, dst, MIGRATE_SYNC, WAIT_LOCK | WAIT_WRITEBACK)).toBe(UNMAPPED)
  expect([mm.mapcount[src], ptes()]).toEqual([0, [PTE_MIGRATION, PTE_MIGRATION]])
  let woken = 0
  const accessor = new FastCpu(() => {
    woken++
    migrateFolioUndo(cpu, mm, src, dst)
    putPage(cpu, mm, dst)
    putbackMovablePages(cpu, mm, list)
  })
  expect(accessPage(accessor, mm, vpns[1])).toBe(src)
  expect([woken, ptes(), mm.mapcount[src]]).toEqual([1, [PTE_PRESENT, PTE_PRESENT], 2])
  const counters = ['links', 'events', 'pcps'] // the free page went through the allocator
  expect(mm.arena.diff(before).filter(({ column }) => !counters.includes(column))).toEqual([])
})

test('what a folio is moves with its data, and with its slot at once', () => {
  const machine = machineOf('|D S M . . . . .|')
  const { mm } = machine
  const [file, swap, anon] = [0, 1, 2].map((place) => machine.pfn(place))
  mm.flags[anon] |= PG_anon_exclusive | PG_referenced
  mm.mapping[anon] = ANON_MAPPING | PAGE_MAPPING_KSM
  const list = machine.isolate(file, swap, anon)
  const steps = machine.recordingCpu()
  const early: number[] = []
  const slots = [file, swap].map((pfn) => mm.private[pfn])
  for (const slot of slots) {
    steps.before(
      (op, column, index) =>
        op === 'store' &&
        column === 'refcount' &&
        mm.cache[slotOf(slot)] !== index &&
        [file, swap].includes(pfnOf(index)),
      () => early.push(mm.flags[pfnOf(mm.cache[slotOf(slot)])] & (PG_dirty | PG_swapcache)),
    )
  }
  expect(
    migratePages(steps, mm, list, machine.target(), MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats()),
  ).toBe(0)
  expect(early.sort((a, b) => a - b)).toEqual([PG_dirty, PG_swapcache].sort((a, b) => a - b))
  const moved = machine.find('M')
  expect(mm.flags[moved] & (PG_anon_exclusive | PG_referenced)).toBe(PG_anon_exclusive | PG_referenced)
  expect(mm.mapping[moved] & 3).toBe(PAGE_MAPPING_KSM)
  expect(filemapGetFolio(cpu, mm, slotOf(slots[0]))).toBe(machine.find('D'))
  deleteFromSwapCache(cpu, mm, machine.find('S'))
  expect(mm.cache[slotOf(slots[1])]).toBe(0)
})

test('a partly mapped large folio moves with the mappings that it has', () => {
  const machine = machineOf('|M=== .... ........|')
  const { mm } = machine
  const src = machine.pfn(0)
  const kept = machine.vpnOf(pfnOf(src + 2))
  for (const tail of [0, 1, 3]) zapPte(cpu, mm, machine.vpnOf(pfnOf(src + tail)))
  machine.map(pfnOf(src + 2))
  expect(folioMapcount(cpu, mm, src, mm.flags[src])).toBe(2)
  expect(migrate(machine, machine.isolate(src), { mode: MIGRATE_ASYNC })).toMatchObject({
    rc: 0,
    pagesSucceeded: 4,
  })
  const dst = machine.find('M')
  expect(accessPage(cpu, mm, kept)).toBe(dst + 2)
  expect([mm.refcount[dst], mm.mapcount[pfnOf(dst + 2)]]).toEqual([2, 2])
})

test('the pieces of a split folio: unlocked, each with its slot, its mapping and its references', () => {
  for (const letter of ['M', 'S', 'F']) {
    const machine = machineOf(`|${letter}===|`)
    const { mm } = machine
    const src = machine.pfn(0)
    const tail = pfnOf(src + 3)
    if (letter === 'F') machine.map(tail)
    const list = machine.isolate(src)
    const refusing: MigrationTarget = { getNewFolio: () => -1, putNewFolio: putPage }
    const { rc, foliosSplit } = migrate(machine, list, { mode: MIGRATE_ASYNC, target: refusing })
    expect([rc, foliosSplit]).toEqual([1, 1])
    putbackMovablePages(cpu, mm, list)
    expect(machine.picture()).toBe(letter.repeat(4))
    for (let i = 0; i < 4; i++) {
      const piece = pfnOf(src + i)
      expect(mm.flags[piece] & (PG_locked | PG_head)).toBe(0)
      expect(mm.refcount[piece]).toBe(folioExpectedRefCount(cpu, mm, piece))
      if (letter !== 'M') expect(mm.cache[slotOf(mm.private[piece])]).toBe(piece)
    }
    if (letter !== 'S') expect(accessPage(cpu, mm, machine.vpnOf(tail))).toBe(tail)
  }
  // Mapped again in the middle of it: not split, all as before.
  const machine = machineOf('|M===|')
  const { mm } = machine
  const src = machine.pfn(0)
  const list = machine.isolate(src)
  const steps = machine.recordingCpu()
  steps.before(
    (op, column) => op === 'unlock' && column === 'rmapLock',
    () => {
      mm.mapcount[src]++
      mm.refcount[src]++
    },
  )
  const refusing: MigrationTarget = { getNewFolio: () => -1, putNewFolio: putPage }
  migratePages(steps, mm, list, refusing, MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats())
  expect(machine.picture(4)).toBe('i===')
  expect(mm.refcount[src]).toBe(6)
})

test('a truncated page that only its buffers keep is freed, not moved', () => {
  const machine = machineOf('|B . . .|')
  const { mm } = machine
  const pfn = machine.pfn(0)
  const list = machine.isolate(pfn)
  expect(filemapRemoveFolio(cpu, mm, pfn)).toBe(true)
  expect(filemapRemoveFolio(cpu, mm, pfn)).toBe(false)
  expect(mm.refcount[pfn]).toBe(2) // buffers, isolation
  expect(migrate(machine, list, { mode: MIGRATE_ASYNC })).toMatchObject({ rc: 0, pagesSucceeded: 1 })
  expect(machine.picture()).toBe('....')
})

test('an unevictable page whose last mapping goes while it is isolated is freed', () => {
  const machine = machineOf('|E . .|')
  const { mm } = machine
  const pfn = machine.pfn(0)
  const list = machine.isolate(pfn)
  zapPte(cpu, mm, machine.vpnOf(pfn))
  expect(migrate(machine, list)).toMatchObject({ rc: 0, pagesSucceeded: 1 })
  expect([machine.picture(), mm.nrIsolatedAnon[nidOf(0)]]).toEqual(['...', 0])
})

test('a reference of get_user_pages keeps a page where it is', () => {
  const machine = machineOf('|M . .|')
  const { mm } = machine
  const pfn = machine.pfn(0)
  const list = machine.isolate(pfn)
  getUserPage(cpu, mm, pfn)
  expect(migrate(machine, list, { mode: MIGRATE_ASYNC }).rc).toBe(1)
  putUserPage(cpu, mm, pfn)
  expect(migrate(machine, list, { mode: MIGRATE_ASYNC }).rc).toBe(0)
  expect(listEmpty(mm.links, list)).toBe(true)
})
