/**
 * Intrusive doubly linked lists over a column of interleaved links.
 *
 * Cell 2n is the next node of node n, cell 2n + 1 the previous one: both in one cache line, which alone
 * doubles the speed of everything that links and unlinks. Pages are nodes 0..pages-1; heads are nodes
 * beyond. A node on no list has both links 0 (a list holds at least its head, which is never node 0).
 *
 * A typical sequence is:
 *   initList(links, head)
 *   listAdd(links, node, head)          // first
 *   listAddTail(links, node, head)      // last
 *   listDel(links, node)
 *
 * Rules:
 *   - whoever calls holds the lock of that list, or the list is his own;
 *   - a node is on one list at a time; adding one that is on a list corrupts both (verify.ts finds it).
 *
 * @kernel include/linux/list.h: the same operations under the same names
 */

import { type ListNode, listNodeOf } from './units.ts'

export type Links = Int32Array

/** Makes `head` an empty list. */
export function initList(links: Links, head: ListNode): void {
  links[2 * head] = head
  links[2 * head + 1] = head
}

export function listEmpty(links: Links, head: ListNode): boolean {
  return links[2 * head] === head
}

/** First node, or the head itself if the list is empty. */
export function listFirst(links: Links, head: ListNode): ListNode {
  return listNodeOf(links[2 * head])
}

/** Last node, or the head itself if the list is empty. */
export function listLast(links: Links, head: ListNode): ListNode {
  return listNodeOf(links[2 * head + 1])
}

/** The node after `node`; the head after the last one. */
export function listNext(links: Links, node: ListNode): ListNode {
  return listNodeOf(links[2 * node])
}

/** True if the node is on some list. */
export function isListed(links: Links, node: number): boolean {
  return (links[2 * node] | links[2 * node + 1]) !== 0
}

/** Puts `node` first. */
export function listAdd(links: Links, node: number, head: number): void {
  const first = links[2 * head]
  links[2 * node] = first
  links[2 * node + 1] = head
  links[2 * first + 1] = node
  links[2 * head] = node
}

/** Puts `node` last. */
export function listAddTail(links: Links, node: number, head: number): void {
  const last = links[2 * head + 1]
  links[2 * node] = head
  links[2 * node + 1] = last
  links[2 * last] = node
  links[2 * head + 1] = node
}

/** Takes `node` off its list. */
export function listDel(links: Links, node: number): void {
  const next = links[2 * node]
  const prev = links[2 * node + 1]
  links[2 * prev] = next
  links[2 * next + 1] = prev
  links[2 * node] = 0
  links[2 * node + 1] = 0
}

/** Takes `node` off its list and puts it last on another. */
export function listMoveTail(links: Links, node: number, head: number): void {
  listDel(links, node)
  listAddTail(links, node, head)
}

/** Moves all nodes of `from`, in order, to the front of `to`. `from` is empty afterwards. */
export function listSplice(links: Links, from: ListNode, to: ListNode): void {
  if (listEmpty(links, from)) return
  const first = links[2 * from]
  const last = links[2 * from + 1]
  const next = links[2 * to]
  links[2 * first + 1] = to
  links[2 * to] = first
  links[2 * last] = next
  links[2 * next + 1] = last
  initList(links, from)
}

/** Moves all nodes of `from`, in order, to the end of `to`. `from` is empty afterwards. */
export function listSpliceTail(links: Links, from: ListNode, to: ListNode): void {
  if (listEmpty(links, from)) return
  const first = links[2 * from]
  const last = links[2 * from + 1]
  const prev = links[2 * to + 1]
  links[2 * first + 1] = prev
  links[2 * prev] = first
  links[2 * last] = to
  links[2 * to + 1] = last
  initList(links, from)
}
