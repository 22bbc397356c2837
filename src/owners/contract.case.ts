/**
 * The contract of `MovableOps`, as one suite for every provider: what compaction, migration and unplug rely
 * on without knowing whose page it is (docs/protocol/movable_ops.md).
 *
 * A provider is a letter of a test picture and how its pages are freed, reached and refused. Where a test
 * says nothing about a provider, its case gives the reason, which is printed with the skip.
 */

import { describe, expect, test } from 'vitest'
import { type Cpu, FastCpu } from '../base/cpu.ts'
import { isListed } from '../base/list.ts'
import { nidOf, type Pfn, pfnOf } from '../base/units.ts'
import {
  ISOLATE_ASYNC_MIGRATE,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  type MigrateMode,
  MR_COMPACTION,
  PG_locked,
} from '../mm/limits.ts'
import {
  migrateFolioMove,
  migrateFolioUndo,
  migrateFolioUnmap,
  migratePages,
  newMigrateStats,
  putbackMovablePages,
  UNMAPPED,
} from '../mm/migrate.ts'
import {
  ISOLATED,
  ISOLATION_REASONS,
  type Isolation,
  isolateMovablePage,
  putbackMovablePage,
} from '../mm/movable_ops.ts'
import { putPage } from '../mm/page_alloc.ts'
import { type DrawnOwner, machineOf, type TestMachine } from '../testing/machine.ts'

/** Names of the tests that a provider may be excused from. */
export type ContractTest = 'refused' | 'extra reference' | 'freed' | 'touched'

export interface Provider {
  readonly name: string
  /** Its letter in pictures; see testing/machine.ts. */
  readonly letter: string
  readonly pgty?: number
  /** It is a balloon's, which the machine must have. */
  readonly balloon?: true
  /** Its pages hold nothing that moves: somebody else has the memory. */
  readonly hollow?: true
  /** Who has the pages that are drawn as `o`. Each machine has one of its own. */
  readonly owner?: () => DrawnOwner
  /** Ways to make isolation of a page refuse, and the answer. */
  readonly refusals: Readonly<Record<string, (machine: TestMachine, pfn: Pfn) => Isolation>>
  /** Gives what frees the page the owner's way, wherever it is by then. */
  readonly freer: (machine: TestMachine, pfn: Pfn) => () => void
  /** Freeing waits for the page lock. */
  readonly freeTakesPageLock: boolean
  /** Somebody reaches the page's contents the owner's way, and waits while they move. */
  readonly touch: (cpu: Cpu, machine: TestMachine, pfn: Pfn) => void
  /** The picture `|z . . .|`, if testing/machine.ts does not draw it: its first page is the provider's. */
  readonly start?: () => TestMachine
  /** What the owner does later: done before a machine is looked at. */
  readonly settle?: (machine: TestMachine) => void
  /** Tests that say nothing about it, and why. */
  readonly skips?: Partial<Readonly<Record<ContractTest, string>>>
}

const cpu = new FastCpu()

/** Columns that show through which lists a page went, and how often. */
const TRACES = new Set(['links', 'events', 'pcps'])

export function contract(provider: Provider): void {
  const { letter, skips = {} } = provider
  const start = (picture = `|${letter} . . .|`): { machine: TestMachine; pfn: Pfn } => {
    const drawn = (): TestMachine =>
      machineOf(picture, {
        ...(provider.pgty === undefined ? {} : { pgty: provider.pgty }),
        ...(provider.balloon === undefined ? {} : { balloons: [{ strict: false }] }),
        ...(provider.owner === undefined ? {} : { owner: provider.owner() }),
      })
    const machine = provider.start?.() ?? drawn()
    const pfn = machine.pfn(0)
    if (letter === 'F') machine.map(pfn)
    return { machine, pfn }
  }
  const migrate = (machine: TestMachine, mode: MigrateMode, by: Cpu = cpu): number =>
    migratePages(
      by,
      machine.mm,
      machine.mm.taskList(cpu.id, 0),
      machine.target(),
      mode,
      MR_COMPACTION,
      newMigrateStats(),
    )
  const testUnless = (name: ContractTest, title: string, run: () => void): void => {
    const reason = skips[name]
    if (reason !== undefined) console.info(`skipped: ${provider.name}, ${title}: ${reason}`)
    test.skipIf(reason !== undefined)(`${title}${reason === undefined ? '' : ` (not here: ${reason})`}`, run)
  }

  describe(`${provider.name} keeps the contract`, () => {
    testUnless('refused', 'a refusal changes nothing, whatever its reason', () => {
      for (const [name, refuse] of Object.entries(provider.refusals)) {
        const { machine, pfn } = start()
        const reason = refuse(machine, pfn)
        const before = machine.mm.arena.snapshot()
        const answer = isolateMovablePage(cpu, machine.mm, pfn, ISOLATE_ASYNC_MIGRATE)
        expect([name, ISOLATION_REASONS[answer]]).toEqual([name, ISOLATION_REASONS[reason]])
        expect(machine.mm.arena.diff(before)).toEqual([])
      }
    })

    test('isolated: one reference more, unlocked, on no list; put back: everything as before', () => {
      const { machine, pfn } = start()
      const { mm } = machine
      const before = mm.arena.snapshot()
      const references = mm.refcount[pfn]
      expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(ISOLATED)
      expect([mm.refcount[pfn], mm.flags[pfn] & PG_locked]).toEqual([references + 1, 0])
      expect(isListed(mm.links, pfn)).toBe(false)
      putbackMovablePage(cpu, mm, pfn)
      expect(mm.arena.diff(before)).toEqual([])
    })

    test('one isolator wins, wherever it is interrupted by another', () => {
      for (let n = 0, pending = false; !pending; n++) {
        const { machine, pfn } = start()
        const { mm } = machine
        const references = mm.refcount[pfn]
        const first = machine.recordingCpu()
        const answers: number[] = []
        first.beforeStep(n, () => answers.push(isolateMovablePage(cpu, mm, pfn, 0)))
        answers.push(isolateMovablePage(first, mm, pfn, 0))
        if (first.pending) answers.push(isolateMovablePage(cpu, mm, pfn, 0))
        ;({ pending } = first)
        expect(answers.filter((answer) => answer === ISOLATED)).toHaveLength(1)
        expect(mm.refcount[pfn]).toBe(references + 1)
      }
    })

    test('moved: contents and references at the new place, the old one free, nothing counted as isolated', () => {
      for (const mode of [MIGRATE_ASYNC, MIGRATE_SYNC] as const) {
        const { machine, pfn } = start()
        const { mm } = machine
        const references = mm.refcount[pfn]
        const free = machine.freePages
        const contents = mm.content[pfn]
        machine.isolate(pfn)
        expect(migrate(machine, mode)).toBe(0)
        const dst = machine.find(letter)
        expect(dst).not.toBe(pfn)
        expect([mm.refcount[dst], mm.flags[dst] & PG_locked]).toEqual([references, 0])
        if (provider.hollow === undefined) expect(mm.content[dst]).toBe(contents)
        expect([mm.refcount[pfn], machine.freePages]).toEqual([0, free])
        expect([mm.nrIsolatedAnon[nidOf(0)], mm.nrIsolatedFile[nidOf(0)]]).toEqual([0, 0])
        expect(isolateMovablePage(cpu, mm, dst, 0)).toBe(ISOLATED) // and it can move on
      }
    })

    test('again: a locked page is unchanged after all passes', () => {
      const { machine, pfn } = start()
      const { mm } = machine
      machine.isolate(pfn)
      mm.flags[pfn] |= PG_locked
      const before = mm.arena.snapshot()
      expect(migrate(machine, MIGRATE_ASYNC)).toBe(1)
      expect(mm.arena.diff(before).filter(({ column }) => !TRACES.has(column))).toEqual([])
    })

    testUnless('extra reference', 'again: a reference too many, and all is as before', () => {
      const { machine, pfn } = start()
      const { mm } = machine
      machine.isolate(pfn)
      mm.refcount[pfn]++
      const before = mm.arena.snapshot()
      expect(migrate(machine, MIGRATE_SYNC)).toBe(1)
      expect(mm.arena.diff(before).filter(({ column }) => !TRACES.has(column))).toEqual([])
      mm.refcount[pfn]--
      putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
      expect(machine.picture()).toBe(`${letter}...`)
    })

    testUnless('freed', 'freed by its owner at any step of isolation and migration: free, once', () => {
      let tried = 0
      for (let n = 0, pending = false; !pending; n++) {
        const { machine, pfn } = start()
        const { mm } = machine
        const free = provider.freer(machine, pfn)
        const task = machine.recordingCpu()
        let freed = false
        task.beforeStep(n, () => {
          // Who frees would wait for the interrupted task: that is another interruption, later.
          const locked = machine.places(4).some((page) => (mm.flags[page] & PG_locked) !== 0)
          if ((provider.freeTakesPageLock && locked) || mm.rmapLock[nidOf(0)] !== 0) return
          free()
          freed = true
        })
        if (isolateMovablePage(task, mm, pfn, 0) === ISOLATED) {
          machine.enlist(pfn)
          if (migrate(machine, MIGRATE_ASYNC, task) !== 0)
            putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
        }
        ;({ pending } = task)
        if (!freed) continue
        tried++
        provider.settle?.(machine)
        expect([n, machine.picture(), machine.freePages]).toEqual([n, '....', 4])
      }
      expect(tried).toBeGreaterThan(3)
    })

    testUnless('touched', 'whoever touches a moving page sleeps until it has moved, or is back', () => {
      for (const ends of ['moved', 'put back'] as const) {
        const { machine, pfn } = start()
        const { mm } = machine
        machine.isolate(pfn)
        const dst = pfnOf(machine.target().getNewFolio(cpu, mm, pfn, 0))
        expect(migrateFolioUnmap(cpu, mm, pfn, dst, MIGRATE_ASYNC, 0)).toBe(UNMAPPED)
        const accessor = machine.recordingCpu(() => {
          if (ends === 'moved') {
            machine.unlist(pfn)
            migrateFolioMove(cpu, mm, pfn, dst, MIGRATE_ASYNC)
          } else {
            migrateFolioUndo(cpu, mm, pfn, dst)
            putPage(cpu, mm, dst)
            putbackMovablePages(cpu, mm, mm.taskList(cpu.id, 0))
          }
        })
        provider.touch(accessor, machine, pfn)
        // One wait, in one step: it did not spin. What it found, `touch` has checked.
        expect(accessor.steps.filter(({ op }) => op === 'lock' || op === 'waitClear')).toHaveLength(1)
        expect(accessor.texts('tryLock', 'cas')).toEqual([])
        expect(machine.picture(1)).toBe(ends === 'moved' ? '.' : letter)
      }
    })
  })
}
