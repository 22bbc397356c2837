/**
 * Who may import whom: the machinery behind the table in tidy.test.ts.
 *
 * A layer is a folder of src/ (`mm`, `capture/format`). Test files are of the layer they lie in, may
 * import what it may, and in addition what `testPackages` and `testFolders` say.
 */

import { importsOf, isTest, type Source } from './sources.ts'

/** What a layer may import, besides itself. */
export interface Layer {
  readonly layers: readonly string[]
  /** npm packages; `node:*` is all of Node's own. */
  readonly packages?: readonly string[]
}

export type Layers = Readonly<Record<string, Layer>>

const testPackages = ['vitest', 'fast-check', 'hyparquet', 'node:*']
const testFolders = ['base', 'testing']

/** The layer whose folder holds the file: the longest one that matches. */
export function layerOf(path: string, layers: Layers): string | undefined {
  return Object.keys(layers)
    .filter((layer) => path.startsWith(`src/${layer}/`))
    .toSorted((a, b) => b.length - a.length)[0]
}

/** Every import of the file that the table does not allow, as `path:line: what`. */
export function importFaults(source: Source, layers: Layers): string[] {
  const layer = layerOf(source.path, layers)
  if (layer === undefined) return [`${source.path}: in no layer of LAYERS`]
  const test = isTest(source.path)
  const mayLayers = new Set([layer, ...layers[layer].layers, ...(test ? testFolders : [])])
  const mayPackages = [...(layers[layer].packages ?? []), ...(test ? testPackages : [])]

  return importsOf(source).flatMap(({ specifier, target, line }) => {
    const fault = (why: string): string[] => [`${source.path}:${line}: ${specifier}: ${why}`]
    if (target === undefined) {
      return mayPackages.some((name) => isOf(specifier, name)) ? [] : fault(`${layer} may not import it`)
    }
    const to = layerOf(target, layers)
    if (to === undefined) return fault('in no layer of LAYERS')
    if (!mayLayers.has(to)) return fault(`${layer} may not import ${to}`)
    if (!test && isTest(target)) return fault('what ships may not import a test')
    return []
  })
}

/**
 * Files that load themselves by way of others, one line a cycle: `a -> b -> a`. Imports of types alone do not
 * count: a machine holds its page owners' operations, which take a machine.
 */
export function importCycles(sources: readonly Source[]): string[] {
  const loads = (source: Source): string[] =>
    importsOf(source).flatMap(({ target, erased }) => (target === undefined || erased ? [] : target))
  const edges = new Map(sources.map((source) => [source.path, loads(source)]))
  const cycles: string[] = []
  const done = new Set<string>()
  const trail: string[] = []
  const walk = (path: string): void => {
    const from = trail.indexOf(path)
    if (from !== -1) cycles.push([...trail.slice(from), path].join(' -> '))
    if (from !== -1 || done.has(path)) return
    trail.push(path)
    for (const target of edges.get(path) ?? []) walk(target)
    trail.pop()
    done.add(path)
  }
  for (const path of edges.keys()) walk(path)
  return cycles
}

/** `commander/x` is of `commander`, `node:fs` of `node:*`. */
function isOf(specifier: string, name: string): boolean {
  if (name === 'node:*') return specifier.startsWith('node:')
  return specifier === name || specifier.startsWith(`${name}/`)
}
