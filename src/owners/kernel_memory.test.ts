/** The kernel's memory: that it stays where it is, its books in random histories, and the figures of its load. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FastCpu } from '../base/cpu.ts'
import { Prng } from '../base/prng.ts'
import { type MappingId, nidOf, type Pfn } from '../base/units.ts'
import { compactNode } from '../mm/index.ts'
import { ENOENT, ENOMEM, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE, PGTY_slab } from '../mm/limits.ts'
import { isolateMovablePage, REFUSED_UNMOVABLE } from '../mm/movable_ops.ts'
import { type Mm, pageType } from '../mm/page.ts'
import { verify } from '../mm/verify.ts'
import { type Harness, testHistories } from '../testing/histories.ts'
import { machineOf, type TestMachine } from '../testing/machine.ts'
import {
  createKernelMemory,
  drawKind,
  drawLife,
  KERNEL_KINDS,
  type KernelMemory,
  kernelAlloc,
  kernelBlock,
  kernelFree,
  kernelMemoryCells,
  kernelMemoryFault,
  kernelPages,
  kernelTick,
  LIFE_MAX,
} from './kernel_memory.ts'
import type { OwnerPlace } from './place.ts'

const cpu = new FastCpu()
const nid = nidOf(0)

function kernelOn(
  picture: string,
  handles: number,
  blocks = 1,
): { machine: TestMachine; kernel: KernelMemory } {
  const made: KernelMemory[] = []
  const owner = {
    cells: kernelMemoryCells(handles),
    create: (mm: Mm, place: OwnerPlace, _mapping: MappingId): void => {
      made.push(createKernelMemory(mm, place, { handles }))
    },
    own: (): void => {},
    letterOf: (): undefined => undefined,
  }
  const machine = machineOf(picture, { owner, blocks })
  return { machine, kernel: made[0] }
}

const kindNamed = (name: string): number => KERNEL_KINDS.findIndex((kind) => kind.name === name)

test('a block of each kind: its order, its type, the kind of pageblock that it asks for; it does not move', () => {
  const { machine, kernel } = kernelOn('.'.repeat(4096), 20, 8)
  const { mm } = machine
  KERNEL_KINDS.forEach(({ order, pgty, name }, kind) => {
    const handle = kernelAlloc(cpu, mm, kernel, kind, nid)
    const pfn = kernelBlock(mm, kernel, handle)
    expect([name, kernelPages(mm, kernel, kind), pageType(mm.mapcount[pfn])]).toEqual([
      name,
      1 << order,
      pgty,
    ])
    expect(mm.migratetypeOf(pfn)).toBe(
      name.startsWith('reclaimable') ? MIGRATE_RECLAIMABLE : MIGRATE_UNMOVABLE,
    )
    expect(isolateMovablePage(cpu, mm, pfn, 0)).toBe(REFUSED_UNMOVABLE)
  })
  const blocks = KERNEL_KINDS.map((_, handle) => kernelBlock(mm, kernel, handle))
  compactNode(cpu, mm, nid)
  expect(KERNEL_KINDS.map((_, handle) => kernelBlock(mm, kernel, handle))).toEqual(blocks)
  verify(mm)
})

test('no memory, no handle, no such block: nothing has changed', () => {
  const { machine, kernel } = kernelOn('|. . U . U U|', 2)
  const { mm } = machine
  expect(kernelAlloc(cpu, mm, kernel, kindNamed('stack'), nid)).toBe(-ENOMEM)
  expect([0, 1].map(() => kernelAlloc(cpu, mm, kernel, kindNamed('other'), nid))).toEqual([0, 1])
  expect(kernelAlloc(cpu, mm, kernel, kindNamed('other'), nid)).toBe(-ENOMEM) // a page is left, a handle is not
  expect(machine.freePages).toBe(1)
  expect([kernelFree(cpu, mm, kernel, 0), kernelFree(cpu, mm, kernel, 0)]).toEqual([0, -ENOENT])
  expect([kernelMemoryFault(mm, kernel), machine.freePages]).toEqual([undefined, 2])
})

describe('the load', () => {
  test('lifetimes: t or longer with probability shortest / t, with the mean of the capture', () => {
    const prng = new Prng(7)
    const draws = 400_000
    for (const [name, mean] of [
      ['unmovable slab, order 0', 5872],
      ['page table', 1450],
    ] as const) {
      const { shortest } = KERNEL_KINDS[kindNamed(name)]
      // From shortest * (1 + ln(LIFE_MAX / shortest)).
      expect(Math.abs(shortest * (1 + Math.log(LIFE_MAX / shortest)) - mean) / mean).toBeLessThan(0.005)
      const lives = Array.from({ length: draws }, () => drawLife(prng, shortest))
      for (const times of [2, 10, 100]) {
        const share = lives.filter((life) => life >= shortest * times).length / draws
        expect(Math.abs(share * times - 1)).toBeLessThan(0.05)
      }
      const found = lives.reduce((sum, life) => sum + life, 0) / draws
      expect(Math.abs(found - mean) / mean).toBeLessThan(0.15) // few of the longest make much of it
      expect(Math.min(...lives.slice(0, 100_000))).toBeGreaterThanOrEqual(shortest)
    }
  })

  test('what is in use has the proportions of the capture: arrivals * mean life', () => {
    const mean = (shortest: number): number => shortest * (1 + Math.log(LIFE_MAX / shortest))
    const stock = KERNEL_KINDS.map(({ arrivals, shortest }) => (arrivals * mean(shortest)) / 1000)
    const slabBlocks = (order: number): number =>
      stock.reduce((sum, blocks, kind) => {
        const { pgty, order: of } = KERNEL_KINDS[kind]
        return pgty === PGTY_slab && of === order ? sum + blocks : sum
      }, 0)
    const found = [...[0, 1, 2, 3].map(slabBlocks), stock[8], stock[9], stock[10]]
    const capture = [122_055, 10_756, 41_037, 211, 9551, 159, 2539]
    found.forEach((blocks, i) => expect(Math.abs(blocks - capture[i]) / capture[i]).toBeLessThan(0.03))
    const prng = new Prng(3)
    const drawn = KERNEL_KINDS.map(() => 0)
    for (let i = 0; i < 100_000; i++) drawn[drawKind(prng)]++
    const total = KERNEL_KINDS.reduce((sum, { arrivals }) => sum + arrivals, 0)
    drawn.forEach((count, kind) => {
      const expected = (100_000 * KERNEL_KINDS[kind].arrivals) / total
      expect(Math.abs(count - expected)).toBeLessThan(4 * Math.sqrt(expected) + 3)
    })
  })

  test('is the same for the same seed, fills memory, and lets go of what is due, not before', () => {
    const run = (seed: number): { hash: number; pages: number[] } => {
      const { machine, kernel } = kernelOn('.'.repeat(4096), 2000, 8)
      const prng = new Prng(seed)
      const pages: number[] = []
      for (let tick = 1; tick <= 3000; tick++) {
        if (tick <= 100) expect(kernelTick(cpu, machine.mm, kernel, prng, 10, nid)).toBe(10)
        else kernelTick(cpu, machine.mm, kernel, prng, 0, nid)
        if (tick % 500 === 100)
          pages.push(KERNEL_KINDS.reduce((sum, _, kind) => sum + kernelPages(machine.mm, kernel, kind), 0))
      }
      expect(kernelMemoryFault(machine.mm, kernel)).toBe(undefined)
      expect(4096 - machine.freePages).toBe(
        KERNEL_KINDS.reduce((sum, _, kind) => sum + kernelPages(machine.mm, kernel, kind), 0),
      )
      return { hash: machine.mm.arena.hash(), pages }
    }
    const { hash, pages } = run(1)
    expect(run(1).hash).toBe(hash)
    expect(run(2).hash).not.toBe(hash)
    // Nothing of slab is due in the first 707 seconds; at 3,000, of those that live 707 / t a quarter is left.
    expect(pages[0]).toBeGreaterThan(1000)
    expect(pages.every((count, i) => i === 0 || count <= pages[i - 1])).toBe(true)
    expect(pages[5] / pages[0]).toBeGreaterThan(0.12)
    expect(pages[5] / pages[0]).toBeLessThan(0.35)
  })
})

// Random histories against a map.

const HANDLES = 7

interface Op {
  readonly kind: 'alloc' | 'free' | 'compact' | 'isolate'
  readonly n: number
}

class KernelHarness implements Harness<Op> {
  readonly mm
  readonly seen = new Set<string>()
  private readonly kernel: KernelMemory
  /** Kind and page of each handle that is used. */
  private readonly model = new Map<number, { kind: number; pfn: Pfn }>()
  private ops = 0

  constructor(picture: string) {
    const { machine, kernel } = kernelOn(picture, HANDLES)
    this.kernel = kernel
    this.mm = machine.mm
  }

  run(op: Op): void {
    this.seen.add(`${op.kind} ${this.apply(op)}`)
    const { mm, kernel } = this
    for (const [handle, { pfn }] of this.model) expect(kernelBlock(mm, kernel, handle)).toBe(pfn)
    expect(kernelMemoryFault(mm, kernel)).toBe(undefined)
    if (++this.ops % 16 === 0) verify(mm)
  }

  private apply({ kind, n }: Op): string {
    const { mm, kernel, model } = this
    switch (kind) {
      case 'alloc': {
        const handle = kernelAlloc(cpu, mm, kernel, n % KERNEL_KINDS.length, nid)
        if (handle < 0) return model.size === HANDLES ? 'no handle' : 'no memory'
        expect(model.has(handle)).toBe(false)
        const pfn = kernelBlock(mm, kernel, handle)
        if (mm.hasContents) mm.content[pfn] = 9000 + handle
        model.set(handle, { kind: n % KERNEL_KINDS.length, pfn })
        return 'done'
      }
      case 'free': {
        const known = model.get(n % HANDLES)
        if (known !== undefined) expect(mm.content[known.pfn]).toBe(9000 + (n % HANDLES)) // nobody else has written there
        expect(kernelFree(cpu, mm, kernel, n % HANDLES)).toBe(known === undefined ? -ENOENT : 0)
        model.delete(n % HANDLES)
        return known === undefined ? 'none' : 'done'
      }
      case 'compact':
        compactNode(cpu, mm, nid)
        return 'done'
      case 'isolate': {
        const known = model.get(n % HANDLES)
        if (known === undefined) return 'none'
        expect(isolateMovablePage(cpu, mm, known.pfn, 0)).toBe(REFUSED_UNMOVABLE)
        return 'refused'
      }
    }
  }
}

testHistories({
  machines: fc
    .array(fc.constantFrom('.', '.', '.', 'M', 'U'), { minLength: 8, maxLength: 48 })
    .map((pages) => pages.join('')),
  ops: fc.record({ kind: fc.constantFrom('alloc', 'alloc', 'free', 'compact', 'isolate'), n: fc.nat(131) }),
  begin: (picture) => new KernelHarness(picture),
  operations: [4000, 1_000_000],
  expectSeen: (kinds) => {
    for (const kind of [
      'alloc done',
      'alloc no handle',
      'alloc no memory',
      'free done',
      'free none',
      'isolate refused',
    ])
      expect(kinds).toContain(kind)
  },
})
