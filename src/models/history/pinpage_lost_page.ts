/**
 * Pinpage: migration of a pinned kernel page that no registered system claims.
 *
 * The real code (an RFC of 2013, never merged). A system that pins pages keeps a tree of them and is in a global
 * list of systems. A pinned page has PG_pin, set under its page lock after the page is in the tree, and cleared
 * after it has left the tree. An isolator takes a reference and the page lock and keeps both. Migration allocates
 * the new page, is done if the isolator's reference is the only one, and else asks the systems one after another,
 * under the lock of their list, whose the page is; the first one that knows it moves it. If none does, it said
 * 0: success. Then the caller takes the old page for moved, though its system uses it, and nobody knows the new
 * one. The new page was also forgotten where the old one had been freed, and after every error.
 *
 * What the specification demands. An unclaimed page is an error. A new page that is not used is freed.
 *
 * The model. One page, its system, and `actors` isolators, each of which allocates its new page. The system stops
 * pinning the page and frees it: off the tree, PG_pin cleared under the page lock of wherever the page is by then,
 * reference dropped. In between, the page has PG_pin and is nobody's. The tree is one cell, the page that the
 * system has; asking and moving are one step under the systems' lock.
 *
 * Verified: a migration that says 0 has moved the page or has seen it freed; no page is lost, none freed twice.
 *
 * Not verified here: -EAGAIN of a system, several systems and nesting of pins, registering and unregistering (a
 * system that has gone with its pages pinned leaves them unclaimed for ever: the same answer is due), the pin of
 * the new page before it is found. `pages` is ignored.
 */

import { assert } from '../../base/assert.ts'
import type { Cpu } from '../../base/cpu.ts'
import type { System } from '../../check/system.ts'
import { EINVAL } from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import type { Model } from '../model.ts'

interface Pinpage {
  readonly flags: Int32Array // PG_locked, PG_pin of each page
  readonly refcount: Int32Array // 0: free
  readonly tree: Int32Array // the page that the system has; NONE: it has none
  readonly systemsLock: Int32Array
  readonly zoneLock: Int32Array
}

const PG_locked = 1
const PG_pin = 2

/** The page that is pinned at first; the others are free. */
const PAGE = 0
const NONE = -1

// What an isolator ends with, besides errors.
const MOVED = 0
const FREED = 1 // by its system, while it was isolated
const NOT_ISOLATED = 2

export const pinpageLostPage: Model = {
  name: 'pinpage-lost-page',
  question: 'Is a pinned page lost, or the one that should replace it, when no system claims it any more?',
  source: 'S3-10..S3-13 and their TRAPs (Minchan Kim, "[RFC 0/3] Pin page control subsystem", 2013)',
  seeded: {
    'unclaimed-is-success': 'a page that no system claims counts as migrated',
    'keeps-new-page': 'the new page is not freed where the old one had been freed by its system',
  },
  size: { actors: 2, pages: 1 },
  sizeMax: { actors: 3, pages: 1 },
  build: ({ actors }, seeded): System<Pinpage> => ({
    name: 'pinpage-lost-page',
    state: {
      flags: Int32Array.from({ length: actors + 1 }, (_, page) => (page === PAGE ? PG_pin : 0)),
      refcount: Int32Array.from({ length: actors + 1 }, (_, page) => (page === PAGE ? 1 : 0)),
      tree: Int32Array.of(PAGE),
      systemsLock: new Int32Array(1),
      zoneLock: new Int32Array(1),
    },
    tasks: [
      { name: 'system', run: clearAndFree },
      { name: 'isolator', copies: actors, run: (cpu, state) => isolateAndMigrate(cpu, state, seeded) },
    ],
    invariants: [
      {
        name: 'success-means-moved',
        says: 'a page that counts as migrated is not used by its system any more',
        holds: ({ tree }, where) =>
          where.count('migrated') === 0 || (tree[0] !== PAGE && where.count('off the tree', PAGE) === 0),
      },
    ],
    atEnd: [
      {
        name: 'no-page-lost',
        says: 'every page is free, since the only one that was in use has been freed',
        holds: ({ refcount }) => Array.from(refcount).every((count) => count === 0),
      },
    ],
  }),
}

function putPage(cpu: Cpu, p: Pinpage, page: number): void {
  cpu.decAndTest(p.refcount, page)
}

// The system.

/** clear_pinpage(), and then the page is freed. */
function clearAndFree(cpu: Cpu, p: Pinpage): void {
  const page = cpu.atomically(p.systemsLock, 0, SPIN_LOCKED, delPageLocked, p, 0, 0, 0)
  cpu.at('off the tree', page)
  cpu.lock(p.flags, page, PG_locked)
  cpu.testClear(p.flags, page, PG_pin)
  cpu.unlock(p.flags, page, PG_locked)
  putPage(cpu, p, page)
}

function delPageLocked(p: Pinpage): number {
  const page = p.tree[0]
  p.tree[0] = NONE
  return page
}

// The isolator.

/** Isolates the page, and migrates it if it can. Gives what became of it. */
function isolateAndMigrate(cpu: Cpu, p: Pinpage, seeded: string | undefined): number {
  if (!isolate(cpu, p)) return NOT_ISOLATED
  const dst = cpu.atomically(p.zoneLock, 0, SPIN_LOCKED, allocLocked, p, 0, 0, 0)
  const rc = cpu.load(p.refcount, PAGE) === 1 ? FREED : migratePinpage(cpu, p, dst, seeded)
  if (rc === MOVED) cpu.at('migrated')
  else if (rc !== FREED || seeded !== 'keeps-new-page') putPage(cpu, p, dst)
  cpu.unlock(p.flags, PAGE, PG_locked)
  putPage(cpu, p, PAGE)
  return rc
}

/** Takes a reference and the page lock, and keeps both. False: not pinned, free, or locked. */
function isolate(cpu: Cpu, p: Pinpage): boolean {
  if ((cpu.load(p.flags, PAGE) & PG_pin) === 0) return false
  if (!cpu.addUnlessZero(p.refcount, PAGE)) return false
  if (cpu.tryLock(p.flags, PAGE, PG_locked)) return true
  putPage(cpu, p, PAGE)
  return false
}

function allocLocked(p: Pinpage): number {
  let page = PAGE + 1
  while (page < p.refcount.length && p.refcount[page] !== 0) page++
  assert(page < p.refcount.length, 'pinpage: there is a new page for each isolator')
  p.refcount[page] = 1
  return page
}

/** Has the system whose page it is move it; it takes over the new page's reference. -EINVAL: it is nobody's. */
function migratePinpage(cpu: Cpu, p: Pinpage, dst: number, seeded: string | undefined): number {
  if (cpu.atomically(p.systemsLock, 0, SPIN_LOCKED, movePageLocked, p, PAGE, dst, 0) === 1) {
    putPage(cpu, p, PAGE) // the system's
    return MOVED
  }
  return seeded === 'unclaimed-is-success' ? MOVED : -EINVAL
}

/** The system's find_page() and migrate(). 0: it does not know the page. */
function movePageLocked(p: Pinpage, src: number, dst: number): number {
  if (p.tree[0] !== src) return 0
  p.tree[0] = dst
  p.flags[dst] |= PG_pin
  p.flags[src] &= ~PG_pin
  return 1
}
