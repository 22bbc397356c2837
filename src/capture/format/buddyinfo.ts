/**
 * /proc/buddyinfo: free blocks by order, of every zone that has memory.
 *
 * @kernel mm/vmstat.c frag_show_print() v6.18
 */

import { bad, ok, type Result } from '../../base/result.ts'
import { type Nid, nidOf } from '../../base/units.ts'

export interface BuddyinfoZone {
  readonly node: Nid
  readonly name: string
  /** Free blocks of order 0, 1, …: 11 numbers unless the kernel was built with another MAX_PAGE_ORDER. */
  readonly freeBlocksByOrder: readonly number[]
}

const ZONE = /^Node +(\d+), zone +(\S+)((?: +\d+)+) *$/

/** The zones of a /proc/buddyinfo text, in its order. */
export function parseBuddyinfo(text: string): Result<readonly BuddyinfoZone[]> {
  const zones: BuddyinfoZone[] = []
  for (const [at, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const match = ZONE.exec(line)
    if (!match) return notBuddyinfo(at + 1, 'not a line of buddyinfo')
    const freeBlocksByOrder = match[3].trim().split(/ +/).map(Number)
    if (zones.length > 0 && zones[0].freeBlocksByOrder.length !== freeBlocksByOrder.length) {
      return notBuddyinfo(
        at + 1,
        `${freeBlocksByOrder.length} orders, where the first zone has another number`,
      )
    }
    const node = nidOf(Number(match[1]))
    if (zones.some((zone) => zone.node === node && zone.name === match[2])) {
      return notBuddyinfo(at + 1, `node ${node}, zone ${match[2]} occurs twice`)
    }
    zones.push({ node, name: match[2], freeBlocksByOrder })
  }
  return zones.length === 0 ? notBuddyinfo(1, 'no zone') : ok(zones)
}

/** Pages in the free blocks of a zone. */
export const freePagesOf = (zone: BuddyinfoZone): number =>
  zone.freeBlocksByOrder.reduce((pages, blocks, order) => pages + blocks * 2 ** order, 0)

const notBuddyinfo = (line: number, what: string): Result<never> =>
  bad('buddyinfo', `line ${line}`, what, 'capture again, with /proc/buddyinfo read whole')
