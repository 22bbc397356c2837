/**
 * `request`: asks for blocks of an order, as a driver, a fork or the hugetlb pool does, and says how many it got, how
 * long they took, and when the first failed.
 *
 *   | `of`      | gfp                                                                     |
 *   |-----------|-------------------------------------------------------------------------|
 *   | `kernel`  | GFP_KERNEL: unmovable; order 2 is a fork's stack, order 3 a driver's     |
 *   | `atomic`  | GFP_ATOMIC: cannot wait                                                 |
 *   | `user`    | GFP_HIGHUSER_MOVABLE                                                    |
 *   | `thp`     | GFP_TRANSHUGE with __GFP_NORETRY: a fault that may reclaim and compact   |
 *   | `hugetlb` | as the pool asks: __GFP_RETRY_MAYFAIL                                   |
 *
 * @ours
 */

import * as z from 'zod'
import { type Pfn, pfnOf } from '../../base/units.ts'
import { htlbGfpMask } from '../../mm/hugetlb.ts'
import {
  __GFP_COMP,
  __GFP_NORETRY,
  allocPages,
  GFP_ATOMIC,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_TRANSHUGE,
  putPage,
} from '../../mm/index.ts'
import { DONE } from '../activity.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { count, duration } from '../quantities.ts'

const REQUEST = 'request'

const GFP = {
  kernel: GFP_KERNEL | __GFP_COMP,
  atomic: GFP_ATOMIC | __GFP_COMP,
  user: GFP_HIGHUSER_MOVABLE | __GFP_COMP,
  thp: GFP_TRANSHUGE | __GFP_NORETRY,
  hugetlb: htlbGfpMask(true),
} as const

export const request = z
  .strictObject({
    task: z.literal(REQUEST),
    ...TASK_FIELDS,
    order: count.max(10),
    of: z.enum(['kernel', 'atomic', 'user', 'thp', 'hugetlb']),
    times: count.min(1).default(1).meta({ description: 'requests; in the background: endless' }),
    every: duration.default(0).meta({ description: 'time between two' }),
    keep: z
      .union([z.boolean(), z.literal('phase')])
      .default(true)
      .meta({ description: 'false: what it gets is freed at once; phase: when the phase ends' }),
    stop: z.boolean().default(false).meta({ description: 'ends with the first that fails' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(REQUEST, task),
      needs: {},
      start: (world, cpu, _prng, name) => {
        const held: Pfn[] = []
        let made = 0
        if (task.keep === 'phase') {
          world.atPhaseEnd(() => {
            for (const pfn of held.splice(0)) putPage(cpu, world.mm, pfn)
          })
        }
        return {
          step(): number {
            const before = world.spent()
            const got = allocPages(cpu, world.mm, GFP[task.of], task.order, 0)
            world.charge('alloc')
            world.histogram(`${name}.ns`).add(world.spent() - before)
            world.pageEvents += 1 << task.order
            world.add(`${name}.${got < 0 ? 'failed' : 'got'}`, 1)
            if (got < 0) world.first(`${name}.failed_first_ns`, world.now)
            else if (task.keep !== false) held.push(pfnOf(got))
            else putPage(cpu, world.mm, pfnOf(got))
            made++
            const over = (!task.background && made >= task.times) || (task.stop && got < 0)
            return over ? DONE : task.every
          },
        }
      },
    }),
  )
