/**
 * User space that maps a driver's page: who reads through a pte, forks, and exits, while the page moves.
 *
 * A page is mapped at FIRST in the beginning. fork copies that pte to SECOND, whatever it holds; exit empties FIRST.
 * An access through a present pte is one step: on a cpu it is over before the flush that comes with a migration entry.
 *
 * Not here: pages with a page type. They cannot be mapped since the type took the place of the map count.
 *
 * @kernel mm/memory.c copy_present_pte(), copy_nonpresent_pte(), zap_pte_range() v6.18
 */

import type { Cpu } from '../../base/cpu.ts'
import { nidOf, type Vpn, vpnOf } from '../../base/units.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import type { Mm } from '../../mm/page.ts'
import { accessPage, isPresentPte, ptePfn, zapPte } from '../../mm/rmap.ts'

export const FIRST = vpnOf(1)
export const SECOND = vpnOf(2)
export const VPNS: readonly Vpn[] = [FIRST, SECOND]

const MOVES = -2

/** What the page at FIRST holds, after waiting while it moves; -1: nothing is mapped there. */
export function readMapped(cpu: Cpu, mm: Mm): number {
  for (;;) {
    // Each round gives an answer, or waits for one migration to end.
    if (accessPage(cpu, mm, FIRST) < 0) return -1
    const value = cpu.atomically(mm.pte, FIRST, 0, readThrough, mm, FIRST, 0, 0)
    if (value !== MOVES) return value
  }
}

function readThrough(mm: Mm, vpn: number): number {
  const pte = mm.pte[vpnOf(vpn)]
  if (pte === 0) return -1
  return !isPresentPte(pte) ? MOVES : mm.content[ptePfn(pte)]
}

/** A child gets what is at FIRST, a migration entry too. 1: there was something. */
export const fork = (cpu: Cpu, mm: Mm): number =>
  cpu.atomically(mm.rmapLock, nidOf(0), SPIN_LOCKED, copyPteLocked, mm, FIRST, SECOND, 0)

/** Under the rmap lock, which stands for the locks of both page tables: no migration walks the chain meanwhile. */
function copyPteLocked(mm: Mm, from: number, to: number): number {
  const pte = mm.pte[vpnOf(from)]
  if (pte === 0) return 0
  const pfn = ptePfn(pte)
  mm.pteNext[vpnOf(to)] = mm.rmap[pfn]
  mm.rmap[pfn] = vpnOf(to)
  mm.pte[vpnOf(to)] = pte
  if (!isPresentPte(pte)) return 1
  mm.refcount[pfn]++
  mm.mapcount[pfn]++
  return 1
}

/** The parent's address space goes away. */
export const exit = (cpu: Cpu, mm: Mm): void => zapPte(cpu, mm, FIRST)

/** Ptes that map the page. */
export const mappings = (mm: Mm, pfn: number): number =>
  VPNS.filter((vpn) => isPresentPte(mm.pte[vpn]) && ptePfn(mm.pte[vpn]) === pfn).length

/** No pte waits for a migration. */
export const noneMoves = (mm: Mm): boolean =>
  VPNS.every((vpn) => mm.pte[vpn] === 0 || isPresentPte(mm.pte[vpn]))
