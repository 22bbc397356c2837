/**
 * The `Cpu` on which tasks are learnt: answers the first steps from a log, and stops the code, by throwing, at the
 * first step that is not in the log.
 *
 * A step in the log must be the one that the same history took before; if it is not, the run is `diverged`. Who goes
 * on after STOP has caught it (`stopped`). What the code touches without `cpu` is seen too (`OwnAccess`).
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type Cells, type CpuId, cellsOf, cpuIdOf } from '../base/units.ts'
import type { Access, Cell, Memory } from './memory.ts'
import {
  ADD,
  ADD_UNLESS_ZERO,
  CAS,
  DEC_AND_TEST,
  LOAD,
  LOCK,
  type Op,
  type OpKind,
  SECTION,
  STORE,
  TEST_CLEAR,
  TEST_SET,
  TRY_LOCK,
  UNLOCK,
  WAIT_CLEAR,
} from './op.ts'

/** Thrown at the first step that is not in the log. One object, so that no stack is made for it. */
export const STOP = new Error('stopped at the first step that is not in the log')

/** Answers from a log, then stops the code. */
export class LearnCpu implements Cpu {
  readonly id: CpuId
  /** Answers of the steps taken so far, and what these steps were. */
  readonly log: number[] = []
  readonly ops: Op[] = []
  /** Where the code is in the log. */
  pos = 0
  // The step at which it stopped.
  kind: OpKind = LOAD
  cells: Int32Array | undefined
  index = 0
  x = 0
  y = 0
  section: ((...args: never[]) => number) | undefined
  args: readonly unknown[] = []
  // What `at` said after the last step of the log.
  label: string | undefined
  a = 0
  b = 0
  /** A step differed from the one of the same history before. */
  diverged = -1
  /** It has stopped the code: whatever runs afterwards has caught STOP. */
  stopped = false
  /** Keep the stack of the step at which it stops. */
  keepsStack = false
  stack = ''

  private readonly memory: Memory<object>

  constructor(on: number, memory: Memory<object>) {
    this.id = cpuIdOf(on)
    this.memory = memory
  }

  start(): void {
    this.pos = 0
    this.label = undefined
    this.diverged = -1
    this.stopped = false
    this.cells = undefined
  }

  load<I extends number>(cells: Cells<I>, i: NoInfer<I>): number {
    return this.step(LOAD, cellsOf(cells), i, 0, 0)
  }

  store<I extends number>(cells: Cells<I>, i: NoInfer<I>, value: number): void {
    this.step(STORE, cellsOf(cells), i, value | 0, 0)
  }

  add<I extends number>(cells: Cells<I>, i: NoInfer<I>, delta: number): void {
    this.step(ADD, cellsOf(cells), i, delta | 0, 0)
  }

  decAndTest<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    return this.step(DEC_AND_TEST, cellsOf(cells), i, 0, 0) !== 0
  }

  addUnlessZero<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    return this.step(ADD_UNLESS_ZERO, cellsOf(cells), i, 0, 0) !== 0
  }

  cas<I extends number>(cells: Cells<I>, i: NoInfer<I>, expected: number, value: number): boolean {
    return this.step(CAS, cellsOf(cells), i, expected | 0, value | 0) !== 0
  }

  testSet<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    return this.step(TEST_SET, cellsOf(cells), i, bits, 0) !== 0
  }

  testClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    return this.step(TEST_CLEAR, cellsOf(cells), i, bits, 0) !== 0
  }

  tryLock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    return this.step(TRY_LOCK, cellsOf(cells), i, bits, 0) !== 0
  }

  lock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.step(LOCK, cellsOf(cells), i, bits, 0)
  }

  unlock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.step(UNLOCK, cellsOf(cells), i, bits, 0)
  }

  waitClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.step(WAIT_CLEAR, cellsOf(cells), i, bits, 0)
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
    if (this.pos >= this.log.length) {
      this.section = section
      this.args = [state, a, b, c]
    }
    return this.step(SECTION, cellsOf(cells), i, bits, 0)
  }

  at(label: string, a = 0, b = 0): void {
    if (this.pos < this.log.length) return
    this.label = label
    this.a = a
    this.b = b
  }

  private step(kind: OpKind, cells: Int32Array, index: number, x: number, y: number): number {
    const at = this.pos
    if (at < this.log.length) {
      const op = this.ops[at]
      if (op.kind !== kind || op.x !== x || op.y !== y || this.memory.cells[op.cell].index !== index) {
        this.diverged = at
        this.stop()
      }
      this.pos = at + 1
      return this.log[at]
    }
    assert(
      Number.isInteger(index) && index >= 0 && index < cells.length,
      'cpu: the index is one of the column',
    )
    this.kind = kind
    this.cells = cells
    this.index = index
    this.x = x
    this.y = y
    if (this.keepsStack) this.stack = new Error('step').stack ?? ''
    this.stop()
  }

  private stop(): never {
    this.stopped = true
    throw STOP
  }
}

/** A cell that a task touched without `cpu`. */
export interface DirectAccess {
  readonly cell: Cell
  readonly writes: boolean
}

/** What a task touches without `cpu`: its own writes are kept for the length of one run. */
export class OwnAccess implements Access {
  readonly seen: DirectAccess[] = []
  private readonly own = new Map<Cell, number>()
  private readonly memory: Memory<object>
  private readonly isPrivate: (cell: Cell) => boolean
  private readonly cpu: LearnCpu

  constructor(memory: Memory<object>, isPrivate: (cell: Cell) => boolean, cpu: LearnCpu) {
    this.memory = memory
    this.isPrivate = isPrivate
    this.cpu = cpu
  }

  start(): void {
    this.seen.length = 0
    this.own.clear()
  }

  read(cell: Cell): number {
    this.note(cell, false)
    return this.own.get(cell) ?? this.memory.cells[cell].initial
  }

  write(cell: Cell, value: number): void {
    this.note(cell, true)
    this.own.set(cell, value)
  }

  private note(cell: Cell, writes: boolean): void {
    if (this.cpu.pos < this.cpu.log.length || this.isPrivate(cell)) return
    if (!this.seen.some((access) => access.cell === cell && access.writes === writes))
      this.seen.push({ cell, writes })
  }
}
