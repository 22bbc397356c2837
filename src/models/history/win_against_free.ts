/**
 * The isolator that wins against a free: whose put is the last one?
 *
 * The real code. isolate_mobilepage() takes a reference by get_page_unless_zero() on a page that its owner may be
 * freeing. If the count was not zero yet, the isolator has won: the owner's put is not the last one any more, and
 * the page is free only when the isolator has dropped his reference too. So every put must be one that frees, also
 * that of an isolator who is refused because the page is nobody's by then, and no owner may free a page outright.
 *
 * The model. The engine's isolateMovablePage() and putPage(), the page of a driver that keeps nothing but the mark,
 * `actors` isolators that put back what they got, and the owner, who lets go of the page: mark off under the page
 * lock, reference dropped. A page that is freed twice is counted twice, or breaks an assertion of the engine.
 *
 * Verified: the page is free at the end, exactly once, whoever drops the last reference.
 *
 * Not verified here: two winners and the order of unlock and put (isolate_free.ts), lists of a driver
 * (isolate_putback.ts, double_putback.ts). `pages` is ignored.
 */

import type { Cpu } from '../../base/cpu.ts'
import { type Pfn, zoneIdOf } from '../../base/units.ts'
import type { System } from '../../check/system.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage } from '../../mm/movable_ops.ts'
import type { Mm } from '../../mm/page.ts'
import { freeFolio, putPage } from '../../mm/page_alloc.ts'
import { MARKED_OPS, markPages, releaseMarked } from '../marked_driver.ts'
import type { Model } from '../model.ts'
import { isCounter, isFree, lockRulesOf, smallMachine } from '../small_machine.ts'
import { driverText } from '../value_text.ts'

export const winAgainstFree: Model = {
  name: 'win-against-free',
  question: 'Is a page freed exactly once when an isolator takes a reference while its owner frees it?',
  source: 'S0-8..S0-10',
  seeded: {
    'plain-decrement': 'a refused isolator drops its reference without looking whether it was the last one',
    'frees-anyway': 'the owner frees the page without looking whether somebody has a reference',
    'raises-a-zero': 'the isolator reads the count and adds to it in two steps',
  },
  size: { actors: 2, pages: 1 },
  sizeMax: { actors: 4, pages: 1 },
  build: ({ actors }, seeded): System<Mm> => {
    const { mm, pages } = smallMachine(1, 0)
    const [pfn] = pages
    markPages(mm, pages)
    const isolate = ISOLATES[seeded ?? 'fixed'] ?? isolateRight
    const drop = seeded === 'frees-anyway' ? dropAndFree : putPage
    return {
      name: 'win-against-free',
      state: mm,
      tasks: [
        {
          name: 'isolator',
          copies: actors,
          run: (cpu, state) => {
            if (!isolate(cpu, state, pfn)) return
            cpu.at('isolated', pfn)
            putbackMovablePage(cpu, state, pfn)
          },
        },
        { name: 'owner', run: (cpu, state) => releaseMarked(cpu, state, pfn, drop) },
      ],
      atEnd: [
        {
          name: 'freed-once',
          says: 'the page is free, and counted once',
          holds: (state) => isFree(state, pfn) && state.nrFree[zoneIdOf(0)] === 1,
        },
      ],
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: driverText,
    }
  },
}

const isolateRight = (cpu: Cpu, mm: Mm, pfn: Pfn): boolean => isolateMovablePage(cpu, mm, pfn, 0) === ISOLATED

// The mistakes. What the isolator's do otherwise is what isolateMovablePage() does, with the engine's operations.

function isolateDecrementing(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
  if (MARKED_OPS.isolatePage(cpu, mm, pfn, 0) === ISOLATED) return true
  cpu.add(mm.refcount, pfn, -1)
  return false
}

function isolateRaisingZero(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (cpu.load(mm.refcount, pfn) === 0) return false
  cpu.add(mm.refcount, pfn, 1)
  if (MARKED_OPS.isolatePage(cpu, mm, pfn, 0) === ISOLATED) return true
  putPage(cpu, mm, pfn)
  return false
}

const ISOLATES: Readonly<Record<string, (cpu: Cpu, mm: Mm, pfn: Pfn) => boolean>> = {
  'plain-decrement': isolateDecrementing,
  'raises-a-zero': isolateRaisingZero,
}

function dropAndFree(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.add(mm.refcount, pfn, -1)
  freeFolio(cpu, mm, pfn)
}
