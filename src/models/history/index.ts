/**
 * The library of historic races: what was wrong once, found, and gone with the fix.
 *
 * @ours
 */

import type { Model } from '../model.ts'
import { balloonDeleteIsolated } from './balloon_delete_isolated.ts'
import { balloonHostOrder } from './balloon_host_order.ts'
import { doublePutback } from './double_putback.ts'
import { pinpageLostPage } from './pinpage_lost_page.ts'
import { staleMigratetype } from './stale_migratetype.ts'
import { winAgainstFree } from './win_against_free.ts'
import { zsMapObject } from './zs_map_object.ts'
import { zspageAsyncFree } from './zspage_async_free.ts'

/** Races that were fixed in Linux, then those of which the specification warns. */
export const HISTORY: readonly Model[] = [
  zspageAsyncFree,
  zsMapObject,
  staleMigratetype,
  winAgainstFree,
  doublePutback,
  balloonDeleteIsolated,
  balloonHostOrder,
  pinpageLostPage,
]
