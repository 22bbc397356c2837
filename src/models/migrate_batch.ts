/**
 * A batch of migrations against a task that locks the same pages in another order: can they wait for each other
 * for ever?
 *
 * The compactor has isolated some pages, which are on its list, and moves them in one asynchronous batch: it
 * holds the locks of the first ones while it tries those of the others. A locker locks the same pages, last one
 * first, and waits for each while it holds those before it.
 *
 * Verified: nobody waits for ever, because an asynchronous batch only tries locks (M-3, M-6); each page is moved
 * or put back, never both; its contents are in one place; all references are given back. With `batchSystem` the
 * same for the synchronous modes, which wait only for one page at a time.
 *
 * Not verified here: what the pages are. They are a driver's, unmapped, and always let themselves be moved, so
 * that a refusal comes from a lock only. A page that its owner frees meanwhile.
 *
 * `actors` are lockers, all with the same order, as lockers must have. The list links are the compactor's own:
 * nobody else has its pages.
 *
 * Spec: M-3..M-6, M-10, M-11
 */

import { lockInOrder } from '../actors/locker.ts'
import type { Cpu } from '../base/cpu.ts'
import { listAddTail } from '../base/list.ts'
import type { Pfn } from '../base/units.ts'
import type { System } from '../check/system.ts'
import {
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  type MigrateMode,
  MR_COMPACTION,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PGTY_zsmalloc,
  pageTypeValue,
} from '../mm/limits.ts'
import {
  type MigrationTarget,
  migrateFolioMove,
  migrateFolioUnmap,
  migratePages,
  newMigrateStats,
  putbackMovablePages,
  WAIT_LOCK,
} from '../mm/migrate.ts'
import { type PageLockedDriver, pageLockedOps, setMovableOps } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import type { Model, ModelSize } from './model.ts'
import { isCounter, isFree, lockRulesOf, smallMachine } from './small_machine.ts'
import { driverText } from './value_text.ts'

export const migrateBatch: Model = {
  name: 'migrate-batch',
  question: 'Can a batch of migrations and a task that locks several pages wait for each other for ever?',
  source: 'M-3..M-6, M-10, M-11',
  seeded: {
    'batch-waits': 'the batch waits for the lock of a page while it holds the locks of those before it (M-6)',
  },
  size: { actors: 1, pages: 2 },
  sizeMax: { actors: 3, pages: 2 },
  build: (size, seeded) => batchSystem(size, MIGRATE_ASYNC, seeded),
}

/** The model in any mode: also a synchronous batch waits only where it holds no other lock. */
export function batchSystem(
  { actors, pages: count }: ModelSize,
  mode: MigrateMode,
  seeded?: string,
): System<Mm> {
  const { mm, pages, spares } = smallMachine(count, count)
  setMovableOps(mm, WILLING.pgty, pageLockedOps(WILLING))
  pages.forEach((pfn) => {
    mm.mapcount[pfn] = pageTypeValue(WILLING.pgty)
    mm.flags[pfn] = PG_movable_ops | PG_movable_ops_isolated
    mm.refcount[pfn] = 2 + actors // its owner's, the isolation's, and one of each locker
  })
  return {
    name: 'migrate-batch',
    state: mm,
    tasks: [
      {
        name: 'compactor',
        run: (cpu, state) => {
          if (seeded === undefined) migrateAll(cpu, state, pages, spares, mode)
          else migrateWaiting(cpu, state, pages, spares)
        },
      },
      { name: 'locker', copies: actors, run: (cpu, state) => lockInOrder(cpu, state, pages.toReversed()) },
    ],
    atEnd: [
      {
        name: 'one-place',
        says: "each page is its owner's at its old or at its new place, and free at the other",
        holds: (state) =>
          pages.every((src, i) => {
            const [at, other] = isFree(state, src) ? [spares[i], src] : [src, spares[i]]
            return isOwned(state, at, 100 + i) && (isFree(state, other) || isUnused(state, other))
          }),
      },
    ],
    locks: lockRulesOf(mm),
    isPrivate: (column) => isCounter(column) || column === 'links',
    valueText: driverText,
  }
}

const isOwned = (mm: Mm, pfn: Pfn, content: number): boolean =>
  mm.refcount[pfn] === 1 && mm.flags[pfn] === PG_movable_ops && mm.content[pfn] === content

/** A destination that was not needed. */
const isUnused = (mm: Mm, pfn: Pfn): boolean =>
  mm.refcount[pfn] === 1 && mm.flags[pfn] === 0 && mm.mapcount[pfn] === 0

/** A driver whose pages are on no list and move whenever they are asked to. */
const WILLING: PageLockedDriver = {
  name: 'willing',
  pgty: PGTY_zsmalloc,
  isolate: () => true,
  migrate: (cpu, mm, dst, src) => {
    cpu.store(mm.content, dst, cpu.load(mm.content, src))
    cpu.add(mm.refcount, dst, 1)
    cpu.store(mm.mapcount, dst, pageTypeValue(PGTY_zsmalloc))
    cpu.testSet(mm.flags, dst, PG_movable_ops)
    cpu.add(mm.refcount, src, -1)
    return 0
  },
  putback: () => {},
}

/** The destination of each page, the same one at each try. What it remembers is the compactor's own. */
class Spares implements MigrationTarget {
  /** Tries of each page, and how many of them failed. */
  private readonly tries: number[]
  private readonly failed: number[]
  private readonly pages: readonly Pfn[]
  private readonly spares: readonly Pfn[]

  constructor(pages: readonly Pfn[], spares: readonly Pfn[]) {
    this.pages = pages
    this.spares = spares
    this.tries = pages.map(() => 0)
    this.failed = pages.map(() => 0)
  }

  getNewFolio(cpu: Cpu, _mm: Mm, src: Pfn): number {
    // How often each page was tried, and whether it failed each time, is all that the batch has learnt so far.
    const history = this.tries.reduce(
      (code, tries, i) => (code * 16 + tries) * 2 + (this.failed[i] < tries ? 1 : 0),
      0,
    )
    cpu.at('trying', src, history)
    const page = this.pages.indexOf(src)
    this.tries[page]++
    return this.spares[page]
  }

  putNewFolio(_cpu: Cpu, _mm: Mm, dst: Pfn): void {
    this.failed[this.spares.indexOf(dst)]++
  }
}

function migrateAll(
  cpu: Cpu,
  mm: Mm,
  pages: readonly Pfn[],
  spares: readonly Pfn[],
  mode: MigrateMode,
): void {
  const from = mm.taskList(cpu.id, 0)
  for (const pfn of pages) listAddTail(mm.links, pfn, from)
  const target = new Spares(pages, spares)
  const left = migratePages(cpu, mm, from, target, mode, MR_COMPACTION, newMigrateStats())
  if (left !== 0) putbackMovablePages(cpu, mm, from)
}

// The mistake.

/** A batch in the way of migratePages(), that waits for locks. */
function migrateWaiting(cpu: Cpu, mm: Mm, pages: readonly Pfn[], spares: readonly Pfn[]): void {
  pages.forEach((src, i) => {
    migrateFolioUnmap(cpu, mm, src, spares[i], MIGRATE_SYNC, WAIT_LOCK)
    cpu.at('unmapped', src)
  })
  pages.forEach((src, i) => {
    migrateFolioMove(cpu, mm, src, spares[i], MIGRATE_SYNC)
    cpu.at('moved', src)
  })
}
