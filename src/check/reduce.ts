/**
 * Persistent sets: of the tasks that could go on, which are enough.
 *
 * Every node of an automaton has a *future*: the cells that the task may still read or write from there on.
 * A set of tasks is persistent if no step of the others' futures conflicts with the next step of a task in the
 * set; then exploring the set alone reaches every end that exploring all would. Futures are exact, because they
 * are read off the automata, so the sets are small.
 *
 * A step is *visible* if it may change the truth of an invariant. A set with a visible step is not used alone,
 * so that invariants are seen in every state in which they can break.
 *
 * @paper Godefroid, Partial-Order Methods for the Verification of Concurrent Systems, 1996 (persistent sets);
 *        Peled, CAV 1993 (visibility)
 */

import type { Check } from './learned.ts'
import type { CellField, Packed } from './packed.ts'
import type { SectionTree } from './section.ts'

export class Reduction {
  /** True if a loop may be left out for ever; the search then takes a full step where it closes one. */
  readonly cyclic: boolean
  private readonly instances: number
  private readonly packed: Packed
  /** Fields in 32-bit sets, by node. */
  private readonly setWords: number
  private readonly reads: Int32Array
  private readonly writes: Int32Array
  private readonly futureReads: Int32Array
  private readonly futureWrites: Int32Array
  private readonly visible: Uint8Array
  /** Code whose cells are known as far as it has run, and how many cells that are. */
  private readonly trees: readonly SectionTree[]
  private readonly cellsKnown: number
  /** By instance, of the state at hand: who conflicts with its next step, itself included; 0: not known yet. */
  private readonly conflicts: Int32Array
  /** By instance: those that it interrupts, or that interrupt it. */
  private readonly sharesCpu: Int32Array

  constructor(packed: Packed) {
    this.packed = packed
    const { nodes, cellFields, learned } = packed
    this.instances = learned.instances.length
    this.setWords = Math.max(Math.ceil(cellFields.length / 32), 1)
    const size = nodes.length * this.setWords
    this.reads = new Int32Array(size)
    this.writes = new Int32Array(size)
    this.futureReads = new Int32Array(size)
    this.futureWrites = new Int32Array(size)
    this.visible = new Uint8Array(nodes.length)
    this.conflicts = new Int32Array(this.instances)
    this.sharesCpu = Int32Array.from(packed.hosts, (host, i) =>
      packed.hosts.reduce((set, of, other) => (host === other || of === i ? set | (1 << other) : set), 0),
    )
    const sections = packed.nodes.flatMap(({ like }) => like.op?.section ?? [])
    this.trees = [...new Set([...sections, ...learned.invariants.map(({ tree }) => tree)])]
    this.cellsKnown = cellsOf(this.trees)
    this.fillFootprints(new Map(cellFields.map((field, i) => [field, i])))
    this.cyclic = packed.automata.some(({ nodes: own }) =>
      hasCycle(own.map(({ next }) => [...next.values()])),
    )
  }

  /** True if code has been seen to touch cells of which nothing was known: what was chosen may be too small. */
  get isStale(): boolean {
    return cellsOf(this.trees) !== this.cellsKnown
  }

  /**
   * The smallest persistent set found, as bits of instances. `enabled` are the instances that can go on, at
   * least two; `at` holds the node of each instance.
   */
  choose(enabled: number, at: Int32Array): number {
    this.conflicts.fill(0)
    let best = enabled
    let size = bitCount(enabled)
    for (let left = enabled; left !== 0 && size > 1; left &= left - 1) {
      const set = this.close(left & -left, enabled, at) & enabled
      const count = bitCount(set)
      if (count < size && !this.hasVisible(set, at)) {
        best = set
        size = count
      }
    }
    return best
  }

  /** The smallest persistent set around a seed, or one that holds everybody who can go on. */
  private close(seed: number, enabled: number, at: Int32Array): number {
    let set = seed
    let done = 0
    while (set !== done && (set & enabled) !== enabled) {
      const task = 31 - Math.clz32(set & ~done)
      done |= 1 << task
      if (this.conflicts[task] === 0) this.conflicts[task] = this.conflictsOf(task, at)
      set |= this.conflicts[task]
    }
    return set
  }

  private hasVisible(set: number, at: Int32Array): boolean {
    for (let left = set; left !== 0; left &= left - 1) {
      if (this.visible[at[31 - Math.clz32(left & -left)]] === 1) return true
    }
    return false
  }

  /** The tasks whose futures conflict with the next step of this one, and itself. */
  private conflictsOf(task: number, at: Int32Array): number {
    const { setWords, reads, writes, futureReads, futureWrites, instances } = this
    const step = at[task] * setWords
    let found = (1 << task) | this.sharesCpu[task]
    for (let other = 0; other < instances; other++) {
      const future = at[other] * setWords
      for (let w = 0; w < setWords; w++) {
        const written = futureWrites[future + w]
        const meets = (writes[step + w] & (futureReads[future + w] | written)) | (reads[step + w] & written)
        if (meets !== 0) found |= 1 << other
      }
    }
    return found
  }

  private fillFootprints(numbers: ReadonlyMap<CellField, number>): void {
    const { packed, setWords } = this
    const seen = this.fieldsOfChecks(packed.learned.invariants)
    packed.nodes.forEach((_, node) => {
      const { reads, writes } = packed.footprint(node)
      for (const field of reads) addBit(this.reads, node * setWords, numbers.get(field) ?? 0)
      for (const field of writes) {
        addBit(this.writes, node * setWords, numbers.get(field) ?? 0)
        if (seen.fields.has(field)) this.visible[node] = 1
      }
    })
    let start = 0
    for (const { nodes } of packed.automata) {
      if (seen.situations) this.markMoves(start, nodes)
      this.fillFutures(start, nodes)
      start += nodes.length
    }
  }

  /** A step after which its task says that it is elsewhere is visible to properties that ask where tasks are. */
  private markMoves(start: number, nodes: Packed['nodes']): void {
    nodes.forEach(({ like, next }, i) => {
      const moves = [...next.values()].some((to) => nodes[to].like.situation !== like.situation)
      if (moves) this.visible[start + i] = 1
    })
  }

  private fieldsOfChecks(checks: readonly Check[]): { fields: Set<CellField>; situations: boolean } {
    const fields = new Set<CellField>()
    let situations = false
    for (const { tree } of checks) {
      for (const cell of tree.reads) {
        const field = cell < 0 ? undefined : this.packed.fieldOf(cell)
        if (field !== undefined) fields.add(field)
        if (cell < 0) situations = true
      }
    }
    return { fields, situations }
  }

  /** Futures of one automaton: a node's own cells and its successors' futures, until nothing changes. */
  private fillFutures(start: number, nodes: Packed['nodes']): void {
    const { setWords } = this
    for (let changed = true; changed; ) {
      changed = false
      for (let i = nodes.length - 1; i >= 0; i--) {
        const at = (start + i) * setWords
        const from = [...nodes[i].next.values()].map((to) => (start + to) * setWords)
        for (let w = 0; w < setWords; w++) {
          let reads = this.reads[at + w]
          let writes = this.writes[at + w]
          for (const next of from) {
            reads |= this.futureReads[next + w]
            writes |= this.futureWrites[next + w]
          }
          if (reads === this.futureReads[at + w] && writes === this.futureWrites[at + w]) continue
          this.futureReads[at + w] = reads
          this.futureWrites[at + w] = writes
          changed = true
        }
      }
    }
  }
}

const cellsOf = (trees: readonly SectionTree[]): number =>
  trees.reduce((sum, { reads, writes }) => sum + reads.size + writes.size, 0)

function addBit(set: Int32Array, at: number, bit: number): void {
  set[at + (bit >>> 5)] |= 1 << (bit & 31)
}

function bitCount(bits: number): number {
  let count = 0
  for (let left = bits; left !== 0; left &= left - 1) count++
  return count
}

/** True if following `next` can lead back to where it began. */
export function hasCycle(next: readonly (readonly number[])[]): boolean {
  const waiting = new Int32Array(next.length)
  for (const successors of next) for (const to of successors) waiting[to]++
  const free: number[] = []
  waiting.forEach((count, node) => {
    if (count === 0) free.push(node)
  })
  // Takes away nodes that nothing leads to; what is left has a cycle.
  for (let i = 0; i < free.length; i++) {
    for (const to of next[free[i]]) if (--waiting[to] === 0) free.push(to)
  }
  return free.length < next.length
}
