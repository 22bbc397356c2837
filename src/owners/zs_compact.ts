/**
 * Object moves: fewer zspages for the same objects. Frees pages wherever they are; whether large free blocks come of it
 * is another question, and migration's answer to it is better.
 *
 * Of each class, the emptiest zspage gives objects to the fullest that has room, until there is less room left than a
 * zspage has. Objects that somebody has mapped stay.
 *
 * With a target nominated by the caller, the same moves empty a chosen zspage (`zsEvacuate`): the second of the three ways
 * that the review of 2015 saw (spec 1.0.e).
 *
 * @kernel mm/zsmalloc.c zs_compact(), zs_can_compact() v6.18; zsEvacuate() is ours
 */

import type { Cpu } from '../base/cpu.ts'
import { cellsOf, ownerCellOf, type Pfn } from '../base/units.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import type { Mm } from '../mm/page.ts'
import {
  CLASS_ALLOCATED,
  CLASS_INUSE,
  CLASS_OBJS,
  CLASS_SIZE,
  classCell,
  poolCell,
  ZS_PAGES_COMPACTED,
  ZSPAGE_CLASS,
  ZSPAGE_INUSE,
  ZSPAGE_ISOLATED,
  type ZsPool,
  zspageCell,
} from './zs_pool.ts'
import { freeZspage } from './zsmalloc.ts'
import { emptiestBut, fullestWithRoom, moveObjsLocked } from './zspage.ts'

/** What object moves did. */
export interface ObjectMoves {
  pagesFreed: number
  objectsMoved: number
  bytesCopied: number
}

export const newObjectMoves = (): ObjectMoves => ({ pagesFreed: 0, objectsMoved: 0, bytesCopied: 0 })

/**
 * Packs the objects of all classes into as few zspages as there need be, and adds what happened to `total`.
 *
 * @locks  takes and drops (O), for one pair of zspages at a time; trylocks (L) of pages that get free
 * @kernel zs_compact()
 */
export function zsCompact(cpu: Cpu, mm: Mm, pool: ZsPool, total: ObjectMoves): void {
  let pagesFreed = 0
  for (let index = pool.classes.classes.length - 1; index >= 0; index--) {
    pagesFreed += compactClass(cpu, mm, pool, index, total)
  }
  total.pagesFreed += pagesFreed
  cpu.add(mm.ownerCells, poolCell(pool, ZS_PAGES_COMPACTED), pagesFreed)
}

function compactClass(cpu: Cpu, mm: Mm, pool: ZsPool, index: number, total: ObjectMoves): number {
  const { zs, lock } = pool
  const klass = classCell(pool, index)
  let pagesFreed = 0
  // Ends: each round fills a zspage or empties one, so there are fewer that are neither.
  for (;;) {
    cpu.at('zs-compact', index)
    cpu.lock(mm.ownerCells, lock, SPIN_LOCKED)
    const src = cpu.atomically(mm.ownerCells, lock, 0, sourceLocked, mm, zs, klass, 0)
    const dst =
      src === 0 ? 0 : cpu.atomically(mm.ownerCells, lock, 0, fullestWithRoomLocked, mm, zs, klass, 0)
    const moved = src === 0 ? 0 : cpu.atomically(mm.ownerCells, lock, 0, moveObjsLocked, mm, zs, src, dst)
    cpu.unlock(mm.ownerCells, lock, SPIN_LOCKED)
    if (moved <= 0) return pagesFreed
    countMoves(mm, klass, moved, total)
    pagesFreed += freeZspage(cpu, mm, pool, src) // none if it is not empty
  }
}

/** The zspage of a class to take objects from; 0: nothing would be gained. */
function sourceLocked(mm: Mm, zs: number, klass: number): number {
  const cells = cellsOf(mm.ownerCells)
  if (cells[klass + CLASS_ALLOCATED] - cells[klass + CLASS_INUSE] < cells[klass + CLASS_OBJS]) return 0
  return emptiestBut(cells, zs, klass, fullestWithRoom(cells, zs, klass))
}

const fullestWithRoomLocked = (mm: Mm, zs: number, klass: number): number =>
  fullestWithRoom(cellsOf(mm.ownerCells), zs, klass)

function countMoves(mm: Mm, klass: number, moved: number, total: ObjectMoves): void {
  total.objectsMoved += moved
  total.bytesCopied += moved * cellsOf(mm.ownerCells)[klass + CLASS_SIZE] // a class never changes its size
}

/** Names a zspage of the same class that takes objects of this one; 0: none. Called under (O): it looks and changes nothing. */
export type Nominate = (mm: Mm, zs: number, zspage: number, forPage: Pfn) => number

/**
 * Moves all objects of a zspage to those that `nominate` names, so that `forPage` gets free. Gives the pages that it freed; 0: some stay where they
 * are, because there is no target, the zspage is isolated, or somebody has one mapped.
 *
 * @locks  as zsCompact()
 * @paper  the review's second way (spec 1.0.e): "maybe another callback to nominate a target"
 */
export function zsEvacuate(
  cpu: Cpu,
  mm: Mm,
  pool: ZsPool,
  zspage: number,
  nominate: Nominate,
  forPage: Pfn,
  total: ObjectMoves,
): number {
  const { zs, lock } = pool
  // Ends: each round but the last moves an object away.
  for (;;) {
    cpu.at('zs-evacuate', zspage)
    cpu.lock(mm.ownerCells, lock, SPIN_LOCKED)
    const left = cpu.atomically(mm.ownerCells, lock, 0, movableObjsLocked, mm, zs, zspage, 0)
    const klass = cpu.load(
      mm.ownerCells,
      ownerCellOf(zspageCell(cellsOf(mm.ownerCells), zs, zspage) + ZSPAGE_CLASS),
    )
    const dst = left > 0 ? nominate(mm, zs, zspage, forPage) : 0
    const moved = dst === 0 ? 0 : cpu.atomically(mm.ownerCells, lock, 0, moveObjsLocked, mm, zs, zspage, dst)
    cpu.unlock(mm.ownerCells, lock, SPIN_LOCKED)
    if (moved <= 0) break
    countMoves(mm, klass, moved, total)
  }
  const freed = freeZspage(cpu, mm, pool, zspage)
  total.pagesFreed += freed
  return freed
}

/** Objects of a zspage that is listed; 0 of any other. */
function movableObjsLocked(mm: Mm, zs: number, zspage: number): number {
  const cells = cellsOf(mm.ownerCells)
  const at = zspageCell(cells, zs, zspage)
  return cells[at + ZSPAGE_CLASS] === 0 || cells[at + ZSPAGE_ISOLATED] !== 0 ? 0 : cells[at + ZSPAGE_INUSE]
}
