/**
 * /proc/pagetypeinfo: free blocks by order and migratetype, and pageblocks by migratetype.
 *
 * The list of migratetypes is the kernel's, in the kernel's numbering: with CMA (`Unmovable Movable Reclaimable
 * HighAtomic CMA Isolate`) or without, so that Isolate is 5 or 4. The position of a name in `types` is
 * therefore the number that this kernel uses for it.
 *
 * The kernel stops counting a free list at 100,000 and prints `>100000`. Such a count is a lower bound and is marked.
 * The whole text repeats for each node. A kernel with page_owner adds "Number of mixed blocks", which
 * is passed over.
 *
 * @kernel mm/vmstat.c pagetypeinfo_show() v6.18
 */

import { bad, ok, type Result } from '../../base/result.ts'
import { type Nid, nidOf } from '../../base/units.ts'

/** Free blocks of one migratetype in one zone. */
export interface FreeByType {
  readonly node: Nid
  readonly zone: string
  readonly type: string
  readonly freeBlocksByOrder: readonly number[]
  /** Orders whose count the kernel cut off: there are more blocks than `freeBlocksByOrder` says. */
  readonly cappedOrders: readonly number[]
}

/** Pageblocks of one zone by the migratetype's name. */
export interface BlocksByType {
  readonly node: Nid
  readonly zone: string
  readonly blocks: ReadonlyMap<string, number>
}

export interface Pagetypeinfo {
  readonly pageblockOrder: number
  readonly pagesPerBlock: number
  /** Names of the migratetypes; the position is this kernel's number. */
  readonly types: readonly string[]
  readonly free: readonly FreeByType[]
  readonly blocks: readonly BlocksByType[]
}

const FREE = /^Node +(\d+), zone +(\S+), type +(\S+)((?: +>?\d+)+) *$/
const BLOCKS_HEADING = /^Number of blocks type((?: +\S+)+) *$/
const MIXED_HEADING = /^Number of mixed blocks /
const BLOCKS = /^Node +(\d+), zone +(\S+)((?: +\d+)+) *$/
const BLOCK_ORDER = /^Page block order: +(\d+)$/
const BLOCK_PAGES = /^Pages per block: +(\d+)$/
const FREE_HEADING = /^Free pages count per migrate type at order /

/** Free lists and pageblocks of a /proc/pagetypeinfo text. */
export function parsePagetypeinfo(text: string): Result<Pagetypeinfo> {
  let pageblockOrder = -1
  let pagesPerBlock = -1
  let types: readonly string[] = []
  let part: 'free' | 'blocks' | 'mixed' = 'free'
  const free: FreeByType[] = []
  const blocks: BlocksByType[] = []
  for (const [at, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const heading = BLOCKS_HEADING.exec(line)
    const order = BLOCK_ORDER.exec(line)
    const pages = BLOCK_PAGES.exec(line)
    if (order) pageblockOrder = Number(order[1])
    else if (pages) pagesPerBlock = Number(pages[1])
    else if (FREE_HEADING.test(line)) part = 'free'
    else if (MIXED_HEADING.test(line)) part = 'mixed'
    else if (heading) {
      part = 'blocks'
      types = words(heading[1])
    } else if (part === 'free') {
      const match = FREE.exec(line)
      if (!match) return notPagetypeinfo(at + 1, 'not a line of free counts')
      free.push(freeOf(match))
    } else if (part === 'blocks') {
      const match = BLOCKS.exec(line)
      const counts = match ? words(match[3]).map(Number) : []
      if (!match || counts.length !== types.length)
        return notPagetypeinfo(at + 1, 'not a line of block counts')
      blocks.push({
        node: nidOf(Number(match[1])),
        zone: match[2],
        blocks: new Map(types.map((type, column) => [type, counts[column]])),
      })
    }
  }
  if (pageblockOrder < 0 || pagesPerBlock < 0) return notPagetypeinfo(1, 'no page block order')
  if (types.length === 0) return notPagetypeinfo(1, 'no number of blocks by type')
  return ok({ pageblockOrder, pagesPerBlock, types, free, blocks })
}

function freeOf(match: RegExpExecArray): FreeByType {
  const counts = words(match[4])
  return {
    node: nidOf(Number(match[1])),
    zone: match[2],
    type: match[3],
    freeBlocksByOrder: counts.map((count) => Number(count.replace('>', ''))),
    cappedOrders: counts.flatMap((count, order) => (count.startsWith('>') ? [order] : [])),
  }
}

const words = (text: string): readonly string[] => text.trim().split(/ +/)

const notPagetypeinfo = (line: number, what: string): Result<never> =>
  bad('pagetypeinfo', `line ${line}`, what, 'capture again, with /proc/pagetypeinfo read whole (as root)')
