/**
 * Values of a machine's cells in words, for counterexamples: `locked|lru` instead of 33.
 *
 * @ours
 */

import {
  PG_active,
  PG_dirty,
  PG_locked,
  PG_lru,
  PG_movable_ops_isolated,
  PG_private,
  PG_referenced,
  PG_swapbacked,
  PG_swapcache,
  PG_unevictable,
  PG_uptodate,
  PG_writeback,
  PGTY_buddy,
  PGTY_offline,
  PGTY_zsmalloc,
} from '../mm/limits.ts'
import { pageType } from '../mm/page.ts'
import { isPresentPte, isSwapPte, ptePfn, pteSlot } from '../mm/rmap.ts'

const COMMON: readonly (readonly [number, string])[] = [
  [PG_locked, 'locked'],
  [PG_writeback, 'writeback'],
  [PG_referenced, 'referenced'],
  [PG_dirty, 'dirty'],
  [PG_lru, 'lru'],
  [PG_active, 'active'],
  [PG_private, 'private'],
  [PG_swapbacked, 'swapbacked'],
  [PG_swapcache, 'swapcache'],
  [PG_unevictable, 'unevictable'],
]
// The same bits mean other things for a driver's page.
const OF_LRU = [...COMMON, [PG_uptodate, 'uptodate'] as const]
const OF_DRIVER = [
  ...COMMON,
  [PG_uptodate, 'movable_ops'] as const,
  [PG_movable_ops_isolated, 'isolated'] as const,
]

const TYPE_NAMES = new Map([
  [PGTY_buddy, 'buddy'],
  [PGTY_offline, 'offline'],
  [PGTY_zsmalloc, 'zsmalloc'],
])

function flagsText(value: number, names: readonly (readonly [number, string])[]): string {
  if (value === 0) return '0'
  let left = value
  const found: string[] = []
  for (const [bit, name] of names) {
    if ((value & bit) === 0) continue
    found.push(name)
    left &= ~bit
  }
  if (left !== 0) found.push(`0x${(left >>> 0).toString(16)}`)
  return found.join('|')
}

function columnText(column: string, value: number): string {
  if (column === 'links') return '' // the section says what it does with its list
  if (column === 'mapcount' && value < 0)
    return TYPE_NAMES.get(pageType(value)) ?? `0x${(value >>> 0).toString(16)}`
  if (column === 'pte') {
    if (value === 0) return 'none'
    if (isSwapPte(value)) return `swapped out to ${pteSlot(value)}`
    return `${isPresentPte(value) ? 'page' : 'migration entry of'} ${ptePfn(value)}`
  }
  return String(value)
}

/** Values of a system whose pages are a driver's. */
export const driverText = (column: string, value: number): string =>
  column === 'flags' ? flagsText(value, OF_DRIVER) : columnText(column, value)

/** Values of a system whose pages are on the LRU. */
export const lruText = (column: string, value: number): string =>
  column === 'flags' ? flagsText(value, OF_LRU) : columnText(column, value)
