/**
 * State counts that can be derived by hand: of small systems, explored without any reduction, and with each.
 *
 * A task's place in its code is written as a number, 0 before its first step.
 */

import { describe, expect, test } from 'vitest'
import type { Cpu } from '../base/cpu.ts'
import { check, DEFAULTS } from './check.ts'
import type { System, Task } from './system.ts'

interface Shared {
  readonly x: Int32Array
  readonly lock: Int32Array
}

const systemOf = (first: number, ...tasks: readonly Task<Shared>[]): System<Shared> => ({
  name: 'counts',
  state: { x: new Int32Array([first, 0, 0]), lock: new Int32Array(1) },
  tasks,
})

const PLAIN = { ...DEFAULTS, persistentSets: false, symmetry: false, liveness: false }
const explored = (system: System, options: { persistentSets?: boolean; symmetry?: boolean } = {}) => {
  const { verdict, states, transitions, depth, ends } = check(system, { ...PLAIN, ...options })
  expect(verdict).toBe('pass')
  return { states, transitions, depth, ends: new Set(ends) }
}

describe('two tasks of n and m steps that have nothing to do with each other', () => {
  const adder =
    (cell: number, steps: number) =>
    (cpu: Cpu, { x }: Shared): void => {
      for (let i = 0; i < steps; i++) cpu.add(x, cell, 1)
    }
  const sizes: readonly (readonly [n: number, m: number])[] = [
    [1, 1],
    [2, 3],
    [5, 4],
  ]

  // The places are a grid of (n + 1)(m + 1), and the cells follow from the places. n(m + 1) steps lead along one
  // side of it, m(n + 1) along the other.
  test.each(sizes)('n = %i, m = %i: a grid', (n, m) => {
    const system = systemOf(0, { name: 'n', run: adder(0, n) }, { name: 'm', run: adder(1, m) })
    const { states, transitions, depth } = explored(system)
    expect([states, transitions, depth]).toEqual([(n + 1) * (m + 1), n * (m + 1) + m * (n + 1), n + m])
  })

  // One task first, then the other: a path.
  test.each(sizes)('n = %i, m = %i: a path is enough', (n, m) => {
    const system = systemOf(0, { name: 'n', run: adder(0, n) }, { name: 'm', run: adder(1, m) })
    const { states, transitions, ends } = explored(system, { persistentSets: true })
    expect([states, transitions]).toEqual([n + m + 1, n + m])
    expect(ends).toEqual(new Set([`x[0]=${n} x[1]=${m} | -1 -1`]))
  })
})

describe('T lockers: lock, work, unlock', () => {
  const locker = (cpu: Cpu, { x, lock }: Shared): void => {
    cpu.lock(lock, 0, 1) // 0 -> 1
    cpu.load(x, 0) //       1 -> 2
    cpu.unlock(lock, 0, 1) // 2 -> 3
  }
  const lockers = (copies: number): System<Shared> => systemOf(0, { name: 'locker', copies, run: locker })

  // Nobody holds the lock: everybody is at 0 or 3, 2^T states. One of T holds it, at 1 or 2, the others are at 0
  // or 3: T * 2 * 2^(T-1). Together 2^T (T + 1).
  test.each([1, 2, 3, 4, 5])('T = %i: 2^T (T + 1) states', (T) => {
    expect(explored(lockers(T)).states).toBe(2 ** T * (T + 1))
  })

  // Only how many of T are at 3 counts: T + 1 states without a holder, 2 * T with one of whose T - 1 others so
  // many are. Together 3T + 1.
  test.each([1, 2, 3, 4, 5])('T = %i, alike: 3T + 1 states', (T) => {
    expect(explored(lockers(T), { symmetry: true }).states).toBe(3 * T + 1)
  })

  // Two: 12 pairs of places (not both in 1 and 2). Steps: none is done, one of two can lock: (0,0) 2, (0,3) and
  // (3,0) 1 each; a holder goes on, at 1 or 2, whatever the other is at: 2 tasks * 2 places * 2 = 8. Together 12.
  test('T = 2: the steps too', () => {
    const { states, transitions, depth } = explored(lockers(2))
    expect([states, transitions, depth]).toEqual([12, 12, 6])
  })
})

describe('a lost update: two tasks load x and store one more', () => {
  const inc = (cpu: Cpu, { x }: Shared): void => cpu.store(x, 0, cpu.load(x, 0) + 1)

  // By (first, second), with what a task at 1 has read:
  //   (0,0)                 1
  //   (1:0,0) (0,1:0)       2     x is 0
  //   (1:0,1:0)             1     both have read 0: the update is lost
  //   (2,0) (0,2)           2     x is 1
  //   (2,1:0) (1:0,2)       2     x is 1, and 1 will be stored once more
  //   (2,1:1) (1:1,2)       2     x is 1, and 2 will be stored
  //   (2,2)                 2     x is 1 or 2
  // 12 states. Steps: 2 from (0,0), 2 from each of the next two, 2 from (1:0,1:0), and 1 from each of the six
  // in which one has ended: 2 + 4 + 2 + 6 = 14.
  test('12 states, 14 steps, two ends', () => {
    const { states, transitions, ends } = explored(systemOf(0, { name: 'inc', copies: 2, run: inc }))
    expect([states, transitions]).toEqual([12, 14])
    expect(ends).toEqual(new Set(['x[0]=1 | -1 -1', 'x[0]=2 | -1 -1']))
  })

  // Each of the four pairs above counts once: 12 - 4.
  test('8 states if the tasks are alike', () => {
    const { states } = explored(systemOf(0, { name: 'inc', copies: 2, run: inc }), { symmetry: true })
    expect(states).toBe(8)
  })
})

/**
 * Protocol P1. A mover: load ref (0, and if it is 0 the end), add 1 (1), lock (2), work (3), unlock (4), add -1 (5),
 * the end (6). The owner: lock (0), work (1), unlock (2), add -1 (3), the end (4).
 *
 * `ref` is 1 + movers at 2..5, less 1 if the owner is at 4; the lock is held if somebody is at his work or at his
 * unlock. So a state is where everybody is. A mover that has found 0 has ended like one that has worked.
 */
describe('protocol P1', () => {
  const work = (cpu: Cpu, { x, lock }: Shared): void => {
    cpu.lock(lock, 0, 1)
    cpu.load(x, 1)
    cpu.unlock(lock, 0, 1)
    cpu.add(x, 0, -1)
  }
  const mover = (cpu: Cpu, s: Shared): void => {
    if (cpu.load(s.x, 0) === 0) return
    cpu.add(s.x, 0, 1)
    work(cpu, s)
  }
  const p1 = (copies: number): System<Shared> =>
    systemOf(1, { name: 'mover', copies, run: mover }, { name: 'owner', run: work })

  // T = 1: 7 places of the mover times 5 of the owner, without the 2 * 2 in which both have the lock: 31. (The
  // mover that found 0 is at 6 as well: with the owner at 4 that is one state, not two.)
  // Steps: of the mover at 0, 1 and 5, whatever the owner does: 3 * 5; its lock, with the owner at 0, 3 or 4: 3;
  // its work and unlock, the same: 2 * 3. Of the owner: at 3, whatever the mover does: 7; its lock, with the mover
  // at 0, 1, 2, 5 or 6: 5; its work and unlock, the same: 2 * 5. Together 15 + 9 + 7 + 15 = 46.
  test('T = 1: 31 states, 46 steps', () => {
    const { states, transitions, depth, ends } = explored(p1(1))
    expect([states, transitions, depth]).toEqual([31, 46, 9])
    expect(ends).toEqual(new Set(['x[0]=0 | -1 -1']))
  })

  // Without the lock a mover has 5 places, the owner 3. Nobody has it: 5^T * 3. The owner has it, at 1 or 2:
  // 5^T * 2. One of T movers has it, at 3 or 4: T * 2 * 5^(T-1) * 3. Together 5^(T-1) (25 + 6T).
  test.each([1, 2, 3, 4])('T = %i: 5^(T-1) (25 + 6T) states', (T) => {
    expect(explored(p1(T)).states).toBe(5 ** (T - 1) * (25 + 6 * T))
  })

  // Alike, T movers on 5 places are (T + 4 over 4) states: 5 of these for the owner's places, and 2 * 3 of those
  // of T - 1 movers for a mover with the lock.
  const over4 = (n: number): number => (n * (n - 1) * (n - 2) * (n - 3)) / 24
  test.each([1, 2, 3, 4, 8])('T = %i, alike: 5 (T+4 over 4) + 6 (T+3 over 4) states', (T) => {
    expect(explored(p1(T), { symmetry: true }).states).toBe(5 * over4(T + 4) + 6 * over4(T + 3))
  })
})
