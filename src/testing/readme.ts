/**
 * The parts of README that commands print: a test compares them, and `DROVER_UPDATE=1 npm test` writes
 * them anew.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './drover.ts'

const README = join(ROOT, 'README.md')

/**
 * What stands between `<!-- marker -->` and `<!-- end -->`. With DROVER_UPDATE it is `printed` from now on, unless
 * that is undefined: not all of it could be printed here.
 */
export function readmePart(marker: string, printed: string | undefined): string {
  const readme = readFileSync(README, 'utf8')
  const start = `<!-- ${marker} -->\n`
  const from = readme.indexOf(start)
  const to = readme.indexOf('\n<!-- end -->', from)
  if (from < 0 || to < 0) throw new Error(`README.md has no part '${marker}'`)
  if (printed === undefined || process.env['DROVER_UPDATE'] === undefined)
    return readme.slice(from + start.length, to)
  writeFileSync(README, readme.slice(0, from + start.length) + printed + readme.slice(to))
  return printed
}
