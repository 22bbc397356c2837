/**
 * Migration of a mapped anonymous page: is a write lost, by whatever way it comes?
 *
 * The page is anonymous and mapped once. While the compactor moves it, its users write to it: through its pte,
 * through a pin that is taken without any lock, and through a second pte that fork makes before exit takes the
 * first one away. A write through a pte is one step of the hardware (actors/users.ts).
 *
 * Verified: in every state each pte that maps a page maps the one with the last write in it, and so does a pin;
 * so readers see the old bytes before and the same bytes after. Everybody who waits at a migration entry goes
 * on. At the end a page has exactly the references that its ptes make, and is free if it has none.
 *
 * Not verified here: fork as the kernel does it (under the locks of both page tables, copying a migration entry as an
 * entry; here under the page lock), copy on write (fork shares), a page table that goes away, huge pages, the swap cache, the
 * TLB as something that can be stale (a pte that is replaced is replaced for everybody at once), and the order of
 * kernels before v6.11, which copy after the move.
 *
 * `actors` are the users, the first so many of: writer, pinner, parent (fork, then exit), child (a writer at the
 * second pte). `pages` are moved one after the other; users take them in turn, parent and child the same one.
 *
 * Spec: S0-15, S0-18, M-8, M-14
 */

import { compactPage } from '../actors/compactor.ts'
import { exitPte, forkPte } from '../actors/mapper.ts'
import { pinAndWrite, type UserMachine, writeMapped } from '../actors/users.ts'
import type { Cpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf, type Vpn, vpnOf } from '../base/units.ts'
import type { System, Task } from '../check/system.ts'
import { tryGetPage } from '../mm/gup.ts'
import { MIGRATE_SYNC, PG_locked, PG_swapbacked, PG_uptodate } from '../mm/limits.ts'
import { folioAddLru, nodeOf } from '../mm/lru.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage } from '../mm/movable_ops.ts'
import { ANON_MAPPING, type Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import {
  accessPage,
  isMigrationPte,
  isPresentPte,
  mapPage,
  presentPte,
  ptePfn,
  removeMigrationPtes,
  tryToMigrate,
} from '../mm/rmap.ts'
import type { Model } from './model.ts'
import { isCounter, isFree, lockRulesOf, mapAnon, smallMachine } from './small_machine.ts'
import { lruText } from './value_text.ts'

export const migrateMapped: Model = {
  name: 'migrate-mapped',
  question: 'Is a write to an anonymous page lost while the page moves, through a pte, a pin or a fork?',
  source: 'S0-15, S0-18, M-8, M-14',
  seeded: {
    'copy-before-unmap': 'the page is copied while ptes still map it: what is written afterwards is lost',
    'no-compare':
      'nobody looks whether somebody else has a reference: what is written through a pin is lost (M-8)',
    'ptes-before-copy': 'the ptes lead to the destination before the contents are there',
    'destination-unlocked': 'the destination is filled and published without its lock',
    'entries-left': 'the move is given up, and the migration entries stay (M-10)',
    'fork-by-reference': 'fork adds a pte to a page that it has a reference on, but not the lock of',
  },
  size: { actors: 3, pages: 1 },
  sizeMax: { actors: 4, pages: 2 },
  build: ({ actors, pages: count }, seeded): System<UserMachine> => {
    const { mm, pages, spares } = smallMachine(count, count, { ptes: VPNS * count })
    const machine = userMachine(mm, pages)
    const all = [...pages, ...spares]
    return {
      name: 'migrate-mapped',
      state: machine,
      tasks: [
        {
          name: 'compactor',
          run: (cpu, state) => {
            pages.forEach((src, i) => {
              cpu.at('next', src)
              if (seeded === undefined || seeded === 'fork-by-reference')
                compactPage(cpu, state.mm, src, spares[i], MIGRATE_SYNC)
              else compactWrongly(cpu, state.mm, src, spares[i], seeded)
            })
          },
        },
        ...usersOf(pages, seeded).slice(0, actors),
      ],
      invariants: [
        {
          name: 'no-write-lost',
          says: 'a page that a pte maps holds what was written last',
          holds: isUpToDate,
        },
        {
          name: 'pins-hold',
          says: 'a page that is pinned holds what was written last',
          holds: ({ mm: state, last }, where) =>
            all.every(
              (pfn) =>
                where.count('pinned', pfn) === 0 || state.content[pfn] === last[firstVpn(pinnedOf(pages))],
            ),
        },
      ],
      atEnd: [
        {
          name: 'waiters-wake',
          says: 'no migration entry outlives its migration',
          holds: ({ mm: state }) => vpnsOf(state).every((vpn) => !isMigrationPte(state.pte[vpn])),
        },
        {
          name: 'references-exact',
          says: 'a page has as many references as ptes, and none means free',
          holds: ({ mm: state }) => all.every((pfn) => isAccounted(state, pfn)),
        },
      ],
      locks: lockRulesOf(mm),
      isPrivate: isCounter,
      valueText: lruText,
    }
  },
}

/** Ptes of one page: its first one, and that of a fork. */
const VPNS = 2
const firstVpn = (page: number): Vpn => vpnOf(VPNS * page + 1)
const forkVpn = (page: number): Vpn => vpnOf(VPNS * page + 2)
const vpnsOf = ({ pte }: Mm): Vpn[] => Array.from({ length: pte.length - 1 }, (_, i) => vpnOf(i + 1))

function userMachine(mm: Mm, pages: readonly Pfn[]): UserMachine {
  const last = new Int32Array(mm.pte.length)
  pages.forEach((pfn, i) => {
    mapAnon(mm, pfn, [firstVpn(i)])
    last[firstVpn(i)] = mm.content[pfn]
  })
  return { mm, last, origin: [vpnOf(0), ...pages.flatMap((_, i) => [firstVpn(i), firstVpn(i)])] }
}

/** Place of the page that the pinner takes. */
const pinnedOf = (pages: readonly Pfn[]): number => 1 % pages.length

function usersOf(pages: readonly Pfn[], seeded: string | undefined): Task<UserMachine>[] {
  const fork = seeded === 'fork-by-reference' ? forkByReference : forkPte
  return [
    { name: 'writer', run: (cpu, state) => writeMapped(cpu, state, firstVpn(0), 200) },
    { name: 'pinner', run: (cpu, state) => pinAndWrite(cpu, state, firstVpn(pinnedOf(pages)), 201) },
    {
      name: 'parent',
      run: (cpu, state) => {
        fork(cpu, state.mm, firstVpn(0), forkVpn(0))
        cpu.at('exit')
        exitPte(cpu, state.mm, firstVpn(0))
      },
    },
    { name: 'child', run: (cpu, state) => writeMapped(cpu, state, forkVpn(0), 202) },
  ]
}

function isUpToDate({ mm, last, origin }: UserMachine): boolean {
  return vpnsOf(mm).every((vpn) => {
    const pte = mm.pte[vpn]
    return !isPresentPte(pte) || mm.content[ptePfn(pte)] === last[origin[vpn]]
  })
}

function isAccounted(mm: Mm, pfn: Pfn): boolean {
  const ptes = vpnsOf(mm).filter((vpn) => isPresentPte(mm.pte[vpn]) && ptePfn(mm.pte[vpn]) === pfn)
  if (ptes.length === 0) return isFree(mm, pfn)
  return mm.refcount[pfn] === ptes.length && mm.mapcount[pfn] === ptes.length
}

// The mistakes.

/** What compactPage() does for a single anonymous page, with one mistake. */
export function compactWrongly(cpu: Cpu, mm: Mm, src: Pfn, dst: Pfn, seeded: string): void {
  if (isolateMovablePage(cpu, mm, src, 0) !== ISOLATED) return putAt(cpu, mm, dst)
  cpu.at('isolated', src, dst)
  cpu.lock(mm.flags, src, PG_locked)
  const locksDst = seeded !== 'destination-unlocked'
  if (locksDst) cpu.lock(mm.flags, dst, PG_locked)
  if (seeded === 'copy-before-unmap') copy(cpu, mm, dst, src)
  const left = tryToMigrate(cpu, mm, src, 1)
  if (seeded === 'ptes-before-copy') removeMigrationPtes(cpu, mm, src, dst, 1)
  const others = cpu.load(mm.refcount, src) !== 1 && seeded !== 'no-compare'
  const moves = left === 0 && !others
  if (moves) {
    if (seeded !== 'copy-before-unmap') copy(cpu, mm, dst, src)
    cpu.store(mm.mapping, dst, ANON_MAPPING)
    cpu.testSet(mm.flags, dst, PG_uptodate | PG_swapbacked)
    cpu.testClear(mm.flags, src, PG_uptodate | PG_swapbacked)
    cpu.add(mm.nrIsolatedAnon, nidOf(nodeOf(mm, src)), -1)
    folioAddLru(cpu, mm, dst)
  }
  if (seeded !== 'entries-left' || moves) removeMigrationPtes(cpu, mm, src, moves ? dst : src, 1)
  if (locksDst) cpu.unlock(mm.flags, dst, PG_locked)
  cpu.unlock(mm.flags, src, PG_locked)
  cpu.at(moves ? 'moved' : 'putting back', src, dst)
  if (moves) putPage(cpu, mm, src)
  else putbackMovablePage(cpu, mm, src)
  putAt(cpu, mm, dst)
}

function copy(cpu: Cpu, mm: Mm, dst: Pfn, src: Pfn): void {
  cpu.store(mm.content, dst, cpu.load(mm.content, src))
}

function putAt(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  cpu.at('putting', pfn)
  putPage(cpu, mm, pfn)
}

/** forkPte() without the page lock. */
function forkByReference(cpu: Cpu, mm: Mm, from: Vpn, to: Vpn): void {
  for (;;) {
    const found = accessPage(cpu, mm, from)
    if (found < 0) return
    const pfn = pfnOf(found)
    if (!tryGetPage(cpu, mm, pfn)) continue
    const same = cpu.load(mm.pte, from) === presentPte(pfn)
    if (same) mapPage(cpu, mm, to, pfn)
    cpu.at(same ? 'copied' : 'not copied', pfn, from)
    putPage(cpu, mm, pfn)
    if (same) return
  }
}
