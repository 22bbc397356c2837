/**
 * What must hold in a scenario, clause by clause: properties over cells and over where the tasks are.
 *
 * A scenario's cast says who does what to which page; from it each clause derives what it asks in every state
 * (`invariant`) and at the end (`atEnd`). Numbers are compared with those of `start`, the machine before anything
 * ran. The lock audit and the engine's assertions are oracles too (clauses.ts); they need nothing from here.
 *
 * Rules:
 *   - a property carries the name of its clause;
 *   - the driver's list is read while none of the driver's locks is held.
 *
 * Not verified: what the driver keeps in its cells besides its list, unless an isolation is refused, which leaves
 * all of it as it was.
 *
 * @ours
 */

import { ownerCellOf, type Pfn } from '../../base/units.ts'
import type { Property, Where } from '../../check/system.ts'
import { PG_locked, PG_movable_ops } from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import {
  ISOLATED,
  REFUSED_FREE,
  REFUSED_ISOLATED,
  REFUSED_LOCKED,
  REFUSED_UNMOVABLE,
} from '../../mm/movable_ops.ts'
import { type Mm, pageType } from '../../mm/page.ts'
import { MOVED } from './adversaries.ts'
import { CLAUSES, type ClauseName } from './clauses.ts'
import type { CheckedDriver } from './driver.ts'
import { mappings, noneMoves } from './mapped.ts'

export type Role =
  | 'accessor'
  | 'writer'
  | 'owner'
  | 'remover'
  | 'inserter'
  | 'reclaim'
  | 'isolator'
  | 'keeper'
  | 'compactor'
  | 'user'
  | 'fork'
  | 'exit'

/** One page of the driver and who has to do with it. */
export interface CastPage {
  readonly home: Pfn
  /** Where it may be: at home, then at the spare page of each compactor. */
  readonly frames: readonly Pfn[]
  /** References on it at home that are not the driver's. */
  readonly extra: number
  /** What it holds in the beginning. */
  readonly content: number
  /** It is the driver's from the beginning. */
  readonly owned: boolean
  /** Names of its tasks, by role. Copies of a task share a name. */
  readonly tasks: Readonly<Partial<Record<Role, readonly string[]>>>
  /** Spare page of each compactor, by its name. */
  readonly spares: ReadonlyMap<string, Pfn>
}

export interface Cast {
  readonly driver: CheckedDriver
  /** The machine in its initial state; the checker does not change it. */
  readonly start: Mm
  readonly pages: readonly CastPage[]
  /** What the driver says that it has. An error of `driver.listed` is told apart from a rule that is broken. */
  readonly listed: (mm: Mm) => readonly number[]
}

/** What a writer writes to a page. */
export const writtenTo = (page: CastPage): number => page.content + 100

type Holds = (cast: Cast, state: Mm, where: Where) => boolean

interface Oracle {
  readonly invariant?: Holds
  readonly atEnd?: Holds
}

/** The properties of a scenario for these clauses. */
export function propertiesOf(
  cast: Cast,
  clauses: readonly ClauseName[],
): { invariants: Property<Mm>[]; atEnd: Property<Mm>[] } {
  const of = (phase: keyof Oracle): Property<Mm>[] =>
    CLAUSES.filter(({ name }) => clauses.includes(name)).flatMap(({ name, says }) => {
      const holds = ORACLES[name][phase]
      return holds === undefined ? [] : [{ name, says, holds: (state, where) => holds(cast, state, where) }]
    })
  return { invariants: of('invariant'), atEnd: of('atEnd') }
}

// In the order of CLAUSES, so that what breaks several is told as the first of them.
const ORACLES: Readonly<Record<ClauseName, Oracle>> = {
  'one-winner': {
    invariant: (cast, _, where) => cast.pages.every(({ home }) => holders(where, home) <= 1),
    atEnd: (cast, _, where) => cast.pages.every((page) => !isOnlyKept(page) || isWonRightly(page, where)),
  },
  'nothing-changed-on-refusal': {
    atEnd: (cast, state, where) => cast.pages.every((page) => isAsRefused(cast, page, state, where)),
  },
  'no-parallel-update': {
    atEnd: (cast, state, where) => cast.pages.every((page) => isUpdateKept(cast, page, state, where)),
  },
  'no-parallel-free': {
    invariant: (cast, state, where) =>
      cast.pages.every(({ home }) => !isHeld(where, home) || state.refcount[home] > 0),
  },
  'accesses-halt': {
    atEnd: ({ pages }, state, where) => noneMoves(state) && pages.every((page) => isReadRightly(page, where)),
  },
  'freed-once': {
    atEnd: (cast, state, where) => cast.pages.every((page) => isCounted(cast, page, state, where)),
  },
  'owned-set-conserved': {
    invariant: (cast, state, where) => !locksAreFree(cast, state) || isListSound(cast, state, where),
    atEnd: isSetConserved,
  },
  'again-means-unchanged': {
    invariant: (cast, state, where) =>
      cast.pages.every((page) => where.count('again', page.home) === 0 || isUnchanged(cast, page, state)),
  },
  'putback-restores': {
    atEnd: (cast, state, where) => cast.pages.every((page) => isRestored(cast, page, state, where)),
  },
  'locks-are-the-owners': {},
}

// Who did what.

/** Results of all tasks of a role on a page. */
const resultsOf = (page: CastPage, role: Role, where: Where): number[] =>
  (page.tasks[role] ?? []).flatMap((name) => where.results(name))

const has = (page: CastPage, role: Role): boolean => page.tasks[role] !== undefined

/** Tasks that have isolated the page and do not put it back yet. */
const holders = (where: Where, pfn: Pfn): number =>
  where.count('isolated', pfn) +
  where.count('moving', pfn) +
  where.count('again', pfn) +
  where.count('undoing', pfn)

/** Some task holds the page isolated, and migratePage does not run. */
const isHeld = (where: Where, pfn: Pfn): boolean =>
  where.count('isolated', pfn) + where.count('again', pfn) + where.count('undoing', pfn) > 0

const winners = (page: CastPage, where: Where): number =>
  resultsOf(page, 'keeper', where).filter((answer) => answer === ISOLATED).length

/** Answers that say what somebody else does to the page, or that it is not the owner's. Others: the owner refuses. */
const NOT_THE_OWNERS: readonly number[] = [REFUSED_FREE, REFUSED_UNMOVABLE, REFUSED_LOCKED, REFUSED_ISOLATED]

/** One keeper has the page at most; one has it if it can be isolated and the owner refused nobody. */
function isWonRightly(page: CastPage, where: Where): boolean {
  const won = winners(page, where)
  if (!page.owned || won > 0) return won === (page.owned ? 1 : 0)
  const refusals = resultsOf(page, 'keeper', where)
  return refusals.some((answer) => !NOT_THE_OWNERS.includes(answer))
}

/** Roles that look for the page at its spare pages too. */
const USERS: readonly Role[] = ['accessor', 'writer', 'owner', 'remover']

/** Nobody but keepers has to do with the page. */
const isOnlyKept = ({ tasks }: CastPage): boolean =>
  tasks.keeper !== undefined && Object.keys(tasks).length === 1

/** Its owner has let go of it. */
const isFreed = (page: CastPage, where: Where): boolean =>
  has(page, 'remover') || resultsOf(page, 'owner', where).includes(1)

/** Names of the compactors that have moved the page. */
const movers = (page: CastPage, where: Where): string[] =>
  (page.tasks.compactor ?? []).filter((name) => where.results(name).includes(MOVED))

// What a page is.

const locksAreFree = ({ driver }: Cast, { ownerCells }: Mm): boolean =>
  driver.locks.every((cell) => (ownerCells[cell] & SPIN_LOCKED) === 0)

/** Nothing of the page differs from the beginning, `more` references apart. */
function isAsBefore(start: Mm, state: Mm, pfn: Pfn, more: number): boolean {
  return (
    state.refcount[pfn] === start.refcount[pfn] + more &&
    state.flags[pfn] === start.flags[pfn] &&
    state.mapcount[pfn] === start.mapcount[pfn] &&
    state.mapping[pfn] === start.mapping[pfn] &&
    state.private[pfn] === start.private[pfn]
  )
}

/** Where the driver has the page: at one frame, or at none, or at too many. */
const listedFrames = (page: CastPage, listed: readonly number[]): Pfn[] =>
  page.frames.filter((frame) => listed.includes(frame))

function isAsRefused({ driver, start, listed }: Cast, page: CastPage, state: Mm, where: Where): boolean {
  if (!isOnlyKept(page)) return true
  const won = winners(page, where)
  if (won > 0) {
    const locked = (state.flags[page.home] ^ start.flags[page.home]) & PG_locked
    return state.refcount[page.home] === start.refcount[page.home] + won && locked === 0
  }
  const before = listed(start)
  const after = listed(state)
  const cells = Array.from({ length: driver.cells }, (_, cell) => ownerCellOf(cell))
  return (
    isAsBefore(start, state, page.home, 0) &&
    state.content[page.home] === start.content[page.home] &&
    before.length === after.length &&
    before.every((pfn, i) => pfn === after[i]) &&
    cells.every((cell) => state.ownerCells[cell] === start.ownerCells[cell])
  )
}

function isUpdateKept({ listed }: Cast, page: CastPage, state: Mm, where: Where): boolean {
  if (!has(page, 'writer') || isFreed(page, where)) return true
  const written = resultsOf(page, 'writer', where).includes(1)
  const frames = listedFrames(page, listed(state))
  return written && frames.every((frame) => state.content[frame] === writtenTo(page))
}

/** Every reader got what the page held, or nothing if it may have been gone. */
function isReadRightly(page: CastPage, where: Where): boolean {
  const isContent = (value: number): boolean =>
    value === page.content || (has(page, 'writer') && value === writtenTo(page))
  const mayBeGone = has(page, 'owner') || has(page, 'remover') || !page.owned
  return (
    resultsOf(page, 'accessor', where).every((value) => isContent(value) || (value === -1 && mayBeGone)) &&
    resultsOf(page, 'user', where).every((value) => isContent(value) || (value === -1 && has(page, 'exit')))
  )
}

/** References are the owner's one, those that others hold, and no more; what has none is clear. */
function isCounted({ driver, start, listed }: Cast, page: CastPage, state: Mm, where: Where): boolean {
  const frames = listedFrames(page, listed(state))
  if (frames.length !== (isFreed(page, where) ? 0 : 1)) return true // owned-set-conserved tells
  const moved = movers(page, where)
  const unused = [...page.spares].flatMap(([name, spare]) => (moved.includes(name) ? [] : [spare]))
  return page.frames.every((frame) => {
    const extra = (frame === page.home ? page.extra : 0) + mappings(state, frame)
    if (unused.includes(frame)) return isAsBefore(start, state, frame, 0)
    if (frames.includes(frame)) return state.refcount[frame] === 1 + extra
    return state.refcount[frame] === extra && (extra > 0 || isClear(driver, state, frame))
  })
}

const isClear = ({ pgty }: CheckedDriver, { flags, mapcount }: Mm, pfn: Pfn): boolean =>
  flags[pfn] === 0 && (pgty === undefined || pageType(mapcount[pfn]) !== pgty)

function isListSound(cast: Cast, state: Mm, where: Where): boolean {
  const listed = cast.listed(state)
  const twice = listed.some((pfn, i) => listed.indexOf(pfn) !== i)
  return !twice && cast.pages.every(({ home }) => !isHeld(where, home) || !listed.includes(home))
}

function isSetConserved(cast: Cast, state: Mm, where: Where): boolean {
  const listed = cast.listed(state)
  const expected = cast.pages.filter((page) => !isFreed(page, where) && winners(page, where) === 0)
  return (
    listed.length === expected.length && expected.every((page) => listedFrames(page, listed).length === 1)
  )
}

/** The destination is unused; the source has its owner's reference and the isolator's, and holds what it held. */
function isUnchanged(cast: Cast, page: CastPage, state: Mm): boolean {
  if (page.spares.size !== 1) return true // who else compacts the page uses its own spare page meanwhile
  const listed = locksAreFree(cast, state) ? cast.listed(state) : []
  const isLookedAt = USERS.some((role) => has(page, role)) // with a reference on the spare page for a moment
  const isUnused = (spare: Pfn): boolean =>
    (state.refcount[spare] === 1 || (isLookedAt && state.refcount[spare] > 1)) &&
    state.mapcount[spare] === cast.start.mapcount[spare] &&
    (state.flags[spare] & PG_movable_ops) === 0 &&
    !listed.includes(spare)
  return [...page.spares.values()].every(isUnused) && isSourceKept(cast, page, state)
}

function isSourceKept({ start }: Cast, page: CastPage, state: Mm): boolean {
  const { home } = page
  if (!page.owned || has(page, 'owner') || has(page, 'remover') || start.rmap[home] !== 0) return true
  return (
    state.refcount[home] >= start.refcount[home] + 1 &&
    state.mapcount[home] === start.mapcount[home] &&
    (has(page, 'writer') || state.content[home] === page.content)
  )
}

function isRestored({ listed, start }: Cast, page: CastPage, state: Mm, where: Where): boolean {
  const isMappedAnew = has(page, 'fork') || has(page, 'exit')
  const stays = movers(page, where).length === 0 && winners(page, where) === 0
  if (!page.owned || isFreed(page, where) || !stays || isMappedAnew) return true
  const sameContent = has(page, 'writer') || state.content[page.home] === page.content
  return sameContent && isAsBefore(start, state, page.home, 0) && listed(state).includes(page.home)
}
