/** Which pages hold blocks hostage: small pictures, and against a naive search. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type BlockTarget,
  findBlockers,
  forEachBlock,
  pagesToClear,
  remedyFor,
  verdictOf,
} from './blockers.ts'
import {
  OWNER_ANON,
  OWNER_CLASSES,
  OWNER_COUNT,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_HUGE_FOLIO,
  OWNER_PCP,
  OWNER_PGTABLE,
  OWNER_PINNED,
  OWNER_SLAB,
  OWNER_UNINITIALISED,
} from './classify.ts'

/** . free  c per-cpu free  M movable  U slab  T page table  P pinned  H huge folio  _ no memory */
const OWNERS: Readonly<Record<string, number>> = {
  '.': OWNER_FREE,
  c: OWNER_PCP,
  M: OWNER_ANON,
  U: OWNER_SLAB,
  T: OWNER_PGTABLE,
  P: OWNER_PINNED,
  H: OWNER_HUGE_FOLIO,
  n: OWNER_UNINITIALISED,
  _: OWNER_HOLE,
}
const mapOf = (picture: string): Uint8Array =>
  Uint8Array.from(picture.replace(/[ |]/g, ''), (letter) => OWNERS[letter])

/** Findings in one line, for blocks of `order` in the picture. */
function check(picture: string, order: number, cut?: readonly [number, number]): string {
  const owner = mapOf(picture)
  const spans = cut ? [{ start: cut[0], end: cut[1] }] : [{ start: 0, end: owner.length }]
  const { blocks, owners, curve } = findBlockers(owner, { order, spans, cut: cut !== undefined })
  const who = owners.map(
    (o) => `${OWNER_CLASSES[o.owner].name} ${o.pages} in ${o.blocks} alone ${o.blocksUnlocked}`,
  )
  const steps = curve.map((step) => `${step.pages}>${step.blocks}`)
  return [
    `free ${blocks.free} huge ${blocks.huge} obtainable ${blocks.obtainable} hostage ${blocks.hostage}`,
    ...who,
    steps.join(' '),
  ]
    .filter((part) => part !== '')
    .join('; ')
}

describe('blocks and blockers', () => {
  test.each([
    ['|. . . .|. c . .|', 2, 'free 2 huge 0 obtainable 0 hostage 0'],
    ['|M . . .|M M M M|', 2, 'free 0 huge 0 obtainable 2 hostage 0'],
    ['|M M . U|. . . .|', 2, 'free 1 huge 0 obtainable 0 hostage 1; slab 1 in 1 alone 1; 1>1'],
    [
      '|M U . U|. P . M|',
      2,
      'free 0 huge 0 obtainable 0 hostage 2; slab 2 in 1 alone 1; pinned 1 in 1 alone 1; 1>1 3>2',
    ],
    [
      '|T U . .|. U . .|',
      2,
      'free 0 huge 0 obtainable 0 hostage 2; slab 2 in 2 alone 1; page table 1 in 1 alone 0; 1>1 3>2',
    ],
    ['|H H H H|. . . .|', 2, 'free 1 huge 1 obtainable 0 hostage 0'],
    // Half of the block is a huge page of the order below: it does not move.
    ['|H H . .|', 2, 'free 0 huge 0 obtainable 0 hostage 1; huge folio 2 in 1 alone 1; 2>1'],
    // A block that is partly a hole, or does not fit, is no block.
    ['|. . _ _|M M', 2, 'free 0 huge 0 obtainable 0 hostage 0'],
  ])('%s order %i: %s', (picture, order, findings) => {
    expect(check(picture, order)).toBe(findings)
  })

  test('a range cuts the blocks at its ends', () => {
    expect(check('|U M . U|. . M U|', 2, [1, 3])).toBe('free 0 huge 0 obtainable 1 hostage 0')
    expect(check('|U M . U|. . M U|', 2, [1, 7])).toBe(
      'free 0 huge 0 obtainable 1 hostage 1; slab 1 in 1 alone 1; 1>1',
    )
  })

  test('ranges are runs, those of blocks with the fewest blockers first', () => {
    const { owners } = findBlockers(mapOf('|U U . U|. M U .|U U . .|'), {
      order: 2,
      spans: [{ start: 0, end: 12 }],
      cut: false,
    })
    expect(owners[0].ranges.map(({ start, end }) => [start, end])).toEqual([
      [6, 7],
      [8, 10],
      [0, 2],
      [3, 4],
    ])
  })

  test('one run that holds two blocks', () => {
    const order = 5
    const owner = new Uint8Array(96).fill(OWNER_ANON)
    owner.fill(OWNER_SLAB, 31, 33)
    owner[90] = OWNER_PINNED
    const { wide, heldByOnePage } = findBlockers(owner, { order, spans: [{ start: 0, end: 96 }], cut: false })
    expect(wide).toEqual([{ start: 31, end: 33, owner: OWNER_SLAB, blocks: 2 }])
    expect(heldByOnePage).toBe(3)
  })
})

describe('verdict', () => {
  const verdict = (picture: string, order: number, cut = false): string => {
    const owner = mapOf(picture)
    return verdictOf(findBlockers(owner, { order, spans: [{ start: 0, end: owner.length }], cut }))
  }

  test('of a machine', () => {
    expect(verdict('|M U . .|. T . M|M . . .|. . . .|T T T U|', 2)).toBe(
      '1 block of order 2 free (16 KiB), 0 in use as huge pages. ' +
        'Compaction can free at most 1 more (16 KiB): all that is free, put together. ' +
        '2 pages hold 2 blocks of order 2 (32 KiB) hostage: 1 slab, 1 page table. 1 more have over 1 blockers each.',
    )
    expect(verdict('|. . . .|', 2)).toBe(
      '1 block of order 2 free (16 KiB), 0 in use as huge pages. Compaction can free no more. Nothing is held hostage at order 2.',
    )
  })

  test('of a range', () => {
    expect(verdict('|M U . .|', 2, true)).toBe('1 page stops it: 1 slab.')
    expect(verdict('|M M . .|', 2, true)).toBe('Nothing stops it: 2 pages have to move, and can.')
    expect(verdict('|. . . .|', 2, true)).toBe('It is free.')
    expect(verdict('|_ _ _ _|', 2, true)).toBe('There is no memory in this range.')
  })
})

test('every owner that can block has a remedy', () => {
  const without = OWNER_CLASSES.flatMap(({ name, movability }, owner) =>
    (movability === 'unmovable' || movability === 'unknown' || movability === 'in_use_huge') &&
    !remedyFor(owner)
      ? [name]
      : [],
  )
  expect(without).toEqual(['other'])
})

/** The same from the definitions, block by block and page by page. */
function naive(owner: Uint8Array, target: BlockTarget): unknown {
  const states: string[] = []
  const counts: number[] = []
  const alone = new Array<number>(OWNER_COUNT).fill(0)
  forEachBlock(target, (start, end) => {
    const names = Array.from(owner.subarray(start, end), (o) => OWNER_CLASSES[o].movability)
    if (names.includes('absent')) return states.push('none')
    const blocking = Array.from(owner.subarray(start, end)).filter((o) =>
      ['unmovable', 'unknown', 'in_use_huge'].includes(OWNER_CLASSES[o].movability),
    )
    if (end > start && owner.subarray(start, end).every((o) => o === OWNER_UNINITIALISED))
      return states.push('later')
    if (names.every((name) => name === 'free')) return states.push('free')
    if (names.every((name) => name === 'in_use_huge')) return states.push('huge')
    if (blocking.length === 0) return states.push('obtainable')
    if (new Set(blocking).size === 1) alone[blocking[0]]++
    counts.push(blocking.length)
    return states.push('hostage')
  })
  counts.sort((a, b) => a - b)
  const cumulative = counts.map((_, i) => counts.slice(0, i + 1).reduce((sum, count) => sum + count, 0))
  const count = (state: string): number => states.filter((s) => s === state).length
  return {
    blocks: [count('free'), count('huge'), count('obtainable'), count('hostage'), count('later')],
    cumulative,
    alone,
  }
}

test('equals a naive reference', () => {
  const letter = fc.constantFrom(...Array.from('....MMMccUTPHH_nnn'))
  fc.assert(
    fc.property(
      fc.array(letter, { maxLength: 120 }),
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      fc.nat(20),
      (letters, order, cut, start) => {
        const owner = mapOf(letters.join(''))
        const target = { order, cut, spans: [{ start: Math.min(start, owner.length), end: owner.length }] }
        const { blocks, curve, owners } = findBlockers(owner, target)
        const alone = new Array<number>(OWNER_COUNT).fill(0)
        for (const found of owners) alone[found.owner] = found.blocksUnlocked
        expect({
          blocks: [blocks.free, blocks.huge, blocks.obtainable, blocks.hostage, blocks.notInitialised],
          cumulative: Array.from({ length: blocks.hostage }, (_, i) => pagesToClear(curve, i + 1)),
          alone,
        }).toEqual(naive(owner, target))
        expect(pagesToClear(curve, blocks.hostage + 1)).toBeUndefined()
      },
    ),
    { seed: 6, numRuns: 500 },
  )
})
