/**
 * The engine: a machine's memory and what can be done with it.
 *
 * `createMachine` gives a machine whose LRU folios are movable; page owners register theirs with
 * `setMovableOps` before pages of their type exist.
 *
 * A typical sequence is:
 *   pfn = allocPages(cpu, mm, GFP_HIGHUSER_MOVABLE, order, nid)   // -1: none, after all that the request allows
 *   putPage(cpu, mm, pfn)
 *   kswapd(cpu, mm, nid)                                          // the background threads run when they are called
 *   kcompactd(cpu, mm, nid)
 *
 * What cannot be is refused with an AssertionError that says what: an impossible machine, an order above 10, a node
 * that is not there, a page that is freed twice.
 *
 * @ours
 */

import { LRU_MOVABLE_OPS } from './lru_ops.ts'
import { setLruOps } from './movable_ops.ts'
import { type MachineSpec, Mm } from './page.ts'

export { type Cpu, FastCpu } from '../base/cpu.ts'
export * from '../base/units.ts'
export { CompactControl, type CompactRequest, WHOLE_ZONE } from './compact_control.ts'
export { COMPACT_RESULT_NAMES, type CompactResult } from './compact_result.ts'
export { compactNode, compactZone, sysctlCompactMemory, type ZoneCompaction } from './compaction.ts'
export * from './gfp.ts'
export { getHugePage, setNrHugepages } from './hugetlb.ts'
export { type KcompactdWork, kcompactd } from './kcompactd.ts'
export { khugepagedScanRegion } from './khugepaged.ts'
export { kswapd } from './kswapd.ts'
export * from './limits.ts'
export { FAULT_OOM, FAULT_RACED, faultAnon } from './memory.ts'
export {
  type MigrateFolio,
  type MovableOps,
  type PageLockedDriver,
  pageLockedOps,
  setMappingOps,
  setMigrateFolio,
  setMovableOps,
} from './movable_ops.ts'
export {
  type MachineSpec,
  Mm,
  movableMapping,
  PAGE_BYTES,
  type PcpSpec,
  SYSCTL_DEFAULTS,
  type Sysctl,
  type ZoneSpec,
} from './page.ts'
export { putPage } from './page_alloc.ts'
export { PROC_CONFIG, type ProcConfig } from './proc_names.ts'
export { buddyinfoText, extfragIndexText, pagetypeinfoText, unusableIndexText } from './proc_text.ts'
export { type ProcOptions, vmstatText, zoneinfoText } from './proc_zoneinfo.ts'
export { type KernelRules, RULES_6_1, RULES_6_12, RULES_6_18, rulesForRelease } from './rules.ts'
export { allocPages } from './slowpath.ts'
export { type AnonRegion, hugePagesObtainable } from './thp.ts'
export { THP_DEFAULTS, type TransparentHugepage } from './thp_settings.ts'
export type { Deferral, MigratePagesCounts, ScannerPositions, Tracepoints } from './trace.ts'
export { FTRACE_TASK, type FtraceContext, FtraceText, ftraceHeader } from './trace_text.ts'

export {
  extfragForOrder,
  fragmentationIndex,
  unusableFreeIndex,
  type VmEventName,
  vmEvents,
} from './vmstat.ts'

/** A machine with no page in use and none free. Throws AssertionError on an impossible one. */
export function createMachine(spec: MachineSpec): Mm {
  const mm = new Mm(spec)
  setLruOps(mm, LRU_MOVABLE_OPS)
  return mm
}
