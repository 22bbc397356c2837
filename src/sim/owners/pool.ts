/**
 * `pool`: a driver that keeps pages on a list, movable or not; the smallest owner (owners/page_pool.ts).
 *
 * @ours
 */

import * as z from 'zod'
import { assert } from '../../base/assert.ts'
import type { FastCpu } from '../../base/cpu.ts'
import type { Pfn } from '../../base/units.ts'
import { PGTY_zsmalloc } from '../../mm/limits.ts'
import { createPool, POOL_CELLS, poolInsert, poolPages } from '../../owners/page_pool.ts'
import type { OwnerPlan } from '../plan.ts'
import type { SimOwner } from '../world.ts'

interface SimPool extends SimOwner {
  /** Gives it a page, with its reference. */
  readonly insert: (cpu: FastCpu, pfn: Pfn) => void
}

export const isPool = (owner: SimOwner): owner is SimPool => 'insert' in owner

export const pool = z
  .strictObject({
    kind: z.literal('pool'),
    movable: z
      .boolean()
      .default(true)
      .meta({ description: 'false: its pages are the kernel’s, which cannot move' }),
  })
  .transform(
    ({ movable }): OwnerPlan => ({
      kind: 'pool',
      pageType: 'zsmalloc',
      needs: { ownerCells: POOL_CELLS, ownerLists: 1 },
      create: ({ mm }, place): SimPool => {
        assert(place.cell === place.list * POOL_CELLS, 'sim: a pool comes before other owners')
        const made = createPool(mm, PGTY_zsmalloc, 'pool', place.list)
        let unmovable = 0
        return {
          kind: 'pool',
          insert: (cpu, pfn) => {
            if (movable) poolInsert(cpu, mm, made, pfn)
            else unmovable++
          },
          figures: () => ({ pages: poolPages(mm, made).listed + unmovable }),
        }
      },
    }),
  )
