/**
 * A small machine and a naive model of what its users see, side by side: which value each virtual page, each slot of
 * the page cache and each driver reads, wherever migration and compaction have put it. Each operation is done by the engine and told to
 * the model, and then both are compared and every sentence of mm/verify.ts is checked.
 *
 * Values are unique, so a value is a page: the pages in use are the values that somebody sees.
 *
 * A typical sequence is:
 *   const harness = new MigrationHarness('M=== F . . . . z U', { rules: RULES_6_18, high: 0 })
 *   harness.run({ op: 'migrate', from: [0, 4], mode: MIGRATE_SYNC, targets: 8, … })
 *
 * Rules:
 *   - a new operation is a member of `MigrationOp`, a case of `apply()` and an entry of `migrationOps()`;
 *   - pages of a large folio are unmapped together: what is left of half a folio is not modelled.
 *
 * @ours
 */

import fc from 'fast-check'
import { assert } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { listEmpty } from '../base/list.ts'
import { cellsOf, nidOf, type Pfn, pfnOf, slotOf, type Vpn, vpnOf, zoneIdOf } from '../base/units.ts'
import { CompactControl, WHOLE_ZONE } from '../mm/compact_control.ts'
import { COMPACT_RESULT_NAMES } from '../mm/compact_result.ts'
import { compactZone } from '../mm/compaction.ts'
import { filemapRemoveFolio } from '../mm/filemap.ts'
import {
  __GFP_NORETRY,
  __GFP_RECLAIMABLE,
  __GFP_RETRY_MAYFAIL,
  GFP_ATOMIC,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_TRANSHUGE,
} from '../mm/gfp.ts'
import type { KernelRules, Mm } from '../mm/index.ts'
import { kcompactd } from '../mm/kcompactd.ts'
import { kswapd } from '../mm/kswapd.ts'
import {
  COMPOUND_TAIL,
  ENOMEM,
  GUP_PIN_COUNTING_BIAS,
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  type MigrateMode,
  MR_COMPACTION,
  MR_CONTIG_RANGE,
  PG_locked,
  PG_writeback,
} from '../mm/limits.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage } from '../mm/movable_ops.ts'
import { folioMapping, folioPages, isAnonMapping } from '../mm/page.ts'
import { allocFromZone, putPage } from '../mm/page_alloc.ts'
import { mapPage, PTE_PRESENT, ptePfn, zapPte } from '../mm/rmap.ts'
import { allocPages } from '../mm/slowpath.ts'
import { verify } from '../mm/verify.ts'
import { pagesWith } from '../mm/verify_lists.ts'
import { machineOf, type TestMachine } from './machine.ts'

const ZONE = zoneIdOf(0)
const NODE = nidOf(0)
const PAGES = 512
/** One a page, and 64 to map pages once more. */
const PTES = 640

export type MigrationOp =
  | {
      readonly op: 'migrate'
      /** Places of pages that are isolated, if they can be. */
      readonly from: readonly number[]
      readonly mode: MigrateMode
      /** Folios that there are targets for. */
      readonly targets: number
      /** No target is large: folios have to be split. */
      readonly small: boolean
      /** The task frees memory itself, so it waits for no page lock. */
      readonly memalloc: boolean
      /** Contiguous allocation, and not compaction. */
      readonly contig: boolean
      /** Places of pages that somebody else has locked meanwhile. */
      readonly locked: readonly number[]
      /** Places of pages of which somebody else holds a reference meanwhile. */
      readonly held: readonly number[]
    }
  | { readonly op: 'zap'; readonly which: number }
  /** Maps a page that is mapped already once more. */
  | { readonly op: 'map'; readonly which: number }
  | { readonly op: 'write'; readonly which: number }
  | { readonly op: 'drop'; readonly which: number }
  | { readonly op: 'release'; readonly which: number }
  | { readonly op: 'alloc'; readonly order: number }
  | { readonly op: 'free'; readonly which: number }
  | {
      readonly op: 'compact'
      /** WHOLE_ZONE, or of the block that is wanted. */
      readonly order: number
      readonly mode: MigrateMode
      readonly gfp: number
      readonly direct: boolean
      readonly wholeZone: boolean
      readonly ignoreSkipHint: boolean
    }
  /** An allocation that may reclaim and compact. What it gets, nobody moves. */
  | { readonly op: 'request'; readonly order: number; readonly gfp: number }
  /** kswapd and kcompactd run, as far as they have anything to do. */
  | { readonly op: 'background' }

/** Arbitrary operations, two in five migrations. */
export function migrationOps(): fc.Arbitrary<MigrationOp> {
  const which = fc.nat(4095)
  const places = (most: number): fc.Arbitrary<number[]> =>
    fc.array(fc.nat(PAGES - 1), { maxLength: most, size: 'max' })
  const op = <T extends MigrationOp['op']>(name: T): fc.Arbitrary<T> => fc.constant(name)
  const migrate = fc.record({
    op: op('migrate'),
    from: places(24),
    mode: fc.constantFrom(MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC),
    targets: fc.oneof(fc.constant(PAGES), fc.nat(12)),
    small: fc.boolean(),
    memalloc: fc.boolean(),
    contig: fc.boolean(),
    locked: places(6),
    held: places(6),
  })
  return fc.oneof(
    { weight: 8, arbitrary: migrate },
    { weight: 3, arbitrary: fc.record({ op: op('zap'), which }) },
    { weight: 3, arbitrary: fc.record({ op: op('map'), which }) },
    { weight: 2, arbitrary: fc.record({ op: op('write'), which }) },
    { weight: 1, arbitrary: fc.record({ op: op('drop'), which }) },
    { weight: 1, arbitrary: fc.record({ op: op('release'), which }) },
    { weight: 1, arbitrary: fc.record({ op: op('alloc'), order: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ op: op('free'), which }) },
  )
}

/** Arbitrary operations of users, of who allocates, and of compaction. */
export function compactionOps(): fc.Arbitrary<MigrationOp> {
  const op = <T extends MigrationOp['op']>(name: T): fc.Arbitrary<T> => fc.constant(name)
  const gfp = fc.constantFrom(
    GFP_HIGHUSER_MOVABLE,
    GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL,
    GFP_TRANSHUGE | __GFP_NORETRY,
    GFP_KERNEL,
    GFP_KERNEL | __GFP_RECLAIMABLE,
    GFP_ATOMIC,
  )
  const compact = fc.record({
    op: op('compact'),
    order: fc.integer({ min: WHOLE_ZONE, max: 9 }),
    mode: fc.constantFrom(MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC),
    gfp,
    direct: fc.boolean(),
    wholeZone: fc.boolean(),
    ignoreSkipHint: fc.boolean(),
  })
  return fc.oneof(
    { weight: 4, arbitrary: compact },
    { weight: 4, arbitrary: fc.record({ op: op('request'), order: fc.nat(9), gfp }) },
    { weight: 1, arbitrary: fc.record({ op: op('background') }) },
    { weight: 8, arbitrary: migrationOps() },
    { weight: 4, arbitrary: fc.record({ op: op('free'), which: fc.nat(4095) }) },
  )
}

/** What users see. */
interface Views {
  readonly mapped: Map<number, number>
  readonly cached: Map<number, number>
  /** Values of the driver's pages; where they are is the driver's business. */
  readonly pool: Set<number>
}

export interface HarnessOptions {
  readonly rules: KernelRules
  /** High mark of the per-cpu list; 0: pages go straight to the free lists. */
  readonly high: number
  /** Pageblocks. Default: one. */
  readonly blocks?: number
  /** All three marks, in pages. Default: 0. */
  readonly watermarks?: number
  readonly defragMode?: boolean
}

export class MigrationHarness {
  readonly machine: TestMachine
  readonly mm: Mm
  /** Kinds of things that have happened. */
  readonly seen = new Set<string>()
  private readonly model: Views
  /** Blocks that nobody moves: order and value by first page. */
  private readonly fixed = new Map<number, { order: number; value: number }>()
  private readonly cpu = new FastCpu((cells, index, bits) => {
    cells[index] &= ~bits // whoever holds the lock that is waited for is done with it
  })
  private nextValue = 10_000

  constructor(
    picture: string,
    { rules, high, blocks = 1, watermarks = 0, defragMode = false }: HarnessOptions,
  ) {
    const pcp = { high, highMin: high, highMax: 2 * high, batch: high === 0 ? 1 : 4 }
    this.machine = machineOf(picture, { blocks, rules, pcp, ptes: blocks * PTES, watermarks })
    this.mm = this.machine.mm
    this.mm.sysctl.defrag_mode = defragMode ? 1 : 0
    const cells = picture.replace(/[\s|]/g, '').padEnd(this.machine.pages, 'U')
    for (const { index, 0: folio } of cells.matchAll(/U=*/g)) {
      this.fixed.set(this.machine.pfn(index), { order: Math.log2(folio.length), value: 1000 + index })
    }
    this.model = this.views()
    this.check()
  }

  /** Does an operation, and checks that users see what they did, and every sentence about the machine. */
  run(op: MigrationOp): void {
    this.apply(op)
    this.check()
  }

  private apply(op: MigrationOp): void {
    if (op.op === 'migrate') this.migrate(op)
    else if (op.op === 'zap') this.zap(op.which)
    else if (op.op === 'map') this.map(op.which)
    else if (op.op === 'write') this.write(op.which)
    else if (op.op === 'drop') this.drop(op.which)
    else if (op.op === 'release') this.release(op.which)
    else if (op.op === 'alloc') this.alloc(op.order)
    else if (op.op === 'compact') this.compact(op)
    else if (op.op === 'request') this.request(op.order, op.gfp)
    else if (op.op === 'background') this.background()
    else this.free(op.which)
  }

  private compact({
    order,
    mode,
    gfp,
    direct,
    wholeZone,
    ignoreSkipHint,
  }: MigrationOp & { op: 'compact' }): void {
    const { mm, cpu } = this
    const before = this.placesOfValues()
    const request = { zone: ZONE, order, mode, gfp, direct, wholeZone, ignoreSkipHint }
    const cc = new CompactControl(cpu, mm, request)
    this.seen.add(COMPACT_RESULT_NAMES[compactZone(cpu, cc)])
    const after = this.placesOfValues()
    let moved = 0
    for (const [value, pfn] of before) if (after.get(value) !== pfn) moved++
    // A page may move twice, and back.
    assert(moved <= cc.stats.pagesSucceeded, 'harness: what moved is counted')
    assert(cc.nrFreepages === 0 && cc.nrMigratepages === 0, 'harness: compaction keeps no page')
  }

  private request(order: number, gfp: number): void {
    const pfn = allocPages(this.cpu, this.mm, gfp, order, 0)
    this.forgetReclaimed()
    this.seen.add(pfn < 0 ? 'refused' : 'served')
    if (pfn >= 0) this.take(pfn, order)
  }

  private background(): void {
    kswapd(this.cpu, this.mm, NODE)
    this.seen.add(kcompactd(this.cpu, this.mm, NODE))
    this.forgetReclaimed()
  }

  /** Clean pages of files may go whenever memory is short: who reads them next reads them from the file. */
  private forgetReclaimed(): void {
    for (const slot of this.model.cached.keys()) {
      if (this.headOfSlot(slot) >= 0) continue
      this.model.cached.delete(slot)
      this.seen.add('reclaimed')
    }
  }

  /** First page of the folio that is cached there, be it at an earlier slot; -1: there is none. */
  private headOfSlot(slot: number): number {
    for (let first = slot; first > 0; first--) {
      const pfn = this.mm.cache[slotOf(first)]
      if (pfn !== 0) return first + folioPages(this.mm.flags[pfnOf(pfn)]) > slot ? pfn : -1
    }
    return -1
  }

  private migrate(op: MigrationOp & { op: 'migrate' }): void {
    const { mm, machine, cpu } = this
    const mode = ISOLATE_UNEVICTABLE | (op.mode === MIGRATE_ASYNC ? ISOLATE_ASYNC_MIGRATE : 0)
    let isolated = 0
    for (const pfn of new Set(op.from.map((place) => machine.pfn(place)))) {
      if (isolateMovablePage(cpu, mm, pfn, mode) !== ISOLATED) continue
      machine.enlist(pfn)
      isolated += folioPages(mm.flags[pfn])
    }
    const held = op.held
      .map((place) => machine.pfn(place))
      .filter((pfn) => cpu.addUnlessZero(mm.refcount, pfn))
    const locked = op.locked
      .map((place) => machine.pfn(place))
      .filter((pfn) => mm.refcount[pfn] > 0 && cpu.tryLock(mm.flags, pfn, PG_locked))
    const before = this.placesOfValues()
    const stats = newMigrateStats()
    const list = mm.taskList(cpu.id, 0)
    const rc = migratePages(
      cpu,
      mm,
      list,
      this.target(op),
      op.mode,
      op.contig ? MR_CONTIG_RANGE : MR_COMPACTION,
      stats,
    )
    const left = !listEmpty(mm.links, list)
    if (left) assert(rc > 0 || rc === -ENOMEM, 'harness: what is left is said')
    putbackMovablePages(cpu, mm, list)
    for (const pfn of locked) if ((mm.flags[pfn] & PG_locked) !== 0) cpu.unlock(mm.flags, pfn, PG_locked)
    for (const pfn of held) putPage(cpu, mm, pfn)
    const after = this.placesOfValues()
    let moved = 0
    for (const [value, pfn] of before) if (after.get(value) !== pfn) moved++
    assert(moved === stats.pagesSucceeded, 'harness: as many pages moved as are counted')
    assert(stats.pagesSucceeded + stats.pagesFailed <= isolated, 'harness: no page is counted twice')
    if (moved > 0) this.seen.add('moved')
    if (left) this.seen.add(rc > 0 ? 'failed' : 'no memory')
    if (stats.foliosSplit > 0) this.seen.add('split')
  }

  private target({
    targets,
    small,
    memalloc,
  }: MigrationOp & { op: 'migrate' }): Parameters<typeof migratePages>[3] {
    let left = targets
    return {
      memalloc,
      getNewFolio: (cpu, mm, _, order) =>
        (small && order > 0) || left-- <= 0 ? -1 : allocFromZone(cpu, mm, ZONE, order, MIGRATE_MOVABLE),
      putNewFolio: putPage,
    }
  }

  /** Unmaps a page at one place; of a large folio, all of it everywhere. */
  private zap(which: number): void {
    const vpn = this.pick(this.model.mapped, which)
    if (vpn < 0) return
    const pfn = ptePfn(this.mm.pte[vpnOf(vpn)])
    if (this.mm.refcount[pfn] >= GUP_PIN_COUNTING_BIAS) return // it would stay in use for its pins
    for (const at of this.isLarge(pfn) ? this.vpnsOfFolio(pfn) : [vpnOf(vpn)]) {
      zapPte(this.cpu, this.mm, at)
      this.model.mapped.delete(at)
    }
  }

  private map(which: number): void {
    const old = this.pick(this.model.mapped, which)
    const vpn = this.mm.pte.length - 1 - (which % 64)
    if (old < 0 || this.model.mapped.has(vpn)) return
    const pfn = ptePfn(this.mm.pte[vpnOf(old)])
    mapPage(this.cpu, this.mm, vpnOf(vpn), pfn)
    this.model.mapped.set(vpn, this.model.mapped.get(old) ?? 0)
  }

  /** Writes by way of one pte what all who see the page must read. */
  private write(which: number): void {
    const { mapped, cached } = this.model
    const vpn = this.pick(mapped, which)
    if (vpn < 0) return
    const before = mapped.get(vpn) ?? 0
    const value = this.nextValue++
    this.mm.content[ptePfn(this.mm.pte[vpnOf(vpn)])] = value
    for (const view of [mapped, cached])
      for (const [at, seen] of view) if (seen === before) view.set(at, value)
  }

  /** Drops a folio from the page cache. */
  private drop(which: number): void {
    const slot = this.pick(this.model.cached, which)
    const pfn = slot < 0 ? 0 : this.mm.cache[slotOf(slot)]
    if (pfn === 0 || isAnonMapping(this.mm.mapping[pfnOf(pfn)])) return
    const pages = folioPages(this.mm.flags[pfnOf(pfn)])
    if ((this.mm.flags[pfnOf(pfn)] & PG_writeback) !== 0 || this.hasBuffers(pfnOf(pfn), pages)) return
    filemapRemoveFolio(this.cpu, this.mm, pfnOf(pfn))
    for (let i = 0; i < pages; i++) this.model.cached.delete(slot + i)
  }

  /** Buffers hold a reference of their own, which nobody here drops. */
  private hasBuffers(pfn: Pfn, pages: number): boolean {
    return this.mm.refcount[pfn] > pages || folioMapping(this.mm.flags[pfn], this.mm.mapping[pfn]) === 0
  }

  private release(which: number): void {
    const { mm, machine } = this
    const pages = this.poolPages()
    if (pages.length === 0) return
    const pfn = pages[which % pages.length]
    this.model.pool.delete(mm.content[pfn])
    machine.release(pfn)
  }

  private alloc(order: number): void {
    const { mm } = this
    const pfn = allocFromZone(this.cpu, mm, ZONE, order, MIGRATE_MOVABLE)
    if (pfn >= 0) this.take(pfn, order)
  }

  /** Somebody has these pages and writes to them. */
  private take(pfn: number, order: number): void {
    const value = this.nextValue
    this.nextValue += 1 << order
    for (let i = 0; i < 1 << order; i++) this.mm.content[pfnOf(pfn + i)] = value + i
    this.fixed.set(pfn, { order, value })
  }

  private free(which: number): void {
    const pfn = this.pick(this.fixed, which)
    if (pfn < 0) return
    putPage(this.cpu, this.mm, pfnOf(pfn))
    this.fixed.delete(pfn)
  }

  /** Any key of a map; -1 if it is empty. */
  private pick(map: ReadonlyMap<number, unknown>, which: number): number {
    const keys = [...map.keys()]
    return keys.length === 0 ? -1 : keys[which % keys.length]
  }

  private isLarge(pfn: Pfn): boolean {
    return (this.mm.flags[pfn] & COMPOUND_TAIL) !== 0 || folioPages(this.mm.flags[pfn]) > 1
  }

  private vpnsOfFolio(pfn: Pfn): Vpn[] {
    const { mm } = this
    const head = (mm.flags[pfn] & COMPOUND_TAIL) === 0 ? pfn : pfnOf(mm.private[pfn])
    const end = head + folioPages(mm.flags[head])
    return [...this.model.mapped.keys()]
      .map(vpnOf)
      .filter((vpn) => ptePfn(mm.pte[vpn]) >= head && ptePfn(mm.pte[vpn]) < end)
  }

  // What the machine shows.

  private poolPages(): Pfn[] {
    const { links } = this.mm
    const head = this.mm.ownerList(0)
    const found: Pfn[] = []
    for (let node = links[2 * head]; node !== head; node = links[2 * node]) found.push(pfnOf(node))
    return found
  }

  /** Calls for every page that a user sees: with its place, where it is seen, and at which key. */
  private forViews(visit: (pfn: Pfn, view: keyof Views, key: number) => void): void {
    const { mm } = this
    const ptes = cellsOf(mm.pte)
    for (let vpn = 1; vpn < ptes.length; vpn++) {
      const pte = ptes[vpn]
      if (pte === 0) continue
      assert((pte & PTE_PRESENT) !== 0, 'harness: no pte waits')
      visit(ptePfn(pte), 'mapped', vpn)
    }
    const slots = cellsOf(mm.cache)
    for (let slot = 1; slot < slots.length; slot++) {
      if (slots[slot] === 0) continue
      const pfn = pfnOf(slots[slot])
      for (let i = 0; i < folioPages(mm.flags[pfn]); i++) visit(pfnOf(pfn + i), 'cached', slot + i)
    }
    for (const pfn of this.poolPages()) visit(pfn, 'pool', 0)
  }

  private views(): Views {
    const views: Views = { mapped: new Map(), cached: new Map(), pool: new Set() }
    this.forViews((pfn, view, key) => {
      const value = this.mm.content[pfn]
      if (view === 'pool') views.pool.add(value)
      else views[view].set(key, value)
    })
    return views
  }

  /** The page of each value that somebody sees. */
  private placesOfValues(): Map<number, Pfn> {
    const places = new Map<number, Pfn>()
    this.forViews((pfn) => places.set(this.mm.content[pfn], pfn))
    for (const pfn of this.isolatedPoolPages()) places.set(this.mm.content[pfn], pfn)
    return places
  }

  /** The driver's pages that are isolated now. */
  private isolatedPoolPages(): Pfn[] {
    const { mm } = this
    const head = mm.taskList(this.cpu.id, 0)
    const found: Pfn[] = []
    for (let node = mm.links[2 * head]; node !== head; node = mm.links[2 * node])
      if (mm.mapcount[pfnOf(node)] < 0) found.push(pfnOf(node))
    return found
  }

  private check(): void {
    const { mm, model } = this
    let seen = 0
    this.forViews((pfn, view, key) => {
      const value = mm.content[pfn]
      const same = view === 'pool' ? model.pool.has(value) : model[view].get(key) === value
      assert(same, 'harness: every user reads what he wrote')
      seen++
    })
    const views = model.mapped.size + model.cached.size + model.pool.size
    assert(seen === views, 'harness: nobody has lost a page, nobody has got one')
    this.checkPages()
    verify(mm)
  }

  /** Pages are in use for their values, for a block that nobody moves, or not at all. */
  private checkPages(): void {
    const { mm, model } = this
    const values = new Set([...model.mapped.values(), ...model.cached.values(), ...model.pool])
    let pages = values.size
    for (const [pfn, { order, value }] of this.fixed) {
      pages += 1 << order
      for (let i = 0; i < 1 << order; i++)
        assert(mm.content[pfnOf(pfn + i)] === value + i, 'harness: what cannot move has not moved')
    }
    const inUse = pagesWith(mm.refcount, -1).length + pagesWith(mm.flags, COMPOUND_TAIL).length
    assert(inUse === pages, 'harness: as many pages are in use as there are values')
    assert(this.machine.freePages === this.machine.pages - pages, 'harness: all others are free')
  }
}
