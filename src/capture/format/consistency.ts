/**
 * Consistency: whether the parts of a capture speak of the same machine at the same moment.
 *
 * The parts are read one after the other while the machine runs, so free counts differ a little: that is
 * churn, and no concern of this file. What is: zones that one text has and another lacks, counts that churn
 * cannot explain, zones that overlap or lie outside the pages captured, and kernels built with other
 * orders than drover's engine has. Each is one line for a person; none means that the capture can be loaded.
 *
 * Not here: how far the flags are from buddyinfo (analyze measures it and reports it as churn).
 */

import type { InputError, Result } from '../../base/result.ts'
import { type BuddyinfoZone, freePagesOf, parseBuddyinfo } from './buddyinfo.ts'
import { type Capture, PAGES_PER_PAGEBLOCK, type TextName } from './capture.ts'
import { parsePagetypeinfo } from './pagetypeinfo.ts'
import { parseZoneinfo, type ZoneinfoZone } from './zoneinfo.ts'

/** Orders that the engine has: 0 to MAX_PAGE_ORDER 10. */
const ORDERS = 11

/**
 * Free pages that may come or go between the readings of two texts, as pages and as a part of the zone. The largest seen is
 * 7,085 pages, 6 % of their zone: the per-cpu lists were drained between two readings.
 */
const CHURN_PAGES = 4096
const CHURN_PART = 1 / 8

const CAPTURE_AGAIN = 'capture again, with all files of one machine read in one go'

/** Everything about `capture` that contradicts itself or cannot be loaded. Empty: consistent. */
export function checkConsistency(capture: Capture): readonly InputError[] {
  const errors: InputError[] = []
  const take = <T>(name: TextName, parse: (text: string) => Result<T>): T | undefined => {
    const text = capture.texts.get(name)
    if (text === undefined) return undefined
    const parsed = parse(text)
    if (parsed.ok) return parsed.value
    errors.push(parsed.error)
    return undefined
  }
  const zoneinfo = take('zoneinfo', parseZoneinfo)
  const buddyinfo = take('buddyinfo', parseBuddyinfo)
  const pagetypeinfo = take('pagetypeinfo', parsePagetypeinfo)

  if (zoneinfo) {
    errors.push(...zoneinfo.zones.flatMap((zone) => checkZone(zone, capture.pfnCount)))
    errors.push(...checkOverlaps(zoneinfo.zones))
  }
  if (buddyinfo && buddyinfo[0].freeBlocksByOrder.length !== ORDERS) {
    errors.push({
      where: 'buddyinfo',
      at: 'line 1',
      what: `${buddyinfo[0].freeBlocksByOrder.length} orders; drover knows kernels with ${ORDERS}`,
      todo: 'use a capture of a kernel with MAX_PAGE_ORDER 10',
    })
  }
  if (pagetypeinfo && pagetypeinfo.pagesPerBlock !== PAGES_PER_PAGEBLOCK) {
    errors.push({
      where: 'pagetypeinfo',
      at: 'Pages per block',
      what: `${pagetypeinfo.pagesPerBlock} pages a pageblock; drover knows kernels with ${PAGES_PER_PAGEBLOCK}`,
      todo: 'use a capture of a machine with 4 KiB pages and 2 MiB pageblocks',
    })
  }
  if (zoneinfo && buddyinfo) errors.push(...compareZones(zoneinfo.zones, buddyinfo))
  return errors
}

function checkZone(zone: ZoneinfoZone, pfnCount: number): InputError[] {
  const errors: InputError[] = []
  const wrong = (what: string, todo = CAPTURE_AGAIN): void => {
    errors.push({ where: 'zoneinfo', at: nameOf(zone), what, todo })
  }
  if (zone.managed > zone.present) wrong(`${zone.managed} managed pages of ${zone.present} present`)
  if (zone.present > zone.spanned) wrong(`${zone.present} present pages in a span of ${zone.spanned}`)
  if (zone.free > zone.managed) wrong(`${zone.free} free pages of ${zone.managed} managed`)
  const end = zone.startPfn + zone.spanned
  if (zone.spanned > 0 && end > pfnCount) {
    wrong(`the zone ends at pfn ${end}, and ${pfnCount} pages were captured`)
  }
  return errors
}

function checkOverlaps(zones: readonly ZoneinfoZone[]): InputError[] {
  const populated = zones.filter((zone) => zone.present > 0).sort((a, b) => a.startPfn - b.startPfn)
  const errors: InputError[] = []
  for (const [at, zone] of populated.entries()) {
    const next = populated[at + 1]
    if (next && next.startPfn < zone.startPfn + zone.spanned) {
      errors.push({
        where: 'zoneinfo',
        at: `${nameOf(zone)} and ${nameOf(next)}`,
        what: `the zones overlap from pfn ${next.startPfn}, so that /proc does not tell whose those pages are`,
        todo: 'use a capture of a machine whose memory was not hot-plugged into several zones',
      })
    }
  }
  return errors
}

function compareZones(zones: readonly ZoneinfoZone[], buddyinfo: readonly BuddyinfoZone[]): InputError[] {
  const errors: InputError[] = []
  for (const zone of zones) {
    const buddy = buddyinfo.find(({ node, name }) => node === zone.node && name === zone.name)
    if (!buddy) {
      if (zone.present > 0) errors.push(onlyIn('zoneinfo', 'buddyinfo', zone))
      continue
    }
    const difference = Math.abs(freePagesOf(buddy) - zone.free)
    if (difference > Math.max(CHURN_PAGES, zone.managed * CHURN_PART)) {
      errors.push({
        where: 'zoneinfo and buddyinfo',
        at: nameOf(zone),
        what: `${zone.free} free pages in one and ${freePagesOf(buddy)} in the other: more than can come and go between two readings`,
        todo: CAPTURE_AGAIN,
      })
    }
  }
  for (const buddy of buddyinfo) {
    const zone = zones.find(({ node, name }) => node === buddy.node && name === buddy.name)
    if (!zone || zone.present === 0) errors.push(onlyIn('buddyinfo', 'zoneinfo', buddy))
  }
  return errors
}

const onlyIn = (
  having: string,
  lacking: string,
  zone: { readonly node: number; readonly name: string },
): InputError => ({
  where: `${having} and ${lacking}`,
  at: nameOf(zone),
  what: `a zone with memory in ${having} that ${lacking} does not have`,
  todo: CAPTURE_AGAIN,
})

const nameOf = (zone: { readonly node: number; readonly name: string }): string =>
  `node ${zone.node}, zone ${zone.name}`
