/**
 * The smallest driver with movable pages: a pool that keeps its pages on one list under its own lock.
 *
 * It is the second provider of the one mobility framework, and unlike the LRU in everything that could
 * differ: pages typed, not on the LRU; the page lock and a lock of its own; contents that only it
 * reaches. Pages of a captured machine whose driver's inside a capture does not show (zsmalloc, a
 * balloon) are loaded as such a pool: what compaction sees of them is the same.
 *
 * Conservation: pages on the list + isolated pages = pages of the pool, at every step.
 *
 * A typical sequence is:
 *   createPool(mm, PGTY_zsmalloc, 'zsmalloc', 0)
 *   poolInsert(cpu, mm, pool, pfn)      // an allocated page becomes the pool's; it takes over the reference
 *   poolRead(cpu, mm, pool, pfn)        // waits while the page moves
 *   poolRelease(cpu, mm, pool, pfn)     // the pool lets go of it
 *
 * Rules:
 *   - the list and the counts change under (O), the pool's lock; PG_movable_ops under (L);
 *   - a page that is isolated is on no list of the pool (its links are the isolator's), so releasing it
 *     must not unlink it.
 *
 * @kernel mm/balloon_compaction.c v6.18 has the same shape; spec S0-23, S1-10
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAdd, listDel } from '../base/list.ts'
import { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import { PG_locked, PG_movable_ops, PG_movable_ops_isolated, pageTypeValue } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { type PageLockedDriver, pageLockedOps, setMovableOps } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'

/** Cells of the arena that one pool uses. */
export const POOL_CELLS = 3

/** One pool: its page type and where its state is. */
export interface PagePool {
  readonly pgty: number
  /** List head, by number. */
  readonly list: number
  readonly lock: OwnerCell
  readonly listed: OwnerCell
  readonly isolated: OwnerCell
}

/**
 * Makes a pool the owner of all pages of a type.
 *
 * @param index  0..: which of the arena's owner lists and cells it uses (`ownerCells` >= (index + 1) * POOL_CELLS)
 */
export function createPool(mm: Mm, pgty: number, name: string, index: number): PagePool {
  const first = index * POOL_CELLS
  assert(first + POOL_CELLS <= mm.ownerCells.length, 'page_pool: the arena has cells for this pool')
  const pool: PagePool = {
    pgty,
    list: index,
    lock: ownerCellOf(first),
    listed: ownerCellOf(first + 1),
    isolated: ownerCellOf(first + 2),
  }
  setMovableOps(mm, pgty, pageLockedOps(poolDriver(pool, name)))
  return pool
}

/** Pages on the pool's list, and pages that are isolated from it. */
export const poolPages = (mm: Mm, pool: PagePool): { listed: number; isolated: number } => ({
  listed: mm.ownerCells[pool.listed],
  isolated: mm.ownerCells[pool.isolated],
})

/** Puts a page that has the pool's type on the list of pool number `index`: for loaders, before anything runs. */
export const addPoolPage = (mm: Mm, index: number, pfn: Pfn): void => {
  enlistLocked(mm, pfn, index)
}

/**
 * Gives the pool a page that the caller allocated, with its reference.
 *
 * @locks takes and drops (L), (O)
 */
export function poolInsert(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): void {
  cpu.lock(mm.flags, pfn, PG_locked)
  own(cpu, mm, pool, pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
}

/**
 * Lets go of a page: it is nobody's any more, and free once an isolator lets go of it too. False: it is not
 * the pool's, because it was released, or moved while the caller waited for it. Nothing changed.
 *
 * @locks  takes and drops (L), (O)
 * @sleeps for (L)
 */
export function poolRelease(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): boolean {
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
  cpu.lock(mm.flags, pfn, PG_locked)
  const ours = isOwn(cpu, mm, pool, pfn)
  if (ours) {
    disown(cpu, mm, pool, pfn)
    cpu.add(mm.refcount, pfn, -1) // the pool's; the one taken above is still there
  }
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
  return ours
}

/**
 * What a page of the pool holds. Waits while the page moves. -1: it is not the pool's any more; if it has
 * moved, its contents are at another page of the pool.
 *
 * @locks  takes and drops (L)
 * @sleeps for (L)
 */
export function poolRead(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): number {
  assert(mm.hasContents, 'page_pool: this machine has contents')
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return -1 // free: nobody may lock it
  cpu.lock(mm.flags, pfn, PG_locked)
  const value = isOwn(cpu, mm, pool, pfn) ? cpu.load(mm.content, pfn) : -1
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
  return value
}

/** The exact test. @locks needs (L) */
const isOwn = (cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): boolean =>
  cpu.load(mm.mapcount, pfn) === pageTypeValue(pool.pgty) && (cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0

function own(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): void {
  mark(cpu, mm, pool, pfn)
  cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, enlistLocked, mm, pfn, pool.list, 0)
}

function mark(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): void {
  cpu.store(mm.mapcount, pfn, pageTypeValue(pool.pgty))
  cpu.testSet(mm.flags, pfn, PG_movable_ops)
}

function disown(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): void {
  const isolated = (cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0
  const section = isolated ? forgetIsolatedLocked : delistLocked
  cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, section, mm, pfn, pool.list, 0)
  cpu.testClear(mm.flags, pfn, PG_movable_ops)
}

/** The pool's callbacks: all with (L) of the page held by the framework. */
function poolDriver(pool: PagePool, name: string): PageLockedDriver {
  return {
    name,
    pgty: pool.pgty,

    isolate(cpu, mm, pfn): boolean {
      cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, isolateLocked, mm, pfn, pool.list, 0)
      return true
    },

    migrate(cpu, mm, dst, src): number {
      if (mm.hasContents) cpu.store(mm.content, dst, cpu.load(mm.content, src))
      cpu.add(mm.refcount, dst, 1)
      mark(cpu, mm, pool, dst)
      cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, putbackLocked, mm, dst, pool.list, 0) // in the place of src
      cpu.add(mm.refcount, src, -1) // the pool's; the isolation's is still there
      return 0
    },

    putback(cpu, mm, pfn): void {
      cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, putbackLocked, mm, pfn, pool.list, 0)
    },
  }
}

// Sections under the pool's lock (O). The cells of pool `list` follow from its number.

const listedCell = (list: number): OwnerCell => ownerCellOf(list * POOL_CELLS + 1)
const isolatedCell = (list: number): OwnerCell => ownerCellOf(list * POOL_CELLS + 2)

function enlistLocked(mm: Mm, pfn: number, list: number): number {
  listAdd(mm.links, pfnOf(pfn), mm.ownerList(list))
  mm.ownerCells[listedCell(list)]++
  return 0
}

function delistLocked(mm: Mm, pfn: number, list: number): number {
  listDel(mm.links, pfnOf(pfn))
  mm.ownerCells[listedCell(list)]--
  return 0
}

function isolateLocked(mm: Mm, pfn: number, list: number): number {
  delistLocked(mm, pfn, list)
  mm.ownerCells[isolatedCell(list)]++
  return 0
}

function putbackLocked(mm: Mm, pfn: number, list: number): number {
  enlistLocked(mm, pfn, list)
  mm.ownerCells[isolatedCell(list)]--
  return 0
}

function forgetIsolatedLocked(mm: Mm, _pfn: number, list: number): number {
  mm.ownerCells[isolatedCell(list)]--
  return 0
}
