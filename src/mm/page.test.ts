/** What a machine can be, how its state is laid out, and which rules go with which kernel. */

import { expect, test } from 'vitest'
import { AssertionError } from '../base/assert.ts'
import { cpuIdOf, nidOf, pageblockAt, pcpIdOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { createMachine, type MachineSpec, PAGE_BYTES, rulesForRelease, type ZoneSpec } from './index.ts'
import { LOCK_LETTERS } from './locks.ts'
import { OWNER_LISTS, PB_ABSENT, TASK_LISTS } from './page.ts'
import { verify } from './verify.ts'

const zone = (more: Partial<ZoneSpec> = {}): ZoneSpec => ({
  node: 0,
  name: 'Normal',
  startPfn: 0,
  spanned: 1024,
  present: 0,
  managed: 0,
  min: 1,
  low: 2,
  high: 3,
  ...more,
})

const twoZones: MachineSpec = {
  pfnCount: 3072,
  cpus: 2,
  zones: [zone({ startPfn: 1, spanned: 1000 }), zone({ node: 1, startPfn: 2048, spanned: 600 })],
}

test('a machine begins empty, every pageblock movable, and valid', () => {
  const { mm } = { mm: createMachine(twoZones) }
  const blocks = Array.from({ length: 6 }, (_, block) => mm.pageblock[pageblockAt(block)])
  expect(blocks).toEqual([1, 1, PB_ABSENT, PB_ABSENT, 0x101, 0x101])
  expect([mm.zoneOf(pfnOf(1000)), mm.zoneOf(pfnOf(2048))]).toEqual([0, 1])
  expect([mm.zones, mm.nodes, mm.zoneNode[zoneIdOf(1)]]).toEqual([2, 2, 1])
  expect([mm.cachedFreePfn[zoneIdOf(0)], mm.cachedFreePfn[zoneIdOf(1)]]).toEqual([512, 2560])
  expect(mm.pcpBatch[pcpIdOf(3)]).toBe(1)
  verify(mm)
})

test('every list has a head of its own', () => {
  const mm = createMachine(twoZones)
  const heads: number[] = []
  for (let z = 0; z < 2; z++) {
    for (let order = 0; order <= 10; order++)
      for (let mt = 0; mt < 6; mt++) heads.push(mm.freeList(z, order, mt))
    for (let list = 0; list < 14; list++)
      for (let cpu = 0; cpu < 2; cpu++) heads.push(mm.pcpList(mm.pcpOf(z, cpuIdOf(cpu)), list))
    for (let lru = 0; lru < 5; lru++) heads.push(mm.lruList(nidOf(z), lru))
    for (let task = 0; task < TASK_LISTS; task++) heads.push(mm.taskList(cpuIdOf(z), task))
    heads.push(mm.hugetlbList(nidOf(z)))
  }
  for (let owner = 0; owner < OWNER_LISTS; owner++) heads.push(mm.ownerList(owner))
  expect(new Set(heads).size).toBe(heads.length)
  expect(Math.min(...heads)).toBe(mm.pfnCount)
  expect(Math.max(...heads)).toBe(mm.links.length / 2 - 1)
})

test('a page costs eight cells, and one more with contents', () => {
  const bytes = (pfnCount: number, contents: boolean): number =>
    createMachine({ pfnCount, contents, zones: [zone()] }).arena.bytes
  const block = 4 // a pageblock's cell
  expect(bytes(1024 + 512, false) - bytes(1024, false)).toBe(512 * PAGE_BYTES + block)
  expect(PAGE_BYTES).toBeLessThanOrEqual(32)
  expect(bytes(1024, true) - bytes(1024, false)).toBe(4 * 1024)
})

test.each([
  ['no page', { pfnCount: 0 }],
  ['half a pageblock', { pfnCount: 1000 }],
  ['no zone', { zones: [] }],
  ['an empty zone', { zones: [zone({ spanned: 0 })] }],
  ['a zone beyond the end', { zones: [zone({ startPfn: 3000 })] }],
  ['two zones in one pageblock', { zones: [zone({ spanned: 700 }), zone({ startPfn: 700, spanned: 100 })] }],
  ['more pages present than spanned', { zones: [zone({ present: 2000 })] }],
  ['watermarks that fall', { zones: [zone({ low: 9 })] }],
  ['a cpu without a set', { zones: [zone({ pcp: [] })] }],
])('a machine with %s is impossible', (_, more: Partial<MachineSpec>) => {
  expect(() => createMachine({ ...twoZones, ...more })).toThrow(AssertionError)
})

test('a capture is compacted by the rules of the release nearest below its kernel', () => {
  const names = [
    '5.15.0-91',
    '6.1.0-56-amd64',
    '6.8.12',
    '6.9.0',
    '6.12.117+deb12-amd64',
    '6.18.44-fc-v595',
    '7.0.1',
    'odd',
    undefined,
  ]
  expect(names.map((release) => rulesForRelease(release).name)).toEqual([
    '6.1',
    '6.1',
    '6.1',
    '6.12',
    '6.12',
    '6.18',
    '6.18',
    '6.18',
    '6.18',
  ])
})

test('lock letters are letters, each once', () => {
  expect(LOCK_LETTERS.join('')).toMatch(/^[A-Z]+$/)
  expect(new Set(LOCK_LETTERS).size).toBe(LOCK_LETTERS.length)
})
