/**
 * /proc/kpageflags and /proc/kpagecount of an engine: the words that a kernel would show of its pages.
 *
 * The inverse of loading (load.ts), for what an engine keeps of a page: `KEPT_FLAGS`. Bits that say what the engine
 * has no notion of (IDLE, RESERVED, ZERO_PAGE, …) are never set.
 *
 * What differs by kernel version:
 *   - a tail shows the flags of its folio from 6.12 on; before, its own, of which there are none;
 *   - a driver's page that can move has PG_movable_ops, which is PG_uptodate, from 6.17 on; before, its mark is in
 *     `mapping` and does not show;
 *   - 6.12 shows KSM for every anonymous page, merged or not: it tests whether one of two bits of `mapping` is set,
 *     and one of them says anonymous. Pages that are merged are not known here, and show no KSM in 6.1 and 6.18;
 *   - where there is no memory, 6.1 and 6.12 say NOPAGE, and 6.18 says nothing.
 *
 * Rules:
 *   - two cells a page, the low half first: the bytes of the array are the bytes of the file;
 *   - nothing runs meanwhile, and nothing here changes the machine.
 *
 * @kernel fs/proc/page.c stable_page_flags(), kpagecount_read() v6.1, v6.12, v6.18; spec I-1
 */

import { type Pfn, pageblockAt, pfnOf } from '../base/units.ts'
import {
  highMask,
  KPF_ANON,
  KPF_BUDDY,
  KPF_COMPOUND_HEAD,
  KPF_COMPOUND_TAIL,
  KPF_HUGE,
  KPF_HWPOISON,
  KPF_KSM,
  KPF_LRU,
  KPF_MMAP,
  KPF_NOPAGE,
  KPF_OFFLINE,
  KPF_OWNER_PRIVATE,
  KPF_PGTABLE,
  KPF_RECLAIM,
  KPF_SLAB,
  KPF_THP,
  lowMask,
} from '../capture/format/kpageflags.ts'
import {
  PG_head,
  PG_hwpoison,
  PG_lru,
  PG_movable_ops,
  PG_reclaim,
  PG_swapcache,
  PGTY_hugetlb,
  PGTY_offline,
  PGTY_slab,
  PGTY_table,
  pageblock_order,
} from '../mm/limits.ts'
import { buddyOrder, folioPages, isAnonMapping, isBuddy, type Mm, PB_ABSENT, pageType } from '../mm/page.ts'
import { SAME_FLAGS } from './load_words.ts'

/** Bits of PG_* and of kpageflags words that mean the same. */
const COPIED: readonly (readonly [kpf: number, flag: number])[] = [
  ...SAME_FLAGS,
  [KPF_LRU, PG_lru],
  [KPF_RECLAIM, PG_reclaim],
  [KPF_COMPOUND_HEAD, PG_head],
  // One bit in the kernel: the word shows it under both names.
  [KPF_OWNER_PRIVATE, PG_swapcache],
  [KPF_HWPOISON, PG_hwpoison],
]

const KEPT = [
  ...COPIED.map(([kpf]) => kpf),
  KPF_MMAP,
  KPF_ANON,
  KPF_COMPOUND_TAIL,
  KPF_THP,
  KPF_HUGE,
  KPF_BUDDY,
  KPF_OFFLINE,
  KPF_PGTABLE,
  KPF_SLAB,
  KPF_KSM,
  KPF_NOPAGE,
]
/** The bits that an engine keeps, as a mask of each half of a word. */
export const KEPT_FLAGS: { readonly low: number; readonly high: number } = {
  low: lowMask(...KEPT),
  high: highMask(...KEPT),
}

/** Words of /proc/kpageflags, two cells a page. */
export function kpageflags(mm: Mm): Uint32Array {
  const words = new Words(mm)
  for (let at = 0; at < mm.pfnCount; ) at += words.write(pfnOf(at))
  return words.words
}

/** Words of /proc/kpagecount, two cells a page: how often each page is mapped. */
export function kpagecount(mm: Mm): Uint32Array {
  const words = new Uint32Array(2 * mm.pfnCount)
  for (let pfn = 0; pfn < mm.pfnCount; pfn++) words[2 * pfn] = Math.max(0, mm.mapcount[pfnOf(pfn)])
  return words
}

const BUDDY = lowMask(KPF_BUDDY)
const HEAD = lowMask(KPF_COMPOUND_HEAD)
const TAIL = lowMask(KPF_COMPOUND_TAIL)
/** What page types show. */
const TYPE_BITS: Readonly<Record<number, number>> = {
  [PGTY_slab]: lowMask(KPF_SLAB),
  [PGTY_table]: lowMask(KPF_PGTABLE),
  [PGTY_offline]: lowMask(KPF_OFFLINE),
  [PGTY_hugetlb]: lowMask(KPF_HUGE),
}

/** The words of one machine while they are written. */
class Words {
  readonly words: Uint32Array
  private readonly mm: Mm
  /** Bits of PG_* as halves of a word, by PG_*: machines have few different ones. */
  private readonly copied = new Map<number, readonly [low: number, high: number]>()
  private readonly absent: number
  /** Bits of PG_* that a driver's page does not show. */
  private readonly hidden: number
  private readonly anon: number
  private readonly tailsShowFolio: boolean

  constructor(mm: Mm) {
    const { name } = mm.rules
    this.mm = mm
    this.words = new Uint32Array(2 * mm.pfnCount)
    this.absent = name === '6.18' ? 0 : lowMask(KPF_NOPAGE)
    this.hidden = name === '6.18' ? 0 : PG_movable_ops
    this.anon = name === '6.12' ? lowMask(KPF_ANON, KPF_KSM) : lowMask(KPF_ANON)
    this.tailsShowFolio = name !== '6.1'
  }

  /** Writes the words of what begins at `head`: a free block, a folio, a page. Gives its number of pages. */
  write(head: Pfn): number {
    const { mm } = this
    const mapcount = mm.mapcount[head]
    if (isBuddy(mapcount)) {
      const pages = 1 << buddyOrder(mapcount)
      this.fill(head, pages, BUDDY, 0)
      return pages
    }
    if ((mm.pageblock[pageblockAt(head >>> pageblock_order)] & PB_ABSENT) !== 0) {
      this.fill(head, 1, this.absent, 0)
      return 1
    }
    return this.writeFolio(head, mapcount)
  }

  private writeFolio(head: Pfn, mapcount: number): number {
    const { mm } = this
    const flags = mm.flags[head]
    const pages = folioPages(flags)
    const [own, high] = this.copiedBits(mapcount < 0 ? flags & ~this.hidden : flags)
    // What a page shows by what its folio is, in every version.
    let shared = mapcount < 0 ? (TYPE_BITS[pageType(mapcount)] ?? 0) : 0
    if (isAnonMapping(mm.mapping[head])) shared |= this.anon
    if (this.isMapped(head, pages)) shared |= lowMask(KPF_MMAP)
    const isRmappable = (flags & PG_lru) !== 0 || mm.mapping[head] !== 0
    if (pages > 1 && isRmappable) shared |= lowMask(KPF_THP)
    this.fill(head, 1, own | shared, high)
    const ofFolio = this.tailsShowFolio ? own & ~HEAD : 0
    if (pages > 1) this.fill(head + 1, pages - 1, ofFolio | shared | TAIL, this.tailsShowFolio ? high : 0)
    return pages
  }

  private isMapped(head: Pfn, pages: number): boolean {
    for (let pfn = head; pfn < head + pages; pfn = pfnOf(pfn + 1)) if (this.mm.mapcount[pfn] > 0) return true
    return false
  }

  private copiedBits(flags: number): readonly [low: number, high: number] {
    const known = this.copied.get(flags)
    if (known !== undefined) return known
    const set = COPIED.filter(([, flag]) => (flags & flag) !== 0).map(([kpf]) => kpf)
    const halves = [lowMask(...set), highMask(...set)] as const
    this.copied.set(flags, halves)
    return halves
  }

  private fill(start: number, pages: number, low: number, high: number): void {
    for (let at = 2 * start; at < 2 * (start + pages); at += 2) {
      this.words[at] = low
      this.words[at + 1] = high
    }
  }
}
