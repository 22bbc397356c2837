/**
 * What differs between kernel versions, as named rules of one engine: a capture of a 6.1 machine is
 * compacted by the rules of 6.1. There is one implementation; no file forks by version.
 *
 * Rules:
 *   - a rule is named by what the kernel does, not by a version;
 *   - each says which commit or release changed it.
 *
 * @kernel mm/compaction.c, mm/migrate.c, mm/page_alloc.c v6.1, v6.12, v6.18
 */

export interface KernelRules {
  /** Name for people: the release whose behaviour this is. */
  readonly name: string
  /**
   * Compaction takes large folios below pageblock_order and moves them whole. False: the migrate scanner
   * passes over every compound page. (Since v6.9: commit 733aea0b3a7b, "mm/compaction: add support for
   * >0 order folio memory compaction"; before it only order-0 folios were migrated.)
   */
  readonly largeFoliosMigrate: boolean
  /**
   * Isolated free pages are kept by order and split on demand, lowest pfn first. False: a freed block is
   * cut into single pages at once, and the last one is taken first. (Same series, v6.9.)
   */
  readonly freepagesByOrder: boolean
  /** Each target that is taken lowers the number of free pages still looked for. (Same series, v6.9.) */
  readonly freepagesNeededShrinks: boolean
  /**
   * Both scanners count the pages of folios that they jump over as scanned, the migrate scanner those of
   * free blocks too. (Since v6.5.)
   */
  readonly scannedCountsSkipped: boolean
  /**
   * The skip hint of a pageblock is taken with the first LRU page isolated from it. False: only if that
   * page is the block's first one. (Since v6.5: "mm: compaction: Update pageblock skip when first
   * migration candidate is not at the start".)
   */
  readonly skipHintByAnyPage: boolean
  /**
   * A zone that begins inside a pageblock can mark that block too, and what decides whether a pageblock is
   * finished in one step is where the last round ended. False: only aligned blocks are marked, and it is
   * where the last round began, which is another block after some were passed over. (Since v6.6.)
   */
  readonly lastBlockIsWhereRoundEnded: boolean
  /**
   * A free block as large as the request is no target. False: only one as large as a pageblock is none.
   * (Since v6.9.)
   */
  readonly targetsBelowRequest: boolean
  /**
   * A folio's contents are copied before its references are frozen and its slot is swapped, so that a copy
   * that fails leaves nothing to undo. False: after. (Since v6.11.)
   */
  readonly copiesBeforeFreeze: boolean
  /**
   * migrate_pages works in batches: unmap all, flush, move all, first asynchronously, then each failed
   * folio alone. False: one folio at a time, `NR_MAX_MIGRATE_PAGES_RETRY` passes. (Since v6.3.)
   */
  readonly batchedMigration: boolean
  /**
   * The high mark of a per-cpu list tunes itself between high_min and high_max. False: it is fixed, and
   * repeated frees drain the list ever deeper (free_factor). (Since v6.7.)
   */
  readonly pcpHighAutoTuned: boolean
  /**
   * The fast search takes the skip hint of the pageblock that it has found, so that the scan of it ends with the first
   * page that it takes. False: the block is scanned. (Until v6.3; seen in capture a5.)
   */
  readonly fastSearchTakesHint: boolean
  /**
   * Asynchronous direct compaction leaves the aligned block of the wanted order as soon as a page of it failed to
   * move. False: the rest of the pageblock is isolated and moved at once. (Until v6.3.)
   */
  readonly failureLeavesAlignedBlock: boolean
  /**
   * Compaction looks for a captured page after it has drained the per-cpu lists. False: before. (Until v6.3.)
   */
  readonly drainsBeforeCaptureCheck: boolean
  /**
   * Direct reclaim that has reclaimed nothing walks through all priorities once more before it gives up, and counts as
   * a second stall. (Since v6.10: the first walk need not see every cgroup.)
   */
  readonly failedReclaimWalksAgain: boolean
  /** Proactive compaction counts what it scans as the daemon's. (6.1 does not: seen in capture a5.) */
  readonly proactiveCountsScans: boolean
  /**
   * Huge pages that a growing hugetlb pool gets are added to it together at the end, so that the first one is the first
   * to be given out. False: one by one, so that the last one is. (Since v6.7: commit d67e32f26713.)
   */
  readonly hugetlbPoolGrowsAtOnce: boolean
}

export const RULES_6_18: KernelRules = {
  name: '6.18',
  largeFoliosMigrate: true,
  freepagesByOrder: true,
  freepagesNeededShrinks: true,
  scannedCountsSkipped: true,
  skipHintByAnyPage: true,
  lastBlockIsWhereRoundEnded: true,
  targetsBelowRequest: true,
  copiesBeforeFreeze: true,
  batchedMigration: true,
  pcpHighAutoTuned: true,
  fastSearchTakesHint: false,
  failureLeavesAlignedBlock: false,
  drainsBeforeCaptureCheck: false,
  failedReclaimWalksAgain: true,
  proactiveCountsScans: true,
  hugetlbPoolGrowsAtOnce: true,
}

export const RULES_6_1: KernelRules = {
  name: '6.1',
  largeFoliosMigrate: false,
  freepagesByOrder: false,
  freepagesNeededShrinks: false,
  scannedCountsSkipped: false,
  skipHintByAnyPage: false,
  lastBlockIsWhereRoundEnded: false,
  targetsBelowRequest: false,
  copiesBeforeFreeze: false,
  batchedMigration: false,
  pcpHighAutoTuned: false,
  fastSearchTakesHint: true,
  failureLeavesAlignedBlock: true,
  drainsBeforeCaptureCheck: true,
  failedReclaimWalksAgain: false,
  proactiveCountsScans: false,
  hugetlbPoolGrowsAtOnce: false,
}

/** 6.12 has everything that this table tells apart as 6.18 has it. */
export const RULES_6_12: KernelRules = { ...RULES_6_18, name: '6.12' }

/**
 * The rules of the release nearest below `release` (as uname -r prints it: `6.1.0-56-amd64`); those of
 * 6.18 if it cannot be read.
 */
export function rulesForRelease(release: string | undefined): KernelRules {
  const match = /^(\d+)\.(\d+)/.exec(release ?? '')
  if (match === null) return RULES_6_18
  const version = Number(match[1]) * 1000 + Number(match[2])
  if (version >= 6018) return RULES_6_18
  return version >= 6009 ? RULES_6_12 : RULES_6_1
}
