/**
 * A capture: the physical memory of one machine at one moment, as it was read, nothing concluded.
 *
 * It holds the words of /proc/kpageflags, /proc/kpagecount and (if it was read) /proc/kpagecgroup for
 * every pfn, the /proc texts verbatim, where it comes from, and, if somebody had access to kernel
 * memory, recorded truth: what those files do not tell (pageblock types, references, per-cpu lists).
 * What a loader concludes from it is the loader's, and marked as inferred there.
 *
 * Columns are dictionary-coded: a machine shows under 200 distinct flag words.
 *
 * Not here: the bytes of the file (writer.ts, reader.ts).
 */

/** What a column's entries belong to. A pageblock is 512 pages. */
export type ColumnScope = 'pfn' | 'pageblock'

/** Values of one attribute, one entry a pfn or a pageblock from 0, as indexes into a dictionary of 64-bit words. */
export interface Column {
  readonly scope: ColumnScope
  /** Low and high half of the distinct words, in order of first use. */
  readonly dictionaryLow: Uint32Array
  readonly dictionaryHigh: Uint32Array
  /** Index into the dictionary, one a pfn (or pageblock). */
  readonly index: Uint8Array | Uint16Array
}

/**
 * Columns by name. The first three are read from /proc; `truth.*` need access to kernel memory.
 *
 * - `flags`: /proc/kpageflags words
 * - `mapcount`: /proc/kpagecount
 * - `cgroup`: /proc/kpagecgroup inode numbers, 0 uncharged (a slim capture keeps only 0 and 1)
 * - `truth.refcount`: page->_refcount, clamped to 254; 255 unknown or negative
 * - `truth.pcp`: 1 for a page on a per-cpu free list
 * - `truth.mapping`: low two bits of page->mapping, +4 if the pointer is not null; 255 no page
 * - `truth.pageblock`: migratetype by `PAGEBLOCK_*` (bits 0-2), skip hint (bit 3); 255 no such block
 */
export const COLUMN_NAMES = [
  'flags',
  'mapcount',
  'cgroup',
  'truth.refcount',
  'truth.pcp',
  'truth.mapping',
  'truth.pageblock',
] as const
export type ColumnName = (typeof COLUMN_NAMES)[number]

/** The columns that only access to kernel memory gives. */
export const TRUTH_COLUMN_NAMES = ['truth.refcount', 'truth.pcp', 'truth.mapping', 'truth.pageblock'] as const
export type TruthColumnName = (typeof TRUTH_COLUMN_NAMES)[number]

/** Pages of a pageblock. Captures with another pageblock_order are refused (consistency.ts). */
export const PAGES_PER_PAGEBLOCK = 512

/**
 * Migratetypes as `truth.pageblock` has them. The kernel's own numbers depend on its configuration
 * (ISOLATE is 4 without CMA); importers translate them to these.
 */
export const PAGEBLOCK_UNMOVABLE = 0
export const PAGEBLOCK_MOVABLE = 1
export const PAGEBLOCK_RECLAIMABLE = 2
export const PAGEBLOCK_HIGHATOMIC = 3
export const PAGEBLOCK_CMA = 4
export const PAGEBLOCK_ISOLATE = 5
/** Bits of a `truth.pageblock` value that hold the migratetype. */
export const PAGEBLOCK_TYPE_MASK = 7
/** Compaction's skip hint (pageblock_skip). */
export const PAGEBLOCK_SKIP = 8
/** No such pageblock: a hole, or memory that is not there. */
export const PAGEBLOCK_ABSENT = 255

/** What a column is an attribute of: all but the pageblock types belong to pages. */
export const scopeOfColumn = (name: ColumnName): ColumnScope =>
  name === 'truth.pageblock' ? 'pageblock' : 'pfn'

/** Number of entries of a column of `scope` in a capture of `pfnCount` pages. */
export const entriesOfScope = (scope: ColumnScope, pfnCount: number): number =>
  scope === 'pfn' ? pfnCount : Math.ceil(pfnCount / PAGES_PER_PAGEBLOCK)

/** /proc texts, verbatim. */
export const TEXT_NAMES = ['buddyinfo', 'pagetypeinfo', 'zoneinfo', 'vmstat', 'meminfo', 'iomem'] as const
export type TextName = (typeof TEXT_NAMES)[number]

/** Where a capture comes from. Absent values were not recorded. */
export interface Provenance {
  /** drover's name and version that wrote the file. */
  readonly tool: string
  /** What the capture was made of: `ksnp1`, `mmpg1`, `proc`. */
  readonly source: string
  /** `before` or `after` of an experiment, or a snapshot label. */
  readonly label?: string
  /** uname -r of the captured machine, if known. */
  readonly kernel?: string
  /** Name of the experiment, in the words of who recorded it. */
  readonly name?: string
}

export interface Capture {
  readonly provenance: Provenance
  /** Number of page frames covered, from pfn 0. */
  readonly pfnCount: number
  readonly texts: ReadonlyMap<TextName, string>
  readonly columns: ReadonlyMap<ColumnName, Column>
}
