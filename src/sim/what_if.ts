/**
 * What-ifs: the same scenario with some values changed, each named by its path, as `owners.zram0.movable` or
 * `phases.0.tasks.1.size`.
 *
 * @ours
 */

import { type ParsedScenario, parseScenario, type ScenarioIssue } from './scenario.ts'

/** A copy of plain data with the values at these paths; what is wrong with a path, if something is. */
function changed(
  data: unknown,
  values: Readonly<Record<string, unknown>>,
): { data: unknown; issues: ScenarioIssue[] } {
  const copy: unknown = JSON.parse(JSON.stringify(data))
  const issues: ScenarioIssue[] = []
  for (const [path, value] of Object.entries(values)) {
    const keys = path.split('.')
    const last = keys.pop() ?? ''
    const at = containerAt(copy, keys)
    if (at === undefined || (Array.isArray(at) && !(last in at))) {
      issues.push({ path: [], message: `there is nothing at ${path} to change` })
    } else define(at, last, value)
  }
  return { data: copy, issues }
}

/** The map or list at a path. What is not there is made: a scenario leaves out what is as usual. */
function containerAt(data: unknown, keys: readonly string[]): Record<string, unknown> | undefined {
  let at = data
  for (const key of keys) {
    if (!isContainer(at)) return undefined
    if (!Object.hasOwn(at, key)) {
      if (Array.isArray(at)) return undefined
      define(at, key, {})
    }
    at = at[key]
  }
  return isContainer(at) ? at : undefined
}

function define(at: object, key: string, value: unknown): void {
  Object.defineProperty(at, key, { value, enumerable: true, writable: true, configurable: true })
}

const isContainer = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null

/** The scenario with these values. Issues with a path are of the scenario, those without of a path of the what-if. */
export function parseVariant(data: unknown, values: Readonly<Record<string, unknown>>): ParsedScenario {
  const { data: copy, issues } = changed(data, values)
  return issues.length > 0 ? { ok: false, issues } : parseScenario(copy)
}
