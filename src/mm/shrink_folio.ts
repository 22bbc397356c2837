/**
 * Reclaim of one folio that was taken off its LRU list: what must be true for it to be freed, in order.
 *
 *   shrinkFolio   (1) lock it, without waiting            locked: kept
 *                 (2) writeback under way, mlocked        activated
 *                 (3) used lately                         activated
 *                 (4) anonymous: into the swap cache      no swap: activated; pinned: kept
 *                 (5) take it out of all page tables      mapped again: activated
 *                 (6) pinned, dirty                       activated
 *                 (7) of the swap cache: write it         somebody has a reference: kept
 *                 (8) drop its buffers
 *                 (9) removeMapping: freeze its references, out of its cache     in use: kept
 * Then nobody can reach it, and the caller frees it. Kept means back to the head of its inactive list.
 *
 * Rules:
 *   - the caller has isolated the folio: PG_lru is clear, and he holds a reference;
 *   - nothing is written but to swap: a dirty file folio stays until somebody else has cleaned it.
 *
 * Not here: MADV_FREE (an anonymous folio that is not backed by swap is kept), demotion to another node, executable
 * mappings. Page tables have no accessed bits: PG_referenced of a mapped folio stands for them.
 *
 * @kernel mm/vmscan.c shrink_folio_list(), __remove_mapping() v6.18; spec C-21
 */

import type { Cpu } from '../base/cpu.ts'
import { type ListNode, type MappingId, mappingIdOf, type Pfn, slotOf } from '../base/units.ts'
import { __GFP_IO } from './gfp.ts'
import { folioMaybeDmaPinned } from './gup.ts'
import { splitFolioToList } from './huge_memory.ts'
import {
  PG_active,
  PG_dirty,
  PG_locked,
  PG_mlocked,
  PG_private,
  PG_reclaim,
  PG_referenced,
  PG_swapcache,
  PG_writeback,
} from './limits.ts'
import { isFileLru } from './lru.ts'
import { AS_LOCKED, folioMapping, folioPages, isAnonMapping, MAPPING_SWAP, type Mm } from './page.ts'
import { folioMapcount, tryToUnmap } from './rmap.ts'
import type { ScanControl } from './scan_control.ts'
import {
  folioAllocSwap,
  folioFreeSwap,
  isSwapSlot,
  NO_SLOT,
  swapFree,
  swapWriteout,
  vmSwapFull,
} from './swap.ts'
import { countVmEvents, PGACTIVATE } from './vmstat.ts'

// How it ended.
/** Its references are frozen at 0: the caller frees it. */
export const FOLIO_RECLAIMED = 0
/** It goes back to where it was. */
export const FOLIO_KEPT = 1
/** It goes to the active list. */
export const FOLIO_ACTIVATED = 2
export type FolioOutcome = typeof FOLIO_RECLAIMED | typeof FOLIO_KEPT | typeof FOLIO_ACTIVATED

/**
 * Reclaims an isolated folio, if that is possible. A large anonymous one is split first; the pieces go to the end of
 * `pieces`, isolated as it was.
 *
 * @locks  trylocks (L) and drops it; under it (R), (I)
 * @kernel mm/vmscan.c shrink_folio_list() v6.18, of one folio
 */
export function shrinkFolio(cpu: Cpu, mm: Mm, pfn: Pfn, sc: ScanControl, pieces: ListNode): FolioOutcome {
  if (!cpu.tryLock(mm.flags, pfn, PG_locked)) return FOLIO_KEPT
  const outcome = shrinkLockedFolio(cpu, mm, pfn, sc, pieces)
  if (outcome === FOLIO_ACTIVATED) activateLockedFolio(cpu, mm, pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
  return outcome
}

/** (2) to (9). @locks needs (L) */
function shrinkLockedFolio(cpu: Cpu, mm: Mm, pfn: Pfn, sc: ScanControl, pieces: ListNode): FolioOutcome {
  const flags = cpu.load(mm.flags, pfn)
  sc.nrScanned += folioPages(flags)
  if ((flags & PG_mlocked) !== 0) return FOLIO_ACTIVATED
  if ((flags & PG_writeback) !== 0) {
    cpu.testSet(mm.flags, pfn, PG_reclaim) // to be reclaimed as soon as it is over
    return FOLIO_ACTIVATED
  }
  const mapping = cpu.load(mm.mapping, pfn)
  const mapped = folioMapcount(cpu, mm, pfn, flags) > 0
  if ((flags & PG_referenced) !== 0) {
    cpu.testClear(mm.flags, pfn, PG_referenced)
    if (mapped) return FOLIO_ACTIVATED
  }
  if (isAnonMapping(mapping)) return swapOutFolio(cpu, mm, pfn, flags, mapped, sc, pieces)
  if (mapped && tryToUnmap(cpu, mm, pfn, folioPages(flags), NO_SLOT) > 0) return FOLIO_ACTIVATED
  if (folioMaybeDmaPinned(cpu, mm, pfn)) return FOLIO_ACTIVATED
  if ((flags & PG_dirty) !== 0) {
    cpu.testSet(mm.flags, pfn, PG_reclaim) // out of the way until it is written
    return FOLIO_ACTIVATED
  }
  if ((flags & PG_private) !== 0) {
    cpu.testClear(mm.flags, pfn, PG_private) // clean buffers can be dropped
    cpu.add(mm.refcount, pfn, -1)
    if (mapping === 0) return cpu.cas(mm.refcount, pfn, 1, 0) ? FOLIO_RECLAIMED : FOLIO_KEPT
  }
  const cache = folioMapping(flags, mapping)
  return cache !== 0 && removeMapping(cpu, mm, pfn, cache, folioPages(flags)) ? FOLIO_RECLAIMED : FOLIO_KEPT
}

/** (4) to (9) of an anonymous folio. @locks needs (L) */
function swapOutFolio(
  cpu: Cpu,
  mm: Mm,
  pfn: Pfn,
  flags: number,
  mapped: boolean,
  sc: ScanControl,
  pieces: ListNode,
): FolioOutcome {
  if (isFileLru(flags)) return FOLIO_KEPT
  const pages = folioPages(flags)
  if ((flags & PG_swapcache) === 0) {
    if ((sc.gfp & __GFP_IO) === 0 || folioMaybeDmaPinned(cpu, mm, pfn)) return FOLIO_KEPT
    if (mm.swapSlots === 0) return FOLIO_ACTIVATED
    if (pages > 1) {
      if (splitFolioToList(cpu, mm, pfn, pieces) !== 0) return FOLIO_ACTIVATED
      sc.nrScanned -= pages - 1 // each piece is looked at, and counts, on its own
    }
    if (!folioAllocSwap(cpu, mm, pfn)) return FOLIO_ACTIVATED
  }
  const slot = slotOf(cpu.load(mm.private, pfn))
  // What a capture shows in the swap cache has its slot in a swap that is not part of the machine.
  if (!isSwapSlot(mm, slot)) return FOLIO_ACTIVATED
  if (mapped && tryToUnmap(cpu, mm, pfn, 1, slot) > 0) return FOLIO_ACTIVATED
  if (folioMaybeDmaPinned(cpu, mm, pfn)) return FOLIO_ACTIVATED
  if ((cpu.load(mm.flags, pfn) & PG_dirty) !== 0) {
    if ((sc.gfp & __GFP_IO) === 0) return FOLIO_KEPT
    // Whoever has a reference may write: then what is in the slot would be out of date at once.
    if (cpu.load(mm.refcount, pfn) !== UNUSED) return FOLIO_KEPT
    swapWriteout(cpu, mm, pfn)
    sc.nrPageout++
  }
  return removeMapping(cpu, mm, pfn, SWAP_CACHE, 1) ? FOLIO_RECLAIMED : FOLIO_KEPT
}

/** References of a small folio that only its cache and the isolator have. */
const UNUSED = 2

const SWAP_CACHE = mappingIdOf(MAPPING_SWAP)

/**
 * Freezes the references of a folio that only its cache and the caller have, and empties its slot. False: somebody
 * uses it, or has made it dirty before he let go; nothing changed.
 *
 * @locks  needs (L); takes and drops (I)
 * @kernel mm/vmscan.c __remove_mapping() v6.18, without shadows
 */
function removeMapping(cpu: Cpu, mm: Mm, pfn: Pfn, mapping: MappingId, pages: number): boolean {
  cpu.lock(mm.mappingFlags, mapping, AS_LOCKED)
  const frozen = cpu.cas(mm.refcount, pfn, 1 + pages, 0)
  const removed = frozen && (cpu.load(mm.flags, pfn) & PG_dirty) === 0
  let slot = NO_SLOT
  if (removed) {
    slot = slotOf(cpu.load(mm.private, pfn))
    cpu.store(mm.cache, slot, 0)
    if (mapping === SWAP_CACHE) cpu.testClear(mm.flags, pfn, PG_swapcache)
    cpu.store(mm.private, pfn, 0)
    cpu.store(mm.mapping, pfn, 0)
  } else if (frozen) cpu.store(mm.refcount, pfn, 1 + pages)
  cpu.unlock(mm.mappingFlags, mapping, AS_LOCKED)
  if (removed && mapping === SWAP_CACHE) swapFree(cpu, mm, slot)
  return removed
}

/** It is used, or cannot be reclaimed now: it waits on the active list, where it does not stand in the way. */
function activateLockedFolio(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  const flags = cpu.load(mm.flags, pfn)
  const mlocked = (flags & PG_mlocked) !== 0
  if ((flags & PG_swapcache) !== 0 && (mlocked || vmSwapFull(cpu, mm))) folioFreeSwap(cpu, mm, pfn)
  if (mlocked) return
  cpu.testSet(mm.flags, pfn, PG_active)
  countVmEvents(mm, PGACTIVATE, folioPages(flags))
}
