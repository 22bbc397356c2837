/**
 * Small machines for tests: drawn as a picture, and drawn back as one; and a `Cpu` that records its steps
 * and lets another task run between two of them.
 *
 * A picture is one character a page from the first page of the machine's one zone on. Spaces, `|` and
 * line breaks mean nothing.
 *   .  free, in the buddy lists        ,  free, on the per-cpu list
 *   M  anonymous, mapped once          S  the same, in the swap cache too
 *   E  as M, and unevictable           P  as M, and pinned (FOLL_PIN)
 *   F  cached file page, not mapped    D  the same, dirty
 *   W  the same, under writeback       B  the same, with buffers
 *   z  driver page of the pool         b  page of the first balloon (`balloons`)
 *   U  in use, nobody's to move
 *   o  page of the owner that the options name, if they name one
 *   =  tail of the large folio that began before it: `M===`, `F=======`, `U=`
 * Drawn only: `i` taken from the LRU or from its driver, `?` none of these.
 *
 * A typical sequence is:
 *   const machine = machineOf('|M M . U|')         // one pageblock; what the picture leaves out is U
 *   compactNode(new FastCpu(), machine.mm, nid)
 *   expect(machine.picture()).toBe('MM.U')         // as many pages as the first picture had
 *
 * Rules:
 *   - a freed page goes straight to the buddy lists, unless `pcp` says otherwise;
 *   - with contents on (the default), a page that the picture puts in use holds 1000 + its place;
 *   - not for machines of more than some thousand pages.
 *
 * Not here: assertions about a whole machine; they are in mm/verify.ts.
 *
 * @ours
 */

import { assert, fail } from '../base/assert.ts'
import { type Cpu, FastCpu, type OnWait } from '../base/cpu.ts'
import { isListed, listAddTail, listDel } from '../base/list.ts'
import {
  type Cells,
  type CpuId,
  cellsOf,
  cpuIdOf,
  type ListNode,
  type MappingId,
  mappingIdOf,
  type Pfn,
  pcpIdOf,
  pfnOf,
  type Slot,
  slotOf,
  type Vpn,
  vpnOf,
  zoneIdOf,
} from '../base/units.ts'
import { type BalloonHost, createBalloonHost, hostEnd } from '../host/balloon_host.ts'
import { addToSwapCache, filemapAddFolio } from '../mm/filemap.ts'
import { addFreeBlock } from '../mm/free_area.ts'
import { pinUserPage } from '../mm/gup.ts'
import { createMachine } from '../mm/index.ts'
import {
  COMPOUND_TAIL,
  ISOLATE_UNEVICTABLE,
  MIGRATE_MOVABLE,
  PG_active,
  PG_dirty,
  PG_lru,
  PG_mlocked,
  PG_movable_ops,
  PG_movable_ops_isolated,
  PG_private,
  PG_swapbacked,
  PG_swapcache,
  PG_unevictable,
  PG_uptodate,
  PG_writeback,
  PGTY_offline,
  PGTY_zsmalloc,
  pageblock_nr_pages,
} from '../mm/limits.ts'
import { folioAddLru } from '../mm/lru.ts'
import type { MigrationTarget } from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage } from '../mm/movable_ops.ts'
import {
  ANON_MAPPING,
  buddyOrder,
  compoundOrder,
  isAnonMapping,
  isBuddy,
  MAPPING_FIRST_FILE,
  type Mm,
  NR_PCP_LISTS,
  type PcpSpec,
  pageType,
} from '../mm/page.ts'
import { allocFromZone, prepCompoundPage, putPage } from '../mm/page_alloc.ts'
import { addPcpPage } from '../mm/pcp.ts'
import { isSwapPte, mapPage, ptePfn, pteSlot } from '../mm/rmap.ts'
import { type KernelRules, RULES_6_18 } from '../mm/rules.ts'
import { folioAllocSwap } from '../mm/swap.ts'
import {
  createPool,
  type PagePool,
  POOL_CELLS,
  poolInsert,
  poolPages,
  poolRelease,
} from '../owners/page_pool.ts'
import type { OwnerPlace } from '../owners/place.ts'
import type { PagePoisoning } from '../owners/virtio_balloon.ts'
import {
  createVirtioBalloons,
  giveBalloonPage,
  type VirtioBalloon,
  virtballoonProbe,
  virtioBalloonCells,
} from '../owners/virtio_balloon_driver.ts'

/** An owner whose pages are drawn as `o`. Its place is behind the pool's. */
export interface DrawnOwner {
  readonly cells: number
  create(mm: Mm, place: OwnerPlace, mapping: MappingId): void
  /** An allocated page becomes the owner's, with its reference. */
  own(cpu: Cpu, machine: TestMachine, pfn: Pfn): void
  /** Whether a page is the owner's, and if so whether it is isolated. */
  letterOf(mm: Mm, pfn: Pfn): 'o' | 'i' | undefined
}

export interface TestMachineOptions {
  /** Pageblocks of the zone. Default: as many as the picture needs. */
  readonly blocks?: number
  /** What pages are that the picture leaves out. Default `U`. */
  readonly rest?: '.' | 'U'
  /** First pfn of the zone. Default 512, because pfn 0 in the page cache looks like an empty slot. */
  readonly start?: number
  readonly rules?: KernelRules
  readonly contents?: boolean
  readonly cpus?: number
  /** One per-cpu set for every cpu. Default: high 0, batch 1. */
  readonly pcp?: PcpSpec
  /** Watermarks of the zone, in pages: all three, or min, low and high. Default 0. */
  readonly watermarks?: number | readonly [min: number, low: number, high: number]
  /** Pages of swap. Default: none; then what is drawn as `S` has its slot in a swap that is not there. */
  readonly swapSlots?: number
  /** Page table entries, and as many slots. Default 8192. */
  readonly ptes?: number
  /** Page type of `z` pages. Default PGTY_zsmalloc. */
  readonly pgty?: number
  /** Balloon devices, probed, with what each offers. Default: none. */
  readonly balloons?: readonly TestBalloonOptions[]
  /** Who has the pages that are drawn as `o`. */
  readonly owner?: DrawnOwner
  /** Cells of owners, from OTHER_OWNERS on. Default: none. */
  readonly ownerCells?: number
  /** Pages have their bytes too. Default: no. */
  readonly pageData?: boolean
}

export interface TestBalloonOptions {
  readonly features?: number
  readonly movable?: boolean
  /** As in host/balloon_host.ts. */
  readonly strict?: boolean
  readonly poisoning?: PagePoisoning
}

/** Where owners other than the pool have their state. */
export const OTHER_OWNERS: OwnerPlace = { cell: POOL_CELLS, list: 1 }

const PTES = 8192
const STRAIGHT_TO_BUDDY: PcpSpec = { high: 0, highMin: 0, highMax: 0, batch: 1 }

/** A machine that a picture made. */
export class TestMachine {
  readonly mm: Mm
  readonly pool: PagePool
  readonly balloons: readonly VirtioBalloon[]
  /** The host's end of each balloon. */
  readonly hosts: readonly BalloonHost[]
  /** The one file. */
  readonly file: MappingId = mappingIdOf(MAPPING_FIRST_FILE)
  /** Pages that the first picture had. */
  readonly count: number
  /** Pages of the zone. */
  readonly pages: number
  private readonly first: number
  private readonly cpu = new FastCpu()
  private readonly owner: DrawnOwner | undefined
  private nextVpn = 1
  private nextSlot = 1

  constructor(picture: string, options: TestMachineOptions) {
    const cells = picture.replace(/[\s|]/g, '')
    const start = options.start ?? pageblock_nr_pages
    const blocks = options.blocks ?? Math.max(Math.ceil(cells.length / pageblock_nr_pages), 1)
    const pages = blocks * pageblock_nr_pages
    const cpus = options.cpus ?? 1
    const marks = options.watermarks ?? 0
    const plugged = options.balloons ?? []
    const [min, low, high] = typeof marks === 'number' ? [marks, marks, marks] : marks
    assert(cells.length <= pages, 'test machine: the picture fits into the zone')
    this.count = cells.length
    this.pages = pages
    this.first = start
    this.mm = createMachine({
      pfnCount: start + pages,
      zones: [
        {
          node: 0,
          name: 'Normal',
          startPfn: start,
          spanned: pages,
          present: pages,
          managed: pages,
          min,
          low,
          high,
          pcp: Array.from({ length: cpus }, () => options.pcp ?? STRAIGHT_TO_BUDDY),
        },
      ],
      cpus,
      ptes: options.ptes ?? PTES,
      slots: options.ptes ?? PTES,
      swapSlots: options.swapSlots ?? 0,
      ownerCells:
        POOL_CELLS +
        (options.ownerCells ?? options.owner?.cells ?? 0) +
        (plugged.length === 0 ? 0 : virtioBalloonCells(plugged.length)),
      pageData: options.pageData ?? false,
      mappings: 2,
      contents: options.contents ?? true,
      rules: options.rules ?? RULES_6_18,
    })
    this.pool = createPool(this.mm, options.pgty ?? PGTY_zsmalloc, 'pool', 0)
    this.hosts = plugged.map((plug) => createBalloonHost({ frames: start + pages, ...plug }))
    this.balloons = this.plugIn(plugged, POOL_CELLS + (options.ownerCells ?? 0))
    this.owner = options.owner
    this.owner?.create(this.mm, OTHER_OWNERS, mappingIdOf(MAPPING_FIRST_FILE + 1))
    this.draw(cells.padEnd(pages, options.rest ?? 'U'))
  }

  /** The balloons' cells and lists follow those of the other owners. */
  private plugIn(plugged: readonly TestBalloonOptions[], cell: number): VirtioBalloon[] {
    if (plugged.length === 0) return []
    const plugs = plugged.map((plug, i) => ({ ...plug, end: hostEnd(this.hosts[i]) }))
    const balloons = createVirtioBalloons(this.mm, { cell, list: 16 }, plugs)
    for (const balloon of balloons) virtballoonProbe(this.cpu, this.mm, balloon)
    return balloons
  }

  /** The page at a place of the picture. */
  pfn(place: number): Pfn {
    return pfnOf(this.first + place)
  }

  /** The first pages of the picture. */
  places(pages: number): Pfn[] {
    return Array.from({ length: pages }, (_, place) => this.pfn(place))
  }

  /** Contents of what is mapped at a vpn, in memory or swapped out; 0 if nothing is. */
  contentAt(vpn: Vpn): number {
    const { mm } = this
    const pte = mm.pte[vpn]
    if (pte === 0) return 0
    if (!isSwapPte(pte)) return mm.content[ptePfn(pte)]
    const cached = pfnOf(mm.cache[pteSlot(pte)])
    return cached === 0 ? mm.swapContent[pteSlot(pte)] : mm.content[cached]
  }

  /** Maps a page once more, at a new pte. */
  map(pfn: Pfn): Vpn {
    const vpn = vpnOf(this.nextVpn++)
    mapPage(this.cpu, this.mm, vpn, pfn)
    return vpn
  }

  /** Lets the pool let go of a page, as another task would. */
  release(pfn: Pfn): boolean {
    return poolRelease(this.cpu, this.mm, this.pool, pfn)
  }

  /** Pages on the pool's list, and pages that are isolated from it. */
  poolPages(): { listed: number; isolated: number } {
    return poolPages(this.mm, this.pool)
  }

  /** The first pte that maps a page. */
  vpnOf(pfn: Pfn): Vpn {
    return vpnOf(this.mm.rmap[pfn])
  }

  /** The first page of the zone that is drawn as this letter. */
  find(letter: string): Pfn {
    const place = this.picture(this.pages).indexOf(letter)
    assert(place >= 0, 'test machine: there is such a page')
    return this.pfn(place)
  }

  /** A cpu for this machine that records. */
  recordingCpu(onWait?: OnWait): RecordingCpu {
    return new RecordingCpu(this.mm, onWait)
  }

  /** Isolates pages and puts them on a list of the task, in this order. Throws AssertionError if one refuses. */
  isolate(...pfns: readonly Pfn[]): ListNode {
    for (const pfn of pfns) {
      const answer = isolateMovablePage(this.cpu, this.mm, pfn, ISOLATE_UNEVICTABLE)
      assert(answer === ISOLATED, 'test machine: the page can be isolated')
      this.enlist(pfn)
    }
    return this.mm.taskList(this.cpu.id, 0)
  }

  /** Puts an isolated page last on the list that isolate() fills. */
  enlist(pfn: Pfn): void {
    listAddTail(this.mm.links, pfn, this.mm.taskList(this.cpu.id, 0))
  }

  /** Takes an isolated page off that list. */
  unlist(pfn: Pfn): void {
    listDel(this.mm.links, pfn)
  }

  /** Where folios may move to: the free pages, at most `limit` folios. */
  target(limit: number = Number.POSITIVE_INFINITY): MigrationTarget {
    let left = limit
    return {
      getNewFolio: (cpu, mm, _src, order) =>
        left-- > 0 ? allocFromZone(cpu, mm, zoneIdOf(0), order, MIGRATE_MOVABLE) : -1,
      putNewFolio: putPage,
    }
  }

  /** Pages of the zone that are free, per-cpu lists included. */
  get freePages(): number {
    let pages = this.mm.nrFree[zoneIdOf(0)]
    for (let set = 0; set < this.mm.cpus; set++) pages += this.mm.pcpCount[pcpIdOf(set)]
    return pages
  }

  /** Consecutive slots of a mapping that nobody uses. */
  slots(pages: number): Slot {
    const slot = slotOf(this.nextSlot)
    this.nextSlot += pages
    return slot
  }

  /** The machine as a picture, without spaces: its first `pages` pages. */
  picture(pages: number = this.count): string {
    const perCpu = this.perCpuPages()
    let drawn = ''
    while (drawn.length < pages) {
      const pfn = this.pfn(drawn.length)
      if (isBuddy(this.mm.mapcount[pfn])) drawn += '.'.repeat(1 << buddyOrder(this.mm.mapcount[pfn]))
      else if (perCpu.has(pfn)) drawn += ','
      else drawn += this.owner?.letterOf(this.mm, pfn) ?? letterOf(this.mm, pfn)
    }
    return drawn.slice(0, pages)
  }

  private perCpuPages(): Set<number> {
    const { mm } = this
    const found = new Set<number>()
    for (let list = 0; list < mm.zones * mm.cpus * NR_PCP_LISTS; list++) {
      const head = mm.pcpList(pcpIdOf(Math.floor(list / NR_PCP_LISTS)), list % NR_PCP_LISTS)
      for (let node = mm.links[2 * head]; node !== head; node = mm.links[2 * node]) found.add(node)
    }
    return found
  }

  private draw(cells: string): void {
    for (const { index, 0: run } of cells.matchAll(/\.+/g)) this.free(index, run.length)
    for (const { index, 0: folio } of cells.matchAll(/[^.]=*/g)) this.use(index, folio[0], folio.length)
  }

  /** Frees pages as the largest blocks that are aligned. */
  private free(place: number, pages: number): void {
    const end = place + pages
    let at = place
    while (at < end) {
      let order = 0
      while (order < 10 && this.pfn(at) % (2 << order) === 0 && at + (2 << order) <= end) order++
      addFreeBlock(this.mm, this.pfn(at), order)
      at += 1 << order
    }
  }

  private use(place: number, letter: string, pages: number): void {
    const { mm, cpu } = this
    const pfn = this.pfn(place)
    if (letter === ',') {
      addPcpPage(mm, mm.pcpOf(zoneIdOf(0), cpu.id), pfn)
      return
    }
    const order = Math.log2(pages)
    assert(Number.isInteger(order) && pfn % pages === 0, 'test machine: a folio is an aligned power of two')
    prepCompoundPage(cpu, mm, pfn, order)
    mm.refcount[pfn] = 1
    if (mm.hasContents) for (let i = 0; i < pages; i++) mm.content[pfnOf(pfn + i)] = 1000 + place + i
    if (letter === 'U') return
    if (letter === 'z') poolInsert(cpu, mm, this.pool, pfn)
    else if (letter === 'b') giveBalloonPage(cpu, mm, this.balloons[0], pfn)
    else if (letter === 'o' && this.owner !== undefined) this.owner.own(cpu, this, pfn)
    else if ('MSEP'.includes(letter)) this.anon(letter, pfn, pages)
    else if ('FDWB'.includes(letter)) this.cached(letter, pfn, pages)
    else fail('test machine: no such letter')
  }

  private anon(letter: string, pfn: Pfn, pages: number): void {
    const { mm, cpu } = this
    const more = { M: 0, P: 0, S: 0, E: PG_unevictable | PG_mlocked }[letter] ?? 0
    mm.flags[pfn] |= PG_uptodate | PG_swapbacked | PG_active | more
    mm.mapping[pfn] = ANON_MAPPING
    if (letter === 'S' && !(pages === 1 && folioAllocSwap(cpu, mm, pfn))) {
      addToSwapCache(cpu, mm, pfn, this.slots(pages))
    }
    for (let i = 0; i < pages; i++) this.map(pfnOf(pfn + i))
    this.onLru(pfn)
    if (letter === 'P') pinUserPage(cpu, mm, pfn)
  }

  private cached(letter: string, pfn: Pfn, pages: number): void {
    const { mm, cpu } = this
    const more = { F: 0, D: PG_dirty, W: PG_writeback, B: PG_private }[letter] ?? 0
    mm.flags[pfn] |= PG_uptodate | more
    filemapAddFolio(cpu, mm, pfn, this.file, this.slots(pages))
    if (letter === 'B') mm.refcount[pfn]++
    this.onLru(pfn)
  }

  /** Puts a folio on the LRU and drops the reference of whoever made it. */
  private onLru(pfn: Pfn): void {
    folioAddLru(this.cpu, this.mm, pfn)
    this.mm.refcount[pfn]--
  }
}

/** The machine that a picture shows. Throws AssertionError on an impossible picture. */
export const machineOf = (picture: string, options: TestMachineOptions = {}): TestMachine =>
  new TestMachine(picture, options)

function letterOf(mm: Mm, pfn: Pfn): string {
  const flags = mm.flags[pfn]
  if ((flags & COMPOUND_TAIL) !== 0) return '='
  if (mm.refcount[pfn] === 0) return '?'
  if (mm.mapcount[pfn] < 0) {
    if ((flags & PG_movable_ops) === 0) return '?'
    if ((flags & PG_movable_ops_isolated) !== 0) return 'i'
    return pageType(mm.mapcount[pfn]) === PGTY_offline && mm.private[pfn] !== 0 ? 'b' : 'z'
  }
  const anon = isAnonMapping(mm.mapping[pfn])
  if (!anon && mm.mapping[pfn] === 0) return (flags & PG_lru) !== 0 || isListed(mm.links, pfn) ? '?' : 'U'
  if ((flags & PG_lru) === 0) return 'i'
  return anon ? anonLetter(mm, pfn, flags) : cachedLetter(flags)
}

function anonLetter(mm: Mm, pfn: Pfn, flags: number): string {
  if ((flags & PG_swapcache) !== 0) return 'S'
  if ((flags & PG_unevictable) !== 0) return 'E'
  let mapped = 0
  for (let i = 0; i < 1 << compoundOrder(flags); i++) mapped += mm.mapcount[pfnOf(pfn + i)]
  return mm.refcount[pfn] > mapped ? 'P' : 'M'
}

function cachedLetter(flags: number): string {
  if ((flags & PG_writeback) !== 0) return 'W'
  if ((flags & PG_dirty) !== 0) return 'D'
  return (flags & PG_private) !== 0 ? 'B' : 'F'
}

/** One step as it was recorded. `text` is what tests compare: `lock flags[512] 0x1`, `section lruAddLocked`. */
export interface RecordedStep {
  readonly op: StepOp
  /** Name of the column in `Mm`. */
  readonly column: string
  readonly index: number
  readonly text: string
}

export type StepOp =
  | 'load'
  | 'store'
  | 'add'
  | 'decAndTest'
  | 'addUnlessZero'
  | 'cas'
  | 'testSet'
  | 'testClear'
  | 'tryLock'
  | 'lock'
  | 'unlock'
  | 'waitClear'
  | 'section'

/** Tells the step before which another task is to run. */
export type StepPredicate = (op: StepOp, column: string, index: number) => boolean

/** A `FastCpu` that records every step, and runs another task once before a step that it is told. */
export class RecordingCpu implements Cpu {
  readonly id: CpuId
  readonly steps: RecordedStep[] = []
  private readonly inner: FastCpu
  private readonly names = new Map<Int32Array, string>()
  private readonly waiting: { when: StepPredicate; run: () => void }[] = []

  constructor(mm: Mm, onWait?: OnWait, id: CpuId = cpuIdOf(0)) {
    this.inner = new FastCpu(onWait, id)
    this.id = id
    for (const [name, column] of Object.entries(mm)) {
      if (column instanceof Int32Array) this.names.set(column, name)
    }
  }

  /** Runs `task` before the n-th step (from 0) that this cpu makes from now on. */
  beforeStep(n: number, task: () => void): void {
    const at = this.steps.length + n
    this.before(() => this.steps.length === at, task)
  }

  /** Runs `task` once, before the first step from now on for which `when` holds. */
  before(when: StepPredicate, task: () => void): void {
    this.waiting.push({ when, run: task })
  }

  /** Whether a task still waits for its step. */
  get pending(): boolean {
    return this.waiting.length > 0
  }

  /** The recorded steps as texts; all, or those of some operations. */
  texts(...ops: readonly StepOp[]): string[] {
    return this.steps.filter(({ op }) => ops.length === 0 || ops.includes(op)).map(({ text }) => text)
  }

  load<I extends number>(cells: Cells<I>, i: NoInfer<I>): number {
    this.record('load', cells, i, '')
    return this.inner.load(cells, i)
  }

  store<I extends number>(cells: Cells<I>, i: NoInfer<I>, value: number): void {
    this.record('store', cells, i, ` ${value}`)
    this.inner.store(cells, i, value)
  }

  add<I extends number>(cells: Cells<I>, i: NoInfer<I>, delta: number): void {
    this.record('add', cells, i, ` ${delta}`)
    this.inner.add(cells, i, delta)
  }

  decAndTest<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    this.record('decAndTest', cells, i, '')
    return this.inner.decAndTest(cells, i)
  }

  addUnlessZero<I extends number>(cells: Cells<I>, i: NoInfer<I>): boolean {
    this.record('addUnlessZero', cells, i, '')
    return this.inner.addUnlessZero(cells, i)
  }

  cas<I extends number>(cells: Cells<I>, i: NoInfer<I>, expected: number, value: number): boolean {
    this.record('cas', cells, i, ` ${expected} ${value}`)
    return this.inner.cas(cells, i, expected, value)
  }

  testSet<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    this.record('testSet', cells, i, hex(bits))
    return this.inner.testSet(cells, i, bits)
  }

  testClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    this.record('testClear', cells, i, hex(bits))
    return this.inner.testClear(cells, i, bits)
  }

  tryLock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): boolean {
    this.record('tryLock', cells, i, hex(bits))
    return this.inner.tryLock(cells, i, bits)
  }

  lock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.record('lock', cells, i, hex(bits))
    this.inner.lock(cells, i, bits)
  }

  unlock<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.record('unlock', cells, i, hex(bits))
    this.inner.unlock(cells, i, bits)
  }

  waitClear<I extends number>(cells: Cells<I>, i: NoInfer<I>, bits: number): void {
    this.record('waitClear', cells, i, hex(bits))
    this.inner.waitClear(cells, i, bits)
  }

  atomically<I extends number, S>(
    cells: Cells<I>,
    i: NoInfer<I>,
    bits: number,
    section: (state: S, a: number, b: number, c: number) => number,
    state: S,
    a: number,
    b: number,
    c: number,
  ): number {
    this.record('section', cells, i, ` ${section.name}(${a}, ${b}, ${c})`)
    return this.inner.atomically(cells, i, bits, section, state, a, b, c)
  }

  at(): void {}

  private record<I extends number>(op: StepOp, cells: Cells<I>, index: I, more: string): void {
    const column = this.names.get(cellsOf(cells)) ?? 'cells'
    const due = this.waiting.findIndex(({ when }) => when(op, column, index))
    if (due >= 0) this.waiting.splice(due, 1).forEach(({ run }) => run())
    this.steps.push({ op, column, index, text: `${op} ${column}[${index}]${more}` })
  }
}

const hex = (bits: number): string => ` 0x${(bits >>> 0).toString(16)}`
