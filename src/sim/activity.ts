/**
 * Who does something in a scenario, and when: activities take turns by simulated time, each on its cpu.
 *
 * An activity makes one step at a time. What the step costs, its cpu is busy; after that the activity waits as long as
 * it says. kswapd and kcompactd of each node are always there: they run as soon as they are woken, on a cpu of their
 * own, and are not to be had until they are done.
 *
 * Rules:
 *   - whoever may run first runs first; of two on one cpu the one that has waited longer, so that nobody starves;
 *   - a step is one call of the engine, or a few: what others do in between, they do between steps.
 *
 * Not here: preemption, interrupts, and two tasks that wait for one lock.
 *
 * @ours
 */

import { nidOf } from '../base/units.ts'
import { kcompactd, kswapd } from '../mm/index.ts'
import type { World } from './world.ts'

/** What a step answers when there is nothing left to do. Otherwise it is for how many ns the activity waits. */
export const DONE = -1

export interface Activity {
  /** Does one piece of work. DONE, or how long it waits after it, in nanoseconds. */
  step(): number
  /** It is stopped: gives back what it has. */
  end?(): void
}

interface Entry {
  readonly activity: Activity
  readonly name: string
  readonly cpu: number
  readonly background: boolean
  readyAt: number
}

/** How often kcompactd looks whether memory is fragmented. @kernel HPAGE_FRAG_CHECK_INTERVAL_MSEC */
const FRAG_CHECK_INTERVAL = 500e6

export class Schedule {
  private readonly world: World
  private entries: Entry[] = []
  private readonly cpuFree: Float64Array
  private readonly kswapdFree: Float64Array
  private readonly kcompactdFree: Float64Array
  private nextLook = FRAG_CHECK_INTERVAL

  constructor(world: World) {
    this.world = world
    this.cpuFree = new Float64Array(world.cpus.length)
    this.kswapdFree = new Float64Array(world.mm.nodes)
    this.kcompactdFree = new Float64Array(world.mm.nodes)
  }

  /** Adds an activity that begins `after` nanoseconds from now. A background one goes on until the scenario ends. */
  start(activity: Activity, name: string, cpu: number, after: number, background: boolean): void {
    this.entries.push({ activity, name, cpu, background, readyAt: this.world.now + after })
  }

  /**
   * Lets activities run until those in the foreground are done, or it is `until` (nanoseconds). Calls `onTime` whenever
   * time has gone on.
   */
  run(until: number, onTime: () => void): void {
    const { world } = this
    for (;;) {
      // Ends: each step makes time go on, or ends an activity; a step that costs nothing and waits for nothing is a bug of its task.
      const next = this.nextEntry()
      if (next === undefined || !this.entries.some(({ background }) => !background)) break
      const at = Math.max(next.readyAt, this.cpuFree[next.cpu])
      if (at > until) break
      world.now = Math.max(world.now, at)
      this.lookAtFragmentation()
      onTime()
      const wait = next.activity.step()
      const cost = world.takeSpent()
      this.cpuFree[next.cpu] = world.now + cost
      next.readyAt = world.now + cost + Math.max(wait, 0)
      if (wait < 0) this.entries = this.entries.filter((entry) => entry !== next)
      this.runDaemons()
      this.stopThoseAsked()
    }
    const end = until === Number.POSITIVE_INFINITY ? Math.max(world.now, ...this.cpuFree) : until
    this.entries = this.entries.filter(({ background }) => background)
    world.now = Math.max(world.now, end)
    this.lookAtFragmentation()
    onTime()
  }

  private stopThoseAsked(): void {
    const { stopping } = this.world
    if (stopping.size === 0) return
    for (const { name, activity } of this.entries) if (stopping.has(name)) activity.end?.()
    this.entries = this.entries.filter(({ name }) => !stopping.has(name))
    stopping.clear()
    this.world.takeSpent() // whoever is stopped has no cpu any more
  }

  private nextEntry(): Entry | undefined {
    let best: Entry | undefined
    let bestAt = Number.POSITIVE_INFINITY
    for (const entry of this.entries) {
      const at = Math.max(entry.readyAt, this.cpuFree[entry.cpu])
      if (best === undefined || at < bestAt || (at === bestAt && entry.readyAt < best.readyAt)) {
        best = entry
        bestAt = at
      }
    }
    return best
  }

  private runDaemons(): void {
    const { world } = this
    const { mm } = world
    for (let node = 0; node < mm.nodes; node++) {
      const nid = nidOf(node)
      if (mm.kswapdRunning[nid] !== 0 && this.kswapdFree[node] <= world.now) {
        kswapd(world.cpus[0], mm, nid)
        this.kswapdFree[node] = world.now + world.takeSpent()
      }
      if (mm.kcompactdMaxOrder[nid] > 0 && this.kcompactdFree[node] <= world.now) this.runKcompactd(node)
    }
  }

  private lookAtFragmentation(): void {
    const { world } = this
    while (this.nextLook <= world.now) {
      // Bounded by the time that has gone on.
      this.nextLook += FRAG_CHECK_INTERVAL
      for (let node = 0; node < world.mm.nodes; node++) {
        if (this.kcompactdFree[node] <= world.now) this.runKcompactd(node)
      }
    }
  }

  private runKcompactd(node: number): void {
    const { world } = this
    kcompactd(world.cpus[0], world.mm, nidOf(node))
    this.kcompactdFree[node] = world.now + world.takeSpent()
  }
}
