/**
 * One concept of mobility: whatever can move has `MovableOps`, registered once by page type. LRU folios
 * are the first provider, not a special case: no scanner and no migrate loop names an owner.
 *
 * A page is movable if it is on the LRU, or if its page type has operations and the page carries
 * PG_movable_ops, or if its address space has operations: the way for pages that user space maps, because a
 * page with a type has no count of its mappings. The test needs no lock and no reference; it is a guess until
 * the owner has confirmed it in isolatePage.
 *
 * A typical sequence is:
 *   isolateMovablePage(cpu, mm, pfn, mode)      // ISOLATED: one more reference, off its owner's lists
 *   ops.migratePage(cpu, mm, dst, src, mode)    // dst is what src was (migrate.ts)
 *   putbackMovablePage(cpu, mm, pfn)            // or: the move is off, the owner has its page back
 *
 * What a failure leaves behind:
 *   | failure                        | page                                                   |
 *   |--------------------------------|--------------------------------------------------------|
 *   | isolateMovablePage refuses     | unchanged: references, locks, lists as before          |
 *   | migratePage gives -EAGAIN      | src isolated and unchanged; dst unused                 |
 *   | migratePage gives another errno| the same, and it will not be tried again               |
 *   | putbackMovablePage             | cannot fail; the isolation's reference is dropped      |
 *
 * Rules:
 *   - locking belongs to the provider. The generic layer takes a reference and nothing else (S0-23); an
 *     owner that wants the page lock uses `pageLockedOps`, which is the kernel's protocol for drivers;
 *   - after a successful isolatePage the links of the page (`page->lru`) belong to the isolator;
 *   - PG_movable_ops is set once, before others can find the page, and cleared under the lock that the
 *     owner's isolatePage takes: when the owner lets go of the page, as S0-13 asks. (v6.17 and later keep
 *     the mark until the page is free, and leave it to each driver to notice that the page is not its own
 *     any more; here the framework notices, for all drivers.)
 *   - the mark in `mapping` is set before others can find the page and stays until the page is free.
 *
 * @kernel mm/migrate.c isolate_movable_ops_page(), putback_movable_ops_page(), set_movable_ops() v6.18;
 *         spec S0-8..S0-27, M-15; marks in `mapping`: __SetPageMovable() v4.8 to v6.16
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import type { MappingId, Pfn } from '../base/units.ts'
import {
  type IsolateMode,
  type MigrateMode,
  PG_locked,
  PG_lru,
  PG_movable_ops,
  PG_movable_ops_isolated,
} from './limits.ts'
import { driverOpsIndex, MAPPING_FIRST_FILE, MAPPING_OPS, type Mm, pageType, typeOpsIndex } from './page.ts'
import { putPage } from './page_alloc.ts'

// What isolation answers: it was isolated, or why not. Counted by compaction and read by the analysis.
export const ISOLATED = 0
export const REFUSED_FREE = 1
export const REFUSED_UNMOVABLE = 2
export const REFUSED_LOCKED = 3
export const REFUSED_PINNED = 4
export const REFUSED_UNEVICTABLE = 5
export const REFUSED_WRITEBACK = 6
export const REFUSED_DIRTY = 7
export const REFUSED_MAPPING = 8
export const REFUSED_ISOLATED = 9
export const REFUSED_BY_OWNER = 10
export const REFUSED_HUGE = 11
export const REFUSED_MAPPED = 12
export type Isolation = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12

/** What each answer means, for people. */
export const ISOLATION_REASONS = [
  'isolated',
  'free or being freed',
  'no movable operations',
  'locked',
  'pinned: more references than mappings',
  'unevictable',
  'under writeback',
  'dirty, and its mapping cannot migrate',
  'its mapping cannot migrate',
  'already isolated',
  'refused by its owner',
  'a huge folio',
  'mapped',
] as const

/** 0, or a negative errno. */
export type MigrateResult = number

/** What a page owner must do so that its pages can move. By page type or address space, registered once. */
export interface MovableOps {
  /** Name of the owner, for people. */
  readonly name: string
  /**
   * May this page move now? ISOLATED: it is off your lists, closed to updates and frees, and stays yours
   * to put back. Otherwise why not, and nothing has changed. The caller holds a reference.
   */
  isolatePage(cpu: Cpu, mm: Mm, pfn: Pfn, mode: IsolateMode): Isolation
  /**
   * Make `dst` what `src` was; take your own reference on `dst`, drop yours on `src`. -EAGAIN: unchanged,
   * try again. Any other error: this page does not move. The caller holds (L) of both.
   */
  migratePage(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn, mode: MigrateMode): MigrateResult
  /** The move is off: `pfn` is yours again, as before isolatePage; whoever waits for it wakes. Cannot fail. */
  putbackPage(cpu: Cpu, mm: Mm, pfn: Pfn): void
}

/**
 * How the cached folios of one address space move: the LRU isolates them and puts them back, and this makes `dst` what
 * `src` was, contents and slot. Errors as of migratePage. The caller holds (L) of both.
 *
 * @kernel include/linux/fs.h address_space_operations.migrate_folio v6.18
 */
export type MigrateFolio = (
  cpu: Cpu,
  mm: Mm,
  mapping: MappingId,
  dst: Pfn,
  src: Pfn,
  mode: MigrateMode,
) => MigrateResult

/** Registers how the cached folios of an address space move; by default as any file's. */
export function setMigrateFolio(mm: Mm, id: MappingId, migrateFolio: MigrateFolio): void {
  assert(
    id >= MAPPING_FIRST_FILE && id < mm.mappingFlags.length,
    'movable_ops: an address space of the machine',
  )
  assert(mm.migrateFolio[id] === undefined, 'movable_ops: this address space moves its folios already')
  mm.migrateFolio[id] = migrateFolio
}

/** Index in `mm.movableOps` of the provider of LRU folios. */
export const LRU_OPS = 0

/** Registers the provider of LRU folios. */
export function setLruOps(mm: Mm, ops: MovableOps): void {
  assert(mm.movableOps[LRU_OPS] === undefined, 'movable_ops: the LRU has its operations')
  mm.movableOps[LRU_OPS] = ops
}

/**
 * Registers the owner of the pages of a type.
 *
 * @kernel mm/migrate.c set_movable_ops() v6.18
 */
export function setMovableOps(mm: Mm, pgty: number, ops: MovableOps): void {
  const index = typeOpsIndex(pgty)
  assert(index > 1 && index < 16, 'movable_ops: a page type other than buddy')
  assert(mm.movableOps[index] === undefined, 'movable_ops: this type has its operations')
  mm.movableOps[index] = ops
}

/**
 * Registers the owner of the pages whose `mapping` is movableMapping(id). They may be mapped by user space: then
 * they are unmapped by migration entries before migratePage, as everybody's are (S0-20).
 *
 * @kernel include/linux/fs.h address_space_operations.isolate_page, migratepage, putback_page v4.8 to v5.19
 */
export function setMappingOps(mm: Mm, id: MappingId, ops: MovableOps): void {
  assert(
    id >= MAPPING_FIRST_FILE && id < mm.mappingFlags.length,
    'movable_ops: an address space of the machine',
  )
  assert(mm.movableOps[MAPPING_OPS + id] === undefined, 'movable_ops: this address space has its operations')
  mm.movableOps[MAPPING_OPS + id] = ops
}

/** Index of the provider of a page by its address space; -1 if that has no operations. */
function mappingOpsOf(cpu: Cpu, mm: Mm, pfn: Pfn): number {
  if (mm.movableOps.length <= MAPPING_OPS) return -1 // no address space of this machine has any
  return driverOpsIndex(0, 0, cpu.load(mm.mapping, pfn))
}

/**
 * Provider of a page with this `mapcount` and these flags; -1 if it cannot move. A guess: no lock is
 * held (S0-3).
 *
 * @kernel include/linux/page-flags.h page_has_movable_ops(), folio_test_lru() v6.18
 */
export function movableOpsOf(mapcount: number, flags: number): number {
  if ((flags & PG_lru) !== 0) return LRU_OPS
  return mapcount < 0 ? driverOpsIndex(mapcount, flags, 0) : -1
}

/**
 * Provider of a page that the caller has isolated: it is on the LRU no more, but its type, or the mark in
 * its `mapping`, has not changed.
 */
export function isolatedOpsOf(cpu: Cpu, mm: Mm, pfn: Pfn): MovableOps {
  const ops = mm.movableOps[isolatedIndexOf(cpu, mm, pfn)]
  assert(ops !== undefined, 'movable_ops: an isolated page has a provider')
  return ops
}

function isolatedIndexOf(cpu: Cpu, mm: Mm, pfn: Pfn): number {
  const mapcount = cpu.load(mm.mapcount, pfn)
  if (mapcount < 0) return typeOpsIndex(pageType(mapcount))
  return Math.max(mappingOpsOf(cpu, mm, pfn), LRU_OPS)
}

/** True if a page that the caller has isolated is a driver's, false if it was on the LRU. */
export const isDriverPage = (cpu: Cpu, mm: Mm, pfn: Pfn): boolean => isolatedIndexOf(cpu, mm, pfn) !== LRU_OPS

/**
 * Takes `pfn` from its owner and holds it, so that it can neither vanish nor be found. Never waits.
 *
 * @locks      none of its own; the provider's
 * @errors     REFUSED_*: why not. Nothing changed.
 * @invariant  on ISOLATED: one more reference, unlocked, on no list of the owner's
 * @kernel     mm/migrate.c isolate_movable_ops_page(), mm/compaction.c isolate_migratepages_block() v6.18
 */
export function isolateMovablePage(cpu: Cpu, mm: Mm, pfn: Pfn, mode: IsolateMode): Isolation {
  let index = movableOpsOf(cpu.load(mm.mapcount, pfn), cpu.load(mm.flags, pfn))
  if (index < 0) index = mappingOpsOf(cpu, mm, pfn)
  if (index < 0) return REFUSED_UNMOVABLE
  const ops = mm.movableOps[index]
  if (ops === undefined) return REFUSED_UNMOVABLE
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return REFUSED_FREE // free, or on its way there: nothing to undo
  const answer = ops.isolatePage(cpu, mm, pfn, mode)
  if (answer !== ISOLATED) putPage(cpu, mm, pfn) // if the owner freed it meanwhile, this frees it (S0-10)
  return answer
}

/**
 * Gives an isolated page back to its owner and drops the isolation's reference.
 *
 * @locks   the provider's
 * @sleeps  if the provider does
 * @kernel  mm/migrate.c putback_movable_pages() v6.18
 */
export function putbackMovablePage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  isolatedOpsOf(cpu, mm, pfn).putbackPage(cpu, mm, pfn)
  putPage(cpu, mm, pfn)
}

/** What a driver implements if the page lock is what protects its pages. All are called with (L) of the pages held. */
export interface PageLockedDriver {
  readonly name: string
  /** The page type of its pages, PGTY_*. */
  readonly pgty: number
  /** Take the page off your lists. False: not now. */
  isolate(cpu: Cpu, mm: Mm, pfn: Pfn, mode: IsolateMode): boolean
  /** As MovableOps.migratePage. */
  migrate(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn, mode: MigrateMode): MigrateResult
  /** Put the page back on your lists and wake who waits for it. */
  putback(cpu: Cpu, mm: Mm, pfn: Pfn): void
}

/** True if the page still is this driver's: the exact test, under (L). */
const isPageOf = (cpu: Cpu, mm: Mm, driver: PageLockedDriver, pfn: Pfn): boolean =>
  pageType(cpu.load(mm.mapcount, pfn)) === driver.pgty && (cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0

/**
 * Movable operations under the page lock: trylock, look again, take, mark isolated, unlock.
 *
 * PG_movable_ops_isolated is set and cleared here, never by the driver: it is what decides between two
 * isolators (S0-11). A page that its owner has let go of while it was isolated is not handed to the
 * driver any more: putback only drops the reference (S0-13), and there is nothing left to migrate.
 *
 * @locks   isolate: trylocks (L) and drops it; putback: takes (L), may sleep, drops it
 * @kernel  mm/migrate.c isolate_movable_ops_page(), putback_movable_ops_page(), migrate_movable_ops_page() v6.18
 */
export function pageLockedOps(driver: PageLockedDriver): MovableOps {
  return {
    name: driver.name,

    isolatePage(cpu, mm, pfn, mode): Isolation {
      if (!cpu.tryLock(mm.flags, pfn, PG_locked)) return REFUSED_LOCKED
      const answer = takeFromDriver(cpu, mm, driver, pfn, mode)
      cpu.unlock(mm.flags, pfn, PG_locked)
      return answer
    },

    migratePage(cpu, mm, dst, src, mode): MigrateResult {
      assert((cpu.load(mm.flags, src) & PG_movable_ops_isolated) !== 0, 'migrate: the page is isolated')
      const result = isPageOf(cpu, mm, driver, src) ? driver.migrate(cpu, mm, dst, src, mode) : 0
      if (result === 0) cpu.testClear(mm.flags, src, PG_movable_ops_isolated | PG_movable_ops)
      return result
    },

    putbackPage(cpu, mm, pfn): void {
      cpu.lock(mm.flags, pfn, PG_locked)
      if (isPageOf(cpu, mm, driver, pfn)) driver.putback(cpu, mm, pfn)
      cpu.testClear(mm.flags, pfn, PG_movable_ops_isolated)
      cpu.unlock(mm.flags, pfn, PG_locked)
    },
  }
}

function takeFromDriver(cpu: Cpu, mm: Mm, driver: PageLockedDriver, pfn: Pfn, mode: IsolateMode): Isolation {
  if (!isPageOf(cpu, mm, driver, pfn)) return REFUSED_UNMOVABLE
  if ((cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0) return REFUSED_ISOLATED
  if (!driver.isolate(cpu, mm, pfn, mode)) return REFUSED_BY_OWNER
  cpu.testSet(mm.flags, pfn, PG_movable_ops_isolated)
  return ISOLATED
}
