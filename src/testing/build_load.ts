/**
 * A load like that of a kernel build with bursts of huge pages: files are read all the time, so that memory is always
 * full; processes come, touch memory and go; slab pages come and mostly go; and now and then somebody wants huge pages.
 * kswapd and kcompactd run after each tick.
 *
 * It is what defrag_mode was made for and measured with (spec 2.7), a thousandth as large.
 *
 * @ours
 */

import { FastCpu } from '../base/cpu.ts'
import { Prng } from '../base/prng.ts'
import { mappingIdOf, nidOf, type Pfn, pfnOf, slotOf, type Vpn, vpnOf } from '../base/units.ts'
import { filemapAddFolio } from '../mm/filemap.ts'
import { __GFP_RECLAIMABLE, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../mm/gfp.ts'
import { createMachine, type Mm } from '../mm/index.ts'
import { kcompactd } from '../mm/kcompactd.ts'
import { kswapd } from '../mm/kswapd.ts'
import { PG_locked, PG_uptodate, pageblock_nr_pages, pageblock_order } from '../mm/limits.ts'
import { folioAddLru } from '../mm/lru.ts'
import { faultAnon } from '../mm/memory.ts'
import { MAPPING_FIRST_FILE } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { zapPte } from '../mm/rmap.ts'
import { allocPages } from '../mm/slowpath.ts'
import type { AnonRegion } from '../mm/thp.ts'
import { SILENT } from '../mm/trace.ts'
import { vmEvents } from '../mm/vmstat.ts'

const NODE = nidOf(0)
const FILE = mappingIdOf(MAPPING_FIRST_FILE)
const BLOCKS = 48
const PAGES = BLOCKS * pageblock_nr_pages
/** Pages of the files that are read over and over: more than memory holds. */
const FILE_PAGES = 2 * PAGES
const PROCESSES = 13
const PROCESS_PAGES = 1536
const HUGE_PAGES = 8

/** What came of it. */
export interface LoadFigures {
  readonly hugePagesGot: number
  readonly hugePagesFailed: number
  /** Allocations that mixed a pageblock. */
  readonly fallbacks: number
  readonly pgscanKswapd: number
  readonly pswpout: number
  readonly migrateScannedDirect: number
}

interface Process {
  readonly start: number
  touched: number
}

export class BuildLoad {
  readonly mm: Mm
  private readonly cpu = new FastCpu()
  private readonly prng: Prng
  private readonly processes: Process[]
  private readonly huge: AnonRegion
  private slab: { pfn: Pfn; until: number }[] = []
  private nextFilePage = 0
  private got = 0
  private failed = 0
  private fallbacks = 0

  constructor(seed: number, defragMode: 0 | 1) {
    this.prng = new Prng(seed)
    this.mm = createMachine({
      pfnCount: PAGES + pageblock_nr_pages,
      zones: [
        {
          node: 0,
          name: 'Normal',
          startPfn: pageblock_nr_pages,
          spanned: PAGES,
          present: PAGES,
          managed: PAGES,
          min: 256,
          low: 320,
          high: 384,
          pcp: [{ high: 96, highMin: 96, highMax: 96, batch: 31 }],
        },
      ],
      ptes: PROCESSES * PROCESS_PAGES + (HUGE_PAGES + 2) * pageblock_nr_pages,
      slots: FILE_PAGES,
      swapSlots: PAGES,
      mappings: 2,
      sysctl: { defrag_mode: defragMode, swappiness: 60 },
      thp: { enabled: 'madvise', defrag: 'madvise' },
    })
    for (let at = pageblock_nr_pages; at <= PAGES; at += pageblock_nr_pages) {
      this.mm.refcount[pfnOf(at)] = 1
      for (let page = at; page < at + pageblock_nr_pages; page++) this.mm.refcount[pfnOf(page)] = 1
    }
    for (let page = pageblock_nr_pages; page < PAGES + pageblock_nr_pages; page++)
      putPage(this.cpu, this.mm, pfnOf(page))
    const hugeStart = pageblock_nr_pages
    this.huge = {
      start: vpnOf(hugeStart),
      end: vpnOf(hugeStart + HUGE_PAGES * pageblock_nr_pages),
      advice: 'hugepage',
    }
    this.processes = Array.from({ length: PROCESSES }, (_, i) => ({
      start: this.huge.end + i * PROCESS_PAGES,
      touched: 0,
    }))
    this.mm.trace = {
      ...SILENT,
      mmPageAllocExtfrag: (_pfn, _order, fallbackOrder) => {
        if (fallbackOrder < pageblock_order) this.fallbacks++
      },
    }
  }

  run(ticks: number): LoadFigures {
    for (let tick = 0; tick < ticks; tick++) {
      this.readFiles(96)
      this.allocSlab(tick)
      for (const process of this.processes) this.runProcess(process)
      if (tick % 40 === 20) this.wantHugePages()
      if (tick % 40 === 39) this.dropHugePages()
      kswapd(this.cpu, this.mm, NODE)
      kcompactd(this.cpu, this.mm, NODE)
    }
    return this.figures()
  }

  private readFiles(pages: number): void {
    const { cpu, mm } = this
    for (let i = 0; i < pages; i++) {
      const slot = slotOf(1 + (this.nextFilePage++ % FILE_PAGES))
      if (mm.cache[slot] !== 0) continue
      const got = allocPages(cpu, mm, GFP_HIGHUSER_MOVABLE, 0, 0)
      if (got < 0) return
      const pfn = pfnOf(got)
      cpu.lock(mm.flags, pfn, PG_locked)
      filemapAddFolio(cpu, mm, pfn, FILE, slot)
      cpu.testSet(mm.flags, pfn, PG_uptodate)
      cpu.unlock(mm.flags, pfn, PG_locked)
      folioAddLru(cpu, mm, pfn)
      putPage(cpu, mm, pfn)
    }
  }

  /** Slab pages of orders 0 to 3; one in twenty stays for long. */
  private allocSlab(tick: number): void {
    for (let i = 0; i < 6; i++) {
      const gfp = this.prng.below(3) === 0 ? GFP_KERNEL | __GFP_RECLAIMABLE : GFP_KERNEL
      const got = allocPages(this.cpu, this.mm, gfp, this.prng.below(4), 0)
      if (got < 0) continue
      const stays = this.prng.below(8) === 0 ? 1500 : 30
      this.slab.push({ pfn: pfnOf(got), until: tick + 1 + this.prng.below(stays) })
    }
    for (const { pfn, until } of this.slab) if (until <= tick) putPage(this.cpu, this.mm, pfn)
    this.slab = this.slab.filter(({ until }) => until > tick)
  }

  /** Touches some more pages, or exits. */
  private runProcess(process: Process): void {
    const { cpu, mm } = this
    if (process.touched >= PROCESS_PAGES) {
      for (let page = 0; page < PROCESS_PAGES; page++) zapPte(cpu, mm, vpnOf(process.start + page))
      process.touched = 0
      return
    }
    const region: AnonRegion = {
      start: vpnOf(process.start),
      end: vpnOf(process.start + PROCESS_PAGES),
      advice: 'nohugepage',
    }
    const upTo = Math.min(process.touched + 16 + this.prng.below(64), PROCESS_PAGES)
    for (; process.touched < upTo; process.touched++) {
      faultAnon(cpu, mm, vpnOf(process.start + process.touched), 0, region)
    }
  }

  private wantHugePages(): void {
    for (let i = 0; i < HUGE_PAGES; i++) {
      const vpn = this.hugeVpn(i)
      if (faultAnon(this.cpu, this.mm, vpn, 0, this.huge) === pageblock_order) this.got++
      else this.failed++
    }
  }

  private dropHugePages(): void {
    for (let vpn = this.huge.start; vpn < this.huge.end; vpn = vpnOf(vpn + 1)) zapPte(this.cpu, this.mm, vpn)
  }

  private hugeVpn(i: number): Vpn {
    return vpnOf(this.huge.start + i * pageblock_nr_pages)
  }

  private figures(): LoadFigures {
    const events = vmEvents(this.mm)
    return {
      hugePagesGot: this.got,
      hugePagesFailed: this.failed,
      fallbacks: this.fallbacks,
      pgscanKswapd: events.pgscan_kswapd ?? 0,
      pswpout: events.pswpout ?? 0,
      migrateScannedDirect:
        (events.compact_migrate_scanned ?? 0) - (events.compact_daemon_migrate_scanned ?? 0),
    }
  }
}
