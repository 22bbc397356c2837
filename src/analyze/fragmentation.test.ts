/** The fragmentation and unusable index against golden values and against a kernel. */

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { parseBuddyinfo } from '../capture/format/buddyinfo.ts'
import { freeBlocksIndex } from '../mm/free_area.ts'
import { createMachine, MIGRATE_TYPES, type Mm, zoneIdOf } from '../mm/index.ts'
import { extfragForOrder, fragmentationIndex as indexOfZone, unusableFreeIndex } from '../mm/vmstat.ts'
import { referenceCapture } from '../testing/reference.ts'
import { extfragPercent, fragmentationIndex, unusableIndex } from './fragmentation.ts'

// Zone DMA32 as posted with the zram patch of 2016 (spec 2.2).
const OLD_BEFORE = [16380, 13777, 9184, 3805, 789, 54, 3, 0, 0, 0, 0]
const OLD_AFTER = [5219, 5526, 4969, 3455, 1831, 677, 139, 15, 0, 0, 0]
const NEW_BEFORE = [18891, 16774, 10862, 3947, 637, 21, 0, 0, 0, 0, 0]
const NEW_AFTER = [1612, 3139, 3154, 2469, 1745, 990, 384, 94, 7, 0, 0]

/** A machine with so many free blocks by order. Where they lie makes no difference to an index. */
function engineWith(blocks: readonly number[]): Mm {
  const zone = { startPfn: 0, spanned: 512, present: 512, managed: 512, min: 0, low: 0, high: 0 }
  const mm = createMachine({ pfnCount: 512, zones: [{ node: 0, name: 'DMA32', ...zone }] })
  blocks.forEach((count, order) => {
    mm.nrFreeBlocks[freeBlocksIndex(0, order, order % MIGRATE_TYPES)] = count
  })
  return mm
}

/**
 * [M] settled: the extfrag_index and unusable_index of seven snapshots of Linux 6.1 equal these functions (below), and
 * so does the text of the engine (proc_text.test.ts). The proactive score is the unusable share in percent.
 */
describe('fragmentation index', () => {
  test.each([
    [OLD_BEFORE, { 7: 978, 8: 989, 9: 995, 10: 998 }],
    [OLD_AFTER, { 8: 978, 9: 989, 10: 995 }],
    [NEW_BEFORE, { 6: 958, 7: 979 }],
    [NEW_AFTER, { 9: 981, 10: 990 }],
  ])('C-12 golden values of %j, from blocks and by an engine', (blocks, golden) => {
    const mm = engineWith(blocks)
    for (const [order, index] of Object.entries(golden)) {
      expect(fragmentationIndex(blocks, Number(order))).toBe(index)
    }
    for (let order = 0; order < blocks.length; order++) {
      expect(indexOfZone(mm, zoneIdOf(0), order)).toBe(fragmentationIndex(blocks, order))
      expect(unusableFreeIndex(mm, zoneIdOf(0), order)).toBe(unusableIndex(blocks, order))
      expect(extfragForOrder(mm, zoneIdOf(0), order)).toBe(extfragPercent(blocks, order))
    }
    const lowest = Math.min(...Object.keys(golden).map(Number))
    for (let order = 0; order < lowest; order++) expect(fragmentationIndex(blocks, order)).toBe(-1000)
  })

  test('no free block: 0, and everything is unusable', () => {
    const none = new Array<number>(11).fill(0)
    expect(fragmentationIndex(none, 3)).toBe(0)
    expect(unusableIndex(none, 3)).toBe(1000)
    expect(extfragPercent(none, 3)).toBe(0)
  })

  test('unusable: (free - suitable) / free', () => {
    // 4 single pages and one block of 4.
    const blocks = [4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    expect([0, 1, 2, 3].map((order) => unusableIndex(blocks, order))).toEqual([0, 500, 500, 1000])
    expect(extfragPercent(blocks, 1)).toBe(50)
  })
})

const TEXTS = referenceCapture('qemu/b0-zram-movable/text.json.gz')

test.skipIf(TEXTS === undefined)(
  'equals what the kernel printed, every zone and order of 7 snapshots',
  () => {
    const texts: unknown = JSON.parse(gunzipSync(readFileSync(TEXTS ?? '')).toString())
    let compared = 0
    for (const [label, files] of Object.entries(isRecord(texts) ? texts : {})) {
      if (!label.startsWith('snap/') || !isRecord(files)) continue
      const buddyinfo = parseBuddyinfo(String(files['buddyinfo']))
      if (!buddyinfo.ok) throw new Error('buddyinfo')
      const extfrag = kernelTable(String(files['extfrag_index']))
      const unusable = kernelTable(String(files['unusable_index']))
      for (const { node, name, freeBlocksByOrder } of buddyinfo.value) {
        const orders = freeBlocksByOrder.map((_, order) => order)
        expect(orders.map((order) => fragmentationIndex(freeBlocksByOrder, order))).toEqual(
          extfrag.get(`${node} ${name}`),
        )
        expect(orders.map((order) => unusableIndex(freeBlocksByOrder, order))).toEqual(
          unusable.get(`${node} ${name}`),
        )
        compared++
      }
    }
    expect(compared).toBe(21)
  },
)

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null

function kernelTable(text: string): Map<string, number[]> {
  const rows = [...text.matchAll(/^Node +(\d+), zone +(\S+) (.*)$/gm)]
  return new Map(
    rows.map(([, node, zone, values]) => [
      `${node} ${zone}`,
      values
        .trim()
        .split(/ +/)
        .map((value) => Math.round(Number(value) * 1000)),
    ]),
  )
}
