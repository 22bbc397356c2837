/**
 * The contract of movable operations as ten named clauses, and which of them a violation breaks.
 *
 * docs/protocol/movable_ops.md is the same table in words for people who write drivers.
 *
 * Rules:
 *   - a property of a scenario carries the name of its clause, so it maps to itself;
 *   - what the engine asserts, a deadlock and a finding of the lock audit map by the tables below;
 *   - what maps to no clause keeps its own name, and is reported under it.
 *
 * @ours
 */

import { BELOW_ZERO, NOT_HELD } from '../../base/cpu.ts'
import type { Violation } from '../../check/learned.ts'
import { ADDED_TWICE, LIST_BROKEN, NOT_LISTED } from './list.ts'

export const CLAUSE_NAMES = [
  'one-winner',
  'nothing-changed-on-refusal',
  'no-parallel-update',
  'no-parallel-free',
  'accesses-halt',
  'freed-once',
  'owned-set-conserved',
  'again-means-unchanged',
  'putback-restores',
  'locks-are-the-owners',
] as const
export type ClauseName = (typeof CLAUSE_NAMES)[number]

export interface Clause {
  readonly name: ClauseName
  /** The rule, in one sentence. */
  readonly says: string
  /** Where it comes from: rows of the specification. */
  readonly rows: readonly string[]
}

export const CLAUSES: readonly Clause[] = [
  {
    name: 'one-winner',
    says: 'Of several tasks that isolate a page at the same time at most one gets it, and one does unless the owner refuses.',
    rows: ['S0-11', 'S0-12'],
  },
  {
    name: 'nothing-changed-on-refusal',
    says: 'An isolation that is refused leaves references, locks and lists as they were.',
    rows: ['S0-8', 'S0-9'],
  },
  {
    name: 'no-parallel-update',
    says: 'While a page is isolated nobody updates it: what was written to it is there after the move.',
    rows: ['S0-15'],
  },
  {
    name: 'no-parallel-free',
    says: 'While a page is isolated nobody frees it: its owner may let go of it, the isolator frees it.',
    rows: ['S0-10', 'S0-15', 'S1-10'],
  },
  {
    name: 'accesses-halt',
    says: 'Who accesses a page that moves gets its old bytes before or its new bytes after, and always wakes.',
    rows: ['S0-15', 'S0-16', 'S0-17', 'S0-18'],
  },
  {
    name: 'freed-once',
    says: 'A page that its owner let go of is freed once, whoever drops the last reference, and no other is.',
    rows: ['S0-10', 'S0-27'],
  },
  {
    name: 'owned-set-conserved',
    says: 'Each page of the owner is on its list, isolated, or moved: none is lost, none is there twice.',
    rows: ['S0-13', 'S1-10'],
  },
  {
    name: 'again-means-unchanged',
    says: 'After -EAGAIN the source is isolated as before and the destination is unused.',
    rows: ['M-5', 'M-8'],
  },
  {
    name: 'putback-restores',
    says: 'A page that was put back is what it was before it was isolated, and whoever waits for it goes on.',
    rows: ['S0-13', 'S0-18'],
  },
  {
    name: 'locks-are-the-owners',
    says: 'What a lock guards is touched under it, and locks are taken in order, once, and given back.',
    rows: ['S0-17', 'S0-23'],
  },
]

/** What an assertion that fails in checked code breaks. */
const CLAUSE_OF_ASSERTION: Readonly<Record<string, ClauseName>> = {
  [BELOW_ZERO]: 'freed-once',
  'free: the page is locked, on the LRU, or under writeback': 'no-parallel-free',
  'free: the page is mapped': 'no-parallel-free',
  'get_user_page: the page is free': 'no-parallel-free',
  [NOT_HELD]: 'locks-are-the-owners',
  'migrate: the page is isolated': 'one-winner',
  'movable_ops: an isolated page has a provider': 'no-parallel-update',
  [ADDED_TWICE]: 'owned-set-conserved',
  [NOT_LISTED]: 'owned-set-conserved',
  [LIST_BROKEN]: 'owned-set-conserved',
}

/** The clause that a violation breaks, by the name of the task whose step it was; undefined: none of them. */
export function clauseOf(violation: Violation, task: string): ClauseName | undefined {
  const isAccess = task.startsWith('accessor') || task.startsWith('writer')
  switch (violation.kind) {
    case 'property':
      return CLAUSE_NAMES.find((name) => name === violation.name)
    case 'audit':
      return 'locks-are-the-owners'
    case 'assertion':
      return CLAUSE_OF_ASSERTION[violation.name]
    case 'deadlock':
      return isAccess ? 'accesses-halt' : 'locks-are-the-owners'
    case 'livelock':
      return isAccess ? 'accesses-halt' : undefined
  }
}
