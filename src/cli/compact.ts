/**
 * `drover compact CAPTURE`: run compaction on a captured machine; score it against a capture taken after.
 *
 * Not here: the algorithm (mm/compaction.ts), the brackets (analyze/predict.ts), the score (analyze/compare.ts).
 */

import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings'
import { sizeText } from '../analyze/blockers.ts'
import { type Actual, actualBetween, type PredictionError, predictionError } from '../analyze/compare.ts'
import { hugeBlocks } from '../analyze/free_blocks.ts'
import type { PageMap } from '../analyze/page_map.ts'
import {
  blocksOfZone,
  type FreeBlocks,
  machineBlocks,
  type Prediction,
  type PredictOptions,
  predictCompaction,
  type Range,
  statusOf,
} from '../analyze/predict.ts'
import type { Result } from '../base/result.ts'
import { grouped } from '../base/text.ts'
import { RULES_6_1, RULES_6_12, RULES_6_18 } from '../mm/index.ts'
import { inferredJson } from './inspect.ts'
import { readSide, refuse, type Side } from './report.ts'
import { signedPercent, table } from './table.ts'
import { setV8Flags } from './v8_flags.ts'

const SCHEMA = 'drover.compact.v1'
const RULES = [RULES_6_1, RULES_6_12, RULES_6_18]
const HUGE_PAGE_PAGES = 512

/** Everything that one run found; what is printed and what goes into JSON are two views of it. */
export interface CompactReport {
  readonly before: Side
  readonly prediction: Prediction
  readonly against?: { readonly actual: Actual; readonly error: PredictionError }
}

/** Adds `compact` to `program`. */
export function registerCompact(program: Command): void {
  program
    .command('compact')
    .summary('run compaction on a captured machine and say what it would get')
    .description(
      'Compact every zone of a captured machine, as writing 1 to /proc/sys/vm/compact_memory does, by the\n' +
        'rules of its kernel. With --against, score the prediction against what the kernel then did.',
    )
    .argument('<capture>', 'the machine before')
    .option('--against <capture>', 'the same machine after its kernel compacted it')
    .addOption(
      new Option('--rules <release>', 'behave as this kernel (default: as the captured one)').choices(
        RULES.map((rules) => rules.name),
      ),
    )
    .option('--seed <n>', 'seed of what is assumed at random', parseSeed, 1)
    .option('--json', 'print JSON on stdout')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  drover compact machine.drover\n' +
        '  drover compact before.drover --against after.drover\n' +
        '  drover compact machine.drover --json | jq .predicted.free_blocks_by_order',
    )
    .action((path, options) => {
      const rules = RULES.find(({ name }) => name === options.rules)
      const before = readSide(path)
      if (!before.ok) return refuse(before.error)
      const report = compactReport(before.value, options.against, {
        seed: options.seed,
        ...(rules && { rules }),
      })
      if (!report.ok) return refuse(report.error)
      const text = options.json ? `${JSON.stringify(compactJson(report.value))}\n` : compactText(report.value)
      process.stdout.write(text)
    })
}

function parseSeed(text: string): number {
  const seed = Number(text)
  if (/^\d+$/.test(text) && seed < 2 ** 32) return seed
  throw new InvalidArgumentError('It is a whole number from 0 to 4294967295.')
}

/** Runs the prediction and, if there is a capture to compare with, reads and scores it. */
export function compactReport(
  before: Side,
  against: string | undefined,
  options: PredictOptions,
): Result<CompactReport> {
  const { capture, map } = before
  setV8Flags()
  const prediction = predictCompaction(capture, map, options)
  if (!prediction.ok) return prediction
  const found = { before, prediction: prediction.value }
  if (against === undefined) return { ok: true, value: found }
  const after = readSide(against)
  if (!after.ok) return after
  const actual = actualBetween(capture, after.value.capture, after.value.map)
  if (!actual.ok) return { ok: false, error: { ...actual.error, where: against } }
  const error = predictionError(prediction.value.outcome, actual.value, map, after.value.map)
  return { ok: true, value: { ...found, against: { actual: actual.value, error } } }
}

// JSON. Keys are documented in docs/formats/json.md.

const blocksJson = (blocks: FreeBlocks): object => ({
  free_blocks_by_order: blocks.freeBlocks,
  free_blocks_by_order_drained: blocks.freeBlocksDrained,
  order9_blocks: hugeBlocks(blocks.freeBlocksDrained),
})

const rangeJson = (name: string, range: Range): object => ({
  [`${name}_low`]: range.low,
  [`${name}_high`]: range.high,
})

/** The machine format of a report. */
export function compactJson({ before, prediction, against }: CompactReport): object {
  const { outcome } = prediction
  const sum = (pick: 'pagesMigrated' | 'pagesFailed' | 'migrateScanned' | 'freeScanned'): number =>
    outcome.zones.reduce((total, zone) => total + zone[pick], 0)
  return {
    schema: SCHEMA,
    rules: prediction.rules.name,
    before: blocksJson(blocksOf(before.map)),
    predicted: {
      pages_migrated: sum('pagesMigrated'),
      ...rangeJson('pages_migrated', prediction.pagesMigrated),
      pages_failed: sum('pagesFailed'),
      migrate_scanned: sum('migrateScanned'),
      free_scanned: sum('freeScanned'),
      status: statusOf(outcome),
      ...blocksJson(machineBlocks(outcome.zones)),
      ...rangeJson('order9_blocks', prediction.hugeBlocks),
      by_zone: outcome.zones.map((zone) => ({
        node: zone.node,
        name: zone.name,
        pages_migrated: zone.pagesMigrated,
        pages_failed: zone.pagesFailed,
        migrate_scanned: zone.migrateScanned,
        free_scanned: zone.freeScanned,
        status: zone.status,
        ...blocksJson(zone),
      })),
      refused: outcome.refused,
      assumed: prediction.assumed,
      uncertain: prediction.uncertain,
    },
    ...(against && { actual: actualJson(against.actual), error: errorJson(against.error) }),
    inferred: inferredJson(before.map.inferred),
  }
}

/** The kernel counts scans and moves for the whole machine, and does not say how each pass ended. */
const actualJson = (actual: Actual): object => ({
  pages_migrated: actual.pagesMigrated,
  pages_failed: actual.pagesFailed,
  migrate_scanned: actual.migrateScanned,
  free_scanned: actual.freeScanned,
  status: 'unknown',
  ...blocksJson(machineBlocks(actual.zones)),
  by_zone: actual.zones.map((zone) => ({ node: zone.node, name: zone.name, ...blocksJson(zone) })),
})

const errorJson = (error: PredictionError): object => ({
  pages_migrated_pct: error.pagesMigratedPct,
  migrate_scanned_pct: error.migrateScannedPct,
  free_scanned_pct: error.freeScannedPct,
  order9_blocks_pct: error.order9BlocksPct,
  pageblock_free_mae_pages: error.pageblockFreeMaePages,
  pageblock_free_mae_no_change: error.pageblockFreeMaeNoChange,
})

const blocksOf = (map: PageMap): FreeBlocks =>
  machineBlocks(map.zones.map((zone) => blocksOfZone(map.owner, zone)))

// For people.

const CONTENDED =
  'It ends contended: a large folio found no target and could not be split, mostly because it is dirty, and the kernel\n' +
  'gives up the zone there. Run sync, capture again; on the machine, sync just before compact_memory.'

/** What `drover compact` prints. */
export function compactText(report: CompactReport): string {
  const { before, prediction, against } = report
  const lines = [sentence(blocksOf(before.map), prediction)]
  if (against !== undefined) {
    const { error } = against
    lines.push(
      `Free pages of a pageblock: off by ${error.pageblockFreeMaePages.toFixed(1)} of 512 on average ` +
        `(${error.pageblockFreeMaeNoChange.toFixed(1)} for "nothing changes").`,
    )
  }
  if (statusOf(prediction.outcome) === 'contended') lines.push(CONTENDED)
  return (
    `Compaction of all zones, as writing 1 to /proc/sys/vm/compact_memory, by the rules of Linux ${prediction.rules.name}\n\n` +
    `${table('lrrrr', figureRows(report))}\n` +
    `Free blocks by order, all zones, pages on per-cpu lists merged in\n` +
    `${table('lrrrrrrrrrrr', orderRows(report))}\n` +
    `${[...lines, ...assumptionLines(report)].join('\n')}\n`
  )
}

function figureRows({ prediction, against }: CompactReport): string[][] {
  const { outcome } = prediction
  const actual = against?.actual
  const error = against?.error
  const sum = (pick: 'pagesMigrated' | 'migrateScanned' | 'freeScanned'): number =>
    outcome.zones.reduce((total, zone) => total + zone[pick], 0)
  const row = (name: string, predicted: number, real?: number, off?: number, range?: Range): string[] => [
    name,
    grouped(predicted),
    range === undefined ? '' : `${grouped(range.low)} .. ${grouped(range.high)}`,
    ...(real === undefined || off === undefined ? [] : [grouped(real), signedPercent(off)]),
  ]
  const predictedHuge = hugeBlocks(machineBlocks(outcome.zones).freeBlocksDrained)
  const actualHuge = actual && hugeBlocks(machineBlocks(actual.zones).freeBlocksDrained)
  return [
    ['', 'predicted', 'low .. high', ...(actual ? ['actual', 'error'] : [])],
    row(
      'pages migrated',
      sum('pagesMigrated'),
      actual?.pagesMigrated,
      error?.pagesMigratedPct,
      prediction.pagesMigrated,
    ),
    row(
      'huge pages free (order 9+)',
      predictedHuge,
      actualHuge,
      error?.order9BlocksPct,
      prediction.hugeBlocks,
    ),
    row('scanned for pages to move', sum('migrateScanned'), actual?.migrateScanned, error?.migrateScannedPct),
    row('scanned for free pages', sum('freeScanned'), actual?.freeScanned, error?.freeScannedPct),
    ['ends', statusOf(outcome), ''],
  ]
}

function orderRows({ before, prediction, against }: CompactReport): string[][] {
  const row = (name: string, counts: readonly number[]): string[] => [name, ...counts.map(grouped)]
  return [
    ['order', ...Array.from({ length: 11 }, (_, order) => String(order))],
    row('before', blocksOf(before.map).freeBlocksDrained),
    row('predicted', machineBlocks(prediction.outcome.zones).freeBlocksDrained),
    ...(against === undefined ? [] : [row('actual', machineBlocks(against.actual.zones).freeBlocksDrained)]),
  ]
}

function sentence(before: FreeBlocks, prediction: Prediction): string {
  const had = hugeBlocks(before.freeBlocksDrained)
  const gets = hugeBlocks(machineBlocks(prediction.outcome.zones).freeBlocksDrained)
  const gain = gets - had
  const bytes = sizeText(Math.abs(gain) * HUGE_PAGE_PAGES)
  return gain > 0
    ? `Compaction frees ${grouped(gain)} huge pages (${bytes}): from ${grouped(had)} to ${grouped(gets)}.`
    : `Compaction frees no huge page: ${grouped(had)} before, ${grouped(gets)} after.`
}

function assumptionLines({ before, prediction }: CompactReport): string[] {
  const { inferred } = before.map
  const lines = prediction.assumed === '' ? [] : [`  assumed: ${prediction.assumed}`]
  lines.push(...prediction.uncertain.map((name) => `  low/high: ${name}`))
  if (inferred.pageblockTypes) lines.push('  inferred: pageblock types, from what the blocks hold')
  if (!inferred.pinsVisible && inferred.pinsOutstanding === 0) {
    lines.push('  inferred: no page is pinned, for the kernel counts no pins')
  } else if (!inferred.pinsVisible && inferred.pinsOutstanding === undefined) {
    lines.push('  not known: pins, which this kernel does not count; none are assumed')
  }
  return lines
}
