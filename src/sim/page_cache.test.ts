/** Files and regions on a device: what it is given, what it is told to forget, and what the page cache holds meanwhile. */

import { beforeEach, expect, test } from 'vitest'
import { Prng } from '../base/prng.ts'
import { PG_dirty } from '../mm/limits.ts'
import { RULES_6_18 } from '../mm/rules.ts'
import { verify } from '../mm/verify.ts'
import { Schedule } from './activity.ts'
import { boot, machineSpec } from './boot.ts'
import { Costs } from './costs.ts'
import { type Device, SimFile } from './page_cache.ts'
import type { TaskPlan } from './plan.ts'
import { parseScenario } from './scenario.ts'
import { map, pageout, unmap } from './tasks/regions.ts'
import { World } from './world.ts'

/** A device that remembers which sectors it holds, and has room for so many. */
class Ledger implements Device {
  readonly held = new Set<number>()
  private next = 0
  private readonly room: number

  constructor(room = Number.POSITIVE_INFINITY) {
    this.room = room
  }

  readonly reserve = (sectors: number): number => {
    this.next += sectors
    return this.next - sectors
  }
  readonly store = (_cpu: unknown, sector: number): boolean => {
    if (this.held.size >= this.room) return false
    this.held.add(sector)
    return true
  }
  readonly discard = (_cpu: unknown, sector: number): void => {
    this.held.delete(sector)
  }
}

let world: World
beforeEach(() => {
  const machine = {
    cpus: 1,
    nodes: [{ pages: 2048, movable: 0 }],
    swapSlots: 0,
    rules: RULES_6_18,
    sysctl: {},
    thp: {},
  }
  world = new World(boot(machineSpec(machine, { slots: 512, mappings: 2, ptes: 2048 })), new Costs())
})

const dirtyPages = ({ mm }: World): number =>
  Array.from({ length: mm.pfnCount }, (_, pfn) => mm.arena.column('flags')[pfn] & PG_dirty).filter(Boolean)
    .length

test('what is written is dirty until the device has it, oldest first; a page that is written twice is written back once', () => {
  const [cpu] = world.cpus
  const device = new Ledger()
  const file = new SimFile(world, 100, device)
  for (const page of [5, 6, 7, 5, 8]) expect(file.write(cpu, page)).toBe(true)
  expect([file.dirtyPages, dirtyPages(world)]).toEqual([4, 4])
  expect(file.writeBack(cpu, 2)).toBe(0)
  expect([[...device.held], dirtyPages(world)]).toEqual([[5, 6], 2])
  expect(file.read(cpu, 5)).toBe(0)
  expect(file.write(cpu, 5)).toBe(true) // dirty again
  expect([file.dirtyPages, dirtyPages(world)]).toEqual([3, 3])
  expect(file.writeBack(cpu, 9)).toBe(0)
  expect([file.dirtyPages, dirtyPages(world)]).toEqual([0, 0])
  verify(world.mm)
})

test('what is deleted leaves the page cache and the device; other files keep theirs', () => {
  const [cpu] = world.cpus
  const device = new Ledger()
  const [one, two] = [new SimFile(world, 50, device), new SimFile(world, 50, device)]
  for (let page = 0; page < 50; page++) {
    one.write(cpu, page)
    two.write(cpu, page)
  }
  one.writeBack(cpu, 30)
  two.writeBack(cpu, 50)
  expect(one.truncate(cpu, 0, 50)).toBe(50)
  expect([one.dirtyPages, device.held.size, [...device.held].every((sector) => sector >= 50)]).toEqual([
    0,
    50,
    true,
  ])
  expect(one.truncate(cpu, 0, 50)).toBe(0)
  expect(two.read(cpu, 7)).toBe(0)
  verify(world.mm)
})

test('a device that is full takes no more: it is counted', () => {
  const file = new SimFile(world, 100, new Ledger(60))
  for (let page = 0; page < 100; page++) file.write(world.cpus[0], page)
  expect(file.writeBack(world.cpus[0], 100)).toBe(40)
})

test('what of a region is pushed out lies on the device; unmapping it makes the device forget', () => {
  const device = new Ledger()
  world.owners.set('d', { kind: 'ledger', figures: () => ({}), device })
  const run = (plan: TaskPlan): void => {
    const schedule = new Schedule(world)
    schedule.start(plan.start(world, world.cpus[0], new Prng(1), plan.name), plan.name, 0, 0, false)
    schedule.run(Number.POSITIVE_INFINITY, () => {})
    verify(world.mm)
  }
  const mapped = (): number => world.mm.arena.column('pte').filter((pte) => pte !== 0).length
  run(map.parse({ task: 'map', name: 'a', size: '2MiB' }))
  expect(mapped()).toBe(512)
  run(pageout.parse({ task: 'pageout', of: 'a', pages: 'even', to: 'd' }))
  expect([mapped(), device.held.size]).toEqual([256, 256])
  run(unmap.parse({ task: 'unmap', of: 'a', pages: 'present' }))
  expect([mapped(), device.held.size]).toEqual([0, 256])
  run(unmap.parse({ task: 'unmap', of: 'a', pages: 0.5 }))
  expect(device.held.size).toBeGreaterThan(90)
  expect(device.held.size).toBeLessThan(170)
  run(unmap.parse({ task: 'unmap', of: 'a' }))
  expect(device.held.size).toBe(0)
})

test('tasks of regions and devices that are not there are refused', () => {
  const parsed = parseScenario({
    question: 'a test',
    machine: { memory: '16MiB' },
    owners: { p: { kind: 'pool' } },
    phases: [
      {
        name: 'x',
        tasks: [
          { task: 'unmap', of: 'nothing' },
          { task: 'write-files', size: '1MiB', to: 'p' },
          { task: 'write-files', size: '1MiB', to: 'q' },
        ],
      },
    ],
  })
  expect(!parsed.ok && parsed.issues.map(({ message }) => message)).toEqual([
    'there is no task map of the name nothing',
    'p is no owner that holds files',
    'q is no owner that holds files',
  ])
})
