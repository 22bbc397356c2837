/**
 * Checking a system: which strategy, and what is said about what it found.
 *
 * `exhaustive` gives a verdict for all schedules; the others give counterexamples or nothing, and say so: only
 * an exhausted search passes. A counterexample is made as short as it gets, taken once more on plain values,
 * and marked with the point of no return.
 *
 * A typical sequence is:
 *   const report = check(system, DEFAULTS)
 *   if (report.verdict === 'violated') report.counterexample   // lanes.ts draws it
 */

import { assert } from '../base/assert.ts'
import { type Counterexample, explain, scheduleTo } from './counterexample.ts'
import { discover } from './discover.ts'
import { pointOfNoReturn } from './doom.ts'
import { Learned, type Violation } from './learned.ts'
import { findLasso, type Lasso } from './liveness.ts'
import { Packed } from './packed.ts'
import { type Exhausted, type ExhaustiveOptions, searchOnce } from './strategies/exhaustive.ts'
import { Canonical } from './symmetry.ts'
import type { System } from './system.ts'

export interface CheckOptions {
  /** Leave out orders of steps that do not matter. */
  readonly persistentSets: boolean
  /** Keep one of the states that differ by names only. */
  readonly symmetry: boolean
  /** Look for tasks that can go on for ever. */
  readonly liveness: boolean
  readonly statesMax: number
  readonly seed: number
  readonly onProgress?: (states: number, depth: number) => void
}

export const DEFAULTS: CheckOptions = {
  persistentSets: true,
  symmetry: true,
  liveness: true,
  statesMax: 10_000_000,
  seed: 1,
}

export interface Report {
  /** `incomplete`: a bound was reached, so nothing is proved. */
  readonly verdict: 'pass' | 'violated' | 'incomplete'
  readonly states: number
  readonly transitions: number
  /** Steps of the longest schedule that was followed. */
  readonly depth: number
  /** Bytes that one state takes, all included. */
  readonly bytesPerState: number
  /** States in which every task has ended, in words. */
  readonly ends: ReadonlySet<string>
  readonly counterexample: Counterexample | undefined
  /** No schedule with fewer steps breaks anything. */
  readonly shortest: boolean
  /** Step of the counterexample, from 1, after which every continuation breaks a rule; 0: from the beginning. */
  readonly pointOfNoReturn: number | undefined
  readonly lasso: Lasso | undefined
  /** What was not looked at, in words. */
  readonly notChecked: readonly string[]
}

/** Explores all schedules of a system. Throws TaskError if a task cannot be checked. */
export function check(system: System, options: CheckOptions = DEFAULTS): Report {
  const learned = new Learned(system)
  discover(learned, options.seed)
  return checkLearned(learned, options)
}

/** The same, for a system of which something is known already. */
export function checkLearned(learned: Learned, options: CheckOptions): Report {
  const searched = exhaust(learned, options.symmetry, {
    persistentSets: options.persistentSets,
    statesMax: options.statesMax,
    depthMax: Number.POSITIVE_INFINITY,
    onProgress: options.onProgress,
  })
  const { result } = searched
  const base = {
    states: result.table.count,
    transitions: result.transitions,
    depth: result.depth,
    bytesPerState: result.table.bytesPerState,
    ends: endTexts(searched),
    lasso: undefined,
    pointOfNoReturn: undefined,
  }
  if (result.found !== undefined) {
    const { counterexample, shortest } = shortened(learned, searched, options)
    const point = pointOfNoReturn(learned, counterexample.schedule, options.statesMax)
    return { ...base, verdict: 'violated', counterexample, shortest, pointOfNoReturn: point, notChecked: [] }
  }
  if (!result.complete) {
    const notChecked = [`more than ${result.table.count} states`]
    return { ...base, verdict: 'incomplete', counterexample: undefined, shortest: false, notChecked }
  }
  for (const learner of learned.learners) learner.verifyPlaces()
  return { ...base, ...livenessOf(learned, options) }
}

interface Searched {
  readonly packed: Packed
  readonly canonical: Canonical | undefined
  readonly result: Exhausted
}

/** Searches until nothing new is learnt on the way. */
function exhaust(learned: Learned, symmetry: boolean, options: ExhaustiveOptions): Searched {
  for (;;) {
    // Each round has learnt more than the one before, which is finite.
    const packed = new Packed(learned)
    const canonical = symmetry ? new Canonical(learned, packed) : undefined
    const useful = canonical?.isUseful === true ? canonical : undefined
    const result = searchOnce(learned, packed, useful, options)
    if (result !== undefined) return { packed, canonical: useful, result }
  }
}

/** The counterexample of a search; a shorter one if persistent sets may have missed it. */
function shortened(
  learned: Learned,
  searched: Searched,
  options: CheckOptions,
): { counterexample: Counterexample; shortest: boolean } {
  if (!options.persistentSets) return { counterexample: counterexampleOf(learned, searched), shortest: true }
  const again = exhaust(learned, options.symmetry, {
    persistentSets: false,
    statesMax: options.statesMax,
    depthMax: searched.result.found?.steps ?? 0,
    onProgress: options.onProgress,
  })
  const better = again.result.found === undefined ? searched : again
  return { counterexample: counterexampleOf(learned, better), shortest: better === again }
}

function counterexampleOf(learned: Learned, { packed, canonical, result }: Searched): Counterexample {
  const { found, table } = result
  assert(found !== undefined, 'check: a violation was found')
  const schedule = scheduleTo(packed, table, canonical, found.state, found.violation)
  return takenAgain(learned, schedule, found.violation)
}

/** Takes the schedule on plain values: it must break the same rule. */
function takenAgain(learned: Learned, schedule: readonly number[], violation: Violation): Counterexample {
  const { steps, violation: seen } = explain(learned, schedule)
  assert(
    seen?.name === violation.name,
    'check: the schedule breaks on plain values what it broke in the search',
  )
  return { violation: seen, schedule, steps }
}

function livenessOf(
  learned: Learned,
  options: CheckOptions,
): Pick<Report, 'verdict' | 'counterexample' | 'shortest' | 'lasso' | 'notChecked'> {
  const passed = {
    verdict: 'pass',
    counterexample: undefined,
    shortest: false,
    lasso: undefined,
    notChecked: [],
  } as const
  if (!options.liveness) return { ...passed, notChecked: ['liveness, as asked'] }
  const lasso = findLasso(learned, options.statesMax)
  if (lasso === 'none') return passed
  if (lasso === 'too big') {
    return { ...passed, verdict: 'incomplete', notChecked: ['liveness: too many states without reductions'] }
  }
  const names = [...new Set(lasso.cycle)].map((instance) => learned.instances[instance].name)
  const violation: Violation = {
    kind: 'livelock',
    name: 'livelock',
    says: `${names.join(' and ')} can go on for ever, though everybody gets his turn`,
    instance: lasso.cycle[0],
  }
  const schedule = [...lasso.prefix, ...lasso.cycle]
  const { steps } = explain(learned, schedule)
  return { ...passed, verdict: 'violated', counterexample: { violation, schedule, steps }, lasso }
}

/** Every end in words: cells that differ from the beginning, and results. */
function endTexts({ packed, result }: Searched): Set<string> {
  const words = new Int32Array(packed.words)
  const { learned } = packed
  const texts = new Set<string>()
  for (const number of result.ends) {
    result.table.copy(number, words)
    const cells = packed.cellFields.flatMap(({ cell }) => {
      const value = packed.valueOf(words, cell)
      return value === learned.memory.cells[cell].initial ? [] : [`${learned.memory.nameOf(cell)}=${value}`]
    })
    const results = learned.instances.map(
      (_, i) => packed.nodes[packed.nodeOf(words, i)].like.ending?.result ?? -1,
    )
    texts.add(`${cells.toSorted().join(' ')} | ${results.join(' ')}`)
  }
  return texts
}
