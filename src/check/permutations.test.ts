/** Several like things: neighbours that change places generate all permutations, and almost n! states become one. */

import { describe, expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { type OwnerColumn, ownerCellOf } from '../base/units.ts'
import { check, DEFAULTS } from './check.ts'
import type { Symmetry, System, Task } from './system.ts'

interface Cells {
  readonly page: OwnerColumn
  readonly slot: OwnerColumn
}

/** Page i is freed by `owner i` and moved by `mover i`; slot i names its page. */
function pages(count: number): System<Cells> {
  const tasks: Task<Cells>[] = Array.from({ length: count }, (_, i) => i).flatMap((i) => [
    {
      name: `owner ${i}`,
      run: (cpu: Cpu, { page }: Cells) => {
        if (cpu.decAndTest(page, ownerCellOf(i))) cpu.store(page, ownerCellOf(count), 1)
      },
    },
    {
      name: `mover ${i}`,
      run: (cpu: Cpu, { page, slot }: Cells) => {
        if (!cpu.addUnlessZero(page, ownerCellOf(i))) return 0
        const named = cpu.load(slot, ownerCellOf(i))
        cpu.store(slot, ownerCellOf(i), named === i ? -1 : i)
        cpu.decAndTest(page, ownerCellOf(i))
        return 1
      },
    },
  ])
  const page = new Int32Array(count + 1).fill(1, 0, count)
  const slot = Int32Array.from({ length: count }, (_, i) => i)
  return { name: 'pages', state: { page, slot }, tasks, symmetries: exchanges(count) }
}

/** Neighbours change places. Slots hold numbers of pages. */
function exchanges(count: number): Symmetry[] {
  return Array.from({ length: count - 1 }, (_, i) => {
    const other = (n: number): number => (n === i ? i + 1 : n === i + 1 ? i : n)
    const tasks = Object.fromEntries(
      ['owner', 'mover'].flatMap((task) => [
        [`${task} ${i}`, `${task} ${i + 1}`],
        [`${task} ${i + 1}`, `${task} ${i}`],
      ]),
    )
    return {
      name: `${i} and ${i + 1}`,
      tasks,
      cell: (_column, index) => other(index),
      value: (column, _index, value) => (column === 'slot' ? other(value) : value),
    }
  })
}

const full = { ...DEFAULTS, persistentSets: false, symmetry: false }

describe.each([2, 3])('%i pages that are alike', (count) => {
  const all = check(pages(count), full)

  test('give the same verdict and the same ends from fewer states', () => {
    const reduced = check(pages(count), { ...full, symmetry: true })
    expect([reduced.verdict, all.verdict]).toEqual(['pass', 'pass'])
    expect([...reduced.ends].toSorted()).toEqual([...all.ends].toSorted())
    // Almost count! times fewer: only states that are their own image are not saved.
    expect(reduced.states).toBeLessThan(all.states / (count === 2 ? 1.7 : 3.5))
  })

  test('also together with persistent sets', () => {
    const reduced = check(pages(count), DEFAULTS)
    expect([...reduced.ends].toSorted()).toEqual([...all.ends].toSorted())
  })
})

test('a broken rule is found by as many steps as without symmetry', () => {
  const kept = {
    name: 'kept',
    says: 'nothing is freed',
    holds: ({ page }: Cells) => page[ownerCellOf(2)] === 0,
  }
  const broken = { ...pages(2), atEnd: [kept] }
  const [reduced, all] = [DEFAULTS, full].map((options) => check(broken, options))
  expect(reduced.counterexample?.schedule.length).toBe(all.counterexample?.schedule.length)
  expect(reduced.counterexample?.violation.name).toBe('kept')
})
