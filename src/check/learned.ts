/**
 * A system and all that has been learnt of it: cells, steps, automata.
 *
 * Every strategy starts from one of these; what one of them learns the next one knows.
 */

import type { Cpu } from '../base/cpu.ts'
import { Audit, type Finding, type Held } from './audit.ts'
import { type Automaton, minimise } from './automaton.ts'
import { type LearnContext, Learner, type Node } from './learn.ts'
import { type Cell, Memory } from './memory.ts'
import { isWrite, type Op, SECTION } from './op.ts'
import { OpTable } from './op_table.ts'
import { SectionTree } from './section.ts'
import { Situations } from './situation.ts'
import {
  type Instance,
  instancesOf,
  type Property,
  type System,
  type Task,
  TaskError,
  type Where,
} from './system.ts'

/** What went wrong, in whichever way. */
export interface Violation {
  readonly kind: 'assertion' | 'property' | 'audit' | 'deadlock' | 'livelock'
  /** Name of the property or finding; of an assertion what it says. */
  readonly name: string
  /** The rule that is broken, in one sentence. */
  readonly says: string
  /** Index of the instance whose step it was; -1: nobody's. */
  readonly instance: number
}

/** A property as code that the checker runs on the view; its reads below 0 are instances' situations. */
export interface Check {
  readonly property: Property<object>
  readonly tree: SectionTree
}

/** The number under which a property reads the situation of an instance. */
export const situationCell = (instance: number): Cell => -1 - instance
/** The instance whose situation that is. */
export const instanceOfCell = (cell: Cell): number => -1 - cell

export class Learned {
  readonly system: System
  readonly memory: Memory<object>
  readonly instances: readonly Instance<object>[]
  readonly invariants: readonly Check[]
  readonly atEnd: readonly Check[]
  readonly shared: LearnContext
  /** One a task. */
  readonly learners: readonly Learner[]
  /** Cells that some step may change. */
  private readonly variable = new Set<Cell>()
  private opsSeen = 0
  /** Values that each cell was seen to have, its initial one first. */
  private readonly values: Set<number>[] = []

  /** Throws TaskError if a task cannot be learnt. */
  constructor(system: System, onRun: () => void = () => {}) {
    this.system = system
    this.memory = new Memory(system.state)
    const { memory } = this
    this.shared = {
      memory,
      audit: new Audit(memory, system.locks),
      ops: new OpTable(memory),
      situations: new Situations(),
      onRun,
      isPrivate: (cell) => {
        const { column, index } = memory.cells[cell]
        return system.isPrivate?.(column, index) === true
      },
    }
    this.instances = instancesOf(system)
    if (this.instances.length > INSTANCES_MAX)
      throw new TaskError(system.name, `has more than ${INSTANCES_MAX} tasks`)
    checkInterrupts(system)
    const arrivals = this.memory.addColumn(ARRIVALS, system.tasks.length)
    this.learners = system.tasks.map((task, i) => new Learner(arriving(task, arrivals, i), this.shared))
    this.invariants = (system.invariants ?? []).map((property) => this.checkOf(property))
    this.atEnd = (system.atEnd ?? []).map((property) => this.checkOf(property))
  }

  /** The assertion that a task breaks before its first step. */
  brokenAtStart(): Violation | undefined {
    for (const { root } of this.learners) {
      const failed = root.ending?.failed
      if (failed !== undefined) return { kind: 'assertion', name: failed, says: failed, instance: -1 }
    }
    return undefined
  }

  learnerOf(instance: number): Learner {
    return this.learners[this.instances[instance].of]
  }

  /** The instance whose cpu this one interrupts; -1: none. */
  hostOf(instance: number): number {
    const host = this.instances[instance].task.interrupts
    return host === undefined ? -1 : this.instances.findIndex(({ task }) => task.name === host)
  }

  /** True if some step may change the cell. */
  isVariable(cell: Cell): boolean {
    const { all } = this.shared.ops
    for (; this.opsSeen < all.length; this.opsSeen++) {
      const op = all[this.opsSeen]
      if (isWrite(op.kind)) this.variable.add(op.cell)
    }
    if (this.variable.has(cell)) return true
    const written = all.some((op) => op.kind === SECTION && op.section?.writes.has(cell) === true)
    if (written) this.variable.add(cell)
    return written
  }

  /** A cell is to be kept as one that changes, because one that it can change places with does. */
  noteVariable(cell: Cell): void {
    this.variable.add(cell)
  }

  /** A cell was seen to have a value. */
  note(cell: Cell, value: number): void {
    this.valuesSet(cell).add(value)
  }

  /** The values that a cell was seen to have, its initial one first. */
  valuesOf(cell: Cell): number[] {
    return [...this.valuesSet(cell)]
  }

  private valuesSet(cell: Cell): Set<number> {
    for (let i = this.values.length; i <= cell; i++) this.values.push(new Set([this.memory.cells[i].initial]))
    return this.values[cell]
  }

  /** What the audit has against the next step of a task that is here, whatever the cells are. */
  findingOf(node: Node): Finding | undefined {
    if (node.verdict.finding !== undefined) return node.verdict.finding
    const { audit } = this.shared
    for (const { cell, writes } of node.direct) {
      if (writes) return audit.direct('writes', cell)
      if (this.valuesOf(cell).length > 1) return audit.direct('reads', cell)
    }
    return undefined
  }

  /** What the audit has against cells that a section wrote. */
  sectionFinding(op: Op, node: Node, writes: Iterable<readonly [Cell, number]>): Finding | undefined {
    return this.system.locks === undefined
      ? undefined
      : this.shared.audit.sectionWrites(op, node.held, writes)
  }

  /** True if a task that holds these locks is not interrupted. */
  turnsInterruptsOff(held: Held): boolean {
    const { locks } = this.system
    return held.locks.some(({ cell, bits }) => {
      const { column, index } = this.memory.cells[cell]
      return locks?.classOf(column, index, bits).irqSafe === true
    })
  }

  /** What a deadlock says, by an instance that waits at `node`. */
  deadlockText(instance: number, node: Node): string {
    const what = node.op === undefined ? '' : ` for ${this.memory.nameOf(node.op.cell)}`
    return `${this.instances[instance].name} waits${what}, and nobody will ever end it`
  }

  /** How much is known: grows with whatever is learnt, also with an answer that leads back to a known node. */
  knowledge(): number {
    const trees = [
      ...this.shared.ops.all.map(({ section }) => section),
      ...this.invariants.map(({ tree }) => tree),
    ]
    return (
      this.learners.reduce((sum, { nodes }) => sum + nodes.length, this.shared.ops.all.length) +
      this.learners.reduce((sum, { nodes }) => nodes.reduce((n, { children }) => n + children.size, sum), 0) +
      this.values.reduce((sum, { size }) => sum + size, this.variable.size) +
      trees.reduce((sum, tree) => sum + (tree === undefined ? 0 : tree.reads.size + tree.writes.size), 0)
    )
  }

  /** The automata as far as they are known. */
  automata(): Automaton[] {
    return this.learners.map((learner) => {
      learner.complete()
      return minimise(learner, (node) => this.findingOf(node))
    })
  }

  private checkOf(property: Property<object>): Check {
    const { memory } = this
    const where = this.where()
    const tree = new SectionTree(memory, property.name, () => (property.holds(memory.view, where) ? 1 : 0))
    return { property, tree }
  }

  private where(): Where {
    const { memory, instances } = this
    const situation = (instance: number) =>
      this.shared.situations.all[memory.access.read(situationCell(instance))]
    return {
      count: (label, a) =>
        instances.filter((_, i) => {
          const at = situation(i)
          return at.result === undefined && at.label === label && (a === undefined || at.a === a)
        }).length,
      results: (task) =>
        instances.flatMap((instance, i) => {
          const result = instance.task.name === task ? situation(i).result : undefined
          return result === undefined ? [] : [result]
        }),
    }
  }
}

/** The checker's own column: an interrupt's first step reads its task's cell there. */
export const ARRIVALS = 'interrupt'

/** Tasks of one system. */
const INSTANCES_MAX = 24

/**
 * An interrupt as a task whose first step is that it comes: from then on its cpu is its own. (The step reads a cell
 * that never changes.)
 */
function arriving(task: Task<object>, arrivals: Int32Array, index: number): Task<object> {
  if (task.interrupts === undefined) return task
  const run = (cpu: Cpu, state: object): unknown => {
    cpu.load(arrivals, index)
    return task.run(cpu, state)
  }
  return { ...task, run }
}

function checkInterrupts({ tasks }: System): void {
  for (const { name, interrupts } of tasks) {
    if (interrupts === undefined) continue
    const host = tasks.find((task) => task.name === interrupts)
    if (host === undefined) throw new TaskError(name, `interrupts "${interrupts}", and there is no such task`)
    if ((host.copies ?? 1) > 1)
      throw new TaskError(name, `interrupts "${interrupts}", which has copies; which of them?`)
  }
}
