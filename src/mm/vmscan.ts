/**
 * Reclaim: pages that somebody can get back elsewhere, from a file or from swap, are made free.
 *
 * On behalf of an allocation (kswapd has its own loop, kswapd.ts):
 *   tryToFreePages(cpu, mm, ac)
 *     shrinkZones                     each node of the zonelist once; costly orders stop where compaction can go on
 *       shrinkNode                    again, as long as compaction needs more and there is more
 *         prepareScanControl          which lists may be shrunk
 *         getScanCount                how many pages of each, by priority, swappiness and cost
 *         shrinkList                  32 at a time (shrink_list.ts)
 *   with ever lower priority, which is to say ever more pages at once, until 32 pages are free.
 *
 * Rules:
 *   - counts of lists are read without their lock: they are guesses, the lists have the last word.
 *
 * Not here: the multi-generational LRU; refaults (a page that comes back is like a new one), so that lists are
 * deactivated by their sizes only; cgroups, slab caches, throttling: nobody else runs who would make progress.
 *
 * @kernel mm/vmscan.c v6.18; spec C-21
 */

import type { Cpu } from '../base/cpu.ts'
import { type Nid, nidOf, type ZoneId } from '../base/units.ts'
import { compactGap, compactionSuitable } from './compaction_gate.ts'
import { gfpCompactionAllowed } from './gfp.ts'
import { MAX_NR_ZONES, PAGE_ALLOC_COSTLY_ORDER, SWAP_CLUSTER_MAX } from './limits.ts'
import { nodeLruPages } from './lru.ts'
import {
  LRU_ACTIVE_ANON,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  LRU_UNEVICTABLE,
  type Mm,
  NR_LRU_LISTS,
  zonesOfNode,
} from './page.ts'
import type { AllocContext } from './page_alloc.ts'
import { DEF_PRIORITY, ScanControl } from './scan_control.ts'
import { isFileList, shrinkActiveList, shrinkInactiveList } from './shrink_list.ts'
import { nrSwapPages } from './swap.ts'
import { ALLOCSTALL, countVmEvents } from './vmstat.ts'
import { highWmarkPages, minWmarkPages, zoneWatermarkOk } from './watermark.ts'

/** Largest value of the sysctl: then only anonymous pages are reclaimed. */
const MAX_SWAPPINESS = 200
/** Base pages of 1 GiB, as a power of two. */
const GIB_ORDER = 18

/** LRU lists that reclaim takes pages from: all but the unevictable one. */
const EVICTABLE_LISTS = LRU_UNEVICTABLE
/** What separates an active list from its inactive one. */
const LRU_ACTIVE = LRU_ACTIVE_ANON - LRU_INACTIVE_ANON

// Direct reclaim.

/**
 * Reclaims for an allocation. Gives the pages that were reclaimed; 1 if there were none and compaction should be tried
 * instead; 0 if all was in vain.
 *
 * @locks  takes and drops (U), (L), (R), (I), (C), (Z)
 * @kernel mm/vmscan.c try_to_free_pages() v6.18
 */
export function tryToFreePages(cpu: Cpu, mm: Mm, ac: AllocContext): number {
  const sc = new ScanControl({
    gfp: ac.gfp,
    order: ac.order,
    reclaimIdx: ac.highestZoneidx,
    kswapd: false,
  })
  mm.trace?.mmVmscanDirectReclaimBegin(ac.order, ac.gfp)
  const reclaimed = doTryToFreePages(cpu, mm, ac.zonelist, sc)
  mm.trace?.mmVmscanDirectReclaimEnd(reclaimed)
  return reclaimed
}

/** @kernel mm/vmscan.c do_try_to_free_pages() v6.18 */
function doTryToFreePages(cpu: Cpu, mm: Mm, zonelist: readonly ZoneId[], sc: ScanControl): number {
  let walksAgain = mm.rules.failedReclaimWalksAgain
  for (;;) {
    // Three rounds at most: each way to try again is taken once.
    countVmEvents(mm, ALLOCSTALL + sc.reclaimIdx, 1)
    walkPriorities(cpu, mm, zonelist, sc)
    if (sc.nrReclaimed > 0) return sc.nrReclaimed
    if (sc.compactionReady) return 1
    if (walksAgain) walksAgain = false
    else if (sc.skippedDeactivate) {
      sc.forceDeactivate = true
      sc.skippedDeactivate = false
    } else return 0
  }
}

function walkPriorities(cpu: Cpu, mm: Mm, zonelist: readonly ZoneId[], sc: ScanControl): void {
  for (sc.priority = DEF_PRIORITY; sc.priority >= 0; sc.priority--) {
    sc.nrScanned = 0
    shrinkZones(cpu, mm, zonelist, sc)
    if (sc.nrReclaimed >= sc.nrToReclaim || sc.compactionReady) return
  }
}

/** @kernel mm/vmscan.c shrink_zones() v6.18 */
function shrinkZones(cpu: Cpu, mm: Mm, zonelist: readonly ZoneId[], sc: ScanControl): void {
  let last = -1
  for (const zone of zonelist) {
    // A huge page is not worth more free memory than compaction needs to make one.
    if (sc.order > PAGE_ALLOC_COSTLY_ORDER && compactionReady(mm, zone, sc)) {
      sc.compactionReady = true
      continue
    }
    const nid = mm.zoneNode[zone]
    if (nid === last) continue
    last = nid
    shrinkNode(cpu, mm, nidOf(nid), sc)
  }
}

/**
 * True if the request would be served, or compaction has what it needs with some to spare for others.
 *
 * @kernel mm/vmscan.c compaction_ready() v6.18
 */
function compactionReady(mm: Mm, zone: ZoneId, { gfp, order, reclaimIdx }: ScanControl): boolean {
  if (!gfpCompactionAllowed(gfp)) return false
  if (zoneWatermarkOk(mm, zone, order, minWmarkPages(mm, zone), reclaimIdx, 0, mm.nrFree[zone])) return true
  return compactionSuitable(mm, zone, order, highWmarkPages(mm, zone), reclaimIdx)
}

/**
 * Pages of the zone that reclaim could get at; if there are none, its free ones, so that nobody gives it up.
 *
 * @kernel mm/vmscan.c zone_reclaimable_pages() v6.18
 */
export function zoneReclaimablePages(cpu: Cpu, mm: Mm, zone: ZoneId): number {
  const of = (lru: number): number => cpu.load(mm.nrLru, zone * NR_LRU_LISTS + lru)
  let pages = of(LRU_INACTIVE_FILE) + of(LRU_ACTIVE_FILE)
  if (nrSwapPages(cpu, mm) > 0) pages += of(LRU_INACTIVE_ANON) + of(LRU_ACTIVE_ANON)
  return pages === 0 ? cpu.load(mm.nrFree, zone) : pages
}

// A node.

/**
 * Reclaims from the lists of a node as the priority says, and goes on while compaction for a block of the wanted order
 * needs more.
 *
 * @kernel mm/vmscan.c shrink_node() v6.18
 */
export function shrinkNode(cpu: Cpu, mm: Mm, nid: Nid, sc: ScanControl): void {
  let reclaimable = false
  for (;;) {
    // Each further round follows one that has reclaimed something.
    const before = sc.nrReclaimed
    prepareScanControl(mm, nid, sc)
    shrinkLruvec(cpu, mm, nid, sc)
    const reclaimed = sc.nrReclaimed - before
    if (reclaimed > 0) reclaimable = true
    if (!shouldContinueReclaim(cpu, mm, nid, reclaimed, sc)) break
  }
  if (reclaimable)
    cpu.store(mm.kswapdFailures, nid, 0) // kswapd may try again
  else if (sc.cacheTrimMode) sc.cacheTrimModeFailed = true
}

/** True for large orders, and for others when memory is hard to get: pages are then reclaimed for compaction. */
const inReclaimCompaction = ({ gfp, order, priority }: ScanControl): boolean =>
  gfpCompactionAllowed(gfp) && order > 0 && (order > PAGE_ALLOC_COSTLY_ORDER || priority < DEF_PRIORITY - 2)

/** @kernel mm/vmscan.c should_continue_reclaim() v6.18 */
function shouldContinueReclaim(cpu: Cpu, mm: Mm, nid: Nid, reclaimed: number, sc: ScanControl): boolean {
  if (!inReclaimCompaction(sc) || reclaimed === 0) return false
  const { order, reclaimIdx } = sc
  for (const zone of managedZones(mm, nid, reclaimIdx)) {
    const mark = minWmarkPages(mm, zone)
    if (zoneWatermarkOk(mm, zone, order, mark, reclaimIdx, 0, mm.nrFree[zone])) return false
    if (compactionSuitable(mm, zone, order, mark, reclaimIdx)) return false
  }
  let inactive = nodeLruPages(mm, nid, LRU_INACTIVE_FILE)
  if (nrSwapPages(cpu, mm) > 0) inactive += nodeLruPages(mm, nid, LRU_INACTIVE_ANON)
  return inactive > compactGap(order)
}

/** Zones of a node up to a kind that have pages for the allocator. */
export const managedZones = (mm: Mm, nid: number, highestZoneidx: number = MAX_NR_ZONES - 1): ZoneId[] =>
  zonesOfNode(mm, nid, highestZoneidx).filter((zone) => mm.zoneManaged[zone] > 0)

/**
 * True if the inactive list is small beside its active one: half of a small node's pages, a tenth of 10 GiB's.
 *
 * @kernel mm/vmscan.c inactive_is_low() v6.18
 */
export function inactiveIsLow(mm: Mm, nid: Nid, inactiveLru: number): boolean {
  const inactive = nodeLruPages(mm, nid, inactiveLru)
  const active = nodeLruPages(mm, nid, inactiveLru + LRU_ACTIVE)
  const gib = Math.floor((inactive + active) / (1 << GIB_ORDER))
  const ratio = gib > 0 ? Math.floor(Math.sqrt(10 * gib)) : 1
  return inactive * ratio < active
}

/** Which lists may be shrunk. @kernel mm/vmscan.c prepare_scan_control() v6.18 */
function prepareScanControl(mm: Mm, nid: Nid, sc: ScanControl): void {
  sc.mayDeactivateAnon = sc.forceDeactivate || inactiveIsLow(mm, nid, LRU_INACTIVE_ANON)
  sc.mayDeactivateFile = sc.forceDeactivate || inactiveIsLow(mm, nid, LRU_INACTIVE_FILE)
  const inactiveFile = nodeLruPages(mm, nid, LRU_INACTIVE_FILE)
  sc.cacheTrimMode = inactiveFile >> sc.priority > 0 && !sc.mayDeactivateFile && !sc.noCacheTrimMode
  const zones = managedZones(mm, nid)
  const sum = (of: (zone: ZoneId) => number): number => zones.reduce((total, zone) => total + of(zone), 0)
  const file = inactiveFile + nodeLruPages(mm, nid, LRU_ACTIVE_FILE)
  // Cache begins inactive: where nearly all of it is gone, it must not look the more attractive for it.
  sc.fileIsTiny =
    file + sum((zone) => mm.nrFree[zone]) <= sum((zone) => highWmarkPages(mm, zone)) &&
    !sc.mayDeactivateAnon &&
    nodeLruPages(mm, nid, LRU_INACTIVE_ANON) >> sc.priority > 0
}

/** Parts of the scan that go to anonymous and to file pages. */
interface Balance {
  readonly anon: number
  readonly file: number
}
const SCAN_FILE: Balance = { anon: 0, file: 1 }
const SCAN_ANON: Balance = { anon: 1, file: 0 }
/** Each list by its size, all of it. */
const SCAN_EQUAL = undefined

/** How a scan is divided, by swappiness and by what reclaim has cost lately. */
function scanBalance(cpu: Cpu, mm: Mm, nid: Nid, sc: ScanControl): Balance | typeof SCAN_EQUAL {
  const { swappiness } = mm.sysctl
  if (!sc.maySwap || nrSwapPages(cpu, mm) <= 0) return SCAN_FILE
  if (sc.priority === 0 && swappiness > 0) return SCAN_EQUAL
  if (sc.fileIsTiny) return SCAN_ANON
  if (sc.cacheTrimMode) return SCAN_FILE
  const anonCost = cpu.load(mm.anonCost, nid)
  const fileCost = cpu.load(mm.fileCost, nid)
  const total = 3 * (anonCost + fileCost)
  const part = (share: number, cost: number): number =>
    Math.floor((share * (total + 1)) / (anonCost + fileCost + cost + 1))
  return { anon: part(swappiness, anonCost), file: part(MAX_SWAPPINESS - swappiness, fileCost) }
}

/**
 * Pages to look at, by LRU list.
 *
 * @kernel mm/vmscan.c get_scan_count() v6.18
 */
export function getScanCount(cpu: Cpu, mm: Mm, nid: Nid, sc: ScanControl): number[] {
  const balance = scanBalance(cpu, mm, nid, sc)
  return Array.from({ length: EVICTABLE_LISTS }, (_, lru) => {
    const scan = nodeLruPages(mm, nid, lru, sc.reclaimIdx) >> sc.priority
    if (balance === SCAN_EQUAL) return scan
    const part = isFileList(lru) ? balance.file : balance.anon
    return Math.floor((scan * part) / (balance.anon + balance.file))
  })
}

/** @kernel mm/vmscan.c shrink_lruvec() v6.18 */
function shrinkLruvec(cpu: Cpu, mm: Mm, nid: Nid, sc: ScanControl): void {
  const targets = getScanCount(cpu, mm, nid, sc)
  const nr = [...targets]
  // The first look of a direct reclaim is carried through: kswapd does not keep up.
  const carriesThrough = !sc.kswapd && sc.priority === DEF_PRIORITY
  let reclaimed = 0
  // Each round lowers a count.
  while (nr[LRU_INACTIVE_ANON] > 0 || nr[LRU_ACTIVE_FILE] > 0 || nr[LRU_INACTIVE_FILE] > 0) {
    for (let lru = 0; lru < EVICTABLE_LISTS; lru++) {
      if (nr[lru] === 0) continue
      const scan = Math.min(nr[lru], SWAP_CLUSTER_MAX)
      nr[lru] -= scan
      reclaimed += shrinkList(cpu, mm, nid, lru, scan, sc)
    }
    if (reclaimed < sc.nrToReclaim || carriesThrough) continue
    if (!lowerProportionally(nr, targets)) break
  }
  sc.nrReclaimed += reclaimed
  if (mm.swapSlots > 0 && inactiveIsLow(mm, nid, LRU_INACTIVE_ANON)) {
    shrinkActiveList(cpu, mm, nid, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX, sc)
  }
}

/**
 * There is enough: the kind of which less is left to look at is left alone, and the other one is looked at only as
 * far, in proportion, as this one was. False: one kind has been looked at wholly.
 */
function lowerProportionally(nr: number[], targets: readonly number[]): boolean {
  const ofKind = (counts: readonly number[], inactive: number): number =>
    counts[inactive] + counts[inactive + LRU_ACTIVE]
  const file = ofKind(nr, LRU_INACTIVE_FILE)
  const anon = ofKind(nr, LRU_INACTIVE_ANON)
  if (file === 0 || anon === 0) return false
  const [less, more] =
    file > anon ? [LRU_INACTIVE_ANON, LRU_INACTIVE_FILE] : [LRU_INACTIVE_FILE, LRU_INACTIVE_ANON]
  const percentLeft = Math.floor((ofKind(nr, less) * 100) / (ofKind(targets, less) + 1))
  for (const lru of [less, less + LRU_ACTIVE]) nr[lru] = 0
  for (const lru of [more, more + LRU_ACTIVE]) {
    const scanned = targets[lru] - nr[lru]
    nr[lru] = Math.max(0, Math.floor((targets[lru] * (100 - percentLeft)) / 100) - scanned)
  }
  return true
}

/** @kernel mm/vmscan.c shrink_list() v6.18 */
function shrinkList(cpu: Cpu, mm: Mm, nid: Nid, lru: number, scan: number, sc: ScanControl): number {
  const isActive = lru === LRU_ACTIVE_ANON || lru === LRU_ACTIVE_FILE
  if (!isActive) return shrinkInactiveList(cpu, mm, nid, lru, scan, sc)
  if (isFileList(lru) ? sc.mayDeactivateFile : sc.mayDeactivateAnon) {
    shrinkActiveList(cpu, mm, nid, lru, scan, sc)
  } else sc.skippedDeactivate = true
  return 0
}
