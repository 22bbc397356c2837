/**
 * What a virtio balloon says besides: how the guest is doing, which of its pages are free, and what it can do without.
 *
 *   statistics    figures of the machine, when the host asks (stats queue)
 *   hints         free blocks of the largest order, for a host that is about to copy the guest: taken from the allocator one
 *                 after the other and kept, so that what the host was told stays true until the round is over (free_page
 *                 queue)
 *   out of memory pages come back before the guest kills (DEFLATE_ON_OOM)
 *
 * A round of hints, by the host's command: any name above 1 begins one; STOP ends it, the pages stay; DONE gives them back.
 *
 * Rules:
 *   - hinted blocks are free memory for everybody else: `returnHinted` is what a guest under pressure calls;
 *   - the three are by feature; one that was not agreed on does nothing.
 *
 * Not here: free page reporting, beyond that one device at a time may (virtio_balloon_driver.ts): the engine has no
 * mm/page_reporting.c, which would choose the blocks. An out-of-memory killer, which would ask `balloonOomNotify`.
 *
 * @kernel drivers/virtio/virtio_balloon.c v6.18; spec I-6
 */

import type { Cpu } from '../base/cpu.ts'
import { listAdd, listDel, listEmpty, listFirst } from '../base/list.ts'
import { ownerCellOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { __GFP_NOMEMALLOC, __GFP_NORETRY, __GFP_NOWARN } from '../mm/gfp.ts'
import { MAX_PAGE_ORDER, ZONE_NAMES } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { countPages } from '../mm/proc_counters.ts'
import { allocPages } from '../mm/slowpath.ts'
import { VM_EVENT_NAMES, type VmEventName, vmEvent } from '../mm/vmstat.ts'
import {
  VIRTIO_BALLOON_CMD_ID_DONE,
  VIRTIO_BALLOON_CMD_ID_STOP,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_STATS_VQ,
} from './virtio_balloon.ts'
import {
  answersOom,
  featuresOf,
  hintedCell,
  hintedList,
  leakBalloon,
  type VirtioBalloon,
  writeActual,
} from './virtio_balloon_driver.ts'

// Tags of the statistics. MINFLT (3), AVAIL (6) and OOM_KILL (10) are of what the engine does not count.
const VIRTIO_BALLOON_S_SWAP_IN = 0
const VIRTIO_BALLOON_S_SWAP_OUT = 1
const VIRTIO_BALLOON_S_MAJFLT = 2
const VIRTIO_BALLOON_S_MEMFREE = 4
const VIRTIO_BALLOON_S_MEMTOT = 5
const VIRTIO_BALLOON_S_CACHES = 7
const VIRTIO_BALLOON_S_HTLB_PGALLOC = 8
const VIRTIO_BALLOON_S_HTLB_PGFAIL = 9
const VIRTIO_BALLOON_S_ALLOC_STALL = 11
const VIRTIO_BALLOON_S_ASYNC_SCAN = 12
const VIRTIO_BALLOON_S_DIRECT_SCAN = 13
const VIRTIO_BALLOON_S_ASYNC_RECLAIM = 14
const VIRTIO_BALLOON_S_DIRECT_RECLAIM = 15

/** Pages that a guest takes back at once when it has none left. */
export const VIRTIO_BALLOON_OOM_NR_PAGES = 256

const PAGE_SIZE = 4096

/** Statistics that are one event counter: tag, name, and whether it counts pages, which are sent as bytes. */
const EVENT_STATS: readonly (readonly [tag: number, event: VmEventName, pages: boolean])[] = [
  [VIRTIO_BALLOON_S_SWAP_IN, 'pswpin', true],
  [VIRTIO_BALLOON_S_SWAP_OUT, 'pswpout', true],
  [VIRTIO_BALLOON_S_MAJFLT, 'pgmajfault', false],
  [VIRTIO_BALLOON_S_HTLB_PGALLOC, 'htlb_buddy_alloc_success', false],
  [VIRTIO_BALLOON_S_HTLB_PGFAIL, 'htlb_buddy_alloc_fail', false],
  [VIRTIO_BALLOON_S_ASYNC_SCAN, 'pgscan_kswapd', true],
  [VIRTIO_BALLOON_S_DIRECT_SCAN, 'pgscan_direct', true],
  [VIRTIO_BALLOON_S_ASYNC_RECLAIM, 'pgsteal_kswapd', true],
  [VIRTIO_BALLOON_S_DIRECT_RECLAIM, 'pgsteal_direct', true],
]

/** The counters of allocations that had to wait: one a kind of zone. */
const STALLS = VM_EVENT_NAMES.filter((name) =>
  ZONE_NAMES.some((zone) => name === `allocstall_${zone.toLowerCase()}`),
)

/**
 * Answers the host's question how the guest is doing. False: statistics were not agreed on.
 *
 * Time is linear in the machine's pages.
 *
 * @kernel drivers/virtio/virtio_balloon.c update_balloon_stats() v6.18
 */
export function updateBalloonStats(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): boolean {
  const { end } = balloon
  if ((featuresOf(cpu, mm, balloon) & VIRTIO_BALLOON_F_STATS_VQ) === 0) return false
  for (const [tag, event, pages] of EVENT_STATS) {
    end.stat(cpu, tag, vmEvent(mm, event) * (pages ? PAGE_SIZE : 1))
  }
  const stalls = STALLS.reduce((sum, name) => sum + vmEvent(mm, name), 0)
  end.stat(cpu, VIRTIO_BALLOON_S_ALLOC_STALL, stalls)
  let free = 0
  let total = 0
  for (let zone = 0; zone < mm.zones; zone++) {
    free += cpu.load(mm.nrFree, zoneIdOf(zone))
    total += cpu.load(mm.zoneManaged, zoneIdOf(zone))
  }
  end.stat(cpu, VIRTIO_BALLOON_S_MEMFREE, free * PAGE_SIZE)
  end.stat(cpu, VIRTIO_BALLOON_S_MEMTOT, total * PAGE_SIZE)
  const cached = countPages(mm).reduce((sum, zone) => sum + zone.cached, 0)
  end.stat(cpu, VIRTIO_BALLOON_S_CACHES, cached * PAGE_SIZE)
  return true
}

/**
 * Memory is out: pages come back, without the host's asking. How many; 0: none, or it was not agreed on.
 *
 * @locks   as leakBalloon()
 * @kernel  drivers/virtio/virtio_balloon.c virtio_balloon_oom_notify() v6.18
 */
export function balloonOomNotify(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): number {
  if (!answersOom(cpu, mm, balloon)) return 0
  const freed = leakBalloon(cpu, mm, balloon, VIRTIO_BALLOON_OOM_NR_PAGES)
  writeActual(cpu, mm, balloon)
  return freed
}

// Hints.

/** Blocks that are hinted as free: the largest that the allocator has. */
const HINT_ORDER = MAX_PAGE_ORDER
const HINT_GFP = __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC

/**
 * Does what the host's command asks for: begins a round and hints all blocks that are free, or gives back what was hinted.
 * How many blocks are kept for the host.
 *
 * @locks   takes and drops (O), (C), (Z)
 * @kernel  drivers/virtio/virtio_balloon.c report_free_page_func(), virtio_balloon_report_free_page() v6.18
 */
export function reportFreePages(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): number {
  if ((featuresOf(cpu, mm, balloon) & VIRTIO_BALLOON_F_FREE_PAGE_HINT) === 0) return 0
  const command = balloon.end.hintCommand(cpu)
  if (command === VIRTIO_BALLOON_CMD_ID_DONE) returnHinted(cpu, mm, balloon, Number.MAX_SAFE_INTEGER)
  else if (command !== VIRTIO_BALLOON_CMD_ID_STOP) hintRound(cpu, mm, balloon, command)
  return cpu.load(mm.ownerCells, hintedCell(balloon))
}

function hintRound(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, command: number): void {
  const { device, end, nid } = balloon
  const list = hintedList(balloon)
  end.hintRound(cpu, command)
  // Bounded by free memory: each round has a block less.
  for (;;) {
    const pfn = allocPages(cpu, mm, HINT_GFP, HINT_ORDER, nid)
    if (pfn < 0) break
    cpu.atomically(
      mm.ownerCells,
      device.cell,
      SPIN_LOCKED,
      keepHintedLocked,
      mm,
      pfn,
      hintedCell(balloon),
      list,
    )
    end.hint(cpu, pfn, HINT_ORDER)
  }
  end.hintRound(cpu, VIRTIO_BALLOON_CMD_ID_STOP)
}

/**
 * Gives up to `blocks` hinted blocks back to the allocator. How many.
 *
 * @locks   takes and drops (O), and what freeing pages does
 * @kernel  drivers/virtio/virtio_balloon.c return_free_pages_to_mm(), shrink_free_pages() v6.18
 */
export function returnHinted(cpu: Cpu, mm: Mm, balloon: VirtioBalloon, blocks: number): number {
  const { device } = balloon
  const [cell, list] = [hintedCell(balloon), hintedList(balloon)]
  let given = 0
  for (; given < blocks; given++) {
    const pfn = cpu.atomically(mm.ownerCells, device.cell, SPIN_LOCKED, takeHintedLocked, mm, cell, list, 0)
    if (pfn < 0) break
    putPage(cpu, mm, pfnOf(pfn))
  }
  return given
}

function keepHintedLocked(mm: Mm, pfn: number, cell: number, list: number): number {
  listAdd(mm.links, pfn, mm.ownerList(list))
  mm.ownerCells[ownerCellOf(cell)]++
  return 0
}

/** A hinted block; -1: there is none. */
function takeHintedLocked(mm: Mm, cell: number, list: number): number {
  const head = mm.ownerList(list)
  if (listEmpty(mm.links, head)) return -1
  const pfn = listFirst(mm.links, head)
  listDel(mm.links, pfn)
  mm.ownerCells[ownerCellOf(cell)]--
  return pfn
}
