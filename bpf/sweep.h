/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sweep.h - takes connections that have expired out of the table, without anybody's packet: a timer
 * goes through all of it. And for each new connection that is refused because all backends are full
 * a piece at once: expired ones shall not keep others out until the timer comes by.
 *
 * Nearly all entries lie in the homes, a small part of the buckets. So these are gone through by
 * themselves, and the rest beside them, a piece of each at a time: a pass of the homes is short,
 * however long one of the rest takes.
 */
#ifndef LB_SWEEP_H
#define LB_SWEEP_H

#include "common.h"
#include "conn.h"

#define LB_SWEEP_HOMES 48
#define LB_SWEEP_REST  16
#define LB_SWEEPS_MAX  256 /* of a CPU in a tick: some 16,000 buckets, or half a millisecond */

#define LB_SWEEPER_BUCKETS 1024          /* of the homes, and of the rest */
#define LB_SWEEPER_NS      20000000ull   /* between two runs, some 30 microseconds each, at least */
#define LB_SWEEPER_PASS_NS 2000000000ull /* a pass of the rest takes at least so long */
#define LB_CLOCK_MONOTONIC 1

static __always_inline int lb_sweep_bucket(const int family, __u32 bucket)
{
	const int slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	struct lb_conn_head *h = lb_conn_bucket(family, bucket);
	__u32 metas[LB_CONN6_SLOTS], now;
	int i;

	if (!h)
		return 0;
#pragma unroll
	for (i = 0; i < slots; i++)
		metas[i] = lb_meta_read(&h->meta[i]);
	/* Read after them: by a clock of before a long halt what was touched since would look old.
	 */
	barrier();
	now = lb_now();
#pragma unroll
	for (i = 0; i < slots; i++)
		/* One that has been touched since its meta was read stays. */
		if (LB_META_STATE(metas[i]) > LB_CONN_BUSY && lb_conn_expired(metas[i], now))
			lb_conn_kill(h, i, metas[i], READ_ONCE(*lb_conn_ref_at(family, h, i)));
	return 0;
}

__noinline int lb_sweep_bucket4(__u32 bucket)
{
	return lb_sweep_bucket(LB_V4, bucket);
}

__noinline int lb_sweep_bucket6(__u32 bucket)
{
	return lb_sweep_bucket(LB_V6, bucket);
}

static __always_inline void lb_sweep_family(__u32 family, __u32 bucket)
{
	if (family == LB_V4)
		lb_sweep_bucket4(bucket);
	else
		lb_sweep_bucket6(bucket);
}

__noinline int lb_sweep(__u32 family, __u32 now)
{
	__u32 homes = family == LB_V4 ? lb_conn4_homes : lb_conn6_homes;
	__u32 rest = (family == LB_V4 ? lb_conn4_buckets : lb_conn6_buckets) - homes;
	__u32 zero = 0, n, i;
	struct lb_sent *s = bpf_map_lookup_elem(&lb_sent, &zero);

	if (!s)
		return 0;
	if (s->swept_tick != now) {
		s->swept_tick = now;
		s->sweeps = 0;
	}
	if (s->sweeps++ >= LB_SWEEPS_MAX)
		return 0;
	n = s->swept++;
	for (i = 0; i < LB_SWEEP_HOMES; i++)
		lb_sweep_family(family, (n * LB_SWEEP_HOMES + i) % homes);
	for (i = 0; i < LB_SWEEP_REST; i++)
		lb_sweep_family(family, homes + (n * LB_SWEEP_REST + i) % rest);
	return 0;
}

/* How far it is with the homes, or with the rest: buckets of IPv6 come behind those of IPv4. */
struct lb_sweep_part {
	__u32 next, passes;
};
/* The timer lives as long as somebody holds the map: its pin. */
struct lb_sweeper {
	struct bpf_timer timer;
	struct lb_sweep_part homes, rest;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_sweeper);
} lb_sweeper SEC(".maps");

static __always_inline __u64 lb_sweeper_pause(void)
{
	__u64 pieces = (lb_conn4_buckets + lb_conn6_buckets) / LB_SWEEPER_BUCKETS + 1;
	__u64 pause = LB_SWEEPER_PASS_NS / pieces;

	return pause < LB_SWEEPER_NS ? LB_SWEEPER_NS : pause;
}

struct lb_sweep_piece {
	__u32 from;
	__u32 first4, n4, first6, n6; /* what the part is */
};

/* For bpf_loop(): 1 ends it. */
static int lb_sweeper_bucket(__u32 i, struct lb_sweep_piece *p)
{
	__u32 at = p->from + i;

	if (at < p->n4)
		lb_sweep_bucket4(p->first4 + at);
	else if (at - p->n4 < p->n6)
		lb_sweep_bucket6(p->first6 + at - p->n4);
	else
		return 1;
	return 0;
}

static __always_inline void lb_sweeper_piece(struct lb_sweep_part *part, struct lb_sweep_piece *p)
{
	__u32 next = part->next;

	p->from = next;
	bpf_loop(LB_SWEEPER_BUCKETS, lb_sweeper_bucket, p, 0);
	next += LB_SWEEPER_BUCKETS;
	if (next >= p->n4 + p->n6) {
		next = 0;
		part->passes++;
	}
	part->next = next;
}

static int lb_sweeper_run(void *map, __u32 *key, struct lb_sweeper *s)
{
	struct lb_sweep_piece homes = {.n4 = lb_conn4_homes, .n6 = lb_conn6_homes};
	struct lb_sweep_piece rest = {.first4 = lb_conn4_homes,
				      .n4 = lb_conn4_buckets - lb_conn4_homes,
				      .first6 = lb_conn6_homes,
				      .n6 = lb_conn6_buckets - lb_conn6_homes};

	(void)map;
	(void)key;
	lb_sweeper_piece(&s->homes, &homes);
	lb_sweeper_piece(&s->rest, &rest);
	bpf_timer_start(&s->timer, lb_sweeper_pause(), 0);
	return 0;
}

/* Run once, from userspace: 0, or -errno. */
static __always_inline int lb_sweeper_start(void)
{
	__u32 zero = 0;
	struct lb_sweeper *s = bpf_map_lookup_elem(&lb_sweeper, &zero);
	int rc;

	if (!s)
		return -1;
	rc = bpf_timer_init(&s->timer, &lb_sweeper, LB_CLOCK_MONOTONIC);
	if (!rc)
		rc = bpf_timer_set_callback(&s->timer, lb_sweeper_run);
	return rc ? rc : bpf_timer_start(&s->timer, lb_sweeper_pause(), 0);
}

#endif
