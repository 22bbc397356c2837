/**
 * Who wakes the threads that make room in the background: kswapd (kswapd.ts) and kcompactd (kcompactd.ts).
 *
 * A request is left in columns of the node. The threads run when kswapd() and kcompactd() are called: here is only
 * what they are told, and whether they have anything to do.
 *
 * @kernel mm/vmscan.c wakeup_kswapd(), mm/compaction.c wakeup_kcompactd() v6.18
 */

import type { Cpu } from '../base/cpu.ts'
import { type Nid, nidOf, type ZoneId } from '../base/units.ts'
import { COMPACT_CONTINUE } from './compact_result.ts'
import { compactionSuitAllocationOrder } from './compaction_gate.ts'
import { __GFP_DIRECT_RECLAIM, ALLOC_WMARK_HIGH, ALLOC_WMARK_MIN, type Gfp } from './gfp.ts'
import { type Mm, zonesOfNode } from './page.ts'
import { nodeBalanced, nodeBoosted } from './watermark.ts'

/** Times that kswapd may reclaim nothing before it gives a node up. */
export const MAX_RECLAIM_RETRIES = 16

/**
 * Wakes kswapd of a zone's node, if the node is short of memory or its marks are raised. If it is not, memory may
 * still be in too small pieces: then kcompactd is woken for those who cannot compact themselves.
 *
 * @kernel mm/vmscan.c wakeup_kswapd() v6.18
 */
export function wakeupKswapd(
  cpu: Cpu,
  mm: Mm,
  zone: ZoneId,
  gfp: Gfp,
  order: number,
  highestZoneidx: number,
): void {
  const nid = nidOf(mm.zoneNode[zone])
  if (cpu.load(mm.kswapdOrder, nid) < order) cpu.store(mm.kswapdOrder, nid, order)
  if (cpu.load(mm.kswapdHighestZoneidx, nid) < highestZoneidx) {
    cpu.store(mm.kswapdHighestZoneidx, nid, highestZoneidx)
  }
  if (cpu.load(mm.kswapdRunning, nid) !== 0) return
  const hopeless = cpu.load(mm.kswapdFailures, nid) >= MAX_RECLAIM_RETRIES
  const balanced = nodeBalanced(mm, nid, order, highestZoneidx) && !nodeBoosted(mm, nid, highestZoneidx)
  if (!hopeless && !balanced) {
    cpu.store(mm.kswapdRunning, nid, 1)
    return
  }
  if ((gfp & __GFP_DIRECT_RECLAIM) === 0) wakeupKcompactd(cpu, mm, nid, order, highestZoneidx)
}

/**
 * Wakes kcompactd of a node for a block of that order, if compaction would help.
 *
 * @kernel mm/compaction.c wakeup_kcompactd() v6.18
 */
export function wakeupKcompactd(cpu: Cpu, mm: Mm, nid: Nid, order: number, highestZoneidx: number): void {
  if (order === 0) return
  if (cpu.load(mm.kcompactdMaxOrder, nid) < order) cpu.store(mm.kcompactdMaxOrder, nid, order)
  if (cpu.load(mm.kcompactdHighestZoneidx, nid) > highestZoneidx) {
    cpu.store(mm.kcompactdHighestZoneidx, nid, highestZoneidx)
  }
  if (!isNodeSuitable(cpu, mm, nid)) return
  mm.trace?.mmCompactionWakeupKcompactd(nid, order, highestZoneidx)
}

/** The mark that kcompactd works for. */
export const kcompactdAllocFlags = (mm: Mm): number =>
  mm.sysctl.defrag_mode === 0 ? ALLOC_WMARK_MIN : ALLOC_WMARK_HIGH

/** @kernel mm/compaction.c kcompactd_node_suitable() v6.18 */
function isNodeSuitable(cpu: Cpu, mm: Mm, nid: Nid): boolean {
  const order = cpu.load(mm.kcompactdMaxOrder, nid)
  const highestZoneidx = cpu.load(mm.kcompactdHighestZoneidx, nid)
  const allocFlags = kcompactdAllocFlags(mm)
  const of = { order, highestZoneidx, allocFlags, async: false, kcompactd: true }
  return zonesOfNode(mm, nid, highestZoneidx).some(
    (zone) => compactionSuitAllocationOrder(mm, zone, of) === COMPACT_CONTINUE,
  )
}
