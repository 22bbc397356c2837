/**
 * /proc/vmstat: the machine's counters, by the kernel's names.
 *
 * @kernel mm/vmstat.c vmstat_show() v6.18
 */

import { bad, ok, type Result } from '../../base/result.ts'

/** Counters of a /proc/vmstat text. Which there are depends on the kernel. */
export function parseVmstat(text: string): Result<ReadonlyMap<string, number>> {
  const counters = new Map<string, number>()
  for (const [at, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const match = /^(\w+) (-?\d+)$/.exec(line)
    if (!match) {
      return bad(
        'vmstat',
        `line ${at + 1}`,
        'not a counter and its value',
        'capture again, with /proc/vmstat read whole',
      )
    }
    counters.set(match[1], Number(match[2]))
  }
  return ok(counters)
}
