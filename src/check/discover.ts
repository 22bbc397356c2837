/**
 * A first look at a system: random walks, so that the exhaustive search starts with the tasks' automata and the
 * cells' values nearly known. What it misses the search learns on the way.
 */

import { Prng } from '../base/prng.ts'
import type { Learned } from './learned.ts'
import { Run } from './run.ts'

const WALKS_MAX = 3000
/** Walks without anything new after which it is enough. */
const QUIET_WALKS = 60
const STEPS_MAX = 5000

/** Walks until nothing new has been learnt for a while. */
export function discover(learned: Learned, seed: number): void {
  const prng = new Prng(seed)
  const run = new Run(learned)
  let quiet = 0
  let known = knowledge(learned)
  for (let walk = 0; walk < WALKS_MAX && quiet < QUIET_WALKS; walk++) {
    walkOnce(run, prng, walk)
    const now = knowledge(learned)
    quiet = now === known ? quiet + 1 : 0
    known = now
  }
}

const knowledge = (learned: Learned): number =>
  learned.learners.reduce((sum, { nodes }) => sum + nodes.length, learned.shared.ops.all.length)

/** One walk; some stay long with a task, some change often. */
function walkOnce(run: Run, prng: Prng, walk: number): void {
  run.reset()
  const stay = [0, 2, 8, 32][walk % 4]
  let at = -1
  for (let steps = 0; steps < STEPS_MAX; steps++) {
    if (at < 0 || !run.isEnabled(at) || prng.below(stay + 1) === 0) {
      const enabled = run.enabled()
      if (enabled.length === 0) {
        run.brokenAtEnd()
        return
      }
      at = enabled[prng.below(enabled.length)]
    }
    if (run.step(at) !== undefined) return
  }
}
