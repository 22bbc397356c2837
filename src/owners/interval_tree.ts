/**
 * An interval tree in a stretch of an owner's cells: ranges of page frames, by start, with the greatest end of each
 * subtree, so that the ranges which meet a given one are found without looking at the others.
 *
 * A treap: a search tree by start whose shape is the one that random insertions would give, because each node has a
 * fixed pseudo-random priority and lies above all of lower priority. It needs no recursion and no node elsewhere: nodes
 * are numbers from 1 to the capacity, 0 is none, and free ones are a chain.
 *
 * A typical sequence is:
 *   initTreeLocked(cells, tree, capacity)               // `tree` is the first of intervalTreeCells(capacity) cells
 *   node = insertRangeLocked(cells, tree, 10, 14)       // 0: no node is free
 *   node = firstMeetingLocked(cells, tree, 12, 13)      // the same one
 *   removeRangeLocked(cells, tree, node)
 *
 * Rules:
 *   - ranges are half open and not empty; they may overlap, and be there twice;
 *   - everything here is for a section under the lock that guards the stretch;
 *   - a node's payload is its user's. It is 0 when the node is made;
 *   - cells are reached by index and nothing else, so that the checker can see it.
 *
 * Each walk goes down or up one branch, which is as long as there are nodes at worst, and about twice the logarithm of
 * that as a rule.
 *
 * @kernel include/linux/interval_tree_generic.h v6.18: the same searches, over a red-black tree; @paper Seidel and
 *         Aragon, Randomized Search Trees, Algorithmica 1996, without split and merge
 */

import { assert } from '../base/assert.ts'

// Cells of a tree before its nodes.
const CAPACITY = 0 // nodes, free or not
const ROOT = 1
const FREE = 2 // first free node
const NR_FREE = 3
const HEADER_CELLS = 4

// Cells of a node.
const START = 0
const END = 1
const MAX_END = 2 // of its subtree
const LEFT = 3 // free nodes: the next free one
const RIGHT = 4
const PARENT = 5
const PAYLOAD = 6
const PAYLOAD_CELLS = 3
const NODE_CELLS = PAYLOAD + PAYLOAD_CELLS

/** Cells that a tree needs. */
export const intervalTreeCells = (capacity: number): number => HEADER_CELLS + capacity * NODE_CELLS

const cellOf = (tree: number, node: number, field: number): number =>
  tree + HEADER_CELLS + (node - 1) * NODE_CELLS + field

/** Makes the tree empty, with so many nodes. */
export function initTreeLocked(cells: Int32Array, tree: number, capacity: number): void {
  cells[tree + CAPACITY] = capacity
  cells[tree + ROOT] = 0
  cells[tree + FREE] = capacity === 0 ? 0 : 1
  cells[tree + NR_FREE] = capacity
  for (let node = 1; node <= capacity; node++) {
    clearNode(cells, tree, node)
    cells[cellOf(tree, node, LEFT)] = node === capacity ? 0 : node + 1
  }
}

/** Nodes that are free. */
export const freeNodesLocked = (cells: Int32Array, tree: number): number => cells[tree + NR_FREE]

export const startOf = (cells: Int32Array, tree: number, node: number): number =>
  cells[cellOf(tree, node, START)]

/** First number after the range. */
export const endOf = (cells: Int32Array, tree: number, node: number): number => cells[cellOf(tree, node, END)]

/** A cell of a node that its user keeps something in: 0, 1 or 2. */
export const payloadOf = (cells: Int32Array, tree: number, node: number, which: number): number =>
  cells[cellOf(tree, node, PAYLOAD + which)]

export function setPayload(
  cells: Int32Array,
  tree: number,
  node: number,
  which: number,
  value: number,
): void {
  cells[cellOf(tree, node, PAYLOAD + which)] = value
}

/** Puts a range in. Gives its node. @errors 0: no node is free. Nothing changed. */
export function insertRangeLocked(cells: Int32Array, tree: number, start: number, end: number): number {
  assert(start < end, 'interval tree: a range has something in it')
  const node = cells[tree + FREE]
  if (node === 0) return 0
  cells[tree + FREE] = cells[cellOf(tree, node, LEFT)]
  cells[tree + NR_FREE]--
  clearNode(cells, tree, node)
  cells[cellOf(tree, node, START)] = start
  cells[cellOf(tree, node, END)] = end
  cells[cellOf(tree, node, MAX_END)] = end
  let parent = 0
  for (let at = cells[tree + ROOT]; at !== 0; ) {
    parent = at
    at = cells[cellOf(tree, at, start < cells[cellOf(tree, at, START)] ? LEFT : RIGHT)]
  }
  cells[cellOf(tree, node, PARENT)] = parent
  if (parent === 0) cells[tree + ROOT] = node
  else cells[cellOf(tree, parent, start < cells[cellOf(tree, parent, START)] ? LEFT : RIGHT)] = node
  updateMaxUpwards(cells, tree, parent)
  while (hasLowerParent(cells, tree, node)) rotateUp(cells, tree, node)
  return node
}

/** Takes a range out. Its node is free. */
export function removeRangeLocked(cells: Int32Array, tree: number, node: number): void {
  // It sinks by a level each time, until nothing is below it.
  for (let child = upperChild(cells, tree, node); child !== 0; child = upperChild(cells, tree, node)) {
    rotateUp(cells, tree, child)
  }
  const parent = cells[cellOf(tree, node, PARENT)]
  replaceChild(cells, tree, parent, node, 0)
  updateMaxUpwards(cells, tree, parent)
  clearNode(cells, tree, node)
  cells[cellOf(tree, node, LEFT)] = cells[tree + FREE]
  cells[tree + FREE] = node
  cells[tree + NR_FREE]++
}

/** Changes the ends of a range that stays between the starts of its neighbours. */
export function resizeRangeLocked(
  cells: Int32Array,
  tree: number,
  node: number,
  start: number,
  end: number,
): void {
  assert(start < end, 'interval tree: a range has something in it')
  cells[cellOf(tree, node, START)] = start
  cells[cellOf(tree, node, END)] = end
  updateMaxUpwards(cells, tree, node)
}

/** The range with the lowest start that has something of `from` to `to` (exclusive); 0: none has. */
export function firstMeetingLocked(cells: Int32Array, tree: number, from: number, to: number): number {
  return firstBelow(cells, tree, cells[tree + ROOT], from, to)
}

/** The next such range by start, after `node`; 0: there is none. */
export function nextMeetingLocked(
  cells: Int32Array,
  tree: number,
  node: number,
  from: number,
  to: number,
): number {
  let at = node
  for (;;) {
    // Each round goes up, past nodes whose left side was seen.
    const right = cells[cellOf(tree, at, RIGHT)]
    if (right !== 0 && cells[cellOf(tree, right, MAX_END)] > from) {
      const found = firstBelow(cells, tree, right, from, to)
      if (found !== 0) return found
    }
    let child = at
    at = cells[cellOf(tree, at, PARENT)]
    while (at !== 0 && cells[cellOf(tree, at, RIGHT)] === child) {
      child = at
      at = cells[cellOf(tree, at, PARENT)]
    }
    if (at === 0 || cells[cellOf(tree, at, START)] >= to) return 0
    if (cells[cellOf(tree, at, END)] > from) return at
  }
}

/** The same, below a node. Goes left wherever something there ends late enough: if that begins too late, all does. */
function firstBelow(cells: Int32Array, tree: number, root: number, from: number, to: number): number {
  let at = root
  while (at !== 0) {
    const left = cells[cellOf(tree, at, LEFT)]
    if (left !== 0 && cells[cellOf(tree, left, MAX_END)] > from) {
      at = left
      continue
    }
    if (cells[cellOf(tree, at, START)] >= to) return 0
    if (cells[cellOf(tree, at, END)] > from) return at
    at = cells[cellOf(tree, at, RIGHT)]
  }
  return 0
}

/** Levels of the tree: for tests of its balance. */
export function treeDepthLocked(cells: Int32Array, tree: number): number {
  let deepest = 0
  for (let node = 1; node <= cells[tree + CAPACITY]; node++) {
    if (cells[cellOf(tree, node, END)] === 0) continue // free
    let depth = 0
    for (let at = node; at !== 0; at = cells[cellOf(tree, at, PARENT)]) depth++
    deepest = Math.max(deepest, depth)
  }
  return deepest
}

// Nodes and their places.

function clearNode(cells: Int32Array, tree: number, node: number): void {
  for (let field = 0; field < NODE_CELLS; field++) cells[cellOf(tree, node, field)] = 0
}

/** A fixed pseudo-random number a node: MurmurHash3's last mixing steps. */
function priorityOf(node: number): number {
  let h = Math.imul(node ^ (node >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function hasLowerParent(cells: Int32Array, tree: number, node: number): boolean {
  const parent = cells[cellOf(tree, node, PARENT)]
  return parent !== 0 && priorityOf(parent) < priorityOf(node)
}

/** The child of higher priority; 0: there is no child. */
function upperChild(cells: Int32Array, tree: number, node: number): number {
  const left = cells[cellOf(tree, node, LEFT)]
  const right = cells[cellOf(tree, node, RIGHT)]
  if (left === 0 || right === 0) return left + right
  return priorityOf(left) > priorityOf(right) ? left : right
}

/** A node and its parent change places. */
function rotateUp(cells: Int32Array, tree: number, node: number): void {
  const parent = cells[cellOf(tree, node, PARENT)]
  const above = cells[cellOf(tree, parent, PARENT)]
  const isLeft = cells[cellOf(tree, parent, LEFT)] === node
  const inner = cells[cellOf(tree, node, isLeft ? RIGHT : LEFT)]
  cells[cellOf(tree, parent, isLeft ? LEFT : RIGHT)] = inner
  if (inner !== 0) cells[cellOf(tree, inner, PARENT)] = parent
  cells[cellOf(tree, node, isLeft ? RIGHT : LEFT)] = parent
  cells[cellOf(tree, parent, PARENT)] = node
  replaceChild(cells, tree, above, parent, node)
  updateMax(cells, tree, parent)
  updateMax(cells, tree, node)
}

/** Hangs `to` where `from` was: below `parent`, or at the root. */
function replaceChild(cells: Int32Array, tree: number, parent: number, from: number, to: number): void {
  if (parent === 0) cells[tree + ROOT] = to
  else cells[cellOf(tree, parent, cells[cellOf(tree, parent, LEFT)] === from ? LEFT : RIGHT)] = to
  if (to !== 0) cells[cellOf(tree, to, PARENT)] = parent
}

function updateMaxUpwards(cells: Int32Array, tree: number, node: number): void {
  for (let at = node; at !== 0; at = cells[cellOf(tree, at, PARENT)]) updateMax(cells, tree, at)
}

function updateMax(cells: Int32Array, tree: number, node: number): void {
  const left = cells[cellOf(tree, node, LEFT)]
  const right = cells[cellOf(tree, node, RIGHT)]
  let max = cells[cellOf(tree, node, END)]
  if (left !== 0) max = Math.max(max, cells[cellOf(tree, left, MAX_END)])
  if (right !== 0) max = Math.max(max, cells[cellOf(tree, right, MAX_END)])
  cells[cellOf(tree, node, MAX_END)] = max
}
