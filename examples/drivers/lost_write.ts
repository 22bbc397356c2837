/**
 * Broken: writes without the page lock, so also while the page is being copied: the write is lost with the source.
 *
 * Fails: no-parallel-update
 */

import { type CheckedDriver, PG_movable_ops, putPage } from 'drover/driver'
import list from './list_driver.ts'

export default {
  ...list,
  name: 'lost write',
  write(cpu, mm, pfn, value) {
    if (!cpu.addUnlessZero(mm.refcount, pfn)) return false
    const ours = (cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0
    if (ours) cpu.store(mm.content, pfn, value)
    putPage(cpu, mm, pfn)
    return ours
  },
} satisfies CheckedDriver
