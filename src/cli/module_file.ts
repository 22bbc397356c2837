/**
 * Loads a module that a user has written, TypeScript or JavaScript: a driver, or a scenario. It is bundled with what it
 * imports into one file, which is then imported. `drover/driver` and `drover/sim` are this drover's, wherever it lies.
 *
 * Types are not checked, only removed. What goes wrong is one line with file, line and column.
 */

import { existsSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { BuildFailure } from 'esbuild'

/** The default export of a module, or why there is none. */
export type Loaded = { readonly module: unknown } | { readonly wrong: string }

/** What modules import, seen from dist/cli. */
const SIM_ENTRY = fileURLToPath(new URL('../sim/index.js', import.meta.url))
const DRIVER_ENTRY = fileURLToPath(new URL('../models/conformance/index.js', import.meta.url))

/** Bundles the module into `folder`, which the caller removes, and imports it. `what` says what its default export is. */
export async function loadModule(file: string, folder: string, what: string): Promise<Loaded> {
  const path = resolve(file)
  if (!existsSync(path)) return { wrong: `${file}: there is no such file` }
  const bundled = await bundle(path, file)
  if ('wrong' in bundled) return bundled
  try {
    const module = join(folder, 'module.mjs')
    writeFileSync(module, bundled.code)
    const loaded: unknown = await import(pathToFileURL(module).href)
    if (typeof loaded === 'object' && loaded !== null && 'default' in loaded)
      return { module: loaded.default }
    return { wrong: `${file}: has no default export; ${what}` }
  } catch (error) {
    return {
      wrong: `${file}: throws while it is loaded: ${error instanceof Error ? error.message : String(error)}`,
    }
  }
}

async function bundle(path: string, shown: string): Promise<{ code: string } | { wrong: string }> {
  const { build } = await import('esbuild')
  try {
    const { outputFiles } = await build({
      entryPoints: [path],
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      sourcemap: 'inline',
      alias: { 'drover/driver': DRIVER_ENTRY, 'drover/sim': SIM_ENTRY },
      logLevel: 'silent',
    })
    return { code: outputFiles[0].text }
  } catch (error) {
    if (!isBuildFailure(error)) throw error
    const [first] = error.errors
    const at = first?.location
    const where =
      at === null || at === undefined
        ? shown
        : `${relative(process.cwd(), resolve(at.file))}:${at.line}:${at.column + 1}`
    return { wrong: `${where}: ${first?.text ?? error.message}` }
  }
}

const isBuildFailure = (error: unknown): error is BuildFailure =>
  error instanceof Error && 'errors' in error && Array.isArray(error.errors)
