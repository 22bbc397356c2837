/** The balloon and its driver: rows S1-8 to S1-20 on drawn machines, with the host's end (host/balloon_host.ts). */

import { expect, test } from 'vitest'
import { AssertionError } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { isListed, listEmpty } from '../base/list.ts'
import { cellsOf, type Pfn, pfnOf, zoneIdOf } from '../base/units.ts'
import {
  EAGAIN,
  EBUSY,
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  MR_COMPACTION,
  PG_locked,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PGTY_offline,
  pageTypeValue,
} from '../mm/limits.ts'
import { MUTEX_LOCKED } from '../mm/locks.ts'
import {
  migrateFolioMove,
  migrateFolioUndo,
  migrateFolioUnmap,
  migratePages,
  newMigrateStats,
  putbackMovablePages,
  UNMAPPED,
} from '../mm/migrate.ts'
import {
  ISOLATED,
  isolateMovablePage,
  movableOpsOf,
  pageLockedOps,
  putbackMovablePage,
  REFUSED_UNMOVABLE,
  setMovableOps,
} from '../mm/movable_ops.ts'
import { putPage } from '../mm/page_alloc.ts'
import { noDriverPageIsIsolated, verify } from '../mm/verify.ts'
import { vmEvent } from '../mm/vmstat.ts'
import {
  actualFrames,
  failProbeAt,
  heldFrames,
  holdsFrame,
  refuseFrames,
  toldAt,
  wantFrames,
} from '../testing/balloon_host.ts'
import { machineOf, type TestMachine, type TestMachineOptions } from '../testing/machine.ts'
import { BALLOON_CELLS, balloonDequeue, balloonPages } from './balloon.ts'
import { VIRTIO_BALLOON_FEATURES } from './virtio_balloon.ts'
import {
  fillBalloon,
  isReady,
  leakBalloon,
  PROBE_STEPS,
  pagesGiven,
  updateBalloonSize,
  virtballoonProbe,
  virtballoonRemove,
  virtioBalloonIsConserved,
} from './virtio_balloon_driver.ts'

const cpu = new FastCpu()

/** A machine with one balloon that its host may unplug, or as many as there are options. */
const withBalloon = (picture: string, more: Partial<TestMachineOptions> = {}): TestMachine =>
  machineOf(picture, { balloons: [{ strict: false }], ...more })

const pagesOf = (machine: TestMachine, i = 0): { listed: number; isolated: number } =>
  balloonPages(machine.mm, machine.balloons[i].device)

/** Balloon and host agree, and the machine is whole. */
function expectWhole(machine: TestMachine, isolated = 0): void {
  machine.balloons.forEach((balloon, i) => {
    expect(virtioBalloonIsConserved(machine.mm, balloon)).toBe(undefined)
    expect(heldFrames(machine.hosts[i])).toBe(pagesGiven(machine.mm, balloon))
  })
  if (isolated === 0) verify(machine.mm)
  else expect(noDriverPageIsIsolated(machine.mm)).not.toBe(undefined)
}

/** Migrates what is isolated. Gives how many were not. */
const migrate = (machine: TestMachine, by: FastCpu | ReturnType<TestMachine['recordingCpu']> = cpu): number =>
  migratePages(
    by,
    machine.mm,
    machine.mm.taskList(cpu.id, 0),
    machine.target(),
    MIGRATE_SYNC,
    MR_COMPACTION,
    newMigrateStats(),
  )

const mutexOf = (machine: TestMachine): number => machine.balloons[0].device.cell + BALLOON_CELLS

/** The driver is busy with the device: somebody fills or leaks it. */
function busy(machine: TestMachine, run: () => void): void {
  const cells = machine.mm.arena.column('ownerCells')
  cells[mutexOf(machine)] = MUTEX_LOCKED
  run()
  cells[mutexOf(machine)] = 0
}

/** A recorded step without its cell: `lock flags`, `section isolateLocked`. */
const verb = (text: string): string => text.replace(/^section \S+ (\w+).*/, 'section $1').replace(/\[.*/, '')

test('S1-8 a device begins with an empty list, nothing isolated, its locks free, and ready', () => {
  const { mm, balloons, hosts } = withBalloon('|. . . .|')
  const [{ device }] = balloons
  expect(listEmpty(mm.links, mm.ownerList(device.list))).toBe(true)
  expect(balloonPages(mm, device)).toEqual({ listed: 0, isolated: 0 })
  expect([mm.ownerCells[device.cell], mm.arena.column('ownerCells')[device.cell + BALLOON_CELLS]]).toEqual([
    0, 0,
  ])
  expect([isReady(cpu, mm, balloons[0]), heldFrames(hosts[0]), actualFrames(hosts[0])]).toEqual([true, 0, 0])
})

test('S1-9 a page gets its device, then its type, then its mark, and is on the list last', () => {
  const machine = withBalloon('|.|')
  const pfn = machine.pfn(0)
  const steps = machine.recordingCpu()
  // Whoever looks between two steps finds no page that is marked and nobody's.
  steps.before(
    () => {
      const marked = movableOpsOf(machine.mm.mapcount[pfn], machine.mm.flags[pfn]) > 0
      expect(marked && machine.mm.private[pfn] === 0).toBe(false)
      return false
    },
    () => {},
  )
  expect(fillBalloon(steps, machine.mm, machine.balloons[0], 1)).toBe(1)
  const ofPage = new RegExp(
    `^(lock|unlock|store private|store mapcount|testSet).*\\[${pfn}\\]|enlistLocked\\(${pfn},`,
  )
  expect(
    steps
      .texts()
      .filter((text) => ofPage.test(text))
      .slice(-6)
      .map(verb),
  ).toEqual([
    'lock flags',
    'store private',
    'store mapcount',
    'testSet flags',
    'section enlistLocked',
    'unlock flags',
  ])
})

test('S1-10 an isolated page is not let go of, and its links stay the isolator’s', () => {
  const machine = withBalloon('|b b b|')
  const { mm } = machine
  const list = machine.isolate(machine.pfn(1))
  const links = [...mm.links.subarray(2 * machine.pfn(1), 2 * machine.pfn(1) + 2)]
  expect(leakBalloon(cpu, mm, machine.balloons[0], 3)).toBe(2)
  expect(machine.picture()).toBe('.i.')
  expect([...mm.links.subarray(2 * machine.pfn(1), 2 * machine.pfn(1) + 2)]).toEqual(links)
  expectWhole(machine, 1)
  putbackMovablePages(cpu, mm, list)
  expect([machine.picture(), pagesOf(machine).listed]).toEqual(['.b.', 1])
  expect(leakBalloon(cpu, mm, machine.balloons[0], 3)).toBe(1)
  expectWhole(machine)
})

test('S1-11 dequeue passes over a page that is locked; one that is isolated is not there; a lost page is a bug', () => {
  const machine = withBalloon('|b b b|')
  const { mm } = machine
  const { device } = machine.balloons[0]
  const [first, second, third] = machine.places(3)
  mm.flags[third] |= PG_locked // the first of the list, as it came last
  expect(leakBalloon(cpu, mm, machine.balloons[0], 1)).toBe(1)
  expect([mm.refcount[second], pagesGiven(mm, machine.balloons[0])]).toEqual([0, 2])
  machine.isolate(first)
  expect(leakBalloon(cpu, mm, machine.balloons[0], 2)).toBe(0) // one is locked, the other isolated
  mm.flags[third] &= ~PG_locked
  expect(leakBalloon(cpu, mm, machine.balloons[0], 2)).toBe(1)
  expect(balloonDequeue(cpu, mm, device)).toBe(-1)
  putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
  expect(leakBalloon(cpu, mm, machine.balloons[0], 2)).toBe(1)
  expect(() => balloonDequeue(cpu, mm, device)).toThrow('pages are lost')
})

test('S1-12 isolate: off the list and counted under the lock, then marked; the page lock and the reference are the framework’s', () => {
  const machine = withBalloon('|b|')
  const steps = machine.recordingCpu()
  expect(isolateMovablePage(steps, machine.mm, machine.pfn(0), 0)).toBe(ISOLATED)
  const verbs = steps.texts('addUnlessZero', 'tryLock', 'section', 'testSet', 'unlock', 'add')
  expect(verbs.map(verb)).toEqual([
    'addUnlessZero refcount',
    'tryLock flags',
    'section isolateLocked',
    'testSet flags',
    'unlock flags',
  ])
  expect([isListed(machine.mm.links, machine.pfn(0)), pagesOf(machine)]).toEqual([
    false,
    { listed: 0, isolated: 1 },
  ])
})

test('S1-13 putback: on the list and uncounted under the lock; the page lock, the mark and the reference are the framework’s', () => {
  const machine = withBalloon('|b|')
  const { mm } = machine
  const before = mm.arena.snapshot()
  isolateMovablePage(cpu, mm, machine.pfn(0), 0)
  const steps = machine.recordingCpu()
  putbackMovablePage(steps, mm, machine.pfn(0))
  const verbs = steps.texts('lock', 'section', 'testClear', 'unlock', 'decAndTest', 'add')
  expect(verbs.map(verb)).toEqual([
    'lock flags',
    'section putbackLocked',
    'testClear flags',
    'unlock flags',
    'decAndTest refcount',
  ])
  expect(mm.arena.diff(before)).toEqual([])
})

test('S1-14 migrate: both pages are locked, the old one movable and isolated; then it is the driver’s', () => {
  const start = (): { machine: TestMachine; src: Pfn; dst: Pfn } => {
    const machine = withBalloon('|b .|')
    machine.isolate(machine.pfn(0))
    const dst = pfnOf(machine.target().getNewFolio(cpu, machine.mm, machine.pfn(0), 0))
    expect(migrateFolioUnmap(cpu, machine.mm, machine.pfn(0), dst, MIGRATE_ASYNC, 0)).toBe(UNMAPPED)
    return { machine, src: machine.pfn(0), dst }
  }
  const broken: ((machine: TestMachine, src: Pfn, dst: Pfn) => void)[] = [
    ({ mm }, _src, dst) => {
      mm.flags[dst] &= ~PG_locked
    },
    ({ mm }, src) => {
      mm.flags[src] &= ~PG_movable_ops_isolated
    },
    ({ mm }, src) => {
      mm.private[src] = 0
    },
  ]
  for (const breakIt of broken) {
    const { machine, src, dst } = start()
    breakIt(machine, src, dst)
    expect(() => migrateFolioMove(cpu, machine.mm, src, dst, MIGRATE_ASYNC)).toThrow(AssertionError)
  }
  const { machine, src, dst } = start()
  machine.unlist(src)
  expect(migrateFolioMove(cpu, machine.mm, src, dst, MIGRATE_ASYNC)).toBe(0)
  expect([holdsFrame(machine.hosts[0], dst), holdsFrame(machine.hosts[0], src)]).toEqual([true, false])
  expectWhole(machine)
})

test('S1-15 three operations for the page type, registered once for all devices', () => {
  const { mm } = withBalloon('|b|', { balloons: [{}, {}, {}] })
  const ops = mm.movableOps[movableOpsOf(pageTypeValue(PGTY_offline), PG_movable_ops)]
  expect(ops?.name).toBe('balloon')
  expect(typeof ops?.isolatePage).toBe('function')
  expect(typeof ops?.migratePage).toBe('function')
  expect(typeof ops?.putbackPage).toBe('function')
  const another = { name: '', pgty: PGTY_offline, isolate: () => true, migrate: () => 0, putback: () => {} }
  expect(() => setMovableOps(mm, PGTY_offline, pageLockedOps(another))).toThrow(
    'this type has its operations',
  )
})

test('S1-17 the host learns of the new page before it gives the old one back, and the old one is free after that', () => {
  const machine = machineOf('|b b . .|', { balloons: [{}] }) // strict: it would notice
  const { mm } = machine
  const [host] = machine.hosts
  wantFrames(cpu, host, 2)
  expect(updateBalloonSize(cpu, mm, machine.balloons[0])).toBe(0)
  const src = machine.pfn(0)
  const told = toldAt(host, src)
  machine.isolate(src)
  const steps = machine.recordingCpu()
  let freedBeforeTold = false
  steps.before(
    (op, column, index) => {
      if (op === 'decAndTest' && column === 'refcount' && index === src)
        freedBeforeTold ||= holdsFrame(host, src)
      return false
    },
    () => {},
  )
  expect(migrate(machine, steps)).toBe(0)
  const dst = machine.places(4).find((pfn) => pfn !== machine.pfn(1) && mm.private[pfn] === 1) ?? src
  expect([holdsFrame(host, dst), holdsFrame(host, src), freedBeforeTold]).toEqual([true, false, false])
  expect(toldAt(host, dst)).toBeGreaterThan(told)
  expect(toldAt(host, src)).toBe(toldAt(host, dst) + 1)
  expect([mm.refcount[src], mm.refcount[dst], vmEvent(mm, 'balloon_migrate')]).toEqual([0, 1, 1])
  expectWhole(machine)
})

test('a device that is busy is tried again, and its page put back after all passes', () => {
  const machine = withBalloon('|b .|')
  machine.isolate(machine.pfn(0))
  const dst = pfnOf(machine.target().getNewFolio(cpu, machine.mm, machine.pfn(0), 0))
  migrateFolioUnmap(cpu, machine.mm, machine.pfn(0), dst, MIGRATE_ASYNC, 0)
  busy(machine, () => {
    expect(migrateFolioMove(cpu, machine.mm, machine.pfn(0), dst, MIGRATE_SYNC)).toBe(-EAGAIN)
  })
  migrateFolioUndo(cpu, machine.mm, machine.pfn(0), dst)
  putPage(cpu, machine.mm, dst)
  busy(machine, () => {
    expect(migrate(machine)).toBe(1)
  })
  putbackMovablePages(cpu, machine.mm, machine.mm.taskList(cpu.id, 0))
  expect(virtioBalloonIsConserved(machine.mm, machine.balloons[0])).toBe(undefined)
  expect([machine.picture(1), vmEvent(machine.mm, 'balloon_migrate')]).toEqual(['b', 0])
})

test('a host that takes no page in its place: the old one is back, the migration succeeds, and the balloon is smaller', () => {
  const machine = withBalloon('|b b . .|')
  const { mm } = machine
  refuseFrames(cpu, machine.hosts[0], 1)
  machine.isolate(machine.pfn(0))
  expect(migrate(machine)).toBe(0)
  expect([machine.picture(), machine.freePages]).toEqual(['.b..', 3])
  expect([pagesGiven(mm, machine.balloons[0]), vmEvent(mm, 'balloon_deflate')]).toEqual([1, 1])
  expect([vmEvent(mm, 'balloon_migrate'), vmEvent(mm, 'pgmigrate_success')]).toEqual([0, 1])
  expectWhole(machine)
})

test('inflate: the host is told before a page is listed and counted, and what it refuses is free again', () => {
  const machine = withBalloon('.'.repeat(300))
  const { mm } = machine
  const [balloon] = machine.balloons
  const [host] = machine.hosts
  wantFrames(cpu, host, 280)
  const steps = machine.recordingCpu()
  steps.before(
    () => {
      expect(pagesOf(machine).listed).toBeLessThanOrEqual(heldFrames(host))
      return false
    },
    () => {},
  )
  expect(updateBalloonSize(steps, mm, balloon)).toBe(24) // a message is of 256
  expect([heldFrames(host), actualFrames(host), vmEvent(mm, 'balloon_inflate')]).toEqual([256, 256, 256])
  refuseFrames(cpu, host, 1)
  expect(updateBalloonSize(cpu, mm, balloon)).toBe(24)
  expect(machine.freePages).toBe(44)
  expect(updateBalloonSize(cpu, mm, balloon)).toBe(0)
  expectWhole(machine)
  wantFrames(cpu, host, 300)
  expect(updateBalloonSize(cpu, mm, balloon)).toBe(0)
  wantFrames(cpu, host, 310) // more than there is: what is missing is asked for again later
  expect(updateBalloonSize(cpu, mm, balloon)).toBe(10)
  expect(machine.freePages).toBe(0)
  expectWhole(machine)
})

test('managed pages: less by what the balloon has, and by zone; not where it gives pages back when there are none left', () => {
  const features = 1 << VIRTIO_BALLOON_FEATURES.indexOf('DEFLATE_ON_OOM')
  for (const [offered, less] of [
    [0, 3],
    [features, 0],
  ]) {
    const machine = machineOf('|. . . . .|', { balloons: [{ features: offered, strict: false }] })
    const managed = (): number => machine.mm.zoneManaged[zoneIdOf(0)]
    const before = managed()
    fillBalloon(cpu, machine.mm, machine.balloons[0], 3)
    expect(before - managed()).toBe(less)
    leakBalloon(cpu, machine.mm, machine.balloons[0], 3)
    expect(managed()).toBe(before)
  }
})

test('S1-18 each device is a mapping of its own: two of them do not see each other, and the first one’s removal is its own', () => {
  const machine = withBalloon('.'.repeat(16), { balloons: [{ strict: false }, { strict: false }] })
  const { mm, balloons, hosts } = machine
  expect(fillBalloon(cpu, mm, balloons[0], 4)).toBe(4)
  expect(fillBalloon(cpu, mm, balloons[1], 3)).toBe(3)
  const owners = machine.places(16).map((pfn) => mm.private[pfn])
  expect([1, 2].map((id) => owners.filter((owner) => owner === id).length)).toEqual([4, 3])
  for (const pfn of machine.places(16)) {
    expect(hosts.map((host) => holdsFrame(host, pfn))).toEqual([mm.private[pfn] === 1, mm.private[pfn] === 2])
  }
  virtballoonRemove(cpu, mm, balloons[0])
  expect([pagesOf(machine, 0).listed, pagesOf(machine, 1).listed, machine.freePages]).toEqual([0, 3, 13])
  expect(balloons.map((balloon) => isReady(cpu, mm, balloon))).toEqual([false, true])
  // The second one still moves its pages, to its own list and its own host.
  const src = machine.places(16).find((pfn) => mm.private[pfn] === 2) ?? pfnOf(0)
  machine.isolate(src)
  expect(migrate(machine)).toBe(0)
  expect([heldFrames(hosts[0]), heldFrames(hosts[1]), holdsFrame(hosts[1], src)]).toEqual([0, 3, false])
  expect(virtballoonProbe(cpu, mm, balloons[0])).toBe(0)
  expect(fillBalloon(cpu, mm, balloons[0], 2)).toBe(2)
  expectWhole(machine)
})

/** TRAP b: the seed's error path used what is there with balloon compaction only, so both are tried. */
test('S1-19 probe that fails at any step leaves nothing behind, and the next one succeeds', () => {
  for (const movable of [true, false]) {
    const machine = machineOf('|. . . .|', {
      balloons: [{ features: 0b111111, movable, poisoning: { value: 0xaa } }],
    })
    const { mm, balloons, hosts } = machine
    virtballoonRemove(cpu, mm, balloons[0])
    const unbound = mm.arena.snapshot()
    PROBE_STEPS.forEach((_, step) => {
      failProbeAt(cpu, hosts[0], step)
      expect(virtballoonProbe(cpu, mm, balloons[0])).toBe(-ENOMEM)
      expect(mm.arena.diff(unbound)).toEqual([])
    })
    failProbeAt(cpu, hosts[0], -1)
    const steps = machine.recordingCpu()
    expect(virtballoonProbe(steps, mm, balloons[0])).toBe(0)
    virtballoonRemove(steps, mm, balloons[0])
    expect(mm.arena.diff(unbound)).toEqual([])
    // What was taken last is given back first.
    const bits = (op: 'testSet' | 'testClear'): string[] => steps.texts(op).map((text) => text.split(' ')[2])
    expect(bits('testSet')).toHaveLength(PROBE_STEPS.length)
    expect(bits('testClear')).toEqual(bits('testSet').toReversed())
    expect(virtballoonProbe(cpu, mm, balloons[0])).toBe(0)
    expect(fillBalloon(cpu, mm, balloons[0], 2)).toBe(2)
    const marks = machine.places(4).map((pfn) => mm.flags[pfn] & PG_movable_ops)
    expect(marks.filter((mark) => mark !== 0)).toHaveLength(movable ? 2 : 0)
  }
})

test('one device at a time reports free pages: the probe of a second one gives back what it has', () => {
  const features = 1 << VIRTIO_BALLOON_FEATURES.indexOf('REPORTING')
  const { mm, balloons } = machineOf('|.|', { balloons: [{ features }, { features }] })
  expect(balloons.map((balloon) => isReady(cpu, mm, balloon))).toEqual([true, false])
  const before = mm.arena.snapshot()
  expect(virtballoonProbe(cpu, mm, balloons[1])).toBe(-EBUSY)
  expect(mm.arena.diff(before)).toEqual([])
  virtballoonRemove(cpu, mm, balloons[0])
  expect(virtballoonProbe(cpu, mm, balloons[1])).toBe(0)
})

test('S1-20 removal takes all pages back, and waits for those that are isolated, whether they come back or move', () => {
  for (const ends of ['put back', 'moved', 'given up'] as const) {
    const machine = withBalloon('|b b b . .|')
    const { mm } = machine
    const [host] = machine.hosts
    machine.isolate(machine.pfn(1))
    if (ends === 'given up') refuseFrames(cpu, host, 1)
    let waits = 0
    const remover = new FastCpu(() => {
      waits++
      expect(heldFrames(host)).toBe(1) // all others are free by now
      if (ends !== 'put back') expect(migrate(machine)).toBe(0)
      putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
    })
    virtballoonRemove(remover, mm, machine.balloons[0])
    expect([ends, waits, machine.picture(), heldFrames(host), actualFrames(host)]).toEqual([
      ends,
      1,
      '.....',
      0,
      0,
    ])
    expect(isReady(cpu, mm, machine.balloons[0])).toBe(false)
    expectWhole(machine)
  }
})

test('a page of a device that is gone is nobody’s, also for who has seen it before', () => {
  const machine = withBalloon('|b|')
  const { mm } = machine
  const isolator = machine.recordingCpu()
  // It has seen a page that can move, and has a reference; then the device goes.
  isolator.before(
    (op) => op === 'tryLock',
    () => virtballoonRemove(cpu, mm, machine.balloons[0]),
  )
  expect(isolateMovablePage(isolator, mm, machine.pfn(0), 0)).toBe(REFUSED_UNMOVABLE)
  expect([machine.picture(), machine.freePages]).toEqual(['.', 1])
})

test('deflated at any step of its isolation and migration: it stays the balloon’s, or is free, once', () => {
  const ends = new Set<string>()
  for (let n = 0, pending = false; !pending; n++) {
    const machine = withBalloon('|b . . .|')
    const { mm } = machine
    const task = machine.recordingCpu()
    task.beforeStep(n, () => {
      const { device } = machine.balloons[0]
      // Who deflates would wait for the interrupted task: that is another interruption, later.
      const held = mm.ownerCells[device.cell] !== 0 || (cellsOf(mm.ownerCells)[mutexOf(machine)] ?? 0) !== 0
      if (!held) leakBalloon(cpu, mm, machine.balloons[0], 1)
    })
    if (isolateMovablePage(task, mm, machine.pfn(0), 0) === ISOLATED) {
      machine.enlist(machine.pfn(0))
      if (migrate(machine, task) !== 0) putbackMovablePages(task, mm, mm.taskList(cpu.id, 0))
    }
    ;({ pending } = task)
    const left = pagesGiven(mm, machine.balloons[0])
    expect([n, machine.freePages]).toEqual([n, 4 - left])
    ends.add(machine.picture())
    expectWhole(machine)
  }
  expect(ends.size).toBeGreaterThan(1)
})
