/**
 * Random small systems: the checker and a naive enumerator of all schedules say the same, with each reduction and
 * without.
 *
 * A program is a short list of statements over four cells and two locks; some branch, some loop, some retry for
 * ever. All that a task has seen goes into a number, which it declares at the heads of its loops, so what
 * `cpu.at` says is true. `DROVER_FUZZ=1` looks at many more systems.
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { enumerate } from '../testing/enumerate.ts'
import { check, DEFAULTS } from './check.ts'
import type { Property, Symmetry, System, Task } from './system.ts'

const long = process.env['DROVER_FUZZ'] === '1'

interface Shared {
  readonly x: Int32Array
  readonly y: Int32Array
  readonly locks: Int32Array
}

/** A cell: `x[0]`, `x[1]`, `y[0]`, `y[1]`. */
type Place = 0 | 1 | 2 | 3
const columnOf = (s: Shared, place: Place): Int32Array => (place < 2 ? s.x : s.y)
const valueAt = (s: Shared, place: Place): number => columnOf(s, place)[place & 1]

type Simple =
  | { readonly kind: 'load' | 'decAndTest' | 'addUnlessZero'; readonly at: Place }
  | {
      readonly kind: 'store' | 'add' | 'testSet' | 'testClear' | 'waitClear'
      readonly at: Place
      readonly v: number
    }
  | { readonly kind: 'cas'; readonly at: Place; readonly v: number; readonly w: number }
  | {
      readonly kind: 'section'
      readonly which: 0 | 1 | 2
      readonly bits: number
      readonly a: number
      readonly b: number
    }
type Statement =
  | Simple
  | {
      readonly kind: 'if'
      readonly test: Simple
      readonly is: number
      readonly yes: readonly Simple[]
      readonly no: readonly Simple[]
    }
  | {
      readonly kind: 'locked' | 'tryLocked' | 'spins'
      readonly bits: number
      readonly body: readonly Simple[]
      readonly unlocks: boolean
    }
  | { readonly kind: 'loop'; readonly times: number; readonly body: readonly Simple[] }
  | { readonly kind: 'retry'; readonly until: Simple; readonly is: number }

interface Program {
  readonly copies: number
  /** What it has seen is its result. */
  readonly tells: boolean
  readonly statements: readonly Statement[]
}

function move(s: Shared, a: number, b: number): number {
  if (s.x[a] <= 0) return 0
  s.x[a] -= 1
  s.y[b] += 1
  return 1
}
function swap(s: Shared, a: number, b: number): number {
  const kept = s.x[a]
  s.x[a] = s.y[b]
  s.y[b] = kept
  return 0
}
function demand(s: Shared, a: number, b: number): number {
  if (s.x[a] === 2) assert(s.y[b] !== 2, 'demand: not both are two')
  return s.y[b]
}
const SECTIONS = [move, swap, demand] as const

/** Takes one step. */
function takeSimple(cpu: Cpu, s: Shared, it: Simple): number {
  if (it.kind === 'section') {
    return cpu.atomically(s.locks, 0, it.bits, SECTIONS[it.which], s, it.a, it.b, 0)
  }
  const cells = columnOf(s, it.at)
  const i = it.at & 1
  switch (it.kind) {
    case 'load':
      return cpu.load(cells, i)
    case 'store':
      cpu.store(cells, i, it.v)
      return 0
    case 'add':
      cpu.add(cells, i, it.v)
      return 0
    case 'decAndTest':
      return Number(cpu.decAndTest(cells, i))
    case 'addUnlessZero':
      return Number(cpu.addUnlessZero(cells, i))
    case 'cas':
      return Number(cpu.cas(cells, i, it.v, it.w))
    case 'testSet':
      return Number(cpu.testSet(cells, i, it.v))
    case 'testClear':
      return Number(cpu.testClear(cells, i, it.v))
    case 'waitClear':
      cpu.waitClear(cells, i, it.v)
      return 0
  }
}

/** Runs a program. `seen` is what it has seen, in a small number. */
function runProgram(cpu: Cpu, s: Shared, { tells, statements }: Program): number {
  let seen = 0
  const sees = (answer: number): number => {
    if (tells) seen = (seen * 2 + (answer & 3)) % 5
    return answer
  }
  const takeAll = (body: readonly Simple[]): void => {
    for (const it of body) sees(takeSimple(cpu, s, it))
  }
  const takeLocked = (bits: number, body: readonly Simple[], unlocks: boolean): void => {
    takeAll(body)
    if (unlocks) cpu.unlock(s.locks, 0, bits)
  }
  statements.forEach((it, n) => {
    switch (it.kind) {
      case 'if':
        takeAll(sees(takeSimple(cpu, s, it.test)) === it.is ? it.yes : it.no)
        return
      case 'locked':
        cpu.lock(s.locks, 0, it.bits)
        takeLocked(it.bits, it.body, it.unlocks)
        return
      case 'tryLocked':
        if (sees(Number(cpu.tryLock(s.locks, 0, it.bits))) === 0) return
        takeLocked(it.bits, it.body, true)
        return
      case 'spins':
        do cpu.at(`spins ${n}`, 0, seen)
        while (!cpu.tryLock(s.locks, 0, it.bits))
        takeLocked(it.bits, it.body, true)
        return
      case 'loop':
        for (let i = 0; i < it.times; i++) {
          cpu.at(`loop ${n}`, i, seen)
          takeAll(it.body)
        }
        return
      case 'retry':
        do cpu.at(`retry ${n}`, 0, seen)
        while (takeSimple(cpu, s, it.until) !== it.is)
        return
      default:
        sees(takeSimple(cpu, s, it))
    }
  })
  return tells ? seen : -1
}

const place = fc.constantFrom<Place[]>(0, 1, 2, 3)
const value = fc.integer({ min: 0, max: 2 })
const bit = fc.constantFrom(1, 2)
const simple: fc.Arbitrary<Simple> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('load'), at: place }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('decAndTest', 'addUnlessZero', 'addUnlessZero'),
      at: place,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('store'), at: place, v: value }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('add'), at: place, v: fc.constantFrom(-1, 1) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('testSet', 'testClear', 'testClear', 'waitClear'),
      at: place,
      v: bit,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cas'), at: place, v: value, w: value }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('section'),
      which: fc.constantFrom(0, 1, 2),
      bits: fc.constantFrom(0, 1, 2),
      a: fc.integer({ min: 0, max: 1 }),
      b: fc.integer({ min: 0, max: 1 }),
    }),
  },
)
const few = fc.array(simple, { minLength: 1, maxLength: 2 })
const loads = fc.record({ kind: fc.constant('load'), at: place })
const adds = fc.record({ kind: fc.constant('addUnlessZero'), at: place })
const swaps = fc.record({ kind: fc.constant('cas'), at: place, v: value, w: value })
const sets = fc.record({ kind: fc.constantFrom('testSet', 'testClear'), at: place, v: bit })
/** Statements; those that may go round for ever have that weight. */
const statement = (forEver: number): fc.Arbitrary<Statement> =>
  fc.oneof(
    { weight: 5, arbitrary: simple },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('if'),
        test: fc.oneof(loads, adds, swaps, sets),
        is: fc.integer({ min: 0, max: 1 }),
        yes: few,
        no: fc.array(simple, { maxLength: 1 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom('locked', 'tryLocked'),
        bits: bit,
        body: few,
        unlocks: fc.constantFrom(true, true, true, true, true, false),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('loop'),
        times: fc.integer({ min: 2, max: 3 }),
        body: fc.array(simple, { minLength: 1, maxLength: 1 }),
      }),
    },
    {
      weight: forEver,
      arbitrary: fc.record({ kind: fc.constant('spins'), bits: bit, body: few, unlocks: fc.constant(true) }),
    },
    {
      weight: forEver,
      arbitrary: fc.record({
        kind: fc.constant('retry'),
        until: fc.oneof(loads, swaps, sets),
        is: fc.integer({ min: 0, max: 1 }),
      }),
    },
  )
const program = (forEver: number, maxLength: number, copies: number): fc.Arbitrary<Program> =>
  fc.record({
    copies: fc.constant(copies),
    tells: fc.boolean(),
    statements: fc.array(statement(forEver), { minLength: 1, maxLength }),
  })
const programs = (forEver: number): fc.Arbitrary<readonly Program[]> =>
  fc.oneof(
    fc.tuple(program(forEver, 4, 1), program(forEver, 4, 1)),
    fc.tuple(program(forEver, 3, 2)),
    fc.tuple(program(forEver, 2, 2), program(forEver, 3, 1)),
    fc.tuple(program(forEver, 2, 1), program(forEver, 2, 1), program(forEver, 2, 1)),
  )

type Rule =
  | { readonly kind: 'cells'; readonly a: Place; readonly v: number; readonly b: Place; readonly w: number }
  | { readonly kind: 'places'; readonly label: string; readonly a: Place; readonly v: number }
  | {
      readonly kind: 'results'
      readonly of: number
      readonly v: number
      readonly a: Place
      readonly w: number
    }
const cellsRule = fc.record({
  kind: fc.constant('cells'),
  a: place,
  v: fc.integer({ min: 0, max: 3 }),
  b: place,
  w: value,
})
const placesRule = fc.record({
  kind: fc.constant('places'),
  label: fc.constantFrom('spins 0', 'loop 0', 'retry 0', 'spins 1', 'loop 1', 'retry 1'),
  a: place,
  v: value,
})
const resultsRule = fc.record({
  kind: fc.constant('results'),
  of: fc.constant(0),
  v: fc.integer({ min: 0, max: 4 }),
  a: place,
  w: value,
})
const invariants: fc.Arbitrary<readonly Rule[]> = fc.array(fc.oneof(cellsRule, placesRule, resultsRule), {
  maxLength: 2,
})
const atEnd: fc.Arbitrary<readonly Rule[]> = fc.array(fc.oneof(cellsRule, resultsRule), { maxLength: 1 })

function propertyOf(rule: Rule): Property<Shared> {
  const named = { name: JSON.stringify(rule), says: 'a random rule' }
  switch (rule.kind) {
    case 'cells':
      return { ...named, holds: (s) => valueAt(s, rule.a) !== rule.v || valueAt(s, rule.b) === rule.w }
    case 'places':
      return { ...named, holds: (s, where) => where.count(rule.label) < 2 || valueAt(s, rule.a) !== rule.v }
    case 'results':
      return {
        ...named,
        holds: (s, where) =>
          !where.results(`task ${rule.of}`).includes(rule.v) || valueAt(s, rule.a) !== rule.w,
      }
  }
}

interface Drawn {
  readonly programs: readonly Program[]
  readonly first: readonly number[]
  readonly invariants: readonly Rule[]
  readonly atEnd: readonly Rule[]
}
const systems = (forEver: number): fc.Arbitrary<Drawn> =>
  fc.record({
    programs: programs(forEver),
    first: fc.array(value, { minLength: 4, maxLength: 4 }),
    invariants,
    atEnd,
  })

function systemOf(drawn: Drawn): System<Shared> {
  const tasks = drawn.programs.map(
    (own, n): Task<Shared> => ({
      name: `task ${n}`,
      copies: own.copies,
      run: (cpu, s) => runProgram(cpu, s, own),
    }),
  )
  return {
    name: 'random',
    state: {
      x: Int32Array.from(drawn.first.slice(0, 2)),
      y: Int32Array.from(drawn.first.slice(2)),
      locks: new Int32Array(1),
    },
    tasks,
    invariants: drawn.invariants.map(propertyOf),
    atEnd: drawn.atEnd.map(propertyOf),
  }
}

const OTHER: readonly Place[] = [1, 0, 3, 2]
const mirroredStep = (it: Simple): Simple =>
  it.kind === 'section' ? { ...it, a: 1 - it.a, b: 1 - it.b } : { ...it, at: OTHER[it.at] }

/** The same with `x[0]` and `x[1]`, and `y[0]` and `y[1]`, in each other's place. */
function mirrored(it: Statement): Statement {
  switch (it.kind) {
    case 'if':
      return {
        ...it,
        test: mirroredStep(it.test),
        yes: it.yes.map(mirroredStep),
        no: it.no.map(mirroredStep),
      }
    case 'locked':
    case 'tryLocked':
    case 'spins':
    case 'loop':
      return { ...it, body: it.body.map(mirroredStep) }
    case 'retry':
      return { ...it, until: mirroredStep(it.until) }
    default:
      return mirroredStep(it)
  }
}

function mirroredRule(rule: Rule): Rule {
  const a = OTHER[rule.a]
  if (rule.kind === 'cells') return { ...rule, a, b: OTHER[rule.b] }
  return rule.kind === 'results' ? { ...rule, a, of: 1 - rule.of } : { ...rule, a }
}

/** A rule and its mirror image in one: a property of such a system treats both sides alike. */
function bothWays(rule: Rule): Property<Shared> {
  const one = propertyOf(rule)
  const other = propertyOf(mirroredRule(rule))
  return { ...one, holds: (s, where) => one.holds(s, where) && other.holds(s, where) }
}

/** A system that is its own mirror image: the first program, and the same on the other cells. */
function mirroredSystemOf(drawn: Drawn): System<Shared> {
  const [drawnFirst] = drawn.programs
  // With copies there are four tasks: one statement each is enough.
  const statements = drawnFirst.statements.slice(0, drawnFirst.copies === 1 ? 3 : 1)
  const first = { ...drawnFirst, statements }
  const second = { ...first, statements: statements.map(mirrored) }
  const [x, , y] = drawn.first
  const mirror: Symmetry = {
    name: 'mirror',
    cell: (column, index) => (column === 'locks' ? index : 1 - index),
    tasks: { 'task 0': 'task 1', 'task 1': 'task 0' },
  }
  const system = systemOf({ ...drawn, programs: [first, second], first: [x, x, y, y] })
  return {
    ...system,
    invariants: drawn.invariants.map(bothWays),
    atEnd: drawn.atEnd.map(bothWays),
    symmetries: [mirror],
  }
}

const REDUCTIONS = [true, false].flatMap((persistentSets) =>
  [true, false].map((symmetry) => ({ persistentSets, symmetry })),
)

/** Compares, and tells whether anything is wrong with the system. */
function compare(system: System): boolean {
  const naive = enumerate(system)
  const violated = naive.violations.size > 0
  for (const reductions of REDUCTIONS) {
    const report = check(system, { ...DEFAULTS, ...reductions, liveness: false })
    expect(report.verdict).toBe(violated ? 'violated' : 'pass')
    if (violated) {
      expect(report.shortest).toBe(true)
      expect(report.counterexample?.schedule.length).toBe(naive.shortest)
      expect(naive.violations).toContain(report.counterexample?.violation.name)
    } else {
      expect(report.ends).toEqual(naive.ends)
      expect(report.states).toBeLessThanOrEqual(naive.states)
    }
  }
  return violated
}

/** Compares so many systems; of these both kinds must have been there. */
function compareMany(forEver: number, numRuns: number, build = systemOf): void {
  const wrong: boolean[] = []
  const property = fc.property(systems(forEver), (drawn) => {
    wrong.push(compare(build(drawn)))
  })
  fc.assert(property, { numRuns, seed: 3 })
  expect(wrong.filter((violated) => violated).length).toBeGreaterThan(numRuns / 8)
  expect(wrong.filter((violated) => !violated).length).toBeGreaterThan(numRuns / 8)
}

test('systems whose tasks all come to an end', () => {
  compareMany(0, long ? 20_000 : 500)
})

test('systems whose tasks may go round for ever', () => {
  compareMany(6, long ? 2000 : 30)
})

test('systems that are their own mirror image', () => {
  compareMany(0, long ? 10_000 : 200, mirroredSystemOf)
})

test('what tasks say about where they are is true: all that they were told makes no difference', () => {
  const property = fc.property(systems(0), (drawn) => {
    const trusting = enumerate(systemOf(drawn))
    const careful = enumerate(systemOf(drawn), { trustsPlaces: false })
    expect([trusting.ends, trusting.violations, trusting.shortest]).toEqual([
      careful.ends,
      careful.violations,
      careful.shortest,
    ])
    expect(trusting.states).toBeLessThanOrEqual(careful.states)
  })
  fc.assert(property, { numRuns: long ? 5000 : 150, seed: 4 })
})
