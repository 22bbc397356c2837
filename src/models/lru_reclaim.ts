/**
 * The LRU provider against reclaim and truncation: who has a clean cached page, and what does its slot hold?
 *
 * A page of a file is clean, on the LRU, and nobody's but its cache's. The compactor moves it; meanwhile a reader
 * looks it up, reclaim takes it off the list and frees it, and truncation takes it out of its slot.
 *
 * Verified: the compactor and reclaim never have the page at the same time; a page that somebody has looked up is
 * not replaced in its slot by another one; what a slot holds is alive; the LRU counts are those of its lists; at
 * the end each page is in its slot, on the LRU with the cache's reference only, or free.
 *
 * Not verified here: dirty pages and writeback, mapped file pages, buffers (PG_private), large folios, a file that
 * goes away as a whole, a page that is read in while it is truncated.
 *
 * `actors` are the others, the first so many of: reader, reclaim, truncation, a second reader. `pages` are in
 * slots of their own and moved one after the other; reader and truncation take the first, reclaim the last.
 *
 * Spec: S0-20, S0-23, M-8
 */

import { compactPage, moveIsolated } from '../actors/compactor.ts'
import { readSlot, reclaimPage, truncateSlot } from '../actors/file_users.ts'
import type { Cpu } from '../base/cpu.ts'
import { listDel } from '../base/list.ts'
import { nidOf, type Pfn, pfnOf, type Slot, slotOf } from '../base/units.ts'
import type { System, Task, Where } from '../check/system.ts'
import { tryGetPage } from '../mm/gup.ts'
import { MIGRATE_SYNC, PG_locked, PG_lru, PG_uptodate } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { folioAddLru, folioIsolateLru } from '../mm/lru.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage } from '../mm/movable_ops.ts'
import { AS_LOCKED, fileMapping, LRU_INACTIVE_FILE, type Mm } from '../mm/page.ts'
import { freeFolio, putPage } from '../mm/page_alloc.ts'
import type { Model } from './model.ts'
import {
  A_FILE,
  cacheClean,
  isCounter,
  isFree,
  isOnList,
  listLength,
  lockRulesOf,
  smallMachine,
} from './small_machine.ts'
import { lruText } from './value_text.ts'

export const lruReclaim: Model = {
  name: 'lru-reclaim',
  question: 'Can a cached page be moved while reclaim, truncation or a look-up has it?',
  source: 'S0-20, S0-23, M-8',
  seeded: {
    'lru-in-two-steps': 'isolation looks whether the page is on the LRU and clears the mark a step later',
    'no-freeze':
      'the slot changes without the references being frozen: a look-up gains one by the old slot (M-8)',
    'reclaim-without-freeze': 'reclaim takes the page out of its slot because it has seen no other reference',
  },
  size: { actors: 2, pages: 1 },
  sizeMax: { actors: 4, pages: 2 },
  build: ({ actors, pages: count }, seeded): System<Mm> => {
    const { mm, pages, spares } = smallMachine(count, count, { slots: count })
    pages.forEach((pfn, i) => cacheClean(mm, pfn, slotAt(i)))
    const all = [...pages, ...spares]
    return {
      name: 'lru-reclaim',
      state: mm,
      tasks: [
        {
          name: 'compactor',
          run: (cpu, state) => {
            pages.forEach((src, i) => {
              cpu.at('next', src)
              compactAs(cpu, state, src, spares[i], seeded)
            })
          },
        },
        ...othersOf(pages, seeded).slice(0, actors),
      ],
      invariants: [
        {
          name: 'one-winner',
          says: 'of compaction and reclaim one has the page',
          holds: (_, where) => all.every((pfn) => where.count('isolated', pfn) <= 1),
        },
        {
          name: 'found-stays',
          says: 'a page that somebody has found in its slot is not replaced there by another one',
          holds: (state, where) =>
            pages.every((src, i) =>
              [src, spares[i]].every(
                (pfn) => !isLookedUp(where, pfn) || isInSlotOrGone(state, pfn, slotAt(i)),
              ),
            ),
        },
        {
          name: 'cached-is-alive',
          says: 'while nobody has the lock of the cache, what a slot holds has references',
          holds: (state) =>
            (state.mappingFlags[A_FILE] & AS_LOCKED) !== 0 ||
            slotsOf(state).every(
              (slot) => state.cache[slot] === 0 || state.refcount[pfnOf(state.cache[slot])] > 0,
            ),
        },
        {
          name: 'lru-counted',
          says: 'the counts of the LRU are the lengths of its lists',
          holds: (state) =>
            state.nrLru[LRU_INACTIVE_FILE] === listLength(state, state.lruList(0, LRU_INACTIVE_FILE)),
        },
      ],
      atEnd: [
        {
          name: 'reads-are-right',
          says: 'who reads the file gets what it holds, or nothing',
          holds: (_, where) =>
            READERS.every((reader) => where.results(reader).every((value) => value === -1 || value === 100)),
        },
        {
          name: 'references-exact',
          says: "a page is in its slot, on the LRU, with the cache's reference only, or free",
          holds: (state) => all.every((pfn) => isCached(state, pfn) || isFree(state, pfn)),
        },
        {
          name: 'nothing-isolated',
          says: 'pages that count as isolated are put back or moved',
          holds: (state) => state.nrIsolatedFile[nidOf(0)] === 0,
        },
      ],
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: lruText,
    }
  },
}

const slotAt = (page: number): Slot => slotOf(page + 1)
const slotsOf = ({ cache }: Mm): Slot[] => Array.from({ length: cache.length - 1 }, (_, i) => slotAt(i))

function othersOf(pages: readonly Pfn[], seeded: string | undefined): Task<Mm>[] {
  const reclaim = seeded === 'reclaim-without-freeze' ? reclaimUnfrozen : reclaimPage
  return [
    { name: 'truncation', run: (cpu, mm) => truncateSlot(cpu, mm, slotAt(0)) },
    { name: 'reclaim', run: (cpu, mm) => reclaim(cpu, mm, pages[pages.length - 1]) },
    { name: 'reader', run: (cpu, mm) => readSlot(cpu, mm, slotAt(0)) },
    { name: 'reader 2', run: (cpu, mm) => readSlot(cpu, mm, slotAt(0)) },
  ]
}

const isInSlotOrGone = (mm: Mm, pfn: Pfn, slot: Slot): boolean =>
  mm.cache[slot] === pfn || mm.cache[slot] === 0

const isCached = (mm: Mm, pfn: Pfn): boolean =>
  slotsOf(mm).some((slot) => mm.cache[slot] === pfn && mm.private[pfn] === slot) &&
  mm.refcount[pfn] === 1 &&
  mm.flags[pfn] === (PG_uptodate | PG_lru) &&
  mm.mapping[pfn] === fileMapping(A_FILE) &&
  isOnList(mm, pfn, mm.lruList(0, LRU_INACTIVE_FILE))
const READERS = ['reader', 'reader 2']

/** True if a reader, or truncation, has a reference on the page by its slot. */
const isLookedUp = (where: Where, pfn: Pfn): boolean => LOOKED_UP.some((label) => where.count(label, pfn) > 0)

const LOOKED_UP = ['found', 'reading', 'waiting', 'truncating']

function compactAs(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn, seeded: string | undefined): void {
  if (seeded === 'lru-in-two-steps') compactInTwoSteps(cpu, mm, src, dst)
  else if (seeded === 'no-freeze') compactUnfrozen(cpu, mm, src, dst)
  else compactPage(cpu, mm, src, dst, MIGRATE_SYNC)
}

// The mistakes.

/** compactPage() with an isolation that does not ask whether it was the one that cleared PG_lru. */
function compactInTwoSteps(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn): void {
  const alive = tryGetPage(cpu, mm, src)
  const listed = alive && (cpu.load(mm.flags, src) & PG_lru) !== 0
  cpu.at(listed ? 'listed' : alive ? 'not listed' : 'not alive', src, dst)
  if (!listed) {
    if (alive) putPage(cpu, mm, src)
    cpu.at('giving up', dst)
    putPage(cpu, mm, dst)
    return
  }
  cpu.testClear(mm.flags, src, PG_lru)
  cpu.atomically(mm.lruLock, NODE, SPIN_LOCKED, lruDelLocked, mm, src, 0, 0)
  cpu.add(mm.nrIsolatedFile, NODE, 1)
  moveIsolated(cpu, mm, src, dst, MIGRATE_SYNC)
}

const NODE = nidOf(0)

/** As the engine's own, for the one list that is used here. */
function lruDelLocked(mm: Mm, pfn: number): number {
  listDel(mm.links, pfnOf(pfn))
  mm.nrLru[LRU_INACTIVE_FILE]--
  return 0
}

/** compactPage() of a clean cached page, comparing references instead of freezing them. */
function compactUnfrozen(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn): void {
  const isolated = isolateMovablePage(cpu, mm, src, 0) === ISOLATED
  cpu.at(isolated ? 'isolated' : 'giving up', src, dst)
  if (isolated) {
    cpu.lock(mm.flags, src, PG_locked)
    cpu.lock(mm.flags, dst, PG_locked)
    const moved = moveUnfrozen(cpu, mm, src, dst)
    cpu.unlock(mm.flags, dst, PG_locked)
    cpu.unlock(mm.flags, src, PG_locked)
    cpu.at(moved ? 'moved' : 'putting back', src, dst)
    if (moved) putPage(cpu, mm, src)
    else putbackMovablePage(cpu, mm, src)
    cpu.at('giving up', src, dst)
  }
  putPage(cpu, mm, dst)
}

function moveUnfrozen(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn): boolean {
  const slot = slotOf(cpu.load(mm.private, src))
  if (slot === 0 || cpu.load(mm.refcount, src) !== 2) return false
  cpu.store(mm.content, dst, cpu.load(mm.content, src))
  cpu.store(mm.mapping, dst, fileMapping(A_FILE))
  cpu.store(mm.private, dst, slot)
  cpu.add(mm.refcount, dst, 1)
  cpu.testSet(mm.flags, dst, PG_uptodate)
  cpu.lock(mm.mappingFlags, A_FILE, AS_LOCKED)
  cpu.store(mm.cache, slot, dst)
  cpu.unlock(mm.mappingFlags, A_FILE, AS_LOCKED)
  cpu.add(mm.refcount, src, -1)
  cpu.store(mm.private, src, 0)
  cpu.store(mm.mapping, src, 0)
  cpu.add(mm.nrIsolatedFile, NODE, -1)
  folioAddLru(cpu, mm, dst)
  return true
}

/** reclaimPage() that looks at the references and believes what it saw. */
function reclaimUnfrozen(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  if (!tryGetPage(cpu, mm, pfn)) return
  const isolated = folioIsolateLru(cpu, mm, pfn)
  cpu.at(isolated ? 'isolated' : 'keeping', pfn)
  if (isolated) {
    const removed = cpu.tryLock(mm.flags, pfn, PG_locked) && removeUnfrozen(cpu, mm, pfn)
    cpu.at(removed ? 'freeing' : 'putting back', pfn)
    if (removed) return freeFolio(cpu, mm, pfn)
    folioAddLru(cpu, mm, pfn)
    cpu.at('keeping', pfn)
  }
  putPage(cpu, mm, pfn)
}

function removeUnfrozen(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  const slot = slotOf(cpu.load(mm.private, pfn))
  const removed = slot !== 0 && cpu.load(mm.refcount, pfn) === 2
  if (removed) {
    cpu.lock(mm.mappingFlags, A_FILE, AS_LOCKED)
    cpu.store(mm.cache, slot, 0)
    cpu.store(mm.private, pfn, 0)
    cpu.store(mm.mapping, pfn, 0)
    cpu.store(mm.refcount, pfn, 0)
    cpu.unlock(mm.mappingFlags, A_FILE, AS_LOCKED)
  }
  cpu.unlock(mm.flags, pfn, PG_locked)
  return removed
}
