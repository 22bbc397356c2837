/**
 * The engine and its twins do the same, cell by cell or state by state, at sizes that take no time. Nothing is timed here.
 *
 * A difference means that an algorithm was changed in one place only: the twin follows the engine.
 */

import { afterAll, expect, test } from 'vitest'
import { differences } from './bench.ts'
import { BENCH_NAMES, BENCHES } from './benches.ts'
import { buildPrograms } from './programs.ts'

const programs = buildPrograms('smoke')
afterAll(() => programs.remove())

for (const name of BENCH_NAMES) {
  const bench = await BENCHES[name]()
  for (const { name: what, args, twin, unlike } of bench.cases('quick')) {
    if (twin === undefined) continue
    test(`${name}: ${what}: the engine does what its twin does`, (context) => {
      const missing = programs.missing(twin)
      if (missing !== undefined) {
        console.log(`bench: skipped: ${missing}`)
        context.skip(missing)
      }
      expect(differences(programs.runEngine(name, args), programs.runTwin(twin, args), unlike)).toEqual([])
    })
  }
}
