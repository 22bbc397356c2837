/**
 * All kinds of page owners that a scenario can have, one line each.
 *
 * @ours
 */

import * as z from 'zod'
import { balloonOwner } from './balloon.ts'
import { graphicsOwner } from './graphics.ts'
import { kernelOwner } from './kernel_memory.ts'
import { pool } from './pool.ts'
import { zramOwner } from './zram.ts'

/** An owner of a scenario: its plan. */
export const owner = z.discriminatedUnion('kind', [pool, balloonOwner, zramOwner, graphicsOwner, kernelOwner])
