/**
 * Small machines for models: a few pages in use, a few spare ones, and nothing else that matters.
 *
 * Pages lie so far apart that no two are buddies; what is between them is in use and nobody's. So freeing a page
 * is a short list operation, and states stay small. A freed page goes by way of the per-cpu list to the free
 * list at once.
 *
 * @ours
 */

import { FastCpu } from '../base/cpu.ts'
import { listFirst, listNext } from '../base/list.ts'
import {
  type ListNode,
  listNodeOf,
  mappingIdOf,
  type Pfn,
  pfnOf,
  type Slot,
  type Vpn,
} from '../base/units.ts'
import type { Guard, LockRules } from '../check/system.ts'
import { filemapAddFolio } from '../mm/filemap.ts'
import { createMachine } from '../mm/index.ts'
import { PG_locked, PG_swapbacked, PG_uptodate } from '../mm/limits.ts'
import {
  LOCK_COLUMNS,
  LOCK_LETTERS,
  type LockLetter,
  MUTEX_LOCKED,
  SLEEPING_LOCKS,
  SPIN_LOCKED,
  TAKEN_UNDER,
  WRITTEN_UNDER,
} from '../mm/locks.ts'
import { folioAddLru } from '../mm/lru.ts'
import {
  ANON_MAPPING,
  AS_LOCKED,
  isBuddy,
  MAPPING_FIRST_FILE,
  type MachineSpec,
  type Mm,
} from '../mm/page.ts'
import { mapPage } from '../mm/rmap.ts'

export interface SmallMachine {
  readonly mm: Mm
  /** Pages of the model, in use: refcount 1, `content` 100 + its place. */
  readonly pages: readonly Pfn[]
  /** Destinations: in use, refcount 1, `content` 0. */
  readonly spares: readonly Pfn[]
  /** The same, in a pageblock of their own. */
  readonly far: readonly Pfn[]
}

const PAGEBLOCK = 512
const APART = 8

/** A machine of one pageblock with `pages` pages and `spares` destinations; a second one if `far` are wanted. */
export function smallMachine(
  pages: number,
  spares: number,
  more: Pick<MachineSpec, 'ptes' | 'slots' | 'swapSlots' | 'ownerCells' | 'cpus' | 'mappings'> = {},
  far = 0,
): SmallMachine {
  const size = far === 0 ? PAGEBLOCK : 2 * PAGEBLOCK
  const mm = createMachine({
    pfnCount: size,
    zones: [
      {
        node: 0,
        name: 'Normal',
        startPfn: 0,
        spanned: size,
        present: size,
        managed: size,
        min: 0,
        low: 0,
        high: 0,
      },
    ],
    contents: true,
    ...more,
  })
  const used = Array.from({ length: pages }, (_, i) => pfnOf(APART * (i + 1)))
  const destinations = Array.from({ length: spares }, (_, i) => pfnOf(APART * (pages + i + 1)))
  used.forEach((pfn, i) => {
    mm.refcount[pfn] = 1
    mm.content[pfn] = 100 + i
  })
  const distant = Array.from({ length: far }, (_, i) => pfnOf(PAGEBLOCK + APART * (i + 1)))
  for (const pfn of [...destinations, ...distant]) mm.refcount[pfn] = 1
  return { mm, pages: used, spares: destinations, far: distant }
}

// What the pages are, before anything runs. The model's reference becomes theirs.

const setup = new FastCpu()

/** Makes a page anonymous: mapped at these vpns, and on the LRU. Its reference is that of the first pte. */
export function mapAnon(mm: Mm, pfn: Pfn, vpns: readonly Vpn[]): void {
  mm.flags[pfn] = PG_uptodate | PG_swapbacked
  mm.mapping[pfn] = ANON_MAPPING
  for (const vpn of vpns) mapPage(setup, mm, vpn, pfn)
  mm.refcount[pfn]--
  folioAddLru(setup, mm, pfn)
}

/** The file of `cacheClean`. */
export const A_FILE = mappingIdOf(MAPPING_FIRST_FILE)

/** Makes a page a clean one of a file: in its cache, and on the LRU. Its reference is the cache's. */
export function cacheClean(mm: Mm, pfn: Pfn, slot: Slot): void {
  mm.flags[pfn] = PG_uptodate
  filemapAddFolio(setup, mm, pfn, A_FILE, slot)
  mm.refcount[pfn]--
  folioAddLru(setup, mm, pfn)
}

/** Pages on a list, by walking it; -1 if it does not lead back to its head. */
export function listLength(mm: Mm, head: ListNode): number {
  let length = 0
  for (let at = listFirst(mm.links, head); at !== head; at = listNext(mm.links, at)) {
    if (++length > LIST_MAX) return -1
  }
  return length
}

/** More pages than a small machine has in use. */
const LIST_MAX = PAGEBLOCK / APART

/** True if a page is on a list. */
export function isOnList(mm: Mm, pfn: Pfn, head: ListNode): boolean {
  let left = LIST_MAX
  for (let at = listFirst(mm.links, head); at !== head && left > 0; at = listNext(mm.links, at)) {
    if (at === listNodeOf(pfn)) return true
    left--
  }
  return false
}

/** True if a page is free, and nothing is left of what it was. */
export const isFree = (mm: Mm, pfn: Pfn): boolean =>
  mm.refcount[pfn] === 0 && mm.flags[pfn] === 0 && isBuddy(mm.mapcount[pfn])

/** Counters that no decision depends on: touched without `cpu`. */
export const isCounter = (column: string): boolean => COUNTERS.has(column)
const COUNTERS = new Set(['events', 'mthpStats', 'nrFollPinAcquired', 'nrFollPinReleased'])

const CLASS_NAMES: Readonly<Record<LockLetter, string>> = {
  D: "owner's mutex",
  L: 'page lock',
  R: 'rmap lock',
  P: 'pte lock',
  I: 'i_pages lock',
  O: "owner's lock",
  U: 'lru lock',
  H: 'hugetlb lock',
  Z: 'zone lock',
  C: 'per-cpu lock',
  A: 'no lock',
}

/** What the lock audit holds tasks to on a machine (mm/locks.ts). `ownGuard` adds cells of an owner. */
export function lockRulesOf(
  mm: Mm,
  ownGuard: (column: string, index: number) => Guard | undefined = () => undefined,
): LockRules {
  const letterOf = (column: string, bits: number): LockLetter => {
    const letter = LOCK_COLUMNS[column] ?? 'O'
    return letter === 'O' && bits === MUTEX_LOCKED ? 'D' : letter
  }
  const nested = new Set(
    LOCK_LETTERS.flatMap((outer) =>
      (TAKEN_UNDER[outer] ?? []).map((inner) => `${CLASS_NAMES[outer]} > ${CLASS_NAMES[inner]}`),
    ),
  )
  return {
    classOf: (column, _index, bits) => {
      const letter = letterOf(column, bits)
      return { name: CLASS_NAMES[letter], sleeps: SLEEPING_LOCKS.includes(letter) }
    },
    mayNest: (outer, inner) => nested.has(`${outer.name} > ${inner.name}`),
    guardOf: (column, index) => ownGuard(column, index) ?? guardOf(mm, column, index),
  }
}

function guardOf(mm: Mm, column: string, index: number): Guard | undefined {
  switch (WRITTEN_UNDER[column]) {
    case 'L':
      return { anyOf: [['flags', index, PG_locked]], unlessZero: ['refcount', index] }
    case 'R':
      return { anyOf: [['rmapLock', 0, SPIN_LOCKED]] }
    case 'I':
      return {
        anyOf: Array.from({ length: mm.mappingFlags.length }, (_, id) => ['mappingFlags', id, AS_LOCKED]),
      }
    default:
      return undefined
  }
}
