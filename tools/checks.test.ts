/**
 * The checks of this folder, each on a text that it must refuse and on one that it must not. A check that
 * has never failed is not a check.
 */

import { expect, test } from 'vitest'
import { importCycles, importFaults, type Layers } from './imports.ts'
import { columnFaults, columnsOfCpu, nondeterminism, protocolFaults, tracepointFaults } from './protocol.ts'
import { exportsOf, headerOf, sourceOf } from './sources.ts'

const layers: Layers = {
  base: { layers: [] },
  mm: { layers: ['base'] },
  'capture/format': { layers: ['base'] },
  cli: { layers: ['base', 'mm'], packages: ['node:*', 'commander'] },
  testing: { layers: ['base', 'mm'] },
}
const imports = (path: string, text: string): string[] => importFaults(sourceOf(path, text), layers)
const protocol = (text: string): string[] => protocolFaults(sourceOf('src/mm/a.ts', text))

test('imports: every form of import is seen', () => {
  const forms = [
    `import { a } from '../cli/a.ts'`,
    `import type { A } from '../cli/a.ts'`,
    `import '../cli/a.ts'`,
    `export * from '../cli/a.ts'`,
    `const a = import('../cli/a.ts')`,
    `let a: import('../cli/a.ts').A`,
  ]
  for (const form of forms) {
    expect(imports('src/mm/b.ts', form)).toEqual(['src/mm/b.ts:1: ../cli/a.ts: mm may not import cli'])
  }
  expect(imports('src/cli/b.ts', forms.join('\n'))).toEqual([])
  expect(imports('src/cli/b.ts', 'import(name)')).toHaveLength(1)
})

test('imports: packages are for the layers that list them, and a few for tests', () => {
  expect(imports('src/cli/a.ts', `import 'node:fs'; import 'commander/x'`)).toEqual([])
  expect(imports('src/mm/a.ts', `import 'node:fs'`)).toHaveLength(1)
  expect(imports('src/mm/a.test.ts', `import 'node:fs'; import 'vitest'; import '../testing/a.ts'`)).toEqual(
    [],
  )
  expect(imports('src/mm/a.test.ts', `import 'commander'`)).toHaveLength(1)
  expect(imports('src/mm/a.test.ts', `import '../capture/format/a.ts'`)).toHaveLength(1)
})

test('imports: what ships imports no test, and every file is in a layer', () => {
  expect(imports('src/mm/a.ts', `import './b.test.ts'`)).toHaveLength(1)
  expect(imports('src/elsewhere/a.ts', '')).toEqual(['src/elsewhere/a.ts: in no layer of LAYERS'])
  expect(imports('src/capture/a.ts', '')).toHaveLength(1)
})

test('imports: a cycle is found, whoever is looked at first', () => {
  const a = sourceOf('src/mm/a.ts', `import './b.ts'`)
  const b = sourceOf('src/mm/b.ts', `import { type C } from './c.ts'; import type { A } from './a.ts'`)
  const c = sourceOf('src/mm/c.ts', `import './b.ts'`)
  expect(importCycles([a, b, c])).toEqual(['src/mm/b.ts -> src/mm/c.ts -> src/mm/b.ts'])
  expect(importCycles([c, a, b])).toEqual(['src/mm/c.ts -> src/mm/b.ts -> src/mm/c.ts'])
  expect(importCycles([a])).toEqual([])
})

test('protocol: what a protocol function must not have', () => {
  expect(protocol('export function f(cpu: Cpu) { try { g(cpu) } catch {} }')).toHaveLength(1)
  expect(protocol('const f = async (cpu: Cpu) => {}')).toHaveLength(1)
  expect(protocol('const ops = { *isolatePage(cpu: Cpu) {} }')).toHaveLength(1)
  expect(protocol('function f(cpu: Cpu) { return [1].map(async () => 2) }')).toHaveLength(1)
  expect(protocol('let n = 0')).toEqual(['src/mm/a.ts:1: module state: let or var at module level'])
  expect(
    protocol('const n = 0; function f(cpu: Cpu) { let i = 0 } function g(n: number) { try { } catch {} }'),
  ).toEqual([])
})

test('columns: reached through the cpu, unless a lock that sections hold guards them', () => {
  const columns = columnsOfCpu(
    sourceOf(
      'src/mm/page.ts',
      'class Mm {\n  readonly flags: PfnColumn // PG_*  (A)\n  readonly nrFree: ZoneColumn // pages  (Z)\n}',
    ),
  )
  const faults = (text: string): string[] => columnFaults(sourceOf('src/mm/a.ts', text), columns)
  expect([...columns]).toEqual(['flags'])
  expect(faults('function f(cpu: Cpu, mm: Mm, pfn: Pfn) { mm.flags[pfn] = 1 }')).toEqual([
    'src/mm/a.ts:1: mm.flags[pfn] without the cpu',
  ])
  expect(faults('function f(cpu: Cpu, mm: Mm) { cpu.load(mm.flags, mm.nrFree[0]) }')).toEqual([])
  expect(faults('function section(mm: Mm, pfn: number) { return mm.flags[pfnOf(pfn)] }')).toEqual([])
})

test('clock and random source: used, not merely named', () => {
  const faults = (text: string): string[] => nondeterminism(sourceOf('src/mm/a.ts', text))
  expect(faults('const a = Date.now(); const b = new Date(); const c = Math.random()')).toHaveLength(3)
  expect(faults('const a = { Date: 1 }; a.Date; // Date\nconst s = "Math.random()"')).toEqual([])
})

test('exports and headers are told apart', () => {
  const source = sourceOf(
    'src/mm/a.ts',
    '/** Header. @kernel */\n\nexport function f() {}\n/** @ours */\nexport const g = () => 1\nexport const h = 1\n' +
      '/** @paper */\nexport interface I {}\nfunction k() {}',
  )
  expect(headerOf(source)).toBe('/** Header. @kernel */')
  expect(headerOf(sourceOf('src/cli/main.ts', '#!/usr/bin/env node\n/** H */'))).toBe('/** H */')
  expect(exportsOf(source).map(({ name, kind, doc }) => [name, kind, doc])).toEqual([
    ['f', 'function', ''],
    ['g', 'function', '/** @ours */'],
    ['h', 'other', ''],
    ['I', 'interface', '/** @paper */'],
  ])
})

test('tracepoints: one that is told to nobody is found', () => {
  const faults = (text: string): string[] => tracepointFaults(sourceOf('src/mm/a.ts', text))
  expect(
    faults('mm.trace?.mmPageFree(pfn, order); const { trace } = mm; trace?.mmPageFree(pfn, order)'),
  ).toEqual([])
  expect(faults('if (mm.trace) mm.trace.mmPageFree(pfn, order)')).toEqual([
    'src/mm/a.ts:1: mm.trace.mmPageFree without ?.',
  ])
  expect(faults('trace.mmPageFree(pfn, order)')).toHaveLength(1)
})
