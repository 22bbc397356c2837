/** Every provider of movable pages keeps the contract; and the rows that it stands for (S0-16..S0-18). */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { mappingIdOf, nidOf, type Pfn, pfnOf, slotOf, vpnOf } from '../base/units.ts'
import { filemapGetFolio, filemapRemoveFolio } from '../mm/filemap.ts'
import { compactNode, createMachine } from '../mm/index.ts'
import {
  MIGRATE_ASYNC,
  PG_locked,
  PG_movable_ops,
  PG_writeback,
  PGTY_offline,
  PGTY_zsmalloc,
} from '../mm/limits.ts'
import { migrateFolioMove, migrateFolioUndo, migrateFolioUnmap, putbackMovablePages } from '../mm/migrate.ts'
import {
  isolateMovablePage,
  REFUSED_BY_OWNER,
  REFUSED_FREE,
  REFUSED_ISOLATED,
  REFUSED_LOCKED,
  REFUSED_PINNED,
  REFUSED_UNMOVABLE,
  REFUSED_WRITEBACK,
} from '../mm/movable_ops.ts'
import { MAPPING_FIRST_FILE, type Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { accessPage, zapPte } from '../mm/rmap.ts'
import { machineOf, OTHER_OWNERS, type TestMachine } from '../testing/machine.ts'
import { GENERAL, type PinMachine, pinMachineOf } from '../testing/pin_machine.ts'
import { type DrawnRing, drawnAioRing } from './aio_ring.case.ts'
import { ioDestroy } from './aio_ring.ts'
import { contract, type Provider } from './contract.case.ts'
import { type DrawnGraphics, drawnGraphics } from './graphics.case.ts'
import { bufferDestroy, bufferRead, jobBegin } from './graphics.ts'
import { OWNERS, placesOf } from './index.ts'
import { poolRead } from './page_pool.ts'
import { clearPinpage, lockPinpage, setPinpage, unlockPinpage } from './pinpage.ts'
import { type ZsPool, zsPoolCells } from './zs_pool.ts'
import { verifyZsPool } from './zs_verify.ts'
import { createZsPool, zsFree, zsFreeDeferred, zsMalloc } from './zsmalloc.ts'

const cpu = new FastCpu()

/** Providers that were held to the contract. */
const suite: string[] = []

function stand(provider: Provider): void {
  suite.push(provider.name)
  contract(provider)
}

const lruRefusals: Provider['refusals'] = {
  'being freed'({ mm }, pfn) {
    mm.refcount[pfn] = 0
    return REFUSED_FREE
  },
  writeback({ mm }, pfn) {
    mm.flags[pfn] |= PG_writeback
    return REFUSED_WRITEBACK
  },
}

const pinned: Provider['refusals'] = {
  pinned({ mm }, pfn) {
    mm.refcount[pfn]++
    return REFUSED_PINNED
  },
}

const touchMapped: Provider['touch'] = (by, machine, pfn) => {
  const vpn = machine.vpnOf(pfn)
  const found = accessPage(by, machine.mm, vpn)
  expect(machine.mm.content[pfnOf(found)]).toBe(1000)
}

const driver = (name: string, pgty: number): Provider => ({
  name,
  letter: 'z',
  pgty,
  refusals: {
    'being freed': lruRefusals['being freed'],
    locked({ mm }, pfn) {
      mm.flags[pfn] |= PG_locked
      return REFUSED_LOCKED
    },
    released({ mm }, pfn) {
      mm.flags[pfn] &= ~PG_movable_ops
      return REFUSED_UNMOVABLE
    },
    isolated({ mm }, pfn) {
      expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(0)
      return REFUSED_ISOLATED
    },
  },
  freer: (machine, pfn) => () => {
    if (!machine.release(pfn)) machine.release(machine.find('z')) // it has moved, and the pool knows where to
  },
  freeTakesPageLock: true,
  touch: (by, machine, pfn) => {
    const value = poolRead(by, machine.mm, machine.pool, pfn)
    const moved = machine.find('z')
    expect(value).toBe(moved === pfn ? 1000 : -1) // moved: look it up again
    expect(poolRead(cpu, machine.mm, machine.pool, moved)).toBe(1000)
  },
  skips: { 'extra reference': 'all references are known to the pool; one more does not stop it' },
})

stand({
  name: 'an anonymous page',
  letter: 'M',
  refusals: { ...lruRefusals, ...pinned },
  freer: ({ mm }, pfn) => {
    const vpn = vpnOf(mm.rmap[pfn])
    return () => zapPte(cpu, mm, vpn)
  },
  freeTakesPageLock: false,
  touch: touchMapped,
})

stand({
  name: 'a mapped file page',
  letter: 'F',
  refusals: lruRefusals,
  freer: ({ mm }, pfn) => {
    const vpn = vpnOf(mm.rmap[pfn])
    const slot = slotOf(mm.private[pfn])
    return () => {
      zapPte(cpu, mm, vpn)
      const found = pfnOf(filemapGetFolio(cpu, mm, slot))
      expect(filemapRemoveFolio(cpu, mm, found)).toBe(true)
      putPage(cpu, mm, found)
    }
  },
  freeTakesPageLock: true,
  touch: touchMapped,
})

stand({
  name: 'a page in the swap cache',
  letter: 'S',
  refusals: lruRefusals,
  freer: () => () => {},
  freeTakesPageLock: true,
  touch: touchMapped,
  skips: { freed: 'freeing one takes its slot first, which belongs to reclaim: not built yet' },
})

stand({
  name: 'a balloon page',
  letter: 'b',
  balloon: true,
  hollow: true,
  refusals: {
    ...driver('', PGTY_zsmalloc).refusals,
    deflated({ mm }, pfn) {
      mm.private[pfn] = 0 // as where the mark stays until the page is free
      return REFUSED_BY_OWNER
    },
  },
  freer: () => () => {},
  freeTakesPageLock: false,
  touch: () => {},
  skips: {
    'extra reference': 'as in the kernel, the host has the memory: nobody can reach it by a reference',
    freed: 'a balloon does not let go of an isolated page; balloon.test.ts deflates at every step',
    touched: 'the host has the memory: nobody may touch it',
  },
})
stand(driver('a page of type zsmalloc, of a captured machine', PGTY_zsmalloc))

/** A machine whose first page is a zspage with one object, of handle 1: the first that a pool gives. */
function oneZspage(): { machine: TestMachine; pool: ZsPool } {
  const spec = { objectsMax: 4, chainSize: 4 }
  const machine = machineOf('|. . . .|', { pgty: PGTY_offline, ownerCells: zsPoolCells(spec) })
  const pool = createZsPool(machine.mm, OTHER_OWNERS, spec)
  expect(zsMalloc(cpu, machine.mm, pool, 4096)).toBe(1)
  machine.mm.content[machine.pfn(0)] = 1000
  return { machine, pool }
}

/** The pool of each machine that was started: a test has the machine only. */
const zsPools = new WeakMap<TestMachine, ZsPool>()
const zsPoolOf = (machine: TestMachine): ZsPool => {
  const pool = zsPools.get(machine)
  if (pool === undefined) throw new Error('the machine has a pool')
  return pool
}

stand({
  ...driver('a page of a zspage', PGTY_zsmalloc),
  start: () => {
    const { machine, pool } = oneZspage()
    zsPools.set(machine, pool)
    return machine
  },
  freer: (machine) => () => zsFree(cpu, machine.mm, zsPoolOf(machine), 1),
  settle: (machine) => {
    zsFreeDeferred(cpu, machine.mm, zsPoolOf(machine))
    verifyZsPool(machine.mm, zsPoolOf(machine), true)
  },
  skips: {
    'extra reference': 'zsmalloc does not compare references; one more does not stop it',
    touched: 'who has an object mapped keeps its zspage from moving; nobody waits for a move',
  },
})

/** The machine of a pinned page, by its machine. */
const pinMachines = new WeakMap<TestMachine, PinMachine>()
const pinMachine = (machine: TestMachine): PinMachine => {
  const found = pinMachines.get(machine)
  if (found === undefined) throw new Error('a machine with a pinned page')
  return found
}

/** Takes the pin and the page away, if it is there. */
function unpinAndFree({ machine, mm, pp }: PinMachine, pfn: Pfn): boolean {
  if (clearPinpage(cpu, mm, pp, GENERAL, pfn) !== 0) return false
  putPage(cpu, machine.mm, pfn)
  return true
}

stand({
  name: 'a pinned kernel page',
  letter: 'z',
  start: () => {
    const on = pinMachineOf('|U . . .|')
    expect(setPinpage(cpu, on.mm, on.pp, on.machine.pfn(0), { system: GENERAL })).toBe(0)
    pinMachines.set(on.machine, on)
    return on.machine
  },
  refusals: {
    ...driver('', PGTY_offline).refusals,
    cleared(machine, pfn) {
      const { mm, pp } = pinMachine(machine)
      expect(clearPinpage(cpu, mm, pp, GENERAL, pfn)).toBe(0)
      return REFUSED_UNMOVABLE
    },
  },
  freer: (machine, pfn) => () => {
    const on = pinMachine(machine)
    if (!unpinAndFree(on, pfn)) unpinAndFree(on, machine.find('z')) // it has moved, and its subsystem knows where to
  },
  freeTakesPageLock: true,
  touch: (by, machine, pfn) => {
    const { mm } = machine
    const there = lockPinpage(by, mm, pfn)
    const page = machine.find('z')
    expect([there, mm.content[page]]).toEqual([page === pfn, 1000])
    if (there) unlockPinpage(by, mm, pfn)
  },
  skips: { 'extra reference': 'who waits for its lock has one too; a device’s FOLL_PIN stops it (S3-13)' },
})

/** A page of a buffer of one page; `mapped`: user space has it too. */
function graphics(name: string, mapped: boolean): Provider {
  let drawn: DrawnGraphics
  return {
    name,
    letter: 'o',
    owner: () => (drawn = drawnGraphics(mapped)),
    refusals: {
      'being freed': lruRefusals['being freed'],
      'used by the device'({ mm }) {
        expect(jobBegin(cpu, mm, drawn.device, 0)).toBe(0)
        return REFUSED_BY_OWNER
      },
      destroyed({ mm }, pfn) {
        mm.refcount[pfn]++ // somebody looks at it
        expect(bufferDestroy(cpu, mm, drawn.device, 0)).toBe(0)
        return REFUSED_BY_OWNER
      },
      isolated({ mm }, pfn) {
        expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(0)
        return REFUSED_ISOLATED
      },
    },
    freer:
      ({ mm }) =>
      () => {
        expect(bufferDestroy(cpu, mm, drawn.device, 0)).toBe(0)
      },
    freeTakesPageLock: true,
    touch: mapped
      ? touchMapped
      : (by, { mm }) => {
          expect(bufferRead(by, mm, drawn.device, 0, 0)).toBe(1000)
        },
  }
}

stand(graphics('a page of a graphics buffer', false))
stand(graphics('a page of a graphics buffer that user space maps', true))

let drawnRing: DrawnRing
stand({
  name: 'a page of an AIO ring',
  letter: 'o',
  owner: () => (drawnRing = drawnAioRing()),
  refusals: lruRefusals,
  freer:
    ({ mm }) =>
    () => {
      expect(ioDestroy(cpu, mm, drawnRing.ring)).toBe(0)
    },
  freeTakesPageLock: true,
  touch: touchMapped,
})

/** Where each owner stands in this suite; or why it does not. */
const STANDS: Readonly<Record<string, readonly string[] | string>> = {
  'page pool': ['a page of type zsmalloc, of a captured machine'],
  balloon: ['a balloon page'],
  'zram, on zsmalloc': ['a page of a zspage'],
  'pin page control': ['a pinned kernel page'],
  graphics: ['a page of a graphics buffer', 'a page of a graphics buffer that user space maps'],
  'AIO ring': ['a page of an AIO ring'],
  'kernel memory': 'its pages cannot move: it has no operations',
}

test('every owner stands in the contract suite, or says why not', () => {
  expect(Object.keys(STANDS)).toEqual(OWNERS.map(({ name }) => name))
  for (const names of Object.values(STANDS)) {
    if (typeof names === 'string') expect(names).toMatch(/^\w.{20}/)
    else expect(suite).toEqual(expect.arrayContaining([...names]))
  }
})

test('a machine has room for one of each owner, each in its place', () => {
  const { places, ownerCells, mappings } = placesOf(OWNERS)
  const sizes = { spanned: 512, present: 512, managed: 512, min: 0, low: 0, high: 0 }
  const zones = [{ node: 0, name: 'Normal', startPfn: 0, ...sizes }]
  const mm = createMachine({ pfnCount: 512, zones, ownerCells, mappings })
  OWNERS.forEach((owner, i) => owner.create(mm, places[i], places[i].mapping))
  const names = mm.movableOps.flatMap((ops) => (ops === undefined ? [] : [ops.name]))
  expect(names).toEqual(expect.arrayContaining(['lru', 'pool', 'balloon', 'zsmalloc', 'pinpage', 'graphics']))
  expect(() => createGraphicsBehind(mm, ownerCells)).toThrow('the arena has cells for this device')
})

const createGraphicsBehind = (mm: Mm, cell: number): unknown =>
  OWNERS.find(({ name }) => name === 'graphics')?.create(
    mm,
    { cell, list: 0 },
    mappingIdOf(MAPPING_FIRST_FILE),
  )

/** A page half-way through its move: unmapped and locked. */
function moving(letter: string): { machine: TestMachine; src: Pfn; dst: Pfn } {
  const machine = machineOf(`|${letter} . . .|`)
  const src = machine.pfn(0)
  machine.isolate(src)
  const dst = pfnOf(machine.target().getNewFolio(cpu, machine.mm, src, 0))
  migrateFolioUnmap(cpu, machine.mm, src, dst, MIGRATE_ASYNC, 0)
  return { machine, src, dst }
}

const touches: Record<string, Provider['touch']> = { M: touchMapped, z: driver('', PGTY_zsmalloc).touch }

test('S0-16 driver pages give what migration entries give mapped pages: whoever touches them waits', () => {
  for (const [letter, touch] of Object.entries(touches)) {
    const { machine, src, dst } = moving(letter)
    let waitedFor = -1
    touch(
      new FastCpu((_cells, index) => {
        waitedFor = index
        machine.unlist(src)
        migrateFolioMove(cpu, machine.mm, src, dst, MIGRATE_ASYNC)
      }),
      machine,
      src,
    )
    expect([letter, waitedFor]).toEqual([letter, src])
  }
})

test('S0-17 an access that meets a move sleeps in one step, and does not spin', () => {
  for (const [letter, touch] of Object.entries(touches)) {
    const { machine, src, dst } = moving(letter)
    const accessor = machine.recordingCpu(() => {
      machine.unlist(src)
      migrateFolioMove(cpu, machine.mm, src, dst, MIGRATE_ASYNC)
    })
    touch(accessor, machine, src)
    expect(accessor.steps.filter(({ op }) => op === 'lock' || op === 'waitClear')).toHaveLength(1)
    expect(accessor.texts('tryLock', 'cas')).toEqual([])
    expect(accessor.steps.length).toBeLessThan(20)
  }
})

test('S0-18 putback wakes whoever waits for the page: it finds it where it was', () => {
  for (const [letter, touch] of Object.entries(touches)) {
    const { machine, src, dst } = moving(letter)
    const { mm } = machine
    let woken = 0
    const accessor = new FastCpu(() => {
      woken++
      migrateFolioUndo(cpu, mm, src, dst)
      putPage(cpu, mm, dst)
      putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
    })
    touch(accessor, machine, src)
    expect([letter, woken, machine.find(letter)]).toEqual([letter, 1, src])
  }
})

test('pages of type zsmalloc of a captured machine, loaded as a pool, are moved by compaction', () => {
  const machine = machineOf(`|z U z z${'U'.repeat(1020)}${'. U'.repeat(256)}|`, { pgty: PGTY_zsmalloc })
  const contents = (): number[] => {
    const found: number[] = []
    for (let i = 0; i < machine.pages; i++) {
      const value = poolValue(machine, machine.pfn(i))
      if (value >= 0) found.push(value)
    }
    return found.sort((a, b) => a - b)
  }
  expect(contents()).toEqual([1000, 1002, 1003])
  compactNode(cpu, machine.mm, nidOf(0))
  expect(machine.picture(4)).toBe('.U..')
  expect(contents()).toEqual([1000, 1002, 1003])
  expect(machine.poolPages()).toEqual({ listed: 3, isolated: 0 })
})

function poolValue(machine: TestMachine, pfn: Pfn): number {
  return (machine.mm.flags[pfn] & PG_movable_ops) === 0 || machine.mm.mapcount[pfn] >= 0
    ? -1
    : poolRead(cpu, machine.mm, machine.pool, pfn)
}
