/**
 * `write-files`: writes a file from its beginning to its end, as dd does; with `copies` several side by side. The page
 * cache gets dirty, and what is oldest is written back: to a disk, or to an owner that is a device (zram).
 * `delete-files`: deletes some of the files that such a task has written, and trims the device.
 *
 * @ours
 */

import * as z from 'zod'
import { DONE } from '../activity.ts'
import { SimFile } from '../page_cache.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { count, pages, rate, SECOND } from '../quantities.ts'

const WRITE_FILES = 'write-files'
const DELETE_FILES = 'delete-files'
/** Pages that one step writes or deletes at most. */
const AT_ONCE = 32

export const writeFiles = z
  .strictObject({
    task: z.literal(WRITE_FILES),
    ...TASK_FIELDS,
    size: pages.meta({ description: 'of each file; each copy writes one' }),
    to: z.string().optional().meta({ description: 'an owner that is a device; default: a disk' }),
    dirty: pages.default(1024).meta({ description: 'at most so much of a file is dirty; default 4MiB' }),
    pace: rate.optional().meta({ description: 'pages a second at most' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(WRITE_FILES, task),
      needs: { slots: task.size, mappings: 1 },
      ...(task.to !== undefined && { device: task.to }),
      start: (world, cpu, _prng, name) => {
        const file = new SimFile(world, task.size, world.deviceOf(task.to))
        world.filesOf(name).push(file)
        let at = 0
        return {
          step(): number {
            const upTo = Math.min(at + AT_ONCE, task.size)
            for (; at < upTo; at++) {
              world.pageEvents++
              world.add(`${name}.${file.write(cpu, at) ? 'pages' : 'failed'}`, 1)
            }
            const over = at === task.size
            const most = over ? file.dirtyPages : Math.max(0, file.dirtyPages - task.dirty)
            const unwritten = file.writeBack(cpu, most)
            if (unwritten > 0) world.add(`${name}.lost`, unwritten)
            if (over) return DONE
            return task.pace === undefined ? 0 : (AT_ONCE * SECOND) / task.pace
          },
        }
      },
    }),
  )

export const deleteFiles = z
  .strictObject({
    task: z.literal(DELETE_FILES),
    ...TASK_FIELDS,
    of: z.string().meta({ description: 'name of the write-files task' }),
    files: z
      .union([z.enum(['odd', 'even', 'all']), z.array(count.min(1)).min(1)])
      .meta({ description: 'which, by number from 1' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(DELETE_FILES, task),
      needs: {},
      start: (world, cpu, _prng, name) => {
        const chosen = world.filesOf(task.of).filter((_, i) => isChosen(task.files, i + 1))
        let file = 0
        let at = 0
        return {
          step(): number {
            if (file === chosen.length) return DONE
            const upTo = Math.min(at + AT_ONCE, chosen[file].pages)
            world.pageEvents += upTo - at
            world.add(`${name}.cached`, chosen[file].truncate(cpu, at, upTo))
            at = upTo
            if (at === chosen[file].pages) {
              file++
              at = 0
            }
            return file === chosen.length ? DONE : 0
          },
        }
      },
    }),
  )

const isChosen = (which: 'odd' | 'even' | 'all' | readonly number[], number: number): boolean => {
  if (typeof which !== 'string') return which.includes(number)
  return which === 'all' || (number % 2 === 1) === (which === 'odd')
}
