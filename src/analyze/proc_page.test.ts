/**
 * Words of /proc/kpageflags printed from engines, against those of the captures that they were loaded from.
 *
 * What the loader takes over must come back bit by bit. What it does not is counted here by kind of page, so that the
 * list is complete: bits of pages that are the kernel's own, and RECLAIM.
 */

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { Capture, Column } from '../capture/format/capture.ts'
import {
  describeFlags,
  highMask,
  KPF_ARCH,
  KPF_ERROR,
  KPF_IDLE,
  KPF_NAMES,
  KPF_OWNER_2,
  KPF_PRIVATE_2,
  KPF_RESERVED,
  KPF_SOFTDIRTY,
  KPF_ZERO_PAGE,
  lowMask,
} from '../capture/format/kpageflags.ts'
import { readCapture } from '../capture/format/reader.ts'
import { createMachine, RULES_6_1, RULES_6_12, RULES_6_18, zoneIdOf } from '../mm/index.ts'
import { machineOf } from '../testing/machine.ts'
import { importReference, referenceCapture, valueOf } from '../testing/reference.ts'
import { OWNER_CLASSES } from './classify.ts'
import { loadMachine } from './load.ts'
import { buildPageMap } from './page_map.ts'
import { KEPT_FLAGS, kpagecount, kpageflags } from './proc_page.ts'

function columnOf(capture: Capture, name: 'flags' | 'mapcount'): Column {
  const column = capture.columns.get(name)
  if (column === undefined) throw new Error(`no ${name}`)
  return column
}

/** Loads the capture and prints it. Pages whose kept bits differ, by owner, `+` ours only, `-` the kernel's only. */
function differences(capture: Capture): Record<string, number> {
  const map = valueOf(buildPageMap(capture))
  const mm = valueOf(loadMachine(capture, map))
  const words = kpageflags(mm)
  const { index, dictionaryLow, dictionaryHigh } = columnOf(capture, 'flags')
  const found: Record<string, number> = {}
  for (let pfn = 0; pfn < capture.pfnCount; pfn++) {
    const [ourLow, ourHigh] = [words[2 * pfn], words[2 * pfn + 1]]
    const low = dictionaryLow[index[pfn]] & KEPT_FLAGS.low
    const high = dictionaryHigh[index[pfn]] & KEPT_FLAGS.high
    if ((ourLow ^ low) === 0 && (ourHigh ^ high) === 0) continue
    const more = describeFlags(ourLow & ~low, ourHigh & ~high)
    const less = describeFlags(low & ~ourLow, high & ~ourHigh)
    const what = `${OWNER_CLASSES[map.owner[pfn]].name}${more === '0' ? '' : ` +${more}`}${less === '0' ? '' : ` -${less}`}`
    found[what] = (found[what] ?? 0) + 1
  }
  return found
}

const kept = (name: string): Capture =>
  valueOf(readCapture(gunzipSync(readFileSync(new URL(`../../${name}.before.drover`, import.meta.url)))))

/** What the kernel marks of its own: struct pages of the memory map, and two pages that it maps to user space (vdso). */
const KERNELS_OWN = { 'memory map -PRIVATE': 4186, 'reserved -MMAP': 1, 'reserved -REFERENCED|MMAP': 1 }
const KERNELS_OWN_6_12 = { 'memory map -PRIVATE': 4186, 'reserved -REFERENCED|MMAP': 2 }

/**
 * [M] settled against 262,144 words of Linux 6.1. The bits are those of the row. KPF_ERROR is never set from 6.12 on;
 * from 6.12 on the tails of a folio show its flags, in 6.1 their own; 6.12 shows KSM for every anonymous page.
 */
test('I-1 kpageflags of a loaded machine are the kernel’s, but for what the loader passes over', () => {
  expect(differences(kept('testdata/qemu/a1'))).toEqual({ ...KERNELS_OWN, 'shmem -RECLAIM': 157 })
  expect(
    KPF_NAMES.slice(0, 27)
      .map((name, bit) => `${bit} ${name}`)
      .join(' '),
  ).toBe(
    '0 LOCKED 1 ERROR 2 REFERENCED 3 UPTODATE 4 DIRTY 5 LRU 6 ACTIVE 7 SLAB 8 WRITEBACK 9 RECLAIM 10 BUDDY 11 MMAP ' +
      '12 ANON 13 SWAPCACHE 14 SWAPBACKED 15 COMPOUND_HEAD 16 COMPOUND_TAIL 17 HUGE 18 UNEVICTABLE 19 HWPOISON ' +
      '20 NOPAGE 21 KSM 22 THP 23 OFFLINE 24 ZERO_PAGE 25 IDLE 26 PGTABLE',
  )
  // What no engine keeps.
  const low = lowMask(KPF_ERROR, KPF_ZERO_PAGE, KPF_IDLE)
  const high = highMask(KPF_RESERVED, KPF_OWNER_2, KPF_PRIVATE_2, KPF_ARCH, KPF_SOFTDIRTY)
  expect([KEPT_FLAGS.low & low, KEPT_FLAGS.high & high]).toEqual([0, 0])
})

test.each([
  ['testdata/qemu/a6', { ...KERNELS_OWN, 'shmem -RECLAIM': 157 }],
  // Slab caches keep something else where `mapping` was, and 6.12 shows it.
  ['testdata/qemu/h0', { ...KERNELS_OWN_6_12, 'shmem -RECLAIM': 105, 'slab -ANON|KSM': 164 }],
  [
    'demo/anon50',
    {
      'memory map -PRIVATE': 98_354,
      'reserved -REFERENCED|MMAP': 2,
      'slab -ANON': 19_426,
      'slab -ANON|KSM': 13_640,
      'page table -REFERENCED': 159,
      // Mapped by drivers.
      'kernel -MMAP': 256,
      // The host knows that the block is free (PageReported).
      'free -UPTODATE': 1866,
      'shmem -RECLAIM': 117,
      'file -RECLAIM': 114,
      'file (large folio) -RECLAIM': 60,
      // Mapped after kpagecount was read.
      'file -MMAP': 57,
      'file (large folio) -MMAP': 42,
      // Loaded as on its list (load.ts).
      'anon (LRU batch) +LRU': 42,
    },
  ],
])('%s: the same', (name, expected) => {
  expect(differences(kept(name))).toEqual(expected)
})

const REFERENCES: readonly (readonly [name: string, label: string, expected: Record<string, number>])[] = [
  ['a5-direct-compaction', 'after-hugetlb', { ...KERNELS_OWN, 'shmem -RECLAIM': 161 }],
  ['c0-balloon-movable', 'after', { ...KERNELS_OWN, 'shmem -RECLAIM': 173 }],
  [
    'h2-k612-zram',
    'after',
    // PRIVATE is the first page of each zspage: which one that is, is the driver's own.
    {
      ...KERNELS_OWN_6_12,
      'shmem -RECLAIM': 154,
      'slab -ANON|KSM': 170,
      'zsmalloc -PRIVATE': 23_286,
    },
  ],
]
describe.skipIf(referenceCapture('qemu') === undefined)('hugetlb, balloon and zsmalloc pages', () => {
  test.each(REFERENCES)('%s, %s', (name, label, expected) => {
    expect(differences(importReference(`qemu/${name}`, label))).toEqual(expected)
  })
})

test('kpagecount of a loaded machine: how often each page is mapped', () => {
  const capture = kept('testdata/qemu/a1')
  const counts = kpagecount(valueOf(loadMachine(capture, valueOf(buildPageMap(capture)))))
  const { index, dictionaryLow } = columnOf(capture, 'mapcount')
  const differing = Array.from(index.subarray(0, capture.pfnCount), (word, pfn) => [
    pfn,
    dictionaryLow[word],
    counts[2 * pfn],
  ]).filter(([, kernel, ours]) => kernel !== ours)
  // Two pages of the kernel's that it maps to user space (the vdso).
  expect(differing.map(([pfn, , ours]) => [pfn, ours])).toEqual([
    [0x2416, 0],
    [0x2417, 0],
  ])
})

describe('words by kernel version', () => {
  const wordsOf = (picture: string, rules = RULES_6_18): string[] => {
    const { mm } = machineOf(picture, { rules })
    const words = kpageflags(mm)
    const first = mm.zoneStart[zoneIdOf(0)]
    return Array.from({ length: 4 }, (_, i) =>
      describeFlags(words[2 * (first + i)], words[2 * (first + i) + 1]),
    )
  }

  test('tails show their folio’s flags from 6.12 on', () => {
    const own = 'UPTODATE|LRU|ACTIVE|MMAP|ANON|SWAPBACKED'
    const three = <T>(word: T): T[] => [word, word, word]
    expect(wordsOf('|M===|', RULES_6_1)).toEqual([
      `${own}|COMPOUND_HEAD|THP`,
      ...three('MMAP|ANON|COMPOUND_TAIL|THP'),
    ])
    expect(wordsOf('|M===|', RULES_6_12)).toEqual([
      `${own}|COMPOUND_HEAD|KSM|THP`,
      ...three(`${own}|COMPOUND_TAIL|KSM|THP`),
    ])
    expect(wordsOf('|M===|', RULES_6_18)).toEqual([
      `${own}|COMPOUND_HEAD|THP`,
      ...three(`${own}|COMPOUND_TAIL|THP`),
    ])
  })

  test('a driver’s page shows that it can move from 6.17 on', () => {
    expect(wordsOf('|z...|', RULES_6_12)[0]).toBe('0')
    expect(wordsOf('|z...|', RULES_6_18)[0]).toBe('UPTODATE')
  })

  test('free blocks, per-cpu pages, and what is in use without a kind', () => {
    expect(wordsOf('|.,UM|')).toEqual(['BUDDY', '0', '0', 'UPTODATE|LRU|ACTIVE|MMAP|ANON|SWAPBACKED'])
  })

  test('where there is no memory', () => {
    const spec = {
      pfnCount: 1024,
      zones: [
        {
          node: 0,
          name: 'Normal',
          startPfn: 0,
          spanned: 512,
          present: 512,
          managed: 512,
          min: 0,
          low: 0,
          high: 0,
        },
      ],
    }
    const at = (rules: typeof RULES_6_1): string => {
      const words = kpageflags(createMachine({ ...spec, rules }))
      return describeFlags(words[2 * 600], words[2 * 600 + 1])
    }
    expect([RULES_6_1, RULES_6_12, RULES_6_18].map(at)).toEqual(['NOPAGE', 'NOPAGE', '0'])
  })
})
