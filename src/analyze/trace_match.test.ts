/**
 * The engine against real kernels' own traces, block scan by block scan.
 *
 * testdata/qemu has memory of machines before `echo 1 > compact_memory`, with pageblock types, references
 * and per-cpu lists as recorded, and beside it what ftrace then said: every mm_compaction_isolate_migratepages,
 * isolate_freepages and mm_compaction_end of the pass, and the skip hint of every pageblock after it.
 *
 * Where nothing but the compaction ran, all is equal. Elsewhere a page or two of the live machine differ when
 * the pass comes by, and everything behind them is shifted: what is pinned then is how far it agrees.
 *
 * Not here: free blocks and page counts after the pass (accuracy.test.ts).
 */

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { nidOf, pageblockAt } from '../base/units.ts'
import { readCapture } from '../capture/format/reader.ts'
import { COMPACT_RESULT_NAMES } from '../mm/compact_result.ts'
import { compactNode } from '../mm/compaction.ts'
import type { Mm } from '../mm/index.ts'
import { PB_ABSENT, PB_migrate_skip } from '../mm/page.ts'
import { SILENT } from '../mm/trace.ts'
import { verify } from '../mm/verify.ts'
import { captureCpu, loadMachine } from './load.ts'
import { buildPageMap } from './page_map.ts'

/** A block scan: from, to, pages scanned, pages taken. Or the end of a zone: both positions, and why. */
type TraceEvent = readonly ['migrate' | 'free' | 'end', ...(number | string)[]]

interface Recorded {
  readonly events: readonly TraceEvent[]
  /** One character a pageblock: `s` skip, `-` not, `.` no memory. */
  readonly hints: string
}

const file = (name: string): URL => new URL(`../../testdata/qemu/${name}`, import.meta.url)

const recorded = (name: string): Recorded =>
  JSON.parse(gunzipSync(readFileSync(file(`${name}.trace.json.gz`))).toString())

function machineBefore(name: string): Mm {
  const capture = readCapture(gunzipSync(readFileSync(file(`${name}.before.drover`))))
  if (!capture.ok) throw new Error(capture.error.what)
  const map = buildPageMap(capture.value)
  if (!map.ok) throw new Error(map.error.what)
  const mm = loadMachine(capture.value, map.value)
  if (!mm.ok) throw new Error(mm.error.what)
  return mm.value
}

/** Compacts every node, as writing to compact_memory does. */
function compactAll(mm: Mm): TraceEvent[] {
  const events: TraceEvent[] = []
  mm.trace = {
    ...SILENT,
    mmCompactionIsolateMigratepages: (...scan) => events.push(['migrate', ...scan]),
    mmCompactionIsolateFreepages: (...scan) => events.push(['free', ...scan]),
    mmCompactionEnd: ({ migratePfn, freePfn }, result) =>
      events.push(['end', migratePfn, freePfn, COMPACT_RESULT_NAMES[result]]),
  }
  for (let nid = 0; nid < mm.nodes; nid++) compactNode(captureCpu(), mm, nidOf(nid))
  mm.trace = undefined
  return events
}

const hintsOf = (mm: Mm): string =>
  Array.from(mm.arena.column('pageblock'), (_, block) => {
    const bits = mm.pageblock[pageblockAt(block)]
    if ((bits & PB_ABSENT) !== 0) return '.'
    return (bits & PB_migrate_skip) === 0 ? '-' : 's'
  }).join('')

/** Length of the longest common subsequence: how many events are equal, in order, whatever lies between. */
function inCommon(a: readonly string[], b: readonly string[]): number {
  let row = new Int32Array(b.length + 1)
  for (const left of a) {
    const next = new Int32Array(b.length + 1)
    b.forEach((right, i) => {
      next[i + 1] = left === right ? row[i] + 1 : Math.max(row[i + 1], next[i])
    })
    row = next
  }
  return row[b.length]
}

const texts = (events: readonly TraceEvent[]): string[] => events.map((event) => event.join(' '))

/** Loads, compacts, compares: events in all, equal ones from the first on, equal ones in order, hints that differ. */
function agreement(name: string): Record<'events' | 'leading' | 'equal' | 'hintsOff', number> {
  const mm = machineBefore(name)
  verify(mm)
  const ours = texts(compactAll(mm))
  verify(mm)
  const kernel = recorded(name)
  const theirs = texts(kernel.events)
  const differs = theirs.findIndex((event, i) => event !== ours[i])
  const hints = hintsOf(mm)
  return {
    events: theirs.length,
    leading: differs < 0 ? theirs.length : differs,
    equal: inCommon(theirs, ours),
    hintsOff: Array.from(kernel.hints).filter((hint, block) => hint !== hints[block]).length,
  }
}

test.each([
  ['a1', 'odd pages freed, Linux 6.1', 442],
  ['h0', 'odd pages freed, Linux 6.12', 438],
])('%s, %s: every scan, every count and every skip hint is the kernel’s', (name, _, events) => {
  expect(texts(compactAll(machineBefore(name)))).toEqual(texts(recorded(name).events))
  expect(agreement(name)).toEqual({ events, leading: events, equal: events, hintsOff: 0 })
})

test.each([
  ['a2', 'even pages freed, Linux 6.1', { events: 840, leading: 103, equal: 704, hintsOff: 0 }],
  ['a3', 'a random half freed, Linux 6.1', { events: 837, leading: 90, equal: 675, hintsOff: 2 }],
  ['a6', 'some pages pinned, Linux 6.1', { events: 837, leading: 75, equal: 454, hintsOff: 1 }],
])('%s, %s: as much as is known of the machine agrees', (name, _, expected) => {
  expect(agreement(name)).toEqual(expected)
})
