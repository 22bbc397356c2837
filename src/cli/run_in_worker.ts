/**
 * Runs a job of the checker in a worker, prints its progress and its answer, and stops it when checked code does
 * not return.
 */

import { rmSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { grouped } from '../base/text.ts'
import type { Answer, Job, Message } from './check_protocol.ts'
import { EXIT_BUG, EXIT_INCOMPLETE, EXIT_USAGE } from './report.ts'

/** Seconds without any sign of the worker after which its code is taken to be in an endless loop. */
const SILENCE_MAX_S = 10
/** Seconds between two lines of progress: on a terminal, and elsewhere. */
const PROGRESS_S = { terminal: 1, file: 10 }

/** Does the job; prints the answer on stdout and leaves its exit code. `--debug` prints the stack of a bug. */
export function runInWorker(job: Job, json: boolean): void {
  const beats = new SharedArrayBuffer(4)
  const worker = new Worker(new URL('check_worker.js', import.meta.url), {
    workerData: { job, beats },
    execArgv: ['--enable-source-maps'], // stacks name the lines of the protocol's source, and of a driver's
  })
  const started = process.hrtime.bigint()
  const watch = watchdog(job, new Int32Array(beats), () => worker.terminate())
  let answered = false
  const show = progressPrinter(started)
  worker.on('message', (message: Message) => {
    if (message.kind === 'progress') {
      show(message)
      return
    }
    if (message.kind === 'estimate') {
      process.stderr.write(`drover: about ${grouped(message.states)} states or more, before reductions\n`)
      return
    }
    answered = true
    clearInterval(watch)
    print(message.answer, json)
    void worker.terminate()
  })
  worker.on('exit', () => {
    clearInterval(watch)
    if (job.kind === 'driver') rmSync(job.folder, { recursive: true, force: true })
    if (answered || process.exitCode !== undefined) return
    process.stderr.write(`drover: ${nameOf(job)}: ends the process before it has been checked\n`)
    process.exitCode = EXIT_USAGE
  })
  worker.on('error', (error) => {
    clearInterval(watch)
    process.exitCode = EXIT_BUG
    if (isOutOfMemory(error)) {
      process.stderr.write(
        `drover: ${nameOf(job)}: needs more memory than there is; fewer states (--max-states)\n`,
      )
      process.exitCode = EXIT_INCOMPLETE
      return
    }
    process.stderr.write(
      `drover: an unexpected error: ${error.message}\nThis is a bug of drover. Please report it with the command line.\n`,
    )
    if (process.argv.includes('--debug')) process.stderr.write(`${error.stack}\n`)
  })
}

/** What a message about the job is about. */
const nameOf = (job: Job): string => (job.kind === 'driver' ? job.file : 'the checked code')

const isOutOfMemory = (error: Error): boolean => 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY'

function print({ exit, text, json, refusal }: Answer, asJson: boolean): void {
  process.exitCode = exit
  if (refusal !== undefined) process.stderr.write(`drover: ${refusal}\n`)
  else process.stdout.write(asJson ? `${JSON.stringify(json)}\n` : text)
}

/** Ends the worker when nothing has moved for a while: a task's code is in a loop without a step. */
function watchdog(job: Job, beats: Int32Array, stop: () => Promise<number>): NodeJS.Timeout {
  let last = -1
  let silent = 0
  const timer = setInterval(() => {
    const now = Atomics.load(beats, 0)
    silent = now === last ? silent + 1 : 0
    last = now
    if (silent < SILENCE_MAX_S) return
    clearInterval(timer)
    process.stderr.write(
      `drover: ${nameOf(job)}: runs for ${SILENCE_MAX_S} s without a step; a loop that does not touch cpu?\n`,
    )
    process.exitCode = EXIT_USAGE
    void stop()
  }, 1000)
  return timer
}

function progressPrinter(started: bigint): (message: Extract<Message, { kind: 'progress' }>) => void {
  const every = process.stderr.isTTY ? PROGRESS_S.terminal : PROGRESS_S.file
  let due = every
  return ({ states, depth, memory, of }) => {
    const seconds = Number(process.hrtime.bigint() - started) / 1e9
    if (seconds < due) return
    due = seconds + every
    const how =
      of === undefined
        ? `schedules of ${depth} steps, ${grouped(Math.round(states / seconds))} states/s`
        : `${of}, ${Math.round(seconds)} s`
    process.stderr.write(`drover: ${grouped(states)} states, ${how}, ${Math.round(memory / 2 ** 20)} MiB\n`)
  }
}
