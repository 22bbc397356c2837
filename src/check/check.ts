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
import { estimateStates } from './estimate.ts'
import { Learned, type Violation } from './learned.ts'
import { findLasso, type Lasso } from './liveness.ts'
import { Packed } from './packed.ts'
import { pointOfNoReturn } from './point_of_no_return.ts'
import { straightened } from './straighten.ts'
import { CONTEXT_BOUND } from './strategies/context_bound.ts'
import { type Exhausted, type ExhaustiveOptions, searchOnce } from './strategies/exhaustive.ts'
import { PCT } from './strategies/pct.ts'
import { Canonical, learnImages, verifySymmetries } from './symmetry.ts'
import type { System } from './system.ts'

export interface CheckOptions {
  /** Leave out orders of steps that do not matter. */
  readonly persistentSets: boolean
  /** Keep one of the states that differ by names only. */
  readonly symmetry: boolean
  /** Look for tasks that can go on for ever. */
  readonly liveness: boolean
  /** Look with context bounding and PCT first where there may be many states: they find what is broken sooner. */
  readonly firstPass: boolean
  readonly statesMax: number
  readonly seed: number
  readonly onProgress?: (states: number, depth: number) => void
  /** Told how many states there may be at least, if there may be many (estimate.ts). */
  readonly onEstimate?: (states: number) => void
  /** Called before each run of a task's code: whoever counts the calls sees a task that does not return. */
  readonly onRun?: () => void
}

export const DEFAULTS: CheckOptions = {
  persistentSets: true,
  symmetry: true,
  liveness: true,
  firstPass: true,
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
  /** States in which every task has ended, in words; where like things begin unlike, up to their exchange. */
  readonly ends: ReadonlySet<string>
  readonly counterexample: Counterexample | undefined
  /** No schedule with fewer steps breaks anything. */
  readonly shortest: boolean
  /** Step of the counterexample, from 1, after which no continuation ends well; 0: from the beginning. */
  readonly pointOfNoReturn: number | undefined
  readonly lasso: Lasso | undefined
  /** What was not looked at, in words. */
  readonly notChecked: readonly string[]
}

/** Explores all schedules of a system. Throws TaskError if a task cannot be checked. */
export function check(system: System, options: CheckOptions = DEFAULTS): Report {
  const learned = new Learned(system, options.onRun)
  discover(learned, options.seed)
  return checkLearned(learned, options)
}

/** The same, for a system of which something is known already. */
export function checkLearned(learned: Learned, options: CheckOptions): Report {
  verifyPlaces(learned)
  const first = options.firstPass ? lookFirst(learned, options) : undefined
  const searched = exhaust(learned, options.symmetry, {
    persistentSets: options.persistentSets && first === undefined,
    statesMax: options.statesMax,
    depthMax: first?.schedule.length ?? Number.POSITIVE_INFINITY,
    onProgress: options.onProgress,
  })
  const { result } = searched
  verifyPlaces(learned)
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
    const reduced = { ...options, persistentSets: options.persistentSets && first === undefined }
    const { counterexample, shortest } = shortened(learned, searched, reduced)
    const point = pointOfNoReturn(learned, counterexample.schedule, pointStates(options))
    return { ...base, verdict: 'violated', counterexample, shortest, pointOfNoReturn: point, notChecked: [] }
  }
  if (first !== undefined) {
    const point = pointOfNoReturn(learned, first.schedule, pointStates(options))
    const notChecked = ['whether fewer steps are enough']
    return {
      ...base,
      verdict: 'violated',
      counterexample: first,
      shortest: false,
      pointOfNoReturn: point,
      notChecked,
    }
  }
  if (!result.complete) {
    const notChecked = [`what comes after ${result.table.count} states, at which it was stopped`]
    return { ...base, verdict: 'incomplete', counterexample: undefined, shortest: false, notChecked }
  }
  return { ...base, ...livenessOf(learned, options) }
}

/** States up to which the point of no return is looked for: it does so without reductions. */
const pointStates = ({ statesMax }: CheckOptions): number => Math.min(statesMax, 1_000_000)

/** States without reductions up to which liveness is looked at: it keeps every edge. */
const LIVENESS_STATES_MAX = 2_000_000

/** States from which on it is worth looking with other strategies first, and what these may take. */
const MANY_STATES = 200_000
const FIRST_STATES = 20_000
const FIRST_SCHEDULES = 300
const FIRST_STEPS = 2000

/** A counterexample that context bounding or PCT finds quickly, if there may be many states; not the shortest. */
function lookFirst(learned: Learned, { seed, onEstimate }: CheckOptions): Counterexample | undefined {
  const estimate = estimateStates(learned, seed)
  if (estimate < MANY_STATES) return undefined
  onEstimate?.(estimate)
  const budget = { stepsMax: FIRST_STEPS, seed }
  const { found } =
    [
      CONTEXT_BOUND.search(learned, { ...budget, schedules: FIRST_STATES }),
      PCT.search(learned, { ...budget, schedules: FIRST_SCHEDULES }),
    ].find((tried) => tried.found !== undefined) ?? {}
  if (found === undefined) return undefined
  const { name } = found.violation
  return takenAgain(learned, straightened(learned, found.schedule, name), name)
}

/** No verdict rests on a task that remembers more than it says. */
function verifyPlaces(learned: Learned): void {
  for (const learner of learned.learners) learner.verifyPlaces()
}

interface Searched {
  readonly packed: Packed
  readonly canonical: Canonical | undefined
  readonly result: Exhausted
}

/** Searches until nothing new is learnt on the way. */
function exhaust(learned: Learned, symmetry: boolean, options: ExhaustiveOptions): Searched {
  for (let known = -1; ; ) {
    // Each round has learnt more than the one before, which is finite.
    if (symmetry) learnImages(learned)
    assert(learned.knowledge() > known, 'check: a search that starts again has learnt something')
    known = learned.knowledge()
    const packed = new Packed(learned)
    const canonical = symmetry ? new Canonical(learned, packed) : undefined
    const useful = canonical?.isUseful === true ? canonical : undefined
    const result = searchOnce(learned, packed, useful, options)
    if (result === undefined) continue
    if (symmetry) verifySymmetries(learned, packed) // what was learnt last too
    return { packed, canonical: useful, result }
  }
}

/** The counterexample of a search; a shorter one if persistent sets may have missed it. */
function shortened(
  learned: Learned,
  searched: Searched,
  options: CheckOptions,
): { counterexample: Counterexample; shortest: boolean } {
  const sooner = endedSooner(learned, searched, options)
  if (sooner !== undefined) return sooner
  if (!options.persistentSets) return { counterexample: counterexampleOf(learned, searched), shortest: true }
  const again = exhaust(learned, options.symmetry, {
    persistentSets: false,
    statesMax: options.statesMax,
    depthMax: searched.result.found?.steps ?? 0,
    onProgress: options.onProgress,
  })
  const better = again.result.found === undefined ? searched : again // a bound may have ended the second search
  return { counterexample: counterexampleOf(learned, better), shortest: better === again }
}

/** Where a lasting condition of the end is broken: the shortest schedule to the first state in which it is. */
function endedSooner(
  learned: Learned,
  { result }: Searched,
  options: CheckOptions,
): { counterexample: Counterexample; shortest: boolean } | undefined {
  const { system } = learned
  const broken = system.atEnd?.find(
    ({ name, lasting }) => lasting === true && name === result.found?.violation.name,
  )
  if (broken === undefined) return undefined
  const asked: System = { ...system, invariants: [...(system.invariants ?? []), broken] }
  const early = new Learned(asked, options.onRun)
  discover(early, options.seed)
  const searched = exhaust(early, options.symmetry, {
    persistentSets: false,
    statesMax: options.statesMax,
    depthMax: result.found?.steps ?? 0,
    onProgress: options.onProgress,
  })
  if (searched.result.found?.violation.name !== broken.name) return undefined
  const { schedule } = counterexampleOf(early, searched)
  // Where it is broken, something else may be too.
  const name = explain(learned, schedule).violation?.name
  return name === undefined
    ? undefined
    : { counterexample: takenAgain(learned, schedule, name), shortest: true }
}

function counterexampleOf(learned: Learned, { packed, canonical, result }: Searched): Counterexample {
  const { found, table } = result
  assert(found !== undefined, 'check: a violation was found')
  const shortest = scheduleTo(packed, table, canonical, found.state, found.violation)
  // Of properties that are images of each other by a symmetry, another one may have been found.
  const name = explain(learned, shortest).violation?.name ?? found.violation.name
  return takenAgain(learned, straightened(learned, shortest, name), name)
}

/** Takes the schedule on plain values: it must break the same rule. */
function takenAgain(learned: Learned, schedule: readonly number[], name: string): Counterexample {
  const { steps, violation } = explain(learned, schedule)
  assert(violation?.name === name, 'check: the schedule breaks on plain values what it broke in the search')
  return { violation, schedule, steps }
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
  const lasso = findLasso(learned, Math.min(options.statesMax, LIVENESS_STATES_MAX))
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

/** Every end in words: cells that differ from the beginning, and results. Of copies the results are sorted. */
function endTexts({ packed, canonical, result }: Searched): Set<string> {
  const words = new Int32Array(packed.words)
  const texts = new Set<string>()
  for (const number of result.ends) {
    result.table.copy(number, words)
    if (canonical === undefined) texts.add(endText(packed, words))
    else canonical.forEachImage(words, (image) => texts.add(endText(packed, image)))
  }
  return texts
}

function endText(packed: Packed, words: Int32Array): string {
  const { learned } = packed
  const cells = packed.cellFields.flatMap(({ cell }) => {
    const value = packed.valueOf(words, cell)
    return value === learned.memory.cells[cell].initial ? [] : [`${learned.memory.nameOf(cell)}=${value}`]
  })
  const results = learned.system.tasks.flatMap((_, of) =>
    learned.instances
      .flatMap((instance, i) =>
        instance.of === of ? [packed.nodes[packed.nodeOf(words, i)].like.ending?.result ?? -1] : [],
      )
      .toSorted((a, b) => a - b),
  )
  return `${cells.toSorted().join(' ')} | ${results.join(' ')}`
}
