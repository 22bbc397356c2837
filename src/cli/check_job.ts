/**
 * What `drover check` and `drover replay` do, in the worker: the work itself and its answer as text and JSON.
 *
 * Not here: the command line (check.ts, replay.ts), the worker and its watchdog (check_thread.ts).
 */

import { grouped } from '../base/text.ts'
import { type CheckOptions, check, checkLearned, DEFAULTS, type Report } from '../check/check.ts'
import { type Counterexample, explain } from '../check/counterexample.ts'
import { pointOfNoReturn } from '../check/doom.ts'
import { drawLanes } from '../check/lanes.ts'
import { Learned } from '../check/learned.ts'
import { promelaOf } from '../check/promela.ts'
import { formatSchedule, parseSchedule, type Schedule, sumOfSteps } from '../check/schedule.ts'
import { type Shrunk, shrinkTasks } from '../check/shrink.ts'
import { CONTEXT_BOUND } from '../check/strategies/context_bound.ts'
import { DPOR } from '../check/strategies/dpor.ts'
import { PCT } from '../check/strategies/pct.ts'
import { RANDOM } from '../check/strategies/random.ts'
import type { Strategy, Tried } from '../check/strategies/strategy.ts'
import { instancesOf, type System, TaskError } from '../check/system.ts'
import { MODELS } from '../models/index.ts'
import type { Model, ModelSize } from '../models/model.ts'
import { EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, EXIT_VIOLATED } from './report.ts'

/** Strategies by the name that `--strategy` takes; `exhaustive` is the one that gives a verdict. */
export const STRATEGIES: readonly Strategy[] = [CONTEXT_BOUND, PCT, RANDOM, DPOR]

const CHECK_SCHEMA = 'drover.check.v1'
export const MODELS_SCHEMA = 'drover.models.v1'

/** What is to be done with a model. */
export interface ModelJob {
  readonly kind: 'model'
  readonly model: string
  readonly size: ModelSize
  readonly seeded: string | undefined
  /** `exhaustive`, or a name of STRATEGIES. */
  readonly strategy: string
  readonly reductions: boolean
  readonly statesMax: number
  readonly schedules: number
  readonly seed: number
}

export interface PromelaJob extends Omit<ModelJob, 'kind'> {
  readonly kind: 'promela'
}

export interface ReplayJob {
  readonly kind: 'replay'
  readonly schedule: string
}

/** What came out of a job: what to print and how to leave. */
export interface Answer {
  readonly exit: number
  readonly text: string
  readonly json: object
  /** For stderr: why it could not be done. */
  readonly refusal?: string
}

/** Called while a job runs. */
export interface Pulse {
  readonly onProgress: (states: number, depth: number) => void
  readonly onEstimate: (states: number) => void
  readonly onRun: () => void
}

const CAVEAT = 'What a verdict means, and what it does not: CAVEATS.md, "The checker".'

/** Does a job about models. */
export function runModelJob(job: ModelJob | PromelaJob, pulse: Pulse): Answer {
  const model = modelNamed(job.model)
  if (model === undefined) return refused(EXIT_USAGE, unknownModel(job.model))
  const system = model.build(job.size, job.seeded)
  try {
    if (job.kind === 'promela') return { exit: EXIT_OK, text: promelaText(system, job, pulse), json: {} }
    return job.strategy === 'exhaustive' ? exhaust(model, system, job, pulse) : tryOut(model, system, job)
  } catch (error) {
    if (error instanceof TaskError) return refused(EXIT_VIOLATED, error.message)
    throw error
  }
}

export const refused = (exit: number, refusal: string): Answer => ({ exit, text: '', json: {}, refusal })

export const modelNamed = (name: string): Model | undefined => MODELS.find((model) => model.name === name)

/** Says that there is no such model, and which one was probably meant. */
export function unknownModel(name: string): string {
  const names = MODELS.map((model) => model.name)
  const near = didYouMean(name, names)
  return `there is no model "${name}"${near === '' ? '; drover check lists them' : near}`
}

/** `; did you mean "x"?` for the nearest of the names, or nothing if none is near. */
export function didYouMean(name: string, names: readonly string[]): string {
  const [nearest] = names
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .filter(({ candidate, distance }) => distance <= Math.max(2, candidate.length / 3))
    .toSorted((a, b) => a.distance - b.distance)
  return nearest === undefined ? '' : `; did you mean "${nearest.candidate}"?`
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1))
    }
    row = next
  }
  return row[b.length]
}

function optionsOf(job: ModelJob | PromelaJob, pulse: Pulse): CheckOptions {
  return {
    ...DEFAULTS,
    persistentSets: job.reductions,
    symmetry: job.reductions,
    statesMax: job.statesMax,
    seed: job.seed,
    ...pulse,
  }
}

function promelaText(system: System, job: PromelaJob, pulse: Pulse): string {
  const learned = new Learned(system, pulse.onRun)
  checkLearned(learned, { ...optionsOf(job, pulse), persistentSets: false, symmetry: false, liveness: false })
  return promelaOf(learned)
}

/** Explores everything; a counterexample is looked for in smaller systems too. */
function exhaust(model: Model, system: System, job: ModelJob, pulse: Pulse): Answer {
  const options = optionsOf(job, pulse)
  const report = check(system, options)
  const head = headText(model, job.size)
  if (report.verdict !== 'violated') {
    const exit = report.verdict === 'pass' ? EXIT_OK : EXIT_INCOMPLETE
    const whole = { system, report, without: [] }
    const json = reportJson(model, job, report, whole, undefined)
    return { exit, text: `${head}${passText(model, job, report)}`, json }
  }
  const small = smallest(model, job, { system, report, size: job.size }, options)
  const shrunk = shrinkTasks(small.system, small.report, options)
  const schedule = scheduleText(model.name, small.size, job.seeded, small.system, shrunk)
  return {
    exit: EXIT_VIOLATED,
    text: `${head}${violatedText(shrunk, job.size, small.size)}\nagain: drover replay ${schedule}\n`,
    json: reportJson(model, job, report, shrunk, schedule),
  }
}

interface Sized {
  readonly size: ModelSize
  readonly system: System
  readonly report: Report
}

/** The model with the fewest pages, then actors, that breaks the same rule in no more steps. */
function smallest(model: Model, job: ModelJob, found: Sized, options: CheckOptions): Sized {
  const steps = found.report.counterexample?.schedule.length ?? 0
  const name = found.report.counterexample?.violation.name
  for (let pages = 1; pages <= job.size.pages; pages++) {
    for (let actors = 1; actors <= job.size.actors; actors++) {
      const size = { actors, pages }
      if (actors === job.size.actors && pages === job.size.pages) return found
      const system = model.build(size, job.seeded)
      const report = check(system, { ...options, liveness: found.report.lasso !== undefined })
      const { counterexample } = report
      if (counterexample === undefined || counterexample.violation.name !== name) continue
      if (counterexample.schedule.length <= steps) return { size, system, report }
    }
  }
  return found
}

const countText = (count: number, what: string): string =>
  `${grouped(count)} ${what}${count === 1 ? '' : 's'}`

const sizeText = ({ actors, pages }: ModelSize): string =>
  `${countText(actors, 'actor')}, ${countText(pages, 'page')}`

const headText = (model: Model, size: ModelSize): string =>
  `${model.name} (${sizeText(size)}): ${model.question}\n${CAVEAT}\n\n`

function passText(model: Model, job: ModelJob, report: Report): string {
  const { states, transitions, depth, bytesPerState, notChecked } = report
  const seeded = Object.keys(model.seeded).filter((name) => name !== job.seeded)
  const first =
    report.verdict === 'pass'
      ? `pass: all ${countText(states, 'state')}, ${countText(transitions, 'transition')}, schedules of up to ${depth} steps`
      : `incomplete: nothing found in ${countText(states, 'state')}, schedules of up to ${depth} steps; this is no proof`
  return [
    first,
    ...notChecked.map((what) => `  not checked: ${what}`),
    `  ${bytesPerState} bytes a state`,
    ...(seeded.length === 0 ? [] : [`  mistakes that it finds (--seeded NAME): ${seeded.join(', ')}`]),
    '',
  ].join('\n')
}

function violatedText({ system, report, without }: Shrunk, asked: ModelSize, small: ModelSize): string {
  const { counterexample, shortest } = report
  if (counterexample === undefined) return ''
  const { violation, steps } = counterexample
  const fewer =
    small.actors === asked.actors && small.pages === asked.pages ? '' : `; ${sizeText(small)} are enough`
  const left = without.length === 0 ? fewer : `${fewer}; not needed: ${without.join(', ')}`
  return [
    `violated: ${violation.name === violation.says ? violation.says : `${violation.name}: ${violation.says}`}`,
    `  ${countText(steps.length, 'step')}${shortest ? ', the fewest there are' : ''}${left}`,
    '',
    drawLanes(system, { ...report, counterexample: located(system, counterexample) }),
  ].join('\n')
}

/** The counterexample with the lines of the source at which its steps stand. */
export function located(system: System, counterexample: Counterexample): Counterexample {
  const { steps } = explain(new Learned(system), counterexample.schedule, true)
  return { ...counterexample, steps }
}

/** The schedule by the numbers of the whole system's instances. */
function scheduleText(
  model: string,
  size: ModelSize,
  seeded: string | undefined,
  whole: System,
  { system, report }: Shrunk,
): string {
  const numbers = numbersInWhole(system, whole)
  const steps = (report.counterexample?.schedule ?? []).map((instance) => numbers[instance])
  const taken = explain(new Learned(whole), steps).steps
  return formatSchedule({ model, ...size, seeded, steps, sum: sumOfSteps(taken) })
}

/** For each instance of a system with tasks left out, its number in the whole one. */
function numbersInWhole(smaller: System, whole: System): number[] {
  const all = instancesOf(whole)
  const taken = new Map<string, number>()
  return instancesOf(smaller).map(({ task }) => {
    const copy = taken.get(task.name) ?? 0
    taken.set(task.name, copy + 1)
    return all.findIndex((other) => other.task.name === task.name) + copy
  })
}

function reportJson(
  model: Model,
  job: ModelJob,
  report: Report,
  { system, report: short }: Shrunk,
  schedule: string | undefined,
): object {
  const { counterexample, pointOfNoReturn: point, shortest } = short
  return {
    schema: CHECK_SCHEMA,
    model: model.name,
    seeded: job.seeded ?? null,
    verdict: report.verdict,
    strategy: 'exhaustive',
    states: report.states,
    transitions: report.transitions,
    depth: report.depth,
    bytes_per_state: report.bytesPerState,
    bounds: { ...job.size, states_max: job.statesMax, reductions: job.reductions },
    not_checked: report.notChecked,
    clause: counterexample?.violation.name ?? null,
    says: counterexample?.violation.says ?? null,
    schedule: schedule ?? null,
    steps: counterexample === undefined ? [] : stepsJson(system, counterexample),
    shortest: counterexample === undefined ? null : shortest,
    point_of_no_return: point ?? null,
  }
}

const stepsJson = (system: System, { steps }: Counterexample): object[] => {
  const names = instancesOf(system).map(({ name }) => name)
  return steps.map(({ instance, text, changes, held, place }) => ({
    actor: names[instance],
    step: text,
    changes,
    held,
    place,
  }))
}

/** Follows schedules one at a time: finds, but proves nothing. */
function tryOut(model: Model, system: System, job: ModelJob): Answer {
  const strategy = STRATEGIES.find(({ name }) => name === job.strategy)
  if (strategy === undefined) return refused(EXIT_USAGE, `there is no strategy "${job.strategy}"`)
  const learned = new Learned(system)
  const tried = strategy.search(learned, { schedules: job.schedules, stepsMax: STEPS_MAX, seed: job.seed })
  const head = headText(model, job.size)
  if (tried.found === undefined) {
    const text = `${head}incomplete: nothing found by ${strategy.name} in ${tried.bounds}; this is no proof\n`
    return { exit: EXIT_INCOMPLETE, text, json: triedJson(model, job, tried) }
  }
  const { steps, violation } = explain(learned, tried.found.schedule, true)
  const counterexample = {
    steps,
    schedule: tried.found.schedule,
    violation: violation ?? tried.found.violation,
  }
  const found = {
    counterexample,
    pointOfNoReturn: pointOfNoReturn(learned, counterexample.schedule, job.statesMax),
  }
  const schedule = formatSchedule({
    model: model.name,
    ...job.size,
    seeded: job.seeded,
    steps: counterexample.schedule,
    sum: sumOfSteps(steps),
  })
  const says =
    counterexample.violation.name === counterexample.violation.says
      ? ''
      : `: ${counterexample.violation.says}`
  const text =
    `${head}violated: ${counterexample.violation.name}${says}\n` +
    `  found by ${strategy.name} in ${tried.bounds}; ${countText(steps.length, 'step')}, there may be fewer\n\n` +
    `${drawLanes(system, { ...found, lasso: undefined })}\nagain: drover replay ${schedule}\n`
  return {
    exit: EXIT_VIOLATED,
    text,
    json: {
      ...triedJson(model, job, tried),
      clause: counterexample.violation.name,
      says: counterexample.violation.says,
      schedule,
      steps: stepsJson(system, counterexample),
      shortest: false,
      point_of_no_return: found.pointOfNoReturn ?? null,
    },
  }
}

/** Steps of one schedule of a strategy that follows them one at a time. */
const STEPS_MAX = 10_000

const triedJson = (model: Model, job: ModelJob, tried: Tried): object => ({
  schema: CHECK_SCHEMA,
  model: model.name,
  seeded: job.seeded ?? null,
  verdict: tried.found === undefined ? 'incomplete' : 'violated',
  strategy: job.strategy,
  states: null,
  bounds: { ...job.size, schedules: tried.schedules, seed: job.seed, in_words: tried.bounds },
  clause: null,
  schedule: null,
  steps: [],
  point_of_no_return: null,
})

/** Takes a schedule once more. */
export function runReplay({ schedule: text }: ReplayJob): Answer {
  const schedule = parseSchedule(text)
  if ('wrong' in schedule) return refused(EXIT_USAGE, `this is no schedule to replay: ${schedule.wrong}`)
  const model = modelNamed(schedule.model)
  if (model === undefined) return refused(EXIT_USAGE, unknownModel(schedule.model))
  const wrong = wrongFor(model, schedule)
  if (wrong !== undefined) return refused(EXIT_USAGE, wrong)
  const system = model.build(schedule, schedule.seeded)
  const learned = new Learned(system)
  const { steps, violation, misfit } = explain(learned, schedule.steps, true)
  if (misfit !== undefined || sumOfSteps(steps) !== schedule.sum) {
    const why =
      misfit === undefined ? 'its steps do other things now' : `at step ${misfit.at + 1} ${misfit.why}`
    return refused(
      EXIT_USAGE,
      `the schedule is of another version of ${model.name}: ${why}; find it anew with drover check`,
    )
  }
  const point = violation && pointOfNoReturn(learned, schedule.steps, DEFAULTS.statesMax)
  const end: Counterexample | undefined = violation && { violation, schedule: schedule.steps, steps }
  const lanes = drawLanes(system, {
    counterexample: end ?? { violation: NOTHING_BROKEN, schedule: schedule.steps, steps },
    pointOfNoReturn: point,
    lasso: undefined,
  })
  return {
    exit: violation === undefined ? EXIT_OK : EXIT_VIOLATED,
    text: `${headText(model, schedule)}${lanes}`,
    json: {
      schema: 'drover.replay.v1',
      model: model.name,
      seeded: schedule.seeded ?? null,
      verdict: violation === undefined ? 'nothing broken' : 'violated',
      clause: violation?.name ?? null,
      says: violation?.says ?? null,
      schedule: text,
      steps: stepsJson(system, { violation: NOTHING_BROKEN, schedule: schedule.steps, steps }),
      point_of_no_return: point ?? null,
    },
  }
}

const NOTHING_BROKEN = { kind: 'property', name: '', says: 'nothing is broken so far', instance: -1 } as const

/** What keeps a schedule from being one of this model. */
function wrongFor(model: Model, { actors, pages, seeded }: Schedule): string | undefined {
  if (seeded !== undefined && !Object.keys(model.seeded).includes(seeded)) {
    return `${model.name} has no mistake "${seeded}"${didYouMean(seeded, Object.keys(model.seeded))}`
  }
  const { sizeMax } = model
  if (actors > sizeMax.actors || pages > sizeMax.pages || actors < 1 || pages < 1) {
    return `${model.name} has from 1 to ${sizeMax.actors} actors and from 1 to ${sizeMax.pages} pages`
  }
  return undefined
}
