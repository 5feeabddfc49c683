/* SPDX-License-Identifier: GPL-2.0-or-later */
/* maps.h - every map of the datapath, and what is fixed when it is loaded. Layouts: lb_abi.h. */
#ifndef LB_MAPS_H
#define LB_MAPS_H

#include "lb_abi.h"

/* max_entries of 1 are set by the loader from the configured limits. */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_config);
} lb_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct lb_listen_key);
	__type(value, struct lb_listen_value);
} lb_listens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_service);
} lb_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_member);
} lb_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_ring_line);
} lb_rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_backend);
} lb_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_load);
} lb_loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_counters);
} lb_backend_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_reasons);
} lb_reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct lb_iface);
} lb_ifaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_conn4_bucket);
} lb_conn4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_conn6_bucket);
} lb_conn6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_seqs4);
} lb_seqs4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_seqs6);
} lb_seqs6 SEC(".maps");

/* Addresses found local less than a tick ago. Per CPU, so that nobody reads a half-written one. */
#define LB_LOCALS 64
struct lb_local {
	struct lb_addr addr;
	__u32 tick;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LB_LOCALS);
	__type(key, __u32);
	__type(value, struct lb_local);
} lb_locals SEC(".maps");

/* A next hop that lb_nexthops does not hold, for the packet at hand. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_nexthop);
} lb_spare SEC(".maps");

/* What this CPU has sent by itself in a tick. */
struct lb_sent {
	__u32 tick, resets[2];    /* see reset.h */
	__u32 swept_tick, sweeps; /* see sweep.h */
	__u32 swept;              /* how often so far */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_sent);
} lb_sent SEC(".maps");

/* When the new flows that were let in will be paid off, in nanoseconds of jiffies: of a CPU, and of
 * sources, by two hashes of their prefix. See rate.h. */
#define LB_RATE_ROWS      2
#define LB_RATE_CELL_BITS 16
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lb_rate_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_RATE_ROWS << LB_RATE_CELL_BITS);
	__type(key, __u32);
	__type(value, __u64);
} lb_rate_cells SEC(".maps");

/* Global data, so that the fast way finds them without a lookup. Pinned as maps of one element,
 * under their names. */
struct lb_ports lb_ports SEC(".data.lb_ports");
struct lb_nexthop lb_nexthops[LB_NEXTHOPS] SEC(".data.nexthops");
struct lb_timeouts lb_timeouts SEC(".data.timeouts"); /* filled before the programs run */
struct lb_rates lb_rates SEC(".data.rates");          /* the same */

const volatile __u64 lb_secret[LB_SECRET_WORDS] = {};
const volatile __u32 lb_conn4_buckets = 1;
const volatile __u32 lb_conn6_buckets = 1;
const volatile __u32 lb_conn4_homes = 1; /* LB_CONN_HOMES() of those */
const volatile __u32 lb_conn6_homes = 1;

/* A tick is 2^lb_tick_shift jiffies, about a second; the loader knows the kernel's HZ. Tests set
 * LB_TEST_CLOCK and then move lb_clock (in ticks) themselves. */
#define LB_TEST_CLOCK 64
const volatile __u32 lb_tick_shift = 8;
const volatile __u32 lb_tick_ms = 1024;     /* the same in milliseconds, to be shown */
const volatile __u32 lb_jiffy_ns = 4000000; /* with LB_TEST_CLOCK: a tick's length */
__u32 lb_clock = 0;

/* Resets of a CPU in a tick, of either kind. */
const volatile __u32 lb_resets_max = 1000;

/* Ticks for which an entry counts as just touched, by state: not each of its packets shall write to
 * it. At most LB_NEXTHOP_GRACE, and less than any timeout of that state, or of an affinity. */
const volatile __u32 lb_fresh[16] = {[LB_CONN_ESTABLISHED] = 8, [LB_CONN_UDP] = 2};

#endif
