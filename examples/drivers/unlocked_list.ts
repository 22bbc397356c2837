/**
 * Broken: takes a page off its list without the lock of the list.
 *
 * Fails: locks-are-the-owners
 */

import { type CheckedDriver, listDel } from 'drover/driver'
import list from './list_driver.ts'

export default {
  ...list,
  name: 'unlocked list',
  ops: {
    ...list.ops,
    isolate(_, mm, pfn) {
      listDel(mm.links, pfn)
      return true
    },
  },
} satisfies CheckedDriver
