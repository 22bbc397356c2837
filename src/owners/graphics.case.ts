/**
 * A graphics device in pictures: what is drawn as `o` is a buffer of one page.
 *
 * @ours
 */

import { assert } from '../base/assert.ts'
import { vpnOf } from '../base/units.ts'
import { movableMapping } from '../mm/page.ts'
import type { DrawnOwner } from '../testing/machine.ts'
import {
  bufferAdopt,
  bufferMap,
  createGraphics,
  type Graphics,
  graphicsCells,
  isPageIsolated,
} from './graphics.ts'

const SIZE = { buffers: 8, pagesMax: 4 }

export interface DrawnGraphics extends DrawnOwner {
  /** The device of the machine that was made last. */
  readonly device: Graphics
}

/** A device for one machine. `mapped`: its pages are mapped by user space once. */
export function drawnGraphics(mapped = false, movable = true): DrawnGraphics {
  let made: Graphics | undefined
  const device = (): Graphics => {
    assert(made !== undefined, 'drawn graphics: the machine is made')
    return made
  }
  return {
    cells: graphicsCells(SIZE.buffers, SIZE.pagesMax),
    create: (mm, place, mapping) => {
      made = createGraphics(mm, place, { ...SIZE, mapping, movable })
    },
    own: (cpu, machine, pfn) => {
      const buffer = bufferAdopt(cpu, machine.mm, device(), [pfn])
      if (mapped) bufferMap(cpu, machine.mm, device(), buffer, vpnOf(pfn)) // what the machine maps itself is further down
    },
    letterOf: (mm, pfn) => {
      if (made === undefined || mm.refcount[pfn] === 0 || mm.mapping[pfn] !== movableMapping(made.mapping))
        return undefined
      return isPageIsolated(mm, pfn) ? 'i' : 'o'
    },
    get device() {
      return device()
    },
  }
}
