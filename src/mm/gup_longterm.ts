/**
 * Pins of user pages by address, for short (FOLL_PIN) and for long (FOLL_LONGTERM).
 *
 * A pinned folio does not move. For as long as an I/O takes that is no harm; RDMA or a passed-through device pin until
 * they end. So a long-term pin first leaves where folios must be able to move: ZONE_MOVABLE, CMA pageblocks and those
 * that are being isolated. The kernel does not ask the pinner back later, as pin page control does; it does not pin there.
 *
 * A long-term pin of a range is
 *   (1) pin what each pte maps: a reference unless there is none, made a pin, and kept only if the pte still maps the page
 *   (2) which of the folios may not stay where they are? none: done
 *   (3) take those off the LRU
 *   (4) unpin all of the range: what is pinned does not move
 *   (5) move them to where nothing has to move (reason longterm_pin), and begin again at (1)
 *
 * What a failure leaves behind: nothing is pinned, and every folio is where it was, or has moved.
 *   | -EFAULT | a pte maps nothing                                                                                   |
 *   | -ENOMEM | there is no page to swap in to, no destination, or a folio did not move                                |
 *   | -EAGAIN | a folio that has to move is in other hands (isolated), and stayed there for three rounds. The kernel goes |
 *   |         | on until a signal comes                                                                               |
 *
 * Rules:
 *   - between (1) and (2) nobody can move the folio, so where it lies is where it stays;
 *   - destinations are there before the migration begins: one of them might need compaction, which migrates.
 *
 * Not here: device memory, the zero page (neither exists here: any folio that may stay is pinnable), hugetlb, files whose
 * pages may be written back, and the lock-free path as a case of its own: the kernel's fast path is (1).
 *
 * @kernel mm/gup.c __gup_longterm_locked(), check_and_migrate_movable_folios(), include/linux/mm.h
 *         folio_is_longterm_pinnable() v6.18; spec 2.5
 */

import type { Cpu } from '../base/cpu.ts'
import { listAddTail, listDel, listEmpty, listFirst, listNext } from '../base/list.ts'
import { nidOf, type Pfn, pfnOf, type Vpn, vpnOf } from '../base/units.ts'
import { __GFP_HIGHMEM, __GFP_MOVABLE, __GFP_NOWARN, __GFP_RECLAIM, GFP_TRANSHUGE, GFP_USER } from './gfp.ts'
import { tryGrabFolio, unpinUserPage } from './gup.ts'
import {
  EAGAIN,
  EFAULT,
  ENOMEM,
  MIGRATE_CMA,
  MIGRATE_ISOLATE,
  MIGRATE_SYNC,
  MR_LONGTERM_PIN,
  ZONE_MOVABLE,
} from './limits.ts'
import { folioIsolateLru, isolatedCounter, nodeOf } from './lru.ts'
import { type MigrationTarget, migratePages, newMigrateStats, putbackMovablePages } from './migrate.ts'
import { compoundOrder, folioHead, folioPages, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'
import { NOT_MAPPED, presentPte } from './rmap.ts'
import { allocPages } from './slowpath.ts'
import { type FaultPages, faultInPage } from './swapin.ts'

// What the caller wants to do with the pages.
/** The data will be accessed, and soon no more. */
export const FOLL_PIN = 1
/** Nobody knows for how long. With FOLL_PIN. */
export const FOLL_LONGTERM = 2

/** Lists of the task: folios to move, and where to. */
const LIST_COLLECTED = 21
const LIST_TARGETS = 22

/** Rounds without success before a folio in other hands is left there. */
const ROUNDS = 3

/**
 * Pins the pages at `pages` virtual addresses from `first` on, and says in `pinned` which they are; several may be of one
 * folio, which is pinned once for each. 0, or nothing is pinned.
 *
 * @sleeps while a page migrates, is swapped in or moved, and in allocation
 * @errors -EFAULT, -ENOMEM, -EAGAIN: see the header. `pinned` is empty.
 * @kernel mm/gup.c pin_user_pages() v6.18
 */
export function pinUserPages(
  cpu: Cpu,
  mm: Mm,
  first: Vpn,
  pages: number,
  foll: number,
  pinned: Pfn[],
): number {
  if ((foll & FOLL_LONGTERM) === 0) return pinRange(cpu, mm, first, pages, MOVABLE_PAGES, pinned)
  let rc = -EAGAIN
  for (let round = 0; round < ROUNDS && rc === -EAGAIN; round++) {
    cpu.at('pinning', first, round)
    rc = pinRange(cpu, mm, first, pages, UNMOVABLE_PAGES, pinned)
    if (rc === 0) rc = checkAndMigrateMovableFolios(cpu, mm, pinned, longtermTarget)
  }
  return rc
}

/** Undoes pinUserPages(). @kernel mm/gup.c unpin_user_pages() v6.18 */
export function unpinUserPages(cpu: Cpu, mm: Mm, pinned: Pfn[]): void {
  for (const pfn of pinned) unpinUserPage(cpu, mm, pfn)
  pinned.length = 0
}

/** (1) for a range. @errors -EFAULT, -ENOMEM: nothing is pinned */
function pinRange(cpu: Cpu, mm: Mm, first: Vpn, pages: number, source: FaultPages, pinned: Pfn[]): number {
  for (let vpn = first; vpn < first + pages; vpn = vpnOf(vpn + 1)) {
    const pfn = pinPte(cpu, mm, vpn, source)
    if (pfn < 0) {
      unpinUserPages(cpu, mm, pinned)
      return pfn
    }
    pinned.push(pfnOf(pfn))
  }
  return 0
}

/**
 * (1): pins the page that a pte maps.
 *
 * Between the look at the pte and the pin the page may move and be free, and be somebody else's by then. The pin is of
 * use only if the pte still maps it: from then on it does not move.
 *
 * @sleeps while it migrates, and to swap it in
 * @errors -EFAULT: nothing is mapped. -ENOMEM: no page to swap it in to
 * @kernel mm/gup.c gup_fast_pte_range(), follow_page_pte() v6.18
 */
export function pinPte(cpu: Cpu, mm: Mm, vpn: Vpn, source: FaultPages): number {
  for (;;) {
    // Each round either ends or has seen the pte change.
    cpu.at('pin', vpn)
    const found = faultInPage(cpu, mm, vpn, source, true)
    if (found < 0) return found === NOT_MAPPED ? -EFAULT : -ENOMEM
    const pfn = pfnOf(found)
    cpu.at('grabbing', vpn, pfn)
    if (!tryGrabFolio(cpu, mm, pfn)) continue
    cpu.at('looking again', vpn, pfn)
    if (cpu.load(mm.pte, vpn) === presentPte(pfn)) return pfn
    cpu.at('not it', vpn, pfn)
    unpinUserPage(cpu, mm, pfn)
  }
}

/**
 * True if the folio may be pinned for long where it is.
 *
 * @kernel include/linux/mm.h folio_is_longterm_pinnable() v6.18
 */
export function folioIsLongtermPinnable(mm: Mm, pfn: Pfn): boolean {
  const mt = mm.migratetypeOf(pfn)
  if (mt === MIGRATE_CMA || mt === MIGRATE_ISOLATE) return false
  return mm.zoneIdx[mm.zoneOf(pfn)] !== ZONE_MOVABLE
}

/** Where folios move to for a long-term pin. */
export interface LongtermTarget extends MigrationTarget {
  /** Makes sure that there are destinations for the folios on the list, as far as there is memory. */
  prepare(cpu: Cpu, mm: Mm): void
  /** Gives back what was not used. */
  release(cpu: Cpu, mm: Mm): void
}

/**
 * (2) to (5) for pages that are pinned. 0: all may stay, and are pinned. Otherwise none is pinned any more, and `pinned`
 * is empty.
 *
 * @errors -EAGAIN: they have moved, or are in other hands: pin them again. -ENOMEM: one of them did not move.
 * @kernel mm/gup.c check_and_migrate_movable_folios() v6.18
 */
export function checkAndMigrateMovableFolios(
  cpu: Cpu,
  mm: Mm,
  pinned: Pfn[],
  target: LongtermTarget,
): number {
  if (collectLongtermUnpinnableFolios(cpu, mm, pinned) === 0) return 0
  unpinUserPages(cpu, mm, pinned)
  const list = mm.taskList(cpu.id, LIST_COLLECTED)
  if (listEmpty(mm.links, list)) return -EAGAIN // all in other hands
  cpu.at('moving away')
  target.prepare(cpu, mm)
  const rc = migratePages(cpu, mm, list, target, MIGRATE_SYNC, MR_LONGTERM_PIN, newMigrateStats())
  target.release(cpu, mm)
  if (rc === 0) return -EAGAIN
  putbackMovablePages(cpu, mm, list)
  return -ENOMEM
}

/** (2), (3). Gives how many of the folios may not stay. */
function collectLongtermUnpinnableFolios(cpu: Cpu, mm: Mm, pinned: readonly Pfn[]): number {
  const list = mm.taskList(cpu.id, LIST_COLLECTED)
  let unpinnable = 0
  let last = -1
  for (const pfn of pinned) {
    const folio = folioHead(cpu, mm, pfn)
    if (folio === last) continue // the folio of the page before
    last = folio
    if (folioIsLongtermPinnable(mm, folio)) continue
    unpinnable++
    if (isolatePinned(cpu, mm, folio)) listAddTail(mm.links, folio, list)
  }
  return unpinnable
}

/**
 * (3): takes a folio that the caller has pinned off the LRU, with a reference for it; the pin may go then. False: it is
 * in other hands, or was taken already.
 *
 * @locks takes and drops (U)
 */
export function isolatePinned(cpu: Cpu, mm: Mm, folio: Pfn): boolean {
  if (!folioIsolateLru(cpu, mm, folio)) return false
  const flags = cpu.load(mm.flags, folio)
  cpu.add(mm.refcount, folio, 1) // the pin keeps it from being zero
  cpu.add(isolatedCounter(mm, flags), nidOf(nodeOf(mm, folio)), folioPages(flags))
  return true
}

// Memory for it.

/** GFP_HIGHUSER without __GFP_MOVABLE: what is swapped in for a long-term pin is not to move again at once. */
const UNMOVABLE_PAGES: FaultPages = {
  getNewPage: (cpu, mm) => allocPages(cpu, mm, GFP_USER | __GFP_HIGHMEM, 0, 0),
}
const MOVABLE_PAGES: FaultPages = {
  getNewPage: (cpu, mm) => allocPages(cpu, mm, GFP_USER | __GFP_HIGHMEM | __GFP_MOVABLE, 0, 0),
}

/**
 * GFP flags of a destination: never movable, because the task is about to pin it (PF_MEMALLOC_PIN).
 *
 * @kernel mm/migrate.c alloc_migration_target(), include/linux/sched/mm.h memalloc_pin_save() v6.18
 */
function targetGfp(mm: Mm, src: Pfn, order: number): number {
  const small = GFP_USER | __GFP_NOWARN
  const gfp = order === 0 ? small : (small & ~__GFP_RECLAIM) | GFP_TRANSHUGE
  const high = mm.zoneIdx[mm.zoneOf(src)] === ZONE_MOVABLE ? __GFP_HIGHMEM : 0
  return (gfp | high) & ~__GFP_MOVABLE
}

/** Destinations from the allocator: all of them before the migration, which cannot compact. */
const longtermTarget: LongtermTarget = {
  prepare(cpu, mm): void {
    const folios = mm.taskList(cpu.id, LIST_COLLECTED)
    const targets = mm.taskList(cpu.id, LIST_TARGETS)
    for (let at = listFirst(mm.links, folios); at !== folios; at = listNext(mm.links, at)) {
      const src = pfnOf(at)
      const order = compoundOrder(cpu.load(mm.flags, src))
      const dst = allocPages(cpu, mm, targetGfp(mm, src, order), order, nodeOf(mm, src))
      if (dst < 0) return
      listAddTail(mm.links, dst, targets)
    }
  },

  getNewFolio(cpu, mm, src, order): number {
    const targets = mm.taskList(cpu.id, LIST_TARGETS)
    for (let at = listFirst(mm.links, targets); at !== targets; at = listNext(mm.links, at)) {
      const dst = pfnOf(at)
      if (compoundOrder(cpu.load(mm.flags, dst)) !== order) continue
      listDel(mm.links, dst)
      return dst
    }
    // Of a folio that was split: what is free, and nothing is done to get it.
    return allocPages(cpu, mm, targetGfp(mm, src, order) & ~__GFP_RECLAIM, order, nodeOf(mm, src))
  },

  putNewFolio(cpu, mm, dst): void {
    listAddTail(mm.links, dst, mm.taskList(cpu.id, LIST_TARGETS)) // for the next try
  },

  release(cpu, mm): void {
    const targets = mm.taskList(cpu.id, LIST_TARGETS)
    while (!listEmpty(mm.links, targets)) {
      const dst = pfnOf(listFirst(mm.links, targets))
      listDel(mm.links, dst)
      putPage(cpu, mm, dst)
    }
  },
}
