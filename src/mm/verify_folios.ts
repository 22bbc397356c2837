/**
 * What holds of pages in use: LRU lists, ptes and chains, cache and swap slots, the hugetlb pool, compound pages, references. Sentences of
 * verify.ts.
 *
 * @ours
 */

import { cellsOf, nidOf, type Pfn, pfnOf, slotOf, type Vpn, vpnOf, zoneIdOf } from '../base/units.ts'
import { HUGETLB } from './hugetlb_pool.ts'
import { COMPOUND_TAIL, PG_head, PG_lru, PG_private } from './limits.ts'
import { folioLruList } from './lru.ts'
import { folioMapping, folioPages, isAnonMapping, type Mm, NR_LRU_LISTS } from './page.ts'
import { isPresentPte, isSwapPte, ptePfn, pteSlot } from './rmap.ts'
import { isSwapSlot } from './swap.ts'
import { countPagesWith, firstFinding, pagesWith, walk, wrong } from './verify_lists.ts'

// The LRU.

/** A folio has PG_lru if and only if it is on the LRU list of its node that its flags name. */
export function everyLruFolioIsOnItsList(mm: Mm): string | undefined {
  const listed = new Uint8Array(mm.pfnCount)
  const broken = firstFinding(mm.nodes * NR_LRU_LISTS, (i) => {
    const nid = Math.floor(i / NR_LRU_LISTS)
    return walk(mm, mm.lruList(nid, i % NR_LRU_LISTS), (node) => {
      const pfn = pfnOf(node)
      listed[node] = 1
      if ((mm.flags[pfn] & PG_lru) === 0) return wrong(node, 'it is on an LRU list without PG_lru')
      if (mm.zoneNode[mm.zoneOf(pfn)] !== nid) return wrong(node, 'it is on an LRU list of another node')
      return folioLruList(mm.flags[pfn]) === i % NR_LRU_LISTS
        ? undefined
        : wrong(node, 'it is on another LRU list than its flags name')
    })
  })
  if (broken !== undefined) return broken
  const lost = pagesWith(mm.flags, PG_lru).find((pfn) => listed[pfn] === 0)
  return lost === undefined ? undefined : wrong(lost, 'it has PG_lru and is on no LRU list')
}

/** `nrLru` is the number of pages of each zone in the folios on each LRU list of its node. */
export function lruCountsMatchTheLists(mm: Mm): string | undefined {
  const pages = new Int32Array(mm.zones * NR_LRU_LISTS)
  firstFinding(mm.nodes * NR_LRU_LISTS, (i) =>
    walk(mm, mm.lruList(Math.floor(i / NR_LRU_LISTS), i % NR_LRU_LISTS), (node) => {
      const pfn = pfnOf(node)
      pages[mm.zoneOf(pfn) * NR_LRU_LISTS + (i % NR_LRU_LISTS)] += folioPages(mm.flags[pfn])
      return undefined
    }),
  )
  return firstFinding(pages.length, (i) => {
    const zone = zoneIdOf(Math.floor(i / NR_LRU_LISTS))
    if (pages[i] === mm.nrLru[i]) return undefined
    const what = `its zone counts ${mm.nrLru[i]} pages on LRU list ${i % NR_LRU_LISTS}, the list has ${pages[i]}`
    return wrong(mm.zoneStart[zone], what)
  })
}

// Mappings.

/** A page's mapcount is the number of ptes that are present and map it; a page with a page type has none. */
export function everyPresentPteIsCountedInItsPage(mm: Mm): string | undefined {
  const { pfnCount } = mm
  const ptes = new Int32Array(pfnCount)
  for (const vpn of usedPtes(mm)) if (isPresentPte(mm.pte[vpn])) ptes[ptePfn(mm.pte[vpn])]++
  const mapcount = cellsOf(mm.mapcount)
  for (let i = 0; i < pfnCount; i++) {
    const counted = mapcount[i] < 0 ? 0 : mapcount[i]
    if (counted !== ptes[i]) return wrong(i, `its mapcount is ${counted}, and ${ptes[i]} ptes map it`)
  }
  return undefined
}

/** Every pte that names a page is in the chain of that page, once, and chains have no other. */
export function rmapChainsMatchPtes(mm: Mm): string | undefined {
  const { rmap, pte, pteNext } = mm
  const chained = new Uint8Array(pte.length)
  for (const pfn of pagesWith(rmap, -1)) {
    for (let vpn = vpnOf(rmap[pfn]); vpn !== 0; vpn = vpnOf(pteNext[vpn])) {
      if (chained[vpn] === 1) return wrong(pfn, `vpn ${vpn} is in two chains, or twice in one`)
      chained[vpn] = 1
      if (pte[vpn] === 0 || isSwapPte(pte[vpn]) || ptePfn(pte[vpn]) !== pfn)
        return wrong(pfn, `vpn ${vpn} is in its chain and does not map it`)
    }
  }
  const unchained = usedPtes(mm).find((vpn) => !isSwapPte(pte[vpn]) && chained[vpn] === 0)
  return unchained === undefined
    ? undefined
    : wrong(ptePfn(pte[unchained]), `vpn ${unchained} names it and is not in its chain`)
}

/** Ptes that are not empty. */
function usedPtes(mm: Mm): Vpn[] {
  const cells = cellsOf(mm.pte)
  const found: Vpn[] = []
  for (let i = 0; i < cells.length; i++) if (cells[i] !== 0) found.push(vpnOf(i))
  return found
}

/** A folio of an address space is in the slot that it names, and what is in a slot names it. */
export function everyCachedFolioIsInItsSlot(mm: Mm): string | undefined {
  const { cache, mapping, private: slot } = mm
  for (const pfn of pagesWith(mapping, -1)) {
    if (!isInUse(mm, pfn) || mappingOf(mm, pfn) === 0) continue
    if (cache[slotOf(slot[pfn])] !== pfn) return wrong(pfn, 'its slot does not hold it')
  }
  const slots = cellsOf(cache)
  for (let i = 0; i < slots.length; i++) {
    if (slots[i] === 0) continue
    const pfn = pfnOf(slots[i])
    if (!isInUse(mm, pfn) || mappingOf(mm, pfn) === 0)
      return wrong(pfn, `slot ${i} holds it, and it is not cached`)
    if (slot[pfn] !== i) return wrong(pfn, `slot ${i} holds it, and it names another`)
  }
  return undefined
}

// Swap.

/** A swap slot counts the ptes whose page is swapped out there, and the swap cache as one if it has the page too. */
export function swapMapCountsItsUsers(mm: Mm): string | undefined {
  if (mm.swapSlots === 0) return undefined
  const { pte, cache } = mm
  const users = new Int32Array(cache.length)
  for (let vpn = vpnOf(0); vpn < pte.length; vpn = vpnOf(vpn + 1)) {
    if (!isSwapPte(pte[vpn])) continue
    const slot = pteSlot(pte[vpn])
    if (slot >= cache.length || !isSwapSlot(mm, slot))
      return `vpn ${vpn} is swapped out to a slot that is not of swap`
    users[slot]++
  }
  return firstFinding(mm.swapSlots, (i) => {
    const slot = slotOf(mm.swapStart + i)
    if (cache[slot] !== 0) users[slot]++
    return users[slot] === mm.swapMap[slot]
      ? undefined
      : `swap slot ${slot} counts ${mm.swapMap[slot]} users and has ${users[slot]}`
  })
}

/** `swapFree` is the number of swap slots that nobody uses. */
export function freeSwapSlotsAreCounted(mm: Mm): string | undefined {
  let free = 0
  for (let i = 0; i < mm.swapSlots; i++) if (mm.swapMap[slotOf(mm.swapStart + i)] === 0) free++
  const counted = mm.swapFree[nidOf(0)]
  return free === counted ? undefined : `${counted} swap slots are counted as free, and ${free} are`
}

/** A page that somebody may have mapped or cached: referenced, or frozen for a moment; no tail, no driver's. */
const isInUse = (mm: Mm, pfn: Pfn): boolean => mm.mapcount[pfn] >= 0 && (mm.flags[pfn] & COMPOUND_TAIL) === 0

const mappingOf = (mm: Mm, pfn: Pfn): number => folioMapping(mm.flags[pfn], mm.mapping[pfn])

// Folios.

/** Every tail names the head that it is a tail of, and behind a head there are as many tails as its order says. */
export function tailsNameTheirHead(mm: Mm): string | undefined {
  const tails = new Uint8Array(mm.pfnCount)
  countPagesWith(mm.flags, COMPOUND_TAIL, tails)
  for (const pfn of pagesWith(mm.flags, PG_head)) {
    const found = badHead(mm, pfn)
    if (found !== undefined) return found
    tails.fill(0, pfn + 1, pfn + folioPages(mm.flags[pfn]))
  }
  const stray = tails.indexOf(1)
  return stray < 0 ? undefined : wrong(stray, 'it is a tail, and what it names is not its head')
}

function badHead(mm: Mm, pfn: Pfn): string | undefined {
  const pages = folioPages(mm.flags[pfn])
  if (pages === 1 || pfn % pages !== 0) return wrong(pfn, 'it is a head of an impossible order')
  const flags = cellsOf(mm.flags)
  const heads = cellsOf(mm.private)
  const isTail = COMPOUND_TAIL
  for (let tail = pfn + 1; tail < pfn + pages; tail++) {
    if ((flags[tail] & isTail) === 0) return wrong(tail, 'it lies in a compound page and is no tail')
    if (heads[tail] !== pfn) return wrong(tail, 'it is a tail, and what it names is not its head')
  }
  return undefined
}

/** A folio has a reference for each mapping, for each page in a cache, and for its buffers. */
export function referencesAreAtLeastMappingsAndCache(mm: Mm): string | undefined {
  const { refcount, flags, mapping, mapcount } = mm
  for (const pfn of pagesWith(refcount, -1)) {
    if (!isInUse(mm, pfn)) continue
    const pages = folioPages(flags[pfn])
    let accounted = mappingOf(mm, pfn) === 0 ? 0 : pages
    if (!isAnonMapping(mapping[pfn]) && mapping[pfn] !== 0 && (flags[pfn] & PG_private) !== 0) accounted++
    for (let page = pfn; page < pfn + pages; page = pfnOf(page + 1)) accounted += Math.max(mapcount[page], 0)
    if (refcount[pfn] < accounted)
      return wrong(pfn, `it has ${refcount[pfn]} references, and ${accounted} are accounted for`)
  }
  return undefined
}

// The hugetlb pool.

/** A page on a list of the hugetlb pool is free, of its type and of that node; the pool counts them, and no more than it has. */
export function hugetlbCountsMatchTheLists(mm: Mm): string | undefined {
  return firstFinding(mm.nodes, (i) => {
    const nid = nidOf(i)
    let pages = 0
    const broken = walk(mm, mm.hugetlbList(nid), (node) => {
      const pfn = pfnOf(node)
      pages++
      if (mm.mapcount[pfn] !== HUGETLB || mm.refcount[pfn] !== 0)
        return wrong(node, 'it is on a list of the hugetlb pool and not free in it')
      return mm.zoneNode[mm.zoneOf(pfn)] === i
        ? undefined
        : wrong(node, 'it is on the list of another node of the hugetlb pool')
    })
    if (broken !== undefined) return broken
    const [nr, free, surplus] = [mm.nrHugePages[nid], mm.freeHugePages[nid], mm.surplusHugePages[nid]]
    if (pages !== free) return `the hugetlb pool of node ${i} counts ${free} free pages, its list ${pages}`
    return free <= nr && surplus <= nr
      ? undefined
      : `the hugetlb pool of node ${i} has ${nr} pages, ${free} of them free and ${surplus} surplus`
  })
}
