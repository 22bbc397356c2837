/**
 * Size classes of zsmalloc: which sizes share zspages, and how many pages a zspage of a class chains.
 *
 * Objects of a class have one size, a multiple of 16 bytes, and may span two pages: a zspage has as many pages, up to
 * the chain size, as leave the least bytes over at its end. Classes with as many pages and as many objects a zspage are
 * one: the larger size serves both.
 *
 * An object has its handle in front, 8 bytes. An object that has a page for itself (the huge class) has not: its page
 * knows its handle. So there is a size from which compressing gains nothing, the huge limit: what is as large costs a
 * page whatever is done, and is better stored as it is.
 *
 *   | CONFIG_ZSMALLOC_CHAIN_SIZE | classes | pages a zspage | huge from |
 *   |----------------------------|---------|----------------|-----------|
 *   | 4                          | 69      | 1 to 4         | 3257      |
 *   | 8 (default)                | 119     | 1 to 8         | 3625      |
 *
 * @kernel mm/zsmalloc.c zs_create_pool(), calculate_zspage_chain_size(), can_merge(), get_size_class_index() v6.18
 */

import { assert } from '../base/assert.ts'

export const PAGE_SIZE = 4096
/** What an object has in front of it. */
export const ZS_HANDLE_SIZE = 8
const ZS_MIN_ALLOC_SIZE = 32
export const ZS_MAX_ALLOC_SIZE = 4096
const ZS_SIZE_CLASS_DELTA = 16
const ZS_SIZE_CLASSES = (ZS_MAX_ALLOC_SIZE - ZS_MIN_ALLOC_SIZE) / ZS_SIZE_CLASS_DELTA + 1
const CHAIN_SIZE_MAX = 16

/** One class, after merging. */
export interface SizeClass {
  /** Bytes of an object, its handle included. */
  readonly size: number
  readonly pagesPerZspage: number
  readonly objsPerZspage: number
  /** Its objects have no handle in front. */
  readonly huge: boolean
}

export interface SizeClasses {
  /** CONFIG_ZSMALLOC_CHAIN_SIZE. */
  readonly chainSize: number
  /** From small to large. */
  readonly classes: readonly SizeClass[]
  /** By (size - 32) / 16, rounded up: index of its class. */
  readonly classOfStep: Uint8Array
  /** An object of so many bytes, without its handle, gets a page for itself. */
  readonly hugeClassSize: number
  /** The most objects that a zspage has. */
  readonly objsMax: number
}

/** All classes for a chain size. */
export function sizeClasses(chainSize: number): SizeClasses {
  assert(Number.isInteger(chainSize), 'zsmalloc: a chain size is a whole number')
  assert(chainSize >= 1 && chainSize <= CHAIN_SIZE_MAX, 'zsmalloc: a zspage chains 1 to 16 pages')
  const classes: SizeClass[] = []
  const classOfStep = new Uint8Array(ZS_SIZE_CLASSES)
  let hugeClassSize = PAGE_SIZE
  // From large to small, so that the first of several sizes that are alike is the one that serves all.
  for (let step = ZS_SIZE_CLASSES - 1; step >= 0; step--) {
    const size = ZS_MIN_ALLOC_SIZE + step * ZS_SIZE_CLASS_DELTA
    const pagesPerZspage = chainOf(size, chainSize)
    const objsPerZspage = Math.floor((pagesPerZspage * PAGE_SIZE) / size)
    const huge = pagesPerZspage === 1 && objsPerZspage === 1
    const last = classes.at(-1)
    if (
      last === undefined ||
      last.pagesPerZspage !== pagesPerZspage ||
      last.objsPerZspage !== objsPerZspage
    ) {
      // What needs this class with its handle is too large for it without: both sides of the limit, in one number.
      if (last?.huge === true && !huge) hugeClassSize = size - (ZS_HANDLE_SIZE - 1)
      classes.push({ size, pagesPerZspage, objsPerZspage, huge })
    }
    classOfStep[step] = classes.length - 1
  }
  classes.reverse()
  for (let step = 0; step < ZS_SIZE_CLASSES; step++)
    classOfStep[step] = classes.length - 1 - classOfStep[step]
  const objsMax = Math.max(...classes.map(({ objsPerZspage }) => objsPerZspage))
  return { chainSize, classes, classOfStep, hugeClassSize, objsMax }
}

/** Index of the class for an object of `size` bytes without its handle. */
export function classIndexOf(classes: SizeClasses, size: number): number {
  const beyond = size + ZS_HANDLE_SIZE - ZS_MIN_ALLOC_SIZE
  const step = beyond <= 0 ? 0 : (beyond + ZS_SIZE_CLASS_DELTA - 1) >> 4
  return classes.classOfStep[step < ZS_SIZE_CLASSES ? step : ZS_SIZE_CLASSES - 1]
}

/** Pages of a zspage for objects of that size: what leaves the least over. A power of two leaves nothing on one. */
function chainOf(size: number, chainSize: number): number {
  let best = 1
  for (let pages = 1; pages <= chainSize; pages++) {
    if ((pages * PAGE_SIZE) % size < (best * PAGE_SIZE) % size) best = pages
  }
  return best
}

assert(ZS_MAX_ALLOC_SIZE === PAGE_SIZE, 'zsmalloc: the largest object is a page')
assert(ZS_SIZE_CLASSES <= 256, 'zsmalloc: the number of a class fits into a byte')
assert(1 << 4 === ZS_SIZE_CLASS_DELTA, 'zsmalloc: classes are 16 bytes apart')
