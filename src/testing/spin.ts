/**
 * Spin, for tests and benchmarks: generates, compiles and runs the verifier of a model, where `spin` and a C
 * compiler are installed.
 *
 *   const missing = spinMissing()          // a reason to skip
 *   const pan = new Pan(text, NO_REDUCTION)
 *   const { states } = pan.run([])
 *   pan.remove()
 *
 * Rules:
 *   - times are CPU times of the processes, as the shell reports them.
 *
 * @ours
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assert } from '../base/assert.ts'

/** The C compiler: gcc, unless CC names another. */
const CC = process.env['CC'] ?? 'gcc'
const OUTPUT_MAX = 1 << 24

/** Compiler flags: safety only; and without Spin's own reduction. */
export const REDUCED: readonly string[] = ['-O2', '-DSAFETY', '-DMEMLIM=8000']
export const NO_REDUCTION: readonly string[] = [...REDUCED, '-DNOREDUCE']

/** Why Spin cannot be run here; undefined if it can. */
export function spinMissing(): string | undefined {
  const missing = [
    ['spin', '-V'],
    [CC, '--version'],
  ].filter(([command, flag]) => spawnSync(command, [flag], { encoding: 'utf8' }).status !== 0)
  return missing.length === 0
    ? undefined
    : `${missing.map(([command]) => command).join(' and ')} not installed`
}

/** What a process printed, and the CPU time that it and its children took. */
export interface Ran {
  readonly output: string
  readonly cpuMs: number
}

/** Runs a program in a folder. Throws if it fails. */
export function runTimed(folder: string, command: string, args: readonly string[]): Ran {
  // `times` prints what the shell took, and on the second line what its children took.
  const script = '"$@" >output 2>&1; status=$?; times; exit $status'
  const done = spawnSync('sh', ['-c', script, 'sh', command, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
    maxBuffer: OUTPUT_MAX,
  })
  const output = spawnSync('cat', ['output'], { cwd: folder, encoding: 'utf8', maxBuffer: OUTPUT_MAX }).stdout
  assert(done.status === 0, `spin: ${command} ${args.join(' ')} failed: ${output.slice(-2000)}`)
  const [, children = ''] = done.stdout.trim().split('\n').slice(-2)
  const seconds = [...children.matchAll(/(\d+)m([\d.]+)s/g)].map(([, m, s]) => Number(m) * 60 + Number(s))
  assert(seconds.length === 2, 'spin: the shell prints user and system time')
  return { output, cpuMs: (seconds[0] + seconds[1]) * 1000 }
}

/** What a verifier says. */
export interface PanResult {
  readonly states: number
  readonly transitions: number
  readonly errors: number
  readonly vectorBytes: number
  readonly cpuMs: number
}

/** The verifier of a model, compiled. */
export class Pan {
  /** CPU time of generating and compiling it. */
  readonly buildMs: number
  private readonly folder: string

  constructor(text: string, flags: readonly string[]) {
    this.folder = mkdtempSync(join(tmpdir(), 'drover-spin-'))
    writeFileSync(join(this.folder, 'model.pml'), text)
    // Variables that are written only are not hidden, statements not merged: the states are those of the model.
    const generated = runTimed(this.folder, 'spin', ['-o2', '-o3', '-a', 'model.pml'])
    const compiled = runTimed(this.folder, CC, [...flags, '-o', 'pan', 'pan.c'])
    this.buildMs = generated.cpuMs + compiled.cpuMs
  }

  /** Searches. `hashBits`: size of its hash table. */
  run(hashBits: number): PanResult {
    const { output, cpuMs } = runTimed(this.folder, './pan', ['-m1000000', `-w${hashBits}`])
    assert(!output.includes('max search depth too small'), 'spin: the search is as deep as it has to be')
    const count = (pattern: RegExp): number => Number(pattern.exec(output)?.[1] ?? Number.NaN)
    return {
      states: count(/^\s*(\d+) states, stored/m),
      transitions: count(/^\s*(\d+) transitions/m),
      errors: count(/errors: (\d+)/),
      vectorBytes: count(/State-vector (\d+) byte/),
      cpuMs,
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
