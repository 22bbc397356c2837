/**
 * The reference captures: large ones, kept beside the project and not part of it. A test that needs one
 * skips without it, and says so.
 */

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describeInputError, type Result } from '../base/result.ts'
import type { Capture } from '../capture/format/capture.ts'
import { readCaptureFile } from '../capture/linux/capture_file.ts'
import { importDirectory } from '../capture/linux/import_dir.ts'

const REFERENCE = fileURLToPath(new URL('../../../shared/captures/', import.meta.url))

/** True, with one line on the console, where the reference captures are not. */
export function referenceIsAbsent(): boolean {
  if (existsSync(REFERENCE)) return false
  console.info('skipped: the reference captures are not on this machine')
  return true
}

/** Path of a folder (or file) of the reference captures, or undefined where it is absent. */
export function referenceCapture(name: string): string | undefined {
  const path = REFERENCE + name
  if (existsSync(path)) return path
  console.info(`skipped: the reference capture ${name} is not on this machine`)
  return undefined
}

/** One snapshot of a reference capture, with all truth that was recorded. */
export const importReference = (name: string, label: string): Capture =>
  valueOf(importDirectory(REFERENCE + name, { label, truth: 'all', slim: 'none', tool: 'test' }))

/** The capture of the repository's demo: 6.5 M pages, as /proc shows them. */
export const demoCapture = (label: 'before' | 'after'): Capture =>
  valueOf(readCaptureFile(fileURLToPath(new URL(`../../demo/anon50.${label}.drover`, import.meta.url))))

/** The value of a result that must be one. */
export function valueOf<T>(result: Result<T>): T {
  if (result.ok) return result.value
  throw new Error(describeInputError(result.error))
}
