/**
 * Makes `npm start` and `npm test` work as the only command on a fresh clone: installs what is missing,
 * builds what is out of date, then runs what it was asked. Silent when there is nothing to do.
 *
 *   node tools/bootstrap.mjs start [args]   dist/cli/main.js demo [args]
 *   node tools/bootstrap.mjs test [args]    vitest run [args]
 *   node tools/bootstrap.mjs fuzz [args]    the same with DROVER_FUZZ=1: seeded tests go on for longer
 *   node tools/bootstrap.mjs build          dist/ only
 *   node tools/bootstrap.mjs prepare        dist/ only, never installs (npm calls it after an install)
 *
 * Rules:
 *   - no dependency and nothing newer than Node 12 up to `checkNode`, so that an old Node gets a sentence
 *     and not a stack trace;
 *   - "out of date" is decided by content (lock file) and by a fingerprint of the sources, never by
 *     comparing times alone: a checkout and a deleted file both change the answer;
 *   - stdout belongs to the program that is run; everything else goes to stderr.
 */

import { spawnSync } from 'child_process' // no `node:` prefix: an old Node would fail here, not in checkNode
import { createHash } from 'crypto'
import fs from 'fs'
import path from 'path'
import { fileURLToPath } from 'url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const at = (...parts) => path.join(root, ...parts)
const say = (line) => process.stderr.write(`drover: ${line}\n`)

/** What is bundled: the command line and the checker's worker in one piece each, and the library's entries, which share chunks. */
const PROGRAM = { 'cli/main': 'src/cli/main.ts' }
const WORKER = { 'cli/check_worker': 'src/cli/check_worker.ts' }
const LIBRARY = {
  'mm/index': 'src/mm/index.ts',
  'check/index': 'src/check/index.ts',
  'models/conformance/index': 'src/models/conformance/index.ts',
  'analyze/index': 'src/analyze/index.ts',
  'capture/linux/index': 'src/capture/linux/index.ts',
}

main(process.argv[2], process.argv.slice(3)).catch((error) => {
  say(error.message)
  process.exit(1)
})

async function main(command, args) {
  if (!['start', 'test', 'fuzz', 'build', 'prepare'].includes(command)) {
    say('usage: node tools/bootstrap.mjs start|test|fuzz|build|prepare [args]')
    process.exit(2)
  }
  checkNode()
  if (command !== 'prepare') install()
  await build(command)
  if (command === 'fuzz') process.env.DROVER_FUZZ = '1'
  if (command === 'start') run('dist/cli/main.js', 'demo', ...args)
  if (command === 'test' || command === 'fuzz') run('node_modules/vitest/vitest.mjs', 'run', ...args)
}

function checkNode() {
  const [wantMajor, wantMinor] = readJson(at('package.json')).engines.node.match(/\d+/g).map(Number)
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > wantMajor || (major === wantMajor && minor >= wantMinor)) return
  say(`needs Node ${wantMajor}.${wantMinor} or newer; this is ${process.version} (${process.execPath})`)
  process.exit(2)
}

/** Runs `npm ci` unless node_modules holds what package-lock.json says. */
function install() {
  const why = whyInstall()
  if (why === '') return
  say(`installing packages with npm (${why})`)
  // No package needs an install script, and ours (`prepare`) would build twice.
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund']
  if (npm('ci', ...flags) !== 0) {
    say('npm ci refused; trying npm install')
    if (npm('install', ...flags) !== 0) {
      say('installing failed; npm says why above (no network, or no package registry?)')
      process.exit(1)
    }
  }
}

function whyInstall() {
  const have = readJson(at('node_modules', '.package-lock.json'))
  if (have === undefined) return 'node_modules is missing'
  const want = readJson(at('package-lock.json'))
  if (want === undefined) return 'package-lock.json is missing'
  const manifest = readJson(at('package.json'))
  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    if (JSON.stringify(manifest[kind] || {}) !== JSON.stringify(want.packages[''][kind] || {})) {
      return 'package.json and package-lock.json differ'
    }
  }
  for (const [name, entry] of Object.entries(want.packages)) {
    if (name === '' || entry.optional) continue // optional: one of them per platform is there
    const got = have.packages[name]
    if (got === undefined || got.version !== entry.version) return `${name} is not ${entry.version}`
  }
  return ''
}

/** `npm` by way of the npm that runs us, else the one in PATH. Its output goes to stderr. */
function npm(...args) {
  const exec = process.env.npm_execpath || ''
  const stdio = ['ignore', 2, 2]
  const result = /npm-cli\.c?js$/.test(exec)
    ? spawnSync(process.execPath, [exec, ...args], { cwd: root, stdio })
    : spawnSync('npm', args, { cwd: root, stdio, shell: process.platform === 'win32' })
  if (result.error) say(`cannot run npm: ${result.error.message}`)
  return result.status === null ? 1 : result.status
}

/** Builds dist/ from src/ unless it was built from exactly these sources: declarations by tsc, code by esbuild. */
async function build(command) {
  const sources = walk(at('src')).sort()
  const fingerprint = fingerprintOf(sources)
  const stamp = at('dist', '.built')
  const declarations = sources.filter(isShipped).map(declarationOf)
  const entries = [PROGRAM, WORKER, LIBRARY].flatMap(Object.keys).map((name) => at('dist', `${name}.js`))
  const gone = [...declarations, ...entries].filter((file) => !fs.existsSync(file))
  if (gone.length === 0 && readText(stamp) === fingerprint) return

  const tsc = at('node_modules', 'typescript', 'bin', 'tsc')
  if (!fs.existsSync(tsc)) {
    say('not building dist/: typescript is not installed (npm install without --omit=dev installs it)')
    process.exit(command === 'prepare' ? 0 : 1) // an install for users needs no compiler
  }
  say('building dist/')
  fs.rmSync(stamp, { force: true })
  if (gone.length > 0) fs.rmSync(at('dist', '.tsbuildinfo'), { force: true }) // or tsc would not write them again
  const result = spawnSync(process.execPath, [tsc, '-p', at('tsconfig.build.json')], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  })
  if (result.status !== 0) {
    say('building failed')
    process.exit(1)
  }
  const { bundle } = await import('./bundle.mjs') // not before esbuild is installed
  const code = new Map([
    ...bundle({ entries: PROGRAM }),
    ...bundle({ entries: WORKER, map: true }), // stacks name the lines of the protocol's source
    ...bundle({ entries: LIBRARY, split: true, map: true }),
  ])
  for (const [name, text] of code) {
    fs.mkdirSync(path.dirname(at('dist', name)), { recursive: true })
    fs.writeFileSync(at('dist', name), text)
  }
  removeStale(new Set([...declarations, ...[...code.keys()].map((name) => at('dist', name))]))
  fs.chmodSync(at('dist', 'cli', 'main.js'), 0o755)
  fs.writeFileSync(stamp, fingerprint)
}

/** Removes from dist/ what no source produces any more. */
function removeStale(built) {
  for (const file of walk(at('dist'))) {
    if (/\.(js|ts|map)$/.test(file) && !built.has(file)) fs.rmSync(file)
  }
}

function isShipped(file) {
  if (path.relative(at('src'), file).split(path.sep)[0] === 'testing') return false
  return file.endsWith('.ts') && !/\.(test|fuzz|case|nocompile|d)\.ts$/.test(file) // as tsconfig.build.json
}

function declarationOf(file) {
  return at('dist', path.relative(at('src'), file).replace(/\.ts$/, '.d.ts'))
}

/** Changes whenever a source or a setting of the build is changed, added, removed or renamed. */
function fingerprintOf(sources) {
  const hash = createHash('sha256')
  const settings = ['tsconfig.base.json', 'tsconfig.build.json', 'package-lock.json', 'tools/bundle.mjs'].map(
    (file) => at(file),
  )
  for (const file of [...settings, ...sources]) {
    hash.update(path.relative(root, file)).update('\0')
    hash.update(fs.readFileSync(file)).update('\0')
  }
  return hash.digest('hex')
}

function walk(folder) {
  if (!fs.existsSync(folder)) return []
  const files = []
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name)
    if (entry.isDirectory()) files.push(...walk(file))
    else files.push(file)
  }
  return files
}

function readText(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function readJson(file) {
  const text = readText(file)
  return text === undefined ? undefined : JSON.parse(text)
}

/** Runs a program of ours in place of this one: its streams are ours, and we end as it ends. */
function run(file, ...args) {
  if (!fs.existsSync(at(file))) {
    say(`${file} does not exist`)
    process.exit(1)
  }
  const result = spawnSync(process.execPath, [at(file), ...args], { cwd: root, stdio: 'inherit' })
  if (result.signal) process.kill(process.pid, result.signal)
  process.exit(result.status === null ? 1 : result.status)
}
