/**
 * Broken: device removal empties the list, and forgets that isolated pages are not on it. They are put back to a
 * driver that is gone.
 *
 * Fails: owned-set-conserved
 */

import { type CheckedDriver, listEmpty, listFirst, type Mm, pfnOf, SPIN_LOCKED } from 'drover/driver'
import list, { LOCK } from './list_driver.ts'

function firstLocked(mm: Mm): number {
  const head = mm.ownerList(0)
  return listEmpty(mm.links, head) ? -1 : listFirst(mm.links, head)
}

export default {
  ...list,
  name: 'remove misses isolated',
  remove(cpu, mm) {
    for (;;) {
      // Each round lets go of a page, or somebody has taken it off the list meanwhile.
      cpu.at('removing')
      const first = cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, firstLocked, mm, 0, 0, 0)
      if (first < 0) return
      list.free(cpu, mm, pfnOf(first))
    }
  },
} satisfies CheckedDriver
