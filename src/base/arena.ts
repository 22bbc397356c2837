/**
 * The arena: all mutable state of a machine, as columns of 32-bit cells in one buffer.
 *
 * Snapshot, restore, hash, diff and transfer to a worker are one call each, because there is nothing
 * else to save. Columns are `Int32Array` views bound once.
 *
 * Rules:
 *   - the set of columns is fixed when the arena is made; nothing grows;
 *   - no other mutable state anywhere: not in closures, module variables or class fields.
 */

import { assert } from './assert.ts'
import { hashCells } from './hash.ts'

/** Columns by name, with their lengths in cells. */
export type ArenaPlan = Readonly<Record<string, number>>

export class Arena {
  /** The one buffer. Its length is the sum of all columns, 4 bytes a cell. */
  readonly buffer: ArrayBuffer
  private readonly columns: ReadonlyMap<string, Int32Array>

  /** Makes an arena of zeroed columns. Throws AssertionError on a length that is no whole number >= 0. */
  constructor(plan: ArenaPlan) {
    let cells = 0
    for (const length of Object.values(plan)) {
      assert(Number.isSafeInteger(length) && length >= 0, 'arena: a column length is a whole number')
      cells += length
    }
    this.buffer = new ArrayBuffer(cells * 4)
    const columns = new Map<string, Int32Array>()
    let offset = 0
    for (const [name, length] of Object.entries(plan)) {
      columns.set(name, new Int32Array(this.buffer, offset, length))
      offset += length * 4
    }
    this.columns = columns
  }

  /** The column of that name. Throws AssertionError if the plan had none. */
  column(name: string): Int32Array {
    const column = this.columns.get(name)
    assert(column !== undefined, 'arena: no column of that name')
    return column
  }

  /** Bytes of all columns. */
  get bytes(): number {
    return this.buffer.byteLength
  }

  /** A copy of the whole state. */
  snapshot(): ArrayBuffer {
    return this.buffer.slice(0)
  }

  /** Puts the whole state back. Throws AssertionError unless `snapshot` is of an arena of this size. */
  restore(snapshot: ArrayBuffer): void {
    assert(snapshot.byteLength === this.buffer.byteLength, 'arena: a snapshot of another arena')
    new Int32Array(this.buffer).set(new Int32Array(snapshot))
  }

  /** 32-bit hash of the whole state: equal states, equal hashes. */
  hash(): number {
    return hashCells(new Int32Array(this.buffer))
  }

  /** Names of the columns that differ from `snapshot`, each with its first differing index. */
  diff(snapshot: ArrayBuffer): { column: string; index: number }[] {
    assert(snapshot.byteLength === this.buffer.byteLength, 'arena: a snapshot of another arena')
    const found: { column: string; index: number }[] = []
    for (const [name, column] of this.columns) {
      const then = new Int32Array(snapshot, column.byteOffset, column.length)
      const index = column.findIndex((value, i) => value !== then[i])
      if (index >= 0) found.push({ column: name, index })
    }
    return found
  }
}
