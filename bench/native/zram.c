/*
 * C twin of zram.bench.ts: the same pages, compressed by liblz4 and kept in zspages of the same size classes.
 *
 *   zram store SECTORS ROUNDS SEED
 *
 * What it is not: there are no locks, no handles, no page allocator (pages are taken in a row), nothing is freed.
 * Prints CPU ms a round of each phase and counts as one JSON object.
 */

/* Only the generator and the clock are wanted. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "mm.h"

#include <lz4.h>

enum { PAGE = 4096, CHAIN = 8, STEPS = 255, HANDLE = 8, SAME = -1, TEXT = 23 };

/* zs_size_classes.ts */
struct class {
  i32 size, pages, objs;
  /* The zspage that is being filled. */
  i32 next, first_page;
};

struct slot {
  i32 size, class_step, index, first_page;
  uint64_t word;
};

struct device {
  struct class classes[STEPS];
  i32 class_of[STEPS];
  i32 huge_size;
  uint8_t *memory;
  i32 pages;
  struct slot *slots;
  uint64_t compr;
  i32 huge;
};

static void make_classes(struct device *d) {
  i32 last = -1;
  d->huge_size = 0;
  for (i32 step = STEPS - 1; step >= 0; step--) {
    i32 size = 32 + 16 * step, best = 1;
    for (i32 pages = 1; pages <= CHAIN; pages++)
      if (pages * PAGE % size < best * PAGE % size) best = pages;
    i32 objs = best * PAGE / size;
    if (d->huge_size == 0 && best != 1 && objs != 1) d->huge_size = size - (HANDLE - 1);
    if (last < 0 || d->classes[last].pages != best || d->classes[last].objs != objs) {
      d->classes[step] = (struct class){size, best, objs, objs, 0};
      last = step;
    }
    d->class_of[step] = last;
  }
}

static struct device *make_device(i32 sectors) {
  struct device *d = calloc(1, sizeof(*d));
  make_classes(d);
  size_t bytes = (size_t)sectors * 2 * PAGE;
  d->memory = malloc(bytes);
  memset(d->memory, 1, bytes);
  d->slots = calloc((size_t)sectors, sizeof(struct slot));
  return d;
}

static void free_device(struct device *d) {
  free(d->memory);
  free(d->slots);
  free(d);
}

static bool same_filled(const uint8_t *page, uint64_t *word) {
  uint64_t first, at;
  memcpy(&first, page, 8);
  memcpy(&at, page + PAGE - 8, 8);
  if (at != first) return false;
  for (i32 i = 8; i < PAGE; i += 8) {
    memcpy(&at, page + i, 8);
    if (at != first) return false;
  }
  *word = first;
  return true;
}

/* Copies an object to or from its place, which may span two pages. */
static void copy(struct device *d, struct slot *slot, i32 offset, uint8_t *other, bool in) {
  uint8_t *at = d->memory + (size_t)slot->first_page * PAGE + offset;
  i32 first = PAGE - offset % PAGE;
  if (first > slot->size) first = slot->size;
  if (in) {
    memcpy(at, other, (size_t)first);
    memcpy(at + first, other + first, (size_t)(slot->size - first));
  } else {
    memcpy(other, at, (size_t)first);
    memcpy(other + first, at + first, (size_t)(slot->size - first));
  }
}

static i32 offset_of(struct device *d, struct slot *slot) {
  struct class *class = &d->classes[slot->class_step];
  return slot->index * class->size + (class->objs == 1 ? 0 : HANDLE);
}

static void store(struct device *d, struct slot *slot, const uint8_t *page, uint8_t *block) {
  if (same_filled(page, &slot->word)) {
    slot->size = SAME;
    return;
  }
  i32 size = LZ4_compress_default((const char *)page, (char *)block, PAGE, 2 * PAGE);
  bool huge = size >= d->huge_size;
  if (huge) size = PAGE;
  i32 step = (size + HANDLE - 32 + 15) >> 4;
  slot->class_step = d->class_of[step < 0 ? 0 : step < STEPS ? step : STEPS - 1];
  struct class *class = &d->classes[slot->class_step];
  if (class->next == class->objs) {
    class->next = 0;
    class->first_page = d->pages;
    d->pages += class->pages;
  }
  slot->size = size;
  slot->index = class->next++;
  slot->first_page = class->first_page;
  d->compr += (uint64_t)size;
  d->huge += huge;
  copy(d, slot, offset_of(d, slot), huge ? (uint8_t *)(uintptr_t)page : block, true);
}

static bool load(struct device *d, struct slot *slot, uint8_t *page, uint8_t *block) {
  if (slot->size == SAME) {
    for (i32 i = 0; i < PAGE; i += 8) memcpy(page + i, &slot->word, 8);
    return true;
  }
  i32 offset = offset_of(d, slot);
  if (slot->size == PAGE) {
    copy(d, slot, offset, page, false);
    return true;
  }
  const uint8_t *from = d->memory + (size_t)slot->first_page * PAGE + offset;
  if (offset % PAGE + slot->size > PAGE) {
    copy(d, slot, offset, block, false);
    from = block;
  }
  return LZ4_decompress_safe((const char *)from, (char *)page, slot->size, PAGE) == PAGE;
}

/* What is in the pages: fillPage() of zram.bench.ts. */
static void put_word(uint8_t *page, i32 at, u32 word) {
  memcpy(page + at, &word, 4);
}

static void fill_page(uint8_t *page, i32 kind, struct prng *prng) {
  if (kind == 0) {
    i32 random = 209 + (i32)prng_below(prng, 3703);
    for (i32 i = 0; i < PAGE; i++) page[i] = (uint8_t)(i < random ? prng_below(prng, 256) : 97 + (u32)i % TEXT);
  } else if (kind == 1) {
    u32 share = prng_below(prng, 200);
    for (i32 at = 0; at < PAGE; at += 4) {
      bool random = prng_below(prng, 256) < share;
      put_word(page, at, random ? prng_next(prng) : prng_below(prng, 64) * 0x9e3779b1u);
    }
  } else if (kind == 2) {
    u32 base = prng_next(prng);
    for (i32 at = 0; at < PAGE; at += 4) {
      i32 field = (at >> 2) & 15;
      put_word(page, at, field == 0 ? base + (u32)at : field == 5 ? prng_next(prng) : field < 12 ? 0 : base);
    }
  } else {
    i32 at = 0;
    while (at < PAGE) {
      u32 word = prng_below(prng, 300), length = 2 + word % 9;
      for (u32 i = 0; i < length && at < PAGE; i++) page[at++] = (uint8_t)(97 + (word * 7 + i * i * 5) % 26);
      if (at < PAGE) page[at++] = 32;
    }
  }
}

int main(int argc, char **argv) {
  check(argc == 5 && strcmp(argv[1], "store") == 0, "usage: zram store SECTORS ROUNDS SEED");
  i32 sectors = atoi(argv[2]);
  int rounds = atoi(argv[3]);
  struct prng prng = seeded((u32)strtoul(argv[4], NULL, 10));
  uint8_t *pages = malloc((size_t)sectors * PAGE);
  for (i32 sector = 0; sector < sectors; sector++) fill_page(pages + (size_t)sector * PAGE, sector & 3, &prng);
  double *stored = calloc((size_t)rounds, sizeof(double)), *loaded = calloc((size_t)rounds, sizeof(double));
  double *both = calloc((size_t)rounds, sizeof(double));
  static uint8_t block[2 * PAGE], page[PAGE];
  u32 sum = 0;
  i32 used = 0, huge = 0, failed = 0;
  uint64_t compr = 0;
  for (int round = 0; round < rounds; round++) {
    struct device *d = make_device(sectors);
    double start = cpu_ms();
    for (i32 sector = 0; sector < sectors; sector++) store(d, &d->slots[sector], pages + (size_t)sector * PAGE, block);
    double half = cpu_ms();
    sum = 0;
    for (i32 sector = 0; sector < sectors; sector++) {
      if (!load(d, &d->slots[sector], page, block)) failed++;
      sum = sum * 31 + page[sector & (PAGE - 1)];
    }
    double end = cpu_ms();
    stored[round] = half - start;
    loaded[round] = end - half;
    both[round] = end - start;
    used = d->pages;
    huge = d->huge;
    compr = d->compr;
    free_device(d);
  }
  printf("{\"ms\":{");
  print_times("store", stored, rounds);
  printf(",");
  print_times("load", loaded, rounds);
  printf(",");
  print_times("both", both, rounds);
  printf("},\"counts\":{\"sectors\":%d,\"failed\":%d,\"sum\":%u,\"comprDataSize\":%llu,\"pages\":%d,\"hugePages\":%d},"
         "\"hashes\":{}}\n",
         sectors, failed, sum, (unsigned long long)compr, used, huge);
  return 0;
}
