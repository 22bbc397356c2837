/**
 * Pin information: which pages a subsystem has pinned, what it has noted of each, and which belong together.
 *
 * A subsystem chooses the data structure (S3-4): whatever implements `PinInfo` will do. `createPinInfo` makes the
 * general one, an interval tree over ranges of page frames: pages that lie side by side, in the same group, with
 * numbers that go on, are one node, however many they are.
 *
 * A group is a number from 1 on; pages of group 0 each stand alone. The pages of a group move together or not at all
 * (pinpage.ts), so that whoever uses them is stopped once. Pages of a group are in a circle: nextOfGroup() of each, and
 * all have been seen when it is the first one's turn again.
 *
 * A move is
 *   beginMove(pfn)             // nothing joins the group from here on; there will be nodes enough
 *   movePage(dst, src)         // for each page of the group; cannot fail
 *   endMove(pfn, reserved)     // pfn: any page that is in the group now
 *
 * What a failure leaves behind: nothing changed, of any of these.
 *   | addPage   | -EEXIST: it is there already. -EAGAIN: its group is moving. -ENOMEM: no node is free            |
 *   | delPage   | -EINVAL: it is not there. -ENOMEM: it lies within a range, and no node is free for the second half |
 *   | beginMove | -EAGAIN: its group is moving. -ENOMEM: the destinations may need more nodes than are free       |
 *
 * Rules:
 *   - what a page's information says changes only while (L) of that page is held;
 *   - callbacks are never called under a spinlock, so they may sleep; the general ones do not.
 *
 * @kernel Minchan Kim, "[RFC 0/3] Pin page control subsystem", 2013: general_add_page() and its like, over a radix tree
 *         with a node a page; ranges and groups are from its review. Spec S3-4, S3-9, S3-14
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { cellsOf, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import { EAGAIN, EEXIST, EINVAL, ENOMEM } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import type { Mm } from '../mm/page.ts'
import {
  endOf,
  firstMeetingLocked,
  freeNodesLocked,
  initTreeLocked,
  insertRangeLocked,
  intervalTreeCells,
  nextMeetingLocked,
  payloadOf,
  removeRangeLocked,
  resizeRangeLocked,
  setPayload,
  startOf,
} from './interval_tree.ts'

/** What a subsystem knows of its pins. See the header for what each error leaves behind. */
export interface PinInfo {
  /** The subsystem is registered: there are no pins. 0, or -ENOMEM. */
  create(cpu: Cpu, mm: Mm): number
  /** It is registered no more. There are no pins. A findPage() that is late finds nothing. */
  destroy(cpu: Cpu, mm: Mm): void
  /** Notes a page. 0, -EEXIST, -EAGAIN, -ENOMEM. */
  addPage(cpu: Cpu, mm: Mm, pfn: Pfn, group: number, data: number): number
  /** Forgets a page. 0, -EINVAL, -ENOMEM. */
  delPage(cpu: Cpu, mm: Mm, pfn: Pfn): number
  findPage(cpu: Cpu, mm: Mm, pfn: Pfn): boolean
  /** What was noted of a page that is there. */
  dataOf(cpu: Cpu, mm: Mm, pfn: Pfn): number
  /** The next page of the circle that a group is; the page itself if it is alone. */
  nextOfGroup(cpu: Cpu, mm: Mm, pfn: Pfn): Pfn
  /** Makes sure that the page, or all of its group, can be moved. What endMove() is to be given, or -EAGAIN, -ENOMEM. */
  beginMove(cpu: Cpu, mm: Mm, pfn: Pfn): number
  /** `dst` takes the place of `src`: its group, its data. */
  movePage(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): void
  endMove(cpu: Cpu, mm: Mm, pfn: Pfn, reserved: number): void
}

// Cells of the general pin information: these, two a group, the tree.
const LOCK = 0 // (O)
const GROUPS = 1 // how many there are
const RESERVED = 2 // nodes that moves under way may need
const HEADER_CELLS = 3
const GROUP_CELLS = 2
const GROUP_FIRST = 0 // first node of the group; 0: none
const GROUP_MOVING = 1

// Payload of a node.
const DATA = 0 // of its first page; that of the next ones follows
const GROUP = 1
const NEXT = 2 // next node of the group; 0: the last one

/** How much general pin information there may be. */
export interface PinInfoSize {
  /** Ranges. */
  readonly ranges: number
  /** Groups are numbers from 1 to this. */
  readonly groups: number
}

/** Cells that it needs. */
export const pinInfoCells = ({ ranges, groups }: PinInfoSize): number =>
  HEADER_CELLS + groups * GROUP_CELLS + intervalTreeCells(ranges)

/** Numbers that a page's data may be: they share a section's argument with the group. */
export const PIN_DATA_BITS = 20
const PIN_DATA_MAX = (1 << PIN_DATA_BITS) - 1
const PIN_GROUP_MAX = (1 << (30 - PIN_DATA_BITS)) - 1

/** General pin information in the owner cells from `cell` on. */
export function createPinInfo(mm: Mm, cell: number, size: PinInfoSize): PinInfo {
  const { groups, ranges } = size
  assert(cell + pinInfoCells(size) <= mm.ownerCells.length, 'pin info: the arena has cells for it')
  assert(groups <= PIN_GROUP_MAX, 'pin info: so few groups that one shares a number with data')
  const lock = ownerCellOf(cell + LOCK)
  type Section = (state: Mm, at: number, b: number, c: number) => number
  const locked = (cpu: Cpu, state: Mm, section: Section, b: number, c: number): number =>
    cpu.atomically(state.ownerCells, lock, SPIN_LOCKED, section, state, cell, b, c)
  return {
    create: (cpu, state) => locked(cpu, state, initLocked, ranges, groups),
    destroy(cpu, state) {
      locked(cpu, state, initLocked, ranges, groups)
    },
    addPage(cpu, state, pfn, group, data) {
      assert(group >= 0 && group <= groups, 'pin info: there is such a group')
      assert(data >= 0 && data <= PIN_DATA_MAX, 'pin info: data is a number of 20 bits')
      return locked(cpu, state, addLocked, pfn, (group << PIN_DATA_BITS) | data)
    },
    delPage: (cpu, state, pfn) => locked(cpu, state, delLocked, pfn, 0),
    findPage: (cpu, state, pfn) => locked(cpu, state, rangeOfLocked, pfn, 0) !== 0,
    dataOf: (cpu, state, pfn) => locked(cpu, state, dataOfLocked, pfn, 0),
    nextOfGroup: (cpu, state, pfn) => pfnOf(locked(cpu, state, nextOfGroupLocked, pfn, 0)),
    beginMove: (cpu, state, pfn) => locked(cpu, state, beginMoveLocked, pfn, 0),
    movePage(cpu, state, dst, src) {
      locked(cpu, state, movePageLocked, dst, src)
    },
    endMove(cpu, state, pfn, reserved) {
      locked(cpu, state, endMoveLocked, pfn, reserved)
    },
  }
}

/** A range of pinned pages, for tests and people. */
export interface PinRange {
  readonly start: Pfn
  readonly end: Pfn
  readonly group: number
  readonly data: number
}

/** Ranges of pins that have a page from `from` to `to` (exclusive), by start. Nothing runs meanwhile. @ours */
export function pinRanges(mm: Mm, cell: number, from: number, to: number): PinRange[] {
  const cells = cellsOf(mm.ownerCells)
  const tree = treeAt(cells, cell)
  const found: PinRange[] = []
  let node = firstMeetingLocked(cells, tree, from, to)
  while (node !== 0) {
    found.push({
      start: pfnOf(startOf(cells, tree, node)),
      end: pfnOf(endOf(cells, tree, node)),
      group: payloadOf(cells, tree, node, GROUP),
      data: payloadOf(cells, tree, node, DATA),
    })
    node = nextMeetingLocked(cells, tree, node, from, to)
  }
  return found
}

// Sections under the lock of the information (O): given the machine, the first cell, and what they are for.

const treeAt = (cells: Int32Array, at: number): number => at + HEADER_CELLS + cells[at + GROUPS] * GROUP_CELLS
const groupCell = (at: number, group: number, field: number): number =>
  at + HEADER_CELLS + (group - 1) * GROUP_CELLS + field

function initLocked({ ownerCells }: Mm, at: number, ranges: number, groups: number): number {
  const cells = cellsOf(ownerCells)
  cells[at + GROUPS] = groups
  cells[at + RESERVED] = 0
  for (let i = 0; i < groups * GROUP_CELLS; i++) cells[at + HEADER_CELLS + i] = 0
  initTreeLocked(cells, treeAt(cells, at), ranges)
  return 0
}

/** The range that holds a page; 0: none. */
function rangeOfLocked({ ownerCells }: Mm, at: number, pfn: number): number {
  const cells = cellsOf(ownerCells)
  return firstMeetingLocked(cells, treeAt(cells, at), pfn, pfn + 1)
}

/** The range that holds a page which is there. */
function rangeOfPinned(cells: Int32Array, at: number, pfn: number): number {
  const node = firstMeetingLocked(cells, treeAt(cells, at), pfn, pfn + 1)
  assert(node !== 0, 'pin info: the page is pinned')
  return node
}

/** Nodes that no move has reserved. */
const unreserved = (cells: Int32Array, at: number): number =>
  freeNodesLocked(cells, treeAt(cells, at)) - cells[at + RESERVED]

function addLocked(mm: Mm, at: number, pfn: number, groupAndData: number): number {
  const cells = cellsOf(mm.ownerCells)
  const group = groupAndData >>> PIN_DATA_BITS
  if (rangeOfLocked(mm, at, pfn) !== 0) return -EEXIST
  if (group !== 0 && cells[groupCell(at, group, GROUP_MOVING)] !== 0) return -EAGAIN
  const placed = place(cells, at, pfn, group, groupAndData & PIN_DATA_MAX, unreserved(cells, at) > 0)
  return placed ? 0 : -ENOMEM
}

/** Puts a page in: at an end of a range that it continues, or of two, or as a range of its own. False: no node for it. */
function place(
  cells: Int32Array,
  at: number,
  pfn: number,
  group: number,
  data: number,
  mayTakeNode: boolean,
): boolean {
  const tree = treeAt(cells, at)
  const before = firstMeetingLocked(cells, tree, pfn - 1, pfn)
  const after = firstMeetingLocked(cells, tree, pfn + 1, pfn + 2)
  const start = before === 0 ? 0 : startOf(cells, tree, before)
  const joinsAfter = after !== 0 && isPlaceFor(cells, tree, after, group, data + 1)
  if (before !== 0 && isPlaceFor(cells, tree, before, group, data - (pfn - start))) {
    const end = joinsAfter ? endOf(cells, tree, after) : pfn + 1
    if (joinsAfter) dropRange(cells, at, after)
    resizeRangeLocked(cells, tree, before, start, end)
    return true
  }
  if (joinsAfter) {
    resizeRangeLocked(cells, tree, after, pfn, endOf(cells, tree, after))
    setPayload(cells, tree, after, DATA, data)
    return true
  }
  if (!mayTakeNode) return false
  const node = newRange(cells, tree, pfn, pfn + 1)
  setPayload(cells, tree, node, DATA, data)
  setPayload(cells, tree, node, GROUP, group)
  if (group === 0) return true
  setPayload(cells, tree, node, NEXT, cells[groupCell(at, group, GROUP_FIRST)])
  cells[groupCell(at, group, GROUP_FIRST)] = node
  return true
}

/** True if the range is of that group, and its first page has this data. */
const isPlaceFor = (cells: Int32Array, tree: number, node: number, group: number, data: number): boolean =>
  payloadOf(cells, tree, node, GROUP) === group && payloadOf(cells, tree, node, DATA) === data

function newRange(cells: Int32Array, tree: number, start: number, end: number): number {
  const node = insertRangeLocked(cells, tree, start, end)
  assert(node !== 0, 'pin info: a node is free')
  return node
}

/** Takes a range out of its group and out of the tree. */
function dropRange(cells: Int32Array, at: number, node: number): void {
  const tree = treeAt(cells, at)
  const group = payloadOf(cells, tree, node, GROUP)
  if (group !== 0) {
    const next = payloadOf(cells, tree, node, NEXT)
    const head = groupCell(at, group, GROUP_FIRST)
    if (cells[head] === node) {
      cells[head] = next
    } else {
      let before = cells[head]
      // It is on the chain: each round is one range further.
      while (payloadOf(cells, tree, before, NEXT) !== node) before = payloadOf(cells, tree, before, NEXT)
      setPayload(cells, tree, before, NEXT, next)
    }
  }
  removeRangeLocked(cells, tree, node)
}

function delLocked(mm: Mm, at: number, pfn: number): number {
  const cells = cellsOf(mm.ownerCells)
  const node = rangeOfLocked(mm, at, pfn)
  if (node === 0) return -EINVAL
  return takeOut(cells, at, node, pfn, unreserved(cells, at) > 0) ? 0 : -ENOMEM
}

/** Takes a page out of its range. What was behind it in the range follows the rest on the group's chain. */
function takeOut(cells: Int32Array, at: number, node: number, pfn: number, mayTakeNode: boolean): boolean {
  const tree = treeAt(cells, at)
  const start = startOf(cells, tree, node)
  const end = endOf(cells, tree, node)
  const data = payloadOf(cells, tree, node, DATA)
  if (end === start + 1) {
    dropRange(cells, at, node)
  } else if (pfn === start) {
    resizeRangeLocked(cells, tree, node, start + 1, end)
    setPayload(cells, tree, node, DATA, data + 1)
  } else if (pfn === end - 1) {
    resizeRangeLocked(cells, tree, node, start, pfn)
  } else {
    if (!mayTakeNode) return false
    resizeRangeLocked(cells, tree, node, start, pfn)
    const group = payloadOf(cells, tree, node, GROUP)
    const rest = newRange(cells, tree, pfn + 1, end)
    setPayload(cells, tree, rest, DATA, data + pfn + 1 - start)
    setPayload(cells, tree, rest, GROUP, group)
    setPayload(cells, tree, rest, NEXT, payloadOf(cells, tree, node, NEXT))
    setPayload(cells, tree, node, NEXT, group === 0 ? 0 : rest)
  }
  return true
}

function dataOfLocked({ ownerCells }: Mm, at: number, pfn: number): number {
  const cells = cellsOf(ownerCells)
  const node = rangeOfPinned(cells, at, pfn)
  const tree = treeAt(cells, at)
  return payloadOf(cells, tree, node, DATA) + pfn - startOf(cells, tree, node)
}

function nextOfGroupLocked({ ownerCells }: Mm, at: number, pfn: number): number {
  const cells = cellsOf(ownerCells)
  const tree = treeAt(cells, at)
  const node = rangeOfPinned(cells, at, pfn)
  const group = payloadOf(cells, tree, node, GROUP)
  if (group === 0) return pfn
  if (pfn + 1 < endOf(cells, tree, node)) return pfn + 1
  const next = payloadOf(cells, tree, node, NEXT)
  return startOf(cells, tree, next === 0 ? cells[groupCell(at, group, GROUP_FIRST)] : next)
}

/**
 * A move takes one page after the other out of its range and puts it in elsewhere. At no time are there more ranges than
 * pages; so as many nodes as it has pages, less its ranges, are enough for a group. A page that stands alone may leave two
 * ranges behind.
 */
function beginMoveLocked({ ownerCells }: Mm, at: number, pfn: number): number {
  const cells = cellsOf(ownerCells)
  const tree = treeAt(cells, at)
  const node = rangeOfPinned(cells, at, pfn)
  const group = payloadOf(cells, tree, node, GROUP)
  if (group !== 0 && cells[groupCell(at, group, GROUP_MOVING)] !== 0) return -EAGAIN
  const needed = group === 0 ? nodesForOne(cells, tree, node, pfn) : nodesForGroup(cells, at, group)
  if (unreserved(cells, at) < needed) return -ENOMEM
  cells[at + RESERVED] += needed
  if (group !== 0) cells[groupCell(at, group, GROUP_MOVING)] = 1
  return needed
}

const nodesForOne = (cells: Int32Array, tree: number, node: number, pfn: number): number =>
  (startOf(cells, tree, node) < pfn ? 1 : 0) + (endOf(cells, tree, node) > pfn + 1 ? 1 : 0)

function nodesForGroup(cells: Int32Array, at: number, group: number): number {
  const tree = treeAt(cells, at)
  let needed = 0
  let node = cells[groupCell(at, group, GROUP_FIRST)]
  // Each round is one range of the group.
  while (node !== 0) {
    needed += endOf(cells, tree, node) - startOf(cells, tree, node) - 1
    node = payloadOf(cells, tree, node, NEXT)
  }
  return needed
}

function movePageLocked(mm: Mm, at: number, dst: number, src: number): number {
  const cells = cellsOf(mm.ownerCells)
  const data = dataOfLocked(mm, at, src)
  const node = rangeOfPinned(cells, at, src)
  const group = payloadOf(cells, treeAt(cells, at), node, GROUP)
  takeOut(cells, at, node, src, true)
  place(cells, at, dst, group, data, true)
  return 0
}

function endMoveLocked({ ownerCells }: Mm, at: number, pfn: number, reserved: number): number {
  const cells = cellsOf(ownerCells)
  cells[at + RESERVED] -= reserved
  const group = payloadOf(cells, treeAt(cells, at), rangeOfPinned(cells, at, pfn), GROUP)
  if (group !== 0) cells[groupCell(at, group, GROUP_MOVING)] = 0
  return 0
}
