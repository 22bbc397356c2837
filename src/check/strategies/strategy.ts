/**
 * What the strategies that follow one schedule at a time have in common. Each is a file; none of them proves
 * anything: they find counterexamples, fast, in systems that are too big to exhaust.
 */

import type { Learned, Violation } from '../learned.ts'
import type { Run } from '../run.ts'

export interface Budget {
  /** Schedules to try. */
  readonly schedules: number
  /** Steps of one schedule, after which it is given up. */
  readonly stepsMax: number
  readonly seed: number
}

/** What a strategy has seen. */
export interface Tried {
  readonly schedules: number
  readonly steps: number
  readonly found: { readonly schedule: readonly number[]; readonly violation: Violation } | undefined
  /** How far it looked, in words: `512 schedules, 3 priority changes each`. */
  readonly bounds: string
}

/** A way to choose schedules. */
export interface Strategy {
  readonly name: string
  /** What it does, in one line. */
  readonly says: string
  readonly search: (learned: Learned, budget: Budget) => Tried
}

/** Chooses who goes on; `enabled` has at least one instance. */
export type Choose = (enabled: readonly number[], step: number) => number

/** Follows one schedule to its end, or until it breaks something. Gives the steps taken. */
export function follow(
  run: Run,
  choose: Choose,
  stepsMax: number,
): { schedule: number[]; violation: Violation | undefined } {
  run.reset()
  const schedule: number[] = []
  let violation = run.brokenAtStart()
  while (violation === undefined && schedule.length < stepsMax) {
    const enabled = run.enabled()
    if (enabled.length === 0) {
      violation = run.brokenAtEnd()
      break
    }
    const instance = choose(enabled, schedule.length)
    schedule.push(instance)
    violation = run.step(instance)
  }
  return { schedule, violation }
}
