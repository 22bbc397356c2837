/**
 * A long-term pin against migration: is what is pinned the page that is mapped, and does it stay out of CMA?
 *
 * An anonymous page lies where it may be pinned. A compactor moves it into a CMA pageblock; somebody pins it for long
 * meanwhile, and has to move it out again if he comes too late, or wait if it is on its way; somebody writes to it by its
 * pte, and an exit takes the pte away.
 *
 * Verified: a page that is pinned for long is not in CMA, does not move, and what is written by way of the pin is what
 * ptes find; no write is lost by either move; every reference is accounted for in the end, and nothing of a migration is
 * left. A pinner that meets a page in other hands comes to an end.
 *
 * Not verified here: the loops of gup_longterm.ts over several pages and of migrate.ts over a batch (the move is that of
 * one folio, by actors/compactor.ts), large folios, running out of destinations, swap.
 *
 * `actors` are those beside pinner and compactor, the first so many of: writer, exit. There is one page.
 *
 * Spec: 2.5, M-8, C-4
 */

import { compactPage, MOVED, moveIsolated } from '../actors/compactor.ts'
import { exitPte } from '../actors/mapper.ts'
import { type UserMachine, writeMapped, writeToPage } from '../actors/users.ts'
import type { Cpu } from '../base/cpu.ts'
import { type Pfn, pfnOf, type Vpn, vpnOf } from '../base/units.ts'
import type { System, Task } from '../check/system.ts'
import { tryGrabFolio, unpinUserPage } from '../mm/gup.ts'
import { folioIsLongtermPinnable, isolatePinned, pinPte } from '../mm/gup_longterm.ts'
import { EFAULT, MIGRATE_CMA, MIGRATE_SYNC, pageblockOf } from '../mm/limits.ts'
import { type Mm, PB_MIGRATETYPE } from '../mm/page.ts'
import { accessPage, isMigrationPte, isPresentPte, ptePfn } from '../mm/rmap.ts'
import type { FaultPages } from '../mm/swapin.ts'
import { compactWrongly } from './migrate_mapped.ts'
import type { Model } from './model.ts'
import { isCounter, isFree, lockRulesOf, mapAnon, smallMachine } from './small_machine.ts'
import { lruText } from './value_text.ts'

export const longtermPin: Model = {
  name: 'longterm-pin',
  question: 'Does a long-term pin hold the page that is mapped, outside of CMA, while others move the page?',
  source: '2.5, M-8, C-4',
  seeded: {
    'no-second-look': 'the pin is taken without looking whether the pte still maps the page',
    'pins-in-cma': 'the page is pinned wherever it lies, as for short: it may have moved to CMA just before',
    'no-compare': 'the compactor does not look whether somebody else has a reference (M-8)',
  },
  size: { actors: 1, pages: 1 },
  sizeMax: { actors: 2, pages: 1 },
  build: ({ actors }, seeded): System<UserMachine> => {
    const { mm, pages, spares, far } = smallMachine(1, 1, { ptes: 1 }, 1)
    const [page, outside, inCma] = [pages[0], spares[0], far[0]]
    mm.pageblock[pageblockOf(inCma)] = (mm.pageblock[pageblockOf(inCma)] & ~PB_MIGRATETYPE) | MIGRATE_CMA
    mapAnon(mm, page, [VPN])
    const last = new Int32Array(2)
    last[VPN] = mm.content[page]
    const all = [page, outside, inCma]
    const compact = seeded === 'no-compare' ? compactWithoutCompare : compactToCma
    return {
      name: 'longterm-pin',
      state: { mm, last, origin: [vpnOf(0), VPN] },
      tasks: [
        { name: 'pinner', run: (cpu, state) => pinForLong(cpu, state, outside, seeded) },
        { name: 'compactor', run: (cpu, state) => compact(cpu, state.mm, page, inCma) },
        ...OTHERS.slice(0, actors),
      ],
      invariants: [
        {
          name: 'no-write-lost',
          says: 'a page that a pte maps holds what was written last',
          holds: ({ mm: state, last: written }) =>
            !isPresentPte(state.pte[VPN]) || state.content[ptePfn(state.pte[VPN])] === written[VPN],
        },
        {
          name: 'pins-hold',
          says: 'a page that is pinned for long is in use, and no pte leads to another one',
          holds: ({ mm: state }, where) =>
            all.every(
              (pfn) =>
                where.count('pinned for long', pfn) === 0 ||
                (state.refcount[pfn] > 0 && isMappedOrGone(state, pfn)),
            ),
        },
        {
          name: 'not-in-cma',
          says: 'nothing is pinned for long in a CMA pageblock',
          holds: (_, where) => where.count('pinned for long', inCma) === 0,
        },
      ],
      atEnd: [
        {
          name: 'waiters-wake',
          says: 'no migration entry outlives its migration',
          holds: ({ mm: state }) => !isMigrationPte(state.pte[VPN]),
        },
        {
          name: 'references-exact',
          says: 'the page that is mapped has one reference, any other is free, or a destination that nobody needed',
          holds: ({ mm: state }) => all.every((pfn) => isAccounted(state, pfn)),
        },
      ],
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: lruText,
    }
  },
}

const VPN: Vpn = vpnOf(1)

const OTHERS: readonly Task<UserMachine>[] = [
  { name: 'writer', run: (cpu, state) => writeMapped(cpu, state, VPN, 200) },
  { name: 'exit', run: (cpu, state) => exitPte(cpu, state.mm, VPN) },
]

/** Nothing is swapped out here. */
const NO_PAGES: FaultPages = { getNewPage: () => -1 }

/**
 * Pins the page for long, moving it to `outside` if it has to go, writes to it by way of the pin, and lets go of it.
 * pinUserPages() for one page and one destination: when the move fails, it gives up.
 */
function pinForLong(cpu: Cpu, machine: UserMachine, outside: Pfn, seeded: string | undefined): number {
  const { mm } = machine
  const pin = seeded === 'no-second-look' ? pinBlindly : pinPte
  for (;;) {
    // Each round either ends or has seen somebody else have the page isolated.
    cpu.at('pinning')
    const found = pin(cpu, mm, VPN, NO_PAGES)
    if (found < 0) return found
    const pfn = pfnOf(found)
    cpu.at('pinned', pfn)
    if (seeded === 'pins-in-cma' || folioIsLongtermPinnable(mm, pfn)) {
      cpu.at('pinned for long', pfn)
      writeToPage(cpu, machine, VPN, pfn, 201)
      cpu.at('letting go', pfn)
      unpinUserPage(cpu, mm, pfn)
      return 0
    }
    const isolated = isolatePinned(cpu, mm, pfn)
    cpu.at(isolated ? 'isolated for a pin' : 'in other hands', pfn)
    unpinUserPage(cpu, mm, pfn)
    if (isolated && moveIsolated(cpu, mm, pfn, outside, MIGRATE_SYNC) !== MOVED) return -1
  }
}

function compactToCma(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn): void {
  compactPage(cpu, mm, src, dst, MIGRATE_SYNC)
}

/** True if the pte maps the page, or nothing: then the pin is all that keeps it. */
const isMappedOrGone = (mm: Mm, pfn: Pfn): boolean => {
  const pte = mm.pte[VPN]
  return pte === 0 || ptePfn(pte) === pfn
}

function isAccounted(mm: Mm, pfn: Pfn): boolean {
  if (isPresentPte(mm.pte[VPN]) && ptePfn(mm.pte[VPN]) === pfn) return mm.refcount[pfn] === 1
  return isFree(mm, pfn) || (mm.refcount[pfn] === 1 && mm.flags[pfn] === 0 && mm.mapcount[pfn] === 0)
}

// The mistakes.

/** pinPte() that takes the page for the one that it has seen. */
function pinBlindly(cpu: Cpu, mm: Mm, vpn: Vpn): number {
  for (;;) {
    // Each round either ends or has seen the page free.
    cpu.at('pin', vpn)
    const found = accessPage(cpu, mm, vpn)
    if (found < 0) return -EFAULT
    if (tryGrabFolio(cpu, mm, pfnOf(found))) return found
  }
}

function compactWithoutCompare(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn): void {
  compactWrongly(cpu, mm, src, dst, 'no-compare')
}
