/**
 * A drawn machine with pin page control on it: two subsystems with the general pin information, and a ring.
 *
 * @ours
 */

import { FastCpu } from '../base/cpu.ts'
import { type Pfn, pfnOf } from '../base/units.ts'
import type { Mm } from '../mm/page.ts'
import { POOL_CELLS } from '../owners/page_pool.ts'
import { createPinInfo, type PinInfoSize, pinInfoCells } from '../owners/pin_info.ts'
import { createPinRing, type PinRing, pinRingCells } from '../owners/pin_ring.ts'
import {
  createPinpages,
  type Pinpages,
  type PinSystem,
  pinpageCells,
  registerPinSystem,
} from '../owners/pinpage.ts'
import { machineOf, type TestMachine, type TestMachineOptions } from './machine.ts'

/** Places of the subsystems in the registry. */
export const GENERAL = 0
export const OTHER = 1
export const RING = 2

export const RING_SLOTS = 8
const SIZE: PinInfoSize = { ranges: 24, groups: 3 }

/** What a subsystem of the tests was told: a line a call, `stop 512 3`, `move 512 520 1`, `go 520`. */
export type PinLog = string[]

export interface PinMachine {
  readonly machine: TestMachine
  readonly mm: Mm
  readonly pp: Pinpages
  readonly ring: PinRing
  readonly log: PinLog
  /** First cell of the pin information of GENERAL and OTHER. */
  readonly infoCells: readonly [number, number]
  /** What quiesce() of GENERAL and OTHER answers. */
  readonly answers: [number, number]
}

export interface PinMachineOptions extends TestMachineOptions {
  readonly nested?: 'refuse' | 'agree'
  readonly size?: PinInfoSize
  /** A page source with so many pages for the others of a group. Default: what is free. */
  readonly pages?: number
  /** Registers nothing. */
  readonly unregistered?: boolean
  /** Called wherever a callback of GENERAL or OTHER is. */
  readonly onCall?: (what: 'quiesce' | 'move' | 'resume') => void
}

export function pinMachineOf(picture: string, options: PinMachineOptions = {}): PinMachine {
  const size = options.size ?? SIZE
  const registryAt = POOL_CELLS
  const generalAt = registryAt + pinpageCells(3)
  const otherAt = generalAt + pinInfoCells(size)
  const ringAt = otherAt + pinInfoCells(size)
  const machine = machineOf(picture, {
    ...options,
    ownerCells: ringAt + pinRingCells(RING_SLOTS) - POOL_CELLS,
  })
  const { mm } = machine
  const log: PinLog = []
  const answers: [number, number] = [0, 0]
  const general = (name: string, number: 0 | 1, at: number): PinSystem => ({
    name,
    info: createPinInfo(mm, at, size),
    quiesce(_cpu, _mm, pfn, pages) {
      options.onCall?.('quiesce')
      if (answers[number] === 0) log.push(`${name}: stop ${pfn} ${pages}`)
      return answers[number]
    },
    movePage(_cpu, _mm, dst, src, data) {
      options.onCall?.('move')
      log.push(`${name}: move ${src} ${dst} ${data}`)
    },
    resume(_cpu, _mm, pfn) {
      options.onCall?.('resume')
      log.push(`${name}: go ${pfn}`)
    },
  })
  const ring = createPinRing(mm, ringAt, RING_SLOTS)
  let left = options.pages ?? Number.POSITIVE_INFINITY
  const pp = createPinpages(
    mm,
    { cell: registryAt, list: 1 },
    {
      systems: [general('general', 0, generalAt), general('other', 1, otherAt), ring.system],
      nested: options.nested ?? 'refuse',
      source: (cpu, state, src) => (left-- > 0 ? machine.target().getNewFolio(cpu, state, src, 0) : -1),
    },
  )
  if (options.unregistered !== true) {
    for (const system of [GENERAL, OTHER, RING]) registerPinSystem(new FastCpu(), mm, pp, system)
  }
  return { machine, mm, pp, ring, log, infoCells: [generalAt, otherAt], answers }
}

/** Pages that are pinned, by address. */
export function pinnedPages({ machine, mm, pp }: PinMachine): Pfn[] {
  const cpu = new FastCpu()
  return Array.from({ length: machine.pages }, (_, place) => machine.pfn(place)).filter((pfn) =>
    pp.systems.some(({ info }) => info.findPage(cpu, mm, pfnOf(pfn))),
  )
}
