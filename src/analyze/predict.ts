/**
 * Prediction: the captured machine is loaded into the engine, and the real algorithm runs on it.
 *
 * What a capture does not tell is assumed as is most likely, and then the other way: the same compaction is
 * run once more for each other assumption, and `low` and `high` are the least and the most of all runs.
 * They say how much the answer hangs on what is not known, and are no confidence interval: what the kernel
 * gets may lie outside. Two assumptions matter: pins that a capture without references cannot show (the kernel counts them, so
 * as many are scattered over anonymous memory), and pages on per-cpu lists, which return to the free lists
 * at any moment.
 *
 * A pass may also end early, `contended`, when a large folio finds no target and cannot be split; no
 * assumption covers that: the status says so.
 */

import type { Cpu } from '../base/cpu.ts'
import { Prng } from '../base/prng.ts'
import { ok, type Result } from '../base/result.ts'
import { grouped } from '../base/text.ts'
import { nidOf, pfnOf } from '../base/units.ts'
import type { Capture } from '../capture/format/capture.ts'
import { COMPACT_COMPLETE, COMPACT_CONTENDED, COMPACT_RESULT_NAMES } from '../mm/compact_result.ts'
import { compactNode, type ZoneCompaction } from '../mm/compaction.ts'
import { getUserPage } from '../mm/gup.ts'
import type { KernelRules, Mm } from '../mm/index.ts'
import { PAGE_MAPPING_ANON, PG_head, PG_lru } from '../mm/limits.ts'
import { ISOLATED, ISOLATION_REASONS } from '../mm/movable_ops.ts'
import { drainAllPages } from '../mm/pcp.ts'
import { freeMap } from './engine_state.ts'
import { addCounts, countFreeBlocks, countFreeBlocksDrained, hugeBlocks } from './free_blocks.ts'
import { captureCpu, loadMachine, rulesOf } from './load.ts'
import type { PageMap, ZoneSpan } from './page_map.ts'

/** Free blocks of a zone by order 0..10, as buddyinfo shows them and with per-cpu pages merged in. */
export interface FreeBlocks {
  readonly freeBlocks: readonly number[]
  readonly freeBlocksDrained: readonly number[]
}

export interface ZoneOutcome extends FreeBlocks {
  readonly node: number
  readonly name: string
  readonly pagesMigrated: number
  readonly pagesFailed: number
  readonly migrateScanned: number
  readonly freeScanned: number
  readonly status: string
}

export interface Outcome {
  readonly zones: readonly ZoneOutcome[]
  /** Pages that isolation refused, by reason, most first. */
  readonly refused: readonly { readonly reason: string; readonly pages: number }[]
  /** OWNER_FREE, OWNER_PCP or 0 by pfn. */
  readonly free: Uint8Array
}

/** Lowest and highest value of a figure over the assumptions. */
export interface Range {
  readonly low: number
  readonly high: number
}

export interface Prediction {
  readonly outcome: Outcome
  readonly rules: KernelRules
  readonly pagesMigrated: Range
  /** Huge pages obtainable: free blocks of order 9 plus two for each of order 10, per-cpu pages merged in. */
  readonly hugeBlocks: Range
  /** What the outcome assumes beyond what the capture shows, in words; empty: nothing. */
  readonly assumed: string
  /** What else was assumed for `low` and `high`, in words. */
  readonly uncertain: readonly string[]
}

export interface PredictOptions {
  readonly rules?: KernelRules
  /** Seed of the scattered pins. */
  readonly seed?: number
}

/** Sum of the zones' free blocks. */
export const machineBlocks = (zones: readonly FreeBlocks[]): FreeBlocks => ({
  freeBlocks: addCounts(zones.map((zone) => zone.freeBlocks)),
  freeBlocksDrained: addCounts(zones.map((zone) => zone.freeBlocksDrained)),
})

/** Free blocks of the zones of a map of free pages. */
export const blocksOfZone = (free: Uint8Array, zone: ZoneSpan): FreeBlocks => ({
  freeBlocks: countFreeBlocks(free, zone.start, zone.end),
  freeBlocksDrained: countFreeBlocksDrained(free, zone.start, zone.end),
})

/** What writing to compact_memory would do. @errors as loadMachine() */
export function predictCompaction(
  capture: Capture,
  map: PageMap,
  options: PredictOptions = {},
): Result<Prediction> {
  const outcomes: Outcome[] = []
  const assumed = assumptions(map, options.seed ?? 1)
  for (const { apply } of assumed) {
    const machine = loadMachine(capture, map, options)
    if (!machine.ok) return machine
    apply(captureCpu(), machine.value)
    outcomes.push(compactMachine(machine.value, map))
  }
  return ok({
    outcome: outcomes[0],
    rules: rulesOf(capture, options),
    assumed: assumed[0].name,
    pagesMigrated: rangeOf(
      outcomes.map(({ zones }) => zones.reduce((sum, zone) => sum + zone.pagesMigrated, 0)),
    ),
    hugeBlocks: rangeOf(outcomes.map(({ zones }) => hugeBlocks(machineBlocks(zones).freeBlocksDrained))),
    uncertain: assumed.slice(1).map(({ name }) => name),
  })
}

const rangeOf = (values: readonly number[]): Range => ({
  low: Math.min(...values),
  high: Math.max(...values),
})

/** Compacts every node of a loaded machine and says what came of it. */
export function compactMachine(mm: Mm, map: PageMap): Outcome {
  const cpu = captureCpu()
  const done: ZoneCompaction[] = []
  for (let nid = 0; nid < mm.nodes; nid++) done.push(...compactNode(cpu, mm, nidOf(nid)))
  const free = freeMap(mm)
  const zones = done.map(({ zone, result, cc }) => ({
    node: mm.zoneSpecs[zone].node,
    name: mm.zoneSpecs[zone].name,
    pagesMigrated: cc.stats.pagesSucceeded,
    pagesFailed: cc.stats.pagesFailed,
    migrateScanned: cc.migrateScanned,
    freeScanned: cc.freeScanned,
    status: COMPACT_RESULT_NAMES[result],
    ...blocksOfZone(free, map.zones[zone]),
  }))
  return { zones, refused: refusals(done), free }
}

/** `contended` if a zone's pass was given up, else `complete`. */
export const statusOf = (outcome: Outcome): string =>
  COMPACT_RESULT_NAMES[
    outcome.zones.some((zone) => zone.status === COMPACT_RESULT_NAMES[COMPACT_CONTENDED])
      ? COMPACT_CONTENDED
      : COMPACT_COMPLETE
  ]

function refusals(done: readonly ZoneCompaction[]): { reason: string; pages: number }[] {
  return ISOLATION_REASONS.map((reason, answer) => ({
    reason,
    pages: answer === ISOLATED ? 0 : done.reduce((sum, { cc }) => sum + cc.refused[answer], 0),
  }))
    .filter(({ pages }) => pages > 0)
    .sort((a, b) => b.pages - a.pages)
}

interface Assumption {
  readonly name: string
  readonly apply: (cpu: Cpu, mm: Mm) => void
}

/**
 * What may be the case, given what the capture leaves open: first what is most likely, then what could as well be.
 *
 * Pins that the kernel counts and the capture does not show are somewhere: that they are scattered over single
 * anonymous pages is likelier than that there are none.
 */
function assumptions(map: PageMap, seed: number): readonly [Assumption, ...Assumption[]] {
  const hidden = map.inferred.pinsVisible ? 0 : (map.inferred.pinsOutstanding ?? 0)
  const pin = (cpu: Cpu, mm: Mm): void => scatterPins(cpu, mm, hidden, new Prng(seed))
  const asCaptured: Assumption = {
    name:
      hidden > 0
        ? `${grouped(hidden)} pages that the kernel counts as pinned are spread over anonymous memory`
        : '',
    apply: pin,
  }
  const drained: Assumption = {
    name: 'per-cpu pages return to the free lists first',
    apply(cpu, mm) {
      pin(cpu, mm)
      drainAllPages(cpu, mm)
    },
  }
  const unpinned: Assumption = { name: 'no page is pinned', apply() {} }
  return hidden > 0 ? [asCaptured, drained, unpinned] : [asCaptured, drained]
}

/** Takes an extra reference on `count` single anonymous pages, each equally likely (selection sampling). */
function scatterPins(cpu: Cpu, mm: Mm, count: number, prng: Prng): void {
  const isCandidate = (at: number): boolean => {
    const pfn = pfnOf(at)
    return (mm.flags[pfn] & (PG_lru | PG_head)) === PG_lru && (mm.mapping[pfn] & PAGE_MAPPING_ANON) !== 0
  }
  let left = 0
  for (let at = 0; at < mm.pfnCount; at++) if (isCandidate(at)) left++
  let wanted = Math.min(count, left)
  for (let at = 0; wanted > 0; at++) {
    if (!isCandidate(at)) continue
    if (prng.below(left) < wanted) {
      getUserPage(cpu, mm, pfnOf(at))
      wanted--
    }
    left--
  }
}
