/** zram: what it keeps of a page, what it says of itself, and how that compares with real kernels. */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { Prng } from '../base/prng.ts'
import { nidOf, pfnOf } from '../base/units.ts'
import { GFP_HIGHUSER_MOVABLE } from '../mm/gfp.ts'
import { compactNode } from '../mm/index.ts'
import { EINVAL, EIO, ENOMEM, PGTY_offline } from '../mm/limits.ts'
import { putPage } from '../mm/page_alloc.ts'
import { allocPages } from '../mm/slowpath.ts'
import { verify } from '../mm/verify.ts'
import { machineOf, OTHER_OWNERS, type TestMachine } from '../testing/machine.ts'
import {
  createZram,
  LAB_SIZES,
  type MmStat,
  mmStat,
  mmStatText,
  type Zram,
  type ZramSpec,
  zramCells,
  zramFree,
  zramRead,
  zramStore,
  zramWrite,
} from './zram.ts'
import { newObjectMoves, zsCompact } from './zs_compact.ts'
import { verifyZsPool } from './zs_verify.ts'

const cpu = new FastCpu()

function device(spec: ZramSpec, blocks: number, pageData = true): { machine: TestMachine; zram: Zram } {
  const machine = machineOf('', {
    blocks,
    rest: '.',
    pgty: PGTY_offline,
    ownerCells: zramCells(spec),
    pageData,
    contents: false,
  })
  return { machine, zram: createZram(machine.mm, OTHER_OWNERS, spec) }
}

/** A page of which `share` bytes are random and the others are text that repeats. */
function pageOf(prng: Prng, share: number): Uint8Array {
  const page = new Uint8Array(4096)
  for (let i = 0; i < 4096; i++) page[i] = i < share ? prng.below(256) : 97 + (i % 23)
  return page
}

/** Not by toEqual, which takes a millisecond a page. */
function expectSector(
  { machine, zram }: ReturnType<typeof device>,
  sector: number,
  wanted: Uint8Array,
): void {
  const page = new Uint8Array(4096).fill(0xee)
  expect(zramRead(cpu, machine.mm, zram, sector, page)).toBe(0)
  if (Buffer.compare(page, wanted) !== 0) expect([sector, page]).toEqual([sector, wanted])
}

const ZEROS = new Uint8Array(4096)

test('a sector holds what was written last; nothing written reads as zeros', () => {
  const it = device({ disksize: 64 }, 1)
  const { mm } = it.machine
  const prng = new Prng(1)
  const pages = Array.from({ length: 64 }, (_, i) => pageOf(prng, i * 64))
  expectSector(it, 3, ZEROS)
  pages.forEach((page, sector) => expect(zramWrite(cpu, mm, it.zram, sector, page)).toBe(0))
  pages.forEach((page, sector) => expectSector(it, sector, page))
  pages.reverse()
  pages.forEach((page, sector) => expect(zramWrite(cpu, mm, it.zram, sector, page)).toBe(0))
  pages.forEach((page, sector) => expectSector(it, sector, page))
  verifyZsPool(mm, it.zram.pool, true)
  for (let sector = 0; sector < 64; sector++) zramFree(cpu, mm, it.zram, sector)
  expectSector(it, 3, ZEROS)
  expect(mmStat(cpu, mm, it.zram)).toMatchObject({
    origDataSize: 0,
    comprDataSize: 0,
    memUsedTotal: 0,
    hugePages: 0,
  })
  expect(it.machine.freePages).toBe(512)
  verify(mm)
})

test('a page of equal words of 64 bits is not stored; one of other words is', () => {
  const it = device({ disksize: 4 }, 1)
  const { mm } = it.machine
  const words = new Uint8Array(4096).map((_, i) => (i % 8) + 1)
  expect(zramWrite(cpu, mm, it.zram, 0, words)).toBe(0)
  expect(zramWrite(cpu, mm, it.zram, 1, new Uint8Array(4096))).toBe(0)
  expect(mmStat(cpu, mm, it.zram)).toMatchObject({ origDataSize: 8192, memUsedTotal: 0, samePages: 2 })
  expectSector(it, 0, words)
  const almost = words.slice()
  almost[2000]++
  expect(zramWrite(cpu, mm, it.zram, 0, almost)).toBe(0)
  expect(mmStat(cpu, mm, it.zram)).toMatchObject({ samePages: 1, memUsedTotal: 4096 })
  expectSector(it, 0, almost)
})

test.each([
  [8, 3625],
  [4, 3257],
])('with chains of %i pages, what compresses to %i bytes or more is kept as it is', (chainSize, limit) => {
  const { machine, zram } = device({ disksize: 4, chainSize }, 1, false)
  expect(zramStore(cpu, machine.mm, zram, 0, limit - 1)).toBe(0)
  expect(mmStat(cpu, machine.mm, zram)).toMatchObject({ comprDataSize: limit - 1, hugePages: 0 })
  expect(zramStore(cpu, machine.mm, zram, 0, limit)).toBe(0)
  expect(mmStat(cpu, machine.mm, zram)).toMatchObject({
    comprDataSize: 4096,
    memUsedTotal: 4096,
    hugePages: 1,
    hugePagesSince: 1,
  })
  expect(zramStore(cpu, machine.mm, zram, 0, 100)).toBe(0)
  expect(mmStat(cpu, machine.mm, zram)).toMatchObject({ hugePages: 0, hugePagesSince: 1 })
})

test('random bytes do not compress: a huge page, and they are all there', () => {
  const it = device({ disksize: 1 }, 1)
  const page = pageOf(new Prng(3), 4096)
  expect(zramWrite(cpu, it.machine.mm, it.zram, 0, page)).toBe(0)
  expect(mmStat(cpu, it.machine.mm, it.zram).hugePages).toBe(1)
  expectSector(it, 0, page)
})

test('a corrupt block is an I/O error of its sector, and of no other', () => {
  const it = device({ disksize: 32 }, 1)
  const { mm } = it.machine
  const prng = new Prng(4)
  const pages = Array.from({ length: 32 }, () => pageOf(prng, 300))
  pages.forEach((page, sector) => zramWrite(cpu, mm, it.zram, sector, page))
  // Objects of this size are in one zspage, in the order of their slots: damage the one of sector 5.
  const first = mm.pageBytes.bytes.findIndex((_, at) =>
    pages[5].slice(0, 64).every((byte, i) => mm.pageBytes.bytes[at + i] === byte),
  )
  expect(first).toBeGreaterThan(0)
  const arena = mm.arena.snapshot()
  let refused = 0
  for (let byte = 0; byte < 340; byte++) {
    mm.arena.restore(arena)
    mm.pageBytes.bytes[first - 3 + byte] ^= 0xff
    const page = new Uint8Array(4096).fill(0xee)
    const rc = zramRead(cpu, mm, it.zram, 5, page)
    expect([0, -EIO]).toContain(rc)
    if (rc === 0) continue // a literal was changed: LZ4 has no checksum
    refused++
    expect(page).toEqual(new Uint8Array(4096).fill(0xee))
    for (const sector of [4, 6]) expectSector(it, sector, pages[sector])
  }
  expect(refused).toBeGreaterThan(2)
  verifyZsPool(mm, it.zram.pool, true)
})

test('S0-25 zram moves too: compaction of the zone moves its pages, and every sector reads as before', () => {
  const it = device({ disksize: 400 }, 5)
  const { mm } = it.machine
  const prng = new Prng(8)
  const others: number[] = []
  const pages = Array.from({ length: 400 }, (_, sector) => {
    const page = pageOf(prng, prng.below(4400))
    expect(zramWrite(cpu, mm, it.zram, sector, page)).toBe(0)
    for (let i = 0; i < 4; i++) others.push(allocPages(cpu, mm, GFP_HIGHUSER_MOVABLE, 0, 0))
    return page
  })
  for (const pfn of others) if (pfn >= 0) putPage(cpu, mm, pfnOf(pfn))
  for (let sector = 0; sector < 400; sector += 3) zramFree(cpu, mm, it.zram, sector)
  const before = it.machine.picture(5 * 512)
  const [{ cc }] = compactNode(cpu, mm, nidOf(0))
  expect(cc.stats.pagesSucceeded).toBeGreaterThan(50)
  expect(it.machine.picture(5 * 512)).not.toBe(before)
  pages.forEach((page, sector) => expectSector(it, sector, sector % 3 === 0 ? ZEROS : page))
  verify(mm)
  verifyZsPool(mm, it.zram.pool, true)
})

test('no memory, no room under the limit, no such sector: what was there stays', () => {
  const it = device({ disksize: 2000, limitPages: 40 }, 1)
  const { mm } = it.machine
  const prng = new Prng(5)
  const page = pageOf(prng, 1000)
  expect(zramWrite(cpu, mm, it.zram, 0, page)).toBe(0)
  expect(zramWrite(cpu, mm, it.zram, 2000, page)).toBe(-EINVAL)
  expect(zramRead(cpu, mm, it.zram, -1, page.slice())).toBe(-EINVAL)
  let sector = 1
  while (zramWrite(cpu, mm, it.zram, sector, pageOf(prng, 4096)) === 0) sector++
  expect(mmStat(cpu, mm, it.zram).memUsedTotal).toBeLessThanOrEqual(40 * 4096)
  expect(sector).toBeGreaterThan(30)
  expect(zramWrite(cpu, mm, it.zram, 0, pageOf(prng, 4096))).toBe(-ENOMEM)
  expectSector(it, 0, page)
  const small = device({ disksize: 2000 }, 1)
  let written = 0
  while (zramWrite(cpu, small.machine.mm, small.zram, written, pageOf(prng, 4096)) === 0) written++
  expect(written).toBe(512)
  verify(small.machine.mm)
  verifyZsPool(small.machine.mm, small.zram.pool, true)
})

test('a compressor that is not there is refused by name', () => {
  expect(() => device({ disksize: 1, compAlgorithm: 'zstd' }, 1)).toThrow(
    'zram: comp_algorithm zstd is not known; there is lz4',
  )
})

/**
 * A page of the kernel's own: mkswap's header, which the device of the capture began with. Linux 6.12 with LZ4 and chains of
 * 8 said of it: 64 bytes, 20480 of memory.
 */
test('a swap header compresses as it did on a real kernel', () => {
  const header = new Uint8Array(4096)
  const view = new DataView(header.buffer)
  view.setInt32(1024, 1, true) // version
  view.setInt32(1028, 262_143, true) // last page of 1 GiB
  const uuid = '9439d8f8a63b488ca2acd2ddbc3e0943'
  for (let i = 0; i < 16; i++) header[1036 + i] = Number.parseInt(uuid.slice(2 * i, 2 * i + 2), 16)
  header.set(new TextEncoder().encode('SWAPSPACE2'), 4086)
  const it = device({ disksize: 1 }, 1)
  expect(zramWrite(cpu, it.machine.mm, it.zram, 0, header)).toBe(0)
  expect(mmStatText(mmStat(cpu, it.machine.mm, it.zram))).toBe(
    '    4096       64    20480        0    20480        0        0        0        0\n',
  )
  expectSector(it, 0, header)
})

/**
 * mm_stat of Linux 6.12 with LZ4 and chains of 8: of 116,634 pages, after 60 % of them were freed, after zs_compact. What
 * was in the pages is not recorded: LAB_SIZES has the mean size and the share of huge pages, and the rest follows.
 */
const KERNEL = {
  full: { comprDataSize: 243_251_368, memUsedTotal: 248_446_976, hugePages: 9043 },
  sparse: { comprDataSize: 97_264_061, memUsedTotal: 214_835_200, hugePages: 3603 },
  compacted: { comprDataSize: 97_264_061, memUsedTotal: 99_745_792, hugePages: 3603, pagesCompacted: 28_098 },
}

test('sizes like those of a real kernel’s data give its memory: filled, after freeing 60 %, after zs_compact', () => {
  const { machine, zram } = device({ disksize: 116_634 }, 140, false)
  const { mm } = machine
  const prng = new Prng(6)
  const expectLike = (kernel: Partial<MmStat>): void => {
    const stat: Record<string, number> = { ...mmStat(cpu, mm, zram) }
    for (const [name, value] of Object.entries(kernel)) {
      expect([name, Math.abs(stat[name] / value - 1) < (name === 'hugePages' ? 0.02 : 0.01)]).toEqual([
        name,
        true,
      ])
    }
  }
  for (let sector = 0; sector < zram.disksize; sector++) {
    const size = LAB_SIZES.least + prng.below(LAB_SIZES.most - LAB_SIZES.least + 1)
    expect(zramStore(cpu, mm, zram, sector, size)).toBe(0)
  }
  expectLike(KERNEL.full)
  for (let sector = 0; sector < zram.disksize; sector++) {
    if (prng.below(10) < 6) zramFree(cpu, mm, zram, sector)
  }
  expectLike(KERNEL.sparse)
  zsCompact(cpu, mm, zram.pool, newObjectMoves())
  expectLike(KERNEL.compacted)
  verifyZsPool(mm, zram.pool, true)
})
