/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load.h - how many connections each backend has at this moment.
 *
 * Exact without a lock: an entry changes its state by a compare-and-exchange of its meta, so of all
 * that try just one does it, and that one counts. It is counted before others can see it.
 */
#ifndef LB_LOAD_H
#define LB_LOAD_H

#include "common.h"

static __always_inline struct lb_load *lb_load_get(__u32 id)
{
	return bpf_map_lookup_elem(&lb_loads, &id);
}

/* One more or one less of the backend that an entry's ref names, if the id is still its own. */
static __always_inline void lb_load_add(__u32 ref, int more)
{
	struct lb_backend *b = lb_backend_get(LB_REF_BACKEND(ref));
	struct lb_load *l = lb_load_get(LB_REF_BACKEND(ref));

	if (b && l && LB_REF_REUSE(b->reuse) == (ref & LB_REF_REUSE_MASK))
		__sync_fetch_and_add(&l->connections, more);
}

/* An entry went from one state to another. */
static __always_inline void lb_load_change(__u32 ref, __u32 from, __u32 to)
{
	if (lb_conn_counts(from) != lb_conn_counts(to))
		lb_load_add(ref, lb_conn_counts(to) ? 1 : -1);
}

/* A number that has drifted below 0 is none. */
static __always_inline __u32 lb_load_sound(__u32 connections)
{
	return (__s32)connections < 0 ? 0 : connections;
}

/* Has it as many as it may have? */
static __always_inline bool lb_load_is_full(const struct lb_load *l, __u32 connections,
					    __u32 generation)
{
	__u32 max = lb_slot(READ_ONCE(l->select), generation) ? l->max[1] : l->max[0];

	return max && lb_load_sound(connections) >= max;
}

/* Counts one more for backend `id`, unless it has as many as it may have and the connection is
 * about to be opened. */
static __always_inline bool lb_load_take(__u32 id, bool opens, __u32 generation)
{
	struct lb_load *l = lb_load_get(id);

	if (!l)
		return false;
	if (!lb_load_is_full(l, __sync_fetch_and_add(&l->connections, 1), generation) || !opens)
		return true;
	__sync_fetch_and_add(&l->connections, -1);
	return false;
}

#endif
