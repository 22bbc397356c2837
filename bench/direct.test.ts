/** A program without its `Cpu` is the same program. That it does the same is smoke.test.ts's to say. */

import { expect, test } from 'vitest'
import { withoutCpu } from './direct.ts'

function check(program: string, direct: string): void {
  expect(withoutCpu(program).endsWith(`\n${direct}`)).toBe(true)
}

test('a load, a store and an addition become what they do', () => {
  check('cpu.load(mm.flags, pfn)', 'mm.flags[pfn]')
  check('cpu.store(mm.rmap, of(page), a ? 1 : 2), more', '(mm.rmap[of(page)] = a ? 1 : 2), more')
  check('cpu2.add(isFile ? mm.a : mm.b, i, -1)', '((isFile ? mm.a : mm.b)[i] += -1)')
})

test('a call within the arguments of another becomes direct too', () => {
  check(
    'cpu.testSet(mm.flags, at(mm, cpu.load(mm.rmap, pfn)), cpu.id)',
    'direct_testSet(mm.flags, at(mm, mm.rmap[pfn]), cpu.id)',
  )
})

test('a section is called by its name, between lock and unlock', () => {
  check(
    'over = cpu.atomically(mm.l, z, 1, freeLocked, mm, a, b, 0)',
    'over = direct_dropped(mm.l, z, 1, (direct_lock(mm.l, z, 1), freeLocked(mm, a, b, 0)))',
  )
  check("cpu.at('head (1)', a);", '(void 0);')
})

test('a use that it does not know is no silent remainder', () => {
  expect(() => withoutCpu('const { load } = task.cpu; task.cpu.load(mm.flags, pfn)')).toThrow('still uses')
  expect(() => withoutCpu('cpu?.load(mm.flags, pfn)')).toThrow('still uses')
  expect(() => withoutCpu('cpu.load(mm.flags')).toThrow('without an end')
})
