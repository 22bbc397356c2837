/** Flag words of real pages: their names, which cannot be, and what slim leaves of them. */

import { expect, test } from 'vitest'
import {
  describeFlags,
  highMask,
  impossibleFlags,
  KPF_ANON,
  KPF_ARCH_3,
  KPF_BUDDY,
  KPF_MLOCKED,
  KPF_NAMES,
  KPF_PGTABLE,
  KPF_RESERVED,
  lowMask,
} from './kpageflags.ts'
import { slimFlags } from './slim.ts'

test('names stand at their bits', () => {
  const named = [KPF_BUDDY, KPF_PGTABLE, KPF_RESERVED, KPF_MLOCKED, KPF_ARCH_3].map((bit) => KPF_NAMES[bit])
  expect(named).toEqual(['BUDDY', 'PGTABLE', 'RESERVED', 'MLOCKED', 'ARCH_3'])
})

test('masks take their half of the bits', () => {
  expect(lowMask(KPF_ANON, KPF_RESERVED)).toBe(0x1000)
  expect(highMask(KPF_ANON, KPF_RESERVED, KPF_MLOCKED)).toBe(3)
})

// Words of real pages, host-6.18.md section 1.
test.each([
  [0x0, 0, '0'],
  [0x408, 0, 'UPTODATE|BUDDY'],
  [0x5828, 4, 'UPTODATE|LRU|MMAP|ANON|SWAPBACKED|OWNER_2'],
  [0x818, 2, 'UPTODATE|DIRTY|MMAP|MLOCKED'],
  [0x8000_0000, 0x8000_0000, 'bit 31|bit 63'],
])('%x %x is %s', (low, high, names) => {
  expect(describeFlags(low, high)).toBe(names)
})

test.each([
  [0x400, undefined],
  [0x408, undefined], // reported to the host
  [0x211080, undefined], // a slab page with bogus ANON and KSM
  [0x420, 'BUDDY and LRU: free and in use'],
  [0x480, 'BUDDY and SLAB: free and in use'],
  [0x18000, 'COMPOUND_HEAD and COMPOUND_TAIL'],
])('%x: %s', (low, reason) => {
  expect(impossibleFlags(low)).toBe(reason)
})

test.each([
  ['reported free', 0x408, 0, 0x400, 0],
  ['slab with bogus bits', 0x211080, 0, 0x80, 0],
  ['page table, referenced', 0x400_0004, 0, 0x400_0000, 0],
  ['anon, referenced, dirty', 0x587c, 4, 0x5828, 0],
  ['zsmalloc', 0x8, 8, 0x8, 8],
  ['reserved', 0, 1, 0, 1],
  ['untyped', 0, 0, 0, 0],
])('slim: %s', (_what, low, high, slimLow, slimHigh) => {
  expect(slimFlags(low, high)).toEqual({ low: slimLow, high: slimHigh })
})
