/**
 * The library in one page: read a captured machine, compact it, say what the huge pages gained.
 *
 *   npx tsx examples/compact_a_capture.ts demo/anon50.before.drover
 */

import { buildPageMap, captureCpu, loadMachine } from '../src/analyze/index.ts'
import { nidOf } from '../src/base/units.ts'
import { readCaptureFile } from '../src/capture/linux/index.ts'
import { compactNode } from '../src/mm/index.ts'

/** Pages that compaction moves on the captured machine, by zone. */
export function movedByZone(path: string): Map<string, number> {
  const capture = readCaptureFile(path)
  if (!capture.ok) throw new Error(capture.error.what)
  const map = buildPageMap(capture.value)
  if (!map.ok) throw new Error(map.error.what)
  const machine = loadMachine(capture.value, map.value)
  if (!machine.ok) throw new Error(machine.error.what)

  const moved = new Map<string, number>()
  for (const { zone, cc } of compactNode(captureCpu(), machine.value, nidOf(0))) {
    moved.set(machine.value.zoneSpecs[zone].name, cc.stats.pagesSucceeded)
  }
  return moved
}

const [path] = process.argv.slice(2)
if (path?.endsWith('.drover')) console.log(movedByZone(path))
