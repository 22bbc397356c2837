/**
 * Counts of values by size: eight buckets for each power of two, so that a quantile is right to 12 percent.
 *
 * @ours
 */

const PER_OCTAVE = 8

/** Index of the bucket: exact below 8. */
function bucketOf(value: number): number {
  if (value < PER_OCTAVE) return Math.floor(value)
  let octave = 0
  let rest = value
  for (; rest >= 2 * PER_OCTAVE; rest /= 2) octave++
  return PER_OCTAVE * (octave + 1) + Math.floor(rest) - PER_OCTAVE
}

/** The smallest value of a bucket. */
function floorOf(bucket: number): number {
  if (bucket < PER_OCTAVE) return bucket
  const octave = Math.floor(bucket / PER_OCTAVE) - 1
  return (PER_OCTAVE + (bucket % PER_OCTAVE)) * 2 ** octave
}

export class Histogram {
  private readonly counts: number[] = []
  /** Values so far. */
  count = 0
  sum = 0
  max = 0

  /** Counts a value that is not negative. */
  add(value: number): void {
    const bucket = bucketOf(value)
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1
    this.count++
    this.sum += value
    this.max = Math.max(this.max, value)
  }

  /** The value that a share of all is not above, to the bucket; 0 if there are none. */
  quantile(share: number): number {
    let left = Math.ceil(share * this.count)
    for (let bucket = 0; bucket < this.counts.length; bucket++) {
      left -= this.counts[bucket] ?? 0
      if (left <= 0 && this.count > 0) return floorOf(bucket)
    }
    return this.max
  }

  /** Buckets that hold anything: smallest value, and how many. */
  buckets(): [from: number, count: number][] {
    return this.counts.flatMap((count, bucket): [number, number][] =>
      (count ?? 0) === 0 ? [] : [[floorOf(bucket), count]],
    )
  }
}
