/**
 * Everything that a driver module needs, and the check of it: the package entry `drover/driver`.
 *
 * A driver imports this and nothing else; `export default` is its `CheckedDriver`.
 *
 * @ours
 */

export { assert } from '../../base/assert.ts'
export type { Cpu } from '../../base/cpu.ts'
export { isListed, listEmpty, listFirst, listLast, listNext } from '../../base/list.ts'
export { type OwnerCell, ownerCellOf, type Pfn, pfnOf } from '../../base/units.ts'
export * from '../../mm/limits.ts'
export { SPIN_LOCKED } from '../../mm/locks.ts'
export {
  ISOLATED,
  type Isolation,
  type MigrateResult,
  type MovableOps,
  type PageLockedDriver,
  pageLockedOps,
  REFUSED_BY_OWNER,
  REFUSED_FREE,
  REFUSED_ISOLATED,
  REFUSED_LOCKED,
  REFUSED_PINNED,
  REFUSED_UNMOVABLE,
} from '../../mm/movable_ops.ts'
export { type Mm, pageType } from '../../mm/page.ts'
export { putPage } from '../../mm/page_alloc.ts'
export { CLAUSES, type Clause, type ClauseName } from './clauses.ts'
export {
  type ClauseResult,
  type ConformanceOptions,
  type ConformanceResult,
  conformance,
  DEFAULT_BOUNDS,
} from './conformance.ts'
export type { CheckedDriver, PageLockedOps } from './driver.ts'
export { listAdd, listDel, pagesOn } from './list.ts'
export { lockMovablePage, markMovable, unlockMovablePage } from './page_lock.ts'
