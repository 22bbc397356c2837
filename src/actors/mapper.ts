/**
 * Tasks that change who maps a page: fork, and exit.
 *
 * Rules:
 *   - a page gains a pte only while its (L) is held by whoever adds it and its old pte was seen to be present
 *     under that lock: a migration entry is made under (L) too, so the page does not migrate meanwhile. A
 *     reference alone is not enough (migrate_mapped.ts has the schedule). The kernel holds the locks of both page
 *     tables instead, and copies a migration entry as an entry; here a pte changes in one step and has no lock, so (L)
 *     stands for them.
 *
 * @ours
 */

import type { Cpu } from '../base/cpu.ts'
import { pfnOf, type Vpn } from '../base/units.ts'
import { tryGetPage } from '../mm/gup.ts'
import { PG_locked } from '../mm/limits.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { accessPage, mapPage, presentPte, zapPte } from '../mm/rmap.ts'

// How a fork ended.
/** Both ptes map the page. */
export const COPIED = 0
/** There was nothing to copy. */
export const NOTHING_MAPPED = 1

/**
 * Fork, of one pte: what `from` maps is mapped at `to` too. Meets a migration entry by waiting.
 *
 * @locks  takes and drops (L), then (R)
 * @sleeps for (L), and while the page migrates
 */
export function forkPte(cpu: Cpu, mm: Mm, from: Vpn, to: Vpn): number {
  for (;;) {
    // Each round either ends or has seen the pte change.
    const found = accessPage(cpu, mm, from)
    if (found < 0) return NOTHING_MAPPED
    const pfn = pfnOf(found)
    if (!tryGetPage(cpu, mm, pfn)) continue
    cpu.at('copying', pfn, from)
    cpu.lock(mm.flags, pfn, PG_locked)
    const same = cpu.load(mm.pte, from) === presentPte(pfn)
    if (same) mapPage(cpu, mm, to, pfn)
    cpu.unlock(mm.flags, pfn, PG_locked)
    cpu.at(same ? 'copied' : 'not copied', pfn, from)
    putPage(cpu, mm, pfn)
    if (same) return COPIED
  }
}

/** Exit, of one pte. */
export function exitPte(cpu: Cpu, mm: Mm, vpn: Vpn): void {
  zapPte(cpu, mm, vpn)
}
