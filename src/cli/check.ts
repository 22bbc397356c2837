/**
 * `drover check [MODEL | --driver FILE]`: explore every interleaving of a protocol, or hold a driver to the
 * contract of movable operations. Without either, lists the models.
 *
 * Not here: the work (check_job.ts, driver_job.ts), the worker (run_in_worker.ts), the models (src/models).
 */

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings'
import { MODELS } from '../models/index.ts'
import type { Model, ModelSize } from '../models/model.ts'
import { MODELS_SCHEMA, STRATEGIES } from './check_job.ts'
import { modelNamed, unknownModel } from './check_text.ts'
import { EXIT_USAGE } from './report.ts'
import { runInWorker } from './run_in_worker.ts'
import { table } from './table.ts'

const STATES_MAX = 10_000_000
const SCHEDULES = 100_000

/** Adds `check` to `program`. */
export function registerCheck(program: Command): void {
  program
    .command('check')
    .summary('explore every interleaving of a protocol, or check a driver against the contract')
    .description(
      'Explore every interleaving of a model of the mobility protocols and name the rule that breaks, with the\n' +
        'shortest schedule that breaks it; or run a driver against the standard adversaries, clause by clause.\n' +
        'Without a model, list them. Exits with 0: all explored, nothing broken; 1: broken; 5: a bound was reached.',
    )
    .argument('[model]', 'which model')
    .option('--driver <file>', 'a driver module (TypeScript or JavaScript) instead of a model')
    .option('--seeded <name>', 'the model with one of its known mistakes')
    .option('--actors <n>', 'tasks of the kind that the model multiplies', parseCount)
    .option('--pages <n>', 'pages', parseCount)
    .addOption(
      new Option('--strategy <name>', 'exhaustive gives a verdict; the others only look for a broken rule')
        .choices(['exhaustive', ...STRATEGIES.map(({ name }) => name)])
        .default('exhaustive'),
    )
    .option('--no-reductions', 'explore every order and every name, also those that make no difference')
    .option('--max-states <n>', 'stop after so many states, with "incomplete"', parseCount, STATES_MAX)
    .option(
      '--schedules <n>',
      'schedules of a strategy that follows them one at a time',
      parseCount,
      SCHEDULES,
    )
    .option('--seed <n>', 'seed of what is random', parseCount, 1)
    .addOption(new Option('--emit <format>', 'print the learnt automata instead').choices(['promela']))
    .option('--json', 'print JSON on stdout')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  drover check\n' +
        '  drover check isolate-free\n' +
        '  drover check isolate-free --seeded no-isolated-mark\n' +
        '  drover check isolate-free --actors 3 --json | jq .states\n' +
        '  drover check --driver examples/drivers/list_driver.ts\n' +
        '  drover check isolate-free --emit promela > isolate.pml',
    )
    .action((name, options, command) => {
      const json = options.json === true
      const given = Object.keys(options).filter((option) => command.getOptionValueSource(option) === 'cli')
      if (options.driver !== undefined) {
        if (name !== undefined) return refuseUsage('a model and --driver at once; it is one or the other')
        const foreign = given.filter((option) => MODEL_OPTIONS.includes(option))
        if (foreign.length > 0)
          return refuseUsage(`${optionText(foreign[0])} is for models, not for --driver`)
        const { driver: file, actors, pages, maxStates: statesMax } = options
        if ((actors ?? 1) > DRIVER_ACTORS_MAX)
          return refuseUsage(`a driver is checked with at most ${DRIVER_ACTORS_MAX} actors`)
        if ((pages ?? 1) > DRIVER_PAGES_MAX)
          return refuseUsage(`a driver is checked with at most ${DRIVER_PAGES_MAX} pages`)
        const folder = mkdtempSync(join(tmpdir(), 'drover-driver-'))
        runInWorker({ kind: 'driver', file, folder, actors, pages, statesMax }, json)
        return undefined
      }
      if (name === undefined) {
        const alone = given.find((option) => option !== 'json')
        return alone === undefined
          ? listModels(json)
          : refuseUsage(`${optionText(alone)} needs a model; drover check lists them`)
      }
      if (options.emit !== undefined && json)
        return refuseUsage('--emit prints Promela; --json does not go with it')
      const model = modelNamed(name)
      if (model === undefined) return refuseUsage(unknownModel(name))
      const size = sizeOf(model, options.actors, options.pages)
      if (typeof size === 'string') return refuseUsage(size)
      const { seeded } = options
      if (seeded !== undefined && !Object.keys(model.seeded).includes(seeded)) {
        const names = Object.keys(model.seeded)
        return refuseUsage(`${name} has no mistake "${seeded}"; it has ${names.join(', ')}`)
      }
      const { strategy, reductions, maxStates: statesMax, schedules, seed, emit } = options
      const kind = emit === undefined ? 'model' : 'promela'
      runInWorker({ kind, model: name, size, seeded, strategy, reductions, statesMax, schedules, seed }, json)
      return undefined
    })
}

/** Options that say nothing about a driver. */
const MODEL_OPTIONS = ['seeded', 'strategy', 'reductions', 'schedules', 'seed', 'emit']
const DRIVER_ACTORS_MAX = 4
const DRIVER_PAGES_MAX = 2

/** `maxStates` as it is typed: `--max-states`. */
const optionText = (option: string): string =>
  option === 'reductions'
    ? '--no-reductions'
    : `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

function parseCount(text: string): number {
  const count = Number(text)
  if (/^\d+$/.test(text) && count >= 1 && count < 2 ** 31) return count
  throw new InvalidArgumentError('It is a whole number from 1 on.')
}

function refuseUsage(why: string): void {
  process.stderr.write(`drover: ${why}\n`)
  process.exitCode = EXIT_USAGE
}

/** The size that was asked for, or what is wrong with it. */
function sizeOf(model: Model, actors = model.size.actors, pages = model.size.pages): ModelSize | string {
  const { sizeMax } = model
  if (actors <= sizeMax.actors && pages <= sizeMax.pages) return { actors, pages }
  return `${model.name} has at most ${sizeMax.actors} actors and ${sizeMax.pages} pages`
}

function listModels(json: boolean): void {
  if (json) {
    const models = MODELS.map(({ name, question, source, seeded, size }) => ({
      name,
      question,
      source,
      seeded: Object.keys(seeded),
      size,
    }))
    process.stdout.write(`${JSON.stringify({ schema: MODELS_SCHEMA, models })}\n`)
    return
  }
  const rows = MODELS.flatMap(({ name, question, seeded }) => [
    [name, question],
    ...Object.entries(seeded).map(([mistake, what]) => [`  ${mistake}`, `  ${what}`]),
  ])
  process.stdout.write(
    `Models, and below each the mistakes that it must find (--seeded NAME)\n\n${table('ll', rows)}\n` +
      'drover check MODEL explores one; drover check --driver FILE.ts checks a driver.\n',
  )
}
