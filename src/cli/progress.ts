/**
 * How far a long run is: a bar where stderr is a terminal, else a line every ten seconds.
 */

import { SingleBar } from 'cli-progress'

const EVERY_MS = 10_000

export class Progress {
  private readonly bar: SingleBar | undefined
  private readonly total: number
  private last = Date.now()

  /** `total` parts of work, called `what`. */
  constructor(what: string, total: number) {
    this.total = total
    if (!process.stderr.isTTY) return
    this.bar = new SingleBar({
      format: `${what} [{bar}] {value}/{total} {note}`,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
    })
    this.bar.start(total, 0, { note: '' })
  }

  /** So many parts are done. */
  update(done: number, note: string): void {
    this.bar?.update(done, { note })
    if (this.bar !== undefined || Date.now() - this.last < EVERY_MS) return
    this.last = Date.now()
    process.stderr.write(`${Math.floor(done)} of ${this.total} done: ${note}\n`)
  }

  end(): void {
    this.bar?.stop()
  }
}
