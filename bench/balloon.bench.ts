/**
 * How fast does a balloon take pages, give them back, and let them move, with its host?
 *
 *   inflate, deflate   half of the machine's pages, 256 a message, through the whole path: allocator, host, list
 *   both               the two together: what the budget is for
 *   migrate            all pages of the balloon, from one half of the machine to the other, 512 a list
 *
 * There is no twin: the rate is of CPU time.
 */

import { assert } from '../src/base/assert.ts'
import { type Cpu, FastCpu } from '../src/base/cpu.ts'
import { listAddTail, listEmpty } from '../src/base/list.ts'
import { type Pfn, pfnOf, zoneIdOf } from '../src/base/units.ts'
import { createBalloonHost, heldFrames, hostEnd, wantFrames } from '../src/host/balloon_host.ts'
import { createMachine, type Mm } from '../src/mm/index.ts'
import { MIGRATE_ASYNC, MIGRATE_MOVABLE, MR_COMPACTION } from '../src/mm/limits.ts'
import { migratePages, newMigrateStats } from '../src/mm/migrate.ts'
import { ISOLATED, isolateMovablePage } from '../src/mm/movable_ops.ts'
import type { ZoneSpec } from '../src/mm/page.ts'
import { allocFromZone, putPage } from '../src/mm/page_alloc.ts'
import { vmEvent } from '../src/mm/vmstat.ts'
import {
  createVirtioBalloons,
  updateBalloonSize,
  type VirtioBalloon,
  virtballoonProbe,
  virtioBalloonCells,
} from '../src/owners/virtio_balloon_driver.ts'
import { type Bench, type BenchCase, type Sample, type Size, timed } from './bench.ts'

const MILLION = 1 << 20
const WARM_PAGES = 1 << 17
/** Pages a second that are taken and given back. */
const RATE_LEAST = 5e6
const LIST = 512
const SPARE = 4096

export const bench: Bench = {
  question: 'How fast does a balloon take pages, give them back, and let them move, with its host?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  const pages = size === 'quick' ? WARM_PAGES : 2 * MILLION
  const moved = pages / 2
  return [
    {
      name: `balloon of ${moved >= MILLION ? `${moved / MILLION} M` : moved} pages`,
      args: [String(pages), size === 'quick' ? '1' : '5'],
      budgets:
        size === 'quick' ? [] : [{ of: 'both', kind: 'ms', most: Math.floor((moved / RATE_LEAST) * 1000) }],
      ops: moved,
    },
  ]
}

function measure([pageCount, roundCount]: readonly string[]): Sample {
  // So that the compiler has done its work, as after the first second of any run.
  measureRounds(WARM_PAGES, 3)
  return measureRounds(Number(pageCount), Number(roundCount))
}

function measureRounds(pages: number, rounds: number): Sample {
  const cpu = new FastCpu()
  const half = pages / 2
  const mm = halves(cpu, half)
  const host = createBalloonHost({ frames: pages + SPARE, order: false })
  const [balloon] = createVirtioBalloons(mm, { cell: 0, list: 0 }, [{ end: hostEnd(host) }])
  virtballoonProbe(cpu, mm, balloon)
  const ms: Record<string, number[]> = { inflate: [], deflate: [], both: [], migrate: [] }
  for (let round = 0; round < rounds; round++) {
    wantFrames(cpu, host, half)
    const inflate = timed(() => resize(cpu, mm, balloon))
    const migrate = timed(() => moveAll(cpu, mm, half))
    wantFrames(cpu, host, 0)
    const deflate = timed(() => resize(cpu, mm, balloon))
    ms['inflate'].push(inflate)
    ms['deflate'].push(deflate)
    ms['both'].push(inflate + deflate)
    ms['migrate'].push(migrate)
  }
  return {
    ms,
    counts: {
      inflated: vmEvent(mm, 'balloon_inflate'),
      deflated: vmEvent(mm, 'balloon_deflate'),
      migrated: vmEvent(mm, 'balloon_migrate'),
      held: heldFrames(host),
    },
    hashes: {},
  }
}

/** A machine of two zones, both free: the first holds the balloon, the second has room to spare for what moves there. */
function halves(cpu: Cpu, pages: number): Mm {
  const all = 2 * pages + SPARE
  const zone = (node: number, startPfn: number, spanned: number): ZoneSpec => ({
    node,
    name: 'Normal',
    startPfn,
    spanned,
    present: spanned,
    managed: spanned,
    min: 0,
    low: 0,
    high: 0,
    pcp: [{ high: 512, highMin: 512, highMax: 512, batch: 63 }],
  })
  const mm = createMachine({
    pfnCount: all,
    zones: [zone(0, 0, pages), zone(1, pages, pages + SPARE)],
    ownerCells: virtioBalloonCells(1),
  })
  for (let pfn = 0; pfn < all; pfn++) {
    mm.refcount[pfnOf(pfn)] = 1
    putPage(cpu, mm, pfnOf(pfn))
  }
  return mm
}

/** Messages until the host has what it wants. */
function resize(cpu: Cpu, mm: Mm, balloon: VirtioBalloon): void {
  let left = updateBalloonSize(cpu, mm, balloon)
  while (left !== 0) {
    const next = updateBalloonSize(cpu, mm, balloon)
    assert(Math.abs(next) < Math.abs(left), 'bench: the balloon gets nearer to what its host wants')
    left = next
  }
}

/** Moves every page of the balloon from the first zone to the second one. */
function moveAll(cpu: Cpu, mm: Mm, half: number): void {
  const list = mm.taskList(cpu.id, 0)
  const to = zoneIdOf(1)
  const target = {
    getNewFolio: (by: Cpu, machine: Mm, _src: Pfn, order: number) =>
      allocFromZone(by, machine, to, order, MIGRATE_MOVABLE),
    putNewFolio: putPage,
  }
  const stats = newMigrateStats()
  let listed = 0
  for (let pfn = 0; pfn < half; pfn++) {
    if (isolateMovablePage(cpu, mm, pfnOf(pfn), 0) !== ISOLATED) continue
    listAddTail(mm.links, pfn, list)
    if (++listed < LIST) continue
    migratePages(cpu, mm, list, target, MIGRATE_ASYNC, MR_COMPACTION, stats)
    listed = 0
  }
  if (listed > 0) migratePages(cpu, mm, list, target, MIGRATE_ASYNC, MR_COMPACTION, stats)
  assert(listEmpty(mm.links, list), 'bench: all pages have moved')
}
