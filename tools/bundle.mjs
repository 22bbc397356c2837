/**
 * Bundles a program into one scope, which is what makes the engine fast: V8 inlines within a budget and
 * does not fold what it reads through a module's bindings. Measured on compaction of 4 M pages: 2.3 times
 * C's time bundled, 3.1 times as single modules (docs/decisions/0005-toolchain.md).
 *
 *   bundle({ entries: { 'cli/main': 'src/cli/main.ts' } })   Map of file name -> text
 *
 * esbuild writes what is constant at the top level as `var`, which V8 cannot fold either; the last step
 * makes it `const` again. A variable that is assigned later would throw when its module loads, and there
 * is none: tidy forbids module state.
 */

import path from 'node:path'
import { fileURLToPath } from 'node:url'
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
    outputFiles.map((file) => [path.relative(path.join(root, 'dist'), file.path), constantsOf(file.text)]),
  )
}

const constantsOf = (text) => text.replace(/^var ([A-Za-z_$][\w$]*) = /gm, 'const $1 = ')
