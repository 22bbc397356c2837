/** The one loop over all pages writes the cells that a function a page would, with the engine's own functions. */

import { expect, test } from 'vitest'
import { listAddTail } from '../base/list.ts'
import { Prng } from '../base/prng.ts'
import { pcpIdOf, pfnOf, slotOf, vpnOf } from '../base/units.ts'
import type { Capture } from '../capture/format/capture.ts'
import { addFreeBlock } from '../mm/free_area.ts'
import type { Mm } from '../mm/index.ts'
import {
  COMPOUND_ORDER_SHIFT,
  COMPOUND_TAIL,
  MAX_PAGE_ORDER,
  PG_head,
  PG_movable_ops,
  PGTY_hugetlb,
  PGTY_offline,
  PGTY_slab,
  PGTY_table,
  PGTY_zsmalloc,
  pageTypeValue,
} from '../mm/limits.ts'
import { nodeOf } from '../mm/lru.ts'
import { addPcpPage } from '../mm/pcp.ts'
import { presentPte } from '../mm/rmap.ts'
import { verify } from '../mm/verify.ts'
import { addPoolPage } from '../owners/page_pool.ts'
import { captureOf } from '../testing/capture.ts'
import { demoCapture, valueOf } from '../testing/reference.ts'
import { OWNER_CLASSES, ownerId } from './classify.ts'
import { type Prepared, prepareMachine } from './load.ts'
import { BALLOON_POOL, loadPages, ZSMALLOC_POOL } from './load_pages.ts'
import { FACT_FLAGS, FACT_LIST, FACT_MAPPING, FACT_REFERENCES, FACTS, isOnLru } from './load_words.ts'
import { buildPageMap, ORDER_TAIL } from './page_map.ts'

const TYPES: Partial<Record<string, number>> = {
  slab: PGTY_slab,
  page_table: PGTY_table,
  hugetlb: PGTY_hugetlb,
  offline: PGTY_offline,
}

/** Says plainly, page by page, what loadPages() does. */
class NaiveLoader {
  private readonly mm: Mm
  private readonly prepared: Prepared
  private nextVpn = 1
  private nextSlot = 1

  constructor(prepared: Prepared) {
    this.mm = prepared.mm
    this.prepared = prepared
  }

  load(): void {
    const { source, zones } = this.prepared
    source.map.zones.forEach(({ start, end }, zone) => {
      const left = zones[zone].pagesets.map((set) => set.count)
      for (let at = start; at < end; ) at += this.loadAt(at, zone, left)
    })
  }

  /** Loads what begins at `at`. Gives its pages. */
  private loadAt(at: number, zone: number, left: number[]): number {
    const { owner, order } = this.prepared.source.map
    const pfn = pfnOf(at)
    const who = ownerId(owner[at])
    const pages = order[at] === ORDER_TAIL ? 1 : 1 << order[at]
    if (isOnLru(owner[at])) return this.loadFolio(at, pages)
    if (who === 'hole' || who === 'not_initialised') return 1
    if (who === 'per_cpu_free') return this.loadPcp(at, zone, left)
    if (who === 'zsmalloc') return this.loadPool(at, ZSMALLOC_POOL, PGTY_zsmalloc)
    if (who === 'balloon') return this.loadPool(at, BALLOON_POOL, PGTY_offline)
    if (who === 'free') addFreeBlock(this.mm, pfn, order[at])
    else this.loadInUse(at, order[at] > MAX_PAGE_ORDER ? 0 : order[at], TYPES[who])
    return who === 'free' || order[at] <= MAX_PAGE_ORDER ? pages : 1
  }

  private loadPcp(at: number, zone: number, left: number[]): number {
    const some = left.findIndex((pages) => pages > 0)
    const cpu = some < 0 ? left.length - 1 : some
    left[cpu]--
    addPcpPage(this.mm, pcpIdOf(zone * this.mm.cpus + cpu), pfnOf(at))
    return 1
  }

  private loadPool(at: number, pool: number, pgty: number): number {
    const pfn = pfnOf(at)
    this.mm.refcount[pfn] = 1
    this.mm.mapcount[pfn] = pageTypeValue(pgty)
    this.mm.flags[pfn] = PG_movable_ops
    addPoolPage(this.mm, pool, pfn)
    return 1
  }

  private loadInUse(at: number, order: number, type: number | undefined): void {
    this.mm.refcount[pfnOf(at)] = 1
    for (let page = at; page < at + (1 << order); page++)
      this.mm.mapcount[pfnOf(page)] = type === undefined ? 0 : pageTypeValue(type)
    this.makeCompound(at, order)
  }

  private makeCompound(at: number, order: number): void {
    if (order === 0) return
    this.mm.flags[pfnOf(at)] |= PG_head | (order << COMPOUND_ORDER_SHIFT)
    for (let tail = at + 1; tail < at + (1 << order); tail++) {
      this.mm.flags[pfnOf(tail)] = COMPOUND_TAIL
      this.mm.private[pfnOf(tail)] = at
    }
  }

  private loadFolio(at: number, pages: number): number {
    const { mm } = this
    const { facts, flagIndex, map, refIndex, refOfWord } = this.prepared.source
    const pfn = pfnOf(at)
    const word = FACTS * flagIndex[at]
    mm.flags[pfn] = facts[word + FACT_FLAGS]
    mm.mapping[pfn] = facts[word + FACT_MAPPING]
    let references = 0
    if (facts[word + FACT_REFERENCES] > 0) {
      references = facts[word + FACT_REFERENCES] + pages - 1
      mm.private[pfn] = this.nextSlot
      mm.cache[slotOf(this.nextSlot)] = pfn
      this.nextSlot += pages
    }
    references += this.mapFolio(at, pages, references === 0)
    const isPinned = OWNER_CLASSES[map.owner[at]].name === 'pinned'
    const recorded = refIndex === undefined ? 0 : refOfWord[refIndex[at]]
    mm.refcount[pfn] = isPinned ? Math.max(references + 1, recorded) : references
    this.makeCompound(at, Math.log2(pages))
    const list = facts[word + FACT_LIST]
    listAddTail(mm.links, pfn, mm.lruList(nodeOf(mm, pfn), list))
    mm.nrLru[mm.zoneOf(pfn) * 5 + list] += pages
    return pages
  }

  /** As many ptes a page as are counted; one if none is, and the folio `must` be mapped. Gives how many. */
  private mapFolio(at: number, pages: number, must: boolean): number {
    const { countIndex, countOfWord } = this.prepared.source
    let mapped = 0
    for (let page = at; page < at + pages; page++) {
      this.mapPage(page, countOfWord[countIndex[page]])
      mapped += countOfWord[countIndex[page]]
    }
    if (mapped > 0 || !must) return mapped
    this.mapPage(at, 1)
    return 1
  }

  private mapPage(at: number, count: number): void {
    const { mm } = this
    const pfn = pfnOf(at)
    mm.mapcount[pfn] = count
    for (let i = 0; i < count; i++) {
      const vpn = vpnOf(this.nextVpn++)
      mm.pte[vpn] = presentPte(pfn)
      mm.pteNext[vpn] = mm.rmap[pfn]
      mm.rmap[pfn] = vpn
    }
  }
}

/** Loads a capture in both ways. Gives the columns that differ, and the machine. */
function both(capture: Capture): { differing: { column: string; index: number }[]; mm: Mm } {
  const prepared = (): Prepared => valueOf(prepareMachine(capture, valueOf(buildPageMap(capture)), {}))
  const naive = prepared()
  new NaiveLoader(naive).load()
  const { mm, source, zones } = prepared()
  loadPages(mm, source, zones)
  return { differing: naive.mm.arena.diff(mm.arena.buffer), mm }
}

/** A stretch of pages: a flags word a page (head and tails), and what the other columns may say. */
const WORDS: readonly (readonly string[])[] = [
  ['0x400'], // free
  ['0x0'], // per-cpu free, or the kernel's
  ['0x5828'], // anonymous
  ['0x7828'], // the same in the swap cache
  ['0x200005828'], // mlocked
  ['0x28'], // file
  ['0x38'], // file, dirty
  ['0x200000020'], // buffers
  ['0x4820'], // shmem
  ['0x80'], // slab
  ['0x8080', '0x10080', '0x10080', '0x10080'],
  ['0x8080', '0x10080'],
  ['0x4000000'], // page table
  ['0x100000000'], // reserved
  ['0x408028', '0x410028', '0x410028', '0x410028'],
  ['0x408028', '0x410028', '0x410028'], // torn
  ['0x40d828', '0x415828'], // large, anonymous
  ['0x28', '0x410028'], // a tail without a head
  ['0x20000'], // hugetlb
]
const PAGES = 6 * 512

function randomCapture(seed: number): Capture {
  const random = new Prng(seed)
  const flags: string[] = []
  while (flags.length < PAGES) {
    const words = WORDS[random.below(WORDS.length)]
    const times = random.below(8) === 0 ? 300 + random.below(1800) : 1 + random.below(6)
    for (let i = 0; i < times; i++) {
      // A compound page lies at a multiple of its size.
      while (words.length > 1 && flags.length % 4 !== 0) flags.push('0x80')
      flags.push(...words)
    }
  }
  const columnOf = (most: number): string =>
    Array.from({ length: PAGES }, () => `0x${random.below(3) === 0 ? random.below(most) : 1}`).join(' ')
  const types = Array.from({ length: PAGES / 512 }, () => `0x${random.below(3)}`)
  return captureOf({
    columns: {
      flags: flags.slice(0, PAGES).join(' '),
      mapcount: columnOf(4),
      ...(random.below(2) === 0 ? { 'truth.refcount': columnOf(7) } : {}),
      'truth.pageblock': types.join(' '),
    },
    pcp: random.below(500),
  })
}

test.each(Array.from({ length: 40 }, (_, seed) => seed))('a machine of random pages, seed %i', (seed) => {
  const { differing, mm } = both(randomCapture(seed))
  expect(differing).toEqual([])
  verify(mm)
})

test('the machine of the demo, 6.5 M pages', () => {
  expect(both(demoCapture('before')).differing).toEqual([])
})

test('a free block over two pageblocks is of one type', () => {
  const capture = captureOf({ columns: { flags: '0x400*1024 0x80*512', 'truth.pageblock': '0x2 0x1 0x0' } })
  const { differing, mm } = both(capture)
  expect(differing).toEqual([])
  expect([0, 512, 1024].map((pfn) => mm.migratetypeOf(pfnOf(pfn)))).toEqual([2, 2, 0])
})
