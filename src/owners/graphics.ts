/**
 * A graphics driver: buffers of many pages that the cpu, user space and a device reach.
 *
 * Each buffer has a page table of its own: one cell a page, with the page and how it is. A lock of the driver's, not
 * the page lock, guards the tables and decides who isolates; so the driver implements `MovableOps` itself. Its pages
 * carry the mark of the driver's address space, not a page type, because user space may map them.
 *
 * An entry of a table is in one of these states:
 *   (1) empty
 *   (2) here: the page is the buffer's, which holds one reference on it
 *   (3) isolated: the same, and an isolator has the page; cpu and device may still reach it
 *   (4) moving: its contents are on their way to another page; nobody else reaches them
 * Transitions: (1) -> (2) create; (2) -> (3) isolate; (3) -> (4) -> (2) migrate, of the other page then; (3) -> (2)
 * putback; (2) or (3) -> (1) destroy.
 *
 * Who wants the contents:
 *   | who                | while (3)                        | while (4)                            |
 *   |--------------------|----------------------------------|--------------------------------------|
 *   | cpu, by the table  | waits for (L), once              | sleeps until (L) is free, looks again|
 *   | user, by a pte     | by its pte, or a migration entry | sleeps at the migration entry        |
 *   | device, in a job   | reaches it: migrate says -EAGAIN | its job does not begin before (L) is free |
 *   | destroy            | takes it: the isolator frees it  | sleeps until (L) is free             |
 *
 * What a failure of migratePage leaves behind: everything as before. -EAGAIN: a job of the device is under way, or
 * somebody has a reference that is neither the buffer's nor the isolator's.
 *
 * Conservation: entries that are not empty are the pages that the driver counts, those in (3) and (4) the ones that it
 * counts as isolated, each page in one entry (`graphicsFault`).
 *
 * A typical sequence is:
 *   const device = createGraphics(mm, place, { mapping, buffers: 4, pagesMax: 16, movable: true })
 *   const buffer = bufferCreate(cpu, mm, device, 16, 2, nid)   // in pieces of up to 4 pages
 *   bufferMap(cpu, mm, device, buffer, vpn)                    // user space sees it
 *   bufferWrite(cpu, mm, device, buffer, 3, value)             // the cpu does, and waits while page 3 moves
 *   jobBegin(cpu, mm, device, buffer)                          // from here on no page of it moves
 *   jobEnd(cpu, mm, device, buffer)
 *   bufferDestroy(cpu, mm, device, buffer)
 *
 * Rules:
 *   - tables and counts change under (O), the driver's lock; no other lock is taken under it;
 *   - a page is out of user space before its entry is empty: or a move that finds the entry empty would map the
 *     destination, which holds nothing;
 *   - with `movable` off, pages have no mark and are allocated without __GFP_MOVABLE: neither without the other.
 *
 * Not here: the shared-memory file that real graphics buffers are backed by (their pages are on the LRU until the
 * driver pins them), and swapping a buffer out.
 *
 * @kernel drivers/gpu/drm/drm_gem.c, drivers/gpu/drm/ttm/ttm_pool.c v6.18 have buffers of this shape, which cannot move;
 *         movable ones: Gioh Kim, "enable mobile-page migration", linux-mm 2015; spec S0-15 to S0-23
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import {
  type MappingId,
  type OwnerCell,
  orderOf,
  ownerCellOf,
  type Pfn,
  pfnOf,
  type Vpn,
  vpnOf,
} from '../base/units.ts'
import { GFP_HIGHUSER, GFP_HIGHUSER_MOVABLE } from '../mm/gfp.ts'
import { tryGetPage } from '../mm/gup.ts'
import { EAGAIN, EBUSY, ENOENT, ENOMEM, PG_locked } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import {
  ISOLATED,
  type Isolation,
  type MigrateResult,
  type MovableOps,
  REFUSED_BY_OWNER,
  REFUSED_ISOLATED,
  setMappingOps,
} from '../mm/movable_ops.ts'
import { type Mm, movableMapping } from '../mm/page.ts'
import { putPage, splitPage } from '../mm/page_alloc.ts'
import { mapPage, zapPte } from '../mm/rmap.ts'
import { allocPages } from '../mm/slowpath.ts'
import type { OwnerPlace } from './place.ts'

/** What a device is made with. */
export interface GraphicsSpec {
  /** Its address space. */
  readonly mapping: MappingId
  readonly buffers: number
  /** Pages of its largest buffer. */
  readonly pagesMax: number
  /** Its pages can move, and are allocated as pages that can. */
  readonly movable: boolean
}

/** One device. */
export interface Graphics extends GraphicsSpec {
  /** First of its cells, which is its lock. */
  readonly cell: OwnerCell
}

// The cells of a device: its lock, two counts and the size of a buffer, then buffer after buffer.
const PAGES = 1 //        entries that are not empty
const ISOLATED_PAGES = 2 // of these isolated or moving
const BUFFER_CELLS = 3 // cells of one buffer
const FIRST_BUFFER = 4
// The cells of a buffer: four, then its page table.
const STATE = 0
const JOBS = 1 //         of the device, under way
const MOVING_PAGES = 2 // entries that are moving
const USER = 3 //         first vpn that maps it; 0: none
const TABLE = 4

/** Cells that a device needs. It needs no list: an isolated page's links are the isolator's, and others are on none. */
export const graphicsCells = (buffers: number, pagesMax: number): number =>
  FIRST_BUFFER + buffers * (TABLE + pagesMax)

// States of a buffer.
const NO_BUFFER = 0
const FILLING = 1
const LIVE = 2
export const DYING = 3

/** In USER: somebody is mapping the buffer, or taking it out of user space. */
const USER_BUSY = -1

// States of an entry, below its page.
export const HERE = 1
export const AWAY = 2 // isolated
export const MOVING = 3
const ENTRY_STATE = 3
export const entryOf = (pfn: number, state: number): number => (pfn << 2) | state
export const entryPfn = (entry: number): Pfn => pfnOf(entry >>> 2)
export const entryState = (entry: number): number => entry & ENTRY_STATE

/** Makes a device, which owns the pages of its address space. Throws AssertionError if there are too few cells. */
export function createGraphics(mm: Mm, place: OwnerPlace, spec: GraphicsSpec): Graphics {
  const { buffers, pagesMax } = spec
  assert(
    place.cell + graphicsCells(buffers, pagesMax) <= mm.ownerCells.length,
    'graphics: the arena has cells for this device',
  )
  const device: Graphics = { ...spec, cell: ownerCellOf(place.cell) }
  mm.ownerCells[ownerCellOf(place.cell + BUFFER_CELLS)] = TABLE + pagesMax
  if (spec.movable) setMappingOps(mm, spec.mapping, graphicsOps(device))
  return device
}

/** Pages of all buffers, and those of them that are isolated. */
export const graphicsPages = (mm: Mm, { cell }: Graphics): { pages: number; isolated: number } => ({
  pages: mm.ownerCells[ownerCellOf(cell + PAGES)],
  isolated: mm.ownerCells[ownerCellOf(cell + ISOLATED_PAGES)],
})

// Buffers.

/**
 * A buffer of `pages` pages, in pieces of 2^order pages where there are such; smaller ones where there are not.
 *
 * @locks   what allocating does; takes and drops (L), (O)
 * @sleeps  if the allocation does
 * @errors  -ENOMEM: nothing has changed
 */
export function bufferCreate(
  cpu: Cpu,
  mm: Mm,
  device: Graphics,
  pages: number,
  order: number,
  nid: number,
): number {
  assert(pages > 0 && pages <= device.pagesMax, 'graphics: a buffer has from 1 to pagesMax pages')
  const buffer = claimBuffer(cpu, mm, device)
  if (buffer < 0) return -ENOMEM
  let filled = 0
  let size = order
  // Ends: each round fills some pages, or makes the pieces smaller.
  while (filled < pages && size >= 0) {
    while (1 << size > pages - filled) size--
    const got = allocPages(cpu, mm, device.movable ? GFP_HIGHUSER_MOVABLE : GFP_HIGHUSER, orderOf(size), nid)
    if (got < 0) {
      size--
      continue
    }
    splitPage(cpu, mm, pfnOf(got), size)
    for (let i = 0; i < 1 << size; i++) addPage(cpu, mm, device, buffer, filled + i, pfnOf(got + i))
    filled += 1 << size
  }
  if (filled < pages) {
    emptyBuffer(cpu, mm, device, buffer)
    return -ENOMEM
  }
  setState(cpu, mm, device, buffer, LIVE)
  return buffer
}

/**
 * A buffer of pages that the caller has allocated, with their references: for loaders, and for tests.
 *
 * @locks   takes and drops (L), (O)
 * @errors  -ENOMEM: the device has as many buffers as it can have
 */
export function bufferAdopt(cpu: Cpu, mm: Mm, device: Graphics, pages: readonly Pfn[]): number {
  assert(
    pages.length > 0 && pages.length <= device.pagesMax,
    'graphics: a buffer has from 1 to pagesMax pages',
  )
  const buffer = claimBuffer(cpu, mm, device)
  if (buffer < 0) return -ENOMEM
  pages.forEach((pfn, index) => addPage(cpu, mm, device, buffer, index, pfn))
  setState(cpu, mm, device, buffer, LIVE)
  return buffer
}

const claimBuffer = (cpu: Cpu, mm: Mm, { cell, buffers }: Graphics): number =>
  cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, claimBufferLocked, mm, cell, buffers, 0)

/**
 * An allocated page becomes the buffer's, with the caller's reference, at an empty entry.
 *
 * @locks takes and drops (L), under it (O)
 */
function addPage(cpu: Cpu, mm: Mm, device: Graphics, buffer: number, index: number, pfn: Pfn): void {
  const entry = entryCell(device, buffer, index)
  cpu.lock(mm.flags, pfn, PG_locked)
  if (device.movable) mark(cpu, mm, device, entry, pfn)
  cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, fillEntryLocked, mm, pfn, entry, device.cell)
  cpu.unlock(mm.flags, pfn, PG_locked)
}

/**
 * Lets go of a buffer: out of user space, and its pages free once isolators let go of them too.
 *
 * @locks   takes and drops (R), (O)
 * @sleeps  for the (L) of pages that move
 * @errors  -ENOENT: there is no such buffer. -EBUSY: the device is using it, or somebody is mapping it. Nothing
 *          has changed.
 */
export function bufferDestroy(cpu: Cpu, mm: Mm, device: Graphics, buffer: number): number {
  const head = headCell(device, buffer)
  const user = cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, killBufferLocked, mm, head, 0, 0)
  if (user < 0) return user
  if (user > 0) zapBuffer(cpu, mm, device, buffer, user)
  emptyBuffer(cpu, mm, device, buffer)
  return 0
}

/** Empties the table, drops the references, and forgets the buffer. @sleeps for the (L) of pages that move */
function emptyBuffer(cpu: Cpu, mm: Mm, device: Graphics, buffer: number): void {
  for (let index = 0; index < device.pagesMax; index++) {
    const entry = entryCell(device, buffer, index)
    const pfn = takePage(cpu, mm, device, entry)
    cpu.at('emptied', entry, pfn)
    if (pfn !== 0) putPage(cpu, mm, pfn)
  }
  setState(cpu, mm, device, buffer, NO_BUFFER)
}

/** Empties one entry. The page that was there, with the buffer's reference; 0 if none was. @sleeps while it moves */
function takePage(cpu: Cpu, mm: Mm, device: Graphics, entry: OwnerCell): Pfn {
  for (;;) {
    // Each round either ends or has waited for a move to end; the buffer is dying, so no other begins.
    cpu.at('emptying', entry)
    const was = cpu.atomically(
      mm.ownerCells,
      device.cell,
      SPIN_LOCKED,
      emptyEntryLocked,
      mm,
      entry,
      device.cell,
      0,
    )
    if ((was & ENTRY_STATE) !== MOVING) return entryPfn(was)
    cpu.waitClear(mm.flags, entryPfn(was), PG_locked)
  }
}

// The cpu.

/** What bufferRead() and bufferWrite() say of a page that is not there. */
export const NO_PAGE = -1
/** What their section says of one that is on its way. */
const ON_ITS_WAY = -2

/**
 * What a page of a buffer holds. Waits while the page moves. NO_PAGE: there is none.
 *
 * @locks  takes and drops (O)
 * @sleeps for the (L) of a page that moves
 */
export function bufferRead(cpu: Cpu, mm: Mm, device: Graphics, buffer: number, index: number): number {
  return access(cpu, mm, device, headCell(device, buffer), entryCell(device, buffer, index), NO_PAGE)
}

/** Writes `value`, 0 or more, to a page of a buffer. As bufferRead(). */
export function bufferWrite(
  cpu: Cpu,
  mm: Mm,
  device: Graphics,
  buffer: number,
  index: number,
  value: number,
): number {
  return access(cpu, mm, device, headCell(device, buffer), entryCell(device, buffer, index), value)
}

function access(
  cpu: Cpu,
  mm: Mm,
  device: Graphics,
  head: OwnerCell,
  entry: OwnerCell,
  value: number,
): number {
  for (;;) {
    // Each round either ends or has waited for a move to end.
    cpu.at('access', entry, value)
    const seen = cpu.load(mm.ownerCells, entry)
    // It is about to move, or moves: whoever has its lock wakes us.
    if ((seen & ENTRY_STATE) > HERE) cpu.waitClear(mm.flags, entryPfn(seen), PG_locked)
    const found = cpu.atomically(
      mm.ownerCells,
      device.cell,
      SPIN_LOCKED,
      accessLocked,
      mm,
      head,
      entry,
      value,
    )
    if (found !== ON_ITS_WAY) return found
  }
}

// User space.

/**
 * Maps a buffer at these ptes, which are empty.
 *
 * @locks   takes and drops (L), under it (R); (O)
 * @sleeps  for the (L) of each page
 * @errors  -ENOENT: there is no such buffer. -EBUSY: it is mapped. Nothing has changed.
 */
export function bufferMap(cpu: Cpu, mm: Mm, device: Graphics, buffer: number, first: Vpn): number {
  const head = headCell(device, buffer)
  const rc = cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, claimUserLocked, mm, head, 0, 0)
  if (rc < 0) return rc
  for (let index = 0; index < device.pagesMax; index++) {
    cpu.at('mapping', head, index)
    const pfn = lockPageOf(cpu, mm, entryCell(device, buffer, index))
    if (pfn === 0) break
    mapPage(cpu, mm, vpnOf(first + index), pfn)
    cpu.unlock(mm.flags, pfn, PG_locked)
    cpu.at('mapped', pfn, index)
    putPage(cpu, mm, pfn)
  }
  cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, setCellLocked, mm, head + USER, first, 0)
  return 0
}

/**
 * Takes a buffer out of user space.
 *
 * @locks   takes and drops (R), (O)
 * @errors  -ENOENT: it is not mapped, or there is no such buffer
 */
export function bufferUnmap(cpu: Cpu, mm: Mm, device: Graphics, buffer: number): number {
  const head = headCell(device, buffer)
  const user = cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, takeUserLocked, mm, head, 0, 0)
  if (user <= 0) return -ENOENT
  zapBuffer(cpu, mm, device, buffer, user)
  cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, setCellLocked, mm, head + USER, 0, 0)
  return 0
}

/** Zaps the ptes of a buffer. Its pages come one after the other in its table: behind them, ptes are another's. */
function zapBuffer(cpu: Cpu, mm: Mm, device: Graphics, buffer: number, first: number): void {
  for (let i = 0; i < device.pagesMax; i++) {
    cpu.at('zapping', first, i)
    if (cpu.load(mm.ownerCells, entryCell(device, buffer, i)) === 0) return
    zapPte(cpu, mm, vpnOf(first + i))
  }
}

/** The page of an entry, locked and with a reference; 0 if it is empty. A page that is locked does not move. */
function lockPageOf(cpu: Cpu, mm: Mm, entry: OwnerCell): Pfn {
  for (;;) {
    // Each round either ends or has seen the entry change.
    cpu.at('locking', entry)
    const pfn = entryPfn(cpu.load(mm.ownerCells, entry))
    if (pfn === 0) return pfn
    if (!tryGetPage(cpu, mm, pfn)) continue
    cpu.lock(mm.flags, pfn, PG_locked)
    if (entryPfn(cpu.load(mm.ownerCells, entry)) === pfn) return pfn
    cpu.unlock(mm.flags, pfn, PG_locked)
    cpu.at('moved meanwhile', entry, pfn)
    putPage(cpu, mm, pfn)
  }
}

// The device.

/**
 * A job of the device begins: until jobEnd() no page of the buffer moves, and the buffer stays.
 *
 * @locks   takes and drops (O)
 * @sleeps  for the (L) of pages that move
 * @errors  -ENOENT: there is no such buffer
 */
export function jobBegin(cpu: Cpu, mm: Mm, device: Graphics, buffer: number): number {
  const head = headCell(device, buffer)
  for (;;) {
    // Each round either ends or has waited for a move to end.
    cpu.at('job begins', head)
    const rc = cpu.atomically(
      mm.ownerCells,
      device.cell,
      SPIN_LOCKED,
      beginJobLocked,
      mm,
      head,
      device.cell,
      0,
    )
    if (rc <= 0) return rc
    cpu.waitClear(mm.flags, entryPfn(rc), PG_locked)
  }
}

/** The page that the device finds at a place of the buffer of its job: its address is good until jobEnd(). */
export function jobPage(cpu: Cpu, mm: Mm, device: Graphics, buffer: number, index: number): Pfn {
  return entryPfn(cpu.load(mm.ownerCells, entryCell(device, buffer, index)))
}

/** The job is done. @locks takes and drops (O) */
export function jobEnd(cpu: Cpu, mm: Mm, device: Graphics, buffer: number): void {
  const head = headCell(device, buffer)
  const left = cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, endJobLocked, mm, head, 0, 0)
  assert(left >= 0, 'graphics: a job that ends has begun')
}

// Moving.

/** The operations of a device's pages. */
export function graphicsOps(device: Graphics): MovableOps {
  const lock = device.cell
  return {
    name: 'graphics',

    isolatePage(cpu, mm, pfn): Isolation {
      const entry = entryNamedBy(cpu, mm, device, pfn)
      if (entry < 0) return REFUSED_BY_OWNER
      const answer = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, isolateLocked, mm, pfn, entry, lock)
      if (answer === ISOLATED) return ISOLATED
      return answer === REFUSED_ISOLATED ? REFUSED_ISOLATED : REFUSED_BY_OWNER
    },

    migratePage(cpu, mm, dst, src): MigrateResult {
      const entry = ownerCellOf(cpu.load(mm.private, src)) // an isolated page was the driver's: it names its entry
      if (cpu.load(mm.ownerCells, entry) !== entryOf(src, AWAY)) return 0 // destroyed: there is nothing to move
      // User space has no way to it any more, so none comes to this number but what is there already.
      if (cpu.load(mm.refcount, src) !== OWNERS_AND_ISOLATORS) return -EAGAIN
      const rc = cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, beginMoveLocked, mm, src, entry, lock)
      if (rc !== MOVES) return rc
      if (mm.hasContents) cpu.store(mm.content, dst, cpu.load(mm.content, src))
      mark(cpu, mm, device, entry, dst)
      cpu.add(mm.refcount, dst, 1)
      cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, endMoveLocked, mm, dst, entry, lock)
      cpu.add(mm.refcount, src, -1) // the buffer's; the isolation's is still there
      return 0
    },

    putbackPage(cpu, mm, pfn): void {
      const entry = ownerCellOf(cpu.load(mm.private, pfn))
      cpu.atomically(mm.ownerCells, lock, SPIN_LOCKED, putbackLocked, mm, pfn, entry, lock)
    },
  }
}

/** References of an isolated page that nobody else has. */
const OWNERS_AND_ISOLATORS = 2
/** What beginMoveLocked() answers besides 0 and errors. */
const MOVES = 1

/** The entry that a page names, or -1 if it names none: it is being freed, or was. */
function entryNamedBy(cpu: Cpu, mm: Mm, device: Graphics, pfn: Pfn): number {
  const entry = cpu.load(mm.private, pfn)
  const first = device.cell + FIRST_BUFFER
  return entry >= first && entry < device.cell + graphicsCells(device.buffers, device.pagesMax) ? entry : -1
}

/** The page says whose it is, and at which entry. @locks needs (L) */
function mark(cpu: Cpu, mm: Mm, device: Graphics, entry: OwnerCell, pfn: Pfn): void {
  cpu.store(mm.mapping, pfn, movableMapping(device.mapping))
  cpu.store(mm.private, pfn, entry)
}

function setState(cpu: Cpu, mm: Mm, device: Graphics, buffer: number, state: number): void {
  const head = headCell(device, buffer)
  cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, setCellLocked, mm, head + STATE, state, 0)
}

const headCell = ({ cell, pagesMax }: Graphics, buffer: number): OwnerCell =>
  ownerCellOf(cell + FIRST_BUFFER + buffer * (TABLE + pagesMax))
/** The cell of an entry. */
export const entryCell = (device: Graphics, buffer: number, index: number): OwnerCell =>
  ownerCellOf(headCell(device, buffer) + TABLE + index)

// Sections under the driver's lock (O). `cell` is the first cell of the device, `head` of the buffer.

/** The buffer that an entry is part of. */
function headOf(mm: Mm, entry: number, cell: number): number {
  const first = cell + FIRST_BUFFER
  return entry - ((entry - first) % mm.ownerCells[ownerCellOf(cell + BUFFER_CELLS)])
}

function addTo(mm: Mm, cell: number, delta: number): void {
  mm.ownerCells[ownerCellOf(cell)] += delta
}

function setCellLocked(mm: Mm, cell: number, value: number): number {
  mm.ownerCells[ownerCellOf(cell)] = value
  return 0
}

/** A buffer that there is not, for the caller to fill; -1: there is none left. */
function claimBufferLocked(mm: Mm, cell: number, buffers: number): number {
  const size = mm.ownerCells[ownerCellOf(cell + BUFFER_CELLS)]
  for (let buffer = 0; buffer < buffers; buffer++) {
    const state = ownerCellOf(cell + FIRST_BUFFER + buffer * size + STATE)
    if (mm.ownerCells[state] !== NO_BUFFER) continue
    mm.ownerCells[state] = FILLING
    return buffer
  }
  return -1
}

/** Nobody finds the buffer from here on. Where it was mapped, 0 if it was not; or an error. */
function killBufferLocked(mm: Mm, head: number): number {
  const cells = mm.ownerCells
  if (cells[ownerCellOf(head + STATE)] !== LIVE) return -ENOENT
  const user = cells[ownerCellOf(head + USER)]
  if (cells[ownerCellOf(head + JOBS)] > 0 || user === USER_BUSY) return -EBUSY
  cells[ownerCellOf(head + STATE)] = DYING
  cells[ownerCellOf(head + USER)] = 0
  return user
}

function fillEntryLocked(mm: Mm, pfn: number, entry: number, cell: number): number {
  mm.ownerCells[ownerCellOf(entry)] = entryOf(pfn, HERE)
  addTo(mm, cell + PAGES, 1)
  return 0
}

/** What the entry held; it is empty now, unless that was moving. */
function emptyEntryLocked(mm: Mm, entry: number, cell: number): number {
  const was = mm.ownerCells[ownerCellOf(entry)]
  const state = was & ENTRY_STATE
  if (was === 0 || state === MOVING) return was
  mm.ownerCells[ownerCellOf(entry)] = 0
  addTo(mm, cell + PAGES, -1)
  if (state === AWAY) addTo(mm, cell + ISOLATED_PAGES, -1)
  return was
}

/** What the page holds, or NO_PAGE or ON_ITS_WAY; a `value` that is not negative is written first. */
function accessLocked(mm: Mm, head: number, entry: number, value: number): number {
  const found = mm.ownerCells[ownerCellOf(entry)]
  if (mm.ownerCells[ownerCellOf(head + STATE)] !== LIVE || found === 0) return NO_PAGE
  if ((found & ENTRY_STATE) === MOVING) return ON_ITS_WAY
  if (!mm.hasContents) return 0
  if (value >= 0) mm.content[entryPfn(found)] = value
  return mm.content[entryPfn(found)]
}

function claimUserLocked(mm: Mm, head: number): number {
  const cells = mm.ownerCells
  if (cells[ownerCellOf(head + STATE)] !== LIVE) return -ENOENT
  if (cells[ownerCellOf(head + USER)] !== 0) return -EBUSY
  cells[ownerCellOf(head + USER)] = USER_BUSY
  return 0
}

function takeUserLocked(mm: Mm, head: number): number {
  const user = mm.ownerCells[ownerCellOf(head + USER)]
  if (mm.ownerCells[ownerCellOf(head + STATE)] !== LIVE || user <= 0) return 0
  mm.ownerCells[ownerCellOf(head + USER)] = USER_BUSY
  return user
}

/** 0: it has begun. The entry of a page that moves: not yet. */
function beginJobLocked(mm: Mm, head: number, cell: number): number {
  const cells = mm.ownerCells
  if (cells[ownerCellOf(head + STATE)] !== LIVE) return -ENOENT
  if (cells[ownerCellOf(head + MOVING_PAGES)] === 0) {
    cells[ownerCellOf(head + JOBS)]++
    return 0
  }
  const end = head + cells[ownerCellOf(cell + BUFFER_CELLS)]
  for (let entry = head + TABLE; entry < end; entry++) {
    if ((cells[ownerCellOf(entry)] & ENTRY_STATE) === MOVING) return cells[ownerCellOf(entry)]
  }
  return assertMoving()
}

function assertMoving(): number {
  assert(false, 'graphics: a buffer that counts a moving page has one')
  return 0
}

function endJobLocked(mm: Mm, head: number): number {
  return --mm.ownerCells[ownerCellOf(head + JOBS)]
}

function isolateLocked(mm: Mm, pfn: number, entry: number, cell: number): number {
  const found = mm.ownerCells[ownerCellOf(entry)]
  if (found === entryOf(pfn, AWAY) || found === entryOf(pfn, MOVING)) return REFUSED_ISOLATED
  if (found !== entryOf(pfn, HERE)) return REFUSED_BY_OWNER // it was the driver's
  if (mm.ownerCells[ownerCellOf(headOf(mm, entry, cell) + JOBS)] > 0) return REFUSED_BY_OWNER
  mm.ownerCells[ownerCellOf(entry)] = entryOf(pfn, AWAY)
  addTo(mm, cell + ISOLATED_PAGES, 1)
  return ISOLATED
}

/** MOVES. 0: the buffer is gone. -EAGAIN: the device uses it. */
function beginMoveLocked(mm: Mm, src: number, entry: number, cell: number): number {
  const head = headOf(mm, entry, cell)
  if (mm.ownerCells[ownerCellOf(entry)] !== entryOf(src, AWAY)) return 0
  if (mm.ownerCells[ownerCellOf(head + JOBS)] > 0) return -EAGAIN
  mm.ownerCells[ownerCellOf(entry)] = entryOf(src, MOVING)
  addTo(mm, head + MOVING_PAGES, 1)
  return MOVES
}

/** The entry is still moving: nobody takes it away meanwhile. */
function endMoveLocked(mm: Mm, dst: number, entry: number, cell: number): number {
  mm.ownerCells[ownerCellOf(entry)] = entryOf(dst, HERE)
  addTo(mm, headOf(mm, entry, cell) + MOVING_PAGES, -1)
  addTo(mm, cell + ISOLATED_PAGES, -1)
  return 0
}

function putbackLocked(mm: Mm, pfn: number, entry: number, cell: number): number {
  if (mm.ownerCells[ownerCellOf(entry)] !== entryOf(pfn, AWAY)) return 0 // destroyed: it is nobody's
  mm.ownerCells[ownerCellOf(entry)] = entryOf(pfn, HERE)
  addTo(mm, cell + ISOLATED_PAGES, -1)
  return 0
}

// What holds.

/** True if an isolator has this page of a device. Reads directly. */
export const isPageIsolated = (mm: Mm, pfn: Pfn): boolean =>
  (mm.ownerCells[ownerCellOf(mm.private[pfn])] & ENTRY_STATE) > HERE

/** What is wrong with the tables and counts of a device, or undefined. Reads directly: nothing may run meanwhile. */
export function graphicsFault(mm: Mm, device: Graphics): string | undefined {
  const at = (cell: number): number => mm.ownerCells[ownerCellOf(cell)]
  const seen = new Set<number>()
  let isolated = 0
  for (let buffer = 0; buffer < device.buffers; buffer++) {
    const head = headCell(device, buffer)
    let moving = 0
    for (let index = 0; index < device.pagesMax; index++) {
      const cell = entryCell(device, buffer, index)
      const pfn = entryPfn(at(cell))
      const state = at(cell) & ENTRY_STATE
      if (at(cell) === 0) continue
      if (at(head + STATE) === NO_BUFFER) return `buffer ${buffer} is none and has page ${pfn}`
      if (seen.has(pfn)) return `page ${pfn} is in two entries`
      seen.add(pfn)
      if (mm.refcount[pfn] < (state === HERE ? 1 : 2)) return `page ${pfn} lacks a reference`
      const named = mm.mapping[pfn] === movableMapping(device.mapping) && mm.private[pfn] === cell
      if (device.movable && !named) return `page ${pfn} does not name its entry`
      if (state !== HERE) isolated++
      if (state === MOVING) moving++
    }
    if (moving !== at(head + MOVING_PAGES))
      return `buffer ${buffer} counts ${at(head + MOVING_PAGES)} moving pages`
    if (moving > 0 && at(head + JOBS) > 0) return `buffer ${buffer} moves while the device uses it`
  }
  const counted = graphicsPages(mm, device)
  if (counted.pages !== seen.size) return `it counts ${counted.pages} pages and has ${seen.size}`
  return counted.isolated === isolated
    ? undefined
    : `it counts ${counted.isolated} isolated pages, not ${isolated}`
}
