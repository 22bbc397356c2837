/**
 * Names and order of the lines of /proc/vmstat and /proc/zoneinfo, by kernel version and configuration.
 *
 * A line is a name and, behind it, when it is there: `+6.12` from 6.12 on, `-6.18` until before 6.18, a word of
 * ProcConfig only if the kernel is configured so. A release that is named is the first of the three that the engine
 * knows (rules.ts): when exactly a line came is between them. A name that moved stands in two places.
 *
 * Not here: the values (proc_counters.ts).
 *
 * @kernel mm/vmstat.c vmstat_text, include/linux/mmzone.h, vm_event_item.h v6.1, v6.12, v6.18
 */

import { assert } from '../base/assert.ts'
import { ZONE_NAMES } from './limits.ts'
import type { KernelRules } from './rules.ts'

/** What of a kernel's configuration shows in its texts. */
export interface ProcConfig {
  /** CONFIG_CMA: a migratetype and two counters. */
  readonly cma: boolean
  /** CONFIG_ZONE_DMA */
  readonly zoneDma: boolean
  /** CONFIG_ZONE_DEVICE */
  readonly zoneDevice: boolean
  /** CONFIG_ZSWAP */
  readonly zswap: boolean
  /** CONFIG_UNACCEPTED_MEMORY */
  readonly unacceptedMemory: boolean
}

/** A distribution's kernel for x86-64 without CMA. */
export const PROC_CONFIG: ProcConfig = {
  cma: false,
  zoneDma: true,
  zoneDevice: true,
  zswap: true,
  unacceptedMemory: false,
}

/** Kinds of zones that the kernel has: ZONE_*, in the order of its texts. */
export function zoneKinds(config: ProcConfig): number[] {
  return ZONE_NAMES.flatMap((name, idx) => {
    if (name === 'DMA' && !config.zoneDma) return []
    return name === 'Device' && !config.zoneDevice ? [] : [idx]
  })
}

/** Where a counter is kept: by zone, by zone as a NUMA event, by node, for the machine, as an event. */
export type StatTable = 'zone' | 'numa' | 'node' | 'system' | 'event'

/** Names of a table's counters, in the kernel's order. */
export function statNames(table: StatTable, rules: KernelRules, config: ProcConfig): string[] {
  const release = releaseNumber(rules.name)
  return STATS[table].filter((stat) => isThere(stat, release, config)).map(({ name }) => name)
}

interface Stat {
  readonly name: string
  /** 6012 for 6.12. 0: in all. */
  readonly since: number
  /** The first release without it. 0: in all. */
  readonly until: number
  readonly config: keyof ProcConfig | undefined
}

const isThere = ({ since, until, config: needs }: Stat, release: number, config: ProcConfig): boolean =>
  release >= since && (until === 0 || release < until) && (needs === undefined || config[needs])

/** `6.12` as 6012. */
function releaseNumber(name: string): number {
  const [major, minor] = name.split('.').map(Number)
  return major * 1000 + minor
}

function tableOf(text: string): Stat[] {
  return text
    .trim()
    .split(/\n\s*/)
    .flatMap((line) => {
      const [name, ...conditions] = line.split(' ')
      let stat: Stat = { name, since: 0, until: 0, config: undefined }
      for (const condition of conditions) {
        if (condition.startsWith('+')) stat = { ...stat, since: releaseNumber(condition.slice(1)) }
        else if (condition.startsWith('-')) stat = { ...stat, until: releaseNumber(condition.slice(1)) }
        else stat = { ...stat, config: configOf(condition) }
      }
      return name.endsWith('_ZONE') ? forEachZone(stat) : [stat]
    })
}

/** One counter a kind of zone: `pgalloc_dma`, `pgalloc_dma32`, … */
function forEachZone(stat: Stat): Stat[] {
  return ZONE_NAMES.map((zone) => ({
    ...stat,
    name: stat.name.replace('ZONE', zone.toLowerCase()),
    config: zone === 'DMA' ? 'zoneDma' : zone === 'Device' ? 'zoneDevice' : undefined,
  }))
}

function configOf(word: string): keyof ProcConfig {
  const isConfig = (key: string): key is keyof ProcConfig => key in PROC_CONFIG
  assert(isConfig(word), 'proc_names: a condition is a release or a word of ProcConfig')
  return word
}

const STATS: Readonly<Record<StatTable, readonly Stat[]>> = {
  zone: tableOf(`
    nr_free_pages
    nr_free_pages_blocks +6.18
    nr_zone_inactive_anon
    nr_zone_active_anon
    nr_zone_inactive_file
    nr_zone_active_file
    nr_zone_unevictable
    nr_zone_write_pending
    nr_mlock
    nr_bounce -6.18
    nr_zspages
    nr_free_cma
    nr_unaccepted +6.12 unacceptedMemory
  `),
  numa: tableOf(`
    numa_hit
    numa_miss
    numa_foreign
    numa_interleave
    numa_local
    numa_other
  `),
  node: tableOf(`
    nr_inactive_anon
    nr_active_anon
    nr_inactive_file
    nr_active_file
    nr_unevictable
    nr_slab_reclaimable
    nr_slab_unreclaimable
    nr_isolated_anon
    nr_isolated_file
    workingset_nodes
    workingset_refault_anon
    workingset_refault_file
    workingset_activate_anon
    workingset_activate_file
    workingset_restore_anon
    workingset_restore_file
    workingset_nodereclaim
    nr_anon_pages
    nr_mapped
    nr_file_pages
    nr_dirty
    nr_writeback
    nr_writeback_temp -6.18
    nr_shmem
    nr_shmem_hugepages
    nr_shmem_pmdmapped
    nr_file_hugepages
    nr_file_pmdmapped
    nr_anon_transparent_hugepages
    nr_vmscan_write
    nr_vmscan_immediate_reclaim
    nr_dirtied
    nr_written
    nr_throttled_written
    nr_kernel_misc_reclaimable
    nr_foll_pin_acquired
    nr_foll_pin_released
    nr_kernel_stack
    nr_page_table_pages
    nr_sec_page_table_pages
    nr_iommu_pages +6.12
    nr_swapcached
    pgpromote_success
    pgpromote_candidate
    pgpromote_candidate_nrl +6.18
    pgdemote_kswapd +6.12
    pgdemote_direct +6.12
    pgdemote_khugepaged +6.12
    pgdemote_proactive +6.18
    nr_hugetlb +6.18
    nr_balloon_pages +6.18
    nr_kernel_file_pages +6.18
  `),
  system: tableOf(`
    nr_dirty_threshold
    nr_dirty_background_threshold
    nr_memmap_pages +6.12
    nr_memmap_boot_pages +6.12
  `),
  event: tableOf(`
    pgpgin
    pgpgout
    pswpin
    pswpout
    pgalloc_ZONE
    allocstall_ZONE
    pgskip_ZONE
    pgfree
    pgactivate
    pgdeactivate
    pglazyfree
    pgfault
    pgmajfault
    pglazyfreed
    pgrefill
    pgreuse
    pgsteal_kswapd
    pgsteal_direct
    pgdemote_kswapd -6.12
    pgdemote_direct -6.12
    pgsteal_khugepaged +6.12
    pgsteal_proactive +6.18
    pgscan_kswapd
    pgscan_direct
    pgscan_khugepaged +6.12
    pgscan_proactive +6.18
    pgscan_direct_throttle
    pgscan_anon
    pgscan_file
    pgsteal_anon
    pgsteal_file
    zone_reclaim_success +6.12
    zone_reclaim_failed
    pginodesteal
    slabs_scanned
    kswapd_inodesteal
    kswapd_low_wmark_hit_quickly
    kswapd_high_wmark_hit_quickly
    pageoutrun
    pgrotated
    drop_pagecache
    drop_slab
    oom_kill
    numa_pte_updates
    numa_huge_pte_updates
    numa_hint_faults
    numa_hint_faults_local
    numa_pages_migrated
    pgmigrate_success
    pgmigrate_fail
    thp_migration_success
    thp_migration_fail
    thp_migration_split
    compact_migrate_scanned
    compact_free_scanned
    compact_isolated
    compact_stall
    compact_fail
    compact_success
    compact_daemon_wake
    compact_daemon_migrate_scanned
    compact_daemon_free_scanned
    htlb_buddy_alloc_success
    htlb_buddy_alloc_fail
    cma_alloc_success cma
    cma_alloc_fail cma
    unevictable_pgs_culled
    unevictable_pgs_scanned
    unevictable_pgs_rescued
    unevictable_pgs_mlocked
    unevictable_pgs_munlocked
    unevictable_pgs_cleared
    unevictable_pgs_stranded
    thp_fault_alloc
    thp_fault_fallback
    thp_fault_fallback_charge
    thp_collapse_alloc
    thp_collapse_alloc_failed
    thp_file_alloc
    thp_file_fallback
    thp_file_fallback_charge
    thp_file_mapped
    thp_split_page
    thp_split_page_failed
    thp_deferred_split_page
    thp_underused_split_page +6.12
    thp_split_pmd
    thp_scan_exceed_none_pte
    thp_scan_exceed_swap_pte
    thp_scan_exceed_share_pte
    thp_split_pud
    thp_zero_page_alloc
    thp_zero_page_alloc_failed
    thp_swpout
    thp_swpout_fallback
    balloon_inflate
    balloon_deflate
    balloon_migrate
    swap_ra
    swap_ra_hit
    swpin_zero +6.12
    swpout_zero +6.12
    ksm_swpin_copy
    cow_ksm
    zswpin zswap
    zswpout zswap
    zswpwb +6.12 zswap
    direct_map_level2_splits
    direct_map_level3_splits
    direct_map_level2_collapses +6.18
    direct_map_level3_collapses +6.18
  `),
}
