/**
 * An AIO ring while its page moves: is an event lost, or seen twice, or written to a page that is somebody else's?
 *
 * The ring is owners/aio_ring.ts, with one page and so one event. A compactor moves the page; I/O completes and writes
 * an event from where nothing may wait; a reader takes it; the process destroys the context.
 *
 * Verified: an event that was written and not read is in the page that the context names, in every state; one that was
 * read does not come back; the process sees the page that the context names; what was destroyed is free, once. The ring
 * lock nests as a mutex of the context's, above (I) and the completion lock.
 *
 * Not verified here: a context being set up, rings of several pages, interrupts (the completion lock is taken with
 * them off in the kernel), a process that writes to its ring.
 *
 * `actors` are those beside the compactor, the first so many of: completer, reader, destroyer. `pages` is 1.
 *
 * Spec: S3-6, M-8
 */

import { compactPage } from '../actors/compactor.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { mappingIdOf, ownerCellOf, type Pfn, pfnOf, slotOf, vpnOf } from '../base/units.ts'
import type { LockClass, LockRules, Property, System, Task, Where } from '../check/system.ts'
import { filemapGetFolio, filemapRemoveFolio } from '../mm/filemap.ts'
import { EAGAIN, ENOENT, MIGRATE_SYNC } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { folioMigrateMapping } from '../mm/lru_ops.ts'
import type { MigrateFolio } from '../mm/movable_ops.ts'
import { MAPPING_FIRST_FILE, type Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { isPresentPte, ptePfn, zapPte } from '../mm/rmap.ts'
import {
  type AioRing,
  aioComplete,
  aioMigrateFolio,
  aioReadEvent,
  aioRingCells,
  createAioRing,
  ioDestroy,
  ioSetupWith,
  readEventLocked,
  ringCounts,
  ringFault,
  ringLock,
  ringPlace,
} from '../owners/aio_ring.ts'
import type { Model, ModelSize } from './model.ts'
import { isCounter, isFree, lockRulesOf, smallMachine } from './small_machine.ts'
import { lruText } from './value_text.ts'

export const aioRing: Model = {
  name: 'aio-ring',
  question: 'Is an event of an AIO ring lost while the page that holds it moves?',
  source: 'S3-6, M-8',
  seeded: {
    'copy-unlocked': 'the page is copied before the completion lock is taken',
    'place-stays': 'the context is not told where its page is now',
    'read-unlocked': 'a reader takes an event without the ring lock',
    'destroy-without-ring-lock': 'destroy does not wait for who reads, or moves the page',
  },
  size: { actors: 3, pages: 1 },
  sizeMax: { actors: 3, pages: 1 },
  build: ringSystem,
}

const VPN = vpnOf(1)
const EVENT = 7
const setup = new FastCpu()

function ringSystem({ actors }: ModelSize, seeded: string | undefined): System<Mm> {
  const { mm, pages, spares } = smallMachine(1, 1, {
    ptes: 1,
    slots: 1,
    mappings: 1,
    ownerCells: aioRingCells(1),
  })
  const mapping = mappingIdOf(MAPPING_FIRST_FILE)
  const ring = createAioRing(
    mm,
    { cell: 0, list: 0 },
    { mapping, firstSlot: slotOf(1), pagesMax: 1, migrates: true },
  )
  ioSetupWith(setup, mm, ring, pages, VPN)
  mm.content[pages[0]] = 0
  mm.migrateFolio[mapping] = migrateAs(ring, seeded)
  const all = [...pages, ...spares]
  return {
    name: 'aio-ring',
    state: mm,
    tasks: [
      { name: 'compactor', run: (cpu, state) => compactPage(cpu, state, pages[0], spares[0], MIGRATE_SYNC) },
      ...othersOf(ring, seeded).slice(0, actors),
    ],
    invariants: propertiesOf(ring),
    atEnd: [
      {
        name: 'freed-once',
        says: 'a context that was destroyed has left no page in use; one that was not has its page, once',
        holds: (state, where) => isAccounted(state, ring, all, where),
      },
    ],
    locks: withRingLock(ring, lockRulesOf(mm)),
    isPrivate: isCounter,
    valueText: lruText,
  }
}

/** The rules of the machine's locks, and those of the ring lock. */
function withRingLock(ring: AioRing, rules: LockRules): LockRules {
  const ringClass: LockClass = { name: 'ring lock', sleeps: true }
  return {
    ...rules,
    classOf: (column, index, bits) =>
      column === 'ownerCells' && index === ringLock(ring) ? ringClass : rules.classOf(column, index, bits),
    mayNest: (outer, inner) => {
      if (outer === ringClass) return inner.name === 'i_pages lock' || inner.name === "owner's lock"
      return inner !== ringClass && rules.mayNest(outer, inner)
    },
    guardOf: (column, index) =>
      column === 'ownerCells' && index === ringPlace(ring, 0)
        ? { anyOf: [['ownerCells', ring.cell, SPIN_LOCKED]] }
        : rules.guardOf(column, index),
  }
}

function othersOf(ring: AioRing, seeded: string | undefined): Task<Mm>[] {
  const read = seeded === 'read-unlocked' ? readEventLocked : aioReadEvent
  const destroy = seeded === 'destroy-without-ring-lock' ? destroyAtOnce : ioDestroy
  return [
    { name: 'completer', run: (cpu, mm) => aioComplete(cpu, mm, ring, EVENT) },
    { name: 'reader', run: (cpu, mm) => readSaying(cpu, mm, ring, read) },
    { name: 'destroyer', run: (cpu, mm) => destroy(cpu, mm, ring) },
  ]
}

/** Says that it reads, because then the event is half gone. */
function readSaying(
  cpu: Cpu,
  mm: Mm,
  ring: AioRing,
  read: (cpu: Cpu, mm: Mm, ring: AioRing) => number,
): number {
  cpu.at('reading')
  const event = read(cpu, mm, ring)
  cpu.at('read', event)
  return event
}

// What holds.

function propertiesOf(ring: AioRing): Property<Mm>[] {
  return [
    {
      name: 'no-event-lost',
      says: 'an event that was written and not read is in the page that the context names',
      holds: (mm, where) => {
        const pfn = pageOf(mm, ring)
        if (pfn === 0 || where.count('reading') > 0 || ringCounts(mm, ring).events === 0) return true
        return mm.content[pfn] === EVENT
      },
    },
    {
      name: 'read-once',
      says: 'an event that was read is not in the ring any more',
      holds: (mm, where) => {
        const pfn = pageOf(mm, ring)
        return pfn === 0 || !where.results('reader').includes(EVENT) || mm.content[pfn] === 0
      },
    },
    {
      name: 'reads-are-right',
      says: 'who reads gets the event, or is told that there is none',
      holds: (_, where) => where.results('reader').every((value) => value === EVENT || value < 0),
    },
    {
      name: 'process-sees-ring',
      says: 'a pte of the ring maps the page that the context names',
      holds: (mm) => !isPresentPte(mm.pte[VPN]) || ptePfn(mm.pte[VPN]) === pageOf(mm, ring),
    },
  ]
}

const pageOf = (mm: Mm, ring: AioRing): Pfn => pfnOf(mm.ownerCells[ringPlace(ring, 0)])

function isAccounted(mm: Mm, ring: AioRing, all: readonly Pfn[], where: Where): boolean {
  const pfn = pageOf(mm, ring)
  if (where.results('destroyer').includes(0) && pfn !== 0) return false
  return ringFault(mm, ring) === undefined && all.every((page) => page === pfn || isFree(mm, page))
}

// The mistakes.

function migrateAs(ring: AioRing, seeded: string | undefined): MigrateFolio {
  if (seeded === 'copy-unlocked')
    return (cpu, mm, mapping, dst, src) => moveWrongly(cpu, mm, ring, mapping, dst, src, true)
  if (seeded === 'place-stays')
    return (cpu, mm, mapping, dst, src) => moveWrongly(cpu, mm, ring, mapping, dst, src, false)
  return aioMigrateFolio(ring)
}

/** As aioMigrateFolio(), copying without the completion lock. */
function moveWrongly(
  cpu: Cpu,
  mm: Mm,
  ring: AioRing,
  mapping: Parameters<MigrateFolio>[2],
  dst: Pfn,
  src: Pfn,
  tells: boolean,
): number {
  if (!cpu.tryLock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)) return -EAGAIN
  const rc = folioMigrateMapping(cpu, mm, mapping, dst, src, 1)
  if (rc === 0) {
    cpu.add(mm.refcount, dst, 1)
    cpu.store(mm.content, dst, cpu.load(mm.content, src))
    if (tells)
      cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, setPlaceLocked, mm, dst, ringPlace(ring, 0), 0)
    cpu.add(mm.refcount, src, -1)
  }
  cpu.unlock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  return rc
}

function setPlaceLocked(mm: Mm, pfn: number, place: number): number {
  mm.ownerCells[ownerCellOf(place)] = pfn
  return 0
}

/** Lets go of the context under the completion lock only. */
function destroyAtOnce(cpu: Cpu, mm: Mm, ring: AioRing): number {
  const place = ringPlace(ring, 0)
  const killed = cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, killLocked, mm, ring.cell, place, 0)
  if (killed === 0) return -ENOENT
  zapPte(cpu, mm, VPN)
  const was = cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, takePlaceLocked, mm, place, 0, 0)
  cpu.at('dropping', was)
  putPage(cpu, mm, pfnOf(was))
  cpu.at('truncating')
  cpu.atomically(mm.ownerCells, ring.cell, SPIN_LOCKED, forgetLocked, mm, ring.cell, place, 0)
  const cached = filemapGetFolio(cpu, mm, ring.firstSlot)
  if (cached < 0) return 0
  filemapRemoveFolio(cpu, mm, pfnOf(cached))
  cpu.at('truncated', cached)
  putPage(cpu, mm, pfnOf(cached))
  return 0
}

/** Nobody finds the context from here on. 0: it was none before. */
function killLocked(mm: Mm, cell: number, place: number): number {
  mm.ownerCells[ownerCellOf(cell + 2)] = 0
  return mm.ownerCells[ownerCellOf(place)]
}

function takePlaceLocked(mm: Mm, place: number): number {
  const was = mm.ownerCells[ownerCellOf(place)]
  mm.ownerCells[ownerCellOf(place)] = 0
  return was
}

function forgetLocked(mm: Mm, cell: number, place: number): number {
  for (let at = cell + 2; at < place; at++) mm.ownerCells[ownerCellOf(at)] = 0
  return 0
}
