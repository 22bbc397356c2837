/**
 * The locks, as letters. Every column of `page.ts` names the letters that guard it; every protocol
 * function says in `@locks` which it needs, takes and drops.
 *
 * ```
 *   (L) PG_locked of a page: a sleeping lock, one a folio, in `flags` of its head
 *     (R) rmap lock: who maps a page, one for the machine
 *       (P) pte lock: a step of the cpu on one pte
 *     (I) i_pages lock of a mapping: its page cache slots
 *     (O) a page owner's own lock (a driver's list)
 *     (U) lru lock of a node: its five LRU lists
 *     (C) per-cpu lists: of that cpu only
 *       (Z) zone lock: free areas, pageblock types, per-zone counts
 *   (A) atomic: no lock, single cpu steps
 * ```
 *
 * Order: a lock may be taken while holding those that it is indented under, and no other. (L) may sleep,
 * so nothing else may be held when waiting for it.
 *
 * @kernel mm/rmap.c (lock ordering comment), mm/page_alloc.c v6.18
 */

/** The bit of a spinlock word. */
export const SPIN_LOCKED = 1

export const LOCK_LETTERS = ['L', 'R', 'P', 'I', 'O', 'U', 'Z', 'C', 'A'] as const
