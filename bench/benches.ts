/**
 * The benchmarks by name. Each is loaded only when asked for: a measured process holds one, and so sees
 * one `Cpu` class.
 */

import type { Bench } from './bench.ts'

export const BENCHES = {
  balloon: async (): Promise<Bench> => (await import('./balloon.bench.ts')).bench,
  buddy: async (): Promise<Bench> => (await import('./buddy.bench.ts')).bench,
  checker: async (): Promise<Bench> => (await import('./checker.bench.ts')).bench,
  compaction: async (): Promise<Bench> => (await import('./compaction.bench.ts')).bench,
  cpu: async (): Promise<Bench> => (await import('./cpu.bench.ts')).bench,
  load: async (): Promise<Bench> => (await import('./load.bench.ts')).bench,
  sim: async (): Promise<Bench> => (await import('./sim.bench.ts')).bench,
  zram: async (): Promise<Bench> => (await import('./zram.bench.ts')).bench,
} as const

export type BenchName = keyof typeof BENCHES
export const BENCH_NAMES: readonly BenchName[] = [
  'balloon',
  'buddy',
  'checker',
  'compaction',
  'cpu',
  'load',
  'sim',
  'zram',
]

export const isBenchName = (name: string): name is BenchName => name in BENCHES
