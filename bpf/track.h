/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * track.h - a connection's life: opening it, its state, keeping its two entries together.
 *
 * All of it is off the hit path: called for a connection's first packet, for packets that change
 * its state, and once a tick.
 */
#ifndef LB_TRACK_H
#define LB_TRACK_H

#include "common.h"
#include "conn.h"
#include "nexthop.h"
#include "select.h"

/* The partner is refreshed in ticks that are a multiple of this. */
#define LB_PARTNER_TICKS 4
/* Backends tried before a flow is given up as a collision. */
#define LB_COLLISION_TRIES 4

/* State after a packet; TCP's is a plain reading of RFC 9293, 3.3.2 as a middlebox sees it. */
static __always_inline __u32 lb_conn_next_state(__u32 state, bool reverse, bool udp, __u8 flags)
{
	if (udp)
		return reverse ? LB_CONN_UDP : state;
	if (flags & LB_TCP_RST)
		return LB_CONN_CLOSED;
	if (state == LB_CONN_SYN_SENT && reverse && (flags & LB_TCP_SYN))
		return LB_CONN_SYN_RECV;
	if (state == LB_CONN_SYN_RECV && !reverse && !(flags & LB_TCP_SYN))
		state = LB_CONN_ESTABLISHED;
	if (flags & LB_TCP_FIN) {
		if (state == (reverse ? LB_CONN_FIN_CLIENT : LB_CONN_FIN_BACKEND))
			return LB_CONN_CLOSING;
		if (state < LB_CONN_FIN_CLIENT)
			return reverse ? LB_CONN_FIN_BACKEND : LB_CONN_FIN_CLIENT;
	}
	return state;
}

/* The two entries may learn of a change in any order: of two states of a connection that is open
 * the later one holds. Opening it again (SYN_SENT, UDP_NEW) is no such case. */
static __always_inline __u32 lb_conn_later(__u32 a, __u32 b)
{
	return a >= LB_CONN_ESTABLISHED && a != LB_CONN_UDP_NEW && b > a ? b : a;
}

/*
 * Functions that the verifier checks once, for any arguments (and that cost a call: 8 ns where the
 * CPU's return mitigations are on). Those on a new connection's way exist once for each family.
 */

/* Looks up a flow as a reverse or a forward one. */
static __always_inline int lb_find_family(const int family, const struct lb_flow *f, __u32 udp,
					  __u32 reverse, __u32 now, struct lb_conn_found *out)
{
	struct lb_tuple t;
	__u64 hash;

	if (!f || !out)
		return 0;
	t = lb_tuple_of(f);
	hash = lb_tuple_hash(family, &t, udp);
	return reverse ? lb_conn_find(family, true, false, &t, udp, hash, now, out)
		       : lb_conn_find(family, false, false, &t, udp, hash, now, out);
}

__noinline int lb_find4(const struct lb_flow *f, __u32 udp, __u32 reverse, __u32 now,
			struct lb_conn_found *out)
{
	return lb_find_family(LB_V4, f, udp, reverse, now, out);
}

__noinline int lb_find6(const struct lb_flow *f, __u32 udp, __u32 reverse, __u32 now,
			struct lb_conn_found *out)
{
	return lb_find_family(LB_V6, f, udp, reverse, now, out);
}

static __always_inline int lb_find(const struct lb_packet *p, const struct lb_flow *f,
				   __u32 reverse, __u32 now, struct lb_conn_found *out)
{
	return p->family == LB_V4 ? lb_find4(f, p->udp, reverse, now, out)
				  : lb_find6(f, p->udp, reverse, now, out);
}

/* The flow of the backend's answers to forward packet p. `ports`: room for its ports. */
static __always_inline struct lb_tuple lb_reverse_tuple(const int family, const struct lb_packet *p,
							const struct lb_backend *b, __be16 ports[2])
{
	const __be32 *addr = (const __be32 *)b->addr.b;

	ports[0] = b->port;
	ports[1] = p->flow.sport;
	return (struct lb_tuple){
		.saddr = family == LB_V4 ? addr + 3 : addr, .daddr = p->flow.saddr, .ports = ports};
}

/* The forward entry of reverse packet p, whose own entry is `e`. */
static __noinline int lb_reverse_find_forward(const struct lb_packet *p,
					      const struct lb_conn_found *e, __u32 now,
					      struct lb_conn_found *out)
{
	struct lb_flow f;

	if (!p || !e || !out)
		return 0;
	__builtin_memcpy(f.saddr, p->flow.daddr, 16);
	__builtin_memcpy(f.daddr, e->service, 16);
	f.sport = p->flow.dport;
	f.dport = e->sport;
	return lb_find(p, &f, false, now, out);
}

/* Same service side in a found reverse entry as in the forward packet? */
static __always_inline bool lb_conn_is_mine(const struct lb_packet *p,
					    const struct lb_conn_found *e)
{
	return e->sport == p->flow.dport &&
	       (p->family == LB_V4 ? lb_conn_addr_is(LB_V4, e->service, p->flow.daddr)
				   : lb_conn_addr_is(LB_V6, e->service, p->flow.daddr));
}

/* Makes or refreshes the reverse entry of forward packet p towards backend `id`. 0; or LB_STOP()
 * with COLLISION (another service has that flow) or TABLE_FULL. */
static __always_inline int lb_reverse_put_family(const int family, const struct lb_packet *p,
						 __u32 id, __u32 state, __u32 now)
{
	struct lb_backend *b = lb_backend_get(id);
	struct lb_conn_found e = {};
	__be16 ports[2] __attribute__((aligned(4)));
	struct lb_tuple t;
	__u64 hash;

	if (!p || !b)
		return LB_STOP(LB_REASON_BAD_STATE);
	t = lb_reverse_tuple(family, p, b, ports);
	hash = lb_tuple_hash(family, &t, p->udp);
	barrier_var(hash);
	if (lb_conn_find(family, true, false, &t, p->udp, hash, now, &e)) {
		bool mine = lb_conn_is_mine(p, &e);

		/* A connection that is over gives its flow up, as a host's TIME_WAIT does to a SYN.
		 */
		if (!mine && LB_META_STATE(e.meta) != LB_CONN_CLOSING &&
		    LB_META_STATE(e.meta) != LB_CONN_CLOSED)
			return LB_STOP(LB_REASON_COLLISION);
		if (mine && LB_REF_BACKEND(e.ref) == id) {
			/* Its next hop was not confirmed now: forget it before the tick moves. */
			if (LB_META_TICK(e.meta) != now)
				lb_conn_set_aux(family, e.pos, e.meta, e.ref, 0);
			lb_conn_set(family, e.pos, e.meta,
				    lb_conn_later(state, LB_META_STATE(e.meta)), now);
			return 0;
		}
		lb_conn_remove(family, e.pos, e.meta);
	}
	if (lb_conn_insert(family, p, hash, id | LB_REF_REVERSE | (p->udp ? LB_REF_UDP : 0), state,
			   now) < 0)
		return LB_STOP(LB_REASON_TABLE_FULL);
	return 0;
}

__noinline int lb_reverse_put4(const struct lb_packet *p, __u32 id, __u32 state, __u32 now)
{
	return lb_reverse_put_family(LB_V4, p, id, state, now);
}

__noinline int lb_reverse_put6(const struct lb_packet *p, __u32 id, __u32 state, __u32 now)
{
	return lb_reverse_put_family(LB_V6, p, id, state, now);
}

static __always_inline int lb_reverse_put(const struct lb_packet *p, __u32 id, __u32 state,
					  __u32 now)
{
	return p->family == LB_V4 ? lb_reverse_put4(p, id, state, now)
				  : lb_reverse_put6(p, id, state, now);
}

/* Puts in the forward entry. Returns the backend that the flow has: `id`, or another CPU's choice
 * where that one was first. */
static __always_inline int lb_forward_put_family(const int family, const struct lb_packet *p,
						 __u32 id, __u32 state, __u32 now)
{
	struct lb_backend *b = lb_backend_get(id);
	struct lb_conn_found e = {};
	struct lb_tuple t;
	__u64 hash;
	__u32 ref;
	int pos;

	if (!p || !b)
		return LB_STOP(LB_REASON_BAD_STATE);
	t = lb_tuple_of(&p->flow);
	hash = lb_tuple_hash(family, &t, p->udp);
	ref = id | (b->reuse & ((1u << LB_REF_AUX_BITS) - 1)) << LB_REF_BACKEND_BITS |
	      (p->udp ? LB_REF_UDP : 0);
	pos = lb_conn_insert(family, p, hash, ref, state, now);
	if (pos < 0)
		return LB_STOP(LB_REASON_TABLE_FULL);
	if (lb_conn_find(family, false, false, &t, p->udp, hash, now, &e) && e.pos != (__u32)pos) {
		lb_conn_withdraw(family, pos, ref);
		return LB_REF_BACKEND(e.ref);
	}
	return id;
}

__noinline int lb_forward_put4(const struct lb_packet *p, __u32 id, __u32 state, __u32 now)
{
	return lb_forward_put_family(LB_V4, p, id, state, now);
}

__noinline int lb_forward_put6(const struct lb_packet *p, __u32 id, __u32 state, __u32 now)
{
	return lb_forward_put_family(LB_V6, p, id, state, now);
}

/* The state in which packet p may open a connection of this service, or LB_STOP(). */
static __always_inline int lb_open_state(const struct lb_packet *p,
					 const struct lb_service_version *v)
{
	if (!v->present)
		return LB_STOP(LB_REASON_NO_SERVICE);
	if (p->udp)
		return p->ttl > 1 ? LB_CONN_UDP_NEW : LB_STOP(LB_REASON_TTL_EXPIRED);
	if ((p->tcp_flags & (LB_TCP_SYN | LB_TCP_ACK | LB_TCP_RST)) == LB_TCP_SYN)
		return p->ttl > 1 ? LB_CONN_SYN_SENT : LB_STOP(LB_REASON_TTL_EXPIRED);
	/* Not the start of a connection: only where any node would choose the same. */
	if (v->scheduler < LB_SCHED_SH || (p->tcp_flags & LB_TCP_RST))
		return LB_STOP(LB_REASON_NO_CONNECTION);
	return p->ttl > 1 ? LB_CONN_SYN_RECV : LB_STOP(LB_REASON_TTL_EXPIRED);
}

/* Opens a connection for forward packet p. Returns the backend's id or LB_STOP(). */
static __always_inline int lb_conn_open(const int family, void *ctx, const struct lb_packet *p,
					__u32 ports, __u32 now)
{
	__u32 generation = lb_generation(), again;
	struct lb_service_version *v;
	struct lb_counters *counters;
	struct lb_service *s;
	int id, rc, got, state;

	if (!p)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = lb_service_find(ctx, p, ports, generation, now);
	if (id < 0)
		return id;
	s = bpf_map_lookup_elem(&lb_services, &id);
	if (!s)
		return LB_STOP(LB_REASON_BAD_STATE);
	v = lb_service_version(s, generation);
	state = lb_open_state(p, v);
	if (state < 0)
		return state;
	for (again = 0; again < LB_COLLISION_TRIES; again++) {
		id = lb_backend_select(s, v, p, again);
		if (id < 0)
			return id;
		rc = family == LB_V4 ? lb_reverse_put4(p, id, state, now)
				     : lb_reverse_put6(p, id, state, now);
		if (!rc)
			break;
		if (rc != LB_STOP(LB_REASON_COLLISION))
			return rc;
	}
	if (again == LB_COLLISION_TRIES)
		return LB_STOP(LB_REASON_COLLISION);
	got = family == LB_V4 ? lb_forward_put4(p, id, state, now)
			      : lb_forward_put6(p, id, state, now);
	if (got == id) {
		counters = bpf_map_lookup_elem(&lb_backend_stats, &id);
		if (counters)
			counters->connections++;
	}
	return got;
}

static __always_inline bool lb_reverse_find(const int family, const struct lb_packet *p,
					    const struct lb_backend *b, __u32 now,
					    struct lb_conn_found *out)
{
	__be16 ports[2] __attribute__((aligned(4)));
	struct lb_tuple t = lb_reverse_tuple(family, p, b, ports);

	return lb_conn_find(family, true, false, &t, p->udp, lb_tuple_hash(family, &t, p->udp), now,
			    out);
}

/* Forgets both entries of forward packet p's connection. */
__noinline int lb_conn_forget(const struct lb_packet *p, const struct lb_conn_found *e, __u32 now)
{
	struct lb_conn_found reverse = {};
	struct lb_backend *b;

	if (!p || !e)
		return 0;
	lb_conn_remove(p->family, e->pos, e->meta);
	b = lb_backend_get(LB_REF_BACKEND(e->ref));
	if (b &&
	    (p->family == LB_V4 ? lb_reverse_find(LB_V4, p, b, now, &reverse)
				: lb_reverse_find(LB_V6, p, b, now, &reverse)) &&
	    lb_conn_is_mine(p, &reverse))
		lb_conn_remove(p->family, reverse.pos, reverse.meta);
	return 0;
}

/* A forward packet of connection `e` on the slow way. Returns the backend's id, 0 where the packet
 * starts a new connection in the place of this one, which is forgotten, or LB_STOP(). */
static __always_inline int lb_track_forward(const struct lb_packet *p,
					    const struct lb_conn_found *e, __u32 now)
{
	__u32 id, state, was;
	struct lb_backend *b;
	bool opens, gone;

	if (!p || !e)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = LB_REF_BACKEND(e->ref);
	was = LB_META_STATE(e->meta);
	b = lb_backend_get(id);
	gone = !b || !lb_backend_holds(b, e->ref);
	opens = p->udp || (p->tcp_flags & (LB_TCP_SYN | LB_TCP_ACK | LB_TCP_RST)) == LB_TCP_SYN;
	if (gone || (opens && !p->udp && was >= LB_CONN_FIN_CLIENT)) {
		/* The backend left, or the client uses its port again: start anew. */
		lb_conn_forget(p, e, now);
		return opens ? 0 : LB_STOP(LB_REASON_BACKEND_GONE);
	}
	state = lb_conn_next_state(was, false, p->udp, p->tcp_flags);
	if (state != was || now % LB_PARTNER_TICKS == 0)
		lb_reverse_put(p, id, state, now);
	lb_conn_set(p->family, e->pos, e->meta, state, now);
	return id;
}

/* The same for a reverse packet. Returns the client's next hop's id or LB_STOP(). */
static __noinline int lb_track_reverse(void *ctx, struct lb_packet *p, struct lb_conn_found *e,
				       __u32 now)
{
	struct lb_conn_found forward = {};
	__u32 state, was, id;
	int nexthop;

	if (!p || !e)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = LB_REF_BACKEND(e->ref);
	was = LB_META_STATE(e->meta);
	state = lb_conn_next_state(was, true, p->udp, p->tcp_flags);
	if (state != was || now % LB_PARTNER_TICKS == 0) {
		if (lb_reverse_find_forward(p, e, now, &forward) &&
		    LB_REF_BACKEND(forward.ref) == id)
			lb_conn_set(p->family, forward.pos, forward.meta,
				    lb_conn_later(state, LB_META_STATE(forward.meta)), now);
	}
	nexthop = LB_REF_AUX(e->ref);
	if (!nexthop || LB_META_TICK(e->meta) != now) {
		nexthop = lb_nexthop_find(ctx, p, e->service, p->flow.daddr, now);
		if (nexthop < 0)
			return nexthop;
		lb_conn_set_aux(p->family, e->pos, e->meta, e->ref, nexthop & (LB_NEXTHOPS - 1));
	}
	lb_conn_set(p->family, e->pos, e->meta, state, now);
	return nexthop;
}

/* The way to a backend, remembered with it. Returns a next hop's id or LB_STOP(). */
static __noinline int lb_backend_nexthop(void *ctx, struct lb_packet *p, __u32 id, __u32 now)
{
	struct lb_backend *b = lb_backend_get(id);
	__be32 dst[4];
	int nexthop;

	if (!p || !b)
		return LB_STOP(LB_REASON_BAD_STATE);
	dst[0] = lb_addr_word(&b->addr, p->family == LB_V4 ? 3 : 0);
	dst[1] = lb_addr_word(&b->addr, 1);
	dst[2] = lb_addr_word(&b->addr, 2);
	dst[3] = lb_addr_word(&b->addr, 3);
	nexthop = lb_nexthop_find(ctx, p, p->flow.saddr, dst, now);
	if (nexthop >= 0)
		WRITE_ONCE(b->nexthop, nexthop ? lb_nexthop_pack(nexthop, now) : 0);
	return nexthop;
}

#endif
