/**
 * A scenario: a machine, who owns pages on it, what happens in which order, and what is to be reported.
 *
 *   parsed = parseScenario(data)       // data: what YAML or a module gives
 *   if (parsed.ok) runScenario(parsed.scenario, { seed: 1 })
 *
 * Not here: reading YAML and where in its text something stands (yaml_scenario.ts).
 *
 * @ours
 */

import * as z from 'zod'
import { RULES_6_1, RULES_6_12, RULES_6_18, SYSCTL_DEFAULTS } from '../mm/index.ts'
import { pageblock_nr_pages } from '../mm/limits.ts'
import { COST_NAMES } from './costs.ts'
import { metric } from './metrics.ts'
import { owner } from './owners/index.ts'
import { count, duration, pages } from './quantities.ts'
import { task } from './tasks/index.ts'

const KERNELS = { '6.1': RULES_6_1, '6.12': RULES_6_12, '6.18': RULES_6_18 } as const
const SETTINGS = Object.keys(SYSCTL_DEFAULTS)

const name = z.string().regex(/^[A-Za-z][\w-]*$/, 'a name begins with a letter: letters, digits, - and _')
const wholePageblocks = pages.refine((n) => n > 0 && n % pageblock_nr_pages === 0, {
  error: 'memory is a multiple of 2MiB',
})

const node = z.strictObject({
  memory: wholePageblocks,
  movable: pages
    .refine((n) => n % pageblock_nr_pages === 0, { error: 'a zone is a multiple of 2MiB' })
    .default(0)
    .meta({ description: 'of it, ZONE_MOVABLE' }),
})

const machine = z
  .strictObject({
    memory: wholePageblocks.optional().meta({ description: 'of the one node; or say nodes' }),
    nodes: z.array(node).min(1).max(16).optional(),
    cpus: count.min(1).max(64).default(2),
    swap: pages.default(0),
    kernel: z.enum(['6.1', '6.12', '6.18']).default('6.18'),
    min_free_kbytes: count.optional(),
    sysctl: z
      .record(
        z.string().refine((key) => SETTINGS.includes(key), { error: 'no such setting' }),
        z.int(),
      )
      .default({}),
    thp: z
      .strictObject({
        enabled: z.enum(['always', 'madvise', 'never']).optional(),
        defrag: z.enum(['always', 'defer', 'defer+madvise', 'madvise', 'never']).optional(),
      })
      .default({}),
  })
  .refine((spec) => (spec.memory === undefined) !== (spec.nodes === undefined), {
    error: 'say either memory or nodes',
  })
  .transform((spec) => ({
    ...spec,
    nodes: (spec.nodes ?? [{ memory: spec.memory ?? 0, movable: 0 }]).map(({ memory, movable }) => ({
      pages: memory,
      movable,
    })),
    rules: KERNELS[spec.kernel],
  }))

const phase = z.strictObject({
  name,
  for: duration.optional().meta({ description: 'ends after so long; default: when its tasks are done' }),
  tasks: z.array(task).min(1),
})

const published = z.strictObject({
  value: z.number(),
  source: z.string().optional(),
})

/** What may stand in a scenario. */
export const scenarioSchema = z
  .strictObject({
    question: z.string().meta({ description: 'what the scenario answers' }),
    source: z.string().optional().meta({ description: 'where it is from' }),
    machine,
    owners: z.record(name, owner).default({}),
    phases: z.array(phase).min(1),
    metrics: z.record(name, metric).default({}),
    what_if: z
      .record(name, z.record(z.string(), z.json()))
      .default({})
      .meta({ description: 'variants: values by path, as owners.zram0.movable' }),
    published: z
      .record(name, z.record(name, published))
      .default({})
      .meta({ description: 'figures of others: by variant (base: without a what-if) and metric' }),
    costs: z
      .record(
        z
          .string()
          .refine((key) => COST_NAMES.includes(key), { error: 'nothing of that name costs anything' }),
        z.number().min(0),
      )
      .default({})
      .meta({ description: 'nanoseconds, by event or work' }),
    sample_every: duration.default(100e6).meta({ description: 'between two points of the series' }),
    seed: z.int().min(0).max(0xffff_ffff).default(1),
    repeat: count.min(1).default(1).meta({ description: 'with that many seeds from `seed` on' }),
  })
  .superRefine((scenario, context) => {
    const issue = (path: PropertyKey[], message: string): void =>
      context.addIssue({ code: 'custom', path, message })
    const names = scenario.phases.map((each) => each.name)
    const memory = scenario.machine.nodes.reduce((sum, each) => sum + each.pages, 0)
    const regions = new Set(scenario.phases.flatMap(({ tasks }) => tasks.flatMap(({ maps }) => maps ?? [])))
    scenario.phases.forEach((each, i) => {
      if (names.indexOf(each.name) < i) issue(['phases', i, 'name'], `there are two phases ${each.name}`)
      each.tasks.forEach((plan, j) => {
        if (plan.device !== undefined && scenario.owners[plan.device]?.isDevice !== true) {
          issue(['phases', i, 'tasks', j, 'to'], `${plan.device} is no owner that holds files`)
        }
        if (plan.region !== undefined && !regions.has(plan.region)) {
          issue(['phases', i, 'tasks', j, 'of'], `there is no task map of the name ${plan.region}`)
        }
        if ((plan.takes ?? 0) > memory) {
          issue(['phases', i, 'tasks', j, 'size'], 'is more than the memory of the machine')
        }
        if (plan.owner === undefined) return
        const found = scenario.owners[plan.owner.name]
        const where = ['phases', i, 'tasks', j, 'owner']
        if (found === undefined) issue(where, `there is no owner ${plan.owner.name}`)
        else if (found.kind !== plan.owner.kind) {
          issue(where, `${plan.owner.name} is a ${found.kind}; this task needs a ${plan.owner.kind}`)
        }
      })
    })
    const types = new Map<string, string>()
    for (const [key, { pageType }] of Object.entries(scenario.owners)) {
      const other = pageType === undefined ? undefined : types.get(pageType)
      if (other !== undefined) issue(['owners', key], `pages of type ${pageType} are ${other}'s already`)
      if (pageType !== undefined) types.set(pageType, key)
    }
    for (const [key, of] of Object.entries(scenario.metrics)) {
      for (const where of ['at', 'over'] as const) {
        const wanted: unknown = where in of ? Reflect.get(of, where) : undefined
        if (typeof wanted === 'string' && !names.includes(wanted)) {
          issue(['metrics', key, where], `there is no phase ${wanted}`)
        }
      }
    }
    for (const [variant, figures] of Object.entries(scenario.published)) {
      if (variant !== BASE && !(variant in scenario.what_if)) {
        issue(['published', variant], `there is no what_if ${variant}`)
      }
      for (const key of Object.keys(figures)) {
        if (!(key in scenario.metrics)) issue(['published', variant, key], `there is no metric ${key}`)
      }
    }
  })

/** The variant without any what-if. */
export const BASE = 'base'

/** A scenario that can be run. */
export type Scenario = z.output<typeof scenarioSchema>

/** One thing that is wrong with a scenario, and where: keys and indices from its top. */
export interface ScenarioIssue {
  readonly path: readonly PropertyKey[]
  readonly message: string
}

export type ParsedScenario =
  | { readonly ok: true; readonly scenario: Scenario }
  | { readonly ok: false; readonly issues: readonly ScenarioIssue[] }

/** Reads a scenario; all that is wrong with it, if something is. */
export function parseScenario(data: unknown): ParsedScenario {
  const parsed = scenarioSchema.safeParse(data)
  if (parsed.success) return { ok: true, scenario: parsed.data }
  return { ok: false, issues: parsed.error.issues.flatMap((issue) => plain(issue, [])) }
}

/** An issue as a person can use it: of a union, what is wrong with the alternative that comes nearest. */
function plain(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): ScenarioIssue[] {
  const path = [...above, ...issue.path]
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], message: `unknown key ${JSON.stringify(key)}` }))
  }
  if (issue.code === 'invalid_key') return [{ path, message: issue.issues.at(0)?.message ?? issue.message }]
  if (issue.code === 'invalid_union') {
    const nearest = issue.errors.filter((errors) => errors.length > 0).toSorted((a, b) => depth(b) - depth(a))
    const best = nearest.at(0)
    if (best !== undefined && depth(best) > 0) return best.flatMap((inner) => plain(inner, path))
    if ('options' in issue && Array.isArray(issue.options)) {
      return [{ path, message: `one of ${issue.options.map(String).join(', ')} is expected` }]
    }
  }
  return [{ path, message: issue.message }]
}

const depth = (issues: readonly z.core.$ZodIssue[]): number =>
  issues.reduce((most, { path }) => Math.max(most, path.length), 0)

/** JSON Schema of scenarios, for editors. */
export const scenarioJsonSchema = (): object =>
  z.toJSONSchema(scenarioSchema, { io: 'input', unrepresentable: 'any' })
