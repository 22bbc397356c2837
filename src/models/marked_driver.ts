/**
 * A driver that keeps nothing but the mark on its pages: what is left of it are the framework's own steps. And the
 * property that every model of isolation has.
 *
 * @ours
 */

import type { Cpu } from '../base/cpu.ts'
import type { Pfn } from '../base/units.ts'
import type { Property } from '../check/system.ts'
import { PG_locked, PG_movable_ops, PGTY_zsmalloc, pageTypeValue } from '../mm/limits.ts'
import { type PageLockedDriver, pageLockedOps, setMovableOps } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'

const MARKED: PageLockedDriver = {
  name: 'marked',
  pgty: PGTY_zsmalloc,
  isolate: () => true,
  migrate: () => 0,
  putback: () => {},
}

/** The driver's operations under the page lock. */
export const MARKED_OPS = pageLockedOps(MARKED)

/** Makes pages in use the driver's. */
export function markPages(mm: Mm, pages: readonly Pfn[]): void {
  setMovableOps(mm, MARKED.pgty, MARKED_OPS)
  for (const pfn of pages) {
    mm.mapcount[pfn] = pageTypeValue(MARKED.pgty)
    mm.flags[pfn] = PG_movable_ops
  }
}

/** The driver lets go of a page; `drop` drops its reference. */
export function releaseMarked(cpu: Cpu, mm: Mm, pfn: Pfn, drop: (cpu: Cpu, mm: Mm, pfn: Pfn) => void): void {
  cpu.lock(mm.flags, pfn, PG_locked)
  cpu.testClear(mm.flags, pfn, PG_movable_ops)
  cpu.unlock(mm.flags, pfn, PG_locked)
  drop(cpu, mm, pfn)
}

/** At most one task at a time has a page: says `cpu.at('isolated', pfn)` or `cpu.at('moving', pfn)`. */
export const oneWinner = <S>(pages: readonly Pfn[]): Property<S> => ({
  name: 'one-winner',
  says: 'among several isolators of a page exactly one wins',
  holds: (_, where) => pages.every((pfn) => where.count('isolated', pfn) + where.count('moving', pfn) <= 1),
})
