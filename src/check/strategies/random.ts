/**
 * Random walk: at every step anybody who can go on may. For comparison only: it misses what depends on a few
 * unlikely orders, which is what races are made of. PCT (pct.ts) is as cheap and does not.
 */

import { Prng } from '../../base/prng.ts'
import type { Learned } from '../learned.ts'
import { Run } from '../run.ts'
import { type Budget, follow, type Strategy, type Tried } from './strategy.ts'

export const RANDOM: Strategy = {
  name: 'random',
  says: 'at every step anybody who can go on may; for comparison, no evidence',
  search: randomWalk,
}

function randomWalk(learned: Learned, budget: Budget): Tried {
  const prng = new Prng(budget.seed)
  const run = new Run(learned)
  let steps = 0
  for (let n = 1; n <= budget.schedules; n++) {
    const { schedule, violation } = follow(
      run,
      (enabled) => enabled[prng.below(enabled.length)],
      budget.stepsMax,
    )
    steps += schedule.length
    if (violation !== undefined)
      return { schedules: n, steps, found: { schedule, violation }, bounds: `${n} schedules` }
  }
  return { schedules: budget.schedules, steps, found: undefined, bounds: `${budget.schedules} schedules` }
}
