/**
 * The hugetlb pool: huge pages that are kept for those who ask for them by name, free or given out.
 *
 * A page of the pool is in one of these states:
 *   (1) free: refcount 0, page type hugetlb, on the list of its node; counts in nr and free
 *   (2) given out: refcount > 0, page type hugetlb, on no list of the pool; counts in nr
 * Transitions: (1) -> (2) dequeue; (2) -> (1) the last reference is dropped, unless the node has more pages than it
 * shall have (surplus): then the page leaves the pool and is freed.
 *
 * Rules:
 *   - the lists and the counts change under (H), in sections that touch nothing else;
 *   - what the sections take off a list belongs to the caller, and nobody else can reach it.
 *
 * Not here: how the pool gets its pages and gives them back (hugetlb.ts). There is one size (2 MiB); there are no
 * reservations, no overcommitted pages, no cgroups, no poisoned pages, and page tables cannot map a page of the pool.
 * A page of the pool does not migrate: compaction passes over it as over any folio of its size.
 *
 * @kernel mm/hugetlb.c enqueue_hugetlb_folio(), dequeue_hugetlb_folio_node_exact(), free_huge_folio() v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAdd, listDel, listEmpty, listFirst } from '../base/list.ts'
import { type Nid, nidOf, type Pfn } from '../base/units.ts'
import { PGTY_hugetlb, pageblock_order, pageTypeValue } from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import type { Mm } from './page.ts'

/** Order of the pool's pages. */
export const HUGETLB_PAGE_ORDER = pageblock_order
/** `mapcount` of a head of the pool. */
export const HUGETLB = pageTypeValue(PGTY_hugetlb)

/** The one hugetlb lock. */
export const HUGETLB_LOCK = nidOf(0)

const nodeOf = (mm: Mm, pfn: Pfn): Nid => nidOf(mm.zoneNode[mm.zoneOf(pfn)])

/** Puts a page first on the list of its node. Its references are frozen. @locks needs (H) */
export function enqueueLocked(mm: Mm, page: number, nid: number): number {
  listAdd(mm.links, page, mm.hugetlbList(nidOf(nid)))
  mm.freeHugePages[nidOf(nid)]++
  return 0
}

/** The same for a page that the pool has not counted yet. @locks needs (H) */
export function enqueueFreshLocked(mm: Mm, page: number, nid: number): number {
  mm.nrHugePages[nidOf(nid)]++
  return enqueueLocked(mm, page, nid)
}

/** Takes the first free page of a node to give it out. @locks needs (H) @errors -1: there is none */
export function dequeueLocked(mm: Mm, nid: number): number {
  const head = mm.hugetlbList(nidOf(nid))
  if (listEmpty(mm.links, head)) return -1
  const page = listFirst(mm.links, head)
  listDel(mm.links, page)
  mm.freeHugePages[nidOf(nid)]--
  return page
}

/** Takes the first free page of a node out of the pool. @locks needs (H) @errors -1: there is none */
export function removeLocked(mm: Mm, nid: number): number {
  const page = dequeueLocked(mm, nid)
  if (page >= 0) mm.nrHugePages[nidOf(nid)]--
  return page
}

/** Takes a page that was given out back: 1, or out of the pool if its node has a surplus: 0. @locks needs (H) */
function takeBackLocked(mm: Mm, page: number, nid: number): number {
  const node = nidOf(nid)
  if (mm.surplusHugePages[node] === 0) {
    enqueueLocked(mm, page, nid)
    return 1
  }
  mm.surplusHugePages[node]--
  mm.nrHugePages[node]--
  return 0
}

/**
 * The last reference of a page of the pool is gone. True: it is free in the pool. False: the pool has too many; the
 * page is a page like any other, and the caller's to free.
 *
 * @locks   takes and drops (H)
 * @kernel  mm/hugetlb.c free_huge_folio() v6.18
 */
export function freeHugeFolio(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  const nid = nodeOf(mm, pfn)
  const kept = cpu.atomically(mm.hugetlbLock, HUGETLB_LOCK, SPIN_LOCKED, takeBackLocked, mm, pfn, nid, 0)
  return kept === 1
}

/** Pages of the pool on all nodes: what nr_hugepages says. */
export const nrHugePages = (mm: Mm): number => sumOfNodes(mm, (nid) => mm.nrHugePages[nid])
/** Of these, the free ones: free_hugepages. */
export const freeHugePages = (mm: Mm): number => sumOfNodes(mm, (nid) => mm.freeHugePages[nid])
/** Of these, those beyond what the pool shall have: surplus_hugepages. */
export const surplusHugePages = (mm: Mm): number => sumOfNodes(mm, (nid) => mm.surplusHugePages[nid])

function sumOfNodes(mm: Mm, of: (nid: Nid) => number): number {
  let sum = 0
  for (let nid = 0; nid < mm.nodes; nid++) sum += of(nidOf(nid))
  return sum
}

// Building a machine: for loaders, before anything runs on it.

/** Counts a page of type hugetlb that somebody uses. */
export function addHugePageInUse(mm: Mm, pfn: Pfn): void {
  assert(mm.mapcount[pfn] === HUGETLB && mm.refcount[pfn] > 0, 'hugetlb: the page is of its type and in use')
  mm.nrHugePages[nodeOf(mm, pfn)]++
}
