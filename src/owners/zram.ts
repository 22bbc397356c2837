/**
 * zram: a block device in memory. A sector is a page of 4 KiB, kept compressed as an object of zsmalloc.
 *
 * What becomes of a page that is written:
 *   same    all its words are equal: the word is kept in the slot, nothing is stored
 *   huge    compressed it would be as large as the huge limit (zs_size_classes.ts), or larger: stored as it is, in a page
 *           of its own
 *   else    its LZ4 block is stored
 *
 * A typical sequence is:
 *   zram = createZram(mm, place, { disksize: 1024 })
 *   zramWrite(cpu, mm, zram, sector, page)     // 4096 bytes; what was there is freed when the new page is stored
 *   zramRead(cpu, mm, zram, sector, page)      // zeros where nothing was written
 *   zramFree(cpu, mm, zram, sector)            // discard, or the swap slot is free
 *   mmStat(cpu, mm, zram)                      // /sys/block/zram0/mm_stat
 *
 * A machine without `pageData` has no bytes to compress: zramStore() is then told how large a page would get. Sizes for
 * large simulations: compressed sizes of a real kernel's test data were uniform, see LAB_SIZES.
 *
 * What a failure leaves behind:
 *   | answer   | means                                         | slot                          |
 *   |----------|-----------------------------------------------|-------------------------------|
 *   | -EINVAL  | there is no such sector                       | –                             |
 *   | -ENOMEM  | no memory, no handle left, or above mem_limit | what was there before         |
 *   | -EIO     | its block is corrupt, or not of a whole page  | unchanged; others are as good |
 *
 * Rules:
 *   - a slot has a lock, which sleeps; the pool's (O) is taken under it. Pages are compressed and objects allocated
 *     before it is taken, and what the slot had is freed under the same lock that gives it the new object: freed before,
 *     two writers of one sector leak an object (fixed in v6.17);
 *   - the buffers of the device are scratch: nothing in them outlives a call. One task at a time may call into a device
 *     that has bytes.
 *
 * @kernel drivers/block/zram/zram_drv.c v6.18: zram_write_page(), zram_read_from_zspool(), zram_free_page(), mm_stat_show()
 */

import { assert } from '../base/assert.ts'
import { type Bytes, newBytes } from '../base/bytes.ts'
import type { Cpu } from '../base/cpu.ts'
import { cellsOf, type OwnerCell, ownerCellOf } from '../base/units.ts'
import { EINVAL, EIO, ENOMEM } from '../mm/limits.ts'
import type { Mm } from '../mm/page.ts'
import { LZ4_TABLE_ENTRIES, lz4Bound, lz4Compress, lz4Decompress } from './lz4.ts'
import type { OwnerPlace } from './place.ts'
import { poolCell, ZS_PAGES_COMPACTED, type ZsPool, type ZsPoolSpec, zsPoolCells } from './zs_pool.ts'
import { PAGE_SIZE } from './zs_size_classes.ts'
import { createZsPool, zsFree, zsMalloc, zsMapObject, zsTotalPages, zsUnmapObject } from './zsmalloc.ts'
import { byteAt, objOffset } from './zspage.ts'

/**
 * Compressed sizes of the pages with which real kernels were tried: evenly from `least` to `most` bytes. Concluded from
 * mm_stat of Linux 6.12 with LZ4 and chains of 8 pages (116,634 pages, 243,251,368 bytes, 9,043 of them huge): the mean
 * of the pages that are not huge and the share of those that are give both ends. It foretells what the same kernel said
 * of its memory after freeing 60 % and after zs_compact within 0.6 %, which is what zram.test.ts holds it to.
 */
export const LAB_SIZES = { least: 209, most: 3911 } as const

export interface ZramSpec extends Omit<ZsPoolSpec, 'objectsMax' | 'zspagesMax'> {
  /** Sectors. */
  readonly disksize: number
  /** The most pages that it may use; 0: no limit. */
  readonly limitPages?: number
  /** comp_algorithm. Default, and the only one there is: lz4. */
  readonly compAlgorithm?: string
}

/** A device: numbers that never change, and scratch. */
export interface Zram {
  readonly pool: ZsPool
  readonly disksize: number
  /** First cell of its own. */
  readonly first: number
  readonly limitPages: number
  readonly scratch: Scratch
}

/** Buffers for one call. */
interface Scratch {
  readonly page: Bytes
  readonly block: Bytes
  readonly table: Uint16Array
}

// Cells of the device.
const STORED = 0
/** Bytes of all objects: two cells, so that it can be more than 2 GiB. */
const COMPR_LOW = 1
const COMPR_HIGH = 2
const MAX_USED = 3
const SAME = 4
const HUGE = 5
const HUGE_SINCE = 6
const HEADER_CELLS = 7

// Cells of a slot.
const SLOT_CELLS = 3
/** ZRAM_* bits; size of the object above them. */
const SLOT_FLAGS = 0
/** Handle; the low half of the word of a page that is all the same. */
const SLOT_VALUE = 1
/** The high half of that word. */
const SLOT_HIGH = 2
const ZRAM_LOCKED = 1
const ZRAM_STORED = 2
const ZRAM_SAME = 4
const ZRAM_HUGE = 8
const SIZE_SHIFT = 4

/** The pool behind it: as many objects as sectors, and one for whoever writes while the old one is still there. */
const poolSpec = (spec: ZramSpec): ZsPoolSpec => ({ ...spec, objectsMax: spec.disksize + 1 })

/** Cells of `ownerCells` that a device needs. It needs no list. */
export const zramCells = (spec: ZramSpec): number =>
  HEADER_CELLS + spec.disksize * SLOT_CELLS + zsPoolCells(poolSpec(spec))

/** A device without a page. */
export function createZram(mm: Mm, place: OwnerPlace, spec: ZramSpec): Zram {
  const algorithm = spec.compAlgorithm ?? 'lz4'
  assert(algorithm === 'lz4', `zram: comp_algorithm ${algorithm} is not known; there is lz4`)
  const after = place.cell + HEADER_CELLS + spec.disksize * SLOT_CELLS
  return {
    pool: createZsPool(mm, { ...place, cell: after }, poolSpec(spec)),
    disksize: spec.disksize,
    first: place.cell,
    limitPages: spec.limitPages ?? 0,
    scratch: {
      page: newBytes(PAGE_SIZE),
      block: newBytes(lz4Bound(PAGE_SIZE)),
      table: new Uint16Array(LZ4_TABLE_ENTRIES),
    },
  }
}

/**
 * Writes a page of 4096 bytes.
 *
 * @locks   takes and drops the slot's lock, and under it what freeing an object does
 * @sleeps  for the slot's lock, and if memory has to be reclaimed
 * @errors  -EINVAL, -ENOMEM: what was there before is still there
 */
export function zramWrite(cpu: Cpu, mm: Mm, zram: Zram, sector: number, page: Uint8Array): number {
  assert(mm.pageData.length !== 0, 'zram: this machine has the bytes of its pages')
  assert(page.length === PAGE_SIZE, 'zram: a sector is a page')
  if (!isSector(zram, sector)) return -EINVAL
  const { scratch } = zram
  scratch.page.bytes.set(page)
  if (isSameFilled(scratch.page.view)) return storeSame(cpu, mm, zram, sector)
  return zramStore(cpu, mm, zram, sector, lz4Compress(scratch.page, scratch.block, scratch.table))
}

/**
 * Stores a page that compresses to `length` bytes: the block in the device's scratch, or no contents where the machine
 * has none.
 *
 * @locks, @sleeps, @errors as zramWrite()
 */
export function zramStore(cpu: Cpu, mm: Mm, zram: Zram, sector: number, length: number): number {
  if (!isSector(zram, sector)) return -EINVAL
  const { pool, scratch } = zram
  const huge = length >= pool.classes.hugeClassSize
  const size = huge ? PAGE_SIZE : length
  const handle = zsMalloc(cpu, mm, pool, size)
  if (handle < 0) return handle
  if (!mayStore(cpu, mm, zram)) {
    zsFree(cpu, mm, pool, handle)
    return -ENOMEM
  }
  if (mm.pageData.length !== 0) {
    const zspage = zsMapObject(cpu, mm, pool, handle)
    copyIn(mm, pool.zs, zspage, handle, huge ? scratch.page.bytes : scratch.block.bytes, size)
    zsUnmapObject(cpu, mm, pool, zspage)
  }
  const slot = lockSlot(cpu, mm, zram, sector)
  freeSlotLocked(cpu, mm, zram, slot)
  cpu.store(mm.ownerCells, valueOf(slot), handle)
  setFlags(cpu, mm, slot, ZRAM_STORED | (huge ? ZRAM_HUGE : 0) | (size << SIZE_SHIFT))
  unlockSlot(cpu, mm, slot)
  count(cpu, mm, zram, STORED, 1)
  countBytes(cpu, mm, zram, size)
  if (huge) {
    count(cpu, mm, zram, HUGE, 1)
    count(cpu, mm, zram, HUGE_SINCE, 1)
  }
  return 0
}

/** @kernel write_same_filled_page() */
function storeSame(cpu: Cpu, mm: Mm, zram: Zram, sector: number): number {
  const { view } = zram.scratch.page
  const slot = lockSlot(cpu, mm, zram, sector)
  freeSlotLocked(cpu, mm, zram, slot)
  cpu.store(mm.ownerCells, valueOf(slot), view.getInt32(0, true))
  cpu.store(mm.ownerCells, highOf(slot), view.getInt32(4, true))
  setFlags(cpu, mm, slot, ZRAM_STORED | ZRAM_SAME)
  unlockSlot(cpu, mm, slot)
  count(cpu, mm, zram, STORED, 1)
  count(cpu, mm, zram, SAME, 1)
  return 0
}

/**
 * Reads a sector into `page`.
 *
 * @locks   takes and drops the slot's lock
 * @sleeps  for it
 * @errors  -EINVAL; -EIO: the block is corrupt, `page` is as it was
 */
export function zramRead(cpu: Cpu, mm: Mm, zram: Zram, sector: number, page: Uint8Array): number {
  assert(page.length === PAGE_SIZE, 'zram: a sector is a page')
  if (!isSector(zram, sector)) return -EINVAL
  const slot = lockSlot(cpu, mm, zram, sector)
  const rc = readSlotLocked(cpu, mm, zram, slot)
  unlockSlot(cpu, mm, slot)
  if (rc === 0) page.set(zram.scratch.page.bytes)
  return rc
}

/** What a slot holds, to the scratch page. */
function readSlotLocked(cpu: Cpu, mm: Mm, zram: Zram, slot: number): number {
  const { pool, scratch } = zram
  const { bytes } = scratch.page
  const flags = cpu.load(mm.ownerCells, ownerCellOf(slot + SLOT_FLAGS))
  if ((flags & ZRAM_STORED) === 0) {
    bytes.fill(0)
    return 0
  }
  const value = cpu.load(mm.ownerCells, valueOf(slot))
  if ((flags & ZRAM_SAME) !== 0) {
    fillSame(scratch.page.view, value, cpu.load(mm.ownerCells, highOf(slot)))
    return 0
  }
  const size = flags >>> SIZE_SHIFT
  const zspage = zsMapObject(cpu, mm, pool, value)
  const got =
    (flags & ZRAM_HUGE) === 0
      ? decompress(mm, pool.zs, zspage, value, size, scratch)
      : copyOut(mm, pool.zs, zspage, value, bytes, PAGE_SIZE)
  zsUnmapObject(cpu, mm, pool, zspage)
  return got === PAGE_SIZE ? 0 : -EIO
}

/** Gives the bytes that an object decompresses to, or LZ4_CORRUPT. From where it lies, if that is one page. */
function decompress(
  mm: Mm,
  zs: number,
  zspage: number,
  handle: number,
  size: number,
  { page, block }: Scratch,
): number {
  const cells = cellsOf(mm.ownerCells)
  const from = byteAt(cells, zs, zspage, objOffset(cells, zs, zspage, handle))
  if ((from % PAGE_SIZE) + size <= PAGE_SIZE) return lz4Decompress(mm.pageBytes, from, size, page)
  copyOut(mm, zs, zspage, handle, block.bytes, size)
  return lz4Decompress(block, 0, size, page)
}

/**
 * Frees what a sector has; nothing if it has nothing.
 *
 * @locks  takes and drops the slot's lock, and under it what freeing an object does
 * @kernel zram_slot_free_notify(), discard
 */
export function zramFree(cpu: Cpu, mm: Mm, zram: Zram, sector: number): number {
  if (!isSector(zram, sector)) return -EINVAL
  const slot = lockSlot(cpu, mm, zram, sector)
  freeSlotLocked(cpu, mm, zram, slot)
  unlockSlot(cpu, mm, slot)
  return 0
}

/** @locks needs the slot's lock. @kernel zram_free_page() */
function freeSlotLocked(cpu: Cpu, mm: Mm, zram: Zram, slot: number): void {
  const flags = cpu.load(mm.ownerCells, ownerCellOf(slot + SLOT_FLAGS))
  if ((flags & ZRAM_STORED) === 0) return
  setFlags(cpu, mm, slot, 0)
  count(cpu, mm, zram, STORED, -1)
  if ((flags & ZRAM_SAME) !== 0) {
    count(cpu, mm, zram, SAME, -1)
    return
  }
  if ((flags & ZRAM_HUGE) !== 0) count(cpu, mm, zram, HUGE, -1)
  countBytes(cpu, mm, zram, -(flags >>> SIZE_SHIFT))
  zsFree(cpu, mm, zram.pool, cpu.load(mm.ownerCells, valueOf(slot)))
}

/** Handle of the object that a sector has; 0: it has none. A guess, for tests: the slot is not locked. */
export function zramHandleOf(cpu: Cpu, mm: Mm, zram: Zram, sector: number): number {
  const slot = zram.first + HEADER_CELLS + sector * SLOT_CELLS
  const flags = cpu.load(mm.ownerCells, ownerCellOf(slot + SLOT_FLAGS))
  return (flags & (ZRAM_STORED | ZRAM_SAME)) === ZRAM_STORED ? cpu.load(mm.ownerCells, valueOf(slot)) : 0
}

/** The nine figures of /sys/block/zram0/mm_stat, as numbers. */
export interface MmStat {
  readonly origDataSize: number
  readonly comprDataSize: number
  readonly memUsedTotal: number
  readonly memLimit: number
  readonly memUsedMax: number
  readonly samePages: number
  readonly pagesCompacted: number
  readonly hugePages: number
  readonly hugePagesSince: number
}

/** Sizes in bytes. */
export function mmStat(cpu: Cpu, mm: Mm, zram: Zram): MmStat {
  const of = (cell: number): number => cpu.load(mm.ownerCells, ownerCellOf(zram.first + cell))
  return {
    origDataSize: of(STORED) * PAGE_SIZE,
    comprDataSize: of(COMPR_HIGH) * COMPR_BASE + of(COMPR_LOW),
    memUsedTotal: zsTotalPages(cpu, mm, zram.pool) * PAGE_SIZE,
    memLimit: zram.limitPages * PAGE_SIZE,
    memUsedMax: of(MAX_USED) * PAGE_SIZE,
    samePages: of(SAME),
    pagesCompacted: cpu.load(mm.ownerCells, poolCell(zram.pool, ZS_PAGES_COMPACTED)),
    hugePages: of(HUGE),
    hugePagesSince: of(HUGE_SINCE),
  }
}

/** The line of /sys/block/zram0/mm_stat. @kernel mm_stat_show() v6.18 */
export const mmStatText = (stat: MmStat): string =>
  `${Object.values(stat)
    .map((value) => String(value).padStart(8))
    .join(' ')}\n`

const isSector = ({ disksize }: Zram, sector: number): boolean =>
  Number.isInteger(sector) && sector >= 0 && sector < disksize

/** False: with what is allocated now the device is above its limit. @kernel zram_can_store_page() */
function mayStore(cpu: Cpu, mm: Mm, zram: Zram): boolean {
  const pages = zsTotalPages(cpu, mm, zram.pool)
  const cell = ownerCellOf(zram.first + MAX_USED)
  cpu.atomically(mm.ownerCells, cell, 0, raiseTo, mm, cell, pages, 0)
  return zram.limitPages === 0 || pages <= zram.limitPages
}

// Slots.

/** Locks a slot and gives its first cell. @sleeps */
function lockSlot(cpu: Cpu, mm: Mm, zram: Zram, sector: number): number {
  const slot = zram.first + HEADER_CELLS + sector * SLOT_CELLS
  cpu.lock(mm.ownerCells, ownerCellOf(slot + SLOT_FLAGS), ZRAM_LOCKED)
  return slot
}

/** Pairs with lockSlot(). */
function unlockSlot(cpu: Cpu, mm: Mm, slot: number): void {
  cpu.unlock(mm.ownerCells, ownerCellOf(slot + SLOT_FLAGS), ZRAM_LOCKED)
}

/** Sets all but the lock, which the caller holds. */
function setFlags(cpu: Cpu, mm: Mm, slot: number, flags: number): void {
  cpu.store(mm.ownerCells, ownerCellOf(slot + SLOT_FLAGS), flags | ZRAM_LOCKED)
}

const valueOf = (slot: number): OwnerCell => ownerCellOf(slot + SLOT_VALUE)
const highOf = (slot: number): OwnerCell => ownerCellOf(slot + SLOT_HIGH)

// Counts: single steps, no lock.

const COMPR_BASE = 1 << 30

function count(cpu: Cpu, mm: Mm, zram: Zram, cell: number, more: number): void {
  cpu.add(mm.ownerCells, ownerCellOf(zram.first + cell), more)
}

function countBytes(cpu: Cpu, mm: Mm, zram: Zram, more: number): void {
  cpu.atomically(mm.ownerCells, ownerCellOf(zram.first + COMPR_LOW), 0, addBytes, mm, zram.first, more, 0)
}

/** One step: an addition to a number of two cells. */
function addBytes(mm: Mm, first: number, more: number): number {
  const cells = cellsOf(mm.ownerCells)
  const low = cells[first + COMPR_LOW] + more
  const carry = low < 0 ? -1 : low >= COMPR_BASE ? 1 : 0
  cells[first + COMPR_LOW] = low - carry * COMPR_BASE
  cells[first + COMPR_HIGH] += carry
  return 0
}

/** One step: the larger of the two stays. */
function raiseTo(mm: Mm, cell: number, value: number): number {
  const cells = cellsOf(mm.ownerCells)
  if (value > cells[cell]) cells[cell] = value
  return 0
}

// Bytes of an object that the caller has mapped. It spans two pages at most.

function copyIn(mm: Mm, zs: number, zspage: number, handle: number, from: Uint8Array, size: number): void {
  const cells = cellsOf(mm.ownerCells)
  const { bytes } = mm.pageBytes
  const offset = objOffset(cells, zs, zspage, handle)
  const first = Math.min(size, PAGE_SIZE - (offset % PAGE_SIZE))
  bytes.set(from.subarray(0, first), byteAt(cells, zs, zspage, offset))
  if (first < size) bytes.set(from.subarray(first, size), byteAt(cells, zs, zspage, offset + first))
}

/** Gives how many bytes it copied: all. */
function copyOut(mm: Mm, zs: number, zspage: number, handle: number, to: Uint8Array, size: number): number {
  const cells = cellsOf(mm.ownerCells)
  const { bytes } = mm.pageBytes
  const offset = objOffset(cells, zs, zspage, handle)
  const first = Math.min(size, PAGE_SIZE - (offset % PAGE_SIZE))
  const at = byteAt(cells, zs, zspage, offset)
  to.set(bytes.subarray(at, at + first), 0)
  if (first < size) {
    const rest = byteAt(cells, zs, zspage, offset + first)
    to.set(bytes.subarray(rest, rest + size - first), first)
  }
  return size
}

/** @kernel page_same_filled(): words of 64 bits */
function isSameFilled(view: DataView): boolean {
  const low = view.getInt32(0, true)
  const high = view.getInt32(4, true)
  // The last word first: where pages differ at all it often does.
  if (view.getInt32(PAGE_SIZE - 4, true) !== high) return false
  for (let at = 8; at < PAGE_SIZE; at += 8) {
    if (view.getInt32(at, true) !== low || view.getInt32(at + 4, true) !== high) return false
  }
  return true
}

function fillSame(view: DataView, low: number, high: number): void {
  for (let at = 0; at < PAGE_SIZE; at += 8) {
    view.setInt32(at, low, true)
    view.setInt32(at + 4, high, true)
  }
}
