/**
 * The library in one page: read a captured machine, compact it, say what the huge pages gained.
 *
 *   npx tsx examples/compact_a_capture.ts demo/anon50.before.drover
 */

import { buildPageMap, captureCpu, loadMachine } from '../src/analyze/index.ts'
import { readCaptureFile } from '../src/capture/linux/index.ts'
import { compactNode, nidOf } from '../src/mm/index.ts'

/** Pages that compaction moves on the captured machine, by node and zone. */
export function movedByZone(path: string): Map<string, number> {
  const capture = readCaptureFile(path)
  if (!capture.ok) throw new Error(capture.error.what)
  const map = buildPageMap(capture.value)
  if (!map.ok) throw new Error(map.error.what)
  const machine = loadMachine(capture.value, map.value)
  if (!machine.ok) throw new Error(machine.error.what)

  const mm = machine.value
  const cpu = captureCpu()
  const moved = new Map<string, number>()
  for (let nid = 0; nid < mm.nodes; nid++) {
    for (const { zone, cc } of compactNode(cpu, mm, nidOf(nid))) {
      moved.set(`${nid} ${mm.zoneSpecs[zone].name}`, cc.stats.pagesSucceeded)
    }
  }
  return moved
}

const [path] = process.argv.slice(2)
if (path?.endsWith('.drover')) console.log(movedByZone(path))
