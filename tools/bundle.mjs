/**
 * Bundles a program into one scope, which is what makes the engine fast: V8 inlines within a budget and
 * does not fold what it reads through a module's bindings. Measured on compaction of 4 M pages: 2.3 times
 * C's time bundled, 3.1 times as single modules (docs/decisions/0005-toolchain.md).
 *
 *   bundle({ entries: { 'cli/main': 'src/cli/main.ts' } })   Map of file name -> text
 *
 * esbuild writes what is constant at the top level as `var`, which V8 cannot fold either; the last step
 * makes it `const` again, and functions too: V8 asks before every inlined call of a function whether it is still
 * that one. A variable that is assigned later would throw when its module loads, and there is none: tidy forbids
 * module state. Functions go to the top for that, where their declarations took effect; a file with a source map
 * keeps its lines, and so its functions.
 *
 * Fields without a value are not written (`useDefineForClassFields` in tsconfig.base.json): to V8 a field that is
 * first undefined and then a column may be anything.
 */

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Script } from 'node:vm'
import { buildSync } from 'esbuild'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/**
 * @param {{ entries?: Record<string, string>, stdin?: string, split?: boolean, map?: boolean }} what  entries:
 *   output name without `.js` -> source, relative to the repository; or the text of one program. split: several
 *   entries share what they have in common, in chunks. map: with a source map beside each file.
 * @returns {Map<string, string>} text by file name, relative to where it is put
 */
export function bundle({ entries, stdin, split = false, map = false }) {
  const { outputFiles } = buildSync({
    ...(stdin === undefined
      ? { entryPoints: entries }
      : { stdin: { contents: stdin, resolveDir: root, sourcefile: 'program.ts', loader: 'ts' } }),
    absWorkingDir: root,
    outdir: path.join(root, 'dist'),
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: split,
    sourcemap: map ? 'linked' : false,
    sourcesContent: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    minifySyntax: true, // removes the identities of base/units.ts
    legalComments: 'none',
    write: false,
    logLevel: 'warning',
  })
  return new Map(
    outputFiles.map((file) => {
      const text = constantsOf(file.text)
      return [path.relative(path.join(root, 'dist'), file.path), map ? text : functionsOf(text)]
    }),
  )
}

const constantsOf = (text) => text.replace(/^var ([A-Za-z_$][\w$]*) = /gm, 'const $1 = ')

/** Makes every `function name(…) {…}` of the top level a constant, before everything else. */
function functionsOf(text) {
  const lines = text.split('\n')
  const firsts = lines[0].startsWith('#!') ? lines.splice(0, 1) : []
  const functions = []
  const others = []
  for (let at = 0; at < lines.length; at++) {
    const start = /^function ([A-Za-z_$][\w$]*)\(/.exec(lines[at])
    if (start === null) {
      others.push(lines[at])
      continue
    }
    const end = endOfFunction(lines, at)
    const statement = lines.slice(at, end + 1).join('\n')
    functions.push(`const ${start[1]} = function(${statement.slice(start[0].length)};`)
    at = end
  }
  return [...firsts, ...functions, ...others].join('\n')
}

/** The last line of the function that begins there. A line `}` may also be part of a text: up to it, it does not parse. */
function endOfFunction(lines, first) {
  for (let last = first; last < lines.length; last++) {
    if (!lines[last].endsWith('}') || (last > first && lines[last] !== '}')) continue
    if (parses(lines.slice(first, last + 1).join('\n'))) return last
  }
  throw new Error(`bundle: no end of ${lines[first]}`)
}

function parses(statement) {
  try {
    const script = new Script(statement.replaceAll('import.meta', 'imported')) // a script has none
    return script instanceof Script
  } catch {
    return false
  }
}
