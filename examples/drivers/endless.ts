/**
 * Broken: waits for the page lock in a loop of its own, which does not say `cpu.at`. Such a loop has no end that the
 * checker could see; `cpu.lock` waits in one step.
 *
 * Cannot be checked: cpu.at('label', live values)
 */

import { type CheckedDriver, PG_locked, unlockMovablePage } from 'drover/driver'
import list from './list_driver.ts'

export default {
  ...list,
  name: 'endless',
  access(cpu, mm, pfn) {
    if (!cpu.addUnlessZero(mm.refcount, pfn)) return -1
    // Nothing decreases here: this is the mistake.
    while (!cpu.tryLock(mm.flags, pfn, PG_locked));
    unlockMovablePage(cpu, mm, pfn)
    return list.access(cpu, mm, pfn)
  },
} satisfies CheckedDriver
