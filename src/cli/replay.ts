/**
 * `drover replay SCHEDULE`: take a schedule that `drover check` has printed once more, step by step, on the plain
 * code of the protocol.
 */

import type { Command } from '@commander-js/extra-typings'
import { runInWorker } from './run_in_worker.ts'

/** Adds `replay` to `program`. */
export function registerReplay(program: Command): void {
  program
    .command('replay')
    .summary('take a schedule of the checker once more')
    .description(
      'Take a schedule that `drover check` has printed, on the plain code, and show every step. Exits with 1 if it\n' +
        'breaks a rule, as it did; a schedule of another model or version is refused.',
    )
    .argument('<schedule>', 'the string that begins with drover1:')
    .option('--json', 'print JSON on stdout')
    .addHelpText(
      'after',
      '\nExample:\n  drover replay drover1:isolate-free:2x1:no-isolated-mark:a5b5:85a7e08b',
    )
    .action((schedule, options) => runInWorker({ kind: 'replay', schedule }, options.json === true))
}
