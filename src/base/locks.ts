/**
 * The kernel's locks over a `Cpu`, for what is not the page lock: each is a few bits of a cell.
 *
 * Waiting is a guard, not a loop: a task that waits takes no step. Whether a lock's waiters sleep, and whether its
 * holder can be interrupted, is a property of its class (the checker's `LockRules`), not of the call.
 *
 * A sequence count lets readers go without a lock and look again:
 *   for (;;) {
 *     cpu.at('read')
 *     const seq = readSeqbegin(cpu, cells, i)
 *     const value = cpu.load(…)
 *     if (!readSeqretry(cpu, cells, i, seq)) return value
 *   }
 *
 * A wait queue is a cell with a bit for each waiter. Who waits puts himself on the queue, looks at the condition
 * again, and only then sleeps, or the wake-up that comes in between is lost:
 *   prepareToWait(cpu, queue, i, me)
 *   if (!condition(cpu)) sleep(cpu, queue, i, me)
 *   finishWait(cpu, queue, i, me)
 *
 * @kernel include/linux/spinlock.h, mutex.h, seqlock.h, wait.h: the same operations under the same names
 */

import type { Cpu } from './cpu.ts'
import type { Cells } from './units.ts'

/** The bit of a lock word. */
const LOCKED = 1

/** Takes a spinlock, waiting for its holder. */
export function spinLock<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): void {
  cpu.lock(cells, i, LOCKED)
}

/** Pairs with spinLock(). */
export function spinUnlock<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): void {
  cpu.unlock(cells, i, LOCKED)
}

/** Takes a mutex. @sleeps */
export function mutexLock<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): void {
  cpu.lock(cells, i, LOCKED)
}

/** Takes a mutex if it is free. */
export function mutexTrylock<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): boolean {
  return cpu.tryLock(cells, i, LOCKED)
}

/** Pairs with mutexLock(). */
export function mutexUnlock<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): void {
  cpu.unlock(cells, i, LOCKED)
}

/** Begins a write: the count is odd until writeSeqcountEnd(). Writers exclude each other by a lock of their own. */
export function writeSeqcountBegin<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): void {
  cpu.add(cells, i, 1)
}

/** Pairs with writeSeqcountBegin(). */
export function writeSeqcountEnd<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): void {
  cpu.add(cells, i, 1)
}

/** The count, once no write is under way. */
export function readSeqbegin<I extends number>(cpu: Cpu, cells: Cells<I>, i: NoInfer<I>): number {
  cpu.waitClear(cells, i, 1)
  return cpu.load(cells, i) & ~1 // a write that began just now is seen by readSeqretry()
}

/** True if somebody wrote since readSeqbegin(): what was read counts for nothing. */
export function readSeqretry<I extends number>(
  cpu: Cpu,
  cells: Cells<I>,
  i: NoInfer<I>,
  seq: number,
): boolean {
  return cpu.load(cells, i) !== seq
}

/** Puts waiter `me` (a bit) on the queue. */
export function prepareToWait<I extends number>(cpu: Cpu, queue: Cells<I>, i: NoInfer<I>, me: number): void {
  cpu.testSet(queue, i, me)
}

/** Sleeps until somebody has woken the queue since prepareToWait(). @sleeps */
export function sleep<I extends number>(cpu: Cpu, queue: Cells<I>, i: NoInfer<I>, me: number): void {
  cpu.waitClear(queue, i, me)
}

/** Takes waiter `me` off the queue. Pairs with prepareToWait(). */
export function finishWait<I extends number>(cpu: Cpu, queue: Cells<I>, i: NoInfer<I>, me: number): void {
  cpu.testClear(queue, i, me)
}

/** Wakes everybody who is on the queue. */
export function wakeUp<I extends number>(cpu: Cpu, queue: Cells<I>, i: NoInfer<I>): void {
  cpu.testClear(queue, i, -1)
}
