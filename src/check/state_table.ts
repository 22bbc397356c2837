/**
 * The states that a search has found: packed words, stored once, in the order of discovery.
 *
 * Open addressing over one word a slot: the number of the state + 1 in its low bits, the bits of the hash that do
 * not choose the slot in the others. Where these agree the states are compared word by word, so nothing is lost to
 * a collision.
 *
 * What a search waits for is memory: nearly every look-up misses the caches. So states are added many at a time
 * (`wait`, `addWaiting`): the slots of all are read first, and the misses overlap.
 */

import { assert } from '../base/assert.ts'
import { Prng } from '../base/prng.ts'

/** States of the smallest table. */
const FIRST_CAPACITY = 1 << 12
/** States that wait before it is worth adding them. */
const BATCH = 64
/** Most that may wait. */
const WAITING_MAX = 2 * BATCH
const WORDS_MAX = 32

/** An odd factor for each word of a state. */
const FACTORS = factors()

function factors(): Int32Array {
  const prng = new Prng(1)
  return Int32Array.from({ length: WORDS_MAX }, () => prng.next() | 1)
}

export class StateTable {
  readonly words: number
  count = 0
  states: Int32Array
  /** The state that this one was found from; -1 for the first. */
  parents: Int32Array
  /** The instance whose step led here. */
  via: Uint8Array
  private capacity = FIRST_CAPACITY
  /** Two for each state that there is room for. */
  private slots: Int32Array
  private mask: number
  // The states that wait, and what was in the slots where their search begins.
  private readonly waiting: Int32Array
  private readonly hashes = new Int32Array(WAITING_MAX)
  private readonly waitingParents = new Int32Array(WAITING_MAX)
  private readonly waitingVia = new Uint8Array(WAITING_MAX)
  private readonly seen = new Int32Array(WAITING_MAX)
  private waitingCount = 0

  constructor(words: number) {
    assert(words <= WORDS_MAX, 'state table: there is a factor for each word')
    this.words = words
    this.states = new Int32Array(this.capacity * words)
    this.parents = new Int32Array(this.capacity)
    this.via = new Uint8Array(this.capacity)
    this.slots = new Int32Array(this.capacity * 2)
    this.mask = this.capacity * 2 - 1
    this.waiting = new Int32Array(WAITING_MAX * words)
  }

  /** Bytes of one state, all that is kept for it included, when the table is as full as it gets. */
  get bytesPerState(): number {
    return this.words * 4 + 4 + 1 + 8
  }

  hashOf(words: Int32Array): number {
    return this.hashAt(words, 0)
  }

  /** Makes sure that `more` states fit without growing. */
  reserve(more: number): void {
    if (this.count + more > this.capacity) this.grow()
  }

  /** Adds a state that `reserve` has made room for. Its number, or -1 - number if it was known. */
  add(words: Int32Array, hash: number, parent: number, via: number): number {
    return this.addAt(words, 0, hash, parent, via)
  }

  /** True if as many states wait as should be added at once. */
  get isBatchFull(): boolean {
    return this.waitingCount >= BATCH
  }

  /** Puts a state with those that wait to be added. There is room for as many again as make a batch full. */
  wait(words: Int32Array, parent: number, via: number): void {
    const { waiting, words: width } = this
    const i = this.waitingCount++
    const at = i * width
    for (let w = 0; w < width; w++) waiting[at + w] = words[w]
    this.hashes[i] = this.hashAt(waiting, at)
    this.waitingParents[i] = parent
    this.waitingVia[i] = via
  }

  /** Adds the states that wait, in their order: those that are new are the last ones of the table then. */
  addWaiting(): void {
    const { waiting, hashes, waitingParents, waitingVia, seen, waitingCount, words } = this
    this.reserve(waitingCount)
    const { slots, mask } = this
    for (let i = 0; i < waitingCount; i++) seen[i] = slots[hashes[i] & mask]
    for (let i = 0; i < waitingCount; i++)
      this.addAt(waiting, i * words, hashes[i], waitingParents[i], waitingVia[i])
    this.waitingCount = 0
  }

  /** Number of a state, or -1 if it was not found. */
  find(words: Int32Array): number {
    const hash = this.hashOf(words)
    const { slots, states, mask } = this
    for (let slot = hash & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      if (((slots[slot] ^ hash) & ~mask) !== 0) continue
      const number = (slots[slot] & mask) - 1
      const at = number * this.words
      let w = 0
      while (w < this.words && states[at + w] === words[w]) w++
      if (w === this.words) return number
    }
    return -1
  }

  /** Copies a state to `words`. */
  copy(number: number, words: Int32Array): void {
    const at = number * this.words
    for (let w = 0; w < this.words; w++) words[w] = this.states[at + w]
  }

  private hashAt(words: Int32Array, at: number): number {
    let hash = 0
    for (let w = 0; w < this.words; w++) {
      const word = words[at + w]
      hash ^= Math.imul(word ^ (word >>> 15), FACTORS[w])
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d)
    return hash ^ (hash >>> 15)
  }

  private addAt(words: Int32Array, from: number, hash: number, parent: number, via: number): number {
    const { slots, states, mask, words: width } = this
    let slot = hash & mask
    for (let held = slots[slot]; held !== 0; held = slots[slot]) {
      if (((held ^ hash) & ~mask) === 0) {
        const number = (held & mask) - 1
        const at = number * width
        let w = 0
        while (w < width && states[at + w] === words[from + w]) w++
        if (w === width) return -1 - number
      }
      slot = (slot + 1) & mask
    }
    const number = this.count++
    slots[slot] = (hash & ~mask) | (number + 1)
    const at = number * width
    for (let w = 0; w < width; w++) states[at + w] = words[from + w]
    this.parents[number] = parent
    this.via[number] = via
    return number
  }

  private grow(): void {
    this.capacity *= 4
    this.states = widened(this.states, this.capacity * this.words)
    this.parents = widened(this.parents, this.capacity)
    const via = new Uint8Array(this.capacity)
    via.set(this.via)
    this.via = via
    const slots = new Int32Array(this.capacity * 2)
    const mask = this.capacity * 2 - 1
    for (let number = 0; number < this.count; number++) {
      const hash = this.hashAt(this.states, number * this.words)
      let slot = hash & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = (hash & ~mask) | (number + 1)
    }
    this.slots = slots
    this.mask = mask
  }
}

function widened(array: Int32Array, length: number): Int32Array {
  const wide = new Int32Array(length)
  wide.set(array)
  return wide
}
