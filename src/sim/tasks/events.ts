/**
 * Tasks that are one event: somebody writes to a file of /proc, or waits.
 *
 *   compact      writes 1 to /proc/sys/vm/compact_memory
 *   drop-caches  writes 1 to /proc/sys/vm/drop_caches
 *   wait         does nothing for a while
 *   set          changes a setting of /proc/sys/vm
 *   stop         ends background tasks: processes exit, others just go
 *
 * @ours
 */

import * as z from 'zod'
import { nidOf, pfnOf, slotOf } from '../../base/units.ts'
import { filemapGetFolio, filemapRemoveFolio } from '../../mm/filemap.ts'
import { compactNode, putPage, SYSCTL_DEFAULTS } from '../../mm/index.ts'
import { DONE } from '../activity.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { count, duration } from '../quantities.ts'
import type { World } from '../world.ts'

/** Repeats an event. */
const TIMES = {
  times: count.min(1).default(1),
  every: duration.default(0).meta({ description: 'time between two' }),
}

/** A plan that does `once` so many times. */
const repeated = (
  task: Parameters<typeof planOf>[1] & { times: number; every: number },
  kind: string,
  once: (world: World, cpu: World['cpus'][number]) => void,
): TaskPlan => ({
  ...planOf(kind, task),
  needs: {},
  start: (world, cpu) => {
    let done = 0
    return {
      step: () => {
        once(world, cpu)
        return ++done === task.times && !task.background ? DONE : task.every
      },
    }
  },
})

export const compact = z
  .strictObject({ task: z.literal('compact'), ...TASK_FIELDS, ...TIMES })
  .transform((task) =>
    repeated(task, 'compact', (world, cpu) => {
      for (let node = 0; node < world.mm.nodes; node++) compactNode(cpu, world.mm, nidOf(node))
    }),
  )

export const dropCaches = z
  .strictObject({ task: z.literal('drop-caches'), ...TASK_FIELDS, ...TIMES })
  .transform((task) =>
    repeated(task, 'drop-caches', (world, cpu) => {
      const { mm } = world
      for (let slot = 1; slot < mm.swapStart; slot++) {
        if (mm.cache[slotOf(slot)] === 0) continue
        const found = filemapGetFolio(cpu, mm, slotOf(slot))
        if (found < 0) continue
        const pfn = pfnOf(found)
        if (mm.mapcount[pfn] === 0 && filemapRemoveFolio(cpu, mm, pfn)) {
          world.add('drop-caches.pages', 1)
          world.charge('free')
        }
        putPage(cpu, mm, pfn)
      }
    }),
  )

export const wait = z.strictObject({ task: z.literal('wait'), ...TASK_FIELDS, for: duration }).transform(
  (task): TaskPlan => ({
    ...planOf('wait', task),
    needs: {},
    start: () => {
      let waited = false
      return {
        step: () => {
          if (waited) return DONE
          waited = true
          return task.for
        },
      }
    },
  }),
)

export const stop = z
  .strictObject({ task: z.literal('stop'), ...TASK_FIELDS, tasks: z.array(z.string()).min(1) })
  .transform(
    (task): TaskPlan => ({
      ...planOf('stop', task),
      needs: {},
      start: (world) => ({
        step: () => {
          for (const name of task.tasks) world.stopping.add(name)
          return DONE
        },
      }),
    }),
  )

const SETTINGS = Object.keys(SYSCTL_DEFAULTS)

export const set = z
  .strictObject({
    task: z.literal('set'),
    ...TASK_FIELDS,
    sysctl: z.record(
      z.string().refine((name) => SETTINGS.includes(name), { error: 'no such setting' }),
      z.int(),
    ),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf('set', task),
      needs: {},
      start: (world) => ({
        step: () => {
          Object.assign(world.mm.sysctl, task.sysctl)
          return DONE
        },
      }),
    }),
  )
