/**
 * zsmalloc: memory for objects of any size up to a page, in zspages of several single pages. What zram keeps.
 *
 * An object is known by its handle, never by an address: it may move, with its page (migration, for free blocks of
 * memory) or alone into another zspage (zs_compact.ts, for fewer pages). The two are different things: the first frees
 * no page and needs a free one, the second frees pages and leaves them where they happen to lie.
 *
 * A typical sequence is:
 *   pool = createZsPool(mm, place, { objectsMax: 1000 })
 *   handle = zsMalloc(cpu, mm, pool, 700)          // < 0: why not
 *   zspage = zsMapObject(cpu, mm, pool, handle)    // nothing of the zspage moves until
 *   zsUnmapObject(cpu, mm, pool, zspage)
 *   zsFree(cpu, mm, pool, handle)
 *   zsFreeDeferred(cpu, mm, pool)                  // the worker: what zsFree had to leave
 *
 * Who excludes whom:
 *   | who                | holds                                             | so that                                     |
 *   |--------------------|---------------------------------------------------|---------------------------------------------|
 *   | malloc, free       | (O)                                               | lists, slots and handles agree              |
 *   | an accessor        | its count in the zspage, taken under (O)          | no page and no object of the zspage moves   |
 *   | migration          | (L) of both pages by the framework, (O); no count | nobody reads what moves; else -EAGAIN       |
 *   | object move        | (O); no count                                     | the same                                    |
 *   | freeing a zspage   | (L) of all its pages, tried under (O)             | no page of it is isolated any more          |
 *
 * Rules:
 *   - isolating a page counts in its zspage, so that its other pages can be isolated too; a zspage with an isolated page
 *     is on no list: it gets no new objects and is not freed. The kernel did so from v4.8 on; it stopped counting in
 *     v6.9, when (L) and the class lock had come to exclude all that could go wrong;
 *   - whoever maps an object frees it not, and maps no second one of which he does not know that it is elsewhere.
 *
 * Here there is one (O) lock, where v6.18 has a rwlock for the pool, a lock a class, and a reader count a zspage.
 *
 * @kernel mm/zsmalloc.c v6.18; commit 48b4800a1c6a (v4.8) for isolation; spec S0-25
 */

import type { Cpu } from '../base/cpu.ts'
import { cellsOf, type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import {
  EINVAL,
  ENOMEM,
  ENOSPC,
  PG_locked,
  PG_movable_ops,
  PG_private,
  PGTY_zsmalloc,
  pageTypeValue,
} from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { type PageLockedDriver, pageLockedOps, setMovableOps } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { allocPages } from '../mm/slowpath.ts'
import type { OwnerPlace } from './place.ts'
import {
  CLASS_PAGES,
  classCell,
  layOutZsPool,
  pageCell,
  poolCell,
  putZspageRecordLocked,
  takeZspageRecordLocked,
  ZS_DEFERRED,
  ZS_LOCK,
  ZS_PAGES,
  ZSPAGE_ACCESSORS,
  ZSPAGE_CLASS,
  type ZsPool,
  type ZsPoolSpec,
  zspageCell,
} from './zs_pool.ts'
import { classIndexOf, ZS_MAX_ALLOC_SIZE } from './zs_size_classes.ts'
import {
  addZspageLocked,
  firstEmptyLocked,
  freeObjLocked,
  isListedEmptyLocked,
  isolateLocked,
  mallocLocked,
  mapLocked,
  migrateLocked,
  NO_HANDLE,
  NO_ZSPAGE,
  putbackLocked,
  removeZspageLocked,
} from './zspage.ts'

/** A pool that owns all pages of type zsmalloc. `spec` says how many cells it needs: zsPoolCells(). */
export function createZsPool(mm: Mm, place: OwnerPlace, spec: ZsPoolSpec): ZsPool {
  const pool = layOutZsPool(mm, place, spec)
  setMovableOps(mm, PGTY_zsmalloc, pageLockedOps(zsDriver(pool.zs)))
  return pool
}

/** Pages of the pool. @kernel zs_get_total_pages() */
export const zsTotalPages = (cpu: Cpu, mm: Mm, pool: ZsPool): number =>
  cpu.load(mm.ownerCells, poolCell(pool, ZS_PAGES))

/**
 * Allocates an object of `size` bytes. Gives its handle.
 *
 * @locks   takes and drops (O); (L) of new pages, which nobody else can have
 * @sleeps  if its pages have to be reclaimed
 * @errors  -EINVAL, -ENOSPC: no such size. -ENOMEM: no pages, or no handle is left. Nothing has changed.
 * @kernel  zs_malloc()
 */
export function zsMalloc(cpu: Cpu, mm: Mm, pool: ZsPool, size: number): number {
  if (size <= 0) return -EINVAL
  if (size > ZS_MAX_ALLOC_SIZE) return -ENOSPC
  const { zs, lock } = pool
  const index = classIndexOf(pool.classes, size)
  const klass = classCell(pool, index)
  const handle = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, mallocLocked, mm, zs, klass, 0)
  if (handle === NO_HANDLE) return -ENOMEM
  if (handle !== NO_ZSPAGE) return handle
  const zspage = allocZspage(cpu, mm, pool, klass)
  if (zspage < 0) return zspage
  const first = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, addZspageLocked, mm, zs, klass, zspage)
  if (first !== NO_HANDLE) return first
  freeZspage(cpu, mm, pool, zspage)
  return -ENOMEM
}

/**
 * A zspage with its pages, which nobody finds yet. @errors -ENOMEM: nothing is left of it
 *
 * @kernel alloc_zspage(), create_page_chain(), SetZsPageMovable()
 */
function allocZspage(cpu: Cpu, mm: Mm, pool: ZsPool, klass: number): number {
  const { zs, lock } = pool
  const zspage = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, takeZspageRecordLocked, mm, zs, 0, 0)
  if (zspage === 0) return -ENOMEM
  const pages = cpu.load(mm.ownerCells, ownerCellOf(klass + CLASS_PAGES))
  for (let page = 0; page < pages; page++) {
    const got = allocPages(cpu, mm, pool.gfp, 0, pool.node)
    if (got < 0) {
      for (let taken = 0; taken < page; taken++) {
        cpu.lock(mm.flags, pageOf(cpu, mm, zs, zspage, taken), PG_locked)
      }
      freePages(cpu, mm, pool, zspage, page)
      return -ENOMEM
    }
    const pfn = pfnOf(got)
    cpu.lock(mm.flags, pfn, PG_locked)
    cpu.store(mm.private, pfn, zspage)
    cpu.store(mm.ownerCells, zspagePageCell(mm, zs, zspage, page), pfn)
    markPage(cpu, mm, pool, pfn, page === 0)
    cpu.unlock(mm.flags, pfn, PG_locked)
  }
  return zspage
}

/** The first page of a zspage has PG_private. */
function markPage(cpu: Cpu, mm: Mm, pool: ZsPool, pfn: Pfn, first: boolean): void {
  const movable = pool.movable ? PG_movable_ops : 0
  cpu.store(mm.mapcount, pfn, pageTypeValue(PGTY_zsmalloc))
  cpu.testSet(mm.flags, pfn, movable | (first ? PG_private : 0))
}

/**
 * Frees an object. Its zspage goes too if that was its last one, unless somebody has a page of it locked or isolated: then
 * it is left to zsFreeDeferred(), or to a new object.
 *
 * @locks  takes and drops (O); trylocks (L) of the zspage's pages
 * @kernel zs_free()
 */
export function zsFree(cpu: Cpu, mm: Mm, pool: ZsPool, handle: number): void {
  const { zs, lock } = pool
  const empty = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, freeObjLocked, mm, zs, handle, 0)
  if (empty !== 0) freeZspage(cpu, mm, pool, empty)
}

/**
 * Frees a zspage if it is empty, listed, and none of its pages is locked. Gives how many pages that was.
 *
 * @locks  takes and drops (O); under it trylocks (L) of all its pages
 * @kernel free_zspage()
 */
export function freeZspage(cpu: Cpu, mm: Mm, pool: ZsPool, zspage: number): number {
  const { zs, lock } = pool
  cpu.lock(mm.ownerCells, lock, SPIN_LOCKED)
  const empty = cpu.atomically(mm.ownerCells, lock, 0, isListedEmptyLocked, mm, zs, zspage, 0)
  const pages = empty === 0 ? 0 : trylockZspage(cpu, mm, zs, zspage)
  if (pages > 0) cpu.atomically(mm.ownerCells, lock, 0, removeZspageLocked, mm, zs, zspage, 0)
  else if (empty !== 0) cpu.store(mm.ownerCells, poolCell(pool, ZS_DEFERRED), 1)
  cpu.unlock(mm.ownerCells, lock, SPIN_LOCKED)
  if (pages > 0) freePages(cpu, mm, pool, zspage, pages)
  return pages
}

/** Locks all pages of a zspage and gives how many; 0: one is locked by somebody else, and so none. @locks needs (O) */
function trylockZspage(cpu: Cpu, mm: Mm, zs: number, zspage: number): number {
  const pages = pagesOf(cpu, mm, zs, zspage)
  for (let page = 0; page < pages; page++) {
    if (cpu.tryLock(mm.flags, pageOf(cpu, mm, zs, zspage, page), PG_locked)) continue
    for (let locked = page - 1; locked >= 0; locked--) {
      cpu.unlock(mm.flags, pageOf(cpu, mm, zs, zspage, locked), PG_locked)
    }
    return 0
  }
  return pages
}

/** Lets go of the first pages of a zspage, which are locked, and of its record. @kernel __free_zspage(), reset_zpdesc() */
function freePages(cpu: Cpu, mm: Mm, pool: ZsPool, zspage: number, pages: number): void {
  const { zs, lock } = pool
  for (let page = 0; page < pages; page++) {
    const pfn = pageOf(cpu, mm, zs, zspage, page)
    cpu.store(mm.private, pfn, 0)
    cpu.testClear(mm.flags, pfn, PG_movable_ops | PG_private)
    cpu.unlock(mm.flags, pfn, PG_locked)
    putPage(cpu, mm, pfn)
  }
  cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, putZspageRecordLocked, mm, zs, zspage, 0)
}

/**
 * Frees the empty zspages that zsFree() had to leave, waiting for their pages. Gives how many pages that was.
 *
 * @locks  as freeZspage(); takes and drops (L)
 * @sleeps for (L)
 * @kernel async_free_zspage()
 */
export function zsFreeDeferred(cpu: Cpu, mm: Mm, pool: ZsPool): number {
  const { zs, lock } = pool
  let freed = 0
  cpu.store(mm.ownerCells, poolCell(pool, ZS_DEFERRED), 0)
  for (let index = 0; index < pool.classes.classes.length; index++) {
    const klass = classCell(pool, index)
    // Ends: each round frees an empty zspage, or waits for who has a page of one.
    for (;;) {
      cpu.at('free-deferred', index)
      const zspage = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, firstEmptyLocked, mm, zs, klass, 0)
      if (zspage === 0) break
      const pages = freeZspage(cpu, mm, pool, zspage)
      if (pages === 0) waitForZspage(cpu, mm, zs, zspage)
      freed += pages
    }
  }
  return freed
}

/** Waits until nobody has the page locked that stood in the way. It may be another's by now: a wait harms nobody. */
function waitForZspage(cpu: Cpu, mm: Mm, zs: number, zspage: number): void {
  const pages = pagesOf(cpu, mm, zs, zspage)
  for (let page = 0; page < pages; page++) {
    cpu.waitClear(mm.flags, pageOf(cpu, mm, zs, zspage, page), PG_locked)
  }
}

/**
 * Keeps an object where it is: no page and no object of its zspage, which it gives, moves until zsUnmapObject().
 *
 * @locks  takes and drops (O)
 * @kernel zs_obj_read_begin(): the pool's lock, then the zspage's for reading
 */
export function zsMapObject(cpu: Cpu, mm: Mm, pool: ZsPool, handle: number): number {
  return cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, mapLocked, mm, pool.zs, handle, 0)
}

/** Pairs with zsMapObject(). */
export function zsUnmapObject(cpu: Cpu, mm: Mm, pool: ZsPool, zspage: number): void {
  const at = zspageCell(cellsOf(mm.ownerCells), pool.zs, zspage)
  cpu.add(mm.ownerCells, ownerCellOf(at + ZSPAGE_ACCESSORS), -1)
}

/** The callbacks of the pool at cell `zs`: all with (L) of the page held by the framework. */
export function zsDriver(zs: number): PageLockedDriver {
  const lock = ownerCellOf(zs + ZS_LOCK)
  return {
    name: 'zsmalloc',
    pgty: PGTY_zsmalloc,

    isolate(cpu, mm, pfn): boolean {
      return cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, isolateLocked, mm, zs, pfn, 0) === 1
    },

    migrate(cpu, mm, dst, src): number {
      const rc = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, migrateLocked, mm, zs, dst, src)
      if (rc !== 0) return rc
      const first = cpu.load(mm.flags, src) & PG_private
      cpu.store(mm.mapcount, dst, pageTypeValue(PGTY_zsmalloc))
      cpu.testSet(mm.flags, dst, PG_movable_ops | first)
      cpu.add(mm.refcount, dst, 1)
      cpu.store(mm.private, src, 0)
      cpu.testClear(mm.flags, src, PG_private)
      cpu.add(mm.refcount, src, -1) // the pool's; the isolation's is still there
      return 0
    },

    putback(cpu, mm, pfn): void {
      cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, putbackLocked, mm, zs, pfn, 0)
    },
  }
}

// Cells of a zspage that only its record's owner changes.

const zspagePageCell = (mm: Mm, zs: number, zspage: number, page: number): OwnerCell =>
  ownerCellOf(pageCell(cellsOf(mm.ownerCells), zs, zspage, page))

const pageOf = (cpu: Cpu, mm: Mm, zs: number, zspage: number, page: number): Pfn =>
  pfnOf(cpu.load(mm.ownerCells, zspagePageCell(mm, zs, zspage, page)))

const pagesOf = (cpu: Cpu, mm: Mm, zs: number, zspage: number): number => {
  const at = zspageCell(cellsOf(mm.ownerCells), zs, zspage)
  const klass = cpu.load(mm.ownerCells, ownerCellOf(at + ZSPAGE_CLASS))
  return klass === 0 ? 0 : cpu.load(mm.ownerCells, ownerCellOf(klass + CLASS_PAGES))
}
