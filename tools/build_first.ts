/**
 * Runs before the tests: `dist/` is what the sources say, because tests of the command line run it.
 */

import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export default function buildFirst(): void {
  const bootstrap = fileURLToPath(new URL('bootstrap.mjs', import.meta.url))
  execFileSync(process.execPath, [bootstrap, 'build'], { stdio: ['ignore', 'inherit', 'inherit'] })
}
