/**
 * What the sentences of verify.ts are made of: finding pages, walking lists that may be broken, saying what is wrong.
 *
 * @ours
 */

import { cellsOf, type ListNode, type Pfn, type PfnColumn, pcpIdOf, pfnOf } from '../base/units.ts'
import { PGTY_buddy } from './limits.ts'
import { type Mm, NR_PCP_LISTS } from './page.ts'
import { pcpOrderOf } from './pcp.ts'

/** Undefined: it holds. Otherwise what is wrong, and where first. */
export type Invariant = (mm: Mm) => string | undefined

/** What is wrong with a page. */
export const wrong = (pfn: number, what: string): string => `pfn ${pfn}: ${what}`

/** Pages whose cell has one of these bits. */
export function pagesWith(column: PfnColumn, bits: number): Pfn[] {
  const cells = cellsOf(column)
  const found: Pfn[] = []
  for (let i = 0; i < cells.length; i++) if ((cells[i] & bits) !== 0) found.push(pfnOf(i))
  return found
}

/** Adds one for each page whose cell has one of these bits. */
export function countPagesWith(column: PfnColumn, bits: number, counts: Uint8Array): void {
  const cells = cellsOf(column)
  for (let i = 0; i < cells.length; i++) if ((cells[i] & bits) !== 0) counts[i]++
}

/** Heads of free blocks, by what their pages say. */
export function freeBlockHeads(mm: Mm): Pfn[] {
  const cells = cellsOf(mm.mapcount)
  const buddy = PGTY_buddy
  const found: Pfn[] = []
  for (let i = 0; i < cells.length; i++) if (cells[i] >>> 24 === buddy) found.push(pfnOf(i))
  return found
}

/** Visits the nodes of a list in order until `visit` finds something. Gives what it found, or that the list is broken. */
export function walk(
  mm: Mm,
  head: ListNode,
  visit: (node: number) => string | undefined,
): string | undefined {
  const { links, pfnCount } = mm
  let prev: number = head
  let node = links[2 * head]
  // Bounded: a list of more nodes than there are pages goes in a circle.
  for (let seen = 0; node !== head; seen++) {
    if (node >= pfnCount || links[2 * node + 1] !== prev) return wrong(node, 'its list links do not agree')
    if (seen > pfnCount) return wrong(node, 'its list goes in a circle')
    const found = visit(node)
    if (found !== undefined) return found
    prev = node
    node = links[2 * node]
  }
  return links[2 * head + 1] === prev
    ? undefined
    : wrong(prev, 'it is last on a list whose head does not know it')
}

/** Nodes of a list, as far as it is whole. */
export function listLength(mm: Mm, head: ListNode): number {
  const { links, pfnCount } = mm
  let length = 0
  for (let node = links[2 * head]; node !== head && node < pfnCount; node = links[2 * node]) {
    if (++length > pfnCount) return length
  }
  return length
}

/** Asks for each number below `count`. Gives the first finding. */
export function firstFinding(
  count: number,
  check: (index: number) => string | undefined,
): string | undefined {
  for (let i = 0; i < count; i++) {
    const found = check(i)
    if (found !== undefined) return found
  }
  return undefined
}

/** Visits every per-cpu list: its head, the order of its blocks, its index in the set, the set. */
export function forPcpLists(
  mm: Mm,
  check: (head: ListNode, order: number, index: number, pcp: number) => string | undefined,
): string | undefined {
  return firstFinding(mm.zones * mm.cpus * NR_PCP_LISTS, (i) => {
    const pcp = Math.floor(i / NR_PCP_LISTS)
    const index = i % NR_PCP_LISTS
    return check(mm.pcpList(pcpIdOf(pcp), index), pcpOrderOf(index), index, pcp)
  })
}
