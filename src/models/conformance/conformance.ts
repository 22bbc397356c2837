/**
 * The conformance check of a driver: every scenario, every schedule of it, clause by clause.
 *
 *   shape      does the module have what a driver has (driver.ts)
 *   scenarios  each is checked exhaustively; a violation is put down to the clause that it breaks (clauses.ts)
 *   verdicts   a clause passes if all of its scenarios do
 *
 * A clause that has failed at the end of a schedule, or in the lock audit, is asked about no more: the scenario goes on
 * without it, and so do the later ones. After any other violation the scenario cannot go on, and its other clauses are
 * undecided. What cannot be checked at all (a task that is nondeterministic, or does not end) ends the check.
 *
 * A typical sequence is:
 *   const result = conformance(module.default, DEFAULT_BOUNDS)
 *   if (result.verdict === 'violated') result.clauses.filter(({ verdict }) => verdict === 'failed')
 *
 * Not verified: weak memory, more tasks and pages than the bounds, and what a driver does in a section (one step).
 *
 * @ours
 */

import { AssertionError } from '../../base/assert.ts'
import { check, DEFAULTS, type Report } from '../../check/check.ts'
import { instancesOf, type System, TaskError } from '../../check/system.ts'
import { ISOLATED } from '../../mm/movable_ops.ts'
import { AGAIN, MOVED, NOT_ISOLATED } from './adversaries.ts'
import { CLAUSES, type Clause, type ClauseName, clauseOf } from './clauses.ts'
import { type CheckedDriver, isDriver, shapeFaults } from './driver.ts'
import type { Role } from './oracles.ts'
import { type Bounds, type Scenario, scenariosOf } from './scenarios.ts'
import { systemOf } from './stage.ts'

export interface ConformanceOptions extends Bounds {
  /** States of one scenario after which it is given up. */
  readonly statesMax: number
  /** Called before each scenario, and now and then while it is explored. */
  readonly onProgress?: (progress: Progress) => void
  /** Called before each run of the driver's code: whoever counts the calls sees code that does not return. */
  readonly onRun?: () => void
}

export interface Progress {
  readonly scenario: string
  /** Which one it is, from 1, of how many. */
  readonly number: number
  readonly of: number
  readonly states: number
}

export const DEFAULT_BOUNDS: ConformanceOptions = { actors: 3, pages: 2, statesMax: 10_000_000 }

/** A rule that a scenario broke. */
export interface Failure {
  readonly scenario: string
  /** The scenario as it was explored. */
  readonly system: System
  /** Names of the tasks, in the order of the schedule's numbers. */
  readonly tasks: readonly string[]
  /** What was found: `counterexample` is defined. */
  readonly report: Report
}

export interface ClauseResult {
  readonly clause: Clause
  readonly verdict: 'passed' | 'failed' | 'undecided' | 'not exercised'
  /** Names of the scenarios that decided. */
  readonly scenarios: readonly string[]
  /** States explored in them, together. */
  readonly states: number
  readonly failure: Failure | undefined
  /** Why there is no decision; '' if there is one. */
  readonly why: string
}

export interface ConformanceResult {
  readonly driver: string
  /** `error`: the driver could not be checked, `error` says why. `incomplete`: nothing failed, not all was decided. */
  readonly verdict: 'pass' | 'violated' | 'incomplete' | 'error'
  readonly clauses: readonly ClauseResult[]
  /** What broke, but is no clause's. */
  readonly others: readonly Failure[]
  /** What the kit did not try, and why. */
  readonly notApplicable: readonly string[]
  /** Clauses that the driver gave no occasion for; `verdict` leaves them out. */
  readonly notExercised: readonly ClauseName[]
  /** States of all scenarios that were explored, each scenario counted once. */
  readonly states: number
  readonly bounds: Bounds
  readonly error: string | undefined
}

/** Checks what a driver module exports by default. Never throws for what the driver does. */
export function conformance(
  candidate: unknown,
  options: ConformanceOptions = DEFAULT_BOUNDS,
): ConformanceResult {
  if (!isDriver(candidate)) return unchecked('the driver', options, shapeFaults(candidate).join('; '))
  const book = new Book(candidate)
  const scenarios = scenariosOf(options, candidate.maps === true)
  for (const [i, scenario] of scenarios.entries()) {
    const onProgress = (states: number): void =>
      options.onProgress?.({ scenario: scenario.name, number: i + 1, of: scenarios.length, states })
    const wrong = explore(candidate, scenario, book, { ...options, onProgress })
    if (wrong === undefined) continue
    // What cannot be checked once something is broken may be a consequence; else it is what is to be told.
    if (!book.hasFailures) return unchecked(candidate.name, options, wrong)
    book.giveUp(scenario, `in "${scenario.name}", ${wrong}`)
  }
  return book.result(options)
}

type ExploreOptions = Omit<ConformanceOptions, 'onProgress'> & {
  readonly onProgress: (states: number) => void
}

/** Checks a scenario, again without the clause that it broke, as long as that makes sense. What cannot be checked. */
function explore(
  driver: CheckedDriver,
  scenario: Scenario,
  book: Book,
  { statesMax, onProgress, onRun = () => {} }: ExploreOptions,
): string | undefined {
  let clauses = book.open(scenario)
  try {
    // Each round has a clause less.
    while (clauses.length > 0) {
      onProgress(0)
      const wrong: string[] = []
      const system = systemOf(driver, scenario, { clauses, onRun, onWrong: (what) => wrong.push(what) })
      if (system === undefined) {
        book.enterRefused(clauses)
        return undefined
      }
      const report = check(system, { ...DEFAULTS, statesMax, onProgress, onRun })
      if (wrong.length > 0) return `${driver.name}: ${wrong[0]}`
      const tasks = instancesOf(system).map(({ name }) => name)
      const broken = book.enter(scenario, clauses, { scenario: scenario.name, system, tasks, report })
      if (broken === undefined) return undefined
      clauses = clauses.filter((name) => name !== broken)
    }
    return undefined
  } catch (error) {
    // What a driver does that cannot be checked: TaskError. What it does to the checker itself: AssertionError.
    if (error instanceof TaskError || error instanceof AssertionError) return error.message
    throw error
  }
}

/** What is known so far. */
class Book {
  private readonly driver: CheckedDriver
  private readonly passed = new Map<ClauseName, Map<string, number>>()
  private readonly failed = new Map<ClauseName, Failure>()
  /** Clauses that are asked about no more. */
  private readonly dropped = new Set<ClauseName>()
  private readonly cut = new Map<ClauseName, string>()
  private readonly idle = new Map<ClauseName, string>()
  private readonly others: Failure[] = []
  /** States of each scenario. */
  private readonly states = new Map<string, number>()
  /** Scenarios that broke something and could not go on. */
  private readonly ended: Scenario[] = []

  constructor(driver: CheckedDriver) {
    this.driver = driver
  }

  get hasFailures(): boolean {
    return this.failed.size + this.others.length > 0
  }

  /** The clauses that the scenario is to be asked about; none if it can tell nothing new. */
  open(scenario: Scenario): ClauseName[] {
    const { actors, clauses } = scenario
    if (this.driver.write === undefined && actors.some(({ role }) => role === 'writer')) {
      this.idle.set('no-parallel-update', 'the driver has no write')
      return []
    }
    const smaller = this.ended.find((ended) => isPartOf(ended, scenario))
    if (smaller !== undefined) {
      this.giveUp(scenario, `in "${smaller.name}" something else broke first`)
      return []
    }
    return clauses.every((name) => this.failed.has(name))
      ? []
      : clauses.filter((name) => !this.dropped.has(name))
  }

  /**
   * Writes down what a scenario gave. The clause that it broke, if the scenario can go on without that one: nothing
   * comes after what is wrong at the end, and who touches what without a lock changes no state. After anything else
   * the machine is in states that mean nothing.
   */
  enter(scenario: Scenario, clauses: readonly ClauseName[], failure: Failure): ClauseName | undefined {
    const { report, tasks } = failure
    // Explored again without a clause, it is the same scenario.
    this.states.set(scenario.name, Math.max(report.states, this.states.get(scenario.name) ?? 0))
    const violation = report.counterexample?.violation
    if (violation === undefined) {
      for (const name of clauses) this.enterPass(scenario, name, report)
      return undefined
    }
    const broken = clauseOf(violation, tasks[violation.instance] ?? '')
    if (broken === undefined) this.others.push(failure)
    else if (!this.failed.has(broken)) this.failed.set(broken, failure)
    const isAtEnd = violation.kind === 'property' && violation.instance < 0
    if (broken !== undefined && clauses.includes(broken) && (isAtEnd || violation.kind === 'audit')) {
      this.dropped.add(broken)
      return broken
    }
    this.giveUp(scenario, `in "${scenario.name}", ${broken ?? violation.name} broke first`)
    this.ended.push(scenario)
    return undefined
  }

  /** A scenario that needs an isolated page, and the driver refused. */
  enterRefused(clauses: readonly ClauseName[]): void {
    for (const name of clauses) this.idle.set(name, REFUSES)
  }

  /** A scenario decides nothing more. */
  giveUp({ clauses }: Scenario, why: string): void {
    for (const name of clauses) if (!this.cut.has(name)) this.cut.set(name, why)
  }

  private enterPass(scenario: Scenario, name: ClauseName, report: Report): void {
    if (report.verdict === 'incomplete') {
      this.cut.set(name, `in "${scenario.name}", ${report.notChecked.join('; ')}`)
      return
    }
    const why = whyIdle(name, scenario, report)
    if (why !== undefined) {
      this.idle.set(name, why)
      return
    }
    const known = this.passed.get(name) ?? new Map<string, number>()
    known.set(scenario.name, report.states)
    this.passed.set(name, known)
  }

  result(options: ConformanceOptions): ConformanceResult {
    const clauses = CLAUSES.map((clause) => this.clauseResult(clause))
    const failed = this.others.length > 0 || clauses.some(({ verdict }) => verdict === 'failed')
    const undecided = clauses.some(({ verdict }) => verdict === 'undecided')
    return {
      driver: this.driver.name,
      verdict: failed ? 'violated' : undecided ? 'incomplete' : 'pass',
      clauses,
      others: this.others,
      notApplicable: this.driver.maps === true ? [] : ['fork and exit: its pages are not mapped'],
      notExercised: clauses.flatMap(({ clause, verdict }) =>
        verdict === 'not exercised' ? [clause.name] : [],
      ),
      states: [...this.states.values()].reduce((sum, count) => sum + count, 0),
      bounds: { actors: options.actors, pages: options.pages },
      error: undefined,
    }
  }

  private clauseResult(clause: Clause): ClauseResult {
    const { name } = clause
    const passed = this.passed.get(name) ?? new Map<string, number>()
    const scenarios = [...passed.keys()]
    const states = [...passed.values()].reduce((sum, count) => sum + count, 0)
    const base = { clause, scenarios, states, failure: undefined, why: '' }
    const failure = this.failed.get(name)
    if (failure !== undefined) return { ...base, verdict: 'failed', scenarios: [failure.scenario], failure }
    const cut = this.cut.get(name)
    if (cut !== undefined) return { ...base, verdict: 'undecided', why: cut }
    if (passed.size > 0) return { ...base, verdict: 'passed' }
    return { ...base, verdict: 'not exercised', why: this.idle.get(name) ?? 'no scenario within the bounds' }
  }
}

/** True if `whole` has everybody that `part` has, so that what breaks in `part` breaks in `whole`. */
const isPartOf = (part: Scenario, whole: Scenario): boolean =>
  part.given === whole.given &&
  part.actors.every(({ name, copies = 1 }) =>
    whole.actors.some((actor) => actor.name === name && (actor.copies ?? 1) >= copies),
  )

const REFUSES = 'the driver refuses every isolation'

/** Clauses that say something only of pages that were isolated. */
const NEEDS_ISOLATED: readonly ClauseName[] = [
  'one-winner',
  'no-parallel-update',
  'no-parallel-free',
  'accesses-halt',
  'owned-set-conserved',
  'again-means-unchanged',
  'putback-restores',
]

/** Why a scenario that passed says nothing about a clause; undefined if it does. */
function whyIdle(name: ClauseName, { actors, given }: Scenario, report: Report): string | undefined {
  const roles = actors.flatMap(({ role, copies = 1 }) => Array.from({ length: copies }, () => role))
  const ends = [...report.ends].map((end) => end.slice(end.lastIndexOf('|') + 2).split(' '))
  const gave = (isIt: (role: Role, result: number) => boolean): boolean =>
    ends.some((results) => roles.some((role, i) => isIt(role, Number(results[i]))))
  if (NEEDS_ISOLATED.includes(name) && given !== 'isolated' && !gave(hasIsolated)) return REFUSES
  if (!roles.includes('compactor')) return undefined
  const compactorGave = (result: number): boolean =>
    gave((role, answer) => role === 'compactor' && answer === result)
  if (name === 'again-means-unchanged' && !compactorGave(AGAIN)) return 'the driver never answers -EAGAIN'
  const needsMove = name === 'accesses-halt' || name === 'no-parallel-update'
  return needsMove && !compactorGave(MOVED) ? 'the driver never moves a page' : undefined
}

/** A task that gave this result had a page isolated. */
function hasIsolated(role: Role, result: number): boolean {
  if (role === 'keeper') return result === ISOLATED
  return (role === 'isolator' || role === 'compactor') && result !== NOT_ISOLATED
}

const unchecked = (driver: string, { actors, pages }: Bounds, error: string): ConformanceResult => ({
  driver,
  verdict: 'error',
  clauses: [],
  others: [],
  notApplicable: [],
  notExercised: [],
  states: 0,
  bounds: { actors, pages },
  error,
})
