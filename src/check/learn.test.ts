/** Learning tasks: loops that are cut stay small, and a task that cannot be learnt says why. */

import { describe, expect, test } from 'vitest'
import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { check, checkLearned, DEFAULTS, type Report } from './check.ts'
import { Learned } from './learned.ts'
import { type System, type Task, TaskError } from './system.ts'

interface Shared {
  readonly x: Int32Array
  readonly y: Int32Array
}

const systemOf = (...tasks: readonly Task<Shared>[]): System<Shared> => ({
  name: 'learn',
  state: { x: new Int32Array(2), y: new Int32Array(2) },
  tasks,
})
const explored = (...tasks: readonly Task<Shared>[]): Report =>
  check(systemOf(...tasks), { ...DEFAULTS, liveness: false })

/** Stores 1, 2, ... up to `last` in x[0]. */
const counter = (last: number): Task<Shared> => ({
  name: 'counter',
  run: (cpu, { x }) => {
    for (let i = 1; i <= last; i++) cpu.store(x, 0, i)
  },
})

/** What check says about a task that cannot be learnt; its partner stores 1 and 2 to x[0]. */
function faultOf(run: Task<Shared>['run']): string {
  try {
    explored({ name: 'task', run }, counter(2))
  } catch (error) {
    expect(error).toBeInstanceOf(TaskError)
    return error instanceof TaskError ? `${error.task} / ${error.message}` : ''
  }
  return ''
}

describe('cpu.at', () => {
  const sizeOf = (run: Task<Shared>['run'], last: number): number => {
    const learned = new Learned(systemOf({ name: 'task', run }, counter(last)))
    checkLearned(learned, { ...DEFAULTS, liveness: false })
    return learned.automata()[0].nodes.length
  }

  test('a loop that waits is three nodes, however often it may go round', () => {
    const run = (cpu: Cpu, { x, y }: Shared): void => {
      for (;;) {
        cpu.at('wait')
        if (cpu.load(x, 0) === 1) break // what it reads else is forgotten
      }
      cpu.store(y, 0, 1)
    }
    expect([1, 4, 12].map((last) => sizeOf(run, last))).toEqual([3, 3, 3])
  })

  test('what is live is remembered: a node for each value', () => {
    const run = (cpu: Cpu, { x, y }: Shared): void => cpu.store(y, 0, cpu.load(x, 0))
    // The load, a store of each of 0..last, and the end.
    expect([1, 4, 12].map((last) => sizeOf(run, last))).toEqual([4, 7, 15])
  })

  test('what is read and not used is forgotten', () => {
    const run = (cpu: Cpu, { x, y }: Shared): void => {
      cpu.load(x, 0)
      cpu.store(y, 0, 1)
    }
    expect([1, 4, 12].map((last) => sizeOf(run, last))).toEqual([3, 3, 3])
  })

  test('a loop of n rounds that declares its count has n of each node', () => {
    const run = (cpu: Cpu, { x, y }: Shared): void => {
      for (let i = 0; i < 5; i++) {
        cpu.at('round', i)
        if (cpu.load(x, 0) === 1) cpu.add(y, 0, 1)
      }
    }
    expect(sizeOf(run, 3)).toBe(5 * 2 + 1)
  })
})

describe('a value that is live and not declared', () => {
  test('is shown by two histories that go on in different ways', () => {
    const fault = faultOf((cpu, { x, y }) => {
      const seen = cpu.load(x, 0)
      cpu.at('here')
      cpu.store(y, 0, seen)
    })
    expect(fault).toContain("task / task: remembers more at cpu.at('here', 0, 0) than it declares there")
    const seen = [...fault.matchAll(/load x\[0\] = ([012])/g)].map(([, value]) => value)
    expect(new Set(seen).size).toBe(2)
  })

  test('is found if it is the result', () => {
    const fault = faultOf((cpu, { x }) => {
      const seen = cpu.load(x, 0)
      cpu.at('done')
      return seen
    })
    expect(fault).toContain('remembers more')
  })

  test('is found if it is used much later', () => {
    const fault = faultOf((cpu, { x, y }) => {
      const seen = cpu.load(x, 0)
      cpu.at('here')
      for (let i = 0; i < 6; i++) cpu.load(y, i & 1)
      cpu.store(y, 0, seen)
    })
    expect(fault).toContain('remembers more')
  })

  test.each([2, 3, 5, 40])('is found if it is a count to %i', (last) => {
    const fault = faultOf((cpu, { x }) => {
      for (let i = 0; i < last; i++) {
        cpu.at('round')
        cpu.load(x, 0)
      }
    })
    expect(fault).toContain("remembers more at cpu.at('round', 0, 0)")
  })

  test('is found before a violation is reported that there is not', () => {
    const run = (cpu: Cpu, { x }: Shared): void => {
      for (let i = 0; i < 2; i++) {
        cpu.at('round')
        cpu.add(x, 0, 1)
      }
    }
    const small = { name: 'small', says: 'x stays small', holds: ({ x }: Shared) => x[0] <= 2 }
    expect(() => check({ ...systemOf({ name: 'task', run }), invariants: [small] })).toThrow('remembers more')
  })

  test('need not be declared once it is dead', () => {
    const fault = faultOf((cpu, { x, y }) => {
      if (cpu.load(x, 0) === 1) cpu.add(y, 1, 1)
      cpu.at('here')
      cpu.store(y, 0, 1)
    })
    expect(fault).toBe('')
  })
})

describe('a task that depends on something else', () => {
  test('is shown with what it did once and what it did then', () => {
    const calls = { count: 0 }
    const fault = faultOf((cpu, { x, y }) => {
      cpu.load(y, 1)
      if (calls.count++ % 2 === 0) cpu.load(x, 0)
      else cpu.store(x, 1, 7)
    })
    expect(fault).toContain('depends on something else than its arguments and what cpu returned')
    expect(fault).toContain('load y[1] = 0')
    expect(fault).toContain('`load x[0]`')
    expect(fault).toContain('`store x[1] = 7`')
  })

  test('is found if it ends once', () => {
    const calls = { count: 0 }
    const fault = faultOf((cpu, { x }) => {
      if (calls.count++ > 0) cpu.load(x, 0)
    })
    expect(fault).toContain('depends on something else')
  })

  test('is found if it gives another result', () => {
    const calls = { count: 0 }
    const fault = faultOf((cpu, { x }) => {
      cpu.load(x, 0)
      return calls.count++
    })
    expect(fault).toContain('depends on something else')
  })
})

test('a task that goes on and on is told to say where it is', () => {
  const fault = faultOf((cpu, { y }) => {
    for (;;) cpu.load(y, 0)
  })
  expect(fault).toBe(
    "task / task: takes more than 500 steps; the head of a loop says cpu.at('label', live values)",
  )
})

describe('try and catch around cpu calls', () => {
  test('is found if the task then ends', () => {
    const fault = faultOf((cpu, { x }) => {
      try {
        cpu.load(x, 0)
      } catch {
        return 1
      }
      return 0
    })
    expect(fault).toContain('catches what cpu throws')
  })

  test('is found if it throws something else', () => {
    const fault = faultOf((cpu, { x }) => {
      try {
        cpu.load(x, 0)
      } catch {
        throw new Error('mine')
      }
    })
    expect(fault).toContain('catches what cpu throws')
  })

  test('is found if it takes a step on its way out', () => {
    // Told as what it looks like: the steps differ.
    const fault = faultOf((cpu, { x, y }) => {
      try {
        cpu.load(x, 0)
      } finally {
        cpu.store(y, 0, 1)
      }
    })
    expect(fault).toMatch(/catches what cpu throws|depends on something else/)
  })
})

describe('an assertion of the task', () => {
  test('is a violation with its sentence, as short as it gets', () => {
    const { verdict, counterexample } = explored(
      { name: 'task', run: (cpu, { x }) => assert(cpu.load(x, 0) !== 2, 'task: two is too many') },
      counter(3),
    )
    expect([verdict, counterexample?.violation]).toEqual([
      'violated',
      { kind: 'assertion', name: 'task: two is too many', says: 'task: two is too many', instance: 0 },
    ])
    expect(counterexample?.schedule).toEqual([1, 1, 0])
  })

  test('is one before the first step too', () => {
    const { verdict, counterexample } = explored(
      { name: 'task', run: () => assert(false, 'task: not at all') },
      counter(1),
    )
    expect([verdict, counterexample?.violation.name]).toEqual(['violated', 'task: not at all'])
  })

  test('that no schedule reaches is none', () => {
    // y[0] is never more than x[0], which is read first here.
    const behind: Task<Shared> = {
      name: 'behind',
      run: (cpu, { x, y }) => {
        for (let i = 1; i <= 2; i++) {
          cpu.store(y, 0, i)
          cpu.store(x, 0, i)
        }
      },
    }
    const reader: Task<Shared> = {
      name: 'reader',
      run: (cpu, { x, y }) => assert(cpu.load(x, 0) <= cpu.load(y, 0), 'reader: x is behind'),
    }
    expect(explored(behind, reader).verdict).toBe('pass')
  })

  test('any other error is one too', () => {
    const { counterexample } = explored({
      name: 'task',
      run: (cpu, { x }) => {
        cpu.load(x, 0)
        throw new RangeError('oops')
      },
    })
    expect(counterexample?.violation.name).toBe('threw RangeError: oops')
  })
})

describe('an index that is none', () => {
  const difference = (cpu: Cpu, { x, y }: Shared): void => {
    cpu.lock(y, 1, 1)
    const low = cpu.load(x, 0)
    const high = cpu.load(x, 1)
    cpu.unlock(y, 1, 1)
    cpu.load(y, high - low)
  }
  const raise = (cpu: Cpu, { x, y }: Shared): void => {
    cpu.lock(y, 1, 1)
    cpu.store(x, 0, 4)
    cpu.store(x, 1, 5)
    cpu.unlock(y, 1, 1)
  }

  test('does not matter in a history that cannot happen', () => {
    // 4 is seen for the low one and 0 for the high one, never together.
    const report = explored({ name: 'difference', run: difference }, { name: 'raise', run: raise })
    expect(report.verdict).toBe('pass')
  })

  test('is what is wrong with a task that comes to it', () => {
    const { verdict } = explored({
      name: 'task',
      run: (cpu, { x, y }) => cpu.load(y, cpu.load(x, 0) - 1),
    })
    expect(verdict).toBe('violated')
  })
})
