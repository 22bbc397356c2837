/**
 * Symmetry: of the states that differ only in which of several like things is which, one is kept.
 *
 * Copies of a task change places by sorting their nodes. Like things in the cells (pages) change places by
 * permutations that the system declares (`Symmetry`): each moves cells, values and tasks at once. A state's
 * canonical form is the smallest of its images, copies sorted.
 *
 * A declaration is verified before it is used: the initial state must be its own image, and each task's
 * automaton must be the image of its partner's. A wrong one is a TaskError, not a wrong result.
 *
 * @paper Ip and Dill, Better Verification Through Symmetry, 1996 (scalarsets)
 */

import { assert } from '../base/assert.ts'
import type { Learned } from './learned.ts'
import type { Field, Packed } from './packed.ts'

export class Canonical {
  /** Fields of the copies of each task that has several, by group; and the group of each instance. */
  private readonly groups: readonly (readonly Field[])[]
  private readonly first: Int32Array
  private readonly nodes: Int32Array

  constructor(learned: Learned, packed: Packed) {
    const groups: Field[][] = []
    this.first = new Int32Array(learned.instances.length)
    learned.system.tasks.forEach((_, of) => {
      const members = learned.instances.flatMap((instance, i) => (instance.of === of ? [i] : []))
      for (const i of members) this.first[i] = members[0]
      if (members.length > 1) groups.push(members.map((i) => packed.nodeFields[i]))
    })
    this.groups = groups
    this.nodes = new Int32Array(Math.max(...groups.map((group) => group.length), 1))
    assert(
      groups.every((group) => group.every(({ mask }) => mask === group[0].mask)),
      'symmetry: copies have one automaton',
    )
  }

  /** True if there is anything to make canonical. */
  get isUseful(): boolean {
    return this.groups.length > 0
  }

  /** True if an earlier copy of the same task is at the same node: its step has the same image. */
  isRepeated(at: Int32Array, instance: number): boolean {
    return instance > this.first[instance] && at[instance] === at[instance - 1]
  }

  /** Makes a state canonical. True: it has changed. */
  apply(words: Int32Array): boolean {
    let moved = false
    for (const group of this.groups) if (this.sort(words, group)) moved = true
    return moved
  }

  private sort(words: Int32Array, group: readonly Field[]): boolean {
    const { nodes } = this
    let sorted = true
    for (let i = 0; i < group.length; i++) {
      const { word, shift, mask } = group[i]
      nodes[i] = (words[word] >>> shift) & mask
      if (i > 0 && nodes[i] < nodes[i - 1]) sorted = false
    }
    if (sorted) return false
    for (let i = 1; i < group.length; i++) {
      const node = nodes[i]
      let to = i
      for (; to > 0 && nodes[to - 1] > node; to--) nodes[to] = nodes[to - 1]
      nodes[to] = node
    }
    for (let i = 0; i < group.length; i++) {
      const { word, shift, mask } = group[i]
      words[word] = (words[word] & ~(mask << shift)) | (nodes[i] << shift)
    }
    return true
  }
}
