/**
 * Intrusive doubly linked lists over a column of interleaved links.
 *
 * Cell 2n is the next node of node n, cell 2n + 1 the previous one: both in one cache line, which alone
 * doubles the speed of everything that links and unlinks. Pages are nodes 0..pages-1; heads are nodes
 * beyond. A node on no list has both links 0 (a list holds at least its head, which is never node 0). Shifts, not
 * products: a shift cannot overflow, so V8 has nothing to check.
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
  links[head << 1] = head
  links[(head << 1) | 1] = head
}

export function listEmpty(links: Links, head: ListNode): boolean {
  return links[head << 1] === head
}

/** First node, or the head itself if the list is empty. */
export function listFirst(links: Links, head: ListNode): ListNode {
  return listNodeOf(links[head << 1])
}

/** Last node, or the head itself if the list is empty. */
export function listLast(links: Links, head: ListNode): ListNode {
  return listNodeOf(links[(head << 1) | 1])
}

/** The node after `node`; the head after the last one. */
export function listNext(links: Links, node: ListNode): ListNode {
  return listNodeOf(links[node << 1])
}

/** The node before `node`; the head before the first one. */
export function listPrev(links: Links, node: ListNode): ListNode {
  return listNodeOf(links[(node << 1) | 1])
}

/** Turns a list so that `node`, which is on it, is first: what was before it follows the rest. */
export function listRotateFirst(links: Links, node: ListNode, head: ListNode): void {
  listDel(links, head)
  listAddTail(links, head, node)
}

/** Turns a list so that `node`, which is on it, is last. */
export function listRotateLast(links: Links, node: ListNode, head: ListNode): void {
  listDel(links, head)
  listAdd(links, head, node)
}

/** True if the node is on some list. */
export function isListed(links: Links, node: number): boolean {
  return (links[node << 1] | links[(node << 1) | 1]) !== 0
}

/** Puts `node` first. */
export function listAdd(links: Links, node: number, head: number): void {
  const first = links[head << 1]
  links[node << 1] = first
  links[(node << 1) | 1] = head
  links[(first << 1) | 1] = node
  links[head << 1] = node
}

/** Puts `node` last. */
export function listAddTail(links: Links, node: number, head: number): void {
  const last = links[(head << 1) | 1]
  links[node << 1] = head
  links[(node << 1) | 1] = last
  links[last << 1] = node
  links[(head << 1) | 1] = node
}

/** Takes `node` off its list. */
export function listDel(links: Links, node: number): void {
  const next = links[node << 1]
  const prev = links[(node << 1) | 1]
  links[prev << 1] = next
  links[(next << 1) | 1] = prev
  links[node << 1] = 0
  links[(node << 1) | 1] = 0
}

/** Takes `node` off its list and puts it last on another. */
export function listMoveTail(links: Links, node: number, head: number): void {
  listDel(links, node)
  listAddTail(links, node, head)
}

/** Moves all nodes of `from`, in order, to the front of `to`. `from` is empty afterwards. */
export function listSplice(links: Links, from: ListNode, to: ListNode): void {
  if (listEmpty(links, from)) return
  const first = links[from << 1]
  const last = links[(from << 1) | 1]
  const next = links[to << 1]
  links[(first << 1) | 1] = to
  links[to << 1] = first
  links[last << 1] = next
  links[(next << 1) | 1] = last
  initList(links, from)
}

/** Moves all nodes of `from`, in order, to the end of `to`. `from` is empty afterwards. */
export function listSpliceTail(links: Links, from: ListNode, to: ListNode): void {
  if (listEmpty(links, from)) return
  const first = links[from << 1]
  const last = links[(from << 1) | 1]
  const prev = links[(to << 1) | 1]
  links[(first << 1) | 1] = prev
  links[prev << 1] = first
  links[last << 1] = to
  links[(to << 1) | 1] = last
  initList(links, from)
}
