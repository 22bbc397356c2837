/**
 * Where in the source a step stands: from the lines of an Error's stack.
 *
 * The innermost frame says what does the step, the caller that is not the engine's says why. Frames of the checker
 * and of the cpu are left out.
 */

/** One frame: `isolateLocked`, `src/owners/page_pool.ts`, 180. */
export interface SourceLine {
  readonly name: string
  readonly file: string
  readonly line: number
}

const CHECKER = /(^|\/)src\/(check\/|cli\/|base\/cpu|base\/locks|models\/conformance\/)|check_worker\.js/

/** The frames of the checked code, innermost first. Paths are shortened to what follows the last `src/` or to their name. */
export function sourceLines(stack: readonly string[]): SourceLine[] {
  return stack.flatMap((frame) => {
    const match = /^\s*at (?:(?:async |new )?([^\s(]+)[^(]*\()?(?:file:\/\/)?([^()]+?):(\d+):\d+\)?$/.exec(
      frame,
    )
    if (match === null) return []
    const [, name = '', path, line] = match
    if (CHECKER.test(path) || path.startsWith('node:')) return []
    return [{ name, file: shortened(path), line: Number(line) }]
  })
}

function shortened(path: string): string {
  const at = path.lastIndexOf('/src/')
  return at >= 0 ? path.slice(at + 1) : (path.split('/').at(-1) ?? path)
}

/** `movable_ops.ts:213`, or '' if there is no frame. */
export function lineText(stack: readonly string[]): string {
  const [line] = sourceLines(stack)
  return line === undefined ? '' : `${line.file.split('/').at(-1) ?? ''}:${line.line}`
}
