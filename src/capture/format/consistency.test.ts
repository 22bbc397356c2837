/** Consistency: texts of real machines agree; the same texts, changed in one number, do not. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { describeInputError } from '../../base/result.ts'
import type { Capture, TextName } from './capture.ts'
import { checkConsistency } from './consistency.ts'

const KERNELS = [
  ['6.1-two-nodes', 0x40000],
  ['6.1-cma-page-owner', 0x40000],
  ['6.12-two-nodes', 0x40000],
  ['6.18-one-node', 0x640000],
] as const

const textOf = (kernel: string, name: string): string =>
  readFileSync(new URL(`../../../testdata/proc/${kernel}/${name}.txt`, import.meta.url), 'utf8')

/** What is wrong with a capture of `pfnCount` pages that has these texts. */
function check(pfnCount: number, texts: readonly (readonly [TextName, string])[]): string[] {
  const capture: Capture = {
    provenance: { tool: 'test', source: 'test' },
    pfnCount,
    texts: new Map(texts),
    columns: new Map(),
  }
  return checkConsistency(capture).map(describeInputError)
}

const ZONEINFO = textOf('6.18-one-node', 'zoneinfo')
const BUDDYINFO = textOf('6.18-one-node', 'buddyinfo')
const PAGETYPEINFO = textOf('6.18-one-node', 'pagetypeinfo')
const PAGES = 0x640000

test.each(KERNELS)('%s: a real machine is consistent', (kernel, pages) => {
  const texts = (['zoneinfo', 'buddyinfo', 'pagetypeinfo'] as const).map(
    (name) => [name, textOf(kernel, name)] as const,
  )
  expect(check(pages, texts)).toEqual([])
})

test.each([
  ['managed      772918', 'managed      799999', '799999 managed pages of 782336 present'],
  ['present  782336', 'present  2782336', '2782336 present pages in a span of 1044480'],
  ['pages free     772854', 'pages free     5772854', '5772854 free pages of 772918 managed'],
  ['start_pfn:           4096', 'start_pfn:           4095', 'the zones overlap from pfn 4095'],
  [
    'start_pfn:           1048576',
    'start_pfn:           1048577',
    'the zone ends at pfn 6553601, and 6553600 pages',
  ],
])('zoneinfo with %o as %o', (is, instead, message) => {
  const loose = is.replaceAll(/ +/g, ' +')
  const damaged = ZONEINFO.replace(new RegExp(loose), instead)
  expect(damaged).not.toBe(ZONEINFO)
  expect(check(PAGES, [['zoneinfo', damaged]]).join('\n')).toContain(message)
})

test('churn between two readings is no contradiction, another machine is', () => {
  const withFree = (free: number): string =>
    ZONEINFO.replace('pages free     1613839', `pages free     ${free}`)
  expect(
    check(PAGES, [
      ['zoneinfo', withFree(1_660_000)],
      ['buddyinfo', BUDDYINFO],
    ]),
  ).toEqual([])
  expect(
    check(PAGES, [
      ['zoneinfo', withFree(3_000_000)],
      ['buddyinfo', BUDDYINFO],
    ]),
  ).toEqual([
    'zoneinfo and buddyinfo: node 0, zone Normal: 3000000 free pages in one and 1613849 in the other: more than can ' +
      'come and go between two readings; capture again, with all files of one machine read in one go',
  ])
})

test('a zone that only one of the two texts has', () => {
  const lacking = BUDDYINFO.split('\n')
    .filter((line) => !line.includes('DMA32'))
    .join('\n')
  const extra = `${BUDDYINFO}Node 1, zone   Normal 1 1 1 1 1 1 1 1 1 1 1\n`
  expect(
    check(PAGES, [
      ['zoneinfo', ZONEINFO],
      ['buddyinfo', lacking],
    ])[0],
  ).toContain(
    'zoneinfo and buddyinfo: node 0, zone DMA32: a zone with memory in zoneinfo that buddyinfo does not have',
  )
  expect(
    check(PAGES, [
      ['zoneinfo', ZONEINFO],
      ['buddyinfo', extra],
    ])[0],
  ).toContain(
    'buddyinfo and zoneinfo: node 1, zone Normal: a zone with memory in buddyinfo that zoneinfo does not have',
  )
})

test('kernels with other orders are refused by name', () => {
  const orders = BUDDYINFO.replaceAll(/ \d+ *$/gm, '')
  expect(check(PAGES, [['buddyinfo', orders]])[0]).toContain('10 orders; drover knows kernels with 11')
  const blocks = PAGETYPEINFO.replace('Pages per block:  512', 'Pages per block:  8192')
  expect(check(PAGES, [['pagetypeinfo', blocks]])[0]).toContain('8192 pages a pageblock')
})

test('a text that is not one is reported once, by its parser', () => {
  expect(
    check(PAGES, [
      ['zoneinfo', 'x'],
      ['buddyinfo', BUDDYINFO],
    ]),
  ).toHaveLength(1)
})
