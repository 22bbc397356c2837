/**
 * `balloon`: a virtio balloon and its host. `task: balloon` is the host's wish, and the guest's work on it.
 *
 * @ours
 */

import * as z from 'zod'
import { createBalloonHost, heldFrames, hostEnd, wantFrames } from '../../host/balloon_host.ts'
import { VIRTIO_BALLOON_ARRAY_PFNS_MAX } from '../../owners/virtio_balloon.ts'
import {
  createVirtioBalloons,
  pagesGiven,
  updateBalloonSize,
  VIRTIO_BALLOON_LISTS,
  type VirtioBalloon,
  virtballoonProbe,
  virtioBalloonCells,
} from '../../owners/virtio_balloon_driver.ts'
import { DONE } from '../activity.ts'
import { type OwnerPlan, planOf, TASK_FIELDS, type TaskPlan } from '../plan.ts'
import { duration, pages } from '../quantities.ts'
import type { SimOwner } from '../world.ts'

const BALLOON = 'balloon'

interface SimBalloon extends SimOwner {
  readonly balloon: VirtioBalloon
  /** The host's wish, in pages. */
  readonly want: (pages: number) => void
}

const isBalloon = (owner: SimOwner): owner is SimBalloon => 'balloon' in owner

export const balloonOwner = z
  .strictObject({
    kind: z.literal(BALLOON),
    movable: z.boolean().default(true).meta({ description: 'CONFIG_BALLOON_COMPACTION' }),
  })
  .transform(
    ({ movable }): OwnerPlan => ({
      kind: BALLOON,
      pageType: 'offline',
      needs: { ownerCells: virtioBalloonCells(1), ownerLists: VIRTIO_BALLOON_LISTS },
      create: ({ mm, cpus }, place): SimBalloon => {
        const host = createBalloonHost({ frames: mm.pfnCount, order: false })
        const [balloon] = createVirtioBalloons(mm, place, [{ end: hostEnd(host), movable }])
        virtballoonProbe(cpus[0], mm, balloon)
        return {
          kind: BALLOON,
          balloon,
          want: (wanted) => wantFrames(cpus[0], host, wanted),
          figures: () => ({ pages: pagesGiven(mm, balloon), host_frames: heldFrames(host) }),
        }
      },
    }),
  )

/** How long the guest waits when it has no page to give. @kernel drivers/virtio/virtio_balloon.c fill_balloon() */
const SLEEP = 200e6

export const balloonTask = z
  .strictObject({
    task: z.literal(BALLOON),
    ...TASK_FIELDS,
    owner: z.string(),
    size: pages.meta({
      description: 'what the balloon is to have; the guest gives or takes back until it has',
    }),
    patience: duration.default(1e9).meta({ description: 'how long it goes on without getting anywhere' }),
  })
  .transform(
    (task): TaskPlan => ({
      ...planOf(BALLOON, task),
      owner: { name: task.owner, kind: BALLOON },
      takes: task.size,
      needs: {},
      start: (world, cpu, _prng, name) => {
        const owner = world.ownerOf(task.owner, isBalloon)
        const { mm } = world
        let since = world.now
        let wished = false
        return {
          step(): number {
            if (!wished) owner.want(task.size)
            wished = true
            const before = pagesGiven(mm, owner.balloon)
            const left = updateBalloonSize(cpu, mm, owner.balloon)
            const moved = Math.abs(pagesGiven(mm, owner.balloon) - before)
            world.pageEvents += moved
            world.charge('hostMessage')
            world.charge(left < 0 ? 'free' : 'alloc', moved)
            if (left === 0) return DONE
            if (moved > 0) since = world.now
            else if (world.now - since >= task.patience) {
              world.add(`${name}.missing`, left)
              return DONE
            }
            return moved < Math.min(Math.abs(left) + moved, VIRTIO_BALLOON_ARRAY_PFNS_MAX) ? SLEEP : 0
          },
        }
      },
    }),
  )
