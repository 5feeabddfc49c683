/* SPDX-License-Identifier: GPL-2.0-or-later */
/* least.h - backends by how many connections they have: the least loaded, or one with room. */
#ifndef LB_LEAST_H
#define LB_LEAST_H

#include "load.h"
#include "pool.h"

/* Pools of so many members are looked at as a whole; of larger ones two, of which the one has its
 * turn and the other comes by chance. */
#define LB_LEAST_ALL 8

/* Members that are looked at for one that has room. */
#define LB_ROOM_TRIES 64

struct lb_least {
	__u32 backend; /* id; 0: none yet */
	__u32 weight;
	__u64 connections; /* with the one that is to come */
};

/* Takes the member in place of the best so far if it has fewer connections for its weight. A
 * function of its own, for the verifier would go through each of its ways for each member. */
__noinline int lb_least_consider(struct lb_least *best, __u32 at, __u32 weighted, __u32 generation)
{
	struct lb_member *m = bpf_map_lookup_elem(&lb_members, &at);
	__u32 weight, connections;
	struct lb_load *l;

	if (!best || !m)
		return 0;
	weight = m->override == LB_NO_OVERRIDE ? m->weight : m->override;
	l = lb_load_get(m->backend);
	if (!weight || !l)
		return 0;
	connections = lb_load_sound(READ_ONCE(l->connections));
	if (lb_load_is_full(l, connections, generation))
		return 0;
	if (!weighted)
		weight = 1;
	if (best->backend && (connections + 1ull) * best->weight >= best->connections * weight)
		return 0;
	best->backend = m->backend & LB_BACKENDS_MAX;
	best->weight = weight;
	best->connections = connections + 1ull;
	return 0;
}

static __always_inline __u32 lb_least_of_all(const struct lb_pool *pool, __u32 turn, bool weighted,
					     __u32 generation)
{
	__u32 n = pool->n_members, first = turn % n, i;
	struct lb_least best = {};

#pragma unroll
	for (i = 0; i < LB_LEAST_ALL; i++)
		if (i < n)
			lb_least_consider(&best, pool->members + (first + i) % n, weighted,
					  generation);
	return best.backend;
}

static __always_inline __u32 lb_least_of_two(const struct lb_pool *pool, __u32 turn, bool weighted,
					     __u32 generation)
{
	__u32 size = pool->ring_size, first = turn % size, second = first;
	struct lb_least best = {};

	if (size > 1)
		second = (first + 1 + ((__u64)bpf_get_prandom_u32() * (size - 1) >> 32)) % size;
	lb_least_consider(&best, lb_ring_member(pool, first), weighted, generation);
	lb_least_consider(&best, lb_ring_member(pool, second), weighted, generation);
	return best.backend;
}

/* The id of the backend with the fewest connections for its weight; 0: all that were looked at are
 * full. Equal ones take turns. */
__noinline int lb_least_select(const struct lb_pool *pool, __u32 turn, __u32 scheduler,
			       __u32 generation)
{
	bool weighted = scheduler == LB_SCHED_WLC;

	if (!pool || !pool->n_members || !pool->ring_size)
		return 0;
	return pool->n_members <= LB_LEAST_ALL ? lb_least_of_all(pool, turn, weighted, generation)
					       : lb_least_of_two(pool, turn, weighted, generation);
}

/* The first of the backends behind position `from` that has room; 0: none of those that were looked
 * at, which of many are others each time. */
__noinline int lb_room_find(const struct lb_pool *pool, __u32 from, __u32 again, __u32 generation)
{
	struct lb_least found = {};
	__u32 i, n;

	if (!pool)
		return 0;
	n = pool->n_members;
	from += again * LB_ROOM_TRIES;
	for (i = 0; i < LB_ROOM_TRIES && i < n; i++) {
		lb_least_consider(&found, pool->members + (from + 1 + i) % n, false, generation);
		if (found.backend)
			return found.backend;
	}
	return 0;
}

#endif
