/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ebpf_rings.c - rings that stand in the maps: what they are made of, and a table of them by that,
 * so that services with equal backends share one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "core/ring.h"
#include "ebpf_internal.h"

int lb_ring_table_init(struct lb_ring_table *t, size_t n)
{
	for (t->size = 16; t->size < n * 2; t->size *= 2)
		;
	t->entries = calloc(t->size, sizeof(*t->entries));
	return t->entries ? 0 : -ENOMEM;
}

struct lb_ring_entry *lb_ring_table_at(struct lb_ring_table *t, __u64 key)
{
	size_t i = key & (t->size - 1);

	while (t->entries[i].used && t->entries[i].key != key)
		i = (i + 1) & (t->size - 1);
	t->entries[i].key = key;
	return &t->entries[i];
}

void lb_ring_table_free(struct lb_ring_table *t)
{
	free(t->entries);
	t->entries = NULL;
}

/* Do its numbers stay within the maps? */
bool lb_pool_is_sound(const struct lb_dp *dp, const struct lb_pool *pool)
{
	__u64 slots = (__u64)dp->max_entries[LB_MAP_RINGS] * LB_RING_LINE;

	return (__u64)pool->members + pool->n_members <= dp->max_entries[LB_MAP_MEMBERS] &&
	       (__u64)pool->ring + pool->ring_size <= slots && !(pool->ring % LB_RING_LINE);
}

/* The pool's members as lb_ring_fill() wants them; to be freed; NULL without memory. */
struct lb_ring_member *lb_pool_members(const struct lb_dp *dp, const struct lb_pool *pool)
{
	struct lb_ring_member *members = calloc(pool->n_members + 1, sizeof(*members));

	for (__u32 i = 0; members && i < pool->n_members; i++) {
		const struct lb_member *m = &dp->members[pool->members + i];
		const struct lb_backend *b;

		if (m->backend >= dp->max_entries[LB_MAP_BACKENDS])
			continue;
		b = &dp->backends[m->backend];
		members[i].at.addr = b->addr;
		members[i].at.port = ntohs(b->port);
		members[i].at.family = lb_addr_is_v4(&b->addr) ? LB_V4 : LB_V6;
		members[i].weight = lb_member_override(m);
		if (members[i].weight == LB_NO_OVERRIDE)
			members[i].weight = lb_member_weight(m);
	}
	return members;
}
