/**
 * Two balloons of one machine and a naive model of them: how many pages each host was given, which pages are isolated, how
 * many the allocator manages. Each operation is done by the engine and told to the model; then both are compared, the
 * hosts are asked what they have, and every sentence of mm/verify.ts is checked.
 *
 * The machine has two zones, of 512 and 1024 pages, so that pages move between zones. The first device is of a host that takes whatever
 * it is given and holds the guest to what it was promised; the second one's may refuse frames, and its pages count as
 * managed (DEFLATE_ON_OOM).
 *
 * Isolated pages are on no list: the harness is who isolated them.
 *
 * @ours
 */

import fc from 'fast-check'
import { assert } from '../base/assert.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { listAddTail, listDel, listEmpty, listFirst } from '../base/list.ts'
import { cellsOf, nidOf, type Pfn, pfnOf, zoneIdOf } from '../base/units.ts'
import {
  actualFrames,
  type BalloonHost,
  createBalloonHost,
  failProbeAt,
  heldFrames,
  holdsFrame,
  hostEnd,
  refuseFrames,
  wantFrames,
} from '../host/balloon_host.ts'
import { GFP_KERNEL } from '../mm/gfp.ts'
import { compactNode, createMachine, type Mm } from '../mm/index.ts'
import {
  MIGRATE_ASYNC,
  MIGRATE_MOVABLE,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  type MigrateMode,
  MR_COMPACTION,
  PG_locked,
  PGTY_offline,
  pageTypeValue,
} from '../mm/limits.ts'
import { MUTEX_LOCKED } from '../mm/locks.ts'
import { type MigrationTarget, migratePages, newMigrateStats } from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage } from '../mm/movable_ops.ts'
import type { ZoneSpec } from '../mm/page.ts'
import { allocFromZone, putPage } from '../mm/page_alloc.ts'
import { allocPages } from '../mm/slowpath.ts'
import { noDriverPageIsIsolated, verify } from '../mm/verify.ts'
import { vmEvent } from '../mm/vmstat.ts'
import { BALLOON_CELLS } from '../owners/balloon.ts'
import { VIRTIO_BALLOON_F_DEFLATE_ON_OOM } from '../owners/virtio_balloon.ts'
import {
  createVirtioBalloons,
  isReady,
  leakBalloon,
  PROBE_STEPS,
  pagesGiven,
  updateBalloonSize,
  type VirtioBalloon,
  virtballoonProbe,
  virtballoonRemove,
  virtioBalloonCells,
  virtioBalloonIsConserved,
} from '../owners/virtio_balloon_driver.ts'

/** Something that happens. `device` is 0 or 1; `which` picks one of what there is. */
export type BalloonOp =
  | { readonly op: 'want'; readonly device: number; readonly frames: number }
  | { readonly op: 'work'; readonly device: number; readonly locked: number }
  | { readonly op: 'refuse'; readonly frames: number }
  | { readonly op: 'oom' }
  | { readonly op: 'isolate'; readonly which: number }
  | {
      readonly op: 'migrate'
      readonly mode: MigrateMode
      readonly zone: number
      readonly targets: number
      readonly busy: boolean
    }
  | { readonly op: 'putback'; readonly pages: number }
  | { readonly op: 'compact' }
  | { readonly op: 'remove'; readonly device: number; readonly moves: boolean }
  | { readonly op: 'probe'; readonly device: number; readonly failsAt: number }
  | { readonly op: 'take'; readonly pages: number }
  | { readonly op: 'give'; readonly which: number; readonly pages: number }

/** Of the two zones. The second one is of two pageblocks, so that compaction has from where and to where. */
const ZONE_PAGES = [512, 1024]
const PAGES = ZONE_PAGES[0] + ZONE_PAGES[1]
const zoneOf = (pfn: number): number => (pfn < ZONE_PAGES[0] ? 0 : 1)
const NODE = nidOf(0)
const OFFLINE = pageTypeValue(PGTY_offline)

const zone = (name: string, startPfn: number, pages: number): ZoneSpec => ({
  node: 0,
  name,
  startPfn,
  spanned: pages,
  present: pages,
  managed: pages,
  min: 0,
  low: 0,
  high: 0,
})

export class BalloonHarness {
  readonly mm: Mm
  readonly seen = new Set<string>()
  readonly balloons: readonly VirtioBalloon[]
  readonly hosts: readonly BalloonHost[]
  /** Pages that the harness has isolated, and whose they are. */
  readonly isolated = new Map<Pfn, number>()
  private readonly cpu: Cpu
  /** Pages of others. */
  private readonly others: Pfn[] = []
  private readonly given = [0, 0]
  private readonly wanted = [0, 0]
  private readonly bound = [true, true]

  /** `inUse`: of every eight pages, those that are others' from the beginning. `cpuOf` gives the cpu that everything runs on. */
  constructor(inUse: number, cpuOf: (mm: Mm) => Cpu = () => new FastCpu()) {
    this.mm = createMachine({
      pfnCount: PAGES,
      zones: [zone('DMA32', 0, ZONE_PAGES[0]), zone('Normal', ZONE_PAGES[0], ZONE_PAGES[1])],
      ownerCells: virtioBalloonCells(2),
    })
    this.cpu = cpuOf(this.mm)
    const features = [0, VIRTIO_BALLOON_F_DEFLATE_ON_OOM]
    this.hosts = features.map((offered) => createBalloonHost({ frames: PAGES, features: offered }))
    this.balloons = createVirtioBalloons(
      this.mm,
      { cell: 0, list: 0 },
      this.hosts.map((host) => ({ end: hostEnd(host) })),
    )
    for (let pfn = 0; pfn < PAGES; pfn++) {
      this.mm.refcount[pfnOf(pfn)] = 1
      if (((inUse >>> (pfn % 8)) & 1) === 0) putPage(this.cpu, this.mm, pfnOf(pfn))
      else this.others.push(pfnOf(pfn))
    }
    for (const balloon of this.balloons) virtballoonProbe(this.cpu, this.mm, balloon)
  }

  /** Does the operation on both; throws where they differ. */
  run(op: BalloonOp): void {
    this.apply(op)
    this.compare()
  }

  /** Puts everything back, removes both devices and frees all pages: the machine is as it was. */
  end(): void {
    this.run({ op: 'putback', pages: PAGES })
    for (const device of [0, 1]) this.run({ op: 'remove', device, moves: false })
    for (const host of this.hosts)
      assert(heldFrames(host) === 0, 'balloon harness: the hosts have nothing left')
    assert(!cellsOf(this.mm.mapcount).includes(OFFLINE), 'balloon harness: no page is a balloon’s')
    assert(
      cellsOf(this.mm.ownerCells)[this.balloons[0].device.cell] === 0,
      'balloon harness: no lock is held',
    )
  }

  private apply(op: BalloonOp): void {
    const { mm, cpu } = this
    switch (op.op) {
      case 'want':
        wantFrames(cpu, this.hosts[op.device], op.frames)
        this.wanted[op.device] = op.frames
        return
      case 'work':
        this.work(op.device, op.locked)
        return
      case 'refuse':
        refuseFrames(cpu, this.hosts[1], op.frames)
        return
      case 'oom':
        if (this.bound[1]) this.leak(1, leakBalloon(cpu, mm, this.balloons[1], 256))
        return
      case 'isolate':
        this.isolate(op.which)
        return
      case 'migrate':
        this.migrate(op.mode, op.zone, op.targets, op.busy)
        return
      case 'putback':
        this.putback([...this.isolated.keys()].slice(0, op.pages))
        return
      case 'compact':
        this.compact()
        return
      case 'remove':
        this.remove(op.device, op.moves)
        return
      case 'probe':
        this.probe(op.device, op.failsAt)
        return
      case 'take':
        for (let i = 0; i < op.pages; i++) {
          const pfn = allocPages(cpu, mm, GFP_KERNEL, 0, NODE)
          if (pfn >= 0) this.others.push(pfnOf(pfn))
        }
        return
      case 'give': {
        const pages = this.others.splice(op.which % Math.max(this.others.length, 1), op.pages)
        for (const pfn of pages) putPage(cpu, mm, pfn)
      }
    }
  }

  /** `locked`: one page of the device that somebody has locked meanwhile, if it is not 0. */
  private work(device: number, locked: number): void {
    const { mm, cpu } = this
    if (!this.bound[device]) return
    const refusing = this.hosts[device].state.slice()
    const pages = this.pagesOf(device).filter((pfn) => !this.isolated.has(pfn))
    const page = locked === 0 || pages.length === 0 ? undefined : pages[locked % pages.length]
    const before = this.given[device]
    const tooMany = this.wanted[device] < before
    if (page !== undefined && tooMany) mm.flags[page] |= PG_locked
    updateBalloonSize(cpu, mm, this.balloons[device])
    if (page !== undefined && tooMany) mm.flags[page] &= ~PG_locked
    const now = pagesGiven(mm, this.balloons[device])
    assert(actualFrames(this.hosts[device]) === now, 'balloon harness: the host is told how many it has')
    if (tooMany) this.leak(device, before - now)
    else {
      assert(now >= before && now - before <= 256, 'balloon harness: one message')
      if (now > before) this.seen.add('inflated')
      if (now < this.wanted[device] && now - before < 256) {
        const refused = this.hosts[device].state.some(
          (value, i) => value !== refusing[i] && value < refusing[i],
        )
        assert(
          refused || this.freePages() === 0,
          'balloon harness: fewer than asked for, as there is no memory',
        )
        this.seen.add(refused ? 'refused' : 'no memory')
      }
      this.given[device] = now
    }
    if (page !== undefined && tooMany) {
      assert(mm.private[page] === device + 1, 'balloon harness: a locked page is passed over')
      this.seen.add('passed over')
    }
  }

  private leak(device: number, pages: number): void {
    this.given[device] -= pages
    if (pages > 0) this.seen.add('deflated')
    const isolated = [...this.isolated.values()].filter((owner) => owner === device).length
    assert(this.given[device] >= isolated, 'balloon harness: what is isolated stays')
  }

  private isolate(which: number): void {
    const { mm, cpu } = this
    const pages = [...this.pagesOf(0), ...this.pagesOf(1)]
    const pfn = pages.length === 0 ? pfnOf(which % PAGES) : pages[which % pages.length]
    const owner = mm.private[pfn] - 1
    const could = pages.length > 0 && !this.isolated.has(pfn)
    const did = isolateMovablePage(cpu, mm, pfn, 0) === ISOLATED
    assert(did === could, 'balloon harness: a page is isolated once')
    if (did) this.isolated.set(pfn, owner)
    this.seen.add(did ? 'isolated' : 'not isolated')
  }

  private migrate(mode: MigrateMode, to: number, targets: number, busy: boolean): void {
    const { mm, cpu } = this
    const list = mm.taskList(cpu.id, 0)
    const moving = [...this.isolated.keys()]
    const owners = new Map(this.isolated)
    const refused = this.hosts[1].state.slice()
    const cells = cellsOf(mm.ownerCells)
    for (const pfn of moving) listAddTail(mm.links, pfn, list)
    if (busy) for (const { device } of this.balloons) cells[device.cell + BALLOON_CELLS] |= MUTEX_LOCKED
    migratePages(cpu, mm, list, this.target(to, targets), mode, MR_COMPACTION, newMigrateStats())
    if (busy) for (const { device } of this.balloons) cells[device.cell + BALLOON_CELLS] &= ~MUTEX_LOCKED
    this.isolated.clear()
    while (!listEmpty(mm.links, list)) {
      const pfn = pfnOf(listFirst(mm.links, list))
      listDel(mm.links, pfn)
      this.isolated.set(pfn, owners.get(pfn) ?? -1)
    }
    const moved = moving.filter((pfn) => !this.isolated.has(pfn))
    assert(!busy || moved.length === 0, 'balloon harness: nothing moves while the device is busy')
    if (busy && moving.length > 0) this.seen.add('busy')
    if (moved.length > 0) this.seen.add('moved')
    if (moved.some((pfn) => zoneOf(pfn) !== to)) this.seen.add('moved to another zone')
    // What the second host refused is gone from the balloon; the migrations succeeded.
    const lost = refused[REFUSING] - this.hosts[1].state[REFUSING]
    if (lost > 0) this.seen.add('not taken')
    this.given[1] -= lost
  }

  private target(to: number, limit: number): MigrationTarget {
    let left = limit
    return {
      getNewFolio: (cpu, mm, _src, order) =>
        left-- > 0 ? allocFromZone(cpu, mm, zoneIdOf(to), order, MIGRATE_MOVABLE) : -1,
      putNewFolio: putPage,
    }
  }

  private putback(pages: readonly Pfn[]): void {
    for (const pfn of pages) {
      putbackMovablePage(this.cpu, this.mm, pfn)
      this.isolated.delete(pfn)
      this.seen.add('put back')
    }
  }

  private compact(): void {
    const { mm } = this
    const before = vmEvent(mm, 'balloon_migrate')
    const refusing = this.hosts[1].state[REFUSING]
    compactNode(this.cpu, mm, NODE)
    this.given[1] -= refusing - this.hosts[1].state[REFUSING]
    if (vmEvent(mm, 'balloon_migrate') > before) this.seen.add('compacted')
  }

  private remove(device: number, moves: boolean): void {
    const { mm } = this
    if (!this.bound[device]) return
    wantFrames(this.cpu, this.hosts[device], 0) // its host unplugs it
    this.wanted[device] = 0
    const waiting = [...this.isolated].filter(([, owner]) => owner === device).length
    let waits = 0
    const comeBack = (): void => {
      waits++
      this.given[device] = pagesGiven(mm, this.balloons[device])
      if (moves) this.migrate(MIGRATE_SYNC, 0, PAGES, false)
      this.putback([...this.isolated].filter(([, owner]) => owner === device).map(([pfn]) => pfn))
    }
    virtballoonRemove(new FastCpu(comeBack, this.cpu.id), mm, this.balloons[device])
    assert(
      waits > 0 === waiting > 0,
      'balloon harness: a removal waits for isolated pages, and for nothing else',
    )
    this.bound[device] = false
    this.given[device] = 0
    this.seen.add(waiting > 0 ? 'removed while isolated' : 'removed')
  }

  private probe(device: number, failsAt: number): void {
    const { mm, cpu } = this
    if (this.bound[device]) return
    const before = mm.arena.snapshot()
    failProbeAt(cpu, this.hosts[device], failsAt)
    this.bound[device] = virtballoonProbe(cpu, mm, this.balloons[device]) === 0
    failProbeAt(cpu, this.hosts[device], -1)
    assert(this.bound[device] === failsAt < 0, 'balloon harness: a probe fails where it is made to')
    if (failsAt < 0) return
    assert(mm.arena.diff(before).length === 0, 'balloon harness: a probe that fails leaves nothing')
    this.seen.add('probe failed')
  }

  private pagesOf(device: number): Pfn[] {
    const { mm } = this
    const pages: Pfn[] = []
    for (let pfn = pfnOf(0); pfn < PAGES; pfn = pfnOf(pfn + 1)) {
      if (mm.mapcount[pfn] === OFFLINE && mm.private[pfn] === device + 1) pages.push(pfn)
    }
    return pages
  }

  private freePages(): number {
    return this.mm.nrFree[zoneIdOf(0)] + this.mm.nrFree[zoneIdOf(1)]
  }

  private compare(): void {
    const { mm } = this
    verify(mm, this.isolated.size === 0 ? [] : [noDriverPageIsIsolated])
    const pages = [this.pagesOf(0), this.pagesOf(1)]
    this.balloons.forEach((balloon, device) => {
      const host = this.hosts[device]
      const found = virtioBalloonIsConserved(mm, balloon)
      assert(found === undefined, found ?? '')
      assert(
        pagesGiven(mm, balloon) === this.given[device],
        'balloon harness: as many pages as the model has',
      )
      assert(heldFrames(host) === this.given[device], 'balloon harness: as many frames as the model has')
      assert(
        pages[device].every((pfn) => holdsFrame(host, pfn)),
        'balloon harness: the host has the balloon’s pages',
      )
      assert(
        isReady(this.cpu, mm, balloon) === this.bound[device],
        'balloon harness: bound as the model says',
      )
    })
    const [all0, all1] = this.given
    assert(
      this.freePages() === PAGES - this.others.length - all0 - all1,
      'balloon harness: what nobody has is free',
    )
    const counted = vmEvent(mm, 'balloon_inflate') - vmEvent(mm, 'balloon_deflate')
    assert(counted === all0 + all1, 'balloon harness: inflated less deflated is what there is')
    // Only the first device's pages are taken from what is managed.
    ZONE_PAGES.forEach((all, i) => {
      const away = pages[0].filter((pfn) => zoneOf(pfn) === i).length
      assert(mm.zoneManaged[zoneIdOf(i)] === all - away, 'balloon harness: managed pages')
    })
  }
}

/** Cell of a host's state: frames that it will refuse. */
const REFUSING = 4

const device = fc.constantFrom(0, 1)

/** Random operations. */
export const balloonOps = (): fc.Arbitrary<BalloonOp> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ op: fc.constant('want'), device, frames: fc.nat({ max: 900 }) }) },
    {
      weight: 6,
      arbitrary: fc.record({ op: fc.constant('work'), device, locked: fc.nat({ max: 3 }) }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('refuse'), frames: fc.nat({ max: 3 }) }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('oom') }) },
    { weight: 8, arbitrary: fc.record({ op: fc.constant('isolate'), which: fc.nat() }) },
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant('migrate'),
        mode: fc.constantFrom(MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC),
        zone: fc.constantFrom(0, 1),
        targets: fc.nat({ max: 8 }),
        busy: fc.nat({ max: 5 }).map((n) => n === 0),
      }),
    },
    { weight: 3, arbitrary: fc.record({ op: fc.constant('putback'), pages: fc.nat({ max: 8 }) }) },
    { weight: 4, arbitrary: fc.record({ op: fc.constant('compact') }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('remove'), device, moves: fc.boolean() }) },
    {
      weight: 3,
      arbitrary: fc.record({
        op: fc.constant('probe'),
        device,
        failsAt: fc.constantFrom(-1, -1, ...PROBE_STEPS.keys()),
      }),
    },
    { weight: 2, arbitrary: fc.record({ op: fc.constant('take'), pages: fc.nat({ max: 64 }) }) },
    {
      weight: 4,
      arbitrary: fc.record({ op: fc.constant('give'), which: fc.nat(), pages: fc.nat({ max: 32 }) }),
    },
  )
