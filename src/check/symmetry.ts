/**
 * Symmetry: of the states that differ only in which of several like things is which, one is kept.
 *
 * Copies of a task change places by sorting their nodes. Like things in the cells (pages) change places by the
 * permutations that the system declares (`Symmetry`): each moves cells, values and tasks at once. A state's
 * canonical form is the smallest of its images, copies sorted.
 *
 * A declaration is verified before it is used: each task's automaton must be the image of its partner's, step by
 * step and section by section. A wrong one is a TaskError, not a wrong result. Properties are taken to treat
 * like things alike. The initial state need not be its own image (of two pages on a list one is first): what holds
 * of every state then holds of the images too.
 *
 * @paper Ip and Dill, Better Verification Through Symmetry, 1996 (scalarsets)
 */

import { assert } from '../base/assert.ts'
import type { Node } from './learn.ts'
import { ARRIVALS, type Learned } from './learned.ts'
import type { Cell } from './memory.ts'
import { apply, CAS, isBlocked, LOAD, newEffect, type Op, SECTION, STORE } from './op.ts'
import type { CellField, Field, Packed } from './packed.ts'
import { type Symmetry, TaskError } from './system.ts'

/** Elements of the group that the declared permutations generate. */
const ELEMENTS_MAX = 120

/** One permutation of a system: what each cell, value and task becomes. */
interface Element {
  readonly cell: (cell: Cell) => Cell
  readonly value: (cell: Cell, value: number) => number
  /** The task that each task becomes. */
  readonly task: readonly number[]
}

/** A permutation of packed states. */
interface Image {
  /** By field of a cell: the field that it becomes, and its numbers there (-1: not looked up yet). */
  readonly fields: readonly { readonly from: CellField; readonly to: CellField; readonly numbers: number[] }[]
  /** By instance: the one that it becomes, and its nodes there. */
  readonly instances: readonly { readonly from: Field; readonly to: Field; readonly nodes: Int32Array }[]
  readonly element: Element
}

export class Canonical {
  private readonly packed: Packed
  /** Fields of the copies of each task that has several, by group; and the first copy of each instance's task. */
  private readonly groups: readonly (readonly Field[])[]
  private readonly first: Int32Array
  private readonly nodes: Int32Array
  private readonly images: readonly Image[]
  private readonly best: Int32Array
  private readonly image: Int32Array

  /** Throws TaskError if a declared symmetry is none. May find the packing stale. */
  constructor(learned: Learned, packed: Packed) {
    this.packed = packed
    const groups: Field[][] = []
    this.first = new Int32Array(learned.instances.length)
    learned.system.tasks.forEach((_, of) => {
      const members = learned.instances.flatMap((instance, i) => (instance.of === of ? [i] : []))
      for (const i of members) this.first[i] = members[0]
      if (members.length > 1) groups.push(members.map((i) => packed.nodeFields[i]))
    })
    this.groups = groups
    this.nodes = new Int32Array(Math.max(...groups.map((group) => group.length), 1))
    const alike = groups.every((group) => group.every(({ mask }) => mask === group[0].mask))
    assert(alike, 'symmetry: copies have one automaton')
    this.images = elementsOf(learned).map((element) => imageOf(learned, packed, element))
    this.best = new Int32Array(packed.words)
    this.image = new Int32Array(packed.words)
  }

  /** True if there is anything to make canonical. */
  get isUseful(): boolean {
    return this.groups.length > 0 || this.images.length > 0
  }

  /** True if an earlier copy of the same task is at the same node: its step has the same image. */
  isRepeated(at: Int32Array, instance: number): boolean {
    return instance > this.first[instance] && at[instance] === at[instance - 1]
  }

  /** Makes a state canonical. True: it has changed. */
  apply(words: Int32Array): boolean {
    let moved = this.sortCopies(words)
    if (this.images.length === 0) return moved
    const { best, image } = this
    best.set(words)
    for (const permutation of this.images) {
      if (!this.permute(permutation, words, image)) continue
      this.sortCopies(image)
      if (!isLess(image, best)) continue
      best.set(image)
      moved = true
    }
    words.set(best)
    return moved
  }

  /** Calls `see` with the state and with its image under every declared permutation. */
  forEachImage(words: Int32Array, see: (words: Int32Array) => void): void {
    see(words)
    const image = new Int32Array(words.length)
    for (const permutation of this.images) {
      if (this.permute(permutation, words, image)) see(image)
    }
  }

  /** False: something in the state is too new to have an image; it is learnt for the next round. */
  private permute({ fields, instances, element }: Image, words: Int32Array, image: Int32Array): boolean {
    const { packed } = this
    image.fill(0)
    for (const { from, to, numbers } of fields) {
      const number = packed.get(words, from)
      if (numbers[number] === undefined) {
        const mapped = packed.numberOf(to, element.value(from.cell, from.values[number]))
        if (mapped < 0) return false
        numbers[number] = mapped
      }
      packed.set(image, to, numbers[number])
    }
    for (const { from, to, nodes } of instances) {
      const mapped = nodes[packed.get(words, from)]
      if (mapped < 0) return false
      packed.set(image, to, mapped)
    }
    return true
  }

  private sortCopies(words: Int32Array): boolean {
    let moved = false
    for (const group of this.groups) if (this.sort(words, group)) moved = true
    return moved
  }

  private sort(words: Int32Array, group: readonly Field[]): boolean {
    const { nodes } = this
    let sorted = true
    for (let i = 0; i < group.length; i++) {
      const { word, shift, mask } = group[i]
      nodes[i] = (words[word] >>> shift) & mask
      if (i > 0 && nodes[i] < nodes[i - 1]) sorted = false
    }
    if (sorted) return false
    for (let i = 1; i < group.length; i++) {
      const node = nodes[i]
      let to = i
      for (; to > 0 && nodes[to - 1] > node; to--) nodes[to] = nodes[to - 1]
      nodes[to] = node
    }
    for (let i = 0; i < group.length; i++) {
      const { word, shift, mask } = group[i]
      words[word] = (words[word] & ~(mask << shift)) | (nodes[i] << shift)
    }
    return true
  }
}

function isLess(a: Int32Array, b: Int32Array): boolean {
  for (let w = 0; w < a.length; w++) if (a[w] !== b[w]) return a[w] < b[w]
  return false
}

/**
 * Lets every task learn what its partners have learnt: the image of each of their histories. A search under symmetry
 * follows one of several like tasks only, and would learn one history at a time otherwise.
 */
export function learnImages(learned: Learned): void {
  const elements = elementsOf(learned)
  if (elements.length === 0) return
  const size = (): number => learned.learners.reduce((sum, { nodes }) => sum + nodes.length, 0)
  let before = 0
  // Each round has more histories than the one before, and they are finite (learn.ts).
  while (size() > before) {
    before = size()
    for (const learner of learned.learners) learner.complete()
    for (const element of elements) learned.learners.forEach((_, of) => learnImage(learned, element, of))
  }
}

function learnImage(learned: Learned, element: Element, of: number): void {
  const partner = learned.learners[element.task[of]]
  const queue: [Node, Node][] = [[learned.learners[of].root, partner.root]]
  const done = new Set<Node>()
  for (const [node, image] of queue) {
    if (done.has(node) || image.op === undefined) continue
    done.add(node)
    for (const [value, child] of node.children) {
      queue.push([child, partner.next(image, imageOfResult(element, node.op, value))])
    }
  }
}

/** What the image of a step answers: a value that was loaded changes places too. */
const imageOfResult = (element: Element, op: Op | undefined, value: number): number =>
  op?.kind === LOAD ? element.value(op.cell, value) : value

/** All permutations that the declared ones generate, without the identity. */
function elementsOf(learned: Learned): Element[] {
  const generators = (learned.system.symmetries ?? []).map((symmetry) => elementOf(learned, symmetry))
  const found: Element[] = []
  const known = new Set([signature(learned, IDENTITY(learned))])
  let edge: Element[] = [IDENTITY(learned)]
  // Ends because a permutation is added once, and there are ELEMENTS_MAX at most.
  while (edge.length > 0) {
    const next: Element[] = []
    for (const element of edge) {
      for (const generator of generators) {
        const product = composed(element, generator)
        const key = signature(learned, product)
        if (known.has(key)) continue
        known.add(key)
        next.push(product)
      }
    }
    found.push(...next)
    if (found.length > ELEMENTS_MAX) {
      throw new TaskError(
        learned.system.name,
        `its symmetries generate more than ${ELEMENTS_MAX} permutations`,
      )
    }
    edge = next
  }
  return found
}

const IDENTITY = (learned: Learned): Element => ({
  cell: (cell) => cell,
  value: (_, value) => value,
  task: learned.system.tasks.map((_, i) => i),
})

function elementOf(learned: Learned, symmetry: Symmetry): Element {
  const { memory, system } = learned
  const task = system.tasks.map(({ name, copies = 1 }, i) => {
    const partner = symmetry.tasks[name]
    if (partner === undefined) return i
    const to = system.tasks.findIndex((other) => other.name === partner)
    if (to < 0 || (system.tasks[to].copies ?? 1) !== copies) {
      throw new TaskError(
        name,
        `symmetry "${symmetry.name}" gives it a partner ${partner} that is not like it`,
      )
    }
    return to
  })
  const wrong = (what: string): never => {
    throw new TaskError(system.name, `symmetry "${symmetry.name}" ${what}`)
  }
  if (new Set(task).size < task.length) wrong('gives two tasks the same partner')
  system.tasks.forEach(({ interrupts }, i) => {
    const host = system.tasks.findIndex(({ name }) => name === interrupts)
    const image = system.tasks.findIndex(({ name }) => name === system.tasks[task[i]].interrupts)
    if ((host < 0 ? -1 : task[host]) !== image)
      wrong(`does not take along which task ${system.tasks[i].name} interrupts`)
  })
  return {
    task,
    cell: (cell) => {
      const { column, index } = memory.cells[cell]
      const to =
        column === ARRIVALS
          ? memory.find(column, task[index])
          : memory.find(column, symmetry.cell(column, index))
      return to < 0 ? wrong(`names no cell for ${memory.nameOf(cell)}`) : to
    },
    value: (cell, value) => {
      const { column, index } = memory.cells[cell]
      return symmetry.value?.(column, index, value) ?? value
    },
  }
}

const composed = (first: Element, second: Element): Element => ({
  task: first.task.map((to) => second.task[to]),
  cell: (cell) => second.cell(first.cell(cell)),
  value: (cell, value) => second.value(first.cell(cell), first.value(cell, value)),
})

function signature(learned: Learned, { cell, task }: Element): string {
  const cells = learned.memory.cells.map((_, i) => (learned.isVariable(i) ? cell(i) : ''))
  return `${cells.join(' ')}|${task.join(' ')}`
}

/** Throws TaskError if a declared symmetry is none. */
export function verifySymmetries(learned: Learned, packed: Packed): void {
  for (const element of elementsOf(learned)) imageOf(learned, packed, element)
}

/** A permutation of cells: no two become one, and those that never change become ones that begin as their image. */
function checkCells(learned: Learned, packed: Packed, { cell, value }: Element): void {
  const { memory, system } = learned
  const images = new Set<Cell>()
  const touched = memory.cells.length
  for (let at = 0; at < touched; at++) {
    const to = cell(at)
    if (images.has(to))
      throw new TaskError(system.name, `a symmetry makes two cells one: ${memory.nameOf(to)}`)
    images.add(to)
    if (packed.fieldOf(at) !== undefined || packed.fieldOf(to) !== undefined) continue
    if (memory.cells[to].initial === value(at, memory.cells[at].initial)) continue
    throw new TaskError(
      system.name,
      `is declared symmetric, but ${memory.nameOf(at)} and ${memory.nameOf(to)} never change and are not alike`,
    )
  }
}

function imageOf(learned: Learned, packed: Packed, element: Element): Image {
  checkCells(learned, packed, element)
  const fields = packed.cellFields.map((from) => {
    const to = packed.fieldOf(element.cell(from.cell))
    if (to === undefined) {
      packed.stale = true
      learned.noteVariable(element.cell(from.cell))
    }
    return { from, to: to ?? from, numbers: [] }
  })
  const nodes = learned.system.tasks.map((_, of) => new Isomorphism(learned, packed, element, of).nodes())
  const positions = learned.instances.map(
    ({ of }, i) => i - learned.instances.findIndex((other) => other.of === of),
  )
  const instances = learned.instances.map(({ of }, i) => {
    const partner = learned.instances.findIndex((other) => other.of === element.task[of]) + positions[i]
    return { from: packed.nodeFields[i], to: packed.nodeFields[partner], nodes: nodes[of] }
  })
  return { fields, instances, element }
}

/** Walks two automata side by side: the second must do to the image what the first does. */
class Isomorphism {
  private readonly learned: Learned
  private readonly packed: Packed
  private readonly element: Element
  private readonly of: number

  constructor(learned: Learned, packed: Packed, element: Element, of: number) {
    this.learned = learned
    this.packed = packed
    this.element = element
    this.of = of
  }

  /** For each node of the task, the node of its partner. */
  nodes(): Int32Array {
    const { packed, element, of, learned } = this
    const own = packed.automata[of].nodes
    const partner = packed.automata[element.task[of]].nodes
    const map = new Int32Array(own.length).fill(-1)
    map[0] = 0
    const queue = [0]
    for (const node of queue) {
      const like = own[node]
      const image = partner[map[node]]
      if (!this.areAlike(like.like, image.like)) this.refuse()
      for (const [value, next] of like.next) {
        const mapped = imageOfResult(this.element, like.like.op, value)
        const to = image.next.get(mapped)
        if (to === undefined) {
          learned.learners[element.task[of]].next(image.like, mapped)
          packed.stale = true
          continue
        }
        if (map[next] < 0) {
          map[next] = to
          queue.push(next)
        } else if (map[next] !== to) this.refuse() // what the one does again the other does in another way
      }
    }
    return map
  }

  private refuse(): never {
    const [name, partner] = [this.of, this.element.task[this.of]].map(
      (i) => this.learned.system.tasks[i].name,
    )
    throw new TaskError(name, `is declared to be like ${partner}, but they take different steps`)
  }

  private areAlike(node: Node, image: Node): boolean {
    const { element, learned } = this
    const guard = node.verdict.unlessZero
    return (
      this.sameStep(node.op, image.op) &&
      node.ending?.failed === image.ending?.failed &&
      node.ending?.result === image.ending?.result &&
      node.situation.label === image.situation.label &&
      learned.findingOf(node)?.name === learned.findingOf(image)?.name &&
      node.verdict.otherwise?.name === image.verdict.otherwise?.name &&
      (guard < 0 ? guard : element.cell(guard)) === image.verdict.unlessZero
    )
  }

  private sameStep(op: Op | undefined, image: Op | undefined): boolean {
    if (op === undefined || image === undefined) return op === image
    return (
      op.kind === image.kind &&
      this.element.cell(op.cell) === image.cell &&
      this.operand(op, op.x, op.kind === STORE || op.kind === CAS) === image.x &&
      this.operand(op, op.y, op.kind === CAS) === image.y &&
      this.doesTheSame(op, image) &&
      this.sameSection(op, image)
    )
  }

  /** A step on a value gives the image of what its partner gives on the value's image. */
  private doesTheSame(op: Op, image: Op): boolean {
    if (op.kind === SECTION) return true
    const { element, learned } = this
    const [one, other] = [newEffect(), newEffect()]
    return learned.valuesOf(op.cell).every((value) => {
      apply(op, value, one)
      apply(image, element.value(op.cell, value), other)
      const result = imageOfResult(element, op, one.result)
      return (
        isBlocked(op, value) === isBlocked(image, element.value(op.cell, value)) &&
        other.value === element.value(op.cell, one.value) &&
        other.result === result &&
        other.failed === one.failed
      )
    })
  }

  /** A section must write the image of what its partner's writes. */
  private sameSection(op: Op, image: Op): boolean {
    if (op.kind !== SECTION) return true
    const { element } = this
    return (op.section?.paths() ?? []).every(({ reads, leaf }) => {
      const values = new Map(
        [...reads].map(([cell, value]) => [element.cell(cell), element.value(cell, value)]),
      )
      const other = image.section?.evaluate(
        (cell) => values.get(cell) ?? this.learned.memory.cells[cell].initial,
      )
      const writes = new Map(
        leaf.writes.map(([cell, value]) => [element.cell(cell), element.value(cell, value)]),
      )
      return (
        other !== undefined &&
        other.result === leaf.result &&
        other.failed === leaf.failed &&
        other.writes.length === writes.size &&
        other.writes.every(([cell, value]) => writes.get(cell) === value)
      )
    })
  }

  private operand(op: Op, operand: number, isValue: boolean): number {
    return isValue ? this.element.value(op.cell, operand) : operand
  }
}
