/**
 * `processes`: processes that map anonymous memory, touch it page by page, live for a while, and exit. In the
 * background a new one follows each that has gone.
 *
 * @ours
 */

import * as z from 'zod'
import type { FastCpu } from '../../base/cpu.ts'
import type { Prng } from '../../base/prng.ts'
import { type Vpn, vpnOf } from '../../base/units.ts'
import { type AnonRegion, FAULT_OOM, faultAnon } from '../../mm/index.ts'
import { zapPte } from '../../mm/rmap.ts'
import { type Activity, DONE } from '../activity.ts'
import { planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import {
  type Distribution,
  draw,
  duration,
  largest,
  PAGE_SIZE,
  rate,
  SECOND,
  size,
  spread,
} from '../quantities.ts'
import { ptesFor, type World } from '../world.ts'

const PROCESSES = 'processes'

export const processes = z
  .strictObject({
    task: z.literal(PROCESSES),
    ...TASK_FIELDS,
    memory: spread(size).meta({ description: 'of each process' }),
    lives: spread(duration).default(0).meta({ description: 'after it has touched all of it' }),
    pace: rate.optional().meta({ description: 'pages a second that it touches at most' }),
    advice: z.enum(['hugepage', 'nohugepage']).optional().meta({ description: 'madvise() of its memory' }),
    exits: z.boolean().default(true).meta({ description: 'false: its memory stays' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(PROCESSES, task),
      needs: { ptes: ptesFor(pagesOf(largest(task.memory))) },
      start: (world, cpu, prng, name) => new Process(world, cpu, prng, name, task),
    }),
  )

interface Life {
  readonly memory: Distribution
  readonly lives: Distribution
  readonly pace?: number | undefined
  readonly advice?: 'hugepage' | 'nohugepage' | undefined
  readonly exits: boolean
  readonly background: boolean
}

const pagesOf = (bytes: number): number => Math.max(1, Math.ceil(bytes / PAGE_SIZE))

/** Pages that one step touches or frees at most. */
const AT_ONCE = 64

class Process implements Activity {
  private readonly world: World
  private readonly cpu: FastCpu
  private readonly prng: Prng
  private readonly name: string
  private readonly life: Life
  private readonly start: Vpn
  private readonly reserved: number
  private pages: number
  private touched = 0
  private freed = 0
  private exiting = false

  constructor(world: World, cpu: FastCpu, prng: Prng, name: string, life: Life) {
    this.world = world
    this.cpu = cpu
    this.prng = prng
    this.name = name
    this.life = life
    this.reserved = pagesOf(largest(life.memory))
    this.start = world.reservePtes(this.reserved)
    this.pages = this.draw()
  }

  step(): number {
    if (!this.exiting) return this.touch()
    this.free()
    if (this.freed < this.pages) return 0
    this.world.add(`${this.name}.exits`, 1)
    if (!this.life.background) return DONE
    this.exiting = false
    this.touched = 0
    this.freed = 0
    this.pages = this.draw()
    return 0
  }

  end(): void {
    for (let page = this.freed; page < this.touched; page++) {
      zapPte(this.cpu, this.world.mm, vpnOf(this.start + page))
    }
  }

  private draw(): number {
    return Math.min(pagesOf(draw(this.prng, this.life.memory)), this.reserved)
  }

  private touch(): number {
    const { world, cpu, life } = this
    const region: AnonRegion = {
      start: this.start,
      end: vpnOf(this.start + this.pages),
      ...(life.advice === undefined ? {} : { advice: life.advice }),
    }
    const upTo = Math.min(this.touched + AT_ONCE, this.pages)
    const before = this.touched
    while (this.touched < upTo) {
      const order = faultAnon(cpu, world.mm, vpnOf(this.start + this.touched), 0, region)
      world.charge('fault')
      if (order === FAULT_OOM) {
        world.add(`${this.name}.failed`, 1)
        world.first(`${this.name}.failed_first_ns`, world.now)
        this.touched++
        continue
      }
      world.charge('zero', 1 << order)
      this.touched += 1 << order
    }
    world.pageEvents += this.touched - before
    world.add(`${this.name}.pages`, this.touched - before)
    if (this.touched >= this.pages) {
      if (!life.exits) return DONE
      this.exiting = true
      return draw(this.prng, life.lives)
    }
    return life.pace === undefined ? 0 : ((this.touched - before) * SECOND) / life.pace
  }

  private free(): void {
    const { world, cpu } = this
    const upTo = Math.min(this.freed + AT_ONCE, this.pages)
    for (let page = this.freed; page < upTo; page++) zapPte(cpu, world.mm, vpnOf(this.start + page))
    world.pageEvents += upTo - this.freed
    world.charge('free', upTo - this.freed)
    this.freed = upTo
  }
}
