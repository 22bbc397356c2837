/**
 * A ring of kernel pages that a device and its users share, as the one of asynchronous I/O: the subsystem that pin page
 * control was wanted for.
 *
 * The ring knows where its pages are, so its own table is its pin information (S3-4): slot n holds a page frame number.
 * All its pages are one group. They are found by way of the table only, under (L) of the page, so a move needs to stop
 * the ring once, and to change the table.
 *
 * A typical sequence is:
 *   const ring = createPinRing(mm, cell, slots)            // pinRingCells(slots) cells
 *   registerPinSystem(cpu, mm, pp, number)                 // ring.system is one of the registry's
 *   setPinpage(cpu, mm, pp, pfn, { system: number, group: 1, data: slot })
 *   ringWrite(cpu, mm, ring, slot, value)                  // waits while the page moves
 *
 * Rules:
 *   - `data` of a pin is the slot; a group number other than 0 means nothing more, since the ring is one group.
 *
 * @kernel fs/aio.c aio_setup_ring(), aio_migrate_folio() v6.18: the same task, solved with a mapping's migrate_folio.
 *         Spec S3-6
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { cellsOf, type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import { EAGAIN, EBUSY, EEXIST, EINVAL } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import type { Mm } from '../mm/page.ts'
import type { PinInfo } from './pin_info.ts'
import { lockPinpage, type PinSystem, unlockPinpage } from './pinpage.ts'

// Cells of a ring.
const LOCK = 0 // (O)
const SLOTS = 1 // how many there are
const MOVING = 2 // 1: between beginMove and endMove
const BUSY = 3 // 1: the device refuses to be stopped                                (A)
const STOPPED = 4 // 1: between quiesce and resume                                   (A)
const STOPS = 5 // times that it was stopped                                         (A)
const FIRST_SLOT = 6 // page of slot 0; 0: none

/** Cells that a ring needs; no lists. */
export const pinRingCells = (slots: number): number => FIRST_SLOT + slots

export interface PinRing {
  readonly system: PinSystem
  readonly cell: number
  readonly slots: number
}

/** A ring in the owner cells from `cell` on, without pages. */
export function createPinRing(mm: Mm, cell: number, slots: number): PinRing {
  assert(cell + pinRingCells(slots) <= mm.ownerCells.length, 'pin ring: the arena has cells for it')
  const at = (field: number): OwnerCell => ownerCellOf(cell + field)
  mm.ownerCells[at(SLOTS)] = slots
  const system: PinSystem = {
    name: 'ring',
    info: ringInfo(cell),

    quiesce(cpu, state): number {
      if (cpu.load(state.ownerCells, at(BUSY)) !== 0) return -EBUSY
      cpu.store(state.ownerCells, at(STOPPED), 1)
      cpu.add(state.ownerCells, at(STOPS), 1)
      return 0
    },
    movePage: () => {}, // the table says it already
    resume(cpu, state): void {
      cpu.store(state.ownerCells, at(STOPPED), 0)
    },
  }
  return { system, cell, slots }
}

/** Makes the device refuse to be stopped, or not. */
export function setRingBusy(cpu: Cpu, mm: Mm, ring: PinRing, busy: boolean): void {
  cpu.store(mm.ownerCells, ownerCellOf(ring.cell + BUSY), busy ? 1 : 0)
}

/** Times that the ring was stopped for a move; whether it is now. */
export const ringStops = (mm: Mm, { cell }: PinRing): { stops: number; stopped: boolean } => ({
  stops: mm.ownerCells[ownerCellOf(cell + STOPS)],
  stopped: mm.ownerCells[ownerCellOf(cell + STOPPED)] !== 0,
})

/** The cell that is 1 while the ring's pages change places. */
export const ringMovingCell = (ring: PinRing): OwnerCell => ownerCellOf(ring.cell + MOVING)

/** The cell that says where a slot's page is. */
export const ringSlotCell = (ring: PinRing, slot: number): OwnerCell =>
  ownerCellOf(ring.cell + FIRST_SLOT + slot)

/**
 * Locks the page of a slot, wherever it is by then. 0: the slot is empty.
 *
 * @locks  takes (L); pairs with unlockPinpage()
 * @sleeps for (L): while the page moves
 */
export function lockSlot(cpu: Cpu, mm: Mm, ring: PinRing, slot: number): Pfn {
  for (;;) {
    // Each round either ends or has seen the page move.
    cpu.at('finding', ring.cell, slot)
    const pfn = pfnOf(cpu.load(mm.ownerCells, ringSlotCell(ring, slot)))
    if (pfn === 0) return pfn
    if (!lockPinpage(cpu, mm, pfn)) continue
    if (cpu.load(mm.ownerCells, ringSlotCell(ring, slot)) === pfn) return pfn
    unlockPinpage(cpu, mm, pfn)
  }
}

/** Writes to a slot's page. False: the slot is empty. @sleeps while the page moves */
export function ringWrite(cpu: Cpu, mm: Mm, ring: PinRing, slot: number, value: number): boolean {
  const pfn = lockSlot(cpu, mm, ring, slot)
  if (pfn === 0) return false
  cpu.store(mm.content, pfn, value)
  unlockPinpage(cpu, mm, pfn)
  return true
}

/** What a slot's page holds; -1: the slot is empty. @sleeps while the page moves */
export function ringRead(cpu: Cpu, mm: Mm, ring: PinRing, slot: number): number {
  const pfn = lockSlot(cpu, mm, ring, slot)
  if (pfn === 0) return -1
  const value = cpu.load(mm.content, pfn)
  unlockPinpage(cpu, mm, pfn)
  return value
}

/** The ring's table as pin information. */
function ringInfo(cell: number): PinInfo {
  const lock = ownerCellOf(cell + LOCK)
  type Section = (mm: Mm, at: number, b: number, c: number) => number
  const locked = (cpu: Cpu, mm: Mm, section: Section, b: number, c: number): number =>
    cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, section, mm, cell, b, c)
  return {
    create: (cpu, mm) => locked(cpu, mm, emptyLocked, 0, 0),
    destroy(cpu, mm) {
      locked(cpu, mm, emptyLocked, 0, 0)
    },
    addPage: (cpu, mm, pfn, _group, slot) => locked(cpu, mm, addLocked, pfn, slot),
    delPage: (cpu, mm, pfn) => locked(cpu, mm, delLocked, pfn, 0),
    findPage: (cpu, mm, pfn) => locked(cpu, mm, slotOfLocked, pfn, 0) >= 0,
    dataOf: (cpu, mm, pfn) => locked(cpu, mm, slotOfLocked, pfn, 0),
    nextOfGroup: (cpu, mm, pfn) => pfnOf(locked(cpu, mm, nextLocked, pfn, 0)),
    beginMove: (cpu, mm) => locked(cpu, mm, beginMoveLocked, 0, 0),
    movePage(cpu, mm, dst, src) {
      locked(cpu, mm, moveLocked, dst, src)
    },
    endMove(cpu, mm) {
      locked(cpu, mm, endMoveLocked, 0, 0)
    },
  }
}

// Sections under the ring's lock (O).

function emptyLocked({ ownerCells }: Mm, at: number): number {
  const cells = cellsOf(ownerCells)
  for (let slot = 0; slot < cells[at + SLOTS]; slot++) cells[at + FIRST_SLOT + slot] = 0
  cells[at + MOVING] = 0
  return 0
}

/** The slot whose page this is, or -1. */
function slotOfLocked({ ownerCells }: Mm, at: number, pfn: number): number {
  const cells = cellsOf(ownerCells)
  for (let slot = 0; slot < cells[at + SLOTS]; slot++) if (cells[at + FIRST_SLOT + slot] === pfn) return slot
  return -1
}

function addLocked(mm: Mm, at: number, pfn: number, slot: number): number {
  const cells = cellsOf(mm.ownerCells)
  if (slot < 0 || slot >= cells[at + SLOTS]) return -EINVAL
  if (cells[at + MOVING] !== 0) return -EAGAIN
  if (cells[at + FIRST_SLOT + slot] !== 0 || slotOfLocked(mm, at, pfn) >= 0) return -EEXIST
  cells[at + FIRST_SLOT + slot] = pfn
  return 0
}

function delLocked(mm: Mm, at: number, pfn: number): number {
  const slot = slotOfLocked(mm, at, pfn)
  if (slot < 0) return -EINVAL
  cellsOf(mm.ownerCells)[at + FIRST_SLOT + slot] = 0
  return 0
}

/** The page of the next slot that has one. */
function nextLocked(mm: Mm, at: number, pfn: number): number {
  const cells = cellsOf(mm.ownerCells)
  const slots = cells[at + SLOTS]
  const from = slotOfLocked(mm, at, pfn)
  assert(from >= 0, 'pin ring: the page is one of its own')
  for (let i = 1; i < slots; i++) {
    const next = cells[at + FIRST_SLOT + ((from + i) % slots)]
    if (next !== 0) return next
  }
  return pfn
}

function beginMoveLocked({ ownerCells }: Mm, at: number): number {
  const cells = cellsOf(ownerCells)
  if (cells[at + MOVING] !== 0) return -EAGAIN
  cells[at + MOVING] = 1
  return 0
}

function moveLocked(mm: Mm, at: number, dst: number, src: number): number {
  const slot = slotOfLocked(mm, at, src)
  assert(slot >= 0, 'pin ring: the page is one of its own')
  cellsOf(mm.ownerCells)[at + FIRST_SLOT + slot] = dst
  return 0
}

function endMoveLocked({ ownerCells }: Mm, at: number): number {
  cellsOf(ownerCells)[at + MOVING] = 0
  return 0
}
