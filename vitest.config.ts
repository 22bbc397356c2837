/**
 * One run for everything: tests, and the seeded fuzz runs as a smoke test.
 *
 * `npm run fuzz` is the same run with DROVER_FUZZ=1: what is seeded reads it and goes on for longer.
 */

import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const second = 1000
const long = process.env['DROVER_FUZZ'] === '1'

export default defineConfig({
  // What a driver module imports, without a build: package.json exports the same.
  resolve: {
    alias: { 'drover/driver': fileURLToPath(new URL('src/models/conformance/index.ts', import.meta.url)) },
  },
  test: {
    environment: 'node',
    include: ['src/**/*.{test,fuzz}.ts', 'tools/**/*.test.ts', 'bench/**/*.test.ts', 'examples/**/*.test.ts'],
    globalSetup: ['tools/build_first.ts'],
    setupFiles: ['tools/fixed_seed.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: (long ? 1800 : 60) * second,
    hookTimeout: 60 * second,
    reporters: ['default'],
  },
})
