/**
 * Broken: marks the destination as its page before it has copied the contents. Its readers take a reference and no
 * lock, which is fine as long as a marked page holds what it should.
 *
 * Fails: accesses-halt
 */

import { type CheckedDriver, EAGAIN, PG_movable_ops, putPage } from 'drover/driver'
import list, { adopt } from './list_driver.ts'

export default {
  ...list,
  name: 'torn migrate',
  ops: {
    ...list.ops,
    migrate(cpu, mm, dst, src) {
      if (cpu.load(mm.refcount, src) !== 2) return -EAGAIN
      cpu.add(mm.refcount, dst, 1)
      adopt(cpu, mm, dst)
      cpu.store(mm.content, dst, cpu.load(mm.content, src))
      cpu.add(mm.refcount, src, -1)
      return 0
    },
  },
  access(cpu, mm, pfn) {
    if (!cpu.addUnlessZero(mm.refcount, pfn)) return -1
    const ours = (cpu.load(mm.flags, pfn) & PG_movable_ops) !== 0
    const value = ours ? cpu.load(mm.content, pfn) : -1
    putPage(cpu, mm, pfn)
    return value
  },
} satisfies CheckedDriver
