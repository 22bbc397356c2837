/** A booted machine: settings against those of real kernels, and that its memory is all there. */

import { expect, test } from 'vitest'
import { zoneIdOf } from '../base/units.ts'
import { RULES_6_18 } from '../mm/index.ts'
import { verify } from '../mm/verify.ts'
import { boot, machineSpec, zoneSettings } from './boot.ts'

/** zoneinfo of a machine with two cpus and 6.18: min_free_kbytes is 67584 there. */
const SEEN = [
  { name: 'DMA', managed: 3840, min: 10, low: 13, high: 16, batch: 1, highMin: 6, highMax: 240 },
  {
    name: 'DMA32',
    managed: 772_918,
    min: 2116,
    low: 2888,
    high: 3660,
    batch: 63,
    highMin: 1444,
    highMax: 48_307,
  },
  {
    name: 'Normal',
    managed: 5_394_266,
    min: 14_769,
    low: 20_163,
    high: 25_557,
    batch: 63,
    highMin: 10_081,
    highMax: 337_141,
  },
]

test('watermarks and per-cpu sets are those of a real 6.18', () => {
  const settings = zoneSettings(SEEN, 2)
  SEEN.forEach(({ name, min, low, high, batch, highMin, highMax }, i) => {
    const { marks, pcp } = settings[i]
    // The kernel computed them when a few pages less were managed.
    for (const [is, was] of [
      [marks.min, min],
      [marks.low, low],
      [marks.high, high],
      [pcp.highMin, highMin],
    ]) {
      expect(Math.abs(is - was), `${name}: ${is} for ${was}`).toBeLessThanOrEqual(2)
    }
    expect([name, pcp.batch, pcp.highMax]).toEqual([name, batch, highMax])
  })
})

test('on a small machine huge pages raise min_free_kbytes to 5 % of memory and no more, as on a 6.1 of 1 GiB', () => {
  // Two nodes, zones DMA, DMA32, DMA32: seen min 190, 5540, 6366 when 1,745 pages less were managed.
  const zones = [3840, 113_501 - 1535, 128_870 - 210].map((managed) => ({ name: 'DMA32', managed }))
  const mins = zoneSettings(zones, 1).map(({ marks }) => marks.min)
  ;[190, 5540, 6366].forEach((seen, i) => expect(Math.abs(mins[i] / seen - 1)).toBeLessThan(0.02))
})

test('after boot all memory is free, in the largest blocks, lowest first', () => {
  const spec = machineSpec(
    {
      cpus: 2,
      nodes: [
        { pages: 5 << 18, movable: 1 << 18 },
        { pages: 512, movable: 0 },
      ],
      swapSlots: 0,
      rules: RULES_6_18,
      sysctl: {},
      thp: {},
    },
    {},
  )
  const mm = boot(spec)
  verify(mm)
  const zones = Array.from({ length: mm.zones }, (_, zone) => zoneIdOf(zone))
  expect(zones.map((zone) => [mm.zoneSpecs[zone].name, mm.zoneNode[zone], mm.nrFree[zone]])).toEqual([
    ['DMA32', 0, (1 << 20) - 4096],
    ['Normal', 0, 4096],
    ['Movable', 0, 1 << 18],
    ['Normal', 1, 512],
  ])
  expect(mm.links[2 * mm.freeList(0, 10, 1)]).toBe(4096)
})
