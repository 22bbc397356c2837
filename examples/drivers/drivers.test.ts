/**
 * Every driver here is what its header says: it keeps the contract, breaks the clause that is named, or cannot be
 * checked for the reason that is named. Two tasks at a time are enough for every mistake.
 */

import { readdirSync, readFileSync } from 'node:fs'
import {
  CLAUSES,
  type ConformanceResult,
  conformance,
  DEFAULT_BOUNDS,
  type PageLockedOps,
} from 'drover/driver'
import { describe, expect, test } from 'vitest'
import list from './list_driver.ts'

const folder = new URL('./', import.meta.url)
const files = readdirSync(folder).filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))

async function check(file: string, actors: number): Promise<ConformanceResult> {
  const module: { default: unknown } = await import(new URL(file, folder).href)
  return conformance(module.default, { ...DEFAULT_BOUNDS, actors })
}

/** What the header says after a word at the beginning of a line. */
const saidIn = (file: string, word: string): string | undefined =>
  new RegExp(`^ \\* ${word}: (.+)$`, 'm').exec(readFileSync(new URL(file, folder), 'utf8'))?.[1]

const broken = files.flatMap((file) => {
  const clause = saidIn(file, 'Fails')
  return clause === undefined ? [] : [[file, clause] as const]
})
const uncheckable = files.flatMap((file) => {
  const why = saidIn(file, 'Cannot be checked')
  return why === undefined ? [] : [[file, why] as const]
})
const named = new Set([...broken, ...uncheckable].map(([file]) => file))
const correct = files.filter((file) => !named.has(file))

test('three are correct, and every clause is broken by some other', () => {
  expect(correct).toEqual(['list_driver.ts', 'own_lock.ts', 'sticky_mark.ts'])
  expect(new Set(broken.map(([, clause]) => clause))).toEqual(new Set(CLAUSES.map(({ name }) => name)))
})

test('the correct driver of one list and one lock is under 80 lines', () => {
  expect(readFileSync(new URL('list_driver.ts', folder), 'utf8').trimEnd().split('\n').length).toBeLessThan(
    80,
  )
})

describe.each(correct)('%s', (file) => {
  test('keeps the contract', async () => {
    const result = await check(file, 3)
    expect([result.verdict, result.error, result.bounds]).toEqual([
      'pass',
      undefined,
      { actors: 3, pages: 2 },
    ])
    const verdicts = new Map(result.clauses.map(({ clause, verdict, why }) => [clause.name, why || verdict]))
    const again = file === 'own_lock.ts' ? 'the driver never answers -EAGAIN' : 'passed'
    expect(verdicts).toEqual(
      new Map(CLAUSES.map(({ name }) => [name, name === 'again-means-unchanged' ? again : 'passed'])),
    )
  })
})

describe('list_driver.ts with an isolate that refuses', () => {
  const refusing = (isolate: PageLockedOps['isolate']): ConformanceResult =>
    conformance({ ...list, ops: { ...list.ops, isolate } }, DEFAULT_BOUNDS)

  test('always: keeps the contract, and what needs an isolated page is not exercised', () => {
    const { verdict, error, notExercised } = refusing(() => false)
    expect([verdict, error]).toEqual(['pass', undefined])
    expect(notExercised).toContain('one-winner')
    expect(notExercised).not.toContain('nothing-changed-on-refusal')
  })

  test('a page that somebody looks at: keeps the contract', () => {
    const { verdict, error, notExercised } = refusing(
      (cpu, mm, pfn) => cpu.load(mm.refcount, pfn) === 2 && list.ops.isolate(cpu, mm, pfn),
    )
    expect([verdict, error, notExercised]).toEqual(['pass', undefined, []])
  })
})

describe.each(broken)('%s', (file, clause) => {
  test(`breaks ${clause}`, async () => {
    const result = await check(file, 2)
    expect(result.verdict).toBe('violated')
    expect(result.others.map(({ report }) => report.counterexample?.violation.name)).toEqual([])
    const failed = result.clauses.find(
      ({ verdict, clause: { name } }) => verdict === 'failed' && name === clause,
    )
    expect(failed?.failure?.report.counterexample?.steps.length).toBeGreaterThan(0)
    expect(failed?.failure?.report.shortest).toBe(true)
  })
})

describe.each(uncheckable)('%s', (file, why) => {
  test('cannot be checked, and says why', async () => {
    const result = await check(file, 2)
    expect(result.verdict).toBe('error')
    expect(result.error).toContain(why)
  })
})

test('a driver that clears the mark, under the framework that lets it stay, is asked about pages that it let go of', () => {
  const result = conformance({ ...list, markStays: true }, { ...DEFAULT_BOUNDS, actors: 2 })
  expect(result.verdict).toBe('violated')
})
