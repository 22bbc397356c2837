/** What is left of the balloon in the generic code: nothing (S1-21 to S1-25). */

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { listEmpty } from '../base/list.ts'
import { nidOf } from '../base/units.ts'
import { GFP_KERNEL } from '../mm/gfp.ts'
import { compactNode } from '../mm/index.ts'
import { MIGRATE_SYNC, MR_COMPACTION, PG_lru } from '../mm/limits.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from '../mm/migrate.ts'
import { allocPages } from '../mm/slowpath.ts'
import { verify } from '../mm/verify.ts'
import { vmEvent } from '../mm/vmstat.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import { balloonPages } from './balloon.ts'
import { leakBalloon, virtioBalloonIsConserved } from './virtio_balloon_driver.ts'

const cpu = new FastCpu()
const NODE = nidOf(0)

const withBalloon = (picture: string): TestMachine => machineOf(picture, { balloons: [{ strict: false }] })

/** Three pageblocks: pages to move in the first one, room in the last one. */
const fragmented = (first: string): TestMachine =>
  withBalloon(`${first.padEnd(512, 'U')}${'U'.repeat(512)}${'.U'.repeat(256)}`)

test('S1-21 compaction takes what is movable and not isolated, and holds no lru lock while a driver is asked', () => {
  const machine = fragmented('bMb.zb')
  const { mm } = machine
  const list = machine.isolate(machine.pfn(2)) // another isolator's
  const steps = machine.recordingCpu()
  steps.before(
    (op, column, index) => {
      const asked = op === 'tryLock' && column === 'flags' && (mm.flags[machine.pfn(0)] & PG_lru) === 0
      if (asked && index >= machine.pfn(0)) expect(mm.lruLock[NODE]).toBe(0)
      return false
    },
    () => {},
  )
  machine.unlist(machine.pfn(2))
  compactNode(steps, mm, NODE)
  expect(machine.picture(6)).toBe('..i...')
  expect([vmEvent(mm, 'balloon_migrate'), vmEvent(mm, 'pgmigrate_success')]).toEqual([2, 4])
  machine.enlist(machine.pfn(2))
  putbackMovablePages(cpu, mm, list)
  verify(mm)
  expect(virtioBalloonIsConserved(mm, machine.balloons[0])).toBe(undefined)
})

/**
 * TRAP: in 2016 every isolated page counted in NR_ISOLATED_*, a driver's too, and was taken off when it was put back. Since then
 * only pages of the LRU count.
 */
test('S1-22 putback goes by the owner: each page is where it was, and only pages of the LRU were counted as isolated', () => {
  const machine = withBalloon('|b M z F b|')
  const { mm } = machine
  const before = machine.picture()
  const list = machine.isolate(...machine.places(5))
  expect([mm.nrIsolatedAnon[NODE], mm.nrIsolatedFile[NODE]]).toEqual([1, 1])
  expect(balloonPages(mm, machine.balloons[0].device)).toEqual({ listed: 0, isolated: 2 })
  putbackMovablePages(cpu, mm, list)
  expect([mm.nrIsolatedAnon[NODE], mm.nrIsolatedFile[NODE]]).toEqual([0, 0])
  expect([machine.picture(), machine.poolPages().listed]).toEqual([before, 1])
  verify(mm)
})

test('S1-23 after a success the new page has its owner’s reference and no other, on the LRU or on the driver’s list', () => {
  const machine = withBalloon('|b M . .|')
  const { mm } = machine
  machine.isolate(machine.pfn(0), machine.pfn(1))
  const list = mm.taskList(cpu.id, 0)
  expect(migratePages(cpu, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, newMigrateStats())).toBe(
    0,
  )
  expect([listEmpty(mm.links, list), machine.freePages]).toEqual([true, 2])
  const balloon = machine.find('b')
  const anon = machine.find('M')
  expect([mm.refcount[balloon], mm.flags[balloon] & PG_lru]).toEqual([1, 0])
  expect([mm.refcount[anon], mm.flags[anon] & PG_lru]).toEqual([1, PG_lru])
  verify(mm)
  expect(leakBalloon(cpu, mm, machine.balloons[0], 1)).toBe(1)
})

test('S1-24 reclaim leaves driver pages alone, listed or isolated, when it takes clean pages', () => {
  const machine = withBalloon('|F F F F b b z b|')
  const { mm } = machine
  machine.isolate(machine.pfn(4))
  for (let got = 0; got < 4; got++) expect(allocPages(cpu, mm, GFP_KERNEL, 0, 0)).toBeGreaterThan(0)
  expect(machine.picture()).toBe('UUUUibzb')
  expect(allocPages(cpu, mm, GFP_KERNEL, 0, 0)).toBe(-1)
  expect(machine.picture()).toBe('UUUUibzb')
  putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
  expect(balloonPages(mm, machine.balloons[0].device)).toEqual({ listed: 3, isolated: 0 })
  verify(mm)
})

test('S1-25 no file of the engine names an owner, but for page types, counters, and history', () => {
  const mayName = ['limits.ts', 'vmstat.ts', 'proc_names.ts', 'proc_counters.ts', 'page_marks.ts']
  const names = readdirSync('src/mm').filter(
    (name) => name.endsWith('.ts') && !/\.(test|fuzz)\.ts$/.test(name),
  )
  expect(names).toEqual(expect.arrayContaining(['migrate.ts', 'compaction.ts', ...mayName]))
  const owner = /balloon|virtio|zsmalloc|zspage|zram/i
  const naming = names.filter((name) => owner.test(readFileSync(`src/mm/${name}`, 'utf8')))
  expect(naming.toSorted()).toEqual(mayName.toSorted())
})
