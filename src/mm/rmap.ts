/**
 * Reverse mapping: which ptes map a page; and migration entries, which stand in a pte while its page
 * moves.
 *
 * A pte is in one of these states:
 *   (1) empty
 *   (2) present: maps a page; the page counts it in `mapcount` and, its folio, in `refcount`
 *   (3) a migration entry: names the page that moves; counted nowhere
 * Transitions: (1) -> (2) map; (2) -> (3) unmap for migration; (3) -> (2) the move is done or undone;
 * (2), (3) -> (1) zap. An accessor that meets (3) waits for the page lock of the page that the entry
 * names, and looks again (M-14).
 *
 * Rules:
 *   - the chain of ptes of a page is walked and changed under (R);
 *   - a migration entry is made and removed by whoever holds (L) of the page it names.
 *
 * @kernel mm/rmap.c try_to_migrate(), mm/migrate.c remove_migration_ptes(), migration_entry_wait() v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf, type Vpn, vpnOf } from '../base/units.ts'
import { PG_locked } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { folioHead, folioPages, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'

export const PTE_PRESENT = 1
export const PTE_MIGRATION = 2

/** Value of a pte that maps the page. */
export const presentPte = (pfn: Pfn): number => (pfn << 2) | PTE_PRESENT
const migrationPte = (pfn: Pfn): number => (pfn << 2) | PTE_MIGRATION
/** The page that a present pte maps or a migration entry names. */
export const ptePfn = (pte: number): Pfn => pfnOf(pte >>> 2)

/** The one rmap lock. */
const RMAP = nidOf(0)

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
 * Empties a pte, whatever it holds, and drops the reference that a present one had.
 *
 * @locks  takes and drops (R)
 * @kernel mm/memory.c zap_pte_range() v6.18
 */
export function zapPte(cpu: Cpu, mm: Mm, vpn: Vpn): void {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  const pte = cpu.load(mm.pte, vpn)
  if (pte !== 0) {
    unchain(cpu, mm, ptePfn(pte), vpn)
    cpu.store(mm.pte, vpn, 0)
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  if ((pte & PTE_PRESENT) === 0) return
  cpu.add(mm.mapcount, ptePfn(pte), -1)
  putPage(cpu, mm, folioHead(cpu, mm, ptePfn(pte)))
}

/** Takes a vpn out of the chain of a page. @locks needs (R) */
function unchain(cpu: Cpu, mm: Mm, pfn: Pfn, vpn: Vpn): void {
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
      }
      vpn = vpnOf(cpu.load(mm.pteNext, vpn))
    }
    left += Math.max(cpu.load(mm.mapcount, page), 0)
  }
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
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
 * The page that a virtual page is mapped to, as an access finds it: waits while it migrates. -1: not
 * mapped.
 *
 * @sleeps until the migration has ended, one way or the other (M-14)
 * @kernel mm/migrate.c migration_entry_wait(), mm/memory.c do_swap_page() v6.18
 */
export function accessPage(cpu: Cpu, mm: Mm, vpn: Vpn): number {
  for (;;) {
    // Each round either returns or waits for one migration to end.
    cpu.at('access', vpn)
    const pte = cpu.load(mm.pte, vpn)
    if (pte === 0) return -1
    if ((pte & PTE_PRESENT) !== 0) return ptePfn(pte)
    cpu.waitClear(mm.flags, folioHead(cpu, mm, ptePfn(pte)), PG_locked)
  }
}
