/**
 * Two balloons against a naive model of them, operation by operation: hosts that want more and less and refuse frames, pages
 * that are isolated, moved within their zone and to another one, and put back, compaction, devices that go while pages are
 * isolated, and probes that fail. Every sentence of verify.ts after every operation.
 *
 * The model: testing/balloon_harness.ts. With DROVER_FUZZ=1 a million operations.
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PG_locked } from '../mm/limits.ts'
import type { Mm } from '../mm/page.ts'
import { BalloonHarness, balloonOps } from '../testing/balloon_harness.ts'
import { heldFrames, holdsFrame } from '../testing/balloon_host.ts'
import { play, testHistories } from '../testing/histories.ts'
import { RecordingCpu } from '../testing/machine.ts'
import { balloonPages } from './balloon.ts'

/** What happens in any hundred histories. */
const KINDS = [
  'inflated',
  'deflated',
  'refused',
  'no memory',
  'passed over',
  'isolated',
  'moved',
  'moved to another zone',
  'not taken',
  'busy',
  'put back',
  'compacted',
  'removed',
  'removed while isolated',
  'probe failed',
]

testHistories({
  machines: fc.nat({ max: 255 }),
  ops: balloonOps(),
  operations: [6000, 1_000_000],
  begin: (inUse) => new BalloonHarness(inUse),
  expectSeen: (kinds) => expect(kinds).toEqual(expect.arrayContaining(KINDS)),
})

test('after any history everything can be taken back', () => {
  fc.assert(
    fc.property(fc.nat({ max: 255 }), fc.array(balloonOps(), { maxLength: 60 }), (inUse, history) => {
      const harness = new BalloonHarness(inUse)
      play(harness, history)
      harness.end()
    }),
    { numRuns: 20 },
  )
})

/** The pages that are listed, or isolated and not on their way: their host has them, and no page that is free. */
function expectHostHasThem(harness: BalloonHarness): void {
  const { mm, balloons, hosts } = harness
  balloons.forEach(({ device }, i) => {
    const { listed } = balloonPages(mm, device)
    if (heldFrames(hosts[i]) < listed) throw new Error('the host has fewer frames than are listed')
  })
  for (const [pfn, owner] of harness.isolated) {
    const moving = (mm.flags[pfn] & PG_locked) !== 0 || mm.private[pfn] === 0
    if (!moving && !holdsFrame(hosts[owner], pfn))
      throw new Error(`pfn ${pfn}: isolated, and its host has it not`)
  }
  hosts.forEach((host) => {
    for (let pfn = 0; pfn < host.frames.length; pfn++) {
      if (host.frames[pfn] === 1 && mm.arena.column('refcount')[pfn] === 0) {
        throw new Error(`pfn ${pfn}: it is free, and a host has it`)
      }
    }
  })
}

test('S1-16 before every step: what is listed or isolated is the host’s; after every operation: both are as many', () => {
  let steps = 0
  fc.assert(
    fc.property(
      fc.nat({ max: 255 }),
      fc.array(balloonOps(), { minLength: 10, maxLength: 30 }),
      (inUse, history) => {
        const begun: BalloonHarness[] = []
        const watching = (mm: Mm): RecordingCpu => {
          const recording = new RecordingCpu(mm)
          recording.before(
            () => {
              if (++steps % 16 === 0) begun.forEach(expectHostHasThem)
              return false
            },
            () => {},
          )
          return recording
        }
        begun.push(new BalloonHarness(inUse, watching))
        begun.forEach((harness) => play(harness, history))
      },
    ),
    { numRuns: 10 },
  )
  expect(steps).toBeGreaterThan(10_000)
})
