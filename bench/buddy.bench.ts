/**
 * How fast is the buddy allocator, against the same in C?
 *
 *   fill, free    every page allocated at order 0, then freed in random order, through the free lists
 *   mixed         orders 0..10 of four migratetypes at 70 % full: allocate below it, free a random block above
 *   alloc, put    as fill and free, through the whole path: allocFromZone and putPage with per-cpu lists
 *
 * native/buddy.c does the same on the same columns; the order of the random permutation and of the mix
 * come from the same generators.
 */

import { FastCpu } from '../src/base/cpu.ts'
import { Prng } from '../src/base/prng.ts'
import { pfnOf, zoneIdOf } from '../src/base/units.ts'
import { addFreeBlock, freeOnePageLocked, NO_CAPTURE, rmqueueSmallestLocked } from '../src/mm/free_area.ts'
import { createMachine, type Mm } from '../src/mm/index.ts'
import {
  MAX_PAGE_ORDER,
  MIGRATE_CMA,
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  pageblockOf,
} from '../src/mm/limits.ts'
import { PB_MIGRATETYPE } from '../src/mm/page.ts'
import { allocFromZone, putPage } from '../src/mm/page_alloc.ts'
import { type Bench, type BenchCase, columnHashes, type Sample, type Size, timed } from './bench.ts'

const ZONE = zoneIdOf(0)
const MIXED_TYPES = [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_CMA]
const HASHED = ['refcount', 'mapcount', 'private', 'links', 'pageblock', 'nrFreeBlocks']
const WARM_PAGES = 1 << 16
const MILLION = 1 << 20

/** Time ratios; performance.md has them as rates: 0.8x, 0.7x and 0.5x of C's. */
const FILL_MOST = 1.25
const FREE_MOST = 1.43
const MIXED_MOST = 2

export const bench: Bench = {
  question: 'How fast is the buddy allocator, against the same in C?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  if (size === 'quick') {
    return ['order0', 'mixed', 'pages'].map((what) => buddyCase(what, WARM_PAGES, 2, false))
  }
  const millions = size === 'large' ? [1, 4, 16] : [1, 4]
  return millions.flatMap((m) =>
    ['order0', 'mixed', 'pages'].map((what) => buddyCase(what, m * MILLION, m === 16 ? 2 : 3, m >= 4)),
  )
}

function buddyCase(what: string, pages: number, rounds: number, judged: boolean): BenchCase {
  const ratio = (of: string, most: number): BenchCase['budgets'][number] => ({ of, kind: 'ratio', most })
  const budgets = {
    order0: [ratio('fill', FILL_MOST), ratio('free', FREE_MOST)],
    mixed: [ratio('mixed', MIXED_MOST)],
    pages: [],
  }[what]
  return {
    name: `${what} ${pages >= MILLION ? `${pages / MILLION} M` : pages} pages`,
    args: [what, String(pages), String(rounds), '1'],
    twin: 'buddy',
    budgets: judged ? (budgets ?? []) : [],
    ops: what === 'mixed' ? mixedOps(pages) : pages,
  }
}

const mixedOps = (pages: number): number => Math.min(2 * pages, 8_000_000)

function measure([what, pageCount, roundCount, seed]: readonly string[]): Sample {
  const pages = Number(pageCount)
  const rounds = Number(roundCount)
  const run = what === 'mixed' ? measureMixed : measureOrder0
  const wholePath = what === 'pages'
  // So that the compiler has done its work, as after the first second of any run.
  for (let i = 0; i < 3; i++) run(WARM_PAGES, 2, Number(seed), wholePath)
  return run(pages, rounds, Number(seed), wholePath)
}

function freeMachine(pages: number, prng: Prng, mixedTypes: boolean): Mm {
  const high = pages >> 9
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
        pcp: [{ high, highMin: high, highMax: pages >> 4, batch: 63 }],
      },
    ],
  })
  for (let pfn = 0; pfn < pages; pfn += 1 << MAX_PAGE_ORDER) {
    if (mixedTypes) {
      const mt = MIXED_TYPES[prng.below(4)]
      for (const at of [pfn, pfn + (1 << (MAX_PAGE_ORDER - 1))]) {
        const block = pageblockOf(pfnOf(at))
        mm.pageblock[block] = (mm.pageblock[block] & ~PB_MIGRATETYPE) | mt
      }
    }
    addFreeBlock(mm, pfnOf(pfn), MAX_PAGE_ORDER)
  }
  return mm
}

function permutation(pages: number, prng: Prng): Int32Array {
  const order = Int32Array.from({ length: pages }, (_, i) => i)
  for (let i = pages - 1; i > 0; i--) {
    const j = prng.below(i + 1)
    const at = order[i]
    order[i] = order[j]
    order[j] = at
  }
  return order
}

// Order 0: fill and free.

function fill(mm: Mm, pages: number): number {
  let sum = 0
  for (let i = 0; i < pages; i++) {
    sum = (Math.imul(sum, 31) + rmqueueSmallestLocked(mm, ZONE, 0, MIGRATE_MOVABLE)) | 0
  }
  return sum
}

function freeAll(mm: Mm, order: Int32Array): void {
  for (let i = 0; i < order.length; i++) freeOnePageLocked(mm, order[i], 0, NO_CAPTURE)
}

function allocAll(cpu: FastCpu, mm: Mm, pages: number): number {
  let got = 0
  while (got < pages && allocFromZone(cpu, mm, ZONE, 0, MIGRATE_MOVABLE) >= 0) got++
  return got
}

function putAll(cpu: FastCpu, mm: Mm, order: Int32Array): void {
  for (let i = 0; i < order.length; i++) {
    const pfn = pfnOf(order[i])
    if (mm.refcount[pfn] === 1) putPage(cpu, mm, pfn)
  }
}

function measureOrder0(pages: number, rounds: number, seed: number, wholePath: boolean): Sample {
  const prng = new Prng(seed)
  const cpu = new FastCpu()
  const mm = freeMachine(pages, prng, false)
  const order = permutation(pages, prng)
  const first: number[] = []
  const second: number[] = []
  let sum = 0
  for (let round = 0; round < rounds; round++) {
    first.push(
      timed(() => {
        sum = wholePath ? allocAll(cpu, mm, pages) : fill(mm, pages)
      }),
    )
    second.push(
      timed(() => {
        if (wholePath) putAll(cpu, mm, order)
        else freeAll(mm, order)
      }),
    )
  }
  return {
    ms: wholePath ? { alloc: first, put: second } : { fill: first, free: second },
    counts: { ops: pages, sum, nrFree: mm.nrFree[ZONE] },
    hashes: columnHashes(mm, HASHED),
  }
}

// Mixed orders.

/** Blocks in use, in no order: pfn << 4 | order. */
class Live {
  readonly blocks: Int32Array
  count = 0
  used = 0
  failed = 0
  private x = 2463534242 | 0

  constructor(pages: number) {
    this.blocks = new Int32Array(pages)
  }

  /** Marsaglia's xorshift32: so cheap that the allocator is what is measured. */
  random(): number {
    let x = this.x
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.x = x
    return x
  }
}

/** `ops` allocations below `target` pages in use, frees above it. With `ops` 0: until the target is reached. */
function mix(mm: Mm, live: Live, target: number, ops: number): void {
  const { blocks } = live
  for (let i = 0; ops === 0 ? live.used < target : i < ops; i++) {
    const r = live.random()
    if (live.used < target) {
      const bits = r | (1 << MAX_PAGE_ORDER)
      const order = 31 - Math.clz32(bits & -bits)
      const pfn = rmqueueSmallestLocked(mm, ZONE, order, MIXED_TYPES[(r >>> 16) & 3])
      if (pfn >= 0) {
        blocks[live.count++] = (pfn << 4) | order
        live.used += 1 << order
        continue
      }
      live.failed++
    }
    const at = (live.random() >>> 1) % live.count
    const block = blocks[at]
    blocks[at] = blocks[--live.count]
    freeOnePageLocked(mm, block >>> 4, block & 15, NO_CAPTURE)
    live.used -= 1 << (block & 15)
  }
}

function measureMixed(pages: number, rounds: number, seed: number): Sample {
  const mm = freeMachine(pages, new Prng(seed), true)
  const live = new Live(pages)
  const target = Math.floor((pages * 7) / 10)
  const ops = mixedOps(pages)
  mix(mm, live, target, 0)
  const ms: number[] = []
  for (let round = 0; round < rounds; round++) ms.push(timed(() => mix(mm, live, target, ops)))
  return {
    ms: { mixed: ms },
    counts: { ops, live: live.count, used: live.used, failed: live.failed, nrFree: mm.nrFree[ZONE] },
    hashes: columnHashes(mm, HASHED),
  }
}
