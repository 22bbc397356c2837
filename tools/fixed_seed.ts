/**
 * Properties try the same examples in every run of the suite, so that a change that is not to blame does not fail
 * for what it did not break. Others, as many as you like: npm run fuzz, which prints the seed of what it finds.
 */

import fc from 'fast-check'

if (process.env['DROVER_FUZZ'] !== '1') fc.configureGlobal({ seed: 1 })
