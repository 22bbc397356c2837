/**
 * Comparison: what was predicted for a machine beside what its kernel then did.
 *
 * Counters come from the difference of the two captures' vmstat; free blocks and free pages by pageblock
 * from the page map of the second capture. Per-cpu pages count as free on both sides: just after a
 * compaction the vacated pages are on the per-cpu list of the compacting cpu, where buddyinfo does not
 * show them.
 */

import { bad, ok, type Result } from '../base/result.ts'
import type { Capture } from '../capture/format/capture.ts'
import { parseVmstat } from '../capture/format/vmstat.ts'
import { pageblock_nr_pages } from '../mm/limits.ts'
import { OWNER_FREE, OWNER_PCP } from './classify.ts'
import { hugeBlocks } from './free_blocks.ts'
import type { PageMap } from './page_map.ts'
import { blocksOfZone, type FreeBlocks, machineBlocks, type Outcome } from './predict.ts'

/** What the kernel did between two captures. */
export interface Actual {
  readonly pagesMigrated: number
  readonly pagesFailed: number
  readonly migrateScanned: number
  readonly freeScanned: number
  readonly zones: readonly (FreeBlocks & { readonly node: number; readonly name: string })[]
}

/** How far the prediction is off. Percentages are of the actual value, positive when too much was predicted. */
export interface PredictionError {
  readonly pagesMigratedPct: number
  readonly migrateScannedPct: number
  readonly freeScannedPct: number
  /** Free blocks of order 9, one of order 10 counting as two, per-cpu pages merged in. */
  readonly order9BlocksPct: number
  /** Mean of the absolute error of free pages, over the pageblocks of all zones; per-cpu pages are free. Of 512. */
  readonly pageblockFreeMaePages: number
  /** The same for "nothing changes", which is what the error must be compared with. */
  readonly pageblockFreeMaeNoChange: number
}

/**
 * What the kernel did between `before` and `after`.
 *
 * @errors  the captures are of different machines, or lack vmstat
 */
export function actualBetween(before: Capture, after: Capture, mapAfter: PageMap): Result<Actual> {
  if (before.pfnCount !== after.pfnCount) {
    return bad(
      'after',
      'pfnCount',
      `${after.pfnCount} pages, the capture before has ${before.pfnCount}`,
      'compare two captures of one machine',
    )
  }
  const then = parseVmstat(before.texts.get('vmstat') ?? '')
  if (!then.ok) return then
  const now = parseVmstat(after.texts.get('vmstat') ?? '')
  if (!now.ok) return now
  const grown = (name: string): number => (now.value.get(name) ?? 0) - (then.value.get(name) ?? 0)
  if (grown('pgfree') < 0 || grown('compact_migrate_scanned') < 0) {
    return bad(
      'after',
      'vmstat',
      'its counters are lower than before',
      'give two captures of one machine, in the order of time',
    )
  }
  if (grown('compact_migrate_scanned') === 0) {
    return bad(
      'after',
      'vmstat',
      'no compaction ran between the captures',
      'compact the machine, then capture it again',
    )
  }
  return ok({
    pagesMigrated: grown('pgmigrate_success'),
    pagesFailed: grown('pgmigrate_fail'),
    migrateScanned: grown('compact_migrate_scanned'),
    freeScanned: grown('compact_free_scanned'),
    zones: mapAfter.zones.map((zone) => ({
      node: zone.node,
      name: zone.name,
      ...blocksOfZone(mapAfter.owner, zone),
    })),
  })
}

/** The error of a prediction. The maps are of the two captures. */
export function predictionError(
  outcome: Outcome,
  actual: Actual,
  before: PageMap,
  after: PageMap,
): PredictionError {
  const sum = (pick: 'pagesMigrated' | 'migrateScanned' | 'freeScanned'): number =>
    outcome.zones.reduce((total, zone) => total + zone[pick], 0)
  const huge = (zones: readonly FreeBlocks[]): number => hugeBlocks(machineBlocks(zones).freeBlocksDrained)
  const afterFree = freeByPageblock(after.owner, after)
  return {
    pagesMigratedPct: percentOff(sum('pagesMigrated'), actual.pagesMigrated),
    migrateScannedPct: percentOff(sum('migrateScanned'), actual.migrateScanned),
    freeScannedPct: percentOff(sum('freeScanned'), actual.freeScanned),
    order9BlocksPct: percentOff(huge(outcome.zones), huge(actual.zones)),
    pageblockFreeMaePages: meanAbsoluteError(freeByPageblock(outcome.free, after), afterFree),
    pageblockFreeMaeNoChange: meanAbsoluteError(freeByPageblock(before.owner, after), afterFree),
  }
}

const percentOff = (predicted: number, actual: number): number =>
  actual === 0 ? (predicted === 0 ? 0 : 100) : (100 * (predicted - actual)) / actual

/**
 * Free pages, per-cpu ones included, of every pageblock that lies in a zone. Memory whose struct pages are not
 * initialised yet is in neither list: it is no free page on any side.
 */
function freeByPageblock(owner: Uint8Array, map: PageMap): number[] {
  const counts: number[] = []
  for (const zone of map.zones) {
    const first = Math.ceil(zone.start / pageblock_nr_pages)
    for (let block = first; (block + 1) * pageblock_nr_pages <= zone.end; block++) {
      let free = 0
      const start = block * pageblock_nr_pages
      for (let pfn = start; pfn < start + pageblock_nr_pages; pfn++) {
        if (owner[pfn] === OWNER_FREE || owner[pfn] === OWNER_PCP) free++
      }
      counts.push(free)
    }
  }
  return counts
}

function meanAbsoluteError(predicted: readonly number[], actual: readonly number[]): number {
  const sum = predicted.reduce((total, value, i) => total + Math.abs(value - actual[i]), 0)
  return predicted.length === 0 ? 0 : sum / predicted.length
}
