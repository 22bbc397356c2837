/*
 * C twin of load.bench.ts: from the words of a capture to the arena of the engine, cell by cell the same.
 *
 *   load CAPTURE AGAIN INPUT
 *
 * INPUT is what load_twin.ts wrote of the capture: its columns, what each word means, where the arena's columns
 * begin, and the migratetypes of the pageblocks. Those the engine concludes within its time; here they are given.
 *
 * Not ported, and the program stops: recorded references (pins), pages of drivers that move.
 * Prints CPU ms, counts and the arena's hash as one JSON object.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int32_t i32;
typedef uint32_t u32;
typedef uint8_t u8;

/* classify.ts, page_map.ts */
enum { OWNER_HOLE, OWNER_FREE, OWNER_PCP, OWNER_UNTYPED = 4, OWNER_HUGE_FOLIO = 16, OWNER_KERNEL = 28 };
enum { ATTR_LRU = 1, ATTR_HEAD = 2, ATTR_TAIL = 4 };
enum { ORDER_TAIL = 255, CHUNK = 4096, FACTS = 4 };
/* load_twin.ts: what becomes of a page, by its owner */
enum { IS_ABSENT, IS_FREE, IS_PCP, IS_LRU, IS_IN_USE, IS_NOT_PORTED };

/* limits.ts, page.ts */
enum { MAX_PAGE_ORDER = 10, PAGEBLOCK_ORDER = 9, PAGEBLOCK_NR_PAGES = 512, MIGRATE_TYPES = 6, NR_PCP_LISTS = 14 };
enum { MIGRATE_MOVABLE = 1, MIGRATE_HIGHATOMIC = 3, MIGRATE_CMA, MIGRATE_ISOLATE, PB_MIGRATETYPE = 7, NR_LRU_LISTS = 5 };
enum { FREE_LISTS = (MAX_PAGE_ORDER + 1) * MIGRATE_TYPES, PAGE_BYTES = 32 };
#define PG_head (1 << 6)
#define COMPOUND_TAIL (1 << 22)
#define COMPOUND_ORDER_SHIFT 28
#define BUDDY ((i32)0xf0000000u)
#define PTE_PRESENT 1

/* Where the columns of the arena begin, in cells, and the first list heads of each kind: as load_twin.ts writes them. */
struct layout {
  i32 pfn_count, cells, flags, refcount, mapcount, mapping, private, rmap, links, list_nodes, pte, pte_next, cache, rest;
  i32 pageblock, nr_free_blocks, nr_lru, nr_free, nr_free_cma, nr_free_highatomic, pcp_count;
  i32 cpus, lru_head, free_head, pcp_head, ptes, slots;
};
static const struct layout *at;

struct zone {
  i32 start, end, node, pcp_pages[];
};
static const i32 *zones;
static i32 nr_zones;

static const i32 *owner_of_word, *attributes, *facts, *count_of_word, *charged_of_word, *rest, *holes, *blocks, *kind_of, *mapcount_of;
static i32 words, count_words, rest_cells, hole_cells;
static const u8 *flag_index, *count_index, *cgroup_index;

static void check(bool condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "load: %s\n", what);
  exit(2);
}

static const struct zone *zone_at(i32 zone) { return (const struct zone *)(zones + zone * (3 + at->cpus)); }

/* The next array of the input: its length in entries, then the entries, padded to a cell. */
static const void *next_array(const i32 **input, size_t entry, i32 *length) {
  i32 entries = *(*input)++;
  const void *array = *input;
  *input += (entries * entry + 3) / 4;
  if (length != NULL) *length = entries;
  return array;
}

static void read_input(const char *path) {
  FILE *file = fopen(path, "rb");
  check(file != NULL, "the input cannot be opened");
  fseek(file, 0, SEEK_END);
  long bytes = ftell(file);
  rewind(file);
  i32 *input = malloc((size_t)bytes);
  check(input != NULL && fread(input, 1, (size_t)bytes, file) == (size_t)bytes, "the input cannot be read");
  fclose(file);
  const i32 *next = input;
  i32 length;
  at = next_array(&next, 4, &length);
  check(length == sizeof(struct layout) / 4, "the input is of another version");
  zones = next_array(&next, 4, &length);
  nr_zones = length / (3 + at->cpus);
  owner_of_word = next_array(&next, 4, &words);
  attributes = next_array(&next, 4, NULL);
  facts = next_array(&next, 4, NULL);
  count_of_word = next_array(&next, 4, &count_words);
  charged_of_word = next_array(&next, 4, NULL);
  kind_of = next_array(&next, 4, NULL);
  mapcount_of = next_array(&next, 4, NULL);
  rest = next_array(&next, 4, &rest_cells);
  holes = next_array(&next, 4, &hole_cells);
  blocks = next_array(&next, 4, NULL);
  flag_index = next_array(&next, 1, NULL);
  count_index = next_array(&next, 1, NULL);
  cgroup_index = next_array(&next, 1, NULL);
}

/* Page map: page_map.ts */

struct map {
  u8 *owner, *order;
};

static i32 order_at(i32 pfn, i32 pages) {
  i32 aligned = pfn == 0 ? MAX_PAGE_ORDER : __builtin_ctz((u32)pfn), fitting = 31 - __builtin_clz((u32)pages);
  i32 least = aligned < fitting ? aligned : fitting;
  return least < MAX_PAGE_ORDER ? least : MAX_PAGE_ORDER;
}

static void mark_free_run(u8 *order, i32 start, i32 end) {
  memset(order + start, ORDER_TAIL, (size_t)(end - start));
  while (start < end) {
    i32 block = order_at(start, end - start);
    order[start] = (u8)block;
    start += 1 << block;
  }
}

static void mark_compound(const struct map *map, i32 start, i32 end) {
  i32 pages = end - start, order = 31 - __builtin_clz((u32)pages);
  memset(map->order + start + 1, ORDER_TAIL, (size_t)((1 << order) - 1));
  map->order[start] = (u8)order;
  if (pages >= PAGEBLOCK_NR_PAGES && (attributes[flag_index[start]] & ATTR_LRU)) memset(map->owner + start, OWNER_HUGE_FOLIO, (size_t)pages);
}

static bool is_tail(i32 pfn) {
  i32 word = flag_index[pfn];
  return (attributes[word] & (ATTR_TAIL | ATTR_HEAD)) == ATTR_TAIL && owner_of_word[word] != OWNER_FREE;
}

/* The pages of one chunk. */
static void read_pages(const struct map *map, i32 start, i32 end) {
  for (i32 pfn = start; pfn < end; pfn++) map->owner[pfn] = (u8)owner_of_word[flag_index[pfn]];
  for (i32 pfn = start; pfn < end;) {
    i32 next = pfn + 1;
    if (map->owner[pfn] == OWNER_FREE) {
      while (next < end && map->owner[next] == OWNER_FREE) next++;
      mark_free_run(map->order, pfn, next);
    } else if (attributes[flag_index[pfn]] & ATTR_HEAD) {
      while (next < end && is_tail(next)) next++;
      mark_compound(map, pfn, next);
    } else if (pfn == start && pfn > 0 && map->order[pfn - 1] == ORDER_TAIL && is_tail(pfn)) {
      while (next < end && is_tail(next)) next++;
      memset(map->order + pfn, ORDER_TAIL, (size_t)(next - pfn));
    }
    pfn = next;
  }
}

static void settle(const struct map *map, const struct zone *zone) {
  for (i32 pfn = zone->start; pfn < zone->end; pfn++) {
    if (map->owner[pfn] != OWNER_UNTYPED) continue;
    i32 block = blocks[pfn / PAGEBLOCK_NR_PAGES];
    if (block == MIGRATE_MOVABLE || block == MIGRATE_CMA) map->owner[pfn] = OWNER_PCP;
    else if (charged_of_word[cgroup_index[pfn]] || count_of_word[count_index[pfn]] > 0) map->owner[pfn] = OWNER_KERNEL;
  }
}

static struct map build_page_map(void) {
  struct map map = {calloc((size_t)at->pfn_count, 1), calloc((size_t)at->pfn_count, 1)};
  check(map.owner != NULL && map.order != NULL, "no memory");
  for (i32 i = 0; i < nr_zones; i++) {
    const struct zone *zone = zone_at(i);
    for (i32 start = zone->start; start < zone->end;) {
      i32 end = start - start % CHUNK + CHUNK;
      if (end > zone->end) end = zone->end;
      read_pages(&map, start, end);
      start = end;
    }
  }
  for (i32 i = 0; i < hole_cells; i += 3) memset(map.owner + holes[i], holes[i + 2], (size_t)(holes[i + 1] - holes[i]));
  for (i32 i = 0; i < nr_zones; i++) settle(&map, zone_at(i));
  return map;
}

/* Engine: load.ts, load_pages.ts */

static void count_words_of(const u8 *index, i32 *counts) {
  for (i32 pfn = 0; pfn < at->pfn_count; pfn++) counts[index[pfn]]++;
}

/* Ptes and slots, as the arena has them. */
static void check_tables(void) {
  i32 flags[256] = {0}, counts[256] = {0}, ptes = 1, slots = 1;
  count_words_of(flag_index, flags);
  count_words_of(count_index, counts);
  for (i32 word = 0; word < words; word++) {
    if (kind_of[owner_of_word[word]] != IS_LRU) continue;
    *(facts[FACTS * word + 3] != 0 ? &slots : &ptes) += flags[word];
  }
  for (i32 word = 0; word < count_words; word++) ptes += counts[word] * count_of_word[word];
  check(ptes == at->ptes && slots == at->slots, "another number of ptes or slots");
}

static void list_add(i32 *links, i32 node, i32 head) {
  i32 first = links[2 * head];
  links[2 * node] = first;
  links[2 * node + 1] = head;
  links[2 * first + 1] = node;
  links[2 * head] = node;
}

static void list_add_tail(i32 *links, i32 node, i32 head) {
  i32 last = links[2 * head + 1];
  links[2 * node] = head;
  links[2 * node + 1] = last;
  links[2 * last] = node;
  links[2 * head + 1] = node;
}

struct loader {
  i32 *cells, next_vpn, next_slot;
};

static void map_page(struct loader *to, i32 page, i32 count) {
  i32 *cells = to->cells;
  cells[at->mapcount + page] = count;
  for (i32 i = 0; i < count; i++) {
    cells[at->pte + to->next_vpn] = page << 2 | PTE_PRESENT;
    if (i > 0) cells[at->pte_next + to->next_vpn] = to->next_vpn - 1;
    to->next_vpn++;
  }
  cells[at->rmap + page] = to->next_vpn - 1;
}

static void make_tails(i32 *cells, i32 head, i32 pages) {
  for (i32 tail = head + 1; tail < head + pages; tail++) {
    cells[at->flags + tail] = COMPOUND_TAIL;
    cells[at->private + tail] = head;
  }
}

static i32 head_flags(u8 order) { return order == 0 || order == ORDER_TAIL ? 0 : PG_head | (i32)((u32)order << COMPOUND_ORDER_SHIFT); }

static i32 load_folio(struct loader *to, i32 pfn, u8 order, i32 node, i32 zone) {
  i32 *cells = to->cells, pages = order == ORDER_TAIL ? 1 : 1 << order;
  const i32 *fact = facts + FACTS * flag_index[pfn];
  i32 references = fact[3], mapped = 0;
  cells[at->flags + pfn] = fact[0] | head_flags(order);
  cells[at->mapping + pfn] = fact[1];
  if (references != 0) {
    cells[at->private + pfn] = to->next_slot;
    cells[at->cache + to->next_slot] = pfn;
    to->next_slot += pages;
    references += pages - 1;
  }
  for (i32 page = pfn; page < pfn + pages; page++) {
    i32 count = count_of_word[count_index[page]];
    if (count == 0) continue;
    map_page(to, page, count);
    mapped += count;
  }
  if (references + mapped == 0) {
    map_page(to, pfn, 1);
    mapped = 1;
  }
  cells[at->refcount + pfn] = references + mapped;
  make_tails(cells, pfn, pages);
  list_add_tail(cells + at->links, pfn, at->lru_head + node * NR_LRU_LISTS + fact[2]);
  cells[at->nr_lru + zone * NR_LRU_LISTS + fact[2]] += pages;
  return pages;
}

static i32 load_free_block(i32 *cells, i32 pfn, u8 order, i32 zone) {
  i32 *block = cells + at->pageblock + (pfn >> PAGEBLOCK_ORDER), mt = *block & PB_MIGRATETYPE;
  i32 list = zone * FREE_LISTS + order * MIGRATE_TYPES + mt, pages = 1 << order;
  list_add_tail(cells + at->links, pfn, at->free_head + list);
  cells[at->mapcount + pfn] = BUDDY | order;
  cells[at->nr_free_blocks + list]++;
  if (order > PAGEBLOCK_ORDER) block[1] = (block[1] & ~PB_MIGRATETYPE) | mt;
  if (mt == MIGRATE_ISOLATE) return pages;
  if (mt == MIGRATE_CMA) cells[at->nr_free_cma + zone] += pages;
  if (mt == MIGRATE_HIGHATOMIC) cells[at->nr_free_highatomic + zone] += pages;
  cells[at->nr_free + zone] += pages;
  return pages;
}

static i32 load_in_use(i32 *cells, i32 pfn, u8 order, i32 mapcount) {
  i32 pages = order > MAX_PAGE_ORDER ? 1 : 1 << order;
  cells[at->refcount + pfn] = 1;
  if (mapcount != 0) {
    for (i32 page = pfn; page < pfn + pages; page++) cells[at->mapcount + page] = mapcount;
  }
  if (pages > 1) cells[at->flags + pfn] = head_flags(order);
  make_tails(cells, pfn, pages);
  return pages;
}

static void load_zone(struct loader *to, const struct map *map, i32 index) {
  const struct zone *zone = zone_at(index);
  i32 *cells = to->cells, cpu = 0, on_cpu = 0;
  for (i32 pfn = zone->start; pfn < zone->end;) {
    u8 owner = map->owner[pfn], order = map->order[pfn];
    switch (kind_of[owner]) {
      case IS_ABSENT:
        pfn++;
        break;
      case IS_FREE:
        pfn += load_free_block(cells, pfn, order, index);
        break;
      case IS_PCP: {
        while (cpu < at->cpus - 1 && on_cpu >= zone->pcp_pages[cpu]) cpu++, on_cpu = 0;
        i32 pcp = index * at->cpus + cpu, mt = cells[at->pageblock + (pfn >> PAGEBLOCK_ORDER)] & PB_MIGRATETYPE;
        list_add(cells + at->links, pfn, at->pcp_head + pcp * NR_PCP_LISTS + (mt < MIGRATE_HIGHATOMIC ? mt : MIGRATE_MOVABLE));
        cells[at->pcp_count + pcp]++;
        on_cpu++;
        pfn++;
        break;
      }
      case IS_LRU:
        pfn += load_folio(to, pfn, order, zone->node, index);
        break;
      case IS_IN_USE:
        pfn += load_in_use(cells, pfn, order, mapcount_of[owner]);
        break;
      default:
        check(false, "a page that this program cannot load");
    }
  }
}

static i32 *load_machine(const struct map *map) {
  check_tables();
  i32 *cells = calloc((size_t)at->cells, sizeof(i32));
  check(cells != NULL, "no memory");
  for (i32 head = at->pfn_count; head < at->list_nodes; head++) {
    cells[at->links + 2 * head] = head;
    cells[at->links + 2 * head + 1] = head;
  }
  memcpy(cells + at->rest, rest, (size_t)rest_cells * sizeof(i32));
  struct loader loader = {cells, 1, 1};
  for (i32 i = 0; i < nr_zones; i++) load_zone(&loader, map, i);
  return cells;
}

/* As hash.ts. */
static u32 rotate_left(u32 x, int bits) { return x << bits | x >> (32 - bits); }

static u32 hash_cells(const i32 *cells, i32 count) {
  u32 h = 0;
  for (i32 i = 0; i < count; i++) {
    h ^= rotate_left((u32)cells[i] * 0xcc9e2d51u, 15) * 0x1b873593u;
    h = rotate_left(h, 13) * 5 + 0xe6546b64u;
  }
  h ^= (u32)count;
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

static double cpu_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  check(argc == 4, "usage: load CAPTURE AGAIN INPUT");
  int again = atoi(argv[2]);
  read_input(argv[3]);
  double start = cpu_ms();
  struct map map = build_page_map();
  double half = cpu_ms();
  i32 *cells = load_machine(&map);
  double end = cpu_ms();
  u32 hash = hash_cells(cells, at->cells);
  printf("{\"ms\":{\"pageMap\":[%.3f],\"engine\":[%.3f],\"load\":[%.3f],\"load again\":[", half - start, end - half, end - start);
  for (int i = 0; i < again; i++) {
    start = cpu_ms();
    free(cells);
    free(map.owner);
    free(map.order);
    map = build_page_map();
    cells = load_machine(&map);
    printf(i > 0 ? ",%.3f" : "%.3f", cpu_ms() - start);
  }
  printf("]},\"counts\":{\"pages\":%d,\"bytesPerPage\":%d,\"arenaBytesPerPage\":%.2f},\"hashes\":{\"arena\":%u}}\n", at->pfn_count, PAGE_BYTES,
         4.0 * at->cells / at->pfn_count, hash);
  return 0;
}
