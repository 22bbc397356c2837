/**
 * How protocol code reads (STYLE.md), as far as a program can tell.
 *
 * A *protocol function* is one whose first parameter is a `Cpu`. The checker replays it against a log of
 * returned values and stops it by throwing, so
 *   - `try`/`catch` would swallow that stop;
 *   - `async` and generators would run outside of the replay;
 *   - module state would make a replay see what an earlier one left behind.
 *
 *   - a column that no section's lock guards is reached through the `cpu` only, or a step is hidden from the
 *     checker. Such columns are those whose comment in mm/page.ts ends in (A), (L), (R), (P) or (I).
 *
 * And a tracepoint costs one look at a field where nobody listens: it is called as `mm.trace?.name(…)`, which evaluates
 * no argument then.
 *
 * Not here: columns of the zone, lru and per-cpu lists' locks. Sections under these may touch them, and no
 * text tells a section from the function around it.
 */

import ts from 'typescript'
import { isFunction, lineOf, type Source, visit } from './sources.ts'

/** Everything in the file that protocol code must not have, as `path:line: what`. */
export function protocolFaults(source: Source): string[] {
  const faults: string[] = []
  const fault = (node: ts.Node, what: string): void => {
    faults.push(`${source.path}:${lineOf(source, node)}: ${what}`)
  }
  visit(source.ast, (node) => {
    if (!isProtocolFunction(node)) return
    const name = node.name?.getText() ?? 'a protocol function'
    visit(node, (inner) => {
      if (ts.isTryStatement(inner)) fault(inner, `${name}: try/catch in a protocol function`)
      if (ts.isAwaitExpression(inner)) fault(inner, `${name}: await in a protocol function`)
      if (!isFunction(inner)) return
      if (inner.asteriskToken !== undefined) fault(inner, `${name}: generator in a protocol function`)
      if (isAsync(inner)) fault(inner, `${name}: async in a protocol function`)
    })
  })
  for (const statement of source.ast.statements) {
    if (!ts.isVariableStatement(statement)) continue
    if ((statement.declarationList.flags & ts.NodeFlags.Const) === 0) {
      fault(statement, 'module state: let or var at module level')
    }
  }
  return faults
}

/** Calls of tracepoints that do not ask whether anybody listens, as `path:line: what`. */
export function tracepointFaults(source: Source): string[] {
  const faults: string[] = []
  visit(source.ast, (node) => {
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return
    const { expression: of, questionDotToken } = node.expression
    const isTrace = ts.isPropertyAccessExpression(of) ? of.name.text === 'trace' : of.getText() === 'trace'
    if (!isTrace || questionDotToken !== undefined) return
    faults.push(`${source.path}:${lineOf(source, node)}: ${node.expression.getText()} without ?.`)
  })
  return faults
}

/** Names of the columns of mm/page.ts that protocol code reaches through the `cpu` only. */
export function columnsOfCpu(page: Source): Set<string> {
  const declared = page.text.matchAll(/^ +readonly (\w+): \w+Column\b.*\(([ALRPI])\)$/gm)
  return new Set([...declared].map(([, name]) => name))
}

/** Cells of `columns` that a protocol function reaches without the `cpu`, as `path:line: what`. */
export function columnFaults(source: Source, columns: ReadonlySet<string>): string[] {
  const faults: string[] = []
  visit(source.ast, (node) => {
    if (!isProtocolFunction(node)) return
    visit(node, (inner) => {
      if (!ts.isElementAccessExpression(inner) || !ts.isPropertyAccessExpression(inner.expression)) return
      const column = inner.expression.name.text
      if (columns.has(column))
        faults.push(`${source.path}:${lineOf(source, inner)}: ${inner.getText()} without the cpu`)
    })
  })
  return faults
}

/** Uses of the clock or of a random source, as `path:line: what`. */
export function nondeterminism(source: Source): string[] {
  const faults: string[] = []
  visit(source.ast, (node) => {
    const what = clockOrRandom(node)
    if (what !== undefined) faults.push(`${source.path}:${lineOf(source, node)}: ${what}`)
  })
  return faults
}

function clockOrRandom(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node)) {
    const name = node.getText()
    return name === 'Math.random' || name === 'performance.now' ? name : undefined
  }
  if (!ts.isIdentifier(node) || node.text !== 'Date') return undefined
  const { parent } = node
  const isName = ts.isPropertyAccessExpression(parent) && parent.name === node
  return isName || ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent) ? undefined : 'Date'
}

function isProtocolFunction(node: ts.Node): node is ts.FunctionLikeDeclaration {
  if (!isFunction(node)) return false
  const type = node.parameters[0]?.type
  return type !== undefined && ts.isTypeReferenceNode(type) && type.typeName.getText() === 'Cpu'
}

function isAsync(node: ts.FunctionLikeDeclaration): boolean {
  return (node.modifiers ?? []).some((modifier) => modifier.kind === ts.SyntaxKind.AsyncKeyword)
}
