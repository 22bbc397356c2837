/** kswapd on drawn machines; expectations follow by hand from the rules told beside them. */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { GFP_KERNEL } from './gfp.ts'
import { kswapd } from './kswapd.ts'
import { pageblock_order, ZONE_NORMAL } from './limits.ts'
import type { Mm } from './page.ts'
import { prepareAllocPages } from './page_alloc.ts'
import { SILENT } from './trace.ts'
import { verify } from './verify.ts'
import { tryToFreePages } from './vmscan.ts'
import { vmEvents } from './vmstat.ts'
import { MAX_RECLAIM_RETRIES, wakeupKswapd } from './wakeup.ts'

const node = nidOf(0)
const zone = zoneIdOf(0)
const cpu = new FastCpu()

/** Wakes the node's kswapd for a block and lets it run. Gives what it told. */
function wakeAndRun({ mm }: TestMachine, order = 0): string[] {
  const told: string[] = []
  mm.trace = {
    ...SILENT,
    mmVmscanKswapdWake: (nid, wanted) => told.push(`wake ${nid} ${wanted}`),
    mmVmscanKswapdSleep: (nid) => told.push(`sleep ${nid}`),
  }
  wakeupKswapd(cpu, mm, zone, GFP_KERNEL, order, ZONE_NORMAL)
  kswapd(cpu, mm, node)
  mm.trace = undefined
  verify(mm)
  expect(mm.kswapdRunning[node]).toBe(0)
  return told
}

const kcompactdWantedFor = (mm: Mm): number => mm.kcompactdMaxOrder[node]

test('nobody has woken it: nothing happens, not even a step', () => {
  const machine = machineOf('F'.repeat(64), { watermarks: [10, 20, 40] })
  const before = machine.mm.arena.hash()
  kswapd(cpu, machine.mm, node)
  expect(machine.mm.arena.hash()).toBe(before)
})

test('it is not woken where a zone is above its high mark', () => {
  const machine = machineOf(`${'F'.repeat(64)}${'.'.repeat(64)}`, { watermarks: [10, 20, 40] })
  expect(wakeAndRun(machine)).toEqual([])
  expect(vmEvents(machine.mm).pageoutrun).toBe(0)
})

test('it reclaims until the zone is above its high mark', () => {
  const machine = machineOf(`${'F'.repeat(200)}${'.'.repeat(5)}`, { watermarks: [10, 20, 40] })
  expect(wakeAndRun(machine)).toEqual(['wake 0 0', 'sleep 0'])
  // 200 >> 7, 199 >> 6, 196 >> 5, 190 >> 4, 179 >> 3; then 5 + 43 pages are free.
  const reclaimed = 1 + 3 + 6 + 11 + 22
  expect(machine.freePages).toBe(5 + reclaimed)
  expect(vmEvents(machine.mm)).toMatchObject({
    pageoutrun: 1,
    pgscan_kswapd: reclaimed,
    pgsteal_kswapd: reclaimed,
    pgscan_direct: 0,
    allocstall_normal: 0,
    kswapd_low_wmark_hit_quickly: 0,
    kswapd_high_wmark_hit_quickly: 0,
  })
})

describe('for a block', () => {
  test('it makes room for compaction, wakes kcompactd, and forgets what compaction has passed over', () => {
    const machine = machineOf('UF'.repeat(6 * 512))
    const { mm } = machine
    mm.compactBlockskipFlush[zone] = 1
    expect(wakeAndRun(machine, 9)).toEqual(['wake 0 9', 'sleep 0'])
    // Twice the block and one page more, as direct reclaim does; after twice the block it is not for a block any more.
    expect(vmEvents(mm)).toMatchObject({ pageoutrun: 1, pgsteal_kswapd: 1024 + 1 })
    expect([kcompactdWantedFor(mm), mm.compactBlockskipFlush[zone]]).toEqual([9, 0])
  })

  test('where the block is there in the end, kcompactd sleeps on', () => {
    const machine = machineOf('F'.repeat(2048))
    wakeAndRun(machine, 9)
    expect(vmEvents(machine.mm).pgsteal_kswapd).toBe(512)
    expect(kcompactdWantedFor(machine.mm)).toBe(0)
  })
})

describe('a node that gives nothing', () => {
  test('is given up after so many runs, and its kswapd is not woken again', () => {
    const machine = machineOf('U.', { watermarks: [10, 20, 40] })
    const { mm } = machine
    const told = wakeAndRun(machine)
    expect(told).toEqual([...Array<string>(MAX_RECLAIM_RETRIES).fill('wake 0 0'), 'sleep 0'])
    expect(vmEvents(mm)).toMatchObject({
      pageoutrun: MAX_RECLAIM_RETRIES,
      // It could not sleep after any but the last.
      kswapd_high_wmark_hit_quickly: MAX_RECLAIM_RETRIES - 1,
    })
    expect(mm.kswapdFailures[node]).toBe(MAX_RECLAIM_RETRIES)
    expect(wakeAndRun(machine)).toEqual([])
  })

  test('is tried again after a direct reclaim got something', () => {
    const { mm } = machineOf('UF')
    mm.kswapdFailures[node] = MAX_RECLAIM_RETRIES
    expect(tryToFreePages(cpu, mm, prepareAllocPages(mm, GFP_KERNEL, 0, 0))).toBe(1)
    expect(mm.kswapdFailures[node]).toBe(0)
  })

  test('file pages that were preferred in vain: then anonymous ones too', () => {
    // All file pages are in use, and many: alone they would be looked at until the node is given up.
    const machine = machineOf(`${'F'.repeat(300)}${'M'.repeat(100)}`, {
      watermarks: [10, 20, 40],
      swapSlots: 200,
    })
    const { mm } = machine
    for (const pfn of machine.places(300)) mm.refcount[pfn]++
    wakeAndRun(machine)
    expect(vmEvents(mm).pgsteal_file).toBe(0)
    expect(vmEvents(mm).pswpout).toBeGreaterThan(40)
    expect(machine.freePages).toBeGreaterThan(40)
  })
})

describe('raised watermarks', () => {
  const raised = (files: number): TestMachine => {
    const machine = machineOf(`${'F'.repeat(files)}${'M'.repeat(512)}${'.'.repeat(1536)}`, { swapSlots: 512 })
    machine.mm.wmarkBoost[zone] = 512
    return machine
  }

  test('are worked off without swap and at low priority, then lowered; kcompactd makes the blocks', () => {
    const machine = raised(8192)
    wakeAndRun(machine)
    // 8192 >> 12, 8190 >> 11, and >> 10 again and again until 512 pages are reclaimed.
    expect(vmEvents(machine.mm)).toMatchObject({ pgsteal_kswapd: 2 + 3 + 73 * 7, pswpout: 0, pgscan_anon: 0 })
    expect(machine.mm.wmarkBoost[zone]).toBe(0)
    expect(kcompactdWantedFor(machine.mm)).toBe(pageblock_order)
  })

  test('are lowered, and nothing is reclaimed, where the lists are too short for that priority', () => {
    const machine = raised(1024)
    wakeAndRun(machine)
    expect(vmEvents(machine.mm)).toMatchObject({ pgscan_kswapd: 0, pageoutrun: 1 })
    expect([machine.mm.wmarkBoost[zone], machine.mm.kswapdFailures[node]]).toEqual([0, 1])
  })

  test('do not matter where the node is not balanced even so: swap is used', () => {
    const machine = machineOf('M'.repeat(400), { swapSlots: 512, watermarks: [10, 20, 40] })
    machine.mm.wmarkBoost[zone] = 100
    wakeAndRun(machine)
    expect(vmEvents(machine.mm).pswpout).toBeGreaterThan(100)
    expect(machine.mm.wmarkBoost[zone]).toBe(0)
  })
})
