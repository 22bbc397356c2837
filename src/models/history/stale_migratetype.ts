/**
 * page_alloc: the migratetype of a page that is freed against isolation of its pageblock.
 *
 * The real code. A page is freed to the free list of its pageblock's type. The free path asked for the type before
 * it had the zone lock. A single page went to a per-cpu list first, with the type noted in the page, and the note
 * named the free list when the per-cpu list was emptied. But the type is guarded by the zone lock: meanwhile
 * alloc_contig_range() or memory offlining may set it to MIGRATE_ISOLATE, or back. Then a page of an isolated
 * block is on a list from which it is allocated, or a page of a normal block on the one from which it never is.
 *
 * The fix. Two commits of one series: where a zone has isolated pageblocks, the type is asked for again under the
 * zone lock, both where per-cpu pages go to the free lists (51bb1a4093cc) and where a page goes there directly
 * (ad53f92eb416).
 *
 * The model. One pageblock of `pages` pages. `actors` of them are in use and freed, each on a cpu of its own, whose
 * per-cpu list is over its mark at once; the others are free. One task isolates the block, drains the per-cpu
 * lists and undoes the isolation. What the zone lock guards is one step.
 *
 * Verified: in every state a free page is on the list of its pageblock's type.
 *
 * Not verified here: merging of buddies across pageblocks and the count of free pages (the rest of that series),
 * pages that are allocated meanwhile, and interrupts: a cpu's own list is not touched in between.
 */

import type { Cpu } from '../../base/cpu.ts'
import type { System } from '../../check/system.ts'
import { MIGRATE_ISOLATE, MIGRATE_MOVABLE } from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import type { Model } from '../model.ts'

interface Block {
  readonly zoneLock: Int32Array
  readonly migratetype: Int32Array // of the pageblock
  readonly list: Int32Array // by page: IN_USE, ON_PCP, or the migratetype whose free list it is on
  readonly noted: Int32Array // by page: the type that it had when it was put on the per-cpu list; NONE before
}

const IN_USE = -1
const ON_PCP = -2
const NONE = -1

export const staleMigratetype: Model = {
  name: 'stale-migratetype',
  question:
    'Can a page be freed to a free list that is not of its pageblock’s type while the pageblock is isolated or released?',
  source:
    '51bb1a4093cc ("mm/page_alloc: add freepage on isolate pageblock to correct buddy list"), ad53f92eb416 ("mm/page_alloc: fix incorrect isolation behavior by rechecking migratetype")',
  seeded: {
    'noted-type': 'a per-cpu page goes to the list of the type that was noted in it (before 51bb1a4093cc)',
    'type-before-lock':
      'a page that is freed directly goes to the list of the type that was read before the zone lock (before ad53f92eb416)',
  },
  size: { actors: 2, pages: 3 },
  sizeMax: { actors: 3, pages: 4 },
  build: ({ actors, pages }, seeded): System<Block> => {
    const freers = Math.min(actors, pages)
    const drainLocked = seeded === 'noted-type' ? drainNotedLocked : drainOneLocked
    const freeLocked = seeded === 'type-before-lock' ? freeAsReadLocked : freeOneLocked
    return {
      name: 'stale-migratetype',
      state: {
        zoneLock: new Int32Array(1),
        migratetype: Int32Array.of(MIGRATE_MOVABLE),
        list: Int32Array.from({ length: pages }, (_, page) => (page < freers ? IN_USE : MIGRATE_MOVABLE)),
        noted: new Int32Array(pages).fill(NONE),
      },
      tasks: [
        ...Array.from({ length: freers }, (_, page) => ({
          name: `free of page ${page}`,
          on: page,
          run: (cpu: Cpu, block: Block) => freePage(cpu, block, page, freeLocked, drainLocked),
        })),
        {
          name: 'isolator',
          on: freers,
          run: (cpu, block) => isolateAndUndo(cpu, block, freers, drainLocked),
        },
      ],
      invariants: [
        {
          name: 'right-list',
          says: "a free page is on the list of its pageblock's type",
          holds: ({ list, migratetype }) =>
            Array.from(list).every(
              (where) => where === IN_USE || where === ON_PCP || where === migratetype[0],
            ),
        },
      ],
      atEnd: [
        {
          name: 'all-free',
          says: 'every page is on a free list',
          holds: ({ list }) => Array.from(list).every((where) => where >= 0),
        },
      ],
    }
  },
}

/** A step under the zone lock that puts one page on a free list. */
type ToFreeList = (block: Block, page: number, mt: number) => number

/** free_hot_cold_page(), and what it does at once when the per-cpu list is over its mark. */
function freePage(
  cpu: Cpu,
  block: Block,
  page: number,
  freeLocked: ToFreeList,
  drainLocked: ToFreeList,
): void {
  const mt = cpu.load(block.migratetype, 0)
  if (mt === MIGRATE_ISOLATE) {
    cpu.atomically(block.zoneLock, 0, SPIN_LOCKED, freeLocked, block, page, mt, 0)
    return
  }
  cpu.store(block.noted, page, mt)
  cpu.store(block.list, page, ON_PCP)
  cpu.atomically(block.zoneLock, 0, SPIN_LOCKED, drainLocked, block, page, 0, 0)
}

/** What alloc_contig_range() does to the block: isolation, drain of every cpu, and back. */
function isolateAndUndo(cpu: Cpu, block: Block, cpus: number, drainLocked: ToFreeList): void {
  cpu.atomically(block.zoneLock, 0, SPIN_LOCKED, setTypeLocked, block, MIGRATE_ISOLATE, 0, 0)
  for (let page = 0; page < cpus; page++) {
    cpu.atomically(block.zoneLock, 0, SPIN_LOCKED, drainLocked, block, page, 0, 0)
  }
  cpu.atomically(block.zoneLock, 0, SPIN_LOCKED, setTypeLocked, block, MIGRATE_MOVABLE, 0, 0)
}

/** set_migratetype_isolate(), and its counterpart: the type, and the free pages to the list of that type. */
function setTypeLocked(block: Block, mt: number): number {
  block.migratetype[0] = mt
  for (let page = 0; page < block.list.length; page++) {
    if (block.list[page] >= 0) block.list[page] = mt
  }
  return 0
}

function freeOneLocked(block: Block, page: number): number {
  block.list[page] = block.migratetype[0]
  return 0
}

/** Takes a page off its per-cpu list, if it is there, to the list of its pageblock. */
function drainOneLocked(block: Block, page: number): number {
  return block.list[page] === ON_PCP ? freeOneLocked(block, page) : 0
}

// The mistakes.

function freeAsReadLocked(block: Block, page: number, mt: number): number {
  block.list[page] = mt
  return 0
}

function drainNotedLocked(block: Block, page: number): number {
  return block.list[page] === ON_PCP ? freeAsReadLocked(block, page, block.noted[page]) : 0
}
