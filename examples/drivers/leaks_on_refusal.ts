/**
 * Broken: takes a reference of its own before it knows whether the page can be isolated, and keeps it when the
 * answer is no.
 *
 * Fails: nothing-changed-on-refusal
 */

import { type CheckedDriver, ISOLATED, pageLockedOps } from 'drover/driver'
import list from './list_driver.ts'

const ops = pageLockedOps({ ...list, ...list.ops })

export default {
  ...list,
  name: 'leaks on refusal',
  ops: {
    ...ops,
    isolatePage(cpu, mm, pfn, mode) {
      cpu.add(mm.refcount, pfn, 1)
      const answer = ops.isolatePage(cpu, mm, pfn, mode)
      if (answer === ISOLATED) cpu.add(mm.refcount, pfn, -1)
      return answer
    },
  },
} satisfies CheckedDriver
