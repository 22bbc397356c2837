/**
 * Files: pages in the page cache, and behind them a device. The device may itself keep its data in memory (zram).
 *
 * A page of a file goes through:
 *   read       not cached -> clean
 *   write      not cached, clean -> dirty (the file remembers it)
 *   writeBack  dirty -> clean: the device has it
 *   truncate   whatever it is -> not cached; the device forgets it when it is trimmed
 *
 * Rules:
 *   - a dirty page has PG_dirty, so reclaim passes it over; writing back is the writer's business, a stretch at a time.
 *
 * @ours
 */

import type { FastCpu } from '../base/cpu.ts'
import { type MappingId, pfnOf, type Slot, slotOf } from '../base/units.ts'
import { filemapAddFolio, filemapGetFolio, filemapRemoveFolio } from '../mm/filemap.ts'
import { allocPages, GFP_HIGHUSER_MOVABLE, putPage } from '../mm/index.ts'
import { PG_dirty, PG_locked, PG_uptodate } from '../mm/limits.ts'
import { folioAddLru } from '../mm/lru.ts'
import type { World } from './world.ts'

/** What holds the data of files. */
export interface Device {
  /** Sectors (of 4 KiB) for a new file; the first one. */
  readonly reserve: (sectors: number) => number
  /** Stores one sector. False: it could not. */
  readonly store: (cpu: FastCpu, sector: number) => boolean
  /** Nobody needs what the sector holds. */
  readonly discard: (cpu: FastCpu, sector: number) => void
}

/** A disk: it has room, and takes no memory. */
export const DISK: Device = { reserve: () => 0, store: () => true, discard: () => {} }

export class SimFile {
  readonly pages: number
  private readonly world: World
  private readonly device: Device
  private readonly sector: number
  private readonly first: Slot
  private readonly mapping: MappingId
  /** Pages whose contents only the cache has, oldest first. */
  private dirty: number[] = []

  constructor(world: World, pages: number, device: Device = DISK) {
    this.world = world
    this.pages = pages
    this.device = device
    this.sector = device.reserve(pages)
    this.first = world.reserveSlots(pages)
    this.mapping = world.reserveMapping()
  }

  get dirtyPages(): number {
    return this.dirty.length
  }

  /** Makes a page cached. 1: it was read; 0: it is there already; -1: there is no memory. */
  read(cpu: FastCpu, page: number): number {
    if (this.isCached(page)) return 0
    if (!this.add(cpu, page, 0)) return -1
    this.world.charge('fileRead')
    return 1
  }

  /** Writes to a page, as one that did not look at it before. False: there is no memory. */
  write(cpu: FastCpu, page: number): boolean {
    if (this.isCached(page)) {
      const { mm } = this.world
      const found = filemapGetFolio(cpu, mm, this.slot(page))
      const already = cpu.testSet(mm.flags, pfnOf(found), PG_dirty)
      putPage(cpu, mm, pfnOf(found))
      if (already) return true
    } else if (!this.add(cpu, page, PG_dirty)) return false
    this.world.charge('copy')
    this.dirty.push(page)
    return true
  }

  /** Gives the oldest dirty pages to the device, at most so many. Gives how many the device did not take. */
  writeBack(cpu: FastCpu, most: number): number {
    const { mm } = this.world
    let failed = 0
    for (const page of this.dirty.splice(0, most)) {
      if (!this.device.store(cpu, this.sector + page)) failed++
      if (this.device === DISK) this.world.charge('fileWrite')
      const found = filemapGetFolio(cpu, mm, this.slot(page))
      if (found < 0) continue
      cpu.testClear(mm.flags, pfnOf(found), PG_dirty)
      putPage(cpu, mm, pfnOf(found))
    }
    return failed
  }

  /** Deletes what it holds of these pages, and tells the device so (fstrim). Gives the pages that were cached. */
  truncate(cpu: FastCpu, from: number, upTo: number): number {
    const { mm } = this.world
    let cached = 0
    for (let page = from; page < upTo; page++) {
      const found = filemapGetFolio(cpu, mm, this.slot(page))
      if (found >= 0) {
        if (filemapRemoveFolio(cpu, mm, pfnOf(found))) cached++
        putPage(cpu, mm, pfnOf(found))
      }
      this.device.discard(cpu, this.sector + page)
    }
    this.world.charge('free', cached)
    this.dirty = this.dirty.filter((page) => page < from || page >= upTo)
    return cached
  }

  private slot(page: number): Slot {
    return slotOf(this.first + page)
  }

  private isCached(page: number): boolean {
    return this.world.mm.cache[this.slot(page)] !== 0
  }

  private add(cpu: FastCpu, page: number, dirty: number): boolean {
    const { world } = this
    const { mm } = world
    const got = allocPages(cpu, mm, GFP_HIGHUSER_MOVABLE, 0, 0)
    world.charge('alloc')
    if (got < 0) return false
    const pfn = pfnOf(got)
    cpu.lock(mm.flags, pfn, PG_locked)
    filemapAddFolio(cpu, mm, pfn, this.mapping, this.slot(page))
    cpu.testSet(mm.flags, pfn, PG_uptodate | dirty)
    cpu.unlock(mm.flags, pfn, PG_locked)
    folioAddLru(cpu, mm, pfn)
    putPage(cpu, mm, pfn)
    return true
  }
}
