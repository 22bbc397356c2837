/**
 * Promela: a system that has been explored, as a model for Spin, so that another tool can count its states.
 *
 * What is written is the learnt automata: a process for each running task, a label for each node, one atomic
 * statement for each step, one global byte for each cell that changes. What a step does is told by the values
 * that its cell was seen to have, so blocking is a guard, and nothing is written about values that never occur. A
 * task that has ended waits for ever at an `end` label: a process that died would have to wait for younger ones.
 *
 * Spin's search without reduction stores as many states as ours without reductions, and reports one transition
 * more: it counts the way to the first state. It must not hide variables that are written only, nor merge
 * statements.
 *
 *   const learned = new Learned(system)
 *   discover(learned, seed)
 *   checkLearned(learned, { ...DEFAULTS, persistentSets: false, symmetry: false })   // passes
 *   const text = promelaOf(learned)
 *   // spin -o2 -o3 -a system.pml; gcc -O2 -DSAFETY -DNOREDUCE -o pan pan.c; ./pan
 *
 * Rules:
 *   - explore without reductions first: what has not been met is missing from the text;
 *   - broken assertions and audit findings are `assert(false)`, deadlocks are Spin's invalid end states.
 *
 * Not here: properties (the text says so), interrupts (a TaskError). Spin refuses a task with some thousand
 * statements ("d_step sequence too long"), which is what many paths through sections come to.
 *
 * @ours
 */

import type { AutomatonNode } from './automaton.ts'
import type { Learned } from './learned.ts'
import type { Cell } from './memory.ts'
import { isBlocked, type Op, opText, SECTION } from './op.ts'
import { endViolation, newOutcome, takeStep } from './outcome.ts'
import { TaskError } from './system.ts'

/** States that Spin stores beyond ours, and transitions that it reports beyond ours. */
export const SPIN_STATES_MORE = 0
export const SPIN_TRANSITIONS_MORE = 1

/** Values of a byte, and processes that Spin can run. */
const BYTES = 256

/** The model. `learned` has passed an exhaustive search without reductions. */
export function promelaOf(learned: Learned): string {
  if (learned.instances.some((_, i) => learned.hostOf(i) >= 0))
    throw new TaskError(learned.system.name, 'has interrupts, which are not written as Promela')
  const cells = new CellNames(learned)
  const processes = learned.automata().map(({ task, nodes }, of) => {
    const first = learned.instances.findIndex((instance) => instance.of === of)
    const text = new ProcessText(learned, cells, nodes, first)
    return [
      `/* ${comment(task.name)} */`,
      `active [${task.copies ?? 1}] proctype ${identifier(`${task.name} ${of}`)}() {`,
      ...nodes.map((_, node) => text.node(node)),
      '}',
    ].join('\n')
  })
  return `${[headerOf(learned), cells.declarations(), ...processes].join('\n\n')}\n`
}

function headerOf(learned: Learned): string {
  const { system } = learned
  const properties = [...(system.invariants ?? []), ...(system.atEnd ?? [])].map(({ name }) => name)
  const lines = [
    `${system.name}, written by drover from its learnt automata.`,
    'As many states as drover finds without reductions, and ' +
      `${SPIN_TRANSITIONS_MORE} transition more (the way to the first state), by`,
    '  spin -o2 -o3 -a MODEL; gcc -O2 -DSAFETY -DNOREDUCE -o pan pan.c; ./pan -m1000000',
    ...(properties.length === 0 ? [] : [`Not in here: ${properties.join(', ')}.`]),
  ]
  return `/* ${comment(lines.join('\n   '))} */`
}

/** Letters, digits and `_`, beginning with a letter; different for different last words. */
const identifier = (text: string): string => `t_${text.replaceAll(/[^A-Za-z0-9]+/g, '_')}`

/** The cells that change, as globals. */
class CellNames {
  private readonly learned: Learned
  /** How each value of a cell is written; of a cell that does not change, nothing. */
  private readonly codes = new Map<Cell, ReadonlyMap<number, number>>()
  private readonly raw = new Set<Cell>()

  constructor(learned: Learned) {
    this.learned = learned
    learned.memory.cells.forEach((_, cell) => {
      if (!learned.isVariable(cell)) return
      const values = learned.valuesOf(cell)
      const fits = values.every((value) => value >= 0 && value < BYTES)
      if (fits) this.raw.add(cell)
      this.codes.set(cell, new Map(values.map((value, number) => [value, fits ? value : number])))
    })
  }

  /** `flags_3`: the number of the cell keeps columns apart whose names differ in other characters only. */
  nameOf(cell: Cell): string {
    const { column, index } = this.learned.memory.cells[cell]
    const name = column.replaceAll(/[^A-Za-z0-9]+/g, '_')
    return `c${cell}_${name}_${index}`
  }

  /** The values that a cell may have. */
  valuesOf(cell: Cell): number[] {
    return [...(this.codes.get(cell)?.keys() ?? [this.learned.memory.cells[cell].initial])]
  }

  /** Every value of a cell that changes and how it is written; undefined: the cell never changes. */
  codesOf(cell: Cell): ReadonlyMap<number, number> | undefined {
    return this.codes.get(cell)
  }

  declarations(): string {
    const { memory } = this.learned
    return [...this.codes]
      .map(([cell, codes]) => {
        const initial = codes.get(memory.cells[cell].initial) ?? 0
        const numbered = [...codes].map(([value, code]) => `${code}: ${value}`).join(', ')
        const values = this.raw.has(cell) ? '' : `, numbers of values: ${numbered}`
        return `byte ${this.nameOf(cell)} = ${initial}; /* ${memory.nameOf(cell)}${values} */`
      })
      .join('\n')
  }
}

/** What a step does where cells have certain values. */
interface Case {
  readonly when: ReadonlyMap<Cell, ReadonlySet<number>>
  /** What cells hold afterwards. */
  readonly after: ReadonlyMap<Cell, number>
  /** The node that it leads to; undefined: it breaks a rule. */
  readonly next: number | undefined
}

/** The text of one task's automaton. */
class ProcessText {
  private readonly learned: Learned
  private readonly cells: CellNames
  private readonly nodes: readonly AutomatonNode[]
  /** An instance of the task. */
  private readonly instance: number
  private readonly outcome = newOutcome()
  /** Values that a cell may have at the node at hand; cells that are not in here may have any. */
  private possible: ReadonlyMap<Cell, ReadonlySet<number>> = new Map()

  constructor(learned: Learned, cells: CellNames, nodes: readonly AutomatonNode[], instance: number) {
    this.learned = learned
    this.cells = cells
    this.nodes = nodes
    this.instance = instance
  }

  node(node: number): string {
    const { op } = this.nodes[node].like
    if (op === undefined) return `N${node}: end${node}: false;`
    const statements =
      op.kind === SECTION ? this.sectionStatements(node, op) : this.simpleStatements(node, op)
    const [only = 'false'] = statements
    // A goto may not lead to a d_step, but to an `if` that begins with one.
    const branches = statements.length > 1 || only.startsWith('d_step')
    const text = branches ? ['if', ...statements.map((one) => `:: ${one}`), 'fi;'].join('\n    ') : `${only};`
    return `N${node}: /* ${comment(opText(op, this.learned.memory.nameOf(op.cell)))} */\n    ${text}`
  }

  private simpleStatements(node: number, op: Op): string[] {
    const cases = this.simpleCases(node, op)
    const met = cases.flatMap(({ when }) => [...(when.get(op.cell) ?? [])])
    const blocked = this.cells.valuesOf(op.cell).filter((value) => this.isBlockedAt(node, op, value))
    this.possible = new Map([[op.cell, new Set([...met, ...blocked])]])
    return groupsOf(cases, op.cell).flatMap((group) =>
      group[0].next === undefined || this.updateOf(group, op.cell) !== undefined
        ? [this.statementOf(group, op.cell)]
        : group.map((one) => this.statementOf([one], op.cell)),
    )
  }

  private sectionStatements(node: number, op: Op): string[] {
    this.possible = new Map()
    return this.sectionCases(node, op).map((one) => this.statementOf([one], op.cell))
  }

  /** What a step on one cell does for each value of the cell, and of the one that the audit asks for. */
  private simpleCases(node: number, op: Op): Case[] {
    const { verdict } = this.nodes[node].like
    const asked = verdict.unlessZero
    const guards = asked < 0 || asked === op.cell ? [0] : this.cells.valuesOf(asked)
    return guards.flatMap((guard) =>
      this.cells
        .valuesOf(op.cell)
        .filter((value) => !this.isBlockedAt(node, op, value))
        .flatMap((value) => {
          const when = new Map([[op.cell, new Set([value])]])
          if (guards.length > 1) when.set(asked, new Set([guard]))
          return this.caseOf(node, when)
        }),
    )
  }

  /** What a section does: its known paths, where its lock is free. */
  private sectionCases(node: number, op: Op): Case[] {
    const free = new Set(this.cells.valuesOf(op.cell).filter((value) => !this.isBlockedAt(node, op, value)))
    return (op.section?.paths() ?? []).flatMap(({ reads }) => {
      const when = new Map<Cell, ReadonlySet<number>>([[op.cell, free]])
      for (const [cell, value] of reads) {
        if (!this.cells.valuesOf(cell).includes(value)) return []
        if (cell === op.cell && !free.has(value)) return []
        when.set(cell, new Set([value]))
      }
      return this.caseOf(node, when)
    })
  }

  /** A step that is wrong in itself does not wait. */
  private isBlockedAt(node: number, op: Op, value: number): boolean {
    return this.nodes[node].finding === undefined && isBlocked(op, value)
  }

  /** What the step does there, as far as it is known to have been there. */
  private caseOf(node: number, when: ReadonlyMap<Cell, ReadonlySet<number>>): Case[] {
    const { learned, instance, outcome } = this
    const { like, next } = this.nodes[node]
    const read = (cell: Cell): number => {
      const [value = learned.memory.cells[cell].initial] = when.get(cell) ?? []
      return value
    }
    takeStep(learned, like, instance, read, outcome)
    const to = outcome.violation === undefined ? next.get(outcome.result) : undefined
    if (outcome.violation === undefined && to === undefined) return []
    const breaks = to === undefined || endViolation(learned, this.nodes[to].like, instance) !== undefined
    const after = new Map(outcome.writes)
    const known = [...after].every(([cell, value]) => this.cells.valuesOf(cell).includes(value))
    return known || breaks ? [{ when, after, next: breaks ? undefined : to }] : []
  }

  /** One statement for cases that differ in the value of `cell` only, and change it in the same way. */
  private statementOf(group: readonly Case[], cell: Cell): string {
    const [{ when, after, next }] = group
    const guards = [...when].flatMap(([asked, values]) => {
      const all = asked === cell ? new Set(group.flatMap((one) => [...(one.when.get(cell) ?? [])])) : values
      return this.guardText(asked, all)
    })
    const one = guards.length === 1
    const joined = guards.map((text) => (!one && text.includes('||') ? `(${text})` : text)).join(' && ')
    const guard = guards.length === 0 ? [] : [`(${joined})`]
    if (next === undefined) return [...guard, 'assert(false)'].join(' -> ')
    const others = [...after].filter(([written]) => written !== cell)
    const updates = [
      ...(this.updateOf(group, cell) ?? []),
      ...others.flatMap(([written, value]) => this.assignment(written, value)),
    ]
    const steps = [...guard, ...updates]
    const step = steps.length > 1 ? `d_step { ${steps.join('; ')} }` : (steps[0] ?? 'true')
    return `${step}; goto N${next}`
  }

  /** The change of a cell that all these cases have in common; undefined: there is none such. */
  private updateOf(group: readonly Case[], cell: Cell): string[] | undefined {
    const codes = this.cells.codesOf(cell)
    if (codes === undefined) return []
    const [{ after: written }] = group
    const value = written.get(cell)
    // Of several values: a section that does not read this one, so that what it does does not depend on it.
    if (group.some(({ when }) => when.get(cell)?.size !== 1))
      return value === undefined ? [] : this.assignment(cell, value)
    const changes = group.map(({ when, after }) => {
      const [before = 0] = when.get(cell) ?? []
      return [codes.get(before) ?? 0, codes.get(after.get(cell) ?? before) ?? 0]
    })
    const [[from, to]] = changes
    const name = this.cells.nameOf(cell)
    if (changes.every(([b, a]) => a === b)) return []
    if (changes.every(([, a]) => a === to)) return [`${name} = ${to}`]
    const by = to - from
    if (changes.every(([b, a]) => a - b === by))
      return [`${name} = ${name} ${by < 0 ? '-' : '+'} ${Math.abs(by)}`]
    return undefined
  }

  private assignment(cell: Cell, value: number): string[] {
    const code = this.cells.codesOf(cell)?.get(value)
    return code === undefined ? [] : [`${this.cells.nameOf(cell)} = ${code}`]
  }

  /** That a cell has one of the values; nothing if it always has. */
  private guardText(cell: Cell, values: ReadonlySet<number>): string[] {
    const possible = this.possible.get(cell)
    const codes = [...(this.cells.codesOf(cell) ?? [])].filter(([value]) => possible?.has(value) !== false)
    const name = this.cells.nameOf(cell)
    const inside = codes.filter(([value]) => values.has(value))
    const outside = codes.filter(([value]) => !values.has(value))
    if (outside.length === 0) return []
    if (inside.length > outside.length) return outside.map(([, code]) => `${name} != ${code}`)
    return [inside.map(([, code]) => `${name} == ${code}`).join(' || ')]
  }
}

/** Cases that lead to the same node and differ in the value of `cell` only. */
function groupsOf(cases: readonly Case[], cell: Cell): Case[][] {
  const groups = new Map<string, Case[]>()
  for (const one of cases) {
    const others = [...one.when].filter(([asked]) => asked !== cell)
    const key = `${one.next}|${others.map(([asked, values]) => `${asked}=${[...values].join()}`).join(' ')}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [one])
    else group.push(one)
  }
  return [...groups.values()]
}

const comment = (text: string): string => text.replaceAll('*/', '* /')
