/**
 * A system: what the checker explores. Shared cells, tasks that touch them, and what must hold.
 *
 * The cells are the `Int32Array`s found in the fields of `state`, also in the fields of its fields. Tasks are
 * plain functions over `cpu` and `state`; every `cpu` call is one step, and between two steps any other task
 * may run. Nothing here knows what a page is.
 *
 * A typical sequence is:
 *   const system = { name: 'counter', state: { n: new Int32Array(1) }, tasks: [{ name: 'inc', copies: 2, run }] }
 *   const report = check(system)              // check.ts
 *   if (report.violation) print(report)       // lanes.ts
 *
 * Rules:
 *   - what a task does depends only on its arguments and on what `cpu` returned;
 *   - a task touches cells through `cpu`. Outside of sections it may read what never changes, and what
 *     `isPrivate` says is its own;
 *   - a property reads `state` and asks `where`; it changes nothing.
 */

import type { Cpu } from '../base/cpu.ts'

/** One task, or several that are interchangeable. */
export interface Task<S> {
  readonly name: string
  /** How many of it run: any two of them may change places. Default 1. */
  readonly copies?: number
  /** Logical cpu that it runs on. Default 0. */
  readonly on?: number
  /** Name of the task whose cpu it interrupts: that one stands still from its first step to its last. */
  readonly interrupts?: string
  /** What it does. A number that it returns is its result. */
  run(cpu: Cpu, state: S): unknown
}

/** Where the tasks are: what a property may ask besides the cells. */
export interface Where {
  /** Tasks that have said `cpu.at(label, a)` last. Without `a`: with any. Tasks that have ended do not count. */
  count(label: string, a?: number): number
  /** Results of the tasks of that name that have ended; -1 for one that returned none. */
  results(task: string): readonly number[]
}

/** Something that must hold: in every state, or at the end. */
export interface Property<S> {
  /** Short name, the one that a report prints: `one-winner`. */
  readonly name: string
  /** The rule in one sentence. */
  readonly says: string
  /**
   * Of a property that must hold at the end: what does not hold now will not hold at the end either. A counterexample
   * then ends where it ceases to hold.
   */
  readonly lasting?: boolean
  holds(state: S, where: Where): boolean
}

/** Which cells and values change places when two things that are alike (two pages) do. */
export interface Symmetry {
  readonly name: string
  /** The cell that this one becomes. */
  readonly cell: (column: string, index: number) => number
  /** The value that this one becomes in that column. Default: the same. */
  readonly value?: (column: string, index: number, value: number) => number
  /** Names of the tasks that change places with each other: `{ freeA: 'freeB', freeB: 'freeA' }`. */
  readonly tasks: Readonly<Record<string, string>>
}

/** A kind of lock. */
export interface LockClass {
  readonly name: string
  /** Its holder may sleep, and who waits for it sleeps. */
  readonly sleeps: boolean
  /** Interrupts of the cpu are off while it is held. */
  readonly irqSafe?: boolean
}

/** What must be held to write a cell. */
export interface Guard {
  /** Any of these locks: column, index and bits of each. */
  readonly anyOf: readonly (readonly [column: string, index: number, bits: number])[]
  /** Nobody else can reach the cell while this one is 0. */
  readonly unlessZero?: readonly [column: string, index: number]
}

/** What the lock audit holds tasks to. */
export interface LockRules {
  readonly classOf: (column: string, index: number, bits: number) => LockClass
  /** True if `inner` may be waited for while `outer` is held. */
  readonly mayNest: (outer: LockClass, inner: LockClass) => boolean
  /** What guards the cell against being written; undefined: nothing, single steps are enough. */
  readonly guardOf: (column: string, index: number) => Guard | undefined
}

export interface System<S extends object = object> {
  readonly name: string
  /** The cells, in their initial values. The checker does not change them. */
  readonly state: S
  readonly tasks: readonly Task<S>[]
  /** Must hold in every state. */
  readonly invariants?: readonly Property<S>[]
  /** Must hold when every task has ended. */
  readonly atEnd?: readonly Property<S>[]
  readonly symmetries?: readonly Symmetry[]
  readonly locks?: LockRules
  /** A value of a column for people: `locked|lru` instead of 33. '': not worth telling. */
  valueText?(column: string, value: number): string
  /** Cells that a task may touch without `cpu` outside of sections, because they are its own. */
  readonly isPrivate?: (column: string, index: number) => boolean
}

/** The tasks of a system, copies apart. */
export interface Instance<S> {
  readonly task: Task<S>
  /** Index of `task` in the system. */
  readonly of: number
  /** `mover` or, of several copies, `mover 2`. */
  readonly name: string
}

/** Every running task of the system, copies in a row. */
export function instancesOf<S extends object>(system: System<S>): Instance<S>[] {
  return system.tasks.flatMap((task, of) => {
    const copies = task.copies ?? 1
    return Array.from({ length: copies }, (_, i) => ({
      task,
      of,
      name: copies === 1 ? task.name : `${task.name} ${i + 1}`,
    }))
  })
}

/** Something about a task that keeps it from being checked: it is the task that is wrong, not the system. */
export class TaskError extends Error {
  override readonly name = 'TaskError'
  readonly task: string

  constructor(task: string, what: string) {
    super(`${task}: ${what}`)
    this.task = task
  }
}
