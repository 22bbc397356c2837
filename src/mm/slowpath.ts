/**
 * Allocating pages for a request of a task: first from what is free, then with whatever the request allows.
 *
 * The slow path, in this order (docs/protocol/page_alloc.md tells it with the same numbers):
 *   (1) kswapd is woken, and the free lists are tried once more, down to the min mark
 *   (2) asynchronous compaction, if the order is costly or the pages cannot move: there may be memory enough
 *   (3) direct reclaim
 *   (4) compaction at the present priority
 *   (5) again from (3): while reclaim may still help; with harder compaction, while that may
 *   (6) with defrag_mode: again, and now pageblocks may be mixed
 * Requests that may not wait end at (1), those that may not retry after (4).
 *
 * Not here: the OOM killer. Where the kernel would start killing, the allocation fails.
 *
 * @kernel mm/page_alloc.c __alloc_frozen_pages_noprof(), __alloc_pages_slowpath() v6.18; spec C-21
 */

import type { Cpu } from '../base/cpu.ts'
import { pfnOf } from '../base/units.ts'
import {
  COMPACT_PRIO_ASYNC,
  COMPACT_PRIO_SYNC_FULL,
  COMPACT_PRIO_SYNC_LIGHT,
  type CompactPriority,
} from './compact_control.ts'
import { COMPACT_DEFERRED, COMPACT_SKIPPED, COMPACT_SUCCESS, type CompactResult } from './compact_result.ts'
import { tryToCompactPages } from './compaction.ts'
import { compactionDeferReset, hasRoomForTargets } from './compaction_gate.ts'
import { unreserveHighatomicLocked } from './fallback.ts'
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_HIGH,
  __GFP_KSWAPD_RECLAIM,
  __GFP_MEMALLOC,
  __GFP_NOMEMALLOC,
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  ALLOC_CPUSET,
  ALLOC_HIGHATOMIC,
  ALLOC_KSWAPD,
  ALLOC_MIN_RESERVE,
  ALLOC_NO_WATERMARKS,
  ALLOC_NOFRAGMENT,
  ALLOC_NON_BLOCK,
  ALLOC_WMARK_LOW,
  ALLOC_WMARK_MIN,
  type Gfp,
  gfpCompactionAllowed,
} from './gfp.ts'
import { MIGRATE_MOVABLE, PAGE_ALLOC_COSTLY_ORDER, pageblock_order } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import type { Mm } from './page.ts'
import {
  type AllocContext,
  allocFlagsCma,
  allocFlagsNofragment,
  getPageFromFreelist,
  prepareAllocPages,
  prepNewPage,
} from './page_alloc.ts'
import { drainAllPages } from './pcp.ts'
import { tryToFreePages, zoneReclaimablePages } from './vmscan.ts'
import { COMPACTFAIL, COMPACTSTALL, COMPACTSUCCESS, countVmEvents } from './vmstat.ts'
import { MAX_RECLAIM_RETRIES, wakeupKswapd } from './wakeup.ts'
import { minWmarkPages, zoneWatermarkOk } from './watermark.ts'

/**
 * Allocates 2^order pages: one reference, compound if order > 0. `nid` is the node that is preferred.
 *
 * @locks   takes and drops (C), (Z), and what reclaim and compaction do
 * @sleeps  if the request may reclaim
 * @errors  -1: there are none, after all that the request allows was tried
 * @kernel  mm/page_alloc.c __alloc_frozen_pages_noprof() v6.18
 */
export function allocPages(cpu: Cpu, mm: Mm, gfp: Gfp, order: number, nid: number): number {
  const ac = prepareAllocPages(mm, gfp, order, nid)
  const flags = ALLOC_WMARK_LOW | allocFlagsCma(ac.migratetype) | allocFlagsNofragment(mm, ac)
  let pfn = getPageFromFreelist(cpu, mm, ac, flags)
  if (pfn < 0 && ac.zonelist.length > 0) pfn = allocPagesSlowpath(cpu, mm, ac)
  mm.trace?.mmPageAlloc(pfn, order, gfp, ac.migratetype)
  return pfn
}

// Priorities of compaction, under the kernel's names for them.
const INIT_COMPACT_PRIORITY = COMPACT_PRIO_ASYNC
const DEF_COMPACT_PRIORITY = COMPACT_PRIO_SYNC_LIGHT
const MIN_COMPACT_PRIORITY = COMPACT_PRIO_SYNC_FULL
const MIN_COMPACT_COSTLY_PRIORITY = COMPACT_PRIO_SYNC_LIGHT

/** What is left to try, and with what. */
interface SlowPath {
  allocFlags: number
  priority: CompactPriority
  result: CompactResult
  compactionRetries: number
  noProgressLoops: number
}

/** Compactions that succeeded and yet got nothing, before it is tried harder; for costly orders a quarter. */
const MAX_COMPACT_RETRIES = 16

function allocPagesSlowpath(cpu: Cpu, mm: Mm, ac: AllocContext): number {
  const { gfp, order } = ac
  const mayReclaim = (gfp & __GFP_DIRECT_RECLAIM) !== 0
  const mayCompact = mayReclaim && gfpCompactionAllowed(gfp)
  const costly = order > PAGE_ALLOC_COSTLY_ORDER
  const path: SlowPath = {
    allocFlags: gfpToAllocFlags(mm, ac),
    priority: DEF_COMPACT_PRIORITY,
    result: COMPACT_SKIPPED,
    compactionRetries: 0,
    noProgressLoops: 0,
  }
  // (1)
  wakeAllKswapds(cpu, mm, ac, path.allocFlags)
  let pfn = getPageFromFreelist(cpu, mm, ac, path.allocFlags)
  if (pfn >= 0) return pfn
  // (2)
  const hasReserves = mayUseReserves(gfp)
  if (mayCompact && (costly || (order > 0 && ac.migratetype !== MIGRATE_MOVABLE)) && !hasReserves) {
    pfn = allocPagesDirectCompact(cpu, mm, ac, path, INIT_COMPACT_PRIORITY)
    if (pfn >= 0) return pfn
    if (costly && (gfp & __GFP_NORETRY) !== 0) {
      if (path.result === COMPACT_SKIPPED || path.result === COMPACT_DEFERRED) return -1
      path.priority = INIT_COMPACT_PRIORITY // a huge page at a fault is not worth waiting for
    }
  }
  if (hasReserves) {
    path.allocFlags = ALLOC_NO_WATERMARKS | allocFlagsCma(ac.migratetype) | (path.allocFlags & ALLOC_KSWAPD)
  }
  for (;;) {
    // Bounded: every way back counts up to a limit, raises the priority, or drops a flag.
    wakeAllKswapds(cpu, mm, ac, path.allocFlags)
    pfn = getPageFromFreelist(cpu, mm, ac, path.allocFlags)
    if (pfn >= 0 || !mayReclaim) return pfn
    // (3)
    const reclaimed = tryToFreePages(cpu, mm, ac)
    if (reclaimed > 0) pfn = allocAfterReclaim(cpu, mm, ac, path.allocFlags)
    if (pfn >= 0) return pfn
    // (4)
    pfn = allocPagesDirectCompact(cpu, mm, ac, path, path.priority)
    if (pfn >= 0) return pfn
    if ((gfp & __GFP_NORETRY) !== 0) return -1
    if (costly && (!mayCompact || (gfp & __GFP_RETRY_MAYFAIL) === 0)) return -1
    // (5)
    if (shouldReclaimRetry(cpu, mm, ac, path, reclaimed > 0)) continue
    if (reclaimed > 0 && mayCompact && shouldCompactRetry(cpu, mm, ac, path)) continue
    // (6)
    if (mm.sysctl.defrag_mode === 0 || (path.allocFlags & ALLOC_NOFRAGMENT) === 0) return -1
    path.allocFlags &= ~ALLOC_NOFRAGMENT
  }
}

/** True for who frees memory with the memory that he gets. @kernel gfp_pfmemalloc_allowed() */
const mayUseReserves = (gfp: Gfp): boolean => (gfp & __GFP_MEMALLOC) !== 0 && (gfp & __GFP_NOMEMALLOC) === 0

/** How far down a request may go once the low mark has stopped it. @kernel gfp_to_alloc_flags() */
function gfpToAllocFlags(mm: Mm, { gfp, order, migratetype }: AllocContext): number {
  let flags = ALLOC_WMARK_MIN | ALLOC_CPUSET | allocFlagsCma(migratetype)
  if ((gfp & __GFP_HIGH) !== 0) flags |= ALLOC_MIN_RESERVE
  if ((gfp & __GFP_KSWAPD_RECLAIM) !== 0) flags |= ALLOC_KSWAPD
  if ((gfp & __GFP_DIRECT_RECLAIM) === 0) {
    if ((gfp & __GFP_NOMEMALLOC) === 0) {
      flags |= ALLOC_NON_BLOCK
      if (order > 0 && (gfp & __GFP_HIGH) !== 0) flags |= ALLOC_HIGHATOMIC
    }
    if ((gfp & __GFP_HIGH) !== 0) flags &= ~ALLOC_CPUSET
  }
  return mm.sysctl.defrag_mode === 0 ? flags : flags | ALLOC_NOFRAGMENT
}

/** Wakes kswapd of every node of the zonelist. With defrag_mode it makes whole pageblocks. @kernel wake_all_kswapds() */
function wakeAllKswapds(cpu: Cpu, mm: Mm, ac: AllocContext, allocFlags: number): void {
  if ((allocFlags & ALLOC_KSWAPD) === 0) return
  const order = mm.sysctl.defrag_mode === 0 ? ac.order : Math.max(ac.order, pageblock_order)
  let last = -1
  for (const zone of ac.zonelist) {
    if (mm.zoneManaged[zone] === 0 || mm.zoneNode[zone] === last) continue
    wakeupKswapd(cpu, mm, zone, ac.gfp, order, ac.highestZoneidx)
    last = mm.zoneNode[zone]
  }
}

/**
 * Compacts, and takes the block that was captured or is free now.
 *
 * @errors -1; `path.result` says how the compaction ended
 * @kernel mm/page_alloc.c __alloc_pages_direct_compact() v6.18
 */
function allocPagesDirectCompact(
  cpu: Cpu,
  mm: Mm,
  ac: AllocContext,
  path: SlowPath,
  priority: CompactPriority,
): number {
  if (ac.order === 0) return -1
  const captured = { pfn: -1 }
  path.result = tryToCompactPages(cpu, mm, ac, path.allocFlags, priority, captured)
  if (path.result === COMPACT_SKIPPED) return -1
  countVmEvents(mm, COMPACTSTALL, 1)
  let pfn = captured.pfn
  if (pfn >= 0) prepNewPage(cpu, mm, pfnOf(pfn), ac.order)
  else pfn = getPageFromFreelist(cpu, mm, ac, path.allocFlags)
  if (pfn < 0) {
    countVmEvents(mm, COMPACTFAIL, 1)
    return -1
  }
  const zone = mm.zoneOf(pfnOf(pfn))
  cpu.store(mm.compactBlockskipFlush, zone, 0)
  compactionDeferReset(cpu, mm, zone, ac.order, true)
  countVmEvents(mm, COMPACTSUCCESS, 1)
  return pfn
}

/** What was reclaimed may wait on per-cpu lists, or be reserved: then these are given up once. @kernel __alloc_pages_direct_reclaim() */
function allocAfterReclaim(cpu: Cpu, mm: Mm, ac: AllocContext, allocFlags: number): number {
  const pfn = getPageFromFreelist(cpu, mm, ac, allocFlags)
  if (pfn >= 0) return pfn
  unreserveHighatomic(cpu, mm, ac, false)
  drainAllPages(cpu, mm)
  return getPageFromFreelist(cpu, mm, ac, allocFlags)
}

/** Gives up one reserved pageblock of the zonelist. True: it had free pages. @kernel unreserve_highatomic_pageblock() */
function unreserveHighatomic(cpu: Cpu, mm: Mm, ac: AllocContext, force: boolean): boolean {
  return ac.zonelist.some(
    (zone) =>
      cpu.atomically(
        mm.zoneLock,
        zone,
        SPIN_LOCKED,
        unreserveHighatomicLocked,
        mm,
        zone,
        ac.migratetype,
        force ? 1 : 0,
      ) > 0,
  )
}

/**
 * True while some zone would have a block if all that can be reclaimed were; 16 times at most without progress. Then
 * the last reserve goes.
 *
 * @kernel mm/page_alloc.c should_reclaim_retry() v6.18
 */
function shouldReclaimRetry(cpu: Cpu, mm: Mm, ac: AllocContext, path: SlowPath, progress: boolean): boolean {
  // Costly orders do not come from reclaim: what it frees is no progress for them.
  if (progress && ac.order <= PAGE_ALLOC_COSTLY_ORDER) path.noProgressLoops = 0
  else path.noProgressLoops++
  const wouldDo =
    path.noProgressLoops <= MAX_RECLAIM_RETRIES &&
    ac.zonelist.some((zone) => {
      const available = cpu.load(mm.nrFree, zone) + zoneReclaimablePages(cpu, mm, zone)
      const mark = minWmarkPages(mm, zone)
      return zoneWatermarkOk(mm, zone, ac.order, mark, ac.highestZoneidx, path.allocFlags, available)
    })
  return wouldDo || unreserveHighatomic(cpu, mm, ac, true)
}

/**
 * True if compaction should be tried again: it succeeded and somebody else was faster, there will be room for targets
 * after more reclaim, or it can try harder.
 *
 * @kernel mm/page_alloc.c should_compact_retry() v6.18
 */
function shouldCompactRetry(cpu: Cpu, mm: Mm, ac: AllocContext, path: SlowPath): boolean {
  const costly = ac.order > PAGE_ALLOC_COSTLY_ORDER
  if (ac.order === 0) return false
  if (path.result === COMPACT_SKIPPED) return compactionZonelistSuitable(cpu, mm, ac)
  if (path.result === COMPACT_SUCCESS) {
    path.compactionRetries++
    if (path.compactionRetries <= (costly ? MAX_COMPACT_RETRIES / 4 : MAX_COMPACT_RETRIES)) return true
  }
  if (path.priority <= (costly ? MIN_COMPACT_COSTLY_PRIORITY : MIN_COMPACT_PRIORITY)) return false
  path.priority = path.priority === INIT_COMPACT_PRIORITY ? DEF_COMPACT_PRIORITY : MIN_COMPACT_PRIORITY
  path.compactionRetries = 0
  return true
}

/** True if a zone would have room for targets after some more reclaim. @kernel compaction_zonelist_suitable() */
const compactionZonelistSuitable = (cpu: Cpu, mm: Mm, ac: AllocContext): boolean =>
  ac.zonelist.some((zone) => {
    // Not all of it: to empty the caches for one large block would be too much.
    const some = Math.floor(zoneReclaimablePages(cpu, mm, zone) / ac.order)
    const free = cpu.load(mm.nrFree, zone) + some
    return hasRoomForTargets(mm, zone, ac.order, minWmarkPages(mm, zone), ac.highestZoneidx, free)
  })
