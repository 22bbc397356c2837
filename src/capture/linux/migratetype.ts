/**
 * Migratetypes of the captured kernel, in its own numbering, as `truth.pageblock` values.
 *
 * The numbers depend on the kernel's configuration: ISOLATE is 4 where there is no CMA. /proc/pagetypeinfo lists the
 * names in the order of the numbers, so it is the translation.
 */

import { bad, ok, type Result } from '../../base/result.ts'
import {
  type Column,
  PAGEBLOCK_ABSENT,
  PAGEBLOCK_CMA,
  PAGEBLOCK_HIGHATOMIC,
  PAGEBLOCK_ISOLATE,
  PAGEBLOCK_MOVABLE,
  PAGEBLOCK_RECLAIMABLE,
  PAGEBLOCK_SKIP,
  PAGEBLOCK_TYPE_MASK,
  PAGEBLOCK_UNMOVABLE,
} from '../format/capture.ts'
import { columnOfBytes } from '../format/column.ts'
import { parsePagetypeinfo } from '../format/pagetypeinfo.ts'

const PAGEBLOCK_OF_NAME: ReadonlyMap<string, number> = new Map([
  ['Unmovable', PAGEBLOCK_UNMOVABLE],
  ['Movable', PAGEBLOCK_MOVABLE],
  ['Reclaimable', PAGEBLOCK_RECLAIMABLE],
  ['HighAtomic', PAGEBLOCK_HIGHATOMIC],
  ['CMA', PAGEBLOCK_CMA],
  ['Isolate', PAGEBLOCK_ISOLATE],
])

/**
 * The column of raw pageblock bytes: bits 0-2 the kernel's migratetype, bit 3 the skip hint, 255 absent.
 * A byte with one of `isolateMask`'s bits is isolated whatever its type (from 6.17 on that is a bit of its own).
 */
export function pageblockColumn(
  path: string,
  raw: Uint8Array,
  pagetypeinfo: string | undefined,
  isolateMask: number,
): Result<Column> {
  if (pagetypeinfo === undefined) {
    return bad(
      path,
      'pageblocks',
      'without pagetypeinfo the numbers of the migratetypes mean nothing',
      'leave out --truth',
    )
  }
  const info = parsePagetypeinfo(pagetypeinfo)
  if (!info.ok) return info
  const translated = new Uint8Array(raw.length)
  for (let block = 0; block < raw.length; block++) {
    const byte = raw[block]
    if (byte === PAGEBLOCK_ABSENT) {
      translated[block] = PAGEBLOCK_ABSENT
      continue
    }
    const name = info.value.types[byte & PAGEBLOCK_TYPE_MASK]
    const type = byte & isolateMask ? PAGEBLOCK_ISOLATE : PAGEBLOCK_OF_NAME.get(name ?? '')
    if (type === undefined || byte & ~(PAGEBLOCK_TYPE_MASK | PAGEBLOCK_SKIP | isolateMask)) {
      return bad(
        path,
        `byte ${block}`,
        `pageblock ${block} is ${byte}, no migratetype of this kernel`,
        'leave out --truth',
      )
    }
    translated[block] = type | (byte & PAGEBLOCK_SKIP)
  }
  return ok(columnOfBytes('pageblock', translated))
}
