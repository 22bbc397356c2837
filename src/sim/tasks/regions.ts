/**
 * Anonymous memory by name:
 *   map      maps and touches it, page by page or in huge pages
 *   pageout  pushes a part of it out to a device (MADV_PAGEOUT to a swap that lies on zram)
 *   unmap    unmaps a part of it: so memory is fragmented; what was pushed out is forgotten by its device
 *
 * `of` a region they take: `all`, what is `present` (not pushed out), page frames with `odd` or `even` numbers, or a share of
 * its pages at random.
 *
 * @ours
 */

import * as z from 'zod'
import type { FastCpu } from '../../base/cpu.ts'
import type { Prng } from '../../base/prng.ts'
import { type Vpn, vpnOf } from '../../base/units.ts'
import { FAULT_OOM, faultAnon } from '../../mm/index.ts'
import { isPresentPte, ptePfn, zapPte } from '../../mm/rmap.ts'
import { type Activity, DONE } from '../activity.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { pages, share } from '../quantities.ts'
import { ptesFor, type Region, type World } from '../world.ts'

const AT_ONCE = 64

const which = z
  .union([z.enum(['all', 'present', 'odd', 'even']), share])
  .meta({ description: 'all, present, odd or even page frames, or a share at random' })
type Which = z.output<typeof which>

const MAP = 'map'
export const map = z
  .strictObject({
    task: z.literal(MAP),
    ...TASK_FIELDS,
    name: z.string().meta({ description: 'the region' }),
    copies: z.literal(1).default(1),
    size: pages,
    advice: z.enum(['hugepage', 'nohugepage']).default('nohugepage'),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(MAP, task),
      maps: task.name,
      needs: { ptes: ptesFor(task.size) },
      start: (world, cpu, _prng, name) => {
        const start = world.reservePtes(task.size)
        world.regions.set(name, { start, pages: task.size, out: new Map() })
        const region = { start, end: vpnOf(start + task.size), advice: task.advice }
        const touch = (vpn: Vpn): void => {
          if (world.mm.pte[vpn] !== 0) return
          const order = faultAnon(cpu, world.mm, vpn, 0, region)
          world.charge('fault')
          if (order === FAULT_OOM) world.add(`${name}.failed`, 1)
          else world.charge('zero', 1 << order)
        }
        return overPages(world, start, task.size, touch)
      },
    }),
  )

const UNMAP = 'unmap'
export const unmap = z
  .strictObject({ task: z.literal(UNMAP), ...TASK_FIELDS, of: z.string(), pages: which.default('all') })
  .transform(
    (task): TaskPlan => ({
      ...planOf(UNMAP, task),
      region: task.of,
      needs: {},
      start: (world, cpu, prng, name) =>
        overRegion(world, task.of, (region, vpn) => {
          if (!isChosen(world, prng, task.pages, vpn)) return
          const out = region.out.get(vpn)
          if (out !== undefined) {
            out.device.discard(cpu, out.sector)
            region.out.delete(vpn)
          } else if (world.mm.pte[vpn] !== 0) {
            zapPte(cpu, world.mm, vpn)
            world.charge('free')
          } else return
          world.add(`${name}.pages`, 1)
        }),
    }),
  )

const PAGEOUT = 'pageout'
export const pageout = z
  .strictObject({
    task: z.literal(PAGEOUT),
    ...TASK_FIELDS,
    of: z.string(),
    pages: which.default('all'),
    to: z.string().optional().meta({ description: 'an owner that is a device; default: a disk' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(PAGEOUT, task),
      region: task.of,
      needs: {},
      ...(task.to !== undefined && { device: task.to }),
      start: (world, cpu, prng, name) => {
        const device = world.deviceOf(task.to)
        const store = (cpuNow: FastCpu, region: Region, vpn: Vpn): void => {
          const sector = device.reserve(1)
          if (!device.store(cpuNow, sector)) {
            world.add(`${name}.failed`, 1)
            return
          }
          zapPte(cpuNow, world.mm, vpn)
          region.out.set(vpn, { device, sector })
          world.add(`${name}.pages`, 1)
        }
        return overRegion(world, task.of, (region, vpn) => {
          if (isPresentPte(world.mm.pte[vpn]) && isChosen(world, prng, task.pages, vpn))
            store(cpu, region, vpn)
        })
      },
    }),
  )

function isChosen({ mm }: World, prng: Prng, choice: Which, vpn: Vpn): boolean {
  if (typeof choice === 'number') return prng.next() < choice * 0x1_0000_0000
  if (choice === 'all') return true
  if (!isPresentPte(mm.pte[vpn])) return false
  return choice === 'present' || ptePfn(mm.pte[vpn]) % 2 === (choice === 'odd' ? 1 : 0)
}

/** An activity that does something with each page of a region that was mapped before. */
function overRegion(world: World, name: string, visit: (region: Region, vpn: Vpn) => void): Activity {
  const region = world.regions.get(name)
  if (region === undefined) return { step: () => DONE }
  return overPages(world, region.start, region.pages, (vpn) => visit(region, vpn))
}

function overPages(world: World, start: Vpn, count: number, visit: (vpn: Vpn) => void): Activity {
  let at = 0
  return {
    step(): number {
      const upTo = Math.min(at + AT_ONCE, count)
      world.pageEvents += upTo - at
      for (; at < upTo; at++) visit(vpnOf(start + at))
      return at === count ? DONE : 0
    },
  }
}
