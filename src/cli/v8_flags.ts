/**
 * Lets V8 inline twice as much into one function as it does by default: the engine's functions are small, and a step of
 * a protocol is a dozen of them.
 *
 * Measured on compaction of 4 M pages: a tenth less time (docs/decisions/0012-v8-flags.md). Not for the library: whoever
 * uses it decides on his process himself.
 */

import v8 from 'node:v8'

/** To be called before anything that runs for long: V8 looks at it whenever it compiles. */
export function setV8Flags(): void {
  v8.setFlagsFromString('--max-inlined-bytecode-size-cumulative=2000')
}
