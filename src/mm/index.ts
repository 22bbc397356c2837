/**
 * The engine: a machine's memory and what can be done with it.
 *
 * `createMachine` gives a machine whose LRU folios are movable; page owners register theirs with
 * `setMovableOps` before pages of their type exist.
 *
 * @ours
 */

import { LRU_MOVABLE_OPS } from './lru_ops.ts'
import { setLruOps } from './movable_ops.ts'
import { type MachineSpec, Mm } from './page.ts'

export { type Cpu, FastCpu } from '../base/cpu.ts'
export * from '../base/units.ts'
export { CompactControl, compactNode, compactZone, type ZoneCompaction } from './compaction.ts'
export * from './limits.ts'
export { type MovableOps, type PageLockedDriver, pageLockedOps, setMovableOps } from './movable_ops.ts'
export { type MachineSpec, Mm, PAGE_BYTES, type PcpSpec, type ZoneSpec } from './page.ts'
export { type KernelRules, RULES_6_1, RULES_6_12, RULES_6_18, rulesForRelease } from './rules.ts'

/** A machine with no page in use and none free. Throws AssertionError on an impossible one. */
export function createMachine(spec: MachineSpec): Mm {
  const mm = new Mm(spec)
  setLruOps(mm, LRU_MOVABLE_OPS)
  return mm
}
