/** Reading scenarios: everything that is wrong at once, each with its place in the text; and what-ifs. */

import { expect, test } from 'vitest'
import { scenarioJsonSchema } from './scenario.ts'
import { parseVariant } from './what_if.ts'
import { readYamlScenario } from './yaml_scenario.ts'

const GOOD = `
question: Is there a huge page?
machine: { memory: 8MiB }
phases:
  - name: ask
    tasks:
      - { task: request, order: 9, of: kernel }
metrics:
  got: { success: request }
what_if:
  large: { machine.memory: 16MiB, machine.sysctl.swappiness: 10, phases.0.tasks.0.order: 3 }
`

const problems = (text: string): string[] => {
  const read = readYamlScenario(text)
  return read.ok ? [] : read.problems.map((p) => `${p.line}:${p.column}: ${p.path}: ${p.message}`)
}

test('a scenario is read with its defaults', () => {
  const read = readYamlScenario(GOOD)
  expect(read.ok && read.scenario).toMatchObject({
    machine: { nodes: [{ pages: 2048, movable: 0 }], cpus: 2, kernel: '6.18' },
    seed: 1,
    repeat: 1,
    sample_every: 1e8,
  })
})

test('all that is wrong is said at once, each with line, column and path', () => {
  const text = `question: 5
machine: { memory: 255MiBB, cpus: 0, sysctl: { foo: 1 } }
owners: { b: { kind: nothing } }
phases:
  - name: x
    tasks:
      - { task: request, order: 11, of: thp }
      - { task: nonsense }
      - { task: wait, for: 5s, colour: red }
`
  expect(problems(text).map((problem) => problem.replace(/one of .* is/, 'one of … is'))).toEqual([
    '1:1: question: Invalid input: expected string, received number',
    '2:12: machine.memory: "255MiBB" is not a size, as 4KiB, 128MiB, 1GiB',
    '2:29: machine.cpus: Too small: expected number to be >=1',
    '2:48: machine.sysctl.foo: no such setting',
    '3:16: owners.b.kind: one of … is expected',
    '7:26: phases.0.tasks.0.order: Too big: expected number to be <=10',
    '8:11: phases.0.tasks.1.task: one of … is expected',
    '9:32: phases.0.tasks.2.colour: unknown key "colour"',
  ])
})

test('names that lead nowhere are found', () => {
  const text = `${GOOD}published:
  small: { got: { value: 1 } }
  large: { lost: { value: 1 } }
`.replace('{ success: request }', '{ free_share: 3, at: nowhere }')
  expect(problems(text)).toEqual([
    '9:25: metrics.got.at: there is no phase nowhere',
    '13:3: published.small: there is no what_if small',
    '14:12: published.large.lost: there is no metric lost',
  ])
  const twice = GOOD.replace('metrics:', '  - { name: ask, tasks: [{ task: compact }] }\nmetrics:')
  expect(problems(twice)).toEqual(['8:7: phases.1.name: there are two phases ask'])
})

test('owners that cannot be together, and a balloon larger than memory', () => {
  const text = GOOD.replace(
    'phases:',
    'owners: { a: { kind: pool }, b: { kind: pool }, c: { kind: balloon } }\nphases:',
  )
  const tasks = '{ task: balloon, owner: c, size: 16MiB }, { task: balloon, owner: a, size: 1MiB }'
  expect(problems(text.replace('metrics:', `  - { name: more, tasks: [${tasks}] }\nmetrics:`))).toEqual([
    "4:30: owners.b: pages of type zsmalloc are a's already",
    '9:54: phases.1.tasks.0.size: is more than the memory of the machine',
    '9:86: phases.1.tasks.1.owner: a is a pool; this task needs a balloon',
  ])
})

test('YAML that is none, and a key that is there twice', () => {
  expect(problems('question: [')[0]).toMatch(/^1:12: : /)
  expect(problems(`${GOOD}question: again\n`)[0]).toMatch(/^12:1: : Map keys must be unique/)
})

test('a what-if changes values by path, makes what is left out, and nothing else', () => {
  const read = readYamlScenario(GOOD)
  if (!read.ok) throw new Error('the scenario is good')
  const before = JSON.stringify(read.data)
  const variant = parseVariant(read.data, read.scenario.what_if['large'])
  expect(variant.ok && variant.scenario.machine).toMatchObject({
    nodes: [{ pages: 4096 }],
    sysctl: { swappiness: 10 },
  })
  expect(JSON.stringify(read.data)).toBe(before)
  const wrong = parseVariant(read.data, { 'phases.7.name': 'x', 'machine.memory.of': 1, 'machine.colour': 2 })
  expect(!wrong.ok && wrong.issues.map(({ message }) => message)).toEqual([
    'there is nothing at phases.7.name to change',
    'there is nothing at machine.memory.of to change',
  ])
  const unknown = parseVariant(read.data, { 'machine.colour': 2 })
  expect(!unknown.ok && unknown.issues).toEqual([
    { path: ['machine', 'colour'], message: 'unknown key "colour"' },
  ])
})

test('the JSON Schema has every kind of task, with what its fields mean', () => {
  const text = JSON.stringify(scenarioJsonSchema())
  for (const kind of ['read-files', 'processes', 'map', 'unmap', 'request', 'compact', 'wait']) {
    expect(text).toContain(`"const":"${kind}"`)
  }
  expect(text).toContain('"description":"of all files together"')
})
