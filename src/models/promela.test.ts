/**
 * Spin, where it is installed, counts the states and transitions of the engine's own protocols as we do.
 */

import { expect, test } from 'vitest'
import { checkLearned, DEFAULTS } from '../check/check.ts'
import { discover } from '../check/discover.ts'
import { Learned } from '../check/learned.ts'
import { promelaOf, SPIN_STATES_MORE, SPIN_TRANSITIONS_MORE } from '../check/promela.ts'
import { NO_REDUCTION, Pan, spinMissing } from '../testing/spin.ts'
import { isolateFree } from './isolate_free.ts'

test('Spin counts as many states of isolate-free', (context) => {
  const learned = new Learned(isolateFree.build(isolateFree.size, undefined))
  discover(learned, 1)
  const unreduced = { ...DEFAULTS, persistentSets: false, symmetry: false, liveness: false }
  const { verdict, states, transitions } = checkLearned(learned, unreduced)
  expect(verdict).toBe('pass')
  const missing = spinMissing()
  if (missing !== undefined) {
    console.log(`promela: not compared with Spin: ${missing}`)
    context.skip(missing)
  }
  const pan = new Pan(promelaOf(learned), NO_REDUCTION)
  const result = pan.run(16)
  pan.remove()
  expect([result.errors, result.states, result.transitions]).toEqual([
    0,
    states + SPIN_STATES_MORE,
    transitions + SPIN_TRANSITIONS_MORE,
  ])
})
