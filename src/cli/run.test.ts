/** `drover run` as a user meets it: every scenario of the library, output formats, and what is refused. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { afterAll, expect, test } from 'vitest'
import { drover, ROOT } from '../testing/drover.ts'
import { readmePart } from '../testing/readme.ts'

const folder = mkdtempSync(join(tmpdir(), 'drover-run-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const SMALL = `
question: How many blocks of 64 KiB does a fragmented machine give?
machine: { memory: 32MiB }
phases:
  - { name: map, tasks: [{ task: map, name: a, size: 24MiB }] }
  - { name: fill, tasks: [{ task: unmap, of: a, pages: 0.5 }] }
  - { name: ask, tasks: [{ task: request, name: blocks, order: 4, of: user, times: 50 }] }
metrics:
  got: { success: blocks }
  slowest: { quantile: 1, of: blocks.ns }
what_if:
  compacted: { phases.1.tasks.0.pages: even }
published:
  base: { got: { value: 90 } }
`

test('a table of metrics, published figures beside ours, and the free blocks at the end of each phase', () => {
  const { status, stdout, stderr } = drover('run', file('small.yaml', SMALL))
  expect([status, stderr]).toEqual([0, ''])
  expect(stdout).toMatch(/How many blocks of 64 KiB/)
  expect(stdout).toMatch(/^ +base +published +compacted$/m)
  expect(stdout).toMatch(/^got +\d+\.\d % +90\.0 % +\d+\.\d %$/m)
  expect(stdout).toMatch(/^base, seed 1 +at +free pages +0 +1 +2 +3 +4 +5 +6 +7 +8 +9 +10$/m)
  expect(stdout).toMatch(/^ask +\d+\.\d ms/m)
})

test('README shows what a scenario of the library prints', () => {
  const path = 'examples/scenarios/zram-fragmentation.yaml'
  const { status, stdout } = drover('run', path)
  expect(status).toBe(0)
  const session = `\`\`\`console\n$ npx drover run ${path}\n${stdout.trimEnd()}\n\`\`\``
  expect(readmePart('session: drover run', session)).toBe(session)
})

test('--json has the keys that scripts rely on; the same seed prints the same bytes', () => {
  const path = file('small.yaml', SMALL)
  const args = ['run', path, '--json', '--only', 'base', '--repeat', '2', '--seed', '5']
  const [first, second] = [drover(...args), drover(...args)]
  expect(second.stdout).toBe(first.stdout)
  const report = JSON.parse(first.stdout)
  expect(Object.keys(report)).toEqual([
    'schema',
    'scenario',
    'question',
    'variant',
    'seed',
    'metrics',
    'vmstat',
    'series',
    'published',
    'variants',
  ])
  expect(report).toMatchObject({ schema: 'drover.run.v1', variant: 'base', seed: 5 })
  const [{ runs }] = report.variants
  expect(runs.map(({ seed }: { seed: number }) => seed)).toEqual([5, 6])
  expect(runs[0].arena_hash).not.toBe(runs[1].arena_hash)
  expect(runs[0].phases.map(({ name }: { name: string }) => name)).toEqual(['map', 'fill', 'ask'])
  expect(report.metrics.got).toBeGreaterThan(0)
  expect(report.series.free_order0.length).toBe(report.series.ns.length)
})

test('-o writes the series as Parquet, which another reader reads', async () => {
  const out = join(folder, 'out.parquet')
  const { status } = drover('run', file('small.yaml', SMALL), '-o', out)
  expect(status).toBe(0)
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(out) })
  expect(new Set(rows.map(({ variant }) => String(variant)))).toEqual(new Set(['base', 'compacted']))
  expect(rows.at(-1)).toMatchObject({ seed: 1 })
  expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
})

test('a module can be a scenario', () => {
  const path = file(
    'scenario.ts',
    `const phases = [1, 2].map((n) => ({ name: 'p' + n, tasks: [{ task: 'request', order: n, of: 'user' }] }))
     export default { question: 'Does it run?', machine: { memory: '8MiB' }, phases }`,
  )
  const { status, stdout } = drover('run', path, '--set', 'machine.cpus=4', '--json')
  expect(status).toBe(0)
  expect(JSON.parse(stdout).variants[0].runs[0].results).toEqual({ 'request.got': 2 })
})

test('--schema is a JSON Schema', () => {
  const schema = JSON.parse(drover('run', '--schema').stdout)
  expect(schema).toMatchObject({ type: 'object', required: ['question', 'machine', 'phases'] })
})

test('bad input: one line for each thing that is wrong, exit 2, and nothing on stdout', () => {
  const refused = (...args: readonly string[]): string => {
    const { status, stdout, stderr } = drover('run', ...args)
    expect([args, status, stdout]).toEqual([args, 2, ''])
    return stderr.replaceAll(`${folder}/`, '')
  }
  const bad = file('bad.yaml', SMALL.replace('32MiB', '32MB').replace('order: 4', 'order: 40'))
  expect(refused(bad)).toBe(
    'bad.yaml:3:12: machine.memory: "32MB" is not a size, as 4KiB, 128MiB, 1GiB\n' +
      'bad.yaml:7:57: phases.2.tasks.0.order: Too big: expected number to be <=10\n',
  )
  const good = file('good.yaml', SMALL)
  expect(refused(good, '--set', 'machine.colour=red')).toBe(
    'good.yaml:3:1: machine.colour: unknown key "colour" (variant base)\n' +
      'good.yaml:3:1: machine.colour: unknown key "colour" (variant compacted)\n',
  )
  expect(refused(good, '--set', 'machine')).toMatch('is of the form path=value')
  expect(refused(good, '--only', 'other')).toBe(
    'drover: good.yaml: there is no variant other; it has base, compacted\n',
  )
  expect(refused()).toMatch('which scenario')
  expect(refused(file('none.ts', 'export const x = 1'))).toMatch(
    'a scenario module exports its scenario as default',
  )
  expect(drover('run', join(folder, 'missing.yaml'))).toMatchObject({ status: 3, stdout: '' })
})

test('every scenario of the library can be read, answers a question, and reports figures', () => {
  const library = readdirSync(join(ROOT, 'examples/scenarios')).filter((name) => name.endsWith('.yaml'))
  expect(library.length).toBeGreaterThan(0)
  for (const name of library) {
    const text = readFileSync(join(ROOT, 'examples/scenarios', name), 'utf8')
    expect([name, text.slice(0, text.indexOf('\n'))]).toEqual([
      name,
      expect.stringMatching(/^question: .*\?$|^# /),
    ])
  }
})
