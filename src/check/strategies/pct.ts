/**
 * Probabilistic concurrency testing: tasks have random priorities, the highest that can go on does, and at d - 1
 * random steps the one that is running falls below all others.
 *
 * A bug that needs d orders of steps to be right (its depth) is found by one schedule with probability at least
 * 1 / (n k^(d-1)), for n tasks and k steps. Most races have depth 2 or 3.
 *
 * Departs from the paper: k is the longest schedule seen so far, not known in advance.
 *
 * @paper Burckhardt, Kothari, Musuvathi, Nagarakatte, A Randomized Scheduler with Probabilistic Guarantees of
 *        Finding Bugs, ASPLOS 2010
 */

import { Prng } from '../../base/prng.ts'
import type { Learned } from '../learned.ts'
import { Run } from '../run.ts'
import { type Budget, type Choose, follow, type Strategy, type Tried } from './strategy.ts'

/** Bug depth that is searched for: 3 finds depth 2 too. */
export const PCT_DEPTH = 3

export const PCT: Strategy = {
  name: 'pct',
  says: `random priorities that change ${PCT_DEPTH - 1} times a schedule (bug depth ${PCT_DEPTH})`,
  search: (learned, budget) => pct(learned, budget, PCT_DEPTH),
}

/** PCT for bugs of that depth. */
export function pct(learned: Learned, budget: Budget, depth: number): Tried {
  const prng = new Prng(budget.seed)
  const run = new Run(learned)
  let longest = 1
  let steps = 0
  for (let n = 1; n <= budget.schedules; n++) {
    const { schedule, violation } = follow(
      run,
      byPriority(prng, learned.instances.length, depth, longest),
      budget.stepsMax,
    )
    longest = Math.max(longest, schedule.length)
    steps += schedule.length
    const bounds = `${n} schedules of bug depth ${depth}`
    if (violation !== undefined) return { schedules: n, steps, found: { schedule, violation }, bounds }
  }
  return {
    schedules: budget.schedules,
    steps,
    found: undefined,
    bounds: `${budget.schedules} schedules of bug depth ${depth}`,
  }
}

function byPriority(prng: Prng, instances: number, depth: number, length: number): Choose {
  const priority = shuffled(prng, instances).map((n) => n + depth)
  const changes = new Map(Array.from({ length: depth - 1 }, (_, i) => [prng.below(length), depth - 1 - i]))
  return (enabled, step) => {
    const change = changes.get(step)
    if (change !== undefined) priority[highest(enabled, priority)] = change
    return highest(enabled, priority)
  }
}

const highest = (enabled: readonly number[], priority: readonly number[]): number =>
  enabled.reduce((best, instance) => (priority[instance] > priority[best] ? instance : best))

function shuffled(prng: Prng, count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = prng.below(i + 1)
    const held = order[i]
    order[i] = order[j]
    order[j] = held
  }
  return order
}
