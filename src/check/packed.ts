/**
 * A system packed for exhaustive search: a state is a few 32-bit words, a step is one look-up.
 *
 * Layout: every cell that some step may change has a field of as many bits as it has values, numbered as they
 * were first seen; every instance has a field for its automaton node. For a step on one cell the table entry at
 * `base[node] + value` holds the new value and the next node; a section's step is a tree of such look-ups.
 * Entries are filled as the search first needs them (`fillSimple`, `walk`), by taking the step for real
 * (outcome.ts). Nodes are numbered through all tasks: `node` is a node of some automaton.
 *
 * When filling meets what the layout has no room for, or the automata do not know, the system has learnt it,
 * and `stale` says that this packing is out of date. The search then starts again with a new one.
 *
 * Rules:
 *   - a field does not cross a word;
 *   - copies of a task share their automaton, so their fields have equal widths.
 */

import { assert } from '../base/assert.ts'
import type { Automaton, AutomatonNode } from './automaton.ts'
import { type Check, instanceOfCell, type Learned, type Violation } from './learned.ts'
import type { Cell } from './memory.ts'
import { isBlocked, isWrite, mayBlock, SECTION } from './op.ts'
import { endViolation, newOutcome, type Outcome, propertyViolation, takeStep } from './outcome.ts'
import { TaskError } from './system.ts'

/** Values that one cell may take. */
const VALUES_MAX = 256
/** Words of a state: 80 bytes. */
const WORDS_MAX = 20

// What a node's next step is.
export const ENDED = 0
export const SIMPLE = 1
export const TREE = 2

// Table entries that are not `next << 8 | value`.
export const UNFILLED = -1
export const BLOCKED = -2
/** The step led to what is not known yet. */
export const UNKNOWN = -3
/** The step breaks something: violation number `VIOLATION - entry`. */
export const VIOLATION = -4

/** Where in a state something is kept. */
export interface Field {
  readonly word: number
  readonly shift: number
  readonly mask: number
}

/** The values of one cell, by their number in its field. */
export interface CellField extends Field {
  readonly cell: Cell
  readonly values: number[]
  readonly numbers: Map<number, number>
}

/** A branch of a step on several cells: by the number in a field. `via` translates an instance's node first. */
interface Branch extends Field {
  readonly via: Int32Array | undefined
  readonly next: (Branch | Leaf | undefined)[]
}

/** The end of a step on several cells. */
export interface Leaf {
  readonly entry: number
  readonly writes: readonly (readonly [field: CellField, number: number])[]
}

const isLeaf = (node: Branch | Leaf): node is Leaf => 'entry' in node

export class Packed {
  readonly learned: Learned
  readonly automata: readonly Automaton[]
  readonly words: number
  readonly cellFields: CellField[] = []
  readonly nodeFields: Field[] = []
  /** First node of each instance's automaton. */
  readonly offset: Int32Array
  readonly nodes: readonly AutomatonNode[]
  // By node.
  readonly kind: Uint8Array
  readonly word: Int32Array
  readonly shift: Int32Array
  readonly mask: Int32Array
  readonly base: Int32Array
  readonly table: Int32Array
  /** What a step on one cell adds to that cell's word, by place in `table`. */
  readonly change: Int32Array
  readonly violations: Violation[] = []
  readonly hosts: readonly number[]
  readonly hasInterrupts: boolean
  /** Something was learnt for which this packing has no room. */
  stale = false
  /** Steps that were found to lead to what is not known. */
  unknowns = 0
  private readonly fieldOfCell = new Map<Cell, CellField>()
  private readonly trees: (Branch | Leaf | undefined)[]
  private readonly checkTrees = new Map<Check, Branch | Leaf>()
  private readonly outcome: Outcome = newOutcome()
  private readonly situations: Int32Array[]

  constructor(learned: Learned) {
    this.learned = learned
    this.automata = learned.automata()
    const starts = startsOf(this.automata)
    this.nodes = this.automata.flatMap(({ nodes }) => nodes)
    this.offset = Int32Array.from(learned.instances, ({ of }) => starts[of])
    this.hosts = learned.instances.map((_, i) => learned.hostOf(i))
    this.hasInterrupts = this.hosts.some((host) => host >= 0)
    this.words = this.layOut()
    const count = this.nodes.length
    this.kind = new Uint8Array(count)
    this.word = new Int32Array(count)
    this.shift = new Int32Array(count)
    this.mask = new Int32Array(count)
    this.base = new Int32Array(count)
    this.trees = new Array<Branch | Leaf | undefined>(count)
    this.table = new Int32Array(this.layOutTable()).fill(UNFILLED)
    this.change = new Int32Array(this.table.length)
    this.kind.forEach((kind, node) => {
      if (kind === ENDED) this.table[this.base[node]] = BLOCKED
    })
    this.situations = this.automata.map(({ nodes }) =>
      Int32Array.from(nodes, ({ like }) => like.situation.id),
    )
  }

  /** Writes the initial state to `words`. */
  initial(words: Int32Array): void {
    words.fill(0) // number 0 of a cell is its initial value, node 0 of an automaton its root
  }

  get(words: Int32Array, { word, shift, mask }: Field): number {
    return (words[word] >>> shift) & mask
  }

  set(words: Int32Array, { word, shift, mask }: Field, value: number): void {
    words[word] = (words[word] & ~(mask << shift)) | (value << shift)
  }

  /** The node that an instance is at. */
  nodeOf(words: Int32Array, instance: number): number {
    return this.offset[instance] + this.get(words, this.nodeFields[instance])
  }

  fieldOf(cell: Cell): CellField | undefined {
    return this.fieldOfCell.get(cell)
  }

  /** Value of a cell in a packed state. */
  valueOf(words: Int32Array, cell: Cell): number {
    const field = this.fieldOfCell.get(cell)
    return field === undefined
      ? this.learned.memory.cells[cell].initial
      : field.values[this.get(words, field)]
  }

  /** True if the instance can take its next step here. */
  isEnabled(words: Int32Array, instance: number): boolean {
    const node = this.nodeOf(words, instance)
    if (this.kind[node] === ENDED || this.isStoppedByInterrupt(words, instance)) return false
    if (this.kind[node] === TREE) return this.walk(words, node, instance) !== undefined
    return this.entryOf(words, node, instance) !== BLOCKED
  }

  /** The table entry of a step on one cell. */
  entryOf(words: Int32Array, node: number, instance: number): number {
    const entry =
      this.table[this.base[node] + ((words[this.word[node]] >>> this.shift[node]) & this.mask[node])]
    return entry === UNFILLED ? this.fillSimple(words, node, instance) : entry
  }

  /** Its cpu runs an interrupt, or it is an interrupt that cannot come yet. */
  isStoppedByInterrupt(words: Int32Array, instance: number): boolean {
    if (!this.hasInterrupts) return false
    const { learned, hosts } = this
    const hasBegun = (i: number): boolean => this.get(words, this.nodeFields[i]) !== 0
    const host = hosts[instance]
    if (host >= 0) {
      const { held } = this.nodes[this.nodeOf(words, host)].like
      return !hasBegun(instance) && learned.turnsInterruptsOff(held)
    }
    return hosts.some((of, i) => of === instance && hasBegun(i) && this.kind[this.nodeOf(words, i)] !== ENDED)
  }

  /**
   * Takes the step of an instance that is enabled: `to` is the state after it. Gives the violation that the step
   * is instead, or the negative entry UNKNOWN.
   */
  successor(words: Int32Array, instance: number, to: Int32Array): Violation | number {
    const node = this.nodeOf(words, instance)
    to.set(words)
    if (this.kind[node] === SIMPLE) {
      const entry = this.entryOf(words, node, instance)
      if (entry < 0) return entry <= VIOLATION ? { ...this.violationOf(entry), instance } : entry
      this.set(to, { word: this.word[node], shift: this.shift[node], mask: this.mask[node] }, entry & 0xff)
      this.set(to, this.nodeFields[instance], entry >>> 8)
      return 0
    }
    const leaf = this.walk(words, node, instance)
    if (leaf === undefined) return BLOCKED
    if (leaf.entry < 0)
      return leaf.entry <= VIOLATION ? { ...this.violationOf(leaf.entry), instance } : leaf.entry
    for (const [field, value] of leaf.writes) this.set(to, field, value)
    this.set(to, this.nodeFields[instance], leaf.entry >>> 8)
    return 0
  }

  /** True if every task has ended. */
  allEnded(words: Int32Array): boolean {
    return this.nodeFields.every((_, i) => this.kind[this.nodeOf(words, i)] === ENDED)
  }

  /** The violation that a table entry stands for. */
  violationOf(entry: number): Violation {
    return this.violations[VIOLATION - entry]
  }

  /** Fills the entry of a step on one cell that the search has come upon. */
  fillSimple(words: Int32Array, node: number, instance: number): number {
    const at = this.base[node] + ((words[this.word[node]] >>> this.shift[node]) & this.mask[node])
    const { op } = this.nodes[node].like
    assert(op !== undefined, 'packed: a node with a step')
    const before = this.valueOf(words, op.cell)
    const entry = this.isBlockedAt(node, before) ? BLOCKED : this.take(words, node, instance)
    let value = before
    for (const [, written] of this.outcome.writes) value = written
    this.table[at] = entry < 0 ? entry : this.encode(entry, op.cell, value)
    this.change[at] = ((this.table[at] & 0xff) - (at - this.base[node])) << this.shift[node]
    return this.table[at]
  }

  /** The leaf of a step on several cells; undefined if it is blocked. */
  walk(words: Int32Array, node: number, instance: number): Leaf | undefined {
    let at = this.trees[node]
    while (at !== undefined && !isLeaf(at)) {
      at = at.next[(words[at.word] >>> at.shift) & at.mask]
    }
    const leaf = at ?? this.learnTree(words, node, instance)
    return leaf.entry === BLOCKED ? undefined : leaf
  }

  /** The first property that does not hold in this state. */
  firstBroken(checks: readonly Check[], words: Int32Array): Violation | undefined {
    for (const check of checks) {
      let at = this.checkTrees.get(check)
      while (at !== undefined && !isLeaf(at)) {
        const value = (words[at.word] >>> at.shift) & at.mask
        at = at.next[at.via === undefined ? value : at.via[value]]
      }
      const leaf = at ?? this.learnCheck(check, words)
      if (leaf.entry < 0) return this.violationOf(leaf.entry)
    }
    return undefined
  }

  private layOut(): number {
    const { learned, automata } = this
    const widths: { bits: number; place: (field: Field) => void }[] = []
    for (let cell = 0; cell < learned.memory.cells.length; cell++) {
      if (!learned.isVariable(cell)) continue
      const values = learned.valuesOf(cell)
      if (values.length > VALUES_MAX) {
        throw new TaskError(
          learned.system.name,
          `${learned.memory.nameOf(cell)} takes more than ${VALUES_MAX} values; a model keeps its cells small`,
        )
      }
      const place = (field: Field): void => {
        const numbers = new Map(values.map((value, number) => [value, number]))
        const cellField: CellField = { ...field, cell, values: [...values], numbers }
        this.cellFields.push(cellField)
        this.fieldOfCell.set(cell, cellField)
      }
      widths.push({ bits: bitsFor(values.length), place })
    }
    for (const { of } of learned.instances) {
      widths.push({ bits: bitsFor(automata[of].nodes.length), place: (field) => this.nodeFields.push(field) })
    }
    const words = placeFields(widths)
    if (words > WORDS_MAX) {
      throw new TaskError(
        learned.system.name,
        `a state needs ${words * 4} bytes, more than ${WORDS_MAX * 4}; fewer cells that change, or fewer tasks`,
      )
    }
    return words
  }

  /**
   * Decides how each node's step is taken. Gives the size of the table, in which a node without a step on one cell
   * has one entry: BLOCKED if it has ended, else UNFILLED for ever.
   */
  private layOutTable(): number {
    let size = 0
    this.nodes.forEach(({ like: { op, verdict } }, node) => {
      this.base[node] = size
      if (op === undefined) {
        size++
        return
      }
      if (op.kind === SECTION || verdict.unlessZero >= 0) {
        this.kind[node] = TREE
        size++
        return
      }
      const field = this.fieldOfCell.get(op.cell)
      this.kind[node] = SIMPLE
      this.word[node] = field?.word ?? 0
      this.shift[node] = field?.shift ?? 0
      this.mask[node] = field?.mask ?? 0
      size += this.mask[node] + 1
    })
    return size
  }

  /** Takes a step for real. The next node of the instance, or a negative entry. */
  private take(words: Int32Array, node: number, instance: number, read?: (cell: Cell) => number): number {
    const { learned, outcome } = this
    const { like, next } = this.nodes[node]
    takeStep(learned, like, instance, read ?? ((cell) => this.valueOf(words, cell)), outcome)
    if (outcome.violation !== undefined) return this.violationEntry(outcome.violation)
    const local = next.get(outcome.result)
    if (local === undefined) {
      learned.learnerOf(instance).next(like, outcome.result)
      this.stale = true
      this.unknowns++
      return UNKNOWN
    }
    const broken = endViolation(learned, this.nodes[this.offset[instance] + local].like, instance)
    return broken === undefined ? local : this.violationEntry(broken)
  }

  /** A step that is wrong in itself is taken to be found wrong, also where it would wait: for a lock that it holds, say. */
  private isBlockedAt(node: number, value: number): boolean {
    const { like, finding } = this.nodes[node]
    return finding === undefined && like.op !== undefined && isBlocked(like.op, value)
  }

  private violationEntry(violation: Violation): number {
    this.violations.push(violation)
    return VIOLATION - (this.violations.length - 1)
  }

  /** The entry for a cell's new value, or UNKNOWN if there is no room for that value. */
  private encode(next: number, cell: Cell, value: number): number {
    const field = this.fieldOfCell.get(cell)
    if (field === undefined) {
      if (value === this.learned.memory.cells[cell].initial) return next << 8
      return this.noRoom(cell, value)
    }
    const number = this.numberOf(field, value)
    return number < 0 ? UNKNOWN : (next << 8) | number
  }

  /** The number of a value in a cell's field; a new one if there is room, else -1. */
  numberOf(field: CellField, value: number): number {
    const known = field.numbers.get(value)
    if (known !== undefined) return known
    const number = field.values.length
    this.learned.note(field.cell, value)
    if (number > field.mask) {
      this.stale = true
      this.unknowns++
      return -1
    }
    field.values.push(value)
    field.numbers.set(value, number)
    return number
  }

  private noRoom(cell: Cell, value: number): number {
    this.learned.note(cell, value)
    this.stale = true
    this.unknowns++
    return UNKNOWN
  }

  private learnTree(words: Int32Array, node: number, instance: number): Leaf {
    const { op } = this.nodes[node].like
    assert(op !== undefined, 'packed: a node with a step')
    const path: Cell[] = []
    const read = (cell: Cell): number => {
      if (!path.includes(cell)) path.push(cell)
      return this.valueOf(words, cell)
    }
    const blocked = mayBlock(op.kind) && this.isBlockedAt(node, read(op.cell))
    const next = blocked ? BLOCKED : this.take(words, node, instance, read)
    const leaf = blocked ? { entry: BLOCKED, writes: [] } : this.leafOf(next)
    this.trees[node] = this.insert(this.trees[node], path, words, leaf)
    return leaf
  }

  private leafOf(next: number): Leaf {
    if (next < 0) return { entry: next, writes: [] }
    const writes: [CellField, number][] = []
    for (const [cell, value] of this.outcome.writes) {
      const field = this.fieldOfCell.get(cell)
      const number = field === undefined ? this.noRoom(cell, value) : this.numberOf(field, value)
      if (field === undefined || number < 0) return { entry: UNKNOWN, writes: [] }
      writes.push([field, number])
    }
    return { entry: next << 8, writes }
  }

  private learnCheck(check: Check, words: Int32Array): Leaf {
    const path: Cell[] = []
    const result = check.tree.evaluate((cell) => {
      if (!path.includes(cell)) path.push(cell)
      if (cell >= 0) return this.valueOf(words, cell)
      return this.nodes[this.nodeOf(words, instanceOfCell(cell))].like.situation.id
    })
    const entry = result.result === 1 ? 0 : this.violationEntry(propertyViolation(check.property, result, -1))
    const leaf: Leaf = { entry, writes: [] }
    this.checkTrees.set(check, this.insert(this.checkTrees.get(check), path, words, leaf))
    return leaf
  }

  /** Adds the path of this state to a tree. Cells that never change are no branches. */
  private insert(
    root: Branch | Leaf | undefined,
    path: readonly Cell[],
    words: Int32Array,
    leaf: Leaf,
  ): Branch | Leaf {
    const fields = path.flatMap((cell) => this.branchField(cell))
    if (fields.length === 0) return leaf
    const first = root ?? newBranch(fields[0])
    let at: Branch | Leaf = first
    fields.forEach((_, i) => {
      if (isLeaf(at)) return
      const value = (words[at.word] >>> at.shift) & at.mask
      const key = at.via === undefined ? value : at.via[value]
      const next: Branch | Leaf = at.next[key] ?? (i + 1 < fields.length ? newBranch(fields[i + 1]) : leaf)
      at.next[key] = next
      at = next
    })
    return first
  }

  private branchField(cell: Cell): (Field & { via: Int32Array | undefined })[] {
    if (cell >= 0) {
      const field = this.fieldOfCell.get(cell)
      return field === undefined ? [] : [{ ...field, via: undefined }]
    }
    const instance = instanceOfCell(cell)
    return [{ ...this.nodeFields[instance], via: this.situations[this.learned.instances[instance].of] }]
  }

  /** Cells that a node's step may read and write, as far as is known: fields by index. */
  footprint(node: number): { reads: Set<CellField>; writes: Set<CellField> } {
    const { op, verdict } = this.nodes[node].like
    const reads = new Set<CellField>()
    const writes = new Set<CellField>()
    const add = (to: Set<CellField>, cell: Cell): void => {
      const field = this.fieldOfCell.get(cell)
      if (field !== undefined) to.add(field)
    }
    if (op === undefined) return { reads, writes }
    add(reads, op.cell)
    if (verdict.unlessZero >= 0) add(reads, verdict.unlessZero)
    if (isWrite(op.kind)) add(writes, op.cell)
    for (const cell of op.section?.reads ?? []) add(reads, cell)
    for (const cell of op.section?.writes ?? []) add(writes, cell)
    return { reads, writes }
  }
}

function startsOf(automata: readonly Automaton[]): number[] {
  let start = 0
  return automata.map(({ nodes }) => {
    const at = start
    start += nodes.length
    return at
  })
}

const bitsFor = (values: number): number => (values <= 1 ? 0 : 32 - Math.clz32(values - 1))

/** Puts fields into words, the widest first. Gives the number of words. */
function placeFields(
  fields: readonly { readonly bits: number; readonly place: (field: Field) => void }[],
): number {
  const used: number[] = []
  const places = new Map<(typeof fields)[number], Field>()
  for (const field of fields.toSorted((a, b) => b.bits - a.bits)) {
    if (field.bits === 0) {
      places.set(field, { word: 0, shift: 0, mask: 0 })
      continue
    }
    let word = used.findIndex((bits) => bits + field.bits <= 32)
    if (word < 0) word = used.push(0) - 1
    places.set(field, { word, shift: used[word], mask: 2 ** field.bits - 1 })
    used[word] += field.bits
  }
  // In the given order, so that instances' fields are in the order of instances.
  for (const field of fields) field.place(places.get(field) ?? { word: 0, shift: 0, mask: 0 })
  return Math.max(used.length, 1)
}

const newBranch = ({ word, shift, mask, via }: Field & { via: Int32Array | undefined }): Branch => ({
  word,
  shift,
  mask,
  via,
  next: [],
})
