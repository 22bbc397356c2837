/**
 * Zspages under the pool's lock: objects come and go, lists follow, bytes move between slots.
 *
 * All functions here are sections or parts of sections under (O). A zspage is
 *   (1) reserved: it has a record and gets pages; no class yet, nobody finds it
 *   (2) listed: on the list of its class that says how full it is; objects come and go
 *   (3) isolated: some of its pages are; on no list, so it gets no new objects; objects may still be freed
 *   (4) empty: listed as such, until a new object comes or it is freed
 *   (5) removed: on no list, its pages are going
 *
 * (1)→(2) addZspageLocked; (2)→(3)→(2) isolateLocked, then putbackLocked or the last move; (2)→(4)→(5) freeObjLocked,
 * removeZspageLocked. A zspage that gets empty while it is isolated is (4) when it is put back.
 *
 * @kernel mm/zsmalloc.c v6.18; isolation as of v4.8, commit 48b4800a1c6a
 */

import { assert } from '../base/assert.ts'
import { listAdd, listDel, listEmpty, listFirst, listNext } from '../base/list.ts'
import { cellsOf, listNodeOf, pfnOf } from '../base/units.ts'
import { EAGAIN } from '../mm/limits.ts'
import { type Mm, PAGE_CELLS } from '../mm/page.ts'
import {
  CLASS_ALLOCATED,
  CLASS_HUGE,
  CLASS_INUSE,
  CLASS_OBJS,
  CLASS_PAGES,
  CLASS_SIZE,
  firstObjCell,
  fullnessGroup,
  fullnessList,
  HANDLE_INDEX,
  HANDLE_NEXT,
  HANDLE_PFN,
  handleCell,
  pageCell,
  pageNumber,
  putHandleLocked,
  putSlot,
  takeHandleLocked,
  takeSlot,
  ZS_DEFERRED,
  ZS_INUSE_RATIO_0,
  ZS_INUSE_RATIO_10,
  ZS_INUSE_RATIO_99,
  ZS_OBJS_MOVED,
  ZS_PAGES,
  ZSPAGE_ACCESSORS,
  ZSPAGE_CLASS,
  ZSPAGE_INUSE,
  ZSPAGE_ISOLATED,
  zspageCell,
  zspageOfNode,
  zspageOfPage,
} from './zs_pool.ts'
import { PAGE_SIZE, ZS_HANDLE_SIZE } from './zs_size_classes.ts'

/** What mallocLocked() answers besides a handle. */
export const NO_HANDLE = -1
export const NO_ZSPAGE = 0

/**
 * A new object of a class, in the fullest zspage that has room: its handle, NO_ZSPAGE if none has, NO_HANDLE.
 *
 * @kernel zs_malloc(), find_get_zspage()
 */
export function mallocLocked(mm: Mm, zs: number, klass: number): number {
  const cells = cellsOf(mm.ownerCells)
  for (let group = ZS_INUSE_RATIO_99; group >= ZS_INUSE_RATIO_0; group--) {
    const head = listNodeOf(fullnessList(klass, group))
    if (listEmpty(cells, head)) continue
    return objMalloc(cells, zs, zspageOfNode(cells, zs, listFirst(cells, head)))
  }
  return NO_ZSPAGE
}

/** A zspage that has all its pages joins its class, with its first object: the handle of that, or NO_HANDLE. */
export function addZspageLocked(mm: Mm, zs: number, klass: number, zspage: number): number {
  const cells = cellsOf(mm.ownerCells)
  const at = zspageCell(cells, zs, zspage)
  cells[at + ZSPAGE_CLASS] = klass
  cells[zs + ZS_PAGES] += cells[klass + CLASS_PAGES]
  cells[klass + CLASS_ALLOCATED] += cells[klass + CLASS_OBJS]
  enlist(cells, at)
  return objMalloc(cells, zs, zspage)
}

/** Takes an empty zspage from its class, if it still is one and listed. 1: it was, and its pages are the caller's. */
export function removeZspageLocked(mm: Mm, zs: number, zspage: number): number {
  const cells = cellsOf(mm.ownerCells)
  if (!isListedEmpty(cells, zs, zspage)) return 0
  const at = zspageCell(cells, zs, zspage)
  const klass = cells[at + ZSPAGE_CLASS]
  listDel(cells, at >> 1)
  cells[at + ZSPAGE_CLASS] = 0 // or another task that saw it empty would free it once more
  cells[zs + ZS_PAGES] -= cells[klass + CLASS_PAGES]
  cells[klass + CLASS_ALLOCATED] -= cells[klass + CLASS_OBJS]
  return 1
}

/** The first empty zspage of a class; 0: none. */
export function firstEmptyLocked(mm: Mm, zs: number, klass: number): number {
  const cells = cellsOf(mm.ownerCells)
  const head = listNodeOf(fullnessList(klass, ZS_INUSE_RATIO_0))
  return listEmpty(cells, head) ? 0 : zspageOfNode(cells, zs, listFirst(cells, head))
}

/** 1: the zspage is empty, and on its list. */
export function isListedEmptyLocked(mm: Mm, zs: number, zspage: number): number {
  return isListedEmpty(cellsOf(mm.ownerCells), zs, zspage) ? 1 : 0
}

function isListedEmpty(cells: Int32Array, zs: number, zspage: number): boolean {
  const at = zspageCell(cells, zs, zspage)
  return cells[at + ZSPAGE_CLASS] !== 0 && cells[at + ZSPAGE_INUSE] === 0 && cells[at + ZSPAGE_ISOLATED] === 0
}

/**
 * Frees an object. Gives its zspage if that is empty now and can be freed, else 0.
 *
 * @kernel zs_free()
 */
export function freeObjLocked(mm: Mm, zs: number, handle: number): number {
  const cells = cellsOf(mm.ownerCells)
  const zspage = zspageOfPage(mm, cells[handleCell(cells, zs, handle) + HANDLE_PFN])
  const at = zspageCell(cells, zs, zspage)
  objFree(cells, zs, zspage, handle)
  putHandleLocked(cells, zs, handle)
  cells[cells[at + ZSPAGE_CLASS] + CLASS_INUSE]--
  return cells[at + ZSPAGE_INUSE] === 0 && cells[at + ZSPAGE_ISOLATED] === 0 ? zspage : 0
}

/** Keeps the zspage of an object from being written to by a move, and gives it. Pairs with a step of -1. */
export function mapLocked(mm: Mm, zs: number, handle: number): number {
  const cells = cellsOf(mm.ownerCells)
  const zspage = zspageOfPage(mm, cells[handleCell(cells, zs, handle) + HANDLE_PFN])
  cells[zspageCell(cells, zs, zspage) + ZSPAGE_ACCESSORS]++
  return zspage
}

// Isolation of pages.

/** Counts a page of a zspage as isolated; the first one takes the zspage off its list. 0: it has no object, or none yet. */
export function isolateLocked(mm: Mm, zs: number, pfn: number): number {
  const cells = cellsOf(mm.ownerCells)
  const at = zspageCell(cells, zs, zspageOfPage(mm, pfn))
  if (cells[at + ZSPAGE_CLASS] === 0) return 0
  if (cells[at + ZSPAGE_INUSE] === 0 && cells[at + ZSPAGE_ISOLATED] === 0) return 0
  if (cells[at + ZSPAGE_ISOLATED] === 0) listDel(cells, at >> 1)
  cells[at + ZSPAGE_ISOLATED]++
  return 1
}

/** A page is not isolated any more; the last one lists the zspage again. */
export function putbackLocked(mm: Mm, zs: number, pfn: number): number {
  endIsolation(cellsOf(mm.ownerCells), zs, zspageOfPage(mm, pfn))
  return 0
}

function endIsolation(cells: Int32Array, zs: number, zspage: number): void {
  const at = zspageCell(cells, zs, zspage)
  cells[at + ZSPAGE_ISOLATED]--
  if (cells[at + ZSPAGE_ISOLATED] !== 0) return
  enlist(cells, at)
  if (cells[at + ZSPAGE_INUSE] === 0) cells[zs + ZS_DEFERRED] = 1 // the caller has a page of it locked
}

/**
 * `dst` takes the place of `src` in its zspage: contents, handles of the objects that begin there, isolation ended. What
 * only continues there from the page before keeps its handle.
 *
 * @errors -EAGAIN: somebody has an object of the zspage mapped. Nothing changed.
 * @kernel zs_page_migrate(), replace_sub_page()
 */
export function migrateLocked(mm: Mm, zs: number, dst: number, src: number): number {
  const cells = cellsOf(mm.ownerCells)
  const zspage = zspageOfPage(mm, src)
  if (cells[zspageCell(cells, zs, zspage) + ZSPAGE_ACCESSORS] !== 0) return -EAGAIN
  replacePage(mm, cells, zs, dst, src)
  endIsolation(cells, zs, zspage)
  return 0
}

/** The part of migrateLocked() that needs nobody to look. */
function replacePage(mm: Mm, cells: Int32Array, zs: number, dst: number, src: number): void {
  const zspage = zspageOfPage(mm, src)
  copyPage(mm, dst, src)
  const page = pageNumber(cells, zs, zspage, src)
  assert(page >= 0, 'zsmalloc: a page that moves is one of its zspage')
  cells[pageCell(cells, zs, zspage, page)] = dst
  mm.private[pfnOf(dst)] = zspage
  // As many as objects begin on the page.
  for (let handle = cells[firstObjCell(cells, zs, zspage, page)]; handle !== 0; ) {
    const at = handleCell(cells, zs, handle)
    cells[at + HANDLE_PFN] = dst
    handle = cells[at + HANDLE_NEXT]
  }
}

function copyPage(mm: Mm, dst: number, src: number): void {
  if (mm.hasContents) mm.content[pfnOf(dst)] = mm.content[pfnOf(src)]
  if (mm.pageData.length !== 0) {
    mm.pageData.copyWithin(dst * PAGE_CELLS, src * PAGE_CELLS, (src + 1) * PAGE_CELLS)
  }
}

// Object moves.

/**
 * Moves objects of `src` to free slots of `dst`, another zspage of its class, until one is empty or the other full.
 * Gives how many.
 *
 * @errors -EAGAIN: somebody has an object of `src` mapped. Nothing changed.
 * @kernel migrate_zspage()
 */
export function moveObjsLocked(mm: Mm, zs: number, src: number, dst: number): number {
  const cells = cellsOf(mm.ownerCells)
  const srcAt = zspageCell(cells, zs, src)
  const dstAt = zspageCell(cells, zs, dst)
  if (cells[srcAt + ZSPAGE_ACCESSORS] !== 0) return -EAGAIN
  const klass = cells[srcAt + ZSPAGE_CLASS]
  let moved = 0
  for (let page = 0; page < cells[klass + CLASS_PAGES]; page++) {
    // Each round takes one object off the page.
    for (let handle = firstOn(cells, zs, src, page); handle !== 0; handle = firstOn(cells, zs, src, page)) {
      if (cells[dstAt + ZSPAGE_INUSE] === cells[klass + CLASS_OBJS]) return countMoved(cells, zs, moved)
      const from = cells[handleCell(cells, zs, handle) + HANDLE_INDEX]
      objFree(cells, zs, src, handle)
      objPut(cells, zs, dst, handle)
      copyObject(mm, zs, src, from, dst, cells[handleCell(cells, zs, handle) + HANDLE_INDEX])
      moved++
    }
  }
  return countMoved(cells, zs, moved)
}

const firstOn = (cells: Int32Array, zs: number, zspage: number, page: number): number =>
  cells[firstObjCell(cells, zs, zspage, page)]

function countMoved(cells: Int32Array, zs: number, moved: number): number {
  cells[zs + ZS_OBJS_MOVED] = (cells[zs + ZS_OBJS_MOVED] + moved) & 0x7fffffff
  return moved
}

/** A slot's bytes to another zspage; either may span two pages. @kernel zs_object_copy() */
function copyObject(mm: Mm, zs: number, src: number, from: number, dst: number, to: number): void {
  if (mm.pageData.length === 0) return
  const cells = cellsOf(mm.ownerCells)
  const size = cells[cells[zspageCell(cells, zs, src) + ZSPAGE_CLASS] + CLASS_SIZE]
  const { bytes } = mm.pageBytes
  let done = 0
  // At most four pieces: each ends at the end of the object or of a page.
  while (done < size) {
    const srcAt = byteAt(cells, zs, src, from * size + done)
    const dstAt = byteAt(cells, zs, dst, to * size + done)
    const left = PAGE_SIZE - Math.max(srcAt % PAGE_SIZE, dstAt % PAGE_SIZE)
    const piece = Math.min(size - done, left)
    bytes.copyWithin(dstAt, srcAt, srcAt + piece)
    done += piece
  }
}

/** Where byte number `offset` of a zspage is in the bytes of all pages. */
export function byteAt(cells: Int32Array, zs: number, zspage: number, offset: number): number {
  return cells[pageCell(cells, zs, zspage, offset >> 12)] * PAGE_SIZE + (offset & (PAGE_SIZE - 1))
}

/** Number of the first byte of an object in its zspage, after its handle. */
export function objOffset(cells: Int32Array, zs: number, zspage: number, handle: number): number {
  const klass = cells[zspageCell(cells, zs, zspage) + ZSPAGE_CLASS]
  const inFront = cells[klass + CLASS_HUGE] === 1 ? 0 : ZS_HANDLE_SIZE
  return cells[handleCell(cells, zs, handle) + HANDLE_INDEX] * cells[klass + CLASS_SIZE] + inFront
}

// Which zspages object moves pair.

/** The fullest zspage of a class that has objects and room; 0: none. @kernel isolate_dst_zspage() */
export function fullestWithRoom(cells: Int32Array, zs: number, klass: number): number {
  for (let group = ZS_INUSE_RATIO_99; group >= ZS_INUSE_RATIO_10; group--) {
    const head = listNodeOf(fullnessList(klass, group))
    if (!listEmpty(cells, head)) return zspageOfNode(cells, zs, listFirst(cells, head))
  }
  return 0
}

/** The emptiest zspage of a class that has objects and room, other than `dst`; 0: none. @kernel isolate_src_zspage() */
export function emptiestBut(cells: Int32Array, zs: number, klass: number, dst: number): number {
  for (let group = ZS_INUSE_RATIO_10; group <= ZS_INUSE_RATIO_99; group++) {
    const head = listNodeOf(fullnessList(klass, group))
    let node = listFirst(cells, head)
    if (node !== head && zspageOfNode(cells, zs, node) === dst) node = listNext(cells, node)
    if (node !== head) return zspageOfNode(cells, zs, node)
  }
  return 0
}

// Objects in zspages. Lists follow.

function objMalloc(cells: Int32Array, zs: number, zspage: number): number {
  const handle = takeHandleLocked(cells, zs)
  if (handle === 0) return NO_HANDLE
  objPut(cells, zs, zspage, handle)
  cells[cells[zspageCell(cells, zs, zspage) + ZSPAGE_CLASS] + CLASS_INUSE]++
  return handle
}

function objPut(cells: Int32Array, zs: number, zspage: number, handle: number): void {
  const at = zspageCell(cells, zs, zspage)
  assert(
    cells[at + ZSPAGE_INUSE] < cells[cells[at + ZSPAGE_CLASS] + CLASS_OBJS],
    'zsmalloc: the zspage has room',
  )
  const index = takeSlot(cells, at)
  const page = (index * cells[cells[at + ZSPAGE_CLASS] + CLASS_SIZE]) >> 12
  const first = firstObjCell(cells, zs, zspage, page)
  const record = handleCell(cells, zs, handle)
  cells[record + HANDLE_PFN] = cells[pageCell(cells, zs, zspage, page)]
  cells[record + HANDLE_INDEX] = index
  cells[record + HANDLE_NEXT] = cells[first]
  cells[first] = handle
  changeInuse(cells, at, 1)
}

function objFree(cells: Int32Array, zs: number, zspage: number, handle: number): void {
  const at = zspageCell(cells, zs, zspage)
  const record = handleCell(cells, zs, handle)
  const page = (cells[record + HANDLE_INDEX] * cells[cells[at + ZSPAGE_CLASS] + CLASS_SIZE]) >> 12
  putSlot(cells, at, cells[record + HANDLE_INDEX])
  let link = firstObjCell(cells, zs, zspage, page)
  // Ends: the list is that of the page that the object begins on.
  while (cells[link] !== handle) {
    assert(cells[link] !== 0, 'zsmalloc: an object is on the list of its page')
    link = handleCell(cells, zs, cells[link]) + HANDLE_NEXT
  }
  cells[link] = cells[record + HANDLE_NEXT]
  changeInuse(cells, at, -1)
}

/** An object more or less, and the list that fits. @kernel fix_fullness_group() */
function changeInuse(cells: Int32Array, at: number, more: number): void {
  const objs = cells[cells[at + ZSPAGE_CLASS] + CLASS_OBJS]
  const before = fullnessGroup(cells[at + ZSPAGE_INUSE], objs)
  cells[at + ZSPAGE_INUSE] += more
  if (cells[at + ZSPAGE_ISOLATED] !== 0) return
  if (fullnessGroup(cells[at + ZSPAGE_INUSE], objs) === before) return
  listDel(cells, at >> 1)
  enlist(cells, at)
}

function enlist(cells: Int32Array, at: number): void {
  const klass = cells[at + ZSPAGE_CLASS]
  const group = fullnessGroup(cells[at + ZSPAGE_INUSE], cells[klass + CLASS_OBJS])
  listAdd(cells, at >> 1, fullnessList(klass, group))
}
