/**
 * Findings: from a capture to who owns its pages, what holds its huge pages, and what compaction would get.
 */

export { type BlockerFindings, findBlockers, verdictOf } from './blockers.ts'
export { type Census, takeCensus } from './census.ts'
export { OWNER_CLASSES } from './classify.ts'
export { type Actual, actualBetween, type PredictionError, predictionError } from './compare.ts'
export { captureCpu, loadMachine } from './load.ts'
export { buildPageMap, type PageMap } from './page_map.ts'
export { type Outcome, type Prediction, predictCompaction } from './predict.ts'
export { KEPT_FLAGS, kpagecount, kpageflags } from './proc_page.ts'
