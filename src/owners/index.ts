/**
 * The page owners: which there are, what each needs of a machine, and how one is made.
 *
 * An owner is one file here, its model, its tests, and one line below. Whoever sets a machine up gives each owner a
 * stretch of cells and lists and, if it wants them, address spaces (`placesOf`); mm knows none of them.
 *
 * @ours
 */

import { type MappingId, mappingIdOf, slotOf } from '../base/units.ts'
import { PGTY_guard } from '../mm/limits.ts'
import { MAPPING_FIRST_FILE, type Mm } from '../mm/page.ts'
import { aioRingCells, createAioRing } from './aio_ring.ts'
import { createGraphics, graphicsCells } from './graphics.ts'
import { createKernelMemory, kernelMemoryCells } from './kernel_memory.ts'
import { createPool, POOL_CELLS } from './page_pool.ts'
import { createPinpages, pinpageCells } from './pinpage.ts'
import type { OwnerPlace } from './place.ts'
import { createVirtioBalloons, virtioBalloonCells } from './virtio_balloon_driver.ts'
import { createZram, zramCells } from './zram.ts'

/** One kind of owner. */
export interface OwnerKind {
  readonly name: string
  /** Cells of `ownerCells`, owner lists and address spaces that one of it needs. */
  readonly cells: number
  readonly lists: number
  readonly mappings: number
  /** Makes one, of a size that is good for tests; `mapping` is the first of its address spaces. */
  readonly create: (mm: Mm, place: OwnerPlace, mapping: MappingId) => unknown
}

const RING_PAGES = 4
const zramSize = { disksize: 16 }
const KERNEL_HANDLES = 64
const graphicsSize = { buffers: 4, pagesMax: 8, movable: true }

export const OWNERS: readonly OwnerKind[] = [
  {
    name: 'page pool',
    cells: POOL_CELLS,
    lists: 1,
    mappings: 0,
    // Of a type that nobody else has here; a captured machine's pools have the types of their pages.
    create: (mm, { list }) => createPool(mm, PGTY_guard, 'pool', list),
  },
  {
    // No device is plugged in: each comes with its host.
    name: 'balloon',
    cells: virtioBalloonCells(0),
    lists: 0,
    mappings: 0,
    create: (mm, place) => createVirtioBalloons(mm, place, []),
  },
  {
    name: 'zram, on zsmalloc',
    cells: zramCells(zramSize),
    lists: 0,
    mappings: 0,
    create: (mm, place) => createZram(mm, place, zramSize),
  },
  {
    // No subsystem: each brings its callbacks.
    name: 'pin page control',
    cells: pinpageCells(0),
    lists: 0,
    mappings: 0,
    create: (mm, place) => createPinpages(mm, place, { systems: [] }),
  },
  {
    name: 'graphics',
    cells: graphicsCells(graphicsSize.buffers, graphicsSize.pagesMax),
    lists: 0,
    mappings: 1,
    create: (mm, place, mapping) => createGraphics(mm, place, { ...graphicsSize, mapping }),
  },
  {
    name: 'AIO ring',
    cells: aioRingCells(RING_PAGES),
    lists: 0,
    mappings: 1,
    create: (mm, place, mapping) =>
      createAioRing(mm, place, { mapping, firstSlot: slotOf(1), pagesMax: RING_PAGES, migrates: true }),
  },
  {
    name: 'kernel memory',
    cells: kernelMemoryCells(KERNEL_HANDLES),
    lists: 0,
    mappings: 0,
    create: (mm, place) => createKernelMemory(mm, place, { handles: KERNEL_HANDLES }),
  },
]

/** A place for one of each owner, one behind the other, and what the machine needs for all of them. */
export function placesOf(owners: readonly OwnerKind[]): {
  readonly places: readonly (OwnerPlace & { readonly mapping: MappingId })[]
  readonly ownerCells: number
  readonly mappings: number
} {
  const sum = (count: (owner: OwnerKind) => number, end: number): number =>
    owners.slice(0, end).reduce((total, owner) => total + count(owner), 0)
  return {
    places: owners.map((_, i) => ({
      cell: sum(({ cells }) => cells, i),
      list: sum(({ lists }) => lists, i),
      mapping: mappingIdOf(MAPPING_FIRST_FILE + sum(({ mappings }) => mappings, i)),
    })),
    ownerCells: sum(({ cells }) => cells, owners.length),
    mappings: sum(({ mappings }) => mappings, owners.length),
  }
}
