/**
 * What every importer is asked, and the two decisions that all of them share: which snapshot of a
 * folder, and which recorded truth.
 */

import { bad, type InputError, ok, type Result } from '../../base/result.ts'
import type { Column, ColumnName, TruthColumnName } from '../format/capture.ts'
import type { SlimMode } from '../format/slim.ts'

/** `all`: every truth column that the folder can give. A list: exactly those, and it is an error if one is not there. */
export type TruthSelection = 'none' | 'all' | readonly TruthColumnName[]

export interface ImportOptions {
  /** `before`, `after` or another snapshot label. May be left out if the folder has one snapshot only. */
  readonly label?: string
  readonly truth: TruthSelection
  readonly slim: SlimMode
  /** Name and version of what imports, for the provenance. */
  readonly tool: string
  /** uname -r of the captured machine, where the folder does not record it. */
  readonly kernel?: string
  /** Name of the experiment, where the folder's own is not wanted. */
  readonly name?: string
}

/** The one snapshot of `labels` that is meant: the wanted one, or the only one. */
export function chooseLabel(
  dir: string,
  labels: readonly string[],
  wanted: string | undefined,
): Result<string> {
  const choice = wanted ?? (labels.length === 1 ? labels[0] : undefined)
  const have = labels.join(', ')
  if (choice === undefined)
    return bad(dir, 'snapshots', `there are several: ${have}`, 'choose one with --side')
  if (!labels.includes(choice))
    return bad(dir, 'snapshots', `there is no '${choice}', only ${have}`, 'choose one of these with --side')
  return ok(choice)
}

/** How to get each truth column that a folder may have. Called only for those that are wanted. */
export type TruthReaders = ReadonlyMap<TruthColumnName, () => Result<Column>>

/** Adds the wanted truth columns to `columns`. Gives the first thing wrong. */
export function addTruth(
  dir: string,
  columns: Map<ColumnName, Column>,
  selection: TruthSelection,
  readers: TruthReaders,
): InputError | undefined {
  if (selection === 'none') return undefined
  const wanted = selection === 'all' ? [...readers.keys()] : selection
  if (wanted.length === 0)
    return errorOf(bad(dir, 'truth', 'no truth was recorded in this folder', 'leave out --truth'))
  for (const name of wanted) {
    const read = readers.get(name)
    if (!read) {
      const have = readers.size === 0 ? 'nothing' : [...readers.keys()].join(', ')
      return errorOf(bad(dir, name, `this was not recorded; what was: ${have}`, 'leave it out of --truth'))
    }
    const column = read()
    if (!column.ok) return column.error
    columns.set(name, column.value)
  }
  return undefined
}

const errorOf = (result: Result<never>): InputError | undefined => (result.ok ? undefined : result.error)
