/**
 * A zsmalloc pool: where everything of it stands in the arena.
 *
 *   header    lock, counts, heads of the lists of unused records; then numbers that never change
 *   classes   a record a size class: its numbers, objects that there is room for and that are there, and twelve lists
 *             of zspages, by how full they are
 *   zspages   a record a zspage: list links, class, objects in it, how many of its pages are isolated, who has an object
 *             of it mapped, a bit a slot, its pages, and for each page the first of the objects that begin there
 *   handles   a record an object: the page it begins on, its slot in the zspage, the next object that begins there
 *
 * A page of a zspage names it in `private`, (L); everything else is guarded by the pool's lock, (O). How many zspages and
 * handles there may be is said when the pool is made; record 0 of either is none. Links of zspages are list nodes of
 * base/list.ts: node n is cells 2n and 2n + 1.
 *
 * The kernel keeps handle and free slots in the bytes of the objects themselves. Here they are in these tables, so that
 * a pool needs no contents (`pageData`): the 8 bytes in front of an object are counted and not used.
 *
 * @kernel mm/zsmalloc.c struct zs_pool, size_class, zspage v6.18; include/linux/zsmalloc.h
 */

import { assert } from '../base/assert.ts'
import { initList } from '../base/list.ts'
import { cellsOf, listNodeOf, type OwnerCell, ownerCellOf, pfnOf } from '../base/units.ts'
import { __GFP_HIGHMEM, __GFP_MOVABLE, __GFP_NOWARN, GFP_NOIO, type Gfp } from '../mm/gfp.ts'
import type { Mm } from '../mm/page.ts'
import type { OwnerPlace } from './place.ts'
import { type SizeClasses, sizeClasses } from './zs_size_classes.ts'

// Cells of the header, from the pool's first cell on.
export const ZS_LOCK = 0
/** 1: an empty zspage could not be freed, because somebody had a page of it locked. */
export const ZS_DEFERRED = 1
export const ZS_PAGES = 2
/** Pages that zs_compact has freed, ever. */
export const ZS_PAGES_COMPACTED = 3
/** Objects that were moved to another zspage, ever. */
export const ZS_OBJS_MOVED = 4
const ZS_HANDLE_FREE = 5
/** Records that were never used begin here. */
const ZS_HANDLE_FRESH = 6
const ZS_ZSPAGE_FREE = 7
const ZS_ZSPAGE_FRESH = 8
// These never change.
const ZS_CLASSES = 9
const ZS_ZSPAGES = 10
const ZS_STRIDE = 11
const ZS_HANDLES = 12
const ZS_ZSPAGES_MAX = 13
const ZS_HANDLES_MAX = 14
const ZS_CHAIN = 15
const HEADER_CELLS = 16

// Cells of a class.
export const CLASS_SIZE = 0
export const CLASS_PAGES = 1
export const CLASS_OBJS = 2
export const CLASS_HUGE = 3
/** Objects that its zspages have room for. */
export const CLASS_ALLOCATED = 4
export const CLASS_INUSE = 5
const CLASS_LISTS = 6

// How full a zspage is: not at all, up to 9 %, 19 % … 99 %, wholly.
export const ZS_INUSE_RATIO_0 = 0
export const ZS_INUSE_RATIO_10 = 1
export const ZS_INUSE_RATIO_99 = 10
export const ZS_INUSE_RATIO_100 = 11
export const NR_FULLNESS_GROUPS = 12
const CLASS_CELLS = CLASS_LISTS + 2 * NR_FULLNESS_GROUPS

// Cells of a zspage.
/** The cell of its class; 0: the record is not used. */
export const ZSPAGE_CLASS = 2
export const ZSPAGE_INUSE = 3
/** Its pages that are isolated. While there are any it is on no list, and gets no new objects. */
export const ZSPAGE_ISOLATED = 4
/** Who has one of its objects mapped: its read lock. Whoever moves something is its writer, under (O) all the while. */
export const ZSPAGE_ACCESSORS = 5
const ZSPAGE_SLOTS = 6

// Cells of a handle.
const HANDLE_CELLS = 3
/** The page that the object begins on; 0: the record is not used. */
export const HANDLE_PFN = 0
/** Its slot in the zspage; of an unused record the next unused one. */
export const HANDLE_INDEX = 1
/** The next object that begins on the page. */
export const HANDLE_NEXT = 2

/** What a pool is made of. */
export interface ZsPoolSpec {
  /** CONFIG_ZSMALLOC_CHAIN_SIZE. Default 8, the kernel's. */
  readonly chainSize?: number
  /** Objects that may be there at a time. */
  readonly objectsMax: number
  /** Zspages that may be there at a time. Default: one an object. */
  readonly zspagesMax?: number
  /**
   * Its pages are allocated as movable and can move. False: they are unmovable pages, as before v4.8 and without
   * CONFIG_COMPACTION. Default: true.
   */
  readonly movable?: boolean
  /** Node that its pages come from if they can. Default 0. */
  readonly node?: number
}

/** A pool: numbers that never change. */
export interface ZsPool {
  readonly classes: SizeClasses
  readonly movable: boolean
  readonly gfp: Gfp
  readonly node: number
  /** First cell; it names the pool in sections. */
  readonly zs: number
  readonly lock: OwnerCell
}

interface Layout {
  readonly classes: number
  readonly zspages: number
  readonly stride: number
  readonly handles: number
  readonly end: number
}

function layoutOf(spec: ZsPoolSpec, classes: SizeClasses, first: number): Layout {
  const { chainSize, objsMax } = classes
  const used = ZSPAGE_SLOTS + Math.ceil(objsMax / 32) + 2 * chainSize
  const stride = used + (used & 1)
  const classesAt = first + HEADER_CELLS
  const zspages = classesAt + classes.classes.length * CLASS_CELLS
  const handles = zspages + ((spec.zspagesMax ?? spec.objectsMax) + 1) * stride
  return { classes: classesAt, zspages, stride, handles, end: handles + (spec.objectsMax + 1) * HANDLE_CELLS }
}

/** Cells of `ownerCells` that a pool needs, wherever it begins. */
export const zsPoolCells = (spec: ZsPoolSpec): number =>
  layoutOf(spec, sizeClasses(spec.chainSize ?? CHAIN_SIZE_DEFAULT), 0).end + 2

/** CONFIG_ZSMALLOC_CHAIN_SIZE where nobody says otherwise. */
export const CHAIN_SIZE_DEFAULT = 8

/** An empty pool at its place. Its movable operations are registered by createZsPool() of zsmalloc.ts. */
export function layOutZsPool(mm: Mm, place: OwnerPlace, spec: ZsPoolSpec): ZsPool {
  const classes = sizeClasses(spec.chainSize ?? CHAIN_SIZE_DEFAULT)
  const zs = Math.max(place.cell + (place.cell & 1), 2) // list nodes are pairs of cells, and node 0 is none
  const layout = layoutOf(spec, classes, zs)
  const movable = spec.movable ?? true
  const cells = cellsOf(mm.ownerCells)
  assert(spec.objectsMax > 0, 'zsmalloc: a pool has room for an object')
  assert(layout.end <= place.cell + zsPoolCells(spec), 'zsmalloc: the layout is as long as was said')
  assert(layout.end <= cells.length, 'zsmalloc: the arena has cells for this pool')
  cells[zs + ZS_CLASSES] = layout.classes
  cells[zs + ZS_ZSPAGES] = layout.zspages
  cells[zs + ZS_STRIDE] = layout.stride
  cells[zs + ZS_HANDLES] = layout.handles
  cells[zs + ZS_ZSPAGES_MAX] = spec.zspagesMax ?? spec.objectsMax
  cells[zs + ZS_HANDLES_MAX] = spec.objectsMax
  cells[zs + ZS_CHAIN] = classes.chainSize
  classes.classes.forEach(({ size, pagesPerZspage, objsPerZspage, huge }, i) => {
    const klass = layout.classes + i * CLASS_CELLS
    cells[klass + CLASS_SIZE] = size
    cells[klass + CLASS_PAGES] = pagesPerZspage
    cells[klass + CLASS_OBJS] = objsPerZspage
    cells[klass + CLASS_HUGE] = huge ? 1 : 0
    for (let group = 0; group < NR_FULLNESS_GROUPS; group++) {
      initList(cells, listNodeOf(fullnessList(klass, group)))
    }
  })
  return {
    classes,
    movable,
    gfp: GFP_NOIO | __GFP_NOWARN | __GFP_HIGHMEM | (movable ? __GFP_MOVABLE : 0),
    node: spec.node ?? 0,
    zs,
    lock: ownerCellOf(zs + ZS_LOCK),
  }
}

/** The pool's cell of that name. */
export const poolCell = (pool: ZsPool, cell: number): OwnerCell => ownerCellOf(pool.zs + cell)
/** The cell where the record of class number `index` begins. */
export const classCell = (pool: ZsPool, index: number): number => pool.zs + HEADER_CELLS + index * CLASS_CELLS

// For sections: `cells` are the owner's cells, `zs` the pool.

/** List head, as a node, of the zspages of a class that are that full. */
export const fullnessList = (klass: number, group: number): number => (klass + CLASS_LISTS + 2 * group) >> 1
/** The cell where the record of a zspage begins; half of it is its list node. */
export const zspageCell = (cells: Int32Array, zs: number, zspage: number): number =>
  cells[zs + ZS_ZSPAGES] + zspage * cells[zs + ZS_STRIDE]
/** The zspage whose list node that is. */
export const zspageOfNode = (cells: Int32Array, zs: number, node: number): number =>
  (2 * node - cells[zs + ZS_ZSPAGES]) / cells[zs + ZS_STRIDE]
/** The cell of a page of a zspage. */
export const pageCell = (cells: Int32Array, zs: number, zspage: number, page: number): number =>
  zspageCell(cells, zs, zspage + 1) - 2 * cells[zs + ZS_CHAIN] + page
/** The cell of the first object that begins on a page of a zspage. */
export const firstObjCell = (cells: Int32Array, zs: number, zspage: number, page: number): number =>
  zspageCell(cells, zs, zspage + 1) - cells[zs + ZS_CHAIN] + page
/** The cell where the record of a handle begins. */
export const handleCell = (cells: Int32Array, zs: number, handle: number): number =>
  cells[zs + ZS_HANDLES] + handle * HANDLE_CELLS
/** Number of a page in its zspage. */
export function pageNumber(cells: Int32Array, zs: number, zspage: number, pfn: number): number {
  const first = pageCell(cells, zs, zspage, 0)
  const chain = cells[zs + ZS_CHAIN]
  for (let page = 0; page < chain; page++) if (cells[first + page] === pfn) return page
  return -1
}
/** The zspage that a page names. */
export const zspageOfPage = (mm: Mm, pfn: number): number => mm.private[pfnOf(pfn)]
/** Group of a zspage with so many of so many objects. @kernel get_fullness_group() */
export function fullnessGroup(inuse: number, objs: number): number {
  if (inuse === 0) return ZS_INUSE_RATIO_0
  if (inuse === objs) return ZS_INUSE_RATIO_100
  return Math.floor((100 * inuse) / objs / 10) + 1
}

/** Takes an unused record of a zspage; 0: there is none. */
export function takeZspageRecordLocked(mm: Mm, zs: number): number {
  const cells = cellsOf(mm.ownerCells)
  const free = cells[zs + ZS_ZSPAGE_FREE]
  if (free !== 0) {
    cells[zs + ZS_ZSPAGE_FREE] = cells[zspageCell(cells, zs, free) + ZSPAGE_INUSE]
    cells[zspageCell(cells, zs, free) + ZSPAGE_INUSE] = 0
    return free
  }
  if (cells[zs + ZS_ZSPAGE_FRESH] === cells[zs + ZS_ZSPAGES_MAX]) return 0
  return ++cells[zs + ZS_ZSPAGE_FRESH]
}

/** Gives back the record of a zspage that has no pages any more. */
export function putZspageRecordLocked(mm: Mm, zs: number, zspage: number): number {
  const cells = cellsOf(mm.ownerCells)
  const at = zspageCell(cells, zs, zspage)
  const chain = cells[zs + ZS_CHAIN]
  for (let page = 0; page < chain; page++) cells[pageCell(cells, zs, zspage, page)] = 0
  cells[at + ZSPAGE_CLASS] = 0
  cells[at + ZSPAGE_INUSE] = cells[zs + ZS_ZSPAGE_FREE]
  cells[zs + ZS_ZSPAGE_FREE] = zspage
  return 0
}

/** Takes an unused handle; 0: there is none. */
export function takeHandleLocked(cells: Int32Array, zs: number): number {
  const free = cells[zs + ZS_HANDLE_FREE]
  if (free !== 0) {
    cells[zs + ZS_HANDLE_FREE] = cells[handleCell(cells, zs, free) + HANDLE_INDEX]
    return free
  }
  if (cells[zs + ZS_HANDLE_FRESH] === cells[zs + ZS_HANDLES_MAX]) return 0
  return ++cells[zs + ZS_HANDLE_FRESH]
}

/** Pairs with takeHandleLocked(). */
export function putHandleLocked(cells: Int32Array, zs: number, handle: number): void {
  const at = handleCell(cells, zs, handle)
  cells[at + HANDLE_PFN] = 0
  cells[at + HANDLE_NEXT] = 0
  cells[at + HANDLE_INDEX] = cells[zs + ZS_HANDLE_FREE]
  cells[zs + ZS_HANDLE_FREE] = handle
}

// Slots: a bit each, set if there is an object.

/** Takes the first free slot of a zspage, which has one. */
export function takeSlot(cells: Int32Array, zspageAt: number): number {
  let word = zspageAt + ZSPAGE_SLOTS
  while (cells[word] === -1) word++ // ends: the zspage has a free slot
  const bit = 31 - Math.clz32(~cells[word] & -~cells[word])
  cells[word] |= 1 << bit
  return (word - zspageAt - ZSPAGE_SLOTS) * 32 + bit
}

/** Pairs with takeSlot(). */
export function putSlot(cells: Int32Array, zspageAt: number, index: number): void {
  cells[zspageAt + ZSPAGE_SLOTS + (index >> 5)] &= ~(1 << (index & 31))
}

/** True if there is an object in the slot. */
export const hasObject = (cells: Int32Array, zspageAt: number, index: number): boolean =>
  ((cells[zspageAt + ZSPAGE_SLOTS + (index >> 5)] >>> (index & 31)) & 1) === 1

// For whoever looks at the whole pool: records beyond were never used.
export const zspagesUsed = (cells: Int32Array, zs: number): number => cells[zs + ZS_ZSPAGE_FRESH]
export const handlesUsed = (cells: Int32Array, zs: number): number => cells[zs + ZS_HANDLE_FRESH]
