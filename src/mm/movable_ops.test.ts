/**
 * The mobility framework, row by row: isolation, putback, and what a provider may rely on (S0-4..S0-27,
 * M-15). What every provider must do is in owners/contract.case.ts.
 */

import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AssertionError } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { isListed } from '../base/list.ts'
import { mappingIdOf, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import { machineOf, type RecordingCpu, type TestMachine } from '../testing/machine.ts'
import {
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  MIGRATE_SYNC,
  MR_COMPACTION,
  PG_locked,
  PG_lru,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PG_private,
  PGTY_guard,
  PGTY_offline,
  PGTY_zsmalloc,
  pageTypeValue,
} from './limits.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from './migrate.ts'
import {
  ISOLATED,
  isDriverPage,
  isolatedOpsOf,
  isolateMovablePage,
  LRU_OPS,
  type MovableOps,
  movableOpsOf,
  pageLockedOps,
  putbackMovablePage,
  REFUSED_BY_OWNER,
  REFUSED_FREE,
  REFUSED_ISOLATED,
  REFUSED_LOCKED,
  REFUSED_PINNED,
  REFUSED_UNMOVABLE,
  setMappingOps,
  setMigrateFolio,
  setMovableOps,
} from './movable_ops.ts'
import { fileMapping, folioMapping, type Mm, movableMapping } from './page.ts'
import { putPage } from './page_alloc.ts'
import { zapPte } from './rmap.ts'

const cpu = new FastCpu()

/** What a driver was asked, in order. */
interface Calls {
  readonly calls: string[]
  refuses: boolean
}

/** Registers a driver that takes notes, with the machine's first page as its one page. */
function notingDriver(machine: TestMachine, pgty = PGTY_offline): Calls & { pfn: Pfn } {
  const { mm } = machine
  const pfn = machine.pfn(0)
  const driver = { calls: [] as string[], refuses: false, pfn }
  const ops = pageLockedOps({
    name: 'noting',
    pgty,
    isolate(_cpu, _mm, page, mode) {
      driver.calls.push(`isolate(${page}, mode ${mode})`)
      return !driver.refuses
    },
    migrate(_cpu, _mm, dst, src, mode) {
      driver.calls.push(`migrate(${dst}, ${src}, mode ${mode})`)
      return 0
    },
    putback(_cpu, _mm, page) {
      driver.calls.push(`putback(${page})`)
    },
  })
  setMovableOps(mm, pgty, ops)
  mm.mapcount[pfn] = pageTypeValue(pgty)
  mm.flags[pfn] |= PG_movable_ops
  return driver
}

test('S0-4 isolate gets the page and a mode, putback only the page, migrate both pages and a mode', () => {
  const machine = machineOf('|U . .|', { start: 512 })
  const { mm } = machine
  const driver = notingDriver(machine)
  expect(isolateMovablePage(cpu, mm, driver.pfn, ISOLATE_ASYNC_MIGRATE)).toBe(ISOLATED)
  putbackMovablePage(cpu, mm, driver.pfn)
  expect(isolateMovablePage(cpu, mm, driver.pfn, ISOLATE_UNEVICTABLE)).toBe(ISOLATED)
  isolatedOpsOf(cpu, mm, driver.pfn).migratePage(cpu, mm, machine.pfn(1), driver.pfn, MIGRATE_SYNC)
  expect(driver.calls).toEqual([
    'isolate(512, mode 4)',
    'putback(512)',
    'isolate(512, mode 8)',
    'migrate(513, 512, mode 2)',
  ])
})

test('S0-8 undo is the reverse of acquire: unlock, then put', () => {
  const machine = machineOf('|U|')
  const driver = notingDriver(machine)
  driver.refuses = true
  const steps = machine.recordingCpu()
  expect(isolateMovablePage(steps, machine.mm, driver.pfn, 0)).toBe(REFUSED_BY_OWNER)
  expect(changes(steps, driver.pfn)).toEqual(['get', 'trylock', 'unlock', 'put'])
})

/** The steps that change a page's references, its lock and its isolation, by what they mean. */
function changes(steps: RecordingCpu, pfn: Pfn): string[] {
  const meaning: Record<string, string> = {
    [`addUnlessZero refcount[${pfn}]`]: 'get',
    [`decAndTest refcount[${pfn}]`]: 'put',
    [`tryLock flags[${pfn}] 0x1`]: 'trylock',
    [`lock flags[${pfn}] 0x1`]: 'lock',
    [`unlock flags[${pfn}] 0x1`]: 'unlock',
    [`testSet flags[${pfn}] 0x${PG_movable_ops_isolated.toString(16)}`]: 'set isolated',
    [`testClear flags[${pfn}] 0x${PG_movable_ops_isolated.toString(16)}`]: 'clear isolated',
  }
  return steps.texts().flatMap((text) => {
    if (text.startsWith('section ')) return /(isolate|putback)Locked/.exec(text)?.[1] ?? []
    return meaning[text] ?? []
  })
}

test('S0-9 isolated: one more reference, unlocked; refused at any point: everything as before', () => {
  const points = {
    'no reference': (mm: Mm, pfn: Pfn) => (mm.refcount[pfn] = 0),
    locked: (mm: Mm, pfn: Pfn) => (mm.flags[pfn] |= PG_locked),
    'not movable': (mm: Mm, pfn: Pfn) => (mm.flags[pfn] &= ~PG_movable_ops),
    refused: () => 0,
    isolated: () => 0,
  } as const
  const answers = {
    'no reference': REFUSED_FREE,
    locked: REFUSED_LOCKED,
    'not movable': REFUSED_UNMOVABLE,
    refused: REFUSED_BY_OWNER,
    isolated: ISOLATED,
  } as const
  const all: (keyof typeof points)[] = ['no reference', 'locked', 'not movable', 'refused', 'isolated']
  fc.assert(
    fc.property(
      fc.constantFrom(...all),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(),
      (point, references, bits) => {
        const machine = machineOf('|U|')
        const { mm } = machine
        const driver = notingDriver(machine)
        driver.refuses = point === 'refused'
        mm.refcount[driver.pfn] = references
        mm.flags[driver.pfn] |= bits & PG_private
        const steps = machine.recordingCpu()
        // The point is reached after the guess without a lock, where only the real test can see it.
        let before = mm.arena.snapshot()
        steps.before(
          (op) => op === 'addUnlessZero',
          () => {
            points[point](mm, driver.pfn)
            before = mm.arena.snapshot()
          },
        )
        expect(isolateMovablePage(steps, mm, driver.pfn, 0)).toBe(answers[point])
        if (point === 'isolated') {
          expect(mm.refcount[driver.pfn]).toBe(references + 1)
          expect(mm.flags[driver.pfn] & (PG_locked | PG_movable_ops_isolated)).toBe(PG_movable_ops_isolated)
          putbackMovablePage(cpu, mm, driver.pfn)
        }
        expect(mm.arena.diff(before)).toEqual([])
      },
    ),
  )
})

test('S0-10 isolating a page that is being freed delays the free and loses nothing', () => {
  // z: the pool lets go of it. M: its one mapping goes. Before each step of the isolator, and the other way round.
  const free: Record<string, (machine: TestMachine, by: RecordingCpu | FastCpu) => void> = {
    z: (machine) => machine.release(machine.pfn(0)),
    M: (machine, by) => zapPte(by, machine.mm, machine.vpnOf(machine.pfn(0))),
  }
  for (const letter of ['z', 'M']) {
    const steps = stepsOfIsolation(letter)
    let tried = 0
    for (let n = 0; n <= steps; n++) {
      const machine = machineOf(`|${letter}|`)
      const { mm } = machine
      const pfn = machine.pfn(0)
      const isolator = machine.recordingCpu()
      let freed = false
      isolator.beforeStep(n, () => {
        if ((mm.flags[pfn] & PG_locked) !== 0) return // the owner would wait for the isolator: step n + 1
        free[letter](machine, cpu)
        freed = true
      })
      const answer = isolateMovablePage(isolator, mm, pfn, 0)
      if (!freed) free[letter](machine, cpu)
      else tried++
      if (answer === ISOLATED) {
        expect(machine.freePages).toBe(0) // the isolation keeps it
        putbackMovablePage(cpu, mm, pfn)
      }
      expect([letter, n, machine.picture(), machine.freePages, mm.refcount[pfn]]).toEqual([
        letter,
        n,
        '.',
        1,
        0,
      ])
    }
    expect(tried).toBeGreaterThan(3)
  }
})

function stepsOfIsolation(letter: string): number {
  const machine = machineOf(`|${letter}|`)
  const steps = machine.recordingCpu()
  expect(isolateMovablePage(steps, machine.mm, machine.pfn(0), 0)).toBe(ISOLATED)
  return steps.steps.length
}

test('S0-11 of several isolators of one page exactly one wins', () => {
  const steps = fc.array(fc.nat({ max: 12 }), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(fc.constantFrom('z', 'M', 'F', 'S'), steps, (letter, interruptedAt) => {
      const machine = machineOf(`|${letter}|`)
      const { mm } = machine
      const pfn = machine.pfn(0)
      const references = mm.refcount[pfn]
      const answers: number[] = []
      // Isolator i is interrupted before one of its steps by isolator i + 1, which runs to its end.
      const run = (i: number): void => {
        const isolator = machine.recordingCpu()
        const last = i === interruptedAt.length
        if (!last) isolator.beforeStep(interruptedAt[i], () => run(i + 1))
        answers.push(isolateMovablePage(isolator, mm, pfn, 0))
        if (!last && isolator.pending) run(i + 1)
      }
      run(0)
      expect(answers).toHaveLength(interruptedAt.length + 1)
      expect(answers.filter((answer) => answer === ISOLATED)).toHaveLength(1)
      expect(mm.refcount[pfn]).toBe(references + 1)
      expect(mm.flags[pfn] & PG_locked).toBe(0)
    }),
  )
})

/** An owner without page lock and page flag: one cell of its own says who has the page. */
function ownLockOps(): MovableOps {
  const held = ownerCellOf(0)
  return {
    name: 'own lock',
    isolatePage: (by, mm) => (by.testSet(mm.ownerCells, held, 1) ? REFUSED_BY_OWNER : ISOLATED),
    migratePage: () => 0,
    putbackPage: (by, mm) => void by.testClear(mm.ownerCells, held, 1),
  }
}

function ownLockPage(machine: TestMachine): Pfn {
  const pfn = machine.pfn(0)
  setMovableOps(machine.mm, PGTY_guard, ownLockOps())
  machine.mm.mapcount[pfn] = pageTypeValue(PGTY_guard)
  machine.mm.flags[pfn] |= PG_movable_ops
  return pfn
}

test('S0-12 the framework has no isolated flag of its own; what says so is the owner’s', () => {
  const machine = machineOf('|U|')
  const { mm } = machine
  const pfn = ownLockPage(machine)
  const flags = mm.flags[pfn]
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
  expect(mm.flags[pfn]).toBe(flags)
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(REFUSED_BY_OWNER)
  putbackMovablePage(cpu, mm, pfn)
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
})

test('S0-13 putback waits for the page lock; if the owner has let go, only the reference is dropped', () => {
  const machine = machineOf('|z z|')
  const { mm } = machine
  const [locked, gone] = [machine.pfn(0), machine.pfn(1)]
  for (const pfn of [locked, gone]) expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
  mm.flags[locked] |= PG_locked
  let waited = 0
  const sleeper = machine.recordingCpu((cells, index, bits) => {
    waited++
    cells[index] &= ~bits
  })
  putbackMovablePage(sleeper, mm, locked)
  expect([waited, machine.picture(1)]).toEqual([1, 'z'])

  machine.release(gone)
  expect(mm.refcount[gone]).toBe(1)
  const steps = machine.recordingCpu()
  putbackMovablePage(steps, mm, gone)
  expect(changes(steps, gone)).toEqual(['lock', 'clear isolated', 'unlock', 'put'])
  expect(machine.picture()).toBe('z.')
})

test('S0-14 what each callback must do, and under which locks, is written down', () => {
  const page = readFileSync('docs/protocol/movable_ops.md', 'utf8')
  for (const callback of ['isolatePage', 'migratePage', 'putbackPage']) {
    const section = new RegExp(`^## \\\`${callback}[^]*?(?=^## |$(?![^]))`, 'm').exec(page)?.[0] ?? ''
    for (const part of ['Called when', 'Must', 'Must not', 'Locks', 'Sleeps', 'Answers']) {
      expect(`${callback}: ${section}`).toContain(`**${part}`)
    }
  }
  expect(page).toContain('isolate_putback.md')
  expect(existsSync('docs/protocol/isolate_putback.md')).toBe(true)
})

test('S0-15 isolated means: nobody else takes it, nobody frees it, its list links are the isolator’s', () => {
  for (const letter of ['z', 'M', 'F', 'S']) {
    const machine = machineOf(`|${letter}|`)
    const { mm } = machine
    const pfn = machine.pfn(0)
    expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
    expect(isListed(mm.links, pfn)).toBe(false)
    expect([REFUSED_ISOLATED, REFUSED_UNMOVABLE, REFUSED_PINNED]).toContain(
      isolateMovablePage(cpu, mm, pfn, 0),
    )
    if (letter === 'z') machine.release(pfn)
    if (letter === 'M') zapPte(cpu, mm, machine.vpnOf(pfn))
    expect(mm.refcount[pfn]).toBeGreaterThan(0)
    expect(machine.freePages).toBe(0)
  }
})

test('S0-19 one concept of mobility: one list, one call, pages of every owner', () => {
  const machine = machineOf('|M z F S . . . . . .|')
  const { mm } = machine
  const list = machine.isolate(...[0, 1, 2, 3].map((place) => machine.pfn(place)))
  const total = newMigrateStats()
  expect(migratePages(cpu, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, total)).toBe(0)
  expect(total.pagesSucceeded).toBe(4)
  expect(sorted(machine.picture())).toBe(sorted('....MzFS..'))
  expect(machine.picture(4)).toBe('....')
  // LRU folios are an entry of the same table.
  expect(mm.movableOps[LRU_OPS]?.name).toBe('lru')
})

const sorted = (text: string): string => text.split('').sort().join('')

test('S0-22 an anonymous page has no address space, and is mobile all the same: it is on the LRU', () => {
  const machine = machineOf('|M U|')
  const { mm } = machine
  const [anon, other] = [machine.pfn(0), machine.pfn(1)]
  expect(folioMapping(mm.flags[anon], mm.mapping[anon])).toBe(0)
  expect(folioMapping(mm.flags[other], mm.mapping[other])).toBe(0)
  expect(isolateMovablePage(cpu, mm, anon, 0)).toBe(ISOLATED)
  expect(isolateMovablePage(cpu, mm, other, 0)).toBe(REFUSED_UNMOVABLE)
})

test('S0-23 locking is the owner’s business: the framework takes a reference and nothing else', () => {
  const machine = machineOf('|U|')
  const { mm } = machine
  const pfn = ownLockPage(machine)
  mm.flags[pfn] |= PG_locked // somebody holds the page lock: not this owner's way, so it does not matter
  const steps = machine.recordingCpu()
  expect(isolateMovablePage(steps, mm, pfn, 0)).toBe(ISOLATED)
  putbackMovablePage(steps, mm, pfn)
  expect(steps.texts('tryLock', 'lock', 'unlock', 'waitClear', 'section')).toEqual([])
  expect(steps.texts('addUnlessZero', 'decAndTest', 'testSet', 'testClear')).toEqual([
    `addUnlessZero refcount[${pfn}]`,
    'testSet ownerCells[0] 0x1',
    'testClear ownerCells[0] 0x1',
    `decAndTest refcount[${pfn}]`,
  ])
  // Nor does LRU isolation look at the page lock.
  const lru = machineOf('|M|')
  lru.mm.flags[lru.pfn(0)] |= PG_locked
  expect(isolateMovablePage(cpu, lru.mm, lru.pfn(0), 0)).toBe(ISOLATED)
})

test('S0-24 neither scanner nor migrate loop knows LRU pages or any other owner', () => {
  const owners =
    /PG_(lru|swapbacked|swapcache|unevictable|movable_ops)|PAGE_MAPPING_|isAnon|folioMapping|Lru[A-Z(]|LRU_OPS|PGTY_|zsmalloc|balloon|lru_ops|owners\//i
  const codeOf = (file: string): string =>
    readFileSync(`src/mm/${file}.ts`, 'utf8').replace(/\/\*[^]*?\*\/|\/\/.*/g, '')
  const scanner = ['migrate_scanner', 'free_scanner', 'compaction'].map(codeOf)
  for (const code of [...scanner, codeOf('migrate')]) expect(owners.exec(code)?.[0]).toBeUndefined()
  expect(scanner.join('')).toContain('isolateMovablePage(')
  expect(codeOf('migrate')).toMatch(/isolatedOpsOf\([^]*?\.migratePage\(/)
})

test('S0-26 a mark in mapcount cannot cover LRU pages: they count their mappings there', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1 << 20 }), fc.nat(), (mapped, flags) => {
      expect(movableOpsOf(mapped, flags | PG_lru)).toBe(LRU_OPS)
      expect(movableOpsOf(mapped, flags & ~PG_lru)).toBe(-1) // no page type there to name an owner
    }),
  )
  expect(movableOpsOf(pageTypeValue(PGTY_zsmalloc), PG_movable_ops)).not.toBe(LRU_OPS)
})

test('S0-27 the first step is a reference that is taken only if there is one', () => {
  for (const letter of ['z', 'M', 'F']) {
    const machine = machineOf(`|${letter}|`)
    const { mm } = machine
    const pfn = machine.pfn(0)
    const steps = machine.recordingCpu()
    steps.before(
      (op) => op === 'addUnlessZero',
      () => (mm.refcount[pfn] = 0),
    )
    const before = mm.arena.snapshot()
    expect(isolateMovablePage(steps, mm, pfn, 0)).toBe(REFUSED_FREE)
    expect(steps.texts().filter((text) => !text.startsWith('load'))).toEqual([
      `addUnlessZero refcount[${pfn}]`,
    ])
    expect(mm.arena.diff(before)).toEqual([{ column: 'refcount', index: pfn }]) // what the other task did
  }
})

test('M-15 isolate: get, trylock, look again, take, mark, unlock; putback: lock, give, unmark, unlock, put', () => {
  const machine = machineOf('|z|')
  const { mm } = machine
  const pfn = machine.pfn(0)
  const steps = machine.recordingCpu()
  expect(isolateMovablePage(steps, mm, pfn, 0)).toBe(ISOLATED)
  expect(changes(steps, pfn)).toEqual(['get', 'trylock', 'isolate', 'set isolated', 'unlock'])
  // The mark is looked at before the reference is taken and the lock tried, and under the lock again.
  const looks = steps.steps.flatMap(({ op, column }, i) => (op === 'load' && column === 'flags' ? i : []))
  const at = (op: string): number => steps.steps.findIndex((step) => step.op === op)
  expect(looks.some((i) => i < at('addUnlessZero'))).toBe(true)
  expect(looks.some((i) => i > at('tryLock') && i < at('section'))).toBe(true)

  const back = machine.recordingCpu()
  putbackMovablePage(back, mm, pfn)
  expect(changes(back, pfn)).toEqual(['lock', 'putback', 'clear isolated', 'unlock', 'put'])
})

test('a page that another owner got meanwhile is not handed to the first one', () => {
  const machine = machineOf('|z|')
  const { mm } = machine
  const pfn = machine.pfn(0)
  const steps = machine.recordingCpu()
  steps.before(
    (op) => op === 'addUnlessZero',
    () => {
      machine.release(pfn)
      mm.refcount[pfn] = 1 // allocated again, by a driver of another type
      mm.mapcount[pfn] = pageTypeValue(PGTY_guard)
      mm.flags[pfn] = PG_movable_ops
    },
  )
  const { listed } = machine.poolPages()
  expect(isolateMovablePage(steps, mm, pfn, 0)).toBe(REFUSED_UNMOVABLE)
  expect(machine.poolPages()).toEqual({ listed: listed - 1, isolated: 0 })
})

test('a driver page that was released while isolated, and is held by another, has nothing to migrate', () => {
  const machine = machineOf('|z . . .|')
  const { mm } = machine
  const pfn = machine.pfn(0)
  const list = machine.isolate(pfn)
  mm.refcount[pfn]++ // somebody looks at it
  machine.release(pfn)
  const total = newMigrateStats()
  expect(migratePages(cpu, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, total)).toBe(0)
  expect(machine.poolPages()).toEqual({ listed: 0, isolated: 0 })
  putPage(cpu, mm, pfn)
  expect(machine.picture()).toBe('....')
})

test('an owner is registered once, and not for free pages', () => {
  const { mm } = machineOf('|z|')
  expect(() => setMovableOps(mm, PGTY_zsmalloc, ownLockOps())).toThrow(AssertionError)
  expect(() => setMovableOps(mm, 0xf0, ownLockOps())).toThrow(AssertionError)
  expect(() => isolatedOpsOf(cpu, mm, pfnOf(512 + 1))).not.toThrow()
  putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
})

test('an address space has its operations once, and those of the machine only; others stay as they are', () => {
  const { mm } = machineOf('|U F|')
  const pfn = pfnOf(512)
  const [none, swap, file, beyond] = [0, 1, 3, 99].map(mappingIdOf)
  for (const id of [none, swap, beyond]) {
    expect(() => setMappingOps(mm, id, ownLockOps())).toThrow('an address space of the machine')
    expect(() => setMigrateFolio(mm, id, () => 0)).toThrow('an address space of the machine')
  }
  mm.mapping[pfn] = movableMapping(file)
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(REFUSED_UNMOVABLE) // nobody has registered
  setMappingOps(mm, file, ownLockOps())
  expect(() => setMappingOps(mm, file, ownLockOps())).toThrow('has its operations')
  setMigrateFolio(mm, file, () => 0)
  expect(() => setMigrateFolio(mm, file, () => 0)).toThrow('moves its folios already')
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
  expect([isDriverPage(cpu, mm, pfn), isDriverPage(cpu, mm, pfnOf(513))]).toEqual([true, false])
  putbackMovablePage(cpu, mm, pfn)
  mm.mapping[pfn] = fileMapping(file) // the same address space, and a page of its cache
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(REFUSED_UNMOVABLE)
})
