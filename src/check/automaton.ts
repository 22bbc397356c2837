/**
 * A task's automaton: the nodes of its learner (learn.ts), merged from the leaves up.
 *
 * Two nodes are one if they have the same step, the same locks, the same place, and for the same values the same
 * successors. Dead variables vanish, and what is left is a few dozen nodes.
 */

import type { Finding } from './audit.ts'
import type { Learner, Node } from './learn.ts'
import type { Task } from './system.ts'

/** A task's automaton after merging. Node 0 is where it starts. */
export interface Automaton {
  readonly task: Task<object>
  readonly nodes: readonly AutomatonNode[]
}

export interface AutomatonNode {
  /** One of the nodes that were merged into it. */
  readonly like: Node
  readonly next: ReadonlyMap<number, number>
  readonly finding: Finding | undefined
}

/**
 * Merges the nodes of a learner that have the same future. Nodes that begin a place are kept apart.
 *
 * Children come after their parents, except where a place closes a loop, so one pass from the last node to the
 * first is enough.
 */
export function minimise(learner: Learner, findingOf: (node: Node) => Finding | undefined): Automaton {
  const { nodes } = learner
  const starts = new Set<Node>()
  for (const node of nodes)
    for (const child of node.children.values())
      if (child.parent !== node || child.id <= node.id) starts.add(child)
  for (const node of nodes)
    if (node.parent === undefined || node.place !== node.parent.place) starts.add(node)
  const classOf = new Int32Array(nodes.length).fill(-1)
  const members: Node[] = []
  const byKey = new Map<string, number>()
  for (const start of starts) {
    classOf[start.id] = members.length
    members.push(start)
  }
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]
    if (classOf[i] >= 0) continue
    const next = [...node.children]
      .map(([value, child]) => `${value}>${classOf[child.id]}`)
      .toSorted()
      .join(' ')
    const end = node.ending === undefined ? '' : `${node.ending.result}!${node.ending.failed ?? ''}`
    const finding = findingOf(node)?.says ?? ''
    const key = `${node.op?.id ?? -1}|${node.held.id}|${node.situation.id}|${end}|${finding}|${next}`
    const known = byKey.get(key)
    classOf[i] = known ?? members.length
    if (known === undefined) {
      byKey.set(key, members.length)
      members.push(node)
    }
  }
  return numbered(learner, members, classOf, findingOf)
}

/** Numbers the classes that can be reached, from the root on, breadth first. */
function numbered(
  learner: Learner,
  members: readonly Node[],
  classOf: Int32Array,
  findingOf: (node: Node) => Finding | undefined,
): Automaton {
  const number = new Map<number, number>([[classOf[learner.root.id], 0]])
  const order = [classOf[learner.root.id]]
  for (let i = 0; i < order.length; i++) {
    for (const child of members[order[i]].children.values()) {
      const of = classOf[child.id]
      if (number.has(of)) continue
      number.set(of, order.length)
      order.push(of)
    }
  }
  const nodes = order.map((of) => {
    const like = members[of]
    const next = new Map(
      [...like.children].map(([value, child]) => [value, number.get(classOf[child.id]) ?? 0]),
    )
    return { like, next, finding: findingOf(like) }
  })
  return { task: learner.task, nodes }
}
