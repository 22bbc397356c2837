/** What a balloon says besides frames: which queues there are, statistics, hints, poison, and pages when there are none left. */

import { expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { GFP_KERNEL } from '../mm/gfp.ts'
import { allocPages } from '../mm/slowpath.ts'
import { verify } from '../mm/verify.ts'
import {
  actualFrames,
  askForHints,
  createBalloonHost,
  heldFrames,
  hostEnd,
  isHinted,
  poisonOf,
  statOf,
} from '../testing/balloon_host.ts'
import { machineOf } from '../testing/machine.ts'
import {
  balloonQueues,
  negotiateBalloon,
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_MUST_TELL_HOST,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
} from './virtio_balloon.ts'
import { featuresOf, fillBalloon, leakBalloon, pagesGiven } from './virtio_balloon_driver.ts'
import {
  balloonOomNotify,
  reportFreePages,
  returnHinted,
  updateBalloonStats,
} from './virtio_balloon_queues.ts'

const cpu = new FastCpu()
const ALL = 0b111111

test('queues by feature, and what is agreed on', () => {
  expect(balloonQueues(0)).toEqual(['inflate', 'deflate'])
  expect(balloonQueues(ALL)).toEqual(['inflate', 'deflate', 'stats', 'free_page', 'reporting'])
  expect(balloonQueues(VIRTIO_BALLOON_F_FREE_PAGE_HINT)).toEqual(['inflate', 'deflate', 'free_page'])
  // Who does not fill its free pages does not speak of poison; who does reports none if the host cannot be told.
  expect(negotiateBalloon(ALL, undefined)).toBe(ALL & ~VIRTIO_BALLOON_F_PAGE_POISON)
  expect(negotiateBalloon(ALL, { value: 0xaa })).toBe(ALL)
  expect(negotiateBalloon(VIRTIO_BALLOON_F_REPORTING | VIRTIO_BALLOON_F_STATS_VQ, { value: 0xaa })).toBe(
    VIRTIO_BALLOON_F_STATS_VQ,
  )
  expect(negotiateBalloon((2 ** 24) | VIRTIO_BALLOON_F_MUST_TELL_HOST, undefined)).toBe(
    VIRTIO_BALLOON_F_MUST_TELL_HOST,
  )
})

test('the host learns how free pages are filled, if it asks', () => {
  for (const [features, poison] of [
    [VIRTIO_BALLOON_F_PAGE_POISON, 0xaaaa],
    [0, 0],
  ]) {
    const machine = machineOf('|.|', { balloons: [{ features, poisoning: { value: 0xaaaa } }] })
    expect(poisonOf(machine.hosts[0])).toBe(poison)
    expect(featuresOf(cpu, machine.mm, machine.balloons[0])).toBe(features)
  }
})

test('with and without MUST_TELL_HOST the host is told before a page is free', () => {
  for (const features of [0, VIRTIO_BALLOON_F_MUST_TELL_HOST]) {
    const machine = machineOf('|b b|', { balloons: [{ features, strict: false }] })
    const steps = machine.recordingCpu()
    steps.before(
      (op, column) => {
        if (op === 'decAndTest' && column === 'refcount') expect(heldFrames(machine.hosts[0])).toBe(0)
        return false
      },
      () => {},
    )
    expect(leakBalloon(steps, machine.mm, machine.balloons[0], 2)).toBe(2)
    expect(steps.texts('decAndTest')).toHaveLength(2)
  }
})

test('statistics, in bytes and events, if they were agreed on', () => {
  const machine = machineOf('|F F F . . b U M|', { balloons: [{ features: VIRTIO_BALLOON_F_STATS_VQ }] })
  const { mm, balloons, hosts } = machine
  mm.events.fill(0)
  allocPages(cpu, mm, GFP_KERNEL, 0, 0)
  const page = 4096
  expect(statOf(hosts[0], 4)).toBe(-1)
  expect(updateBalloonStats(cpu, mm, balloons[0])).toBe(true)
  expect([4, 5, 7].map((tag) => statOf(hosts[0], tag))).toEqual([page, 511 * page, 3 * page])
  for (let i = 0; i < 3; i++) expect(allocPages(cpu, mm, GFP_KERNEL, 0, 0)).toBeGreaterThan(0)
  updateBalloonStats(cpu, mm, balloons[0])
  expect(statOf(hosts[0], 11)).toBeGreaterThan(0) // it had to wait,
  expect(statOf(hosts[0], 13)).toBeGreaterThan(0) // for what it scanned
  expect([statOf(hosts[0], 7), statOf(hosts[0], 15)]).toEqual([0, 3 * page]) // and found
  expect([3, 6, 10].map((tag) => statOf(hosts[0], tag))).toEqual([-1, -1, -1])
  const silent = machineOf('|.|', { balloons: [{}] })
  expect(updateBalloonStats(cpu, silent.mm, silent.balloons[0])).toBe(false)
})

test('a figure of more than 32 bits arrives whole', () => {
  const host = createBalloonHost({ frames: 1 })
  const end = hostEnd(host)
  for (const value of [0, 2 ** 31, 2 ** 32 - 1, 5 * 2 ** 40 + 2 ** 31 + 3]) {
    end.stat(cpu, 5, value)
    expect(statOf(host, 5)).toBe(value)
  }
})

test('out of memory: up to 256 pages come back, and the host knows; not from a device that did not agree', () => {
  const machine = machineOf('.'.repeat(400), {
    balloons: [{ features: VIRTIO_BALLOON_F_DEFLATE_ON_OOM }, {}],
  })
  const { mm, balloons, hosts } = machine
  fillBalloon(cpu, mm, balloons[0], 200)
  fillBalloon(cpu, mm, balloons[1], 60)
  fillBalloon(cpu, mm, balloons[0], 200)
  expect([machine.freePages, heldFrames(hosts[0])]).toEqual([0, 340])
  expect(allocPages(cpu, mm, GFP_KERNEL, 0, 0)).toBe(-1)
  expect(balloonOomNotify(cpu, mm, balloons[1])).toBe(0)
  expect(balloonOomNotify(cpu, mm, balloons[0])).toBe(256)
  expect([actualFrames(hosts[0]), pagesGiven(mm, balloons[0])]).toEqual([84, 84])
  expect(allocPages(cpu, mm, GFP_KERNEL, 0, 0)).toBeGreaterThan(0)
  verify(mm)
})

test('hints: a round takes all blocks of the largest order, which stay free for the host until it is done', () => {
  const machine = machineOf('.'.repeat(3000), {
    start: 1024,
    blocks: 6,
    rest: '.',
    balloons: [{ features: VIRTIO_BALLOON_F_FREE_PAGE_HINT }],
  })
  const { mm, balloons, hosts } = machine
  expect(reportFreePages(cpu, mm, balloons[0])).toBe(0) // nobody asked
  askForHints(cpu, hosts[0], 7)
  expect(reportFreePages(cpu, mm, balloons[0])).toBe(3)
  expect(machine.freePages).toBe(0)
  expect(machine.places(3072).every((pfn) => isHinted(hosts[0], pfn, 7))).toBe(true)
  expect(heldFrames(hosts[0])).toBe(0) // they are the guest’s all the while
  expect(returnHinted(cpu, mm, balloons[0], 1)).toBe(1) // under pressure
  const pfn = allocPages(cpu, mm, GFP_KERNEL, 0, 0)
  expect(pfn).toBeGreaterThan(0)
  askForHints(cpu, hosts[0], 0)
  expect(reportFreePages(cpu, mm, balloons[0])).toBe(2)
  askForHints(cpu, hosts[0], 1)
  expect(reportFreePages(cpu, mm, balloons[0])).toBe(0)
  expect(machine.freePages).toBe(3071)
  verify(mm)
})
