/**
 * The checker as a library: explore every interleaving of tasks over shared cells. It knows nothing of memory.
 *
 * @ours
 */

export type { Cpu } from '../base/cpu.ts'
export * from '../base/locks.ts'
export { type CheckOptions, check, checkLearned, DEFAULTS, type Report } from './check.ts'
export { type Counterexample, explain, type Step } from './counterexample.ts'
export { estimateStates } from './estimate.ts'
export { drawLanes } from './lanes.ts'
export { Learned, type Violation } from './learned.ts'
export { promelaOf } from './promela.ts'
export { type Shrunk, shrinkTasks } from './shrink.ts'
export { CONTEXT_BOUND } from './strategies/context_bound.ts'
export { DPOR } from './strategies/dpor.ts'
export { PCT } from './strategies/pct.ts'
export { RANDOM } from './strategies/random.ts'
export type { Budget, Strategy, Tried } from './strategies/strategy.ts'
export {
  type Guard,
  type LockClass,
  type LockRules,
  type Property,
  type Symmetry,
  type System,
  type Task,
  TaskError,
  type Where,
} from './system.ts'
