/**
 * A correct driver whose own lock protects its pages, contents included: it implements MovableOps itself, and the
 * page lock decides nothing (S0-23). `private` of a page says whose it is; under LOCK, as the list.
 */

// biome-ignore format: what it needs, not a line each
import {
  type CheckedDriver, type Cpu, ISOLATED, listAdd, listDel, type Mm, markMovable, ownerCellOf, type Pfn,
  PG_movable_ops, PGTY_offline, pagesOn, pfnOf, putPage, REFUSED_BY_OWNER, SPIN_LOCKED,
} from 'drover/driver'

const LOCK = ownerCellOf(0)
const OURS = 1
const TAKEN = 2 // ours, and isolated

type Section = (mm: Mm, a: number, b: number) => number

function enlistLocked(mm: Mm, pfn: number): number {
  listAdd(mm.links, pfn, mm.ownerList(0))
  mm.private[pfnOf(pfn)] = OURS
  return 1
}

function takeLocked(mm: Mm, pfn: number): number {
  if (mm.private[pfnOf(pfn)] !== OURS) return 0
  listDel(mm.links, pfn)
  mm.private[pfnOf(pfn)] = TAKEN
  return 1
}

function putbackLocked(mm: Mm, pfn: number): number {
  return mm.private[pfnOf(pfn)] === TAKEN ? enlistLocked(mm, pfn) : 0
}

function moveLocked(mm: Mm, dst: number, src: number): number {
  if (mm.private[pfnOf(src)] !== TAKEN) return 0 // let go of meanwhile
  mm.content[pfnOf(dst)] = mm.content[pfnOf(src)]
  mm.private[pfnOf(src)] = 0
  return enlistLocked(mm, dst)
}

function letGoLocked(mm: Mm, pfn: number): number {
  const was = mm.private[pfnOf(pfn)]
  if (was === OURS) listDel(mm.links, pfn)
  mm.private[pfnOf(pfn)] = 0
  return was
}

function readLocked(mm: Mm, pfn: number): number {
  return mm.private[pfnOf(pfn)] === 0 ? -1 : mm.content[pfnOf(pfn)]
}

function writeLocked(mm: Mm, pfn: number, value: number): number {
  if (mm.private[pfnOf(pfn)] === 0) return 0
  mm.content[pfnOf(pfn)] = value
  return 1
}

const locked = (cpu: Cpu, mm: Mm, section: Section, a: number, b = 0): number =>
  cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, section, mm, a, b, 0)

export default {
  name: 'own lock',
  pgty: PGTY_offline,
  cells: 1,
  locks: [LOCK],
  listed: (mm) => pagesOn(mm, mm.ownerList(0)),
  ops: {
    name: 'own lock',
    isolatePage: (cpu, mm, pfn) => (locked(cpu, mm, takeLocked, pfn) === 1 ? ISOLATED : REFUSED_BY_OWNER),
    migratePage(cpu, mm, dst, src) {
      cpu.add(mm.refcount, dst, 1)
      markMovable(cpu, mm, dst, PGTY_offline)
      const moved = locked(cpu, mm, moveLocked, dst, src) === 1
      if (!moved) cpu.testClear(mm.flags, dst, PG_movable_ops)
      cpu.add(mm.refcount, moved ? src : dst, -1)
      return 0
    },
    putbackPage: (cpu, mm, pfn) => void locked(cpu, mm, putbackLocked, pfn),
  },
  insert(cpu, mm, pfn) {
    markMovable(cpu, mm, pfn, PGTY_offline)
    locked(cpu, mm, enlistLocked, pfn)
  },
  free(cpu, mm, pfn) {
    if (locked(cpu, mm, letGoLocked, pfn) === 0) return false
    putPage(cpu, mm, pfn)
    return true
  },
  access: (cpu, mm, pfn: Pfn) => locked(cpu, mm, readLocked, pfn),
  write: (cpu, mm, pfn, value) => locked(cpu, mm, writeLocked, pfn, value) === 1,
} satisfies CheckedDriver
