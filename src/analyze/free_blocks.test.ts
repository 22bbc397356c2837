/** Free blocks of runs of free pages, against a naive buddy merge. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OWNER_FREE, OWNER_PCP, OWNER_SLAB } from './classify.ts'
import {
  churn,
  countFreeBlocks,
  countFreeBlocksDrained,
  forEachFreeBlock,
  pagesInBlocks,
} from './free_blocks.ts'

const OWNERS: Readonly<Record<string, number>> = { '.': OWNER_FREE, c: OWNER_PCP, U: OWNER_SLAB }
const mapOf = (picture: string): Uint8Array =>
  Uint8Array.from(picture.replaceAll(' ', ''), (letter) => OWNERS[letter])

function blocksOf(owner: Uint8Array): string {
  const blocks: string[] = []
  forEachFreeBlock(owner, 0, owner.length, (pfn, order) => blocks.push(`${pfn}:${order}`))
  return blocks.join(' ')
}

test.each([
  ['. . . . . . . .', '0:3'],
  ['. . . . . . . U', '0:2 4:1 6:0'],
  ['U . . . . . . .', '1:0 2:1 4:2'],
  ['. U . . U . . .', '0:0 2:1 5:0 6:1'],
  ['. . c . . . . .', '0:1 3:0 4:2'],
  ['U U U', ''],
])('%s is cut into %s', (picture, blocks) => {
  expect(blocksOf(mapOf(picture))).toBe(blocks)
})

test('drained: per-cpu pages merge', () => {
  const owner = mapOf('. . c . U . c U')
  expect(countFreeBlocks(owner, 0, owner.length).slice(0, 3)).toEqual([2, 1, 0])
  expect(countFreeBlocksDrained(owner, 0, owner.length).slice(0, 3)).toEqual([2, 0, 1])
})

test('largest block is order 10', () => {
  const owner = new Uint8Array(4096).fill(OWNER_FREE)
  expect(countFreeBlocks(owner, 0, 4096)[10]).toBe(4)
})

test('churn: counted minus listed', () => {
  expect(churn([3, 0, 1], [1, 0, 2])).toEqual([2, 0, -1])
})

test('blocks are aligned, disjoint, cover every free page, and no two are free buddies', () => {
  const pages = fc.array(fc.constantFrom(OWNER_FREE, OWNER_FREE, OWNER_FREE, OWNER_SLAB), { maxLength: 300 })
  fc.assert(
    fc.property(pages, fc.nat(40), (letters, from) => {
      const owner = Uint8Array.from(letters)
      const start = Math.min(from, owner.length)
      const orderAt = new Map<number, number>()
      let covered = start
      forEachFreeBlock(owner, start, owner.length, (pfn, order) => {
        expect(pfn % 2 ** order).toBe(0)
        expect(pfn).toBeGreaterThanOrEqual(covered)
        for (let i = pfn; i < pfn + 2 ** order; i++) expect(owner[i]).toBe(OWNER_FREE)
        covered = pfn + 2 ** order
        orderAt.set(pfn, order)
      })
      for (const [pfn, order] of orderAt)
        expect(order < 10 && orderAt.get(pfn ^ (1 << order)) === order).toBe(false)
      const counted = pagesInBlocks(countFreeBlocks(owner, start, owner.length))
      expect(counted).toBe(owner.subarray(start).filter((o) => o === OWNER_FREE).length)
    }),
    { seed: 9, numRuns: 300 },
  )
})
