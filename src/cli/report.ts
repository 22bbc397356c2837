/**
 * What every command says in the same way: exit codes, refusals, numbers.
 */

import { readFileSync } from 'node:fs'
import { buildPageMap, type PageMap } from '../analyze/page_map.ts'
import { describeInputError, type InputError, type Result } from '../base/result.ts'
import type { Capture } from '../capture/format/capture.ts'
import { checkConsistency } from '../capture/format/consistency.ts'
import { readCaptureFile } from '../capture/linux/capture_file.ts'

export const EXIT_OK = 0
/** The answer is "bad": a rule is broken. */
export const EXIT_VIOLATED = 1
export const EXIT_USAGE = 2
export const EXIT_BAD_INPUT = 3
/** A bound was reached: the result is incomplete. */
export const EXIT_INCOMPLETE = 5
export const EXIT_BUG = 70
/** sysexits.h EX_IOERR */
export const EXIT_CANNOT_WRITE = 74

/** Says in one line on stderr what is wrong with the input, and lets the process leave with 3. */
export function refuse(error: InputError): void {
  process.stderr.write(`drover: ${describeInputError(error)}\n`)
  process.exitCode = EXIT_BAD_INPUT
}

/** drover's version, from package.json: two folders up from src/cli and from dist/cli alike. */
export function packageVersion(): string {
  const json: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return typeof json === 'object' && json !== null && 'version' in json ? String(json.version) : '?'
}

/** One capture, read and mapped. */
export interface Side {
  readonly path: string
  readonly capture: Capture
  readonly map: PageMap
}

/**
 * Reads a capture file and concludes who owns its pages. `shown` is how the path is printed.
 *
 * @errors  as readCaptureFile(), checkConsistency() and buildPageMap(), with the path
 */
export function readSide(path: string, shown = path): Result<Side> {
  const capture = readCaptureFile(path)
  if (!capture.ok) return capture
  const contradiction = checkConsistency(capture.value).at(0)
  if (contradiction !== undefined) return { ok: false, error: atPath(path, contradiction) }
  const map = buildPageMap(capture.value)
  return map.ok
    ? { ok: true, value: { path: shown, capture: capture.value, map: map.value } }
    : { ok: false, error: atPath(path, map.error) }
}

const atPath = (path: string, error: InputError): InputError => ({
  ...error,
  where: `${path}: ${error.where}`,
})
