/**
 * `drover demo`: the main job on the embedded capture of a real machine: what state its memory is in,
 * what holds its huge pages, what compaction would get, what the real kernel then got.
 *
 * Each part is what the command of its heading prints, or the beginning of it.
 */

import { fileURLToPath } from 'node:url'
import type { Command } from '@commander-js/extra-typings'
import { compactReport, compactText } from './compact.ts'
import { explainText } from './explain.ts'
import { inspectText } from './inspect.ts'
import { readSide, refuse } from './report.ts'

/** Two folders up from src/cli and from dist/cli alike. */
const demoFile = (name: string): string => fileURLToPath(new URL(`../../demo/${name}`, import.meta.url))

const BEFORE = 'anon50.before.drover'
const AFTER = 'anon50.after.drover'

/** Adds `demo` to `program`. */
export function registerDemo(program: Command): void {
  program
    .command('demo')
    .summary('the main job on the memory of a real 24 GiB machine')
    .description(
      'The memory of a real 24 GiB machine, embedded: what state it is in, what holds its huge pages hostage, what\n' +
        'compaction would get, and what its kernel, Linux 6.18, then got.',
    )
    .action(() => {
      const before = readSide(demoFile(BEFORE), `demo/${BEFORE}`)
      if (!before.ok) return refuse(before.error)
      const report = compactReport(before.value, demoFile(AFTER), {})
      if (!report.ok) return refuse(report.error)
      process.stdout.write(
        'The memory of a real machine: 24 GiB, Linux 6.18, after a program has freed a random half of the pages of its 3 GiB.\n\n' +
          section(`inspect demo/${BEFORE}`, inspectText(before.value)) +
          section(`explain demo/${BEFORE}`, explainText(before.value)) +
          section(`compact demo/${BEFORE} --against demo/${AFTER}`, compactText(report.value)) +
          NEXT,
      )
    })
}

const section = (command: string, text: string): string => `$ drover ${command}\n\n${text}\n`

const NEXT = `On your own machine, as root, from this folder:
  mkdir /tmp/memory
  for f in kpagecgroup kpagecount kpageflags buddyinfo pagetypeinfo zoneinfo vmstat meminfo; do cat /proc/$f > /tmp/memory/$f; done
  npx drover import /tmp/memory --kernel $(uname -r) -o machine.drover
  npx drover explain machine.drover
  npx drover compact machine.drover
`
