/**
 * The graphics driver: what its switch changes, what it does while cpu, user space and device want a page, and its
 * conservation law in random histories against a naive model.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf, vpnOf } from '../base/units.ts'
import { getUserPage, putUserPage } from '../mm/gup.ts'
import { compactNode } from '../mm/index.ts'
import {
  EBUSY,
  ENOENT,
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  MIGRATE_UNMOVABLE,
  MR_COMPACTION,
  PG_locked,
} from '../mm/limits.ts'
import {
  migrateFolioMove,
  migrateFolioUnmap,
  migratePages,
  newMigrateStats,
  putbackMovablePages,
  UNMAPPED,
} from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage, REFUSED_BY_OWNER, REFUSED_UNMOVABLE } from '../mm/movable_ops.ts'
import { accessPage, isMigrationPte } from '../mm/rmap.ts'
import { verify } from '../mm/verify.ts'
import { type Harness, testHistories } from '../testing/histories.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { drawnGraphics } from './graphics.case.ts'
import {
  bufferCreate,
  bufferDestroy,
  bufferMap,
  bufferRead,
  bufferUnmap,
  bufferWrite,
  type Graphics,
  graphicsFault,
  graphicsPages,
  jobBegin,
  jobEnd,
  jobPage,
  NO_PAGE,
} from './graphics.ts'

const cpu = new FastCpu()
const nid = nidOf(0)

function deviceOn(
  picture: string,
  movable = true,
  mapped = false,
): { machine: TestMachine; device: Graphics } {
  const owner = drawnGraphics(mapped, movable)
  const machine = machineOf(picture, { owner })
  return { machine, device: owner.device }
}

/** Pages of a machine whose free pages are one piece. */
const FREE = '.'.repeat(64)

describe('buffers', () => {
  test('are allocated in pieces, each page counted and moving by itself', () => {
    const { machine, device } = deviceOn(FREE)
    const { mm } = machine
    const buffer = bufferCreate(cpu, mm, device, 3, 2, nid)
    const pages = [0, 1, 2].map((index) => jobPage(cpu, mm, device, buffer, index))
    expect([pages[1], pages.map((pfn) => mm.refcount[pfn])]).toEqual([pages[0] + 1, [1, 1, 1]]) // 2 and 1
    expect(graphicsPages(mm, device)).toEqual({ pages: 3, isolated: 0 })
    expect(isolateMovablePage(cpu, mm, pages[1], 0)).toBe(ISOLATED)
    expect(graphicsPages(mm, device)).toEqual({ pages: 3, isolated: 1 })
    machine.enlist(pages[1])
    putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
    expect(bufferDestroy(cpu, mm, device, buffer)).toBe(0)
    expect([machine.freePages, bufferDestroy(cpu, mm, device, buffer)]).toEqual([64, -ENOENT])
    verify(mm)
  })

  test('that do not fit leave nothing behind', () => {
    const { machine, device } = deviceOn('|. . U . U U|')
    const { mm } = machine
    const before = mm.arena.hash()
    expect(bufferCreate(cpu, mm, device, 4, 2, nid)).toBe(-ENOMEM)
    expect([machine.picture(), graphicsFault(mm, device)]).toEqual(['..U.UU', undefined])
    expect(bufferCreate(cpu, mm, device, 3, 2, nid)).toBe(0)
    expect(mm.arena.hash()).not.toBe(before)
    expect(machine.picture()).toBe('ooUoUU')
  })

  test('as many as there is room for', () => {
    const { machine, device } = deviceOn(FREE)
    const made = Array.from({ length: 9 }, () => bufferCreate(cpu, machine.mm, device, 1, 0, nid))
    expect(made).toEqual([0, 1, 2, 3, 4, 5, 6, 7, -ENOMEM])
  })
})

test('the switch: movable operations and __GFP_MOVABLE, or neither', () => {
  for (const movable of [true, false]) {
    const { machine, device } = deviceOn('.'.repeat(1024), movable)
    const { mm } = machine
    const buffer = bufferCreate(cpu, mm, device, 4, 0, nid)
    const pfn = jobPage(cpu, mm, device, buffer, 0)
    expect(mm.migratetypeOf(pfn)).toBe(movable ? MIGRATE_MOVABLE : MIGRATE_UNMOVABLE)
    expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(movable ? ISOLATED : REFUSED_UNMOVABLE)
  }
})

test('compaction moves the pages of buffers that user space maps, and what they hold', () => {
  const { machine, device } = deviceOn(`|o U o o${'U'.repeat(1020)}${'. U'.repeat(256)}|`, true, true)
  const { mm } = machine
  const vpns = [0, 2, 3].map((place) => vpnOf(machine.pfn(place)))
  compactNode(cpu, mm, nid)
  expect(machine.picture(4)).toBe('.U..')
  expect([0, 1, 2].map((buffer) => bufferRead(cpu, mm, device, buffer, 0))).toEqual([1000, 1002, 1003])
  expect(vpns.map((vpn) => mm.content[pfnOf(accessPage(cpu, mm, vpn))])).toEqual([1000, 1002, 1003])
  expect(graphicsFault(mm, device)).toBe(undefined)
  verify(mm)
})

describe('the device', () => {
  test('in a job refuses to let a page go, and a move that has begun is tried again until the job is done', () => {
    const { machine, device } = deviceOn('|o . . .|')
    const { mm } = machine
    const pfn = machine.pfn(0)
    const list = machine.isolate(pfn)
    expect(jobBegin(cpu, mm, device, 0)).toBe(0)
    const move = (): number =>
      migratePages(cpu, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, newMigrateStats())
    expect([move(), machine.picture()]).toEqual([1, 'i...'])
    mm.content[jobPage(cpu, mm, device, 0, 0)] = 7 // by the address that it was given
    expect(bufferDestroy(cpu, mm, device, 0)).toBe(-EBUSY)
    jobEnd(cpu, mm, device, 0)
    expect(move()).toBe(0)
    expect(bufferRead(cpu, mm, device, 0, 0)).toBe(7)
    expect(jobBegin(cpu, mm, device, 0)).toBe(0)
    expect(isolateMovablePage(cpu, mm, machine.find('o'), 0)).toBe(REFUSED_BY_OWNER)
  })

  test('does not begin a job while a page is on its way: it sleeps, once, and finds it where it is then', () => {
    const { machine, device } = deviceOn('|o . . .|')
    const { mm } = machine
    const src = machine.pfn(0)
    machine.isolate(src)
    const dst = pfnOf(machine.target().getNewFolio(cpu, mm, src, 0))
    expect(migrateFolioUnmap(cpu, mm, src, dst, MIGRATE_ASYNC, 0)).toBe(UNMAPPED)
    const mover = machine.recordingCpu()
    let waited = 0
    mover.before(
      (op, column) => op === 'store' && column === 'content',
      () => {
        // The move is half done: from here on it goes on only where the device waits.
        const device2 = machine.recordingCpu(() => {
          waited++
          throw new Error('asleep')
        })
        expect(() => jobBegin(device2, mm, device, 0)).toThrow('asleep')
        expect(device2.texts('waitClear')).toEqual([`waitClear flags[${src}] 0x${PG_locked.toString(16)}`])
      },
    )
    machine.unlist(src)
    expect(migrateFolioMove(mover, mm, src, dst, MIGRATE_ASYNC)).toBe(0)
    expect([waited, jobBegin(cpu, mm, device, 0), jobPage(cpu, mm, device, 0, 0)]).toEqual([1, 0, dst])
  })

  test('has no job of a buffer that is not there, and ends none that has not begun', () => {
    const { machine, device } = deviceOn('|o|')
    expect(jobBegin(cpu, machine.mm, device, 3)).toBe(-ENOENT)
    expect(() => jobEnd(cpu, machine.mm, device, 0)).toThrow('a job that ends has begun')
  })
})

test('user space is mapped once, comes back from migration entries, and goes before the pages do', () => {
  const { machine, device } = deviceOn('|o . . .|')
  const { mm } = machine
  const vpn = vpnOf(9)
  expect(bufferMap(cpu, mm, device, 0, vpn)).toBe(0)
  expect(bufferMap(cpu, mm, device, 0, vpnOf(20))).toBe(-EBUSY)
  machine.isolate(machine.pfn(0))
  const dst = pfnOf(machine.target().getNewFolio(cpu, mm, machine.pfn(0), 0))
  migrateFolioUnmap(cpu, mm, machine.pfn(0), dst, MIGRATE_ASYNC, 0)
  expect(isMigrationPte(mm.pte[vpn])).toBe(true)
  expect(bufferDestroy(cpu, mm, device, 0)).toBe(0) // isolated, not moving yet
  expect([mm.pte[vpn], graphicsPages(mm, device)]).toEqual([0, { pages: 0, isolated: 0 }])
  machine.unlist(machine.pfn(0))
  expect(migrateFolioMove(cpu, mm, machine.pfn(0), dst, MIGRATE_ASYNC)).toBe(0)
  expect([mm.pte[vpn], machine.picture()]).toEqual([0, '....'])
  expect([bufferRead(cpu, mm, device, 0, 0), bufferUnmap(cpu, mm, device, 0)]).toEqual([NO_PAGE, -ENOENT])
})

test('a page that user space has pinned stays until it is not', () => {
  const { machine, device } = deviceOn('|o . . .|', true, true)
  const { mm } = machine
  const pfn = machine.pfn(0)
  getUserPage(cpu, mm, pfn)
  const list = machine.isolate(pfn)
  const move = (): number =>
    migratePages(cpu, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, newMigrateStats())
  expect(move()).toBe(1)
  expect(bufferWrite(cpu, mm, device, 0, 0, 5)).toBe(5)
  putUserPage(cpu, mm, pfn)
  expect([move(), bufferRead(cpu, mm, device, 0, 0)]).toEqual([0, 5])
})

// Random histories against a naive model.

const BUFFERS = 8
const PAGES_MAX = 4
const KINDS = [
  'create',
  'destroy',
  'write',
  'map',
  'unmap',
  'begin',
  'end',
  'dma',
  'pin',
  'unpin',
  'isolate',
  'migrate',
  'putback',
  'compact',
  'interrupt',
] as const

interface Op {
  readonly kind: (typeof KINDS)[number]
  readonly buffer: number
  readonly index: number
  readonly step: number
}

/** What a buffer is to its users. */
interface Buffer {
  readonly values: number[]
  jobs: number
  vpn: number
}

class GraphicsHarness implements Harness<Op> {
  readonly mm
  readonly seen = new Set<string>()
  private readonly machine: TestMachine
  private readonly device: Graphics
  private readonly model = new Map<number, Buffer>()
  private readonly pins: Pfn[] = []
  private nextValue = 2000
  private ops = 0

  constructor(picture: string) {
    const { machine, device } = deviceOn(picture)
    this.machine = machine
    this.device = device
    this.mm = machine.mm
    for (let place = 0; place < machine.count; place++) {
      if (machine.picture()[place] === 'o')
        this.model.set(this.model.size, { values: [1000 + place], jobs: 0, vpn: 0 })
    }
  }

  run(op: Op): void {
    const outcome = this.apply(op, cpu)
    if (outcome !== undefined) this.seen.add(`${op.kind} ${outcome}`)
    this.compare()
    if (++this.ops % 32 === 0) {
      putbackMovablePages(cpu, this.mm, this.list)
      verify(this.mm)
    }
  }

  private get list(): ReturnType<TestMachine['mm']['taskList']> {
    return this.mm.taskList(cpu.id, 0)
  }

  private apply(op: Op, by: FastCpu | ReturnType<TestMachine['recordingCpu']>): string | undefined {
    const { mm, device, machine } = this
    const { buffer, index } = op
    const known = this.model.get(buffer)
    const vpn = vpnOf(4096 + buffer * PAGES_MAX)
    switch (op.kind) {
      case 'create': {
        const made = bufferCreate(cpu, mm, device, index + 1, op.step % 3, nid)
        if (made === -ENOMEM) return 'no memory'
        expect(this.model.has(made)).toBe(false)
        const values = Array.from({ length: index + 1 }, () => this.nextValue++)
        values.forEach((value, i) => expect(bufferWrite(cpu, mm, device, made, i, value)).toBe(value))
        this.model.set(made, { values, jobs: 0, vpn: 0 })
        return 'done'
      }
      case 'destroy': {
        const expected = known === undefined ? -ENOENT : known.jobs > 0 ? -EBUSY : 0
        expect(bufferDestroy(by, mm, device, buffer)).toBe(expected)
        if (expected === 0) this.model.delete(buffer)
        return expected === 0 ? 'done' : expected === -EBUSY ? 'busy' : 'none'
      }
      case 'write': {
        const value = this.nextValue++
        const there = known !== undefined && index < known.values.length
        expect(bufferWrite(by, mm, device, buffer, index, value)).toBe(there ? value : NO_PAGE)
        if (there) known.values[index] = value
        return there ? 'done' : 'none'
      }
      case 'map': {
        const expected = known === undefined ? -ENOENT : known.vpn > 0 ? -EBUSY : 0
        expect(bufferMap(by, mm, device, buffer, vpn)).toBe(expected)
        if (known !== undefined && expected === 0) known.vpn = vpn
        return expected === 0 ? 'done' : 'refused'
      }
      case 'unmap': {
        const expected = known !== undefined && known.vpn > 0 ? 0 : -ENOENT
        expect(bufferUnmap(by, mm, device, buffer)).toBe(expected)
        if (known !== undefined) known.vpn = 0
        return expected === 0 ? 'done' : 'none'
      }
      case 'begin': {
        expect(jobBegin(by, mm, device, buffer)).toBe(known === undefined ? -ENOENT : 0)
        if (known !== undefined) known.jobs++
        return known === undefined ? 'none' : 'done'
      }
      case 'end': {
        if (known === undefined || known.jobs === 0) return undefined
        jobEnd(by, mm, device, buffer)
        known.jobs--
        return 'done'
      }
      case 'dma': {
        if (known === undefined || known.jobs === 0 || index >= known.values.length) return undefined
        const value = this.nextValue++
        mm.content[jobPage(by, mm, device, buffer, index)] = value
        known.values[index] = value
        return 'done'
      }
      case 'pin': {
        if (known === undefined || known.vpn === 0 || this.pins.length > 3) return undefined
        const pfn = accessPage(cpu, mm, vpnOf(known.vpn))
        getUserPage(cpu, mm, pfnOf(pfn))
        this.pins.push(pfnOf(pfn))
        return 'done'
      }
      case 'unpin': {
        const pfn = this.pins.pop()
        if (pfn === undefined) return undefined
        putUserPage(cpu, mm, pfn)
        return 'done'
      }
      case 'isolate': {
        const pfn = machine.pfn(op.step % machine.count)
        const answer = isolateMovablePage(by, mm, pfn, 0)
        if (answer === ISOLATED) machine.enlist(pfn)
        return String(answer)
      }
      case 'migrate': {
        const mode = ([MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC] as const)[index % 3]
        const failed = migratePages(
          by,
          mm,
          this.list,
          machine.target(),
          mode,
          MR_COMPACTION,
          newMigrateStats(),
        )
        return failed === 0 ? 'done' : failed > 0 ? 'left' : 'no memory'
      }
      case 'putback':
        putbackMovablePages(by, mm, this.list)
        return 'done'
      case 'compact':
        putbackMovablePages(cpu, mm, this.list)
        compactNode(cpu, mm, nid)
        return 'done'
      case 'interrupt':
        return this.interrupted(op)
    }
  }

  /** A migration during which, before one of its steps, a user does something, unless he would have to wait. */
  private interrupted(op: Op): string | undefined {
    const { mm, machine } = this
    const mover = machine.recordingCpu()
    const kind = (['destroy', 'write', 'begin', 'unmap'] as const)[op.step % 4]
    let outcome: string | undefined
    mover.beforeStep(op.step, () => {
      const locked = machine.places(machine.count).some((pfn) => (mm.flags[pfn] & PG_locked) !== 0)
      if (locked || mm.rmapLock[nid] !== 0) return
      outcome = this.apply({ ...op, kind }, cpu)
    })
    for (let i = 0; i < 3; i++) this.apply({ ...op, kind: 'isolate', step: op.step + i }, mover)
    this.apply({ ...op, kind: 'migrate' }, mover)
    return outcome === undefined ? undefined : `${kind} ${outcome}`
  }

  /** What every user sees is what the model says, and the driver's books are in order. */
  private compare(): void {
    const { mm, device } = this
    let pages = 0
    for (const [buffer, { values, vpn }] of this.model) {
      pages += values.length
      values.forEach((value, index) => {
        expect(bufferRead(cpu, mm, device, buffer, index)).toBe(value)
        if (vpn > 0) expect(mm.content[pfnOf(accessPage(cpu, mm, vpnOf(vpn + index)))]).toBe(value)
      })
    }
    expect([graphicsPages(mm, device).pages, graphicsFault(mm, device)]).toEqual([pages, undefined])
  }
}

testHistories({
  machines: fc.constantFrom(
    '|o o . . . . U o . . . . . . o .|',
    '|o U . o U . o U . o U . . . . .|',
    '|o . o|',
  ),
  ops: fc.record({
    kind: fc.constantFrom(...KINDS),
    buffer: fc.nat(BUFFERS - 1),
    index: fc.nat(PAGES_MAX - 1),
    step: fc.nat(90),
  }),
  begin: (picture) => new GraphicsHarness(picture),
  operations: [12_000, 1_000_000],
  expectSeen: (kinds) => {
    for (const kind of [
      'create no memory',
      'destroy busy',
      'destroy done',
      'map refused',
      'dma done',
      'unpin done',
      'migrate left',
      'migrate done',
      'isolate 0',
      'isolate 9',
      'isolate 10',
      'interrupt destroy done',
      'interrupt begin done',
    ])
      expect(kinds).toContain(kind)
  },
})
