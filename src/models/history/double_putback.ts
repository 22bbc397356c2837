/**
 * Two winners, and what follows: a page that is put back twice is twice on its owner's list.
 *
 * The real code. The mobile-page framework of 2015 had no mark for "isolated already"; each driver had to refuse
 * the second isolator himself, and the balloon did so by a bit of its own. A driver whose isolate callback takes the
 * page off its list if it is there, and says yes, gives the page to both. Nothing is wrong yet: the page is on no
 * list, and both have a reference. The first putback puts it on the list, the second one links it to itself.
 *
 * The fix is the framework's mark (PG_isolated, today PG_movable_ops_isolated), looked at and set under the page
 * lock.
 *
 * The model. The engine's isolation and putback under the page lock, a driver of one list and one lock whose
 * callback refuses nobody, one page, `actors` isolators that put it back.
 *
 * Verified: the driver's list is sound in every state; it holds its page at the end and counts none as isolated.
 *
 * Not verified here: that there is one winner (isolate_free.ts says so of the mark itself), migration, an owner who
 * lets go of the page (isolate_putback.ts). `pages` is ignored.
 */

import type { Cpu } from '../../base/cpu.ts'
import { isListed, listAdd, listDel } from '../../base/list.ts'
import { ownerCellOf, type Pfn } from '../../base/units.ts'
import type { System } from '../../check/system.ts'
import {
  PG_locked,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PGTY_zsmalloc,
  pageTypeValue,
} from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import {
  ISOLATED,
  isolateMovablePage,
  type PageLockedDriver,
  pageLockedOps,
  putbackMovablePage,
  setMovableOps,
} from '../../mm/movable_ops.ts'
import type { Mm } from '../../mm/page.ts'
import { putPage } from '../../mm/page_alloc.ts'
import type { Model } from '../model.ts'
import { isCounter, listLength, lockRulesOf, smallMachine } from '../small_machine.ts'
import { driverText } from '../value_text.ts'

export const doublePutback: Model = {
  name: 'double-putback',
  question:
    "Can a page be put back on its owner's list twice, if the owner's isolate callback refuses nobody?",
  source: 'S0-11, S0-12, S0-15, S1-4',
  seeded: {
    'no-isolated-mark': 'nothing tells a second isolator that the page is isolated already',
    'mark-after-unlock': 'the page is marked isolated after its page lock was dropped',
  },
  size: { actors: 2, pages: 1 },
  sizeMax: { actors: 4, pages: 1 },
  build: ({ actors }, seeded): System<Mm> => {
    const { mm, pages } = smallMachine(1, 0, { ownerCells: 2 })
    const [pfn] = pages
    mm.mapcount[pfn] = pageTypeValue(OBLIGING.pgty)
    mm.flags[pfn] = PG_movable_ops
    listAdd(mm.links, pfn, mm.ownerList(0))
    setMovableOps(mm, OBLIGING.pgty, pageLockedOps(OBLIGING))
    return {
      name: 'double-putback',
      state: mm,
      tasks: [
        {
          name: 'isolator',
          copies: actors,
          run: (cpu, state) => {
            if (!isolate(cpu, state, pfn, seeded)) return
            cpu.at('isolated', pfn)
            putbackMovablePage(cpu, state, pfn)
          },
        },
      ],
      invariants: [
        {
          name: 'list-is-sound',
          says: "the driver's list leads back to its head both ways, and the page is on it once at most",
          holds: (state) => isSound(state, pfn),
        },
      ],
      atEnd: [
        {
          name: 'owned-set-conserved',
          says: 'the page is on the list, and no page is counted as isolated',
          holds: (state) =>
            listLength(state, state.ownerList(0)) === 1 && state.ownerCells[ISOLATED_COUNT] === 0,
        },
        {
          name: 'reference-kept',
          says: "the only reference is the driver's",
          holds: (state) => state.refcount[pfn] === 1 && state.flags[pfn] === PG_movable_ops,
        },
      ],
      locks: lockRulesOf(mm, (column) =>
        column === 'links' ? { anyOf: [['ownerCells', LOCK, SPIN_LOCKED]] } : undefined,
      ),
      isPrivate: isCounter,
      valueText: driverText,
    }
  },
}

const LOCK = ownerCellOf(0)
const ISOLATED_COUNT = ownerCellOf(1)

/** The list is its head alone, or its head and the page. */
function isSound(mm: Mm, pfn: Pfn): boolean {
  const head = mm.ownerList(0)
  const first = mm.links[2 * head]
  const last = mm.links[2 * head + 1]
  if (first === head) return last === head
  return first === pfn && last === pfn && mm.links[2 * pfn] === head && mm.links[2 * pfn + 1] === head
}

/** A driver whose callback takes the page off its list if it is there, and never refuses. */
const OBLIGING: PageLockedDriver = {
  name: 'obliging',
  pgty: PGTY_zsmalloc,
  isolate: (cpu, mm, pfn) => {
    cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, isolateLocked, mm, pfn, 0, 0)
    return true
  },
  migrate: () => 0,
  putback: (cpu, mm, pfn) => {
    cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, putbackLocked, mm, pfn, 0, 0)
  },
}

function isolateLocked(mm: Mm, pfn: number): number {
  if (isListed(mm.links, pfn)) listDel(mm.links, pfn)
  mm.ownerCells[ISOLATED_COUNT]++
  return 0
}

function putbackLocked(mm: Mm, pfn: number): number {
  listAdd(mm.links, pfn, mm.ownerList(0))
  mm.ownerCells[ISOLATED_COUNT]--
  return 0
}

function isolate(cpu: Cpu, mm: Mm, pfn: Pfn, seeded: string | undefined): boolean {
  if (seeded === 'no-isolated-mark') return isolateUnmarked(cpu, mm, pfn)
  if (seeded === 'mark-after-unlock') return isolateMarkingLate(cpu, mm, pfn)
  return isolateMovablePage(cpu, mm, pfn, 0) === ISOLATED
}

// The mistakes. Otherwise what isolateMovablePage() does for this driver.

function isolateUnmarked(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (!lockReferenced(cpu, mm, pfn)) return false
  OBLIGING.isolate(cpu, mm, pfn, 0)
  cpu.unlock(mm.flags, pfn, PG_locked)
  return true
}

function isolateMarkingLate(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (!lockReferenced(cpu, mm, pfn)) return false
  const free = (cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) === 0
  if (free) OBLIGING.isolate(cpu, mm, pfn, 0)
  cpu.unlock(mm.flags, pfn, PG_locked)
  if (free) cpu.testSet(mm.flags, pfn, PG_movable_ops_isolated)
  else putPage(cpu, mm, pfn)
  return free
}

/** Takes a reference and the page lock; the page cannot go, so it is not asked whose it is. */
function lockReferenced(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
  if (cpu.tryLock(mm.flags, pfn, PG_locked)) return true
  putPage(cpu, mm, pfn)
  return false
}
