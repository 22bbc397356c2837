/**
 * The worker in which the checker runs: a V8 isolate of its own, which the engine's fast path never shares
 * (docs/decisions/0003), and which can be stopped when a driver's code does not return.
 *
 * Gets one job, answers once. Counts runs of tasks' code in shared memory, so that the main thread sees whether
 * anything moves.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { runModelJob } from './check_job.ts'
import type { Answer, Message, Pulse, WorkerData } from './check_protocol.ts'
import { runDriverJob } from './driver_job.ts'
import { runReplay } from './replay_job.ts'

// oxlint-disable-next-line typescript/no-unsafe-assignment -- what run_in_worker.ts has sent: Node has no type for it
const { job, beats }: WorkerData = workerData
const beat = new Int32Array(beats)
const before = process.cpuUsage()

const pulse: Pulse = {
  onRun: () => {
    beat[0]++
  },
  onEstimate: (states) => say({ kind: 'estimate', states }),
  onProgress: (states, depth, of) => {
    beat[0]++
    say({ kind: 'progress', states, depth, of, memory: process.memoryUsage().rss })
  },
}

function say(message: Message): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread of ours, not a window
  parentPort?.postMessage(message)
}

/** The answer, with the CPU time that it took. */
function answer(found: Answer): void {
  const { user, system } = process.cpuUsage(before)
  say({
    kind: 'answer',
    answer: { ...found, json: { ...found.json, cpu_ms: Math.round((user + system) / 1000) } },
  })
}

switch (job.kind) {
  case 'model':
  case 'promela':
    answer(runModelJob(job, pulse))
    break
  case 'replay':
    answer(runReplay(job))
    break
  case 'driver':
    void runDriverJob(job, pulse).then(answer)
}
