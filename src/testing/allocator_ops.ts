/**
 * Small machines for the allocator's harness, and what can be done with them: operations, and arbitrary ones.
 *
 * @ours
 */

import fc from 'fast-check'
import {
  __GFP_RECLAIMABLE,
  __GFP_THISNODE,
  ALLOC_MIN_RESERVE,
  ALLOC_NO_WATERMARKS,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_WMARK_LOW,
  ALLOC_WMARK_MIN,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
} from '../mm/gfp.ts'
import type { KernelRules, PcpSpec, ZoneSpec } from '../mm/index.ts'

const PAGEBLOCK = 512

/** Zones one after the other from pfn 512 on: node, name, pages. */
export type Layout = readonly (readonly [node: number, name: string, pages: number])[]

export const LAYOUTS: readonly Layout[] = [
  [
    [0, 'Normal', 1024],
    [1, 'Normal', 1024],
  ],
  [
    [0, 'DMA32', 1024],
    [0, 'Normal', 1536],
  ],
  [
    [0, 'DMA32', 700], // ends inside of a pageblock
    [1, 'Normal', 1024],
  ],
  [[0, 'Normal', 2048]],
]

const KEEPING: PcpSpec = { high: 24, highMin: 16, highMax: 40, batch: 4 }
const KEEPING_NOTHING: PcpSpec = { high: 0, highMin: 0, highMax: 0, batch: 1 }

export interface HarnessOptions {
  /** Per-cpu lists keep pages back. */
  readonly pcp: boolean
  readonly defragMode: boolean
  readonly rules: KernelRules
}

/** Requests, by name. */
export const GFPS = {
  kernel: GFP_KERNEL,
  movable: GFP_HIGHUSER_MOVABLE,
  reclaimable: GFP_KERNEL | __GFP_RECLAIMABLE,
  thisnode: GFP_HIGHUSER_MOVABLE | __GFP_THISNODE,
} as const

/** How far a request may go. */
export const RIGHTS = {
  normal: ALLOC_WMARK_LOW,
  min: ALLOC_WMARK_MIN,
  atomic: ALLOC_WMARK_MIN | ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK,
  oom: ALLOC_WMARK_MIN | ALLOC_OOM,
  all: ALLOC_NO_WATERMARKS,
} as const

export type AllocatorOp =
  | {
      readonly op: 'alloc'
      readonly cpu: number
      readonly nid: number
      readonly order: number
      readonly gfp: keyof typeof GFPS
      readonly right: keyof typeof RIGHTS
      /** Puts it on the LRU: a page that compaction could move. */
      readonly lru: boolean
    }
  | { readonly op: 'free'; readonly cpu: number; readonly which: number }
  | { readonly op: 'drain'; readonly cpu: number; readonly zone: number }
  | { readonly op: 'drainAll' }
  /** Gives a pageblock another type: to ISOLATE it is isolated, from ISOLATE it comes back. */
  | { readonly op: 'setType'; readonly block: number; readonly mt: number }
  | { readonly op: 'unreserve'; readonly zone: number; readonly mt: number; readonly force: boolean }
  /** Takes a free block off the lists as it is, as compaction does for its targets. */
  | { readonly op: 'takeFree'; readonly which: number }
  /** Drains a set while the compaction of its cpu waits for a block. */
  | {
      readonly op: 'capture'
      readonly cpu: number
      readonly zone: number
      readonly order: number
      readonly mt: number
    }

/** Arbitrary operations, most of them allocations and frees of small orders. */
export function allocatorOps(): fc.Arbitrary<AllocatorOp> {
  const cpu = fc.nat(1)
  const zone = fc.nat(1)
  const which = fc.nat(4095)
  const order = fc.oneof({ weight: 6, arbitrary: fc.nat(3) }, { weight: 4, arbitrary: fc.nat(10) })
  const gfp = fc.constantFrom('kernel', 'movable', 'movable', 'reclaimable', 'thisnode')
  const right = fc.constantFrom('normal', 'normal', 'min', 'atomic', 'oom', 'all')
  const op = <T extends AllocatorOp['op']>(name: T): fc.Arbitrary<T> => fc.constant(name)
  return fc.oneof(
    {
      weight: 40,
      arbitrary: fc.record({ op: op('alloc'), cpu, nid: fc.nat(1), order, gfp, right, lru: fc.boolean() }),
    },
    { weight: 36, arbitrary: fc.record({ op: op('free'), cpu, which }) },
    { weight: 4, arbitrary: fc.record({ op: op('drain'), cpu, zone }) },
    { weight: 1, arbitrary: fc.record({ op: op('drainAll') }) },
    {
      weight: 6,
      arbitrary: fc.record({ op: op('setType'), block: which, mt: fc.constantFrom(0, 1, 2, 4, 5) }),
    },
    { weight: 4, arbitrary: fc.record({ op: op('unreserve'), zone, mt: fc.nat(2), force: fc.boolean() }) },
    { weight: 4, arbitrary: fc.record({ op: op('takeFree'), which }) },
    {
      weight: 5,
      arbitrary: fc.record({
        op: op('capture'),
        cpu,
        zone,
        order: fc.integer({ min: 1, max: 9 }),
        mt: fc.nat(2),
      }),
    },
  )
}

/** The zones of a layout. */
export function zoneSpecs(layout: Layout, { pcp }: HarnessOptions): ZoneSpec[] {
  const set = pcp ? KEEPING : KEEPING_NOTHING
  const specs: ZoneSpec[] = []
  let startPfn = PAGEBLOCK
  for (const [node, name, pages] of layout) {
    const marks = { min: 16, low: 32, high: 48 }
    specs.push({
      node,
      name,
      startPfn,
      spanned: pages,
      present: pages,
      managed: pages,
      ...marks,
      pcp: [set, set],
    })
    startPfn = Math.ceil((startPfn + pages) / PAGEBLOCK) * PAGEBLOCK
  }
  return specs
}
