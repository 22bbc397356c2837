/**
 * Fragmentation figures: the kernel's own, from free blocks by order.
 *
 * Rules:
 *   - integer arithmetic, in the kernel's order: the thousandths equal /sys/kernel/debug/extfrag to the digit.
 *
 * @kernel mm/vmstat.c fill_contig_page_info(), unusable_free_index(), extfrag_for_order() v6.18
 */

import { fragmentationIndexOf } from '../mm/vmstat.ts'
import { pagesInBlocks } from './free_blocks.ts'

/** Blocks of `order` that the free blocks of that order and above contain. */
export function suitableBlocks(freeBlocksByOrder: readonly number[], order: number): number {
  let blocks = 0
  for (let o = order; o < freeBlocksByOrder.length; o++) blocks += freeBlocksByOrder[o] * 2 ** (o - order)
  return blocks
}

/**
 * Why an allocation of `order` would fail, in thousandths: towards 0 there is too little memory, towards 1000 it is
 * fragmented. -1000: it would not fail. Spec C-12.
 */
export function fragmentationIndex(freeBlocksByOrder: readonly number[], order: number): number {
  const blocks = freeBlocksByOrder.reduce((sum, count) => sum + count, 0)
  return fragmentationIndexOf(
    pagesInBlocks(freeBlocksByOrder),
    blocks,
    suitableBlocks(freeBlocksByOrder, order),
    order,
  )
}

/** Thousandths of the free memory that cannot serve an allocation of `order`. */
export function unusableIndex(freeBlocksByOrder: readonly number[], order: number): number {
  return unusable(freeBlocksByOrder, order, 1000) ?? 1000
}

/** The same in percent, 0 if nothing is free: what proactive compaction weighs. */
export function extfragPercent(freeBlocksByOrder: readonly number[], order: number): number {
  return unusable(freeBlocksByOrder, order, 100) ?? 0
}

function unusable(freeBlocksByOrder: readonly number[], order: number, scale: number): number | undefined {
  const freePages = pagesInBlocks(freeBlocksByOrder)
  if (freePages === 0) return undefined
  return Math.floor(((freePages - suitableBlocks(freeBlocksByOrder, order) * 2 ** order) * scale) / freePages)
}
