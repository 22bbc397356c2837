/**
 * Pin page control: a ring of pinned kernel pages against a compactor, its own removal, and who uses it.
 *
 * The pages of the ring are one group. The compactor moves the first one, and with it the others. Meanwhile the ring's
 * driver is removed (it asks to be unregistered, takes its pins back, asks again), somebody writes to a page of the ring,
 * and somebody else isolates one and puts it back.
 *
 * Verified: the pages of the ring are all where they were or all where they move to, whenever the ring is not just being
 * moved; a page that the ring knows is pinned and holds what was written last; one isolator at most has a page; in the end
 * each page is the ring's with one reference, or free, and no destination is lost; a driver that has taken its pins back
 * can be unregistered; locks are taken in order and nobody sleeps under a spinlock.
 *
 * Not verified here: general pin information (a section under one lock each, tested in owners/pin_info.test.ts),
 * nesting, several groups, destinations that cannot be had, registering.
 *
 * `actors` are those beside the compactor, the first so many of: remover, writer, isolator. `pages` are the ring's; writer
 * and isolator take the last one.
 *
 * Spec: S3-8, S3-10..S3-14
 */

import { compactPage, isolateAndPutback } from '../actors/compactor.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import type { Property, System, Task } from '../check/system.ts'
import {
  ENOENT,
  MIGRATE_SYNC,
  PG_locked,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PINPAGE_TYPE,
  pageTypeValue,
} from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { ISOLATED, type MovableOps } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import {
  createPinRing,
  lockSlot,
  type PinRing,
  pinRingCells,
  ringMovingCell,
  ringSlotCell,
} from '../owners/pin_ring.ts'
import {
  clearPinpage,
  createPinpages,
  type Pinpages,
  pinpageCells,
  registerPinSystem,
  registryCells,
  setPinpage,
  unlockPinpage,
  unregisterPinSystem,
} from '../owners/pinpage.ts'
import { oneWinner } from './marked_driver.ts'
import type { Model } from './model.ts'
import { isCounter, isFree, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

export const pinpage: Model = {
  name: 'pinpage',
  question:
    'Do pinned kernel pages move all together, and to where their owner looks for them, or not at all?',
  source: 'S3-8, S3-10..S3-14',
  seeded: {
    'clear-unlocked': 'a pin is taken back without the page lock: the move uses information that is gone',
    'unclaimed-is-success':
      'a driver with pins may leave, and a page that nobody claims counts as migrated (S3-13)',
    'half-a-group': 'a page moves without the rest of its group (S3-14)',
    'isolate-without-mark': 'nothing tells a second isolator that the page is isolated (S3-11)',
    'migrate-under-spinlock':
      'the subsystems are asked and move pages under the lock of the registry (S3-13)',
  },
  size: { actors: 2, pages: 2 },
  sizeMax: { actors: 3, pages: 3 },
  build: ({ actors, pages: count }, seeded): System<Mm> => {
    const at = RING_AT + pinRingCells(count)
    const { mm, pages, spares } = smallMachine(count, count, { ownerCells: at + count })
    const ring = ringOf(createPinRing(mm, RING_AT, count), seeded)
    const pp = createPinpages(
      mm,
      { cell: 0, list: 0 },
      // One try of one compactor: each page needs its destination once.
      { systems: [ring.system], source: (_cpu, _mm, src) => spares[pages.indexOf(src)] },
    )
    const lastOf = (slot: number): OwnerCell => ownerCellOf(at + slot)
    pinAll(mm, pp, pages)
    pages.forEach((pfn, slot) => {
      mm.ownerCells[lastOf(slot)] = mm.content[pfn]
    })
    seedFramework(mm, pp, seeded)
    const all = [...pages, ...spares]
    return {
      name: 'pinpage',
      state: mm,
      tasks: [
        {
          name: 'compactor',
          run: (cpu, state) => compactPage(cpu, state, pages[0], spares[0], MIGRATE_SYNC),
        },
        ...othersOf(pages, pp, ring, lastOf(count - 1), seeded).slice(0, actors),
      ],
      invariants: [
        oneWinner(all),
        movesTogether(ring, pages),
        knownIsPinned(ring),
        {
          name: 'no-write-lost',
          says: 'a page that the ring knows holds what was written to its slot last',
          holds: (state) => slotsOf(ring).every((slot) => isUpToDate(state, ring, slot, lastOf(slot))),
        },
      ],
      atEnd: [
        {
          name: 'references-exact',
          says: 'each page is the ring’s with one reference, or free, or a destination that nobody needed',
          holds: (state) => all.every((pfn) => isAccounted(state, ring, pfn, spares)),
        },
        {
          name: 'unregistered',
          says: 'a driver that has taken its pins back can leave',
          holds: (_, where) => where.results('remover').every((rc) => rc === 0),
        },
      ],
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: driverText,
    }
  },
}

/** The ring's number in the registry, and where its cells begin. */
const RING = 0
const RING_AT = pinpageCells(1)

function pinAll(mm: Mm, pp: Pinpages, pages: readonly Pfn[]): void {
  const setup = new FastCpu()
  registerPinSystem(setup, mm, pp, RING)
  pages.forEach((pfn, data) => setPinpage(setup, mm, pp, pfn, { system: RING, group: 1, data }))
}

function othersOf(
  pages: readonly Pfn[],
  pp: Pinpages,
  ring: PinRing,
  last: OwnerCell,
  seeded: string | undefined,
): Task<Mm>[] {
  const clear = seeded === 'clear-unlocked' ? clearUnlocked : clearPinpage
  const slot = pages.length - 1
  return [
    {
      name: 'remover',
      run: (cpu, mm) => {
        if (seeded === 'unclaimed-is-success') return leaveWithPins(cpu, mm, pp)
        unregisterPinSystem(cpu, mm, pp, RING) // refused
        for (const taken of slotsOf(ring)) unpinSlot(cpu, mm, pp, ring, taken, clear)
        cpu.at('leaving')
        return unregisterPinSystem(cpu, mm, pp, RING)
      },
    },
    { name: 'writer', run: (cpu, mm) => writeSlot(cpu, mm, ring, slot, last) },
    { name: 'isolator', run: (cpu, mm) => isolateAndPutback(cpu, mm, pages[slot]) },
  ]
}

/** Takes the pin of a slot back and frees its page, wherever it is by then. */
function unpinSlot(
  cpu: Cpu,
  mm: Mm,
  pp: Pinpages,
  ring: PinRing,
  slot: number,
  clear: typeof clearPinpage,
): void {
  for (;;) {
    // Each round either ends or has seen the page move.
    cpu.at('unpinning', slot)
    const pfn = pfnOf(cpu.load(mm.ownerCells, ringSlotCell(ring, slot)))
    if (clear(cpu, mm, pp, RING, pfn) !== 0) continue
    cpu.at('freeing', pfn)
    putPage(cpu, mm, pfn)
    return
  }
}

/** Writes to a slot, if the ring still has it: contents, and what properties know of them, are one step. */
function writeSlot(cpu: Cpu, mm: Mm, ring: PinRing, slot: number, last: OwnerCell): void {
  const pfn = lockSlot(cpu, mm, ring, slot)
  if (pfn === 0) return
  cpu.atomically(mm.content, pfn, 0, writeLocked, mm, pfn, last, 200)
  unlockPinpage(cpu, mm, pfn)
}

function writeLocked(mm: Mm, pfn: number, last: number, value: number): number {
  mm.content[pfnOf(pfn)] = value
  mm.ownerCells[ownerCellOf(last)] = value
  return 0
}

// What must hold.

const slotsOf = (ring: PinRing): number[] => Array.from({ length: ring.slots }, (_, slot) => slot)
const pageOf = (mm: Mm, ring: PinRing, slot: number): Pfn => pfnOf(mm.ownerCells[ringSlotCell(ring, slot)])

const movesTogether = (ring: PinRing, pages: readonly Pfn[]): Property<Mm> => ({
  name: 'group-together',
  says: 'while the ring is not moving, all its pages are where they were or all are where they moved to',
  holds: (mm) => {
    if (mm.ownerCells[ringMovingCell(ring)] !== 0) return true
    const places = slotsOf(ring)
      .map((slot) => pageOf(mm, ring, slot))
      .filter((pfn) => pfn !== 0)
    const stayed = places.filter((pfn) => pages.includes(pfn)).length
    return stayed === 0 || stayed === places.length
  },
})

const knownIsPinned = (ring: PinRing): Property<Mm> => ({
  name: 'known-is-pinned',
  says: 'a page that the ring knows is in use and marked as pinned',
  holds: (mm) =>
    slotsOf(ring).every((slot) => {
      const pfn = pageOf(mm, ring, slot)
      return pfn === 0 || (mm.refcount[pfn] > 0 && mm.mapcount[pfn] === TYPE && isMarked(mm, pfn))
    }),
})

const TYPE = pageTypeValue(PINPAGE_TYPE)
const isMarked = (mm: Mm, pfn: Pfn): boolean => (mm.flags[pfn] & PG_movable_ops) !== 0

function isUpToDate(mm: Mm, ring: PinRing, slot: number, last: OwnerCell): boolean {
  const pfn = pageOf(mm, ring, slot)
  return pfn === 0 || mm.content[pfn] === mm.ownerCells[last]
}

function isAccounted(mm: Mm, ring: PinRing, pfn: Pfn, spares: readonly Pfn[]): boolean {
  if (slotsOf(ring).some((slot) => pageOf(mm, ring, slot) === pfn)) {
    return mm.refcount[pfn] === 1 && mm.flags[pfn] === PG_movable_ops
  }
  return isFree(mm, pfn) || (spares.includes(pfn) && mm.refcount[pfn] === 1 && mm.flags[pfn] === 0)
}

// The mistakes.

function ringOf(ring: PinRing, seeded: string | undefined): PinRing {
  if (seeded !== 'half-a-group') return ring
  const { system } = ring
  return { ...ring, system: { ...system, info: { ...system.info, nextOfGroup: (_cpu, _mm, pfn) => pfn } } }
}

/** clearPinpage() as it was posted: the information goes first, and the lock is for the mark only. */
function clearUnlocked(cpu: Cpu, mm: Mm, pp: Pinpages, system: number, pfn: Pfn): number {
  const rc = pp.systems[system].info.delPage(cpu, mm, pfn)
  if (rc !== 0) return rc
  cpu.lock(mm.flags, pfn, PG_locked)
  cpu.testClear(mm.flags, pfn, PG_movable_ops)
  cpu.unlock(mm.flags, pfn, PG_locked)
  return 0
}

/** Takes the ring out of the registry, pins or not. */
function leaveWithPins(cpu: Cpu, mm: Mm, pp: Pinpages): number {
  cpu.testClear(mm.ownerCells, registryCells(pp).registered, 1 << RING)
  return 0
}

/** Puts a wrong provider in the place of the right one. */
function seedFramework(mm: Mm, pp: Pinpages, seeded: string | undefined): void {
  const index = mm.movableOps.findIndex((ops) => ops?.name === 'pinpage')
  const ops = mm.movableOps[index]
  const wrong = ops === undefined ? undefined : wrongOps(ops, pp, seeded)
  if (wrong !== undefined) mm.movableOps[index] = wrong
}

function wrongOps(ops: MovableOps, pp: Pinpages, seeded: string | undefined): MovableOps | undefined {
  const marks = PG_movable_ops | PG_movable_ops_isolated
  switch (seeded) {
    case 'unclaimed-is-success':
      return {
        ...ops,
        migratePage: (cpu, mm, dst, src, mode) => {
          const rc = ops.migratePage(cpu, mm, dst, src, mode)
          if (rc !== -ENOENT) return rc
          cpu.testClear(mm.flags, src, marks)
          return 0
        },
      }
    case 'isolate-without-mark':
      return {
        ...ops,
        isolatePage: (cpu, mm, pfn, mode) => {
          const answer = ops.isolatePage(cpu, mm, pfn, mode)
          if (answer === ISOLATED) cpu.testClear(mm.flags, pfn, PG_movable_ops_isolated)
          return answer
        },
      }
    case 'migrate-under-spinlock':
      return {
        ...ops,
        migratePage: (cpu, mm, dst, src, mode) => {
          cpu.lock(mm.ownerCells, registryCells(pp).lock, SPIN_LOCKED)
          const rc = ops.migratePage(cpu, mm, dst, src, mode)
          cpu.unlock(mm.ownerCells, registryCells(pp).lock, SPIN_LOCKED)
          return rc
        },
      }
    default:
      return undefined
  }
}
