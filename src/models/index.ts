/**
 * Every model, in the order in which `drover check` lists them.
 *
 * @ours
 */

import { aioRing } from './aio_ring.ts'
import { balloon } from './balloon.ts'
import { collapse } from './collapse.ts'
import { graphics } from './graphics.ts'
import { HISTORY } from './history/index.ts'
import { isolateFree } from './isolate_free.ts'
import { isolatePutback } from './isolate_putback.ts'
import { longtermPin } from './longterm_pin.ts'
import { lruReclaim } from './lru_reclaim.ts'
import { migrateBatch } from './migrate_batch.ts'
import { migrateMapped } from './migrate_mapped.ts'
import type { Model } from './model.ts'
import { ownerLock, pageLock } from './owner_lock.ts'
import { pinpage } from './pinpage.ts'
import { swapOut } from './swap_out.ts'
import { zsmalloc } from './zsmalloc.ts'

export const MODELS: readonly Model[] = [
  isolateFree,
  isolatePutback,
  migrateMapped,
  lruReclaim,
  swapOut,
  migrateBatch,
  ownerLock,
  pageLock,
  collapse,
  graphics,
  aioRing,
  pinpage,
  longtermPin,
  balloon,
  zsmalloc,
  ...HISTORY,
]
