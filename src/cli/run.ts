/**
 * `drover run SCENARIO`: simulate a scenario and its what-ifs, and say what came of each.
 *
 * Not here: what may stand in a scenario (sim/scenario.ts), the simulation (sim/run.ts), what is printed (run_text.ts).
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from '@commander-js/extra-typings'
import { parse } from 'yaml'
import {
  BASE,
  impossible,
  type ParsedScenario,
  parseScenario,
  parseVariant,
  readYamlScenario,
  runScenario,
  type Scenario,
  type ScenarioIssue,
  scenarioJsonSchema,
} from '../sim/index.ts'
import { loadModule } from './module_file.ts'
import { writeParquet } from './parquet.ts'
import { Progress } from './progress.ts'
import { EXIT_BAD_INPUT, EXIT_CANNOT_WRITE, EXIT_USAGE } from './report.ts'
import { runJson, runText, seriesColumns, type VariantRuns } from './run_text.ts'
import { setV8Flags } from './v8_flags.ts'

/** A scenario file: its variants, each ready to be run. */
interface Loaded {
  readonly scenario: Scenario
  readonly variants: readonly { readonly name: string; readonly scenario: Scenario }[]
}

/** Adds `run` to `program`. */
export function registerRun(program: Command): void {
  program
    .command('run')
    .summary('simulate a scenario and its what-ifs')
    .description(
      'Boot a machine, let its owners and tasks use it, and report what the scenario asks for: once as it is, and once\n' +
        'with each of its what-ifs. Same scenario, same seed, same version: the same output, to the byte.',
    )
    .argument('[scenario]', 'a YAML file, or a TypeScript or JavaScript module that exports a scenario')
    .option('--only <variants...>', `these variants only (${BASE}: without a what-if)`)
    .option('--set <path=value>', 'change a value of the scenario, for all variants', collect, [])
    .option('--seed <n>', 'the first seed (default: the scenario’s)', parseCount)
    .option('--repeat <n>', 'how many seeds (default: the scenario’s)', parseCount)
    .option('--json', 'print JSON on stdout')
    .option('-o, --output <file>', 'write the figures over time into this Parquet file')
    .option('--schema', 'print the JSON Schema of scenarios, for editors, and nothing else')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  drover run examples/scenarios/zram-fragmentation.yaml\n' +
        '  drover run scenario.yaml --only base --seed 7 --json | jq .metrics\n' +
        '  drover run scenario.yaml --set machine.memory=2GiB --repeat 5\n' +
        '  drover run --schema > scenario.schema.json',
    )
    .action(async (path, options) => {
      if (options.schema) {
        process.stdout.write(`${JSON.stringify(scenarioJsonSchema(), undefined, 2)}\n`)
        return
      }
      if (path === undefined)
        return fail(EXIT_USAGE, ['drover: run: which scenario? a YAML file or a module'])
      const loaded = await load(path, options.set)
      if (!('scenario' in loaded)) return fail(loaded.exit, loaded.lines)
      const unknown = (options.only ?? []).filter(
        (name) => !loaded.variants.some((each) => each.name === name),
      )
      if (unknown.length > 0) {
        const known = loaded.variants.map(({ name }) => name).join(', ')
        return fail(EXIT_USAGE, [
          `drover: ${path}: there is no variant ${unknown.join(', ')}; it has ${known}`,
        ])
      }
      const chosen = loaded.variants.filter(({ name }) => options.only?.includes(name) ?? true)
      const runs = runAll(chosen, options.seed, options.repeat)
      if (options.output !== undefined) {
        try {
          writeParquet(options.output, seriesColumns(runs))
        } catch (error) {
          const what = error instanceof Error ? error.message : String(error)
          return fail(EXIT_CANNOT_WRITE, [`drover: cannot write ${options.output}: ${what}`])
        }
      }
      const text = options.json
        ? `${JSON.stringify(runJson(path, loaded.scenario, runs))}\n`
        : runText(path, loaded.scenario, runs)
      process.stdout.write(text)
    })
}

const collect = (value: string, all: readonly string[]): string[] => [...all, value]

function parseCount(text: string): number {
  const n = Number(text)
  if (/^\d+$/.test(text) && n <= 0xffff_ffff) return n
  throw new InvalidArgumentError('It is a whole number.')
}

function fail(exit: number, lines: readonly string[]): void {
  process.stderr.write(lines.map((line) => `${line}\n`).join(''))
  process.exitCode = exit
}

type NotLoaded = { readonly exit: number; readonly lines: readonly string[] }

async function load(path: string, set: readonly string[]): Promise<Loaded | NotLoaded> {
  const changes: Record<string, unknown> = {}
  for (const each of set) {
    const equals = each.indexOf('=')
    if (equals <= 0) return { exit: EXIT_USAGE, lines: [`drover: --set ${each}: is of the form path=value`] }
    changes[each.slice(0, equals)] = parse(each.slice(equals + 1))
  }
  return /\.[cm]?[jt]s$/.test(path) ? loadScenarioModule(path, changes) : loadYaml(path, changes)
}

function loadYaml(path: string, changes: Readonly<Record<string, unknown>>): Loaded | NotLoaded {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    return { exit: EXIT_BAD_INPUT, lines: [`drover: ${path}: cannot be read: ${what}`] }
  }
  const read = readYamlScenario(text)
  if (!read.ok) {
    return {
      exit: EXIT_USAGE,
      lines: read.problems.map(
        ({ line, column, path: at, message }) =>
          `${path}:${line}:${column}: ${at === '' ? '' : `${at}: `}${message}`,
      ),
    }
  }
  return variantsOf(read.scenario, read.data, changes, (issue) => {
    const { line, column, path: at, message } = read.locate(issue)
    return `${path}:${line}:${column}: ${at === '' ? '' : `${at}: `}${message}`
  })
}

async function loadScenarioModule(
  path: string,
  changes: Readonly<Record<string, unknown>>,
): Promise<Loaded | NotLoaded> {
  const folder = mkdtempSync(join(tmpdir(), 'drover-scenario-'))
  try {
    const loaded = await loadModule(path, folder, 'a scenario module exports its scenario as default')
    if ('wrong' in loaded) return { exit: EXIT_USAGE, lines: [`drover: ${loaded.wrong}`] }
    const say = ({ path: at, message }: ScenarioIssue): string =>
      `${path}: ${at.map(String).join('.')}: ${message}`
    const parsed = parseScenario(loaded.module)
    if (!parsed.ok) return { exit: EXIT_USAGE, lines: parsed.issues.map(say) }
    return variantsOf(parsed.scenario, loaded.module, changes, say)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The scenario as it is, and with each what-if; all that is wrong with any of them. */
function variantsOf(
  plain: Scenario,
  data: unknown,
  changes: Readonly<Record<string, unknown>>,
  say: (issue: ScenarioIssue) => string,
): Loaded | NotLoaded {
  const wrong: string[] = []
  const variants: { name: string; scenario: Scenario }[] = []
  const add = (name: string, parsed: ParsedScenario): void => {
    if (!parsed.ok) {
      wrong.push(...parsed.issues.map((issue) => `${say(issue)} (variant ${name})`))
      return
    }
    const cannot = impossible(parsed.scenario)
    if (cannot === undefined) variants.push({ name, scenario: parsed.scenario })
    else wrong.push(`${say({ path: ['machine'], message: cannot })} (variant ${name})`)
  }
  add(BASE, parseVariant(data, changes))
  for (const [name, values] of Object.entries(plain.what_if))
    add(name, parseVariant(data, { ...changes, ...values }))
  return wrong.length > 0 ? { exit: EXIT_USAGE, lines: wrong } : { scenario: variants[0].scenario, variants }
}

function runAll(
  variants: Loaded['variants'],
  seed: number | undefined,
  repeat: number | undefined,
): VariantRuns[] {
  setV8Flags()
  const times = variants.map(({ scenario }) => repeat ?? scenario.repeat)
  const progress = new Progress(
    'run',
    times.reduce((sum, n) => sum + n, 0),
  )
  let done = 0
  const runs = variants.map(({ name, scenario }, i) => ({
    name,
    scenario,
    runs: Array.from({ length: times[i] }, (_, run) => {
      const result = runScenario(scenario, (seed ?? scenario.seed) + run, (phase, phases) =>
        progress.update(done + phase / phases, `${name}, phase ${Math.min(phase + 1, phases)} of ${phases}`),
      )
      done++
      return result
    }),
  }))
  progress.end()
  return runs
}
