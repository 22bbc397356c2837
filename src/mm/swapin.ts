/**
 * Page faults, as far as swap needs them: who touches a page that is swapped out gets it back.
 *
 * @kernel mm/memory.c do_swap_page(), mm/swap_state.c read_swap_cache_async() v6.18
 */

import type { Cpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, type Slot, type Vpn } from '../base/units.ts'
import { filemapGetFolio } from './filemap.ts'
import { EAGAIN, ENOMEM, PG_locked, PG_swapbacked, PG_swapcache, PG_uptodate } from './limits.ts'
import { folioAddLru } from './lru.ts'
import { ANON_MAPPING, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { accessPage, isSwapPte, mapSwappedIn, pteSlot, SWAPPED_OUT } from './rmap.ts'
import { folioFreeSwap, swapcacheAdd, swapFree, swapReadFolio, vmSwapFull } from './swap.ts'
import { countVmEvents, PGMAJFAULT } from './vmstat.ts'

/** Where pages for faults come from. */
export interface FaultPages {
  /** A page with one reference, or -1: there is none. */
  getNewPage(cpu: Cpu, mm: Mm): number
}

/**
 * The page that an access to `vpn` reaches: waits while it migrates, and swaps it in. NOT_MAPPED: the pte is empty;
 * -ENOMEM: there is no page for it.
 *
 * @sleeps for (L), and while the page migrates
 */
export function faultInPage(cpu: Cpu, mm: Mm, vpn: Vpn, pages: FaultPages, write: boolean): number {
  for (;;) {
    // Each round either ends or has seen the page swapped in, by this task or another.
    const found = accessPage(cpu, mm, vpn)
    if (found !== SWAPPED_OUT) return found
    if (doSwapPage(cpu, mm, vpn, pages, write) !== 0) return -ENOMEM
  }
}

/**
 * Swaps in what the pte says is swapped out. 0: the pte is present, or somebody else has changed it.
 *
 * @locks  takes and drops (L), then (R), (I)
 * @sleeps for (L)
 * @errors -ENOMEM: no page. The pte is as before.
 */
export function doSwapPage(cpu: Cpu, mm: Mm, vpn: Vpn, pages: FaultPages, write: boolean): number {
  for (;;) {
    // Each round either ends or has seen the slot, its folio or the pte change.
    cpu.at('do_swap_page', vpn)
    const entry = cpu.load(mm.pte, vpn)
    if (!isSwapPte(entry)) return 0
    const slot = pteSlot(entry)
    const found = swapinFolio(cpu, mm, slot, pages)
    if (found === -EAGAIN) continue
    if (found < 0) return found
    const pfn = pfnOf(found)
    cpu.lock(mm.flags, pfn, PG_locked)
    cpu.at('swapping in', pfn, entry)
    const mapped = isInSlot(cpu, mm, pfn, slot) && mapSwappedIn(cpu, mm, vpn, entry, pfn)
    if (mapped) {
      swapFree(cpu, mm, slot)
      if (isSlotForNothing(cpu, mm, pfn, write)) folioFreeSwap(cpu, mm, pfn)
    }
    cpu.unlock(mm.flags, pfn, PG_locked)
    cpu.at(mapped ? 'swapped in' : 'not swapped in', pfn, vpn)
    putPage(cpu, mm, pfn)
    if (mapped) return 0
  }
}

/** False: the folio was reclaimed, moved, or taken out of the swap cache while the caller waited for it. @locks needs (L) */
const isInSlot = (cpu: Cpu, mm: Mm, pfn: Pfn, slot: Slot): boolean =>
  (cpu.load(mm.flags, pfn) & PG_swapcache) !== 0 && cpu.load(mm.private, pfn) === slot

/** References of a page that only the faulting task has: its own, the pte's, and the swap cache's. */
const NOBODY_ELSE = 3

/** True if swap is scarce, or the page is written to at once and nobody else's. @kernel should_try_to_free_swap() v6.18 */
const isSlotForNothing = (cpu: Cpu, mm: Mm, pfn: Pfn, write: boolean): boolean =>
  vmSwapFull(cpu, mm) || (write && cpu.load(mm.refcount, pfn) === NOBODY_ELSE)

/**
 * The folio of a slot, with a reference: from the swap cache, or a new one that its contents are read into.
 *
 * @locks  takes and drops (L) of a new page, then (I)
 * @errors -ENOMEM: no page; -EAGAIN: somebody else was faster, or nobody needs the slot any more
 */
function swapinFolio(cpu: Cpu, mm: Mm, slot: Slot, pages: FaultPages): number {
  const cached = filemapGetFolio(cpu, mm, slot)
  if (cached >= 0) return cached
  const page = pages.getNewPage(cpu, mm)
  if (page < 0) return -ENOMEM
  const pfn = pfnOf(page)
  cpu.lock(mm.flags, pfn, PG_locked)
  cpu.testSet(mm.flags, pfn, PG_swapbacked)
  cpu.store(mm.mapping, pfn, ANON_MAPPING)
  if (!swapcacheAdd(cpu, mm, pfn, slot)) {
    cpu.unlock(mm.flags, pfn, PG_locked)
    cpu.at('not added', pfn, slot)
    putPage(cpu, mm, pfn)
    return -EAGAIN
  }
  cpu.at('reading', pfn, slot)
  swapReadFolio(cpu, mm, pfn, slot)
  countVmEvents(mm, PGMAJFAULT, 1)
  cpu.testSet(mm.flags, pfn, PG_uptodate)
  folioAddLru(cpu, mm, pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
  return page
}
