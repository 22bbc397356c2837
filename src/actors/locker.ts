/**
 * A locker: a task that holds the locks of several pages at once, in an order of its own.
 *
 * Readahead and truncation do so. It says `locked` with the page that it has locked last.
 *
 * @ours
 */

import type { Cpu } from '../base/cpu.ts'
import type { Pfn } from '../base/units.ts'
import { PG_locked } from '../mm/limits.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'

/**
 * Locks the pages one after the other, holding what it has, and unlocks them again, last one first. Then it drops
 * the reference that the caller has on each.
 *
 * @sleeps for (L) of each while holding those before it
 */
export function lockInOrder(cpu: Cpu, mm: Mm, pages: readonly Pfn[]): void {
  for (const pfn of pages) {
    cpu.lock(mm.flags, pfn, PG_locked)
    cpu.at('locked', pfn)
  }
  for (const pfn of pages.toReversed()) cpu.unlock(mm.flags, pfn, PG_locked)
  for (const pfn of pages) {
    cpu.at('letting go', pfn)
    putPage(cpu, mm, pfn)
  }
}
