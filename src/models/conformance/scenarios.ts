/**
 * The scenarios: a driver's pages and a few of the tasks that meet them in a kernel.
 *
 * A scenario is data: what the page is in the beginning (`given`) and who acts (`actors`). Which clauses it exercises
 * follows from who is there. First come a few of one kind; then every company of one or two tasks that isolate with
 * as many others as the bounds allow. The small ones are first, so that a mistake shows where its schedule is short.
 *
 * Not here: the closed system of a scenario (stage.ts), what the tasks do (adversaries.ts, mapped.ts), and what must
 * hold (oracles.ts).
 *
 * @ours
 */

import { CLAUSE_NAMES, type ClauseName } from './clauses.ts'
import type { Role } from './oracles.ts'

/** One task of a scenario, or several that are interchangeable. */
export interface Actor {
  /** Name of the task in counterexamples. */
  readonly name: string
  readonly role: Role
  /** Which page of the driver it has to do with. Default: 0. */
  readonly page?: number
  readonly copies?: number
  /** A compactor as contiguous allocation and offlining are: takes unevictable pages, and waits for locks. */
  readonly waits?: boolean
  /** An accessor that begins at the spare pages. */
  readonly looksAhead?: boolean
}

/** Who is there, and what page 0 is in the beginning. */
export interface Scenario {
  /** Unique: what is given, and who acts. */
  readonly name: string
  /** Default: page 0 is the driver's. */
  readonly given?: 'isolated' | 'locked' | 'let go' | 'pinned' | 'mapped'
  /** Who waits for others comes first: a deadlock is told by its first task. */
  readonly actors: readonly Actor[]
  /** Clauses that it exercises. */
  readonly clauses: readonly ClauseName[]
}

export interface Bounds {
  /** Tasks at a time. */
  readonly actors: number
  /** Pages of the driver. */
  readonly pages: number
}

const KEEPER: Actor = { name: 'isolator', role: 'keeper' }
const ISOLATOR: Actor = { name: 'isolator that puts back', role: 'isolator' }
const COMPACTOR: Actor = { name: 'compactor', role: 'compactor' }
const SECOND: Actor = { name: 'second compactor', role: 'compactor' }
const OTHER_COMPACTOR: Actor = { name: 'compactor of page 2', role: 'compactor', page: 1 }
const CMA: Actor = { name: 'contiguous allocation', role: 'compactor', waits: true }
const ACCESSOR: Actor = { name: 'accessor', role: 'accessor' }
/** Meets a page that has just moved: it looks at its new place first. */
const AHEAD: Actor = { name: 'accessor of the new place', role: 'accessor', looksAhead: true }
const WRITER: Actor = { name: 'writer', role: 'writer' }
const OWNER: Actor = { name: 'owner that frees', role: 'owner' }
const OTHER_OWNER: Actor = { name: 'owner that frees page 2', role: 'owner', page: 1 }
const REMOVER: Actor = { name: 'device removal', role: 'remover' }
const RECLAIM: Actor = { name: 'reclaim', role: 'reclaim' }
const USER: Actor = { name: 'user space', role: 'user' }
const FORK: Actor = { name: 'fork', role: 'fork' }
const EXIT: Actor = { name: 'exit', role: 'exit' }
const INSERTER: Actor = { name: 'inserter', role: 'inserter' }
const OTHER_INSERTER: Actor = { name: 'inserter of page 2', role: 'inserter', page: 1 }

/** Who may be there besides those that isolate. */
const OTHERS = [ACCESSOR, WRITER, OWNER, REMOVER, RECLAIM, OTHER_OWNER, OTHER_INSERTER]
/** Who isolates, one or two at a time. */
const TAKERS = [[COMPACTOR], [CMA], [COMPACTOR, SECOND], [COMPACTOR, CMA], [COMPACTOR, OTHER_COMPACTOR]]

/** All scenarios within the bounds, the smallest first. `maps`: the pages can be mapped. */
export function scenariosOf({ actors, pages }: Bounds, maps: boolean): Scenario[] {
  const alike = Array.from({ length: Math.max(actors - 1, 0) }, (_, i) => i + 2)
  const company = TAKERS.flatMap((takers) =>
    combinations(OTHERS, actors - takers.length).map((others) => sceneOf([...others, ...takers])),
  )
  const all = [
    sceneOf([ISOLATOR]),
    sceneOf([KEEPER], 'isolated'),
    sceneOf([KEEPER], 'locked'),
    sceneOf([KEEPER], 'let go'),
    sceneOf([COMPACTOR], 'pinned'),
    ...alike.map((copies) => sceneOf([{ ...KEEPER, copies }])),
    ...alike.map((copies) => sceneOf([{ ...ISOLATOR, copies }])),
    ...alike.map((copies) => sceneOf([OWNER, { ...ISOLATOR, copies: copies - 1 }])),
    ...alike.slice(1).map((copies) => sceneOf([{ ...ACCESSOR, copies: copies - 1 }, COMPACTOR])),
    sceneOf([AHEAD, COMPACTOR]),
    sceneOf([INSERTER, ISOLATOR]),
    sceneOf([INSERTER, COMPACTOR]),
    sceneOf([ACCESSOR, INSERTER, COMPACTOR]),
    ...company,
  ]
  const onMapped = combinations([USER, FORK, EXIT], actors - 1).map((others) =>
    sceneOf([...others, COMPACTOR], 'mapped'),
  )
  return [...all, ...(maps ? onMapped : [])]
    .filter((one) => actorsOf(one) <= actors && pagesOf(one) <= pages && isSensible(one))
    .toSorted((a, b) => actorsOf(a) - actorsOf(b))
}

const actorsOf = ({ actors }: Scenario): number => actors.reduce((sum, { copies }) => sum + (copies ?? 1), 0)

export const pagesOf = ({ actors }: Scenario): number => Math.max(...actors.map(({ page }) => page ?? 0)) + 1

/** A device that takes pages is not removed. */
const isSensible = ({ actors }: Scenario): boolean =>
  !actors.includes(REMOVER) || !actors.some(({ role }) => role === 'inserter')

/** All subsets of up to `most` elements, in order. */
function combinations<T>(of: readonly T[], most: number): T[][] {
  let found: T[][] = [[]]
  for (const one of of)
    found = [...found, ...found.filter((set) => set.length < most).map((set) => [...set, one])]
  return found.filter((set) => set.length <= most)
}

function sceneOf(actors: readonly Actor[], given?: Scenario['given']): Scenario {
  const who = actors.map(({ name, copies = 1 }) => (copies === 1 ? name : `${copies} x ${name}`)).join(', ')
  const clauses = CLAUSE_NAMES.filter((clause) => EXERCISED_BY[clause](actors, given))
  return given === undefined
    ? { name: who, actors, clauses }
    : { name: `${who}: the page is ${given}`, given, actors, clauses }
}

/** Who isolates keeps what it gets. */
function isKept(actors: readonly Actor[]): boolean {
  return actors.every(({ role }) => role === 'keeper')
}

/** Which casts have anything to do with a clause. */
const EXERCISED_BY: Readonly<
  Record<ClauseName, (actors: readonly Actor[], given: Scenario['given']) => boolean>
> = {
  // Whether a locked page can be isolated is the driver's business.
  'one-winner': (actors, given) => given !== 'locked' && (takersOf(actors) > 1 || isKept(actors)),
  'nothing-changed-on-refusal': isKept,
  'no-parallel-update': (actors) => actors.some(({ role }) => role === 'writer'),
  'no-parallel-free': (actors) => actors.some(({ role }) => role === 'owner' || role === 'remover'),
  'accesses-halt': (actors) => actors.some(({ role }) => role === 'accessor' || role === 'user'),
  'freed-once': (actors) => !isKept(actors),
  'owned-set-conserved': (actors) => !isKept(actors),
  'again-means-unchanged': (actors) => actors.some(({ role }) => role === 'compactor'),
  'putback-restores': (actors) => actors.some(({ role }) => role === 'compactor' || role === 'isolator'),
  'locks-are-the-owners': () => true,
}

/** Tasks that isolate page 0. */
const takersOf = (actors: readonly Actor[]): number =>
  actors.reduce((sum, { role, page = 0, copies = 1 }) => {
    const takes = role === 'keeper' || role === 'isolator' || role === 'compactor'
    return takes && page === 0 ? sum + copies : sum
  }, 0)
