/**
 * A correct driver for Linux 6.17 and later, where PG_movable_ops stays until the page is free and the framework does
 * not look whose page it is: the list driver, whose callbacks look themselves. `private` of a page says that it is
 * the driver's, under the page lock.
 */

import {
  type CheckedDriver,
  type Cpu,
  EAGAIN,
  lockMovablePage,
  type Mm,
  type Pfn,
  PG_locked,
  PG_movable_ops_isolated,
  PGTY_offline,
  SPIN_LOCKED,
  unlockMovablePage,
} from 'drover/driver'
import list, { adopt, delistLocked, enlistLocked, LOCK } from './list_driver.ts'

const OURS = 1

const isOurs = (cpu: Cpu, mm: Mm, pfn: Pfn): boolean => cpu.load(mm.private, pfn) === OURS

/** Waits for a page, and holds it locked if it is the driver's. */
function lockOurs(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (!lockMovablePage(cpu, mm, pfn, PGTY_offline)) return false
  if (isOurs(cpu, mm, pfn)) return true
  unlockMovablePage(cpu, mm, pfn)
  return false
}

export default {
  ...list,
  name: 'sticky mark',
  markStays: true,
  ops: {
    isolate(cpu, mm, pfn) {
      if (!isOurs(cpu, mm, pfn)) return false
      cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, delistLocked, mm, pfn, 0, 0)
      return true
    },
    migrate(cpu, mm, dst, src) {
      if (!isOurs(cpu, mm, src) || cpu.load(mm.refcount, src) !== 2) return -EAGAIN
      cpu.store(mm.content, dst, cpu.load(mm.content, src))
      cpu.add(mm.refcount, dst, 1)
      cpu.store(mm.private, dst, OURS)
      adopt(cpu, mm, dst)
      cpu.store(mm.private, src, 0)
      cpu.add(mm.refcount, src, -1)
      return 0
    },
    putback(cpu, mm, pfn) {
      if (isOurs(cpu, mm, pfn)) cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, enlistLocked, mm, pfn, 0, 0)
    },
  },
  insert(cpu, mm, pfn) {
    cpu.lock(mm.flags, pfn, PG_locked)
    cpu.store(mm.private, pfn, OURS)
    adopt(cpu, mm, pfn)
    cpu.unlock(mm.flags, pfn, PG_locked)
  },
  free(cpu, mm, pfn) {
    if (!lockOurs(cpu, mm, pfn)) return false
    const isolated = (cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0
    if (!isolated) cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, delistLocked, mm, pfn, 0, 0)
    cpu.store(mm.private, pfn, 0) // the mark stays
    cpu.add(mm.refcount, pfn, -1)
    unlockMovablePage(cpu, mm, pfn)
    return true
  },
  access(cpu, mm, pfn) {
    if (!lockOurs(cpu, mm, pfn)) return -1
    const value = cpu.load(mm.content, pfn)
    unlockMovablePage(cpu, mm, pfn)
    return value
  },
  write(cpu, mm, pfn, value) {
    if (!lockOurs(cpu, mm, pfn)) return false
    cpu.store(mm.content, pfn, value)
    unlockMovablePage(cpu, mm, pfn)
    return true
  },
} satisfies CheckedDriver
