/**
 * Exhaustive search: every state that any schedule can reach, breadth first, so that what it finds first is a
 * shortest counterexample.
 *
 * States are packed (packed.ts) and stored exactly (state_table.ts). Two reductions, each of which can be
 * turned off: persistent sets (reduce.ts) leave out orders of steps that do not matter, symmetry (symmetry.ts)
 * keeps one of the states that differ by names only. With persistent sets the search still reaches every end
 * and every broken rule, but not always by the shortest way; `check` then looks for the shortest one.
 *
 * A search that meets what the packing does not know looks around there (discover.ts), goes on for a while to
 * learn more, and starts again. So that this happens early, a narrow search goes first, which expands some states
 * of each level only; where no level is broader than that, it is all there is to do.
 */

import { scheduleTo } from '../counterexample.ts'
import { Scout } from '../discover.ts'
import type { Learned, Violation } from '../learned.ts'
import { BLOCKED, ENDED, type Leaf, type Packed, SIMPLE, UNFILLED, UNKNOWN, VIOLATION } from '../packed.ts'
import { Reduction } from '../reduce.ts'
import { StateTable } from '../state_table.ts'
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

/** States of a level that the first, narrow search expands. */
const NARROW = 1000
/** States, beyond twice as many as there are, after which a search that has learnt something starts again. */
const ENOUGH = 1000
/** Makes `scheduleTo` end with the state. */
const NOBODYS: Violation = { kind: 'property', name: '', says: '', instance: -1 }
/** States between two reports of progress. */
const PROGRESS_EVERY = 1 << 16

/** Searches once; undefined if something was learnt, which makes the packing stale. */
export function searchOnce(
  learned: Learned,
  packed: Packed,
  canonical: Canonical | undefined,
  options: ExhaustiveOptions,
): Exhausted | undefined {
  const first = new Search(learned, packed, canonical, { ...options, onProgress: undefined }, NARROW)
  if (!first.run()) return undefined
  if (!first.hasLeftOut) return first.result()
  const search = new Search(learned, packed, canonical, options, Number.POSITIVE_INFINITY)
  return search.run() ? search.result() : undefined
}

/** True for about that part of all numbers. */
const isInPart = (number: number, part: number): boolean =>
  part >= 1 || Math.imul(number, 0x9e3779b1) >>> 0 < part * 2 ** 32

class Search {
  /** Some state was not expanded. */
  hasLeftOut = false
  /** States of a level that are expanded, about. */
  private readonly breadth: number
  private readonly learned: Learned
  private readonly packed: Packed
  private readonly canonical: Canonical | undefined
  private readonly options: ExhaustiveOptions
  private readonly reduction: Reduction | undefined
  private readonly table: StateTable
  private readonly instances: number
  // Where each instance's node is in a state.
  private readonly ownWord: Int32Array
  private readonly ownShift: Int32Array
  private readonly ownMask: Int32Array
  // The state being expanded, and by instance its node, where its step is in the table and what that says, and,
  // of a step on several cells, what it does.
  private readonly state: Int32Array
  private readonly at: Int32Array
  private readonly place: Int32Array
  private readonly entries: Int32Array
  private readonly leaves: (Leaf | undefined)[]
  /** Scratch: a successor. */
  private readonly next: Int32Array
  private readonly ends: number[] = []
  private readonly checksInvariants: boolean
  private readonly scout: Scout
  /** States after which a search that is stale ends. */
  private enough = Number.POSITIVE_INFINITY
  private transitions = 0
  private depth = 0
  private found: Found | undefined
  private complete = true

  constructor(
    learned: Learned,
    packed: Packed,
    canonical: Canonical | undefined,
    options: ExhaustiveOptions,
    breadth: number,
  ) {
    const { words } = packed
    this.breadth = breadth
    this.learned = learned
    this.packed = packed
    this.canonical = canonical
    this.options = options
    this.reduction = options.persistentSets ? new Reduction(packed) : undefined
    this.scout = new Scout(learned)
    this.table = new StateTable(words)
    this.instances = learned.instances.length
    this.ownWord = Int32Array.from(packed.nodeFields, ({ word }) => word)
    this.ownShift = Int32Array.from(packed.nodeFields, ({ shift }) => shift)
    this.ownMask = Int32Array.from(packed.nodeFields, ({ mask }) => mask)
    this.state = new Int32Array(words)
    this.at = new Int32Array(this.instances)
    this.place = new Int32Array(this.instances)
    this.entries = new Int32Array(this.instances)
    this.leaves = new Array<Leaf | undefined>(this.instances).fill(undefined)
    this.next = new Int32Array(words)
    this.checksInvariants = learned.invariants.length > 0
  }

  result(): Exhausted {
    const { table, transitions, depth, ends, found, complete } = this
    return { table, transitions, depth, ends, found, complete }
  }

  /** False: what was known at the start was not enough. */
  run(): boolean {
    const { packed, table, options } = this
    packed.initial(this.next)
    this.canonical?.apply(this.next)
    table.add(this.next, table.hashOf(this.next), -1, 0)
    const atStart = this.learned.brokenAtStart()
    if (atStart !== undefined) this.report(atStart, 0, 0)
    if (this.checksInvariants) this.checkNew(0)
    let levelEnd = 1
    let part = 1
    for (let number = 0; number < table.count; number++) {
      if (number === levelEnd) {
        if (this.isStale && this.hasLearntEnough()) return false
        if (this.found !== undefined) return true
        this.depth++
        part = this.breadth / (table.count - levelEnd)
        levelEnd = table.count
        if (this.depth > options.depthMax) return this.cutShort()
      }
      if ((number & (PROGRESS_EVERY - 1)) === 0 && number > 0) options.onProgress?.(number, this.depth)
      if (table.count > options.statesMax) return this.cutShort()
      if (isInPart(number, part)) this.expand(number)
      else this.hasLeftOut = true
      if (table.isBatchFull || number + 1 === levelEnd) this.store()
    }
    return !this.isStale
  }

  private get isStale(): boolean {
    return this.packed.stale || this.reduction?.isStale === true
  }

  /** The rest of the level and some more may be new too; when it has taken as long again, that is enough. */
  private hasLearntEnough(): boolean {
    const { count } = this.table
    this.enough = Math.min(this.enough, 2 * count + ENOUGH)
    return this.found !== undefined || count >= this.enough
  }

  private cutShort(): boolean {
    this.complete = false
    return !this.isStale
  }

  private expand(number: number): void {
    const { table, packed, state, at, place, entries, instances, ownWord, ownShift, ownMask } = this
    const { offset, word, shift, mask, base, hasInterrupts } = packed
    table.copy(number, state)
    let enabled = 0
    for (let i = 0; i < instances; i++) {
      const node = offset[i] + ((state[ownWord[i]] >>> ownShift[i]) & ownMask[i])
      const here = base[node] + ((state[word[node]] >>> shift[node]) & mask[node])
      let entry = packed.table[here]
      if (entry === UNFILLED) entry = this.lookUp(number, node, i)
      else if (hasInterrupts && packed.isStoppedByInterrupt(state, i)) entry = BLOCKED
      at[i] = node
      place[i] = here
      entries[i] = entry
      if (entry !== BLOCKED) enabled |= 1 << i
    }
    if (enabled === 0) {
      this.quiescent(number)
      return
    }
    if (this.found !== undefined) return // of this level only what is wrong already matters
    const one = (enabled & (enabled - 1)) === 0
    const chosen = this.reduction === undefined || one ? enabled : this.reduction.choose(enabled, at)
    if (chosen === enabled || this.reduction?.cyclic !== true) {
      this.expandSet(number, chosen)
      return
    }
    // A loop that leaves the others out for ever is not a schedule: where everything is known, all go on.
    this.store()
    const before = table.count
    this.expandSet(number, chosen)
    this.store()
    if (table.count === before) this.expandSet(number, enabled & ~chosen)
  }

  private expandSet(number: number, set: number): void {
    for (let i = 0; i < this.instances; i++) {
      if ((set & (1 << i)) !== 0 && !(this.canonical?.isRepeated(this.at, i) === true)) this.step(number, i)
    }
  }

  /** What the step of an instance is, if the table does not say so: a step on several cells, or a new one. */
  private lookUp(number: number, node: number, instance: number): number {
    const { packed, state } = this
    if (packed.isStoppedByInterrupt(state, instance)) return BLOCKED
    const { unknowns } = packed
    const entry =
      packed.kind[node] === SIMPLE
        ? packed.fillSimple(state, node, instance)
        : this.entryOfTree(node, instance)
    if (packed.unknowns > unknowns) this.scout.look(this.scheduleOf(number))
    return entry
  }

  /** A schedule that leads to a state. */
  private scheduleOf(number: number): number[] {
    return scheduleTo(this.packed, this.table, this.canonical, number, NOBODYS)
  }

  private entryOfTree(node: number, instance: number): number {
    const leaf = this.packed.walk(this.state, node, instance)
    this.leaves[instance] = leaf
    return leaf === undefined ? BLOCKED : leaf.entry
  }

  private step(number: number, instance: number): void {
    const { packed, state, next } = this
    this.transitions++
    const entry = this.entries[instance]
    if (entry < 0) {
      this.broken(entry, number, instance)
      return
    }
    const node = this.at[instance]
    const own = this.ownWord[instance]
    const move = ((entry >>> 8) - (node - packed.offset[instance])) << this.ownShift[instance]
    if (packed.kind[node] === SIMPLE) {
      const cell = packed.word[node]
      const change = packed.change[this.place[instance]]
      state[cell] += change
      state[own] += move
      this.arrive(state, number, instance)
      state[own] -= move
      state[cell] -= change
      return
    }
    next.set(state)
    for (const [field, value] of this.leaves[instance]?.writes ?? []) packed.set(next, field, value)
    next[own] += move
    this.arrive(next, number, instance)
  }

  /** A successor has been made. */
  private arrive(words: Int32Array, parent: number, instance: number): void {
    const { table, canonical, next } = this
    if (canonical === undefined) {
      table.wait(words, parent, instance)
      return
    }
    if (words !== next) next.set(words)
    canonical.apply(next)
    table.wait(next, parent, instance)
  }

  /** Adds the successors that wait. */
  private store(): void {
    const { table } = this
    let number = table.count
    table.addWaiting()
    if (this.checksInvariants) for (; number < table.count; number++) this.checkNew(number)
  }

  private checkNew(number: number): void {
    this.table.copy(number, this.next)
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
  private quiescent(number: number): void {
    const { packed, learned, state, at } = this
    const instance = at.findLastIndex((node) => packed.kind[node] !== ENDED)
    if (instance < 0) {
      this.ends.push(number)
      const broken = packed.firstBroken(learned.atEnd, state)
      if (broken !== undefined) this.report(broken, number, this.depth)
      return
    }
    const says = learned.deadlockText(instance, packed.nodes[at[instance]].like)
    this.report({ kind: 'deadlock', name: 'deadlock', says, instance }, number, this.depth)
  }

  /** Keeps the first of the shortest. */
  private report(violation: Violation, state: number, steps: number): void {
    if (this.found === undefined || steps < this.found.steps) this.found = { violation, state, steps }
  }
}
