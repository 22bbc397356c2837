/**
 * Liveness: can some task go on for ever although everybody gets his turn?
 *
 * Looks for a *lasso*: a way to a cycle of states that can be gone round for ever under weak fairness, so that
 * no task that could go on all the time is left out of it. A retry loop that only waits for a task which is
 * never given its turn is none. Only systems with a loop can have one.
 *
 * Runs on the full graph: neither reduction keeps which tasks take part in a cycle.
 *
 * @paper Tarjan, Depth-First Search and Linear Graph Algorithms, 1972 (components)
 */

import type { Learned } from './learned.ts'
import { Packed } from './packed.ts'
import { hasCycle } from './reduce.ts'
import { StateTable } from './state_table.ts'

export interface Lasso {
  readonly prefix: readonly number[]
  readonly cycle: readonly number[]
}

/** A lasso, `none`, or `too big` if the system has more than `statesMax` states. */
export function findLasso(learned: Learned, statesMax: number): Lasso | 'none' | 'too big' {
  for (;;) {
    // Each round has learnt more than the one before, which is finite.
    const packed = new Packed(learned)
    const loops = packed.automata.some(({ nodes }) => hasCycle(nodes.map(({ next }) => [...next.values()])))
    if (!loops) return 'none'
    const graph = new Graph(packed)
    const complete = graph.explore(statesMax)
    if (packed.stale) continue
    return complete ? (graph.lasso() ?? 'none') : 'too big'
  }
}

class Graph {
  private readonly packed: Packed
  private readonly table: StateTable
  private readonly instances: number
  /** Successor by state and instance; -1: not enabled, or a violation. */
  private readonly edges: number[] = []

  constructor(packed: Packed) {
    this.packed = packed
    this.table = new StateTable(packed.words)
    this.instances = packed.learned.instances.length
  }

  explore(statesMax: number): boolean {
    const { packed, table } = this
    const words = new Int32Array(packed.words)
    const next = new Int32Array(packed.words)
    packed.initial(words)
    this.numberOf(words, -1, 0)
    for (let number = 0; number < table.count && !packed.stale; number++) {
      if (table.count > statesMax) return false
      table.copy(number, words)
      for (let i = 0; i < this.instances; i++) {
        const goes = packed.isEnabled(words, i) && packed.successor(words, i, next) === 0
        this.edges.push(goes ? this.numberOf(next, number, i) : -1)
      }
    }
    return true
  }

  lasso(): Lasso | undefined {
    const component = this.components()
    const members = new Map<number, number[]>()
    component.forEach((of, number) => {
      const list = members.get(of)
      if (list === undefined) members.set(of, [number])
      else list.push(number)
    })
    // Components are numbered from the ends back; the first state of the first fair one is nearest to the start.
    const fair = [...members.values()]
      .filter((states) => this.isFair(states, component))
      .toSorted(([a], [b]) => a - b)
    const [states] = fair
    return states && { prefix: this.prefixTo(states[0]), cycle: this.cycleIn(states, component) }
  }

  /** True if a cycle within the component leaves out no task that could go on in all of its states. */
  private isFair(states: readonly number[], component: Int32Array): boolean {
    if (!states.some((from) => this.stepsWithin(from, component).length > 0)) return false
    for (let i = 0; i < this.instances; i++) {
      const always = states.every((from) => this.edges[from * this.instances + i] >= 0)
      if (always && !states.some((from) => this.stepsWithin(from, component).includes(i))) return false
    }
    return true
  }

  private stepsWithin(from: number, component: Int32Array): number[] {
    const steps: number[] = []
    for (let i = 0; i < this.instances; i++) {
      const to = this.edges[from * this.instances + i]
      if (to >= 0 && component[to] === component[from]) steps.push(i)
    }
    return steps
  }

  private prefixTo(number: number): number[] {
    const schedule: number[] = []
    for (let at = number; this.table.parents[at] >= 0; at = this.table.parents[at])
      schedule.push(this.table.via[at])
    return schedule.toReversed()
  }

  /**
   * A way round from the first state of the component back to it that is fair: every task takes a step on the way, or
   * cannot go on in some state of the way.
   */
  private cycleIn(states: readonly number[], component: Int32Array): number[] {
    const [start] = states
    const cycle: number[] = []
    let at = start
    const visited = [start]
    const go = (is: (state: number) => boolean): void => {
      const { steps } = this.wayWithin(at, component, is)
      for (const step of steps) take(step)
    }
    const take = (step: number): void => {
      cycle.push(step)
      at = this.edges[at * this.instances + step]
      visited.push(at)
    }
    for (let task = 0; task < this.instances; task++) {
      const stops = (state: number): boolean => this.edges[state * this.instances + task] < 0
      if (cycle.includes(task) || visited.some(stops)) continue
      if (states.some(stops)) go(stops)
      else {
        go((state) => this.stepsWithin(state, component).includes(task))
        take(task)
      }
    }
    if (cycle.length === 0) {
      go((state) => this.stepsWithin(state, component).length > 0)
      take(this.stepsWithin(at, component)[0])
    }
    go((state) => state === start)
    return cycle
  }

  /** The shortest way within the component to a state that `is`. */
  private wayWithin(
    from: number,
    component: Int32Array,
    is: (state: number) => boolean,
  ): { steps: number[] } {
    const cameFrom = new Map<number, { state: number; step: number }>()
    const queue = [from]
    const known = new Set(queue)
    // Bounded by the states of the component, each of which is queued once.
    for (const state of queue) {
      if (is(state)) {
        const steps: number[] = []
        for (let back = cameFrom.get(state); back !== undefined; back = cameFrom.get(back.state))
          steps.push(back.step)
        return { steps: steps.toReversed() }
      }
      for (const step of this.stepsWithin(state, component)) {
        const to = this.edges[state * this.instances + step]
        if (known.has(to)) continue
        known.add(to)
        cameFrom.set(to, { state, step })
        queue.push(to)
      }
    }
    return { steps: [] }
  }

  private numberOf(words: Int32Array, parent: number, via: number): number {
    this.table.reserve(1)
    const number = this.table.add(words, this.table.hashOf(words), parent, via)
    return number >= 0 ? number : -number - 1
  }

  /** The strongly connected component of each state. */
  private components(): Int32Array {
    const { instances, edges } = this
    const states = this.table.count
    const component = new Int32Array(states).fill(-1)
    const order = new Int32Array(states).fill(-1)
    const low = new Int32Array(states)
    const path: number[] = []
    let clock = 0
    let components = 0
    const enter = (state: number): void => {
      order[state] = clock
      low[state] = clock++
      path.push(state)
    }
    enter(0)
    const work = [{ state: 0, edge: 0 }]
    // Every state is entered once and every edge followed once.
    for (let top = work.at(-1); top !== undefined; top = work.at(-1)) {
      const { state } = top
      if (top.edge < instances) {
        const to = edges[state * instances + top.edge++]
        if (to < 0) continue
        if (order[to] < 0) {
          enter(to)
          work.push({ state: to, edge: 0 })
        } else if (component[to] < 0) {
          low[state] = Math.min(low[state], order[to])
        }
        continue
      }
      work.pop()
      const above = work.at(-1)
      if (above !== undefined) low[above.state] = Math.min(low[above.state], low[state])
      if (low[state] !== order[state]) continue
      for (let member = path.pop(); member !== undefined; member = path.pop()) {
        component[member] = components
        if (member === state) break
      }
      components++
    }
    return component
  }
}
