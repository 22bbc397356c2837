/**
 * The framework of Linux 6.17 and later: PG_movable_ops stays set until the page is free, and nobody looks again whose
 * page it is. So each callback may be asked about a page that its driver has let go of meanwhile, and looks first:
 * isolate answers false, migrate -EAGAIN, putback leaves the page alone.
 *
 * pageLockedOps() of mm/movable_ops.ts is the framework as it was before, and as S0-13 asks for it.
 *
 * @kernel mm/migrate.c isolate_movable_ops_page(), migrate_movable_ops_page(), putback_movable_ops_page() v6.18
 */

import { assert } from '../../base/assert.ts'
import type { Cpu } from '../../base/cpu.ts'
import type { Pfn } from '../../base/units.ts'
import { type IsolateMode, PG_locked, PG_movable_ops, PG_movable_ops_isolated } from '../../mm/limits.ts'
import {
  ISOLATED,
  type Isolation,
  type MigrateResult,
  type MovableOps,
  type PageLockedDriver,
  REFUSED_BY_OWNER,
  REFUSED_ISOLATED,
  REFUSED_LOCKED,
  REFUSED_UNMOVABLE,
} from '../../mm/movable_ops.ts'
import { type Mm, pageType } from '../../mm/page.ts'

/** Movable operations under the page lock, for a driver that looks itself. */
export function stickyMarkOps(driver: PageLockedDriver): MovableOps {
  return {
    name: driver.name,

    isolatePage(cpu, mm, pfn, mode): Isolation {
      if (!cpu.tryLock(mm.flags, pfn, PG_locked)) return REFUSED_LOCKED
      const answer = take(cpu, mm, driver, pfn, mode)
      cpu.unlock(mm.flags, pfn, PG_locked)
      return answer
    },

    migratePage(cpu, mm, dst, src, mode): MigrateResult {
      assert((cpu.load(mm.flags, src) & PG_movable_ops_isolated) !== 0, 'migrate: the page is isolated')
      const result = driver.migrate(cpu, mm, dst, src, mode)
      if (result === 0) cpu.testClear(mm.flags, src, PG_movable_ops_isolated)
      return result
    },

    putbackPage(cpu, mm, pfn): void {
      cpu.lock(mm.flags, pfn, PG_locked)
      driver.putback(cpu, mm, pfn)
      cpu.testClear(mm.flags, pfn, PG_movable_ops_isolated)
      cpu.unlock(mm.flags, pfn, PG_locked)
    },
  }
}

function take(cpu: Cpu, mm: Mm, driver: PageLockedDriver, pfn: Pfn, mode: IsolateMode): Isolation {
  const flags = cpu.load(mm.flags, pfn)
  if (pageType(cpu.load(mm.mapcount, pfn)) !== driver.pgty || (flags & PG_movable_ops) === 0)
    return REFUSED_UNMOVABLE
  if ((flags & PG_movable_ops_isolated) !== 0) return REFUSED_ISOLATED
  if (!driver.isolate(cpu, mm, pfn, mode)) return REFUSED_BY_OWNER
  cpu.testSet(mm.flags, pfn, PG_movable_ops_isolated)
  return ISOLATED
}
