/**
 * How large a state space is, before it is searched.
 *
 * States seen on random walks are like animals caught in traps: from how many were seen once only and how many
 * twice follows how many were not seen. That is a lower bound, and tells thousands from millions.
 *
 * @paper Chao, Nonparametric Estimation of the Number of Classes in a Population, 1984
 */

import { Prng } from '../base/prng.ts'
import type { Learned } from './learned.ts'
import { Run } from './run.ts'

const WALKS = 100
/** Steps of all walks together, and of one: tasks may go round for ever. */
const STEPS_MAX = 4000
const WALK_STEPS_MAX = 500

/** About how many states there are at least, without reductions. */
export function estimateStates(learned: Learned, seed: number): number {
  const prng = new Prng(seed)
  const run = new Run(learned)
  const seen = new Map<string, number>()
  let left = STEPS_MAX
  for (let walk = 0; walk < WALKS && left > 0; walk++) {
    run.reset()
    for (let steps = 0; steps < WALK_STEPS_MAX; steps++, left--) {
      const key = run.key()
      seen.set(key, (seen.get(key) ?? 0) + 1)
      const enabled = run.enabled()
      if (enabled.length === 0 || run.step(enabled[prng.below(enabled.length)]) !== undefined) break
    }
  }
  let once = 0
  let twice = 0
  for (const times of seen.values()) {
    if (times === 1) once++
    if (times === 2) twice++
  }
  return Math.round(seen.size + (once * (once - 1)) / (2 * (twice + 1)))
}
