/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_loads.c - lb_loads: how many connections a backend has at this moment, which packets count
 * (bpf/load.h), and how many it may have.
 */
#include <errno.h>
#include <stdlib.h>

#include "ebpf_internal.h"

__u32 lb_load_max(const struct lb_dp *dp, __u32 id)
{
	const struct lb_load *l = &dp->loads[id];

	return l->max[lb_slot(l->select, lb_generation(dp))];
}

void lb_load_begin(struct lb_dp *dp, __u32 id, __u32 max)
{
	struct lb_load *l = &dp->loads[id];

	l->max[0] = l->max[1] = max;
	__atomic_store_n(&l->connections, 0, __ATOMIC_RELEASE);
}

void lb_load_limit(struct lb_tx *tx, __u32 id, __u32 max)
{
	struct lb_load *l = &tx->dp->loads[id];
	__u32 slot = lb_slot(l->select, tx->generation);

	if (l->max[slot] == max)
		return;
	l->max[!slot] = max;
	lb_select_store(&l->select, tx->next << 1 | !slot);
}

void lb_load_leave(struct lb_dp *dp, __u32 ref, __u32 state)
{
	__u32 id = LB_REF_BACKEND(ref);

	if (lb_conn_counts(state) && id < dp->max_entries[LB_MAP_LOADS] &&
	    LB_REF_REUSE(dp->backends[id].reuse) == (ref & LB_REF_REUSE_MASK))
		__atomic_fetch_sub(&dp->loads[id].connections, 1, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- recount */

struct recount {
	__u32 n; /* ids */
	__u32 *counted, *from,
		*now; /* by id: entries in the table; what was noted before and after */
	struct lb_counters *before, *after;
};

static int recount_make(struct lb_dp *dp, struct recount *r)
{
	r->n = dp->max_entries[LB_MAP_LOADS];
	r->counted = calloc(r->n, sizeof(*r->counted));
	r->from = calloc(r->n, sizeof(*r->from));
	r->now = calloc(r->n, sizeof(*r->now));
	r->before = calloc(r->n, sizeof(*r->before));
	r->after = calloc(r->n, sizeof(*r->after));
	return r->counted && r->from && r->now && r->before && r->after ? 0 : -ENOMEM;
}

static void recount_free(struct recount *r)
{
	free(r->counted);
	free(r->from);
	free(r->now);
	free(r->before);
	free(r->after);
}

/* What may be between the count and the number that is noted now: connections that were opened, and
 * that ended, since the walk began. */
static bool is_off(const struct recount *r, __u32 id)
{
	__s64 opened = r->after[id].connections - r->before[id].connections;
	__s64 ended = opened - ((__s64)r->now[id] - r->from[id]);
	__s64 off = llabs((__s64)r->counted[id] - r->now[id]);

	return off > opened + llabs(ended);
}

static void loads_read(const struct lb_dp *dp, __u32 n, __u32 *connections)
{
	for (__u32 id = 1; id < n; id++)
		connections[id] = __atomic_load_n(&dp->loads[id].connections, __ATOMIC_RELAXED);
}

int lb_loads_recount(struct lb_dp *dp, struct lb_err *err)
{
	struct recount r = {};
	int ret = recount_make(dp, &r);

	if (ret)
		lb_err_sys(err, ENOMEM, "counting the connections of each backend");
	if (!ret)
		ret = lb_backend_counters_read(dp, r.n, r.before, err);
	if (!ret) {
		loads_read(dp, r.n, r.from);
		ret = lb_conn_count_backends(dp, r.counted, err);
	}
	if (!ret) {
		loads_read(dp, r.n, r.now);
		ret = lb_backend_counters_read(dp, r.n, r.after, err);
	}
	for (__u32 id = 1; id < r.n && !ret; id++)
		if (is_off(&r, id))
			__atomic_fetch_add(&dp->loads[id].connections, r.counted[id] - r.now[id],
					   __ATOMIC_RELAXED);
	recount_free(&r);
	return ret;
}
