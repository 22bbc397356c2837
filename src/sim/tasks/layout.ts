/**
 * `layout`: memory as somebody else has seen it: so many free blocks of each order, anywhere, and between them pages in
 * use. Before anything else runs.
 *
 * Free blocks lie where there is room for them, at random, and none beside a free buddy of its size: so that buddyinfo
 * says exactly what is asked for. Of the pages in use some are a driver's (`pool`), some the kernel's, which cannot move;
 * the others are anonymous and mapped.
 *
 * @ours
 */

import * as z from 'zod'
import type { FastCpu } from '../../base/cpu.ts'
import type { Prng } from '../../base/prng.ts'
import { type Pfn, pfnOf, vpnOf, type ZoneId, zoneIdOf } from '../../base/units.ts'
import { MIGRATE_MOVABLE, NR_PAGE_ORDERS, PG_swapbacked, PG_uptodate } from '../../mm/limits.ts'
import { folioAddLru } from '../../mm/lru.ts'
import { ANON_MAPPING, type Mm } from '../../mm/page.ts'
import { allocFromZone, putPage } from '../../mm/page_alloc.ts'
import { drainAllPages } from '../../mm/pcp.ts'
import { mapPage } from '../../mm/rmap.ts'
import { DONE } from '../activity.ts'
import { isPool } from '../owners/pool.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { count, share } from '../quantities.ts'
import { ptesFor, type World } from '../world.ts'

const LAYOUT = 'layout'

export const layout = z
  .strictObject({
    task: z.literal(LAYOUT),
    ...TASK_FIELDS,
    owner: z.string().meta({ description: 'the pool whose pages lie about' }),
    free_blocks: z
      .array(count)
      .length(NR_PAGE_ORDERS)
      .meta({ description: 'as in buddyinfo, orders 0 to 10' }),
    pool: share.meta({ description: 'of the pages in use, the pool’s' }),
    kernel: share.meta({ description: 'of the pages in use, the kernel’s' }),
    pages: count.min(1).meta({ description: 'of the machine: how many ptes it needs at most' }),
  })
  .refine((task) => task.pool + task.kernel <= 1, { error: 'pool and kernel are more than all' })
  .transform(
    (task): TaskPlan => ({
      ...planOf(LAYOUT, task),
      owner: { name: task.owner, kind: 'pool' },
      needs: { ptes: ptesFor(task.pages) },
      start: (world, cpu, prng, name) => ({
        step(): number {
          const owner = world.ownerOf(task.owner, isPool)
          const machine = takeAll(world, cpu)
          const isFree = chooseFree(machine, task.free_blocks, prng)
          world.add(`${name}.unplaced`, isFree.unplaced)
          const next = world.reservePtes(machine.length)
          machine.forEach((pfn, i) => {
            if (isFree.pages[i] === 1) putPage(cpu, world.mm, pfn)
            else {
              const kind = prng.next() / 0x1_0000_0000
              if (kind < task.pool) owner.insert(cpu, pfn)
              else if (kind >= task.pool + task.kernel) mapAnon(world, cpu, pfn, vpnOf(next + i))
            }
          })
          drainAllPages(cpu, world.mm)
          return DONE
        },
      }),
    }),
  )

/** Every page of the machine, lowest first: allocated one by one, as if there were no watermarks. */
function takeAll({ mm }: World, cpu: FastCpu): Pfn[] {
  const taken: Pfn[] = []
  for (let at = 0; at < mm.zones; at++) {
    const zone = zoneIdOf(at)
    const { min, low, high } = mm.zoneSpecs[zone]
    setWatermarks(mm, zone, 0, 0, 0)
    for (let pfn = 0; pfn >= 0; ) {
      pfn = allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE)
      if (pfn < 0) {
        drainAllPages(cpu, mm) // the last ones are on a per-cpu list
        pfn = allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE)
      }
      if (pfn >= 0) taken.push(pfnOf(pfn))
    }
    setWatermarks(mm, zone, min, low, high)
  }
  return taken.toSorted((a, b) => a - b)
}

function setWatermarks(mm: Mm, zone: ZoneId, min: number, low: number, high: number): void {
  mm.wmarkMin[zone] = min
  mm.wmarkLow[zone] = low
  mm.wmarkHigh[zone] = high
}

const UNDECIDED = 0
const FREE = 1
const IN_USE = 2
/** How often a place is looked for before the block is left out. */
const TRIES = 64

/**
 * Which of these pages are free: `pages` by place, 1 for free. The largest blocks are placed first; each makes sure that
 * its buddy has a page in use.
 */
function chooseFree(
  machine: readonly Pfn[],
  blocks: readonly number[],
  prng: Prng,
): { pages: Uint8Array; unplaced: number } {
  const first = machine[0]
  const pages = new Uint8Array(machine.length)
  const whole = (from: number, size: number, state: number): boolean => {
    for (let i = from; i < from + size; i++) if (pages[i] !== state) return false
    return true
  }
  let unplaced = 0
  for (let order = NR_PAGE_ORDERS - 1; order >= 0; order--) {
    const size = 1 << order
    const slots = Math.floor(machine.length / size)
    for (let block = 0; block < blocks[order]; block++) {
      let at = -1
      for (let tries = 0; tries < TRIES && at < 0; tries++) {
        const from = prng.below(slots) * size
        const buddy = ((first + from) ^ size) - first
        const merges = buddy < 0 || buddy + size > pages.length || whole(buddy, size, FREE)
        if (!merges && whole(from, size, UNDECIDED)) at = from
      }
      if (at < 0) {
        unplaced++
        continue
      }
      pages.fill(FREE, at, at + size)
      const buddy = ((first + at) ^ size) - first
      const keeps = pages.subarray(buddy, buddy + size)
      if (!keeps.includes(IN_USE)) keeps[keeps.indexOf(UNDECIDED)] = IN_USE
    }
  }
  return { pages, unplaced }
}

function mapAnon({ mm }: World, cpu: FastCpu, pfn: Pfn, vpn: ReturnType<typeof vpnOf>): void {
  cpu.testSet(mm.flags, pfn, PG_uptodate | PG_swapbacked)
  cpu.store(mm.mapping, pfn, ANON_MAPPING)
  mapPage(cpu, mm, vpn, pfn)
  folioAddLru(cpu, mm, pfn)
  putPage(cpu, mm, pfn)
}
