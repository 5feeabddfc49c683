/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * open.h - opening a connection: which service and backend, whether it may, and its entry.
 *
 * Called for a connection's first packet, or one in the middle that is taken up.
 */
#ifndef LB_OPEN_H
#define LB_OPEN_H

#include "affinity.h"
#include "common.h"
#include "conn.h"
#include "nexthop.h"
#include "place.h"
#include "rate.h"
#include "select.h"
#include "sweep.h"

/* Backends tried before a flow is given up as a collision. */
#define LB_COLLISION_TRIES 4

/*
 * Functions that the verifier checks once, for any arguments (and that cost a call: 8 ns where the
 * CPU's return mitigations are on). Those on a new connection's way exist once for each family.
 */

/* Same service side in the entry as in the packet from the client? */
static __always_inline bool lb_conn_is_mine(const int family, const struct lb_packet *p,
					    const struct lb_conn_found *e)
{
	return e->sport == p->flow.dport && lb_conn_addr_is(family, e->service, p->flow.daddr);
}

/* Is what backend b will answer to packet p already another connection's? 0: no; the backend's id:
 * it is p's own connection, which another CPU has opened meanwhile; or LB_STOP(). */
static __always_inline int lb_conn_collides(const int family, const struct lb_packet *p,
					    const struct lb_backend *b, __u64 hash, __u32 now)
{
	const __be32 *addr = (const __be32 *)b->addr.b;
	__be16 ports[2] __attribute__((aligned(4))) = {b->port, p->flow.sport};
	struct lb_tuple answer = {
		.saddr = family == LB_V4 ? addr + 3 : addr, .daddr = p->flow.saddr, .ports = ports};
	struct lb_conn_found e = {};
	struct lb_backend *theirs;

	if (!lb_conn_find(family, true, false, &answer, p->udp, hash, now, &e))
		return 0;
	if (lb_conn_is_mine(family, p, &e))
		return LB_REF_BACKEND(e.ref);
	/* A connection that is over gives its flow up, as a host's TIME_WAIT does to a SYN; and so
	 * does one whose backend is gone: b may be the same host in another service. */
	theirs = lb_backend_get(LB_REF_BACKEND(e.ref));
	if (!lb_conn_is_over(LB_META_STATE(e.meta)) && theirs && lb_backend_holds(theirs, e.ref))
		return LB_STOP(LB_REASON_COLLISION);
	lb_conn_remove(family, e.pos, e.meta);
	return 0;
}

static __always_inline int lb_conn_retire_family(const int family, const struct lb_packet *p,
						 __u32 now)
{
	__be16 ports[2] __attribute__((aligned(4))) = {p->flow.dport, p->flow.sport};
	struct lb_tuple answer = {.saddr = p->flow.daddr, .daddr = p->flow.saddr, .ports = ports};
	struct lb_conn_found e = {};

	if (lb_conn_find(family, true, false, &answer, 0, lb_tuple_hash(family, true, &answer, 0),
			 now, &e) &&
	    lb_conn_is_over(LB_META_STATE(e.meta)))
		lb_conn_remove(family, e.pos, e.meta);
	return 0;
}

/* Removes the connection that has ended of which the answers to SYN packet p would seem to be. */
__noinline int lb_conn_retire4(const struct lb_packet *p, __u32 now)
{
	return p ? lb_conn_retire_family(LB_V4, p, now) : 0;
}

__noinline int lb_conn_retire6(const struct lb_packet *p, __u32 now)
{
	return p ? lb_conn_retire_family(LB_V6, p, now) : 0;
}

static __always_inline void lb_conn_counted(__u32 id)
{
	struct lb_counters *counters = bpf_map_lookup_elem(&lb_backend_stats, &id);

	if (counters)
		counters->connections++;
}

static __always_inline void lb_conn_taken_up(void)
{
	__u32 zero = 0;
	struct lb_reasons *r = bpf_map_lookup_elem(&lb_reasons, &zero);

	if (r)
		r->taken_up++;
}

/* Enters the connection of forward packet p to backend `id`. Returns the backend that it has: `id`,
 * or another CPU's choice where that one was first; or LB_STOP(). */
static __always_inline int lb_conn_put_family(const int family, const struct lb_packet *p, __u32 id,
					      __u32 life, __u32 now, __u32 generation)
{
	struct lb_conn_found mine = {}, first = {};
	struct lb_backend *b = lb_backend_get(id);
	struct lb_tuple t;
	__u64 hash;
	__u32 ref;
	int rc;

	if (!p || !b)
		return LB_STOP(LB_REASON_BAD_STATE);
	t = lb_tuple_of(&p->flow);
	hash = lb_tuple_hash(family, false, &t, p->udp);
	rc = lb_conn_collides(family, p, b, hash, now);
	if (rc)
		return rc;
	ref = id | LB_REF_REUSE(b->reuse) | (p->udp ? LB_REF_UDP : 0);
	if (!lb_load_take(id, lb_opens(p), generation))
		return LB_STOP(LB_REASON_BACKENDS_FULL);
	if (!lb_conn_insert(family, p, hash, ref, life, now, &mine)) {
		lb_load_add(ref, -1);
		return LB_STOP(LB_REASON_TABLE_FULL);
	}
	if (lb_conn_find(family, false, false, &t, p->udp, hash, now, &first) &&
	    first.pos != mine.pos) {
		lb_conn_remove(family, mine.pos, mine.meta);
		return LB_REF_BACKEND(first.ref);
	}
	lb_conn_counted(id);
	return id;
}

__noinline int lb_conn_put4(const struct lb_packet *p, __u32 id, __u32 life, __u32 now,
			    __u32 generation)
{
	return lb_conn_put_family(LB_V4, p, id, life, now, generation);
}

__noinline int lb_conn_put6(const struct lb_packet *p, __u32 id, __u32 life, __u32 now,
			    __u32 generation)
{
	return lb_conn_put_family(LB_V6, p, id, life, now, generation);
}

/* Of a mid-connection packet of no connection, what the service says: 0, it is taken up, or
 * LB_STOP(). A reset is left to the host: it ends what nobody here knows. */
static __always_inline int lb_open_unknown(const struct lb_packet *p,
					   const struct lb_service_version *v)
{
	if (p->tcp_flags & LB_TCP_RST)
		return LB_STOP(LB_REASON_NO_CONNECTION);
	if (v->unknown == LB_UNKNOWN_DROP)
		return LB_STOP(LB_REASON_NO_CONNECTION_DROP);
	if (v->unknown == LB_UNKNOWN_RESET)
		return LB_STOP(lb_is_resettable(p) ? LB_REASON_NO_CONNECTION_RESET
						   : LB_REASON_NO_CONNECTION);
	return 0;
}

/* The state in which packet p may open a connection of this service, or LB_STOP(). `rehash`: its
 * connection has lost its backend, and takes another. */
static __always_inline int lb_open_state(const struct lb_packet *p,
					 const struct lb_service_version *v, bool rehash)
{
	if (!v->present)
		return LB_STOP(LB_REASON_NO_SERVICE);
	if (!lb_pool_of(v, p->family)->n_members)
		return LB_STOP(LB_REASON_NO_FAMILY);
	if (p->udp)
		return p->ttl > 1 ? LB_CONN_UDP_NEW : LB_STOP(LB_REASON_TTL_EXPIRED);
	if (!lb_is_syn(p) && !rehash) {
		int stop = lb_open_unknown(p, v);

		if (stop)
			return stop;
	}
	return p->ttl > 1 ? LB_CONN_SYN_SENT : LB_STOP(LB_REASON_TTL_EXPIRED);
}

/* All backends are full. UDP to an address of its own the host's stack refuses (by ICMP), as there
 * is nobody on the port. */
static __always_inline int lb_open_refuse(const struct lb_packet *p, bool local)
{
	if (p->udp)
		return LB_STOP(local ? LB_REASON_BACKENDS_FULL_LOCAL : LB_REASON_BACKENDS_FULL);
	return LB_STOP(lb_is_plain(p) ? LB_REASON_BACKENDS_FULL_RESET : LB_REASON_BACKENDS_FULL);
}

/* Opens a connection for forward packet p. Returns the backend's id or LB_STOP(). `rehash`: for
 * one that it had. */
static __always_inline int lb_conn_open(const int family, void *ctx, const struct lb_packet *p,
					__u32 ports, bool rehash, __u32 now)
{
	__u32 generation = lb_generation(), again;
	struct lb_service_version *v;
	struct lb_service *s;
	int id, state, elsewhere;
	__u32 life, service;
	bool any;

	if (!p)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = lb_service_find(p, ports, generation, &any);
	if (id < 0)
		return id;
	service = id;
	if (lb_addr_is_martian(family, p->flow.saddr) || lb_addr_is_martian(family, p->flow.daddr))
		return LB_STOP(LB_REASON_MARTIAN);
	s = bpf_map_lookup_elem(&lb_services, &id);
	if (!s)
		return LB_STOP(LB_REASON_BAD_STATE);
	v = lb_service_version(s, generation);
	elsewhere = any ? lb_addr_local(ctx, p, now) : 0;
	if (elsewhere && elsewhere != LB_STOP(LB_REASON_FORWARDING_OFF))
		return elsewhere;
	state = lb_open_state(p, v, rehash);
	/* To an address of its own the host's stack resets, and lets live what it knows itself: a
	 * local program's connection, or one of another datapath's. */
	if (state == LB_STOP(LB_REASON_NO_CONNECTION_RESET) && (any || !lb_addr_local(ctx, p, now)))
		return LB_STOP(LB_REASON_NO_CONNECTION);
	if (state < 0)
		return state;
	/* Forwarding is needed only for a packet that would be forwarded. */
	if (elsewhere)
		return elsewhere;
	id = lb_rate_limit(p, rehash);
	if (id < 0)
		return id;
	life = lb_service_life(v, state);
	/* Unrolled: Linux 6.1 takes no loop whose first instruction comes right after a call. */
#pragma unroll
	for (again = 0; again < LB_COLLISION_TRIES; again++) {
		id = lb_backend_choose(family, p, s, v, service, again, generation, now);
		if (id >= 0)
			id = family == LB_V4 ? lb_conn_put4(p, id, life, now, generation)
					     : lb_conn_put6(p, id, life, now, generation);
		if (id >= 0 && !rehash && !lb_opens(p))
			lb_conn_taken_up();
		if (id != LB_STOP(LB_REASON_COLLISION) && id != LB_STOP(LB_REASON_BACKENDS_FULL))
			return id;
	}
	if (id != LB_STOP(LB_REASON_BACKENDS_FULL))
		return id;
	lb_sweep(family, now);
	return lb_open_refuse(p, any || !lb_addr_local(ctx, p, now));
}

#endif
