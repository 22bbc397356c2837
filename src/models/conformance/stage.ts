/**
 * The stage: a scenario as a closed system. A small machine on which the driver has its pages, the tasks, and what is
 * asked of them.
 *
 * Before a scenario begins the driver acts alone, under the checker too (`settle`), so that code of it that does not
 * end, or waits for ever, is told here.
 *
 * @ours
 */

import type { Cpu } from '../../base/cpu.ts'
import { type Pfn, pfnOf } from '../../base/units.ts'
import { Learned } from '../../check/learned.ts'
import { Run } from '../../check/run.ts'
import { type Guard, type LockRules, type System, type Task, TaskError } from '../../check/system.ts'
import {
  ISOLATE_ASYNC_MIGRATE,
  ISOLATE_UNEVICTABLE,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  PG_locked,
} from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import { ISOLATED, isolateMovablePage, LRU_OPS, setMovableOps } from '../../mm/movable_ops.ts'
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
}

/** The system of a scenario. Throws TaskError if the driver cannot be set up. */
export function systemOf(
  driver: CheckedDriver,
  scenario: Scenario,
  { clauses, onRun }: SystemOptions,
): System<Mm> {
  const { mm, cast } = stage(driver, scenario, onRun)
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

/** The machine of a scenario, settled, and who is who on it. */
function stage(driver: CheckedDriver, scenario: Scenario, onRun: () => void): { mm: Mm; cast: Cast } {
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
  settle(driver, mm, onRun, (cpu, state) => {
    for (const pfn of inserted) driver.insert(cpu, state, pfn)
  })
  prepare(driver, mm, onRun, pages[0], given)
  return { mm, cast: { driver, start: mm, pages: castPages } }
}

function prepare(driver: CheckedDriver, mm: Mm, onRun: () => void, pfn: Pfn, given: Scenario['given']): void {
  switch (given) {
    case undefined:
      return
    case 'isolated':
      settle(driver, mm, onRun, (cpu, state) => isolateMovablePage(cpu, state, pfn, 0) === ISOLATED)
      return
    case 'locked':
      mm.flags[pfn] |= PG_locked
      return
    case 'pinned':
      mm.refcount[pfn]++
      return
    case 'mapped':
      settle(driver, mm, onRun, (cpu, state) => mapPage(cpu, state, FIRST, pfn))
      return
    case 'let go':
      mm.refcount[pfn]++ // somebody else's, so that the page stays
      settle(driver, mm, onRun, (cpu, state) => driver.free(cpu, state, pfn))
      return
  }
}

function namesByRole(actors: readonly Actor[], page: number): CastPage['tasks'] {
  const names: Partial<Record<Role, string[]>> = {}
  for (const { role, name, page: of = 0 } of actors) {
    if (of !== page && role !== 'remover') continue
    names[role] = [...(names[role] ?? []), name]
  }
  return names
}

/** Lets the driver do something alone, before the scenario begins. */
function settle(driver: CheckedDriver, mm: Mm, onRun: () => void, act: (cpu: Cpu, mm: Mm) => unknown): void {
  const { name } = driver
  const system: System<Mm> = {
    name,
    state: mm,
    tasks: [{ name, run: (cpu, state) => void act(cpu, state) }],
    isPrivate: isCounter,
  }
  const run = new Run(new Learned(system, onRun))
  // Ends: a task that takes more steps than the learner allows is a TaskError.
  while (!run.hasEnded(0)) {
    if (!run.isEnabled(0)) throw new TaskError(name, run.brokenAtEnd()?.says ?? 'waits for ever')
    const broken = run.step(0)
    if (broken !== undefined) throw new TaskError(name, broken.says)
  }
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
