/**
 * Captures of a few pageblocks, sketched: for tests of what is concluded from one.
 */

import {
  type Capture,
  COLUMN_NAMES,
  type Column,
  type ColumnName,
  type TextName,
} from '../capture/format/capture.ts'
import { ColumnBuilder, wordOfHex } from '../capture/format/column.ts'
import { valueOf } from './reference.ts'

/** Runs of equal words: `0x400*512 0x0*2`. */
function columnOf(name: string, runs: string): Column {
  const words = runs
    .trim()
    .split(/\s+/)
    .flatMap((run) => {
      const [hex, times = '1'] = run.split('*')
      const word = wordOfHex(hex)
      if (!word) throw new Error(run)
      return new Array<typeof word>(Number(times)).fill(word)
    })
  const builder = new ColumnBuilder(name === 'truth.pageblock' ? 'pageblock' : 'pfn', words.length, name)
  for (const { low, high } of words) builder.add(low, high)
  return valueOf(builder.finish())
}

/** What a small capture is made of: columns by name, each as runs of words. */
export interface Sketch {
  readonly columns: Partial<Record<ColumnName, string>>
  readonly present?: number
  readonly zspages?: number
  readonly pcp?: number
  /** Extra lines of zoneinfo's per-node stats. */
  readonly nodeStats?: string
  /** Unmovable and movable pageblocks. */
  readonly blocks?: readonly [number, number]
}

/** A machine with one zone from pfn 0. */
export function captureOf({ columns, present, zspages = 0, pcp = 0, blocks, nodeStats }: Sketch): Capture {
  const made = new Map<ColumnName, Column>()
  for (const name of COLUMN_NAMES) {
    const runs = columns[name]
    if (runs !== undefined) made.set(name, columnOf(name, runs))
  }
  const pfnCount = made.get('flags')?.index.length ?? 0
  const texts = new Map<TextName, string>()
  texts.set(
    'zoneinfo',
    `Node 0, zone   Normal\n${nodeStats === undefined ? '' : `  per-node stats\n${nodeStats}`}  pages free     0\n        min      0\n        low      0\n        high     0\n` +
      `        spanned  ${pfnCount}\n        present  ${present ?? pfnCount}\n        managed  ${present ?? pfnCount}\n` +
      `      nr_zspages   ${zspages}\n  pagesets\n    cpu: 0\n              count: ${pcp}\n              high:  0\n              batch: 1\n` +
      `  node_unreclaimable:  0\n  start_pfn:           0\n`,
  )
  if (blocks) {
    texts.set(
      'pagetypeinfo',
      'Page block order: 9\nPages per block:  512\n\nFree pages count per migrate type at order 0\n\n' +
        `Number of blocks type Unmovable Movable Reclaimable\nNode 0, zone Normal ${blocks[0]} ${blocks[1]} 0\n`,
    )
  }
  return { provenance: { tool: 'test', source: 'test' }, pfnCount, texts, columns: made }
}
