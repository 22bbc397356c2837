/**
 * Spin as the checker's twin: the same systems, exported as Promela and searched by the verifier that Spin
 * generates for them.
 *
 *   search   pan without Spin's reduction. It is compiled once; only its run counts
 *   verdict  spin -a, gcc -O2 and pan with Spin's reduction, each time anew
 *
 * Hash tables are given their size beforehand. What the export takes counts for nobody.
 */

import { assert } from '../src/base/assert.ts'
import { checkLearned, DEFAULTS } from '../src/check/check.ts'
import { discover } from '../src/check/discover.ts'
import { Learned } from '../src/check/learned.ts'
import { promelaOf, SPIN_STATES_MORE, SPIN_TRANSITIONS_MORE } from '../src/check/promela.ts'
import { NO_REDUCTION, Pan, REDUCED } from '../src/testing/spin.ts'
import type { Sample } from './bench.ts'
import { SYSTEMS } from './checker_systems.ts'

/** Models and compiled verifiers of one run, by name of the system. */
export class SpinTwin {
  private readonly texts = new Map<string, string>()
  private readonly pans = new Map<string, Pan>()

  run([what, name, more]: readonly string[]): Sample {
    // Twice as many places as there are states.
    const hashBits = Math.ceil(Math.log2(Number(more))) + 1
    return what === 'search' ? this.search(name, hashBits) : this.verdict(name, hashBits)
  }

  /** Deletes what was compiled. */
  remove(): void {
    for (const pan of this.pans.values()) pan.remove()
    this.pans.clear()
  }

  private search(name: string, hashBits: number): Sample {
    const pan = this.pans.get(name) ?? new Pan(this.textOf(name), NO_REDUCTION)
    this.pans.set(name, pan)
    const { states, transitions, errors, cpuMs } = pan.run(hashBits)
    assert(errors === 0, 'bench: Spin finds nothing wrong')
    return {
      ms: { search: [cpuMs] },
      counts: { states: states - SPIN_STATES_MORE, transitions: transitions - SPIN_TRANSITIONS_MORE },
      hashes: {},
    }
  }

  private verdict(name: string, hashBits: number): Sample {
    const pan = new Pan(this.textOf(name), REDUCED)
    const { states, errors, cpuMs } = pan.run(hashBits)
    pan.remove()
    assert(errors === 0, 'bench: Spin finds nothing wrong')
    return { ms: { verdict: [pan.buildMs + cpuMs] }, counts: { states }, hashes: {} }
  }

  private textOf(name: string): string {
    const known = this.texts.get(name)
    if (known !== undefined) return known
    const learned = new Learned(SYSTEMS[name]())
    discover(learned, 1)
    const { verdict } = checkLearned(learned, { ...DEFAULTS, persistentSets: false, symmetry: false })
    assert(verdict === 'pass', 'bench: the system passes')
    const text = promelaOf(learned)
    this.texts.set(name, text)
    return text
  }
}
