/**
 * Runs benchmarks and prints their figures beside the budgets.
 *
 *   npm run bench -- [NAME…] [--quick | --large] [--processes N] [--json]
 *
 * Of each case, engine and twin run in turn (A B A B …), each in fresh processes. What a process says of
 * a phase is the median of its rounds; what is printed is the median of the processes, and the range of
 * the ratios of neighbours, so that it can be seen how much a figure is worth. All times are CPU times.
 *
 * Exit codes: 0 all within budget; 1 a budget missed, or engine and twin differ; 2 usage.
 */

import { parseArgs } from 'node:util'
import { type BenchCase, type Budget, differences, median, type Sample, type Size } from './bench.ts'
import { BENCH_NAMES, BENCHES, type BenchName, isBenchName } from './benches.ts'
import { buildPrograms, type Programs } from './programs.ts'

const SCHEMA = 'drover.bench/1'
const PROCESSES = 5
const EXIT_MISSED = 1
const EXIT_USAGE = 2

interface Options {
  readonly names: readonly BenchName[]
  readonly size: Size
  readonly processes: number
  readonly json: boolean
}

/** One figure: a phase or a count of a case. */
interface Figure {
  readonly of: string
  /** Median CPU ms of the engine; undefined for a count. */
  readonly engineMs?: number
  readonly twinMs?: number
  readonly ratio?: number
  /** Least and greatest ratio of processes that ran one after the other. */
  readonly ratioRange?: readonly [number, number]
  readonly millionPerSecond?: number
  readonly count?: number
  readonly twinCount?: number
  readonly budget?: Budget
  /** Undefined: no budget, or what it is about could not be measured. */
  readonly met?: boolean
}

interface CaseReport {
  readonly bench: BenchName
  readonly name: string
  readonly figures: readonly Figure[]
  /** What engine and twin did differently. */
  readonly differences: readonly string[]
  /** Why there is no ratio. */
  readonly noRatio?: string
}

function usage(problem: string): never {
  process.stderr.write(
    `bench: ${problem}\nusage: npm run bench -- [${BENCH_NAMES.join('|')}]… [--quick | --large] [--processes N] [--json]\n`,
  )
  process.exit(EXIT_USAGE)
}

function parseOptions(): Options {
  const { values, positionals } = parse()
  const names = positionals.filter(isBenchName)
  if (names.length !== positionals.length) usage(`no benchmark of that name: ${positionals.join(' ')}`)
  if (values.quick && values.large) usage('--quick and --large exclude each other')
  const size = values.quick ? 'quick' : values.large ? 'large' : 'normal'
  const processes = values.processes === undefined ? (values.quick ? 1 : PROCESSES) : Number(values.processes)
  if (!Number.isInteger(processes) || processes < 1) usage('--processes is a number of processes')
  return { names: names.length > 0 ? names : BENCH_NAMES, size, processes, json: values.json }
}

function parse(): {
  values: { quick: boolean; large: boolean; json: boolean; processes?: string | undefined }
  positionals: string[]
} {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean', default: false },
        large: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        processes: { type: 'string' },
      },
    })
  } catch (cause) {
    return usage(cause instanceof Error ? cause.message : String(cause))
  }
}

/** Runs a case in `processes` fresh processes each, in turn. */
function runCase(programs: Programs, bench: BenchName, it: BenchCase, processes: number): CaseReport {
  const missing = it.twin === undefined ? 'it has no twin' : programs.missing(it.twin)
  const engine: Sample[] = []
  const twin: Sample[] = []
  for (let i = 0; i < processes; i++) {
    engine.push(programs.runEngine(bench, it.args))
    if (it.twin !== undefined && missing === undefined) twin.push(programs.runTwin(it.twin, it.args))
    const last = [
      ...differences(engine[i], engine[0]),
      ...(twin.length === 0 ? [] : differences(engine[i], twin[i], it.unlike)),
    ]
    if (last.length > 0) return { bench, name: it.name, figures: [], differences: last }
  }
  const phases = Object.keys(engine[0].ms).flatMap((phase) => phaseFigures(it, phase, engine, twin))
  const counts = it.budgets
    .filter(({ kind }) => kind === 'count')
    .map((budget) => countFigure(budget, engine[0]))
  const unlike = (it.unlike ?? []).map((name) => unlikeFigure(it, name, engine[0], twin[0]))
  const report = { bench, name: it.name, figures: [...phases, ...counts, ...unlike], differences: [] }
  return missing === undefined ? report : { ...report, noRatio: missing }
}

/** A figure for each budget of the phase, or one without. */
function phaseFigures(
  it: BenchCase,
  phase: string,
  engine: readonly Sample[],
  twin: readonly Sample[],
): Figure[] {
  const budgets = it.budgets.filter(({ of, kind }) => of === phase && kind !== 'count')
  const twins = twin.filter(({ ms }) => phase in ms) // a twin need not have all phases
  if (budgets.length === 0) return [phaseFigure(it, phase, undefined, engine, twins)]
  return budgets.map((budget) => phaseFigure(it, phase, budget, engine, twins))
}

function phaseFigure(
  it: BenchCase,
  phase: string,
  budget: Budget | undefined,
  engine: readonly Sample[],
  twin: readonly Sample[],
): Figure {
  const ofProcess = (sample: Sample): number => median(sample.ms[phase])
  const engineMs = median(engine.map(ofProcess))
  const figure = {
    of: phase,
    engineMs,
    ...(it.ops === undefined ? {} : { millionPerSecond: it.ops / engineMs / 1000 }),
    ...(budget === undefined ? {} : { budget }),
  }
  if (twin.length === 0) return budget?.kind === 'ms' ? { ...figure, met: engineMs <= budget.most } : figure
  const twinMs = median(twin.map(ofProcess))
  const ratio = engineMs / twinMs
  const ratios = engine.map((sample, i) => ofProcess(sample) / ofProcess(twin[i]))
  const judged =
    budget === undefined ? {} : { met: (budget.kind === 'ratio' ? ratio : engineMs) <= budget.most }
  return { ...figure, ...judged, twinMs, ratio, ratioRange: [Math.min(...ratios), Math.max(...ratios)] }
}

function countFigure(budget: Budget, engine: Sample): Figure {
  const count = engine.counts[budget.of]
  return { of: budget.of, count, budget, met: count <= budget.most }
}

/** A count that engine and twin need not agree on. */
function unlikeFigure(it: BenchCase, name: string, engine: Sample, twin: Sample | undefined): Figure {
  const count = engine.counts[name]
  if (twin === undefined) return { of: name, count }
  const twinCount = twin.counts[name]
  const ratio = count / twinCount
  const budget = it.budgets.find(({ of, kind }) => of === name && kind === 'ratio')
  const judged = budget === undefined ? {} : { budget, met: ratio <= budget.most }
  return { of: name, count, twinCount, ratio, ...judged }
}

// Printing.

const COLUMNS = ['case', 'figure', 'engine', 'twin', 'ratio', 'range', 'M/s', 'budget', ''] as const

function printTable(reports: readonly CaseReport[]): void {
  const rows = reports.flatMap((report) =>
    report.figures.map((figure, i) => rowOf(i === 0 ? report.name : '', figure)),
  )
  const widths = COLUMNS.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i].length)))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) =>
        i < 2 || i === COLUMNS.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]),
      )
      .join('  ')
      .trimEnd()
  process.stdout.write([COLUMNS, ...rows].map((row) => `${line(row)}\n`).join(''))
  for (const report of reports) {
    if (report.noRatio !== undefined) process.stdout.write(`${report.name}: no ratio, ${report.noRatio}\n`)
    for (const difference of report.differences) {
      process.stdout.write(`${report.name}: engine and twin differ: ${difference}\n`)
    }
  }
}

function rowOf(name: string, figure: Figure): string[] {
  const { engineMs, twinMs, ratio, ratioRange, millionPerSecond, count, twinCount, budget, met } = figure
  return [
    name,
    figure.of,
    engineMs === undefined ? String(count) : `${engineMs.toFixed(1)} ms`,
    twinMs === undefined ? String(twinCount ?? '') : `${twinMs.toFixed(1)} ms`,
    ratio === undefined ? '' : ratio.toFixed(2),
    ratioRange === undefined ? '' : ratioRange.map((end) => end.toFixed(2)).join('–'),
    millionPerSecond === undefined ? '' : millionPerSecond.toFixed(1),
    budget === undefined ? '' : `<= ${budget.most}${budget.kind === 'ms' ? ' ms' : ''}`,
    met === undefined ? '' : met ? 'ok' : 'OVER',
  ]
}

const options = parseOptions()
process.stderr.write('bench: building\n')
const programs = buildPrograms('bench')
const reports: CaseReport[] = []
for (const name of options.names) {
  const bench = await BENCHES[name]()
  process.stderr.write(`bench: ${name}: ${bench.question}\n`)
  for (const it of bench.cases(options.size)) {
    process.stderr.write(`bench:   ${it.name}\n`)
    reports.push(runCase(programs, name, it, options.processes))
  }
}
programs.remove()
if (options.json) {
  const { size, processes } = options
  process.stdout.write(
    `${JSON.stringify({ schema: SCHEMA, node: process.version, size, processes, reports }, null, 2)}\n`,
  )
} else {
  printTable(reports)
}
const isBad = reports.some(
  ({ differences: found, figures }) => found.length > 0 || figures.some(({ met }) => met === false),
)
process.exitCode = isBad ? EXIT_MISSED : 0
