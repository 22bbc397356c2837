/**
 * What the checker leaves out makes no difference: on models of the engine's protocols and of historic races, right and
 * wrong ones, each reduction gives the verdict and the ends of the full search, and so does source-DPOR, which shares
 * neither packing nor hashing nor persistent sets with it.
 */

import { describe, expect, test } from 'vitest'
import { check, DEFAULTS } from '../check/check.ts'
import { Learned } from '../check/learned.ts'
import type { Run } from '../check/run.ts'
import { dpor } from '../check/strategies/dpor.ts'
import type { System } from '../check/system.ts'
import { MODELS } from './index.ts'
import type { ModelSize } from './model.ts'

const FULL = { ...DEFAULTS, persistentSets: false, symmetry: false, liveness: false, firstPass: false }
const REDUCTIONS = [
  { persistentSets: true, symmetry: false },
  { persistentSets: false, symmetry: true },
  { persistentSets: true, symmetry: true },
]

/** Models, and the size at which source-DPOR comes to an end in seconds. */
const CASES: readonly (readonly [name: string, size: ModelSize])[] = [
  ['isolate-free', { actors: 1, pages: 1 }],
  ['stale-migratetype', { actors: 1, pages: 1 }],
  ['win-against-free', { actors: 1, pages: 1 }],
  ['double-putback', { actors: 2, pages: 1 }],
  ['balloon-host-order', { actors: 2, pages: 1 }],
  ['pinpage-lost-page', { actors: 1, pages: 1 }],
]

const built = (name: string, size: ModelSize, seeded?: string): System => {
  const model = MODELS.find((one) => one.name === name)
  if (model === undefined) throw new Error(`no model ${name}`)
  return model.build(size, seeded)
}

/** An end in the words of Report.ends. */
function endText(run: Run): string {
  const { learned, nodes } = run
  const changed = [...run.changed()].map(([cell, value]) => `${learned.memory.nameOf(cell)}=${value}`)
  const results = learned.system.tasks.flatMap((_, of) =>
    learned.instances
      .flatMap((instance, i) => (instance.of === of ? [nodes[i].ending?.result ?? -1] : []))
      .toSorted((a, b) => a - b),
  )
  return `${changed.toSorted().join(' ')} | ${results.join(' ')}`
}

describe.each(CASES)('%s', (name, size) => {
  const full = check(built(name, size), FULL)

  test('passes, with the ends of the full search, under each reduction', () => {
    expect(full.verdict).toBe('pass')
    for (const reduction of REDUCTIONS) {
      const reduced = check(built(name, size), { ...FULL, ...reduction })
      expect([reduction, reduced.verdict]).toEqual([reduction, 'pass'])
      expect(reduced.ends).toEqual(full.ends)
      expect(reduced.states).toBeLessThanOrEqual(full.states)
    }
  })

  test('has the same ends by source-DPOR', () => {
    const ends = new Set<string>()
    const budget = { schedules: 300_000, stepsMax: 1000, seed: 1 }
    const tried = dpor(new Learned(built(name, size)), budget, (run) => ends.add(endText(run)))
    expect([tried.found, tried.bounds.includes('not all')]).toEqual([undefined, false])
    expect([...ends].toSorted()).toEqual([...full.ends].toSorted())
  })
})

test('every mistake of every model breaks something in the same number of steps under each reduction', () => {
  // Those with many states are too slow without reductions; models.check.test.ts has them with.
  const large = 'migrate-mapped migrate-batch page-lock owner-lock swap-out pinpage longterm-pin'.split(' ')
  const small = MODELS.filter((model) => !large.includes(model.name))
  for (const model of small) {
    for (const seeded of Object.keys(model.seeded)) {
      const full = check(model.build(model.size, seeded), FULL)
      for (const reduction of REDUCTIONS) {
        const reduced = check(model.build(model.size, seeded), { ...FULL, ...reduction })
        const found = [full, reduced].map(({ verdict, counterexample }) => [
          verdict,
          counterexample?.schedule.length,
        ])
        expect([model.name, seeded, found[1]]).toEqual([model.name, seeded, found[0]])
      }
    }
  }
}, 120_000)
