/**
 * Event counters, under the names of /proc/vmstat. They are per-cpu in the kernel: no decision depends
 * on them, so they are counted without a `Cpu` step.
 *
 * @kernel mm/vmstat.c, include/linux/vm_event_item.h v6.18
 */

import { assert } from '../base/assert.ts'
import { EVENT_CELLS, type Mm } from './page.ts'

export const PGALLOC = 0
export const PGFREE = 1
export const PGMIGRATE_SUCCESS = 2
export const PGMIGRATE_FAIL = 3
export const THP_MIGRATION_SUCCESS = 4
export const THP_MIGRATION_FAIL = 5
export const THP_MIGRATION_SPLIT = 6
export const COMPACTMIGRATE_SCANNED = 7
export const COMPACTFREE_SCANNED = 8
export const COMPACTISOLATED = 9

assert(COMPACTISOLATED < EVENT_CELLS, 'vmstat: every event has a cell')

/** Adds `n` to an event counter. */
export function countVmEvents(mm: Mm, event: number, n: number): void {
  mm.events[event] += n
}

/** All counters, named as /proc/vmstat prints them. */
export const vmEvents = ({ events }: Mm) => ({
  pgalloc: events[PGALLOC],
  pgfree: events[PGFREE],
  pgmigrate_success: events[PGMIGRATE_SUCCESS],
  pgmigrate_fail: events[PGMIGRATE_FAIL],
  thp_migration_success: events[THP_MIGRATION_SUCCESS],
  thp_migration_fail: events[THP_MIGRATION_FAIL],
  thp_migration_split: events[THP_MIGRATION_SPLIT],
  compact_migrate_scanned: events[COMPACTMIGRATE_SCANNED],
  compact_free_scanned: events[COMPACTFREE_SCANNED],
  compact_isolated: events[COMPACTISOLATED],
})
