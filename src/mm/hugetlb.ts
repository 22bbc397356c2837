/**
 * The size of the hugetlb pool: what writing to nr_hugepages does, and giving pages of it out.
 *
 * A typical sequence is:
 *   setNrHugepages(cpu, mm, 40)          // gets as many as it can, nodes in turn
 *   pfn = getHugePage(cpu, mm, nid)      // one reference
 *   putPage(cpu, mm, pfn)                // the last reference: free in the pool again
 *   setNrHugepages(cpu, mm, 0)           // free ones go back; those in use go when they are put
 *
 * Rules:
 *   - one task at a time changes the size: there is no resize_lock here.
 *
 * @kernel mm/hugetlb.c set_max_huge_pages(), alloc_pool_huge_folio(), alloc_buddy_hugetlb_folio() v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type Nid, nidOf, type Pfn, pfnOf } from '../base/units.ts'
import {
  __GFP_COMP,
  __GFP_NOWARN,
  __GFP_RETRY_MAYFAIL,
  __GFP_THISNODE,
  GFP_HIGHUSER_MOVABLE,
  type Gfp,
} from './gfp.ts'
import {
  dequeueLocked,
  enqueueFreshLocked,
  freeHugePages,
  HUGETLB,
  HUGETLB_LOCK,
  HUGETLB_PAGE_ORDER,
  nrHugePages,
  removeLocked,
  surplusHugePages,
} from './hugetlb_pool.ts'
import { SPIN_LOCKED } from './locks.ts'
import { type Mm, zonesOfNode } from './page.ts'
import { freeFrozenPages, putPage } from './page_alloc.ts'
import { allocPages } from './slowpath.ts'
import { countVmEvents, HTLB_BUDDY_PGALLOC, HTLB_BUDDY_PGALLOC_FAIL } from './vmstat.ts'

/**
 * What an allocation of a page for the pool, from one node, says of itself; with or without trying hard.
 *
 * @kernel mm/hugetlb.c htlb_alloc_mask(), alloc_buddy_hugetlb_folio() v6.18
 */
export const htlbGfpMask = (tryHard: boolean): Gfp =>
  GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOWARN | __GFP_THISNODE | (tryHard ? __GFP_RETRY_MAYFAIL : 0)

// Cells of `hugetlbNext`.
const NEXT_NID_TO_ALLOC = nidOf(0)
const NEXT_NID_TO_FREE = nidOf(1)

/**
 * Makes the pool `count` pages large, or on one node so many that this node has `count`. Pages come from the nodes in
 * turn, and the first time that no node has one more it is left at that; free pages that are too many are freed, nodes
 * in turn; what is still too many then is in use, and is surplus until it is put. Gives how many pages the pool has
 * without its surplus.
 *
 * @locks   takes and drops (H), and what allocPages() does
 * @sleeps  when it grows
 * @kernel  mm/hugetlb.c set_max_huge_pages() v6.18
 */
export function setNrHugepages(cpu: Cpu, mm: Mm, count: number, nid?: number): number {
  assert(Number.isInteger(count) && count >= 0, 'hugetlb: the number of pages is a count')
  assert(nid === undefined || (nid >= 0 && nid < mm.nodes), 'hugetlb: the node exists')
  const nodes = nid === undefined ? nodesWithMemory(mm) : [nidOf(nid)]
  const elsewhere = nid === undefined ? 0 : persistent(cpu, mm, ALL_NODES) - persistent(cpu, mm, nid)
  const wanted = count + elsewhere
  while (wanted > persistent(cpu, mm, ALL_NODES)) {
    if (!adjustSurplus(cpu, mm, nodes, -1)) break
  }
  if (!growPool(cpu, mm, nodes, wanted)) return persistent(cpu, mm, ALL_NODES)
  shrinkPool(cpu, mm, nodes, wanted)
  while (wanted < persistent(cpu, mm, ALL_NODES)) {
    if (!adjustSurplus(cpu, mm, nodes, 1)) break
  }
  return persistent(cpu, mm, ALL_NODES)
}

const ALL_NODES = -1

/** Pages that the pool shall keep, of one node or of all. @kernel persistent_huge_pages() */
const persistent = (cpu: Cpu, mm: Mm, nid: number): number =>
  cpu.atomically(mm.hugetlbLock, HUGETLB_LOCK, SPIN_LOCKED, persistentLocked, mm, nid, 0, 0)

function persistentLocked(mm: Mm, node: number): number {
  if (node === ALL_NODES) return nrHugePages(mm) - surplusHugePages(mm)
  return mm.nrHugePages[nidOf(node)] - mm.surplusHugePages[nidOf(node)]
}

const inUseLocked = (mm: Mm): number => nrHugePages(mm) - freeHugePages(mm)

const nodesWithMemory = (mm: Mm): Nid[] =>
  Array.from({ length: mm.nodes }, (_, nid) => nidOf(nid)).filter((nid) =>
    zonesOfNode(mm, nid).some((zone) => mm.zonePresent[zone] > 0),
  )

/**
 * The node among `nodes` whose turn it is; the one after it is next.
 *
 * @kernel mm/hugetlb.c hstate_next_node_to_alloc(), hstate_next_node_to_free() v6.18
 */
function nextNode(cpu: Cpu, mm: Mm, turn: Nid, nodes: readonly Nid[]): Nid {
  const at = cpu.load(mm.hugetlbNext, turn)
  const nid = nodes.find((node) => node >= at) ?? nodes[0]
  cpu.store(mm.hugetlbNext, turn, nodes.find((node) => node > nid) ?? nodes[0])
  return nid
}

// Growing.

/** Gets pages until the pool has `wanted`. False: there are no more. */
function growPool(cpu: Cpu, mm: Mm, nodes: readonly Nid[], wanted: number): boolean {
  const tiredNodes = new Set<Nid>()
  const fresh: Pfn[] = []
  let missing = wanted - persistent(cpu, mm, ALL_NODES)
  for (; missing > 0; missing--) {
    const pfn = allocPoolHugeFolio(cpu, mm, nodes, tiredNodes)
    if (pfn < 0) break
    if (mm.rules.hugetlbPoolGrowsAtOnce) fresh.push(pfnOf(pfn))
    else enqueueFresh(cpu, mm, pfnOf(pfn))
  }
  // Last one first, so that the first one is first on its list.
  for (const pfn of fresh.toReversed()) enqueueFresh(cpu, mm, pfn)
  return missing <= 0
}

function enqueueFresh(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  const nid = mm.zoneNode[mm.zoneOf(pfn)]
  cpu.atomically(mm.hugetlbLock, HUGETLB_LOCK, SPIN_LOCKED, enqueueFreshLocked, mm, pfn, nid, 0)
}

/** A page of the first node that has one, beginning with the one whose turn it is. @errors -1: none has */
function allocPoolHugeFolio(cpu: Cpu, mm: Mm, nodes: readonly Nid[], tiredNodes: Set<Nid>): number {
  for (let tried = 0; tried < nodes.length; tried++) {
    const nid = nextNode(cpu, mm, NEXT_NID_TO_ALLOC, nodes)
    const pfn = allocBuddyHugetlbFolio(cpu, mm, nid, tiredNodes)
    if (pfn >= 0) return pfn
  }
  return -1
}

/**
 * A page of one node, of the pool's type and with frozen references. After a failure on a node it is not tried hard
 * there (RETRY_MAYFAIL) until it has succeeded again.
 *
 * @errors -1: there is none
 * @kernel mm/hugetlb.c alloc_buddy_hugetlb_folio() v6.18
 */
function allocBuddyHugetlbFolio(cpu: Cpu, mm: Mm, nid: Nid, tiredNodes: Set<Nid>): number {
  const gfp = htlbGfpMask(!tiredNodes.has(nid))
  let pfn = allocPages(cpu, mm, gfp, HUGETLB_PAGE_ORDER, nid)
  if (pfn >= 0 && !freeze(cpu, mm, pfnOf(pfn))) {
    // Somebody has looked at the page before it was ours and still holds it: once more, with another one.
    pfn = allocPages(cpu, mm, gfp, HUGETLB_PAGE_ORDER, nid)
    if (pfn >= 0 && !freeze(cpu, mm, pfnOf(pfn))) pfn = -1
  }
  countVmEvents(mm, pfn >= 0 ? HTLB_BUDDY_PGALLOC : HTLB_BUDDY_PGALLOC_FAIL, 1)
  if (pfn < 0) {
    tiredNodes.add(nid)
    return -1
  }
  tiredNodes.delete(nid)
  cpu.store(mm.mapcount, pfnOf(pfn), HUGETLB)
  return pfn
}

/** Freezes the one reference of a fresh page; drops it if it is not the only one. */
function freeze(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  if (cpu.cas(mm.refcount, pfn, 1, 0)) return true
  putPage(cpu, mm, pfn)
  return false
}

// Shrinking.

/** Frees free pages until the pool has `wanted`, or none is free. */
function shrinkPool(cpu: Cpu, mm: Mm, nodes: readonly Nid[], wanted: number): void {
  const inUse = cpu.atomically(mm.hugetlbLock, HUGETLB_LOCK, SPIN_LOCKED, inUseLocked, mm, 0, 0, 0)
  const least = Math.max(wanted, inUse)
  const removed: Pfn[] = []
  while (least < persistent(cpu, mm, ALL_NODES)) {
    const pfn = removePoolHugeFolio(cpu, mm, nodes)
    if (pfn < 0) break
    removed.push(pfnOf(pfn))
  }
  for (const pfn of removed.toReversed()) freeFrozenPages(cpu, mm, pfn, HUGETLB_PAGE_ORDER)
}

/** Takes a free page out of the pool, from the first node that has one. @errors -1: none has */
function removePoolHugeFolio(cpu: Cpu, mm: Mm, nodes: readonly Nid[]): number {
  for (let tried = 0; tried < nodes.length; tried++) {
    const nid = nextNode(cpu, mm, NEXT_NID_TO_FREE, nodes)
    const pfn = cpu.atomically(mm.hugetlbLock, HUGETLB_LOCK, SPIN_LOCKED, removeLocked, mm, nid, 0, 0)
    if (pfn >= 0) return pfn
  }
  return -1
}

/**
 * One page of some node becomes surplus (`delta` 1), or is none any more (-1). False: there is no such node.
 *
 * @kernel mm/hugetlb.c adjust_pool_surplus() v6.18
 */
function adjustSurplus(cpu: Cpu, mm: Mm, nodes: readonly Nid[], delta: 1 | -1): boolean {
  const turn = delta < 0 ? NEXT_NID_TO_ALLOC : NEXT_NID_TO_FREE
  for (let tried = 0; tried < nodes.length; tried++) {
    const nid = nextNode(cpu, mm, turn, nodes)
    const done = cpu.atomically(
      mm.hugetlbLock,
      HUGETLB_LOCK,
      SPIN_LOCKED,
      adjustSurplusLocked,
      mm,
      nid,
      delta,
      0,
    )
    if (done === 1) return true
  }
  return false
}

function adjustSurplusLocked(mm: Mm, node: number, delta: number): number {
  const nid = nidOf(node)
  const surplus = mm.surplusHugePages[nid]
  if (delta < 0 ? surplus === 0 : surplus >= mm.nrHugePages[nid]) return 0
  mm.surplusHugePages[nid] += delta
  return 1
}

// Giving out.

/**
 * A free page of the pool, with one reference: of node `nid` if it has one, else of the next one. putPage() gives it
 * back.
 *
 * @locks   takes and drops (H)
 * @errors  -1: the pool has no free page
 * @kernel  mm/hugetlb.c dequeue_hugetlb_folio_nodemask() v6.18
 */
export function getHugePage(cpu: Cpu, mm: Mm, nid: number): number {
  assert(nid >= 0 && nid < mm.nodes, 'hugetlb: the node exists')
  for (let i = 0; i < mm.nodes; i++) {
    const node = (nid + i) % mm.nodes
    const pfn = cpu.atomically(mm.hugetlbLock, HUGETLB_LOCK, SPIN_LOCKED, dequeueLocked, mm, node, 0, 0)
    if (pfn < 0) continue
    cpu.store(mm.refcount, pfnOf(pfn), 1)
    return pfn
  }
  return -1
}
