/**
 * What holds of a zsmalloc pool whenever no section under its lock is under way, as sentences. Each looks at the whole
 * pool, the slow way, and gives undefined or what is wrong.
 *
 * Rules: as mm/verify.ts.
 *
 * @ours
 */

import { fail } from '../base/assert.ts'
import { listFirst, listNext } from '../base/list.ts'
import { cellsOf, listNodeOf, pfnOf } from '../base/units.ts'
import { PG_movable_ops, PG_private, PGTY_zsmalloc } from '../mm/limits.ts'
import { type Mm, pageType } from '../mm/page.ts'
import {
  CLASS_ALLOCATED,
  CLASS_INUSE,
  CLASS_OBJS,
  CLASS_PAGES,
  CLASS_SIZE,
  classCell,
  firstObjCell,
  fullnessGroup,
  fullnessList,
  HANDLE_INDEX,
  HANDLE_NEXT,
  HANDLE_PFN,
  handleCell,
  handlesUsed,
  hasObject,
  NR_FULLNESS_GROUPS,
  pageCell,
  ZS_LOCK,
  ZS_PAGES,
  ZSPAGE_ACCESSORS,
  ZSPAGE_CLASS,
  ZSPAGE_INUSE,
  ZSPAGE_ISOLATED,
  type ZsPool,
  zspageCell,
  zspageOfNode,
  zspagesUsed,
} from './zs_pool.ts'

type ZsInvariant = (mm: Mm, pool: ZsPool) => string | undefined

/** Records of zspages that are in use: those with a class. */
function zspagesOf(mm: Mm, { zs }: ZsPool): number[] {
  const cells = cellsOf(mm.ownerCells)
  const found: number[] = []
  for (let zspage = 1; zspage <= zspagesUsed(cells, zs); zspage++) {
    if (cells[zspageCell(cells, zs, zspage) + ZSPAGE_CLASS] !== 0) found.push(zspage)
  }
  return found
}

/** A zspage that is not isolated is on the list that says how full it is, an isolated one on none. */
export function everyZspageIsOnTheListOfItsFullness(mm: Mm, pool: ZsPool): string | undefined {
  const cells = cellsOf(mm.ownerCells)
  const { zs } = pool
  const listed = new Set<number>()
  for (let index = 0; index < pool.classes.classes.length; index++) {
    const klass = classCell(pool, index)
    for (let group = 0; group < NR_FULLNESS_GROUPS; group++) {
      const head = listNodeOf(fullnessList(klass, group))
      for (let node = listFirst(cells, head); node !== head; node = listNext(cells, node)) {
        const zspage = zspageOfNode(cells, zs, node)
        const at = zspageCell(cells, zs, zspage)
        if (listed.has(zspage)) return `zspage ${zspage} is on two lists, or a list goes in a circle`
        listed.add(zspage)
        if (cells[at + ZSPAGE_CLASS] !== klass) return `zspage ${zspage} is on a list of another class`
        if (cells[at + ZSPAGE_ISOLATED] !== 0) return `zspage ${zspage} is isolated and listed`
        const fits = fullnessGroup(cells[at + ZSPAGE_INUSE], cells[klass + CLASS_OBJS])
        if (fits !== group) return `zspage ${zspage} is on list ${group} and belongs on ${fits}`
      }
    }
  }
  const lost = zspagesOf(mm, pool).find(
    (zspage) => cells[zspageCell(cells, zs, zspage) + ZSPAGE_ISOLATED] === 0 && !listed.has(zspage),
  )
  return lost === undefined ? undefined : `zspage ${lost} is on no list`
}

/** A page of a zspage names it, has its type, and its mark if it can move; no other page has the type. */
export function everyPageNamesItsZspage(mm: Mm, pool: ZsPool): string | undefined {
  const cells = cellsOf(mm.ownerCells)
  const { zs } = pool
  let pages = 0
  for (const zspage of zspagesOf(mm, pool)) {
    const count = cells[cells[zspageCell(cells, zs, zspage) + ZSPAGE_CLASS] + CLASS_PAGES]
    for (let page = 0; page < count; page++) {
      const pfn = pfnOf(cells[pageCell(cells, zs, zspage, page)])
      const flags = mm.flags[pfn]
      pages++
      if (mm.private[pfn] !== zspage) return `pfn ${pfn} does not name its zspage ${zspage}`
      if (pageType(mm.mapcount[pfn]) !== PGTY_zsmalloc)
        return `pfn ${pfn} of zspage ${zspage} has another type`
      if (((flags & PG_movable_ops) !== 0) !== pool.movable) return `pfn ${pfn} has the wrong mark`
      if (((flags & PG_private) !== 0) !== (page === 0))
        return `pfn ${pfn} is first, or is not, by PG_private`
      if (mm.refcount[pfn] === 0) return `pfn ${pfn} of zspage ${zspage} has no reference`
    }
  }
  const counted = cells[zs + ZS_PAGES]
  if (counted !== pages) return `the pool counts ${counted} pages and has ${pages}`
  const typed = cellsOf(mm.mapcount).reduce(
    (sum, value) => sum + (pageType(value) === PGTY_zsmalloc ? 1 : 0),
    0,
  )
  return typed === pages ? undefined : `${typed} pages have the type and ${pages} are of zspages`
}

/** A handle names the page on which its object begins, and that page's list has it; slots and counts agree. */
export function everyHandleNamesThePageOfItsObject(mm: Mm, pool: ZsPool): string | undefined {
  const cells = cellsOf(mm.ownerCells)
  const { zs } = pool
  let handles = 0
  for (const zspage of zspagesOf(mm, pool)) {
    const at = zspageCell(cells, zs, zspage)
    const klass = cells[at + ZSPAGE_CLASS]
    let objects = 0
    for (let page = 0; page < cells[klass + CLASS_PAGES]; page++) {
      for (let handle = cells[firstObjCell(cells, zs, zspage, page)]; handle !== 0; ) {
        const record = handleCell(cells, zs, handle)
        const index = cells[record + HANDLE_INDEX]
        objects++
        if (objects > cells[klass + CLASS_OBJS]) return `zspage ${zspage} has more objects than room`
        if (cells[record + HANDLE_PFN] !== cells[pageCell(cells, zs, zspage, page)])
          return `handle ${handle} names a page that its object does not begin on`
        if ((index * cells[klass + CLASS_SIZE]) >> 12 !== page)
          return `handle ${handle} is on another page's list`
        if (!hasObject(cells, at, index)) return `slot ${index} of zspage ${zspage} counts as free`
        handle = cells[record + HANDLE_NEXT]
      }
    }
    if (objects !== cells[at + ZSPAGE_INUSE])
      return `zspage ${zspage} counts ${cells[at + ZSPAGE_INUSE]} objects, not ${objects}`
    handles += objects
  }
  let used = 0
  for (let handle = 1; handle <= handlesUsed(cells, zs); handle++) {
    if (cells[handleCell(cells, zs, handle) + HANDLE_PFN] !== 0) used++
  }
  return used === handles ? undefined : `${used} handles are used and ${handles} objects are there`
}

/** A class counts its objects and its room. */
export function classesCountTheirObjects(mm: Mm, pool: ZsPool): string | undefined {
  const cells = cellsOf(mm.ownerCells)
  const inuse = new Map<number, number>()
  const allocated = new Map<number, number>()
  for (const zspage of zspagesOf(mm, pool)) {
    const at = zspageCell(cells, pool.zs, zspage)
    const klass = cells[at + ZSPAGE_CLASS]
    inuse.set(klass, (inuse.get(klass) ?? 0) + cells[at + ZSPAGE_INUSE])
    allocated.set(klass, (allocated.get(klass) ?? 0) + cells[klass + CLASS_OBJS])
  }
  for (let index = 0; index < pool.classes.classes.length; index++) {
    const klass = classCell(pool, index)
    if (cells[klass + CLASS_INUSE] !== (inuse.get(klass) ?? 0))
      return `class ${index} counts its objects wrongly`
    if (cells[klass + CLASS_ALLOCATED] !== (allocated.get(klass) ?? 0))
      return `class ${index} counts its room wrongly`
  }
  return undefined
}

/** At rest: the lock is free, nobody has an object mapped, no page is isolated. */
export function nobodyIsInside(mm: Mm, pool: ZsPool): string | undefined {
  const cells = cellsOf(mm.ownerCells)
  if (cells[pool.zs + ZS_LOCK] !== 0) return 'the pool is locked'
  for (const zspage of zspagesOf(mm, pool)) {
    const at = zspageCell(cells, pool.zs, zspage)
    if (cells[at + ZSPAGE_ACCESSORS] !== 0) return `zspage ${zspage} has an object mapped`
    if (cells[at + ZSPAGE_ISOLATED] !== 0)
      return `zspage ${zspage} counts ${cells[at + ZSPAGE_ISOLATED]} isolated pages`
  }
  return undefined
}

/** What holds whenever no section under the lock is under way. */
export const ZS_INVARIANTS: readonly ZsInvariant[] = [
  everyZspageIsOnTheListOfItsFullness,
  everyPageNamesItsZspage,
  everyHandleNamesThePageOfItsObject,
  classesCountTheirObjects,
]

/** Throws AssertionError with the sentence that does not hold; `atRest`: also nobodyIsInside. */
export function verifyZsPool(mm: Mm, pool: ZsPool, atRest: boolean): void {
  for (const invariant of atRest ? [...ZS_INVARIANTS, nobodyIsInside] : ZS_INVARIANTS) {
    const found = invariant(mm, pool)
    if (found !== undefined) fail(`${invariant.name}: ${found}`)
  }
}
