/** References and pins of user pages: what they do to the counts, and to mobility. */

import { expect, test } from 'vitest'
import { AssertionError } from '../base/assert.ts'
import { FastCpu } from '../base/cpu.ts'
import { nidOf, pfnOf } from '../base/units.ts'
import { machineOf } from '../testing/machine.ts'
import {
  folioMaybeDmaPinned,
  getUserPage,
  pinUserPage,
  putUserPage,
  tryGetPage,
  unpinUserPage,
} from './gup.ts'
import { GUP_PIN_COUNTING_BIAS } from './limits.ts'
import { ISOLATED, isolateMovablePage, putbackMovablePage, REFUSED_PINNED } from './movable_ops.ts'

const cpu = new FastCpu()

test('a pin counts 1024 references of a small folio, and is counted apart for a large one', () => {
  for (const [picture, place, references] of [
    ['|M|', 0, GUP_PIN_COUNTING_BIAS],
    ['|M===|', 3, 1],
  ] as const) {
    const machine = machineOf(picture)
    const { mm } = machine
    const head = machine.pfn(0)
    const page = pfnOf(head + place)
    const before = mm.arena.snapshot()
    const count = mm.refcount[head]
    expect(folioMaybeDmaPinned(cpu, mm, head)).toBe(false)
    pinUserPage(cpu, mm, page)
    expect([mm.refcount[head] - count, folioMaybeDmaPinned(cpu, mm, head)]).toEqual([references, true])
    expect(isolateMovablePage(cpu, mm, head, 0)).toBe(REFUSED_PINNED)
    unpinUserPage(cpu, mm, page)
    expect([mm.nrFollPinAcquired[nidOf(0)], mm.nrFollPinReleased[nidOf(0)]]).toEqual([1, 1])
    expect(mm.arena.diff(before).filter(({ column }) => column !== 'nodes')).toEqual([])
  }
})

test('a reference looks like no pin, and keeps an anonymous folio where it is all the same', () => {
  const machine = machineOf('|M===|')
  const { mm } = machine
  const head = machine.pfn(0)
  getUserPage(cpu, mm, pfnOf(head + 2))
  expect(folioMaybeDmaPinned(cpu, mm, head)).toBe(false)
  expect(isolateMovablePage(cpu, mm, head, 0)).toBe(REFUSED_PINNED)
  putUserPage(cpu, mm, pfnOf(head + 2))
  expect(isolateMovablePage(cpu, mm, head, 0)).toBe(ISOLATED)
  putbackMovablePage(cpu, mm, head)
})

test('a free page gives no reference', () => {
  const machine = machineOf('|. U|')
  expect(tryGetPage(cpu, machine.mm, machine.pfn(0))).toBe(false)
  expect(tryGetPage(cpu, machine.mm, machine.pfn(1))).toBe(true)
  expect(() => getUserPage(cpu, machine.mm, machine.pfn(0))).toThrow(AssertionError)
})
