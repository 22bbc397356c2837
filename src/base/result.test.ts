/** Results and assertions: the three kinds of wrong are told apart. */

import { expect, test } from 'vitest'
import { AssertionError, assert, fail } from './assert.ts'
import { bad, describeInputError, ok } from './result.ts'

test('bad input is a value that says where, what, and what to do', () => {
  const result = bad('capture', 'byte 7', 'truncated', 'copy it again')
  expect(result.ok ? '' : describeInputError(result.error)).toBe('capture: byte 7: truncated; copy it again')
  expect(ok(3)).toEqual({ ok: true, value: 3 })
})

test('a bug throws, with its literal', () => {
  expect(() => assert(true, 'never seen')).not.toThrow()
  expect(() => assert(false, 'list: on two lists')).toThrow(new AssertionError('list: on two lists'))
  expect(() => fail('unreachable')).toThrow(AssertionError)
  expect(new AssertionError('x').name).toBe('AssertionError')
})
