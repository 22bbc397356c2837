/**
 * The state of one reclaim: what is wanted, how far it may go, and how far it has come.
 *
 * A `ScanControl` is the local state of one task, from one call of tryToFreePages() or one round of kswapd.
 *
 * @kernel mm/vmscan.c struct scan_control v6.18
 */

import type { Gfp } from './gfp.ts'
import { SWAP_CLUSTER_MAX } from './limits.ts'

/** Reclaim begins with this priority and goes down: at each, a 2^priority-th of the lists is looked at. */
export const DEF_PRIORITY = 12

/** What a reclaim is for. */
export interface ReclaimRequest {
  readonly gfp: Gfp
  readonly order: number
  /** Highest kind of zone that it takes pages from. */
  readonly reclaimIdx: number
  /** It runs as kswapd, not on behalf of an allocation. */
  readonly kswapd: boolean
}

export class ScanControl {
  readonly gfp: Gfp
  readonly reclaimIdx: number
  readonly kswapd: boolean
  /** kswapd drops it to 0 when it has made room for compaction. */
  order: number
  priority = DEF_PRIORITY
  nrToReclaim = SWAP_CLUSTER_MAX
  /** Anonymous pages may be swapped out. */
  maySwap = true
  /** Active lists are shrunk too, by kind: their inactive ones are low. */
  mayDeactivateAnon = false
  mayDeactivateFile = false
  /** They are shrunk in any case. */
  forceDeactivate = false
  /** An active list was passed over. */
  skippedDeactivate = false
  /** There are so many inactive file pages that nothing else is looked at. */
  cacheTrimMode = false
  noCacheTrimMode = false
  /** A node with cacheTrimMode gave nothing. */
  cacheTrimModeFailed = false
  /** There are so few file pages that only anonymous ones are looked at. */
  fileIsTiny = false
  /** A zone has room for compaction: no need to reclaim for it. */
  compactionReady = false
  /** Pages of inactive lists that were looked at, since it was last set to 0. */
  nrScanned = 0
  nrReclaimed = 0
  /** Pages written to swap. */
  nrPageout = 0

  constructor({ gfp, order, reclaimIdx, kswapd }: ReclaimRequest) {
    this.gfp = gfp
    this.order = order
    this.reclaimIdx = reclaimIdx
    this.kswapd = kswapd
  }
}
