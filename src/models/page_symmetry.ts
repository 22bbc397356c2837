/**
 * Pages that are alike: the permutation of a machine's cells that lets pages, and what belongs to them, change
 * places.
 *
 * A page's own cells move with it; list links, ptes and cache slots that name it name the other one afterwards.
 * Counters and lock words stay. The checker verifies that tasks do to one page what their partners do to the other.
 *
 * @ours
 */

import type { Symmetry } from '../check/system.ts'
import type { Mm } from '../mm/page.ts'

/** Numbers that change places: pairs of pages, of ptes, of cache slots, of an owner's cells. */
export interface Alike {
  readonly pages: readonly (readonly [number, number])[]
  readonly ptes?: readonly (readonly [number, number])[]
  readonly slots?: readonly (readonly [number, number])[]
  readonly ownerCells?: readonly (readonly [number, number])[]
}

const PAGE_COLUMNS = new Set(['flags', 'refcount', 'mapcount', 'mapping', 'private', 'rmap', 'content'])

/** Pages (and ptes, slots) of `mm` change places, and so do the tasks that are named. */
export function pageSymmetry(
  mm: Mm,
  { pages, ptes = [], slots = [], ownerCells = [] }: Alike,
  tasks: Readonly<Record<string, string>>,
): Symmetry {
  const page = exchange(pages)
  const pte = exchange(ptes)
  const slot = exchange(slots)
  const ownerCell = exchange(ownerCells)
  const node = (n: number): number => (n < mm.pfnCount ? page(n) : n)
  return {
    name: `pages ${pages.map(([a, b]) => `${a} and ${b}`).join(', ')}`,
    tasks,
    cell: (column, index) => {
      if (PAGE_COLUMNS.has(column)) return page(index)
      if (column === 'links') return 2 * node(index >>> 1) + (index & 1)
      if (column === 'pte' || column === 'pteNext') return pte(index)
      if (column === 'cache') return slot(index)
      return column === 'ownerCells' ? ownerCell(index) : index
    },
    value: (column, _, value) => {
      if (column === 'links') return node(value)
      if (column === 'pte') return (page(value >>> 2) << 2) | (value & 3)
      if (column === 'pteNext' || column === 'rmap') return pte(value)
      return column === 'cache' ? page(value) : value
    },
  }
}

function exchange(pairs: readonly (readonly [number, number])[]): (n: number) => number {
  const other = new Map(pairs.flatMap(([a, b]) => [[a, b] as const, [b, a] as const]))
  return (n) => other.get(n) ?? n
}
