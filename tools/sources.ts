/**
 * The repository as the checks in this folder see it: the TypeScript sources, parsed; their imports and
 * exports; and every text file that is, or would be, in git.
 *
 * Not here: what is allowed. That is in the `*.test.ts` beside this file.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** One file of src/. */
export interface Source {
  /** From the root, with slashes: `src/mm/migrate.ts`. */
  readonly path: string
  readonly text: string
  readonly ast: ts.SourceFile
}

export interface Import {
  /** As written: `node:fs`, `vitest`, `../base/units.ts`. */
  readonly specifier: string
  /** For a relative one, the file it names, from the root. */
  readonly target: string | undefined
  /** Gone once compiled: `import type`. (`import { type A }` is not: the file is loaded all the same.) */
  readonly erased: boolean
  readonly line: number
}

export interface Exported {
  readonly name: string
  readonly kind: 'function' | 'interface' | 'other'
  /** All doc comments of the declaration. */
  readonly doc: string
  readonly line: number
}

export function readText(path: string): string | undefined {
  const file = join(root, path)
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

/** Parses a text as if it were the file `path`. */
export function sourceOf(path: string, text: string): Source {
  return { path, text, ast: ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true) }
}

/** Every `.ts` file of src/, tests included, in order of path. */
export function readSources(): Source[] {
  return walk('src')
    .filter((path) => path.endsWith('.ts'))
    .map((path) => sourceOf(path, readFileSync(join(root, path), 'utf8')))
}

/** A file that only vitest or the compiler reads; nothing that ships may import it. */
export function isTest(path: string): boolean {
  return /\.(test|fuzz|case|nocompile)\.ts$/.test(path) || path.startsWith('src/testing/')
}

/** What vitest collects tests from. */
export function holdsTests(path: string): boolean {
  return /\.(test|fuzz|case)\.ts$/.test(path)
}

/** Static, dynamic and type imports, and re-exports. */
export function importsOf(source: Source): Import[] {
  const found: Import[] = []
  visit(source.ast, (node) => {
    const specifier = specifierOf(node)
    if (specifier === undefined) return
    const target = specifier.startsWith('.') ? posix.join(posix.dirname(source.path), specifier) : undefined
    found.push({ specifier, target, erased: isErased(node), line: lineOf(source, node) })
  })
  return found
}

function specifierOf(node: ts.Node): string | undefined {
  let literal: ts.Node | undefined
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) literal = node.moduleSpecifier
  else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) literal = node.argument.literal
  else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    literal = node.arguments[0]
    if (!ts.isStringLiteralLike(literal)) return '(computed)'
  }
  return literal !== undefined && ts.isStringLiteralLike(literal) ? literal.text : undefined
}

function isErased(node: ts.Node): boolean {
  if (ts.isImportDeclaration(node)) return node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
  return ts.isImportTypeNode(node) || (ts.isExportDeclaration(node) && node.isTypeOnly)
}

/** What the file declares and exports. Re-exports belong to the file that declares them. */
export function exportsOf(source: Source): Exported[] {
  const found: Exported[] = []
  for (const statement of source.ast.statements) {
    if (!isExported(statement)) continue
    const doc = docOf(source, statement)
    const line = lineOf(source, statement)
    if (ts.isVariableStatement(statement)) {
      for (const { name, initializer } of statement.declarationList.declarations) {
        const kind = initializer !== undefined && isFunction(initializer) ? 'function' : 'other'
        found.push({ name: name.getText(), kind, doc, line })
      }
    } else if (ts.isFunctionDeclaration(statement)) {
      found.push({ name: statement.name?.text ?? 'default', kind: 'function', doc, line })
    } else if (ts.isInterfaceDeclaration(statement)) {
      found.push({ name: statement.name.text, kind: 'interface', doc, line })
    }
  }
  return found
}

/** The comment that the file begins with, '' if it begins with something else. A `#!` line may stand above. */
export function headerOf(source: Source): string {
  return /^(?:#![^\n]*\n)?(\/\*\*[\s\S]*?\*\/)/.exec(source.text)?.[1] ?? ''
}

export function isFunction(node: ts.Node): node is ts.FunctionLikeDeclaration {
  return (
    ts.isFunctionDeclaration(node) ||
    ts.isFunctionExpression(node) ||
    ts.isArrowFunction(node) ||
    ts.isMethodDeclaration(node)
  )
}

export function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node)
  ts.forEachChild(node, (child) => visit(child, see))
}

export function lineOf(source: Source, node: ts.Node): number {
  return source.ast.getLineAndCharacterOfPosition(node.getStart(source.ast)).line + 1
}

function isExported(statement: ts.Statement): boolean {
  return (
    ts.canHaveModifiers(statement) &&
    (ts.getModifiers(statement) ?? []).some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword)
  )
}

function docOf(source: Source, node: ts.Node): string {
  return (ts.getLeadingCommentRanges(source.text, node.getFullStart()) ?? [])
    .map((range) => source.text.slice(range.pos, range.end))
    .filter((comment) => comment.startsWith('/**') && comment !== headerOf(source))
    .join('\n')
}

/** Everything git has or would add, else (no git here) everything that is not built or installed. */
export function trackedFiles(): string[] {
  try {
    const list = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return list.split('\0').filter((path) => path !== '' && existsSync(join(root, path)))
  } catch {
    return walk('.').map((path) => posix.normalize(path))
  }
}

const textEndings =
  /\.(ts|mts|cts|js|mjs|cjs|json|jsonc|md|txt|sh|ya?ml|c|h|css|html|svg|csv)$|(^|\/)\.?[^./]+$/

/** Source and documents, not data: what a person wrote. */
export function isText(path: string): boolean {
  return textEndings.test(path)
}

function walk(folder: string): string[] {
  const skip = ['node_modules', 'dist', '.git', 'coverage']
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((path) => !path.split('/').some((part) => skip.includes(part)))
    .sort()
}
