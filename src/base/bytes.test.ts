/** Searching bytes by fours finds what searching them one by one finds. */

import { expect, test } from 'vitest'
import { CHUNK, endOfRun, forEachByte, quadsOf } from './bytes.ts'
import { Prng } from './prng.ts'

const VALUE = 4

/** Mostly runs, so that whole quads are equal and ends of runs lie at every offset. */
function runsOf(random: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const end = at + 1 + random.below(9)
    bytes.fill(random.below(2) === 0 ? VALUE : random.below(256), at, end)
    at = end
  }
  return bytes
}

test.each([1, 2, 3, 4])('forEachByte, seed %i', (seed) => {
  const random = new Prng(seed)
  const bytes = runsOf(random, 2 * CHUNK + random.below(9))
  for (let round = 0; round < 20; round++) {
    const from = random.below(bytes.length)
    const to = from + random.below(bytes.length - from + 1)
    const found: number[] = []
    forEachByte(bytes, VALUE, from, to, (at) => found.push(at))
    const expected = Array.from(bytes.keys()).filter((at) => at >= from && at < to && bytes[at] === VALUE)
    expect(found).toEqual(expected)
  }
})

test.each([5, 6])('endOfRun, seed %i', (seed) => {
  const random = new Prng(seed)
  const bytes = runsOf(random, 300)
  for (let from = 0; from < bytes.length; from++) {
    const to = from + random.below(bytes.length - from + 1)
    let end = from
    while (end < to && bytes[end] === VALUE) end++
    expect(endOfRun(bytes, quadsOf(bytes), VALUE, from, to)).toBe(end)
  }
})
