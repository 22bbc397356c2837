/**
 * A first look at a system: random walks, so that the exhaustive search starts with the tasks' automata and the
 * cells' values nearly known. What it misses the search learns on the way; a `Scout` looks around there.
 */

import { Prng } from '../base/prng.ts'
import type { Learned } from './learned.ts'
import { Run } from './run.ts'

const WALKS_MAX = 3000
/** Walks without anything new after which it is enough. */
const QUIET_WALKS = 60
/** Steps of one walk: tasks may go round for ever. */
const STEPS_MAX = 1000
/** Walks with each task from a place where something new was met, and such places of one search. */
const SCOUT_WALKS = 3
const PLACES_MAX = 200

/** Walks until nothing new has been learnt for a while. */
export function discover(learned: Learned, seed: number): void {
  const prng = new Prng(seed)
  const run = new Run(learned)
  let quiet = 0
  let known = knowledge(learned)
  for (let walk = 0; walk < WALKS_MAX && quiet < QUIET_WALKS; walk++) {
    run.reset()
    walkOn(run, prng, walk)
    const now = knowledge(learned)
    quiet = now === known ? quiet + 1 : 0
    known = now
  }
}

/** Learns what follows where a search has met something new. */
export class Scout {
  private readonly run: Run
  private readonly prng = new Prng(1)
  private places = 0

  constructor(learned: Learned) {
    this.run = new Run(learned)
  }

  /** Follows a schedule, and walks on from where it leads, with each task that can go on. */
  look(schedule: readonly number[]): void {
    if (this.places++ >= PLACES_MAX) return
    const { run } = this
    run.reset()
    for (const instance of schedule) run.step(instance)
    const from = run.save()
    const enabled = run.enabled()
    for (let walk = 0; walk < enabled.length * SCOUT_WALKS; walk++) {
      run.restore(from)
      if (run.step(enabled[walk % enabled.length]) === undefined) walkOn(run, this.prng, walk)
    }
  }
}

const knowledge = (learned: Learned): number =>
  learned.learners.reduce((sum, { nodes }) => sum + nodes.length, learned.shared.ops.all.length)

/** Walks to the end; some walks stay long with a task, some change often. */
function walkOn(run: Run, prng: Prng, walk: number): void {
  const stay = [0, 2, 8, 32][walk % 4]
  let at = -1
  for (let steps = 0; steps < STEPS_MAX; steps++) {
    if (at < 0 || !run.isEnabled(at) || prng.below(stay + 1) === 0) {
      at = someEnabled(run, prng)
      if (at < 0) {
        run.brokenAtEnd()
        return
      }
    }
    if (run.step(at) !== undefined) return
  }
}

/** An instance that can go on; -1: there is none. */
function someEnabled(run: Run, prng: Prng): number {
  const count = run.nodes.length
  const first = prng.below(count)
  for (let i = first; i < first + count; i++) if (run.isEnabled(i % count)) return i % count
  return -1
}
