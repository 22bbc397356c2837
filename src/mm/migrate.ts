/**
 * Page migration: a list of isolated folios moves to new ones that the caller provides.
 *
 * One folio, told once:
 *   migrateFolioUnmap   (1) lock the source (2) wait for writeback (3) lock the destination
 *                       (4) replace its ptes by migration entries
 *   migrateFolioMove    (5) the owner makes the destination what the source was: copy, freeze, swap the
 *                       slot (6) ptes of the destination (7) unlock both (8) the source is freed
 * In between, accessors wait at the migration entries.
 *
 * What a failure leaves behind:
 *   | code     | in                | source                              | destination      |
 *   |----------|-------------------|-------------------------------------|------------------|
 *   | -EAGAIN  | unmap             | unlocked, mapped as before, on from | back to caller   |
 *   | -EAGAIN  | move              | locked and unmapped, tried again    | kept, locked     |
 *   | -EAGAIN  | after last pass   | unlocked, mapped as before, failed  | back to caller   |
 *   | -ENOMEM  | unmap             | untouched, on from; the batch stops after moving what is unmapped |
 *   | other    | either            | unlocked, mapped as before, failed  | back to caller   |
 *
 * Rules:
 *   - batching is a loop outside the protocol; only asynchronous mode may hold several folios locked;
 *   - no owner is named here: what a page needs beyond its ptes is its provider's migratePage;
 *   - the caller puts failed folios back if and only if the result is not 0 (M-11).
 *
 * @kernel mm/migrate.c migrate_pages() v6.18, v6.1 for `batchedMigration: false`; spec M-1..M-15
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import {
  listAddTail,
  listDel,
  listEmpty,
  listFirst,
  listMoveTail,
  listNext,
  listSplice,
  listSpliceTail,
} from '../base/list.ts'
import { type ListNode, type Pfn, pfnOf } from '../base/units.ts'
import { splitFolioToList } from './huge_memory.ts'
import {
  EAGAIN,
  EBUSY,
  EINVAL,
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  type MigrateMode,
  type MigrateReason,
  MR_LONGTERM_PIN,
  MR_NUMA_MISPLACED,
  NR_MAX_BATCHED_MIGRATION,
  NR_MAX_MIGRATE_ASYNC_RETRY,
  NR_MAX_MIGRATE_PAGES_RETRY,
  NR_MAX_MIGRATE_SYNC_RETRY,
  PG_head,
  PG_locked,
  PG_private,
  PG_uptodate,
  PG_writeback,
  pageblock_order,
} from './limits.ts'
import { isolatedOpsOf, type MigrateResult, putbackMovablePage } from './movable_ops.ts'
import { compoundOrder, folioPages, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { folioMapcount, removeMigrationPtes, tryToMigrate } from './rmap.ts'
import {
  countVmEvents,
  PGMIGRATE_FAIL,
  PGMIGRATE_SUCCESS,
  THP_MIGRATION_FAIL,
  THP_MIGRATION_SPLIT,
  THP_MIGRATION_SUCCESS,
} from './vmstat.ts'

/** Where folios move to. */
export interface MigrationTarget {
  /**
   * The task frees memory on its own behalf (PF_MEMALLOC: direct compaction, reclaim). It never waits for a
   * page lock, because it may hold that very lock (M-6).
   */
  readonly memalloc?: boolean
  /** A folio of that order with one reference, or -1: there is none (-ENOMEM). */
  getNewFolio(cpu: Cpu, mm: Mm, src: Pfn, order: number): number
  /** Takes back a folio of getNewFolio() that was not used, with its one reference. */
  putNewFolio(cpu: Cpu, mm: Mm, dst: Pfn): void
}

/** What migratePages() did, in base pages except where the name says folios. */
export interface MigrateStats {
  pagesSucceeded: number
  pagesFailed: number
  thpSucceeded: number
  thpFailed: number
  thpSplit: number
  foliosSplit: number
}

export const newMigrateStats = (): MigrateStats => ({
  pagesSucceeded: 0,
  pagesFailed: 0,
  thpSucceeded: 0,
  thpFailed: 0,
  thpSplit: 0,
  foliosSplit: 0,
})

function addStats(total: MigrateStats, stats: MigrateStats): void {
  total.pagesSucceeded += stats.pagesSucceeded
  total.pagesFailed += stats.pagesFailed
  total.thpSucceeded += stats.thpSucceeded
  total.thpFailed += stats.thpFailed
  total.thpSplit += stats.thpSplit
  total.foliosSplit += stats.foliosSplit
}

/** The lists of the task that migrates. Those of compaction come before them (compaction.ts). */
const LIST_BATCH = 12
const LIST_FAILED = 13
const LIST_SPLIT = 14
const LIST_UNMAPPED = 15
const LIST_DST = 16
const LIST_RETRY = 17

/** What migrateFolioUnmap() answers besides errors. */
export const UNMAPPED = 0
// What unmapOne() answers besides these.
const FREED = 1 // by its owner, while it was isolated: nothing to move
const SPLIT = -EINVAL // it did not migrate, but its pieces will

/** What a migration may wait for, where its mode lets it. */
export const WAIT_LOCK = 1
export const WAIT_WRITEBACK = 2

/** Kept in the destination's `private` between unmap and move: what the source's state was (M-10). */
const PAGE_WAS_MAPPED = 1

const isThp = (flags: number): boolean => compoundOrder(flags) === pageblock_order

/**
 * (1)-(4): locks both folios and takes the source out of all page tables.
 *
 * @locks   takes (L) of src and dst, kept on UNMAPPED; takes and drops (R)
 * @sleeps  for (L) and for writeback, as far as `mode` and `waits` allow (M-6, M-7)
 * @errors  -EAGAIN: locked, or mapped again. -EBUSY: under writeback in a mode that does not wait. src is as
 *          before, dst unlocked.
 * @kernel  mm/migrate.c migrate_folio_unmap() v6.18
 */
export function migrateFolioUnmap(
  cpu: Cpu,
  mm: Mm,
  src: Pfn,
  dst: Pfn,
  mode: MigrateMode,
  waits: number,
): MigrateResult {
  if (!lockForMigration(cpu, mm, src, mode, waits)) return -EAGAIN
  if ((cpu.load(mm.flags, src) & PG_writeback) !== 0) {
    if (mode !== MIGRATE_SYNC || (waits & WAIT_WRITEBACK) === 0) {
      cpu.unlock(mm.flags, src, PG_locked)
      return mode === MIGRATE_SYNC ? -EAGAIN : -EBUSY
    }
    cpu.waitClear(mm.flags, src, PG_writeback)
  }
  if (!cpu.tryLock(mm.flags, dst, PG_locked)) {
    cpu.unlock(mm.flags, src, PG_locked)
    return -EAGAIN
  }
  cpu.store(mm.private, dst, 0)
  const flags = cpu.load(mm.flags, src)
  if (folioMapcount(cpu, mm, src, flags) === 0) {
    if (!isOrphan(cpu, mm, src, flags)) return UNMAPPED
    // Its buffers are freed, and it is tried again as a free folio.
    cpu.testClear(mm.flags, src, PG_private)
    cpu.add(mm.refcount, src, -1)
  } else {
    if (tryToMigrate(cpu, mm, src, folioPages(flags)) === 0) {
      cpu.store(mm.private, dst, PAGE_WAS_MAPPED)
      return UNMAPPED
    }
    removeMigrationPtes(cpu, mm, src, src, folioPages(flags))
  }
  cpu.unlock(mm.flags, src, PG_locked)
  cpu.unlock(mm.flags, dst, PG_locked)
  return -EAGAIN
}

/** True for a truncated folio that only its buffers keep. What a typed page has in PG_private is its owner's. */
const isOrphan = (cpu: Cpu, mm: Mm, src: Pfn, flags: number): boolean =>
  (flags & PG_private) !== 0 && cpu.load(mm.mapping, src) === 0 && cpu.load(mm.mapcount, src) >= 0

/** The page lock, as far as the mode may wait for it (M-6). */
function lockForMigration(cpu: Cpu, mm: Mm, src: Pfn, mode: MigrateMode, waits: number): boolean {
  if (cpu.tryLock(mm.flags, src, PG_locked)) return true
  if (mode === MIGRATE_ASYNC || (waits & WAIT_LOCK) === 0) return false
  // Light: wait for a transient holder, not for I/O that brings the page in.
  if (mode === MIGRATE_SYNC_LIGHT && (cpu.load(mm.flags, src) & PG_uptodate) === 0) return false
  cpu.lock(mm.flags, src, PG_locked)
  return true
}

/**
 * (5)-(8): moves an unmapped folio. On success both are unlocked and the source's isolation reference is
 * dropped, which frees it.
 *
 * @locks   needs (L) of both, dropped unless -EAGAIN; takes and drops (R)
 * @errors  -EAGAIN: unchanged, still locked and unmapped. Other: src mapped as before, both unlocked.
 * @kernel  mm/migrate.c migrate_folio_move(), move_to_new_folio() v6.18
 */
export function migrateFolioMove(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn, mode: MigrateMode): MigrateResult {
  const wasMapped = cpu.load(mm.private, dst) === PAGE_WAS_MAPPED
  const pages = folioPages(cpu.load(mm.flags, src))
  cpu.store(mm.private, dst, 0)
  const rc = isolatedOpsOf(cpu, mm, src).migratePage(cpu, mm, dst, src, mode)
  if (rc === -EAGAIN) {
    cpu.store(mm.private, dst, wasMapped ? PAGE_WAS_MAPPED : 0)
    return rc
  }
  if (wasMapped) removeMigrationPtes(cpu, mm, src, rc === 0 ? dst : src, pages)
  cpu.unlock(mm.flags, dst, PG_locked)
  cpu.unlock(mm.flags, src, PG_locked)
  if (rc !== 0) return rc
  putPage(cpu, mm, dst) // its new owner has a reference of its own
  putPage(cpu, mm, src)
  return 0
}

/** Gives up on a folio that was unmapped: maps it as before and unlocks both. Pairs with migrateFolioUnmap(). */
export function migrateFolioUndo(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn): void {
  if (cpu.load(mm.private, dst) === PAGE_WAS_MAPPED) {
    removeMigrationPtes(cpu, mm, src, src, folioPages(cpu.load(mm.flags, src)))
  }
  cpu.store(mm.private, dst, 0)
  cpu.unlock(mm.flags, dst, PG_locked)
  cpu.unlock(mm.flags, src, PG_locked)
}

/**
 * Migrates the isolated folios on `from`, and adds what happened to `total`. What could not be migrated is on
 * `from` again, isolated; the caller puts it back if the result is not 0.
 *
 * @errors  > 0: folios not migrated, a large folio that was split counting as one (M-11).
 *          -ENOMEM: no destination; the rest was not tried.
 * @kernel  mm/migrate.c migrate_pages() v6.18
 */
export function migratePages(
  cpu: Cpu,
  mm: Mm,
  from: ListNode,
  target: MigrationTarget,
  mode: MigrateMode,
  reason: MigrateReason,
  total: MigrateStats,
): number {
  const lists = migrationLists(cpu, mm)
  const stats = newMigrateStats()
  const waits = target.memalloc === true ? WAIT_WRITEBACK : WAIT_LOCK | WAIT_WRITEBACK
  const job: Job = { cpu, mm, target, reason, waits, stats, lists }
  let notMigrated = 0
  mm.trace?.mmMigratePagesStart(mode, reason)
  // Each round takes at least one folio off `from`.
  while (!listEmpty(mm.links, from)) {
    takeBatch(cpu, mm, from, lists.batch)
    const rc = migrateOneBatch(job, mode)
    listSpliceTail(mm.links, lists.batch, lists.failed)
    if (rc < 0) {
      notMigrated = rc
      listSpliceTail(mm.links, lists.split, lists.failed)
      break
    }
    migratePieces(job, mode)
    notMigrated += rc
  }
  listSplice(mm.links, lists.failed, from)
  if (listEmpty(mm.links, from)) notMigrated = 0
  addStats(total, stats)
  countVmEvents(mm, PGMIGRATE_SUCCESS, stats.pagesSucceeded)
  countVmEvents(mm, PGMIGRATE_FAIL, stats.pagesFailed)
  countVmEvents(mm, THP_MIGRATION_SUCCESS, stats.thpSucceeded)
  countVmEvents(mm, THP_MIGRATION_FAIL, stats.thpFailed)
  countVmEvents(mm, THP_MIGRATION_SPLIT, stats.thpSplit)
  mm.trace?.mmMigratePages(stats, mode, reason)
  return notMigrated
}

/**
 * Puts every folio of a list back to its owner. The list is empty afterwards.
 *
 * @kernel mm/migrate.c putback_movable_pages() v6.18
 */
export function putbackMovablePages(cpu: Cpu, mm: Mm, list: ListNode): void {
  while (!listEmpty(mm.links, list)) {
    const pfn = pfnOf(listFirst(mm.links, list))
    listDel(mm.links, pfn)
    putbackMovablePage(cpu, mm, pfn)
  }
}

interface MigrationLists {
  readonly batch: ListNode
  readonly failed: ListNode
  readonly split: ListNode
  readonly unmapped: ListNode
  readonly dst: ListNode
  readonly retry: ListNode
}

/** What stays the same during one migratePages(). */
interface Job {
  readonly cpu: Cpu
  readonly mm: Mm
  readonly target: MigrationTarget
  readonly reason: MigrateReason
  /** What the task may wait for: WAIT_* */
  readonly waits: number
  readonly stats: MigrateStats
  readonly lists: MigrationLists
}

function migrationLists(cpu: Cpu, mm: Mm): MigrationLists {
  const list = (index: number): ListNode => {
    const head = mm.taskList(cpu.id, index)
    assert(listEmpty(mm.links, head), 'migrate: the task has no migration under way')
    return head
  }
  return {
    batch: list(LIST_BATCH),
    failed: list(LIST_FAILED),
    split: list(LIST_SPLIT),
    unmapped: list(LIST_UNMAPPED),
    dst: list(LIST_DST),
    retry: list(LIST_RETRY),
  }
}

/** Moves folios of up to NR_MAX_BATCHED_MIGRATION pages, at least one, from `from` to `batch` (M-4). */
function takeBatch(cpu: Cpu, mm: Mm, from: ListNode, batch: ListNode): void {
  if (!mm.rules.batchedMigration) {
    listSpliceTail(mm.links, from, batch)
    return
  }
  let pages = 0
  while (!listEmpty(mm.links, from) && pages < NR_MAX_BATCHED_MIGRATION) {
    const folio = listFirst(mm.links, from)
    listMoveTail(mm.links, folio, batch)
    pages += folioPages(cpu.load(mm.flags, pfnOf(folio)))
  }
}

/** One batch in the way of the kernel's version and the mode (M-3). */
function migrateOneBatch(job: Job, mode: MigrateMode): number {
  const { mm, lists, stats } = job
  if (!mm.rules.batchedMigration) return migrateOneByOne(job, mode)
  if (mode === MIGRATE_ASYNC) {
    return migratePagesBatch(job, lists.batch, lists.failed, mode, NR_MAX_MIGRATE_PAGES_RETRY)
  }
  // First all together, asynchronously: what succeeds there needs no waiting. Failures do not count yet.
  const { pagesFailed, thpFailed, thpSplit, foliosSplit } = stats
  const rc = migratePagesBatch(job, lists.batch, lists.retry, MIGRATE_ASYNC, NR_MAX_MIGRATE_ASYNC_RETRY)
  if (rc < 0) {
    listSpliceTail(mm.links, lists.retry, lists.failed)
    return rc
  }
  stats.pagesFailed = pagesFailed
  stats.thpFailed = thpFailed + (stats.thpSplit - thpSplit)
  const splitBefore = stats.foliosSplit - foliosSplit
  listSpliceTail(mm.links, lists.retry, lists.batch)
  const alone = migrateEachAlone(job, mode)
  return alone < 0 ? alone : alone + splitBefore
}

/** Every folio of the batch by itself, in the real mode: only then may it wait while holding a lock. */
function migrateEachAlone(job: Job, mode: MigrateMode): number {
  const { mm, lists } = job
  let notMigrated = 0
  while (!listEmpty(mm.links, lists.batch)) {
    listMoveTail(mm.links, listFirst(mm.links, lists.batch), lists.retry)
    const rc = migratePagesBatch(job, lists.retry, lists.failed, mode, NR_MAX_MIGRATE_SYNC_RETRY)
    listSpliceTail(mm.links, lists.retry, lists.failed)
    if (rc < 0) return rc
    notMigrated += rc
  }
  return notMigrated
}

/**
 * The pieces of split folios, in one asynchronous pass: in the result they count as the one folio that was
 * not migrated, in the counters as pages (M-12).
 */
function migratePieces(job: Job, mode: MigrateMode): void {
  const { mm, lists } = job
  if (listEmpty(mm.links, lists.split)) return
  listSpliceTail(mm.links, lists.split, lists.batch)
  if (mm.rules.batchedMigration) migratePagesBatch(job, lists.batch, lists.failed, MIGRATE_ASYNC, 1)
  else migrateOneByOne(job, mode)
  listSpliceTail(mm.links, lists.batch, lists.failed)
}

/** One run over a list: how it goes, and what its current pass leaves to the next one. */
interface Run {
  readonly mode: MigrateMode
  /** Where what does not move goes. */
  readonly failed: ListNode
  waits: number
  retryFolios: number
  retryPages: number
  retryThps: number
}

const newRun = (mode: MigrateMode, failed: ListNode, waits: number): Run => ({
  mode,
  failed,
  waits,
  retryFolios: 1,
  retryPages: 0,
  retryThps: 0,
})

function startPass(run: Run): void {
  run.retryFolios = 0
  run.retryPages = 0
  run.retryThps = 0
}

function retryLater(run: Run, flags: number): void {
  run.retryFolios++
  run.retryPages += folioPages(flags)
  if (isThp(flags)) run.retryThps++
}

/** There is no next pass: what was left to it has failed. Gives the number of folios. */
function giveUp(stats: MigrateStats, run: Run): number {
  stats.pagesFailed += run.retryPages
  stats.thpFailed += run.retryThps
  return run.retryFolios
}

function countSucceeded(stats: MigrateStats, flags: number): void {
  stats.pagesSucceeded += folioPages(flags)
  if (isThp(flags)) stats.thpSucceeded++
}

function countFailed(stats: MigrateStats, flags: number): void {
  stats.pagesFailed += folioPages(flags)
  if (isThp(flags)) stats.thpFailed++
}

/**
 * Up to `passes` passes of unmapping all folios of `from`, then up to `passes` of moving what was
 * unmapped. What may be tried again stays on `from`; the rest of what did not move goes to `failed`.
 *
 * @kernel mm/migrate.c migrate_pages_batch() v6.18; spec M-4, M-5, M-10
 */
function migratePagesBatch(
  job: Job,
  from: ListNode,
  failed: ListNode,
  mode: MigrateMode,
  passes: number,
): number {
  const { mm, stats } = job
  assert(mode === MIGRATE_ASYNC || holdsAtMostOne(mm, from), 'migrate: batches are asynchronous only')
  const run = newRun(mode, failed, job.waits)
  let notMigrated = 0
  let outOfMemory = false
  for (let pass = 0; pass < passes && run.retryFolios > 0 && !outOfMemory; pass++) {
    startPass(run)
    for (let folio = listFirst(mm.links, from); folio !== from && !outOfMemory; ) {
      const next = listNext(mm.links, folio)
      const rc = unmapOne(job, run, pfnOf(folio))
      if (rc === -ENOMEM) outOfMemory = true
      else if (rc < 0 && rc !== -EAGAIN) notMigrated++
      folio = next
    }
  }
  notMigrated += giveUp(stats, run)
  notMigrated += moveUnmapped(job, failed, mode, passes)
  undoUnmapped(job, failed)
  return outOfMemory ? -ENOMEM : notMigrated
}

const holdsAtMostOne = (mm: Mm, list: ListNode): boolean =>
  listEmpty(mm.links, list) || listNext(mm.links, listFirst(mm.links, list)) === list

/**
 * Gets a destination for one folio and unmaps it; moves it to the list that its fate names (M-5).
 *
 * @errors -EAGAIN: stays where it is. -ENOMEM: the same, and the batch ends. SPLIT or other: not migrated.
 */
function unmapOne(job: Job, run: Run, src: Pfn): MigrateResult {
  const { cpu, mm, target, lists, stats } = job
  const flags = cpu.load(mm.flags, src)
  if (dropIfFreed(job, src, flags)) return FREED
  const got = target.getNewFolio(cpu, mm, src, compoundOrder(flags))
  if (got < 0) return splitOrEnd(job, run, src, flags)
  const dst = pfnOf(got)
  const rc = migrateFolioUnmap(cpu, mm, src, dst, run.mode, run.waits)
  if (rc === UNMAPPED) {
    listMoveTail(mm.links, src, lists.unmapped)
    listAddTail(mm.links, dst, lists.dst)
    return UNMAPPED
  }
  target.putNewFolio(cpu, mm, dst)
  if (rc === -EAGAIN) retryLater(run, flags)
  else {
    countFailed(stats, flags)
    listMoveTail(mm.links, src, run.failed)
  }
  return rc
}

/**
 * A folio whose only reference is the isolation's was freed by its owner meanwhile: it goes back to its
 * provider, and is free. That counts as success.
 */
function dropIfFreed(job: Job, src: Pfn, flags: number): boolean {
  const { cpu, mm, stats } = job
  if (cpu.load(mm.refcount, src) !== 1) return false
  listDel(mm.links, src)
  countSucceeded(stats, flags)
  putbackMovablePage(cpu, mm, src)
  return true
}

/** There is no destination of its size: a large folio is split, for anything else the batch ends. */
function splitOrEnd(job: Job, run: Run, src: Pfn, flags: number): MigrateResult {
  const { stats, reason } = job
  const rc = trySplitFolio(job, src, flags, run.mode)
  if (rc === 0) return SPLIT
  if (rc === -EAGAIN && reason === MR_LONGTERM_PIN) {
    retryLater(run, flags)
    return -EAGAIN
  }
  countFailed(stats, flags)
  return -ENOMEM
}

/**
 * Splits a large folio. On success its pieces are on the split list.
 *
 * @errors -EINVAL: it is single, or must stay whole. -EAGAIN: locked. Others as splitFolioToList().
 * @kernel mm/migrate.c try_split_folio() v6.18
 */
function trySplitFolio(job: Job, src: Pfn, flags: number, mode: MigrateMode): MigrateResult {
  const { cpu, mm, lists, stats, reason } = job
  if ((flags & PG_head) === 0 || reason === MR_NUMA_MISPLACED) return -EINVAL
  if (mode === MIGRATE_ASYNC) {
    if (!cpu.tryLock(mm.flags, src, PG_locked)) return -EAGAIN
  } else {
    cpu.lock(mm.flags, src, PG_locked)
  }
  const rc = splitFolioToList(cpu, mm, src, lists.split)
  cpu.unlock(mm.flags, src, PG_locked)
  if (rc !== 0) return rc
  listMoveTail(mm.links, src, lists.split)
  stats.foliosSplit++
  if (isThp(flags)) {
    stats.thpSplit++
    stats.thpFailed++
  }
  return 0
}

/** Moves all unmapped folios, in up to `passes` passes. Gives the number that failed or are left. */
function moveUnmapped(job: Job, failed: ListNode, mode: MigrateMode, passes: number): number {
  const { mm, lists, stats } = job
  if (listEmpty(mm.links, lists.unmapped)) return 0
  const run = newRun(mode, failed, job.waits)
  let notMigrated = 0
  for (let pass = 0; pass < passes && run.retryFolios > 0; pass++) {
    startPass(run)
    let src = listFirst(mm.links, lists.unmapped)
    let dst = listFirst(mm.links, lists.dst)
    while (src !== lists.unmapped) {
      const nextSrc = listNext(mm.links, src)
      const nextDst = listNext(mm.links, dst)
      const rc = moveOne(job, run, src, dst)
      if (rc < 0 && rc !== -EAGAIN) notMigrated++
      src = nextSrc
      dst = nextDst
    }
  }
  return notMigrated + giveUp(stats, run)
}

/** Moves one unmapped folio. @errors -EAGAIN: both stay where they are. Other: src is on failed, dst given back */
function moveOne(job: Job, run: Run, src: ListNode, dst: ListNode): MigrateResult {
  const { cpu, mm, target, stats } = job
  const flags = cpu.load(mm.flags, pfnOf(src))
  const nextSrc = listNext(mm.links, src)
  const nextDst = listNext(mm.links, dst)
  // The links of both belong to their owners again once the move has happened.
  listDel(mm.links, src)
  listDel(mm.links, dst)
  const rc = migrateFolioMove(cpu, mm, pfnOf(src), pfnOf(dst), run.mode)
  if (rc === 0) {
    countSucceeded(stats, flags)
  } else if (rc === -EAGAIN) {
    retryLater(run, flags)
    listAddTail(mm.links, src, nextSrc)
    listAddTail(mm.links, dst, nextDst)
  } else {
    countFailed(stats, flags)
    listAddTail(mm.links, src, run.failed)
    target.putNewFolio(cpu, mm, pfnOf(dst))
  }
  return rc
}

/** What is still unmapped gets its mappings back and is put before `to`: last, if that is a list (M-10). */
function undoUnmapped(job: Job, to: ListNode): void {
  const { cpu, mm, target, lists } = job
  while (!listEmpty(mm.links, lists.unmapped)) {
    const src = pfnOf(listFirst(mm.links, lists.unmapped))
    const dst = pfnOf(listFirst(mm.links, lists.dst))
    listDel(mm.links, dst)
    migrateFolioUndo(cpu, mm, src, dst)
    target.putNewFolio(cpu, mm, dst)
    listMoveTail(mm.links, src, to)
  }
}

// Before v6.3: no batches.

/**
 * Up to NR_MAX_MIGRATE_PAGES_RETRY passes over the batch list, each folio unmapped and moved by itself. The
 * first passes only try; the later ones wait for locks and writeback too.
 *
 * @kernel mm/migrate.c migrate_pages() v6.1
 */
function migrateOneByOne(job: Job, mode: MigrateMode): number {
  const { mm, lists, stats } = job
  const from = lists.batch
  const run = newRun(mode, lists.failed, 0)
  let notMigrated = 0
  for (let pass = 0; pass < NR_MAX_MIGRATE_PAGES_RETRY && run.retryFolios > 0; pass++) {
    startPass(run)
    run.waits = pass < NR_MAX_MIGRATE_ASYNC_RETRY ? 0 : job.waits
    for (let folio = listFirst(mm.links, from); folio !== from; ) {
      const next = listNext(mm.links, folio)
      const rc = unmapAndMove(job, run, folio)
      if (rc === -ENOMEM) {
        giveUp(stats, run)
        return rc
      }
      if (rc < 0 && rc !== -EAGAIN) notMigrated++
      folio = next
    }
  }
  return notMigrated + giveUp(stats, run)
}

/** One folio, wholly; on -EAGAIN it is where it was on its list. @kernel mm/migrate.c unmap_and_move() v6.1 */
function unmapAndMove(job: Job, run: Run, src: ListNode): MigrateResult {
  const { mm, lists } = job
  const next = listNext(mm.links, src)
  const rc = unmapOne(job, run, pfnOf(src))
  if (rc !== UNMAPPED) return rc
  const moved = moveOne(job, run, src, listFirst(mm.links, lists.dst))
  if (moved === -EAGAIN) undoUnmapped(job, next)
  return moved
}
