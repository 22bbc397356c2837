/**
 * Exhaustive search: every state that any schedule can reach, breadth first, so that what it finds first is a
 * shortest counterexample.
 *
 * States are packed (packed.ts) and stored exactly (state_table.ts). Two reductions, each of which can be
 * turned off: persistent sets (reduce.ts) leave out orders of steps that do not matter, symmetry (symmetry.ts)
 * keeps one of the states that differ by names only. With persistent sets the search still reaches every end
 * and every broken rule, but not always by the shortest way; `check` then looks for the shortest one.
 *
 * A run that meets something that the packing does not know finishes its level, and starts again with what has
 * been learnt.
 */

import type { Learned, Violation } from '../learned.ts'
import { BLOCKED, ENDED, type Packed, SIMPLE, UNFILLED, UNKNOWN, VIOLATION } from '../packed.ts'
import { Reduction } from '../reduce.ts'
import { mixWord, StateTable } from '../state_table.ts'
import type { Canonical } from '../symmetry.ts'

export interface ExhaustiveOptions {
  readonly persistentSets: boolean
  readonly statesMax: number
  /** Levels to search; a counterexample has at most so many steps. */
  readonly depthMax: number
  /** Called now and then. */
  readonly onProgress: ((states: number, depth: number) => void) | undefined
}

export interface Found {
  readonly violation: Violation
  /** The last state of the path; the violation's step begins there, if it is one's. */
  readonly state: number
  /** Steps of the schedule, the breaking one included. */
  readonly steps: number
}

export interface Exhausted {
  readonly table: StateTable
  readonly transitions: number
  readonly depth: number
  /** States in which every task has ended. */
  readonly ends: readonly number[]
  readonly found: Found | undefined
  /** False: a bound was reached first. */
  readonly complete: boolean
}

/** States between two reports of progress. */
const PROGRESS_EVERY = 1 << 16

/** Searches once; undefined if the packing went stale. */
export function searchOnce(
  learned: Learned,
  packed: Packed,
  canonical: Canonical | undefined,
  options: ExhaustiveOptions,
): Exhausted | undefined {
  const search = new Search(learned, packed, canonical, options)
  return search.run() ? search.result() : undefined
}

class Search {
  private readonly learned: Learned
  private readonly packed: Packed
  private readonly canonical: Canonical | undefined
  private readonly options: ExhaustiveOptions
  private readonly reduction: Reduction | undefined
  private readonly table: StateTable
  private readonly instances: number
  /** The state being expanded, one successor of it, and the node of each instance. */
  private readonly state: Int32Array
  private readonly next: Int32Array
  private readonly at: Int32Array
  private readonly ends: number[] = []
  private readonly checksInvariants: boolean
  private hash = 0
  private transitions = 0
  private depth = 0
  private found: Found | undefined
  private complete = true

  constructor(
    learned: Learned,
    packed: Packed,
    canonical: Canonical | undefined,
    options: ExhaustiveOptions,
  ) {
    this.learned = learned
    this.packed = packed
    this.canonical = canonical
    this.options = options
    this.reduction = options.persistentSets ? new Reduction(packed) : undefined
    this.table = new StateTable(packed.words)
    this.instances = learned.instances.length
    this.state = new Int32Array(packed.words)
    this.next = new Int32Array(packed.words)
    this.at = new Int32Array(this.instances)
    this.checksInvariants = learned.invariants.length > 0
  }

  result(): Exhausted {
    const { table, transitions, depth, ends, found, complete } = this
    return { table, transitions, depth, ends, found, complete }
  }

  /** False: the packing is stale. */
  run(): boolean {
    const { packed, table, options } = this
    packed.initial(this.next)
    this.canonical?.apply(this.next)
    table.add(this.next, table.hashOf(this.next), -1, 0)
    if (this.checksInvariants) this.checkNew(0)
    let levelEnd = 1
    for (let number = 0; number < table.count; number++) {
      if (number === levelEnd) {
        if (packed.stale) return false
        if (this.found !== undefined) return true
        this.depth++
        levelEnd = table.count
        if (this.depth > options.depthMax || table.count > options.statesMax) {
          this.complete = false
          return true
        }
      }
      if ((number & (PROGRESS_EVERY - 1)) === 0 && number > 0) {
        options.onProgress?.(number, this.depth)
        if (table.count > options.statesMax) {
          this.complete = false
          return !packed.stale
        }
      }
      this.expand(number)
    }
    return !packed.stale
  }

  private expand(number: number): void {
    const { table, packed, state, at, instances } = this
    table.reserve(instances)
    table.copy(number, state)
    this.hash = table.hashOf(state)
    let enabled = 0
    let running = 0
    for (let i = 0; i < instances; i++) {
      const node = packed.nodeOf(state, i)
      at[i] = node
      if (packed.kind[node] === ENDED) continue
      running |= 1 << i
      if (this.isEnabled(node, i)) enabled |= 1 << i
    }
    if (enabled === 0) {
      this.quiescent(number, running)
      return
    }
    if (this.found !== undefined) return // of this level only what is wrong already matters
    const one = (enabled & (enabled - 1)) === 0
    const chosen = this.reduction === undefined || one ? enabled : this.reduction.choose(enabled, at)
    const fresh = this.expandSet(number, chosen)
    // A loop that leaves the others out for ever is not a schedule: where everything is known, all go on.
    if (chosen !== enabled && this.reduction?.cyclic === true && !fresh)
      this.expandSet(number, enabled & ~chosen)
  }

  /** True if a new state was found. */
  private expandSet(number: number, set: number): boolean {
    const before = this.table.count
    for (let i = 0; i < this.instances; i++) {
      if ((set & (1 << i)) !== 0 && !(this.canonical?.isRepeated(this.at, i) === true)) this.step(number, i)
    }
    return this.table.count > before
  }

  private isEnabled(node: number, instance: number): boolean {
    const { packed, state } = this
    if (packed.kind[node] !== SIMPLE || packed.hasInterrupts) return packed.isEnabled(state, instance)
    const entry =
      packed.table[
        packed.base[node] + ((state[packed.word[node]] >>> packed.shift[node]) & packed.mask[node])
      ]
    return (entry === UNFILLED ? packed.fillSimple(state, node, instance) : entry) !== BLOCKED
  }

  private step(number: number, instance: number): void {
    const { packed, state, next } = this
    const node = this.at[instance]
    this.transitions++
    const width = packed.words
    if (packed.kind[node] === SIMPLE) {
      const word = packed.word[node]
      const shift = packed.shift[node]
      const mask = packed.mask[node]
      const at = packed.base[node] + ((state[word] >>> shift) & mask)
      const entry = packed.table[at]
      if (entry < 0) {
        this.broken(entry, number, instance)
        return
      }
      for (let w = 0; w < width; w++) next[w] = state[w]
      next[word] = (next[word] & ~(mask << shift)) | ((entry & 0xff) << shift)
      const own = packed.nodeFields[instance]
      next[own.word] = (next[own.word] & ~(own.mask << own.shift)) | ((entry >>> 8) << own.shift)
      let hash = this.hash ^ mixWord(state[word], word) ^ mixWord(next[word], word)
      if (own.word !== word) hash ^= mixWord(state[own.word], own.word) ^ mixWord(next[own.word], own.word)
      this.arrive(hash, number, instance)
      return
    }
    const leaf = packed.walk(state, node, instance)
    if (leaf === undefined) return
    if (leaf.entry < 0) {
      this.broken(leaf.entry, number, instance)
      return
    }
    for (let w = 0; w < width; w++) next[w] = state[w]
    for (const [field, value] of leaf.writes) packed.set(next, field, value)
    packed.set(next, packed.nodeFields[instance], leaf.entry >>> 8)
    this.arrive(this.table.hashOf(next), number, instance)
  }

  /** The successor in `next` has been made. */
  private arrive(hash: number, parent: number, instance: number): void {
    const { table, next, canonical } = this
    const moved = canonical !== undefined && canonical.apply(next)
    const number = table.add(next, moved ? table.hashOf(next) : hash, parent, instance)
    if (number >= 0 && this.checksInvariants) this.checkNew(number)
  }

  private checkNew(number: number): void {
    const broken = this.packed.firstBroken(this.learned.invariants, this.next)
    if (broken !== undefined)
      this.report({ ...broken, instance: -1 }, number, number === 0 ? 0 : this.depth + 1)
  }

  private broken(entry: number, number: number, instance: number): void {
    if (entry === UNKNOWN) return // learnt meanwhile; the search starts again
    if (entry <= VIOLATION)
      this.report({ ...this.packed.violationOf(entry), instance }, number, this.depth + 1)
  }

  /** Nobody can go on: the end, or a deadlock. */
  private quiescent(number: number, running: number): void {
    const { packed, learned, state } = this
    if (running === 0) {
      this.ends.push(number)
      const broken = packed.firstBroken(learned.atEnd, state)
      if (broken !== undefined) this.report(broken, number, this.depth)
      return
    }
    const instance = 31 - Math.clz32(running)
    const says = learned.deadlockText(instance, packed.nodes[this.at[instance]].like)
    this.report({ kind: 'deadlock', name: 'deadlock', says, instance }, number, this.depth)
  }

  /** Keeps the first of the shortest. */
  private report(violation: Violation, state: number, steps: number): void {
    if (this.found === undefined || steps < this.found.steps) this.found = { violation, state, steps }
  }
}
