/**
 * Assertions: a violated one is a bug of ours, never bad input and never an outcome of a protocol.
 *
 * Rules:
 *   - always on: in the engine, in tests and in the CLI;
 *   - the message is a literal, so that it can be searched for;
 *   - only `cli/` and `web/` catch it (exit 70).
 */

export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** Throws AssertionError with `message` unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) fail(message)
}

/** Throws: a place that cannot be reached was. */
export function fail(message: string): never {
  throw new AssertionError(message)
}
