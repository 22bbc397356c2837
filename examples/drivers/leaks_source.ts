/**
 * Broken: does not drop its reference on the source of a move, so that the source is never free.
 *
 * Fails: freed-once
 */

import { type CheckedDriver, EAGAIN } from 'drover/driver'
import list, { adopt } from './list_driver.ts'

export default {
  ...list,
  name: 'leaks source',
  ops: {
    ...list.ops,
    migrate(cpu, mm, dst, src) {
      if (cpu.load(mm.refcount, src) !== 2) return -EAGAIN
      cpu.store(mm.content, dst, cpu.load(mm.content, src))
      cpu.add(mm.refcount, dst, 1)
      adopt(cpu, mm, dst)
      return 0
    },
  },
} satisfies CheckedDriver
