/** Plain aligned columns, two spaces between them, no boxes. */

import stringWidth from 'string-width'

/** `l`: left, `r`: right, one letter a column. */
export type Alignment = string

/** The rows as lines, each ended by a newline. Columns beyond the alignment are left-aligned; empty cells at the end leave no blanks. */
export function table(alignment: Alignment, rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, stringWidth(cell))
    })
  }
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => {
        const padding = ' '.repeat(widths[column] - stringWidth(cell))
        return alignment[column] === 'r' ? padding + cell : cell + padding
      })
      .join('  ')
      .trimEnd()
  return rows.map((row) => `${line(row)}\n`).join('')
}

/** A part of a whole in percent. */
export const percent = (part: number, whole: number): string =>
  whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`

/** A difference in percent, with its sign. */
export const signedPercent = (value: number): string =>
  `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(1)} %`
