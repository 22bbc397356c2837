/**
 * What a scenario's tasks and owners are once they are read: how much of the machine's tables they need, and how they
 * begin. Each kind is one file that says what may be written for it (a schema) and what it does.
 *
 * @ours
 */

import * as z from 'zod'
import type { FastCpu } from '../base/cpu.ts'
import type { Prng } from '../base/prng.ts'
import type { OwnerPlace } from '../owners/place.ts'
import type { Activity } from './activity.ts'
import type { Needs } from './boot.ts'
import { count, duration } from './quantities.ts'
import type { SimOwner, World } from './world.ts'

/** What every task can say. */
export const TASK_FIELDS = {
  name: z.string().optional().meta({ description: 'what its results are called; default: the task' }),
  at: duration.default(0).meta({ description: 'when it begins, from the beginning of its phase' }),
  copies: count.min(1).default(1).meta({ description: 'how many of it run side by side' }),
  background: z.boolean().default(false).meta({ description: 'goes on in the phases after' }),
}

/** One task of a phase, ready to be started. */
export interface TaskPlan {
  readonly name: string
  readonly at: number
  readonly copies: number
  readonly background: boolean
  /** The owner that it works on, and of which kind that must be. */
  readonly owner?: { readonly name: string; readonly kind: string }
  /** The region that it makes, and the one that it works on. */
  readonly maps?: string
  readonly region?: string
  /** Pages that it is to have at once, in the field `size`. */
  readonly takes?: number
  /** An owner that it needs as a device for files. */
  readonly device?: string
  /** Of each copy. */
  readonly needs: Needs
  /** Begins it. `prng` is its own. */
  readonly start: (world: World, cpu: FastCpu, prng: Prng, name: string) => Activity
}

/** The common part of a plan, from the common fields. */
export const planOf = (
  task: string,
  common: { name?: string | undefined; at: number; copies: number; background: boolean },
): Pick<TaskPlan, 'name' | 'at' | 'copies' | 'background'> => ({
  name: common.name ?? task,
  at: common.at,
  copies: common.copies,
  background: common.background,
})

/** One owner, ready to be made. */
export interface OwnerPlan {
  readonly kind: string
  /** Type of its pages, if they have one: no two owners of a machine can share it. */
  readonly pageType?: string
  readonly needs: Needs
  /** It is a device for files. */
  readonly isDevice?: boolean
  /** Makes it. `prng` is its own. */
  readonly create: (world: World, place: OwnerPlace, prng: Prng) => SimOwner
}
