/**
 * Steps: what one `cpu` call does to the cells, as data.
 *
 * A simple step reads and writes one cell; a section reads and writes several under its lock, and is learnt as
 * a tree of the values that it reads (section.ts). A step answers with a value, which is all that its task
 * learns, or it is blocked: a lock that is taken, a bit that is set. Blocking is a guard: nothing spins.
 */

import { BELOW_ZERO, NOT_HELD } from '../base/cpu.ts'
import type { Cell } from './memory.ts'
import type { SectionTree } from './section.ts'

export const LOAD = 1
export const STORE = 2
export const ADD = 3
export const DEC_AND_TEST = 4
export const ADD_UNLESS_ZERO = 5
export const CAS = 6
export const TEST_SET = 7
export const TEST_CLEAR = 8
export const TRY_LOCK = 9
export const LOCK = 10
export const UNLOCK = 11
export const WAIT_CLEAR = 12
export const SECTION = 13
export type OpKind = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13

const NAMES = [
  '',
  'load',
  'store',
  'add',
  'decAndTest',
  'addUnlessZero',
  'cas',
  'testSet',
  'testClear',
  'tryLock',
  'lock',
  'unlock',
  'waitClear',
  'section',
] as const

/** One step of one task; interned, so equal steps are the same object. */
export interface Op {
  readonly id: number
  readonly kind: OpKind
  /** The cell; of a section, that of its lock. */
  readonly cell: Cell
  /** Value, difference, expected value or bits. */
  readonly x: number
  /** The new value of CAS. */
  readonly y: number
  readonly section?: SectionTree
}

/** What a step did. */
export interface Effect {
  /** It broke an assertion: what that says. */
  failed: string | undefined
  /** What the task learns. */
  result: number
  /** The cell's new value. */
  value: number
}

export const newEffect = (): Effect => ({ failed: undefined, result: 0, value: 0 })

/** True if the step may change its cell. */
export const isWrite = (kind: OpKind): boolean => kind !== LOAD && kind !== WAIT_CLEAR && kind !== SECTION

/** Steps that wait. */
export const mayBlock = (kind: OpKind): boolean => kind === LOCK || kind === WAIT_CLEAR || kind === SECTION

/** True if the step cannot be taken while its cell (of a section: its lock's) holds `value`. */
export const isBlocked = (op: Op, value: number): boolean => mayBlock(op.kind) && (value & op.x) !== 0

/** What a simple step that is not blocked does to a cell that holds `value`. The same as FastCpu does (cpu.ts). */
export function apply(op: Op, value: number, effect: Effect): void {
  const { x } = op
  effect.failed = undefined
  effect.result = 0
  effect.value = value
  switch (op.kind) {
    case LOAD:
      effect.result = value
      return
    case STORE:
      effect.value = x
      return
    case ADD:
      effect.value = (value + x) | 0
      return
    case DEC_AND_TEST:
      effect.value = value - 1
      effect.result = value === 1 ? 1 : 0
      if (value <= 0) effect.failed = BELOW_ZERO
      return
    case ADD_UNLESS_ZERO:
      effect.result = value === 0 ? 0 : 1
      effect.value = value === 0 ? 0 : (value + 1) | 0
      return
    case CAS:
      effect.result = value === x ? 1 : 0
      effect.value = value === x ? op.y : value
      return
    case TEST_SET:
      effect.result = (value & x) === 0 ? 0 : 1
      effect.value = value | x
      return
    case TEST_CLEAR:
      effect.result = (value & x) === 0 ? 0 : 1
      effect.value = value & ~x
      return
    case TRY_LOCK:
      effect.result = (value & x) === 0 ? 1 : 0
      effect.value = (value & x) === 0 ? value | x : value
      return
    case LOCK:
      effect.value = value | x
      return
    case UNLOCK:
      if ((value & x) !== x) effect.failed = NOT_HELD
      effect.value = value & ~x
      return
    case WAIT_CLEAR:
    case SECTION:
  }
}

/** Small numbers are counts, large ones are bits. */
export const numberText = (value: number): string =>
  value > -1000 && value < 1000 ? String(value) : `0x${(value >>> 0).toString(16)}`

/** `lock flags[3] 0x1`: the step in words; `result` as the task saw it, if it says something. */
export function opText(
  op: Op,
  cellName: string,
  result?: number,
  show: (value: number) => string = numberText,
): string {
  const bits = show(op.x)
  const name = NAMES[op.kind]
  switch (op.kind) {
    case LOAD:
      return `${name} ${cellName}${result === undefined ? '' : ` = ${show(result)}`}`
    case STORE:
      return `${name} ${cellName} = ${show(op.x)}`
    case ADD:
      return `${name} ${cellName} ${op.x < 0 ? '' : '+'}${op.x}`
    case DEC_AND_TEST:
    case ADD_UNLESS_ZERO:
      return `${name} ${cellName}${answer(result)}`
    case CAS:
      return `${name} ${cellName} ${show(op.x)} -> ${show(op.y)}${answer(result)}`
    case TEST_SET:
    case TEST_CLEAR:
    case TRY_LOCK:
      return `${name} ${cellName} ${bits}${answer(result)}`
    case SECTION:
      return `${op.section?.text ?? name}${result === undefined || result === 0 ? '' : ` = ${result}`}`
    default:
      return `${name} ${cellName} ${bits}`
  }
}

const answer = (result: number | undefined): string =>
  result === undefined ? '' : result === 0 ? ': no' : ': yes'
