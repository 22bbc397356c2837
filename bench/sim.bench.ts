/**
 * How many page events does a simulated machine do in a second of CPU?
 *
 * A page event is a page that is faulted in, freed, read into the page cache, or asked for in a block. The load is mixed and
 * memory is full: kswapd reclaims all the time, and kcompactd makes blocks for those who want them. The first run in a
 * process, with all that the compiler takes: what `drover run` waits for.
 */

import { parseScenario, runScenario } from '../src/sim/index.ts'
import { type Bench, type BenchCase, type Sample, type Size, timed } from './bench.ts'

/** 3 M page events a second. */
const MILLION_MS_MOST = 333

export const bench: Bench = {
  question: 'How many page events does a simulated machine do in a second of CPU?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  const seconds = size === 'quick' ? '0.2' : '10'
  return [
    {
      name: `1 GiB, full, mixed load, ${seconds} s`,
      args: [seconds],
      budgets: size === 'quick' ? [] : [{ of: 'a million events', kind: 'ms', most: MILLION_MS_MOST }],
    },
  ]
}

const scenarioOf = (seconds: string): object => ({
  question: bench.question,
  machine: { memory: '1GiB', cpus: 4 },
  phases: [
    {
      name: 'load',
      for: `${seconds}s`,
      tasks: [
        { task: 'read-files', size: '2GiB', background: true },
        {
          task: 'processes',
          copies: 4,
          memory: { uniform: ['4MiB', '64MiB'] },
          lives: { exponential: '50ms' },
          background: true,
        },
        { task: 'request', order: 3, of: 'kernel', every: '100us', keep: false, background: true },
        { task: 'wait', for: `${seconds}s` },
      ],
    },
  ],
})

function measure([seconds]: readonly string[]): Sample {
  const parsed = parseScenario(scenarioOf(seconds))
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues))
  const results: ReturnType<typeof runScenario>[] = []
  const run = timed(() => results.push(runScenario(parsed.scenario, 1)))
  const [{ pageEvents, hash }] = results
  return {
    ms: { run: [run], 'a million events': [(run * 1e6) / pageEvents] },
    counts: { pageEvents },
    hashes: { arena: hash },
  }
}
