/**
 * The locks, as letters. Every column of `page.ts` names the letters that guard it; every protocol
 * function says in `@locks` which it needs, takes and drops.
 *
 * ```
 *   (D) a page owner's mutex, which serialises what it says to its device: a sleeping lock
 *   (L) PG_locked of a page: a sleeping lock, one a folio, in `flags` of its head; also under (D)
 *     (R) rmap lock: who maps a page, one for the machine
 *       (P) pte lock: a step of the cpu on one pte
 *       (U) lru lock of a node: its five LRU lists; also under (L) alone, and by itself
 *     (I) i_pages lock of a mapping: its page cache slots
 *     (O) a page owner's own lock (a driver's list)
 *     (H) hugetlb lock: the pool's lists and counts, one for the machine
 *     (C) per-cpu lists: of that cpu only
 *       (Z) zone lock: free areas, pageblock types, per-zone counts
 *   (A) atomic: no lock, single cpu steps
 * ```
 *
 * Order: a lock may be taken while holding those that it is indented under, and no other. (L) may sleep,
 * so nothing but another page's (L), or (D), may be held when waiting for it. Under (D) everything may be taken that
 * freeing a page takes; who holds (L) only tries (D).
 *
 * @kernel mm/rmap.c (lock ordering comment), mm/page_alloc.c v6.18
 */

/** The bit of a spinlock word. */
export const SPIN_LOCKED = 1
/** The bit of a mutex in a cell of an owner: not that of its spinlocks, so that the cell says which it is. */
export const MUTEX_LOCKED = 2

export const LOCK_LETTERS = ['D', 'L', 'R', 'P', 'I', 'O', 'U', 'H', 'Z', 'C', 'A'] as const
export type LockLetter = (typeof LOCK_LETTERS)[number]

/** Locks whose waiters sleep; the others spin. */
export const SLEEPING_LOCKS: readonly LockLetter[] = ['D', 'L']

/** What may be waited for while a lock is held: the indented list above, as data. */
export const TAKEN_UNDER: Readonly<Partial<Record<LockLetter, readonly LockLetter[]>>> = {
  D: ['L', 'O', 'U', 'H', 'C', 'Z'],
  L: ['L', 'R', 'P', 'I', 'O', 'U', 'H', 'C', 'Z'], // a second (L): of another page, in an order that the two tasks share
  R: ['P', 'U'],
  C: ['Z'],
}

/** The cells of `Mm` that are lock words, by column. (L) is in `flags`, (I) in `mappingFlags`; MUTEX_LOCKED is (D). */
export const LOCK_COLUMNS: Readonly<Record<string, LockLetter>> = {
  flags: 'L',
  rmapLock: 'R',
  mappingFlags: 'I',
  ownerCells: 'O',
  lruLock: 'U',
  hugetlbLock: 'H',
  zoneLock: 'Z',
  pcpLock: 'C',
}

/**
 * Page and cache columns that are written under a lock only, and which: the comments of page.ts, as data. A page
 * without references is reached by nobody but whoever frees or allocates it, and needs none.
 */
export const WRITTEN_UNDER: Readonly<Record<string, LockLetter>> = {
  mapping: 'L',
  private: 'L',
  content: 'L',
  rmap: 'R',
  pteNext: 'R',
  cache: 'I',
}
