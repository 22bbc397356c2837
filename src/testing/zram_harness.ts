/**
 * A zram device and a naive model of it: a map from sector to bytes. Between writes, reads and discards, pages of its
 * zspages are isolated, moved and put back, objects are mapped and let go of, zsmalloc and the zone are compacted.
 *
 * After every operation the sector that it was about reads as the model says, and after some everything does, and all
 * sentences of verify.ts and zs_verify.ts hold.
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { listAddTail, listEmpty } from '../base/list.ts'
import { Prng } from '../base/prng.ts'
import { cellsOf, type ListNode, nidOf, type Pfn, pfnOf } from '../base/units.ts'
import { compactNode } from '../mm/index.ts'
import {
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  MR_COMPACTION,
  PG_movable_ops_isolated,
  PGTY_offline,
  PGTY_zsmalloc,
} from '../mm/limits.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from '../mm/migrate.ts'
import { ISOLATED, ISOLATION_REASONS, isolateMovablePage } from '../mm/movable_ops.ts'
import { type Mm, pageType } from '../mm/page.ts'
import { noDriverPageIsIsolated, taskListsAreEmpty, verify } from '../mm/verify.ts'
import {
  createZram,
  mmStat,
  type Zram,
  zramCells,
  zramFree,
  zramHandleOf,
  zramRead,
  zramWrite,
} from '../owners/zram.ts'
import { newObjectMoves, zsCompact } from '../owners/zs_compact.ts'
import { verifyZsPool } from '../owners/zs_verify.ts'
import { zsFreeDeferred, zsMapObject, zsUnmapObject } from '../owners/zsmalloc.ts'
import type { Harness } from './histories.ts'
import { machineOf, OTHER_OWNERS, type TestMachine } from './machine.ts'

const SECTORS = 160
/** A list of the task that no one else uses. */
const LIST_HELD = 23
const PAGE = 4096

export type ZramOp =
  | { readonly op: 'write'; readonly sector: number; readonly share: number; readonly seed: number }
  | { readonly op: 'read' | 'free' | 'map'; readonly sector: number }
  | { readonly op: 'isolate'; readonly which: number; readonly pages: number }
  | { readonly op: 'migrate'; readonly sync: boolean }
  | { readonly op: 'putback' | 'unmap' | 'zs_compact' | 'compact' | 'worker' | 'discard' }

const sector = fc.nat(SECTORS - 1)

export const zramOps: fc.Arbitrary<ZramOp> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ op: fc.constant('write'), sector, share: fc.nat(5000), seed: fc.nat(1 << 20) }),
  },
  { weight: 6, arbitrary: fc.record({ op: fc.constant('free'), sector }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('read'), sector }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('map'), sector }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('isolate'), which: fc.nat(500), pages: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('migrate'), sync: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom('putback', 'unmap', 'zs_compact', 'worker') }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('compact') }) },
)

export interface ZramMachine {
  readonly picture: string
  readonly chainSize: number
  readonly movable: boolean
}

export class ZramHarness implements Harness<ZramOp> {
  readonly mm: Mm
  readonly seen = new Set<string>()
  private readonly machine: TestMachine
  private readonly zram: Zram
  private readonly cpu = new FastCpu()
  private readonly model = new Map<number, Uint8Array>()
  /** Sectors whose objects somebody has mapped, and the zspage of each. */
  private readonly mapped = new Map<number, number>()
  private readonly held: ListNode
  private readonly page = new Uint8Array(PAGE)
  private operations = 0

  constructor({ picture, chainSize, movable }: ZramMachine) {
    const spec = { disksize: SECTORS, chainSize, movable }
    this.machine = machineOf(picture, {
      blocks: 2,
      pgty: PGTY_offline,
      ownerCells: zramCells(spec),
      pageData: true,
      contents: false,
    })
    this.mm = this.machine.mm
    this.zram = createZram(this.mm, OTHER_OWNERS, spec)
    this.held = this.mm.taskList(this.cpu.id, LIST_HELD)
  }

  run(op: ZramOp): void {
    this.seen.add(this.apply(op))
    if ('sector' in op) this.expectSector(op.sector)
    if (++this.operations % 32 === 0) this.expectAll()
  }

  /** Lets go of everything: nothing is left. */
  end(): void {
    this.apply({ op: 'unmap' })
    this.apply({ op: 'putback' })
    this.apply({ op: 'discard' })
    this.apply({ op: 'worker' })
    expect(mmStat(this.cpu, this.mm, this.zram)).toMatchObject({
      origDataSize: 0,
      comprDataSize: 0,
      memUsedTotal: 0,
      samePages: 0,
      hugePages: 0,
    })
    this.expectAll()
  }

  private apply(op: ZramOp): string {
    const { cpu, mm, zram } = this
    switch (op.op) {
      case 'write':
        return this.write(op.sector, pageOf(op.share, op.seed))
      case 'free':
        return this.free(op.sector)
      case 'read':
        return 'read'
      case 'map':
        return this.map(op.sector)
      case 'unmap':
        for (const zspage of this.mapped.values()) zsUnmapObject(cpu, mm, zram.pool, zspage)
        this.mapped.clear()
        return 'unmapped'
      case 'isolate':
        return this.isolate(op.which, op.pages)
      case 'migrate':
        return this.migrate(op.sync)
      case 'putback':
        putbackMovablePages(cpu, mm, this.held)
        return 'put back'
      case 'zs_compact': {
        const moves = newObjectMoves()
        zsCompact(cpu, mm, zram.pool, moves)
        return moves.pagesFreed > 0 ? 'objects moved, pages freed' : 'zs_compact'
      }
      case 'compact': {
        const [zone] = compactNode(cpu, mm, nidOf(0))
        return zone.cc.stats.pagesSucceeded > 0 ? 'zone compacted' : 'compaction'
      }
      case 'worker':
        return zsFreeDeferred(cpu, mm, zram.pool) > 0 ? 'freed by the worker' : 'worker'
      case 'discard':
        for (let at = 0; at < SECTORS; at++) this.free(at)
        return 'discarded'
    }
  }

  private write(at: number, page: Uint8Array): string {
    if (this.mapped.has(at)) return 'busy'
    const before = mmStat(this.cpu, this.mm, this.zram)
    const rc = zramWrite(this.cpu, this.mm, this.zram, at, page)
    if (rc !== 0) {
      expect(rc).toBe(-ENOMEM)
      return 'no memory'
    }
    this.model.set(at, page)
    const after = mmStat(this.cpu, this.mm, this.zram)
    if (after.hugePagesSince > before.hugePagesSince) return 'huge'
    return after.samePages > before.samePages ? 'same' : 'compressed'
  }

  private free(at: number): string {
    if (this.mapped.has(at)) return 'busy'
    expect(zramFree(this.cpu, this.mm, this.zram, at)).toBe(0)
    return this.model.delete(at) ? 'freed' : 'nothing to free'
  }

  private map(at: number): string {
    const handle = zramHandleOf(this.cpu, this.mm, this.zram, at)
    if (handle === 0 || this.mapped.has(at)) return 'nothing to map'
    this.mapped.set(at, zsMapObject(this.cpu, this.mm, this.zram.pool, handle))
    return 'mapped'
  }

  /** Some pages of zspages, one after the other. */
  private isolate(which: number, pages: number): string {
    const { cpu, mm } = this
    const mine = this.zspagePages()
    let answer = 'nothing to isolate'
    for (let i = 0; i <= pages && i < mine.length; i++) {
      const pfn = mine[(which + i) % mine.length]
      const got = isolateMovablePage(cpu, mm, pfn, 0)
      if (got === ISOLATED) listAddTail(mm.links, pfn, this.held)
      answer = ISOLATION_REASONS[got]
    }
    return answer
  }

  private zspagePages(): Pfn[] {
    const found: Pfn[] = []
    const types = cellsOf(this.mm.mapcount)
    for (let pfn = 0; pfn < types.length; pfn++)
      if (pageType(types[pfn]) === PGTY_zsmalloc) found.push(pfnOf(pfn))
    return found
  }

  private migrate(sync: boolean): string {
    const { cpu, mm } = this
    if (listEmpty(mm.links, this.held)) return 'nothing to move'
    const stats = newMigrateStats()
    migratePages(
      cpu,
      mm,
      this.held,
      this.machine.target(),
      sync ? MIGRATE_SYNC : MIGRATE_ASYNC,
      MR_COMPACTION,
      stats,
    )
    return stats.pagesFailed > 0 ? 'some moved, some not' : 'moved'
  }

  private expectSector(at: number): void {
    expect(zramRead(this.cpu, this.mm, this.zram, at, this.page)).toBe(0)
    const wanted = this.model.get(at)
    // Not by toEqual: it takes a millisecond.
    const same =
      wanted === undefined ? this.page.every((byte) => byte === 0) : Buffer.compare(this.page, wanted) === 0
    if (!same) expect([at, this.page]).toEqual([at, wanted])
  }

  private expectAll(): void {
    const { mm, zram } = this
    for (let at = 0; at < SECTORS; at++) this.expectSector(at)
    expect(mmStat(this.cpu, mm, zram).origDataSize).toBe(this.model.size * PAGE)
    const isolated = !listEmpty(mm.links, this.held)
    const busy = isolated || this.mapped.size > 0
    verifyZsPool(mm, zram.pool, !busy)
    verify(mm, isolated ? [taskListsAreEmpty, noDriverPageIsIsolated] : [])
    if (!isolated) expect(cellsOf(mm.flags).some((flags, i) => this.isIsolated(flags, i))).toBe(false)
  }

  private isIsolated(flags: number, pfn: number): boolean {
    return (flags & PG_movable_ops_isolated) !== 0 && pageType(this.mm.mapcount[pfnOf(pfn)]) === PGTY_zsmalloc
  }
}

/** A page of which `share` bytes are random: 0 is a page of equal words, 4096 and more do not compress. */
function pageOf(share: number, seed: number): Uint8Array {
  const page = new Uint8Array(PAGE)
  const words = new Uint32Array(page.buffer)
  const prng = new Prng(seed)
  const random = Math.min(share >> 2, words.length)
  const rest = share % 7 === 0 ? 0x20202020 : seed
  if (share < 200) return page.fill(seed)
  for (let i = 0; i < random; i++) words[i] = prng.next()
  words.fill(rest, random)
  return page
}
