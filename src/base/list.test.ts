/** List operations against arrays: any sequence of them gives what it gives on arrays. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  initList,
  isListed,
  type Links,
  listAdd,
  listAddTail,
  listDel,
  listEmpty,
  listFirst,
  listLast,
  listMoveTail,
  listNext,
  listSplice,
  listSpliceTail,
} from './list.ts'
import { listNodeOf } from './units.ts'

const NODES = 8
const heads = [listNodeOf(NODES), listNodeOf(NODES + 1), listNodeOf(NODES + 2)]

function emptyLists(): Links {
  const links = new Int32Array(2 * (NODES + heads.length))
  for (const head of heads) initList(links, head)
  return links
}

/** Nodes from first to last; asserts that backwards they are the same. */
function nodesOf(links: Links, head: number): number[] {
  const forward: number[] = []
  for (let node = links[2 * head]; node !== head; node = links[2 * node]) forward.push(node)
  const backward: number[] = []
  for (let node = links[2 * head + 1]; node !== head; node = links[2 * node + 1]) backward.push(node)
  expect(backward.toReversed()).toEqual(forward)
  return forward
}

test('any operations on three lists give what they give on three arrays', () => {
  const operation = fc.record({
    kind: fc.constantFrom('add', 'addTail', 'del', 'moveTail', 'splice', 'spliceTail'),
    node: fc.nat(NODES - 1),
    list: fc.nat(2),
    from: fc.nat(2),
  })
  const property = fc.property(fc.array(operation, { maxLength: 50 }), (operations) => {
    const links = emptyLists()
    const arrays: number[][] = [[], [], []]
    for (const { kind, node, list, from } of operations) {
      const on = arrays.findIndex((array) => array.includes(node))
      const head = heads[list]
      if (kind === 'add' && on < 0) {
        listAdd(links, node, head)
        arrays[list].unshift(node)
      } else if (kind === 'addTail' && on < 0) {
        listAddTail(links, node, head)
        arrays[list].push(node)
      } else if (kind === 'del' && on >= 0) {
        listDel(links, node)
        arrays[on].splice(arrays[on].indexOf(node), 1)
      } else if (kind === 'moveTail' && on >= 0) {
        listMoveTail(links, node, head)
        arrays[on].splice(arrays[on].indexOf(node), 1)
        arrays[list].push(node)
      } else if (kind === 'splice' && from !== list) {
        listSplice(links, heads[from], head)
        arrays[list].unshift(...arrays[from].splice(0))
      } else if (kind === 'spliceTail' && from !== list) {
        listSpliceTail(links, heads[from], head)
        arrays[list].push(...arrays[from].splice(0))
      }
      arrays.forEach((array, i) => {
        expect(nodesOf(links, heads[i])).toEqual(array)
        expect(listEmpty(links, heads[i])).toBe(array.length === 0)
        expect(listFirst(links, heads[i])).toBe(array.at(0) ?? heads[i])
        expect(listLast(links, heads[i])).toBe(array.at(-1) ?? heads[i])
      })
      for (let n = 0; n < NODES; n++) {
        expect(isListed(links, n)).toBe(arrays.some((array) => array.includes(n)))
      }
    }
  })
  fc.assert(property, { numRuns: 300 })
})

test('node 0 is a node like others: its neighbours tell that it is listed', () => {
  const links = emptyLists()
  listAdd(links, 0, heads[0])
  expect(isListed(links, 0)).toBe(true)
  expect(listNext(links, listNodeOf(0))).toBe(heads[0])
  listDel(links, 0)
  expect(isListed(links, 0)).toBe(false)
})
