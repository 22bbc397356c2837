/**
 * Swap slots: where the contents of anonymous pages are while they have no page.
 *
 * A slot is a swap entry and a place in the swap cache at once. In `swapMap` it counts who needs what it holds: each
 * pte with its entry, and the swap cache as one while it has the folio too. A slot that nobody needs is free.
 *
 * A slot goes through:
 *   folioAllocSwap      (1) taken, folio in the swap cache                    swapMap 1
 *   tryToUnmap          (2) each pte that mapped the folio holds the entry    swapMap 1 + ptes
 *   swapWriteout        (3) the contents are in the slot too
 *   removeMapping       (4) the folio is free; only the slot has them         swapMap ptes
 *   swapcacheAdd        (5) a new folio in the swap cache, for them to be read into
 *   swapFree            (6) a pte maps it again, or is zapped
 *   folioFreeSwap       (7) no pte has the entry: the folio leaves the swap cache, and the slot is free
 *
 * Rules:
 *   - the count goes up only for somebody who knows of a user: the swap cache's under (I), a pte's next to another;
 *   - (1), (3), (7) are for whoever holds (L) of the folio. Writing and reading take no time.
 *
 * Not here: several devices and their priorities, clusters, slots for large folios: those are split first. Nothing is
 * known of the swap of a machine that was captured.
 *
 * @kernel mm/swapfile.c, mm/swap_state.c, mm/page_io.c v6.18
 */

import type { Cpu } from '../base/cpu.ts'
import { mappingIdOf, nidOf, type Pfn, pfnOf, type Slot, slotOf } from '../base/units.ts'
import { addToSwapCache, deleteFromSwapCache, filemapGetFolio } from './filemap.ts'
import { PG_dirty, PG_locked, PG_swapcache, PG_writeback } from './limits.ts'
import { AS_LOCKED, MAPPING_SWAP, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { countVmEvents, PSWPIN, PSWPOUT } from './vmstat.ts'

const SWAP_CACHE = mappingIdOf(MAPPING_SWAP)
/** The one swap device. */
const DEVICE = nidOf(0)
/** No slot. */
export const NO_SLOT = slotOf(0)

/** True for slots of the machine's swap, and not of files. */
export const isSwapSlot = (mm: Mm, slot: Slot): boolean => slot >= mm.swapStart

/** Free pages of swap. @kernel get_nr_swap_pages() */
export const nrSwapPages = (cpu: Cpu, mm: Mm): number => cpu.load(mm.swapFree, DEVICE)

/** True if more than half of swap is in use. @kernel include/linux/swap.h vm_swap_full() v6.18 */
export const vmSwapFull = (cpu: Cpu, mm: Mm): boolean => nrSwapPages(cpu, mm) * 2 < mm.swapSlots

/** A slot that was free, for its first user; NO_SLOT: there is none. Looks from where the last search ended. */
function getSwapSlot(cpu: Cpu, mm: Mm): Slot {
  if (nrSwapPages(cpu, mm) <= 0) return NO_SLOT
  const end = mm.swapStart + mm.swapSlots
  let slot = slotOf(cpu.load(mm.swapNext, DEVICE))
  for (let tried = 0; tried < mm.swapSlots; tried++) {
    const next = slotOf(slot + 1 < end ? slot + 1 : mm.swapStart)
    if (cpu.cas(mm.swapMap, slot, 0, 1)) {
      cpu.store(mm.swapNext, DEVICE, next)
      cpu.add(mm.swapFree, DEVICE, -1)
      return slot
    }
    slot = next
  }
  return NO_SLOT
}

/** One more user of a slot that has some. @kernel mm/swapfile.c swap_duplicate() v6.18 */
export function swapDuplicate(cpu: Cpu, mm: Mm, slot: Slot): void {
  cpu.add(mm.swapMap, slot, 1)
}

/** One user less. True: the slot is free now. @kernel mm/swapfile.c swap_free(), put_swap_folio() v6.18 */
export function swapFree(cpu: Cpu, mm: Mm, slot: Slot): boolean {
  if (!cpu.decAndTest(mm.swapMap, slot)) return false
  cpu.add(mm.swapFree, DEVICE, 1)
  return true
}

/**
 * Gives an anonymous folio of one page a slot, and puts it into the swap cache. It is dirty: the slot does not have
 * its contents yet. False: there is no free slot.
 *
 * @locks  needs (L); takes and drops (I)
 * @kernel mm/swapfile.c folio_alloc_swap() v6.18
 */
export function folioAllocSwap(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  const slot = getSwapSlot(cpu, mm)
  if (slot === NO_SLOT) return false
  addToSwapCache(cpu, mm, pfn, slot)
  cpu.testSet(mm.flags, pfn, PG_dirty)
  return true
}

/**
 * Takes a folio out of the swap cache if no pte is left that would look for it there; its slot is free then. True: it
 * did.
 *
 * @locks  needs (L); takes and drops (I); the caller holds a reference
 * @kernel mm/swapfile.c folio_free_swap() v6.18
 */
export function folioFreeSwap(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if ((cpu.load(mm.flags, pfn) & (PG_swapcache | PG_writeback)) !== PG_swapcache) return false
  const slot = slotOf(cpu.load(mm.private, pfn))
  if (!isSwapSlot(mm, slot) || cpu.load(mm.swapMap, slot) !== 1) return false
  deleteFromSwapCache(cpu, mm, pfn)
  swapFree(cpu, mm, slot)
  cpu.testSet(mm.flags, pfn, PG_dirty)
  return true
}

/**
 * A pte has lost its entry. If only the swap cache needs the slot now, and nobody is at its folio, that goes too.
 *
 * @locks  trylocks (L), then (I)
 * @kernel mm/swapfile.c free_swap_and_cache(), __try_to_reclaim_swap() v6.18
 */
export function freeSwapAndCache(cpu: Cpu, mm: Mm, slot: Slot): void {
  if (swapFree(cpu, mm, slot) || cpu.load(mm.swapMap, slot) !== 1) return
  const found = filemapGetFolio(cpu, mm, slot)
  if (found < 0) return
  const pfn = pfnOf(found)
  if (cpu.tryLock(mm.flags, pfn, PG_locked)) {
    if (cpu.load(mm.private, pfn) === slot) folioFreeSwap(cpu, mm, pfn)
    cpu.unlock(mm.flags, pfn, PG_locked)
  }
  putPage(cpu, mm, pfn)
}

/**
 * Puts a new folio into the swap cache, for the contents of a slot to be read into. False: somebody else has done so,
 * or nobody needs the slot any more.
 *
 * @locks  needs (L); takes and drops (I)
 * @kernel mm/swap_state.c swap_cache_alloc_folio(), mm/swapfile.c swapcache_prepare() v6.18
 */
export function swapcacheAdd(cpu: Cpu, mm: Mm, pfn: Pfn, slot: Slot): boolean {
  cpu.lock(mm.mappingFlags, SWAP_CACHE, AS_LOCKED)
  const added = cpu.load(mm.cache, slot) === 0 && cpu.addUnlessZero(mm.swapMap, slot)
  if (added) {
    cpu.add(mm.refcount, pfn, 1)
    cpu.store(mm.private, pfn, slot)
    cpu.testSet(mm.flags, pfn, PG_swapcache)
    cpu.store(mm.cache, slot, pfn)
  }
  cpu.unlock(mm.mappingFlags, SWAP_CACHE, AS_LOCKED)
  return added
}

/** Writes a folio of the swap cache to its slot: it is clean. @locks needs (L). @kernel mm/page_io.c swap_writeout() v6.18 */
export function swapWriteout(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  const slot = slotOf(cpu.load(mm.private, pfn))
  cpu.testClear(mm.flags, pfn, PG_dirty)
  if (mm.hasContents) cpu.store(mm.swapContent, slot, cpu.load(mm.content, pfn))
  countVmEvents(mm, PSWPOUT, 1)
}

/** Reads what a slot holds into its folio of the swap cache. @locks needs (L). @kernel mm/page_io.c swap_read_folio() v6.18 */
export function swapReadFolio(cpu: Cpu, mm: Mm, pfn: Pfn, slot: Slot): void {
  if (mm.hasContents) cpu.store(mm.content, pfn, cpu.load(mm.swapContent, slot))
  countVmEvents(mm, PSWPIN, 1)
}
