/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool.h - one address family of a service in force: its ring and its members. */
#ifndef LB_POOL_H
#define LB_POOL_H

#include "common.h"

static __always_inline const struct lb_pool *lb_pool_of(const struct lb_service_version *v,
							__u32 family)
{
	return family == LB_V4 ? &v->pool[LB_V4] : &v->pool[LB_V6];
}

/* Position in lb_members of the one that has a slot of the ring; beyond lb_members where the ring
 * is broken. */
static __always_inline __u32 lb_ring_member(const struct lb_pool *pool, __u32 slot)
{
	__u32 index = pool->ring + slot, at = index / LB_RING_LINE;
	struct lb_ring_line *line = bpf_map_lookup_elem(&lb_rings, &at);

	return line ? pool->members + line->member[index % LB_RING_LINE] : ~0u;
}

#endif
