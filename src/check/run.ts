/**
 * One execution of a system, step by step, on what has been learnt; what is not known yet is learnt on the way.
 *
 * Cells hold their plain values and tasks are where they are in their trees. This is what the strategies that
 * follow one schedule at a time run on (random, PCT, context bounding, DPOR, replay), and what the exhaustive
 * search asks when it meets something new.
 */

import type { Node } from './learn.ts'
import { instanceOfCell, type Learned, type Violation } from './learned.ts'
import { CELLS_MAX, type Cell } from './memory.ts'
import { isBlocked } from './op.ts'
import { endViolation, newOutcome, type Outcome, propertyViolation, takeStep } from './outcome.ts'

/** A state to come back to. */
export interface Saved {
  readonly values: Int32Array
  readonly nodes: readonly Node[]
}

export class Run {
  readonly learned: Learned
  readonly nodes: Node[] = []
  /** What the last step answered. */
  answer = 0
  private readonly values = new Int32Array(CELLS_MAX)
  private known = 0
  private readonly outcome: Outcome = newOutcome()
  private readonly hosts: readonly number[]
  private readonly read = (cell: Cell): number =>
    cell < 0 ? this.nodes[instanceOfCell(cell)].situation.id : this.value(cell)

  /** In the initial state. */
  constructor(learned: Learned) {
    this.learned = learned
    this.hosts = learned.instances.map((_, i) => learned.hostOf(i))
    this.reset()
  }

  reset(): void {
    this.known = 0
    this.nodes.length = 0
    for (let i = 0; i < this.learned.instances.length; i++) this.nodes.push(this.learned.learnerOf(i).root)
  }

  save(): Saved {
    this.value(this.learned.memory.cells.length - 1)
    return { values: this.values.slice(0, this.known), nodes: [...this.nodes] }
  }

  restore(saved: Saved): void {
    this.values.set(saved.values)
    this.known = saved.values.length // a cell met later has not been written before
    for (let i = 0; i < saved.nodes.length; i++) this.nodes[i] = saved.nodes[i]
  }

  /** Equal for equal states, different for different ones. */
  key(): string {
    this.value(this.learned.memory.cells.length - 1)
    let key = ''
    for (let cell = 0; cell < this.known; cell++) {
      const value = this.values[cell]
      if (value !== this.learned.memory.cells[cell].initial) key += `${cell}=${value},`
    }
    return `${key}|${this.nodes.map((node) => node.id).join(' ')}`
  }

  /** The cells that differ from the initial state, and their values. */
  changed(): Map<Cell, number> {
    this.value(this.learned.memory.cells.length - 1)
    const found = new Map<Cell, number>()
    for (let cell = 0; cell < this.known; cell++) {
      if (this.values[cell] !== this.learned.memory.cells[cell].initial) found.set(cell, this.values[cell])
    }
    return found
  }

  value(cell: Cell): number {
    const { cells } = this.learned.memory
    for (; this.known <= cell; this.known++) this.values[this.known] = cells[this.known].initial
    return this.values[cell]
  }

  hasEnded(instance: number): boolean {
    return this.nodes[instance].op === undefined
  }

  get allEnded(): boolean {
    return this.nodes.every((node) => node.op === undefined)
  }

  /** True if the instance can take its next step now. */
  isEnabled(instance: number): boolean {
    const { op } = this.nodes[instance]
    if (op === undefined || this.isStoppedByInterrupt(instance)) return false
    // A step that is wrong in itself is taken to be found wrong, also where it would wait: for a lock that it holds, say.
    return !isBlocked(op, this.value(op.cell)) || this.learned.findingOf(this.nodes[instance]) !== undefined
  }

  /** Learns what the next step of an instance would read and write here, if it is a section. */
  peek(instance: number): void {
    this.nodes[instance].op?.section?.evaluate(this.read)
  }

  /** Instances that can take a step now. */
  enabled(): number[] {
    return this.nodes.flatMap((_, i) => (this.isEnabled(i) ? [i] : []))
  }

  /** An interrupt runs on its cpu, or it is an interrupt that cannot come yet. */
  private isStoppedByInterrupt(instance: number): boolean {
    const host = this.hosts[instance]
    if (host >= 0)
      return (
        this.nodes[instance].parent === undefined && this.learned.turnsInterruptsOff(this.nodes[host].held)
      )
    return this.hosts.some(
      (of, i) => of === instance && this.nodes[i].parent !== undefined && !this.hasEnded(i),
    )
  }

  /**
   * Takes the next step of an instance that is enabled. Gives what it broke; after that the run is over.
   * Invariants are asked too.
   */
  step(instance: number): Violation | undefined {
    const node = this.nodes[instance]
    const { outcome } = this
    takeStep(this.learned, node, instance, this.read, outcome)
    if (outcome.violation !== undefined) return outcome.violation
    for (const [cell, value] of outcome.writes) {
      this.value(cell)
      this.values[cell] = value
      this.learned.note(cell, value)
    }
    this.answer = outcome.result
    const next = this.learned.learnerOf(instance).next(node, outcome.result)
    this.nodes[instance] = next
    return endViolation(this.learned, next, instance) ?? this.brokenInvariant(instance)
  }

  /** What is wrong before anything has happened. */
  brokenAtStart(): Violation | undefined {
    return this.learned.brokenAtStart() ?? this.brokenInvariant(-1)
  }

  /** The first invariant that does not hold here. */
  brokenInvariant(instance: number): Violation | undefined {
    return this.firstBroken(this.learned.invariants, instance)
  }

  /** The first condition of the end that does not hold, and never will again. */
  brokenForGood(instance: number): Violation | undefined {
    const lasting = this.learned.atEnd.filter(({ property }) => property.lasting === true)
    return this.firstBroken(lasting, instance)
  }

  /** What is wrong with the end: somebody waits for ever, or a condition of the end does not hold. */
  brokenAtEnd(): Violation | undefined {
    const waiting = this.nodes.findIndex((node) => node.op !== undefined)
    return waiting < 0 ? this.firstBroken(this.learned.atEnd, -1) : this.deadlock(waiting)
  }

  private deadlock(instance: number): Violation {
    const says = this.learned.deadlockText(instance, this.nodes[instance])
    return { kind: 'deadlock', name: 'deadlock', says, instance }
  }

  private firstBroken(checks: Learned['invariants'], instance: number): Violation | undefined {
    for (const { property, tree } of checks) {
      const leaf = tree.evaluate(this.read)
      if (leaf.result === 1) continue
      return propertyViolation(property, leaf, instance)
    }
    return undefined
  }
}
