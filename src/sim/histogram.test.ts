/** The histogram: quantiles to an eighth of their size, counts exact. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Histogram } from './histogram.ts'

test('quantiles are at most an eighth below the true ones; count, sum and largest are exact', () => {
  const values = fc.array(fc.nat(2 ** 31 - 1), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(values, fc.integer({ min: 1, max: 100 }), (all, percent) => {
      const histogram = new Histogram()
      for (const value of all) histogram.add(value)
      const sorted = all.toSorted((a, b) => a - b)
      const exact = sorted[Math.ceil((percent / 100) * all.length) - 1]
      const found = histogram.quantile(percent / 100)
      expect(found).toBeLessThanOrEqual(exact)
      expect(found).toBeGreaterThanOrEqual(exact - exact / 8)
      expect([histogram.count, histogram.max]).toEqual([all.length, sorted[all.length - 1]])
      expect(histogram.buckets().reduce((sum, [, count]) => sum + count, 0)).toBe(all.length)
    }),
  )
  expect(new Histogram().quantile(0.5)).toBe(0)
})
