/** `drover check` and `drover replay` as a user runs them: verdicts, exit codes, JSON, and what is refused. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { MODELS } from '../models/index.ts'
import { drover, ROOT } from '../testing/drover.ts'
import { readmePart } from '../testing/readme.ts'

const folder = mkdtempSync(join(tmpdir(), 'drover-check-'))
afterAll(() => rmSync(folder, { recursive: true }))

const scratch = (name: string, text: string): string => {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

describe('models', () => {
  test('are listed, each with its question and mistakes', () => {
    const { status, stdout } = drover('check')
    expect(status).toBe(0)
    for (const { name, question, seeded } of MODELS) {
      expect(stdout).toContain(question)
      for (const mistake of Object.keys(seeded))
        expect(stdout).toMatch(new RegExp(`^ {2}${mistake} +\\S`, 'm'))
      expect(stdout).toMatch(new RegExp(`^${name} `, 'm'))
    }
    const { schema, models } = JSON.parse(drover('check', '--json').stdout)
    expect(schema).toBe('drover.models.v1')
    expect(models.map(({ name }: { name: string }) => name)).toEqual(MODELS.map(({ name }) => name))
  })

  test('pass: exit 0, a sentence, and where its meaning is told', () => {
    const { status, stdout } = drover('check', 'isolate-free')
    expect(status).toBe(0)
    expect(stdout.split('\n')[1]).toBe(
      'What a verdict means, and what it does not: CAVEATS.md, "The checker".',
    )
    expect(stdout).toMatch(/^pass: all 717 states, /m)
  })

  test('violated: exit 1, the rule, the schedule, and the command that repeats it', () => {
    const { status, stdout } = drover('check', 'isolate-free', '--seeded', 'no-isolated-mark')
    expect(status).toBe(1)
    expect(stdout).toContain('violated: one-winner: among several isolators of a page exactly one wins')
    expect(stdout).toContain('10 steps, the fewest there are; not needed: owner')
    expect(stdout).toMatch(/isolate_free\.ts:\d+$/m)
    const again = /again: drover replay (\S+)/.exec(stdout)?.[1] ?? ''
    const replayed = drover('replay', again)
    expect(replayed.status).toBe(1)
    expect(replayed.stdout).toContain('one-winner')
  })

  test('JSON has the keys that scripts rely on', () => {
    const found = JSON.parse(
      drover('check', 'isolate-free', '--seeded', 'put-before-unlock', '--json').stdout,
    )
    expect(found).toMatchObject({
      schema: 'drover.check.v1',
      model: 'isolate-free',
      seeded: 'put-before-unlock',
      verdict: 'violated',
      clause: 'free: the page is locked, on the LRU, or under writeback',
      shortest: true,
      bounds: { actors: 2, pages: 1 },
    })
    expect(found.steps).toHaveLength(11)
    expect(found.steps[0]).toMatchObject({ actor: expect.any(String), step: expect.any(String) })
    expect(found.point_of_no_return).toBeGreaterThan(0)
    expect(found.cpu_ms).toBeGreaterThan(0)
    const passed = JSON.parse(drover('check', 'isolate-free', '--json').stdout)
    expect(passed).toMatchObject({ verdict: 'pass', states: 717, clause: null, schedule: null, steps: [] })
  })

  test('a bound that is reached is no proof: exit 5', () => {
    const cut = drover('check', 'isolate-free', '--max-states', '100')
    expect(cut.status).toBe(5)
    expect(cut.stdout).toMatch(/^incomplete: .*this is no proof$/m)
    const walked = drover('check', 'isolate-free', '--strategy', 'pct', '--schedules', '50')
    expect(walked.status).toBe(5)
    expect(walked.stdout).toMatch(
      /^incomplete: nothing found by pct in 50 schedules of bug depth 3; this is no proof$/m,
    )
  })

  test('every strategy finds a seeded mistake', () => {
    for (const strategy of ['context-bound', 'pct', 'random', 'dpor']) {
      const { status, stdout } = drover(
        'check',
        'isolate-free',
        '--seeded',
        'no-isolated-mark',
        '--strategy',
        strategy,
      )
      expect([strategy, status]).toEqual([strategy, 1])
      expect(drover('replay', /again: drover replay (\S+)/.exec(stdout)?.[1] ?? '').status).toBe(1)
    }
  })

  test('without reductions: the same verdict, more states', () => {
    const found = JSON.parse(drover('check', 'isolate-free', '--no-reductions', '--json').stdout)
    expect(found.verdict).toBe('pass')
    expect(found.states).toBeGreaterThan(717)
  })

  test('as Promela', () => {
    const { status, stdout } = drover('check', 'isolate-free', '--emit', 'promela')
    expect(status).toBe(0)
    expect(stdout).toContain('proctype')
  })
})

test('the example of `drover replay --help` is one', () => {
  const example = /drover replay (drover1:\S+)/.exec(drover('replay', '--help').stdout)?.[1] ?? ''
  const { status, stdout } = drover('replay', example)
  expect([status, stdout]).toEqual([1, expect.stringContaining('one-winner')])
})

describe('what is refused, in one line', () => {
  test.each([
    [['check', 'isolat-free'], 2, 'there is no model "isolat-free"; did you mean "isolate-free"?'],
    [['check', 'xyzzy'], 2, 'there is no model "xyzzy"; drover check lists them'],
    [['check', 'isolate-free', '--seeded', 'x'], 2, 'isolate-free has no mistake "x"; it has no-reference,'],
    [['check', 'isolate-free', '--actors', '99'], 2, 'isolate-free has at most 4 actors and 3 pages'],
    [
      ['check', 'isolate-free', '--driver', 'x.ts'],
      2,
      'a model and --driver at once; it is one or the other',
    ],
    [['replay', 'nonsense'], 2, 'this is no schedule to replay: a schedule begins with "drover1:"'],
    [['replay', 'drover7:isolate-free:2x1:-:ab:00000000'], 2, 'it is of version drover7'],
    [['replay', 'drover1:isolate-fre:2x1:-:ab:00000000'], 2, 'there is no model "isolate-fre"; did you mean'],
    [['replay', 'drover1:isolate-free:9x1:-:ab:00000000'], 2, 'isolate-free has from 1 to 4 actors'],
    [['replay', 'drover1:isolate-free:2x1:late:ab:00000000'], 2, 'isolate-free has no mistake "late"'],
    [
      ['replay', 'drover1:isolate-free:2x1:-:ab:00000000'],
      2,
      'another version of isolate-free: its steps do other things',
    ],
    [['replay', 'drover1:isolate-free:2x1:-:a99:00000000'], 2, 'isolator 1 has ended'],
  ])('%j', (args, status, why) => {
    const ran = drover(...args)
    expect(ran.status).toBe(status)
    expect(ran.stdout).toBe('')
    expect(ran.stderr).toContain(why)
    expect(ran.stderr.trimEnd().split('\n')).toHaveLength(1)
  })
})

test('the session of README: a driver that breaks the contract, and the same one mended', () => {
  const session = (part: string, status: number, driver: string, command: string): void => {
    const ran = drover('check', '--driver', `examples/drivers/${driver}.ts`)
    const problems = ran.stderr.replace(/^drover: .* states, .* s, .* MiB\n/gm, '') // how far it is, every 10 s
    expect([ran.status, problems]).toEqual([status, ''])
    const text = `\`\`\`console\n$ ${command}\n${ran.stdout.trimEnd()}\n\`\`\``
    expect(readmePart(`session: drover check ${part}`, text)).toBe(text)
  }
  session('broken', 1, 'unlinks_isolated', 'npx drover check --driver examples/drivers/unlinks_isolated.ts')
  session('fixed', 0, 'list_driver', 'npx drover check --driver examples/drivers/list_driver.ts')
})

test('a driver that does not return is stopped, and named', { timeout: 60_000 }, () => {
  const text =
    "import list from 'LIST'\nexport default { ...list, name: 'stuck', free() { for (;;); } }\n".replace(
      'LIST',
      join(ROOT, 'examples/drivers/list_driver.ts'),
    )
  const file = scratch('stuck.ts', text)
  const ran = drover('check', '--driver', file)
  expect([ran.status, ran.stdout]).toEqual([2, ''])
  expect(ran.stderr).toBe(`drover: ${file}: runs for 10 s without a step; a loop that does not touch cpu?\n`)
})

describe('drivers that cannot be checked', () => {
  const head = "import { PGTY_offline } from 'drover/driver'\n"
  test.each([
    ['is missing', undefined, 2, 'there is no such file'],
    ['does not parse', 'export default {', 2, /broken\.ts:1:\d+: /],
    [
      'imports what does not exist',
      "import { nothing } from 'drover/driver'\nexport default nothing\n",
      2,
      /nothing/,
    ],
    ['has no default export', 'export const x = 1\n', 2, 'has no default export'],
    ['ends the process', 'process.exit(0)\n', 2, 'ends the process before it has been checked'],
    ['throws while loading', "throw new Error('no device')\n", 2, 'throws while it is loaded: no device'],
    [
      'lacks callbacks',
      `${head}export default { name: 'x', pgty: PGTY_offline, cells: 0, locks: [] }\n`,
      2,
      'lacks',
    ],
  ])('%s', (name, text, status, why) => {
    const file = text === undefined ? join(folder, 'absent.ts') : scratch('broken.ts', text)
    const ran = drover('check', '--driver', file)
    expect([name, ran.status]).toEqual([name, status])
    expect(ran.stderr).toMatch(why)
    expect(ran.stderr).not.toMatch(/^ {4}at /m)
    expect(ran.stderr.trimEnd().split('\n')).toHaveLength(1)
  })
})
