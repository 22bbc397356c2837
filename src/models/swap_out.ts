/**
 * Swap-out of an anonymous page against those who use it: is a write lost between memory and swap?
 *
 * The page is anonymous, mapped, and on the LRU. Reclaim takes it off its list, gives it a slot, leaves entries in its
 * ptes, writes it and frees it; meanwhile a writer and another thread of the same process write to it through one pte,
 * and fault it in where they find an entry; and another process has a pte of its own.
 *
 * Verified: in every state each pte leads to what was written last, in memory, in the swap cache or in the slot; at the
 * end a page has the references of its ptes and of the swap cache, a slot the users that name it, and what nobody needs
 * is free.
 *
 * Not verified here: I/O that takes time (writing and reading are one step), large folios, pins, swap that is full,
 * fork, memory that runs out for longer than the page is being reclaimed: then a write gives up. A page that was
 * faulted in while it moves. Systems of their own, below: that a page is moved or reclaimed, but not both; and exit
 * of one of two processes.
 *
 * `actors` are the others, the first so many of: writer, thread, sharer (at the second pte, which is there only for
 * him). There is one page.
 *
 * Spec: C-21, M-8
 */

import { compactPage } from '../actors/compactor.ts'
import { reclaimPage } from '../actors/file_users.ts'
import { type UserMachine, writeFaulting } from '../actors/users.ts'
import { assert } from '../base/assert.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { mappingIdOf, nidOf, type Pfn, pfnOf, slotOf, type Vpn, vpnOf, zoneIdOf } from '../base/units.ts'
import type { System, Task } from '../check/system.ts'
import { tryGetPage } from '../mm/gup.ts'
import { MIGRATE_MOVABLE, MIGRATE_SYNC, PG_dirty, PG_locked, PG_swapcache } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { folioAddLru, folioIsolateLru } from '../mm/lru.ts'
import { AS_LOCKED, MAPPING_SWAP, type Mm } from '../mm/page.ts'
import { allocFromZone, freeFolio, putPage } from '../mm/page_alloc.ts'
import {
  isPresentPte,
  isSwapPte,
  presentPte,
  ptePfn,
  pteSlot,
  swapPte,
  tryToUnmap,
  unchain,
  zapPte,
} from '../mm/rmap.ts'
import { folioAllocSwap, swapFree, swapWriteout } from '../mm/swap.ts'
import { type FaultPages, faultInPage } from '../mm/swapin.ts'
import type { Model } from './model.ts'
import { isCounter, isFree, lockRulesOf, mapAnon, smallMachine } from './small_machine.ts'
import { lruText } from './value_text.ts'

export const swapOut: Model = {
  name: 'swap-out',
  question: 'Is a write to an anonymous page lost while the page is swapped out and faulted in?',
  source: 'C-21, M-8',
  seeded: {
    'written-while-mapped': 'reclaim writes the page to swap before its ptes are gone, and not again',
    'entry-not-counted': 'a pte gets the entry of a slot that does not count it',
    'fault-without-compare': 'a fault maps the page without looking whether the pte still has the entry',
  },
  size: { actors: 2, pages: 1 },
  sizeMax: { actors: 3, pages: 1 },
  build: ({ actors }, seeded): System<UserMachine> => {
    const { mm, pages, spares } = smallMachine(1, 1, { ptes: 2, swapSlots: 1 })
    const [page] = pages
    const machine = userMachine(mm, page, actors)
    putPage(new FastCpu(), mm, spares[0])
    return systemOf(
      machine,
      [...pages, ...spares],
      [
        { name: 'reclaim', run: (cpu, state) => reclaimAs(cpu, state.mm, page, seeded) },
        ...usersOf(seeded).slice(0, actors),
      ],
    )
  },
}

/**
 * Reclaim against the compactor. Nobody faults the page in meanwhile: a compactor could see so many values of flags then
 * that it is too much for the checker.
 */
export function swapOutAndCompact(): System<UserMachine> {
  const { mm, pages, spares } = smallMachine(1, 1, { ptes: 2, swapSlots: 1 })
  const [page] = pages
  return systemOf(
    userMachine(mm, page, 1),
    [...pages, ...spares],
    [
      { name: 'reclaim', run: (cpu, state) => reclaimPage(cpu, state.mm, page) },
      { name: 'compactor', run: (cpu, state) => compactPage(cpu, state.mm, page, spares[0], MIGRATE_SYNC) },
    ],
  )
}

/**
 * Reclaim against a process that writes to a page of the swap cache and exits; another has the entry of its slot.
 * `exit` is zapPte(), or one with the mistake.
 */
export function swapOutAndExit(exit: (cpu: Cpu, mm: Mm, vpn: Vpn) => void): System<UserMachine> {
  const setup = new FastCpu()
  const { mm, pages } = smallMachine(1, 0, { ptes: 2, swapSlots: 1 })
  const [page] = pages
  const machine = userMachine(mm, page, WITH_SHARER)
  reclaimPage(setup, mm, page)
  assert(faultInPage(setup, mm, SECOND, FREE_PAGES, false) === page, 'there is one page')
  return systemOf(machine, pages, [
    { name: 'reclaim', run: (cpu, state) => reclaimPage(cpu, state.mm, page) },
    { name: 'writer', run: (cpu, state) => writeFaulting(cpu, state, FREE_PAGES, SECOND, 200) },
    { name: 'exit', run: (cpu, state) => exit(cpu, state.mm, SECOND) },
  ])
}

function systemOf(
  machine: UserMachine,
  pages: readonly Pfn[],
  tasks: readonly Task<UserMachine>[],
): System<UserMachine> {
  return {
    name: 'swap-out',
    state: machine,
    tasks,
    invariants: [
      {
        name: 'no-write-lost',
        says: 'a pte leads to what was written last: in memory, or in swap',
        holds: isUpToDate,
      },
      {
        name: 'entries-hold',
        says: 'a slot whose entry a pte has is not free',
        holds: ({ mm }) =>
          VPNS.every((vpn) => !isSwapPte(mm.pte[vpn]) || mm.swapMap[pteSlot(mm.pte[vpn])] > 0),
      },
      {
        name: 'one-winner',
        says: 'of reclaim and compaction one has the page',
        holds: (_, where) => pages.every((pfn) => where.count('isolated', pfn) <= 1),
      },
    ],
    atEnd: [
      {
        name: 'references-exact',
        says: 'a page has the references of its ptes and of the swap cache, and none means free',
        holds: ({ mm }) => pages.every((pfn) => isAccounted(mm, pfn)),
      },
      {
        name: 'slots-exact',
        says: 'a slot counts the ptes that name it, and the swap cache; without any it is free',
        holds: ({ mm }) => isSlotAccounted(mm),
      },
      {
        name: 'mapped-or-swapped',
        says: 'every pte has its page still, in memory or in swap',
        holds: ({ mm, last, origin }) => VPNS.every((vpn) => last[origin[vpn]] === 0 || mm.pte[FIRST] !== 0),
      },
    ],
    locks: lockRulesOf(machine.mm),
    isPrivate: isCounter,
    valueText: lruText,
  }
}

const FIRST = vpnOf(1)
const SECOND = vpnOf(2)
const VPNS = [FIRST, SECOND]
/** Actors from which on the second pte is there. */
const WITH_SHARER = 3

function userMachine(mm: Mm, page: Pfn, actors: number): UserMachine {
  mapAnon(mm, page, actors < WITH_SHARER ? [FIRST] : VPNS)
  const last = new Int32Array(mm.pte.length)
  last[FIRST] = mm.content[page]
  return { mm, last, origin: [vpnOf(0), FIRST, FIRST] }
}

/** What is free in the zone: the page that was reclaimed, and one more. */
const FREE_PAGES: FaultPages = {
  getNewPage: (cpu, mm) => allocFromZone(cpu, mm, zoneIdOf(0), 0, MIGRATE_MOVABLE),
}

function usersOf(seeded: string | undefined): Task<UserMachine>[] {
  const write = seeded === 'fault-without-compare' ? writeUncompared : writeFaulting
  return [
    { name: 'writer', run: (cpu, state) => write(cpu, state, FREE_PAGES, FIRST, 200) },
    { name: 'thread', run: (cpu, state) => write(cpu, state, FREE_PAGES, FIRST, 201) },
    { name: 'sharer', run: (cpu, state) => write(cpu, state, FREE_PAGES, SECOND, 202) },
  ]
}

function isUpToDate({ mm, last, origin }: UserMachine): boolean {
  return VPNS.every((vpn) => {
    const pte = mm.pte[vpn]
    const written = last[origin[vpn]]
    if (isPresentPte(pte)) return mm.content[ptePfn(pte)] === written
    if (!isSwapPte(pte)) return true
    const slot = pteSlot(pte)
    const cached = pfnOf(mm.cache[slot])
    if (cached === 0) return mm.swapContent[slot] === written
    return (mm.flags[cached] & PG_locked) !== 0 || mm.content[cached] === written
  })
}

function isAccounted(mm: Mm, pfn: Pfn): boolean {
  const ptes = VPNS.filter((vpn) => isPresentPte(mm.pte[vpn]) && ptePfn(mm.pte[vpn]) === pfn).length
  const isCached = (mm.flags[pfn] & PG_swapcache) !== 0 && mm.cache[slotOf(mm.private[pfn])] === pfn
  const references = ptes + (isCached ? 1 : 0)
  if (references === 0) return isFree(mm, pfn)
  return mm.refcount[pfn] === references && mm.mapcount[pfn] === ptes
}

function isSlotAccounted(mm: Mm): boolean {
  const slot = mm.swapStart
  const entries = VPNS.filter((vpn) => isSwapPte(mm.pte[vpn])).length
  const users = entries + (mm.cache[slot] === 0 ? 0 : 1)
  return mm.swapMap[slot] === users && mm.swapFree[nidOf(0)] === (users === 0 ? 1 : 0)
}

// The mistakes.

function reclaimAs(cpu: Cpu, mm: Mm, pfn: Pfn, seeded: string | undefined): number | void {
  if (seeded === undefined || seeded === 'fault-without-compare') return reclaimPage(cpu, mm, pfn)
  if (!tryGetPage(cpu, mm, pfn)) return
  const isolated = folioIsolateLru(cpu, mm, pfn)
  cpu.at(isolated ? 'isolated' : 'not isolated', pfn)
  if (!isolated) return putPage(cpu, mm, pfn)
  const removed = cpu.tryLock(mm.flags, pfn, PG_locked) && swapOutWrongly(cpu, mm, pfn, seeded)
  cpu.at(removed ? 'freeing' : 'keeping', pfn)
  if (removed) return freeFolio(cpu, mm, pfn)
  folioAddLru(cpu, mm, pfn)
  putPage(cpu, mm, pfn)
}

/** What shrinkFolio() does for a single anonymous page, with one mistake. @locks needs (L), drops it */
function swapOutWrongly(cpu: Cpu, mm: Mm, pfn: Pfn, seeded: string): boolean {
  const slot = mm.swapStart
  const unmapped =
    folioAllocSwap(cpu, mm, pfn) &&
    (seeded === 'entry-not-counted' ? unmapUncounted(cpu, mm, pfn) : unmap(cpu, mm, pfn, seeded))
  const unused = unmapped && cpu.load(mm.refcount, pfn) === 2
  if (unused && seeded !== 'written-while-mapped') swapWriteout(cpu, mm, pfn)
  const swap = mappingIdOf(MAPPING_SWAP)
  if (unused) cpu.lock(mm.mappingFlags, swap, AS_LOCKED)
  const removed = unused && cpu.cas(mm.refcount, pfn, 2, 0)
  if (removed) {
    cpu.store(mm.cache, slot, 0)
    cpu.store(mm.private, pfn, 0)
    cpu.store(mm.mapping, pfn, 0)
  }
  if (unused) cpu.unlock(mm.mappingFlags, swap, AS_LOCKED)
  if (removed) swapFree(cpu, mm, slot)
  cpu.unlock(mm.flags, pfn, PG_locked)
  return removed
}

function unmap(cpu: Cpu, mm: Mm, pfn: Pfn, seeded: string): boolean {
  const early = seeded === 'written-while-mapped'
  if (early) swapWriteout(cpu, mm, pfn)
  const left = tryToUnmap(cpu, mm, pfn, 1, mm.swapStart)
  if (early) cpu.testClear(mm.flags, pfn, PG_dirty)
  return left === 0
}

/** tryToUnmap() of the first pte, which is the only one. */
function unmapUncounted(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  cpu.lock(mm.rmapLock, nidOf(0), SPIN_LOCKED)
  const done = cpu.cas(mm.pte, FIRST, presentPte(pfn), swapPte(mm.swapStart))
  if (done) {
    cpu.store(mm.rmap, pfn, 0)
    cpu.add(mm.mapcount, pfn, -1)
    cpu.add(mm.refcount, pfn, -1)
  }
  cpu.unlock(mm.rmapLock, nidOf(0), SPIN_LOCKED)
  return done
}

/** zapPte() that forgets that the page may have been written to since it was read from its slot. */
export function exitClean(cpu: Cpu, mm: Mm, vpn: Vpn): void {
  cpu.lock(mm.rmapLock, nidOf(0), SPIN_LOCKED)
  const pte = cpu.load(mm.pte, vpn)
  const present = isPresentPte(pte)
  if (present) {
    unchain(cpu, mm, ptePfn(pte), vpn)
    cpu.store(mm.pte, vpn, 0)
  }
  cpu.unlock(mm.rmapLock, nidOf(0), SPIN_LOCKED)
  if (!present) return zapPte(cpu, mm, vpn)
  cpu.add(mm.mapcount, ptePfn(pte), -1)
  putPage(cpu, mm, ptePfn(pte))
}

/** writeFaulting() whose fault, when it has found the page in the swap cache, maps it whatever the pte is by then. */
function writeUncompared(cpu: Cpu, machine: UserMachine, pages: FaultPages, vpn: Vpn, value: number): number {
  const { mm } = machine
  const entry = cpu.load(mm.pte, vpn)
  const found = isSwapPte(entry) ? cpu.load(mm.cache, pteSlot(entry)) : 0
  const pfn = pfnOf(found)
  if (found !== 0 && cpu.addUnlessZero(mm.refcount, pfn)) {
    cpu.at('found', pfn, entry)
    cpu.lock(mm.flags, pfn, PG_locked)
    cpu.lock(mm.rmapLock, nidOf(0), SPIN_LOCKED)
    cpu.store(mm.pteNext, vpn, cpu.load(mm.rmap, pfn))
    cpu.store(mm.rmap, pfn, vpn)
    cpu.add(mm.refcount, pfn, 1)
    cpu.add(mm.mapcount, pfn, 1)
    cpu.store(mm.pte, vpn, presentPte(pfn))
    cpu.unlock(mm.rmapLock, nidOf(0), SPIN_LOCKED)
    swapFree(cpu, mm, pteSlot(entry))
    cpu.unlock(mm.flags, pfn, PG_locked)
    cpu.at('mapped', pfn)
    putPage(cpu, mm, pfn)
  }
  return writeFaulting(cpu, machine, pages, vpn, value)
}
