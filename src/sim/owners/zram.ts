/**
 * `zram`: a zram device, which holds files or memory that was paged out, compressed, in pages of its own.
 * `task: zs-compact` is writing to its `compact`: objects move together, and zspages that get empty are freed.
 *
 * Pages have no contents in a simulation: each gets a compressed size when it is stored.
 *
 * @ours
 */

import * as z from 'zod'
import type { Prng } from '../../base/prng.ts'
import {
  createZram,
  LAB_SIZES,
  mmStat,
  type Zram,
  zramCells,
  zramFree,
  zramStore,
} from '../../owners/zram.ts'
import { newObjectMoves, zsCompact } from '../../owners/zs_compact.ts'
import { zsFreeDeferred } from '../../owners/zsmalloc.ts'
import { DONE } from '../activity.ts'
import type { Device } from '../page_cache.ts'
import { type OwnerPlan, planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { type Distribution, draw, largest, PAGE_SIZE, pages, size, spread } from '../quantities.ts'
import type { SimOwner, World } from '../world.ts'

const ZRAM = 'zram'

interface SimZram extends SimOwner {
  readonly zram: Zram
}

const isZram = (owner: SimOwner): owner is SimZram => 'zram' in owner

const spec = z.strictObject({
  kind: z.literal(ZRAM),
  disksize: pages,
  movable: z
    .boolean()
    .default(true)
    .meta({ description: 'pages can move, and are allocated as such; false: as before v4.8' }),
  sizes: spread(size)
    .refine((of) => largest(of) <= PAGE_SIZE, { error: 'a page compresses to 4096 bytes at most' })
    .default({ uniform: [LAB_SIZES.least, LAB_SIZES.most] })
    .meta({ description: 'of a compressed page' }),
  chain_size: z
    .union([z.literal(4), z.literal(8)])
    .default(8)
    .meta({ description: 'CONFIG_ZSMALLOC_CHAIN_SIZE' }),
  mem_limit: pages.default(0).meta({ description: 'default: none' }),
  comp_algorithm: z.literal('lz4', { error: 'there is lz4' }).default('lz4'),
})

const zramSpec = (of: z.output<typeof spec>): Parameters<typeof createZram>[2] => ({
  disksize: of.disksize,
  chainSize: of.chain_size,
  movable: of.movable,
  limitPages: of.mem_limit,
})

export const zramOwner = spec.transform(
  (of): OwnerPlan => ({
    kind: ZRAM,
    pageType: 'zsmalloc',
    isDevice: true,
    needs: { ownerCells: zramCells(zramSpec(of)) },
    create: (world, place, prng): SimZram => {
      const zram = createZram(world.mm, place, zramSpec(of))
      return {
        kind: ZRAM,
        zram,
        device: deviceOf(world, zram, prng, of.sizes),
        figures: () => {
          const stat = mmStat(world.cpus[0], world.mm, zram)
          return {
            pages: stat.memUsedTotal / PAGE_SIZE,
            stored_pages: stat.origDataSize / PAGE_SIZE,
            compressed_bytes: stat.comprDataSize,
            huge_pages: stat.hugePages,
            pages_compacted: stat.pagesCompacted,
          }
        },
      }
    },
  }),
)

function deviceOf(world: World, zram: Zram, prng: Prng, sizes: Distribution): Device {
  let next = 0
  return {
    reserve: (sectors) => {
      next += sectors
      return next - sectors
    },
    // A sector beyond the end is refused as any other that cannot be stored.
    store: (cpu, sector) => {
      world.charge('compress')
      return zramStore(cpu, world.mm, zram, sector, Math.max(1, draw(prng, sizes))) === 0
    },
    discard: (cpu, sector) => {
      world.charge('free')
      if (sector < zram.disksize) zramFree(cpu, world.mm, zram, sector)
    },
  }
}

const ZS_COMPACT = 'zs-compact'

export const zsCompactTask = z
  .strictObject({ task: z.literal(ZS_COMPACT), ...TASK_FIELDS, owner: z.string() })
  .transform(
    (task): TaskPlan => ({
      ...planOf(ZS_COMPACT, task),
      owner: { name: task.owner, kind: ZRAM },
      needs: {},
      start: (world, cpu, _prng, name) => ({
        step(): number {
          const owner = world.ownerOf(task.owner, isZram)
          const moves = newObjectMoves()
          zsFreeDeferred(cpu, world.mm, owner.zram.pool)
          zsCompact(cpu, world.mm, owner.zram.pool, moves)
          world.charge('copy', moves.bytesCopied / PAGE_SIZE)
          world.add(`${name}.pages_freed`, moves.pagesFreed)
          world.add(`${name}.bytes_copied`, moves.bytesCopied)
          return DONE
        },
      }),
    }),
  )
