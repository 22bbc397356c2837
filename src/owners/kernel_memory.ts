/**
 * The kernel's own memory, which cannot move: slabs, page tables, stacks and the rest; and a seeded source of such
 * allocations, with lifetimes.
 *
 * A block is known by a handle: a number into a table in the owner's cells, which has its page, its kind, and when it is
 * due. Handles that are not used are on a chain; those of blocks that are due are on the chains of a wheel
 * (`kernelTick`). There are no operations: whoever wants such a page to move is refused, as in the kernel.
 *
 * Where the figures of `KERNEL_KINDS` come from: capture mixed45 of a machine with 24 GiB, Linux 6.18 under load
 * (its maps before and after, 1.67 s apart):
 *   | blocks                         | in use    | gone within 1.67 s | mean life = in use * 1.67 s / gone |
 *   |--------------------------------|-----------|--------------------|------------------------------------|
 *   | slab, orders 0, 1, 2, 3        | 122,055, 10,756, 41,037, 211 (309,435 pages) | 88 pages | 5,872 s  |
 *   | page tables                    | 9,551     | 11                 | 1,450 s                            |
 *   | stacks of 16 KiB               | 159       | -                  | as page tables: both go with a task |
 *   | other kernel pages (anon50)    | 2,539     | -                  | as slab                            |
 * Of slab pages 89.5 % are reclaimable (nr_slab_reclaimable, nr_slab_unreclaimable).
 *
 * A block lives t seconds or longer with probability shortest / t: the law that lifetimes of processes follow (exponent
 * near 1), cut off at `LIFE_MAX`. So half of the blocks live less than twice the shortest life, and one of a thousand
 * a thousand times as long: short-lived and long-lived ones in one law. `shortest` makes the mean that of the table:
 * mean = shortest * (1 + ln(LIFE_MAX / shortest)). `arrivals` are in use / mean life, so that what is in use at a time has
 * the capture's proportions.
 *
 * A typical sequence is:
 *   const kernel = createKernelMemory(mm, place, { handles: 1000 })
 *   const handle = kernelAlloc(cpu, mm, kernel, kind, nid)
 *   kernelFree(cpu, mm, kernel, handle)
 *   for (…) kernelTick(cpu, mm, kernel, prng, blocksPerTick, nid)     // a second each
 *
 * Rules:
 *   - table, chains and counts change under (O); a handle is its caller's until it is freed;
 *   - `kernelTick` is one task's: nobody frees a handle that it has made.
 *
 * Not here: what two maps cannot show (blocks that live less than a second, such as network buffers); slabs that empty
 * under pressure: nothing frees a block but its user; stacks in vmalloc space, whose pages are single.
 *
 * @paper Harchol-Balter and Downey, Exploiting Process Lifetime Distributions for Dynamic Load Balancing, 1997; Varghese
 *        and Lauck, Hashed and Hierarchical Timing Wheels, 1987
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import type { Prng } from '../base/prng.ts'
import { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../base/units.ts'
import { __GFP_RECLAIMABLE, GFP_KERNEL, type Gfp } from '../mm/gfp.ts'
import { ENOENT, ENOMEM, PGTY_slab, PGTY_table, pageTypeValue } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { folioPages, type Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { allocPages } from '../mm/slowpath.ts'
import type { OwnerPlace } from './place.ts'

/** A kind of allocation. */
export interface KernelKind {
  readonly name: string
  readonly order: number
  readonly gfp: Gfp
  /** Page type of the block; 0: none. */
  readonly pgty: number
  /** How often it is allocated, beside the others. */
  readonly arrivals: number
  /** Shortest life, in seconds. */
  readonly shortest: number
}

const slab = (order: number, reclaimable: boolean, arrivals: number): KernelKind => ({
  name: `${reclaimable ? 'reclaimable' : 'unmovable'} slab, order ${order}`,
  order,
  gfp: reclaimable ? GFP_KERNEL | __GFP_RECLAIMABLE : GFP_KERNEL,
  pgty: PGTY_slab,
  arrivals,
  shortest: 707,
})

export const KERNEL_KINDS: readonly KernelKind[] = [
  slab(0, true, 18_603),
  slab(1, true, 1639),
  slab(2, true, 6255),
  slab(3, true, 32),
  slab(0, false, 2183),
  slab(1, false, 192),
  slab(2, false, 734),
  slab(3, false, 4),
  { name: 'page table', order: 0, gfp: GFP_KERNEL, pgty: PGTY_table, arrivals: 6587, shortest: 147 },
  { name: 'stack', order: 2, gfp: GFP_KERNEL, pgty: 0, arrivals: 110, shortest: 147 },
  { name: 'other', order: 0, gfp: GFP_KERNEL, pgty: 0, arrivals: 432, shortest: 707 },
]

/** No block lives longer, in seconds: twelve days. */
export const LIFE_MAX = 1 << 20

const ARRIVALS = KERNEL_KINDS.reduce((sum, { arrivals }) => sum + arrivals, 0)

/** The kernel's memory of a machine. */
export interface KernelMemory {
  readonly handles: number
  /** First of its cells, which is its lock. */
  readonly cell: OwnerCell
}

// Its cells: the lock, the first handle that is not used, the time, pages by kind, the wheel, and the table.
const FREE = 1 // chains hold handle + 1; 0: their end
const NOW = 2
const PAGES = 3
const WHEEL = PAGES + KERNEL_KINDS.length
const SPOKES = 256
const TABLE = WHEEL + SPOKES
// An entry of the table.
const PFN = 0 // 0: not used
const KIND = 1
const DUE = 2
const NEXT = 3 // on a chain
const ENTRY_CELLS = 4

/** Cells that it needs. It needs no list. */
export const kernelMemoryCells = (handles: number): number => TABLE + handles * ENTRY_CELLS

/** Makes it, with no allocations. Throws AssertionError if there are too few cells. */
export function createKernelMemory(
  mm: Mm,
  place: OwnerPlace,
  { handles }: { handles: number },
): KernelMemory {
  assert(
    place.cell + kernelMemoryCells(handles) <= mm.ownerCells.length,
    'kernel_memory: the arena has cells for these handles',
  )
  const kernel: KernelMemory = { handles, cell: ownerCellOf(place.cell) }
  for (let handle = 0; handle < handles; handle++) {
    mm.ownerCells[entryCell(kernel.cell, handle, NEXT)] = handle + 1 < handles ? handle + 2 : 0
  }
  mm.ownerCells[ownerCellOf(kernel.cell + FREE)] = handles > 0 ? 1 : 0
  return kernel
}

const entryCell = (cell: number, handle: number, field: number): OwnerCell =>
  ownerCellOf(cell + TABLE + handle * ENTRY_CELLS + field)

/** Pages of a kind that are in use. */
export const kernelPages = (mm: Mm, { cell }: KernelMemory, kind: number): number =>
  mm.ownerCells[ownerCellOf(cell + PAGES + kind)]

/** First page of a block; 0 if there is no such block. */
export const kernelBlock = (mm: Mm, { cell }: KernelMemory, handle: number): Pfn =>
  pfnOf(mm.ownerCells[entryCell(cell, handle, PFN)])

/**
 * Allocates a block of a kind: its handle.
 *
 * @locks   what allocating does; takes and drops (O)
 * @sleeps  if the allocation does
 * @errors  -ENOMEM: there is no memory, or no handle. Nothing has changed.
 */
export function kernelAlloc(cpu: Cpu, mm: Mm, { cell }: KernelMemory, kind: number, nid: number): number {
  const { gfp, order, pgty } = KERNEL_KINDS[kind]
  const got = allocPages(cpu, mm, gfp, order, nid)
  if (got < 0) return -ENOMEM
  const pfn = pfnOf(got)
  if (pgty !== 0) cpu.store(mm.mapcount, pfn, pageTypeValue(pgty))
  const handle = cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, takeHandleLocked, mm, pfn, kind, cell)
  if (handle < 0) putPage(cpu, mm, pfn)
  return handle
}

/**
 * Frees a block.
 *
 * @locks   takes and drops (O)
 * @errors  -ENOENT: there is no such block
 */
export function kernelFree(cpu: Cpu, mm: Mm, { cell, handles }: KernelMemory, handle: number): number {
  assert(handle >= 0 && handle < handles, 'kernel_memory: a handle of this memory')
  const pfn = cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, giveHandleLocked, mm, handle, cell, 0)
  if (pfn === 0) return -ENOENT
  putPage(cpu, mm, pfnOf(pfn))
  return 0
}

// A load.

/**
 * A second passes: what is due is freed, then up to `blocks` blocks are allocated whose kinds and lifetimes `prng`
 * draws. Gives how many were.
 */
export function kernelTick(
  cpu: Cpu,
  mm: Mm,
  kernel: KernelMemory,
  prng: Prng,
  blocks: number,
  nid: number,
): number {
  const { cell } = kernel
  let due = cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, takeDueLocked, mm, cell, 0, 0)
  // Bounded by the handles: each round frees one.
  while (due !== 0) {
    const handle = due - 1
    due = cpu.load(mm.ownerCells, entryCell(cell, handle, NEXT))
    const rc = kernelFree(cpu, mm, kernel, handle)
    assert(rc === 0, 'kernel_memory: what is due is there')
  }
  for (let done = 0; done < blocks; done++) {
    const kind = drawKind(prng)
    const handle = kernelAlloc(cpu, mm, kernel, kind, nid)
    if (handle < 0) return done
    const life = drawLife(prng, KERNEL_KINDS[kind].shortest)
    cpu.atomically(mm.ownerCells, cell, SPIN_LOCKED, setDueLocked, mm, handle, life, cell)
  }
  return blocks
}

/** A kind, as often as it arrives. */
export function drawKind(prng: Prng): number {
  let left = prng.below(ARRIVALS)
  for (let kind = 0; kind < KERNEL_KINDS.length; kind++) {
    left -= KERNEL_KINDS[kind].arrivals
    if (left < 0) return kind
  }
  return KERNEL_KINDS.length - 1
}

/** A lifetime in seconds: t or longer with probability shortest / t. One division, the same on every machine. */
export function drawLife(prng: Prng, shortest: number): number {
  return Math.min(Math.floor((shortest * 0x1_0000_0000) / (prng.next() + 1)), LIFE_MAX)
}

// Sections under the lock (O).

function takeHandleLocked(mm: Mm, pfn: number, kind: number, cell: number): number {
  const cells = mm.ownerCells
  const free = ownerCellOf(cell + FREE)
  const handle = cells[free] - 1
  if (handle < 0) return -ENOMEM
  cells[free] = cells[entryCell(cell, handle, NEXT)]
  cells[entryCell(cell, handle, PFN)] = pfn
  cells[entryCell(cell, handle, KIND)] = kind
  cells[entryCell(cell, handle, NEXT)] = 0
  cells[ownerCellOf(cell + PAGES + kind)] += folioPages(mm.flags[pfnOf(pfn)])
  return handle
}

/** The page of a handle, which is not used from here on. */
function giveHandleLocked(mm: Mm, handle: number, cell: number): number {
  const cells = mm.ownerCells
  const pfn = cells[entryCell(cell, handle, PFN)]
  if (pfn === 0) return 0
  const kind = cells[entryCell(cell, handle, KIND)]
  cells[ownerCellOf(cell + PAGES + kind)] -= folioPages(mm.flags[pfnOf(pfn)])
  cells[entryCell(cell, handle, PFN)] = 0
  cells[entryCell(cell, handle, DUE)] = 0
  cells[entryCell(cell, handle, NEXT)] = cells[ownerCellOf(cell + FREE)]
  cells[ownerCellOf(cell + FREE)] = handle + 1
  return pfn
}

function setDueLocked(mm: Mm, handle: number, life: number, cell: number): number {
  const cells = mm.ownerCells
  const due = cells[ownerCellOf(cell + NOW)] + life
  const spoke = ownerCellOf(cell + WHEEL + (due % SPOKES))
  cells[entryCell(cell, handle, DUE)] = due
  cells[entryCell(cell, handle, NEXT)] = cells[spoke]
  cells[spoke] = handle + 1
  return 0
}

/** The clock goes on by one. The chain of what is due now; what shares its spoke and is due later stays. */
function takeDueLocked(mm: Mm, cell: number): number {
  const cells = mm.ownerCells
  const now = ++cells[ownerCellOf(cell + NOW)]
  const spoke = ownerCellOf(cell + WHEEL + (now % SPOKES))
  let [at, due, stays] = [cells[spoke], 0, 0]
  // Bounded by the handles: each round takes one off the chain.
  while (at !== 0) {
    const next = entryCell(cell, at - 1, NEXT)
    const after = cells[next]
    const isDue = cells[entryCell(cell, at - 1, DUE)] <= now
    cells[next] = isDue ? due : stays
    if (isDue) due = at
    else stays = at
    at = after
  }
  cells[spoke] = stays
  return due
}

// What holds.

/** What is wrong with the table and its counts, or undefined. Reads directly: nothing may run meanwhile. */
export function kernelMemoryFault(mm: Mm, kernel: KernelMemory): string | undefined {
  const { cell, handles } = kernel
  const pages = KERNEL_KINDS.map(() => 0)
  const seen = new Set<number>()
  let used = 0
  for (let handle = 0; handle < handles; handle++) {
    const pfn = kernelBlock(mm, kernel, handle)
    if (pfn === 0) continue
    used++
    const kind = mm.ownerCells[entryCell(cell, handle, KIND)]
    if (seen.has(pfn)) return `page ${pfn} has two handles`
    seen.add(pfn)
    if (mm.refcount[pfn] !== 1) return `page ${pfn} has ${mm.refcount[pfn]} references`
    if (folioPages(mm.flags[pfn]) !== 1 << KERNEL_KINDS[kind].order) return `page ${pfn} is of another order`
    pages[kind] += folioPages(mm.flags[pfn])
  }
  const wrong = pages.findIndex((count, kind) => count !== kernelPages(mm, kernel, kind))
  if (wrong >= 0)
    return `it counts ${kernelPages(mm, kernel, wrong)} pages of kind ${wrong} and has ${pages[wrong]}`
  let unused = 0
  for (let at = mm.ownerCells[ownerCellOf(cell + FREE)]; at !== 0 && unused <= handles; unused++) {
    at = mm.ownerCells[entryCell(cell, at - 1, NEXT)]
  }
  return used + unused === handles
    ? undefined
    : `${used} handles are used and ${unused} are not, of ${handles}`
}
