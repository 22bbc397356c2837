/**
 * The `Cpu`: how protocol code touches shared memory, and the only way in which it may.
 *
 * Every method is one step of the checker: it is atomic, and between two steps any other task may
 * run. Protocol functions are plain functions `(cpu, mm, …)`; what they do depends only on their
 * arguments and on what `cpu` returned. So the same source runs at full speed over `FastCpu`, and can
 * be explored by a `Cpu` that replays logged values and stops at the first step that is not in the log.
 *
 * A *lock* is a set of bits in a cell (PG_locked in `flags`, a spinlock word): taken when the bits go
 * from clear to set.
 *
 * Rules:
 *   - one `Cpu` class a V8 isolate: a second class costs the fast path a factor (docs/decisions/0003);
 *   - no `try`/`catch` around cpu calls, no closure over mutable state, no module state;
 *   - `atomically` is for what is one lock's business (a buddy merge under the zone lock, a splice
 *     under the lru lock). A bigger section than its lock allows makes the checker prove nothing.
 *
 * Not here: the checker's `LearnCpu` and the threads' `AtomicsCpu`.
 */

import { fail } from './assert.ts'
import { type Cells, type CpuId, cellsOf, cpuIdOf } from './units.ts'

export interface Cpu {
  /** The logical cpu that the task runs on: it names the per-cpu lists. */
  readonly id: CpuId
  /** The value of the cell. */
  load<I extends number>(cells: Cells<I>, i: NoInfer<I>): number
  /** Sets the cell. */
  store<I extends number>(cells: Cells<I>, i: NoInfer<I>, value: number): void
  /** Adds. Says nothing about the value: who needs it uses decAndTest or addUnlessZero. */
  add<I extends number>(cells: Cells<I>, i: NoInfer<I>, delta: number): void
  /** Subtracts one. True: the cell is zero now. A cell that was zero is a bug. */
  decAndTest<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean
  /** Adds one unless the cell is zero. False: it was zero, and still is. */
  addUnlessZero<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean
  /** Stores `value` if the cell holds `expected`. False: it did not, nothing changed. */
  cas<I extends number>(cells: Cells<I>, i: NoInfer<I>, expected: number, value: number): boolean
  /** Sets `bits`. True: at least one of them was set before. */
  testSet<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean
  /** Clears `bits`. True: at least one of them was set before. */
  testClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean
  /** Takes the lock if it is free. False: somebody holds it, nothing changed. Never waits. */
  tryLock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean
  /** Takes the lock, waiting while somebody holds it. @sleeps if the lock is a sleeping one. */
  lock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void
  /** Releases the lock that the caller holds, and wakes who waits for it. */
  unlock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void
  /** Waits until all `bits` are clear. @sleeps */
  waitClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void
  /**
   * Runs `section(state, a, b, c)` as one step, under the lock whose bits are `bits` of the cell: takes
   * it, runs, releases it. `section` is a module-level function; it may touch columns directly, only
   * those that this lock guards.
   */
  atomically<I extends number, S>(
    cells: Cells<I>,
    i: NoInfer<I>,
    bits: number,
    section: (state: S, a: number, b: number, c: number) => number,
    state: S,
    a: number,
    b: number,
    c: number,
  ): number
  /**
   * Says where the task is: all that it has learnt from `cpu` and will still use is in `label`, `a` and `b`.
   * The head of a retry loop says it, so that the loop is finite for the checker; properties can ask for it.
   */
  at(label: string, a?: number, b?: number): void
}

/** What an assertion says when the last reference is dropped once more. */
export const BELOW_ZERO = 'put: the page has no reference'
/** What an assertion says when a lock is released that is free. */
export const NOT_HELD = 'unlock: the lock is not held'

/** Lets simulated time pass while a task waits for a lock or bit. */
export type OnWait = (cells: Int32Array, index: number, bits: number) => void

/**
 * Direct access to the cells: one task, nothing in between. The simulation's `Cpu`.
 *
 * What holds a lock that a single task waits for is outside of it (I/O under way when the memory was
 * captured, say). `onWait` lets that finish; when the bits are still set afterwards, nobody will ever
 * clear them, and it throws AssertionError.
 */
export class FastCpu implements Cpu {
  readonly id: CpuId
  private readonly onWait: OnWait

  constructor(onWait: OnWait = nobodyElse, id: CpuId = cpuIdOf(0)) {
    this.onWait = onWait
    this.id = id
  }

  load<I extends number>(cells: Cells<I>, i: NoInfer<I>): number {
    return cellsOf(cells)[i]
  }

  store<I extends number>(cells: Cells<I>, i: NoInfer<I>, value: number): void {
    cellsOf(cells)[i] = value
  }

  add<I extends number>(cells: Cells<I>, i: NoInfer<I>, delta: number): void {
    cellsOf(cells)[i] += delta
  }

  decAndTest<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    const array = cellsOf(cells)
    const value = array[i] - 1
    array[i] = value
    if (value < 0) fail(BELOW_ZERO)
    return value === 0
  }

  addUnlessZero<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    const array = cellsOf(cells)
    const value = array[i]
    if (value === 0) return false
    array[i] = value + 1
    return true
  }

  cas<I extends number>(cells: Cells<I>, i: NoInfer<I>, expected: number, value: number): boolean {
    const array = cellsOf(cells)
    if (array[i] !== expected) return false
    array[i] = value
    return true
  }

  testSet<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    const array = cellsOf(cells)
    const value = array[i]
    array[i] = value | bits
    return (value & bits) !== 0
  }

  testClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    const array = cellsOf(cells)
    const value = array[i]
    array[i] = value & ~bits
    return (value & bits) !== 0
  }

  tryLock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    const array = cellsOf(cells)
    const value = array[i]
    if ((value & bits) !== 0) return false
    array[i] = value | bits
    return true
  }

  lock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    const array = cellsOf(cells)
    if ((array[i] & bits) !== 0) this.pass(array, i, bits)
    array[i] |= bits
  }

  unlock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    const array = cellsOf(cells)
    const value = array[i]
    if ((value & bits) !== bits) fail(NOT_HELD)
    array[i] = value & ~bits
  }

  waitClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    const array = cellsOf(cells)
    if ((array[i] & bits) !== 0) this.pass(array, i, bits)
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
    const array = cellsOf(cells)
    if ((array[i] & bits) !== 0) this.pass(array, i, bits)
    array[i] |= bits
    const result = section(state, a, b, c)
    array[i] &= ~bits
    return result
  }

  at(): void {}

  private pass(array: Int32Array, i: number, bits: number): void {
    this.onWait(array, i, bits)
    if ((array[i] & bits) !== 0) fail('deadlock: a task waits for a lock that nobody will release')
  }
}

function nobodyElse(): void {}
