/**
 * The compactor: takes one page from its owner and moves it to a given destination, or puts it back.
 *
 * It is compaction reduced to one page: what it does is the engine's own, step by step, without the scanners
 * and without a second try.
 *
 * It says where it is, so that properties can ask:
 *   | place          | it has                                                                      |
 *   |----------------|-----------------------------------------------------------------------------|
 *   | `isolated`     | the page, which its owner cannot give to anybody else                       |
 *   | `moving`       | the locks of the page and of the destination; the page is in no page table   |
 *   | `putting back` | the page, unlocked and mapped as before                                     |
 *   | `giving up`    | only the destination, whose reference it drops                              |
 *
 * @ours
 */

import type { Cpu } from '../base/cpu.ts'
import type { Pfn } from '../base/units.ts'
import { EAGAIN, ISOLATE_ASYNC_MIGRATE, MIGRATE_ASYNC, type MigrateMode } from '../mm/limits.ts'
import {
  migrateFolioMove,
  migrateFolioUndo,
  migrateFolioUnmap,
  UNMAPPED,
  WAIT_LOCK,
  WAIT_WRITEBACK,
} from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'

// How it ended.
/** The destination is what the page was; the page is free. */
export const MOVED = 0
/** Isolated, and put back: the page is as before. */
export const PUT_BACK = 1
/** Not isolated: nothing has changed. */
export const REFUSED = 2

/**
 * Moves `src` to `dst`, of which the caller has the only reference. Consumes that reference, whatever happens.
 *
 * @sleeps as `mode` allows
 * @errors PUT_BACK, REFUSED: `src` as before, `dst` freed
 */
export function compactPage(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn, mode: MigrateMode): number {
  const isolation = isolateMovablePage(cpu, mm, src, mode === MIGRATE_ASYNC ? ISOLATE_ASYNC_MIGRATE : 0)
  return isolation === ISOLATED ? moveIsolated(cpu, mm, src, dst, mode) : giveUp(cpu, mm, dst, REFUSED)
}

/** The same for a page that the caller has isolated already. */
export function moveIsolated(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn, mode: MigrateMode): number {
  cpu.at('isolated', src, dst)
  if (migrateFolioUnmap(cpu, mm, src, dst, mode, WAIT_LOCK | WAIT_WRITEBACK) === UNMAPPED) {
    cpu.at('moving', src, dst)
    const rc = migrateFolioMove(cpu, mm, src, dst, mode)
    if (rc === 0) return MOVED
    if (rc === -EAGAIN) migrateFolioUndo(cpu, mm, src, dst)
  }
  cpu.at('putting back', src, dst)
  putbackMovablePage(cpu, mm, src)
  return giveUp(cpu, mm, dst, PUT_BACK)
}

function giveUp(cpu: Cpu, mm: Mm, dst: Pfn, result: number): number {
  cpu.at('giving up', dst, result)
  putPage(cpu, mm, dst)
  return result
}

/**
 * Takes `pfn` from its owner and puts it back without moving it, as a migration does that finds no destination.
 *
 * @sleeps in putback, if the owner does
 */
export function isolateAndPutback(cpu: Cpu, mm: Mm, pfn: Pfn): number {
  if (isolateMovablePage(cpu, mm, pfn, 0) !== ISOLATED) return REFUSED
  cpu.at('isolated', pfn)
  cpu.load(mm.refcount, pfn) // what it isolated the page for
  cpu.at('putting back', pfn)
  putbackMovablePage(cpu, mm, pfn)
  return PUT_BACK
}
