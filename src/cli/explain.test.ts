/** `drover inspect` and `drover explain` as a user meets them, on the demo capture. */

import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { catchStreams, runCommands } from '../testing/command.ts'
import { parseRange, registerExplain } from './explain.ts'
import { registerInspect } from './inspect.ts'

const DEMO = fileURLToPath(new URL('../../demo/anon50.before.drover', import.meta.url))

const caught = catchStreams()
const drover = (...args: readonly string[]): string | undefined =>
  runCommands([registerInspect, registerExplain], args)

describe('drover inspect', () => {
  test('--json has the keys that scripts rely on', () => {
    drover('inspect', DEMO, '--json')
    const report = JSON.parse(caught.stdout)
    expect(Object.keys(report)).toEqual([
      'schema',
      'provenance',
      'pages',
      'zones',
      'census',
      'pageblocks',
      'index',
      'inferred',
    ])
    expect(report).toMatchObject({
      schema: 'drover.inspect.v1',
      pages: 6553600,
      census: { free: 2388527, slab: 264778, page_table: 3717, huge_folio: 449024, hole: 262144 },
      pageblocks: { unmovable: 166, movable: 11633, reclaimable: 489 },
      inferred: { pageblock_types: true, pins_visible: false, pins_outstanding: 0 },
    })
    expect(report.zones[2]).toMatchObject({
      node: 0,
      name: 'Normal',
      free_blocks_by_order: [171061, 84298, 14268, 4666, 951, 272, 137, 86, 46, 2, 1095],
    })
    expect(report.index.unusable).toHaveLength(11)
  })

  test('for people: aligned columns, and what was inferred', () => {
    drover('inspect', DEMO)
    expect(caught.stdout).toContain('free blocks by order\nzone ')
    expect(caught.stdout).toContain('inferred, not read\n  pageblock types: concluded from content')
    expect(caught.stdout).not.toMatch(/ $/m)
    expect(caught.stderr).toBe('')
  })
})

describe('drover explain', () => {
  test('--json has the keys that scripts rely on', () => {
    drover('explain', DEMO, '--order', '9', '--json')
    const report = JSON.parse(caught.stdout)
    expect(report).toMatchObject({
      schema: 'drover.explain.v1',
      target: { order: 9, range: null },
      verdict: expect.stringMatching(
        /^3,705 huge pages free .* 175 pages hold 12 huge pages \(24 MiB\) hostage: /,
      ),
      blocks: { free: 3705, in_use_huge: 877, obtainable: 6811, hostage: 894, not_initialised: 0 },
      // 2,458,943 free pages are 4,802 huge pages, of which 3,705 are whole.
      obtainable_at_most: 1097,
      cheap: { blocks: 12, pages: 175 },
    })
    expect(report.blockers[0]).toMatchObject({ owner: 'slab', pages: 264778, blocks_unlocked: 423 })
    expect(Object.keys(report.blockers[0])).toEqual(
      expect.arrayContaining(['owner', 'reason', 'pages', 'blocks_unlocked', 'ranges']),
    )
    expect(report.next[0]).toBe('echo 2 > /proc/sys/vm/drop_caches')
    expect(report.curve.at(-1).blocks).toBe(894)
  })

  test('a block, and the same block as a range', () => {
    drover('explain', DEMO, '--block', '3405')
    const ofBlock = caught.stdout
    caught.stdout = ''
    drover('explain', DEMO, '--range', '0x1a9a00+512')
    expect(caught.stdout).toBe(ofBlock)
    expect(caught.stdout).toContain('8 pages stop it: 7 kernel or per-cpu free, 1 slab.')
  })

  test('a hole', () => {
    drover('explain', DEMO, '--range', '0xc0000-0x100000')
    expect(caught.stdout).toContain('There is no memory in this range.')
  })

  test('a range beyond the capture: exit code 2, one line', () => {
    drover('explain', DEMO, '--range', '99999999+3')
    expect(process.exitCode).toBe(2)
    expect(caught.stderr.trim().split('\n')).toHaveLength(1)
    expect(caught.stdout).toBe('')
  })

  test('bad input: exit code 3, one line', () => {
    drover('explain', fileURLToPath(import.meta.url))
    expect(process.exitCode).toBe(3)
    expect(caught.stderr.trim().split('\n')).toHaveLength(1)
  })

  test.each([
    [['--order', '0'], 'commander.invalidArgument'],
    [['--order', '11'], 'commander.invalidArgument'],
    [['--block', 'x'], 'commander.invalidArgument'],
    [['--range', '5-3'], 'commander.invalidArgument'],
    [['--range', '1-5', '--block', '1'], 'commander.conflictingOption'],
  ])('usage: %j', (args, code) => {
    expect(drover('explain', DEMO, ...args)).toBe(code)
  })
})

test.each([
  ['16-32', 16, 32],
  ['0x10-0x20', 16, 32],
  ['0x10,0x20', 16, 32],
  ['0x10+16', 16, 32],
  ['0x10', 16, 17],
  [',32', 0, 32],
  ['16,', 16, Number.MAX_SAFE_INTEGER],
])('range %s', (text, start, end) => {
  expect(parseRange(text)).toEqual({ start, end })
})

test.each(['', '-', '5-', '+3', '3+', '3+0', '5-5', 'x', '1-2-3', '1.5', '-1'])('no range: %j', (text) => {
  expect(() => parseRange(text)).toThrow('It is A-B')
})
