/** The page pool: conservation of its pages, letting go of them while they move, and S0-21. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { pfnOf, zoneIdOf } from '../base/units.ts'
import { MIGRATE_ASYNC, MIGRATE_MOVABLE, MIGRATE_SYNC, MR_COMPACTION } from '../mm/limits.ts'
import {
  migrateFolioMove,
  migrateFolioUnmap,
  migratePages,
  newMigrateStats,
  putbackMovablePages,
} from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage } from '../mm/movable_ops.ts'
import { allocFromZone } from '../mm/page_alloc.ts'
import { machineOf } from '../testing/machine.ts'
import { poolInsert, poolRelease } from './page_pool.ts'

const cpu = new FastCpu()

test('S0-21 a page whose owner can move it may be allocated as movable, and leaves its block when asked', () => {
  const machine = machineOf('.'.repeat(512), { blocks: 2, rest: '.' })
  const { mm } = machine
  const zone = zoneIdOf(0)
  expect(mm.migratetypeOf(machine.pfn(0))).toBe(MIGRATE_MOVABLE)
  const pfn = pfnOf(allocFromZone(cpu, mm, zone, 0, MIGRATE_MOVABLE))
  poolInsert(cpu, mm, machine.pool, pfn)
  expect(machine.picture(1024).includes('z')).toBe(true)
  const list = machine.isolate(pfn)
  const before = mm.refcount[pfn]
  expect(migratePages(cpu, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, newMigrateStats())).toBe(
    0,
  )
  expect([before, mm.refcount[pfn]]).toEqual([2, 0])
  expect(machine.freePages).toBe(1023)
})

test('pages on the list + isolated pages = pages of the pool, at every step', () => {
  const actions = fc.array(
    fc.tuple(fc.constantFrom('isolate', 'migrate', 'putback', 'release'), fc.nat({ max: 3 })),
    {
      maxLength: 20,
    },
  )
  fc.assert(
    fc.property(actions, (todo) => {
      const machine = machineOf('|z z z z . . . . . .|')
      const { mm } = machine
      const steps = machine.recordingCpu()
      const list = mm.taskList(cpu.id, 0)
      let pages = 4
      const check = (): boolean => {
        const { listed, isolated } = machine.poolPages()
        expect(listed + isolated).toBe(pages)
        return false
      }
      steps.before(check, () => {}) // never due: it looks before each step
      for (const [action, place] of todo) {
        const pfn = machine.pfn(place)
        if (action === 'isolate' && isolateMovablePage(steps, mm, pfn, 0) === ISOLATED) machine.enlist(pfn)
        if (action === 'migrate') {
          migratePages(steps, mm, list, machine.target(), MIGRATE_SYNC, MR_COMPACTION, newMigrateStats())
        }
        if (action === 'putback') putbackMovablePages(steps, mm, list)
        if (action === 'release' && machine.release(pfn)) pages--
        check()
      }
      putbackMovablePages(steps, mm, list)
      expect(machine.poolPages()).toEqual({ listed: pages, isolated: 0 })
      expect(machine.freePages).toBe(10 - pages)
    }),
  )
})

test('a page that moves while its release waits for it is not the pool’s any more: nothing happens', () => {
  const machine = machineOf('|z . . .|')
  const { mm } = machine
  const src = machine.pfn(0)
  machine.isolate(src)
  const dst = pfnOf(machine.target().getNewFolio(cpu, mm, src, 0))
  migrateFolioUnmap(cpu, mm, src, dst, MIGRATE_ASYNC, 0)
  const releasing = new FastCpu(() => {
    machine.unlist(src)
    expect(migrateFolioMove(cpu, mm, src, dst, MIGRATE_ASYNC)).toBe(0)
    expect(mm.refcount[src]).toBe(1) // the one of who releases
  })
  expect(poolRelease(releasing, mm, machine.pool, src)).toBe(false)
  expect(machine.poolPages()).toEqual({ listed: 1, isolated: 0 })
  expect([mm.refcount[src], mm.refcount[dst], machine.freePages]).toEqual([0, 1, 3])
  expect(poolRelease(cpu, mm, machine.pool, src)).toBe(false) // free by now
  expect(poolRelease(cpu, mm, machine.pool, dst)).toBe(true)
  expect(machine.picture()).toBe('....')
})
