/**
 * How the compaction of a zone ends.
 *
 * In the kernel's order: of several zones the greatest is the result of all (C-20).
 *
 * @kernel include/linux/compaction.h enum compact_result v6.18
 */

/** For trace output only: the zone has memory, and would not be helped. */
export const COMPACT_NOT_SUITABLE_ZONE = 0
export const COMPACT_SKIPPED = 1
export const COMPACT_DEFERRED = 2
export const COMPACT_NO_SUITABLE_PAGE = 3
export const COMPACT_CONTINUE = 4
export const COMPACT_COMPLETE = 5
export const COMPACT_PARTIAL_SKIPPED = 6
export const COMPACT_CONTENDED = 7
export const COMPACT_SUCCESS = 8
export type CompactResult = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8
export const COMPACT_RESULT_NAMES = [
  'not_suitable_zone',
  'skipped',
  'deferred',
  'no_suitable_page',
  'continue',
  'complete',
  'partial_skipped',
  'contended',
  'success',
] as const
