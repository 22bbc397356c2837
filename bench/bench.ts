/**
 * What a benchmark is: one question, the cases that answer it, and how one process measures a case.
 *
 * A case runs in fresh processes, the engine's and its twin's in turn. Both print a `Sample`: CPU time by
 * phase, and counts and column hashes of what they did. Equal counts and hashes are the condition for a
 * ratio: programs that did different things have none.
 *
 * Not here: starting processes and judging (run.ts).
 */

import { hashCells } from '../src/base/hash.ts'
import type { Mm } from '../src/mm/page.ts'

/** What one process measured. */
export interface Sample {
  /** CPU ms (user + system, all threads) of each round, by phase. */
  readonly ms: Readonly<Record<string, readonly number[]>>
  /** What was done. */
  readonly counts: Readonly<Record<string, number>>
  /** Hash of each column of the state at the end. */
  readonly hashes: Readonly<Record<string, number>>
}

/** The most that a figure may be. */
export interface Budget {
  /** A phase of the sample, or the name of a count. */
  readonly of: string
  /** `ratio`: engine's time (or count, if it is unlike) / twin's. `ms`: CPU ms of the engine. `count`: a count of the sample. */
  readonly kind: 'ratio' | 'ms' | 'count'
  readonly most: number
}

export interface BenchCase {
  readonly name: string
  readonly args: readonly string[]
  /** What does the same with the same arguments: a program of native/, `spin` (spin_twin.ts), or `direct` (direct.ts). */
  readonly twin?: string
  /** Counts that engine and twin need not agree on: they get a ratio of their own. */
  readonly unlike?: readonly string[]
  readonly budgets: readonly Budget[]
  /** Operations a round, by phase: what a rate is computed from. Missing: no rate. */
  readonly ops?: number
}

/** `quick`: seconds, to see that it runs; no budget is judged. `large`: 16 M pages as well. */
export type Size = 'quick' | 'normal' | 'large'

export interface Bench {
  readonly question: string
  cases(size: Size): readonly BenchCase[]
  measure(args: readonly string[]): Sample
}

/** CPU time of this process so far, in ms: all its threads, the compiler's and the collector's too. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** CPU ms that `run` takes. */
export function timed(run: () => void): number {
  const start = cpuMs()
  run()
  return cpuMs() - start
}

/** The middle value; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

/** Hashes of columns by name; of `links`, the part that belongs to pages. */
export function columnHashes(mm: Mm, names: readonly string[]): Record<string, number> {
  const hashes: Record<string, number> = {}
  for (const name of names) {
    const column = mm.arena.column(name)
    hashes[name] = hashCells(name === 'links' ? column.subarray(0, 2 * mm.pfnCount) : column)
  }
  return hashes
}

/** What differs between two samples that should have done the same, but for the counts that may: `migrated: 5 / 6`. */
export function differences(engine: Sample, twin: Sample, unlike: readonly string[] = []): string[] {
  return [
    ...recordDifferences('count', engine.counts, twin.counts, unlike),
    ...recordDifferences('hash of', engine.hashes, twin.hashes, []),
  ]
}

function recordDifferences(
  what: string,
  engine: Readonly<Record<string, number>>,
  twin: Readonly<Record<string, number>>,
  unlike: readonly string[],
): string[] {
  const names = [...new Set([...Object.keys(engine), ...Object.keys(twin)])]
  return names
    .filter((name) => engine[name] !== twin[name] && !unlike.includes(name))
    .map((name) => `${what} ${name}: engine ${engine[name] ?? 'none'}, twin ${twin[name] ?? 'none'}`)
}
