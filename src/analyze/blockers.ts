/**
 * Blockers: which pages stand between a machine and blocks of an order that it wants, whose they are, what clearing costs.
 *
 * Memory is seen as aligned blocks of the wanted order. Of each block it is asked what compaction could make of it:
 *
 *   free        nothing in use
 *   huge        in use, as a huge page: nothing to gain
 *   obtainable  everything in use can move: compaction gets it, if there is room elsewhere
 *   hostage     at least one page cannot move. Those pages are the blockers.
 *
 * Blocks are disjoint, so clearing one never helps another, and the fewest pages for B blocks are the blockers of the B
 * blocks that have the fewest: taking blocks in that order is exact, not a heuristic. The curve (pages cleared, blocks gained)
 * is therefore a histogram of blocks by number of blockers.
 *
 * Rules:
 *   - pages on per-cpu lists count as free: they return to the free lists by themselves within seconds;
 *   - a page of unknown owner counts as a blocker, and is reported as such, not added to another owner;
 *   - a block that is not wholly memory of one zone is no block.
 *
 * Not here: whether there is room to move what must move (that is a prediction: load.ts and the engine).
 */

import { grouped } from '../base/text.ts'
import {
  OWNER_CLASSES,
  OWNER_COUNT,
  OWNER_FREE,
  OWNER_HOLE,
  OWNER_PCP,
  OWNER_UNINITIALISED,
} from './classify.ts'

type BlockState = 'free' | 'huge' | 'obtainable' | 'hostage'

/** Pages [start, end). */
export interface PfnRange {
  readonly start: number
  readonly end: number
}

/** What is looked at: all blocks of an order within ranges that no block may leave. */
export interface BlockTarget {
  readonly order: number
  /** Zones, or a part of one. */
  readonly spans: readonly PfnRange[]
  /** Blocks are cut at the ends of a span (a pfn range is asked for), instead of being left out (zones). */
  readonly cut: boolean
}

/** Pages of one owner that block. */
export interface OwnerBlockers {
  readonly owner: number
  readonly pages: number
  /** Hostage blocks with at least one such page. */
  readonly blocks: number
  /** Blocks where nobody else blocks: with these pages gone, compaction gets them. */
  readonly blocksUnlocked: number
  /** Runs of such pages, those in the blocks with the fewest blockers first. At most RANGES_MAX. */
  readonly ranges: readonly PfnRange[]
}

/** One step of the curve: all hostage blocks with this number of blockers. */
export interface CurveStep {
  readonly blockersPerBlock: number
  /** Blocks gained and pages cleared when these and all blocks with fewer blockers are cleared. */
  readonly blocks: number
  readonly pages: number
  /** Pages that compaction then has to move out of those blocks. */
  readonly pagesToMove: number
}

/** One run of pages of the same owner that is the only obstacle in several blocks. */
export interface WideBlocker extends PfnRange {
  readonly owner: number
  readonly blocks: number
}

export interface BlockerFindings {
  readonly target: BlockTarget
  readonly blocks: {
    readonly free: number
    readonly huge: number
    /** Blocks in which all that is in use can move. */
    readonly obtainable: number
    readonly hostage: number
    /** Memory whose struct pages are not initialised yet: the kernel will have it, and has it not. */
    readonly notInitialised: number
  }
  /** Blocks that compaction can get at most: the obtainable ones, and no more than the free pages make up. */
  readonly obtainableAtMost: number
  /** By owner; most blocks unlocked first. */
  readonly owners: readonly OwnerBlockers[]
  /** By number of blockers, ascending; the last step is everything. */
  readonly curve: readonly CurveStep[]
  /** Hostage blocks that one page holds. */
  readonly heldByOnePage: number
  /** Fewest pages a block first. At most RANGES_MAX. */
  readonly wide: readonly WideBlocker[]
  /** Pages to move to get all obtainable blocks. */
  readonly pagesToMove: number
  /** The hostage blocks worth freeing: few blockers (CHEAP_PART of the block), or if none has few, those with the fewest. */
  readonly cheap: CheapSet
}

/** Blocks with few blockers, and whose those are. */
export interface CheapSet {
  readonly blocks: number
  readonly pages: number
  readonly pagesToMove: number
  /** No block of the set has more blockers. */
  readonly blockersMax: number
  /** Pages by owner, most first. */
  readonly owners: readonly { readonly owner: number; readonly pages: number }[]
}

/** A hostage block is cheap if at most this part of its pages block. */
const CHEAP_PART = 1 / 16

export const RANGES_MAX = 8

/** For each owner class: 0 free, 1 movable, 2 huge, 3 blocks, 4 no memory. */
const ROLE_FREE = 0
const ROLE_MOVABLE = 1
const ROLE_HUGE = 2
const ROLE_BLOCKS = 3
const ROLE_ABSENT = 4
const ROLE_OF_OWNER = Uint8Array.from(OWNER_CLASSES, ({ movability }) => {
  if (movability === 'free') return ROLE_FREE
  if (movability === 'absent') return ROLE_ABSENT
  if (movability === 'in_use_huge') return ROLE_HUGE
  return movability === 'movable' || movability === 'movable_if_unpinned' ? ROLE_MOVABLE : ROLE_BLOCKS
})

/** A block of the target, while it is looked at. */
interface HostageBlock extends PfnRange {
  readonly blockers: number
  readonly movable: number
  /** Bit per owner that blocks here. */
  readonly owners: number
}

/** Finds what blocks the target. `owner` is the page map's column. */
export function findBlockers(owner: Uint8Array, target: BlockTarget): BlockerFindings {
  const tally = new Tally(target.order)
  forEachBlock(target, (start, end) => {
    tally.add(owner, start, end)
  })
  const hostages = tally.hostagesByBlockers()
  return {
    target,
    blocks: tally.blocks,
    owners: ownersOf(owner, tally, hostages),
    curve: curveOf(tally),
    heldByOnePage: tally.blocksByBlockers[1],
    wide: wideBlockers(owner, hostages, target.order),
    obtainableAtMost: Math.min(
      tally.blocks.obtainable,
      Math.max(0, Math.floor(tally.freePages / 2 ** target.order) - tally.blocks.free),
    ),
    pagesToMove: tally.obtainablePagesToMove,
    cheap: cheapSet(owner, hostages, target.order),
  }
}

/** Most blockers that a cheap block has. `hostages` by number of blockers. */
const cheapLimit = (order: number, hostages: readonly HostageBlock[]): number =>
  Math.max(1, 2 ** order * CHEAP_PART, hostages[0]?.blockers ?? 0)

function cheapSet(owner: Uint8Array, hostages: readonly HostageBlock[], order: number): CheapSet {
  const blockersMax = cheapLimit(order, hostages)
  const pagesByOwner = new Float64Array(OWNER_COUNT)
  let blocks = 0
  let pages = 0
  let pagesToMove = 0
  for (const block of hostages) {
    if (block.blockers > blockersMax) break
    blocks++
    pages += block.blockers
    pagesToMove += block.movable
    for (let pfn = block.start; pfn < block.end; pfn++) {
      if (block.owners & (1 << owner[pfn])) pagesByOwner[owner[pfn]]++
    }
  }
  const owners = Array.from(pagesByOwner, (count, o) => ({ owner: o, pages: count })).filter(
    (entry) => entry.pages > 0,
  )
  return {
    blocks,
    pages,
    pagesToMove,
    blockersMax,
    owners: owners.sort((a, b) => b.pages - a.pages || a.owner - b.owner),
  }
}

/** Blocks in order of address. */
export function forEachBlock(target: BlockTarget, visit: (start: number, end: number) => void): void {
  const pages = 2 ** target.order
  for (const span of target.spans) {
    const aligned = target.cut ? Math.floor(span.start / pages) : Math.ceil(span.start / pages)
    for (let start = aligned * pages; start < span.end; start += pages) {
      if (target.cut) visit(Math.max(start, span.start), Math.min(start + pages, span.end))
      else if (start + pages <= span.end) visit(start, start + pages)
    }
  }
}

/** A huge page that fills the block is what was wanted; one that only shares it (order 10) blocks, for it does not move. */
function stateOfCounts(pages: number, used: number, huge: number, blockers: number): BlockState {
  if (used === 0) return 'free'
  if (huge === pages) return 'huge'
  return blockers + huge === 0 ? 'obtainable' : 'hostage'
}

class Tally {
  readonly blocks = { free: 0, huge: 0, obtainable: 0, hostage: 0, notInitialised: 0 }
  freePages = 0
  readonly pagesByOwner = new Float64Array(OWNER_COUNT)
  readonly blocksByOwner = new Float64Array(OWNER_COUNT)
  readonly unlockedByOwner = new Float64Array(OWNER_COUNT)
  /** Hostage blocks, and movable pages in them, by number of blockers. */
  readonly blocksByBlockers: Float64Array
  readonly movableByBlockers: Float64Array
  obtainablePagesToMove = 0
  private readonly hostages: HostageBlock[] = []
  private readonly inBlock = new Int32Array(OWNER_COUNT)

  constructor(order: number) {
    this.blocksByBlockers = new Float64Array(2 ** order + 1)
    this.movableByBlockers = new Float64Array(2 ** order + 1)
  }

  add(owner: Uint8Array, start: number, end: number): void {
    const { inBlock } = this
    inBlock.fill(0)
    for (let pfn = start; pfn < end; pfn++) inBlock[owner[pfn]]++
    this.freePages += inBlock[OWNER_FREE] + inBlock[OWNER_PCP]
    if (inBlock[OWNER_HOLE] > 0) return
    if (inBlock[OWNER_UNINITIALISED] > 0 && inBlock[OWNER_UNINITIALISED] === end - start) {
      this.blocks.notInitialised++
      return
    }
    let used = 0
    let huge = 0
    let movable = 0
    let blockers = 0
    for (let o = 0; o < OWNER_COUNT; o++) {
      const role = ROLE_OF_OWNER[o]
      if (role === ROLE_FREE) continue
      used += inBlock[o]
      if (role === ROLE_MOVABLE) movable += inBlock[o]
      else if (role === ROLE_HUGE) huge += inBlock[o]
      else blockers += inBlock[o]
    }
    const state = stateOfCounts(end - start, used, huge, blockers)
    this.blocks[state]++
    if (state === 'obtainable') this.obtainablePagesToMove += movable
    else if (state === 'hostage') this.addHostage(start, end, blockers + huge, movable)
  }

  private addHostage(start: number, end: number, blockers: number, movable: number): void {
    this.blocksByBlockers[blockers]++
    this.movableByBlockers[blockers] += movable
    let owners = 0
    let only = -1
    for (let o = 0; o < OWNER_COUNT; o++) {
      if (this.inBlock[o] === 0 || ROLE_OF_OWNER[o] < ROLE_HUGE) continue
      this.pagesByOwner[o] += this.inBlock[o]
      this.blocksByOwner[o]++
      only = owners === 0 ? o : -1
      owners |= 1 << o
    }
    if (only >= 0) this.unlockedByOwner[only]++
    this.hostages.push({ start, end, blockers, movable, owners })
  }

  /** Fewest blockers first, then by address. */
  hostagesByBlockers(): readonly HostageBlock[] {
    return this.hostages.sort((a, b) => a.blockers - b.blockers || a.start - b.start)
  }
}

function ownersOf(owner: Uint8Array, tally: Tally, hostages: readonly HostageBlock[]): OwnerBlockers[] {
  const ranges = representativeRanges(owner, tally, hostages)
  const found: OwnerBlockers[] = []
  for (let o = 0; o < OWNER_COUNT; o++) {
    if (tally.pagesByOwner[o] === 0) continue
    found.push({
      owner: o,
      pages: tally.pagesByOwner[o],
      blocks: tally.blocksByOwner[o],
      blocksUnlocked: tally.unlockedByOwner[o],
      ranges: ranges[o],
    })
  }
  return found.sort((a, b) => b.blocksUnlocked - a.blocksUnlocked || b.pages - a.pages || a.owner - b.owner)
}

function representativeRanges(
  owner: Uint8Array,
  tally: Tally,
  hostages: readonly HostageBlock[],
): PfnRange[][] {
  const ranges: PfnRange[][] = Array.from({ length: OWNER_COUNT }, () => [])
  let wanted = 0
  for (let o = 0; o < OWNER_COUNT; o++) if (tally.pagesByOwner[o] > 0) wanted |= 1 << o
  for (const block of hostages) {
    if (wanted === 0) break
    if ((block.owners & wanted) === 0) continue
    let pfn = block.start
    while (pfn < block.end) {
      const o = owner[pfn]
      const start = pfn
      while (pfn < block.end && owner[pfn] === o) pfn++
      if ((wanted & block.owners & (1 << o)) === 0) continue
      ranges[o].push({ start, end: pfn })
      if (ranges[o].length === RANGES_MAX) wanted &= ~(1 << o)
    }
  }
  return ranges
}

function curveOf(tally: Tally): CurveStep[] {
  const curve: CurveStep[] = []
  let blocks = 0
  let pages = 0
  let pagesToMove = 0
  for (let blockers = 1; blockers < tally.blocksByBlockers.length; blockers++) {
    if (tally.blocksByBlockers[blockers] === 0) continue
    blocks += tally.blocksByBlockers[blockers]
    pages += tally.blocksByBlockers[blockers] * blockers
    pagesToMove += tally.movableByBlockers[blockers]
    curve.push({ blockersPerBlock: blockers, blocks, pages, pagesToMove })
  }
  return curve
}

/** Fewest pages to clear for `blocks` hostage blocks; undefined if there are not that many. */
export function pagesToClear(curve: readonly CurveStep[], blocks: number): number | undefined {
  let below: CurveStep = { blockersPerBlock: 0, blocks: 0, pages: 0, pagesToMove: 0 }
  for (const step of curve) {
    if (blocks <= step.blocks) return below.pages + (blocks - below.blocks) * step.blockersPerBlock
    below = step
  }
  return blocks === 0 ? 0 : undefined
}

/**
 * Runs of one owner that reach over a border of cheap blocks, where they are the only blocker on both sides. One allocation, if it is
 * a compound page; neighbours of the same kind otherwise.
 */
function wideBlockers(owner: Uint8Array, hostages: readonly HostageBlock[], order: number): WideBlocker[] {
  const limit = cheapLimit(order, hostages)
  const single = hostages
    .filter(({ owners, blockers }) => blockers <= limit && (owners & (owners - 1)) === 0)
    .sort((a, b) => a.start - b.start)
  const wide: WideBlocker[] = []
  let run: { owner: number; start: number; end: number; blocks: number } | undefined
  const close = (): void => {
    if (run && run.blocks > 1)
      wide.push({ start: run.start, end: run.end, owner: run.owner, blocks: run.blocks })
    run = undefined
  }
  for (const block of single) {
    const o = 31 - Math.clz32(block.owners)
    const runs = edgeRuns(owner, block, o)
    const continues = run !== undefined && run.owner === o && run.end === block.start && runs.count === 1
    if (run && continues && runs.head > 0) {
      run.end = block.start + runs.head
      run.blocks++
      if (runs.head < block.end - block.start) close()
      continue
    }
    close()
    // A run that begins here must be the only one of its block, and reach the block's end.
    if (runs.count === 1 && runs.tail > 0) {
      run = { owner: o, start: block.end - runs.tail, end: block.end, blocks: 1 }
    }
  }
  close()
  const pagesPerBlock = ({ start, end, blocks }: WideBlocker): number => (end - start) / blocks
  return wide
    .sort((a, b) => pagesPerBlock(a) - pagesPerBlock(b) || b.blocks - a.blocks || a.start - b.start)
    .slice(0, RANGES_MAX)
}

/** Runs of pages of `o` in a block: how many, and the lengths of those at its start and its end. */
function edgeRuns(
  owner: Uint8Array,
  block: PfnRange,
  o: number,
): { count: number; head: number; tail: number } {
  let count = 0
  for (let pfn = block.start; pfn < block.end; pfn++) {
    if (owner[pfn] === o && (pfn === block.start || owner[pfn - 1] !== o)) count++
  }
  let head = 0
  while (block.start + head < block.end && owner[block.start + head] === o) head++
  let tail = 0
  while (block.end - tail > block.start && owner[block.end - tail - 1] === o) tail++
  return { count, head, tail }
}

/** What clears the pages of an owner. `command` is for a shell of the machine; empty if there is none. */
export interface Remedy {
  readonly what: string
  readonly command: string
}

const REMEDIES: Readonly<Record<string, Remedy>> = {
  slab: {
    what: 'free reclaimable slab (dentries, inodes); slab that stays is in use',
    command: 'echo 2 > /proc/sys/vm/drop_caches',
  },
  'page table': {
    what: 'page tables go when their mappings go: restart or stop the process with most of them',
    command: 'grep VmPTE /proc/[0-9]*/status | sort -nrk2 | head',
  },
  pinned: {
    what: 'stop the process that pins (io_uring buffers, RDMA, VFIO), or pin memory of hugetlb pages instead',
    command: 'grep VmPin /proc/[0-9]*/status | sort -nrk2 | head',
  },
  kernel: {
    what: 'kernel stacks, vmalloc, per-cpu areas, pipe and socket buffers: find and stop the user of most',
    command: "grep -E 'KernelStack|VmallocUsed|Percpu|Slab' /proc/meminfo",
  },
  'kernel or per-cpu free': {
    what: "capture again when the machine is idle: per-cpu lists drain within seconds, what is left is the kernel's",
    command: '',
  },
  secretmem: { what: 'stop the process that uses memfd_secret()', command: '' },
  offline: { what: 'deflate the balloon, or load a driver that can migrate its pages', command: '' },
  'zsmalloc (fixed)': { what: 'reset the zram device, or use a kernel with CONFIG_COMPACTION', command: '' },
  'huge folio': { what: 'in use as a smaller huge page: split or free it', command: '' },
  hugetlb: {
    what: 'in the hugetlb pool: shrink the pool if it is not needed',
    command: 'grep -i huge /proc/meminfo',
  },
  hwpoison: { what: 'memory error: the page never comes back', command: '' },
  reserved: { what: 'boot memory: never moves; choose another range', command: '' },
  'memory map': {
    what: 'struct pages: never move; choose another range',
    command: '',
  },
  'zero page': { what: 'never moves; choose another range', command: '' },
}

/** What to do about blockers of this owner. */
export const remedyFor = (owner: number): Remedy | undefined => REMEDIES[OWNER_CLASSES[owner].name]

/**
 * The findings in sentences for a person, the answer first. Numbers are those of the findings. `hiddenPins`: pins that the
 * kernel counts and the capture does not show.
 */
export function verdictOf(findings: BlockerFindings, hiddenPins = 0): string {
  const verdict = findings.target.cut ? verdictOfRange(findings) : verdictOfMachine(findings)
  if (hiddenPins <= 0) return verdict
  return `${verdict} Up to ${pagesText(hiddenPins)} more are pinned, and this capture does not show which.`
}

function verdictOfMachine({ target, blocks, obtainableAtMost, cheap }: BlockerFindings): string {
  const what = (count: number): string => `${grouped(count)} ${nounOf(target.order, count)}`
  const size = (count: number): string => sizeText(count * 2 ** target.order)
  const sentences = [
    `${what(blocks.free)} free (${size(blocks.free)}), ${grouped(blocks.huge)} in use as huge pages.`,
  ]
  sentences.push(
    obtainableAtMost === 0
      ? 'Compaction can free no more.'
      : `Compaction can free at most ${grouped(obtainableAtMost)} more (${size(obtainableAtMost)}): all that is free, put together.`,
  )
  if (blocks.hostage > 0) {
    const verb = cheap.pages === 1 ? 'holds' : 'hold'
    sentences.push(
      `${pagesText(cheap.pages)} ${verb} ${what(cheap.blocks)} (${size(cheap.blocks)}) hostage: ${ownersText(cheap)}.`,
    )
    if (cheap.blocks < blocks.hostage) {
      sentences.push(
        `${grouped(blocks.hostage - cheap.blocks)} more have over ${cheap.blockersMax} blockers each.`,
      )
    }
  } else sentences.push(`Nothing is held hostage at order ${target.order}.`)
  return sentences.join(' ')
}

function verdictOfRange({ target, blocks, owners, curve, cheap, pagesToMove }: BlockerFindings): string {
  const total = blocks.free + blocks.huge + blocks.obtainable + blocks.hostage
  if (total === 0) return 'There is no memory in this range.'
  const everything = curve.at(-1)
  if (!everything) {
    if (pagesToMove > 0) return `Nothing stops it: ${pagesText(pagesToMove)} have to move, and can.`
    return blocks.huge > 0 ? `In use as ${blocks.huge} huge pages, and nothing else.` : 'It is free.'
  }
  const whose = owners.map(({ owner, pages }) => `${grouped(pages)} ${OWNER_CLASSES[owner].name}`).join(', ')
  const verb = everything.pages === 1 ? 'stops' : 'stop'
  const answer = `${pagesText(everything.pages)} ${verb} it: ${whose}.`
  if (total === 1) return answer
  return `${answer} They lie in ${blocks.hostage} of ${total} blocks of order ${target.order}; ${pagesText(cheap.pages)} of them hold ${cheap.blocks}.`
}

const ownersText = ({ owners }: CheapSet): string =>
  owners.map(({ owner, pages }) => `${grouped(pages)} ${OWNER_CLASSES[owner].name}`).join(', ')

const pagesText = (pages: number): string => `${grouped(pages)} page${pages === 1 ? '' : 's'}`

/** An order-9 block is what x86 maps as one huge page. */
function nounOf(order: number, count: number): string {
  const plural = count === 1 ? '' : 's'
  return order === 9 ? `huge page${plural}` : `block${plural} of order ${order}`
}

/** A number of 4 KiB pages as GiB, MiB or KiB. */
export function sizeText(pages: number): string {
  const kib = pages * 4
  if (kib >= 2 ** 20) return `${rounded(kib / 2 ** 20)} GiB`
  return kib >= 2 ** 10 ? `${rounded(kib / 2 ** 10)} MiB` : `${kib} KiB`
}

const rounded = (value: number): string =>
  Number.isInteger(value) ? `${value}` : value.toFixed(value < 10 ? 2 : 1)
