/**
 * The machine's memory: one column a field of `struct page`, and the tables of zones, pageblocks,
 * per-cpu lists, ptes and page cache slots, all in one arena.
 *
 * A page is in one of these states:
 *   (1) free in the buddy lists: a block's head has page type buddy, and its order below the type in `mapcount`
 *   (2) free on a per-cpu list: refcount 0, untyped
 *   (3) in use: refcount > 0
 *   (4) isolated: in use, taken from its owner by a migration; on a list of the isolator
 *   (5) frozen: refcount 0 for a moment, while its identity moves to another page
 *   (6) a tail of a compound page: refcount 0, `private` names the head
 *   (7) free in the hugetlb pool: a head of type hugetlb with refcount 0, on the list of its node
 *
 * Rules:
 *   - protocol code reads and writes these columns through a `Cpu`; a section under one lock, a loader
 *     and an analysis may touch them directly;
 *   - 0 is the neutral value of every page column, so that untouched memory needs no initialisation.
 *
 * Page metadata is 32 bytes a page (`PAGE_BYTES`); ptes and cache slots are counted by what is mapped
 * and cached, as in the kernel.
 *
 * Not here: contents of pages. With `contents` on, one cell a page stands for its 4096 bytes. With `pageData` on there
 * are the bytes themselves, for owners that keep something in them; migration of other pages does not copy them.
 *
 * @kernel include/linux/mm_types.h struct page, mmzone.h struct zone v6.18
 */

import { Arena, type ArenaPlan } from '../base/arena.ts'
import { assert } from '../base/assert.ts'
import { type Bytes, bytesOf } from '../base/bytes.ts'
import type { Cpu } from '../base/cpu.ts'
import { initList, type Links } from '../base/list.ts'
import {
  type CpuId,
  type ListNode,
  listNodeOf,
  type MappingColumn,
  type MappingId,
  mappingIdOf,
  type Nid,
  type NodeColumn,
  nidOf,
  type Order,
  type OwnerColumn,
  orderOf,
  type PageblockColumn,
  type PcpColumn,
  type PcpId,
  type Pfn,
  type PfnColumn,
  pageblockAt,
  pcpIdOf,
  pfnOf,
  type Slot,
  type SlotColumn,
  slotOf,
  type VpnColumn,
  type ZoneColumn,
  type ZoneId,
  zoneIdOf,
} from '../base/units.ts'
import {
  COMPOUND_ORDER_SHIFT,
  COMPOUND_TAIL,
  MAX_NR_ZONES,
  MIGRATE_MOVABLE,
  MIGRATE_TYPES,
  NR_PAGE_ORDERS,
  PAGE_MAPPING_ANON,
  PAGE_MAPPING_FLAGS,
  PAGE_MAPPING_MOVABLE,
  PG_head,
  PG_movable_ops,
  PG_swapcache,
  PGTY_buddy,
  pageblock_nr_pages,
  pageblock_order,
  pageblockOf,
  pageblockStart,
  pageTypeValue,
  ZONE_NAMES,
  ZONE_NORMAL,
} from './limits.ts'
import type { MigrateFolio, MovableOps } from './movable_ops.ts'
import { type KernelRules, RULES_6_18 } from './rules.ts'
import { THP_DEFAULTS, type TransparentHugepage } from './thp_settings.ts'
import type { Tracepoints } from './trace.ts'

const BUDDY = pageTypeValue(PGTY_buddy)

/** Lists of one per-cpu page set: orders 0..3 for each of three migratetypes, and order 9 for movable and not. */
export const NR_PCP_LISTS = 14
/** LRU lists of a node, in the kernel's order. */
export const LRU_INACTIVE_ANON = 0
export const LRU_ACTIVE_ANON = 1
export const LRU_INACTIVE_FILE = 2
export const LRU_ACTIVE_FILE = 3
export const LRU_UNEVICTABLE = 4
export const NR_LRU_LISTS = 5

/** Lists that one task may use for pages it has isolated. */
export const TASK_LISTS = 24

/** Bits of `pageblock`: 0-2 migratetype, 3 the skip hint, 4 no memory there, 8-15 the zone. */
export const PB_MIGRATETYPE = 7
export const PB_migrate_skip = 8
export const PB_ABSENT = 16
export const PB_ZONE_SHIFT = 8

/** Mapping ids with a meaning of their own; ids of files follow. 0 is no mapping. */
export const MAPPING_SWAP = 1
export const MAPPING_FIRST_FILE = 2

/** Bits of `mappingFlags`. */
export const AS_LOCKED = 1 // the i_pages lock
export const NO_MIGRATE_FOLIO = 2 // ours: its a_ops have no migrate_folio
export const AS_INACCESSIBLE = 4 // contents must not be touched

export interface PcpSpec {
  readonly high: number
  readonly highMin: number
  readonly highMax: number
  readonly batch: number
}

export interface ZoneSpec {
  readonly node: number
  readonly name: string
  readonly startPfn: number
  /** Pages from the first to the last, holes included. */
  readonly spanned: number
  /** Pages that exist. */
  readonly present: number
  /** Pages that the allocator manages. */
  readonly managed: number
  /** Watermarks, in pages. */
  readonly min: number
  readonly low: number
  readonly high: number
  /** Pages that a request for a higher kind of zone must leave, by that kind (zoneinfo's `protection`). Default: none. */
  readonly protection?: readonly number[]
  /** One a cpu. Missing: no per-cpu lists in this zone. */
  readonly pcp?: readonly PcpSpec[]
}

export interface MachineSpec {
  /** Page frames from pfn 0, holes included. A multiple of a pageblock. */
  readonly pfnCount: number
  readonly zones: readonly ZoneSpec[]
  readonly cpus?: number
  /** Page table entries to reserve (vpn 0 is none). */
  readonly ptes?: number
  /** Page cache and swap cache slots to reserve (slot 0 is none). */
  readonly slots?: number
  /** Pages of swap. Default: none. Their slots follow the others, and a slot of the swap cache is a swap entry. */
  readonly swapSlots?: number
  /** Address spaces to reserve beyond the swap cache. */
  readonly mappings?: number
  /** Cells that page owners reserve for their own state. */
  readonly ownerCells?: number
  /** Keep one cell of contents a page. */
  readonly contents?: boolean
  /** Keep the 4096 bytes of every page too, for owners that store something there. Default: no. */
  readonly pageData?: boolean
  readonly rules?: KernelRules
  /** Settings of /proc/sys/vm. Default: the kernel's. */
  readonly sysctl?: Partial<Sysctl>
  /** Settings of /sys/kernel/mm/transparent_hugepage. Default: the kernel's. */
  readonly thp?: Partial<TransparentHugepage>
}

/** Settings of /proc/sys/vm. Read by the engine, changed between its operations only. */
export interface Sysctl {
  /** Compaction for costly orders stays away below this fragmentation index (C-11). */
  extfrag_threshold: number
  /** How eagerly memory is compacted in the background, 0 to 100 (C-19). */
  compaction_proactiveness: number
  /** 1: compaction takes unevictable pages too. */
  compact_unevictable_allowed: number
  /** 1: no allocation mixes pageblocks before reclaim and compaction had their turn (spec 2.7). */
  defrag_mode: number
  /** How far a fallback raises the watermarks: percent of the high mark, times 100; 0: not at all. */
  watermark_boost_factor: number
  /** How eagerly anonymous pages are reclaimed beside file pages, 0 to 200. */
  swappiness: number
}

/** @kernel mm/compaction.c, mm/page_alloc.c, mm/vmscan.c v6.18: the defaults */
export const SYSCTL_DEFAULTS: Sysctl = {
  extfrag_threshold: 500,
  compaction_proactiveness: 20,
  compact_unevictable_allowed: 1,
  defrag_mode: 0,
  watermark_boost_factor: 15000,
  swappiness: 60,
}

/** Bytes of page metadata: eight cells a page (docs/decisions/0007). */
export const PAGE_BYTES = 32

/** Cells of `pageData` that hold a page. */
export const PAGE_CELLS = 1024

export class Mm {
  /** Who moves which pages, by page type or address space; entry 0 is the LRU. Fixed once the machine runs (movable_ops.ts). */
  readonly movableOps: (MovableOps | undefined)[] = []
  /** How cached folios move, by address space, where that has a way of its own. Fixed once the machine runs. */
  readonly migrateFolio: (MigrateFolio | undefined)[] = []
  /** Who is told what happens, by the kernel's tracepoints; nobody if it is undefined (trace.ts). */
  trace: Tracepoints | undefined
  readonly sysctl: Sysctl
  readonly thp: TransparentHugepage
  readonly arena: Arena
  readonly rules: KernelRules
  readonly pfnCount: number
  readonly zoneSpecs: readonly ZoneSpec[]
  readonly cpus: number
  readonly nodes: number
  readonly hasContents: boolean
  /** Pages of swap. */
  readonly swapSlots: number
  /** First slot of swap; those before it are of files, and of a swap cache whose swap is not part of the machine. */
  readonly swapStart: Slot

  // Page columns.
  //   (L) PG_locked of that page       (Z) zone lock     (A) atomic, no lock
  //   (R) rmap lock                    (P) pte lock      (I) i_pages lock of its mapping
  // Two letters: either suffices to read, both are needed to write.
  readonly flags: PfnColumn //       PG_* bits; order of a compound page in bits 28-31          (A)
  readonly refcount: PfnColumn //    references; 0 = free, frozen or a tail                       (A)
  readonly mapcount: PfnColumn //    ptes that map it; negative: a page type in the top byte, a free block's order below it, (Z)   (A)
  readonly mapping: PfnColumn //     id << 2 | PAGE_MAPPING_* bits; 0 = none                      (L)
  readonly private: PfnColumn //     cached: slot, (L); tail: head; destination of a move: see migrate.ts
  readonly rmap: PfnColumn //        first vpn that maps it, 0 = none                             (R)
  readonly content: PfnColumn //     one cell for 4096 bytes; empty unless `contents`             (L)
  readonly pageData: Int32Array //   1024 cells a page: its bytes; empty unless `pageData`        whoever owns the page
  readonly pageBytes: Bytes //       the same bytes
  /** next and prev of every page, then of every list head. Guarded by the lock of the list. A large folio's first tail counts its pins there (gup.ts). */
  readonly links: Links

  // Page tables and caches.
  readonly pte: VpnColumn //         pfn << 2 | PTE_PRESENT or PTE_MIGRATION, slot << 2 | PTE_SWAP; 0 = empty   (P)
  readonly pteNext: VpnColumn //     next vpn that maps the same page                             (R)
  readonly cache: SlotColumn //      pfn of the cached folio; 0 = empty                           (I)
  readonly swapMap: SlotColumn //    who needs what is swapped out there: ptes, and the swap cache as one; 0 = free   (A)
  readonly swapContent: SlotColumn // what was written there; empty unless `contents`             (L) of the folio in the slot
  readonly swapFree: NodeColumn //   cell 0: free swap slots, out of date for a moment            (A)
  readonly swapNext: NodeColumn //   cell 0: swap slot where the search for a free one begins     (A)
  readonly mappingFlags: MappingColumn // AS_* bits                                                (A)
  readonly rmapLock: NodeColumn //   the one (R) lock, cell 0

  // Pageblocks and zones.
  readonly pageblock: PageblockColumn // PB_* bits                                                 (Z)
  readonly zoneLock: ZoneColumn //   the (Z) lock of each zone
  readonly nrFree: ZoneColumn //     pages in the free areas                                      (Z)
  readonly nrFreeCma: ZoneColumn //  of these in CMA pageblocks                                   (Z)
  readonly nrFreeHighatomic: ZoneColumn // of these in HIGHATOMIC pageblocks                      (Z)
  readonly nrReservedHighatomic: ZoneColumn // pages of HIGHATOMIC pageblocks                     (Z)
  readonly wmarkMin: ZoneColumn
  readonly wmarkLow: ZoneColumn
  readonly wmarkHigh: ZoneColumn
  readonly wmarkBoost: ZoneColumn // pages by which all three are raised for now                  (Z)
  readonly zoneFlags: ZoneColumn //  ZONE_* bits                                                  (A)
  readonly zoneStart: ZoneColumn
  readonly zoneEnd: ZoneColumn //    first pfn after the zone
  readonly zoneNode: ZoneColumn
  readonly zoneIdx: ZoneColumn //    kind of zone, ZONE_*: its place in its node
  readonly zoneManaged: ZoneColumn // pages that the allocator manages
  readonly zonePresent: ZoneColumn // pages that exist
  readonly cachedMigratePfnAsync: ZoneColumn // where the scanners go on; hints                    (A)
  readonly cachedMigratePfnSync: ZoneColumn //                                                     (A)
  readonly cachedFreePfn: ZoneColumn //                                                            (A)
  readonly compactInitMigratePfn: ZoneColumn // first source when the hints were last forgotten; 0: never   (A)
  readonly compactInitFreePfn: ZoneColumn // last target when the hints were last forgotten; 0: never (A)
  readonly compactBlockskipFlush: ZoneColumn // 1: forget the hints when there is time            (A)
  readonly compactConsidered: ZoneColumn // requests since the last failed compaction              (A)
  readonly compactDeferShift: ZoneColumn // log2 of the requests that are passed over after one    (A)
  readonly compactOrderFailed: ZoneColumn // least order of which one failed                       (A)
  /** Pages that requests for a higher kind of zone leave: index zone * 5 + that kind. */
  readonly lowmemReserve: Int32Array
  /** Free blocks by zone, order and migratetype: index (zone * 11 + order) * 6 + migratetype. (Z) */
  readonly nrFreeBlocks: Int32Array

  // Per-cpu page sets.
  readonly pcpCount: PcpColumn //    pages on the lists                                           (C)
  readonly pcpHigh: PcpColumn
  readonly pcpHighMin: PcpColumn
  readonly pcpHighMax: PcpColumn
  readonly pcpBatch: PcpColumn
  readonly pcpFreeCount: PcpColumn // pages freed without an allocation in between
  readonly pcpFreeFactor: PcpColumn // log2 of how far frees scale the batch; 6.1
  readonly pcpAllocFactor: PcpColumn // log2 of how far allocations scale the batch; 6.18
  readonly pcpPrevHighOrder: PcpColumn // 1: the last free was of order 1..3
  readonly pcpLock: PcpColumn //     the (C) lock of each set
  readonly pcpCaptureOrder: PcpColumn // what the cpu's direct compaction of that zone waits for: order; 0: nothing  (Z)
  readonly pcpCaptureType: PcpColumn // and its migratetype                                        (Z)
  readonly pcpCapturePage: PcpColumn // the block that it got; 0: none yet                         (Z)

  // Nodes.
  readonly lruLock: NodeColumn //    the (U) lock of each node
  readonly nrIsolatedAnon: NodeColumn
  readonly nrIsolatedFile: NodeColumn
  readonly anonCost: NodeColumn //   what reclaim of anonymous pages has cost lately              (U)
  readonly fileCost: NodeColumn //   and of file pages                                            (U)
  readonly kswapdRunning: NodeColumn // 1: kswapd is awake                                        (A)
  readonly kswapdOrder: NodeColumn // largest order that somebody wanted since it last looked      (A)
  readonly kswapdHighestZoneidx: NodeColumn // highest kind of zone that somebody wanted since then (A)
  readonly kswapdFailures: NodeColumn // times in a row that it reclaimed nothing                  (A)
  readonly kcompactdMaxOrder: NodeColumn // largest order that kcompactd was woken for; 0: asleep  (A)
  readonly kcompactdHighestZoneidx: NodeColumn // lowest of the highest kinds of zones wanted      (A)
  readonly kcompactdProactiveDefer: NodeColumn // checks that proactive compaction lets pass        (A)
  readonly nrFollPinAcquired: NodeColumn // pins since the machine came up; no decision depends on them (gup.ts)
  readonly nrFollPinReleased: NodeColumn // and how many of them have ended
  /** Pages by zone and LRU list, though the lists are a node's: index zone * 5 + list. (U) of the node */
  readonly nrLru: Int32Array

  // The hugetlb pool (hugetlb_pool.ts), in pages of order 9.
  readonly nrHugePages: NodeColumn // of the pool, free or given out                              (H)
  readonly freeHugePages: NodeColumn // of these, on the node's list                               (H)
  readonly surplusHugePages: NodeColumn // more than the pool shall have: gone when they are put   (H)
  readonly hugetlbLock: NodeColumn // the one (H) lock, cell 0
  readonly hugetlbNext: NodeColumn // the node whose turn it is: cell 0 to get a page, 1 to lose one  (H)

  /** Event counters, by event (vmstat.ts). Per cpu in the kernel: no decision depends on them. */
  readonly events: Int32Array
  /** Faults by order of the folio: index order * 2, got and not got (thp.ts). No decision depends on them. */
  readonly mthpStats: Int32Array
  /** State of page owners: each is told which cells are its own. Guarded by the owner's lock (O). */
  readonly ownerCells: OwnerColumn

  /** Every zonelist(), in the order of its arguments. */
  private readonly zonelists: readonly (readonly ZoneId[])[]
  /** Where each kind of list head begins among the nodes of `links`. */
  private readonly heads: ListHeads

  /** Lays out a machine with no free memory and no pages in use. Throws AssertionError on an impossible machine. */
  constructor(spec: MachineSpec) {
    checkMachine(spec)
    const zones = spec.zones.length
    this.rules = spec.rules ?? RULES_6_18
    this.sysctl = { ...SYSCTL_DEFAULTS, ...spec.sysctl }
    this.thp = { ...THP_DEFAULTS, ...spec.thp }
    this.trace = undefined
    this.pfnCount = spec.pfnCount
    this.zoneSpecs = spec.zones
    this.cpus = spec.cpus ?? 1
    this.nodes = spec.zones.reduce((most, zone) => Math.max(most, zone.node + 1), 0)
    this.hasContents = spec.contents === true
    this.swapSlots = spec.swapSlots ?? 0
    this.swapStart = slotOf((spec.slots ?? 0) + 1)
    this.zonelists = allZonelists(spec.zones, this.nodes)
    this.heads = listHeads(spec.pfnCount, zones, this.cpus, this.nodes)

    const arena = new Arena(arenaPlan(spec, this.heads, this.cpus, this.nodes))
    this.arena = arena
    this.flags = arena.column('flags')
    this.refcount = arena.column('refcount')
    this.mapcount = arena.column('mapcount')
    this.mapping = arena.column('mapping')
    this.private = arena.column('private')
    this.rmap = arena.column('rmap')
    this.content = arena.column('content')
    this.pageData = arena.column('pageData')
    const { buffer, byteOffset, byteLength } = this.pageData
    this.pageBytes = bytesOf(new Uint8Array(buffer, byteOffset, byteLength))
    this.links = arena.column('links')
    this.pte = arena.column('pte')
    this.pteNext = arena.column('pteNext')
    this.cache = arena.column('cache')
    this.swapMap = arena.column('swapMap')
    this.swapContent = arena.column('swapContent')
    const swapField = fieldsOf(arena.column('swap'), 1, SWAP_FIELDS)
    this.swapFree = swapField()
    this.swapNext = swapField()
    this.mappingFlags = arena.column('mappingFlags')
    this.rmapLock = arena.column('rmapLock')
    this.pageblock = arena.column('pageblock')
    this.nrFreeBlocks = arena.column('nrFreeBlocks')
    this.lowmemReserve = arena.column('lowmemReserve')
    this.nrLru = arena.column('nrLru')
    this.events = arena.column('events')
    this.mthpStats = arena.column('mthpStats')
    this.hugetlbLock = arena.column('hugetlbLock')
    this.hugetlbNext = arena.column('hugetlbNext')
    this.ownerCells = arena.column('ownerCells')

    const zoneField = fieldsOf(arena.column('zones'), zones, ZONE_FIELDS)
    this.zoneLock = zoneField()
    this.nrFree = zoneField()
    this.nrFreeCma = zoneField()
    this.nrFreeHighatomic = zoneField()
    this.nrReservedHighatomic = zoneField()
    this.wmarkMin = zoneField()
    this.wmarkLow = zoneField()
    this.wmarkHigh = zoneField()
    this.wmarkBoost = zoneField()
    this.zoneFlags = zoneField()
    this.zoneStart = zoneField()
    this.zoneEnd = zoneField()
    this.zoneNode = zoneField()
    this.zoneIdx = zoneField()
    this.zoneManaged = zoneField()
    this.zonePresent = zoneField()
    this.cachedMigratePfnAsync = zoneField()
    this.cachedMigratePfnSync = zoneField()
    this.cachedFreePfn = zoneField()
    this.compactInitMigratePfn = zoneField()
    this.compactInitFreePfn = zoneField()
    this.compactBlockskipFlush = zoneField()
    this.compactConsidered = zoneField()
    this.compactDeferShift = zoneField()
    this.compactOrderFailed = zoneField()

    const pcpField = fieldsOf(arena.column('pcps'), zones * this.cpus, PCP_FIELDS)
    this.pcpCount = pcpField()
    this.pcpHigh = pcpField()
    this.pcpHighMin = pcpField()
    this.pcpHighMax = pcpField()
    this.pcpBatch = pcpField()
    this.pcpFreeCount = pcpField()
    this.pcpFreeFactor = pcpField()
    this.pcpAllocFactor = pcpField()
    this.pcpPrevHighOrder = pcpField()
    this.pcpLock = pcpField()
    this.pcpCaptureOrder = pcpField()
    this.pcpCaptureType = pcpField()
    this.pcpCapturePage = pcpField()

    const nodeField = fieldsOf(arena.column('nodes'), this.nodes, NODE_FIELDS)
    this.lruLock = nodeField()
    this.nrIsolatedAnon = nodeField()
    this.nrIsolatedFile = nodeField()
    this.anonCost = nodeField()
    this.fileCost = nodeField()
    this.kswapdRunning = nodeField()
    this.kswapdOrder = nodeField()
    this.kswapdHighestZoneidx = nodeField()
    this.kswapdFailures = nodeField()
    this.kcompactdMaxOrder = nodeField()
    this.kcompactdHighestZoneidx = nodeField()
    this.kcompactdProactiveDefer = nodeField()
    this.nrHugePages = nodeField()
    this.freeHugePages = nodeField()
    this.surplusHugePages = nodeField()
    this.nrFollPinAcquired = nodeField()
    this.nrFollPinReleased = nodeField()

    for (let head = spec.pfnCount; head < this.heads.end; head++) initList(this.links, listNodeOf(head))
    arena.column('pageblock').fill(PB_ABSENT)
    this.swapFree[nidOf(0)] = this.swapSlots
    this.swapNext[nidOf(0)] = this.swapStart
    spec.zones.forEach((zone, i) => initZone(this, zoneIdOf(i), zone))
  }

  /** Number of zones, of all nodes. */
  get zones(): number {
    return this.zoneSpecs.length
  }

  /** Zones for a request made on node `nid`, up to a kind of zone, nearest first: own node, then the others by number. */
  zonelist(nid: number, highestZoneidx: number, onlyThisNode: boolean): readonly ZoneId[] {
    return this.zonelists[(nid * MAX_NR_ZONES + highestZoneidx) * 2 + (onlyThisNode ? 1 : 0)]
  }

  /** Head of the free list of that zone, order and migratetype. */
  freeList(zone: number, order: number, mt: number): ListNode {
    return listNodeOf(this.pfnCount + (zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt)
  }

  /** Head of the free list whose blocks `nrFreeBlocks[index]` counts. */
  freeListAt(index: number): ListNode {
    return listNodeOf(this.pfnCount + index)
  }

  /** Index of the page set of that zone and cpu. */
  pcpOf(zone: number, cpu: CpuId): PcpId {
    return pcpIdOf(zone * this.cpus + cpu)
  }

  /** Head of one list of a per-cpu page set. */
  pcpList(pcp: PcpId, index: number): ListNode {
    return listNodeOf(this.heads.pcp + pcp * NR_PCP_LISTS + index)
  }

  /** Head of an LRU list. */
  lruList(nid: number, lru: number): ListNode {
    return listNodeOf(this.heads.lru + nid * NR_LRU_LISTS + lru)
  }

  /** Head of one of the lists that a task running on `cpu` keeps isolated pages on. */
  taskList(cpu: CpuId, index: number): ListNode {
    return listNodeOf(this.heads.task + cpu * TASK_LISTS + index)
  }

  /** Head of a page owner's list, 0..OWNER_LISTS-1. */
  ownerList(index: number): ListNode {
    return listNodeOf(this.heads.owner + index)
  }

  /** Head of the list of a node's free pages of the hugetlb pool. */
  hugetlbList(nid: Nid): ListNode {
    return listNodeOf(this.heads.hugetlb + nid)
  }

  /** Zone of the page. */
  zoneOf(pfn: Pfn): ZoneId {
    return pageblockZone(this.pageblock[pageblockAt(pfn >>> pageblock_order)])
  }

  /** Migratetype of the pageblock that holds the page. */
  migratetypeOf(pfn: Pfn): number {
    return this.pageblock[pageblockAt(pfn >>> pageblock_order)] & PB_MIGRATETYPE
  }
}

const ZONE_FIELDS = 25
const PCP_FIELDS = 13
const SWAP_FIELDS = 2
const NODE_FIELDS = 17
/** List heads that page owners share. */
export const OWNER_LISTS = 32
/** Cells of `events`; vmstat.ts asserts that its names fit. */
export const EVENT_CELLS = 64

/** First list head of each kind. Heads of the free lists come first, right after the last page. */
interface ListHeads {
  readonly pcp: number
  readonly lru: number
  readonly task: number
  readonly owner: number
  readonly hugetlb: number
  /** First number that is no list node. */
  readonly end: number
}

function listHeads(pages: number, zones: number, cpus: number, nodes: number): ListHeads {
  const pcp = pages + zones * NR_PAGE_ORDERS * MIGRATE_TYPES
  const lru = pcp + zones * cpus * NR_PCP_LISTS
  const task = lru + nodes * NR_LRU_LISTS
  const owner = task + cpus * TASK_LISTS
  const hugetlb = owner + OWNER_LISTS
  return { pcp, lru, task, owner, hugetlb, end: hugetlb + nodes }
}

function arenaPlan(spec: MachineSpec, heads: ListHeads, cpus: number, nodes: number): ArenaPlan {
  const pages = spec.pfnCount
  const zones = spec.zones.length
  const ptes = (spec.ptes ?? 0) + 1
  const swapSlots = spec.swapSlots ?? 0
  const slots = (spec.slots ?? 0) + 1 + swapSlots
  return {
    flags: pages,
    refcount: pages,
    mapcount: pages,
    mapping: pages,
    private: pages,
    rmap: pages,
    links: 2 * heads.end,
    content: spec.contents === true ? pages : 0,
    pageData: spec.pageData === true ? pages * PAGE_CELLS : 0,
    pte: ptes,
    pteNext: ptes,
    cache: slots,
    swapMap: swapSlots === 0 ? 0 : slots,
    swapContent: swapSlots === 0 || spec.contents !== true ? 0 : slots,
    swap: SWAP_FIELDS,
    mappingFlags: (spec.mappings ?? 1) + MAPPING_FIRST_FILE,
    rmapLock: 1,
    pageblock: pages / pageblock_nr_pages,
    zones: zones * ZONE_FIELDS,
    nrFreeBlocks: zones * NR_PAGE_ORDERS * MIGRATE_TYPES,
    lowmemReserve: zones * MAX_NR_ZONES,
    pcps: zones * cpus * PCP_FIELDS,
    nodes: nodes * NODE_FIELDS,
    nrLru: zones * NR_LRU_LISTS,
    events: EVENT_CELLS,
    mthpStats: 2 * NR_PAGE_ORDERS,
    hugetlbLock: 1,
    hugetlbNext: 2,
    ownerCells: spec.ownerCells ?? 0,
  }
}

/** Gives the columns of a table of `fields` columns, one after the other. */
function fieldsOf(table: Int32Array, rows: number, fields: number): () => Int32Array {
  let field = 0
  return () => {
    assert(field < fields, 'machine: a table has a field for each of its columns')
    return table.subarray(rows * field, rows * ++field)
  }
}

function initZone(mm: Mm, zone: ZoneId, spec: ZoneSpec): void {
  const end = spec.startPfn + spec.spanned
  mm.zoneStart[zone] = spec.startPfn
  mm.zoneEnd[zone] = end
  mm.zoneNode[zone] = spec.node
  mm.zoneIdx[zone] = zoneIdxOf(spec.name)
  mm.zoneManaged[zone] = spec.managed
  mm.zonePresent[zone] = spec.present
  const nid = nidOf(spec.node)
  mm.kcompactdHighestZoneidx[nid] = Math.max(mm.kcompactdHighestZoneidx[nid], mm.zoneIdx[zone])
  spec.protection?.forEach((pages, idx) => {
    mm.lowmemReserve[zone * MAX_NR_ZONES + idx] = pages
  })
  mm.wmarkMin[zone] = spec.min
  mm.wmarkLow[zone] = spec.low
  mm.wmarkHigh[zone] = spec.high
  mm.cachedMigratePfnAsync[zone] = spec.startPfn
  mm.cachedMigratePfnSync[zone] = spec.startPfn
  mm.cachedFreePfn[zone] = pageblockStart(end - 1)
  const blocks = Math.ceil(end / pageblock_nr_pages)
  for (let block = pageblockOf(pfnOf(spec.startPfn)); block < blocks; block = pageblockAt(block + 1)) {
    mm.pageblock[block] = (zone << PB_ZONE_SHIFT) | MIGRATE_MOVABLE // as the kernel starts
  }
  for (let cpu = 0; cpu < mm.cpus; cpu++) {
    const pcp = pcpIdOf(zone * mm.cpus + cpu)
    const set = spec.pcp?.[cpu] ?? NO_PCP
    mm.pcpHigh[pcp] = set.high
    mm.pcpHighMin[pcp] = set.highMin
    mm.pcpHighMax[pcp] = set.highMax
    mm.pcpBatch[pcp] = set.batch
  }
}

/** @kernel mm/page_alloc.c build_zonelists() v6.18; without distances, nodes follow by number */
function allZonelists(zones: readonly ZoneSpec[], nodes: number): ZoneId[][] {
  const byKind = zones.map((zone, i) => ({ id: zoneIdOf(i), node: zone.node, idx: zoneIdxOf(zone.name) }))
  byKind.sort((a, b) => b.idx - a.idx)
  const lists: ZoneId[][] = []
  for (let nid = 0; nid < nodes; nid++) {
    const order = Array.from({ length: nodes }, (_, i) => (nid + i) % nodes)
    for (let highest = 0; highest < MAX_NR_ZONES; highest++) {
      const allowed = byKind.filter(({ idx }) => idx <= highest)
      const of = (node: number): ZoneId[] => allowed.filter((zone) => zone.node === node).map(({ id }) => id)
      lists.push(order.flatMap(of), of(nid))
    }
  }
  return lists
}

/** Kind of the zone of that name: ZONE_*. */
const zoneIdxOf = (name: string): number => {
  const idx = ZONE_NAMES.findIndex((known) => known === name)
  return idx < 0 ? ZONE_NORMAL : idx
}

/** A set that keeps nothing: what is freed to it goes on at once, as in the kernel's boot_pageset. */
const NO_PCP: PcpSpec = { high: 0, highMin: 0, highMax: 0, batch: 1 }

function checkMachine(spec: MachineSpec): void {
  assert(
    spec.pfnCount > 0 && spec.pfnCount % pageblock_nr_pages === 0,
    'machine: pfnCount is a multiple of 512',
  )
  assert(spec.pfnCount <= 1 << 29, 'machine: at most 2 TiB, so that a pfn and two bits fit in a cell')
  const slots = (spec.slots ?? 0) + (spec.swapSlots ?? 0)
  assert(slots < 1 << 29, 'machine: so few slots that one and two bits fit in a cell')
  assert(spec.zones.length > 0 && spec.zones.length <= 255, 'machine: from 1 to 255 zones')
  let end = 0
  for (const z of spec.zones) {
    assert(z.spanned > 0 && z.startPfn >= 0, 'machine: a zone has pages')
    assert(
      Math.floor(z.startPfn / pageblock_nr_pages) * pageblock_nr_pages >= end,
      'machine: zones share no pageblock',
    )
    end = z.startPfn + z.spanned
    assert(end <= spec.pfnCount, 'machine: a zone ends within pfnCount')
    assert(z.managed <= z.present && z.present <= z.spanned, 'machine: managed <= present <= spanned')
    assert(z.min <= z.low && z.low <= z.high, 'machine: watermarks rise')
    assert((z.protection?.length ?? 0) <= MAX_NR_ZONES, 'machine: at most one protection a kind of zone')
    assert(z.pcp === undefined || z.pcp.length === (spec.cpus ?? 1), 'machine: one per-cpu set a cpu')
  }
}

/** Zones of a node up to a kind of zone, lowest first. */
export const zonesOfNode = (mm: Mm, nid: number, highestZoneidx: number = MAX_NR_ZONES - 1): ZoneId[] =>
  [...mm.zonelist(nid, highestZoneidx, true)].reverse()

/** The highest kind of zone that a node has. */
export const highestZoneidxOfNode = (mm: Mm, nid: number): number =>
  Math.max(...zonesOfNode(mm, nid).map((zone) => mm.zoneIdx[zone]))

/** Zone of the pageblock with these bits. */
export const pageblockZone = (bits: number): ZoneId => zoneIdOf((bits >>> PB_ZONE_SHIFT) & 0xff)

/** Page type of a `mapcount` value: PGTY_*, or 0 if the page has none. */
export const pageType = (mapcount: number): number => (mapcount < 0 ? mapcount >>> 24 : 0)

/** `mapcount` of the head of a free block of that order. */
export const buddyValue = (order: number): number => BUDDY | order
/** True if the page heads a free block. */
export const isBuddy = (mapcount: number): boolean => mapcount >>> 24 === PGTY_buddy
/** Order of the free block whose head has that `mapcount`. */
export const buddyOrder = (mapcount: number): number => mapcount & 0xff

/** Order of the compound page whose head has these flags; 0 for a single page or a tail. */
export const compoundOrder = (flags: number): Order =>
  orderOf((flags & PG_head) === 0 ? 0 : flags >>> COMPOUND_ORDER_SHIFT)

/** Pages of the folio whose head has these flags. */
export const folioPages = (flags: number): number => 1 << compoundOrder(flags)

/** The head of the folio that `pfn` is part of. A racy answer unless the caller holds a reference. */
export function folioHead(cpu: Cpu, mm: Mm, pfn: Pfn): Pfn {
  return (cpu.load(mm.flags, pfn) & COMPOUND_TAIL) === 0 ? pfn : pfnOf(cpu.load(mm.private, pfn))
}

export const isAnonMapping = (mapping: number): boolean => (mapping & PAGE_MAPPING_ANON) !== 0

/** `mapping` of a file page. */
export const fileMapping = (id: MappingId): number => id << 2
/** `mapping` of an anonymous page. */
export const ANON_MAPPING = (1 << 2) | PAGE_MAPPING_ANON

/** `mapping` of a page of a driver's address space, whose operations move it (setMappingOps() of movable_ops.ts). */
export const movableMapping = (id: MappingId): number => (id << 2) | PAGE_MAPPING_MOVABLE

/** Index in `movableOps` of the provider of address space 0. Those of page types come before; 0 is the LRU. */
export const MAPPING_OPS = 16
/** Index of the provider of the pages of a type. */
export const typeOpsIndex = (pgty: number): number => pgty - PGTY_buddy + 1

/** Index in `movableOps` of the driver whose page has these; -1 if it is no driver's, or cannot move. */
export function driverOpsIndex(mapcount: number, flags: number, mapping: number): number {
  if (mapcount < 0) return (flags & PG_movable_ops) === 0 ? -1 : typeOpsIndex(pageType(mapcount))
  return (mapping & PAGE_MAPPING_FLAGS) === PAGE_MAPPING_MOVABLE ? MAPPING_OPS + (mapping >>> 2) : -1
}

/**
 * Id of the address space that caches the folio: of its file, the swap cache's, or 0 for an anonymous
 * folio that is not in the swap cache and for one without a mapping.
 *
 * @kernel mm/util.c folio_mapping() v6.18
 */
export function folioMapping(flags: number, mapping: number): MappingId {
  if ((mapping & PAGE_MAPPING_ANON) !== 0) return mappingIdOf((flags & PG_swapcache) === 0 ? 0 : MAPPING_SWAP)
  return mappingIdOf((mapping & PAGE_MAPPING_FLAGS) === 0 ? mapping >>> 2 : 0)
}
