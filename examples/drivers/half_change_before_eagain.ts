/**
 * Broken: makes the destination its own before it looks whether the source can move, and then answers -EAGAIN.
 *
 * Fails: again-means-unchanged
 */

import { type CheckedDriver, EAGAIN } from 'drover/driver'
import list, { adopt } from './list_driver.ts'

export default {
  ...list,
  name: 'half change before -EAGAIN',
  ops: {
    ...list.ops,
    migrate(cpu, mm, dst, src) {
      cpu.add(mm.refcount, dst, 1)
      adopt(cpu, mm, dst)
      if (cpu.load(mm.refcount, src) !== 2) return -EAGAIN
      cpu.store(mm.content, dst, cpu.load(mm.content, src))
      cpu.add(mm.refcount, src, -1)
      return 0
    },
  },
} satisfies CheckedDriver
