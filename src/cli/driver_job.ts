/**
 * `drover check --driver FILE`: loads a driver module, holds it to the contract, and says clause by clause what came
 * out.
 *
 * Not here: the scenarios and clauses (models/conformance), loading (module_file.ts).
 */

import { relative } from 'node:path'
import { grouped } from '../base/text.ts'
import type { Report } from '../check/check.ts'
import { drawLanes } from '../check/lanes.ts'
import {
  type ClauseResult,
  type ConformanceResult,
  conformance,
  DEFAULT_BOUNDS,
  type Failure,
} from '../models/conformance/conformance.ts'
import type { Answer, DriverJob, Pulse } from './check_protocol.ts'
import { CAVEAT, located, refused, stepsJson } from './check_text.ts'
import { loadModule } from './module_file.ts'
import { EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, EXIT_VIOLATED } from './report.ts'
import { table } from './table.ts'

const SCHEMA = 'drover.check.driver.v1'

/** Loads and checks the driver. */
export async function runDriverJob(job: DriverJob, pulse: Pulse): Promise<Answer> {
  const { file } = job
  const loaded = await loadModule(file, job.folder, 'a driver module exports its driver as default')
  if ('wrong' in loaded) return refused(EXIT_USAGE, loaded.wrong)
  const result = conformance(loaded.module, {
    ...DEFAULT_BOUNDS,
    ...(job.actors !== undefined && { actors: job.actors }),
    ...(job.pages !== undefined && { pages: job.pages }),
    statesMax: job.statesMax,
    onRun: pulse.onRun,
    onProgress: ({ states, scenario, number, of }) =>
      pulse.onProgress(states, 0, `scenario ${number} of ${of}, "${scenario}"`),
  })
  if (result.verdict === 'error')
    return refused(result.driver === 'the driver' ? EXIT_USAGE : EXIT_VIOLATED, `${file}: ${result.error}`)
  return { exit: EXITS[result.verdict], text: resultText(file, result), json: resultJson(file, result) }
}

const EXITS = { pass: EXIT_OK, violated: EXIT_VIOLATED, incomplete: EXIT_INCOMPLETE } as const

function resultText(file: string, result: ConformanceResult): string {
  const { driver, clauses, others, bounds, notApplicable, states } = result
  const rows = clauses.map((clause) => [MARKS[clause.verdict], clause.clause.name, detailOf(clause)])
  const failures = [...clauses.flatMap(({ failure }) => (failure === undefined ? [] : [failure])), ...others]
  return [
    `${relative(process.cwd(), file) || file}: driver "${driver}" against the contract of movable operations`,
    CAVEAT,
    '',
    table('lll', rows).trimEnd(),
    ...others.map((failure) => `failed  ${violationText(failure.report)}`),
    '',
    `${sentenceOf(result)} Up to ${bounds.actors} actors and ${bounds.pages} pages; ${grouped(states)} states.`,
    ...notApplicable.map((what) => `Not applicable: ${what}.`),
    '',
    ...failures.map((failure) => failureText(clauses, failure)),
  ].join('\n')
}

const MARKS = {
  passed: 'passed',
  failed: 'FAILED',
  undecided: 'undecided',
  'not exercised': 'not exercised',
} as const

const SENTENCES = {
  pass: 'The driver keeps the contract.',
  violated: 'The driver breaks the contract.',
  incomplete: 'Nothing is broken, but not everything could be decided.',
  error: 'The driver could not be checked.',
} as const

/** The verdict; a driver that keeps out of some clauses has not shown that it keeps them. */
function sentenceOf({ verdict, notExercised }: ConformanceResult): string {
  if (verdict !== 'pass' || notExercised.length === 0) return SENTENCES[verdict]
  return `Nothing of what was exercised is broken; not exercised: ${notExercised.join(', ')}.`
}

function detailOf({ verdict, scenarios, states, failure, why }: ClauseResult): string {
  if (failure !== undefined) return `in "${failure.scenario}": ${violationText(failure.report)}`
  if (verdict !== 'passed') return why
  return `${grouped(scenarios.length)} scenario${scenarios.length === 1 ? '' : 's'}, ${grouped(states)} states`
}

function violationText({ counterexample }: Report): string {
  return counterexample?.violation.says ?? ''
}

function failureText(clauses: readonly ClauseResult[], failure: Failure): string {
  const broken = clauses.find((clause) => clause.failure === failure)
  const { counterexample, shortest } = failure.report
  const steps = counterexample?.steps.length ?? 0
  const name = broken === undefined ? (counterexample?.violation.name ?? '') : broken.clause.name
  return [
    `${name}${broken === undefined ? '' : `: ${broken.clause.says} (${broken.clause.rows.join(', ')})`}`,
    `  "${failure.scenario}", ${steps} step${steps === 1 ? '' : 's'}${shortest ? ', the fewest there are' : ''}`,
    '',
    drawLanes(failure.system, {
      ...failure.report,
      counterexample: counterexample && located(failure.system, counterexample),
    }),
  ].join('\n')
}

function resultJson(
  file: string,
  { driver, verdict, clauses, others, bounds, notApplicable, states }: ConformanceResult,
): object {
  return {
    schema: SCHEMA,
    file,
    driver,
    verdict,
    bounds,
    clauses: clauses.map((clause) => ({
      clause: clause.clause.name,
      says: clause.clause.says,
      rows: clause.clause.rows,
      verdict: clause.verdict,
      scenarios: clause.scenarios,
      states: clause.states,
      why: clause.why,
      failure: clause.failure === undefined ? null : failureJson(clause.failure),
    })),
    others: others.map(failureJson),
    not_applicable: notApplicable,
    states,
  }
}

const failureJson = ({ scenario, system, report }: Failure): object => ({
  scenario,
  violation: report.counterexample?.violation.name ?? '',
  says: violationText(report),
  steps: report.counterexample === undefined ? [] : stepsJson(system, report.counterexample),
  shortest: report.shortest,
  point_of_no_return: report.pointOfNoReturn ?? null,
})
