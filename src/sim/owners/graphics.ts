/**
 * `graphics`: a graphics driver with buffers of many pages. `task: graphics-buffers` is who uses it: makes a buffer, lets
 * the device work on it now and then, and destroys it.
 *
 * @ours
 */

import * as z from 'zod'
import type { FastCpu } from '../../base/cpu.ts'
import type { Prng } from '../../base/prng.ts'
import {
  bufferCreate,
  bufferDestroy,
  createGraphics,
  type Graphics,
  graphicsCells,
  graphicsPages,
  jobBegin,
  jobEnd,
} from '../../owners/graphics.ts'
import { type Activity, DONE } from '../activity.ts'
import { type OwnerPlan, planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { count, type Distribution, draw, duration, PAGE_SIZE, pages, size, spread } from '../quantities.ts'
import type { SimOwner, World } from '../world.ts'

const GRAPHICS = 'graphics'

interface SimGraphics extends SimOwner {
  readonly graphics: Graphics
}

const isGraphics = (owner: SimOwner): owner is SimGraphics => 'graphics' in owner

export const graphicsOwner = z
  .strictObject({
    kind: z.literal(GRAPHICS),
    buffers: count.min(1).meta({ description: 'at most so many at a time' }),
    buffer_max: pages.meta({ description: 'the largest' }),
    movable: z.boolean().default(true),
  })
  .transform(
    ({ buffers, buffer_max: pagesMax, movable }): OwnerPlan => ({
      kind: GRAPHICS,
      needs: { ownerCells: graphicsCells(buffers, pagesMax), mappings: 1 },
      create: (world, place): SimGraphics => {
        const mapping = world.reserveMapping()
        const graphics = createGraphics(world.mm, place, { mapping, buffers, pagesMax, movable })
        return { kind: GRAPHICS, graphics, figures: () => ({ ...graphicsPages(world.mm, graphics) }) }
      },
    }),
  )

const BUFFERS = 'graphics-buffers'

export const graphicsTask = z
  .strictObject({
    task: z.literal(BUFFERS),
    ...TASK_FIELDS,
    owner: z.string(),
    size: spread(size).meta({ description: 'of each buffer' }),
    order: count.max(4).default(0).meta({ description: 'pieces that the driver asks for first' }),
    lives: spread(duration).optional().meta({ description: 'default: the buffer stays' }),
    jobs: duration
      .default(0)
      .meta({ description: 'how long the device works on it, and then rests; 0: never' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(BUFFERS, task),
      owner: { name: task.owner, kind: GRAPHICS },
      needs: {},
      start: (world, cpu, prng, name) => {
        const owner = world.ownerOf(task.owner, isGraphics)
        return new BufferUser(world, cpu, prng, name, owner.graphics, task)
      },
    }),
  )

interface BufferLife {
  readonly size: Distribution
  readonly order: number
  readonly lives?: Distribution | undefined
  readonly jobs: number
  readonly background: boolean
}

/** One buffer at a time; in the background another one after it. */
class BufferUser implements Activity {
  private readonly world: World
  private readonly cpu: FastCpu
  private readonly prng: Prng
  private readonly name: string
  private readonly device: Graphics
  private readonly life: BufferLife
  private buffer = -1
  private pages = 0
  private until = 0
  private working = false

  constructor(world: World, cpu: FastCpu, prng: Prng, name: string, device: Graphics, life: BufferLife) {
    this.world = world
    this.cpu = cpu
    this.prng = prng
    this.name = name
    this.device = device
    this.life = life
  }

  step(): number {
    const { world, life } = this
    if (this.buffer < 0) return this.create()
    if (life.lives !== undefined && world.now >= this.until) return this.destroy()
    if (life.jobs > 0) this.toggleJob()
    return this.rest()
  }

  private create(): number {
    const { world, life, name } = this
    this.pages = Math.min(
      Math.max(1, Math.ceil(draw(this.prng, life.size) / PAGE_SIZE)),
      this.device.pagesMax,
    )
    this.buffer = bufferCreate(this.cpu, world.mm, this.device, this.pages, life.order, 0)
    world.charge('alloc', this.pages)
    world.pageEvents += this.pages
    world.add(`${name}.${this.buffer < 0 ? 'failed' : 'got'}`, 1)
    if (this.buffer < 0) {
      world.first(`${name}.failed_first_ns`, world.now)
      return life.background ? 10e6 : DONE // asks again when the user does
    }
    if (life.lives === undefined && life.jobs === 0) return DONE
    this.until = world.now + (life.lives === undefined ? 0 : draw(this.prng, life.lives))
    return this.rest()
  }

  private toggleJob(): void {
    const { world, cpu, device, buffer } = this
    if (this.working) jobEnd(cpu, world.mm, device, buffer)
    this.working = !this.working && jobBegin(cpu, world.mm, device, buffer) === 0
  }

  private destroy(): number {
    const { world } = this
    if (this.working) this.toggleJob()
    bufferDestroy(this.cpu, world.mm, this.device, this.buffer)
    world.charge('free', this.pages)
    world.pageEvents += this.pages
    this.buffer = -1
    return this.life.background ? 0 : DONE
  }

  /** Until the next job begins or ends, or the buffer is to go. */
  private rest(): number {
    const left = this.life.lives === undefined ? Number.POSITIVE_INFINITY : this.until - this.world.now
    const job = this.life.jobs === 0 ? Number.POSITIVE_INFINITY : this.life.jobs
    return Math.max(0, Math.min(left, job))
  }
}
