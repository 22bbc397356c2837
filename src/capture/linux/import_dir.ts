/**
 * Import: a folder of raw files, of whichever kind, as a capture.
 *
 * The kind is told by the files in it, and the capture that comes out is one that the file format accepts:
 * flags and zoneinfo present, columns of one length, no flag word that cannot be.
 */

import { statSync } from 'node:fs'
import { bad, ok, type Result } from '../../base/result.ts'
import type { Capture } from '../format/capture.ts'
import { checkCapture } from '../format/layout.ts'
import { slimCapture } from '../format/slim.ts'
import { importKsnp1, ksnp1Labels } from './import_ksnp1.ts'
import { importMmpg1, mmpg1Labels } from './import_mmpg1.ts'
import type { ImportOptions } from './import_options.ts'
import { importProc, procLabels } from './import_proc.ts'
import { describeCause } from './raw_file.ts'

interface FolderKind {
  readonly labels: (dir: string) => readonly string[]
  readonly import: (dir: string, options: ImportOptions) => Result<Capture>
}

const KINDS: readonly FolderKind[] = [
  { labels: ksnp1Labels, import: importKsnp1 },
  { labels: mmpg1Labels, import: importMmpg1 },
  { labels: procLabels, import: importProc },
]

/** The snapshot in the folder `dir` that `options` name, reduced as they say. */
export function importDirectory(dir: string, options: ImportOptions): Result<Capture> {
  const kind = kindOf(dir)
  if (!kind.ok) return kind
  const imported = kind.value.import(dir, options)
  if (!imported.ok) return imported
  const wrong = checkCapture(imported.value)
  if (wrong) return { ok: false, error: { ...wrong, where: `${dir}: ${wrong.where}` } }
  return ok(slimCapture(imported.value, options.slim))
}

function kindOf(dir: string): Result<FolderKind> {
  try {
    if (!statSync(dir).isDirectory())
      return bad(dir, 'opening', 'this is not a folder', 'name the folder that holds the raw files')
    const kind = KINDS.find(({ labels }) => labels(dir).length > 0)
    if (kind) return ok(kind)
  } catch (cause) {
    return bad(dir, 'opening', describeCause(cause), 'check the path and its permissions')
  }
  return bad(
    dir,
    'files',
    'there is no snapshot in this folder: no kpageflags, *.kpageflags.ksnp.gz or pages-*.bin.gz',
    'copy /proc/kpageflags, kpagecount and zoneinfo, buddyinfo, pagetypeinfo there',
  )
}
