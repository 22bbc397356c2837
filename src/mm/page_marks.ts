/**
 * How a page said that a driver can move it, before it was a page type: history, as truth tables.
 *
 * Three marks followed each other. In 2015 a mobile page had a `_mapcount` of -255, and a balloon page,
 * mobile too, one of -256. In 2016 both shared -256, a movable page had PG_movable beside it and a balloon
 * page PG_private_2. What was merged (v4.8) was two low bits of `page->mapping`, and since v6.17 it is a
 * page type with PG_movable_ops: that is what the engine does (movable_ops.ts).
 *
 * Functions that set or clear a mark give every state in between, in order, because readers take no lock.
 *
 * Not here: anything that the engine runs. Only tests read this, and what prints old captures.
 *
 * @paper Gioh Kim, "enable mobile-page migration", linux-mm 13 Jul 2015; Minchan Kim, "mm/balloon: use
 *        general movable page feature into balloon", v2, linux-mm 21 Mar 2016; spec S0-1..S0-7, S1-1..S1-7
 */

import { assert } from '../base/assert.ts'
import { PG_private, PG_private_2, PG_reclaim } from './limits.ts'

/** What a mark is made of. */
export interface MarkedPage {
  /** `_mapcount`: -1 when nobody uses it. */
  readonly mapcount: number
  readonly flags: number
  /** `page->mapping` is not NULL. */
  readonly hasMapping: boolean
}

/** A page that nobody has marked. */
export const UNMARKED: MarkedPage = { mapcount: -1, flags: 0, hasMapping: false }

// 2015.

export const PAGE_MOBILE_MAPCOUNT_VALUE = -255
/** The same in both years; in 2016 it is another name of PAGE_MOVABLE_MAPCOUNT_VALUE. */
export const PAGE_BALLOON_MAPCOUNT_VALUE = -256

export const PageMobile = (page: MarkedPage): boolean => page.mapcount === PAGE_MOBILE_MAPCOUNT_VALUE
export const PageBalloon2015 = (page: MarkedPage): boolean => page.mapcount === PAGE_BALLOON_MAPCOUNT_VALUE

/** Throws AssertionError if the page has a user of its mapcount already. */
export function __SetPageMobile(page: MarkedPage): MarkedPage {
  assert(page.mapcount === -1, 'SetPageMobile: the mapcount is in use')
  return { ...page, mapcount: PAGE_MOBILE_MAPCOUNT_VALUE }
}

/** Throws AssertionError if the page is not mobile. */
export function __ClearPageMobile(page: MarkedPage): MarkedPage {
  assert(PageMobile(page), 'ClearPageMobile: the page is not mobile')
  return { ...page, mapcount: -1 }
}

/** The test without a lock, so its answer is a guess. `compaction`: CONFIG_COMPACTION; nothing is mobile without. */
export const mobile_page = (page: MarkedPage, compaction: boolean): boolean =>
  compaction && page.hasMapping && (PageMobile(page) || PageBalloon2015(page))

/** A balloon page of 2015 that is isolated: PG_private said that it was not. */
export const isBalloonIsolated2015 = (page: MarkedPage): boolean =>
  PageBalloon2015(page) && (page.flags & PG_private) === 0

// 2016.

export const PAGE_MOVABLE_MAPCOUNT_VALUE = -256
export const PG_movable = 1 << 21
export const PG_isolated = PG_reclaim

export const PageMovable = (page: MarkedPage): boolean =>
  (page.flags & PG_movable) !== 0 && page.mapcount === PAGE_MOVABLE_MAPCOUNT_VALUE
export const PageIsolated = (page: MarkedPage): boolean => (page.flags & PG_isolated) !== 0
export const PageBalloon2016 = (page: MarkedPage): boolean =>
  page.mapcount === PAGE_BALLOON_MAPCOUNT_VALUE && (page.flags & PG_private_2) !== 0

/** The bit, then the mapcount: not movable before the last step. The caller holds the page lock. */
export function __SetPageMovable(page: MarkedPage): MarkedPage[] {
  const bit = { ...page, flags: page.flags | PG_movable }
  return [bit, { ...bit, mapcount: PAGE_MOVABLE_MAPCOUNT_VALUE }]
}

/** The mapcount, then the bit: not movable after the first step. */
export function __ClearPageMovable(page: MarkedPage): MarkedPage[] {
  const count = { ...page, mapcount: -1 }
  return [count, { ...count, flags: count.flags & ~PG_movable }]
}

/**
 * `balloonCompaction`: CONFIG_BALLOON_COMPACTION; without it the page is a balloon's, but not movable. Throws
 * AssertionError if the mapcount is in use.
 */
export function __SetPageBalloon(page: MarkedPage, balloonCompaction: boolean): MarkedPage[] {
  assert(page.mapcount === -1, 'SetPageBalloon: the mapcount is in use')
  const states = balloonCompaction
    ? __SetPageMovable(page)
    : [{ ...page, mapcount: PAGE_BALLOON_MAPCOUNT_VALUE }]
  const last = states[states.length - 1]
  return [...states, { ...last, flags: last.flags | PG_private_2 }]
}

/** Throws AssertionError if the page is not a balloon's. */
export function __ClearPageBalloon(page: MarkedPage, balloonCompaction: boolean): MarkedPage[] {
  assert(PageBalloon2016(page), 'ClearPageBalloon: the page is not a balloon page')
  const states = balloonCompaction ? __ClearPageMovable(page) : [{ ...page, mapcount: -1 }]
  const last = states[states.length - 1]
  return [...states, { ...last, flags: last.flags & ~PG_private_2 }]
}

// /proc/kpageflags.

/** `2015`: Linux v4.2 with the patches of that year. `modern`: what the ABI says today. */
export type KpfProfile = '2015' | 'modern'

const KPF_ALWAYS = (
  'LOCKED ERROR REFERENCED UPTODATE DIRTY LRU ACTIVE SLAB WRITEBACK RECLAIM BUDDY MMAP ANON SWAPCACHE ' +
  'SWAPBACKED COMPOUND_HEAD COMPOUND_TAIL HUGE UNEVICTABLE HWPOISON NOPAGE KSM THP'
).split(' ')

/** Names of the bits by number, KPF_* without the prefix. Bits 23 and 25 changed their meaning. */
export const KPF_NAMES_BY_PROFILE: Readonly<Record<KpfProfile, readonly string[]>> = {
  '2015': [...KPF_ALWAYS, 'BALLOON', 'ZERO_PAGE', 'MOBILE'],
  modern: [...KPF_ALWAYS, 'OFFLINE', 'ZERO_PAGE', 'IDLE', 'PGTABLE'],
}

/** Number of the bit of that name, -1 if the profile has none. */
export const kpfBit = (profile: KpfProfile, name: string): number =>
  KPF_NAMES_BY_PROFILE[profile].indexOf(name)

/** The marks that /proc/kpageflags showed in 2015, as a mask. */
export function markBits2015(page: MarkedPage): number {
  if (PageMobile(page)) return 1 << kpfBit('2015', 'MOBILE')
  return PageBalloon2015(page) ? 1 << kpfBit('2015', 'BALLOON') : 0
}

// What compaction answers.

/** Value of COMPACT_DEFERRED: the first one in 2015, since then the third. */
export const COMPACT_DEFERRED: Readonly<Record<KpfProfile, number>> = { '2015': 0, modern: 2 }
