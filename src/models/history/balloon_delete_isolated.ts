/**
 * Balloon: whose are the list links of a page that is isolated?
 *
 * The real code. Pages of a balloon are linked by `page->lru` into its list, under its pages lock. Isolation takes
 * a page off that list, and from then on the same links are the isolator's: he has the page on a list of his own,
 * which no lock of the balloon's guards. balloon_page_delete() is called for pages of both kinds: by the dequeue,
 * whose page is on the balloon's list, and by migration, whose page is on the isolator's. So it unlinks only a page
 * that is not isolated. The dequeue in turn must hold the page lock, or the page that it found is isolated while
 * it is deleted: it skips pages that it cannot lock, and those that are isolated.
 *
 * The model. A balloon of `pages` pages. A compactor isolates what it can, then migrates what it has, each page to
 * a destination of its own; `actors` - 1 deflaters take one page out of the balloon each. Links are those of
 * base/list.ts. The compactor's list is changed without a lock; a section under the pages lock is one step.
 * list_del checks, as the kernel's does on request, that the page is on a list.
 *
 * Verified: pages on the balloon's list and isolated pages are the balloon's pages, in every state; no page is
 * unlinked that is on no list; every page that left the balloon is free.
 *
 * Not verified here: what the host is told (balloon_host_order.ts), putback, inflating, and the balloon's lock that
 * makes migrations one after another: there is one compactor.
 */

import { assert } from '../../base/assert.ts'
import type { Cpu } from '../../base/cpu.ts'
import { initList, isListed, listAdd, listAddTail, listDel } from '../../base/list.ts'
import { listNodeOf } from '../../base/units.ts'
import type { System } from '../../check/system.ts'
import { PG_locked } from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import type { Model } from '../model.ts'

/** Pages are list nodes from 1: those of the balloon, a destination for each, then the heads of both lists. */
interface Balloon {
  readonly flags: Int32Array // PG_locked, PG_isolated of each page
  readonly refcount: Int32Array
  readonly private: Int32Array // 1: the page is the balloon's
  readonly links: Int32Array
  readonly pagesLock: Int32Array // guards the balloon's list, `private` and the count
  readonly isolatedPages: Int32Array
}

const PG_isolated = 2

export const balloonDeleteIsolated: Model = {
  name: 'balloon-delete-isolated',
  question:
    'Can a page be unlinked from a list that it is not on, when a balloon deletes a page that is isolated?',
  source: 'S1-10..S1-13, S1-16',
  seeded: {
    'unlinks-isolated': "deleting an isolated page unlinks it, though its links are the isolator's (S1-10)",
    'dequeue-without-page-lock':
      'the dequeue does not take the page lock of the page that it deletes (S1-11)',
  },
  size: { actors: 2, pages: 2 },
  sizeMax: { actors: 3, pages: 3 },
  build: ({ actors, pages }, seeded): System<Balloon> => {
    const deletePage = seeded === 'unlinks-isolated' ? deleteUnlinkingLocked : deleteLocked
    const dequeue = seeded === 'dequeue-without-page-lock' ? dequeueUnlocked : dequeuePage
    return {
      name: 'balloon-delete-isolated',
      state: balloonOf(pages),
      tasks: [
        { name: 'compactor', run: (cpu, balloon) => compact(cpu, balloon, pages, deletePage) },
        ...(actors > 1 ? [{ name: 'deflater', copies: actors - 1, run: dequeue }] : []),
      ],
      invariants: [
        {
          name: 'owned-set-conserved',
          says: "pages on the balloon's list and isolated pages are the balloon's pages",
          holds: (balloon) =>
            lengthOf(balloon, balloonList(balloon)) + balloon.isolatedPages[0] ===
            Array.from(balloon.private).filter((owned) => owned === 1).length,
        },
      ],
      atEnd: [
        {
          name: 'freed-once',
          says: "the balloon's pages have one reference, and all others are free",
          holds: ({ refcount, private: owned }) =>
            Array.from(refcount).every((count, page) => count === owned[page]),
        },
      ],
    }
  },
}

function balloonOf(pages: number): Balloon {
  const nodes = 2 * pages + 3
  const inBalloon = Int32Array.from({ length: nodes - 2 }, (_, page) => (page >= 1 && page <= pages ? 1 : 0))
  const balloon = {
    flags: new Int32Array(nodes - 2),
    refcount: inBalloon.slice(),
    private: inBalloon,
    links: new Int32Array(2 * nodes),
    pagesLock: new Int32Array(1),
    isolatedPages: new Int32Array(1),
  }
  initList(balloon.links, listNodeOf(balloonList(balloon)))
  initList(balloon.links, listNodeOf(migrateList(balloon)))
  for (let page = 1; page <= pages; page++) listAddTail(balloon.links, page, balloonList(balloon))
  return balloon
}

const balloonList = ({ links }: Balloon): number => links.length / 2 - 2
const migrateList = ({ links }: Balloon): number => links.length / 2 - 1

/** Nodes on a list; more than there are if it does not lead back to its head. */
function lengthOf({ links }: Balloon, head: number): number {
  let length = 0
  for (let node = links[2 * head]; node !== head && length < links.length; node = links[2 * node]) length++
  return length
}

function putPage(cpu: Cpu, balloon: Balloon, page: number): void {
  cpu.decAndTest(balloon.refcount, page)
}

/** A step that changes the balloon's list. @locks needs the pages lock */
type Section = (balloon: Balloon, page: number) => number

/** list_del(), with the check of CONFIG_DEBUG_LIST. */
function listDelChecked(balloon: Balloon, page: number): number {
  assert(isListed(balloon.links, page), 'list_del: the page is on a list')
  listDel(balloon.links, page)
  return 0
}

// The compactor.

function compact(cpu: Cpu, balloon: Balloon, pages: number, deletePage: Section): void {
  for (let page = 1; page <= pages; page++) {
    cpu.at('scanning', page)
    if (isolate(cpu, balloon, page)) {
      cpu.atomically(balloon.pagesLock, 0, 0, linkIsolated, balloon, page, 0, 0)
    }
  }
  for (let page = 1; page <= pages; page++) {
    cpu.at('migrating', page)
    const found = cpu.load(balloon.links, 2 * migrateList(balloon))
    if (found === migrateList(balloon)) return
    migrate(cpu, balloon, found, pages + found, deletePage)
  }
}

/** isolate_mobilepage() and balloon_page_isolate(). */
function isolate(cpu: Cpu, balloon: Balloon, page: number): boolean {
  if (!cpu.addUnlessZero(balloon.refcount, page)) return false
  if (!cpu.tryLock(balloon.flags, page, PG_locked)) {
    putPage(cpu, balloon, page)
    return false
  }
  const taken = cpu.load(balloon.private, page) === 1
  if (taken) {
    cpu.atomically(balloon.pagesLock, 0, SPIN_LOCKED, isolateLocked, balloon, page, 0, 0)
    cpu.testSet(balloon.flags, page, PG_isolated)
  }
  cpu.unlock(balloon.flags, page, PG_locked)
  if (!taken) putPage(cpu, balloon, page)
  return taken
}

function isolateLocked(balloon: Balloon, page: number): number {
  balloon.isolatedPages[0]++
  return listDelChecked(balloon, page)
}

/** The isolator's own list: no lock. */
function linkIsolated(balloon: Balloon, page: number): number {
  listAddTail(balloon.links, page, migrateList(balloon))
  return 0
}

/** balloon_page_migrate(), and what its caller does on success: unlink, unlock, put. */
function migrate(cpu: Cpu, balloon: Balloon, src: number, dst: number, deletePage: Section): void {
  cpu.store(balloon.refcount, dst, 1) // as its allocation does
  cpu.lock(balloon.flags, src, PG_locked)
  cpu.atomically(balloon.pagesLock, 0, SPIN_LOCKED, insertLocked, balloon, dst, 0, 0)
  cpu.atomically(balloon.pagesLock, 0, SPIN_LOCKED, deletePage, balloon, src, 0, 0)
  cpu.testClear(balloon.flags, src, PG_isolated)
  putPage(cpu, balloon, src) // the balloon's
  cpu.atomically(balloon.pagesLock, 0, 0, listDelChecked, balloon, src, 0, 0)
  cpu.unlock(balloon.flags, src, PG_locked)
  putPage(cpu, balloon, src) // the isolation's
}

/** The destination's reference becomes the balloon's. */
function insertLocked(balloon: Balloon, page: number): number {
  balloon.private[page] = 1
  listAdd(balloon.links, page, balloonList(balloon))
  return 0
}

/** balloon_page_delete(): an isolated page is on no list of the balloon's. */
function deleteLocked(balloon: Balloon, page: number): number {
  balloon.private[page] = 0
  if ((balloon.flags[page] & PG_isolated) === 0) return listDelChecked(balloon, page)
  balloon.isolatedPages[0]--
  return 0
}

// The deflater.

/** balloon_page_dequeue(): takes the first page that it can lock out of the balloon, and frees it. */
function dequeuePage(cpu: Cpu, balloon: Balloon): void {
  cpu.lock(balloon.pagesLock, 0, SPIN_LOCKED)
  const page = cpu.load(balloon.links, 2 * balloonList(balloon))
  const found = page !== balloonList(balloon) && cpu.tryLock(balloon.flags, page, PG_locked)
  if (found) cpu.atomically(balloon.pagesLock, 0, 0, deleteLocked, balloon, page, 0, 0)
  cpu.unlock(balloon.pagesLock, 0, SPIN_LOCKED)
  if (!found) return
  cpu.unlock(balloon.flags, page, PG_locked)
  putPage(cpu, balloon, page)
}

// The mistakes.

function deleteUnlinkingLocked(balloon: Balloon, page: number): number {
  balloon.private[page] = 0
  if ((balloon.flags[page] & PG_isolated) !== 0) balloon.isolatedPages[0]--
  return listDelChecked(balloon, page)
}

function dequeueUnlocked(cpu: Cpu, balloon: Balloon): void {
  cpu.lock(balloon.pagesLock, 0, SPIN_LOCKED)
  const page = cpu.load(balloon.links, 2 * balloonList(balloon))
  const found = page !== balloonList(balloon)
  if (found) cpu.atomically(balloon.pagesLock, 0, 0, deleteLocked, balloon, page, 0, 0)
  cpu.unlock(balloon.pagesLock, 0, SPIN_LOCKED)
  if (found) putPage(cpu, balloon, page)
}
