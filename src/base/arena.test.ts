/** Snapshot, restore, hash and diff of an arena, and the hash itself. */

import { expect, test } from 'vitest'
import { Arena } from './arena.ts'
import { AssertionError } from './assert.ts'
import { hashCells } from './hash.ts'

const arena = (): Arena => new Arena({ flags: 4, none: 0, links: 8 })

test('columns share one buffer, in the order of the plan', () => {
  const { buffer, bytes } = arena()
  const same = arena()
  same.column('links')[0] = 7
  expect(new Int32Array(same.buffer)[4]).toBe(7)
  expect([buffer.byteLength, bytes, same.column('none').length]).toEqual([48, 48, 0])
})

test('a snapshot is the whole state, and restoring it undoes everything', () => {
  const state = arena()
  state.column('flags').fill(-1)
  const then = state.snapshot()
  const hash = state.hash()
  expect(state.diff(then)).toEqual([])
  state.column('flags')[2] = 5
  state.column('links')[7] = 1
  expect(state.diff(then)).toEqual([
    { column: 'flags', index: 2 },
    { column: 'links', index: 7 },
  ])
  expect(state.hash()).not.toBe(hash)
  state.restore(then)
  expect([state.hash(), state.diff(then)]).toEqual([hash, []])
  // The snapshot is a copy: what came after did not change it.
  expect(new Int32Array(then)[2]).toBe(-1)
})

test('what does not fit is a bug', () => {
  expect(() => new Arena({ flags: -1 })).toThrow(AssertionError)
  expect(() => new Arena({ flags: 1.5 })).toThrow(AssertionError)
  expect(() => arena().column('frags')).toThrow('arena: no column of that name')
  expect(() => arena().restore(new ArrayBuffer(4))).toThrow(AssertionError)
  expect(() => arena().diff(new ArrayBuffer(4))).toThrow(AssertionError)
})

test('the hash is the same on every machine and in every version', () => {
  expect(hashCells(new Int32Array(0))).toBe(0)
  // MurmurHash3 (x86_32, seed 0) with the length in cells where that has bytes.
  expect(hashCells(new Int32Array([0x87654321 | 0]))).toBe(2861086650)
  expect(hashCells(new Int32Array([1, 2, 3]))).toBe(1272988909)
})

test('the hash tells states apart that differ in one bit, in order, in length', () => {
  const cells = new Int32Array(64)
  const hashes = new Set([hashCells(cells)])
  for (let bit = 0; bit < 64 * 32; bit++) {
    cells[bit >> 5] = 1 << (bit & 31)
    hashes.add(hashCells(cells))
    cells[bit >> 5] = 0
  }
  for (let length = 0; length < 64; length++) hashes.add(hashCells(cells.subarray(0, length)))
  expect(hashes.size).toBe(1 + 64 * 32 + 64)
  expect(hashCells(new Int32Array([1, 2]))).not.toBe(hashCells(new Int32Array([2, 1])))
})
