/**
 * The point of no return: the step of a counterexample after which no continuation ends well.
 *
 * Exact, from the graph: a state is lost if no continuation of it comes to an end in which all is well. Once
 * lost, always lost, so the states of the schedule are looked at from the last one back, and what has been found
 * lost need not be looked at again.
 */

import type { Learned } from './learned.ts'
import { Packed, UNKNOWN } from './packed.ts'
import { StateTable } from './state_table.ts'

/**
 * Number of the first step of the schedule after which all is lost, from 1; 0 if all is lost from the
 * beginning. Undefined if that takes more than `statesMax` states to decide.
 */
export function pointOfNoReturn(
  learned: Learned,
  schedule: readonly number[],
  statesMax: number,
): number | undefined {
  for (;;) {
    // Each round has learnt more than the one before, which is finite.
    const packed = new Packed(learned)
    const point = new Search(packed, schedule, statesMax).point()
    if (!packed.stale) return point
  }
}

class Search {
  private readonly packed: Packed
  private readonly schedule: readonly number[]
  private readonly statesMax: number
  private readonly lost: StateTable
  private tooBig = false

  constructor(packed: Packed, schedule: readonly number[], statesMax: number) {
    this.packed = packed
    this.schedule = schedule
    this.statesMax = statesMax
    this.lost = new StateTable(packed.words)
  }

  point(): number | undefined {
    const states = this.statesAlong()
    // The state after the last step has broken the rule, or the last step does.
    let point = this.schedule.length
    for (let taken = states.length - 1; taken >= 0; taken--) {
      if (this.canEndWell(states[taken])) return point
      if (this.tooBig) return undefined
      point = taken
    }
    return point
  }

  private statesAlong(): Int32Array[] {
    const { packed, schedule } = this
    const first = new Int32Array(packed.words)
    packed.initial(first)
    const states = [first]
    for (const instance of schedule) {
      const next = new Int32Array(packed.words)
      if (packed.successor(states[states.length - 1], instance, next) !== 0) break
      states.push(next)
    }
    return states
  }

  /** Looks through all continuations; what it has seen without an end in which all is well is lost. */
  private canEndWell(from: Int32Array): boolean {
    const { packed, lost } = this
    const { instances, invariants } = packed.learned
    if (packed.firstBroken(invariants, from) !== undefined) return false
    const first = this.seen(from)
    if (first < 0) return false
    const words = new Int32Array(packed.words)
    const next = new Int32Array(packed.words)
    const stack = [first]
    for (let number = stack.pop(); number !== undefined; number = stack.pop()) {
      lost.copy(number, words)
      let enabled = 0
      for (let i = 0; i < instances.length; i++) {
        if (!packed.isEnabled(words, i)) continue
        enabled++
        const result = packed.successor(words, i, next)
        if (result === UNKNOWN) return true // what follows is learnt now; the next round knows
        if (result !== 0 || packed.firstBroken(invariants, next) !== undefined) continue
        const found = this.seen(next)
        if (found >= 0) stack.push(found)
      }
      if (enabled === 0 && this.isGoodEnd(words)) return true
      if (lost.count > this.statesMax) {
        this.tooBig = true
        return false
      }
    }
    return false
  }

  /** Number of a state that was not seen before, or a negative number. */
  private seen(words: Int32Array): number {
    this.lost.reserve(1)
    return this.lost.add(words, this.lost.hashOf(words), -1, 0)
  }

  private isGoodEnd(words: Int32Array): boolean {
    const { packed } = this
    return packed.allEnded(words) && packed.firstBroken(packed.learned.atEnd, words) === undefined
  }
}
