/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sweep.h - takes away connections that have expired and still count for their backends: a piece of
 * the table for each new one that is refused because all backends are full. Else those whose time
 * is over would keep others out until somebody collects them.
 */
#ifndef LB_SWEEP_H
#define LB_SWEEP_H

#include "common.h"
#include "conn.h"

#define LB_SWEEP_BUCKETS 64
#define LB_SWEEPS_MAX    256 /* of a CPU in a tick: some 16,000 buckets, or half a millisecond */

static __always_inline int lb_sweep_bucket(const int family, __u32 bucket, __u32 now)
{
	const int slots = family == LB_V4 ? LB_CONN4_SLOTS : LB_CONN6_SLOTS;
	struct lb_conn_head *h = lb_conn_bucket(family, bucket);
	int i;

	if (!h)
		return 0;
#pragma unroll
	for (i = 0; i < slots; i++) {
		__u32 meta = lb_meta_read(&h->meta[i]);

		if (lb_conn_counts(LB_META_STATE(meta)) && lb_conn_expired(meta, now))
			lb_conn_remove(family, bucket << 2 | i, meta);
	}
	return 0;
}

__noinline int lb_sweep_bucket4(__u32 bucket, __u32 now)
{
	return lb_sweep_bucket(LB_V4, bucket, now);
}

__noinline int lb_sweep_bucket6(__u32 bucket, __u32 now)
{
	return lb_sweep_bucket(LB_V6, bucket, now);
}

__noinline int lb_sweep(__u32 family, __u32 now)
{
	__u32 zero = 0, buckets = family == LB_V4 ? lb_conn4_buckets : lb_conn6_buckets, from, i;
	struct lb_sent *s = bpf_map_lookup_elem(&lb_sent, &zero);

	if (!s)
		return 0;
	if (s->swept_tick != now) {
		s->swept_tick = now;
		s->sweeps = 0;
	}
	if (s->sweeps++ >= LB_SWEEPS_MAX)
		return 0;
	from = s->swept;
	s->swept = from + LB_SWEEP_BUCKETS;
	for (i = 0; i < LB_SWEEP_BUCKETS; i++) {
		if (family == LB_V4)
			lb_sweep_bucket4((from + i) % buckets, now);
		else
			lb_sweep_bucket6((from + i) % buckets, now);
	}
	return 0;
}

#endif
