/**
 * A counterexample: one schedule that breaks a rule, step by step.
 *
 * A schedule is the instances in the order of their steps. The exhaustive search knows paths of canonical
 * states; `scheduleTo` finds the schedule behind one. `explain` takes the schedule on the plain values and says
 * what each step did, so whatever the search got wrong would show here.
 */

import { assert } from '../base/assert.ts'
import type { Node } from './learn.ts'
import type { Learned, Violation } from './learned.ts'
import type { Cell } from './memory.ts'
import { numberText, opText, SECTION } from './op.ts'
import type { Packed } from './packed.ts'
import { Run } from './run.ts'
import type { StateTable } from './state_table.ts'
import type { Canonical } from './symmetry.ts'
import type { System } from './system.ts'

/** A cell that a step changed; values in words. */
export interface Change {
  readonly cell: string
  readonly from: string
  readonly to: string
}

/** One step of a schedule. */
export interface Step {
  readonly instance: number
  /** What it does: `tryLock flags[8] 0x1: yes`. */
  readonly text: string
  /** Cells that it changed. */
  readonly changes: readonly Change[]
  /** Locks that the task holds afterwards. */
  readonly held: readonly string[]
  /** What the task has said with `cpu.at` last: `isolated(8)`; '' if nothing. */
  readonly place: string
  /** What the task has returned, if it ended with this step and returned a number. */
  readonly returned: number | undefined
  /** Lines of the call stack, innermost first, if they were asked for. */
  readonly stack: readonly string[]
}

/** A schedule and what it does. */
export interface Counterexample {
  readonly violation: Violation
  readonly schedule: readonly number[]
  readonly steps: readonly Step[]
}

/** The schedule that leads to state `last` of the table and breaks something there or with the next step. */
export function scheduleTo(
  packed: Packed,
  table: StateTable,
  canonical: Canonical | undefined,
  last: number,
  violation: Violation,
): number[] {
  const path: number[] = []
  for (let at = last; at >= 0; at = table.parents[at]) path.push(at)
  path.reverse()
  const words = new Int32Array(packed.words)
  const wanted = new Int32Array(packed.words)
  const next = new Int32Array(packed.words)
  packed.initial(words)
  const schedule: number[] = []
  for (const number of path.slice(1)) {
    table.copy(number, wanted)
    const instance = instanceTo(packed, canonical, words, wanted, next)
    schedule.push(instance)
    packed.successor(words, instance, next)
    words.set(next)
  }
  if (violation.instance < 0 || violation.kind === 'deadlock') return schedule
  return [...schedule, breaking(packed, words, violation, next)]
}

/** The instance whose step leads from `words` to a state whose canonical form is `wanted`. */
function instanceTo(
  packed: Packed,
  canonical: Canonical | undefined,
  words: Int32Array,
  wanted: Int32Array,
  next: Int32Array,
): number {
  const found = packed.learned.instances.findIndex((_, instance) => {
    if (!packed.isEnabled(words, instance) || packed.successor(words, instance, next) !== 0) return false
    canonical?.apply(next)
    return next.every((word, w) => word === wanted[w])
  })
  assert(found >= 0, 'check: a state of the search has a schedule')
  return found
}

function breaking(packed: Packed, words: Int32Array, violation: Violation, next: Int32Array): number {
  const found = packed.learned.instances.findIndex((_, instance) => {
    if (!packed.isEnabled(words, instance)) return false
    const result = packed.successor(words, instance, next)
    return typeof result !== 'number' && result.name === violation.name
  })
  assert(found >= 0, 'check: a violation of the search has a step')
  return found
}

/** What kept a schedule from being taken. */
export interface Misfit {
  /** Steps that were taken. */
  readonly at: number
  readonly why: string
}

/**
 * Takes a schedule on plain values. Gives each step, and what was broken, if something was. `withStacks`: each step
 * has its call stack, for which its task's code is run once more up to there.
 */
export function explain(
  learned: Learned,
  schedule: readonly number[],
  withStacks = false,
): { steps: Step[]; violation: Violation | undefined; misfit: Misfit | undefined } {
  const run = new Run(learned)
  const steps: Step[] = []
  let violation = run.brokenAtStart()
  for (const instance of schedule) {
    if (violation !== undefined) break
    const misfit = misfitOf(run, instance)
    if (misfit !== undefined) return { steps, violation, misfit: { at: steps.length, why: misfit } }
    const { step, broken } = takeAndTell(run, instance, withStacks)
    steps.push(step)
    violation = broken
  }
  if (violation === undefined && run.enabled().length === 0) violation = run.brokenAtEnd()
  if (violation === undefined) violation = run.brokenForGood(schedule.at(-1) ?? -1)
  return { steps, violation, misfit: undefined }
}

function misfitOf(run: Run, instance: number): string | undefined {
  const { instances } = run.learned
  if (instance >= instances.length) return `there is no task ${instance + 1}`
  if (run.hasEnded(instance)) return `${instances[instance].name} has ended`
  return run.isEnabled(instance) ? undefined : `${instances[instance].name} cannot go on there`
}

function takeAndTell(
  run: Run,
  instance: number,
  withStacks: boolean,
): { step: Step; broken: Violation | undefined } {
  const { learned } = run
  const { memory, system } = learned
  const node = run.nodes[instance]
  const { op } = node
  assert(op !== undefined, 'check: a task that is enabled has a step')
  const before = run.changed()
  const stack = withStacks ? learned.learnerOf(instance).stackAt(node) : []
  const broken = run.step(instance)
  const moved = run.nodes[instance]
  const cells = new Set<Cell>([...before.keys(), ...run.changed().keys()])
  const changes = [...cells].flatMap((cell) => {
    const from = before.get(cell) ?? memory.cells[cell].initial
    const to = run.value(cell)
    const show = shower(system, memory.cells[cell].column)
    return from === to ? [] : [{ cell: memory.nameOf(cell), from: show(from), to: show(to) }]
  })
  const name = memory.nameOf(op.cell)
  const taken = broken === undefined || moved !== node
  const { label, a } = moved.place
  return {
    broken,
    step: {
      instance,
      text: opText(
        op,
        op.kind === SECTION ? '' : name,
        taken ? run.answer : undefined,
        shower(system, memory.cells[op.cell].column),
      ),
      changes,
      held: moved.held.locks.map(({ cell, bits }) => {
        const { column, index } = memory.cells[cell]
        return `${system.locks?.classOf(column, index, bits).name ?? 'lock'} ${column}[${index}]`
      }),
      place: label === '' ? '' : `${label}(${a})`,
      returned: returnedBy(moved),
      stack,
    },
  }
}

function returnedBy({ ending }: Node): number | undefined {
  if (ending === undefined || ending.failed !== undefined || ending.result === -1) return undefined
  return ending.result
}

const shower =
  (system: System, column: string) =>
  (value: number): string =>
    system.valueText?.(column, value) ?? numberText(value)
