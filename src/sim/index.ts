/**
 * Simulation: a machine in use, over simulated time.
 *
 * A scenario is data (docs/formats/scenario.md). A module that makes one exports it as its default.
 *
 * @ours
 */

export { COST_NAMES, EVENT_COSTS, WORK_COSTS } from './costs.ts'
export { Histogram } from './histogram.ts'
export type { Metric, Snapshot } from './metrics.ts'
export { impossible, type OnProgress, type RunResult, runScenario } from './run.ts'
export {
  BASE,
  type ParsedScenario,
  parseScenario,
  type Scenario,
  type ScenarioIssue,
  scenarioJsonSchema,
} from './scenario.ts'
export { parseVariant } from './what_if.ts'
export { type ReadScenario, readYamlScenario, type YamlProblem } from './yaml_scenario.ts'
