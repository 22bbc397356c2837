/**
 * `drover inspect CAPTURE`: what is in the memory of a captured machine.
 *
 * Not here: the counting (analyze/census.ts), what the JSON keys mean (docs/formats/json.md).
 */

import type { Command } from '@commander-js/extra-typings'
import { sizeText } from '../analyze/blockers.ts'
import { type BlockContents, type Census, freePages, takeCensus, type ZoneCensus } from '../analyze/census.ts'
import { OWNER_CLASSES, OWNER_HOLE, OWNER_PCP, ownerId } from '../analyze/classify.ts'
import { extfragPercent, fragmentationIndex, unusableIndex } from '../analyze/fragmentation.ts'
import { churn, ORDERS } from '../analyze/free_blocks.ts'
import type { Inferred, PageMap } from '../analyze/page_map.ts'
import { nameOfType } from '../analyze/pageblock_types.ts'
import { grouped } from '../base/text.ts'
import { parseBuddyinfo } from '../capture/format/buddyinfo.ts'
import type { Capture } from '../capture/format/capture.ts'
import { readSide, refuse, type Side } from './report.ts'
import { percent, table } from './table.ts'

const SCHEMA = 'drover.inspect.v1'

/** Adds `inspect` to `program`. Bad input sets the exit code to 3; it does not throw. */
export function registerInspect(program: Command): void {
  program
    .command('inspect')
    .summary('zones, free blocks, owners, pageblocks and fragmentation of a capture')
    .description(
      'What is in the memory of a captured machine: zones, free blocks by order, owners, pageblocks, fragmentation.',
    )
    .argument('<capture>', 'a capture file')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  drover inspect machine.drover\n  drover inspect machine.drover --json | jq .census',
    )
    .action((path, options) => {
      const side = readSide(path)
      if (!side.ok) return refuse(side.error)
      process.stdout.write(
        options.json ? `${JSON.stringify(jsonOf(reportOf(side.value)))}\n` : inspectText(side.value),
      )
    })
}

/** What `inspect` prints of a capture. */
export function inspectText(side: Side): string {
  const report = reportOf(side)
  const { capture, map, census } = report
  return [
    `${describeCapture(capture)}\n`,
    zonesText(report),
    ownersText(census),
    pageblocksText(census),
    indexText(census.zones),
    inferredText(map.inferred),
  ].join('\n')
}

interface Report {
  readonly capture: Capture
  readonly map: PageMap
  readonly census: Census
  /** By zone: free blocks counted minus buddyinfo's; undefined without buddyinfo. */
  readonly churnByZone: readonly (readonly number[] | undefined)[]
}

function reportOf({ capture, map }: Side): Report {
  const census = takeCensus(map)
  const buddyinfo = parseBuddyinfo(capture.texts.get('buddyinfo') ?? '')
  return {
    capture,
    map,
    census,
    churnByZone: census.zones.map(({ zone, freeBlocksByOrder }) => {
      const listed = buddyinfo.ok
        ? buddyinfo.value.find(({ node, name }) => node === zone.node && name === zone.name)
        : undefined
      return listed && churn(freeBlocksByOrder, listed.freeBlocksByOrder)
    }),
  }
}

const allOrders = Array.from({ length: ORDERS }, (_, order) => order)

const sumByOrder = (zones: readonly ZoneCensus[]): number[] =>
  allOrders.map((order) => zones.reduce((sum, zone) => sum + zone.freeBlocksByOrder[order], 0))

function jsonOf({ capture, map, census, churnByZone }: Report): unknown {
  return {
    schema: SCHEMA,
    provenance: capture.provenance,
    pages: map.pfnCount,
    zones: census.zones.map((zone, i) => ({
      node: zone.zone.node,
      name: zone.zone.name,
      start_pfn: zone.zone.start,
      end_pfn: zone.zone.end,
      present_pages: zone.zone.present,
      managed_pages: zone.zone.managed,
      free_pages: freePages(zone),
      pcp_pages: zone.pagesByOwner[OWNER_PCP],
      free_blocks_by_order: zone.freeBlocksByOrder,
      free_blocks_by_order_drained: zone.freeBlocksDrained,
      churn_by_order: churnByZone[i] ?? null,
      census: censusJson(zone.pagesByOwner),
      pageblocks: pageblocksJson(zone.blocksByType, zone.contents),
      index: indexJson(zone.freeBlocksByOrder),
    })),
    census: censusJson(census.pagesByOwner),
    pageblocks: pageblocksJson(census.blocksByType, census.contents),
    index: indexJson(sumByOrder(census.zones)),
    inferred: inferredJson(map.inferred),
  }
}

const censusJson = (pagesByOwner: readonly number[]): Record<string, number> =>
  Object.fromEntries(
    pagesByOwner.flatMap((pages, owner) => (pages > 0 ? [[ownerId(owner), pages] as const] : [])),
  )

const pageblocksJson = (
  blocksByType: readonly number[],
  contents: BlockContents,
): Record<string, unknown> => ({
  ...Object.fromEntries(blocksByType.map((blocks, type) => [nameOfType(type).toLowerCase(), blocks])),
  contents: {
    free: contents.free,
    in_use_huge: contents.inUseHuge,
    movable: contents.movable,
    hostage: contents.hostage,
  },
})

const indexJson = (freeBlocksByOrder: readonly number[]): Record<string, number[]> => ({
  fragmentation: allOrders.map((order) => fragmentationIndex(freeBlocksByOrder, order)),
  unusable: allOrders.map((order) => unusableIndex(freeBlocksByOrder, order)),
  extfrag_percent: allOrders.map((order) => extfragPercent(freeBlocksByOrder, order)),
})

/** What was not read but concluded, for `inspect` and `explain`. */
export const inferredJson = (inferred: Inferred): Record<string, unknown> => ({
  pageblock_types: inferred.pageblockTypes,
  pcp_pages: inferred.pcpPages,
  pcp_pages_stated: inferred.pcpPagesStated,
  untyped_pages: inferred.untypedPages,
  zsmalloc_pages: inferred.zsmallocPages,
  hole_pages: inferred.holePages,
  uninitialised_pages: inferred.uninitialisedPages,
  pins_visible: inferred.pinsVisible,
  pins_outstanding: inferred.pinsOutstanding ?? null,
})

/** Name, side, kernel and size of a capture, in one line. */
export function describeCapture(capture: Capture): string {
  const { name, label, kernel, source } = capture.provenance
  const parts = [name, label, kernel && `kernel ${kernel}`].filter(
    (part) => part !== undefined && part !== '',
  )
  return `${parts.length > 0 ? parts.join(', ') : source}: ${grouped(capture.pfnCount)} page frames, ${sizeText(capture.pfnCount)}`
}

function zonesText({ census, churnByZone }: Report): string {
  const rows = census.zones.map((zone, i) => [
    `${zone.zone.node} ${zone.zone.name}`,
    sizeText(zone.zone.managed),
    sizeText(freePages(zone)),
    sizeText(zone.pagesByOwner[OWNER_PCP]),
    ...zone.freeBlocksByOrder.map(String),
    describeChurn(churnByZone[i]),
  ])
  const header = ['zone', 'managed', 'free', 'per-cpu', ...allOrders.map((order) => `o${order}`), 'buddyinfo']
  return `free blocks by order\n${table(`lrrr${'r'.repeat(ORDERS)}l`, [header, ...rows])}`
}

function describeChurn(differences: readonly number[] | undefined): string {
  if (!differences) return 'absent'
  const blocks = differences.reduce((sum, difference) => sum + Math.abs(difference), 0)
  return blocks === 0 ? 'equal' : `differs by ${blocks} blocks (read at another moment)`
}

function ownersText({ pagesByOwner }: Census): string {
  const total = pagesByOwner.reduce((sum, pages, owner) => (owner === OWNER_HOLE ? sum : sum + pages), 0)
  const owners = pagesByOwner
    .map((pages, owner) => ({ pages, owner }))
    .filter(({ pages }) => pages > 0)
    .sort((a, b) => b.pages - a.pages)
  const rows = owners.map(({ pages, owner }) => [
    OWNER_CLASSES[owner].name,
    grouped(pages),
    sizeText(pages),
    owner === OWNER_HOLE ? '-' : percent(pages, total),
    OWNER_CLASSES[owner].movability.replaceAll('_', ' '),
  ])
  return `owners\n${table('lrrrl', [['owner', 'pages', 'size', 'part', 'can it move'], ...rows])}`
}

function pageblocksText({ blocksByType, contents }: Census): string {
  const total = blocksByType.reduce((sum, blocks) => sum + blocks, 0)
  const types = blocksByType.map((blocks, type) => [
    nameOfType(type).toLowerCase(),
    grouped(blocks),
    percent(blocks, total),
  ])
  const inside: [string, number][] = [
    ['free', contents.free],
    ['in use as a huge page', contents.inUseHuge],
    ['all in use can move', contents.movable],
    ['held by pages that cannot', contents.hostage],
  ]
  const kinds = inside.map(([name, blocks]) => [name, grouped(blocks), percent(blocks, total)])
  return `pageblocks of 2 MiB by migratetype\n${table(
    'lrr',
    types.filter(([, blocks]) => blocks !== '0'),
  )}
pageblocks by what is in them
${table('lrr', kinds)}`
}

function indexText(zones: readonly ZoneCensus[]): string {
  const rows = zones.flatMap((zone) => {
    const blocks = zone.freeBlocksByOrder
    const name = `${zone.zone.node} ${zone.zone.name}`
    return [
      [name, 'fragmentation', ...allOrders.map((order) => thousandths(fragmentationIndex(blocks, order)))],
      [name, 'unusable', ...allOrders.map((order) => thousandths(unusableIndex(blocks, order)))],
    ]
  })
  const header = ['zone', 'index', ...allOrders.map((order) => `o${order}`)]
  return `fragmentation (-1: not fragmented, 0: short of memory, 1: fragmented) and unusable free memory\n${table(`ll${'r'.repeat(ORDERS)}`, [header, ...rows])}`
}

const thousandths = (value: number): string => (value === -1000 ? '-1' : (value / 1000).toFixed(3))

/** What was not read but concluded, one line each. */
export function inferredText(inferred: Inferred): string {
  const lines: string[] = []
  if (inferred.pageblockTypes)
    lines.push('pageblock types: concluded from content, cut at the counts of pagetypeinfo')
  if (inferred.pcpPages > 0) {
    lines.push(
      `per-cpu free pages: ${grouped(inferred.pcpPages)} concluded (zoneinfo, read at another moment, says ${grouped(inferred.pcpPagesStated)})`,
    )
  }
  if (inferred.untypedPages > 0) {
    lines.push(
      `unknown: ${grouped(inferred.untypedPages)} pages without flags are the kernel's or per-cpu free; they count as the kernel's`,
    )
  }
  if (inferred.zsmallocPages > 0) {
    lines.push(`zsmalloc: ${grouped(inferred.zsmallocPages)} pages concluded, this kernel does not mark them`)
  }
  if (inferred.holePages > 0)
    lines.push(`holes: ${grouped(inferred.holePages)} pages concluded from zoneinfo`)
  if (inferred.uninitialisedPages > 0) {
    lines.push(`not initialised yet: ${grouped(inferred.uninitialisedPages)} pages, taken as free`)
  }
  if (!inferred.pinsVisible) lines.push(pinsText(inferred.pinsOutstanding))
  return lines.length === 0
    ? 'nothing was inferred\n'
    : `inferred, not read\n${lines.map((line) => `  ${line}\n`).join('')}`
}

function pinsText(pinsOutstanding: number | undefined): string {
  if (pinsOutstanding === 0) return 'pins: not visible in this capture; the kernel counts none (FOLL_PIN)'
  const count =
    pinsOutstanding === undefined
      ? 'this kernel does not count them'
      : `${grouped(pinsOutstanding)} outstanding (FOLL_PIN)`
  return `pins: not visible in this capture, pinned pages count as movable; ${count}`
}
