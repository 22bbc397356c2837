/**
 * The engine and its C twins do the same, cell by cell, at sizes that take no time. Nothing is timed here.
 *
 * A difference means that an algorithm was changed in one place only: the twin follows the engine.
 */

import { expect, test } from 'vitest'
import { differences } from './bench.ts'
import { BENCH_NAMES, BENCHES } from './benches.ts'
import { buildPrograms } from './programs.ts'

const programs = buildPrograms('smoke')

for (const name of BENCH_NAMES) {
  const bench = await BENCHES[name]()
  for (const { name: what, args, twin } of bench.cases('quick')) {
    if (twin === undefined) continue
    test(`${name}: ${what}: the engine does what its C twin does`, (context) => {
      if (programs.noTwins !== undefined) {
        console.log(`bench: skipped: ${programs.noTwins}`)
        context.skip(programs.noTwins)
      }
      expect(differences(programs.runEngine(name, args), programs.runTwin(twin, args))).toEqual([])
    })
  }
}
