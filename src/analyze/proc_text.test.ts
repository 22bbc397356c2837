/**
 * Texts of /proc printed from engines, against what the kernels themselves printed.
 *
 * A capture is loaded, and the engine prints buddyinfo, pagetypeinfo, zoneinfo and vmstat. What follows from the
 * engine's state must be the capture's own text to the byte. Where it is not, the lines that differ are listed here
 * with both values, and why.
 */

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { Capture } from '../capture/format/capture.ts'
import { readCapture } from '../capture/format/reader.ts'
import { parseVmstat } from '../capture/format/vmstat.ts'
import { parseZoneinfo } from '../capture/format/zoneinfo.ts'
import { compactNode, FastCpu, type Mm, nidOf } from '../mm/index.ts'
import { ZONE_NAMES } from '../mm/limits.ts'
import { drainAllPages } from '../mm/pcp.ts'
import { PROC_CONFIG, type ProcConfig, statNames } from '../mm/proc_names.ts'
import { buddyinfoText, extfragIndexText, pagetypeinfoText, unusableIndexText } from '../mm/proc_text.ts'
import { type ProcOptions, vmstatText, zoneinfoText } from '../mm/proc_zoneinfo.ts'
import { RULES_6_1, RULES_6_12, RULES_6_18 } from '../mm/rules.ts'
import { VM_EVENT_NAMES, type VmEventName, vmEvent } from '../mm/vmstat.ts'
import { machineOf } from '../testing/machine.ts'
import { importReference, referenceCapture, valueOf } from '../testing/reference.ts'
import { loadMachine } from './load.ts'
import { buildPageMap } from './page_map.ts'

const root = (path: string): URL => new URL(`../../${path}`, import.meta.url)

const captureOf = (path: string): Capture =>
  valueOf(readCapture(gunzipSync(readFileSync(root(`${path}.before.drover`)))))

const machineOfCapture = (capture: Capture): Mm =>
  valueOf(loadMachine(capture, valueOf(buildPageMap(capture))))

/** What the engine does not count, as the texts of its capture have it. */
function othersOf(zoneinfoOfKernel: string, vmstatOfKernel: string): NonNullable<ProcOptions['others']> {
  const { zones, nodes } = valueOf(parseZoneinfo(zoneinfoOfKernel))
  const machine = valueOf(parseVmstat(vmstatOfKernel))
  const known = (value: number | undefined, name: string): number => {
    if (value === undefined) throw new Error(`the kernel has no ${name}`)
    return value
  }
  return (name, nid, idx) => {
    if (nid < 0) return known(machine.get(name), name)
    if (idx < 0) return known(nodes.find(({ node }) => node === nid)?.stats.get(name), name)
    const zone = zones.find(({ node, name: kind }) => node === nid && kind === ZONE_NAMES[idx])
    return known(zone?.stats.get(name), name)
  }
}

/** Lines that differ, as `ours (kernel)`. Throws if the texts have not the same lines otherwise. */
function differing(ours: string, kernel: string): string[] {
  const [a, b] = [ours.split('\n'), kernel.split('\n')]
  expect(a.length).toBe(b.length)
  return a.flatMap((line, i) => {
    if (line === b[i]) return []
    const nameless = (text: string): string => text.replace(/\d+$/, '')
    expect(nameless(line).trimEnd()).toBe(nameless(b[i]).trimEnd())
    return [`${line.trim().replaceAll(/ +/g, ' ')} (${/\d+$/.exec(b[i])?.[0] ?? ''})`]
  })
}

const text = (capture: Capture, name: 'buddyinfo' | 'pagetypeinfo' | 'zoneinfo' | 'vmstat'): string =>
  capture.texts.get(name) ?? ''

/** Built as Debian's 6.12 is. */
const DEBIAN_6_12: Partial<ProcConfig> = { unacceptedMemory: true }

/** Two pages of the kernel's are mapped (the vdso); what is not on the LRU is loaded unmapped. */
const VDSO = 'nr_mapped 614 (616)'

const CAPTURES: readonly (readonly [
  name: string,
  config: Partial<ProcConfig>,
  zoneinfo: readonly string[],
])[] = [
  ['a1', {}, [VDSO]],
  ['a2', {}, [VDSO]],
  ['a3', {}, ['nr_mapped 0 (2)']],
  // A page was freed between the texts and the flags.
  ['a6', {}, [VDSO, 'count: 2106 (2105)']],
]

/**
 * [M] settled against the kernels' texts: beyond what the row says, pagetypeinfo says `>100000` where it stops
 * counting, lists CMA only where the kernel has it, and repeats for each node; zoneinfo lists zones without memory too,
 * has `promo` from 6.12 on, and the bounds of a per-cpu set's high mark from 6.18 on; its watermarks include the boost.
 */
test('I-2 buddyinfo, pagetypeinfo and zoneinfo of four loaded machines are the kernel’s text', () => {
  for (const [name, config, differences] of CAPTURES) {
    const capture = captureOf(`testdata/qemu/${name}`)
    const mm = machineOfCapture(capture)
    const others = othersOf(text(capture, 'zoneinfo'), text(capture, 'vmstat'))
    expect(buddyinfoText(mm)).toBe(text(capture, 'buddyinfo'))
    expect(pagetypeinfoText(mm, config)).toBe(text(capture, 'pagetypeinfo'))
    expect(differing(zoneinfoText(mm, { config, others }), text(capture, 'zoneinfo'))).toEqual(differences)
    const inVmstat = differences.filter((line) => line.startsWith('nr_')).map(() => VDSO)
    expect(differing(vmstatText(mm, { config, others }), text(capture, 'vmstat'))).toEqual(inVmstat)
  }
})

test('6.12: the same, but for active and inactive, which its multi-generational LRU tells apart by generation', () => {
  const capture = captureOf('testdata/qemu/h0')
  const mm = machineOfCapture(capture)
  const others = othersOf(text(capture, 'zoneinfo'), text(capture, 'vmstat'))
  expect(buddyinfoText(mm)).toBe(text(capture, 'buddyinfo'))
  expect(pagetypeinfoText(mm)).toBe(text(capture, 'pagetypeinfo'))
  const lines = differing(zoneinfoText(mm, { config: DEBIAN_6_12, others }), text(capture, 'zoneinfo'))
  expect(lines.filter((line) => !/active_anon/.test(line))).toEqual([VDSO, 'count: 2821 (2820)'])
  expect(lines.filter((line) => line.startsWith('nr_inactive_anon'))).toEqual([
    'nr_inactive_anon 48911 (0)',
    'nr_inactive_anon 33551 (0)',
  ])
})

/** A live machine of 24 GiB: its texts and its page flags were read one after the other, and page types are inferred. */
test('6.18: the same lines, and values as near as a machine in use allows', () => {
  const capture = captureOf('demo/anon50')
  const mm = machineOfCapture(capture)
  const others = othersOf(text(capture, 'zoneinfo'), text(capture, 'vmstat'))
  const lines = differing(zoneinfoText(mm, { others }), text(capture, 'zoneinfo'))
  expect(lines).toEqual([
    'nr_inactive_anon 916299 (923456)',
    'nr_inactive_file 1867622 (1867624)',
    'nr_active_file 534697 (534695)',
    'nr_anon_pages 893544 (911442)',
    'nr_mapped 43740 (44139)',
    'pages free 1611833 (1613839)',
    'nr_free_pages 1611833 (1613839)',
    'nr_zone_inactive_anon 916299 (923456)',
    'nr_zone_inactive_file 1867622 (1867624)',
    'nr_zone_active_file 534697 (534695)',
    'count: 32265 (28687)',
  ])
  const format = (of: string): string => of.replaceAll(/[ >]+\d+/g, ' n')
  expect(format(buddyinfoText(mm))).toBe(format(text(capture, 'buddyinfo')))
  expect(format(pagetypeinfoText(mm))).toBe(format(text(capture, 'pagetypeinfo')))
  // More single movable pages than the kernel counts.
  expect(pagetypeinfoText(mm)).toContain(' zone   Normal, type      Movable >100000  84224 ')
  // Which pageblocks are which is inferred; how many of each is not.
  const blocks = (of: string): string => of.slice(of.indexOf('Number of blocks'))
  expect(blocks(pagetypeinfoText(mm))).toBe(blocks(text(capture, 'pagetypeinfo')))
})

const PROC: readonly (readonly [folder: string, rules: Mm['rules'], config: Partial<ProcConfig>])[] = [
  ['6.1-two-nodes', RULES_6_1, {}],
  ['6.1-cma-page-owner', RULES_6_1, { cma: true, zoneDma: false, zoneDevice: false, zswap: false }],
  ['6.12-two-nodes', RULES_6_12, DEBIAN_6_12],
  ['6.18-one-node', RULES_6_18, {}],
]

/**
 * [M] settled against /proc/vmstat of four kernels. Two corrections of the row: 6.18 has nr_balloon_pages and
 * nr_free_pages_blocks, but neither cma_alloc_success nor cma_alloc_fail unless it is built with CMA; and
 * pgdemote_kswapd and pgdemote_direct were events in 6.1 and are counters of nodes since.
 */
test('I-3 names of /proc/vmstat, in their order, of four kernels; events go on from where they stood', () => {
  for (const [folder, rules, config] of PROC) {
    const kernel = readFileSync(root(`testdata/proc/${folder}/vmstat.txt`), 'utf8')
    const names = (of: string): string[] => [...of.matchAll(/^(\w+) -?\d+$/gm)].map(([, name]) => name)
    expect(names(vmstatText(machineOf('|M M . .|', { rules }).mm, { config }))).toEqual(names(kernel))
  }

  const { mm } = machineOf(`|${'M.'.repeat(256)}|`.repeat(2))
  const before = new Map(statNames('event', RULES_6_18, PROC_CONFIG).map((name, i) => [name, 1000 + i]))
  compactNode(new FastCpu(), mm, nidOf(0))
  const after = valueOf(parseVmstat(vmstatText(mm, { others: (name) => before.get(name) ?? 0 })))
  const grown = (name: VmEventName): number => (after.get(name) ?? 0) - (before.get(name) ?? 0)
  expect(grown('compact_isolated')).toBeGreaterThan(0)
  for (const name of VM_EVENT_NAMES) expect([name, grown(name)]).toEqual([name, vmEvent(mm, name)])
})

describe('fragmentation indices', () => {
  // As debugfs printed them when testdata/qemu/a1.before was captured.
  const EXTFRAG = [
    'Node 0, zone      DMA -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000  0.997  0.998 ',
    'Node 0, zone    DMA32 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 ',
    'Node 1, zone    DMA32 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 ',
  ]
  const UNUSABLE = [
    'Node 0, zone      DMA 0.000 0.667 0.669 0.669 0.673 0.681 0.681 0.745 0.872 1.000 1.000 ',
    'Node 0, zone    DMA32 0.000 0.854 0.854 0.854 0.854 0.855 0.855 0.857 0.859 0.870 0.892 ',
    'Node 1, zone    DMA32 0.000 0.331 0.331 0.331 0.331 0.331 0.332 0.334 0.334 0.340 0.353 ',
  ]

  /** [M] settled: extfrag_index has six places a value, unusable_index five; both have a blank behind the last. */
  test('I-5 extfrag_index and unusable_index of a loaded machine are the kernel’s text', () => {
    const mm = machineOfCapture(captureOf('testdata/qemu/a1'))
    expect(extfragIndexText(mm)).toBe(`${EXTFRAG.join('\n')}\n`)
    expect(unusableIndexText(mm)).toBe(`${UNUSABLE.join('\n')}\n`)
  })

  const TEXTS = [
    'a5-direct-compaction',
    'b0-zram-movable',
    'c0-balloon-movable',
    'f0-offline',
    'h2-k612-zram',
  ]

  test.skipIf(referenceCapture('qemu') === undefined)(
    'five more machines, and pagetypeinfo with them',
    () => {
      for (const name of TEXTS) {
        const kernel = textsOf(name, 'before')
        const mm = machineOfCapture(importReference(`qemu/${name}`, 'before'))
        expect(buddyinfoText(mm)).toBe(kernel.get('buddyinfo'))
        expect(pagetypeinfoText(mm)).toBe(kernel.get('pagetypeinfo'))
        expect(extfragIndexText(mm)).toBe(kernel.get('extfrag_index'))
        expect(unusableIndexText(mm)).toBe(kernel.get('unusable_index'))
      }
    },
  )

  /** With page_owner, the kernel drains its per-cpu lists to print pagetypeinfo; what was read after it shows that. */
  test.skipIf(referenceCapture('qemu') === undefined)('a kernel with CMA and page_owner', () => {
    const kernel = textsOf('g0-cma', 'after-busy')
    const mm = machineOfCapture(importReference('qemu/g0-cma', 'after-busy'))
    drainAllPages(new FastCpu(), mm)
    const withoutMixed = kernel.get('pagetypeinfo')?.replaceAll(/\nNumber of mixed blocks.*\n.*\n/g, '')
    expect(pagetypeinfoText(mm, { cma: true })).toBe(withoutMixed)
    expect(unusableIndexText(mm)).toBe(kernel.get('unusable_index'))
  })
})

/** The texts of one snapshot of a reference capture. */
function textsOf(name: string, label: string): Map<string, string> {
  const path = referenceCapture(`qemu/${name}/text.json.gz`) ?? ''
  const all: unknown = JSON.parse(gunzipSync(readFileSync(path)).toString())
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null
  const snapshot = isRecord(all) ? all[`snap/${label}`] : undefined
  if (!isRecord(snapshot)) throw new Error(`${name} has no ${label}`)
  return new Map(Object.entries(snapshot).map(([file, content]) => [file, String(content)]))
}
