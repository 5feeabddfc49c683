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

/* What lb_find() looks for: its arguments that are not the flow. */
#define LB_FIND_V6      1
#define LB_FIND_UDP     2
#define LB_FIND_REVERSE 4

static __always_inline __u32 lb_find_kind(const struct lb_packet *p, bool reverse)
{
	return (p->family == LB_V6 ? LB_FIND_V6 : 0) | (p->udp ? LB_FIND_UDP : 0) |
	       (reverse ? LB_FIND_REVERSE : 0);
}

/* Looks up a flow as a forward or a reverse one. Fills *hash also where there is none. */
__noinline int lb_find(const struct lb_flow *f, __u32 kind, __u32 now, struct lb_conn_hash *hash,
		       struct lb_conn_found *out)
{
	__u32 udp = !!(kind & LB_FIND_UDP);

	if (!f || !hash || !out)
		return 0;
	if (kind & LB_FIND_V6) {
		*hash = lb_conn_hash(LB_V6, f, udp);
		return kind & LB_FIND_REVERSE ? lb_conn_find(LB_V6, true, f, udp, hash, now, out)
					      : lb_conn_find(LB_V6, false, f, udp, hash, now, out);
	}
	*hash = lb_conn_hash(LB_V4, f, udp);
	return kind & LB_FIND_REVERSE ? lb_conn_find(LB_V4, true, f, udp, hash, now, out)
				      : lb_conn_find(LB_V4, false, f, udp, hash, now, out);
}

/* The reverse entry of forward packet p towards backend `id`. */
static __noinline int lb_reverse_find(const struct lb_packet *p, __u32 id, __u32 now,
				      struct lb_conn_hash *hash, struct lb_conn_found *out)
{
	struct lb_backend *b = lb_backend_get(id);
	struct lb_flow f = {};

	if (!p || !b || !hash || !out)
		return 0;
	f.saddr[0] = lb_addr_word(&b->addr, p->family == LB_V4 ? 3 : 0);
	f.daddr[0] = p->flow.saddr[0];
	if (p->family == LB_V6) {
		f.saddr[1] = lb_addr_word(&b->addr, 1);
		f.saddr[2] = lb_addr_word(&b->addr, 2);
		f.saddr[3] = lb_addr_word(&b->addr, 3);
		f.daddr[1] = p->flow.saddr[1];
		f.daddr[2] = p->flow.saddr[2];
		f.daddr[3] = p->flow.saddr[3];
	}
	f.sport = b->port;
	f.dport = p->flow.sport;
	return lb_find(&f, lb_find_kind(p, true), now, hash, out);
}

/* The forward entry of reverse packet p, whose own entry is `e`. */
static __noinline int lb_reverse_find_forward(const struct lb_packet *p,
					      const struct lb_conn_found *e, __u32 now,
					      struct lb_conn_found *out)
{
	struct lb_conn_hash hash = {};
	struct lb_flow f;

	if (!p || !e || !out)
		return 0;
	__builtin_memcpy(f.saddr, p->flow.daddr, 16);
	__builtin_memcpy(f.daddr, e->service, 16);
	f.sport = p->flow.dport;
	f.dport = e->sport;
	return lb_find(&f, lb_find_kind(p, false), now, &hash, out);
}

/* Same service side in a found reverse entry as in the forward packet? */
static __always_inline bool lb_conn_is_mine(const struct lb_packet *p,
					    const struct lb_conn_found *e)
{
	if (e->sport != p->flow.dport || e->service[0] != p->flow.daddr[0])
		return false;
	return p->family == LB_V4 ||
	       (e->service[1] == p->flow.daddr[1] && e->service[2] == p->flow.daddr[2] &&
		e->service[3] == p->flow.daddr[3]);
}

/* Makes or refreshes the reverse entry of forward packet p towards backend `id`. 0; or LB_STOP()
 * with COLLISION (another service has that flow) or TABLE_FULL. */
__noinline int lb_reverse_put(const struct lb_packet *p, __u32 id, __u32 state, __u32 now)
{
	struct lb_conn_found e = {};
	struct lb_conn_hash hash = {};

	if (!p)
		return LB_STOP(LB_REASON_BAD_STATE);
	if (lb_reverse_find(p, id, now, &hash, &e)) {
		bool mine = lb_conn_is_mine(p, &e);

		/* A connection that is over gives its flow up, as a host's TIME_WAIT does to a SYN.
		 */
		if (!mine && LB_META_STATE(e.meta) != LB_CONN_CLOSING &&
		    LB_META_STATE(e.meta) != LB_CONN_CLOSED)
			return LB_STOP(LB_REASON_COLLISION);
		if (mine && LB_REF_BACKEND(e.ref) == id) {
			/* Its next hop was not confirmed now: forget it before the tick moves. */
			if (LB_META_TICK(e.meta) != now)
				lb_conn_set_aux(p->family, e.pos, e.meta, e.ref, 0);
			lb_conn_set(p->family, e.pos, e.meta,
				    lb_conn_later(state, LB_META_STATE(e.meta)), now);
			return 0;
		}
		lb_conn_remove(p->family, e.pos, e.meta);
	}
	if (lb_conn_insert(p, &hash, id | LB_REF_REVERSE | (p->udp ? LB_REF_UDP : 0), state, now) <
	    0)
		return LB_STOP(LB_REASON_TABLE_FULL);
	return 0;
}

/* Puts in the forward entry. Returns the backend that the flow has: `id`, or another CPU's choice
 * where that one was first. */
__noinline int lb_forward_put(const struct lb_packet *p, __u32 id, __u32 state, __u32 now)
{
	struct lb_backend *b = lb_backend_get(id);
	struct lb_conn_found e = {};
	struct lb_conn_hash hash = {};
	__u32 ref;
	int pos;

	if (!p || !b)
		return LB_STOP(LB_REASON_BAD_STATE);
	if (lb_find(&p->flow, lb_find_kind(p, false), now, &hash, &e))
		return LB_REF_BACKEND(e.ref);
	ref = id | (b->reuse & ((1u << LB_REF_AUX_BITS) - 1)) << LB_REF_BACKEND_BITS |
	      (p->udp ? LB_REF_UDP : 0);
	pos = lb_conn_insert(p, &hash, ref, state, now);
	if (pos < 0)
		return LB_STOP(LB_REASON_TABLE_FULL);
	if (lb_find(&p->flow, lb_find_kind(p, false), now, &hash, &e) && e.pos != (__u32)pos) {
		struct lb_conn_head *h = lb_conn_at(p->family, pos);

		if (h && h->ref == ref)
			lb_conn_remove(p->family, pos, lb_meta_read(&h->meta));
		return LB_REF_BACKEND(e.ref);
	}
	return id;
}

/* Opens a connection for forward packet p. Returns the backend's id or LB_STOP(). */
static __noinline int lb_conn_open(void *ctx, struct lb_packet *p, __u32 ports, __u32 now)
{
	__u32 generation = lb_generation(), state, again;
	struct lb_service_version *v;
	struct lb_counters *counters;
	struct lb_service *s;
	int id, rc, got;

	if (!p)
		return LB_STOP(LB_REASON_BAD_STATE);
	id = lb_service_find(ctx, p, ports, generation, now);
	if (id < 0)
		return id;
	s = bpf_map_lookup_elem(&lb_services, &id);
	if (!s)
		return LB_STOP(LB_REASON_BAD_STATE);
	v = lb_service_version(s, generation);
	if (!v->present)
		return LB_STOP(LB_REASON_NO_SERVICE);
	state = p->udp ? LB_CONN_UDP_NEW : LB_CONN_SYN_SENT;
	if (!p->udp && (p->tcp_flags & (LB_TCP_SYN | LB_TCP_ACK | LB_TCP_RST)) != LB_TCP_SYN) {
		/* Not the start of a connection: only where any node would choose the same. */
		if (v->scheduler < LB_SCHED_SH || (p->tcp_flags & LB_TCP_RST))
			return LB_STOP(LB_REASON_NO_CONNECTION);
		state = LB_CONN_SYN_RECV;
	}
	if (p->ttl <= 1)
		return LB_STOP(LB_REASON_TTL_EXPIRED);
	for (again = 0; again < LB_COLLISION_TRIES; again++) {
		id = lb_backend_select(s, v, p, again);
		if (id < 0)
			return id;
		rc = lb_reverse_put(p, id, state, now);
		if (!rc)
			break;
		if (rc != LB_STOP(LB_REASON_COLLISION))
			return rc;
	}
	if (again == LB_COLLISION_TRIES)
		return LB_STOP(LB_REASON_COLLISION);
	got = lb_forward_put(p, id, state, now);
	if (got == id) {
		counters = bpf_map_lookup_elem(&lb_backend_stats, &id);
		if (counters)
			counters->connections++;
	}
	return got;
}

/* Is it still the backend that a forward entry's ref names, and in service? */
static __always_inline bool lb_backend_holds(const struct lb_backend *b, __u32 ref)
{
	return b->state == LB_BACKEND_LIVE &&
	       (b->reuse & ((1u << LB_REF_AUX_BITS) - 1)) == LB_REF_AUX(ref);
}

/* Forgets both entries of forward packet p's connection. */
__noinline int lb_conn_forget(const struct lb_packet *p, const struct lb_conn_found *e, __u32 now)
{
	struct lb_conn_found reverse = {};
	struct lb_conn_hash hash = {};

	if (!p || !e)
		return 0;
	lb_conn_remove(p->family, e->pos, e->meta);
	if (lb_reverse_find(p, LB_REF_BACKEND(e->ref), now, &hash, &reverse) &&
	    lb_conn_is_mine(p, &reverse))
		lb_conn_remove(p->family, reverse.pos, reverse.meta);
	return 0;
}

/* A forward packet of connection `e` on the slow way. Returns the backend's id, 0 where the packet
 * starts a new connection in the place of this one, which is forgotten, or LB_STOP(). */
__noinline int lb_track_forward(const struct lb_packet *p, const struct lb_conn_found *e, __u32 now)
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
