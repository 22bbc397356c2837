/**
 * Large free blocks out of memory that zsmalloc sits in: the three ways that the review of 2015 saw, to be compared.
 *
 *   1  whole pages     compaction moves pages of zspages as it moves any other; no page gets free, and each move needs a
 *                      free page. What Linux does
 *   2  objects         objects of the zspages that have a page in a pageblock go to other zspages, which must be nominated:
 *                      those that lie wholly beyond. Needs no free page; finds only so much room
 *   3  objects, pages  zs_compact first, which frees pages wherever, then whole pages
 *
 * @paper spec 1.0.e: "1 is the starting point, 3 probably most effective, 2 best if search cost is bounded"
 */

import type { Cpu } from '../base/cpu.ts'
import { listFirst, listNext } from '../base/list.ts'
import { cellsOf, listNodeOf, type Nid, type Pfn, pfnOf } from '../base/units.ts'
import { compactNode } from '../mm/compaction.ts'
import { PGTY_zsmalloc, pageblockEnd } from '../mm/limits.ts'
import { type Mm, pageType, zonesOfNode } from '../mm/page.ts'
import { newObjectMoves, type ObjectMoves, zsCompact, zsEvacuate } from './zs_compact.ts'
import {
  CLASS_PAGES,
  fullnessList,
  pageCell,
  ZS_INUSE_RATIO_10,
  ZS_INUSE_RATIO_99,
  ZSPAGE_CLASS,
  type ZsPool,
  zspageCell,
  zspageOfNode,
} from './zs_pool.ts'
import { PAGE_SIZE } from './zs_size_classes.ts'

export const DEFRAG_WAYS = ['whole pages', 'objects', 'objects, then whole pages'] as const
export type DefragWay = (typeof DEFRAG_WAYS)[number]

/** What a way has done. */
export interface Defrag {
  readonly objects: ObjectMoves
  /** Pages that were moved whole, of any owner. */
  readonly pagesMoved: number
  readonly bytesCopied: number
}

/** Zspages that a nomination looks at: what bounds its cost. */
const NOMINEES_MAX = 64

/** Makes large free blocks on a node, in one of the three ways. */
export function defragment(cpu: Cpu, mm: Mm, pool: ZsPool, nid: Nid, way: DefragWay): Defrag {
  const objects = newObjectMoves()
  if (way === 'objects') emptyPageblocks(cpu, mm, pool, nid, objects)
  if (way === 'objects, then whole pages') zsCompact(cpu, mm, pool, objects)
  const pagesMoved = way === 'objects' ? 0 : movePages(cpu, mm, nid)
  return { objects, pagesMoved, bytesCopied: objects.bytesCopied + pagesMoved * PAGE_SIZE }
}

function movePages(cpu: Cpu, mm: Mm, nid: Nid): number {
  return compactNode(cpu, mm, nid).reduce((sum, { cc }) => sum + cc.stats.pagesSucceeded, 0)
}

/** From the first pageblock on: zspages with a page there give their objects to zspages that lie beyond it. */
function emptyPageblocks(cpu: Cpu, mm: Mm, pool: ZsPool, nid: Nid, total: ObjectMoves): void {
  for (const zone of zonesOfNode(mm, nid)) {
    const end = mm.zoneEnd[zone]
    for (let pfn = mm.zoneStart[zone]; pfn < end; pfn++) {
      const page = pfnOf(pfn)
      // A guess, as every scanner's: zsEvacuate() looks again under the lock.
      if (pageType(cpu.load(mm.mapcount, page)) !== PGTY_zsmalloc) continue
      const zspage = cpu.load(mm.private, page)
      if (zspage !== 0) zsEvacuate(cpu, mm, pool, zspage, beyondPageblock, page, total)
    }
  }
}

/**
 * The fullest zspage with room whose pages all lie beyond the pageblock of `pfn`; 0: none of those that it looks at.
 *
 * @locks needs (O)
 */
function beyondPageblock(mm: Mm, zs: number, zspage: number, pfn: Pfn): number {
  const cells = cellsOf(mm.ownerCells)
  const klass = cells[zspageCell(cells, zs, zspage) + ZSPAGE_CLASS]
  const beyond = pageblockEnd(pfn)
  let looks = 0
  for (let group = ZS_INUSE_RATIO_99; group >= ZS_INUSE_RATIO_10; group--) {
    const head = listNodeOf(fullnessList(klass, group))
    for (let node = listFirst(cells, head); node !== head; node = listNext(cells, node)) {
      const found = zspageOfNode(cells, zs, node)
      if (found !== zspage && liesBeyond(cells, zs, found, cells[klass + CLASS_PAGES], beyond)) return found
      if (++looks === NOMINEES_MAX) return 0
    }
  }
  return 0
}

function liesBeyond(cells: Int32Array, zs: number, zspage: number, pages: number, beyond: number): boolean {
  for (let page = 0; page < pages; page++) if (cells[pageCell(cells, zs, zspage, page)] < beyond) return false
  return true
}
