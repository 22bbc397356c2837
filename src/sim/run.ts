/**
 * Runs a scenario: boots its machine, makes its owners, plays its phases, and says what came of it.
 *
 * Same scenario, same seed: the same figures, to the bit.
 *
 * @ours
 */

import { assert } from '../base/assert.ts'
import { Prng } from '../base/prng.ts'
import { cpuIdOf } from '../base/units.ts'
import { OWNER_LISTS } from '../mm/page.ts'
import { Schedule } from './activity.ts'
import { boot, machineSpec, type Needs } from './boot.ts'
import { Costs } from './costs.ts'
import type { Histogram } from './histogram.ts'
import { type Snapshot, snapshotOf, valueOf } from './metrics.ts'
import type { Scenario } from './scenario.ts'
import { Series } from './series.ts'
import { World } from './world.ts'

/** What one run gave. */
export interface RunResult {
  readonly seed: number
  /** Simulated nanoseconds. */
  readonly ns: number
  readonly pageEvents: number
  /** The end of each phase. */
  readonly snapshots: readonly Snapshot[]
  readonly metrics: Readonly<Record<string, number | undefined>>
  readonly results: Readonly<Record<string, number>>
  readonly histograms: ReadonlyMap<string, Histogram>
  readonly series: Series
  /** Hash of the machine's memory at the end. */
  readonly hash: number
  readonly world: World
}

/** Where a run is: phases done, of how many, and simulated nanoseconds. */
export type OnProgress = (phasesDone: number, phases: number, ns: number) => void

/** Why a scenario cannot be run, though every part of it can be read. */
export function impossible(scenario: Scenario): string | undefined {
  const memory = scenario.machine.nodes.reduce((sum, { pages }) => sum + pages, 0)
  if (memory > 2 ** 29) return 'a machine has at most 2TiB'
  if (scenario.machine.nodes.some(({ pages, movable }) => movable >= pages)) {
    return 'ZONE_MOVABLE is smaller than its node: the kernel needs memory too'
  }
  return undefined
}

/** Runs it once. Throws AssertionError on a bug of the engine or of a task; `impossible()` says the rest before. */
export function runScenario(scenario: Scenario, seed: number, onProgress: OnProgress = () => {}): RunResult {
  const world = build(scenario, seed)
  const schedule = new Schedule(world)
  const series = new Series(world, scenario.sample_every)
  const snapshots: Snapshot[] = []
  let number = 0
  scenario.phases.forEach((phase, at) => {
    onProgress(at, scenario.phases.length, world.now)
    for (const plan of phase.tasks) {
      for (let copy = 0; copy < plan.copies; copy++) {
        const cpu = cpuIdOf(number % world.cpus.length)
        const prng = new Prng(Math.imul(seed, 0x9e3779b1) ^ number++)
        const activity = plan.start(world, world.cpus[cpu], prng, plan.name)
        schedule.start(activity, plan.name, cpu, plan.at, plan.background)
      }
    }
    const until = phase.for === undefined ? Number.POSITIVE_INFINITY : world.now + phase.for
    schedule.run(until, () => series.sampleDue())
    snapshots.push(snapshotOf(world, phase.name))
    world.endPhase()
  })
  onProgress(scenario.phases.length, scenario.phases.length, world.now)
  series.sampleNow()
  return {
    seed,
    ns: world.now,
    pageEvents: world.pageEvents,
    snapshots,
    metrics: Object.fromEntries(
      Object.entries(scenario.metrics).map(([name, metric]) => [name, valueOf(metric, world, snapshots)]),
    ),
    results: Object.fromEntries([...world.results].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    histograms: world.histograms,
    series,
    hash: world.mm.arena.hash(),
    world,
  }
}

function build(scenario: Scenario, seed: number): World {
  const { machine } = scenario
  const { needs, places } = placesOf(scenario)
  const spec = machineSpec(
    {
      cpus: machine.cpus,
      nodes: machine.nodes,
      swapSlots: machine.swap,
      minFreeKbytes: machine.min_free_kbytes,
      rules: machine.rules,
      sysctl: machine.sysctl,
      thp: {
        ...(machine.thp.enabled && { enabled: machine.thp.enabled }),
        ...(machine.thp.defrag && { defrag: machine.thp.defrag }),
      },
    },
    needs,
  )
  const world = new World(boot(spec), new Costs(scenario.costs))
  Object.entries(scenario.owners).forEach(([name, plan], i) => {
    world.owners.set(name, plan.create(world, places[i], new Prng(Math.imul(seed, 0x9e3779b1) ^ ~i)))
  })
  return world
}

/** What all tasks and owners need together, and where each owner's stretch begins. */
function placesOf({ phases, owners }: Scenario): {
  needs: Needs
  places: { cell: number; list: number }[]
} {
  let cells = 0
  let lists = 0
  let contents = false
  const places = Object.values(owners).map(({ needs }) => {
    const place = { cell: cells, list: lists }
    cells += needs.ownerCells ?? 0
    lists += needs.ownerLists ?? 0
    contents ||= needs.contents ?? false
    return place
  })
  assert(lists <= OWNER_LISTS, 'sim: the machine has lists for all owners')
  const sum = { ptes: 0, slots: 0, mappings: 0 }
  for (const { copies, needs } of [...phases.flatMap(({ tasks }) => tasks), ...owned(owners)]) {
    sum.ptes += copies * (needs.ptes ?? 0)
    sum.slots += copies * (needs.slots ?? 0)
    sum.mappings += copies * (needs.mappings ?? 0)
    contents ||= needs.contents ?? false
  }
  return { needs: { ...sum, ptes: sum.ptes + 1024, ownerCells: cells, contents }, places }
}

const owned = (owners: Scenario['owners']): { copies: number; needs: Needs }[] =>
  Object.values(owners).map(({ needs }) => ({ copies: 1, needs }))
