/**
 * zsmalloc: looking at an object against migration of the page that it is in.
 *
 * The real code. Users know an object by a handle, a cell that holds the object's page and place and a pin bit.
 * zs_map_object() pins the handle, reads the page from it, the zspage from the page, and takes the zspage's lock
 * for reading until zs_unmap_object(). zs_page_migrate() takes that lock for writing, copies the page, changes the
 * handles of its objects and replaces the page in the chain. Between reading the handle and having the lock, a
 * user knows a page that nothing keeps in the zspage. So the commit that brought migration demands both: the
 * zspage lock, and a pin on every object that begins in the page, by trypin; if one of them is pinned the
 * migration gives up with -EAGAIN and lets go of those that it has. (Later kernels have a pool lock instead of
 * pins.)
 *
 * The model. A zspage of two pages. Object 0 is in the first page; object 1 begins there and ends in the second
 * one. `actors` users of object 1: the first one changes it, the others read it; both of its pieces always hold
 * the same number. Two migrators, one a page. The handle cell is bit 0 for the pin, the page above. The zspage
 * lock is a writer bit and a count of readers. After a move the old page is somebody else's, whose bytes are -1.
 *
 * Verified: a user finds the object whole, with the bytes that were written last, wherever it is; a migration
 * that gives up has changed nothing.
 *
 * Not verified here: that an isolated zspage takes no new objects (nothing is allocated), freeing of objects, the
 * class lock (it keeps zs_free() and zs_compact() away, which the model has not), page locks, and more than one
 * migrator a page, which page locks exclude. `pages` is ignored.
 */

import { assert } from '../../base/assert.ts'
import type { Cpu } from '../../base/cpu.ts'
import type { System } from '../../check/system.ts'
import { EAGAIN } from '../../mm/limits.ts'
import { SPIN_LOCKED } from '../../mm/locks.ts'
import type { Model } from '../model.ts'

interface Zspage {
  readonly handles: Int32Array // of object 0 and 1: HANDLE_PIN, and the page in which it begins
  readonly private: Int32Array // 1: the page belongs to the zspage
  readonly index: Int32Array // next page of the chain; 0: it is the last one
  readonly firstPage: Int32Array
  readonly bytes: Int32Array // two pieces a page: OBJECT_0 and HEAD_OF_1, or TAIL_OF_1
  readonly lock: Int32Array // SPIN_LOCKED: a writer has it, or waits for the readers
  readonly readers: Int32Array
}

const HANDLE_PIN = 1
const pageOf = (handle: number): number => handle >> 1
const handleAt = (page: number): number => page << 1

// Pages; no page is 0.
const FIRST = 1
const SECOND = 2
const NEW_FIRST = 3
const NEW_SECOND = 4

/** The place of a piece of a page in `bytes`. */
const pieceAt = (page: number, piece: number): number => 2 * page + piece
const OBJECT_0 = 0
const HEAD_OF_1 = 1
const TAIL_OF_1 = 0

/** What users write into both pieces of object 1. */
const OLD = 1
const NEW = 2
/** What the next owner of a page writes. */
const FOREIGN = -1

const READERS = 0xff

export const zsMapObject: Model = {
  name: 'zs-map-object',
  question:
    'Can a user of a zsmalloc object find it torn, stale or gone while the pages that it is in migrate?',
  source: '48b4800a1c6a ("zsmalloc: page migration support"), section 2.2 of the specification',
  seeded: {
    'not-every-object-pinned': 'migration pins the first object of the page only',
    'no-zspage-lock': 'migration pins every object but does not take the zspage lock',
  },
  size: { actors: 2, pages: 2 },
  sizeMax: { actors: 4, pages: 2 },
  build: ({ actors }, seeded): System<Zspage> => {
    const migratePage = seeded === 'no-zspage-lock' ? movePinned : migrate
    const pinned = seeded === 'not-every-object-pinned' ? [0] : [0, 1]
    return {
      name: 'zs-map-object',
      state: zspage(),
      tasks: [
        { name: 'writer', run: writeObject },
        ...(actors > 1 ? [{ name: 'reader', copies: actors - 1, run: readObject }] : []),
        { name: 'migrator 1', run: (cpu, z) => migratePage(cpu, z, FIRST, NEW_FIRST, pinned) },
        { name: 'migrator 2', run: (cpu, z) => migratePage(cpu, z, SECOND, NEW_SECOND, []) },
      ],
      atEnd: [
        {
          name: 'last-write-kept',
          says: 'the objects hold what was written last',
          holds: (z) => {
            const first = z.firstPage[0]
            return (
              z.bytes[pieceAt(first, OBJECT_0)] === OLD &&
              z.bytes[pieceAt(first, HEAD_OF_1)] === NEW &&
              z.bytes[pieceAt(z.index[first], TAIL_OF_1)] === NEW
            )
          },
        },
        {
          name: 'again-means-unchanged',
          says: 'handles lead to the first page of the chain: the old one if its migration gave up, else the new one',
          holds: (z, where) => {
            const first = where.results('migrator 1')[0] === -EAGAIN ? FIRST : NEW_FIRST
            return [z.handles[0], z.handles[1]].every((handle) => handle === handleAt(first))
          },
        },
      ],
    }
  },
}

function zspage(): Zspage {
  const bytes = new Int32Array(pieceAt(NEW_SECOND, 0) + 2)
  bytes[pieceAt(FIRST, OBJECT_0)] = OLD
  bytes[pieceAt(FIRST, HEAD_OF_1)] = OLD
  bytes[pieceAt(SECOND, TAIL_OF_1)] = OLD
  return {
    handles: Int32Array.of(handleAt(FIRST), handleAt(FIRST)),
    private: Int32Array.of(0, 1, 1, 0, 0),
    index: Int32Array.of(0, SECOND, 0, 0, 0),
    firstPage: Int32Array.of(FIRST),
    bytes,
    lock: new Int32Array(1),
    readers: new Int32Array(1),
  }
}

// Users.

function writeObject(cpu: Cpu, z: Zspage): void {
  const page = zsMap(cpu, z, 1)
  cpu.store(z.bytes, pieceAt(page, HEAD_OF_1), NEW)
  cpu.store(z.bytes, pieceAt(cpu.load(z.index, page), TAIL_OF_1), NEW)
  zsUnmap(cpu, z, 1)
}

function readObject(cpu: Cpu, z: Zspage): number {
  const page = zsMap(cpu, z, 1)
  const head = cpu.load(z.bytes, pieceAt(page, HEAD_OF_1))
  const tail = cpu.load(z.bytes, pieceAt(cpu.load(z.index, page), TAIL_OF_1))
  assert(head === tail, 'zs_map_object: both pieces of the object are of one time')
  zsUnmap(cpu, z, 1)
  return head
}

/** Makes the object stay where it is. Gives the page in which it begins. */
function zsMap(cpu: Cpu, z: Zspage, object: number): number {
  cpu.lock(z.handles, object, HANDLE_PIN)
  const page = pageOf(cpu.load(z.handles, object))
  assert(cpu.load(z.private, page) === 1, 'zs_map_object: the page belongs to the zspage')
  cpu.atomically(z.lock, 0, SPIN_LOCKED, addReaderLocked, z, 0, 0, 0)
  return page
}

function zsUnmap(cpu: Cpu, z: Zspage, object: number): void {
  cpu.add(z.readers, 0, -1)
  cpu.unlock(z.handles, object, HANDLE_PIN)
}

function addReaderLocked(z: Zspage): number {
  z.readers[0]++
  return 0
}

// Migration.

/** Moves one page of the zspage under its lock. -EAGAIN: an object is in use; nothing has changed. */
function migrate(cpu: Cpu, z: Zspage, src: number, dst: number, objects: readonly number[]): number {
  cpu.lock(z.lock, 0, SPIN_LOCKED)
  cpu.waitClear(z.readers, 0, READERS)
  const rc = movePinned(cpu, z, src, dst, objects)
  cpu.unlock(z.lock, 0, SPIN_LOCKED)
  return rc
}

/** Pins `objects`, moves the page, and unpins them. */
function movePinned(cpu: Cpu, z: Zspage, src: number, dst: number, objects: readonly number[]): number {
  const pins = tryPinAll(cpu, z, objects)
  if (pins === objects.length) movePage(cpu, z, src, dst)
  for (const object of objects.slice(0, pins)) cpu.unlock(z.handles, object, HANDLE_PIN)
  return pins === objects.length ? 0 : -EAGAIN
}

/** Gives the number of objects that it could pin, from the first one on. */
function tryPinAll(cpu: Cpu, z: Zspage, objects: readonly number[]): number {
  const busy = objects.findIndex((object) => !cpu.tryLock(z.handles, object, HANDLE_PIN))
  return busy < 0 ? objects.length : busy
}

/** Copy, handles, chain; then the old page is somebody else's. */
function movePage(cpu: Cpu, z: Zspage, src: number, dst: number): void {
  cpu.store(z.bytes, pieceAt(dst, 0), cpu.load(z.bytes, pieceAt(src, 0)))
  if (src === FIRST) {
    cpu.store(z.bytes, pieceAt(dst, 1), cpu.load(z.bytes, pieceAt(src, 1)))
    for (const object of [0, 1]) cpu.add(z.handles, object, handleAt(dst) - handleAt(src))
  }
  replaceSubPage(cpu, z, src, dst)
  cpu.store(z.private, src, 0)
  cpu.store(z.bytes, pieceAt(src, 0), FOREIGN)
  cpu.store(z.bytes, pieceAt(src, 1), FOREIGN)
}

function replaceSubPage(cpu: Cpu, z: Zspage, src: number, dst: number): void {
  cpu.store(z.private, dst, 1)
  if (src === FIRST) {
    cpu.store(z.index, dst, cpu.load(z.index, src))
    cpu.store(z.firstPage, 0, dst)
  } else {
    cpu.store(z.index, cpu.load(z.firstPage, 0), dst)
  }
}
