/**
 * What a model is: a small closed system and the question that it answers.
 *
 * A model is built from the engine's own functions, a few tasks and the rules that must hold. `seeded` are
 * known mistakes: each makes another system, in which the checker must find something. A model that has never
 * failed proves nothing.
 *
 * Rules (of a model's file):
 *   - the header says what is verified, and what is not and why;
 *   - one question a file; its export is listed in index.ts.
 */

import type { System } from '../check/system.ts'

/** How large a model is. What a model cannot vary it ignores, and says so in its header. */
export interface ModelSize {
  /** Tasks of the kind that the model multiplies. */
  readonly actors: number
  readonly pages: number
}

export interface Model {
  /** Short, for the command line: `isolate-free`. */
  readonly name: string
  /** What it answers, as one sentence that ends in a question mark. */
  readonly question: string
  /** Where it comes from: rows of the specification, or a commit. */
  readonly source: string
  /** Name of each seeded mistake, and what is wrong there, in one sentence. */
  readonly seeded: Readonly<Record<string, string>>
  /** What `drover check` explores without being asked for another size. */
  readonly size: ModelSize
  /** Largest size that makes sense. */
  readonly sizeMax: ModelSize
  /** The system; with a seeded mistake if one is named. Names are keys of `seeded`. */
  readonly build: (size: ModelSize, seeded: string | undefined) => System
}
