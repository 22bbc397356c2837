/**
 * Tidy: what the architecture and the house style say, as far as a program can hold us to it.
 *
 * Each test is one rule and prints every place that breaks it. What `tsc`, oxlint and biome check is not
 * repeated here. `checks.test.ts` shows each of the subtler rules failing.
 *
 * Not here: the rows of the specification (rows.test.ts).
 */

import { existsSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { expect, test } from 'vitest'
import { importCycles, importFaults, type Layers } from './imports.ts'
import { columnFaults, columnsOfCpu, nondeterminism, protocolFaults, tracepointFaults } from './protocol.ts'
import { exportsOf, headerOf, isTest, isText, readSources, readText, root, trackedFiles } from './sources.ts'

const underActors = ['base', 'hinting', 'mm', 'owners', 'host']
const anywhere = [...underActors, 'actors', 'check', 'models', 'sim', 'trace', 'capture/format', 'analyze']

/** A layer imports itself and what is listed, nothing else. ARCHITECTURE.md has the same table in words. */
const LAYERS: Layers = {
  base: { layers: [] },
  hinting: { layers: ['base'] },
  check: { layers: ['base'] },
  'capture/format': { layers: ['base'] },
  trace: { layers: ['base'] },
  mm: { layers: ['base', 'hinting'] },
  host: { layers: ['base', 'hinting'] },
  owners: { layers: ['base', 'mm'] },
  actors: { layers: underActors },
  models: { layers: [...underActors, 'actors', 'check'] },
  sim: { layers: [...underActors, 'actors', 'trace'], packages: ['zod', 'yaml'] },
  analyze: { layers: ['base', 'mm', 'owners', 'capture/format'] },
  // Node only.
  'capture/linux': { layers: ['base', 'capture/format'], packages: ['node:*'] },
  cli: {
    layers: [...anywhere, 'capture/linux'],
    packages: [
      'node:*',
      'commander',
      '@commander-js/extra-typings',
      'string-width',
      'esbuild',
      'yaml',
      'cli-progress',
      'hyparquet-writer',
      '(computed)',
    ], // computed: a driver's module
  },
  // Browser only.
  web: { layers: anywhere },
  // What several tests share; nothing that ships imports it.
  testing: { layers: [...anywhere, 'capture/linux'], packages: ['node:*', '@commander-js/extra-typings'] },
}

const sources = readSources()
const shipped = sources.filter(({ path }) => !isTest(path))
const engine = shipped.filter(({ path }) => /^src\/(mm|owners)\//.test(path))
const tracked = trackedFiles()
const texts = tracked.filter(isText)

const none: string[] = []

test('every import is one that LAYERS allows', () => {
  expect(sources.flatMap((source) => importFaults(source, LAYERS))).toEqual(none)
})

test('no file imports itself by way of others', () => {
  expect(importCycles(sources)).toEqual(none)
})

test('file names are snake_case, with the kind of file as suffix', () => {
  const name = /^[a-z0-9]+(_[a-z0-9]+)*(\.(check|doc))?(\.(test|fuzz|case|nocompile|bench))?\.ts$/
  expect(sources.map(({ path }) => path).filter((path) => !name.test(posix.basename(path)))).toEqual(none)
})

test('every file begins with a header comment', () => {
  expect(sources.filter((source) => headerOf(source) === '').map(({ path }) => path)).toEqual(none)
})

test('protocol code has no try/catch, async, generators or module state', () => {
  expect(engine.flatMap(protocolFaults)).toEqual(none)
})

test('protocol code reaches shared columns through the cpu', () => {
  const page = sources.find(({ path }) => path === 'src/mm/page.ts')
  const columns = page === undefined ? new Set<string>() : columnsOfCpu(page)
  expect(engine.flatMap((source) => columnFaults(source, columns))).toEqual(none)
})

test('no scanner, no migrate loop and no flag is for pin pages: mm has a page type for them, and nothing else', () => {
  const named = engine
    .filter(({ path }) => path.startsWith('src/mm/'))
    .flatMap(({ path, text }) =>
      [...text.matchAll(/\w*pin_?(?:page|ring|info)\w*/gi)].map(([name]) => `${path}: ${name}`),
    )
  expect(named.filter((place) => !place.includes('pin page control'))).toEqual([
    'src/mm/limits.ts: pinpage', // the comment names the owner's file
    'src/mm/limits.ts: PINPAGE_TYPE',
  ])
})

test('a tracepoint costs one look at a field where nobody listens', () => {
  expect(engine.flatMap(tracepointFaults)).toEqual(none)
})

test('nothing but cli and capture/linux reads the clock or a random source', () => {
  const pure = sources.filter(({ path }) => !/^src\/(cli|capture\/linux)\//.test(path))
  expect(pure.flatMap(nondeterminism)).toEqual(none)
})

test('every function and interface that mm and owners export names its origin', () => {
  const origin = /@(kernel|paper|ours)\b/
  const faults = engine
    .filter((source) => !origin.test(headerOf(source))) // a tag in the header counts for the file
    .flatMap((source) =>
      exportsOf(source)
        .filter(({ kind, doc }) => kind !== 'other' && !origin.test(doc))
        .map(({ name, line }) => `${source.path}:${line}: ${name} has no @kernel, @paper or @ours`),
    )
  expect(faults).toEqual(none)
})

test('the letters of @locks tags are letters of mm/locks.ts', () => {
  const known = new Set(lettersIn(readText('src/mm/locks.ts') ?? ''))
  const faults = engine.flatMap(({ path, text }) =>
    [...text.matchAll(/@locks\b(.*(?:\n\s*\*(?! *@|\/).*)*)/g)]
      .flatMap(([, tag]) => lettersIn(tag))
      .filter((letter) => !known.has(letter))
      .map((letter) => `${path}: @locks (${letter}) is not in src/mm/locks.ts`),
  )
  expect(faults).toEqual(none)
})

test('no file names a folder of the machine it was written on', () => {
  // Put together here so that this file does not name one either.
  const machine = new RegExp(`(?<![\\w.~$}/-])/(${['work', 'root'].join('|')})/`)
  expect(linesMatching(texts, machine)).toEqual(none)
})

test('no file names a package registry', () => {
  const host = /\/\/[^/\s"']*(registry|artifactory|nexus|verdaccio|jfrog)[^/\s"']*/i
  expect([
    ...linesMatching(texts, host),
    ...linesMatching(['package-lock.json'], /"resolved": "http/),
  ]).toEqual(none)
})

test('npm ci accepts the lock file: run tools/lock.mjs after npm install', () => {
  const { packages }: { packages: Record<string, { optionalDependencies?: Record<string, string> }> } =
    JSON.parse(read('package-lock.json'))
  const missing = Object.values(packages)
    .flatMap(({ optionalDependencies }) => Object.keys(optionalDependencies ?? {}))
    .filter((name) => !(`node_modules/${name}` in packages))
  expect(missing).toEqual(none)
})

test('no FIXME, and no TODO without a name', () => {
  const code = texts.filter((path) => !/\.(md|txt|json)$/.test(path) && path !== 'tools/tidy.test.ts')
  expect(linesMatching(code, /\bFIXME\b|\bTODO\b(?!\([\w-]+\):)/)).toEqual(none)
})

test('the relative links of documents lead somewhere', () => {
  const faults = texts
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      linksIn(read(path))
        .filter((link) => !existsSync(join(root, posix.dirname(path), decodeURI(link))))
        .map((link) => `${path}: ${link}`),
    )
  expect(faults).toEqual(none)
})

test('decisions are numbered without gaps, from 0001', () => {
  const numbers = tracked
    .filter((path) => /^docs\/decisions\/\d/.test(path))
    .map((path) => Number.parseInt(posix.basename(path), 10))
    .toSorted((a, b) => a - b)
  expect(numbers).toEqual(numbers.map((_, i) => i + 1))
})

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

function linesMatching(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim().slice(0, 100)}`] : [])),
  )
}

function lettersIn(text: string): string[] {
  return [...text.matchAll(/\(([A-Z])\)/g)].map(([, letter]) => letter)
}

/** Targets of `[text](target)` and `![](target)` outside of code, without `#part`; no URLs, no bare `#part`. */
function linksIn(markdown: string): string[] {
  const prose = markdown.replace(/```[\s\S]*?```/g, '').replace(/`[^`\n]*`/g, '')
  return [...prose.matchAll(/\]\(([^)\s]+)[^)]*\)/g)]
    .map(([, target]) => target.split('#')[0])
    .filter((target) => target !== '' && !/^[a-z]+:/.test(target))
}
