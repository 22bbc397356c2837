/**
 * Balloon: which page the host learns of first when a ballooned page migrates.
 *
 * The real code. The host takes the memory behind ballooned pages. A ballooned page migrates without being read:
 * under the balloon's lock, which migration only tries, the driver tells the host that the new page is ballooned,
 * takes the old one off its list, and tells the host that the old one is not ballooned any more; then it drops its
 * reference, which frees the old page once the isolator drops his. In the other order the host has less than it was
 * promised for a moment, and may find no memory for the page that it is to give back. A guest that frees the page
 * before it tells the host uses memory that the host has taken.
 *
 * The model. `pages` ballooned pages, isolated already; a migrator for each of the first `actors` of them, with its
 * own destination. What the host has is a cell a page; telling it is one step, since the driver waits for the answer.
 *
 * Verified: the host always has at least as many pages as the balloon holds; a page that the guest may use is one
 * that the host does not have. A migrator that finds the balloon busy gives up and leaves all as it was.
 *
 * Not verified here: the queues to the host, inflating and deflating (S1-16), the isolator's own protocol.
 */

import type { Cpu } from '../../base/cpu.ts'
import type { System } from '../../check/system.ts'
import { EAGAIN } from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import type { Model } from '../model.ts'

/** Pages: those in the balloon, then a destination for each migrator. */
interface Balloon {
  readonly balloonLock: Int32Array
  readonly host: Int32Array // 1: the host has the memory of this page
  readonly refcount: Int32Array // 0: free, the guest may use it
}

export const balloonHostOrder: Model = {
  name: 'balloon-host-order',
  question:
    'Can the host have fewer pages than the balloon holds, or one that the guest uses, while a ballooned page migrates?',
  source: 'S1-14, S1-17',
  seeded: {
    'old-before-new': 'the host is told of the old page before it is told of the new one',
    'frees-before-telling': 'the old page is freed before the host is told that it has it no more',
  },
  size: { actors: 2, pages: 2 },
  sizeMax: { actors: 4, pages: 4 },
  build: ({ actors, pages }, seeded): System<Balloon> => {
    const migrators = Math.min(actors, pages)
    const migrateOne = MIGRATES[seeded ?? 'fixed']
    const inBalloon = (page: number): boolean => page < pages
    const isIsolated = (page: number): boolean => page < migrators
    const cells = (first: (page: number) => number): Int32Array =>
      Int32Array.from({ length: pages + migrators }, (_, page) => first(page))
    return {
      name: 'balloon-host-order',
      state: {
        balloonLock: new Int32Array(1),
        host: cells((page) => (inBalloon(page) ? 1 : 0)),
        refcount: cells((page) => (isIsolated(page) ? 2 : 1)),
      },
      tasks: Array.from({ length: migrators }, (_, i) => ({
        name: `migrator of page ${i}`,
        run: (cpu: Cpu, balloon: Balloon) => migrateOne(cpu, balloon, pages + i, i),
      })),
      invariants: [
        {
          name: 'host-has-its-share',
          says: 'the host has at least as many pages as the balloon holds',
          holds: ({ host }) => Array.from(host).filter((has) => has === 1).length >= pages,
        },
        {
          name: 'free-is-the-guests',
          says: 'the host does not have the memory of a page that the guest may use',
          holds: ({ host, refcount }) =>
            Array.from(refcount).every((count, page) => count > 0 || host[page] === 0),
        },
      ],
      atEnd: [
        {
          name: 'owned-set-conserved',
          says: 'the balloon has as many pages as before, and the pages that it has left are free',
          holds: ({ host, refcount }) =>
            Array.from(host).filter((has) => has === 1).length === pages &&
            Array.from(refcount).every((count, page) => count === host[page]),
        },
      ],
    }
  },
}

/** Migrates an isolated page and drops what is not needed any more. -EAGAIN: the device is busy. */
function migrate(cpu: Cpu, balloon: Balloon, dst: number, src: number): number {
  if (!cpu.tryLock(balloon.balloonLock, 0, SPIN_LOCKED)) return giveUp(cpu, balloon, dst, src)
  cpu.store(balloon.host, dst, 1)
  cpu.store(balloon.host, src, 0)
  cpu.unlock(balloon.balloonLock, 0, SPIN_LOCKED)
  putPage(cpu, balloon, src) // the balloon's; the allocation's of dst is the balloon's now
  putPage(cpu, balloon, src) // the isolation's
  return 0
}

/** The page is the balloon's as before, and the destination is free. */
function giveUp(cpu: Cpu, balloon: Balloon, dst: number, src: number): number {
  putPage(cpu, balloon, dst)
  putPage(cpu, balloon, src)
  return -EAGAIN
}

function putPage(cpu: Cpu, balloon: Balloon, page: number): void {
  cpu.decAndTest(balloon.refcount, page)
}

// The mistakes.

function migrateOldBeforeNew(cpu: Cpu, balloon: Balloon, dst: number, src: number): number {
  if (!cpu.tryLock(balloon.balloonLock, 0, SPIN_LOCKED)) return giveUp(cpu, balloon, dst, src)
  cpu.store(balloon.host, src, 0)
  cpu.store(balloon.host, dst, 1)
  cpu.unlock(balloon.balloonLock, 0, SPIN_LOCKED)
  putPage(cpu, balloon, src)
  putPage(cpu, balloon, src)
  return 0
}

function migrateFreesBeforeTelling(cpu: Cpu, balloon: Balloon, dst: number, src: number): number {
  if (!cpu.tryLock(balloon.balloonLock, 0, SPIN_LOCKED)) return giveUp(cpu, balloon, dst, src)
  cpu.store(balloon.host, dst, 1)
  cpu.unlock(balloon.balloonLock, 0, SPIN_LOCKED)
  putPage(cpu, balloon, src)
  putPage(cpu, balloon, src)
  cpu.store(balloon.host, src, 0)
  return 0
}

const MIGRATES: Readonly<Record<string, (cpu: Cpu, balloon: Balloon, dst: number, src: number) => number>> = {
  fixed: migrate,
  'old-before-new': migrateOldBeforeNew,
  'frees-before-telling': migrateFreesBeforeTelling,
}
