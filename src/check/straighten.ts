/**
 * Fewer switches: the schedule with the same steps in which the actors take turns as seldom as possible.
 *
 * A breadth-first search gives some shortest schedule, mostly one in which everybody moves at once. Here the steps
 * that one actor takes in a row are moved to where it took others, as long as the same rule still breaks with the
 * last step. What remains are the switches that matter.
 */

import type { Learned } from './learned.ts'
import { Run } from './run.ts'

/** Steps that one instance takes in a row. */
interface Turn {
  readonly instance: number
  readonly steps: number
}

/** A schedule of the same length that breaks the rule called `name` with no more switches. */
export function straightened(learned: Learned, schedule: readonly number[], name: string): number[] {
  const run = new Run(learned)
  let turns = turnsOf(schedule)
  // Each round has fewer turns than the one before.
  for (;;) {
    const better = merges(turns).find((candidate) => breaks(run, candidate, name))
    if (better === undefined)
      return turns.flatMap(({ instance, steps }) => new Array<number>(steps).fill(instance))
    turns = better
  }
}

function turnsOf(schedule: readonly number[]): Turn[] {
  const turns: Turn[] = []
  for (const instance of schedule) {
    const last = turns.at(-1)
    if (last?.instance === instance) turns[turns.length - 1] = { instance, steps: last.steps + 1 }
    else turns.push({ instance, steps: 1 })
  }
  return turns
}

/** Every way to make one turn of two of the same instance: the later one earlier, or the earlier one later. */
function merges(turns: readonly Turn[]): Turn[][] {
  const found: Turn[][] = []
  turns.forEach((turn, i) => {
    const next = turns.findIndex(({ instance }, j) => j > i && instance === turn.instance)
    if (next < 0) return
    const both = { instance: turn.instance, steps: turn.steps + turns[next].steps }
    const between = turns.slice(i + 1, next)
    const [before, after] = [turns.slice(0, i), turns.slice(next + 1)]
    found.push(
      joined([...before, both, ...between, ...after]),
      joined([...before, ...between, both, ...after]),
    )
  })
  return found
}

const joined = (turns: readonly Turn[]): Turn[] =>
  turnsOf(turns.flatMap(({ instance, steps }) => new Array<number>(steps).fill(instance)))

/** True if the schedule can be taken and breaks that rule with its last step, or at its end. */
function breaks(run: Run, turns: readonly Turn[], name: string): boolean {
  run.reset()
  let left = turns.reduce((sum, { steps }) => sum + steps, 0)
  for (const { instance, steps } of turns) {
    for (let i = 0; i < steps; i++, left--) {
      if (run.hasEnded(instance) || !run.isEnabled(instance)) return false
      const violation = run.step(instance)
      if (violation !== undefined) return left === 1 && violation.name === name
    }
  }
  if (run.enabled().length === 0) return run.brokenAtEnd()?.name === name
  return run.brokenForGood(-1)?.name === name
}
