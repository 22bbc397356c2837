/** Owners of the flag words that real kernels showed, traps first. */

import { describe, expect, test } from 'vitest'
import { wordOfHex } from '../capture/format/column.ts'
import {
  ATTR_DIRTY,
  ATTR_LRU,
  ATTR_REPORTED,
  ATTR_TAIL,
  ATTR_WRITEBACK,
  classifyWords,
  type MachineTraits,
  OWNER_CLASSES,
  OWNER_COUNT,
  ownerId,
  ownerOfWord,
} from './classify.ts'

const HOST: MachineTraits = { zsmalloc: 'uptodate', ksmBit: true, balloonMoves: false }

function nameOf(hex: string, traits: MachineTraits): string {
  const word = wordOfHex(hex)
  if (!word) throw new Error(hex)
  return OWNER_CLASSES[ownerOfWord(word.low, word.high, traits)].name
}

describe('words as kernels show them', () => {
  test.each([
    ['0x400', 'free'],
    ['0x408', 'free'], // UPTODATE on a free block's head: reported
    ['0x0', 'kernel or per-cpu free'],
    ['0x100000', 'hole'],
    ['0x400005828', 'anon'],
    ['0x400005808', 'anon (LRU batch)'],
    ['0x60004582c', 'anon (mlocked)'],
    ['0x40040d828', 'anon'], // head of a THP, whose order page_map.ts knows
    ['0x205828', 'ksm'],
    ['0x4838', 'shmem'],
    ['0x407c', 'shmem'],
    ['0x2c', 'file'],
    ['0x400000038', 'file (dirty)'],
    ['0x802410028', 'file (large folio)'],
    ['0x802000064', 'buffers'], // LRU, not UPTODATE, PRIVATE: ext4 metadata
    ['0x80', 'slab'],
    ['0x201080', 'slab'], // ANON and KSM are bogus there
    ['0x211080', 'slab'],
    ['0x4000000', 'page table'],
    ['0x400029808', 'hugetlb'],
    ['0x400031808', 'hugetlb'],
    ['0x100000000', 'reserved'],
    ['0x900000000', 'memory map'],
    ['0x101000000', 'zero page'],
    ['0x200000818', 'secretmem'],
    ['0x8', 'zsmalloc'],
    ['0x800000008', 'zsmalloc'],
    ['0x800', 'kernel'],
    ['0x8000', 'kernel'],
    ['0x80000', 'hwpoison'],
    ['0x800000', 'offline'],
  ])('6.18: %s is %s', (hex, name) => {
    expect(nameOf(hex, HOST)).toBe(name)
  })

  test.each([
    ['0x800', 'mapcount', 'zsmalloc'],
    ['0x800000800', 'mapcount', 'zsmalloc'],
    ['0x800000000', 'bare', 'zsmalloc'],
    ['0x0', 'bare', 'kernel or per-cpu free'],
    ['0x800000000', 'none', 'kernel'],
    ['0x8', 'none', 'file (LRU batch)'],
  ] as const)('%s with zsmalloc form %s is %s', (hex, zsmalloc, name) => {
    expect(nameOf(hex, { ...HOST, zsmalloc })).toBe(name)
  })

  test('6.12 shows KSM on every anonymous page', () => {
    expect(nameOf('0x600245828', { ...HOST, ksmBit: false })).toBe('anon (mlocked)')
  })

  test('a balloon that can migrate', () => {
    expect(nameOf('0x800000', { ...HOST, balloonMoves: true })).toBe('balloon')
  })
})

test('attributes: not from bits that a page type overlays', () => {
  const words = ['0x408', '0x10080', '0x802410028', '0x138'].map(wordOfHex)
  const { attributes } = classifyWords(
    {
      scope: 'pfn',
      dictionaryLow: Uint32Array.from(words, (word) => word?.low ?? 0),
      dictionaryHigh: Uint32Array.from(words, (word) => word?.high ?? 0),
      index: Uint8Array.of(0, 1, 2, 3),
    },
    HOST,
  )
  expect(Array.from(attributes)).toEqual([
    ATTR_REPORTED,
    ATTR_TAIL,
    ATTR_LRU | ATTR_TAIL,
    ATTR_LRU | ATTR_DIRTY | ATTR_WRITEBACK,
  ])
})

test('every class has a name of its own, and a reason unless it is free', () => {
  expect(OWNER_CLASSES).toHaveLength(OWNER_COUNT)
  expect(new Set(OWNER_CLASSES.map((_, owner) => ownerId(owner))).size).toBe(OWNER_COUNT)
  expect(OWNER_CLASSES.filter(({ reason }) => reason === '').map(({ name }) => name)).toEqual(['free'])
  expect(ownerId(6)).toBe('anon_mlocked')
})
