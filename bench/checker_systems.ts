/**
 * The systems that the checker is measured on: protocol P1, and a family of toy page moves of growing size.
 *
 * P1: movers take a reference, work under a lock and drop it, while the owner works and lets go of the first one.
 *
 * The toy: pages with a reference count, a lock, an isolated mark and a mapping; slots that name pages. A
 * compactor moves a page to another one, an owner frees the page of a slot, a user looks at it, an allocator
 * takes a page that has become free. All of it collides on a few words, as the engine's protocols do, but every
 * step is a single access, so that a model of it in another checker's language is the same system.
 *
 * States without reductions: P1 has (25 + 6 T) * 5^(T-1), see check/promela.test.ts; the toys have from 2,397 to
 * 5,745,609.
 *
 * Not here: the engine's own protocols (src/models/), which is what the checker is for.
 */

import { assert } from '../src/base/assert.ts'
import type { Cpu } from '../src/base/cpu.ts'
import type { System, Task } from '../src/check/system.ts'

const TAKEN = 1

// P1.

interface P1 {
  readonly ref: Int32Array
  readonly lock: Int32Array
}

function work(cpu: Cpu, { ref, lock }: P1): void {
  cpu.lock(lock, 0, TAKEN)
  cpu.load(lock, 0)
  cpu.unlock(lock, 0, TAKEN)
  cpu.add(ref, 0, -1)
}

function mover(cpu: Cpu, state: P1): void {
  if (cpu.load(state.ref, 0) === 0) return
  cpu.add(state.ref, 0, 1) // the mistake is P1's: the owner may have dropped the last one meanwhile
  work(cpu, state)
}

/** Protocol P1 with that many movers. */
function p1(movers: number): System<P1> {
  return {
    name: `P1 T=${movers}`,
    state: { ref: new Int32Array([1]), lock: new Int32Array(1) },
    tasks: [
      { name: 'mover', copies: movers, run: mover },
      { name: 'owner', run: work },
    ],
    invariants: [
      {
        name: 'no-negative-reference',
        says: 'nobody drops a reference that is not there',
        holds: ({ ref }) => ref[0] >= 0,
      },
    ],
  }
}

// The toy.

/** Columns by page, and what each slot holds: page + 1, or 0. */
interface Pages {
  readonly refcount: Int32Array
  readonly locked: Int32Array
  readonly isolated: Int32Array
  /** Slot + 1, or 0. */
  readonly mapping: Int32Array
  readonly inUse: Int32Array
  readonly slots: Int32Array
}

const FREE_TRIES = 2

/** Drops a reference; the last one frees the page. */
function put(cpu: Cpu, state: Pages, page: number): void {
  if (!cpu.decAndTest(state.refcount, page)) return
  assert(cpu.load(state.mapping, page) === 0, 'put: a mapped page is not freed')
  assert(cpu.testClear(state.inUse, page, 1), 'put: a page is freed once')
}

/** Takes `src`, and moves what it holds to `dst` if it can have it. */
function compact(cpu: Cpu, state: Pages, src: number, dst: number): void {
  const { refcount, isolated, inUse } = state
  if (!cpu.addUnlessZero(refcount, src)) return
  if (!isolate(cpu, state, src)) {
    put(cpu, state, src)
    return
  }
  if (!cpu.cas(inUse, dst, 0, 1)) {
    cpu.store(isolated, src, 0)
    put(cpu, state, src)
    return
  }
  cpu.store(refcount, dst, 1)
  const moved = move(cpu, state, src, dst)
  put(cpu, state, src)
  if (!moved) put(cpu, state, dst)
}

function isolate(cpu: Cpu, { locked, mapping, isolated }: Pages, src: number): boolean {
  if (!cpu.tryLock(locked, src, TAKEN)) return false
  const taken = cpu.load(mapping, src) !== 0 && !cpu.testSet(isolated, src, 1)
  cpu.unlock(locked, src, TAKEN)
  return taken
}

/** Under both locks: `dst` is locked before anybody can find it. */
function move(
  cpu: Cpu,
  { refcount, locked, isolated, mapping, slots }: Pages,
  src: number,
  dst: number,
): boolean {
  cpu.lock(locked, src, TAKEN)
  cpu.lock(locked, dst, TAKEN)
  const mapped = cpu.load(mapping, src)
  const moves = mapped !== 0 && cpu.cas(refcount, src, 2, 0) // nobody but the owner and this task
  if (moves) {
    cpu.store(mapping, dst, mapped)
    cpu.store(slots, mapped - 1, dst + 1)
    cpu.store(mapping, src, 0)
    cpu.store(refcount, src, 1)
  }
  cpu.store(isolated, src, 0)
  cpu.unlock(locked, dst, TAKEN)
  cpu.unlock(locked, src, TAKEN)
  return moves
}

/** The owner frees what its slot holds, wherever that has been moved. */
function free(cpu: Cpu, state: Pages, slot: number): void {
  const { refcount, locked, mapping, slots } = state
  for (let tries = 0; tries < FREE_TRIES; tries++) {
    cpu.at('free', slot, tries)
    const held = cpu.load(slots, slot)
    if (held === 0) return
    const page = held - 1
    if (!cpu.addUnlessZero(refcount, page)) continue
    cpu.lock(locked, page, TAKEN)
    const same = cpu.load(slots, slot) === held
    if (same) {
      cpu.store(slots, slot, 0)
      cpu.store(mapping, page, 0)
    }
    cpu.unlock(locked, page, TAKEN)
    if (same) {
      cpu.at('freed', page) // how often it has tried does not matter any more
      put(cpu, state, page)
      put(cpu, state, page)
      return
    }
    put(cpu, state, page)
  }
}

/** Looks at what a slot holds, with a reference of its own. */
function use(cpu: Cpu, state: Pages, slot: number): void {
  const held = cpu.load(state.slots, slot)
  if (held === 0) return
  const page = held - 1
  if (!cpu.addUnlessZero(state.refcount, page)) return
  if (cpu.load(state.slots, slot) === held) {
    assert(cpu.load(state.inUse, page) === 1, 'use: a page that a slot holds is in use')
  }
  put(cpu, state, page)
}

const compactor = (src: number, dst: number, copies = 1): Task<Pages> => ({
  name: `compact ${src} to ${dst}`,
  copies,
  run: (cpu, state) => compact(cpu, state, src, dst),
})
const owner = (slot: number): Task<Pages> => ({
  name: `free ${slot}`,
  run: (cpu, state) => free(cpu, state, slot),
})
const user = (slot: number, copies = 1): Task<Pages> => ({
  name: `use ${slot}`,
  copies,
  run: (cpu, state) => use(cpu, state, slot),
})

/** A system of so many pages, of which the first ones are held by a slot each. */
function toy(name: string, pages: number, held: number, tasks: readonly Task<Pages>[]): System<Pages> {
  const heldFirst = (value: (page: number) => number): Int32Array =>
    Int32Array.from({ length: pages }, (_, page) => (page < held ? value(page) : 0))
  return {
    name,
    state: {
      refcount: heldFirst(() => 1),
      locked: new Int32Array(pages),
      isolated: new Int32Array(pages),
      mapping: heldFirst((page) => page + 1),
      inUse: heldFirst(() => 1),
      slots: Int32Array.from({ length: held }, (_, slot) => slot + 1),
    },
    tasks,
    atEnd: [
      {
        name: 'nothing-left-over',
        says: 'a page is free, or held by the slot that it names, with one reference, not locked, not isolated',
        holds: (state) =>
          Array.from({ length: pages }, (_, page) => page).every((page) => isTidy(state, page)),
      },
    ],
  }
}

function isTidy({ refcount, locked, isolated, mapping, inUse, slots }: Pages, page: number): boolean {
  if (locked[page] !== 0 || isolated[page] !== 0) return false
  if (inUse[page] === 0) return refcount[page] === 0
  return refcount[page] === 1 && mapping[page] !== 0 && slots[mapping[page] - 1] === page + 1
}

/** Systems by name: `P1 T=4`, and the toys by the number of their tasks. */
export const SYSTEMS: Readonly<Record<string, () => System>> = {
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8].map((movers) => [`P1 T=${movers}`, () => p1(movers)])),
  '3 tasks, user': () => toy('3 tasks, user', 2, 1, [compactor(0, 1), owner(0), user(0)]),
  '3 tasks, twins': () => toy('3 tasks, twins', 2, 1, [compactor(0, 1, 2), owner(0)]),
  '4 tasks, user': () => toy('4 tasks, user', 3, 1, [compactor(0, 1), compactor(0, 2), owner(0), user(0)]),
  '4 tasks, apart': () => toy('4 tasks, apart', 4, 2, [compactor(0, 2), compactor(1, 3), owner(0), owner(1)]),
  '5 tasks, one target': () =>
    toy('5 tasks, one target', 3, 2, [compactor(0, 2), compactor(1, 2), owner(0), owner(1), user(0)]),
  '5 tasks, chain': () =>
    toy('5 tasks, chain', 3, 1, [compactor(0, 1, 2), compactor(1, 2), owner(0), user(0)]),
  '6 tasks, one target': () =>
    toy('6 tasks, one target', 3, 2, [
      compactor(0, 2),
      compactor(1, 2),
      owner(0),
      owner(1),
      user(0),
      user(1),
    ]),
  '6 tasks, chain': () =>
    toy('6 tasks, chain', 3, 1, [compactor(0, 1, 2), compactor(1, 2), owner(0), user(0, 2)]),
  '6 tasks, apart': () =>
    toy('6 tasks, apart', 4, 2, [compactor(0, 2), compactor(1, 3), owner(0), owner(1), user(0), user(1)]),
}
