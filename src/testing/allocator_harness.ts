/**
 * A small machine and the naive model of its allocator (allocator_model.ts), side by side: each operation is done by
 * the engine, told to the model, and then both are compared and every sentence of mm/verify.ts is checked.
 *
 * A typical sequence is:
 *   const harness = new AllocatorHarness(LAYOUTS[0], { pcp: true, defragMode: false, rules: RULES_6_18 })
 *   harness.run({ op: 'alloc', cpu: 0, nid: 0, order: 3, gfp: 'movable', right: 'normal', lru: false })
 *   harness.run({ op: 'free', cpu: 1, which: 7 })     // any block in use: modulo how many there are
 *
 * An operation that makes no sense in the state (a free of nothing) does nothing: any sequence is a legal one.
 *
 * Rules:
 *   - a new operation is a member of `AllocatorOp` and an entry of `allocatorOps()` (allocator_ops.ts), and a case of
 *     `apply()`;
 *   - what an operation does to free blocks is told by tracepoints; what it does beyond them, its case tells the model.
 *
 * @ours
 */

import { assert, fail } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { cpuIdOf, pageblockAt, pcpIdOf, pfnOf, zoneIdOf } from '../base/units.ts'
import { unreserveHighatomicLocked } from '../mm/fallback.ts'
import { addFreeBlock, isolateFreePageLocked, moveFreepagesBlockLocked } from '../mm/free_area.ts'
import { ALLOC_CMA, ALLOC_HIGHATOMIC, ALLOC_NOFRAGMENT, ALLOC_NON_BLOCK, ALLOC_OOM } from '../mm/gfp.ts'
import { createMachine, type Mm } from '../mm/index.ts'
import {
  MIGRATE_CMA,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  PG_head,
} from '../mm/limits.ts'
import { folioAddLru } from '../mm/lru.ts'
import { NR_PCP_LISTS, PB_MIGRATETYPE } from '../mm/page.ts'
import {
  type AllocContext,
  allocFlagsCma,
  allocFlagsNofragment,
  getPageFromFreelist,
  prepareAllocPages,
  prepNewPage,
  putPage,
} from '../mm/page_alloc.ts'
import { drainAllPages, drainPagesZone, pcpOrderOf } from '../mm/pcp.ts'
import { verify } from '../mm/verify.ts'
import { freeBlockHeads } from '../mm/verify_lists.ts'
import { AllocatorModel, type Capture, type Extfrag, type Rights } from './allocator_model.ts'
import {
  type AllocatorOp,
  GFPS,
  type HarnessOptions,
  type Layout,
  RIGHTS,
  zoneSpecs,
} from './allocator_ops.ts'
import { listenTo } from './trace_listener.ts'

const PAGEBLOCK = 512

export class AllocatorHarness {
  readonly mm: Mm
  readonly model: AllocatorModel
  /** Pages as of which zones say that they are managed: so many that they may reserve and be boosted. */
  private static readonly MANAGED = 60_000
  private readonly cpus = [new FastCpu(undefined, cpuIdOf(0)), new FastCpu(undefined, cpuIdOf(1))]
  /** Kinds of things that have happened, so that a test can say that its histories had all of them. */
  readonly seen = new Set<string>()
  // What the running operation is, for the tracepoints.
  private cpu = 0
  private rights: Rights = NO_RIGHTS
  private request: AllocContext | undefined
  private extfrag: Extfrag | undefined
  private capture: Capture | undefined
  private given = -1

  constructor(layout: Layout, options: HarnessOptions) {
    const specs = zoneSpecs(layout, options)
    const zones = specs.map(({ startPfn, spanned }) => ({ start: startPfn, end: startPfn + spanned }))
    const pfnCount = Math.ceil(Math.max(...zones.map(({ end }) => end)) / PAGEBLOCK) * PAGEBLOCK
    const sysctl = { defrag_mode: options.defragMode ? 1 : 0 }
    this.mm = createMachine({ pfnCount, zones: specs, cpus: 2, rules: options.rules, sysctl })
    this.model = new AllocatorModel(zones, pfnCount)
    for (let i = 0; i < specs.length; i++) this.mm.zoneManaged[zoneIdOf(i)] = AllocatorHarness.MANAGED
    for (const { start, end } of zones) this.fill(start, end)
    this.mm.trace = this.listener()
    this.check()
  }

  /** Frees a whole zone, as the largest blocks that fit. */
  private fill(start: number, end: number): void {
    for (let pfn = start; pfn < end; ) {
      let order = 0
      while (order < 10 && pfn % (2 << order) === 0 && pfn + (2 << order) <= end) order++
      addFreeBlock(this.mm, pfnOf(pfn), order)
      this.model.free.set(pfn, order)
      pfn += 1 << order
    }
  }

  /** Does an operation, and checks that engine and model agree, and every sentence about the machine. */
  run(op: AllocatorOp): void {
    this.apply(op)
    this.check()
  }

  private apply(op: AllocatorOp): void {
    if (op.op === 'alloc') this.alloc(op)
    else if (op.op === 'free') this.free(op.cpu, op.which)
    else if (op.op === 'drain') this.drain(op.cpu, op.zone)
    else if (op.op === 'drainAll') drainAllPages(this.cpus[0], this.mm)
    else if (op.op === 'setType') this.setType(op.block, op.mt)
    else if (op.op === 'unreserve') this.unreserve(op.zone, op.mt, op.force)
    else if (op.op === 'takeFree') this.takeFree(op.which)
    else this.captureOne(op)
  }

  private alloc(op: AllocatorOp & { op: 'alloc' }): void {
    const { mm, model } = this
    const { order } = op
    const ac = prepareAllocPages(mm, GFPS[op.gfp], order, op.nid % mm.nodes)
    let flags = RIGHTS[op.right] | allocFlagsCma(ac.migratetype)
    if (op.right === 'normal') flags |= allocFlagsNofragment(mm, ac)
    if (op.right === 'atomic' && order > 0) flags |= ALLOC_HIGHATOMIC
    this.start(op.cpu, rightsOf(flags))
    this.request = ac
    const sure = ac.zonelist.find((zone) => this.mustSucceed(zone, op, ac.migratetype))
    const got = getPageFromFreelist(this.cpus[op.cpu], mm, ac, flags)
    this.seen.add(`alloc ${op.right} ${got < 0 ? 'fails' : 'succeeds'}`)
    if (got < 0) {
      assert(sure === undefined, 'harness: an allocation does not fail beside a zone that has plenty')
      return
    }
    const zone = model.zoneOf(got)
    assert(ac.zonelist.includes(zoneIdOf(zone)), 'harness: the zone is one of the request')
    const kept = model.perCpu.get(got)
    assert(kept === undefined ? this.given === got : this.given < 0, 'harness: the block came from one place')
    if (kept !== undefined) {
      assert(kept.cpu === op.cpu && kept.order === order, 'harness: a cpu takes from its own lists')
      model.perCpu.delete(got)
    }
    model.held.set(got, order)
    if (order > 0 && (flags & ALLOC_HIGHATOMIC) !== 0) this.reserve(got, order)
    if (!op.lru) return
    folioAddLru(this.cpus[op.cpu], mm, pfnOf(got))
    model.movable.add(got)
  }

  private reserve(pfn: number, order: number): void {
    const before = this.model.reserved.join()
    this.model.reserve(pfn, order, AllocatorHarness.MANAGED)
    if (this.model.reserved.join() !== before) this.seen.add('reserve')
  }

  /** True if the zone has a block that this request may have without fallback, and plenty beside it. */
  private mustSucceed(zone: number, { order, right }: AllocatorOp & { op: 'alloc' }, mt: number): boolean {
    if (this.spare(zone, order, MIGRATE_PCPTYPES) > 0 && this.hasOwn(zone, mt, order)) return true
    const reserves = right === 'oom' || (right === 'atomic' && order === 0)
    return (
      reserves &&
      this.spare(zone, order, MIGRATE_HIGHATOMIC + 1) > 0 &&
      this.hasOwn(zone, MIGRATE_HIGHATOMIC, order)
    )
  }

  /** Pages of types below `types` that a zone has beyond its highest mark. */
  private spare(zone: number, order: number, types: number): number {
    const id = zoneIdOf(zone)
    const free = this.model.freePages(zone, (mt) => mt < types)
    return free - 2 ** order - this.mm.wmarkHigh[id] - this.mm.wmarkBoost[id]
  }

  private hasOwn(zone: number, type: number, order: number): boolean {
    return this.model.blocks(zone).some((block) => block.mt === type && block.order >= order)
  }

  private free(cpu: number, which: number): void {
    const heads = [...this.model.held.keys()]
    if (heads.length === 0) return
    this.start(cpu, NO_RIGHTS)
    putPage(this.cpus[cpu], this.mm, pfnOf(heads[which % heads.length]))
  }

  private drain(cpu: number, zone: number): void {
    this.start(cpu, NO_RIGHTS)
    drainPagesZone(this.cpus[cpu], this.mm, zoneIdOf(zone % this.mm.zones), cpuIdOf(cpu))
  }

  private setType(block: number, mt: number): void {
    const { mm, model } = this
    const pfn = PAGEBLOCK + (block % (mm.pageblock.length - 1)) * PAGEBLOCK
    // The reserve has its own way in and out.
    if (model.typeOf(pfn) === MIGRATE_HIGHATOMIC) return
    const moved = moveFreepagesBlockLocked(mm, pfn, mt)
    assert(
      moved >= 0 === model.isWhole(pfn),
      'harness: pageblocks of which the zone has a part keep their type',
    )
    if (moved >= 0) model.setType(pfn, mt)
  }

  private unreserve(zoneIndex: number, mt: number, force: boolean): void {
    const { mm, model } = this
    const zone = zoneIndex % mm.zones
    const gained = unreserveHighatomicLocked(mm, zone, mt, force ? 1 : 0)
    const isBack = (pfn: number): boolean => mm.migratetypeOf(pfnOf(pfn)) !== MIGRATE_HIGHATOMIC
    if (gained > 0) this.seen.add(gained >= PAGEBLOCK ? 'unreserve a whole pageblock' : 'unreserve')
    assert(gained === model.unreserve(zone, mt, force, isBack), 'harness: as many pages come back')
  }

  private takeFree(which: number): void {
    const { mm, model } = this
    const heads = [...model.free]
    if (heads.length === 0) return
    const [pfn, order] = heads[which % heads.length]
    const zone = model.zoneOf(pfn)
    const mt = model.typeOf(pfn)
    const counted = model.freePages(zone, (type) => type !== MIGRATE_ISOLATE && type !== MIGRATE_HIGHATOMIC)
    const may = mt === MIGRATE_ISOLATE || counted > mm.wmarkMin[zoneIdOf(zone)] + 2 ** order
    const taken = isolateFreePageLocked(mm, pfn, order)
    this.seen.add(may ? 'takeFree' : 'takeFree refused')
    assert(taken === (may ? 2 ** order : 0), 'harness: a block is taken if the min mark allows it')
    if (!may) return
    model.free.delete(pfn)
    model.held.set(pfn, order)
    // Half a pageblock or more is about to be movable.
    const end = order >= 8 && mt < MIGRATE_HIGHATOMIC ? pfn + 2 ** order : pfn
    for (let p = pfn; p < end; p += PAGEBLOCK) if (model.isWhole(p)) model.setType(p, MIGRATE_MOVABLE)
    prepNewPage(this.cpus[0], mm, pfnOf(pfn), order)
  }

  private captureOne({ cpu, zone: index, order, mt }: AllocatorOp & { op: 'capture' }): void {
    const { mm, model } = this
    const zone = index % mm.zones
    const pcp = mm.pcpOf(zone, cpuIdOf(cpu))
    mm.pcpCaptureOrder[pcp] = order
    mm.pcpCaptureType[pcp] = mt
    this.start(cpu, NO_RIGHTS)
    this.capture = { order, mt, page: 0 }
    drainPagesZone(this.cpus[cpu], mm, zoneIdOf(zone), cpuIdOf(cpu))
    const page = mm.pcpCapturePage[pcp]
    assert(page === this.capture.page, 'harness: the block that was waited for is the one that is got')
    this.capture = undefined
    mm.pcpCaptureOrder[pcp] = 0
    mm.pcpCapturePage[pcp] = 0
    if (page === 0) return
    this.seen.add('capture')
    prepNewPage(this.cpus[cpu], mm, pfnOf(page), order)
    model.held.set(page, order)
  }

  private start(cpu: number, rights: Rights): void {
    this.cpu = cpu
    this.rights = rights
    this.extfrag = undefined
    this.given = -1
    this.model.stole = false
  }

  /**
   * ALLOC_NOFRAGMENT is dropped when no zone of the node has anything without mixing, unless defrag_mode keeps it. Sees
   * whether this fallback shows that it was, and whether it should have been.
   */
  private mayMix({ claimed, fallbackOrder }: Extfrag): void {
    const { mm, request } = this
    if (!this.rights.nofragment || (claimed && fallbackOrder >= 9) || mm.sysctl.defrag_mode !== 0) return
    assert(request !== undefined, 'harness: only a request falls back')
    const local = mm.zoneNode[request.zonelist[0]]
    const unmixed = request.zonelist
      .filter((zone) => mm.zoneNode[zone] === local)
      .find(
        (zone) =>
          this.spare(zone, request.order, MIGRATE_PCPTYPES) > 0 &&
          this.hasOwn(zone, request.migratetype, request.order),
      )
    assert(unmixed === undefined, 'harness: nobody mixes pageblocks beside a zone that has his own')
    this.rights = { ...this.rights, nofragment: false }
  }

  /** Tells the model what the engine does. */
  private listener(): NonNullable<Mm['trace']> {
    const { model } = this
    return listenTo({
      mmPageAllocExtfrag: (_, order, fallbackOrder, mt, fallbackType, claimed) => {
        if (this.capture === undefined) this.extfrag = { order, fallbackOrder, mt, fallbackType, claimed }
      },
      mmPageAllocZoneLocked: (pfn, order, mt, refill) => {
        if (this.extfrag !== undefined) this.mayMix(this.extfrag)
        if (this.extfrag !== undefined) this.seen.add(this.extfrag.claimed ? 'claim' : 'steal')
        const rights = refill ? { ...this.rights, highatomic: false, lastResort: false } : this.rights
        model.take(pfn, order, mt, rights, this.extfrag)
        this.extfrag = undefined
        if (refill) model.perCpu.set(pfn, { order, cpu: this.cpu })
        else this.given = pfn
      },
      mmPageFree: (pfn, order) => {
        assert(model.held.get(pfn) === order, 'harness: what is freed was in use')
        model.held.delete(pfn)
        model.movable.delete(pfn)
        const keeps = (order <= 3 || order === 9) && model.typeOf(pfn) !== MIGRATE_ISOLATE
        if (keeps) model.perCpu.set(pfn, { order, cpu: this.cpu })
        else model.putLarge(pfn, order)
      },
      mmPagePcpuDrain: (pfn, order, mt, cpu) => {
        const kept = model.perCpu.get(pfn)
        assert(
          kept?.order === order && kept.cpu === cpu,
          'harness: what is drained was on a list of that cpu',
        )
        assert(model.typeOf(pfn) === mt, 'harness: the event tells the type of the pageblock')
        model.perCpu.delete(pfn)
        model.put(pfn, order, this.capture)
      },
    })
  }

  // Both sides, compared.

  private check(): void {
    this.compareFreeBlocks()
    this.comparePerCpu()
    this.compareCounts()
    verify(this.mm)
  }

  private compareFreeBlocks(): void {
    const { mm, model } = this
    const heads = freeBlockHeads(mm)
    for (const pfn of heads) {
      const order = mm.mapcount[pfn] & 0xff
      if (model.free.get(pfn) !== order)
        fail(`harness: pfn ${pfn} is free, order ${order}; model: ${model.free.get(pfn)}`)
    }
    if (heads.length !== model.free.size) fail('harness: the model has more free blocks')
    const types = model.type.findIndex(
      (mt, i) => i > 0 && (mm.pageblock[pageblockAt(i)] & PB_MIGRATETYPE) !== mt,
    )
    if (types >= 0) fail(`harness: pageblock ${types} is of type ${model.type[types]} in the model`)
  }

  private comparePerCpu(): void {
    const { mm, model } = this
    let listed = 0
    for (let list = 0; list < mm.zones * mm.cpus * NR_PCP_LISTS; list++) {
      const set = Math.floor(list / NR_PCP_LISTS)
      const head = mm.pcpList(pcpIdOf(set), list % NR_PCP_LISTS)
      for (let node = mm.links[2 * head]; node !== head; node = mm.links[2 * node]) {
        const kept = model.perCpu.get(node)
        if (kept?.cpu !== set % mm.cpus || kept.order !== pcpOrderOf(list % NR_PCP_LISTS))
          fail(`harness: pfn ${node} is on a per-cpu list where the model has it not`)
        listed++
      }
    }
    if (listed !== model.perCpu.size) fail('harness: the model has more blocks on per-cpu lists')
  }

  private compareCounts(): void {
    const { mm, model } = this
    for (let i = 0; i < mm.zones; i++) {
      const zone = zoneIdOf(i)
      const counts = [
        mm.nrFree[zone],
        mm.nrFreeCma[zone],
        mm.nrFreeHighatomic[zone],
        mm.nrReservedHighatomic[zone],
      ]
      const expected = [
        model.freePages(i, (mt) => mt !== MIGRATE_ISOLATE),
        model.freePages(i, (mt) => mt === MIGRATE_CMA),
        model.freePages(i, (mt) => mt === MIGRATE_HIGHATOMIC),
        model.reserved[i],
      ]
      if (counts.join() !== expected.join())
        fail(`harness: zone ${i} counts ${counts.join()}; model: ${expected.join()}`)
    }
    for (const [pfn, order] of model.held) {
      const isHead = (mm.flags[pfnOf(pfn)] & PG_head) !== 0
      if (mm.refcount[pfnOf(pfn)] !== 1 || isHead !== order > 0)
        fail(`harness: pfn ${pfn} is in use in the model`)
    }
  }
}

const NO_RIGHTS: Rights = { cma: false, nofragment: false, highatomic: false, lastResort: false }

const rightsOf = (flags: number): Rights => ({
  cma: (flags & ALLOC_CMA) !== 0,
  nofragment: (flags & ALLOC_NOFRAGMENT) !== 0,
  highatomic: (flags & ALLOC_HIGHATOMIC) !== 0,
  lastResort: (flags & (ALLOC_OOM | ALLOC_NON_BLOCK)) !== 0,
})
