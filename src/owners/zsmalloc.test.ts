/** zsmalloc: size classes, objects that move with their pages and without, and who excludes whom. */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { listAddTail } from '../base/list.ts'
import { cellsOf, type Pfn, pfnOf } from '../base/units.ts'
import {
  EINVAL,
  ENOMEM,
  ENOSPC,
  MIGRATE_ASYNC,
  MIGRATE_UNMOVABLE,
  MR_COMPACTION,
  PG_locked,
  PG_movable_ops,
  PG_private,
  PGTY_offline,
  PGTY_zsmalloc,
  pageblockOf,
} from '../mm/limits.ts'
import { migratePages, newMigrateStats } from '../mm/migrate.ts'
import {
  ISOLATED,
  isolateMovablePage,
  putbackMovablePage,
  REFUSED_BY_OWNER,
  REFUSED_ISOLATED,
} from '../mm/movable_ops.ts'
import { type Mm, pageType } from '../mm/page.ts'
import { verify } from '../mm/verify.ts'
import { machineOf, OTHER_OWNERS, type TestMachine } from '../testing/machine.ts'
import { newObjectMoves, zsCompact, zsEvacuate } from './zs_compact.ts'
import { type ZsPool, type ZsPoolSpec, zsPoolCells } from './zs_pool.ts'
import { classIndexOf, sizeClasses } from './zs_size_classes.ts'
import { verifyZsPool } from './zs_verify.ts'
import {
  createZsPool,
  zsFree,
  zsFreeDeferred,
  zsMalloc,
  zsMapObject,
  zsTotalPages,
  zsUnmapObject,
} from './zsmalloc.ts'
import { byteAt, objOffset } from './zspage.ts'

const cpu = new FastCpu()

interface Zs {
  readonly machine: TestMachine
  readonly mm: Mm
  readonly pool: ZsPool
}

function zs(more: Partial<ZsPoolSpec> = {}, picture = '.'.repeat(64)): Zs {
  const spec = { objectsMax: 200, ...more }
  const machine = machineOf(picture, { pgty: PGTY_offline, ownerCells: zsPoolCells(spec), pageData: true })
  return { machine, mm: machine.mm, pool: createZsPool(machine.mm, OTHER_OWNERS, spec) }
}

/** Allocates an object and fills it, byte for byte, with what its number says. */
function put({ mm, pool }: Zs, size: number, seed: number): number {
  const handle = zsMalloc(cpu, mm, pool, size)
  expect(handle).toBeGreaterThan(0)
  forBytes(mm, pool, handle, size, (at, i) => {
    mm.pageBytes.bytes[at] = (seed * 31 + i) & 255
  })
  return handle
}

function expectObject({ mm, pool }: Zs, handle: number, size: number, seed: number): void {
  let wrong = 0
  forBytes(mm, pool, handle, size, (at, i) => {
    if (mm.pageBytes.bytes[at] !== ((seed * 31 + i) & 255)) wrong++
  })
  expect([handle, wrong]).toEqual([handle, 0])
}

function forBytes(
  mm: Mm,
  pool: ZsPool,
  handle: number,
  size: number,
  visit: (at: number, i: number) => void,
): void {
  const cells = cellsOf(mm.ownerCells)
  const zspage = zsMapObject(cpu, mm, pool, handle)
  const offset = objOffset(cells, pool.zs, zspage, handle)
  for (let i = 0; i < size; i++) visit(byteAt(cells, pool.zs, zspage, offset + i), i)
  zsUnmapObject(cpu, mm, pool, zspage)
}

/** Pages of zspages, in the order of the pfns. */
const pagesOf = ({ mm }: Zs): Pfn[] =>
  [...cellsOf(mm.mapcount)].flatMap((value, i) => (pageType(value) === PGTY_zsmalloc ? [pfnOf(i)] : []))

const isolate = ({ mm }: Zs, pfn: Pfn): number => isolateMovablePage(cpu, mm, pfn, 0)

/** Moves isolated pages; gives how many did not move. */
function migrate({ machine, mm }: Zs, ...pfns: readonly Pfn[]): number {
  const list = mm.taskList(cpu.id, 0)
  for (const pfn of pfns) listAddTail(mm.links, pfn, list)
  const left = migratePages(cpu, mm, list, machine.target(), MIGRATE_ASYNC, MR_COMPACTION, newMigrateStats())
  if (left > 0) for (const pfn of pfns) machine.unlist(pfn)
  return left
}

describe('size classes', () => {
  test.each([4, 8, 16])(
    'with chains of %i pages every size fits its class, and none wastes a page',
    (chainSize) => {
      const all = sizeClasses(chainSize)
      for (let size = 1; size <= 4096; size++) {
        const index = classIndexOf(all, size)
        const { size: room, pagesPerZspage, objsPerZspage, huge } = all.classes[index]
        expect(huge ? size : size + 8).toBeLessThanOrEqual(room)
        expect(huge).toBe(size >= all.hugeClassSize)
        expect(objsPerZspage * room).toBeLessThanOrEqual(pagesPerZspage * 4096)
        expect((objsPerZspage + 1) * room).toBeGreaterThan(pagesPerZspage * 4096)
        if (index > 0 && !huge) expect(size + 8).toBeGreaterThan(all.classes[index - 1].size)
      }
    },
  )

  test('five classes by hand', () => {
    const of = (size: number) => {
      const all = sizeClasses(8)
      return all.classes[classIndexOf(all, size)]
    }
    // 1 to 24 bytes and a handle are 32. 64 and a handle are 72, so 80: five pages hold 256 of them without a rest.
    expect(of(1)).toEqual({ size: 32, pagesPerZspage: 1, objsPerZspage: 128, huge: false })
    expect(of(64)).toEqual({ size: 80, pagesPerZspage: 5, objsPerZspage: 256, huge: false })
    expect(of(2040)).toEqual({ size: 2048, pagesPerZspage: 1, objsPerZspage: 2, huge: false })
    // Eight pages are 9 of 3632 and 80 bytes.
    expect(of(3624)).toEqual({ size: 3632, pagesPerZspage: 8, objsPerZspage: 9, huge: false })
    expect(of(3625)).toEqual({ size: 4096, pagesPerZspage: 1, objsPerZspage: 1, huge: true })
  })
})

test('objects of all sizes keep their bytes, and are gone when they are freed', () => {
  const it = zs({}, '.'.repeat(512))
  const sizes = [1, 24, 25, 64, 100, 700, 1000, 2040, 2041, 3000, 3264, 3600, 3625, 4096]
  const handles = sizes.map((size, i) => put(it, size, i))
  sizes.forEach((size, i) => expectObject(it, handles[i], size, i))
  verifyZsPool(it.mm, it.pool, true)
  for (const handle of handles) zsFree(cpu, it.mm, it.pool, handle)
  expect([zsTotalPages(cpu, it.mm, it.pool), it.machine.freePages]).toEqual([0, 512])
  verify(it.mm)
  verifyZsPool(it.mm, it.pool, true)
})

test('sizes that there are none of, and no memory: nothing has changed', () => {
  const it = zs({}, '...')
  expect(zsMalloc(cpu, it.mm, it.pool, 0)).toBe(-EINVAL)
  expect(zsMalloc(cpu, it.mm, it.pool, 4097)).toBe(-ENOSPC)
  expect(zsMalloc(cpu, it.mm, it.pool, 3600)).toBe(-ENOMEM) // eight pages
  expect([it.machine.freePages, zsTotalPages(cpu, it.mm, it.pool)]).toEqual([3, 0])
  verify(it.mm)
  const few = zs({ objectsMax: 2, zspagesMax: 1 })
  expect(zsMalloc(cpu, few.mm, few.pool, 2000)).toBe(1)
  expect(zsMalloc(cpu, few.mm, few.pool, 100)).toBe(-ENOMEM) // no second zspage
  expect(zsMalloc(cpu, few.mm, few.pool, 2000)).toBe(2)
  zsFree(cpu, few.mm, few.pool, 1)
  expect(zsMalloc(cpu, few.mm, few.pool, 2000)).toBe(1)
  expect(zsMalloc(cpu, few.mm, few.pool, 2000)).toBe(-ENOMEM) // no handle
  verifyZsPool(few.mm, few.pool, true)
  verify(few.mm)
})

test('a new object goes to the fullest zspage that has room', () => {
  const it = zs()
  const three = Array.from({ length: 8 * 3 }, (_, i) => put(it, 500, i)) // 508 are 512: eight a page
  for (const i of [0, 1, 8]) zsFree(cpu, it.mm, it.pool, three[i])
  const page = (handle: number): number => zsMapAndLook(it, handle)
  const [first, second] = [page(three[2]), page(three[9])]
  expect(page(put(it, 500, 1))).toBe(second)
  expect(page(put(it, 500, 1))).toBe(first)
  verifyZsPool(it.mm, it.pool, true)
})

/** The zspage of an object. */
function zsMapAndLook({ mm, pool }: Zs, handle: number): number {
  const zspage = zsMapObject(cpu, mm, pool, handle)
  zsUnmapObject(cpu, mm, pool, zspage)
  return zspage
}

test('a page moves with all objects that begin on it; those that only end there keep their handle', () => {
  const it = zs()
  const sizes = Array.from({ length: 9 }, () => 3600) // one zspage of eight pages, all but the first object span two
  const handles = sizes.map((size, i) => put(it, size, i))
  const before = pagesOf(it)
  expect(before).toHaveLength(8)
  for (const pfn of before) {
    expect(isolate(it, pfn)).toBe(ISOLATED)
    expect(migrate(it, pfn)).toBe(0)
    handles.forEach((handle, i) => expectObject(it, handle, 3600, i))
    verifyZsPool(it.mm, it.pool, true)
    const pages = pagesOf(it)
    expect([pages.length, pages.includes(pfn)]).toEqual([8, false])
    expect(pages.filter((page) => (it.mm.flags[page] & PG_private) !== 0)).toHaveLength(1)
  }
  verify(it.mm)
})

test('isolating a page counts in its zspage: its other pages can be isolated, and move at once', () => {
  const it = zs()
  const handles = Array.from({ length: 4 }, (_, i) => put(it, 3600, i))
  const pages = pagesOf(it)
  for (const pfn of pages) expect(isolate(it, pfn)).toBe(ISOLATED)
  expect(isolate(it, pages[0])).toBe(REFUSED_ISOLATED)
  verifyZsPool(it.mm, it.pool, false)
  expect(migrate(it, ...pages)).toBe(0)
  handles.forEach((handle, i) => expectObject(it, handle, 3600, i))
  verifyZsPool(it.mm, it.pool, true)
  verify(it.mm)
})

test('an isolated zspage gets no new object until its last page is back', () => {
  const it = zs()
  const first = zsMapAndLook(it, put(it, 3600, 0))
  const [one, two] = pagesOf(it)
  expect([isolate(it, one), isolate(it, two)]).toEqual([ISOLATED, ISOLATED])
  const second = zsMapAndLook(it, put(it, 3600, 1))
  expect(second).not.toBe(first)
  putbackMovablePage(cpu, it.mm, one)
  expect(zsMapAndLook(it, put(it, 3600, 2))).toBe(second)
  putbackMovablePage(cpu, it.mm, two)
  verifyZsPool(it.mm, it.pool, true)
  // Both have room; the fuller one is the second, until it is full.
  const others = Array.from({ length: 8 }, (_, i) => zsMapAndLook(it, put(it, 3600, i)))
  expect(others).toEqual([...Array.from({ length: 7 }, () => second), first])
})

test('whoever has an object mapped keeps all pages of the zspage: -EAGAIN, and nothing has changed', () => {
  const it = zs()
  const handles = [put(it, 3600, 0), put(it, 3600, 1)]
  const zspage = zsMapObject(cpu, it.mm, it.pool, handles[0])
  const last = pagesOf(it)[7]
  expect(isolate(it, last)).toBe(ISOLATED)
  expect(migrate(it, last)).toBe(1)
  expect(it.mm.private[last]).toBe(zspage)
  zsUnmapObject(cpu, it.mm, it.pool, zspage)
  expect(migrate(it, last)).toBe(0)
  handles.forEach((handle, i) => expectObject(it, handle, 3600, i))
  verifyZsPool(it.mm, it.pool, true)
})

test('the last object is freed while a page is isolated: the zspage goes when the page is back, by the worker', () => {
  for (const ends of ['moved', 'put back'] as const) {
    const it = zs()
    const handle = put(it, 3600, 0)
    const [pfn] = pagesOf(it)
    expect(isolate(it, pfn)).toBe(ISOLATED)
    zsFree(cpu, it.mm, it.pool, handle)
    expect(pagesOf(it)).toHaveLength(8)
    verifyZsPool(it.mm, it.pool, false)
    if (ends === 'moved') expect(migrate(it, pfn)).toBe(0)
    else putbackMovablePage(cpu, it.mm, pfn)
    verifyZsPool(it.mm, it.pool, true)
    expect(pagesOf(it)).toHaveLength(8)
    expect(isolate(it, pagesOf(it)[1])).toBe(REFUSED_BY_OWNER) // it has no object
    expect(zsFreeDeferred(cpu, it.mm, it.pool)).toBe(8)
    expect([pagesOf(it), it.machine.freePages]).toEqual([[], 64])
    verify(it.mm)
    verifyZsPool(it.mm, it.pool, true)
  }
})

test('somebody has a page locked: the empty zspage is left, gets the next object, or is freed by the worker', () => {
  const it = zs()
  const handle = put(it, 3600, 0)
  const pages = pagesOf(it)
  it.mm.flags[pages[5]] |= PG_locked
  zsFree(cpu, it.mm, it.pool, handle)
  expect(pagesOf(it)).toEqual(pages)
  const again = put(it, 3600, 1)
  expect(pagesOf(it)).toEqual(pages)
  zsFree(cpu, it.mm, it.pool, again)
  let waits = 0
  const worker = new FastCpu(() => {
    waits++
    it.mm.flags[pages[5]] &= ~PG_locked
  })
  expect(zsFreeDeferred(worker, it.mm, it.pool)).toBe(8)
  expect([waits, it.machine.freePages]).toEqual([1, 64])
  verify(it.mm)
})

test('zs_compact packs the objects of a class; where one is mapped its zspage stays', () => {
  const it = zs()
  const size = 3000 // with its handle of a class of 3072: four in three pages
  const handles = Array.from({ length: 12 }, (_, i) => put(it, size, i))
  expect(zsTotalPages(cpu, it.mm, it.pool)).toBe(9)
  const kept = handles.flatMap((handle, i) => {
    if (i % 3 === 0) return [{ handle, i }]
    zsFree(cpu, it.mm, it.pool, handle)
    return []
  })
  const zspage = zsMapObject(cpu, it.mm, it.pool, kept[3].handle)
  const blocked = newObjectMoves()
  zsCompact(cpu, it.mm, it.pool, blocked)
  const moves = newObjectMoves()
  zsUnmapObject(cpu, it.mm, it.pool, zspage)
  zsCompact(cpu, it.mm, it.pool, moves)
  // Two objects are in the first zspage, one is in each of the others; that of the last is mapped at first.
  expect(blocked.pagesFreed).toBeLessThanOrEqual(3)
  expect(blocked.pagesFreed + moves.pagesFreed).toBe(6)
  expect(blocked.bytesCopied + moves.bytesCopied).toBe(2 * 3072)
  expect(zsTotalPages(cpu, it.mm, it.pool)).toBe(3)
  for (const { handle, i } of kept) expectObject(it, handle, size, i)
  verifyZsPool(it.mm, it.pool, true)
  verify(it.mm)
})

test('a zspage is emptied into those that are nominated; nominated are none: nothing moves', () => {
  const it = zs()
  const handles = Array.from({ length: 8 }, (_, i) => put(it, 3000, i))
  for (let i = 0; i < 8; i++) if (i % 4 < 2) zsFree(cpu, it.mm, it.pool, handles[i])
  const [src, dst] = [zsMapAndLook(it, handles[2]), zsMapAndLook(it, handles[6])]
  expect(src).not.toBe(dst)
  const [pfn] = pagesOf(it)
  const moves = newObjectMoves()
  expect(zsEvacuate(cpu, it.mm, it.pool, src, () => 0, pfn, moves)).toBe(0)
  expect(moves.objectsMoved).toBe(0)
  expect(zsEvacuate(cpu, it.mm, it.pool, src, () => dst, pfn, moves)).toBe(3)
  expect(moves).toEqual({ pagesFreed: 3, objectsMoved: 2, bytesCopied: 2 * 3072 })
  for (let i = 0; i < 8; i++) if (i % 4 >= 2) expectObject(it, handles[i], 3000, i)
  verifyZsPool(it.mm, it.pool, true)
})

test('not movable: its pages have no mark, come from unmovable pageblocks, and do not move', () => {
  const it = zs({ movable: false }, `${'.'.repeat(512)}${'.'.repeat(512)}`)
  put(it, 3000, 0)
  for (const pfn of pagesOf(it)) {
    expect(it.mm.flags[pfn] & PG_movable_ops).toBe(0)
    expect(it.mm.pageblock[pageblockOf(pfn)] & 7).toBe(MIGRATE_UNMOVABLE)
    expect(isolate(it, pfn)).not.toBe(ISOLATED)
  }
  verifyZsPool(it.mm, it.pool, true)
})
