/**
 * The command line as a user runs it: the built `dist/cli/main.js` in a process of its own. The test run
 * builds it first (tools/build_first.ts).
 */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The repository's folder. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `drover` with `args` in the repository's folder. */
export function drover(...args: readonly string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/cli/main.js', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  return { status, stdout, stderr }
}
