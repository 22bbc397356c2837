/**
 * What a scenario reports: figures at the end of each phase, and those that its `metrics` name.
 *
 *   | metric                          | unit   | is                                                            |
 *   |---------------------------------|--------|---------------------------------------------------------------|
 *   | { free_share: 5, at: P }        | %      | free memory that lies in blocks of order 5 and above          |
 *   | { free_blocks: 9, at: P }       | blocks | how many blocks of the order the free ones hold               |
 *   | { free_pages: true, at: P }     | pages  | in the buddy lists                                            |
 *   | { event: pgmigrate_success }    | count  | a counter of /proc/vmstat, of all time or `over` a phase      |
 *   | { figure: zram0.pages, at: P }  |        | a figure of an owner                                          |
 *   | { result: huge.got }            |        | what a task said: at the end                                  |
 *   | { success: huge }               | %      | requests of a task that got what they wanted                  |
 *   | { quantile: 0.99, of: huge.ns } | ns     | of a histogram                                                |
 *
 * @ours
 */

import * as z from 'zod'
import { MIGRATE_TYPES, NR_PAGE_ORDERS } from '../mm/limits.ts'
import { VM_EVENT_NAMES } from '../mm/vmstat.ts'
import type { World } from './world.ts'

const phase = z.string().meta({ description: 'name of a phase: at its end' })
const order = z.int().min(0).max(10)
const event = z.enum(VM_EVENT_NAMES)

/** A metric as it is written. */
export const metric = z.union([
  z.strictObject({ free_share: order, at: phase }),
  z.strictObject({ free_blocks: order, at: phase }),
  z.strictObject({ free_pages: z.literal(true), at: phase }),
  z.strictObject({ event, over: phase.optional() }),
  z.strictObject({ figure: z.string(), at: phase }),
  z.strictObject({ result: z.string() }),
  z.strictObject({ success: z.string() }),
  z.strictObject({ quantile: z.number().min(0).max(1), of: z.string() }),
])
export type Metric = z.output<typeof metric>

/** The state at one moment. */
export interface Snapshot {
  readonly phase: string
  readonly ns: number
  /** Free blocks in the buddy lists by order, of all zones: buddyinfo. */
  readonly freeBlocks: readonly number[]
  readonly freePages: number
  /** Counters of /proc/vmstat, in the order of VM_EVENT_NAMES. */
  readonly events: Int32Array
  /** Figures of the owners, `owner.figure`. */
  readonly figures: Readonly<Record<string, number>>
}

/** Free blocks of all zones by order, as buddyinfo counts them. */
export function freeBlocksByOrder({ mm }: World): number[] {
  const blocks = new Array<number>(NR_PAGE_ORDERS).fill(0)
  for (let at = 0; at < mm.nrFreeBlocks.length; at++) {
    blocks[Math.floor(at / MIGRATE_TYPES) % NR_PAGE_ORDERS] += mm.nrFreeBlocks[at]
  }
  return blocks
}

/** The state now, as the end of a phase. */
export function snapshotOf(world: World, phaseName: string): Snapshot {
  const freeBlocks = freeBlocksByOrder(world)
  return {
    phase: phaseName,
    ns: world.now,
    freeBlocks,
    freePages: freeBlocks.reduce((sum, blocks, at) => sum + blocks * 2 ** at, 0),
    events: world.mm.events.slice(),
    figures: figuresOf(world),
  }
}

/** Figures of all owners. */
export function figuresOf({ owners }: World): Record<string, number> {
  const figures: Record<string, number> = {}
  for (const [name, owner] of owners) {
    for (const [figure, value] of Object.entries(owner.figures())) figures[`${name}.${figure}`] = value
  }
  return figures
}

/** Free pages that lie in blocks of an order and above. */
const pagesFrom = (blocks: readonly number[], from: number): number =>
  blocks.reduce((sum, n, at) => (at < from ? sum : sum + n * 2 ** at), 0)

/** Its value; undefined: what it is of has not happened. */
export function valueOf(of: Metric, world: World, snapshots: readonly Snapshot[]): number | undefined {
  const at = 'at' in of ? snapshots.find(({ phase: name }) => name === of.at) : undefined
  if ('free_share' in of) {
    return at && at.freePages > 0 ? (100 * pagesFrom(at.freeBlocks, of.free_share)) / at.freePages : undefined
  }
  if ('free_blocks' in of) return at && pagesFrom(at.freeBlocks, of.free_blocks) / 2 ** of.free_blocks
  if ('free_pages' in of) return at?.freePages
  if ('figure' in of) return at?.figures[of.figure]
  if ('event' in of) return eventsOver(VM_EVENT_NAMES.indexOf(of.event), of.over, snapshots)
  if ('result' in of) return world.results.get(of.result)
  if ('success' in of) {
    const got = world.results.get(`${of.success}.got`) ?? 0
    const asked = got + (world.results.get(`${of.success}.failed`) ?? 0)
    return asked === 0 ? undefined : (100 * got) / asked
  }
  return world.histograms.get(of.of)?.quantile(of.quantile)
}

function eventsOver(
  index: number,
  over: string | undefined,
  snapshots: readonly Snapshot[],
): number | undefined {
  if (over === undefined) return snapshots.at(-1)?.events[index]
  const end = snapshots.findIndex(({ phase: name }) => name === over)
  if (end < 0) return undefined
  return snapshots[end].events[index] - (end === 0 ? 0 : snapshots[end - 1].events[index])
}
