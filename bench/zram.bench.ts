/**
 * How fast does zram store and load pages with their contents, against liblz4 in C; and how fast do its pages migrate?
 *
 *   store, load   every sector written once, then read once; `both` is their sum
 *   migrate       all pages of zspages isolated, moved and their old places freed, in batches of 32 as compaction does
 *
 * native/zram.c stores the same pages by LZ4_compress_default() in zspages of the same size classes, without locks, handles
 * and page allocator. Both must agree on every size and on what was read.
 */

import { newBytes } from '../src/base/bytes.ts'
import { FastCpu } from '../src/base/cpu.ts'
import { listAddTail } from '../src/base/list.ts'
import { Prng } from '../src/base/prng.ts'
import { cellsOf, pfnOf, zoneIdOf } from '../src/base/units.ts'
import { addFreeBlock } from '../src/mm/free_area.ts'
import { createMachine, type Mm } from '../src/mm/index.ts'
import {
  MAX_PAGE_ORDER,
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  MR_COMPACTION,
  PGTY_zsmalloc,
} from '../src/mm/limits.ts'
import { type MigrationTarget, migratePages, newMigrateStats } from '../src/mm/migrate.ts'
import { ISOLATED, isolateMovablePage } from '../src/mm/movable_ops.ts'
import { pageType } from '../src/mm/page.ts'
import { allocFromZone, putPage } from '../src/mm/page_alloc.ts'
import { createZram, mmStat, type Zram, zramCells, zramRead, zramWrite } from '../src/owners/zram.ts'
import { type Bench, type BenchCase, type Sample, type Size, timed } from './bench.ts'

const ZONE = zoneIdOf(0)
const PAGE = 4096
const BATCH = 32
/** Time / C's: half of its rate. */
const BOTH_MOST = 2
/** Pages a second. */
const MIGRATED_LEAST = 300_000

export const bench: Bench = {
  question: 'How fast does zram store and load pages, against liblz4 in C, and how fast do they migrate?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  const sectors = size === 'quick' ? 2000 : 20_000
  const judged = size !== 'quick'
  return [
    {
      name: `${sectors} sectors`,
      args: ['store', String(sectors), judged ? '5' : '2', '1'],
      twin: 'zram',
      budgets: judged ? [{ of: 'both', kind: 'ratio', most: BOTH_MOST }] : [],
      ops: sectors,
    },
    {
      name: `pages of ${sectors} sectors`,
      args: ['migrate', String(sectors), judged ? '5' : '2', '1'],
      // Per 10,000 pages, so that the budget does not depend on how many pages the sectors make.
      budgets: judged ? [{ of: 'migrate', kind: 'ms', most: Math.floor(10_000_000 / MIGRATED_LEAST) }] : [],
      ops: 10_000,
    },
  ]
}

function measure([what, sectorCount, roundCount, seed]: readonly string[]): Sample {
  const run = what === 'store' ? measureStore : measureMigrate
  for (let i = 0; i < 2; i++) run(1000, 3, Number(seed))
  return run(Number(sectorCount), Number(roundCount), Number(seed))
}

// What is in the pages, by kind in turn: the twin makes the same.

/** A page: random bytes and then a text that repeats; words of a dictionary; records that differ little; sentences. */
function fillPage(page: Uint8Array, kind: number, prng: Prng): void {
  const view = new DataView(page.buffer, page.byteOffset, PAGE)
  if (kind === 0) {
    const random = 209 + prng.below(3703)
    for (let i = 0; i < PAGE; i++) page[i] = i < random ? prng.below(256) : 97 + (i % 23)
  } else if (kind === 1) {
    const share = prng.below(200)
    for (let at = 0; at < PAGE; at += 4) {
      const random = prng.below(256) < share
      view.setUint32(at, random ? prng.next() : Math.imul(prng.below(64), 0x9e3779b1), true)
    }
  } else if (kind === 2) {
    const base = prng.next()
    for (let at = 0; at < PAGE; at += 4) {
      const field = (at >> 2) & 15
      view.setUint32(at, field === 0 ? base + at : field === 5 ? prng.next() : field < 12 ? 0 : base, true)
    }
  } else {
    let at = 0
    while (at < PAGE) {
      const word = prng.below(300)
      const length = 2 + (word % 9)
      for (let i = 0; i < length && at < PAGE; i++) page[at++] = 97 + ((word * 7 + i * i * 5) % 26)
      if (at < PAGE) page[at++] = 32
    }
  }
}

interface Device {
  readonly mm: Mm
  readonly zram: Zram
}

function device(sectors: number): Device {
  const pages = Math.ceil((sectors * 2) / 1024) * 1024
  const spec = { disksize: sectors }
  const mm = createMachine({
    pfnCount: pages,
    zones: [
      {
        node: 0,
        name: 'Normal',
        startPfn: 0,
        spanned: pages,
        present: pages,
        managed: pages,
        min: 0,
        low: 0,
        high: 0,
        pcp: [{ high: 512, highMin: 512, highMax: 512, batch: 63 }],
      },
    ],
    ownerCells: zramCells(spec),
    pageData: true,
  })
  for (let pfn = 0; pfn < pages; pfn += 1 << MAX_PAGE_ORDER) addFreeBlock(mm, pfnOf(pfn), MAX_PAGE_ORDER)
  return { mm, zram: createZram(mm, { cell: 0, list: 0 }, spec) }
}

function pagesFor(sectors: number, seed: number): Uint8Array[] {
  const prng = new Prng(seed)
  return Array.from({ length: sectors }, (_, sector) => {
    const { bytes } = newBytes(PAGE)
    fillPage(bytes, sector & 3, prng)
    return bytes
  })
}

function storeAll(cpu: FastCpu, { mm, zram }: Device, pages: readonly Uint8Array[]): number {
  let failed = 0
  for (let sector = 0; sector < pages.length; sector++) {
    if (zramWrite(cpu, mm, zram, sector, pages[sector]) !== 0) failed++
  }
  return failed
}

/** Sum over the first word of each page, in which a wrong page shows. */
function loadAll(cpu: FastCpu, { mm, zram }: Device, sectors: number, into: Uint8Array): number {
  let sum = 0
  for (let sector = 0; sector < sectors; sector++) {
    if (zramRead(cpu, mm, zram, sector, into) !== 0) return -1
    sum = (Math.imul(sum, 31) + into[sector & 4095]) >>> 0
  }
  return sum
}

function measureStore(sectors: number, rounds: number, seed: number): Sample {
  const cpu = new FastCpu()
  const pages = pagesFor(sectors, seed)
  const into = new Uint8Array(PAGE)
  const ms: { store: number[]; load: number[]; both: number[] } = { store: [], load: [], both: [] }
  let counts: Record<string, number> = {}
  for (let round = 0; round < rounds; round++) {
    const it = device(sectors)
    // Untouched memory costs its first touch: not what is asked here, for either program.
    it.mm.pageData.fill(1)
    let failed = 0
    let sum = 0
    const store = timed(() => {
      failed = storeAll(cpu, it, pages)
    })
    const load = timed(() => {
      sum = loadAll(cpu, it, sectors, into)
    })
    ms.store.push(store)
    ms.load.push(load)
    ms.both.push(store + load)
    const { comprDataSize, memUsedTotal, hugePages } = mmStat(cpu, it.mm, it.zram)
    counts = { sectors, failed, sum, comprDataSize, pages: memUsedTotal / PAGE, hugePages }
  }
  return { ms, counts, hashes: {} }
}

const TO_FREE_PAGES: MigrationTarget = {
  getNewFolio: (cpu, mm, _src, order) => allocFromZone(cpu, mm, ZONE, order, MIGRATE_MOVABLE),
  putNewFolio: putPage,
}

/** Moves every page of a zspage once, in batches. Gives how many. */
function migrateAll(cpu: FastCpu, mm: Mm, pfns: Int32Array): number {
  const list = mm.taskList(cpu.id, 0)
  const stats = newMigrateStats()
  for (let from = 0; from < pfns.length; from += BATCH) {
    for (let i = from; i < Math.min(from + BATCH, pfns.length); i++) {
      const pfn = pfnOf(pfns[i])
      if (isolateMovablePage(cpu, mm, pfn, 0) === ISOLATED) listAddTail(mm.links, pfn, list)
    }
    migratePages(cpu, mm, list, TO_FREE_PAGES, MIGRATE_ASYNC, MR_COMPACTION, stats)
  }
  return stats.pagesSucceeded
}

const zspagePages = (mm: Mm): Int32Array =>
  Int32Array.from(cellsOf(mm.mapcount).keys()).filter(
    (pfn) => pageType(mm.mapcount[pfnOf(pfn)]) === PGTY_zsmalloc,
  )

function measureMigrate(sectors: number, rounds: number, seed: number): Sample {
  const cpu = new FastCpu()
  const pages = pagesFor(sectors, seed)
  const it = device(sectors)
  storeAll(cpu, it, pages)
  const into = new Uint8Array(PAGE)
  const before = loadAll(cpu, it, sectors, into)
  const ms: number[] = []
  let moved = 0
  for (let round = 0; round < rounds; round++) {
    const pfns = zspagePages(it.mm)
    const took = timed(() => {
      moved = migrateAll(cpu, it.mm, pfns)
    })
    ms.push((took * 10_000) / moved)
    if (moved !== pfns.length) throw new Error(`zram.bench: ${pfns.length - moved} pages did not move`)
  }
  const same = loadAll(cpu, it, sectors, into) === before ? 1 : 0
  if (same === 0) throw new Error('zram.bench: what was read after the moves differs')
  return { ms: { migrate: ms }, counts: { sectors, moved }, hashes: {} }
}
