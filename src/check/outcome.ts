/**
 * What one step of one task does in a state: the cells that it writes, what the task learns, or what it breaks.
 *
 * The one place where a step is taken; the strategies differ in how they keep the state.
 */

import type { Finding } from './audit.ts'
import type { Node } from './learn.ts'
import type { Learned, Violation } from './learned.ts'
import type { Cell } from './memory.ts'
import { apply, type Effect, newEffect, SECTION } from './op.ts'
import type { Leaf, ReadCell } from './section.ts'

export interface Outcome {
  violation: Violation | undefined
  result: number
  writes: readonly (readonly [cell: Cell, value: number])[]
  /** Scratch. */
  readonly effect: Effect
}

export const newOutcome = (): Outcome => ({
  violation: undefined,
  result: 0,
  writes: [],
  effect: newEffect(),
})

/** Takes the step of a task that is at `node` and not blocked. `read` gives the cells of the state. */
export function takeStep(
  learned: Learned,
  node: Node,
  instance: number,
  read: ReadCell,
  outcome: Outcome,
): void {
  const { op, verdict } = node
  outcome.violation = undefined
  outcome.writes = []
  if (op === undefined) return
  const guarded = verdict.unlessZero >= 0 && read(verdict.unlessZero) !== 0 ? verdict.otherwise : undefined
  const finding = learned.findingOf(node) ?? guarded
  if (finding !== undefined) outcome.violation = auditViolation(finding, instance)
  else if (op.kind === SECTION) takeSection(learned, node, instance, read, outcome)
  else {
    const { effect } = outcome
    const value = read(op.cell)
    apply(op, value, effect)
    if (effect.failed !== undefined) outcome.violation = assertionViolation(effect.failed, instance)
    if (effect.value !== value) outcome.writes = [[op.cell, effect.value]]
    outcome.result = effect.result
  }
}

function takeSection(learned: Learned, node: Node, instance: number, read: ReadCell, outcome: Outcome): void {
  const { op } = node
  const leaf = op?.section?.evaluate(read)
  if (op === undefined || leaf === undefined) return
  outcome.writes = leaf.writes
  outcome.result = leaf.result
  if (leaf.failed !== undefined) {
    outcome.violation = assertionViolation(leaf.failed, instance)
    return
  }
  const finding = learned.sectionFinding(op, node, leaf.writes)
  if (finding !== undefined) outcome.violation = auditViolation(finding, instance)
}

/** What is broken by a task's having come to `node`: an assertion of its code, or a lock left held at its end. */
export function endViolation(learned: Learned, node: Node, instance: number): Violation | undefined {
  if (node.ending?.failed !== undefined) return assertionViolation(node.ending.failed, instance)
  const finding = node.op === undefined ? learned.findingOf(node) : undefined
  return finding && auditViolation(finding, instance)
}

const assertionViolation = (failed: string, instance: number): Violation => ({
  kind: 'assertion',
  name: failed,
  says: failed,
  instance,
})

const auditViolation = (finding: Finding, instance: number): Violation => ({
  kind: 'audit',
  name: finding.name,
  says: finding.says,
  instance,
})

export const propertyViolation = (
  property: { readonly name: string; readonly says: string },
  leaf: Leaf,
  instance: number,
): Violation => ({
  kind: 'property',
  name: property.name,
  says: leaf.failed === undefined ? property.says : `${property.says} (${leaf.failed})`,
  instance,
})
