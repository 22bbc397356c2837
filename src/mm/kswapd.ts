/**
 * kswapd: reclaim in the background, a thread a node, until one of its zones is above its high mark.
 *
 * wakeup.ts leaves in the node what it is woken for; the thread runs when kswapd() is called:
 *   kswapd
 *     balancePgdat             reclaims until the node is balanced, or nothing more can be had
 *     kswapdTryToSleep         forgets skip hints, wakes kcompactd for what reclaim alone does not give, sleeps
 *
 * An order is dropped to 0 once as much was reclaimed as compaction needs to make a block: that is kcompactd's part.
 * Raised watermarks are worked off without swap, and lowered again afterwards. A node that gives nothing 16 times in a
 * row is given up until a direct reclaim has got something.
 *
 * Not here: time. A wake-up within the tenth of a second of its first sleep is a new call, so that
 * kswapd_low_wmark_hit_quickly stays 0; per-cpu lists are not kept low while it runs.
 *
 * @kernel mm/vmscan.c kswapd(), balance_pgdat(), kswapd_try_to_sleep() v6.18
 */

import type { Cpu } from '../base/cpu.ts'
import { type Nid, type ZoneId, zoneIdOf } from '../base/units.ts'
import { compactGap } from './compaction_gate.ts'
import { resetIsolationSuitable } from './compaction_hints.ts'
import { GFP_KERNEL } from './gfp.ts'
import { pageblock_order, SWAP_CLUSTER_MAX } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, type Mm } from './page.ts'
import { DEF_PRIORITY, ScanControl } from './scan_control.ts'
import { shrinkActiveList } from './shrink_list.ts'
import { inactiveIsLow, managedZones, shrinkNode } from './vmscan.ts'
import { countVmEvents, KSWAPD_HIGH_WMARK_HIT_QUICKLY, PAGEOUTRUN } from './vmstat.ts'
import { MAX_RECLAIM_RETRIES, wakeupKcompactd } from './wakeup.ts'
import { highWmarkPages, nodeBalanced } from './watermark.ts'

/**
 * Runs the node's kswapd until it sleeps. Nothing happens if nobody has woken it.
 *
 * @locks  takes and drops (U), (L), (R), (I), (C), (Z)
 */
export function kswapd(cpu: Cpu, mm: Mm, nid: Nid): void {
  if (cpu.load(mm.kswapdRunning, nid) === 0) return
  let highestZoneidx = 0
  let asleep = false
  // Each round reclaims something, or is one of MAX_RECLAIM_RETRIES that do not.
  while (!asleep) {
    const allocOrder = cpu.load(mm.kswapdOrder, nid)
    highestZoneidx = Math.max(highestZoneidx, cpu.load(mm.kswapdHighestZoneidx, nid))
    cpu.store(mm.kswapdOrder, nid, 0)
    cpu.store(mm.kswapdHighestZoneidx, nid, 0)
    mm.trace?.mmVmscanKswapdWake(nid, allocOrder)
    const reclaimOrder = balancePgdat(cpu, mm, nid, allocOrder, highestZoneidx)
    // What was balanced for its order needs no compaction, unless somebody has wanted more meanwhile.
    const wanted = cpu.load(mm.kswapdOrder, nid)
    asleep =
      reclaimOrder < allocOrder
        ? kswapdTryToSleep(cpu, mm, nid, allocOrder, reclaimOrder, highestZoneidx)
        : kswapdTryToSleep(cpu, mm, nid, wanted, wanted, highestZoneidx)
  }
}

/**
 * Sleeps if the node is balanced for `reclaimOrder`, or hopeless. False: it must go on.
 *
 * @kernel mm/vmscan.c kswapd_try_to_sleep(), prepare_kswapd_sleep() v6.18
 */
function kswapdTryToSleep(
  cpu: Cpu,
  mm: Mm,
  nid: Nid,
  allocOrder: number,
  reclaimOrder: number,
  highestZoneidx: number,
): boolean {
  const hopeless = cpu.load(mm.kswapdFailures, nid) >= MAX_RECLAIM_RETRIES
  if (!hopeless && !nodeBalanced(mm, nid, reclaimOrder, highestZoneidx)) {
    countVmEvents(mm, KSWAPD_HIGH_WMARK_HIT_QUICKLY, 1)
    return false
  }
  // What compaction has not been able to move may have been freed.
  for (const zone of managedZones(mm, nid)) resetIsolationSuitable(cpu, mm, zone)
  wakeupKcompactd(cpu, mm, nid, allocOrder, highestZoneidx)
  cpu.store(mm.kswapdRunning, nid, 0)
  mm.trace?.mmVmscanKswapdSleep(nid)
  return true
}

/**
 * Reclaims until a zone of the node is above its high mark and has a block of that order. Gives the order that it
 * ended with: 0 if the rest is for compaction.
 *
 * @kernel mm/vmscan.c balance_pgdat() v6.18
 */
function balancePgdat(cpu: Cpu, mm: Mm, nid: Nid, order: number, highestZoneidx: number): number {
  const sc = new ScanControl({ gfp: GFP_KERNEL, order, reclaimIdx: highestZoneidx, kswapd: true })
  countVmEvents(mm, PAGEOUTRUN, 1)
  const zones = managedZones(mm, nid, highestZoneidx)
  const boosts = zones.map((zone) => cpu.load(mm.wmarkBoost, zone))
  const boost = boosts.reduce((sum, pages) => sum + pages, 0)
  if (!reclaimUntilBalanced(cpu, mm, nid, sc, boost) && sc.nrReclaimed === 0) {
    cpu.add(mm.kswapdFailures, nid, 1)
  }
  if (boost > 0) {
    zones.forEach((zone, i) => {
      if (boosts[i] === 0) return
      cpu.atomically(mm.zoneLock, zone, SPIN_LOCKED, unboostLocked, mm, zone, boosts[i], 0)
    })
    // There is room now to make whole pageblocks of those that were mixed.
    wakeupKcompactd(cpu, mm, nid, pageblock_order, highestZoneidx)
  }
  return sc.order
}

/** Lowers the marks by what they were raised when kswapd began; others may have raised them since. @locks needs (Z) */
function unboostLocked(mm: Mm, zoneIndex: number, pages: number): number {
  const zone: ZoneId = zoneIdOf(zoneIndex)
  mm.wmarkBoost[zone] -= Math.min(mm.wmarkBoost[zone], pages)
  return 0
}

/**
 * The priorities from 12 down to 1, begun anew where the node is not even balanced without regard to `boost`, or where
 * file pages were preferred in vain. True: the node is balanced. False: it was given up.
 */
function reclaimUntilBalanced(cpu: Cpu, mm: Mm, nid: Nid, sc: ScanControl, boost: number): boolean {
  let boostLeft = boost
  sc.priority = DEF_PRIORITY
  for (;;) {
    // Each round reclaims something or lowers the priority; it is set back twice at most.
    if (sc.priority < 1) {
      if (sc.nrReclaimed > 0 || sc.noCacheTrimMode || !sc.cacheTrimModeFailed) return false
      sc.noCacheTrimMode = true
      sc.priority = DEF_PRIORITY
    }
    const balanced = nodeBalanced(mm, nid, sc.order, sc.reclaimIdx)
    if (balanced && boostLeft === 0) return true
    if (!balanced && boostLeft > 0) {
      boostLeft = 0
      sc.priority = DEF_PRIORITY
    }
    sc.maySwap = boostLeft === 0
    const mayRaise = boostLeft === 0 || sc.priority !== DEF_PRIORITY - 2
    if (mm.swapSlots > 0 && inactiveIsLow(mm, nid, LRU_INACTIVE_ANON)) {
      shrinkActiveList(cpu, mm, nid, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX, sc)
    }
    const before = sc.nrReclaimed
    const enough = kswapdShrinkNode(cpu, mm, nid, sc)
    const reclaimed = sc.nrReclaimed - before
    boostLeft -= Math.min(boostLeft, reclaimed)
    if (boostLeft > 0 && reclaimed === 0) return false
    if ((mayRaise && !enough) || reclaimed === 0) sc.priority--
  }
}

/**
 * Reclaims about as much as brings all zones to their high marks. True: so much was looked at that it would have, had
 * every page been reclaimed.
 *
 * @kernel mm/vmscan.c kswapd_shrink_node() v6.18
 */
function kswapdShrinkNode(cpu: Cpu, mm: Mm, nid: Nid, sc: ScanControl): boolean {
  const before = sc.nrReclaimed
  sc.nrScanned = 0
  sc.nrToReclaim = managedZones(mm, nid, sc.reclaimIdx).reduce(
    (sum, zone) => sum + Math.max(highWmarkPages(mm, zone), SWAP_CLUSTER_MAX),
    0,
  )
  shrinkNode(cpu, mm, nid, sc)
  if (sc.order > 0 && sc.nrReclaimed >= compactGap(sc.order)) sc.order = 0
  return Math.max(sc.nrScanned, sc.nrReclaimed - before) >= sc.nrToReclaim
}
