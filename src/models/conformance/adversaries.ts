/**
 * Who meets a driver's pages: the tasks of the scenarios, as plain functions over `cpu`.
 *
 * They are what the kernel has around a driver, made of the engine's own steps: compaction and contiguous
 * allocation that isolate, move and put back, reclaim that passes by with a reference, and the driver's own users
 * that read, write, free and remove. A page that has moved is at a spare page, so the users look there next.
 *
 * Labels: `isolated(src)` from a won isolation on, `moving(src)` while migratePage runs, `again(src)` right after
 * -EAGAIN while both pages are still locked, `putting back(src)` from then on.
 *
 * @ours
 */

import type { Cpu } from '../../base/cpu.ts'
import type { Pfn } from '../../base/units.ts'
import { tryGetPage } from '../../mm/gup.ts'
import { EAGAIN, type IsolateMode, MIGRATE_ASYNC, type MigrateMode, PG_locked } from '../../mm/limits.ts'
import { folioAddLru, folioIsolateLru } from '../../mm/lru.ts'
import {
  migrateFolioMove,
  migrateFolioUndo,
  migrateFolioUnmap,
  UNMAPPED,
  WAIT_LOCK,
  WAIT_WRITEBACK,
} from '../../mm/migrate.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage } from '../../mm/movable_ops.ts'
import type { Mm } from '../../mm/page.ts'
import { putPage } from '../../mm/page_alloc.ts'
import type { CheckedDriver } from './driver.ts'

// What a compactor gives back. AGAIN: it met -EAGAIN, and put the page back.
export const NOT_ISOLATED = 0
export const MOVED = 1
export const PUT_BACK = 2
export const AGAIN = 3

/** Isolates a page and keeps it. 0: it has it; else why not. */
export function isolateAndKeep(cpu: Cpu, mm: Mm, pfn: Pfn, mode: IsolateMode): number {
  const answer = isolateMovablePage(cpu, mm, pfn, mode)
  if (answer === ISOLATED) cpu.at('isolated', pfn)
  return answer
}

/** Isolates a page, looks at it, and puts it back. */
export function isolateAndPutBack(cpu: Cpu, mm: Mm, pfn: Pfn, mode: IsolateMode): number {
  if (isolateMovablePage(cpu, mm, pfn, mode) !== ISOLATED) return NOT_ISOLATED
  cpu.at('isolated', pfn)
  cpu.load(mm.flags, pfn)
  return putBack(cpu, mm, pfn, PUT_BACK)
}

/** Moves a page to `dst`, or puts it back: one round of migratePages(), which tries several times. */
export function compact(
  cpu: Cpu,
  mm: Mm,
  src: Pfn,
  dst: Pfn,
  isolateMode: IsolateMode,
  mode: MigrateMode,
): number {
  if (isolateMovablePage(cpu, mm, src, isolateMode) !== ISOLATED) return NOT_ISOLATED
  cpu.at('isolated', src)
  if (cpu.load(mm.refcount, src) === 1) return putBack(cpu, mm, src, PUT_BACK) // its owner let go of it meanwhile
  const waits = mode === MIGRATE_ASYNC ? 0 : WAIT_LOCK | WAIT_WRITEBACK
  if (migrateFolioUnmap(cpu, mm, src, dst, mode, waits) !== UNMAPPED) return putBack(cpu, mm, src, PUT_BACK)
  cpu.at('moving', src)
  const rc = migrateFolioMove(cpu, mm, src, dst, mode)
  if (rc === 0) return MOVED
  if (rc !== -EAGAIN) return putBack(cpu, mm, src, PUT_BACK)
  cpu.at('again', src)
  cpu.load(mm.flags, dst) // a step in which both are locked and nothing is undone yet
  cpu.at('undoing', src)
  migrateFolioUndo(cpu, mm, src, dst)
  return putBack(cpu, mm, src, AGAIN)
}

/** `result`: what the task will give back, which it has to remember. */
function putBack(cpu: Cpu, mm: Mm, pfn: Pfn, result: number): number {
  cpu.at('putting back', pfn, result)
  putbackMovablePage(cpu, mm, pfn)
  return result
}

/** Passes by with a reference, as reclaim and speculative look-ups do: takes one if there is one, looks, drops it. */
export function reclaim(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  if (!tryGetPage(cpu, mm, pfn)) return
  if (folioIsolateLru(cpu, mm, pfn)) folioAddLru(cpu, mm, pfn)
  if (cpu.tryLock(mm.flags, pfn, PG_locked)) cpu.unlock(mm.flags, pfn, PG_locked)
  putPage(cpu, mm, pfn)
}

// The driver's own users. `frames` are where the page may be, in the order in which it gets there.

/** What the page holds; -1 if it is nowhere. */
export function readPage(cpu: Cpu, mm: Mm, driver: CheckedDriver, frames: readonly Pfn[]): number {
  for (const frame of frames) {
    const value = driver.access(cpu, mm, frame)
    if (value !== -1) return value
  }
  return -1
}

/** Writes to the page. 1: done; 0: it is nowhere. */
export function writePage(
  cpu: Cpu,
  mm: Mm,
  driver: CheckedDriver,
  frames: readonly Pfn[],
  value: number,
): number {
  for (const frame of frames) if (driver.write?.(cpu, mm, frame, value) === true) return 1
  return 0
}

/** The driver lets go of the page. 1: done; 0: it is nowhere. */
export function freePage(cpu: Cpu, mm: Mm, driver: CheckedDriver, frames: readonly Pfn[]): number {
  for (const frame of frames) if (driver.free(cpu, mm, frame)) return 1
  return 0
}

/** The device goes away. */
export function removeDevice(
  cpu: Cpu,
  mm: Mm,
  driver: CheckedDriver,
  pages: readonly (readonly Pfn[])[],
): void {
  if (driver.remove !== undefined) driver.remove(cpu, mm)
  else for (const frames of pages) freePage(cpu, mm, driver, frames)
}
