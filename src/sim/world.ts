/**
 * What a running scenario is: a machine, its owners, simulated time, and what was seen so far.
 *
 * Time goes on by what things cost (costs.ts). While an activity makes one step, its costs add up; when the step is
 * over, its cpu is busy for so long.
 *
 * Rules:
 *   - ptes, slots and cells are handed out once, in the order in which the scenario names who wants them, so that the
 *     same scenario has the same addresses;
 *   - what activities remember of the workload lies in them; what the machine is, in the arena.
 *
 * @ours
 */

import { assert } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { cpuIdOf, type MappingId, mappingIdOf, type Slot, slotOf, type Vpn, vpnOf } from '../base/units.ts'
import { type Mm, pageblock_nr_pages } from '../mm/index.ts'
import { MAPPING_FIRST_FILE } from '../mm/page.ts'
import type { Costs, Work } from './costs.ts'
import { Histogram } from './histogram.ts'
import { type Device, DISK, type SimFile } from './page_cache.ts'

/** A page owner that runs in the scenario. */
export interface SimOwner {
  readonly kind: string
  /** Figures of it now: pages, bytes, … */
  readonly figures: () => Readonly<Record<string, number>>
  /** What holds files, if it is such a thing. */
  readonly device?: Device
}

/** Anonymous memory that a scenario has given a name. */
export interface Region {
  readonly start: Vpn
  readonly pages: number
  /** Pages that were pushed out: where they are. */
  readonly out: Map<Vpn, { readonly device: Device; readonly sector: number }>
}

export class World {
  readonly mm: Mm
  readonly cpus: readonly FastCpu[]
  readonly owners = new Map<string, SimOwner>()
  /** Nanoseconds since the scenario began: when the step that runs now began. */
  now = 0
  /** Page events so far: pages allocated, freed, faulted, read, stored. */
  pageEvents = 0
  /** Sums by name: what tasks say of themselves. */
  readonly results = new Map<string, number>()
  readonly regions = new Map<string, Region>()
  /** Names of tasks that are to be stopped before anybody's next step. */
  readonly stopping = new Set<string>()
  readonly histograms = new Map<string, Histogram>()
  private readonly files = new Map<string, SimFile[]>()
  private readonly endings: (() => void)[] = []
  private readonly costs: Costs
  private charged = 0
  private counted = 0
  private nextVpn = 1
  private nextSlot = 1
  private nextMapping = MAPPING_FIRST_FILE

  constructor(mm: Mm, costs: Costs) {
    this.mm = mm
    this.costs = costs
    this.cpus = Array.from({ length: mm.cpus }, (_, id) => new FastCpu(undefined, cpuIdOf(id)))
    this.counted = costs.total(mm.events)
  }

  /** Adds the cost of what no counter shows. */
  charge(work: Work, times = 1): void {
    this.charged += this.costs.of(work, times)
  }

  /** What the step that runs has cost so far, in nanoseconds. */
  spent(): number {
    return this.charged + this.costs.total(this.mm.events) - this.counted
  }

  /** The same, and begins anew. */
  takeSpent(): number {
    const total = this.costs.total(this.mm.events)
    const ns = this.charged + total - this.counted
    this.charged = 0
    this.counted = total
    return ns
  }

  /** Adds to a sum. */
  add(name: string, value: number): void {
    this.results.set(name, (this.results.get(name) ?? 0) + value)
  }

  /** Sets a result if there is none of that name. */
  first(name: string, value: number): void {
    if (!this.results.has(name)) this.results.set(name, value)
  }

  /** The histogram of that name. */
  histogram(name: string): Histogram {
    const found = this.histograms.get(name) ?? new Histogram()
    this.histograms.set(name, found)
    return found
  }

  /** The files that the task of that name has written, in the order in which they were begun. */
  filesOf(task: string): SimFile[] {
    const found = this.files.get(task) ?? []
    this.files.set(task, found)
    return found
  }

  /** The owner of that name, which is of a kind that `is` tells. Reading the scenario has made sure of both. */
  ownerOf<T extends SimOwner>(name: string, is: (owner: SimOwner) => owner is T): T {
    const owner = this.owners.get(name)
    assert(owner !== undefined && is(owner), 'sim: the task has an owner of its kind')
    return owner
  }

  /** An owner as a device for files; without a name, a disk. */
  deviceOf(owner: string | undefined): Device {
    if (owner === undefined) return DISK
    const device = this.owners.get(owner)?.device
    assert(device !== undefined, 'sim: the owner is a device')
    return device
  }

  /** Lets something happen at the end of the phase. */
  atPhaseEnd(what: () => void): void {
    this.endings.push(what)
  }

  /** What was to happen at the end of the phase happens. */
  endPhase(): void {
    for (const what of this.endings.splice(0)) what()
  }

  /** A stretch of empty ptes that begins at a huge page's boundary. */
  reservePtes(pages: number): Vpn {
    const start = Math.ceil(this.nextVpn / pageblock_nr_pages) * pageblock_nr_pages
    this.nextVpn = start + pages
    assert(this.nextVpn <= this.mm.pte.length, 'sim: the machine has ptes for all tasks')
    return vpnOf(start)
  }

  /** Slots of one file. */
  reserveSlots(pages: number): Slot {
    const slot = slotOf(this.nextSlot)
    this.nextSlot += pages
    assert(this.nextSlot <= this.mm.swapStart, 'sim: the machine has slots for all files')
    return slot
  }

  /** An address space of its own. */
  reserveMapping(): MappingId {
    const id = mappingIdOf(this.nextMapping++)
    assert(id < this.mm.mappingFlags.length, 'sim: the machine has address spaces for all files')
    return id
  }
}

/** Ptes that reservePtes() may take for so many pages. */
export const ptesFor = (pages: number): number => pages + pageblock_nr_pages
