/**
 * Source-DPOR with sleep sets: one schedule at least of every class of equivalent ones, without storing states.
 *
 * Two schedules are equivalent if they differ only in the order of steps that do not conflict. While a schedule
 * is followed, each pair of conflicting steps that could have come the other way round (a race) adds a task to
 * try at the earlier one's state. Where tasks collide on the same few words there are more classes than states,
 * so the exhaustive search is the main engine; this one shares nothing with its packing, hashing and persistent
 * sets, and is an oracle for them: same ends, same verdict.
 *
 * Not here: interrupts, which are refused; loops (a schedule that comes back to a state is followed on until `stepsMax`); invariants hold only as
 * far as the schedules that are followed show.
 *
 * @paper Abdulla, Aronsson, Jonsson, Sagonas, Optimal Dynamic Partial Order Reduction, POPL 2014 (source sets)
 */

import type { Learned, Violation } from '../learned.ts'
import type { Cell } from '../memory.ts'
import { isBlocked, isWrite, type Op } from '../op.ts'
import { Run, type Saved } from '../run.ts'
import { TaskError } from '../system.ts'
import type { Budget, Strategy, Tried } from './strategy.ts'

export const DPOR: Strategy = {
  name: 'dpor',
  says: 'one schedule of every class of equivalent ones, states not stored',
  search: (learned, budget) => dpor(learned, budget, () => {}),
}

/** Cells that a step may touch. */
interface Footprint {
  readonly reads: ReadonlySet<Cell>
  readonly writes: ReadonlySet<Cell>
}

/** One step of the schedule that is being followed, and what else is to be tried in its place. */
interface Frame {
  /** The state before the step. */
  readonly state: Saved
  readonly enabled: number
  /** Tasks still to be tried here, tried, and asleep, as bits. */
  backtrack: number
  done: number
  sleep: number
  // The step that is taken now.
  instance: number
  op: Op | undefined
  footprint: Footprint
  /** For each task, the number of steps of the schedule, up to its last one that happens before this. */
  clock: Int32Array
}

/** Source-DPOR; `onEnd` is called in each end in which every task has ended. */
export function dpor(learned: Learned, budget: Budget, onEnd: (run: Run) => void): Tried {
  if (learned.system.tasks.some(({ interrupts }) => interrupts !== undefined)) {
    throw new TaskError(learned.system.name, 'has interrupts, which dpor knows nothing of')
  }
  const search = new Search(learned, budget, onEnd)
  const found = search.run()
  const bounds = `${search.schedules} schedules, ${search.asleep} cut off${search.cutShort ? ', not all' : ''}`
  return { schedules: search.schedules, steps: search.steps, found, bounds }
}

class Search {
  schedules = 0
  steps = 0
  asleep = 0
  cutShort = false
  private readonly run_: Run
  private readonly budget: Budget
  private readonly onEnd: (run: Run) => void
  private readonly tasks: number
  private readonly frames: Frame[] = []
  private readonly footprints = new Map<Op, { size: number; footprint: Footprint }>()

  constructor(learned: Learned, budget: Budget, onEnd: (run: Run) => void) {
    this.run_ = new Run(learned)
    this.tasks = learned.instances.length
    this.budget = budget
    this.onEnd = onEnd
  }

  run(): Tried['found'] {
    const run = this.run_
    const atStart = run.brokenAtStart()
    if (atStart !== undefined) return this.found(atStart, [])
    const atOnce = this.enter(0)
    if (atOnce !== undefined) return this.found(atOnce, [])
    // Each round takes a step that was not taken at this place before, or leaves the place.
    for (let top = this.frames.at(-1); top !== undefined; top = this.frames.at(-1)) {
      const left = top.backtrack & ~top.done & ~top.sleep
      if (left === 0 || this.schedules >= this.budget.schedules) {
        if (left !== 0) this.cutShort = true
        this.leave()
        continue
      }
      const instance = lowest(left)
      run.restore(top.state)
      this.prepare(top, instance)
      top.done |= 1 << instance
      this.steps++
      const violation = run.step(instance)
      if (violation !== undefined) return this.found(violation, this.schedule())
      const broken = this.enter(this.sleepAfter(top))
      if (broken !== undefined) return this.found(broken, this.schedule())
    }
    return undefined
  }

  /** Arrives in the state of `run`. Gives what is wrong if it is an end. */
  private enter(sleep: number): Violation | undefined {
    const run = this.run_
    let enabled = 0
    for (const instance of run.enabled()) enabled |= 1 << instance
    if (enabled === 0) {
      this.schedules++
      for (let i = 0; i < this.tasks; i++) if (!run.hasEnded(i)) this.racesOf(i)
      if (run.allEnded) this.onEnd(run)
      return run.brokenAtEnd()
    }
    if ((enabled & ~sleep) === 0) {
      this.asleep++
      return undefined
    }
    if (this.frames.length >= this.budget.stepsMax) {
      this.cutShort = true
      return undefined
    }
    this.frames.push({
      state: run.save(),
      enabled,
      backtrack: 1 << lowest(enabled & ~sleep),
      done: 0,
      sleep,
      instance: -1,
      op: undefined,
      footprint: NOWHERE,
      clock: new Int32Array(this.tasks),
    })
    return undefined
  }

  /** Leaves a state for good: whoever was tried there sleeps in what is tried before it next. */
  private leave(): void {
    this.frames.pop()
    const above = this.frames.at(-1)
    if (above !== undefined) above.sleep |= 1 << above.instance
  }

  /** Finds the races of the step that `instance` takes now, and gives the frame its clock. */
  private prepare(frame: Frame, instance: number): void {
    frame.instance = -1 // not yet part of the schedule
    const op = this.nextOp(instance)
    this.racesOf(instance)
    frame.footprint = this.footprintOf(op)
    frame.clock = this.clockOf(instance, frame.footprint)
    frame.clock[instance] = this.frames.length
    frame.op = op
    frame.instance = instance
  }

  /** Union of the clocks of all earlier steps that the step depends on. */
  private clockOf(instance: number, footprint: Footprint): Int32Array {
    const clock = new Int32Array(this.tasks)
    for (const frame of this.taken()) {
      if (frame.instance !== instance && !conflict(frame.footprint, footprint)) continue
      for (let task = 0; task < this.tasks; task++) clock[task] = Math.max(clock[task], frame.clock[task])
    }
    return clock
  }

  /** Steps of the schedule, without the one that is being prepared. */
  private taken(): Frame[] {
    return this.frames.filter(({ instance }) => instance >= 0)
  }

  private racesOf(instance: number): void {
    this.run_.peek(instance)
    const op = this.nextOp(instance)
    if (op === undefined) return
    const footprint = this.footprintOf(op)
    const taken = this.taken()
    const clock = new Int32Array(this.tasks)
    for (const frame of taken) if (frame.instance === instance) clock.set(frame.clock)
    for (let at = taken.length - 1; at >= 0; at--) {
      const earlier = taken[at]
      if (earlier.instance === instance || !conflict(earlier.footprint, footprint)) continue
      if (clock[earlier.instance] > at) continue // it happens before by way of others
      // A step that made this one possible cannot come after it; what did so earlier may.
      if (isBlocked(op, earlier.state.values[op.cell] ?? this.run_.learned.memory.cells[op.cell].initial))
        continue
      this.addRace(taken, at, instance, footprint)
      for (let task = 0; task < this.tasks; task++) clock[task] = Math.max(clock[task], earlier.clock[task])
    }
  }

  /** Makes sure that something is tried at `at` that can lead to `instance` being first. */
  private addRace(taken: readonly Frame[], at: number, instance: number, footprint: Footprint): void {
    const frame = taken[at]
    let initials = 0
    const later: Frame[] = []
    for (let i = at + 1; i < taken.length; i++) {
      const step = taken[i]
      if (step.clock[frame.instance] > at) continue // it needs the earlier step
      const isFirst = later.every((before) => step.clock[before.instance] < indexIn(taken, before) + 1)
      if (isFirst && !later.some((before) => before.instance === step.instance))
        initials |= 1 << step.instance
      later.push(step)
    }
    const own = later.every(
      (before) => before.instance !== instance && !this.isNeeded(taken, before, instance, footprint),
    )
    if (own) initials |= 1 << instance
    initials &= frame.enabled
    if (initials === 0) frame.backtrack |= frame.enabled
    else if ((frame.backtrack & initials) === 0) {
      frame.backtrack |= (initials & (1 << instance)) === 0 ? 1 << lowest(initials) : 1 << instance
    }
  }

  /** True if the next step of `instance` happens after `before`. */
  private isNeeded(taken: readonly Frame[], before: Frame, instance: number, footprint: Footprint): boolean {
    if (conflict(before.footprint, footprint)) return true
    const last = taken.findLast((frame) => frame.instance === instance)
    return last !== undefined && last.clock[before.instance] >= indexIn(taken, before) + 1
  }

  /** Who sleeps after the step of `frame`: those that did, and do not conflict with it. */
  private sleepAfter(frame: Frame): number {
    const asleep = frame.sleep | (frame.done & ~(1 << frame.instance))
    let sleep = 0
    for (let i = 0; i < this.tasks; i++) {
      if ((asleep & (1 << i)) === 0 || i === frame.instance) continue
      const op = this.opAt(frame.state, i)
      if (op !== undefined && !conflict(this.footprintOf(op), frame.footprint)) sleep |= 1 << i
    }
    return sleep
  }

  private opAt(state: Saved, instance: number): Op | undefined {
    return state.nodes[instance].op
  }

  private nextOp(instance: number): Op | undefined {
    return this.run_.nodes[instance].op
  }

  private footprintOf(op: Op | undefined): Footprint {
    if (op === undefined) return NOWHERE
    const size = (op.section?.reads.size ?? 0) + (op.section?.writes.size ?? 0)
    const known = this.footprints.get(op)
    if (known !== undefined && known.size === size) return known.footprint
    const reads = new Set([op.cell, ...(op.section?.reads ?? [])])
    const writes = new Set([...(isWrite(op.kind) ? [op.cell] : []), ...(op.section?.writes ?? [])])
    const footprint = { reads, writes }
    this.footprints.set(op, { size, footprint })
    return footprint
  }

  private schedule(): number[] {
    return this.taken().map(({ instance }) => instance)
  }

  private found(violation: Violation, schedule: readonly number[]): Tried['found'] {
    return { violation, schedule }
  }
}

const NOWHERE: Footprint = { reads: new Set(), writes: new Set() }

const indexIn = (taken: readonly Frame[], frame: Frame): number => taken.indexOf(frame)

const lowest = (bits: number): number => 31 - Math.clz32(bits & -bits)

function conflict(a: Footprint, b: Footprint): boolean {
  for (const cell of a.writes) if (b.reads.has(cell) || b.writes.has(cell)) return true
  for (const cell of b.writes) if (a.reads.has(cell)) return true
  return false
}
