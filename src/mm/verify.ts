/**
 * What holds of a machine, as sentences: each invariant is one function whose name says it. The list of
 * functions is the specification of the state.
 *
 * An invariant gives undefined, or what is wrong with the first offending page. All look at the whole
 * machine, the slow way: some seconds for 6.5 million pages. They read columns directly, not through a
 * `Cpu`: nothing may run meanwhile.
 *
 * `INVARIANTS` hold whenever no section under a lock is under way; `AT_REST` besides when no task has a
 * page isolated, locked or half moved.
 *
 * Rules:
 *   - nothing here changes the machine;
 *   - an invariant that finds a broken list stops there: it never walks in circles;
 *   - a machine that was captured may hold page locks of I/O under way: leave out `nothingIsLocked`.
 *
 * Sentences about free memory are in verify_free.ts, those about pages in use in verify_folios.ts.
 *
 * @ours
 */

import { fail } from '../base/assert.ts'
import {
  cellsOf,
  cpuIdOf,
  listNodeOf,
  mappingIdOf,
  nidOf,
  pageblockAt,
  pcpIdOf,
  pfnOf,
  zoneIdOf,
} from '../base/units.ts'
import {
  COMPOUND_TAIL,
  MIGRATE_TYPES,
  PG_locked,
  PG_movable_ops,
  PG_movable_ops_isolated,
  pageblock_nr_pages,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { AS_LOCKED, buddyOrder, type Mm, PB_ABSENT, PB_ZONE_SHIFT, TASK_LISTS } from './page.ts'
import { isMigrationPte, ptePfn } from './rmap.ts'
import {
  everyCachedFolioIsInItsSlot,
  everyLruFolioIsOnItsList,
  everyPresentPteIsCountedInItsPage,
  freeSwapSlotsAreCounted,
  hugetlbCountsMatchTheLists,
  lruCountsMatchTheLists,
  referencesAreAtLeastMappingsAndCache,
  rmapChainsMatchPtes,
  swapMapCountsItsUsers,
  tailsNameTheirHead,
} from './verify_folios.ts'
import {
  aFreeBlockIsItsTypeAndItsOrder,
  buddiesAreMerged,
  cachedPositionsLieNoFurtherThanAPageblock,
  captureSlotsAreEmpty,
  deferralIsBounded,
  everyFreeBlockIsAligned,
  everyFreeBlockIsOnItsFreeList,
  freeBlocksShareNoPage,
  freePagesAreUnreferenced,
  nrFreeBlocksCountTheFreeLists,
  nrFreeCmaCountsTheCmaLists,
  nrFreeCountsTheFreeLists,
  nrFreeHighatomicCountsTheHighatomicLists,
  nrReservedHighatomicCountsThePageblocks,
  pcpCountsMatchTheirLists,
  perCpuBlocksSuitTheirLists,
  perCpuTuningIsBounded,
  theBoostIsBounded,
  theHighatomicReserveIsBounded,
  watermarksRise,
} from './verify_free.ts'
import {
  countPagesWith,
  firstFinding,
  forPcpLists,
  freeBlockHeads,
  type Invariant,
  pagesWith,
  walk,
  wrong,
} from './verify_lists.ts'

// The whole.

/** Links of both neighbours agree on every list, and what has links is on one. */
export function everyListedPageIsOnOneList(mm: Mm): string | undefined {
  const { links, pfnCount } = mm
  const listed = new Uint8Array(pfnCount)
  const heads = links.length / 2 - pfnCount
  const broken = firstFinding(heads, (i) =>
    walk(mm, listNodeOf(pfnCount + i), (node) => {
      if (listed[node] === 1) return wrong(node, 'it is on two lists')
      listed[node] = 1
      return undefined
    }),
  )
  if (broken !== undefined) return broken
  for (let i = 0; i < pfnCount; i++) {
    if (listed[i] === 1 || (links[2 * i] | links[2 * i + 1]) === 0) continue
    if ((mm.flags[pfnOf(i)] & COMPOUND_TAIL) !== 0) continue // a tail counts pins there
    return wrong(i, 'it has links and is on no list')
  }
  return undefined
}

/** A pageblock belongs to a zone that spans it, and has a known migratetype. */
export function everyPageblockHasAZoneAndAType(mm: Mm): string | undefined {
  return firstFinding(mm.pageblock.length, (i) => {
    const bits = mm.pageblock[pageblockAt(i)]
    const start = pfnOf(i * pageblock_nr_pages)
    if ((bits & PB_ABSENT) !== 0) return undefined
    const zone = zoneIdOf((bits >>> PB_ZONE_SHIFT) & 0xff)
    if (zone >= mm.zones) return wrong(start, 'its zone does not exist')
    if (start >= mm.zoneEnd[zone] || start + pageblock_nr_pages <= mm.zoneStart[zone])
      return wrong(start, 'its zone does not span it')
    return mm.migratetypeOf(start) < MIGRATE_TYPES ? undefined : wrong(start, 'its migratetype is unknown')
  })
}

/**
 * No page is in two states (page.ts): in a free block, on a per-cpu list, in use, a tail, free in the hugetlb pool.
 * No more are in none than the zone has holes.
 */
export function everyPageIsInOneState(mm: Mm): string | undefined {
  const states = new Uint8Array(mm.pfnCount)
  for (const pfn of freeBlockHeads(mm)) addState(states, pfn, 1 << buddyOrder(mm.mapcount[pfn]))
  countPagesWith(mm.refcount, -1, states)
  countPagesWith(mm.flags, COMPOUND_TAIL, states)
  for (let nid = 0; nid < mm.nodes; nid++) {
    walk(mm, mm.hugetlbList(nidOf(nid)), (node) => {
      addState(states, node, 1) // its tails are counted as such
      return undefined
    })
  }
  forPcpLists(mm, (head, order) =>
    walk(mm, head, (node) => {
      addState(states, node, 1 << order)
      return undefined
    }),
  )
  for (let i = 0; i < states.length; i++) if (states[i] > 1) return wrong(i, 'it is in two states')
  return firstFinding(mm.zones, (i) => {
    const { startPfn, spanned, present } = mm.zoneSpecs[i]
    let stateless = 0
    for (let pfn = startPfn; pfn < startPfn + spanned; pfn++) if (states[pfn] === 0) stateless++
    if (stateless <= spanned - present) return undefined
    return wrong(
      states.indexOf(0, startPfn),
      `it, or one like it, is lost: ${stateless} pages of its zone are in no state, and ${spanned - present} are holes`,
    )
  })
}

function addState(states: Uint8Array, pfn: number, pages: number): void {
  for (let page = pfn; page < pfn + pages; page++) states[page]++
}

// At rest.

/** Nobody holds a lock of a page, a zone, a node, a per-cpu set, a mapping, the rmap lock or the hugetlb lock. */
export function nothingIsLocked(mm: Mm): string | undefined {
  for (let i = 0; i < mm.zones * mm.cpus; i++)
    if (mm.pcpLock[pcpIdOf(i)] !== 0) return `per-cpu set ${i} is locked`
  for (let i = 0; i < mm.zones; i++) if (mm.zoneLock[zoneIdOf(i)] !== 0) return `zone ${i} is locked`
  for (let i = 0; i < mm.nodes; i++) if (mm.lruLock[nidOf(i)] !== 0) return `the LRU of node ${i} is locked`
  for (let i = 0; i < mm.mappingFlags.length; i++) {
    if ((mm.mappingFlags[mappingIdOf(i)] & AS_LOCKED) !== 0) return `mapping ${i} is locked`
  }
  if ((mm.rmapLock[nidOf(0)] & SPIN_LOCKED) !== 0) return 'the rmap lock is held'
  if (mm.hugetlbLock[nidOf(0)] !== 0) return 'the hugetlb lock is held'
  const [locked] = pagesWith(mm.flags, PG_locked)
  return locked === undefined ? undefined : wrong(locked, 'it is locked')
}

/** No task has a page on a list of its own. */
export function taskListsAreEmpty(mm: Mm): string | undefined {
  return firstFinding(mm.cpus * TASK_LISTS, (i) => {
    const head = mm.taskList(cpuIdOf(Math.floor(i / TASK_LISTS)), i % TASK_LISTS)
    return mm.links[2 * head] === head ? undefined : wrong(mm.links[2 * head], 'it is on the list of a task')
  })
}

/** No page counts as isolated from the LRU. */
export function isolatedCountersAreZero(mm: Mm): string | undefined {
  return firstFinding(mm.nodes, (i) => {
    const anon = mm.nrIsolatedAnon[nidOf(i)]
    const file = mm.nrIsolatedFile[nidOf(i)]
    return anon === 0 && file === 0
      ? undefined
      : `node ${i} counts ${anon} anonymous and ${file} file pages as isolated`
  })
}

/** No driver page is isolated. */
export function noDriverPageIsIsolated(mm: Mm): string | undefined {
  const isolated = PG_movable_ops | PG_movable_ops_isolated
  const found = pagesWith(mm.flags, PG_movable_ops_isolated).find(
    (pfn) => mm.mapcount[pfn] < 0 && (mm.flags[pfn] & isolated) === isolated,
  )
  return found === undefined ? undefined : wrong(found, 'its driver has it isolated')
}

/** No pte is a migration entry. */
export function noPageIsUnderMigration(mm: Mm): string | undefined {
  const ptes = cellsOf(mm.pte)
  for (let vpn = 0; vpn < ptes.length; vpn++) {
    if (isMigrationPte(ptes[vpn])) return wrong(ptePfn(ptes[vpn]), `vpn ${vpn} waits for it to be migrated`)
  }
  return undefined
}

/** What holds whenever no section under a lock is under way. */
export const INVARIANTS: readonly Invariant[] = [
  everyPageblockHasAZoneAndAType,
  everyListedPageIsOnOneList,
  aFreeBlockIsItsTypeAndItsOrder,
  everyFreeBlockIsOnItsFreeList,
  everyFreeBlockIsAligned,
  freeBlocksShareNoPage,
  buddiesAreMerged,
  nrFreeCountsTheFreeLists,
  nrFreeCmaCountsTheCmaLists,
  nrFreeHighatomicCountsTheHighatomicLists,
  nrFreeBlocksCountTheFreeLists,
  nrReservedHighatomicCountsThePageblocks,
  theHighatomicReserveIsBounded,
  watermarksRise,
  theBoostIsBounded,
  freePagesAreUnreferenced,
  perCpuBlocksSuitTheirLists,
  pcpCountsMatchTheirLists,
  perCpuTuningIsBounded,
  everyLruFolioIsOnItsList,
  lruCountsMatchTheLists,
  hugetlbCountsMatchTheLists,
  rmapChainsMatchPtes,
  tailsNameTheirHead,
  cachedPositionsLieNoFurtherThanAPageblock,
  deferralIsBounded,
]

/** What holds besides when no task is under way. */
export const AT_REST: readonly Invariant[] = [
  everyPresentPteIsCountedInItsPage,
  referencesAreAtLeastMappingsAndCache,
  everyCachedFolioIsInItsSlot,
  swapMapCountsItsUsers,
  freeSwapSlotsAreCounted,
  everyPageIsInOneState,
  captureSlotsAreEmpty,
  nothingIsLocked,
  taskListsAreEmpty,
  isolatedCountersAreZero,
  noDriverPageIsIsolated,
  noPageIsUnderMigration,
]

/** Throws AssertionError with the sentence that does not hold, and where. `except`: sentences to leave out. */
export function verify(mm: Mm, except: readonly Invariant[] = []): void {
  for (const invariant of [...INVARIANTS, ...AT_REST]) {
    if (except.includes(invariant)) continue
    const found = invariant(mm)
    if (found !== undefined) fail(`${invariant.name}: ${found}`)
  }
}
