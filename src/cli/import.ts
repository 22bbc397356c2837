/**
 * `drover import DIR -o FILE`: a folder of raw /proc files as a capture file.
 *
 * Not here: what the folders look like (capture/linux), what the file looks like (capture/format).
 */

import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings'
import { describeInputError, type InputError } from '../base/result.ts'
import { type Capture, TRUTH_COLUMN_NAMES, type TruthColumnName } from '../capture/format/capture.ts'
import { checkConsistency } from '../capture/format/consistency.ts'
import { type GzipLevel, writeCaptureFile } from '../capture/linux/capture_file.ts'
import { importDirectory } from '../capture/linux/import_dir.ts'
import type { TruthSelection } from '../capture/linux/import_options.ts'
import { packageVersion, refuse } from './report.ts'

const SUMMARY_SCHEMA = 'drover.import.v1'
const PREFIX = 'truth.'
/** 6.1, the oldest kernel whose rules the engine knows. */
const OLDEST_RULES = 6001

/** Adds `import` to `program`. Bad input sets the exit code to 3; it does not throw. */
export function registerImport(program: Command): void {
  program
    .command('import')
    .summary('make a capture file of a folder of raw /proc files')
    .description(
      'Make a capture file of a folder of raw files: KSNP1 (*.kpageflags.ksnp.gz), MMPG1 (pages-*.bin.gz),\n' +
        'or plain copies of /proc/kpageflags, kpagecount, kpagecgroup, zoneinfo, buddyinfo, ….',
    )
    .argument('<dir>', 'the folder')
    .requiredOption('-o, --output <file>', 'the capture file to write')
    .option('--side <label>', 'which snapshot: before, after, or another label that the folder has')
    .option(
      '--truth [columns]',
      `take recorded truth along: all of it, or --truth=${shortTruthNames().join(',')}`,
      parseTruth,
    )
    .addOption(
      new Option(
        '--slim [what]',
        'keep only what a comparison needs; --slim=cgroup: all, but only whether a page is charged',
      )
        .choices(['cgroup', 'all'])
        .preset('all'),
    )
    .option(
      '--kernel <release>',
      'uname -r of the captured machine: by its rules it will be compacted',
      parseRelease,
    )
    .option('--name <name>', 'name of the experiment, to be recorded')
    .option('--level <n>', 'gzip level, 1 (fast) to 9 (small)', parseLevel, 6)
    .option('--json', 'print a summary as JSON on stdout')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  drover import /tmp/proc-copy -o machine.drover\n' +
        '  drover import captures/anon50 --side before --slim=cgroup -o before.drover\n' +
        '  drover import captures/anon50 --side after --slim --truth=pcp -o after.drover',
    )
    .action((dir, options) => {
      const imported = importDirectory(dir, {
        truth: truthSelection(options.truth),
        slim: slimMode(options.slim),
        tool: `drover ${packageVersion()}`,
        ...(options.side !== undefined && { label: options.side }),
        ...(options.kernel !== undefined && { kernel: options.kernel }),
        ...(options.name !== undefined && { name: options.name }),
      })
      if (!imported.ok) return refuse(imported.error)
      const capture = imported.value
      const written = writeCaptureFile(options.output, capture, options.level)
      if (!written.ok) return refuse(written.error)
      const warnings = checkConsistency(capture)
      for (const warning of warnings) warn(describeInputError(warning))
      if (warnings.length > 0) warn('inspect, explain and compact will refuse this capture')
      if (!capture.columns.has('mapcount'))
        warn(`${dir}: no kpagecount; every mapped page will count as mapped once`)
      process.stderr.write(`${describeWritten(options.output, capture, written.value)}\n`)
      if (options.json)
        process.stdout.write(
          `${JSON.stringify(summaryOf(options.output, capture, written.value, warnings))}\n`,
        )
    })
}

const shortTruthNames = (): string[] => TRUTH_COLUMN_NAMES.map((name) => name.slice(PREFIX.length))

function warn(what: string): void {
  process.stderr.write(`drover: warning: ${what}\n`)
}

function parseTruth(value: string): TruthColumnName[] {
  return value.split(',').map((short) => {
    const name = TRUTH_COLUMN_NAMES.find((known) => known === PREFIX + short)
    if (name) return name
    throw new InvalidArgumentError(
      `'${short}' is none of ${shortTruthNames().join(', ')}; DIR goes before --truth.`,
    )
  })
}

function parseRelease(value: string): string {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(value) ?? []
  if (major !== undefined && Number(major) * 1000 + Number(minor) >= OLDEST_RULES) return value
  throw new InvalidArgumentError(
    'It is what uname -r prints, 6.1 or newer: older kernels have rules of their own.',
  )
}

function parseLevel(value: string): GzipLevel {
  const levels: readonly GzipLevel[] = [1, 2, 3, 4, 5, 6, 7, 8, 9]
  const level = levels.find((known) => String(known) === value)
  if (level) return level
  throw new InvalidArgumentError('It is 1 to 9.')
}

const truthSelection = (option: true | TruthColumnName[] | undefined): TruthSelection =>
  option === undefined ? 'none' : option === true ? 'all' : option

const slimMode = (option: string | true | undefined): 'none' | 'cgroup' | 'all' =>
  option === undefined ? 'none' : option === 'cgroup' ? 'cgroup' : 'all'

function describeWritten(path: string, capture: Capture, bytes: number): string {
  const { label, name, kernel } = capture.provenance
  const what = [name, label, kernel].filter((part) => part !== undefined).join(', ')
  const columns = [...capture.columns.keys()].join(', ')
  return `wrote ${path}: ${what === '' ? '' : `${what}; `}${capture.pfnCount} pages; ${columns}; ${bytes} bytes`
}

function summaryOf(path: string, capture: Capture, bytes: number, warnings: readonly InputError[]): unknown {
  return {
    schema: SUMMARY_SCHEMA,
    file: path,
    bytes,
    pages: capture.pfnCount,
    provenance: capture.provenance,
    columns: [...capture.columns].map(([name, column]) => ({
      name,
      scope: column.scope,
      distinct_words: column.dictionaryLow.length,
    })),
    texts: [...capture.texts.keys()],
    warnings: warnings.map(describeInputError),
  }
}
