/**
 * Compaction in the background: for an order that somebody wanted, and proactively, to keep memory unfragmented.
 *
 * A node's kcompactd is in one of these states:
 *   (1) asleep
 *   (2) woken for an order (wakeup.ts): compacts until a block of it is free in each zone where that would help
 *   (3) looking, every half a second: if the node's score is above the high mark, compacts until it is below the low one
 * Transitions: (1) -> (2) wakeupKcompactd; (1) -> (3) time; (2), (3) -> (1) when done.
 *
 * The score is the share of free memory that is in no huge page, in percent. At a proactiveness of 20, the default,
 * the marks are 80 and 90; if a round did not lower the score, the next 64 looks are let pass.
 *
 * @kernel mm/compaction.c kcompactd(), kcompactd_do_work() v6.18; spec C-19
 */

import type { Cpu } from '../base/cpu.ts'
import { cpuIdOf, type Nid, type ZoneId } from '../base/units.ts'
import { CompactControl, WHOLE_ZONE } from './compact_control.ts'
import {
  COMPACT_COMPLETE,
  COMPACT_CONTINUE,
  COMPACT_PARTIAL_SKIPPED,
  COMPACT_SUCCESS,
} from './compact_result.ts'
import { compactZone } from './compaction.ts'
import {
  COMPACT_MAX_DEFER_SHIFT,
  compactionDeferReset,
  compactionDeferred,
  compactionSuitAllocationOrder,
  deferCompaction,
  fragmentationScoreHigh,
  fragmentationScoreNode,
} from './compaction_gate.ts'
import { GFP_KERNEL } from './gfp.ts'
import { MIGRATE_SYNC_LIGHT } from './limits.ts'
import { highestZoneidxOfNode, type Mm, zonesOfNode } from './page.ts'
import { drainPagesZone } from './pcp.ts'
import { countVmEvents, KCOMPACTD_FREE_SCANNED, KCOMPACTD_MIGRATE_SCANNED, KCOMPACTD_WAKE } from './vmstat.ts'
import { kcompactdAllocFlags } from './wakeup.ts'

/** What kcompactd had to do. */
export type KcompactdWork = 'asleep' | 'woken' | 'proactive'

/**
 * One turn of a node's kcompactd: what it was woken for, or a look at the score. Call it after a wakeup, and every 500 ms
 * of simulated time (HPAGE_FRAG_CHECK_INTERVAL_MSEC).
 *
 * @locks  as compactZone()
 * @sleeps as migration in mode MIGRATE_SYNC_LIGHT
 * @kernel mm/compaction.c kcompactd() v6.18
 */
export function kcompactd(cpu: Cpu, mm: Mm, nid: Nid): KcompactdWork {
  if (cpu.load(mm.kcompactdMaxOrder, nid) > 0) {
    kcompactdDoWork(cpu, mm, nid)
    cpu.store(mm.kcompactdProactiveDefer, nid, 0)
    mm.trace?.mmCompactionKcompactdSleep(nid)
    return 'woken'
  }
  const toLetPass = cpu.load(mm.kcompactdProactiveDefer, nid)
  if (toLetPass > 0) {
    cpu.store(mm.kcompactdProactiveDefer, nid, toLetPass - 1)
    return 'asleep'
  }
  if (!shouldProactiveCompactNode(cpu, mm, nid)) return 'asleep'
  const before = fragmentationScoreNode(mm, nid)
  proactiveCompactNode(cpu, mm, nid)
  if (fragmentationScoreNode(mm, nid) >= before) {
    cpu.store(mm.kcompactdProactiveDefer, nid, (1 << COMPACT_MAX_DEFER_SHIFT) - 1)
  }
  mm.trace?.mmCompactionKcompactdSleep(nid)
  return 'proactive'
}

/** (2): for the largest order that was wanted. @kernel kcompactd_do_work() */
function kcompactdDoWork(cpu: Cpu, mm: Mm, nid: Nid): void {
  const order = cpu.load(mm.kcompactdMaxOrder, nid)
  const highestZoneidx = cpu.load(mm.kcompactdHighestZoneidx, nid)
  mm.trace?.mmCompactionKcompactdWake(nid, order, highestZoneidx)
  countVmEvents(mm, KCOMPACTD_WAKE, 1)
  for (const zone of zonesOfNode(mm, nid, highestZoneidx))
    compactZoneFor(cpu, mm, zone, order, highestZoneidx)
  // Somebody may have wanted more meanwhile.
  if (cpu.load(mm.kcompactdMaxOrder, nid) <= order) cpu.store(mm.kcompactdMaxOrder, nid, 0)
  if (cpu.load(mm.kcompactdHighestZoneidx, nid) >= highestZoneidx) {
    cpu.store(mm.kcompactdHighestZoneidx, nid, highestZoneidxOfNode(mm, nid))
  }
}

function compactZoneFor(cpu: Cpu, mm: Mm, zone: ZoneId, order: number, highestZoneidx: number): void {
  if (compactionDeferred(cpu, mm, zone, order)) return
  const allocFlags = kcompactdAllocFlags(mm)
  const of = { order, highestZoneidx: mm.zoneIdx[zone], allocFlags, async: false, kcompactd: true }
  if (compactionSuitAllocationOrder(mm, zone, of) !== COMPACT_CONTINUE) return
  const mode = MIGRATE_SYNC_LIGHT
  const cc = new CompactControl(cpu, mm, { zone, order, mode, gfp: GFP_KERNEL, allocFlags, highestZoneidx })
  const result = compactZone(cpu, cc)
  if (result === COMPACT_SUCCESS) {
    compactionDeferReset(cpu, mm, zone, order, false)
  } else if (result === COMPACT_PARTIAL_SKIPPED || result === COMPACT_COMPLETE) {
    // Pages of the block may wait on per-cpu lists: deferral keeps this rare.
    for (let id = 0; id < mm.cpus; id++) drainPagesZone(cpu, mm, zone, cpuIdOf(id))
    deferCompaction(cpu, mm, zone, order)
  }
  countScans(mm, cc)
}

/** @kernel should_proactive_compact_node() */
function shouldProactiveCompactNode(cpu: Cpu, mm: Mm, nid: Nid): boolean {
  if (mm.sysctl.compaction_proactiveness === 0 || cpu.load(mm.kswapdRunning, nid) !== 0) return false
  return fragmentationScoreNode(mm, nid) > fragmentationScoreHigh(mm)
}

/** (3): every zone, whatever the hints say, until its score is below the low mark. @kernel compact_node(), proactive */
function proactiveCompactNode(cpu: Cpu, mm: Mm, nid: Nid): void {
  for (const zone of zonesOfNode(mm, nid)) {
    const cc = new CompactControl(cpu, mm, {
      zone,
      order: WHOLE_ZONE,
      mode: MIGRATE_SYNC_LIGHT,
      gfp: GFP_KERNEL,
      proactive: true,
      wholeZone: true,
      ignoreSkipHint: true,
    })
    compactZone(cpu, cc)
    if (mm.rules.proactiveCountsScans) countScans(mm, cc)
  }
}

function countScans(mm: Mm, cc: CompactControl): void {
  countVmEvents(mm, KCOMPACTD_MIGRATE_SCANNED, cc.migrateScanned)
  countVmEvents(mm, KCOMPACTD_FREE_SCANNED, cc.freeScanned)
}
