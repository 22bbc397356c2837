/**
 * A correct driver with movable pages: one list under one lock. PG_movable_ops and contents are under the page
 * lock; an isolated page is not on the list. Each of the broken drivers beside it is this one with one mistake.
 */

// biome-ignore format: what it needs, not a line each
import {
  type CheckedDriver, type Cpu, EAGAIN, listAdd, listDel, lockMovablePage, type Mm, markMovable, ownerCellOf,
  type Pfn, PG_locked, PG_movable_ops, PG_movable_ops_isolated, PGTY_offline, pagesOn, SPIN_LOCKED,
  unlockMovablePage,
} from 'drover/driver'

export const LOCK = ownerCellOf(0)

export function enlistLocked(mm: Mm, pfn: number): number {
  listAdd(mm.links, pfn, mm.ownerList(0))
  return 0
}

export function delistLocked(mm: Mm, pfn: number): number {
  listDel(mm.links, pfn)
  return 0
}

export function adopt(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  markMovable(cpu, mm, pfn, PGTY_offline)
  cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, enlistLocked, mm, pfn, 0, 0)
}

export default {
  name: 'list',
  pgty: PGTY_offline,
  cells: 1,
  locks: [LOCK],
  listed: (mm) => pagesOn(mm, mm.ownerList(0)),
  ops: {
    isolate(cpu, mm, pfn) {
      cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, delistLocked, mm, pfn, 0, 0)
      return true
    },
    migrate(cpu, mm, dst, src) {
      if (cpu.load(mm.refcount, src) !== 2) return -EAGAIN // not ours and the isolator's alone
      cpu.store(mm.content, dst, cpu.load(mm.content, src))
      cpu.add(mm.refcount, dst, 1)
      adopt(cpu, mm, dst)
      cpu.add(mm.refcount, src, -1)
      return 0
    },
    putback(cpu, mm, pfn) {
      cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, enlistLocked, mm, pfn, 0, 0)
    },
  },
  insert(cpu, mm, pfn) {
    cpu.lock(mm.flags, pfn, PG_locked)
    adopt(cpu, mm, pfn)
    cpu.unlock(mm.flags, pfn, PG_locked)
  },
  free(cpu, mm, pfn) {
    if (!lockMovablePage(cpu, mm, pfn, PGTY_offline)) return false
    const isolated = (cpu.load(mm.flags, pfn) & PG_movable_ops_isolated) !== 0
    if (!isolated) cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, delistLocked, mm, pfn, 0, 0)
    cpu.testClear(mm.flags, pfn, PG_movable_ops)
    cpu.add(mm.refcount, pfn, -1)
    unlockMovablePage(cpu, mm, pfn)
    return true
  },
  access(cpu, mm, pfn) {
    if (!lockMovablePage(cpu, mm, pfn, PGTY_offline)) return -1
    const value = cpu.load(mm.content, pfn)
    unlockMovablePage(cpu, mm, pfn)
    return value
  },
  write(cpu, mm, pfn, value) {
    if (!lockMovablePage(cpu, mm, pfn, PGTY_offline)) return false
    cpu.store(mm.content, pfn, value)
    unlockMovablePage(cpu, mm, pfn)
    return true
  },
} satisfies CheckedDriver
