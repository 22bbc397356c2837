/**
 * A balloon against its host: does the host always have what the guest gave away, and never what the guest uses, while
 * pages come, go and move, and the device is removed?
 *
 * The balloon, its driver and its host are the engine's (owners/balloon.ts, owners/virtio_balloon_driver.ts,
 * host/balloon_host.ts). Its worker inflates it by a page and then removes the device, one after the other as in the kernel,
 * which ends its work before it removes. A compactor moves the balloon's pages; beside them others deflate, or isolate a
 * page and put it back.
 *
 * Verified: pages listed and isolated are those that the host has, whenever nobody has a lock of the device or of a
 * page (S1-16); the host has at least as many frames as the balloon has pages, in every state, and never one that is free
 * (S1-17); it is never told twice (its own assertions); one isolator at most has a page; after the removal nothing names
 * the device, and every page is free, once.
 *
 * Not verified here: allocation (the page that is inflated is given), messages of several frames, the host's refusing
 * (balloon.fuzz.ts has them); several devices, which share nothing but the operations.
 *
 * `actors` are those beside worker and compactor, the first so many of: deflater, isolator, a second isolator. `pages` are
 * in the balloon from the beginning; the compactor tries each once.
 *
 * Spec: S1-8..S1-20
 */

import { compactPage, isolateAndPutback } from '../actors/compactor.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { listDel } from '../base/list.ts'
import { ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import type { System, Task } from '../check/system.ts'
import { type BalloonHost, createBalloonHost, heldFrames, holdsFrame, hostEnd } from '../host/balloon_host.ts'
import { EAGAIN, MIGRATE_SYNC, PG_locked, PG_movable_ops, PGTY_offline, pageTypeValue } from '../mm/limits.ts'
import { MUTEX_LOCKED, SPIN_LOCKED } from '../mm/locks.ts'
import {
  ISOLATED,
  type Isolation,
  movableOpsOf,
  REFUSED_LOCKED,
  REFUSED_UNMOVABLE,
} from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import {
  type BalloonDevice,
  type BalloonDriver,
  balloonDequeue,
  balloonEnqueue,
  balloonPages,
} from '../owners/balloon.ts'
import type { BalloonHostEnd } from '../owners/virtio_balloon.ts'
import {
  createVirtioBalloons,
  giveBalloonPage,
  leakBalloon,
  messageOf,
  mutexOf,
  pagesGiven,
  type VirtioBalloon,
  virtballoonProbe,
  virtballoonRemove,
  virtioBalloonCells,
} from '../owners/virtio_balloon_driver.ts'
import { oneWinner } from './marked_driver.ts'
import type { Model, ModelSize } from './model.ts'
import { isCounter, isFree, listLength, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

/** A guest with one balloon, its host, and whether the device is gone. */
interface Ballooned {
  readonly mm: Mm
  readonly host: BalloonHost
  readonly gone: Int32Array
}

export const balloon: Model = {
  name: 'balloon',
  question:
    'Does a host have what its guest gave away, and nothing else, while pages move and the balloon goes?',
  source: 'S1-8..S1-20',
  seeded: {
    'unlinks-isolated': 'deflating takes a page off the list by its address, isolated or not (S1-10)',
    'removes-at-once': 'removal takes the listed pages back and does not wait for the isolated ones (S1-20)',
    'old-before-new': 'a migration tells the host of the old page before it tells it of the new one (S1-17)',
    'isolates-unmarked': 'isolation does not mark the page as isolated (S1-12)',
    'frees-before-telling': 'a page is free before the host is told to give it back',
    'counts-before-telling': 'a page is listed and counted before the host is told that it has it',
    'waits-for-device': 'a migration waits for the device with its pages locked, instead of trying (S1-17)',
  },
  size: { actors: 1, pages: 1 },
  sizeMax: { actors: 3, pages: 2 },
  build: ({ actors, pages: count }: ModelSize, seeded): System<Ballooned> => {
    const { mm, pages, spares } = smallMachine(count, count + 1, { ownerCells: virtioBalloonCells(1) })
    const host = createBalloonHost({ frames: mm.pfnCount, strict: false, order: false })
    const end = hostEnd(host)
    const driver = driverOf(end, seeded)
    const [device] = createVirtioBalloons(mm, { cell: 0, list: 0 }, [
      driver === undefined ? { end } : { end, driver },
    ])
    if (seeded === 'isolates-unmarked') isolateUnmarked(mm, device.device)
    virtballoonProbe(setup, mm, device)
    for (const pfn of pages) giveBalloonPage(setup, mm, device, pfn)
    const all = [...pages, ...spares]
    return {
      name: 'balloon',
      state: { mm, host, gone: new Int32Array(1) },
      tasks: [
        {
          name: 'worker',
          run: (cpu, state) => {
            inflate(cpu, state.mm, device, spares[count], seeded)
            cpu.at('inflated')
            removeAs(cpu, state.mm, device, seeded)
            cpu.store(state.gone, 0, 1)
          },
        },
        {
          name: 'compactor',
          run: (cpu, state) => {
            pages.forEach((src, i) => {
              cpu.at('next', src)
              compactPage(cpu, state.mm, src, spares[i], MIGRATE_SYNC)
            })
          },
        },
        ...othersOf(device, pages, seeded).slice(0, actors),
      ],
      invariants: [
        oneWinner(all),
        {
          name: 'owned-set-conserved',
          says: 'while nobody has a lock of the device or of a page, pages listed and isolated are those of the host',
          holds: (state) => isConserved(state, device, all),
        },
        {
          name: 'host-has-its-share',
          says: 'the host has at least as many frames as the balloon has pages',
          holds: (state) => {
            const { listed, isolated } = balloonPages(state.mm, device.device)
            return heldFrames(state.host) >= listed + isolated
          },
        },
        {
          name: 'free-is-the-guests',
          says: 'the host does not have a page that is free',
          holds: (state) => all.every((pfn) => state.mm.refcount[pfn] > 0 || !holdsFrame(state.host, pfn)),
        },
        {
          name: 'gone-is-gone',
          says: 'nothing is left of a device that was removed: no page, listed or isolated, and no frame',
          holds: (state) => state.gone[0] === 0 || nothingIsLeft(state, device, all),
        },
      ],
      atEnd: [
        {
          name: 'freed-once',
          says: 'every page is free, once',
          holds: (state) => all.every((pfn) => isFree(state.mm, pfn)),
        },
      ],
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: driverText,
    }
  },
}

const setup = new FastCpu()

function othersOf(
  device: VirtioBalloon,
  pages: readonly Pfn[],
  seeded: string | undefined,
): Task<Ballooned>[] {
  const last = pages.length - 1
  return [
    { name: 'deflater', run: (cpu, { mm }) => deflate(cpu, mm, device, pages[0], seeded) },
    { name: 'isolator', run: (cpu, { mm }) => isolateAndPutback(cpu, mm, pages[0]) },
    { name: 'isolator of the last', run: (cpu, { mm }) => isolateAndPutback(cpu, mm, pages[last]) },
  ]
}

/** The locks are what keeps page, list, counts and host together, so they are compared while all are free. */
function isConserved({ mm, host }: Ballooned, { device }: VirtioBalloon, all: readonly Pfn[]): boolean {
  const { listed, isolated } = balloonPages(mm, device)
  if (mm.ownerCells[device.cell] !== 0) return true
  if (listed !== listLength(mm, mm.ownerList(device.list))) return false
  if (mm.ownerCells[mutexOf(device)] !== 0) return true
  if (all.some((pfn) => (mm.flags[pfn] & PG_locked) !== 0)) return true
  const owned = all.filter((pfn) => mm.private[pfn] === device.id)
  return (
    owned.length === listed + isolated &&
    owned.every((pfn) => holdsFrame(host, pfn)) &&
    heldFrames(host) === owned.length
  )
}

function nothingIsLeft({ mm, host }: Ballooned, device: VirtioBalloon, all: readonly Pfn[]): boolean {
  const { listed, isolated } = balloonPages(mm, device.device)
  const named = all.some((pfn) => mm.private[pfn] === device.device.id)
  return listed === 0 && isolated === 0 && pagesGiven(mm, device) === 0 && heldFrames(host) === 0 && !named
}

// The right ones, and the mistakes.

function inflate(cpu: Cpu, mm: Mm, device: VirtioBalloon, pfn: Pfn, seeded: string | undefined): void {
  if (seeded === 'counts-before-telling') inflateCountingEarly(cpu, mm, device, pfn)
  else giveBalloonPage(cpu, mm, device, pfn)
}

function inflateCountingEarly(cpu: Cpu, mm: Mm, { device, end }: VirtioBalloon, pfn: Pfn): void {
  cpu.lock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  balloonEnqueue(cpu, mm, device, pfn)
  end.inflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, pfn), 1)
  cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
}

function deflate(cpu: Cpu, mm: Mm, device: VirtioBalloon, pfn: Pfn, seeded: string | undefined): void {
  if (seeded === 'unlinks-isolated') deflateByAddress(cpu, mm, device, pfn)
  else if (seeded === 'frees-before-telling') deflateFreeingEarly(cpu, mm, device)
  else leakBalloon(cpu, mm, device, 1)
}

/** Believes that a page of the balloon is on its list. */
function deflateByAddress(cpu: Cpu, mm: Mm, { device, end }: VirtioBalloon, pfn: Pfn): void {
  cpu.lock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  if (cpu.addUnlessZero(mm.refcount, pfn)) {
    cpu.lock(mm.flags, pfn, PG_locked)
    if (cpu.load(mm.private, pfn) === device.id) {
      cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, unlinkLocked, mm, pfn, device.cell, 0)
      cpu.testClear(mm.flags, pfn, PG_movable_ops)
      cpu.store(mm.private, pfn, 0)
      end.deflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, pfn), 1)
      cpu.add(mm.refcount, pfn, -1)
    }
    cpu.unlock(mm.flags, pfn, PG_locked)
    putPage(cpu, mm, pfn)
  }
  cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
}

/** The balloon's own, once more: its second cell counts what is listed. */
function unlinkLocked(mm: Mm, pfn: number, cell: number): number {
  listDel(mm.links, pfn)
  mm.ownerCells[ownerCellOf(cell + 1)]--
  return 0
}

function deflateFreeingEarly(cpu: Cpu, mm: Mm, { device, end }: VirtioBalloon): void {
  cpu.lock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  const pfn = balloonDequeue(cpu, mm, device)
  if (pfn >= 0) {
    const page = messageOf(cpu, mm, device, pfnOf(pfn))
    putPage(cpu, mm, pfnOf(pfn))
    end.deflate(cpu, mm.ownerCells, page, 1)
  }
  cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
}

function removeAs(cpu: Cpu, mm: Mm, device: VirtioBalloon, seeded: string | undefined): void {
  if (seeded === 'removes-at-once') leakBalloon(cpu, mm, device, 256)
  else virtballoonRemove(cpu, mm, device)
}

/** What tells the host of a migration, if it is not the driver's own. */
function driverOf(end: BalloonHostEnd, seeded: string | undefined): BalloonDriver | undefined {
  if (seeded === 'old-before-new') {
    return {
      name: seeded,
      migratePage: (cpu, mm, device, dst, src) => migrateBackwards(end, cpu, mm, device, dst, src),
    }
  }
  if (seeded === 'waits-for-device') {
    return {
      name: seeded,
      migratePage: (cpu, mm, device, dst, src) => migrateWaiting(end, cpu, mm, device, dst, src),
    }
  }
  return undefined
}

function migrateBackwards(
  end: BalloonHostEnd,
  cpu: Cpu,
  mm: Mm,
  device: BalloonDevice,
  dst: Pfn,
  src: Pfn,
): number {
  if (!cpu.tryLock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)) return -EAGAIN
  end.deflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, src), 1)
  end.inflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, dst), 1)
  cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  return 0
}

function migrateWaiting(
  end: BalloonHostEnd,
  cpu: Cpu,
  mm: Mm,
  device: BalloonDevice,
  dst: Pfn,
  src: Pfn,
): number {
  cpu.lock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  end.inflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, dst), 1)
  end.deflate(cpu, mm.ownerCells, messageOf(cpu, mm, device, src), 1)
  cpu.unlock(mm.ownerCells, mutexOf(device), MUTEX_LOCKED)
  return 0
}

/** Replaces isolation by one that is the framework's but for the mark. */
function isolateUnmarked(mm: Mm, device: BalloonDevice): void {
  const index = movableOpsOf(pageTypeValue(PGTY_offline), PG_movable_ops)
  const ops = mm.movableOps[index]
  if (ops === undefined) return
  mm.movableOps[index] = {
    ...ops,
    isolatePage(cpu, state, pfn): Isolation {
      if (!cpu.tryLock(state.flags, pfn, PG_locked)) return REFUSED_LOCKED
      const ours = cpu.load(state.private, pfn) === device.id
      if (ours)
        cpu.atomically(state.ownerCells, device.cell, SPIN_LOCKED, isolateLocked, state, pfn, device.cell, 0)
      cpu.unlock(state.flags, pfn, PG_locked)
      return ours ? ISOLATED : REFUSED_UNMOVABLE
    },
  }
}

/** The balloon's own, once more: its third cell counts what is isolated. */
function isolateLocked(mm: Mm, pfn: number, cell: number): number {
  unlinkLocked(mm, pfn, cell)
  mm.ownerCells[ownerCellOf(cell + 2)]++
  return 0
}
