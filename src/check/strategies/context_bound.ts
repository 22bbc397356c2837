/**
 * Iterative context bounding: all schedules without preemption, then all with one, then with two, …
 *
 * A switch costs nothing when the running task has ended or waits; otherwise it is a preemption. Most races need
 * one or two, so a bound of two finds them in a part of the space that is polynomial in the number of steps.
 * States that were seen with the same task running and no more preemptions are not looked at again.
 *
 * @paper Musuvathi and Qadeer, Iterative Context Bounding for Systematic Testing of Multithreaded Programs,
 *        PLDI 2007
 */

import type { Learned, Violation } from '../learned.ts'
import { Run, type Saved } from '../run.ts'
import type { Budget, Strategy, Tried } from './strategy.ts'

/** Preemptions of the last round. */
export const PREEMPTIONS_MAX = 2

export const CONTEXT_BOUND: Strategy = {
  name: 'context-bound',
  says: `all schedules with 0, 1, … ${PREEMPTIONS_MAX} preemptions`,
  search: (learned, budget) => contextBound(learned, budget, PREEMPTIONS_MAX),
}

/** A state to go on from, and how it was reached. */
interface Item {
  readonly state: Saved
  /** Who ran last, and runs next if it can; -1 at the beginning. */
  readonly running: number
  readonly steps: Link | undefined
  readonly length: number
}

interface Link {
  readonly instance: number
  readonly before: Link | undefined
}

/** Context bounding up to that many preemptions; `budget.schedules` bounds the states of a round. */
export function contextBound(learned: Learned, budget: Budget, preemptionsMax: number): Tried {
  const run = new Run(learned)
  const atStart = run.brokenAtStart()
  if (atStart !== undefined) {
    return { schedules: 0, steps: 0, found: { schedule: [], violation: atStart }, bounds: 'no step' }
  }
  const search = new Search(run, budget)
  let round: Item[] = [{ state: run.save(), running: -1, steps: undefined, length: 0 }]
  for (let preemptions = 0; preemptions <= preemptionsMax && round.length > 0; preemptions++) {
    const next: Item[] = []
    const found = search.explore(round, next)
    const bounds = `${preemptions} preemption${preemptions === 1 ? '' : 's'}, ${search.states} states`
    if (found !== undefined) return { schedules: search.ends, steps: search.steps, found, bounds }
    if (search.isOverBudget)
      return { schedules: search.ends, steps: search.steps, found: undefined, bounds: `less than ${bounds}` }
    round = next
  }
  const bounds = `${preemptionsMax} preemptions, ${search.states} states`
  return { schedules: search.ends, steps: search.steps, found: undefined, bounds }
}

class Search {
  states = 0
  steps = 0
  ends = 0
  private readonly run: Run
  private readonly budget: Budget
  private readonly seen = new Set<string>()

  constructor(run: Run, budget: Budget) {
    this.run = run
    this.budget = budget
  }

  get isOverBudget(): boolean {
    return this.states > this.budget.schedules
  }

  /** Explores without a preemption from every item of `round`; what needs one more goes to `next`. */
  explore(round: Item[], next: Item[]): Tried['found'] {
    const { run } = this
    for (let item = round.pop(); item !== undefined && !this.isOverBudget; item = round.pop()) {
      run.restore(item.state)
      const key = `${run.key()}@${item.running}`
      if (this.seen.has(key) || item.length > this.budget.stepsMax) continue
      this.seen.add(key)
      this.states++
      const enabled = run.enabled()
      if (enabled.length === 0) {
        this.ends++
        const violation = run.brokenAtEnd()
        if (violation !== undefined) return { schedule: scheduleOf(item.steps), violation }
        continue
      }
      const goesOn = enabled.includes(item.running)
      for (const instance of enabled) {
        const preempts = goesOn && instance !== item.running
        if (preempts) {
          next.push({ ...item, running: instance })
          continue
        }
        const violation = this.step(item, instance, round)
        if (violation !== undefined)
          return { schedule: scheduleOf({ instance, before: item.steps }), violation }
      }
    }
    return undefined
  }

  private step(item: Item, instance: number, round: Item[]): Violation | undefined {
    const { run } = this
    run.restore(item.state)
    this.steps++
    const violation = run.step(instance)
    if (violation === undefined) {
      const steps = { instance, before: item.steps }
      round.push({ state: run.save(), running: instance, steps, length: item.length + 1 })
    }
    return violation
  }
}

function scheduleOf(last: Link | undefined): number[] {
  const schedule: number[] = []
  for (let link = last; link !== undefined; link = link.before) schedule.push(link.instance)
  return schedule.toReversed()
}
