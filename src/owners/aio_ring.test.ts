/**
 * The AIO ring: what made its pages unmovable, what makes them movable, and that no event is lost in random histories
 * against a queue.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf, vpnOf } from '../base/units.ts'
import { getUserPage, putUserPage } from '../mm/gup.ts'
import { compactNode } from '../mm/index.ts'
import {
  EAGAIN,
  EBUSY,
  EINVAL,
  ENOENT,
  ENOMEM,
  ISOLATE_ASYNC_MIGRATE,
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  MIGRATE_UNMOVABLE,
  MR_COMPACTION,
} from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage, REFUSED_PINNED } from '../mm/movable_ops.ts'
import { accessPage } from '../mm/rmap.ts'
import { verify } from '../mm/verify.ts'
import { type Harness, testHistories } from '../testing/histories.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { drawnAioRing } from './aio_ring.case.ts'
import {
  type AioRing,
  aioComplete,
  aioReadEvent,
  ioDestroy,
  ioSetup,
  ringCounts,
  ringFault,
  ringLock,
  ringPlace,
} from './aio_ring.ts'

const cpu = new FastCpu()
const nid = nidOf(0)
const VPN = vpnOf(4096)

function ringOn(picture: string, migrates = true): { machine: TestMachine; ring: AioRing } {
  const owner = drawnAioRing(migrates)
  const machine = machineOf(picture, { owner })
  return { machine, ring: owner.ring }
}

const pageAt = ({ mm }: TestMachine, ring: AioRing, index: number): Pfn =>
  pfnOf(mm.ownerCells[ringPlace(ring, index)])

const move = (machine: TestMachine): number =>
  migratePages(
    cpu,
    machine.mm,
    machine.mm.taskList(cpu.id, 0),
    machine.target(),
    MIGRATE_SYNC,
    MR_COMPACTION,
    newMigrateStats(),
  )

test('a ring that is pinned stays where it is, in a movable pageblock; one that its file can move leaves', () => {
  for (const migrates of [false, true]) {
    const { machine, ring } = ringOn('.'.repeat(1024), migrates)
    const { mm } = machine
    expect(ioSetup(cpu, mm, ring, 3, VPN, nid)).toBe(0)
    const pfn = pageAt(machine, ring, 0)
    expect(mm.migratetypeOf(pfn)).toBe(migrates ? MIGRATE_UNMOVABLE : MIGRATE_MOVABLE)
    expect(isolateMovablePage(cpu, mm, pfn, ISOLATE_ASYNC_MIGRATE)).toBe(migrates ? ISOLATED : REFUSED_PINNED)
    if (!migrates) continue
    machine.enlist(pfn)
    expect(aioComplete(cpu, mm, ring, 7)).toBe(0)
    expect(move(machine)).toBe(0)
    expect(pageAt(machine, ring, 0)).not.toBe(pfn)
    expect([mm.refcount[pfn], accessPage(cpu, mm, VPN)]).toEqual([0, pageAt(machine, ring, 0)])
    expect([aioReadEvent(cpu, mm, ring), ringFault(mm, ring)]).toEqual([7, undefined])
    verify(mm)
  }
})

describe.each([true, false])('a context whose pages move: %s', (migrates) => {
  test('is set up once, hands events on in order, is full, and leaves nothing behind', () => {
    const { machine, ring } = ringOn('.'.repeat(64), migrates)
    const { mm } = machine
    expect([ioSetup(cpu, mm, ring, 2, VPN, nid), ioSetup(cpu, mm, ring, 2, VPN, nid)]).toEqual([0, -EBUSY])
    expect([5, 6, 7].map((event) => aioComplete(cpu, mm, ring, event))).toEqual([0, 0, -EAGAIN])
    expect(ringCounts(mm, ring)).toEqual({ pages: 2, events: 2 })
    expect([1, 2, 3].map(() => aioReadEvent(cpu, mm, ring))).toEqual([5, 6, -EAGAIN])
    expect(ringFault(mm, ring)).toBe(undefined)
    expect([ioDestroy(cpu, mm, ring), ioDestroy(cpu, mm, ring)]).toEqual([0, -ENOENT])
    expect([aioComplete(cpu, mm, ring, 1), aioReadEvent(cpu, mm, ring)]).toEqual([-EINVAL, -EINVAL])
    expect([machine.freePages, ringFault(mm, ring)]).toEqual([64, undefined])
    verify(mm)
  })

  test('that finds no memory leaves nothing behind', () => {
    const { machine, ring } = ringOn('|. U . U|', migrates)
    expect(ioSetup(cpu, machine.mm, ring, 3, VPN, nid)).toBe(-ENOMEM)
    expect([machine.picture(), ringFault(machine.mm, ring)]).toEqual(['.U.U', undefined])
    verify(machine.mm)
  })
})

test('who reads keeps the page: a move waits for no lock of the context’s, and is tried again', () => {
  const { machine, ring } = ringOn('|o . . .|')
  const { mm } = machine
  machine.isolate(machine.pfn(0))
  cpu.lock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  expect([move(machine), machine.picture()]).toEqual([1, 'i...'])
  cpu.unlock(mm.ownerCells, ringLock(ring), SPIN_LOCKED)
  expect([move(machine), machine.picture(1)]).toEqual([0, '.'])
})

test('an event that is written during the move, before or after the copy, is there', () => {
  for (let n = 0, pending = false; !pending; n++) {
    const { machine, ring } = ringOn('|o . . .|')
    const { mm } = machine
    machine.isolate(machine.pfn(0))
    const mover = machine.recordingCpu()
    mover.beforeStep(n, () => expect(aioComplete(cpu, mm, ring, 9)).toBe(0))
    const list = mm.taskList(cpu.id, 0)
    migratePages(mover, mm, list, machine.target(), MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats())
    ;({ pending } = mover)
    if (!pending) expect(aioReadEvent(cpu, mm, ring)).toBe(9)
  }
})

test('compaction of a machine with a ring in the way', () => {
  const { machine, ring } = ringOn(`|M o M M${'U'.repeat(1020)}${'. U'.repeat(256)}|`)
  compactNode(cpu, machine.mm, nid)
  expect(machine.picture(4)).toBe('....')
  expect(ringFault(machine.mm, ring)).toBe(undefined)
  verify(machine.mm)
})

// Random histories against a queue.

const KINDS = [
  'setup',
  'destroy',
  'complete',
  'read',
  'isolate',
  'migrate',
  'putback',
  'compact',
  'pin',
] as const

interface Op {
  readonly kind: (typeof KINDS)[number]
  readonly n: number
}

class RingHarness implements Harness<Op> {
  readonly mm
  readonly seen = new Set<string>()
  private readonly machine: TestMachine
  private readonly ring: AioRing
  /** Events that were written and not read; undefined: there is no context. */
  private queue: number[] | undefined
  private pages = 0
  private pinned: Pfn | undefined
  private nextEvent = 1
  private ops = 0

  constructor(picture: string) {
    const { machine, ring } = ringOn(picture)
    this.machine = machine
    this.ring = ring
    this.mm = machine.mm
  }

  run(op: Op): void {
    this.seen.add(`${op.kind} ${this.apply(op)}`)
    const { mm, ring } = this
    expect(ringCounts(mm, ring)).toEqual({ pages: this.pages, events: this.queue?.length ?? 0 })
    for (let index = 0; index < this.pages; index++) {
      expect(accessPage(cpu, mm, vpnOf(VPN + index))).toBe(pageAt(this.machine, ring, index))
    }
    if (++this.ops % 16 !== 0) return
    putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
    if (this.pinned === undefined) expect(ringFault(mm, ring)).toBe(undefined)
    verify(mm)
  }

  private apply({ kind, n }: Op): string {
    const { mm, ring, machine, queue } = this
    switch (kind) {
      case 'setup': {
        const rc = ioSetup(cpu, mm, ring, 1 + (n % 4), VPN, nid)
        if (queue !== undefined) expect(rc).toBe(-EBUSY)
        if (rc !== 0) return rc === -ENOMEM ? 'no memory' : 'refused'
        this.queue = []
        this.pages = 1 + (n % 4)
        return 'done'
      }
      case 'destroy':
        if (n % 4 > 0) return 'not now'
        expect(ioDestroy(cpu, mm, ring)).toBe(queue === undefined ? -ENOENT : 0)
        this.queue = undefined
        this.pages = 0
        return queue === undefined ? 'none' : 'done'
      case 'complete': {
        const event = this.nextEvent++
        const expected = queue === undefined ? -EINVAL : queue.length === this.pages ? -EAGAIN : 0
        expect(aioComplete(cpu, mm, ring, event)).toBe(expected)
        if (expected === 0) queue?.push(event)
        return expected === 0 ? 'done' : expected === -EAGAIN ? 'full' : 'none'
      }
      case 'read': {
        const event = queue?.shift()
        expect(aioReadEvent(cpu, mm, ring)).toBe(event ?? (queue === undefined ? -EINVAL : -EAGAIN))
        return event === undefined ? 'nothing' : 'done'
      }
      case 'isolate': {
        const pfn = machine.pfn(n % machine.count)
        const answer = isolateMovablePage(cpu, mm, pfn, 0)
        if (answer === ISOLATED) machine.enlist(pfn)
        return String(answer)
      }
      case 'migrate': {
        const mode = ([MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC] as const)[n % 3]
        const list = mm.taskList(cpu.id, 0)
        const failed = migratePages(cpu, mm, list, machine.target(), mode, MR_COMPACTION, newMigrateStats())
        return failed === 0 ? 'done' : failed > 0 ? 'left' : 'no memory'
      }
      case 'putback':
        putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
        return 'done'
      case 'compact':
        putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
        compactNode(cpu, mm, nid)
        return 'done'
      case 'pin':
        return this.pin()
    }
  }

  /** Somebody takes a reference on the ring's first page, or drops it. */
  private pin(): string {
    const { mm } = this
    if (this.pinned !== undefined) {
      putUserPage(cpu, mm, this.pinned)
      this.pinned = undefined
      return 'dropped'
    }
    if (this.queue === undefined) return 'none'
    this.pinned = pageAt(this.machine, this.ring, 0)
    getUserPage(cpu, mm, this.pinned)
    return 'taken'
  }
}

testHistories({
  machines: fc
    .array(fc.constantFrom('.', '.', '.', 'M', 'U'), { minLength: 4, maxLength: 16 })
    .map((pages) => pages.join('')),
  ops: fc.record({ kind: fc.constantFrom(...KINDS), n: fc.nat(47) }),
  begin: (picture) => new RingHarness(picture),
  operations: [12_000, 1_000_000],
  expectSeen: (kinds) => {
    for (const kind of [
      'setup done',
      'setup no memory',
      'destroy done',
      'complete full',
      'read done',
      'isolate 0',
      'migrate done',
      'migrate left',
      'pin taken',
    ])
      expect(kinds).toContain(kind)
  },
})
