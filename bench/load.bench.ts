/**
 * How long does it take until the engine stands in the state of a real machine?
 *
 *   read          file, gunzip, parse: once a process
 *   load          page map and engine from the capture in memory, first time in a process: what a command waits for
 *   load again    the same when the compiler has seen it: what a service or a sweep waits for
 *   pageMap, engine   the two halves of the first load
 *
 * native/load.c does the same but for reading and for concluding the pageblocks' types, and ends with the same arena.
 *
 * Counts: bytes of state a page frame, of page metadata alone and of the whole arena (with ptes, cache slots
 * and tables).
 */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadMachine, prepareMachine } from '../src/analyze/load.ts'
import { buildPageMap } from '../src/analyze/page_map.ts'
import { describeInputError, type Result } from '../src/base/result.ts'
import { readCaptureFile } from '../src/capture/linux/capture_file.ts'
import { type Mm, PAGE_BYTES } from '../src/mm/index.ts'
import { type Bench, type BenchCase, cpuMs, type Sample, type Size } from './bench.ts'
import { writeTwinInput } from './load_twin.ts'

const LOAD_MS_MOST = 100
const LOAD_RATIO_MOST = 3
const BYTES_MOST = 32
const CAPTURE = join('demo', 'anon50.before.drover')
/** What the twin reads. The engine writes it, outside of what is measured. */
const TWIN_INPUT = join('bench', 'native', 'build', 'load.in')

export const bench: Bench = {
  question: 'How long does it take until the engine stands in the state of a real machine?',
  cases,
  measure,
}

function cases(size: Size): BenchCase[] {
  const judged = size !== 'quick'
  return [
    {
      name: 'load 6.5 M pages (demo)',
      args: [fromRoot(CAPTURE), judged ? '5' : '1', fromRoot(TWIN_INPUT)],
      twin: 'load',
      budgets: judged
        ? [
            { of: 'load', kind: 'ms', most: LOAD_MS_MOST },
            { of: 'load again', kind: 'ms', most: LOAD_MS_MOST },
            { of: 'load', kind: 'ratio', most: LOAD_RATIO_MOST },
            { of: 'load again', kind: 'ratio', most: LOAD_RATIO_MOST },
            { of: 'bytesPerPage', kind: 'count', most: BYTES_MOST },
          ]
        : [],
    },
  ]
}

/** A file of the repository, wherever this module was compiled to. */
function fromRoot(path: string): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return join(folder, path)
}

function must<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(describeInputError(result.error))
  return result.value
}

function measure([file, again, twinInput]: readonly string[]): Sample {
  const ms: Record<string, number[]> = { read: [], pageMap: [], engine: [], load: [], 'load again': [] }
  const lap = stopwatch()
  const capture = must(readCaptureFile(file))
  ms['read'].push(lap())
  const load = (): { mm: Mm; pageMap: number; engine: number } => {
    lap()
    const map = must(buildPageMap(capture))
    const pageMap = lap()
    const mm = must(loadMachine(capture, map))
    return { mm, pageMap, engine: lap() }
  }
  const first = load()
  ms['pageMap'].push(first.pageMap)
  ms['engine'].push(first.engine)
  ms['load'].push(first.pageMap + first.engine)
  for (let i = 0; i < Number(again); i++) {
    const { pageMap, engine } = load()
    ms['load again'].push(pageMap + engine)
  }
  writeTwinInput(twinInput, capture, must(prepareMachine(capture, must(buildPageMap(capture)), {})))
  const { mm } = first
  return {
    ms,
    counts: {
      pages: mm.pfnCount,
      bytesPerPage: PAGE_BYTES,
      arenaBytesPerPage: Math.round((100 * mm.arena.bytes) / mm.pfnCount) / 100,
    },
    hashes: { arena: mm.arena.hash() },
  }
}

/** Gives the CPU ms since the last call. */
function stopwatch(): () => number {
  let last = cpuMs()
  return () => {
    const now = cpuMs()
    const lap = now - last
    last = now
    return lap
  }
}
