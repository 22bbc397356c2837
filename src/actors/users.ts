/**
 * Users of a page: tasks that reach its contents by a page table entry, with or without a pin.
 *
 * What the hardware does with a present pte is one step: the translation and the access. So a write happens
 * only where the pte still is what the task has seen, and a pte that is taken away afterwards has let the
 * write through: the TLB is flushed before its holder goes on.
 *
 * `last` remembers, beside the machine, what was written last: what a page's contents are compared with. A pte
 * that fork has made shares it with the one that it was copied from (`origin`).
 *
 * @ours
 */

import type { Cpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, type Vpn, type VpnColumn, vpnOf } from '../base/units.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { accessPage, isPresentPte, NOT_MAPPED, presentPte, ptePfn } from '../mm/rmap.ts'
import { type FaultPages, faultInPage } from '../mm/swapin.ts'

/** A machine, and what its users know of it. */
export interface UserMachine {
  readonly mm: Mm
  /** What was written last to the page at a vpn that is an origin. */
  readonly last: VpnColumn
  /** The vpn that this one was or will be copied from; itself if from none. */
  readonly origin: readonly Vpn[]
}

// How an access ended.
/** It has read or written the page. */
export const ACCESSED = 0
/** There is no page at that vpn any more. */
export const UNMAPPED_MEANWHILE = 1
/** It is swapped out, and there is no memory for it. */
export const NO_PAGE = 2

/**
 * Writes `value` to what is mapped at `vpn`; waits while it migrates, and starts again if it was moved or
 * unmapped just before the write.
 *
 * @sleeps while the page migrates
 */
export function writeMapped(cpu: Cpu, machine: UserMachine, vpn: Vpn, value: number): number {
  for (;;) {
    // Each round either ends or has seen the pte change.
    const found = accessPage(cpu, machine.mm, vpn)
    if (found < 0) return UNMAPPED_MEANWHILE
    const pte = presentPte(pfnOf(found))
    if (cpu.atomically(machine.mm.pte, vpn, 0, storeThroughPte, machine, vpn, pte, value) === 1)
      return ACCESSED
  }
}

/**
 * The same where the page may be swapped out: it is swapped in first, to a page of `pages`.
 *
 * @sleeps while the page migrates, and for the page lock
 * @errors NO_PAGE: there is no page to swap it in to; the pte is as before
 */
export function writeFaulting(
  cpu: Cpu,
  machine: UserMachine,
  pages: FaultPages,
  vpn: Vpn,
  value: number,
): number {
  for (;;) {
    // Each round either ends or has seen the pte change.
    const found = faultInPage(cpu, machine.mm, vpn, pages, true)
    if (found < 0) return found === NOT_MAPPED ? UNMAPPED_MEANWHILE : NO_PAGE
    const pte = presentPte(pfnOf(found))
    if (cpu.atomically(machine.mm.pte, vpn, 0, storeThroughPte, machine, vpn, pte, value) === 1)
      return ACCESSED
  }
}

/**
 * A speculative pin: a reference on whatever the pte maps, kept only if the pte still maps it afterwards; then a
 * write through the pin, which asks no pte any more.
 *
 * It says `pinned` with the page that it has.
 *
 * @errors UNMAPPED_MEANWHILE: empty, migrating, or changed meanwhile. Nothing changed: the slow path would wait.
 * @kernel mm/gup.c gup_fast_pte_range() v6.18
 */
export function pinAndWrite(cpu: Cpu, machine: UserMachine, vpn: Vpn, value: number): number {
  const { mm } = machine
  const pte = cpu.load(mm.pte, vpn)
  if (!isPresentPte(pte)) return UNMAPPED_MEANWHILE
  const pfn = ptePfn(pte)
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return UNMAPPED_MEANWHILE
  const same = cpu.load(mm.pte, vpn) === pte
  if (same) {
    cpu.at('pinned', pfn, vpn)
    writeToPage(cpu, machine, vpn, pfn, value)
  }
  cpu.at('unpinning', pfn, same ? 1 : 0)
  putPage(cpu, mm, pfn)
  return same ? ACCESSED : UNMAPPED_MEANWHILE
}

/** Writes to a page that the caller has pinned, which is what `vpn` maps. */
export function writeToPage(cpu: Cpu, machine: UserMachine, vpn: Vpn, pfn: Pfn, value: number): void {
  cpu.atomically(machine.mm.pte, vpn, 0, storeToPage, machine, vpn, pfn, value)
}

// One step each: what the hardware does.

/** 1: written. 0: the pte is another one by now. */
function storeThroughPte(machine: UserMachine, vpn: number, pte: number, value: number): number {
  if (machine.mm.pte[vpnOf(vpn)] !== pte) return 0
  storeToPage(machine, vpn, ptePfn(pte), value)
  return 1
}

function storeToPage({ mm, last, origin }: UserMachine, vpn: number, pfn: number, value: number): number {
  mm.content[pfnOf(pfn)] = value
  last[origin[vpn]] = value
  return 0
}
