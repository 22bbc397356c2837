/**
 * The one source of randomness: seeded, passed as a value, the same bytes on every machine.
 *
 * @paper Blackman and Vigna, Scrambled Linear Pseudorandom Number Generators, 2021 (xoshiro128**)
 */

import { assert } from './assert.ts'

const rotateLeft = (x: number, k: number): number => (x << k) | (x >>> (32 - k))

export class Prng {
  private a: number
  private b: number
  private c: number
  private d: number

  /** A generator of the sequence that `seed` (32 bits) names. */
  constructor(seed: number) {
    // splitmix32 spreads one seed over the four words, so that close seeds give unrelated sequences
    let state = seed | 0
    const next = (): number => {
      state = (state + 0x9e3779b9) | 0
      let z = state
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
      return z ^ (z >>> 16)
    }
    this.a = next()
    this.b = next()
    this.c = next()
    this.d = next()
  }

  /** The next 32 bits, 0..2^32-1. */
  next(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.b, 5), 7), 9)
    const t = this.b << 9
    this.c ^= this.a
    this.d ^= this.b
    this.b ^= this.c
    this.a ^= this.d
    this.c ^= t
    this.d = rotateLeft(this.d, 11)
    return result >>> 0
  }

  /** A number from 0 to `bound - 1`, each equally likely within 2^-32 * bound. */
  below(bound: number): number {
    assert(bound > 0 && bound <= 0x1_0000_0000, 'prng: a bound is from 1 to 2^32')
    return Math.floor((this.next() * bound) / 0x1_0000_0000)
  }
}
