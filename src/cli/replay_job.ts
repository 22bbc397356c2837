/** `drover replay`: takes a schedule once more, step by step, on the plain code; the worker's part. */

import { DEFAULTS } from '../check/check.ts'
import { type Counterexample, explain } from '../check/counterexample.ts'
import { drawLanes } from '../check/lanes.ts'
import { Learned } from '../check/learned.ts'
import { pointOfNoReturn } from '../check/point_of_no_return.ts'
import { parseSchedule, type Schedule, sumOfSteps } from '../check/schedule.ts'
import type { Model } from '../models/model.ts'
import type { Answer, ReplayJob } from './check_protocol.ts'
import { headText, modelNamed, refused, stepsJson, unknownModel } from './check_text.ts'
import { didYouMean } from './nearest.ts'
import { EXIT_OK, EXIT_USAGE, EXIT_VIOLATED } from './report.ts'

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
