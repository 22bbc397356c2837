/**
 * Two kinds of pins and two answers: which gives compaction its huge pages back? npx tsx examples/which_pin_helps.ts
 *
 * 4 blocks of 2 MiB are for anything (Normal), 4 for what can move (Movable). Each of Normal has a page of a kernel ring
 * in it, each of Movable a page of user space that a device has been given for long. All else is free.
 */
import { addFreeBlock } from '../src/mm/free_area.ts'
import { FOLL_LONGTERM, FOLL_PIN, pinUserPages } from '../src/mm/gup_longterm.ts'
import {
  compactNode,
  createMachine,
  FastCpu,
  faultAnon,
  MIGRATE_MOVABLE,
  nidOf,
  pfnOf,
  putPage,
  vpnOf,
  zoneIdOf,
} from '../src/mm/index.ts'
import { allocFromZone } from '../src/mm/page_alloc.ts'
import { zapPte } from '../src/mm/rmap.ts'
import { freePagesInBlocks } from '../src/mm/vmstat.ts'
import { createPinInfo, pinInfoCells } from '../src/owners/pin_info.ts'
import { createPinpages, pinpageCells, registerPinSystem, setPinpage } from '../src/owners/pinpage.ts'

const cpu = new FastCpu()
const PAGES = 4 * 512
const INFO = { ranges: 4, groups: 1 }
const ownerCells = pinpageCells(1) + pinInfoCells(INFO)
const SIZE = { spanned: PAGES, present: PAGES, managed: PAGES, min: 0, low: 0, high: 0 }
const zones = ['Normal', 'Movable'].map((name, i) => ({ node: 0, name, startPfn: 512 + i * PAGES, ...SIZE }))
const pfnCount = 512 + 2 * PAGES
const MACHINE = { pfnCount, zones, ptes: PAGES, ownerCells, thp: { enabled: 'never' } } as const

/** Huge pages of both that compaction gets. `ring`: not under pin page control, each page alone, or a group. */
export function freeHugePages(ring: 'not' | 'alone' | 'group', foll: number): number[] {
  const mm = createMachine(MACHINE)
  for (let block = 1; block <= 8; block++) addFreeBlock(mm, pfnOf(block * 512), 9)
  const all = Array.from({ length: PAGES }, (_, i) => vpnOf(i + 1))
  for (const vpn of all) faultAnon(cpu, mm, vpn, 0, { start: vpnOf(1), end: vpnOf(PAGES + 1) })
  const kernel = all.map(() => pfnOf(allocFromZone(cpu, mm, zoneIdOf(0), 0, MIGRATE_MOVABLE)))
  for (const vpn of all) if (vpn % 512 !== 1) zapPte(cpu, mm, vpn)
  for (const pfn of kernel) if (pfn % 512 !== 7) putPage(cpu, mm, pfn)

  const info = createPinInfo(mm, pinpageCells(1), INFO)
  const system = { name: 'ring', info, quiesce: () => 0, movePage: () => {}, resume: () => {} }
  const pp = createPinpages(mm, { cell: 0, list: 0 }, { systems: [system] })
  registerPinSystem(cpu, mm, pp, 0)
  const pages = ring === 'not' ? [] : kernel.filter((pfn) => pfn % 512 === 7)
  for (const pfn of pages) setPinpage(cpu, mm, pp, pfn, { system: 0, group: ring === 'group' ? 1 : 0 })
  for (const vpn of all) if (vpn % 512 === 1) pinUserPages(cpu, mm, vpn, 1, foll, [])
  compactNode(cpu, mm, nidOf(0))
  return zones.map((_, zone) => freePagesInBlocks(mm, zoneIdOf(zone), 9) / 512)
}

if (process.argv[1]?.endsWith('which_pin_helps.ts')) {
  for (const ring of ['not', 'alone', 'group'] as const) console.log(ring, freeHugePages(ring, FOLL_PIN))
  console.log('longterm', freeHugePages('not', FOLL_PIN | FOLL_LONGTERM))
}
