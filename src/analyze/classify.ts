/**
 * Who owns a page: one /proc/kpageflags word (and, where it is ambiguous, mapcount and cgroup) -> owner class.
 *
 * A machine shows under 200 distinct flag words, so a word is classified once and a page by table lookup. Where a
 * word alone does not tell, the class says so (`OWNER_UNTYPED`), and page_map.ts settles it from what surrounds the page.
 *
 * The order of the tests is the order of trust. Page types (buddy, slab, page table, offline) come first: the kernel
 * overlays the fields that the other bits are computed from, so those bits mean nothing on a typed page.
 *
 * Rules:
 *   - a class is about the owner; what the page is doing at the moment (dirty, writeback) is an attribute;
 *   - `movable` is said of movable_ops pages only. LRU pages are `movable_if_unpinned`: kpageflags and kpagecount do not
 *     show references, so a pin is invisible unless the capture has truth.refcount.
 *
 * Not here: per-cpu free pages, pins, holes, folio orders (page_map.ts); pageblock types (pageblock_types.ts).
 *
 * @kernel fs/proc/page.c stable_page_flags() v6.1, v6.12, v6.18; host-6.18.md section 2, captures/qemu
 */

import type { Column } from '../capture/format/capture.ts'
import {
  highMask,
  KPF_ANON,
  KPF_BUDDY,
  KPF_COMPOUND_HEAD,
  KPF_COMPOUND_TAIL,
  KPF_DIRTY,
  KPF_HUGE,
  KPF_HWPOISON,
  KPF_KSM,
  KPF_LRU,
  KPF_MLOCKED,
  KPF_MMAP,
  KPF_NOPAGE,
  KPF_OFFLINE,
  KPF_PGTABLE,
  KPF_PRIVATE,
  KPF_RESERVED,
  KPF_SLAB,
  KPF_SWAPBACKED,
  KPF_SWAPCACHE,
  KPF_UNEVICTABLE,
  KPF_UPTODATE,
  KPF_WRITEBACK,
  KPF_ZERO_PAGE,
  lowMask,
} from '../capture/format/kpageflags.ts'

/** Owner classes. The numbers are those of the page map; they are not stored anywhere. */
export const OWNER_HOLE = 0
export const OWNER_FREE = 1
export const OWNER_PCP = 2
export const OWNER_UNINITIALISED = 3
export const OWNER_UNTYPED = 4
export const OWNER_ANON = 5
export const OWNER_ANON_MLOCKED = 6
export const OWNER_ANON_BATCH = 7
export const OWNER_PINNED = 8
export const OWNER_KSM = 9
export const OWNER_SHMEM = 10
export const OWNER_FILE = 11
export const OWNER_FILE_DIRTY = 12
export const OWNER_FILE_FOLIO = 13
export const OWNER_FILE_BATCH = 14
export const OWNER_BUFFER = 15
export const OWNER_HUGE_FOLIO = 16
export const OWNER_HUGETLB = 17
export const OWNER_ZSMALLOC = 18
export const OWNER_BALLOON = 19
export const OWNER_OFFLINE = 20
export const OWNER_SLAB = 21
export const OWNER_PGTABLE = 22
export const OWNER_RESERVED = 23
export const OWNER_MEMMAP = 24
export const OWNER_ZERO_PAGE = 25
export const OWNER_HWPOISON = 26
export const OWNER_SECRETMEM = 27
export const OWNER_KERNEL = 28
export const OWNER_OTHER = 29
/** zsmalloc that did not register movable_ops: CONFIG_COMPACTION=n, or a kernel before 4.8. Only truth.mapping tells. */
export const OWNER_ZSMALLOC_FIXED = 30
export const OWNER_COUNT = 31

/**
 * What compaction can do with a page.
 *
 * - `absent`: there is no memory; `free`: nothing to move
 * - `movable`: registered movable_ops, nobody else holds references
 * - `movable_if_unpinned`: on the LRU; moves unless somebody holds a reference more than the mappings
 * - `in_use_huge`: part of a huge page, which is what was wanted
 * - `unmovable`; `unknown`: the word does not tell
 */
export type Movability =
  | 'absent'
  | 'free'
  | 'movable'
  | 'movable_if_unpinned'
  | 'in_use_huge'
  | 'unmovable'
  | 'unknown'

export interface OwnerClass {
  /** For people and for JSON. */
  readonly name: string
  readonly movability: Movability
  /** Why it does not move, or under which condition it does, in the kernel's words. Empty: nothing to say. */
  readonly reason: string
}

const LRU_REASON =
  'moves unless pinned: references beyond the mappings make migrate_folio() fail with -EAGAIN'

/** By owner number. */
export const OWNER_CLASSES: readonly OwnerClass[] = [
  { name: 'hole', movability: 'absent', reason: 'no memory at this address' },
  { name: 'free', movability: 'free', reason: '' },
  {
    name: 'per-cpu free',
    movability: 'free',
    reason: 'on a per-cpu list, not PageBuddy: merges when drained',
  },
  { name: 'not initialised', movability: 'free', reason: 'struct pages not initialised yet (deferred_init)' },
  {
    name: 'kernel or per-cpu free',
    movability: 'unknown',
    reason: 'no flags: an untyped kernel page, or free on a per-cpu list; /proc does not tell which',
  },
  { name: 'anon', movability: 'movable_if_unpinned', reason: LRU_REASON },
  {
    name: 'anon (mlocked)',
    movability: 'movable_if_unpinned',
    reason: `mlock does not pin (vm.compact_unevictable_allowed=1); ${LRU_REASON}`,
  },
  {
    name: 'anon (LRU batch)',
    movability: 'movable_if_unpinned',
    reason: 'not PageLRU while in a per-cpu folio_batch; lru_add_drain_all() puts it on the LRU',
  },
  {
    name: 'pinned',
    movability: 'unmovable',
    reason: 'pinned (FOLL_PIN, GUP): more references than mappings, isolate_migratepages_block() skips it',
  },
  { name: 'ksm', movability: 'movable_if_unpinned', reason: LRU_REASON },
  { name: 'shmem', movability: 'movable_if_unpinned', reason: LRU_REASON },
  { name: 'file', movability: 'movable_if_unpinned', reason: LRU_REASON },
  {
    name: 'file (dirty)',
    movability: 'movable_if_unpinned',
    reason: 'dirty or under writeback: only MIGRATE_SYNC waits for it, and it cannot be split meanwhile',
  },
  { name: 'file (large folio)', movability: 'movable_if_unpinned', reason: LRU_REASON },
  {
    name: 'file (LRU batch)',
    movability: 'movable_if_unpinned',
    reason: 'not PageLRU while in a per-cpu folio_batch or isolated; lru_add_drain_all() puts it on the LRU',
  },
  {
    name: 'buffers',
    movability: 'movable_if_unpinned',
    reason:
      'block device buffers: buffer_migrate_folio_norefs() refuses while the journal holds a buffer_head',
  },
  {
    name: 'huge folio',
    movability: 'in_use_huge',
    reason: 'folio_order() >= pageblock_order: compaction skips it; it is a huge page in use',
  },
  {
    name: 'hugetlb',
    movability: 'in_use_huge',
    reason: 'PageHuge: compaction skips it; only alloc_contig_range() dissolves or replaces it',
  },
  { name: 'zsmalloc', movability: 'movable', reason: 'movable_ops of zsmalloc (zram, zswap)' },
  { name: 'balloon', movability: 'movable', reason: 'movable_ops of the balloon driver' },
  {
    name: 'offline',
    movability: 'unmovable',
    reason: 'PageOffline without movable_ops: held by a balloon or hot-plug driver that cannot migrate',
  },
  {
    name: 'slab',
    movability: 'unmovable',
    reason: 'PageSlab: objects are reached by address; not PageLRU, no movable_ops',
  },
  {
    name: 'page table',
    movability: 'unmovable',
    reason: 'PageTable: the MMU walks it by physical address; not PageLRU, no movable_ops',
  },
  {
    name: 'reserved',
    movability: 'unmovable',
    reason: 'PG_reserved: boot memory, never given to the buddy allocator',
  },
  { name: 'memory map', movability: 'unmovable', reason: 'PG_reserved: holds the struct pages themselves' },
  { name: 'zero page', movability: 'unmovable', reason: 'PG_reserved: the shared zero page' },
  { name: 'hwpoison', movability: 'unmovable', reason: 'PG_hwpoison: withdrawn after a memory error' },
  {
    name: 'secretmem',
    movability: 'unmovable',
    reason: 'not PageLRU, not in the direct map: secretmem_migrate_folio() returns -EBUSY',
  },
  {
    name: 'kernel',
    movability: 'unmovable',
    reason: 'untyped kernel allocation: not PageLRU, no movable_ops',
  },
  { name: 'other', movability: 'unmovable', reason: 'not PageLRU, no movable_ops' },
  {
    name: 'zsmalloc (fixed)',
    movability: 'unmovable',
    reason: 'zsmalloc without movable_ops: not PageLRU, no way to move it',
  },
]

/** Classes of LRU pages that nothing is known to hold, and that are no huge pages in use. */
export const MOVABLE_LRU_OWNERS: readonly number[] = Array.from(OWNER_CLASSES.keys()).filter(
  (owner) => OWNER_CLASSES[owner].movability === 'movable_if_unpinned',
)

/** Name of an owner class for machines: `page_table`, `anon_mlocked`. */
export const ownerId = (owner: number): string =>
  OWNER_CLASSES[owner].name
    .replace(/[^a-zA-Z]+/g, '_')
    .replace(/_$/, '')
    .toLowerCase()

/** Attributes of a word, beside its owner. */
export const ATTR_LRU = 1
export const ATTR_HEAD = 2
export const ATTR_TAIL = 4
export const ATTR_DIRTY = 8
export const ATTR_WRITEBACK = 16
export const ATTR_SWAPCACHE = 32
/** PG_reported: the host was told that this free block is free. On the head only. */
export const ATTR_REPORTED = 64
/** The owner depends on the page's mapcount and cgroup as well: page_map.ts looks. */
export const ATTR_AMBIGUOUS = 128
export const ATTR_ANON = 256

/**
 * How this kernel shows zsmalloc pages.
 *
 * - `uptodate`: 6.18. PG_movable_ops aliases PG_uptodate: UPTODATE, the first page of a zspage UPTODATE|PRIVATE
 * - `mapcount`: 6.1. The offset of the first object lies where _mapcount is: MMAP with a wild mapcount, first page MMAP|PRIVATE
 * - `bare`: 6.12. Nothing, the first page PRIVATE: all others look like per-cpu free pages
 * - `none`: no zsmalloc page on this machine
 */
export type ZsmallocForm = 'uptodate' | 'mapcount' | 'bare' | 'none'

/** What must be known of the machine before a word means something. */
export interface MachineTraits {
  readonly zsmalloc: ZsmallocForm
  /**
   * The KSM bit means KSM. On 6.12 it does not: stable_page_flags() tests PAGE_MAPPING_KSM as "any of the two bits", so
   * that every anonymous page reads KSM.
   */
  readonly ksmBit: boolean
  /** PageOffline pages belong to a balloon that can migrate them. */
  readonly balloonMoves: boolean
}

/** Owner and attributes by dictionary index of the flags column. */
export interface WordClasses {
  readonly owner: Uint8Array
  readonly attributes: Uint16Array
}

/** Classifies every distinct flags word of a capture. */
export function classifyWords(flags: Column, traits: MachineTraits): WordClasses {
  const words = flags.dictionaryLow.length
  const owner = new Uint8Array(words)
  const attributes = new Uint16Array(words)
  for (let i = 0; i < words; i++) {
    const low = flags.dictionaryLow[i]
    const high = flags.dictionaryHigh[i]
    owner[i] = ownerOfWord(low, high, traits)
    attributes[i] = attributesOfWord(low, high, owner[i])
  }
  return { owner, attributes }
}

/** Owner class of one flags word. `low` and `high` are its 32-bit halves. */
export function ownerOfWord(low: number, high: number, traits: MachineTraits): number {
  const has: Has = (bit) => hasBit(low, high, bit)
  // No struct page. Never reported by 6.18, where the pages of a hole read 0: page_map.ts finds those by zoneinfo.
  if (has(KPF_NOPAGE)) return OWNER_HOLE
  // On every page of a free block, head and tails, on all kernels seen. With UPTODATE it is PageReported.
  if (has(KPF_BUDDY)) return OWNER_FREE
  // Before ANON and KSM: slab overlays `mapping`, so one slab page in eight reads ANON, some KSM. Tails carry SLAB too.
  if (has(KPF_SLAB)) return OWNER_SLAB
  if (has(KPF_HWPOISON)) return OWNER_HWPOISON
  if (has(KPF_PGTABLE)) return OWNER_PGTABLE
  if (has(KPF_OFFLINE)) return traits.balloonMoves ? OWNER_BALLOON : OWNER_OFFLINE
  if (has(KPF_ZERO_PAGE)) return OWNER_ZERO_PAGE
  // The memory map's pages carry PG_private (bootmem info) beside PG_reserved.
  if (has(KPF_RESERVED)) return has(KPF_PRIVATE) ? OWNER_MEMMAP : OWNER_RESERVED
  if (has(KPF_HUGE)) return OWNER_HUGETLB
  return has(KPF_LRU) ? ownerOfLruWord(has, traits) : ownerOfNonLruWord(low, high, has, traits)
}

type Has = (bit: number) => boolean

function ownerOfLruWord(has: Has, traits: MachineTraits): number {
  if (has(KPF_ANON)) {
    if (has(KPF_KSM) && traits.ksmBit) return OWNER_KSM
    return has(KPF_MLOCKED) || has(KPF_UNEVICTABLE) ? OWNER_ANON_MLOCKED : OWNER_ANON
  }
  if (has(KPF_SWAPBACKED)) return OWNER_SHMEM
  if (has(KPF_DIRTY) || has(KPF_WRITEBACK)) return OWNER_FILE_DIRTY
  // KPF_THP marks any large folio, not only huge ones: ext4 makes folios of order 1 to 9.
  if (isCompound(has)) return OWNER_FILE_FOLIO
  // Up to date by buffer, not by page: the block device's own page cache (ext4 metadata).
  const isBuffer = has(KPF_PRIVATE) && !has(KPF_UPTODATE) && !has(KPF_MMAP)
  return isBuffer ? OWNER_BUFFER : OWNER_FILE
}

function ownerOfNonLruWord(low: number, high: number, has: Has, traits: MachineTraits): number {
  if (low === 0 && high === 0) return OWNER_UNTYPED
  // Fresh anonymous memory: 0x...5808 until the per-cpu batch is drained, then 0x...5828.
  if (has(KPF_ANON)) return has(KPF_MLOCKED) ? OWNER_ANON_MLOCKED : OWNER_ANON_BATCH
  // secretmem is 0x200000818: dirty, mlocked and mapped, but neither anonymous nor on the LRU.
  if (has(KPF_MLOCKED) && has(KPF_MMAP) && has(KPF_DIRTY) && !has(KPF_SWAPBACKED)) return OWNER_SECRETMEM
  if (isZsmallocWord(low, high, traits.zsmalloc)) return OWNER_ZSMALLOC
  if (has(KPF_SWAPBACKED)) return OWNER_SHMEM
  // With no zspage on the machine, UPTODATE alone is a file page that was just read.
  if (has(KPF_UPTODATE)) return OWNER_FILE_BATCH
  return isCompound(has) || has(KPF_MMAP) || has(KPF_PRIVATE) ? OWNER_KERNEL : OWNER_OTHER
}

const isCompound = (has: Has): boolean => has(KPF_COMPOUND_HEAD) || has(KPF_COMPOUND_TAIL)

/**
 * A word that zsmalloc pages have, and nearly nothing else. In form `mapcount` a page that the kernel maps to user space
 * (an io_uring ring) reads the same: the mapcount tells, page_map.ts looks. In form `bare` only the first page of a
 * zspage has a word of its own.
 */
export function isZsmallocWord(low: number, high: number, form: ZsmallocForm): boolean {
  const isFirst = high === highMask(KPF_PRIVATE)
  if (!isFirst && high !== 0) return false
  if (form === 'uptodate') return low === lowMask(KPF_UPTODATE)
  if (form === 'mapcount') return low === lowMask(KPF_MMAP)
  return form === 'bare' && isFirst && low === 0
}

function attributesOfWord(low: number, high: number, owner: number): number {
  const has: Has = (bit) => hasBit(low, high, bit)
  let attributes = 0
  if (has(KPF_COMPOUND_HEAD)) attributes |= ATTR_HEAD
  if (has(KPF_COMPOUND_TAIL)) attributes |= ATTR_TAIL
  if (owner === OWNER_FREE && has(KPF_UPTODATE)) attributes |= ATTR_REPORTED
  const mappedOnly = low === lowMask(KPF_MMAP) && high === 0
  if (owner === OWNER_UNTYPED || mappedOnly) attributes |= ATTR_AMBIGUOUS
  // On a typed page the rest of the word is an overlay (see above).
  if (owner === OWNER_FREE || owner === OWNER_SLAB || owner === OWNER_PGTABLE || owner === OWNER_HOLE)
    return attributes
  if (has(KPF_LRU)) attributes |= ATTR_LRU
  if (has(KPF_ANON)) attributes |= ATTR_ANON
  if (has(KPF_DIRTY)) attributes |= ATTR_DIRTY
  if (has(KPF_WRITEBACK)) attributes |= ATTR_WRITEBACK
  if (has(KPF_SWAPCACHE)) attributes |= ATTR_SWAPCACHE
  return attributes
}

const hasBit = (low: number, high: number, bit: number): boolean =>
  (bit < 32 ? (low >>> bit) & 1 : (high >>> (bit - 32)) & 1) === 1
