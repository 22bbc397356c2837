/** `drover` as a process: the session that README shows, exit codes, and what bad input gets. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import type { Capture } from '../capture/format/capture.ts'
import { readCaptureFile, writeCaptureFile } from '../capture/linux/capture_file.ts'
import { drover, ROOT } from '../testing/drover.ts'
import { readmePart } from '../testing/readme.ts'

const scratch = mkdtempSync(join(tmpdir(), 'drover-cli-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const SMALL = join(ROOT, 'testdata/qemu/a1.before.drover')

/** A file made of the small capture's compressed bytes. */
function spoiled(name: string, change: (file: Buffer) => Buffer): string {
  const path = join(scratch, name)
  writeFileSync(path, change(readFileSync(SMALL)))
  return path
}

/** A sound file with unsound content. */
function contradictory(name: string, change: (capture: Capture) => Capture): string {
  const read = readCaptureFile(SMALL)
  expect(read.ok).toBe(true)
  const path = join(scratch, name)
  if (read.ok) expect(writeCaptureFile(path, change(read.value)).ok).toBe(true)
  return path
}

const withText = (capture: Capture, name: 'zoneinfo' | 'vmstat', text: string): Capture => ({
  ...capture,
  texts: new Map([...capture.texts, [name, text]]),
})

test('README shows what npm start prints', () => {
  const { status, stdout, stderr } = drover('demo')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const session = `\`\`\`console\n${stdout.trimEnd()}\n\`\`\``
  expect(readmePart('session: npm start', session)).toBe(session)
})

test('npm start is drover demo', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  expect(scripts.start).toContain('bootstrap.mjs start')
})

describe('compact', () => {
  test('--json has the keys that scripts rely on', () => {
    const after = join(ROOT, 'testdata/qemu/a1.after.drover')
    const { status, stdout } = drover('compact', SMALL, '--against', after, '--json')
    expect(status).toBe(0)
    const report = JSON.parse(stdout)
    expect(report.schema).toBe('drover.compact.v1')
    const figures = [
      'pages_migrated',
      'migrate_scanned',
      'free_scanned',
      'status',
      'free_blocks_by_order',
      'by_zone',
    ]
    for (const side of [report.predicted, report.actual]) {
      expect(Object.keys(side)).toEqual(expect.arrayContaining(figures))
      expect(side.free_blocks_by_order).toHaveLength(11)
    }
    expect(Object.keys(report.error)).toEqual(
      expect.arrayContaining(['pages_migrated_pct', 'order9_blocks_pct', 'pageblock_free_mae_pages']),
    )
    expect(report.predicted.by_zone.map((zone: { name: string }) => zone.name)).toEqual([
      'DMA',
      'DMA32',
      'DMA32',
    ])
    expect(report.predicted.pages_migrated_low).toBeLessThanOrEqual(report.predicted.pages_migrated)
    expect(report.predicted.pages_migrated_high).toBeGreaterThanOrEqual(report.predicted.pages_migrated)
  })

  test('the same run twice prints the same bytes', () => {
    expect(drover('compact', SMALL, '--json')).toEqual(drover('compact', SMALL, '--json'))
  })

  test('--rules runs the same memory by another kernel: 6.1 cannot look at odd pages only either', () => {
    const as61 = JSON.parse(drover('compact', SMALL, '--rules', '6.1', '--json').stdout)
    const as618 = JSON.parse(drover('compact', SMALL, '--rules', '6.18', '--json').stdout)
    expect([as61.rules, as618.rules]).toEqual(['6.1', '6.18'])
    expect(as618.predicted.pages_migrated).toBeLessThan(3000)
  })
})

describe('bad input: one line on stderr, nothing on stdout, exit code 3', () => {
  const cases: readonly (readonly [string, () => string, RegExp])[] = [
    ['absent', () => join(scratch, 'absent.drover'), /no such file/i],
    ['a folder', () => scratch, /drover-cli-/],
    ['empty', () => spoiled('empty.drover', () => Buffer.alloc(0)), /empty\.drover/],
    [
      'truncated',
      () => spoiled('truncated.drover', (file) => file.subarray(0, file.length / 2)),
      /truncated\.drover/,
    ],
    ['foreign', () => spoiled('foreign.drover', () => Buffer.from('#!/bin/sh\necho no capture\n')), /not a/i],
    ['foreign gzip', () => spoiled('gzip.drover', () => gzipSync('something else')), /not a/i],
    [
      'a newer format',
      () =>
        spoiled('newer.drover', (file) => {
          const raw = gunzipSync(file)
          raw.writeUInt32LE(99, 8)
          return gzipSync(raw)
        }),
      /newer|version|format 99/i,
    ],
    [
      'corrupt',
      () =>
        spoiled('corrupt.drover', (file) => {
          const raw = gunzipSync(file)
          raw[raw.length - 4000] ^= 1
          return gzipSync(raw)
        }),
      /corrupt\.drover/,
    ],
    [
      'zoneinfo that is none',
      () => contradictory('zoneinfo.drover', (capture) => withText(capture, 'zoneinfo', 'hello\n')),
      /zoneinfo/,
    ],
    [
      'zoneinfo that contradicts buddyinfo',
      () =>
        contradictory('contradiction.drover', (capture) =>
          withText(
            capture,
            'zoneinfo',
            (capture.texts.get('zoneinfo') ?? '').replace(/pages free +\d+/g, 'pages free 7'),
          ),
        ),
      /free/,
    ],
  ]
  test.each(cases)('%s', (_name, make, says) => {
    const path = make()
    for (const command of ['inspect', 'explain', 'compact']) {
      const { status, stdout, stderr } = drover(command, path)
      expect({ command, status, stdout }).toEqual({ command, status: 3, stdout: '' })
      expect(stderr.trimEnd().split('\n')).toHaveLength(1)
      expect(stderr).toMatch(says)
      expect(stderr).not.toMatch(/ at .*\.js:\d+/)
    }
  })

  test('compact --against a capture of another machine, and one of before', () => {
    const demo = join(ROOT, 'demo/anon50.after.drover')
    const other = drover('compact', SMALL, '--against', demo)
    expect(other.status).toBe(3)
    expect(other.stderr).toMatch(/pages, the capture before has/)
    const reversed = drover('compact', join(ROOT, 'testdata/qemu/a1.after.drover'), '--against', SMALL)
    expect(reversed.status).toBe(3)
    expect(reversed.stderr).toMatch(/order of time/)
  })

  test('import of a folder without captures writes nothing', () => {
    const out = join(scratch, 'none.drover')
    const { status, stderr } = drover('import', join(ROOT, 'docs'), '-o', out)
    expect(status).toBe(3)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(readdirSync(scratch).filter((file) => file.startsWith('none'))).toEqual([])
  })
})

describe('usage: exit code 2', () => {
  test('an unknown command suggests the nearest', () => {
    const { status, stderr } = drover('inspekt', SMALL)
    expect(status).toBe(2)
    expect(stderr).toMatch(/inspect/)
  })

  test('a missing argument, an unknown option, a bad value', () => {
    for (const args of [
      ['compact'],
      ['compact', SMALL, '--nonsense'],
      ['compact', SMALL, '--rules', '2.4'],
    ]) {
      expect(drover(...args).status).toBe(2)
    }
  })

  test('help and version are no errors', () => {
    expect(drover('--help').status).toBe(0)
    expect(drover('compact', '--help').stdout).toMatch(/Examples:/)
    expect(drover('--version').stdout.trim()).toMatch(/^\d+\.\d+\.\d+$/)
  })

  test('a reader that closes the pipe is no error', () => {
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', `"${process.execPath}" dist/cli/main.js demo | head -1`],
      {
        cwd: ROOT,
        encoding: 'utf8',
      },
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })
})
