/**
 * Shrinking a counterexample: fewer tasks, with no more steps.
 *
 * Steps are the fewest already (breadth first). A task that takes no step in the schedule is left out; of the
 * others each is left out in turn, as long as the same rule still breaks in as many steps. Fewer pages is for
 * whoever builds the system (`smallest` in models).
 */

import { type CheckOptions, check, type Report } from './check.ts'
import { instancesOf, type System } from './system.ts'

/** What is left of a counterexample's system. */
export interface Shrunk {
  readonly system: System
  readonly report: Report
  /** Names of the tasks that were left out. */
  readonly without: readonly string[]
}

/** The system and report with as few tasks as break the same rule in as many steps. */
export function shrinkTasks(system: System, report: Report, options: CheckOptions): Shrunk {
  const steps = report.counterexample?.schedule.length
  if (steps === undefined || report.lasso !== undefined) return { system, report, without: [] }
  const name = report.counterexample?.violation.name
  // Other rules may need the tasks that are left out.
  const only = (properties: System['atEnd'] = []): NonNullable<System['atEnd']> =>
    properties.filter((property) => property.name === name)
  const asked = { ...system, invariants: only(system.invariants), atEnd: only(system.atEnd) }
  let best: Shrunk = { system: asked, report, without: [] }
  const instances = instancesOf(system)
  for (const instance of instances.toReversed()) {
    const smaller = withoutOne(best.system, instance.task.name)
    if (smaller === undefined) continue
    const again = check(smaller, { ...options, liveness: false })
    const same =
      again.counterexample?.violation.name === name && again.counterexample?.schedule.length === steps
    if (same) best = { system: smaller, report: again, without: [...best.without, instance.name] }
  }
  return best
}

/** The system with one copy of that task less; undefined if it would have none, or another one needs it. */
function withoutOne(system: System, name: string): System | undefined {
  if (instancesOf(system).length === 1) return undefined
  if (system.tasks.some(({ interrupts }) => interrupts === name)) return undefined
  const tasks = system.tasks.flatMap((task) => {
    const copies = task.copies ?? 1
    if (task.name !== name) return [task]
    return copies > 1 ? [{ ...task, copies: copies - 1 }] : []
  })
  // Its partners in a symmetry are not alike any more.
  const symmetries = (system.symmetries ?? []).filter((symmetry) => symmetry.tasks[name] === undefined)
  return { ...system, tasks, symmetries }
}
