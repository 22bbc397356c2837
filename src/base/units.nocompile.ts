/**
 * What units must not allow. Each line below `@ts-expect-error` fails to compile; were one accepted, the
 * comment itself would be an error. Nothing here runs.
 */

import type { Cpu } from './cpu.ts'
import type {
  MappingColumn,
  Order,
  Pageblock,
  Pfn,
  PfnColumn,
  Slot,
  SlotColumn,
  Vpn,
  VpnColumn,
} from './units.ts'
import { pfnOf, pfnPlus, vpnOf } from './units.ts'

/** Accepted: a column by its own unit, and a plain typed array as a column. */
export function allowed(cpu: Cpu, flags: PfnColumn, cells: Int32Array, pfn: Pfn): number {
  const column: PfnColumn = cells
  return flags[pfn] + column[pfnPlus(pfn, 1)] + cpu.load(flags, pfn) + cells[0]
}

export function refused(
  cpu: Cpu,
  flags: PfnColumn,
  pte: VpnColumn,
  owners: PfnColumn<Vpn>,
  units: { pfn: Pfn; vpn: Vpn; order: Order; block: Pageblock; slot: Slot },
): void {
  const { pfn, vpn, order, block, slot } = units
  // @ts-expect-error a column of pages by a plain number
  use(flags[3])
  // @ts-expect-error by an order
  use(flags[order])
  // @ts-expect-error by a virtual page
  use(flags[vpn])
  // @ts-expect-error by a pageblock
  use(flags[block])
  // @ts-expect-error a column of ptes by a page
  use(pte[pfn])
  // @ts-expect-error arithmetic gives back a plain number
  use(flags[pfn + 1])
  // @ts-expect-error a plain number is no page
  const page: Pfn = 7
  // @ts-expect-error a virtual page is no page
  const other: Pfn = vpn
  // @ts-expect-error a column of one unit is none of another
  const wrong: VpnColumn = flags
  // @ts-expect-error nor of a third
  const slots: SlotColumn = pte
  // @ts-expect-error nor of a fourth
  const mappings: MappingColumn = slots
  // @ts-expect-error the values of a column may have a unit too
  owners[pfn] = 7
  owners[pfn] = vpn
  // @ts-expect-error a cpu reads a column by its own unit
  cpu.load(flags, vpn)
  // @ts-expect-error and not by a plain number
  cpu.store(pte, 7, 0)
  // @ts-expect-error the same for locks
  cpu.lock(flags, slot, 1)
  // @ts-expect-error only pages are added to
  pfnPlus(vpnOf(1), 1)
  // @ts-expect-error a unit is made from a number, not from text
  pfnOf('7')
  use(page, other, wrong, mappings)
}

declare function use(...values: readonly unknown[]): void
