/**
 * A schedule as one short string that can be pasted into a shell:
 *
 *   drover1:isolate-free:2x1:no-isolated-mark:a2b3a:5f0c2d41
 *
 * Version of the format, model, size (actors x pages), seeded mistake (`-` for none), steps, and a check sum of what
 * the steps did. Steps are runs of one instance: a letter (a for the first instance) and how many, 1 left out. The
 * check sum makes a schedule of another version of the protocol known as such: the same turns would do other things.
 */

import { hashCells } from '../base/hash.ts'
import type { Step } from './counterexample.ts'

export const SCHEDULE_VERSION = 'drover1'

export interface Schedule {
  readonly model: string
  readonly actors: number
  readonly pages: number
  readonly seeded: string | undefined
  readonly steps: readonly number[]
  readonly sum: string
}

/** The string of a schedule. */
export function formatSchedule(schedule: Schedule): string {
  const { model, actors, pages, seeded, steps, sum } = schedule
  return [SCHEDULE_VERSION, model, `${actors}x${pages}`, seeded ?? '-', turns(steps), sum].join(':')
}

/** The schedule in a string, or what is wrong with it. */
export function parseSchedule(text: string): Schedule | { readonly wrong: string } {
  const parts = text.trim().split(':')
  const [version, model, size, seeded, steps, sum] = parts
  if (!/^drover\d+$/.test(version)) return { wrong: `a schedule begins with "${SCHEDULE_VERSION}:"` }
  if (version !== SCHEDULE_VERSION) {
    return {
      wrong: `it is of version ${version}, this drover reads ${SCHEDULE_VERSION}; find it anew with drover check`,
    }
  }
  if (parts.length !== 6) return { wrong: `it has ${parts.length} parts, not 6; was it cut off?` }
  const [actors, pages] = /^(\d+)x(\d+)$/.exec(size)?.slice(1).map(Number) ?? []
  if (actors === undefined || pages === undefined)
    return { wrong: `"${size}" is no size; it is actors x pages, such as 2x1` }
  if (!/^([a-x]\d*)*$/.test(steps))
    return { wrong: `"${steps}" are no steps; they are letters a to x, each with a count` }
  if (!/^[0-9a-f]{8}$/.test(sum)) return { wrong: `"${sum}" is no check sum; was it cut off?` }
  return { model, actors, pages, seeded: seeded === '-' ? undefined : seeded, steps: instancesIn(steps), sum }
}

/** Check sum of what the steps did. */
export function sumOfSteps(steps: readonly Step[]): string {
  const text = steps.map((step) => `${step.instance} ${step.text}`).join('\n')
  const cells = Int32Array.from(text, (char) => char.codePointAt(0) ?? 0)
  return hashCells(cells).toString(16).padStart(8, '0')
}

const A = 97

function turns(steps: readonly number[]): string {
  let text = ''
  for (let i = 0; i < steps.length; ) {
    let end = i
    while (end < steps.length && steps[end] === steps[i]) end++
    text += String.fromCodePoint(A + steps[i]) + (end - i === 1 ? '' : String(end - i))
    i = end
  }
  return text
}

const instancesIn = (text: string): number[] =>
  [...text.matchAll(/([a-x])(\d*)/g)].flatMap(([, letter, count]) =>
    new Array<number>(count === '' ? 1 : Number(count)).fill((letter.codePointAt(0) ?? A) - A),
  )
