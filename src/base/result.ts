/**
 * Results for what the outside world can get wrong: input that is truncated, foreign, contradictory.
 * A bug of ours throws (assert.ts); bad input is a value, with all that a person needs to act on it.
 */

/** One line for a person: where, what is wrong, what to do. */
export interface InputError {
  /** File, or section of a file. */
  readonly where: string
  /** Byte offset, field or line. */
  readonly at: string
  /** What is wrong. */
  readonly what: string
  /** What to do. */
  readonly todo: string
}

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: InputError }

export const ok = <T>(value: T): Result<T> => ({ ok: true, value })

export const bad = (where: string, at: string, what: string, todo: string): Result<never> => ({
  ok: false,
  error: { where, at, what, todo },
})

/** `where: at: what; todo` in one line. */
export const describeInputError = (error: InputError): string =>
  `${error.where}: ${error.at}: ${error.what}; ${error.todo}`
