/**
 * Lists as a driver under check uses them: listAdd and listDel that know what they are given.
 *
 * The same operations as base/list.ts, with the checks of a debug kernel: a page that is on a list is not added to
 * another, and one that is on none is not taken off. So a driver that touches the links of a page that is not on
 * its list (an isolated one, say) is told at that step.
 *
 * @kernel lib/list_debug.c v6.18 has the same purpose
 */

import { assert } from '../../base/assert.ts'
import {
  isListed,
  type Links,
  listAdd as link,
  listFirst,
  listNext,
  listDel as unlink,
} from '../../base/list.ts'
import { type ListNode, type Pfn, pfnOf } from '../../base/units.ts'
import type { Mm } from '../../mm/page.ts'

export const ADDED_TWICE = 'listAdd: the page is on a list'
export const NOT_LISTED = 'listDel: the page is on no list'
export const LIST_BROKEN = 'list: the links of two neighbours do not agree'

/** Puts a page first. */
export function listAdd(links: Links, node: number, head: number): void {
  assert(!isListed(links, node), ADDED_TWICE)
  link(links, node, head)
}

/** Takes a page off its list. */
export function listDel(links: Links, node: number): void {
  assert(isListed(links, node), NOT_LISTED)
  unlink(links, node)
}

/** More pages than any machine of the kit has. */
const PAGES_MAX = 64

/** The pages of a list, first to last. */
export function pagesOn(mm: Mm, head: ListNode): Pfn[] {
  const pages: Pfn[] = []
  let before: number = head
  for (let node = listFirst(mm.links, head); node !== head; node = listNext(mm.links, node)) {
    assert(mm.links[2 * node + 1] === before && pages.length < PAGES_MAX, LIST_BROKEN)
    pages.push(pfnOf(node))
    before = node
  }
  return pages
}
