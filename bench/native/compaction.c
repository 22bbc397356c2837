/*
 * C twin of compaction.bench.ts: compaction of one zone as src/mm/compaction.ts, migrate.ts, lru_ops.ts,
 * rmap.ts, movable_ops.ts and src/owners/page_pool.ts do it by the rules of 6.18, as plain C.
 *
 *   compaction PAGES ROUNDS SEED
 *
 * Prints CPU ms a round, counts, and a hash of each column as one JSON object.
 *
 * The same data, decisions and order as in the engine, single task. The workload has no large folio, so
 * splitting one is not ported (it aborts); everything else runs, the retries of pinned file pages too.
 */

#include "mm.h"

enum { EAGAIN_ = 11, ENOMEM_ = 12, EBUSY_ = 16, EOPNOTSUPP_ = 95 };
enum { MIGRATE_ASYNC = 0, MIGRATE_SYNC_LIGHT = 1, MIGRATE_SYNC = 2 };
enum { ISOLATE_UNMAPPED = 2, ISOLATE_ASYNC_MIGRATE = 4, ISOLATE_UNEVICTABLE = 8 };
enum {
  NR_MAX_MIGRATE_PAGES_RETRY = 10,
  NR_MAX_MIGRATE_ASYNC_RETRY = 3,
  NR_MAX_MIGRATE_SYNC_RETRY = 7,
  NR_MAX_BATCHED_MIGRATION = 512,
};

#define PAGE_MAPPING_ANON 1
#define PAGE_MAPPING_FLAGS 3
#define ANON_MAPPING ((1 << 2) | PAGE_MAPPING_ANON)
#define PTE_PRESENT 1
#define PTE_MIGRATION 2

/* movable_ops.ts */
enum {
  ISOLATED = 0,
  REFUSED_FREE,
  REFUSED_UNMOVABLE,
  REFUSED_LOCKED,
  REFUSED_PINNED,
  REFUSED_UNEVICTABLE,
  REFUSED_WRITEBACK,
  REFUSED_DIRTY,
  REFUSED_MAPPING,
  REFUSED_ISOLATED,
  REFUSED_BY_OWNER,
  REFUSED_HUGE,
  REFUSED_MAPPED,
  ISOLATION_REASONS,
};

struct movable_ops {
  i32 (*isolate_page)(struct mm *, i32 pfn, i32 mode);
  i32 (*migrate_page)(struct mm *, i32 dst, i32 src, i32 mode);
  void (*putback_page)(struct mm *, i32 pfn);
};

/* By page type; entry 0 is the LRU. */
static const struct movable_ops *movable_ops[16];

static inline i32 ops_index_of(i32 pgty) { return pgty - PGTY_buddy + 1; }
static inline i32 page_type(i32 mapcount) { return mapcount < 0 ? (i32)((u32)mapcount >> 24) : 0; }

static inline i32 movable_ops_of(i32 mapcount, i32 flags) {
  if ((flags & PG_lru) != 0) return 0;
  if (mapcount < 0 && (flags & PG_movable_ops) != 0) return ops_index_of(page_type(mapcount));
  return -1;
}

static inline const struct movable_ops *isolated_ops_of(const struct mm *mm, i32 pfn) {
  i32 mapcount = mm->mapcount[pfn];
  const struct movable_ops *ops = movable_ops[mapcount < 0 ? ops_index_of(page_type(mapcount)) : 0];
  check(ops != NULL, "an isolated page has a provider");
  return ops;
}

static inline i32 isolate_movable_page(struct mm *mm, i32 pfn, i32 mode) {
  i32 index = movable_ops_of(mm->mapcount[pfn], mm->flags[pfn]);
  if (index < 0) return REFUSED_UNMOVABLE;
  const struct movable_ops *ops = movable_ops[index];
  if (ops == NULL) return REFUSED_UNMOVABLE;
  if (mm->refcount[pfn] == 0) return REFUSED_FREE;
  mm->refcount[pfn]++;
  i32 answer = ops->isolate_page(mm, pfn, mode);
  if (answer != ISOLATED) put_page(mm, pfn);
  return answer;
}

static inline void putback_movable_page(struct mm *mm, i32 pfn) {
  isolated_ops_of(mm, pfn)->putback_page(mm, pfn);
  put_page(mm, pfn);
}

/* page.ts, rmap.ts */

static inline i32 folio_mapping(i32 flags, i32 mapping) {
  if ((mapping & PAGE_MAPPING_ANON) != 0) return (flags & PG_swapcache) == 0 ? 0 : MAPPING_SWAP;
  return (mapping & PAGE_MAPPING_FLAGS) == 0 ? (i32)((u32)mapping >> 2) : 0;
}

static inline i32 present_pte(i32 pfn) { return (i32)((u32)pfn << 2) | PTE_PRESENT; }
static inline i32 migration_pte(i32 pfn) { return (i32)((u32)pfn << 2) | PTE_MIGRATION; }

static inline i32 folio_mapcount(const struct mm *mm, i32 pfn, i32 flags) {
  i32 pages = folio_pages(flags);
  if (pages == 1) return max_i(mm->mapcount[pfn], 0);
  i32 sum = 0;
  for (i32 page = pfn; page < pfn + pages; page++) sum += max_i(mm->mapcount[page], 0);
  return sum;
}

static i32 try_to_migrate(struct mm *mm, i32 folio, i32 pages) {
  i32 left = 0;
  lock_bits(mm->rmap_lock, SPIN_LOCKED);
  for (i32 page = folio; page < folio + pages; page++) {
    i32 vpn = mm->rmap[page];
    while (vpn != 0) {
      if (mm->pte[vpn] == present_pte(page)) {
        mm->pte[vpn] = migration_pte(page);
        mm->mapcount[page]--;
        mm->refcount[folio]--;
      }
      vpn = mm->pte_next[vpn];
    }
    left += max_i(mm->mapcount[page], 0);
  }
  unlock_bits(mm->rmap_lock, SPIN_LOCKED);
  return left;
}

static void remove_migration_ptes(struct mm *mm, i32 src, i32 dst, i32 pages) {
  lock_bits(mm->rmap_lock, SPIN_LOCKED);
  for (i32 i = 0; i < pages; i++) {
    i32 from = src + i, to = dst + i, first = mm->rmap[from];
    for (i32 vpn = first; vpn != 0; vpn = mm->pte_next[vpn]) {
      if (mm->pte[vpn] != migration_pte(from)) continue;
      mm->refcount[dst]++;
      mm->mapcount[to]++;
      mm->pte[vpn] = present_pte(to);
    }
    if (first != 0 && from != to) {
      mm->rmap[to] = first;
      mm->rmap[from] = 0;
    }
  }
  unlock_bits(mm->rmap_lock, SPIN_LOCKED);
}

/* lru_ops.ts */

#define MOVES_WITH_DATA                                                                                      \
  (PG_referenced | PG_uptodate | PG_active | PG_unevictable | PG_workingset | PG_dirty | PG_swapbacked |     \
   PG_swapcache | PG_mlocked | PG_private | PG_anon_exclusive | PG_reclaim)
#define SEEN_WITH_SLOT (PG_dirty | PG_swapbacked | PG_swapcache)

static inline i32 folio_expected_ref_count(const struct mm *mm, i32 pfn) {
  i32 flags = mm->flags[pfn], mapping = mm->mapping[pfn];
  i32 count = folio_mapcount(mm, pfn, flags);
  if (folio_mapping(flags, mapping) != 0) count += folio_pages(flags);
  if ((mapping & PAGE_MAPPING_ANON) == 0 && (flags & PG_private) != 0) count += 1;
  return count;
}

static i32 refused_by_mapping(struct mm *mm, i32 pfn, bool async_dirty) {
  if (!try_lock_bits(&mm->flags[pfn], PG_locked)) return REFUSED_LOCKED;
  i32 mapping = folio_mapping(mm->flags[pfn], mm->mapping[pfn]);
  i32 as_flags = mapping == 0 ? 0 : mm->mapping_flags[mapping];
  unlock_bits(&mm->flags[pfn], PG_locked);
  if (async_dirty && (as_flags & NO_MIGRATE_FOLIO) != 0) return REFUSED_DIRTY;
  return (as_flags & AS_INACCESSIBLE) != 0 ? REFUSED_MAPPING : ISOLATED;
}

static i32 isolate_lru_folio(struct mm *mm, i32 pfn, i32 mode) {
  i32 flags = mm->flags[pfn];
  i32 mapping = folio_mapping(flags, mm->mapping[pfn]);
  if (mapping == 0 && mm->refcount[pfn] - 1 > folio_mapcount(mm, pfn, flags)) return REFUSED_PINNED;
  bool unevictable = (flags & PG_unevictable) != 0;
  if (unevictable && (mode & ISOLATE_UNEVICTABLE) == 0) return REFUSED_UNEVICTABLE;
  bool async = (mode & ISOLATE_ASYNC_MIGRATE) != 0;
  if (async && (flags & PG_writeback) != 0) return REFUSED_WRITEBACK;
  if ((mode & ISOLATE_UNMAPPED) != 0 && folio_mapcount(mm, pfn, flags) > 0) return REFUSED_MAPPED;
  bool async_dirty = async && (flags & PG_dirty) != 0;
  if (async_dirty || (unevictable && mapping != 0)) {
    i32 refusal = refused_by_mapping(mm, pfn, async_dirty);
    if (refusal != ISOLATED) return refusal;
  }
  if (!folio_isolate_lru(mm, pfn)) return REFUSED_ISOLATED;
  isolated_counter(mm, flags)[node_of(mm, pfn)] += folio_pages(flags);
  return ISOLATED;
}

static inline void uncount_isolated(struct mm *mm, i32 pfn, i32 flags) {
  isolated_counter(mm, flags)[node_of(mm, pfn)] -= folio_pages(flags);
}

static void putback_lru_folio(struct mm *mm, i32 pfn) {
  uncount_isolated(mm, pfn, mm->flags[pfn]);
  folio_add_lru(mm, pfn);
}

static inline i32 move_anon_identity(struct mm *mm, i32 dst, i32 src) {
  if (mm->refcount[src] != 1 + folio_expected_ref_count(mm, src)) return -EAGAIN_;
  mm->mapping[dst] = mm->mapping[src];
  return 0;
}

static inline i32 move_cached_identity(struct mm *mm, i32 dst, i32 src, i32 mapping) {
  i32 expected = 1 + folio_expected_ref_count(mm, src);
  i32 flags = mm->flags[src], pages = folio_pages(flags);
  lock_bits(&mm->mapping_flags[mapping], AS_LOCKED);
  if (mm->refcount[src] != expected) {
    unlock_bits(&mm->mapping_flags[mapping], AS_LOCKED);
    return -EAGAIN_;
  }
  mm->refcount[src] = 0;
  i32 slot = mm->private[src];
  mm->mapping[dst] = mm->mapping[src];
  mm->private[dst] = slot;
  i32 buffers = (mm->mapping[src] & PAGE_MAPPING_ANON) == 0 && (flags & PG_private) != 0 ? 1 : 0;
  mm->refcount[dst] += pages + buffers;
  mm->flags[dst] |= flags & SEEN_WITH_SLOT;
  mm->cache[slot] = dst;
  mm->private[src] = 0;
  mm->refcount[src] = expected - pages - buffers;
  unlock_bits(&mm->mapping_flags[mapping], AS_LOCKED);
  return 0;
}

static i32 migrate_lru_folio(struct mm *mm, i32 dst, i32 src, i32 mode) {
  i32 flags = mm->flags[src];
  i32 mapping = folio_mapping(flags, mm->mapping[src]);
  i32 as_flags = mm->mapping_flags[mapping];
  if ((as_flags & AS_INACCESSIBLE) != 0) return -EOPNOTSUPP_;
  if ((as_flags & NO_MIGRATE_FOLIO) != 0) {
    if ((flags & PG_dirty) != 0) return -EBUSY_;
    if ((flags & PG_private) != 0) return mode == MIGRATE_SYNC ? -EAGAIN_ : -EBUSY_;
  }
  check((flags & PG_writeback) == 0, "migrate: writeback is over");
  i32 rc = mapping == 0 ? move_anon_identity(mm, dst, src) : move_cached_identity(mm, dst, src, mapping);
  if (rc != 0) return rc;
  i32 moved = mm->flags[src] & MOVES_WITH_DATA;
  mm->flags[src] &= ~MOVES_WITH_DATA;
  mm->flags[dst] |= moved;
  uncount_isolated(mm, src, flags);
  if ((mm->mapping[src] & PAGE_MAPPING_ANON) == 0) mm->mapping[src] = 0;
  folio_add_lru(mm, dst);
  return 0;
}

static const struct movable_ops lru_ops = {isolate_lru_folio, migrate_lru_folio, putback_lru_folio};

/* page_pool.ts, under the page lock as movable_ops.ts has it; one pool, number 0 */

enum { POOL_LOCK = 0, POOL_LISTED = 1, POOL_ISOLATED = 2 };

static inline bool is_pool_page(const struct mm *mm, i32 pfn) {
  return page_type(mm->mapcount[pfn]) == PGTY_zsmalloc && (mm->flags[pfn] & PG_movable_ops) != 0;
}

static inline void pool_mark(struct mm *mm, i32 pfn) {
  mm->mapcount[pfn] = PAGE_TYPE(PGTY_zsmalloc);
  mm->flags[pfn] |= PG_movable_ops;
}

static inline void pool_enlist(struct mm *mm, i32 pfn, i32 was_isolated) {
  lock_bits(&mm->owner_cells[POOL_LOCK], SPIN_LOCKED);
  list_add(mm->links, pfn, owner_list(mm, 0));
  mm->owner_cells[POOL_LISTED]++;
  mm->owner_cells[POOL_ISOLATED] -= was_isolated;
  mm->owner_cells[POOL_LOCK] &= ~SPIN_LOCKED;
}

static i32 pool_isolate_page(struct mm *mm, i32 pfn, i32 mode) {
  (void)mode;
  if (!try_lock_bits(&mm->flags[pfn], PG_locked)) return REFUSED_LOCKED;
  i32 answer = ISOLATED;
  if (!is_pool_page(mm, pfn)) answer = REFUSED_UNMOVABLE;
  else if ((mm->flags[pfn] & PG_movable_ops_isolated) != 0) answer = REFUSED_ISOLATED;
  else {
    lock_bits(&mm->owner_cells[POOL_LOCK], SPIN_LOCKED);
    list_del(mm->links, pfn);
    mm->owner_cells[POOL_LISTED]--;
    mm->owner_cells[POOL_ISOLATED]++;
    mm->owner_cells[POOL_LOCK] &= ~SPIN_LOCKED;
    mm->flags[pfn] |= PG_movable_ops_isolated;
  }
  unlock_bits(&mm->flags[pfn], PG_locked);
  return answer;
}

static i32 pool_migrate_page(struct mm *mm, i32 dst, i32 src, i32 mode) {
  (void)mode;
  check((mm->flags[src] & PG_movable_ops_isolated) != 0, "migrate: the page is isolated");
  if (is_pool_page(mm, src)) {
    mm->refcount[dst]++;
    pool_mark(mm, dst);
    pool_enlist(mm, dst, 1);
    mm->refcount[src]--;
  }
  mm->flags[src] &= ~(PG_movable_ops_isolated | PG_movable_ops);
  return 0;
}

static void pool_putback_page(struct mm *mm, i32 pfn) {
  lock_bits(&mm->flags[pfn], PG_locked);
  if (is_pool_page(mm, pfn)) pool_enlist(mm, pfn, 1);
  mm->flags[pfn] &= ~PG_movable_ops_isolated;
  unlock_bits(&mm->flags[pfn], PG_locked);
}

static const struct movable_ops pool_ops = {pool_isolate_page, pool_migrate_page, pool_putback_page};

/* migrate.ts */

struct migrate_stats {
  i32 pages_succeeded, pages_failed, thp_succeeded, thp_failed, thp_split, folios_split;
};

struct compact_control {
  struct mm *mm;
  i32 zone, order, mode;
  bool direct, whole_zone, ignore_skip_hint, ignore_block_suitable;
  i32 migratepages, freepages[NR_PAGE_ORDERS];
  i32 migrate_pfn, free_pfn, nr_migratepages, nr_freepages;
  bool finish_pageblock;
  i32 migrate_scanned, free_scanned;
  struct migrate_stats stats;
  i32 refused[ISOLATION_REASONS];
};

static i32 compaction_alloc(struct compact_control *cc, i32 order);
static void compaction_free(struct compact_control *cc, i32 dst);

/* Where folios move to; compaction is the one user here. */
struct migration_target {
  i32 (*get_new_folio)(struct compact_control *, i32 order);
  void (*put_new_folio)(struct compact_control *, i32 dst);
};
static const struct migration_target compaction_target = {compaction_alloc, compaction_free};

enum { LIST_BATCH = 12, LIST_FAILED, LIST_SPLIT, LIST_UNMAPPED, LIST_DST, LIST_RETRY };
enum { UNMAPPED = 0, FREED = 1, PAGE_WAS_MAPPED = 1, WAIT_LOCK = 1, WAIT_WRITEBACK = 2 };

struct job {
  struct mm *mm;
  struct compact_control *cc;
  const struct migration_target *target;
  struct migrate_stats stats;
  i32 waits, batch, failed, split, unmapped, dst, retry;
};

/* One run over a list, and what its current pass leaves to the next one. */
struct run {
  i32 mode, failed, waits, retry_folios, retry_pages, retry_thps;
};

static inline bool is_thp(i32 flags) { return compound_order(flags) == PAGEBLOCK_ORDER; }

static inline bool lock_for_migration(struct mm *mm, i32 src, i32 mode, i32 waits) {
  if (try_lock_bits(&mm->flags[src], PG_locked)) return true;
  if (mode == MIGRATE_ASYNC || (waits & WAIT_LOCK) == 0) return false;
  if (mode == MIGRATE_SYNC_LIGHT && (mm->flags[src] & PG_uptodate) == 0) return false;
  lock_bits(&mm->flags[src], PG_locked);
  return true;
}

static i32 migrate_folio_unmap(struct mm *mm, i32 src, i32 dst, i32 mode, i32 waits) {
  if (!lock_for_migration(mm, src, mode, waits)) return -EAGAIN_;
  if ((mm->flags[src] & PG_writeback) != 0) {
    if (mode != MIGRATE_SYNC || (waits & WAIT_WRITEBACK) == 0) {
      unlock_bits(&mm->flags[src], PG_locked);
      return mode == MIGRATE_SYNC ? -EAGAIN_ : -EBUSY_;
    }
    check(false, "deadlock: writeback");
  }
  if (!try_lock_bits(&mm->flags[dst], PG_locked)) {
    unlock_bits(&mm->flags[src], PG_locked);
    return -EAGAIN_;
  }
  mm->private[dst] = 0;
  i32 flags = mm->flags[src];
  if (folio_mapcount(mm, src, flags) == 0) {
    if ((flags & PG_private) == 0 || mm->mapping[src] != 0 || mm->mapcount[src] < 0) return UNMAPPED;
    mm->flags[src] &= ~PG_private;
    mm->refcount[src]--;
  } else {
    if (try_to_migrate(mm, src, folio_pages(flags)) == 0) {
      mm->private[dst] = PAGE_WAS_MAPPED;
      return UNMAPPED;
    }
    remove_migration_ptes(mm, src, src, folio_pages(flags));
  }
  unlock_bits(&mm->flags[src], PG_locked);
  unlock_bits(&mm->flags[dst], PG_locked);
  return -EAGAIN_;
}

static i32 migrate_folio_move(struct mm *mm, i32 src, i32 dst, i32 mode) {
  bool was_mapped = mm->private[dst] == PAGE_WAS_MAPPED;
  i32 pages = folio_pages(mm->flags[src]);
  mm->private[dst] = 0;
  i32 rc = isolated_ops_of(mm, src)->migrate_page(mm, dst, src, mode);
  if (rc == -EAGAIN_) {
    mm->private[dst] = was_mapped ? PAGE_WAS_MAPPED : 0;
    return rc;
  }
  if (was_mapped) remove_migration_ptes(mm, src, rc == 0 ? dst : src, pages);
  unlock_bits(&mm->flags[dst], PG_locked);
  unlock_bits(&mm->flags[src], PG_locked);
  if (rc != 0) return rc;
  put_page(mm, dst);
  put_page(mm, src);
  return 0;
}

static void migrate_folio_undo(struct mm *mm, i32 src, i32 dst) {
  if (mm->private[dst] == PAGE_WAS_MAPPED) remove_migration_ptes(mm, src, src, folio_pages(mm->flags[src]));
  mm->private[dst] = 0;
  unlock_bits(&mm->flags[dst], PG_locked);
  unlock_bits(&mm->flags[src], PG_locked);
}

static inline struct run new_run(i32 mode, i32 failed, i32 waits) {
  return (struct run){.mode = mode, .failed = failed, .waits = waits, .retry_folios = 1};
}

static inline void start_pass(struct run *run) { run->retry_folios = run->retry_pages = run->retry_thps = 0; }

static inline void retry_later(struct run *run, i32 flags) {
  run->retry_folios++;
  run->retry_pages += folio_pages(flags);
  if (is_thp(flags)) run->retry_thps++;
}

static inline i32 give_up(struct migrate_stats *stats, const struct run *run) {
  stats->pages_failed += run->retry_pages;
  stats->thp_failed += run->retry_thps;
  return run->retry_folios;
}

static inline void count_succeeded(struct migrate_stats *stats, i32 flags) {
  stats->pages_succeeded += folio_pages(flags);
  if (is_thp(flags)) stats->thp_succeeded++;
}

static inline void count_failed(struct migrate_stats *stats, i32 flags) {
  stats->pages_failed += folio_pages(flags);
  if (is_thp(flags)) stats->thp_failed++;
}

static i32 unmap_one(struct job *job, struct run *run, i32 src) {
  struct mm *mm = job->mm;
  i32 flags = mm->flags[src];
  if (mm->refcount[src] == 1) {
    list_del(mm->links, src);
    count_succeeded(&job->stats, flags);
    putback_movable_page(mm, src);
    return FREED;
  }
  i32 dst = job->target->get_new_folio(job->cc, compound_order(flags));
  if (dst < 0) {
    check((flags & PG_head) == 0, "splitting is not part of this twin");
    count_failed(&job->stats, flags);
    return -ENOMEM_;
  }
  i32 rc = migrate_folio_unmap(mm, src, dst, run->mode, run->waits);
  if (rc == UNMAPPED) {
    list_move_tail(mm->links, src, job->unmapped);
    list_add_tail(mm->links, dst, job->dst);
    return UNMAPPED;
  }
  job->target->put_new_folio(job->cc, dst);
  if (rc == -EAGAIN_) retry_later(run, flags);
  else {
    count_failed(&job->stats, flags);
    list_move_tail(mm->links, src, run->failed);
  }
  return rc;
}

static inline i32 move_one(struct job *job, struct run *run, i32 src, i32 dst) {
  struct mm *mm = job->mm;
  i32 flags = mm->flags[src], next_src = list_next(mm->links, src), next_dst = list_next(mm->links, dst);
  list_del(mm->links, src);
  list_del(mm->links, dst);
  i32 rc = migrate_folio_move(mm, src, dst, run->mode);
  if (rc == 0) {
    count_succeeded(&job->stats, flags);
  } else if (rc == -EAGAIN_) {
    retry_later(run, flags);
    list_add_tail(mm->links, src, next_src);
    list_add_tail(mm->links, dst, next_dst);
  } else {
    count_failed(&job->stats, flags);
    list_add_tail(mm->links, src, run->failed);
    job->target->put_new_folio(job->cc, dst);
  }
  return rc;
}

static i32 move_unmapped(struct job *job, i32 failed, i32 mode, i32 passes) {
  struct mm *mm = job->mm;
  if (list_empty(mm->links, job->unmapped)) return 0;
  struct run run = new_run(mode, failed, job->waits);
  i32 not_migrated = 0;
  for (i32 pass = 0; pass < passes && run.retry_folios > 0; pass++) {
    start_pass(&run);
    i32 src = list_first(mm->links, job->unmapped), dst = list_first(mm->links, job->dst);
    while (src != job->unmapped) {
      i32 next_src = list_next(mm->links, src), next_dst = list_next(mm->links, dst);
      i32 rc = move_one(job, &run, src, dst);
      if (rc < 0 && rc != -EAGAIN_) not_migrated++;
      src = next_src;
      dst = next_dst;
    }
  }
  return not_migrated + give_up(&job->stats, &run);
}

static void undo_unmapped(struct job *job, i32 to) {
  struct mm *mm = job->mm;
  while (!list_empty(mm->links, job->unmapped)) {
    i32 src = list_first(mm->links, job->unmapped), dst = list_first(mm->links, job->dst);
    list_del(mm->links, dst);
    migrate_folio_undo(mm, src, dst);
    job->target->put_new_folio(job->cc, dst);
    list_move_tail(mm->links, src, to);
  }
}

static i32 migrate_pages_batch(struct job *job, i32 from, i32 failed, i32 mode, i32 passes) {
  struct mm *mm = job->mm;
  check(mode == MIGRATE_ASYNC || list_empty(mm->links, from) ||
          list_next(mm->links, list_first(mm->links, from)) == from,
        "migrate: batches are asynchronous only");
  struct run run = new_run(mode, failed, job->waits);
  i32 not_migrated = 0;
  bool out_of_memory = false;
  for (i32 pass = 0; pass < passes && run.retry_folios > 0 && !out_of_memory; pass++) {
    start_pass(&run);
    for (i32 folio = list_first(mm->links, from); folio != from && !out_of_memory;) {
      i32 next = list_next(mm->links, folio);
      i32 rc = unmap_one(job, &run, folio);
      if (rc == -ENOMEM_) out_of_memory = true;
      else if (rc < 0 && rc != -EAGAIN_) not_migrated++;
      folio = next;
    }
  }
  not_migrated += give_up(&job->stats, &run);
  not_migrated += move_unmapped(job, failed, mode, passes);
  undo_unmapped(job, failed);
  return out_of_memory ? -ENOMEM_ : not_migrated;
}

static i32 migrate_each_alone(struct job *job, i32 mode, i32 passes) {
  struct mm *mm = job->mm;
  i32 not_migrated = 0;
  while (!list_empty(mm->links, job->batch)) {
    list_move_tail(mm->links, list_first(mm->links, job->batch), job->retry);
    i32 rc = migrate_pages_batch(job, job->retry, job->failed, mode, passes);
    list_splice_tail(mm->links, job->retry, job->failed);
    if (rc < 0) return rc;
    not_migrated += rc;
  }
  return not_migrated;
}

static i32 migrate_one_batch(struct job *job, i32 mode) {
  struct mm *mm = job->mm;
  if (mode == MIGRATE_ASYNC) {
    return migrate_pages_batch(job, job->batch, job->failed, mode, NR_MAX_MIGRATE_PAGES_RETRY);
  }
  struct migrate_stats before = job->stats;
  i32 rc = migrate_pages_batch(job, job->batch, job->retry, MIGRATE_ASYNC, NR_MAX_MIGRATE_ASYNC_RETRY);
  if (rc < 0) {
    list_splice_tail(mm->links, job->retry, job->failed);
    return rc;
  }
  job->stats.pages_failed = before.pages_failed;
  job->stats.thp_failed = before.thp_failed + (job->stats.thp_split - before.thp_split);
  i32 split_before = job->stats.folios_split - before.folios_split;
  list_splice_tail(mm->links, job->retry, job->batch);
  i32 alone = migrate_each_alone(job, mode, NR_MAX_MIGRATE_SYNC_RETRY);
  return alone < 0 ? alone : alone + split_before;
}

static i32 migrate_pages(struct mm *mm, i32 from, struct compact_control *cc, i32 mode) {
  struct job job = {
    .mm = mm,
    .cc = cc,
    .target = &compaction_target,
    .waits = WAIT_LOCK | WAIT_WRITEBACK,
    .batch = task_list(mm, 0, LIST_BATCH),
    .failed = task_list(mm, 0, LIST_FAILED),
    .split = task_list(mm, 0, LIST_SPLIT),
    .unmapped = task_list(mm, 0, LIST_UNMAPPED),
    .dst = task_list(mm, 0, LIST_DST),
    .retry = task_list(mm, 0, LIST_RETRY),
  };
  for (i32 list = job.batch; list <= job.retry; list++) check(list_empty(mm->links, list), "no migration under way");
  i32 not_migrated = 0;
  while (!list_empty(mm->links, from)) {
    i32 pages = 0;
    while (!list_empty(mm->links, from) && pages < NR_MAX_BATCHED_MIGRATION) {
      i32 folio = list_first(mm->links, from);
      list_move_tail(mm->links, folio, job.batch);
      pages += folio_pages(mm->flags[folio]);
    }
    i32 rc = migrate_one_batch(&job, mode);
    list_splice_tail(mm->links, job.batch, job.failed);
    if (rc < 0) {
      not_migrated = rc;
      break;
    }
    not_migrated += rc;
  }
  list_splice(mm->links, job.failed, from);
  if (list_empty(mm->links, from)) not_migrated = 0;
  cc->stats.pages_succeeded += job.stats.pages_succeeded;
  cc->stats.pages_failed += job.stats.pages_failed;
  cc->stats.thp_succeeded += job.stats.thp_succeeded;
  cc->stats.thp_failed += job.stats.thp_failed;
  cc->stats.thp_split += job.stats.thp_split;
  cc->stats.folios_split += job.stats.folios_split;
  count_events(mm, PGMIGRATE_SUCCESS, job.stats.pages_succeeded);
  count_events(mm, PGMIGRATE_FAIL, job.stats.pages_failed);
  count_events(mm, THP_MIGRATION_SUCCESS, job.stats.thp_succeeded);
  count_events(mm, THP_MIGRATION_FAIL, job.stats.thp_failed);
  count_events(mm, THP_MIGRATION_SPLIT, job.stats.thp_split);
  return not_migrated;
}

static void putback_movable_pages(struct mm *mm, i32 list) {
  while (!list_empty(mm->links, list)) {
    i32 pfn = list_first(mm->links, list);
    list_del(mm->links, pfn);
    putback_movable_page(mm, pfn);
  }
}

/* compaction.ts: a whole zone, whatever the hints say (compactNode) */

enum { COMPACT_CONTINUE = 4, COMPACT_COMPLETE = 5, COMPACT_PARTIAL_SKIPPED = 6, COMPACT_CONTENDED = 7 };

static inline bool is_movable_type(i32 mt) { return mt == MIGRATE_MOVABLE || mt == MIGRATE_CMA; }
static inline bool scanners_met(const struct compact_control *cc) {
  return pageblock_of(cc->free_pfn) <= pageblock_of(cc->migrate_pfn);
}
static inline i32 aligned_end(i32 pfn, i32 order) { return ((pfn >> order) + 1) << order; }
static inline bool is_too_large(const struct compact_control *cc, i32 order) {
  return order >= PAGEBLOCK_ORDER || (cc->order != -1 && order >= cc->order);
}
static inline i32 folio_head(const struct mm *mm, i32 pfn) {
  return (mm->flags[pfn] & COMPOUND_TAIL) == 0 ? pfn : mm->private[pfn];
}

static void update_cached_migrate(struct compact_control *cc, i32 pfn) {
  struct mm *mm = cc->mm;
  i32 next = pageblock_end(pfn);
  if (next > mm->cached_migrate_async[cc->zone]) mm->cached_migrate_async[cc->zone] = next;
  if (cc->mode == MIGRATE_ASYNC) return;
  if (next > mm->cached_migrate_sync[cc->zone]) mm->cached_migrate_sync[cc->zone] = next;
}

static bool take_skip_hint(struct compact_control *cc, i32 pfn) {
  if (cc->ignore_skip_hint) return true;
  i32 *bits = &cc->mm->pageblock[pageblock_of(pfn)];
  bool was_set = (*bits & PB_migrate_skip) != 0;
  *bits |= PB_migrate_skip;
  return !was_set;
}

static void isolate_migratepages_block(struct compact_control *cc, i32 from, i32 end, i32 mode) {
  struct mm *mm = cc->mm;
  bool skip_on_failure = cc->direct && cc->mode == MIGRATE_ASYNC && cc->order > 0;
  i32 next_skip = skip_on_failure ? aligned_end(from, cc->order) : 0;
  bool marks_block = from == pageblock_start(from) || from == mm->zone_start[cc->zone], marked = false;
  i32 scanned = 0, isolated = 0, low = from;
  for (; low < end; low++) {
    if (skip_on_failure && low >= next_skip) {
      if (isolated > 0) break;
      next_skip = aligned_end(low, cc->order);
    }
    scanned++;
    if (is_buddy(mm->mapcount[low])) {
      i32 rest = (1 << buddy_order(mm->mapcount[low])) - 1;
      low += rest;
      scanned += rest;
      continue;
    }
    i32 order = compound_order(mm->flags[low]), rest = (1 << order) - 1;
    i32 answer = order > 0 && is_too_large(cc, order) ? REFUSED_HUGE : isolate_movable_page(mm, low, mode);
    if (answer == ISOLATED) {
      if (marks_block && !marked && mm->mapcount[low] >= 0) {
        marked = true;
        if (!take_skip_hint(cc, low) && !cc->finish_pageblock) {
          putback_movable_page(mm, low);
          low = end;
          break;
        }
      }
      list_add(mm->links, low, cc->migratepages);
      isolated += rest + 1;
      cc->nr_migratepages += rest + 1;
      scanned += rest;
      low += rest;
      if (cc->nr_migratepages >= COMPACT_CLUSTER_MAX && !cc->finish_pageblock) {
        low++;
        break;
      }
      continue;
    }
    cc->refused[answer] += answer == REFUSED_HUGE ? rest + 1 : 1;
    if (answer == REFUSED_HUGE) {
      low += rest;
      scanned += rest;
    }
    if (!skip_on_failure) continue;
    if (isolated > 0) {
      putback_movable_pages(mm, cc->migratepages);
      cc->nr_migratepages = 0;
      isolated = 0;
    }
    if (low < next_skip) {
      low = next_skip - 1;
      next_skip += 1 << cc->order;
    }
  }
  i32 stop = min_i(low, end);
  if (stop == end && (isolated == 0 || cc->finish_pageblock)) {
    if (marks_block && !marked) mm->pageblock[pageblock_of(from)] |= PB_migrate_skip;
    update_cached_migrate(cc, stop);
  }
  cc->migrate_scanned += scanned;
  count_events(mm, COMPACTISOLATED, isolated);
  cc->migrate_pfn = stop;
}

static inline bool is_suitable_source(const struct compact_control *cc, i32 first, i32 bits) {
  const struct mm *mm = cc->mm;
  if (compound_order(mm->flags[folio_head(mm, first)]) >= PAGEBLOCK_ORDER) return false;
  if (cc->mode != MIGRATE_ASYNC || !cc->direct) return true;
  return is_movable_type(bits & PB_MIGRATETYPE);
}

static bool isolate_migratepages(struct compact_control *cc) {
  struct mm *mm = cc->mm;
  i32 mode = ISOLATE_UNEVICTABLE | (cc->mode == MIGRATE_SYNC ? 0 : ISOLATE_ASYNC_MIGRATE);
  i32 low = cc->migrate_pfn, end = pageblock_end(low), zone_start = mm->zone_start[cc->zone];
  for (; end <= cc->free_pfn; low = end, end += PAGEBLOCK_NR_PAGES) {
    cc->migrate_pfn = low;
    i32 bits = mm->pageblock[pageblock_of(low)];
    if ((bits & PB_ABSENT) != 0) continue;
    bool at_start = low == pageblock_start(low) || low == zone_start;
    if (at_start && !cc->ignore_skip_hint && (bits & PB_migrate_skip) != 0) continue;
    if (!is_suitable_source(cc, max_i(pageblock_start(low), zone_start), bits)) {
      update_cached_migrate(cc, end);
      continue;
    }
    isolate_migratepages_block(cc, low, end, mode);
    return cc->nr_migratepages > 0;
  }
  cc->migrate_pfn = low;
  return false;
}

static i32 isolate_freepages_block(struct compact_control *cc, i32 from, i32 end, i32 stride) {
  struct mm *mm = cc->mm;
  i32 scanned = 0, isolated = 0, at = from;
  for (; at < end; at += stride) {
    scanned++;
    if (!is_buddy(mm->mapcount[at])) {
      i32 flags = mm->flags[at], rest = (flags & PG_head) == 0 ? 0 : (1 << compound_order(flags)) - 1;
      if (rest > 0 && at + rest < end) {
        at += rest;
        scanned += rest;
      }
      continue;
    }
    i32 order = buddy_order(mm->mapcount[at]);
    i32 got = isolate_free_page(mm, at, order);
    if (got == 0) break;
    scanned += got - 1;
    isolated += got;
    cc->nr_freepages += got;
    list_add_tail(mm->links, at, cc->freepages[order]);
    if (cc->nr_migratepages <= cc->nr_freepages) {
      at += got;
      break;
    }
    at += got - 1;
  }
  cc->free_scanned += scanned;
  count_events(mm, COMPACTISOLATED, isolated);
  return min_i(at, end);
}

static inline bool is_suitable_target(const struct compact_control *cc, i32 start, i32 bits) {
  const struct mm *mm = cc->mm;
  i32 wanted = cc->order > 0 ? cc->order : PAGEBLOCK_ORDER;
  if (is_buddy(mm->mapcount[start]) && buddy_order(mm->mapcount[start]) >= wanted) return false;
  return cc->ignore_block_suitable || is_movable_type(bits & PB_MIGRATETYPE);
}

static void set_free_skip_hint(struct compact_control *cc, i32 block) {
  struct mm *mm = cc->mm;
  mm->pageblock[block] |= PB_migrate_skip;
  i32 before = (block - 1) * PAGEBLOCK_NR_PAGES;
  if (before < mm->cached_free[cc->zone]) mm->cached_free[cc->zone] = before;
}

static void isolate_freepages(struct compact_control *cc) {
  if (cc->nr_freepages > 0) return;
  struct mm *mm = cc->mm;
  i32 zone_end = mm->zone_end[cc->zone], low = pageblock_end(cc->migrate_pfn), from = cc->free_pfn;
  i32 start = pageblock_start(from), end = min_i(start + PAGEBLOCK_NR_PAGES, zone_end);
  i32 stride = cc->mode == MIGRATE_ASYNC ? COMPACT_CLUSTER_MAX : 1;
  for (; start >= low; end = start, start -= PAGEBLOCK_NR_PAGES, from = start) {
    i32 block = pageblock_of(start), bits = mm->pageblock[block];
    if ((bits & PB_ABSENT) != 0 || !is_suitable_target(cc, start, bits)) continue;
    if (!cc->ignore_skip_hint && (bits & PB_migrate_skip) != 0) continue;
    i32 before = cc->nr_freepages;
    lock_bits(&mm->zone_lock[cc->zone], SPIN_LOCKED);
    i32 stop = isolate_freepages_block(cc, from, end, stride);
    mm->zone_lock[cc->zone] &= ~SPIN_LOCKED;
    from = stop;
    if (stop == end) set_free_skip_hint(cc, block);
    if (cc->nr_freepages >= cc->nr_migratepages) {
      if (stop >= end) from = start - PAGEBLOCK_NR_PAGES;
      break;
    }
    if (stop < end) break;
    stride = cc->nr_freepages > before ? 1 : min_i(COMPACT_CLUSTER_MAX, stride << 1);
  }
  cc->free_pfn = from;
}

static inline i32 smallest_kept(const struct compact_control *cc, i32 order) {
  i32 at = order;
  while (at < NR_PAGE_ORDERS && list_empty(cc->mm->links, cc->freepages[at])) at++;
  return at;
}

static i32 compaction_alloc(struct compact_control *cc, i32 order) {
  struct mm *mm = cc->mm;
  i32 found = smallest_kept(cc, order);
  if (found == NR_PAGE_ORDERS) {
    isolate_freepages(cc);
    found = smallest_kept(cc, order);
    if (found == NR_PAGE_ORDERS) return -1;
  }
  i32 pfn = list_first(mm->links, cc->freepages[found]);
  list_del(mm->links, pfn);
  for (i32 half = found - 1; half >= order; half--) list_add(mm->links, pfn + (1 << half), cc->freepages[half]);
  prep_compound_page(mm, pfn, order);
  mm->refcount[pfn] = 1;
  cc->nr_freepages -= 1 << order;
  cc->nr_migratepages -= 1 << order;
  return pfn;
}

static void compaction_free(struct compact_control *cc, i32 dst) {
  struct mm *mm = cc->mm;
  i32 order = compound_order(mm->flags[dst]);
  if (--mm->refcount[dst] == 0) {
    for (i32 page = dst; page < dst + (1 << order); page++) {
      mm->flags[page] = 0;
      mm->private[page] = 0;
    }
    list_add(mm->links, dst, cc->freepages[order]);
    cc->nr_freepages += 1 << order;
  }
  cc->nr_migratepages += 1 << order;
}

static void release_freepages(struct compact_control *cc) {
  struct mm *mm = cc->mm;
  i32 highest = 0;
  for (i32 order = 0; order < NR_PAGE_ORDERS; order++) {
    while (!list_empty(mm->links, cc->freepages[order])) {
      i32 pfn = list_first(mm->links, cc->freepages[order]);
      list_del(mm->links, pfn);
      highest = max_i(highest, pfn);
      free_frozen_pages(mm, pfn, order);
    }
  }
  cc->nr_freepages = 0;
  if (highest == 0) return;
  i32 start = pageblock_start(highest);
  if (start > mm->cached_free[cc->zone]) mm->cached_free[cc->zone] = start;
}

static i32 compact_zone(struct compact_control *cc) {
  struct mm *mm = cc->mm;
  i32 zone_start = mm->zone_start[cc->zone], last_migrated = 0, result = COMPACT_CONTINUE;
  bool moves_both =
    cc->mode == MIGRATE_ASYNC && mm->cached_migrate_async[cc->zone] == mm->cached_migrate_sync[cc->zone];
  for (;;) {
    if (scanners_met(cc)) {
      reset_cached_positions(mm, cc->zone);
      if (cc->direct) mm->blockskip_flush[cc->zone] = 1;
      result = cc->whole_zone ? COMPACT_COMPLETE : COMPACT_PARTIAL_SKIPPED;
      break;
    }
    cc->finish_pageblock = pageblock_of(last_migrated) == pageblock_of(cc->migrate_pfn);
    if (!isolate_migratepages(cc)) {
      if (moves_both) mm->cached_migrate_sync[cc->zone] = mm->cached_migrate_async[cc->zone];
      continue;
    }
    moves_both = false;
    last_migrated = max_i(zone_start, pageblock_start(cc->migrate_pfn - 1));
    i32 rc = migrate_pages(mm, cc->migratepages, cc, cc->mode);
    cc->nr_migratepages = 0;
    if (rc == 0) continue;
    putback_movable_pages(mm, cc->migratepages);
    if (rc == -ENOMEM_ && !scanners_met(cc)) {
      result = COMPACT_CONTENDED;
      break;
    }
  }
  release_freepages(cc);
  count_events(mm, COMPACTMIGRATE_SCANNED, cc->migrate_scanned);
  count_events(mm, COMPACTFREE_SCANNED, cc->free_scanned);
  return result;
}

static struct compact_control compact_control_of(struct mm *mm, i32 zone) {
  struct compact_control cc = {
    .mm = mm,
    .zone = zone,
    .order = -1,
    .mode = MIGRATE_SYNC,
    .whole_zone = true,
    .ignore_skip_hint = true,
    .migratepages = task_list(mm, 0, 0),
  };
  for (i32 order = 0; order < NR_PAGE_ORDERS; order++) cc.freepages[order] = task_list(mm, 0, 1 + order);
  cc.migrate_pfn = mm->zone_start[zone];
  cc.free_pfn = pageblock_start(mm->zone_end[zone] - 1);
  return cc;
}

/* The workload of compaction.bench.ts */

static void load_anon(struct mm *mm, i32 pfn, i32 vpn) {
  mm->flags[pfn] = PG_lru | PG_uptodate | PG_dirty | PG_swapbacked;
  mm->mapping[pfn] = ANON_MAPPING;
  mm->refcount[pfn] = 1;
  mm->mapcount[pfn] = 1;
  mm->rmap[pfn] = vpn;
  mm->pte[vpn] = present_pte(pfn);
  list_add_tail(mm->links, pfn, lru_list(mm, 0, LRU_INACTIVE_ANON));
  mm->nr_lru[LRU_INACTIVE_ANON]++;
}

static void load_file(struct mm *mm, i32 pfn, i32 slot) {
  mm->flags[pfn] = PG_lru | PG_uptodate;
  mm->mapping[pfn] = MAPPING_FIRST_FILE << 2;
  mm->refcount[pfn] = 1;
  mm->private[pfn] = slot;
  mm->cache[slot] = pfn;
  list_add_tail(mm->links, pfn, lru_list(mm, 0, LRU_INACTIVE_FILE));
  mm->nr_lru[LRU_INACTIVE_FILE]++;
}

static struct mm *fragmented_machine(i32 pages, u32 seed) {
  i32 min = pages >> 9;
  struct mm_spec spec = {
    .pages = pages,
    .ptes = pages / 2,
    .slots = pages / 2,
    .mappings = 1,
    .owner_cells = 3,
    .wmark_min = min,
    .wmark_low = min + (min >> 2),
    .wmark_high = min + (min >> 1),
    .pcp_high = min,
    .pcp_high_min = min,
    .pcp_high_max = pages >> 4,
    .pcp_batch = 63,
  };
  struct mm *mm = create_machine(&spec);
  struct prng prng = seeded(seed);
  unsigned char *is_free = calloc((size_t)pages, 1);
  i32 vpn = 1, slot = 1;
  for (i32 pfn = 0; pfn < pages; pfn++) {
    bool hole = prng_below(&prng, 1000) < 300;
    u32 kind = prng_below(&prng, 100);
    i32 pins = prng_below(&prng, 100) < 2 ? 1 : 0;
    if (pfn > 0 && hole) is_free[pfn] = 1;
    else if (pfn == 0 || kind >= 90) mm->refcount[pfn] = 1;
    else if (kind < 40) {
      load_anon(mm, pfn, vpn++);
      mm->refcount[pfn] += pins;
    } else if (kind < 70) {
      load_file(mm, pfn, slot++);
      mm->refcount[pfn] += pins;
    } else {
      mm->refcount[pfn] = 1;
      pool_mark(mm, pfn);
      pool_enlist(mm, pfn, 0);
    }
  }
  for (i32 pfn = 0; pfn < pages; pfn++) {
    if (is_free[pfn]) free_one_page(mm, pfn, 0, NO_CAPTURE);
  }
  free(is_free);
  return mm;
}

static void print_result(const struct mm *mm, const struct compact_control *cc, i32 result, const double *ms, int rounds) {
  printf("{\"ms\":{");
  print_times("compact", ms, rounds);
  printf("},\"counts\":{\"result\":%d,\"migrated\":%d,\"failed\":%d,\"migrateScanned\":%d,\"freeScanned\":%d,\"nrFree\":%d",
         result, cc->stats.pages_succeeded, cc->stats.pages_failed, cc->migrate_scanned, cc->free_scanned, mm->nr_free[0]);
  for (i32 order = 0; order < NR_PAGE_ORDERS; order++) {
    i32 blocks = 0;
    for (i32 mt = 0; mt < MIGRATE_TYPES; mt++) blocks += mm->nr_free_blocks[order * MIGRATE_TYPES + mt];
    printf(",\"free%d\":%d", order, blocks);
  }
  for (i32 reason = 1; reason < ISOLATION_REASONS; reason++) {
    if (cc->refused[reason] > 0) printf(",\"refused%d\":%d", reason, cc->refused[reason]);
  }
  size_t n = (size_t)mm->pfn_count;
  printf("},\"hashes\":{\"flags\":%u,\"refcount\":%u,\"mapcount\":%u,\"mapping\":%u,\"private\":%u,\"rmap\":%u,\"links\":%u",
         hash_cells(mm->flags, n), hash_cells(mm->refcount, n), hash_cells(mm->mapcount, n),
         hash_cells(mm->mapping, n), hash_cells(mm->private, n), hash_cells(mm->rmap, n), hash_cells(mm->links, 2 * n));
  printf(",\"pte\":%u,\"cache\":%u,\"pageblock\":%u,\"nrFreeBlocks\":%u,\"nrLru\":%u,\"events\":%u,\"ownerCells\":%u}}\n",
         hash_cells(mm->pte, n / 2 + 1), hash_cells(mm->cache, n / 2 + 1),
         hash_cells(mm->pageblock, n / PAGEBLOCK_NR_PAGES),
         hash_cells(mm->nr_free_blocks, NR_PAGE_ORDERS * MIGRATE_TYPES), hash_cells(mm->nr_lru, NR_LRU_LISTS),
         hash_cells(mm->events, EVENT_CELLS), hash_cells(mm->owner_cells, 3));
}

int main(int argc, char **argv) {
  check(argc == 4, "usage: compaction PAGES ROUNDS SEED");
  i32 pages = atoi(argv[1]);
  int rounds = atoi(argv[2]);
  u32 seed = (u32)strtoul(argv[3], NULL, 10);
  movable_ops[0] = &lru_ops;
  movable_ops[ops_index_of(PGTY_zsmalloc)] = &pool_ops;
  struct mm *mm = fragmented_machine(pages, seed);
  size_t bytes = mm->arena_cells * sizeof(i32);
  i32 *snapshot = malloc(bytes);
  memcpy(snapshot, mm->arena, bytes);
  double *ms = calloc((size_t)rounds, sizeof(double));
  struct compact_control cc;
  i32 result = 0;
  for (int round = 0; round < rounds; round++) {
    memcpy(mm->arena, snapshot, bytes);
    cc = compact_control_of(mm, 0);
    double start = cpu_ms();
    result = compact_zone(&cc);
    ms[round] = cpu_ms() - start;
  }
  print_result(mm, &cc, result, ms, rounds);
  return 0;
}
