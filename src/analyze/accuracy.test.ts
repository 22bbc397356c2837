/**
 * How well the prediction meets what real kernels did: the figures of README's table, as the command
 * line prints them, pinned.
 *
 * The captures of QEMU guests (Linux 6.1, recorded truth) and the demo (Linux 6.18, a 24 GiB machine,
 * nothing but /proc) are part of the repository; the others are reference captures.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { drover } from '../testing/drover.ts'
import { readmePart } from '../testing/readme.ts'
import { referenceCapture } from '../testing/reference.ts'

const scratch = mkdtempSync(join(tmpdir(), 'drover-accuracy-'))
afterAll(() => rmSync(scratch, { recursive: true }))

/** One line of README's table, and how far off it may be. */
interface Case {
  readonly name: string
  readonly given: string
  /** The two capture files; undefined: a reference capture is absent. */
  readonly captures: () => readonly [before: string, after: string] | undefined
  readonly migratedPct: number
  readonly hugePct: number
  readonly maePages: number
}

const BLIND = { given: '/proc only', migratedPct: 5, hugePct: 8, maePages: 8 }
const WITH_TRUTH = { given: 'recorded truth', migratedPct: 3, hugePct: 5, maePages: 6 }

/** Imports a reference capture. What happened after is read with the per-cpu lists, what was before as `truth` says. */
function imported(name: string, truth: boolean): readonly [string, string] | undefined {
  const dir = referenceCapture(`host-6.18/${name}`)
  if (dir === undefined) return undefined
  const before = join(scratch, `${name}.${truth}.before.drover`)
  const after = join(scratch, `${name}.after.drover`)
  const runs = [
    drover('import', dir, '--side', 'before', ...(truth ? ['--truth'] : []), '-o', before, '--level', '1'),
    drover('import', dir, '--side', 'after', '--truth=pcp', '-o', after, '--level', '1'),
  ]
  for (const { status } of runs) expect(status).toBe(0)
  return [before, after]
}

const kept = (name: string) => (): readonly [string, string] => [
  `${name}.before.drover`,
  `${name}.after.drover`,
]

const CASES: readonly Case[] = [
  { name: 'anon50, 24 GiB, Linux 6.18', ...BLIND, captures: kept('demo/anon50') },
  { name: 'anon50, 24 GiB, Linux 6.18', ...WITH_TRUTH, captures: () => imported('anon50', true) },
  { name: 'mixed45, 24 GiB, Linux 6.18', ...BLIND, captures: () => imported('mixed45', false) },
  { name: 'mixed45, 24 GiB, Linux 6.18', ...WITH_TRUTH, captures: () => imported('mixed45', true) },
  { name: 'a1: odd pages freed, Linux 6.1', ...WITH_TRUTH, captures: kept('testdata/qemu/a1') },
  { name: 'a2: even pages freed, Linux 6.1', ...WITH_TRUTH, captures: kept('testdata/qemu/a2') },
  { name: 'a3: random half freed, Linux 6.1', ...WITH_TRUTH, captures: kept('testdata/qemu/a3') },
  { name: 'a6: 2,560 pages pinned, Linux 6.1', ...WITH_TRUTH, captures: kept('testdata/qemu/a6') },
]

/** What the test reads of `drover compact --json`. */
interface Report {
  readonly predicted: { readonly pages_migrated: number; readonly order9_blocks: number }
  readonly actual: { readonly pages_migrated: number; readonly order9_blocks: number }
  readonly error: {
    readonly pages_migrated_pct: number
    readonly order9_blocks_pct: number
    readonly pageblock_free_mae_pages: number
  }
}

function compact([before, after]: readonly [string, string]): Report {
  const { status, stdout, stderr } = drover('compact', before, '--against', after, '--json')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return JSON.parse(stdout)
}

const grouped = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',')
const signed = (percent: number): string => `${percent < 0 ? '-' : '+'}${Math.abs(percent).toFixed(1)} %`

/** The line of README's table. */
function row({ name, given }: Case, { predicted, actual, error }: Report): string {
  const cells = [
    name,
    given,
    grouped(predicted.pages_migrated),
    grouped(actual.pages_migrated),
    signed(error.pages_migrated_pct),
    grouped(predicted.order9_blocks),
    grouped(actual.order9_blocks),
    signed(error.order9_blocks_pct),
    error.pageblock_free_mae_pages.toFixed(1),
  ]
  return `| ${cells.join(' | ')} |`
}

const TABLE_HEAD = [
  '| capture | given | pages migrated: predicted | actual | error | huge pages free: predicted | actual | error | pageblock off by (of 512) |',
  '|---|---|---:|---:|---:|---:|---:|---:|---:|',
]

describe('prediction against what the kernel did', () => {
  const printed: string[] = []

  for (const one of CASES) {
    test(`${one.name}, from ${one.given}`, (context) => {
      const captures = one.captures()
      if (captures === undefined) return context.skip('a reference capture is absent')
      const report = compact(captures)
      const line = row(one, report)
      printed.push(line)
      const { error } = report
      expect(Math.abs(error.pages_migrated_pct)).toBeLessThanOrEqual(one.migratedPct)
      expect(Math.abs(error.order9_blocks_pct)).toBeLessThanOrEqual(one.hugePct)
      expect(error.pageblock_free_mae_pages).toBeLessThan(one.maePages)
    })
  }

  test('README has these figures', () => {
    // Where a reference capture is absent its line is not computed; the others must be there all the same.
    const isWhole = printed.length === CASES.length
    const table = [...TABLE_HEAD, ...printed].join('\n')
    const shown = readmePart('table: accuracy', isWhole ? table : undefined)
    if (isWhole) expect(shown).toBe(table)
    for (const line of printed) expect(shown).toContain(line)
  })

  test('a1 and a2: as many pages as the kernel moved, to the page', () => {
    for (const name of ['a1', 'a2']) {
      const { predicted, actual } = compact(kept(`testdata/qemu/${name}`)())
      expect(predicted.pages_migrated).toBe(actual.pages_migrated)
    }
  })
})
