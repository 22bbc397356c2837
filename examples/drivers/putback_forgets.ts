/**
 * Broken: has nothing to do when a move is off, so that the page is on no list any more.
 *
 * Fails: putback-restores
 */

import type { CheckedDriver } from 'drover/driver'
import list from './list_driver.ts'

export default {
  ...list,
  name: 'putback forgets',
  ops: { ...list.ops, putback: () => {} },
} satisfies CheckedDriver
