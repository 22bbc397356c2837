/** The lock table as data says what the comments of page.ts and of locks.ts say. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { LOCK_LETTERS, SLEEPING_LOCKS, TAKEN_UNDER, WRITTEN_UNDER } from './locks.ts'

test('columns that the audit guards are those whose comment has the letter of a lock that tasks take', () => {
  const page = readFileSync('src/mm/page.ts', 'utf8')
  const commented = [...page.matchAll(/^ +readonly (\w+): \w+Column\b.*\(([LRI])\)$/gm)].map(
    ([, name, letter]) => [name, letter],
  )
  const mixed = [...page.matchAll(/^ +readonly (private): \w+Column\b.*, \((L)\)/gm)].map(
    ([, name, letter]) => [name, letter],
  )
  const found = [...commented, ...mixed].map((pair) => pair.join(' '))
  expect(
    Object.entries(WRITTEN_UNDER)
      .map((pair) => pair.join(' '))
      .toSorted(),
  ).toEqual(found.toSorted())
})

test('a lock is taken under those that it is indented under', () => {
  const text = readFileSync('src/mm/locks.ts', 'utf8')
  const lines = [...text.matchAll(/^ \* ( +)\(([A-Z])\) /gm)].map(([, blanks, letter]) => ({
    depth: blanks.length,
    letter,
  }))
  expect(lines.map(({ letter }) => letter).toSorted()).toEqual([...LOCK_LETTERS].toSorted())
  lines.forEach(({ depth, letter }, i) => {
    const above = lines.slice(0, i).findLast((line) => line.depth < depth)?.letter
    if (above === undefined) return
    expect([letter, Object.entries(TAKEN_UNDER).find(([outer]) => outer === above)?.[1]]).toEqual([
      letter,
      expect.arrayContaining([letter]),
    ])
  })
})

test('nothing but the page lock and a mutex may sleep, and the page lock is waited for under nothing but those', () => {
  expect(SLEEPING_LOCKS).toEqual(['D', 'L'])
  const outer = Object.entries(TAKEN_UNDER).flatMap(([letter, inner]) =>
    (inner ?? []).includes('L') ? [letter] : [],
  )
  expect(outer).toEqual(['D', 'L'])
})
