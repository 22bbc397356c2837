/**
 * Where an owner's state is: the arena's cells and lists for owners are one row each, and whoever sets a machine up
 * gives every owner a stretch of them.
 *
 * @ours
 */

/** An owner's stretch. It says itself how long that must be. */
export interface OwnerPlace {
  /** The first of its cells of `ownerCells`. */
  readonly cell: number
  /** The first of its lists, `mm.ownerList(list)`. */
  readonly list: number
}
