/**
 * An AIO ring: the pages in which the kernel tells a process what of its asynchronous I/O is done.
 *
 * A context has a ring of a few pages, which io_setup allocates and maps into the process. The context keeps a reference
 * on each for as long as it lives, to write events to them from wherever I/O completes. That reference once made them
 * what nobody could move: the proven culprit of failing memory hotplug and CMA (S3-6).
 *
 * With `migrates` on, as since v3.12, the pages are those of a file without a name: on the LRU, cached in its slots,
 * mapped. The LRU isolates them like any file's page; its address space moves them (`aioMigrateFolio`), knows of the
 * context's reference, and tells the context where the page is now. With `migrates` off, as before, they are anonymous
 * pages with a reference: pinned, and in movable pageblocks.
 *
 * States of a context: (1) none; (2) being set up; (3) live; (4) being destroyed. Only in (3) a page moves.
 *
 * A page moves so:
 *   1. trylock the ring lock; is the context live, and is this the page of its place?
 *   2. move the slot, if the references are isolator, cache and context
 *   3. under the completion lock: copy, and the place names the new page. Until then events go to the old one
 *   4. the context's reference is on the new page; unlock
 *
 * A typical sequence is:
 *   const ring = createAioRing(mm, place, { mapping, firstSlot, pagesMax: 4, migrates: true })
 *   ioSetup(cpu, mm, ring, 4, vpn, nid)
 *   aioComplete(cpu, mm, ring, event)     // -EAGAIN: the ring is full
 *   aioReadEvent(cpu, mm, ring)           // -EAGAIN: it is empty
 *   ioDestroy(cpu, mm, ring)
 *
 * Rules:
 *   - places and the tail change under (O), the completion lock, and with pages in them under the ring lock too; the
 *     head under the ring lock;
 *   - the ring lock is a mutex in a cell of the context: whoever moves a page only tries it, under (L); (I) and (O) are
 *     taken under it;
 *   - destroying takes each page out of the file, which waits for its (L), before the context lets go of it.
 *
 * A page has one cell of contents, so it holds one event; 0 is none.
 *
 * Not here: i_private_lock, which keeps the context from being freed while a page of its file moves (its cells are never
 * freed); requests that are under way when the context is destroyed; a fault that maps a page of the ring again.
 *
 * @kernel fs/aio.c aio_setup_ring(), aio_migrate_folio(), aio_free_ring(), aio_complete(), aio_read_events_ring() v6.18;
 *         Linux kernel commit 36bc08cc0170 ("fs/aio: Add support to aio ring pages migration") (in v3.12); spec S3-6
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import {
  type MappingId,
  type OwnerCell,
  ownerCellOf,
  type Pfn,
  pfnOf,
  type Slot,
  slotOf,
  type Vpn,
  vpnOf,
} from '../base/units.ts'
import { filemapAddFolio, filemapRemoveFolio } from '../mm/filemap.ts'
import { GFP_HIGHUSER_MOVABLE, GFP_USER } from '../mm/gfp.ts'
import { tryGetPage } from '../mm/gup.ts'
import { EAGAIN, EBUSY, EINVAL, ENOENT, ENOMEM, PG_locked, PG_uptodate } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { folioAddLru } from '../mm/lru.ts'
import { folioMigrateMapping } from '../mm/lru_ops.ts'
import { initAnonFolioLocked } from '../mm/memory.ts'
import { type MigrateFolio, type MigrateResult, setMigrateFolio } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { mapPage, zapPte } from '../mm/rmap.ts'
import { allocPages } from '../mm/slowpath.ts'
import type { OwnerPlace } from './place.ts'

/** What a context is made with. */
export interface AioRingSpec {
  /** The file of its ring, and the first of the file's slots. */
  readonly mapping: MappingId
  readonly firstSlot: Slot
  readonly pagesMax: number
  readonly migrates: boolean
}

/** One context. */
export interface AioRing extends AioRingSpec {
  /** First of its cells, which is its completion lock. */
  readonly cell: OwnerCell
}

// The cells of a context.
const RING_LOCK = 1
const STATE = 2
const PAGES = 3
const HEAD = 4 // events that were read
const TAIL = 5 // events that were written
const USER = 6 // first vpn that maps the ring; 0: none
const PLACES = 7 // then, the page of each place

/** Cells that a context needs. It needs no list: its pages are on the LRU. */
export const aioRingCells = (pagesMax: number): number => PLACES + pagesMax

// States of a context.
const NONE = 0
const SETUP = 1
const LIVE = 2
const DYING = 3

/** Makes room for a context. Throws AssertionError if there are too few cells. */
export function createAioRing(mm: Mm, place: OwnerPlace, spec: AioRingSpec): AioRing {
  assert(
    place.cell + aioRingCells(spec.pagesMax) <= mm.ownerCells.length,
    'aio_ring: the arena has cells for this context',
  )
  const ring: AioRing = { ...spec, cell: ownerCellOf(place.cell) }
  if (spec.migrates) setMigrateFolio(mm, spec.mapping, aioMigrateFolio(ring))
  return ring
}

const cellAt = ({ cell }: AioRing, field: number): OwnerCell => ownerCellOf(cell + field)
/** The cell that names the page of a place. */
export const ringPlace = (ring: AioRing, index: number): OwnerCell => cellAt(ring, PLACES + index)
/** The mutex. */
export const ringLock = (ring: AioRing): OwnerCell => cellAt(ring, RING_LOCK)

/** Pages of the ring, and events that nobody has read. */
export const ringCounts = (mm: Mm, ring: AioRing): { pages: number; events: number } => ({
  pages: mm.ownerCells[cellAt(ring, PAGES)],
  events: mm.ownerCells[cellAt(ring, TAIL)] - mm.ownerCells[cellAt(ring, HEAD)],
})

// Set up, and destroy.

/**
 * Sets the context up: a ring of `pages` pages, mapped at `first` and the ptes behind it, which are empty.
 *
 * @locks   takes and drops the ring lock, under it (L), (R), (I), (O), and what allocating does
 * @sleeps  if the allocation does
 * @errors  -EBUSY: it is set up. -ENOMEM. Nothing has changed.
 * @kernel  fs/aio.c aio_setup_ring() v6.18
 */
export function ioSetup(cpu: Cpu, mm: Mm, ring: AioRing, pages: number, first: Vpn, nid: number): number {
  assert(pages > 0 && pages <= ring.pagesMax, 'aio_ring: a ring has from 1 to pagesMax pages')
  if (!claim(cpu, mm, ring)) return -EBUSY
  for (let index = 0; index < pages; index++) {
    const got = allocPages(cpu, mm, ring.migrates ? GFP_USER : GFP_HIGHUSER_MOVABLE, 0, nid)
    if (got < 0) {
      cpu.unlock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
      unmapRing(cpu, mm, ring, first)
      freeRing(cpu, mm, ring)
      return -ENOMEM
    }
    if (mm.hasContents) cpu.store(mm.content, pfnOf(got), 0)
    addPage(cpu, mm, ring, index, pfnOf(got), first)
  }
  goLive(cpu, mm, ring, first)
  return 0
}

/** The same with pages that the caller has allocated, with their references: for loaders, and for tests. */
export function ioSetupWith(cpu: Cpu, mm: Mm, ring: AioRing, pages: readonly Pfn[], first: Vpn): number {
  assert(pages.length > 0 && pages.length <= ring.pagesMax, 'aio_ring: a ring has from 1 to pagesMax pages')
  if (!claim(cpu, mm, ring)) return -EBUSY
  pages.forEach((pfn, index) => addPage(cpu, mm, ring, index, pfn, first))
  goLive(cpu, mm, ring, first)
  return 0
}

/** A context that there is not is being set up, with the ring lock held. */
function claim(cpu: Cpu, mm: Mm, ring: AioRing): boolean {
  if (!cpu.cas(mm.ownerCells, cellAt(ring, STATE), NONE, SETUP)) return false
  cpu.lock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  return true
}

function goLive(cpu: Cpu, mm: Mm, ring: AioRing, first: Vpn): void {
  cpu.store(mm.ownerCells, cellAt(ring, USER), first)
  cpu.store(mm.ownerCells, cellAt(ring, STATE), LIVE)
  cpu.unlock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
}

/** An allocated page becomes that of the next place; its reference is the context's. */
function addPage(cpu: Cpu, mm: Mm, ring: AioRing, index: number, pfn: Pfn, first: Vpn): void {
  const { mapping, firstSlot, migrates } = ring
  cpu.lock(mm.flags, pfn, PG_locked)
  if (migrates) {
    cpu.testSet(mm.flags, pfn, PG_uptodate)
    filemapAddFolio(cpu, mm, pfn, mapping, slotOf(firstSlot + index))
  } else {
    initAnonFolioLocked(cpu, mm, pfn)
  }
  mapPage(cpu, mm, vpnOf(first + index), pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
  folioAddLru(cpu, mm, pfn)
  cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, addPlaceLocked, mm, pfn, ring.cell, 0)
}

/**
 * Destroys the context: the ring leaves the process, its file, and the context. What was not read is lost.
 *
 * @locks   takes and drops the ring lock, (L), (I), (R), (O)
 * @sleeps  for the ring lock, and for the (L) of each page
 * @errors  -ENOENT: there is no live context
 * @kernel  fs/aio.c kill_ioctx(), aio_free_ring() v6.18
 */
export function ioDestroy(cpu: Cpu, mm: Mm, ring: AioRing): number {
  // Under it: whoever reads, or moves a page, is done with that before.
  cpu.lock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  const live = cpu.cas(mm.ownerCells, cellAt(ring, STATE), LIVE, DYING)
  cpu.unlock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  if (!live) return -ENOENT
  unmapRing(cpu, mm, ring, cpu.load(mm.ownerCells, cellAt(ring, USER)))
  freeRing(cpu, mm, ring)
  return 0
}

function unmapRing(cpu: Cpu, mm: Mm, ring: AioRing, first: number): void {
  for (let index = 0; index < ring.pagesMax; index++) {
    cpu.at('unmapping', index, first)
    if (cpu.load(mm.ownerCells, ringPlace(ring, index)) === 0) return
    zapPte(cpu, mm, vpnOf(first + index))
  }
}

/** Lets go of every page of a context that is not live. */
function freeRing(cpu: Cpu, mm: Mm, ring: AioRing): void {
  for (let index = 0; index < ring.pagesMax; index++) {
    cpu.at('freeing', index)
    const pfn = pfnOf(cpu.load(mm.ownerCells, ringPlace(ring, index)))
    if (pfn === 0) break
    if (ring.migrates) truncatePage(cpu, mm, ring, index)
    const last = cpu.atomically(
      mm.ownerCells,
      ring.cell,
      SPIN_LOCKED,
      takePlaceLocked,
      mm,
      index,
      ring.cell,
      0,
    )
    cpu.at('letting go', index, last)
    putPage(cpu, mm, pfnOf(last))
  }
  cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, forgetLocked, mm, ring.cell, 0, 0)
}

/** Takes the page of a place out of the file: from then on it does not move. @sleeps for (L) */
function truncatePage(cpu: Cpu, mm: Mm, ring: AioRing, index: number): void {
  for (;;) {
    // Each round either ends or has seen the page move; a context that is not live begins no other move.
    cpu.at('truncating', index)
    const pfn = pfnOf(cpu.load(mm.ownerCells, ringPlace(ring, index)))
    if (!tryGetPage(cpu, mm, pfn)) continue
    const removed = filemapRemoveFolio(cpu, mm, pfn)
    cpu.at('truncated', pfn, removed ? index : -1)
    putPage(cpu, mm, pfn)
    if (removed) return
  }
}

// Events.

/**
 * I/O is done: writes an event, not 0, to the ring, from any context.
 *
 * @locks   takes and drops (O)
 * @errors  -EAGAIN: the ring is full. -EINVAL: there is no live context.
 * @kernel  fs/aio.c aio_complete() v6.18
 */
export const aioComplete = (cpu: Cpu, mm: Mm, ring: AioRing, event: number): number =>
  cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, completeLocked, mm, event, ring.cell, 0)

/**
 * Takes the oldest event from the ring.
 *
 * @locks   takes and drops the ring lock
 * @sleeps  for the ring lock
 * @errors  -EAGAIN: there is none. -EINVAL: there is no live context.
 * @kernel  fs/aio.c aio_read_events_ring() v6.18
 */
export function aioReadEvent(cpu: Cpu, mm: Mm, ring: AioRing): number {
  cpu.lock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  const event = readEventLocked(cpu, mm, ring)
  cpu.unlock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  return event
}

/** @locks needs the ring lock: so the page of the place stays where it is */
export function readEventLocked(cpu: Cpu, mm: Mm, ring: AioRing): number {
  assert(mm.hasContents, 'aio_ring: this machine has contents')
  if (cpu.load(mm.ownerCells, cellAt(ring, STATE)) !== LIVE) return -EINVAL
  const head = cpu.load(mm.ownerCells, cellAt(ring, HEAD))
  if (cpu.load(mm.ownerCells, cellAt(ring, TAIL)) === head) return -EAGAIN
  const pages = cpu.load(mm.ownerCells, cellAt(ring, PAGES))
  const pfn = pfnOf(cpu.load(mm.ownerCells, ringPlace(ring, head % pages)))
  const event = cpu.load(mm.content, pfn)
  cpu.atomically(mm.content, pfn, 0, clearEventLocked, mm, pfn, 0, 0)
  cpu.store(mm.ownerCells, cellAt(ring, HEAD), head + 1)
  return event
}

// Moving.

/**
 * How the pages of a ring move.
 *
 * @locks   needs (L) of both; trylocks the ring lock and drops it, takes and drops (I), (O) under it
 * @errors  -EAGAIN: somebody has the ring lock, or a reference that nobody knows of. -EINVAL: the context is not live.
 *          Nothing has changed.
 * @kernel  fs/aio.c aio_migrate_folio() v6.18
 */
export const aioMigrateFolio =
  (ring: AioRing): MigrateFolio =>
  (cpu, mm, mapping, dst, src) => {
    if (!cpu.tryLock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)) return -EAGAIN
    const rc = movePage(cpu, mm, ring, mapping, dst, src)
    cpu.unlock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
    return rc
  }

function movePage(cpu: Cpu, mm: Mm, ring: AioRing, mapping: MappingId, dst: Pfn, src: Pfn): MigrateResult {
  if (cpu.load(mm.ownerCells, cellAt(ring, STATE)) !== LIVE) return -EINVAL
  const place = ringPlace(ring, cpu.load(mm.private, src) - ring.firstSlot)
  if (cpu.load(mm.ownerCells, place) !== src) return -EAGAIN
  const rc = folioMigrateMapping(cpu, mm, mapping, dst, src, 1) // the one is the context's
  if (rc !== 0) return rc
  cpu.add(mm.refcount, dst, 1)
  cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, copyLocked, mm, dst, src, place)
  cpu.add(mm.refcount, src, -1) // the context's; the isolation's is still there
  return 0
}

// Sections under the completion lock (O). `cell` is the first cell of the context.

/** The page becomes that of the next place. */
function addPlaceLocked(mm: Mm, pfn: number, cell: number): number {
  const index = mm.ownerCells[ownerCellOf(cell + PAGES)]++
  mm.ownerCells[ownerCellOf(cell + PLACES + index)] = pfn
  return 0
}

/** The page of a place, which has none from here on. */
function takePlaceLocked(mm: Mm, index: number, cell: number): number {
  const place = ownerCellOf(cell + PLACES + index)
  const pfn = mm.ownerCells[place]
  mm.ownerCells[place] = 0
  return pfn
}

function forgetLocked(mm: Mm, cell: number): number {
  for (let field = STATE; field < PLACES; field++) mm.ownerCells[ownerCellOf(cell + field)] = 0
  return 0
}

function completeLocked(mm: Mm, event: number, cell: number): number {
  const cells = mm.ownerCells
  if (cells[ownerCellOf(cell + STATE)] !== LIVE) return -EINVAL
  const tail = cells[ownerCellOf(cell + TAIL)]
  const pages = cells[ownerCellOf(cell + PAGES)]
  if (tail - cells[ownerCellOf(cell + HEAD)] === pages) return -EAGAIN
  mm.content[pfnOf(cells[ownerCellOf(cell + PLACES + (tail % pages))])] = event
  cells[ownerCellOf(cell + TAIL)] = tail + 1
  return 0
}

/** No event is written between the copy and the place's new page: it would be lost. */
function copyLocked(mm: Mm, dst: number, src: number, place: number): number {
  if (mm.hasContents) mm.content[pfnOf(dst)] = mm.content[pfnOf(src)]
  mm.ownerCells[ownerCellOf(place)] = dst
  return 0
}

function clearEventLocked(mm: Mm, pfn: number): number {
  mm.content[pfnOf(pfn)] = 0
  return 0
}

// What holds.

/** What is wrong with a context while no task is at work, or undefined. Reads directly. */
export function ringFault(mm: Mm, ring: AioRing): string | undefined {
  const { pages } = ringCounts(mm, ring)
  for (let index = 0; index < ring.pagesMax; index++) {
    const pfn = pfnOf(mm.ownerCells[ringPlace(ring, index)])
    if ((pfn !== 0) !== index < pages) return `place ${index} of ${pages} has page ${pfn}`
    if (pfn === 0) continue
    const cached = ring.migrates ? 1 : 0
    if (cached === 1 && mm.cache[slotOf(ring.firstSlot + index)] !== pfn)
      return `the slot of place ${index} does not have page ${pfn}`
    if (mm.refcount[pfn] !== 1 + cached + mm.mapcount[pfn])
      return `page ${pfn} has ${mm.refcount[pfn]} references`
  }
  return mm.ownerCells[cellAt(ring, STATE)] === NONE && pages > 0
    ? 'there is no context, and it has pages'
    : undefined
}
