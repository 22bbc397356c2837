/**
 * Rows: every row of the specification (testdata/spec_rows.txt) has a test.
 *
 * A test covers a row when its title begins with the id: `test('S0-8 undo is unlock, then put', …)`.
 * One title, one row; one row, one title. A row without a test stands in CAVEATS.md, in the table under
 * "Rows not yet tested", with a reason. `test.skip` and `test.todo` cover nothing.
 */

import ts from 'typescript'
import { expect, test } from 'vitest'
import { holdsTests, lineOf, readSources, readText, type Source, visit } from './sources.ts'

const rows = new Map(
  (readText('testdata/spec_rows.txt') ?? '')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => [line.split(/\s+/)[0], line] as const),
)
const titles = readSources()
  .filter(({ path }) => holdsTests(path))
  .flatMap(titlesOf)
const excused = excusesIn(readText('CAVEATS.md') ?? '')

test('the list of rows is complete', () => {
  const series = (name: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `${name}-${i + 1}`)
  expect([...rows.keys()]).toEqual([
    ...series('S0', 27),
    ...series('S1', 25),
    ...series('M', 15),
    ...series('C', 21),
    ...series('B', 8),
    ...series('I', 6),
    ...series('S3', 14),
  ])
})

test('every row has a test, or a reason in CAVEATS.md', () => {
  const missing = [...rows].filter(([id]) => !titles.some((title) => title.id === id) && !excused.has(id))
  expect(missing.map(([, line]) => line)).toEqual([])
})

test('no row has two tests', () => {
  const twice = titles.filter(({ id }) => titles.filter((other) => other.id === id).length > 1)
  expect(twice.map(({ id, place }) => `${id} ${place}`)).toEqual([])
})

test('what CAVEATS.md lists as not yet tested is a row, has a reason and has no test', () => {
  const faults = [...excused].flatMap(([id, reason]) => {
    if (!rows.has(id)) return [`${id} is not a row`]
    if (reason === '') return [`${id} has no reason`]
    return titles.some((title) => title.id === id) ? [`${id} has a test by now`] : []
  })
  expect(faults).toEqual([])
})

interface Title {
  readonly id: string
  readonly place: string
}

/** The titles of a file that begin with the id of a row. */
function titlesOf(source: Source): Title[] {
  const found: Title[] = []
  visit(source.ast, (node) => {
    if (!ts.isCallExpression(node) || !isTestCall(node.expression)) return
    const [title] = node.arguments
    if (title === undefined) return
    const id = /^['"`]((?:S0|S1|S3|M|C|B|I)-\d+)\b/.exec(title.getText())?.[1]
    if (id !== undefined && rows.has(id)) found.push({ id, place: `${source.path}:${lineOf(source, node)}` })
  })
  return found
}

/** `test`, `it`, and what hangs on them: `test.each(table)`, `test.for(table)`, `test.concurrent`. */
function isTestCall(callee: ts.Expression): boolean {
  const text = callee.getText()
  return /^(test|it)\b/.test(text) && !/^\w+\.(skip|todo|fails)\b/.test(text)
}

/** Rows of the table under "Rows not yet tested": first cell the ids, last cell the reason. */
function excusesIn(caveats: string): Map<string, string> {
  const table =
    /Rows not yet tested[^\n]*\n+(?:[^|\n][^\n]*\n+)*((?:\|[^\n]*(?:\n|$))+)/.exec(caveats)?.[1] ?? ''
  const excuses = new Map<string, string>()
  for (const line of table.split('\n').slice(2)) {
    const cells = line.split('|').map((cell) => cell.trim())
    for (const id of cells[1]?.match(/\b(?:S0|S1|S3|M|C|B|I)-\d+\b/g) ?? [])
      excuses.set(id, cells.at(-2) ?? '')
  }
  return excuses
}
