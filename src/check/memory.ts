/**
 * The cells of a system, and a view of its state in which every access to a cell can be seen.
 *
 * A cell is known by its place in its buffer, so that two views of the same memory are the same cell. Cells
 * get numbers as they are first touched. The *view* is the state with every `Int32Array` replaced by a proxy:
 * tasks, sections and properties run on it, and `access` decides what their reads and writes mean.
 *
 * Rules:
 *   - a cell's column is the first field of the state in which it was found: its name, or its path where another
 *     column has that name;
 *   - only indexing and `length` work on a column of the view: what tasks, sections and properties do.
 */

import { assert } from '../base/assert.ts'

/** Number of a cell: dense, in the order of first use. */
export type Cell = number

/** What a read or write of the view means at the moment. */
export interface Access {
  read(cell: Cell): number
  write(cell: Cell, value: number): void
}

export interface CellInfo {
  readonly column: string
  readonly index: number
  readonly initial: number
}

interface Column {
  readonly name: string
  readonly array: Int32Array
  /** Number of the buffer, times 2^32. */
  readonly base: number
}

/** Below this many cells a checker can hold a system. */
export const CELLS_MAX = 4096

const BUFFER_SPAN = 2 ** 32

export class Memory<S extends object> {
  /** The state, seen through `access`. */
  readonly view: S
  readonly cells: CellInfo[] = []
  access: Access = OUT_OF_REACH
  private readonly columns = new Map<Int32Array, Column>()
  private readonly byAddress = new Map<number, Cell>()
  private readonly buffers = new Map<ArrayBufferLike, number>()

  constructor(state: S) {
    this.view = this.shadow(state, new Map(), '')
  }

  /** A column beside the state: cells of the checker's own. */
  addColumn(name: string, length: number): Int32Array {
    const array = new Int32Array(length)
    const buffer = this.buffers.size
    this.buffers.set(array.buffer, buffer)
    this.columns.set(array, { name, array, base: buffer * BUFFER_SPAN })
    return array
  }

  /** The cell at `index` of a column of the view or of the state. */
  cellOf(array: Int32Array, index: number): Cell {
    const column = this.columns.get(array)
    assert(column !== undefined, 'check: the cells belong to the state of the system')
    return this.at(column, index)
  }

  /** The cell `index` of the column with that name, or -1 if there is none. */
  find(name: string, index: number): Cell {
    for (const column of this.columns.values()) {
      if (column.name === name) return index >= 0 && index < column.array.length ? this.at(column, index) : -1
    }
    return -1
  }

  /** `flags[3]` */
  nameOf(cell: Cell): string {
    const { column, index } = this.cells[cell]
    return `${column}[${index}]`
  }

  private at({ name, array, base }: Column, index: number): Cell {
    assert(
      Number.isInteger(index) && index >= 0 && index < array.length,
      'check: the index is one of the column',
    )
    const address = base + array.byteOffset / 4 + index
    const known = this.byAddress.get(address)
    if (known !== undefined) return known
    const cell = this.cells.length
    assert(cell < CELLS_MAX, 'check: a system has fewer than 4096 cells')
    this.cells.push({ column: name, index, initial: array[index] })
    this.byAddress.set(address, cell)
    return cell
  }

  /** A copy of the object with its columns replaced by proxies, and its objects by copies of the same kind. */
  private shadow<T extends object>(original: T, done: Map<object, object>, path: string): T {
    // oxlint-disable-next-line typescript/no-unsafe-assignment -- a new object of the same kind: Object.create is untyped
    const copy: T = Object.create(Reflect.getPrototypeOf(original))
    done.set(original, copy)
    for (const [name, value] of Object.entries(original)) {
      const field = this.shadowField(`${path}${name}`, value, done)
      Object.defineProperty(copy, name, { value: field, enumerable: true })
    }
    return copy
  }

  private shadowField(path: string, value: unknown, done: Map<object, object>): unknown {
    if (value instanceof Int32Array) return this.proxyOf(path, value, done)
    if (!isRecord(value)) return value
    return done.get(value) ?? this.shadow(value, done, `${path}.`)
  }

  private proxyOf(path: string, array: Int32Array, done: Map<object, object>): object {
    const known = done.get(array)
    if (known !== undefined) return known
    const last = path.split('.').at(-1) ?? path
    const name = [...this.columns.values()].some((column) => column.name === last) ? path : last
    const buffer = this.buffers.get(array.buffer) ?? this.buffers.size
    this.buffers.set(array.buffer, buffer)
    const column: Column = { name, array, base: buffer * BUFFER_SPAN }
    const proxy = new Proxy(array, {
      get: (target, key) => {
        if (key === 'length') return target.length
        const index = indexOf(key)
        if (index >= 0 && index < target.length) return this.access.read(this.at(column, index))
        assert(
          typeof key === 'symbol' || !(key in target),
          'check: a column of the view has an index and a length, and nothing else',
        )
        return undefined
      },
      set: (target, key, value) => {
        const index = indexOf(key)
        assert(index >= 0 && index < target.length, 'check: a cell is written by its index')
        this.access.write(this.at(column, index), Number(value) | 0)
        return true
      },
    })
    done.set(array, proxy)
    this.columns.set(array, column)
    this.columns.set(proxy, column)
    return proxy
  }
}

/** Nothing runs, so nothing may touch a cell. */
const OUT_OF_REACH: Access = {
  read: () => assertRunning(),
  write: () => assertRunning(),
}

function assertRunning(): never {
  assert(false, 'check: the view is used by what the checker runs only')
}

/** Objects whose fields may hold columns: records and instances of classes, not arrays, maps or buffers. */
function isRecord(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return !(
    value instanceof Map ||
    value instanceof Set ||
    value instanceof ArrayBuffer ||
    ArrayBuffer.isView(value)
  )
}

function indexOf(key: string | symbol): number {
  const index = typeof key === 'string' ? Number(key) : -1
  return Number.isInteger(index) ? index : -1
}
