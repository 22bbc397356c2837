/**
 * Whole-page migration against the users of zsmalloc: does every object stay what it is while the pages of its zspage
 * move, and is the zspage freed once?
 *
 * One zspage of two pages. An object begins on its first page and ends on its second; there is room for others. A user
 * maps it, writes to both pages, lets go of it and frees it; a compactor moves the first page, or one after the other;
 * another isolator has the second page for a while; an allocator wants a new object of the same size, and frees it.
 *
 * Verified: what was written to the object last is on both pages of its zspage, whenever nobody is writing; a zspage with
 * an isolated page gets no new object; one isolator at most has a page; at the end all pages are free, once, or the zspage
 * is empty and listed and waits for the worker.
 *
 * Not verified here: the worker itself (zsmalloc.test.ts), object compaction, other sizes, a pool that grows.
 *
 * `actors` are those beside the compactor, the first so many of: user, allocator, isolator. `pages` are those that the
 * compactor moves.
 *
 * Spec: S0-25, section 2.2
 */

import { compactPage, isolateAndPutback } from '../actors/compactor.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { listDel } from '../base/list.ts'
import { cellsOf, type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import type { LockRules, Property, System, Task } from '../check/system.ts'
import { MIGRATE_SYNC, PG_locked, PG_movable_ops, PG_private, PGTY_zsmalloc } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import {
  ISOLATED,
  type MovableOps,
  type PageLockedDriver,
  pageLockedOps,
  REFUSED_BY_OWNER,
  REFUSED_LOCKED,
  setMovableOps,
} from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import {
  classCell,
  HANDLE_PFN,
  handleCell,
  layOutZsPool,
  pageCell,
  poolCell,
  ZS_DEFERRED,
  ZSPAGE_ACCESSORS,
  ZSPAGE_CLASS,
  ZSPAGE_INUSE,
  ZSPAGE_ISOLATED,
  type ZsPool,
  zsPoolCells,
  zspageCell,
  zspageOfPage,
} from '../owners/zs_pool.ts'
import { classIndexOf } from '../owners/zs_size_classes.ts'
import { zsDriver, zsFree, zsMalloc, zsMapObject, zsUnmapObject } from '../owners/zsmalloc.ts'
import { freeObjLocked, mallocLocked } from '../owners/zspage.ts'
import { oneWinner } from './marked_driver.ts'
import type { Model, ModelSize } from './model.ts'
import { isCounter, isFree, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

export const zsmalloc: Model = {
  name: 'zsmalloc',
  question: 'Does every object of zsmalloc stay what it is while the pages of its zspage move?',
  source: 'S0-25, section 2.2',
  seeded: {
    'freed-under-migration': 'the last object’s free lets go of the zspage without trying its page locks',
    'mapped-uncounted': 'who maps an object is not counted, so a move does not see him',
    'stays-listed': 'isolation of a page leaves the zspage on its list: a new object gets in',
    'no-isolated-mark': 'isolation does not mark the page, and takes it once more',
    'handles-kept': 'a move leaves the handles of the objects that begin on the page as they were',
  },
  size: { actors: 3, pages: 1 },
  sizeMax: { actors: 3, pages: 2 },
  build: (size, seeded) => zspageSystem(size, variant(seeded)),
}

/** What may be wrong. */
interface Variant {
  readonly driver: (zs: number) => MovableOps
  readonly free: (cpu: Cpu, mm: Mm, pool: ZsPool, handle: number) => void
  readonly map: (cpu: Cpu, mm: Mm, pool: ZsPool, handle: number) => number
  readonly unmap: (cpu: Cpu, mm: Mm, pool: ZsPool, zspage: number) => void
}

const SPEC = { objectsMax: 3, zspagesMax: 1, chainSize: 2 }
/** Three are in two pages, and the second begins on the first and ends on the second. */
const OBJECT_BYTES = 2700
const ZSPAGE = 1

// What properties know, in cells after the pool's.
const POOL_END = zsPoolCells(SPEC)
/** What was written last, and that somebody is writing. */
const LAST = ownerCellOf(POOL_END)
const WRITING = ownerCellOf(POOL_END + 1)
/** Isolated pages of the zspage when it last got an object. */
const ISOLATED_THEN = ownerCellOf(POOL_END + 2)

interface Built {
  readonly pool: ZsPool
  readonly handle: number
  readonly pages: readonly Pfn[]
  readonly spares: readonly Pfn[]
}

function zspageSystem({ actors, pages: moving }: ModelSize, wrong: Variant): System<Mm> {
  const { mm, pages, spares } = smallMachine(2, moving, { ownerCells: POOL_END + 3 })
  const pool = layOutZsPool(mm, { cell: 0, list: 0 }, SPEC)
  setMovableOps(mm, PGTY_zsmalloc, wrong.driver(pool.zs))
  const setup = new FastCpu()
  for (const pfn of pages) putPage(setup, mm, pfn)
  const before = zsMalloc(setup, mm, pool, OBJECT_BYTES)
  const handle = zsMalloc(setup, mm, pool, OBJECT_BYTES)
  zsFree(setup, mm, pool, before)
  const own = [0, 1].map((page) => pfnOf(mm.ownerCells[pageOf(mm, pool, page)]))
  for (const pfn of own) mm.content[pfn] = 100
  mm.ownerCells[LAST] = 100
  const built: Built = { pool, handle, pages: own, spares }
  const all = [...own, ...spares]
  return {
    name: 'zsmalloc',
    state: mm,
    tasks: [compactor(built, moving), ...othersOf(built, wrong).slice(0, actors)],
    invariants: [oneWinner(all), noWriteLost(built), isolatedIsClosed],
    atEnd: [nothingIsLost(built)],
    locks: unguardedContents(mm),
    isPrivate: isCounter,
    valueText: driverText,
  }
}

const compactor = ({ pages, spares }: Built, moving: number): Task<Mm> => ({
  name: 'compactor',
  run: (cpu, mm) => {
    pages.slice(0, moving).forEach((src, i) => {
      cpu.at('next', src)
      compactPage(cpu, mm, src, spares[i], MIGRATE_SYNC)
    })
  },
})

function othersOf({ pool, handle, pages }: Built, wrong: Variant): Task<Mm>[] {
  return [
    {
      name: 'user',
      run: (cpu, mm) => {
        const zspage = wrong.map(cpu, mm, pool, handle)
        writeObject(cpu, mm, pool, handle)
        wrong.unmap(cpu, mm, pool, zspage)
        cpu.at('written')
        wrong.free(cpu, mm, pool, handle)
      },
    },
    {
      name: 'allocator',
      run: (cpu, mm) => {
        const klass = classCell(pool, classIndexOf(pool.classes, OBJECT_BYTES))
        const got = cpu.atomically(
          mm.ownerCells,
          pool.lock,
          SPIN_LOCKED,
          mallocWatchedLocked,
          mm,
          pool.zs,
          klass,
          0,
        )
        if (got > 0) wrong.free(cpu, mm, pool, got)
      },
    },
    { name: 'isolator', run: (cpu, mm) => isolateAndPutback(cpu, mm, pages[1]) },
  ]
}

/** Both halves of the object, a step each. The caller has it mapped. */
function writeObject(cpu: Cpu, mm: Mm, pool: ZsPool, handle: number): void {
  cpu.store(mm.ownerCells, WRITING, 1)
  const at = handleCell(cellsOf(mm.ownerCells), pool.zs, handle)
  const first = pfnOf(cpu.load(mm.ownerCells, ownerCellOf(at + HANDLE_PFN)))
  const second = pfnOf(cpu.load(mm.ownerCells, pageOf(mm, pool, 1)))
  cpu.store(mm.content, first, 200)
  cpu.atomically(mm.content, second, 0, finishWriting, mm, second, 200, 0)
}

function finishWriting(mm: Mm, second: number, value: number): number {
  mm.content[pfnOf(second)] = value
  mm.ownerCells[LAST] = value
  mm.ownerCells[WRITING] = 0
  return 0
}

/** The first step of zsMalloc(), and how many pages were isolated then. */
function mallocWatchedLocked(mm: Mm, zs: number, klass: number): number {
  const cells = cellsOf(mm.ownerCells)
  const isolated = cells[zspageCell(cells, zs, ZSPAGE) + ZSPAGE_ISOLATED]
  const handle = mallocLocked(mm, zs, klass)
  if (handle > 0) mm.ownerCells[ISOLATED_THEN] = isolated
  return handle
}

const pageOf = (mm: Mm, pool: ZsPool, page: number): OwnerCell =>
  ownerCellOf(pageCell(cellsOf(mm.ownerCells), pool.zs, ZSPAGE, page))

// What must hold.

const noWriteLost = ({ pool, handle }: Built): Property<Mm> => ({
  name: 'no-write-lost',
  says: 'while the object is there, both pages of its zspage hold what was written to it last',
  holds: ({ ownerCells, content }) => {
    const cells = cellsOf(ownerCells)
    const there = cells[handleCell(cells, pool.zs, handle) + HANDLE_PFN] !== 0
    if (!there || ownerCells[WRITING] !== 0) return true
    return [0, 1].every(
      (page) => content[pfnOf(cells[pageCell(cells, pool.zs, ZSPAGE, page)])] === ownerCells[LAST],
    )
  },
})

const isolatedIsClosed: Property<Mm> = {
  name: 'isolated-is-closed',
  says: 'a zspage with an isolated page gets no new object',
  holds: ({ ownerCells }) => ownerCells[ISOLATED_THEN] === 0,
}

const nothingIsLost = ({ pool, pages, spares }: Built): Property<Mm> => ({
  name: 'nothing-lost',
  says: 'at the end all pages are free, once, or of the zspage: with its object, or empty and left to the worker',
  holds: (mm) => {
    const cells = cellsOf(mm.ownerCells)
    const at = zspageCell(cells, pool.zs, ZSPAGE)
    const there = cells[at + ZSPAGE_CLASS] !== 0
    if (there && (cells[at + ZSPAGE_ISOLATED] !== 0 || cells[at + ZSPAGE_ACCESSORS] !== 0)) return false
    if (there && cells[at + ZSPAGE_INUSE] === 0 && mm.ownerCells[poolCell(pool, ZS_DEFERRED)] === 0)
      return false
    return [...pages, ...spares].every((pfn) => {
      if (there && (cells[pageOf(mm, pool, 0)] === pfn || cells[pageOf(mm, pool, 1)] === pfn)) {
        return mm.refcount[pfn] === 1 && zspageOfPage(mm, pfn) === ZSPAGE
      }
      return isFree(mm, pfn)
    })
  },
})

/** Contents are guarded by the count of a zspage, which is no lock that the audit could look for: no-write-lost does. */
function unguardedContents(mm: Mm): LockRules {
  const rules = lockRulesOf(mm)
  return {
    ...rules,
    guardOf: (column, index) => (column === 'content' ? undefined : rules.guardOf(column, index)),
  }
}

// The mistakes.

const RIGHT: Variant = {
  driver: (zs) => pageLockedOps(zsDriver(zs)),
  free: zsFree,
  map: zsMapObject,
  unmap: zsUnmapObject,
}

function variant(seeded: string | undefined): Variant {
  switch (seeded) {
    case 'freed-under-migration':
      return { ...RIGHT, free: freeWithoutPageLocks }
    case 'mapped-uncounted':
      return { ...RIGHT, map: lookUp, unmap: () => {} }
    case 'stays-listed':
      return { ...RIGHT, driver: (zs) => pageLockedOps(withIsolate(zs, isolateListedLocked)) }
    case 'no-isolated-mark':
      return { ...RIGHT, driver: unmarkedOps }
    case 'handles-kept':
      return { ...RIGHT, driver: (zs) => pageLockedOps(withMigrate(zs)) }
    default:
      return RIGHT
  }
}

function freeWithoutPageLocks(cpu: Cpu, mm: Mm, pool: ZsPool, handle: number): void {
  const { zs, lock } = pool
  const last = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, freeAndUnlinkLocked, mm, zs, handle, 0)
  if (last === 0) return
  for (const page of [0, 1]) {
    const pfn = pfnOf(cpu.load(mm.ownerCells, pageOf(mm, pool, page)))
    cpu.testClear(mm.flags, pfn, PG_movable_ops | PG_private)
    putPage(cpu, mm, pfn)
  }
}

/** 1: the zspage is empty, and gone. */
function freeAndUnlinkLocked(mm: Mm, zs: number, handle: number): number {
  const cells = cellsOf(mm.ownerCells)
  const at = zspageCell(cells, zs, ZSPAGE)
  freeObjLocked(mm, zs, handle)
  if (cells[at + ZSPAGE_INUSE] !== 0) return 0
  if (cells[at + ZSPAGE_ISOLATED] === 0) listDel(cells, at >> 1)
  cells[at + ZSPAGE_CLASS] = 0
  return 1
}

function lookUp(cpu: Cpu, mm: Mm, pool: ZsPool, handle: number): number {
  const at = handleCell(cellsOf(mm.ownerCells), pool.zs, handle)
  return cpu.load(mm.private, pfnOf(cpu.load(mm.ownerCells, ownerCellOf(at + HANDLE_PFN))))
}

/** The driver with another section for isolation. */
function withIsolate(zs: number, section: (mm: Mm, zs: number, pfn: number) => number): PageLockedDriver {
  return {
    ...zsDriver(zs),
    isolate: (cpu, mm, pfn) =>
      cpu.atomically(mm.ownerCells, ownerCellOf(zs), SPIN_LOCKED, section, mm, zs, pfn, 0) === 1,
  }
}

function isolateListedLocked(mm: Mm, zs: number, pfn: number): number {
  const cells = cellsOf(mm.ownerCells)
  const at = zspageCell(cells, zs, zspageOfPage(mm, pfn))
  if (cells[at + ZSPAGE_CLASS] === 0 || cells[at + ZSPAGE_INUSE] === 0) return 0
  cells[at + ZSPAGE_ISOLATED]++
  return 1
}

/** Isolation under the page lock, without PG_movable_ops_isolated. */
function unmarkedOps(zs: number): MovableOps {
  const driver = zsDriver(zs)
  return {
    ...pageLockedOps(driver),
    isolatePage(cpu, mm, pfn, mode) {
      if (!cpu.tryLock(mm.flags, pfn, PG_locked)) return REFUSED_LOCKED
      const ours = (cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0
      const taken = ours && driver.isolate(cpu, mm, pfn, mode)
      cpu.unlock(mm.flags, pfn, PG_locked)
      return taken ? ISOLATED : REFUSED_BY_OWNER
    },
  }
}

/** The driver whose moves do not touch handles. */
function withMigrate(zs: number): PageLockedDriver {
  const driver = zsDriver(zs)
  return {
    ...driver,
    migrate(cpu, mm, dst, src, mode) {
      const rc = driver.migrate(cpu, mm, dst, src, mode)
      if (rc === 0)
        cpu.atomically(mm.ownerCells, ownerCellOf(zs), SPIN_LOCKED, oldHandlesLocked, mm, zs, dst, src)
      return rc
    },
  }
}

function oldHandlesLocked(mm: Mm, zs: number, dst: number, src: number): number {
  const cells = cellsOf(mm.ownerCells)
  for (let handle = 1; handle <= SPEC.objectsMax; handle++) {
    const cell = handleCell(cells, zs, handle) + HANDLE_PFN
    if (cells[cell] === dst) cells[cell] = src
  }
  return 0
}
