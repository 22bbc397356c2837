/**
 * What the main thread and the checker's worker say to each other: a job, signs of life, and an answer.
 */

import type { ModelSize } from '../models/model.ts'

/** What is to be done with a model. */
export interface ModelJob {
  readonly kind: 'model'
  readonly model: string
  readonly size: ModelSize
  readonly seeded: string | undefined
  /** `exhaustive`, or a name of STRATEGIES. */
  readonly strategy: string
  readonly reductions: boolean
  readonly statesMax: number
  readonly schedules: number
  readonly seed: number
}

export interface PromelaJob extends Omit<ModelJob, 'kind'> {
  readonly kind: 'promela'
}

export interface ReplayJob {
  readonly kind: 'replay'
  readonly schedule: string
}

/** What came out of a job: what to print and how to leave. */
export interface Answer {
  readonly exit: number
  readonly text: string
  readonly json: object
  /** For stderr: why it could not be done. */
  readonly refusal?: string
}

/** Called while a job runs. */
export interface Pulse {
  /** `of`: what it is about, if there are several searches. */
  readonly onProgress: (states: number, depth: number, of?: string) => void
  readonly onEstimate: (states: number) => void
  readonly onRun: () => void
}

/** What is to be done with a driver. */
export interface DriverJob {
  readonly kind: 'driver'
  readonly file: string
  /** Where the bundled module is put; removed when the worker has ended. */
  readonly folder: string
  readonly actors: number | undefined
  readonly pages: number | undefined
  readonly statesMax: number
}

export type Job = ModelJob | PromelaJob | ReplayJob | DriverJob

/** What the worker is started with. */
export interface WorkerData {
  readonly job: Job
  readonly beats: SharedArrayBuffer
}

/** What the worker says. */
export type Message =
  | { readonly kind: 'estimate'; readonly states: number }
  | {
      readonly kind: 'progress'
      readonly states: number
      readonly depth: number
      readonly memory: number
      readonly of: string | undefined
    }
  | { readonly kind: 'answer'; readonly answer: Answer }
