/*
 * The engine's page columns, lists and buddy allocator as plain C: what src/mm/page.ts, src/base/list.ts
 * and src/mm/free_area.ts, pcp.ts and page_alloc.ts are, written by us for comparison.
 *
 * Same data layout (int32 columns of one arena in the same order, interleaved links, the same list
 * heads), same decisions in the same order, so that every column ends up equal cell by cell. Locks are
 * plain loads and stores, as they are over the engine's FastCpu; nothing is atomic. Under a lock, a count is
 * kept where C is faster for it.
 *
 * Not here: what only a loader, a checker or an analysis needs.
 */
#ifndef MM_H
#define MM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int32_t i32;
typedef uint32_t u32;

/* limits.ts */
enum {
  MAX_PAGE_ORDER = 10,
  NR_PAGE_ORDERS = 11,
  PAGEBLOCK_ORDER = 9,
  PAGEBLOCK_NR_PAGES = 512,
  PAGE_ALLOC_COSTLY_ORDER = 3,
  COMPACT_CLUSTER_MAX = 32,
  MIGRATE_UNMOVABLE = 0,
  MIGRATE_MOVABLE = 1,
  MIGRATE_RECLAIMABLE = 2,
  MIGRATE_PCPTYPES = 3,
  MIGRATE_HIGHATOMIC = 3,
  MIGRATE_CMA = 4,
  MIGRATE_ISOLATE = 5,
  MIGRATE_TYPES = 6,
  SPIN_LOCKED = 1,
};

#define PG_locked (1 << 0)
#define PG_writeback (1 << 1)
#define PG_referenced (1 << 2)
#define PG_uptodate (1 << 3)
#define PG_dirty (1 << 4)
#define PG_lru (1 << 5)
#define PG_head (1 << 6)
#define PG_active (1 << 8)
#define PG_workingset (1 << 9)
#define PG_swapcache (1 << 10)
#define PG_anon_exclusive (1 << 11)
#define PG_private (1 << 14)
#define PG_reclaim (1 << 16)
#define PG_swapbacked (1 << 17)
#define PG_unevictable (1 << 18)
#define PG_mlocked (1 << 19)
#define PG_movable_ops PG_uptodate
#define PG_movable_ops_isolated PG_reclaim
#define COMPOUND_TAIL (1 << 22)
#define COMPOUND_ORDER_SHIFT 28
#define COMPOUND_MASK (PG_head | COMPOUND_TAIL)
#define PAGE_FLAGS_CHECK_AT_FREE (PG_locked | PG_lru | PG_writeback | PG_unevictable)

#define PGTY_buddy 0xf0
#define PGTY_zsmalloc 0xf6
#define PAGE_TYPE(pgty) ((i32)((u32)(pgty) << 24))
#define BUDDY PAGE_TYPE(PGTY_buddy)

/* page.ts */
enum {
  NR_PCP_LISTS = 14,
  LRU_INACTIVE_ANON = 0,
  LRU_ACTIVE_ANON = 1,
  LRU_INACTIVE_FILE = 2,
  LRU_ACTIVE_FILE = 3,
  LRU_UNEVICTABLE = 4,
  NR_LRU_LISTS = 5,
  TASK_LISTS = 24,
  OWNER_LISTS = 32,
  EVENT_CELLS = 64,
  PB_MIGRATETYPE = 7,
  PB_migrate_skip = 8,
  PB_ABSENT = 16,
  PB_ZONE_SHIFT = 8,
  MAPPING_SWAP = 1,
  MAPPING_FIRST_FILE = 2,
  AS_LOCKED = 1,
  NO_MIGRATE_FOLIO = 2,
  AS_INACCESSIBLE = 4,
};

/* gfp.ts, limits.ts: what an attempt may do */
#define ALLOC_CMA 0x80
#define ALLOC_HIGHATOMIC 0x200
#define ALLOC_KSWAPD 0x800
#define ZONE_BOOSTED_WATERMARK 1
#define NO_CAPTURE (-1)

/* trace.ts: who listens; nobody here, but whether somebody does is asked as often */
struct trace {
  void (*drain)(i32 pfn, i32 order, i32 mt), (*alloc_zone_locked)(i32 pfn, i32 order, i32 mt), (*page_free)(i32 pfn, i32 order);
};

enum { ZONE_NORMAL = 2 };

/* vmstat.ts: places in VM_EVENT_NAMES. PGALLOC is one a kind of zone. */
enum {
  PGALLOC = 2,
  PGFREE = 17,
  PGMIGRATE_SUCCESS = 33,
  PGMIGRATE_FAIL,
  THP_MIGRATION_SUCCESS,
  THP_MIGRATION_FAIL,
  THP_MIGRATION_SPLIT,
  COMPACTMIGRATE_SCANNED,
  COMPACTFREE_SCANNED,
  COMPACTISOLATED,
};

struct mm {
  i32 pfn_count, zones, cpus, nodes;
  const struct trace *trace;
  i32 pcp_heads, lru_heads, task_heads, owner_heads;
  i32 *arena;
  size_t arena_cells;
  /* pages */
  i32 *flags, *refcount, *mapcount, *mapping, *private, *rmap, *links;
  /* page tables and caches */
  i32 *pte, *pte_next, *cache, *mapping_flags, *rmap_lock;
  /* pageblocks and zones */
  i32 *pageblock;
  i32 *zone_lock, *nr_free, *nr_free_cma, *nr_free_highatomic, *wmark_min, *wmark_low, *wmark_high, *zone_start, *zone_end, *zone_node;
  i32 *zone_flags, *zone_idx;
  i32 *cached_migrate_async, *cached_migrate_sync, *cached_free, *compact_init, *blockskip_flush;
  i32 *nr_free_blocks;
  /* per-cpu page sets */
  i32 *pcp_count, *pcp_high, *pcp_high_min, *pcp_high_max, *pcp_batch, *pcp_free_count, *pcp_free_factor, *pcp_alloc_factor;
  i32 *pcp_prev_high_order, *pcp_lock, *pcp_capture_order, *pcp_capture_type, *pcp_capture_page;
  /* nodes */
  i32 *lru_lock, *nr_isolated_anon, *nr_isolated_file, *nr_lru;
  i32 *events, *owner_cells;
};

struct mm_spec {
  i32 pages, ptes, slots, mappings, owner_cells;
  i32 wmark_min, wmark_low, wmark_high;
  i32 pcp_high, pcp_high_min, pcp_high_max, pcp_batch;
};

static inline void check(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "twin: %s\n", what);
  exit(1);
}

/* cpu.ts: locks of a single task */

static inline void lock_bits(i32 *cell, i32 bits) {
  check((*cell & bits) == 0, "deadlock");
  *cell |= bits;
}

static inline bool try_lock_bits(i32 *cell, i32 bits) {
  if ((*cell & bits) != 0) return false;
  *cell |= bits;
  return true;
}

static inline void unlock_bits(i32 *cell, i32 bits) {
  check((*cell & bits) == bits, "unlock: the lock is not held");
  *cell &= ~bits;
}

static inline bool test_clear(i32 *cell, i32 bits) {
  i32 value = *cell;
  *cell = value & ~bits;
  return (value & bits) != 0;
}

/* list.ts */

static inline void init_list(i32 *links, i32 head) {
  links[2 * head] = head;
  links[2 * head + 1] = head;
}

static inline bool list_empty(const i32 *links, i32 head) { return links[2 * head] == head; }
static inline i32 list_first(const i32 *links, i32 head) { return links[2 * head]; }
static inline i32 list_last(const i32 *links, i32 head) { return links[2 * head + 1]; }
static inline i32 list_next(const i32 *links, i32 node) { return links[2 * node]; }

static inline void list_add(i32 *links, i32 node, i32 head) {
  i32 first = links[2 * head];
  links[2 * node] = first;
  links[2 * node + 1] = head;
  links[2 * first + 1] = node;
  links[2 * head] = node;
}

static inline void list_add_tail(i32 *links, i32 node, i32 head) {
  i32 last = links[2 * head + 1];
  links[2 * node] = head;
  links[2 * node + 1] = last;
  links[2 * last] = node;
  links[2 * head + 1] = node;
}

static inline void list_del(i32 *links, i32 node) {
  i32 next = links[2 * node], prev = links[2 * node + 1];
  links[2 * prev] = next;
  links[2 * next + 1] = prev;
  links[2 * node] = 0;
  links[2 * node + 1] = 0;
}

static inline void list_move_tail(i32 *links, i32 node, i32 head) {
  list_del(links, node);
  list_add_tail(links, node, head);
}

static inline void list_splice(i32 *links, i32 from, i32 to) {
  if (list_empty(links, from)) return;
  i32 first = links[2 * from], last = links[2 * from + 1], next = links[2 * to];
  links[2 * first + 1] = to;
  links[2 * to] = first;
  links[2 * last] = next;
  links[2 * next + 1] = last;
  init_list(links, from);
}

static inline void list_splice_tail(i32 *links, i32 from, i32 to) {
  if (list_empty(links, from)) return;
  i32 first = links[2 * from], last = links[2 * from + 1], prev = links[2 * to + 1];
  links[2 * first + 1] = prev;
  links[2 * prev] = first;
  links[2 * last] = to;
  links[2 * to + 1] = last;
  init_list(links, from);
}

/* page.ts */

static inline i32 free_list(const struct mm *mm, i32 zone, i32 order, i32 mt) {
  return mm->pfn_count + (zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt;
}
static inline i32 pcp_of(const struct mm *mm, i32 zone, i32 cpu) { return zone * mm->cpus + cpu; }
static inline i32 pcp_list(const struct mm *mm, i32 pcp, i32 index) {
  return mm->pcp_heads + pcp * NR_PCP_LISTS + index;
}
static inline i32 lru_list(const struct mm *mm, i32 nid, i32 lru) {
  return mm->lru_heads + nid * NR_LRU_LISTS + lru;
}
static inline i32 task_list(const struct mm *mm, i32 cpu, i32 index) {
  return mm->task_heads + cpu * TASK_LISTS + index;
}
static inline i32 owner_list(const struct mm *mm, i32 index) { return mm->owner_heads + index; }
static inline i32 zone_of(const struct mm *mm, i32 pfn) {
  return (i32)(((u32)mm->pageblock[(u32)pfn >> PAGEBLOCK_ORDER] >> PB_ZONE_SHIFT) & 0xff);
}
static inline i32 migratetype_of(const struct mm *mm, i32 pfn) {
  return mm->pageblock[(u32)pfn >> PAGEBLOCK_ORDER] & PB_MIGRATETYPE;
}
static inline i32 compound_order(i32 flags) {
  return (flags & PG_head) == 0 ? 0 : (i32)((u32)flags >> COMPOUND_ORDER_SHIFT);
}
static inline i32 folio_pages(i32 flags) { return 1 << compound_order(flags); }
static inline void count_events(struct mm *mm, i32 event, i32 n) { mm->events[event] += n; }

static inline i32 pageblock_of(i32 pfn) { return (i32)((u32)pfn >> PAGEBLOCK_ORDER); }
static inline i32 pageblock_start(i32 pfn) { return pfn - pfn % PAGEBLOCK_NR_PAGES; }
static inline i32 pageblock_end(i32 pfn) { return pageblock_start(pfn) + PAGEBLOCK_NR_PAGES; }

static void reset_cached_positions(struct mm *mm, i32 zone) {
  mm->cached_migrate_async[zone] = mm->zone_start[zone];
  mm->cached_migrate_sync[zone] = mm->zone_start[zone];
  mm->cached_free[zone] = pageblock_start(mm->zone_end[zone] - 1);
}

/* A machine of one node, one zone and one cpu. Columns in the engine's order in one block. */
static struct mm *create_machine(const struct mm_spec *spec) {
  struct mm *mm = calloc(1, sizeof *mm);
  i32 n = spec->pages;
  i32 free_heads = NR_PAGE_ORDERS * MIGRATE_TYPES;
  mm->pfn_count = n;
  mm->zones = mm->cpus = mm->nodes = 1;
  mm->pcp_heads = n + free_heads;
  mm->lru_heads = mm->pcp_heads + NR_PCP_LISTS;
  mm->task_heads = mm->lru_heads + NR_LRU_LISTS;
  mm->owner_heads = mm->task_heads + TASK_LISTS;
  i32 list_nodes = mm->owner_heads + OWNER_LISTS;
  struct {
    i32 **column;
    size_t cells;
  } plan[] = {
    {&mm->flags, (size_t)n},
    {&mm->refcount, (size_t)n},
    {&mm->mapcount, (size_t)n},
    {&mm->mapping, (size_t)n},
    {&mm->private, (size_t)n},
    {&mm->rmap, (size_t)n},
    {&mm->links, 2 * (size_t)list_nodes},
    {&mm->pte, (size_t)spec->ptes + 1},
    {&mm->pte_next, (size_t)spec->ptes + 1},
    {&mm->cache, (size_t)spec->slots + 1},
    {&mm->mapping_flags, (size_t)spec->mappings + MAPPING_FIRST_FILE},
    {&mm->rmap_lock, 1},
    {&mm->pageblock, (size_t)n / PAGEBLOCK_NR_PAGES},
    {&mm->zone_lock, 1},
    {&mm->nr_free, 1},
    {&mm->nr_free_cma, 1},
    {&mm->nr_free_highatomic, 1},
    {&mm->wmark_min, 1},
    {&mm->wmark_low, 1},
    {&mm->wmark_high, 1},
    {&mm->zone_start, 1},
    {&mm->zone_end, 1},
    {&mm->zone_node, 1},
    {&mm->zone_flags, 1},
    {&mm->zone_idx, 1},
    {&mm->cached_migrate_async, 1},
    {&mm->cached_migrate_sync, 1},
    {&mm->cached_free, 1},
    {&mm->compact_init, 1},
    {&mm->blockskip_flush, 1},
    {&mm->nr_free_blocks, (size_t)free_heads},
    {&mm->pcp_count, 1},
    {&mm->pcp_high, 1},
    {&mm->pcp_high_min, 1},
    {&mm->pcp_high_max, 1},
    {&mm->pcp_batch, 1},
    {&mm->pcp_free_count, 1},
    {&mm->pcp_free_factor, 1},
    {&mm->pcp_alloc_factor, 1},
    {&mm->pcp_prev_high_order, 1},
    {&mm->pcp_lock, 1},
    {&mm->pcp_capture_order, 1},
    {&mm->pcp_capture_type, 1},
    {&mm->pcp_capture_page, 1},
    {&mm->lru_lock, 1},
    {&mm->nr_isolated_anon, 1},
    {&mm->nr_isolated_file, 1},
    {&mm->nr_lru, NR_LRU_LISTS},
    {&mm->events, EVENT_CELLS},
    {&mm->owner_cells, (size_t)spec->owner_cells},
  };
  size_t count = sizeof plan / sizeof plan[0];
  for (size_t i = 0; i < count; i++) mm->arena_cells += plan[i].cells;
  mm->arena = calloc(mm->arena_cells, sizeof(i32));
  check(mm->arena != NULL, "out of memory");
  size_t at = 0;
  for (size_t i = 0; i < count; i++) {
    *plan[i].column = mm->arena + at;
    at += plan[i].cells;
  }
  for (i32 head = n; head < list_nodes; head++) init_list(mm->links, head);
  for (i32 block = 0; block < n / PAGEBLOCK_NR_PAGES; block++) mm->pageblock[block] = MIGRATE_MOVABLE;
  mm->zone_end[0] = n;
  mm->zone_idx[0] = ZONE_NORMAL;
  mm->wmark_min[0] = spec->wmark_min;
  mm->wmark_low[0] = spec->wmark_low;
  mm->wmark_high[0] = spec->wmark_high;
  mm->pcp_high[0] = spec->pcp_high;
  mm->pcp_high_min[0] = spec->pcp_high_min;
  mm->pcp_high_max[0] = spec->pcp_high_max;
  mm->pcp_batch[0] = spec->pcp_batch;
  reset_cached_positions(mm, 0);
  return mm;
}

/* lru.ts */

static inline bool is_file_lru(i32 flags) { return (flags & PG_swapbacked) == 0; }

static inline i32 folio_lru_list(i32 flags) {
  if ((flags & PG_unevictable) != 0) return LRU_UNEVICTABLE;
  bool active = (flags & PG_active) != 0;
  if (is_file_lru(flags)) return active ? LRU_ACTIVE_FILE : LRU_INACTIVE_FILE;
  return active ? LRU_ACTIVE_ANON : LRU_INACTIVE_ANON;
}

static inline i32 node_of(const struct mm *mm, i32 pfn) { return mm->zone_node[zone_of(mm, pfn)]; }

static inline void folio_add_lru(struct mm *mm, i32 pfn) {
  i32 nid = node_of(mm, pfn);
  i32 lru = folio_lru_list(mm->flags[pfn]);
  lock_bits(&mm->lru_lock[nid], SPIN_LOCKED);
  list_add(mm->links, pfn, lru_list(mm, nid, lru));
  mm->nr_lru[zone_of(mm, pfn) * NR_LRU_LISTS + lru] += folio_pages(mm->flags[pfn]);
  mm->lru_lock[nid] &= ~SPIN_LOCKED;
  mm->flags[pfn] |= PG_lru;
}

static inline bool folio_isolate_lru(struct mm *mm, i32 pfn) {
  if ((mm->flags[pfn] & PG_lru) == 0) return false;
  if (!test_clear(&mm->flags[pfn], PG_lru)) return false;
  i32 nid = node_of(mm, pfn);
  i32 lru = folio_lru_list(mm->flags[pfn]);
  lock_bits(&mm->lru_lock[nid], SPIN_LOCKED);
  list_del(mm->links, pfn);
  mm->nr_lru[zone_of(mm, pfn) * NR_LRU_LISTS + lru] -= folio_pages(mm->flags[pfn]);
  mm->lru_lock[nid] &= ~SPIN_LOCKED;
  return true;
}

static inline void folio_del_lru(struct mm *mm, i32 pfn) {
  if (folio_isolate_lru(mm, pfn)) mm->flags[pfn] &= ~(PG_active | PG_unevictable);
}

static inline i32 *isolated_counter(struct mm *mm, i32 flags) {
  return is_file_lru(flags) ? mm->nr_isolated_file : mm->nr_isolated_anon;
}

/* page_alloc.ts: free lists */

static inline i32 buddy_value(i32 order) { return BUDDY | order; }
static inline bool is_buddy(i32 mapcount) { return (u32)mapcount >> 24 == PGTY_buddy; }
static inline i32 buddy_order(i32 mapcount) { return mapcount & 0xff; }
static inline bool is_mergeable(i32 mt) { return mt < MIGRATE_HIGHATOMIC; }

static inline void account_free(struct mm *mm, i32 zone, i32 mt, i32 pages) {
  if (mt >= MIGRATE_HIGHATOMIC) {
    if (mt == MIGRATE_ISOLATE) return;
    if (mt == MIGRATE_CMA) mm->nr_free_cma[zone] += pages;
    else mm->nr_free_highatomic[zone] += pages;
  }
  mm->nr_free[zone] += pages;
}
static inline void add_to_free_list(struct mm *mm, i32 pfn, i32 zone, i32 order, i32 mt, bool tail) {
  i32 head = free_list(mm, zone, order, mt);
  if (tail) list_add_tail(mm->links, pfn, head);
  else list_add(mm->links, pfn, head);
  mm->mapcount[pfn] = buddy_value(order);
  mm->nr_free_blocks[(zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt]++;
}

static inline void del_from_free_list(struct mm *mm, i32 pfn, i32 zone, i32 order, i32 mt) {
  list_del(mm->links, pfn);
  mm->mapcount[pfn] = 0;
  mm->nr_free_blocks[(zone * NR_PAGE_ORDERS + order) * MIGRATE_TYPES + mt]--;
}

static inline i32 free_buddy(const struct mm *mm, i32 pfn, i32 zone, i32 order) {
  i32 buddy = pfn ^ (1 << order);
  if (order >= PAGEBLOCK_ORDER && (buddy >= mm->pfn_count || zone_of(mm, buddy) != zone)) return -1;
  return mm->mapcount[buddy] == buddy_value(order) ? buddy : -1;
}

static void set_migratetype(struct mm *mm, i32 pfn, i32 mt, i32 blocks) {
  i32 first = pfn >> PAGEBLOCK_ORDER;
  for (i32 i = first; i < first + blocks; i++) mm->pageblock[i] = (mm->pageblock[i] & ~PB_MIGRATETYPE) | mt;
}

static i32 capture_order(const struct mm *mm, i32 pcp, i32 mt) {
  i32 order = mm->pcp_capture_order[pcp];
  if (order == 0 || order >= MAX_PAGE_ORDER || mt == MIGRATE_CMA || mt == MIGRATE_ISOLATE) return -1;
  bool fits = order >= PAGEBLOCK_ORDER || mt != MIGRATE_MOVABLE;
  return fits || mm->pcp_capture_type[pcp] == MIGRATE_MOVABLE ? order : -1;
}

static i32 free_large_block(struct mm *mm, i32 pfn, i32 order, i32 zone, i32 mt, i32 captured, i32 pcp) {
  while (order < MAX_PAGE_ORDER && order != captured) {
    i32 buddy = free_buddy(mm, pfn, zone, order);
    if (buddy < 0) break;
    i32 buddy_mt = migratetype_of(mm, buddy);
    if (buddy_mt != mt) {
      if (!is_mergeable(mt) || !is_mergeable(buddy_mt)) break;
      set_migratetype(mm, buddy, mt, 1 << (order - PAGEBLOCK_ORDER));
    }
    del_from_free_list(mm, buddy, zone, order, buddy_mt);
    pfn &= buddy;
    order++;
  }
  if (order == captured) {
    mm->pcp_capture_page[pcp] = pfn;
    mm->pcp_capture_order[pcp] = 0;
    account_free(mm, zone, mt, -(1 << order));
    return pfn;
  }
  add_to_free_list(mm, pfn, zone, order, mt, false);
  return pfn;
}

static i32 free_one_page(struct mm *mm, i32 block, i32 block_order, i32 pcp) {
  i32 zone = zone_of(mm, block), mt = migratetype_of(mm, block);
  i32 captured = pcp == NO_CAPTURE ? -1 : capture_order(mm, pcp, mt);
  i32 pfn = block, order = block_order;
  while (order < PAGEBLOCK_ORDER && order != captured) {
    i32 buddy = pfn ^ (1 << order);
    if (mm->mapcount[buddy] != buddy_value(order)) break;
    del_from_free_list(mm, buddy, zone, order, mt);
    pfn &= buddy;
    order++;
  }
  if (order >= PAGEBLOCK_ORDER || order == captured) {
    account_free(mm, zone, mt, 1 << block_order);
    return free_large_block(mm, pfn, order, zone, mt, captured, pcp);
  }
  bool tail = free_buddy(mm, pfn & ~(1 << order), zone, order + 1) >= 0;
  add_to_free_list(mm, pfn, zone, order, mt, tail);
  account_free(mm, zone, mt, 1 << block_order);
  return pfn;
}

static i32 free_block(struct mm *mm, i32 block, i32 order, i32 pcp) {
  if (order <= PAGEBLOCK_ORDER) return free_one_page(mm, block, order, pcp);
  for (i32 at = block; at < block + (1 << order); at += PAGEBLOCK_NR_PAGES) free_one_page(mm, at, PAGEBLOCK_ORDER, pcp);
  return block;
}

static void set_pageblock_migratetype(struct mm *mm, i32 pfn, i32 mt) {
  i32 start = pageblock_start(pfn), zone = zone_of(mm, start), before = migratetype_of(mm, start), moved = 0;
  i32 head = start & ~((1 << MAX_PAGE_ORDER) - 1);
  if (mm->mapcount[head] == buddy_value(MAX_PAGE_ORDER)) {
    del_from_free_list(mm, head, zone, MAX_PAGE_ORDER, before);
    account_free(mm, zone, before, -(1 << MAX_PAGE_ORDER));
    set_migratetype(mm, start, mt, 1);
    free_one_page(mm, start ^ PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, NO_CAPTURE);
    free_one_page(mm, start, PAGEBLOCK_ORDER, NO_CAPTURE);
    return;
  }
  for (i32 p = start; p < start + PAGEBLOCK_NR_PAGES;) {
    if (!is_buddy(mm->mapcount[p])) {
      p++;
      continue;
    }
    i32 order = buddy_order(mm->mapcount[p]);
    del_from_free_list(mm, p, zone, order, before);
    add_to_free_list(mm, p, zone, order, mt, true);
    moved += 1 << order;
    p += 1 << order;
  }
  account_free(mm, zone, before, -moved);
  account_free(mm, zone, mt, moved);
  set_migratetype(mm, start, mt, 1);
}

static i32 rmqueue_smallest(struct mm *mm, i32 zone, i32 order, i32 mt) {
  for (i32 current = order; current < NR_PAGE_ORDERS; current++) {
    i32 head = free_list(mm, zone, current, mt);
    i32 pfn = list_first(mm->links, head);
    if (pfn == head) continue;
    del_from_free_list(mm, pfn, zone, current, mt);
    for (i32 half = current - 1; half >= order; half--) {
      add_to_free_list(mm, pfn + (1 << half), zone, half, mt, false);
    }
    account_free(mm, zone, mt, -(1 << order));
    return pfn;
  }
  return -1;
}

/* fallback.ts. Claiming and stealing are not ported: whoever gets there with something to take stops. */

enum { RMQUEUE_NORMAL, RMQUEUE_CMA };

static void no_fallback(const struct mm *mm, i32 zone, i32 order, i32 mt) {
  for (i32 current = order; current < NR_PAGE_ORDERS; current++) {
    for (i32 other = 0; other < MIGRATE_PCPTYPES; other++) {
      bool is_free = mm->nr_free_blocks[(zone * NR_PAGE_ORDERS + current) * MIGRATE_TYPES + other] > 0;
      check(other == mt || mt >= MIGRATE_PCPTYPES || !is_free, "fallback is not ported");
    }
  }
}

static inline i32 rmqueue_mode(struct mm *mm, i32 zone, i32 order, i32 mt, i32 alloc_flags, i32 *mode) {
  bool cma = (alloc_flags & ALLOC_CMA) != 0;
  if (cma && mm->nr_free_cma[zone] > mm->nr_free[zone] >> 1) {
    i32 pfn = rmqueue_smallest(mm, zone, order, MIGRATE_CMA);
    if (pfn >= 0) return pfn;
  }
  if (*mode <= RMQUEUE_NORMAL) {
    i32 pfn = rmqueue_smallest(mm, zone, order, mt);
    if (pfn >= 0) return pfn;
  }
  if (*mode <= RMQUEUE_CMA && cma) {
    i32 pfn = rmqueue_smallest(mm, zone, order, MIGRATE_CMA);
    if (pfn >= 0) {
      *mode = RMQUEUE_CMA;
      return pfn;
    }
  }
  no_fallback(mm, zone, order, mt);
  return -1;
}

static i32 rmqueue_buddy(struct mm *mm, i32 zone, i32 order, i32 mt, i32 alloc_flags) {
  if ((alloc_flags & ALLOC_HIGHATOMIC) != 0) {
    i32 pfn = rmqueue_smallest(mm, zone, order, MIGRATE_HIGHATOMIC);
    if (pfn >= 0) return pfn;
  }
  i32 mode = RMQUEUE_NORMAL;
  return rmqueue_mode(mm, zone, order, mt, alloc_flags, &mode);
}

static inline i32 isolate_free_page(struct mm *mm, i32 pfn, i32 order) {
  i32 zone = zone_of(mm, pfn), mt = migratetype_of(mm, pfn);
  if (mt != MIGRATE_ISOLATE && mm->nr_free[zone] <= mm->wmark_min[zone] + (1 << order)) return 0;
  del_from_free_list(mm, pfn, zone, order, mt);
  account_free(mm, zone, mt, -(1 << order));
  if (order >= PAGEBLOCK_ORDER - 1 && is_mergeable(mt) && mt != MIGRATE_MOVABLE) {
    for (i32 p = pfn; p < pfn + (1 << order); p += PAGEBLOCK_NR_PAGES) {
      set_pageblock_migratetype(mm, p, MIGRATE_MOVABLE);
    }
  }
  return 1 << order;
}

static inline void add_free_block(struct mm *mm, i32 pfn, i32 order) {
  i32 zone = zone_of(mm, pfn), mt = migratetype_of(mm, pfn);
  add_to_free_list(mm, pfn, zone, order, mt, true);
  account_free(mm, zone, mt, 1 << order);
  if (order > PAGEBLOCK_ORDER) set_migratetype(mm, pfn, mt, 1 << (order - PAGEBLOCK_ORDER));
}

/* page_alloc.ts: per-cpu lists, by the rules of 6.18 */

enum { PCP_BATCH_SCALE_MAX = 5 };

static inline bool is_pcp_order(i32 order) {
  return order <= PAGE_ALLOC_COSTLY_ORDER || order == PAGEBLOCK_ORDER;
}
static inline i32 pcp_index_of(i32 order, i32 mt) {
  return order <= PAGE_ALLOC_COSTLY_ORDER
    ? order * MIGRATE_PCPTYPES + mt
    : (PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES + (mt == MIGRATE_MOVABLE ? 1 : 0);
}
static inline i32 pcp_order_of(i32 index) {
  return index < (PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES ? index / MIGRATE_PCPTYPES : PAGEBLOCK_ORDER;
}
static inline i32 pcp_type_of(i32 mt) { return mt < MIGRATE_PCPTYPES ? mt : MIGRATE_MOVABLE; }
static inline i32 min_i(i32 a, i32 b) { return a < b ? a : b; }
static inline i32 max_i(i32 a, i32 b) { return a > b ? a : b; }

static inline i32 clamp(i32 n, i32 least, i32 most) { return min_i(max_i(n, least), most); }

static inline i32 pages_over_high(struct mm *mm, i32 pcp, i32 order) {
  bool high_order = order > 0 && order <= PAGE_ALLOC_COSTLY_ORDER;
  i32 batch = mm->pcp_batch[pcp], most = batch << PCP_BATCH_SCALE_MAX;
  i32 high_min = mm->pcp_high_min[pcp], high_max = mm->pcp_high_max[pcp];
  bool drain_all =
    high_order && mm->pcp_prev_high_order[pcp] == 1 && mm->pcp_free_count[pcp] >= batch + high_min / 2;
  mm->pcp_prev_high_order[pcp] = high_order ? 1 : 0;
  if (mm->pcp_free_count[pcp] < most) mm->pcp_free_count[pcp] += 1 << order;
  i32 high = clamp(mm->pcp_high[pcp], high_min, high_max);
  mm->pcp_high[pcp] = high;
  if (drain_all) {
    mm->pcp_high[pcp] = max_i(high - most, high_min);
    return min_i(mm->pcp_count[pcp], most);
  }
  if (mm->pcp_count[pcp] < high) return 0;
  i32 needed = mm->pcp_free_count[pcp] + batch;
  if (high > 0 && high_min != high_max && high < needed) mm->pcp_high[pcp] = clamp(needed, high_min, high_max);
  return high < batch ? 1 : clamp(mm->pcp_free_count[pcp], batch, high - batch);
}

static inline i32 pcp_add(struct mm *mm, i32 pcp, i32 pfn, i32 order) {
  i32 list = pcp_index_of(order, pcp_type_of(migratetype_of(mm, pfn)));
  mm->pcp_alloc_factor[pcp] >>= 1;
  list_add(mm->links, pfn, pcp_list(mm, pcp, list));
  mm->pcp_count[pcp] += 1 << order;
  return pages_over_high(mm, pcp, order);
}

static inline i32 pcp_take(struct mm *mm, i32 pcp, i32 list) {
  i32 head = pcp_list(mm, pcp, list);
  if (list_empty(mm->links, head)) return -1;
  i32 pfn = list_first(mm->links, head);
  list_del(mm->links, pfn);
  mm->pcp_count[pcp] -= 1 << pcp_order_of(list);
  mm->pcp_free_count[pcp] >>= 1;
  mm->pcp_free_factor[pcp] >>= 1;
  return pfn;
}

static void free_pcppages_bulk(struct mm *mm, i32 pcp, i32 count, i32 first_list) {
  i32 left = min_i(count, mm->pcp_count[pcp]), list = first_list, seen_empty = 0;
  while (left > 0 && seen_empty < NR_PCP_LISTS) {
    i32 head = pcp_list(mm, pcp, list);
    if (list_empty(mm->links, head)) seen_empty++;
    else seen_empty = 0;
    i32 order = pcp_order_of(list);
    while (left > 0 && !list_empty(mm->links, head)) {
      i32 pfn = list_last(mm->links, head);
      list_del(mm->links, pfn);
      left -= 1 << order;
      mm->pcp_count[pcp] -= 1 << order;
      if (mm->trace) mm->trace->drain(pfn, order, migratetype_of(mm, pfn));
      free_one_page(mm, pfn, order, pcp);
    }
    list = (list + 1) % NR_PCP_LISTS;
  }
}

/* page_alloc.ts: freeing and allocating, on cpu 0 */

static inline void clear_page_state(struct mm *mm, i32 pfn, i32 order) {
  check((mm->flags[pfn] & PAGE_FLAGS_CHECK_AT_FREE) == 0, "free: locked, on the LRU, or under writeback");
  check(mm->mapcount[pfn] <= 0, "free: the page is mapped");
  mm->flags[pfn] = 0;
  mm->mapping[pfn] = 0;
  mm->private[pfn] = 0;
  mm->mapcount[pfn] = 0;
  for (i32 tail = pfn + 1; tail < pfn + (1 << order); tail++) {
    check(mm->mapcount[tail] <= 0, "free: a tail is mapped");
    mm->flags[tail] = 0;
    mm->private[tail] = 0;
    mm->mapping[tail] = 0;
    mm->mapcount[tail] = 0;
  }
}

static void free_frozen_pages(struct mm *mm, i32 pfn, i32 order) {
  clear_page_state(mm, pfn, order);
  count_events(mm, PGFREE, 1 << order);
  if (mm->trace) mm->trace->page_free(pfn, order);
  i32 zone = zone_of(mm, pfn), mt = migratetype_of(mm, pfn);
  if (!is_pcp_order(order) || mt == MIGRATE_ISOLATE) {
    lock_bits(&mm->zone_lock[zone], SPIN_LOCKED);
    free_block(mm, pfn, order, NO_CAPTURE);
    mm->zone_lock[zone] &= ~SPIN_LOCKED;
    return;
  }
  i32 pcp = pcp_of(mm, zone, 0);
  lock_bits(&mm->pcp_lock[pcp], SPIN_LOCKED);
  i32 over = pcp_add(mm, pcp, pfn, order);
  mm->pcp_lock[pcp] &= ~SPIN_LOCKED;
  if (over == 0) return;
  lock_bits(&mm->zone_lock[zone], SPIN_LOCKED);
  free_pcppages_bulk(mm, pcp, over, pcp_index_of(order, pcp_type_of(mt)));
  mm->zone_lock[zone] &= ~SPIN_LOCKED;
}

static inline void free_folio(struct mm *mm, i32 pfn) {
  folio_del_lru(mm, pfn);
  free_frozen_pages(mm, pfn, compound_order(mm->flags[pfn]));
}

static inline void put_page(struct mm *mm, i32 pfn) {
  i32 left = --mm->refcount[pfn];
  check(left >= 0, "put: the page has no reference");
  if (left == 0) free_folio(mm, pfn);
}

static inline void prep_compound_page(struct mm *mm, i32 pfn, i32 order) {
  if (order == 0) return;
  mm->flags[pfn] = (mm->flags[pfn] & ~COMPOUND_MASK) | PG_head | (i32)((u32)order << COMPOUND_ORDER_SHIFT);
  for (i32 tail = pfn + 1; tail < pfn + (1 << order); tail++) {
    mm->flags[tail] = COMPOUND_TAIL;
    mm->private[tail] = pfn;
  }
}

static inline i32 pages_to_refill(struct mm *mm, i32 pcp, i32 order) {
  i32 base = mm->pcp_batch[pcp];
  i32 high = clamp(mm->pcp_high[pcp], mm->pcp_high_min[pcp], mm->pcp_high_max[pcp]);
  if (high < base) return 1;
  i32 batch = order > 0 ? base : base << mm->pcp_alloc_factor[pcp];
  if (mm->pcp_high_min[pcp] != mm->pcp_high_max[pcp]) high = min_i(high + batch, mm->pcp_high_max[pcp]);
  mm->pcp_high[pcp] = high;
  if (order > 0) return batch;
  i32 most = max_i(high - mm->pcp_count[pcp] - base, base);
  if (batch <= most && mm->pcp_alloc_factor[pcp] < PCP_BATCH_SCALE_MAX) mm->pcp_alloc_factor[pcp]++;
  return min_i(batch, most);
}

static inline void rmqueue_bulk(struct mm *mm, i32 pcp, i32 order, i32 mt, i32 alloc_flags) {
  i32 zone = pcp / mm->cpus, mode = RMQUEUE_NORMAL;
  i32 list = pcp_list(mm, pcp, pcp_index_of(order, mt));
  i32 pages = pages_to_refill(mm, pcp, order);
  i32 blocks = pages > 1 ? max_i(pages >> order, 2) : 1;
  for (i32 got = 0; got < blocks; got++) {
    i32 pfn = rmqueue_mode(mm, zone, order, mt, alloc_flags, &mode);
    if (pfn < 0) break;
    if (mm->trace) mm->trace->alloc_zone_locked(pfn, order, mt);
    list_add_tail(mm->links, pfn, list);
    mm->pcp_count[pcp] += 1 << order;
  }
}

static inline i32 rmqueue(struct mm *mm, i32 zone, i32 order, i32 mt, i32 alloc_flags) {
  i32 pfn = -1;
  if (is_pcp_order(order) && mt < MIGRATE_PCPTYPES) {
    i32 pcp = pcp_of(mm, zone, 0), list = pcp_index_of(order, mt);
    lock_bits(&mm->pcp_lock[pcp], SPIN_LOCKED);
    pfn = pcp_take(mm, pcp, list);
    mm->pcp_lock[pcp] &= ~SPIN_LOCKED;
    if (pfn < 0) {
      lock_bits(&mm->zone_lock[zone], SPIN_LOCKED);
      rmqueue_bulk(mm, pcp, order, mt, alloc_flags);
      mm->zone_lock[zone] &= ~SPIN_LOCKED;
      lock_bits(&mm->pcp_lock[pcp], SPIN_LOCKED);
      pfn = pcp_take(mm, pcp, list);
      mm->pcp_lock[pcp] &= ~SPIN_LOCKED;
    }
  }
  if (pfn < 0) {
    lock_bits(&mm->zone_lock[zone], SPIN_LOCKED);
    pfn = rmqueue_buddy(mm, zone, order, mt, alloc_flags);
    mm->zone_lock[zone] &= ~SPIN_LOCKED;
    if (pfn >= 0 && mm->trace) mm->trace->alloc_zone_locked(pfn, order, mt);
  }
  if (pfn >= 0) count_events(mm, PGALLOC + mm->zone_idx[zone], 1 << order);
  if ((alloc_flags & ALLOC_KSWAPD) != 0 && test_clear(&mm->zone_flags[zone], ZONE_BOOSTED_WATERMARK)) {
    check(false, "kswapd is not ported");
  }
  return pfn;
}

static inline i32 alloc_from_zone(struct mm *mm, i32 zone, i32 order, i32 mt) {
  if (mm->nr_free[zone] - (1 << order) < mm->wmark_min[zone]) return -1;
  i32 pfn = rmqueue(mm, zone, order, mt, mt == MIGRATE_MOVABLE ? ALLOC_CMA : 0);
  if (pfn < 0) return -1;
  prep_compound_page(mm, pfn, order);
  mm->refcount[pfn] = 1;
  return pfn;
}

/* prng.ts and hash.ts */

struct prng {
  u32 a, b, c, d;
};

static inline u32 rotate_left(u32 x, int k) { return (x << k) | (x >> (32 - k)); }

static struct prng seeded(u32 seed) {
  u32 word[4], state = seed;
  for (int i = 0; i < 4; i++) {
    state += 0x9e3779b9u;
    u32 z = (state ^ (state >> 16)) * 0x85ebca6bu;
    z = (z ^ (z >> 13)) * 0xc2b2ae35u;
    word[i] = z ^ (z >> 16);
  }
  return (struct prng){word[0], word[1], word[2], word[3]};
}

static inline u32 prng_next(struct prng *p) {
  u32 result = rotate_left(p->b * 5, 7) * 9, t = p->b << 9;
  p->c ^= p->a;
  p->d ^= p->b;
  p->b ^= p->c;
  p->a ^= p->d;
  p->c ^= t;
  p->d = rotate_left(p->d, 11);
  return result;
}

static inline u32 prng_below(struct prng *p, u32 bound) {
  return (u32)(((uint64_t)prng_next(p) * bound) >> 32);
}

static u32 hash_cells(const i32 *cells, size_t count) {
  u32 h = 0;
  for (size_t i = 0; i < count; i++) {
    u32 k = (u32)cells[i] * 0xcc9e2d51u;
    h ^= rotate_left(k, 15) * 0x1b873593u;
    h = rotate_left(h, 13) * 5 + 0xe6546b64u;
  }
  h ^= (u32)count;
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

/* Results: CPU time of this process, and JSON on stdout */

static double cpu_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void print_times(const char *name, const double *ms, int rounds) {
  printf("\"%s\":[", name);
  for (int i = 0; i < rounds; i++) printf(i ? ",%.3f" : "%.3f", ms[i]);
  printf("]");
}

#endif
