/**
 * Isolate against free and a second isolator: who takes a driver's page, and who frees it?
 *
 * The driver keeps nothing but the mark on its page, so the framework's steps are all there is.
 *
 * Verified: one isolator at most has the page; a page that its owner lets go of at any moment is free in the end,
 * once; every reference and lock is given back.
 *
 * Each page has its own isolators and owner; pages are alike, so states that differ in which is which are one.
 *
 * Not verified here: a driver's list (owners/page_pool.ts has one, see isolate_putback.ts), migration.
 *
 * Spec: S0-8..S0-12
 */

import type { Cpu } from '../base/cpu.ts'
import type { Pfn } from '../base/units.ts'
import type { Symmetry, System, Task } from '../check/system.ts'
import { PG_locked, PG_movable_ops, PG_movable_ops_isolated } from '../mm/limits.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { markPages, oneWinner, releaseMarked } from './marked_driver.ts'
import type { Model } from './model.ts'
import { pageSymmetry } from './page_symmetry.ts'
import { isCounter, isFree, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

export const isolateFree: Model = {
  name: 'isolate-free',
  question:
    'Can a page be isolated by two tasks, or be freed twice or never, when its owner frees it meanwhile?',
  source: 'S0-8..S0-12',
  seeded: {
    'no-reference': 'the isolator looks at the page before it has a reference on it (S0-10)',
    'put-before-unlock': 'a refused isolator drops its reference before it unlocks the page (S0-8)',
    'no-isolated-mark': 'nothing tells a second isolator that the page is isolated already (S0-12)',
  },
  size: { actors: 2, pages: 1 },
  sizeMax: { actors: 4, pages: 3 },
  build: ({ actors, pages: count }, seeded): System<Mm> => {
    const { mm, pages } = smallMachine(count, 0)
    markPages(mm, pages)
    return {
      name: 'isolate-free',
      state: mm,
      tasks: pages.flatMap((pfn) => tasksOf(pfn, actors, nameOf(pages, pfn), seeded)),
      invariants: [oneWinner(pages)],
      atEnd: [
        {
          name: 'freed-once',
          says: 'a page that its owner let go of is free, once',
          holds: (state) => pages.every((pfn) => isFree(state, pfn)),
        },
      ],
      symmetries: pages.slice(1).map((pfn, i) => exchange(mm, pages, pages[i], pfn)),
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: driverText,
    }
  },
}

/** What is added to the names of a page's tasks where there are several pages. */
const nameOf = (pages: readonly Pfn[], pfn: Pfn): string => (pages.length === 1 ? '' : ` of ${pfn}`)

/** Two pages, and those who are after them, change places. */
function exchange(mm: Mm, pages: readonly Pfn[], a: Pfn, b: Pfn): Symmetry {
  const [ofA, ofB] = [nameOf(pages, a), nameOf(pages, b)]
  return pageSymmetry(
    mm,
    { pages: [[a, b]] },
    {
      [`isolator${ofA}`]: `isolator${ofB}`,
      [`isolator${ofB}`]: `isolator${ofA}`,
      [`owner${ofA}`]: `owner${ofB}`,
      [`owner${ofB}`]: `owner${ofA}`,
    },
  )
}

/** Several isolators of a page, and its owner, who lets go of it. */
function tasksOf(pfn: Pfn, isolators: number, of: string, seeded: string | undefined): Task<Mm>[] {
  return [
    {
      name: `isolator${of}`,
      copies: isolators,
      run: (cpu, state) => {
        const won =
          seeded === undefined
            ? isolateMovablePage(cpu, state, pfn, 0) === ISOLATED
            : isolateWrongly(cpu, state, pfn, seeded)
        if (!won) return
        cpu.at('isolated', pfn)
        cpu.load(state.flags, pfn) // what it isolated the page for
        cpu.at('putting back', pfn)
        putbackMovablePage(cpu, state, pfn)
      },
    },
    { name: `owner${of}`, run: (cpu, state) => releaseMarked(cpu, state, pfn, putPage) },
  ]
}

/** What isolateMovablePage() does for the marked driver, with one mistake. */
function isolateWrongly(cpu: Cpu, mm: Mm, pfn: Pfn, seeded: string): boolean {
  const late = seeded === 'no-reference'
  if (!late && !cpu.addUnlessZero(mm.refcount, pfn)) return false
  if (!cpu.tryLock(mm.flags, pfn, PG_locked)) {
    if (!late) putPage(cpu, mm, pfn)
    return false
  }
  const marks = seeded === 'no-isolated-mark' ? PG_movable_ops : PG_movable_ops | PG_movable_ops_isolated
  const taken = (cpu.load(mm.flags, pfn) & marks) === PG_movable_ops
  if (taken) {
    if (late) cpu.add(mm.refcount, pfn, 1)
    cpu.testSet(mm.flags, pfn, PG_movable_ops_isolated)
  }
  const drops = !taken && !late
  if (drops && seeded === 'put-before-unlock') putPage(cpu, mm, pfn)
  cpu.unlock(mm.flags, pfn, PG_locked)
  if (drops && seeded !== 'put-before-unlock') putPage(cpu, mm, pfn)
  return taken
}
