/**
 * `drover check MODEL`: the work itself and its answer as text and JSON; the worker's part.
 *
 * Not here: the command line (check.ts), the worker and its watchdog (run_in_worker.ts).
 */

import { type CheckOptions, check, checkLearned, DEFAULTS, type Report } from '../check/check.ts'
import { explain } from '../check/counterexample.ts'
import { drawLanes } from '../check/lanes.ts'
import { Learned } from '../check/learned.ts'
import { pointOfNoReturn } from '../check/point_of_no_return.ts'
import { promelaOf } from '../check/promela.ts'
import { formatSchedule, sumOfSteps } from '../check/schedule.ts'
import { type Shrunk, shrinkTasks } from '../check/shrink.ts'
import { CONTEXT_BOUND } from '../check/strategies/context_bound.ts'
import { DPOR } from '../check/strategies/dpor.ts'
import { PCT } from '../check/strategies/pct.ts'
import { RANDOM } from '../check/strategies/random.ts'
import type { Strategy, Tried } from '../check/strategies/strategy.ts'
import { instancesOf, type System, TaskError } from '../check/system.ts'
import type { Model, ModelSize } from '../models/model.ts'
import type { Answer, ModelJob, PromelaJob, Pulse } from './check_protocol.ts'
import {
  countText,
  headText,
  located,
  modelNamed,
  refused,
  sizeText,
  stepsJson,
  unknownModel,
} from './check_text.ts'
import { EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, EXIT_VIOLATED } from './report.ts'

/** Strategies by the name that `--strategy` takes; `exhaustive` is the one that gives a verdict. */
export const STRATEGIES: readonly Strategy[] = [CONTEXT_BOUND, PCT, RANDOM, DPOR]

const CHECK_SCHEMA = 'drover.check.v1'
export const MODELS_SCHEMA = 'drover.models.v1'

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
