/**
 * Broken: written for the framework of before 6.17, and run by a later one. It does not look whether a page that it is
 * asked to put back still is its own, so a page that was freed while it was isolated is on the list again.
 *
 * Fails: owned-set-conserved
 */

import { type CheckedDriver, SPIN_LOCKED } from 'drover/driver'
import { enlistLocked, LOCK } from './list_driver.ts'
import sticky from './sticky_mark.ts'

export default {
  ...sticky,
  name: 'trusts framework',
  ops: {
    ...sticky.ops,
    putback(cpu, mm, pfn) {
      cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, enlistLocked, mm, pfn, 0, 0)
    },
  },
} satisfies CheckedDriver
