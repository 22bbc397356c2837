/**
 * Steps that every driver under the page lock takes: hold one of its pages, mark one as its own.
 *
 * A page may be freed, or may have moved away, while somebody waits for its lock. So whoever comes by way of a page
 * frame takes a reference unless there is none, waits for the lock, and then looks again whose page it is.
 *
 * @kernel include/linux/pagemap.h folio_try_get(), folio_lock() v6.18; the look is that of mm/movable_ops.ts
 */

import type { Cpu } from '../../base/cpu.ts'
import type { Pfn } from '../../base/units.ts'
import { PG_locked, PG_movable_ops, pageTypeValue } from '../../mm/limits.ts'
import { type Mm, pageType } from '../../mm/page.ts'
import { putPage } from '../../mm/page_alloc.ts'

/**
 * Waits for a page of that type, and holds it: one reference more, and locked. False: it is no such page, or is
 * none any more; nothing changed.
 *
 * @locks  takes (L)
 * @sleeps for (L)
 */
export function lockMovablePage(cpu: Cpu, mm: Mm, pfn: Pfn, pgty: number): boolean {
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
  cpu.lock(mm.flags, pfn, PG_locked)
  const marked = (cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0
  if (marked && pageType(cpu.load(mm.mapcount, pfn)) === pgty) return true
  unlockMovablePage(cpu, mm, pfn)
  return false
}

/** Unlocks the page, then drops the reference. Pairs with lockMovablePage(). */
export function unlockMovablePage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
}

/**
 * Gives a page its type and the mark that it can move. Its owner only.
 *
 * @locks  needs (L)
 */
export function markMovable(cpu: Cpu, mm: Mm, pfn: Pfn, pgty: number): void {
  cpu.store(mm.mapcount, pfn, pageTypeValue(pgty))
  cpu.testSet(mm.flags, pfn, PG_movable_ops)
}
