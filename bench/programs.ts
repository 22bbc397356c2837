/**
 * The programs that are measured: the engine and benchmarks bundled as the engine ships, and the twins.
 *
 * Never the sources through a loader: tsx wraps every function for its name, which slows the engine by
 * another factor than it slows the rest. All of it is built into `native/build/`, which is not in git.
 *
 * Rules:
 *   - build before anything is measured, and build everything anew: a stale program measures the past.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { spinMissing } from '../src/testing/spin.ts'
import { bundle } from '../tools/bundle.mjs'
import type { Sample } from './bench.ts'
import { BENCH_NAMES } from './benches.ts'
import { withoutCpu } from './direct.ts'
import { SpinTwin } from './spin_twin.ts'

const here = dirname(fileURLToPath(import.meta.url))
const native = join(here, 'native')
/** The C compiler: gcc, unless CC names another. */
const CC = process.env['CC'] ?? 'gcc'
const TWINS = ['buddy', 'compaction', 'load', 'zram'] as const
/** What a twin is linked with, and the header that says whether it is there. */
const LIBRARIES: Readonly<Record<string, { readonly flag: string; readonly header: string }>> = {
  zram: { flag: '-llz4', header: 'lz4.h' },
}
/** The twin of the bench `cpu`: itself, without the calls. */
const DIRECT = 'direct'

export interface Programs {
  /** Why there is no such twin, if there is none. */
  missing(twin: string): string | undefined
  /** One case of a benchmark by the engine, in a process of its own. */
  runEngine(bench: string, args: readonly string[]): Sample
  /** The same by its twin. */
  runTwin(twin: string, args: readonly string[]): Sample
  /** Deletes what is not in `native/build/`. */
  remove(): void
}

/**
 * Builds all programs anew in a folder of native/build/. Who runs at the same time as others has a folder of
 * his own. Throws if something does not compile.
 */
export function buildPrograms(name: string): Programs {
  const folder = join(native, 'build', name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  buildEngine(folder)
  const noTwin = buildTwins(folder)
  const noSpin = spinMissing()
  const spin = new SpinTwin()
  return {
    missing: (twin) => (twin === 'spin' ? noSpin : twin === DIRECT ? undefined : noTwin(twin)),
    runEngine: (bench, args) => sampleOf(process.execPath, [join(folder, `${bench}.mjs`), ...args]),
    runTwin: (twin, args) => {
      if (twin === 'spin') return spin.run(args)
      if (twin === DIRECT) return sampleOf(process.execPath, [join(folder, 'cpu.direct.mjs'), ...args])
      return sampleOf(join(folder, twin), args)
    },
    remove: () => spin.remove(),
  }
}

/** Bundles each benchmark with the engine as the command line is bundled: one program, one scope, one `Cpu` class. */
function buildEngine(folder: string): void {
  for (const name of BENCH_NAMES) {
    const program =
      "import { setV8Flags } from './src/cli/v8_flags.ts'\n" +
      `import { bench } from './bench/${name}.bench.ts'\n` +
      (name === 'checker' ? '' : 'setV8Flags()\n') + // as the commands do: those that run the engine
      'process.stdout.write(JSON.stringify(bench.measure(process.argv.slice(2))) + "\\n")\n'
    for (const text of bundle({ stdin: program }).values()) {
      writeFileSync(join(folder, `${name}.mjs`), text)
      if (name === 'cpu') writeFileSync(join(folder, `${name}.direct.mjs`), withoutCpu(text))
    }
  }
}

/** Compiles the C twins. Gives what says why there is no such twin, or undefined. */
function buildTwins(folder: string): (twin: string) => string | undefined {
  const version = spawnSync(CC, ['--version'], { encoding: 'utf8' })
  if (version.status !== 0) return () => `there is no ${CC} to build the C twins with`
  const missing = new Map<string, string>()
  for (const twin of TWINS) {
    const library = LIBRARIES[twin]
    if (library !== undefined && !hasHeader(library.header)) {
      missing.set(twin, `there is no ${library.header} to build its twin with`)
      continue
    }
    const flags = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror']
    const args = [...flags, '-o', join(folder, twin), join(native, `${twin}.c`)]
    const done = spawnSync(CC, library === undefined ? args : [...args, library.flag], { encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`compiling native/${twin}.c failed:\n${done.stderr}`)
  }
  return (twin) => missing.get(twin)
}

function hasHeader(header: string): boolean {
  const input = `#include <${header}>\n`
  return spawnSync(CC, ['-E', '-x', 'c', '-', '-o', '/dev/null'], { input, encoding: 'utf8' }).status === 0
}

function sampleOf(program: string, args: readonly string[]): Sample {
  // What the caller's node was told (a loader, say) is not for the measured one.
  const env = { ...process.env, NODE_OPTIONS: '' }
  const done = spawnSync(program, args, { encoding: 'utf8', env, maxBuffer: 1 << 24 })
  if (done.status !== 0) {
    throw new Error(
      `${[program, ...args].join(' ')}: exit ${done.status ?? done.signal ?? ''}\n${done.stderr}`,
    )
  }
  const sample: unknown = JSON.parse(done.stdout)
  if (!isSample(sample)) throw new Error(`${program} printed no sample: ${done.stdout.slice(0, 200)}`)
  return sample
}

function isSample(value: unknown): value is Sample {
  if (typeof value !== 'object' || value === null) return false
  if (!('ms' in value && 'counts' in value && 'hashes' in value)) return false
  return (
    isRecordOf(value.ms, (rounds) => Array.isArray(rounds) && rounds.every(isNumber)) &&
    isRecordOf(value.counts, isNumber) &&
    isRecordOf(value.hashes, isNumber)
  )
}

const isNumber = (value: unknown): boolean => typeof value === 'number'

const isRecordOf = (value: unknown, isOne: (one: unknown) => boolean): boolean =>
  typeof value === 'object' && value !== null && Object.values(value).every(isOne)
