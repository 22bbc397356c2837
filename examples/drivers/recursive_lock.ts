/**
 * Broken: takes the page lock in a callback that is called with the page lock held.
 *
 * Fails: locks-are-the-owners
 */

import { type CheckedDriver, PG_locked } from 'drover/driver'
import list from './list_driver.ts'

export default {
  ...list,
  name: 'recursive lock',
  ops: {
    ...list.ops,
    putback(cpu, mm, pfn) {
      cpu.lock(mm.flags, pfn, PG_locked)
      list.ops.putback(cpu, mm, pfn)
      cpu.unlock(mm.flags, pfn, PG_locked)
    },
  },
} satisfies CheckedDriver
