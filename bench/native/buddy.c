/*
 * C twin of buddy.bench.ts: the same work on the same columns.
 *
 *   buddy order0|mixed|pages PAGES ROUNDS SEED
 *
 * Prints CPU ms a round of each phase, counts, and a hash of each column as one JSON object.
 */

#include "mm.h"

static const i32 MIXED_TYPES[4] = {MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_CMA};

/* One zone, all free in blocks of the largest order; of four migratetypes if asked. */
static struct mm *free_machine(i32 pages, bool mixed_types, struct prng *prng) {
  struct mm_spec spec = {
    .pages = pages,
    .mappings = 1,
    .pcp_high = pages >> 9,
    .pcp_high_min = pages >> 9,
    .pcp_high_max = pages >> 4,
    .pcp_batch = 63,
  };
  struct mm *mm = create_machine(&spec);
  for (i32 pfn = 0; pfn < pages; pfn += 1 << MAX_PAGE_ORDER) {
    if (mixed_types) {
      i32 mt = MIXED_TYPES[prng_below(prng, 4)];
      set_migratetype(mm, pfn, mt, 2);
    }
    add_free_block(mm, pfn, MAX_PAGE_ORDER);
  }
  return mm;
}

static i32 *permutation(i32 pages, struct prng *prng) {
  i32 *order = malloc((size_t)pages * sizeof(i32));
  for (i32 i = 0; i < pages; i++) order[i] = i;
  for (i32 i = pages - 1; i > 0; i--) {
    i32 j = (i32)prng_below(prng, (u32)i + 1), at = order[i];
    order[i] = order[j];
    order[j] = at;
  }
  return order;
}

static i32 fill(struct mm *mm, i32 pages) {
  i32 sum = 0;
  for (i32 i = 0; i < pages; i++) sum = (i32)((u32)sum * 31 + (u32)rmqueue_smallest(mm, 0, 0, MIGRATE_MOVABLE));
  return sum;
}

static void free_all(struct mm *mm, const i32 *order, i32 pages) {
  for (i32 i = 0; i < pages; i++) free_one_page(mm, order[i], 0, NO_CAPTURE);
}

static i32 alloc_all(struct mm *mm, i32 pages) {
  i32 got = 0;
  while (got < pages && alloc_from_zone(mm, 0, 0, MIGRATE_MOVABLE) >= 0) got++;
  return got;
}

static void put_all(struct mm *mm, const i32 *order, i32 pages) {
  for (i32 i = 0; i < pages; i++) {
    if (mm->refcount[order[i]] == 1) put_page(mm, order[i]);
  }
}

struct live {
  i32 *blocks, count, used, failed;
  u32 x;
};

static inline u32 xorshift(struct live *live) {
  u32 x = live->x;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return live->x = x;
}

/* `ops` allocations below `target` pages in use, frees above it. With `ops` 0: until the target is reached. */
static void mix(struct mm *mm, struct live *live, i32 target, i32 ops) {
  for (i32 i = 0; ops == 0 ? live->used < target : i < ops; i++) {
    u32 r = xorshift(live);
    if (live->used < target) {
      i32 order = __builtin_ctz(r | (1 << MAX_PAGE_ORDER));
      i32 pfn = rmqueue_smallest(mm, 0, order, MIXED_TYPES[(r >> 16) & 3]);
      if (pfn >= 0) {
        live->blocks[live->count++] = (i32)((u32)pfn << 4) | order;
        live->used += 1 << order;
        continue;
      }
      live->failed++;
    }
    i32 at = (i32)(xorshift(live) >> 1) % live->count;
    i32 block = live->blocks[at];
    live->blocks[at] = live->blocks[--live->count];
    i32 order = block & 15;
    free_one_page(mm, (i32)((u32)block >> 4), order, NO_CAPTURE);
    live->used -= 1 << order;
  }
}

static void print_hashes(const struct mm *mm) {
  size_t n = (size_t)mm->pfn_count;
  printf(",\"hashes\":{\"refcount\":%u,\"mapcount\":%u,\"private\":%u,\"links\":%u,\"pageblock\":%u,\"nrFreeBlocks\":%u}}\n",
         hash_cells(mm->refcount, n), hash_cells(mm->mapcount, n), hash_cells(mm->private, n),
         hash_cells(mm->links, 2 * n), hash_cells(mm->pageblock, n / PAGEBLOCK_NR_PAGES),
         hash_cells(mm->nr_free_blocks, NR_PAGE_ORDERS * MIGRATE_TYPES));
}

int main(int argc, char **argv) {
  check(argc == 5, "usage: buddy order0|mixed|pages PAGES ROUNDS SEED");
  const char *what = argv[1];
  i32 pages = atoi(argv[2]);
  int rounds = atoi(argv[3]);
  struct prng prng = seeded((u32)strtoul(argv[4], NULL, 10));
  double *first = calloc((size_t)rounds, sizeof(double)), *second = calloc((size_t)rounds, sizeof(double));

  if (strcmp(what, "mixed") == 0) {
    struct mm *mm = free_machine(pages, true, &prng);
    i32 target = (i32)(pages * 7LL / 10), ops = pages * 2LL < 8000000 ? pages * 2 : 8000000;
    struct live live = {malloc((size_t)pages * sizeof(i32)), 0, 0, 0, 2463534242u};
    mix(mm, &live, target, 0);
    for (int round = 0; round < rounds; round++) {
      double start = cpu_ms();
      mix(mm, &live, target, ops);
      first[round] = cpu_ms() - start;
    }
    printf("{\"ms\":{");
    print_times("mixed", first, rounds);
    printf("},\"counts\":{\"ops\":%d,\"live\":%d,\"used\":%d,\"failed\":%d,\"nrFree\":%d}", ops, live.count, live.used,
           live.failed, mm->nr_free[0]);
    print_hashes(mm);
    return 0;
  }

  bool whole_path = strcmp(what, "pages") == 0;
  check(whole_path || strcmp(what, "order0") == 0, "what: order0, mixed or pages");
  struct mm *mm = free_machine(pages, false, &prng);
  i32 *order = permutation(pages, &prng);
  i32 sum = 0;
  for (int round = 0; round < rounds; round++) {
    double start = cpu_ms();
    sum = whole_path ? alloc_all(mm, pages) : fill(mm, pages);
    double half = cpu_ms();
    if (whole_path) put_all(mm, order, pages);
    else free_all(mm, order, pages);
    first[round] = half - start;
    second[round] = cpu_ms() - half;
  }
  printf("{\"ms\":{");
  print_times(whole_path ? "alloc" : "fill", first, rounds);
  printf(",");
  print_times(whole_path ? "put" : "free", second, rounds);
  printf("},\"counts\":{\"ops\":%d,\"sum\":%d,\"nrFree\":%d}", pages, sum, mm->nr_free[0]);
  print_hashes(mm);
  return 0;
}
