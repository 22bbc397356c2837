/**
 * Every model passes at its usual size, every seeded mistake of it is found, and the sizes of all state spaces are
 * what they were: a change of a protocol shows here.
 */

import { describe, expect, test } from 'vitest'
import { check, DEFAULTS } from '../check/check.ts'
import { MODELS } from './index.ts'

describe.each(MODELS.map((model) => [model.name, model] as const))('%s', (_, model) => {
  test('passes', () => {
    const report = check(model.build(model.size, undefined))
    expect(report.counterexample?.violation).toBe(undefined)
    expect([report.verdict, report.notChecked]).toEqual(['pass', []])
    expect([report.states, report.transitions, report.depth]).toMatchSnapshot('states, transitions, depth')
  })

  test.each(Object.keys(model.seeded))('finds %s', (seeded) => {
    const report = check(model.build(model.size, seeded), { ...DEFAULTS, liveness: false })
    expect([report.verdict, report.shortest]).toEqual(['violated', true])
    expect([report.counterexample?.violation.name, report.counterexample?.schedule.length]).toMatchSnapshot()
  })
})
