/** Pins by address: what they count, what a long-term one moves first, and what each failure leaves behind. */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { cellsOf, nidOf, type Pfn, pfnOf, type Vpn, vpnOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { addFreeBlock } from './free_area.ts'
import { folioMaybeDmaPinned } from './gup.ts'
import { FOLL_LONGTERM, FOLL_PIN, pinUserPages, unpinUserPages } from './gup_longterm.ts'
import { createMachine, type Mm } from './index.ts'
import {
  EAGAIN,
  EFAULT,
  ENOMEM,
  GUP_PIN_COUNTING_BIAS,
  MIGRATE_CMA,
  MIGRATE_ISOLATE,
  MIGRATE_SYNC,
  MR_COMPACTION,
  PG_lru,
  pageblockOf,
} from './limits.ts'
import { faultAnon } from './memory.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from './migrate.ts'
import { ISOLATED, isolateMovablePage, REFUSED_PINNED } from './movable_ops.ts'
import { PB_MIGRATETYPE } from './page.ts'
import { vmstatText, zoneinfoText } from './proc_zoneinfo.ts'
import { ptePfn } from './rmap.ts'
import { THP_DEFAULTS } from './thp_settings.ts'
import { verify } from './verify.ts'
import { vmEvent } from './vmstat.ts'

const cpu = new FastCpu()
const LONG = FOLL_PIN | FOLL_LONGTERM

/** Gives the pageblock of a page another type. It has no free page, so no list has to follow. */
function setType(mm: Mm, pfn: Pfn, mt: number): void {
  const block = pageblockOf(pfn)
  mm.pageblock[block] = (mm.pageblock[block] & ~PB_MIGRATETYPE) | mt
}

/** A machine whose first pageblock is of that type and full; the second one is free. */
function machineWith(mt: number, picture: string, rest = '.'): TestMachine {
  const machine = machineOf(picture.padEnd(512, 'U') + rest.repeat(512))
  setType(machine.mm, machine.pfn(0), mt)
  return machine
}

const pinsNow = ({ mm }: TestMachine): number =>
  mm.nrFollPinAcquired[nidOf(0)] - mm.nrFollPinReleased[nidOf(0)]

const firstVpn = (machine: TestMachine): Vpn => machine.vpnOf(machine.pfn(0))

test('a pin for short stays where the page is; one for long leaves CMA and isolated pageblocks first', () => {
  for (const mt of [MIGRATE_CMA, MIGRATE_ISOLATE]) {
    const machine = machineWith(mt, 'MM')
    const { mm } = machine
    const vpn = firstVpn(machine)
    const short: Pfn[] = []
    expect(pinUserPages(cpu, mm, vpn, 2, FOLL_PIN, short)).toBe(0)
    expect(short).toEqual(machine.places(2))
    expect([mm.refcount[short[0]], pinsNow(machine)]).toEqual([1 + GUP_PIN_COUNTING_BIAS, 2])
    expect(isolateMovablePage(cpu, mm, short[0], 0)).toBe(REFUSED_PINNED)
    unpinUserPages(cpu, mm, short)
    verify(mm)

    const long: Pfn[] = []
    expect(pinUserPages(cpu, mm, vpn, 2, LONG, long)).toBe(0)
    expect(long.every((pfn) => pageblockOf(pfn) === pageblockOf(machine.pfn(512)))).toBe(true)
    expect(long).toEqual([vpn, vpnOf(vpn + 1)].map((at) => ptePfn(mm.pte[at])))
    expect(long.map((pfn) => mm.content[pfn])).toEqual([1000, 1001])
    expect([pinsNow(machine), mm.nrFollPinAcquired[nidOf(0)]]).toEqual([2, 6]) // two short, two in vain, two
    expect(vmEvent(mm, 'pgmigrate_success')).toBe(2)
    expect(isolateMovablePage(cpu, mm, long[0], 0)).toBe(REFUSED_PINNED)
    unpinUserPages(cpu, mm, long)
    expect(pinsNow(machine)).toBe(0)
    verify(mm)
    // Both count on from where the kernel's stood.
    const text = vmstatText(mm, { others: (name) => (name === 'nr_foll_pin_released' ? 100 : 0) })
    expect(text).toMatch(/^nr_foll_pin_acquired 6\nnr_foll_pin_released 106$/m)
    expect(zoneinfoText(mm)).toMatch(/^ +nr_foll_pin_acquired 6\n +nr_foll_pin_released 6$/m)
  }
})

test('what may stay is pinned where it is, and nothing moves', () => {
  const machine = machineOf('|MM..|')
  const pinned: Pfn[] = []
  expect(pinUserPages(cpu, machine.mm, firstVpn(machine), 2, LONG, pinned)).toBe(0)
  expect(pinned).toEqual(machine.places(2))
  expect(vmEvent(machine.mm, 'pgmigrate_success')).toBe(0)
})

test('a large folio moves whole, and counts a pin for each of its pages', () => {
  const machine = machineWith(MIGRATE_CMA, 'M=======')
  const { mm } = machine
  const vpn = firstVpn(machine)
  const pinned: Pfn[] = []
  expect(pinUserPages(cpu, mm, vpnOf(vpn + 2), 3, LONG, pinned)).toBe(0)
  const head = pfnOf(pinned[0] - 2)
  expect(pinned).toEqual([2, 3, 4].map((i) => pfnOf(head + i)))
  expect([mm.refcount[head], cellsOf(mm.links)[2 * (head + 1)]]).toEqual([8 + 3, 3])
  expect(folioMaybeDmaPinned(cpu, mm, head)).toBe(true)
  expect(pageblockOf(head)).toBe(pageblockOf(machine.pfn(512)))
  verify(mm)
  unpinUserPages(cpu, mm, pinned)
  expect(folioMaybeDmaPinned(cpu, mm, head)).toBe(false)
  verify(mm)
})

test('-EFAULT, -ENOMEM, -EAGAIN: nothing is pinned, and the pages are on the LRU where they were', () => {
  const cases: readonly (readonly [string, number, TestMachine])[] = [
    ['nothing is mapped', -EFAULT, machineWith(MIGRATE_CMA, 'M')],
    ['no destination', -ENOMEM, machineWith(MIGRATE_CMA, 'MM', 'U')],
  ]
  for (const [name, rc, machine] of cases) {
    const pinned: Pfn[] = []
    expect([name, pinUserPages(cpu, machine.mm, firstVpn(machine), 2, LONG, pinned)]).toEqual([name, rc])
    expect([name, pinned, pinsNow(machine)]).toEqual([name, [], 0])
    expect(machine.mm.flags[machine.pfn(0)] & PG_lru).toBe(PG_lru)
    verify(machine.mm)
  }
  const held = machineWith(MIGRATE_CMA, 'MM')
  held.mm.refcount[held.pfn(0)]++ // somebody else has a reference
  expect(pinUserPages(cpu, held.mm, firstVpn(held), 2, LONG, [])).toBe(-ENOMEM)
  expect([pinsNow(held), held.picture(1)]).toEqual([0, 'P'])
  verify(held.mm)

  const isolated = machineWith(MIGRATE_CMA, 'M')
  const { mm } = isolated
  const list = isolated.isolate(isolated.pfn(0)) // and its isolator does nothing with it
  expect(pinUserPages(cpu, mm, firstVpn(isolated), 1, LONG, [])).toBe(-EAGAIN)
  putbackMovablePages(cpu, mm, list)
  expect([pinsNow(isolated), isolated.picture(1)]).toEqual([0, 'M'])
  verify(mm)
})

test('the page behind a pte that changes before the pin counts is let go of again', () => {
  const machine = machineOf('|M . .|')
  const { mm } = machine
  const vpn = firstVpn(machine)
  const task = machine.recordingCpu()
  task.before(
    (op, column) => op === 'addUnlessZero' && column === 'refcount',
    () => {
      expect(isolateMovablePage(cpu, mm, machine.pfn(0), 0)).toBe(ISOLATED)
      machine.enlist(machine.pfn(0))
      compactOne(machine)
    },
  )
  const pinned: Pfn[] = []
  expect(pinUserPages(task, mm, vpn, 1, FOLL_PIN, pinned)).toBe(0)
  expect(pinned).toEqual([ptePfn(mm.pte[vpn])])
  expect(pinned[0]).not.toBe(machine.pfn(0))
  expect(mm.refcount[machine.pfn(0)]).toBe(0)
  unpinUserPages(cpu, mm, pinned)
  verify(mm)
})

/** A machine with a Normal and a Movable zone of a pageblock each, all free. */
function twoZones(): Mm {
  const zones = ['Normal', 'Movable'].map((name, i) => ({
    node: 0,
    name,
    startPfn: 512 * (i + 1),
    spanned: 512,
    present: 512,
    managed: 512,
    min: 0,
    low: 0,
    high: 0,
  }))
  const mm = createMachine({
    pfnCount: 3 * 512,
    zones,
    ptes: 64,
    slots: 8,
    contents: true,
    thp: { ...THP_DEFAULTS, enabled: 'never' },
  })
  for (const { startPfn } of zones) addFreeBlock(mm, pfnOf(startPfn), 9)
  return mm
}

test('ZONE_MOVABLE: a fault takes a page there, and a long-term pin leaves it', () => {
  const mm = twoZones()
  const vma = { start: vpnOf(1), end: vpnOf(5) }
  for (let vpn = 1; vpn < 5; vpn++) faultAnon(cpu, mm, vpnOf(vpn), 0, vma)
  const zoneOf = (vpn: number): number => mm.zoneOf(ptePfn(mm.pte[vpnOf(vpn)]))
  expect([1, 2, 3, 4].map(zoneOf)).toEqual([1, 1, 1, 1])
  const pinned: Pfn[] = []
  expect(pinUserPages(cpu, mm, vpnOf(2), 2, LONG, pinned)).toBe(0)
  expect([1, 2, 3, 4].map(zoneOf)).toEqual([1, 0, 0, 1])
  verify(mm)
  unpinUserPages(cpu, mm, pinned)
  verify(mm)
})

function compactOne(machine: TestMachine): void {
  const { mm } = machine
  const stats = newMigrateStats()
  const list = mm.taskList(cpu.id, 0)
  expect(migratePages(cpu, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, stats)).toBe(0)
}
