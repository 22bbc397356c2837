/**
 * Every step that any task takes, interned: equal steps are one object, and a section is learnt once for all who run it
 * with the same arguments.
 */

import type { LearnCpu } from './learn_cpu.ts'
import type { Memory } from './memory.ts'
import { type Op, SECTION } from './op.ts'
import { type SectionLock, SectionTree } from './section.ts'

export class OpTable {
  readonly all: Op[] = []
  private readonly byKey = new Map<string, Op>()
  private readonly numbers = new Map<unknown, number>()
  private readonly memory: Memory<object>

  constructor(memory: Memory<object>) {
    this.memory = memory
  }

  of(cpu: LearnCpu, cells: Int32Array): Op {
    const cell = this.memory.cellOf(cells, cpu.index)
    const { kind, x, y } = cpu
    const section = kind === SECTION ? cpu.section : undefined
    const key =
      section === undefined
        ? `${kind}:${cell}:${x}:${y}`
        : `${cell}:${x}:${this.numberOf(section)}(${cpu.args.map((arg) => this.numberOf(arg)).join(',')})`
    const known = this.byKey.get(key)
    if (known !== undefined) return known
    const op: Op = {
      id: this.all.length,
      kind,
      cell,
      x,
      y,
      ...(section !== undefined && { section: this.treeOf(section, cpu.args, { cell, bits: x }) }),
    }
    this.all.push(op)
    this.byKey.set(key, op)
    return op
  }

  private treeOf(
    section: (...args: never[]) => number,
    args: readonly unknown[],
    lock: SectionLock,
  ): SectionTree {
    const numbers = args.filter((arg) => typeof arg === 'number')
    const text = `${section.name || 'section'}(${numbers.join(', ')})`
    const run = (): number => Number(Reflect.apply(section, undefined, [...args]))
    return new SectionTree(this.memory, text, run, lock)
  }

  private numberOf(thing: unknown): string {
    if (typeof thing === 'number') return String(thing)
    let number = this.numbers.get(thing)
    if (number === undefined) {
      number = this.numbers.size
      this.numbers.set(thing, number)
    }
    return `#${number}`
  }
}
