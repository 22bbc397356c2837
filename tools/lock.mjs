/**
 * Completes package-lock.json with the optional packages of other platforms.
 *
 * Tools ship one optional package a platform. A registry that does not carry all of them leaves the rest out
 * of the lock file, and then `npm ci` refuses it: "Missing: … from lock file". Such a package is installed
 * only where its os and cpu match; its name tells both, so an entry can be written without having seen it.
 * It carries no checksum: npm fills that in where the package can be had.
 *
 *   npm install && node tools/lock.mjs        after every change of dependencies
 */

import { readFileSync, writeFileSync } from 'node:fs'

const path = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(path, 'utf8'))

const systems = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
]
const cpus = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64']

const added = []
for (const [, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const place = `node_modules/${name}`
    if (lock.packages[place] !== undefined) continue
    const words = name.split(/[-/]/)
    const os = systems.find((word) => words.includes(word))
    const cpu = cpus.find((word) => words.includes(word))
    if (cpu === undefined || !/^\d/.test(version)) {
      throw new Error(`${name}@${version}: cannot tell its platform from its name`)
    }
    lock.packages[place] = {
      version,
      cpu: [cpu],
      ...(entry.dev ? { dev: true } : {}),
      ...(os === 'linux' ? { libc: [words.some((word) => word.startsWith('musl')) ? 'musl' : 'glibc'] } : {}),
      optional: true,
      ...(os === undefined ? {} : { os: [os] }),
    }
    added.push(name)
  }
}

if (added.length > 0) {
  const [[root, self], ...rest] = Object.entries(lock.packages)
  lock.packages = { [root]: self, ...Object.fromEntries(rest.sort(([a], [b]) => a.localeCompare(b, 'en'))) }
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)
}
console.log(`package-lock.json: ${added.length} packages of other platforms added`)
