/**
 * A listener to some tracepoints: the others are told to nobody.
 *
 * @ours
 */

import type { Tracepoints } from '../mm/trace.ts'

const nobody = (): void => undefined

/** Tracepoints of which only those in `handlers` are listened to. */
export function listenTo(handlers: Partial<Tracepoints>): Tracepoints {
  const known = new Map<PropertyKey, unknown>(Object.entries(handlers))
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every method that is asked for is there
  return new Proxy({}, { get: (_, name) => known.get(name) ?? nobody }) as Tracepoints
}
