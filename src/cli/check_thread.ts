/**
 * Runs a job of the checker in a worker, prints its progress and its answer, and stops it when checked code does
 * not return.
 */

import { Worker } from 'node:worker_threads'
import { grouped } from '../base/text.ts'
import type { Answer, ModelJob, PromelaJob, ReplayJob } from './check_job.ts'
import type { Message } from './check_worker.ts'
import type { DriverJob } from './driver_job.ts'
import { EXIT_BUG, EXIT_USAGE } from './report.ts'

export type Job = ModelJob | PromelaJob | ReplayJob | DriverJob

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
    clearInterval(watch)
    print(message.answer, json)
    void worker.terminate()
  })
  worker.on('error', (error) => {
    clearInterval(watch)
    process.stderr.write(
      `drover: an unexpected error: ${error.message}\nThis is a bug of drover. Please report it with the command line.\n`,
    )
    if (process.argv.includes('--debug')) process.stderr.write(`${error.stack}\n`)
    process.exitCode = EXIT_BUG
  })
}

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
    const what = job.kind === 'driver' ? job.file : 'the checked code'
    process.stderr.write(
      `drover: ${what}: runs for ${SILENCE_MAX_S} s without a step; is there a loop that does not touch cpu?\n`,
    )
    process.exitCode = EXIT_USAGE
    void stop()
  }, 1000)
  return timer
}

function progressPrinter(started: bigint): (message: Extract<Message, { kind: 'progress' }>) => void {
  const every = process.stderr.isTTY ? PROGRESS_S.terminal : PROGRESS_S.file
  let due = every
  return ({ states, depth, memory }) => {
    const seconds = Number(process.hrtime.bigint() - started) / 1e9
    if (seconds < due) return
    due = seconds + every
    const rate = grouped(Math.round(states / seconds))
    process.stderr.write(
      `drover: ${grouped(states)} states, schedules of ${depth} steps, ${rate} states/s, ${Math.round(memory / 2 ** 20)} MiB\n`,
    )
  }
}
