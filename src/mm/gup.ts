/**
 * References and pins that somebody outside the owner holds on a user page.
 *
 * FOLL_GET (`getUserPage`) adds one reference: a page with more references than mappings cannot move as
 * long as it lasts. FOLL_PIN (`pinUserPage`) says that the page's data will be accessed: it adds
 * GUP_PIN_COUNTING_BIAS references to a small folio, so that both are told apart; a large folio counts
 * its pins apart, in the links of its first tail page.
 *
 * Not here: pins for long (gup_longterm.ts).
 *
 * @kernel mm/gup.c try_grab_folio(), include/linux/mm.h folio_maybe_dma_pinned() v6.18
 */

import { assert } from '../base/assert.ts'
import type { Cpu } from '../base/cpu.ts'
import { type NodeColumn, nidOf, type Pfn, pfnOf } from '../base/units.ts'
import { GUP_PIN_COUNTING_BIAS, PG_head } from './limits.ts'
import { nodeOf } from './lru.ts'
import { folioHead, type Mm } from './page.ts'
import { putPage } from './page_alloc.ts'

/** Takes a reference unless the folio is free or frozen. @kernel folio_try_get() */
export function tryGetPage(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  return cpu.addUnlessZero(mm.refcount, pfn)
}

/** FOLL_GET: a reference on the folio that holds a mapped page. The caller's mapping keeps it alive. */
export function getUserPage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  const alive = cpu.addUnlessZero(mm.refcount, folioHead(cpu, mm, pfn))
  assert(alive, 'get_user_page: the page is free')
}

/** Drops the reference of getUserPage(). */
export function putUserPage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  putPage(cpu, mm, folioHead(cpu, mm, pfn))
}

/** The cell that counts the pins of a large folio: the links of its first tail, which is on no list. */
const pincountCell = (head: Pfn): Pfn => pfnOf(2 * (head + 1))

/** FOLL_PIN: pins the folio that holds a mapped page. The caller's mapping keeps it alive. */
export function pinUserPage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  const head = folioHead(cpu, mm, pfn)
  cpu.add(mm.refcount, head, 1)
  makePin(cpu, mm, head)
}

/**
 * FOLL_PIN of whatever holds a page that was found in a page table a moment ago: it may be free by now, or another's.
 * True: it is pinned, and the caller looks again whether its pte still maps it. False: free, or frozen.
 *
 * @kernel mm/gup.c try_grab_folio_fast() v6.18
 */
export function tryGrabFolio(cpu: Cpu, mm: Mm, pfn: Pfn): boolean {
  const head = folioHead(cpu, mm, pfn)
  if (!cpu.addUnlessZero(mm.refcount, head)) return false
  makePin(cpu, mm, head)
  return true
}

/** Makes a reference that the caller has a pin. */
function makePin(cpu: Cpu, mm: Mm, head: Pfn): void {
  if ((cpu.load(mm.flags, head) & PG_head) !== 0) cpu.add(mm.links, pincountCell(head), 1)
  else cpu.add(mm.refcount, head, GUP_PIN_COUNTING_BIAS - 1)
  countPins(mm, mm.nrFollPinAcquired, head)
}

/** Undoes pinUserPage() and tryGrabFolio(). @kernel mm/gup.c gup_put_folio() v6.18 */
export function unpinUserPage(cpu: Cpu, mm: Mm, pfn: Pfn): void {
  const head = folioHead(cpu, mm, pfn)
  countPins(mm, mm.nrFollPinReleased, head)
  if ((cpu.load(mm.flags, head) & PG_head) !== 0) cpu.add(mm.links, pincountCell(head), -1)
  else cpu.add(mm.refcount, head, 1 - GUP_PIN_COUNTING_BIAS)
  putPage(cpu, mm, head)
}

/** Counts a pin, or the end of one, as /proc/vmstat does: since the machine came up. No decision depends on it. */
function countPins(mm: Mm, counter: NodeColumn, head: Pfn): void {
  counter[nidOf(nodeOf(mm, head))]++
}

/** True if the folio is probably pinned: exact for large folios, a guess from the count for small ones. */
export function folioMaybeDmaPinned(cpu: Cpu, mm: Mm, head: Pfn): boolean {
  if ((cpu.load(mm.flags, head) & PG_head) !== 0) return cpu.load(mm.links, pincountCell(head)) > 0
  return cpu.load(mm.refcount, head) >= GUP_PIN_COUNTING_BIAS
}
