/**
 * Figures over simulated time: one row every so often, one column a figure.
 *
 * @ours
 */

import { VM_EVENT_NAMES, type VmEventName } from '../mm/vmstat.ts'
import { figuresOf, freeBlocksByOrder } from './metrics.ts'
import type { World } from './world.ts'

/** Counters that are shown over time; cumulative. */
const EVENTS: readonly VmEventName[] = [
  'pgmigrate_success',
  'pgmigrate_fail',
  'compact_stall',
  'compact_success',
  'pgscan_kswapd',
  'pgscan_direct',
  'pgsteal_kswapd',
  'pgsteal_direct',
  'pswpout',
  'pswpin',
  'thp_fault_alloc',
  'thp_fault_fallback',
]

export class Series {
  /** Values by column; all of one length. */
  readonly columns: ReadonlyMap<string, number[]>
  private readonly world: World
  private readonly every: number
  private nextAt = 0

  constructor(world: World, every: number) {
    this.world = world
    this.every = every
    const names = ['ns', 'free_pages', ...Array.from({ length: 11 }, (_, order) => `free_order${order}`)]
    const all = [...names, ...EVENTS, ...Object.keys(figuresOf(world))]
    this.columns = new Map(all.map((name) => [name, []]))
  }

  /** Adds a row if it is time for one. */
  sampleDue(): void {
    if (this.world.now < this.nextAt) return
    this.sampleNow()
    this.nextAt = (Math.floor(this.world.now / this.every) + 1) * this.every
  }

  /** Adds a row. */
  sampleNow(): void {
    const { world } = this
    const free = freeBlocksByOrder(world)
    const freePages = free.reduce((sum, blocks, order) => sum + blocks * 2 ** order, 0)
    const events = EVENTS.map((name) => world.mm.events[VM_EVENT_NAMES.indexOf(name)])
    const row = [world.now, freePages, ...free, ...events, ...Object.values(figuresOf(world))]
    let column = 0
    for (const values of this.columns.values()) values.push(row[column++])
  }
}
