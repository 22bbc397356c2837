/**
 * Scenarios as YAML: the text's values, and for everything that is wrong where in the text it stands.
 *
 * @ours
 */

import { isMap, isNode, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { parseScenario, type Scenario, type ScenarioIssue } from './scenario.ts'

/** One thing that is wrong: line and column from 1. */
export interface YamlProblem {
  readonly line: number
  readonly column: number
  /** `phases.0.tasks.1.size`; empty: of the text itself. */
  readonly path: string
  readonly message: string
}

export type ReadScenario =
  | {
      readonly ok: true
      readonly scenario: Scenario
      /** The plain values: what what-ifs change. */
      readonly data: unknown
      readonly locate: (issue: ScenarioIssue) => YamlProblem
    }
  | { readonly ok: false; readonly problems: readonly YamlProblem[] }

/** Reads a scenario; all that is wrong with it at once, in the order of the text. */
export function readYamlScenario(text: string): ReadScenario {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const broken = [...document.errors, ...document.warnings].map(({ pos, message }): YamlProblem => {
    const { line, col } = lines.linePos(pos[0])
    return { line, column: col, path: '', message }
  })
  if (broken.length > 0) return { ok: false, problems: broken }
  const data: unknown = document.toJS()
  const locate = ({ path, message }: ScenarioIssue): YamlProblem => {
    const { line, col } = lines.linePos(offsetOf(document.contents, path))
    return { line: Math.max(line, 1), column: Math.max(col, 1), path: path.map(String).join('.'), message }
  }
  const parsed = parseScenario(data)
  if (parsed.ok) return { ok: true, scenario: parsed.scenario, data, locate }
  const problems = parsed.issues.map(locate)
  return { ok: false, problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) }
}

/** Where the last part of a path begins that there is: of a map's value its key. */
function offsetOf(root: Node | null, path: readonly PropertyKey[]): number {
  let at: unknown = root
  let offset = root?.range?.[0] ?? 0
  for (const key of path) {
    if (isMap(at)) {
      const pair = at.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(key),
      )
      if (pair === undefined) break
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset
      at = pair.value
    } else if (isSeq(at)) {
      const item: unknown = at.items[Number(key)]
      if (!isNode(item)) break
      offset = item.range?.[0] ?? offset
      at = item
    } else break
  }
  return offset
}
