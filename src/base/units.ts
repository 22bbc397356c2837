/**
 * Units: numbers that the compiler tells apart, at no cost at run time.
 *
 * A `Pfn` is a number with a brand. A column is an array whose index is one unit, so `flags[order]`
 * and `flags[3]` do not compile, while a plain `Int32Array` is a column without a cast.
 *
 * Rules:
 *   - Arithmetic gives back a plain number. Name the operation that means something instead
 *     (`buddyOf` here, `pageblockOf` in mm/limits.ts); the casts are the functions below.
 *   - Never cast to a unit elsewhere.
 */

declare const unit: unique symbol
declare const indexUnit: unique symbol

export type Unit<Name extends string> = number & { readonly [unit]: Name }

/** Page frame number: physical address / 4 KiB. */
export type Pfn = Unit<'pfn'>
/** Virtual page number: the index of one page table entry of the engine. 0 is no vpn. */
export type Vpn = Unit<'vpn'>
/** Size of a block as a power of two of pages, 0..MAX_PAGE_ORDER; -1 is "the whole zone" for a compaction request. */
export type Order = Unit<'order'>
/** Number of a pageblock: pfn >> pageblock_order. */
export type Pageblock = Unit<'pageblock'>
/** Index of a zone in the machine's zone table (all nodes). */
export type ZoneId = Unit<'zone'>
/** NUMA node. */
export type Nid = Unit<'node'>
/** Logical cpu of the simulated machine. */
export type CpuId = Unit<'cpu'>
/** Index of a per-cpu page set: zone * cpus + cpu. */
export type PcpId = Unit<'pcp'>
/** Index of one page cache slot: what `page->index` of a cached page names. 0 is no slot. */
export type Slot = Unit<'slot'>
/** A cell of the state that page owners keep in the arena. */
export type OwnerCell = Unit<'ownerCell'>
/** Address space: a file's page cache, or the swap cache. 0 is none. */
export type MappingId = Unit<'mapping'>
/** A node of an intrusive list: a pfn, or a list head beyond the last pfn. */
export type ListNode = Unit<'list'>

/** An array indexed by one unit. `Int32Array` is one without a cast. */
interface Column<I extends number> {
  readonly length: number
  readonly [indexUnit]?: I
}

/** What a `Cpu` operates on: an array of 32-bit cells indexed by one unit. */
export type Cells<I extends number> = Column<I>

export interface PfnColumn<V extends number = number> extends Column<Pfn> {
  [pfn: Pfn]: V
}
export interface VpnColumn<V extends number = number> extends Column<Vpn> {
  [vpn: Vpn]: V
}
export interface PageblockColumn<V extends number = number> extends Column<Pageblock> {
  [block: Pageblock]: V
}
export interface ZoneColumn<V extends number = number> extends Column<ZoneId> {
  [zone: ZoneId]: V
}
export interface NodeColumn<V extends number = number> extends Column<Nid> {
  [nid: Nid]: V
}
export interface PcpColumn<V extends number = number> extends Column<PcpId> {
  [pcp: PcpId]: V
}
export interface MappingColumn<V extends number = number> extends Column<MappingId> {
  [mapping: MappingId]: V
}
export interface OwnerColumn<V extends number = number> extends Column<OwnerCell> {
  [cell: OwnerCell]: V
}
export interface SlotColumn<V extends number = number> extends Column<Slot> {
  [slot: Slot]: V
}

// oxlint-disable typescript/no-unsafe-type-assertion -- the one place where a number becomes a unit
export function pfnOf(n: number): Pfn {
  return n as Pfn
}
export function vpnOf(n: number): Vpn {
  return n as Vpn
}
export function orderOf(n: number): Order {
  return n as Order
}
export function pageblockAt(n: number): Pageblock {
  return n as Pageblock
}
export function zoneIdOf(n: number): ZoneId {
  return n as ZoneId
}
export function nidOf(n: number): Nid {
  return n as Nid
}
export function cpuIdOf(n: number): CpuId {
  return n as CpuId
}
export function pcpIdOf(n: number): PcpId {
  return n as PcpId
}
export function mappingIdOf(n: number): MappingId {
  return n as MappingId
}
export function ownerCellOf(n: number): OwnerCell {
  return n as OwnerCell
}
export function slotOf(n: number): Slot {
  return n as Slot
}
export function listNodeOf(n: number): ListNode {
  return n as ListNode
}

/** The cells behind a column, for a `Cpu` that addresses them directly. */
export function cellsOf<I extends number>(column: Cells<I>): Int32Array {
  return column as unknown as Int32Array
}
// oxlint-enable typescript/no-unsafe-type-assertion

/** The pfn `pages` after `pfn`. */
export const pfnPlus = (pfn: Pfn, pages: number): Pfn => pfnOf(pfn + pages)
/** The buddy of a free block: the block of its order that it merges with (B-1). */
export const buddyOf = (pfn: Pfn, order: number): Pfn => pfnOf(pfn ^ (1 << order))
