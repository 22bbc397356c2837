/**
 * Free blocks: which buddy blocks the free pages of a zone form.
 *
 * /proc/kpageflags says that a page is free, not in which block. But the allocator always merges buddies, so in a
 * maximal run of free pages the blocks are the ones that a greedy cut finds: at each pfn the largest block that is
 * aligned to its size and fits. Measured exact against buddyinfo and struct page on 6.18, 6.12 and 6.1, all of which set
 * KPF_BUDDY on every page of a free block.
 *
 * Two things differ from the free lists: pages freed or taken between the reading of kpageflags and of buddyinfo
 * (churn, mostly orders 0 to 3), and MIGRATE_ISOLATE pageblocks, whose blocks do not merge across the border.
 *
 * Not here: which pages are free (page_map.ts).
 *
 * @kernel mm/page_alloc.c __free_one_page() v6.18
 */

import { OWNER_FREE, OWNER_PCP } from './classify.ts'

/** Orders 0..10. */
export const ORDERS = 11
export const MAX_ORDER = ORDERS - 1

/** Largest order of an aligned block at `pfn` that fits in `pages` pages. */
export const orderAt = (pfn: number, pages: number): number => {
  const aligned = pfn === 0 ? MAX_ORDER : 31 - Math.clz32(pfn & -pfn)
  const fitting = 31 - Math.clz32(pages)
  return Math.min(aligned, fitting, MAX_ORDER)
}

/** Calls `visit(pfn, order)` for each buddy block of the free pages in [start, end), in order of address. */
export function forEachFreeBlock(
  owner: Uint8Array,
  start: number,
  end: number,
  visit: (pfn: number, order: number) => void,
): void {
  let pfn = start
  while (pfn < end) {
    if (owner[pfn] !== OWNER_FREE) {
      pfn++
      continue
    }
    let runEnd = pfn + 1
    while (runEnd < end && owner[runEnd] === OWNER_FREE) runEnd++
    while (pfn < runEnd) {
      const order = orderAt(pfn, runEnd - pfn)
      visit(pfn, order)
      pfn += 1 << order
    }
  }
}

/** Free blocks by order of the pages in [start, end). */
export function countFreeBlocks(owner: Uint8Array, start: number, end: number): number[] {
  return countRuns(owner, start, end, OWNER_FREE)
}

/**
 * The same with pages on per-cpu lists taken as free: what draining the lists would give. Just after a compaction the
 * difference is large, because the vacated pages go to the per-cpu list of the compacting cpu.
 */
export function countFreeBlocksDrained(owner: Uint8Array, start: number, end: number): number[] {
  return countRuns(owner, start, end, OWNER_PCP)
}

function countRuns(owner: Uint8Array, start: number, end: number, also: number): number[] {
  const counts = new Int32Array(ORDERS)
  let pfn = start
  while (pfn < end) {
    if (owner[pfn] !== OWNER_FREE && owner[pfn] !== also) {
      pfn++
      continue
    }
    let runEnd = pfn + 1
    while (runEnd < end && (owner[runEnd] === OWNER_FREE || owner[runEnd] === also)) runEnd++
    while (pfn < runEnd) {
      const order = orderAt(pfn, runEnd - pfn)
      counts[order]++
      pfn += 1 << order
    }
  }
  return Array.from(counts)
}

/** Pages in blocks counted by order. */
export const pagesInBlocks = (counts: readonly number[]): number =>
  counts.reduce((pages, count, order) => pages + count * 2 ** order, 0)

/** How far counted blocks are from what /proc/buddyinfo says, by order: counted minus said. All zero: exact. */
export function churn(counted: readonly number[], buddyinfo: readonly number[]): number[] {
  return counted.map((count, order) => count - (buddyinfo[order] ?? 0))
}

/** Sum of several counts by order. */
export const addCounts = (counts: readonly (readonly number[])[]): number[] =>
  Array.from({ length: ORDERS }, (_, order) => counts.reduce((sum, zone) => sum + zone[order], 0))

/** Huge pages that free blocks give: one a block of order 9, two a block of order 10. Exact to 1 on 6.18. */
export const hugeBlocks = (counts: readonly number[]): number => counts[9] + 2 * counts[10]
