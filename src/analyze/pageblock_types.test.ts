/** Types of pageblocks: the evidence one by one, and the score on real captures. */

import { describe, expect, test } from 'vitest'
import { PAGEBLOCK_ABSENT } from '../capture/format/capture.ts'
import { importReference, referenceIsAbsent, valueOf } from '../testing/reference.ts'
import {
  OWNER_ANON,
  OWNER_BUFFER,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_MEMMAP,
  OWNER_OFFLINE,
  OWNER_PGTABLE,
  OWNER_RESERVED,
  OWNER_SLAB,
  OWNER_UNTYPED,
} from './classify.ts'
import { buildPageMap } from './page_map.ts'
import { countBlocks, inferTypes, scoreTypes, type TypeScore } from './pageblock_types.ts'

const OWNERS: Readonly<Record<string, number>> = {
  '.': OWNER_FREE,
  M: OWNER_ANON,
  U: OWNER_SLAB,
  T: OWNER_PGTABLE,
  k: OWNER_UNTYPED,
  b: OWNER_BUFFER,
  R: OWNER_RESERVED,
  m: OWNER_MEMMAP,
  o: OWNER_OFFLINE,
  _: OWNER_HOLE,
}

/** One letter a quarter of a pageblock; the types as U, M, R, or - where there is no memory. */
function infer(
  picture: string,
  blocks: readonly number[] | undefined,
  free: readonly (readonly number[])[] = [],
): string {
  const letters = picture.replace(/[ |]/g, '')
  const owner = new Uint8Array(letters.length * 128)
  for (let i = 0; i < letters.length; i++) owner.fill(OWNERS[letters[i]], i * 128, (i + 1) * 128)
  const zone = { start: 0, end: owner.length, blocks, free }
  const { type } = inferTypes(owner, countBlocks(owner), [zone])
  return Array.from(type, (t) => (t === PAGEBLOCK_ABSENT ? '-' : 'UMR'[t])).join('')
}

/** Pageblocks by type: unmovable, movable, reclaimable, highatomic, CMA, isolate. */
const counts = (unmovable: number, movable: number, reclaimable = 0): number[] => [
  unmovable,
  movable,
  reclaimable,
  0,
  0,
  0,
]

describe('evidence', () => {
  test.each([
    ['|M M M M|U . M M|. . . .|', counts(1, 2), 'MUM'],
    ['|U U U U|T U k .|M M . .|', counts(1, 1, 1), 'RUM'],
    // More blocks with slab pages than the count has room for: those with most.
    ['|U M M M|U U U .|M M M M|', counts(1, 2), 'MUM'],
    ['|k k k k|M M k M|M M M M|', counts(1, 2), 'UMM'],
    ['|b b b .|M M M M|b M M M|', counts(1, 2), 'UMM'],
    ['|_ _ _ _|T M M M|M . . .|', counts(1, 1), '-UM'],
    // The memory map: all of it, or none.
    ['|m m m m|m m m m|M M M M|', counts(2, 1), 'UUM'],
    ['|m m m m|m m m m|M M M M|', counts(1, 2), 'MMM'],
    ['|o o . .|M M . .|', counts(1, 1), 'UM'],
    // Without counts only slab and page tables are believed.
    ['|k k k k|U M M M|M M M M|', undefined, 'MUM'],
  ])('%s with %j is %s', (picture, blocks, types) => {
    expect(infer(picture, blocks)).toBe(types)
  })

  test('free lists by type: the free block of an order of which all are unmovable', () => {
    const onlyOrder = (order: number): number[] => Array.from({ length: 11 }, (_, o) => (o === order ? 1 : 0))
    // The first block is part of an order-10 block, the third is one of order 9.
    const free = [onlyOrder(9), onlyOrder(10), []]
    expect(infer('|. . . .|. . . .|. . . .|M M M M|', counts(1, 3), free)).toBe('MMUM')
  })
})

const absent = referenceIsAbsent()

function score(dir: string, label: string): TypeScore {
  const capture = importReference(dir, label)
  const truth = valueOf(buildPageMap(capture)).types
  const inferred = valueOf(
    buildPageMap(capture, { ignoreTypes: true, ignorePcp: true, ignorePins: true }),
  ).types
  expect([truth.inferred, inferred.inferred]).toEqual([false, true])
  return scoreTypes(inferred.type, truth.type)
}

// Pinned, so that a change of the rules shows what it costs.
describe.skipIf(absent)('types inferred against recorded ones', () => {
  test.each([
    ['host-6.18/anon50', 'before', 12288, 2, 12276],
    ['host-6.18/anon50', 'after', 12288, 2, 12276],
    ['host-6.18/mixed45', 'before', 12288, 6, 12255],
    ['host-6.18/mixed45', 'after', 12288, 6, 12255],
    ['qemu/a3-anon-random', 'before', 512, 0, 508],
    ['qemu/b0-zram-movable', 'before', 512, 4, 504],
    ['qemu/b1-zram-unmovable', 'before', 512, 16, 496],
    ['qemu/c0-balloon-movable', 'before', 512, 0, 508],
    ['qemu/c1-balloon-unmovable', 'before', 512, 4, 508],
    ['qemu/g0-cma', 'before', 512, 0, 478],
    ['qemu/h2-k612-zram', 'before', 512, 4, 504],
  ])('%s %s: of %i blocks %i wrong', (dir, label, blocks, wrong, exact) => {
    expect(score(dir, label)).toMatchObject({ blocks, wrong, exact })
  })
})
