/**
 * The first provider of movable operations: folios on the LRU, anonymous and cached, mapped or not.
 *
 * isolate: off the LRU, so that reclaim cannot run in parallel; the folio's ptes become migration
 * entries later, in migrate.ts, for every kind of page that is mapped (S0-20). migrate: the folio's
 * identity (mapping, cache slot, flags, contents) goes to the new one while the references of the old
 * one are frozen. putback: on the LRU again.
 *
 * What a failure of migratePage leaves behind: everything as before the call. -EAGAIN: somebody holds a
 * reference that is not accounted for. -EBUSY, -EOPNOTSUPP: this folio does not move.
 *
 * Rules:
 *   - the LRU lock (U) and PG_lru decide who isolates; the page lock is not involved in that;
 *   - the folios count in NR_ISOLATED_* from isolate to migrate or putback.
 *
 * @kernel mm/compaction.c isolate_migratepages_block(), mm/migrate.c folio_migrate_mapping(),
 *         migrate_folio(), fallback_migrate_folio(), mm/vmscan.c folio_putback_lru() v6.18; spec C-4, M-8
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type MappingId, nidOf, type Pfn, pfnOf, slotOf } from '../base/units.ts'
import {
  EAGAIN,
  EBUSY,
  EOPNOTSUPP,
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  ISOLATE_UNMAPPED,
  type IsolateMode,
  MIGRATE_SYNC,
  type MigrateMode,
  PAGE_MAPPING_ANON,
  PG_active,
  PG_anon_exclusive,
  PG_dirty,
  PG_locked,
  PG_mlocked,
  PG_private,
  PG_reclaim,
  PG_referenced,
  PG_swapbacked,
  PG_swapcache,
  PG_unevictable,
  PG_uptodate,
  PG_workingset,
  PG_writeback,
} from './limits.ts'
import { folioAddLru, folioIsolateLru, isolatedCounter, nodeOf } from './lru.ts'
import {
  ISOLATED,
  type Isolation,
  type MigrateResult,
  type MovableOps,
  REFUSED_DIRTY,
  REFUSED_ISOLATED,
  REFUSED_LOCKED,
  REFUSED_MAPPED,
  REFUSED_MAPPING,
  REFUSED_PINNED,
  REFUSED_UNEVICTABLE,
  REFUSED_WRITEBACK,
} from './movable_ops.ts'
import { AS_INACCESSIBLE, AS_LOCKED, folioMapping, folioPages, type Mm, NO_MIGRATE_FOLIO } from './page.ts'
import { folioMapcount } from './rmap.ts'

/** Flags that say what a folio's data is, and move with it. */
const MOVES_WITH_DATA =
  PG_referenced |
  PG_uptodate |
  PG_active |
  PG_unevictable |
  PG_workingset |
  PG_dirty |
  PG_swapbacked |
  PG_swapcache |
  PG_mlocked |
  PG_private |
  PG_anon_exclusive |
  PG_reclaim // as PG_readahead

/** Flags that whoever finds the new folio in its slot must see at once. */
const SEEN_WITH_SLOT = PG_dirty | PG_swapbacked | PG_swapcache

/** LRU folios as a provider. */
export const LRU_MOVABLE_OPS: MovableOps = {
  name: 'lru',
  isolatePage: isolateLruFolio,
  migratePage: migrateLruFolio,
  putbackPage: putbackLruFolio,
}

/**
 * References that a folio has if nobody but its mappings, its cache and its buffers holds one.
 *
 * @kernel include/linux/mm.h folio_expected_ref_count() v6.18; spec M-8
 */
export function folioExpectedRefCount(cpu: Cpu, mm: Mm, pfn: Pfn): number {
  const flags = cpu.load(mm.flags, pfn)
  const mapping = cpu.load(mm.mapping, pfn)
  let count = folioMapcount(cpu, mm, pfn, flags)
  if (folioMapping(flags, mapping) !== 0) count += folioPages(flags)
  if ((mapping & PAGE_MAPPING_ANON) === 0 && (flags & PG_private) !== 0) count += 1
  return count
}

/** True if the folio has no address space and more references than mappings: somebody pins it (C-4). */
function isPinnedAnon(cpu: Cpu, mm: Mm, pfn: Pfn, flags: number, mapping: MappingId): boolean {
  return mapping === 0 && cpu.load(mm.refcount, pfn) - 1 > folioMapcount(cpu, mm, pfn, flags)
}

function isolateLruFolio(cpu: Cpu, mm: Mm, pfn: Pfn, mode: IsolateMode): Isolation {
  const flags = cpu.load(mm.flags, pfn)
  const mapping = folioMapping(flags, cpu.load(mm.mapping, pfn))
  if (isPinnedAnon(cpu, mm, pfn, flags, mapping)) return REFUSED_PINNED
  const unevictable = (flags & PG_unevictable) !== 0
  if (unevictable && (mode & ISOLATE_UNEVICTABLE) === 0) return REFUSED_UNEVICTABLE
  const async = (mode & ISOLATE_ASYNC_MIGRATE) !== 0
  if (async && (flags & PG_writeback) !== 0) return REFUSED_WRITEBACK
  if ((mode & ISOLATE_UNMAPPED) !== 0 && folioMapcount(cpu, mm, pfn, flags) > 0) return REFUSED_MAPPED
  const asyncDirty = async && (flags & PG_dirty) !== 0
  if (asyncDirty || (unevictable && mapping !== 0)) {
    const refusal = refusedByMapping(cpu, mm, pfn, asyncDirty)
    if (refusal !== ISOLATED) return refusal
  }
  if (!folioIsolateLru(cpu, mm, pfn)) return REFUSED_ISOLATED
  cpu.add(isolatedCounter(mm, flags), nidOf(nodeOf(mm, pfn)), folioPages(flags))
  return ISOLATED
}

/** Asks the mapping, which only stays under the page lock. @locks trylocks (L) and drops it */
function refusedByMapping(cpu: Cpu, mm: Mm, pfn: Pfn, asyncDirty: boolean): Isolation {
  if (!cpu.tryLock(mm.flags, pfn, PG_locked)) return REFUSED_LOCKED
  const mapping = folioMapping(cpu.load(mm.flags, pfn), cpu.load(mm.mapping, pfn))
  const asFlags = mapping === 0 ? 0 : cpu.load(mm.mappingFlags, mapping)
  cpu.unlock(mm.flags, pfn, PG_locked)
  if (asyncDirty && (asFlags & NO_MIGRATE_FOLIO) !== 0) return REFUSED_DIRTY
  return (asFlags & AS_INACCESSIBLE) !== 0 ? REFUSED_MAPPING : ISOLATED
}

function uncountIsolated(cpu: Cpu, mm: Mm, pfn: Pfn, flags: number): void {
  cpu.add(isolatedCounter(mm, flags), nidOf(nodeOf(mm, pfn)), -folioPages(flags))
}

function putbackLruFolio(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  uncountIsolated(cpu, mm, pfn, cpu.load(mm.flags, pfn))
  folioAddLru(cpu, mm, pfn)
}

/**
 * Makes `dst` what `src` was. Both are locked; `src` is unmapped.
 *
 * @locks  needs (L) of both; takes and drops (I) of the mapping
 */
function migrateLruFolio(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn, mode: MigrateMode): MigrateResult {
  const flags = cpu.load(mm.flags, src)
  const mapping = folioMapping(flags, cpu.load(mm.mapping, src))
  const asFlags = cpu.load(mm.mappingFlags, mapping)
  if ((asFlags & AS_INACCESSIBLE) !== 0) return -EOPNOTSUPP
  if ((asFlags & NO_MIGRATE_FOLIO) !== 0) {
    // The fallback for mappings without migrate_folio: clean pages only.
    if ((flags & PG_dirty) !== 0) return -EBUSY
    if ((flags & PG_private) !== 0) return mode === MIGRATE_SYNC ? -EAGAIN : -EBUSY
  }
  assert(
    (flags & PG_writeback) === 0,
    'migrate: writeback is over, and none begins while the folio is locked',
  )
  const migrateFolio = mapping < mm.migrateFolio.length ? mm.migrateFolio[mapping] : undefined
  const rc =
    migrateFolio === undefined
      ? migrateAnyFolio(cpu, mm, mapping, dst, src)
      : migrateFolio(cpu, mm, mapping, dst, src, mode)
  if (rc !== 0) return rc
  const moved = cpu.load(mm.flags, src) & MOVES_WITH_DATA
  cpu.testClear(mm.flags, src, MOVES_WITH_DATA)
  cpu.testSet(mm.flags, dst, moved)
  uncountIsolated(cpu, mm, src, flags)
  if ((cpu.load(mm.mapping, src) & PAGE_MAPPING_ANON) === 0) cpu.store(mm.mapping, src, 0)
  folioAddLru(cpu, mm, dst)
  return 0
}

/** How folios move whose address space has no way of its own. @kernel mm/migrate.c migrate_folio() v6.18 */
function migrateAnyFolio(cpu: Cpu, mm: Mm, mapping: MappingId, dst: Pfn, src: Pfn): MigrateResult {
  const expected = 1 + folioExpectedRefCount(cpu, mm, src)
  if (mm.rules.copiesBeforeFreeze) {
    if (cpu.load(mm.refcount, src) !== expected) return -EAGAIN // not worth a copy
    copyContents(cpu, mm, dst, src)
  }
  const rc =
    mapping === 0
      ? moveAnonIdentity(cpu, mm, dst, src, expected)
      : moveCachedIdentity(cpu, mm, dst, src, mapping, expected)
  if (rc === 0 && !mm.rules.copiesBeforeFreeze) copyContents(cpu, mm, dst, src)
  return rc
}

/**
 * Moves the slot of a cached folio to `dst`, if nobody has a reference but the isolator, the cache and `extra` that the
 * caller knows of. Those stay on `src`; so do the contents.
 *
 * @locks   needs (L) of both; takes and drops (I)
 * @errors  -EAGAIN: there are other references. Nothing has changed.
 * @kernel  mm/migrate.c folio_migrate_mapping() v6.18
 */
export function folioMigrateMapping(
  cpu: Cpu,
  mm: Mm,
  mapping: MappingId,
  dst: Pfn,
  src: Pfn,
  extra: number,
): MigrateResult {
  const expected = 1 + folioExpectedRefCount(cpu, mm, src) + extra
  return moveCachedIdentity(cpu, mm, dst, src, mapping, expected)
}

/** An anonymous folio outside the swap cache: nobody can find it while it is unmapped, a compare is enough (M-8). */
function moveAnonIdentity(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn, expected: number): MigrateResult {
  if (cpu.load(mm.refcount, src) !== expected) return -EAGAIN
  cpu.store(mm.mapping, dst, cpu.load(mm.mapping, src))
  return 0
}

/** A cached folio: freeze its references under (I), swap the slot, unfreeze what is not the cache's. */
function moveCachedIdentity(
  cpu: Cpu,
  mm: Mm,
  dst: Pfn,
  src: Pfn,
  mapping: MappingId,
  expected: number,
): MigrateResult {
  const flags = cpu.load(mm.flags, src)
  const pages = folioPages(flags)
  cpu.lock(mm.mappingFlags, mapping, AS_LOCKED)
  if (!cpu.cas(mm.refcount, src, expected, 0)) {
    cpu.unlock(mm.mappingFlags, mapping, AS_LOCKED)
    return -EAGAIN
  }
  const slot = slotOf(cpu.load(mm.private, src))
  cpu.store(mm.mapping, dst, cpu.load(mm.mapping, src))
  cpu.store(mm.private, dst, slot)
  const buffers = (cpu.load(mm.mapping, src) & PAGE_MAPPING_ANON) === 0 && (flags & PG_private) !== 0 ? 1 : 0
  cpu.add(mm.refcount, dst, pages + buffers)
  cpu.testSet(mm.flags, dst, flags & SEEN_WITH_SLOT)
  cpu.store(mm.cache, slot, dst)
  cpu.store(mm.private, src, 0)
  cpu.store(mm.refcount, src, expected - pages - buffers)
  cpu.unlock(mm.mappingFlags, mapping, AS_LOCKED)
  return 0
}

/** Copies what the pages hold, one cell a page. */
function copyContents(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): void {
  if (!mm.hasContents) return
  const pages = folioPages(cpu.load(mm.flags, src))
  for (let i = 0; i < pages; i++) {
    cpu.store(mm.content, pfnOf(dst + i), cpu.load(mm.content, pfnOf(src + i)))
  }
}
