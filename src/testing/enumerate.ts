/**
 * The naive enumerator: all schedules of a small system, one state after the other, on plain values.
 *
 * What the checker says is compared with what this says (src/check/random_systems.test.ts), so it shares no code
 * with it: no automata, no packing, no reduction. A state is the contents of the columns and, for each task, the
 * answers that it has got so far; a step runs the task's function from its beginning on these answers, and lets
 * one more call through to a FastCpu. Breadth first, so the first violation is a shortest one.
 *
 * Two states are the same if their cells are, and every task has said the same with `cpu.at` last and has got the
 * same answers since. With `trustsPlaces: false` all answers of a task count: more states, and no end if a task
 * can go round for ever, but nothing is taken for granted.
 *
 * Not here: interrupts, liveness, symmetry; of the audit only what needs no `locks`.
 */

import { AssertionError } from '../base/assert.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { type Cells, type CpuId, cellsOf, cpuIdOf } from '../base/units.ts'
import { instancesOf, type Property, type System, type Where } from '../check/system.ts'

export interface Enumerated {
  readonly states: number
  /** States in which every task has ended and nothing is wrong, in the words of `Report.ends`. */
  readonly ends: ReadonlySet<string>
  /** Names of the violations that the shortest schedules lead to; none: nothing is wrong. */
  readonly violations: ReadonlySet<string>
  /** Steps of these schedules. */
  readonly shortest: number
}

interface TaskState {
  readonly log: readonly number[]
  /** What it has said with `cpu.at` last. */
  readonly label: string
  readonly a: number
  /** Equal for states of the task that are the same. */
  readonly key: string
  /** What it has returned, -1 if no number; undefined while it runs. */
  readonly result: number | undefined
}

interface State {
  readonly cells: readonly Int32Array[]
  readonly tasks: readonly TaskState[]
  readonly depth: number
}

/** Explores all schedules. The columns of the system are used meanwhile, and restored. */
export function enumerate(system: System, { trustsPlaces = true } = {}): Enumerated {
  return new Enumerator(system, trustsPlaces).run()
}

/** Thrown to leave a task's code: where its next step would be, or where it would have to wait. */
const STOP = new Error('the next step')
const WAIT = new Error('somebody holds it')

/** Gives the answers of a log, takes one more step for real, and stops before the next one. */
class ReplayCpu implements Cpu {
  readonly id: CpuId
  readonly log: number[]
  label = ''
  a = 0
  b = 0
  said = 0
  readonly held: { readonly cells: Int32Array; readonly i: number; readonly bits: number }[] = []
  private readonly real: FastCpu
  private pos = 0
  /** Steps that may still be taken for real. */
  private left: number

  constructor(on: number, log: readonly number[], steps: number) {
    this.id = cpuIdOf(on)
    this.log = [...log]
    this.left = steps
    this.real = new FastCpu(() => {
      throw WAIT
    }, this.id)
  }

  load<I extends number>(cells: Cells<I>, i: NoInfer<I>): number {
    return this.step(() => this.real.load(cells, i))
  }
  store<I extends number>(cells: Cells<I>, i: NoInfer<I>, value: number): void {
    this.does(() => this.real.store(cells, i, value))
  }
  add<I extends number>(cells: Cells<I>, i: NoInfer<I>, delta: number): void {
    this.does(() => this.real.add(cells, i, delta))
  }
  decAndTest<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    return this.asks(() => this.real.decAndTest(cells, i))
  }
  addUnlessZero<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    return this.asks(() => this.real.addUnlessZero(cells, i))
  }
  cas<I extends number>(cells: Cells<I>, i: NoInfer<I>, expected: number, value: number): boolean {
    return this.asks(() => this.real.cas(cells, i, expected, value))
  }
  testSet<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    return this.asks(() => this.real.testSet(cells, i, bits))
  }
  testClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    return this.asks(() => this.real.testClear(cells, i, bits))
  }
  tryLock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    const taken = this.asks(() => this.real.tryLock(cells, i, bits))
    if (taken) this.held.push({ cells: cellsOf(cells), i, bits })
    return taken
  }
  lock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.does(() => {
      this.mustNotHold(cellsOf(cells), i, bits)
      this.real.lock(cells, i, bits)
    })
    this.held.push({ cells: cellsOf(cells), i, bits })
  }
  unlock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    const at = this.held.findIndex((lock) => lock.cells === cells && lock.i === i && lock.bits === bits)
    this.does(() => {
      if (at < 0) throw new AssertionError('unlock-by-non-holder')
      this.real.unlock(cells, i, bits)
    })
    this.held.splice(at, 1)
  }
  waitClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.does(() => {
      this.mustNotHold(cellsOf(cells), i, bits)
      this.real.waitClear(cells, i, bits)
    })
  }
  atomically<I extends number, S>(
    cells: Cells<I>,
    i: NoInfer<I>,
    bits: number,
    section: (state: S, a: number, b: number, c: number) => number,
    state: S,
    a: number,
    b: number,
    c: number,
  ): number {
    return this.step(() => {
      this.mustNotHold(cellsOf(cells), i, bits)
      return this.real.atomically(cells, i, bits, section, state, a, b, c)
    })
  }
  at(label: string, a = 0, b = 0): void {
    this.label = label
    this.a = a
    this.b = b
    this.said = this.pos
  }

  private mustNotHold(cells: Int32Array, i: number, bits: number): void {
    const holds = this.held.some((lock) => lock.cells === cells && lock.i === i && (lock.bits & bits) !== 0)
    if (holds) throw new AssertionError('recursive-lock')
  }
  private does(take: () => void): void {
    this.step(() => {
      take()
      return 0
    })
  }
  private asks(take: () => boolean): boolean {
    return this.step(() => (take() ? 1 : 0)) !== 0
  }
  private step(take: () => number): number {
    if (this.pos === this.log.length) {
      if (this.left-- === 0) throw STOP
      this.log.push(take())
    }
    return this.log[this.pos++]
  }
}

class Enumerator {
  private readonly system: System
  private readonly trustsPlaces: boolean
  private readonly instances
  private readonly columns: {
    readonly name: string
    readonly array: Int32Array
    readonly first: Int32Array
  }[] = []
  private readonly ends = new Set<string>()
  private readonly violations = new Set<string>()
  private shortest = Number.POSITIVE_INFINITY

  constructor(system: System, trustsPlaces: boolean) {
    this.system = system
    this.trustsPlaces = trustsPlaces
    this.instances = instancesOf(system)
    this.findColumns(system.state)
  }

  run(): Enumerated {
    const tasks = this.instances.flatMap((_, i) => this.beginningOf(i) ?? [])
    const queue: State[] = this.shortest === 0 ? [] : [{ cells: this.save(), tasks, depth: 0 }]
    const seen = new Set(queue.map((state) => this.keyOf(state)))
    // Grows while it runs: every state is queued once.
    for (const state of queue) {
      if (this.broken(this.system.invariants ?? [], state)) continue
      for (const next of this.successors(state)) {
        const key = this.keyOf(next)
        if (!seen.has(key)) queue.push(next)
        seen.add(key)
      }
    }
    for (const { array, first } of this.columns) array.set(first)
    const { ends, violations, shortest } = this
    return { states: queue.length, ends, violations, shortest }
  }

  private beginningOf(instance: number): TaskState | undefined {
    const begun = this.takeStep(instance, [], 0, 0)
    return begun === 'waits' ? undefined : begun
  }

  private successors({ cells, tasks, depth }: State): State[] {
    let goes = false
    const found = tasks.flatMap(({ log, result }, i) => {
      if (result !== undefined) return []
      this.restore(cells)
      const task = this.takeStep(i, log, 1, depth + 1)
      if (task !== 'waits') goes = true
      if (task === 'waits' || task === undefined) return []
      return [{ cells: this.save(), tasks: tasks.with(i, task), depth: depth + 1 }]
    })
    if (!goes) this.atEnd({ cells, tasks, depth })
    return found
  }

  /** Runs a task for so many steps more than its log has. Undefined: it broke something. */
  private takeStep(
    instance: number,
    log: readonly number[],
    steps: number,
    depth: number,
  ): TaskState | 'waits' | undefined {
    const { task } = this.instances[instance]
    const cpu = new ReplayCpu(task.on ?? 0, log, steps)
    let result: number | undefined
    try {
      const returned = task.run(cpu, this.system.state)
      result = typeof returned === 'number' ? returned : -1
      if (cpu.held.length > 0) throw new AssertionError('lock-left-held')
    } catch (error) {
      if (error === WAIT) return 'waits'
      if (error !== STOP) {
        this.report(error instanceof Error ? error.message : '', depth)
        return undefined
      }
    }
    const { label, a, b, said } = cpu
    const place = this.trustsPlaces
      ? `${label} ${a} ${b}: ${cpu.log.slice(said).join(' ')}`
      : cpu.log.join(' ')
    const held = cpu.held.map(
      (lock) => `${this.columns.findIndex(({ array }) => array === lock.cells)} ${lock.i} ${lock.bits}`,
    )
    return {
      log: cpu.log,
      label,
      a,
      result,
      key: result === undefined ? `${place} ${held.join()}` : `ended ${result} ${label} ${a} ${b}`,
    }
  }

  private atEnd(state: State): void {
    if (state.tasks.some(({ result }) => result === undefined)) this.report('deadlock', state.depth)
    else if (!this.broken(this.system.atEnd ?? [], state)) {
      const cells = this.columns.flatMap(({ name, first }, column) =>
        [...first].flatMap((value, i) => {
          const now = state.cells[column][i]
          return now === value ? [] : [`${name}[${i}]=${now}`]
        }),
      )
      const results = state.tasks.map(({ result }) => result ?? -1)
      const sorted = this.system.tasks.flatMap(({ copies = 1 }) =>
        results.splice(0, copies).toSorted((a, b) => a - b),
      )
      this.ends.add(`${cells.toSorted().join(' ')} | ${sorted.join(' ')}`)
    }
  }

  private broken(properties: readonly Property<object>[], { cells, tasks, depth }: State): boolean {
    this.restore(cells)
    const where: Where = {
      count: (label, a) =>
        tasks.filter(
          (task) => task.result === undefined && task.label === label && (a === undefined || task.a === a),
        ).length,
      results: (name) =>
        tasks.flatMap(({ result }, i) =>
          this.instances[i].task.name === name && result !== undefined ? [result] : [],
        ),
    }
    const wrong = properties.filter((property) => !property.holds(this.system.state, where))
    for (const { name } of wrong.slice(0, 1)) this.report(name, depth)
    return wrong.length > 0
  }

  private report(name: string, depth: number): void {
    if (depth > this.shortest) return
    if (depth < this.shortest) this.violations.clear()
    this.shortest = depth
    this.violations.add(name)
  }

  private keyOf({ cells, tasks }: State): string {
    return `${cells.join(';')}|${tasks.map(({ key }) => key).join('|')}`
  }

  private save(): Int32Array[] {
    return this.columns.map(({ array }) => array.slice())
  }

  private restore(cells: readonly Int32Array[]): void {
    this.columns.forEach(({ array }, i) => array.set(cells[i]))
  }

  private findColumns(state: object): void {
    const fields: [string, unknown][] = Object.entries(state)
    for (const [name, value] of fields) {
      if (value instanceof Int32Array) this.columns.push({ name, array: value, first: value.slice() })
      else if (typeof value === 'object' && value !== null) this.findColumns(value)
    }
  }
}
