/**
 * The lock audit: what each step of a task is checked against, given the locks that the task holds.
 *
 * Which locks a task holds follows from what it did, so a finding belongs to a place in its automaton and costs
 * nothing while exploring: a state in which a task takes a step with a finding is a violation. Findings in
 * places that no schedule reaches are not reported.
 *
 * Not here: which locks there are. That is the system's `locks` (system.ts).
 */

import type { Cell, Memory } from './memory.ts'
import { ADD, LOCK, type Op, SECTION, STORE, TRY_LOCK, UNLOCK, WAIT_CLEAR } from './op.ts'
import { type Guard, type LockClass, type LockRules, TaskError } from './system.ts'

/** A named rule that a step breaks. */
export interface Finding {
  readonly name: FindingName
  readonly says: string
}

/** Every kind of finding, and its rule. */
export const FINDINGS = {
  'unlocked-access': 'what a lock guards is written by its holder only',
  'lock-order': 'locks are taken in one order',
  'sleep-in-atomic': 'nobody sleeps while holding a spinlock',
  'recursive-lock': 'nobody waits for a lock that he holds',
  'unlock-by-non-holder': 'a lock is released by its holder',
  'lock-left-held': 'a task that ends holds no lock',
} as const
export type FindingName = keyof typeof FINDINGS

/** A lock that a task holds. */
export interface HeldLock {
  readonly cell: Cell
  readonly bits: number
}

/** The locks that a task holds, oldest first; interned, so equal sets in the same order are the same object. */
export interface Held {
  readonly id: number
  readonly locks: readonly HeldLock[]
}

/** What the audit says about one step. */
export interface Verdict {
  readonly finding: Finding | undefined
  /** The step is a violation unless this cell is 0 when it is taken; -1: it is none. */
  readonly unlessZero: Cell
  /** What that violation is. */
  readonly otherwise: Finding | undefined
}

const NOTHING: Verdict = { finding: undefined, unlessZero: -1, otherwise: undefined }
const PLAIN: LockClass = { name: 'lock', sleeps: false }

export class Audit {
  readonly none: Held
  private readonly sets = new Map<string, Held>()
  private readonly memory: Memory<object>
  private readonly rules: LockRules | undefined

  constructor(memory: Memory<object>, rules: LockRules | undefined) {
    this.memory = memory
    this.rules = rules
    this.none = this.intern([])
  }

  /** The locks that are held after a step that answered `result`. */
  after(held: Held, op: Op, result: number): Held {
    if (op.kind === LOCK || (op.kind === TRY_LOCK && result === 1)) {
      return this.intern([...held.locks, { cell: op.cell, bits: op.x }])
    }
    if (op.kind !== UNLOCK) return held
    const left = held.locks.map(({ cell, bits }) => ({ cell, bits: cell === op.cell ? bits & ~op.x : bits }))
    return this.intern(left.filter(({ bits }) => bits !== 0))
  }

  /** What is wrong with taking this step while holding these locks. */
  step(op: Op, held: Held): Verdict {
    const finding = this.lockFault(op, held)
    return finding === undefined ? this.accessFault(op, held) : { ...NOTHING, finding }
  }

  /** What is wrong with ending while holding these locks. */
  end(held: Held): Finding | undefined {
    if (held.locks.length === 0) return undefined
    return this.finding('lock-left-held', `${this.lockNames(held)} is held at the end`)
  }

  /** What is wrong with touching cells outside of `cpu`. */
  direct(what: 'reads' | 'writes', cell: Cell): Finding {
    return this.finding(
      'unlocked-access',
      `${what} ${this.memory.nameOf(cell)} without cpu, outside of any section`,
    )
  }

  /** What is wrong with a section under this lock that wrote these cells. */
  sectionWrites(
    op: Op,
    held: Held,
    writes: Iterable<readonly [cell: Cell, value: number]>,
  ): Finding | undefined {
    if (this.rules === undefined) return undefined
    const locks = op.x === 0 ? held.locks : [...held.locks, { cell: op.cell, bits: op.x }]
    for (const [cell] of writes) {
      const guard = this.guardOf(cell)
      if (guard === undefined || guard.unlessZero !== undefined || this.holdsOne(locks, guard)) continue
      return this.unlocked(cell, guard)
    }
    return undefined
  }

  private lockFault(op: Op, held: Held): Finding | undefined {
    const name = this.memory.nameOf(op.cell)
    const holds = held.locks.some(({ cell, bits }) => cell === op.cell && (bits & op.x) !== 0)
    switch (op.kind) {
      case UNLOCK:
        return holds
          ? undefined
          : this.finding('unlock-by-non-holder', `releases ${this.lockName(op)}, which it does not hold`)
      case LOCK:
      case SECTION:
      case WAIT_CLEAR: {
        if (op.x === 0) return undefined
        if (holds) return this.finding('recursive-lock', `waits for ${name}, which it holds`)
        return op.kind === WAIT_CLEAR
          ? this.sleepFault(op, held)
          : (this.sleepFault(op, held) ?? this.orderFault(op, held))
      }
      default:
        return undefined
    }
  }

  private orderFault(op: Op, held: Held): Finding | undefined {
    const { rules } = this
    if (rules === undefined) return undefined
    const inner = this.classOf(op)
    const outer = held.locks.find(
      (lock) => !rules.mayNest(this.classOf({ cell: lock.cell, x: lock.bits }), inner),
    )
    if (outer === undefined) return undefined
    return this.finding(
      'lock-order',
      `waits for ${this.lockName(op)} while holding ${this.lockName({ cell: outer.cell, x: outer.bits })}`,
    )
  }

  private sleepFault(op: Op, held: Held): Finding | undefined {
    if (op.kind !== WAIT_CLEAR && !this.classOf(op).sleeps) return undefined
    const spinning = held.locks.find((lock) => !this.classOf({ cell: lock.cell, x: lock.bits }).sleeps)
    if (spinning === undefined || this.rules === undefined) return undefined
    return this.finding(
      'sleep-in-atomic',
      `may sleep for ${this.lockName(op)} while holding ${this.lockName({ cell: spinning.cell, x: spinning.bits })}`,
    )
  }

  private accessFault(op: Op, held: Held): Verdict {
    if (op.kind !== STORE && op.kind !== ADD) return NOTHING
    const guard = this.guardOf(op.cell)
    if (guard === undefined || this.holdsOne(held.locks, guard)) return NOTHING
    const finding = this.unlocked(op.cell, guard)
    if (guard.unlessZero === undefined) return { ...NOTHING, finding }
    const unlessZero = this.memory.find(...guard.unlessZero)
    if (unlessZero < 0)
      throw new TaskError('locks', `the guard of ${this.memory.nameOf(op.cell)} names no cell of the state`)
    return { finding: undefined, unlessZero, otherwise: finding }
  }

  private guardOf(cell: Cell): Guard | undefined {
    const { column, index } = this.memory.cells[cell]
    return this.rules?.guardOf(column, index)
  }

  private holdsOne(locks: readonly HeldLock[], guard: Guard): boolean {
    return guard.anyOf.some(([column, index, bits]) => {
      const lock = this.memory.find(column, index)
      return locks.some((held) => held.cell === lock && (held.bits & bits) === bits)
    })
  }

  private unlocked(cell: Cell, guard: Guard): Finding {
    const locks = guard.anyOf.map(([column, index]) => `${column}[${index}]`).join(' or ')
    return this.finding('unlocked-access', `writes ${this.memory.nameOf(cell)} without the lock in ${locks}`)
  }

  private classOf({ cell, x }: { readonly cell: Cell; readonly x: number }): LockClass {
    const { column, index } = this.memory.cells[cell]
    return this.rules?.classOf(column, index, x) ?? PLAIN
  }

  private lockName(lock: { readonly cell: Cell; readonly x: number }): string {
    return `${this.classOf(lock).name} ${this.memory.nameOf(lock.cell)}`
  }

  private lockNames(held: Held): string {
    return held.locks.map(({ cell, bits }) => this.lockName({ cell, x: bits })).join(' and ')
  }

  private finding(name: FindingName, what: string): Finding {
    return { name, says: what }
  }

  private intern(locks: readonly HeldLock[]): Held {
    const key = locks.map(({ cell, bits }) => `${cell}:${bits}`).join(' ')
    const known = this.sets.get(key)
    if (known !== undefined) return known
    const held: Held = { id: this.sets.size, locks }
    this.sets.set(key, held)
    return held
  }
}
