/** Running scenarios: phases, time, background, metrics; and the same seed gives the same bytes. */

import { expect, test } from 'vitest'
import { verify } from '../mm/verify.ts'
import { impossible, type RunResult, runScenario } from './run.ts'
import { parseScenario, type Scenario } from './scenario.ts'

const scenarioOf = (data: object): Scenario => {
  const parsed = parseScenario({ question: 'a test', machine: { memory: '32MiB' }, ...data })
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues))
  return parsed.scenario
}
const run = (data: object, seed = 1): RunResult => {
  const result = runScenario(scenarioOf(data), seed)
  verify(result.world.mm)
  return result
}

const BUSY = {
  machine: { memory: '32MiB', swap: '32MiB' },
  phases: [
    {
      name: 'busy',
      for: '300ms',
      tasks: [
        { task: 'read-files', size: '64MiB', background: true, order: 'random' },
        {
          task: 'processes',
          memory: { uniform: ['1MiB', '4MiB'] },
          lives: { exponential: '10ms' },
          copies: 3,
          background: true,
        },
        { task: 'wait', for: '300ms' },
      ],
    },
    {
      name: 'want',
      tasks: [{ task: 'request', name: 'huge', order: 4, of: 'user', times: 6, every: '1ms' }],
    },
  ],
  metrics: { got: { success: 'huge' } },
}

test('the same seed gives the same memory, to the bit, and the same figures; another seed others', () => {
  const [a, b, c] = [run(BUSY, 1), run(BUSY, 1), run(BUSY, 2)]
  expect([b.hash, b.ns, b.metrics, [...b.series.columns]]).toEqual([
    a.hash,
    a.ns,
    a.metrics,
    [...a.series.columns],
  ])
  expect(c.hash).not.toBe(a.hash)
})

test('a phase ends when its foreground is done, or its time is over; the background goes on', () => {
  const result = run(BUSY)
  expect(result.snapshots.map(({ phase }) => phase)).toEqual(['busy', 'want'])
  expect(result.snapshots[0].ns).toBe(300e6)
  const [busy, want] = result.snapshots.map(({ events }) => events)
  expect(want[17]).toBeGreaterThan(busy[17]) // pgfree: processes still come and go
  expect(result.snapshots[1].ns).toBeGreaterThan(300e6 + 5e6)
  expect(result.results['huge.got'] ?? 0).toBeGreaterThan(0)
})

test('a task begins at its time, and waits between its steps', () => {
  const result = run({
    phases: [
      { name: 'one', tasks: [{ task: 'request', order: 0, of: 'user', times: 5, every: '2ms', at: '10ms' }] },
    ],
    costs: { alloc: 1000 },
  })
  expect(result.ns).toBe(10e6 + 5 * 1000 + 4 * 2e6)
})

test('time is what the table says: a compaction costs what it scans and moves', () => {
  const fragmented = {
    phases: [
      { name: 'map', tasks: [{ task: 'map', name: 'a', size: '24MiB' }] },
      { name: 'fill', tasks: [{ task: 'unmap', of: 'a', pages: 'even' }] },
      { name: 'compact', tasks: [{ task: 'compact' }] },
    ],
    metrics: {
      moved: { event: 'pgmigrate_success', over: 'compact' },
      source: { event: 'compact_migrate_scanned', over: 'compact' },
      targets: { event: 'compact_free_scanned', over: 'compact' },
      small: { free_share: 1, at: 'fill' },
      large: { free_share: 9, at: 'compact' },
    },
    costs: {
      pgmigrate_success: 1000,
      compact_migrate_scanned: 10,
      compact_free_scanned: 20,
      pgmigrate_fail: 0,
    },
  }
  const { metrics, snapshots } = run(fragmented)
  const { moved = 0, source = 0, targets = 0 } = metrics
  expect(moved).toBeGreaterThan(1000)
  expect(snapshots[2].ns - snapshots[1].ns).toBeCloseTo(1000 * moved + 10 * source + 20 * targets, 3)
  expect(metrics['large']).toBeGreaterThan(metrics['small'] ?? 0)
})

test('what cannot be had is a figure, not an error; a task can stop at it', () => {
  const result = run({
    phases: [
      { name: 'greedy', tasks: [{ task: 'request', order: 4, of: 'kernel', times: 10_000, stop: true }] },
    ],
    metrics: { first: { result: 'request.failed_first_ns' }, rate: { success: 'request' } },
  })
  expect(result.results['request.failed']).toBe(1)
  expect(result.results['request.got']).toBeGreaterThan(400)
  expect(result.metrics['first']).toBeGreaterThan(0)
  expect(result.histograms.get('request.ns')?.count).toBe((result.results['request.got'] ?? 0) + 1)
})

test('tasks of one cpu take turns: one that always has something to do does not keep another from running', () => {
  const { snapshots } = run({
    machine: { memory: '32MiB', cpus: 1 },
    phases: [
      {
        name: 'busy',
        for: '1ms',
        tasks: [
          { task: 'processes', memory: '1MiB', background: true },
          { task: 'wait', for: '1ms' },
        ],
      },
      { name: 'other', tasks: [{ task: 'request', order: 0, of: 'user', times: 3 }] },
    ],
  })
  expect(snapshots[1].ns).toBeLessThan(3e6)
})

test('who is stopped gives back what it has; others go on', () => {
  const background = { background: true, exits: false, lives: 0 }
  const { snapshots, world } = run({
    phases: [
      {
        name: 'on',
        for: '50ms',
        tasks: [
          { task: 'processes', name: 'one', memory: '4MiB', ...background },
          { task: 'processes', name: 'two', memory: '2MiB', pace: '1000/s', background: true },
          { task: 'wait', for: '50ms' },
        ],
      },
      { name: 'off', tasks: [{ task: 'stop', tasks: ['two'] }] },
      { name: 'later', for: '50ms', tasks: [{ task: 'wait', for: '50ms' }] },
    ],
  })
  expect(world.results.get('one.pages')).toBe(1024)
  const mapped = world.mm.arena.column('pte').filter((pte) => pte !== 0).length
  expect(mapped).toBe(1024)
  expect(snapshots.map(({ ns }) => Math.round(ns / 1e6))).toEqual([50, 50, 100])
})

test('drop-caches empties the page cache', () => {
  const result = run({
    phases: [
      { name: 'read', tasks: [{ task: 'read-files', size: '8MiB' }] },
      { name: 'drop', tasks: [{ task: 'drop-caches' }] },
    ],
  })
  const [read, drop] = result.snapshots
  expect(result.results['drop-caches.pages']).toBe(2048)
  // What is freed stays on per-cpu lists at first, but not more than those hold.
  expect(drop.freePages).toBeGreaterThan(read.freePages + 1500)
})

test('the series has a row every so often, in order, and one at the end', () => {
  const { series, ns } = run({ ...BUSY, sample_every: '20ms' })
  const times = series.columns.get('ns') ?? []
  expect(times.length).toBeGreaterThan(14)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(times.at(-1)).toBe(ns)
  for (const values of series.columns.values()) expect(values).toHaveLength(times.length)
})

test('what cannot be is said before anything runs', () => {
  const movable = scenarioOf({
    machine: { nodes: [{ memory: '8MiB', movable: '8MiB' }] },
    phases: BUSY.phases,
  })
  expect(impossible(movable)).toMatch('ZONE_MOVABLE is smaller than its node')
  expect(impossible(scenarioOf(BUSY))).toBe(undefined)
})
