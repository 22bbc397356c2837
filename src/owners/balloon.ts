/**
 * The balloon: pages that the guest has given to its host, on the one mobility framework.
 *
 * A balloon device has a list of pages and a count of those that are isolated from it. What gives pages to a host and
 * takes them back is the device's driver (virtio_balloon_driver.ts); here is what all balloons share. The operations
 * of the page type are registered once, for all devices: `private` of a page says whose it is.
 *
 * A page of a balloon is
 *   (1) listed: on its device's list
 *   (2) isolated: on no list of the device's, counted in `isolated`; a migration has it. A balloon never lets go of such
 *       a page: what is to be given back waits until it is (1) again, or another page is in its place
 *   (3) let go of: `private` is 0, it is no balloon's any more, and free with its last reference
 *
 * Conservation: listed + isolated pages are what the host was given (`balloonIsConserved`).
 *
 * A typical sequence is:
 *   balloonEnqueue(cpu, mm, device, pfn)     // an allocated page, with its reference; the host knows of it
 *   pfn = balloonDequeue(cpu, mm, device)    // the caller tells the host, then drops the reference
 *
 * What a migration leaves behind, by what the driver answers:
 *   | answer  | src                                 | dst                 | counted as        |
 *   |---------|-------------------------------------|---------------------|-------------------|
 *   | 0       | let go of                           | listed in its place | balloon_migrate   |
 *   | -ENOENT | let go of; for the caller it moved  | the caller's        | balloon_deflate   |
 *   | other   | isolated, as before                 | the caller's        |                   |
 *
 * Rules:
 *   - the list and the counts change under (O), `private` and the marks under (L);
 *   - a page gets its device before it gets its type and mark: who sees the mark finds whose page it is (S1-9);
 *   - a page keeps its type until it is free, so that it does not look like anything else to whoever still has it.
 *
 * Not here: the host, and in which order it is told (virtio_balloon_driver.ts).
 *
 * @kernel mm/balloon_compaction.c v6.18; that the balloon keeps the books of a migration, and its driver answers -ENOENT,
 *         is mm/balloon.c of later kernels; spec S1-8..S1-16, section 2.2
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAdd, listDel, listEmpty, listFirst, listNext } from '../base/list.ts'
import { cellsOf, listNodeOf, type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import {
  ENOENT,
  type MigrateMode,
  PG_locked,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PGTY_offline,
  pageTypeValue,
} from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { type MigrateResult, type PageLockedDriver, pageLockedOps, setMovableOps } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { BALLOON_DEFLATE, BALLOON_INFLATE, BALLOON_MIGRATE, countVmEvents } from '../mm/vmstat.ts'

/** Cells of the arena that a device's part of the balloon needs. It needs one list. */
export const BALLOON_CELLS = 4

// The cells of a device, from its first one on, which is its lock (O).
const LISTED = 1 //     pages on the list                                               (O)
const ISOLATED = 2 //   pages isolated from it                                          (O)
const ADJUSTS = 3 //    1: its pages do not count as managed by the allocator           set by probe

const OFFLINE = pageTypeValue(PGTY_offline)

/** What the driver of a device does for its migrations. */
export interface BalloonDriver {
  readonly name: string
  /**
   * The host gets `dst`, and gives `src` back. 0: so it is. -ENOENT: it gave `src` back and did not take `dst`. -EAGAIN:
   * unchanged, the device is busy. Any other: unchanged. The caller holds (L) of both.
   */
  migratePage(cpu: Cpu, mm: Mm, device: BalloonDevice, dst: Pfn, src: Pfn, mode: MigrateMode): MigrateResult
}

/** One balloon device: where its state is. Nothing of it changes. */
export interface BalloonDevice {
  /** What `private` of its pages holds, from 1. */
  readonly id: number
  /** The first of its BALLOON_CELLS. */
  readonly cell: OwnerCell
  /** The number of its list. */
  readonly list: number
  /** False: built without CONFIG_BALLOON_COMPACTION, its pages cannot move (S1-6). */
  readonly movable: boolean
  readonly driver: BalloonDriver
}

/**
 * Registers the movable operations of all balloon devices of a machine, in the order of their ids.
 *
 * @kernel mm/balloon_compaction.c balloon_init() v6.18
 */
export function registerBalloons(mm: Mm, devices: readonly BalloonDevice[]): void {
  devices.forEach(({ id }, i) => assert(id === i + 1, 'balloon: devices are numbered from 1'))
  setMovableOps(mm, PGTY_offline, pageLockedOps(balloonOps(devices)))
}

const cellOf = (device: BalloonDevice, which: number): OwnerCell => ownerCellOf(device.cell + which)

/** Pages on the device's list, and pages that are isolated from it. */
export const balloonPages = (mm: Mm, device: BalloonDevice): { listed: number; isolated: number } => ({
  listed: mm.ownerCells[cellOf(device, LISTED)],
  isolated: mm.ownerCells[cellOf(device, ISOLATED)],
})

/** Says whether the device's pages count as managed by the allocator. Pairs with balloonRemove(). */
export function balloonInit(cpu: Cpu, mm: Mm, device: BalloonDevice, adjusts: boolean): void {
  assert(listEmpty(mm.links, mm.ownerList(device.list)), 'balloon: a new device has no pages')
  cpu.store(mm.ownerCells, cellOf(device, ADJUSTS), adjusts ? 1 : 0)
}

/** The device is gone. Throws AssertionError if it still has a page. */
export function balloonRemove(cpu: Cpu, mm: Mm, device: BalloonDevice): void {
  assert(
    cpu.load(mm.ownerCells, cellOf(device, LISTED)) === 0,
    'balloon: a removed device has no listed page',
  )
  assert(
    cpu.load(mm.ownerCells, cellOf(device, ISOLATED)) === 0,
    'balloon: a removed device has no isolated page',
  )
  cpu.store(mm.ownerCells, cellOf(device, ADJUSTS), 0)
}

/**
 * The device gets a page that the caller allocated, with its reference.
 *
 * @locks   takes and drops (L), (O)
 * @sleeps  for (L), which somebody may have who took the page for what it was before
 * @kernel  mm/balloon_compaction.c balloon_page_enqueue() v6.18
 */
export function balloonEnqueue(cpu: Cpu, mm: Mm, device: BalloonDevice, pfn: Pfn): void {
  cpu.lock(mm.flags, pfn, PG_locked)
  mark(cpu, mm, device, pfn)
  cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, enlistLocked, mm, pfn, device.cell, device.list)
  cpu.unlock(mm.flags, pfn, PG_locked)
  adjustManaged(cpu, mm, device, pfn, -1)
  countVmEvents(mm, BALLOON_INFLATE, 1)
}

/**
 * Takes a page off the device's list, the last one that came: the caller has its reference. One that cannot be locked
 * is passed over; those that are isolated are not there. -1: there is none now. Who asks knows that the balloon has pages:
 * throws AssertionError if there are none, not even isolated ones.
 *
 * @locks   takes and drops (O); under it trylocks (L) and drops it
 * @kernel  mm/balloon_compaction.c balloon_page_dequeue(), balloon_page_list_dequeue() v6.18
 */
export function balloonDequeue(cpu: Cpu, mm: Mm, device: BalloonDevice): number {
  cpu.lock(mm.ownerCells, device.cell, SPIN_LOCKED)
  let pfn = cpu.atomically(mm.ownerCells, device.cell, 0, firstLocked, mm, device.list, device.cell, 0)
  // Bounded by the list, which does not change while its lock is held.
  while (pfn >= 0 && !cpu.tryLock(mm.flags, pfnOf(pfn), PG_locked)) {
    pfn = cpu.atomically(mm.ownerCells, device.cell, 0, nextLocked, mm, device.list, pfn, 0)
  }
  if (pfn >= 0) letGoListed(cpu, mm, device, pfnOf(pfn))
  cpu.unlock(mm.ownerCells, device.cell, SPIN_LOCKED)
  return pfn
}

/**
 * Waits where balloonDequeue() has found none: for whoever has the first listed page locked, or, if none is listed, for
 * the isolated ones, until there is none. Asking again at once would keep taking the lock that an isolator needs to go on.
 *
 * @locks   takes and drops (O)
 * @sleeps  for (L) and for isolated pages
 * @ours    the kernel asks again, under a spinlock that serves who came first
 */
export function balloonWait(cpu: Cpu, mm: Mm, device: BalloonDevice): void {
  const { cell, list } = device
  const pfn = cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, peekLocked, mm, list, 0, 0)
  if (pfn < 0) {
    balloonWaitIsolated(cpu, mm, device)
    return
  }
  if (!cpu.addUnlessZero(mm.refcount, pfnOf(pfn))) return // somebody else has let go of it by now
  cpu.waitClear(mm.flags, pfnOf(pfn), PG_locked)
  putPage(cpu, mm, pfnOf(pfn))
}

/** Waits until no page of the device is isolated. @sleeps for isolated pages */
export function balloonWaitIsolated(cpu: Cpu, mm: Mm, device: BalloonDevice): void {
  const allBits = -1 // of a count: it is clear when it is zero
  cpu.waitClear(mm.ownerCells, cellOf(device, ISOLATED), allBits)
}

/** @locks needs (O) and (L), drops (L) */
function letGoListed(cpu: Cpu, mm: Mm, device: BalloonDevice, pfn: Pfn): void {
  const flags = cpu.load(mm.flags, pfn)
  assert((flags & PG_movable_ops_isolated) === 0, 'balloon: a listed page is not isolated')
  cpu.atomically(mm.ownerCells, device.cell, 0, delistLocked, mm, pfn, device.cell, 0)
  finalize(cpu, mm, pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
  adjustManaged(cpu, mm, device, pfn, 1)
  countVmEvents(mm, BALLOON_DEFLATE, 1)
}

/** The page is the device's from here on, and can be found. Pairs with finalize(). @locks needs (L) */
function mark(cpu: Cpu, mm: Mm, device: BalloonDevice, pfn: Pfn): void {
  cpu.store(mm.private, pfn, device.id)
  cpu.store(mm.mapcount, pfn, OFFLINE)
  if (device.movable) cpu.testSet(mm.flags, pfn, PG_movable_ops)
}

/** The page is nobody's, and of type offline until it is free. @locks needs (L) */
function finalize(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.testClear(mm.flags, pfn, PG_movable_ops)
  cpu.store(mm.private, pfn, 0)
}

/** @kernel mm/page_alloc.c adjust_managed_page_count() v6.18 */
function adjustManaged(cpu: Cpu, mm: Mm, device: BalloonDevice, pfn: Pfn, pages: number): void {
  if (cpu.load(mm.ownerCells, cellOf(device, ADJUSTS)) === 0) return
  cpu.add(mm.zoneManaged, mm.zoneOf(pfn), pages)
}

/** The operations of the page type: of the device that a page names. */
function balloonOps(devices: readonly BalloonDevice[]): PageLockedDriver {
  const deviceOf = (cpu: Cpu, mm: Mm, pfn: Pfn): BalloonDevice | undefined =>
    devices[cpu.load(mm.private, pfn) - 1]

  return {
    name: 'balloon',
    pgty: PGTY_offline,

    isolate(cpu, mm, pfn): boolean {
      const device = deviceOf(cpu, mm, pfn)
      if (device === undefined) return false // deflated by now: what is left of it is its type
      cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, isolateLocked, mm, pfn, device.cell, 0)
      return true
    },

    migrate(cpu, mm, dst, src, mode): number {
      const device = deviceOf(cpu, mm, src)
      assert(device !== undefined, 'balloon: an isolated page is its device’s')
      assert((cpu.load(mm.flags, dst) & PG_locked) !== 0, 'balloon: the new page is locked')
      const rc = device.driver.migratePage(cpu, mm, device, dst, src, mode)
      if (rc === 0) replace(cpu, mm, device, dst, src)
      else if (rc === -ENOENT) shrink(cpu, mm, device, src)
      else return rc
      finalize(cpu, mm, src)
      cpu.add(mm.refcount, src, -1) // the balloon's; the isolation's is still there
      return 0
    },

    putback(cpu, mm, pfn): void {
      const device = deviceOf(cpu, mm, pfn)
      assert(device !== undefined, 'balloon: an isolated page comes back to its device')
      const { cell, list } = device
      cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, putbackLocked, mm, pfn, cell, list)
    },
  }
}

/** `dst` is listed where `src` was isolated. */
function replace(cpu: Cpu, mm: Mm, device: BalloonDevice, dst: Pfn, src: Pfn): void {
  const { cell, list } = device
  cpu.add(mm.refcount, dst, 1)
  mark(cpu, mm, device, dst)
  cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, putbackLocked, mm, dst, cell, list)
  countVmEvents(mm, BALLOON_MIGRATE, 1)
  if (mm.zoneOf(src) === mm.zoneOf(dst)) return
  adjustManaged(cpu, mm, device, src, 1)
  adjustManaged(cpu, mm, device, dst, -1)
}

/** The balloon is a page smaller: `src` was given back, and nothing is in its place. */
function shrink(cpu: Cpu, mm: Mm, device: BalloonDevice, src: Pfn): void {
  cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, forgetIsolatedLocked, mm, device.cell, 0, 0)
  adjustManaged(cpu, mm, device, src, 1)
  countVmEvents(mm, BALLOON_DEFLATE, 1)
}

// Sections under the device's lock (O). `cell` is the first of its cells, `list` the number of its list.

const count = (mm: Mm, cell: number, which: number, pages: number): void => {
  mm.ownerCells[ownerCellOf(cell + which)] += pages
}

function enlistLocked(mm: Mm, pfn: number, cell: number, list: number): number {
  listAdd(mm.links, pfn, mm.ownerList(list))
  count(mm, cell, LISTED, 1)
  return 0
}

function delistLocked(mm: Mm, pfn: number, cell: number): number {
  listDel(mm.links, pfn)
  count(mm, cell, LISTED, -1)
  return 0
}

function isolateLocked(mm: Mm, pfn: number, cell: number): number {
  delistLocked(mm, pfn, cell)
  count(mm, cell, ISOLATED, 1)
  return 0
}

function putbackLocked(mm: Mm, pfn: number, cell: number, list: number): number {
  enlistLocked(mm, pfn, cell, list)
  count(mm, cell, ISOLATED, -1)
  return 0
}

function forgetIsolatedLocked(mm: Mm, cell: number): number {
  count(mm, cell, ISOLATED, -1)
  return 0
}

/** The first page of the list; -1: it is empty. Then the pages that the balloon should have are isolated (S1-16). */
function firstLocked(mm: Mm, list: number, cell: number): number {
  const head = mm.ownerList(list)
  if (!listEmpty(mm.links, head)) return listFirst(mm.links, head)
  assert(
    mm.ownerCells[ownerCellOf(cell + ISOLATED)] > 0,
    'balloon: pages are lost: none is listed or isolated',
  )
  return -1
}

/** The first page of the list; -1: it is empty. */
function peekLocked(mm: Mm, list: number): number {
  const head = mm.ownerList(list)
  return listEmpty(mm.links, head) ? -1 : listFirst(mm.links, head)
}

/** The page after one that could not be locked; -1: that was the last one. */
function nextLocked(mm: Mm, list: number, pfn: number): number {
  const next = listNext(mm.links, listNodeOf(pfn))
  return next === mm.ownerList(list) ? -1 : next
}

/**
 * Conservation (S1-16): undefined, or what is wrong. Listed pages are as many as the list has, each with its device, type
 * and mark; isolated pages carry their mark and are on no list of the device; both together are `given`, the pages that
 * the host was given. Holds whenever nobody holds (L) of one of these pages.
 *
 * @ours
 */
export function balloonIsConserved(mm: Mm, device: BalloonDevice, given: number): string | undefined {
  const { listed, isolated } = balloonPages(mm, device)
  const head = mm.ownerList(device.list)
  const onList = new Set<number>()
  for (let at = listFirst(mm.links, head); at !== head; at = listNext(mm.links, at)) {
    if (onList.has(at)) return `pfn ${at}: its list goes in a circle`
    onList.add(at)
  }
  if (onList.size !== listed)
    return `device ${device.id} counts ${listed} listed pages and lists ${onList.size}`
  if (listed + isolated !== given) {
    return `device ${device.id} has ${listed} listed and ${isolated} isolated pages, and gave ${given} to the host`
  }
  const owned = ownedPages(mm, device)
  for (const pfn of onList) if (!owned.has(pfn)) return `pfn ${pfn}: it is listed, and not the device’s`
  let away = 0
  for (const pfn of owned) {
    if (onList.has(pfn)) {
      if ((mm.flags[pfnOf(pfn)] & PG_movable_ops_isolated) !== 0)
        return `pfn ${pfn}: it is listed and isolated`
    } else if ((mm.flags[pfnOf(pfn)] & PG_movable_ops_isolated) === 0) {
      return `pfn ${pfn}: it is neither listed nor isolated`
    } else away++
  }
  return away === isolated
    ? undefined
    : `device ${device.id} counts ${isolated} isolated pages, and ${away} are`
}

/** Pages that name the device. */
function ownedPages(mm: Mm, device: BalloonDevice): Set<number> {
  const owned = new Set<number>()
  const mapcounts = cellsOf(mm.mapcount)
  for (let pfn = 0; pfn < mm.pfnCount; pfn++) {
    if (mapcounts[pfn] !== OFFLINE || mm.private[pfnOf(pfn)] !== device.id) continue
    const marked = (mm.flags[pfnOf(pfn)] & PG_movable_ops) !== 0
    if (marked === device.movable) owned.add(pfn)
  }
  return owned
}
