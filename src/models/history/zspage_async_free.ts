/**
 * zsmalloc: the worker that frees an empty zspage against migration of its pages.
 *
 * The real code. A zspage is a chain of pages: `page->index` leads to the next one, `page->private` to the zspage.
 * Whoever frees it must hold all its page locks, since a migration that holds one of them trusts the zspage to
 * stay. The free path may not sleep, so where a trylock fails it leaves the zspage to a worker, which locked page
 * after page by following the chain. But a page that is not locked yet may migrate: the chain is rebuilt under
 * the worker's feet, every link being zero for a moment. The worker could lock a page that had left the zspage, or
 * see the end of the chain too early and free pages that it had not locked.
 *
 * The fix. The worker follows the chain and tries each page lock under the zspage's migrate lock, which a
 * migration takes for writing. Where the trylock fails it takes a reference, drops the migrate lock, waits, and
 * looks at the chain again.
 *
 * The model. A zspage without objects, `pages` pages, taken from its class's list by the worker already. `actors`
 * of the pages, from the last one backwards, have been isolated, each with a destination; each migrator moves its
 * page, or finds it freed. Stores that rebuild the chain are steps of their own. The migrate lock has one reader,
 * so it is a plain lock here; the class lock is there, held by a migration and by the last part of a free.
 *
 * Verified: no page is moved once the worker has locked all of them; it frees pages of the zspage that it has locked,
 * and no others; each page is freed once, destinations too, used or not; a page that is waited for is not free.
 *
 * Not verified here: objects (see zs_map_object.ts), the free path that fails before, isolation itself, and what
 * the next user of a freed page does to it.
 */

import { assert } from '../../base/assert.ts'
import type { Cpu } from '../../base/cpu.ts'
import type { System } from '../../check/system.ts'
import { PG_locked } from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import type { Model } from '../model.ts'

/** Pages are numbered from 1: those of the zspage, then as many destinations. No page is 0. */
interface Zspage {
  readonly flags: Int32Array // PG_locked of each page
  readonly refcount: Int32Array // references; 0: free
  readonly private: Int32Array // 1: the page belongs to the zspage
  readonly index: Int32Array // next page of the chain; 0: it is the last one
  readonly firstPage: Int32Array // of the zspage
  readonly migrateLock: Int32Array // zspage->lock: the chain stands still
  readonly classLock: Int32Array
}

export const zspageAsyncFree: Model = {
  name: 'zspage-async-free',
  question:
    'Can the worker that frees an empty zspage miss one of its pages, or take one that has left, while pages migrate?',
  source: '2505a981114d ("zsmalloc: fix races between asynchronous zspage free and page migration")',
  seeded: {
    'no-migrate-lock': 'the worker follows the chain without the migrate lock (before 2505a981114d)',
    'stale-next-page':
      'the worker reads the next page under the migrate lock, but locks that page after dropping it',
    'no-reference': 'the worker waits for a locked page without a reference to it',
  },
  size: { actors: 2, pages: 2 },
  sizeMax: { actors: 3, pages: 3 },
  build: ({ actors, pages }, seeded): System<Zspage> => {
    const lockAll = LOCK_ZSPAGE[seeded ?? 'fixed']
    const migrators = Math.min(actors, pages)
    return {
      name: 'zspage-async-free',
      state: zspageOf(pages, migrators),
      tasks: [
        {
          name: 'worker',
          run: (cpu, z) => {
            const locked = lockAll(cpu, z)
            cpu.at('has all pages', locked)
            freeZspage(cpu, z)
          },
        },
        ...Array.from({ length: migrators }, (_, i) => ({
          name: `migrator of page ${pages - i}`,
          run: (cpu: Cpu, z: Zspage) => migrate(cpu, z, pages - i, 2 * pages - i),
        })),
      ],
      invariants: [
        {
          name: 'no-move-while-freed',
          says: 'no page of a zspage moves while the worker has locked all of them',
          holds: (_, where) => where.count('has all pages') === 0 || where.count('moves a page') === 0,
        },
        {
          name: 'waits-for-a-page',
          says: 'the page that the worker waits for is not free',
          holds: ({ refcount }, where) =>
            Array.from(refcount).every((count, page) => count > 0 || where.count('waits for', page) === 0),
        },
      ],
      atEnd: [
        {
          name: 'freed-once',
          says: 'every page of the zspage is free, and every destination',
          holds: (z) => Array.from(z.refcount).every((count) => count === 0),
        },
      ],
    }
  },
}

function zspageOf(pages: number, migrators: number): Zspage {
  const cells = (first: (page: number) => number): Int32Array =>
    Int32Array.from({ length: 2 * pages + 1 }, (_, page) => first(page))
  const isOld = (page: number): boolean => page >= 1 && page <= pages
  const isIsolated = (page: number): boolean => isOld(page) && page > pages - migrators
  const isDestination = (page: number): boolean => page > 2 * pages - migrators
  return {
    flags: cells(() => 0),
    refcount: cells((page) => (isOld(page) ? 1 : 0) + (isIsolated(page) || isDestination(page) ? 1 : 0)),
    private: cells((page) => (isOld(page) ? 1 : 0)),
    index: cells((page) => (isOld(page) && page < pages ? page + 1 : 0)),
    firstPage: Int32Array.of(1),
    migrateLock: new Int32Array(1),
    classLock: new Int32Array(1),
  }
}

/** The next page of the chain. The page must belong to the zspage: in the kernel this follows its `private`. */
function getNextPage(cpu: Cpu, z: Zspage, page: number): number {
  assert(cpu.load(z.private, page) === 1, 'get_zspage: the page belongs to the zspage')
  return cpu.load(z.index, page)
}

function putPage(cpu: Cpu, z: Zspage, page: number): void {
  cpu.decAndTest(z.refcount, page)
}

// The migrator.

/** Moves an isolated page of the zspage, unless it was freed meanwhile, and drops what is not needed any more. */
function migrate(cpu: Cpu, z: Zspage, src: number, dst: number): void {
  cpu.lock(z.flags, src, PG_locked)
  cpu.lock(z.flags, dst, PG_locked)
  if (cpu.load(z.private, src) === 1) {
    cpu.at('moves a page')
    movePage(cpu, z, src, dst)
    cpu.at('')
  }
  cpu.unlock(z.flags, dst, PG_locked)
  cpu.unlock(z.flags, src, PG_locked)
  putPage(cpu, z, dst) // the allocation's
  putPage(cpu, z, src) // the isolation's
}

/** What zs_page_migrate() does for a zspage without objects. */
function movePage(cpu: Cpu, z: Zspage, src: number, dst: number): void {
  cpu.lock(z.classLock, 0, SPIN_LOCKED)
  cpu.lock(z.migrateLock, 0, SPIN_LOCKED)
  replaceSubPage(cpu, z, src, dst)
  cpu.unlock(z.migrateLock, 0, SPIN_LOCKED)
  cpu.unlock(z.classLock, 0, SPIN_LOCKED)
  cpu.add(z.refcount, dst, 1)
  resetPage(cpu, z, src)
  putPage(cpu, z, src)
}

/** Rebuilds the chain with `dst` in the place of `src`. */
function replaceSubPage(cpu: Cpu, z: Zspage, src: number, dst: number): void {
  const chain: number[] = []
  // As many rounds as the chain has pages.
  for (let page = cpu.load(z.firstPage, 0); page !== 0; page = cpu.load(z.index, page)) {
    chain.push(page === src ? dst : page)
  }
  cpu.store(z.private, dst, 1)
  chain.forEach((page, i) => {
    cpu.store(z.index, page, 0)
    if (i === 0) cpu.store(z.firstPage, 0, page)
    else cpu.store(z.index, chain[i - 1], page)
  })
}

function resetPage(cpu: Cpu, z: Zspage, page: number): void {
  cpu.store(z.private, page, 0)
  cpu.store(z.index, page, 0)
}

// The worker.

/** Frees the pages of a zspage, all of which the caller has locked. */
function freeZspage(cpu: Cpu, z: Zspage): void {
  cpu.lock(z.classLock, 0, SPIN_LOCKED)
  let page = cpu.load(z.firstPage, 0)
  // As many rounds as the chain has pages.
  while (page !== 0) {
    assert((cpu.load(z.flags, page) & PG_locked) !== 0, 'free zspage: every page is locked')
    const next = getNextPage(cpu, z, page)
    resetPage(cpu, z, page)
    cpu.unlock(z.flags, page, PG_locked)
    putPage(cpu, z, page)
    page = next
  }
  cpu.unlock(z.classLock, 0, SPIN_LOCKED)
}

/** What waits until nobody has `page` locked, without the migrate lock: the chain may change. */
type WaitForPage = (cpu: Cpu, z: Zspage, page: number, sofar: number) => void

/** Locks every page of the zspage. Gives them as bits, which is what a task that holds their locks remembers. */
function lockZspage(cpu: Cpu, z: Zspage, wait: WaitForPage): number {
  cpu.lock(z.migrateLock, 0, SPIN_LOCKED)
  let page = 0
  let locked = 0
  // Ends because each page that it waits for was locked by a migrator, and each migrator migrates once.
  for (;;) {
    cpu.at('locked up to', page, locked)
    const next = nextToLock(cpu, z, page)
    if (next === 0) break
    if (!cpu.tryLock(z.flags, next, PG_locked)) {
      wait(cpu, z, next, (locked << 4) | page)
      continue
    }
    page = next
    locked |= 1 << next
  }
  cpu.unlock(z.migrateLock, 0, SPIN_LOCKED)
  return locked
}

/** The page after `page`, the first one after 0; 0 at the end of the chain. */
function nextToLock(cpu: Cpu, z: Zspage, page: number): number {
  return page === 0 ? cpu.load(z.firstPage, 0) : getNextPage(cpu, z, page)
}

/** With a reference, so that the page stays one. `sofar` is what the caller remembers. */
function waitForPage(cpu: Cpu, z: Zspage, page: number, sofar: number): void {
  cpu.at('waits for', page, sofar)
  cpu.add(z.refcount, page, 1)
  cpu.unlock(z.migrateLock, 0, SPIN_LOCKED)
  cpu.waitClear(z.flags, page, PG_locked)
  cpu.at('has waited for', page, sofar)
  putPage(cpu, z, page)
  cpu.lock(z.migrateLock, 0, SPIN_LOCKED)
}

// The mistakes.

/** Before the fix: nothing keeps the chain as it is. */
function lockZspageNoMigrateLock(cpu: Cpu, z: Zspage): number {
  let page = 0
  let locked = 0
  for (;;) {
    const next = nextToLock(cpu, z, page)
    if (next === 0) return locked
    cpu.lock(z.flags, next, PG_locked)
    page = next
    locked |= 1 << next
    cpu.at('locked up to', page, locked)
  }
}

/** What was the next page is locked when it may be that no more. */
function lockZspageStaleNextPage(cpu: Cpu, z: Zspage): number {
  let page = 0
  let locked = 0
  for (;;) {
    cpu.lock(z.migrateLock, 0, SPIN_LOCKED)
    const next = nextToLock(cpu, z, page)
    cpu.unlock(z.migrateLock, 0, SPIN_LOCKED)
    if (next === 0) return locked
    cpu.lock(z.flags, next, PG_locked)
    page = next
    locked |= 1 << next
    cpu.at('locked up to', page, locked)
  }
}

/** The page may be free, and somebody else's, when it is looked at. */
function waitWithoutReference(cpu: Cpu, z: Zspage, page: number, sofar: number): void {
  cpu.at('waits for', page, sofar)
  cpu.unlock(z.migrateLock, 0, SPIN_LOCKED)
  cpu.waitClear(z.flags, page, PG_locked)
  cpu.at('has waited for', page, sofar)
  cpu.lock(z.migrateLock, 0, SPIN_LOCKED)
}

const LOCK_ZSPAGE: Readonly<Record<string, (cpu: Cpu, z: Zspage) => number>> = {
  fixed: (cpu, z) => lockZspage(cpu, z, waitForPage),
  'no-reference': (cpu, z) => lockZspage(cpu, z, waitWithoutReference),
  'no-migrate-lock': lockZspageNoMigrateLock,
  'stale-next-page': lockZspageStaleNextPage,
}
