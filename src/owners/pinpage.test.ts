/** Pin page control, row by row: who may pin what, how a pinned page moves, and what is never left behind. */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { isListed } from '../base/list.ts'
import { cellsOf, nidOf, type Pfn } from '../base/units.ts'
import { pinUserPage } from '../mm/gup.ts'
import { compactNode } from '../mm/index.ts'
import {
  EAGAIN,
  EBUSY,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  type MigrateMode,
  MR_COMPACTION,
  PG_locked,
  PG_movable_ops,
} from '../mm/limits.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from '../mm/migrate.ts'
import {
  ISOLATED,
  isolateMovablePage,
  putbackMovablePage,
  REFUSED_ISOLATED,
  REFUSED_UNMOVABLE,
} from '../mm/movable_ops.ts'
import { putPage } from '../mm/page_alloc.ts'
import { verify } from '../mm/verify.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import {
  GENERAL,
  OTHER,
  type PinMachine,
  type PinMachineOptions,
  pinMachineOf,
  pinnedPages,
  RING,
} from '../testing/pin_machine.ts'
import { pinRanges } from './pin_info.ts'
import { ringRead, ringSlotCell, ringStops, ringWrite, setRingBusy } from './pin_ring.ts'
import {
  clearPinpage,
  lockPinpage,
  type Pin,
  pinsOf,
  registerPinSystem,
  setPinpage,
  unlockPinpage,
  unregisterPinSystem,
} from './pinpage.ts'

const cpu = new FastCpu()

const pin = ({ mm, pp }: PinMachine, pfn: Pfn, what: Pin): number => setPinpage(cpu, mm, pp, pfn, what)

/** A machine whose first pages, as many as `pins`, are pinned by these. */
function pinned(picture: string, pins: readonly Pin[], options: PinMachineOptions = {}): PinMachine {
  const on = pinMachineOf(picture, options)
  pins.forEach((what, place) => {
    expect(pin(on, on.machine.pfn(place), what)).toBe(0)
  })
  return on
}

/** Moves pages that can be isolated; gives how many folios did not move. What did not is put back. */
function migrate({ machine, mm }: PinMachine, pages: readonly Pfn[], mode: MigrateMode): number {
  const list = machine.isolate(...pages)
  const rc = migratePages(cpu, mm, list, machine.target(), mode, MR_COMPACTION, newMigrateStats())
  putbackMovablePages(cpu, mm, list)
  verify(mm)
  return rc
}

const contentsOf = (on: PinMachine): number[] =>
  pinnedPages(on)
    .map((pfn) => on.mm.content[pfn])
    .sort((a, b) => a - b)

const RING_OF_3: readonly Pin[] = [0, 1, 2].map((data) => ({ system: RING, group: 1, data }))

/** Places of the ring's pages. */
const ringPlaces = ({ machine, mm, ring }: PinMachine): number[] =>
  [0, 1, 2].map((slot) => mm.ownerCells[ringSlotCell(ring, slot)] - machine.pfn(0))

test('S3-1 a kernel page that its subsystem has pinned moves, and the subsystem knows where to', () => {
  const on = pinned('|U U . .|', [{ system: GENERAL, data: 7 }])
  const { machine, mm, log } = on
  const src = machine.pfn(0)
  expect(isolateMovablePage(cpu, mm, machine.pfn(1), 0)).toBe(REFUSED_UNMOVABLE) // the same without a subsystem
  expect(migrate(on, [src], MIGRATE_SYNC)).toBe(0)
  const [dst] = pinnedPages(on)
  expect(machine.picture()).toBe('.Uz.')
  expect(dst).toBe(machine.pfn(2))
  expect(mm.content[dst]).toBe(1000)
  expect(log).toEqual([`general: stop ${src} 1`, `general: move ${src} ${dst} 7`, `general: go ${dst}`])
})

test('S3-2 one kernel page keeps a block of 2 MiB, unless its subsystem can be asked', () => {
  const blocks = `U${'.'.repeat(511)}${'U'.repeat(512)}${'U'.repeat(256)}${'.'.repeat(256)}`
  const hugeFree = (on: PinMachine): boolean => {
    compactNode(cpu, on.mm, nidOf(0))
    verify(on.mm)
    return on.machine.picture(512) === '.'.repeat(512)
  }
  expect(hugeFree(pinMachineOf(blocks))).toBe(false)
  expect(hugeFree(pinned(blocks, [{ system: GENERAL }]))).toBe(true)
})

test('S3-3 to the scanner and the migrate loop a pinned page is any driver’s page: they take the same steps', () => {
  /** Steps that isolation, migration and putback make outside of the provider. */
  const stepsOutside = (machine: TestMachine): string[] => {
    const { mm } = machine
    mm.movableOps.forEach((ops, i) => {
      if (ops === undefined) return
      mm.movableOps[i] = {
        name: ops.name,
        isolatePage: (_, ...rest) => ops.isolatePage(cpu, ...rest),
        migratePage: (_, ...rest) => ops.migratePage(cpu, ...rest),
        putbackPage: (_, ...rest) => ops.putbackPage(cpu, ...rest),
      }
    })
    const steps = machine.recordingCpu()
    expect(isolateMovablePage(steps, mm, machine.pfn(0), 0)).toBe(ISOLATED)
    putbackMovablePage(steps, mm, machine.pfn(0))
    expect(isolateMovablePage(steps, mm, machine.pfn(0), 0)).toBe(ISOLATED)
    machine.enlist(machine.pfn(0))
    const list = mm.taskList(cpu.id, 0)
    expect(
      migratePages(steps, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, newMigrateStats()),
    ).toBe(0)
    return steps.texts()
  }
  const ofPin = stepsOutside(pinned('|U . . .|', [{ system: GENERAL }]).machine)
  expect(ofPin).toEqual(stepsOutside(machineOf('|z . . .|')))
  expect(ofPin.length).toBeGreaterThan(10)
})

test('S3-4 a subsystem has its own structure for its pins, or the general one: both move', () => {
  const own = pinned('|U U U . . . . .|', RING_OF_3)
  expect(migrate(own, [own.machine.pfn(1)], MIGRATE_SYNC)).toBe(0)
  expect(ringPlaces(own).every((place) => place >= 3)).toBe(true)
  expect([0, 1, 2].map((slot) => ringRead(cpu, own.mm, own.ring, slot))).toEqual([1000, 1001, 1002])

  const general = pinned(
    '|U U U . . . . .|',
    [0, 1, 2].map((data) => ({ system: GENERAL, data })),
  )
  const ranges = (): string[] =>
    pinRanges(general.mm, general.infoCells[0], 0, general.mm.pfnCount).map(
      ({ start, end, data }) => `${start - general.machine.pfn(0)}-${end - general.machine.pfn(0)} ${data}`,
    )
  expect(ranges()).toEqual(['0-3 0']) // three pages, one node
  expect(migrate(general, [general.machine.pfn(1)], MIGRATE_SYNC)).toBe(0)
  expect(ranges()).toEqual(['0-1 0', '2-3 2', '3-4 1'])
})

test('S3-5 links and flags are not the subsystem’s; mapping and private are, and move along', () => {
  const on = pinned('|U . . M|', [{ system: GENERAL }])
  const { machine, mm } = on
  const src = machine.pfn(0)
  mm.mapping[src] = 40
  mm.private[src] = 41
  const flags = mm.flags[src]
  expect(migrate(on, [src], MIGRATE_SYNC)).toBe(0)
  const [dst] = pinnedPages(on)
  expect([mm.mapping[dst], mm.private[dst], mm.flags[dst]]).toEqual([40, 41, flags])
  expect([mm.mapping[src], mm.private[src], isListed(mm.links, dst)]).toEqual([0, 0, false])
  const listed = pinMachineOf('|U . . .|')
  listed.machine.enlist(listed.machine.pfn(0)) // on a list of somebody's
  expect(pin(listed, listed.machine.pfn(0), { system: GENERAL })).toBe(-EINVAL)
})

test('S3-6 pages of user space are refused, and so are second pins, unless all who pin agree to each move', () => {
  for (const picture of ['M', 'F', 'z', 'U===', 'M===']) {
    const on = pinMachineOf(`|${picture.padEnd(8, '.')}|`)
    const before = on.mm.arena.snapshot()
    expect([picture, pin(on, on.machine.pfn(0), { system: GENERAL })]).toEqual([picture, -EINVAL])
    expect(on.mm.arena.diff(before)).toEqual([])
  }
  const refusing = pinned('|U . . .|', [{ system: GENERAL }])
  expect(pin(refusing, refusing.machine.pfn(0), { system: OTHER })).toBe(-EBUSY)

  const agreeing = pinned('|U . . .|', [{ system: GENERAL, data: 1 }], { nested: 'agree' })
  const { machine, mm, log, answers, pp } = agreeing
  const src = machine.pfn(0)
  mm.refcount[src]++ // of the second one
  expect(pin(agreeing, src, { system: OTHER, data: 2 })).toBe(0)
  const before = mm.arena.snapshot()
  answers[1] = -EBUSY // one of them does not agree
  expect(migrate(agreeing, [src], MIGRATE_ASYNC)).toBe(1)
  expect([log, pinnedPages(agreeing)]).toEqual([[`general: stop ${src} 1`, `general: go ${src}`], [src]])
  expect(
    mm.arena.diff(before).filter(({ column }) => column === 'ownerCells' || column === 'refcount'),
  ).toEqual([])
  answers[1] = 0
  expect(migrate(agreeing, [src], MIGRATE_SYNC)).toBe(0)
  const [dst] = pinnedPages(agreeing)
  expect([mm.refcount[src], mm.refcount[dst], mm.content[dst]]).toEqual([0, 2, 1000])
  expect(pp.systems.slice(0, 2).map(({ info }) => info.dataOf(cpu, mm, dst))).toEqual([1, 2])
  expect(clearPinpage(cpu, mm, pp, GENERAL, dst)).toBe(0)
  expect(isolateMovablePage(cpu, mm, dst, 0)).toBe(ISOLATED) // there is one pin left
  putbackMovablePage(cpu, mm, dst)
  expect(clearPinpage(cpu, mm, pp, OTHER, dst)).toBe(0)
  expect(isolateMovablePage(cpu, mm, dst, 0)).toBe(REFUSED_UNMOVABLE)
})

test('a page with two pins that is in a group of one of them does not move', () => {
  const on = pinned(
    '|U U . . . .|',
    [1, 2].map((data) => ({ system: GENERAL, group: 1, data })),
    {
      nested: 'agree',
    },
  )
  const [first, second] = on.machine.places(2)
  on.mm.refcount[second]++
  expect(pin(on, second, { system: OTHER })).toBe(0)
  expect(migrate(on, [second], MIGRATE_SYNC)).toBe(1)
  expect(migrate(on, [first], MIGRATE_SYNC)).toBe(1)
  expect([pinnedPages(on), on.log]).toEqual([[first, second], []])
})

test('S3-7 a subsystem is its pin information and three callbacks, called with the pages locked and no spinlock', () => {
  const seen: string[] = []
  const on: PinMachine = pinned(
    '|U U . . . .|',
    [1, 2].map((data) => ({ system: GENERAL, group: 1, data })),
    {
      onCall: (what) => {
        const { mm, machine, pp, infoCells, ring } = on
        const spinlocks = [pp.cell, ...infoCells, ring.cell].map((cell) => cellsOf(mm.ownerCells)[cell])
        const locked = machine.places(6).filter((pfn) => (mm.flags[pfn] & PG_locked) !== 0)
        seen.push(`${what}: ${locked.length} pages locked, spinlocks ${spinlocks.join()}`)
      },
    },
  )
  expect(migrate(on, [on.machine.pfn(0)], MIGRATE_SYNC)).toBe(0)
  expect(seen).toEqual([
    'quiesce: 4 pages locked, spinlocks 0,0,0,0',
    'move: 4 pages locked, spinlocks 0,0,0,0',
    'move: 4 pages locked, spinlocks 0,0,0,0',
    'resume: 2 pages locked, spinlocks 0,0,0,0',
  ])
})

test('S3-8 registered once; its information is made first; not unregistered while it has pins', () => {
  const on = pinMachineOf('|U . . .|', { unregistered: true })
  const { mm, pp, machine } = on
  const pfn = machine.pfn(0)
  expect(pin(on, pfn, { system: GENERAL })).toBe(-ENOENT)
  expect(unregisterPinSystem(cpu, mm, pp, GENERAL)).toBe(-EINVAL)
  const steps = machine.recordingCpu()
  expect(registerPinSystem(steps, mm, pp, GENERAL)).toBe(0)
  expect(steps.steps.map(({ text }) => text.replace(/\(.*/, '').replace(/.* /, ''))).toEqual([
    'takeLocked',
    'initLocked',
    'publishLocked',
  ])
  expect(registerPinSystem(cpu, mm, pp, GENERAL)).toBe(-EEXIST)
  expect(pin(on, pfn, { system: GENERAL })).toBe(0)
  const before = mm.arena.snapshot()
  expect(unregisterPinSystem(cpu, mm, pp, GENERAL)).toBe(-EBUSY)
  expect(mm.arena.diff(before)).toEqual([])
  expect(migrate(on, [pfn], MIGRATE_SYNC)).toBe(0) // it is asked about its page all the same
  const [dst] = pinnedPages(on)
  expect(clearPinpage(cpu, mm, pp, GENERAL, dst)).toBe(0)
  expect(unregisterPinSystem(cpu, mm, pp, GENERAL)).toBe(0)
  expect(pin(on, dst, { system: GENERAL })).toBe(-ENOENT)
  expect(registerPinSystem(cpu, mm, pp, GENERAL)).toBe(0)
  expect(pin(on, dst, { system: GENERAL })).toBe(0)
})

test('S3-10 information first, then the mark, both under the page lock; a second pin changes nothing', () => {
  const on = pinMachineOf('|U . . .|')
  const { mm, pp, machine } = on
  const pfn = machine.pfn(0)
  const steps = machine.recordingCpu()
  expect(setPinpage(steps, mm, pp, pfn, { system: GENERAL })).toBe(0)
  const order = ['lock flags', 'addLocked', 'store mapcount', 'testSet flags', 'unlock flags']
  const at = order.map((what) => steps.steps.findIndex(({ text }) => text.includes(what)))
  expect(at.every((step, i) => step >= 0 && step > (at[i - 1] ?? -1))).toBe(true)
  const before = mm.arena.snapshot()
  expect(pin(on, pfn, { system: GENERAL })).toBe(-EBUSY)
  expect(pin(on, pfn, { system: RING })).toBe(-EBUSY)
  expect(clearPinpage(cpu, mm, pp, OTHER, pfn)).toBe(-EINVAL) // it is not that one's
  expect(mm.arena.diff(before)).toEqual([])
  const clearing = machine.recordingCpu()
  expect(clearPinpage(clearing, mm, pp, GENERAL, pfn)).toBe(0)
  const texts = clearing.texts()
  const del = texts.findIndex((text) => text.includes('delLocked'))
  const unmark = texts.findIndex((text) => text.includes('testClear flags'))
  expect([del > texts.findIndex((text) => text.startsWith('lock flags')), unmark > del]).toEqual([true, true])
  expect([mm.refcount[pfn], pinsOf(mm, pp, GENERAL)]).toEqual([1, 0]) // the caller's
  expect(pin(on, pfn, { system: OTHER })).toBe(0) // and it can be pinned again
})

test('S3-11 isolated: one reference more, on no list, not counted as isolated from the LRU; one winner', () => {
  const on = pinned('|U . . .|', [{ system: GENERAL }])
  const { mm, machine } = on
  const pfn = machine.pfn(0)
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
  expect([mm.refcount[pfn], isListed(mm.links, pfn)]).toEqual([2, false])
  expect([mm.nrIsolatedAnon[nidOf(0)], mm.nrIsolatedFile[nidOf(0)]]).toEqual([0, 0])
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(REFUSED_ISOLATED)
  putbackMovablePage(cpu, mm, pfn)
})

test('S3-12 an isolated page is unlocked, as every isolated page is: putback leaves nothing', () => {
  const on = pinned('|U . . .|', [{ system: GENERAL }])
  const { mm, machine, pp } = on
  const pfn = machine.pfn(0)
  const before = mm.arena.snapshot()
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
  expect(mm.flags[pfn] & PG_locked).toBe(0)
  expect(lockPinpage(cpu, mm, pfn)).toBe(true) // its subsystem can use it meanwhile
  unlockPinpage(cpu, mm, pfn)
  putbackMovablePage(cpu, mm, pfn)
  expect(mm.arena.diff(before)).toEqual([])
  // Cleared while it was isolated: the isolator's reference is the last one.
  expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
  expect(clearPinpage(cpu, mm, pp, GENERAL, pfn)).toBe(0)
  expect(pin(on, pfn, { system: GENERAL })).toBe(-EBUSY)
  putPage(cpu, mm, pfn)
  putbackMovablePage(cpu, mm, pfn)
  expect(machine.picture()).toBe('....')
})

test('S3-13 what nobody claims is an error and stays; no destination is lost, whatever the answer', () => {
  const unclaimed = pinned('|U . . .|', [{ system: GENERAL }])
  const { mm, machine, pp } = unclaimed
  const pfn = machine.pfn(0)
  expect(pp.systems[GENERAL].info.delPage(cpu, mm, pfn)).toBe(0) // a subsystem that has lost it
  expect(migrate(unclaimed, [pfn], MIGRATE_SYNC)).toBe(1)
  expect([mm.refcount[pfn], machine.picture()]).toEqual([1, 'z...'])

  const again = pinned('|U . . .|', [{ system: GENERAL }])
  pinUserPage(cpu, again.mm, again.machine.pfn(0)) // a device uses it
  expect(migrate(again, [again.machine.pfn(0)], MIGRATE_SYNC)).toBe(1)
  expect([again.machine.picture(), again.log]).toEqual(['z...', []])

  for (const answer of [-EAGAIN, -EBUSY]) {
    const refused = pinned('|U . . .|', [{ system: GENERAL }])
    refused.answers[0] = answer
    expect(migrate(refused, [refused.machine.pfn(0)], MIGRATE_SYNC)).toBe(1)
    expect([refused.machine.picture(), refused.log]).toEqual(['z...', []])
  }

  const freed = pinned('|U . . .|', [{ system: GENERAL }])
  const list = freed.machine.isolate(freed.machine.pfn(0))
  expect(clearPinpage(cpu, freed.mm, freed.pp, GENERAL, freed.machine.pfn(0))).toBe(0)
  putPage(cpu, freed.mm, freed.machine.pfn(0)) // count == 1: freed under the migration
  const stats = newMigrateStats()
  expect(migratePages(cpu, freed.mm, list, freed.machine.target(), MIGRATE_SYNC, MR_COMPACTION, stats)).toBe(
    0,
  )
  expect([freed.machine.picture(), freed.machine.freePages, stats.pagesSucceeded]).toEqual(['....', 4, 1])
})

test('S3-14 the pages of a group move together, with one stop, or none of them does', () => {
  const on = pinned('|U U U . . . . .|', RING_OF_3)
  expect(migrate(on, [on.machine.pfn(2)], MIGRATE_ASYNC)).toBe(0)
  expect(ringPlaces(on).every((place) => place > 2)).toBe(true)
  expect([on.machine.freePages, ringStops(on.mm, on.ring)]).toEqual([5, { stops: 1, stopped: false }])

  const reasons: Record<string, (on: PinMachine) => void> = {
    'a destination is missing': () => {},
    'a page is locked': ({ mm, machine }) => {
      mm.flags[machine.pfn(0)] |= PG_locked
    },
    'a device uses a page': ({ mm, machine }) => pinUserPage(cpu, mm, machine.pfn(0)),
    'the device refuses': ({ mm, ring }) => setRingBusy(cpu, mm, ring, true),
  }
  for (const [reason, hinder] of Object.entries(reasons)) {
    const stays = pinned(
      '|U U U . . . . .|',
      RING_OF_3,
      reason === 'a destination is missing' ? { pages: 1 } : {},
    )
    hinder(stays)
    const { machine, mm } = stays
    const list = machine.isolate(machine.pfn(2))
    const rc = migratePages(cpu, mm, list, machine.target(), MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats())
    putbackMovablePages(cpu, mm, list)
    expect([reason, rc, ringPlaces(stays), machine.freePages]).toEqual([reason, 1, [0, 1, 2], 5])
    expect([reason, ringStops(mm, stays.ring).stops]).toEqual([reason, 0])
  }
})

test('a group of which several pages are isolated moves by one of them, and the others are free', () => {
  const on = pinned('|U U U . . . . .|', RING_OF_3)
  expect(migrate(on, on.machine.places(3), MIGRATE_SYNC)).toBe(0)
  expect([ringPlaces(on).every((place) => place > 2), ringStops(on.mm, on.ring).stops]).toEqual([true, 1])
  expect(on.machine.freePages).toBe(5)
})

test('a group of which one task has locked several pages at once is tried again one by one', () => {
  const on = pinned('|U U U . . . . .|', RING_OF_3)
  // Asynchronous: all are locked before the first one moves, so none does.
  expect(migrate(on, on.machine.places(3), MIGRATE_ASYNC)).toBe(3)
  expect(ringPlaces(on)).toEqual([0, 1, 2])
})

test('a group needs no more nodes than pages: where there are fewer, it stays', () => {
  const pins = [0, 1, 2].map((data) => ({ system: GENERAL, group: 1, data }))
  const few = pinned(`|UUU.U.U.U.U${'U'.repeat(500)}|`, pins, { size: { ranges: 2, groups: 1 } })
  expect(migrate(few, [few.machine.pfn(0)], MIGRATE_SYNC)).toBe(1)
  const enough = pinned(`|UUU.U.U.U.U${'U'.repeat(500)}|`, pins, { size: { ranges: 3, groups: 1 } })
  expect(migrate(enough, [enough.machine.pfn(0)], MIGRATE_SYNC)).toBe(0)
  expect(pinRanges(enough.mm, enough.infoCells[0], 0, enough.mm.pfnCount)).toHaveLength(3)
  expect(contentsOf(enough)).toEqual([1000, 1001, 1002])
})

test('while a group moves nobody joins it; whoever writes to it finds it afterwards', () => {
  const on = pinned('|U U U . . . . U|', RING_OF_3)
  const { mm, machine, ring, log } = on
  const newcomer = machine.pfn(7)
  const mover = machine.recordingCpu()
  const whenGathering = (op: string, column: string, index: number): boolean =>
    op === 'tryLock' && column === 'flags' && index === machine.pfn(1)
  mover.before(whenGathering, () => {
    log.push(String(pin(on, newcomer, { system: RING, group: 1, data: 3 })))
  })
  const list = machine.isolate(machine.pfn(0))
  expect(
    migratePages(mover, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, newMigrateStats()),
  ).toBe(0)
  expect(log).toEqual([String(-EAGAIN)])
  expect(pin(on, newcomer, { system: RING, group: 1, data: 3 })).toBe(0)
  expect(ringWrite(cpu, mm, ring, 1, 77)).toBe(true)
  expect([1, 3, 5].map((slot) => ringRead(cpu, mm, ring, slot))).toEqual([77, 1007, -1])
  expect(ringWrite(cpu, mm, ring, 5, 1)).toBe(false)
})

test('a page that leaves the group just before it is locked stays where it is, wherever it is pinned by then', () => {
  for (const group of [0, 2]) {
    const pins = [0, 1, 2].map((data) => ({ system: GENERAL, group: 1, data }))
    const on = pinned('|U U U . . . . .|', pins)
    const { mm, machine, pp } = on
    const leaving = machine.pfn(1)
    const mover = machine.recordingCpu()
    mover.before(
      (op, column, index) => op === 'tryLock' && column === 'flags' && index === leaving,
      () => {
        expect(clearPinpage(cpu, mm, pp, GENERAL, leaving)).toBe(0)
        expect(pin(on, leaving, { system: GENERAL, group })).toBe(0)
      },
    )
    const list = machine.isolate(machine.pfn(0))
    const stats = newMigrateStats()
    expect(migratePages(mover, mm, list, machine.target(), MIGRATE_ASYNC, MR_COMPACTION, stats)).toBe(0)
    expect(mover.pending).toBe(false)
    // The second try found a group of two.
    expect(pinnedPages(on).filter((pfn) => pfn <= machine.pfn(2))).toEqual([leaving])
    expect(contentsOf(on)).toEqual([1000, 1001, 1002])
    verify(mm)
  }
})

test('a pin without a node for it is refused: -ENOMEM', () => {
  const on = pinned('|U U U U . .|', [{ system: GENERAL, data: 5 }], { size: { ranges: 1, groups: 1 } })
  const { mm, machine, pp } = on
  expect(pin(on, machine.pfn(2), { system: GENERAL })).toBe(-ENOMEM)
  expect([pinsOf(mm, pp, GENERAL), mm.flags[machine.pfn(2)] & PG_movable_ops]).toEqual([1, 0])
  expect(pin(on, machine.pfn(1), { system: GENERAL, data: 6 })).toBe(0)
  expect(pin(on, machine.pfn(2), { system: GENERAL, data: 7 })).toBe(0)
  expect(clearPinpage(cpu, mm, pp, GENERAL, machine.pfn(1))).toBe(-ENOMEM) // a hole needs a second node
  expect(clearPinpage(cpu, mm, pp, GENERAL, machine.pfn(2))).toBe(0)
})
