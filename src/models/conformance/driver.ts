/**
 * What the conformance kit is told of a driver: its page type, its callbacks, its locks, and its own ways to
 * take, use and let go of a page.
 *
 * A driver keeps its state in `mm.ownerCells` and on `mm.ownerList(0…)`, and its functions are protocol code: plain
 * functions over `cpu`, each call of which is one step. `examples/drivers/list_driver.ts` is one of one list and
 * one lock.
 *
 * Rules (of a driver; STYLE.md "Protocol code" has the reasons):
 *   - shared cells are touched through `cpu`; a section (`cpu.atomically`) is a function of the module and touches
 *     what its lock guards;
 *   - a task that may meet a page that others free holds a reference on it, or takes one with `addUnlessZero`;
 *   - the head of a retry loop says `cpu.at('label', live values)`.
 *
 * Not here: what the callbacks must do (docs/protocol/movable_ops.md).
 *
 * @ours
 */

import type { Cpu } from '../../base/cpu.ts'
import type { OwnerCell, Pfn } from '../../base/units.ts'
import { type MovableOps, type PageLockedDriver, pageLockedOps } from '../../mm/movable_ops.ts'
import { type Mm, OWNER_LISTS } from '../../mm/page.ts'
import { stickyMarkOps } from './sticky_mark.ts'

/** Cells that a driver may have: more than any that was seen, and few enough to be told in a state. */
const OWNER_CELLS_MAX = 256

/** The callbacks of a driver whose pages are protected by the page lock: all are called with it held. */
export type PageLockedOps = Pick<PageLockedDriver, 'isolate' | 'migrate' | 'putback'>

/** A driver as the kit takes it: the default export of its module. */
export interface CheckedDriver {
  readonly name: string
  /** Type of its pages, PGTY_*. Undefined: they are on the LRU, and `ops` stand in for the LRU's. */
  readonly pgty?: number
  /** How its pages move: under the page lock, or wholly its own way. */
  readonly ops: PageLockedOps | MovableOps
  /** Cells of `mm.ownerCells` that it uses, from 0 on: up to 256. */
  readonly cells: number
  /** Those of them that are locks (SPIN_LOCKED), outermost first. Everything else of its own is written under one. */
  readonly locks: readonly OwnerCell[]
  /** Lists that it uses, from `mm.ownerList(0)` on: up to 32. Default: 1. */
  readonly lists?: number
  /** With callbacks under the page lock: the framework of 6.17 and later, which does not look whose page it is. */
  readonly markStays?: boolean
  /** Its pages can be mapped by user space; then they have no page type. */
  readonly maps?: boolean
  /** The pages that it has and that are not isolated. Reads directly; asked while none of its locks is held. */
  listed(mm: Mm): readonly number[]
  /** An allocated page becomes the driver's, with the caller's reference. */
  insert(cpu: Cpu, mm: Mm, pfn: Pfn): void
  /** The driver lets go of a page. False: the page is not its own, and nothing has changed. */
  free(cpu: Cpu, mm: Mm, pfn: Pfn): boolean
  /** What the page holds, after waiting while it moves. -1: it is not the driver's (any more). */
  access(cpu: Cpu, mm: Mm, pfn: Pfn): number
  /** Changes what the page holds, after waiting while it moves. False: it is not the driver's, nothing has changed. */
  write?(cpu: Cpu, mm: Mm, pfn: Pfn, value: number): boolean
  /** The device goes away: the driver lets go of all pages. Default: it frees each. */
  remove?(cpu: Cpu, mm: Mm): void
}

/** The driver's operations as the framework knows them. */
export function opsOf(driver: CheckedDriver): MovableOps {
  const { ops, name, pgty = 0, markStays } = driver
  if ('isolatePage' in ops) return ops
  return markStays === true ? stickyMarkOps({ ...ops, name, pgty }) : pageLockedOps({ ...ops, name, pgty })
}

/** Why `candidate` is no driver, in one sentence each; empty if it is one. */
export function shapeFaults(candidate: unknown): string[] {
  if (!isRecord(candidate)) return ['the default export is no object']
  const { ops, pgty, locks, name, cells, lists, maps, markStays } = candidate
  const faults: string[] = []
  if (typeof name !== 'string') faults.push('lacks name')
  if (pgty !== undefined && !isPageType(pgty)) faults.push('pgty is no page type of a driver (PGTY_*)')
  if (!isCount(cells)) faults.push('lacks cells, the number of mm.ownerCells that it uses')
  else if (cells > OWNER_CELLS_MAX) faults.push(`cells is more than ${OWNER_CELLS_MAX}`)
  else if (!isCellList(locks, cells)) faults.push('lacks locks, a list of those of its cells that are locks')
  if (lists !== undefined && !(isCount(lists) && lists <= OWNER_LISTS))
    faults.push(`lists is no number from 0 to ${OWNER_LISTS}`)
  if (maps !== undefined && typeof maps !== 'boolean') faults.push('maps is neither true nor false')
  if (markStays !== undefined && typeof markStays !== 'boolean')
    faults.push('markStays is neither true nor false')
  if (maps === true && pgty !== undefined) faults.push('maps with a pgty: a page with a type is never mapped')
  faults.push(...opsFaults(ops))
  for (const field of ['listed', 'insert', 'free', 'access']) {
    if (typeof candidate[field] !== 'function') faults.push(`lacks ${field}`)
  }
  for (const field of ['write', 'remove']) {
    if (candidate[field] !== undefined && typeof candidate[field] !== 'function')
      faults.push(`${field} is no function`)
  }
  return faults
}

/** True if `candidate` has everything that a driver has. */
export const isDriver = (candidate: unknown): candidate is CheckedDriver =>
  shapeFaults(candidate).length === 0

function opsFaults(ops: unknown): string[] {
  if (!isRecord(ops)) return ['lacks ops']
  const whole = ['isolatePage', 'migratePage', 'putbackPage']
  const underPageLock = ['isolate', 'migrate', 'putback']
  const missing = (names: readonly string[]): string[] =>
    names.filter((name) => typeof ops[name] !== 'function')
  const fewest = missing(whole).length <= missing(underPageLock).length ? whole : underPageLock
  if (missing(fewest).length === fewest.length)
    return ['lacks isolatePage, migratePage and putbackPage (or isolate, migrate and putback)']
  return missing(fewest).map((name) => `lacks ${name}`)
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0

/** Types above buddy; those below are not negative as a mapcount. */
const isPageType = (value: unknown): boolean => isCount(value) && value > 0xf0 && value <= 0xfe

const isCellList = (value: unknown, cells: number): boolean =>
  Array.isArray(value) && value.every((cell) => isCount(cell) && cell < cells)
