/**
 * Broken: an accessor that finds the page isolated says that there is none, instead of waiting.
 *
 * Fails: accesses-halt
 */

import { type CheckedDriver, PG_movable_ops_isolated } from 'drover/driver'
import list from './list_driver.ts'

export default {
  ...list,
  name: 'gives up access',
  access(cpu, mm, pfn) {
    if ((cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0) return -1
    return list.access(cpu, mm, pfn)
  },
} satisfies CheckedDriver
