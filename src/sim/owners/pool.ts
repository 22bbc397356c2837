/**
 * `pool`: a driver that keeps pages on a list, movable or not; the smallest owner (owners/page_pool.ts).
 *
 * @ours
 */

import * as z from 'zod'
import { PGTY_zsmalloc } from '../../mm/limits.ts'
import { createPool, POOL_CELLS, poolPages } from '../../owners/page_pool.ts'
import type { OwnerPlan } from '../plan.ts'

export const pool = z.strictObject({ kind: z.literal('pool') }).transform(
  (): OwnerPlan => ({
    kind: 'pool',
    pageType: 'zsmalloc',
    needs: { ownerCells: POOL_CELLS, ownerLists: 1 },
    create: ({ mm }, place) => {
      const made = createPool(mm, PGTY_zsmalloc, 'pool', place.list)
      return { kind: 'pool', figures: () => ({ ...poolPages(mm, made) }) }
    },
  }),
)
