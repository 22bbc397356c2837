/**
 * What code does that runs in one step: a section under a lock, or a property. Learnt by running it once for
 * every combination of values that it reads.
 *
 * The code is deterministic, so what it reads next follows from what it has read: a tree. A path ends in a
 * leaf, the cells that it wrote and its result. Walking a known path costs one look-up a cell; an unknown one
 * runs the code.
 */

import { AssertionError } from '../base/assert.ts'
import type { Access, Cell, Memory } from './memory.ts'

/** The end of a path. */
export interface Leaf {
  readonly result: number
  readonly writes: readonly (readonly [cell: Cell, value: number])[]
  /** The assertion that it broke, if it did. */
  readonly failed: string | undefined
}

interface Branch {
  readonly cell: Cell
  readonly next: Map<number, Branch | Leaf>
}

/** Gives the value of a cell in the state at hand. */
export type ReadCell = (cell: Cell) => number

/** Cells that one run may read: far more than a step under one lock should. */
const READS_MAX = 1000

/** The lock of a section. */
export interface SectionLock {
  readonly cell: Cell
  readonly bits: number
}

const NO_LOCK: SectionLock = { cell: Number.NaN, bits: 0 }

export class SectionTree {
  /** For people: `listAdd(3, 0, 0)`. */
  readonly text: string
  /** Every cell that a path has read or written so far. */
  readonly reads = new Set<Cell>()
  readonly writes = new Set<Cell>()
  private root: Branch | Leaf | undefined
  private readonly memory: Memory<object>
  private readonly run: () => number
  private readonly lock: SectionLock

  /** `lock`: the one that is held while it runs; its bits are set for the section, and clear again afterwards. */
  constructor(memory: Memory<object>, text: string, run: () => number, lock: SectionLock = NO_LOCK) {
    this.memory = memory
    this.text = text
    this.run = run
    this.lock = lock
  }

  /** What the code does where the cells have the values that `read` gives. Reads them in the order of the code. */
  evaluate(read: ReadCell): Leaf {
    let node = this.root
    while (node !== undefined && 'cell' in node) {
      const next = node.next.get(read(node.cell))
      if (next === undefined) return this.learn(read)
      node = next
    }
    return node ?? this.learn(read)
  }

  /** Every path that is known: the values that it has read, in order, and where it ends. */
  paths(): { reads: readonly (readonly [cell: Cell, value: number])[]; leaf: Leaf }[] {
    const found: { reads: readonly (readonly [cell: Cell, value: number])[]; leaf: Leaf }[] = []
    const open: { reads: readonly (readonly [Cell, number])[]; at: Branch | Leaf }[] = []
    if (this.root !== undefined) open.push({ reads: [], at: this.root })
    // Bounded by the nodes of the tree, each of which is opened once.
    for (const { reads, at } of open) {
      if (!('cell' in at)) found.push({ reads, leaf: at })
      else for (const [value, next] of at.next) open.push({ reads: [...reads, [at.cell, value]], at: next })
    }
    return found
  }

  private learn(read: ReadCell): Leaf {
    const recorder = new Recorder(read, this.lock)
    const { memory } = this
    const before = memory.access
    memory.access = recorder
    let result = 0
    let failed: string | undefined
    try {
      result = this.run() | 0
    } catch (error) {
      failed = failureOf(error)
    } finally {
      memory.access = before
    }
    const writes = failed === undefined ? recorder.changes() : []
    for (const cell of recorder.values.keys()) this.reads.add(cell)
    for (const [cell] of writes) this.writes.add(cell)
    const leaf: Leaf = { result, writes, failed }
    this.insert([...recorder.values], leaf)
    return leaf
  }

  private insert(path: readonly (readonly [Cell, number])[], leaf: Leaf): void {
    if (path.length === 0) {
      this.root = leaf
      return
    }
    if (this.root === undefined) this.root = { cell: path[0][0], next: new Map() }
    let node = this.root
    for (let i = 0; i < path.length && 'cell' in node; i++) {
      const [, value] = path[i]
      let next = node.next.get(value)
      if (next === undefined) {
        next = i + 1 < path.length ? { cell: path[i + 1][0], next: new Map() } : leaf
        node.next.set(value, next)
      }
      node = next
    }
  }
}

/** What the code read and wrote, in order. What it wrote it reads again. */
class Recorder implements Access {
  readonly values = new Map<Cell, number>()
  readonly written = new Map<Cell, number>()
  private readonly source: ReadCell
  private readonly lock: SectionLock

  constructor(source: ReadCell, lock: SectionLock) {
    this.source = source
    this.lock = lock
  }

  read(cell: Cell): number {
    const own = this.written.get(cell)
    return own ?? (cell === this.lock.cell ? this.before(cell) | this.lock.bits : this.before(cell))
  }

  /** The value before the section began. */
  private before(cell: Cell): number {
    const known = this.values.get(cell)
    if (known !== undefined) return known
    if (this.values.size >= READS_MAX) throw new AssertionError('a section reads at most 1,000 cells')
    const value = this.source(cell)
    this.values.set(cell, value)
    return value
  }

  write(cell: Cell, value: number): void {
    this.written.set(cell, value)
  }

  /** What it wrote, without what it knew to be there. */
  changes(): (readonly [Cell, number])[] {
    const { lock } = this
    return [...this.written]
      .map(([cell, value]) => [cell, cell === lock.cell ? value & ~lock.bits : value] as const)
      .filter(([cell, value]) => this.values.get(cell) !== value)
  }
}

/** What an error in checked code says: an assertion's sentence, or what was thrown. */
export function failureOf(error: unknown): string {
  if (error instanceof Error && error.name === 'AssertionError') return error.message // also another copy's
  return error instanceof Error ? `threw ${error.name}: ${error.message}` : `threw ${String(error)}`
}
