/**
 * The host of a balloon: which page frames it has, and that the guest keeps to what the two have agreed on.
 *
 * A guest's frame is the guest's or the host's. The guest gives frames (inflate) and takes them back (deflate); the host
 * writes how many it wants, the guest how many it has given. The host knows frames, not what the guest uses them for.
 *
 * Held to, at every message (AssertionError):
 *   (1) it is never told twice: no frame is given that it has, none is taken back that it has not;
 *   (2) a message has 1 to 256 frames;
 *   (3) it never gets less than it was promised: of the frames that it wants, and that the guest says it has given, none is
 *       taken back before the host has another one in its place. Not for a guest that may deflate when it has no memory
 *       left, or by itself (`strict: false`).
 * And besides, for whoever looks: in which order frames changed hands (`order`), and what the guest said of itself.
 *
 * Rules:
 *   - the host changes `wanted`, and nothing else of the guest's;
 *   - all state is in columns of its own arena.
 *
 * Not here: memory. What a host does with a frame that it has, and what it costs to give one back, is no business of the
 * balloon's protocol. Nor the guest's end: owners/virtio_balloon.ts declares what `hostEnd` implements, by its shape,
 * because neither layer may import the other.
 *
 * @kernel include/uapi/linux/virtio_balloon.h v6.18; what a virtio device does (OASIS virtio 1.2, 5.5); spec I-6, S1-17
 */

import { Arena } from '../base/arena.ts'
import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import type { OwnerCell, OwnerColumn } from '../base/units.ts'
import { ownerCellOf } from '../base/units.ts'

/** Frames that one message may have. */
const MESSAGE_MAX = 256
/** DEFLATE_ON_OOM: the guest may take frames back that the host wants. */
const F_DEFLATE_ON_OOM = 1 << 2

// Cells of `state`.
const WANTED = 0 //   config.num_pages: frames that the host wants                 written by the host
const ACTUAL = 1 //   config.actual: frames that the guest says it has given       written by the guest
const HELD = 2 //     frames that the host has
const CLOCK = 3 //    changes of hands so far, if `order` is on
const REFUSING = 4 // frames that it will refuse, from the next one on
const FAILING = 5 //  the step of the guest's probe that fails, from 1; 0: none
const COMMAND = 6 //  config.free_page_hint_cmd_id                                 written by the host
const ROUND = 7 //    the round of hints that the guest is in
const POISON = 8 //   config.poison_val                                            written by the guest
const STATE_CELLS = 9

/** Statistics that a guest can send: tags 0 to 15, two cells each, as a figure may be of 64 bits. */
const STAT_TAGS = 16

export interface BalloonHostOptions {
  /** Frames of the guest. */
  readonly frames: number
  /** Features that the device offers. Default 0. */
  readonly features?: number
  /** Hold the guest to (3). Default: unless it may deflate when it has no memory left. */
  readonly strict?: boolean
  /** Record the order in which frames change hands. Default true; a checker has no use for it. */
  readonly order?: boolean
}

/** The host's side of one device. */
export interface BalloonHost {
  readonly arena: Arena
  readonly features: number
  readonly strict: boolean
  /** By frame: 1: the host has it. */
  readonly frames: Int32Array
  /** By frame: when it last changed hands, from 1; empty unless `order`. */
  readonly told: Int32Array
  /** By frame: the round in which it was hinted as free; 0: never. */
  readonly hinted: Int32Array
  readonly state: Int32Array
  /** What the guest last said, by tag: the low word, the high word; both -1: nothing. */
  readonly stats: Int32Array
}

/** A host that has no frame and wants none. */
export function createBalloonHost(options: BalloonHostOptions): BalloonHost {
  const { frames, features = 0, order = true } = options
  const arena = new Arena({
    frames,
    told: order ? frames : 0,
    hinted: frames,
    state: STATE_CELLS,
    stats: 2 * STAT_TAGS,
  })
  arena.column('stats').fill(-1)
  return {
    arena,
    features,
    strict: options.strict ?? (features & F_DEFLATE_ON_OOM) === 0,
    frames: arena.column('frames'),
    told: arena.column('told'),
    hinted: arena.column('hinted'),
    state: arena.column('state'),
    stats: arena.column('stats'),
  }
}

/** Frames that the host has. */
export const heldFrames = ({ state }: BalloonHost): number => state[HELD]

/** True if the host has the frame. */
export const holdsFrame = ({ frames }: BalloonHost, frame: number): boolean => frames[frame] === 1

/** Frames that the guest says it has given. */
export const actualFrames = ({ state }: BalloonHost): number => state[ACTUAL]

/** When the frame last changed hands; later is larger, 0 is never. */
export const toldAt = ({ told }: BalloonHost, frame: number): number => told[frame]

/** Value by which the guest fills its free pages, as it said. */
export const poisonOf = ({ state }: BalloonHost): number => state[POISON]

/** What the guest last said of itself, in bytes or events; -1: nothing. */
export function statOf({ stats }: BalloonHost, tag: number): number {
  const [low, high] = [stats[2 * tag], stats[2 * tag + 1]]
  return high < 0 ? -1 : high * 2 ** 32 + (low >>> 0)
}

/** True if the guest has hinted that the frame is free, in that round. */
export const isHinted = ({ hinted }: BalloonHost, frame: number, round: number): boolean =>
  hinted[frame] === round

/** The host's wish: so many frames in all. */
export function wantFrames(cpu: Cpu, { state }: BalloonHost, frames: number): void {
  cpu.store(state, WANTED, frames)
}

/** Asks for a round of hints by a name above 1; 0: stop; 1: the pages that were hinted are the guest's again. */
export function askForHints(cpu: Cpu, { state }: BalloonHost, command: number): void {
  cpu.store(state, COMMAND, command)
}

/** Lets the next frames that are given be refused, as hosts of other balloons may. */
export function refuseFrames(cpu: Cpu, { state }: BalloonHost, frames: number): void {
  cpu.store(state, REFUSING, frames)
}

/** Lets a step of the guest's probe fail, from 0; -1: none. */
export function failProbeAt(cpu: Cpu, { state }: BalloonHost, step: number): void {
  cpu.store(state, FAILING, step + 1)
}

/** What the guest's driver calls: `BalloonHostEnd` of owners/virtio_balloon.ts. */
export const hostEnd = (host: BalloonHost) => ({
  features: host.features,

  connects: (cpu: Cpu, step: number): boolean => cpu.load(host.state, FAILING) !== step + 1,

  wanted: (cpu: Cpu): number => cpu.load(host.state, WANTED),

  setActual(cpu: Cpu, frames: number): void {
    cpu.store(host.state, ACTUAL, frames)
  },

  setPoison(cpu: Cpu, value: number): void {
    cpu.store(host.state, POISON, value)
  },

  hintCommand: (cpu: Cpu): number => cpu.load(host.state, COMMAND),

  inflate(cpu: Cpu, pfns: OwnerColumn, first: OwnerCell, count: number): number {
    assert(count > 0 && count <= MESSAGE_MAX, 'host: a message has 1 to 256 frames')
    for (let i = 0; i < count; i++) {
      if (!takeFrame(cpu, host, cpu.load(pfns, ownerCellOf(first + i)))) return i
    }
    return count
  },

  deflate(cpu: Cpu, pfns: OwnerColumn, first: OwnerCell, count: number): void {
    assert(count > 0 && count <= MESSAGE_MAX, 'host: a message has 1 to 256 frames')
    for (let i = 0; i < count; i++) giveFrameBack(cpu, host, cpu.load(pfns, ownerCellOf(first + i)))
  },

  stat(cpu: Cpu, tag: number, value: number): void {
    assert(tag >= 0 && tag < STAT_TAGS, 'host: a statistic has a tag that is known')
    cpu.store(host.stats, 2 * tag, value | 0)
    cpu.store(host.stats, 2 * tag + 1, Math.floor(value / 2 ** 32))
  },

  hintRound(cpu: Cpu, command: number): void {
    cpu.store(host.state, ROUND, command)
  },

  hint(cpu: Cpu, frame: number, order: number): void {
    const round = cpu.load(host.state, ROUND)
    assert(round > 1, 'host: a hint is of a round that was begun')
    for (let i = frame; i < frame + 2 ** order; i++) cpu.store(host.hinted, i, round)
  },
})

/** False: it is a host that refuses this one. */
function takeFrame(cpu: Cpu, host: BalloonHost, frame: number): boolean {
  const { state } = host
  const refusing = cpu.load(state, REFUSING)
  if (refusing > 0) {
    cpu.store(state, REFUSING, refusing - 1)
    return false
  }
  assert(!cpu.testSet(host.frames, frame, 1), 'host: it is given a frame that it has')
  cpu.add(state, HELD, 1)
  record(cpu, host, frame)
  return true
}

function giveFrameBack(cpu: Cpu, host: BalloonHost, frame: number): void {
  const { state } = host
  assert(cpu.testClear(host.frames, frame, 1), 'host: it is to give back a frame that it has not')
  cpu.add(state, HELD, -1)
  record(cpu, host, frame)
  if (!host.strict) return
  const promised = Math.min(cpu.load(state, WANTED), cpu.load(state, ACTUAL))
  assert(cpu.load(state, HELD) >= promised, 'host: it has less than it was promised')
}

function record(cpu: Cpu, host: BalloonHost, frame: number): void {
  if (host.told.length === 0) return
  const now = cpu.load(host.state, CLOCK) + 1
  cpu.store(host.state, CLOCK, now)
  cpu.store(host.told, frame, now)
}
