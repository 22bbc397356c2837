/**
 * Counters under the names, and in the order, of real kernels (testdata/proc).
 *
 * Not here: the fragmentation index (row C-12), and the texts of /proc.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { pfnOf, zoneIdOf } from '../base/units.ts'
import { machineOf } from '../testing/machine.ts'
import { freeBlocksIndex } from './free_area.ts'
import { MIGRATE_MOVABLE, pageblock_order } from './limits.ts'
import { allocFromZone, putPage } from './page_alloc.ts'
import { freePagesInBlocks, VM_EVENT_NAMES, vmEvent, vmEvents } from './vmstat.ts'

const zone = zoneIdOf(0)
const proc = (file: string): string[] =>
  readFileSync(new URL(`../../testdata/proc/${file}.txt`, import.meta.url), 'utf8').split('\n')

test.each(['6.1-two-nodes', '6.12-two-nodes', '6.18-one-node'])(
  'counters are those of /proc/vmstat of %s, in its order',
  (machine) => {
    const real = proc(`${machine}/vmstat`).map((line) => line.split(' ')[0])
    expect(real.filter((name) => VM_EVENT_NAMES.some((known) => known === name))).toEqual([...VM_EVENT_NAMES])
  },
)

test('pages that go out and come back are counted as base pages, by kind of zone', () => {
  const { mm } = machineOf('', { rest: '.' })
  const cpu = new FastCpu()
  expect(Object.values(vmEvents(mm)).every((count) => count === 0)).toBe(true)
  const held = [0, 3, 5].map((order) => allocFromZone(cpu, mm, zone, order, MIGRATE_MOVABLE))
  expect(vmEvent(mm, 'pgalloc_normal')).toBe(1 + 8 + 32)
  for (const pfn of held) putPage(cpu, mm, pfnOf(pfn))
  expect([vmEvent(mm, 'pgfree'), vmEvent(mm, 'pgalloc_dma32')]).toEqual([41, 0])
})

test('free pages in whole pageblocks are what zoneinfo calls nr_free_pages_blocks', () => {
  const rows = proc('6.18-one-node/buddyinfo').filter((line) => line !== '')
  const real = proc('6.18-one-node/zoneinfo').flatMap(
    (line) => /nr_free_pages_blocks (\d+)/.exec(line)?.[1] ?? [],
  )
  const ours = rows.map((row) => {
    const { mm } = machineOf('U')
    const counts = row.trim().split(/\s+/).slice(4).map(Number)
    counts.forEach((count, order) => (mm.nrFreeBlocks[freeBlocksIndex(0, order, MIGRATE_MOVABLE)] = count))
    return freePagesInBlocks(mm, zone, pageblock_order)
  })
  expect(ours).toEqual([3584, 770_048, 1_122_304])
  expect(real.map(Number)).toEqual(ours)
})
