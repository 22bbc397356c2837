/**
 * Reverse mapping: which ptes map a page; and migration entries, which stand in a pte while its page
 * moves.
 *
 * A pte is in one of these states:
 *   (1) empty
 *   (2) present: maps a page; the page counts it in `mapcount` and, its folio, in `refcount`
 *   (3) a migration entry: names the page that moves; counted nowhere
 *   (4) a swap entry: names the slot that holds what the page held; counted in `swapMap`
 * Transitions: (1) -> (2) map; (2) -> (3) unmap for migration; (3) -> (2) the move is done or undone;
 * (2) -> (4) an anonymous page is reclaimed, (2) -> (1) one of a file; (4) -> (2) it is swapped in (swapin.ts);
 * (2), (3), (4) -> (1) zap. An accessor that meets (3) waits for the page lock of the page that the entry
 * names, and looks again (M-14).
 *
 * Rules:
 *   - the chain of ptes of a page, (2) and (3), is walked and changed under (R); so are swap entries;
 *   - a migration entry is made and removed by whoever holds (L) of the page it names;
 *   - an empty pte that several tasks may fill at once is filled under (R).
 *
 * Not here: accessed and dirty bits. An anonymous page that was mapped counts as written, one of a file does not: whoever
 * takes a pte away from a page of the swap cache makes that page dirty, for its slot may hold older contents.
 *
 * @kernel mm/rmap.c try_to_migrate(), try_to_unmap(), mm/migrate.c remove_migration_ptes(), migration_entry_wait() v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf, type Slot, slotOf, type Vpn, vpnOf } from '../base/units.ts'
import { PG_dirty, PG_locked, PG_swapcache } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { folioAddLru } from './lru.ts'
import { folioHead, folioPages, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { freeSwapAndCache, swapDuplicate } from './swap.ts'

export const PTE_PRESENT = 1
export const PTE_MIGRATION = 2
export const PTE_SWAP = 3
const PTE_STATE = 3

export const isPresentPte = (pte: number): boolean => (pte & PTE_STATE) === PTE_PRESENT
export const isMigrationPte = (pte: number): boolean => (pte & PTE_STATE) === PTE_MIGRATION
export const isSwapPte = (pte: number): boolean => (pte & PTE_STATE) === PTE_SWAP

/** Value of a pte that maps the page. */
export const presentPte = (pfn: Pfn): number => (pfn << 2) | PTE_PRESENT
/** Value of a pte whose page moves. */
export const migrationPte = (pfn: Pfn): number => (pfn << 2) | PTE_MIGRATION
/** The page that a present pte maps or a migration entry names. */
export const ptePfn = (pte: number): Pfn => pfnOf(pte >>> 2)
/** Value of a pte whose page is swapped out. */
export const swapPte = (slot: Slot): number => (slot << 2) | PTE_SWAP
/** The slot that a swap entry names. */
export const pteSlot = (pte: number): Slot => slotOf(pte >>> 2)

/** The one rmap lock. */
export const RMAP = nidOf(0)

/**
 * Maps a page at an empty pte. Takes a reference on its folio.
 *
 * A reference alone does not keep the page from moving: who maps a page that is mapped already (fork) holds (L) and
 * has seen the other pte present under it, or the page moves between the chain and the pte and its writes are lost
 * (model migrate-mapped, `fork-by-reference`).
 *
 * @locks  takes and drops (R); needs (L) of a page that others can reach
 * @kernel mm/rmap.c folio_add_anon_rmap_pte() v6.18
 */
export function mapPage(cpu: Cpu, mm: Mm, vpn: Vpn, pfn: Pfn): void {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  cpu.store(mm.pteNext, vpn, cpu.load(mm.rmap, pfn))
  cpu.store(mm.rmap, pfn, vpn)
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  cpu.add(mm.refcount, folioHead(cpu, mm, pfn), 1)
  cpu.add(mm.mapcount, pfn, 1)
  const empty = cpu.cas(mm.pte, vpn, 0, presentPte(pfn))
  assert(empty, 'map: the pte is in use')
}

/**
 * Maps a folio that nobody else can reach, one page a pte from `first` on, and puts it on the LRU. The caller's
 * reference becomes that of the first pte. False: one of the ptes is not empty; nothing has changed.
 *
 * What a fault has found empty may have been filled since: it is filled under (R) by whoever comes first.
 *
 * @locks  takes and drops (R), under it (U)
 * @kernel mm/memory.c do_anonymous_page(), mm/huge_memory.c map_anon_folio_pmd() v6.18
 */
export function mapNewFolio(cpu: Cpu, mm: Mm, first: Vpn, folio: Pfn, pages: number): boolean {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  const empty = ptesAreEmpty(cpu, mm, first, pages)
  if (empty) fillPtes(cpu, mm, first, folio, pages)
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  return empty
}

/** True if all of these ptes are empty. A guess without (R). @kernel mm/memory.c pte_range_none() */
export function ptesAreEmpty(cpu: Cpu, mm: Mm, first: Vpn, pages: number): boolean {
  for (let vpn = first; vpn < first + pages; vpn = vpnOf(vpn + 1)) {
    if (cpu.load(mm.pte, vpn) !== 0) return false
  }
  return true
}

/**
 * Maps a folio at ptes that map nothing, whatever else they hold, and puts it on the LRU.
 *
 * @locks needs (R); takes and drops (U)
 */
export function fillPtes(cpu: Cpu, mm: Mm, first: Vpn, folio: Pfn, pages: number): void {
  if (pages > 1) cpu.add(mm.refcount, folio, pages - 1)
  for (let i = 0; i < pages; i++) {
    cpu.store(mm.pteNext, vpnOf(first + i), 0)
    cpu.store(mm.rmap, pfnOf(folio + i), first + i)
    cpu.add(mm.mapcount, pfnOf(folio + i), 1)
  }
  folioAddLru(cpu, mm, folio)
  for (let i = 0; i < pages; i++) cpu.store(mm.pte, vpnOf(first + i), presentPte(pfnOf(folio + i)))
}

/**
 * Maps a page at a pte that holds a swap entry. Takes a reference on it; the entry is the caller's to drop.
 * False: the pte is another one by now, and nothing changed.
 *
 * @locks  takes and drops (R); needs (L) of the page
 * @kernel mm/memory.c do_swap_page(), from where it has the page table locked, v6.18
 */
export function mapSwappedIn(cpu: Cpu, mm: Mm, vpn: Vpn, entry: number, pfn: Pfn): boolean {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  const same = cpu.load(mm.pte, vpn) === entry
  if (same) {
    cpu.store(mm.pteNext, vpn, cpu.load(mm.rmap, pfn))
    cpu.store(mm.rmap, pfn, vpn)
    cpu.add(mm.refcount, pfn, 1)
    cpu.add(mm.mapcount, pfn, 1)
    cpu.store(mm.pte, vpn, presentPte(pfn))
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  return same
}

/**
 * Empties a pte, whatever it holds, and drops what it had: the reference of a present one, the share of a swap entry
 * in its slot.
 *
 * @locks  takes and drops (R); trylocks (L), then (I), of what is left in the swap cache
 * @kernel mm/memory.c zap_pte_range() v6.18
 */
export function zapPte(cpu: Cpu, mm: Mm, vpn: Vpn): void {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  const pte = cpu.load(mm.pte, vpn)
  if (pte !== 0) {
    if (!isSwapPte(pte)) unchain(cpu, mm, ptePfn(pte), vpn)
    cpu.store(mm.pte, vpn, 0)
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  if (isSwapPte(pte)) freeSwapAndCache(cpu, mm, pteSlot(pte))
  if (!isPresentPte(pte)) return
  const folio = folioHead(cpu, mm, ptePfn(pte))
  markWritten(cpu, mm, folio) // before the reference goes: with it, nobody writes the page to its slot
  cpu.add(mm.mapcount, ptePfn(pte), -1)
  putPage(cpu, mm, folio)
}

/** A page of the swap cache has lost a pte: others, whose ptes hold its entry, are to find what was written through it. */
function markWritten(cpu: Cpu, mm: Mm, folio: Pfn): void {
  if (mm.swapSlots === 0) return
  if ((cpu.load(mm.flags, folio) & PG_swapcache) !== 0) cpu.testSet(mm.flags, folio, PG_dirty)
}

/** Takes a vpn out of the chain of a page. @locks needs (R) */
export function unchain(cpu: Cpu, mm: Mm, pfn: Pfn, vpn: Vpn): void {
  const next = cpu.load(mm.pteNext, vpn)
  let at = vpnOf(cpu.load(mm.rmap, pfn))
  if (at === vpn) {
    cpu.store(mm.rmap, pfn, next)
    return
  }
  // Bounded by the length of the chain: each round is one pte further.
  while (at !== 0) {
    const after = vpnOf(cpu.load(mm.pteNext, at))
    if (after === vpn) {
      cpu.store(mm.pteNext, at, next)
      return
    }
    at = after
  }
  assert(false, 'zap: the pte is not in the chain of its page')
}

/** Sum of the mappings of all pages of a folio. @kernel folio_mapcount() v6.18 */
export function folioMapcount(cpu: Cpu, mm: Mm, pfn: Pfn, flags: number): number {
  const pages = folioPages(flags)
  if (pages === 1) return Math.max(cpu.load(mm.mapcount, pfn), 0)
  let sum = 0
  for (let page = pfn; page < pfn + pages; page = pfnOf(page + 1))
    sum += Math.max(cpu.load(mm.mapcount, page), 0)
  return sum
}

/**
 * Replaces every present pte of a folio by a migration entry. Gives the mappings that are left: 0 unless
 * one appeared meanwhile.
 *
 * @locks  needs (L); takes and drops (R)
 * @kernel mm/rmap.c try_to_migrate() v6.18
 */
export function tryToMigrate(cpu: Cpu, mm: Mm, folio: Pfn, pages: number): number {
  let left = 0
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  for (let page = folio; page < folio + pages; page = pfnOf(page + 1)) {
    let vpn = vpnOf(cpu.load(mm.rmap, page))
    while (vpn !== 0) {
      if (cpu.cas(mm.pte, vpn, presentPte(page), migrationPte(page))) {
        cpu.add(mm.mapcount, page, -1)
        cpu.add(mm.refcount, folio, -1) // never the last one: the isolator holds a reference
        mm.trace?.setMigrationPte(vpn, page, pages)
      }
      vpn = vpnOf(cpu.load(mm.pteNext, vpn))
    }
    left += Math.max(cpu.load(mm.mapcount, page), 0)
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  markWritten(cpu, mm, folio) // an entry may be zapped before it is a pte again
  return left
}

/**
 * Replaces every migration entry that names `src` by a present pte of `dst`. With dst = src it undoes
 * tryToMigrate(). Pairs with tryToMigrate(): what had a mapping has one again.
 *
 * @locks  needs (L) of both; takes and drops (R)
 * @kernel mm/migrate.c remove_migration_ptes() v6.18
 */
export function removeMigrationPtes(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn, pages: number): void {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  for (let i = 0; i < pages; i++) {
    const from = pfnOf(src + i)
    const to = pfnOf(dst + i)
    const first = vpnOf(cpu.load(mm.rmap, from))
    let vpn = first
    while (vpn !== 0) {
      if (cpu.load(mm.pte, vpn) === migrationPte(from)) {
        cpu.add(mm.refcount, dst, 1)
        cpu.add(mm.mapcount, to, 1)
        cpu.store(mm.pte, vpn, presentPte(to))
        mm.trace?.removeMigrationPte(vpn, to, pages)
      }
      vpn = vpnOf(cpu.load(mm.pteNext, vpn))
    }
    if (first !== 0 && from !== to) {
      cpu.store(mm.rmap, to, first)
      cpu.store(mm.rmap, from, 0)
    }
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
}

/**
 * Takes a folio out of every page table: of a file, the ptes are empty afterwards; of the swap cache, each holds an
 * entry of its slot. Gives the mappings that are left: 0 unless one appeared meanwhile.
 *
 * @locks  needs (L); takes and drops (R)
 * @kernel mm/rmap.c try_to_unmap() v6.18
 */
export function tryToUnmap(cpu: Cpu, mm: Mm, folio: Pfn, pages: number, slot: Slot): number {
  let left = 0
  let written = false
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  for (let page = folio; page < folio + pages; page = pfnOf(page + 1)) {
    let vpn = vpnOf(cpu.load(mm.rmap, page))
    while (vpn !== 0) {
      const next = vpnOf(cpu.load(mm.pteNext, vpn))
      if (cpu.cas(mm.pte, vpn, presentPte(page), slot === 0 ? 0 : swapPte(slot))) {
        if (slot !== 0) swapDuplicate(cpu, mm, slot) // before (R) is dropped: until then nobody zaps the entry
        unchain(cpu, mm, page, vpn)
        cpu.add(mm.mapcount, page, -1)
        cpu.add(mm.refcount, folio, -1) // never the last one: the isolator holds a reference
        written = slot !== 0
      }
      vpn = next
    }
    left += Math.max(cpu.load(mm.mapcount, page), 0)
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  if (written) cpu.testSet(mm.flags, folio, PG_dirty)
  return left
}

/** What accessPage() says of a pte that is empty. */
export const NOT_MAPPED = -1
/** What it says of one whose page is swapped out. */
export const SWAPPED_OUT = -2

/**
 * The page that a virtual page is mapped to, as an access finds it: waits while it migrates. NOT_MAPPED, SWAPPED_OUT:
 * there is none (swapin.ts swaps it in).
 *
 * @sleeps until the migration has ended, one way or the other (M-14)
 * @kernel mm/migrate.c migration_entry_wait(), mm/memory.c do_swap_page() v6.18
 */
export function accessPage(cpu: Cpu, mm: Mm, vpn: Vpn): number {
  for (;;) {
    // Each round either returns or waits for one migration to end.
    cpu.at('access', vpn)
    const pte = cpu.load(mm.pte, vpn)
    if (pte === 0) return NOT_MAPPED
    if (isPresentPte(pte)) return ptePfn(pte)
    if (isSwapPte(pte)) return SWAPPED_OUT
    cpu.waitClear(mm.flags, folioHead(cpu, mm, ptePfn(pte)), PG_locked)
  }
}
