/**
 * What does it cost that the engine touches memory through a `Cpu`, against the same code on the columns themselves?
 *
 *   alloc, put    the allocator's whole path, as in buddy.bench.ts
 *   compact       compaction of a whole zone, as in compaction.bench.ts: nearly all of it goes through the `Cpu`
 *
 * The twin is this very program without the calls (direct.ts).
 */

import { type Bench, type BenchCase, type Sample, type Size } from './bench.ts'
import { bench as buddy } from './buddy.bench.ts'
import { bench as compaction } from './compaction.bench.ts'

const MILLION = 1 << 20
const WARM_PAGES = 1 << 16

/** Time ratio: the `Cpu` may cost 5 %. */
const MOST = 1.05

export const bench: Bench = {
  question: 'What does it cost to touch memory through a Cpu, against touching the columns?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  const pages = size === 'quick' ? WARM_PAGES : 4 * MILLION
  const rounds = size === 'quick' ? '1' : '5'
  const name = size === 'quick' ? `${pages} pages` : '4 M pages'
  const judged = size !== 'quick'
  return [
    cpuCase(`whole path, ${name}`, ['buddy', 'pages', String(pages), rounds, '1'], ['alloc', 'put'], judged),
    cpuCase(`compact, ${name}`, ['compaction', String(pages), rounds, '1'], ['compact'], judged),
  ]
}

function cpuCase(
  name: string,
  args: readonly string[],
  phases: readonly string[],
  judged: boolean,
): BenchCase {
  const budgets = judged ? phases.map((of) => ({ of, kind: 'ratio' as const, most: MOST })) : []
  return { name, args, twin: 'direct', budgets }
}

function measure([which, ...args]: readonly string[]): Sample {
  return (which === 'buddy' ? buddy : compaction).measure(args)
}
