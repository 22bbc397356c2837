/**
 * Tables as Parquet files. The package behind it is below 1.0: nobody else imports it.
 */

import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { parquetWriteBuffer } from 'hyparquet-writer'

/** One column: numbers, or texts. */
export interface Column {
  readonly name: string
  readonly data: readonly number[] | readonly string[]
}

/** Writes a table to a file, aside first: it is there whole or not at all. Throws what the file system says. */
export function writeParquet(path: string, columns: readonly Column[]): void {
  const columnData = columns.map(({ name, data }) => ({
    name,
    data: [...data],
    type: typeof data[0] === 'string' ? ('STRING' as const) : ('DOUBLE' as const),
  }))
  const aside = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(aside, new Uint8Array(parquetWriteBuffer({ columnData })))
    renameSync(aside, path)
  } catch (error) {
    rmSync(aside, { force: true })
    throw error
  }
}
