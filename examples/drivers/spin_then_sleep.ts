/**
 * Broken: waits for the page lock, which may sleep, while it holds its spinlock.
 *
 * Fails: locks-are-the-owners
 */

import { type CheckedDriver, PG_locked, putPage, SPIN_LOCKED } from 'drover/driver'
import list, { LOCK } from './list_driver.ts'

export default {
  ...list,
  name: 'spin then sleep',
  access(cpu, mm, pfn) {
    if (!cpu.addUnlessZero(mm.refcount, pfn)) return -1
    cpu.lock(mm.ownerCells, LOCK, SPIN_LOCKED)
    cpu.lock(mm.flags, pfn, PG_locked)
    const ours = list.listed(mm).includes(pfn)
    const value = ours ? cpu.load(mm.content, pfn) : -1
    cpu.unlock(mm.flags, pfn, PG_locked)
    cpu.unlock(mm.ownerCells, LOCK, SPIN_LOCKED)
    putPage(cpu, mm, pfn)
    return value
  },
} satisfies CheckedDriver
