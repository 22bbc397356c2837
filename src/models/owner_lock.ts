/**
 * The page lock against an owner's own lock: do the same properties hold for a driver whose pages are protected by
 * a lock of its own?
 *
 * An owner keeps a book: where each of its objects is, one page each. Users write to objects, a remover lets go of
 * all, a compactor moves the pages, others isolate them and put them back. `owner-lock` keeps the book under a
 * spinlock of its own and implements `MovableOps` itself: nothing there looks at the page lock. `page-lock` keeps
 * each line of the book under the lock of the page that it names, and leaves the rest to the framework
 * (`pageLockedOps`). Tasks and properties are the same.
 *
 * Verified, for both: one isolator at most has a page; an object's page holds what was written last, so accesses
 * wait while it moves, or find it where it is then; the book, the marks on the pages and the references agree; the
 * locks are taken in order, never twice, and nobody sleeps under the spinlock.
 *
 * Not verified here: owners with lists (isolate_putback.ts), owners that refuse to move a page.
 *
 * `actors` are those beside the compactor, the first so many of: remover, writer, isolator, a second isolator.
 * `pages` are objects; the first isolator takes the page of the first one, writer and second isolator the last.
 *
 * Spec: S0-8..S0-13, S0-15, S0-23
 */

import { compactPage, isolateAndPutback } from '../actors/compactor.ts'
import type { Cpu } from '../base/cpu.ts'
import { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import type { Guard, Property, System, Task } from '../check/system.ts'
import { tryGetPage } from '../mm/gup.ts'
import { MIGRATE_SYNC, PG_locked, PG_movable_ops, PGTY_zsmalloc, pageTypeValue } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import {
  ISOLATED,
  type Isolation,
  type MovableOps,
  type PageLockedDriver,
  pageLockedOps,
  REFUSED_BY_OWNER,
  REFUSED_ISOLATED,
  setMovableOps,
} from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { oneWinner } from './marked_driver.ts'
import type { Model, ModelSize } from './model.ts'
import { isCounter, isFree, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

/** A way to protect a book: the operations of its pages, and what its users do. */
interface Protocol {
  readonly ops: MovableOps
  /** Writes to an object, wherever it is; nothing if it is gone. */
  write(cpu: Cpu, mm: Mm, object: number, value: number): void
  /** Lets go of an object. */
  release(cpu: Cpu, mm: Mm, object: number): void
  /** What guards the contents of the book's pages; undefined: the page lock, as everywhere. */
  readonly guard: Guard | undefined
}

export const ownerLock: Model = {
  name: 'owner-lock',
  question: 'Does a driver with a lock of its own, instead of the page lock, keep the contract?',
  source: 'S0-8..S0-13, S0-15, S0-23',
  seeded: {
    'recursive-page-lock': 'migrate takes the page lock, which whoever calls it holds (S0-23)',
    'sleeps-in-isolate': 'isolate waits for the page lock while it holds the spinlock',
    'isolate-unlocked': 'isolate looks at its mark and sets it without the lock',
    'copy-unlocked': 'migrate copies the page before it takes the lock that writers take',
    'migrate-without-test': 'migrate does not ask whether the object is still there',
  },
  size: { actors: 3, pages: 1 },
  sizeMax: { actors: 4, pages: 2 },
  build: (size, seeded) => bookSystem('owner-lock', size, withOwnLock(seeded)),
}

export const pageLock: Model = {
  name: 'page-lock',
  question: 'Does a driver under the page lock keep the contract, with the same users?',
  source: 'S0-8..S0-13, S0-15, S0-23',
  seeded: {
    'recursive-page-lock': 'the driver takes the page lock in migrate, where it is held already',
    'write-by-old-address': 'a writer does not look again where the object is once it has the page lock',
    'lock-without-reference': 'a writer locks the page of an object without a reference on it',
  },
  size: { actors: 3, pages: 1 },
  sizeMax: { actors: 4, pages: 2 },
  build: (size, seeded) => bookSystem('page-lock', size, underPageLock(seeded)),
}

// The book: cells of the owner. Cell 0 is the lock of `owner-lock`.

const LOCK = ownerCellOf(0)
const CELLS = 3
/** The page of an object; 0: there is none. */
const placeOf = (object: number): OwnerCell => ownerCellOf(object * CELLS + 1)
/** 1: the page of an object is isolated. */
const isolatedOf = (object: number): OwnerCell => ownerCellOf(object * CELLS + 2)
/** What was written last to an object: for properties. */
const lastOf = (object: number): OwnerCell => ownerCellOf(object * CELLS + 3)
const isPlace = (cell: number): boolean => cell % CELLS === 1

const TYPE = pageTypeValue(PGTY_zsmalloc)

function bookSystem(name: string, { actors, pages: count }: ModelSize, protocol: Protocol): System<Mm> {
  const { mm, pages, spares } = smallMachine(count, count, { ownerCells: count * CELLS + 1 })
  const objects = pages.map((_, object) => object)
  setMovableOps(mm, PGTY_zsmalloc, protocol.ops)
  pages.forEach((pfn, object) => {
    mm.mapcount[pfn] = TYPE
    mm.flags[pfn] = PG_movable_ops
    mm.ownerCells[placeOf(object)] = pfn
    mm.ownerCells[lastOf(object)] = mm.content[pfn]
  })
  const all = [...pages, ...spares]
  return {
    name,
    state: mm,
    tasks: [
      {
        name: 'compactor',
        run: (cpu, state) => {
          pages.forEach((src, i) => {
            cpu.at('next', src)
            compactPage(cpu, state, src, spares[i], MIGRATE_SYNC)
          })
        },
      },
      ...othersOf(pages, protocol).slice(0, actors),
    ],
    invariants: [oneWinner(all), noWriteLost(objects)],
    atEnd: [
      {
        name: 'freed-once',
        says: 'when all objects are gone all their pages are free, once',
        holds: (state) => all.every((pfn) => isFree(state, pfn)),
      },
    ],
    locks: lockRulesOf(mm, (column, index) => {
      if (column === 'content') return protocol.guard
      return column === 'ownerCells' && isPlace(index) ? protocol.guard : undefined
    }),
    isPrivate: isCounter,
    valueText: driverText,
  }
}

function othersOf(pages: readonly Pfn[], protocol: Protocol): Task<Mm>[] {
  const last = pages.length - 1
  return [
    {
      name: 'remover',
      run: (cpu, mm) => {
        pages.forEach((_, object) => {
          cpu.at('releasing', object)
          protocol.release(cpu, mm, object)
        })
      },
    },
    { name: 'writer', run: (cpu, mm) => protocol.write(cpu, mm, last, 200) },
    { name: 'isolator', run: (cpu, mm) => isolateAndPutback(cpu, mm, pages[0]) },
    { name: 'isolator of the last', run: (cpu, mm) => isolateAndPutback(cpu, mm, pages[last]) },
  ]
}

const noWriteLost = (objects: readonly number[]): Property<Mm> => ({
  name: 'no-write-lost',
  says: 'the page of an object holds what was written to it last',
  holds: ({ ownerCells, content }) =>
    objects.every((object) => {
      const pfn = pfnOf(ownerCells[placeOf(object)])
      return pfn === 0 || content[pfn] === ownerCells[lastOf(object)]
    }),
})

/** Object on that page, or -1. The caller holds what keeps the line of the book that names it. */
function objectOn(cpu: Cpu, mm: Mm, pfn: Pfn): number {
  const objects = (mm.ownerCells.length - 1) / CELLS
  for (let object = 0; object < objects; object++) {
    if (cpu.load(mm.ownerCells, placeOf(object)) === pfn) return object
  }
  return -1
}

/** One step of a writer that has the page: contents, and what properties know of them. */
function writeObject(cpu: Cpu, mm: Mm, object: number, pfn: Pfn, value: number): void {
  cpu.atomically(mm.content, pfn, 0, writeLocked, mm, object, pfn, value)
}

function writeLocked(mm: Mm, object: number, pfn: number, value: number): number {
  mm.content[pfnOf(pfn)] = value
  mm.ownerCells[lastOf(object)] = value
  return 0
}

/** Makes `dst` the page of an object that was on `src`. The caller copies. */
function moveObject(cpu: Cpu, mm: Mm, object: number, dst: Pfn, src: Pfn): void {
  cpu.store(mm.mapcount, dst, TYPE)
  cpu.testSet(mm.flags, dst, PG_movable_ops)
  cpu.add(mm.refcount, dst, 1)
  cpu.store(mm.ownerCells, placeOf(object), dst)
  cpu.add(mm.refcount, src, -1) // the owner's; the isolation's is still there
}

function copy(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): void {
  cpu.store(mm.content, dst, cpu.load(mm.content, src))
}

// A lock of its own: one spinlock for the book and for the contents of all its pages.

const lockBook = (cpu: Cpu, mm: Mm): void => cpu.lock(mm.ownerCells, LOCK, SPIN_LOCKED)
const unlockBook = (cpu: Cpu, mm: Mm): void => cpu.unlock(mm.ownerCells, LOCK, SPIN_LOCKED)

const OWN_LOCK_OPS: MovableOps = {
  name: 'book',

  isolatePage(cpu, mm, pfn): Isolation {
    lockBook(cpu, mm)
    const answer = isolateLocked(cpu, mm, pfn)
    unlockBook(cpu, mm)
    return answer
  },

  migratePage(cpu, mm, dst, src): number {
    lockBook(cpu, mm)
    const object = objectOn(cpu, mm, src)
    if (object >= 0) {
      copy(cpu, mm, dst, src)
      moveObject(cpu, mm, object, dst, src)
      cpu.testClear(mm.flags, src, PG_movable_ops)
      cpu.store(mm.ownerCells, isolatedOf(object), 0)
    }
    unlockBook(cpu, mm)
    return 0 // also where the object is gone: then there is nothing to move
  },

  putbackPage(cpu, mm, pfn): void {
    lockBook(cpu, mm)
    const object = objectOn(cpu, mm, pfn)
    if (object >= 0) cpu.store(mm.ownerCells, isolatedOf(object), 0)
    unlockBook(cpu, mm)
  },
}

function isolateLocked(cpu: Cpu, mm: Mm, pfn: Pfn): Isolation {
  const object = objectOn(cpu, mm, pfn)
  if (object < 0) return REFUSED_BY_OWNER
  if (cpu.load(mm.ownerCells, isolatedOf(object)) !== 0) return REFUSED_ISOLATED
  cpu.store(mm.ownerCells, isolatedOf(object), 1)
  return ISOLATED
}

const OWN_LOCK: Protocol = {
  ops: OWN_LOCK_OPS,
  guard: { anyOf: [['ownerCells', LOCK, SPIN_LOCKED]] },

  write(cpu, mm, object, value) {
    lockBook(cpu, mm)
    const pfn = pfnOf(cpu.load(mm.ownerCells, placeOf(object)))
    if (pfn !== 0) writeObject(cpu, mm, object, pfn, value)
    unlockBook(cpu, mm)
  },

  release(cpu, mm, object) {
    lockBook(cpu, mm)
    const pfn = pfnOf(cpu.load(mm.ownerCells, placeOf(object)))
    cpu.store(mm.ownerCells, placeOf(object), 0)
    cpu.testClear(mm.flags, pfn, PG_movable_ops)
    unlockBook(cpu, mm)
    putPage(cpu, mm, pfn)
  },
}

// The page lock: the line of an object, and its contents, belong to whoever has the lock of its page.

const PAGE_LOCK_DRIVER: PageLockedDriver = {
  name: 'book',
  pgty: PGTY_zsmalloc,
  isolate: () => true,
  putback: () => {},

  migrate(cpu, mm, dst, src): number {
    copy(cpu, mm, dst, src)
    moveObject(cpu, mm, objectOn(cpu, mm, src), dst, src)
    return 0
  },
}

const PAGE_LOCK: Protocol = {
  ops: pageLockedOps(PAGE_LOCK_DRIVER),
  guard: undefined,

  write(cpu, mm, object, value) {
    const pfn = lockObject(cpu, mm, object)
    if (pfn === 0) return
    writeObject(cpu, mm, object, pfn, value)
    unlockObject(cpu, mm, pfn)
  },

  release(cpu, mm, object) {
    const pfn = lockObject(cpu, mm, object)
    if (pfn === 0) return
    cpu.store(mm.ownerCells, placeOf(object), 0)
    cpu.testClear(mm.flags, pfn, PG_movable_ops)
    cpu.add(mm.refcount, pfn, -1) // the owner's; the one of lockObject() is still there
    unlockObject(cpu, mm, pfn)
  },
}

/** Locks the page of an object and takes a reference on it. 0: the object is gone. @sleeps for (L) */
function lockObject(cpu: Cpu, mm: Mm, object: number): Pfn {
  for (;;) {
    // Each round either ends or has seen the object move.
    cpu.at('finding', object)
    const pfn = pfnOf(cpu.load(mm.ownerCells, placeOf(object)))
    if (pfn === 0) return pfn
    if (!tryGetPage(cpu, mm, pfn)) continue
    cpu.lock(mm.flags, pfn, PG_locked)
    if (cpu.load(mm.ownerCells, placeOf(object)) === pfn) return pfn
    unlockObject(cpu, mm, pfn)
  }
}

function unlockObject(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
}

// The mistakes.

function withOwnLock(seeded: string | undefined): Protocol {
  switch (seeded) {
    case 'recursive-page-lock':
      return { ...OWN_LOCK, ops: { ...OWN_LOCK_OPS, migratePage: migrateLocking } }
    case 'sleeps-in-isolate':
      return { ...OWN_LOCK, ops: { ...OWN_LOCK_OPS, isolatePage: isolateSleeping } }
    case 'isolate-unlocked':
      return { ...OWN_LOCK, ops: { ...OWN_LOCK_OPS, isolatePage: isolateLocked } }
    case 'copy-unlocked':
      return { ...OWN_LOCK, ops: { ...OWN_LOCK_OPS, migratePage: migrateCopyingEarly }, guard: undefined }
    case 'migrate-without-test':
      return { ...OWN_LOCK, ops: { ...OWN_LOCK_OPS, migratePage: migrateAnyway } }
    default:
      return OWN_LOCK
  }
}

function migrateLocking(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): number {
  cpu.lock(mm.flags, src, PG_locked)
  const rc = OWN_LOCK_OPS.migratePage(cpu, mm, dst, src, MIGRATE_SYNC)
  cpu.unlock(mm.flags, src, PG_locked)
  return rc
}

function isolateSleeping(cpu: Cpu, mm: Mm, pfn: Pfn): Isolation {
  lockBook(cpu, mm)
  cpu.waitClear(mm.flags, pfn, PG_locked)
  const answer = isolateLocked(cpu, mm, pfn)
  unlockBook(cpu, mm)
  return answer
}

function migrateCopyingEarly(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): number {
  copy(cpu, mm, dst, src)
  lockBook(cpu, mm)
  const object = objectOn(cpu, mm, src)
  if (object >= 0) {
    moveObject(cpu, mm, object, dst, src)
    cpu.testClear(mm.flags, src, PG_movable_ops)
    cpu.store(mm.ownerCells, isolatedOf(object), 0)
  }
  unlockBook(cpu, mm)
  return 0
}

/** Believes that an isolated page stays its own. */
function migrateAnyway(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): number {
  lockBook(cpu, mm)
  copy(cpu, mm, dst, src)
  moveObject(cpu, mm, 0, dst, src)
  cpu.testClear(mm.flags, src, PG_movable_ops)
  cpu.store(mm.ownerCells, isolatedOf(0), 0)
  unlockBook(cpu, mm)
  return 0
}

function underPageLock(seeded: string | undefined): Protocol {
  switch (seeded) {
    case 'recursive-page-lock':
      return { ...PAGE_LOCK, ops: pageLockedOps({ ...PAGE_LOCK_DRIVER, migrate: migrateRelocking }) }
    case 'write-by-old-address':
      return { ...PAGE_LOCK, write: writeByOldAddress }
    case 'lock-without-reference':
      return { ...PAGE_LOCK, write: writeWithoutReference }
    default:
      return PAGE_LOCK
  }
}

function migrateRelocking(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): number {
  cpu.lock(mm.flags, src, PG_locked)
  const rc = PAGE_LOCK_DRIVER.migrate(cpu, mm, dst, src, MIGRATE_SYNC)
  cpu.unlock(mm.flags, src, PG_locked)
  return rc
}

function writeByOldAddress(cpu: Cpu, mm: Mm, object: number, value: number): void {
  const pfn = pfnOf(cpu.load(mm.ownerCells, placeOf(object)))
  if (pfn === 0 || !tryGetPage(cpu, mm, pfn)) return
  cpu.lock(mm.flags, pfn, PG_locked)
  writeObject(cpu, mm, object, pfn, value)
  unlockObject(cpu, mm, pfn)
}

function writeWithoutReference(cpu: Cpu, mm: Mm, object: number, value: number): void {
  const pfn = pfnOf(cpu.load(mm.ownerCells, placeOf(object)))
  if (pfn === 0) return
  cpu.lock(mm.flags, pfn, PG_locked)
  const there = cpu.load(mm.ownerCells, placeOf(object)) === pfn
  if (there) writeObject(cpu, mm, object, pfn, value)
  cpu.unlock(mm.flags, pfn, PG_locked)
}
