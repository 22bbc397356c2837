/**
 * The kit itself: owners that ship pass, what is no driver is refused with a reason, and what cannot be asked of a
 * driver is said.
 *
 * The example drivers, correct and broken, are held to their headers in examples/drivers/drivers.test.ts.
 */

import { expect, test } from 'vitest'
import { type Pfn, type Slot, slotOf } from '../../base/units.ts'
import { check } from '../../check/check.ts'
import { filemapAddFolio, filemapRemoveFolio } from '../../mm/filemap.ts'
import { PG_locked, PG_uptodate, PGTY_zsmalloc } from '../../mm/limits.ts'
import { folioAddLru } from '../../mm/lru.ts'
import { LRU_MOVABLE_OPS } from '../../mm/lru_ops.ts'
import {
  type Isolation,
  type MovableOps,
  REFUSED_BY_OWNER,
  REFUSED_ISOLATED,
  REFUSED_PINNED,
} from '../../mm/movable_ops.ts'
import { LRU_INACTIVE_FILE } from '../../mm/page.ts'
import { putPage } from '../../mm/page_alloc.ts'
import {
  createPool,
  type PagePool,
  POOL_CELLS,
  poolInsert,
  poolRead,
  poolRelease,
} from '../../owners/page_pool.ts'
import { A_FILE, smallMachine } from '../small_machine.ts'
import { CLAUSES } from './clauses.ts'
import { type ConformanceResult, conformance, DEFAULT_BOUNDS } from './conformance.ts'
import type { CheckedDriver } from './driver.ts'
import { pagesOn } from './list.ts'
import { scenariosOf } from './scenarios.ts'
import { systemOf } from './stage.ts'

/** The pool of owners/page_pool.ts. Its operations are the same on every machine, so one is made to get them. */
function poolDriver(): CheckedDriver {
  const { mm } = smallMachine(1, 0, { ownerCells: POOL_CELLS })
  const pool: PagePool = createPool(mm, PGTY_zsmalloc, 'page pool', 0)
  const ops = mm.movableOps.find((one) => one?.name === 'page pool')
  if (ops === undefined) throw new Error('createPool registers its operations')
  return {
    name: 'page pool',
    pgty: PGTY_zsmalloc,
    ops,
    cells: POOL_CELLS,
    locks: [pool.lock],
    listed: (state) => pagesOn(state, state.ownerList(pool.list)),
    insert: (cpu, state, pfn) => poolInsert(cpu, state, pool, pfn),
    free: (cpu, state, pfn) => poolRelease(cpu, state, pool, pfn),
    access: (cpu, state, pfn) => poolRead(cpu, state, pool, pfn),
  }
}

const slotFor = (pfn: Pfn): Slot => slotOf(pfn >>> 3)
const isCached = (mapping: number): boolean => mapping !== 0

/** The page cache as a driver: its pages are on the LRU, and can be mapped. */
const PAGE_CACHE: CheckedDriver = {
  name: 'page cache',
  ops: LRU_MOVABLE_OPS,
  cells: 0,
  locks: [],
  maps: true,
  listed: (mm) => pagesOn(mm, mm.lruList(0, LRU_INACTIVE_FILE)),
  insert(cpu, mm, pfn) {
    cpu.lock(mm.flags, pfn, PG_locked)
    cpu.testSet(mm.flags, pfn, PG_uptodate)
    filemapAddFolio(cpu, mm, pfn, A_FILE, slotFor(pfn))
    cpu.unlock(mm.flags, pfn, PG_locked)
    folioAddLru(cpu, mm, pfn)
    putPage(cpu, mm, pfn) // the cache has one of its own
  },
  free(cpu, mm, pfn) {
    if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
    const ours = filemapRemoveFolio(cpu, mm, pfn)
    putPage(cpu, mm, pfn)
    return ours
  },
  access(cpu, mm, pfn) {
    if (!cpu.addUnlessZero(mm.refcount, pfn)) return -1
    cpu.lock(mm.flags, pfn, PG_locked)
    const value = isCached(cpu.load(mm.mapping, pfn)) ? cpu.load(mm.content, pfn) : -1
    cpu.unlock(mm.flags, pfn, PG_locked)
    putPage(cpu, mm, pfn)
    return value
  },
}

const verdicts = ({ clauses }: ConformanceResult) =>
  Object.fromEntries(clauses.map(({ clause, verdict, why }) => [clause.name, why === '' ? verdict : why]))
const allPassed = Object.fromEntries(CLAUSES.map(({ name }) => [name, 'passed']))

const PAIRS = { ...DEFAULT_BOUNDS, actors: 2 }

test('the page pool keeps the contract', () => {
  const result = conformance(poolDriver())
  expect([result.verdict, result.error]).toEqual(['pass', undefined])
  expect(verdicts(result)).toEqual({
    ...allPassed,
    'again-means-unchanged': 'the driver never answers -EAGAIN',
    'no-parallel-update': 'the driver has no write',
  })
  expect(result.notApplicable).toEqual(['fork and exit: its pages are not mapped'])
})

test('the LRU keeps it too, with pages that are mapped (S0-19)', () => {
  const result = conformance(PAGE_CACHE, PAIRS)
  expect([result.verdict, result.error]).toEqual(['pass', undefined])
  expect(verdicts(result)).toEqual({ ...allPassed, 'no-parallel-update': 'the driver has no write' })
  expect(result.notApplicable).toEqual([])
})

test('what a mapped page lost on the way, user space sees', () => {
  const ops: CheckedDriver['ops'] = {
    ...LRU_MOVABLE_OPS,
    migratePage(cpu, mm, dst, src, mode) {
      const rc = LRU_MOVABLE_OPS.migratePage(cpu, mm, dst, src, mode)
      cpu.store(mm.content, dst, 0)
      return rc
    },
  }
  const driver = { ...PAGE_CACHE, ops }
  const mapped = scenariosOf(PAIRS, true).filter(({ given }) => given === 'mapped')
  expect(mapped.map(({ name }) => name)).toEqual([
    'compactor: the page is mapped',
    'user space, compactor: the page is mapped',
    'fork, compactor: the page is mapped',
    'exit, compactor: the page is mapped',
  ])
  const system = systemOf(driver, mapped[1], { clauses: ['accesses-halt'], onRun: () => {} })
  expect(system && check(system).counterexample?.violation.name).toBe('accesses-halt')
})

test('what lacks something is refused in one sentence, before anything runs', () => {
  const driver = poolDriver()
  const lacking = (change: object): string | undefined => conformance({ ...driver, ...change }).error
  expect(conformance(undefined)).toMatchObject({ verdict: 'error', error: 'the default export is no object' })
  expect(lacking({ access: undefined })).toBe('lacks access')
  expect(lacking({ ops: undefined })).toBe('lacks ops')
  expect(lacking({ ops: {} })).toBe(
    'lacks isolatePage, migratePage and putbackPage (or isolate, migrate and putback)',
  )
  expect(lacking({ ops: { ...driver.ops, migratePage: undefined } })).toBe('lacks migratePage')
  expect(lacking({ ops: { isolate: () => true, putback: () => {} } })).toBe('lacks migrate')
  expect(lacking({ pgty: 3 })).toBe('pgty is no page type of a driver (PGTY_*)')
  expect(lacking({ cells: -1 })).toBe('lacks cells, the number of mm.ownerCells that it uses')
  expect(lacking({ locks: [9] })).toBe('lacks locks, a list of those of its cells that are locks')
  expect(lacking({ write: 1 })).toBe('write is no function')
  expect(lacking({ cells: 257 })).toBe('cells is more than 256')
  expect(lacking({ lists: 33 })).toBe('lists is no number from 0 to 32')
  expect(lacking({ lists: '1' })).toBe('lists is no number from 0 to 32')
  expect(lacking({ maps: 'yes' })).toBe('maps is neither true nor false')
  expect(lacking({ markStays: 1 })).toBe('markStays is neither true nor false')
  expect(lacking({ maps: true })).toBe('maps with a pgty: a page with a type is never mapped')
  expect(lacking({ cells: 256, lists: 32 })).toBeUndefined()
})

test('a driver that catches what cpu throws cannot be checked', () => {
  const driver = poolDriver()
  const access: CheckedDriver['access'] = (cpu, mm, pfn) => {
    try {
      return driver.access(cpu, mm, pfn)
    } catch {
      return -1
    }
  }
  const { verdict, error } = conformance({ ...driver, access }, PAIRS)
  expect(verdict).toBe('error')
  expect(error).toContain('catches what cpu throws')
})

test('what a driver asserts, and what it throws, is reported under its own name', () => {
  const driver = poolDriver()
  const access: CheckedDriver['access'] = (cpu, mm, pfn) => {
    cpu.load(mm.flags, pfn)
    throw new RangeError('no such page')
  }
  const { verdict, others } = conformance({ ...driver, access }, PAIRS)
  expect(verdict).toBe('violated')
  expect(others[0].report.counterexample?.violation.name).toBe('threw RangeError: no such page')
})

test('what the driver does wrong while the stage is set is told by the name of its function', () => {
  const wrong = (change: Partial<CheckedDriver>): string => {
    const { verdict, error } = conformance({ ...poolDriver(), ...change }, PAIRS)
    expect(verdict).toBe('error')
    return error ?? ''
  }
  const fails = (): never => {
    throw new RangeError('oops')
  }
  const own = "of a page that is the driver's own gives"
  expect(wrong({ insert: fails })).toBe('page pool: insert() threw RangeError: oops')
  expect(wrong({ insert: () => {} })).toBe('page pool: after insert() of a page listed() does not have it')
  expect(wrong({ free: fails })).toBe('page pool: free() threw RangeError: oops')
  expect(wrong({ free: () => false })).toBe(`page pool: free() ${own} false`)
  expect(wrong({ free: () => true })).toBe(`page pool: free() ${own} true, and drops no reference`)
  expect(wrong({ listed: fails })).toBe('page pool: listed() threw RangeError: oops')
  const pool = poolDriver()
  let calls = 0
  const byChance: CheckedDriver['free'] = (cpu, mm, pfn) => {
    calls++
    return calls % 3 === 0 && pool.free(cpu, mm, pfn)
  }
  expect(wrong({ free: byChance })).toContain('page pool: free(): depends on something else')
  const isolated = scenariosOf(PAIRS, false).find(({ given }) => given === 'isolated')
  const driver = { ...pool, ops: { isolate: fails, migrate: () => 0, putback: () => {} } }
  expect(() => isolated && systemOf(driver, isolated, { clauses: [], onRun: () => {} })).toThrow(
    'page pool: isolate() threw RangeError: oops',
  )
})

test('a listed() that throws later on is told too, and is no broken clause', () => {
  const driver = poolDriver()
  const listed: CheckedDriver['listed'] = (mm) => {
    const pages = driver.listed(mm)
    if (pages.length === 0) throw new RangeError('empty')
    return pages
  }
  const { verdict, error, clauses } = conformance({ ...driver, listed }, PAIRS)
  expect([verdict, error, clauses]).toEqual(['error', 'page pool: listed() threw RangeError: empty', []])
})

test.each([
  ['by its owner', (): Isolation => REFUSED_BY_OWNER],
  ['as pinned', (): Isolation => REFUSED_PINNED],
] as const)(
  'a driver that refuses every isolation passes, but not by doing nothing (%s)',
  (_, isolatePage) => {
    const driver = poolDriver()
    const result = conformance({ ...driver, ops: { ...driver.ops, isolatePage } }, PAIRS)
    expect([result.verdict, result.error]).toEqual(['pass', undefined])
    expect(result.notExercised).toEqual([
      'one-winner',
      'no-parallel-update',
      'no-parallel-free',
      'accesses-halt',
      'owned-set-conserved',
      'again-means-unchanged',
      'putback-restores',
    ])
    expect(verdicts(result)).toMatchObject({
      'one-winner': 'the driver refuses every isolation',
      'putback-restores': 'the driver refuses every isolation',
    })
  },
)

test('a driver that refuses a page which somebody else looks at keeps the contract', () => {
  const driver = poolDriver()
  const { ops } = driver
  if (!('isolatePage' in ops)) throw new Error('the pool has MovableOps')
  const isolatePage: MovableOps['isolatePage'] = (cpu, mm, pfn, mode) =>
    cpu.load(mm.refcount, pfn) === 2 ? ops.isolatePage(cpu, mm, pfn, mode) : REFUSED_BY_OWNER
  const result = conformance({ ...driver, ops: { ...ops, isolatePage } }, PAIRS)
  expect([result.verdict, result.error]).toEqual(['pass', undefined])
  expect(verdicts(result)['one-winner']).toBe('passed')
})

test('who says that somebody else has the page, and nobody has, breaks one-winner', () => {
  const driver = poolDriver()
  const ops = { ...driver.ops, isolatePage: () => REFUSED_ISOLATED }
  const { clauses } = conformance({ ...driver, ops }, PAIRS)
  expect(clauses.filter(({ verdict }) => verdict === 'failed').map(({ clause }) => clause.name)).toEqual([
    'one-winner',
  ])
})

test('states are those of all scenarios, each counted once, also if something failed', () => {
  // Every scenario asks about locks, so that clause has the states of all.
  const ofLocks = ({ clauses }: ConformanceResult) =>
    clauses.find(({ clause }) => clause.name === 'locks-are-the-owners')?.states
  const driver = poolDriver()
  const passing = conformance(driver, PAIRS)
  expect(passing.states).toBe(ofLocks(passing))
  expect(passing.notExercised).toEqual(['no-parallel-update', 'again-means-unchanged'])
  const failing = conformance({ ...driver, access: () => -1 }, PAIRS)
  expect([failing.verdict, failing.states]).toEqual(['violated', ofLocks(failing)])
})

test('a driver that never moves a page does not pass by doing nothing', () => {
  const driver = poolDriver()
  const stays = conformance({ ...driver, ops: { ...driver.ops, migratePage: () => -16 } }, PAIRS)
  expect(verdicts(stays)['accesses-halt']).toBe('the driver never moves a page')
})

test('a search that is cut short decides nothing', () => {
  const { verdict, clauses } = conformance(poolDriver(), { ...PAIRS, statesMax: 100 })
  expect(verdict).toBe('incomplete')
  expect(clauses.map((clause) => clause.verdict)).toContain('undecided')
})

test('within smaller bounds, what needs more is not exercised', () => {
  const { clauses } = conformance(poolDriver(), { ...DEFAULT_BOUNDS, actors: 1, pages: 1 })
  const of = (name: string) => clauses.find(({ clause }) => clause.name === name)
  expect(of('putback-restores')?.scenarios).toContain('isolator that puts back')
  expect(of('accesses-halt')).toMatchObject({
    verdict: 'not exercised',
    why: 'no scenario within the bounds',
  })
})
