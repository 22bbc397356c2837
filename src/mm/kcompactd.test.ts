/** Background compaction: what wakes it, what it does, when it lets things be. */

import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, pageblockAt, zoneIdOf } from '../base/units.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { compactionDeferred, deferCompaction, fragmentationScoreNode } from './compaction_gate.ts'
import { GFP_ATOMIC, GFP_TRANSHUGE } from './gfp.ts'
import { RULES_6_1 } from './index.ts'
import { kcompactd } from './kcompactd.ts'
import { MIGRATE_SYNC_LIGHT, pageblock_nr_pages, ZONE_MOVABLE } from './limits.ts'
import { type Mm, PB_migrate_skip } from './page.ts'
import { addPcpPage } from './pcp.ts'
import { SILENT } from './trace.ts'
import { verify } from './verify.ts'
import { vmEvents } from './vmstat.ts'
import { wakeupKcompactd, wakeupKswapd } from './wakeup.ts'

const zone = zoneIdOf(0)
const node = nidOf(0)
const cpu = new FastCpu()
const SCATTERED = '.U'.repeat(250)

const draw = (blocks: readonly string[], options = {}): TestMachine =>
  machineOf(blocks.map((block) => block.padEnd(pageblock_nr_pages, 'U')).join(''), options)

describe('woken for an order', () => {
  test('C-19 compacts lightly until a block is there, and then sleeps; what would not help wakes nobody', () => {
    const machine = draw(['M'.repeat(16), 'M'.repeat(16), '', SCATTERED])
    const { mm } = machine
    mm.sysctl.compaction_proactiveness = 0
    const told: unknown[] = []
    mm.trace = {
      ...SILENT,
      mmCompactionWakeupKcompactd: (nid, order, idx) => told.push(['wakeup', nid, order, idx]),
      mmCompactionKcompactdWake: (nid, order, idx) => told.push(['wake', nid, order, idx]),
      mmCompactionKcompactdSleep: (nid) => told.push(['sleep', nid]),
      mmMigratePagesStart: (mode) => told.push(['migrate', mode]),
    }
    expect(kcompactd(cpu, mm, node)).toBe('asleep')
    wakeupKcompactd(cpu, mm, node, 0, ZONE_MOVABLE)
    expect([told, mm.kcompactdMaxOrder[node]]).toEqual([[], 0])
    wakeupKcompactd(cpu, mm, node, 4, ZONE_MOVABLE)
    expect(kcompactd(cpu, mm, node)).toBe('woken')
    expect(told).toEqual([
      ['wakeup', 0, 4, ZONE_MOVABLE],
      ['wake', 0, 4, 2], // the highest kind of zone there is
      ['migrate', MIGRATE_SYNC_LIGHT],
      ['sleep', 0],
    ])
    // 16 pages free in block 0: enough, as its pageblock can be claimed. Block 1 was left alone.
    expect(machine.picture(528).replaceAll('U', '')).toBe('.'.repeat(16) + 'M'.repeat(16))
    expect(vmEvents(mm)).toMatchObject({
      compact_daemon_wake: 1,
      compact_daemon_migrate_scanned: 512,
      compact_stall: 0,
    })
    expect([mm.kcompactdMaxOrder[node], mm.compactOrderFailed[zone]]).toEqual([0, 5])
    verify(mm)

    // It is there: nothing to do. The order stays on record, as in the kernel, until kcompactd has looked.
    told.length = 0
    wakeupKcompactd(cpu, mm, node, 4, ZONE_MOVABLE)
    expect(told).toEqual([])
    expect(kcompactd(cpu, mm, node)).toBe('woken')
    expect(told).toEqual([
      ['wake', 0, 4, 2],
      ['sleep', 0],
    ])
  })

  test('honours hints, drains per-cpu lists after a failure and defers; a deferred zone is let be', () => {
    const machine = draw(['M'.repeat(4), '', SCATTERED], { cpus: 2 })
    const { mm } = machine
    mm.pageblock[pageblockAt(1)] |= PB_migrate_skip
    const kept = machine.find('U')
    mm.refcount[kept] = 0
    addPcpPage(mm, mm.pcpOf(zone, cpu.id), kept)
    wakeupKcompactd(cpu, mm, node, 2, ZONE_MOVABLE)
    kcompactd(cpu, mm, node)
    expect(machine.picture(4)).toBe('MMMM')
    expect(mm.pcpCount[mm.pcpOf(zone, cpu.id)]).toBe(0)
    expect(mm.compactDeferShift[zone]).toBe(1)
    const scanned = vmEvents(mm).compact_daemon_migrate_scanned
    wakeupKcompactd(cpu, mm, node, 2, ZONE_MOVABLE)
    kcompactd(cpu, mm, node)
    expect(vmEvents(mm).compact_daemon_migrate_scanned).toBe(scanned)
    expect(compactionDeferred(cpu, mm, zone, 2)).toBe(false)
    verify(mm)
  })

  test('kswapd’s waker wakes it for those who cannot compact, where memory is enough but in small pieces', () => {
    // Whether memory is enough is asked for a block of the order, so this is about huge marks: a hopeless node.
    const machine = draw(['M'.repeat(16), '', SCATTERED])
    const { mm } = machine
    wakeupKswapd(cpu, mm, zone, GFP_ATOMIC, 4, ZONE_MOVABLE)
    expect([mm.kswapdRunning[node], mm.kswapdOrder[node]]).toEqual([1, 4])
    mm.kswapdRunning[node] = 0
    mm.kswapdFailures[node] = 16
    wakeupKswapd(cpu, mm, zone, GFP_TRANSHUGE, 4, ZONE_MOVABLE)
    expect(mm.kcompactdMaxOrder[node]).toBe(0) // direct compaction is its own business
    wakeupKswapd(cpu, mm, zone, GFP_ATOMIC, 4, ZONE_MOVABLE)
    expect([mm.kcompactdMaxOrder[node], mm.kswapdRunning[node]]).toEqual([4, 0])
  })
})

describe('proactive', () => {
  /** 512 pages free in single pages, and as many to move into them as leave whole pageblocks behind. */
  const fragmented = (options = {}): TestMachine =>
    draw(['M.'.repeat(256), 'M.'.repeat(256), 'M.'.repeat(256), 'M.'.repeat(256)], options)

  test('above the high mark it compacts until below the low one', () => {
    const machine = fragmented()
    const { mm } = machine
    expect(fragmentationScoreNode(mm, node)).toBe(99) // 2048 * 100 / 2049
    const modes = new Set<number>()
    mm.trace = { ...SILENT, mmMigratePagesStart: (mode) => modes.add(mode) }
    expect(kcompactd(cpu, mm, node)).toBe('proactive')
    expect([...modes]).toEqual([MIGRATE_SYNC_LIGHT])
    expect(fragmentationScoreNode(mm, node)).toBeLessThanOrEqual(80)
    expect(vmEvents(mm).compact_daemon_migrate_scanned).toBeGreaterThan(0)
    verify(mm)
    expect(kcompactd(cpu, mm, node)).toBe('asleep')
  })

  test('not at a proactiveness of 0, not while kswapd runs, not below the high mark', () => {
    const off = fragmented().mm
    off.sysctl.compaction_proactiveness = 0
    expect(kcompactd(cpu, off, node)).toBe('asleep')
    const busy = fragmented().mm
    busy.kswapdRunning[node] = 1
    expect(kcompactd(cpu, busy, node)).toBe('asleep')
    const fine = draw(['.'.repeat(512), '.U'.repeat(256)]).mm
    expect(kcompactd(cpu, fine, node)).toBe('asleep')
  })

  test('after a round in vain 63 looks pass, and the 64th compacts again', () => {
    // Nothing can move: the score stays.
    const { mm } = draw(['U.'.repeat(256), 'U.'.repeat(256)])
    const turns = (): number => {
      let turn = 1
      while (kcompactd(cpu, mm, node) === 'asleep') turn++
      return turn
    }
    expect([turns(), turns(), turns()]).toEqual([1, 64, 64])
    // Being woken for an order ends the wait.
    kcompactd(cpu, mm, node)
    wakeupKcompactd(cpu, mm, node, 4, ZONE_MOVABLE)
    expect(kcompactd(cpu, mm, node)).toBe('woken')
    expect(turns()).toBe(1)
  })

  test('on 6.1 what it scans is not counted as the daemon’s', () => {
    const { mm } = fragmented({ rules: RULES_6_1 })
    expect(kcompactd(cpu, mm, node)).toBe('proactive')
    expect(vmEvents(mm)).toMatchObject({ compact_daemon_migrate_scanned: 0, compact_daemon_wake: 0 })
    expect(vmEvents(mm).compact_migrate_scanned).toBeGreaterThan(0)
  })
})

test('deferral is shared with direct compaction', () => {
  const machine = draw(['M'.repeat(16), '', SCATTERED])
  const { mm }: { mm: Mm } = machine
  deferCompaction(cpu, mm, zone, 4)
  wakeupKcompactd(cpu, mm, node, 4, ZONE_MOVABLE)
  kcompactd(cpu, mm, node)
  expect(machine.picture(16)).toBe('M'.repeat(16))
})
