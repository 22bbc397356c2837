/**
 * `drover explain CAPTURE`: which pages, whose, stand between this machine and blocks of an order, and what clears them.
 *
 * Not here: the finding (analyze/blockers.ts), what the JSON keys mean (docs/formats/json.md).
 */

import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings'
import {
  type BlockerFindings,
  type BlockTarget,
  type CurveStep,
  findBlockers,
  type PfnRange,
  remedyFor,
  sizeText,
  verdictOf,
} from '../analyze/blockers.ts'
import { OWNER_CLASSES, ownerId } from '../analyze/classify.ts'
import type { PageMap } from '../analyze/page_map.ts'
import { PAGEBLOCK_ORDER } from '../analyze/pageblock_types.ts'
import { grouped } from '../base/text.ts'
import { describeCapture, inferredJson, inferredText } from './inspect.ts'
import { EXIT_USAGE, readSide, refuse, type Side } from './report.ts'
import { table } from './table.ts'

const SCHEMA = 'drover.explain.v1'

/** Adds `explain` to `program`. Bad input sets the exit code to 3; it does not throw. */
export function registerExplain(program: Command): void {
  program
    .command('explain')
    .summary('which pages, whose, hold huge pages hostage, and what clears them')
    .description(
      'Which pages, whose, stand between the machine and free blocks of an order; the fewest to clear; what to do.',
    )
    .argument('<capture>', 'a capture file')
    .option('--order <n>', 'the order wanted, 1 to 10', parseOrder, PAGEBLOCK_ORDER)
    .addOption(
      new Option(
        '--range <pfns>',
        'only these page frames: A-B or A,B (B not included), A+N, one; hex with 0x',
      )
        .argParser(parseRange)
        .conflicts('block'),
    )
    .option('--block <n>', 'only this block of the order: page frames n << order and on', parseNumber)
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  drover explain machine.drover --order 9\n' +
        '  drover explain machine.drover --range 0x100000+32768      could this memory block go offline?\n' +
        '  drover explain machine.drover --block 4711 --json',
    )
    .action((path, options) => {
      const side = readSide(path)
      if (!side.ok) return refuse(side.error)
      const { order, block } = options
      const range = block === undefined ? options.range : rangeOfBlock(block, order)
      const pages = side.value.map.pfnCount
      if (range && range.start >= pages) {
        process.stderr.write(
          `drover: page frame ${range.start} is not in the capture, which has ${pages} from 0 on\n`,
        )
        process.exitCode = EXIT_USAGE
        return
      }
      process.stdout.write(
        options.json
          ? `${JSON.stringify(explainJson(side.value, order, range))}\n`
          : explainText(side.value, order, range),
      )
    })
}

function parseOrder(text: string): number {
  const order = Number(text)
  if (/^\d+$/.test(text) && order >= 1 && order <= 10) return order
  throw new InvalidArgumentError('It is 1 to 10.')
}

function parseNumber(text: string): number {
  const value = numberOf(text)
  if (value !== undefined) return value
  throw new InvalidArgumentError('It is a number, decimal or 0x hex.')
}

const numberOf = (text: string): number | undefined =>
  /^(0x[0-9a-f]{1,12}|\d{1,15})$/i.test(text) ? Number(text) : undefined

/**
 * Page frames as a person writes them: `A-B` and `A,B` (B not included), `A+N` (N pages), `A` (one), and, as page-types
 * has it, `A,` (to the end) and `,B` (from 0). Decimal, or hex with 0x.
 */
export function parseRange(text: string): PfnRange {
  const match = /^([0-9a-fx]*)(?:([-,+])([0-9a-fx]*))?$/i.exec(text.trim())
  const [, left, separator, right] = match ?? []
  const isOpen = separator === ','
  const start = left === '' && isOpen ? 0 : numberOf(left ?? '')
  const second = right === '' && isOpen ? Number.MAX_SAFE_INTEGER : numberOf(right ?? '')
  if (match && start !== undefined) {
    const end =
      separator === undefined ? start + 1 : separator === '+' ? start + (second ?? 0) : (second ?? 0)
    if (end > start) return { start, end }
  }
  throw new InvalidArgumentError(
    'It is A-B, A,B, A+N or A: page frames, decimal or 0x hex, B not included and above A.',
  )
}

const rangeOfBlock = (block: number, order: number): PfnRange => ({
  start: block * 2 ** order,
  end: (block + 1) * 2 ** order,
})

function targetOf(map: PageMap, order: number, range: PfnRange | undefined): BlockTarget {
  if (!range) return { order, spans: map.zones, cut: false }
  const spans = map.zones
    .map(({ start, end }) => ({ start: Math.max(start, range.start), end: Math.min(end, range.end) }))
    .filter(({ start, end }) => start < end)
  return { order, spans, cut: true }
}

/** Commands to type next, for a shell of the machine or for drover. */
function nextCommands(path: string, findings: BlockerFindings): string[] {
  const quoted = /^[\w./:@+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
  const commands: string[] = []
  for (const { owner } of findings.owners.slice(0, 3)) {
    const command = remedyFor(owner)?.command
    if (command) commands.push(command)
  }
  if (findings.obtainableAtMost > 0)
    commands.push('sync && echo 1 > /proc/sys/vm/compact_memory', `drover compact ${quoted}`)
  const nearest = cheapestRange(findings)
  if (!findings.target.cut && nearest) {
    const block = Math.floor(nearest.start / 2 ** findings.target.order)
    commands.push(`drover explain ${quoted} --order ${findings.target.order} --block ${block}`)
  }
  return [...new Set(commands)]
}

const cheapestRange = ({ owners }: BlockerFindings): PfnRange | undefined => owners[0]?.ranges[0]

function explainJson({ path, map }: Side, order: number, range: PfnRange | undefined): unknown {
  const findings = findBlockers(map.owner, targetOf(map, order, range))
  const { target, blocks, owners, curve, cheap, wide } = findings
  return {
    schema: SCHEMA,
    target: { order: target.order, range: range ? [range.start, range.end] : null },
    verdict: verdictOf(findings, hiddenPins(map)),
    blocks: {
      free: blocks.free,
      in_use_huge: blocks.huge,
      obtainable: blocks.obtainable,
      hostage: blocks.hostage,
      not_initialised: blocks.notInitialised,
      held_by_one_page: findings.heldByOnePage,
    },
    obtainable_at_most: findings.obtainableAtMost,
    pages_to_move: findings.pagesToMove,
    cheap: {
      blocks: cheap.blocks,
      pages: cheap.pages,
      pages_to_move: cheap.pagesToMove,
      owners: Object.fromEntries(cheap.owners.map(({ owner, pages }) => [ownerId(owner), pages])),
    },
    blockers: owners.map(({ owner, pages, blocks: inBlocks, blocksUnlocked, ranges }) => ({
      owner: ownerId(owner),
      reason: OWNER_CLASSES[owner].reason,
      pages,
      blocks: inBlocks,
      blocks_unlocked: blocksUnlocked,
      ranges: ranges.map(({ start, end }) => [start, end]),
      remedy: remedyFor(owner)?.what ?? null,
    })),
    curve: curve.map((step) => ({
      blockers_per_block: step.blockersPerBlock,
      pages: step.pages,
      blocks: step.blocks,
      pages_to_move: step.pagesToMove,
    })),
    wide: wide.map(({ start, end, owner, blocks: held }) => ({
      owner: ownerId(owner),
      range: [start, end],
      blocks: held,
    })),
    next: nextCommands(path, findings),
    inferred: inferredJson(map.inferred),
  }
}

/** Pins that the kernel counts, if the capture does not show which pages they are on. */
const hiddenPins = (map: PageMap): number =>
  map.inferred.pinsVisible ? 0 : (map.inferred.pinsOutstanding ?? 0)

/** What `explain` prints of a capture: of all its memory, or of a range. */
export function explainText({ path, capture, map }: Side, order = PAGEBLOCK_ORDER, range?: PfnRange): string {
  const findings = findBlockers(map.owner, targetOf(map, order, range))
  const next = nextCommands(path, findings)
  const parts = [
    `${describeCapture(capture)}\n`,
    `${verdictOf(findings, hiddenPins(map))}\n`,
    blocksText(findings),
  ]
  if (findings.owners.length > 0) parts.push(ownersText(findings), curveText(findings), wideText(findings))
  parts.push(inferredText(map.inferred))
  if (next.length > 0) parts.push(`next\n${next.map((command) => `  ${command}\n`).join('')}`)
  return parts.filter((part) => part !== '').join('\n')
}

function blocksText({
  target,
  blocks,
  obtainableAtMost,
  pagesToMove,
  heldByOnePage,
}: BlockerFindings): string {
  const row = (name: string, count: number, note = ''): string[] => [
    name,
    grouped(count),
    sizeText(count * 2 ** target.order),
    note,
  ]
  const bound = target.cut
    ? ''
    : `; free memory makes up ${grouped(obtainableAtMost)} of these blocks at most`
  return `blocks of order ${target.order}\n${table('lrrl', [
    row('free', blocks.free),
    row('in use as a huge page', blocks.huge),
    row(
      'all in use can move',
      blocks.obtainable,
      blocks.obtainable > 0 ? `${grouped(pagesToMove)} pages to move${bound}` : '',
    ),
    row(
      'hostage',
      blocks.hostage,
      heldByOnePage > 0 ? `${grouped(heldByOnePage)} of them by a single page` : '',
    ),
    ...(blocks.notInitialised > 0
      ? [row('not initialised yet', blocks.notInitialised, 'the kernel has no struct pages for it so far')]
      : []),
  ])}`
}

function ownersText({ owners }: BlockerFindings): string {
  const header = ['owner', 'pages', 'in blocks', 'alone in', 'for example', 'why it does not move']
  const rows = owners.map(({ owner, pages, blocks, blocksUnlocked, ranges }) => [
    OWNER_CLASSES[owner].name,
    grouped(pages),
    grouped(blocks),
    grouped(blocksUnlocked),
    ranges.length > 0 ? rangeText(ranges[0]) : '',
    OWNER_CLASSES[owner].reason,
  ])
  const remedies = owners.flatMap(({ owner }) => {
    const remedy = remedyFor(owner)
    return remedy ? [[`  ${OWNER_CLASSES[owner].name}`, remedy.what]] : []
  })
  return `blockers\n${table('lrrrll', [header, ...rows])}\nwhat clears them\n${table('ll', remedies)}`
}

const rangeText = ({ start, end }: PfnRange): string =>
  end - start === 1 ? `0x${start.toString(16)}` : `0x${start.toString(16)}+${end - start}`

/** The curve at the steps where the number of blockers a block doubles. */
function curveText({ curve, target }: BlockerFindings): string {
  const shown: CurveStep[] = []
  for (let limit = 1; limit <= 2 ** target.order; limit *= 2) {
    const step = curve.findLast(({ blockersPerBlock }) => blockersPerBlock <= limit)
    if (step && step !== shown.at(-1)) shown.push(step)
  }
  const rows = shown.map((step) => [
    `at most ${step.blockersPerBlock}`,
    grouped(step.pages),
    grouped(step.blocks),
    sizeText(step.blocks * 2 ** target.order),
    grouped(step.pagesToMove),
  ])
  const header = ['blockers a block', 'pages to clear', 'blocks gained', 'size', 'pages to move']
  return `fewest pages to clear\n${table('lrrrr', [header, ...rows])}`
}

function wideText({ wide }: BlockerFindings): string {
  if (wide.length === 0) return ''
  const rows = wide.map((blocker) => [
    `  ${rangeText(blocker)}`,
    OWNER_CLASSES[blocker.owner].name,
    `${grouped(blocker.blocks)} blocks`,
  ])
  return `one run of pages that alone holds several blocks\n${table('llr', rows)}`
}
