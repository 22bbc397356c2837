/**
 * Learning a task: its automaton, from running its plain code.
 *
 * The code runs on `LearnCpu`, which answers the first steps from a log and stops the code, by throwing, at the
 * first step that is not in the log. So one run tells what the task does next after a given history: a *node*.
 * The nodes form a tree, in which the value that a step answers with leads on. `cpu.at` cuts it: histories that
 * say the same, and hold the same locks, are one node from there on, which is what makes a loop finite.
 *
 * Which values are tried: those that were seen. A *context* is a step, the locks held at it, and how often the
 * task took that step before; a value seen in a context is tried wherever the context occurs (`complete`). The
 * tree is exact for the values that it has, and a search that meets another one has it learnt.
 *
 * Nodes with the same future are merged afterwards (automaton.ts).
 *
 * Rules (of the task; each broken one is a TaskError that shows the histories):
 *   - the same history leads to the same step;
 *   - it takes at most STEPS_MAX steps between two `cpu.at`;
 *   - what `cpu.at` declares is all that it remembers.
 *
 * @ours
 */

import type { Audit, Held, Verdict } from './audit.ts'
import { type DirectAccess, LearnCpu, OwnAccess, STOP } from './learn_cpu.ts'
import type { Cell, Memory } from './memory.ts'
import { type Op, opText, SECTION } from './op.ts'
import type { OpTable } from './op_table.ts'
import { failureOf } from './section.ts'
import type { Situation, Situations } from './situation.ts'
import { type Task, TaskError } from './system.ts'

/** Steps that a task may take before it ends or says where it is. */
export const STEPS_MAX = 500
/** Nodes of one task before merging. */
const NODES_MAX = 200_000
/** Walks of the automaton that are compared with the plain code, and steps of each. */
const COMPARED_WALKS = 60
const COMPARED_STEPS = 300

/** How a task ended. */
export interface Ending {
  readonly result: number
  /** The assertion that it broke; undefined if it returned. */
  readonly failed: string | undefined
}

interface Context {
  readonly values: Set<number>
}

/** What the task does after one history. */
export interface Node {
  readonly id: number
  readonly parent: Node | undefined
  /** What the parent's step answered. */
  readonly value: number
  readonly depth: number
  /** Its next step; undefined if it has ended. */
  readonly op: Op | undefined
  readonly ending: Ending | undefined
  /** What it has said last with `cpu.at`. */
  readonly place: Situation
  /** `place`, or that it has ended. */
  readonly situation: Situation
  /** Steps since it said so. */
  readonly since: number
  readonly held: Held
  readonly verdict: Verdict
  /** Cells that it read or wrote without `cpu` since the step before. */
  readonly direct: readonly DirectAccess[]
  readonly context: Context
  readonly children: Map<number, Node>
}

/** What all learners of a system share. */
export interface LearnContext {
  readonly memory: Memory<object>
  readonly audit: Audit
  readonly ops: OpTable
  readonly situations: Situations
  readonly isPrivate: (cell: Cell) => boolean
  /** Called before each run of a task's code. */
  readonly onRun: () => void
}

/** The tree of one task. */
export class Learner {
  readonly task: Task<object>
  readonly nodes: Node[] = []
  readonly root: Node
  /** Bumped when a context gets a value: what was merged before is out of date. */
  version = 0
  private readonly shared: LearnContext
  private readonly cpu: LearnCpu
  private readonly access: OwnAccess
  private readonly contexts = new Map<string, Context>()
  /** The first node of each place, apart by the locks that are held there. */
  private readonly starts = new Map<string, Node>()
  /** Histories have come together at some `cpu.at`. */
  private joins = false

  constructor(task: Task<object>, shared: LearnContext) {
    this.task = task
    this.shared = shared
    this.cpu = new LearnCpu(task.on ?? 0, shared.memory)
    this.access = new OwnAccess(shared.memory, shared.isPrivate, this.cpu)
    this.root = this.learn(undefined, 0)
  }

  /** What the task does after `node`'s step has answered `value`. */
  next(node: Node, value: number): Node {
    const known = node.children.get(value)
    if (known !== undefined) return known
    if (!node.context.values.has(value)) {
      node.context.values.add(value)
      this.version++
    }
    return this.learn(node, value)
  }

  /** Tries every value that was seen in a context wherever that context occurs. */
  complete(): void {
    // Grows while it runs; ends because places cut loops, or at NODES_MAX.
    for (let i = 0; i < this.nodes.length; i++) {
      const node = this.nodes[i]
      if (node.op === undefined) continue
      for (const value of node.context.values) if (!node.children.has(value)) this.learn(node, value)
    }
  }

  /** Values in the order in which the task saw them, from its start to `node`. */
  history(node: Node): number[] {
    const values: number[] = []
    for (let at = node; at.parent !== undefined; at = at.parent) values.push(at.value)
    return values.toReversed()
  }

  /** The history in words. */
  historyText(values: readonly number[], ops: readonly Op[]): string {
    return ops.map((op, i) => opText(op, this.shared.memory.nameOf(op.cell), values[i])).join('; ')
  }

  /** The call stack of the code at the step of `node`, innermost first: lines of an Error's stack. */
  stackAt(node: Node): string[] {
    const { cpu } = this
    this.setLog(this.history(node), this.opsOf(node))
    cpu.keepsStack = true
    cpu.stack = ''
    this.run()
    cpu.keepsStack = false
    return cpu.stack.split('\n').slice(1)
  }

  /**
   * Throws TaskError if the task remembers more at a `cpu.at` than it says there: walks of the automaton, over every
   * edge and round every loop, are taken on the plain code, which must do the same.
   */
  verifyPlaces(): void {
    if (!this.joins) return
    const taken = new Map<Node, Map<number, number>>()
    for (let walk = 0; walk < COMPARED_WALKS; walk++) this.compareWalk(taken)
  }

  /** One walk from the root, always by the answer that was taken least. */
  private compareWalk(taken: Map<Node, Map<number, number>>): void {
    const values: number[] = []
    const ops: Op[] = []
    const places: Situation[] = []
    let node = this.root
    while (node.op !== undefined && values.length < COMPARED_STEPS && node.children.size > 0) {
      const counts = taken.get(node) ?? new Map<number, number>()
      taken.set(node, counts)
      const [value] = [...node.children.keys()].toSorted(
        (x, y) => (counts.get(x) ?? 0) - (counts.get(y) ?? 0),
      )
      counts.set(value, (counts.get(value) ?? 0) + 1)
      values.push(value)
      ops.push(node.op)
      node = node.children.get(value) ?? node
      places.push(node.place)
    }
    const same = this.does(values, ops, node)
    if (same === undefined) return
    const place = places[same.at] ?? places.findLast(({ label }) => label !== '') ?? this.root.place
    throw new TaskError(
      this.task.name,
      `remembers more at cpu.at('${place.label}', ${place.a}, ${place.b}) than it declares there: after\n` +
        `  ${this.historyText(values.slice(0, same.at), ops.slice(0, same.at))}\nit goes on in another way than after\n` +
        `  ${this.historyText(this.history(same.like), this.opsOf(same.like))}\n` +
        '(each answer was seen there, though maybe not together with the others)',
    )
  }

  /** Undefined if the plain code does this and comes to `end`; else from which step on it does not. */
  private does(
    values: readonly number[],
    ops: readonly Op[],
    end: Node,
  ): { at: number; like: Node } | undefined {
    const { cpu } = this
    this.setLog(values, ops)
    const { stopped, ending } = this.run()
    if (cpu.diverged >= 0) return { at: cpu.diverged, like: this.nodeAfter(values.slice(0, cpu.diverged)) }
    const same = stopped
      ? end.op !== undefined && this.shared.ops.of(cpu, this.cellsAtStop()) === end.op
      : end.ending !== undefined && end.ending.failed === ending.failed && end.ending.result === ending.result
    const { label, a, b } = cpu
    const saysSame = label === undefined || this.shared.situations.at(label, a, b) === end.place
    return same && saysSame ? undefined : { at: values.length, like: end }
  }

  private nodeAfter(values: readonly number[]): Node {
    return values.reduce((node, value) => node.children.get(value) ?? node, this.root)
  }

  private isStart(node: Node): boolean {
    return this.starts.get(startKey(node.place, node.held)) === node
  }

  private opsOf(node: Node): Op[] {
    const ops: Op[] = []
    for (let at = node.parent; at !== undefined; at = at.parent) if (at.op !== undefined) ops.push(at.op)
    return ops.toReversed()
  }

  private setLog(values: readonly number[], ops: readonly Op[]): void {
    const { cpu } = this
    cpu.log.length = 0
    cpu.ops.length = 0
    cpu.log.push(...values)
    cpu.ops.push(...ops)
  }

  private learn(parent: Node | undefined, value: number): Node {
    const { cpu } = this
    const history = parent === undefined ? [] : [...this.history(parent), value]
    const steps =
      parent === undefined ? [] : [...this.opsOf(parent), ...(parent.op === undefined ? [] : [parent.op])]
    if (this.nodes.length >= NODES_MAX) this.tooManyNodes()
    this.setLog(history, steps)
    const first = this.run()
    if (cpu.diverged >= 0) this.nondeterministic(history, steps)
    const op = first.stopped ? this.shared.ops.of(cpu, this.cellsAtStop()) : undefined
    const { label, a, b } = cpu
    const direct = [...this.access.seen]
    const again = this.run()
    const opAgain =
      again.stopped && cpu.diverged < 0 ? this.shared.ops.of(cpu, this.cellsAtStop()) : undefined
    const sameEnd = first.ending.result === again.ending.result && first.ending.failed === again.ending.failed
    if (cpu.diverged >= 0 || op !== opAgain || !sameEnd) {
      this.nondeterministic(history, op === undefined ? steps : [...steps, op], first.ending, again.ending)
    }
    const place = label === undefined ? undefined : this.shared.situations.at(label, a, b)
    const key = place && startKey(place, this.heldAfter(parent, value))
    const start = key === undefined ? undefined : this.starts.get(key)
    if (start !== undefined && parent !== undefined) {
      // The task says that it is where it has been before: from here on it is the same (verifyPlaces).
      this.joins = true
      parent.children.set(value, start)
      return start
    }
    const node = this.newNode(parent, value, op, first.ending, place, direct)
    if (node.since > STEPS_MAX) this.endless()
    if (key !== undefined) this.starts.set(key, node)
    parent?.children.set(value, node)
    return node
  }

  private newNode(
    parent: Node | undefined,
    value: number,
    op: Op | undefined,
    ending: Ending,
    said: Situation | undefined,
    direct: readonly DirectAccess[],
  ): Node {
    const { audit, situations } = this.shared
    const place = said ?? parent?.place ?? situations.begin
    const held = this.heldAfter(parent, value)
    const node: Node = {
      id: this.nodes.length,
      parent,
      value,
      depth: parent === undefined ? 0 : parent.depth + 1,
      op,
      ending: op === undefined ? ending : undefined,
      place,
      situation: op === undefined ? situations.ended(ending.result) : place,
      since: said === undefined && parent !== undefined ? parent.since + 1 : 0,
      held,
      verdict:
        op === undefined
          ? {
              finding: ending.failed === undefined ? audit.end(held) : undefined,
              unlessZero: -1,
              otherwise: undefined,
            }
          : audit.step(op, held),
      direct,
      context: op === undefined ? { values: new Set() } : this.contextOf(parent, op, held),
      children: new Map(),
    }
    this.nodes.push(node)
    return node
  }

  private heldAfter(parent: Node | undefined, value: number): Held {
    const { audit } = this.shared
    return parent?.op === undefined ? audit.none : audit.after(parent.held, parent.op, value)
  }

  /** The context of a step: which one it is, under which locks, and how often it was taken since `cpu.at`. */
  private contextOf(parent: Node | undefined, op: Op, held: Held): Context {
    let times = 0
    for (let at = parent; at !== undefined; at = this.isStart(at) ? undefined : at.parent)
      if (at.op === op) times++
    const key = `${op.id}:${held.id}:${times}`
    let context = this.contexts.get(key)
    if (context === undefined) {
      context = { values: new Set() }
      this.contexts.set(key, context)
    }
    return context
  }

  /** Runs the code on the log. */
  private run(): { stopped: boolean; ending: Ending } {
    const { cpu, access } = this
    const { memory, onRun } = this.shared
    onRun()
    cpu.start()
    access.start()
    memory.access = access
    try {
      const result = this.task.run(cpu, memory.view)
      if (cpu.stopped) this.catches()
      if (cpu.pos < cpu.log.length) cpu.diverged = cpu.pos
      return {
        stopped: false,
        ending: { result: typeof result === 'number' ? result : -1, failed: undefined },
      }
    } catch (error) {
      if (error instanceof TaskError) throw error
      if (error === STOP) return { stopped: true, ending: { result: -1, failed: undefined } }
      if (cpu.stopped) this.catches()
      return { stopped: false, ending: { result: -1, failed: failureOf(error) } }
    }
  }

  private cellsAtStop(): Int32Array {
    const { cells } = this.cpu
    if (cells === undefined) throw new TaskError(this.task.name, 'stopped without a step')
    return cells
  }

  /** After a history the task did `steps[history.length]` or ended once, and something else now. */
  private nondeterministic(
    history: readonly number[],
    steps: readonly Op[],
    before?: Ending,
    after?: Ending,
  ): never {
    const { cpu } = this
    const at = cpu.diverged < 0 ? history.length : cpu.diverged
    const now = cpu.cells === undefined ? undefined : this.shared.ops.of(cpu, cpu.cells)
    const then = steps[at]
    const isSection =
      now?.kind === SECTION && then?.kind === SECTION && now.section?.text === then.section?.text
    throw new TaskError(
      this.task.name,
      isSection
        ? `gives cpu.atomically another function each time (${now.section?.text}); a section is a function of its module`
        : 'depends on something else than its arguments and what cpu returned: after the same steps\n' +
            `  ${this.historyText(history.slice(0, at), steps.slice(0, at)) || '(none)'}\n` +
            `it once ${this.doingText(then, before)} and once ${this.doingText(now, after)}`,
    )
  }

  private doingText(op: Op | undefined, ending: Ending | undefined): string {
    if (op !== undefined) return `takes the step \`${opText(op, this.shared.memory.nameOf(op.cell))}\``
    return ending === undefined ? 'ends' : `ends with ${ending.failed ?? ending.result}`
  }

  private catches(): never {
    throw new TaskError(this.task.name, 'catches what cpu throws; there is no try and catch around cpu calls')
  }

  private endless(): never {
    throw new TaskError(
      this.task.name,
      `takes more than ${STEPS_MAX} steps; the head of a loop says cpu.at('label', live values)`,
    )
  }

  private tooManyNodes(): never {
    const widest = [...this.contexts.entries()]
      .toSorted(([, x], [, y]) => y.values.size - x.values.size)
      .slice(0, 3)
      .map(([key, { values }]) => {
        const op = this.shared.ops.all[Number.parseInt(key, 10)]
        return `${opText(op, this.shared.memory.nameOf(op.cell))} (${values.size} values)`
      })
    throw new TaskError(
      this.task.name,
      `has more than ${NODES_MAX} histories; cpu.at('label', live values) where it has learnt enough, or fewer values in ${widest.join(', ')}`,
    )
  }
}

const startKey = (place: Situation, held: Held): string => `${place.id}:${held.id}`
