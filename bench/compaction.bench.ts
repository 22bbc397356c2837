/**
 * How fast is compaction of a whole zone, with everything it does, against the same in C?
 *
 * The zone: 30 % single-page holes at random; of the rest 40 % anonymous pages mapped once, 30 % cached
 * file pages, 20 % pages of a driver's pool, 10 % unmovable; 2 % of the anonymous and file pages are
 * pinned. An anonymous pin is seen at isolation, a file page's only when its references are to be frozen:
 * these are retried, alone at last, and put back.
 *
 * native/compaction.c is a port of the engine: same data, decisions and order. All columns must be equal
 * at the end.
 */

import { FastCpu } from '../src/base/cpu.ts'
import { listAddTail } from '../src/base/list.ts'
import { Prng } from '../src/base/prng.ts'
import {
  mappingIdOf,
  nidOf,
  type Pfn,
  pfnOf,
  type Slot,
  slotOf,
  type Vpn,
  vpnOf,
  zoneIdOf,
} from '../src/base/units.ts'
import { freeOnePageLocked, NO_CAPTURE } from '../src/mm/free_area.ts'
import { compactNode, createMachine, type Mm, type ZoneCompaction } from '../src/mm/index.ts'
import {
  MIGRATE_TYPES,
  NR_PAGE_ORDERS,
  PG_dirty,
  PG_lru,
  PG_swapbacked,
  PG_uptodate,
  PGTY_zsmalloc,
} from '../src/mm/limits.ts'
import {
  ANON_MAPPING,
  fileMapping,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  MAPPING_FIRST_FILE,
} from '../src/mm/page.ts'
import { presentPte } from '../src/mm/rmap.ts'
import { createPool, POOL_CELLS, poolInsert } from '../src/owners/page_pool.ts'
import { type Bench, type BenchCase, columnHashes, type Sample, type Size, timed } from './bench.ts'

const ZONE = zoneIdOf(0)
const NODE = nidOf(0)
const WARM_PAGES = 1 << 18
const MILLION = 1 << 20
const RATIO_MOST = 2
const HASHED = [
  'flags',
  'refcount',
  'mapcount',
  'mapping',
  'private',
  'rmap',
  'links',
  'pte',
  'cache',
  'pageblock',
  'nrFreeBlocks',
  'nrLru',
  'events',
  'ownerCells',
]

export const bench: Bench = {
  question: 'How fast is compaction of a whole zone, with everything it does, against the same in C?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  if (size === 'quick') return [compactionCase(1 << 16, 1, false)]
  const millions = size === 'large' ? [4, 16] : [4]
  return millions.map((m) => compactionCase(m * MILLION, 5, true))
}

function compactionCase(pages: number, rounds: number, judged: boolean): BenchCase {
  return {
    name: `compact ${pages >= MILLION ? `${pages / MILLION} M` : pages} pages`,
    args: [String(pages), String(rounds), '1'],
    twin: 'compaction',
    budgets: judged ? [{ of: 'compact', kind: 'ratio', most: RATIO_MOST }] : [],
    ops: pages,
  }
}

function measure([pageCount, roundCount, seed]: readonly string[]): Sample {
  const pages = Number(pageCount)
  // So that the compiler has done its work, as after the first second of any run.
  compactRounds(fragmentedMachine(Math.min(pages, WARM_PAGES), Number(seed)), 3)
  const mm = fragmentedMachine(pages, Number(seed))
  const { ms, done } = compactRounds(mm, Number(roundCount))
  return { ms: { compact: ms }, counts: countsOf(mm, done), hashes: columnHashes(mm, HASHED) }
}

function compactRounds(mm: Mm, rounds: number): { ms: number[]; done: ZoneCompaction } {
  const cpu = new FastCpu()
  const snapshot = mm.arena.snapshot()
  const ms: number[] = []
  let done: ZoneCompaction[] = []
  for (let round = 0; round < rounds; round++) {
    mm.arena.restore(snapshot)
    ms.push(
      timed(() => {
        done = compactNode(cpu, mm, NODE)
      }),
    )
  }
  return { ms, done: done[0] }
}

function countsOf(mm: Mm, { cc, result }: ZoneCompaction): Record<string, number> {
  const counts: Record<string, number> = {
    result,
    migrated: cc.stats.pagesSucceeded,
    failed: cc.stats.pagesFailed,
    migrateScanned: cc.migrateScanned,
    freeScanned: cc.freeScanned,
    nrFree: mm.nrFree[ZONE],
  }
  for (let order = 0; order < NR_PAGE_ORDERS; order++) {
    const of = mm.nrFreeBlocks.subarray(order * MIGRATE_TYPES, (order + 1) * MIGRATE_TYPES)
    counts[`free${order}`] = of.reduce((sum, blocks) => sum + blocks, 0)
  }
  cc.refused.forEach((pages, reason) => {
    if (pages > 0) counts[`refused${reason}`] = pages
  })
  return counts
}

// The workload.

function emptyMachine(pages: number): Mm {
  const min = pages >> 9
  return createMachine({
    pfnCount: pages,
    ptes: pages >> 1,
    slots: pages >> 1,
    ownerCells: POOL_CELLS,
    zones: [
      {
        node: 0,
        name: 'Normal',
        startPfn: 0,
        spanned: pages,
        present: pages,
        managed: pages,
        min,
        low: min + (min >> 2),
        high: min + (min >> 1),
        pcp: [{ high: min, highMin: min, highMax: pages >> 4, batch: 63 }],
      },
    ],
  })
}

function fragmentedMachine(pages: number, seed: number): Mm {
  const mm = emptyMachine(pages)
  const cpu = new FastCpu()
  const pool = createPool(mm, PGTY_zsmalloc, 'pool', 0)
  const prng = new Prng(seed)
  const isFree = new Uint8Array(pages)
  let vpn = 1
  let slot = 1
  for (let at = 0; at < pages; at++) {
    const pfn = pfnOf(at)
    const isHole = prng.below(1000) < 300
    const kind = prng.below(100)
    const pins = prng.below(100) < 2 ? 1 : 0
    if (at > 0 && isHole) {
      isFree[at] = 1
    } else if (at === 0 || kind >= 90) {
      mm.refcount[pfn] = 1
    } else if (kind < 40) {
      loadAnon(mm, pfn, vpnOf(vpn++))
      mm.refcount[pfn] += pins
    } else if (kind < 70) {
      loadFile(mm, pfn, slotOf(slot++))
      mm.refcount[pfn] += pins
    } else {
      mm.refcount[pfn] = 1
      poolInsert(cpu, mm, pool, pfn)
    }
  }
  for (let at = 0; at < pages; at++) {
    if (isFree[at] === 1) freeOnePageLocked(mm, at, 0, NO_CAPTURE)
  }
  return mm
}

/** An anonymous page that one pte maps. */
function loadAnon(mm: Mm, pfn: Pfn, vpn: Vpn): void {
  mm.flags[pfn] = PG_lru | PG_uptodate | PG_dirty | PG_swapbacked
  mm.mapping[pfn] = ANON_MAPPING
  mm.refcount[pfn] = 1
  mm.mapcount[pfn] = 1
  mm.rmap[pfn] = vpn
  mm.pte[vpn] = presentPte(pfn)
  listAddTail(mm.links, pfn, mm.lruList(NODE, LRU_INACTIVE_ANON))
  mm.nrLru[LRU_INACTIVE_ANON]++
}

/** A page of a file, in its slot and not mapped. */
function loadFile(mm: Mm, pfn: Pfn, slot: Slot): void {
  mm.flags[pfn] = PG_lru | PG_uptodate
  mm.mapping[pfn] = fileMapping(mappingIdOf(MAPPING_FIRST_FILE))
  mm.refcount[pfn] = 1
  mm.private[pfn] = slot
  mm.cache[slot] = pfn
  listAddTail(mm.links, pfn, mm.lruList(NODE, LRU_INACTIVE_FILE))
  mm.nrLru[LRU_INACTIVE_FILE]++
}
