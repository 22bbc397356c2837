/**
 * The engine without its `Cpu`: a bundled program in which every call of a `Cpu` method is replaced by what
 * `FastCpu` does in it, on the column itself. What is left is what one would have written without a checker.
 *
 *   cpu.load(mm.flags, pfn)            mm.flags[pfn]
 *   cpu.store(mm.flags, pfn, 0)        (mm.flags[pfn] = 0)
 *   cpu.testClear(mm.flags, pfn, bit)  direct_testClear(mm.flags, pfn, bit), a plain function
 *   cpu.atomically(…, section, …)      takes the lock, calls the section by its name, drops the lock
 *
 * Nothing else of the text changes: the same functions, the same `cpu` argument, for its `id`.
 */

/** What FastCpu's methods do that are more than one access, as plain functions. */
const FUNCTIONS = `
const direct_decAndTest = function(cells, i) {
  const value = cells[i] - 1;
  cells[i] = value;
  if (value < 0) throw new Error('direct: below zero');
  return value === 0;
};
const direct_addUnlessZero = function(cells, i) {
  const value = cells[i];
  if (value === 0) return false;
  cells[i] = value + 1;
  return true;
};
const direct_cas = function(cells, i, expected, value) {
  if (cells[i] !== expected) return false;
  cells[i] = value;
  return true;
};
const direct_testSet = function(cells, i, bits) {
  const value = cells[i];
  cells[i] = value | bits;
  return (value & bits) !== 0;
};
const direct_testClear = function(cells, i, bits) {
  const value = cells[i];
  cells[i] = value & ~bits;
  return (value & bits) !== 0;
};
const direct_tryLock = function(cells, i, bits) {
  const value = cells[i];
  if ((value & bits) !== 0) return false;
  cells[i] = value | bits;
  return true;
};
const direct_lock = function(cells, i, bits) {
  if ((cells[i] & bits) !== 0) throw new Error('direct: a wait');
  cells[i] |= bits;
};
const direct_unlock = function(cells, i, bits) {
  const value = cells[i];
  if ((value & bits) !== bits) throw new Error('direct: not held');
  cells[i] = value & ~bits;
};
const direct_waitClear = function(cells, i, bits) {
  if ((cells[i] & bits) !== 0) throw new Error('direct: a wait');
};
const direct_dropped = function(cells, i, bits, result) {
  cells[i] &= ~bits;
  return result;
};
`

const cell = (cells: string, i: string): string =>
  /^[\w$.]+$/.test(cells) ? `${cells}[${i}]` : `(${cells})[${i}]`

/** What stands for a call of that method, by its arguments; for the others a plain function of the same name. */
const INLINE: Readonly<Record<string, (args: readonly string[]) => string>> = {
  load: ([cells, i]) => cell(cells, i),
  store: ([cells, i, value]) => `(${cell(cells, i)} = ${value})`,
  add: ([cells, i, delta]) => `(${cell(cells, i)} += ${delta})`,
  at: () => '(void 0)',
  atomically: ([cells, i, bits, section, ...rest]) =>
    `direct_dropped(${cells}, ${i}, ${bits}, (direct_lock(${cells}, ${i}, ${bits}), ${section}(${rest.join(', ')})))`,
}

const METHODS =
  'load|store|add|decAndTest|addUnlessZero|cas|testSet|testClear|tryLock|lock|unlock|waitClear|atomically|at'
const CALL = new RegExp(`(?<![\\w$.])cpu\\d*\\.(${METHODS})\\(`)
const LEFT = new RegExp(`cpu\\d*\\??\\.(${METHODS})\\b`, 'i')

/** The program without its `Cpu`. Throws if a call is left that is no plain `cpu.method(…)`. */
export function withoutCpu(program: string): string {
  const text = replaced(program)
  if (LEFT.test(text)) throw new Error('direct: the program still uses its Cpu')
  return FUNCTIONS + text
}

function replaced(text: string): string {
  let done = ''
  let rest = text
  for (let call = CALL.exec(rest); call !== null; call = CALL.exec(rest)) {
    const { args, end } = argumentsAt(rest, call.index + call[0].length)
    const of = args.map(replaced)
    const plain = (): string => `direct_${call[1]}(${of.join(', ')})`
    done += rest.slice(0, call.index) + (INLINE[call[1]]?.(of) ?? plain())
    rest = rest.slice(end)
  }
  return done + rest
}

/** The arguments of a call whose parenthesis has just been opened, and where the text goes on behind it. */
function argumentsAt(text: string, start: number): { args: string[]; end: number } {
  const args: string[] = []
  let depth = 0
  let from = start
  for (let at = start; at < text.length; at++) {
    const c = text[at]
    if (c === '"' || c === "'" || c === '`') at = text.indexOf(c, at + 1)
    else if (c === '(' || c === '[' || c === '{') depth++
    else if (depth > 0 && (c === ')' || c === ']' || c === '}')) depth--
    else if (depth === 0 && (c === ',' || c === ')')) {
      args.push(text.slice(from, at).trim())
      from = at + 1
      if (c === ')') return { args, end: from }
    }
  }
  throw new Error('direct: a call without an end')
}
