/**
 * The bits of a /proc/kpageflags word.
 *
 * Bits 0 to 31 are ABI: their meaning is fixed, though newer kernels stop setting some. Bits from 32 on are
 * "kernel hacking assistance" and may change; they are given as of v6.18. KPF_* are bit numbers, as in the kernel.
 * A word is two unsigned halves here; `lowMask` and `highMask` turn bit numbers into a mask of each.
 *
 * What the words do not say plainly, seen on 6.1, 6.12 and 6.18:
 *   - BUDDY is set on every page of a free block, and its order is not told. UPTODATE beside it on a
 *     block's first page is PageReported: the host knows that the block is free.
 *   - SLAB pages may show ANON, KSM or ACTIVE: slab uses the same fields for something else. Test SLAB first.
 *   - A page on a per-cpu list, an untyped kernel page, a hole and a page never initialised all read 0.
 *   - 6.18 reads holes as 0; 6.1 reports NOPAGE for them.
 *   - zsmalloc pages are exactly UPTODATE (and PRIVATE, for the first of a zspage) on 6.18, without LRU.
 *
 * @kernel include/uapi/linux/kernel-page-flags.h, include/linux/kernel-page-flags.h, fs/proc/page.c v6.18
 */

export const KPF_LOCKED = 0
export const KPF_ERROR = 1 // unused since 6.12
export const KPF_REFERENCED = 2
export const KPF_UPTODATE = 3
export const KPF_DIRTY = 4
export const KPF_LRU = 5
export const KPF_ACTIVE = 6
export const KPF_SLAB = 7
export const KPF_WRITEBACK = 8
export const KPF_RECLAIM = 9
export const KPF_BUDDY = 10
export const KPF_MMAP = 11
export const KPF_ANON = 12
export const KPF_SWAPCACHE = 13
export const KPF_SWAPBACKED = 14
export const KPF_COMPOUND_HEAD = 15
export const KPF_COMPOUND_TAIL = 16
export const KPF_HUGE = 17
export const KPF_UNEVICTABLE = 18
export const KPF_HWPOISON = 19
export const KPF_NOPAGE = 20
export const KPF_KSM = 21
export const KPF_THP = 22 // any large folio that is not hugetlb's
export const KPF_OFFLINE = 23 // balloons, and memory that is logically offline
export const KPF_ZERO_PAGE = 24
export const KPF_IDLE = 25
export const KPF_PGTABLE = 26

// Private to the kernel, as of v6.18.
export const KPF_RESERVED = 32
export const KPF_MLOCKED = 33
export const KPF_OWNER_2 = 34 // AnonExclusive of anonymous pages; MAPPEDTODISK of file pages, its name before 6.12
export const KPF_PRIVATE = 35
export const KPF_PRIVATE_2 = 36
export const KPF_OWNER_PRIVATE = 37
export const KPF_ARCH = 38
export const KPF_UNCACHED = 39
export const KPF_SOFTDIRTY = 40
export const KPF_ARCH_2 = 41
export const KPF_ARCH_3 = 42

/** Names by bit number, KPF_* without the prefix; a bit that has no name is `undefined`. */
export const KPF_NAMES: readonly (string | undefined)[] = [
  'LOCKED',
  'ERROR',
  'REFERENCED',
  'UPTODATE',
  'DIRTY',
  'LRU',
  'ACTIVE',
  'SLAB',
  'WRITEBACK',
  'RECLAIM',
  'BUDDY',
  'MMAP',
  'ANON',
  'SWAPCACHE',
  'SWAPBACKED',
  'COMPOUND_HEAD',
  'COMPOUND_TAIL',
  'HUGE',
  'UNEVICTABLE',
  'HWPOISON',
  'NOPAGE',
  'KSM',
  'THP',
  'OFFLINE',
  'ZERO_PAGE',
  'IDLE',
  'PGTABLE',
  ...new Array<undefined>(32 - 27),
  'RESERVED',
  'MLOCKED',
  'OWNER_2',
  'PRIVATE',
  'PRIVATE_2',
  'OWNER_PRIVATE',
  'ARCH',
  'UNCACHED',
  'SOFTDIRTY',
  'ARCH_2',
  'ARCH_3',
]

/** The bits among `bits` (numbers, 0..63) that lie in the low half of a word, as a mask. */
export const lowMask = (...bits: readonly number[]): number =>
  bits.reduce((mask, bit) => (bit < 32 ? mask | (1 << bit) : mask), 0)

/** The bits among `bits` (numbers, 0..63) that lie in the high half of a word, as a mask. */
export const highMask = (...bits: readonly number[]): number =>
  bits.reduce((mask, bit) => (bit >= 32 ? mask | (1 << (bit - 32)) : mask), 0)

/** Names of the bits that a word has, joined by `|`; a bit without a name is its number; `0` for none. */
export function describeFlags(low: number, high: number): string {
  const names: string[] = []
  for (let bit = 0; bit < 64; bit++) {
    const half = bit < 32 ? low : high
    if ((half >>> (bit & 31)) & 1) names.push(KPF_NAMES[bit] ?? `bit ${bit}`)
  }
  return names.length === 0 ? '0' : names.join('|')
}

const BUDDY = lowMask(KPF_BUDDY)
const HEAD_AND_TAIL = lowMask(KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL)

/**
 * Why no kernel reports this word, or `undefined` if one may. A free page is on no LRU list and in no slab, and the
 * head of a compound page is not a tail. None of the 225 distinct words of 49 snapshots of three kernels has either.
 */
export function impossibleFlags(low: number): string | undefined {
  if (low & BUDDY && low & lowMask(KPF_LRU)) return 'BUDDY and LRU: free and in use'
  if (low & BUDDY && low & lowMask(KPF_SLAB)) return 'BUDDY and SLAB: free and in use'
  if ((low & HEAD_AND_TAIL) === HEAD_AND_TAIL) return 'COMPOUND_HEAD and COMPOUND_TAIL'
  return undefined
}
