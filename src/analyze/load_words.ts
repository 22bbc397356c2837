/**
 * What the words of a capture mean to the engine, looked up once a word and not once a page.
 *
 * Not here: who owns a page (page_map.ts); what becomes of it (load_pages.ts).
 */

import { assert } from '../base/assert.ts'
import { mappingIdOf } from '../base/units.ts'
import type { Capture, Column } from '../capture/format/capture.ts'
import { mapDictionary } from '../capture/format/column.ts'
import {
  KPF_ACTIVE,
  KPF_ANON,
  KPF_DIRTY,
  KPF_LOCKED,
  KPF_MLOCKED,
  KPF_PRIVATE,
  KPF_REFERENCED,
  KPF_SWAPBACKED,
  KPF_SWAPCACHE,
  KPF_UNEVICTABLE,
  KPF_UPTODATE,
  KPF_WRITEBACK,
} from '../capture/format/kpageflags.ts'
import {
  PG_active,
  PG_dirty,
  PG_locked,
  PG_lru,
  PG_mlocked,
  PG_private,
  PG_referenced,
  PG_swapbacked,
  PG_swapcache,
  PG_unevictable,
  PG_uptodate,
  PG_writeback,
} from '../mm/limits.ts'
import { folioLruList } from '../mm/lru.ts'
import { ANON_MAPPING, fileMapping, MAPPING_FIRST_FILE } from '../mm/page.ts'
import { MOVABLE_LRU_OWNERS, OWNER_COUNT, OWNER_HUGE_FOLIO, OWNER_PINNED } from './classify.ts'
import type { PageMap } from './page_map.ts'

/** A set of owner classes in one word, so that the loop that asks every page needs no table. */
export const bitsOf = (owners: readonly number[]): number =>
  owners.reduce((bits, owner) => bits | (1 << owner), 0)
assert(OWNER_COUNT <= 32, 'load: an owner class is a bit of a word')

export const LRU_BITS = bitsOf([...MOVABLE_LRU_OWNERS, OWNER_PINNED, OWNER_HUGE_FOLIO])
export const isOnLru = (owner: number): boolean => ((LRU_BITS >>> owner) & 1) !== 0

/** Files of the capture are one address space: which file a page belongs to is not shown. */
const FILE_MAPPING = fileMapping(mappingIdOf(MAPPING_FIRST_FILE))

/** Bits of /proc/kpageflags that the engine has too. */
export const SAME_FLAGS: readonly (readonly [kpf: number, flag: number])[] = [
  [KPF_LOCKED, PG_locked],
  [KPF_REFERENCED, PG_referenced],
  [KPF_UPTODATE, PG_uptodate],
  [KPF_DIRTY, PG_dirty],
  [KPF_ACTIVE, PG_active],
  [KPF_WRITEBACK, PG_writeback],
  [KPF_SWAPCACHE, PG_swapcache],
  [KPF_SWAPBACKED, PG_swapbacked],
  [KPF_UNEVICTABLE, PG_unevictable],
  [KPF_MLOCKED, PG_mlocked],
  [KPF_PRIVATE, PG_private],
]

function engineFlags(low: number, high: number): number {
  let flags = 0
  for (const [kpf, flag] of SAME_FLAGS) {
    const set = kpf < 32 ? (low >>> kpf) & 1 : (high >>> (kpf - 32)) & 1
    if (set === 1) flags |= flag
  }
  return flags
}

/** What a flags word of an LRU folio means to the engine: `FACTS` cells a word. */
export const FACTS = 4
/** PG_* bits. */
export const FACT_FLAGS = 0
export const FACT_MAPPING = 1
/** LRU list. */
export const FACT_LIST = 2
/** References of a single page without its mappings: 0 not cached, 1 cached, 2 cached with buffers. */
export const FACT_REFERENCES = 3

/** Everything that the pass over the pages reads, looked up once a word. */
export interface Source {
  readonly map: PageMap
  readonly flagIndex: Uint8Array | Uint16Array
  /** `facts[word * FACTS + FACT_*]` */
  readonly facts: Int32Array
  /** Mapcounts by pfn as words, and by word. A capture without them maps nothing. */
  readonly countIndex: Uint8Array | Uint16Array
  readonly countOfWord: Int32Array
  /** Recorded references, if the capture has them. */
  readonly refIndex: Uint8Array | Uint16Array | undefined
  readonly refOfWord: Int32Array
}

export function sourceOf(map: PageMap, flags: Column, capture: Capture): Source {
  const count = capture.columns.get('mapcount')
  const refs = capture.columns.get('truth.refcount')
  return {
    map,
    flagIndex: flags.index,
    facts: factsOf(flags),
    countIndex: count?.index ?? new Uint8Array(capture.pfnCount),
    countOfWord:
      count === undefined ? new Int32Array(1) : mapDictionary(count, (low, high) => (high === 0 ? low : 0)),
    refIndex: refs?.index,
    refOfWord: refs === undefined ? new Int32Array(1) : mapDictionary(refs, (low) => low),
  }
}

function factsOf({ dictionaryLow, dictionaryHigh }: Column): Int32Array {
  const facts = new Int32Array(FACTS * dictionaryLow.length)
  for (let word = 0; word < dictionaryLow.length; word++) {
    const flags = engineFlags(dictionaryLow[word], dictionaryHigh[word])
    const isAnon = ((dictionaryLow[word] >>> KPF_ANON) & 1) === 1
    const at = FACTS * word
    facts[at + FACT_FLAGS] = flags | PG_lru
    facts[at + FACT_MAPPING] = isAnon ? ANON_MAPPING : FILE_MAPPING
    facts[at + FACT_LIST] = folioLruList(flags)
    if (isAnon) facts[at + FACT_REFERENCES] = (flags & PG_swapcache) === 0 ? 0 : 1
    else facts[at + FACT_REFERENCES] = (flags & PG_private) === 0 ? 1 : 2
  }
  return facts
}
