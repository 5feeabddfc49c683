/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rate.h - how many new flows are let in, by CPU and by the prefix of their source.
 *
 * Token buckets that hold what a second brings, each kept as one number: the time at which all that
 * was let in will be paid off (the Generic Cell Rate Algorithm of ITU-T I.371). One more flow moves
 * it by a second / rate, and never more than a second ahead of now.
 */
#ifndef LB_RATE_H
#define LB_RATE_H

#include "common.h"

#define LB_RATE_SECOND 1000000000u
#define LB_RATE_TRIES  4

static __always_inline __u64 lb_rate_now(void)
{
	__u64 jiffies = lb_tick_shift == LB_TEST_CLOCK ? READ_ONCE(lb_clock) : bpf_jiffies64();

	return jiffies * lb_jiffy_ns;
}

/* When it will all be paid off with one flow more; 0: that would be too late. */
static __always_inline __u64 lb_rate_next(__u64 due, __u64 now, __u32 rate)
{
	__u64 next = (due > now ? due : now) + LB_RATE_SECOND / rate;

	return next - now <= LB_RATE_SECOND ? next : 0;
}

static __always_inline __u64 lb_rate_hash(const struct lb_packet *p)
{
	const __be32 *mask = p->family == LB_V4 ? lb_rates.mask[LB_V4] : lb_rates.mask[LB_V6];
	__be32 prefix[4];
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		prefix[i] = p->flow.saddr[i] & mask[i];
	return p->family == LB_V4 ? lb_conn_hash(LB_V4, lb_secret, prefix, 0, 0)
				  : lb_conn_hash(LB_V6, lb_secret, prefix, 0, 0);
}

static __always_inline __u64 *lb_rate_cell(__u64 hash, const int row)
{
	__u32 at = hash >> (64 - (row + 1) * LB_RATE_CELL_BITS) & ((1u << LB_RATE_CELL_BITS) - 1);

	at |= row << LB_RATE_CELL_BITS;
	return bpf_map_lookup_elem(&lb_rate_cells, &at);
}

/* One more flow in the cell that says less, and at least as much in the other one, which comes
 * first: so of CPUs that let in the same prefix's at once one alone changes the lower cell. 1: it
 * is let in, 0: not, -1: another CPU was faster. */
static __always_inline int lb_rate_pay(__u64 *low, __u64 due, __u64 *other, __u64 due_other,
				       __u64 now, __u32 rate)
{
	__u64 next = lb_rate_next(due, now, rate);

	if (!next)
		return 0;
	if (due_other < next)
		__sync_val_compare_and_swap(other, due_other, next);
	return __sync_val_compare_and_swap(low, due, next) == due ? 1 : -1;
}

/*
 * Is a flow of this source let in? A prefix has a cell in each of two rows and shares them with
 * others, hardly ever both with the same one. What it owes itself is at most what the lower of them
 * says (a count-min sketch with conservative update). Who is always too slow is let in.
 */
static __always_inline bool lb_rate_source(const struct lb_packet *p, __u64 now, __u32 rate)
{
	__u64 hash = lb_rate_hash(p), *a = lb_rate_cell(hash, 0), *b = lb_rate_cell(hash, 1);
	int try, done;

	if (!a || !b)
		return true;
#pragma unroll
	for (try = 0; try < LB_RATE_TRIES; try++) {
		__u64 due_a = READ_ONCE(*a), due_b = READ_ONCE(*b);

		done = due_a <= due_b ? lb_rate_pay(a, due_a, b, due_b, now, rate)
				      : lb_rate_pay(b, due_b, a, due_a, now, rate);
		if (done >= 0)
			return done;
	}
	return true;
}

/* A function that the verifier checks once: 0, or LB_STOP(). What the source's rate refuses costs
 * the CPU's nothing, and the other way round. */
__noinline int lb_rate_take(const struct lb_packet *p)
{
	__u32 zero = 0, per_cpu = READ_ONCE(lb_rates.per_cpu),
	      per_source = READ_ONCE(lb_rates.per_source);
	__u64 now = lb_rate_now(), next = 0, *cpu = bpf_map_lookup_elem(&lb_rate_cpu, &zero);

	if (!p || !cpu)
		return LB_STOP(LB_REASON_BAD_STATE);
	if (per_cpu) {
		next = lb_rate_next(*cpu, now, per_cpu);
		if (!next)
			return LB_STOP(LB_REASON_RATE_CPU);
	}
	if (per_source && !lb_rate_source(p, now, per_source))
		return LB_STOP(LB_REASON_RATE_SOURCE);
	if (per_cpu)
		*cpu = next;
	return 0;
}

/* May packet p open a flow? 0, or LB_STOP(). `rehash`: its flow has lost its backend and takes
 * another, which is no new one, unless a SYN begins it anew. */
static __always_inline int lb_rate_limit(const struct lb_packet *p, bool rehash)
{
	if (likely(!READ_ONCE(lb_rates.any)) || (rehash && !lb_is_syn(p)))
		return 0;
	return lb_rate_take(p);
}

#endif
