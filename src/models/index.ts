/**
 * Every model, in the order in which `drover check` lists them.
 *
 * @ours
 */

import { isolateFree } from './isolate_free.ts'
import type { Model } from './model.ts'

export const MODELS: readonly Model[] = [isolateFree]
