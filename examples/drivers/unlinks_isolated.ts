/**
 * Broken: takes a page that it lets go of off its list, also while the page is isolated. The links of an isolated
 * page are the isolator's (S1-10).
 *
 * Fails: owned-set-conserved
 */

import {
  type CheckedDriver,
  lockMovablePage,
  PG_movable_ops,
  PGTY_offline,
  SPIN_LOCKED,
  unlockMovablePage,
} from 'drover/driver'
import list, { delistLocked, LOCK } from './list_driver.ts'

export default {
  ...list,
  name: 'unlinks isolated',
  free(cpu, mm, pfn) {
    if (!lockMovablePage(cpu, mm, pfn, PGTY_offline)) return false
    cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, delistLocked, mm, pfn, 0, 0)
    cpu.testClear(mm.flags, pfn, PG_movable_ops)
    cpu.add(mm.refcount, pfn, -1)
    unlockMovablePage(cpu, mm, pfn)
    return true
  },
} satisfies CheckedDriver
