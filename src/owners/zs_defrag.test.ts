/** The three ways of the review, on the same memory: what each frees, copies and gains. */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { Prng } from '../base/prng.ts'
import { nidOf, pfnOf } from '../base/units.ts'
import { GFP_HIGHUSER_MOVABLE } from '../mm/gfp.ts'
import { PGTY_offline } from '../mm/limits.ts'
import { putPage } from '../mm/page_alloc.ts'
import { allocPages } from '../mm/slowpath.ts'
import { hugePagesObtainable } from '../mm/thp.ts'
import { verify } from '../mm/verify.ts'
import { machineOf, OTHER_OWNERS } from '../testing/machine.ts'
import { createZram, LAB_SIZES, mmStat, zramCells, zramFree, zramStore } from './zram.ts'
import { DEFRAG_WAYS, type DefragWay, defragment } from './zs_defrag.ts'
import { verifyZsPool } from './zs_verify.ts'

const cpu = new FastCpu()
const BLOCKS = 48
const SECTORS = 22_000

/** zram's pages and others by turns in all of memory; then the others are free, and 60 % of the sectors. */
function sparseZram(movable: boolean) {
  const spec = { disksize: SECTORS, movable }
  const machine = machineOf('', {
    blocks: BLOCKS,
    rest: '.',
    pgty: PGTY_offline,
    ownerCells: zramCells(spec),
    contents: false,
  })
  const { mm } = machine
  const zram = createZram(mm, OTHER_OWNERS, spec)
  const prng = new Prng(7)
  const others: number[] = []
  for (let sector = 0; sector < SECTORS; sector++) {
    const size = LAB_SIZES.least + prng.below(LAB_SIZES.most - LAB_SIZES.least + 1)
    expect(zramStore(cpu, mm, zram, sector, size)).toBe(0)
    if (prng.below(2) === 0) others.push(allocPages(cpu, mm, GFP_HIGHUSER_MOVABLE, 0, 0))
  }
  for (const pfn of others) putPage(cpu, mm, pfnOf(pfn))
  for (let sector = 0; sector < SECTORS; sector++) {
    if (prng.below(10) < 6) zramFree(cpu, mm, zram, sector)
  }
  return { machine, mm, zram }
}

test('whole pages free nothing, objects free pages, and both together gain most huge pages', () => {
  const { mm, zram } = sparseZram(true)
  const before = mm.arena.snapshot()
  const results = new Map<DefragWay, { freed: number; copied: number; gained: number }>()
  for (const way of DEFRAG_WAYS) {
    mm.arena.restore(before)
    const huge = hugePagesObtainable(mm)
    const used = mmStat(cpu, mm, zram).memUsedTotal
    const { objects, bytesCopied } = defragment(cpu, mm, zram.pool, nidOf(0), way)
    verify(mm)
    verifyZsPool(mm, zram.pool, true)
    const freed = (used - mmStat(cpu, mm, zram).memUsedTotal) / 4096
    expect(freed).toBe(objects.pagesFreed)
    results.set(way, { freed, copied: bytesCopied, gained: hugePagesObtainable(mm) - huge })
  }
  // Way 2 empties zspages, not pageblocks: what else is in a block stays. Way 3 has fewer pages to move, and more room.
  expect(Object.fromEntries(results)).toEqual({
    'whole pages': { freed: 0, copied: 22_048_768, gained: 23 },
    objects: { freed: 5360, copied: 12_900_992, gained: 0 },
    'objects, then whole pages': { freed: 5364, copied: 22_257_616, gained: 34 },
  })
})

test('pages that cannot move: zs_compact frees as many, and compaction gains nothing from them', () => {
  const { mm, zram } = sparseZram(false)
  const huge = hugePagesObtainable(mm)
  expect(defragment(cpu, mm, zram.pool, nidOf(0), 'whole pages')).toMatchObject({ pagesMoved: 0 })
  expect(hugePagesObtainable(mm)).toBe(huge)
  const { objects } = defragment(cpu, mm, zram.pool, nidOf(0), 'objects, then whole pages')
  expect(objects.pagesFreed).toBeGreaterThan(2000)
  verifyZsPool(mm, zram.pool, true)
})
