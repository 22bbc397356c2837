/**
 * What an allocation says of itself. Literal values are those of the kernel's documentation and of tracepoints in the
 * reference captures.
 */

import { describe, expect, test } from 'vitest'
import { AssertionError } from '../base/assert.ts'
import {
  __GFP_COMP,
  __GFP_DMA,
  __GFP_DMA32,
  __GFP_HIGHMEM,
  __GFP_IO,
  __GFP_MOVABLE,
  __GFP_NORETRY,
  __GFP_NOWARN,
  __GFP_RECLAIMABLE,
  __GFP_RETRY_MAYFAIL,
  __GFP_THISNODE,
  GFP_ATOMIC,
  GFP_HIGHUSER,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_NOFS,
  GFP_NOIO,
  GFP_NOWAIT,
  GFP_TRANSHUGE,
  GFP_TRANSHUGE_LIGHT,
  GFP_USER,
  gfpCompactionAllowed,
  gfpMigratetype,
  gfpZone,
} from './gfp.ts'
import { gfpText } from './gfp_text.ts'
import {
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  ZONE_DMA,
  ZONE_DMA32,
  ZONE_MOVABLE,
  ZONE_NORMAL,
} from './limits.ts'
import { RULES_6_1, RULES_6_18 } from './rules.ts'

// [M] settled: include/linux/gfp.h has the table of zones (GFP_ZONE_TABLE): of the combinations of DMA, HIGHMEM, DMA32
// and MOVABLE, those with two of the first three are bad, and MOVABLE alone stays in the zone that it would have been.
// Only HIGHMEM and MOVABLE together reach ZONE_MOVABLE. x86-64 has no ZONE_HIGHMEM: HIGHMEM alone is NORMAL.
test('B-8 __GFP_MOVABLE selects the migratetype, and with __GFP_HIGHMEM it allows ZONE_MOVABLE', () => {
  const meaning = (gfp: number): [number, number] => [gfpMigratetype(gfp), gfpZone(gfp)]
  expect(meaning(0)).toEqual([MIGRATE_UNMOVABLE, ZONE_NORMAL])
  expect(meaning(__GFP_MOVABLE)).toEqual([MIGRATE_MOVABLE, ZONE_NORMAL])
  expect(meaning(__GFP_HIGHMEM)).toEqual([MIGRATE_UNMOVABLE, ZONE_NORMAL])
  expect(meaning(__GFP_HIGHMEM | __GFP_MOVABLE)).toEqual([MIGRATE_MOVABLE, ZONE_MOVABLE])
  expect(meaning(__GFP_RECLAIMABLE)).toEqual([MIGRATE_RECLAIMABLE, ZONE_NORMAL])
  expect(meaning(__GFP_DMA)).toEqual([MIGRATE_UNMOVABLE, ZONE_DMA])
  expect(meaning(__GFP_DMA | __GFP_MOVABLE)).toEqual([MIGRATE_MOVABLE, ZONE_DMA])
  expect(meaning(__GFP_DMA32)).toEqual([MIGRATE_UNMOVABLE, ZONE_DMA32])
  expect(meaning(__GFP_DMA32 | __GFP_MOVABLE)).toEqual([MIGRATE_MOVABLE, ZONE_DMA32])
  for (const two of [__GFP_DMA | __GFP_DMA32, __GFP_DMA | __GFP_HIGHMEM, __GFP_DMA32 | __GFP_HIGHMEM]) {
    expect(() => gfpZone(two)).toThrow(AssertionError)
  }
  expect(() => gfpMigratetype(__GFP_MOVABLE | __GFP_RECLAIMABLE)).toThrow(AssertionError)
})

describe('composite flags', () => {
  test('user pages may be moved only if they say so, and huge pages say so', () => {
    const movable = [GFP_KERNEL, GFP_USER, GFP_HIGHUSER, GFP_HIGHUSER_MOVABLE, GFP_TRANSHUGE].map(
      (gfp) => gfpMigratetype(gfp) === MIGRATE_MOVABLE,
    )
    expect(movable).toEqual([false, false, false, true, true])
  })

  test('what may not start I/O may not compact', () => {
    expect([GFP_KERNEL, GFP_NOFS, GFP_TRANSHUGE_LIGHT].map(gfpCompactionAllowed)).toEqual([true, true, true])
    expect([GFP_NOIO, GFP_ATOMIC, GFP_NOWAIT].map(gfpCompactionAllowed)).toEqual([false, false, false])
    expect(gfpCompactionAllowed(GFP_KERNEL & ~__GFP_IO)).toBe(false)
  })
})

describe('flags as text', () => {
  // What kernel 6.1 wrote for hugetlb and for huge page faults with defrag (capture a5, mm_compaction_try_to_compact_pages).
  test('a request reads as in a tracepoint', () => {
    expect(gfpText(GFP_TRANSHUGE | __GFP_NORETRY | __GFP_THISNODE, RULES_6_1)).toBe(
      'GFP_TRANSHUGE|__GFP_NORETRY|__GFP_THISNODE',
    )
    const hugetlb = GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOWARN | __GFP_RETRY_MAYFAIL | __GFP_THISNODE
    expect(gfpText(hugetlb, RULES_6_1)).toBe(
      'GFP_HIGHUSER_MOVABLE|__GFP_NOWARN|__GFP_RETRY_MAYFAIL|__GFP_COMP|__GFP_THISNODE',
    )
  })

  test('nothing is "none", and no flag is lost', () => {
    expect(gfpText(0, RULES_6_1)).toBe('none')
    for (let bit = 0; bit < 19; bit++) expect(gfpText(1 << bit, RULES_6_18)).toMatch(/^(__)?GFP_[A-Z0-9_]+$/)
    expect(gfpText(GFP_KERNEL, RULES_6_1)).toBe('GFP_KERNEL')
    expect(gfpText(GFP_ATOMIC, RULES_6_1)).toBe('GFP_ATOMIC')
  })
})
