/**
 * Broken: decides by a variable of the module. A task may depend on nothing but its arguments and on what cpu
 * returned, or no schedule of it can be taken again.
 *
 * Cannot be checked: depends on something else
 */

import type { CheckedDriver } from 'drover/driver'
import list from './list_driver.ts'

let calls = 0

export default {
  ...list,
  name: 'nondeterministic',
  access(cpu, mm, pfn) {
    calls++
    return calls % 2 === 0 ? list.access(cpu, mm, pfn) : -1
  },
} satisfies CheckedDriver
