/**
 * defrag_mode on and off under the same load. The load is made up (testing/build_load.ts), so what is held is the
 * direction of each figure, not its size; docs/accuracy.md sets both beside what was published of the kernel.
 */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { grouped } from '../base/text.ts'
import { BuildLoad, type LoadFigures } from '../testing/build_load.ts'
import { verify } from './verify.ts'

const TICKS = 900
const SEEDS = [1, 2, 3]
const NAMES: readonly (readonly [keyof LoadFigures, string])[] = [
  ['hugePagesGot', 'huge pages got'],
  ['hugePagesFailed', 'huge pages not got'],
  ['fallbacks', 'allocations that mixed a pageblock'],
  ['pgscanKswapd', 'pages scanned by kswapd'],
  ['pswpout', 'pages swapped out'],
  ['migrateScannedDirect', 'pages scanned by direct compaction'],
]

/** Sum over all seeds. */
function figures(defragMode: 0 | 1): LoadFigures {
  const sum: Record<string, number> = {}
  for (const seed of SEEDS) {
    const load = new BuildLoad(seed, defragMode)
    for (const [name, value] of Object.entries(load.run(TICKS))) sum[name] = (sum[name] ?? 0) + value
    verify(load.mm)
  }
  const of = (name: keyof LoadFigures): number => sum[name] ?? 0
  return {
    hugePagesGot: of('hugePagesGot'),
    hugePagesFailed: of('hugePagesFailed'),
    fallbacks: of('fallbacks'),
    pgscanKswapd: of('pgscanKswapd'),
    pswpout: of('pswpout'),
    migrateScannedDirect: of('migrateScannedDirect'),
  }
}

describe('the same load', () => {
  const off = figures(0)
  const on = figures(1)

  test('with defrag_mode huge pages are got more often, and no pageblock is mixed', () => {
    expect(on.hugePagesGot + on.hugePagesFailed).toBe(off.hugePagesGot + off.hugePagesFailed)
    expect(on.hugePagesGot).toBeGreaterThan(off.hugePagesGot)
    expect(off.fallbacks).toBeGreaterThan(500)
    expect(on.fallbacks).toBeLessThan(off.fallbacks / 10)
  })

  test('and kswapd scans more, and more is swapped out', () => {
    expect(on.pgscanKswapd).toBeGreaterThan(1.3 * off.pgscanKswapd)
    expect(on.pswpout).toBeGreaterThan(1.3 * off.pswpout)
  })

  test('direct compaction has less to do', () => {
    expect(on.migrateScannedDirect).toBeLessThan(off.migrateScannedDirect)
  })

  test('the figures of docs/accuracy.md', () => {
    const rows = NAMES.map(([name, words]) => `| ${words} | ${grouped(off[name])} | ${grouped(on[name])} |`)
    const document = readFileSync(new URL('../../docs/accuracy.md', import.meta.url), 'utf8')
    for (const row of rows) expect(document).toContain(row)
  })
})
