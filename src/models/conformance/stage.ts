/**
 * The stage: a scenario as a closed system. A small machine on which the driver has its pages, the tasks, and what is
 * asked of them.
 *
 * Before a scenario begins the driver acts alone, under the checker too (`settle`), so that code of it that does not
 * end, waits for ever, throws, or answers what it must not is told here, by the name of the function, and not as the
 * clause that would break later because of it.
 *
 * @ours
 */

import type { Cpu } from '../../base/cpu.ts'
import { type Pfn, pfnOf } from '../../base/units.ts'
import { Learned } from '../../check/learned.ts'
import { Run } from '../../check/run.ts'
import { failureOf } from '../../check/section.ts'
import { type Guard, type LockRules, type System, type Task, TaskError } from '../../check/system.ts'
import {
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  PG_locked,
} from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import {
  ISOLATED,
  ISOLATION_REASONS,
  isolateMovablePage,
  LRU_OPS,
  setMovableOps,
} from '../../mm/movable_ops.ts'
import type { Mm } from '../../mm/page.ts'
import { mapPage } from '../../mm/rmap.ts'
import { isCounter, lockRulesOf, smallMachine } from '../small_machine.ts'
import { driverText, lruText } from '../value_text.ts'
import {
  compact,
  freePage,
  isolateAndKeep,
  isolateAndPutBack,
  readPage,
  reclaim,
  removeDevice,
  writePage,
} from './adversaries.ts'
import type { ClauseName } from './clauses.ts'
import { type CheckedDriver, opsOf } from './driver.ts'
import { exit, FIRST, fork, readMapped, VPNS } from './mapped.ts'
import { type Cast, type CastPage, propertiesOf, type Role, writtenTo } from './oracles.ts'

import { type Actor, pagesOf, type Scenario } from './scenarios.ts'

export interface SystemOptions {
  /** What is asked of the system. */
  readonly clauses: readonly ClauseName[]
  /** Called before each run of the driver's code. */
  readonly onRun: () => void
  /** Called with what is wrong with the driver's `listed()`; what the search finds then means nothing. */
  readonly onWrong?: (what: string) => void
}

/**
 * The system of a scenario; undefined if it needs an isolated page and the driver refuses to have one isolated.
 * Throws TaskError if the driver cannot be set up.
 */
export function systemOf(
  driver: CheckedDriver,
  scenario: Scenario,
  { clauses, onRun, onWrong = () => {} }: SystemOptions,
): System<Mm> | undefined {
  const staged = stage(driver, scenario, onRun, onWrong)
  if (staged === undefined) return undefined
  const { mm, cast } = staged
  const { invariants, atEnd } = propertiesOf(cast, clauses)
  return {
    name: `${driver.name}: ${scenario.name}`,
    state: mm,
    tasks: scenario.actors.map((actor) => taskOf(cast, actor)),
    invariants,
    atEnd,
    isPrivate: isCounter,
    valueText: driver.pgty === undefined ? lruText : driverText,
    ...(clauses.includes('locks-are-the-owners') && { locks: driverLockRules(driver, mm) }),
  }
}

/** The machine of a scenario, settled, and who is who on it; undefined if the driver refuses. */
function stage(
  driver: CheckedDriver,
  scenario: Scenario,
  onRun: () => void,
  onWrong: (what: string) => void,
): { mm: Mm; cast: Cast } | undefined {
  const { actors, given } = scenario
  const count = pagesOf(scenario)
  const compactors = actors.filter(({ role }) => role === 'compactor')
  const { mm, pages, spares } = smallMachine(count, compactors.length, {
    ownerCells: driver.cells,
    ptes: VPNS.length,
    slots: 8,
  })
  if (driver.pgty === undefined) mm.movableOps[LRU_OPS] = opsOf(driver)
  else setMovableOps(mm, driver.pgty, opsOf(driver))
  const castPages = pages.map((home, page): CastPage => {
    const spareOf = new Map(
      compactors.flatMap((actor, i) =>
        (actor.page ?? 0) === page ? [[actor.name, spares[i]] as const] : [],
      ),
    )
    return {
      home,
      frames: [home, ...spareOf.values()],
      extra: page === 0 && given === 'pinned' ? 1 : 0,
      content: mm.content[home],
      owned:
        !actors.some((actor) => actor.role === 'inserter' && (actor.page ?? 0) === page) &&
        given !== 'let go' &&
        given !== 'isolated',
      tasks: namesByRole(actors, page),
      spares: spareOf,
    }
  })
  const inserted = castPages.filter((page) => page.tasks.inserter === undefined).map(({ home }) => home)
  const { name } = driver
  for (const pfn of inserted) {
    settle(driver, mm, onRun, 'insert()', (cpu, state) => driver.insert(cpu, state, pfn))
    if (!listedBy(driver, mm).includes(pfn))
      throw new TaskError(name, 'after insert() of a page listed() does not have it')
  }
  if (!prepare(driver, mm, onRun, pages[0], given)) return undefined
  const listed = (state: Mm): readonly number[] => listedBy(driver, state, onWrong)
  return { mm, cast: { driver, start: mm, pages: castPages, listed } }
}

/** Makes of page 0 what is given. False: the driver refuses. */
function prepare(
  driver: CheckedDriver,
  mm: Mm,
  onRun: () => void,
  pfn: Pfn,
  given: Scenario['given'],
): boolean {
  switch (given) {
    case undefined:
      return true
    case 'isolated':
      return isIsolated(driver, mm, onRun, pfn)
    case 'locked':
      mm.flags[pfn] |= PG_locked
      return true
    case 'pinned':
      mm.refcount[pfn]++
      return true
    case 'mapped':
      settle(driver, mm, onRun, 'mapping a page', (cpu, state) => mapPage(cpu, state, FIRST, pfn))
      return true
    case 'let go':
      mm.refcount[pfn]++ // somebody else's, so that the page stays
      letGo(driver, mm, onRun, pfn)
      return true
  }
}

/** Has the page isolated. False: the driver refuses. */
function isIsolated(driver: CheckedDriver, mm: Mm, onRun: () => void, pfn: Pfn): boolean {
  const name = 'isolatePage' in driver.ops ? 'isolatePage()' : 'isolate()'
  const answer = settle(driver, mm, onRun, name, (cpu, state) => isolateMovablePage(cpu, state, pfn, 0))
  if (typeof answer !== 'number' || ISOLATION_REASONS[answer] === undefined)
    throw new TaskError(driver.name, `${name} of a page that is the driver's own gives ${String(answer)}`)
  return answer === ISOLATED
}

/** Has the driver let go of the page. */
function letGo(driver: CheckedDriver, mm: Mm, onRun: () => void, pfn: Pfn): void {
  const before = mm.refcount[pfn]
  const answer = settle(driver, mm, onRun, 'free()', (cpu, state) => driver.free(cpu, state, pfn))
  const says = `free() of a page that is the driver's own gives ${String(answer)}`
  if (answer !== true) throw new TaskError(driver.name, says)
  if (mm.refcount[pfn] === before) throw new TaskError(driver.name, `${says}, and drops no reference`)
}

/**
 * What the driver says that it has. Throws TaskError if it cannot say, after `onWrong`. While the scenario runs
 * (`onWrong` is given) what it asserts is a rule that is broken.
 */
function listedBy(driver: CheckedDriver, mm: Mm, onWrong?: (what: string) => void): readonly number[] {
  const wrong = (what: string): TaskError => {
    onWrong?.(what)
    return new TaskError(driver.name, what)
  }
  let listed: unknown
  try {
    listed = driver.listed(mm)
  } catch (error) {
    const failed = failureOf(error)
    if (failed.startsWith(THREW)) throw wrong(`listed() ${failed}`)
    throw onWrong === undefined ? wrong(`listed(): ${failed}`) : error
  }
  if (!isPageList(listed)) throw wrong('listed() gives no list of pages')
  return listed
}

const THREW = 'threw '

const isPageList = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((pfn) => typeof pfn === 'number')

function namesByRole(actors: readonly Actor[], page: number): CastPage['tasks'] {
  const names: Partial<Record<Role, string[]>> = {}
  for (const { role, name, page: of = 0 } of actors) {
    if (of !== page && role !== 'remover') continue
    names[role] = [...(names[role] ?? []), name]
  }
  return names
}

/** Times that the driver is asked the same before the scenario begins: one that decides by chance differs. */
const ASKED_TIMES = 4

/** Lets the driver do something alone, before the scenario begins. `what`: which function. What it answers. */
function settle(
  driver: CheckedDriver,
  mm: Mm,
  onRun: () => void,
  what: string,
  act: (cpu: Cpu, mm: Mm) => unknown,
): unknown {
  const name = `${driver.name}: ${what}`
  const answers = new Set<unknown>()
  const system: System<Mm> = {
    name,
    state: mm,
    tasks: [{ name, run: (cpu, state) => void answers.add(act(cpu, state)) }],
    isPrivate: isCounter,
  }
  const runs = Array.from({ length: ASKED_TIMES }, () => runToEnd(driver, what, system, onRun))
  if (answers.size > 1) {
    const texts = [...answers].map(String).join(' and ')
    throw new TaskError(name, `depends on something else than its arguments and what cpu returned: ${texts}`)
  }
  keep(mm, runs[0])
  return [...answers][0]
}

/** Takes all steps of a system of one task. */
function runToEnd(driver: CheckedDriver, what: string, system: System<Mm>, onRun: () => void): Run {
  const fail = (says: string): TaskError =>
    new TaskError(driver.name, `${what}${says.startsWith(THREW) ? ' ' : ': '}${says}`)
  const run = new Run(new Learned(system, onRun))
  const wrong = run.brokenAtStart()
  if (wrong !== undefined) throw fail(wrong.says)
  // Ends: a task that takes more steps than the learner allows is a TaskError.
  while (!run.hasEnded(0)) {
    if (!run.isEnabled(0)) throw fail(run.brokenAtEnd()?.says ?? 'waits for ever')
    const broken = run.step(0)
    if (broken !== undefined) throw fail(broken.says)
  }
  return run
}

/** Writes to the machine what a run has changed. */
function keep(mm: Mm, run: Run): void {
  const columns = new Map(
    Object.entries(mm).filter((field): field is [string, Int32Array] => field[1] instanceof Int32Array),
  )
  for (const [cell, value] of run.changed()) {
    const { column, index } = run.learned.memory.cells[cell]
    columns.get(column)?.fill(value, index, index + 1)
  }
}

function taskOf(cast: Cast, { name, role, page = 0, copies = 1, waits, looksAhead }: Actor): Task<Mm> {
  const { driver, pages } = cast
  const of = pages[page]
  const { home, frames } = of
  const spare = of.spares.get(name) ?? pfnOf(0)
  const everywhere = pages.map((one) => one.frames)
  const isolateMode = waits === true ? ISOLATE_UNEVICTABLE : ISOLATE_ASYNC_MIGRATE
  const mode = waits === true ? MIGRATE_SYNC : MIGRATE_ASYNC
  const route = looksAhead === true ? [...frames.slice(1), ...frames] : frames
  const run = ((): Task<Mm>['run'] => {
    switch (role) {
      case 'accessor':
        return (cpu, mm) => readPage(cpu, mm, driver, route)
      case 'writer':
        return (cpu, mm) => writePage(cpu, mm, driver, frames, writtenTo(of))
      case 'owner':
        return (cpu, mm) => freePage(cpu, mm, driver, frames)
      case 'remover':
        return (cpu, mm) => removeDevice(cpu, mm, driver, everywhere)
      case 'inserter':
        return (cpu, mm) => driver.insert(cpu, mm, home)
      case 'user':
        return readMapped
      case 'fork':
        return fork
      case 'exit':
        return exit
      case 'reclaim':
        return (cpu, mm) => reclaim(cpu, mm, home)
      case 'isolator':
        return (cpu, mm) => isolateAndPutBack(cpu, mm, home, isolateMode)
      case 'keeper':
        return (cpu, mm) => isolateAndKeep(cpu, mm, home, isolateMode)
      case 'compactor':
        return (cpu, mm) => compact(cpu, mm, home, spare, isolateMode, mode)
    }
  })()
  return { name, copies, run }
}

/** What the audit holds the driver to: the engine's rules, its own locks in their order, and what these guard. */
function driverLockRules(driver: CheckedDriver, mm: Mm): LockRules {
  const { locks } = driver
  const own: Guard['anyOf'] = locks.map((cell) => ['ownerCells', cell, SPIN_LOCKED])
  const heads = Array.from({ length: driver.lists ?? 1 }, (_, list) => mm.ownerList(list))
  const ofHeads = new Set(heads.flatMap((head) => [2 * head, 2 * head + 1]))
  const isLock = (cell: number): boolean => locks.some((lock) => lock === cell)
  const rules = lockRulesOf(mm, (column, index) => {
    if (own.length === 0) return undefined
    if (column === 'links' && ofHeads.has(index)) return { anyOf: own }
    if (column === 'ownerCells' && index < driver.cells && !isLock(index)) return { anyOf: own }
    if (column === 'content' || column === 'private' || column === 'mapping')
      return { anyOf: [['flags', index, PG_locked], ...own], unlessZero: ['refcount', index] }
    return undefined
  })
  const nameOf = (index: number): string => `${driver.name}'s lock ${index + 1}`
  const place = (name: string): number => locks.findIndex((_, i) => nameOf(i) === name)
  return {
    classOf: (column, index, bits) => {
      const known = column === 'ownerCells' ? locks.findIndex((lock) => lock === index) : -1
      return known < 0 ? rules.classOf(column, index, bits) : { name: nameOf(known), sleeps: false }
    },
    mayNest: (outer, inner) => {
      const [from, to] = [place(outer.name), place(inner.name)]
      if (from >= 0 && to >= 0) return from < to
      const usual = { name: "owner's lock", sleeps: false }
      return rules.mayNest(from < 0 ? outer : usual, to < 0 ? inner : usual)
    },
    guardOf: rules.guardOf,
  }
}
