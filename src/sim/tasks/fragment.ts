/**
 * `fragment`: maps anonymous memory and unmaps a part of it, page by page, so that what is left stands in the way of
 * large blocks. What is left stays mapped.
 *
 * @ours
 */

import * as z from 'zod'
import { vpnOf } from '../../base/units.ts'
import { FAULT_OOM, faultAnon, type Vpn } from '../../mm/index.ts'
import { ptePfn, zapPte } from '../../mm/rmap.ts'
import { DONE } from '../activity.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { pages, share } from '../quantities.ts'
import { ptesFor } from '../world.ts'

const FRAGMENT = 'fragment'
const AT_ONCE = 64

export const fragment = z
  .strictObject({
    task: z.literal(FRAGMENT),
    ...TASK_FIELDS,
    size: pages.meta({ description: 'mapped first' }),
    free: z
      .union([
        z.enum(['odd', 'even']).meta({ description: 'page frames with odd or even numbers' }),
        share.meta({ description: 'so many of the pages, at random' }),
      ])
      .meta({ description: 'what is unmapped again' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(FRAGMENT, task),
      needs: { ptes: ptesFor(task.size) },
      start: (world, cpu, prng, name) => {
        const { mm } = world
        const start = world.reservePtes(task.size)
        const region = { start, end: vpnOf(start + task.size), advice: 'nohugepage' } as const
        let at = 0
        const goes = (vpn: Vpn): boolean => {
          if (typeof task.free === 'number') return prng.next() < task.free * 0x1_0000_0000
          return ptePfn(mm.pte[vpn]) % 2 === (task.free === 'odd' ? 1 : 0)
        }
        const map = (vpn: Vpn): void => {
          world.charge('fault')
          if (faultAnon(cpu, mm, vpn, 0, region) === FAULT_OOM) world.add(`${name}.failed`, 1)
          else world.charge('zero')
        }
        const unmap = (vpn: Vpn): void => {
          if (mm.pte[vpn] === 0 || !goes(vpn)) return
          zapPte(cpu, mm, vpn)
          world.charge('free')
          world.add(`${name}.freed`, 1)
        }
        return {
          step(): number {
            const upTo = Math.min(at + AT_ONCE, 2 * task.size)
            for (; at < upTo; at++) {
              if (at < task.size) map(vpnOf(start + at))
              else unmap(vpnOf(start + at - task.size))
              world.pageEvents++
            }
            return at === 2 * task.size ? DONE : 0
          },
        }
      },
    }),
  )
