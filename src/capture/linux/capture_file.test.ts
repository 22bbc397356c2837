/** Capture files on disk: damage under gzip, and files that appear whole or not at all. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { describeInputError, type Result } from '../../base/result.ts'
import type { Capture } from '../format/capture.ts'
import { columnOfBytes } from '../format/column.ts'
import { decodeCaptureFile, encodeCaptureFile, readCaptureFile, writeCaptureFile } from './capture_file.ts'

const DIR = mkdtempSync(join(tmpdir(), 'drover-capture-file-'))
afterAll(() => rmSync(DIR, { recursive: true }))

const SAMPLE: Capture = {
  provenance: { tool: 'drover test', source: 'proc' },
  pfnCount: 40,
  texts: new Map([['zoneinfo', 'Node 0, zone DMA\n']]),
  columns: new Map([
    [
      'flags',
      columnOfBytes(
        'pfn',
        Uint8Array.from({ length: 40 }, (_, pfn) => (pfn * 7) % 5),
      ),
    ],
  ]),
}

const errorOf = (result: Result<unknown>): string =>
  result.ok ? 'no error' : describeInputError(result.error)

function sampleFile(): Uint8Array {
  const encoded = encodeCaptureFile(SAMPLE, 6)
  if (!encoded.ok) throw new Error(describeInputError(encoded.error))
  return encoded.value
}

/** Whether a damaged file is refused, or is still the sample (gzip's own header has bytes that mean nothing). */
function isRefusedOrSame(result: Result<Capture>): boolean {
  if (!result.ok)
    return [result.error.where, result.error.at, result.error.what, result.error.todo].every(
      (part) => part !== '',
    )
  const flags = result.value.columns.get('flags')
  const original = SAMPLE.columns.get('flags')
  return (
    JSON.stringify([flags?.index, flags?.dictionaryLow, result.value.provenance, [...result.value.texts]]) ===
    JSON.stringify([original?.index, original?.dictionaryLow, SAMPLE.provenance, [...SAMPLE.texts]])
  )
}

describe('damage under gzip', () => {
  const file = sampleFile()

  test('every bit of the file flipped: refused, or the same capture', () => {
    for (let at = 0; at < file.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = Uint8Array.from(file)
        damaged[at] ^= 1 << bit
        if (!isRefusedOrSame(decodeCaptureFile(damaged))) throw new Error(`bit ${bit} of byte ${at}`)
      }
    }
  })

  test('every truncation of the file: refused', () => {
    for (let length = 0; length < file.length; length++) {
      expect(decodeCaptureFile(file.slice(0, length)).ok).toBe(false)
    }
  })

  test('a truncation names the section that is cut', () => {
    const big: Capture = {
      ...SAMPLE,
      pfnCount: 100_000,
      columns: new Map([
        [
          'flags',
          columnOfBytes(
            'pfn',
            Uint8Array.from({ length: 100_000 }, (_, pfn) => (Math.imul(pfn, 0x9e3779b1) >>> 28) & 3),
          ),
        ],
      ]),
    }
    const encoded = encodeCaptureFile(big, 6)
    if (!encoded.ok) throw new Error(describeInputError(encoded.error))
    const half = encoded.value.slice(0, encoded.value.length / 2)
    expect(errorOf(decodeCaptureFile(half))).toMatch(
      /^flags: byte \d+: the file is truncated: \d+ more bytes/,
    )
  })

  test('other files are told by their first bytes', () => {
    expect(errorOf(decodeCaptureFile(new Uint8Array()))).toContain('the file is empty')
    expect(errorOf(decodeCaptureFile(Uint8Array.of(0x50, 0x4b, 3, 4)))).toContain('it is not gzip')
    expect(errorOf(decodeCaptureFile(gzipSync('hello')))).toContain('this is not a drover capture')
  })
})

describe('files', () => {
  test('written and read', () => {
    const path = join(DIR, 'sample.drover')
    const written = writeCaptureFile(path, SAMPLE)
    expect(written).toEqual({ ok: true, value: readFileSync(path).length })
    expect(isRefusedOrSame(readCaptureFile(path))).toBe(true)
    expect(readdirSync(DIR)).toEqual(['sample.drover'])
  })

  test('errors name the file', () => {
    const path = join(DIR, 'foreign')
    writeFileSync(path, 'MZ')
    expect(errorOf(readCaptureFile(path))).toContain(`${path}: gzip: byte 0: this is not a drover capture`)
    expect(errorOf(readCaptureFile(join(DIR, 'absent')))).toContain(`${join(DIR, 'absent')}: opening: ENOENT`)
  })

  test('a failed write leaves what was there, and nothing half-written', () => {
    const path = join(DIR, 'kept.drover')
    writeFileSync(path, 'old')
    const refused = writeCaptureFile(path, { ...SAMPLE, columns: new Map() })
    expect(errorOf(refused)).toContain(`${path}: flags: header: the capture has no flags`)
    expect(readFileSync(path, 'utf8')).toBe('old')

    // A folder where the file should go: the rename fails after everything was written.
    const taken = join(DIR, 'taken')
    mkdirSync(join(taken, 'inner'), { recursive: true })
    expect(writeCaptureFile(taken, SAMPLE).ok).toBe(false)
    expect(existsSync(`${taken}.tmp`)).toBe(false)
    expect(errorOf(writeCaptureFile(join(DIR, 'no', 'such', 'folder'), SAMPLE))).toContain('writing: ENOENT')
  })
})
