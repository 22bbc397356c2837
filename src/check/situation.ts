/**
 * Where a task is, as properties can ask: what it has said with `cpu.at` last, or that it has ended and with what.
 */

/** Where a task is, as it has said with `cpu.at`, or that it has ended. */
export interface Situation {
  readonly id: number
  /** '' before the first `cpu.at` and after the end. */
  readonly label: string
  readonly a: number
  readonly b: number
  /** What it has returned; undefined while it runs. */
  readonly result: number | undefined
}

/** Every situation of any task, interned. */
export class Situations {
  readonly all: Situation[] = []
  readonly begin: Situation
  private readonly byKey = new Map<string, Situation>()

  constructor() {
    this.begin = this.at('', 0, 0)
  }

  at(label: string, a: number, b: number): Situation {
    return this.intern(`${label}\0${a}\0${b}`, { label, a, b, result: undefined })
  }

  ended(result: number): Situation {
    return this.intern(`ended ${result}`, { label: '', a: 0, b: 0, result })
  }

  private intern(key: string, situation: Omit<Situation, 'id'>): Situation {
    let known = this.byKey.get(key)
    if (known === undefined) {
      known = { id: this.all.length, ...situation }
      this.all.push(known)
      this.byKey.set(key, known)
    }
    return known
  }
}
