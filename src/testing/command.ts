/**
 * Commands in the test's own process: quicker than a process each, and what they print is caught.
 */

import { Command, CommanderError } from '@commander-js/extra-typings'
import { afterEach, beforeEach, vi } from 'vitest'

/** What was written since the test began. */
export interface Streams {
  stdout: string
  stderr: string
}

/** Catches stdout and stderr from each test of the file on, and forgets the exit code after it. */
export function catchStreams(): Streams {
  const caught: Streams = { stdout: '', stderr: '' }
  beforeEach(() => {
    caught.stdout = ''
    caught.stderr = ''
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      caught.stdout += String(text)
      return true
    })
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      caught.stderr += String(text)
      return true
    })
  })
  afterEach(() => {
    vi.restoreAllMocks()
    process.exitCode = undefined
  })
  return caught
}

/** Runs a program of these commands. Usage errors come back, as the code that commander would exit with. */
export function runCommands(
  register: readonly ((program: Command) => void)[],
  args: readonly string[],
): string | undefined {
  const program = new Command('drover').exitOverride()
  for (const add of register) add(program)
  // Settings are inherited when a command is added, so after the fact they are set on each.
  for (const command of program.commands) command.exitOverride()
  try {
    program.parse(args, { from: 'user' })
    return undefined
  } catch (error) {
    if (error instanceof CommanderError) return error.code
    throw error
  }
}
