/**
 * All kinds of tasks, one line each.
 *
 * @ours
 */

import * as z from 'zod'
import { balloonTask } from '../owners/balloon.ts'
import { graphicsTask } from '../owners/graphics.ts'
import { kernelTask } from '../owners/kernel_memory.ts'
import { zsCompactTask } from '../owners/zram.ts'
import { compact, dropCaches, set, stop, wait } from './events.ts'
import { layout } from './layout.ts'
import { processes } from './processes.ts'
import { readFiles } from './read_files.ts'
import { map, pageout, unmap } from './regions.ts'
import { request } from './request.ts'
import { deleteFiles, writeFiles } from './write_files.ts'

/** A task of a scenario: its plan. */
export const task = z.discriminatedUnion('task', [
  readFiles,
  writeFiles,
  deleteFiles,
  processes,
  layout,
  map,
  unmap,
  pageout,
  request,
  balloonTask,
  zsCompactTask,
  graphicsTask,
  kernelTask,
  compact,
  dropCaches,
  wait,
  stop,
  set,
])
