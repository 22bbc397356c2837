/** `drover import` as a user meets it, and the demo files, which it made. */

import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { describeInputError, type Result } from '../base/result.ts'
import type { Capture, Column } from '../capture/format/capture.ts'
import { checkConsistency } from '../capture/format/consistency.ts'
import { readCaptureFile } from '../capture/linux/capture_file.ts'
import { importDirectory } from '../capture/linux/import_dir.ts'
import { catchStreams, runCommands } from '../testing/command.ts'
import { registerImport } from './import.ts'

const DIR = mkdtempSync(join(tmpdir(), 'drover-cli-import-'))
afterAll(() => rmSync(DIR, { recursive: true }))
writeFileSync(join(DIR, 'kpageflags'), new Uint8Array(BigUint64Array.of(0x400n, 0n).buffer))
writeFileSync(join(DIR, 'zoneinfo'), 'not a zoneinfo\n')

const OUT = join(DIR, 'out.drover')

const caught = catchStreams()
const drover = (...args: readonly string[]): string | undefined => runCommands([registerImport], args)

describe('drover import', () => {
  test('one line on stderr, nothing on stdout', () => {
    expect(drover('import', DIR, '--side', 'before', '--kernel', '6.18.0', '-o', OUT)).toBeUndefined()
    expect(process.exitCode).toBeUndefined()
    expect(caught.stdout).toBe('')
    expect(caught.stderr).toContain(
      `wrote ${OUT}: before, 6.18.0; 2 pages; flags; ${statSync(OUT).size} bytes\n`,
    )
  })

  test('--json: a summary with what is doubtful', () => {
    drover('import', DIR, '--json', '-o', OUT)
    expect(JSON.parse(caught.stdout)).toMatchObject({
      schema: 'drover.import.v1',
      file: OUT,
      bytes: statSync(OUT).size,
      pages: 2,
      provenance: { source: 'proc' },
      columns: [{ name: 'flags', scope: 'pfn', distinct_words: 2 }],
      texts: ['zoneinfo'],
      warnings: [expect.stringContaining('zoneinfo: line 1')],
    })
  })

  test('bad input: one line, exit code 3', () => {
    expect(drover('import', join(DIR, 'absent'), '-o', OUT)).toBeUndefined()
    expect(process.exitCode).toBe(3)
    expect(caught.stderr.trim().split('\n')).toHaveLength(1)
    expect(caught.stderr).toContain('drover: ')
  })

  test.each([
    [['import', DIR], 'commander.missingMandatoryOptionValue'],
    [['import', '-o', OUT], 'commander.missingArgument'],
    [['import', '--truth', DIR, '-o', OUT], 'commander.invalidArgument'],
    [['import', DIR, '--slim=half', '-o', OUT], 'commander.invalidArgument'],
    [['import', DIR, '--level', '10', '-o', OUT], 'commander.invalidArgument'],
  ])('usage: %j', (args, code) => {
    expect(drover(...args)).toBe(code)
  })
})

const DEMO = fileURLToPath(new URL('../../demo/', import.meta.url))
const RAW = fileURLToPath(new URL('../../../shared/captures/host-6.18/anon50', import.meta.url))
const absent = !existsSync(RAW)
if (absent) console.info(`skipped: the raw files of the demo are not at ${RAW}`)

function valueOf<T>(result: Result<T>): T {
  if (result.ok) return result.value
  throw new Error(describeInputError(result.error))
}

const sameColumn = (a: Column | undefined, b: Column | undefined): boolean =>
  a !== undefined &&
  b !== undefined &&
  Buffer.from(a.index).equals(Buffer.from(b.index)) &&
  a.dictionaryLow.join() === b.dictionaryLow.join() &&
  a.dictionaryHigh.join() === b.dictionaryHigh.join()

describe('the demo', () => {
  const read = (side: string): Capture => valueOf(readCaptureFile(join(DEMO, `anon50.${side}.drover`)))

  test('is blind before and knows per-cpu pages after, in less than 4 MB', () => {
    expect([...read('before').columns.keys()]).toEqual(['flags', 'mapcount', 'cgroup'])
    expect([...read('after').columns.keys()]).toEqual(['flags', 'truth.pcp'])
    const bytes = ['before', 'after'].map((side) => statSync(join(DEMO, `anon50.${side}.drover`)).size)
    expect(bytes[0] + bytes[1]).toBeLessThan(4 * 2 ** 20)
  })

  test('is consistent', () => {
    for (const side of ['before', 'after']) expect(checkConsistency(read(side))).toEqual([])
  })

  test.skipIf(absent)('is what the commands in demo/README.md make', () => {
    const recipes = [
      ['before', { truth: 'none', slim: 'cgroup' }],
      ['after', { truth: ['truth.pcp'], slim: 'all' }],
    ] as const
    for (const [side, recipe] of recipes) {
      const options = { tool: 'drover', label: side, kernel: '6.18.44-fc-v595', name: 'anon50', ...recipe }
      const made = valueOf(importDirectory(RAW, options))
      const demo = read(side)
      expect({ ...demo.provenance, tool: 'drover' }).toEqual(made.provenance)
      expect(Object.fromEntries(demo.texts)).toEqual(Object.fromEntries(made.texts))
      for (const [name, column] of made.columns) expect(sameColumn(column, demo.columns.get(name))).toBe(true)
    }
  })
})
