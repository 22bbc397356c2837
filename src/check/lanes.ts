/**
 * A counterexample as text: one lane an actor, time downwards; at the right what each step changed, and where in the
 * source it stands.
 *
 *   step  compactor                        owner                  changed              at
 *      1  addUnlessZero refcount[8]: yes   |                      refcount[8] 1 -> 2   movable_ops.ts:160
 *      2  |                                lock flags[8] locked # flags[8] +locked     page_pool.ts:96
 *
 * A `#` behind a step stands for each lock that the task holds after it. The step after which nothing can end
 * well is marked.
 */

import type { Report } from './check.ts'
import type { Change, Counterexample, Step } from './counterexample.ts'
import { lineText } from './source_line.ts'
import { instancesOf, type System } from './system.ts'

/** What is drawn of a report. */
export type Drawn = Pick<Report, 'counterexample' | 'pointOfNoReturn' | 'lasso'>

/** Draws the counterexample of a report; '' if there is none. */
export function drawLanes(system: System, report: Drawn): string {
  const { counterexample, pointOfNoReturn } = report
  if (counterexample === undefined) return ''
  const names = instancesOf(system).map(({ name }) => name)
  const held: number[] = names.map(() => 0)
  const rows = counterexample.steps.map((step, i) => {
    held[step.instance] = step.held.length
    const lanes = names.map((_, lane) => laneText(step, lane, held))
    return [String(i + 1).padStart(4), ...lanes, changesText(step), lineText(step.stack)]
  })
  const lines = aligned([['step', ...names, 'changed', 'at'], ...rows])
  const body = lines.slice(1).flatMap((line, i) => [...marksBefore(i + 1, report), line])
  const before = pointOfNoReturn === 0 ? ['Every schedule of these tasks breaks a rule.'] : []
  return [...before, lines[0], ...body, '', verdictText(names, counterexample), ''].join('\n')
}

function marksBefore(step: number, { pointOfNoReturn, lasso }: Drawn): string[] {
  if (lasso !== undefined && step === lasso.prefix.length + 1)
    return ['      -- from here on, again and again --']
  if (pointOfNoReturn !== step) return []
  return ['      -- point of no return: after the next step no continuation ends well --']
}

function verdictText(names: readonly string[], { violation }: Counterexample): string {
  const { name, says, kind, instance } = violation
  const what = name === says || name === '' ? says : `${name}: ${says}`
  return instance < 0 || kind === 'deadlock' || kind === 'livelock' ? what : `${names[instance]}: ${what}`
}

function laneText(step: Step, lane: number, held: readonly number[]): string {
  if (lane !== step.instance) return `|${' #'.repeat(held[lane])}`
  const returned = step.returned === undefined ? '' : `, returns ${step.returned}`
  return `${step.text}${returned}${' #'.repeat(held[lane])}`
}

const changesText = (step: Step): string =>
  step.changes
    .filter(({ from, to }) => from !== to)
    .map(changeText)
    .join(', ')

/** Counts as `1 -> 2`; sets of bits as what comes and what goes. */
function changeText({ cell, from, to }: Change): string {
  if (isNumber(from) && isNumber(to)) return `${cell} ${from} -> ${to}`
  const [before, after] = [from, to].map((text) => (text === '0' ? [] : text.split('|')))
  const come = after.filter((bit) => !before.includes(bit)).map((bit) => `+${bit}`)
  const go = before.filter((bit) => !after.includes(bit)).map((bit) => `-${bit}`)
  return before.length + after.length > 2 || from === '0' || to === '0'
    ? `${cell} ${[...come, ...go].join(' ')}`
    : `${cell} ${from} -> ${to}`
}

const isNumber = (text: string): boolean => /^-?(0x)?[\da-f]+$/.test(text)

/** Pads every column but the last to its widest cell. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) =>
    rows.reduce((width, row) => Math.max(width, row[column].length), 0),
  )
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  )
}
