/**
 * What the jobs of the checker say in the same way: which model, how large, where its steps stand, and refusals.
 */

import { grouped } from '../base/text.ts'
import { type Counterexample, explain } from '../check/counterexample.ts'
import { Learned } from '../check/learned.ts'
import { instancesOf, type System } from '../check/system.ts'
import { MODELS } from '../models/index.ts'
import type { Model, ModelSize } from '../models/model.ts'
import type { Answer } from './check_protocol.ts'
import { didYouMean } from './nearest.ts'

/** The first line of every report. */
export const CAVEAT = 'What a verdict means, and what it does not: CAVEATS.md, "The checker".'

export const refused = (exit: number, refusal: string): Answer => ({ exit, text: '', json: {}, refusal })

export const modelNamed = (name: string): Model | undefined => MODELS.find((model) => model.name === name)

/** Says that there is no such model, and which one was probably meant. */
export function unknownModel(name: string): string {
  const names = MODELS.map((model) => model.name)
  const near = didYouMean(name, names)
  return `there is no model "${name}"${near === '' ? '; drover check lists them' : near}`
}

/** `1 state`, `2,000 states` */
export const countText = (count: number, what: string): string =>
  `${grouped(count)} ${what}${count === 1 ? '' : 's'}`

/** `2 actors, 1 page` */
export const sizeText = ({ actors, pages }: ModelSize): string =>
  `${countText(actors, 'actor')}, ${countText(pages, 'page')}`

/** The head of a report about a model. */
export const headText = (model: Model, size: ModelSize): string =>
  `${model.name} (${sizeText(size)}): ${model.question}\n${CAVEAT}\n\n`

/** The counterexample with the lines of the source at which its steps stand. */
export function located(system: System, counterexample: Counterexample): Counterexample {
  const { steps } = explain(new Learned(system), counterexample.schedule, true)
  return { ...counterexample, steps }
}

/** The steps of a counterexample in the machine format. */
export const stepsJson = (system: System, { steps }: Counterexample): object[] => {
  const names = instancesOf(system).map(({ name }) => name)
  return steps.map(({ instance, text, changes, held, place, returned }) => ({
    actor: names[instance],
    step: text,
    changes,
    held,
    place,
    returned: returned ?? null,
  }))
}
