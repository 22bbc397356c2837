/**
 * Pin page control and a naive table of its pins, side by side: each pin has a value that its page holds, and whatever
 * moves, the subsystems find their values where they look for them, with the group and the data that they noted. After
 * each operation both are compared, and every sentence of mm/verify.ts is checked.
 *
 * Checked besides: a group has moved as a whole or not at all; no page is lost and none is in use for nothing.
 *
 * @ours
 */

import fc from 'fast-check'
import { assert } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, type Pfn, pfnOf } from '../base/units.ts'
import { pinUserPage, unpinUserPage } from '../mm/gup.ts'
import { compactNode } from '../mm/index.ts'
import {
  EBUSY,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  type MigrateMode,
  MR_COMPACTION,
  PG_locked,
} from '../mm/limits.ts'
import { migratePages, newMigrateStats, putbackMovablePages } from '../mm/migrate.ts'
import { ISOLATED, isolateMovablePage } from '../mm/movable_ops.ts'
import type { Mm } from '../mm/page.ts'
import { putPage } from '../mm/page_alloc.ts'
import { verify } from '../mm/verify.ts'
import { pagesWith } from '../mm/verify_lists.ts'
import { pinRanges } from '../owners/pin_info.ts'
import { ringSlotCell } from '../owners/pin_ring.ts'
import {
  clearPinpage,
  lockPinpage,
  pinsOf,
  registerPinSystem,
  setPinpage,
  unlockPinpage,
  unregisterPinSystem,
} from '../owners/pinpage.ts'
import { GENERAL, OTHER, type PinMachine, pinMachineOf, RING, RING_SLOTS } from './pin_machine.ts'

const SYSTEMS = [GENERAL, OTHER, RING]

export type PinOp =
  | { readonly op: 'set'; readonly system: number; readonly group: number; readonly data: number }
  | { readonly op: 'again'; readonly which: number; readonly system: number }
  | { readonly op: 'clear'; readonly which: number; readonly isolated: boolean }
  | { readonly op: 'write'; readonly which: number }
  | {
      readonly op: 'migrate'
      readonly which: readonly number[]
      readonly mode: MigrateMode
      readonly targets: number
      /** Pins of which a device uses the page, or somebody holds the lock, meanwhile. */
      readonly used: readonly number[]
      readonly locked: readonly number[]
    }
  | { readonly op: 'putback'; readonly which: readonly number[] }
  | { readonly op: 'compact' }
  | { readonly op: 'unregister'; readonly system: number }
  | { readonly op: 'register'; readonly system: number }

const which = fc.nat(4095)
const system = fc.constantFrom(...SYSTEMS)
const some = (most: number): fc.Arbitrary<number[]> => fc.array(which, { maxLength: most })
const op = <T extends PinOp['op']>(name: T): fc.Arbitrary<T> => fc.constant(name)

/** Arbitrary operations. */
export const pinOps = (): fc.Arbitrary<PinOp> =>
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ op: op('set'), system, group: fc.nat(3), data: fc.nat(RING_SLOTS - 1) }),
    },
    { weight: 1, arbitrary: fc.record({ op: op('again'), which, system }) },
    { weight: 3, arbitrary: fc.record({ op: op('clear'), which, isolated: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ op: op('write'), which }) },
    {
      weight: 6,
      arbitrary: fc.record({
        op: op('migrate'),
        which: some(6),
        mode: fc.constantFrom(MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC),
        targets: fc.nat(8),
        used: some(2),
        locked: some(2),
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: op('putback'), which: some(4) }) },
    { weight: 1, arbitrary: fc.record({ op: op('compact') }) },
    { weight: 1, arbitrary: fc.record({ op: op('unregister'), system }) },
    { weight: 2, arbitrary: fc.record({ op: op('register'), system }) },
  )

/** What a subsystem has noted of a pin, and what its page holds. */
interface NaivePin {
  readonly system: number
  readonly group: number
  readonly data: number
  value: number
}

export interface PinHarnessOptions {
  readonly nested: 'refuse' | 'agree'
  readonly ranges: number
}

export class PinHarness {
  readonly mm: Mm
  readonly seen = new Set<string>()
  private readonly on: PinMachine
  private readonly cpu = new FastCpu()
  private readonly registered = new Set(SYSTEMS)
  private readonly model: NaivePin[] = []
  /** Pages in use that are no pins. */
  private readonly others: number
  private nextValue = 5000

  constructor(picture: string, { nested, ranges }: PinHarnessOptions) {
    this.on = pinMachineOf(picture, { nested, size: { ranges, groups: 3 } })
    this.mm = this.on.mm
    this.others = pagesWith(this.mm.refcount, -1).length
    this.check([])
  }

  run(todo: PinOp): void {
    const before = todo.op === 'compact' ? [] : this.places() // which may move a group twice, and back
    this.apply(todo)
    this.check(before)
  }

  private apply(todo: PinOp): void {
    const { cpu, mm, on } = this
    if (todo.op === 'set') this.set(todo)
    else if (todo.op === 'again') this.again(todo)
    else if (todo.op === 'clear') this.clear(todo)
    else if (todo.op === 'write') this.write(todo.which)
    else if (todo.op === 'migrate') this.migrate(todo)
    else if (todo.op === 'putback') {
      this.isolate(todo.which)
      putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
    } else if (todo.op === 'compact') compactNode(cpu, mm, nidOf(0))
    else if (todo.op === 'unregister') this.unregister(todo.system)
    else if (registerPinSystem(cpu, mm, on.pp, todo.system) === 0) this.registered.add(todo.system)
  }

  private set({ system: of, group, data }: PinOp & { op: 'set' }): void {
    const { cpu, mm, on } = this
    const got = on.machine.target().getNewFolio(cpu, mm, on.machine.pfn(0), 0)
    if (got < 0) return
    const pfn = pfnOf(got)
    const value = this.nextValue++
    mm.content[pfn] = value
    const rc = setPinpage(cpu, mm, on.pp, pfn, { system: of, group, data })
    if (rc === 0) this.model.push({ system: of, group, data, value })
    else putPage(cpu, mm, pfn)
    this.seen.add(rc === 0 ? 'pinned' : 'not pinned')
    assert(this.registered.has(of) || rc !== 0, 'harness: only who is registered pins')
  }

  /** A second pin of a page: refused, or there beside the first one. */
  private again({ which: at, system: of }: PinOp & { op: 'again' }): void {
    const { cpu, mm, on } = this
    const first = this.pick(at)
    if (first === undefined || of === RING) return
    const pfn = this.find(first)
    mm.refcount[pfn]++
    const rc = setPinpage(cpu, mm, on.pp, pfn, { system: of, data: 9 })
    if (rc === 0) this.model.push({ system: of, group: 0, data: 9, value: first.value })
    else mm.refcount[pfn]--
    if (on.pp.nested === 'refuse' && this.registered.has(of)) {
      assert(rc === -EBUSY, 'harness: a second pin is refused')
    }
    this.seen.add(rc === 0 ? 'nested' : 'not nested')
  }

  private clear({ which: at, isolated }: PinOp & { op: 'clear' }): void {
    const { cpu, mm, on } = this
    const one = this.pick(at)
    if (one === undefined) return
    const pfn = this.find(one)
    const taken = isolated && isolateMovablePage(cpu, mm, pfn, 0) === ISOLATED
    if (taken) on.machine.enlist(pfn)
    const rc = clearPinpage(cpu, mm, on.pp, one.system, pfn)
    if (rc === 0) {
      this.model.splice(this.model.indexOf(one), 1)
      putPage(cpu, mm, pfn)
    }
    this.seen.add(rc === 0 ? 'cleared' : 'not cleared')
    putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
  }

  private write(at: number): void {
    const one = this.pick(at)
    if (one === undefined) return
    const pfn = this.find(one)
    assert(lockPinpage(this.cpu, this.mm, pfn), 'harness: a pinned page can be locked')
    const before = one.value
    const value = this.nextValue++
    this.mm.content[pfn] = value
    for (const pin of this.model) if (pin.value === before) pin.value = value
    unlockPinpage(this.cpu, this.mm, pfn)
  }

  private migrate(todo: PinOp & { op: 'migrate' }): void {
    const { cpu, mm, on } = this
    const used = this.pages(todo.used)
    const locked = this.pages(todo.locked)
    this.isolate(todo.which)
    for (const pfn of used) pinUserPage(cpu, mm, pfn)
    for (const pfn of locked) cpu.lock(mm.flags, pfn, PG_locked)
    const waits = new FastCpu((cells, index, bits) => {
      cells[index] &= ~bits // whoever holds the lock that is waited for is done with it
    })
    const list = mm.taskList(cpu.id, 0)
    const left = migratePages(
      waits,
      mm,
      list,
      on.machine.target(todo.targets),
      todo.mode,
      MR_COMPACTION,
      newMigrateStats(),
    )
    for (const pfn of locked) if ((mm.flags[pfn] & PG_locked) !== 0) cpu.unlock(mm.flags, pfn, PG_locked)
    putbackMovablePages(cpu, mm, list)
    for (const pfn of used) unpinUserPage(cpu, mm, pfn)
    this.seen.add(left === 0 ? 'all migrated' : 'not all migrated')
  }

  private unregister(of: number): void {
    const { cpu, mm, on } = this
    const rc = unregisterPinSystem(cpu, mm, on.pp, of)
    const live = this.model.some((pin) => pin.system === of)
    if (this.registered.has(of)) assert((rc === 0) === !live, 'harness: who has pins stays registered')
    if (rc === 0) this.registered.delete(of)
    this.seen.add(rc === 0 ? 'unregistered' : 'not unregistered')
  }

  private isolate(at: readonly number[]): void {
    for (const pfn of this.pages(at)) {
      if (isolateMovablePage(this.cpu, this.mm, pfn, 0) === ISOLATED) this.on.machine.enlist(pfn)
    }
  }

  private pick(at: number): NaivePin | undefined {
    return this.model.length === 0 ? undefined : this.model[at % this.model.length]
  }

  private pages(at: readonly number[]): Pfn[] {
    const found = new Set<Pfn>()
    for (const one of at) {
      const pin = this.pick(one)
      if (pin !== undefined) found.add(this.find(pin))
    }
    return [...found]
  }

  /** Where the subsystem has that page. */
  private find(pin: NaivePin): Pfn {
    const place = this.places().find(
      ({ system: of, pfn }) => of === pin.system && this.mm.content[pfn] === pin.value,
    )
    assert(place !== undefined, 'harness: a subsystem knows where its page is')
    return place.pfn
  }

  /** What the subsystems have noted. */
  private places(): { system: number; group: number; data: number; pfn: Pfn }[] {
    const { mm, on } = this
    const found: { system: number; group: number; data: number; pfn: Pfn }[] = []
    on.infoCells.forEach((cell, of) => {
      for (const { start, end, group, data } of pinRanges(mm, cell, 0, mm.pfnCount)) {
        for (let pfn = start; pfn < end; pfn = pfnOf(pfn + 1))
          found.push({ system: of, group, data: data + pfn - start, pfn })
      }
    })
    for (let slot = 0; slot < RING_SLOTS; slot++) {
      const pfn = pfnOf(mm.ownerCells[ringSlotCell(on.ring, slot)])
      if (pfn !== 0) found.push({ system: RING, group: 1, data: slot, pfn })
    }
    return found
  }

  private check(before: ReturnType<PinHarness['places']>): void {
    const { mm, model } = this
    const now = this.places()
    const text = (pin: NaivePin): string =>
      `${pin.system} ${pin.system === RING ? 1 : pin.group} ${pin.data} ${pin.value}`
    const found = now.map((at) => text({ ...at, value: mm.content[at.pfn] })).sort()
    const expected = model.map(text).sort()
    assert(found.join() === expected.join(), 'harness: subsystems have noted what they were told')
    SYSTEMS.forEach((of) => {
      const pins = model.filter((pin) => pin.system === of).length
      assert(pinsOf(mm, this.on.pp, of) === pins, 'harness: pins are counted')
    })
    this.checkGroups(before, now)
    const pages = new Set(model.map(({ value }) => value)).size
    assert(
      pagesWith(mm.refcount, -1).length === this.others + pages,
      'harness: no page is in use for nothing',
    )
    for (const { pfn } of now) {
      const pins = now.filter((other) => other.pfn === pfn).length
      assert(mm.refcount[pfn] === pins, 'harness: a pin is one reference')
    }
    verify(mm)
  }

  /** Of the pins of a group that were there before, all have moved or none has. */
  private checkGroups(before: ReturnType<PinHarness['places']>, now: ReturnType<PinHarness['places']>): void {
    const key = (at: { system: number; group: number }): string => `${at.system} ${at.group}`
    for (const group of new Set(now.filter((at) => at.group !== 0).map(key))) {
      const [was, is] = [before, now].map((places) => places.filter((at) => key(at) === group))
      if (was.length !== is.length) continue // somebody has joined or left
      const stayed = is.filter(({ pfn, data }) => was.some((at) => at.pfn === pfn && at.data === data)).length
      const moved = is.length - stayed
      if (moved > 0) this.seen.add(is.length > 1 ? 'group moved' : 'one moved')
      assert(moved === 0 || stayed === 0, 'harness: a group moves as a whole')
    }
  }
}
