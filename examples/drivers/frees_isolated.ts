/**
 * Broken: frees an isolated page outright, by dropping the isolator's reference together with its own.
 *
 * Fails: no-parallel-free
 */

import {
  type CheckedDriver,
  lockMovablePage,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PGTY_offline,
  SPIN_LOCKED,
  unlockMovablePage,
} from 'drover/driver'
import list, { delistLocked, LOCK } from './list_driver.ts'

export default {
  ...list,
  name: 'frees isolated',
  free(cpu, mm, pfn) {
    if (!lockMovablePage(cpu, mm, pfn, PGTY_offline)) return false
    const isolated = (cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0
    if (!isolated) cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, delistLocked, mm, pfn, 0, 0)
    cpu.testClear(mm.flags, pfn, PG_movable_ops)
    cpu.add(mm.refcount, pfn, isolated ? -2 : -1)
    unlockMovablePage(cpu, mm, pfn)
    return true
  },
} satisfies CheckedDriver
