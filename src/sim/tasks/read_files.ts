/**
 * `read-files`: reads files through the page cache, from their beginning or here and there. What is cached already
 * costs nothing; memory fills with clean pages until reclaim takes them.
 *
 * @ours
 */

import * as z from 'zod'
import type { FastCpu } from '../../base/cpu.ts'
import type { Prng } from '../../base/prng.ts'
import { type Activity, DONE } from '../activity.ts'
import { SimFile } from '../page_cache.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { count, pages, rate, SECOND } from '../quantities.ts'
import type { World } from '../world.ts'

const READ_FILES = 'read-files'

export const readFiles = z
  .strictObject({
    task: z.literal(READ_FILES),
    ...TASK_FIELDS,
    size: pages.meta({ description: 'of all files together' }),
    passes: count
      .min(1)
      .default(1)
      .meta({ description: 'times that all of it is read; in the background: endless' }),
    order: z.enum(['sequential', 'random']).default('sequential'),
    readahead: pages.default(32).meta({ description: 'read at a time; default 128KiB' }),
    pace: rate.optional().meta({ description: 'pages a second at most' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(READ_FILES, task),
      needs: { slots: task.size, mappings: 1 },
      start: (world, cpu, prng, name) => new FileReader(world, cpu, prng, name, task),
    }),
  )

interface Reading {
  readonly size: number
  readonly passes: number
  readonly order: 'sequential' | 'random'
  readonly readahead: number
  readonly pace?: number | undefined
  readonly background: boolean
}

class FileReader implements Activity {
  private readonly world: World
  private readonly cpu: FastCpu
  private readonly prng: Prng
  private readonly name: string
  private readonly how: Reading
  private readonly file: SimFile
  private done = 0

  constructor(world: World, cpu: FastCpu, prng: Prng, name: string, how: Reading) {
    this.world = world
    this.cpu = cpu
    this.prng = prng
    this.name = name
    this.how = how
    this.file = new SimFile(world, how.size)
  }

  /** Reads one window. */
  step(): number {
    const { world, cpu, name, file } = this
    const { size, passes, order, readahead, pace, background } = this.how
    if (!background && this.done >= size * passes) return DONE
    const windows = Math.ceil(size / readahead)
    const window = order === 'random' ? this.prng.below(windows) : Math.floor(this.done / readahead) % windows
    const from = window * readahead
    const upTo = Math.min(from + readahead, size)
    let read = 0
    for (let page = from; page < upTo; page++) {
      const got = file.read(cpu, page)
      if (got < 0) world.add(`${name}.failed`, 1)
      else read += got
    }
    this.done += upTo - from
    world.pageEvents += read
    world.add(`${name}.pages`, read)
    world.charge('copy', upTo - from)
    return pace === undefined ? 0 : ((upTo - from) * SECOND) / pace
  }
}
