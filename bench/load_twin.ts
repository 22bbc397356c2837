/**
 * What the C twin of load.bench.ts reads of a capture: native/load.c has the same list from the other side.
 *
 * The twin does what costs time, with every page; what costs little and takes much to say is given to it: what each
 * word means, the migratetypes of the pageblocks, which pages are holes, the arena outside of what pages have.
 */

import { renameSync, writeFileSync } from 'node:fs'
import {
  OWNER_BALLOON,
  OWNER_COUNT,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_HUGETLB,
  OWNER_KERNEL,
  OWNER_OFFLINE,
  OWNER_PCP,
  OWNER_PGTABLE,
  OWNER_SLAB,
  OWNER_UNINITIALISED,
  OWNER_UNTYPED,
  OWNER_ZSMALLOC,
} from '../src/analyze/classify.ts'
import type { Prepared } from '../src/analyze/load.ts'
import { isOnLru } from '../src/analyze/load_words.ts'
import { isMovableType } from '../src/analyze/pageblock_types.ts'
import { type Cells, cellsOf, pcpIdOf } from '../src/base/units.ts'
import { type Capture, type Column, PAGES_PER_PAGEBLOCK } from '../src/capture/format/capture.ts'
import { mapDictionary } from '../src/capture/format/column.ts'
import { PGTY_hugetlb, PGTY_offline, PGTY_slab, PGTY_table, pageTypeValue } from '../src/mm/limits.ts'
import type { Mm } from '../src/mm/page.ts'

/** Writes the twin's input of a capture whose machine is laid out. Throws if it has what the twin cannot do. */
export function writeTwinInput(path: string, capture: Capture, prepared: Prepared): void {
  const { mm, source } = prepared
  const { map } = source
  if (map.inferred.pinsVisible || map.traits.zsmalloc === 'bare' || map.traits.zsmalloc === 'mapcount')
    throw new Error('the twin cannot load such a capture')
  const cgroup = capture.columns.get('cgroup')
  const arrays = [
    layoutOf(mm),
    zonesOf(prepared),
    Int32Array.from(map.words.owner),
    Int32Array.from(map.words.attributes),
    source.facts,
    source.countOfWord,
    cgroup === undefined
      ? new Int32Array(1)
      : mapDictionary(cgroup, (low, high) => ((low | high) === 0 ? 0 : 1)),
    Int32Array.from({ length: OWNER_COUNT }, (_, owner) => kindOf(owner)),
    Int32Array.from({ length: OWNER_COUNT }, (_, owner) => mapcountOf(owner)),
    new Int32Array(mm.arena.buffer, restOf(mm) * 4),
    holesOf(prepared),
    blocksOf(prepared),
    bytesOf(source.flagIndex),
    bytesOf(source.countIndex),
    cgroup === undefined ? new Uint8Array(capture.pfnCount) : bytesOf(cgroup.index),
  ]
  const parts = arrays.flatMap((array) => [
    Int32Array.of(array.length),
    array,
    new Uint8Array(-array.byteLength & 3),
  ])
  const whole = Buffer.concat(
    parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength)),
  )
  writeFileSync(`${path}.new`, whole)
  renameSync(`${path}.new`, path)
}

function bytesOf(index: Column['index']): Uint8Array {
  if (index instanceof Uint8Array) return index
  throw new Error('the twin has 256 words at most')
}

const startOf = <I extends number>(column: Cells<I>): number => cellsOf(column).byteOffset / 4

/** First cell behind what pages have: ptes and slots are the last of it. */
const restOf = (mm: Mm): number => startOf(mm.cache) + mm.cache.length

/** `struct layout`. */
const layoutOf = (mm: Mm): Int32Array =>
  Int32Array.of(
    mm.pfnCount,
    mm.arena.bytes / 4,
    startOf(mm.flags),
    startOf(mm.refcount),
    startOf(mm.mapcount),
    startOf(mm.mapping),
    startOf(mm.private),
    startOf(mm.rmap),
    startOf(mm.links),
    mm.links.length / 2,
    startOf(mm.pte),
    startOf(mm.pteNext),
    startOf(mm.cache),
    restOf(mm),
    startOf(mm.pageblock),
    startOf(mm.nrFreeBlocks),
    startOf(mm.nrLru),
    startOf(mm.nrFree),
    startOf(mm.nrFreeCma),
    startOf(mm.nrFreeHighatomic),
    startOf(mm.pcpCount),
    mm.cpus,
    mm.lruList(0, 0),
    mm.freeList(0, 0, 0),
    mm.pcpList(pcpIdOf(0), 0),
    mm.pte.length,
    mm.cache.length,
  )

/** Of each zone: first pfn, first pfn behind it, node, pages on the per-cpu lists of each cpu. */
function zonesOf({ mm, source, zones }: Prepared): Int32Array {
  return Int32Array.from(
    source.map.zones.flatMap(({ node, start, end }, zone) => [
      start,
      end,
      node,
      ...Array.from({ length: mm.cpus }, (_, cpu) => zones[zone].pagesets[cpu]?.count ?? 0),
    ]),
  )
}

const IS_ABSENT = 0
const IS_FREE = 1
const IS_PCP = 2
const IS_LRU = 3
const IS_IN_USE = 4
const IS_NOT_PORTED = 5

function kindOf(owner: number): number {
  if (owner === OWNER_HOLE || owner === OWNER_UNINITIALISED) return IS_ABSENT
  if (owner === OWNER_FREE) return IS_FREE
  if (owner === OWNER_PCP) return IS_PCP
  if (owner === OWNER_ZSMALLOC || owner === OWNER_BALLOON) return IS_NOT_PORTED
  return isOnLru(owner) ? IS_LRU : IS_IN_USE
}

function mapcountOf(owner: number): number {
  if (owner === OWNER_SLAB) return pageTypeValue(PGTY_slab)
  if (owner === OWNER_PGTABLE) return pageTypeValue(PGTY_table)
  if (owner === OWNER_HUGETLB) return pageTypeValue(PGTY_hugetlb)
  return owner === OWNER_OFFLINE ? pageTypeValue(PGTY_offline) : 0
}

/** Runs of pages that are holes, or not initialised, though their word does not say so: first, behind the last, owner. */
function holesOf({ source: { map, flagIndex } }: Prepared): Int32Array {
  const runs: number[] = []
  for (const { start, end } of map.zones) {
    for (let pfn = start; pfn < end; pfn++) {
      const owner = map.owner[pfn]
      if (kindOf(owner) !== IS_ABSENT || map.words.owner[flagIndex[pfn]] === owner) continue
      if (runs.at(-2) === pfn && runs.at(-1) === owner) runs[runs.length - 2]++
      else runs.push(pfn, pfn + 1, owner)
    }
  }
  return Int32Array.from(runs)
}

/** Type of each pageblock; UNMOVABLE for a movable one whose untyped pages are not taken for per-cpu free. */
function blocksOf({ source: { map, flagIndex } }: Prepared): Int32Array {
  return Int32Array.from(map.types.type, (type, block) => {
    const first = block * PAGES_PER_PAGEBLOCK
    const isKept =
      map.words.owner[flagIndex[first]] === OWNER_UNTYPED &&
      (map.owner[first] === OWNER_UNTYPED || map.owner[first] === OWNER_KERNEL)
    return isMovableType(type) && isKept ? 0 : type
  })
}
