/**
 * Swap: pages go out, and come back with what they held, however often and by whatever way. The property at the end
 * lets reclaim, faults, exit and compaction run in random order on random machines.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf, type Slot, slotOf, type Vpn, vpnOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { compactNode } from './compaction.ts'
import { __GFP_IO, GFP_KERNEL } from './gfp.ts'
import { kswapd } from './kswapd.ts'
import {
  ENOMEM,
  MIGRATE_MOVABLE,
  PG_locked,
  PG_swapcache,
  pageblock_nr_pages,
  ZONE_NORMAL,
} from './limits.ts'
import { folioPages } from './page.ts'
import { allocFromZone, prepareAllocPages } from './page_alloc.ts'
import {
  isPresentPte,
  isSwapPte,
  NOT_MAPPED,
  ptePfn,
  pteSlot,
  removeMigrationPtes,
  tryToMigrate,
  zapPte,
} from './rmap.ts'
import { nrSwapPages, vmSwapFull } from './swap.ts'
import { doSwapPage, type FaultPages, faultInPage } from './swapin.ts'
import { verify } from './verify.ts'
import { tryToFreePages } from './vmscan.ts'
import { vmEvents } from './vmstat.ts'
import { wakeupKswapd } from './wakeup.ts'

const cpu = new FastCpu()
const zone = zoneIdOf(0)

/** Pages for faults: what is free in the zone. */
const FREE_PAGES: FaultPages = {
  getNewPage: (on, mm) => allocFromZone(on, mm, zone, 0, MIGRATE_MOVABLE),
}
const NO_PAGES: FaultPages = { getNewPage: () => -1 }

/** A machine with all of its anonymous pages swapped out, and the vpns that mapped them. */
function swappedOut(picture: string, swapSlots = 16): { machine: TestMachine; vpns: Vpn[] } {
  const machine = machineOf(picture, { swapSlots })
  const vpns = machine.places(picture.length).map((pfn) => machine.vpnOf(pfn))
  tryToFreePages(cpu, machine.mm, prepareAllocPages(machine.mm, GFP_KERNEL, 0, 0))
  verify(machine.mm)
  expect(vpns.every((vpn) => isSwapPte(machine.mm.pte[vpn]))).toBe(true)
  return { machine, vpns }
}

const read = ({ mm }: TestMachine, vpn: Vpn): number => faultInPage(cpu, mm, vpn, FREE_PAGES, false)
const write = ({ mm }: TestMachine, vpn: Vpn): number => faultInPage(cpu, mm, vpn, FREE_PAGES, true)

describe('a page that is swapped out', () => {
  test('is read back by who touches it, and stays in the swap cache', () => {
    const { machine, vpns } = swappedOut('MMM')
    const { mm } = machine
    const pfn = pfnOf(read(machine, vpns[1]))
    verify(mm)
    expect([mm.content[pfn], mm.flags[pfn] & PG_swapcache]).toEqual([1001, PG_swapcache])
    expect(vmEvents(mm)).toMatchObject({ pswpin: 1, pswpout: 3, pgmajfault: 1 })
    expect([nrSwapPages(cpu, mm), read(machine, vpns[1])]).toEqual([13, pfn])
  })

  test('is nobody else’s once it is written to: its slot is free', () => {
    const { machine, vpns } = swappedOut('MMM')
    const pfn = pfnOf(write(machine, vpns[1]))
    verify(machine.mm)
    expect(machine.mm.flags[pfn] & PG_swapcache).toBe(0)
    expect(nrSwapPages(cpu, machine.mm)).toBe(14)
  })

  test('leaves swap as soon as it is read, where more than half of swap is in use', () => {
    const { machine, vpns } = swappedOut('MMM', 5)
    expect(vmSwapFull(cpu, machine.mm)).toBe(true)
    read(machine, vpns[0])
    verify(machine.mm)
    expect(nrSwapPages(cpu, machine.mm)).toBe(3)
  })

  test('is read once for all who map it', () => {
    const machine = machineOf('M', { swapSlots: 4 })
    const { mm } = machine
    const vpns = [machine.vpnOf(machine.pfn(0)), machine.map(machine.pfn(0))]
    tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))
    const pfns = vpns.map((vpn) => write(machine, vpn))
    verify(mm)
    expect([pfns[0] === pfns[1], mm.mapcount[pfnOf(pfns[0])], vmEvents(mm).pswpin]).toEqual([true, 2, 1])
    // Not the only user at the first write; nor at the second, with the first one's pte.
    expect(nrSwapPages(cpu, mm)).toBe(3)
  })

  test('waits, as it is, for memory to read it into', () => {
    const { machine, vpns } = swappedOut('M')
    expect(faultInPage(cpu, machine.mm, vpns[0], NO_PAGES, false)).toBe(-ENOMEM)
    verify(machine.mm)
    expect([machine.contentAt(vpns[0]), nrSwapPages(cpu, machine.mm)]).toEqual([1000, 15])
  })

  test('is gone with the last pte; then there is nothing to fault in', () => {
    const { machine, vpns } = swappedOut('MM')
    zapPte(cpu, machine.mm, vpns[0])
    verify(machine.mm)
    expect([nrSwapPages(cpu, machine.mm), read(machine, vpns[0])]).toEqual([15, NOT_MAPPED])
    expect(doSwapPage(cpu, machine.mm, vpns[0], NO_PAGES, false)).toBe(0)
  })
})

test('when the last entry goes, the swap cache lets go of the page: but for who maps it, it is free', () => {
  const machine = machineOf('M', { swapSlots: 4 })
  const { mm } = machine
  const vpns = [machine.vpnOf(machine.pfn(0)), machine.map(machine.pfn(0))]
  tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))
  const pfn = pfnOf(read(machine, vpns[0]))
  zapPte(cpu, mm, vpns[1])
  verify(mm)
  expect([mm.flags[pfn] & PG_swapcache, nrSwapPages(cpu, mm), machine.contentAt(vpns[0])]).toEqual([
    0, 4, 1000,
  ])
})

test('a page of the swap cache moves, and who still has its entry finds it where it is', () => {
  const machine = machineOf(`M${'U'.repeat(1023)}${'.'.repeat(511)}U`, { swapSlots: 4 })
  const { mm } = machine
  const vpns = [machine.vpnOf(machine.pfn(0)), machine.map(machine.pfn(0))]
  tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))
  const before = read(machine, vpns[0])
  compactNode(cpu, mm, nidOf(0))
  verify(mm)
  const after = ptePfn(mm.pte[vpns[0]])
  expect(after).not.toBe(before)
  expect(read(machine, vpns[1])).toBe(after)
  expect([mm.content[after], vmEvents(mm).pswpin]).toEqual([1000, 1])
})

test('what was read, and written to afterwards, is written out again', () => {
  const { machine, vpns } = swappedOut('MM')
  const { mm } = machine
  mm.content[pfnOf(read(machine, vpns[0]))] = 7
  tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))
  verify(mm)
  expect([isSwapPte(mm.pte[vpns[0]]), machine.contentAt(vpns[0])]).toEqual([true, 7])
  expect(mm.content[pfnOf(read(machine, vpns[0]))]).toBe(7)
})

test('what was written to a page of the swap cache is there for the other process, though the writer has exited', () => {
  const machine = machineOf('M', { swapSlots: 4 })
  const { mm } = machine
  const vpns = [machine.vpnOf(machine.pfn(0)), machine.map(machine.pfn(0))]
  tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))
  mm.content[pfnOf(write(machine, vpns[1]))] = 7
  zapPte(cpu, mm, vpns[1])
  tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL & ~__GFP_IO, 0, 0))
  verify(mm)
  expect([machine.contentAt(vpns[0]), mm.content[pfnOf(read(machine, vpns[0]))]]).toEqual([7, 7])
})

test('the same, though he exits while the page moves', () => {
  const machine = machineOf('M', { swapSlots: 4 })
  const { mm } = machine
  const vpns = [machine.vpnOf(machine.pfn(0)), machine.map(machine.pfn(0))]
  tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))
  const pfn = pfnOf(write(machine, vpns[1]))
  mm.content[pfn] = 7
  cpu.lock(mm.flags, pfn, PG_locked)
  tryToMigrate(cpu, mm, pfn, 1)
  zapPte(cpu, mm, vpns[1])
  removeMigrationPtes(cpu, mm, pfn, pfn, 1)
  cpu.unlock(mm.flags, pfn, PG_locked)
  tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL & ~__GFP_IO, 0, 0))
  verify(mm)
  expect([machine.contentAt(vpns[0]), mm.content[pfnOf(read(machine, vpns[0]))]]).toEqual([7, 7])
})

describe('random machines', () => {
  const unit = fc.constantFrom(
    'M.M.M.M.',
    'MMMMMMMM',
    'M===M=MM',
    'S=S.MESP',
    'F=======',
    'F.F.F.F.',
    'FFFFFFFF',
    'DWBS.BFM',
    'U.UzU.z.',
    ',,M.,M..',
  )
  const machines = fc.record({
    cells: fc.array(unit, { minLength: 1, maxLength: 50 }),
    rest: fc.constantFrom('U', 'U', '.'),
    swapSlots: fc.constantFrom(0, 1, 20, 500),
    watermarks: fc.constantFrom([0, 0, 0] as const, [4, 8, 16] as const, [20, 60, 200] as const),
  })
  const pick = fc.nat({ max: 9999 })
  const operations = fc.oneof(
    fc.record({ what: fc.constant('reclaim'), pick, order: fc.constantFrom(0, 0, 3, 9), io: fc.boolean() }),
    fc.record({
      what: fc.constantFrom('kswapd', 'compact', 'map', 'zap', 'read', 'write', 'read', 'write'),
      pick,
    }),
  )

  const boundTo = (machine: TestMachine): Vpn[] =>
    Array.from({ length: machine.mm.pte.length - 1 }, (_, i) => vpnOf(i + 1)).filter(
      (vpn) => machine.mm.pte[vpn] !== 0,
    )

  /** What each file slot holds: a page that is reclaimed leaves it empty. */
  function fileContents({ mm }: TestMachine): Map<Slot, number> {
    const found = new Map<Slot, number>()
    for (let i = 1; i < mm.swapStart; i++) {
      const pfn = pfnOf(mm.cache[slotOf(i)])
      if (pfn === 0) continue
      for (let page = 0; page < folioPages(mm.flags[pfn]); page++)
        found.set(slotOf(i + page), mm.content[pfnOf(pfn + page)])
    }
    return found
  }

  /** What one operation does to the machine and to what users remember of it. */
  function operate(
    machine: TestMachine,
    known: Map<Vpn, number>,
    { what, pick: n, ...more }: Operation,
  ): void {
    const { mm } = machine
    const vpns = boundTo(machine)
    const vpn = vpns.length === 0 ? undefined : vpns[n % vpns.length]
    const free = machine.freePages
    if (what === 'reclaim') {
      const gfp = more.io === true ? GFP_KERNEL : GFP_KERNEL & ~__GFP_IO
      const before = vmEvents(mm).pgsteal_direct ?? 0
      const hadLarge = machine.picture().includes('M=')
      tryToFreePages(cpu, mm, prepareAllocPages(mm, gfp, more.order ?? 0, 0))
      // More are free than were reclaimed where a folio was split that was mapped in part: nobody has those pieces.
      const stolen = (vmEvents(mm).pgsteal_direct ?? 0) - before
      expect(machine.freePages - free).toBeGreaterThanOrEqual(stolen)
      if (!hadLarge) expect(machine.freePages - free).toBe(stolen)
    } else if (what === 'kswapd') {
      wakeupKswapd(cpu, mm, zone, GFP_KERNEL, n % 10, ZONE_NORMAL)
      kswapd(cpu, mm, nidOf(0))
    } else if (what === 'compact') {
      compactNode(new FastCpu((cells, i, bits) => (cells[i] &= ~bits)), mm, nidOf(0))
    } else if (vpn === undefined) return
    else if (what === 'zap') {
      zapPte(cpu, mm, vpn)
      known.delete(vpn)
    } else if (what === 'map') {
      const pfn = ptePfn(mm.pte[vpn])
      if (isPresentPte(mm.pte[vpn]) && mm.mapcount[pfn] < 3) known.set(machine.map(pfn), mm.content[pfn])
    } else touch(machine, known, vpn, what === 'write')
  }

  /** Reads what a vpn maps, and writes to it through every pte that shares the page. */
  function touch(machine: TestMachine, known: Map<Vpn, number>, vpn: Vpn, writes: boolean): void {
    const { mm } = machine
    const found = faultInPage(cpu, mm, vpn, FREE_PAGES, writes)
    if (found === -ENOMEM) return
    const pfn: Pfn = pfnOf(found)
    expect(mm.content[pfn]).toBe(known.get(vpn))
    if (!writes) return
    const slot = (mm.flags[pfn] & PG_swapcache) === 0 ? -1 : mm.private[pfn]
    const value = 10_000 + (mm.content[pfn] % 10_000) + 1
    mm.content[pfn] = value
    for (const other of boundTo(machine)) {
      const pte = mm.pte[other]
      if (isSwapPte(pte) ? pteSlot(pte) === slot : ptePfn(pte) === pfn) known.set(other, value)
    }
  }

  interface Operation {
    readonly what: string
    readonly pick: number
    readonly order?: number
    readonly io?: boolean
  }

  const runs = process.env['DROVER_FUZZ'] === '1' ? 30_000 : 250

  test('reclaim loses no page, and nobody sees other contents than were there', () => {
    const property = fc.property(machines, fc.array(operations, { maxLength: 25 }), (shape, todo) => {
      const machine = machineOf(shape.cells.join(''), { ...shape, blocks: 1 })
      const { mm } = machine
      verify(mm)
      expect(mm.pfnCount).toBe(2 * pageblock_nr_pages)
      const known = new Map(boundTo(machine).map((vpn) => [vpn, machine.contentAt(vpn)]))
      for (const operation of todo) {
        const files = fileContents(machine)
        operate(machine, known, operation)
        verify(mm)
        for (const [vpn, value] of known) {
          // A file page loses its ptes when it is reclaimed: its contents are in the file.
          if (mm.pte[vpn] === 0) known.delete(vpn)
          else expect(machine.contentAt(vpn)).toBe(value)
        }
        if (operation.what === 'write') continue
        for (const [slot, value] of fileContents(machine)) expect(value).toBe(files.get(slot))
      }
    })
    fc.assert(property, { numRuns: runs })
  })
})
