/**
 * What `drover run` prints: a table for people, JSON for programs, columns for Parquet.
 */

import { grouped } from '../base/text.ts'
import { VM_EVENT_NAMES } from '../mm/vmstat.ts'
import { BASE, type Metric, type RunResult, type Scenario, type Snapshot } from '../sim/index.ts'
import type { Column } from './parquet.ts'
import { table } from './table.ts'

/** The runs of one variant, a seed each. */
export interface VariantRuns {
  readonly name: string
  readonly scenario: Scenario
  readonly runs: readonly RunResult[]
}

const SCHEMA = 'drover.run.v1'

/** The middle one, of an even number the lower; undefined if no run has a value. */
function median(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined).toSorted((a, b) => a - b)
  return known.at(Math.floor((known.length - 1) / 2))
}

const metricOf = ({ runs }: VariantRuns, name: string): (number | undefined)[] =>
  runs.map(({ metrics }) => metrics[name])

// For people.

export function runText(path: string, scenario: Scenario, variants: readonly VariantRuns[]): string {
  const { seed } = variants[0].runs[0]
  const repeat = variants[0].runs.length
  const seeds =
    repeat === 1 ? `seed ${seed}` : `seeds ${seed} to ${seed + repeat - 1}: median (lowest to highest)`
  const parts = [`${path}: ${scenario.question}\n${seeds}\n`]
  if (scenario.source !== undefined) parts.push(`after ${scenario.source}\n`)
  if (Object.keys(scenario.metrics).length > 0) parts.push(`\n${metricsTable(scenario, variants)}`)
  for (const variant of variants) parts.push(`\n${phasesTable(variant)}`)
  return parts.join('')
}

function metricsTable(scenario: Scenario, variants: readonly VariantRuns[]): string {
  const head = [
    '',
    ...variants.flatMap(({ name }) => (hasPublished(scenario, name) ? [name, 'published'] : [name])),
  ]
  const rows = Object.entries(scenario.metrics).map(([name, metric]) => [
    name,
    ...variants.flatMap((variant) => {
      const own = valuesText(metricOf(variant, name), metric)
      if (!hasPublished(scenario, variant.name)) return [own]
      const theirs = scenario.published[variant.name]?.[name]
      return [own, theirs === undefined ? '' : numberText(theirs.value, metric)]
    }),
  ])
  return table(`l${'r'.repeat(head.length - 1)}`, [head, ...rows])
}

const hasPublished = ({ published }: Scenario, variant: string): boolean => variant in published

function valuesText(values: readonly (number | undefined)[], metric: Metric): string {
  const middle = median(values)
  if (middle === undefined) return '-'
  const known = values.filter((value) => value !== undefined)
  if (values.length === 1) return numberText(middle, metric)
  const range = `${numberText(Math.min(...known), metric)} to ${numberText(Math.max(...known), metric)}`
  return `${numberText(middle, metric)} (${range})`
}

function numberText(value: number, metric: Metric): string {
  if ('free_share' in metric || 'success' in metric) return `${value.toFixed(1)} %`
  if ('quantile' in metric || ('result' in metric && metric.result.endsWith('_ns'))) return timeText(value)
  return Number.isInteger(value) ? grouped(value) : grouped(Math.round(value))
}

/** 1234567 ns -> 1.2 ms */
function timeText(ns: number): string {
  if (ns < 1e3) return `${Math.round(ns)} ns`
  if (ns < 1e6) return `${(ns / 1e3).toFixed(1)} us`
  if (ns < 1e9) return `${(ns / 1e6).toFixed(1)} ms`
  return `${(ns / 1e9).toFixed(1)} s`
}

function phasesTable({ name, runs }: VariantRuns): string {
  const [first] = runs
  const orders = Array.from({ length: 11 }, (_, order) => String(order))
  const head = [`${name}, seed ${first.seed}`, 'at', 'free pages', ...orders]
  const rows = first.snapshots.map(({ phase, ns, freePages, freeBlocks }) => [
    phase,
    timeText(ns),
    grouped(freePages),
    ...freeBlocks.map(String),
  ])
  return table(`l${'r'.repeat(13)}`, [head, ...rows])
}

// JSON. Keys are documented in docs/formats/json.md.

export function runJson(path: string, scenario: Scenario, variants: readonly VariantRuns[]): object {
  const base = variants.find(({ name }) => name === BASE) ?? variants[0]
  const [first] = base.runs
  return {
    schema: SCHEMA,
    scenario: path,
    question: scenario.question,
    variant: base.name,
    seed: first.seed,
    metrics: medians(base),
    vmstat: vmstatOf(first.snapshots.at(-1)),
    series: Object.fromEntries(first.series.columns),
    published: scenario.published,
    variants: variants.map((variant) => ({
      name: variant.name,
      metrics: medians(variant),
      runs: variant.runs.map(singleJson),
    })),
  }
}

const medians = (variant: VariantRuns): Record<string, number | null> =>
  Object.fromEntries(
    Object.keys(variant.scenario.metrics).map((name) => [name, median(metricOf(variant, name)) ?? null]),
  )

function singleJson(run: RunResult): object {
  return {
    seed: run.seed,
    simulated_ns: run.ns,
    page_events: run.pageEvents,
    arena_hash: run.hash,
    metrics: Object.fromEntries(Object.entries(run.metrics).map(([name, value]) => [name, value ?? null])),
    results: run.results,
    histograms: Object.fromEntries(
      [...run.histograms].map(([name, histogram]) => [
        name,
        { count: histogram.count, sum: histogram.sum, max: histogram.max, buckets: histogram.buckets() },
      ]),
    ),
    phases: run.snapshots.map((snapshot) => ({
      name: snapshot.phase,
      end_ns: snapshot.ns,
      free_pages: snapshot.freePages,
      free_blocks_by_order: snapshot.freeBlocks,
      figures: snapshot.figures,
      vmstat: vmstatOf(snapshot),
    })),
  }
}

const vmstatOf = (snapshot: Snapshot | undefined): Record<string, number> =>
  Object.fromEntries(VM_EVENT_NAMES.map((name, at) => [name, snapshot?.events[at] ?? 0]))

// Parquet.

/** The series of all runs below each other. */
export function seriesColumns(variants: readonly VariantRuns[]): Column[] {
  const names = [...new Set(variants.flatMap(({ runs }) => [...runs[0].series.columns.keys()]))]
  const all = variants.flatMap(({ name, runs }) => runs.map((run) => ({ name, run })))
  const lengthOf = (run: RunResult): number => run.series.columns.get('ns')?.length ?? 0
  return [
    { name: 'variant', data: all.flatMap(({ name, run }) => new Array<string>(lengthOf(run)).fill(name)) },
    { name: 'seed', data: all.flatMap(({ run }) => new Array<number>(lengthOf(run)).fill(run.seed)) },
    ...names.map((name) => ({
      name,
      data: all.flatMap(
        ({ run }) => run.series.columns.get(name) ?? new Array<number>(lengthOf(run)).fill(0),
      ),
    })),
  ]
}
