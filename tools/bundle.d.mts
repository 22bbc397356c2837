/** Types of bundle.mjs, for the programs in TypeScript that call it. */

export function bundle(what: {
  readonly entries?: Readonly<Record<string, string>>
  readonly stdin?: string
  readonly split?: boolean
  readonly map?: boolean
}): Map<string, string>
