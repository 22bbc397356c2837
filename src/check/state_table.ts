/**
 * The states that a search has found: packed words, stored once, in the order of discovery.
 *
 * Open addressing over pairs (hash, state number + 1); states are compared word by word, so nothing is lost to
 * a hash collision. The hash is an exclusive or of one mixed value a word, so that a step that changes two
 * words changes the hash by four mixes, whatever the size of the state.
 *
 * @paper Hash mixing: Pelle Evensen and Chris Wellons, "lowbias32", 2018
 */

/** The share of a word in the hash of its state. */
export function mixWord(value: number, word: number): number {
  let x = value ^ Math.imul(word + 1, 0x9e3779b9)
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
  return x ^ (x >>> 16)
}

const FIRST_CAPACITY = 1 << 12

export class StateTable {
  readonly words: number
  count = 0
  states: Int32Array
  /** The state that this one was found from; -1 for the first. */
  parents: Int32Array
  /** The instance whose step led here. */
  via: Uint8Array
  private capacity = FIRST_CAPACITY
  private slots: Int32Array
  private mask: number

  constructor(words: number) {
    this.words = words
    this.states = new Int32Array(this.capacity * words)
    this.parents = new Int32Array(this.capacity)
    this.via = new Uint8Array(this.capacity)
    this.slots = new Int32Array(this.capacity * 4)
    this.mask = this.capacity * 2 - 1
  }

  /** Bytes of one state, all that is kept for it included, when the table is as full as it gets. */
  get bytesPerState(): number {
    return this.words * 4 + 4 + 1 + 16
  }

  hashOf(words: Int32Array): number {
    let hash = 0
    for (let w = 0; w < this.words; w++) hash ^= mixWord(words[w], w)
    return hash
  }

  /** Makes sure that `more` states fit without growing. */
  reserve(more: number): void {
    if (this.count + more > this.capacity) this.grow()
  }

  /** Adds a state that `reserve` has made room for. Its number, or -1 - number if it was known. */
  add(words: Int32Array, hash: number, parent: number, via: number): number {
    const { slots, states, mask } = this
    const width = this.words
    let slot = hash & mask
    for (;;) {
      const held = slots[2 * slot + 1]
      if (held === 0) break
      if (slots[2 * slot] === hash) {
        const at = (held - 1) * width
        let w = 0
        while (w < width && states[at + w] === words[w]) w++
        if (w === width) return -held
      }
      slot = (slot + 1) & mask
    }
    const number = this.count++
    slots[2 * slot] = hash
    slots[2 * slot + 1] = number + 1
    const at = number * width
    for (let w = 0; w < width; w++) states[at + w] = words[w]
    this.parents[number] = parent
    this.via[number] = via
    return number
  }

  /** Number of a state, or -1 if it was not found. */
  find(words: Int32Array): number {
    const hash = this.hashOf(words)
    for (let slot = hash & this.mask; this.slots[2 * slot + 1] !== 0; slot = (slot + 1) & this.mask) {
      if (this.slots[2 * slot] !== hash) continue
      const number = this.slots[2 * slot + 1] - 1
      const at = number * this.words
      let w = 0
      while (w < this.words && this.states[at + w] === words[w]) w++
      if (w === this.words) return number
    }
    return -1
  }

  /** Copies a state to `words`. */
  copy(number: number, words: Int32Array): void {
    const at = number * this.words
    for (let w = 0; w < this.words; w++) words[w] = this.states[at + w]
  }

  private grow(): void {
    this.capacity *= 4
    this.states = widened(this.states, this.capacity * this.words)
    this.parents = widened(this.parents, this.capacity)
    const via = new Uint8Array(this.capacity)
    via.set(this.via)
    this.via = via
    this.mask = this.capacity * 2 - 1
    this.slots = new Int32Array(this.capacity * 4)
    const words = new Int32Array(this.words)
    for (let number = 0; number < this.count; number++) {
      this.copy(number, words)
      const hash = this.hashOf(words)
      let slot = hash & this.mask
      while (this.slots[2 * slot + 1] !== 0) slot = (slot + 1) & this.mask
      this.slots[2 * slot] = hash
      this.slots[2 * slot + 1] = number + 1
    }
  }
}

function widened(array: Int32Array, length: number): Int32Array {
  const wide = new Int32Array(length)
  wide.set(array)
  return wide
}
