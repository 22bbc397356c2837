/**
 * The page cache and the swap cache: which folio a slot of a mapping holds.
 *
 * A slot stands for one index of one address space; `private` of a cached folio names its slot, and the
 * cache holds one reference a page. A slot changes under (I) of its mapping, together with a freeze of
 * the folio's references, so that nobody gains a reference through the old slot meanwhile.
 *
 * @kernel mm/filemap.c v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type MappingId, mappingIdOf, type Pfn, pfnOf, type Slot, slotOf } from '../base/units.ts'
import { PG_locked, PG_swapcache } from './limits.ts'
import { AS_LOCKED, fileMapping, folioMapping, folioPages, MAPPING_SWAP, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'

/**
 * Puts a folio into an empty slot of a file. Takes one reference a page.
 *
 * @locks   needs (L); takes and drops (I)
 * @kernel  mm/filemap.c filemap_add_folio() v6.18
 */
export function filemapAddFolio(cpu: Cpu, mm: Mm, pfn: Pfn, mapping: MappingId, slot: Slot): void {
  const pages = folioPages(cpu.load(mm.flags, pfn))
  cpu.lock(mm.mappingFlags, mapping, AS_LOCKED)
  assert(cpu.load(mm.cache, slot) === 0, 'filemap: the slot is in use')
  cpu.store(mm.cache, slot, pfn)
  cpu.store(mm.mapping, pfn, fileMapping(mapping))
  cpu.store(mm.private, pfn, slot)
  cpu.unlock(mm.mappingFlags, mapping, AS_LOCKED)
  cpu.add(mm.refcount, pfn, pages)
}

/**
 * Takes a folio out of the page cache: it has no mapping any more. Drops the cache's references. False: it is
 * not in the page cache, because it was removed, or moved while the caller waited for it.
 *
 * @locks   takes and drops (L), then (I); the caller holds a reference, or knows that the folio is cached
 * @sleeps  for (L)
 * @kernel  mm/truncate.c truncate_inode_folio(), mm/filemap.c filemap_remove_folio() v6.18
 */
export function filemapRemoveFolio(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  cpu.lock(mm.flags, pfn, PG_locked)
  const flags = cpu.load(mm.flags, pfn)
  const mapping = folioMapping(flags, cpu.load(mm.mapping, pfn))
  assert(mapping !== MAPPING_SWAP, 'filemap: the swap cache has its own functions')
  if (mapping !== 0) {
    cpu.lock(mm.mappingFlags, mapping, AS_LOCKED)
    cpu.store(mm.cache, slotOf(cpu.load(mm.private, pfn)), 0)
    cpu.store(mm.private, pfn, 0)
    cpu.store(mm.mapping, pfn, 0)
    cpu.unlock(mm.mappingFlags, mapping, AS_LOCKED)
  }
  cpu.unlock(mm.flags, pfn, PG_locked)
  if (mapping === 0) return false
  cpu.add(mm.refcount, pfn, 1 - folioPages(flags))
  putPage(cpu, mm, pfn)
  return true
}

/** The swap cache. */
const SWAP = mappingIdOf(MAPPING_SWAP)

/**
 * Puts an anonymous folio into an empty slot of the swap cache. Takes one reference a page.
 *
 * @locks   needs (L); takes and drops (I)
 * @kernel  mm/swap_state.c add_to_swap_cache() v6.18
 */
export function addToSwapCache(cpu: Cpu, mm: Mm, pfn: Pfn, slot: Slot): void {
  const pages = folioPages(cpu.load(mm.flags, pfn))
  cpu.lock(mm.mappingFlags, SWAP, AS_LOCKED)
  assert(cpu.load(mm.cache, slot) === 0, 'swap cache: the slot is in use')
  cpu.store(mm.cache, slot, pfn)
  cpu.store(mm.private, pfn, slot)
  cpu.testSet(mm.flags, pfn, PG_swapcache)
  cpu.unlock(mm.mappingFlags, SWAP, AS_LOCKED)
  cpu.add(mm.refcount, pfn, pages)
}

/**
 * Takes an anonymous folio out of the swap cache and drops the cache's references. It stays anonymous. The
 * caller holds a reference.
 *
 * @locks   needs (L); takes and drops (I)
 * @kernel  mm/swap_state.c delete_from_swap_cache() v6.18
 */
export function deleteFromSwapCache(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.lock(mm.mappingFlags, SWAP, AS_LOCKED)
  cpu.store(mm.cache, slotOf(cpu.load(mm.private, pfn)), 0)
  cpu.store(mm.private, pfn, 0)
  cpu.testClear(mm.flags, pfn, PG_swapcache)
  cpu.unlock(mm.mappingFlags, SWAP, AS_LOCKED)
  cpu.add(mm.refcount, pfn, -folioPages(cpu.load(mm.flags, pfn)))
}

/**
 * The folio of a slot with a reference, or -1 if the slot is empty. Looks again if the folio was frozen
 * or moved meanwhile.
 *
 * @kernel mm/filemap.c filemap_get_entry() v6.18
 */
export function filemapGetFolio(cpu: Cpu, mm: Mm, slot: Slot): number {
  for (;;) {
    // Each round either returns or has seen the slot change or its folio frozen by a migration under way.
    cpu.at('filemap_get_folio', slot)
    const found = cpu.load(mm.cache, slot)
    if (found === 0) return -1
    const pfn = pfnOf(found)
    if (!cpu.addUnlessZero(mm.refcount, pfn)) continue
    if (cpu.load(mm.cache, slot) === found) return pfn
    putPage(cpu, mm, pfn)
  }
}
