#!/usr/bin/env node
/**
 * The command line: one file a command, registered here.
 *
 * Exit codes: 0 ok, 1 the answer is bad (a rule is broken), 2 usage, 3 input data unusable, 5 a bound was reached, so
 * the result is incomplete, 70 a bug of ours. (4 is kept for a missing permission.)
 */

import { Command, CommanderError } from '@commander-js/extra-typings'
import { AssertionError } from '../base/assert.ts'
import { registerCheck } from './check.ts'
import { registerCompact } from './compact.ts'
import { registerDemo } from './demo.ts'
import { registerExplain } from './explain.ts'
import { registerImport } from './import.ts'
import { registerInspect } from './inspect.ts'
import { registerReplay } from './replay.ts'
import { EXIT_BUG, EXIT_CANNOT_WRITE, EXIT_USAGE, packageVersion } from './report.ts'
import { registerRun } from './run.ts'

const program = new Command('drover')
  .description(
    "Linux's page-mobility machinery: what state memory is in, what holds its huge pages,\nwhat compaction would get, and whether a driver's callbacks are free of races.",
  )
  .version(packageVersion(), '-V, --version')
  .option('--debug', 'print the stack of an internal error')
  .showSuggestionAfterError()
  .exitOverride()

registerDemo(program)
registerImport(program)
registerInspect(program)
registerExplain(program)
registerCompact(program)
registerCheck(program)
registerReplay(program)
registerRun(program)

// A reader that closes the pipe (head, less) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  process.stderr.write(`drover: cannot write the output: ${error.message}\n`)
  process.exit(EXIT_CANNOT_WRITE)
})

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version leave with 0; everything else that commander finds is a usage error.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
  } else {
    const what = error instanceof Error ? error.message : String(error)
    const kind = error instanceof AssertionError ? 'an assertion failed' : 'an unexpected error'
    process.stderr.write(
      `drover: ${kind}: ${what}\nThis is a bug of drover. Please report it with the command line.\n`,
    )
    if (process.argv.includes('--debug') && error instanceof Error) process.stderr.write(`${error.stack}\n`)
    process.exitCode = EXIT_BUG
  }
}
