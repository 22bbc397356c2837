/**
 * The balloon as its host sees it: features, the configuration that both share, queues, and messages of page frames.
 *
 * The host writes how many pages it wants; the guest allocates them, sends their numbers, and writes how many it has
 * given. A number is of 4 KiB whatever the guest's pages are, and a message has at most 256 of them: after each, the
 * guest tells the host where it is.
 *
 *   messages = pfnMessages(pages)      // inflate: one message after the other
 *   config.actual += …                 // after each
 *
 * The queues are calls of `BalloonHostEnd`: a message is put into the driver's cells, and the call is the kick and the
 * wait for the answer, as the driver does nothing in between. Owners know no host: whoever plugs a device in brings
 * its end along (host/balloon_host.ts has one). So both sides are protocol code over one `Cpu`, and a checker may
 * let others run between any two frames of a message.
 *
 * Not here: the driver (virtio_balloon_driver.ts), the pages (balloon.ts). A capture's balloon pages are loaded as a pool
 * (page_pool.ts): a capture does not say what their host knows.
 *
 * @kernel include/uapi/linux/virtio_balloon.h, drivers/virtio/virtio_balloon.c v6.18; spec I-6
 */

import type { Cpu } from '../base/cpu.ts'
import type { OwnerCell, OwnerColumn } from '../base/units.ts'

/** Features by bit number. */
export const VIRTIO_BALLOON_FEATURES = [
  'MUST_TELL_HOST', // before a page is used again that was given away
  'STATS_VQ', // the guest tells how it is doing
  'DEFLATE_ON_OOM', // the guest takes pages back before it kills
  'FREE_PAGE_HINT', // the guest tells what is free, for a migration of the guest
  'PAGE_POISON', // free pages have known contents
  'REPORTING', // the guest tells what is free, as it gets free
] as const

// Bits of a feature word.
export const VIRTIO_BALLOON_F_MUST_TELL_HOST = 1 << 0
export const VIRTIO_BALLOON_F_STATS_VQ = 1 << 1
export const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 1 << 2
export const VIRTIO_BALLOON_F_FREE_PAGE_HINT = 1 << 3
export const VIRTIO_BALLOON_F_PAGE_POISON = 1 << 4
export const VIRTIO_BALLOON_F_REPORTING = 1 << 5

export type BalloonFeature = (typeof VIRTIO_BALLOON_FEATURES)[number]

/** Names of the features in a feature word; bits from 24 on are the transport's. */
export const balloonFeatures = (word: number): BalloonFeature[] =>
  VIRTIO_BALLOON_FEATURES.filter((_, bit) => ((word >>> bit) & 1) === 1)

/** What a guest does with free pages, as far as a balloon must know: nothing, or every byte is that value (PAGE_POISON). */
export interface PagePoisoning {
  readonly value: number
}

/**
 * The features that both sides have. A guest that does not poison its free pages does not speak of it; one that does
 * reports no free pages to a host that cannot be told: it would not get them back as they were.
 *
 * @kernel drivers/virtio/virtio_balloon.c virtballoon_validate() v6.18
 */
export function negotiateBalloon(offered: number, poisoning: PagePoisoning | undefined): number {
  const known = offered & ((1 << VIRTIO_BALLOON_FEATURES.length) - 1)
  if (poisoning === undefined) return known & ~VIRTIO_BALLOON_F_PAGE_POISON
  return (known & VIRTIO_BALLOON_F_PAGE_POISON) === 0 ? known & ~VIRTIO_BALLOON_F_REPORTING : known
}

/** Queues of a device, in the order of their numbers; a queue whose feature is missing is not there. */
export const VIRTIO_BALLOON_QUEUES = ['inflate', 'deflate', 'stats', 'free_page', 'reporting'] as const
export type BalloonQueue = (typeof VIRTIO_BALLOON_QUEUES)[number]

/** @kernel drivers/virtio/virtio_balloon.c init_vqs() v6.18 */
export function balloonQueues(features: number): BalloonQueue[] {
  const needs: Partial<Record<BalloonQueue, number>> = {
    stats: VIRTIO_BALLOON_F_STATS_VQ,
    free_page: VIRTIO_BALLOON_F_FREE_PAGE_HINT,
    reporting: VIRTIO_BALLOON_F_REPORTING,
  }
  return VIRTIO_BALLOON_QUEUES.filter((queue) => ((needs[queue] ?? 0) & ~features) === 0)
}

/** What the host asks for by its command of free page hints; any other number begins a round of that name. */
export const VIRTIO_BALLOON_CMD_ID_STOP = 0
export const VIRTIO_BALLOON_CMD_ID_DONE = 1

/**
 * The host's end of a device: what the queues and the configuration lead to. All are called with the device's mutex held,
 * but for `wanted`, `setActual` and `connects`.
 *
 * @kernel include/uapi/linux/virtio_balloon.h v6.18: struct virtio_balloon_config and the queues
 */
export interface BalloonHostEnd {
  /** Features that the device offers. */
  readonly features: number
  /** Whether a step of probe() succeeds: resources that only a test withholds. */
  connects(cpu: Cpu, step: number): boolean
  /** config.num_pages */
  wanted(cpu: Cpu): number
  /** config.actual */
  setActual(cpu: Cpu, frames: number): void
  /** config.poison_val */
  setPoison(cpu: Cpu, value: number): void
  /** config.free_page_hint_cmd_id */
  hintCommand(cpu: Cpu): number
  /**
   * The host gets `count` frames, whose numbers are in the cells from `first` on. Answers how many it took, from the first
   * on: all, unless it is a host that may refuse (no virtio host does).
   */
  inflate(cpu: Cpu, pfns: OwnerColumn, first: OwnerCell, count: number): number
  /** The host gives frames back. */
  deflate(cpu: Cpu, pfns: OwnerColumn, first: OwnerCell, count: number): void
  /** How the guest is doing: one figure. */
  stat(cpu: Cpu, tag: number, value: number): void
  /** A round of hints begins or ends: `command` names it. */
  hintRound(cpu: Cpu, command: number): void
  /** 2^order frames from `frame` on are free, and stay so for the round. */
  hint(cpu: Cpu, frame: number, order: number): void
}

/** A page frame of the interface is 4 KiB. */
export const VIRTIO_BALLOON_PFN_SHIFT = 12
/** Page frames of one message. */
export const VIRTIO_BALLOON_ARRAY_PFNS_MAX = 256

/** What guest and host share, in frames of 4 KiB. */
export interface BalloonConfig {
  /** How many the host wants. The host writes it. */
  readonly numPages: number
  /** How many it has. The guest writes it. */
  readonly actual: number
}

/** Frames that the guest has still to give, or to take back if it is negative. @kernel towards_target() */
export const towardsTarget = ({ numPages, actual }: BalloonConfig): number => numPages - actual

/** What the host writes to leave a guest of `guestBytes` with `wantedBytes`. */
export const numPagesFor = (guestBytes: number, wantedBytes: number): number =>
  (guestBytes - wantedBytes) / 2 ** VIRTIO_BALLOON_PFN_SHIFT

/**
 * Messages for pages of 2^pageShift bytes, in the order in which they were taken: each page by all of its frames, each
 * message with as many whole pages as it holds.
 *
 * @kernel drivers/virtio/virtio_balloon.c set_page_pfns(), fill_balloon() v6.18
 */
export function pfnMessages(pages: readonly number[], pageShift = VIRTIO_BALLOON_PFN_SHIFT): Uint32Array[] {
  const framesPerPage = 2 ** (pageShift - VIRTIO_BALLOON_PFN_SHIFT)
  const pagesPerMessage = VIRTIO_BALLOON_ARRAY_PFNS_MAX / framesPerPage
  const messages: Uint32Array[] = []
  for (let at = 0; at < pages.length; at += pagesPerMessage) {
    const frames = pages
      .slice(at, at + pagesPerMessage)
      .flatMap((page) => Array.from({ length: framesPerPage }, (_, i) => page * framesPerPage + i))
    messages.push(Uint32Array.from(frames))
  }
  return messages
}
