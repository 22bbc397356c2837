/**
 * A graphics driver's buffer: does everybody who uses it, cpu, user space and device, find its page while it moves?
 *
 * The driver is owners/graphics.ts: a page table and a lock of its own, nothing under the page lock but what is mapped.
 * A compactor moves the page of a buffer. The cpu writes to it by the table; the device begins a job, writes by the
 * address that it was given, and ends it; somebody maps the buffer and writes through the pte; somebody isolates the page,
 * keeps it on a list and puts it back; and the buffer is destroyed.
 *
 * Verified: one isolator at most has the page, and keeps it on his list; what is written is not lost by a move; while
 * a job is under way the device's address is the buffer's page; a pte maps a page that holds the buffer's contents; the
 * driver's table, its counts, the marks and the references agree in every state; what was destroyed is free, once.
 *
 * Not verified here: buffers of several pages, allocation (a buffer of one page is there at the start), pins of user
 * pages, several writers of the same kind. What a write replaced is not remembered, so a lost write is seen where no
 * other hides it; every order is tried, so there is one.
 *
 * `actors` are those beside the compactor, the first so many of: writer, device, mapper, remover, isolator. `pages` is 1.
 * A mistake is shown with those that it needs (`NEEDS`).
 *
 * Spec: S0-15 to S0-18, S0-20, S0-23
 */

import { compactPage } from '../actors/compactor.ts'
import { type UserMachine, writeMapped } from '../actors/users.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { listAddTail, listDel } from '../base/list.ts'
import { mappingIdOf, ownerCellOf, type Pfn, pfnOf, vpnOf } from '../base/units.ts'
import type { Property, System, Task, Where } from '../check/system.ts'
import { EBUSY, MIGRATE_SYNC } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import {
  ISOLATED,
  type Isolation,
  isolateMovablePage,
  type MovableOps,
  putbackMovablePage,
  REFUSED_ISOLATED,
} from '../mm/movable_ops.ts'
import { MAPPING_FIRST_FILE, type Mm, movableMapping } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { isPresentPte, mapPage, ptePfn, zapPte } from '../mm/rmap.ts'
import {
  AWAY,
  bufferAdopt,
  bufferDestroy,
  bufferMap,
  bufferWrite,
  createGraphics,
  DYING,
  entryCell,
  entryOf,
  entryPfn,
  entryState,
  type Graphics,
  graphicsCells,
  graphicsFault,
  graphicsOps,
  HERE,
  jobBegin,
  jobEnd,
  jobPage,
  MOVING,
} from '../owners/graphics.ts'
import type { Model, ModelSize } from './model.ts'
import { isCounter, isFree, isOnList, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

export const graphics: Model = {
  name: 'graphics',
  question: 'Do cpu, user space and device find the page of a graphics buffer while it moves?',
  source: 'S0-15 to S0-18, S0-20, S0-23',
  seeded: {
    'isolate-looks-unlocked': "isolate looks at the entry before it has the driver's lock, and not again",
    'isolate-without-mark': 'isolate leaves the entry as it is',
    'write-while-moving': 'the cpu writes to a page that is on its way',
    'job-while-moving': 'a job of the device begins while the page is on its way',
    'move-during-job': 'migrate does not ask whether a job is under way',
    'map-without-page-lock': 'the buffer is mapped without the lock of its page',
    'table-before-ptes': 'destroy empties the table before it takes the buffer out of user space',
    'destroy-unlinks': 'destroy takes the page off its list, which is the isolator’s',
  },
  size: { actors: 4, pages: 1 },
  sizeMax: { actors: 5, pages: 1 },
  build: bufferSystem,
}

const INITIAL = 100
const VPN = vpnOf(1)
const MAPPING = mappingIdOf(MAPPING_FIRST_FILE)
const SIZE = { buffers: 1, pagesMax: 1 }
const LOCK = ownerCellOf(0)
/** The last task list: migration and compaction use others. */
const LIST = 23

const setup = new FastCpu()

function bufferSystem({ actors }: ModelSize, seeded: string | undefined): System<UserMachine> {
  const { mm, pages, spares } = smallMachine(1, 1, { ptes: 2, mappings: 1, ownerCells: graphicsCells(1, 1) })
  const device = createGraphics(mm, { cell: LOCK, list: 0 }, { ...SIZE, mapping: MAPPING, movable: true })
  bufferAdopt(setup, mm, device, pages)
  mm.movableOps[mm.movableOps.length - 1] = opsAs(device, seeded)
  const all = [...pages, ...spares]
  const [src] = pages
  const others = othersOf(device, src, seeded)
  const needed =
    seeded === undefined
      ? others.slice(0, actors)
      : others.filter(({ name }) => NEEDS[seeded]?.includes(name))
  return {
    name: 'graphics',
    state: { mm, last: new Int32Array(mm.pte.length), origin: [vpnOf(0), VPN, vpnOf(2)] },
    tasks: [
      { name: 'compactor', run: (cpu, state) => compactPage(cpu, state.mm, src, spares[0], MIGRATE_SYNC) },
      ...needed,
    ],
    invariants: propertiesOf(device, all),
    atEnd: [
      {
        name: 'freed-once',
        says: 'a buffer that was destroyed has left no page in use; one that was not has its page, once',
        holds: ({ mm: state }, where) => isAccounted(state, device, all, where),
      },
    ],
    locks: lockRulesOf(mm, (column, index) =>
      column === 'ownerCells' && index > LOCK ? { anyOf: [['ownerCells', LOCK, SPIN_LOCKED]] } : undefined,
    ),
    isPrivate: isCounter,
    valueText: driverText,
  }
}

/** The tasks that show a mistake, besides the compactor. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  'isolate-looks-unlocked': ['isolator'],
  'isolate-without-mark': ['isolator'],
  'write-while-moving': ['writer'],
  'job-while-moving': ['device'],
  'move-during-job': ['device'],
  'map-without-page-lock': ['mapper'],
  'table-before-ptes': ['mapper', 'remover'],
  'destroy-unlinks': ['isolator', 'remover'],
}

function othersOf(device: Graphics, src: Pfn, seeded: string | undefined): Task<UserMachine>[] {
  const begin = seeded === 'job-while-moving' ? beginAnyway : jobBegin
  const write = seeded === 'write-while-moving' ? writeAnyway : bufferWrite
  const map = seeded === 'map-without-page-lock' ? mapUnlocked : bufferMap
  return [
    { name: 'writer', run: (cpu, { mm }) => (write(cpu, mm, device, 0, 0, 200) === 200 ? WRITTEN : NOTHING) },
    {
      name: 'device',
      run: (cpu, { mm }) => {
        if (begin(cpu, mm, device, 0) !== 0) return NOTHING
        const pfn = jobPage(cpu, mm, device, 0, 0)
        cpu.at('using', pfn)
        cpu.atomically(mm.content, pfn, 0, writeLocked, mm, pfn, 201, 0)
        cpu.at('done')
        jobEnd(cpu, mm, device, 0)
        return WRITTEN
      },
    },
    {
      name: 'mapper',
      run: (cpu, state) => {
        if (map(cpu, state.mm, device, 0, VPN) !== 0) return NOTHING
        cpu.at('writing')
        return writeMapped(cpu, state, VPN, 202) === 0 ? WRITTEN : NOTHING
      },
    },
    { name: 'remover', run: (cpu, { mm }) => destroyAs(cpu, mm, device, seeded) },
    { name: 'isolator', run: (cpu, { mm }) => isolateListPutback(cpu, mm, src) },
  ]
}

// What a user's task gives.
const NOTHING = 0
const WRITTEN = 1
const WRITERS = ['writer', 'device', 'mapper']

function writeLocked(mm: Mm, pfn: number, value: number): number {
  mm.content[pfnOf(pfn)] = value
  return 0
}

/** As a scanner does: the page is on a list of the task while it is isolated. */
function isolateListPutback(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  if (isolateMovablePage(cpu, mm, pfn, 0) !== ISOLATED) return
  cpu.at('isolated', pfn)
  cpu.atomically(mm.content, pfn, 0, enlistLocked, mm, pfn, mm.taskList(cpu.id, LIST), 0)
  cpu.at('listed', pfn)
  cpu.atomically(mm.content, pfn, 0, delistLocked, mm, pfn, 0, 0)
  cpu.at('putting back', pfn)
  putbackMovablePage(cpu, mm, pfn)
}

function enlistLocked(mm: Mm, pfn: number, list: number): number {
  listAddTail(mm.links, pfn, list)
  return 0
}

function delistLocked(mm: Mm, pfn: number): number {
  listDel(mm.links, pfn)
  return 0
}

// What holds.

function propertiesOf(device: Graphics, all: readonly Pfn[]): Property<UserMachine>[] {
  return [
    {
      name: 'one-winner',
      says: 'among several isolators of a page exactly one wins',
      holds: (_, where) =>
        all.every(
          (pfn) =>
            where.count('isolated', pfn) + where.count('listed', pfn) + where.count('moving', pfn) <= 1,
        ),
    },
    {
      name: 'isolators-list',
      says: 'a page that an isolator has put on his list is on it',
      holds: ({ mm }, where) =>
        all.every(
          (pfn) => where.count('listed', pfn) === 0 || isOnList(mm, pfn, mm.taskList(setup.id, LIST)),
        ),
    },
    {
      name: 'no-write-lost',
      says: 'once somebody has written to the buffer, its page does not hold what it held before',
      holds: ({ mm }, where) => {
        const pfn = entryPfn(mm.ownerCells[entryCell(device, 0, 0)])
        const written = WRITERS.some((name) => where.results(name).includes(WRITTEN))
        return pfn === 0 || !written || mm.content[pfn] !== INITIAL
      },
    },
    {
      name: 'device-has-page',
      says: 'while the device uses the buffer, the address that it was given is that of its page',
      holds: ({ mm }, where) =>
        all.every(
          (pfn) =>
            where.count('using', pfn) === 0 || entryPfn(mm.ownerCells[entryCell(device, 0, 0)]) === pfn,
        ),
    },
    {
      name: 'user-sees-buffer',
      says: 'a pte of the buffer maps a page that is the driver’s and holds its contents',
      holds: ({ mm }) => {
        const pte = mm.pte[VPN]
        if (!isPresentPte(pte)) return true
        return mm.content[ptePfn(pte)] !== 0 && mm.mapping[ptePfn(pte)] === movableMapping(MAPPING)
      },
    },
    {
      name: 'owned-set-conserved',
      says: 'the driver’s table, its counts, the marks on its pages and their references agree',
      holds: ({ mm }) => graphicsFault(mm, device) === undefined,
    },
  ]
}

function isAccounted(mm: Mm, device: Graphics, all: readonly Pfn[], where: Where): boolean {
  const pfn = entryPfn(mm.ownerCells[entryCell(device, 0, 0)])
  const ptes = isPresentPte(mm.pte[VPN]) ? 1 : 0
  if (where.results('remover').includes(0) && (pfn !== 0 || ptes > 0)) return false
  return all.every((page) => (page === pfn ? mm.refcount[page] === 1 + ptes : isFree(mm, page)))
}

// The mistakes.

function opsAs(device: Graphics, seeded: string | undefined): MovableOps {
  const ops = graphicsOps(device)
  switch (seeded) {
    case 'isolate-looks-unlocked':
      return { ...ops, isolatePage: isolateLookingEarly }
    case 'isolate-without-mark':
      return { ...ops, isolatePage: (cpu, mm, pfn) => (isHere(cpu, mm, pfn) ? ISOLATED : REFUSED_ISOLATED) }
    case 'move-during-job':
      return { ...ops, migratePage: (cpu, mm, dst, src) => moveAnyway(cpu, mm, device, dst, src) }
    default:
      return ops
  }
}

const isHere = (cpu: Cpu, mm: Mm, pfn: Pfn): boolean =>
  cpu.load(mm.ownerCells, ownerCellOf(cpu.load(mm.private, pfn))) === entryOf(pfn, HERE)

function isolateLookingEarly(cpu: Cpu, mm: Mm, pfn: Pfn): Isolation {
  if (!isHere(cpu, mm, pfn)) return REFUSED_ISOLATED
  cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, takeLocked, mm, pfn, cpu.load(mm.private, pfn), 0)
  return ISOLATED
}

/** Isolated pages are counted in the third cell of the device. */
const ISOLATED_PAGES = ownerCellOf(2)

function takeLocked(mm: Mm, pfn: number, entry: number): number {
  mm.ownerCells[ownerCellOf(entry)] = entryOf(pfn, AWAY)
  mm.ownerCells[ISOLATED_PAGES] = 1
  return 0
}

/** As in owners/graphics.ts, in one section, and without a look at the jobs. */
function moveAnyway(cpu: Cpu, mm: Mm, device: Graphics, dst: Pfn, src: Pfn): number {
  const entry = entryCell(device, 0, 0)
  if (cpu.load(mm.ownerCells, entry) !== entryOf(src, AWAY)) return 0
  cpu.store(mm.content, dst, cpu.load(mm.content, src))
  cpu.store(mm.mapping, dst, movableMapping(MAPPING))
  cpu.store(mm.private, dst, entry)
  cpu.add(mm.refcount, dst, 1)
  cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, arriveLocked, mm, dst, entry, 0)
  cpu.add(mm.refcount, src, -1)
  return 0
}

function arriveLocked(mm: Mm, dst: number, entry: number): number {
  mm.ownerCells[ownerCellOf(entry)] = entryOf(dst, HERE)
  mm.ownerCells[ISOLATED_PAGES] = 0
  return 0
}

/** bufferWrite() that does not care how the page is. */
function writeAnyway(
  cpu: Cpu,
  mm: Mm,
  device: Graphics,
  buffer: number,
  index: number,
  value: number,
): number {
  const entry = entryCell(device, buffer, index)
  return cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, writeAnywayLocked, mm, entry, value, 0)
}

function writeAnywayLocked(mm: Mm, entry: number, value: number): number {
  mm.content[entryPfn(mm.ownerCells[ownerCellOf(entry)])] = value
  return value
}

/** jobBegin() that does not care whether the page moves. */
function beginAnyway(cpu: Cpu, mm: Mm, device: Graphics, buffer: number): number {
  const jobs = ownerCellOf(entryCell(device, buffer, 0) - 3)
  return cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, countJobLocked, mm, jobs, 0, 0)
}

function countJobLocked(mm: Mm, jobs: number): number {
  mm.ownerCells[ownerCellOf(jobs)]++
  return 0
}

/** bufferMap() that relies on a reference. */
function mapUnlocked(cpu: Cpu, mm: Mm, device: Graphics): number {
  const entry = entryCell(device, 0, 0)
  const pfn = entryPfn(cpu.load(mm.ownerCells, entry))
  if (!cpu.addUnlessZero(mm.refcount, pfn)) return -1
  const same = entryPfn(cpu.load(mm.ownerCells, entry)) === pfn
  if (same) mapPage(cpu, mm, VPN, pfn)
  cpu.at('mapped', pfn, same ? 1 : 0)
  putPage(cpu, mm, pfn)
  return same ? 0 : -1
}

function destroyAs(cpu: Cpu, mm: Mm, device: Graphics, seeded: string | undefined): number {
  if (seeded === 'table-before-ptes') return destroyTableFirst(cpu, mm, device)
  if (seeded === 'destroy-unlinks') {
    const pfn = jobPage(cpu, mm, device, 0, 0)
    cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, unlinkLocked, mm, pfn, 0, 0)
  }
  return bufferDestroy(cpu, mm, device, 0)
}

/** Unlinks what is linked. */
function unlinkLocked(mm: Mm, pfn: number): number {
  if (mm.links[2 * pfn] !== 0) listDel(mm.links, pfn)
  return 0
}

function destroyTableFirst(cpu: Cpu, mm: Mm, device: Graphics): number {
  const entry = entryCell(device, 0, 0)
  const was = cpu.atomically(mm.ownerCells, LOCK, SPIN_LOCKED, killAndEmptyLocked, mm, entry, 0, 0)
  if (was === 0) return -EBUSY
  putPage(cpu, mm, entryPfn(was))
  cpu.at('zapping')
  zapPte(cpu, mm, VPN)
  return 0
}

/** 0: somebody is mapping the buffer, or it moves. */
function killAndEmptyLocked(mm: Mm, entry: number): number {
  const was = mm.ownerCells[ownerCellOf(entry)]
  const [state, user] = [ownerCellOf(entry - 4), ownerCellOf(entry - 1)]
  if (mm.ownerCells[user] < 0 || entryState(was) === MOVING) return 0
  mm.ownerCells[state] = DYING
  mm.ownerCells[ownerCellOf(entry)] = 0
  mm.ownerCells[ownerCellOf(1)] = 0
  mm.ownerCells[ISOLATED_PAGES] = 0
  return was
}
