/**
 * All kinds of tasks, one line each.
 *
 * @ours
 */

import * as z from 'zod'
import { compact, dropCaches, set, wait } from './events.ts'
import { fragment } from './fragment.ts'
import { processes } from './processes.ts'
import { readFiles } from './read_files.ts'
import { request } from './request.ts'
import { deleteFiles, writeFiles } from './write_files.ts'

/** A task of a scenario: its plan. */
export const task = z.discriminatedUnion('task', [
  readFiles,
  writeFiles,
  deleteFiles,
  processes,
  fragment,
  request,
  compact,
  dropCaches,
  wait,
  set,
])
