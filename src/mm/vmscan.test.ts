/**
 * Reclaim on drawn machines. Expectations are literal: they follow by hand from the kernel's rules that are told
 * beside them. Pages are on their LRU lists in the order of the picture, oldest first.
 */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { mappingIdOf, nidOf, type Pfn, pfnOf, slotOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine, type TestMachineOptions } from '../testing/machine.ts'
import { filemapAddFolio } from './filemap.ts'
import { __GFP_DMA32, __GFP_IO, GFP_HIGHUSER_MOVABLE, GFP_KERNEL, type Gfp } from './gfp.ts'
import { createMachine } from './index.ts'
import {
  PG_active,
  PG_locked,
  PG_lru,
  PG_mlocked,
  PG_reclaim,
  PG_referenced,
  PG_unevictable,
  PG_uptodate,
  ZONE_NORMAL,
} from './limits.ts'
import { folioAddLru, folioIsolateLru, zoneLruPages } from './lru.ts'
import { LRU_ACTIVE_FILE, LRU_INACTIVE_FILE, LRU_UNEVICTABLE, MAPPING_FIRST_FILE, type Mm } from './page.ts'
import { prepareAllocPages } from './page_alloc.ts'
import { isSwapPte, pteSlot, zapPte } from './rmap.ts'
import { RULES_6_1 } from './rules.ts'
import { ScanControl } from './scan_control.ts'
import { nrSwapPages } from './swap.ts'
import { SILENT } from './trace.ts'
import { verify } from './verify.ts'
import { getScanCount, inactiveIsLow, tryToFreePages, zoneReclaimablePages } from './vmscan.ts'
import { vmEvents } from './vmstat.ts'

const node = nidOf(0)
const zone = zoneIdOf(0)
const cpu = new FastCpu()

const draw = (picture: string, options: TestMachineOptions = {}): TestMachine => machineOf(picture, options)

/** Reclaims for a request, checks the whole machine, and gives what was reclaimed. */
function reclaim({ mm }: TestMachine, order = 0, gfp: Gfp = GFP_KERNEL): number {
  const reclaimed = tryToFreePages(cpu, mm, prepareAllocPages(mm, gfp, order, 0))
  verify(mm)
  return reclaimed
}

describe('file pages', () => {
  test('the oldest go first, ever more at once, until 32 are free', () => {
    const machine = draw('F'.repeat(100))
    // Looked at by priority, each time of what is left: 100 >> 6, 99 >> 5, 96 >> 4, 90 >> 3, 79 >> 2.
    expect(reclaim(machine)).toBe(1 + 3 + 6 + 11 + 19)
    expect(machine.picture()).toBe('.'.repeat(40) + 'F'.repeat(60))
    expect(vmEvents(machine.mm)).toMatchObject({
      allocstall_normal: 1,
      pgscan_direct: 40,
      pgsteal_direct: 40,
      pgscan_file: 40,
      pgsteal_file: 40,
      pgscan_anon: 0,
      pgscan_kswapd: 0,
      pgrefill: 0,
    })
  })

  test('what is dirty or under writeback goes out of the way, to the active list; clean buffers are dropped', () => {
    const machine = draw('F D W B F')
    expect(reclaim(machine)).toBe(3)
    expect(machine.picture()).toBe('.DW..')
    for (const place of [1, 2]) {
      expect(machine.mm.flags[machine.pfn(place)] & (PG_active | PG_reclaim)).toBe(PG_active | PG_reclaim)
    }
  })

  test('a large folio goes as a whole', () => {
    const machine = draw('F======= FF')
    expect(reclaim(machine)).toBe(10)
    expect(machine.picture()).toBe('.'.repeat(10))
  })

  test('mapped ones lose their ptes; those that were used lately stay once more', () => {
    const machine = draw('FFF')
    const { mm } = machine
    const vpns = machine.places(3).map((pfn) => machine.map(pfn))
    mm.flags[machine.pfn(1)] |= PG_referenced
    mm.flags[machine.pfn(2)] |= PG_locked // not waited for
    const sc = () => tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))
    expect(sc()).toBe(1)
    mm.flags[machine.pfn(2)] &= ~PG_locked
    verify(mm)
    expect(machine.picture()).toBe('.FF')
    expect(mm.flags[machine.pfn(1)] & (PG_active | PG_referenced)).toBe(PG_active)
    expect(vpns.map((vpn) => mm.pte[vpn] !== 0)).toEqual([false, true, true])
    // One a walk: the active one is deactivated when nothing inactive is left, and that was the last priority.
    expect([reclaim(machine), reclaim(machine)]).toEqual([1, 1])
  })

  test('one that is mlocked goes to the unevictable list', () => {
    const machine = draw('FF')
    const { mm } = machine
    mm.flags[machine.pfn(0)] |= PG_mlocked
    expect(reclaim(machine)).toBe(1)
    expect(mm.flags[machine.pfn(0)] & (PG_lru | PG_unevictable | PG_active)).toBe(PG_lru | PG_unevictable)
    expect([zoneLruPages(mm, zone, LRU_UNEVICTABLE), zoneLruPages(mm, zone, LRU_INACTIVE_FILE)]).toEqual([
      1, 0,
    ])
  })

  test('one with a reference more is kept, and looked at again', () => {
    const machine = draw('FF')
    machine.mm.refcount[machine.pfn(0)]++
    expect(reclaim(machine)).toBe(1)
    expect(machine.picture()).toBe('F.')
    expect(machine.mm.flags[machine.pfn(0)] & PG_active).toBe(0)
  })

  test('active ones are deactivated where the inactive list is low', () => {
    const machine = draw('F'.repeat(64))
    const { mm } = machine
    activate(machine, machine.places(64))
    expect(inactiveIsLow(mm, node, LRU_INACTIVE_FILE)).toBe(true)
    // Nothing inactive until priority 6 has deactivated one; then 5: 63 >> 5 of the active list, and so on.
    expect(reclaim(machine)).toBeGreaterThanOrEqual(32)
    const { pgrefill = 0, pgdeactivate = 0, pgsteal_direct: stolen = 0 } = vmEvents(mm)
    expect(pgdeactivate).toBe(pgrefill)
    expect(pgdeactivate).toBeGreaterThanOrEqual(stolen)
    expect(zoneLruPages(mm, zone, LRU_ACTIVE_FILE)).toBe(64 - pgdeactivate)
  })
})

/** Makes pages active, as if they were used twice. */
function activate({ mm }: TestMachine, pfns: readonly Pfn[]): void {
  for (const pfn of pfns) {
    folioIsolateLru(cpu, mm, pfn)
    mm.flags[pfn] |= PG_active
    folioAddLru(cpu, mm, pfn)
  }
}

describe('when there is nothing', () => {
  test('all priorities are gone through twice, and each walk counts as a stall; once in 6.1', () => {
    const machine = draw('U')
    expect(reclaim(machine)).toBe(0)
    expect(vmEvents(machine.mm)).toMatchObject({ allocstall_normal: 2, pgscan_direct: 0 })
    const older = draw('U', { rules: RULES_6_1 })
    expect(reclaim(older)).toBe(0)
    expect(vmEvents(older.mm).allocstall_normal).toBe(1)
  })

  test('active pages that were passed over are deactivated by force', () => {
    const machine = draw('F'.repeat(64))
    const { mm } = machine
    const pfns = machine.places(64)
    activate(machine, pfns.slice(0, 32))
    // As many inactive as active ones: not low. But the inactive ones are in use.
    for (const pfn of pfns.slice(32)) mm.refcount[pfn]++
    expect(reclaim(machine)).toBeGreaterThan(0)
    expect(machine.picture().slice(32)).toBe('F'.repeat(32))
    expect(vmEvents(mm).allocstall_normal).toBe(3)
    expect(vmEvents(mm).pgdeactivate).toBeGreaterThan(0)
  })

  test('anonymous pages stay without swap, and are not even looked at', () => {
    const machine = draw('MMMM')
    expect(reclaim(machine)).toBe(0)
    expect(vmEvents(machine.mm)).toMatchObject({ pgscan_direct: 0, pgrefill: 0 })
  })
})

describe('for compaction', () => {
  /** 3072 file pages in 12 pageblocks, no two of them buddies. */
  const half = 'UF'.repeat(6 * 512)

  test('a costly order needs no reclaim where compaction has room already', () => {
    const machine = draw(half.slice(0, 1024), { blocks: 8, rest: '.' })
    expect(reclaim(machine, 9)).toBe(1)
    expect(vmEvents(machine.mm).pgscan_direct).toBe(0)
  })

  test('reclaim goes on until compaction has room for its targets: twice the block, and one page more', () => {
    const machine = draw(half)
    expect(reclaim(machine, 9)).toBe(1024 + 1)
  })

  test('or until the block is there', () => {
    const machine = draw('F'.repeat(4 * 512))
    expect(reclaim(machine, 9)).toBe(512)
  })

  test('a small order is content with 32 pages, as long as they are easy to get', () => {
    const machine = draw(half)
    // By priority 3072 >> 11, 3071 >> 10, then it is for compaction: >> 9 until more than 16 pages are free; >> 8, >> 7.
    expect(reclaim(machine, 3)).toBe(1 + 2 + (5 + 5 + 5) + 11 + 23)
  })

  test('and without I/O none of this is compaction’s business', () => {
    const machine = draw(half)
    expect(reclaim(machine, 9, GFP_KERNEL & ~__GFP_IO)).toBe(1 + 2 + 5 + 11 + 23)
  })
})

describe('swap', () => {
  test('goes by swappiness: with as many file pages, and costs alike, 60 of 200 parts are anonymous', () => {
    const machine = draw('M'.repeat(200) + 'F'.repeat(200), { swapSlots: 400 })
    const { mm } = machine
    activate(machine, machine.places(400).slice(200, 350))
    const sc = new ScanControl({ gfp: GFP_KERNEL, order: 0, reclaimIdx: ZONE_NORMAL, kswapd: false })
    sc.priority = 0
    expect(getScanCount(cpu, mm, node, sc)).toEqual([0, 200, 50, 150])
    sc.priority = 1
    // (anon) 60 * (0 + 1) / (0 + 1) = 60 to (file) 140, of half of each list
    expect(getScanCount(cpu, mm, node, sc)).toEqual([0, 30, 17, 52])
    mm.sysctl.swappiness = 200
    expect(getScanCount(cpu, mm, node, sc)).toEqual([0, 100, 0, 0])
    mm.sysctl.swappiness = 60
    mm.anonCost[node] = 9
    // anon 60 * (27 + 1) / (9 + 9 + 1) = 88, file 140 * 28 / (9 + 1) = 392
    expect(getScanCount(cpu, mm, node, sc)).toEqual([0, 18, 20, 61])
    sc.maySwap = false
    expect(getScanCount(cpu, mm, node, sc)).toEqual([0, 0, 25, 75])
  })

  test('many inactive file pages are taken before any anonymous one', () => {
    const machine = draw('M'.repeat(100) + 'F'.repeat(100), { swapSlots: 400 })
    expect(reclaim(machine)).toBeGreaterThanOrEqual(32)
    expect(vmEvents(machine.mm)).toMatchObject({ pswpout: 0, pgscan_anon: 0 })
  })

  test('pages go out oldest first, are written, and leave an entry in each pte', () => {
    const machine = draw('MMMM', { swapSlots: 8 })
    const { mm } = machine
    const second = machine.map(machine.pfn(0))
    const vpns = machine.places(4).map((pfn) => machine.vpnOf(pfn))
    expect(reclaim(machine)).toBe(4)
    expect(machine.picture()).toBe('....')
    // Slots in the order in which the pages were taken; the one that two ptes mapped counts both.
    const first = mm.swapStart
    expect([0, 1, 2, 3].map((i) => mm.swapMap[slotOf(first + i)])).toEqual([2, 1, 1, 1])
    expect(isSwapPte(mm.pte[second]) && pteSlot(mm.pte[second])).toBe(first)
    expect(vpns.slice(1).map((vpn) => pteSlot(mm.pte[vpn]) - first)).toEqual([1, 2, 3])
    expect(machine.contentAt(second)).toBe(1000)
    expect(vmEvents(mm)).toMatchObject({ pswpout: 4, pswpin: 0, pgsteal_anon: 4, pgdeactivate: 4 })
    expect(nrSwapPages(cpu, mm)).toBe(4)
  })

  test('ends when swap is full: what has no slot is activated', () => {
    const machine = draw('MMMM', { swapSlots: 2 })
    expect(reclaim(machine)).toBe(2)
    expect(machine.picture()).toBe('..MM')
    expect(nrSwapPages(cpu, machine.mm)).toBe(0)
    expect(reclaim(machine)).toBe(0)
  })

  test('a pinned page, and one that may not do I/O, keep their place', () => {
    const machine = draw('PM', { swapSlots: 8 })
    expect(reclaim(machine, 0, GFP_KERNEL & ~__GFP_IO)).toBe(0)
    expect(machine.picture()).toBe('PM')
    expect(reclaim(machine)).toBe(1)
    expect(machine.picture()).toBe('P.')
  })

  test('a large folio is split, and its pieces go one by one', () => {
    const machine = draw('M=======', { swapSlots: 8 })
    const vpns = machine.places(8).map((pfn) => machine.vpnOf(pfn))
    expect(reclaim(machine)).toBe(8)
    expect(vpns.map((vpn) => machine.contentAt(vpn))).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((i) => 1000 + i))
    expect(vmEvents(machine.mm)).toMatchObject({ pswpout: 8, pgsteal_anon: 8 })
  })

  test('what only the swap cache has left is freed, with its slot', () => {
    const machine = draw('SM', { swapSlots: 8 })
    const { mm } = machine
    zapPte(cpu, mm, machine.vpnOf(machine.pfn(0)))
    expect([machine.picture(), nrSwapPages(cpu, mm)]).toEqual(['SM', 7])
    expect(reclaim(machine)).toBe(2)
    expect([machine.picture(), nrSwapPages(cpu, mm)]).toEqual(['..', 7])
  })
})

describe('zones', () => {
  /** Two zones of a node, 64 file pages in each, those of the lower one between those of the other. */
  function twoZones(): Mm {
    const zoneOf = (name: string, startPfn: number) =>
      ({
        node: 0,
        name,
        startPfn,
        spanned: 512,
        present: 512,
        managed: 512,
        min: 0,
        low: 0,
        high: 0,
      }) as const
    const mm = createMachine({
      pfnCount: 1536,
      slots: 128,
      zones: [zoneOf('DMA32', 512), zoneOf('Normal', 1024)],
    })
    for (let pfn = 512; pfn < 1536; pfn++) mm.refcount[pfnOf(pfn)] = 1
    for (let i = 0; i < 128; i++) {
      const pfn = pfnOf((i % 2 === 0 ? 512 : 1024) + 4 * i)
      mm.flags[pfn] = PG_uptodate
      filemapAddFolio(cpu, mm, pfn, mappingIdOf(MAPPING_FIRST_FILE), slotOf(i + 1))
      folioAddLru(cpu, mm, pfn)
      mm.refcount[pfn]--
    }
    return mm
  }

  test('a request for a low zone passes over pages of higher ones', () => {
    const mm = twoZones()
    verify(mm)
    expect([0, 1].map((i) => zoneLruPages(mm, zoneIdOf(i), LRU_INACTIVE_FILE))).toEqual([64, 64])
    // 64 >> 6, 63 >> 5, 62 >> 4, 59 >> 3, 52 >> 2 pages of the lower zone; 39 >> 1 of the rest.
    const reclaimed = tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL | __GFP_DMA32, 0, 0))
    expect(reclaimed).toBe(1 + 1 + 3 + 7 + 13 + 19)
    verify(mm)
    expect([0, 1].map((i) => zoneLruPages(mm, zoneIdOf(i), LRU_INACTIVE_FILE))).toEqual([64 - 44, 64])
    const { allocstall_dma32: stalls, pgskip_normal: skipped = 0 } = vmEvents(mm)
    expect(stalls).toBe(1)
    expect(vmEvents(mm).pgscan_direct).toBe(44 + skipped)
  })

  test('what can be reclaimed of a zone: its file pages; anonymous ones with swap; free ones if there are none', () => {
    expect(zoneReclaimablePages(cpu, twoZones(), zoneIdOf(1))).toBe(64)
    expect(zoneReclaimablePages(cpu, draw('MMF.').mm, zone)).toBe(1)
    expect(zoneReclaimablePages(cpu, draw('MMF.', { swapSlots: 1 }).mm, zone)).toBe(3)
    expect(zoneReclaimablePages(cpu, draw('MM..').mm, zone)).toBe(2)
  })
})

test('a direct reclaim is told when it begins and when it ends', () => {
  const machine = draw('F'.repeat(100))
  const told: unknown[] = []
  machine.mm.trace = {
    ...SILENT,
    mmVmscanDirectReclaimBegin: (order, gfp) =>
      told.push([order, gfp, vmEvents(machine.mm).allocstall_movable]),
    mmVmscanDirectReclaimEnd: (pages) => told.push(pages),
  }
  reclaim(machine, 0, GFP_HIGHUSER_MOVABLE)
  expect(told).toEqual([[0, GFP_HIGHUSER_MOVABLE, 0], 40])
  expect(vmEvents(machine.mm).allocstall_movable).toBe(1)
})
