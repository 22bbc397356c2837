/**
 * Every sentence of verify.ts fails on a machine that is broken in that one way, and holds before; all hold
 * after histories of every kind.
 */

import { describe, expect, test } from 'vitest'
import { AssertionError } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { initList, listAdd, listDel, listMoveTail } from '../base/list.ts'
import { Prng } from '../base/prng.ts'
import {
  cpuIdOf,
  type MappingId,
  nidOf,
  type Pfn,
  pageblockAt,
  pfnOf,
  slotOf,
  vpnOf,
  zoneIdOf,
} from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { compactNode, type Mm, RULES_6_1, RULES_6_18 } from './index.ts'
import {
  COMPOUND_TAIL,
  MIGRATE_MOVABLE,
  MIGRATE_UNMOVABLE,
  PG_active,
  PG_locked,
  PG_lru,
  PG_movable_ops_isolated,
} from './limits.ts'
import { SPIN_LOCKED } from './locks.ts'
import { AS_LOCKED, buddyValue } from './page.ts'
import { allocFromZone, putPage } from './page_alloc.ts'
import { drainPagesZone, pcpIndexOf } from './pcp.ts'
import { swapPte, zapPte } from './rmap.ts'
import { AT_REST, INVARIANTS, nothingIsLocked, verify } from './verify.ts'

const SENTENCES = [...INVARIANTS, ...AT_REST]

/** One of each kind of page: blocks of orders 1, 0 and 8 at least, folios, a driver page, a per-cpu page. */
const picture = '|M M S F . . U z , . M = U . E P D B W U| M===F===|'
const MAPPED = 0
const CACHED = 3
const FREE = 4
const IN_USE = 6
const DRIVER = 7
const PER_CPU = 8
const SINGLE_FREE = 9
const HEAD = 10
const LARGE = 20
const LARGE_CACHED = 24
const draw = (): TestMachine =>
  machineOf(picture, { rest: '.', swapSlots: 4, pcp: { high: 8, highMin: 8, highMax: 8, batch: 2 } })

const zone = zoneIdOf(0)
const freeCount = (order: number, mt = MIGRATE_MOVABLE): number => order * 6 + mt

interface Victim {
  readonly mm: Mm
  readonly file: MappingId
  readonly pfn: (place: number) => Pfn
}

/** What is broken, and the sentence that must say so. Other sentences may notice as well. */
const breaks: readonly [name: string, how: string, damage: (victim: Victim) => void][] = [
  ['everyPageblockHasAZoneAndAType', 'an unknown type', ({ mm }) => (mm.pageblock[pageblockAt(1)] |= 7)],
  ['everyPageblockHasAZoneAndAType', 'an unknown zone', ({ mm }) => (mm.pageblock[pageblockAt(1)] |= 5 << 8)],
  [
    'everyListedPageIsOnOneList',
    'links that do not agree',
    ({ mm, pfn }) => (mm.links[2 * pfn(MAPPED) + 1] = 1),
  ],
  [
    'everyListedPageIsOnOneList',
    'links of a page on no list',
    ({ mm, pfn }) => (mm.links[2 * pfn(IN_USE)] = 1),
  ],
  [
    'everyListedPageIsOnOneList',
    'a list that forgot its nodes',
    ({ mm }) => initList(mm.links, mm.lruList(0, 1)),
  ],
  [
    'everyFreeBlockIsOnItsFreeList',
    'a free block on no list',
    ({ mm, pfn }) => listDel(mm.links, pfn(SINGLE_FREE)),
  ],
  [
    'everyFreeBlockIsOnItsFreeList',
    'a free block on the list of another type',
    ({ mm, pfn }) => listMoveTail(mm.links, pfn(SINGLE_FREE), mm.freeList(0, 0, MIGRATE_UNMOVABLE)),
  ],
  [
    'everyFreeBlockIsOnItsFreeList',
    'a wrong order',
    ({ mm, pfn }) => (mm.mapcount[pfn(FREE)] = buddyValue(0)),
  ],
  [
    'everyFreeBlockIsAligned',
    'a block that is larger than its alignment',
    ({ mm, pfn }) => (mm.mapcount[pfn(SINGLE_FREE)] = buddyValue(1)),
  ],
  [
    'buddiesAreMerged',
    'a block in two halves',
    ({ mm, pfn }) => {
      const half = pfn(FREE + 1)
      listMoveTail(mm.links, pfn(FREE), mm.freeList(0, 0, MIGRATE_MOVABLE))
      listAdd(mm.links, half, mm.freeList(0, 0, MIGRATE_MOVABLE))
      mm.mapcount[half] = buddyValue(0)
      mm.mapcount[pfn(FREE)] = buddyValue(0)
    },
  ],
  [
    'aFreeBlockIsItsTypeAndItsOrder',
    'an order above the largest',
    ({ mm, pfn }) => (mm.mapcount[pfn(FREE)] = buddyValue(11)),
  ],
  [
    'aFreeBlockIsItsTypeAndItsOrder',
    'bits between type and order',
    ({ mm, pfn }) => (mm.mapcount[pfn(FREE)] |= 0x100),
  ],
  [
    'freeBlocksShareNoPage',
    'a block within a block',
    ({ mm, pfn }) => (mm.mapcount[pfn(FREE + 1)] = buddyValue(0)),
  ],
  ['nrFreeCountsTheFreeLists', 'a page too many', ({ mm }) => mm.nrFree[zone]++],
  ['nrFreeCmaCountsTheCmaLists', 'a page that is none of CMA', ({ mm }) => mm.nrFreeCma[zone]++],
  [
    'nrFreeHighatomicCountsTheHighatomicLists',
    'a page that is none of HIGHATOMIC',
    ({ mm }) => mm.nrFreeHighatomic[zone]++,
  ],
  [
    'nrReservedHighatomicCountsThePageblocks',
    'a reserve without a pageblock',
    ({ mm }) => (mm.nrReservedHighatomic[zone] = 512),
  ],
  [
    'theHighatomicReserveIsBounded',
    'a reserve in a zone that is too small for one',
    ({ mm }) => (mm.nrReservedHighatomic[zone] = 512),
  ],
  ['watermarksRise', 'a min mark above the low one', ({ mm }) => (mm.wmarkMin[zone] = 1)],
  ['theBoostIsBounded', 'a boost in a zone that is too small for one', ({ mm }) => (mm.wmarkBoost[zone] = 1)],
  [
    'theBoostIsBounded',
    'a boost by more than the factor allows',
    ({ mm }) => {
      mm.zoneManaged[zone] = 4096 // as if it were large: 150 % of a high mark of 600 are 900
      mm.wmarkHigh[zone] = 600
      mm.wmarkBoost[zone] = 901
    },
  ],
  [
    'perCpuBlocksSuitTheirLists',
    'a single page on the list of order 9',
    ({ mm, pfn }) =>
      listMoveTail(mm.links, pfn(PER_CPU), mm.pcpList(mm.pcpOf(zone, cpuIdOf(0)), pcpIndexOf(9, 1))),
  ],
  [
    'perCpuBlocksSuitTheirLists',
    'a page of a free block',
    ({ mm, pfn }) => listAdd(mm.links, pfn(FREE + 1), mm.pcpList(mm.pcpOf(zone, cpuIdOf(0)), 1)),
  ],
  [
    'perCpuTuningIsBounded',
    'a high mark above the highest',
    ({ mm }) => (mm.pcpHigh[mm.pcpOf(zone, cpuIdOf(0))] = 9),
  ],
  [
    'perCpuTuningIsBounded',
    'a sixth doubling',
    ({ mm }) => (mm.pcpAllocFactor[mm.pcpOf(zone, cpuIdOf(0))] = 6),
  ],
  ['perCpuTuningIsBounded', 'no batch', ({ mm }) => (mm.pcpBatch[mm.pcpOf(zone, cpuIdOf(0))] = 0)],
  [
    'cachedPositionsLieNoFurtherThanAPageblock',
    'a source far before its zone',
    ({ mm }) => (mm.cachedMigratePfnSync[zone] = -1),
  ],
  [
    'cachedPositionsLieNoFurtherThanAPageblock',
    'a target far behind its zone',
    ({ mm }) => (mm.cachedFreePfn[zone] = 1537),
  ],
  ['deferralIsBounded', 'more requests than 64', ({ mm }) => (mm.compactDeferShift[zone] = 7)],
  ['deferralIsBounded', 'a request too many', ({ mm }) => (mm.compactConsidered[zone] = 2)],
  [
    'captureSlotsAreEmpty',
    'a compaction that still waits',
    ({ mm }) => (mm.pcpCaptureOrder[mm.pcpOf(zone, cpuIdOf(0))] = 9),
  ],
  [
    'captureSlotsAreEmpty',
    'a block that nobody took',
    ({ mm }) => (mm.pcpCapturePage[mm.pcpOf(zone, cpuIdOf(0))] = 512),
  ],
  ['nrFreeBlocksCountTheFreeLists', 'a block too many', ({ mm }) => mm.nrFreeBlocks[freeCount(3)]++],
  ['freePagesAreUnreferenced', 'a reference', ({ mm, pfn }) => (mm.refcount[pfn(FREE + 1)] = 1)],
  ['freePagesAreUnreferenced', 'a flag', ({ mm, pfn }) => (mm.flags[pfn(PER_CPU)] = PG_active)],
  ['freePagesAreUnreferenced', 'a mapping', ({ mm, pfn }) => (mm.mapping[pfn(FREE)] = 4)],
  ['pcpCountsMatchTheirLists', 'a page too many', ({ mm }) => mm.pcpCount[mm.pcpOf(zone, cpuIdOf(0))]++],
  ['everyLruFolioIsOnItsList', 'PG_lru on no list', ({ mm, pfn }) => listDel(mm.links, pfn(MAPPED))],
  ['everyLruFolioIsOnItsList', 'no PG_lru on a list', ({ mm, pfn }) => (mm.flags[pfn(MAPPED)] &= ~PG_lru)],
  ['everyLruFolioIsOnItsList', 'another activity', ({ mm, pfn }) => (mm.flags[pfn(MAPPED)] ^= PG_active)],
  ['lruCountsMatchTheLists', 'a page too few', ({ mm }) => mm.nrLru[1]--],
  ['everyPresentPteIsCountedInItsPage', 'a mapcount', ({ mm, pfn }) => mm.mapcount[pfn(MAPPED)]++],
  ['rmapChainsMatchPtes', 'a pte in no chain', ({ mm, pfn }) => (mm.rmap[pfn(MAPPED)] = 0)],
  [
    'rmapChainsMatchPtes',
    'a chain in a circle',
    ({ mm, pfn }) => (mm.pteNext[vpnOf(mm.rmap[pfn(MAPPED)])] = mm.rmap[pfn(MAPPED)]),
  ],
  [
    'rmapChainsMatchPtes',
    'an empty pte in a chain',
    ({ mm, pfn }) => (mm.pte[vpnOf(mm.rmap[pfn(MAPPED)])] = 0),
  ],
  [
    'everyCachedFolioIsInItsSlot',
    'an empty slot',
    ({ mm, pfn }) => (mm.cache[slotOf(mm.private[pfn(CACHED)])] = 0),
  ],
  [
    'everyCachedFolioIsInItsSlot',
    'a slot of a page that is not cached',
    ({ mm, pfn }) => (mm.cache[slotOf(100)] = pfn(MAPPED)),
  ],
  ['swapMapCountsItsUsers', 'a user too many', ({ mm }) => mm.swapMap[mm.swapStart]++],
  [
    'swapMapCountsItsUsers',
    'a pte that is swapped out to where nothing is',
    ({ mm }) => (mm.pte[vpnOf(100)] = swapPte(slotOf(mm.swapStart + 1))),
  ],
  [
    'swapMapCountsItsUsers',
    'a pte that is swapped out to a slot of a file',
    ({ mm }) => (mm.pte[vpnOf(100)] = swapPte(slotOf(1))),
  ],
  ['freeSwapSlotsAreCounted', 'a free slot too many', ({ mm }) => mm.swapFree[nidOf(0)]++],
  [
    'tailsNameTheirHead',
    'a tail of a single page',
    ({ mm, pfn }) => (mm.private[pfn(HEAD + 1)] = pfn(MAPPED)),
  ],
  [
    'tailsNameTheirHead',
    'a head without its last tail',
    ({ mm, pfn }) => (mm.flags[pfn(LARGE + 3)] &= ~COMPOUND_TAIL),
  ],
  [
    'referencesAreAtLeastMappingsAndCache',
    'a missing reference',
    ({ mm, pfn }) => (mm.refcount[pfn(LARGE_CACHED)] = 3),
  ],
  ['everyPageIsInOneState', 'a lost page', ({ mm, pfn }) => (mm.refcount[pfn(IN_USE)] = 0)],
  ['everyPageIsInOneState', 'a page in use in a free block', ({ mm, pfn }) => (mm.refcount[pfn(FREE)] = 1)],
  ['hugetlbCountsMatchTheLists', 'a free page too many', ({ mm }) => mm.freeHugePages[nidOf(0)]++],
  ['hugetlbCountsMatchTheLists', 'more surplus than pages', ({ mm }) => mm.surplusHugePages[nidOf(0)]++],
  [
    'hugetlbCountsMatchTheLists',
    'a page of another kind on the list',
    ({ mm, pfn }) => listAdd(mm.links, pfn(IN_USE), mm.hugetlbList(nidOf(0))),
  ],
  ['nothingIsLocked', 'a page lock', ({ mm, pfn }) => (mm.flags[pfn(MAPPED)] |= PG_locked)],
  ['nothingIsLocked', 'a zone lock', ({ mm }) => (mm.zoneLock[zone] = SPIN_LOCKED)],
  ['nothingIsLocked', 'an lru lock', ({ mm }) => (mm.lruLock[nidOf(0)] = SPIN_LOCKED)],
  ['nothingIsLocked', 'a per-cpu lock', ({ mm }) => (mm.pcpLock[mm.pcpOf(zone, cpuIdOf(0))] = SPIN_LOCKED)],
  ['nothingIsLocked', 'the rmap lock', ({ mm }) => (mm.rmapLock[nidOf(0)] = SPIN_LOCKED)],
  ['nothingIsLocked', 'the hugetlb lock', ({ mm }) => (mm.hugetlbLock[nidOf(0)] = SPIN_LOCKED)],
  ['nothingIsLocked', 'an i_pages lock', ({ mm, file }) => (mm.mappingFlags[file] |= AS_LOCKED)],
  [
    'taskListsAreEmpty',
    'a page left behind',
    ({ mm, pfn }) => listAdd(mm.links, pfn(IN_USE), mm.taskList(cpuIdOf(0), 3)),
  ],
  ['isolatedCountersAreZero', 'a page that was never put back', ({ mm }) => mm.nrIsolatedAnon[nidOf(0)]++],
  [
    'noDriverPageIsIsolated',
    'one that is',
    ({ mm, pfn }) => (mm.flags[pfn(DRIVER)] |= PG_movable_ops_isolated),
  ],
  [
    'noPageIsUnderMigration',
    'a migration entry',
    ({ mm, pfn }) => (mm.pte[vpnOf(mm.rmap[pfn(MAPPED)])] ^= 3),
  ],
]

test.each(breaks)('%s sees %s', (name, _, damage) => {
  const machine = draw()
  verify(machine.mm)
  const invariant = SENTENCES.find((sentence) => sentence.name === name)
  damage({ mm: machine.mm, file: machine.file, pfn: (place) => machine.pfn(place) })
  expect(invariant?.(machine.mm)).toMatch(/\w/)
  expect(() => verify(machine.mm)).toThrow(AssertionError)
})

test('every sentence has been seen to fail', () => {
  const names = SENTENCES.map(({ name }) => name)
  expect(new Set(breaks.map(([name]) => name))).toEqual(new Set(names))
})

test('verify names the sentence and the page, and leaves out what it is told to', () => {
  const { mm } = draw()
  mm.flags[pfnOf(512)] |= PG_locked
  expect(() => verify(mm)).toThrow('nothingIsLocked: pfn 512: it is locked')
  expect(() => verify(mm, [nothingIsLocked])).not.toThrow()
})

describe.each([RULES_6_1, RULES_6_18])('by the rules of $name', (rules) => {
  test('all sentences hold after every step of a history', () => {
    const prng = new Prng(1)
    for (let run = 0; run < 20; run++) {
      const cells = Array.from({ length: 512 }, () => 'MMMEF.....zU,'[prng.below(13)]).join('')
      const machine = machineOf(cells, { rules, pcp: { high: 16, highMin: 8, highMax: 32, batch: 4 } })
      const { mm } = machine
      const cpu = new FastCpu()
      const held: number[] = []
      verify(mm)
      for (let step = 0; step < 30; step++) {
        const pfn = machine.pfn(prng.below(512))
        const choice = prng.below(6)
        if (choice === 0) compactNode(cpu, mm, nidOf(0))
        else if (choice === 1) drainPagesZone(cpu, mm, zone, cpu.id)
        else if (choice === 2 && mm.mapcount[pfn] > 0) zapPte(cpu, mm, vpnOf(mm.rmap[pfn]))
        else if (choice === 3 && held.length > 0) putPage(cpu, mm, pfnOf(held.pop() ?? 0))
        else {
          const got = allocFromZone(cpu, mm, zone, prng.below(4), MIGRATE_MOVABLE)
          if (got >= 0) held.push(got)
        }
        verify(mm)
      }
    }
  })
})
