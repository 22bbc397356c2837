/**
 * How fast does the checker come to a verdict, alone and against Spin?
 *
 *   process, check   one check as a process of its own, and without starting node
 *   search           every state of a system that has been learnt, without reductions, against Spin's search of the
 *                    same system without its reduction (pan -DNOREDUCE)
 *   verdict          a process from the source of the system to the verdict, reductions on, against spin -a, gcc -O2
 *                    and pan with Spin's reduction; states: how many either had to store
 *   warm             the whole of check(), learning included, in a process that has checked before
 *
 * The twin is Spin on the exported system (spin_twin.ts). Both must find the same states and transitions where
 * nothing is reduced.
 */

import { assert } from '../src/base/assert.ts'
import { check, DEFAULTS } from '../src/check/check.ts'
import { discover } from '../src/check/discover.ts'
import { Learned } from '../src/check/learned.ts'
import { Packed } from '../src/check/packed.ts'
import { searchOnce } from '../src/check/strategies/exhaustive.ts'
import type { System } from '../src/check/system.ts'
import { type Bench, type BenchCase, type Budget, cpuMs, type Sample, type Size, timed } from './bench.ts'
import { SYSTEMS } from './checker_systems.ts'

/** Spin's search takes at least as long; from source to verdict it takes five times as long. */
const SEARCH_MOST = 1
const VERDICT_MOST = 0.2
/** A third of Spin's states. */
const STATES_MOST = 0.333

const WARM_CHECKS = 10

/** Systems with their states without reductions. */
const VERDICTS: readonly (readonly [name: string, states: number])[] = [
  ['P1 T=4', 6125],
  ['3 tasks, user', 2397],
  ['3 tasks, twins', 2615],
  ['4 tasks, user', 32_600],
  ['4 tasks, apart', 108_900],
  ['5 tasks, one target', 318_823],
  ['5 tasks, chain', 237_042],
  ['6 tasks, one target', 2_114_733],
  ['6 tasks, chain', 2_193_498],
  ['6 tasks, apart', 5_745_609],
]
const SEARCHES: readonly (readonly [name: string, states: number])[] = [
  ['P1 T=7', 1_046_875],
  ['P1 T=8', 5_703_125],
  ...VERDICTS.slice(-3),
]

export const bench: Bench = {
  question: 'How fast does the checker come to a verdict, alone and against Spin?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  if (size === 'quick') {
    return [
      processCase('P1 T=4', 'full', []),
      searchCase('P1 T=4', 6125, false),
      verdictCase('3 tasks, user', 2397, false),
      warmCase('3 tasks, user', []),
    ]
  }
  return [
    processCase('P1 T=4', 'full', [{ of: 'process', kind: 'ms', most: 3000 }]),
    processCase('P1 T=8', 'symmetry', [{ of: 'process', kind: 'ms', most: 500 }]),
    ...SEARCHES.map(([name, states]) => searchCase(name, states, true)),
    ...VERDICTS.map(([name, states]) => verdictCase(name, states, true)),
    warmCase('3 tasks, user', [{ of: 'warm', kind: 'ms', most: 50 }]),
    warmCase('4 tasks, user', [{ of: 'warm', kind: 'ms', most: 200 }]),
    warmCase('5 tasks, one target', [{ of: 'warm', kind: 'ms', most: 500 }]),
    warmCase('5 tasks, chain', [{ of: 'warm', kind: 'ms', most: 500 }]),
  ]
}

const processCase = (name: string, reductions: string, budgets: readonly Budget[]): BenchCase => ({
  name: `${name}, ${reductions === 'full' ? 'no reductions' : 'reductions'}`,
  args: ['process', name, reductions],
  budgets,
})

const searchCase = (name: string, states: number, judged: boolean): BenchCase => ({
  name: `${name}, search`,
  args: ['search', name, String(states)],
  twin: 'spin',
  budgets: judged ? [{ of: 'search', kind: 'ratio', most: SEARCH_MOST }] : [],
  ops: states,
})

function verdictCase(name: string, states: number, judged: boolean): BenchCase {
  const many = /^[56] tasks/.test(name)
  const budgets: Budget[] = [
    { of: 'verdict', kind: 'ratio', most: VERDICT_MOST },
    ...(many ? [{ of: 'states', kind: 'ratio', most: STATES_MOST } as const] : []),
  ]
  return {
    name: `${name}, verdict`,
    args: ['verdict', name, String(states)],
    twin: 'spin',
    budgets: judged ? budgets : [],
    unlike: ['states'],
  }
}

const warmCase = (name: string, budgets: readonly Budget[]): BenchCase => ({
  name: `${name}, warm`,
  args: ['warm', name],
  budgets,
})

function measure([what, name, more]: readonly string[]): Sample {
  const system = SYSTEMS[name]()
  switch (what) {
    case 'process':
      return measureProcess(system, more === 'full')
    case 'search':
      return measureSearch(system, Number(more))
    case 'verdict':
      return measureVerdict(system)
    default:
      return measureWarm(system)
  }
}

function passes(system: System, options = DEFAULTS): number {
  const { verdict, states } = check(system, options)
  assert(verdict === 'pass', 'bench: the system passes')
  return states
}

function measureProcess(system: System, full: boolean): Sample {
  const options = full ? { ...DEFAULTS, persistentSets: false, symmetry: false } : DEFAULTS
  let states = 0
  const ms = timed(() => {
    states = passes(system, options)
  })
  return { ms: { process: [cpuMs()], check: [ms] }, counts: { states }, hashes: {} }
}

function measureVerdict(system: System): Sample {
  const states = passes(system)
  return { ms: { verdict: [cpuMs()] }, counts: { states }, hashes: {} }
}

function measureWarm(system: System): Sample {
  let states = 0
  const checkOnce = (): void => {
    states = passes(system)
  }
  for (let i = 0; i < WARM_CHECKS; i++) checkOnce()
  const warm = Array.from({ length: WARM_CHECKS }, () => timed(checkOnce))
  return { ms: { warm }, counts: { states }, hashes: {} }
}

/** The last search, for which everything has been learnt. */
function measureSearch(system: System, expected: number): Sample {
  const learned = new Learned(system)
  discover(learned, 1)
  const options = {
    persistentSets: false,
    statesMax: 10_000_000,
    depthMax: Number.POSITIVE_INFINITY,
    onProgress: undefined,
  }
  for (;;) {
    // Each round has learnt more than the one before, which is finite.
    const packed = new Packed(learned)
    const start = cpuMs()
    const result = searchOnce(learned, packed, undefined, options)
    const ms = cpuMs() - start
    if (result === undefined) continue
    const { transitions, table } = result
    assert(table.count === expected, 'bench: the system has as many states as its case says')
    return { ms: { search: [ms] }, counts: { states: table.count, transitions }, hashes: {} }
  }
}
