/**
 * Provenance of an import: what the command says, and what the folder's `run.json` notes where it is silent.
 *
 * `run.json` is an experiment's own notes. It is optional, and only two things of it are wanted, so one that is absent
 * or somebody else's is no error.
 */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Provenance } from '../format/capture.ts'
import type { ImportOptions } from './import_options.ts'
import { fieldOf, parseJson } from './json_value.ts'
import { readWholeFile, textOf } from './raw_file.ts'

/** Provenance of the snapshot `label` of the folder `dir` of kind `source`. */
export function provenanceOf(
  source: string,
  dir: string,
  label: string | undefined,
  options: ImportOptions,
): Provenance {
  const run = readRunJson(dir)
  const kernel = options.kernel ?? run.kernel
  const name = options.name ?? run.name
  return {
    tool: options.tool,
    source,
    ...(label !== undefined && { label }),
    ...(kernel !== undefined && { kernel }),
    ...(name !== undefined && { name }),
  }
}

function readRunJson(dir: string): { readonly name?: string; readonly kernel?: string } {
  const path = join(dir, 'run.json')
  const file = existsSync(path) ? readWholeFile(path) : undefined
  if (!file?.ok) return {}
  const json = parseJson(textOf(file.value))
  const name = fieldOf(json, 'name') ?? fieldOf(json, 'scenario')
  // "6.1.0-56-amd64 (debian-kernel@…) …": uname -r is its first word.
  const version = fieldOf(json, 'linux_version')
  return {
    ...(typeof name === 'string' && { name }),
    ...(typeof version === 'string' && { kernel: version.split(' ')[0] }),
  }
}
