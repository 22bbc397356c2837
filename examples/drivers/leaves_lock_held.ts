/**
 * Broken: leaves by an early return without unlocking the page.
 *
 * Fails: locks-are-the-owners
 */

import { type CheckedDriver, PG_locked, PG_movable_ops_isolated, putPage } from 'drover/driver'
import list from './list_driver.ts'

export default {
  ...list,
  name: 'leaves lock held',
  free(cpu, mm, pfn) {
    if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
    cpu.lock(mm.flags, pfn, PG_locked)
    if ((cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0) {
      putPage(cpu, mm, pfn)
      return false
    }
    cpu.unlock(mm.flags, pfn, PG_locked)
    putPage(cpu, mm, pfn)
    return list.free(cpu, mm, pfn)
  },
} satisfies CheckedDriver
