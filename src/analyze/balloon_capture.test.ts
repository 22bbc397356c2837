/**
 * The balloon against real ones: guests of QEMU with 324 MiB in a balloon, in fragmented memory (Linux 6.1, captures c0 and
 * c1). Their balloon pages are given to the engine's balloon, the machine is compacted as the kernel compacted it, and
 * the counters are compared. Then the balloon is deflated.
 *
 * c1 is the same workload with a balloon whose pages cannot move. A machine is loaded with all recorded truth: which
 * pageblocks are of which type, and in which order free blocks lie.
 */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { isListed, listDel } from '../base/list.ts'
import { type Pfn, pfnOf } from '../base/units.ts'
import { sysctlCompactMemory } from '../mm/compaction.ts'
import { PG_movable_ops, PGTY_offline, pageTypeValue } from '../mm/limits.ts'
import { movableOpsOf } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { vmEvent } from '../mm/vmstat.ts'
import { VIRTIO_BALLOON_F_DEFLATE_ON_OOM } from '../owners/virtio_balloon.ts'
import {
  createVirtioBalloons,
  giveBalloonPage,
  leakBalloon,
  pagesGiven,
  type VirtioBalloon,
  virtballoonProbe,
  virtioBalloonCells,
  virtioBalloonIsConserved,
} from '../owners/virtio_balloon_driver.ts'
import { type BalloonHost, createBalloonHost, heldFrames, hostEnd } from '../testing/balloon_host.ts'
import { importReference, referenceCapture, valueOf } from '../testing/reference.ts'
import { LOADED_CELLS, loadMachine } from './load.ts'
import { BALLOON_POOL } from './load_pages.ts'
import { buildPageMap } from './page_map.ts'

const cpu = new FastCpu()
const OFFLINE = pageTypeValue(PGTY_offline)

interface Ballooned {
  readonly mm: Mm
  readonly balloon: VirtioBalloon
  readonly host: BalloonHost
}

/** The machine of a capture, its balloon's pages with the engine's balloon instead of the pool that they are loaded to. */
function withBalloon(name: string, movable: boolean): Ballooned {
  const capture = importReference(`qemu/${name}`, 'before')
  const options = { ownerCells: virtioBalloonCells(1) }
  const mm = valueOf(loadMachine(capture, valueOf(buildPageMap(capture)), options))
  const host = createBalloonHost({
    frames: mm.pfnCount,
    features: VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
    order: false,
  })
  const pages = takePages(mm)
  mm.movableOps[movableOpsOf(OFFLINE, PG_movable_ops)] = undefined
  const place = { cell: LOADED_CELLS, list: BALLOON_POOL + 1 }
  const [balloon] = createVirtioBalloons(mm, place, [{ end: hostEnd(host), movable }])
  virtballoonProbe(cpu, mm, balloon)
  for (const pfn of pages) giveBalloonPage(cpu, mm, balloon, pfn)
  mm.events.fill(0)
  return { mm, balloon, host }
}

/** The balloon's pages as the loader has made them, of a pool if they can move; as allocated pages that are nobody's. */
function takePages(mm: Mm): Pfn[] {
  const pages: Pfn[] = []
  for (let pfn = pfnOf(0); pfn < mm.pfnCount; pfn = pfnOf(pfn + 1)) {
    if (mm.mapcount[pfn] !== OFFLINE) continue
    if (isListed(mm.links, pfn)) listDel(mm.links, pfn)
    mm.flags[pfn] &= ~PG_movable_ops
    mm.mapcount[pfn] = 0
    pages.push(pfn)
  }
  return pages
}

/** Compacts as the guest did, and says how far that was. */
function compact(name: string, { mm }: Ballooned): { balloonMigrate: number; migrated: number } {
  sysctlCompactMemory(cpu, mm, 1)
  const balloonMigrate = vmEvent(mm, 'balloon_migrate')
  const migrated = vmEvent(mm, 'pgmigrate_success')
  console.info(`${name}: balloon_migrate ${balloonMigrate}, pgmigrate_success ${migrated}`)
  return { balloonMigrate, migrated }
}

const absent = referenceCapture('qemu') === undefined

/** /proc/vmstat, after less before: balloon_migrate 34,896, pgmigrate_success 37,255. */
test.skipIf(absent)(
  'a balloon that can move: its pages move as in the guest, to the page, and all come back',
  () => {
    const guest = withBalloon('c0-balloon-movable', true)
    const { mm, balloon, host } = guest
    expect(pagesGiven(mm, balloon)).toBe(82_944)
    expect(compact('c0', guest)).toEqual({ balloonMigrate: 34_896, migrated: 37_255 })
    expect(virtioBalloonIsConserved(mm, balloon)).toBe(undefined)
    expect(heldFrames(host)).toBe(82_944)
    while (leakBalloon(cpu, mm, balloon, 256) > 0);
    expect([vmEvent(mm, 'balloon_deflate'), heldFrames(host)]).toEqual([82_944, 0])
  },
)

/** balloon_migrate 0, pgmigrate_success 2,825. */
test.skipIf(absent)('a balloon that cannot move: none of its pages does, and little else', () => {
  const guest = withBalloon('c1-balloon-unmovable', false)
  expect(pagesGiven(guest.mm, guest.balloon)).toBe(82_944)
  expect(compact('c1', guest)).toEqual({ balloonMigrate: 0, migrated: 2825 })
  expect(heldFrames(guest.host)).toBe(82_944)
})
