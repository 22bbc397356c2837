/**
 * Broken: isolates without looking again under the page lock. The look that led there took no lock, so by now the
 * page may be isolated already, or let go of.
 *
 * Fails: one-winner
 */

import {
  type CheckedDriver,
  ISOLATED,
  isListed,
  type Mm,
  PG_locked,
  PG_movable_ops_isolated,
  pageLockedOps,
  REFUSED_LOCKED,
  SPIN_LOCKED,
} from 'drover/driver'
import list, { delistLocked, LOCK } from './list_driver.ts'

function delistIfListedLocked(mm: Mm, pfn: number): number {
  return isListed(mm.links, pfn) ? delistLocked(mm, pfn) : 0
}

export default {
  ...list,
  name: 'no recheck',
  ops: {
    ...pageLockedOps({ ...list, ...list.ops }),
    isolatePage(cpu, mm, pfn) {
      if (!cpu.tryLock(mm.flags, pfn, PG_locked)) return REFUSED_LOCKED
      cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, delistIfListedLocked, mm, pfn, 0, 0)
      cpu.testSet(mm.flags, pfn, PG_movable_ops_isolated)
      cpu.unlock(mm.flags, pfn, PG_locked)
      return ISOLATED
    },
  },
} satisfies CheckedDriver
