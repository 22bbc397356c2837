/**
 * The scenarios of the library that others have run for real: our figures against theirs, in direction and size. Seeds are
 * fixed; figures that follow from the machine's size alone are exact.
 */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { runScenario } from './run.ts'
import { BASE, type Scenario } from './scenario.ts'
import { parseVariant } from './what_if.ts'
import { readYamlScenario } from './yaml_scenario.ts'

type Metrics = Readonly<Record<string, number>>

/** Our metrics and the published ones, by variant. */
function compared(name: string): Readonly<Record<string, { ours: Metrics; theirs: Metrics }>> {
  const text = readFileSync(new URL(`../../examples/scenarios/${name}.yaml`, import.meta.url), 'utf8')
  const read = readYamlScenario(text)
  if (!read.ok) throw new Error(JSON.stringify(read.problems))
  const { what_if: whatIf, published } = read.scenario
  const variantOf = (variant: string): Scenario => {
    const parsed = parseVariant(read.data, variant === BASE ? {} : whatIf[variant])
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues))
    return parsed.scenario
  }
  return Object.fromEntries(
    Object.entries(published).map(([variant, figures]) => {
      const { metrics } = runScenario(variantOf(variant), read.scenario.seed)
      const ours = Object.fromEntries(
        Object.entries(metrics).map(([metric, value]) => [metric, value ?? NaN]),
      )
      const theirs = Object.fromEntries(Object.entries(figures).map(([metric, { value }]) => [metric, value]))
      return [variant, { ours, theirs }]
    }),
  )
}

/** Holds figures to be within a share of the published ones. */
function expectWithin(
  most: number,
  { ours, theirs }: { ours: Metrics; theirs: Metrics },
  names: readonly string[],
): void {
  for (const name of names) {
    const off = Math.abs(ours[name] / theirs[name] - 1)
    expect(off, `${name}: ${ours[name]}, published ${theirs[name]}`).toBeLessThan(most)
  }
}

describe('a zram device in the way of compaction (Minchan Kim, 2016)', () => {
  const { base, unmovable } = compared('zram-fragmentation')

  test('the state before is the posted one', () => {
    for (const { ours, theirs } of [base, unmovable]) {
      expect(ours['free_before']).toBe(theirs['free_before'])
      expect(ours['order5_before']).toBeCloseTo(theirs['order5_before'], 1)
    }
  })

  test('pages that move double the share of free memory in blocks of order 5, and there are some of order 8', () => {
    expectWithin(0.1, base, ['order5_after'])
    expectWithin(0.1, unmovable, ['order5_after'])
    // Further out in the distribution: 10 % and 1.5 % of order 7, blocks of order 8 with and none without.
    expectWithin(0.35, base, ['order7_after'])
    expect(unmovable.ours['order7_after']).toBeLessThan(unmovable.theirs['order7_after'])
    expect(base.ours['blocks8_after']).toBeGreaterThan(0)
    expect([unmovable.ours['blocks8_after'], base.ours['blocks9_after']]).toEqual([0, 0])
  })
})

describe('zram in a guest with Linux 6.1', () => {
  const { base, unmovable } = compared('zram-qemu')

  test('as much memory is used, and as many pages move at first', () => {
    expectWithin(0.03, base, ['zram_pages'])
    expectWithin(0.1, base, ['moved_first'])
    expect([unmovable.ours['moved_first'], unmovable.ours['moved_third']]).toEqual([0, 0]) // it had initramfs pages to move
  })

  test('huge pages: each compaction gains where zram’s pages move, and nothing to speak of where they do not', () => {
    expectWithin(0.15, base, ['huge_before', 'huge_first', 'huge_second', 'huge_third'])
    expectWithin(0.15, unmovable, ['huge_before', 'huge_first', 'huge_second', 'huge_third'])
    expect(base.ours['huge_third'] - base.ours['huge_before']).toBeGreaterThan(80) // 152 there
    expect(unmovable.ours['huge_third'] - unmovable.ours['huge_before']).toBeLessThan(36) // 36 there
  })
})

describe('a balloon in a guest with Linux 6.1', () => {
  const { base, unmovable } = compared('balloon-qemu')

  test('what the host is given is what it was given; a balloon that cannot move breaks all huge pages up', () => {
    expect(base.ours['given']).toBe(base.theirs['given'])
    expectWithin(0.1, base, ['huge_inflated', 'huge_unmapped'])
    expect(unmovable.ours['huge_inflated']).toBeLessThan(3) // 0 there
  })

  test('compaction gets twice as many huge pages by moving it, and next to none where it does not move', () => {
    expectWithin(0.3, base, ['balloon_moved', 'huge_compacted', 'huge_deflated'])
    expect(base.ours['huge_compacted'] / base.ours['huge_unmapped']).toBeGreaterThan(2) // 2.3 there
    expect(unmovable.ours['balloon_moved']).toBe(0)
    expectWithin(0.15, unmovable, ['huge_unmapped', 'huge_compacted', 'huge_deflated'])
  })
})
