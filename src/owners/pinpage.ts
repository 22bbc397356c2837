/**
 * Pin page control: kernel pages that their subsystems have pinned, and that move nevertheless, because whoever pinned
 * them is asked (S3-1).
 *
 * A subsystem registers, and pins pages of its own. A pinned page has a page type and PG_movable_ops, so isolation,
 * the migrate loop and putback are those of every driver page (movable_ops.ts). What is here is which subsystem a page
 * belongs to, and the move itself.
 *
 * States of a page:
 *   (1) its owner's, not pinned
 *   (2) pinned: in the pin information of its subsystem, whose reference it is
 *   (3) isolated: as (2), and an isolator has a reference more
 *   (4) moving: (L) is held, and that of all pages of its group
 * Transitions: (1) -> (2) setPinpage; (2), (3) -> (1) clearPinpage, also while it is isolated: the isolator then has
 * nothing but its reference; (2) -> (3) -> (2) isolate, putback; (3) -> (4) -> the destination is (2), the source is free.
 *
 * The move of a page moves its group, all of it or nothing: pins come in groups, and whoever uses them is stopped once.
 *   (a) the group is closed to new pages; there is room for the destinations in the pin information
 *   (b) every other page of the group is locked and has a destination, or the move is off
 *   (c) the subsystem stops using them, or refuses (quiesce)
 *   (d) contents, marks, fields, references, pin information of each page; the subsystem learns where it is now
 *   (e) the subsystem goes on (resume)
 * (a) to (c) may fail and change nothing; (d) cannot fail. The destination of the page that is asked for comes from the
 * isolator, the others from `source`. A page of the group that somebody else has isolated moves along: its isolator finds
 * that its owner has let go of it.
 *
 * What a failure leaves behind: everything as before, destinations given back, nothing locked that was not.
 *   | setPinpage   | -EBUSY: pinned already, or still isolated. -EINVAL: no page for this. -ENOENT: not registered   |
 *   |              | -EEXIST, -ENOMEM, -EAGAIN: of the pin information                                             |
 *   | clearPinpage | -EINVAL: not pinned by this subsystem, or moved meanwhile. -ENOMEM: of the pin information     |
 *   | migrate      | -EAGAIN: FOLL_PIN, a page of the group is locked, or the group moves. -ENOENT: no              |
 *   |              | subsystem claims the page. -ENOMEM: no destination for one of the group. -EBUSY: nested.       |
 *   |              | Or what quiesce answered                                                                      |
 *
 * Rules for subsystems (S3-5):
 *   - `links` and `flags` of a pinned page are not theirs; `private` and `mapping` are, and move along;
 *   - contents and pin information are touched under (L) of the page (lockPinpage);
 *   - whoever uses a page otherwise, for DMA, says so with FOLL_PIN (gup.ts): such a page does not move. Any other
 *     reference beside the pin's is held by somebody who waits for (L) and looks again;
 *   - unregistering is refused while there are pins.
 *
 * Nesting, several subsystems pinning one page: refused, unless the registry was made with `nested: 'agree'`. Then every
 * one of them must agree in (c), and learns of the move in (d). Such a page stands alone: in a group it does not move.
 *
 * Not here: pages of user space (setPinpage refuses them); what helps against pins on these is gup_longterm.ts.
 *
 * @kernel Minchan Kim, "[RFC 0/3] Pin page control subsystem", 2013, mm/pinpage.c, in corrected form; never merged.
 *         docs/protocol/pinpage.md tells what was wrong. Spec S3-1..S3-14
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import { __GFP_NOWARN, __GFP_RECLAIM, GFP_HIGHUSER_MOVABLE } from '../mm/gfp.ts'
import { folioMaybeDmaPinned } from '../mm/gup.ts'
import {
  COMPOUND_MASK,
  EAGAIN,
  EBUSY,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOMEM,
  MIGRATE_MOVABLE,
  type MigrateMode,
  PG_locked,
  PG_lru,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PINPAGE_TYPE,
  pageTypeValue,
} from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { nodeOf } from '../mm/lru.ts'
import { type MigrateResult, type PageLockedDriver, pageLockedOps, setMovableOps } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { allocFromZone, putPage } from '../mm/page_alloc.ts'
import { allocPages } from '../mm/slowpath.ts'
import type { PinInfo } from './pin_info.ts'
import type { OwnerPlace } from './place.ts'

/** A subsystem that pins pages. Its callbacks are called with (L) of the pages held and no spinlock: they may sleep. */
export interface PinSystem {
  readonly name: string
  readonly info: PinInfo
  /**
   * Stop using the pages of a group, of which `pfn` is one: 0. Or not now: an errno, and nothing has changed. Once a
   * move, however many pages there are. All are locked.
   */
  quiesce(cpu: Cpu, mm: Mm, pfn: Pfn, pages: number, mode: MigrateMode): MigrateResult
  /** The page with this data is `dst` now. Contents are there already. Cannot fail. */
  movePage(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn, data: number): void
  /** Go on using them. Pairs with quiesce() where it gave 0, whether or not they have moved. */
  resume(cpu: Cpu, mm: Mm, pfn: Pfn): void
}

/** Where destinations come from for the other pages of a group. A page with one reference, or -1. Must not reclaim. */
export type PinPageSource = (cpu: Cpu, mm: Mm, src: Pfn) => number

export interface PinpageOptions {
  /** Every subsystem that may register; each is known by its place here. At most 15. */
  readonly systems: readonly PinSystem[]
  readonly source?: PinPageSource
  /** What is done with a second pin of another subsystem. Default: refuse. */
  readonly nested?: 'refuse' | 'agree'
}

/** The registry. Its state is cells of the arena. */
export interface Pinpages extends PinpageOptions {
  readonly source: PinPageSource
  readonly nested: 'refuse' | 'agree'
  readonly cell: number
}

// Cells of the registry.
const LOCK = 0 // (O)
const TAKEN = 1 // bit a subsystem: registered, or about to be, or not quite gone
const REGISTERED = 2 // bit a subsystem: may pin, and is asked                      (A)
const PINS = 3 // from here on, one a subsystem: pins, and tasks that are about to pin

/** Cells that a registry of so many subsystems needs; no lists. */
export const pinpageCells = (systems: number): number => PINS + systems

/** Two bits a subsystem must fit where moveNested() keeps what it has reserved. */
const SYSTEMS_MAX = 15

/** Makes pin page control the owner of pages of its type. */
export function createPinpages(mm: Mm, place: OwnerPlace, options: PinpageOptions): Pinpages {
  const { systems, source = newPageNowait, nested = 'refuse' } = options
  assert(systems.length <= SYSTEMS_MAX, 'pinpage: at most 15 subsystems')
  const end = place.cell + pinpageCells(systems.length)
  assert(end <= mm.ownerCells.length, 'pinpage: the arena has cells for the registry')
  const pp: Pinpages = { systems, source, nested, cell: place.cell }
  setMovableOps(mm, PINPAGE_TYPE, pageLockedOps(pinpageDriver(pp)))
  return pp
}

/** A page that can move (S0-21), of the same zone if there is one, without waiting for it: the caller holds page locks. */
const newPageNowait: PinPageSource = (cpu, mm, src) => {
  const near = allocFromZone(cpu, mm, mm.zoneOf(src), 0, MIGRATE_MOVABLE)
  if (near >= 0) return near
  return allocPages(cpu, mm, (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOWARN, 0, nodeOf(mm, src))
}

// The registry.

const cellOf = (pp: Pinpages, cell: number): OwnerCell => ownerCellOf(pp.cell + cell)

/** The registry's lock, and the cell with a bit for each subsystem that is registered: for models. */
export const registryCells = (pp: Pinpages): { lock: OwnerCell; registered: OwnerCell } => ({
  lock: cellOf(pp, LOCK),
  registered: cellOf(pp, REGISTERED),
})

/**
 * Registers a subsystem. Its pin information is made before anybody can pin with it.
 *
 * @locks  takes and drops (O), twice; create() is called without it
 * @errors -EEXIST: registered already. -ENOMEM: of create(). Nothing changed.
 */
export function registerPinSystem(cpu: Cpu, mm: Mm, pp: Pinpages, system: number): number {
  const bit = 1 << system
  assert(system < pp.systems.length, 'pinpage: there is such a subsystem')
  const rc = inRegistry(cpu, mm, pp, takeLocked, bit, system)
  if (rc !== 0) return rc
  const created = pp.systems[system].info.create(cpu, mm)
  inRegistry(cpu, mm, pp, created === 0 ? publishLocked : leaveLocked, bit, system)
  return created
}

/**
 * Unregisters a subsystem. With live pins it is refused: its pages could not be asked about any more, and would be
 * nobody's and unmovable (a module's removal has to clear its pins first).
 *
 * @locks  takes and drops (O), twice; destroy() is called without it
 * @errors -EINVAL: not registered. -EBUSY: it has pins, or somebody is about to pin. Nothing changed.
 */
export function unregisterPinSystem(cpu: Cpu, mm: Mm, pp: Pinpages, system: number): number {
  const bit = 1 << system
  assert(system < pp.systems.length, 'pinpage: there is such a subsystem')
  const rc = inRegistry(cpu, mm, pp, withdrawLocked, bit, system)
  if (rc !== 0) return rc
  pp.systems[system].info.destroy(cpu, mm)
  inRegistry(cpu, mm, pp, leaveLocked, bit, system)
  return 0
}

/** Pins of a subsystem. A guess unless nothing runs. */
export const pinsOf = (mm: Mm, pp: Pinpages, system: number): number =>
  mm.ownerCells[cellOf(pp, PINS + system)]

type Section = (mm: Mm, cell: number, bit: number, system: number) => number

const inRegistry = (cpu: Cpu, mm: Mm, pp: Pinpages, section: Section, bit: number, system: number): number =>
  cpu.atomically(mm.ownerCells, cellOf(pp, LOCK), SPIN_LOCKED, section, mm, pp.cell, bit, system)

// Sections under the lock of the registry (O).

function takeLocked({ ownerCells }: Mm, cell: number, bit: number): number {
  if ((ownerCells[ownerCellOf(cell + TAKEN)] & bit) !== 0) return -EEXIST
  ownerCells[ownerCellOf(cell + TAKEN)] |= bit
  return 0
}

function publishLocked({ ownerCells }: Mm, cell: number, bit: number): number {
  ownerCells[ownerCellOf(cell + REGISTERED)] |= bit
  return 0
}

function withdrawLocked({ ownerCells }: Mm, cell: number, bit: number, system: number): number {
  if ((ownerCells[ownerCellOf(cell + REGISTERED)] & bit) === 0) return -EINVAL
  if (ownerCells[ownerCellOf(cell + PINS + system)] !== 0) return -EBUSY
  ownerCells[ownerCellOf(cell + REGISTERED)] &= ~bit
  return 0
}

function leaveLocked({ ownerCells }: Mm, cell: number, bit: number): number {
  ownerCells[ownerCellOf(cell + TAKEN)] &= ~bit
  return 0
}

function beginPinLocked({ ownerCells }: Mm, cell: number, bit: number, system: number): number {
  if ((ownerCells[ownerCellOf(cell + REGISTERED)] & bit) === 0) return -ENOENT
  ownerCells[ownerCellOf(cell + PINS + system)]++
  return 0
}

function endPinLocked({ ownerCells }: Mm, cell: number, _bit: number, system: number): number {
  ownerCells[ownerCellOf(cell + PINS + system)]--
  return 0
}

// Pins.

/** What a pin is: which subsystem's, and what it notes. */
export interface Pin {
  readonly system: number
  /** Pages with the same number move together. Default 0: the page stands alone. */
  readonly group?: number
  readonly data?: number
}

/**
 * Pins a page that the caller has allocated: its reference is the pin's from now on.
 *
 * Information first, then the mark (S3-10); both under (L), or a move in between would find two that claim the page, or
 * none.
 *
 * @locks  takes and drops (O), (L)
 * @sleeps for (L), and as addPage() does
 * @errors see the header
 */
export function setPinpage(cpu: Cpu, mm: Mm, pp: Pinpages, pfn: Pfn, pin: Pin): number {
  const { system, group = 0, data = 0 } = pin
  assert(system < pp.systems.length, 'pinpage: there is such a subsystem')
  const begun = inRegistry(cpu, mm, pp, beginPinLocked, 1 << system, system)
  if (begun !== 0) return begun
  cpu.lock(mm.flags, pfn, PG_locked)
  let rc = refusalOfPage(cpu, mm, pp, pfn)
  if (rc === 0) rc = pp.systems[system].info.addPage(cpu, mm, pfn, group, data)
  if (rc === 0) mark(cpu, mm, pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
  if (rc !== 0) inRegistry(cpu, mm, pp, endPinLocked, 1 << system, system)
  return rc
}

/** Why a page cannot be pinned; 0: it can. @locks needs (L) */
function refusalOfPage(cpu: Cpu, mm: Mm, pp: Pinpages, pfn: Pfn): number {
  const mapcount = cpu.load(mm.mapcount, pfn)
  const flags = cpu.load(mm.flags, pfn)
  if (mapcount === TYPE && (flags & PG_movable_ops) !== 0) return pp.nested === 'refuse' ? -EBUSY : 0
  if (mapcount === TYPE && (flags & PG_movable_ops_isolated) !== 0) return -EBUSY // by whoever had it isolated
  if (mapcount !== TYPE && mapcount !== 0) return -EINVAL // mapped, or of another type
  if ((flags & (PG_lru | COMPOUND_MASK)) !== 0) return -EINVAL
  return cpu.load(mm.links, firstLinkOf(pfn)) === 0 ? 0 : -EINVAL // it is on somebody's list
}

const firstLinkOf = (pfn: Pfn): number => 2 * pfn

/**
 * Takes a pin back: the reference is the caller's again. It may be isolated then, and be in the hands of its isolator a
 * while longer; it keeps its page type until it is free.
 *
 * @locks  takes and drops (L), (O)
 * @sleeps for (L): until a move has ended, after which the page is elsewhere
 * @errors see the header
 */
export function clearPinpage(cpu: Cpu, mm: Mm, pp: Pinpages, system: number, pfn: Pfn): number {
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return -EINVAL
  cpu.lock(mm.flags, pfn, PG_locked)
  const { info } = pp.systems[system]
  const rc = isPinned(cpu, mm, pfn) ? info.delPage(cpu, mm, pfn) : -EINVAL
  if (rc === 0 && claimersOf(cpu, mm, pp, pfn) === 0) cpu.testClear(mm.flags, pfn, PG_movable_ops)
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
  if (rc === 0) inRegistry(cpu, mm, pp, endPinLocked, 1 << system, system)
  return rc
}

/**
 * Locks a pinned page, which keeps it where it is. False: it is not pinned (any more): if it has moved, its subsystem
 * knows where to.
 *
 * @locks  takes (L)
 * @sleeps for (L)
 */
export function lockPinpage(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
  cpu.lock(mm.flags, pfn, PG_locked)
  if (isPinned(cpu, mm, pfn)) return true
  unlockPinpage(cpu, mm, pfn)
  return false
}

/** Pairs with lockPinpage(). */
export function unlockPinpage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
}

const TYPE = pageTypeValue(PINPAGE_TYPE)

/** @locks needs (L) */
const isPinned = (cpu: Cpu, mm: Mm, pfn: Pfn): boolean =>
  cpu.load(mm.mapcount, pfn) === TYPE && (cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0

function mark(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.store(mm.mapcount, pfn, TYPE)
  cpu.testSet(mm.flags, pfn, PG_movable_ops)
}

/**
 * Subsystems that have the page in their pin information, a bit each. One that has pins stays registered, so what is
 * found here stays while (L) is held.
 *
 * @locks needs (L); no spinlock is held while they are asked
 */
function claimersOf(cpu: Cpu, mm: Mm, pp: Pinpages, pfn: Pfn): number {
  const registered = cpu.load(mm.ownerCells, cellOf(pp, REGISTERED))
  let claimers = 0
  for (let system = 0; system < pp.systems.length; system++) {
    const bit = 1 << system
    if ((registered & bit) !== 0 && pp.systems[system].info.findPage(cpu, mm, pfn)) claimers |= bit
  }
  return claimers
}

const isOne = (bits: number): boolean => (bits & (bits - 1)) === 0
const numberOf = (bit: number): number => 31 - Math.clz32(bit)

// The move.

/** Callbacks of the framework, which marks, locks and counts references of isolation: all with (L) of the pages. */
function pinpageDriver(pp: Pinpages): PageLockedDriver {
  return {
    name: 'pinpage',
    pgty: PINPAGE_TYPE,
    isolate: () => true, // its information stays as it is: the mark is what tells isolators apart
    putback: () => {},

    migrate(cpu, mm, dst, src, mode): MigrateResult {
      const claimers = claimersOf(cpu, mm, pp, src)
      if (claimers === 0) return -ENOENT // and not success: nobody would know where the page is
      return isOne(claimers)
        ? moveGroup(cpu, mm, pp, numberOf(claimers), dst, src, mode)
        : moveNested(cpu, mm, pp, claimers, dst, src, mode)
    },
  }
}

/** (a) to (e): moves `src` to `dst`, and with it the other pages of its group. @locks needs (L) of both */
function moveGroup(
  cpu: Cpu,
  mm: Mm,
  pp: Pinpages,
  number: number,
  dst: Pfn,
  src: Pfn,
  mode: MigrateMode,
): MigrateResult {
  const system = pp.systems[number]
  if (folioMaybeDmaPinned(cpu, mm, src)) return -EAGAIN
  const reserved = system.info.beginMove(cpu, mm, src)
  if (reserved < 0) return reserved
  const pages = gather(cpu, mm, pp, number, dst, src)
  const rc = pages < 0 ? pages : system.quiesce(cpu, mm, src, pages, mode)
  if (rc === 0) {
    moveGathered(cpu, mm, system, dst, src)
    system.info.endMove(cpu, mm, dst, reserved)
    system.resume(cpu, mm, dst)
  } else {
    giveBackGathered(cpu, mm, dst)
    system.info.endMove(cpu, mm, src, reserved)
  }
  return rc
}

// What is gathered is a chain through the destinations, which are nobody else's yet: `private` of each names the next
// one, `mapping` its source. (migrate.ts keeps its record of a move in the same place.)

/**
 * (b): locks the other pages of the group and gives each a destination. Gives the pages of the group.
 *
 * @locks  trylocks (L) of each, kept
 * @errors -EAGAIN, -ENOMEM, -EBUSY; what was gathered before is there still
 */
function gather(cpu: Cpu, mm: Mm, pp: Pinpages, system: number, dst: Pfn, src: Pfn): number {
  const { info } = pp.systems[system]
  chain(cpu, mm, dst, src)
  let last = dst
  let pages = 1
  let before = src
  // Bounded by the group: nobody joins it, and a page that is locked does not leave it.
  for (let page = info.nextOfGroup(cpu, mm, src); page !== src; page = info.nextOfGroup(cpu, mm, page)) {
    cpu.at('gathering', page, last)
    const found = gatherPage(cpu, mm, pp, system, page, before)
    if (found < 0) return found
    cpu.store(mm.private, last, found)
    last = pfnOf(found)
    before = page
    pages++
  }
  return pages
}

/**
 * A destination for the page that comes after `before` in the group; both are locked. Until it was locked it could leave
 * the group, and be pinned elsewhere since: the page before it, which is locked, says whether it is still the next one.
 *
 * @errors -EAGAIN, -ENOMEM, -EBUSY: neither is locked
 */
function gatherPage(cpu: Cpu, mm: Mm, pp: Pinpages, system: number, page: Pfn, before: Pfn): number {
  if (!cpu.tryLock(mm.flags, page, PG_locked)) return -EAGAIN
  const isNext = pp.systems[system].info.nextOfGroup(cpu, mm, before) === page
  let rc = isNext ? canMoveAlong(cpu, mm, pp, system, page) : -EAGAIN
  if (rc === 0) {
    const got = pp.source(cpu, mm, page)
    if (got >= 0) {
      const dst = pfnOf(got)
      cpu.lock(mm.flags, dst, PG_locked) // it is new, and nobody's
      chain(cpu, mm, dst, page)
      return dst
    }
    rc = -ENOMEM
  }
  cpu.unlock(mm.flags, page, PG_locked)
  return rc
}

/** Whether a page of the group can move with it. @locks needs (L) */
function canMoveAlong(cpu: Cpu, mm: Mm, pp: Pinpages, system: number, page: Pfn): number {
  if (claimersOf(cpu, mm, pp, page) !== 1 << system) return -EBUSY // somebody else has pinned it too
  return folioMaybeDmaPinned(cpu, mm, page) ? -EAGAIN : 0
}

function chain(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): void {
  cpu.store(mm.mapping, dst, src)
  cpu.store(mm.private, dst, 0)
}

/** (b) undone: unlocks what was gathered and gives the destinations back, all but the first, which is the isolator's. */
function giveBackGathered(cpu: Cpu, mm: Mm, first: Pfn): void {
  let dst = pfnOf(cpu.load(mm.private, first))
  chain(cpu, mm, first, pfnOf(0))
  // Each round is one destination.
  while (dst !== 0) {
    const next = pfnOf(cpu.load(mm.private, dst))
    const src = pfnOf(cpu.load(mm.mapping, dst))
    chain(cpu, mm, dst, pfnOf(0))
    cpu.unlock(mm.flags, dst, PG_locked)
    putPage(cpu, mm, dst)
    cpu.unlock(mm.flags, src, PG_locked)
    cpu.at('giving back', next)
    dst = next
  }
}

/** (d), for the whole chain. The first pair stays locked and its source marked: that is the framework's. */
function moveGathered(cpu: Cpu, mm: Mm, system: PinSystem, first: Pfn, src: Pfn): void {
  let dst = pfnOf(cpu.load(mm.private, first))
  cpu.add(mm.refcount, first, 1) // the isolator drops its own
  movePinned(cpu, mm, system, first, src)
  cpu.add(mm.refcount, src, -1) // the pin's; the isolation's is still there
  // Each round is one destination.
  while (dst !== 0) {
    const next = pfnOf(cpu.load(mm.private, dst))
    const page = pfnOf(cpu.load(mm.mapping, dst))
    movePinned(cpu, mm, system, dst, page) // the reference that it was allocated with is the pin's
    cpu.testClear(mm.flags, page, PG_movable_ops)
    cpu.unlock(mm.flags, dst, PG_locked)
    cpu.unlock(mm.flags, page, PG_locked)
    cpu.at('moved along', page, next)
    putPage(cpu, mm, page) // the pin's: it is free, unless somebody has it isolated
    dst = next
  }
}

/** One page of (d). @locks needs (L) of both */
function movePinned(cpu: Cpu, mm: Mm, system: PinSystem, dst: Pfn, src: Pfn): void {
  takeOver(cpu, mm, dst, src)
  const data = system.info.dataOf(cpu, mm, src)
  system.info.movePage(cpu, mm, dst, src)
  system.movePage(cpu, mm, dst, src, data)
}

/** What a page is, but for references and pin information. */
function takeOver(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): void {
  if (mm.hasContents) cpu.store(mm.content, dst, cpu.load(mm.content, src))
  cpu.store(mm.mapping, dst, cpu.load(mm.mapping, src))
  cpu.store(mm.private, dst, cpu.load(mm.private, src))
  mark(cpu, mm, dst)
}

// A page with several pins.

/**
 * Moves a page that several subsystems have pinned: all agree, or it stays.
 *
 * @locks  needs (L) of both
 * @errors -EBUSY: it is in a group of one of them
 */
function moveNested(
  cpu: Cpu,
  mm: Mm,
  pp: Pinpages,
  claimers: number,
  dst: Pfn,
  src: Pfn,
  mode: MigrateMode,
): MigrateResult {
  if (folioMaybeDmaPinned(cpu, mm, src)) return -EAGAIN
  let pins = 0
  let agreed = 0
  let reserved = 0 // two bits a subsystem: a page that stands alone needs two nodes at most
  let rc: MigrateResult = 0
  for (let number = 0; number < pp.systems.length && rc === 0; number++) {
    if ((claimers & (1 << number)) === 0) continue
    const { info } = pp.systems[number]
    pins++
    if (info.nextOfGroup(cpu, mm, src) !== src) rc = -EBUSY
    const nodes = rc === 0 ? info.beginMove(cpu, mm, src) : rc
    if (nodes >= 0) rc = pp.systems[number].quiesce(cpu, mm, src, 1, mode)
    else rc = nodes
    if (nodes >= 0 && rc !== 0) info.endMove(cpu, mm, src, nodes)
    if (rc === 0) agreed |= 1 << number
    if (rc === 0) reserved |= nodes << (2 * number)
  }
  const moves = rc === 0
  if (moves) {
    takeOver(cpu, mm, dst, src)
    cpu.add(mm.refcount, dst, pins)
  }
  for (let number = 0; number < pp.systems.length; number++) {
    if ((agreed & (1 << number)) === 0) continue
    const system = pp.systems[number]
    if (moves) {
      const data = system.info.dataOf(cpu, mm, src)
      system.info.movePage(cpu, mm, dst, src)
      system.movePage(cpu, mm, dst, src, data)
    }
    system.info.endMove(cpu, mm, moves ? dst : src, (reserved >>> (2 * number)) & 3)
    system.resume(cpu, mm, moves ? dst : src)
  }
  if (moves) cpu.add(mm.refcount, src, -pins)
  return rc
}
