/** Owners in scenarios: each comes to what it is asked for, its figures add up, and the machine is sound afterwards. */

import { describe, expect, test } from 'vitest'
import { verify } from '../../mm/verify.ts'
import { type RunResult, runScenario } from '../run.ts'
import { parseScenario } from '../scenario.ts'

function run(data: object): RunResult {
  const parsed = parseScenario({ question: 'a test', machine: { memory: '64MiB' }, ...data })
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues))
  const result = runScenario(parsed.scenario, 1)
  verify(result.world.mm)
  return result
}
const phase = (name: string, ...tasks: readonly object[]): object => ({ name, tasks })

describe('zram', () => {
  const files = (zram: object): object => ({
    owners: { zram0: { kind: 'zram', disksize: '32MiB', ...zram } },
    phases: [
      phase('written', { task: 'write-files', name: 'dd', size: '4MiB', copies: 4, to: 'zram0' }),
      phase('deleted', { task: 'delete-files', of: 'dd', files: 'odd' }),
      phase('packed', { task: 'zs-compact', owner: 'zram0' }),
      phase('emptied', { task: 'delete-files', of: 'dd', files: 'all' }),
    ],
  })

  test('files are stored, trimmed and packed; nothing is left of what was deleted', () => {
    const { snapshots, results } = run(files({ sizes: '1KiB' }))
    const [written, deleted, packed, emptied] = snapshots.map(({ figures }) => figures)
    expect(written).toMatchObject({ 'zram0.stored_pages': 4096, 'zram0.compressed_bytes': 4096 * 1024 })
    expect(deleted['zram0.stored_pages']).toBe(2048)
    expect(packed['zram0.pages']).toBeLessThan(deleted['zram0.pages'])
    expect(results['zs-compact.pages_freed']).toBe(deleted['zram0.pages'] - packed['zram0.pages'])
    expect(emptied).toMatchObject({ 'zram0.stored_pages': 0, 'zram0.pages': 0, 'zram0.compressed_bytes': 0 })
  })

  test('a page that does not get small takes a page of its own; a limit, and a disk that is full, refuse', () => {
    expect(run(files({ sizes: '4KiB' })).snapshots[0].figures['zram0.huge_pages']).toBe(4096)
    const limited = run(files({ sizes: '4KiB', mem_limit: '8MiB' }))
    expect(limited.snapshots[0].figures['zram0.pages']).toBe(2048)
    expect(limited.results['dd.lost']).toBe(2048)
    expect(run(files({ sizes: '1KiB', disksize: '12MiB' })).results['dd.lost']).toBe(1024)
  })

  test('its pages move where they can', () => {
    const moved = (movable: boolean): number | undefined =>
      run({
        owners: { zram0: { kind: 'zram', disksize: '32MiB', movable } },
        phases: [
          phase('map', { task: 'map', name: 'a', size: '56MiB' }),
          phase('out', { task: 'pageout', of: 'a', pages: 0.5, to: 'zram0' }),
          phase('unmap', { task: 'unmap', of: 'a', pages: 'present' }),
          phase('compact', { task: 'compact' }),
        ],
        metrics: { moved: { event: 'pgmigrate_success', over: 'compact' } },
      }).metrics['moved']
    expect(moved(true)).toBeGreaterThan(300)
    expect(moved(false)).toBe(0)
  })

  test('what is no zram device is refused', () => {
    const wrong = (owner: object): string[] => {
      const parsed = parseScenario({
        question: '?',
        machine: { memory: '64MiB' },
        owners: { z: owner },
        phases: [],
      })
      return parsed.ok ? [] : parsed.issues.map(({ message }) => message)
    }
    expect(wrong({ kind: 'zram', disksize: '1MiB', comp_algorithm: 'zstd' })).toContain('there is lz4')
    expect(wrong({ kind: 'zram', disksize: '1MiB', sizes: '8KiB' })).toContain(
      'a page compresses to 4096 bytes at most',
    )
  })
})

test('graphics: buffers come and go; while the device works on one its pages stay', () => {
  const result = run({
    owners: { gpu: { kind: 'graphics', buffers: 8, buffer_max: '4MiB' } },
    phases: [
      {
        name: 'use',
        for: '1s',
        tasks: [
          {
            task: 'graphics-buffers',
            owner: 'gpu',
            copies: 4,
            size: { uniform: ['1MiB', '4MiB'] },
            lives: { exponential: '50ms' },
            jobs: '1ms',
            order: 2,
            background: true,
          },
          { task: 'compact', times: 50, every: '20ms' },
        ],
      },
    ],
  })
  expect(result.results['graphics-buffers.got']).toBeGreaterThan(40)
  const pages = result.snapshots[0].figures['gpu.pages']
  expect(pages).toBeGreaterThan(0)
  expect(pages).toBeLessThanOrEqual(4 * 1024)
  expect(result.snapshots[0].figures['gpu.isolated']).toBe(0)
})

test('kernel memory: so much at once, and then what comes and goes', () => {
  const { snapshots } = run({
    owners: { kernel: { kind: 'kernel-memory' } },
    phases: [
      phase('boot', { task: 'kernel-load', owner: 'kernel', size: '8MiB' }),
      {
        name: 'run',
        for: '20s',
        tasks: [
          { task: 'kernel-load', name: 'churn', owner: 'kernel', churn: '20/s', background: true },
          { task: 'wait', for: '20s' },
        ],
      },
    ],
  })
  const [boot, later] = snapshots.map(({ figures }) => figures['kernel.pages'])
  expect(boot).toBeGreaterThanOrEqual(2048)
  expect(boot).toBeLessThan(2048 + 8)
  expect(later).toBeGreaterThan(boot + 200)
})

test('a balloon that memory has no room for gives what there is, and says what is missing', () => {
  const { results, snapshots } = run({
    owners: { balloon: { kind: 'balloon' } },
    phases: [
      phase('map', { task: 'map', name: 'a', size: '40MiB' }),
      phase('inflate', { task: 'balloon', owner: 'balloon', size: '60MiB' }),
      phase('deflate', { task: 'balloon', owner: 'balloon', size: 0 }),
    ],
  })
  const [, inflated, deflated] = snapshots.map(({ figures }) => figures)
  expect(inflated['balloon.pages'] + (results['balloon.missing'] ?? 0)).toBe(60 * 256)
  expect(inflated['balloon.host_frames']).toBe(inflated['balloon.pages'])
  expect(deflated).toMatchObject({ 'balloon.pages': 0, 'balloon.host_frames': 0 })
})
