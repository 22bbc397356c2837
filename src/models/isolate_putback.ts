/**
 * Isolate and putback against device removal: is every page of a driver accounted for while its owner lets go
 * of all of them?
 *
 * The driver is the page pool (owners/page_pool.ts): a list and two counts under a lock of its own, everything
 * else under the page lock. Isolators take its pages and put them back, a reader reads one; the owner releases
 * them all.
 *
 * Verified: pages on the list and isolated pages are the pool's pages, whenever no page is locked; a page that
 * was released while it was isolated is not given back to the driver, only its reference is dropped (S0-13); one
 * isolator at most has a page; every page is free at the end, once.
 *
 * Not verified here: migration of the pool's pages (owner_lock.ts does it for both kinds of locking), a driver
 * that is unloaded.
 *
 * `actors` are isolators, each of which tries all `pages` of the pool, one after the other. The reader reads the
 * first page.
 *
 * Spec: S0-8..S0-13, S1-10
 */

import { isolateAndPutback } from '../actors/compactor.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAdd, listDel } from '../base/list.ts'
import { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import type { System, Task } from '../check/system.ts'
import {
  PG_locked,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PGTY_zsmalloc,
  pageTypeValue,
} from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { ISOLATED, isolateMovablePage } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import {
  addPoolPage,
  createPool,
  type PagePool,
  POOL_CELLS,
  poolPages,
  poolRead,
  poolRelease,
} from '../owners/page_pool.ts'
import { oneWinner } from './marked_driver.ts'
import type { Model } from './model.ts'
import { isCounter, isFree, isOnList, listLength, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

export const isolatePutback: Model = {
  name: 'isolate-putback',
  question: 'Is every page of a driver on its list or isolated, also while the owner lets go of all of them?',
  source: 'S0-8..S0-13, S1-10',
  seeded: {
    'putback-without-test':
      'putback hands the page to its driver without asking whether it still is its (S0-13)',
    'release-unlinks': 'releasing takes a page off the list that is isolated, and so on none (S1-10)',
    'release-without-lock': 'the owner looks whether the page is isolated before it has the page lock',
    'read-without-reference': 'a reader locks a page that it has no reference on',
  },
  size: { actors: 2, pages: 1 },
  sizeMax: { actors: 3, pages: 2 },
  build: ({ actors, pages: count }, seeded): System<Mm> => {
    const { mm, pages } = smallMachine(count, 0, { ownerCells: POOL_CELLS })
    const pool = createPool(mm, PGTY_zsmalloc, 'pool', 0)
    for (const pfn of pages) {
      mm.mapcount[pfn] = pageTypeValue(pool.pgty)
      mm.flags[pfn] = PG_movable_ops
      addPoolPage(mm, pool.list, pfn)
    }
    return {
      name: 'isolate-putback',
      state: mm,
      tasks: tasksOf(pool, pages, actors, seeded),
      invariants: [
        oneWinner(pages),
        {
          name: 'owned-set-conserved',
          says: "while no page is locked, pages on the pool's list and isolated pages are the pool's pages",
          holds: (state) => isConserved(state, pool, pages),
        },
      ],
      atEnd: [
        {
          name: 'freed-once',
          says: 'a page that its owner let go of is free, once',
          holds: (state) => pages.every((pfn) => isFree(state, pfn)),
        },
        {
          name: 'reads-are-right',
          says: 'who reads a page gets what it holds, or nothing',
          holds: (_, where) => where.results('reader').every((value) => value === -1 || value === 100),
        },
        {
          name: 'nothing-left',
          says: 'a pool that let go of all pages counts none',
          holds: (state) => {
            const { listed, isolated } = poolPages(state, pool)
            return listed === 0 && isolated === 0
          },
        },
      ],
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: driverText,
    }
  },
}

function tasksOf(
  pool: PagePool,
  pages: readonly Pfn[],
  actors: number,
  seeded: string | undefined,
): Task<Mm>[] {
  return [
    {
      name: 'isolator',
      copies: actors,
      run: (cpu, state) => {
        for (const pfn of pages) {
          cpu.at('trying', pfn)
          isolateThen(cpu, state, pool, pfn, seeded)
        }
      },
    },
    {
      name: 'reader',
      run: (cpu, state) =>
        seeded === 'read-without-reference'
          ? readUnreferenced(cpu, state, pages[0])
          : poolRead(cpu, state, pool, pages[0]),
    },
    {
      name: 'remover',
      run: (cpu, state) => {
        for (const pfn of pages) {
          cpu.at('releasing', pfn)
          releaseAs(cpu, state, pool, pfn, seeded)
        }
      },
    },
  ]
}

/** A page's lock is what keeps its marks and the list together, so they are compared while it is free. */
function isConserved(mm: Mm, pool: PagePool, pages: readonly Pfn[]): boolean {
  const { listed, isolated } = poolPages(mm, pool)
  const list = mm.ownerList(pool.list)
  if (listed !== listLength(mm, list)) return false
  if (pages.some((pfn) => (mm.flags[pfn] & PG_locked) !== 0)) return true
  const owned = pages.filter((pfn) => mm.mapcount[pfn] < 0 && (mm.flags[pfn] & PG_movable_ops) !== 0)
  const away = owned.filter((pfn) => (mm.flags[pfn] & PG_movable_ops_isolated) !== 0)
  const onList = owned.filter((pfn) => isOnList(mm, pfn, list))
  return onList.length === listed && away.length === isolated && listed + isolated === owned.length
}

function isolateThen(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn, seeded: string | undefined): void {
  if (seeded === 'putback-without-test') isolateAndPutbackAnyway(cpu, mm, pool, pfn)
  else isolateAndPutback(cpu, mm, pfn)
}

function releaseAs(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn, seeded: string | undefined): void {
  if (seeded === 'release-unlinks') releaseUnlinking(cpu, mm, pool, pfn)
  else if (seeded === 'release-without-lock') releaseLookingEarly(cpu, mm, pool, pfn)
  else poolRelease(cpu, mm, pool, pfn)
}

// The mistakes. The sections are the pool's own, once more.

/** isolateAndPutback() by a framework that does not look whether the page still is its driver's. */
function isolateAndPutbackAnyway(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): void {
  if (isolateMovablePage(cpu, mm, pfn, 0) !== ISOLATED) return
  cpu.at('isolated', pfn)
  cpu.lock(mm.flags, pfn, PG_locked)
  cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, relistLocked, mm, pfn, pool.list, 0)
  cpu.testClear(mm.flags, pfn, PG_movable_ops_isolated)
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
}

/** poolRelease() of a driver that thinks that its pages are on its list. */
function releaseUnlinking(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): void {
  cpu.lock(mm.flags, pfn, PG_locked)
  cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, unlistLocked, mm, pfn, pool.list, 0)
  cpu.testClear(mm.flags, pfn, PG_movable_ops)
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
}

/** poolRelease() of a driver that decides by what it saw before it had the page lock. */
function releaseLookingEarly(cpu: Cpu, mm: Mm, pool: PagePool, pfn: Pfn): void {
  const isolated = (cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0
  cpu.lock(mm.flags, pfn, PG_locked)
  const section = isolated ? forgetLocked : unlistLocked
  cpu.atomically(mm.ownerCells, pool.lock, SPIN_LOCKED, section, mm, pfn, pool.list, 0)
  cpu.testClear(mm.flags, pfn, PG_movable_ops)
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
}

/** poolRead() that relies on the page lock alone. */
function readUnreferenced(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.lock(mm.flags, pfn, PG_locked)
  if ((cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0) cpu.load(mm.content, pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
}

const listedCell = (list: number): OwnerCell => ownerCellOf(list * POOL_CELLS + 1)
const isolatedCell = (list: number): OwnerCell => ownerCellOf(list * POOL_CELLS + 2)

function relistLocked(mm: Mm, pfn: number, list: number): number {
  listAdd(mm.links, pfnOf(pfn), mm.ownerList(list))
  mm.ownerCells[listedCell(list)]++
  mm.ownerCells[isolatedCell(list)]--
  return 0
}

function unlistLocked(mm: Mm, pfn: number, list: number): number {
  listDel(mm.links, pfnOf(pfn))
  mm.ownerCells[listedCell(list)]--
  return 0
}

function forgetLocked(mm: Mm, _pfn: number, list: number): number {
  mm.ownerCells[isolatedCell(list)]--
  return 0
}
