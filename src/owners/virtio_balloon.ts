/**
 * The balloon as its host sees it: features, the configuration that both share, and messages of page frames.
 *
 * The host writes how many pages it wants; the guest allocates them, sends their numbers, and writes how many it has
 * given. A number is of 4 KiB whatever the guest's pages are, and a message has at most 256 of them: after each, the
 * guest tells the host where it is.
 *
 *   messages = pfnMessages(pages)      // inflate: one message after the other
 *   config.actual += …                 // after each
 *
 * Not here: the driver (a capture's balloon pages are loaded as a pool, page_pool.ts) and its host.
 *
 * @kernel include/uapi/linux/virtio_balloon.h, drivers/virtio/virtio_balloon.c v6.18; spec I-6
 */

/** Features by bit number. */
export const VIRTIO_BALLOON_FEATURES = [
  'MUST_TELL_HOST', // before a page is used again that was given away
  'STATS_VQ', // the guest tells how it is doing
  'DEFLATE_ON_OOM', // the guest takes pages back before it kills
  'FREE_PAGE_HINT', // the guest tells what is free, for a migration of the guest
  'PAGE_POISON', // free pages have known contents
  'REPORTING', // the guest tells what is free, as it gets free
] as const

export type BalloonFeature = (typeof VIRTIO_BALLOON_FEATURES)[number]

/** Names of the features in a feature word; bits from 24 on are the transport's. */
export const balloonFeatures = (word: number): BalloonFeature[] =>
  VIRTIO_BALLOON_FEATURES.filter((_, bit) => ((word >>> bit) & 1) === 1)

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
