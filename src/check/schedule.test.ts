/** Schedules as strings: there and back, and what is refused with which reason. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatSchedule, parseSchedule } from './schedule.ts'

const good = {
  model: 'isolate-free',
  actors: 2,
  pages: 1,
  seeded: undefined,
  steps: [0, 1, 1, 0],
  sum: '0badcafe',
}

test('a schedule is short', () => {
  expect(formatSchedule(good)).toBe('drover1:isolate-free:2x1:-:ab2a:0badcafe')
  expect(formatSchedule({ ...good, seeded: 'late', steps: [] })).toBe(
    'drover1:isolate-free:2x1:late::0badcafe',
  )
})

test('what was written is read again', () => {
  const step = fc.integer({ min: 0, max: 23 })
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 200 }),
      fc.option(fc.constantFrom('late', 'no-mark'), { nil: undefined }),
      (steps, seeded) => {
        const schedule = { ...good, steps, seeded }
        expect(parseSchedule(`  ${formatSchedule(schedule)}\n`)).toEqual(schedule)
      },
    ),
  )
})

test.each([
  ['hello', 'a schedule begins with "drover1:"'],
  ['drover2:isolate-free:2x1:-:ab:0badcafe', 'it is of version drover2'],
  ['drover1:isolate-free:2x1:-:ab', 'it has 5 parts, not 6; was it cut off?'],
  ['drover1:isolate-free:two:-:ab:0badcafe', '"two" is no size'],
  ['drover1:isolate-free:2x1:-:a!b:0badcafe', '"a!b" are no steps'],
  ['drover1:isolate-free:2x1:-:ab:0badcaf', '"0badcaf" is no check sum; was it cut off?'],
])('%s is refused', (text, why) => {
  const parsed = parseSchedule(text)
  expect('wrong' in parsed ? parsed.wrong : '').toContain(why)
})
