/**
 * The virtio balloon's driver: how pages get to the host and back, and how a device comes and goes.
 *
 * The mutex (D) of a device guards what is said to its host and the array that it is said with. A page is the host's
 * from the message on until the message that takes it back, and the guest uses it neither in between nor during them:
 *
 *   inflate   allocate | (D) tell, then on the list and counted
 *   deflate   (D) off the list, uncounted, then tell, then free
 *   migrate   (D, tried only) tell of the new page, then of the old one; the balloon replaces it on the list
 *
 * So at every moment the host has the pages that are listed, and those that are isolated and not on their way, never one
 * that is free; and no others when nobody holds (D) or (L) of one of them. (Linux counts a page before it tells the host; what others can see is
 * the same, since both happen under (D).)
 *
 * probe() takes what a device needs, one thing after the other, and gives it all back in reverse if one is not to be
 * had (S1-19). remove() takes all pages back, waiting for those that are isolated, and then does the same (S1-20).
 *
 * A typical sequence is:
 *   const [balloon] = createVirtioBalloons(mm, place, [{ end: hostEnd(host) }])
 *   virtballoonProbe(cpu, mm, balloon)              // 0, or why not
 *   updateBalloonSize(cpu, mm, balloon)             // one message towards what the host wants, as often as it says more
 *   virtballoonRemove(cpu, mm, balloon)
 *
 * Rules:
 *   - pages are allocated before (D) is taken: an allocation may migrate balloon pages, or ask for them back;
 *   - one task at a time fills a device (the kernel: one work item);
 *   - what changes of a device is in its cells; whatever else is here is fixed when the machine is set up.
 *
 * Not here: pages, lists and conservation (balloon.ts), the interface (virtio_balloon.ts), statistics and hints
 * (virtio_balloon_queues.ts). The seed's pseudo file system: a page names its device itself, so each device is a mapping of
 * its own, where the seed's devices shared one global mount that the last probe won and no removal undid (S1-18, TRAP a).
 *
 * @kernel drivers/virtio/virtio_balloon.c v6.18; spec S1-17..S1-20, I-6
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import {
  __GFP_NOMEMALLOC,
  __GFP_NORETRY,
  __GFP_NOWARN,
  GFP_HIGHUSER,
  GFP_HIGHUSER_MOVABLE,
} from '../mm/gfp.ts'
import { EAGAIN, EBUSY, ENOENT, ENOMEM } from '../mm/limits.ts'
import { MUTEX_LOCKED } from '../mm/locks.ts'
import type { MigrateResult } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { allocPages } from '../mm/slowpath.ts'
import {
  BALLOON_CELLS,
  type BalloonDevice,
  type BalloonDriver,
  balloonDequeue,
  balloonEnqueue,
  balloonInit,
  balloonIsConserved,
  balloonRemove,
  balloonWait,
  balloonWaitIsolated,
  registerBalloons,
} from './balloon.ts'
import type { OwnerPlace } from './place.ts'
import {
  type BalloonHostEnd,
  negotiateBalloon,
  type PagePoisoning,
  towardsTarget,
  VIRTIO_BALLOON_ARRAY_PFNS_MAX,
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
} from './virtio_balloon.ts'

// The driver's cells of a device, after the balloon's.
const MUTEX = BALLOON_CELLS //         (D)
const BOUND = BALLOON_CELLS + 1 //     PROBE_STEPS that hold, one bit each             probe, remove
const FEATURES = BALLOON_CELLS + 2 //  negotiated                                      probe, remove
const NUM_PAGES = BALLOON_CELLS + 3 // pages that the host was given                   (D)
const FILLING = BALLOON_CELLS + 4 //   1: a task fills the device                      (A)
const HINTED = BALLOON_CELLS + 5 //    blocks hinted as free                           see virtio_balloon_queues.ts
const PFNS = BALLOON_CELLS + 6 //      a message                                       (D)
const NEW = PFNS + VIRTIO_BALLOON_ARRAY_PFNS_MAX // pages that are not given yet       whoever fills
const DEVICE_CELLS = NEW + VIRTIO_BALLOON_ARRAY_PFNS_MAX

/** Cell of the driver, before those of its devices: the device that reports free pages; 0: none. One at a time can. */
const REPORTER = 0
const DRIVER_CELLS = 1

/** Lists of the arena that a device needs: its pages, and blocks that are hinted as free. */
export const VIRTIO_BALLOON_LISTS = 2

/** Cells of the arena that so many devices need. */
export const virtioBalloonCells = (devices: number): number => DRIVER_CELLS + devices * DEVICE_CELLS

/** What a device is plugged in with. */
export interface BalloonPlug {
  readonly end: BalloonHostEnd
  /** CONFIG_BALLOON_COMPACTION. Default true. */
  readonly movable?: boolean
  /** How the guest fills its free pages. Default: not at all. */
  readonly poisoning?: PagePoisoning
  /** Node of the cpu that fills it. Default 0. */
  readonly nid?: number
  /** What tells its host of a migration. Default: the virtio driver. */
  readonly driver?: BalloonDriver
}

/** A device, as the driver has it. Nothing of it changes. */
export interface VirtioBalloon {
  readonly device: BalloonDevice
  readonly end: BalloonHostEnd
  readonly poisoning: PagePoisoning | undefined
  readonly nid: number
  /** The cell of the driver that all devices share. */
  readonly reporter: OwnerCell
}

/** The devices of a machine: plugged in, none of them probed. `place` has virtioBalloonCells() and VIRTIO_BALLOON_LISTS each. */
export function createVirtioBalloons(
  mm: Mm,
  place: OwnerPlace,
  plugs: readonly BalloonPlug[],
): VirtioBalloon[] {
  const needed = place.cell + virtioBalloonCells(plugs.length)
  assert(needed <= mm.ownerCells.length, 'virtio_balloon: the arena has cells for these devices')
  const balloons = plugs.map(
    ({ end, movable = true, poisoning, nid = 0, driver = driverOf(end) }, i): VirtioBalloon => {
      const device: BalloonDevice = {
        id: i + 1,
        cell: ownerCellOf(place.cell + DRIVER_CELLS + i * DEVICE_CELLS),
        list: place.list + i * VIRTIO_BALLOON_LISTS,
        movable,
        driver,
      }
      return { device, end, poisoning, nid, reporter: ownerCellOf(place.cell + REPORTER) }
    },
  )
  registerBalloons(
    mm,
    balloons.map(({ device }) => device),
  )
  return balloons
}

const cellOf = ({ device }: VirtioBalloon, which: number): OwnerCell => ownerCellOf(device.cell + which)

/** The mutex of a device (D). */
export const mutexOf = (device: BalloonDevice): OwnerCell => ownerCellOf(device.cell + MUTEX)

/** Features that the device was probed with; 0 before and after. */
export const featuresOf = (cpu: Cpu, mm: Mm, balloon: VirtioBalloon): number =>
  cpu.load(mm.ownerCells, cellOf(balloon, FEATURES))

/** Pages that the host was given. */
export const pagesGiven = (mm: Mm, balloon: VirtioBalloon): number =>
  mm.ownerCells[cellOf(balloon, NUM_PAGES)]

/** The cell that counts the blocks that are hinted as free, and the list that they are on. */
export const hintedCell = (balloon: VirtioBalloon): OwnerCell => cellOf(balloon, HINTED)
export const hintedList = ({ device }: VirtioBalloon): number => device.list + 1

/** Conservation of a device (S1-16): undefined, or what is wrong. Holds whenever nobody holds (D), or (L) of its pages. */
export const virtioBalloonIsConserved = (mm: Mm, balloon: VirtioBalloon): string | undefined =>
  balloonIsConserved(mm, balloon.device, pagesGiven(mm, balloon))

// Coming and going.

/** What a device needs, in the order in which probe() takes it; what its features do not ask for it passes over. */
export const PROBE_STEPS = ['mapping', 'queues', 'oom notifier', 'reporting', 'ready'] as const
const [STEP_MAPPING, STEP_QUEUES, STEP_OOM, STEP_REPORTING, STEP_READY] = [0, 1, 2, 3, 4]

/** True once probe() has succeeded. */
export const isReady = (cpu: Cpu, mm: Mm, balloon: VirtioBalloon): boolean =>
  holds(cpu, mm, balloon, STEP_READY)

/** True if the device is asked for pages when the guest has none left. */
export const answersOom = (cpu: Cpu, mm: Mm, balloon: VirtioBalloon): boolean =>
  holds(cpu, mm, balloon, STEP_OOM)

const holds = (cpu: Cpu, mm: Mm, balloon: VirtioBalloon, step: number): boolean =>
  (cpu.load(mm.ownerCells, cellOf(balloon, BOUND)) & (1 << step)) !== 0

/**
 * Binds the driver to a device.
 *
 * @errors  -ENOMEM: a step fails. -EBUSY: another device reports free pages. Nothing is left of what was taken.
 * @kernel  drivers/virtio/virtio_balloon.c virtballoon_probe() v6.18
 */
export function virtballoonProbe(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): number {
  assert(cpu.load(mm.ownerCells, cellOf(balloon, BOUND)) === 0, 'virtio_balloon: the device is not bound')
  for (let step = 0; step < PROBE_STEPS.length; step++) {
    const rc = balloon.end.connects(cpu, step) ? takeStep(cpu, mm, balloon, step) : -ENOMEM
    if (rc !== 0) {
      unwind(cpu, mm, balloon, 0, step)
      return rc
    }
  }
  return 0
}

/**
 * Ends what asks for pages, takes all of them back from the host, and lets go of the device, whose hinted blocks the
 * caller has returned. A page that is isolated is waited for: its migration
 * ends with it, or with another one, on the list.
 *
 * @locks   takes and drops (D), (O), and what freeing pages does
 * @sleeps  for (D), and for pages that are locked or isolated
 * @kernel  drivers/virtio/virtio_balloon.c virtballoon_remove(), remove_common() v6.18; the kernel asks again and again
 */
export function virtballoonRemove(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): void {
  unwind(cpu, mm, balloon, STEP_QUEUES + 1, PROBE_STEPS.length) // nobody asks for pages any more
  // Each round ends with fewer pages, or after one was waited for that was locked or isolated.
  for (;;) {
    cpu.at('removing', balloon.device.id)
    if (leakBalloon(cpu, mm, balloon, VIRTIO_BALLOON_ARRAY_PFNS_MAX) > 0) continue
    if (pagesGivenNow(cpu, mm, balloon) === 0) break
    balloonWait(cpu, mm, balloon.device)
  }
  balloonWaitIsolated(cpu, mm, balloon.device) // one may be that the host has back already (-ENOENT)
  writeActual(cpu, mm, balloon)
  assert(
    cpu.load(mm.ownerCells, hintedCell(balloon)) === 0,
    'virtio_balloon: a removed device has no hinted block',
  )
  unwind(cpu, mm, balloon, 0, STEP_QUEUES + 1)
}

/** Pages that the host has, when nobody tells it anything: whoever deflates has the mutex until it is told. */
function pagesGivenNow(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): number {
  cpu.lock(mm.ownerCells, mutexOf(balloon.device), MUTEX_LOCKED)
  const given = cpu.load(mm.ownerCells, cellOf(balloon, NUM_PAGES))
  cpu.unlock(mm.ownerCells, mutexOf(balloon.device), MUTEX_LOCKED)
  return given
}

function takeStep(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, step: number): number {
  const { end, poisoning, device } = balloon
  const features = featuresOf(cpu, mm, balloon)
  if (step === STEP_MAPPING) {
    const agreed = negotiateBalloon(end.features, poisoning)
    cpu.store(mm.ownerCells, cellOf(balloon, FEATURES), agreed)
    balloonInit(cpu, mm, device, (agreed & VIRTIO_BALLOON_F_DEFLATE_ON_OOM) === 0)
  } else if (step === STEP_OOM && (features & VIRTIO_BALLOON_F_DEFLATE_ON_OOM) === 0) return 0
  else if (step === STEP_REPORTING) {
    if ((features & VIRTIO_BALLOON_F_REPORTING) === 0) return 0
    if (!cpu.cas(mm.ownerCells, balloon.reporter, 0, device.id)) return -EBUSY
  } else if (step === STEP_READY && (features & VIRTIO_BALLOON_F_PAGE_POISON) !== 0) {
    end.setPoison(cpu, poisoning?.value ?? 0)
  }
  cpu.testSet(mm.ownerCells, cellOf(balloon, BOUND), 1 << step)
  return 0
}

/** Gives back what the steps from `first` to before `end` have taken, the last one first. Pairs with takeStep(). */
function unwind(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, first: number, end: number): void {
  for (let step = end - 1; step >= first; step--) {
    if (!cpu.testClear(mm.ownerCells, cellOf(balloon, BOUND), 1 << step)) continue
    if (step === STEP_REPORTING) cpu.store(mm.ownerCells, balloon.reporter, 0)
    if (step !== STEP_MAPPING) continue
    balloonRemove(cpu, mm, balloon.device)
    cpu.store(mm.ownerCells, cellOf(balloon, FEATURES), 0)
  }
}

// Growing and shrinking.

/**
 * Brings the balloon one message nearer to what the host wants, and tells it where the balloon is. How many pages are
 * missing still; below 0: how many are too many.
 *
 * @kernel drivers/virtio/virtio_balloon.c update_balloon_size_func() v6.18
 */
export function updateBalloonSize(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): number {
  const missing = missingPages(cpu, mm, balloon)
  if (missing > 0) fillBalloon(cpu, mm, balloon, missing)
  else if (missing < 0) leakBalloon(cpu, mm, balloon, -missing)
  writeActual(cpu, mm, balloon)
  return missingPages(cpu, mm, balloon)
}

function missingPages(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): number {
  const numPages = balloon.end.wanted(cpu)
  return towardsTarget({ numPages, actual: cpu.load(mm.ownerCells, cellOf(balloon, NUM_PAGES)) })
}

/** Tells the host how many pages it has been given. @kernel update_balloon_size() v6.18 */
export function writeActual(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): void {
  balloon.end.setActual(cpu, cpu.load(mm.ownerCells, cellOf(balloon, NUM_PAGES)))
}

/**
 * Gives up to `num` pages to the host, in one message: at most 256. How many.
 *
 * @locks   takes and drops (D), under it (L), (O); what allocations take, before
 * @sleeps  for (D) and (L), and as an allocation does that may reclaim
 * @errors  fewer than asked for: there is no more memory to be had, or the host refuses some
 * @kernel  drivers/virtio/virtio_balloon.c fill_balloon() v6.18
 */
export function fillBalloon(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, num: number): number {
  assert(isReady(cpu, mm, balloon), 'virtio_balloon: a device is filled while it is ready')
  const { device, end } = balloon
  const filling = cpu.testSet(mm.ownerCells, cellOf(balloon, FILLING), 1)
  assert(!filling, 'virtio_balloon: one task at a time fills a device')
  const allocated = allocateNew(cpu, mm, balloon, Math.min(num, VIRTIO_BALLOON_ARRAY_PFNS_MAX))
  let taken = 0
  if (allocated > 0) {
    cpu.lock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
    for (let i = 0; i < allocated; i++) {
      cpu.store(mm.ownerCells, cellOf(balloon, PFNS + i), newPage(cpu, mm, balloon, i))
    }
    taken = end.inflate(cpu, mm.ownerCells, cellOf(balloon, PFNS), allocated)
    for (let i = 0; i < taken; i++) balloonEnqueue(cpu, mm, device, newPage(cpu, mm, balloon, i))
    cpu.add(mm.ownerCells, cellOf(balloon, NUM_PAGES), taken)
    cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  }
  for (let i = taken; i < allocated; i++) putPage(cpu, mm, newPage(cpu, mm, balloon, i))
  cpu.store(mm.ownerCells, cellOf(balloon, FILLING), 0)
  return taken
}

/**
 * Gives a page to the host that the caller allocated, with its reference: for loaders, and for whoever draws a machine.
 *
 * @locks   as fillBalloon()
 * @ours
 */
export function giveBalloonPage(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, pfn: Pfn): void {
  const { device, end } = balloon
  cpu.lock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  const taken = end.inflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, pfn), 1)
  assert(taken === 1, 'virtio_balloon: the host takes the page')
  balloonEnqueue(cpu, mm, device, pfn)
  cpu.add(mm.ownerCells, cellOf(balloon, NUM_PAGES), 1)
  cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
}

/** @kernel mm/balloon_compaction.c balloon_page_alloc() v6.18 */
function allocateNew(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, num: number): number {
  const gfp =
    (balloon.device.movable ? GFP_HIGHUSER_MOVABLE : GFP_HIGHUSER) |
    __GFP_NOMEMALLOC |
    __GFP_NORETRY |
    __GFP_NOWARN
  for (let i = 0; i < num; i++) {
    const pfn = allocPages(cpu, mm, gfp, 0, balloon.nid)
    if (pfn < 0) return i
    cpu.store(mm.ownerCells, cellOf(balloon, NEW + i), pfn)
  }
  return num
}

const newPage = (cpu: Cpu, mm: Mm, balloon: VirtioBalloon, i: number): Pfn =>
  pfnOf(cpu.load(mm.ownerCells, cellOf(balloon, NEW + i)))

/**
 * Takes up to `num` pages back from the host, in one message: at most 256. How many. What is locked or isolated stays.
 *
 * The host is told before a page is free, whether it asked for that (MUST_TELL_HOST) or not.
 *
 * @locks   takes and drops (D), under it (O), and what freeing pages does
 * @sleeps  for (D)
 * @kernel  drivers/virtio/virtio_balloon.c leak_balloon(), release_pages_balloon() v6.18
 */
export function leakBalloon(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, num: number): number {
  const { device, end } = balloon
  cpu.lock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  const given = cpu.load(mm.ownerCells, cellOf(balloon, NUM_PAGES))
  const most = Math.min(num, given, VIRTIO_BALLOON_ARRAY_PFNS_MAX)
  let taken = 0
  while (taken < most) {
    cpu.at('leaking', taken, most)
    const pfn = balloonDequeue(cpu, mm, device)
    if (pfn < 0) break
    cpu.store(mm.ownerCells, cellOf(balloon, PFNS + taken++), pfn)
  }
  if (taken > 0) {
    cpu.add(mm.ownerCells, cellOf(balloon, NUM_PAGES), -taken)
    end.deflate(cpu, mm.ownerCells, cellOf(balloon, PFNS), taken)
  }
  for (let i = 0; i < taken; i++) {
    cpu.at('releasing', i, taken)
    putPage(cpu, mm, pfnOf(cpu.load(mm.ownerCells, cellOf(balloon, PFNS + i))))
  }
  cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  return taken
}

// Moving.

/** The driver of a device, for the balloon. */
const driverOf = (end: BalloonHostEnd): BalloonDriver => ({
  name: 'virtio_balloon',

  migratePage(cpu, mm, device, dst, src): MigrateResult {
    // Whoever fills or leaks may have it for long, and might wait for a lock that a migration holds: later, then.
    if (!cpu.tryLock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)) return -EAGAIN
    const taken = end.inflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, dst), 1)
    end.deflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, src), 1)
    if (taken === 0) cpu.add(mm.ownerCells, ownerCellOf(device.cell + NUM_PAGES), -1)
    cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
    return taken === 0 ? -ENOENT : 0
  },
})

/** Makes the message be this one page, and gives where it is. @locks needs (D) */
export function messageOf(cpu: Cpu, mm: Mm, device: BalloonDevice, pfn: Pfn): OwnerCell {
  const cell = ownerCellOf(device.cell + PFNS)
  cpu.store(mm.ownerCells, cell, pfn)
  return cell
}
