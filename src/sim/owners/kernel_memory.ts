/**
 * `kernel-memory`: what the kernel itself allocates and cannot move: slabs, page tables, stacks. `task: kernel-load`
 * allocates so much of it at once, and then keeps it coming and going as it does on a real machine.
 *
 * @ours
 */

import * as z from 'zod'
import {
  createKernelMemory,
  drawKind,
  KERNEL_KINDS,
  type KernelMemory,
  kernelAlloc,
  kernelMemoryCells,
  kernelPages,
  kernelTick,
} from '../../owners/kernel_memory.ts'
import { DONE } from '../activity.ts'
import { type OwnerPlan, planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { pages, rate, SECOND } from '../quantities.ts'
import type { SimOwner } from '../world.ts'

const KERNEL = 'kernel-memory'
const AT_ONCE = 64

interface SimKernel extends SimOwner {
  readonly kernel: KernelMemory
}

const isKernel = (owner: SimOwner): owner is SimKernel => 'kernel' in owner

export const kernelOwner = z
  .strictObject({
    kind: z.literal(KERNEL),
    blocks: pages
      .default(65_536)
      .meta({ description: 'at most so many blocks at a time, a page each; default 256MiB' }),
  })
  .transform(
    ({ blocks }): OwnerPlan => ({
      kind: KERNEL,
      needs: { ownerCells: kernelMemoryCells(blocks) },
      create: ({ mm }, place): SimKernel => {
        const kernel = createKernelMemory(mm, place, { handles: blocks })
        const used = (): number =>
          KERNEL_KINDS.reduce((sum, _, kind) => sum + kernelPages(mm, kernel, kind), 0)
        return { kind: KERNEL, kernel, figures: () => ({ pages: used() }) }
      },
    }),
  )

const LOAD = 'kernel-load'

export const kernelTask = z
  .strictObject({
    task: z.literal(LOAD),
    ...TASK_FIELDS,
    owner: z.string(),
    size: pages.default(0).meta({ description: 'allocated at once, and kept' }),
    churn: rate
      .default(0)
      .meta({ description: 'blocks that come, with lives as on a real machine; in the background' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(LOAD, task),
      owner: { name: task.owner, kind: KERNEL },
      needs: {},
      start: (world, cpu, prng, name) => {
        const owner = world.ownerOf(task.owner, isKernel)
        const { mm } = world
        let left = task.size
        let failures = 0
        const fill = (): void => {
          for (let i = 0; i < AT_ONCE && left > 0; i++) {
            const kind = drawKind(prng)
            const got = kernelAlloc(cpu, mm, owner.kernel, kind, 0)
            failures += got < 0 ? 1 : 0
            // What cannot be had is not asked for for ever.
            left = failures > AT_ONCE ? 0 : left - (got < 0 ? 0 : 1 << KERNEL_KINDS[kind].order)
            world.charge('alloc')
            world.pageEvents += 1 << KERNEL_KINDS[kind].order
          }
        }
        return {
          step(): number {
            if (left > 0) {
              fill()
              return 0
            }
            if (!task.background || task.churn === 0) return DONE
            const blocks = Math.round(task.churn)
            const done = kernelTick(cpu, mm, owner.kernel, prng, blocks, 0)
            world.charge('alloc', done)
            world.pageEvents += done
            if (done < blocks) world.add(`${name}.failed`, blocks - done)
            return SECOND
          },
        }
      },
    }),
  )
