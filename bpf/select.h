/* SPDX-License-Identifier: GPL-2.0-or-later */
/* select.h - which service a new flow is for, and which backend it gets. */
#ifndef LB_SELECT_H
#define LB_SELECT_H

#include "common.h"
#include "least.h"
#include "load.h"
#include "nexthop.h"
#include "pool.h"

/* The choice of a backend must be the same on every node: a fixed key, not the table's secret. */
#define LB_CHOICE_KEY1 0x9e3779b97f4a7c15ull
#define LB_CHOICE_KEY2 0xbf58476d1ce4e5b9ull
#define LB_CHOICE_KEY3 0x94d049bb133111ebull

static __always_inline __u32 lb_generation(void)
{
	__u32 zero = 0;
	struct lb_config *c = bpf_map_lookup_elem(&lb_config, &zero);

	return c ? READ_ONCE(c->generation) : 0;
}

static __always_inline __u32 lb_listen_find(const struct lb_listen_key *key, __u32 generation)
{
	struct lb_listen_value *l = bpf_map_lookup_elem(&lb_listens, key);

	return l ? l->service[lb_slot(READ_ONCE(l->select), generation) & 1] : 0;
}

/* The service's id, or LB_STOP(). `ports`: lb_ports' flags of the packet's destination. Sets *any
 * where it is a `*` listen's: the service's packet only if the destination is this host's own. */
static __always_inline int lb_service_find(const struct lb_packet *p, __u32 ports, __u32 generation,
					   bool *any)
{
	struct lb_listen_key key = {};
	__be32 zero[4] = {};
	__u32 service;

	*any = false;
	key.port = p->flow.dport;
	key.proto = p->udp;
	if (ports & LB_PORT_EXACT) {
		lb_addr_set(&key.addr, p->family == LB_V4 ? LB_V4 : LB_V6, p->flow.daddr);
		service = lb_listen_find(&key, generation);
		if (service)
			return service;
	}
	if (!(ports & LB_PORT_ANY))
		return LB_STOP(LB_REASON_NO_SERVICE);
	lb_addr_set(&key.addr, p->family == LB_V4 ? LB_V4 : LB_V6, zero);
	service = lb_listen_find(&key, generation);
	*any = true;
	return service ? (int)service : LB_STOP(LB_REASON_NO_SERVICE);
}

static __always_inline __u32 lb_mix(__u64 h)
{
	h = (h ^ h >> 30) * LB_CHOICE_KEY2;
	h = (h ^ h >> 27) * LB_CHOICE_KEY3;
	return (h ^ h >> 31) >> 32;
}

/* Hash of the client's address (sh), or also of both ports and the protocol (maglev). The service's
 * address stays out, so that a `*` service chooses alike on nodes with different addresses. Words
 * are in network order on the wire: swapped, big and little endian nodes agree. */
static __always_inline __u32 lb_choice_hash(const struct lb_packet *p, bool flow)
{
	__u64 h = bpf_ntohl(p->flow.saddr[0]);
	int i;

	if (p->family == LB_V6) {
#pragma unroll
		for (i = 1; i < 4; i++)
			h = (h ^ h >> 32) * LB_CHOICE_KEY1 + bpf_ntohl(p->flow.saddr[i]);
	}
	if (flow) {
		h = (h ^ h >> 32) * LB_CHOICE_KEY1;
		h += (__u64)bpf_ntohs(p->flow.sport) << 32 | bpf_ntohs(p->flow.dport) << 1 | p->udp;
	}
	return lb_mix(h + LB_CHOICE_KEY1);
}

static __always_inline __u32 lb_turn(struct lb_service *s, __u32 family)
{
	return family == LB_V4 ? __sync_fetch_and_add(&s->next[LB_V4], 1)
			       : __sync_fetch_and_add(&s->next[LB_V6], 1);
}

/* Turn or hash value in the ring; `again` counts the tries after a collision. */
static __always_inline __u32 lb_ring_index(struct lb_service *s, const struct lb_packet *p,
					   __u32 scheduler, __u32 size, __u32 again)
{
	switch (scheduler) {
	case LB_SCHED_RANDOM:
		return (__u64)bpf_get_prandom_u32() * size >> 32;
	default:
		return lb_turn(s, p->family) % size;
	case LB_SCHED_SH:
	case LB_SCHED_MAGLEV:
		return ((__u32)((__u64)lb_choice_hash(p, scheduler == LB_SCHED_MAGLEV) * size >>
				32) +
			again) %
		       size;
	}
}

static __always_inline struct lb_service_version *lb_service_version(struct lb_service *s,
								     __u32 generation)
{
	return lb_slot(READ_ONCE(s->select), generation) ? &s->version[1] : &s->version[0];
}

/* What is in force of a service; NULL: it does not exist. */
static __always_inline struct lb_service_version *lb_service_in_force(__u32 id, __u32 generation)
{
	struct lb_service *s = bpf_map_lookup_elem(&lb_services, &id);
	struct lb_service_version *v;

	if (!s)
		return NULL;
	v = lb_service_version(s, generation);
	return v->present ? v : NULL;
}

/* What an entry of the service lives by in a state. */
static __always_inline __u32 lb_service_life(const struct lb_service_version *v, __u32 state)
{
	return LB_LIFE(v->timeouts % LB_TIMEOUT_SETS, state);
}

/* By which a packet's backend is chosen: in the middle of a connection never by whose turn it is.
 */
static __always_inline __u32 lb_scheduler_for(const struct lb_packet *p,
					      const struct lb_service_version *v)
{
	return lb_opens(p) || v->scheduler == LB_SCHED_SH ? v->scheduler : LB_SCHED_MAGLEV;
}

static __always_inline bool lb_is_least(__u32 scheduler)
{
	return scheduler == LB_SCHED_LC || scheduler == LB_SCHED_WLC;
}

/* A backend's id for a new flow, or LB_STOP(). `again`: what was chosen before will not do. */
static __always_inline int lb_backend_select(struct lb_service *s, struct lb_service_version *v,
					     const struct lb_packet *p, __u32 again,
					     __u32 generation)
{
	const struct lb_pool *pool = lb_pool_of(v, p->family);
	__u32 scheduler = lb_scheduler_for(p, v), at;
	struct lb_member *member;
	struct lb_load *load;
	int id;

	if (!pool->ring_size)
		return LB_STOP(LB_REASON_NO_BACKEND);
	if (lb_is_least(scheduler) && !again) {
		id = lb_least_select(pool, lb_turn(s, p->family), scheduler, generation);
		if (id)
			return id;
	}
	at = lb_ring_member(pool, lb_ring_index(s, p, scheduler, pool->ring_size, again));
	member = bpf_map_lookup_elem(&lb_members, &at);
	if (!member || !member->backend)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = member->backend & LB_BACKENDS_MAX;
	/* In the middle of a connection it has one already. */
	load = lb_opens(p) ? lb_load_get(id) : NULL;
	if (!load || !lb_load_is_full(load, READ_ONCE(load->connections), generation))
		return id;
	id = lb_room_find(pool, at - pool->members, again, generation);
	return id ? id : LB_STOP(LB_REASON_BACKENDS_FULL);
}

#endif
