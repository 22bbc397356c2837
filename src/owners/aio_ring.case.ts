/**
 * An AIO ring in pictures: `o` is its page, of which there is one.
 *
 * @ours
 */

import { assert } from '../base/assert.ts'
import { slotOf, vpnOf } from '../base/units.ts'
import { PG_lru } from '../mm/limits.ts'
import type { DrawnOwner } from '../testing/machine.ts'
import { type AioRing, aioRingCells, createAioRing, ioSetupWith, ringPlace } from './aio_ring.ts'

const PAGES_MAX = 4

export interface DrawnRing extends DrawnOwner {
  /** The context of the machine that was made last. */
  readonly ring: AioRing
}

/** A context for one machine. */
export function drawnAioRing(migrates = true): DrawnRing {
  let made: AioRing | undefined
  const ring = (): AioRing => {
    assert(made !== undefined, 'drawn ring: the machine is made')
    return made
  }
  return {
    cells: aioRingCells(PAGES_MAX),
    create: (mm, place, mapping) => {
      made = createAioRing(mm, place, { mapping, firstSlot: slotOf(4000), pagesMax: PAGES_MAX, migrates })
    },
    own: (cpu, { mm }, pfn) => {
      ioSetupWith(cpu, mm, ring(), [pfn], vpnOf(pfn)) // what the machine maps itself is further down
    },
    letterOf: (mm, pfn) => {
      const places = Array.from({ length: PAGES_MAX }, (_, index) => mm.ownerCells[ringPlace(ring(), index)])
      if (!places.includes(pfn)) return undefined
      return (mm.flags[pfn] & PG_lru) === 0 ? 'i' : 'o'
    },
    get ring() {
      return ring()
    },
  }
}
