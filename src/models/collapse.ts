/**
 * Collapse against those who use the range: is a write lost, is memory mapped again that was unmapped?
 *
 * A range of two ptes is collapsed into one folio of two pages. Meanwhile its users write to it through a pte and
 * through a pin that is taken without any lock, unmap it, move its pages, and fill what is empty.
 *
 * Verified: in every state each pte that maps a page maps the one with the last write in it, and so does a pin; what
 * was unmapped does not come back with its old contents; at the end no migration entry is left, a page has exactly
 * the references that its ptes make, is on the LRU if it has any and free if it has none, and nothing counts as
 * isolated.
 *
 * Not verified here: ranges of more than two ptes, pages of larger folios, pages that another process maps, the swap
 * cache, two collapses of one range (the kernel's lock of the address space excludes them), the allocation of the
 * folio, which happens before anything is taken.
 *
 * `actors` are the users, the first so many of: writer and pinner (of the first pte), exit and fault (of the second).
 * `pages` are mapped before: of one, the second pte is empty. With `collapseSystem` others of them, and a compactor.
 *
 * Spec: R-3, M-8, M-14
 */

import { compactPage } from '../actors/compactor.ts'
import { exitPte } from '../actors/mapper.ts'
import { pinAndWrite, type UserMachine, writeMapped } from '../actors/users.ts'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf, type Vpn, type VpnColumn, vpnOf } from '../base/units.ts'
import type { System, Task } from '../check/system.ts'
import {
  CollapseControl,
  collapseInto,
  commitRange,
  copyRange,
  isolateRange,
  referencesAreExpected,
  releasePages,
  restoreRange,
  SCAN_SUCCEED,
} from '../mm/collapse.ts'
import { MIGRATE_SYNC, PG_locked, PG_lru } from '../mm/limits.ts'
import { SPIN_LOCKED } from '../mm/locks.ts'
import { folioExpectedRefCount } from '../mm/lru_ops.ts'
import { initAnonFolioLocked } from '../mm/memory.ts'
import { LRU_INACTIVE_ANON, type Mm } from '../mm/page.ts'
import { prepCompoundPage, putPage } from '../mm/page_alloc.ts'
import { fillPtes, mapNewFolio, PTE_MIGRATION, PTE_PRESENT, ptePfn, RMAP, unchain } from '../mm/rmap.ts'
import type { Model } from './model.ts'
import { isCounter, isFree, listLength, lockRulesOf, mapAnon, smallMachine } from './small_machine.ts'
import { lruText } from './value_text.ts'

export const collapse: Model = {
  name: 'collapse',
  question: 'Is a write lost, or memory mapped again, while a range is collapsed into a huge page?',
  source: 'R-3, M-8, M-14',
  seeded: {
    'copy-before-take': 'the pages are copied while ptes still map them: what is written afterwards is lost',
    'no-compare': 'nobody looks whether somebody else has a reference: what is written through a pin is lost',
    'compare-before-take': 'references are compared while ptes still let a pin in: it is not seen',
    'commit-unchecked': 'the folio is mapped without a look whether the ptes are as they were left',
    'entries-left': 'the collapse is given up, and its migration entries stay',
  },
  size: { actors: 3, pages: 2 },
  sizeMax: { actors: 4, pages: 2 },
  build: ({ actors, pages }, seeded) => collapseSystem(USERS.slice(0, actors), pages, seeded),
}

/** Users by name, in the order in which the model takes them. */
const USERS = ['writer', 'pinner', 'exit', 'fault']

/** The model with any of its users, and with a `compactor` that moves the first page if it is among them. */
export function collapseSystem(
  users: readonly string[],
  count: number,
  seeded?: string,
): System<UserMachine> {
  const { mm, pages, spares } = smallMachine(count, 3, { ptes: LAST })
  const [folio, fresh, target] = spares
  prepCompoundPage(setup, mm, folio, ORDER)
  mm.content[fresh] = FRESH
  const machine = userMachine(mm, pages)
  const singles = [...pages, fresh, target]
  return {
    name: 'collapse',
    state: machine,
    tasks: [
      {
        name: 'khugepaged',
        run: (cpu, { mm: state }) => {
          const collapsed = collapseAs(cpu, state, folio, seeded)
          cpu.at(collapsed ? 'collapsed' : 'giving up', folio)
          if (!collapsed) putPage(cpu, state, folio)
        },
      },
      ...usersOf(pages[0], target, fresh).filter(({ name }) => users.includes(name)),
    ],
    invariants: [
      {
        name: 'no-write-lost',
        says: 'a page that a pte maps holds what was written last',
        holds: ({ mm: state, last }) =>
          RANGE.every((vpn) => {
            const pte = state.pte[vpn]
            return (pte & PTE_PRESENT) === 0 || mayHold(last, vpn, state.content[ptePfn(pte)])
          }),
      },
      {
        name: 'pins-hold',
        says: 'a page that is pinned holds what was written last',
        holds: ({ mm: state, last }, where) =>
          [pages[0], target].every(
            (pfn) => where.count('pinned', pfn) === 0 || state.content[pfn] === last[FIRST],
          ),
      },
    ],
    atEnd: [
      {
        name: 'waiters-wake',
        says: 'no migration entry outlives the collapse',
        holds: ({ mm: state }) => RANGE.every((vpn) => (state.pte[vpn] & PTE_MIGRATION) === 0),
      },
      {
        name: 'references-exact',
        says: 'a folio has as many references as ptes, is on the LRU then, and none means free',
        holds: ({ mm: state }) =>
          singles.every((pfn) => isAccounted(state, pfn, 1)) && isAccounted(state, folio, 1 << ORDER),
      },
      {
        name: 'nothing-isolated',
        says: 'pages that count as isolated are put back, and the LRU counts what it has',
        holds: ({ mm: state }) => state.nrIsolatedAnon[nidOf(0)] === 0 && lruIsCounted(state, folio),
      },
    ],
    locks: lockRulesOf(mm),
    isPrivate: isCounter,
    valueText: lruText,
  }
}

const ORDER = 1
/** The range: two ptes, the first at a multiple of two. */
const FIRST = vpnOf(2)
const LAST = vpnOf(3)
const RANGE = [FIRST, LAST]
/** What the page of a fault holds. */
const FRESH = 300

/** The cell of `last` that says whether exit has begun. */
const UNMAPPED = vpnOf(0)

const setup = new FastCpu()

function userMachine(mm: Mm, pages: readonly Pfn[]): UserMachine {
  const last = new Int32Array(mm.pte.length)
  pages.forEach((pfn, i) => {
    mapAnon(mm, pfn, [RANGE[i]])
    last[RANGE[i]] = mm.content[pfn]
  })
  return { mm, last, origin: [vpnOf(0), vpnOf(1), ...RANGE] }
}

/** True if memory at `vpn` may read so: as written last, as a fault has filled it, zero where it was unmapped before. */
function mayHold(last: VpnColumn, vpn: Vpn, content: number): boolean {
  if (content === last[vpn]) return true
  return vpn === LAST && (content === FRESH || (content === 0 && last[UNMAPPED] === 1))
}

function usersOf(first: Pfn, target: Pfn, fresh: Pfn): Task<UserMachine>[] {
  return [
    { name: 'writer', run: (cpu, state) => writeMapped(cpu, state, FIRST, 200) },
    { name: 'pinner', run: (cpu, state) => pinAndWrite(cpu, state, FIRST, 201) },
    {
      name: 'exit',
      run: (cpu, { mm, last }) => {
        cpu.store(last, UNMAPPED, 1)
        exitPte(cpu, mm, LAST)
        cpu.store(last, LAST, 0) // what is there from now on is another page
      },
    },
    { name: 'compactor', run: (cpu, { mm }) => compactPage(cpu, mm, first, target, MIGRATE_SYNC) },
    {
      name: 'fault',
      run: (cpu, { mm }) => {
        cpu.lock(mm.flags, fresh, PG_locked)
        initAnonFolioLocked(cpu, mm, fresh)
        cpu.unlock(mm.flags, fresh, PG_locked)
        const mapped = mapNewFolio(cpu, mm, LAST, fresh, 1)
        cpu.at(mapped ? 'mapped' : 'raced', fresh)
        if (!mapped) putPage(cpu, mm, fresh)
      },
    },
  ]
}

/** A folio that nobody has used yet has its one reference, and is on no list. */
function isAccounted(mm: Mm, head: Pfn, pages: number): boolean {
  const mapped = RANGE.filter((vpn) => {
    const page = ptePfn(mm.pte[vpn])
    return (mm.pte[vpn] & PTE_PRESENT) !== 0 && page >= head && page < head + pages
  })
  if (mapped.length === 0) return isFree(mm, head) || (mm.refcount[head] === 1 && mm.mapping[head] === 0)
  const counted = mapped.every((vpn) => mm.mapcount[ptePfn(mm.pte[vpn])] === 1)
  return counted && mm.refcount[head] === mapped.length && (mm.flags[head] & PG_lru) !== 0
}

function lruIsCounted(mm: Mm, folio: Pfn): boolean {
  const listed = listLength(mm, mm.lruList(0, LRU_INACTIVE_ANON))
  const extra = (mm.flags[folio] & PG_lru) === 0 ? 0 : (1 << ORDER) - 1
  return mm.nrLru[LRU_INACTIVE_ANON] === listed + extra
}

function collapseAs(cpu: Cpu, mm: Mm, folio: Pfn, seeded: string | undefined): boolean {
  const cc = new CollapseControl(mm, ORDER)
  if (seeded === undefined) return collapseInto(cpu, cc, FIRST, folio) === SCAN_SUCCEED
  return collapseWrongly(cpu, cc, folio, seeded)
}

// The mistakes.

/** What collapseInto() does, with one mistake. */
function collapseWrongly(cpu: Cpu, cc: CollapseControl, folio: Pfn, seeded: string): boolean {
  const { mm } = cc
  if (seeded === 'compare-before-take' && !comparedEarly(cpu, mm)) return false
  if (seeded === 'copy-before-take') copyMapped(cpu, mm, folio)
  if (isolateRange(cpu, cc, FIRST) !== SCAN_SUCCEED) return false
  const compares = seeded !== 'no-compare' && seeded !== 'compare-before-take'
  const alone = !compares || referencesAreExpected(cpu, cc)
  if (alone && seeded !== 'copy-before-take') copyRange(cpu, cc, folio)
  const commit = seeded === 'commit-unchecked' ? commitUnchecked : commitRange
  const done = alone && commit(cpu, cc, FIRST, folio)
  if (!done && seeded !== 'entries-left') restoreRange(cpu, cc, FIRST)
  releasePages(cpu, cc)
  return done
}

function comparedEarly(cpu: Cpu, mm: Mm): boolean {
  return RANGE.every((vpn) => {
    const pte = cpu.load(mm.pte, vpn)
    if ((pte & PTE_PRESENT) === 0) return true
    return cpu.load(mm.refcount, ptePfn(pte)) === folioExpectedRefCount(cpu, mm, ptePfn(pte))
  })
}

function copyMapped(cpu: Cpu, mm: Mm, folio: Pfn): void {
  cpu.lock(mm.flags, folio, PG_locked)
  initAnonFolioLocked(cpu, mm, folio)
  RANGE.forEach((vpn, i) => {
    const pte = cpu.load(mm.pte, vpn)
    cpu.store(mm.content, pfnOf(folio + i), pte === 0 ? 0 : cpu.load(mm.content, ptePfn(pte)))
  })
  cpu.unlock(mm.flags, folio, PG_locked)
}

function commitUnchecked(cpu: Cpu, { mm, taken }: CollapseControl, first: number, folio: Pfn): boolean {
  cpu.lock(mm.rmapLock, RMAP, SPIN_LOCKED)
  for (let i = 0; i < taken.length; i++) {
    const vpn = vpnOf(first + i)
    if (cpu.load(mm.pte, vpn) !== 0) unchain(cpu, mm, ptePfn(cpu.load(mm.pte, vpn)), vpn)
  }
  fillPtes(cpu, mm, vpnOf(first), folio, taken.length)
  cpu.unlock(mm.rmapLock, RMAP, SPIN_LOCKED)
  return true
}
