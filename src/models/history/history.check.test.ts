/**
 * Every historic race is found where its mistake is seeded, by the rule that it broke and with the shortest
 * schedule, and is gone where it is fixed. The sizes of the state spaces, without any reduction, are pinned: a
 * change of a protocol shows here.
 */

import { describe, expect, test } from 'vitest'
import { check, DEFAULTS } from '../../check/check.ts'
import type { Model } from '../model.ts'
import { HISTORY } from './index.ts'

const UNREDUCED = { ...DEFAULTS, persistentSets: false, symmetry: false }

/** What the checker must say of a mistake: the rule that breaks, and the steps of the shortest schedule that does it. */
type Found = readonly [rule: string, steps: number]

const EXPECTED: Readonly<Record<string, { states: number; seeded: Readonly<Record<string, Found>> }>> = {
  'zspage-async-free': {
    states: 4293,
    seeded: {
      'no-migrate-lock': ['no-move-while-freed', 14],
      'stale-next-page': ['get_zspage: the page belongs to the zspage', 27],
      'no-reference': ['waits-for-a-page', 27],
    },
  },
  'zs-map-object': {
    states: 1347,
    seeded: {
      'not-every-object-pinned': ['zs_map_object: the page belongs to the zspage', 12],
      'no-zspage-lock': ['zs_map_object: both pieces of the object are of one time', 14],
    },
  },
  'stale-migratetype': {
    states: 258,
    seeded: {
      // The page asks for the type, notes it, goes to the per-cpu list; isolation; the per-cpu list is emptied.
      'noted-type': ['right-list', 5],
      // Isolation; the page asks for the type; two drains and the end of the isolation; the page is freed.
      'type-before-lock': ['right-list', 6],
    },
  },
  'win-against-free': {
    states: 1093,
    seeded: {
      'plain-decrement': ['freed-once', 8],
      'frees-anyway': ['free: the page is locked, on the LRU, or under writeback', 11],
      'raises-a-zero': ['free: the page is locked, on the LRU, or under writeback', 10],
    },
  },
  'double-putback': {
    states: 238,
    seeded: {
      'no-isolated-mark': ['list-is-sound', 20],
      'mark-after-unlock': ['list-is-sound', 24],
    },
  },
  'balloon-delete-isolated': {
    states: 408,
    seeded: {
      'unlinks-isolated': ['list_del: the page is on a list', 22],
      'dequeue-without-page-lock': ['list_del: the page is on a list', 8],
    },
  },
  'balloon-host-order': {
    states: 76,
    seeded: {
      // The lock, and the wrong one first.
      'old-before-new': ['host-has-its-share', 2],
      // The lock, the new page, the lock's end, and both references of the old page.
      'frees-before-telling': ['free-is-the-guests', 5],
    },
  },
  'pinpage-lost-page': {
    states: 1027,
    seeded: {
      'unclaimed-is-success': ['success-means-moved', 7],
      'keeps-new-page': ['no-page-lost', 13],
    },
  },
}

const modelOf = (name: string): Model => {
  const model = HISTORY.find((one) => one.name === name)
  if (model === undefined) throw new Error(`no model ${name}`)
  return model
}

test('every historic race is in the table, with each of its mistakes', () => {
  const listed = Object.entries(EXPECTED).map(([name, { seeded }]) => [name, Object.keys(seeded)])
  expect(HISTORY.map(({ name, seeded }) => [name, Object.keys(seeded)])).toEqual(listed)
})

describe.each(HISTORY.map((model) => [model.name, model] as const))('%s', (name, model) => {
  test('is gone with the fix', () => {
    const report = check(model.build(model.size, undefined))
    expect(report.counterexample?.violation).toBe(undefined)
    expect([report.verdict, report.notChecked]).toEqual(['pass', []])
  })

  test('has as many states as before, and as many ends with and without reductions', () => {
    const full = check(model.build(model.size, undefined), UNREDUCED)
    expect([full.verdict, full.states]).toEqual(['pass', EXPECTED[name].states])
    const reduced = check(model.build(model.size, undefined), { ...DEFAULTS, symmetry: false })
    expect(reduced.ends).toEqual(full.ends)
    expect(reduced.states).toBeLessThanOrEqual(full.states)
  })

  test('raises no false alarm with three actors and two pages', () => {
    expect(check(model.build({ actors: 3, pages: 2 }, undefined)).verdict).toBe('pass')
  })

  test('passes with one actor and one page', () => {
    expect(check(model.build({ actors: 1, pages: 1 }, undefined)).verdict).toBe('pass')
  })

  test.each(Object.entries(EXPECTED[name].seeded))('is found: %s', (seeded, [rule, steps]) => {
    const report = check(model.build(model.size, seeded), { ...DEFAULTS, liveness: false })
    expect(report.counterexample?.violation.name).toBe(rule)
    expect([report.verdict, report.shortest]).toEqual(['violated', true])
    expect(report.counterexample?.schedule.length).toBe(steps)
  })
})

describe('state counts by hand', () => {
  test('balloon-host-order, two migrators', () => {
    // A migrator that gets the lock is in one of 7 places: before it, three with the lock (got it; the host knows the
    // new page; the host forgot the old one), three without (released it; dropped one reference; dropped both). Of
    // the 7 * 7 pairs the 3 * 3 with two holders are impossible: 40. One that does not get it is in one of 3 places
    // from then on (tried; dropped the destination; dropped the page), while the other one is in any but the first:
    // 3 * 6, for either of the two. That neither gets it is impossible. 40 + 18 + 18.
    const states = check(
      modelOf('balloon-host-order').build({ actors: 2, pages: 2 }, undefined),
      UNREDUCED,
    ).states
    expect(states).toBe(76)
  })

  test('stale-migratetype, one page', () => {
    // The isolator has done k of isolate, drain, undo: k = 0..3. The block is isolated at k = 1 and 2. The page:
    //   - has not begun: 4 values of k;
    //   - has read "movable", which it can at k = 0, so any k later: 4;
    //   - and has noted it: 4;
    //   - is on the per-cpu list: 4; or was drained from it, which happens from k = 1 to 2, so k = 2 or 3: 2;
    //   - has emptied the per-cpu list, the page being on the list of the block's type by now: 4;
    //   - has read "isolate", at k = 1 or 2, so k = 1..3: 3;
    //   - and was freed directly (nothing noted in it): 3.
    const states = check(
      modelOf('stale-migratetype').build({ actors: 1, pages: 1 }, undefined),
      UNREDUCED,
    ).states
    expect(states).toBe(4 + 4 + 4 + (4 + 2) + 4 + 3 + 3)
  })
})
