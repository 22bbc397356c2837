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
 * @ours
 */

import { fail } from '../base/assert.ts'
import {
  cpuIdOf,
  type ListNode,
  listNodeOf,
  mappingIdOf,
  nidOf,
  type Pfn,
  pageblockAt,
  pcpIdOf,
  pfnOf,
  slotOf,
  vpnOf,
  zoneIdOf,
} from '../base/units.ts'
import {
  COMPOUND_TAIL,
  MAX_PAGE_ORDER,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_TYPES,
  NR_PAGE_ORDERS,
  PG_head,
  PG_locked,
  PG_lru,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PG_private,
  pageblock_nr_pages,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { folioLruList } from './lru.ts'
import {
  AS_LOCKED,
  folioMapping,
  folioPages,
  isAnonMapping,
  type Mm,
  NR_LRU_LISTS,
  NR_PCP_LISTS,
  PB_ABSENT,
  PB_ZONE_SHIFT,
  TASK_LISTS,
} from './page.ts'
import { isBuddy, pcpOrderOf } from './page_alloc.ts'
import { PTE_MIGRATION, PTE_PRESENT, ptePfn } from './rmap.ts'

/** Undefined: it holds. Otherwise what is wrong, and where first. */
export type Invariant = (mm: Mm) => string | undefined

const wrong = (pfn: number, what: string): string => `pfn ${pfn}: ${what}`

// Lists.

/** Visits the nodes of a list in order until `visit` finds something. Gives what it found, or that the list is broken. */
function walk(mm: Mm, head: ListNode, visit: (node: number) => string | undefined): string | undefined {
  const { links } = mm
  let prev: number = head
  let node = links[2 * head]
  // Bounded: a list of more nodes than there are pages goes in a circle.
  for (let seen = 0; node !== head; seen++) {
    if (node >= mm.pfnCount || links[2 * node + 1] !== prev) return wrong(node, 'its list links do not agree')
    if (seen > mm.pfnCount) return wrong(node, 'its list goes in a circle')
    const found = visit(node)
    if (found !== undefined) return found
    prev = node
    node = links[2 * node]
  }
  return links[2 * head + 1] === prev
    ? undefined
    : wrong(prev, 'it is last on a list whose head does not know it')
}

/** Visits every list of some kind. Gives the first finding. */
function forLists(count: number, check: (index: number) => string | undefined): string | undefined {
  for (let i = 0; i < count; i++) {
    const found = check(i)
    if (found !== undefined) return found
  }
  return undefined
}

/** Visits every page. Gives the first finding. */
function forPages(mm: Mm, check: (pfn: Pfn) => string | undefined): string | undefined {
  return forLists(mm.pfnCount, (i) => check(pfnOf(i)))
}

/** Links of both neighbours agree on every list, and what has links is on one. */
export function everyListedPageIsOnOneList(mm: Mm): string | undefined {
  const listed = new Uint8Array(mm.pfnCount)
  const heads = mm.links.length / 2 - mm.pfnCount
  const broken = forLists(heads, (i) =>
    walk(mm, listNodeOf(mm.pfnCount + i), (node) => {
      if (listed[node] === 1) return wrong(node, 'it is on two lists')
      listed[node] = 1
      return undefined
    }),
  )
  if (broken !== undefined) return broken
  return forPages(mm, (pfn) => {
    if (listed[pfn] === 1 || (mm.flags[pfn] & COMPOUND_TAIL) !== 0) return undefined // a tail counts pins there
    return (mm.links[2 * pfn] | mm.links[2 * pfn + 1]) === 0
      ? undefined
      : wrong(pfn, 'it has links and is on no list')
  })
}

// Free memory.

const freeLists = (mm: Mm): number => mm.zones * NR_PAGE_ORDERS * MIGRATE_TYPES

const freeListOf = (index: number): { zone: number; order: number; mt: number } => ({
  zone: Math.floor(index / (NR_PAGE_ORDERS * MIGRATE_TYPES)),
  order: Math.floor(index / MIGRATE_TYPES) % NR_PAGE_ORDERS,
  mt: index % MIGRATE_TYPES,
})

/** A page has type buddy if and only if it is on the free list of its zone, its order and its pageblock's type. */
export function everyFreeBlockIsOnItsFreeList(mm: Mm): string | undefined {
  const listed = new Uint8Array(mm.pfnCount)
  const broken = forLists(freeLists(mm), (index) => {
    const { zone, order, mt } = freeListOf(index)
    return walk(mm, mm.freeList(zone, order, mt), (node) => {
      const pfn = pfnOf(node)
      listed[node] = 1
      if (!isBuddy(mm.mapcount[pfn])) return wrong(node, 'it is on a free list and not free')
      if (mm.private[pfn] !== order) return wrong(node, 'it is on the free list of another order')
      if (mm.zoneOf(pfn) !== zone) return wrong(node, 'it is on a free list of another zone')
      return mm.migratetypeOf(pfn) === mt
        ? undefined
        : wrong(node, 'it is on the free list of another migratetype')
    })
  })
  if (broken !== undefined) return broken
  return forPages(mm, (pfn) =>
    isBuddy(mm.mapcount[pfn]) && listed[pfn] === 0 ? wrong(pfn, 'it is free and on no free list') : undefined,
  )
}

/** A free block begins at a multiple of its size and lies within its zone; its pageblocks have one type. */
export function everyFreeBlockIsAligned(mm: Mm): string | undefined {
  return forPages(mm, (pfn) => {
    if (!isBuddy(mm.mapcount[pfn])) return undefined
    const order = mm.private[pfn]
    const end = pfn + (1 << order)
    const zone = mm.zoneOf(pfn)
    if (order < 0 || order > MAX_PAGE_ORDER) return wrong(pfn, 'its order is impossible')
    if (pfn % (1 << order) !== 0) return wrong(pfn, 'it is not a multiple of its size')
    if (pfn < mm.zoneStart[zone] || end > mm.zoneEnd[zone]) return wrong(pfn, 'it reaches beyond its zone')
    const last = pfnOf(end - 1)
    return mm.migratetypeOf(last) === mm.migratetypeOf(pfn)
      ? undefined
      : wrong(pfn, 'its pageblocks differ in type')
  })
}

/** No free block has a free buddy that it may merge with. */
export function buddiesAreMerged(mm: Mm): string | undefined {
  return forPages(mm, (pfn) => {
    const order = mm.private[pfn]
    if (!isBuddy(mm.mapcount[pfn]) || order >= MAX_PAGE_ORDER) return undefined
    const buddy = pfnOf(pfn ^ (1 << order))
    if (buddy >= mm.pfnCount || !isBuddy(mm.mapcount[buddy]) || mm.private[buddy] !== order) return undefined
    if (mm.zoneOf(buddy) !== mm.zoneOf(pfn)) return undefined
    const mt = mm.migratetypeOf(pfn)
    const other = mm.migratetypeOf(buddy)
    const mayMerge = mt === other || (mt < MIGRATE_HIGHATOMIC && other < MIGRATE_HIGHATOMIC)
    return mayMerge ? wrong(pfn, 'it and its buddy are both free') : undefined
  })
}

/** `nrFree` is the number of pages on the free lists of the zone, those of isolated pageblocks left out. */
export function nrFreeCountsTheFreeLists(mm: Mm): string | undefined {
  return forLists(mm.zones, (i) => {
    const zone = zoneIdOf(i)
    let pages = 0
    for (let order = 0; order < NR_PAGE_ORDERS; order++) {
      for (let mt = 0; mt < MIGRATE_TYPES; mt++) {
        if (mt !== MIGRATE_ISOLATE) pages += listLength(mm, mm.freeList(i, order, mt)) << order
      }
    }
    return pages === mm.nrFree[zone]
      ? undefined
      : wrong(mm.zoneStart[zone], `its zone counts ${mm.nrFree[zone]} free pages, its lists ${pages}`)
  })
}

/** `nrFreeBlocks` is the length of each free list. */
export function nrFreeBlocksCountTheFreeLists(mm: Mm): string | undefined {
  return forLists(freeLists(mm), (index) => {
    const { zone, order, mt } = freeListOf(index)
    const length = listLength(mm, mm.freeList(zone, order, mt))
    const counted = mm.nrFreeBlocks[index]
    return length === counted
      ? undefined
      : wrong(
          mm.zoneStart[zoneIdOf(zone)],
          `its zone counts ${counted} blocks of order ${order} and type ${mt}, the list has ${length}`,
        )
  })
}

/** Nodes of a list, as far as it is whole. */
function listLength(mm: Mm, head: ListNode): number {
  let length = 0
  walk(mm, head, () => {
    length++
    return undefined
  })
  return length
}

const NOWHERE = 0
const IN_BUDDY = 1
const ON_PCP = 2

/** Where each free page is: in a free block, or on a per-cpu list. */
function placesOfFreePages(mm: Mm): Uint8Array {
  const place = new Uint8Array(mm.pfnCount)
  for (let pfn = pfnOf(0); pfn < mm.pfnCount; pfn = pfnOf(pfn + 1)) {
    if (isBuddy(mm.mapcount[pfn])) place.fill(IN_BUDDY, pfn, pfn + (1 << mm.private[pfn]))
  }
  forPcpLists(mm, (head, order) =>
    walk(mm, head, (node) => {
      place.fill(ON_PCP, node, node + (1 << order))
      return undefined
    }),
  )
  return place
}

function forPcpLists(
  mm: Mm,
  check: (head: ListNode, order: number, pcp: number) => string | undefined,
): string | undefined {
  return forLists(mm.zones * mm.cpus * NR_PCP_LISTS, (i) => {
    const pcp = Math.floor(i / NR_PCP_LISTS)
    const index = i % NR_PCP_LISTS
    return check(mm.pcpList(pcpIdOf(pcp), index), pcpOrderOf(index), pcp)
  })
}

/** A free page has no reference, no flag, no mapping and nobody who maps it. */
export function freePagesAreUnreferenced(mm: Mm): string | undefined {
  const place = placesOfFreePages(mm)
  return forPages(mm, (pfn) => {
    if (place[pfn] === NOWHERE) return undefined
    if (mm.refcount[pfn] !== 0) return wrong(pfn, 'it is free and referenced')
    if (mm.flags[pfn] !== 0) return wrong(pfn, 'it is free and has flags')
    if (mm.mapping[pfn] !== 0 || mm.rmap[pfn] !== 0) return wrong(pfn, 'it is free and mapped or cached')
    return mm.mapcount[pfn] === 0 || isBuddy(mm.mapcount[pfn])
      ? undefined
      : wrong(pfn, 'it is free and has a page type')
  })
}

/** `pcpCount` is the number of pages on the lists of the set, which are of its zone and aligned. */
export function pcpCountsMatchTheirLists(mm: Mm): string | undefined {
  const pages = new Int32Array(mm.zones * mm.cpus)
  const broken = forPcpLists(mm, (head, order, pcp) =>
    walk(mm, head, (node) => {
      pages[pcp] += 1 << order
      if (mm.zoneOf(pfnOf(node)) !== Math.floor(pcp / mm.cpus))
        return wrong(node, 'it is on a per-cpu list of another zone')
      return node % (1 << order) === 0
        ? undefined
        : wrong(node, 'it is on the per-cpu list of an order that it is not aligned to')
    }),
  )
  if (broken !== undefined) return broken
  return forLists(pages.length, (pcp) => {
    const counted = mm.pcpCount[pcpIdOf(pcp)]
    const zone = zoneIdOf(Math.floor(pcp / mm.cpus))
    return counted === pages[pcp]
      ? undefined
      : wrong(
          mm.zoneStart[zone],
          `a per-cpu set of its zone counts ${counted} pages, its lists ${pages[pcp]}`,
        )
  })
}

// The LRU.

/** A folio has PG_lru if and only if it is on the LRU list of its node that its flags name. */
export function everyLruFolioIsOnItsList(mm: Mm): string | undefined {
  const listed = new Uint8Array(mm.pfnCount)
  const broken = forLists(mm.nodes * NR_LRU_LISTS, (i) => {
    const nid = Math.floor(i / NR_LRU_LISTS)
    return walk(mm, mm.lruList(nid, i % NR_LRU_LISTS), (node) => {
      const pfn = pfnOf(node)
      listed[node] = 1
      if ((mm.flags[pfn] & PG_lru) === 0) return wrong(node, 'it is on an LRU list without PG_lru')
      if (mm.zoneNode[mm.zoneOf(pfn)] !== nid) return wrong(node, 'it is on an LRU list of another node')
      return folioLruList(mm.flags[pfn]) === i % NR_LRU_LISTS
        ? undefined
        : wrong(node, 'it is on another LRU list than its flags name')
    })
  })
  if (broken !== undefined) return broken
  return forPages(mm, (pfn) =>
    (mm.flags[pfn] & PG_lru) !== 0 && listed[pfn] === 0
      ? wrong(pfn, 'it has PG_lru and is on no LRU list')
      : undefined,
  )
}

/** `nrLru` is the number of pages of the folios on each LRU list. */
export function lruCountsMatchTheLists(mm: Mm): string | undefined {
  return forLists(mm.nodes * NR_LRU_LISTS, (i) => {
    let pages = 0
    let first = 0
    walk(mm, mm.lruList(Math.floor(i / NR_LRU_LISTS), i % NR_LRU_LISTS), (node) => {
      if (pages === 0) first = node
      pages += folioPages(mm.flags[pfnOf(node)])
      return undefined
    })
    return pages === mm.nrLru[i]
      ? undefined
      : wrong(first, `LRU list ${i} counts ${mm.nrLru[i]} pages and has ${pages}`)
  })
}

// Mappings.

/** A page's mapcount is the number of ptes that are present and map it; a page with a page type has none. */
export function everyPresentPteIsCountedInItsPage(mm: Mm): string | undefined {
  const ptes = new Int32Array(mm.pfnCount)
  for (let i = 1; i < mm.pte.length; i++) {
    const pte = mm.pte[vpnOf(i)]
    if ((pte & PTE_PRESENT) !== 0) ptes[ptePfn(pte)]++
  }
  return forPages(mm, (pfn) => {
    const counted = Math.max(mm.mapcount[pfn], 0)
    return counted === ptes[pfn]
      ? undefined
      : wrong(pfn, `its mapcount is ${counted}, and ${ptes[pfn]} ptes map it`)
  })
}

/** Every pte that is not empty is in the chain of the page that it names, once, and chains have no other. */
export function rmapChainsMatchPtes(mm: Mm): string | undefined {
  const chained = new Uint8Array(mm.pte.length)
  const broken = forPages(mm, (pfn) => {
    for (let vpn = vpnOf(mm.rmap[pfn]); vpn !== 0; vpn = vpnOf(mm.pteNext[vpn])) {
      if (chained[vpn] === 1) return wrong(pfn, `vpn ${vpn} is in two chains, or twice in one`)
      chained[vpn] = 1
      if (mm.pte[vpn] === 0 || ptePfn(mm.pte[vpn]) !== pfn)
        return wrong(pfn, `vpn ${vpn} is in its chain and does not map it`)
    }
    return undefined
  })
  if (broken !== undefined) return broken
  return forLists(mm.pte.length, (i) => {
    const pte = mm.pte[vpnOf(i)]
    return pte !== 0 && chained[i] === 0
      ? wrong(ptePfn(pte), `vpn ${i} names it and is not in its chain`)
      : undefined
  })
}

/** A folio of an address space is in the slot that it names, and what is in a slot names it. */
export function everyCachedFolioIsInItsSlot(mm: Mm): string | undefined {
  const missing = forPages(mm, (pfn) => {
    if (!isInUse(mm, pfn) || mappingOf(mm, pfn) === 0) return undefined
    return mm.cache[slotOf(mm.private[pfn])] === pfn ? undefined : wrong(pfn, 'its slot does not hold it')
  })
  if (missing !== undefined) return missing
  return forLists(mm.cache.length, (i) => {
    const pfn = pfnOf(mm.cache[slotOf(i)])
    if (pfn === 0) return undefined
    if (!isInUse(mm, pfn) || mappingOf(mm, pfn) === 0)
      return wrong(pfn, `slot ${i} holds it, and it is not cached`)
    return mm.private[pfn] === i ? undefined : wrong(pfn, `slot ${i} holds it, and it names another`)
  })
}

/** A page that somebody may have mapped or cached: referenced, or frozen for a moment; no tail, no driver's. */
const isInUse = (mm: Mm, pfn: Pfn): boolean => mm.mapcount[pfn] >= 0 && (mm.flags[pfn] & COMPOUND_TAIL) === 0

const mappingOf = (mm: Mm, pfn: Pfn): number => folioMapping(mm.flags[pfn], mm.mapping[pfn])

// Folios.

/** Every tail names the head that it is a tail of, and behind a head there are as many tails as its order says. */
export function tailsNameTheirHead(mm: Mm): string | undefined {
  return forPages(mm, (pfn) => {
    if ((mm.flags[pfn] & COMPOUND_TAIL) !== 0) {
      const head = pfnOf(mm.private[pfn])
      const isPartOf =
        (mm.flags[head] & PG_head) !== 0 && pfn > head && pfn < head + folioPages(mm.flags[head])
      return isPartOf ? undefined : wrong(pfn, 'it is a tail, and what it names is not its head')
    }
    if ((mm.flags[pfn] & PG_head) === 0) return undefined
    const pages = folioPages(mm.flags[pfn])
    if (pages === 1 || pfn % pages !== 0) return wrong(pfn, 'it is a head of an impossible order')
    for (let tail = pfn + 1; tail < pfn + pages; tail++) {
      if ((mm.flags[pfnOf(tail)] & COMPOUND_TAIL) === 0)
        return wrong(tail, 'it lies in a compound page and is no tail')
    }
    return undefined
  })
}

/** A folio has a reference for each mapping, for each page in a cache, and for its buffers. */
export function referencesAreAtLeastMappingsAndCache(mm: Mm): string | undefined {
  return forPages(mm, (pfn) => {
    const flags = mm.flags[pfn]
    if (mm.refcount[pfn] === 0 || !isInUse(mm, pfn)) return undefined
    const pages = folioPages(flags)
    let accounted = mappingOf(mm, pfn) === 0 ? 0 : pages
    if (!isAnonMapping(mm.mapping[pfn]) && mm.mapping[pfn] !== 0 && (flags & PG_private) !== 0) accounted++
    for (let page = pfn; page < pfn + pages; page = pfnOf(page + 1))
      accounted += Math.max(mm.mapcount[page], 0)
    return mm.refcount[pfn] >= accounted
      ? undefined
      : wrong(pfn, `it has ${mm.refcount[pfn]} references, and ${accounted} are accounted for`)
  })
}

// The whole.

/** A pageblock belongs to a zone that spans it, and has a known migratetype. */
export function everyPageblockHasAZoneAndAType(mm: Mm): string | undefined {
  return forLists(mm.pageblock.length, (i) => {
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
 * No page is in two states (page.ts): in a free block, on a per-cpu list, in use, a tail. No more are in
 * none than the zone has holes.
 */
export function everyPageIsInOneState(mm: Mm): string | undefined {
  const states = new Uint8Array(mm.pfnCount)
  for (let pfn = pfnOf(0); pfn < mm.pfnCount; pfn = pfnOf(pfn + 1)) {
    if (isBuddy(mm.mapcount[pfn])) addState(states, pfn, 1 << mm.private[pfn])
    if (mm.refcount[pfn] > 0) addState(states, pfn, 1)
    if ((mm.flags[pfn] & COMPOUND_TAIL) !== 0) addState(states, pfn, 1)
  }
  forPcpLists(mm, (head, order) =>
    walk(mm, head, (node) => {
      addState(states, node, 1 << order)
      return undefined
    }),
  )
  const twice = states.findIndex((count) => count > 1)
  if (twice >= 0) return wrong(twice, 'it is in two states')
  return forLists(mm.zones, (i) => {
    const { startPfn, spanned, present } = mm.zoneSpecs[i]
    const inZone = states.subarray(startPfn, startPfn + spanned)
    const stateless = inZone.reduce((count, state) => count + (state === 0 ? 1 : 0), 0)
    if (stateless <= spanned - present) return undefined
    return wrong(
      startPfn + inZone.indexOf(0),
      `it, or one like it, is lost: ${stateless} pages of its zone are in no state, and ${spanned - present} are holes`,
    )
  })
}

function addState(states: Uint8Array, pfn: number, pages: number): void {
  for (let page = pfn; page < pfn + pages; page++) states[page]++
}

// At rest.

/** Nobody holds a lock of a page, a zone, a node, a per-cpu set, a mapping, or the rmap lock. */
export function nothingIsLocked(mm: Mm): string | undefined {
  for (let i = 0; i < mm.zones * mm.cpus; i++)
    if (mm.pcpLock[pcpIdOf(i)] !== 0) return `per-cpu set ${i} is locked`
  for (let i = 0; i < mm.zones; i++) if (mm.zoneLock[zoneIdOf(i)] !== 0) return `zone ${i} is locked`
  for (let i = 0; i < mm.nodes; i++) if (mm.lruLock[nidOf(i)] !== 0) return `the LRU of node ${i} is locked`
  for (let i = 0; i < mm.mappingFlags.length; i++) {
    if ((mm.mappingFlags[mappingIdOf(i)] & AS_LOCKED) !== 0) return `mapping ${i} is locked`
  }
  if ((mm.rmapLock[nidOf(0)] & SPIN_LOCKED) !== 0) return 'the rmap lock is held'
  return forPages(mm, (pfn) => ((mm.flags[pfn] & PG_locked) === 0 ? undefined : wrong(pfn, 'it is locked')))
}

/** No task has a page on a list of its own. */
export function taskListsAreEmpty(mm: Mm): string | undefined {
  return forLists(mm.cpus * TASK_LISTS, (i) => {
    const head = mm.taskList(cpuIdOf(Math.floor(i / TASK_LISTS)), i % TASK_LISTS)
    return mm.links[2 * head] === head ? undefined : wrong(mm.links[2 * head], 'it is on the list of a task')
  })
}

/** No page counts as isolated from the LRU. */
export function isolatedCountersAreZero(mm: Mm): string | undefined {
  return forLists(mm.nodes, (i) => {
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
  return forPages(mm, (pfn) =>
    mm.mapcount[pfn] < 0 && (mm.flags[pfn] & isolated) === isolated
      ? wrong(pfn, 'its driver has it isolated')
      : undefined,
  )
}

/** No pte is a migration entry. */
export function noPageIsUnderMigration(mm: Mm): string | undefined {
  return forLists(mm.pte.length, (i) => {
    const pte = mm.pte[vpnOf(i)]
    return (pte & PTE_MIGRATION) === 0
      ? undefined
      : wrong(ptePfn(pte), `vpn ${i} waits for it to be migrated`)
  })
}

/** What holds whenever no section under a lock is under way. */
export const INVARIANTS: readonly Invariant[] = [
  everyPageblockHasAZoneAndAType,
  everyListedPageIsOnOneList,
  everyFreeBlockIsOnItsFreeList,
  everyFreeBlockIsAligned,
  buddiesAreMerged,
  nrFreeCountsTheFreeLists,
  nrFreeBlocksCountTheFreeLists,
  freePagesAreUnreferenced,
  pcpCountsMatchTheirLists,
  everyLruFolioIsOnItsList,
  lruCountsMatchTheLists,
  rmapChainsMatchPtes,
  tailsNameTheirHead,
]

/** What holds besides when no task is under way. */
export const AT_REST: readonly Invariant[] = [
  everyPresentPteIsCountedInItsPage,
  referencesAreAtLeastMappingsAndCache,
  everyCachedFolioIsInItsSlot,
  everyPageIsInOneState,
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
